//! Which checkpoints are to be believed: those that a quorum of the process's attestors signed, to the last page.

use weft_protocol::attestation::{Attestation, NoQuorum, Quorum};
use weft_protocol::outcome::Running;
use weft_protocol::process::Process;
use weft_protocol::state::{LEAF_BYTES, StateSummary, is_boundary, tree_root, zero_leaf};
use weft_protocol::time::TimePoint;
use weft_protocol::wire::{self, WireError};
use weft_protocol::{Hash, Id, Verified};
use weft_storage::PageRef;

/// Bytes of a leaf in the list: its number and its hash.
pub(super) const REF_BYTES: usize = 4 + 32;
/// The largest memory that any process may have (RULES.md 6.8).
const MEMORY_BYTES_MAX: u64 = 16 << 30;

/// Why a checkpoint is not believed. Whoever gave it could see all of it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refused {
    /// It is malformed.
    #[error("it is malformed: {0}")]
    Wire(#[from] WireError),
    /// Not enough attestors signed it.
    #[error(transparent)]
    Quorum(#[from] NoQuorum),
    /// They signed for something else.
    #[error("its attestations are not of a boundary")]
    Boundary,
    /// The state is another than was signed.
    #[error("its state is not the one that was signed")]
    State,
    /// The pages are those of another memory.
    #[error("its pages are not those of the memory that was signed")]
    Pages,
}

/// A checkpoint that is to be believed.
#[derive(Debug, Clone)]
pub struct Manifest {
    /// The state but for its memory.
    pub summary: StateSummary,
    /// The assignment of its slot, as it was signed.
    pub assignment: Id,
    /// Who signed.
    pub attestations: Vec<Verified<Attestation>>,
    /// The leaves that are not all zero, by rising number.
    pub pages: Vec<PageRef>,
}

impl Manifest {
    /// Verifies what a peer gives.
    ///
    /// # Errors
    /// Why it is not believed.
    pub fn verify(process: &Process, message: &wire::CheckpointResponse) -> Result<Self, Refused> {
        let quorum = Quorum::verify(process, &message.attestations)?;
        let statement = *quorum.statement();
        if statement.position.slot == 0 || !is_boundary(statement.position) {
            return Err(Refused::Boundary);
        }
        let state = message.state.as_ref().ok_or(WireError::Field("state"))?;
        let summary = StateSummary {
            process: process.id(),
            rules: process.rules(),
            module: process.module(),
            position: statement.position,
            time: TimePoint { timestamp: state.timestamp, height: state.height },
            memory_bytes: state.memory_bytes,
            memory_root: wire::hash("memory_root", &state.memory_root)?,
            seen_count: state.seen_count,
            seen_root: wire::hash("seen_root", &state.seen_root)?,
            running: Running(statement.running),
        };
        if summary.root() != statement.state_root {
            return Err(Refused::State);
        }
        let pages = pages(&summary, &message.pages)?;
        let attestations = quorum.into_attestations();
        Ok(Self { summary, assignment: statement.assignment, attestations, pages })
    }
}

/// The list of leaves, if it is that of the signed memory.
fn pages(summary: &StateSummary, bytes: &[u8]) -> Result<Vec<PageRef>, Refused> {
    let leaf = LEAF_BYTES as u64;
    let (entries, rest) = bytes.as_chunks::<REF_BYTES>();
    if !rest.is_empty()
        || summary.memory_bytes > MEMORY_BYTES_MAX
        || !summary.memory_bytes.is_multiple_of(leaf)
    {
        return Err(Refused::Pages);
    }
    let mut leaves =
        vec![zero_leaf(); usize::try_from(summary.memory_bytes / leaf).map_err(|_| Refused::Pages)?];
    let mut pages: Vec<PageRef> = Vec::with_capacity(entries.len());
    for entry in entries {
        let (number, hash) = entry.split_first_chunk().ok_or(Refused::Pages)?;
        let number = u32::from_be_bytes(*number);
        let hash = Hash::try_from(hash).map_err(|_| Refused::Pages)?;
        if pages.last().is_some_and(|last| last.number >= number) {
            return Err(Refused::Pages);
        }
        *leaves.get_mut(number as usize).ok_or(Refused::Pages)? = hash;
        pages.push(PageRef { number, hash });
    }
    if tree_root(leaves) == summary.memory_root { Ok(pages) } else { Err(Refused::Pages) }
}
