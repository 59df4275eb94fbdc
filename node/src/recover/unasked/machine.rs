//! Which process is read from the weave next, and which has to wait. Pure.
//!
//! What the operator works for comes before what strangers ask for, and strangers have a limit by the hour. A process
//! that was read rests; one that could not be had rests ever longer, so that asking for what is nowhere costs little.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use weft_protocol::{Effects, Id, Machine, Now};

/// Processes that are read at a time: each reads bundles of up to 64 MiB.
pub const READS_MAX: usize = 2;
/// Processes that wait for that, of the operator's, and as many of strangers'.
pub const WAITING_MAX: usize = 64;
/// Processes of strangers that are begun in an hour.
pub const STRANGERS_AN_HOUR: usize = 60;
/// How long a process rests that was read, in milliseconds.
pub const REST_MS: u64 = 10 * 60 * 1000;
/// How long one rests at first that could not be had; doubled each time.
pub const REST_FAILED_MS_MIN: u64 = 60 * 1000;
/// And at most.
pub const REST_FAILED_MS_MAX: u64 = 6 * 3_600 * 1000;
/// Processes that rest. Beyond that strangers wait until there is a place.
pub const RESTING_MAX: usize = 4_096;
/// An hour, in milliseconds.
const HOUR_MS: u64 = 3_600 * 1000;

/// For whom a process is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum By {
    /// This node works for it, or is to.
    Operator,
    /// Somebody asked for it.
    Stranger,
}

/// What the machine hears.
#[derive(Debug)]
pub enum Input {
    /// No peer serves it, and somebody wants it.
    Wanted {
        /// What.
        process: Id,
        /// For whom.
        by: By,
    },
    /// It was read.
    Ended {
        /// What.
        process: Id,
        /// Whether any of it came.
        came: bool,
    },
    /// Time passed.
    Tick,
}

/// What the machine asks for.
#[derive(Debug, PartialEq, Eq)]
pub enum Effect {
    /// Read it; answer with `Ended`.
    Read {
        /// What.
        process: Id,
        /// For whom.
        by: By,
    },
    /// It is not read now.
    Refused {
        /// What.
        process: Id,
    },
}

#[derive(Debug, Clone, Copy)]
struct Rest {
    until: u64,
    failures: u32,
}

/// Whom to read.
#[derive(Debug, Default)]
pub struct Unasked {
    operators: VecDeque<Id>,
    strangers: VecDeque<Id>,
    reading: BTreeSet<Id>,
    resting: BTreeMap<Id, Rest>,
    /// When strangers' processes were begun in the hour before now.
    begun: VecDeque<u64>,
}

impl Unasked {
    /// Processes that wait for a place.
    pub fn waiting(&self) -> usize {
        self.operators.len() + self.strangers.len()
    }

    fn wanted(&mut self, process: Id, by: By, now: Now, effects: &mut Effects<Effect>) {
        if self.reading.contains(&process) {
            return;
        }
        let rests = self.resting.get(&process).is_some_and(|rest| rest.until > now.0);
        // An operator who waits is not told to come back in an hour.
        let may = match by {
            By::Operator => true,
            By::Stranger => {
                !rests && (self.resting.len() < RESTING_MAX || self.resting.contains_key(&process))
            }
        };
        if by == By::Operator {
            self.strangers.retain(|waiting| *waiting != process);
        } else if self.operators.contains(&process) {
            return;
        }
        let queue = match by {
            By::Operator => &mut self.operators,
            By::Stranger => &mut self.strangers,
        };
        if queue.contains(&process) {
            return;
        }
        if !may || queue.len() >= WAITING_MAX {
            effects.push(Effect::Refused { process });
            return;
        }
        queue.push_back(process);
    }

    /// Begins what there is a place for.
    fn step(&mut self, now: Now, effects: &mut Effects<Effect>) {
        while self.begun.front().is_some_and(|begun| begun + HOUR_MS <= now.0) {
            self.begun.pop_front();
        }
        while self.reading.len() < READS_MAX {
            let (process, by) = match self.operators.pop_front() {
                Some(process) => (process, By::Operator),
                None if self.begun.len() >= STRANGERS_AN_HOUR => return,
                None => match self.strangers.pop_front() {
                    Some(process) => (process, By::Stranger),
                    None => return,
                },
            };
            if by == By::Stranger {
                self.begun.push_back(now.0);
            }
            self.reading.insert(process);
            effects.push(Effect::Read { process, by });
        }
    }

    fn ended(&mut self, process: Id, came: bool, now: Now) {
        if !self.reading.remove(&process) {
            return;
        }
        let failures = match self.resting.get(&process) {
            _ if came => 0,
            Some(rest) => rest.failures + 1,
            None => 1,
        };
        let ms = match failures {
            0 => REST_MS,
            failures => (REST_FAILED_MS_MIN << (failures - 1).min(16)).min(REST_FAILED_MS_MAX),
        };
        if self.resting.len() >= RESTING_MAX && !self.resting.contains_key(&process) {
            // An operator's: the one whose rest ends first makes room.
            let first = self.resting.iter().min_by_key(|(_, rest)| rest.until).map(|(process, _)| *process);
            first.map(|first| self.resting.remove(&first));
        }
        self.resting.insert(process, Rest { until: now.plus_ms(ms).0, failures });
    }

