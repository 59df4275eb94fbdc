//! What a block's header says of the data that came with it.
//!
//! A block names the root of a tree over the data roots of its transactions, in the order of their bytes on the weave; a
//! path leads from there to each. So a header shows whether data is in its block. That the header is one of the
//! weave's is another matter: nothing short of the chain of blocks and their proofs of work shows that.

use serde::Deserialize;

use super::chunk::{ChunkError, verify_path};
use super::word::Word;
use crate::id::Hash;

/// Bytes of a block's JSON: a thousand transactions, and the proofs of access with their chunks.
pub const BLOCK_JSON_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Why a block's JSON says nothing of its data.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BlockError {
    /// More bytes than any block's.
    #[error("a block of {0} bytes of JSON; at most {BLOCK_JSON_BYTES_MAX} are allowed")]
    TooLong(usize),
    /// Not the JSON of a block.
    #[error("not a block: malformed JSON at line {line}, column {column}")]
    Malformed {
        /// The line where reading stopped.
        line: usize,
        /// The column in that line.
        column: usize,
    },
    /// A field that is missing, or not of its form.
    #[error("the field `{0}` of the block is missing or malformed")]
    Field(&'static str),
}

/// The root over a block's transactions, and which of the weave's bytes are theirs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct BlockData {
    /// The root of the tree over their data roots.
    pub root: Hash,
    /// The first of their bytes, counted from 0 over the whole weave.
    pub start: u64,
    /// The byte after the last one, what fills up the last chunk included.
    pub end: u64,
}

#[derive(Deserialize)]
struct Json {
    #[serde(default)]
    tx_root: Word,
    #[serde(default)]
    weave_size: Word,
    #[serde(default)]
    block_size: Word,
}

impl BlockData {
    /// Reads the JSON of a block, as nodes and gateways give it: numbers in it are text, in old blocks numbers.
    ///
    /// # Errors
    /// What is wrong with it. A block without data has no root.
    pub fn parse_json(text: &[u8]) -> Result<Self, BlockError> {
        if text.len() > BLOCK_JSON_BYTES_MAX {
            return Err(BlockError::TooLong(text.len()));
        }
        let json: Json = serde_json::from_slice(text)
            .map_err(|error| BlockError::Malformed { line: error.line(), column: error.column() })?;
        let root = json.tx_root.text().parse().map_err(|_| BlockError::Field("tx_root"))?;
        let end = json.weave_size.number().ok_or(BlockError::Field("weave_size"))?;
        let start = json.block_size.number().and_then(|size| end.checked_sub(size));
        Ok(Self { root, start: start.ok_or(BlockError::Field("block_size"))?, end })
    }

    /// Checks that data of this root and size is in the block, its last byte at `last` of the weave's, which are
    /// counted from 1 there. `path` is what nodes call `tx_path`.
    ///
    /// # Errors
    /// What does not match.
    pub fn verify(&self, data_root: &Hash, size: u64, last: u64, path: &[u8]) -> Result<(), ChunkError> {
        let all = self.end.saturating_sub(self.start);
        let outside = ChunkError::Offset { offset: last, data_size: self.end };
        let byte = last.checked_sub(1).and_then(|byte| byte.checked_sub(self.start)).ok_or(outside)?;
        let (found, range) = verify_path(&self.root, all, byte, path)?;
        if found != *data_root || range.end != byte + 1 || range.end - range.start != size {
            return Err(ChunkError::Data(found));
        }
        Ok(())
    }
}
