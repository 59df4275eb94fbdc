//! What can be written.

use bytes::Bytes;
use weft_protocol::{Address, Hash, Id, Position};

use crate::caution::{CautionRow, OPENINGS};
use crate::error::StoreError;
use crate::forget::LogPart;
use crate::limits::{
    BLOCK_NAME_BYTES_MAX, HEADER_BYTES_MAX, NAME_BYTES_MAX, POSTING_PARTS_MAX, REQUEST_BYTES_MAX,
    REQUEST_WRITES_MAX,
};
use crate::rows::{
    AnchoredRow, AttestationRow, BatchRow, CarriedRow, CheckpointRow, ClaimKey, ClaimRow, EarnedRow,
    EvidenceRow, OutboxKey, OutboxRow, OutboxState, OutcomeRow, PackedPage, PostingRow, PostingState,
    ProcessRow, SlotRow,
};

/// One change. Writing what is already there is no change; so every write may be repeated, after
/// a crash for instance. What it says about conflicts refuses the whole request.
#[derive(Debug, Clone)]
pub enum Write {
    /// An item under its id. Other bytes under the same id conflict.
    Item {
        /// The id, which the caller has verified.
        id: Id,
        /// The raw item.
        raw: Bytes,
    },
    /// What this node does for a process; replaces the row.
    Process {
        /// The Process item.
        process: Id,
        /// The row.
        row: ProcessRow,
    },
    /// A slot, for ever. Another assignment under the same slot conflicts.
    Slot {
        /// The process.
        process: Id,
        /// The `Nonce`.
        slot: u64,
        /// The row.
        row: SlotRow,
    },
    /// The one child of a spawn. Another child of the same spawn conflicts.
    Child {
        /// The push id of the spawn.
        spawn: Hash,
        /// The child.
        process: Id,
    },
    /// Appends a key to the seen list. A key that stands at another position conflicts, and so
    /// does a position before the last in the list.
    Seen {
        /// The process.
        process: Id,
        /// The key.
        key: Hash,
        /// The position that holds it.
        position: Position,
    },
    /// An outcome, for ever. Another running hash at the same position conflicts.
    Outcome {
        /// The process.
        process: Id,
        /// The position.
        position: Position,
        /// The row.
        row: OutcomeRow,
    },
    /// A new outbox entry. Where the entry exists already its delivery goes on as it is; another
    /// entry in its place conflicts.
    Outbox {
        /// Which entry.
        key: OutboxKey,
        /// The row.
        row: OutboxRow,
    },
    /// How far an outbox entry got. A settled entry stays settled.
    OutboxState {
        /// Which entry; it must exist.
        key: OutboxKey,
        /// How far it got.
        state: OutboxState,
        /// Pushes tried.
        attempts: u32,
        /// When to try next, in milliseconds since the Unix epoch.
        next_try_ms: u64,
    },
    /// An attestation. The first of a statement is kept; another statement of the same attestor
    /// for the same position conflicts.
    Attestation {
        /// The process.
        process: Id,
        /// The position.
        position: Position,
        /// The key that signed.
        attestor: Address,
        /// The row.
        row: AttestationRow,
    },
    /// A position that sent something, of a process that is not computed here. Another running hash at the same
    /// position conflicts.
    Carried {
        /// The process.
        process: Id,
        /// The position.
        position: Position,
        /// The row.
        row: CarriedRow,
    },
    /// Forgets such a position with its outbox and, of these attestors, what they signed of it. One that has an
    /// entry without a receipt conflicts, unless the entry goes nowhere.
    DropCarried {
        /// The process.
        process: Id,
        /// The position.
        position: Position,
        /// Whose attestations go.
        attestors: Vec<Address>,
    },
    /// Evidence under its name. Other bytes under the same name conflict.
    Evidence {
        /// The process that it is about.
        process: Id,
        /// Its name.
        name: Hash,
        /// The row.
        row: EvidenceRow,
    },
    /// An attestation is to be anchored, once more perhaps.
    AnchorAttestation {
        /// The process.
        process: Id,
        /// The position.
        position: Position,
        /// The key that signed.
        attestor: Address,
    },
    /// An attestation is in a confirmed batch.
    AttestationAnchored {
        /// The process.
        process: Id,
        /// The position.
        position: Position,
        /// The key that signed.
        attestor: Address,
    },
    /// Evidence is to be anchored.
    AnchorEvidence {
        /// The process that it is about.
        process: Id,
        /// Its name.
        name: Hash,
    },
    /// Evidence is in a confirmed batch.
    EvidenceAnchored {
        /// The process that it is about.
        process: Id,
        /// Its name.
        name: Hash,
    },
    /// A checkpoint; replaces the row. Each of its pages must be part of another checkpoint, or of
    /// this request before it.
    Checkpoint {
        /// The process.
        process: Id,
        /// The position that the state is after.
        position: Position,
        /// The row.
        row: CheckpointRow,
    },
    /// Forgets a checkpoint, and the pages that no other one names.
    DropCheckpoint {
        /// The process.
        process: Id,
        /// The position.
        position: Position,
    },
    /// Forgets all of a checkpoint but its first so many pages: it is one no longer. What is too large to be
    /// dropped at once where room is scarce goes this way: see
    /// [`Store::drop_checkpoint`](crate::Store::drop_checkpoint).
    CutCheckpoint {
        /// The process.
        process: Id,
        /// The position.
        position: Position,
        /// Pages that stay.
        pages: usize,
    },
    /// Drops what a position only shows: its result, its outbox and these attestations. One that the
    /// weave does not hold, or that has something left to send, conflicts; and so does an attestation that
    /// this node is to anchor and has not.
    Prune {
        /// The process.
        process: Id,
        /// The position.
        position: Position,
        /// The name of the weave that holds its slot.
        weave: String,
        /// Whose attestations of it go.
        attestors: Vec<Address>,
    },
    /// Drops a part of a log that nothing is done for: see [`Store::forget_log`](crate::Store::forget_log). A part of one
    /// that this node works for, or with an entry that is still to be sent, conflicts.
    DropLog(LogPart),
    /// A page of memory under its hash. It stays as long as a checkpoint names it.
    Page(PackedPage),
    /// Bytes under their BLAKE3 hash.
    Blob(Bytes),
    /// Forgets a blob.
    DropBlob(Hash),
    /// A batch. Other slots or another bundle under the same data root conflict; the state,
    /// attempts and time are replaced.
    Batch {
        /// The data root of the bundle.
        data_root: Hash,
        /// The row.
        row: BatchRow,
    },
    /// Batches that go to a weave together. Other batches or another bundle under the same data root conflict, and so does
    /// a batch that is in another posting, and whatever would take a final one back; all else is replaced.
    Posting {
        /// The data root of the bundle.
        data_root: Hash,
        /// The row.
        row: PostingRow,
    },
    /// Forgets a posting that is not final, with what it says of its batches: they may be in another one. Its bundle
    /// stays.
    DropPosting {
        /// The data root of the bundle.
        data_root: Hash,
        /// The name of the weave.
        weave: String,
    },
    /// How far a weave holds a log; replaces the row.
    Anchored {
        /// The process.
        process: Id,
        /// The name of the weave.
        weave: String,
        /// The row.
        row: AnchoredRow,
    },
    /// A push that this node carried for pay; replaces the row.
    Earned {
        /// Which push.
        key: OutboxKey,
        /// The row.
        row: EarnedRow,
    },
    /// Forgets such a push.
    DropEarned {
        /// Which push.
        key: OutboxKey,
    },
    /// A claim of this node; replaces the row.
    Claim {
        /// Which claim.
        key: ClaimKey,
        /// The row.
        row: ClaimRow,
    },
    /// Puts a log under caution; replaces the row.
    Caution {
        /// The process.
        process: Id,
        /// The row.
        row: CautionRow,
    },
    /// Ends the caution of a log.
    LiftCaution {
        /// The process.
        process: Id,
    },
    /// A setting; replaces the value.
    Setting {
        /// The name.
        name: String,
        /// The value.
        value: Bytes,
    },
    /// Forgets a setting.
    DropSetting {
        /// The name.
        name: String,
    },
}

