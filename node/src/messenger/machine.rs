//! The messenger's rules: who carries what when, in which order, and when to try again.
//!
//! Every messenger of a source process computes the same rank for each outbox entry from the
//! live offers it knows. Rank 0 pushes at once, rank r after r windows if no receipt was seen.
//! Differing views only cost a duplicate submit, which the target's scheduler answers with the
//! first assignment.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use weft_protocol::header::Header;
use weft_protocol::offer::rank_score;
use weft_protocol::{Address, DataItem, Effects, Hash, Id, Machine, Now, Position, Verified};

/// Ranks that wait their turn; after them anyone may push.
pub const RANKS_MAX: u64 = 4;
/// Live offers kept per source process.
pub const OFFERS_MAX: usize = 64;
/// The first wait after a failed push, in milliseconds; doubled each time.
pub const RETRY_MS_MIN: u64 = 500;
/// The longest wait between two tries, in milliseconds.
pub const RETRY_MS_MAX: u64 = 60_000;
/// The wait before a row that could not be written is written again, in milliseconds.
pub const SAVE_MS: u64 = 1_000;
/// Rows that are written again; those beyond it are carried again after a restart.
pub const UNSAVED_MAX: usize = 4_096;
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
    /// Where it goes first.
    pub to: To,
}

impl Entry {
    /// In whose log it is to end: the target's, or the source's own, which is told of its child.
    pub const fn log(&self) -> Id {
        match self.to {
            To::Process(target) => target,
            To::Scheduler(_) => self.source,
        }
    }
}

/// Where an outbox entry goes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum To {
    /// A message, to this process.
    Process(Id),
    /// A spawn, to the scheduler of what it becomes; then the news of it to the source itself.
    Scheduler(Address),
}

impl std::fmt::Display for To {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Process(process) => write!(f, "process {process}"),
            Self::Scheduler(scheduler) => write!(f, "scheduler {scheduler}"),
        }
    }
}

/// What a spawn became, in its scheduler's words: it goes into the proof of `Spawned`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Born {
    /// The header of the child's Process item.
    pub header: Verified<Header>,
    /// The assignment of its slot 0.
    pub assignment: Verified<DataItem>,
}

impl Born {
    /// The child.
    pub fn child(&self) -> Id {
        self.header.id()
    }
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
        /// The assignment in the target's log; of a spawn, that of `Spawned` in the source's.
        assignment: Id,
        /// Of a spawn, what it became.
        child: Option<Id>,
    },
    /// A row could not be written.
    NotSaved(Effect),
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
    /// The scheduler gave the child slot 0, now or before; its parent is to be told.
    Born(Box<Born>),
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
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// Build the proven item and submit it to the scheduler that it is for; answer with `Pushed`.
    Push(Entry),
    /// Build the proven `Spawned` message and submit it to the source's own scheduler; answer with
    /// `Pushed`.
    Tell {
        /// The spawn.
        entry: Entry,
        /// What it became.
        born: Box<Born>,
    },
    /// Ask the source's attestors for what they signed of this position.
    AskAttestations {
        /// Of which process.
        source: Id,
        /// Which position.
        position: Position,
    },
    /// Store the receipt; the row leaves the outbox with it. This and `GiveUp` are answered with
    /// `NotSaved` if they could not be stored.
    Settle {
        /// Which entry.
        entry: Entry,
        /// The receipt.
        assignment: Id,
        /// Whether this messenger carried it.
        ours: bool,
        /// Of a spawn, what it became.
        child: Option<Id>,
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
    /// Per source and where it goes, in position order: rules.md 6.16.
    lanes: BTreeMap<(Id, To), VecDeque<PushId>>,
    attested: BTreeSet<(Id, Position)>,
    asked: BTreeMap<(Id, Position), Now>,
    /// Rows to write again, and when.
    unsaved: VecDeque<(Now, Effect)>,
}

