//! When a snapshot is worth its time.
//!
//! A snapshot takes `S`, and a failure replays what was kept since the last one. Where `F` gas
//! passes between two failures, a snapshot every `g` gas costs `S/g + g/2F` for each gas, which is
//! least for `g = sqrt(2 S F)`. So a guest that never fails keeps as much as it may, and one that
//! often fails keeps little. Only gas is looked at, and nothing of it changes a result.

use crate::limits::{KEPT_GAS_MAX, SNAPSHOT_GAS};

/// How often a guest fails.
#[derive(Debug, Default)]
pub(crate) struct Pace {
    /// Gas kept since the last failure.
    since_failure: u64,
    /// Gas between two failures, newer ones counting more; none before the first.
    between_failures: Option<u64>,
}

impl Pace {
    /// A message was kept.
    pub(crate) fn kept(&mut self, gas: u64) {
        self.since_failure = self.since_failure.saturating_add(gas);
    }

    /// A message was rolled back.
    pub(crate) fn failed(&mut self) {
        let since = std::mem::take(&mut self.since_failure);
        let between = self.between_failures.map_or(since, |before| before / 2 + since / 2);
        self.between_failures = Some(between);
    }

    /// Gas after which the next snapshot is due.
    pub(crate) fn kept_gas_max(&self) -> u64 {
        let Some(between) = self.between_failures else { return KEPT_GAS_MAX };
        // A guest that has not failed for long fails more rarely than it did.
        let between = u128::from(between.max(self.since_failure));
        let best = (2 * u128::from(SNAPSHOT_GAS) * between).isqrt();
        u64::try_from(best).map_or(KEPT_GAS_MAX, |best| best.min(KEPT_GAS_MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Gas of a message, as aos's.
    const MESSAGE: u64 = 700_000_000;

    /// The messages between two snapshots of a guest of which one message in `every` fails.
    fn settled(every: u64) -> u64 {
        let mut pace = Pace::default();
        for number in 1..=every * 10 {
            if number.is_multiple_of(every) { pace.failed() } else { pace.kept(MESSAGE) }
        }
        pace.kept_gas_max() / MESSAGE
    }

    #[test]
    fn who_never_fails_keeps_all_and_who_often_fails_keeps_little() {
        let mut pace = Pace::default();
        pace.kept(MESSAGE);
        assert_eq!(pace.kept_gas_max(), KEPT_GAS_MAX);
        let kept = [2, 10, 100, 10_000].map(settled);
        assert!(kept.is_sorted() && (1..=4).contains(&kept[0]) && (20..=40).contains(&kept[2]), "{kept:?}");
        assert_eq!(settled(1), 0);
    }

    #[test]
    fn failures_of_long_ago_are_forgotten() {
        let mut pace = Pace::default();
        for _ in 0..100 {
            pace.failed();
        }
        assert_eq!(pace.kept_gas_max(), 0);
        for _ in 0..100_000 {
            pace.kept(MESSAGE);
        }
        assert_eq!(pace.kept_gas_max(), KEPT_GAS_MAX);
    }
}
