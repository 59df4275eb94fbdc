//! Pages of a checkpoint from a weave: in the items that were anchored beside it, one after the other.

use std::collections::BTreeSet;

use bytes::Bytes;
use weft_protocol::{Hash, Id};
use weft_storage::{PackedPage, Write};

use super::Manifest;
use super::task::{NotJoined, missing, row};
use crate::recover;
use crate::shared::SharedRef;

/// Has all pages put on disk, from the configured gateways: what one leaves out of an item the next is asked for, as
/// nothing says which pages are in it.
///
/// # Errors
/// [`NotJoined::Pages`] where nobody gives some of them, or the disk.
pub(super) async fn fetch(shared: &SharedRef, manifest: &Manifest, parts: &[Id]) -> Result<(), NotJoined> {
    let (missing, mut here) = missing(&shared.store.read()?, manifest)?;
    if !here.is_empty() {
        shared.store.write(vec![row(manifest, |hash| here.contains(hash), Bytes::new())]).await?;
    }
    let mut left: BTreeSet<Hash> = missing.into_iter().collect();
    let gateways = shared.config.gateways.len().min(recover::GATEWAYS_MAX);
    for turn in 0..gateways * parts.len() {
        let Some(part) = parts.get(turn % parts.len()).filter(|_| !left.is_empty()) else { break };
        let pages = recover::checkpoint_part(shared, turn / parts.len(), *part).await;
        // What nobody asked for would be kept for nothing.
        let pages: Vec<PackedPage> = pages.into_iter().filter(|page| left.remove(&page.hash())).collect();
        if pages.is_empty() {
            continue;
        }
        here.extend(pages.iter().map(PackedPage::hash));
        let mut writes: Vec<Write> = pages.into_iter().map(Write::Page).collect();
        writes.push(row(manifest, |hash| here.contains(hash), Bytes::new()));
        shared.store.write(writes).await?;
    }
    if left.is_empty() { Ok(()) } else { Err(NotJoined::Pages) }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::path::Path;
    use std::sync::Arc;

    use weft_protocol::crypto::Signer;
    use weft_protocol::outcome::Running;
    use weft_protocol::state::{LEAF_BYTES, StateSummary};
    use weft_protocol::time::TimePoint;
    use weft_protocol::{DataItem, Draft, Position, Tag, Verified};
    use weft_storage::{MemoryDisk, PageRef, Store, StoreConfig};

    use super::*;
    use crate::recover::tests::stub;
    use crate::shared::testing::{NETWORK, shared};

    /// The data of an item with these pages.
    fn part(pages: &[PackedPage]) -> Vec<u8> {
        let mut data = Vec::new();
        for page in pages {
            data.extend_from_slice(&(page.packed().len() as u32).to_be_bytes());
            data.extend_from_slice(page.packed());
        }
        data
    }

    /// Who gives nothing, or a part of it, does not keep the others from giving the rest.
    #[tokio::test]
    async fn pages_come_from_whoever_has_them() {
        let signer = Signer::from_seed(&[9; 32]);
        let pages: Vec<PackedPage> =
            (1..=3).map(|byte| PackedPage::pack(&[byte; LEAF_BYTES]).unwrap()).collect();
        let summary = StateSummary {
            process: Id([1; 32]),
            rules: 1,
            module: Id([2; 32]),
            position: Position::slot(1024),
            time: TimePoint { timestamp: 1, height: 1 },
            memory_bytes: LEAF_BYTES as u64 * 8,
            memory_root: Hash([3; 32]),
            seen_count: 1,
            seen_root: Hash([4; 32]),
            running: Running(Hash([5; 32])),
        };
        let refs = (0..).zip(&pages).map(|(number, page)| PageRef { number, hash: page.hash() }).collect();
        let manifest = Manifest { summary, assignment: Id([6; 32]), attestations: Vec::new(), pages: refs };
        let tags = vec![Tag::new("Type", "Weft-Checkpoint-Pages")];
        let item = Draft { tags, data: part(&pages).into(), ..Draft::default() }.sign(&signer).unwrap();
        let parts = [item.id()];
        let (all, some) = (part(&pages), part(&pages[1..]));
        let gives =
            |data: Vec<u8>| stub::gateway(vec![item.clone()], move |_: &Verified<DataItem>| data.clone());
        let (empty, half, whole) = (gives(Vec::new()).await, gives(some).await, gives(all).await);
        let config = StoreConfig::new(NETWORK, signer.address());
        for (gateways, is_whole) in
            [(vec![empty.clone(), half.clone()], false), (vec![empty, half, whole], true)]
        {
            let store = Store::open_with_backend(MemoryDisk::new(), &config).unwrap();
            let mut shared = shared(Path::new("/nowhere"), signer.clone(), store);
            Arc::get_mut(&mut shared).unwrap().config.gateways = gateways;
            let fetched = fetch(&shared, &manifest, &parts).await;
            assert_eq!(fetched.is_ok(), is_whole, "{fetched:?}");
        }
    }
}
