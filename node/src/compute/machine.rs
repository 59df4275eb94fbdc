//! The compute driver's rules: which process runs next, how far, and what happens on failure.
//!
//! One process runs on one thread at a time; processes take turns in the order in which they got
//! work, each for a bounded run of slots. A host failure is retried and never becomes an outcome.

use std::collections::{BTreeMap, VecDeque};

use weft_protocol::{Effects, Id, Machine, Now};

/// Slots in one run: long enough to share a commit, short enough to let others have a turn.
pub const RUN_SLOTS_MAX: u64 = 64;
/// A process with no new slot for so long, in milliseconds, attests its newest position.
pub const QUIET_MS: u64 = 1_000;
/// The first wait after a host failure, in milliseconds; doubled each time.
pub const RETRY_MS_MIN: u64 = 250;
/// The longest wait between two tries, in milliseconds.
pub const RETRY_MS_MAX: u64 = 30_000;

/// What the driver hears.
#[derive(Debug)]
pub enum Input {
    /// Compute this process.
    Host {
        /// Which.
        process: Id,
        /// The first slot without an outcome on disk.
        next: u64,
        /// The newest slot on disk.
        head: Option<u64>,
    },
    /// Its log grew.
    Grew {
        /// Which.
        process: Id,
        /// The newest slot on disk.
        head: u64,
    },
    /// A run ended and its outcomes are on disk.
    Ran {
        /// Of which process.
        process: Id,
        /// The first slot without an outcome on disk.
        next: u64,
    },
    /// A run met a host failure; nothing of it is on disk.
    Failed {
        /// Of which process.
        process: Id,
        /// What failed.
        why: String,
        /// Whether trying again can help.
        retry: bool,
    },
    /// Time passed.
    Tick,
}

/// What the driver asks for.
#[derive(Debug, PartialEq, Eq)]
pub enum Effect {
    /// Evaluate slots `from..=to` (loading the process first if needed), commit, then answer with
    /// `Ran` or `Failed`.
    Run {
        /// Of which process.
        process: Id,
        /// The first slot.
        from: u64,
        /// The last slot.
        to: u64,
    },
    /// Attest the newest position: nothing came for a while.
    AttestNewest {
        /// Of which process.
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
    running: usize,
    processes: BTreeMap<Id, Hosted>,
    turns: VecDeque<Id>,
}

#[derive(Debug)]
struct Hosted {
    next: u64,
    head: Option<u64>,
    state: State,
    failures: u32,
    quiet_since: Option<Now>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Idle,
    Queued,
    Running,
    Resting(Now),
    Stopped,
}

impl Compute {
    /// A driver for so many threads.
    pub const fn new(threads: usize) -> Self {
        Self { threads, running: 0, processes: BTreeMap::new(), turns: VecDeque::new() }
    }

    /// Whether every slot on disk has its outcome on disk.
    pub fn is_idle(&self, process: &Id) -> bool {
        self.processes.get(process).is_some_and(|hosted| hosted.state == State::Idle)
    }

    fn queue(&mut self, process: Id) {
        let Some(hosted) = self.processes.get_mut(&process) else { return };
        if hosted.state == State::Idle && hosted.head.is_some_and(|head| head >= hosted.next) {
            hosted.state = State::Queued;
            hosted.quiet_since = None;
            self.turns.push_back(process);
        }
    }

    fn start(&mut self, effects: &mut Effects<Effect>) {
        while self.running < self.threads {
            let Some(process) = self.turns.pop_front() else { return };
            let Some(hosted) = self.processes.get_mut(&process) else { continue };
            let (State::Queued, Some(head)) = (hosted.state, hosted.head) else { continue };
            hosted.state = State::Running;
            self.running += 1;
            let to = head.min(hosted.next + RUN_SLOTS_MAX - 1);
            effects.push(Effect::Run { process, from: hosted.next, to });
        }
    }

    fn ran(&mut self, process: Id, next: u64, now: Now) {
        self.running = self.running.saturating_sub(1);
        if let Some(hosted) = self.processes.get_mut(&process) {
            hosted.next = next;
            hosted.failures = 0;
            hosted.state = State::Idle;
            hosted.quiet_since = Some(now);
            self.queue(process);
        }
    }

    fn failed(&mut self, process: Id, why: String, retry: bool, now: Now, effects: &mut Effects<Effect>) {
        self.running = self.running.saturating_sub(1);
        let Some(hosted) = self.processes.get_mut(&process) else { return };
        if retry {
            let wait = (RETRY_MS_MIN << hosted.failures.min(7)).min(RETRY_MS_MAX);
            hosted.failures = hosted.failures.saturating_add(1);
            hosted.state = State::Resting(now.plus_ms(wait));
        } else {
            hosted.state = State::Stopped;
            effects.push(Effect::Stopped { process, why });
        }
    }

    fn tick(&mut self, now: Now, effects: &mut Effects<Effect>) {
        let mut rested = Vec::new();
        for (process, hosted) in &mut self.processes {
            match hosted.state {
                State::Resting(until) if until <= now => {
                    hosted.state = State::Idle;
                    rested.push(*process);
                }
                State::Idle if hosted.quiet_since.is_some_and(|since| since.plus_ms(QUIET_MS) <= now) => {
                    hosted.quiet_since = None;
                    effects.push(Effect::AttestNewest { process: *process });
                }
                State::Idle | State::Queued | State::Running | State::Resting(_) | State::Stopped => {}
            }
        }
        for process in rested {
            self.queue(process);
        }
    }
}

impl Machine for Compute {
    type Input = Input;
    type Effect = Effect;

    fn handle(&mut self, input: Input, now: Now, effects: &mut Effects<Effect>) {
        match input {
            Input::Host { process, next, head } => {
                let quiet_since = (next > 0).then_some(now);
                let hosted = Hosted { next, head, state: State::Idle, failures: 0, quiet_since };
                self.processes.entry(process).or_insert(hosted);
                self.queue(process);
            }
            Input::Grew { process, head } => {
                if let Some(hosted) = self.processes.get_mut(&process) {
                    hosted.head = hosted.head.max(Some(head));
                }
                self.queue(process);
            }
            Input::Ran { process, next } => self.ran(process, next, now),
            Input::Failed { process, why, retry } => self.failed(process, why, retry, now, effects),
            Input::Tick => self.tick(now, effects),
        }
        self.start(effects);
    }
}