    /// Forgets whose rest is over by far: how often it failed matters while it is asked for.
    fn forget(&mut self, now: Now) {
        self.resting.retain(|_, rest| rest.until.saturating_add(REST_FAILED_MS_MAX) > now.0);
    }
}

impl Machine for Unasked {
    type Input = Input;
    type Effect = Effect;

    fn handle(&mut self, input: Input, now: Now, effects: &mut Effects<Effect>) {
        match input {
            Input::Wanted { process, by } => self.wanted(process, by, now, effects),
            Input::Ended { process, came } => self.ended(process, came, now),
            Input::Tick => self.forget(now),
        }
        self.step(now, effects);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn id(number: u16) -> Id {
        let mut id = [0; 32];
        id[..2].copy_from_slice(&number.to_be_bytes());
        Id(id)
    }

    fn run(machine: &mut Unasked, input: Input, now: u64) -> Vec<Effect> {
        let mut effects = Effects::new();
        machine.handle(input, Now(now), &mut effects);
        effects.drain().collect()
    }

    fn wanted(number: u16, by: By) -> Input {
        Input::Wanted { process: id(number), by }
    }

    const fn ended(process: Id, came: bool) -> Input {
        Input::Ended { process, came }
    }

    #[test]
    fn the_operators_come_first_and_what_was_read_rests() {
        let mut machine = Unasked::default();
        let read = |number, by| Effect::Read { process: id(number), by };
        assert_eq!(run(&mut machine, wanted(1, By::Stranger), 0), [read(1, By::Stranger)]);
        assert_eq!(run(&mut machine, wanted(2, By::Stranger), 0), [read(2, By::Stranger)]);
        assert_eq!(run(&mut machine, wanted(3, By::Stranger), 0), []);
        assert_eq!(run(&mut machine, wanted(4, By::Operator), 0), []);
        // Once more changes nothing, and what the operator wants too is his.
        for again in [wanted(1, By::Operator), wanted(3, By::Stranger), wanted(4, By::Stranger)] {
            assert_eq!(run(&mut machine, again, 0), []);
        }
        assert_eq!(machine.waiting(), 2);
        assert_eq!(run(&mut machine, ended(id(1), true), 1), [read(4, By::Operator)]);
        assert_eq!(run(&mut machine, ended(id(2), true), 1), [read(3, By::Stranger)]);
        run(&mut machine, ended(id(3), true), 2);
        run(&mut machine, ended(id(4), true), 2);
        let refused = |number| [Effect::Refused { process: id(number) }];
        assert_eq!(run(&mut machine, wanted(3, By::Stranger), REST_MS), refused(3));
        assert_eq!(run(&mut machine, wanted(3, By::Stranger), REST_MS + 2), [read(3, By::Stranger)]);
        assert_eq!(run(&mut machine, wanted(4, By::Operator), 3), [read(4, By::Operator)], "he may");
    }

    #[test]
    fn what_is_nowhere_is_looked_for_ever_more_seldom() {
        let mut machine = Unasked::default();
        let (mut now, mut reads) = (0, 0);
        while now < 24 * HOUR_MS {
            for effect in run(&mut machine, wanted(1, By::Stranger), now) {
                if let Effect::Read { process, .. } = effect {
                    reads += 1;
                    run(&mut machine, ended(process, false), now);
                }
            }
            now += 10_000;
        }
        assert!((8..=14).contains(&reads), "{reads}");
    }

    proptest! {
        /// Whatever is asked for, strangers have their part of an hour, and the operator does not wait for them.
        #[test]
        fn strangers_have_a_limit(asked in prop::collection::vec((0u16..2_000, any::<bool>(), 0u64..120_000), 1..2_000)) {
            let mut machine = Unasked::default();
            let (mut now, mut begun): (u64, Vec<u64>) = (0, Vec::new());
            for (number, came, pause) in asked {
                now += pause;
                let mut open: Vec<Effect> = run(&mut machine, wanted(number, By::Stranger), now);
                while let Some(effect) = open.pop() {
                    if let Effect::Read { process, by } = effect {
                        if by == By::Stranger {
                            begun.push(now);
                        }
                        open.extend(run(&mut machine, ended(process, came), now));
                    }
                }
                prop_assert!(machine.waiting() <= 2 * WAITING_MAX && machine.resting.len() <= RESTING_MAX);
                let in_hour = begun.iter().filter(|begun| **begun + HOUR_MS > now).count();
                prop_assert!(in_hour <= STRANGERS_AN_HOUR);
            }
            let own = run(&mut machine, wanted(u16::MAX, By::Operator), now);
            prop_assert_eq!(own, [Effect::Read { process: id(u16::MAX), by: By::Operator }]);
        }
    }
}
