//! Strict ed25519, the base of types 2, 4, 5 and 6.

use ed25519_dalek::{Signature, VerifyingKey};

use super::SignatureError;

/// Bytes of a key.
pub(super) const KEY_BYTES: usize = 32;
/// Bytes of a signature.
pub(super) const SIGNATURE_BYTES: usize = 64;

/// Checks an ed25519 signature strictly: canonical S, neither key nor R of small order, and the
/// equation without cofactor, so that every implementation of these rules agrees.
///
/// # Errors
/// [`SignatureError::Key`] or [`SignatureError::Mismatch`].
pub fn verify(owner: &[u8], message: &[u8], signature: &[u8]) -> Result<(), SignatureError> {
    let key: &[u8; KEY_BYTES] = owner.try_into().map_err(|_| SignatureError::Key)?;
    let key = VerifyingKey::from_bytes(key).map_err(|_| SignatureError::Key)?;
    if key.is_weak() {
        return Err(SignatureError::Key);
    }
    let signature: &[u8; SIGNATURE_BYTES] = signature.try_into().map_err(|_| SignatureError::Mismatch)?;
    key.verify_strict(message, &Signature::from_bytes(signature)).map_err(|_| SignatureError::Mismatch)
}
