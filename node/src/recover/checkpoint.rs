//! Checkpoints from the configured gateways: the newest one that a quorum of a process's attestors signed, and its
//! pages, each by its hash. Where to look the gateways say; nothing else of them counts.

use std::sync::Arc;

use weft_protocol::Id;
use weft_protocol::process::Process;
use weft_storage::PackedPage;

use super::ask::Question;
use super::asked::Asked;
use super::task::gateways;
use crate::join::Manifest;
use crate::portable::checkpoint::{MANIFEST_BYTES_MAX, PART_BYTES_MAX, read_manifest, read_pages};
use crate::shared::SharedRef;
use crate::supervisor::joined;

/// Checkpoints that are looked at of those that one gateway lists, the newest first.
const CANDIDATES_MAX: usize = 8;

/// A checkpoint that is to be believed, and the items with its pages.
#[derive(Debug)]
pub(crate) struct OnWeave {
    pub(crate) manifest: Manifest,
    pub(crate) parts: Vec<Id>,
}

/// The newest checkpoint of a process that any of the configured gateways gives.
pub(crate) async fn newest_checkpoint(shared: &SharedRef, process: &Arc<Process>) -> Option<OnWeave> {
    let asked = gateways(&shared.config.gateways).ok()?.into_iter().map(Asked::of);
    let found = futures::future::join_all(asked.map(|asked| newest_of(asked, process))).await;
    found.into_iter().flatten().max_by_key(|found| found.manifest.summary.position)
}

async fn newest_of(mut asked: Asked, process: &Arc<Process>) -> Option<OnWeave> {
    let mut signers = process.attestors().members.clone();
    signers.push(process.scheduler());
    signers.sort_unstable();
    signers.dedup();
    let listed = asked.query(&Question::Checkpoints { process: process.id(), signers }).await?;
    for one in listed.into_iter().take(CANDIDATES_MAX) {
        if one.data_bytes > MANIFEST_BYTES_MAX as u64 {
            continue;
        }
        let Ok(data) = asked.holder.small_data(one.id, MANIFEST_BYTES_MAX).await else { continue };
        let of = Arc::clone(process);
        let read = tokio::task::spawn_blocking(move || {
            let (parts, message) = read_manifest(data)?;
            let manifest = Manifest::verify(&of, &message);
            Some((parts, manifest))
        });
        match joined(read.await).flatten() {
            Some((parts, Ok(manifest))) => return Some(OnWeave { manifest, parts }),
            Some((_, Err(error))) => {
                tracing::warn!(process = %process.id(), gateway = asked.name(), %error, "a gateway gave a false checkpoint");
            }
            None => {}
        }
    }
    None
}

/// The pages of one item by the word of one of the configured gateways, by its number: none there are, or none that it
/// gives.
pub(crate) async fn checkpoint_part(shared: &SharedRef, gateway: usize, item: Id) -> Vec<PackedPage> {
    let Some(address) = shared.config.gateways.get(gateway) else { return Vec::new() };
    let Ok(mut holders) = gateways(std::slice::from_ref(address)) else { return Vec::new() };
    let Some(mut asked) = holders.pop().map(Asked::of) else { return Vec::new() };
    let Ok(data) = asked.holder.small_data(item, PART_BYTES_MAX).await else { return Vec::new() };
    let read = joined(tokio::task::spawn_blocking(move || read_pages(data)).await);
    read.flatten().unwrap_or_default()
}
