//! Sizes as people write them: `4gb`, `512mb`, or a number of bytes.

use toml::Value;

use super::given::{Expected, Given};

/// More than any machine has.
const MAX: u64 = 64 << 40;

const UNITS: [(&str, u32); 5] = [("tb", 40), ("gb", 30), ("mb", 20), ("kb", 10), ("b", 0)];

/// A size of at least `min`, which is `shown_min` for people.
pub(super) fn parse(given: &Given<'_>, shown_min: &str, min: u64) -> Result<u64, Expected> {
    let bytes = match given {
        Given::Toml(Value::Integer(number)) => u64::try_from(*number).ok(),
        other => other.text().and_then(read),
    };
    let good = bytes.filter(|bytes| (min..=MAX).contains(bytes));
    let expected = || format!("bytes from {shown_min} to 64tb, such as `4gb` or 1073741824");
    good.ok_or_else(|| Expected(expected()))
}

fn read(text: &str) -> Option<u64> {
    let lower = text.trim().to_ascii_lowercase();
    let (digits, shift) = UNITS
        .iter()
        .find_map(|(unit, shift)| Some((lower.strip_suffix(unit)?, *shift)))
        .unwrap_or((&lower, 0));
    digits.trim_end().parse::<u64>().ok()?.checked_mul(1 << shift)
}

/// A size, or the word `none` for no limit.
pub(super) fn parse_or_none(given: &Given<'_>, shown_min: &str, min: u64) -> Result<u64, Expected> {
    if given.text() == Some("none") {
        return Ok(u64::MAX);
    }
    parse(given, shown_min, min).map_err(|Expected(text)| Expected(format!("`none`, or {text}")))
}

/// [`show`], or the word `none`.
pub(super) fn show_or_none(bytes: u64) -> String {
    if bytes == u64::MAX { "none".to_owned() } else { show(bytes) }
}

/// The size in the largest unit that gives it exactly.
pub(super) fn show(bytes: u64) -> String {
    let exact = UNITS.iter().find(|(_, shift)| bytes.is_multiple_of(1 << shift));
    exact.map_or_else(|| bytes.to_string(), |(unit, shift)| format!("{}{unit}", bytes >> shift))
}
