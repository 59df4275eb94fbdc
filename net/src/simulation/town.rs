//! The machines that judge peers, find providers and know who can be reached: a town of nodes, each with all of
//! them, and three liars among them.
//!
//! The machines are the node's own, and so is the store of provider records; what is played in their place is what
//! they are told by and what they ask for: connections, gossipsub's caches and scores (by this crate's parameters),
//! Kademlia's way to a key, AutoNAT's one attempt for each address, relays. Announcements are lost, doubled and
//! overtake each other; connections stall, break, or say nothing for a minute; the network is cut in two; nodes are
//! killed and come back with what they last wrote down. Then all trouble ends, but for the liars.
//!
//! At every moment: each announcement that was handed up has one verdict, in time; no honest node shuts out
//! another but for what a connection damaged; a liar is shut out as soon as it did as much as costs that; nothing is
//! beyond its limit. At the end: nobody honest is shut out; all are connected and hear each other; who can be dialled
//! serves and who cannot has places at relays; who provides is found; and who stopped is not, when its records are
//! over.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod asking;
mod checker;
mod connections;
mod finding;
mod gossip;
mod liars;
mod node;
mod reaching;
mod trouble;
mod world;

use std::collections::BTreeMap;

use self::node::Vice;
use self::world::World;
use super::dice::seeds;
use crate::key::Key;
use crate::limits::{BAN_MS, LOBBY_RECORD_TTL, PROVIDE_REFRESH_MS, PROVIDER_TTL};

/// Nodes in a town, and who of them are liars.
const NODES: usize = 12;
const LIARS: [usize; 3] = [2, 6, 10];
/// An honest node that takes little at a time.
const SLOW_READER: usize = 4;
/// How much time passes between two ticks, while anything happens.
const STEP_MS: u64 = 1_000;
/// Of the time without trouble at the start, and spells of it after that.
const FIRST_MS: u64 = 60_000;
const SPELLS: usize = 9;
/// For so long all goes on in a town that is healed; then it waits until every ban is over and every record was
/// written again.
const DAYS_MS: u64 = 3 * 60 * 1000;
const WAIT_MS: u64 = BAN_MS + PROVIDE_REFRESH_MS;
/// How much time passes between two ticks meanwhile, and until records are over.
const SLOW_STEPS_MS: (u64, u64) = (10_000, 600_000);

/// Seeds in the ordinary run, and when `WEFT_FULL=1`.
const SEEDS: (u64, u64) = (2, 300);
/// Seeds in which a broken harness must be found out.
const SEEDS_MUTANT: u64 = 12;

/// What the harness breaks, so that the checker has something to find.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mutation {
    None,
    /// Points do not fade, and nobody is let in again.
    NeverForgives,
    /// Lies are not counted.
    LiesAreFree,
    /// Verdicts that come too late are reported all the same.
    ReportsLate,
    /// Announcements without a verdict are not ignored after a while.
    NeverIgnores,
    /// What is old counts as false.
    OldIsFalse,
    /// To connect afresh fills allowances.
    FreshAllowances,
    /// Records are not written again.
    NeverRefreshes,
    /// Records are written on when a node has stopped to provide.
    NeverStops,
    /// Records of others have no end.
    NothingEnds,
    /// Relays that went, or took their place back, count as there.
    KeepsRelays,
    /// Who could be dialled once counts as one that can.
    ServesForEver,
    /// Answers that were taken count as on their way.
    NeverEnds,
}

/// What a run came to.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
struct Report {
    violations: Vec<String>,
    /// Whether the checker said what was looked for.
    is_noticed: bool,
    verdicts: u64,
    late: u64,
    answered: u64,
    refused: u64,
    relayed: u64,
    shut_out: BTreeMap<Vice, u64>,
    mistaken: u64,
    runs: u64,
    found: u64,
}

fn play(seed: u64) -> Report {
    play_until(seed, Mutation::None, None)
}

