//! Reading Lua as far as a console must: where a piece of it ends, and what it requires.

/// A part of a text. What is blank, and comments, are none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Token<'a> {
    /// A name, a number or a keyword.
    Word(&'a str),
    /// A string, without its quotes and as it was written.
    Text(&'a str),
    /// Anything else.
    Sign(char),
}

/// What the end of a text stands in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Inside {
    /// Neither a string nor a comment.
    Code,
    /// A string or comment between long brackets with so many `=`.
    Long { level: usize, is_text: bool },
    /// A string that this sign ends. It goes on in the next line when that end was escaped; behind `\z` all
    /// that is blank is passed over.
    Quoted { quote: char, is_passing: bool },
    /// A string that its line ended: Lua says what is wrong with it.
    Broken,
}

/// Reads a piece line by line, each of them once.
#[derive(Debug)]
pub(super) struct Reader {
    inside: Inside,
    /// Blocks and brackets that are open; fewer than none where too many were closed.
    open: i64,
}

impl Reader {
    pub(super) const fn new() -> Self {
        Self { inside: Inside::Code, open: 0 }
    }

    /// Reads on. A text ends where a line does.
    pub(super) fn read(&mut self, text: &str) {
        self.tokens(text, |_| {});
    }

    /// Whether what was read can be run as it stands: no block, bracket, string or comment in it is left open.
    /// What is closed too often is whole: Lua says what is wrong with it.
    pub(super) fn is_whole(&self) -> bool {
        match self.inside {
            Inside::Code => self.open <= 0,
            Inside::Broken => true,
            Inside::Long { .. } | Inside::Quoted { .. } => false,
        }
    }

    fn tokens<'a>(&mut self, text: &'a str, mut each: impl FnMut(Token<'a>)) {
        let mut rest = text;
        while !rest.is_empty() && self.inside != Inside::Broken {
            let (length, token) = self.step(rest);
            if let Some(token) = token {
                self.count(token);
                each(token);
            }
            rest = rest.get(length..).unwrap_or_default();
        }
        // A string that ends with what there is, and not in an escaped line end.
        if let Inside::Quoted { is_passing: false, .. } = self.inside
            && !text.ends_with('\n')
            && !ends_escaping(text)
        {
            self.inside = Inside::Broken;
        }
    }

    /// The bytes of what comes next, and the token that it is or that ends with it.
    fn step<'a>(&mut self, rest: &'a str) -> (usize, Option<Token<'a>>) {
        match self.inside {
            Inside::Code => {}
            Inside::Long { level, is_text } => return self.long(rest, level, is_text),
            Inside::Quoted { quote, is_passing } => return self.quoted(rest, quote, is_passing),
            Inside::Broken => return (rest.len(), None),
        }
        let Some(first) = rest.chars().next() else { return (0, None) };
        if let Some(level) = long_level(rest, "--[") {
            self.inside = Inside::Long { level, is_text: false };
            (level + 4, None)
        } else if rest.starts_with("--") {
            (rest.find('\n').unwrap_or(rest.len()), None)
        } else if let Some(level) = long_level(rest, "[") {
            self.inside = Inside::Long { level, is_text: true };
            (level + 2, None)
        } else if first == '"' || first == '\'' {
            self.inside = Inside::Quoted { quote: first, is_passing: false };
            (1, None)
        } else if first.is_ascii_alphanumeric() || first == '_' {
            let word = word(rest);
            (word.len(), Some(Token::Word(word)))
        } else {
            (first.len_utf8(), (!first.is_whitespace()).then_some(Token::Sign(first)))
        }
    }

    fn long<'a>(&mut self, rest: &'a str, level: usize, is_text: bool) -> (usize, Option<Token<'a>>) {
        let close = format!("]{}]", "=".repeat(level));
        let Some(end) = rest.find(&close) else { return (rest.len(), None) };
        self.inside = Inside::Code;
        let text = rest.get(..end).unwrap_or_default();
        (end + close.len(), is_text.then_some(Token::Text(text)))
    }

    fn quoted<'a>(&mut self, rest: &'a str, quote: char, is_passing: bool) -> (usize, Option<Token<'a>>) {
        let blank = rest.len() - rest.trim_ascii_start().len();
        if is_passing && blank == rest.len() {
            return (blank, None);
        }
        let from = if is_passing { blank } else { 0 };
        let mut letters = rest.char_indices().skip_while(|(at, _)| *at < from).peekable();
        self.inside = Inside::Quoted { quote, is_passing: false };
        while let Some((at, letter)) = letters.next() {
            match letter {
                '\\' => match letters.next() {
                    Some((at, 'z')) => {
                        self.inside = Inside::Quoted { quote, is_passing: true };
                        return (at + 1, None);
                    }
                    // One line end of two signs.
                    Some((_, '\r')) => {
                        letters.next_if(|(_, letter)| *letter == '\n');
                    }
                    _ => {}
                },
                '\n' => {
                    self.inside = Inside::Broken;
                    return (rest.len(), None);
                }
                letter if letter == quote => {
                    self.inside = Inside::Code;
                    return (at + 1, Some(Token::Text(rest.get(..at).unwrap_or_default())));
                }
                _ => {}
            }
        }
        (rest.len(), None)
    }

    fn count(&mut self, token: Token<'_>) {
        self.open += match token {
            Token::Word("function" | "do" | "if" | "repeat") | Token::Sign('(' | '{' | '[') => 1,
            Token::Word("end" | "until") | Token::Sign(')' | '}' | ']') => -1,
            _ => 0,
        };
    }
}

