//! Chunks of a transaction's data and the Merkle tree over them.
//!
//! Leaves are SHA-256 hashes of (hash of chunk, end), branches of (left, right, end of left), each
//! part hashed first; ends are 32-byte big-endian numbers. An odd node is carried up as it is.
//! Data of an exact multiple of the chunk size ends in a leaf of no bytes, for which no chunk
//! travels. A *data path* lists, from the root down, what a branch hashes, and then the leaf's.

use std::ops::Range;

use bytes::Bytes;

use crate::hashing::{Digest, Sha256};
use crate::id::Hash;

/// Bytes of a chunk.
pub const CHUNK_BYTES_MAX: usize = 256 * 1024;
/// Bytes of a chunk that is not the only one: rather than leave less, the last two are evened out.
pub const CHUNK_BYTES_MIN: usize = 32 * 1024;
/// Bytes of a data path that nodes take.
pub const DATA_PATH_BYTES_MAX: usize = 256 * 1024;

const HASH_BYTES: usize = 32;
const LEAF_BYTES: usize = 2 * HASH_BYTES;
const BRANCH_BYTES: usize = 3 * HASH_BYTES;

/// A chunk's place in the data and its proof.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChunkProof {
    /// Which bytes of the data it is. Nodes call the last of them its offset.
    pub range: Range<usize>,
    /// SHA-256 of the chunk.
    pub data_hash: Hash,
    /// The path from the root to it.
    pub data_path: Bytes,
}

/// Why a chunk is not part of the data of a root.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ChunkError {
    /// An offset that is not in the data.
    #[error("offset {offset} is not in data of {data_size} bytes")]
    Offset {
        /// The offset asked for.
        offset: u64,
        /// The size of the data.
        data_size: u64,
    },
    /// A path of a length that no path has.
    #[error("a data path of {0} bytes")]
    PathLength(usize),
    /// A path whose hashes do not lead from the root to a leaf, or whose bounds cross.
    #[error("the data path does not lead from the root to the offset")]
    Path,
    /// A path to other data, or to another place.
    #[error("the path leads to other data, of root {0}, or to another place")]
    Data(Hash),
    /// The proof is that of other bytes.
    #[error("the chunk is not the one that the data path proves")]
    Chunk,
}

/// Where data of this size is cut.
pub fn chunk_ranges(size: usize) -> impl Iterator<Item = Range<usize>> {
    let mut start = 0;
    std::iter::from_fn(move || {
        let rest = size - start;
        let last_two = CHUNK_BYTES_MAX + 1..CHUNK_BYTES_MAX + CHUNK_BYTES_MIN;
        let length = if last_two.contains(&rest) { rest.div_ceil(2) } else { rest.min(CHUNK_BYTES_MAX) };
        let range = start..start + length;
        start = range.end;
        (!range.is_empty()).then_some(range)
    })
}

/// The root of data; none for no data.
pub fn data_root(data: &[u8]) -> Option<Hash> {
    layers(&leaves(data)).last().and_then(|top| top.first()).map(|node| node.id)
}

/// The proof of every chunk of the data, in order.
pub fn prove_chunks(data: &[u8]) -> Vec<ChunkProof> {
    let leaves = leaves(data);
    let layers = layers(&leaves);
    let prove = |(index, leaf): (usize, &Leaf)| ChunkProof {
        range: leaf.range.clone(),
        data_hash: leaf.data_hash,
        data_path: data_path(&layers, index, leaf),
    };
    let chunks = leaves.iter().enumerate().filter(|(_, leaf)| !leaf.range.is_empty());
    chunks.map(prove).collect()
}

/// The path to each transaction of a block, in order: the tree is that of chunks, with data roots in
/// the place of their hashes. Takes the data root and the bytes of each.
pub fn prove_transactions(transactions: &[(Hash, u64)]) -> Vec<Bytes> {
    let mut end = 0_usize;
    let leaf = |(data_root, bytes): &(Hash, u64)| {
        let start = end;
        end = end.saturating_add(usize::try_from(*bytes).unwrap_or(usize::MAX));
        Leaf { range: start..end, data_hash: *data_root }
    };
    let leaves: Vec<Leaf> = transactions.iter().map(leaf).collect();
    let layers = layers(&leaves);
    leaves.iter().enumerate().map(|(index, leaf)| data_path(&layers, index, leaf)).collect()
}

/// Follows a path from a root over `size` bytes to the leaf that holds byte `offset`: what the leaf
/// hashes, and which bytes are its own.
///
/// # Errors
/// What does not match.
pub fn verify_path(
    root: &Hash,
    size: u64,
    offset: u64,
    path: &[u8],
) -> Result<(Hash, Range<u64>), ChunkError> {
    if offset >= size {
        return Err(ChunkError::Offset { offset, data_size: size });
    }
    let (leaf, branches) = split_path(path)?;
    let (mut id, mut bounds) = (*root, 0..size);
    for branch in branches {
        let [left, right, note] = split(branch);
        if branch_id(&left, &right, &note.0) != id {
            return Err(ChunkError::Path);
        }
        let middle = number(&note).filter(|middle| (bounds.start..=bounds.end).contains(middle));
        let middle = middle.ok_or(ChunkError::Path)?;
        if offset < middle {
            (id, bounds.end) = (left, middle);
        } else {
            (id, bounds.start) = (right, middle);
        }
    }
    let [data_hash, note] = split(leaf);
    if leaf_id(&data_hash, &note.0) != id || number(&note) != Some(bounds.end) {
        return Err(ChunkError::Path);
    }
    Ok((data_hash, bounds))
}

