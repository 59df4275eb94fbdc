//! Asking peers what HTTP clients ask: the scheduler of a process and whoever answered last for it first, the
//! others where those do not know.

mod memory;

use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::Value;
use tokio::time::Instant;
use weft_net::{Peer, RequestError};
use weft_protocol::wire::refusal::Code;
use weft_protocol::{Address, Id};

use self::memory::{First, Memory, Subject};
use super::Read;
use crate::asking::{self, Pace};
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
/// How long one has before the next is asked beside it, and how long an answer waits for that of the scheduler.
const PATIENCE: Duration = Duration::from_secs(3);
/// The same of dry runs, which are work.
const DRY_RUN_PATIENCE: Duration = Duration::from_secs(10);

/// Asks peers, and remembers who answers.
#[derive(Debug, Default)]
pub struct Elsewhere {
    memory: Mutex<Memory>,
}

/// What an asking peer comes to: its answer, or one that is the same whoever is asked.
type Said = Result<Value, RemoteError>;

/// A question on its way from peer to peer.
struct Course<'a> {
    elsewhere: &'a Elsewhere,
    shared: &'a Shared,
    process: Id,
    read: &'a Read,
    scheduler: Address,
    began: Instant,
    asked: BTreeSet<Peer>,
    /// What was said by whoever knows most of those that have no answer.
    worst: Option<RemoteError>,
    /// The scheduler has said that it does not do this.
    instead: bool,
}

impl Elsewhere {
    /// The answer of a peer: of the scheduler if it gives one soon, else of the first that has one.
    ///
    /// # Errors
    /// Why nobody has.
    pub async fn ask(&self, shared: &Shared, process: Id, read: &Read) -> Result<Value, Failure> {
        let asking = async {
            let found = hosting::find_process(shared, process).await;
            let unknown = |error| Failure::new(FailureCode::Unknown, format!("process {process}: {error}"));
            let mut course = Course {
                elsewhere: self,
                shared,
                process,
                read,
                scheduler: found.map_err(unknown)?.scheduler(),
                began: Instant::now(),
                asked: BTreeSet::new(),
                worst: None,
                instead: false,
            };
            course.run().await
        };
        let late = || Failure::new(FailureCode::TimedOut, format!("no peer answered for process {process}"));
        tokio::time::timeout(WAIT, asking).await.unwrap_or_else(|_| Err(late()))
    }

    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Course<'_> {
    async fn run(&mut self) -> Result<Value, Failure> {
        let (shared, of) = (self.shared, self.subject());
        let scheduler = remote::connected(shared, self.scheduler).await;
        let First { peers, best, then_others } =
            self.elsewhere.memory().first(of, scheduler, shared.clock.now());
        if let Some(said) = self.ask(peers, best, scheduler).await {
            return self.told(said);
        }
        if !then_others && self.worst.as_ref().is_some_and(is_passing) {
            return Err(self.nobody());
        }
        let sources = remote::sources(shared, self.process, Some(self.scheduler)).await;
        if let Some(said) = self.ask(sources, best, scheduler).await {
            return self.told(said);
        }
        let others = remote::elsewhere(shared, self.process, self.scheduler).await;
        if let Some(said) = self.ask(others, best, scheduler).await {
            return self.told(said);
        }
        self.elsewhere.memory().nobody_knows(of, shared.clock.now());
        Err(self.nobody())
    }

    fn subject(&self) -> Subject {
        (self.process, self.read.is_of_log())
    }

    fn told(&self, said: Said) -> Result<Value, Failure> {
        said.map_err(|error| failure(self.process, &error))
    }

    fn nobody(&self) -> Failure {
        let text = || format!("no reachable peer serves process {}", self.process);
        let nobody = || Failure::new(FailureCode::Unknown, text());
        self.worst.as_ref().map_or_else(nobody, |error| failure(self.process, error))
    }