/// Whether text can be run as it stands.
pub(super) fn is_whole(text: &str) -> bool {
    let mut reader = Reader::new();
    reader.read(text);
    reader.is_whole()
}

/// The names that a text requires, in order: `require "x"`, `require('x')`.
pub(super) fn required(text: &str) -> Vec<&str> {
    let mut names = Vec::new();
    // The newest tokens, the last one first.
    let mut before = [Token::Sign(' '); 4];
    Reader::new().tokens(text, |token| {
        let [first, second, third, fourth] = before;
        let behind = if first == Token::Sign('(') { [second, third, fourth] } else { [first, second, third] };
        let is_required = match behind {
            // Two dots join texts.
            [Token::Word("require"), Token::Sign('.'), Token::Sign('.')] => true,
            [Token::Word("require"), Token::Sign('.' | ':'), _] => false,
            [word, ..] => word == Token::Word("require"),
        };
        if let Token::Text(name) = token
            && is_required
        {
            names.push(name);
        }
        before = [token, first, second, third];
    });
    names
}

/// Whether there is nothing but comments to its lines, which belong to what comes after them.
pub(super) fn says_nothing(text: &str) -> bool {
    let is_comment = |line: &str| line.starts_with("--") && long_level(line, "--[").is_none();
    text.lines().map(str::trim).all(|line| line.is_empty() || is_comment(line))
}

/// Whether the last sign is a `\` that no other escapes.
fn ends_escaping(text: &str) -> bool {
    text.bytes().rev().take_while(|byte| *byte == b'\\').count() % 2 == 1
}

/// The name, number or keyword at the start.
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
            "s = 'no end\n",
            "s = 'no end \\\\",
            "x = dofunction_ending",
            "s = 'a\\z  \n  b'",
            "s = 'a\\\nb'",
            "s = 'a\\\r\nb'",
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
            "s = 'a\\\n",
            "s = 'a\\\nb\\\n",
            "s = 'a\\z",
            "s = 'a\\z \n ",
            "t = { -- }",
        ] {
            assert!(!is_whole(open), "{open}");
        }
    }

    #[test]
    fn a_piece_is_read_line_by_line() {
        let text = "s = 'a\\\nb' t = [==[\n]] end\n]==] u = \"\\z\n  c\" function f()\n--[[\nend ]]\nend\n";
        let mut reader = Reader::new();
        let mut whole = Vec::new();
        for line in text.split_inclusive('\n') {
            reader.read(line);
            whole.push(reader.is_whole());
        }
        assert_eq!(whole, [false, false, false, false, false, false, false, true]);
        let lines: Vec<&str> = text.split_inclusive('\n').collect();
        for (count, whole) in (1..).zip(whole) {
            assert_eq!(is_whole(&lines[..count].concat()), whole, "{count} lines");
        }
    }

    #[test]
    fn what_is_required_stands_in_code() {
        assert_eq!(
            required("require'x' prerequire('y') my_require('y') require (\"z\") require[[w]]"),
            ["x", "z", "w"]
        );
        assert_eq!(required("a.require('y') a:require('y') requires('y') require(y)"), [""; 0]);
        assert_eq!(required("s = 'a' .. require('x')"), ["x"]);
        let text = "-- local a = require('a')\n--[==[ require('b') ]==] s = \"require('c')\" t = [[require 'd']]\nrequire 'e'";
        assert_eq!(required(text), ["e"]);
    }
}
