//! Answering peers: heads, ranges, items, attestations, outcomes, and submits to this node's
//! scheduler. Everything given is on disk; everything asked is bounded.

mod places;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use prost::Message as _;
use tokio::sync::broadcast::error::RecvError;
use weft_net::limits::ANSWER_SECONDS_MAX;
use weft_net::{Peer, Reply};
use weft_protocol::state::LEAF_BYTES;
use weft_protocol::wire::refusal::Code;
use weft_protocol::wire::request::Body as Ask;
use weft_protocol::wire::response::Body as Answer;
use weft_protocol::wire::{HEADS_MAX, RANGE_SLOTS_MAX, RESPONSE_BYTES_MAX};
use weft_protocol::{DataItem, Id, wire};
use weft_storage::StoreError;

use crate::attestations;
use crate::control::api::Failure;
use crate::control::{Answers, ForPeer};
use crate::join;
use crate::lobby;
use crate::log;
use crate::news::News;
use crate::pushed;
use crate::reads::{self, Read};
use crate::results;
use crate::shared::{Shared, SharedRef};
use crate::submit::{Assign, Slot, SubmitError, Submitter};
use crate::subscriptions;
use places::Places;

/// Bytes of slots or of an item in one answer.
const ANSWER_BYTES_MAX: usize = 8 * 1024 * 1024;
/// Bytes of an answer with a result beside that and its proof.
const PROOF_ROOM_BYTES: usize = 256;
/// How long a busy node asks a peer to wait, in milliseconds.
const BUSY_RETRY_MS: u64 = 500;

/// How long one waits at most: less than a request may take.
const FOLLOW_WAIT_MAX: Duration = Duration::from_secs(20);

/// Answers peers' requests.
#[derive(Debug, Clone)]
pub struct Server {
    shared: SharedRef,
    submitter: Submitter,
    answers: Answers,
    places: Places,
}

/// Why a request is not served.
#[derive(Debug, thiserror::Error)]
enum ServeError {
    #[error("{0}")]
    Invalid(String),
    #[error("{0}")]
    Unknown(String),
    #[error("this node's disk failed")]
    Store(#[from] StoreError),
}

impl Server {
    /// A server of what this node has on disk.
    pub fn new(shared: SharedRef, submitter: Submitter, answers: Answers) -> Self {
        let places = Places::new(&shared);
        Self { shared, submitter, answers, places }
    }

    /// Answers that this node has too much to do.
    pub fn busy(reply: Reply) {
        let text = "this node is at its request limit".to_owned();
        send(reply, refusal(Code::Busy, text, BUSY_RETRY_MS));
    }

    /// Answers one request.
    pub async fn answer(&self, peer: Peer, request: wire::Request, reply: Reply) {
        let answer = match request.body {
            Some(Ask::Submit(submit)) => self.submit(submit).await,
            Some(Ask::Assign(ask)) => self.assign(ask).await,
            Some(Ask::Now(ask)) => self.now(&ask).await,
            Some(Ask::Read(ask)) => self.read(peer, ask).await,
            Some(Ask::Subscribe(ask)) => {
                let Ok(_share) = self.places.subscribes.take(peer) else { return Self::busy(reply) };
                subscriptions::answer(&self.shared, ask).await
            }
            Some(Ask::Pending(ask)) => {
                let processes: Result<Vec<Id>, _> =
                    ask.processes.iter().map(|bytes| id("process", bytes)).collect();
                let told =
                    processes.map(|processes| self.shared.pending.told(&processes, self.shared.clock.now()));
                told.map_or_else(|error| refuse(&error), Answer::Pending)
            }
            // From memory alone.
            Some(Ask::WhoServes(ask)) => match id("process", &ask.process) {
                Ok(process) => Answer::WhoServes(lobby::answer(&self.shared, &process)),
                Err(error) => refuse(&error),
            },
            Some(body) => {
                let _state = match &body {
                    Ask::Checkpoint(_) | Ask::Pages(_) => match self.places.states.take(peer) {
                        Ok(share) => Some(share),
                        Err(_) => return Self::busy(reply),
                    },
                    _ => None,
                };
                let shared = SharedRef::clone(&self.shared);
                let share = match &body {
                    // A pushed item is read whole too, for the hash of its data.
                    Ask::Blob(_) | Ask::Pushed(_) => {
                        Arc::clone(&self.places.blobs).acquire_owned().await.ok()
                    }
                    // What was sent is as much as slots are.
                    Ask::Range(_) | Ask::Sent(_) => {
                        Arc::clone(&self.places.ranges).acquire_owned().await.ok()
                    }
                    _ => None,
                };
                let read = tokio::task::spawn_blocking(move || read(&shared, body)).await;
                drop(share);
                match read {
                    Ok(Ok(answer)) => answer,
                    Ok(Err(error)) => {
                        if let ServeError::Store(fault) = &error {
                            tracing::error!(%peer, %fault, "a request met a damaged disk");
                        }
                        refuse(&error)
                    }
                    Err(error) => refusal(Code::Fault, error.to_string(), 0),
                }
            }
            None => refusal(Code::Invalid, "the request is empty or unknown here".to_owned(), 0),
        };
        send(reply, answer);
    }

