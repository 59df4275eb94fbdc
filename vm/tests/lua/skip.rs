//! Saying that a test is skipped.
#![allow(clippy::print_stderr)]

use std::fs::OpenOptions;
use std::io::Write as _;

/// Notes on standard error, past the test runner, and in the list of `tests/run` that the test at
/// hand is skipped.
pub(crate) fn note(reason: &str) {
    let thread = std::thread::current();
    let test = thread.name().unwrap_or("lua");
    std::io::stderr().write_all(format!("SKIPPED {test}: {reason}\n").as_bytes()).unwrap();
    if let Some(list) = std::env::var_os("WEFT_SKIPS").filter(|list| !list.is_empty()) {
        let mut list = OpenOptions::new().create(true).append(true).open(list).unwrap();
        list.write_all(format!("{test}\t{reason}\n").as_bytes()).unwrap();
    }
}
