//! The state of a process at a position, as one hash: RULES.md 6.7.

use std::sync::LazyLock;

use crate::attestation::BOUNDARY_SLOTS;
use crate::hashing;
use crate::id::{Hash, Id};
use crate::merkle;
use crate::outcome::Running;
use crate::position::Position;
use crate::time::TimePoint;

/// Bytes of one leaf of the memory and seen trees: a WebAssembly page.
pub const LEAF_BYTES: usize = 64 * 1024;

static ZERO_LEAF: LazyLock<Hash> = LazyLock::new(|| merkle::leaf(&[&[0; LEAF_BYTES]]));

/// The hash of one leaf: [`LEAF_BYTES`] bytes, or fewer at the end of a tree.
pub fn leaf_hash(bytes: &[u8]) -> Hash {
    merkle::leaf(&[bytes])
}

/// The hash of a leaf of zeros, which most pages of a memory are.
pub fn zero_leaf() -> Hash {
    *ZERO_LEAF
}

/// The root of a tree over these leaf hashes.
pub fn tree_root(leaves: Vec<Hash>) -> Hash {
    merkle::root(leaves)
}

/// Whether state roots are attested at this position: slot 0 and every 1,024 slots.
pub const fn is_boundary(position: Position) -> bool {
    position.tick == 0 && position.slot.is_multiple_of(BOUNDARY_SLOTS)
}

/// What the state of a process consists of, each large part by its root.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StateSummary {
    /// The process.
    pub process: Id,
    /// The version of the rules.
    pub rules: u32,
    /// The module.
    pub module: Id,
    /// The last evaluated position.
    pub position: Position,
    /// The time point of its slot.
    pub time: TimePoint,
    /// Bytes of linear memory.
    pub memory_bytes: u64,
    /// The root over the memory.
    pub memory_root: Hash,
    /// Keys in the seen list.
    pub seen_count: u64,
    /// The root over the seen list.
    pub seen_root: Hash,
    /// O_n.
    pub running: Running,
}

impl StateSummary {
    /// The state root.
    pub fn root(&self) -> Hash {
        hashing::blake3(
            "weft/state/1",
            &[
                &self.process.0,
                &self.rules.to_be_bytes(),
                &self.module.0,
                &self.position.to_bytes(),
                &self.time.timestamp.to_be_bytes(),
                &self.time.height.to_be_bytes(),
                &self.memory_bytes.to_be_bytes(),
                &self.memory_root.0,
                &self.seen_count.to_be_bytes(),
                &self.seen_root.0,
                &self.running.0.0,
            ],
        )
    }
}
