//! What today's clients ask of a messenger unit: items go to their scheduler wherever it is, and the
//! answer comes once they have a slot on its disk.
//!
//! Nothing is signed here for a caller.

use std::sync::PoisonError;

use axum::body::Body;
use axum::http::StatusCode;
use axum::response::Response;
use bytes::Bytes;
use serde_json::json;
use weft_protocol::process::Process;
use weft_protocol::{DataItem, Id, Verified};
use weft_storage::{Roles, StoreError};

use super::body::BODY_BYTES_MAX;
use super::desk::Desk;
use super::problem::{self, Problem, with_type};
use crate::control::{no_slot, not_hosted};
use crate::hosting;
use crate::submit::{Assign, Slot, StoredItem, SubmitError, excludes};

/// Processes in which clients of this node let time pass.
const MONITORED_MAX: usize = 1_000;
/// When somebody who finds no place among them is told to come back, in milliseconds.
const MONITORED_RETRY_MS: u64 = 60_000;

/// An item that has a slot.
#[derive(Debug, Clone, Copy)]
pub(super) struct Taken {
    pub(super) item: Id,
    pub(super) process: Id,
    pub(super) slot: u64,
    /// Whether it is a process.
    pub(super) is_process: bool,
}

impl Desk {
    /// Takes a signed item, of any chain, to the scheduler of its process.
    pub(super) async fn submit(&self, body: Body) -> Result<Response, Problem> {
        let Taken { item, process, is_process, .. } = self.take(body).await?;
        let mut answer = json!({ "message": "Processing DataItem", "id": item });
        if is_process && let Some(answer) = answer.as_object_mut() {
            answer.insert("processId".to_owned(), json!(process));
        }
        Ok(problem::json(StatusCode::ACCEPTED, &answer))
    }

    /// Takes it there, and says which slot it has.
    pub(super) async fn take(&self, body: Body) -> Result<Taken, Problem> {
        let body = self.bodies.read(body, BODY_BYTES_MAX).await?;
        let item = parse(&body.bytes)?;
        let (id, target) = (item.id(), item.target());
        let is_process = ["Type", "type"].iter().find_map(|name| item.tag(name)) == Some("Process");
        let slot = self.submitter.submit(body.bytes.clone(), Bytes::new()).await;
        let Slot { process, slot, .. } = slot.map_err(|error| refused(&error))?;
        if is_process {
            self.opened(body.bytes.clone(), target).await;
        }
        Ok(Taken { item: id, process, slot, is_process })
    }

    /// What follows once a process has slot 0: clients look it up at once, and one that was written to
    /// another process is assigned to that too.
    async fn opened(&self, raw: Bytes, target: Option<Id>) {
        let Ok(item) = verify(raw.clone()).await else { return };
        let id = item.id();
        if self.shared.directory.roles(&id).is_none()
            && let Ok(process) = Process::accept(item, None, &self.shared.terms)
        {
            self.shared.directory.remember(process.into());
        }
        let Some(process) = target else { return };
        let stored = Some(StoredItem { raw, proof: Bytes::new() });
        let assigned =
            self.submitter.assign(Assign { process, item: id, excludes: Vec::new(), stored }).await;
        if let Err(error) = assigned {
            tracing::debug!(%process, item = %id, %error, "a new process was not assigned to its target");
        }
    }

    /// Asks for a slot of an existing item.
    pub(super) async fn assign(
        &self,
        process: Id,
        item: Id,
        exclude: &[String],
    ) -> Result<Response, Problem> {
        let excludes = excludes(exclude).map_err(|error| refused(&error))?;
        let read = self.shared.store.read().and_then(|reader| StoredItem::read(&reader, item));
        let stored = read.map_err(Problem::fault)?;
        let slot = self.submitter.assign(Assign { process, item, excludes, stored }).await;
        let slot = slot.map_err(|error| refused(&error))?;
        let answer = json!({ "message": "Processing Assignment", "id": slot.assignment });
        Ok(problem::json(StatusCode::ACCEPTED, &answer))
    }

    /// Lets time pass in a process for whoever signs that he wants it, so that its crons run, or no more.
    pub(super) async fn monitor(&self, process: Id, on: bool, body: Body) -> Result<Response, Problem> {
        let body = self.bodies.read(body, BODY_BYTES_MAX).await?;
        parse(&body.bytes)?;
        let item = verify(body.bytes).await?;
        if item.target() != Some(process) {
            return Err(Problem::invalid(format!("the item is not written to process {process}")));
        }
        if item.tag("Data-Protocol").is_some() {
            // A message to the process is somebody's, and is no wish of his to monitor it.
            return Err(Problem::invalid(
                "the item is a message; one to monitor with has no `Data-Protocol`",
            ));
        }
        let desk = self.clone();
        // Whoever hangs up meanwhile leaves nothing half done.
        let changing = tokio::spawn(async move {
            if on { desk.keep_time(process).await } else { desk.leave_time(process).await }
        });
        changing.await.map_err(Problem::fault)??;
        let told = if on { "Monitoring process" } else { "Process deleted" };
        Ok(with_type(StatusCode::OK, "text/plain; charset=utf-8", Body::from(told)))
    }

    async fn keep_time(&self, process: Id) -> Result<(), Problem> {
        // In a process without crons nothing falls due.
        if self.find(process).await?.crons().is_empty() {
            return Ok(());
        }
        let has = self.shared.directory.roles(&process);
        if has.is_some_and(|has| has.keeps_time) {
            return Ok(());
        }
        if self.shared.directory.count(|roles| roles.keeps_time) >= MONITORED_MAX {
            let text = format!("{MONITORED_MAX} processes are monitored here, the limit");
            return Err(Problem::busy(text, MONITORED_RETRY_MS));
        }
        let wanted = Roles { watches: true, keeps_time: true, ..Roles::default() };
        hosting::host(&self.shared, process, wanted).await.map_err(|error| not_hosted(&error))?;
        let mut monitored = self.monitored.lock().unwrap_or_else(PoisonError::into_inner);
        monitored.insert(process, has.is_some_and(|has| has.watches));
        Ok(())
    }

    /// Undoes what was done for clients, and nothing that the operator asked for.
    async fn leave_time(&self, process: Id) -> Result<(), Problem> {
        let taken = self.monitored.lock().unwrap_or_else(PoisonError::into_inner).remove(&process);
        let (Some(watched), Some(known)) = (taken, self.shared.directory.get(&process)) else {
            return Ok(());
        };
        let roles = |has: Roles| {
            let left = Roles { keeps_time: false, ..has };
            let was_for_this = left == Roles { watches: true, ..Roles::default() } && !watched;
            Ok::<_, StoreError>(if was_for_this { Roles::default() } else { left })
        };
        hosting::change(&self.shared, known, roles).await.map_err(Problem::fault)
    }
}

fn parse(raw: &Bytes) -> Result<DataItem, Problem> {
    let parsed = DataItem::parse(raw.clone()).map(|item| item.claims().clone());
    parsed.map_err(|error| {
        Problem::invalid(format!("A valid and signed data item must be provided as the body: {error}"))
    })
}

async fn verify(raw: Bytes) -> Result<Verified<DataItem>, Problem> {
    let verified = tokio::task::spawn_blocking(move || DataItem::verify_bytes(raw)).await;
    verified.map_err(Problem::fault)?.map_err(|error| {
        Problem::invalid(format!("A valid and signed data item must be provided as the body: {error}"))
    })
}

fn refused(error: &SubmitError) -> Problem {
    no_slot(error).into()
}
