//! Asking peers what HTTP clients ask: whoever answered last for a process first.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use serde_json::Value;
use tokio::time::Instant;
use weft_net::Peer;
use weft_protocol::Id;
use weft_protocol::wire::refusal::Code;

use super::Read;
use crate::control::api::{Failure, FailureCode};
use crate::hosting;
use crate::remote::{self, RemoteError};
use crate::shared::Shared;

/// Peers that are asked one question: those on a topic serve its process, so the first ones know.
const ASKED_MAX: usize = 8;
/// How long one of them may take: what a request may.
const PEER_WAIT: Duration = Duration::from_secs(30);
/// How long all of them together may.
const WAIT: Duration = Duration::from_secs(60);
/// Processes of which it is remembered who answered last.
const ANSWERED_MAX: usize = 4_096;

/// Asks peers, and remembers who answers.
#[derive(Debug, Default)]
pub struct Elsewhere {
    answered: Mutex<BTreeMap<Id, Peer>>,
}

impl Elsewhere {
    /// The answer of the first peer that has one.
    ///
    /// # Errors
    /// Why nobody has.
    pub async fn ask(&self, shared: &Shared, process: Id, read: &Read) -> Result<Value, Failure> {
        let began = Instant::now();
        let until = began + WAIT;
        let late = || Failure::new(FailureCode::TimedOut, format!("no peer answered for process {process}"));
        if let Some(peer) = self.remembered(&process) {
            match ask_one(shared, peer, process, read, until).await {
                Ok(answer) => return Ok(answer),
                Err(error) if is_final(&error) => return Err(failure(process, &error)),
                Err(_) => self.forget(&process),
            }
        }
        let found = tokio::time::timeout_at(until, peers(shared, process)).await.map_err(|_| late())??;
        let mut worst = None;
        for peer in found.into_iter().take(ASKED_MAX) {
            let read = read.after(began.elapsed());
            match ask_one(shared, peer, process, &read, until).await {
                Ok(answer) => {
                    self.remember(process, peer);
                    return Ok(answer);
                }
                Err(error) if is_final(&error) => return Err(failure(process, &error)),
                Err(error) => {
                    if worst.as_ref().is_none_or(|worst| weight(&error) > weight(worst)) {
                        worst = Some(error);
                    }
                }
            }
            if Instant::now() >= until {
                return Err(late());
            }
        }
        let text = || format!("no reachable peer serves process {process}");
        let nobody = || Failure::new(FailureCode::Unknown, text());
        Err(worst.map_or_else(nobody, |error| failure(process, &error)))
    }

    fn remembered(&self, process: &Id) -> Option<Peer> {
        self.answered.lock().unwrap_or_else(PoisonError::into_inner).get(process).copied()
    }

    fn forget(&self, process: &Id) {
        self.answered.lock().unwrap_or_else(PoisonError::into_inner).remove(process);
    }

    /// When there are too many all are forgotten, and found again.
    fn remember(&self, process: Id, peer: Peer) {
        let mut answered = self.answered.lock().unwrap_or_else(PoisonError::into_inner);
        if answered.len() >= ANSWERED_MAX {
            answered.clear();
        }
        answered.insert(process, peer);
    }
}

async fn ask_one(
    shared: &Shared,
    peer: Peer,
    process: Id,
    read: &Read,
    until: Instant,
) -> Result<Value, RemoteError> {
    let until = until.min(Instant::now() + PEER_WAIT);
    let asked = tokio::time::timeout_at(until, remote::read(shared, peer, process, read)).await;
    asked.unwrap_or(Err(RemoteError::Mismatch { peer }))
}

/// Who may serve a process: its scheduler, those on its topic, and whom the mesh names.
async fn peers(shared: &Shared, process: Id) -> Result<Vec<Peer>, Failure> {
    let found = hosting::find_process(shared, process).await;
    let unknown = |error| Failure::new(FailureCode::Unknown, format!("process {process}: {error}"));
    let scheduler = found.map_err(unknown)?.scheduler();
    let mut peers = remote::sources(shared, process, Some(scheduler)).await;
    for peer in remote::elsewhere(shared, process, scheduler).await {
        if !peers.contains(&peer) {
            peers.push(peer);
        }
    }
    Ok(peers)
}

/// Whether asking another would come to the same.
fn is_final(error: &RemoteError) -> bool {
    matches!(error, RemoteError::Refused { refusal, .. } if refusal.code() == Code::Invalid)
}

/// Whose word is told where several have no answer: one that is busy with it knows more than one that
/// has not heard of it, and that one more than one that does not serve the process.
fn weight(error: &RemoteError) -> u8 {
    let RemoteError::Refused { refusal, .. } = error else { return 0 };
    match refusal.code() {
        Code::Unspecified | Code::Invalid => 0,
        Code::NotMine => 1,
        Code::Unknown => 2,
        Code::Fault => 3,
        Code::Busy => 4,
    }
}

/// What the client is told.
fn failure(process: Id, error: &RemoteError) -> Failure {
    let RemoteError::Refused { refusal, .. } = error else {
        return Failure::new(FailureCode::Fault, error.to_string());
    };
    let text = refusal.text.clone();
    match refusal.code() {
        Code::Invalid => Failure::new(FailureCode::Invalid, text),
        Code::Unknown => Failure::new(FailureCode::Unknown, text),
        Code::NotMine => {
            let here = format!("`weft host {process} --compute` does it here");
            let text = format!("no peer that was asked computes process {process}; {here}");
            Failure::new(FailureCode::Refused, text)
        }
        Code::Busy => Failure::new(FailureCode::Busy, text).retry_in(refusal.retry_ms),
        Code::Fault | Code::Unspecified => Failure::new(FailureCode::Fault, text),
    }
}
