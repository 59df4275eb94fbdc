//! Asking peers: who has what, and for it. Everything that comes back is unverified.

mod held;
mod turns;
mod ways;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{Semaphore, SemaphorePermit};
use weft_net::{Key, Peer, RequestError};
use weft_protocol::wire::request::Body as Ask;
use weft_protocol::wire::response::Body as Answer;
use weft_protocol::{Address, Id, Now, Position, wire};

use crate::reads::{self, ANSWER_BYTES_MAX, ANSWER_VALUES_MAX, QUESTION_BYTES_MAX, Read};
use crate::shared::Shared;

pub use self::held::{HELD_BYTES_MAX, anywhere, everywhere, fetch_item, fetch_module};
pub use self::turns::Turns;
use self::ways::looked_up;
pub use self::ways::together;

/// Bytes of slots asked for at once.
const RANGE_BYTES: u64 = 4 * 1024 * 1024;

/// How often a log is looked up while somebody on its topic is connected and its scheduler is not.
const LOOKUP_EVERY_MS: u64 = 60_000;
/// Such lookups at once: each may take ten seconds, and those of logs that have nobody come first.
const LOOKUPS_MAX: usize = 4;
/// Logs of which the last such lookup is remembered; beyond that none is made.
const LOOKUPS_KEPT_MAX: usize = 16_384;

/// How long after its start a node waits for a first peer.
const FIRST_PEER_WAIT: Duration = Duration::from_secs(10);

/// Why a peer gave nothing.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RemoteError {
    /// It could not be asked.
    #[error("{peer}: {error}")]
    Request {
        /// Who.
        peer: Peer,
        /// Why not.
        error: RequestError,
    },
    /// It said no.
    #[error("{peer} refused: {}", .refusal.text)]
    Refused {
        /// Who.
        peer: Peer,
        /// What it said.
        refusal: wire::Refusal,
    },
    /// It answered something else than was asked.
    #[error("{peer} answered another question")]
    Mismatch {
        /// Who.
        peer: Peer,
    },
    /// It is too long to be asked.
    #[error("the question has more than {max} bytes")]
    TooLong {
        /// What it may have.
        max: usize,
    },
    /// What came could not be kept.
    #[error("it cannot be stored: {0}")]
    Disk(String),
    /// The item of this id is something else than a module.
    #[error("it is refused: {0}")]
    NotAModule(String),
    /// What has the id is no data item, which alone will do.
    #[error("{0} is a transaction of the base layer, not a data item")]
    NotAnItem(Id),
    /// Neither peers nor gateways gave it.
    #[error("{peers}; gateways: {gateways}")]
    Gateways {
        /// Why peers did not.
        peers: String,
        /// What each gateway said.
        gateways: String,
    },
    /// Nobody who could be asked is known.
    #[error("no reachable peer serves {what}")]
    Nobody {
        /// What was looked for.
        what: String,
    },
}

impl RemoteError {
    /// Whether the peer only does not have what it was asked for.
    pub fn is_absence(&self) -> bool {
        matches!(self, Self::Refused { refusal, .. } if refusal.code() == wire::refusal::Code::Unknown)
    }
}

/// Asks a peer; what it refuses is an error.
pub(crate) async fn ask(shared: &Shared, peer: Peer, body: Ask) -> Result<Answer, RemoteError> {
    let request = wire::Request { body: Some(body) };
    let response = shared.net.request(peer, request).await;
    let response = response.map_err(|error| RemoteError::Request { peer, error })?;
    match response.body {
        Some(Answer::Refusal(refusal)) => Err(RemoteError::Refused { peer, refusal }),
        Some(answer) => Ok(answer),
        None => Err(RemoteError::Mismatch { peer }),
    }
}

