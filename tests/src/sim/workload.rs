//! Clients that send items and send them again until somebody answers.

use rand::RngExt as _;
use rand::rngs::StdRng;
use weft_protocol::{DataItem, Id, Verified};

use super::network::{Answer, Refused};
use super::town::{Town, item};

/// How long a client waits for an answer, in milliseconds.
pub const PATIENCE_MS: u64 = 700;

/// One item that a client wants in a log.
#[derive(Debug)]
pub struct Errand {
    /// The log.
    pub process: Id,
    /// The node that schedules it.
    pub node: usize,
    /// The item.
    pub item: Verified<DataItem>,
    /// When it is sent first, in milliseconds from the start.
    pub at: u64,
    /// Somebody answered.
    pub answered: bool,
}

/// Draws the errands of a run: every Process item first, then messages over `span_ms`.
pub fn draw(town: &Town<'_>, messages: usize, span_ms: u64, rng: &mut StdRng) -> Vec<Errand> {
    let mut errands: Vec<Errand> = town
        .processes
        .iter()
        .map(|(&process, (accepted, node))| {
            let (item, at) = (accepted.item().clone(), rng.random_range(0..500));
            Errand { process, node: *node, item, at, answered: false }
        })
        .collect();
    let ids: Vec<Id> = town.processes.keys().copied().collect();
    for number in 0..messages {
        let process = ids[rng.random_range(0..ids.len())];
        let to = ids[rng.random_range(0..ids.len())].to_string();
        let action = ["Increment", "Relay", "Relay", "Fail"][rng.random_range(0..4)];
        let tags = [("Data-Protocol", "ao"), ("Type", "Message"), ("Action", action), ("To", &to)];
        let item = item(&town.user, Some(process), 10_000 + number as u64, &tags);
        let node = town.scheduler(&process).unwrap_or_default();
        let at = rng.random_range(0..span_ms);
        errands.push(Errand { process, node, item, at, answered: false });
    }
    errands
}

/// A reader who wants a log as of now.
#[derive(Debug)]
pub struct Reading {
    /// The log.
    pub process: Id,
    /// The node that schedules it.
    pub node: usize,
    /// When it is asked for, in milliseconds from the start.
    pub at: u64,
}

/// Draws the readings of a run.
pub fn draw_readings(town: &Town<'_>, count: usize, span_ms: u64, rng: &mut StdRng) -> Vec<Reading> {
    let schedulers: Vec<(Id, usize)> = town.processes.iter().map(|(id, (_, node))| (*id, *node)).collect();
    let mut draw = || {
        let (process, node) = schedulers[rng.random_range(0..schedulers.len())];
        Reading { process, node, at: rng.random_range(0..span_ms) }
    };
    (0..count).map(|_| draw()).collect()
}

/// Whether an answer ends an errand; refusals are met by sending again.
pub const fn ends(answer: &Answer) -> bool {
    matches!(answer, Answer::Submit(Ok(_)))
}

/// Whether an answer can only be a mistake of a node.
pub const fn is_wrong(answer: &Answer) -> bool {
    matches!(answer, Answer::Submit(Err(Refused::Invalid(_))))
}