/// Plays a town, to the end or until the checker says this.
fn play_until(seed: u64, mutation: Mutation, sign: Option<&'static str>) -> Report {
    let mut world = World::new(seed, mutation, sign);
    world.run(FIRST_MS, STEP_MS);
    let mut found = world.check_found(&[]);
    for _ in 0..SPELLS {
        world.trouble();
    }
    world.heal();
    world.run(DAYS_MS, STEP_MS);
    world.bustle = 0;
    world.run(WAIT_MS, SLOW_STEPS_MS.0);
    world.check_healed();
    found += world.check_found(&[]);
    world.liars_rest = true;
    world.check_gossip();
    let stopped = world.stop_half();
    let soon: Vec<_> = stopped.iter().copied().filter(|(_, key)| matches!(key, Key::Lobby(_))).collect();
    world.run(LOBBY_RECORD_TTL.as_millis() as u64 + PROVIDE_REFRESH_MS, SLOW_STEPS_MS.1);
    found += world.check_found(&soon);
    world.run((PROVIDER_TTL - LOBBY_RECORD_TTL).as_millis() as u64, SLOW_STEPS_MS.1);
    found += world.check_found(&stopped);
    let runs = world.nodes.iter().map(|node| node.runs).sum();
    let checker = world.checker;
    Report {
        violations: checker.violations,
        is_noticed: checker.is_noticed,
        verdicts: checker.verdicts,
        late: checker.late,
        answered: checker.answered,
        refused: checker.refused,
        relayed: checker.relayed,
        shut_out: checker.shut_out,
        mistaken: checker.mistaken,
        runs,
        found,
    }
}

fn complain(seed: u64, report: &Report) -> String {
    let what = report.violations.join("\n  ");
    format!("WEFT_SEED={seed} cargo test -p weft-net --lib town::one_seed\n  {what}")
}

#[test]
fn every_seed_keeps_the_promises() {
    let (mut failed, mut all) = (Vec::new(), Report::default());
    let count = seeds(SEEDS.0, SEEDS.1);
    for seed in 0..count {
        let report = play(seed);
        if !report.violations.is_empty() {
            failed.push(complain(seed, &report));
        }
        all.verdicts += report.verdicts;
        all.late += report.late;
        all.answered += report.answered;
        all.refused += report.refused;
        all.relayed += report.relayed;
        all.mistaken += report.mistaken;
        all.runs += report.runs;
        all.found += report.found;
        for (vice, count) in report.shut_out {
            *all.shut_out.entry(vice).or_default() += count;
        }
    }
    assert!(failed.is_empty(), "{} seeds failed:\n{}", failed.len(), failed.join("\n"));
    // A town in which nothing happens proves nothing.
    assert!(all.verdicts > 1_000 * count && all.late > 10 * count && all.answered > 10 * count, "{all:?}");
    assert!(
        all.runs > count && all.mistaken > 0 && all.relayed > count && all.found > 500 * count,
        "{all:?}"
    );
    let shut_out = [Vice::Forges, Vice::Floods, Vice::Advertises, Vice::ReadsNothing];
    assert!(shut_out.iter().all(|vice| all.shut_out.contains_key(vice)) && all.refused > 0, "{all:?}");
}

#[test]
fn one_seed() {
    let seed = std::env::var("WEFT_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(7);
    let report = play(seed);
    assert!(report.violations.is_empty(), "{}\n{report:?}", complain(seed, &report));
}

#[test]
fn a_seed_always_gives_the_same_run() {
    assert_eq!(play(1), play(1));
}

/// The checker must be able to fail: whatever the harness breaks, it says what.
#[test]
fn a_town_without_one_of_its_rules_is_found_out() {
    for (mutation, sign) in [
        (Mutation::NeverForgives, "shuts out honest"),
        (Mutation::LiesAreFree, "who lies"),
        (Mutation::ReportsLate, "has two verdicts"),
        (Mutation::NeverIgnores, "has no verdict"),
        (Mutation::OldIsFalse, "hears nothing of honest"),
        (Mutation::FreshAllowances, "flood"),
        (Mutation::NeverRefreshes, "are not found"),
        (Mutation::NeverStops, "no longer and are found"),
        (Mutation::NothingEnds, "no longer and are found"),
        (Mutation::KeepsRelays, "believes in"),
        (Mutation::ServesForEver, "nobody reaches it"),
        (Mutation::NeverEnds, "who reads"),
    ] {
        let is_found = |seed| play_until(seed, mutation, Some(sign)).is_noticed;
        assert!((0..SEEDS_MUTANT).any(is_found), "no seed of {SEEDS_MUTANT} noticed {mutation:?}");
    }
}