/// Slots `from..=to` of a log, as many as fit in one answer.
pub async fn range(
    shared: &Shared,
    peer: Peer,
    process: Id,
    from: u64,
    to: u64,
) -> Result<Vec<wire::SlotRecord>, RemoteError> {
    let process = Bytes::copy_from_slice(process.as_ref());
    let body = Ask::Range(wire::RangeRequest { process, from, to, max_bytes: RANGE_BYTES });
    match ask(shared, peer, body).await? {
        Answer::Range(range) => Ok(range.slots),
        _ => Err(RemoteError::Mismatch { peer }),
    }
}

/// The newest slot of a log.
pub async fn head(shared: &Shared, peer: Peer, process: Id) -> Result<Option<wire::Head>, RemoteError> {
    Ok(heads(shared, peer, &[process]).await?.into_iter().next())
}

/// The newest slots of those of these logs that a peer has. At most [`HEADS_MAX`](wire::HEADS_MAX) may be
/// named.
pub async fn heads(shared: &Shared, peer: Peer, processes: &[Id]) -> Result<Vec<wire::Head>, RemoteError> {
    let processes = processes.iter().map(|process| Bytes::copy_from_slice(process.as_ref())).collect();
    match ask(shared, peer, Ask::Head(wire::HeadRequest { processes })).await? {
        Answer::Head(answer) => Ok(answer.heads),
        _ => Err(RemoteError::Mismatch { peer }),
    }
}

/// The heads of those of these processes that have more than so many slots at a peer, as soon as one has,
/// or none after a while. At most [`WATCHED_MAX`](wire::WATCHED_MAX) may be named.
pub async fn follow(
    shared: &Shared,
    peer: Peer,
    watched: Vec<(Id, Option<u64>)>,
    wait: Duration,
) -> Result<Vec<wire::Head>, RemoteError> {
    let watched = watched.into_iter().map(|(process, head)| wire::Watched {
        process: Bytes::copy_from_slice(process.as_ref()),
        slots: head.map_or(0, |slot| slot.saturating_add(1)),
    });
    let wait_ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
    let body = Ask::Follow(wire::FollowRequest { watched: watched.collect(), wait_ms });
    match ask(shared, peer, body).await? {
        Answer::Head(answer) => Ok(answer.heads),
        _ => Err(RemoteError::Mismatch { peer }),
    }
}

/// The newest slot of a log as of now, from its scheduler.
pub async fn now(shared: &Shared, peer: Peer, process: Id) -> Result<wire::Head, RemoteError> {
    let process = Bytes::copy_from_slice(process.as_ref());
    match ask(shared, peer, Ask::Now(wire::NowRequest { process })).await? {
        Answer::Head(answer) => answer.heads.into_iter().next().ok_or(RemoteError::Mismatch { peer }),
        _ => Err(RemoteError::Mismatch { peer }),
    }
}

/// The attestations of a position.
pub async fn attestations(
    shared: &Shared,
    peer: Peer,
    process: Id,
    position: Position,
) -> Result<Vec<wire::Attestation>, RemoteError> {
    let Position { epoch, slot, tick } = position;
    let body = wire::AttestationsRequest {
        process: Bytes::copy_from_slice(process.as_ref()),
        position: Some(wire::Position { epoch, slot, tick }),
    };
    match ask(shared, peer, Ask::Attestations(body)).await? {
        Answer::Attestations(answer) => Ok(answer.attestations),
        _ => Err(RemoteError::Mismatch { peer }),
    }
}

/// The outcome of an item, as a computer has it.
pub async fn outcome(
    shared: &Shared,
    peer: Peer,
    process: Id,
    item: Id,
) -> Result<wire::OutcomeResponse, RemoteError> {
    let body = wire::OutcomeRequest {
        process: Bytes::copy_from_slice(process.as_ref()),
        item: Bytes::copy_from_slice(item.as_ref()),
    };
    match ask(shared, peer, Ask::Outcome(body)).await? {
        Answer::Outcome(answer) => Ok(answer),
        _ => Err(RemoteError::Mismatch { peer }),
    }
}

