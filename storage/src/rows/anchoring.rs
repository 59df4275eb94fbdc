//! Batches on their way to a weave, and how far each log has got there.

use bytes::Bytes;
use weft_protocol::{Hash, Id};

use crate::limits::POSTING_PARTS_MAX;
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

/// How far a posting got.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PostingState {
    /// The bundle is durable here; nothing of it is signed.
    Built,
    /// Signed, and therefore perhaps posted.
    Signed {
        /// The id of the transaction, or of the item that goes to a bundler.
        id: Id,
        /// What was signed, as it is posted, without the data.
        header: Bytes,
        /// The fee, in winston.
        reward: u64,
        /// The last height at which a block may hold it; none where it does not expire.
        expires: Option<u64>,
    },
    /// A block holds it that will stay.
    Final {
        /// The id of the transaction or item.
        id: Id,
        /// The fee, in winston.
        reward: u64,
        /// The height of the block.
        height: u64,
        /// The name of the block, as the weave writes it.
        block: String,
    },
}

/// Batches that go to a weave in one transaction, named by the data root of their common bundle, which lies with
/// the blobs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PostingRow {
    /// The name of the weave.
    pub weave: String,
    /// The batches, by their data roots.
    pub parts: Vec<Hash>,
    /// BLAKE3 of the bundle: its name among the blobs.
    pub bundle: Hash,
    /// Items in it.
    pub items: u32,
    /// Bytes of the bundle.
    pub bytes: u64,
    /// Fees of all transactions that were ever signed for it, in winston.
    pub winston: u64,
    /// How many those are.
    pub signed: u32,
    /// What a bundler promised; empty where none did.
    pub receipt: Bytes,
    /// How far it got.
    pub state: PostingState,
}

impl PostingRow {
    /// Whether both rows name the same batches and bytes, whatever their states.
    pub(crate) fn same_content(&self, other: &Self) -> bool {
        (&self.weave, &self.parts, self.bundle) == (&other.weave, &other.parts, other.bundle)
    }

    /// Whether it is there to stay.
    pub const fn is_final(&self) -> bool {
        matches!(self.state, PostingState::Final { .. })
    }
}

impl Record for PostingRow {
    fn put(&self, out: &mut Encoder) {
        out.bytes(self.weave.as_bytes());
        out.u32(u32::try_from(self.parts.len()).unwrap_or(u32::MAX));
        for part in &self.parts {
            out.name(&part.0);
        }
        out.name(&self.bundle.0);
        out.u32(self.items);
        out.u64(self.bytes);
        out.u64(self.winston);
        out.u32(self.signed);
        out.bytes(&self.receipt);
        match &self.state {
            PostingState::Built => out.u8(0),
            PostingState::Signed { id, header, reward, expires } => {
                out.u8(1);
                out.name(&id.0);
                out.bytes(header);
                out.u64(*reward);
                out.option(expires.as_ref(), |out, expires| out.u64(*expires));
            }
            PostingState::Final { id, reward, height, block } => {
                out.u8(2);
                out.name(&id.0);
                out.u64(*reward);
                out.u64(*height);
                out.bytes(block.as_bytes());
            }
        }
    }

    fn take(input: &mut Decoder) -> Option<Self> {
        Some(Self {
            weave: input.text()?,
            parts: {
                let count = usize::try_from(input.u32()?).ok().filter(|&n| n <= POSTING_PARTS_MAX)?;
                input.list(count, 32, Decoder::hash)?
            },
            bundle: input.hash()?,
            items: input.u32()?,
            bytes: input.u64()?,
            winston: input.u64()?,
            signed: input.u32()?,
            receipt: input.bytes()?,
            state: match input.u8()? {
                0 => PostingState::Built,
                1 => PostingState::Signed {
                    id: input.id()?,
                    header: input.bytes()?,
                    reward: input.u64()?,
                    expires: input.option(Decoder::u64)?,
                },
                2 => PostingState::Final {
                    id: input.id()?,
                    reward: input.u64()?,
                    height: input.u64()?,
                    block: input.text()?,
                },
                _ => return None,
            },
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
