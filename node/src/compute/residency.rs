//! Which processes stay in memory.
//!
//! Those that are pinned and those that ran last, as far as the budget goes: bytes, and how many
//! instances this OS process can map. States that are held beside the processes, for dry runs and
//! for who goes back, count too. A process at work is never taken out of memory, so the budget is
//! passed by what the running ones grow until they are done. One that is out of memory is a row in
//! a table.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use weft_protocol::Id;

/// Bytes of guest memory held beside the live processes.
#[derive(Debug, Clone, Default)]
pub struct Elsewhere(Arc<AtomicU64>);

impl Elsewhere {
    /// Counts so many bytes for as long as they are held.
    pub fn hold(&self, bytes: u64) -> Held {
        self.0.fetch_add(bytes, Ordering::Relaxed);
        Held { bytes, of: self.clone() }
    }

    /// How many are held.
    pub fn bytes(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Bytes that count until this is dropped.
#[derive(Debug)]
pub struct Held {
    bytes: u64,
    of: Elsewhere,
}

impl Held {
    /// How many.
    pub const fn bytes(&self) -> u64 {
        self.bytes
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.of.0.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// The processes in memory.
#[derive(Debug)]
pub struct Residency {
    budget_bytes: u64,
    count_max: usize,
    own_bytes: u64,
    elsewhere: Elsewhere,
    processes: BTreeMap<Id, Resident>,
    /// The processes at rest, the pinned ones last, by when they came to rest.
    idle: BTreeMap<Turn, Id>,
    turns: u64,
}

/// Whether it is pinned, and when it came to rest.
type Turn = (bool, u64);

#[derive(Debug, Clone, Copy)]
struct Resident {
    bytes: u64,
    /// Its key among those at rest, if it is.
    turn: Option<Turn>,
}

impl Residency {
    /// Nothing in memory, with room for so many bytes, those held elsewhere included, and so many
    /// processes.
    pub fn new(budget_bytes: u64, count_max: usize, elsewhere: Elsewhere) -> Self {
        let (processes, idle) = (BTreeMap::new(), BTreeMap::new());
        Self { budget_bytes, count_max, own_bytes: 0, elsewhere, processes, idle, turns: 0 }
    }

    /// A process came to rest with so many bytes.
    pub fn rests(&mut self, process: Id, bytes: u64, pinned: bool) {
        self.leaves(process);
        self.turns += 1;
        let turn = (pinned, self.turns);
        self.idle.insert(turn, process);
        self.processes.insert(process, Resident { bytes, turn: Some(turn) });
        self.own_bytes = self.own_bytes.saturating_add(bytes);
    }

    /// A process goes to work; its bytes count on.
    pub fn works(&mut self, process: Id) {
        if let Some(resident) = self.processes.get_mut(&process)
            && let Some(turn) = resident.turn.take()
        {
            self.idle.remove(&turn);
        }
    }

    /// A process leaves memory.
    pub fn leaves(&mut self, process: Id) {
        if let Some(resident) = self.processes.remove(&process) {
            self.own_bytes = self.own_bytes.saturating_sub(resident.bytes);
            if let Some(turn) = resident.turn {
                self.idle.remove(&turn);
            }
        }
    }

    /// The process that should leave memory now: of those at rest the one that ran longest ago, a
    /// pinned one only when there is no other, while the budget is passed.
    pub fn coldest(&self) -> Option<Id> {
        let is_over = self.total_bytes() > self.budget_bytes || self.processes.len() > self.count_max;
        if is_over { self.idle.values().next().copied() } else { None }
    }

    /// Bytes of all processes in memory, and of what is held elsewhere.
    pub fn total_bytes(&self) -> u64 {
        self.own_bytes.saturating_add(self.elsewhere.bytes())
    }

    /// How many processes are in memory.
    pub fn len(&self) -> usize {
        self.processes.len()
    }

    /// The processes in memory, and how many bytes each takes up.
    pub fn all(&self) -> impl Iterator<Item = (Id, u64)> {
        self.processes.iter().map(|(process, resident)| (*process, resident.bytes))
    }

    /// Whether no process is in memory.
    pub fn is_empty(&self) -> bool {
        self.processes.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(number: u8) -> Id {
        Id([number; 32])
    }

    /// Takes out whatever must leave.
    fn settle(residency: &mut Residency) -> Vec<u8> {
        let mut gone = Vec::new();
        while let Some(process) = residency.coldest() {
            residency.leaves(process);
            gone.push(process.0[0]);
        }
        gone
    }

    #[test]
    fn the_coldest_leave_until_the_budget_holds() {
        let mut residency = Residency::new(100, 10, Elsewhere::default());
        for number in 1..=4 {
            residency.rests(id(number), 25, false);
        }
        assert_eq!(settle(&mut residency), [0; 0]);
        residency.rests(id(1), 50, false);
        assert_eq!(settle(&mut residency), [2]);
        residency.rests(id(5), 60, false);
        assert_eq!(settle(&mut residency), [3, 4, 1]);
        assert_eq!((residency.total_bytes(), residency.len()), (60, 1));
    }

    #[test]
    fn a_process_at_work_stays_and_counts() {
        let mut residency = Residency::new(100, 10, Elsewhere::default());
        residency.rests(id(1), 90, false);
        residency.works(id(1));
        residency.rests(id(2), 20, false);
        assert_eq!(settle(&mut residency), [2]);
        residency.works(id(1));
        residency.rests(id(1), 101, false);
        assert_eq!(settle(&mut residency), [1]);
        assert_eq!((residency.total_bytes(), residency.is_empty()), (0, true));
    }

    #[test]
    fn the_pinned_leave_last() {
        let mut residency = Residency::new(100, 10, Elsewhere::default());
        residency.rests(id(1), 40, true);
        residency.rests(id(2), 40, true);
        residency.rests(id(3), 40, false);
        residency.rests(id(4), 40, false);
        assert_eq!(settle(&mut residency), [3, 4]);
        residency.rests(id(3), 40, false);
        assert_eq!(settle(&mut residency), [3]);
        residency.rests(id(2), 90, true);
        assert_eq!(settle(&mut residency), [1]);
    }

    #[test]
    fn what_is_held_elsewhere_counts_while_it_is_held() {
        let elsewhere = Elsewhere::default();
        let mut residency = Residency::new(100, 10, elsewhere.clone());
        residency.rests(id(1), 60, false);
        let (first, second) = (elsewhere.hold(30), elsewhere.hold(20));
        assert_eq!((residency.total_bytes(), second.bytes()), (110, 20));
        drop(second);
        assert_eq!(settle(&mut residency), [0; 0]);
        let third = elsewhere.hold(20);
        assert_eq!(settle(&mut residency), [1]);
        drop((first, third));
        assert_eq!(residency.total_bytes(), 0);
    }

    #[test]
    fn no_more_instances_than_the_system_can_map() {
        let mut residency = Residency::new(u64::MAX, 2, Elsewhere::default());
        for number in 1..=4 {
            residency.rests(id(number), 1, false);
        }
        assert_eq!(settle(&mut residency), [1, 2]);
        residency.leaves(id(9));
        assert_eq!(residency.len(), 2);
    }
}
