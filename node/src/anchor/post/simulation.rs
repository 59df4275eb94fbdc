//! A weave, its gateways, a wallet and a node with a disk, in one thread and in virtual time. Gateways are down, slow,
//! lie, see a fork, or forget what is mined; blocks are replaced up to eighteen deep; the disk is full; the node is killed
//! between any two effects. Whatever happened: no bytes are paid for twice, no day costs more than its limit, nothing
//! is posted before it is on disk, what is stored as final is on the weave and stays there with its data, and in
//! the end that is all of it. The liars are fewer than a quorum, as the rule says.
#![allow(clippy::unwrap_used)]

mod weave;

use std::collections::{BTreeMap, BTreeSet};

use weft_protocol::{Effects, Hash, Id, Machine as _, Now};

use super::machine::{Effect, Held, Input, Pays, Policy, Poster, Quote, Terms, Took, Trouble};
use super::quorum::Told;
use super::spending::Spent;
use crate::dice::Dice;

const ASK_MS: u64 = 30_000;
const BLOCK_MS: u64 = 120_000;
const DAY_MS: u64 = 24 * 3_600_000;
/// Blocks while faults happen, and after them at most.
const WILD_BLOCKS: u64 = 400;
const CALM_BLOCKS: u64 = 6_000;
const CONFIRMATIONS: u64 = 20;
const REORG_BLOCKS_MAX: usize = 18;
const BATCHES: u8 = 30;
/// What honest gateways ask, and what those on a fork do.
const PRICE: u64 = 10_000;
const FORK_PRICE: u64 = 11_000;

/// How the harness breaks a rule, to see that the checker notices.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mutation {
    None,
    /// One gateway is a quorum.
    TrustOne,
    /// A start does not see that something was signed.
    ForgetSigned,
    /// What is signed is not added to what was spent.
    ForgetSpent,
    /// Nobody looks whether the data is there.
    ReadNothing,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mood {
    Honest,
    Down,
    Slow,
    Liar,
    /// It sees other blocks above this height.
    Forked(u64),
    /// It has forgotten whatever is mined.
    Forgetful,
}

impl Mood {
    /// Whether what it says may be false.
    const fn is_false(self) -> bool {
        matches!(self, Self::Liar | Self::Forked(_) | Self::Forgetful)
    }
}

struct Block {
    name: String,
    txs: Vec<Id>,
}

struct Tx {
    posting: u64,
    reward: u64,
    anchor: String,
    seeded: bool,
}

#[derive(Default)]
struct Row {
    parts: Vec<Hash>,
    signed: Option<(Id, Option<u64>)>,
    is_final: bool,
}

#[derive(Default)]
struct Disk {
    batches: BTreeSet<Hash>,
    postings: BTreeMap<u64, Row>,
    posted: BTreeSet<Hash>,
    spent: Spent,
}

enum Event {
    Do { life: u64, effect: Effect },
    Answer { life: u64, input: Input },
    Block,
    Start,
}

struct World {
    dice: Dice,
    mutation: Mutation,
    policy: Policy,
    now: u64,
    sequence: u64,
    queue: BTreeMap<(u64, u64), Event>,
    chain: Vec<Block>,
    pool: BTreeSet<Id>,
    txs: BTreeMap<Id, Tx>,
    moods: Vec<Mood>,
    disk: Disk,
    life: u64,
    node: Option<Poster>,
    /// The row of each posting of this life.
    rows: BTreeMap<u64, u64>,
    calm: bool,
    blocks: u64,
    names: u64,
    batches: u8,
    violations: Vec<String>,
    /// Signed for in each day.
    signed: BTreeMap<u64, u64>,
    seen: Seen,
}

/// What a run has seen, so that no fault is only in the description.
#[derive(Debug, Default, Clone, Copy)]
struct Seen {
    crashes: u64,
    replaced: u64,
    lapsed: u64,
    held_back: u64,
    unseeded: u64,
    full: u64,
    mended: u64,
}

impl World {
    fn new(seed: u64, mutation: Mutation) -> Self {
        let mut dice = Dice(seed);
        let gateways = [1, 2, 3, 3, 5][dice.roll(5) as usize];
        let quorum = if mutation == Mutation::TrustOne { 1 } else { gateways / 2 + 1 };
        // Enough for a few a day, now and then for one.
        let day_limit = [60_000, 100_000, 1_000_000][dice.roll(3) as usize];
        let policy = Policy {
            gateways,
            quorum,
            confirmations: CONFIRMATIONS,
            ask_ms: ASK_MS,
            gather_ms: [0, 600_000][dice.roll(2) as usize],
            pays: Pays::Wallet { margin_percent: 10, day_limit },
        };
        let mut world = Self {
            mutation,
            policy,
            now: 9 * DAY_MS + dice.roll(DAY_MS),
            sequence: 0,
            queue: BTreeMap::new(),
            chain: vec![Block { name: "genesis".into(), txs: Vec::new() }],
            pool: BTreeSet::new(),
            txs: BTreeMap::new(),
            moods: vec![Mood::Honest; gateways],
            disk: Disk::default(),
            life: 0,
            node: None,
            rows: BTreeMap::new(),
            calm: false,
            blocks: 0,
            names: 0,
            batches: 0,
            violations: Vec::new(),
            signed: BTreeMap::new(),
            seen: Seen::default(),
            dice,
        };
        world.at(0, Event::Start);
        world.at(BLOCK_MS, Event::Block);
        world
    }

