//! The laws of this repository that a machine can check, as tests.
//!
//! A law is a function from a source file to its breaches; every law is shown, beside it, to
//! find what it forbids. One place may be excused by a comment `tidy-allow(LAW): REASON` on it
//! or just above it; an excuse that excuses nothing is itself a breach.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod checks;
mod crates;
mod docs;
mod edge;
mod files;
mod hostile;
mod laws;
mod source;

use source::Source;
use std::path::{Path, PathBuf};

/// Something that a law forbids, and where it stands.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Breach {
    /// The law.
    pub(crate) law: &'static str,
    /// The path below the root of the repository.
    pub(crate) path: String,
    /// The line, counted from one.
    pub(crate) line: usize,
    /// What stands there, and what to do about it.
    pub(crate) what: String,
}

impl std::fmt::Display for Breach {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}: {}: {}", self.path, self.line, self.law, self.what)
    }
}

/// The root of the repository.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// Fails the test with every breach on a line of its own.
pub(crate) fn hold(breaches: &[Breach]) {
    let list: Vec<String> = breaches.iter().map(Breach::to_string).collect();
    assert!(list.is_empty(), "{} breaches of the repository's laws:\n{}", list.len(), list.join("\n"));
}

#[test]
fn every_source_file_keeps_the_laws() {
    let sources = files::sources(&root());
    assert!(sources.iter().any(|source| source.path == "protocol/src/lib.rs"), "the sources were not found");
    let breaches: Vec<Breach> = sources.iter().flat_map(laws::check).collect();
    hold(&breaches);
}

#[test]
fn no_excuse_is_left_over() {
    let stale: Vec<Breach> = files::sources(&root()).iter().flat_map(laws::unused_allows).collect();
    hold(&stale);
}

#[test]
fn no_list_entry_is_left_over() {
    let sources = files::sources(&root());
    for (path, _) in files::LONG_FILES {
        let source = sources.iter().find(|source| source.path == *path);
        let lines = source.map_or(0, |source| source.text.lines().count());
        assert!(lines > files::LINES_SOFT_MAX, "{path} has {lines} lines: take it off LONG_FILES");
    }
}

/// Checks a snippet as if it stood at `path`; the names of the laws it breaks.
#[cfg(test)]
fn broken(path: &str, text: &str) -> Vec<&'static str> {
    let source = if path.ends_with(".rs") { Source::rust(path, text) } else { Source::plain(path, text) };
    laws::check(&source).into_iter().map(|breach| breach.law).collect()
}
