//! What a checkpoint is on disk, when one is due, and which ones are kept.
//!
//! A checkpoint carries everything that is state (rules 6.7): the memory as its pages, the seen
//! list as its length and root over the keys that the store holds beside it, and the rest as it
//! is. The state root binds all of it, so a damaged one is known by its hash.

use bytes::Bytes;
use weft_protocol::outcome::Running;
use weft_protocol::state::StateSummary;
use weft_protocol::time::TimePoint;
use weft_protocol::{Hash, Id, Position};
use weft_storage::Write;

/// Gas after which a checkpoint is due whatever the number of slots: about two seconds of replay.
pub const CHECKPOINT_GAS: u64 = 2_000_000_000_000;
/// Gas that is evaluated again rather than written down when a process leaves memory: about as
/// long as writing and reading a checkpoint takes.
const REPLAYED_GAS: u64 = 20_000_000_000;
/// Slots that are evaluated again rather than written down when a process leaves memory: as long,
/// for what a slot costs beside its gas.
const REPLAYED_SLOTS: u64 = 32;
/// Checkpoints of a process, newest first, that stay whatever their distance: what the newest one
/// lacks when its disk fails.
const NEWEST_KEPT: usize = 2;

/// What a process went through since its newest checkpoint.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Since {
    /// Slots.
    pub slots: u64,
    /// Gas of them and of the ticks between.
    pub gas: u64,
}

impl Since {
    /// Whether a checkpoint is due after so many slots or much gas.
    pub const fn is_due(self, slots: u64) -> bool {
        self.slots >= slots || self.gas >= CHECKPOINT_GAS
    }

    /// Whether replaying takes longer than restoring, so that a process that leaves memory is
    /// written down.
    pub const fn is_worth_writing(self) -> bool {
        self.slots >= REPLAYED_SLOTS || self.gas >= REPLAYED_GAS
    }
}

/// A checkpoint to write.
#[derive(Debug)]
pub struct Checkpoint {
    /// Where the state is.
    pub position: Position,
    /// Its new pages and its row.
    pub writes: Vec<Write>,
}

/// Bytes of the state beside the pages.
const BODY_BYTES: usize = 4 + 32 + 16 + 32 + 8 + 32 + 32 + 32;

/// The state beside the memory's pages, the state root last, so that whoever reads it compares.
pub(crate) fn encode(summary: &StateSummary) -> Bytes {
    let mut out = Vec::with_capacity(BODY_BYTES);
    out.extend_from_slice(&summary.rules.to_be_bytes());
    out.extend_from_slice(&summary.module.0);
    out.extend_from_slice(&summary.time.timestamp.to_be_bytes());
    out.extend_from_slice(&summary.time.height.to_be_bytes());
    out.extend_from_slice(&summary.memory_root.0);
    out.extend_from_slice(&summary.seen_count.to_be_bytes());
    out.extend_from_slice(&summary.seen_root.0);
    out.extend_from_slice(&summary.running.0.0);
    out.extend_from_slice(&summary.root().0);
    out.into()
}

/// Reads what [`encode`] gave; none unless its state root is that of what it says.
pub(crate) fn decode(
    bytes: &[u8],
    process: Id,
    position: Position,
    memory_bytes: u64,
) -> Option<StateSummary> {
    let mut rest = bytes;
    let rules = u32::from_be_bytes(take(&mut rest)?);
    let module = Id(take(&mut rest)?);
    let timestamp = u64::from_be_bytes(take(&mut rest)?);
    let height = u64::from_be_bytes(take(&mut rest)?);
    let memory_root = Hash(take(&mut rest)?);
    let seen_count = u64::from_be_bytes(take(&mut rest)?);
    let seen_root = Hash(take(&mut rest)?);
    let running = Running(Hash(take(&mut rest)?));
    let root = Hash(take(&mut rest)?);
    let summary = StateSummary {
        process,
        rules,
        module,
        position,
        time: TimePoint { timestamp, height },
        memory_bytes,
        memory_root,
        seen_count,
        seen_root,
        running,
    };
    (rest.is_empty() && summary.root() == root).then_some(summary)
}

fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (head, tail) = rest.split_first_chunk()?;
    *rest = tail;
    Some(*head)
}

