//! The messenger's rules: who carries what when, in which order, and when to try again.
//!
//! Every messenger of a source process computes the same rank for each outbox entry from the
//! live offers it knows. Rank 0 pushes at once, rank r after r windows if no receipt was seen.
//! Differing views only cost a duplicate submit, which the target's scheduler answers with the
//! first assignment.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use weft_protocol::offer::rank_score;
use weft_protocol::{Address, Effects, Hash, Id, Machine, Now, Position};

/// Ranks that wait their turn; after them anyone may push.
pub const RANKS_MAX: u64 = 4;
/// Live offers kept per source process.
pub const OFFERS_MAX: usize = 64;
/// The first wait after a failed push, in milliseconds; doubled each time.
pub const RETRY_MS_MIN: u64 = 500;
/// The longest wait between two tries, in milliseconds.
pub const RETRY_MS_MAX: u64 = 60_000;
/// Tries after which an entry is given up, visibly: about a day at the longest wait.
pub const TRIES_MAX: u32 = 1_440;

/// Names one outbox entry everywhere.
pub type PushId = Hash;

/// Where an outbox entry stands and where it goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    /// Its push id.
    pub push_id: PushId,
    /// The process that sends it.
    pub source: Id,
    /// The evaluated position it comes from.
    pub position: Position,
    /// Its index in that position's outbox.
    pub index: u32,
    /// The process it is for.
    pub target: Id,
}

/// What the messenger hears.
#[derive(Debug)]
pub enum Input {
    /// An outbox entry on disk that has no receipt yet.
    Pending {
        /// Which.
        entry: Entry,
        /// Failed tries so far.
        tries: u32,
    },
    /// A live offer to carry for a source process, our own included.
    Offered {
        /// For which process.
        source: Id,
        /// Whose.
        messenger: Address,
        /// When it lapses, Unix milliseconds.
        until: u64,
    },
    /// The position is signed by a quorum of its attestors.
    Attested {
        /// Of which process.
        source: Id,
        /// Which position.
        position: Position,
    },
    /// A push of ours was answered.
    Pushed {
        /// Which.
        push_id: PushId,
        /// With what.
        outcome: PushOutcome,
    },
    /// Another messenger's receipt was seen and verified.
    Receipt {
        /// Of which push.
        push_id: PushId,
        /// The assignment in the target's log.
        assignment: Id,
    },
    /// Time passed.
    Tick,
}

/// How a push ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PushOutcome {
    /// The target's scheduler assigned it, now or before.
    Assigned {
        /// The target's assignment: the receipt.
        assignment: Id,
    },
    /// Come back later.
    Busy {
        /// After so many milliseconds.
        retry_ms: u64,
    },
    /// The target is unknown or unreachable now.
    Unreachable(String),
    /// The target's scheduler will never take it.
    Refused(String),
}

/// What the messenger asks for.
#[derive(Debug, PartialEq, Eq)]
pub enum Effect {
    /// Build the proven item and submit it to the target's scheduler; answer with `Pushed`.
    Push(Entry),
    /// Ask the source's attestors for what they signed of this position.
    AskAttestations {
        /// Of which process.
        source: Id,
        /// Which position.
        position: Position,
    },
    /// Store the receipt; the row leaves the outbox with it.
    Settle {
        /// Which entry.
        entry: Entry,
        /// The receipt.
        assignment: Id,
        /// Whether this messenger carried it.
        ours: bool,
    },
    /// Store that a try failed.
    Retry {
        /// Which entry.
        entry: Entry,
        /// Failed tries so far.
        tries: u32,
        /// When to try again.
        at: Now,
        /// Why it failed.
        why: String,
    },
    /// Store that no more tries are made.
    GiveUp {
        /// Which entry.
        entry: Entry,
        /// Why.
        why: String,
    },
}

/// A messenger for any number of source processes.
#[derive(Debug)]
pub struct Messenger {
    own: Address,
    window_ms: u64,
    offers: BTreeMap<Id, BTreeMap<Address, u64>>,
    entries: BTreeMap<PushId, Job>,
    /// Per source and target, in position order: rules.md 6.16.
    lanes: BTreeMap<(Id, Id), VecDeque<PushId>>,
    attested: BTreeSet<(Id, Position)>,
    asked: BTreeMap<(Id, Position), Now>,
}

#[derive(Debug)]
struct Job {
    entry: Entry,
    since: Now,
    not_before: Now,
    tries: u32,
    pushing: bool,
}

/// How often missing attestations are asked for, in milliseconds.
const ASK_MS: u64 = 1_000;

impl Messenger {
    /// The messenger with this address; `window_ms` is one rank's turn.
    pub const fn new(own: Address, window_ms: u64) -> Self {
        Self {
            own,
            window_ms,
            offers: BTreeMap::new(),
            entries: BTreeMap::new(),
            lanes: BTreeMap::new(),
            attested: BTreeSet::new(),
            asked: BTreeMap::new(),
        }
    }

    /// Entries without a receipt.
    pub fn pending(&self) -> usize {
        self.entries.len()
    }

    /// The entry of a push without a receipt.
    pub fn entry(&self, push_id: &PushId) -> Option<Entry> {
        self.entries.get(push_id).map(|job| job.entry)
    }

    /// This messenger's rank for a push among the live offers; 0 pushes at once.
    pub fn rank(&self, source: &Id, push_id: &PushId, now: Now) -> u64 {
        let own = rank_score(push_id, &self.own);
        let ahead = |messenger: &Address| rank_score(push_id, messenger) > own;
        self.others(source, now).iter().filter(|messenger| ahead(messenger)).count() as u64
    }

