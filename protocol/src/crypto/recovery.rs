//! Keys of secp256k1: which bytes are one, and whose signature this is.

use k256::ecdsa::{RecoveryId, Signature, VerifyingKey};

use super::secp256k1::KEY_BYTES;

/// Whether these bytes are a key.
pub(super) fn is_key(owner: &[u8]) -> bool {
    VerifyingKey::from_sec1_bytes(owner).is_ok()
}

/// Recovers the uncompressed key that signed a 32-byte digest.
///
/// Takes one form of a signature alone: 0 < r < n, 0 < s <= n/2, v 27 or 28.
pub(super) fn recover(digest: &[u8; 32], signature: &[u8]) -> Option<[u8; KEY_BYTES]> {
    let (&v, r_s) = signature.split_last()?;
    let is_y_odd = match v {
        27 => false,
        28 => true,
        _ => return None,
    };
    let signature = Signature::from_slice(r_s).ok()?;
    if signature.normalize_s() != signature {
        return None;
    }
    let key =
        VerifyingKey::recover_from_prehash(digest, &signature, RecoveryId::new(is_y_odd, false)).ok()?;
    key.to_sec1_point(false).as_bytes().try_into().ok()
}
