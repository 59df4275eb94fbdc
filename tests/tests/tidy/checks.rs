//! The table of the reference's conformance checks: every number stands in it once, and every test
//! and function that it names exists.

use std::fs;
use std::path::Path;

use super::{Breach, hold, root};

/// The table, below the root of the repository.
const TABLE: &str = "tests/CHECKS.md";
/// The numbers of the checks: 1 to 108, and one between.
const NUMBERS: std::ops::RangeInclusive<u32> = 1..=108;
const BETWEEN: &str = "78b";

/// How this build stands to a check.
const STANDINGS: [&str; 3] = ["same", "differs", "later"];

/// A row of the table.
struct Row<'a> {
    line: usize,
    number: &'a str,
    standing: &'a str,
    /// What is named as `path::name`.
    named: Vec<(&'a str, &'a str)>,
    /// Why it differs or who will answer, beside what is named.
    reason: bool,
}

/// The rows of the table: lines whose first cell is the number of a check.
fn rows(text: &str) -> Vec<Row<'_>> {
    let lines = text.lines().enumerate();
    lines
        .filter_map(|(at, line)| {
            let mut cells = line.strip_prefix('|')?.strip_suffix('|')?.split('|').map(str::trim);
            let number = cells.next().filter(|cell| cell.starts_with(|c: char| c.is_ascii_digit()))?;
            let (_, standing, proof) = (cells.next()?, cells.next()?, cells.next()?);
            let quoted = proof.split('`').skip(1).step_by(2);
            let named: Vec<_> = quoted.filter_map(|name| name.split_once("::")).collect();
            let reason =
                proof.split('`').step_by(2).any(|words| words.contains(' ') && words.trim().len() > 9);
            Some(Row { line: at + 1, number, standing, named, reason })
        })
        .collect()
}

/// Whether a source file has a test or a function of this name, or a test file a case of it.
pub(super) fn exists(root: &Path, path: &str, name: &str, as_test: bool) -> bool {
    let Ok(text) = fs::read_to_string(root.join(path)) else { return false };
    if !path.ends_with(".rs") {
        return [format!("'{name}'"), format!("`{name}`")].iter().any(|quoted| text.contains(quoted));
    }
    let mut is_test = false;
    for line in text.lines().map(str::trim) {
        if line.starts_with("#[test") || line.starts_with("#[tokio::test") {
            is_test = true;
        }
        let words = line.split(['(', '<']).next().unwrap_or_default();
        let Some((_, found)) = words.rsplit_once("fn ") else { continue };
        // In a `proptest!` block the attribute is the same.
        if found == name && (is_test || !as_test) {
            return true;
        }
        is_test = false;
    }
    false
}

/// What is wrong with the table.
fn breaches(root: &Path, text: &str) -> Vec<Breach> {
    let mut found = Vec::new();
    let mut add = |line: usize, what: String| {
        found.push(Breach { law: "checks", path: TABLE.to_owned(), line, what });
    };
    let rows = rows(text);
    let wanted = NUMBERS.map(|number| number.to_string()).chain([BETWEEN.to_owned()]);
    for number in wanted {
        let count = rows.iter().filter(|row| row.number == number).count();
        if count != 1 {
            add(1, format!("check {number} stands there {count} times"));
        }
    }
    for row in &rows {
        let Row { line, number, standing, named, reason } = row;
        if !STANDINGS.contains(standing) {
            add(*line, format!("check {number} is `{standing}`: expected one of {STANDINGS:?}"));
        }
        let needs_proof = matches!(*standing, "same" | "differs");
        if needs_proof && named.is_empty() {
            add(*line, format!("check {number} names no `path::test`"));
        }
        if *standing != "same" && !reason {
            add(*line, format!("check {number} gives no reason"));
        }
        for (path, name) in named.iter().filter(|(path, name)| !exists(root, path, name, needs_proof)) {
            let kind = if needs_proof { "test" } else { "function" };
            add(*line, format!("there is no {kind} `{name}` in {path}"));
        }
    }
    found
}

#[test]
fn every_check_has_its_proof() {
    let text = fs::read_to_string(root().join(TABLE)).unwrap();
    hold(&breaches(&root(), &text));
}

#[test]
fn what_a_row_lacks_is_found() {
    let good = "| 1 | a check | same | `tests/tests/tidy/checks.rs::every_check_has_its_proof` |";
    let of_rows = |row: &str| {
        let all = breaches(&root(), row);
        all.into_iter().map(|breach| breach.what).filter(|what| !what.contains(" times")).collect::<Vec<_>>()
    };
    assert_eq!(of_rows(good), [""; 0]);
    for (from, to, what) in [
        ("every_check", "no_check", "there is no test"),
        ("every_check_has_its_proof", "breaches", "there is no test `breaches`"),
        ("checks.rs", "chess.rs", "there is no test"),
        ("same", "fine", "check 1 is `fine`"),
        ("same", "differs", "gives no reason"),
        ("::", " ", "names no `path::test`"),
    ] {
        let found = of_rows(&good.replace(from, to));
        assert!(found.iter().any(|said| said.contains(what)), "{to}: {found:?}");
    }
    // A function that is no test will do for what a later issue builds on.
    let later = "| 1 | a check | later | is answered by `tests/tests/tidy/checks.rs::breaches` |";
    assert_eq!(of_rows(later), [""; 0]);
    assert_eq!(breaches(&root(), "").len(), 109, "every number is looked for");
    assert_eq!(breaches(&root(), &format!("{good}\n{good}")).len(), 109, "none stands there twice");
}
