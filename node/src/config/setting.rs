//! A key of the configuration: how it is read, shown and explained.

use toml::Value;

use super::Config;
use super::given::{Expected, Given};

/// Gas of one replay, or of strangers in an hour: 300 hours of a guest's time. More is a typing error.
pub(super) const GAS_MAX: u64 = 1_000_000_000_000_000_000;

/// Reads a value into the configuration.
type Set = fn(&mut Config, &Given<'_>) -> Result<(), Expected>;

/// What a key's flag takes: one value or several, by the word that stands for it in `--help`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Takes {
    /// One.
    One(&'static str),
    /// As many as are given, each with the flag before it; the file has a list.
    Many(&'static str),
}

/// One key.
pub(super) struct Setting {
    /// Its name in the file; flags write `-` for `_`, the environment upper case after `WEFT_`.
    pub(super) key: &'static str,
    /// What its flag takes.
    pub(super) takes: Takes,
    /// One line for people.
    pub(super) help: &'static str,
    /// Reads it.
    pub(super) set: Set,
    /// Shows it as it would stand in the file.
    pub(super) show: fn(&Config) -> Value,
}

pub(super) fn texts<T: ToString>(list: impl IntoIterator<Item = T>) -> Value {
    Value::Array(list.into_iter().map(|text| Value::String(text.to_string())).collect())
}

pub(super) fn number(value: u64) -> Value {
    Value::Integer(i64::try_from(value).unwrap_or(i64::MAX))
}
