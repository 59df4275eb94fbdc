//! The event loop of a run: everything that happens, in the order of virtual time.

use std::collections::{BTreeMap, BTreeSet};

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use weft_protocol::{Hash, Id};
use weft_storage::{Caution, CautionRow};

use super::audit::audit;
use super::checker::Checker;
use super::disk::{BatchRow, Fate};
use super::guest::Guest;
use super::hard;
use super::liar::Liar;
use super::network::{Answer, Ask, Faults, Message, Network};
use super::node::{Ctx, Node, Out, clock};
use super::town::Town;
use super::vice::Vice;
use super::workload::{self, Errand, PATIENCE_MS, Reading};

pub use super::settings::{Mutation, Report, Settings};

/// How often time passes for the roles, in milliseconds.
const TICK_MS: u64 = 100;
/// How often the weave makes a block and the network may split, in milliseconds.
const BLOCK_MS: u64 = 1_000;
/// How long a node stays down, at most, in milliseconds.
const DOWN_MS_MAX: u64 = 3_000;
/// How long clients send and faults happen, in milliseconds.
pub const FAULTS_MS: u64 = 15_000;
/// How long after the faults all must be well, in milliseconds.
const HEAL_MS: u64 = 240_000;
/// When it is tried again to lose the end of a log, in milliseconds.
const LOSE_AGAIN_MS: u64 = 250;
/// Effects at one point in time; more means that a machine spins.
const TURNS_MAX: usize = 100_000;

/// The weave: bundles wait for a block, and may be dropped before.
#[derive(Debug, Default)]
pub struct Weave {
    waiting: BTreeMap<Hash, BatchRow>,
    mined: BTreeMap<Hash, (BatchRow, u64)>,
    height: u64,
}

impl Weave {
    /// Takes a bundle.
    pub fn submit(&mut self, root: Hash, row: BatchRow) {
        if !self.mined.contains_key(&root) {
            self.waiting.insert(root, row);
        }
    }

    /// Whether a bundle is known, and the height of its block.
    pub fn status(&self, root: &Hash) -> (bool, Option<u64>) {
        let height = self.mined.get(root).map(|(_, height)| *height);
        (height.is_some() || self.waiting.contains_key(root), height)
    }

    /// Every batch in a block.
    pub fn mined(&self) -> impl Iterator<Item = &BatchRow> {
        self.mined.values().map(|(row, _)| row)
    }

    fn block(&mut self, faults: &Faults, rng: &mut StdRng) {
        self.height += 1;
        for (root, row) in std::mem::take(&mut self.waiting) {
            if !rng.random_bool(faults.weave) {
                self.mined.insert(root, (row, self.height));
            }
        }
    }
}

enum Event {
    Arrive { from: usize, to: usize, message: Box<Message> },
    Commit { node: usize, life: u64 },
    Timeout { node: usize, life: u64, request: u64 },
    Tick { node: usize, life: u64 },
    Start { node: usize },
    Errand { number: usize },
    Reading { number: usize },
    Block,
    Heal,
    Lose { node: usize },
}

struct World<'t> {
    time: u64,
    sequence: u64,
    queue: BTreeMap<(u64, u64), Event>,
    rng: StdRng,
    town: &'t Town<'t>,
    nodes: Vec<Node>,
    network: Network,
    weave: Weave,
    checker: Checker,
    is_sound: bool,
    faults: Faults,
    mutation: Mutation,
    skew_ms: u64,
    errands: Vec<Errand>,
    readings: Vec<Reading>,
    /// Nodes whose disk broke: somebody starts them again.
    broken: BTreeSet<usize>,
    /// Whose store is to lose the end of its log.
    loses: Option<usize>,
    /// The log that lost its end, from which slot on, and how many slots it had.
    lost: Option<(Id, u64, u64)>,
}

