//! The compute driver's rules: which process runs next, how far, and what happens on failure.
//!
//! One process runs on one thread at a time. Processes take turns in the order in which they got
//! work, each for a bounded number of slots and a slice of time, so that an endless backlog costs
//! the others no more than a slice. A message cannot be interrupted, so a run may outlast its
//! slice: those processes are slow, and
//!
//! - one slow process always has a place, and further ones only where no other waits;
//! - a run that is over its time gives its place to a process that is not known to be slow, and the
//!   system's scheduler shares the cores among both. At most as many places are given so as there
//!   are threads;
//! - one more is left to processes that have shown to be quick, so that a crowd of new and slow ones
//!   never holds up those.
//!
//! A thread is free again as soon as the guest is done: the next process runs while the outcomes
//! of this one go to disk. A host failure is retried and never becomes an outcome. Processes that came
//! unasked wait while the gas for them is used up.

mod allowance;
mod driven;
mod line;

use std::collections::{BTreeMap, BTreeSet};

use weft_protocol::{Effects, Id, Machine, Now};

use crate::config::Evaluate;

pub use allowance::Allowance;
use driven::{Driven, State};
use line::{Line, Pace};

/// Slots in one run: long enough to share a commit, short enough to fit in one.
pub const RUN_SLOTS_MAX: u64 = 256;
/// Time after which a run takes no further slot, in milliseconds: what a process with an endless
/// backlog costs the next one.
pub const SLICE_MS: u64 = 50;
/// Time in milliseconds after which a run is over its time, or a slot makes its process slow.
pub const SLOW_MS: u64 = 250;
/// Processes whose outcomes are on their way to disk at once: bounds the memory of their results.
pub const COMMITTING_MAX: usize = 64;
/// A process with no new slot for so long, in milliseconds, attests its newest position.
pub const QUIET_MS: u64 = 1_000;
/// Quiet processes that are attested at once, so that a start with thousands of them does not hold up
/// the rest. They share commits.
const ATTESTING_MAX: usize = 64;
/// The first wait after a host failure, in milliseconds; doubled each time.
pub const RETRY_MS_MIN: u64 = 250;
/// The longest wait between two tries, in milliseconds.
pub const RETRY_MS_MAX: u64 = 30_000;

/// What the driver hears.
#[derive(Debug)]
pub enum Input {
    /// Compute this process, or compute it at other times than before.
    Host {
        /// Which.
        process: Id,
        /// When its slots are evaluated.
        evaluate: Evaluate,
        /// Whether it came unasked: its gas is counted then.
        unasked: bool,
        /// The first slot without an outcome on disk.
        next: u64,
        /// The newest slot on disk.
        head: Option<u64>,
    },
    /// Compute it no longer.
    Drop {
        /// Which.
        process: Id,
    },
    /// Its log grew.
    Grew {
        /// Which.
        process: Id,
        /// The newest slot on disk.
        head: u64,
    },
    /// Somebody waits for the outcome of a slot.
    Wanted {
        /// Of which process.
        process: Id,
        /// Which slot.
        slot: u64,
    },
    /// The guest is done with a run, whatever came of it; nothing of it is on disk yet.
    Evaluated {
        /// Of which process.
        process: Id,
        /// How long its slowest slot took, in milliseconds.
        slowest_ms: u64,
        /// The gas that it used.
        gas: u64,
    },
    /// The outcomes of a run are on disk.
    Ran {
        /// Of which process.
        process: Id,
        /// The first slot without an outcome on disk.
        next: u64,
    },
    /// A run met a host failure, before its guest was done or after.
    Failed {
        /// Of which process.
        process: Id,
        /// The first slot without an outcome on disk, if the run put some there first.
        next: Option<u64>,
        /// What failed.
        why: String,
        /// Whether trying again can help.
        retry: bool,
    },
    /// What a process lacked when it failed is here: it need not wait for its time.
    Ready {
        /// Which process.
        process: Id,
    },
    /// The newest position of a quiet process is attested, or that failed.
    Attested,
    /// Time passed.
    Tick,
}

