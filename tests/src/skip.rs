//! Tests that cannot run on a machine, and say so.

use std::fs::OpenOptions;
use std::io::Write as _;

/// The variable that names the file in which `tests/run` gathers what was skipped.
const LIST: &str = "WEFT_SKIPS";

/// Notes that a test was skipped and why: in the file that `tests/run` reads and prints, and on
/// standard error past the test runner, which hides what passing tests print.
///
/// # Errors
/// A list that cannot be written: the skip must not pass for a success then.
pub fn skip(test: &str, reason: &str) -> std::io::Result<()> {
    let mut stderr = std::io::stderr();
    writeln!(stderr, "SKIPPED {test}: {reason}")?;
    let Some(list) = std::env::var_os(LIST).filter(|list| !list.is_empty()) else { return Ok(()) };
    let mut list = OpenOptions::new().create(true).append(true).open(list)?;
    // One write, so that lines of tests that run side by side do not mix.
    list.write_all(format!("{test}\t{reason}\n").as_bytes())
}
