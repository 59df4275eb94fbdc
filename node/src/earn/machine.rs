//! The rules of earning: when this node claims what it carried, how it answers challenges, and what a claim comes to.
//!
//! Pure. All that decides is what the ledger said, in the order of its log, and what is on the disk; so a node that was off
//! goes on where it stopped. A message is sent again, byte for byte, until the ledger has answered it: its scheduler
//! gives one item one slot. What the ledger is to hear anew is another item.

mod places;

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use weft_protocol::market::{ClaimTree, Paid};
use weft_protocol::{Address, Effects, Id, Machine, Now};
use weft_storage::{ChallengeRow, ClaimKey, ClaimRow, ClaimState};

use super::pace::within;
use places::Places;
pub use places::{ANSWERS_EACH, ANSWERS_MAX, SENDS_EACH, SENDS_MAX, Sending};

/// Pushes of one claim. What is beyond them is claimed when this one is over.
pub const CLAIM_PUSHES_MAX: usize = 4_096;
/// Claims under way at once; windows beyond wait on the disk.
pub const CLAIMS_MAX: usize = 1_024;
/// Challenges of one claim that are answered. A claim with more is of a ledger that keeps no rules.
pub const CHALLENGES_MAX: usize = CLAIM_PUSHES_MAX;
/// How long the ledger has to answer before a message goes out again, in milliseconds.
pub const ANSWER_MS: u64 = 15_000;
/// What it has at least, however soon the time for an answer is over.
const AGAIN_MS_MIN: u64 = 1_000;
/// How often that doubles for an answer that the ledger did not take: in the end it is a quarter of an hour.
const ANSWER_DOUBLES: u32 = 6;
/// How long this node lets no slots pass at a ledger where it has a challenge to answer, in milliseconds: they are the
/// time that is left. What it cannot answer in that it cannot answer, and other claims wait for their pay.
pub const UNANSWERED_MS: u64 = 3_600_000;
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
        /// Those of them that are paid.
        paid: Vec<u32>,
        /// Whether it is never taken.
        is_final: bool,
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
    Unanswered {
        /// Which leaf's.
        leaf: u32,
        /// Whether no other will be: no challenge is open any more.
        is_final: bool,
    },
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
    /// A message to a ledger is not under way any more.
    Ended(Id, Sending),
    /// Where what the ledger said last is not known now: a challenge may be open that this node has not heard of, so it lets
    /// no slots pass there.
    Deaf(BTreeSet<Id>),
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
    /// Write the claim down, and on its pushes that they are free again from a time on; the taken ones later. Those that
    /// are paid to others are forgotten.
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
        /// Leaves that others were paid for.
        paid: Vec<u32>,
    },
    /// Send the claim.
    Send(ClaimKey, ClaimRow),
    /// Send the answer for a leaf.
    Answer(ClaimKey, ClaimRow, ChallengeRow),
    /// Send the ledger a message that lets its slots pass.
    Settle(Id, u32),
}

impl Effect {
    /// The message that this sends, with its ledger. That it ended is to be told.
    pub const fn sending(&self) -> Option<(Id, Sending)> {
        match self {
            Self::Send(key, row) => Some((row.ledger, Sending::Claim(*key))),
            Self::Answer(key, row, challenge) => Some((row.ledger, Sending::Answer(*key, challenge.leaf))),
            Self::Settle(ledger, _) => Some((*ledger, Sending::Settle)),
            Self::Make(..) | Self::Save(..) | Self::End { .. } | Self::Free { .. } => None,
        }
    }
}

/// A claim under way.
#[derive(Debug)]
struct Held {
    row: ClaimRow,
    /// How many pushes it has.
    leaves: u64,
    /// When its message went out last.
    sent: Option<Now>,
    /// Since when, as far as this run knows, it has a challenge to answer.
    unanswered: Option<Now>,
}

impl Held {
    fn new(row: ClaimRow) -> Self {
        Self { leaves: (row.pushes.len() / Paid::BYTES) as u64, row, sent: None, unanswered: None }
    }

