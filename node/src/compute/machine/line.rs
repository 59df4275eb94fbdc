//! Who waits for a turn to run.

use std::collections::BTreeMap;

use weft_protocol::Id;

/// What is known of the time that a process's messages take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pace {
    Unknown,
    Quick,
    Slow,
}

/// A place in the line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Turn {
    pace: Pace,
    number: u64,
}

/// The processes that wait for a turn, by pace, each in the order in which they got in line. The
/// time that a change takes does not grow with the crowd that waits.
#[derive(Debug, Default)]
pub(super) struct Line {
    unknown: BTreeMap<u64, Id>,
    quick: BTreeMap<u64, Id>,
    slow: BTreeMap<u64, Id>,
    turns: u64,
}

impl Line {
    fn of(&mut self, pace: Pace) -> &mut BTreeMap<u64, Id> {
        match pace {
            Pace::Unknown => &mut self.unknown,
            Pace::Quick => &mut self.quick,
            Pace::Slow => &mut self.slow,
        }
    }

    /// Has a process get in line, as the last.
    pub fn enter(&mut self, process: Id, pace: Pace) -> Turn {
        let number = self.turns;
        self.turns += 1;
        self.of(pace).insert(number, process);
        Turn { pace, number }
    }

    /// Has a process get out of line.
    pub fn leave(&mut self, turn: Turn) {
        self.of(turn.pace).remove(&turn.number);
    }

    /// Whether a slow process waits.
    pub fn has_slow(&self) -> bool {
        !self.slow.is_empty()
    }

    /// The first of the slow ones.
    pub fn next_slow(&mut self) -> Option<Id> {
        self.slow.pop_first().map(|(_, process)| process)
    }

    /// The first of those that are known to be quick.
    pub fn next_quick(&mut self) -> Option<Id> {
        self.quick.pop_first().map(|(_, process)| process)
    }

    /// The first of those that are not known to be slow.
    pub fn next_other(&mut self) -> Option<Id> {
        let turn = |line: &BTreeMap<u64, Id>| line.first_key_value().map_or(u64::MAX, |(turn, _)| *turn);
        let first = if turn(&self.quick) < turn(&self.unknown) { &mut self.quick } else { &mut self.unknown };
        first.pop_first().map(|(_, process)| process)
    }

    /// Whether nobody waits who is not known to be slow.
    pub fn has_slow_alone(&self) -> bool {
        self.quick.is_empty() && self.unknown.is_empty()
    }
}
