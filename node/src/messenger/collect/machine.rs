//! The collector's rules: when to ask for what a process sent.
//!
//! Asked is where an attestor was heard to have signed a position behind the last one that is here, as soon as the log here
//! has its slot: what is carried in hard mode follows from the log too. Whoever signed first has it, and is asked for it
//! while the others still compute, so that it is here when the last word of a quorum comes. Where that comes to nothing
//! the others are asked as soon as a quorum signed. A node that others are to carry before asks a moment later: all who carry
//! for a process would else ask, verify and write what one of them needs at once. Attestations that nobody heard are found
//! by asking anyway, now and then, while the log is longer than what is here.

use std::collections::{BTreeMap, BTreeSet};

use weft_protocol::{Address, Effects, Id, Machine, Now, Position};

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

/// How much later those ask who are not the first to carry it, in milliseconds: as long as a push takes, and far less than
/// their turn is away.
pub const LATER_MS: u64 = 100;

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
    /// One of its attestors signed a position.
    Heard {
        /// Of which process.
        process: Id,
        /// Which position.
        position: Position,
        /// Who.
        attestor: Address,
        /// Whether this node is to carry what it sent before others.
        is_first: bool,
    },
    /// A quorum of its attestors signed a position, by what is here.
    Signed {
        /// Of which process.
        process: Id,
        /// Which position.
        position: Position,
        /// As of [`Input::Heard`].
        is_first: bool,
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
        /// Whom alone, before a quorum has signed: the answer waits a moment for the words of the others. All who may
        /// have it for none.
        ahead: Option<Address>,
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
    /// The newest position that any attestor signed, as far as was heard, and the first of them.
    heard: Option<(Position, Address)>,
    asking: Option<Asking>,
    /// Before when nobody is asked for what was heard of since somebody was asked last: others carry it first.
    later: Option<Now>,
    /// It was dropped and taken up again while somebody was asked.
    stale: bool,
    /// Before when nobody is asked.
    not_before: Now,
    /// When somebody is asked though nothing was heard.
    poll: Now,
    failures: u32,
    /// The same of asking ahead of a quorum.
    not_ahead_before: Now,
    failures_ahead: u32,
    due: Option<Now>,
}

/// What is being asked for.
#[derive(Debug, Clone, Copy)]
struct Asking {
    is_ahead: bool,
    /// What a quorum had signed when it began.
    signed: Option<Position>,
}

impl Kept {
    const fn new(now: Now) -> Self {
        Self {
            to: None,
            head: None,
            signed: None,
            heard: None,
            asking: None,
            later: None,
            stale: false,
            not_before: now,
            poll: now,
            failures: 0,
            not_ahead_before: now,
            failures_ahead: 0,
            due: None,
        }
    }

    /// Something was heard of that is to be asked for from then on, if nothing else is sooner.
    fn wait_until(&mut self, turn: Now) {
        self.later = Some(self.later.map_or(turn, |later| later.min(turn)));
    }

    /// When somebody is to be asked, and who if that is ahead of a quorum; never, as far as is known now, for none.
    fn ask_at(&self) -> Option<(Now, Option<Address>)> {
        let (Some(head), None) = (self.head, self.asking) else { return None };
        let Some(to) = self.to else { return Some((self.not_before, None)) };
        // What a tick came to is known with the slot after its own, which says when: claims of its pushes need that.
        let needs = |at: Position| at.slot.saturating_add(u64::from(at.tick > 0));
        let is_behind = |at: &Position| *at > to && needs(*at) <= head;
        let later = |at: Now| self.later.map_or(at, |later| later.max(at));
        let ahead = self.heard.filter(|(at, _)| is_behind(at));
        let ahead = ahead.map(|(_, attestor)| (later(self.not_ahead_before), Some(attestor)));
        let of_all = match self.signed.filter(is_behind) {
            Some(_) => Some((later(self.not_before), None)),
            None => (head > to.slot).then(|| (self.not_before.max(self.poll), None)),
        };
        // Whoever was heard goes first where both may be asked at once: it is sure to have it.
        ahead.into_iter().chain(of_all).min_by_key(|(at, _)| *at)
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
        let at = kept.ask_at().map(|(at, _)| at);
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
        kept.stale |= kept.asking.is_some() && kept.to != to;
        (kept.to, kept.head) = (to, kept.head.max(head));
        self.look(process);
    }

