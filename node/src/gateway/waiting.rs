//! Waiting for the result of a message: as long as there may be one, and no longer. Who has it is asked; whether
//! there is such a message at all, the scheduler of the process knows, who gives the slots.

use std::time::Duration;

use axum::http::StatusCode;
use serde_json::Value;
use tokio::time::Instant;
use weft_protocol::wire::refusal::Code;
use weft_protocol::{Address, Id};

use super::desk::Desk;
use super::problem::Problem;
use crate::control::api::ResultOf;
use crate::legacy::messages::Span;
use crate::reads::{Read, WAIT_MS_MAX};
use crate::remote::{self, RemoteError};

/// How long the result of a message that has a slot is waited for: below the 300 s after which clients
/// give up by themselves.
const RESULT_WAIT: Duration = Duration::from_secs(240);
/// How long a message is waited for that nobody has seen yet, while its scheduler cannot be asked; and a node
/// that computes the process, while there seems to be none.
const UNSEEN_WAIT: Duration = Duration::from_secs(15);
/// How long a result is waited for before the scheduler is asked whether there is such a message at all: most
/// are there before, and the question has the message for an answer.
const DENIED_AFTER: Duration = Duration::from_millis(200);
/// How long the scheduler has to be found and to say it.
const SCHEDULER_WAIT: Duration = Duration::from_secs(10);
/// The first pause between two looks for what is not there; doubled each time.
pub(super) const LOOK_AGAIN: Duration = Duration::from_millis(100);
/// The longest.
pub(super) const LOOK_AGAIN_MAX: Duration = Duration::from_secs(2);

/// What is known of a message of which there is no result yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Seen {
    /// It has a slot.
    Yes,
    /// Not here, and it may have one elsewhere.
    NotHere,
    /// It has none: this node gives them.
    No,
}

impl Seen {
    /// How long it is worth waiting, from the start.
    const fn patience(self) -> Duration {
        match self {
            Self::Yes => RESULT_WAIT,
            Self::NotHere => UNSEEN_WAIT,
            Self::No => Duration::ZERO,
        }
    }

    /// How long after this answer.
    fn patience_after(self, problem: &Problem) -> Duration {
        match problem.status {
            StatusCode::NOT_FOUND | StatusCode::GATEWAY_TIMEOUT | StatusCode::SERVICE_UNAVAILABLE => {
                self.patience()
            }
            // Nobody computes it, or whoever does fails: that one may only be away, or have just begun.
            StatusCode::FORBIDDEN | StatusCode::INTERNAL_SERVER_ERROR if self == Self::Yes => UNSEEN_WAIT,
            _ => Duration::ZERO,
        }
    }
}

impl Desk {
    /// The result of a message as the control socket gives it, once it is there.
    pub(super) async fn wait_for_result(&self, process: Id, of: ResultOf) -> Result<Value, Problem> {
        let began = Instant::now();
        let scheduler = self.find(process).await?.scheduler();
        let seen = self.seen_here(process, of).await?;
        let result = self.keep_asking(process, of, seen, began);
        if seen != Seen::NotHere {
            return result.await;
        }
        tokio::select! {
            result = result => result,
            () = self.denied(process, scheduler, of) => Err(no_message(process, of)),
        }
    }

    /// Asks for a result until it is there, or nobody is patient any more.
    async fn keep_asking(
        &self,
        process: Id,
        of: ResultOf,
        mut seen: Seen,
        began: Instant,
    ) -> Result<Value, Problem> {
        let mut pause = LOOK_AGAIN;
        loop {
            let left = seen.patience().saturating_sub(began.elapsed());
            let wait_ms = u64::try_from(left.as_millis()).unwrap_or(WAIT_MS_MAX).min(WAIT_MS_MAX);
            let problem = match self.read(process, Read::Result { of, wait_ms }).await {
                Ok(info) => return Ok(info),
                Err(problem) => problem,
            };
            if let Some(fault) = self.shared.directory.get(&process).and_then(|known| known.fault) {
                return Err(Problem::fault(format!("process {process} is stopped here: {fault}")));
            }
            // What has a slot once has it for ever.
            if seen == Seen::NotHere {
                seen = self.seen(process, of).await;
            }
            if seen.patience_after(&problem) <= began.elapsed() {
                let is_unseen = seen != Seen::Yes && problem.status == StatusCode::NOT_FOUND;
                return Err(if is_unseen { no_message(process, of) } else { problem });
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LOOK_AGAIN_MAX);
        }
    }

