//! JSON of peers, which costs memory by its values, and how much text an answer takes.

use std::cell::Cell;
use std::fmt;
use std::io::{self, Write};

use serde::Serialize;
use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Error, Value};

/// Bytes of something as compact JSON.
pub fn json_bytes(value: &impl Serialize) -> usize {
    struct Counted(usize);
    impl Write for Counted {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0 += bytes.len();
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let mut counted = Counted(0);
    // Nothing that is shown fails to be JSON; if it did it would be told as one byte too many.
    let written = serde_json::to_writer(&mut counted, value);
    counted.0 + usize::from(written.is_err())
}

/// Reads JSON of at most so many values, keys among them: counted first, for each takes much more memory than it
/// has bytes.
///
/// # Errors
/// It is none, or has more.
pub fn value(text: &[u8], values_max: usize) -> Result<Value, Error> {
    let left = Cell::new(values_max);
    let mut counted = serde_json::Deserializer::from_slice(text);
    Count { left: &left }.deserialize(&mut counted)?;
    serde_json::from_slice(text)
}

/// Counts values, and keeps none.
#[derive(Clone, Copy)]
struct Count<'a> {
    left: &'a Cell<usize>,
}

impl Count<'_> {
    fn one<E: serde::de::Error>(self) -> Result<(), E> {
        let left = self.left.get().checked_sub(1).ok_or_else(|| E::custom("too many values"))?;
        self.left.set(left);
        Ok(())
    }
}

impl<'de> DeserializeSeed<'de> for Count<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<(), D::Error> {
        from.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Count<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E: serde::de::Error>(self) -> Result<(), E> {
        self.one()
    }

    fn visit_bool<E: serde::de::Error>(self, _: bool) -> Result<(), E> {
        self.one()
    }

    fn visit_i64<E: serde::de::Error>(self, _: i64) -> Result<(), E> {
        self.one()
    }

    fn visit_u64<E: serde::de::Error>(self, _: u64) -> Result<(), E> {
        self.one()
    }

    fn visit_f64<E: serde::de::Error>(self, _: f64) -> Result<(), E> {
        self.one()
    }

    fn visit_str<E: serde::de::Error>(self, _: &str) -> Result<(), E> {
        self.one()
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        self.one()?;
        while list.next_element_seed(self)?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<(), A::Error> {
        self.one()?;
        while entries.next_key_seed(self)?.is_some() {
            entries.next_value_seed(self)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn json_with_more_values_than_it_may_have_is_not_read() {
        let text = br#"{"a":[1,-2,0.5,null,true,"x"],"b":{}}"#;
        let read = value(text, 11).unwrap();
        assert_eq!(read, serde_json::from_slice::<Value>(text).unwrap());
        assert!(value(text, 10).unwrap_err().to_string().contains("too many values"));
        for wrong in [&b"{"[..], b"", b"[1,]", b"[1] 2", b"\"\xff\""] {
            value(wrong, 100).unwrap_err();
        }
        // Deeper than readers follow is refused, and not followed.
        let deep = "[".repeat(100_000);
        value(deep.as_bytes(), usize::MAX).unwrap_err();
    }

    #[test]
    fn bytes_are_counted_as_they_are_written() {
        let value = serde_json::json!({ "text": "a\u{1}\u{fffd}\"", "list": [1, 2.5, null] });
        assert_eq!(json_bytes(&value), value.to_string().len());
    }
}