    fn is_unanswered(&self) -> bool {
        self.row.challenges.iter().any(|challenge| !challenge.answered)
    }
}

/// The claims of this node that are under way.
#[derive(Debug)]
pub struct Claims {
    me: Address,
    /// Sums below this are not worth a claim.
    least: u64,
    held: BTreeMap<ClaimKey, Held>,
    /// Ledgers of which it is not known what they said last.
    deaf: BTreeSet<Id>,
    /// How many messages each ledger was sent to let its slots pass, and when the last.
    settles: BTreeMap<Id, (u32, Now)>,
    places: Places,
}

impl Claims {
    /// No claims, of this messenger, that are worth so much at least.
    pub const fn new(me: Address, least: u64) -> Self {
        Self {
            me,
            least,
            held: BTreeMap::new(),
            deaf: BTreeSet::new(),
            settles: BTreeMap::new(),
            places: Places::new(),
        }
    }

    /// How many claims are under way.
    #[cfg(test)]
    pub fn under_way(&self) -> usize {
        self.held.len()
    }

    /// Whether a claim is under way at a ledger.
    pub fn has_claim_at(&self, ledger: &Id) -> bool {
        self.held.values().any(|held| held.row.ledger == *ledger)
    }

    /// The ledgers of claims that are under way.
    pub fn ledgers(&self) -> Vec<Id> {
        let mut ledgers: Vec<Id> = self.held.values().map(|held| held.row.ledger).collect();
        ledgers.sort_unstable();
        ledgers.dedup();
        ledgers
    }

    /// The windows of which a claim is under way.
    pub fn windows(&self) -> BTreeSet<(Id, u64)> {
        self.held.keys().map(|key| (key.source, key.window)).collect()
    }

    /// Whether a claim that comes to so much would be made now: to be asked before its pushes are judged.
    pub fn wants(&self, key: &ClaimKey, sum: u64) -> bool {
        let is_free = self.held.len() < CLAIMS_MAX && self.of(&key.source, key.window).is_none();
        is_free && sum >= self.least.max(1)
    }

    fn of(&self, source: &Id, window: u64) -> Option<ClaimKey> {
        let key = |number| ClaimKey { source: *source, window, number };
        self.held.range(key(0)..=key(u32::MAX)).next_back().map(|(key, _)| *key)
    }

    fn owed(&mut self, owed: Owed, now: Now, effects: &mut Effects<Effect>) {
        let Owed { key, ledger, tries, mut pushes } = owed;
        pushes.truncate(CLAIM_PUSHES_MAX);
        // What makes no claim is not made one by asking again.
        let tree = ClaimTree::new(self.me, key.source, key.window, pushes).ok();
        let Some(tree) = tree.filter(|tree| self.wants(&key, tree.claim().sum)) else { return };
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
        self.held.insert(key, Held::new(row));
        self.send(now, effects);
    }