#[derive(Debug)]
struct Job {
    entry: Entry,
    /// Of a spawn whose parent is still to be told.
    born: Option<Box<Born>>,
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
            unsaved: VecDeque::new(),
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
        let lane = self.lanes.entry((entry.source, entry.to)).or_default();
        let order = |id: &PushId| self.entries.get(id).map(|job| (job.entry.position, job.entry.index));
        let at = lane.partition_point(|id| order(id) < Some((entry.position, entry.index)));
        lane.insert(at, entry.push_id);
        let job = Job { entry, born: None, since: now, not_before: now, tries, pushing: false };
        self.entries.insert(entry.push_id, job);
    }

    fn offered(&mut self, source: Id, messenger: Address, until: u64, now: Now) {
        let offers = self.offers.entry(source).or_default();
        offers.retain(|_, until| *until > now.0);
        if offers.len() < OFFERS_MAX || offers.contains_key(&messenger) {
            offers.insert(messenger, until);
        }
    }

    /// `child` is what somebody else's receipt says; what this messenger saw itself goes first.
    fn settle(
        &mut self,
        push_id: &PushId,
        assignment: Id,
        ours: bool,
        child: Option<Id>,
        effects: &mut Effects<Effect>,
    ) {
        let Some(Job { entry, born, .. }) = self.remove(push_id) else { return };
        let child = born.map(|born| born.child()).or(child);
        let child = child.filter(|_| matches!(entry.to, To::Scheduler(_)));
        effects.push(Effect::Settle { entry, assignment, ours, child });
    }

    fn remove(&mut self, push_id: &PushId) -> Option<Job> {
        let job = self.entries.remove(push_id)?;
        let key = (job.entry.source, job.entry.to);
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
        Some(job)
    }

    fn give_up(&mut self, push_id: &PushId, why: String, effects: &mut Effects<Effect>) {
        if let Some(Job { entry, .. }) = self.remove(push_id) {
            effects.push(Effect::GiveUp { entry, why });
        }
    }

    fn born(&mut self, push_id: &PushId, born: Box<Born>) {
        if let Some(job) = self.entries.get_mut(push_id) {
            job.pushing = false;
            job.born = Some(born);
        }
    }

    fn pushed(&mut self, push_id: PushId, outcome: PushOutcome, now: Now, effects: &mut Effects<Effect>) {
        let (why, wait) = match outcome {
            PushOutcome::Assigned { assignment } => {
                return self.settle(&push_id, assignment, true, None, effects);
            }
            PushOutcome::Born(born) => return self.born(&push_id, born),
            PushOutcome::Refused(why) => return self.give_up(&push_id, why, effects),
            PushOutcome::Busy { retry_ms } => ("the target's scheduler is busy".to_owned(), Some(retry_ms)),
            PushOutcome::Unreachable(why) => (why, None),
        };
        let Some(job) = self.entries.get_mut(&push_id) else { return };
        job.pushing = false;
        job.tries = job.tries.saturating_add(1);
        if job.tries >= TRIES_MAX {
            return self.give_up(&push_id, why, effects);
        }
        let doubled = RETRY_MS_MIN << (job.tries - 1).min(7);
        job.not_before = now.plus_ms(wait.unwrap_or(doubled).min(RETRY_MS_MAX));
        let (entry, tries, at) = (job.entry, job.tries, job.not_before);
        effects.push(Effect::Retry { entry, tries, at, why });
    }

    /// Asks once more for the rows that could not be written.
    fn save_again(&mut self, now: Now, effects: &mut Effects<Effect>) {
        while self.unsaved.front().is_some_and(|(at, _)| *at <= now) {
            let Some((_, effect)) = self.unsaved.pop_front() else { return };
            effects.push(effect);
        }
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
                let born = job.born.clone();
                if let Some(job) = self.entries.get_mut(&push_id) {
                    job.pushing = true;
                }
                effects.push(born.map_or(Effect::Push(entry), |born| Effect::Tell { entry, born }));
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
            Input::Receipt { push_id, assignment, child } => {
                self.settle(&push_id, assignment, false, child, effects);
            }
            Input::NotSaved(effect) => {
                if self.unsaved.len() < UNSAVED_MAX {
                    self.unsaved.push_back((now.plus_ms(SAVE_MS), effect));
                }
            }
            Input::Tick => self.save_again(now, effects),
        }
        self.step(now, effects);
    }
}

#[cfg(test)]
mod tests;
