//! The rules of earning: when this node claims what it carried, how it answers challenges, and what a claim comes to.
//!
//! Pure. All that decides is what the ledger said, in the order of its log, and what is on the disk; so a node that was off
//! goes on where it stopped. A message is sent again, byte for byte, until the ledger has answered it: its scheduler
//! gives one item one slot.

use std::collections::BTreeMap;

use bytes::Bytes;
use weft_protocol::market::{ClaimTree, Paid};
use weft_protocol::{Address, Effects, Id, Machine, Now};
use weft_storage::{ChallengeRow, ClaimKey, ClaimRow, ClaimState};

/// Pushes of one claim. What is beyond them is claimed when this one is over.
pub const CLAIM_PUSHES_MAX: usize = 4_096;
/// Claims under way at once; windows beyond wait on the disk.
pub const CLAIMS_MAX: usize = 1_024;
/// Challenges of one claim that are answered. A claim with more is of a ledger that keeps no rules.
pub const CHALLENGES_MAX: usize = CLAIM_PUSHES_MAX;
/// How long the ledger has to answer before a message goes out again, in milliseconds.
pub const ANSWER_MS: u64 = 15_000;
/// How long a claim waits that the ledger refused, in milliseconds: a bond or an escrow may be filled meanwhile.
pub const REFUSED_MS: u64 = 120_000;
/// How often that doubles, with every time more: in the end it is about two hours.
const REFUSED_DOUBLES: u32 = 6;
/// How long a push waits that somebody else's claim holds, in milliseconds: that claim may be lost.
pub const TAKEN_MS: u64 = 3_600_000;
/// How soon after one message that lets a ledger's slots pass the next goes out, in milliseconds.
pub const SETTLE_MS: u64 = 2_000;
/// After so many of them the wait doubles.
const SETTLES: u32 = 64;
/// The longest that it gets, in milliseconds.
const SETTLE_MS_MAX: u64 = 60_000;

/// Unclaimed pushes of a window that is over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owed {
    /// The claim that they are to make.
    pub key: ClaimKey,
    /// The ledger.
    pub ledger: Id,
    /// How often a claim of this number was refused.
    pub tries: u32,
    /// The pushes.
    pub pushes: Vec<Paid>,
}

/// What a ledger told this node of a claim.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Said {
    /// It is open to challenges up to this slot and time.
    Opened {
        /// The slot.
        due: u64,
        /// The time, in milliseconds since the Unix epoch.
        due_ms: u64,
    },
    /// It was not taken.
    Refused {
        /// Why.
        why: String,
        /// Leaves that claims of others hold, if that is why: the first ones.
        taken: Vec<u32>,
    },
    /// A leaf was challenged, and is to be answered for before this slot and time.
    Challenged {
        /// Which.
        leaf: u32,
        /// The slot.
        due: u64,
        /// The time, in milliseconds since the Unix epoch.
        due_ms: u64,
    },
    /// The answer for a leaf was right.
    Answered(u32),
    /// It was not.
    Unanswered(u32),
    /// A leaf was struck, for so much.
    Struck(u32, u64),
    /// It was paid.
    Paid,
    /// It was lost.
    Lost,
}

/// What the rules hear of.
#[derive(Debug, Clone)]
pub enum Input {
    /// A claim that is under way, read from the disk.
    Held(ClaimKey, ClaimRow),
    /// What may be claimed.
    Owed(Owed),
    /// What the ledger told of the newest claim of a window.
    Said {
        /// Which ledger told it.
        ledger: Id,
        /// The source.
        source: Id,
        /// Its window.
        window: u64,
        /// What.
        said: Said,
    },
    /// Time passed.
    Tick,
}

/// What the rules ask for. What is to be written down is so before anything after it is sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// Write the claim down, and on its pushes that they are part of it.
    Make(ClaimKey, ClaimRow),
    /// Write the claim down.
    Save(ClaimKey, ClaimRow),
    /// Write the claim down and forget its pushes: it is over. `pushes` are those that it had.
    End {
        /// Which.
        key: ClaimKey,
        /// The row.
        row: ClaimRow,
        /// Its pushes.
        pushes: Bytes,
    },
    /// Write the claim down, and on its pushes that they are free again from a time on; the taken ones later.
    Free {
        /// Which.
        key: ClaimKey,
        /// The row.
        row: ClaimRow,
        /// Its pushes.
        pushes: Bytes,
        /// Leaves that claims of others hold.
        taken: Vec<u32>,
        /// Until when those wait, in milliseconds since the Unix epoch.
        taken_until_ms: u64,
    },
    /// Send the claim.
    Send(ClaimKey, ClaimRow),
    /// Send the answer for a leaf.
    Answer(ClaimKey, ClaimRow, ChallengeRow),
    /// Send the ledger a message that lets its slots pass.
    Settle(Id, u32),
}

