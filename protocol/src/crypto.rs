//! Signature schemes: verification of ANS-104 types 1 to 7, signing with ed25519 and RSA.
//!
//! Outsiders must not be able to make a second valid signature from a first, because ids are
//! hashes of signatures: rules.md 6.12.

use std::fmt;

use ed25519_dalek::{Signer as _, SigningKey, VerifyingKey};

use crate::id::Address;

/// The scheme of an item's signature, as its first two bytes say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum SignatureType {
    /// 1: RSA-PSS 4096 with SHA-256.
    Rsa,
    /// 2: ed25519.
    Ed25519,
    /// 3: secp256k1 over an EIP-191 personal message.
    Ethereum,
    /// 4: ed25519 over the hex text of the message.
    Solana,
    /// 5: ed25519 over an Aptos wallet's text.
    InjectedAptos,
    /// 6: up to 32 ed25519 keys with a threshold.
    MultiAptos,
    /// 7: secp256k1 over EIP-712 typed data.
    TypedEthereum,
}

impl SignatureType {
    /// The scheme of this number, if we know it.
    pub const fn from_number(number: u16) -> Option<Self> {
        Some(match number {
            1 => Self::Rsa,
            2 => Self::Ed25519,
            3 => Self::Ethereum,
            4 => Self::Solana,
            5 => Self::InjectedAptos,
            6 => Self::MultiAptos,
            7 => Self::TypedEthereum,
            _ => return None,
        })
    }

    /// The number in the item.
    pub const fn number(self) -> u16 {
        match self {
            Self::Rsa => 1,
            Self::Ed25519 => 2,
            Self::Ethereum => 3,
            Self::Solana => 4,
            Self::InjectedAptos => 5,
            Self::MultiAptos => 6,
            Self::TypedEthereum => 7,
        }
    }

    /// Bytes of a signature.
    pub const fn signature_bytes(self) -> usize {
        match self {
            Self::Rsa => 512,
            Self::Ed25519 | Self::Solana | Self::InjectedAptos => 64,
            Self::Ethereum | Self::TypedEthereum => 65,
            Self::MultiAptos => 2052,
        }
    }

    /// Bytes of a public key.
    pub const fn owner_bytes(self) -> usize {
        match self {
            Self::Rsa => 512,
            Self::Ed25519 | Self::Solana | Self::InjectedAptos => 32,
            Self::Ethereum => 65,
            Self::MultiAptos => 1025,
            Self::TypedEthereum => 42,
        }
    }
}

/// Why a signature is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SignatureError {
    /// The public key is not one of this scheme.
    #[error("the owner is not a valid key of its scheme")]
    Key,
    /// The signature is not canonical or does not match.
    #[error("does not match the owner and the bytes")]
    Mismatch,
    /// The key cannot sign.
    #[error("the key cannot sign: {0}")]
    Signing(String),
}

/// Checks `signature` of `owner` over `message` (an item's 48-byte deep hash, or any bytes).
///
/// # Errors
/// [`SignatureError::Key`] or [`SignatureError::Mismatch`].
pub fn verify_signature(
    kind: SignatureType,
    owner: &[u8],
    message: &[u8],
    signature: &[u8],
) -> Result<(), SignatureError> {
    match kind {
        SignatureType::Ed25519 => verify_ed25519(owner, message, signature),
        _ => Err(SignatureError::Key),
    }
}

/// Strict ed25519: canonical S, no small-order key.
///
/// # Errors
/// [`SignatureError::Key`] or [`SignatureError::Mismatch`].
pub fn verify_ed25519(owner: &[u8], message: &[u8], signature: &[u8]) -> Result<(), SignatureError> {
    let key: &[u8; 32] = owner.try_into().map_err(|_| SignatureError::Key)?;
    let key = VerifyingKey::from_bytes(key).map_err(|_| SignatureError::Key)?;
    let signature = signature.try_into().map_err(|_| SignatureError::Mismatch)?;
    key.verify_strict(message, &ed25519_dalek::Signature::from_bytes(signature))
        .map_err(|_| SignatureError::Mismatch)
}

/// A key that signs items.
#[derive(Clone)]
pub enum Signer {
    /// Type 2.
    Ed25519(SigningKey),
    /// Type 1, with salt length 0, so that signing repeats the same bytes.
    Rsa(Box<rsa::RsaPrivateKey>),
}

impl Signer {
    /// The ed25519 key of this seed.
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        Self::Ed25519(SigningKey::from_bytes(seed))
    }

    /// The scheme this key signs with.
    pub const fn signature_type(&self) -> SignatureType {
        match self {
            Self::Ed25519(_) => SignatureType::Ed25519,
            Self::Rsa(_) => SignatureType::Rsa,
        }
    }

    /// The public key as it stands in an item's owner.
    pub fn owner_key(&self) -> Vec<u8> {
        match self {
            Self::Ed25519(key) => key.verifying_key().to_bytes().to_vec(),
            Self::Rsa(_) => Vec::new(),
        }
    }

    /// The address of the public key.
    pub fn address(&self) -> Address {
        Address::of_key(&self.owner_key())
    }

    /// Signs bytes.
    ///
    /// # Errors
    /// [`SignatureError::Signing`] when the key is damaged.
    pub fn sign(&self, message: &[u8]) -> Result<Vec<u8>, SignatureError> {
        match self {
            Self::Ed25519(key) => Ok(key.sign(message).to_bytes().to_vec()),
            Self::Rsa(_) => Err(SignatureError::Signing("not yet".into())),
        }
    }
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Signer({})", self.address())
    }
}
