//! What is wrong with a scenario: one line, with the file, the line, and what was perhaps meant.

use std::path::{Path, PathBuf};

/// How alike two words must be for one to be meant by the other.
const ALIKE: f64 = 0.75;

/// Something in a scenario that makes no sense.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}:{line}: {what}", path.display())]
pub(crate) struct Problem {
    path: PathBuf,
    line: usize,
    what: String,
}

impl Problem {
    /// A problem at a byte of a text.
    pub(crate) fn new(path: &Path, text: &str, at: usize, what: String) -> Self {
        let before = text.as_bytes().get(..at).unwrap_or_default();
        let line = 1 + before.iter().filter(|byte| **byte == b'\n').count();
        Self { path: path.into(), line, what }
    }
}

/// What the reader of the format says, in one line, and with what was perhaps meant: it quotes what
/// stands there first and then what could.
pub(crate) fn clear(message: &str) -> String {
    let line = message.lines().map(str::trim).collect::<Vec<_>>().join(" ");
    let mut quoted = line.split('`').skip(1).step_by(2);
    let Some(given) = quoted.next().filter(|_| line.starts_with("unknown")) else { return line };
    match meant(given, quoted) {
        Some(word) => format!("{line}; did you mean `{word}`?"),
        None => line,
    }
}

/// The word that was perhaps meant.
pub(crate) fn meant<'a>(given: &str, words: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let alike = words.map(|word| (strsim::jaro_winkler(given, word), word));
    let best = alike.filter(|(alike, _)| *alike >= ALIKE).max_by(|(a, _), (b, _)| a.total_cmp(b));
    best.map(|(_, word)| word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_typo_is_told_with_what_was_meant() {
        let said = "unknown field `pers`, expected one of `about`, `peers`, `seed`";
        assert_eq!(clear(said), format!("{said}; did you mean `peers`?"));
        let far = "unknown field `zzz`, expected one of `about`, `peers`";
        assert_eq!(clear(far), far);
        assert_eq!(clear("missing field `about`"), "missing field `about`");
        assert_eq!(clear("two\n  lines"), "two lines");
    }

    #[test]
    fn a_problem_has_a_line() {
        let of = |at| Problem::new(Path::new("s.toml"), "a\nb\nc", at, "x".into()).to_string();
        assert_eq!(
            (of(0), of(2), of(99)),
            ("s.toml:1: x".into(), "s.toml:2: x".into(), "s.toml:1: x".into())
        );
    }
}
