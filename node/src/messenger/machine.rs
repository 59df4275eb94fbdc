//! The messenger's rules: who carries what when, in which order, and when to try again.
//!
//! Every messenger of a source process has a rank for each outbox entry: from the live offers that it knows, or
//! in hard mode from those in the source's log, where all come to the same. Rank 0 pushes at once, rank r
//! after r turns if no receipt was seen. Differing views only cost a duplicate submit, which the target's
//! scheduler answers with the first assignment.

mod early;
mod exchange;
mod lanes;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use weft_protocol::market::{TURN_MS, rank_score};
use weft_protocol::{Address, Effects, Id, Machine, Now, Position};

pub use early::Early;
pub use exchange::{Born, Effect, Entry, How, Input, Place, PushId, PushOutcome, To, Turn};
use lanes::Lanes;
pub use lanes::{LANE_MAX, SOURCE_MAX};

/// Ranks that wait their turn; after them anyone may push.
pub const RANKS_MAX: u64 = 4;
/// The first wait after a failed push, in milliseconds; doubled each time.
pub const RETRY_MS_MIN: u64 = 500;
/// The longest wait between two tries, in milliseconds.
pub const RETRY_MS_MAX: u64 = 60_000;
/// The wait before a row that could not be written is written again, in milliseconds.
pub const SAVE_MS: u64 = 1_000;
/// Rows that are written again; those beyond it are carried again after a restart.
pub const UNSAVED_MAX: usize = 4_096;
/// Tries after which an entry is given up, visibly: about a day at the longest wait. Those behind it
/// that go to the same place then have one try each, until one of them is answered.
pub const TRIES_MAX: u32 = 1_440;
/// Failed tries after which only the first entry for a place stays in memory.
pub const SHORTEN_TRIES: u32 = 4;

/// A messenger for any number of source processes.
#[derive(Debug)]
pub struct Messenger {
    own: Address,
    window_ms: u64,
    offers: BTreeMap<Id, BTreeMap<Address, u64>>,
    entries: BTreeMap<PushId, Job>,
    lanes: Lanes,
    /// The positions of the entries.
    sent: BTreeMap<(Id, Position), Sent>,
    /// Rows to write again, and when.
    unsaved: VecDeque<(Now, Effect)>,
}

#[derive(Debug)]
struct Job {
    entry: Entry,
    /// Of a spawn whose parent is still to be told.
    born: Option<Box<Born>>,
    since: Now,
    tries: u32,
    pushing: bool,
}

/// What is known of a position that sent something.
#[derive(Debug, Default)]
struct Sent {
    /// Its entries here; at none this is forgotten.
    entries: usize,
    is_attested: bool,
    /// When its attestors were last asked, and how often.
    asked: Option<Now>,
    asks: u32,
    /// Whose turn it is as soon as it is attested.
    waiting: BTreeSet<To>,
}

/// How often missing attestations are asked for, in milliseconds; after [`ASKS_OFTEN`] times eight
/// times as rarely.
const ASK_MS: u64 = 1_000;
/// How often an attestor is asked at that pace.
const ASKS_OFTEN: u32 = 30;

impl Messenger {
    /// The messenger with this address; `window_ms` is one rank's turn.
    pub const fn new(own: Address, window_ms: u64) -> Self {
        Self {
            own,
            window_ms,
            offers: BTreeMap::new(),
            entries: BTreeMap::new(),
            lanes: Lanes::new(),
            sent: BTreeMap::new(),
            unsaved: VecDeque::new(),
        }
    }

    /// Entries in memory without a receipt.
    pub fn pending(&self) -> usize {
        self.entries.len()
    }

    /// The entry of a push without a receipt.
    pub fn entry(&self, push_id: &PushId) -> Option<Entry> {
        self.entries.get(push_id).map(|job| job.entry)
    }

    /// Since when the entry of a push without a receipt is known here.
    pub fn known_since(&self, push_id: &PushId) -> Option<Now> {
        self.entries.get(push_id).map(|job| job.since)
    }

    /// This messenger's rank for a push among the live offers; 0 pushes at once.
    pub fn rank(&self, source: &Id, push_id: &PushId, now: Now) -> u64 {
        let own = rank_score(push_id, &self.own);
        let ahead = |messenger: &Address| rank_score(push_id, messenger) > own;
        self.others(source, now).iter().filter(|messenger| ahead(messenger)).count() as u64
    }

    /// Whether others are to carry this entry before this messenger, by what it knows now.
    pub fn is_backup(&self, entry: &Entry, now: Now) -> bool {
        match entry.turn {
            Turn::Soft => self.rank(&entry.source, &entry.push_id, now) > 0,
            Turn::Hard(rank) => rank > 0,
        }
    }

    /// Everyone known to carry for a source process now, this messenger left out.
    pub fn others(&self, source: &Id, now: Now) -> Vec<Address> {
        let live = self.offers.get(source).into_iter().flatten();
        live.filter(|(messenger, until)| **messenger != self.own && **until > now.0)
            .map(|(messenger, _)| *messenger)
            .collect()
    }

