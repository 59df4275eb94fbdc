//! Hashes that start with a domain string, so that bytes hashed for one purpose never pass for
//! another.

#[cfg(not(target_arch = "wasm32"))]
pub(crate) use blake3::{Hasher as Blake3, hash as blake3_of};
#[cfg(not(target_arch = "wasm32"))]
pub(crate) use sha2::{Digest, Sha256, Sha384};
#[cfg(not(target_arch = "wasm32"))]
pub(crate) use sha3::Keccak256;

#[cfg(target_arch = "wasm32")]
pub(crate) use crate::crypto::host::{Blake3, Digest, Keccak256, Sha256, Sha384, blake3_of};
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
    let mut hasher = Blake3::new();
    hasher.update(domain.as_bytes());
    for part in parts {
        hasher.update(part);
    }
    Hash(*hasher.finalize().as_bytes())
}
