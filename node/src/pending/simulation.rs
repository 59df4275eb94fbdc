//! One process whose messages wait, in one thread and in virtual time: its scheduler is away, nodes are killed and come
//! back with nothing in memory, the network is parted, gossip is lost, and a flooder pays as little as it may. Whatever
//! happened, who keeps to the rules gets its slot once the scheduler can be reached by anybody who holds the message;
//! and nothing is carried twice for what it paid, nor more of it than there are places.
#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};

use weft_protocol::{Address, Effects, Id, Machine as _, Now};

use super::machine::asks::{self, Asks};
use super::machine::letters::{self, End, Letter, Letters, Tried};
use super::machine::{
    AT_PROCESS_MAX, Claim, Effect, HELD_MS, Heard, Input, LOOKS_BURST, LOOKS_PER_S, Pools, Said,
};
use crate::dice::Dice;

const TICK_MS: u64 = 500;
const NODES: usize = 12;
/// Which of them schedules the process, and which send without being on its topic.
const SCHEDULER: usize = 0;
const SENDERS: std::ops::Range<usize> = 9..12;
const PROCESS: Id = Id([7; 32]);
/// Hashes for postage in a millisecond.
const HASHES_PER_MS: u64 = 4_000;
/// How long a scheduler that is away is looked for.
const LOOKUP_MS: u64 = 10_000;
/// A signer who stands in the log.
const KNOWN: Address = Address([1; 32]);

#[derive(Debug, Clone)]
enum Packet {
    Gossip(Claim),
    Ask(Vec<Id>),
    Answer(Vec<(Claim, u64)>, usize),
    Slot(Id),
}

/// What happens later: at a node, of its life then.
enum Later {
    Arrives { from: usize, packet: Packet },
    Letter(letters::Input),
}

struct Node {
    pools: Pools<usize, Claim>,
    asks: Asks<usize>,
    letters: Letters,
    is_up: bool,
    life: u32,
    /// What gossip said here: each once in ten minutes.
    seen: BTreeMap<(Id, u32), u64>,
    /// What went on from here, ever, in any life.
    carried: BTreeSet<(Id, u32, u32)>,
    looks: u64,
    /// Letters on disk.
    disk: BTreeMap<Id, Letter>,
}

impl Node {
    fn new() -> Self {
        Self {
            pools: Pools::new(),
            asks: Asks::default(),
            letters: Letters::default(),
            is_up: true,
            life: 0,
            seen: BTreeMap::new(),
            carried: BTreeSet::new(),
            looks: 0,
            disk: BTreeMap::new(),
        }
    }
}

struct World {
    dice: Dice,
    now: u64,
    nodes: Vec<Node>,
    links: BTreeSet<(usize, usize)>,
    later: BTreeMap<(u64, u64), (usize, u32, Later)>,
    numbers: u64,
    log: BTreeMap<Id, u64>,
    signers: BTreeMap<Id, Address>,
    ends: BTreeMap<Id, End>,
    loss: usize,
    /// How often anything was said from one node to another.
    packets: usize,
}

const fn is_on_topic(node: usize) -> bool {
    node < SENDERS.start
}

impl World {
    fn new(seed: u64) -> Self {
        let (links, later, log, signers, ends) = Default::default();
        let nodes = (0..NODES).map(|_| Node::new()).collect();
        let (dice, now) = (Dice(seed), 1_000_000_000);
        let mut world =
            Self { dice, now, nodes, links, later, numbers: 0, log, signers, ends, loss: 0, packets: 0 };
        for node in 1..NODES {
            let others = (0..3).map(|_| 1 + world.dice.pick(SENDERS.start - 1)).collect::<Vec<_>>();
            // A ring of those on the topic, so that they are one network.
            let next = if is_on_topic(node) { 1 + node % (SENDERS.start - 1) } else { others[0] };
            for other in others.into_iter().chain([next]) {
                world.link(node, other);
            }
        }
        for node in [1, 2] {
            world.link(SCHEDULER, node);
        }
        world
    }

    fn link(&mut self, one: usize, other: usize) {
        if one == other || !self.links.insert((one.min(other), one.max(other))) {
            return;
        }
        self.meet(one, other);
    }

    /// Both are on the topic, and connected: each hears of the other.
    fn meet(&mut self, one: usize, other: usize) {
        let both = [(one, other), (other, one)];
        if is_on_topic(one) && is_on_topic(other) && self.nodes[one].is_up && self.nodes[other].is_up {
            for (node, peer) in both {
                let is_mine = node == SCHEDULER;
                self.run_asks(node, asks::Input::Shared { process: PROCESS, peer, is_mine });
            }
        }
    }

