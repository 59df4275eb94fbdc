//! The collector's rules: when to ask for what a process sent.
//!
//! Asked is where a quorum signed a position behind the last one that is here, as soon as the log here has its slot: what
//! is carried in hard mode follows from the log too. Attestations that nobody heard are found by asking anyway, now
//! and then, while the log is longer than what is here.

use std::collections::{BTreeMap, BTreeSet};

use weft_protocol::{Effects, Id, Machine, Now, Position};

/// Processes that are asked for at once: each answer may have megabytes.
pub const ASKS_MAX: usize = 16;
/// The first wait after nobody had anything new, or nobody was there, in milliseconds; doubled each time.
pub const WAIT_MS_MIN: u64 = 500;
/// The longest.
pub const WAIT_MS_MAX: u64 = 60_000;
/// How long a log may be longer than what is here before somebody is asked though nothing was heard, in milliseconds.
pub const POLL_MS: u64 = 5_000;
/// The wait while too much of a process waits to be pushed, in milliseconds.
pub const FULL_MS: u64 = 5_000;

/// What the collector hears.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Input {
    /// Collect what a process sends, or go on with it.
    Carry {
        /// Which.
        process: Id,
        /// The last position that is here; none where nothing is.
        to: Option<Position>,
        /// The newest slot of its log here.
        head: Option<u64>,
    },
    /// Do so no longer.
    Drop {
        /// For which.
        process: Id,
    },
    /// Its log grew here.
    Grew {
        /// Which.
        process: Id,
        /// Its newest slot.
        head: u64,
    },
    /// A quorum of its attestors signed a position, by what is here.
    Signed {
        /// Of which process.
        process: Id,
        /// Which position.
        position: Position,
    },
    /// What [`Effect::Ask`] came to.
    Asked {
        /// For which process.
        process: Id,
        /// What came of it.
        came: Came,
    },
    /// Time passed.
    Tick,
}

/// What came of asking.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Came {
    /// What it sent up to this position is on disk.
    Took {
        /// The last position.
        to: Position,
        /// Whether there may be more at once.
        more: bool,
    },
    /// Nobody who was asked had anything newer.
    Nothing,
    /// Too much of it waits to be pushed already.
    Full,
}

/// What the collector asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// Ask what a process sent after what is here; answer with `Asked`.
    Ask {
        /// Which.
        process: Id,
    },
}

/// Collects for any number of processes.
#[derive(Debug, Default)]
pub struct Collector {
    kept: BTreeMap<Id, Kept>,
    /// When each that is not asked for is to be looked at.
    due: BTreeSet<(Now, Id)>,
    asking: usize,
}

#[derive(Debug)]
struct Kept {
    to: Option<Position>,
    head: Option<u64>,
    /// The newest position that a quorum signed, as far as was heard.
    signed: Option<Position>,
    asking: bool,
    /// It was dropped and taken up again while somebody was asked.
    stale: bool,
    /// Before when nobody is asked.
    not_before: Now,
    /// When somebody is asked though nothing was heard.
    poll: Now,
    failures: u32,
    due: Option<Now>,
}

impl Kept {
    const fn new(now: Now) -> Self {
        Self {
            to: None,
            head: None,
            signed: None,
            asking: false,
            stale: false,
            not_before: now,
            poll: now,
            failures: 0,
            due: None,
        }
    }

    /// When somebody is to be asked; never, as far as is known now, for none.
    fn ask_at(&self) -> Option<Now> {
        let (Some(head), false) = (self.head, self.asking) else { return None };
        // What a tick came to is known with the slot after its own, which says when: claims of its pushes need that.
        let needs = |at: Position| at.slot.saturating_add(u64::from(at.tick > 0));
        let is_behind = |to: Position| self.signed.is_some_and(|signed| signed > to && needs(signed) <= head);
        match self.to {
            None => Some(self.not_before),
            Some(to) if is_behind(to) => Some(self.not_before),
            Some(to) if head > to.slot => Some(self.not_before.max(self.poll)),
            Some(_) => None,
        }
    }
}

impl Collector {
    /// Whether what a process sends is collected.
    pub fn carries(&self, process: &Id) -> bool {
        self.kept.contains_key(process)
    }

