//! Things by id, whole and verified: data items and transactions of the base layer. Peers are asked first, then
//! the gateways of the weave that this node reads.

use std::collections::BTreeSet;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use weft_net::{Key, Peer, RequestError};
use weft_protocol::held::Held;
use weft_protocol::limits::MODULE_ITEM_BYTES_MAX;
use weft_protocol::module::Module;
use weft_protocol::wire::request::Body as Ask;
use weft_protocol::wire::response::Body as Answer;
use weft_protocol::{DataItem, Id, Verified, wire};
use weft_storage::Write;
use weft_storage::anchor::Anchor as _;

use super::{RemoteError, ask, everyone, sources};
use crate::asking::{self, Pace};
use crate::recover;
use crate::shared::Shared;

/// Bytes of an item asked for at once.
const PIECE_BYTES: u64 = 4 * 1024 * 1024;
/// Bytes that a piece has at least, unless it is the last: the largest item is whole after some
/// hundred pieces, however little a peer would like to give at a time.
const PIECE_BYTES_MIN: usize = 256 * 1024;
/// Peers that are asked for one thing: one that does not have it says so at once.
const ASKED_MAX: usize = 64;
/// How they are asked for the first piece of an item: a slow line takes a while for it.
const FIRST_PIECE: Pace = Pace {
    beside: 8,
    stagger: Duration::from_secs(2),
    each: Duration::from_secs(30),
    grace: Duration::ZERO,
    until_sure: Duration::ZERO,
};
/// Peers that give the first piece of an item and not the others before the search ends.
const FAILED_MAX: usize = 8;
/// Bytes of data of what is read under `/data/`: with a header, what a module may have.
pub const HELD_BYTES_MAX: usize = MODULE_ITEM_BYTES_MAX - 64 * 1024;

/// A whole item by id, verified: modules come this way.
///
/// # Errors
/// As [`held`]; what has the id is a transaction.
async fn item(shared: &Shared, peers: Vec<Peer>, id: Id) -> Result<Verified<DataItem>, RemoteError> {
    held(shared, peers, id).await?.into_item().ok_or(RemoteError::NotAnItem(id))
}

/// What an id names, whole and verified. Peers are asked for its first piece beside each other, each
/// once, and the first that gives it for the others.
///
/// # Errors
/// Why the last of them did not give it.
async fn held(shared: &Shared, peers: Vec<Peer>, id: Id) -> Result<Verified<Held>, RemoteError> {
    let mut last = RemoteError::Nobody { what: format!("item {id}") };
    let mut seen = BTreeSet::new();
    let mut left: Vec<Peer> = peers.into_iter().filter(|peer| seen.insert(*peer)).take(ASKED_MAX).collect();
    for _ in 0..FAILED_MAX {
        let first = |peer| piece(shared, peer, id, 0);
        let mut without = BTreeSet::new();
        let found = asking::first(
            left.clone(),
            None,
            FIRST_PIECE,
            first,
            |_| false,
            |peer, error| {
                without.insert(peer);
                last = error.unwrap_or(RemoteError::Request { peer, error: RequestError::Timeout });
            },
        );
        let Some((peer, first)) = found.await else { break };
        match held_from(shared, peer, id, first).await {
            Ok(item) => return Ok(item),
            Err(error) => last = error,
        }
        left.retain(|other| *other != peer && !without.contains(other));
    }
    Err(last)
}

/// A piece of an item, not checked.
async fn piece(shared: &Shared, peer: Peer, id: Id, offset: u64) -> Result<wire::BlobResponse, RemoteError> {
    let id = Bytes::copy_from_slice(id.as_ref());
    match ask(shared, peer, Ask::Blob(wire::BlobRequest { id, offset, max_bytes: PIECE_BYTES })).await? {
        Answer::Blob(blob) => Ok(blob),
        _ => Err(RemoteError::Mismatch { peer }),
    }
}

