//! The ends of the nodes' logs, made harmless for a terminal.

use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::Path;

/// Lines at the end of a log that an error shows.
const TAIL_LINES: usize = 20;
/// Bytes of a line, about: so many are read for each that is shown.
const LINE_BYTES: u64 = 400;

/// The last lines of a log, as an error shows them.
pub(crate) fn tail(log: &Path) -> String {
    tail_of(log, TAIL_LINES)
}

/// So many of the last lines of a log.
pub(crate) fn tail_of(log: &Path, lines: usize) -> String {
    let bytes = (lines as u64).saturating_mul(LINE_BYTES);
    let read = || {
        let mut file = File::open(log)?;
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(bytes)))?;
        let mut text = Vec::new();
        file.take(bytes).read_to_end(&mut text)?;
        Ok::<_, std::io::Error>(text)
    };
    match read() {
        Ok(bytes) => last_lines(&String::from_utf8_lossy(&bytes), lines),
        Err(error) => format!("  (it cannot be read: {error})"),
    }
}

fn last_lines(text: &str, count: usize) -> String {
    let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    if lines.is_empty() {
        return "  (it is empty)".to_owned();
    }
    let last = &lines[lines.len().saturating_sub(count)..];
    let harmless = |line: &str| line.chars().filter(|c| !c.is_control()).collect::<String>();
    last.iter().map(|line| format!("  {}", harmless(line))).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_log_is_its_last_lines() {
        let long: String = (0..100).map(|n| format!("line {n}\n\n")).collect();
        let tail = last_lines(&long, TAIL_LINES);
        assert_eq!(tail.lines().count(), TAIL_LINES);
        assert!(tail.starts_with("  line 80\n") && tail.ends_with("  line 99"), "{tail}");
        assert_eq!(last_lines("a\x1b[2Jb", 1), "  a[2Jb");
        assert_eq!(last_lines("\n", 1), "  (it is empty)");
    }
}
