//! A result as JSON that everybody can read.
//!
//! What a module returns is kept as JavaScript prints it: strings may hold lone surrogates, and
//! arrays nest deeper than most readers follow. Neither may hide a result, or spoil the answer that
//! it is part of.

use serde_json::{Map, Number, Value};
use weft_protocol::js::{self, JsonError};

/// Arrays and objects that are shown inside of each other; readers of JSON take 128 with those of
/// the answer around them. What nests deeper is shown as its own text.
const DEPTH_MAX: usize = 100;
/// Whole numbers below this are exact in JavaScript.
const WHOLE_MAX: f64 = 9_007_199_254_740_992.0;

/// Reads a stored result, or one of a peer.
///
/// # Errors
/// Bytes that are no JSON, or over its limits.
pub(crate) fn readable(result: &[u8]) -> Result<Value, JsonError> {
    js::parse(result).map(|value| value_of(&value, 0))
}

fn value_of(value: &js::Value, depth: usize) -> Value {
    match value {
        js::Value::Null => Value::Null,
        js::Value::Bool(value) => Value::Bool(*value),
        js::Value::Number(number) => number_of(*number),
        js::Value::Text(text) => Value::String(text.to_utf8().into_owned()),
        js::Value::Array(_) | js::Value::Object(_) if depth >= DEPTH_MAX => Value::String(value.to_json()),
        js::Value::Array(values) => values.iter().map(|value| value_of(value, depth + 1)).collect(),
        js::Value::Object(object) => {
            let entries = object.iter();
            let entries =
                entries.map(|(key, value)| (key.to_utf8().into_owned(), value_of(value, depth + 1)));
            Value::Object(entries.collect::<Map<_, _>>())
        }
    }
}

fn number_of(number: f64) -> Value {
    if number.fract() == 0.0 && number.abs() < WHOLE_MAX {
        // Exact, by the line above.
        return Value::from(number as i64);
    }
    Number::from_f64(number).map_or(Value::Null, Value::Number)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn what_json_readers_take_is_shown_as_it_is() {
        let text = r#"{"Output":"x","n":[1,-2,0.5,1e+21,null,true],"empty":{}}"#;
        let value = readable(text.as_bytes()).unwrap();
        assert_eq!(value, serde_json::from_str::<Value>(text).unwrap());
        assert_eq!(value["n"].to_string(), "[1,-2,0.5,1e+21,null,true]");
    }

    #[test]
    fn lone_surrogates_and_depth_do_not_hide_a_result() {
        assert!(serde_json::from_str::<Value>(r#"["\ude00"]"#).is_err(), "else this module is not needed");
        assert_eq!(
            readable(br#"{"\ud83d":"a\ude00b"}"#).unwrap(),
            serde_json::json!({ "\u{fffd}": "a\u{fffd}b" })
        );
        let deep = "[".repeat(500) + &"]".repeat(500);
        let value = readable(deep.as_bytes()).unwrap();
        let answer = serde_json::json!({ "done": { "result": { "Output": value } } }).to_string();
        let again: Value = serde_json::from_str(&answer).unwrap();
        let mut inner = &again["done"]["result"]["Output"];
        for _ in 0..DEPTH_MAX {
            inner = &inner[0];
        }
        assert_eq!(inner.as_str().unwrap(), "[".repeat(400) + &"]".repeat(400));
        assert!(readable(b"{").is_err());
    }
}
