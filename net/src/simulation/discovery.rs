//! The machines that find peers, many nodes of them in one thread and in virtual time: connections
//! are lost, dials fail, nodes are killed and come back with what they last wrote down, and the
//! network is cut in two. When all that is over, everybody must be connected again, directly or by
//! way of others.

use std::collections::{BTreeMap, BTreeSet};

use weft_protocol::{Effects, Machine as _, Now};

use super::dice::{Dice, seeds};
use crate::discovery::machine::{book, bootstrap};
use crate::limits::{ALONE_MS, FEELER_MS, REDIAL_MS_MAX};

const TICK_MS: u64 = 250;
/// How often a simulated node writes its book.
const SAVE_MS: u64 = 60_000;
/// Peers that a node tells another when they meet.
const TOLD_MAX: usize = 8;

struct Node {
    book: book::Book<usize, usize>,
    bootstrap: bootstrap::Bootstrap<usize>,
    written: Vec<(usize, book::Entry<usize>)>,
    up: bool,
}

struct World {
    dice: Dice,
    now: u64,
    nodes: Vec<Node>,
    known: Vec<usize>,
    connections: BTreeSet<(usize, usize)>,
    /// Dials under way: when they end.
    dials: BTreeMap<(usize, usize), u64>,
    /// Which half a node is in, while the network is cut.
    cut: Option<Vec<bool>>,
    loss: u64,
}

impl World {
    fn new(seed: u64, size: usize) -> Self {
        let mut world = Self {
            dice: Dice::new(seed),
            now: 0,
            nodes: Vec::new(),
            known: vec![0],
            connections: BTreeSet::new(),
            dials: BTreeMap::new(),
            cut: None,
            loss: 0,
        };
        world.nodes = (0..size).map(|node| world.fresh(node, Vec::new())).collect();
        world
    }

    fn fresh(&self, node: usize, written: Vec<(usize, book::Entry<usize>)>) -> Node {
        let known = self.known.iter().copied().filter(|known| *known != node);
        Node {
            book: book::Book::new(written.clone()),
            bootstrap: bootstrap::Bootstrap::new(known),
            written,
            up: true,
        }
    }

    fn can_talk(&self, a: usize, b: usize) -> bool {
        let together = self.cut.as_ref().is_none_or(|half| half[a] == half[b]);
        self.nodes[a].up && self.nodes[b].up && together
    }

    fn book(&mut self, node: usize, input: book::Input<usize, usize>) {
        let mut effects = Effects::new();
        self.nodes[node].book.handle(input, Now(self.now), &mut effects);
        let effects: Vec<_> = effects.drain().collect();
        for effect in effects {
            match effect {
                book::Effect::Dial(peer) => self.dial(node, peer),
                book::Effect::Alone { .. } => self.bootstrap(node, bootstrap::Input::Alone),
            }
        }
    }

    fn bootstrap(&mut self, node: usize, input: bootstrap::Input<usize>) {
        let mut effects = Effects::new();
        self.nodes[node].bootstrap.handle(input, Now(self.now), &mut effects);
        let effects: Vec<_> = effects.drain().collect();
        for peer in effects {
            self.dial(node, peer);
        }
    }

    fn dial(&mut self, from: usize, to: usize) {
        let takes = TICK_MS * (1 + self.dice.roll(8));
        self.dials.entry((from, to)).or_insert(self.now + takes);
    }

    fn connect(&mut self, from: usize, to: usize) {
        if !self.connections.insert((from.min(to), from.max(to))) {
            return;
        }
        for (own, peer, dialled) in [(from, to, true), (to, from, false)] {
            self.bootstrap(own, bootstrap::Input::Up(peer));
            self.book(own, book::Input::Met { peer, addresses: vec![peer], dialled });
            let told: Vec<usize> = self.peers_of(peer).filter(|other| *other != own).take(TOLD_MAX).collect();
            for other in told {
                self.book(own, book::Input::Heard { peer: other, addresses: vec![other] });
            }
        }
    }

    fn peers_of(&self, node: usize) -> impl Iterator<Item = usize> {
        let of = self.connections.iter().filter(move |(a, b)| *a == node || *b == node);
        of.map(move |(a, b)| if *a == node { *b } else { *a })
    }

    fn disconnect(&mut self, a: usize, b: usize) {
        if !self.connections.remove(&(a, b)) {
            return;
        }
        for (own, peer) in [(a, b), (b, a)] {
            if self.nodes[own].up {
                self.bootstrap(own, bootstrap::Input::Down(peer));
                self.book(own, book::Input::Gone(peer));
            }
        }
    }

