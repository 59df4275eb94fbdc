//! Blocks: a chain by hash, each with the root of its transactions.

use weft_protocol::Hash;

use super::LocalWeaveConfig;
use crate::anchor::arweave::transactions_root;
use crate::limits::BLOCK_TRANSACTIONS_MAX;
use crate::record::{Decoder, Encoder, Record};

/// A batch in a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BlockTransaction {
    /// The data root of the batch.
    pub data_root: Hash,
    /// Bytes of its bundle.
    pub bytes: u64,
}

/// A block of the embedded weave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Block {
    /// 0 for the genesis block.
    pub height: u64,
    /// The hash of the block before; that of the owner for the genesis block.
    pub previous: Hash,
    /// Milliseconds since the Unix epoch; never less than in the block before.
    pub timestamp_ms: u64,
    /// The root over the data roots, as Arweave builds it; zeros without transactions.
    pub transactions_root: Hash,
    /// The batches.
    pub transactions: Vec<BlockTransaction>,
}

impl Block {
    /// The first block of a node's weave.
    pub(super) fn genesis(config: &LocalWeaveConfig) -> Self {
        let mut hasher = blake3::Hasher::new();
        hasher.update(b"weft/weave/genesis/1").update(&config.network.to_bytes()).update(&config.node.0);
        Self {
            height: 0,
            previous: Hash(hasher.finalize().into()),
            timestamp_ms: config.now_ms,
            transactions_root: Hash::ZERO,
            transactions: Vec::new(),
        }
    }

    /// The block after this one.
    pub(super) fn next(&self, now_ms: u64, transactions: Vec<BlockTransaction>) -> Self {
        Self {
            height: self.height + 1,
            previous: self.hash(),
            timestamp_ms: now_ms.max(self.timestamp_ms),
            transactions_root: root(&transactions),
            transactions,
        }
    }

    /// The hash of the block: over its height, the block before, its time and its transactions root.
    pub fn hash(&self) -> Hash {
        let mut hasher = blake3::Hasher::new();
        hasher
            .update(b"weft/weave/block/1")
            .update(&self.height.to_be_bytes())
            .update(&self.previous.0)
            .update(&self.timestamp_ms.to_be_bytes())
            .update(&self.transactions_root.0);
        Hash(hasher.finalize().into())
    }

    /// Why this block does not follow `previous`, if it does not.
    pub(super) fn check_follows(&self, previous: &Self) -> Result<(), &'static str> {
        if self.height != previous.height + 1 {
            return Err("the height does not follow");
        }
        if self.previous != previous.hash() {
            return Err("it does not name the block before");
        }
        if self.timestamp_ms < previous.timestamp_ms {
            return Err("it is older than the block before");
        }
        if self.transactions_root != root(&self.transactions) {
            return Err("the transactions root does not match");
        }
        Ok(())
    }
}

fn root(transactions: &[BlockTransaction]) -> Hash {
    transactions_root(transactions.iter().map(|one| (one.data_root, one.bytes))).unwrap_or(Hash::ZERO)
}

impl Record for Block {
    fn put(&self, out: &mut Encoder) {
        out.u64(self.height);
        out.name(&self.previous.0);
        out.u64(self.timestamp_ms);
        out.name(&self.transactions_root.0);
        out.u32(u32::try_from(self.transactions.len()).unwrap_or(u32::MAX));
        for transaction in &self.transactions {
            out.name(&transaction.data_root.0);
            out.u64(transaction.bytes);
        }
    }

    fn take(input: &mut Decoder) -> Option<Self> {
        Some(Self {
            height: input.u64()?,
            previous: input.hash()?,
            timestamp_ms: input.u64()?,
            transactions_root: input.hash()?,
            transactions: {
                let count = usize::try_from(input.u32()?).ok().filter(|&n| n <= BLOCK_TRANSACTIONS_MAX)?;
                input.list(count, 40, |input| {
                    Some(BlockTransaction { data_root: input.hash()?, bytes: input.u64()? })
                })?
            },
        })
    }
}
