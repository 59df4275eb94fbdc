//! Clients that send items and send them again until somebody answers.

use rand::RngExt as _;
use rand::rngs::StdRng;
use weft_protocol::{DataItem, Id, Verified};

use super::network::{Answer, Refused};
use super::town::{ATTESTORS, NOTHING, QUORUM, Town, item};

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
        let actions = town.guest.actions;
        let action = actions[rng.random_range(0..actions.len())];
        let data = if action == "Eval" { code(rng) } else { NOTHING.to_owned() };
        let mut tags = vec![("Data-Protocol", "ao".to_owned()), ("Type", "Message".to_owned())];
        tags.extend([("Action", action.to_owned()), ("To", to)]);
        if action == "Spawn" {
            tags.extend(wishes(town, rng));
        }
        let tags: Vec<(&str, &str)> = tags.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let item = item(&town.user, Some(process), 10_000 + number as u64, &tags, &data);
        let node = town.scheduler(&process).unwrap_or_default();
        let at = rng.random_range(0..span_ms);
        errands.push(Errand { process, node, item, at, answered: false });
    }
    errands
}

/// What programs are made of.
pub fn pieces() -> impl Iterator<Item = &'static str> {
    include_str!("evals.lua").split("\n\n").skip(1)
}

/// A program of a few pieces, which its process runs.
fn code(rng: &mut StdRng) -> String {
    let pieces: Vec<&str> = pieces().collect();
    let count = rng.random_range(1..5);
    let chosen: Vec<&str> = (0..count).map(|_| pieces[rng.random_range(0..pieces.len())]).collect();
    chosen.join("\n")
}

/// What a child is to be: who schedules and attests it, and whether it has a child at once.
fn wishes(town: &Town<'_>, rng: &mut StdRng) -> Vec<(&'static str, String)> {
    let nodes = town.keys.len();
    let name = |at: usize| town.keys[at % nodes].address().to_string();
    let mut tags = vec![("Module", town.module.id().to_string())];
    let first = rng.random_range(0..nodes);
    if rng.random_bool(0.7) {
        tags.push(("Scheduler", name(rng.random_range(0..nodes))));
    }
    if rng.random_bool(0.7) {
        let attestors: Vec<String> = (first..first + ATTESTORS).map(name).collect();
        tags.extend([("Compute", attestors.join(",")), ("Compute-Quorum", QUORUM.to_string())]);
    }
    if rng.random_bool(0.3) {
        tags.push(("Child-Action", "Spawn".to_owned()));
    }
    tags
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
