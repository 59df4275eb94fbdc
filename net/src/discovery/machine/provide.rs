//! When to write this node's provider records.
//!
//! A record is written to the peers near its key that are known at that moment. A node that has
//! just started knows none, and the library would try again after hours. So records are written
//! again shortly after each new peer, and every ten minutes, because peers forget on restart.

use std::collections::BTreeMap;

use weft_protocol::{Effects, Machine, Now};

use crate::limits::{PROVIDE_GAP_MS, PROVIDE_PER_TICK, PROVIDE_REFRESH_MS, PROVIDE_SETTLE_MS, PROVIDED_MAX};

/// What the machine hears of.
#[derive(Debug)]
pub(crate) enum Input<K> {
    Provide(K),
    Stop(K),
    /// A new peer is in the routing table, or this node is reached elsewhere than before.
    NewPeer,
    Tick,
}

#[derive(Debug, Clone, Copy)]
struct Record {
    due: Now,
    written: Option<Now>,
}

/// What this node provides. Asks to write a record by naming its key.
#[derive(Debug)]
pub(crate) struct Provided<K> {
    records: BTreeMap<K, Record>,
}

impl<K: Ord + Copy> Provided<K> {
    pub(crate) const fn new() -> Self {
        Self { records: BTreeMap::new() }
    }

    /// How many keys are provided.
    pub(crate) fn len(&self) -> usize {
        self.records.len()
    }

    /// Whether one more key would be too many, where so many places are for others.
    pub(crate) fn is_full_for(&self, key: &K, reserved: usize) -> bool {
        self.records.len() + reserved >= PROVIDED_MAX && !self.records.contains_key(key)
    }
}

impl<K: Ord + Copy> Machine for Provided<K> {
    type Input = Input<K>;
    type Effect = K;

    fn handle(&mut self, input: Input<K>, now: Now, effects: &mut Effects<K>) {
        match input {
            Input::Provide(key) => {
                if !self.is_full_for(&key, 0) {
                    self.records.entry(key).or_insert(Record { due: now, written: None });
                }
            }
            Input::Stop(key) => {
                self.records.remove(&key);
            }
            Input::NewPeer => {
                for record in self.records.values_mut() {
                    let settled = now.plus_ms(PROVIDE_SETTLE_MS);
                    let soon = record.written.map_or(settled, |at| settled.max(at.plus_ms(PROVIDE_GAP_MS)));
                    record.due = record.due.min(soon);
                }
            }
            Input::Tick => {
                let mut due: Vec<_> =
                    self.records.iter_mut().filter(|(_, record)| record.due <= now).collect();
                due.sort_by_key(|(_, record)| record.due);
                for (key, record) in due.into_iter().take(PROVIDE_PER_TICK) {
                    *record = Record { due: now.plus_ms(PROVIDE_REFRESH_MS), written: Some(now) };
                    effects.push(*key);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOTHING: [usize; 0] = [];

    fn run(machine: &mut Provided<usize>, input: Input<usize>, now: u64) -> Vec<usize> {
        let mut effects = Effects::new();
        machine.handle(input, Now(now), &mut effects);
        effects.drain().collect()
    }

    #[test]
    fn a_record_is_written_at_once_after_new_peers_and_at_intervals() {
        let mut machine = Provided::new();
        run(&mut machine, Input::Provide(1), 0);
        assert_eq!(run(&mut machine, Input::Tick, 0), [1]);
        assert_eq!(run(&mut machine, Input::Tick, 1), NOTHING);
        // Peers that come in a burst cost one more write.
        run(&mut machine, Input::NewPeer, 100);
        run(&mut machine, Input::NewPeer, 200);
        assert_eq!(run(&mut machine, Input::Tick, PROVIDE_GAP_MS - 1), NOTHING);
        assert_eq!(run(&mut machine, Input::Tick, PROVIDE_GAP_MS), [1]);
        assert_eq!(run(&mut machine, Input::Tick, PROVIDE_GAP_MS + PROVIDE_REFRESH_MS - 1), NOTHING);
        assert_eq!(run(&mut machine, Input::Tick, PROVIDE_GAP_MS + PROVIDE_REFRESH_MS), [1]);
        run(&mut machine, Input::Stop(1), 0);
        assert_eq!(run(&mut machine, Input::Tick, u64::MAX), NOTHING);
    }

    #[test]
    fn writes_are_paced_and_all_get_their_turn() {
        let mut machine = Provided::new();
        for key in 0..10 {
            run(&mut machine, Input::Provide(key), 0);
        }
        let mut written = Vec::new();
        for tick in 0..3 {
            let some = run(&mut machine, Input::Tick, tick);
            assert!(some.len() <= PROVIDE_PER_TICK);
            written.extend(some);
        }
        written.sort_unstable();
        assert_eq!(written, (0..10).collect::<Vec<_>>());
    }

    #[test]
    fn one_key_too_many_is_refused() {
        let mut machine = Provided::new();
        for key in 0..PROVIDED_MAX {
            assert_eq!(machine.is_full_for(&key, 10), key + 10 >= PROVIDED_MAX);
            run(&mut machine, Input::Provide(key), 0);
        }
        assert!(machine.is_full_for(&PROVIDED_MAX, 0));
        assert!(!machine.is_full_for(&0, 0));
        run(&mut machine, Input::Provide(PROVIDED_MAX), 0);
        assert_eq!(machine.records.len(), PROVIDED_MAX);
    }
}