    fn peers(&self, node: usize) -> Vec<usize> {
        let of = self.links.iter().filter(|(one, other)| *one == node || *other == node);
        let of = of.map(|(one, other)| if *one == node { *other } else { *one });
        of.filter(|peer| self.nodes[*peer].is_up).collect()
    }

    fn at(&mut self, ms: u64, node: usize, what: Later) {
        self.numbers += 1;
        self.later.insert((self.now + ms, self.numbers), (node, self.nodes[node].life, what));
    }

    fn say(&mut self, from: usize, to: usize, packet: Packet) {
        self.packets += 1;
        let is_gossip = matches!(packet, Packet::Gossip(_));
        if !is_gossip || self.dice.pick(100) >= self.loss {
            let ms = 5 + self.dice.pick(200) as u64;
            self.at(ms, to, Later::Arrives { from, packet });
        }
    }

    /// Says a message to all on the topic; whether there was anybody.
    fn publish(&mut self, node: usize, claim: Claim) -> bool {
        let peers: Vec<usize> = self.peers(node).into_iter().filter(|peer| is_on_topic(*peer)).collect();
        self.nodes[node].seen.insert((claim.item, claim.bits), self.now);
        for peer in &peers {
            self.say(node, *peer, Packet::Gossip(claim));
        }
        !peers.is_empty()
    }

    /// What becomes of a message at a node; what it holds goes on from there.
    fn take(&mut self, node: usize, from: usize, claim: Claim, age_ms: u64) {
        let now = Now(self.now);
        let is_known = claim.signer == KNOWN;
        let of = &mut self.nodes[node];
        // Its log says so.
        if (node == SCHEDULER && self.log.contains_key(&claim.item))
            || of.seen.contains_key(&(claim.item, u32::MAX))
        {
            return;
        }
        if of.pools.is_news(&claim, is_known, now).is_err() || of.pools.look(from, claim.bits, now).is_err() {
            return;
        }
        of.looks += 1;
        let said = Said { claim, is_known, is_mine: node == SCHEDULER, age_ms, body: claim };
        if of.pools.hear(said, now) == Heard::Kept {
            let once = of.carried.insert((claim.item, claim.bits, of.life));
            assert!(once, "node {node} carried {} twice for {} bits", claim.item, claim.bits);
            self.publish(node, claim);
        }
    }

    fn assign(&mut self, item: Id) -> u64 {
        let next = self.log.len() as u64 + 1;
        let slot = *self.log.entry(item).or_insert(next);
        for peer in self.peers(SCHEDULER) {
            self.say(SCHEDULER, peer, Packet::Slot(item));
        }
        slot
    }

    fn run_pools(&mut self, node: usize, input: Input) {
        let mut effects = Effects::new();
        self.nodes[node].pools.handle(input, Now(self.now), &mut effects);
        for Effect::Offer { process, item, .. } in effects.drain().collect::<Vec<_>>() {
            self.assign(item);
            self.run_pools(node, Input::Offered { process, item, is_settled: true });
        }
    }

    fn run_asks(&mut self, node: usize, input: asks::Input<usize>) {
        let mut effects = Effects::new();
        self.nodes[node].asks.handle(input, Now(self.now), &mut effects);
        for asks::Effect::Ask(peer, processes) in effects.drain().collect::<Vec<_>>() {
            if self.peers(node).contains(&peer) {
                self.say(node, peer, Packet::Ask(processes));
            } else {
                self.run_asks(node, asks::Input::Silent(peer));
            }
        }
    }

    fn run_letters(&mut self, node: usize, input: letters::Input) {
        let mut effects = Effects::new();
        self.nodes[node].letters.handle(input, Now(self.now), &mut effects);
        for effect in effects.drain().collect::<Vec<_>>() {
            match effect {
                letters::Effect::Keep(item, letter) => drop(self.nodes[node].disk.insert(item, letter)),
                letters::Effect::Mine { item, bits, .. } => {
                    let takes = (1 << bits) / HASHES_PER_MS + self.dice.pick(100) as u64;
                    let mined = letters::Input::Mined { item, nonce: Some(0) };
                    self.at(takes, node, Later::Letter(mined));
                }
                letters::Effect::Say(item, letter) => {
                    let signer = self.signers[&item];
                    let claim = Claim { process: PROCESS, item, signer, bits: letter.bits };
                    let is_heard = self.publish(node, claim);
                    self.at(1, node, Later::Letter(letters::Input::Said { item, is_heard }));
                }
                letters::Effect::Try(item, _) => {
                    let is_there = self.peers(node).contains(&SCHEDULER);
                    let (ms, tried) = if is_there {
                        (50, Tried::Slot(self.assign(item)))
                    } else {
                        (LOOKUP_MS, Tried::Later("it is away".to_owned()))
                    };
                    self.at(ms, node, Later::Letter(letters::Input::Tried(item, tried)));
                }
                letters::Effect::Over(item, _, end) => {
                    self.nodes[node].disk.remove(&item);
                    self.ends.insert(item, end);
                }
            }
        }
    }