    fn kill(&mut self, node: usize) {
        self.nodes[node].up = false;
        self.dials.retain(|(from, _), _| *from != node);
        let lost: Vec<usize> = self.peers_of(node).collect();
        for peer in lost {
            self.disconnect(node.min(peer), node.max(peer));
        }
    }

    fn step(&mut self) {
        self.now += TICK_MS;
        let ended: Vec<_> =
            self.dials.iter().filter(|(_, at)| **at <= self.now).map(|(pair, _)| *pair).collect();
        for (from, to) in ended {
            self.dials.remove(&(from, to));
            if self.can_talk(from, to) && !self.dice.percent(self.loss) {
                self.connect(from, to);
            } else {
                self.bootstrap(from, bootstrap::Input::DialFailed(to));
                self.book(from, book::Input::Failed(to));
            }
        }
        let broken: Vec<_> =
            self.connections.iter().copied().filter(|(a, b)| !self.can_talk(*a, *b)).collect();
        for (a, b) in broken {
            self.disconnect(a, b);
        }
        for node in 0..self.nodes.len() {
            if !self.nodes[node].up {
                continue;
            }
            self.bootstrap(node, bootstrap::Input::Tick);
            self.book(node, book::Input::Tick);
            if self.now.is_multiple_of(SAVE_MS) {
                self.nodes[node].written = self.nodes[node].book.written(Now(self.now)).collect();
            }
        }
    }

    fn run(&mut self, ms: u64) {
        for _ in 0..ms / TICK_MS {
            self.step();
        }
    }

    /// Half a minute of trouble.
    fn trouble(&mut self) {
        self.loss = self.dice.roll(60);
        let node = self.dice.roll(self.nodes.len() as u64) as usize;
        match self.dice.roll(5) {
            0 => self.kill(node),
            1 if !self.nodes[node].up => {
                let written = std::mem::take(&mut self.nodes[node].written);
                self.nodes[node] = self.fresh(node, written);
            }
            2 => {
                let halves = (0..self.nodes.len()).map(|_| self.dice.percent(50)).collect();
                self.cut = Some(halves);
            }
            3 => self.cut = None,
            _ => {
                let lost: Vec<_> = self.connections.iter().copied().collect();
                for (a, b) in lost {
                    if self.dice.percent(30) {
                        self.disconnect(a, b);
                    }
                }
            }
        }
        self.run(30_000);
    }

    /// How many live nodes one of them can reach.
    fn reached(&self) -> (usize, usize) {
        let live: Vec<usize> = (0..self.nodes.len()).filter(|node| self.nodes[*node].up).collect();
        let mut seen: BTreeSet<usize> = live.first().copied().into_iter().collect();
        let mut queue: Vec<usize> = seen.iter().copied().collect();
        while let Some(node) = queue.pop() {
            for peer in self.peers_of(node) {
                if seen.insert(peer) {
                    queue.push(peer);
                }
            }
        }
        (seen.len(), live.len())
    }
}

#[test]
fn whatever_happened_all_are_connected_again_when_it_is_over() {
    for seed in 0..seeds(25, 500) {
        let mut world = World::new(seed, 24);
        world.run(30_000);
        assert_eq!(world.reached(), (24, 24), "seed {seed}: at the start");
        for _ in 0..12 {
            world.trouble();
        }
        // Everybody is back, the one that all were told of stays away: those that have met find each
        // other by their books.
        world.loss = 0;
        world.cut = None;
        for node in 1..world.nodes.len() {
            if !world.nodes[node].up {
                let written = std::mem::take(&mut world.nodes[node].written);
                world.nodes[node] = world.fresh(node, written);
            }
        }
        world.run(ALONE_MS * 2 + REDIAL_MS_MAX * 2 + FEELER_MS * 20);
        let (reached, live) = world.reached();
        assert_eq!(reached, live, "seed {seed}: after the trouble");
    }
}

#[test]
fn a_network_of_books_alone_comes_back_from_a_power_cut() {
    for seed in 0..seeds(25, 500) {
        let mut world = World::new(seed, 24);
        world.run(SAVE_MS * 2);
        for node in 0..24 {
            world.kill(node);
        }
        // Nobody is told of anybody any more.
        world.known.clear();
        for node in 0..24 {
            let written = std::mem::take(&mut world.nodes[node].written);
            world.nodes[node] = world.fresh(node, written);
        }
        world.run(ALONE_MS);
        assert_eq!(world.reached(), (24, 24), "seed {seed}");
    }
}