/// Plays one seed.
pub fn run(guest: &Guest, settings: Settings) -> Report {
    let mut rng = StdRng::seed_from_u64(settings.seed);
    let nodes = 3 + usize::from(rng.random_bool(0.3));
    let town = match settings.hard {
        true => Town::hard(guest, nodes, settings.seed),
        false => Town::new(guest, nodes, Liar::of(settings.seed, nodes)),
    };
    // Among crashes and losses a messenger may never come to do harm: each vice has two calm seeds.
    let drawn = Faults::draw(&mut rng);
    let is_calm = settings.hard && settings.seed < Vice::ALL.len() as u64;
    let faults = if is_calm { Faults::NONE } else { drawn };
    let faults = Faults { host: settings.hosts_fail, ..faults };
    let messages = rng.random_range(6..24);
    let mut errands = workload::draw(&town, messages, FAULTS_MS, &mut rng);
    errands.extend(hard::errands(&town, FAULTS_MS, &mut rng));
    hard::delay(&town, &mut errands);
    let count = rng.random_range(0..12);
    let readings = workload::draw_readings(&town, count, FAULTS_MS, &mut rng);
    let keys = town.keys.iter().enumerate();
    let mut world = World {
        time: 0,
        sequence: 0,
        queue: BTreeMap::new(),
        rng,
        nodes: keys.map(|(at, key)| Node::new(at, key.clone())).collect(),
        town: &town,
        network: Network::default(),
        weave: Weave::default(),
        checker: Checker::new(faults.disk == 0.0),
        is_sound: faults.disk == 0.0,
        faults,
        mutation: settings.mutation,
        skew_ms: settings.skew_ms,
        errands,
        readings,
        broken: BTreeSet::new(),
        loses: settings.loses.then(|| town.liar.map_or(0, |liar| (liar.node + 1) % nodes)),
        lost: None,
    };
    hard::remember(&town, &mut world.nodes);
    world.play();
    world.report()
}

