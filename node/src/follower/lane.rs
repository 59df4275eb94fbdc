//! What the follower asks of others: some at a time, the rest in a line where the same thing stands
//! once. So every log has its turn, however many there are, and the line is bounded by them.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::future::Future;

use crate::supervisor::joined;
use tokio::task::JoinSet;

/// A peer's share of the places is one in so many: who is silent on many logs keeps most of them from nobody.
const PEER_PART: usize = 6;
/// Shares that a peer may take of places that nobody else wants: the only source of many logs is asked for more
/// of them, and stays far from what one connection carries.
const SHARES_MAX: usize = 2;
/// How much of the line is looked at for one that may begin, in places.
const LOOK_AHEAD: usize = 4;

/// Whom a piece of work waits for, if it is one peer.
pub(super) trait Waits {
    /// A peer.
    type Peer: Ord + Copy;
    /// Who.
    fn peer(&self) -> Option<Self::Peer>;
}

/// Questions of which some may be asked as one.
pub(super) trait Joins: Sized {
    /// Whether more may be asked in this one.
    fn has_room(&self) -> bool;
    /// Asks the other too, or gives it back.
    fn join(&mut self, other: Self) -> Option<Self>;
}

/// Work of one kind: `K` names what `A` asks, and `T` is what comes of it.
#[derive(Debug)]
pub(super) struct Lane<K: Waits, A, T> {
    max: usize,
    /// How many places each peer takes.
    peers: BTreeMap<K::Peer, usize>,
    running: JoinSet<(Vec<K>, T)>,
    line: VecDeque<(K, A)>,
    /// Those that run or stand in the line.
    taken: BTreeSet<K>,
}

impl<K: Waits + Ord + Copy + Send + 'static, A: Joins, T: Send + 'static> Lane<K, A, T> {
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
        self.start_some(self.max, share, &mut begin);
        // What is left is of use to somebody, but for a share of whoever comes next.
        self.start_some(self.max - share, SHARES_MAX * share, &mut begin);
    }

    /// Starts some of the line, up to so many places in all and of one peer.
    fn start_some<F>(&mut self, places_max: usize, share: usize, begin: &mut impl FnMut(A) -> F)
    where
        F: Future<Output = T> + Send + 'static,
    {
        for _ in 0..(LOOK_AHEAD * self.max).min(self.line.len()) {
            if self.running.len() >= places_max {
                return;
            }
            let Some((name, mut ask)) = self.line.pop_front() else { return };
            if let Some(peer) = name.peer() {
                let places = self.peers.entry(peer).or_default();
                if *places >= share {
                    self.line.push_back((name, ask));
                    continue;
                }
                *places += 1;
            }
            let mut names = vec![name];
            if let Some(peer) = name.peer().filter(|_| ask.has_room()) {
                self.gather(peer, &mut ask, &mut names);
            }
            let work = begin(ask);
            self.running.spawn(async move { (names, work.await) });
        }
    }

    /// Takes out of the line what the same peer can be asked in the same question.
    fn gather(&mut self, peer: K::Peer, ask: &mut A, names: &mut Vec<K>) {
        for (name, other) in std::mem::take(&mut self.line) {
            let other = if name.peer() == Some(peer) { ask.join(other) } else { Some(other) };
            match other {
                Some(other) => self.line.push_back((name, other)),
                None => names.push(name),
            }
        }
    }

    /// Waits for one to end; none if none runs. Safe to cancel.
    pub(super) async fn next(&mut self) -> Option<T> {
        let (names, done) = joined(self.running.join_next().await?)?;
        for name in &names {
            self.taken.remove(name);
        }
        // All of them wait for the same one.
        if let Some(peer) = names.first().and_then(Waits::peer)
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

    /// Asks of which none joins another.
    impl Joins for u8 {
        fn has_room(&self) -> bool {
            false
        }

        fn join(&mut self, other: Self) -> Option<Self> {
            Some(other)
        }
    }

    /// The logs that are asked about, at most three.
    impl Joins for Vec<u16> {
        fn has_room(&self) -> bool {
            self.len() < 3
        }

        fn join(&mut self, other: Self) -> Option<Self> {
            if !self.has_room() {
                return Some(other);
            }
            self.extend(other);
            None
        }
    }

    #[tokio::test]
    async fn what_one_peer_is_asked_together_takes_one_place() {
        let mut lane: Lane<(u16, u8), Vec<u16>, Vec<u16>> = Lane::new(1);
        for log in 0..5 {
            lane.add((log, 1), vec![log]);
            lane.add((log, 2), vec![log]);
        }
        let mut answered = Vec::new();
        while answered.len() < 4 {
            lane.start(|logs| async move { logs });
            assert_eq!(lane.running.len(), 1);
            // The same is not asked for again before it is answered.
            (answered.len() < 3).then(|| lane.add((4, 1), vec![4]));
            answered.extend(lane.next().await);
        }
        assert_eq!(answered, [vec![0, 1, 2], vec![0, 1, 2], vec![3, 4], vec![3, 4]]);
        assert!(lane.taken.is_empty() && lane.peers.is_empty() && lane.next().await.is_none());
    }

    #[tokio::test]
    async fn places_that_nobody_else_wants_are_used_but_for_a_share() {
        let mut lane: Lane<(u16, u8), u8, u8> = Lane::new(12);
        for peer in 1..=4 {
            (0..20).for_each(|log| lane.add((log, peer), peer));
            // The line is longer than what is looked at once.
            (0..2).for_each(|_| lane.start(|_| std::future::pending()));
            let places: Vec<usize> = lane.peers.values().copied().collect();
            let expected: &[usize] = [&[4][..], &[4, 4], &[4, 4, 2], &[4, 4, 2, 2]][usize::from(peer) - 1];
            assert_eq!(places, expected, "with {peer} silent peers");
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
            assert_eq!(lane.peers.get(&1), Some(&4));
            assert_eq!(lane.next().await, Some(2));
        }
        assert_eq!((lane.peers.len(), lane.running.len(), lane.line.len()), (1, 4, 16));
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