    /// Answers a subscription: it waits, so it takes none of the places of other requests.
    pub async fn follow(&self, peer: Peer, ask: wire::FollowRequest, reply: Reply) {
        let Ok(_share) = self.places.follows.take(peer) else { return Self::busy(reply) };
        send(reply, self.followed(ask).await.map_or_else(|error| refuse(&error), Answer::Head));
    }

    async fn followed(&self, ask: wire::FollowRequest) -> Result<wire::HeadResponse, ServeError> {
        let watched = ask.watched.iter().map(|watched| Ok((id("process", &watched.process)?, watched.slots)));
        let watched: BTreeMap<Id, u64> = watched.collect::<Result<_, ServeError>>()?;
        // Listening comes first: what grows while the disk is read is heard.
        let mut news = self.shared.news.listen();
        let wait = Duration::from_millis(ask.wait_ms).min(FOLLOW_WAIT_MAX);
        let deadline = tokio::time::Instant::now() + wait;
        loop {
            let (shared, of) = (SharedRef::clone(&self.shared), watched.clone());
            let read = tokio::task::spawn_blocking(move || grown(&shared, &of)).await;
            let heads = read.map_err(|error| ServeError::Invalid(error.to_string()))??;
            if !heads.is_empty() {
                return Ok(wire::HeadResponse { heads });
            }
            let heard = async {
                loop {
                    match news.recv().await {
                        Ok(News::Grew { process, .. }) if watched.contains_key(&process) => return true,
                        Ok(_) => {}
                        Err(RecvError::Lagged(_)) => return true,
                        Err(RecvError::Closed) => return false,
                    }
                }
            };
            if !matches!(tokio::time::timeout_at(deadline, heard).await, Ok(true)) {
                return Ok(wire::HeadResponse { heads: Vec::new() });
            }
        }
    }

    async fn submit(&self, wire::SubmitRequest { item, proof }: wire::SubmitRequest) -> Answer {
        // What is no item is refused by name further on, and takes nobody's place.
        let target = DataItem::parse(item.clone()).ok().map(|item| item.claims().target());
        // Of a new process it is kept; its proof, and all else that came around it, would be with it.
        let item = Bytes::copy_from_slice(&item);
        let _share = match target.flatten().map(|process| self.places.submits.take(process)) {
            Some(Err(_)) => return busy_process(),
            share => share,
        };
        answer_submit(self.submitter.submit_local(item, proof).await)
    }

    async fn assign(&self, ask: wire::AssignRequest) -> Answer {
        let assign = match Assign::from_wire(ask) {
            Ok(assign) => assign,
            Err(error) => return Answer::Refusal(error.to_refusal()),
        };
        let Ok(_share) = self.places.submits.take(assign.process) else { return busy_process() };
        answer_submit(self.submitter.assign_local(assign).await)
    }

