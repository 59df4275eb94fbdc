//! Reading Lua as far as a console must: where a piece of it ends.

/// Whether text can be run as it stands: no block, bracket, string or comment in it is left open. What is
/// closed too often is whole: Lua says what is wrong with it.
pub(super) fn is_whole(text: &str) -> bool {
    let mut open = 0i64;
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let length = if let Some(level) = long_level(rest, "--[") {
            match long_end(rest, "--[", level) {
                Some(length) => length,
                None => return false,
            }
        } else if rest.starts_with("--") {
            rest.find('\n').unwrap_or(rest.len())
        } else if let Some(level) = long_level(rest, "[") {
            match long_end(rest, "[", level) {
                Some(length) => length,
                None => return false,
            }
        } else if first == '"' || first == '\'' {
            match quoted(rest, first) {
                Quoted::Closed(length) => length,
                // A line's end ends it for Lua too, which says so; one that is escaped goes on.
                Quoted::Broken => return true,
                Quoted::Open => return false,
            }
        } else if first.is_ascii_alphabetic() || first == '_' {
            let word = word(rest);
            open += match word {
                "function" | "do" | "if" | "repeat" => 1,
                "end" | "until" => -1,
                _ => 0,
            };
            word.len()
        } else {
            open += match first {
                '(' | '{' | '[' => 1,
                ')' | '}' | ']' => -1,
                _ => 0,
            };
            first.len_utf8()
        };
        rest = rest.get(length..).unwrap_or_default();
    }
    open <= 0
}

/// Whether there is nothing but comments to its lines, which belong to what comes after them.
pub(super) fn says_nothing(text: &str) -> bool {
    let is_comment = |line: &str| line.starts_with("--") && long_level(line, "--[").is_none();
    text.lines().map(str::trim).all(|line| line.is_empty() || is_comment(line))
}

/// The name or keyword at the start.
fn word(text: &str) -> &str {
    let end = text.find(|letter: char| !(letter.is_ascii_alphanumeric() || letter == '_'));
    text.get(..end.unwrap_or(text.len())).unwrap_or_default()
}

/// The number of `=` of a long bracket, if one opens here after `before`, which ends in its first `[`.
fn long_level(text: &str, before: &str) -> Option<usize> {
    let rest = text.strip_prefix(before)?;
    let level = rest.bytes().take_while(|byte| *byte == b'=').count();
    rest.get(level..)?.starts_with('[').then_some(level)
}

/// The length of a long string or comment that has an end.
fn long_end(text: &str, before: &str, level: usize) -> Option<usize> {
    let close = format!("]{}]", "=".repeat(level));
    let from = before.len() + level + 1;
    Some(from + text.get(from..)?.find(&close)? + close.len())
}

enum Quoted {
    /// It has so many bytes.
    Closed(usize),
    /// Its line ends before it does.
    Broken,
    /// Nothing comes behind what is there.
    Open,
}

fn quoted(text: &str, quote: char) -> Quoted {
    let mut letters = text.char_indices().skip(1);
    while let Some((at, letter)) = letters.next() {
        match letter {
            '\\' => match letters.next() {
                Some((_, 'z')) => {
                    // It passes over what is blank, line ends too.
                    let rest = text.get(at + 2..).unwrap_or_default();
                    let blank = rest.chars().take_while(char::is_ascii_whitespace).count();
                    letters.by_ref().take(blank).for_each(drop);
                }
                Some(_) => {}
                None => return Quoted::Open,
            },
            '\n' => return Quoted::Broken,
            letter if letter == quote => return Quoted::Closed(at + 1),
            _ => {}
        }
    }
    // A person who forgot the quote is told by Lua; a line that ends in `\` goes on.
    Quoted::Broken
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_piece_is_whole_when_nothing_is_open() {
        for whole in [
            "",
            "1 + 1",
            "function f() return 1 end",
            "for i = 1, 2 do print(i) end",
            "if a then b() elseif c then d() else e() end",
            "repeat x() until y",
            "while true do break end",
            "t = { 1, { 2 } }",
            "s = 'end' .. \"(\" -- function",
            "s = 'a\\'(' t = '\\\\'",
            "s = [[ function ( ]] .. [==[ ]] ( ]==]",
            "--[[ do ]] x = 1",
            "--[==[ do ]] ]==]",
            "t[a[1]] = 2",
            "end end",
            "s = 'no end",
            "x = dofunction_ending",
            "s = 'a\\z  \n  b'",
        ] {
            assert!(is_whole(whole), "{whole}");
        }
        assert!(says_nothing(" -- a\n\n--[ b") && !says_nothing("-- a\nb") && !says_nothing("--[[ a ]] b"));
        for open in [
            "function f()",
            "for i = 1, 2 do",
            "if a then",
            "repeat x()",
            "t = {",
            "print(",
            "s = [[ text",
            "s = [=[ ]]",
            "--[[ comment",
            "Handlers.add('x', function(msg)\n  msg.reply({})\nend",
            "s = 'a\\",
            "t = { -- }",
        ] {
            assert!(!is_whole(open), "{open}");
        }
    }
}