    /// Whether a position is behind what is here.
    pub fn wants(&self, process: &Id, position: Position) -> bool {
        self.kept.get(process).is_some_and(|kept| kept.to.is_none_or(|to| to < position))
    }

    /// For which processes.
    pub fn all(&self) -> impl Iterator<Item = Id> {
        self.kept.keys().copied()
    }

    fn look(&mut self, process: Id) {
        let Some(kept) = self.kept.get_mut(&process) else { return };
        let at = kept.ask_at();
        if let Some(before) = std::mem::replace(&mut kept.due, at) {
            self.due.remove(&(before, process));
        }
        if let Some(at) = at {
            self.due.insert((at, process));
        }
    }

    fn carry(&mut self, process: Id, to: Option<Position>, head: Option<u64>, now: Now) {
        let kept = self.kept.entry(process).or_insert_with(|| Kept::new(now));
        // Another place than before: it was told to begin anew.
        kept.stale |= kept.asking && kept.to != to;
        (kept.to, kept.head) = (to, kept.head.max(head));
        self.look(process);
    }

    fn drop_process(&mut self, process: Id) {
        let Some(kept) = self.kept.remove(&process) else { return };
        if let Some(due) = kept.due {
            self.due.remove(&(due, process));
        }
        self.asking -= usize::from(kept.asking);
    }

    fn asked(&mut self, process: Id, came: Came, now: Now) {
        let Some(kept) = self.kept.get_mut(&process).filter(|kept| kept.asking) else { return };
        (kept.asking, self.asking) = (false, self.asking - 1);
        if std::mem::take(&mut kept.stale) {
            return self.look(process);
        }
        match came {
            Came::Took { to, more } => {
                kept.to = Some(to);
                (kept.failures, kept.not_before) = (0, now);
                kept.poll = if more { now } else { now.plus_ms(POLL_MS) };
            }
            Came::Nothing => {
                let wait = (WAIT_MS_MIN << kept.failures.min(7)).min(WAIT_MS_MAX);
                kept.failures = kept.failures.saturating_add(1);
                kept.not_before = now.plus_ms(wait);
                kept.poll = now.plus_ms(wait.max(POLL_MS));
            }
            Came::Full => kept.not_before = now.plus_ms(FULL_MS),
        }
        self.look(process);
    }

    fn signed(&mut self, process: Id, position: Position, now: Now) {
        let Some(kept) = self.kept.get_mut(&process) else { return };
        if kept.signed.is_none_or(|signed| signed < position) {
            kept.signed = Some(position);
            // Whoever had nothing before may have it now.
            if kept.failures > 0 {
                (kept.failures, kept.not_before) = (0, now);
            }
        }
        self.look(process);
    }

    fn step(&mut self, now: Now, effects: &mut Effects<Effect>) {
        while self.asking < ASKS_MAX
            && let Some((at, process)) = self.due.first().copied()
            && at <= now
        {
            self.due.pop_first();
            if let Some(kept) = self.kept.get_mut(&process) {
                (kept.asking, kept.due) = (true, None);
                self.asking += 1;
                effects.push(Effect::Ask { process });
            }
        }
    }
}

impl Machine for Collector {
    type Input = Input;
    type Effect = Effect;

    fn handle(&mut self, input: Input, now: Now, effects: &mut Effects<Effect>) {
        match input {
            Input::Carry { process, to, head } => self.carry(process, to, head, now),
            Input::Drop { process } => self.drop_process(process),
            Input::Grew { process, head } => {
                if let Some(kept) = self.kept.get_mut(&process) {
                    let was_even = kept.head.is_none_or(|head| kept.to.is_some_and(|to| head <= to.slot));
                    kept.head = kept.head.max(Some(head));
                    if was_even {
                        kept.poll = kept.poll.max(now.plus_ms(POLL_MS));
                    }
                    self.look(process);
                }
            }
            Input::Signed { process, position } => self.signed(process, position, now),
            Input::Asked { process, came } => self.asked(process, came, now),
            Input::Tick => {}
        }
        self.step(now, effects);
    }
}

#[cfg(test)]
mod tests;
