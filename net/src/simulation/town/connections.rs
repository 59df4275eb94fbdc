//! Connections: who dials whom, how one ends, and what is said over it.

use weft_protocol::{Effects, Machine as _};

use super::world::{Event, Letter, Task, World};
use super::{Mutation, NODES};
use crate::discovery::machine::{book, bootstrap, reach};
use crate::gossip::flood;
use crate::readers;
use crate::simulation::dice::mixed;

/// Peers that a node tells another when they meet.
const TOLD_MAX: usize = 8;
/// How long it takes at least until pings find out that a peer does not answer, and how much longer at most.
const SILENCE_MS: (u64, u64) = (40_000, 30_000);

/// A connection between two nodes.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) number: u64,
    pub(super) dialler: usize,
    pub(super) relay: Option<usize>,
    /// The runs of its ends, the lower node first: a node that was started again knows nothing of it.
    runs: (u64, u64),
    /// Since when nothing comes through.
    silent: Option<u64>,
    /// Until when everything that is said waits.
    stalled: u64,
}

fn pair(a: usize, b: usize) -> (usize, usize) {
    (a.min(b), a.max(b))
}

impl World {
    fn works(&self, ends: (usize, usize), link: &Link) -> bool {
        let runs = (self.nodes[ends.0].runs, self.nodes[ends.1].runs);
        self.can_talk(ends.0, ends.1) && link.runs == runs
    }

    /// The connection of two nodes, if what is said over it arrives.
    pub(super) fn link(&self, a: usize, b: usize) -> Option<&Link> {
        let link = self.links.get(&pair(a, b))?;
        self.works(pair(a, b), link).then_some(link)
    }

    /// Whether a connection is still there, though nothing comes through.
    pub(super) fn holds(&self, a: usize, b: usize, number: u64) -> bool {
        self.links.get(&pair(a, b)).is_some_and(|link| link.number == number)
    }

    /// The other ends of a node's connections, as it sees them.
    pub(super) fn peers(&self, node: usize) -> Vec<usize> {
        let run = self.nodes[node].runs;
        let own = self.links.iter().filter_map(|((a, b), link)| match node {
            _ if node == *a && link.runs.0 == run => Some(*b),
            _ if node == *b && link.runs.1 == run => Some(*a),
            _ => None,
        });
        own.collect()
    }

    pub(super) fn send(&mut self, from: usize, to: usize, letter: Letter) {
        let Some(link) = self.links.get(&pair(from, to)) else { return };
        let (link, held) = (link.number, link.stalled.saturating_sub(self.now));
        // A connection loses nothing, but a queue can be full.
        let is_queued = matches!(letter, Letter::Announcement(_));
        if is_queued && self.dice.percent(self.loss) {
            return;
        }
        let copies = 1 + usize::from(is_queued && self.dice.percent(self.doubling));
        for _ in 0..copies {
            let after_ms = held.max(5 + self.dice.roll(self.delay_ms));
            self.post(after_ms, Event::Over { link, from, to, letter });
        }
    }

    pub(super) fn book(&mut self, node: usize, input: book::Input<usize, usize>) {
        let mut effects = Effects::new();
        let now = self.time();
        self.nodes[node].run.book.handle(input, now, &mut effects);
        for effect in effects.drain() {
            match effect {
                book::Effect::Dial(peer) => self.dial(node, peer),
                book::Effect::Alone { .. } => self.bootstrap(node, bootstrap::Input::Alone),
            }
        }
    }

    pub(super) fn bootstrap(&mut self, node: usize, input: bootstrap::Input<usize>) {
        let mut effects = Effects::new();
        let now = self.time();
        self.nodes[node].run.bootstrap.handle(input, now, &mut effects);
        for peer in effects.drain() {
            self.dial(node, peer);
        }
    }

    pub(super) fn dial(&mut self, from: usize, to: usize) {
        let after_ms = 50 + self.dice.roll(3_000);
        self.later(from, after_ms, Task::DialEnds(to));
    }

    /// How one node gets to another: straight, by way of a relay, or not at all.
    pub(super) fn way(&mut self, from: usize, to: usize) -> Option<Option<usize>> {
        // The strangers of a liar are nowhere.
        if from == to || to >= NODES || !self.can_talk(from, to) || self.bars(from, to) {
            return None;
        }
        if self.dice.percent(self.loss) {
            return None;
        }
        if self.nodes[to].place.is_open() {
            return Some(None);
        }
        let holds = |relay: &usize| {
            self.nodes[*relay].run.places.contains_key(&to) && self.nodes[*relay].place.is_open()
        };
        let mut relays = (0..NODES).filter(|relay| *relay != from && holds(relay));
        relays.find(|relay| self.can_talk(from, *relay) && self.link(*relay, to).is_some()).map(Some)
    }