    fn said(&mut self, key: ClaimKey, said: Said, now: Now, effects: &mut Effects<Effect>) {
        let Some(held) = self.held.get_mut(&key) else { return };
        let row = &mut held.row;
        let is_made = row.state == ClaimState::Made;
        match said {
            Said::Opened { due, due_ms } if is_made => row.state = ClaimState::Open { due, due_ms },
            Said::Refused { why, is_final: true, .. } if is_made => {
                row.state = ClaimState::Refused { why };
                return self.end(key, effects);
            }
            Said::Refused { why, taken, paid, .. } if is_made => {
                let wait = REFUSED_MS << row.tries.min(REFUSED_DOUBLES);
                row.tries = row.tries.saturating_add(1);
                row.next_try_ms = now.plus_ms(if taken.is_empty() { wait } else { 0 }).0;
                row.state = ClaimState::Refused { why };
                let (mut row, taken_until_ms) = (row.clone(), now.plus_ms(TAKEN_MS).0);
                let pushes = std::mem::take(&mut row.pushes);
                self.held.remove(&key);
                return effects.push(Effect::Free { key, row, pushes, taken, taken_until_ms, paid });
            }
            // Whoever says that it is a ledger says what he likes: what is not claimed is not challenged.
            Said::Challenged { leaf, .. } if u64::from(leaf) >= held.leaves => return,
            // That it was taken at all was told before, or is told by this.
            Said::Challenged { leaf, due, due_ms } => {
                let before = row.challenges.iter().find(|challenge| challenge.leaf == leaf);
                if before.is_none() && row.challenges.len() >= CHALLENGES_MAX {
                    return;
                }
                // The answer to an earlier challenge has its slot, and is not heard again.
                let tries = before.map_or(0, |before| before.tries.saturating_add(1));
                row.challenges.retain(|challenge| challenge.leaf != leaf);
                let next_try_ms = now.0;
                row.challenges.push(ChallengeRow { leaf, due, due_ms, answered: false, tries, next_try_ms });
                row.state = ClaimState::Open { due, due_ms };
                effects.push(Effect::Save(key, row.clone()));
                // Where no place is free each answer that ends looks for the next.
                if self.places.has_room(&row.ledger, true) {
                    self.answer(now, effects);
                }
                return;
            }
            Said::Answered(leaf) => {
                let Some(challenge) = row.challenges.iter_mut().find(|challenge| challenge.leaf == leaf)
                else {
                    return;
                };
                challenge.answered = true;
            }
            Said::Unanswered { leaf, is_final } => {
                let open = |challenge: &&mut ChallengeRow| challenge.leaf == leaf && !challenge.answered;
                let Some(challenge) = row.challenges.iter_mut().find(open) else { return };
                challenge.answered = is_final;
                challenge.next_try_ms =
                    next_try(challenge, ANSWER_MS << challenge.tries.min(ANSWER_DOUBLES), now);
                challenge.tries = challenge.tries.saturating_add(1);
            }
            Said::Struck(leaf, amount) => {
                row.sum = row.sum.saturating_sub(amount);
                row.challenges.retain(|challenge| challenge.leaf != leaf);
            }
            Said::Paid | Said::Lost => {
                row.state = if said == Said::Paid { ClaimState::Paid } else { ClaimState::Lost };
                self.settles.remove(&row.ledger);
                return self.end(key, effects);
            }
            Said::Opened { .. } | Said::Refused { .. } => return,
        }
        effects.push(Effect::Save(key, held.row.clone()));
    }

    /// A claim is over: it is not under way any more, and nothing is kept of its pushes.
    fn end(&mut self, key: ClaimKey, effects: &mut Effects<Effect>) {
        let Some(Held { mut row, .. }) = self.held.remove(&key) else { return };
        let pushes = std::mem::take(&mut row.pushes);
        row.challenges.clear();
        effects.push(Effect::End { key, row, pushes });
    }

    /// Sends the answers whose time has come, as many as there are places for: first what is lost first.
    fn answer(&mut self, now: Now, effects: &mut Effects<Effect>) {
        let mut due = Vec::new();
        for (key, held) in &self.held {
            let open = held.row.challenges.iter().enumerate();
            let open = open.filter(|(_, challenge)| !challenge.answered && challenge.next_try_ms <= now.0);
            due.extend(open.map(|(at, challenge)| (challenge.due_ms, *key, at)));
        }
        due.sort_unstable();
        for (_, key, at) in due {
            let Some(Held { row, .. }) = self.held.get_mut(&key) else { continue };
            let Some(challenge) = row.challenges.get_mut(at) else { continue };
            if self.places.take(row.ledger, Sending::Answer(key, challenge.leaf)) {
                challenge.next_try_ms = next_try(challenge, ANSWER_MS, now);
                let challenge = *challenge;
                effects.push(Effect::Answer(key, row.clone(), challenge));
            }
        }
    }

