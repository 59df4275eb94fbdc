//! What the follower asks of others: some at a time, the rest in a line where the same thing stands
//! once. So every log has its turn, however many there are, and the line is bounded by them.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::future::Future;

use crate::supervisor::joined;
use tokio::task::JoinSet;

/// Places that one peer may take: who is silent on many logs keeps most of them from nobody.
const PEER_PART: usize = 6;
/// How much of the line is looked at for one that may begin, in places.
const LOOK_AHEAD: usize = 4;

/// Whom a piece of work waits for, if it is one peer.
pub(super) trait Waits {
    /// A peer.
    type Peer: Ord + Copy;
    /// Who.
    fn peer(&self) -> Option<Self::Peer>;
}

/// Work of one kind: `K` names what `A` asks, and `T` is what comes of it.
#[derive(Debug)]
pub(super) struct Lane<K: Waits, A, T> {
    max: usize,
    /// How many places each peer takes.
    peers: BTreeMap<K::Peer, usize>,
    running: JoinSet<(K, T)>,
    line: VecDeque<(K, A)>,
    /// Those that run or stand in the line.
    taken: BTreeSet<K>,
}

impl<K: Waits + Ord + Copy + Send + 'static, A, T: Send + 'static> Lane<K, A, T> {
    /// At most so many at once.
    pub(super) fn new(max: usize) -> Self {
        Self {
            max,
            peers: BTreeMap::new(),
            running: JoinSet::new(),
            line: VecDeque::new(),
            taken: BTreeSet::new(),
        }
    }

    /// Stands in line, unless the same is asked for already.
    pub(super) fn add(&mut self, name: K, ask: A) {
        if self.taken.insert(name) {
            self.line.push_back((name, ask));
        }
    }

    /// Starts those whose turn it is; one whose peer has its share already goes to the end.
    pub(super) fn start<F>(&mut self, mut begin: impl FnMut(A) -> F)
    where
        F: Future<Output = T> + Send + 'static,
    {
        let share = (self.max / PEER_PART).max(1);
        for _ in 0..(LOOK_AHEAD * self.max).min(self.line.len()) {
            if self.running.len() >= self.max {
                return;
            }
            let Some((name, ask)) = self.line.pop_front() else { return };
            if let Some(peer) = name.peer() {
                let places = self.peers.entry(peer).or_default();
                if *places >= share {
                    self.line.push_back((name, ask));
                    continue;
                }
                *places += 1;
            }
            let work = begin(ask);
            self.running.spawn(async move { (name, work.await) });
        }
    }

    /// Waits for one to end; none if none runs. Safe to cancel.
    pub(super) async fn next(&mut self) -> Option<T> {
        let (name, done) = joined(self.running.join_next().await?)?;
        self.taken.remove(&name);
        if let Some(peer) = name.peer()
            && let Some(places) = self.peers.get_mut(&peer)
        {
            *places -= 1;
            if *places == 0 {
                self.peers.remove(&peer);
            }
        }
        Some(done)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A log, and what is asked of it; of no peer.
    impl Waits for (u8, bool) {
        type Peer = u8;

        fn peer(&self) -> Option<u8> {
            None
        }
    }

    /// A log, and who is asked.
    impl Waits for (u16, u8) {
        type Peer = u8;

        fn peer(&self) -> Option<u8> {
            Some(self.1)
        }
    }

    #[tokio::test]
    async fn a_silent_peer_keeps_a_share_of_the_places_and_no_more() {
        let mut lane: Lane<(u16, u8), u8, u8> = Lane::new(12);
        for log in 0..20 {
            lane.add((log, 1), 1);
        }
        for log in 0..5 {
            lane.add((log, 2), 2);
        }
        // The first peer never answers.
        let begin = |peer| async move {
            if peer == 1 {
                std::future::pending::<()>().await;
            }
            peer
        };
        for _ in 0..5 {
            lane.start(begin);
            assert_eq!(lane.peers.get(&1), Some(&2));
            assert_eq!(lane.next().await, Some(2));
        }
        assert_eq!((lane.peers.len(), lane.running.len(), lane.line.len()), (1, 2, 18));
    }

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