/// What a peer answers to a client's question about a process.
pub async fn read(
    shared: &Shared,
    peer: Peer,
    process: Id,
    question: &Read,
) -> Result<serde_json::Value, RemoteError> {
    let question = serde_json::to_vec(question).map_err(|_| RemoteError::Mismatch { peer })?;
    if question.len() > QUESTION_BYTES_MAX {
        return Err(RemoteError::TooLong { max: QUESTION_BYTES_MAX });
    }
    let body = wire::ReadRequest {
        process: Bytes::copy_from_slice(process.as_ref()),
        question: Bytes::from(question),
    };
    match ask(shared, peer, Ask::Read(body)).await? {
        Answer::Read(read) if read.answer.len() <= ANSWER_BYTES_MAX => {
            let turn = Arc::clone(&shared.turns.answers).acquire_owned().await;
            // Megabytes take their time.
            let parsed = tokio::task::spawn_blocking(move || {
                let _turn = turn;
                reads::value(&read.answer, ANSWER_VALUES_MAX)
            });
            parsed.await.ok().and_then(Result::ok).ok_or(RemoteError::Mismatch { peer })
        }
        _ => Err(RemoteError::Mismatch { peer }),
    }
}

/// Hands an item to a scheduler.
pub async fn submit(
    shared: &Shared,
    peer: Peer,
    item: Bytes,
    proof: Bytes,
) -> Result<wire::SubmitResponse, RemoteError> {
    match ask(shared, peer, Ask::Submit(wire::SubmitRequest { item, proof })).await? {
        Answer::Submit(answer) => Ok(answer),
        _ => Err(RemoteError::Mismatch { peer }),
    }
}

/// Asks a scheduler to give an existing item a slot.
pub async fn assign(
    shared: &Shared,
    peer: Peer,
    assign: wire::AssignRequest,
) -> Result<wire::SubmitResponse, RemoteError> {
    match ask(shared, peer, Ask::Assign(assign)).await? {
        Answer::Submit(answer) => Ok(answer),
        _ => Err(RemoteError::Mismatch { peer }),
    }
}

/// Which logs were looked up though somebody on their topic is connected, and when: whoever is there may be
/// as far behind, or silent on purpose, while the scheduler is somewhere else.
#[derive(Debug)]
pub struct Lookups {
    last: Mutex<BTreeMap<Id, Now>>,
    places: Semaphore,
}

impl Default for Lookups {
    fn default() -> Self {
        Self { last: Mutex::default(), places: Semaphore::new(LOOKUPS_MAX) }
    }
}

impl Lookups {
    /// Takes the turn of this log, if it is due and there is a place.
    fn take(&self, process: Id, now: Now) -> Option<SemaphorePermit<'_>> {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let is_over = |then: &Now| then.plus_ms(LOOKUP_EVERY_MS) <= now;
        if !last.get(&process).is_none_or(is_over) {
            return None;
        }
        if last.len() >= LOOKUPS_KEPT_MAX {
            last.retain(|_, then| !is_over(then));
        }
        let place = self.places.try_acquire().ok().filter(|_| last.len() < LOOKUPS_KEPT_MAX)?;
        last.insert(process, now);
        Some(place)
    }
}

/// Peers that may serve a process: its scheduler first, then those on its topic. Where nobody of them is
/// connected, whom the mesh names.
pub async fn sources(shared: &Shared, process: Id, scheduler: Option<Address>) -> Vec<Peer> {
    let mut found: Vec<Peer> = shared.net.subscribers(process).await.unwrap_or_default();
    if let Some(scheduler) = scheduler {
        found.extend(connected(shared, scheduler).await);
    }
    if found.is_empty() {
        first_peer(shared).await;
        found = looked_up(shared, process, scheduler).await;
    }
    ordered(found, shared.net.peer(), scheduler)
}