    fn arrive(&mut self, node: usize, from: usize, packet: Packet) {
        match packet {
            Packet::Gossip(claim) => {
                let name = (claim.item, claim.bits);
                let fresh = self.now.saturating_sub(HELD_MS);
                if self.nodes[node].seen.get(&name).is_none_or(|at| *at < fresh) {
                    self.nodes[node].seen.insert(name, self.now);
                    self.take(node, from, claim, 0);
                }
            }
            Packet::Ask(processes) => {
                let held = self.nodes[node].pools.waiting(&PROCESS, Now(self.now));
                let held = held.into_iter().map(|held| (held.body, held.age_ms)).collect();
                self.say(node, from, Packet::Answer(held, processes.len()));
            }
            Packet::Answer(held, count) => {
                self.run_asks(node, asks::Input::Answered(from, count));
                for (claim, age_ms) in held {
                    self.take(node, from, claim, age_ms);
                }
            }
            Packet::Slot(item) => {
                let name = (item, u32::MAX);
                if self.nodes[node].seen.insert(name, self.now).is_none() && is_on_topic(node) {
                    self.run_pools(node, Input::Assigned { process: PROCESS, item });
                    for peer in self.peers(node) {
                        self.say(node, peer, Packet::Slot(item));
                    }
                }
            }
        }
    }

    fn step(&mut self) {
        self.now += TICK_MS;
        while let Some(entry) = self.later.first_entry().filter(|entry| entry.key().0 <= self.now) {
            let (node, life, what) = entry.remove();
            if !self.nodes[node].is_up || self.nodes[node].life != life {
                continue;
            }
            match what {
                Later::Arrives { from, packet } if self.links.contains(&(node.min(from), node.max(from))) => {
                    self.arrive(node, from, packet);
                }
                Later::Arrives { .. } => {}
                Later::Letter(input) => self.run_letters(node, input),
            }
        }
        for node in (0..NODES).filter(|node| self.nodes[*node].is_up).collect::<Vec<_>>() {
            self.run_pools(node, Input::Tick);
            self.run_asks(node, asks::Input::Tick);
            self.run_letters(node, letters::Input::Tick);
            assert!(self.nodes[node].pools.held() <= AT_PROCESS_MAX);
        }
    }

    fn run_for(&mut self, ms: u64) {
        for _ in 0..ms / TICK_MS {
            self.step();
        }
    }

    fn kill(&mut self, node: usize) {
        self.nodes[node].is_up = false;
        for peer in self.peers(node) {
            self.run_asks(peer, asks::Input::Gone(node));
        }
    }

    /// It has what is on its disk, and nothing else.
    fn revive(&mut self, node: usize) {
        let before = std::mem::replace(&mut self.nodes[node], Node::new());
        let (life, carried, disk) = (before.life + 1, before.carried, before.disk);
        self.nodes[node] = Node { life, carried, looks: before.looks, disk: disk.clone(), ..Node::new() };
        for (item, letter) in disk {
            self.run_letters(node, letters::Input::Recover(item, letter));
        }
        for peer in self.peers(node) {
            self.meet(node, peer);
        }
    }

    /// A message of a sender, whose signer stands in the log or not.
    fn send(&mut self, number: u32, is_known: bool) -> Id {
        let item = item(number);
        let signer = if is_known { KNOWN } else { Address(item.0) };
        self.signers.insert(item, signer);
        let node = SENDERS.start + self.dice.pick(SENDERS.len());
        let letter = Letter::new(PROCESS, String::new(), false, Now(self.now));
        self.run_letters(node, letters::Input::Send(item, letter, "it is away".to_owned()));
        item
    }

    fn now(&self) -> Now {
        Now(self.now)
    }
}

fn item(number: u32) -> Id {
    let mut id = [0; 32];
    id[..4].copy_from_slice(&number.to_be_bytes());
    Id(id)
}

fn seeds() -> u64 {
    if std::env::var("WEFT_FULL").is_ok_and(|value| value == "1") { 200 } else { 12 }
}

