//! What arweave-rs does for us: roots over bytes of our own. The only file that uses it; foreign
//! bytes never get here, because its parsers panic on them.

use arweave_rs::crypto::hash::hash_all_sha256;
use arweave_rs::crypto::merkle::{self, Helpers as _, Node};
use weft_protocol::Hash;

/// The data root of bytes of our own, as Arweave chunks and hashes them; none for no bytes.
pub fn data_root(bytes: &[u8]) -> Option<Hash> {
    // The library panics on no data at all.
    if bytes.is_empty() {
        return None;
    }
    let leaves = merkle::generate_leaves(bytes.to_vec()).ok()?;
    root(leaves)
}

/// The transactions root of a block, as Arweave builds it: the tree of chunks, with the data
/// roots as the chunks. `None` without transactions.
pub(crate) fn transactions_root(transactions: impl Iterator<Item = (Hash, u64)>) -> Option<Hash> {
    let mut end = 0_usize;
    let leaves = transactions.map(|(data_root, bytes)| {
        let start = end;
        end = end.saturating_add(usize::try_from(bytes).unwrap_or(usize::MAX));
        Node {
            id: hash_all_sha256(vec![&data_root.0, &end.to_note_vec()]),
            data_hash: Some(data_root.0),
            min_byte_range: start,
            max_byte_range: end,
            left_child: None,
            right_child: None,
        }
    });
    root(leaves.collect())
}

fn root(leaves: Vec<Node>) -> Option<Hash> {
    if leaves.is_empty() {
        return None;
    }
    merkle::generate_data_root(leaves).ok().map(|root| Hash(root.id))
}