/// The checkpoints to forget so that `keep` remain, of those at these positions, newest first.
///
/// What a missing checkpoint costs is the replay from the one before it; what matters of that is
/// how it compares to the age of what is looked for. So each time the one goes without which that
/// is least worse: the newest lie close together, and older ones ever further apart.
pub(super) fn surplus(newest_first: &[Position], keep: usize) -> Vec<Position> {
    let mut kept = newest_first.to_vec();
    let mut gone = Vec::new();
    while kept.len() > keep.max(NEWEST_KEPT) {
        let newest = kept.first().map_or(0, |position| position.slot);
        let slot_at = |index: usize| kept.get(index).map_or(0, |position| position.slot);
        // The gap that its going leaves, over the age of the gap's end: compared crosswise.
        let cost = |index: usize| {
            let (younger, older) = (slot_at(index - 1), slot_at(index + 1));
            (u128::from(younger.saturating_sub(older)), u128::from(newest.saturating_sub(older)).max(1))
        };
        let least = (NEWEST_KEPT.max(1)..kept.len()).min_by(|a, b| {
            let ((gap_a, age_a), (gap_b, age_b)) = (cost(*a), cost(*b));
            (gap_a * age_b).cmp(&(gap_b * age_a))
        });
        let Some(least) = least else { break };
        gone.push(kept.remove(least));
    }
    gone
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_body_reads_back_and_any_change_is_found() {
        let (process, position) = (Id([1; 32]), Position { epoch: 0, slot: 7, tick: 0 });
        let summary = StateSummary {
            process,
            rules: 3,
            module: Id([2; 32]),
            position,
            time: TimePoint { timestamp: 90, height: 45 },
            memory_bytes: 131_072,
            memory_root: Hash([3; 32]),
            seen_count: 8,
            seen_root: Hash([4; 32]),
            running: Running(Hash([5; 32])),
        };
        let bytes = encode(&summary);
        assert_eq!(bytes.len(), BODY_BYTES);
        assert_eq!(decode(&bytes, process, position, 131_072), Some(summary));
        let elsewhere = Position { slot: 8, ..position };
        assert_eq!(decode(&bytes, process, elsewhere, 131_072), None);
        assert_eq!(decode(&bytes, Id([9; 32]), position, 131_072), None);
        assert_eq!(decode(&bytes, process, position, 65_536), None);
        assert_eq!(decode(&bytes[1..], process, position, 131_072), None);
        for at in 0..bytes.len() {
            let mut changed = bytes.to_vec();
            changed[at] ^= 1;
            assert_eq!(decode(&changed, process, position, 131_072), None, "byte {at}");
        }
    }

    /// The kept slots after `count` checkpoints, one every `step` slots.
    fn kept_after(count: u64, step: u64, keep: usize) -> Vec<u64> {
        let mut kept: Vec<Position> = Vec::new();
        for slot in (1..=count).map(|number| number * step) {
            kept.insert(0, Position::slot(slot));
            let gone = surplus(&kept, keep);
            kept.retain(|position| !gone.contains(position));
        }
        kept.iter().map(|position| position.slot).collect()
    }

    #[test]
    fn the_newest_are_close_and_older_ones_ever_further_apart() {
        let kept = kept_after(1000, 1024, 12);
        assert_eq!(kept.len(), 12);
        assert_eq!(kept[..2], [1000 * 1024, 999 * 1024]);
        let newest = kept[0];
        // What a look at any slot replays is in proportion to how old the slot is.
        for slot in (0..newest).step_by(512) {
            let from = kept.iter().copied().find(|kept| *kept <= slot).unwrap_or(0);
            let age = newest - slot;
            assert!(slot - from <= 2 * (age + 1024), "slot {slot} of {newest} replays from {from}: {kept:?}");
        }
    }

    #[test]
    fn as_many_stay_as_were_asked_for_but_never_less_than_two() {
        for keep in [1, 2, 3, 7] {
            assert_eq!(kept_after(50, 10, keep).len(), keep.max(2));
        }
        assert_eq!(surplus(&[], 1), []);
        assert_eq!(surplus(&[Position::slot(0)], 1), []);
        // Many are too many at once where the limit was lowered.
        let many: Vec<Position> = (0..100).rev().map(Position::slot).collect();
        assert_eq!(surplus(&many, 4).len(), 96);
    }
}
