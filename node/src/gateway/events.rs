//! The verified slots and outcomes of a process as they come, for pages that would rather not poll:
//! server-sent events, each a JSON of `weft watch`.
//!
//! The process is followed here, so what is told was verified here. Nothing is taken up for a page: what a
//! node follows is for its operator to say.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::http::HeaderMap;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse as _, Response};
use futures::{Stream, StreamExt as _, stream};
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use weft_protocol::Id;

use super::desk::Desk;
use super::problem::Problem;
use crate::control::Out;
use crate::control::api::Reply;

/// Pages that listen at once; one more is told to come back. Each holds a connection.
pub(super) const LISTENERS_MAX: usize = 128;
/// When, in milliseconds.
const BUSY_RETRY_MS: u64 = 5_000;
/// Events that wait for a page to take them.
const EVENTS_MAX: usize = 64;
/// What a browser sends when it connects again.
const LAST_EVENT_ID: &str = "last-event-id";
/// How often a silent stream says that it is there.
const SIGN_OF_LIFE: Duration = Duration::from_secs(15);

impl Desk {
    /// Streams what happens in a process from now on, or from a slot on. A browser that lost the connection says
    /// which slot it had last, and goes on after it.
    pub(super) async fn events(
        &self,
        process: Id,
        from: Option<u64>,
        headers: &HeaderMap,
    ) -> Result<Response, Problem> {
        let last = headers.get(LAST_EVENT_ID).and_then(|last| last.to_str().ok()?.parse::<u64>().ok());
        let from = last.map(|slot| slot.saturating_add(1)).or(from);
        let place = Arc::clone(&self.listeners).try_acquire_owned();
        let full = |_| Problem::busy(format!("{LISTENERS_MAX} pages listen here, the limit"), BUSY_RETRY_MS);
        let place = place.map_err(full)?;
        if self.shared.directory.roles(&process).is_none() {
            let text =
                format!("process {process} is not followed by this node; `weft host {process}` does that");
            return Err(Problem::unknown(text));
        }
        let alive = KeepAlive::new().interval(SIGN_OF_LIFE);
        Ok(Sse::new(self.watched(process, from, place)).keep_alive(alive).into_response())
    }

    /// The events; who drops the stream ends the watching with it.
    fn watched(
        &self,
        process: Id,
        from: Option<u64>,
        place: OwnedSemaphorePermit,
    ) -> impl Stream<Item = Result<Event, Infallible>> + Send + 'static {
        let (mut out, replies) = Out::channel(EVENTS_MAX);
        let answers = self.answers.clone();
        let watching = async move {
            // What ends it is told as the last event.
            let _ = answers.watch(process, from, &mut out, std::future::pending()).await;
            drop((out, place));
        };
        let watching = stream::once(watching).filter_map(|()| std::future::ready(None));
        let taken = |mut replies: mpsc::Receiver<Reply>| async move {
            replies.recv().await.map(|reply| (Ok(event(&reply)), replies))
        };
        stream::select(watching, stream::unfold(replies, taken))
    }
}

fn event(reply: &Reply) -> Event {
    let mut told = Event::default();
    let (name, data) = match reply {
        Reply::Event(value) => {
            let kind = value.get("kind").and_then(|kind| kind.as_str()).unwrap_or("message");
            if let Some(slot) = value.get("slot").filter(|_| kind == "slot") {
                told = told.id(slot.to_string());
            }
            (kind.to_owned(), value.to_string())
        }
        Reply::Done(value) => ("end".to_owned(), value.to_string()),
        Reply::Error(failure) => {
            // `error` is what a browser calls a broken connection.
            let why = serde_json::json!({ "error": failure.text });
            ("failure".to_owned(), why.to_string())
        }
    };
    // All are one line: names are words, and JSON has its line ends escaped.
    told.event(name).data(data)
}
