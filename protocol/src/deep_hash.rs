//! The deep hash of ANS-104 and of L1 transactions: a SHA-384 tree over nested byte strings.

use sha2::{Digest, Sha384};

use crate::data_digest::DataDigest;

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

fn blob(digest: &DataDigest) -> DeepHash {
    let length: DeepHash = Sha384::digest(format!("blob{}", digest.length)).into();
    pair(&length, &digest.sha384)
}

fn pair(left: &DeepHash, right: &DeepHash) -> DeepHash {
    let mut hasher = Sha384::new();
    hasher.update(left);
    hasher.update(right);
    hasher.finalize().into()
}