    /// Returns when the scheduler says that it gave no such slot. While it cannot be asked, and once it says
    /// that there is one, this waits.
    async fn denied(&self, process: Id, scheduler: Address, of: ResultOf) {
        tokio::time::sleep(DENIED_AFTER).await;
        if let Some(read) = read_of(of)
            && self.is_denied(process, scheduler, &read).await
        {
            return;
        }
        std::future::pending::<()>().await;
    }

    async fn is_denied(&self, process: Id, scheduler: Address, read: &Read) -> bool {
        let asking = async {
            let peer = remote::with_address(&self.shared, scheduler).await?;
            if peer.address() != Some(scheduler) {
                return Err(RemoteError::Mismatch { peer });
            }
            remote::read(&self.shared, peer, process, read).await
        };
        match tokio::time::timeout(SCHEDULER_WAIT, asking).await {
            Ok(Ok(found)) => !is_there(&found),
            Ok(Err(RemoteError::Refused { refusal, .. })) => refusal.code() == Code::Unknown,
            Ok(Err(_)) | Err(_) => false,
        }
    }

    /// Whether a message has a slot, as far as this node's disk tells.
    async fn seen_here(&self, process: Id, of: ResultOf) -> Result<Seen, Problem> {
        let Some(roles) = self.shared.directory.roles(&process) else { return Ok(Seen::NotHere) };
        let has_slot = match of {
            ResultOf::Item(id) => self.answers.slot_of(process, id).await?.is_some(),
            ResultOf::Slot(slot) => {
                let head = self.shared.store.read().and_then(|reader| reader.head(&process));
                head.map_err(Problem::fault)?.is_some_and(|(head, _)| head >= slot)
            }
            ResultOf::Now => true,
        };
        Ok(match (has_slot, roles.schedules) {
            (true, _) => Seen::Yes,
            (false, true) => Seen::No,
            (false, false) => Seen::NotHere,
        })
    }

    /// Whether a message has a slot, as far as those tell who have its log.
    async fn seen(&self, process: Id, of: ResultOf) -> Seen {
        let Some(read) = read_of(of) else { return Seen::Yes };
        let found = self.read(process, read).await;
        if found.is_ok_and(|found| is_there(&found)) { Seen::Yes } else { Seen::NotHere }
    }
}

/// The question whether there is such a slot; none where there always is.
fn read_of(of: ResultOf) -> Option<Read> {
    match of {
        ResultOf::Item(id) => Some(Read::Message { id: Some(id) }),
        ResultOf::Slot(slot) => {
            let span = Span::Nonces { from: slot.checked_sub(1), to: Some(slot) };
            Some(Read::Messages { span, limit: Some(1) })
        }
        ResultOf::Now => None,
    }
}

/// Whether the answer to it names one.
fn is_there(found: &Value) -> bool {
    match found.get("edges") {
        Some(edges) => edges.as_array().is_some_and(|edges| !edges.is_empty()),
        None => true,
    }
}

pub(super) fn no_message(process: Id, of: ResultOf) -> Problem {
    let what = match of {
        ResultOf::Item(id) => format!("message {id}"),
        ResultOf::Slot(slot) => format!("slot {slot}"),
        ResultOf::Now => "the newest slot".to_owned(),
    };
    Problem::unknown(format!("{what} was not found in process {process}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_still_come_is_waited_for_and_nothing_else() {
        let after = |seen: Seen, status| seen.patience_after(&Problem::new(status, ""));
        for status in [StatusCode::NOT_FOUND, StatusCode::GATEWAY_TIMEOUT, StatusCode::SERVICE_UNAVAILABLE] {
            assert_eq!(after(Seen::Yes, status), RESULT_WAIT);
            assert_eq!(after(Seen::NotHere, status), UNSEEN_WAIT);
            assert_eq!(after(Seen::No, status), Duration::ZERO);
        }
        // Whoever computes it may only be away.
        assert_eq!(after(Seen::Yes, StatusCode::FORBIDDEN), UNSEEN_WAIT);
        assert_eq!(after(Seen::NotHere, StatusCode::FORBIDDEN), Duration::ZERO);
        for status in [StatusCode::GONE, StatusCode::BAD_REQUEST, StatusCode::PAYLOAD_TOO_LARGE] {
            assert_eq!(after(Seen::Yes, status), Duration::ZERO);
        }
    }

    #[test]
    fn a_page_without_slots_names_none() {
        assert!(is_there(&serde_json::json!({ "assignment": {} })));
        assert!(is_there(&serde_json::json!({ "edges": [1] })));
        assert!(!is_there(&serde_json::json!({ "edges": [] })));
    }
}
