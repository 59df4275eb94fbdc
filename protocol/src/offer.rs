//! Messengers' offers: what one asks for carrying pushes, signed, short and short-lived.
//!
//! An offer is at most 512 bytes on a lobby shard, replaces the same key's offers with lower
//! numbers, and two different offers of one key and number are evidence.

use crate::crypto::{SignatureError, SignatureType, Signer};
use crate::id::{Address, Hash, Network};
use crate::key_signature::KeySignature;
use crate::machine::Now;
use crate::verify::{Unverified, Verified};
use crate::wire::{self, WireError};

/// The longest an offer may hold: the lobby forgets it after that.
pub const OFFER_TTL_MS_MAX: u64 = 600_000;
/// Lobby shards that one offer may name.
pub const OFFER_SHARDS_MAX: usize = 32;

/// The terms of an offer. Prices are in the smallest unit of the process that settles them.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct OfferTerms {
    /// The network.
    pub network: Network,
    /// Rises with each offer of the key.
    pub sequence: u64,
    /// The lobby shards whose processes are served, ascending.
    pub shards: Vec<u16>,
    /// A bit set of the classes of pushes that are carried.
    pub classes: u32,
    /// For each push.
    pub price_per_push: u64,
    /// For each started KiB of data.
    pub price_per_kib: u64,
    /// The largest push that is carried.
    pub max_kib: u32,
    /// Pushes a second.
    pub capacity_per_s: u32,
    /// The messenger's own figure for its median delay.
    pub latency_p50_ms: u32,
    /// Where its stake is recorded, or zeros.
    pub stake: Hash,
    /// From when the offer holds, in milliseconds since the Unix epoch.
    pub valid_from: u64,
    /// Until when it holds, exclusive.
    pub valid_to: u64,
}

impl OfferTerms {
    /// The bytes that are signed.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(128 + 2 * self.shards.len());
        out.extend_from_slice(b"weft/offer/1");
        out.extend_from_slice(&self.network.to_bytes());
        out.extend_from_slice(&self.sequence.to_be_bytes());
        // At most 32 shards, so that one byte counts them; `check` is run before signing.
        out.push(self.shards.len() as u8);
        for shard in &self.shards {
            out.extend_from_slice(&shard.to_be_bytes());
        }
        out.extend_from_slice(&self.classes.to_be_bytes());
        out.extend_from_slice(&self.price_per_push.to_be_bytes());
        out.extend_from_slice(&self.price_per_kib.to_be_bytes());
        out.extend_from_slice(&self.max_kib.to_be_bytes());
        out.extend_from_slice(&self.capacity_per_s.to_be_bytes());
        out.extend_from_slice(&self.latency_p50_ms.to_be_bytes());
        out.extend_from_slice(&self.stake.0);
        out.extend_from_slice(&self.valid_from.to_be_bytes());
        out.extend_from_slice(&self.valid_to.to_be_bytes());
        out
    }

    fn check(&self) -> Result<(), OfferError> {
        if self.shards.len() > OFFER_SHARDS_MAX || !self.shards.is_sorted_by(|a, b| a < b) {
            return Err(OfferError::Shards);
        }
        match self.valid_to.checked_sub(self.valid_from) {
            Some(1..=OFFER_TTL_MS_MAX) => Ok(()),
            _ => Err(OfferError::Lifetime),
        }
    }

    /// Signs the offer with an ed25519 key: no other fits 512 bytes.
    ///
    /// # Errors
    /// Terms over a limit, another kind of key, a key that cannot sign.
    pub fn sign(self, signer: &Signer) -> Result<Verified<Offer>, OfferError> {
        self.check()?;
        if signer.signature_type() != SignatureType::Ed25519 {
            return Err(OfferError::Scheme);
        }
        let signature = KeySignature::sign(signer, &self.to_bytes())?;
        Ok(Verified(Offer { terms: self, signature }))
    }
}

