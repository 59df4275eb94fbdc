//! The hash and signature functions that the plain module format offers its guests, so that they
//! need not carry their own (RULES.md 6.8).
//!
//! All are total and deterministic: bytes of a wrong length are a `false` or a `None`. Signatures
//! obey the same strict rules as those of items.

use sha2::{Digest, Sha256, Sha384};
use sha3::Keccak256;

use super::{ed25519, recovery, rsa};

/// SHA-256.
pub fn sha256(data: &[u8]) -> [u8; 32] {
    Sha256::digest(data).into()
}

/// SHA-384.
pub fn sha384(data: &[u8]) -> [u8; 48] {
    Sha384::digest(data).into()
}

/// Keccak-256 as Ethereum uses it, not SHA3-256.
pub fn keccak256(data: &[u8]) -> [u8; 32] {
    Keccak256::digest(data).into()
}

/// BLAKE3, 32 bytes.
pub fn blake3(data: &[u8]) -> [u8; 32] {
    ::blake3::hash(data).into()
}

/// Whether a 64-byte ed25519 signature of this 32-byte key over the message is valid, strictly.
pub fn ed25519_verify(key: &[u8], message: &[u8], signature: &[u8]) -> bool {
    ed25519::verify(key, message, signature).is_ok()
}

/// Whether a 512-byte RSA-PSS signature (SHA-256, any salt length, exponent 65537) of this 512-byte
/// modulus over the message is valid.
pub fn rsa_pss_verify(modulus: &[u8], message: &[u8], signature: &[u8]) -> bool {
    rsa::verify(modulus, message, signature).is_ok()
}

/// The uncompressed key (4, x, y) that made a 65-byte signature (r, s, v) over a 32-byte digest.
/// `None` unless s is in the lower half and v is 27 or 28.
pub fn secp256k1_recover(digest: &[u8], signature: &[u8]) -> Option<[u8; 65]> {
    recovery::recover(digest.try_into().ok()?, signature)
}
