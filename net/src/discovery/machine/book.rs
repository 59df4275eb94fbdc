//! The peers that this node has met, whom of them to dial, and when it is alone.
//!
//! A node keeps a few connections of its own choice: first with its anchors (those it had dialled when it last wrote
//! the book), then with those that failed least and were met last. So a node that starts again comes back to the
//! network that it left, whoever its bootstrap peers are by now and whoever would like to be its only company. With
//! nobody for a minute it raises an alarm: all pauses end, and everything is tried anew.
//! With enough peers it still dials one now and then that it has not met for long: two halves of a
//! network that were apart, each content with itself, find each other so. Those that went while it ran it dials more
//! often for a while; and where one of them is back, whoever went at about the same time is likely to be too.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use weft_protocol::{Effects, Machine, Now};

use crate::limits::{
    ADDRESSES_PER_PEER_MAX, ALONE_MS, ANCHORS_MAX, BOOK_DIAL_MS_MAX, BOOK_DIALS_PER_TICK, BOOK_PEERS_MAX,
    BOOK_REST_MS_MAX, BOOK_REST_MS_MIN, FEELER_MS, LOST_FEELER_MS, LOST_MAX, LOST_MS, PARTED_MS,
    PEERS_WANTED,
};

/// What the machine hears of. `P` names a peer, `A` an address.
#[derive(Debug)]
pub(crate) enum Input<P, A> {
    /// A connected peer said that it is of our network and where it can be dialled.
    Met {
        peer: P,
        addresses: Vec<A>,
        /// Whether this node dialled it.
        dialled: bool,
    },
    /// Somebody says that this peer is there. It may be so.
    Heard {
        peer: P,
        addresses: Vec<A>,
    },
    /// The last connection with a peer is gone.
    Gone(P),
    /// That was because it took nothing: it may come by itself.
    LetGo(P),
    /// A dial failed.
    Failed(P),
    /// A peer is of another network.
    Foreign(P),
    Tick,
}

/// What the machine asks for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Effect<P> {
    /// Dial this peer at the addresses in the book.
    Dial(P),
    /// This node is alone: try everything anew.
    Alone,
}

/// What the book says of a peer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry<A> {
    pub(crate) addresses: Vec<A>,
    /// When it was last connected, if it ever was.
    pub(crate) met: Option<Now>,
    /// Dials that failed in a row.
    pub(crate) failures: u32,
    /// Whether it is dialled first after a start.
    pub(crate) anchor: bool,
    rest_until: Now,
}

impl<A> Entry<A> {
    /// An entry as it was written down.
    pub(crate) const fn remembered(addresses: Vec<A>, met: Option<Now>, failures: u32, anchor: bool) -> Self {
        Self { addresses, met, failures, anchor, rest_until: Now(0) }
    }

    /// Smaller is better: anchors, then few failures, then met last.
    fn rank(&self) -> (bool, u32, Reverse<Option<Now>>) {
        (!self.anchor, self.failures, Reverse(self.met))
    }
}

/// The peer book.
#[derive(Debug)]
pub(crate) struct Book<P, A> {
    entries: BTreeMap<P, Entry<A>>,
    /// Connected peers of our network: whether this node dialled them, and since when they are.
    connected: BTreeMap<P, (bool, Now)>,
    dialling: BTreeMap<P, Now>,
    alone_since: Option<Now>,
    /// When the last peer was dialled that was not needed.
    felt: Option<Now>,
    /// Peers that went while this node ran: since when, and when each was last dialled for that.
    lost: BTreeMap<P, (Now, Now)>,
    /// Of those, who is likely to be back.
    returning: BTreeSet<P>,
    /// When the last of those was dialled.
    felt_lost: Now,
}

impl<P: Ord + Copy, A: PartialEq> Book<P, A> {
    pub(crate) fn new(remembered: impl IntoIterator<Item = (P, Entry<A>)>) -> Self {
        let entries = remembered.into_iter().take(BOOK_PEERS_MAX).collect();
        Self {
            entries,
            connected: BTreeMap::new(),
            dialling: BTreeMap::new(),
            alone_since: None,
            felt: None,
            lost: BTreeMap::new(),
            returning: BTreeSet::new(),
            felt_lost: Now(0),
        }
    }

    /// How many peers are in the book.
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Where a peer may be.
    pub(crate) fn addresses(&self, peer: &P) -> &[A] {
        self.entries.get(peer).map_or(&[], |entry| &entry.addresses)
    }

