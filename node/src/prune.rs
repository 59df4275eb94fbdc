//! Pruning by policy: results that only show what happened go, the log and its hashes stay.
//!
//! A position may be pruned when its slot is in a confirmed batch with all that is attested up to it, a
//! checkpoint covers it, nothing up to it is left to send, and so many newer slots are kept whole as the policy says. Items and
//! assignments are never pruned: other peers ask for them, and a batch on this machine's own weave
//! makes nothing final for anybody else (RULES.md 6.14).

mod task;

use std::ops::ControlFlow;

use serde::{Deserialize, Serialize};
use weft_protocol::{Id, Position};
use weft_storage::{PRUNED_SETTING, Reader, Store, StoreError, Write};

pub use task::PruneTask;

/// Positions of one commit: their rows are read and written within milliseconds.
const POSITIONS_MAX: usize = 256;
/// Bytes of results that are read for one commit, but for the last of them, which may have as many as a
/// result may.
const PAGE_BYTES_MAX: usize = 16 * 1024 * 1024;

/// What pruning a process came to, or would come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct PruneReport {
    pub process: Id,
    /// The first slot that was not pruned before.
    pub from: u64,
    /// The first slot that stays whole.
    pub to: u64,
    pub positions: u64,
    /// Bytes of results, outbox entries and attestations.
    pub bytes: u64,
}

/// What is known of a log that decides how much of it may go.
#[derive(Debug, Clone, Copy, Default)]
pub struct Limits {
    /// The newest slot.
    pub head: Option<u64>,
    /// The newest slot in a confirmed batch.
    pub anchored: Option<u64>,
    /// The slot of the newest checkpoint that can be read.
    pub checkpoint: Option<u64>,
    /// The slot of the oldest position with something left to send.
    pub unsent: Option<u64>,
    /// The slot of the oldest position with an attestation that is in no confirmed batch.
    pub unanchored: Option<u64>,
}

impl Limits {
    /// What the disk says.
    ///
    /// # Errors
    /// The disk.
    pub fn read(reader: &Reader, process: &Id, weave: &str) -> Result<Self, StoreError> {
        Ok(Self {
            head: reader.head(process)?.map(|(slot, _)| slot),
            anchored: reader.anchored(process, weave)?.map(|row| row.slot),
            checkpoint: reader.whole_checkpoint(process)?.map(|position| position.slot),
            unsent: reader.outbox_pending(process, 1)?.first().map(|(key, _)| key.position.slot),
            unanchored: reader.attestations_unanchored(process, None, 1)?.first().map(|(at, _)| at.slot),
        })
    }

    /// The first slot that stays whole when the newest `kept` do.
    pub fn boundary(&self, kept: u64) -> u64 {
        let (Some(head), Some(anchored), Some(checkpoint)) = (self.head, self.anchored, self.checkpoint)
        else {
            return 0;
        };
        // The ticks after the checkpoint's own slot may not be in it.
        let covered = checkpoint.min(anchored.saturating_add(1));
        let held_up = [self.unsent, self.unanchored].into_iter().flatten().min();
        covered.min(held_up.unwrap_or(u64::MAX)).min((head + 1).saturating_sub(kept))
    }
}

/// Results of slots before this are pruned here.
///
/// # Errors
/// The disk.
pub fn pruned_to(reader: &Reader, process: &Id) -> Result<u64, StoreError> {
    let setting = reader.setting(&setting(process))?;
    let number = setting.and_then(|bytes| Some(u64::from_be_bytes(bytes.as_ref().try_into().ok()?)));
    Ok(number.unwrap_or(0))
}

/// The name of the setting that says how far a process is pruned.
pub(crate) fn setting(process: &Id) -> String {
    format!("{PRUNED_SETTING}{process}")
}

/// Says what there is no result of, and where else to look.
pub fn told(process: &Id, position: Position) -> String {
    format!(
        "the result at {position} of process {process} was pruned here (see `results_kept`); ask another node \
         that computes it, or evaluate it again with `weft state` or `weft verify`"
    )
}

/// How to prune one process.
#[derive(Debug, Clone, Copy)]
pub struct Pruning<'a> {
    /// Where.
    pub store: &'a Store,
    /// The weave whose batches count.
    pub weave: &'a str,
    /// Newest slots that are kept whole.
    pub kept: u64,
    /// Only count.
    pub dry_run: bool,
}

