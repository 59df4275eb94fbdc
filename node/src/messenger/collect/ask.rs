//! Asking computers for what a process sent, and keeping what they show.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;
use weft_net::Peer;
use weft_protocol::outcome::sent::{self, NotShown, Since, Stretch};
use weft_protocol::process::Process;
use weft_protocol::wire::request::Body as Ask;
use weft_protocol::wire::response::Body as Answer;
use weft_protocol::{Address, Position, wire};
use weft_storage::StoreError;

use super::machine::Came;
use super::rows;
use crate::asking::{self, Pace};
use crate::attestations::{is_signed, keep_attestation};
use crate::news::News;
use crate::remote::{self, RemoteError};
use crate::shared::{Shared, SharedRef};
use crate::supervisor::joined;

/// How computers are asked: who is silent, or has nothing, keeps nobody from being asked.
const PACE: Pace = Pace {
    beside: 3,
    stagger: Duration::from_millis(250),
    each: Duration::from_secs(20),
    grace: Duration::ZERO,
    until_sure: Duration::ZERO,
};
/// How long whoever signed first is asked ahead of a quorum, with the wait for the others' words: it holds a place meanwhile.
const AHEAD_WAIT: Duration = Duration::from_millis(500);
/// How often what it gave is held against what was signed: each time it is hashed anew.
const AHEAD_CHECKS_MAX: usize = 4;
/// Attestations that are written at once.
const KEPT_AT_ONCE: usize = 64;
/// Peers that are asked.
const ASKED_MAX: usize = 16;
/// Attestations that are here and may complete a quorum.
const HELD_MAX: usize = 1_024;

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

/// Asks what a process sent after what is here, and puts it on disk: one attestor, ahead of a quorum, or whoever may
/// have it.
pub(super) async fn collect(shared: &SharedRef, process: &Arc<Process>, ahead: Option<Address>) -> Came {
    match try_collect(shared, process, ahead).await {
        Ok(came) => came,
        Err(error) => {
            tracing::error!(process = %process.id(), %error, "what a process sent was not stored");
            Came::Nothing
        }
    }
}

async fn try_collect(
    shared: &SharedRef,
    process: &Arc<Process>,
    ahead: Option<Address>,
) -> Result<Came, StoreError> {
    let id = process.id();
    let since = {
        let reader = shared.store.read()?;
        if rows::is_full(&reader, &id)? {
            return Ok(Came::Full);
        }
        rows::since(&reader, &id)?
    };
    let stretch = match ahead {
        Some(attestor) => {
            let asked = ask_ahead(shared, process, attestor, since);
            tokio::time::timeout(AHEAD_WAIT, asked).await.ok().flatten()
        }
        None => shown(shared, process, computers(shared, process).await, since).await,
    };
    let Some(stretch) = stretch else { return Ok(Came::Nothing) };
    let (of, known, shown) = (SharedRef::clone(shared), Arc::clone(process), stretch.clone());
    let writes = tokio::task::spawn_blocking(move || {
        let reader = of.store.read()?;
        // Told to begin anew meanwhile, or to stop, it is of no use.
        let is_next = rows::since(&reader, &known.id())? == since;
        is_next.then(|| rows::writes(&of, &reader, &known, &shown)).transpose()
    });
    let Some(writes) = joined(writes.await).transpose()?.flatten() else { return Ok(Came::Nothing) };
    shared.store.write(writes).await?;
    if ahead.is_some() {
        shared.metrics.collected_ahead.inc();
    }
    // Those that were written with it are only told of; one that came meanwhile, or contradicts another, takes its own way.
    let held = shared.heard.taken(&id, stretch.end.0);
    let signed = stretch.attestations.iter().filter(|said| rows::sends(&stretch, said.statement().position));
    let keeping = futures::stream::iter(held.iter().chain(signed));
    let keeping = keeping.for_each_concurrent(KEPT_AT_ONCE, |attestation| async move {
        let _ = keep_attestation(shared, process, attestation).await;
    });
    keeping.await;
    for sent in &stretch.sent {
        shared.metrics.collected.inc();
        shared.news.tell(News::Unsent { process: id, position: sent.core.position });
    }
    let to = stretch.end.0;
    Ok(Came::Took { to, more: stretch.may_have_more(since) })
}

/// What a process sent after what is known of it, as the first of these peers shows it.
pub(crate) async fn shown(
    shared: &SharedRef,
    process: &Arc<Process>,
    peers: Vec<Peer>,
    since: Since,
) -> Option<Stretch> {
    let ask = |peer| ask_peer(shared, Arc::clone(process), peer, since);
    let told = |peer, said: Option<NotGiven>| match said {
        Some(error) => tell(process, peer, &error),
        None => tracing::debug!(process = %process.id(), %peer, "a peer was silent about what was sent"),
    };
    let found = asking::first(peers, None, PACE, ask, |_| true, told);
    found.await.map(|(_, stretch)| stretch)
}

