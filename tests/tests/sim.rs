//! Seeds through the simulator. A failure prints the one line that repeats it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

/// The story of the tests of the rules: keys, processes, logs and pushes.
#[allow(dead_code, reason = "those tests use more of it")]
#[path = "../../protocol/tests/between/fixture.rs"]
mod fixture;
/// The rules of the built-in ledger, as it runs them.
#[allow(dead_code, reason = "its shell is the node's")]
#[path = "../../vm/guests/ledger/src/lib.rs"]
mod guest;
#[path = "sim/seasons.rs"]
mod seasons;

use std::collections::BTreeMap;
use std::sync::Arc;

use weft_protocol::outcome::{Code, Outcome};
use weft_protocol::record::to_wire;
use weft_tests::full::is_full;
use weft_tests::lone::next_slot;
use weft_tests::sim::audit::Carried;
use weft_tests::sim::disk::Rows;
use weft_tests::sim::guest::Live;
use weft_tests::sim::hard::PRICE;
use weft_tests::sim::town::{NETWORK, Town, item};
use weft_tests::sim::workload::pieces;
use weft_tests::sim::{Guest, Lie, Mutation, Report, Settings, Vice, run};

/// Seeds in the ordinary run.
const SEEDS: u64 = 40;
/// Seeds when `WEFT_FULL=1`.
const SEEDS_FULL: u64 = 1_000;
/// Seeds in which processes are Lua's, in the ordinary run and when `WEFT_FULL=1`.
const SEEDS_LUA: (u64, u64) = (6, 150);
/// Seeds among which liars are looked for.
const SEEDS_LIARS: u64 = 64;
/// Seeds in which clocks are far apart.
const SEEDS_CLOCKS: u64 = 8;
/// Seeds in which hosts fail in the midst of runs.
const SEEDS_HOSTS: u64 = 12;
/// Seeds in which a scheduler loses the end of its log.
const SEEDS_LOSS: u64 = 12;
/// Seeds with a process in hard mode, in the ordinary run and when `WEFT_FULL=1`.
const SEEDS_HARD: (u64, u64) = (18, 288);
/// Seeds in which a broken harness must be found out.
const SEEDS_MUTANT: u64 = 40;

fn play(guest: &Guest, seed: u64) -> Report {
    run(guest, Settings::of(seed))
}

fn complain(seed: u64, report: &Report) -> String {
    let what = report.violations.join("\n  ");
    format!("WEFT_SEED={seed} cargo test -p weft-tests --test sim one_seed\n  {what}")
}

#[test]
fn every_seed_keeps_the_promises() {
    let full = is_full();
    let guest = Guest::new();
    let (mut failed, mut slots, mut pushes, mut crashes) = (Vec::new(), 0, 0, 0);
    let (mut marks, mut ticks, mut children) = (0, 0, 0);
    for seed in 0..if full { SEEDS_FULL } else { SEEDS } {
        let report = play(&guest, seed);
        slots += report.slots;
        pushes += report.pushes;
        crashes += report.crashes;
        marks += report.marks;
        ticks += report.ticks;
        children += report.children;
        if !report.violations.is_empty() {
            failed.push(complain(seed, &report));
        }
    }
    assert!(failed.is_empty(), "{} seeds failed:\n{}", failed.len(), failed.join("\n"));
    // A simulator in which nothing happens proves nothing.
    assert!(slots > 500 && pushes > 100 && crashes > 50, "{slots} slots, {pushes} pushes, {crashes} crashes");
    assert!(marks > 100 && ticks > 200, "{marks} marks, {ticks} ticks");
    assert!(children > 50, "{children} children");
}

