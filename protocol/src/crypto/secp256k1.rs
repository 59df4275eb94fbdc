//! Ethereum wallets: type 3 (EIP-191 personal message) and type 7 (EIP-712 typed data).

use super::SignatureError;
use super::recovery::{is_key, recover};
use crate::hashing::{Digest, Keccak256};

/// Bytes of a signature: r, s, v.
pub(super) const SIGNATURE_BYTES: usize = 65;
/// Bytes of an uncompressed key: 4, x, y.
pub(super) const KEY_BYTES: usize = 65;
/// Bytes of a type 7 owner: the lower-case address as text.
pub(super) const ADDRESS_TEXT_BYTES: usize = 42;

/// Checks a type 3 signature: the key recovered from it is the owner.
pub(super) fn verify_personal(owner: &[u8], message: &[u8], signature: &[u8]) -> Result<(), SignatureError> {
    if owner.len() != KEY_BYTES || !is_key(owner) {
        return Err(SignatureError::Key);
    }
    let mut hasher = Keccak256::new();
    hasher.update(format!("\x19Ethereum Signed Message:\n{}", message.len()));
    hasher.update(message);
    let key = recover(&hasher.finalize().into(), signature).ok_or(SignatureError::Mismatch)?;
    if key == owner { Ok(()) } else { Err(SignatureError::Mismatch) }
}

/// Checks a type 7 signature: the address of the key recovered from it is the owner.
///
/// The owner is the lower-case text alone, which is what the signing libraries write: each wallet
/// has one owner and so one address here.
pub(super) fn verify_typed(owner: &[u8], message: &[u8], signature: &[u8]) -> Result<(), SignatureError> {
    let address = parse_address(owner).ok_or(SignatureError::Key)?;
    let key = recover(&typed_digest(&address, message), signature).ok_or(SignatureError::Mismatch)?;
    if key_address(&key) == address { Ok(()) } else { Err(SignatureError::Mismatch) }
}

/// What a type 7 wallet signs: `Bundlr(bytes Transaction hash,address address)` in the domain
/// `Bundlr`, version 1.
fn typed_digest(address: &[u8; 20], message: &[u8]) -> [u8; 32] {
    let domain = keccak(&[
        &keccak(&[b"EIP712Domain(string name,string version)"]),
        &keccak(&[b"Bundlr"]),
        &keccak(&[b"1"]),
    ]);
    let data = keccak(&[
        &keccak(&[b"Bundlr(bytes Transaction hash,address address)"]),
        &keccak(&[message]),
        &[0; 12],
        address,
    ]);
    keccak(&[b"\x19\x01", &domain, &data])
}

/// The Ethereum address of an uncompressed key.
fn key_address(key: &[u8; KEY_BYTES]) -> [u8; 20] {
    let mut address = [0; 20];
    address.copy_from_slice(&keccak(&[&key[1..]])[12..]);
    address
}

fn parse_address(text: &[u8]) -> Option<[u8; 20]> {
    let digits = text.strip_prefix(b"0x")?;
    if digits.iter().any(u8::is_ascii_uppercase) {
        return None;
    }
    let mut address = [0; 20];
    hex::decode_to_slice(digits, &mut address).ok()?;
    Some(address)
}

fn keccak(parts: &[&[u8]]) -> [u8; 32] {
    let mut hasher = Keccak256::new();
    for part in parts {
        hasher.update(part);
    }
    hasher.finalize().into()
}