/// A claim under way.
#[derive(Debug)]
struct Held {
    row: ClaimRow,
    /// When its message went out last.
    sent: Option<Now>,
}

/// The claims of this node that are under way.
#[derive(Debug)]
pub struct Claims {
    me: Address,
    /// Sums below this are not worth a claim.
    least: u64,
    held: BTreeMap<ClaimKey, Held>,
    /// How many messages each ledger was sent to let its slots pass, and when the last.
    settles: BTreeMap<Id, (u32, Now)>,
}

impl Claims {
    /// No claims, of this messenger, that are worth so much at least.
    pub const fn new(me: Address, least: u64) -> Self {
        Self { me, least, held: BTreeMap::new(), settles: BTreeMap::new() }
    }

    /// How many claims are under way.
    pub fn under_way(&self) -> usize {
        self.held.len()
    }

    /// The ledgers of claims that are under way.
    pub fn ledgers(&self) -> Vec<Id> {
        let mut ledgers: Vec<Id> = self.held.values().map(|held| held.row.ledger).collect();
        ledgers.sort_unstable();
        ledgers.dedup();
        ledgers
    }

    /// Whether a claim of this window is under way.
    pub fn holds(&self, source: &Id, window: u64) -> bool {
        self.of(source, window).is_some()
    }

    fn of(&self, source: &Id, window: u64) -> Option<ClaimKey> {
        let key = |number| ClaimKey { source: *source, window, number };
        self.held.range(key(0)..=key(u32::MAX)).next_back().map(|(key, _)| *key)
    }

    fn owed(&mut self, owed: Owed, now: Now, effects: &mut Effects<Effect>) {
        let Owed { key, ledger, tries, mut pushes } = owed;
        if self.held.len() >= CLAIMS_MAX || self.holds(&key.source, key.window) {
            return;
        }
        pushes.truncate(CLAIM_PUSHES_MAX);
        // What makes no claim is not made one by asking again.
        let tree = ClaimTree::new(self.me, key.source, key.window, pushes).ok();
        let Some(tree) = tree.filter(|tree| tree.claim().sum >= self.least.max(1)) else { return };
        let row = ClaimRow {
            ledger,
            pushes: tree.encode().into(),
            sum: tree.claim().sum,
            state: ClaimState::Made,
            tries,
            next_try_ms: 0,
            challenges: Vec::new(),
        };
        effects.push(Effect::Make(key, row.clone()));
        effects.push(Effect::Send(key, row.clone()));
        self.held.insert(key, Held { row, sent: Some(now) });
    }

