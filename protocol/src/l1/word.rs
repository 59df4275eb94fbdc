//! A field of what nodes and gateways of the weave answer: a text, or a number that is written as one or the other.
//!
//! Anything else in its place is read past: lists of millions of values would take tens of times their bytes in memory.

use std::fmt;

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

/// A text, or a whole number as text; empty where a field is neither, or is missing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Word(String);

impl Word {
    /// The text.
    pub fn text(&self) -> &str {
        &self.0
    }

    /// The number, if it is one.
    pub fn number(&self) -> Option<u64> {
        self.0.parse().ok()
    }
}

impl<'de> Deserialize<'de> for Word {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Reading)
    }
}

struct Reading;

impl<'de> Visitor<'de> for Reading {
    type Value = Word;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text or a number")
    }

    fn visit_str<E>(self, text: &str) -> Result<Word, E> {
        Ok(Word(text.to_owned()))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Word, E> {
        Ok(Word(number.to_string()))
    }

    fn visit_i64<E>(self, _: i64) -> Result<Word, E> {
        Ok(Word::default())
    }

    fn visit_f64<E>(self, _: f64) -> Result<Word, E> {
        Ok(Word::default())
    }

    fn visit_bool<E>(self, _: bool) -> Result<Word, E> {
        Ok(Word::default())
    }

    fn visit_unit<E>(self) -> Result<Word, E> {
        Ok(Word::default())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Word, A::Error> {
        while list.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Word::default())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Word, A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Word::default())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn texts_and_numbers_are_read_and_all_else_is_read_past() {
        let word = |text: &str| serde_json::from_str::<Word>(text).unwrap();
        assert_eq!((word("\"a-b\"").text(), word("\"a-b\"").number()), ("a-b", None));
        for text in ["18446744073709551615", "\"18446744073709551615\""] {
            assert_eq!(word(text).number(), Some(u64::MAX), "{text}");
        }
        for text in
            ["-1", "1.5", "1e3", "18446744073709551616", "true", "null", "[1,[2]]", "{\"a\":{\"b\":3}}"]
        {
            assert_eq!((word(text), word(text).number()), (Word::default(), None), "{text}");
        }
        // What follows is read as it would be without.
        let all: Vec<Word> = serde_json::from_str("[[0,[1]],\"a\",{\"b\":[]},7]").unwrap();
        assert_eq!(all.iter().map(Word::text).collect::<Vec<_>>(), ["", "a", "", "7"]);
        assert!(serde_json::from_str::<Word>("[1,").is_err());
        assert!(serde_json::from_str::<Word>(&"[".repeat(1_000_000)).is_err());
    }
}
