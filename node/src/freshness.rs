//! How fresh what this node knows of a log is: when its scheduler, or two others, last said where it ends.
//!
//! A log that nobody adds to looks like one that is kept from us. What a reader holds is true as of the
//! time of its newest slot, and nothing proves that there is no newer one; but who is asked and answers
//! makes hiding it harder, and silence is told.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use weft_net::Peer;
use weft_protocol::{Id, Now};

use crate::follower::machine::{AUDIT_MS, SOURCES_MAX};

/// Without a word for so long a log is stale: a source is asked at every audit, and three in a row were
/// silent or are gone.
pub const STALE_MS: u64 = 3 * AUDIT_MS;
/// Others than the scheduler who must have confirmed a log: one alone may be a liar.
const WITNESSES_MIN: usize = 2;

/// Who confirmed which log, and when.
#[derive(Debug, Default)]
pub struct Freshness(Mutex<BTreeMap<Id, Confirmed>>);

#[derive(Debug, Default)]
struct Confirmed {
    scheduler: Option<Now>,
    others: BTreeMap<Peer, Now>,
}

impl Freshness {
    /// Notes that a peer confirmed, with the scheduler's signature, where a log ends.
    pub fn confirm(&self, process: Id, peer: Peer, by_scheduler: bool, now: Now) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let confirmed = all.entry(process).or_default();
        if by_scheduler {
            confirmed.scheduler = confirmed.scheduler.max(Some(now));
            return;
        }
        confirmed.others.retain(|_, at| at.plus_ms(STALE_MS) > now);
        if confirmed.others.len() < SOURCES_MAX {
            confirmed.others.insert(peer, now);
        }
    }

    /// Notes a slot that was appended, and when the scheduler signed it: its own word, by whatever way
    /// and however late it came.
    pub fn slot(&self, process: Id, signed: Now, now: Now) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let confirmed = all.entry(process).or_default();
        confirmed.scheduler = confirmed.scheduler.max(Some(signed.min(now)));
    }

    /// Forgets a log that is followed no more.
    pub fn forget(&self, process: &Id) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(process);
    }

    /// Whether nobody has confirmed a log for a while.
    pub fn is_stale(&self, process: &Id, now: Now) -> bool {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(confirmed) = all.get(process) else { return true };
        let is_recent = |at: &Now| at.plus_ms(STALE_MS) > now;
        let by_scheduler = confirmed.scheduler.as_ref().is_some_and(is_recent);
        let by_others = confirmed.others.values().filter(|at| is_recent(at)).count() >= WITNESSES_MIN;
        !by_scheduler && !by_others
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shared::testing::peer;

    #[test]
    fn the_scheduler_alone_or_two_others_make_a_log_fresh() {
        let fresh = Freshness::default();
        let process = Id([1; 32]);
        assert!(fresh.is_stale(&process, Now(0)));
        fresh.confirm(process, peer(2), false, Now(0));
        fresh.confirm(process, peer(2), false, Now(1));
        assert!(fresh.is_stale(&process, Now(1)), "one other may lie");
        fresh.confirm(process, peer(3), false, Now(2));
        assert!(!fresh.is_stale(&process, Now(2)));
        assert!(fresh.is_stale(&process, Now(1 + STALE_MS)));
        fresh.confirm(process, peer(1), true, Now(100_000));
        assert!(!fresh.is_stale(&process, Now(100_000 + STALE_MS - 1)));
        assert!(fresh.is_stale(&process, Now(100_000 + STALE_MS)));
        fresh.slot(process, Now(200_000), Now(200_001));
        assert!(!fresh.is_stale(&process, Now(200_001)));
        // An old slot says nothing of now, and one from the future nothing of then.
        fresh.slot(process, Now(150_000), Now(200_002));
        assert!(!fresh.is_stale(&process, Now(200_000 + STALE_MS - 1)));
        fresh.slot(process, Now(900_000), Now(300_000));
        assert!(fresh.is_stale(&process, Now(300_000 + STALE_MS)));
        fresh.forget(&process);
        assert!(fresh.is_stale(&process, Now(300_000)));
    }
}