    fn drop_process(&mut self, process: Id) {
        let Some(kept) = self.kept.remove(&process) else { return };
        if let Some(due) = kept.due {
            self.due.remove(&(due, process));
        }
        self.asking -= usize::from(kept.asking.is_some());
    }

    fn asked(&mut self, process: Id, came: Came, now: Now) {
        let Some(kept) = self.kept.get_mut(&process) else { return };
        let Some(Asking { is_ahead, signed }) = kept.asking.take() else { return };
        self.asking -= 1;
        if std::mem::take(&mut kept.stale) {
            return self.look(process);
        }
        match came {
            Came::Took { to, more } => {
                kept.to = Some(to);
                (kept.failures, kept.not_before) = (0, now);
                kept.poll = if more { now } else { now.plus_ms(POLL_MS) };
                if is_ahead {
                    (kept.failures_ahead, kept.not_ahead_before) = (0, now);
                }
            }
            Came::Nothing if is_ahead => {
                // Its word alone is no reason to ask it again.
                kept.heard = None;
                kept.not_ahead_before = now.plus_ms(wait_ms(kept.failures_ahead));
                kept.failures_ahead = kept.failures_ahead.saturating_add(1);
            }
            // What was signed meanwhile nobody was asked for.
            Came::Nothing if kept.signed > signed => kept.not_before = now,
            Came::Nothing => {
                let wait = wait_ms(kept.failures);
                kept.failures = kept.failures.saturating_add(1);
                kept.not_before = now.plus_ms(wait);
                kept.poll = now.plus_ms(wait.max(POLL_MS));
            }
            Came::Full => {
                kept.not_before = now.plus_ms(FULL_MS);
                kept.not_ahead_before = kept.not_before;
            }
        }
        self.look(process);
    }

    fn heard(&mut self, process: Id, position: Position, attestor: Address, turn: Now) {
        let Some(kept) = self.kept.get_mut(&process) else { return };
        if kept.heard.is_none_or(|(heard, _)| heard < position) {
            kept.heard = Some((position, attestor));
            kept.wait_until(turn);
        }
        self.look(process);
    }

    fn signed(&mut self, process: Id, position: Position, turn: Now, now: Now) {
        let Some(kept) = self.kept.get_mut(&process) else { return };
        if kept.signed.is_none_or(|signed| signed < position) {
            kept.signed = Some(position);
            kept.wait_until(turn);
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
                let ahead = kept.ask_at().and_then(|(_, ahead)| ahead);
                kept.asking = Some(Asking { is_ahead: ahead.is_some(), signed: kept.signed });
                (kept.due, kept.later) = (None, None);
                self.asking += 1;
                effects.push(Effect::Ask { process, ahead });
            }
        }
    }
}

/// From when on something is asked for that was heard of now.
fn turn(is_first: bool, now: Now) -> Now {
    if is_first { now } else { now.plus_ms(LATER_MS) }
}

/// The wait after so many times that came to nothing, and once more.
fn wait_ms(failures: u32) -> u64 {
    (WAIT_MS_MIN << failures.min(7)).min(WAIT_MS_MAX)
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
            Input::Heard { process, position, attestor, is_first } => {
                self.heard(process, position, attestor, turn(is_first, now));
            }
            Input::Signed { process, position, is_first } => {
                self.signed(process, position, turn(is_first, now), now);
            }
            Input::Asked { process, came } => self.asked(process, came, now),
            Input::Tick => {}
        }
        self.step(now, effects);
    }
}

#[cfg(test)]
mod tests;
