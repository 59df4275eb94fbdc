//! Which processes stay in memory.
//!
//! Those that ran last, as far as the budget goes: bytes, and how many instances this OS process
//! can map. A process at work is never taken out of memory, so the budget is passed by what the
//! running ones grow until they are done. One that is out of memory is a row in a table.

use std::collections::BTreeMap;

use weft_protocol::Id;

/// The processes in memory.
#[derive(Debug)]
pub struct Residency {
    budget_bytes: u64,
    count_max: usize,
    total_bytes: u64,
    processes: BTreeMap<Id, Resident>,
    /// The processes at rest, by when they came to rest.
    idle: BTreeMap<u64, Id>,
    turns: u64,
}

#[derive(Debug, Clone, Copy)]
struct Resident {
    bytes: u64,
    /// Its key among those at rest, if it is.
    turn: Option<u64>,
}

impl Residency {
    /// Nothing in memory, with room for so many bytes and processes.
    pub fn new(budget_bytes: u64, count_max: usize) -> Self {
        let (processes, idle) = (BTreeMap::new(), BTreeMap::new());
        Self { budget_bytes, count_max, total_bytes: 0, processes, idle, turns: 0 }
    }

    /// A process came to rest with so many bytes.
    pub fn rests(&mut self, process: Id, bytes: u64) {
        self.leaves(process);
        self.turns += 1;
        self.idle.insert(self.turns, process);
        self.processes.insert(process, Resident { bytes, turn: Some(self.turns) });
        self.total_bytes = self.total_bytes.saturating_add(bytes);
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
            self.total_bytes = self.total_bytes.saturating_sub(resident.bytes);
            if let Some(turn) = resident.turn {
                self.idle.remove(&turn);
            }
        }
    }

    /// The process that should leave memory now: of those at rest the one that ran longest ago,
    /// while the budget is passed.
    pub fn coldest(&self) -> Option<Id> {
        let is_over = self.total_bytes > self.budget_bytes || self.processes.len() > self.count_max;
        if is_over { self.idle.values().next().copied() } else { None }
    }

    /// Bytes of all processes in memory.
    pub const fn total_bytes(&self) -> u64 {
        self.total_bytes
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
        let mut residency = Residency::new(100, 10);
        for number in 1..=4 {
            residency.rests(id(number), 25);
        }
        assert_eq!(settle(&mut residency), [0; 0]);
        residency.rests(id(1), 50);
        assert_eq!(settle(&mut residency), [2]);
        residency.rests(id(5), 60);
        assert_eq!(settle(&mut residency), [3, 4, 1]);
        assert_eq!((residency.total_bytes(), residency.len()), (60, 1));
    }

    #[test]
    fn a_process_at_work_stays_and_counts() {
        let mut residency = Residency::new(100, 10);
        residency.rests(id(1), 90);
        residency.works(id(1));
        residency.rests(id(2), 20);
        assert_eq!(settle(&mut residency), [2]);
        residency.works(id(1));
        residency.rests(id(1), 101);
        assert_eq!(settle(&mut residency), [1]);
        assert_eq!((residency.total_bytes(), residency.is_empty()), (0, true));
    }

    #[test]
    fn no_more_instances_than_the_system_can_map() {
        let mut residency = Residency::new(u64::MAX, 2);
        for number in 1..=4 {
            residency.rests(id(number), 1);
        }
        assert_eq!(settle(&mut residency), [1, 2]);
        residency.leaves(id(9));
        assert_eq!(residency.len(), 2);
    }
}
