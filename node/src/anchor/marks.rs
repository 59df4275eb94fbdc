//! What is attested and evident and in no confirmed batch is marked so, on disk. The marks are about one weave: where
//! batches go to another one than before, and in a store of a build without marks, everything is marked again.
//! What is on that weave already goes there once more.

use tokio_util::sync::CancellationToken;
use weft_storage::{StoreError, Write};

use super::task::EVIDENCE_MAX;
use crate::shared::Shared;

/// The setting that names the weave that the marks are about.
const SETTING: &str = "anchor-marks";
/// Attestations that are marked in one commit.
const PAGE: usize = 1_000;

/// Whether the marks are about another weave than batches go to, or nobody knows about which.
///
/// # Errors
/// A damaged store.
pub(super) fn are_of_another(shared: &Shared) -> Result<bool, StoreError> {
    let marked = shared.store.read()?.setting(SETTING)?;
    Ok(marked.is_none_or(|weave| weave != shared.anchored_on().as_bytes()))
}

/// Marks all attestations of processes that this node schedules, and all evidence. Blocks on the disk; ends between
/// two commits when it is to stop, and then begins anew at the next start.
///
/// # Errors
/// [`StoreError::Full`], or a damaged store.
pub(super) fn mark_all(shared: &Shared, stop: &CancellationToken) -> Result<(), StoreError> {
    for process in shared.directory.ids(|roles| roles.schedules) {
        let mut after = None;
        loop {
            if stop.is_cancelled() {
                return Ok(());
            }
            let page = shared.store.read()?.attestations_after(&process, after, PAGE)?;
            let Some((last, _)) = page.last() else { break };
            after = Some(*last);
            let mark = |(position, attestor)| Write::AnchorAttestation { process, position, attestor };
            shared.store.write_blocking(page.into_iter().map(|(key, _)| mark(key)).collect())?;
        }
    }
    let evidence = shared.store.read()?.evidence_of_all(EVIDENCE_MAX)?;
    let mark = |((process, name), _)| Write::AnchorEvidence { process, name };
    let mut writes: Vec<Write> = evidence.into_iter().map(mark).collect();
    let value = shared.anchored_on().as_bytes().to_vec().into();
    writes.push(Write::Setting { name: SETTING.to_owned(), value });
    shared.store.write_blocking(writes)
}
