//! Asking peers who serves a process, and answering them.

use std::collections::BTreeSet;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt as _;
use futures::future::ready;
use futures::stream::{self, BoxStream};
use weft_net::Peer;
use weft_protocol::lobby::{Advert, Duty, Shard, Short};
use weft_protocol::wire::request::Body as Ask;
use weft_protocol::wire::response::Body as Answer;
use weft_protocol::wire::{self, ADVERTS_MAX};
use weft_protocol::{Id, Verified};

use super::machine::SKEW_MS;
use crate::remote::{self, RemoteError};
use crate::shared::Shared;

/// Peers that one search asks who serves a process.
const PEERS_ASKED_MAX: usize = 16;
/// Peers that are dialled because the lobby names them, where nothing else paces it.
const INTRODUCED_MAX: usize = 4;
/// How long one has for it: it looks into its memory.
const SAY_WAIT: Duration = Duration::from_secs(2);

/// What a peer says of who serves a process.
struct Told {
    duty: Option<Duty>,
    heard: Vec<Verified<Advert>>,
}

/// The peers to ask about processes of a shard: those on it, as they heard what is said there, then others that are connected.
pub async fn to_ask(shared: &Shared, shard: Shard) -> Vec<Peer> {
    let mut peers = turned(shared, shared.net.lobby_peers(shard).await.unwrap_or_default());
    peers.extend(turned(shared, remote::everyone(shared).await));
    let mut seen = BTreeSet::new();
    peers.retain(|peer| seen.insert(*peer));
    peers.truncate(PEERS_ASKED_MAX);
    peers
}

/// These peers from another one on each time: where there are many it is not always the same that are asked.
fn turned(shared: &Shared, mut peers: Vec<Peer>) -> Vec<Peer> {
    let number = usize::try_from(shared.clock.now().0).unwrap_or_default();
    let first = number % peers.len().max(1);
    peers.rotate_left(first);
    peers
}

/// Asks each of these who serves a process, and gives whom they name, as they answer: themselves, or others of
/// which they have the word.
pub fn say(shared: &Shared, process: Id, whom: Vec<Peer>) -> BoxStream<'_, Vec<Pointer>> {
    let whom = whom.into_iter().take(PEERS_ASKED_MAX);
    let answers = stream::iter(whom).map(move |peer| async move {
        let told = tokio::time::timeout(SAY_WAIT, who_serves(shared, peer, process)).await;
        let Ok(Ok(told)) = told else { return Vec::new() };
        let itself = told.duty.map(|_| Pointer::known(peer));
        let heard = told.heard.iter().filter_map(|advert| Pointer::of(shared, advert));
        itself.into_iter().chain(heard.map(|heard| Pointer { is_hearsay: true, ..heard })).collect()
    });
    answers.buffer_unordered(PEERS_ASKED_MAX).boxed()
}

/// A peer that may serve a process, and where it says that it is.
#[derive(Debug, Clone)]
pub struct Pointer {
    /// Who.
    pub peer: Peer,
    /// Multiaddr bytes; none of one that is connected.
    pub addresses: Vec<Bytes>,
    /// Whether a peer that this node asked only heard of it.
    pub is_hearsay: bool,
}

impl Pointer {
    /// One of which this node knows itself where it is.
    pub const fn known(peer: Peer) -> Self {
        Self { peer, addresses: Vec::new(), is_hearsay: false }
    }

    fn of(shared: &Shared, advert: &Advert) -> Option<Self> {
        let peer = Peer::from_ed25519(&advert.key()?).ok().filter(|peer| *peer != shared.net.peer())?;
        Some(Self { peer, addresses: advert.terms().addresses.clone(), is_hearsay: false })
    }
}

/// Whom this node's lobby names for a process.
pub fn named(shared: &Shared, process: Id) -> Vec<Pointer> {
    let named = shared.lobby.named(&process, shared.clock.now());
    named.iter().filter_map(|named| Pointer::of(shared, &named.body)).collect()
}

/// Whom this node's lobby names for a process, else whom connected peers do, the first that they name: a few, on
/// the way to be connected.
pub async fn named_anywhere(shared: &Shared, process: Id) -> Vec<Peer> {
    let mut found = named(shared, process);
    if found.is_empty() {
        let whom = to_ask(shared, Shard::of(&process)).await;
        let named = say(shared, process, whom).filter(|found| ready(!found.is_empty()));
        found = pin!(named).next().await.unwrap_or_default();
    }
    found.truncate(INTRODUCED_MAX);
    for Pointer { peer, addresses, .. } in &found {
        // Whether it comes to a connection is seen when it is asked; only a network that has stopped says no.
        let _ = shared.net.introduce(*peer, addresses.clone()).await;
    }
    found.into_iter().map(|pointer| pointer.peer).collect()
}

/// What a peer says of who serves a process: of itself, and of what others said. Of the latter what is not signed,
/// over, or of another process is left out.
async fn who_serves(shared: &Shared, peer: Peer, process: Id) -> Result<Told, RemoteError> {
    let body = Ask::WhoServes(wire::WhoServesRequest { process: wire::bytes(process) });
    let Answer::WhoServes(answer) = remote::ask(shared, peer, body).await? else {
        return Err(RemoteError::Mismatch { peer });
    };
    let (network, now) = (shared.network, shared.clock.now());
    let verify = move || {
        let adverts = answer.heard.iter().filter_map(|message| Advert::from_wire(message, network).ok());
        let fitting = adverts.filter(|advert| {
            let terms = advert.claims().terms();
            let names = terms.more || terms.served.contains_key(&Short::of(&process));
            names && terms.shard == Shard::of(&process) && advert.claims().is_live(now, SKEW_MS)
        });
        fitting.filter_map(|advert| advert.verify().ok()).collect()
    };
    let heard = tokio::task::spawn_blocking(verify).await.unwrap_or_default();
    Ok(Told { duty: Duty::numbered(answer.duty), heard })
}

/// What this node says of who serves a process: itself, and whom it heard of, with their word for it.
pub fn answer(shared: &Shared, process: &Id) -> wire::WhoServesResponse {
    let duty = shared.lobby.duty(process).map_or(0, Duty::number);
    let named = shared.lobby.named(process, shared.clock.now());
    let heard = named.into_iter().take(ADVERTS_MAX).map(|named| Arc::as_ref(&named.body).to_wire()).collect();
    wire::WhoServesResponse { duty, heard }
}
