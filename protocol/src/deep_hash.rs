//! The deep hash of ANS-104 and of L1 transactions: a SHA-384 tree over nested byte strings.

use std::sync::LazyLock;

use crate::data_digest::DataDigest;
use crate::hashing::{Digest, Sha384};

/// A deep hash: 48 bytes.
pub type DeepHash = [u8; 48];

/// A tree of byte strings to hash.
#[derive(Debug, Clone)]
pub enum Chunk<'a> {
    /// A byte string.
    Blob(&'a [u8]),
    /// A byte string of which only length and SHA-384 are known.
    Digest(&'a DataDigest),
    /// A list of chunks, in order.
    List(Vec<Chunk<'a>>),
}

/// The deep hash of a tree. Lengths are hashed as decimal ASCII.
pub fn deep_hash(chunk: &Chunk<'_>) -> DeepHash {
    match chunk {
        // A guest has no room to keep it in, and says the same.
        Chunk::Blob([]) if cfg!(not(target_arch = "wasm32")) => *EMPTY,
        Chunk::Blob(bytes) => blob(&DataDigest::of(bytes)),
        Chunk::Digest(digest) => blob(digest),
        Chunk::List(children) => {
            let mut acc: DeepHash = Sha384::digest(format!("list{}", children.len())).into();
            for child in children {
                acc = pair(&acc, &deep_hash(child));
            }
            acc
        }
    }
}

/// Byte strings shorter than this have the hash of their length ready: keys, ids, anchors and most
/// signatures and tags, of which every item has several.
const SHORT_BYTES: usize = 1024;

/// The hashes of short lengths. They take as long as a signature, once.
static SHORT_LENGTHS: LazyLock<Vec<DeepHash>> =
    LazyLock::new(|| (0..SHORT_BYTES as u64).map(hash_of_length).collect());

/// The deep hash of no bytes: of the target, the anchor or the data that most items lack.
static EMPTY: LazyLock<DeepHash> = LazyLock::new(|| blob(&DataDigest::of(&[])));

fn hash_of_length(length: u64) -> DeepHash {
    Sha384::digest(format!("blob{length}")).into()
}

fn blob(digest: &DataDigest) -> DeepHash {
    let ready = usize::try_from(digest.length).ok().and_then(|length| SHORT_LENGTHS.get(length));
    let length = ready.copied().unwrap_or_else(|| hash_of_length(digest.length));
    pair(&length, &digest.sha384)
}

/// A list whose first byte strings are the same again and again: they are hashed once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Prefix(DeepHash);

impl Prefix {
    /// The beginning of a list of `length` chunks.
    pub(crate) fn new(length: usize, first: &[&[u8]]) -> Self {
        let head: DeepHash = Sha384::digest(format!("list{length}")).into();
        Self(first.iter().fold(head, |acc, bytes| pair(&acc, &deep_hash(&Chunk::Blob(bytes)))))
    }

    /// The beginning that these belong to as well.
    #[cfg(not(target_arch = "wasm32"))]
    pub(crate) fn and(self, more: &[Chunk<'_>]) -> Self {
        Self(self.end(more))
    }

    /// The deep hash of the list that ends with these.
    pub(crate) fn end(self, rest: &[Chunk<'_>]) -> DeepHash {
        rest.iter().fold(self.0, |acc, chunk| pair(&acc, &deep_hash(chunk)))
    }
}

fn pair(left: &DeepHash, right: &DeepHash) -> DeepHash {
    let mut hasher = Sha384::new();
    hasher.update(left);
    hasher.update(right);
    hasher.finalize().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_ready_is_what_would_be_hashed() {
        for length in [0, 1, SHORT_BYTES - 1, SHORT_BYTES, SHORT_BYTES + 1] {
            let bytes = vec![7; length];
            let tag: DeepHash = Sha384::digest(format!("blob{length}")).into();
            let data: DeepHash = Sha384::digest(&bytes).into();
            assert_eq!(deep_hash(&Chunk::Blob(&bytes)), pair(&tag, &data), "{length} bytes");
        }
    }

    #[test]
    fn a_list_in_two_parts_is_the_list() {
        let whole = Chunk::List(vec![Chunk::Blob(b"one"), Chunk::Blob(b""), Chunk::Blob(b"three")]);
        let prefix = Prefix::new(3, &[b"one", b""]);
        assert_eq!(prefix.end(&[Chunk::Blob(b"three")]), deep_hash(&whole));
    }
}
