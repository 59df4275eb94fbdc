//! The table of what hostile messengers can try: every test and every scenario that it names exists.

use std::fs;
use std::path::Path;

use super::checks::exists;
use super::{Breach, hold, root};

/// The table, below the root of the repository.
const TABLE: &str = "tests/HOSTILE.md";
/// What must stand there: the first words of rows.
const ATTACKS: [&str; 9] = [
    "withholds:",
    "delays:",
    "reorders:",
    "alters:",
    "forges:",
    "squats:",
    "claims twice,",
    "floods with offers,",
    "withholds its answer",
];

/// What is wrong with the table.
fn breaches(root: &Path, text: &str) -> Vec<Breach> {
    let mut found = Vec::new();
    let mut add = |line: usize, what: String| {
        found.push(Breach { law: "hostile", path: TABLE.to_owned(), line, what });
    };
    for attack in ATTACKS {
        if !text.lines().any(|line| line.starts_with(&format!("| {attack}"))) {
            add(1, format!("no row begins with `{attack}`"));
        }
    }
    for (at, line) in text.lines().enumerate() {
        let named: Vec<&str> = line.split('`').skip(1).step_by(2).filter(|name| name.contains('/')).collect();
        let is_row = line.starts_with("| ") && !line.starts_with("| it |");
        if is_row && named.is_empty() {
            add(at + 1, "a row that names neither a test nor a scenario".to_owned());
        }
        for name in named {
            let is_there = match name.split_once("::") {
                Some((path, test)) => exists(root, path, test, true),
                None => root.join(name).exists(),
            };
            if !is_there {
                add(at + 1, format!("there is no `{name}`"));
            }
        }
    }
    found
}

#[test]
fn every_attack_has_its_tests() {
    let text = fs::read_to_string(root().join(TABLE)).unwrap();
    hold(&breaches(&root(), &text));
}

#[test]
fn what_a_row_of_attacks_lacks_is_found() {
    let text = fs::read_to_string(root().join(TABLE)).unwrap();
    for (from, to, what) in [
        (
            "sim.rs::hard_mode_keeps_the_promises",
            "sim.rs::no_such_test",
            "there is no `tests/tests/sim.rs::no_",
        ),
        ("hostile-market-8.toml", "kind-market-8.toml", "there is no `testnet/scenarios/kind-"),
        ("| floods with offers,", "| floods,", "no row begins with `floods with offers,`"),
        ("/", "", "a row that names neither"),
    ] {
        let found = breaches(&root(), &text.replace(from, to));
        assert!(found.iter().any(|breach| breach.what.contains(what)), "{to}: {found:?}");
    }
}
