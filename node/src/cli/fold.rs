//! Breaking lines at the edge of a terminal, which clap does with a crate that nothing else here needs.

use console::{Term, measure_text_width, strip_ansi_codes};

/// Columns of a line for people at most, and where nobody says how wide a terminal is: longer ones are hard to read.
const COLUMNS_MAX: usize = 100;
/// And at least: below it lines break at every word.
const COLUMNS_MIN: usize = 40;
/// How much further in a line goes on that has no room below its text.
const FURTHER: usize = 4;

/// How many columns a line for people may have.
pub(crate) fn columns() -> usize {
    let told = Term::stdout().size_checked();
    told.map_or(COLUMNS_MAX, |(_, columns)| usize::from(columns).clamp(COLUMNS_MIN, COLUMNS_MAX))
}

/// Breaks the lines that have more columns, at their spaces. What goes on stands below the text that it belongs to:
/// that of a list begins behind two spaces. Colours take no room.
pub(crate) fn folded(text: &str, columns: usize) -> String {
    let lines: Vec<String> = text.split('\n').map(|line| folded_line(line, columns)).collect();
    lines.join("\n")
}

fn folded_line(line: &str, columns: usize) -> String {
    if measure_text_width(line) <= columns {
        return line.to_owned();
    }
    let column = text_column(&strip_ansi_codes(line), columns);
    let (mut out, mut at) = (String::with_capacity(line.len() + column), 0);
    for (number, word) in line.split(' ').enumerate() {
        let width = measure_text_width(word);
        // What stands before the text, spaces included, stays whole.
        if at > column && width > 0 && at + 1 + width > columns {
            out.push('\n');
            out.push_str(&" ".repeat(column));
            at = column;
        } else if number > 0 {
            out.push(' ');
            at += 1;
        }
        out.push_str(word);
        at += width;
    }
    out
}

/// Where the text of a line begins.
fn text_column(line: &str, columns: usize) -> usize {
    let margin = line.len() - line.trim_start_matches(' ').len();
    let listed = line[margin..].find("  ").map(|end| {
        let rest = &line[margin + end..];
        line.len() - rest.trim_start_matches(' ').len()
    });
    match listed {
        Some(column) if column <= columns / 2 => column,
        Some(_) => margin + FURTHER,
        None => margin,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_line_goes_on_below_its_text() {
        let list = "  up     runs a node until it is told to stop\n  key    a key";
        assert_eq!(
            folded(list, 24),
            "  up     runs a node\n         until it is\n         told to stop\n  key    a key"
        );
        assert_eq!(folded("    one two three", 10), "    one\n    two\n    three");
        assert_eq!(folded("short\n\nshort", 10), "short\n\nshort");
        // A word that is too long stays whole, and so does what has no room beside it.
        assert_eq!(folded("a https://arweave.net b", 10), "a\nhttps://arweave.net\nb");
        assert_eq!(
            folded("  --anchor-day-limit <N>  winston a day", 20),
            "  --anchor-day-limit\n      <N>  winston a\n      day"
        );
    }

    #[test]
    fn colours_take_no_room() {
        let line = "  \x1b[1mup\x1b[0m  runs a node for you";
        assert_eq!(folded(line, 20), "  \x1b[1mup\x1b[0m  runs a node\n      for you");
        assert_eq!(folded(line, 27), line);
    }
}
