//! The anchor's rules: when slots become a batch, and when a batch is there to stay.

use std::collections::BTreeMap;

use weft_protocol::{Effects, Hash, Id, Machine, Now};

/// Slots in one batch at most.
pub const BATCH_SLOTS_MAX: u64 = 1_000;
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
    /// The batch is on disk with its data root and was handed to the weave.
    Submitted {
        /// Of which log.
        process: Id,
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
    /// Time passed.
    Tick,
}

/// What the anchor driver asks for.
#[derive(Debug, PartialEq, Eq)]
pub enum Effect {
    /// Bundle these slots, store the batch, submit it.
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
}

#[derive(Debug, Default)]
struct Log {
    head: Option<u64>,
    anchored: Option<u64>,
    waiting_since: Option<Now>,
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
}

impl Anchor {
    /// A driver with this policy.
    pub const fn new(policy: Policy) -> Self {
        Self { policy, logs: BTreeMap::new() }
    }

    /// The newest anchored slot of a log.
    pub fn anchored(&self, process: &Id) -> Option<u64> {
        self.logs.get(process)?.anchored
    }

    fn step(&mut self, now: Now, effects: &mut Effects<Effect>) {
        for (process, log) in &mut self.logs {
            if let Some(batch) = &mut log.batch {
                match &mut batch.state {
                    State::Submitted(data_root, queried) if queried.plus_ms(QUERY_MS) <= now => {
                        *queried = now;
                        effects.push(Effect::Query { process: *process, data_root: *data_root });
                    }
                    State::Resting(until) if *until <= now => {
                        batch.state = State::Submitting;
                        let (from, to) = (batch.from, batch.to);
                        effects.push(Effect::Submit { process: *process, from, to });
                    }
                    State::Submitting | State::Resting(_) | State::Submitted(..) | State::Confirming(_) => {}
                }
                continue;
            }
            if log.waiting() == 0 {
                log.waiting_since = None;
                continue;
            }
            let since = *log.waiting_since.get_or_insert(now);
            let ripe = log.waiting() >= self.policy.slots || since.plus_ms(self.policy.age_ms) <= now;
            if !ripe {
                continue;
            }
            let from = log.next();
            let to = (from + log.waiting() - 1).min(from + BATCH_SLOTS_MAX - 1);
            log.batch = Some(Batch { from, to, state: State::Submitting });
            effects.push(Effect::Submit { process: *process, from, to });
        }
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
        match input {
            Input::Log { process, head, anchored, open } => {
                let batch = open.map(|(from, to, data_root)| Batch {
                    from,
                    to,
                    state: State::Submitted(data_root, Now(0)),
                });
                let log = Log { head, anchored, waiting_since: None, batch };
                self.logs.insert(process, log);
            }
            Input::Grew { process, head } => {
                if let Some(log) = self.logs.get_mut(&process) {
                    log.head = log.head.max(Some(head));
                }
            }
            Input::Submitted { process, data_root } => {
                if let Some(batch) = self.logs.get_mut(&process).and_then(|log| log.batch.as_mut()) {
                    batch.state = State::Submitted(data_root, now);
                }
            }
            Input::Failed { process } => {
                if let Some(batch) = self.logs.get_mut(&process).and_then(|log| log.batch.as_mut()) {
                    batch.state = match batch.state {
                        State::Confirming(data_root) => State::Submitted(data_root, now),
                        _ => State::Resting(now.plus_ms(RESUBMIT_MS)),
                    };
                }
            }
            Input::Confirmed { process, to } => {
                if let Some(log) = self.logs.get_mut(&process) {
                    log.batch = None;
                    log.anchored = Some(to);
                    log.waiting_since = None;
                }
            }
            Input::Status { process, block, known } => self.status(process, block, known, effects),
            Input::Tick => {}
        }
        self.step(now, effects);
    }
}

#[cfg(test)]
mod tests;
