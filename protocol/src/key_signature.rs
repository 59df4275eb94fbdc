//! One key's signature over a protocol statement: attestations, votes, consents, offers.
//!
//! Unlike an item, such a statement travels without its own bytes: the verifier rebuilds them
//! from typed fields, so nothing can be signed that the fields do not say.

use bytes::Bytes;

use crate::crypto::{SignatureError, SignatureType, Signer, verify_signature};
use crate::id::Address;
use crate::wire::{self, WireError};

/// A public key and its signature. Holding one proves nothing until
/// [`verify`](Self::verify) has seen the statement's bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeySignature {
    kind: SignatureType,
    owner: Bytes,
    signature: Bytes,
}

impl KeySignature {
    /// Signs a statement.
    ///
    /// # Errors
    /// A key that cannot sign.
    pub fn sign(signer: &Signer, statement: &[u8]) -> Result<Self, SignatureError> {
        Ok(Self {
            kind: signer.signature_type(),
            owner: signer.owner_key().into(),
            signature: signer.sign(statement)?.into(),
        })
    }

    /// Checks the signature over a statement.
    ///
    /// # Errors
    /// Why it is not that key's signature over these bytes.
    pub fn verify(&self, statement: &[u8]) -> Result<(), SignatureError> {
        verify_signature(self.kind, &self.owner, statement, &self.signature)
    }

    /// The address of the key.
    pub fn address(&self) -> Address {
        Address::of_key(&self.owner)
    }

    /// The public key.
    pub const fn owner_key(&self) -> &Bytes {
        &self.owner
    }

    /// The signature bytes.
    pub const fn signature(&self) -> &Bytes {
        &self.signature
    }

    /// The scheme.
    pub const fn signature_type(&self) -> SignatureType {
        self.kind
    }

    /// Reads the three wire fields.
    ///
    /// Only the schemes of nodes' own keys (ed25519 and RSA) are taken: two statements of any
    /// such key fit one piece of evidence, and wallets sign items, not statements.
    ///
    /// # Errors
    /// Another scheme, or lengths that are not the scheme's.
    pub fn from_parts(kind: u32, owner: &Bytes, signature: &Bytes) -> Result<Self, WireError> {
        let kind = match u16::try_from(kind).ok().and_then(SignatureType::from_number) {
            Some(kind @ (SignatureType::Ed25519 | SignatureType::Rsa)) => kind,
            _ => return Err(WireError::Field("signature_type")),
        };
        if owner.len() != kind.owner_bytes() {
            return Err(WireError::Field("owner"));
        }
        if signature.len() != kind.signature_bytes() {
            return Err(WireError::Field("signature"));
        }
        Ok(Self { kind, owner: owner.clone(), signature: signature.clone() })
    }

    /// Reads an indexed signature.
    ///
    /// # Errors
    /// As [`from_parts`](Self::from_parts).
    pub fn from_wire(message: &wire::KeySignature) -> Result<Self, WireError> {
        Self::from_parts(message.signature_type, &message.owner, &message.signature)
    }

    /// The wire form, with the key's index in the set that it signs for.
    pub fn to_wire(&self, index: u32) -> wire::KeySignature {
        wire::KeySignature {
            index,
            signature_type: self.kind.number().into(),
            owner: self.owner.clone(),
            signature: self.signature.clone(),
        }
    }
}
