//! Slots on their way to disk, in order, and how many of them go in one commit.

use std::collections::VecDeque;

use weft_protocol::Id;
use weft_storage::limits::QUEUE_BYTES_MAX;

/// Slots of one commit; more wait for the next one.
const GROUP_MAX: usize = 1_024;
/// Bytes of their items and proofs: as many as may wait for the store.
const GROUP_BYTES_MAX: usize = QUEUE_BYTES_MAX;

/// Whether one more slot still goes into a commit of so many and their bytes.
pub const fn has_room(slots: usize, bytes: usize) -> bool {
    slots < GROUP_MAX && bytes < GROUP_BYTES_MAX
}

/// What a group is made of.
pub trait InLog {
    /// Whose log it is a slot of.
    fn process(&self) -> Id;
    /// Bytes of its item and proof.
    fn bytes(&self) -> usize;
}

/// Slots on their way to disk, in order.
#[derive(Debug)]
pub struct Group<S> {
    slots: VecDeque<S>,
    bytes: usize,
}

impl<S> Default for Group<S> {
    fn default() -> Self {
        Self { slots: VecDeque::new(), bytes: 0 }
    }
}

impl<S: InLog> Group<S> {
    /// Appends a slot.
    pub fn push(&mut self, slot: S) {
        self.bytes += slot.bytes();
        self.slots.push_back(slot);
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// Whether one more still goes into the same commit.
    pub fn has_room(&self) -> bool {
        has_room(self.slots.len(), self.bytes)
    }

    /// How many wait, and their bytes.
    pub fn waiting(&self) -> (usize, usize) {
        (self.slots.len(), self.bytes)
    }

    /// Takes out the first that fit in one commit and for which there is room, by their number and
    /// bytes; at least one, of which the store itself says whether it has.
    pub fn first(&mut self, has_room: impl Fn(usize, usize) -> bool) -> Vec<S> {
        let mut bytes = 0;
        let fits = |slot: &&S| {
            bytes += slot.bytes();
            bytes <= GROUP_BYTES_MAX
        };
        let mut count = self.slots.iter().take(GROUP_MAX).take_while(fits).count().max(1);
        let weigh = |count| self.slots.iter().take(count).map(S::bytes).sum::<usize>();
        while count > 1 && !has_room(count, weigh(count)) {
            count /= 2;
        }
        let count = count.min(self.slots.len());
        self.bytes -= weigh(count);
        self.slots.drain(..count).collect()
    }

    /// Takes out the slots of a log.
    pub fn drop_log(&mut self, process: Id) {
        self.slots.retain(|slot| slot.process() != process);
        self.bytes = self.slots.iter().map(S::bytes).sum();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A slot of a log by the log's number and its own bytes.
    #[derive(Debug, Clone, PartialEq)]
    struct Slot(u8, usize);

    impl InLog for Slot {
        fn process(&self) -> Id {
            Id([self.0; 32])
        }

        fn bytes(&self) -> usize {
            self.1
        }
    }

    #[test]
    fn a_group_is_taken_apart_by_bytes_and_by_room() {
        const ITEM_BYTES: usize = 10 * 1024 * 1024;
        let mut group = Group::default();
        for log in 0..7 {
            group.push(Slot(log, ITEM_BYTES));
        }
        assert!(
            group.waiting() == (7, 7 * ITEM_BYTES) && 7 * ITEM_BYTES > GROUP_BYTES_MAX && !group.has_room()
        );
        // Six fit by their bytes; where the disk has room for three at a time, these are taken.
        let first = group.first(|slots, _| slots <= 3);
        assert_eq!((first.len(), group.waiting()), (3, (4, 4 * ITEM_BYTES)));
        let second = group.first(|_, bytes| bytes <= GROUP_BYTES_MAX);
        assert_eq!((second.len(), group.waiting()), (4, (0, 0)));
        let order: Vec<u8> = first.iter().chain(&second).map(|slot| slot.0).collect();
        assert_eq!(order, [0, 1, 2, 3, 4, 5, 6]);
        // What no disk has room for is handed over alone, for the store to refuse.
        group.push(Slot(1, ITEM_BYTES));
        group.push(Slot(2, ITEM_BYTES));
        assert_eq!(group.first(|_, _| false), [Slot(1, ITEM_BYTES)]);
        assert_eq!(group.first(|_, _| false), [Slot(2, ITEM_BYTES)]);
        assert_eq!(group.first(|_, _| false), []);
    }

    #[test]
    fn the_slots_of_a_log_are_taken_out_with_their_bytes() {
        let mut group = Group::default();
        for (log, bytes) in [(1, 10), (2, 20), (1, 30)] {
            group.push(Slot(log, bytes));
        }
        group.drop_log(Id([1; 32]));
        assert_eq!(group.waiting(), (1, 20));
        assert_eq!(group.first(|_, _| true), [Slot(2, 20)]);
    }
}
