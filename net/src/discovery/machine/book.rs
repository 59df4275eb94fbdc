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
    Alone {
        /// Whether it was said before, and nobody was here since.
        again: bool,
    },
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

/// A peer that went while this node ran.
#[derive(Debug)]
struct Lost {
    since: Now,
    /// When it was last dialled for that.
    tried: Now,
    /// Whether this node had dialled it: anybody can come and go.
    dialled: bool,
}

/// The peer book.
#[derive(Debug)]
pub(crate) struct Book<P, A> {
    entries: BTreeMap<P, Entry<A>>,
    /// Connected peers of our network: whether this node dialled them, and since when they are.
    connected: BTreeMap<P, (bool, Now)>,
    dialling: BTreeMap<P, Now>,
    alone_since: Option<Now>,
    /// Whether that was said.
    alone_said: bool,
    /// When the last peer was dialled that was not needed.
    felt: Option<Now>,
    /// Peers that went while this node ran.
    lost: BTreeMap<P, Lost>,
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
            alone_said: false,
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

    /// How many went while this node ran and are dialled for that.
    #[cfg(test)]
    pub(crate) fn lost(&self) -> usize {
        self.lost.len()
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
            (self.alone_since, self.alone_said) = (None, false);
        } else if self.alone_since.get_or_insert(now).plus_ms(ALONE_MS) <= now {
            self.alone_since = Some(now);
            for entry in self.entries.values_mut() {
                entry.rest_until = Now(0);
            }
            effects.push(Effect::Alone { again: std::mem::replace(&mut self.alone_said, true) });
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
        self.lost.retain(|_, lost| lost.since.plus_ms(LOST_MS) > now);
        while chosen.len() < BOOK_DIALS_PER_TICK
            && let Some(peer) = self.returning.pop_first()
        {
            chosen.push(peer);
        }
        if self.felt_lost.plus_ms(LOST_FEELER_MS) > now {
            return;
        }
        let due = self.lost.iter_mut().filter(|(_, lost)| lost.since.plus_ms(LOST_FEELER_MS) <= now);
        let due = due.filter(|(peer, _)| !self.dialling.contains_key(peer));
        if let Some((peer, lost)) = due.min_by_key(|(_, lost)| lost.tried) {
            (lost.tried, self.felt_lost) = (now, now);
            chosen.push(*peer);
        }
    }

    /// Notes that a peer went. Those that came by themselves have half of the places at most, and make room for whom this
    /// node chose: they may come and go as often as they like.
    fn lose(&mut self, peer: P, dialled: bool, now: Now) {
        let strangers = self.lost.iter().filter(|(_, lost)| !lost.dialled);
        if !dialled && strangers.clone().count() >= LOST_MAX / 2 {
            return;
        }
        if self.lost.len() >= LOST_MAX {
            let oldest = strangers.min_by_key(|(_, lost)| lost.since).map(|(peer, _)| *peer);
            let Some(oldest) = oldest.filter(|_| dialled) else { return };
            self.lost.remove(&oldest);
        }
        self.lost.insert(peer, Lost { since: now, tried: now, dialled });
    }

    /// Notes that a peer is here.
    fn regain(&mut self, peer: &P) {
        self.returning.remove(peer);
        let Some(Lost { since, .. }) = self.lost.remove(peer) else { return };
        let went_too = |(_, other): &(&P, &Lost)| other.since.0.abs_diff(since.0) <= PARTED_MS;
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
                if let Some((dialled, _)) = self.connected.remove(&peer)
                    && let Some(entry) = self.entries.get_mut(&peer)
                {
                    entry.met = Some(now);
                    // One that takes connections and closes them must not be dialled in a circle.
                    entry.rest_until = now.plus_ms(BOOK_REST_MS_MIN);
                    self.lose(peer, dialled, now);
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
mod tests;
