//! Signature schemes: verification of ANS-104 types 1 to 7, signing with ed25519 and RSA.
//!
//! Outsiders must not be able to make a second valid signature from a first, because ids are
//! hashes of signatures (RULES.md 6.12). Each scheme therefore takes one encoding of a signature
//! and refuses the others that mathematics would allow. Batches are verified one by one: a batch
//! equation accepts sums of bad signatures that the strict check of [`verify_ed25519`] refuses.
//!
//! Everything here is a pure function of its bytes. The one source of randomness is the blinding
//! of RSA private-key operations, which does not show in the signature. Compiled for a guest, hashes and
//! checks are those of its host, which are these ([`guest`]), and there is no key to sign with.

mod aptos;
#[cfg(not(target_arch = "wasm32"))]
mod ed25519;
#[cfg(not(target_arch = "wasm32"))]
pub mod guest;
#[cfg(target_arch = "wasm32")]
pub(crate) mod host;
#[cfg(not(target_arch = "wasm32"))]
mod jwk;
#[cfg(not(target_arch = "wasm32"))]
mod recovery;
#[cfg(not(target_arch = "wasm32"))]
mod rsa;
mod secp256k1;
#[cfg(not(target_arch = "wasm32"))]
mod signer;

pub use ed25519::verify as verify_ed25519;
#[cfg(target_arch = "wasm32")]
pub use host::{Signer, guest};
#[cfg(target_arch = "wasm32")]
use host::{ed25519, recovery, rsa};
#[cfg(not(target_arch = "wasm32"))]
pub use jwk::JwkError;
#[cfg(not(target_arch = "wasm32"))]
pub use signer::Signer;

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
    /// All schemes, by number.
    pub const ALL: [Self; 7] = [
        Self::Rsa,
        Self::Ed25519,
        Self::Ethereum,
        Self::Solana,
        Self::InjectedAptos,
        Self::MultiAptos,
        Self::TypedEthereum,
    ];

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
            Self::Rsa => rsa::MODULUS_BYTES,
            Self::Ed25519 | Self::Solana | Self::InjectedAptos => 64,
            Self::Ethereum | Self::TypedEthereum => secp256k1::SIGNATURE_BYTES,
            Self::MultiAptos => aptos::SIGNATURE_BYTES,
        }
    }

    /// Bytes of a public key.
    pub const fn owner_bytes(self) -> usize {
        match self {
            Self::Rsa => rsa::MODULUS_BYTES,
            Self::Ed25519 | Self::Solana | Self::InjectedAptos => 32,
            Self::Ethereum => secp256k1::KEY_BYTES,
            Self::MultiAptos => aptos::OWNER_BYTES,
            Self::TypedEthereum => secp256k1::ADDRESS_TEXT_BYTES,
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
/// [`SignatureError::Key`] or [`SignatureError::Mismatch`], also for a wrong length of either.
pub fn verify_signature(
    kind: SignatureType,
    owner: &[u8],
    message: &[u8],
    signature: &[u8],
) -> Result<(), SignatureError> {
    match kind {
        SignatureType::Rsa => rsa::verify(owner, message, signature),
        SignatureType::Ed25519 => ed25519::verify(owner, message, signature),
        SignatureType::Ethereum => secp256k1::verify_personal(owner, message, signature),
        SignatureType::Solana => ed25519::verify(owner, hex::encode(message).as_bytes(), signature),
        SignatureType::InjectedAptos => aptos::verify_injected(owner, message, signature),
        SignatureType::MultiAptos => aptos::verify_multi(owner, message, signature),
        SignatureType::TypedEthereum => secp256k1::verify_typed(owner, message, signature),
    }
}

#[cfg(test)]
mod tests;
