//! Values that are numbers.

use super::given::{Expected, Given};
use super::setting::GAS_MAX;
use super::{Config, bytes};

/// Longest wait or interval: a week. Longer is a typing error.
const WAIT_MS_MAX: u64 = 7 * 24 * 3_600_000;

pub(super) fn set_u32(field: &mut u32, given: &Given<'_>, min: u32, max: u32) -> Result<(), Expected> {
    let value = given.number(min.into(), max.into())?;
    *field = u32::try_from(value).unwrap_or(max);
    Ok(())
}

pub(super) fn set_ms(field: &mut u64, given: &Given<'_>, min: u64) -> Result<(), Expected> {
    *field = given.number(min, WAIT_MS_MAX)?;
    Ok(())
}

pub(super) fn set_u64(field: &mut u64, given: &Given<'_>, min: u64, max: u64) -> Result<(), Expected> {
    *field = given.number(min, max)?;
    Ok(())
}

pub(super) fn set_dry_runs(config: &mut Config, given: &Given<'_>) -> Result<(), Expected> {
    let most = crate::dry_run::RUNS_MAX as u64;
    config.dry_runs = usize::try_from(given.number(1, most)?).unwrap_or(1);
    Ok(())
}

pub(super) fn set_replays(config: &mut Config, given: &Given<'_>) -> Result<(), Expected> {
    let most = crate::replays::REPLAYS_MAX as u64;
    config.replays = usize::try_from(given.number(1, most)?).unwrap_or(1);
    Ok(())
}

pub(super) fn set_compute_threads(config: &mut Config, given: &Given<'_>) -> Result<(), Expected> {
    const THREADS_MAX: u64 = 256;
    config.compute_threads = usize::try_from(given.number(1, THREADS_MAX)?).unwrap_or(1);
    Ok(())
}

pub(super) fn set_checkpoint_slots(config: &mut Config, given: &Given<'_>) -> Result<(), Expected> {
    // More makes a restart replay for minutes.
    const SLOTS_MAX: u64 = 1_000_000;
    config.checkpoint_slots = given.number(1, SLOTS_MAX)?;
    Ok(())
}

pub(super) fn set_checkpoints_kept(config: &mut Config, given: &Given<'_>) -> Result<(), Expected> {
    // The spread doubles distances: further ones would be of no use.
    const KEPT_MAX: u64 = 1_000;
    config.checkpoints_kept = usize::try_from(given.number(2, KEPT_MAX)?).unwrap_or(2);
    Ok(())
}

pub(super) fn set_results_kept(config: &mut Config, given: &Given<'_>) -> Result<(), Expected> {
    const SLOTS_MAX: u64 = 1_000_000_000_000;
    config.results_kept = match given.text() {
        Some("all") => None,
        _ => {
            let expected = |_| Expected::from("`all`, or a number of slots from 0 to 1000000000000");
            Some(given.number(0, SLOTS_MAX).map_err(expected)?)
        }
    };
    Ok(())
}

pub(super) fn set_hour_gas(gas: &mut Option<u64>, given: &Given<'_>) -> Result<(), Expected> {
    *gas = match given.text() {
        Some("all") => None,
        _ => Some(given.number(0, GAS_MAX).map_err(|Expected(text)| format!("`all`, or {text}"))?),
    };
    Ok(())
}

pub(super) fn set_clock_offset(config: &mut Config, given: &Given<'_>) -> Result<(), Expected> {
    // Further off, its slots are ignored for so long that a typing error is likelier.
    const OFFSET_MS_MAX: i64 = 24 * 3_600_000;
    let number = match given {
        Given::Toml(value) => value.as_integer(),
        Given::Text(text) => text.trim().parse().ok(),
    };
    let good = number.filter(|number| (-OFFSET_MS_MAX..=OFFSET_MS_MAX).contains(number));
    config.clock_offset_ms =
        good.ok_or_else(|| format!("a whole number from -{OFFSET_MS_MAX} to {OFFSET_MS_MAX}"))?;
    Ok(())
}

pub(super) fn set_rate(rate: &mut u64, given: &Given<'_>) -> Result<(), Expected> {
    bytes::parse_or_none(given, "64kb", weft_net::limits::BANDWIDTH_MIN).map(|bytes| *rate = bytes)
}