    /// Sends the claims whose time has come, as many as there are places for.
    fn send(&mut self, now: Now, effects: &mut Effects<Effect>) {
        for (key, held) in &mut self.held {
            let is_due = held.sent.is_none_or(|sent| sent.plus_ms(ANSWER_MS) <= now);
            let is_due = is_due && held.row.state == ClaimState::Made;
            if is_due && self.places.take(held.row.ledger, Sending::Claim(*key)) {
                held.sent = Some(now);
                effects.push(Effect::Send(*key, held.row.clone()));
            }
        }
    }

    /// Lets slots pass where claims wait for them: nothing is paid before, and nobody else may want that.
    fn settle(&mut self, now: Now, effects: &mut Effects<Effect>) {
        let (mut waits, mut unanswered) = (BTreeSet::new(), BTreeSet::new());
        for held in self.held.values_mut() {
            let since = held.unanswered.unwrap_or(now);
            held.unanswered = held.is_unanswered().then_some(since);
            if held.unanswered.is_some() && now < since.plus_ms(UNANSWERED_MS) {
                unanswered.insert(held.row.ledger);
            }
            if matches!(held.row.state, ClaimState::Open { due_ms, .. } if due_ms <= now.0) {
                waits.insert(held.row.ledger);
            }
        }
        waits.retain(|ledger| !unanswered.contains(ledger) && !self.deaf.contains(ledger));
        self.settles.retain(|ledger, _| waits.contains(ledger));
        for ledger in waits {
            let (count, last) = self.settles.get(&ledger).copied().unwrap_or((0, now));
            let wait =
                SETTLE_MS.checked_shl(count / SETTLES).unwrap_or(u64::MAX).clamp(SETTLE_MS, SETTLE_MS_MAX);
            let is_due = count == 0 || last.plus_ms(wait) <= now;
            if is_due && self.places.take(ledger, Sending::Settle) {
                self.settles.insert(ledger, (count.saturating_add(1), now));
                effects.push(Effect::Settle(ledger, count));
            }
        }
    }

    /// Takes back the place of a message. What it asked for has time to be said before it is sent again.
    fn ended(&mut self, ledger: Id, sending: Sending, now: Now, effects: &mut Effects<Effect>) {
        self.places.give(ledger, sending);
        match sending {
            Sending::Claim(key) => {
                if let Some(held) = self.held.get_mut(&key) {
                    held.sent = Some(now);
                }
            }
            Sending::Answer(key, leaf) => {
                let challenges = self.held.get_mut(&key).map(|held| &mut held.row.challenges);
                let sent = challenges.and_then(|all| all.iter_mut().find(|one| one.leaf == leaf));
                if let Some(challenge) = sent {
                    challenge.next_try_ms = challenge.next_try_ms.max(next_try(challenge, ANSWER_MS, now));
                }
                self.answer(now, effects);
            }
            Sending::Settle => {}
        }
    }
}

/// When the answer to a challenge goes out again after a wait, in milliseconds since the Unix epoch: the time that the ledger
/// gives for it may be short.
const fn next_try(challenge: &ChallengeRow, wait_ms: u64, now: Now) -> u64 {
    now.plus_ms(within(wait_ms, challenge.due_ms, now.0, AGAIN_MS_MIN)).0
}

impl Machine for Claims {
    type Input = Input;
    type Effect = Effect;

    fn handle(&mut self, input: Input, now: Now, effects: &mut Effects<Effect>) {
        match input {
            Input::Held(key, row) => {
                if matches!(row.state, ClaimState::Made | ClaimState::Open { .. }) {
                    self.held.insert(key, Held::new(row));
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
            Input::Ended(ledger, sending) => self.ended(ledger, sending, now, effects),
            Input::Deaf(ledgers) => self.deaf = ledgers,
            Input::Tick => {
                self.answer(now, effects);
                self.send(now, effects);
                self.settle(now, effects);
            }
        }
    }
}

#[cfg(test)]
mod tests;
