//! What today's clients ask of a messenger unit: items go to their scheduler wherever it is, and the
//! answer comes once they have a slot on its disk.
//!
//! Nothing is signed here for a caller.

use axum::body::Body;
use axum::http::StatusCode;
use axum::response::Response;
use bytes::Bytes;
use serde_json::json;
use weft_protocol::limits::CLOCK_BLOCK_MS;
use weft_protocol::process::Process;
use weft_protocol::{DataItem, Id, Verified};

use super::body::BODY_BYTES_MAX;
use super::desk::Desk;
use super::find::{Header, Place};
use super::problem::{self, Problem};
use crate::control::no_slot;
use crate::submit::{Assign, Slot, StoredItem, SubmitError, excludes};

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
            // It has its slot, so it is remembered also for who hangs up now.
            let (desk, raw) = (self.clone(), body.bytes.clone());
            let opened = tokio::spawn(async move { desk.opened(raw, target).await });
            opened.await.map_err(Problem::fault)?;
        }
        Ok(Taken { item: id, process, slot, is_process })
    }

    /// What follows once a process has slot 0: clients look it up at once, and one that was written to
    /// another process is assigned to that too.
    async fn opened(&self, raw: Bytes, target: Option<Id>) {
        let Ok(item) = verify(raw.clone()).await else { return };
        let id = item.id();
        if self.shared.directory.roles(&id).is_none() {
            let timestamp = self.shared.clock.now().0;
            let place = Place { height: timestamp / CLOCK_BLOCK_MS, timestamp };
            self.spawned.remember(&self.shared, Header::of(&item, Some(place))).await;
            if let Ok(process) = Process::accept(item, None, &self.shared.terms) {
                self.shared.directory.remember(process.into());
            }
        }
        let Some(process) = target else { return };
        let stored = Some(StoredItem { raw, proof: Bytes::new() });
        let assigned = self
            .submitter
            .assign(Assign { process, item: id, base_layer: false, excludes: Vec::new(), stored })
            .await;
        if let Err(error) = assigned {
            tracing::debug!(%process, item = %id, %error, "a new process was not assigned to its target");
        }
    }

    /// Asks for a slot of an existing item.
    pub(super) async fn assign(
        &self,
        process: Id,
        item: Id,
        base_layer: bool,
        exclude: &[String],
    ) -> Result<Response, Problem> {
        let excludes = excludes(exclude).map_err(|error| refused(&error))?;
        let read = self.shared.store.read().and_then(|reader| StoredItem::of(&reader, item, base_layer));
        let stored = read.map_err(Problem::fault)?;
        let slot = self.submitter.assign(Assign { process, item, base_layer, excludes, stored }).await;
        let slot = slot.map_err(|error| refused(&error))?;
        let answer = json!({ "message": "Processing Assignment", "id": slot.assignment });
        Ok(problem::json(StatusCode::ACCEPTED, &answer))
    }
}

pub(super) fn parse(raw: &Bytes) -> Result<DataItem, Problem> {
    let parsed = DataItem::parse(raw.clone()).map(|item| item.claims().clone());
    parsed.map_err(|error| {
        Problem::invalid(format!("A valid and signed data item must be provided as the body: {error}"))
    })
}

pub(super) async fn verify(raw: Bytes) -> Result<Verified<DataItem>, Problem> {
    let verified = tokio::task::spawn_blocking(move || DataItem::verify_bytes(raw)).await;
    verified.map_err(Problem::fault)?.map_err(|error| {
        Problem::invalid(format!("A valid and signed data item must be provided as the body: {error}"))
    })
}

fn refused(error: &SubmitError) -> Problem {
    no_slot(error).into()
}
