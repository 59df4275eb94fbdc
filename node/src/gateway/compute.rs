//! What today's clients ask of a compute unit: results, pages of them, dry runs, memories.

use std::convert::Infallible;
use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderValue, StatusCode};
use axum::response::Response;
use bytes::Bytes;
use serde_json::Value;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use weft_protocol::Id;
use weft_vm::LEAF_BYTES;

use super::body::BODY_BYTES_MAX;
use super::desk::Desk;
use super::problem::{self, Problem, with_type};
use crate::control::api::ResultOf;
use crate::dry_run::DryRunBody;
use crate::legacy::messages::Span;
use crate::reads::{Place, Read, ResultsQuery, WAIT_MS_MAX};
use crate::replays::OldState;
use crate::supervisor::joined;

/// How long the result of a message that has a slot is waited for: below the 300 s after which clients
/// give up by themselves.
const RESULT_WAIT: Duration = Duration::from_secs(240);
/// How long a message is waited for that nobody has seen yet: it may be on its way from another node.
const UNSEEN_WAIT: Duration = Duration::from_secs(15);
/// The pause between two looks for what is elsewhere.
const LOOK_AGAIN: Duration = Duration::from_millis(100);
/// How long a dry run is tried again where as many as may are tried out already.
const BUSY_WAIT: Duration = Duration::from_secs(30);
/// Bytes of a dry run's message whose data is no text: as many small values it takes some fifty times that.
const STRUCTURED_BYTES_MAX: usize = 1024 * 1024;
/// Such messages that are read at once.
pub(super) const STRUCTURED_MAX: usize = 2;
/// Pieces of a memory that wait for a client to take them.
const LEAVES_MAX: usize = 8;

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
}

impl Desk {
    /// The result of a message, once there is one.
    pub(super) async fn result(&self, process: Id, of: ResultOf) -> Result<Response, Problem> {
        let info = self.wait_for_result(process, of).await?;
        Ok(problem::json(StatusCode::OK, info.get("result").unwrap_or(&Value::Null)))
    }

