//! Aptos wallets: type 5 (one key over a wallet's text) and type 6 (a threshold of keys).

use super::ed25519::{self, KEY_BYTES};
use super::{SignatureError, ed25519::SIGNATURE_BYTES as ONE_SIGNATURE_BYTES};

/// Keys that a multi-signature owner has room for.
const KEYS_MAX: usize = 32;
/// Bytes of the bitmap that says which keys signed, first key in the highest bit.
const BITMAP_BYTES: usize = KEYS_MAX / 8;
/// Bytes of a type 6 signature: a slot for each key, then the bitmap.
pub(super) const SIGNATURE_BYTES: usize = KEYS_MAX * ONE_SIGNATURE_BYTES + BITMAP_BYTES;
/// Bytes of a type 6 owner: the keys, then the threshold.
pub(super) const OWNER_BYTES: usize = KEYS_MAX * KEY_BYTES + 1;

/// Checks a type 5 signature: ed25519 over the text that the wallet shows its user.
pub(super) fn verify_injected(owner: &[u8], message: &[u8], signature: &[u8]) -> Result<(), SignatureError> {
    let text = format!("APTOS\nmessage: {}\nnonce: bundlr", hex::encode(message));
    ed25519::verify(owner, text.as_bytes(), signature)
}

/// Checks a type 6 signature: each key whose bit is set signed the message.
///
/// The number of set bits is the threshold exactly (one for a threshold of zero), and the slots of
/// the other keys are zero. With more signatures than needed anybody could clear one and have the
/// same item under a second id; with free slots, by writing into them.
pub(super) fn verify_multi(owner: &[u8], message: &[u8], signature: &[u8]) -> Result<(), SignatureError> {
    if owner.len() != OWNER_BYTES {
        return Err(SignatureError::Key);
    }
    if signature.len() != SIGNATURE_BYTES {
        return Err(SignatureError::Mismatch);
    }
    let (keys, threshold) = owner.split_at(KEYS_MAX * KEY_BYTES);
    let (signatures, bitmap) = signature.split_at(KEYS_MAX * ONE_SIGNATURE_BYTES);
    let needed = u32::from(threshold[0]).max(1);
    if bitmap.iter().map(|byte| byte.count_ones()).sum::<u32>() != needed {
        return Err(SignatureError::Mismatch);
    }
    let slots = keys.chunks_exact(KEY_BYTES).zip(signatures.chunks_exact(ONE_SIGNATURE_BYTES));
    for (index, (key, signature)) in slots.enumerate() {
        if bitmap[index / 8] & (0x80 >> (index % 8)) != 0 {
            ed25519::verify(key, message, signature)?;
        } else if signature.iter().any(|&byte| byte != 0) {
            return Err(SignatureError::Mismatch);
        }
    }
    Ok(())
}