impl World<'_> {
    fn at(&mut self, time: u64, event: Event) {
        self.sequence += 1;
        self.queue.insert((time, self.sequence), event);
    }

    fn play(&mut self) {
        for node in 0..self.nodes.len() {
            self.at(0, Event::Start { node });
        }
        for number in 0..self.errands.len() {
            self.at(self.errands[number].at, Event::Errand { number });
        }
        for number in 0..self.readings.len() {
            self.at(self.readings[number].at, Event::Reading { number });
        }
        self.at(BLOCK_MS, Event::Block);
        self.at(FAULTS_MS, Event::Heal);
        if let Some(node) = self.loses {
            self.at(FAULTS_MS / 3, Event::Lose { node });
        }
        while let Some(((time, _), event)) = self.queue.pop_first() {
            self.time = time;
            let is_block = matches!(event, Event::Block);
            self.happen(event);
            if !self.checker.violations.is_empty() {
                return;
            }
            let is_over = time > FAULTS_MS + HEAL_MS;
            if is_over || (is_block && time > FAULTS_MS && self.is_well()) {
                self.checker.end(self.town, &self.nodes, &self.errands, &self.weave);
                return;
            }
        }
    }

    fn is_well(&self) -> bool {
        if self.loses.is_some() {
            return false;
        }
        let mut trial = Checker::new(self.is_sound);
        trial.end(self.town, &self.nodes, &self.errands, &self.weave);
        trial.violations.is_empty()
    }

    /// Lets one node do something, then everything that follows at once.
    fn with(&mut self, at: usize, first: impl FnOnce(&mut Node, &mut Ctx<'_, '_>)) {
        let mut ctx = Ctx {
            time: self.time,
            rng: &mut self.rng,
            town: self.town,
            weave: &mut self.weave,
            checker: &mut self.checker,
            faults: self.faults,
            mutation: self.mutation,
            skew_ms: self.skew_ms,
            out: Vec::new(),
        };
        let node = &mut self.nodes[at];
        first(node, &mut ctx);
        let mut is_dead = false;
        for turn in 0.. {
            if ctx.rng.random_bool(ctx.faults.crash) {
                is_dead = node.is_up;
                break;
            }
            if !node.turn(&mut ctx) {
                break;
            }
            if turn > TURNS_MAX {
                ctx.checker.violation(format!("node {at} never comes to rest"));
                break;
            }
        }
        let (out, life) = (ctx.out, node.life);
        for out in out {
            match out {
                Out::Send(to, message) => self.send(at, to, message),
                Out::Commit(time) => self.at(time, Event::Commit { node: at, life }),
                Out::Timeout(time, request) => self.at(time, Event::Timeout { node: at, life, request }),
            }
        }
        if is_dead {
            self.crash(at);
        }
    }

    fn send(&mut self, from: usize, to: usize, message: Message) {
        for after in self.network.arrivals(from, to, &self.faults, &mut self.rng) {
            let message = Box::new(message.clone());
            self.at(self.time + after, Event::Arrive { from, to, message });
        }
    }

    fn crash(&mut self, at: usize) {
        let landed = self.rng.random_bool(0.5);
        self.nodes[at].crash(landed);
        self.broken.remove(&at);
        let down = self.rng.random_range(1..DOWN_MS_MAX);
        self.at(self.time + down, Event::Start { node: at });
        if self.rng.random_bool(0.5) {
            for peer in (0..self.nodes.len()).filter(|peer| *peer != at) {
                self.nodes[peer].lost(at);
            }
        }
    }

    fn is_alive(&self, node: usize, life: u64) -> bool {
        self.nodes[node].is_up && self.nodes[node].life == life
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Start { node } => {
                self.with(node, Node::start);
                let life = self.nodes[node].life;
                self.at(self.time + TICK_MS, Event::Tick { node, life });
            }
            Event::Tick { node, life } if self.is_alive(node, life) => {
                self.at(self.time + TICK_MS, Event::Tick { node, life });
                self.with(node, Node::tick);
            }
            Event::Commit { node, life } if self.is_alive(node, life) => self.commit(node),
            Event::Timeout { node, life, request } if self.is_alive(node, life) => {
                self.with(node, |node, _| node.timeout(request));
            }
            Event::Arrive { from, to, message } => match self.nodes.get(to) {
                Some(node) if node.is_up => self.with(to, |node, ctx| node.hear(ctx, from, *message)),
                Some(_) => {}
                None => self.hear(&message),
            },
            Event::Errand { number } => self.errand(number),
            Event::Reading { number } => {
                let Reading { process, node, .. } = self.readings[number];
                let number = self.errands.len() + number;
                let ask = Message::Ask(number as u64, Ask::Now(process));
                self.send(self.nodes.len() + number, node, ask);
            }
            Event::Block => {
                self.weave.block(&self.faults, &mut self.rng);
                if self.rng.random_bool(self.faults.split) {
                    self.network.split(self.nodes.len(), &mut self.rng);
                } else if self.rng.random_bool(0.3) {
                    self.network.heal();
                }
                self.at(self.time + BLOCK_MS, Event::Block);
            }
            Event::Heal => self.heal(),
            Event::Lose { node } => self.lose(node),
            Event::Tick { .. } | Event::Commit { .. } | Event::Timeout { .. } => {}
        }
    }

    fn commit(&mut self, node: usize) {
        let fate = match self.rng.random_bool(self.faults.disk) {
            false => Fate::Durable,
            true if self.rng.random_bool(0.7) => Fate::Failed,
            true => Fate::Broken,
        };
        if fate == Fate::Broken {
            self.broken.insert(node);
        }
        self.with(node, |node, ctx| node.committed(ctx, fate));
        // A store that takes no more writes is started again before long.
        if self.broken.contains(&node) && self.rng.random_bool(0.2) {
            self.crash(node);
        }
    }

    fn heal(&mut self) {
        self.faults = Faults::NONE;
        self.network.heal();
        for node in &mut self.nodes {
            node.unsubscribe(self.town);
        }
        for node in std::mem::take(&mut self.broken) {
            if self.nodes[node].is_up {
                self.crash(node);
            }
        }
    }

    /// A scheduler's store comes back without the end of its log, as one that was damaged: of slots that
    /// another attestor has, for others nobody could bring back.
    fn lose(&mut self, node: usize) {
        let own = self.town.processes.iter().find(|(_, (_, at))| *at == node);
        let Some((process, (known, _))) = own else { return };
        let head = |node: &Node| node.disk.rows.head(process).map(|record| record.assignment().slot);
        let attests = |other: &&Node| known.attestors().members.contains(&other.address);
        let others = self.nodes.iter().filter(|other| other.at != node).filter(attests);
        let (had, have) = (head(&self.nodes[node]), others.filter_map(head).max());
        let Some(last) = had.filter(|last| *last > 0 && have >= Some(*last)) else {
            return self.at(self.time + LOSE_AGAIN_MS, Event::Lose { node });
        };
        self.loses = None;
        if self.nodes[node].is_up {
            self.crash(node);
        }
        // What the crash itself may have made durable was said to nobody.
        let from = self.rng.random_range(1..=last);
        let rows = &mut self.nodes[node].disk.rows;
        rows.lose(*process, from);
        if self.mutation != Mutation::ForgetCaution {
            let slots = self.rng.random_bool(0.5).then_some(last + 1);
            rows.cautions.insert(*process, CautionRow { why: Caution::Repaired, slots });
        }
        self.lost = Some((*process, from, last + 1));
    }

    /// A client sends its item, again and again.
    fn errand(&mut self, number: usize) {
        let errand = &self.errands[number];
        if errand.answered {
            return;
        }
        let ask = Ask::Submit(errand.item.raw().clone(), bytes::Bytes::new());
        let (from, to) = (self.nodes.len() + number, errand.node);
        self.send(from, to, Message::Ask(number as u64, ask));
        let patience = PATIENCE_MS + self.rng.random_range(0..PATIENCE_MS);
        self.at(self.time + patience, Event::Errand { number });
    }

    /// A client hears an answer.
    fn hear(&mut self, message: &Message) {
        let Message::Answer(number, answer) = message else { return };
        if workload::is_wrong(answer) {
            self.checker.violation(format!("a good item was called invalid: {answer:?}"));
        }
        let reading = (*number as usize).checked_sub(self.errands.len()).and_then(|at| self.readings.get(at));
        if let (Some(reading), Answer::Head(Some(head))) = (reading, answer) {
            self.checker.read(reading.process, head.slot, clock(reading.at, reading.node, self.skew_ms));
        }
        if workload::ends(answer)
            && let Some(errand) = self.errands.get_mut(*number as usize)
        {
            errand.answered = true;
        }
    }

    fn report(mut self) -> Report {
        let (carried, violations) = audit(self.town, &self.nodes, self.mutation);
        violations.into_iter().for_each(|what| self.checker.violation(what));
        let rows = |node: &Node, process| node.disk.rows.slots.get(process).map_or(0, |slots| slots.len());
        let slots = self.town.processes.iter().map(|(id, (_, at))| rows(&self.nodes[*at], id)).sum();
        let pushes = self.nodes.iter().map(|node| node.disk.rows.outbox.len()).max().unwrap_or_default();
        let (marks, ticks) = super::checker::count_marks_and_ticks(self.town, &self.nodes);
        let all: BTreeSet<Id> = self.nodes.iter().flat_map(|node| node.hosted(self.town)).collect();
        let (lost, regained) = self.lost.map_or((0, 0), |(process, from, had)| {
            let node = self.town.scheduler(&process).map(|at| &self.nodes[at]);
            let head = node.and_then(|node| node.disk.rows.head(&process));
            let now = head.map_or(0, |head| head.assignment().slot + 1);
            (had - from, now.saturating_sub(had))
        });
        let delayed: usize = self.nodes.iter().map(|node| node.delayed).sum();
        if delayed > 0 {
            self.checker.acts.insert(Vice::Delays, delayed);
        }
        Report {
            lost,
            regained,
            children: all.len() - self.town.processes.len(),
            marks,
            ticks,
            evals: super::checker::count_evals(self.town, &self.nodes),
            violations: self.checker.violations,
            slots,
            pushes,
            lie: self.town.liar.map(|liar| liar.lie),
            convicting: self.nodes.iter().filter(|node| !node.disk.rows.evidence.is_empty()).count(),
            judging: self.nodes.iter().filter(|node| !node.roles.judged.is_empty()).count(),
            crashes: self.nodes.iter().map(|node| node.life).sum(),
            broken_off: self.nodes.iter().map(|node| node.broken_off).sum(),
            carried,
            acts: self.checker.acts,
            refused: self.checker.refused,
            duplicates: self.checker.duplicates,
            ended_ms: self.time,
        }
    }
}
