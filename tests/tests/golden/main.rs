//! The state of a process after each slot of a fixed log, as committed bytes: a change of a rule, a
//! guest or a dependency that changes a result changes these. `WEFT_BLESS=1 cargo test` writes the
//! new values, and a reviewer sees them. (The aos modules have theirs in the interop suite.)
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::fmt::Write as _;
use std::sync::Arc;

use weft_protocol::process::Process;
use weft_protocol::record::{Link, VerifiedRecord, to_wire};
use weft_protocol::{DataItem, Verified, mark};
use weft_tests::lone::next_slot;
use weft_tests::sim::Guest;
use weft_tests::sim::disk::Rows;
use weft_tests::sim::guest::Live;
use weft_tests::sim::town::{NETWORK, NOTHING, Town, item};

mod formats;

const GOLDEN: &str = include_str!("counter.txt");
/// The time from one slot to the next, in milliseconds.
const STEP_MS: u64 = 1_700;

/// The log of a process as its scheduler signs it.
struct Log<'a> {
    town: &'a Town<'a>,
    process: Arc<Process>,
    scheduler: usize,
    end: Option<Link>,
}

impl Log<'_> {
    fn assign(&mut self, item: &Verified<DataItem>) -> VerifiedRecord {
        let draft = next_slot(NETWORK, self.process.id(), self.end, STEP_MS, item);
        let assignment = draft.draft().sign(&self.town.keys[self.scheduler]).unwrap();
        let record = self.town.verify(&to_wire(&assignment, item, None)).unwrap();
        self.end = Some(record.link());
        record
    }
}

/// Counts, fails, relays, says the same twice, and lets time pass.
fn items(town: &Town<'_>, process: &Process, scheduler: usize) -> Vec<Verified<DataItem>> {
    let id = process.id();
    let other = town.processes.keys().find(|other| **other != id).unwrap().to_string();
    let message = |number, tags: &[(&str, &str)]| item(&town.user, Some(id), number, tags, NOTHING);
    let count = message(1_000, &[("Action", "Increment")]);
    let mark = mark::draft(NETWORK, id, 0, 5).sign(&town.keys[scheduler]).unwrap();
    vec![
        process.item().clone(),
        count.clone(),
        message(1_001, &[("Action", "Fail")]),
        message(1_002, &[("Action", "Relay"), ("To", &other)]),
        count,
        mark,
        message(1_003, &[("Action", "Increment"), ("From-Process", &other)]),
        message(1_004, &[("Action", "Nothing")]),
    ]
}

fn states() -> String {
    let guest = Guest::new();
    let town = Town::new(&guest, 3, None);
    let mut text = String::new();
    for (process, scheduler) in town.processes.values() {
        writeln!(text, "process {} with {} crons", process.id(), process.crons().len()).unwrap();
        let mut live = Live::load(Arc::clone(process), &town, &Rows::default()).unwrap();
        let mut log = Log { town: &town, process: Arc::clone(process), scheduler: *scheduler, end: None };
        for item in items(&town, process, *scheduler) {
            let record = log.assign(&item);
            for closed in live.run_slot(&record) {
                let (position, code) = (closed.outcome.position, closed.outcome.code.number());
                writeln!(text, "{position} code {code} running {}", closed.running.0).unwrap();
            }
            let summary = live.summary().unwrap();
            writeln!(text, "{} state {}", summary.position, summary.root()).unwrap();
        }
    }
    text
}

/// Compares with the committed text, or commits this one.
fn check(file: &str, golden: &str, found: &str) {
    if std::env::var_os("WEFT_BLESS").is_some() {
        std::fs::write(format!("{}/tests/golden/{file}", env!("CARGO_MANIFEST_DIR")), found).unwrap();
        return;
    }
    assert!(found == golden, "a result changed; this build gives\n{found}");
}

#[test]
fn a_fixed_log_has_the_committed_states() {
    check("counter.txt", GOLDEN, &states());
}
