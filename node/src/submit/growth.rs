//! How fast the logs that are written here grow by the word of strangers: `others_messages`, bytes an hour of each log. A
//! key costs nothing, an item may have ten megabytes, and no log is ever shortened.
//!
//! What the owner of a process and this node's own key say themselves counts for nothing; what they sign of others, a push
//! that they carry or an item of the base layer, does. It is kept in memory: a node that starts anew begins anew.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use weft_protocol::{Id, subscription};

use super::{SubmitError, Submitter};
use crate::scheduler::machine::{Answer, Submission};

const HOUR_MS: u64 = 60 * 60 * 1_000;
/// The shortest that who finds no room is told to wait, in milliseconds.
const RETRY_MS_MIN: u64 = 500;

/// What the logs grew by of late; no more of them than this node schedules.
#[derive(Debug, Default)]
pub(super) struct Growth(Mutex<BTreeMap<Id, Grown>>);

/// What one log grew by, less what an hour lets go of it.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Grown {
    bytes: u64,
    at_ms: u64,
}

impl Grown {
    /// Counts so many bytes more, of at most so many an hour.
    ///
    /// # Errors
    /// When there is room for them, in milliseconds from now.
    fn take(&mut self, bytes: u64, hour_bytes: u64, now_ms: u64) -> Result<(), u64> {
        let passed_ms = now_ms.saturating_sub(self.at_ms);
        let gone = u128::from(passed_ms) * u128::from(hour_bytes) / u128::from(HOUR_MS);
        let left = u128::from(self.bytes).saturating_sub(gone);
        let grown = left + u128::from(bytes);
        let beyond = grown.saturating_sub(u128::from(hour_bytes));
        if beyond > 0 {
            let wait_ms = (beyond * u128::from(HOUR_MS)).div_ceil(u128::from(hour_bytes.max(1)));
            return Err(u64::try_from(wait_ms).unwrap_or(u64::MAX).max(RETRY_MS_MIN));
        }
        *self = Self { bytes: u64::try_from(grown).unwrap_or(u64::MAX), at_ms: self.at_ms.max(now_ms) };
        Ok(())
    }
}

impl Growth {
    fn all(&self) -> MutexGuard<'_, BTreeMap<Id, Grown>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives back what was counted of a message that took no new slot.
    pub(super) fn give_back(&self, process: &Id, bytes: u64) {
        if let Some(grown) = self.all().get_mut(process) {
            grown.bytes = grown.bytes.saturating_sub(bytes);
        }
    }
}

impl Submitter {
    /// Counts what a message would add to its log, if a stranger signed it; gives the bytes that were counted.
    ///
    /// # Errors
    /// [`SubmitError::Grown`].
    pub(super) fn grow(&self, submission: &Submission) -> Result<u64, SubmitError> {
        let hour_bytes = self.shared.config.others_messages_bytes;
        let signer = submission.item.owner();
        let Some(known) = self.shared.directory.get(&submission.process) else { return Ok(0) };
        let is_his = signer == self.shared.address || subscription::owner(&known.process) == Some(signer);
        let of_itself = submission.assigned.is_none() && submission.proof.is_none();
        if (is_his && of_itself) || hour_bytes == u64::MAX {
            return Ok(0);
        }
        let proof = submission.proof.as_ref().map_or(0, |proof| proof.raw().len());
        let bytes = (submission.item.raw().len() + proof) as u64;
        let now_ms = self.shared.clock.now().0;
        let taken = {
            let mut all = self.growth.all();
            all.entry(submission.process).or_default().take(bytes, hour_bytes, now_ms)
        };
        let Err(retry_ms) = taken else { return Ok(bytes) };
        // One that has its slot adds nothing: whoever lost the answer is told of it.
        let read = self.shared.store.read();
        let slot = read.and_then(|reader| reader.slot_of_item(&submission.process, &submission.item.id()));
        match slot.map_err(|error| SubmitError::Fault(error.to_string()))? {
            Some(_) => Ok(0),
            None => {
                self.shared.metrics.submits.add(Answer::Busy { retry_ms }.name());
                Err(SubmitError::Grown(retry_ms))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_hour_lets_go_of_what_an_hour_takes() {
        const MIB: u64 = 1 << 20;
        let now = 1_700_000_000_000;
        let mut grown = Grown::default();
        assert_eq!(grown.take(60 * MIB, 60 * MIB, now), Ok(()));
        // A minute for each.
        let minute = HOUR_MS / 60;
        assert_eq!(grown.take(2 * MIB, 60 * MIB, now), Err(2 * minute));
        assert_eq!(grown.take(2 * MIB, 60 * MIB, now + minute), Err(minute));
        assert_eq!(grown.take(2 * MIB, 60 * MIB, now + 2 * minute), Ok(()));
        assert_eq!(grown.take(1, 60 * MIB, now + 2 * minute), Err(RETRY_MS_MIN));
        // A clock that goes back lets go of nothing, and takes nothing.
        assert_eq!(grown.take(MIB, 60 * MIB, now), Err(minute));
        assert_eq!(grown.take(60 * MIB, 60 * MIB, now + 2 * minute + HOUR_MS), Ok(()));
    }
}
