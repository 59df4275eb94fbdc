//! Results: from the disk, or a peer's word, waited for if need be.

use std::time::Duration;

use serde_json::Value;
use tokio::time::Instant;
use weft_protocol::{Id, Position};
use weft_storage::OutcomeRow;

use super::super::api::{Failure, FailureCode, ResultInfo, ResultOf};
use super::{Answers, disk, fail};
use crate::{hosting, remote};

/// The longest that a request waits for a result, in milliseconds.
const WAIT_MS_MAX: u64 = 600_000;
/// How often a waiting request looks again, beside every time it hears news.
const LOOK_AGAIN: Duration = Duration::from_millis(500);

impl Answers {
    pub(super) async fn result(
        &self,
        process: Id,
        of: ResultOf,
        wait_ms: u64,
    ) -> Result<ResultInfo, Failure> {
        let deadline = Instant::now() + Duration::from_millis(wait_ms.min(WAIT_MS_MAX));
        let mut news = self.shared.news.listen();
        loop {
            if let Some(found) = self.find_result(process, of)? {
                return Ok(found);
            }
            if let ResultOf::Item(item) = of
                && !self.shared.directory.get(&process).is_some_and(|known| known.roles.computes)
                && let Some(found) = self.ask_result(process, item).await
            {
                return Ok(found);
            }
            if Instant::now() >= deadline {
                let text = format!("no result of that in process {process} yet");
                let code = if wait_ms == 0 { FailureCode::Unknown } else { FailureCode::TimedOut };
                return Err(fail(code, text));
            }
            let next = (Instant::now() + LOOK_AGAIN).min(deadline);
            // Any news is a reason to look again; missed news too.
            let _ = tokio::time::timeout_at(next, news.recv()).await;
        }
    }

    fn find_result(&self, process: Id, of: ResultOf) -> Result<Option<ResultInfo>, Failure> {
        let reader = self.read()?;
        let found = match of {
            ResultOf::Item(item) => reader.outcome_of_item(&process, &item).map_err(disk)?,
            ResultOf::Slot(slot) => {
                let row = reader.slot(&process, slot).map_err(disk)?;
                let position = row.map(|row| Position { epoch: row.epoch, slot, tick: 0 });
                match position {
                    Some(position) => {
                        let outcome = reader.outcome(&process, position).map_err(disk)?;
                        outcome.map(|row| (position, row))
                    }
                    None => None,
                }
            }
        };
        let Some((position, row)) = found else { return Ok(None) };
        let attested = reader.attestations(&process, position).map_err(disk)?;
        Ok(Some(ResultInfo {
            process,
            position,
            code: row.code,
            result: result_value(&row),
            running: row.running,
            gas: row.gas,
            computed_here: true,
            attested_by: attested.into_iter().map(|(attestor, _)| attestor).collect(),
        }))
    }

    /// The word of a peer that computes the process.
    async fn ask_result(&self, process: Id, item: Id) -> Option<ResultInfo> {
        let scheduler = hosting::find_process(&self.shared, process).await.ok()?.scheduler();
        for peer in remote::sources(&self.shared, process, Some(scheduler)).await {
            let Ok(answer) = remote::outcome(&self.shared, peer, process, item).await else {
                continue;
            };
            let position = weft_protocol::wire::position(answer.position.as_ref()).ok()?;
            return Some(ResultInfo {
                process,
                position,
                code: u8::try_from(answer.code).ok()?,
                result: serde_json::from_slice(&answer.result).ok()?,
                running: weft_protocol::wire::hash("running", &answer.running).ok()?,
                gas: 0,
                computed_here: false,
                attested_by: Vec::new(),
            });
        }
        None
    }
}

/// The result of an outcome as JSON.
pub(super) fn result_value(row: &OutcomeRow) -> Value {
    serde_json::from_slice(&row.result)
        .unwrap_or_else(|_| Value::String(String::from_utf8_lossy(&row.result).into_owned()))
}