    /// What a client of another node asks of a process that is here.
    async fn read(&self, peer: Peer, ask: wire::ReadRequest) -> Answer {
        let busy = || refusal(Code::Busy, "the limit of questions is reached".to_owned(), BUSY_RETRY_MS);
        let Ok(_share) = self.places.reads.take(peer) else { return busy() };
        if ask.question.len() > reads::QUESTION_BYTES_MAX {
            let text = format!("the question has more than {} bytes", reads::QUESTION_BYTES_MAX);
            return refusal(Code::Invalid, text, 0);
        }
        let parsed = tokio::task::spawn_blocking(move || {
            let read = serde_json::from_slice::<Read>(&ask.question);
            let read = read.map_err(|error| ServeError::Invalid(format!("the question: {error}")))?;
            Ok::<_, ServeError>((id("process", &ask.process)?, read))
        });
        let (process, read) = match parsed.await {
            Ok(Ok(question)) => question,
            Ok(Err(error)) => return refuse(&error),
            Err(error) => return refusal(Code::Fault, error.to_string(), 0),
        };
        if !read.is_for_peers() {
            let text = "dry runs on states of the past are for clients of the node itself".to_owned();
            return refusal(Code::Invalid, text, 0);
        }
        let _dry_run = match &read {
            Read::DryRun { .. } => match self.places.dry_runs.take(peer) {
                Ok(share) => Some(share),
                Err(_) => return busy(),
            },
            _ => None,
        };
        let wait = if read.waits() { self.places.waits.take(peer).ok() } else { None };
        let read = if wait.is_some() { Some(read.of_peer()) } else { read.at_once() };
        let Some(read) = read else { return busy() };
        match self.answers.read_for_peer(peer, process, read).await {
            Ok(ForPeer(answer)) => Answer::Read(wire::ReadResponse { answer }),
            Err(failure) => refuse_read(&failure),
        }
    }

