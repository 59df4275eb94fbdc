//! What the follower asks of others: some at a time, the rest in a line where the same thing stands
//! once. So every log has its turn, however many there are, and the line is bounded by them.

use std::collections::{BTreeSet, VecDeque};
use std::future::Future;

use crate::supervisor::joined;
use tokio::task::JoinSet;

/// Work of one kind: `K` names what `A` asks, and `T` is what comes of it.
#[derive(Debug)]
pub(super) struct Lane<K, A, T> {
    max: usize,
    running: JoinSet<(K, T)>,
    line: VecDeque<(K, A)>,
    /// Those that run or stand in the line.
    taken: BTreeSet<K>,
}

impl<K: Ord + Copy + Send + 'static, A, T: Send + 'static> Lane<K, A, T> {
    /// At most so many at once.
    pub(super) fn new(max: usize) -> Self {
        Self { max, running: JoinSet::new(), line: VecDeque::new(), taken: BTreeSet::new() }
    }

    /// Stands in line, unless the same is asked for already.
    pub(super) fn add(&mut self, name: K, ask: A) {
        if self.taken.insert(name) {
            self.line.push_back((name, ask));
        }
    }

    /// Starts those whose turn it is.
    pub(super) fn start<F>(&mut self, mut begin: impl FnMut(A) -> F)
    where
        F: Future<Output = T> + Send + 'static,
    {
        while self.running.len() < self.max {
            let Some((name, ask)) = self.line.pop_front() else { return };
            let work = begin(ask);
            self.running.spawn(async move { (name, work.await) });
        }
    }

    /// Waits for one to end; none if none runs. Safe to cancel.
    pub(super) async fn next(&mut self) -> Option<T> {
        let (name, done) = joined(self.running.join_next().await?)?;
        self.taken.remove(&name);
        Some(done)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn every_log_has_its_turn_and_asks_for_a_thing_once() {
        let mut lane: Lane<(u8, bool), u8, u8> = Lane::new(2);
        let ask_all = |lane: &mut Lane<_, _, _>| {
            for number in 0..5 {
                lane.add((number, true), number);
            }
            lane.start(|number| async move { number });
        };
        assert!(lane.next().await.is_none());
        // They ask again and again, and the last have their turn as the first do.
        let mut turns = [0; 5];
        for _ in 0..20 {
            ask_all(&mut lane);
            assert!(lane.running.len() <= 2 && lane.taken.len() == 5);
            turns[usize::from(lane.next().await.unwrap_or_default())] += 1;
        }
        assert_eq!(turns, [4; 5]);
        // Another question of the same log stands beside the first.
        ask_all(&mut lane);
        lane.add((0, false), 9);
        assert_eq!(lane.taken.len(), 6);
    }
}
