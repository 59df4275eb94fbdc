//! Writing a live process down.
//!
//! What changed little goes to disk in one commit. What changed much goes in parts, each with a
//! row under the checkpoint's own key that names the pages so far and has no state: the pages are
//! counted from the start, and a crash between two parts leaves a row that says itself that it is
//! of no use. Whoever finds it passes over it and drops it, with its pages. The last part has the
//! state.

use bytes::Bytes;
use weft_storage::{CheckpointRow, PackedPage, PageRef, StoreError, Write};

use super::{HostError, Hosted};
use crate::compute::checkpoint::{self, Checkpoint, Since};

/// Pages of one part: what of a checkpoint is in memory at once, 256 MiB at most and a tenth of
/// that of most guests.
const PART_PAGES_MAX: usize = 4_096;

/// Makes a part of a checkpoint durable before the next one is packed.
pub type Put<'a> = dyn FnMut(Vec<Write>) -> Result<(), StoreError> + 'a;

impl Hosted {
    /// The writes of a checkpoint here; none before slot 0. All parts but the last are given to
    /// `put`, and must be on disk when the rest is written. Where `put` fails after the first, the position is
    /// among the [damaged](Self::take_damaged). Pages of the checkpoint before are not
    /// written again, so it must be on disk too.
    ///
    /// # Errors
    /// A page that storage cannot take, or the failure of `put`.
    pub fn checkpoint(&mut self, put: &mut Put<'_>) -> Result<Option<Checkpoint>, HostError> {
        let image = self.instance.memory_image()?;
        let memory_bytes = image.byte_len();
        let summary = self.fold.summary(memory_bytes, image.root());
        let Some(summary) = summary.filter(|_| self.fold.step().is_none()) else { return Ok(None) };
        let (process, position) = (self.process.id(), summary.position);
        // It is not tried again before as much has happened once more, whatever comes of it.
        self.since = Since::default();
        let row = |pages, state| Write::Checkpoint {
            process,
            position,
            row: CheckpointRow { memory_bytes, pages, state },
        };
        let (mut writes, mut written) = (Vec::new(), Vec::new());
        for (number, hash, leaf) in image.leaves(|hash| !self.stored.contains(hash)) {
            if writes.len() == PART_PAGES_MAX {
                let mut part = std::mem::take(&mut writes);
                part.push(row(written.clone(), Bytes::new()));
                let is_first = written.len() == PART_PAGES_MAX;
                if let Err(error) = put(part) {
                    self.damaged.extend((!is_first).then_some(position));
                    return Err(error.into());
                }
            }
            writes.push(Write::Page(PackedPage::pack_named(&leaf, hash)?));
            written.push(PageRef { number, hash });
        }
        let pages: Vec<PageRef> =
            image.leaf_hashes().map(|(number, hash)| PageRef { number, hash }).collect();
        self.stored = pages.iter().map(|page| page.hash).collect();
        writes.push(row(pages, checkpoint::encode(&summary)));
        Ok(Some(Checkpoint { position, writes }))
    }

    /// Writes every page again with the next checkpoint: the last one is not on disk.
    pub fn forget_stored(&mut self) {
        self.stored.clear();
    }
}