impl Pruning<'_> {
    /// Prunes a process. `tell` hears the slot that is reached and the last one, and says whether to
    /// go on. Blocks on the disk; what was done before an error stays done.
    ///
    /// # Errors
    /// The disk.
    pub fn run(
        &self,
        process: Id,
        tell: &mut dyn FnMut(u64, u64) -> ControlFlow<()>,
    ) -> Result<PruneReport, StoreError> {
        let reader = self.store.read()?;
        let from = pruned_to(&reader, &process)?;
        let to = Limits::read(&reader, &process, self.weave)?.boundary(self.kept).max(from);
        drop(reader);
        let mut report = PruneReport { process, from, to, positions: 0, bytes: 0 };
        let mut next = Some(Position { epoch: 0, slot: from, tick: 0 });
        let (mut most, mut marked) = (POSITIONS_MAX, from);
        while let Some(at) = next.filter(|_| from < to) {
            // One for each page: what a commit freed is used again only once nobody reads what was before it.
            let reader = self.store.read()?;
            if !self.dry_run && pruned_to(&reader, &process)? != marked {
                // It was forgotten meanwhile, and taken up again perhaps: of that log these are no limits.
                report.to = marked;
                break;
            }
            let page = self.page(&reader, process, at, to, most)?;
            let reached = page.next.map_or(to, |next| next.slot.min(to));
            if !self.dry_run {
                let value = reached.to_be_bytes().to_vec().into();
                let mark = Write::Setting { name: setting(&process), value };
                match self.store.write_blocking([page.writes, vec![mark]].concat()) {
                    // The last room on a disk is enough for a few of them, which make more.
                    Err(StoreError::Full { .. }) if most > 1 => {
                        most /= 4;
                        continue;
                    }
                    written => written?,
                }
                marked = reached;
            }
            report.positions += page.positions;
            report.bytes += page.bytes;
            next = page.next;
            if tell(reached - from, to - from).is_break() {
                report.to = reached;
                break;
            }
        }
        Ok(report)
    }

    fn page(
        &self,
        reader: &Reader,
        process: Id,
        at: Position,
        to: u64,
        most: usize,
    ) -> Result<Page, StoreError> {
        let mut page = Page::default();
        // Fewer than `most` are no sign of the end: it is where no row is.
        for (position, row) in reader.outcomes_up(&process, at, most, PAGE_BYTES_MAX)? {
            if position.slot >= to {
                page.next = None;
                return Ok(page);
            }
            page.next = after(position);
            let mut attestors = Vec::new();
            // Where a state root is signed others may check a checkpoint against it.
            if row.state_root.is_none() {
                for (attestor, row) in reader.attestations(&process, position)? {
                    page.bytes += row.bytes.len() as u64;
                    attestors.push(attestor);
                }
            }
            let outbox = reader.outbox(&process, position)?;
            page.bytes += row.result.len() as u64;
            page.bytes += outbox.iter().map(|(_, row)| row.entry.len() as u64).sum::<u64>();
            if row.is_pruned() && outbox.is_empty() && attestors.is_empty() {
                continue;
            }
            page.positions += 1;
            page.writes.push(Write::Prune { process, position, weave: self.weave.to_owned(), attestors });
        }
        Ok(page)
    }
}

/// Some positions that go.
#[derive(Default)]
struct Page {
    writes: Vec<Write>,
    positions: u64,
    bytes: u64,
    /// Where the next page begins; none at the end.
    next: Option<Position>,
}