    /// Asks those of these peers that were not asked yet.
    async fn ask(
        &mut self,
        mut peers: Vec<Peer>,
        best: Option<Peer>,
        scheduler: Option<Peer>,
    ) -> Option<Said> {
        let (shared, of) = (self.shared, self.subject());
        self.elsewhere.memory().order(&mut peers, shared.clock.now());
        peers.retain(|peer| !self.asked.contains(peer));
        // However many say that they serve it, who assigned its slots is asked.
        if let Some(at) = peers.iter().position(|peer| Some(*peer) == scheduler) {
            peers[..=at].rotate_right(1);
        }
        peers.truncate(ASKED_MAX);
        self.asked.extend(&peers);
        let is_work = matches!(self.read, Read::DryRun { .. });
        let patience = if is_work { DRY_RUN_PATIENCE } else { PATIENCE };
        let pace = Pace {
            beside: ASKED_MAX,
            stagger: patience,
            each: PEER_WAIT,
            grace: patience,
            until_sure: Duration::ZERO,
        };
        let (elsewhere, process, read, began) = (self.elsewhere, self.process, self.read, self.began);
        let ask = |peer| async move {
            let mut hearing = Hearing { elsewhere, shared, peer, until: Instant::now() + read.patience() };
            let read = read.after(began.elapsed());
            let said = remote::read(shared, peer, process, &read).await;
            hearing.until = Instant::now() + PEER_WAIT;
            match said {
                Err(error) if !is_final(&error) => Err(error),
                said => Ok(said),
            }
        };
        let (worst, instead) = (&mut self.worst, &mut self.instead);
        let found = asking::first(
            peers,
            best,
            pace,
            ask,
            |_| false,
            |peer, error| {
                let late = RemoteError::Request { peer, error: RequestError::Timeout };
                let error = error.unwrap_or(late);
                *instead |= scheduler == Some(peer) && code(&error) == Some(Code::NotMine);
                if !is_passing(&error) {
                    elsewhere.memory().forget(of, peer);
                }
                if worst.as_ref().is_none_or(|worst| weight(&error) > weight(worst)) {
                    *worst = Some(error);
                }
            },
        );
        let (peer, said) = found.await?;
        if said.is_ok() {
            let is_first = scheduler.is_none_or(|scheduler| scheduler == peer);
            let now = shared.clock.now();
            elsewhere.memory().answered(of, peer, (is_first, self.instead), now);
        }
        Some(said)
    }
}

/// Notes that a peer was silent, if it has said nothing in its time when this is dropped.
struct Hearing<'a> {
    elsewhere: &'a Elsewhere,
    shared: &'a Shared,
    peer: Peer,
    until: Instant,
}

impl Drop for Hearing<'_> {
    fn drop(&mut self) {
        if Instant::now() >= self.until {
            self.elsewhere.memory().was_silent(self.peer, self.shared.clock.now());
        }
    }
}

fn code(error: &RemoteError) -> Option<Code> {
    match error {
        RemoteError::Refused { refusal, .. } => Some(refusal.code()),
        _ => None,
    }
}

/// Whether asking another would come to the same.
fn is_final(error: &RemoteError) -> bool {
    matches!(error, RemoteError::TooLong { .. }) || code(error) == Some(Code::Invalid)
}

/// Whether a peer that serves the process has no answer only now, or not to this question.
fn is_passing(error: &RemoteError) -> bool {
    matches!(code(error), Some(Code::Unknown | Code::Busy | Code::Gone))
}

/// Whose word is told where several have no answer: one that is busy with it knows more than one that
/// has not heard of it, and that one more than one that does not serve the process. One that cannot be reached may
/// serve it.
fn weight(error: &RemoteError) -> u8 {
    match code(error) {
        Some(Code::Unspecified | Code::Invalid) => 0,
        Some(Code::NotMine) => 1,
        None => 2,
        Some(Code::Unknown) => 3,
        Some(Code::Gone) => 4,
        Some(Code::Fault) => 5,
        Some(Code::Busy) => 6,
    }
}

/// What the client is told.
fn failure(process: Id, error: &RemoteError) -> Failure {
    let refusal = match error {
        RemoteError::Refused { refusal, .. } => refusal,
        RemoteError::Request { .. } => return Failure::new(FailureCode::TimedOut, error.to_string()),
        RemoteError::TooLong { .. } => return Failure::new(FailureCode::Invalid, error.to_string()),
        RemoteError::Nobody { .. } | RemoteError::Gateways { .. } => {
            return Failure::new(FailureCode::Unknown, error.to_string());
        }
        RemoteError::Mismatch { .. }
        | RemoteError::Disk(_)
        | RemoteError::NotAModule(_)
        | RemoteError::NotAnItem(_) => {
            return Failure::new(FailureCode::Fault, error.to_string());
        }
    };
    let text = refusal.text.clone();
    match refusal.code() {
        Code::Invalid => Failure::new(FailureCode::Invalid, text),
        Code::Unknown => Failure::new(FailureCode::Unknown, text),
        Code::Gone => Failure::new(FailureCode::Gone, text),
        Code::NotMine => {
            let here = format!("`weft host {process} --compute` does it here");
            let text = format!("no peer that was asked computes process {process}; {here}");
            Failure::new(FailureCode::Refused, text)
        }
        Code::Busy => Failure::new(FailureCode::Busy, text).retry_in(refusal.retry_ms),
        Code::Fault | Code::Unspecified => Failure::new(FailureCode::Fault, text),
    }
}
