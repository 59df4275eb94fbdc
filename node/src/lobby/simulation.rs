//! The lobbies of many nodes in one thread and in virtual time: what is said is lost on the way, nodes are
//! killed and come back with nothing, and some of them lie: they say that they serve everything, say what is
//! not signed, repeat what is over, or speak with ever new names. Whatever happened, whoever looks for a process that somebody serves
//! finds it by the lobby alone, soon and with few questions, and no table grows beyond its bound.
#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};

use weft_protocol::lobby::{
    ADVERT_PROCESSES_MAX, ADVERT_TTL_MS_MAX, AdvertTerms, Duty, SHARDS, Shard, Short,
};
use weft_protocol::{Effects, Id, Machine as _, Network, Now};

use super::machine::{Effect, Heard, Input, KEPT_PER_SHARD_MAX, LINGER_MS, Lobby, REFRESH_MS, Said};
use crate::dice::Dice;
use crate::hosting::search_rules::{self, Search, Source};

const TICK_MS: u64 = 500;
const NODES: usize = 30;
const LIARS: usize = 6;
const PROCESSES: usize = 60;
/// Peers that each node is connected with, about.
const PEERS: usize = 6;
/// How long a silent liar leaves a question open.
const SILENCE_MS: u64 = 10_000;

/// What travels; a name beyond those of the nodes is a liar's.
#[derive(Clone)]
struct Fact {
    said: Said<usize, ()>,
    is_signed: bool,
}

struct Node {
    lobby: Lobby<usize, ()>,
    serves: BTreeMap<Id, Duty>,
    shards: BTreeSet<Shard>,
    is_up: bool,
    /// The number of the last thing that it said.
    sequence: u64,
    /// Facts that it passed on, which gossip says once.
    known: BTreeSet<(usize, Shard, u8, u64)>,
}

struct World {
    dice: Dice,
    now: u64,
    nodes: Vec<Node>,
    links: BTreeSet<(usize, usize)>,
    /// On the way: to whom, from whom.
    wire: Vec<(usize, usize, Fact)>,
    processes: Vec<Id>,
    loss: u64,
    names: usize,
    old: Vec<Fact>,
}

impl World {
    fn new(seed: u64) -> Self {
        let mut dice = Dice(seed);
        let processes: Vec<Id> =
            (0..PROCESSES).map(|_| Id(std::array::from_fn(|_| dice.pick(256) as u8))).collect();
        let nodes = (0..NODES).map(|node| Self::fresh(seed ^ node as u64, BTreeMap::new())).collect();
        let mut world = Self {
            dice,
            now: 1_000_000_000,
            nodes,
            links: BTreeSet::new(),
            wire: Vec::new(),
            processes,
            loss: 0,
            names: 1_000,
            old: Vec::new(),
        };
        for number in 0..PROCESSES {
            for copy in 0..=world.dice.pick(3) {
                let node = LIARS + world.dice.pick(NODES - LIARS);
                let duty = if copy == 0 { Duty::Schedules } else { Duty::Watches };
                let process = world.processes[number];
                world.nodes[node].serves.insert(process, duty);
            }
        }
        for node in 0..NODES {
            world.link(node);
            world.begin(node);
        }
        world
    }

    fn fresh(seed: u64, serves: BTreeMap<Id, Duty>) -> Node {
        let (shards, known) = Default::default();
        Node { lobby: Lobby::new(seed), serves, shards, is_up: true, sequence: 0, known }
    }

    /// Tells a node's lobby what it does; liars are on all shards.
    fn begin(&mut self, node: usize) {
        if node < LIARS {
            self.nodes[node].shards = Shard::all().collect();
        }
        for (process, duty) in self.nodes[node].serves.clone() {
            self.run(node, Input::Serves(process, Some(duty)));
        }
    }

    fn link(&mut self, node: usize) {
        while self.peers(node).count() < PEERS / 2 {
            let other = self.dice.pick(NODES);
            if other != node && self.nodes[other].is_up {
                self.links.insert((node.min(other), node.max(other)));
            }
        }
    }

    fn peers(&self, node: usize) -> impl Iterator<Item = usize> {
        let of = self.links.iter().filter(move |(a, b)| *a == node || *b == node);
        of.map(move |(a, b)| if *a == node { *b } else { *a })
    }

