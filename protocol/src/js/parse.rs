//! `JSON.parse`, bounded in depth and number of values.

use super::{Object, Text, Value};
use crate::limits::{JSON_DEPTH_MAX, JSON_VALUES_MAX};

/// Why text is not JSON that we take.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum JsonError {
    /// Not JSON: the byte at which it stops being so.
    #[error("not JSON at byte {0}")]
    Syntax(usize),
    /// More than [`JSON_DEPTH_MAX`] nested arrays and objects.
    #[error("arrays and objects nest deeper than {JSON_DEPTH_MAX}")]
    Depth,
    /// More than [`JSON_VALUES_MAX`] values.
    #[error("more than {JSON_VALUES_MAX} values")]
    Values,
}

/// Reads bytes as lossy UTF-8 and then as `JSON.parse` does.
///
/// # Errors
/// Text that `JSON.parse` refuses, or that is over a limit.
pub fn parse(bytes: &[u8]) -> Result<Value, JsonError> {
    let text = String::from_utf8_lossy(bytes);
    let mut parser = Parser { text: &text, at: 0, values: 0 };
    let value = parser.value(0)?;
    parser.skip_space();
    if parser.at < text.len() { Err(parser.error()) } else { Ok(value) }
}

struct Parser<'a> {
    text: &'a str,
    at: usize,
    values: usize,
}

impl Parser<'_> {
    const fn error(&self) -> JsonError {
        JsonError::Syntax(self.at)
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn skip_space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    /// Takes this byte if it is next.
    fn takes(&mut self, byte: u8) -> bool {
        let found = self.peek() == Some(byte);
        self.at += usize::from(found);
        found
    }

    fn expect(&mut self, byte: u8) -> Result<(), JsonError> {
        if self.takes(byte) { Ok(()) } else { Err(self.error()) }
    }

    fn value(&mut self, depth: usize) -> Result<Value, JsonError> {
        self.values += 1;
        if self.values > JSON_VALUES_MAX {
            return Err(JsonError::Values);
        }
        self.skip_space();
        match self.peek() {
            Some(b'{') => self.object(depth),
            Some(b'[') => self.array(depth),
            Some(b'"') => Ok(Value::Text(self.string()?)),
            Some(b'-' | b'0'..=b'9') => self.number(),
            Some(b't') => self.word("true", Value::Bool(true)),
            Some(b'f') => self.word("false", Value::Bool(false)),
            Some(b'n') => self.word("null", Value::Null),
            _ => Err(self.error()),
        }
    }

    fn word(&mut self, word: &str, value: Value) -> Result<Value, JsonError> {
        if self.text.as_bytes()[self.at..].starts_with(word.as_bytes()) {
            self.at += word.len();
            Ok(value)
        } else {
            Err(self.error())
        }
    }

    fn array(&mut self, depth: usize) -> Result<Value, JsonError> {
        if depth == JSON_DEPTH_MAX {
            return Err(JsonError::Depth);
        }
        self.at += 1;
        let mut values = Vec::new();
        self.skip_space();
        if self.takes(b']') {
            return Ok(Value::Array(values));
        }
        loop {
            values.push(self.value(depth + 1)?);
            self.skip_space();
            if self.takes(b']') {
                return Ok(Value::Array(values));
            }
            self.expect(b',')?;
        }
    }

    fn object(&mut self, depth: usize) -> Result<Value, JsonError> {
        if depth == JSON_DEPTH_MAX {
            return Err(JsonError::Depth);
        }
        self.at += 1;
        let mut entries = Vec::new();
        self.skip_space();
        if self.takes(b'}') {
            return Ok(Value::Object(Object::default()));
        }
        loop {
            self.skip_space();
            let key = self.string()?;
            self.skip_space();
            self.expect(b':')?;
            entries.push((key, self.value(depth + 1)?));
            self.skip_space();
            if self.takes(b'}') {
                return Ok(Value::Object(Object::from_read(entries)));
            }
            self.expect(b',')?;
        }
    }

    fn number(&mut self) -> Result<Value, JsonError> {
        let start = self.at;
        self.takes(b'-');
        if !self.takes(b'0') {
            self.digits()?;
        }
        if self.takes(b'.') {
            self.digits()?;
        }
        if self.takes(b'e') || self.takes(b'E') {
            let _sign = self.takes(b'+') || self.takes(b'-');
            self.digits()?;
        }
        // The standard library rounds correctly, as JavaScript must, and gives infinity for what
        // is too large.
        self.text[start..self.at].parse().map(Value::Number).map_err(|_| self.error())
    }

    fn digits(&mut self) -> Result<(), JsonError> {
        let start = self.at;
        while matches!(self.peek(), Some(b'0'..=b'9')) {
            self.at += 1;
        }
        if self.at == start { Err(self.error()) } else { Ok(()) }
    }

    fn string(&mut self) -> Result<Text, JsonError> {
        self.expect(b'"')?;
        let mut out = Text::default();
        loop {
            let start = self.at;
            while !matches!(self.peek(), None | Some(b'"' | b'\\' | 0..0x20)) {
                self.at += 1;
            }
            out.push_str(&self.text[start..self.at]);
            match self.peek() {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(out);
                }
                Some(b'\\') => {
                    self.at += 1;
                    self.escape(&mut out)?;
                }
                _ => return Err(self.error()),
            }
        }
    }

    fn escape(&mut self, out: &mut Text) -> Result<(), JsonError> {
        let code = match self.peek() {
            Some(byte @ (b'"' | b'\\' | b'/')) => u32::from(byte),
            Some(b'b') => 0x08,
            Some(b'f') => 0x0c,
            Some(b'n') => 0x0a,
            Some(b'r') => 0x0d,
            Some(b't') => 0x09,
            Some(b'u') => {
                self.at += 1;
                let code = self.code_point()?;
                out.push_code_point(code);
                return Ok(());
            }
            _ => return Err(self.error()),
        };
        self.at += 1;
        out.push_code_point(code);
        Ok(())
    }

    /// The four digits after `\u`, and those of a low surrogate that follows a high one.
    fn code_point(&mut self) -> Result<u32, JsonError> {
        let high = self.hex4()?;
        if !(0xd800..0xdc00).contains(&high) || !self.text.as_bytes()[self.at..].starts_with(b"\\u") {
            return Ok(high);
        }
        let after_high = self.at;
        self.at += 2;
        let low = self.hex4()?;
        if (0xdc00..0xe000).contains(&low) {
            return Ok(0x10000 + ((high - 0xd800) << 10) + (low - 0xdc00));
        }
        // Two escapes that make no pair: the second is read again on its own.
        self.at = after_high;
        Ok(high)
    }

    fn hex4(&mut self) -> Result<u32, JsonError> {
        let mut code = 0;
        for _ in 0..4 {
            let digit = self.peek().and_then(|byte| char::from(byte).to_digit(16));
            code = code << 4 | digit.ok_or(self.error())?;
            self.at += 1;
        }
        Ok(code)
    }
}