fn tell(process: &Process, peer: Peer, error: &NotGiven) {
    let process = process.id();
    match error {
        NotGiven::NotShown(error) if error.is_lie() => {
            tracing::warn!(%process, %peer, %error, "a peer gave something else than what was sent");
        }
        error => tracing::trace!(%process, %peer, %error, "a peer gave nothing of what was sent"),
    }
}

/// What the attestor that was heard first gives, as soon as enough others said the same. It has all that it signed.
async fn ask_ahead(
    shared: &SharedRef,
    process: &Arc<Process>,
    attestor: Address,
    since: Since,
) -> Option<Stretch> {
    // Listening comes first: what is signed while it is asked is heard.
    let mut news = shared.news.listen();
    let peer = remote::connected(shared, attestor).await?;
    let given = fetch(shared, process, peer, since).await;
    let given = given.inspect_err(|error| tell(process, peer, error)).ok()?;
    for _ in 0..AHEAD_CHECKS_MAX {
        match check(shared, process, peer, since, given.clone()).await {
            Ok(stretch) => return Some(stretch),
            Err(NotGiven::NotShown(NotShown::Unsigned)) => {
                heard_signed(shared, process, since, &mut news).await?;
            }
            Err(error) => {
                tell(process, peer, &error);
                return None;
            }
        }
    }
    None
}

/// Waits until a quorum signed another position of a process, of those that are asked for; none where the node stops.
/// Safe to cancel.
async fn heard_signed(
    shared: &Shared,
    process: &Process,
    since: Since,
    news: &mut Receiver<News>,
) -> Option<()> {
    // The last attestors are heard of what a quorum signed before: that is no reason to look again.
    let is_asked_for = |at: Position| !matches!(since, Since::After(to, _) if at <= to);
    loop {
        match news.recv().await {
            Ok(News::Attested { process: of, position, .. })
                if of == process.id() && is_asked_for(position) =>
            {
                if is_signed(shared, process, position).unwrap_or_default() {
                    return Some(());
                }
            }
            Ok(_) => {}
            Err(RecvError::Lagged(_)) => return Some(()),
            Err(RecvError::Closed) => return None,
        }
    }
}

/// Whoever may have computed it: its attestors that are connected, then its scheduler and the others on its topic.
pub(crate) async fn computers(shared: &SharedRef, process: &Process) -> Vec<Peer> {
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
    let answer = fetch(shared, &process, peer, since).await?;
    check(shared, &process, peer, since, answer).await
}

async fn fetch(
    shared: &Shared,
    process: &Process,
    peer: Peer,
    since: Since,
) -> Result<wire::SentResponse, NotGiven> {
    let after = if let Since::After(position, _) = since { Some(position.into()) } else { None };
    let newest = since == Since::Newest;
    let ask = wire::SentRequest { process: wire::bytes(process.id()), after, newest };
    match remote::ask(shared, peer, Ask::Sent(ask)).await? {
        Answer::Sent(answer) => Ok(answer),
        _ => Err(RemoteError::Mismatch { peer }.into()),
    }
}

/// What an answer shows, by what it has and what is here.
async fn check(
    shared: &SharedRef,
    process: &Arc<Process>,
    peer: Peer,
    since: Since,
    answer: wire::SentResponse,
) -> Result<Stretch, NotGiven> {
    let (of, process) = (SharedRef::clone(shared), Arc::clone(process));
    let read = tokio::task::spawn_blocking(move || {
        let held = held(&of, &process, since);
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

/// What attestors signed of the positions asked for, as far as it is here: in memory, or on disk.
fn held(shared: &Shared, process: &Process, since: Since) -> Result<Vec<wire::Attestation>, StoreError> {
    let heard = shared.heard.all(&process.id());
    let reader = shared.store.read()?;
    let behind = match since {
        Since::After(position, _) => Some(position),
        Since::Start => None,
        Since::Newest => reader.head(&process.id())?.map(|(slot, _)| Position::slot(slot.saturating_sub(1))),
    };
    let behind = behind.map(|position| (position, Address([0xff; 32])));
    let rows = reader.attestations_after(&process.id(), behind, HELD_MAX)?;
    let rows = rows.into_iter().filter_map(|(_, row)| prost::Message::decode(row.bytes).ok());
    Ok(heard.iter().map(|said| said.to_wire()).chain(rows).collect())
}