/// What starts the name of the setting that says how far the results of a process are pruned; its id
/// follows.
pub const PRUNED_SETTING: &str = "pruned/";

/// The name of a blob: the BLAKE3 hash of its bytes.
pub fn blob_name(bytes: &[u8]) -> Hash {
    Hash(blake3::hash(bytes).into())
}

/// What a small row weighs in the queue: its fixed fields and its keys.
const ROW_BYTES: usize = 256;

impl Write {
    /// Lets new processes be opened again: see [`Reader::caution`](crate::Reader::caution).
    pub fn lift_openings() -> Self {
        Self::DropSetting { name: OPENINGS.to_owned() }
    }

    /// About how many bytes it brings to the disk.
    pub(crate) fn weight(&self) -> usize {
        ROW_BYTES
            + match self {
                Self::Item { raw, .. } => raw.len(),
                Self::Slot { row, .. } => row.assignment.len(),
                Self::Outcome { row, .. } => row.result.len(),
                Self::Carried { row, .. } => row.core.len(),
                Self::Outbox { row, .. } => row.entry.len(),
                Self::OutboxState { state: OutboxState::Settled { receipt }, .. } => receipt.len(),
                Self::Attestation { row, .. } => row.bytes.len(),
                Self::Evidence { row, .. } => row.bytes.len(),
                Self::Checkpoint { row, .. } => row.state.len() + 36 * row.pages.len(),
                Self::Page(page) => page.packed.len(),
                Self::Blob(bytes) => bytes.len(),
                Self::Setting { value, .. } => value.len(),
                // Each batch has a row that says which posting it is in.
                Self::Posting { row, .. } => 128 * row.parts.len() + 2 * 1024,
                Self::Claim { row, .. } => row.pushes.len(),
                Self::Process { .. }
                | Self::Child { .. }
                | Self::Seen { .. }
                | Self::OutboxState { .. }
                | Self::DropCheckpoint { .. }
                | Self::CutCheckpoint { .. }
                | Self::AnchorAttestation { .. }
                | Self::AttestationAnchored { .. }
                | Self::AnchorEvidence { .. }
                | Self::EvidenceAnchored { .. }
                | Self::Prune { .. }
                | Self::DropLog(_)
                | Self::DropCarried { .. }
                | Self::DropBlob(_)
                | Self::DropPosting { .. }
                | Self::Earned { .. }
                | Self::DropEarned { .. }
                | Self::Batch { .. }
                | Self::Anchored { .. }
                | Self::Caution { .. }
                | Self::LiftCaution { .. }
                | Self::DropSetting { .. } => 0,
            }
    }

