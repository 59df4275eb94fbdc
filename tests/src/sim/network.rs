//! A virtual network: what travels, and what becomes of it on the way.

use std::collections::BTreeSet;

use bytes::Bytes;
use rand::RngExt as _;
use rand::rngs::StdRng;
use weft_protocol::{Id, Position, wire};

/// What travels between nodes, and between clients and nodes.
#[derive(Debug, Clone)]
pub enum Message {
    /// Gossip: a slot.
    Slot(wire::SlotRecord),
    /// Gossip: what an attestor signed.
    Attestation(wire::Attestation),
    /// Gossip: an offer to carry, for every process.
    Offer(wire::Offer),
    /// Gossip: a receipt for a push of this process.
    Receipt(Id, wire::Receipt),
    /// Gossip: what convicts a key in this process.
    Evidence(Id, Box<wire::Evidence>),
    /// A request with its number.
    Ask(u64, Ask),
    /// The answer to a request.
    Answer(u64, Answer),
}

/// A request.
#[derive(Debug, Clone)]
pub enum Ask {
    /// The newest slot of a log.
    Head(Id),
    /// Slots of a log.
    Range(Id, u64, u64),
    /// What is signed of a position.
    Attestations(Id, Position),
    /// The newest slot of a log, after time passed in it.
    Now(Id),
    /// A slot for this item, which names this proof.
    Submit(Bytes, Bytes),
}

/// An answer.
#[derive(Debug, Clone)]
pub enum Answer {
    /// The newest slot, if there is one.
    Head(Option<wire::Head>),
    /// Slots, as many as there are.
    Range(Vec<wire::SlotRecord>),
    /// Attestations.
    Attestations(Vec<wire::Attestation>),
    /// The slot, or why there is none.
    Submit(Result<Assigned, Refused>),
}

/// A slot that an item has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Assigned {
    /// In which log: of a spawn that has a child already, that child's.
    pub process: Id,
    /// Which.
    pub slot: u64,
    /// Its assignment.
    pub assignment: Id,
    /// The raw assignment.
    pub signed: Bytes,
}

/// Why an item has no slot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refused {
    /// Come back after so many milliseconds.
    Busy(u64),
    /// It can never have one.
    Invalid(String),
    /// Not here, or not now.
    Unknown(String),
}

/// How likely things go wrong, each between 0 and 1.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Faults {
    /// A message is lost.
    pub loss: f64,
    /// A message comes twice.
    pub twice: f64,
    /// The longest delay of a message, in milliseconds; delays differ, so messages overtake.
    pub delay_ms: u64,
    /// A node stops before an effect.
    pub crash: f64,
    /// A write fails.
    pub disk: f64,
    /// The weave does not answer, or drops a batch.
    pub weave: f64,
    /// The network splits, each second.
    pub split: f64,
    /// Hosts fail in the midst of runs: counted, not drawn.
    pub host: bool,
}

impl Faults {
    /// Nothing goes wrong.
    pub const NONE: Self = Self {
        loss: 0.0,
        twice: 0.0,
        delay_ms: 20,
        crash: 0.0,
        disk: 0.0,
        weave: 0.0,
        split: 0.0,
        host: false,
    };

    /// A mix of its own for each seed: sometimes calm, sometimes rough.
    pub fn draw(rng: &mut StdRng) -> Self {
        let mut pick = |choices: [f64; 4]| choices[rng.random_range(0..choices.len())];
        Self {
            loss: pick([0.0, 0.05, 0.2, 0.5]),
            twice: pick([0.0, 0.05, 0.1, 0.3]),
            delay_ms: pick([5.0, 50.0, 300.0, 1_500.0]) as u64,
            crash: pick([0.0, 0.002, 0.006, 0.02]),
            disk: pick([0.0, 0.01, 0.05, 0.15]),
            weave: pick([0.0, 0.1, 0.2, 0.5]),
            split: pick([0.0, 0.0, 0.05, 0.2]),
            host: false,
        }
    }
}

/// Who can reach whom.
#[derive(Debug, Default)]
pub struct Network {
    /// The nodes on one side of the split; empty when there is none.
    cut_off: BTreeSet<usize>,
}

impl Network {
    /// Splits the network so that each node is on a side of its own draw.
    pub fn split(&mut self, nodes: usize, rng: &mut StdRng) {
        self.cut_off = (0..nodes).filter(|_| rng.random_bool(0.5)).collect();
    }

    /// Joins the sides.
    pub fn heal(&mut self) {
        self.cut_off.clear();
    }

    /// When a message sent now arrives, after so many milliseconds: never, once or twice.
    pub fn arrivals(&self, from: usize, to: usize, faults: &Faults, rng: &mut StdRng) -> Vec<u64> {
        let is_cut = self.cut_off.contains(&from) != self.cut_off.contains(&to);
        if is_cut || rng.random_bool(faults.loss) {
            return Vec::new();
        }
        let times = if rng.random_bool(faults.twice) { 2 } else { 1 };
        (0..times).map(|_| rng.random_range(1..=faults.delay_ms)).collect()
    }
}
