//! Posting batches to a weave that costs money: an Arweave through its gateways, or a bundler.
//!
//! What the anchor made and stored as batches is gathered into postings, one transaction each ([`machine`]). Rows on
//! disk say how far each is, so that a crash between any two steps repeats a step and never pays for another.
//! The task waits, and does what the machine asks for; what gateways say is bytes of strangers (`client`).

mod board;
mod client;
pub mod machine;
pub mod quorum;
pub mod spending;
mod task;
mod work;

use sha2::{Digest as _, Sha256};
use weft_protocol::Hash;
use weft_storage::{PostingState, Reader, StoreError};

pub use board::Board;
pub(crate) use board::Waits as BlockWaits;
pub use client::chunk_json;
pub(crate) use client::{Client, Info};
pub use task::PostTask;
pub(super) use work::{held_setting, holds};

/// How far a batch is that was handed over.
pub(super) enum Progress {
    /// Nobody has it: it is to be handed over again.
    Unknown,
    /// It waits, or is on its way.
    OnItsWay,
    /// It is there to stay.
    Final {
        /// The height of the block.
        height: u64,
        /// SHA-256 of the name of the block, which has no fixed length; its name where that is a hash.
        block: Hash,
    },
}

/// How far a batch is on its way to a weave, by what lies on disk. What was posted to another one says nothing.
///
/// # Errors
/// A damaged store.
pub(super) fn progress(
    reader: &Reader,
    board: &Board,
    (batch, weave): (&Hash, &str),
) -> Result<Progress, StoreError> {
    let root = reader.posting_of(batch, weave)?;
    let posting = root.map(|root| reader.posting(&root, weave)).transpose()?.flatten();
    Ok(match posting.map(|row| row.state) {
        Some(PostingState::Final { height, block, .. }) => Progress::Final { height, block: hash_of(&block) },
        Some(PostingState::Built | PostingState::Signed { .. }) => Progress::OnItsWay,
        None if board.holds(batch) => Progress::OnItsWay,
        None => Progress::Unknown,
    })
}

fn hash_of(block: &str) -> Hash {
    block.parse().unwrap_or_else(|_| Hash(Sha256::digest(block.as_bytes()).into()))
}

#[cfg(test)]
mod simulation;
#[cfg(test)]
mod tests;