/// What begins with this piece.
async fn held_from(
    shared: &Shared,
    peer: Peer,
    id: Id,
    first: wire::BlobResponse,
) -> Result<Verified<Held>, RemoteError> {
    let mismatch = || RemoteError::Mismatch { peer };
    let (mut bytes, mut blob) = (BytesMut::new(), first);
    loop {
        let total = usize::try_from(blob.total).ok().filter(|&total| total <= MODULE_ITEM_BYTES_MAX);
        let total = total.ok_or_else(mismatch)?;
        let left = total.checked_sub(bytes.len()).ok_or_else(mismatch)?;
        if !(left.min(PIECE_BYTES_MIN)..=left).contains(&blob.piece.len()) || left == 0 {
            return Err(mismatch());
        }
        bytes.extend_from_slice(&blob.piece);
        if bytes.len() == total {
            break;
        }
        blob = piece(shared, peer, id, bytes.len() as u64).await?;
    }
    verified(bytes.freeze(), id).await.ok_or_else(mismatch)
}

/// What these bytes are, if they are what the id names.
async fn verified(raw: Bytes, id: Id) -> Option<Verified<Held>> {
    let verify = move || Held::parse(raw).and_then(|held| held.verify());
    tokio::task::spawn_blocking(verify).await.ok()?.ok().filter(|held| held.id() == id)
}

/// Finds a module among the peers of its process, or anyone connected, and keeps it.
///
/// # Errors
/// When nobody has it or the disk does not take it.
pub async fn fetch_module(shared: &Shared, process: Id, module: Id) -> Result<(), RemoteError> {
    let item = anywhere(shared, process, module).await?;
    // What is no module would take disk and serve nobody.
    Module::accept(item.clone()).map_err(|refusal| RemoteError::NotAModule(refusal.to_string()))?;
    keep(shared, &item.into()).await
}

/// Finds what a process reads under `/data/` as [`everywhere`] does, and keeps it.
///
/// # Errors
/// When nobody has it or the disk does not take it.
pub async fn fetch_item(shared: &Shared, process: Id, id: Id) -> Result<(), RemoteError> {
    keep(shared, &everywhere(shared, process, id, HELD_BYTES_MAX).await?).await
}

/// An item of this id among the peers of a process, those that provide it, and everyone connected.
///
/// # Errors
/// When nobody has it.
pub async fn anywhere(shared: &Shared, process: Id, id: Id) -> Result<Verified<DataItem>, RemoteError> {
    item(shared, who_may_have(shared, process, id).await, id).await
}

async fn who_may_have(shared: &Shared, process: Id, id: Id) -> Vec<Peer> {
    let mut peers = sources(shared, process, None).await;
    peers.extend(shared.net.providers(Key::Process(id)).await.unwrap_or_default());
    peers.extend(everyone(shared).await);
    peers
}

/// What an id names: on the weave of this node, among peers as [`anywhere`] looks, and then at the gateways that
/// this node reads, which are not asked for more than `data_max` bytes of data.
///
/// # Errors
/// Why nobody gave it: each gateway by name.
pub async fn everywhere(
    shared: &Shared,
    process: Id,
    id: Id,
    data_max: usize,
) -> Result<Verified<Held>, RemoteError> {
    // A weave that cannot be read has nothing to give here; its own tasks say so.
    if let Ok(Some(raw)) = shared.weave.item(id).await
        && let Some(held) = verified(raw, id).await
    {
        return Ok(held);
    }
    let asked = held(shared, who_may_have(shared, process, id).await, id).await;
    let count = |outcome| shared.metrics.weave_reads.add(outcome);
    let peers = match asked {
        Ok(held) => {
            count("peer");
            return Ok(held);
        }
        Err(error) => error.to_string(),
    };
    // Only a node that stops closes it.
    let _turn = shared.turns.gateways.acquire().await;
    let sought = recover::seek(&shared.config.gateways, id, data_max).await;
    for _ in 0..sought.false_ones {
        count("false");
    }
    count(if sought.found.is_some() { "gateway" } else { "missing" });
    sought.found.ok_or_else(|| RemoteError::Gateways {
        peers,
        gateways: match &sought.said[..] {
            [] => "none are configured (`gateways`)".to_owned(),
            said => said.join("; "),
        },
    })
}

async fn keep(shared: &Shared, held: &Verified<Held>) -> Result<(), RemoteError> {
    let write = Write::Item { id: held.id(), raw: held.raw() };
    shared.store.write(vec![write]).await.map_err(|error| RemoteError::Disk(error.to_string()))
}