    fn at(&mut self, after: u64, event: Event) {
        self.sequence += 1;
        self.queue.insert((self.now + after, self.sequence), event);
    }

    fn violation(&mut self, text: String) {
        self.violations.push(text);
    }

    fn height(&self) -> u64 {
        self.chain.len() as u64 - 1
    }

    /// The height of the block that holds a transaction.
    fn mined(&self, tx: &Id) -> Option<u64> {
        self.chain.iter().position(|block| block.txs.contains(tx)).map(|at| at as u64)
    }

    /// Whether a block at the next height may hold it.
    fn can_be_mined(&self, tx: &Id) -> bool {
        let from = self.chain.len().saturating_sub(50);
        let anchor = &self.txs[tx].anchor;
        self.mined(tx).is_none() && self.chain[from..].iter().any(|block| block.name == *anchor)
    }

    fn play(mut self) -> Self {
        while let Some(((time, _), event)) = self.queue.pop_first() {
            if time > self.now {
                self.now = time;
                self.tick();
            }
            match event {
                Event::Start => self.start(),
                Event::Block => {
                    if !self.block() {
                        break;
                    }
                }
                Event::Do { life, effect } if life == self.life => self.perform(effect),
                Event::Answer { life, input } if life == self.life => self.handle(input),
                Event::Do { .. } | Event::Answer { .. } => {}
            }
            if !self.calm && self.node.is_some() && self.dice.roll(400) == 0 {
                self.crash();
            }
        }
        self.judge();
        self
    }

    fn crash(&mut self) {
        (self.node, self.life) = (None, self.life + 1);
        self.seen.crashes += 1;
        let down = self.dice.roll(2 * BLOCK_MS);
        self.at(down, Event::Start);
    }

    fn start(&mut self) {
        self.node = Some(Poster::new(self.policy, self.disk.spent));
        self.rows.clear();
        let open: Vec<u64> =
            self.disk.postings.iter().filter(|(_, row)| !row.is_final).map(|(key, _)| *key).collect();
        for (number, key) in open.into_iter().enumerate() {
            self.rows.insert(number as u64, key);
            let row = &self.disk.postings[&key];
            let signed = row.signed.filter(|_| self.mutation != Mutation::ForgetSigned);
            let held = Held { parts: row.parts.clone(), bytes: 10_000, signed };
            self.handle(Input::Held(held));
        }
        let waiting: Vec<Hash> = self.disk.batches.difference(&self.disk.posted).copied().collect();
        for batch in waiting {
            self.handle(Input::Waits { batch, bytes: 5_000, items: 10 });
        }
    }

    fn tick(&mut self) {
        self.handle(Input::Tick);
    }

    fn handle(&mut self, input: Input) {
        let Some(node) = &mut self.node else { return };
        let count = |node: &Poster, is_it: fn(&Trouble) -> bool| {
            node.views().filter(|view| view.trouble.as_ref().is_some_and(is_it)).count() as u64
        };
        let lapsed = |trouble: &Trouble| *trouble == Trouble::Lapsed;
        let limited = |trouble: &Trouble| matches!(trouble, Trouble::Limit { .. });
        let before = (count(node, lapsed), count(node, limited));
        let mut effects = Effects::new();
        node.handle(input, Now(self.now), &mut effects);
        self.seen.lapsed += count(node, lapsed).saturating_sub(before.0);
        self.seen.held_back += count(node, limited).saturating_sub(before.1);
        let effects: Vec<Effect> = effects.drain().collect();
        for effect in effects {
            let after = 1 + self.dice.roll(2_000);
            self.at(after, Event::Do { life: self.life, effect });
        }
    }

    fn answer(&mut self, input: Input) {
        let slow = !self.calm && self.dice.percent(10);
        let after = if slow { self.dice.roll(5 * BLOCK_MS) } else { 1 + self.dice.roll(2_000) };
        self.at(after, Event::Answer { life: self.life, input });
    }

    /// Whether there is no room for a commit.
    fn is_full(&mut self) -> bool {
        let full = !self.calm && self.dice.percent(15);
        self.seen.full += u64::from(full);
        full
    }

