//! Pages of a checkpoint from a weave: in the items that were anchored beside it, one after the other.

use std::collections::BTreeSet;

use bytes::Bytes;
use weft_protocol::{Hash, Id};
use weft_storage::{PackedPage, Write};

use super::Manifest;
use super::task::{NotJoined, missing, row};
use crate::recover;
use crate::shared::SharedRef;

/// Has all pages put on disk, from the configured gateways.
pub(super) async fn fetch(shared: &SharedRef, manifest: &Manifest, parts: &[Id]) -> Result<(), NotJoined> {
    let (missing, mut here) = missing(&shared.store.read()?, manifest)?;
    if !here.is_empty() {
        shared.store.write(vec![row(manifest, |hash| here.contains(hash), Bytes::new())]).await?;
    }
    let mut left: BTreeSet<Hash> = missing.into_iter().collect();
    for part in parts {
        if left.is_empty() {
            break;
        }
        let pages = recover::checkpoint_part(shared, *part).await.unwrap_or_default();
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