    /// What to write down: every peer that was met, with the anchors of the next start.
    pub(crate) fn written(&self, now: Now) -> impl Iterator<Item = (P, Entry<A>)>
    where
        A: Clone,
    {
        let mut dialled: Vec<_> = self
            .connected
            .iter()
            .filter(|(_, (dialled, _))| *dialled)
            .map(|(peer, (_, since))| (*since, *peer))
            .collect();
        dialled.sort_unstable();
        let anchors: BTreeSet<P> = dialled.into_iter().take(ANCHORS_MAX).map(|(_, peer)| peer).collect();
        self.entries.iter().filter(|(_, entry)| entry.met.is_some()).map(move |(peer, entry)| {
            let met = if self.connected.contains_key(peer) { Some(now) } else { entry.met };
            // Nobody is connected yet, or any more: those of the last time stay.
            let anchor = if anchors.is_empty() { entry.anchor } else { anchors.contains(peer) };
            (*peer, Entry { met, anchor, ..entry.clone() })
        })
    }

    fn learn(&mut self, peer: P, mut addresses: Vec<A>, met: Option<Now>) {
        addresses.truncate(ADDRESSES_PER_PEER_MAX);
        if addresses.is_empty() {
            return;
        }
        if let Some(entry) = self.entries.get_mut(&peer) {
            // What a peer said itself counts more than what others say.
            if met.is_some() {
                *entry = Entry { addresses, met, failures: 0, rest_until: Now(0), anchor: entry.anchor };
            } else if entry.met.is_none() {
                addresses.retain(|address| !entry.addresses.contains(address));
                addresses.append(&mut entry.addresses);
                addresses.truncate(ADDRESSES_PER_PEER_MAX);
                entry.addresses = addresses;
            }
            return;
        }
        if self.entries.len() >= BOOK_PEERS_MAX && !self.make_room(met.is_some()) {
            return;
        }
        let entry = Entry { addresses, met, failures: 0, anchor: false, rest_until: Now(0) };
        self.entries.insert(peer, entry);
    }

    /// Drops the worst entry; one that was met only for another that was.
    fn make_room(&mut self, for_met: bool) -> bool {
        let others = self.entries.iter().filter(|(peer, _)| !self.connected.contains_key(peer));
        let worst = others.max_by_key(|(_, entry)| (entry.met.is_none(), entry.rank()));
        let worst = worst.filter(|(_, entry)| for_met || entry.met.is_none()).map(|(peer, _)| *peer);
        worst.is_some_and(|peer| self.entries.remove(&peer).is_some())
    }

    fn failed(&mut self, peer: P, now: Now) {
        self.dialling.remove(&peer);
        if self.connected.contains_key(&peer) {
            return;
        }
        if let Some(entry) = self.entries.get_mut(&peer) {
            let rest = (BOOK_REST_MS_MIN << entry.failures.min(16)).min(BOOK_REST_MS_MAX);
            entry.failures = entry.failures.saturating_add(1);
            // Hearsay stays too: a neighbour that mDNS named is named once, and may be starting. It is
            // the first to make room.
            entry.rest_until = now.plus_ms(rest);
        }
    }

    fn tick(&mut self, now: Now, effects: &mut Effects<Effect<P>>) {
        let overdue: Vec<P> = self
            .dialling
            .iter()
            .filter(|(_, since)| since.plus_ms(BOOK_DIAL_MS_MAX) <= now)
            .map(|(peer, _)| *peer)
            .collect();
        for peer in overdue {
            self.failed(peer, now);
        }
        if !self.connected.is_empty() {
            self.alone_since = None;
        } else if self.alone_since.get_or_insert(now).plus_ms(ALONE_MS) <= now {
            self.alone_since = Some(now);
            for entry in self.entries.values_mut() {
                entry.rest_until = Now(0);
            }
            effects.push(Effect::Alone);
        }
        let candidates = self.entries.iter().filter(|(peer, entry)| {
            entry.rest_until <= now && !self.connected.contains_key(peer) && !self.dialling.contains_key(peer)
        });
        // Who dialled this node chose it: those do not count, however many they are.
        let own = self.connected.values().filter(|(dialled, _)| *dialled).count();
        let missing = PEERS_WANTED.saturating_sub(own + self.dialling.len());
        let mut chosen: Vec<P> = if missing > 0 {
            let mut candidates: Vec<_> = candidates.map(|(peer, entry)| (entry.rank(), *peer)).collect();
            candidates.sort_unstable();
            candidates.into_iter().take(missing.min(BOOK_DIALS_PER_TICK)).map(|(_, peer)| peer).collect()
        } else if self.felt.get_or_insert(now).plus_ms(FEELER_MS) <= now {
            self.felt = Some(now);
            candidates.min_by_key(|(_, entry)| entry.met).map(|(peer, _)| *peer).into_iter().collect()
        } else {
            Vec::new()
        };
        self.choose_lost(&mut chosen, now);
        for peer in chosen {
            if self.dialling.insert(peer, now).is_none() {
                effects.push(Effect::Dial(peer));
            }
        }
    }