#[test]
fn one_seed() {
    let seed = std::env::var("WEFT_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(7);
    let guest =
        if std::env::var("WEFT_GUEST").is_ok_and(|name| name == "lua") { Guest::lua() } else { Guest::new() };
    let is = |name| std::env::var(name).is_ok_and(|value| value == "1");
    let skew_ms = std::env::var("WEFT_SKEW_MS").ok().and_then(|skew| skew.parse().ok());
    let plain = Settings::of(seed);
    let settings = Settings {
        skew_ms: skew_ms.unwrap_or(plain.skew_ms),
        loses: is("WEFT_LOSES"),
        hosts_fail: is("WEFT_HOSTS_FAIL"),
        hard: is("WEFT_HARD"),
        ..plain
    };
    let report = run(&guest, settings);
    assert!(report.violations.is_empty(), "{}\n{report:?}", complain(seed, &report));
}

/// Programs that are drawn from pieces: time, chance and the order of tables are the same on every node of a Lua
/// process, and in every replay.
#[test]
fn lua_processes_keep_the_promises() {
    let full = is_full();
    let guest = Guest::lua();
    let (mut slots, mut pushes, mut crashes, mut children, mut evals) = (0, 0, 0, 0, 0);
    for seed in 0..if full { SEEDS_LUA.1 } else { SEEDS_LUA.0 } {
        let report = play(&guest, seed);
        assert!(report.violations.is_empty(), "WEFT_GUEST=lua {}", complain(seed, &report));
        slots += report.slots;
        pushes += report.pushes;
        crashes += report.crashes;
        children += report.children;
        evals += report.evals;
    }
    assert!(
        slots > 75 && pushes > 15 && crashes > 7 && children > 7 && evals > 10,
        "{slots} slots, {pushes} pushes, {crashes} crashes, {children} children, {evals} programs"
    );
}

/// What a message of the owner's comes to that a Lua process runs after it booted.
fn evaluated(town: &Town<'_>, code: &str) -> Vec<Outcome> {
    let (process, scheduler) = town.processes.values().next().unwrap();
    let mut live = Live::load(Arc::clone(process), town, &Rows::default()).unwrap();
    let tags = [("Data-Protocol", "ao"), ("Type", "Message"), ("Action", "Eval")];
    let message = item(&town.user, Some(process.id()), 1, &tags, code);
    let (mut end, mut outcomes) = (None, Vec::new());
    for item in [process.item(), &message] {
        let draft = next_slot(NETWORK, process.id(), end, 1, item).draft();
        let assignment = draft.sign(&town.keys[*scheduler]).unwrap();
        let record = town.verify(&to_wire(&assignment, item, None)).unwrap();
        end = Some(record.link());
        outcomes.extend(live.run_slot(&record).into_iter().map(|closed| closed.outcome));
    }
    outcomes
}

/// A piece that fails would take those that it stands beside with it.
#[test]
fn every_piece_of_the_lua_programs_does_what_it_is_there_for() {
    let guest = Guest::lua();
    let town = Town::new(&guest, 3, None);
    for piece in pieces() {
        let outcomes = evaluated(&town, piece);
        assert!(outcomes.len() == 2 && outcomes[0].code == Code::Ok, "{outcomes:?}");
        let fails = piece.contains("on purpose");
        let error = &outcomes[1].error;
        assert_eq!(outcomes[1].code != Code::Ok, fails, "{piece}: {error}");
        assert_eq!(error.contains("on purpose"), fails, "{piece}: {error}");
    }
}

#[test]
fn who_signs_twice_is_convicted_and_nobody_else() {
    let guest = Guest::new();
    let seeds = 0..SEEDS_LIARS;
    for lie in [Lie::Outcomes, Lie::Slots] {
        let reports: Vec<Report> =
            seeds.clone().map(|seed| play(&guest, seed)).filter(|report| report.lie == Some(lie)).collect();
        let proven = reports.iter().filter(|report| report.convicting > 1).count();
        // Under loss and crashes not every lie comes out before all else is well.
        assert!(proven * 3 > reports.len(), "{lie:?}: proven in {proven} of {} runs", reports.len());
        // Whoever has two attestors contradict each other finds out by a replay which of them was wrong.
        let judged = reports.iter().filter(|report| report.judging > 0).count();
        assert_eq!(lie == Lie::Outcomes, judged * 2 > reports.len(), "{lie:?}: judged in {judged}");
    }
}

/// Ticks come from the log alone: nodes whose clocks are seconds apart run the same ones, in the
/// same order, and wait for slots that are ahead of their own clock.
#[test]
fn clocks_that_are_seconds_apart_change_nothing() {
    let guest = Guest::new();
    let full = is_full();
    let mut ticks = 0;
    for seed in 0..if full { 20 * SEEDS_CLOCKS } else { SEEDS_CLOCKS } {
        // From a little to more than the ten seconds that a peer forwards ahead of its clock.
        let skew_ms = 500 + 700 * (seed % 8);
        let report = run(&guest, Settings { skew_ms, ..Settings::of(seed) });
        assert!(report.violations.is_empty(), "WEFT_SKEW_MS={skew_ms} {}", complain(seed, &report));
        ticks += report.ticks;
    }
    assert!(ticks > 20, "{ticks} ticks");
}

/// Runs that a host breaks off, before or after some of their slots, lose nothing and go on where they were.
#[test]
fn hosts_that_fail_in_the_midst_of_runs_keep_the_promises() {
    let guest = Guest::new();
    let mut broken_off = 0;
    for seed in 0..if is_full() { 20 * SEEDS_HOSTS } else { SEEDS_HOSTS } {
        let report = run(&guest, Settings { hosts_fail: true, ..Settings::of(seed) });
        assert!(report.violations.is_empty(), "WEFT_HOSTS_FAIL=1 {}", complain(seed, &report));
        broken_off += report.broken_off;
    }
    assert!(broken_off > 2 * SEEDS_HOSTS as usize, "{broken_off} runs broken off");
}

/// A scheduler whose store lost the end of its log signs nothing there until it has it again, whether
/// it knows how much that was or has to ask all who compute the process; then it goes on.
#[test]
fn a_scheduler_that_lost_the_end_of_its_log_signs_no_slot_twice() {
    let guest = Guest::new();
    let full = is_full();
    let (mut lost, mut regained) = (0, 0);
    for seed in 0..if full { 10 * SEEDS_LOSS } else { SEEDS_LOSS } {
        let report = run(&guest, Settings { loses: true, ..Settings::of(seed) });
        assert!(report.violations.is_empty(), "WEFT_LOSES=1 {}", complain(seed, &report));
        assert!(report.lost > 0, "seed {seed} lost nothing");
        (lost, regained) = (lost + report.lost, regained + report.regained);
    }
    // It came back into service.
    assert!(regained > 2 * SEEDS_LOSS, "{lost} slots lost, {regained} signed after");
}

#[test]
fn a_lost_end_without_caution_is_found_out() {
    let guest = Guest::new();
    let found = (0..SEEDS_MUTANT).any(|seed| {
        let mutation = Mutation::ForgetCaution;
        let report = run(&guest, Settings { mutation, loses: true, ..Settings::of(seed) });
        report.violations.iter().any(|what| what.contains("left as") || what.contains("signed oddly"))
    });
    assert!(found, "no seed of {SEEDS_MUTANT} noticed it");
}

/// The settings of a seed with a process in hard mode.
const fn hard(seed: u64, mutation: Mutation) -> Settings {
    Settings { mutation, hard: true, ..Settings::of(seed) }
}

/// A process in hard mode, whose log comes to its first window: its scheduler and all messengers crash, miss each other's offers
/// and lose messages, and two of them mean harm, each seed in other ways. Every push has one place, as it was sent; who
/// keeps to its turn is paid, who does not is paid where it was its turn, and an honest one keeps the order of what
/// was sent.
#[test]
fn hard_mode_keeps_the_promises() {
    let guest = Guest::new();
    let full = is_full();
    let (mut all, mut acts, mut refused, mut duplicates) = (Carried::default(), BTreeMap::new(), 0, 0);
    for seed in 0..if full { SEEDS_HARD.1 } else { SEEDS_HARD.0 } {
        let report = run(&guest, hard(seed, Mutation::None));
        assert!(report.violations.is_empty(), "WEFT_HARD=1 {}", complain(seed, &report));
        let carried = report.carried;
        assert_eq!(carried.due, carried.paid as u64 * PRICE);
        all.ranked += carried.ranked;
        all.paid += carried.paid;
        all.taken_over += carried.taken_over;
        all.early += carried.early;
        all.strangers += carried.strangers;
        all.reordered += carried.reordered;
        all.crowd = all.crowd.max(carried.crowd);
        for (vice, count) in report.acts {
            *acts.entry(vice).or_insert(0) += count;
        }
        refused += report.refused;
        duplicates += report.duplicates;
    }
    // A market in which nobody does harm, and nobody is stopped, proves nothing.
    let what = format!("{all:?}, {acts:?}, {refused} refused, {duplicates} duplicates");
    assert!(Vice::ALL.iter().all(|vice| acts.contains_key(vice)), "{what}");
    assert!(all.ranked > 150 && all.paid > 50 && all.taken_over > 0 && all.early > 2, "{what}");
    assert!(all.strangers > 0 && all.reordered > 0 && all.crowd > 8, "{what}");
    assert!(refused > 2 && duplicates > 10, "{what}");
}

/// The checker must be able to fail here too: with each defence off it sees what comes in by that.
#[test]
fn hard_mode_without_a_defence_is_found_out() {
    let guest = Guest::new();
    for (mutation, signs) in [
        (Mutation::ForgetSeen, &["a push stands twice"][..]),
        (Mutation::TakeUnproven, &["a bad slot", "to a false push"]),
        (Mutation::NobodyWaits, &["and was early"]),
        (Mutation::OwnViews, &["and was early"]),
        (Mutation::PayEarly, &["is paid before"]),
        (Mutation::NoOrder, &["out of order"]),
    ] {
        let found = (0..SEEDS_MUTANT).any(|seed| {
            let report = run(&guest, hard(seed, mutation));
            report.violations.iter().any(|what| signs.iter().any(|sign| what.contains(sign)))
        });
        assert!(found, "no seed of {SEEDS_MUTANT} noticed {mutation:?}");
    }
}

/// Seeds that once found a mistake in a machine.
#[test]
fn old_mistakes_stay_mended() {
    let guest = Guest::new();
    // A confirmed batch was not recorded, and after a restart a batch overlapped the next one.
    let batches = [66, 210, 622, 800, 910, 977];
    // Two followers one slot behind asked each other, and the scheduler, which had failed them
    // often, never.
    let sources = [850];
    for seed in batches.into_iter().chain(sources) {
        let report = play(&guest, seed);
        assert!(report.violations.is_empty(), "{}", complain(seed, &report));
    }
}

#[test]
fn a_seed_always_gives_the_same_run() {
    let guest = Guest::new();
    for seed in [3, 11] {
        assert_eq!(play(&guest, seed), play(&guest, seed));
    }
}

/// The checker must be able to fail: breaks a rule in the harness and looks for what is noticed.
fn is_found_out(mutation: Mutation, signs: &[&str]) {
    let guest = Guest::new();
    let found = (0..SEEDS_MUTANT).any(|seed| {
        let report = run(&guest, Settings { mutation, ..Settings::of(seed) });
        report.violations.iter().any(|what| signs.iter().any(|sign| what.contains(sign)))
    });
    assert!(found, "no seed of {SEEDS_MUTANT} noticed {mutation:?}");
}

#[test]
fn answering_before_the_disk_is_found_out() {
    is_found_out(Mutation::AnswerEarly, &["left as", "was not kept"]);
}

#[test]
fn forgetting_what_was_seen_is_found_out() {
    is_found_out(Mutation::ForgetSeen, &["stands twice"]);
}

#[test]
fn time_that_does_not_pass_is_found_out() {
    is_found_out(Mutation::ForgetCrons, &["though ticks were due"]);
}

#[test]
fn two_children_of_one_spawn_are_found_out() {
    is_found_out(Mutation::ForgetSpawns, &["has 2 children", "has 3 children"]);
}
