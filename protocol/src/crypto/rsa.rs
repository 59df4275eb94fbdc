//! RSA-PSS 4096, type 1: SHA-256, MGF1 with SHA-256, public exponent 65537.

use ::rsa::pss::{Signature, SigningKey, VerifyingKey};
use ::rsa::signature::{SignatureEncoding as _, Signer as _, Verifier as _};
use ::rsa::{BoxedUint, RsaPrivateKey, RsaPublicKey};
use sha2::Sha256;

use super::SignatureError;

/// Bytes of a modulus, and so of a signature.
pub(super) const MODULUS_BYTES: usize = 512;
/// Bits of a modulus.
const MODULUS_BITS: u32 = 8 * MODULUS_BYTES as u32;
/// The only public exponent; an owner holds the modulus alone.
pub(super) const EXPONENT: u32 = 65_537;

/// Checks an RSA-PSS signature with a salt of any length.
///
/// The modulus has its top bit set and is odd, and the signature, read as a number, is below it:
/// otherwise adding the modulus would give a second signature.
pub(super) fn verify(modulus: &[u8], message: &[u8], signature: &[u8]) -> Result<(), SignatureError> {
    if !is_modulus(modulus) {
        return Err(SignatureError::Key);
    }
    // Equal lengths, so the order of bytes is the order of numbers.
    if signature.len() != MODULUS_BYTES || signature >= modulus {
        return Err(SignatureError::Mismatch);
    }
    let modulus = BoxedUint::from_be_slice(modulus, MODULUS_BITS).map_err(|_| SignatureError::Key)?;
    let key = RsaPublicKey::new(modulus, BoxedUint::from(EXPONENT)).map_err(|_| SignatureError::Key)?;
    let signature = Signature::try_from(signature).map_err(|_| SignatureError::Mismatch)?;
    VerifyingKey::<Sha256>::new_with_auto_salt_len(key)
        .verify(message, &signature)
        .map_err(|_| SignatureError::Mismatch)
}

/// Whether these bytes are an odd number of exactly 4096 bits.
pub(super) fn is_modulus(bytes: &[u8]) -> bool {
    bytes.len() == MODULUS_BYTES
        && bytes.first().is_some_and(|byte| byte & 0x80 != 0)
        && bytes.last().is_some_and(|byte| byte & 1 != 0)
}

/// A private key that signs without salt, so that signing repeats the same bytes.
#[derive(Clone)]
pub(super) struct PrivateKey {
    modulus: Box<[u8; MODULUS_BYTES]>,
    key: Box<SigningKey<Sha256>>,
}

impl PrivateKey {
    /// Puts a key together from its numbers, big-endian. `None` when they do not belong together.
    pub(super) fn from_parts(modulus: &[u8; MODULUS_BYTES], d: &[u8], p: &[u8], q: &[u8]) -> Option<Self> {
        let number = |bytes| BoxedUint::from_be_slice(bytes, MODULUS_BITS).ok();
        let prime = |bytes| BoxedUint::from_be_slice(bytes, MODULUS_BITS / 2).ok();
        let key = RsaPrivateKey::from_components(
            number(modulus)?,
            BoxedUint::from(EXPONENT),
            number(d)?,
            vec![prime(p)?, prime(q)?],
        );
        let key = Box::new(SigningKey::new_with_salt_len(key.ok()?, 0));
        Some(Self { modulus: Box::new(*modulus), key })
    }

    /// The modulus: the owner bytes of this key's items.
    pub(super) fn modulus(&self) -> &[u8] {
        &self.modulus[..]
    }

    /// Signs a message. The operation is blinded with randomness that does not show in the result.
    pub(super) fn sign(&self, message: &[u8]) -> Result<Vec<u8>, SignatureError> {
        let signature =
            self.key.try_sign(message).map_err(|error| SignatureError::Signing(error.to_string()))?;
        let signature = signature.to_vec();
        if signature.len() != MODULUS_BYTES {
            return Err(SignatureError::Signing("the signature has a wrong length".into()));
        }
        Ok(signature)
    }
}