/// What the driver asks for.
#[derive(Debug, PartialEq, Eq)]
pub enum Effect {
    /// Evaluate slots `from..=to` (loading the process first if needed), as many as fit in
    /// [`SLICE_MS`] and at least one; answer with `Evaluated`, commit, then answer with `Ran`. Or
    /// answer with `Failed`, at either point; after a commit it says how far that went.
    Run {
        /// Of which process.
        process: Id,
        /// The first slot.
        from: u64,
        /// The last slot.
        to: u64,
        /// The last slot that is due, in later runs.
        due: u64,
    },
    /// Attest the newest position: nothing came for a while. Answer with `Attested`.
    AttestNewest {
        /// Of which process.
        process: Id,
    },
    /// The process waits until there is gas again for those that came unasked.
    Waits {
        /// Which process.
        process: Id,
    },
    /// The process is stopped here, with what to tell its users.
    Stopped {
        /// Which process.
        process: Id,
        /// Why.
        why: String,
    },
}

/// Drives the evaluation of any number of processes on a bounded number of threads.
#[derive(Debug)]
pub struct Compute {
    threads: usize,
    /// The processes whose guests run, with when each began.
    running: BTreeMap<Id, Now>,
    committing: usize,
    processes: BTreeMap<Id, Driven>,
    line: Line,
    /// Processes that do not run and whose newest position is to be attested, by when.
    quiet: BTreeSet<(Now, Id)>,
    /// How many are being attested.
    attesting: usize,
    /// Processes whose last run failed, by when they are tried again.
    resting: BTreeSet<(Now, Id)>,
    /// The gas for processes that came unasked, if it is limited.
    allowance: Option<Allowance>,
    /// Who waits for it, by turn.
    waiting: BTreeMap<u64, Id>,
    /// The turns that were given out.
    turns: u64,
}

impl Compute {
    /// A driver for so many threads; up to [`places`](Self::places) runs may be under way while
    /// some are over their time.
    pub fn new(threads: usize, allowance: Option<Allowance>) -> Self {
        Self {
            threads,
            allowance,
            waiting: BTreeMap::new(),
            turns: 0,
            running: BTreeMap::new(),
            committing: 0,
            processes: BTreeMap::new(),
            line: Line::default(),
            quiet: BTreeSet::new(),
            attesting: 0,
            resting: BTreeSet::new(),
        }
    }

    /// How much of an hour's gas for processes that came unasked is used, if it is limited.
    pub fn gas_used(&self) -> Option<u64> {
        self.allowance.as_ref().map(Allowance::used)
    }

    /// How many runs may be under way on so many threads.
    pub const fn places(threads: usize) -> usize {
        2 * threads + 1
    }

    /// Whether every slot that is due has its outcome on disk.
    #[cfg(test)]
    pub fn is_idle(&self, process: &Id) -> bool {
        self.processes.get(process).is_some_and(|driven| driven.state == State::Idle)
    }

    fn queue(&mut self, process: Id) {
        let Some(driven) = self.processes.get_mut(&process) else { return };
        if driven.state == State::Idle && driven.due().is_some() {
            driven.state = State::Queued(self.line.enter(process, driven.pace));
            if let Some(at) = driven.attest_at.take() {
                self.quiet.remove(&(at, process));
            }
        }
    }

    fn start(&mut self, now: Now, effects: &mut Effects<Effect>) {
        while self.committing < COMMITTING_MAX {
            let Some(process) = self.next_turn(now) else { return };
            let Some(driven) = self.processes.get_mut(&process) else { continue };
            let State::Queued(_) = driven.state else { continue };
            let Some(last) = driven.due() else {
                // It was to be evaluated as slots come when it got in line.
                driven.state = State::Idle;
                continue;
            };
            if let Some(allowance) = self.allowance.as_mut().filter(|_| driven.unasked) {
                let is_behind = driven.turn.is_none() && !self.waiting.is_empty();
                if !allowance.has_some(now) || is_behind {
                    driven.state = State::Waiting;
                    let turn = *driven.turn.get_or_insert(self.turns);
                    self.turns = self.turns.max(turn + 1);
                    self.waiting.insert(turn, process);
                    effects.push(Effect::Waits { process });
                    continue;
                }
            }
            driven.turn = None;
            driven.state = State::Running;
            self.running.insert(process, now);
            let to = last.min(driven.next.saturating_add(RUN_SLOTS_MAX - 1));
            effects.push(Effect::Run { process, from: driven.next, to, due: last });
        }
    }

