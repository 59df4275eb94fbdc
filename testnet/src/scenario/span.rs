//! Lengths of time, as scenarios and flags write them.

use std::time::Duration;

use serde::Deserialize;

/// A length of time, such as `500ms`, `5s`, `3m` or `2h`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub(crate) struct Span(pub(crate) Duration);

/// Text that is no length of time.
#[derive(Debug, thiserror::Error)]
#[error("`{0}` is not a length of time: expected a number and ms, s, m or h, such as \"500ms\"")]
pub(crate) struct NotSpan(String);

impl TryFrom<String> for Span {
    type Error = NotSpan;

    fn try_from(text: String) -> Result<Self, NotSpan> {
        let (number, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()));
        let scale = match unit {
            "ms" => Some(1),
            "s" => Some(1_000),
            "m" => Some(60_000),
            "h" => Some(3_600_000),
            _ => None,
        };
        let ms = number.parse::<u64>().ok().zip(scale).and_then(|(number, scale)| number.checked_mul(scale));
        ms.map(|ms| Self(Duration::from_millis(ms))).ok_or(NotSpan(text))
    }
}
