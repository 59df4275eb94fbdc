//! What is asked of providers, and what of their answers is taken: that which was signed, page by page.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt as _;
use tokio::time::Instant;
use weft_net::Peer;
use weft_protocol::process::Process;
use weft_protocol::wire::refusal::Code;
use weft_protocol::wire::request::Body as Ask;
use weft_protocol::wire::response::Body as Answer;
use weft_protocol::{Hash, Id, wire};
use weft_storage::PackedPage;

use super::Manifest;
use super::machine::{ASKS_MAX, Why};
use crate::remote::{self, RemoteError};
use crate::shared::SharedRef;
use crate::supervisor::joined;

/// Peers that are asked for a checkpoint.
const PEERS_MAX: usize = 8;
/// How long a peer that is busy is left alone at most, in milliseconds, whatever it says.
const REST_MS_MAX: u64 = 30_000;
/// How long a peer may take for one answer.
const ANSWER_WAIT: Duration = Duration::from_secs(20);
/// And for all pages that it is asked for at once: the slowest line that a node may have takes so long.
const CHUNK_WAIT: Duration = Duration::from_secs(90);

/// The newest checkpoint that peers have and that is to be believed, and who has it.
pub(super) async fn newest(shared: &SharedRef, process: &Arc<Process>) -> Option<(Manifest, Vec<Peer>)> {
    let peers = remote::sources(shared, process.id(), Some(process.scheduler())).await;
    let asked = futures::stream::iter(peers.into_iter().take(PEERS_MAX));
    let asked = asked.map(|peer| async move { (peer, checkpoint(shared, peer, process).await) });
    let answers: Vec<(Peer, Option<Manifest>)> = asked.buffer_unordered(ASKS_MAX).collect().await;
    let mut best: Option<(Manifest, Vec<Peer>)> = None;
    for (peer, manifest) in answers.into_iter().filter_map(|(peer, manifest)| Some((peer, manifest?))) {
        match &mut best {
            Some((held, peers)) if held.summary == manifest.summary => peers.push(peer),
            Some((held, _)) if held.summary.position >= manifest.summary.position => {}
            _ => best = Some((manifest, vec![peer])),
        }
    }
    best
}

async fn checkpoint(shared: &SharedRef, peer: Peer, process: &Arc<Process>) -> Option<Manifest> {
    let body = wire::CheckpointRequest { process: wire::bytes(process.id()), to: u64::MAX };
    let asked = remote::ask(shared, peer, Ask::Checkpoint(body));
    let Ok(Ok(Answer::Checkpoint(message))) = tokio::time::timeout(ANSWER_WAIT, asked).await else {
        return None;
    };
    let of = Arc::clone(process);
    let verified = tokio::task::spawn_blocking(move || Manifest::verify(&of, &message)).await;
    match joined(verified)? {
        Ok(manifest) => Some(manifest),
        Err(error) => {
            let process = process.id();
            tracing::warn!(%process, %peer, %error, "a peer gave a false checkpoint");
            shared.lied(peer).await;
            None
        }
    }
}

/// The pages that a peer gave, and why it gave no more.
pub(super) type Given = (Vec<PackedPage>, Option<Why>);

/// Pages by their hashes, each verified and packed for the disk: the first of them, and why there are no more. What came
/// before a piece that is late, or is not given, stays.
pub(super) async fn pages(shared: &SharedRef, peer: Peer, process: Id, hashes: Arc<[Hash]>) -> Given {
    let until = Instant::now() + CHUNK_WAIT;
    let mut pages: Vec<Bytes> = Vec::with_capacity(hashes.len());
    let mut why = None;
    // Over a slow line they come a few at a time.
    while let Some(left) = hashes.get(pages.len()..).filter(|left| !left.is_empty()) {
        let some = tokio::time::timeout_at(until, some_pages(shared, peer, process, left)).await;
        match some.unwrap_or(Err(Why::Silent)) {
            Ok(mut some) if !some.is_empty() => {
                some.truncate(left.len());
                pages.append(&mut some);
            }
            Ok(_) => why = Some(Why::Absent),
            Err(error) => why = Some(error),
        }
        if why.is_some() {
            break;
        }
    }
    let packed = tokio::task::spawn_blocking(move || packed(&hashes, &pages)).await;
    match joined(packed) {
        Some(Some(packed)) => (packed, why),
        Some(None) => {
            tracing::warn!(%process, %peer, "a peer gave a false page of a checkpoint");
            shared.lied(peer).await;
            (Vec::new(), Some(Why::Lie))
        }
        None => (Vec::new(), Some(Why::Silent)),
    }
}

/// The first of these pages that the peer gives at once.
async fn some_pages(shared: &SharedRef, peer: Peer, process: Id, hashes: &[Hash]) -> Result<Vec<Bytes>, Why> {
    let listed: Vec<u8> = hashes.iter().flat_map(|hash| hash.0).collect();
    let body = wire::PagesRequest { process: wire::bytes(process), hashes: listed.into() };
    let asked = tokio::time::timeout(ANSWER_WAIT, remote::ask(shared, peer, Ask::Pages(body))).await;
    match asked.map_err(|_| Why::Silent)? {
        Ok(Answer::Pages(answer)) => Ok(answer.pages),
        Err(RemoteError::Refused { refusal, .. }) if refusal.code() == Code::Busy => {
            Err(Why::Busy(refusal.retry_ms.clamp(1, REST_MS_MAX)))
        }
        Ok(_) | Err(RemoteError::Refused { .. }) => Err(Why::Absent),
        Err(_) => Err(Why::Silent),
    }
}

/// The pages, if each is the one of its hash.
fn packed(hashes: &[Hash], pages: &[Bytes]) -> Option<Vec<PackedPage>> {
    let each = hashes.iter().zip(pages);
    each.map(|(hash, page)| {
        let is_it = PackedPage::hash_of(page) == *hash;
        is_it.then(|| PackedPage::pack_named(page, *hash).ok()).flatten()
    })
    .collect()
}