    fn run(&mut self, node: usize, input: Input<usize>) {
        let mut effects = Effects::new();
        self.nodes[node].lobby.handle(input, Now(self.now), &mut effects);
        let effects: Vec<Effect> = effects.drain().collect();
        for effect in effects {
            match effect {
                Effect::Join(shard) => {
                    self.nodes[node].shards.insert(shard);
                }
                Effect::Leave(shard) => {
                    self.nodes[node].shards.remove(&shard);
                }
                Effect::Say { shard, part: (part, parts), more, served } => {
                    let sequence = self.now.max(self.nodes[node].sequence + 1);
                    self.nodes[node].sequence = sequence;
                    let fact = fact(node, (sequence, shard), (part, parts), more, served);
                    self.old.push(fact.clone());
                    let is_heard = self.publish(node, &fact);
                    let on_shard = |other: &usize| {
                        *other != node
                            && self.nodes[*other].is_up
                            && self.nodes[*other].shards.contains(&shard)
                    };
                    let others: Vec<usize> = (0..NODES).filter(on_shard).collect();
                    if !is_heard && !others.is_empty() {
                        // By the records in Kademlia, liars among them.
                        let other = others[self.dice.pick(others.len())];
                        self.links.insert((node.min(other), node.max(other)));
                    }
                    self.run(node, Input::Reached(shard, is_heard));
                }
            }
        }
    }

    /// Sends to all connected that are on the shard; says whether there are any.
    fn publish(&mut self, from: usize, fact: &Fact) -> bool {
        let shard = fact.said.terms.shard;
        let peers: Vec<usize> =
            self.peers(from).filter(|peer| self.nodes[*peer].shards.contains(&shard)).collect();
        for peer in &peers {
            if !self.dice.percent(self.loss) {
                self.wire.push((*peer, from, fact.clone()));
            }
        }
        !peers.is_empty()
    }

    fn step(&mut self) {
        self.now += TICK_MS;
        for node in 0..NODES {
            if self.nodes[node].is_up && node >= LIARS {
                self.run(node, Input::Tick);
            }
        }
        self.lie();
        // Some hops in a tick: gossip is quick.
        for _ in 0..4 {
            let arrived = std::mem::take(&mut self.wire);
            for (node, from, fact) in arrived {
                self.arrive(node, from, &fact);
            }
        }
        for node in &self.nodes {
            assert!(node.lobby.kept() <= KEPT_PER_SHARD_MAX * usize::from(SHARDS));
        }
    }

    fn arrive(&mut self, node: usize, from: usize, fact: &Fact) {
        let terms = &fact.said.terms;
        let name = (fact.said.by, terms.shard, terms.part, terms.sequence);
        // Gossip hands each fact up once; liars take all and pass on nothing.
        if !self.nodes[node].is_up || node < LIARS || !self.nodes[node].known.insert(name) || !fact.is_signed
        {
            return;
        }
        let now = Now(self.now);
        if self.nodes[node].lobby.hear(fact.said.clone(), from, now) == Heard::Kept {
            self.publish(node, fact);
        }
    }

    /// What the liars say in a tick, each its own kind of lie.
    fn lie(&mut self) {
        for liar in 0..LIARS {
            let shard = Shard::numbered(self.dice.pick(usize::from(SHARDS)) as u16).unwrap();
            let of_shard = self.processes.iter().filter(|process| Shard::of(process) == shard);
            let all: BTreeMap<Short, Duty> = of_shard
                .map(|process| (Short::of(process), Duty::Schedules))
                .take(ADVERT_PROCESSES_MAX)
                .collect();
            match liar % 3 {
                0 => {
                    let fact = fact(liar, (self.now, shard), (0, 1), true, all);
                    self.publish(liar, &fact);
                }
                1 => {
                    for _ in 0..20 {
                        self.names += 1;
                        let fact = fact(self.names, (self.now, shard), (0, 1), false, all.clone());
                        self.publish(liar, &fact);
                    }
                }
                _ => {
                    if let Some(old) = (!self.old.is_empty()).then(|| self.dice.pick(self.old.len())) {
                        let old = self.old[old].clone();
                        self.publish(liar, &old);
                    }
                    // In the name of an honest one, that it serves nothing any more.
                    let victim = LIARS + self.dice.pick(NODES - LIARS);
                    let mut forged = fact(victim, (self.now + 60_000, shard), (0, 1), false, BTreeMap::new());
                    forged.is_signed = false;
                    self.publish(liar, &forged);
                }
            }
        }
    }

    fn trouble(&mut self) {
        self.loss = self.dice.roll(40);
        let node = LIARS + self.dice.pick(NODES - LIARS);
        if self.nodes[node].is_up {
            self.nodes[node].is_up = false;
            self.links.retain(|(a, b)| *a != node && *b != node);
        } else {
            self.revive(node);
        }
        for _ in 0..60 {
            self.step();
        }
    }

    fn revive(&mut self, node: usize) {
        let (serves, sequence) = (self.nodes[node].serves.clone(), self.nodes[node].sequence);
        self.nodes[node] = Node { sequence, ..Self::fresh(self.now ^ node as u64, serves) };
        self.link(node);
        self.begin(node);
    }