    fn check(&self) -> Result<(), StoreError> {
        let at_most = |what, size, max| {
            if size > max { Err(StoreError::TooLarge { what, size, max }) } else { Ok(()) }
        };
        match self {
            Self::Setting { name, .. } | Self::DropSetting { name } => {
                at_most("bytes of a setting's name", name.len(), NAME_BYTES_MAX)
            }
            Self::Anchored { weave, .. } | Self::Prune { weave, .. } | Self::DropPosting { weave, .. } => {
                at_most("bytes of a weave's name", weave.len(), NAME_BYTES_MAX)
            }
            Self::Posting { row, .. } => {
                at_most("bytes of a weave's name", row.weave.len(), NAME_BYTES_MAX)?;
                at_most("batches of a posting", row.parts.len(), POSTING_PARTS_MAX)?;
                match &row.state {
                    PostingState::Built => Ok(()),
                    PostingState::Signed { header, .. } => {
                        at_most("bytes of a transaction without its data", header.len(), HEADER_BYTES_MAX)
                    }
                    PostingState::Final { block, .. } => {
                        at_most("bytes of a block's name", block.len(), BLOCK_NAME_BYTES_MAX)
                    }
                }
            }
            Self::Checkpoint { row, .. } => {
                at_most("pages of a checkpoint", row.pages.len(), crate::limits::CHECKPOINT_PAGES_MAX)
            }
            _ => Ok(()),
        }
    }
}

/// Checks a request's limits and weighs it.
pub(crate) fn admit(writes: &[Write]) -> Result<usize, StoreError> {
    if writes.len() > REQUEST_WRITES_MAX {
        return Err(StoreError::TooLarge {
            what: "writes in one request",
            size: writes.len(),
            max: REQUEST_WRITES_MAX,
        });
    }
    let mut weight = 0_usize;
    for write in writes {
        write.check()?;
        weight = weight.saturating_add(write.weight());
    }
    if weight > REQUEST_BYTES_MAX {
        return Err(StoreError::TooLarge {
            what: "bytes in one request",
            size: weight,
            max: REQUEST_BYTES_MAX,
        });
    }
    Ok(weight)
}