/// Checks that `chunk` is the part that holds byte `offset` of the data of this root and size, and
/// returns which part it is.
///
/// The root and size must come from a verified transaction. The bounds are followed down and must
/// end in exactly this chunk's bytes, so neither data nor place can be forged.
///
/// # Errors
/// What does not match.
pub fn verify_chunk(
    root: &Hash,
    data_size: u64,
    offset: u64,
    data_path: &[u8],
    chunk: &[u8],
) -> Result<Range<u64>, ChunkError> {
    let (data_hash, bounds) = verify_path(root, data_size, offset, data_path)?;
    let is_whole = chunk.len() as u64 == bounds.end - bounds.start && chunk.len() <= CHUNK_BYTES_MAX;
    if !is_whole || hash(&[chunk]) != data_hash {
        return Err(ChunkError::Chunk);
    }
    Ok(bounds)
}

struct Leaf {
    range: Range<usize>,
    data_hash: Hash,
}

#[derive(Clone, Copy)]
struct Node {
    id: Hash,
    end: usize,
}

/// The chunks and, after data of an exact multiple of their size, the leaf of no bytes.
fn leaves(data: &[u8]) -> Vec<Leaf> {
    let has_empty_leaf = !data.is_empty() && data.len().is_multiple_of(CHUNK_BYTES_MAX);
    let empty = has_empty_leaf.then_some(data.len()..data.len());
    let leaf = |range: Range<usize>| Leaf { data_hash: hash(&[&data[range.clone()]]), range };
    chunk_ranges(data.len()).chain(empty).map(leaf).collect()
}

/// The tree's rows from the leaves to the root; none for no data.
fn layers(leaves: &[Leaf]) -> Vec<Vec<Node>> {
    let node = |leaf: &Leaf| {
        let id = leaf_id(&leaf.data_hash, &note(leaf.range.end));
        Node { id, end: leaf.range.end }
    };
    let parent = |pair: &[Node]| match *pair {
        [left, right] => Node { id: branch_id(&left.id, &right.id, &note(left.end)), end: right.end },
        _ => pair[0],
    };
    if leaves.is_empty() {
        return Vec::new();
    }
    let mut layers = Vec::new();
    let mut row: Vec<_> = leaves.iter().map(node).collect();
    while row.len() > 1 {
        let parents = row.chunks(2).map(parent).collect();
        layers.push(std::mem::replace(&mut row, parents));
    }
    layers.push(row);
    layers
}

fn data_path(layers: &[Vec<Node>], index: usize, leaf: &Leaf) -> Bytes {
    let mut path = Vec::with_capacity(layers.len() * BRANCH_BYTES + LEAF_BYTES);
    for (height, row) in layers.iter().enumerate().rev() {
        let left = (index >> height) & !1;
        // A node without a sibling is its own parent: no branch to pass.
        if let (Some(left), Some(right)) = (row.get(left), row.get(left + 1)) {
            path.extend_from_slice(left.id.as_bytes());
            path.extend_from_slice(right.id.as_bytes());
            path.extend_from_slice(&note(left.end));
        }
    }
    path.extend_from_slice(leaf.data_hash.as_bytes());
    path.extend_from_slice(&note(leaf.range.end));
    path.into()
}

/// The leaf and, from the root down, the branches of a path.
fn split_path(path: &[u8]) -> Result<(&[u8; LEAF_BYTES], &[[u8; BRANCH_BYTES]]), ChunkError> {
    let error = ChunkError::PathLength(path.len());
    if path.len() > DATA_PATH_BYTES_MAX {
        return Err(error);
    }
    let (branches, leaf) = path.split_last_chunk().ok_or(error.clone())?;
    match branches.as_chunks() {
        (branches, []) => Ok((leaf, branches)),
        _ => Err(error),
    }
}

/// The parts of a branch (left, right, note) or of a leaf (data hash, note).
fn split<const N: usize>(parts: &[u8]) -> [Hash; N] {
    let (parts, _) = parts.as_chunks::<HASH_BYTES>();
    std::array::from_fn(|at| Hash(parts[at]))
}

fn leaf_id(data_hash: &Hash, note: &[u8; HASH_BYTES]) -> Hash {
    hash(&[&hash(&[&data_hash.0]).0, &hash(&[note]).0])
}

fn branch_id(left: &Hash, right: &Hash, note: &[u8; HASH_BYTES]) -> Hash {
    hash(&[&hash(&[&left.0]).0, &hash(&[&right.0]).0, &hash(&[note]).0])
}

fn note(end: usize) -> [u8; HASH_BYTES] {
    let mut note = [0; HASH_BYTES];
    note[HASH_BYTES - 8..].copy_from_slice(&(end as u64).to_be_bytes());
    note
}

/// The number of a note; none where it is beyond any data.
fn number(note: &Hash) -> Option<u64> {
    let (high, low) = note.0.split_last_chunk()?;
    high.iter().all(|&byte| byte == 0).then(|| u64::from_be_bytes(*low))
}

fn hash(parts: &[&[u8]]) -> Hash {
    let mut hasher = Sha256::new();
    for part in parts {
        hasher.update(part);
    }
    Hash(hasher.finalize().into())
}