    /// Adds those that went and are likely to be back, else one that went, now and then. They need not rest: they are few,
    /// and what parted them from this node may be over at any time.
    fn choose_lost(&mut self, chosen: &mut Vec<P>, now: Now) {
        self.lost.retain(|_, (since, _)| since.plus_ms(LOST_MS) > now);
        while chosen.len() < BOOK_DIALS_PER_TICK
            && let Some(peer) = self.returning.pop_first()
        {
            chosen.push(peer);
        }
        if self.felt_lost.plus_ms(LOST_FEELER_MS) > now {
            return;
        }
        let is_due = |(since, _): &(Now, Now)| since.plus_ms(LOST_FEELER_MS) <= now;
        let due = self.lost.iter_mut().filter(|(_, times)| is_due(times));
        let due = due.filter(|(peer, _)| !self.dialling.contains_key(peer));
        if let Some((peer, (_, tried))) = due.min_by_key(|(_, (_, tried))| *tried) {
            (*tried, self.felt_lost) = (now, now);
            chosen.push(*peer);
        }
    }

    /// Notes that a peer went.
    fn lose(&mut self, peer: P, now: Now) {
        if self.lost.len() < LOST_MAX {
            self.lost.insert(peer, (now, now));
        }
    }

    /// Notes that a peer is here.
    fn regain(&mut self, peer: &P) {
        self.returning.remove(peer);
        let Some((since, _)) = self.lost.remove(peer) else { return };
        let went_too = |(_, (other, _)): &(&P, &(Now, Now))| other.0.abs_diff(since.0) <= PARTED_MS;
        self.returning.extend(self.lost.iter().filter(went_too).map(|(peer, _)| *peer));
    }
}

impl<P: Ord + Copy, A: PartialEq> Machine for Book<P, A> {
    type Input = Input<P, A>;
    type Effect = Effect<P>;