    /// As the control socket gives it, once it is there.
    pub(super) async fn wait_for_result(&self, process: Id, of: ResultOf) -> Result<Value, Problem> {
        let began = Instant::now();
        self.find(process).await?;
        // What has a slot once has it for ever.
        let mut seen = self.seen_here(process, of).await?;
        loop {
            let left = seen.patience().saturating_sub(began.elapsed());
            let wait_ms = u64::try_from(left.as_millis()).unwrap_or(WAIT_MS_MAX).min(WAIT_MS_MAX);
            let read = Read::Result { of, wait_ms };
            let is_here = read.place(self.shared.directory.roles(&process)) == Place::Here;
            let problem = match self.read(process, read).await {
                Ok(info) => return Ok(info),
                Err(problem) if is_worth_waiting(&problem) => problem,
                Err(problem) => return Err(problem),
            };
            if let Some(fault) = self.shared.directory.get(&process).and_then(|known| known.fault) {
                return Err(Problem::fault(format!("process {process} is stopped here: {fault}")));
            }
            if seen == Seen::NotHere {
                seen = self.seen(process, of).await;
            }
            if seen.patience() <= began.elapsed() {
                return Err(match seen {
                    Seen::Yes => problem,
                    Seen::NotHere | Seen::No => no_message(process, of),
                });
            }
            if !is_here {
                tokio::time::sleep(LOOK_AGAIN).await;
            }
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
        let read = match of {
            ResultOf::Item(id) => Read::Message { id: Some(id) },
            ResultOf::Slot(slot) => {
                let span = Span::Nonces { from: slot.checked_sub(1), to: Some(slot) };
                Read::Messages { span, limit: Some(1) }
            }
            ResultOf::Now => return Seen::Yes,
        };
        let is_edge = |found: &Value| match found.get("edges") {
            Some(edges) => edges.as_array().is_some_and(|edges| !edges.is_empty()),
            None => true,
        };
        let is_there = self.read(process, read).await.is_ok_and(|found| is_edge(&found));
        if is_there { Seen::Yes } else { Seen::NotHere }
    }

    /// A page of results.
    pub(super) async fn results(&self, process: Id, query: ResultsQuery) -> Result<Response, Problem> {
        self.find(process).await?;
        let page = self.read(process, Read::Results(query)).await?;
        Ok(problem::json(StatusCode::OK, &page))
    }

    /// What a message would come to.
    pub(super) async fn dry_run(&self, process: Id, to: Option<Id>, body: Body) -> Result<Response, Problem> {
        // Its share of the memory for bodies is held until the run is over: so is the message.
        let body = self.bodies.read(body, BODY_BYTES_MAX).await?;
        let message = self.message_of(&body.bytes).await?;
        let info = self.try_out(process, message, to).await?;
        Ok(problem::json(StatusCode::OK, info.get("result").unwrap_or(&Value::Null)))
    }

    /// Tries out a message, again for a while where others are tried out already.
    pub(super) async fn try_out(
        &self,
        process: Id,
        message: DryRunBody,
        to: Option<Id>,
    ) -> Result<Value, Problem> {
        self.find(process).await?;
        let until = Instant::now() + BUSY_WAIT;
        let read = Read::DryRun { message: Box::new(message), to };
        loop {
            let tried = self.read(process, read.clone()).await;
            let is_busy = tried.as_ref().is_err_and(|why| why.status == StatusCode::SERVICE_UNAVAILABLE);
            if !is_busy || Instant::now() >= until {
                return tried;
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }

    /// The body of a dry run as clients write it: data that is no text is given as its JSON.
    async fn message_of(&self, body: &Bytes) -> Result<DryRunBody, Problem> {
        // A text is read as it is; anything else first becomes many small pieces of memory.
        if let Some(message) = plain(body) {
            return Ok(message);
        }
        if body.len() > STRUCTURED_BYTES_MAX {
            let text = format!(
                "the message is none, or has data that is no text and over {STRUCTURED_BYTES_MAX} bytes"
            );
            return Err(Problem::invalid(text));
        }
        let _turn = self.structured.acquire().await.map_err(Problem::fault)?;
        let body = body.clone();
        let read = tokio::task::spawn_blocking(move || structured(&body)).await;
        read.map_err(Problem::fault)?
    }

    /// The memory of a process that is computed here, after a message or as of now.
    pub(super) async fn state(&self, process: Id, to: Option<Id>) -> Result<Response, Problem> {
        let slot = match to {
            Some(id) => {
                let slot = self.answers.slot_of(process, id).await?;
                Some(slot.ok_or_else(|| no_message(process, ResultOf::Item(id)))?)
            }
            None => None,
        };
        let state = self.answers.old_state(process, slot).await?;
        let position = state.summary.position;
        let time = state.summary.time;
        let mut response = with_type(StatusCode::OK, "application/octet-stream", memory(state));
        let headers = response.headers_mut();
        headers.insert("last-ordinate", HeaderValue::from(position.slot));
        headers.insert("last-timestamp", HeaderValue::from(time.timestamp));
        headers.insert("last-block-height", HeaderValue::from(time.height));
        Ok(response)
    }
}

/// The message of a body with text for data.
fn plain(body: &[u8]) -> Option<DryRunBody> {
    // An array would be read too, as the fields one after the other.
    let is_object = body.trim_ascii_start().first() == Some(&b'{');
    is_object.then(|| serde_json::from_slice(body).ok()).flatten()
}

/// The message of a body with data of any kind.
fn structured(body: &[u8]) -> Result<DryRunBody, Problem> {
    let invalid = |error: serde_json::Error| Problem::invalid(format!("the message: {error}"));
    let mut message: Value = serde_json::from_slice(body).map_err(invalid)?;
    if !message.is_object() {
        return Err(Problem::invalid("the message: expected an object"));
    }
    if let Some(data) = message.get_mut("Data").filter(|data| !data.is_string() && !data.is_null()) {
        *data = Value::String(data.to_string());
    }
    serde_json::from_value(message).map_err(invalid)
}

/// Whether it may come to a result yet.
fn is_worth_waiting(problem: &Problem) -> bool {
    let waits = [StatusCode::NOT_FOUND, StatusCode::GATEWAY_TIMEOUT, StatusCode::SERVICE_UNAVAILABLE];
    waits.contains(&problem.status)
}

fn no_message(process: Id, of: ResultOf) -> Problem {
    let what = match of {
        ResultOf::Item(id) => format!("message {id}"),
        ResultOf::Slot(slot) => format!("slot {slot}"),
        ResultOf::Now => "the newest slot".to_owned(),
    };
    Problem::unknown(format!("{what} was not found in process {process}"))
}

/// All of a memory, piece by piece as it is taken: what was never written is zero.
fn memory(state: OldState) -> Body {
    let (give, take) = mpsc::channel(LEAVES_MAX);
    let mut pieces = Pieces { give, left: state.summary.memory_bytes };
    let giving = tokio::task::spawn_blocking(move || {
        let zeros = Bytes::from(vec![0; LEAF_BYTES]);
        let mut next = 0;
        for (number, _, bytes) in state.memory.leaves(|_| true) {
            while next < number {
                if !pieces.put(&zeros) {
                    return;
                }
                next += 1;
            }
            if !pieces.put(&Bytes::from(bytes)) {
                return;
            }
            next += 1;
        }
        while pieces.put(&zeros) {}
    });
    // A client that hangs up drops the channel's end, and what gives the pieces ends with that.
    let taken = |(mut take, giving): (mpsc::Receiver<_>, JoinHandle<()>)| async move {
        match take.recv().await {
            Some(piece) => Some((piece, (take, giving))),
            None => {
                joined(giving.await);
                None
            }
        }
    };
    Body::from_stream(futures::stream::unfold((take, giving), taken))
}

/// Where the pieces of a memory go.
struct Pieces {
    give: mpsc::Sender<Result<Bytes, Infallible>>,
    /// Bytes that are still to come.
    left: u64,
}

impl Pieces {
    /// Gives a piece, cut where the memory ends; says whether another may follow: it ends there, and with
    /// a client that hangs up.
    fn put(&mut self, bytes: &Bytes) -> bool {
        let length = usize::try_from(self.left).unwrap_or(usize::MAX).min(bytes.len());
        self.left -= length as u64;
        length > 0 && self.give.blocking_send(Ok(bytes.slice(..length))).is_ok()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn data_of_any_kind_is_taken() {
        let of = |data: &str| {
            let body = format!(r#"{{"Owner":"me","Data":{data},"From":"x","Tags":[]}}"#);
            plain(body.as_bytes()).unwrap_or_else(|| structured(body.as_bytes()).unwrap()).data
        };
        assert_eq!(of(r#""text""#).as_deref(), Some("text"));
        assert_eq!(of(r#"{"a":[1,2]}"#).as_deref(), Some(r#"{"a":[1,2]}"#));
        assert_eq!(of("7").as_deref(), Some("7"));
        assert_eq!(of("null"), None);
        for wrong in ["", "[]", "7", r#"{"Owner":"me","Tags":[{"name":"a","value":1}]}"#] {
            assert!(plain(wrong.as_bytes()).is_none(), "{wrong}");
            let problem = structured(wrong.as_bytes()).unwrap_err();
            assert_eq!(problem.status, StatusCode::BAD_REQUEST, "{wrong}");
        }
    }

    #[test]
    fn a_memory_is_cut_where_it_ends() {
        let (give, mut take) = mpsc::channel(4);
        let mut pieces = Pieces { give, left: 10 };
        let piece = Bytes::from_static(b"abcdefg");
        assert!(pieces.put(&piece) && pieces.put(&piece));
        assert!(!pieces.put(&piece), "it has ended");
        drop(pieces);
        let mut all = Vec::new();
        while let Some(Ok(bytes)) = take.blocking_recv() {
            all.extend_from_slice(&bytes);
        }
        assert_eq!(all, b"abcdefgabc");
        let (give, take) = mpsc::channel(4);
        drop(take);
        assert!(!Pieces { give, left: 10 }.put(&piece), "nobody takes it");
    }
}