    /// The head of a process that this node schedules, after time passed in it.
    async fn now(&self, ask: &wire::NowRequest) -> Answer {
        let process = match id("process", &ask.process) {
            Ok(process) => process,
            Err(error) => return refuse(&error),
        };
        if let Err(error) = self.submitter.now_local(process).await {
            return Answer::Refusal(error.to_refusal());
        }
        let processes = vec![ask.process.clone()];
        let read = heads(&self.shared, &wire::HeadRequest { processes });
        read.map_or_else(|error| refuse(&error), Answer::Head)
    }
}

fn refuse_read(failure: &Failure) -> Answer {
    refusal(failure.code.to_peer(), failure.text.clone(), failure.retry_ms.unwrap_or_default())
}

fn busy_process() -> Answer {
    let text = "too many items for this process are under way".to_owned();
    refusal(Code::Busy, text, BUSY_RETRY_MS)
}

fn answer_submit(answer: Result<Slot, SubmitError>) -> Answer {
    match answer {
        Ok(slot) => Answer::Submit(wire::SubmitResponse {
            slot: slot.slot,
            assignment: slot.signed,
            duplicate: slot.duplicate,
        }),
        Err(error) => Answer::Refusal(error.to_refusal()),
    }
}

fn send(reply: Reply, body: Answer) {
    if let Err(error) = reply.send(wire::Response { body: Some(body) }) {
        tracing::debug!(%error, "an answer was not sent");
    }
}

fn refusal(code: Code, text: String, retry_ms: u64) -> Answer {
    Answer::Refusal(wire::Refusal { code: code.into(), text, retry_ms })
}

fn refuse(error: &ServeError) -> Answer {
    let code = match error {
        ServeError::Invalid(_) => Code::Invalid,
        ServeError::Unknown(_) => Code::Unknown,
        ServeError::Store(_) => Code::Fault,
    };
    refusal(code, error.to_string(), 0)
}

fn id(name: &'static str, bytes: &Bytes) -> Result<Id, ServeError> {
    wire::id(name, bytes).map_err(|error| ServeError::Invalid(error.to_string()))
}

fn read(shared: &SharedRef, body: Ask) -> Result<Answer, ServeError> {
    match body {
        Ask::Head(ask) => heads(shared, &ask).map(Answer::Head),
        Ask::Range(ask) => range(shared, &ask).map(Answer::Range),
        Ask::Blob(ask) => blob(shared, &ask).map(Answer::Blob),
        Ask::Attestations(ask) => {
            let process = id("process", &ask.process)?;
            let position = wire::position(ask.position.as_ref());
            let position = position.map_err(|error| ServeError::Invalid(error.to_string()))?;
            let attestations = attestations::read_wire(&shared.store.read()?, &process, position)?;
            Ok(Answer::Attestations(wire::AttestationsResponse { attestations }))
        }
        Ask::Outcome(ask) => outcome(shared, &ask).map(Answer::Outcome),
        Ask::Pushed(ask) => find_push(shared, &ask).map(Answer::Pushed),
        Ask::Sent(ask) => results::sent::answer(shared, &ask, answer_bytes(shared))?
            .map(Answer::Sent)
            .ok_or_else(|| ServeError::Unknown("nothing newer of what it sent is here".to_owned())),
        Ask::Checkpoint(ask) => checkpoint(shared, &ask).map(Answer::Checkpoint),
        Ask::Pages(ask) => pages(shared, &ask).map(Answer::Pages),
        Ask::Submit(_)
        | Ask::Assign(_)
        | Ask::Now(_)
        | Ask::Follow(_)
        | Ask::Read(_)
        | Ask::Subscribe(_)
        | Ask::Pending(_)
        | Ask::WhoServes(_) => Err(ServeError::Invalid("this is not read from disk".to_owned())),
    }
}

/// The newest checkpoint that others may go on from.
fn checkpoint(
    shared: &SharedRef,
    ask: &wire::CheckpointRequest,
) -> Result<wire::CheckpointResponse, ServeError> {
    let process = id("process", &ask.process)?;
    let none = || ServeError::Unknown(format!("no signed checkpoint of process {process} is here"));
    let known = shared.directory.get(&process).ok_or_else(none)?;
    join::checkpoint(&shared.store.read()?, &known.process, ask.to)?.ok_or_else(none)
}

fn pages(shared: &SharedRef, ask: &wire::PagesRequest) -> Result<wire::PagesResponse, ServeError> {
    let process = id("process", &ask.process)?;
    if shared.directory.roles(&process).is_none() {
        return Err(ServeError::Unknown(format!("process {process} is not here")));
    }
    let expected = || format!("expected 1 to {} hashes of 32 bytes", join::CHUNK_PAGES);
    let most = (answer_bytes(shared) / LEAF_BYTES).max(1);
    let pages = join::pages(&shared.store.read()?, &ask.hashes, most)?;
    let pages = pages.ok_or_else(|| ServeError::Invalid(expected()))?;
    Ok(wire::PagesResponse { pages })
}

/// The heads of the processes that have more than so many slots here.
fn grown(shared: &SharedRef, watched: &BTreeMap<Id, u64>) -> Result<Vec<wire::Head>, ServeError> {
    let reader = shared.store.read()?;
    let mut heads = Vec::new();
    for (process, slots) in watched {
        if let Some((slot, row)) = reader.head(process)?.filter(|(slot, _)| slot >= slots) {
            let process = Bytes::copy_from_slice(process.as_ref());
            heads.push(wire::Head { process, epoch: row.epoch, slot, assignment: row.assignment });
        }
        if heads.len() >= HEADS_MAX {
            break;
        }
    }
    Ok(heads)
}

fn heads(shared: &SharedRef, ask: &wire::HeadRequest) -> Result<wire::HeadResponse, ServeError> {
    if ask.processes.len() > HEADS_MAX {
        return Err(ServeError::Invalid(format!("more than {HEADS_MAX} heads are asked for")));
    }
    let reader = shared.store.read()?;
    let mut heads = Vec::new();
    for bytes in &ask.processes {
        let process = id("process", bytes)?;
        if let Some((slot, row)) = reader.head(&process)? {
            let (epoch, assignment) = (row.epoch, row.assignment);
            heads.push(wire::Head { process: bytes.clone(), epoch, slot, assignment });
        }
    }
    Ok(wire::HeadResponse { heads })
}

/// Bytes of one answer: fewer where this node's line is limited.
fn answer_bytes(shared: &Shared) -> usize {
    let in_time = shared.config.bandwidth_out_bytes.saturating_mul(ANSWER_SECONDS_MAX);
    ANSWER_BYTES_MAX.min(usize::try_from(in_time).unwrap_or(usize::MAX))
}

fn range(shared: &SharedRef, ask: &wire::RangeRequest) -> Result<wire::RangeResponse, ServeError> {
    let process = id("process", &ask.process)?;
    if ask.from > ask.to {
        return Err(ServeError::Invalid(format!("slots {}..={} are not a range", ask.from, ask.to)));
    }
    let max_bytes = usize::try_from(ask.max_bytes).unwrap_or(usize::MAX).min(answer_bytes(shared));
    let last = ask.from.saturating_add(RANGE_SLOTS_MAX as u64 - 1);
    let reader = shared.store.read()?;
    let stored = reader.slot_records(&process, ask.from, ask.to.min(last), max_bytes)?;
    if stored.slots.is_empty() && reader.head(&process)?.is_none() {
        return Err(ServeError::Unknown(format!("process {process} is not here")));
    }
    let more = stored.more || ask.to > last;
    Ok(wire::RangeResponse { slots: stored.slots.into_iter().map(log::wire_slot).collect(), more })
}

fn blob(shared: &SharedRef, ask: &wire::BlobRequest) -> Result<wire::BlobResponse, ServeError> {
    let id = id("id", &ask.id)?;
    let raw = shared.store.read()?.item(&id)?;
    let raw = raw.ok_or_else(|| ServeError::Unknown(format!("item {id} is not here")))?;
    let from = usize::try_from(ask.offset).ok().filter(|&from| from <= raw.len());
    let from = from.ok_or_else(|| ServeError::Invalid(format!("item {id} ends before {}", ask.offset)))?;
    let most = usize::try_from(ask.max_bytes).unwrap_or(usize::MAX).min(answer_bytes(shared));
    let to = raw.len().min(from.saturating_add(most));
    // A copy: the peer may take its time, and must not hold the rest of the item meanwhile.
    Ok(wire::BlobResponse { total: raw.len() as u64, piece: Bytes::copy_from_slice(&raw[from..to]) })
}

fn find_push(shared: &SharedRef, ask: &wire::PushedRequest) -> Result<wire::PushedResponse, ServeError> {
    let process = id("process", &ask.process)?;
    let push = wire::hash("push_id", &ask.push_id).map_err(|error| ServeError::Invalid(error.to_string()))?;
    let found = pushed::read(&shared.store.read()?, process, &push)?;
    let found = found.ok_or_else(|| {
        ServeError::Unknown(format!("push {push} has no slot of process {process} that is known here"))
    })?;
    Ok(wire::PushedResponse { assignment: found.0, item: found.1.to_bytes() })
}

fn outcome(shared: &SharedRef, ask: &wire::OutcomeRequest) -> Result<wire::OutcomeResponse, ServeError> {
    let process = id("process", &ask.process)?;
    let item = id("item", &ask.item)?;
    let reader = shared.store.read()?;
    let found = reader.outcome_of_item(&process, &item)?;
    let found = found.ok_or_else(|| ServeError::Unknown(format!("item {item} has no outcome here yet")))?;
    let (position, row) = found;
    if row.is_pruned() {
        return Err(ServeError::Unknown(format!(
            "the result of item {item} was pruned here; ask another node"
        )));
    }
    let proof = match shared.directory.get(&process) {
        Some(known) => results::proof::of(&reader, &known.process, position, &row)?,
        None => None,
    };
    let room = RESPONSE_BYTES_MAX.saturating_sub(row.result.len() + PROOF_ROOM_BYTES);
    Ok(wire::OutcomeResponse {
        position: Some(position.into()),
        code: row.code.into(),
        running: wire::bytes(row.running),
        result: row.result,
        proof: proof.filter(|proof| proof.encoded_len() <= room),
    })
}
