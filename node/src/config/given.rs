//! A value as a file, a variable or a flag gives it, and what it should have been.

use std::fmt;

use toml::Value;

/// Characters of a value that an error repeats.
const SHOWN_CHARS_MAX: usize = 100;
/// A value as it was written: TOML has types, flags and the environment have text.
pub(super) enum Given<'a> {
    /// From the file.
    Toml(&'a Value),
    /// From a flag or a variable.
    Text(&'a str),
}

impl fmt::Display for Given<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = match self {
            Self::Toml(value) => value.to_string(),
            Self::Text(text) => format!("{text:?}"),
        };
        let short: String = text.chars().take(SHOWN_CHARS_MAX).collect();
        let dots = if short.len() < text.len() { "..." } else { "" };
        write!(f, "{short}{dots}")
    }
}

impl Given<'_> {
    pub(super) fn text(&self) -> Option<&str> {
        match self {
            Self::Toml(Value::String(text)) => Some(text),
            Self::Toml(_) => None,
            Self::Text(text) => Some(text),
        }
    }

    /// A TOML array of strings, or text with commas; empty text is an empty list.
    pub(super) fn list(&self) -> Option<Vec<&str>> {
        match self {
            Self::Toml(Value::Array(values)) => values.iter().map(Value::as_str).collect(),
            Self::Toml(_) => None,
            Self::Text(text) => {
                Some(text.split(',').map(str::trim).filter(|part| !part.is_empty()).collect())
            }
        }
    }

    pub(super) fn number(&self, min: u64, max: u64) -> Result<u64, Expected> {
        let number = match self {
            Self::Toml(Value::Integer(number)) => u64::try_from(*number).ok(),
            Self::Toml(_) => None,
            Self::Text(text) => text.trim().parse().ok(),
        };
        number
            .filter(|number| (min..=max).contains(number))
            .ok_or_else(|| Expected(format!("a whole number from {min} to {max}")))
    }
}

/// What would have been right.
#[derive(Debug)]
pub(super) struct Expected(pub(super) String);

impl From<&str> for Expected {
    fn from(text: &str) -> Self {
        Self(text.into())
    }
}

impl From<String> for Expected {
    fn from(text: String) -> Self {
        Self(text)
    }
}
