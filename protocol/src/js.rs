//! JSON as JavaScript reads and prints it, for everything that a guest returns or sees.
//!
//! Results are hashed as `JSON.stringify` would print what `JSON.parse` read: the last of
//! repeated keys wins and keeps the first one's place, integer-like keys come first in ascending
//! order, numbers are binary64, and strings are UTF-16, so they may hold lone surrogates.

mod parse;

pub use parse::{JsonError, parse};

use std::borrow::Cow;

/// A JavaScript string: UTF-8 in which a lone surrogate is encoded like any other code point.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Text(Vec<u8>);

impl Text {
    /// The text, with lone surrogates replaced as they are when JavaScript writes UTF-8.
    pub fn to_utf8(&self) -> Cow<'_, str> {
        match std::str::from_utf8(&self.0) {
            Ok(text) => Cow::Borrowed(text),
            Err(_) => {
                let mut out = String::with_capacity(self.0.len());
                self.for_each(|unit| match unit {
                    Unit::Text(text) => out.push_str(text),
                    Unit::Surrogate(_) => out.push(char::REPLACEMENT_CHARACTER),
                });
                Cow::Owned(out)
            }
        }
    }

    /// Whether there are no characters.
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Appends any code point, surrogates included.
    fn push_code_point(&mut self, code: u32) {
        match char::from_u32(code) {
            Some(character) => self.push_str(character.encode_utf8(&mut [0; 4])),
            // The three-byte form of UTF-8, which strict UTF-8 forbids for surrogates.
            None => self.0.extend([
                0xe0 | (code >> 12) as u8,
                0x80 | (code >> 6 & 0x3f) as u8,
                0x80 | (code & 0x3f) as u8,
            ]),
        }
    }

    fn push_str(&mut self, text: &str) {
        self.0.extend_from_slice(text.as_bytes());
    }

    /// Walks over runs of UTF-8 and the lone surrogates between them.
    fn for_each(&self, mut visit: impl FnMut(Unit<'_>)) {
        let mut rest = &self.0[..];
        while !rest.is_empty() {
            let valid = match std::str::from_utf8(rest) {
                Ok(text) => return visit(Unit::Text(text)),
                Err(error) => error.valid_up_to(),
            };
            let (text, tail) = rest.split_at(valid);
            visit(Unit::Text(std::str::from_utf8(text).unwrap_or_default()));
            let mut code = 0;
            for byte in tail.iter().take(3) {
                code = code << 6 | u32::from(byte & 0x3f);
            }
            visit(Unit::Surrogate((code & 0xffff) as u16));
            rest = tail.get(3..).unwrap_or_default();
        }
    }
}

impl From<&str> for Text {
    fn from(text: &str) -> Self {
        Self(text.as_bytes().to_vec())
    }
}

enum Unit<'a> {
    Text(&'a str),
    Surrogate(u16),
}

/// A JavaScript value that JSON can hold.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// `null`.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A binary64 number; infinite where the text was too large.
    Number(f64),
    /// A string.
    Text(Text),
    /// An array.
    Array(Vec<Value>),
    /// An object.
    Object(Object),
}

/// A JavaScript object, its keys unique and in JavaScript's order.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Object(Vec<(Text, Value)>);

impl Object {
    /// Puts keys as they were read into JavaScript's order, the last of repeated ones winning.
    fn from_read(entries: Vec<(Text, Value)>) -> Self {
        // Sorting indexes finds repeats without hashing: equal keys stand together, in the
        // order in which they were read.
        let mut order: Vec<usize> = (0..entries.len()).collect();
        order.sort_by(|&a, &b| entries[a].0.cmp(&entries[b].0));
        let mut place: Vec<usize> = (0..entries.len()).collect();
        for pair in order.windows(2) {
            if entries[pair[0]].0 == entries[pair[1]].0 {
                place[pair[1]] = place[pair[0]];
            }
        }
        let mut slots: Vec<Option<(Text, Value)>> = Vec::with_capacity(entries.len());
        for (index, entry) in entries.into_iter().enumerate() {
            slots.push(None);
            slots[place[index]] = Some(entry);
        }
        let mut entries: Vec<(Text, Value)> = slots.into_iter().flatten().collect();
        // Stable, so string keys keep their order behind the integer-like ones.
        entries.sort_by_key(|(key, _)| array_index(&key.0).map_or((1, 0), |index| (0, index)));
        Self(entries)
    }