/// The position after this one in key order, as far as this build makes any.
fn after(position: Position) -> Option<Position> {
    match position.tick.checked_add(1) {
        Some(tick) => Some(Position { tick, ..position }),
        None => Some(Position { slot: position.slot.checked_add(1)?, tick: 0, ..position }),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use weft_protocol::{Address, Hash, Network};
    use weft_storage::{AnchoredRow, CheckpointRow, MemoryDisk, OutcomeRow, SlotRow, StoreConfig};

    use super::*;
    use crate::shared::testing::outcome_row;

    const PROCESS: Id = Id([1; 32]);
    const HASH: Hash = Hash([2; 32]);

    fn store() -> Store {
        let config = StoreConfig::new(Network(7), Address([3; 32]));
        Store::open_with_backend(MemoryDisk::new(), &config).unwrap()
    }

    fn outcome(slot: u64, bytes: usize) -> Write {
        let row = OutcomeRow { result: vec![b'1'; bytes].into(), ..outcome_row() };
        Write::Outcome { process: PROCESS, position: Position::slot(slot), row }
    }

    /// A process that is forgotten and taken up again has a log whose results are still to come: were they noted as pruned, they
    /// would never be.
    #[test]
    fn what_is_forgotten_meanwhile_is_not_noted_as_pruned() {
        const SLOTS: u64 = 2 * POSITIONS_MAX as u64 + 10;
        let (store, last) = (store(), SLOTS - 1);
        let slot = SlotRow {
            epoch: 0,
            assignment_id: Id([4; 32]),
            assignment: "assignment".into(),
            item: Id([5; 32]),
            proof: None,
            chain: HASH,
            timestamp: 1,
            block_height: 1,
        };
        let weave = "arweave.N.1".to_owned();
        let row = AnchoredRow { slot: last, batch: HASH, height: 1 };
        let anchored = Write::Anchored { process: PROCESS, weave: weave.clone(), row };
        let row = CheckpointRow { memory_bytes: 0, pages: Vec::new(), state: "state".into() };
        let checkpoint = Write::Checkpoint { process: PROCESS, position: Position::slot(last), row };
        let whole = [Write::Slot { process: PROCESS, slot: last, row: slot }, anchored, checkpoint];
        store.write_blocking((0..SLOTS).map(|slot| outcome(slot, 9)).chain(whole).collect()).unwrap();
        let pruning = Pruning { store: &store, weave: &weave, kept: 0, dry_run: false };
        let noted = || pruned_to(&store.read().unwrap(), &PROCESS).unwrap();
        let mut pages = 0;
        let report = pruning.run(PROCESS, &mut |done, all| {
            pages += 1;
            assert_eq!((noted(), all), (done, last));
            store.write_blocking(vec![Write::DropSetting { name: setting(&PROCESS) }]).unwrap();
            ControlFlow::Continue(())
        });
        let report = report.unwrap();
        assert_eq!((pages, report.positions, noted()), (1, POSITIONS_MAX as u64, 0));
        assert!(report.to < last, "{report:?}");
    }

    #[test]
    fn large_results_are_read_some_at_a_time_and_all_in_the_end() {
        const RESULT_BYTES: usize = PAGE_BYTES_MAX / 4 + 1;
        const SLOTS: u64 = 10;
        let store = store();
        for slot in 0..SLOTS {
            store.write_blocking(vec![outcome(slot, RESULT_BYTES)]).unwrap();
        }
        let pruning = Pruning { store: &store, weave: "local:x", kept: 0, dry_run: true };
        let (reader, mut next) = (store.read().unwrap(), Some(Position::slot(0)));
        let (mut pages, mut positions) = (0, 0);
        while let Some(at) = next {
            let page = pruning.page(&reader, PROCESS, at, SLOTS - 1, POSITIONS_MAX).unwrap();
            assert!(page.positions <= 4, "{} results at once", page.positions);
            assert_eq!(page.bytes, page.positions * RESULT_BYTES as u64);
            (pages, positions, next) = (pages + 1, positions + page.positions, page.next);
        }
        // All but the last slot, which stays.
        assert_eq!((pages, positions), (3, SLOTS - 1));
    }

    #[test]
    fn what_is_not_final_covered_and_sent_stays() {
        let all = Limits { head: Some(99), anchored: Some(79), checkpoint: Some(90), ..Limits::default() };
        assert_eq!(all.boundary(0), 80);
        assert_eq!(all.boundary(50), 50);
        assert_eq!(all.boundary(100), 0);
        assert_eq!(all.boundary(1_000), 0);
        assert_eq!(Limits { checkpoint: Some(64), ..all }.boundary(0), 64);
        assert_eq!(Limits { unsent: Some(7), ..all }.boundary(0), 7);
        assert_eq!(Limits { unsent: Some(0), ..all }.boundary(0), 0);
        assert_eq!(Limits { unanchored: Some(9), ..all }.boundary(0), 9);
        assert_eq!(Limits { unanchored: Some(9), unsent: Some(7), ..all }.boundary(0), 7);
        for missing in [
            Limits { anchored: None, ..all },
            Limits { checkpoint: None, ..all },
            Limits { head: None, ..all },
        ] {
            assert_eq!(missing.boundary(0), 0);
        }
    }
}
