//! Batches on their way to a weave, and how far each log has got there.

use weft_protocol::{Hash, Id};

use crate::record::{Decoder, Encoder, Record};

/// How far a batch got.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BatchState {
    /// The bundle is durable here, not yet given to the weave.
    Building,
    /// The weave took it; no block holds it yet.
    Submitted,
    /// A block holds it.
    Confirmed {
        /// The height of the block.
        height: u64,
        /// The hash of the block.
        block: Hash,
    },
}

/// A bundle of one process's log, named by its data root. The bundle lies with the blobs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BatchRow {
    /// The process.
    pub process: Id,
    /// The first slot in it.
    pub from_slot: u64,
    /// The last slot in it.
    pub to_slot: u64,
    /// BLAKE3 of the bundle: its name among the blobs.
    pub bundle: Hash,
    /// Items in it.
    pub items: u32,
    /// Bytes of the bundle.
    pub bytes: u64,
    /// How far it got.
    pub state: BatchState,
    /// Submissions tried.
    pub attempts: u32,
    /// When to try or look next, in milliseconds since the Unix epoch.
    pub next_try_ms: u64,
}

impl BatchRow {
    /// Whether both rows name the same slots and bytes, whatever their states.
    pub(crate) fn same_content(&self, other: &Self) -> bool {
        (self.process, self.from_slot, self.to_slot, self.bundle)
            == (other.process, other.from_slot, other.to_slot, other.bundle)
    }
}

impl Record for BatchRow {
    fn put(&self, out: &mut Encoder) {
        out.name(&self.process.0);
        out.u64(self.from_slot);
        out.u64(self.to_slot);
        out.name(&self.bundle.0);
        out.u32(self.items);
        out.u64(self.bytes);
        match self.state {
            BatchState::Building => out.u8(0),
            BatchState::Submitted => out.u8(1),
            BatchState::Confirmed { height, block } => {
                out.u8(2);
                out.u64(height);
                out.name(&block.0);
            }
        }
        out.u32(self.attempts);
        out.u64(self.next_try_ms);
    }

    fn take(input: &mut Decoder) -> Option<Self> {
        Some(Self {
            process: input.id()?,
            from_slot: input.u64()?,
            to_slot: input.u64()?,
            bundle: input.hash()?,
            items: input.u32()?,
            bytes: input.u64()?,
            state: match input.u8()? {
                0 => BatchState::Building,
                1 => BatchState::Submitted,
                2 => BatchState::Confirmed { height: input.u64()?, block: input.hash()? },
                _ => return None,
            },
            attempts: input.u32()?,
            next_try_ms: input.u64()?,
        })
    }
}

/// The newest slot of a process that a weave holds without a gap below it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AnchoredRow {
    /// The slot.
    pub slot: u64,
    /// The batch that holds it.
    pub batch: Hash,
    /// The height of the block that holds the batch.
    pub height: u64,
}

impl Record for AnchoredRow {
    fn put(&self, out: &mut Encoder) {
        out.u64(self.slot);
        out.name(&self.batch.0);
        out.u64(self.height);
    }

    fn take(input: &mut Decoder) -> Option<Self> {
        Some(Self { slot: input.u64()?, batch: input.hash()?, height: input.u64()? })
    }
}
