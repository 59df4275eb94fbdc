//! Keys that sign items: a node's own.

use std::fmt;

use ed25519_dalek::{Signer as _, SigningKey};

use super::jwk::{self, JwkError};
use super::rsa::PrivateKey;
use super::{SignatureError, SignatureType};
use crate::id::Address;

/// A key that signs items, always with the same bytes for the same message.
///
/// Its `Debug` form is the address; the private half never leaves.
#[derive(Clone)]
pub struct Signer(Key);

#[derive(Clone)]
enum Key {
    Ed25519(Box<SigningKey>),
    Rsa(PrivateKey),
}

impl Signer {
    /// The ed25519 key of this seed.
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        Self(Key::Ed25519(Box::new(SigningKey::from_bytes(seed))))
    }

    /// The RSA key of an Arweave wallet: a JSON Web Key of 4096 bits.
    ///
    /// # Errors
    /// What is wrong with the text, without repeating any of it.
    pub fn from_jwk(text: &str) -> Result<Self, JwkError> {
        jwk::parse(text).map(|key| Self(Key::Rsa(key)))
    }

    /// The scheme this key signs with.
    pub const fn signature_type(&self) -> SignatureType {
        match self.0 {
            Key::Ed25519(_) => SignatureType::Ed25519,
            Key::Rsa(_) => SignatureType::Rsa,
        }
    }

    /// The public key as it stands in an item's owner.
    pub fn owner_key(&self) -> Vec<u8> {
        match &self.0 {
            Key::Ed25519(key) => key.verifying_key().to_bytes().to_vec(),
            Key::Rsa(key) => key.modulus().to_vec(),
        }
    }

    /// The address of the public key.
    pub fn address(&self) -> Address {
        Address::of_key(&self.owner_key())
    }

    /// Signs bytes. Ed25519 takes microseconds; RSA milliseconds, so sign off the request path.
    ///
    /// # Errors
    /// [`SignatureError::Signing`] when the system has no randomness to blind an RSA key with.
    pub fn sign(&self, message: &[u8]) -> Result<Vec<u8>, SignatureError> {
        match &self.0 {
            Key::Ed25519(key) => Ok(key.sign(message).to_bytes().to_vec()),
            Key::Rsa(key) => key.sign(message),
        }
    }
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Signer({})", self.address())
    }
}