    /// Looks for a process, where Kademlia knows nothing of it but who is on its shard; gives the questions that it took and how
    /// long, if somebody served it.
    fn find(&mut self, seeker: usize, process: Id) -> Option<(usize, u64)> {
        let began = self.now;
        let mut search = Search::new(seeker, Now(began));
        let mut silent: Vec<(u64, usize)> = Vec::new();
        let (mut inputs, mut questions) = (vec![search_rules::Input::Tick], 0);
        loop {
            let mut effects = Effects::new();
            for input in inputs.drain(..) {
                search.handle(input, Now(self.now), &mut effects);
            }
            let effects: Vec<_> = effects.drain().collect();
            for effect in effects {
                match effect {
                    search_rules::Effect::Look(source) => {
                        let answers = self.look(seeker, process, source);
                        inputs.extend(answers.into_iter().map(|(is_heard, peers)| {
                            let named = if is_heard {
                                search_rules::Input::Heard
                            } else {
                                search_rules::Input::Named
                            };
                            named(source, peers)
                        }));
                        inputs.push(search_rules::Input::Ended(source));
                    }
                    search_rules::Effect::Ask(peer) => {
                        questions += 1;
                        let node = self.nodes.get(peer).filter(|node| node.is_up);
                        if node.is_some_and(|node| node.serves.contains_key(&process)) {
                            self.run(seeker, Input::Served(peer));
                            return Some((questions, self.now - began));
                        }
                        // A name that nobody has, one that is away, and a liar of the worse sort.
                        if node.is_none() || (peer < LIARS && self.dice.percent(50)) {
                            silent.push((self.now + SILENCE_MS, peer));
                        } else {
                            self.run(seeker, Input::Broke(peer, process));
                            inputs.push(search_rules::Input::Failed(peer));
                        }
                    }
                    search_rules::Effect::Over => return None,
                }
            }
            if inputs.is_empty() {
                self.now += 50;
                let over = silent.extract_if(.., |(at, _)| *at <= self.now);
                inputs.extend(over.map(|(_, peer)| search_rules::Input::Failed(peer)));
                inputs.push(search_rules::Input::Tick);
            }
        }
    }

    /// What each who is asked this way names, and whether it only heard of all of them.
    fn look(&self, seeker: usize, process: Id, source: Source) -> Vec<(bool, Vec<usize>)> {
        let told = |node: usize| -> (bool, Vec<usize>) {
            if node < LIARS {
                return (false, std::iter::once(node).chain(0..LIARS).collect());
            }
            let named = self.nodes[node].lobby.named(&process, Now(self.now));
            let itself = self.nodes[node].lobby.duty(&process).map(|_| node);
            (itself.is_none(), itself.into_iter().chain(named.into_iter().map(|named| named.peer)).collect())
        };
        let shard = Shard::of(&process);
        let whom: Vec<usize> = match source {
            Source::Topic | Source::Records => return Vec::new(),
            Source::Lobby => return vec![(false, told(seeker).1)],
            Source::Everyone => return self.peers(seeker).map(|peer| (false, vec![peer])).collect(),
            Source::Peers => self.peers(seeker).collect(),
            Source::Shard => (0..NODES).filter(|node| self.nodes[*node].shards.contains(&shard)).collect(),
        };
        whom.into_iter().filter(|node| self.nodes[*node].is_up).map(told).collect()
    }
}

fn fact(
    by: usize,
    (sequence, shard): (u64, Shard),
    (part, parts): (u8, u8),
    more: bool,
    served: BTreeMap<Short, Duty>,
) -> Fact {
    let (network, addresses, valid_to) = (Network(7), Vec::new(), sequence + ADVERT_TTL_MS_MAX);
    let terms = AdvertTerms { network, sequence, valid_to, shard, part, parts, more, addresses, served };
    Fact { said: Said { by, terms, body: () }, is_signed: true }
}

fn seeds() -> u64 {
    if std::env::var("WEFT_FULL").is_ok_and(|value| value == "1") { 60 } else { 2 }
}

#[test]
fn whoever_serves_a_process_is_found_by_the_lobby_whatever_is_lost_and_whoever_lies() {
    let (mut searches, mut questions_all) = (0, 0);
    for seed in 0..seeds() {
        let mut world = World::new(seed);
        for _ in 0..6 {
            world.trouble();
        }
        world.loss = 0;
        for node in LIARS..NODES {
            if !world.nodes[node].is_up {
                world.revive(node);
            }
        }
        for _ in 0..(REFRESH_MS + LINGER_MS) / TICK_MS {
            world.step();
        }
        for number in 0..PROCESSES {
            let process = world.processes[number];
            let seekers: Vec<usize> =
                (LIARS..NODES).filter(|node| !world.nodes[*node].serves.contains_key(&process)).collect();
            let seeker = seekers[world.dice.pick(seekers.len())];
            let found = world.find(seeker, process);
            assert!(found.is_some(), "seed {seed}: process {number} is not found by {seeker}");
            let (questions, took_ms) = found.unwrap();
            assert!(
                took_ms < 3_000,
                "seed {seed}: process {number} took {took_ms} ms and {questions} questions"
            );
            (searches, questions_all) = (searches + 1, questions_all + questions);
        }
    }
    assert!(questions_all < searches * 8, "{questions_all} questions for {searches} searches");
}
