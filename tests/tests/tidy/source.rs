//! One source file, split into tokens and comments just well enough to hold it to the laws.
//!
//! Words in comments and strings are not code, and code under `#[cfg(test)]` answers to other
//! laws than the rest: both are known here, so that a law is a few lines of token matching.

/// A word, a `::` or a single sign of the code.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Token {
    /// What it says.
    pub(crate) text: String,
    /// The line, counted from one.
    pub(crate) line: usize,
    /// It stands in test code.
    pub(crate) test: bool,
}

/// A file with its path below the root of the repository.
pub(crate) struct Source {
    /// The path below the root of the repository.
    pub(crate) path: String,
    /// What it says.
    pub(crate) text: String,
    /// Its code; empty for what is not Rust.
    pub(crate) tokens: Vec<Token>,
    /// Every comment with the line it begins on.
    pub(crate) comments: Vec<(usize, String)>,
}

impl Source {
    /// Reads a Rust file.
    pub(crate) fn rust(path: &str, text: &str) -> Source {
        let mut lexer = Lexer { rest: text, line: 1, tokens: Vec::new(), comments: Vec::new() };
        lexer.run();
        let Lexer { mut tokens, comments, .. } = lexer;
        mark_tests(path, &mut tokens);
        Source { path: path.to_owned(), text: text.to_owned(), tokens, comments }
    }

    /// Keeps any other text file; each of its lines counts as a comment.
    pub(crate) fn plain(path: &str, text: &str) -> Source {
        let comments = text.lines().enumerate().map(|(at, line)| (at + 1, line.to_owned())).collect();
        Source { path: path.to_owned(), text: text.to_owned(), tokens: Vec::new(), comments }
    }

    /// The lines on which `words` stand one after the other in the code.
    pub(crate) fn find(&self, words: &[&str]) -> Vec<&Token> {
        self.tokens
            .windows(words.len())
            .filter(|window| window.iter().zip(words).all(|(token, word)| token.text == *word))
            .map(|window| &window[0])
            .collect()
    }

    /// Whether `line`, or a comment on the line before it, carries `tidy-allow(law): reason`.
    pub(crate) fn allows(&self, law: &str, line: usize) -> bool {
        let mark = format!("tidy-allow({law}):");
        self.comments.iter().any(|(at, text)| {
            (*at == line || *at + 1 == line)
                && text.split_once(&mark).is_some_and(|(_, reason)| reason.trim().len() >= 10)
        })
    }
}

/// Whether all of a file is test code, by its place.
pub(crate) fn is_test_path(path: &str) -> bool {
    path.starts_with("tests/")
        || path.contains("/tests/")
        || path.contains("/benches/")
        || path.contains("/fuzz/")
        || path.ends_with("/tests.rs")
        || path.ends_with("_tests.rs")
}

struct Lexer<'a> {
    rest: &'a str,
    line: usize,
    tokens: Vec<Token>,
    comments: Vec<(usize, String)>,
}

impl Lexer<'_> {
    fn run(&mut self) {
        while let Some(next) = self.rest.chars().next() {
            if next.is_whitespace() {
                self.skip(next.len_utf8());
            } else if self.rest.starts_with("//") {
                let end = self.rest.find('\n').unwrap_or(self.rest.len());
                self.comments.push((self.line, self.rest[..end].to_owned()));
                self.skip(end);
            } else if self.rest.starts_with("/*") {
                let end = block_comment_end(self.rest);
                self.comments.push((self.line, self.rest[..end].to_owned()));
                self.skip(end);
            } else if let Some(end) = string_end(self.rest) {
                self.push("\"", end);
            } else if next == '\'' {
                self.quote();
            } else if next.is_alphanumeric() || next == '_' {
                let end =
                    self.rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(self.rest.len());
                let word = self.rest[..end].to_owned();
                self.push(&word, end);
            } else if self.rest.starts_with("::") {
                self.push("::", 2);
            } else {
                self.push(&next.to_string(), next.len_utf8());
            }
        }
    }

    /// A character literal, or the mark of a lifetime.
    fn quote(&mut self) {
        let mut chars = self.rest.char_indices().skip(1);
        let (Some((_, first)), second) = (chars.next(), chars.next()) else {
            return self.skip(1);
        };
        if first == '\\' {
            let end = self.rest[3..].find('\'').map_or(self.rest.len(), |at| at + 4);
            self.push("'", end);
        } else if let Some((at, '\'')) = second {
            self.push("'", at + 1);
        } else {
            self.skip(1);
        }
    }

    fn push(&mut self, text: &str, length: usize) {
        self.tokens.push(Token { text: text.to_owned(), line: self.line, test: false });
        self.skip(length);
    }

    fn skip(&mut self, length: usize) {
        self.line += self.rest[..length].matches('\n').count();
        self.rest = &self.rest[length..];
    }
}

/// Where the block comment that `text` begins with ends; they nest.
fn block_comment_end(text: &str) -> usize {
    let (mut depth, mut at) = (0_usize, 0);
    while at < text.len() {
        if text[at..].starts_with("/*") {
            depth += 1;
            at += 2;
        } else if text[at..].starts_with("*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += text[at..].chars().next().map_or(1, char::len_utf8);
        }
    }
    text.len()
}

