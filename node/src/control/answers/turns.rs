//! The turns of those who ask through a gateway or as a peer: how many answers are made at once, of which one
//! may take some hundred megabytes, and how many logs are looked through.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde::Serialize;
use serde_json::Value;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::super::api::{Failure, FailureCode};
use super::fail;
use crate::legacy::messages::PageBytes;
use crate::metrics::{Level, Metrics};
use crate::reads::{self, ANSWER_BYTES_MAX};

/// Answers that are made at once for clients of this node; more wait.
const CLIENT_READS_MAX: usize = 4;
/// Answers that are made at once for peers: they leave room for those.
const PEER_READS_MAX: usize = 2;
/// Logs that are looked through at once for either, each up to a second.
const CLIENT_SCANS_MAX: usize = 2;
const PEER_SCANS_MAX: usize = 1;
/// How long one waits for a turn to look through a log.
const SCAN_WAIT: Duration = Duration::from_secs(3);
/// When to come back after that, in milliseconds.
const SCAN_RETRY_MS: u64 = 1_000;
/// How long a peer waits for a turn to have an answer made: it asks another meanwhile, and waits no longer than
/// a question of a client takes. What waits behind it would otherwise wait for answers that nobody takes any more.
const PEER_READ_WAIT: Duration = Duration::from_secs(10);
/// When it may come back, in milliseconds.
const PEER_READ_RETRY_MS: u64 = 2_000;

/// Who asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Asker {
    /// A client of this node.
    Client,
    /// A peer, for a client of its own.
    Peer,
}

impl Asker {
    /// What a page may have.
    pub(super) const fn page_bytes(self) -> PageBytes {
        match self {
            Self::Client => reads::HTTP_PAGE_BYTES,
            Self::Peer => reads::PEER_PAGE_BYTES,
        }
    }
}

/// A turn, free again when it is dropped.
pub(super) type Turn = OwnedSemaphorePermit;

/// All turns.
#[derive(Debug, Clone)]
pub(super) struct Turns {
    client_reads: Arc<Semaphore>,
    peer_reads: Arc<Semaphore>,
    client_scans: Arc<Semaphore>,
    peer_scans: Arc<Semaphore>,
}

impl Turns {
    pub(super) fn new(metrics: &Metrics) -> Self {
        let turns = |name, limit| {
            let turns = Arc::new(Semaphore::new(limit));
            metrics.watch(Level::permits("control", name, &turns, limit));
            turns
        };
        Self {
            client_reads: turns("client_reads", CLIENT_READS_MAX),
            peer_reads: turns("peer_reads", PEER_READS_MAX),
            client_scans: turns("client_scans", CLIENT_SCANS_MAX),
            peer_scans: turns("peer_scans", PEER_SCANS_MAX),
        }
    }

    /// Waits for a turn to make an answer.
    pub(super) async fn read(&self, asker: Asker) -> Result<Turn, Failure> {
        match asker {
            // Its connection bounds how long it waits.
            Asker::Client => Arc::clone(&self.client_reads).acquire_owned().await.map_err(fault),
            Asker::Peer => {
                let busy = |_| {
                    let text = "too many answers are being made for peers";
                    fail(FailureCode::Busy, text).retry_in(PEER_READ_RETRY_MS)
                };
                let turn = Arc::clone(&self.peer_reads).acquire_owned();
                tokio::time::timeout(PEER_READ_WAIT, turn).await.map_err(busy)?.map_err(fault)
            }
        }
    }

    /// Waits a while for a turn to look through a log.
    pub(super) async fn scan(&self, asker: Asker) -> Result<Turn, Failure> {
        let turns = Arc::clone(match asker {
            Asker::Client => &self.client_scans,
            Asker::Peer => &self.peer_scans,
        });
        let busy = |_| {
            let text = "too many logs are being searched for ids of assignments";
            fail(FailureCode::Busy, text).retry_in(SCAN_RETRY_MS)
        };
        let turn = tokio::time::timeout(SCAN_WAIT, turns.acquire_owned()).await;
        turn.map_err(busy)?.map_err(fault)
    }
}

/// A form of answers, and with it whose they are.
pub(crate) trait Told: Sized + Send + 'static {
    /// Who is told.
    const ASKER: Asker;

    /// Writes an answer so.
    ///
    /// # Errors
    /// It is too large.
    fn of(answer: &impl Serialize) -> Result<Self, Failure>;
}

impl Told for Value {
    const ASKER: Asker = Asker::Client;

    fn of(answer: &impl Serialize) -> Result<Self, Failure> {
        serde_json::to_value(answer).map_err(fault)
    }
}

/// JSON text for a peer.
#[derive(Debug)]
pub(crate) struct ForPeer(pub(crate) Bytes);

impl Told for ForPeer {
    const ASKER: Asker = Asker::Peer;

    fn of(answer: &impl Serialize) -> Result<Self, Failure> {
        let bytes = reads::json_bytes(answer);
        if bytes > ANSWER_BYTES_MAX {
            let text = format!(
                "this takes {bytes} bytes as JSON, and a peer is given at most {ANSWER_BYTES_MAX}: ask for less at a \
                 time, or ask a node that has the process"
            );
            return Err(fail(FailureCode::Invalid, text));
        }
        serde_json::to_vec(answer).map(|text| Self(text.into())).map_err(fault)
    }
}

/// Reads on a thread that may wait for the disk.
pub(super) async fn blocking<T: Send + 'static>(
    read: impl FnOnce() -> Result<T, Failure> + Send + 'static,
) -> Result<T, Failure> {
    tokio::task::spawn_blocking(read).await.map_err(fault)?
}

pub(super) fn fault(error: impl std::fmt::Display) -> Failure {
    fail(FailureCode::Fault, error.to_string())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn an_answer_is_given_to_a_peer_up_to_its_limit() {
        // With the quotes around it.
        let text = "x".repeat(ANSWER_BYTES_MAX - 2);
        assert_eq!(ForPeer::of(&text).unwrap().0.len(), ANSWER_BYTES_MAX);
        let failure = ForPeer::of(&(text + "x")).unwrap_err();
        assert_eq!(failure.code, FailureCode::Invalid);
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_has_no_turn_to_look_through_a_log_is_told_to_come_back() {
        let turns = Turns::new(&Metrics::new());
        let _one = turns.scan(Asker::Peer).await.unwrap();
        let failure = turns.scan(Asker::Peer).await.unwrap_err();
        assert_eq!((failure.code, failure.retry_ms), (FailureCode::Busy, Some(SCAN_RETRY_MS)));
        // Peers hold up no client of this node.
        assert!(turns.scan(Asker::Client).await.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn a_peer_waits_for_a_turn_no_longer_than_it_may() {
        let turns = Turns::new(&Metrics::new());
        let mut taken = Vec::new();
        for _ in 0..PEER_READS_MAX {
            taken.push(turns.read(Asker::Peer).await.unwrap());
        }
        let began = tokio::time::Instant::now();
        let failure = turns.read(Asker::Peer).await.unwrap_err();
        assert_eq!((failure.code, failure.retry_ms), (FailureCode::Busy, Some(PEER_READ_RETRY_MS)));
        assert_eq!(began.elapsed(), PEER_READ_WAIT);
        assert!(turns.read(Asker::Client).await.is_ok());
        taken.pop();
        assert!(turns.read(Asker::Peer).await.is_ok());
    }
}