    fn block(&mut self) -> bool {
        self.blocks += 1;
        if !self.calm {
            self.disturb();
        }
        if self.batches < BATCHES && self.dice.percent(20) {
            self.batches += 1;
            let batch = Hash([self.batches; 32]);
            self.disk.batches.insert(batch);
            self.handle(Input::Waits { batch, bytes: 5_000, items: 10 });
        }
        self.mine();
        let done =
            self.disk.postings.values().filter(|row| row.is_final).map(|row| row.parts.len()).sum::<usize>();
        let all = self.calm && done == usize::from(self.batches);
        if all || self.blocks > WILD_BLOCKS + CALM_BLOCKS {
            return false;
        }
        if self.blocks == WILD_BLOCKS {
            self.calm = true;
            self.batches = self.batches.max(1);
            self.moods.fill(Mood::Honest);
        }
        self.at(BLOCK_MS, Event::Block);
        true
    }

    /// Draws how the gateways are, and replaces blocks.
    fn disturb(&mut self) {
        if self.dice.percent(10) {
            self.moods.fill(Mood::Honest);
            let false_max = (self.moods.len() / 2).min(self.moods.len() - (self.moods.len() / 2 + 1));
            for at in 0..self.moods.len() {
                let mood = match self.dice.roll(10) {
                    0 => Mood::Down,
                    1 => Mood::Slow,
                    2 | 3 => Mood::Liar,
                    4 => Mood::Forked(self.height().saturating_sub(self.dice.roll(10))),
                    5 => Mood::Forgetful,
                    _ => Mood::Honest,
                };
                let others = self.moods.iter().filter(|mood| mood.is_false()).count();
                self.moods[at] = if mood.is_false() && others >= false_max { Mood::Honest } else { mood };
            }
        }
        if self.chain.len() > REORG_BLOCKS_MAX && self.dice.percent(8) {
            let depth =
                1 + self.dice.roll(if self.dice.0.is_multiple_of(4) { REORG_BLOCKS_MAX as u64 } else { 3 })
                    as usize;
            let from = self.chain.len() - depth;
            for block in self.chain.split_off(from) {
                for tx in block.txs {
                    self.seen.replaced += 1;
                    // Whoever replaces a block may never have heard of it.
                    if self.dice.percent(70) {
                        self.pool.insert(tx);
                    }
                }
            }
            for _ in 0..depth {
                self.mine();
            }
        }
    }

    fn mine(&mut self) {
        let mut txs = Vec::new();
        for tx in self.pool.clone() {
            if !self.can_be_mined(&tx) || (!self.calm && self.dice.percent(5)) {
                self.pool.remove(&tx);
            } else if self.dice.percent(60) {
                self.pool.remove(&tx);
                txs.push(tx);
            }
        }
        self.names += 1;
        self.chain.push(Block { name: format!("block {}", self.names), txs });
    }
}

fn run(seed: u64, mutation: Mutation) -> World {
    World::new(seed, mutation).play()
}

const SEEDS: u64 = 60;

#[test]
fn whatever_gateways_do_nothing_is_paid_twice_and_nothing_final_is_lost() {
    let mut all = Seen::default();
    for seed in 0..SEEDS {
        let world = run(seed, Mutation::None);
        assert!(world.violations.is_empty(), "seed {seed}: {:#?}", world.violations);
        all.crashes += world.seen.crashes;
        all.replaced += world.seen.replaced;
        all.lapsed += world.seen.lapsed;
        all.held_back += world.seen.held_back;
        all.unseeded += world.seen.unseeded;
        all.full += world.seen.full;
        all.mended += world.seen.mended;
    }
    let Seen { crashes, replaced, lapsed, held_back, unseeded, full, mended } = all;
    let seen = [crashes, replaced, lapsed, held_back, unseeded, full, mended];
    assert!(seen.iter().all(|count| *count > 0), "a fault that never happened: {all:?}");
}

#[test]
fn a_run_repeats_itself() {
    let (one, two) = (run(7, Mutation::None), run(7, Mutation::None));
    assert_eq!((one.now, one.sequence, one.txs.len()), (two.now, two.sequence, two.txs.len()));
}

#[test]
fn what_breaks_a_rule_is_noticed() {
    for (mutation, part) in [
        (Mutation::TrustOne, "stored as final"),
        (Mutation::ForgetSigned, "paid for"),
        (Mutation::ForgetSpent, "cost"),
        (Mutation::ReadNothing, "stored as final"),
    ] {
        let found =
            (0..SEEDS).any(|seed| run(seed, mutation).violations.iter().any(|text| text.contains(part)));
        assert!(found, "{mutation:?} went unnoticed");
    }
}
