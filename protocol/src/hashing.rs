//! Hashes that start with a domain string, so that bytes hashed for one purpose never pass for
//! another.

use sha2::{Digest, Sha256};

use crate::id::Hash;

/// SHA-256 of a domain string and parts, in order. Parts are fixed width or end the input.
pub(crate) fn sha256(domain: &str, parts: &[&[u8]]) -> Hash {
    let mut hasher = Sha256::new();
    hasher.update(domain.as_bytes());
    for part in parts {
        hasher.update(part);
    }
    Hash(hasher.finalize().into())
}

/// BLAKE3 of a domain string and parts, in order. Parts are fixed width or end the input.
pub(crate) fn blake3(domain: &str, parts: &[&[u8]]) -> Hash {
    let mut hasher = blake3::Hasher::new();
    hasher.update(domain.as_bytes());
    for part in parts {
        hasher.update(part);
    }
    Hash(*hasher.finalize().as_bytes())
}
