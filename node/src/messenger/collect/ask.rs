//! Asking computers for what a process sent, and keeping what they show.

use std::sync::Arc;
use std::time::Duration;

use weft_net::Peer;
use weft_protocol::outcome::sent::{self, NotShown, Since, Stretch};
use weft_protocol::process::Process;
use weft_protocol::wire::request::Body as Ask;
use weft_protocol::wire::response::Body as Answer;
use weft_protocol::{Address, Position, wire};
use weft_storage::{Reader, StoreError};

use super::machine::Came;
use super::rows;
use crate::asking::{self, Pace};
use crate::attestations::keep_attestation;
use crate::news::News;
use crate::remote::{self, RemoteError};
use crate::shared::SharedRef;
use crate::supervisor::joined;

/// How computers are asked: who is silent, or has nothing, keeps nobody from being asked.
const PACE: Pace = Pace {
    beside: 3,
    stagger: Duration::from_millis(250),
    each: Duration::from_secs(20),
    grace: Duration::ZERO,
    until_sure: Duration::ZERO,
};
/// Peers that are asked.
const ASKED_MAX: usize = 16;
/// Attestations that are here and may complete a quorum.
const HELD_MAX: usize = 1_024;
/// Slots in one answer from which on there may be more at once.
const MANY_SLOTS: u64 = 256;

/// Why nothing came of one peer.
#[derive(Debug, thiserror::Error)]
enum NotGiven {
    #[error(transparent)]
    Remote(#[from] RemoteError),
    #[error(transparent)]
    NotShown(#[from] NotShown),
    #[error("the node stops")]
    Stopped,
}

/// Asks what a process sent after what is here, and puts it on disk.
pub(super) async fn collect(shared: &SharedRef, process: &Arc<Process>) -> Came {
    match try_collect(shared, process).await {
        Ok(came) => came,
        Err(error) => {
            tracing::error!(process = %process.id(), %error, "what a process sent was not stored");
            Came::Nothing
        }
    }
}

async fn try_collect(shared: &SharedRef, process: &Arc<Process>) -> Result<Came, StoreError> {
    let id = process.id();
    let since = {
        let reader = shared.store.read()?;
        if rows::is_full(&reader, &id)? {
            return Ok(Came::Full);
        }
        rows::since(&reader, &id)?
    };
    let Some(stretch) = ask_all(shared, process, since).await else { return Ok(Came::Nothing) };
    let (of, known, held) = (SharedRef::clone(shared), Arc::clone(process), stretch.clone());
    let writes = tokio::task::spawn_blocking(move || {
        let reader = of.store.read()?;
        // Told to begin anew meanwhile, or to stop, it is of no use.
        let is_next = rows::since(&reader, &known.id())? == since;
        is_next.then(|| rows::writes(&of, &reader, &known, &held)).transpose()
    });
    let Some(writes) = joined(writes.await).transpose()?.flatten() else { return Ok(Came::Nothing) };
    shared.store.write(writes).await?;
    for attestation in &stretch.attestations {
        let position = attestation.statement().position;
        if stretch.sent.binary_search_by_key(&position, |sent| sent.core.position).is_ok() {
            keep_attestation(shared, process, attestation).await;
        }
    }
    for sent in &stretch.sent {
        shared.metrics.collected.inc();
        shared.news.tell(News::Unsent { process: id, position: sent.core.position });
    }
    let to = stretch.end.0;
    let from = if let Since::After(position, _) = since { position.slot } else { 0 };
    Ok(Came::Took { to, more: to.slot.saturating_sub(from) >= MANY_SLOTS })
}

/// The first stretch that is shown.
async fn ask_all(shared: &SharedRef, process: &Arc<Process>, since: Since) -> Option<Stretch> {
    let peers = computers(shared, process).await;
    let ask = |peer| ask_peer(shared, Arc::clone(process), peer, since);
    let told = |peer, said| match said {
        Some(NotGiven::NotShown(error)) if error.is_lie() => {
            tracing::warn!(process = %process.id(), %peer, %error, "a peer gave something else than what was sent");
        }
        Some(error) => {
            tracing::trace!(process = %process.id(), %peer, %error, "a peer gave nothing of what was sent");
        }
        None => tracing::debug!(process = %process.id(), %peer, "a peer was silent about what was sent"),
    };
    let found = asking::first(peers, None, PACE, ask, |_| true, told);
    found.await.map(|(_, stretch)| stretch)
}

/// Whoever may have computed it: its attestors that are connected, then its scheduler and the others on its topic.
async fn computers(shared: &SharedRef, process: &Process) -> Vec<Peer> {
    let members = process.attestors().members;
    let is_attestor = |peer: &Peer| peer.address().is_some_and(|address| members.contains(&address));
    let mut peers = remote::everyone(shared).await;
    peers.retain(is_attestor);
    // Not all messengers ask the same one first.
    peers.sort_by_key(|peer| order(peer.address(), shared.address));
    let others = remote::sources(shared, process.id(), Some(process.scheduler())).await;
    let others: Vec<Peer> = others.into_iter().filter(|peer| !peers.contains(peer)).collect();
    peers.extend(others);
    peers.truncate(ASKED_MAX);
    peers
}

/// An order of others that is each node's own.
fn order(peer: Option<Address>, own: Address) -> Option<[u8; 32]> {
    let mut order = peer?.0;
    for (byte, own) in order.iter_mut().zip(own.0) {
        *byte ^= own;
    }
    Some(order)
}

async fn ask_peer(
    shared: &SharedRef,
    process: Arc<Process>,
    peer: Peer,
    since: Since,
) -> Result<Stretch, NotGiven> {
    let after = if let Since::After(position, _) = since { Some(position.into()) } else { None };
    let newest = since == Since::Newest;
    let ask = wire::SentRequest { process: wire::bytes(process.id()), after, newest };
    let answer = match remote::ask(shared, peer, Ask::Sent(ask)).await? {
        Answer::Sent(answer) => answer,
        _ => return Err(RemoteError::Mismatch { peer }.into()),
    };
    let of = SharedRef::clone(shared);
    let read = tokio::task::spawn_blocking(move || {
        let held = of.store.read().and_then(|reader| held(&reader, &process, since));
        // What cannot be read counts for nothing, as what never came.
        sent::verify(&process, since, answer, held.unwrap_or_default())
    });
    let shown = joined(read.await).ok_or(NotGiven::Stopped)?;
    if shown.as_ref().is_err_and(NotShown::is_lie) {
        shared.metrics.collect_lies.inc();
        shared.lied(peer).await;
    }
    Ok(shown?)
}

/// What attestors signed of the positions asked for, as far as it is here.
fn held(reader: &Reader, process: &Process, since: Since) -> Result<Vec<wire::Attestation>, StoreError> {
    let behind = match since {
        Since::After(position, _) => Some(position),
        Since::Start => None,
        Since::Newest => reader.head(&process.id())?.map(|(slot, _)| Position::slot(slot.saturating_sub(1))),
    };
    let behind = behind.map(|position| (position, Address([0xff; 32])));
    let rows = reader.attestations_after(&process.id(), behind, HELD_MAX)?;
    Ok(rows.into_iter().filter_map(|(_, row)| prost::Message::decode(row.bytes).ok()).collect())
}
