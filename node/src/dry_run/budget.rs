//! What dry runs of peers may use in an hour, all together (`others_dry_run_gas`).

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use weft_protocol::Now;

use super::DryRunError;
use crate::compute::machine::Allowance;

/// What a run of a peer counts for beside its gas: the copy that it runs on takes about ten milliseconds of a core.
const COPY_GAS: u64 = 10_000_000_000;
/// The shortest that a peer is asked to wait for more gas, in milliseconds.
const SPENT_RETRY_MS_MIN: u64 = 1_000;

/// What peers may use, and where the metrics read what they did.
pub(super) struct Budget {
    allowance: Mutex<Allowance>,
    used: Arc<AtomicU64>,
}

impl Budget {
    pub(super) fn new(per_hour: u64, used: Arc<AtomicU64>) -> Self {
        Self { allowance: Mutex::new(Allowance::new(per_hour)), used }
    }

    fn allowance(&self) -> MutexGuard<'_, Allowance> {
        self.allowance.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether one more may begin.
    ///
    /// # Errors
    /// When, or that none ever may.
    pub(super) fn check(&self, now: Now) -> Result<(), DryRunError> {
        let mut allowance = self.allowance();
        let has_some = allowance.has_some(now);
        self.used.store(allowance.used(), Ordering::Relaxed);
        match allowance.wait_ms() {
            _ if has_some => Ok(()),
            Some(wait_ms) => Err(DryRunError::Spent { retry_ms: wait_ms.max(SPENT_RETRY_MS_MIN) }),
            None => Err(DryRunError::NotForPeers),
        }
    }

    /// Counts what a run used.
    pub(super) fn spend(&self, gas: u64) {
        let mut allowance = self.allowance();
        allowance.spend(gas.saturating_add(COPY_GAS));
        self.used.store(allowance.used(), Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]

    use super::*;

    #[test]
    fn peers_use_what_they_are_given_and_are_told_when_there_is_more() {
        const HOUR_MS: u64 = 3_600_000;
        let used = Arc::new(AtomicU64::new(0));
        let budget = Budget::new(100 * COPY_GAS, Arc::clone(&used));
        let at = |ms: u64| Now(1_000_000 + ms);
        budget.check(at(0)).unwrap();
        // However little they ask for, a hundred of them use up an hour's gas.
        for _ in 0..100 {
            budget.check(at(0)).unwrap();
            budget.spend(0);
        }
        assert_eq!(used.load(Ordering::Relaxed), 100 * COPY_GAS);
        let Err(DryRunError::Spent { retry_ms }) = budget.check(at(0)) else { panic!("it goes on") };
        assert_eq!(retry_ms, SPENT_RETRY_MS_MIN);
        // One that was dear is paid off first.
        budget.spend(49 * COPY_GAS);
        let error = budget.check(at(0)).unwrap_err();
        assert!(error.to_string().contains("`others_dry_run_gas`"), "{error}");
        let DryRunError::Spent { retry_ms } = error else { panic!("{error}") };
        assert_eq!(retry_ms, HOUR_MS / 2 + 1);
        assert!(budget.check(at(retry_ms - 1)).is_err());
        budget.check(at(retry_ms)).unwrap();
        let none = Budget::new(0, used).check(at(HOUR_MS));
        assert!(matches!(none, Err(DryRunError::NotForPeers)), "{none:?}");
    }
}
