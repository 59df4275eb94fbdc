//! Binary BLAKE3 trees: an odd node at the end of a row is promoted as it is, and leaves and
//! nodes hash under different domain bytes, so that neither passes for the other.

use crate::hashing::{Blake3, blake3_of};
use crate::id::Hash;

const LEAF: u8 = 0;
const NODE: u8 = 1;

/// The hash of a leaf.
pub(crate) fn leaf(parts: &[&[u8]]) -> Hash {
    let mut hasher = Blake3::new();
    hasher.update(&[LEAF]);
    for part in parts {
        hasher.update(part);
    }
    Hash(*hasher.finalize().as_bytes())
}

fn node(left: &Hash, right: &Hash) -> Hash {
    let mut bytes = [NODE; 65];
    bytes[1..33].copy_from_slice(&left.0);
    bytes[33..].copy_from_slice(&right.0);
    Hash(*blake3_of(&bytes).as_bytes())
}

fn parents(row: &[Hash]) -> Vec<Hash> {
    row.chunks(2)
        .map(|pair| match pair {
            [left, right] => node(left, right),
            _ => pair[0],
        })
        .collect()
}

/// The root over leaf hashes; that of no leaves is the leaf hash of nothing.
pub(crate) fn root(leaves: Vec<Hash>) -> Hash {
    let mut row = leaves;
    while row.len() > 1 {
        row = parents(&row);
    }
    row.first().copied().unwrap_or_else(|| leaf(&[]))
}

/// The siblings from leaf `index` up to the root; none if there is no such leaf. Rows in which
/// the node is promoted have no sibling.
pub(crate) fn path(leaves: &[Hash], index: usize) -> Option<Vec<Hash>> {
    if index >= leaves.len() {
        return None;
    }
    let mut path = Vec::new();
    let (mut row, mut at) = (leaves.to_vec(), index);
    while row.len() > 1 {
        path.extend(row.get(at ^ 1));
        (row, at) = (parents(&row), at / 2);
    }
    Some(path)
}

/// The root that a leaf at `index` of `count` has with these siblings; none if the path has not
/// exactly the length that index and count give.
pub(crate) fn root_of_path(leaf: Hash, index: usize, count: usize, path: &[Hash]) -> Option<Hash> {
    if index >= count {
        return None;
    }
    let (mut hash, mut at, mut width) = (leaf, index, count);
    let mut siblings = path.iter();
    while width > 1 {
        if at ^ 1 < width {
            let sibling = siblings.next()?;
            hash = if at % 2 == 0 { node(&hash, sibling) } else { node(sibling, &hash) };
        }
        (at, width) = (at / 2, width.div_ceil(2));
    }
    siblings.next().is_none().then_some(hash)
}
