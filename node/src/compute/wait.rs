//! Waiting until a slot is evaluated.

use std::time::Duration;

use tokio::time::Instant;
use weft_protocol::Id;
use weft_storage::StoreError;

use super::demand::want;
use crate::news::heard_of;
use crate::shared::Shared;

/// How often a waiter looks again, beside every time it hears news.
const LOOK_AGAIN: Duration = Duration::from_millis(500);

/// Why a slot will not be evaluated here.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WaitError {
    /// The process is not computed here any more.
    #[error("process {0} is not computed here")]
    NotComputed(Id),
    /// Something stopped the process here.
    #[error("process {process} is stopped here: {why}")]
    Stopped {
        /// Which.
        process: Id,
        /// What.
        why: String,
    },
    /// The disk.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Waits until the outcome of a slot is on disk. Safe to cancel; waits for ever for a slot that
/// never comes, so the caller limits it.
///
/// # Errors
/// When it will not be evaluated here.
pub async fn evaluated(shared: &Shared, process: Id, slot: u64) -> Result<(), WaitError> {
    let mut news = shared.news.listen();
    // News may be lost, so it is told again.
    let mut ask_at = Instant::now();
    loop {
        let known = shared.directory.get(&process).filter(|known| known.roles.computes);
        let known = known.ok_or(WaitError::NotComputed(process))?;
        let last = shared.store.read()?.last_computed(&process)?;
        if last.is_some_and(|position| position.slot >= slot) {
            return Ok(());
        }
        if let Some(why) = known.fault {
            return Err(WaitError::Stopped { process, why });
        }
        if Instant::now() >= ask_at {
            want(shared, process, slot)?;
            ask_at = Instant::now() + LOOK_AGAIN;
        }
        // Hearing nothing in time is a reason to look again too.
        let _ = tokio::time::timeout(LOOK_AGAIN, heard_of(&mut news, process)).await;
    }
}
