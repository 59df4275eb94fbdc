//! The timekeeper's rules: when to ask whose scheduler for `now`.

use std::collections::BTreeMap;

use weft_protocol::cron::Schedule;
use weft_protocol::time::{TimePoint, Weave};
use weft_protocol::{Effects, Id, Machine, Now, mark, time};

/// The least time between two asks for one process, in milliseconds: there is at most one mark a
/// second.
pub const ASK_MS: u64 = 1_000;
/// The longest wait before a scheduler that did not answer is asked again, in milliseconds.
pub const REST_MS_MAX: u64 = 60_000;

/// What the timekeeper hears.
#[derive(Debug)]
pub enum Input {
    /// Let time pass in this log.
    Subscribe {
        /// Which.
        process: Id,
        /// What falls due in it.
        schedule: Schedule,
        /// The time point of its newest slot here.
        newest: TimePoint,
    },
    /// Leave this log alone.
    Unsubscribe {
        /// Which.
        process: Id,
    },
    /// A log grew here.
    Grew {
        /// Which.
        process: Id,
        /// The time point of its newest slot.
        newest: TimePoint,
    },
    /// A scheduler was asked.
    Asked {
        /// For which process.
        process: Id,
        /// Whether it answered.
        answered: bool,
    },
    /// Time passed.
    Tick,
}

/// What the timekeeper asks for.
#[derive(Debug, PartialEq, Eq)]
pub enum Effect {
    /// Ask the scheduler of this process for `now`; answer with `Asked`.
    AskNow {
        /// Which.
        process: Id,
    },
}

/// Keeps the time of any number of processes.
#[derive(Debug, Default)]
pub struct Timekeeper {
    kept: BTreeMap<Id, Kept>,
}

#[derive(Debug)]
struct Kept {
    schedule: Schedule,
    newest: TimePoint,
    asking: bool,
    not_before: Now,
    failures: u32,
}

impl Timekeeper {
    /// Whether somebody subscribed to this process.
    pub fn keeps(&self, process: &Id) -> bool {
        self.kept.contains_key(process)
    }

    fn tick(&mut self, now: Now, effects: &mut Effects<Effect>) {
        for (process, kept) in &mut self.kept {
            // Schedulers of named weaves are not in this build.
            let next = time::next(&Weave::Clock, now, None, Some(kept.newest));
            let is_due = mark::is_due(&kept.schedule, kept.newest, next);
            if is_due && !kept.asking && kept.not_before <= now {
                kept.asking = true;
                effects.push(Effect::AskNow { process: *process });
            }
        }
    }
}

impl Kept {
    fn asked(&mut self, answered: bool, now: Now) {
        self.asking = false;
        self.failures = if answered { 0 } else { (self.failures + 1).min(6) };
        self.not_before = now.plus_ms((ASK_MS << self.failures).min(REST_MS_MAX));
    }
}

impl Machine for Timekeeper {
    type Input = Input;
    type Effect = Effect;

    fn handle(&mut self, input: Input, now: Now, effects: &mut Effects<Effect>) {
        match input {
            Input::Subscribe { process, schedule, newest } => {
                let kept = Kept { schedule, newest, asking: false, not_before: now, failures: 0 };
                self.kept.entry(process).or_insert(kept);
            }
            Input::Unsubscribe { process } => {
                self.kept.remove(&process);
            }
            Input::Grew { process, newest } => {
                if let Some(kept) = self.kept.get_mut(&process) {
                    kept.newest = newest;
                }
            }
            Input::Asked { process, answered } => {
                if let Some(kept) = self.kept.get_mut(&process) {
                    kept.asked(answered, now);
                }
            }
            Input::Tick => self.tick(now, effects),
        }
    }
}

#[cfg(test)]
mod tests;