    pub(super) fn end_dial(&mut self, from: usize, to: usize) {
        // When there is a connection already, that is what counts.
        if to < NODES && self.link(from, to).is_some() {
            return;
        }
        if let Some(relay) = self.way(from, to) {
            self.connect(from, to, relay);
        } else {
            self.bootstrap(from, bootstrap::Input::DialFailed(to));
            self.book(from, book::Input::Failed(to));
        }
    }

    pub(super) fn connect(&mut self, from: usize, to: usize, relay: Option<usize>) {
        // One end may not have noticed that the last one is gone.
        self.disconnect(from, to);
        let ends = pair(from, to);
        let runs = (self.nodes[ends.0].runs, self.nodes[ends.1].runs);
        let number = self.number();
        self.links.insert(ends, Link { number, dialler: from, relay, runs, silent: None, stalled: 0 });
        for (own, peer) in [(from, to), (to, from)] {
            self.floods(own, flood::Input::Came(peer));
            self.bootstrap(own, bootstrap::Input::Up(peer));
            self.send(peer, own, Letter::Identify);
        }
    }

    pub(super) fn on_identify(&mut self, own: usize, peer: usize) {
        let Some(link) = self.link(own, peer) else { return };
        let (dialled, is_direct) = (link.dialler == own, link.relay.is_none());
        let serves = self.nodes[peer].run.serves;
        if serves {
            self.route(own, peer);
        }
        self.book(own, book::Input::Met { peer, addresses: vec![peer], dialled });
        if serves && dialled && is_direct {
            self.reach(own, reach::Input::RelayUp(peer));
        }
        let told: Vec<usize> =
            self.peers(peer).into_iter().filter(|other| *other != own).take(TOLD_MAX).collect();
        for other in told {
            self.book(own, book::Input::Heard { peer: other, addresses: vec![other] });
        }
    }

    pub(super) fn disconnect(&mut self, a: usize, b: usize) {
        let ends = pair(a, b);
        let Some(link) = self.links.remove(&ends) else { return };
        for (own, peer, run) in [(ends.0, ends.1, link.runs.0), (ends.1, ends.0, link.runs.1)] {
            if self.nodes[own].up && self.nodes[own].runs == run {
                self.gone(own, peer);
            }
        }
    }

    fn gone(&mut self, own: usize, peer: usize) {
        self.nodes[own].run.answers.retain(|answer| answer.to != peer);
        self.nodes[own].run.idle.remove(&peer);
        self.nodes[own].run.places.remove(&peer);
        let is_unwanted = self.nodes[own].run.unwanted.remove(&peer);
        self.readers(own, readers::Input::Gone(peer));
        if self.mutation != Mutation::FreshAllowances {
            self.floods(own, flood::Input::Gone(peer));
        }
        self.bootstrap(own, bootstrap::Input::Down(peer));
        if self.mutation != Mutation::KeepsRelays {
            self.reach(own, reach::Input::RelayDown(peer));
        }
        if self.nodes[own].run.circuits.remove(&peer).is_some() {
            let after_ms = self.dice.roll(2_000);
            self.later(own, after_ms, Task::Closed(peer));
        }
        self.book(own, book::Input::Gone(peer));
        if is_unwanted {
            self.book(own, book::Input::LetGo(peer));
        }
    }

    /// Ends what does not work: of what closed at once, and of what pings found out.
    pub(super) fn notice_silence(&mut self) {
        let mut over = Vec::new();
        let all: Vec<(usize, usize)> = self.links.keys().copied().collect();
        for ends in all {
            let Some(link) = self.links.get(&ends) else { continue };
            let through = link.relay.is_none_or(|relay| {
                [ends.0, ends.1].iter().all(|end| self.can_talk(relay, *end))
                    && [ends.0, ends.1].iter().any(|end| self.nodes[relay].run.places.contains_key(end))
            });
            let silent = if self.works(ends, link) { None } else { link.silent.or(Some(self.now)) };
            let waits = SILENCE_MS.0 + mixed(link.number) % SILENCE_MS.1;
            if !through || silent.is_some_and(|since| since + waits <= self.now) {
                over.push(ends);
            }
            if let Some(link) = self.links.get_mut(&ends) {
                link.silent = silent;
            }
        }
        for (a, b) in over {
            self.disconnect(a, b);
        }
    }

    /// Everything that is said over a connection waits for a while.
    pub(super) fn stall(&mut self, ends: (usize, usize), ms: u64) {
        let until = self.now + ms;
        if let Some(link) = self.links.get_mut(&ends) {
            link.stalled = until;
        }
    }
}