    /// Who runs next, if anybody may.
    fn next_turn(&mut self, now: Now) -> Option<Id> {
        let pace = |process: &Id| self.processes.get(process).map(|driven| driven.pace);
        let is_late = |since: &Now| since.plus_ms(SLOW_MS) <= now;
        let late = self.running.iter();
        let late = late.filter(|(id, since)| pace(id) == Some(Pace::Slow) || is_late(since)).count();
        let running = self.running.len();
        let slow_first = late == 0 && self.line.has_slow();
        if running < self.threads && (slow_first || self.line.has_slow_alone()) {
            return self.line.next_slow();
        }
        if running < self.threads + late.min(self.threads) {
            return self.line.next_other();
        }
        if late >= self.threads && running < Self::places(self.threads) {
            return self.line.next_quick();
        }
        None
    }

    fn evaluated(&mut self, process: Id, slowest_ms: u64, gas: u64) {
        self.running.remove(&process);
        if let Some(driven) = self.processes.get_mut(&process)
            && driven.state == State::Running
        {
            if let Some(allowance) = self.allowance.as_mut().filter(|_| driven.unasked) {
                allowance.spend(gas);
            }
            driven.state = State::Committing;
            driven.pace = if slowest_ms >= SLOW_MS { Pace::Slow } else { Pace::Quick };
            self.committing += 1;
        }
    }

    /// A run has ended, on disk or not.
    fn end(&mut self, process: Id) {
        self.running.remove(&process);
        match self.processes.get(&process).map(|driven| driven.state) {
            Some(State::Committing) => self.committing = self.committing.saturating_sub(1),
            // It was let go and taken up again since that run began.
            Some(State::Queued(turn)) => self.line.leave(turn),
            Some(State::Resting(until)) => drop(self.resting.remove(&(until, process))),
            _ => {}
        }
    }

    /// A run of it may be under way; what comes of that changes nothing any more.
    fn forget(&mut self, process: Id) {
        let Some(gone) = self.processes.remove(&process) else { return };
        if let Some(at) = gone.attest_at {
            self.quiet.remove(&(at, process));
        }
        match gone.state {
            State::Queued(turn) => self.line.leave(turn),
            State::Committing => self.committing = self.committing.saturating_sub(1),
            State::Resting(until) => drop(self.resting.remove(&(until, process))),
            State::Waiting => drop(gone.turn.and_then(|turn| self.waiting.remove(&turn))),
            State::Idle | State::Running | State::Stopped => {}
        }
    }

    fn ran(&mut self, process: Id, next: u64, now: Now) {
        self.end(process);
        self.got_to(process, next);
        self.attest_later(process, now);
        if let Some(driven) = self.processes.get_mut(&process) {
            driven.state = State::Idle;
            self.queue(process);
        }
    }

    /// The outcomes of a run are on disk, up to this slot.
    fn got_to(&mut self, process: Id, next: u64) {
        if let Some(driven) = self.processes.get_mut(&process) {
            (driven.next, driven.failures) = (next, 0);
        }
    }

    /// Has the newest position attested if nothing comes for a while.
    fn attest_later(&mut self, process: Id, now: Now) {
        let Some(driven) = self.processes.get_mut(&process).filter(|driven| driven.next > 0) else { return };
        let at = now.plus_ms(QUIET_MS);
        if let Some(before) = driven.attest_at.replace(at) {
            self.quiet.remove(&(before, process));
        }
        self.quiet.insert((at, process));
    }

    fn failed(&mut self, process: Id, why: String, retry: bool, now: Now, effects: &mut Effects<Effect>) {
        self.end(process);
        let Some(driven) = self.processes.get_mut(&process) else { return };
        if driven.state == State::Stopped {
            return;
        }
        if retry {
            let wait = (RETRY_MS_MIN << driven.failures.min(7)).min(RETRY_MS_MAX);
            driven.failures = driven.failures.saturating_add(1);
            let until = now.plus_ms(wait);
            driven.state = State::Resting(until);
            self.resting.insert((until, process));
        } else {
            driven.state = State::Stopped;
            effects.push(Effect::Stopped { process, why });
        }
        self.attest_later(process, now);
    }

