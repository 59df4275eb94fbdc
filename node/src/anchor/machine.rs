//! The anchor's rules: when slots become a batch, and when a batch is there to stay. Input about a log
//! looks at that log alone, and passing time at those with something left to do: most of a node's logs
//! are anchored and quiet.
//!
//! What belongs to a log and is none of its slots (attestations that came after their slots, evidence,
//! checkpoints) goes with the next slots; where none come, a batch is made without any.

pub(crate) mod telling;

use std::collections::{BTreeMap, BTreeSet};

use weft_protocol::{Effects, Hash, Id, Machine, Now};

/// Slots in one batch at most.
pub const BATCH_SLOTS_MAX: u64 = 10_000;
/// How often an unconfirmed batch is asked for, in milliseconds.
pub const QUERY_MS: u64 = 500;
/// The wait after a failed submit, in milliseconds.
pub const RESUBMIT_MS: u64 = 2_000;

/// When to make a batch.
#[derive(Debug, Clone, Copy)]
pub struct Policy {
    /// So many slots wait.
    pub slots: u64,
    /// Or the oldest of them waits so long, in milliseconds.
    pub age_ms: u64,
}

/// What the anchor driver hears.
#[derive(Debug)]
pub enum Input {
    /// A log on disk, after a restart or for the first time.
    Log {
        /// Which.
        process: Id,
        /// Its newest slot.
        head: Option<u64>,
        /// The newest slot in a confirmed batch.
        anchored: Option<u64>,
        /// A batch that was built and not yet confirmed.
        open: Option<(u64, u64, Hash)>,
    },
    /// A log grew.
    Grew {
        /// Which.
        process: Id,
        /// Its newest durable slot.
        head: u64,
    },
    /// Something beside its slots waits.
    Beside {
        /// Of which log.
        process: Id,
    },
    /// There was nothing to bundle after all.
    Nothing {
        /// Of which log.
        process: Id,
    },
    /// The batch is on disk with its data root and was handed to the weave.
    Submitted {
        /// Of which log.
        process: Id,
        /// The last slot in it: no later than was asked for.
        to: u64,
        /// The root of the bundle's bytes.
        data_root: Hash,
    },
    /// The confirmed batch is on disk as such.
    Confirmed {
        /// Of which log.
        process: Id,
        /// The last slot in it.
        to: u64,
    },
    /// The batch could not be built or handed over, or its confirmation not be stored.
    Failed {
        /// Of which log.
        process: Id,
    },
    /// What the weave says of a batch.
    Status {
        /// Of which log.
        process: Id,
        /// Height and hash of the block it is final in; none while it waits or was dropped.
        block: Option<(u64, Hash)>,
        /// Whether the weave knows it at all.
        known: bool,
    },
    /// Somebody wants whatever waits in batches now.
    Flush,
    /// Time passed.
    Tick,
}

/// What the anchor driver asks for.
#[derive(Debug, PartialEq, Eq)]
pub enum Effect {
    /// Bundle these slots with what waits beside them, store the batch, submit it. Without slots the last one is
    /// before the first.
    Submit {
        /// Of which log.
        process: Id,
        /// The first slot.
        from: u64,
        /// The last slot.
        to: u64,
    },
    /// Ask the weave for a batch.
    Query {
        /// Of which log.
        process: Id,
        /// Which batch.
        data_root: Hash,
    },
    /// Store that the batch is anchored; answer with `Confirmed` or `Failed`.
    Confirm {
        /// Of which log.
        process: Id,
        /// The last slot in it.
        to: u64,
        /// Which batch.
        data_root: Hash,
        /// Height and hash of its block.
        block: (u64, Hash),
    },
}

/// Drives the batches of any number of logs.
#[derive(Debug)]
pub struct Anchor {
    policy: Policy,
    logs: BTreeMap<Id, Log>,
    /// The logs with slots or a batch on their way.
    open: BTreeSet<Id>,
}

#[derive(Debug, Default)]
struct Log {
    head: Option<u64>,
    anchored: Option<u64>,
    waiting_since: Option<Now>,
    /// Since when something beside the slots waits.
    beside_since: Option<Now>,
    batch: Option<Batch>,
}

#[derive(Debug, Clone, Copy)]
struct Batch {
    from: u64,
    to: u64,
    state: State,
}

#[derive(Debug, Clone, Copy)]
enum State {
    /// Being built and handed over.
    Submitting,
    /// The last try failed; the same slots are tried again at this time, so that the bytes and
    /// their data root stay the same.
    Resting(Now),
    /// Handed over; last asked for at this time.
    Submitted(Hash, Now),
    /// In a final block. No next batch is made before the disk says so too: with two open batches
    /// on disk, a restart could take up the older and make a batch that overlaps the newer.
    Confirming(Hash),
}

impl Log {
    fn next(&self) -> u64 {
        self.anchored.map_or(0, |slot| slot + 1)
    }

    fn waiting(&self) -> u64 {
        self.head.map_or(0, |head| (head + 1).saturating_sub(self.next()))
    }

    /// Whether anything is left to do.
    fn is_open(&self) -> bool {
        self.batch.is_some() || self.waiting() > 0 || self.beside_since.is_some()
    }

