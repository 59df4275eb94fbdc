//! What stands for an item's data: its length and SHA-384, as the deep hash takes them.

use crate::deep_hash::DeepHash;
use crate::hashing::{Digest as _, Sha384};

/// Length and SHA-384 of an item's data: all of the data that a signature signs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct DataDigest {
    /// Bytes of the data.
    pub length: u64,
    /// SHA-384 of the data.
    pub sha384: DeepHash,
}

impl DataDigest {
    /// Bytes of [`to_bytes`](Self::to_bytes).
    pub const BYTES: usize = 8 + 48;

    /// The digest of these bytes.
    pub fn of(data: &[u8]) -> Self {
        Self { length: data.len() as u64, sha384: Sha384::digest(data).into() }
    }

    /// Length u64 big-endian, then the hash.
    pub fn to_bytes(&self) -> [u8; Self::BYTES] {
        let mut out = [0; Self::BYTES];
        out[..8].copy_from_slice(&self.length.to_be_bytes());
        out[8..].copy_from_slice(&self.sha384);
        out
    }

    /// The digest that [`to_bytes`](Self::to_bytes) wrote.
    pub fn from_bytes(bytes: &[u8; Self::BYTES]) -> Self {
        let (mut length, mut sha384) = ([0; 8], [0; 48]);
        length.copy_from_slice(&bytes[..8]);
        sha384.copy_from_slice(&bytes[8..]);
        Self { length: u64::from_be_bytes(length), sha384 }
    }
}