/// Whom the mesh names where somebody is connected who serves a process, but not its scheduler; it is
/// asked now and then. That takes its time: those whom [`sources`] gives come first.
pub async fn elsewhere(shared: &Shared, process: Id, scheduler: Address) -> Vec<Peer> {
    let nobody = shared.net.subscribers(process).await.unwrap_or_default().is_empty();
    if nobody || connected(shared, scheduler).await.is_some() {
        return Vec::new();
    }
    let Some(_place) = shared.lookups.take(process, shared.clock.now()) else { return Vec::new() };
    let of_process = shared.net.providers(Key::Process(process));
    let (all, its) = together(of_process, shared.net.providers(Key::Address(scheduler))).await;
    let found = its.into_iter().chain([all]).flatten().flatten().collect();
    ordered(found, shared.net.peer(), Some(scheduler))
}

/// Each peer once, without this node, the scheduler first.
fn ordered(found: Vec<Peer>, own: Peer, scheduler: Option<Address>) -> Vec<Peer> {
    let mut seen = BTreeSet::from([own]);
    let mut found: Vec<Peer> = found.into_iter().filter(|peer| seen.insert(*peer)).collect();
    found.sort_by_key(|peer| scheduler.is_none() || peer.address() != scheduler);
    found
}

/// The connected peer whose key has this address, if there is one.
pub async fn connected(shared: &Shared, address: Address) -> Option<Peer> {
    everyone(shared).await.into_iter().find(|peer| peer.address() == Some(address))
}

/// Waits for a first peer where the node was told of some: right after its start it may not be
/// connected yet, and then nobody seems to have anything.
pub async fn first_peer(shared: &Shared) {
    let left = FIRST_PEER_WAIT.saturating_sub(shared.started.elapsed());
    if shared.net.peers_count() == 0 && !shared.config.bootstrap.is_empty() {
        // Without one the search fails by itself, and says for what.
        let _ = tokio::time::timeout(left, shared.net.wait_ready(1)).await;
    }
}

/// Every connected peer: small networks find things by asking around.
pub async fn everyone(shared: &Shared) -> Vec<Peer> {
    let peers = shared.net.peers().await.unwrap_or_default();
    peers.into_iter().map(|info| info.peer).collect()
}

/// The peer whose key has this address. The key is in the peer's name, so a liar is no answer.
pub async fn with_address(shared: &Shared, address: Address) -> Result<Peer, RemoteError> {
    first_peer(shared).await;
    if let Some(peer) = connected(shared, address).await {
        return Ok(peer);
    }
    let providers = shared.net.providers(Key::Address(address)).await.unwrap_or_default();
    let what = format!("the scheduler {address}");
    providers.into_iter().next().ok_or(RemoteError::Nobody { what })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::shared::testing::peer;

    #[test]
    fn the_scheduler_comes_first_and_each_peer_once() {
        let found = vec![peer(1), peer(2), peer(3), peer(1), peer(9)];
        assert_eq!(ordered(found.clone(), peer(9), None), [peer(1), peer(2), peer(3)]);
        let scheduler = peer(3).address();
        assert_eq!(ordered(found, peer(9), scheduler), [peer(3), peer(1), peer(2)]);
    }

    #[test]
    fn a_log_is_looked_up_once_a_minute_and_few_are_at_once() {
        let lookups = Lookups::default();
        let id = |number: u8| Id([number; 32]);
        let first = lookups.take(id(0), Now(0)).unwrap();
        assert!(lookups.take(id(0), Now(LOOKUP_EVERY_MS - 1)).is_none());
        let others: Vec<_> = (1..4).map(|number| lookups.take(id(number), Now(0)).unwrap()).collect();
        assert!(lookups.take(id(4), Now(0)).is_none(), "no place is left");
        drop(first);
        // It did not lose its turn.
        assert!(lookups.take(id(4), Now(0)).is_some());
        drop(others);
        assert!(lookups.take(id(0), Now(LOOKUP_EVERY_MS)).is_some());
    }
}
