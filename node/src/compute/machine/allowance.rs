//! Gas for others, their processes that came unasked or their dry runs: a store that fills up evenly, in an hour from nothing.

use weft_protocol::Now;

const HOUR_MS: i128 = 3_600_000;

/// What they may still use. A run that used more than was there is a debt that is filled up first: a
/// message cannot be interrupted.
#[derive(Debug, Clone)]
pub struct Allowance {
    per_hour: u64,
    /// In gas times the milliseconds of an hour, so that no rounding is lost.
    left: i128,
    filled: Option<Now>,
}

impl Allowance {
    /// A full one.
    pub fn new(per_hour: u64) -> Self {
        Self { per_hour, left: i128::from(per_hour) * HOUR_MS, filled: None }
    }

    /// Whether anything is left.
    pub fn has_some(&mut self, now: Now) -> bool {
        let since = self.filled.map_or(0, |filled| now.0.saturating_sub(filled.0));
        self.filled = Some(now);
        let full = i128::from(self.per_hour) * HOUR_MS;
        self.left = full.min(self.left.saturating_add(i128::from(self.per_hour) * i128::from(since)));
        self.left > 0
    }

    /// In how many milliseconds from when that was last asked something is left again; 0 where something is, none where
    /// nothing ever will be.
    pub fn wait_ms(&self) -> Option<u64> {
        if self.left > 0 {
            return Some(0);
        }
        let wait = self.left.unsigned_abs().checked_div(u128::from(self.per_hour))?;
        Some(u64::try_from(wait).unwrap_or(u64::MAX).saturating_add(1))
    }

    /// Counts what a run used.
    pub fn spend(&mut self, gas: u64) {
        self.left = self.left.saturating_sub(i128::from(gas) * HOUR_MS);
    }

    /// How much of an hour's gas is used; a debt is more than all of it.
    pub fn used(&self) -> u64 {
        let used = i128::from(self.per_hour) - self.left.div_euclid(HOUR_MS);
        u64::try_from(used.max(0)).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_fills_up_evenly_and_debts_are_paid_first() {
        let mut allowance = Allowance::new(3_600_000);
        let at = |ms: u64| Now(1_000_000 + ms);
        assert!(allowance.has_some(at(0)));
        allowance.spend(3_600_000);
        assert!(!allowance.has_some(at(0)));
        assert_eq!(allowance.wait_ms(), Some(1));
        assert!(allowance.has_some(at(1)));
        assert_eq!(allowance.wait_ms(), Some(0));
        assert_eq!(allowance.used(), 3_599_999);
        // Ten hours' worth takes ten hours, and a full one gets no fuller.
        allowance.spend(36_000_000);
        assert!(!allowance.has_some(at(1)));
        assert_eq!(allowance.wait_ms(), Some(10 * 3_600_000));
        assert!(!allowance.has_some(at(10 * 3_600_000)));
        assert!(allowance.has_some(at(10 * 3_600_000 + 1)));
        assert!(allowance.has_some(at(100 * 3_600_000)));
        assert_eq!(allowance.used(), 0);
        // A clock that is set back fills nothing up.
        allowance.spend(3_600_000);
        assert!(!allowance.has_some(at(0)));
    }

    #[test]
    fn little_steps_lose_nothing_and_nothing_stays_nothing() {
        let mut allowance = Allowance::new(1);
        allowance.spend(1);
        for ms in 0..3_600_000 {
            allowance.has_some(Now(ms));
        }
        allowance.has_some(Now(3_600_000));
        assert_eq!(allowance.used(), 0);
        let mut none = Allowance::new(0);
        assert!(!none.has_some(Now(0)) && !none.has_some(Now(u64::MAX)));
        assert_eq!(none.wait_ms(), None);
    }
}
