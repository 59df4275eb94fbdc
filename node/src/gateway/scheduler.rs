//! What today's clients ask of a scheduler unit: the log of a process, its time, and who is here.

use axum::http::StatusCode;
use axum::response::Response;
use serde_json::json;
use weft_protocol::Id;

use super::desk::Desk;
use super::problem::{self, Problem};
use crate::legacy::messages::{self, Span};
use crate::reads::Read;

impl Desk {
    /// Who answers here: what the units say of themselves, in one.
    pub(super) fn root(&self) -> Response {
        let shared = &self.shared;
        let answer = json!({
            "address": shared.address,
            "timestamp": shared.clock.now().0,
            "network": shared.config.network,
            "version": env!("CARGO_PKG_VERSION"),
        });
        problem::json(StatusCode::OK, &answer)
    }

    /// The time of this node.
    pub(super) fn timestamp(&self) -> Response {
        problem::json(StatusCode::OK, &messages::timestamp(self.shared.clock.now()))
    }

    /// A page of a log.
    pub(super) async fn page(
        &self,
        process: Id,
        span: Span,
        limit: Option<usize>,
    ) -> Result<Response, Problem> {
        self.told(process, Read::Messages { span, limit }).await
    }

    /// One message, by its id or that of its assignment, or the newest.
    pub(super) async fn message(&self, process: Id, id: Option<Id>) -> Result<Response, Problem> {
        self.told(process, Read::Message { id }).await
    }

    /// The process itself.
    pub(super) async fn process(&self, process: Id) -> Result<Response, Problem> {
        self.told(process, Read::Process).await
    }

    async fn told(&self, process: Id, read: Read) -> Result<Response, Problem> {
        self.find(process).await?;
        Ok(problem::json(StatusCode::OK, &self.read(process, read).await?))
    }
}