#[test]
fn a_scheduler_that_was_away_for_five_minutes_hears_of_all_that_was_sent() {
    for seed in 0..seeds() {
        let mut world = World::new(seed);
        world.kill(SCHEDULER);
        world.loss = world.dice.pick(30);
        let mut sent = Vec::new();
        for number in 0..8 {
            let is_known = world.dice.pick(2) == 0;
            sent.push(world.send(number, is_known));
            world.run_for(10_000);
        }
        // Nodes go and come back meanwhile, senders too.
        for _ in 0..5 {
            let node = 1 + world.dice.pick(NODES - 1);
            world.kill(node);
            world.run_for(20_000);
            world.revive(node);
            world.run_for(20_000);
        }
        world.run_for(20_000);
        // It is back, where it knows one node.
        world.links.retain(|(one, _)| *one != SCHEDULER);
        world.revive(SCHEDULER);
        let somebody = 1 + world.dice.pick(SENDERS.start - 1);
        world.link(SCHEDULER, somebody);
        world.run_for(15_000);
        for item in &sent {
            assert!(world.log.contains_key(item), "seed {seed}: {item} has no slot");
        }
        world.run_for(5_000);
        let held: usize = world.nodes.iter().map(|node| node.pools.held()).sum();
        assert_eq!(held, 0, "seed {seed}: what has its slot is held by nobody");
        // Who sent it learns of it as soon as it can ask, or gives up where it never can.
        for sender in SENDERS {
            world.link(SCHEDULER, sender);
        }
        world.run_for(letters::TRY_MS + LOOKUP_MS + 1_000);
        for item in &sent {
            assert!(
                matches!(world.ends.get(item), Some(End::Slot(_))),
                "seed {seed}: {:?}",
                world.ends.get(item)
            );
        }
    }
}

#[test]
fn parted_nodes_hear_of_what_was_sent_on_the_other_side_from_each_other() {
    for seed in 0..seeds() {
        let mut world = World::new(seed);
        // The scheduler and a few here, the senders and the others there.
        let here = |node: usize| node <= 4;
        world.links.retain(|(one, other)| here(*one) == here(*other));
        for sender in SENDERS {
            world.link(sender, 5);
        }
        world.link(5, 6);
        world.link(1, 3);
        let sent: Vec<Id> = (0..4).map(|number| world.send(number, number % 2 == 0)).collect();
        world.run_for(200_000);
        assert!(world.log.is_empty(), "nobody there reaches it");
        // One connection between two that neither send nor schedule.
        let (one, other) = (2 + world.dice.pick(3), 5 + world.dice.pick(2));
        world.link(one, other);
        world.run_for(20_000);
        for item in &sent {
            assert!(world.log.contains_key(item), "seed {seed}: {item} has no slot");
        }
    }
}

#[test]
fn a_flood_that_pays_little_takes_no_more_than_its_places_and_keeps_out_nobody() {
    for seed in 0..seeds() {
        let mut world = World::new(seed);
        world.kill(SCHEDULER);
        let flooder = SENDERS.start;
        let mut number = 1_000;
        let mut flood = |world: &mut World, seconds: u32| {
            for _ in 0..seconds * 2 {
                for one in 0..20 {
                    number += 1;
                    let item = item(number);
                    // Some pay more by luck: of all that look for 18 bits a quarter finds 20.
                    let luck = (world.dice.pick(1 << 16) as u32 | (1 << 16)).trailing_zeros();
                    let bits = 18 + if one < 2 { luck } else { 0 };
                    let claim = Claim { process: PROCESS, item, signer: Address(item.0), bits };
                    world.publish(flooder, claim);
                }
                world.step();
            }
        };
        flood(&mut world, 20);
        let known = world.send(1, true);
        let stranger = world.send(2, false);
        flood(&mut world, 280);
        world.run_for(1_000);
        let seconds = 301;
        for (number, node) in world.nodes.iter().enumerate().filter(|(number, _)| is_on_topic(*number)) {
            // A place changes hands only for more postage: so often is that had by luck.
            let carried = node.carried.len();
            assert!(carried < 32 * 9, "seed {seed}: node {number} carried {carried} of 12000");
            assert!(node.looks <= LOOKS_BURST + seconds * LOOKS_PER_S, "seed {seed}: {}", node.looks);
        }
        world.revive(SCHEDULER);
        world.run_for(15_000);
        assert!(world.log.contains_key(&known), "seed {seed}: who has a slot needs no more than the least");
        assert!(world.log.contains_key(&stranger), "seed {seed}: raising gets in");
        let now = world.now();
        assert!(world.nodes.iter().all(|node| node.pools.waiting(&PROCESS, now).len() <= AT_PROCESS_MAX));
    }
}
