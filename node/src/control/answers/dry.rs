//! Dry runs.

use weft_protocol::Id;

use super::super::api::{DryRunBody, DryRunInfo, Failure, FailureCode};
use super::turns::{blocking, fault};
use super::{Answers, fail, state};
use crate::compute::DryOutcome;
use crate::dry_run::{BUSY_RETRY_MS, DryRunError, For};
use crate::results::readable;

impl Answers {
    pub(super) async fn dry_run(
        &self,
        process: Id,
        message: DryRunBody,
        slot: Option<u64>,
    ) -> Result<DryRunInfo, Failure> {
        let tried = self.try_out(process, message, slot, For::Client).await?;
        blocking(move || info(process, &tried)).await
    }

    /// What a dry run comes to.
    pub(super) async fn try_out(
        &self,
        process: Id,
        message: DryRunBody,
        slot: Option<u64>,
        of: For,
    ) -> Result<DryOutcome, Failure> {
        let known = self.known(&process)?;
        let Some(dry_runs) = self.dry_runs.as_ref().filter(|_| known.roles.computes) else {
            let text = format!(
                "process {process} is not computed here; `weft host {process} --compute` has this node compute it"
            );
            return Err(fail(FailureCode::Refused, text));
        };
        dry_runs.run(known.process, message, slot, of).await.map_err(|error| why(&error))
    }
}

/// What a client is shown of it.
pub(super) fn info(process: Id, outcome: &DryOutcome) -> Result<DryRunInfo, Failure> {
    let result = readable(outcome.result.as_bytes()).map_err(fault)?;
    let (position, code, gas) = (outcome.position, outcome.code.number(), outcome.gas);
    Ok(DryRunInfo { process, position, code, result, gas })
}

fn why(error: &DryRunError) -> Failure {
    let busy = |ms| fail(FailureCode::Busy, error.to_string()).retry_in(ms);
    let code = match error {
        DryRunError::Back(error) => return state::why(error),
        DryRunError::NoOwner => FailureCode::Invalid,
        DryRunError::Busy => return busy(BUSY_RETRY_MS),
        DryRunError::Spent { retry_ms } => return busy(*retry_ms),
        DryRunError::TooLong { .. } => FailureCode::TimedOut,
        DryRunError::TooMuchGas { .. } | DryRunError::NotForPeers => FailureCode::Refused,
        DryRunError::NoState(_) | DryRunError::NoSlot { .. } => FailureCode::Unknown,
        DryRunError::Wait(_) | DryRunError::Host(_) => FailureCode::Fault,
    };
    fail(code, error.to_string())
}
