//! What takes its time: each is one try, with a limit, and tells what it came to.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use prost::Message as _;
use weft_net::{Peer, PublishError};
use weft_protocol::wire::announcement::Body as Announced;
use weft_protocol::wire::request::Body as Ask;
use weft_protocol::wire::response::Body as Answer;
use weft_protocol::{Id, wire};

use super::super::machine::letters::{Letter, Tried};
use super::super::machine::{Heard, Why};
use super::super::{Body, judge};
use super::body;
use crate::remote::{self, RemoteError};
use crate::shared::{Shared, SharedRef};
use crate::submit::{SubmitError, Submitter};

/// How long one try may take: a lookup of ten seconds, and what a request may.
const TRY_WAIT: Duration = Duration::from_secs(45);
/// How long a peer may take to say what it holds.
const ANSWER_WAIT: Duration = Duration::from_secs(20);
/// Peers that are connected with for a topic of which nobody is.
const FOUND_MAX: usize = 3;
/// How long those have to say that they are on it.
const FOUND_WAIT: Duration = Duration::from_secs(5);

/// What an errand came to.
#[derive(Debug)]
pub(super) enum Done {
    Offered { process: Id, item: Id, is_settled: bool },
    Asked(Peer, Option<usize>),
    Mined { item: Id, nonce: Option<u64> },
    Said { item: Id, is_heard: bool },
    Tried(Id, Tried),
}

/// Asks this node's own scheduler for a slot, under the rules of any submit.
pub(super) async fn offer(submitter: Submitter, process: Id, item: Id, body: Arc<Body>) -> Done {
    let submit = submitter.submit_local(body.item.clone(), body.proof.clone());
    let is_settled = match tokio::time::timeout(TRY_WAIT, submit).await {
        Ok(Ok(slot)) => {
            tracing::info!(%item, %process, slot = slot.slot, "a message that waited on the topic has its slot");
            true
        }
        Ok(Err(error @ (SubmitError::Invalid(_) | SubmitError::Refused(_)))) => {
            tracing::debug!(%item, %process, %error, "a message that waits on the topic gets no slot");
            true
        }
        Ok(Err(_)) | Err(_) => false,
    };
    Done::Offered { process, item, is_settled }
}

/// Asks for a slot of one of this node's letters.
pub(super) async fn submit(submitter: Submitter, item: Id, letter: Letter) -> Done {
    let raw = STANDARD.decode(&letter.item).unwrap_or_default();
    let tried = match tokio::time::timeout(TRY_WAIT, submitter.submit(raw.into(), Bytes::new())).await {
        Ok(Ok(slot)) => Tried::Slot(slot.slot),
        Ok(Err(error @ (SubmitError::Invalid(_) | SubmitError::Refused(_)))) => {
            Tried::Refused(error.to_string())
        }
        Ok(Err(error)) => Tried::Later(error.to_string()),
        Err(_) => Tried::Later("the scheduler did not answer in time".to_owned()),
    };
    Done::Tried(item, tried)
}

/// Says a letter on the topic of its process; where nobody on it is connected, somebody is looked for.
pub(super) async fn say(shared: SharedRef, item: Id, letter: Letter) -> Done {
    let is_heard = match body(&letter) {
        Some(body) => {
            hold(&shared, &letter, &body).await;
            let is_heard = publish(&shared, letter.process, &body).await;
            is_heard || (find(&shared, letter.process).await && publish(&shared, letter.process, &body).await)
        }
        None => false,
    };
    Done::Said { item, is_heard }
}

/// A node that is on the topic itself holds what it says there: peers that come later ask it.
async fn hold(shared: &SharedRef, letter: &Letter, body: &Body) {
    if let Some(known) = shared.known(letter.process).await {
        let _ = judge::take(shared, &known.process, &body.to_wire(), 0, shared.net.peer()).await;
    }
}

/// Whether anybody heard it.
async fn publish(shared: &Shared, process: Id, body: &Body) -> bool {
    let pending = Some(Announced::Pending(body.to_wire()));
    let announcement = wire::Announcement { process: wire::bytes(process), body: pending };
    match shared.net.publish(process, announcement.encode_to_vec().into()).await {
        Ok(_) => true,
        Err(PublishError::NoSubscribers) => false,
        Err(error) => {
            tracing::debug!(%process, %error, "a message that waits was not said");
            false
        }
    }
}

/// Connects with some who serve a process; says whether one of them is on its topic.
async fn find(shared: &Shared, process: Id) -> bool {
    let peers = remote::sources(shared, process, None).await;
    for peer in peers.into_iter().take(FOUND_MAX) {
        // Whoever answers is connected.
        let asked = tokio::time::timeout(ANSWER_WAIT, remote::head(shared, peer, process));
        if !matches!(asked.await, Ok(Ok(_))) {
            continue;
        }
        let mut look = tokio::time::interval(Duration::from_millis(100));
        let joined = async {
            loop {
                look.tick().await;
                if shared.net.subscribers(process).await.is_ok_and(|on_it| !on_it.is_empty()) {
                    return;
                }
            }
        };
        if tokio::time::timeout(FOUND_WAIT, joined).await.is_ok() {
            return true;
        }
    }
    false
}

/// Asks a peer what it holds of these processes, takes it in, and hands on what is new here.
pub(super) async fn ask(shared: SharedRef, peer: Peer, processes: Vec<Id>) -> Done {
    let named = processes.iter().map(wire::bytes).collect();
    let asked = remote::ask(&shared, peer, Ask::Pending(wire::PendingRequest { processes: named }));
    let answer = match tokio::time::timeout(ANSWER_WAIT, asked).await {
        Ok(Ok(Answer::Pending(answer))) => answer,
        // A build that knows no such question has nothing either.
        Ok(Err(RemoteError::Refused { refusal, .. })) if refusal.code() == wire::refusal::Code::Invalid => {
            return Done::Asked(peer, Some(processes.len()));
        }
        _ => return Done::Asked(peer, None),
    };
    for waiting in answer.waiting {
        match take(&shared, peer, &processes, &waiting).await {
            // The rest was not looked at: the peer is asked once more.
            Some(Heard::Dropped(Why::Busy)) => return Done::Asked(peer, None),
            Some(_) => {}
            None => {
                tracing::warn!(%peer, "a peer gave messages that nobody paid for, or that nobody signed");
                shared.lied(peer).await;
                break;
            }
        }
    }
    Done::Asked(peer, Some(answer.answered as usize))
}

/// What becomes of one message of an answer; nothing if no honest peer gives it.
async fn take(shared: &SharedRef, peer: Peer, asked: &[Id], waiting: &wire::Waiting) -> Option<Heard> {
    let process = wire::id("process", &waiting.process).ok().filter(|process| asked.contains(process))?;
    let message = waiting.pending.as_ref()?;
    let Some(known) = shared.known(process).await else { return Some(Heard::Dropped(Why::Over)) };
    let heard = judge::take(shared, &known.process, message, waiting.age_ms, peer).await?;
    if heard == Heard::Kept {
        publish(shared, process, &Body::of(message)).await;
    }
    Some(heard)
}