    /// The value of a key.
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.0.iter().find(|(name, _)| name.0 == key.as_bytes()).map(|(_, value)| value)
    }

    /// Keys and values in JavaScript's order.
    pub fn iter(&self) -> impl Iterator<Item = (&Text, &Value)> {
        self.0.iter().map(|(key, value)| (key, value))
    }
}

/// The number of a key that is an array index: canonical decimal below 2^32 - 1.
fn array_index(key: &[u8]) -> Option<u32> {
    let canonical = key == b"0" || (key.first().is_some_and(|&byte| byte != b'0') && key.len() <= 10);
    if !canonical || !key.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let index: u32 = std::str::from_utf8(key).ok()?.parse().ok()?;
    (index != u32::MAX).then_some(index)
}

impl Value {
    /// The value of a key, if this is an object that has it.
    pub fn get(&self, key: &str) -> Option<&Self> {
        match self {
            Self::Object(object) => object.get(key),
            _ => None,
        }
    }

    /// The string, if this is one.
    pub const fn as_text(&self) -> Option<&Text> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The elements, if this is an array.
    pub fn as_array(&self) -> Option<&[Self]> {
        match self {
            Self::Array(values) => Some(values),
            _ => None,
        }
    }

    /// Whether JavaScript takes the value for true.
    pub fn is_truthy(&self) -> bool {
        match self {
            Self::Null => false,
            Self::Bool(value) => *value,
            Self::Number(number) => *number != 0.0 && !number.is_nan(),
            Self::Text(text) => !text.is_empty(),
            Self::Array(_) | Self::Object(_) => true,
        }
    }

    /// What `JSON.stringify` prints.
    pub fn to_json(&self) -> String {
        let mut out = String::new();
        self.write_json(&mut out);
        out
    }

    /// Appends what `JSON.stringify` prints.
    pub fn write_json(&self, out: &mut String) {
        match self {
            Self::Null => out.push_str("null"),
            Self::Bool(value) => out.push_str(if *value { "true" } else { "false" }),
            Self::Number(number) if number.is_finite() => out.push_str(&number_text(*number)),
            Self::Number(_) => out.push_str("null"),
            Self::Text(text) => write_text(text, out),
            Self::Array(values) => write_list(out, ['[', ']'], values, |value, out| value.write_json(out)),
            Self::Object(object) => write_list(out, ['{', '}'], &object.0, |(key, value), out| {
                write_text(key, out);
                out.push(':');
                value.write_json(out);
            }),
        }
    }
}

fn write_list<T>(out: &mut String, ends: [char; 2], items: &[T], write: impl Fn(&T, &mut String)) {
    out.push(ends[0]);
    for (index, item) in items.iter().enumerate() {
        if index > 0 {
            out.push(',');
        }
        write(item, out);
    }
    out.push(ends[1]);
}

/// What `JSON.stringify` prints for an array of these values.
pub fn array_json(values: &[Value]) -> String {
    let mut out = String::new();
    write_list(&mut out, ['[', ']'], values, |value, out| value.write_json(out));
    out
}

/// What `String(number)` gives: `-0` is `0`, and what is too large is `Infinity`.
pub fn number_text(number: f64) -> String {
    ryu_js::Buffer::new().format(number).to_owned()
}

fn write_text(text: &Text, out: &mut String) {
    out.push('"');
    text.for_each(|unit| match unit {
        Unit::Text(text) => escape(text, out),
        Unit::Surrogate(code) => out.push_str(&format!("\\u{code:04x}")),
    });
    out.push('"');
}

/// Appends `text` as `JSON.stringify` prints a string.
pub fn write_str(text: &str, out: &mut String) {
    out.push('"');
    escape(text, out);
    out.push('"');
}

fn escape(text: &str, out: &mut String) {
    let mut plain = 0;
    for (at, byte) in text.bytes().enumerate() {
        // Only ASCII bytes are escaped, so every cut falls between characters.
        let short = match byte {
            b'"' => "\\\"",
            b'\\' => "\\\\",
            0x08 => "\\b",
            0x0c => "\\f",
            b'\n' => "\\n",
            b'\r' => "\\r",
            b'\t' => "\\t",
            0..0x20 => "",
            _ => continue,
        };
        out.push_str(&text[plain..at]);
        plain = at + 1;
        if short.is_empty() {
            out.push_str(&format!("\\u{byte:04x}"));
        } else {
            out.push_str(short);
        }
    }
    out.push_str(&text[plain..]);
}