    fn said(&mut self, key: ClaimKey, said: Said, now: Now, effects: &mut Effects<Effect>) {
        let Some(held) = self.held.get_mut(&key) else { return };
        let row = &mut held.row;
        let is_made = row.state == ClaimState::Made;
        match said {
            Said::Opened { due, due_ms } if is_made => row.state = ClaimState::Open { due, due_ms },
            Said::Refused { why, taken } if is_made => {
                let wait = REFUSED_MS << row.tries.min(REFUSED_DOUBLES);
                row.tries = row.tries.saturating_add(1);
                row.next_try_ms = now.plus_ms(if taken.is_empty() { wait } else { 0 }).0;
                row.state = ClaimState::Refused { why };
                let (mut row, taken_until_ms) = (row.clone(), now.plus_ms(TAKEN_MS).0);
                let pushes = std::mem::take(&mut row.pushes);
                self.held.remove(&key);
                return effects.push(Effect::Free { key, row, pushes, taken, taken_until_ms });
            }
            // That it was taken at all was told before, or is told by this.
            Said::Challenged { leaf, due, due_ms } => {
                if row.challenges.len() >= CHALLENGES_MAX {
                    return;
                }
                row.challenges.retain(|challenge| challenge.leaf != leaf);
                let challenge =
                    ChallengeRow { leaf, due, due_ms, answered: false, tries: 0, next_try_ms: now.0 };
                row.challenges.push(challenge);
                row.state = ClaimState::Open { due, due_ms };
                effects.push(Effect::Save(key, row.clone()));
                return self.answer(now, effects);
            }
            Said::Answered(leaf) => {
                let Some(challenge) = row.challenges.iter_mut().find(|challenge| challenge.leaf == leaf)
                else {
                    return;
                };
                challenge.answered = true;
            }
            Said::Unanswered(leaf) => {
                let open = |challenge: &&mut ChallengeRow| challenge.leaf == leaf && !challenge.answered;
                let Some(challenge) = row.challenges.iter_mut().find(open) else { return };
                challenge.tries = challenge.tries.saturating_add(1);
                challenge.next_try_ms = now.plus_ms(ANSWER_MS).0;
            }
            Said::Struck(leaf, amount) => {
                row.sum = row.sum.saturating_sub(amount);
                row.challenges.retain(|challenge| challenge.leaf != leaf);
            }
            Said::Paid | Said::Lost => {
                row.state = if said == Said::Paid { ClaimState::Paid } else { ClaimState::Lost };
                let mut row = row.clone();
                let pushes = std::mem::take(&mut row.pushes);
                row.challenges.clear();
                self.settles.remove(&row.ledger);
                self.held.remove(&key);
                return effects.push(Effect::End { key, row, pushes });
            }
            Said::Opened { .. } | Said::Refused { .. } => return,
        }
        effects.push(Effect::Save(key, held.row.clone()));
    }

    /// Sends the answers whose time has come.
    fn answer(&mut self, now: Now, effects: &mut Effects<Effect>) {
        for (key, held) in &mut self.held {
            let mut due = Vec::new();
            for challenge in &mut held.row.challenges {
                if !challenge.answered && challenge.next_try_ms <= now.0 {
                    challenge.next_try_ms = now.plus_ms(ANSWER_MS).0;
                    due.push(*challenge);
                }
            }
            effects
                .extend(due.into_iter().map(|challenge| Effect::Answer(*key, held.row.clone(), challenge)));
        }
    }

    fn tick(&mut self, now: Now, effects: &mut Effects<Effect>) {
        let mut waits = BTreeMap::new();
        for (key, held) in &mut self.held {
            match held.row.state {
                ClaimState::Made if held.sent.is_none_or(|sent| sent.plus_ms(ANSWER_MS) <= now) => {
                    held.sent = Some(now);
                    effects.push(Effect::Send(*key, held.row.clone()));
                }
                // Nothing is paid before the ledger's slots have passed too, and nobody else may want that.
                ClaimState::Open { due_ms, .. } if due_ms <= now.0 => {
                    waits.insert(held.row.ledger, ());
                }
                _ => {}
            }
        }
        self.answer(now, effects);
        self.settles.retain(|ledger, _| waits.contains_key(ledger));
        for ledger in waits.into_keys() {
            let (count, last) = self.settles.get(&ledger).copied().unwrap_or((0, now));
            let wait =
                SETTLE_MS.checked_shl(count / SETTLES).unwrap_or(u64::MAX).clamp(SETTLE_MS, SETTLE_MS_MAX);
            if count == 0 || last.plus_ms(wait) <= now {
                self.settles.insert(ledger, (count.saturating_add(1), now));
                effects.push(Effect::Settle(ledger, count));
            }
        }
    }
}

impl Machine for Claims {
    type Input = Input;
    type Effect = Effect;

    fn handle(&mut self, input: Input, now: Now, effects: &mut Effects<Effect>) {
        match input {
            Input::Held(key, row) => {
                if matches!(row.state, ClaimState::Made | ClaimState::Open { .. }) {
                    self.held.insert(key, Held { row, sent: None });
                }
            }
            Input::Owed(owed) => self.owed(owed, now, effects),
            // Any process can say such a thing; it counts from the ledger of the claim alone.
            Input::Said { ledger, source, window, said } => {
                let key = self.of(&source, window);
                let is_its =
                    |key: &ClaimKey| self.held.get(key).is_some_and(|held| held.row.ledger == ledger);
                if let Some(key) = key.filter(is_its) {
                    self.said(key, said, now, effects);
                }
            }
            Input::Tick => self.tick(now, effects),
        }
    }
}

#[cfg(test)]
mod tests;