    fn handle(&mut self, input: Input<P, A>, now: Now, effects: &mut Effects<Effect<P>>) {
        match input {
            Input::Met { peer, addresses, dialled } => {
                self.dialling.remove(&peer);
                self.regain(&peer);
                self.connected.entry(peer).or_insert((dialled, now));
                self.learn(peer, addresses, Some(now));
            }
            Input::Heard { peer, addresses } => self.learn(peer, addresses, None),
            Input::Gone(peer) => {
                self.dialling.remove(&peer);
                if self.connected.remove(&peer).is_some()
                    && let Some(entry) = self.entries.get_mut(&peer)
                {
                    entry.met = Some(now);
                    // One that takes connections and closes them must not be dialled in a circle.
                    entry.rest_until = now.plus_ms(BOOK_REST_MS_MIN);
                    self.lose(peer, now);
                }
            }
            Input::LetGo(peer) => {
                self.lost.remove(&peer);
                self.failed(peer, now);
            }
            Input::Failed(peer) => self.failed(peer, now),
            Input::Foreign(peer) => {
                self.dialling.remove(&peer);
                self.lost.remove(&peer);
                self.returning.remove(&peer);
                self.entries.remove(&peer);
            }
            Input::Tick => self.tick(now, effects),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Book16 = Book<u16, u16>;

    fn run(book: &mut Book16, input: Input<u16, u16>, now: u64) -> Vec<Effect<u16>> {
        let mut effects = Effects::new();
        book.handle(input, Now(now), &mut effects);
        effects.drain().collect()
    }

    fn met(peer: u16, dialled: bool) -> Input<u16, u16> {
        Input::Met { peer, addresses: vec![peer], dialled }
    }

    fn dials(effects: Vec<Effect<u16>>) -> Vec<u16> {
        let dial = |effect| if let Effect::Dial(peer) = effect { Some(peer) } else { None };
        effects.into_iter().filter_map(dial).collect()
    }

    #[test]
    fn after_a_start_anchors_come_first_then_who_failed_least_and_was_met_last() {
        let entry = |met, failures, anchor| Entry::remembered(vec![0], Some(Now(met)), failures, anchor);
        let written = [
            (1, entry(10, 0, false)),
            (2, entry(20, 0, false)),
            (3, entry(5, 3, true)),
            (4, entry(30, 1, false)),
        ];
        let mut book = Book::new(written);
        assert_eq!(dials(run(&mut book, Input::Tick, 100)), [3, 2, 1, 4]);
        assert_eq!(run(&mut book, Input::Tick, 101), []);
    }

    #[test]
    fn no_more_are_dialled_than_wanted_and_one_that_went_is_dialled_after_a_rest() {
        let mut book = Book::new([]);
        for peer in 0..PEERS_WANTED as u16 {
            run(&mut book, met(peer, true), 0);
        }
        run(&mut book, Input::Heard { peer: 99, addresses: vec![1] }, 0);
        assert_eq!(run(&mut book, Input::Tick, 0), []);
        run(&mut book, Input::Gone(0), 1);
        assert_eq!(run(&mut book, Input::Tick, 1), [Effect::Dial(99)]);
        run(&mut book, Input::Failed(99), 2);
        assert_eq!(run(&mut book, Input::Tick, BOOK_REST_MS_MIN), []);
        assert_eq!(run(&mut book, Input::Tick, 1 + BOOK_REST_MS_MIN), [Effect::Dial(0)]);
    }

    #[test]
    fn those_that_chose_this_node_do_not_count_among_those_that_it_chose() {
        let mut book = Book::new([]);
        for peer in 0..PEERS_WANTED as u16 * 4 {
            run(&mut book, met(peer, false), 0);
        }
        for peer in 100..100 + PEERS_WANTED as u16 {
            run(&mut book, Input::Heard { peer, addresses: vec![1] }, 0);
        }
        let mut dialled = dials(run(&mut book, Input::Tick, 0));
        dialled.extend(dials(run(&mut book, Input::Tick, 250)));
        assert_eq!(dialled.len(), PEERS_WANTED);
    }

    #[test]
    fn a_neighbour_that_was_heard_of_once_is_tried_again_at_all_its_addresses() {
        let mut book = Book::new([]);
        run(&mut book, Input::Heard { peer: 5, addresses: vec![1] }, 0);
        run(&mut book, Input::Heard { peer: 5, addresses: vec![2, 1] }, 0);
        assert_eq!(book.addresses(&5), [2, 1]);
        assert_eq!(run(&mut book, Input::Tick, 0), [Effect::Dial(5)]);
        run(&mut book, Input::Failed(5), 1);
        run(&mut book, met(7, true), 1);
        assert_eq!(run(&mut book, Input::Tick, BOOK_REST_MS_MIN), []);
        assert_eq!(run(&mut book, Input::Tick, 1 + BOOK_REST_MS_MIN), [Effect::Dial(5)]);
        assert_eq!(book.written(Now(9_999)).count(), 1, "only who was met is written down");
    }

    #[test]
    fn a_node_with_enough_peers_feels_for_those_not_met_for_long() {
        let entry = |met| Entry::remembered(vec![0], Some(Now(met)), 0, false);
        let mut book = Book::new([(101, entry(20)), (102, entry(10))]);
        for peer in 0..PEERS_WANTED as u16 {
            run(&mut book, met(peer, true), 30);
        }
        assert_eq!(run(&mut book, Input::Tick, 30), []);
        assert_eq!(run(&mut book, Input::Tick, 29 + FEELER_MS), []);
        assert_eq!(run(&mut book, Input::Tick, 30 + FEELER_MS), [Effect::Dial(102)]);
        run(&mut book, Input::Failed(102), 30 + FEELER_MS);
        assert_eq!(run(&mut book, Input::Tick, 30 + FEELER_MS * 2), [Effect::Dial(102)]);
        assert_eq!(run(&mut book, Input::Tick, 30 + FEELER_MS * 3), [Effect::Dial(101)]);
    }

    #[test]
    fn those_that_went_are_felt_for_and_where_one_is_back_the_others_are_dialled_at_once() {
        let mut book = Book::new([]);
        for peer in 0..20 {
            run(&mut book, met(peer, peer >= 10), 0);
        }
        // One went long before the others, of another cause; and one was let go.
        let _ = [Input::Gone(9), Input::Gone(8), Input::LetGo(8)].map(|input| run(&mut book, input, 0));
        for peer in 0..6 {
            run(&mut book, Input::Gone(peer), PARTED_MS * 3);
        }
        // Ten of its own choice are here, so it needs none of them.
        let mut now = PARTED_MS * 3;
        let mut felt = Vec::new();
        for _ in 0..7 {
            felt.extend(dials(run(&mut book, Input::Tick, now)));
            felt.last().into_iter().for_each(|peer| drop(run(&mut book, Input::Failed(*peer), now)));
            assert_eq!(run(&mut book, Input::Tick, now + LOST_FEELER_MS - 1), []);
            now += LOST_FEELER_MS;
        }
        now -= 1;
        assert_eq!(felt, [9, 0, 1, 2, 3, 4, 5], "each in its turn, whatever rest it has");
        run(&mut book, met(3, false), now);
        let at_once = [dials(run(&mut book, Input::Tick, now)), dials(run(&mut book, Input::Tick, now))];
        assert_eq!(at_once, [vec![0, 1, 2, 4], vec![5]]);
        for peer in [0, 1, 2, 4, 5] {
            run(&mut book, Input::Failed(peer), now);
        }
        assert_eq!(run(&mut book, Input::Tick, now), [], "they were not, and are felt for again");
        assert_eq!(dials(run(&mut book, Input::Tick, now + LOST_FEELER_MS)).len(), 1);
        // After a while no more than any others.
        dials(run(&mut book, Input::Tick, now + LOST_MS));
        assert_eq!(run(&mut book, Input::Tick, now + LOST_MS + LOST_FEELER_MS), []);
    }

    #[test]
    fn a_peer_that_fails_rests_ever_longer_and_a_dial_without_an_outcome_has_failed() {
        let mut book = Book::new([(1, Entry::remembered(vec![1], Some(Now(0)), 0, false))]);
        let mut now = 0;
        for failures in 0..12 {
            assert_eq!(dials(run(&mut book, Input::Tick, now)), [1], "{failures}");
            now += BOOK_DIAL_MS_MAX;
            let rest = (BOOK_REST_MS_MIN << failures).min(BOOK_REST_MS_MAX);
            // Alone, everybody is tried anew: somebody is there in this test.
            run(&mut book, met(7, false), now);
            assert_eq!(run(&mut book, Input::Tick, now), []);
            assert_eq!(run(&mut book, Input::Tick, now + rest - 1), []);
            now += rest;
        }
    }

    #[test]
    fn a_node_alone_for_a_minute_tries_everything_anew() {
        let mut book = Book::new([(1, Entry::remembered(vec![1], Some(Now(0)), 9, false))]);
        assert_eq!(run(&mut book, Input::Tick, 0), [Effect::Dial(1)]);
        run(&mut book, Input::Failed(1), 5);
        assert_eq!(run(&mut book, Input::Tick, ALONE_MS - 1), []);
        assert_eq!(run(&mut book, Input::Tick, ALONE_MS), [Effect::Alone, Effect::Dial(1)]);
        run(&mut book, Input::Failed(1), ALONE_MS);
        assert_eq!(run(&mut book, Input::Tick, ALONE_MS * 2), [Effect::Alone, Effect::Dial(1)]);
        run(&mut book, met(1, true), ALONE_MS * 2);
        assert_eq!(run(&mut book, Input::Tick, ALONE_MS * 9), []);
    }

    #[test]
    fn the_oldest_connections_that_this_node_dialled_are_the_next_anchors() {
        let mut book = Book::new([]);
        for peer in 0..20 {
            run(&mut book, met(peer, peer % 2 == 1), u64::from(peer));
        }
        run(&mut book, Input::Heard { peer: 99, addresses: vec![1] }, 20);
        let written: Vec<_> = book.written(Now(50)).collect();
        assert_eq!(written.len(), 20, "hearsay is not written down");
        assert!(written.iter().all(|(_, entry)| entry.met == Some(Now(50))));
        let anchors: Vec<u16> =
            written.iter().filter(|(_, entry)| entry.anchor).map(|(peer, _)| *peer).collect();
        assert_eq!(anchors, [1, 3, 5, 7, 9, 11, 13, 15]);
    }

    #[test]
    fn the_book_is_bounded_and_hearsay_pushes_out_nobody_who_was_met() {
        let mut book = Book::new([]);
        for peer in 0..BOOK_PEERS_MAX as u16 {
            run(&mut book, met(peer, true), u64::from(peer));
            run(&mut book, Input::Gone(peer), u64::from(peer));
        }
        run(&mut book, Input::Heard { peer: 60_000, addresses: vec![1] }, 0);
        assert_eq!((book.len(), book.addresses(&60_000).len()), (BOOK_PEERS_MAX, 0));
        run(&mut book, met(60_001, true), 9_999);
        assert_eq!((book.len(), book.addresses(&60_001).len()), (BOOK_PEERS_MAX, 1));
        assert!(book.addresses(&0).is_empty(), "the one met longest ago made room");
        run(&mut book, Input::Foreign(60_001), 0);
        assert!(book.addresses(&60_001).is_empty());
    }
}