    fn ready(&mut self, process: Id) {
        if let Some(driven) = self.processes.get_mut(&process)
            && let State::Resting(until) = driven.state
        {
            self.resting.remove(&(until, process));
            driven.state = State::Idle;
            self.queue(process);
        }
    }

    /// Lets the first of those that wait for gas have it, if there is some.
    fn wake(&mut self, now: Now, woken: &mut Vec<Id>) {
        if !self.allowance.as_mut().is_some_and(|allowance| allowance.has_some(now)) {
            return;
        }
        while woken.len() < self.threads {
            let Some((_, process)) = self.waiting.pop_first() else { return };
            if let Some(driven) =
                self.processes.get_mut(&process).filter(|driven| driven.state == State::Waiting)
            {
                driven.state = State::Idle;
                woken.push(process);
            }
        }
    }

    fn tick(&mut self, now: Now, effects: &mut Effects<Effect>) {
        let mut rested = Vec::new();
        self.wake(now, &mut rested);
        while let Some(process) = pop_due(&mut self.resting, now) {
            if let Some(driven) = self.processes.get_mut(&process) {
                driven.state = State::Idle;
            }
            rested.push(process);
        }
        self.attest(now, effects);
        for process in rested {
            self.queue(process);
        }
    }

    /// Has as many quiet processes attested as may be.
    fn attest(&mut self, now: Now, effects: &mut Effects<Effect>) {
        while self.attesting < ATTESTING_MAX {
            let Some(process) = pop_due(&mut self.quiet, now) else { return };
            if let Some(driven) = self.processes.get_mut(&process) {
                driven.attest_at = None;
            }
            self.attesting += 1;
            effects.push(Effect::AttestNewest { process });
        }
    }
}

/// The first of those whose time has come.
fn pop_due(set: &mut BTreeSet<(Now, Id)>, now: Now) -> Option<Id> {
    set.first().filter(|(at, _)| *at <= now)?;
    set.pop_first().map(|(_, process)| process)
}

impl Machine for Compute {
    type Input = Input;
    type Effect = Effect;

    fn handle(&mut self, input: Input, now: Now, effects: &mut Effects<Effect>) {
        match input {
            Input::Host { process, evaluate, unasked, next, head } => {
                let attest_at = (next > 0).then(|| now.plus_ms(QUIET_MS));
                let driven = self.processes.entry(process).or_insert_with(|| {
                    self.quiet.extend(attest_at.map(|at| (at, process)));
                    Driven {
                        next,
                        head,
                        evaluate,
                        unasked,
                        wanted: None,
                        state: State::Idle,
                        failures: 0,
                        attest_at,
                        pace: Pace::Unknown,
                        turn: None,
                    }
                });
                (driven.evaluate, driven.unasked) = (evaluate, unasked);
                if driven.state == State::Waiting && !unasked {
                    driven.state = State::Idle;
                    driven.turn.take().and_then(|turn| self.waiting.remove(&turn));
                }
                self.queue(process);
            }
            Input::Wanted { process, slot } => {
                if let Some(driven) = self.processes.get_mut(&process) {
                    driven.wanted = driven.wanted.max(Some(slot));
                }
                self.queue(process);
            }
            Input::Drop { process } => self.forget(process),
            Input::Grew { process, head } => {
                if let Some(driven) = self.processes.get_mut(&process) {
                    driven.head = driven.head.max(Some(head));
                }
                self.queue(process);
            }
            Input::Evaluated { process, slowest_ms, gas } => {
                self.evaluated(process, slowest_ms, gas);
                // A thread is free: of those in line more may run than a tick lets go.
                let mut woken = Vec::new();
                self.wake(now, &mut woken);
                woken.into_iter().for_each(|process| self.queue(process));
            }
            Input::Ran { process, next } => self.ran(process, next, now),
            Input::Failed { process, next, why, retry } => {
                if let Some(next) = next {
                    self.got_to(process, next);
                }
                self.failed(process, why, retry, now, effects);
            }
            Input::Ready { process } => self.ready(process),
            Input::Attested => {
                self.attesting = self.attesting.saturating_sub(1);
                self.attest(now, effects);
            }
            Input::Tick => self.tick(now, effects),
        }
        self.start(now, effects);
    }
}

#[cfg(test)]
mod tests;