    fn step(&mut self, process: Id, policy: Policy, now: Now, effects: &mut Effects<Effect>) {
        if let Some(batch) = &mut self.batch {
            match &mut batch.state {
                State::Submitted(data_root, queried) if queried.plus_ms(QUERY_MS) <= now => {
                    *queried = now;
                    effects.push(Effect::Query { process, data_root: *data_root });
                }
                State::Resting(until) if *until <= now => {
                    batch.state = State::Submitting;
                    effects.push(Effect::Submit { process, from: batch.from, to: batch.to });
                }
                State::Submitting | State::Resting(_) | State::Submitted(..) | State::Confirming(_) => {}
            }
            return;
        }
        let is_old = |since: Now| since.plus_ms(policy.age_ms) <= now;
        let (from, to) = if self.waiting() == 0 {
            self.waiting_since = None;
            if !self.beside_since.is_some_and(is_old) {
                return;
            }
            let from = self.next().max(1);
            (from, from - 1)
        } else {
            let since = *self.waiting_since.get_or_insert(now);
            if self.waiting() < policy.slots && !is_old(since) {
                return;
            }
            let from = self.next();
            (from, (from + self.waiting() - 1).min(from + BATCH_SLOTS_MAX - 1))
        };
        self.beside_since = None;
        self.batch = Some(Batch { from, to, state: State::Submitting });
        effects.push(Effect::Submit { process, from, to });
    }
}

impl Anchor {
    /// A driver with this policy.
    pub const fn new(policy: Policy) -> Self {
        Self { policy, logs: BTreeMap::new(), open: BTreeSet::new() }
    }

    /// Whether it was told of a log.
    pub fn knows(&self, process: &Id) -> bool {
        self.logs.contains_key(process)
    }

    /// The newest anchored slot of a log.
    pub fn anchored(&self, process: &Id) -> Option<u64> {
        self.logs.get(process)?.anchored
    }

    /// Decides what to do about a log, now.
    fn step(&mut self, process: Id, now: Now, effects: &mut Effects<Effect>) {
        let Some(log) = self.logs.get_mut(&process) else { return };
        log.step(process, self.policy, now, effects);
        if log.is_open() {
            self.open.insert(process);
        } else {
            self.open.remove(&process);
        }
    }

    fn tick(&mut self, now: Now, effects: &mut Effects<Effect>) {
        let logs = &mut self.logs;
        let policy = self.policy;
        self.open.retain(|process| {
            let Some(log) = logs.get_mut(process) else { return false };
            log.step(*process, policy, now, effects);
            log.is_open()
        });
    }

    fn status(
        &mut self,
        process: Id,
        block: Option<(u64, Hash)>,
        known: bool,
        effects: &mut Effects<Effect>,
    ) {
        let Some(log) = self.logs.get_mut(&process) else { return };
        let Some(Batch { from, to, state: State::Submitted(data_root, _) }) = log.batch else { return };
        if let Some(block) = block {
            log.batch = Some(Batch { from, to, state: State::Confirming(data_root) });
            effects.push(Effect::Confirm { process, to, data_root, block });
        } else if !known {
            // Dropped: the same bytes have the same root, so submitting again is free of harm.
            log.batch = Some(Batch { from, to, state: State::Submitting });
            effects.push(Effect::Submit { process, from, to });
        }
    }
}

impl Machine for Anchor {
    type Input = Input;
    type Effect = Effect;

    fn handle(&mut self, input: Input, now: Now, effects: &mut Effects<Effect>) {
        let process = match input {
            Input::Log { process, head, anchored, open } => {
                let submitted = |data_root| State::Submitted(data_root, Now(0));
                let batch = open.map(|(from, to, data_root)| Batch { from, to, state: submitted(data_root) });
                let log = Log { head, anchored, batch, ..Log::default() };
                self.logs.insert(process, log);
                process
            }
            Input::Grew { process, head } => {
                if let Some(log) = self.logs.get_mut(&process) {
                    log.head = log.head.max(Some(head));
                }
                process
            }
            Input::Beside { process } => {
                if let Some(log) = self.logs.get_mut(&process) {
                    log.beside_since.get_or_insert(now);
                }
                process
            }
            Input::Nothing { process } => {
                let is_building = |batch: &Batch| matches!(batch.state, State::Submitting);
                if let Some(log) =
                    self.logs.get_mut(&process).filter(|log| log.batch.as_ref().is_some_and(is_building))
                {
                    log.batch = None;
                }
                process
            }
            Input::Submitted { process, to, data_root } => {
                if let Some(batch) = self.logs.get_mut(&process).and_then(|log| log.batch.as_mut()) {
                    batch.to = to;
                    batch.state = State::Submitted(data_root, now);
                }
                process
            }
            Input::Failed { process } => {
                if let Some(batch) = self.logs.get_mut(&process).and_then(|log| log.batch.as_mut()) {
                    batch.state = match batch.state {
                        State::Confirming(data_root) => State::Submitted(data_root, now),
                        _ => State::Resting(now.plus_ms(RESUBMIT_MS)),
                    };
                }
                process
            }
            Input::Confirmed { process, to } => {
                if let Some(log) = self.logs.get_mut(&process) {
                    let has_slots = log.batch.take().is_none_or(|batch| batch.from <= batch.to);
                    if has_slots {
                        log.anchored = Some(to);
                        log.waiting_since = None;
                    }
                }
                process
            }
            Input::Status { process, block, known } => {
                self.status(process, block, known, effects);
                process
            }
            Input::Flush => {
                for log in self.logs.values_mut() {
                    log.waiting_since = log.waiting_since.map(|_| Now(0));
                    log.beside_since = log.beside_since.map(|_| Now(0));
                }
                return self.tick(now, effects);
            }
            Input::Tick => return self.tick(now, effects),
        };
        self.step(process, now, effects);
    }
}

#[cfg(test)]
mod tests;