    /// Whether something of a position is here that no quorum is known to have signed.
    pub fn waits_for_quorum(&self, source: Id, position: Position) -> bool {
        self.sent.get(&(source, position)).is_some_and(|sent| !sent.is_attested)
    }

    /// Where pushes have failed and are tried again later.
    pub fn failing(&self) -> impl Iterator<Item = (Id, To)> {
        self.lanes.failing()
    }

    /// Whether the last try for the place of this entry failed.
    pub fn is_retry(&self, entry: &Entry) -> bool {
        self.lanes.failures(&(entry.source, entry.to)) > 0
    }

    fn pending_entry(&mut self, entry: Entry, tries: u32, now: Now) {
        if self.entries.contains_key(&entry.push_id) || !self.lanes.admit(&entry, tries, now) {
            return;
        }
        let job = Job { entry, born: None, since: now, tries, pushing: false };
        self.entries.insert(entry.push_id, job);
        self.sent.entry((entry.source, entry.position)).or_default().entries += 1;
    }

    /// `child` is what somebody else's receipt says; what this messenger saw itself goes first.
    fn settle(
        &mut self,
        push_id: &PushId,
        assignment: Id,
        ours: bool,
        child: Option<Id>,
        now: Now,
        effects: &mut Effects<Effect>,
    ) {
        let Some(Job { entry, born, .. }) = self.remove(push_id, now, effects) else { return };
        let child = born.map(|born| born.child()).or(child);
        let child = child.filter(|_| matches!(entry.to, To::Scheduler(_)));
        effects.push(Effect::Settle { entry, assignment, ours, child });
    }

    fn remove(&mut self, push_id: &PushId, now: Now, effects: &mut Effects<Effect>) -> Option<Job> {
        let job = self.forget(push_id)?;
        if let Some(effect) = self.lanes.remove(&job.entry, now) {
            effects.push(effect);
        }
        Some(job)
    }

    /// Everything of an entry but its place in its lane.
    fn forget(&mut self, push_id: &PushId) -> Option<Job> {
        let job = self.entries.remove(push_id)?;
        let place = (job.entry.source, job.entry.position);
        if let Some(sent) = self.sent.get_mut(&place) {
            sent.entries -= 1;
            if sent.entries == 0 {
                self.sent.remove(&place);
            }
        }
        Some(job)
    }

    fn give_up(
        &mut self,
        push_id: &PushId,
        why: String,
        refused: bool,
        now: Now,
        effects: &mut Effects<Effect>,
    ) {
        if let Some(Job { entry, .. }) = self.remove(push_id, now, effects) {
            effects.push(Effect::GiveUp { entry, why, refused });
        }
    }

    fn born(&mut self, push_id: &PushId, born: Box<Born>, now: Now) {
        if let Some(job) = self.entries.get_mut(push_id) {
            job.pushing = false;
            job.born = Some(born);
            self.lanes.answered(&(job.entry.source, job.entry.to), now);
        }
    }

    fn pushed(&mut self, push_id: PushId, outcome: PushOutcome, now: Now, effects: &mut Effects<Effect>) {
        let Some(job) = self.entries.get_mut(&push_id) else { return };
        job.pushing = false;
        let (entry, key) = (job.entry, (job.entry.source, job.entry.to));
        match outcome {
            PushOutcome::Assigned { assignment, how } => {
                self.lanes.answered(&key, now);
                let ours = how == How::Carried;
                self.settle(&push_id, assignment, ours, None, now, effects);
            }
            PushOutcome::Born(born) => self.born(&push_id, born, now),
            PushOutcome::Refused(why) => {
                self.lanes.answered(&key, now);
                self.give_up(&push_id, why, true, now, effects);
            }
            PushOutcome::Busy { retry_ms } => {
                // Whoever is busy is there: this is no failed try, however often it is said.
                let at = self.lanes.busy(&key, retry_ms, now);
                let why = "the target's scheduler is busy".to_owned();
                effects.push(Effect::Retry { entry, tries: job.tries, at, why });
            }
            PushOutcome::Unreachable(why) => {
                job.tries = job.tries.saturating_add(1);
                let (failures, at) = self.lanes.failed(&key, job.tries, now);
                let tries = job.tries;
                if failures >= TRIES_MAX {
                    return self.give_up(&push_id, why, false, now, effects);
                }
                if failures >= SHORTEN_TRIES {
                    for behind in self.lanes.shorten(&key) {
                        self.forget(&behind);
                    }
                }
                effects.push(Effect::Retry { entry, tries, at, why });
            }
        }
    }