    /// Everyone known to carry for a source process now, this messenger left out.
    pub fn others(&self, source: &Id, now: Now) -> Vec<Address> {
        let live = self.offers.get(source).into_iter().flatten();
        live.filter(|(messenger, until)| **messenger != self.own && **until > now.0)
            .map(|(messenger, _)| *messenger)
            .collect()
    }

    fn pending_entry(&mut self, entry: Entry, tries: u32, now: Now) {
        if self.entries.contains_key(&entry.push_id) {
            return;
        }
        let lane = self.lanes.entry((entry.source, entry.target)).or_default();
        let order = |id: &PushId| self.entries.get(id).map(|job| (job.entry.position, job.entry.index));
        let at = lane.partition_point(|id| order(id) < Some((entry.position, entry.index)));
        lane.insert(at, entry.push_id);
        let job = Job { entry, since: now, not_before: now, tries, pushing: false };
        self.entries.insert(entry.push_id, job);
    }

    fn offered(&mut self, source: Id, messenger: Address, until: u64, now: Now) {
        let offers = self.offers.entry(source).or_default();
        offers.retain(|_, until| *until > now.0);
        if offers.len() < OFFERS_MAX || offers.contains_key(&messenger) {
            offers.insert(messenger, until);
        }
    }

    fn settle(&mut self, push_id: &PushId, assignment: Id, ours: bool, effects: &mut Effects<Effect>) {
        if let Some(entry) = self.remove(push_id) {
            effects.push(Effect::Settle { entry, assignment, ours });
        }
    }

    fn remove(&mut self, push_id: &PushId) -> Option<Entry> {
        let job = self.entries.remove(push_id)?;
        let key = (job.entry.source, job.entry.target);
        if let Some(lane) = self.lanes.get_mut(&key) {
            lane.retain(|id| id != push_id);
            if lane.is_empty() {
                self.lanes.remove(&key);
            }
        }
        let place = (job.entry.source, job.entry.position);
        if !self.entries.values().any(|job| (job.entry.source, job.entry.position) == place) {
            self.attested.remove(&place);
            self.asked.remove(&place);
        }
        Some(job.entry)
    }

    fn pushed(&mut self, push_id: PushId, outcome: PushOutcome, now: Now, effects: &mut Effects<Effect>) {
        let (why, wait) = match outcome {
            PushOutcome::Assigned { assignment } => return self.settle(&push_id, assignment, true, effects),
            PushOutcome::Refused(why) => {
                if let Some(entry) = self.remove(&push_id) {
                    effects.push(Effect::GiveUp { entry, why });
                }
                return;
            }
            PushOutcome::Busy { retry_ms } => ("the target's scheduler is busy".to_owned(), Some(retry_ms)),
            PushOutcome::Unreachable(why) => (why, None),
        };
        let Some(job) = self.entries.get_mut(&push_id) else { return };
        job.pushing = false;
        job.tries = job.tries.saturating_add(1);
        if job.tries >= TRIES_MAX {
            if let Some(entry) = self.remove(&push_id) {
                effects.push(Effect::GiveUp { entry, why });
            }
            return;
        }
        let doubled = RETRY_MS_MIN << (job.tries - 1).min(7);
        job.not_before = now.plus_ms(wait.unwrap_or(doubled).min(RETRY_MS_MAX));
        let (entry, tries, at) = (job.entry, job.tries, job.not_before);
        effects.push(Effect::Retry { entry, tries, at, why });
    }

    /// Starts every push whose turn it is: the oldest of each lane.
    fn step(&mut self, now: Now, effects: &mut Effects<Effect>) {
        let heads: Vec<PushId> = self.lanes.values().filter_map(|lane| lane.front().copied()).collect();
        for push_id in heads {
            let Some(job) = self.entries.get(&push_id) else { continue };
            let entry = job.entry;
            if job.pushing || job.not_before > now {
                continue;
            }
            let rank = self.rank(&entry.source, &push_id, now).min(RANKS_MAX);
            if job.since.plus_ms(rank.saturating_mul(self.window_ms)) > now {
                continue;
            }
            let place = (entry.source, entry.position);
            if self.attested.contains(&place) {
                if let Some(job) = self.entries.get_mut(&push_id) {
                    job.pushing = true;
                }
                effects.push(Effect::Push(entry));
            } else if self.asked.get(&place).is_none_or(|then| then.plus_ms(ASK_MS) <= now) {
                self.asked.insert(place, now);
                effects.push(Effect::AskAttestations { source: entry.source, position: entry.position });
            }
        }
    }
}

impl Machine for Messenger {
    type Input = Input;
    type Effect = Effect;

    fn handle(&mut self, input: Input, now: Now, effects: &mut Effects<Effect>) {
        match input {
            Input::Pending { entry, tries } => self.pending_entry(entry, tries, now),
            Input::Offered { source, messenger, until } => self.offered(source, messenger, until, now),
            Input::Attested { source, position } => {
                let wanted = |job: &Job| job.entry.source == source && job.entry.position == position;
                if self.entries.values().any(wanted) {
                    self.attested.insert((source, position));
                }
            }
            Input::Pushed { push_id, outcome } => self.pushed(push_id, outcome, now, effects),
            Input::Receipt { push_id, assignment } => self.settle(&push_id, assignment, false, effects),
            Input::Tick => {}
        }
        self.step(now, effects);
    }
}