/// Where the string literal that `text` begins with ends, if it begins with one.
fn string_end(text: &str) -> Option<usize> {
    let body = text.trim_start_matches(['b', 'c']);
    let prefix = text.len() - body.len();
    if prefix > 1 {
        return None;
    }
    if let Some(raw) = body.strip_prefix('r') {
        let quoted = raw.trim_start_matches('#');
        let hashes = raw.len() - quoted.len();
        let inner = quoted.strip_prefix('"')?;
        let close = format!("\"{}", "#".repeat(hashes));
        let start = prefix + 1 + hashes + 1;
        return Some(inner.find(&close).map_or(text.len(), |at| start + at + close.len()));
    }
    let inner = body.strip_prefix('"')?;
    let mut escaped = false;
    for (at, sign) in inner.char_indices() {
        match sign {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return Some(prefix + 1 + at + 1),
            _ => {}
        }
    }
    Some(text.len())
}

/// Marks what is compiled for tests alone: whole files by their place, items by their attribute.
fn mark_tests(path: &str, tokens: &mut [Token]) {
    if is_test_path(path) {
        tokens.iter_mut().for_each(|token| token.test = true);
        return;
    }
    let mut at = 0;
    while at < tokens.len() {
        let Some(attribute_end) = attribute_end(tokens, at) else {
            at += 1;
            continue;
        };
        if is_test_attribute(&tokens[at..attribute_end]) {
            let end = item_end(tokens, attribute_end);
            tokens[at..end].iter_mut().for_each(|token| token.test = true);
            at = end;
        } else {
            at = attribute_end;
        }
    }
}

/// The end of the outer attribute that begins at `at`, if one does.
fn attribute_end(tokens: &[Token], at: usize) -> Option<usize> {
    if tokens[at].text != "#" || tokens.get(at + 1)?.text != "[" {
        return None;
    }
    Some(closing(tokens, at + 1, "[", "]"))
}

fn is_test_attribute(attribute: &[Token]) -> bool {
    let has = |word: &str| attribute.iter().any(|token| token.text == word);
    let is_test_function =
        attribute.len() >= 4 && attribute[attribute.len() - 2].text == "test" && !has("cfg");
    (has("cfg") && has("test") && !has("not")) || is_test_function
}

/// The end of the item that begins at `at`: its `;`, or the brace that closes its body.
fn item_end(tokens: &[Token], mut at: usize) -> usize {
    let mut depth = 0_usize;
    while at < tokens.len() {
        match tokens[at].text.as_str() {
            "(" | "[" => depth += 1,
            ")" | "]" => depth = depth.saturating_sub(1),
            ";" if depth == 0 => return at + 1,
            "{" if depth == 0 => return closing(tokens, at, "{", "}"),
            _ => {}
        }
        at += 1;
    }
    at
}

/// One past the sign that closes the one at `at`.
pub(crate) fn closing(tokens: &[Token], at: usize, open: &str, close: &str) -> usize {
    let mut depth = 0_usize;
    for (offset, token) in tokens[at..].iter().enumerate() {
        if token.text == open {
            depth += 1;
        } else if token.text == close {
            depth -= 1;
            if depth == 0 {
                return at + offset + 1;
            }
        }
    }
    tokens.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        Source::rust("net/src/a.rs", text).tokens.into_iter().map(|token| token.text).collect()
    }

    #[test]
    fn comments_and_strings_are_not_code() {
        let text =
            "let a = \"todo!() \\\" x\"; // dbg!(1)\n/* a /* b */ c */ r#\"un\"safe\"# b\"x\" 'y' '\\'' 'a";
        assert_eq!(words(text), ["let", "a", "=", "\"", ";", "\"", "\"", "'", "'", "a"]);
    }

    #[test]
    fn lines_are_counted_through_strings() {
        let source = Source::rust("net/src/a.rs", "let a = \"\n\n\";\nlast");
        assert_eq!(source.tokens.last().map(|token| token.line), Some(4));
    }

    #[test]
    fn test_items_are_marked_and_the_rest_is_not() {
        let text = "fn a() {} #[cfg(test)] #[allow(x)] mod tests { fn b() {} } fn c() {} #[cfg(not(test))] fn d() {}";
        let source = Source::rust("net/src/a.rs", text);
        let of = |name: &str| source.tokens.iter().find(|token| token.text == name).map(|token| token.test);
        assert_eq!((of("a"), of("b"), of("c"), of("d")), (Some(false), Some(true), Some(false), Some(false)));
        assert!(Source::rust("net/tests/a.rs", "fn a() {}").tokens.iter().all(|token| token.test));
        let waiting = Source::rust("net/src/a.rs", "#[tokio::test] async fn a() { b() } fn c() {}");
        assert!(waiting.find(&["b"])[0].test && !waiting.find(&["c"])[0].test);
    }

    #[test]
    fn an_allow_needs_its_law_its_place_and_a_reason() {
        let text = "// tidy-allow(sleep): the device has no other sign\nsleep(1);\n\nsleep(2); // tidy-allow(sleep): no";
        let source = Source::rust("net/src/a.rs", text);
        assert!(source.allows("sleep", 2));
        assert!(!source.allows("todo", 2) && !source.allows("sleep", 3) && !source.allows("sleep", 4));
    }
}