    fn taken_up(
        &mut self,
        source: Id,
        to: Option<To>,
        found: Vec<(Entry, u32)>,
        next: Option<Place>,
        now: Now,
    ) {
        self.lanes.taken_up(source, to, next);
        for (entry, tries) in found {
            self.pending_entry(entry, tries, now);
        }
        self.lanes.settle_down(source, to, now);
    }

    /// Forgets what a source sends. Its rows stay on disk; what comes of pushes under way changes
    /// nothing here any more.
    fn drop_source(&mut self, source: Id) {
        let of_source = |job: &&Job| job.entry.source == source;
        let gone: Vec<PushId> =
            self.entries.values().filter(of_source).map(|job| job.entry.push_id).collect();
        for push_id in gone {
            self.forget(&push_id);
        }
        self.lanes.drop_source(source);
        self.offers.remove(&source);
    }

    /// Asks once more for the rows that could not be written.
    fn save_again(&mut self, now: Now, effects: &mut Effects<Effect>) {
        while self.unsaved.front().is_some_and(|(at, _)| *at <= now) {
            let Some((_, effect)) = self.unsaved.pop_front() else { return };
            effects.push(effect);
        }
    }

    /// Looks at every lane whose time has come: starts the push of its oldest entry if it is this
    /// messenger's turn.
    fn step(&mut self, now: Now, effects: &mut Effects<Effect>) {
        while let Some((source, to)) = self.lanes.next_due(now) {
            match self.lanes.front(&(source, to)) {
                Some(push_id) => self.look(push_id, now, effects),
                None => effects.extend(self.lanes.take_up(&(source, to))),
            }
        }
        effects.extend(self.lanes.take_up_sources());
    }

    fn look(&mut self, push_id: PushId, now: Now, effects: &mut Effects<Effect>) {
        let Some(job) = self.entries.get(&push_id) else { return };
        let (entry, key) = (job.entry, (job.entry.source, job.entry.to));
        if job.pushing {
            return;
        }
        let wait_ms = match entry.turn {
            Turn::Soft => {
                let rank = self.rank(&entry.source, &push_id, now).min(RANKS_MAX);
                rank.saturating_mul(self.window_ms)
            }
            Turn::Hard(rank) => u64::from(rank) * TURN_MS,
        };
        let turn = job.since.plus_ms(wait_ms);
        let not_before = self.lanes.not_before(&key).max(turn);
        if not_before > now {
            return self.lanes.wake(&key, not_before);
        }
        let Some(sent) = self.sent.get_mut(&(entry.source, entry.position)) else { return };
        if sent.is_attested {
            let born = job.born.clone();
            if let Some(job) = self.entries.get_mut(&push_id) {
                job.pushing = true;
            }
            return effects.push(born.map_or(Effect::Push(entry), |born| Effect::Tell { entry, born }));
        }
        sent.waiting.insert(entry.to);
        let wait = if sent.asks < ASKS_OFTEN { ASK_MS } else { 8 * ASK_MS };
        let due = sent.asked.map_or(now, |then| then.plus_ms(wait));
        if due > now {
            return self.lanes.wake(&key, due);
        }
        sent.asked = Some(now);
        sent.asks += 1;
        effects.push(Effect::AskAttestations { source: entry.source, position: entry.position });
        self.lanes.wake(&key, now.plus_ms(wait));
    }

    fn attested(&mut self, source: Id, position: Position, now: Now) {
        let Some(sent) = self.sent.get_mut(&(source, position)) else { return };
        sent.is_attested = true;
        for to in std::mem::take(&mut sent.waiting) {
            self.lanes.wake(&(source, to), now);
        }
    }
}

impl Machine for Messenger {
    type Input = Input;
    type Effect = Effect;

    fn handle(&mut self, input: Input, now: Now, effects: &mut Effects<Effect>) {
        match input {
            Input::Pending { entry, tries } => self.pending_entry(entry, tries, now),
            Input::Offers { source, offers } => drop(self.offers.insert(source, offers)),
            Input::Attested { source, position } => self.attested(source, position, now),
            Input::Pushed { push_id, outcome } => self.pushed(push_id, outcome, now, effects),
            Input::Receipt { push_id, assignment, child } => {
                self.settle(&push_id, assignment, false, child, now, effects);
            }
            Input::TakenUp { source, to, entries, next } => self.taken_up(source, to, entries, next, now),
            Input::Reachable { source, to } => self.lanes.answered(&(source, to), now),
            Input::NotSaved(effect) => {
                // Children that find no place leave half of them to receipts that the disk did not take.
                let is_child = matches!(effect, Effect::Settle { child: Some(_), .. });
                let most = if is_child { UNSAVED_MAX / 2 } else { UNSAVED_MAX };
                if self.unsaved.len() < most {
                    self.unsaved.push_back((now.plus_ms(SAVE_MS), effect));
                }
            }
            Input::Drop { source } => self.drop_source(source),
            Input::Tick => self.save_again(now, effects),
        }
        self.step(now, effects);
    }
}

#[cfg(test)]
mod tests;