/// Why an offer is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OfferError {
    /// Too many shards, or not in ascending order.
    #[error("an offer names at most {OFFER_SHARDS_MAX} shards, each once, in ascending order")]
    Shards,
    /// A lifetime of nothing or of more than ten minutes.
    #[error("an offer holds for 1 to {OFFER_TTL_MS_MAX} ms")]
    Lifetime,
    /// A key that is not ed25519.
    #[error("an offer is signed with an ed25519 key")]
    Scheme,
    /// The signature.
    #[error("signature: {0}")]
    Signature(#[from] SignatureError),
    /// The wire form.
    #[error(transparent)]
    Wire(#[from] WireError),
}

/// Terms with the messenger's signature.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Offer {
    terms: OfferTerms,
    signature: KeySignature,
}

impl Offer {
    /// What is offered.
    pub const fn terms(&self) -> &OfferTerms {
        &self.terms
    }

    /// Who offers it.
    pub fn messenger(&self) -> Address {
        self.signature.address()
    }

    /// Whether the offer holds at this time.
    pub const fn is_live(&self, now: Now) -> bool {
        self.terms.valid_from <= now.0 && now.0 < self.terms.valid_to
    }

    /// Whether this offer takes the place of another of the same key.
    pub fn replaces(&self, other: &Self) -> bool {
        self.signature.owner_key() == other.signature.owner_key()
            && self.terms.network == other.terms.network
            && self.terms.sequence > other.terms.sequence
    }

    /// Whether one key gave one number to two different offers.
    pub fn contradicts(&self, other: &Self) -> bool {
        self.signature.owner_key() == other.signature.owner_key()
            && self.terms.network == other.terms.network
            && self.terms.sequence == other.terms.sequence
            && self.terms != other.terms
    }

    /// Reads the wire form.
    ///
    /// # Errors
    /// A field that is missing, of a wrong length or over a limit.
    pub fn from_wire(message: &wire::Offer, network: Network) -> Result<Unverified<Self>, OfferError> {
        let shards: Result<Vec<u16>, _> = message.shards.iter().map(|&shard| u16::try_from(shard)).collect();
        let terms = OfferTerms {
            network,
            sequence: message.sequence,
            shards: shards.map_err(|_| OfferError::Shards)?,
            classes: message.classes,
            price_per_push: message.price_per_push,
            price_per_kib: message.price_per_kib,
            max_kib: message.max_kib,
            capacity_per_s: message.capacity_per_s,
            latency_p50_ms: message.latency_p50_ms,
            stake: wire::hash("stake", &message.stake)?,
            valid_from: message.valid_from,
            valid_to: message.valid_to,
        };
        terms.check()?;
        let ed25519 = SignatureType::Ed25519.number().into();
        let signature = KeySignature::from_parts(ed25519, &message.owner, &message.signature)?;
        Ok(Unverified(Self { terms, signature }))
    }

    /// The wire form, at most [`OFFER_BYTES_MAX`](crate::wire::OFFER_BYTES_MAX).
    pub fn to_wire(&self) -> wire::Offer {
        let terms = &self.terms;
        wire::Offer {
            sequence: terms.sequence,
            shards: terms.shards.iter().copied().map(u32::from).collect(),
            classes: terms.classes,
            price_per_push: terms.price_per_push,
            price_per_kib: terms.price_per_kib,
            max_kib: terms.max_kib,
            capacity_per_s: terms.capacity_per_s,
            latency_p50_ms: terms.latency_p50_ms,
            stake: wire::bytes(terms.stake),
            valid_from: terms.valid_from,
            valid_to: terms.valid_to,
            owner: self.signature.owner_key().clone(),
            signature: self.signature.signature().clone(),
        }
    }
}

impl Unverified<Offer> {
    /// Checks the messenger's signature.
    ///
    /// # Errors
    /// Why it is not that key's signature over the terms.
    pub fn verify(self) -> Result<Verified<Offer>, SignatureError> {
        self.0.signature.verify(&self.0.terms.to_bytes())?;
        Ok(Verified(self.0))
    }
}
