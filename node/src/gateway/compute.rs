//! What today's clients ask of a compute unit: results, pages of them, dry runs, memories.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::body::Body;
use axum::http::header::CONTENT_LENGTH;
use axum::http::{HeaderValue, StatusCode};
use axum::response::Response;
use bytes::Bytes;
use serde_json::Value;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::task::JoinHandle;
use tokio::time::Instant;
use weft_protocol::Id;
use weft_vm::LEAF_BYTES;

use super::body::BODY_BYTES_MAX;
use super::desk::Desk;
use super::feed;
use super::problem::{self, Problem, with_type};
use super::waiting::{LOOK_AGAIN, LOOK_AGAIN_MAX, no_message};
use crate::control::api::ResultOf;
use crate::dry_run::DryRunBody;
use crate::reads::{Place, Read, ResultsQuery};
use crate::replays::OldState;
use crate::supervisor::joined;

/// How long a dry run is tried again where as many as may are tried out already.
const BUSY_WAIT: Duration = Duration::from_secs(30);
/// Dry runs of one process under way at other nodes: what a node grants another.
const RUNS_ELSEWHERE_MAX: usize = 2;
/// Processes of which it is remembered how many are; beyond that those with none are forgotten.
const PROCESSES_KEPT_MAX: usize = 1_024;
/// When one too many is told to come back, in milliseconds.
const DRY_RUN_RETRY_MS: u64 = 1_000;
/// Bytes of a dry run's message whose data is no text: as many small values it takes some fifty times that.
const STRUCTURED_BYTES_MAX: usize = 1024 * 1024;
/// Such messages that are read at once.
pub(super) const STRUCTURED_MAX: usize = 2;
/// Memories that are given at once; each holds one of the few places of replays until it is taken.
pub(super) const STATES_MAX: usize = 4;
/// When one too many is told to come back, in milliseconds.
const STATES_RETRY_MS: u64 = 5_000;
/// Pieces of a memory that wait for a client to take them.
const LEAVES_MAX: usize = 8;

/// Turns of dry runs at other nodes, for each process by itself.
#[derive(Debug, Default)]
pub(super) struct RunsElsewhere(Mutex<BTreeMap<Id, Arc<Semaphore>>>);

impl RunsElsewhere {
    /// A turn, as soon as those before had theirs.
    async fn turn(&self, process: Id, until: Instant) -> Result<OwnedSemaphorePermit, Problem> {
        let turns = {
            let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            if all.len() >= PROCESSES_KEPT_MAX {
                // Who waits for a turn holds its semaphore.
                all.retain(|_, turns| Arc::strong_count(turns) > 1);
            }
            Arc::clone(all.entry(process).or_insert_with(|| Arc::new(Semaphore::new(RUNS_ELSEWHERE_MAX))))
        };
        let full = |_| {
            let text = format!("too many dry runs of process {process} are under way at other nodes");
            Problem::busy(text, DRY_RUN_RETRY_MS)
        };
        let turn = tokio::time::timeout_at(until, turns.acquire_owned()).await.map_err(full)?;
        turn.map_err(Problem::fault)
    }
}

impl Desk {
    /// The result of a message, once there is one.
    pub(super) async fn result(&self, process: Id, of: ResultOf) -> Result<Response, Problem> {
        let info = self.wait_for_result(process, of).await?;
        Ok(problem::json(StatusCode::OK, info.get("result").unwrap_or(&Value::Null)))
    }

    /// A page of results.
    pub(super) async fn results(&self, process: Id, query: ResultsQuery) -> Result<Response, Problem> {
        self.find(process).await?;
        let page = self.read(process, Read::Results(feed::as_meant(query))).await?;
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

    /// Tries out a message, again for a while where others are tried out already: as many as may are sent to
    /// peers for one process, and the rest wait here.
    pub(super) async fn try_out(
        &self,
        process: Id,
        message: DryRunBody,
        to: Option<Id>,
    ) -> Result<Value, Problem> {
        self.find(process).await?;
        let until = Instant::now() + BUSY_WAIT;
        let read = Read::DryRun { message: Box::new(message), to };
        let mut pause = LOOK_AGAIN;
        loop {
            let is_here = read.place(self.shared.directory.roles(&process)) == Place::Here;
            let turn = if is_here { None } else { Some(self.runs_elsewhere.turn(process, until).await?) };
            let busy = match self.read(process, read.clone()).await {
                Err(problem) if problem.status == StatusCode::SERVICE_UNAVAILABLE => problem,
                tried => return tried,
            };
            drop(turn);
            let pause_now = busy.retry().unwrap_or_default().clamp(pause, LOOK_AGAIN_MAX);
            if Instant::now() + pause_now >= until {
                return Err(busy);
            }
            tokio::time::sleep(pause_now).await;
            pause = (pause * 2).min(LOOK_AGAIN_MAX);
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
                "the message is malformed, or its data is not text and has more than {STRUCTURED_BYTES_MAX} bytes"
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
        let place = Arc::clone(&self.states).try_acquire_owned();
        let full = |_| {
            let text = format!("{STATES_MAX} memories are given here at once, the limit");
            Problem::busy(text, STATES_RETRY_MS)
        };
        let place = place.map_err(full)?;
        let slot = match to {
            Some(id) => {
                let slot = self.answers.slot_of(process, id).await?;
                Some(slot.ok_or_else(|| no_message(process, ResultOf::Item(id)))?)
            }
            None => None,
        };
        let state = self.answers.old_state(process, slot).await?;
        let position = state.summary.position;
        let (time, bytes) = (state.summary.time, state.summary.memory_bytes);
        let mut response = with_type(StatusCode::OK, "application/octet-stream", memory(state, place));
        let headers = response.headers_mut();
        headers.insert(CONTENT_LENGTH, HeaderValue::from(bytes));
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

/// All of a memory, piece by piece as it is taken: what was never written is zero. It holds its place until then.
fn memory(state: OldState, place: OwnedSemaphorePermit) -> Body {
    let (give, take) = mpsc::channel(LEAVES_MAX);
    let mut pieces = Pieces { give, left: state.summary.memory_bytes };
    let giving = tokio::task::spawn_blocking(move || {
        let _place = place;
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

    #[tokio::test(start_paused = true)]
    async fn dry_runs_elsewhere_take_turns_for_each_process() {
        let runs = RunsElsewhere::default();
        let soon = || Instant::now() + Duration::from_secs(1);
        let held =
            [runs.turn(Id([1; 32]), soon()).await.unwrap(), runs.turn(Id([1; 32]), soon()).await.unwrap()];
        assert_eq!(runs.turn(Id([1; 32]), soon()).await.unwrap_err().status, StatusCode::SERVICE_UNAVAILABLE);
        assert!(runs.turn(Id([2; 32]), soon()).await.is_ok());
        for number in 0..2 * PROCESSES_KEPT_MAX as u64 {
            let mut other = [3; 32];
            other[..8].copy_from_slice(&number.to_be_bytes());
            drop(runs.turn(Id(other), soon()).await.unwrap());
        }
        assert!(runs.0.lock().unwrap().len() <= PROCESSES_KEPT_MAX);
        assert!(runs.turn(Id([1; 32]), soon()).await.is_err(), "what is held is not forgotten");
        drop(held);
        assert!(runs.turn(Id([1; 32]), soon()).await.is_ok());
    }

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
