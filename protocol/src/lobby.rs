//! Lobby shards: the topics on which nodes say, in few signed bytes, what they do for which processes.
//!
//! The first bits of SHA-256 of its id put every process into one of [`SHARDS`] shards; the number is a
//! constant of the protocol. An advert names, by short hashes, processes of one shard which a node
//! schedules, computes or watches. It replaces the same key's advert with a lower number for the same
//! place, and ends after ten minutes. It is a hint and no more: two processes may have one short hash, and anybody may
//! sign anything. Whoever acts on one asks that peer, and believes what is proven.

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::crypto::{SignatureError, SignatureType, Signer};
use crate::hashing::{Digest, Sha256};
use crate::id::{Id, Network};
use crate::key_signature::KeySignature;
use crate::machine::Now;
use crate::verify::{Unverified, Verified};
use crate::wire::{self, WireError};

/// Bits of the hash of a process that name its shard. It stands in the name of every shard, so that a
/// network with other shards is heard on other topics.
pub const SHARD_BITS: u32 = 4;
/// How many shards there are: a node that serves a thousand processes is on all of them, one that serves three
/// on three.
pub const SHARDS: u16 = 1 << SHARD_BITS;
/// Processes that one advert names: as many as fit into the bytes of a fact beside the longest addresses.
pub const ADVERT_PROCESSES_MAX: usize = 56;
/// Adverts in which a node says what it does in one shard.
pub const ADVERT_PARTS_MAX: u8 = 4;
/// Addresses in an advert.
pub const ADVERT_ADDRESSES_MAX: usize = 3;
/// Bytes of all of them together.
pub const ADVERT_ADDRESS_BYTES_MAX: usize = 128;
/// The longest an advert may hold.
pub const ADVERT_TTL_MS_MAX: u64 = 600_000;

/// A lobby shard.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Shard(u16);

impl Shard {
    /// The shard of a process.
    pub fn of(process: &Id) -> Self {
        let first = Sha256::digest(process.as_bytes())[0];
        Self(u16::from(first) >> (8 - SHARD_BITS))
    }

    /// The shard of this number, if there is one.
    pub const fn numbered(number: u16) -> Option<Self> {
        if number < SHARDS { Some(Self(number)) } else { None }
    }

    /// Its number.
    pub const fn number(self) -> u16 {
        self.0
    }

    /// All there are.
    pub fn all() -> impl Iterator<Item = Self> {
        (0..SHARDS).map(Self)
    }
}

/// What stands for a process in an advert: bytes of its hash behind those that name its shard. That two of
/// ten thousand processes share one costs somebody a question in vain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Short(pub u32);

impl Short {
    /// That of a process.
    pub fn of(process: &Id) -> Self {
        let hash = Sha256::digest(process.as_bytes());
        Self(u32::from_be_bytes([hash[1], hash[2], hash[3], hash[4]]))
    }
}

/// What a node does for a process; what comes later knows more of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Duty {
    /// It has the log and follows it.
    Watches,
    /// It computes, or carries what the process sends.
    Computes,
    /// It gives slots.
    Schedules,
}

impl Duty {
    /// All of them, from the least.
    pub const ALL: [Self; 3] = [Self::Watches, Self::Computes, Self::Schedules];

    /// The number on the wire; 0 stands for none.
    pub const fn number(self) -> u32 {
        match self {
            Self::Watches => 1,
            Self::Computes => 2,
            Self::Schedules => 3,
        }
    }

    /// The duty of a number; numbers of later versions are none here.
    pub fn numbered(number: u32) -> Option<Self> {
        Self::ALL.into_iter().find(|duty| duty.number() == number)
    }
}

/// What an advert says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AdvertTerms {
    /// The network.
    pub network: Network,
    /// Rises with each advert of the key: milliseconds of its clock, so that it rises over restarts too.
    pub sequence: u64,
    /// Until when it holds, exclusive, in milliseconds since the Unix epoch.
    pub valid_to: u64,
    /// The shard of all its processes.
    pub shard: Shard,
    /// Which of `parts` this is, from 0.
    pub part: u8,
    /// In how many adverts the node says what it does in this shard.
    pub parts: u8,
    /// Whether it does something for processes that are in none of them.
    pub more: bool,
    /// Where the node can be dialled, each as multiaddr bytes.
    pub addresses: Vec<Bytes>,
    /// The processes, and what it does most for each.
    pub served: BTreeMap<Short, Duty>,
}

impl AdvertTerms {
    /// The bytes that are signed.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(64 + ADVERT_ADDRESS_BYTES_MAX + 5 * self.served.len());
        out.extend_from_slice(b"weft/advert/1");
        out.extend_from_slice(&self.network.to_bytes());
        out.extend_from_slice(&self.sequence.to_be_bytes());
        out.extend_from_slice(&self.valid_to.to_be_bytes());
        out.extend_from_slice(&self.shard.0.to_be_bytes());
        out.extend_from_slice(&[self.part, self.parts, u8::from(self.more)]);
        // Counts and lengths fit: `check` is run before signing.
        out.push(self.addresses.len() as u8);
        for address in &self.addresses {
            out.push(address.len() as u8);
            out.extend_from_slice(address);
        }
        out.push(self.served.len() as u8);
        for (short, duty) in &self.served {
            out.extend_from_slice(&short.0.to_be_bytes());
            out.push(duty.number() as u8);
        }
        out
    }

    fn check(&self) -> Result<(), AdvertError> {
        if !(1..=ADVERT_PARTS_MAX).contains(&self.parts) || self.part >= self.parts {
            return Err(AdvertError::Parts);
        }
        let bytes: usize = self.addresses.iter().map(Bytes::len).sum();
        let is_empty = self.addresses.iter().any(Bytes::is_empty);
        if self.addresses.len() > ADVERT_ADDRESSES_MAX || bytes > ADVERT_ADDRESS_BYTES_MAX || is_empty {
            return Err(AdvertError::Addresses);
        }
        if self.served.len() > ADVERT_PROCESSES_MAX {
            return Err(AdvertError::Processes);
        }
        match self.valid_to.checked_sub(self.sequence) {
            Some(1..=ADVERT_TTL_MS_MAX) => Ok(()),
            _ => Err(AdvertError::Lifetime),
        }
    }

    /// Signs the advert with the ed25519 key of the peer.
    ///
    /// # Errors
    /// Terms over a limit, another kind of key, a key that cannot sign.
    pub fn sign(self, signer: &Signer) -> Result<Verified<Advert>, AdvertError> {
        self.check()?;
        if signer.signature_type() != SignatureType::Ed25519 {
            return Err(AdvertError::Scheme);
        }
        let signature = KeySignature::sign(signer, &self.to_bytes())?;
        Ok(Verified(Advert { terms: self, signature }))
    }
}

/// Why an advert is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AdvertError {
    /// A shard that there is not.
    #[error("there are shards 0 to {}", SHARDS - 1)]
    Shard,
    /// A part that is none.
    #[error("an advert is one of at most {ADVERT_PARTS_MAX} parts, counted from 0")]
    Parts,
    /// Too many addresses, too many bytes of them, or none of one.
    #[error(
        "an advert has {ADVERT_ADDRESSES_MAX} addresses of {ADVERT_ADDRESS_BYTES_MAX} bytes in all at most"
    )]
    Addresses,
    /// Too many processes, or not in their order.
    #[error("an advert names {ADVERT_PROCESSES_MAX} processes at most, each once, in ascending order")]
    Processes,
    /// A lifetime of nothing, or too long.
    #[error("an advert holds for 1 to {ADVERT_TTL_MS_MAX} ms")]
    Lifetime,
    /// A key that is not ed25519.
    #[error("an advert is signed with an ed25519 key")]
    Scheme,
    /// The signature.
    #[error("signature: {0}")]
    Signature(#[from] SignatureError),
    /// The wire form.
    #[error(transparent)]
    Wire(#[from] WireError),
}

/// Terms with the node's signature.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Advert {
    terms: AdvertTerms,
    signature: KeySignature,
}

impl Advert {
    /// What is said.
    pub const fn terms(&self) -> &AdvertTerms {
        &self.terms
    }

    /// The ed25519 public key of who says it: the name of the peer.
    pub fn key(&self) -> Option<[u8; 32]> {
        self.signature.owner_key().as_ref().try_into().ok()
    }

    /// Whether it holds at this time, for a reader whose clock may be behind the signer's by so much.
    pub const fn is_live(&self, now: Now, skew_ms: u64) -> bool {
        self.terms.sequence <= now.0.saturating_add(skew_ms) && now.0 < self.terms.valid_to
    }

    /// Reads the wire form.
    ///
    /// # Errors
    /// A field that is missing, of a wrong length or over a limit.
    pub fn from_wire(message: &wire::Advert, network: Network) -> Result<Unverified<Self>, AdvertError> {
        let shard = u16::try_from(message.shard).ok().and_then(Shard::numbered).ok_or(AdvertError::Shard)?;
        let byte = |number: u32| u8::try_from(number).map_err(|_| AdvertError::Parts);
        let mut served = BTreeMap::new();
        let lists = [&message.watches, &message.computes, &message.schedules];
        if lists.iter().map(|list| list.len()).sum::<usize>() > 4 * ADVERT_PROCESSES_MAX {
            return Err(AdvertError::Processes);
        }
        for (duty, list) in Duty::ALL.into_iter().zip(lists) {
            let mut last = None;
            for short in list.chunks(4) {
                let short = short.try_into().map_err(|_| AdvertError::Processes)?;
                let short = Short(u32::from_be_bytes(short));
                if last.replace(short) >= Some(short) || served.insert(short, duty).is_some() {
                    return Err(AdvertError::Processes);
                }
            }
        }
        let terms = AdvertTerms {
            network,
            sequence: message.sequence,
            valid_to: message.valid_to,
            shard,
            part: byte(message.part)?,
            parts: byte(message.parts)?,
            more: message.more,
            addresses: message.addresses.clone(),
            served,
        };
        terms.check()?;
        let ed25519 = SignatureType::Ed25519.number().into();
        let signature = KeySignature::from_parts(ed25519, &message.owner, &message.signature)?;
        Ok(Unverified(Self { terms, signature }))
    }

    /// The wire form; a fact that holds it has at most [`LOBBY_BYTES_MAX`](crate::wire::LOBBY_BYTES_MAX).
    pub fn to_wire(&self) -> wire::Advert {
        let terms = &self.terms;
        let list = |of: Duty| {
            let served = terms.served.iter().filter(|(_, duty)| **duty == of);
            served.flat_map(|(short, _)| short.0.to_be_bytes()).collect::<Vec<u8>>().into()
        };
        wire::Advert {
            sequence: terms.sequence,
            valid_to: terms.valid_to,
            shard: terms.shard.0.into(),
            part: terms.part.into(),
            parts: terms.parts.into(),
            more: terms.more,
            addresses: terms.addresses.clone(),
            watches: list(Duty::Watches),
            computes: list(Duty::Computes),
            schedules: list(Duty::Schedules),
            owner: self.signature.owner_key().clone(),
            signature: self.signature.signature().clone(),
        }
    }
}

impl Unverified<Advert> {
    /// Checks the node's signature.
    ///
    /// # Errors
    /// Why it is not that key's signature over the terms.
    pub fn verify(self) -> Result<Verified<Advert>, SignatureError> {
        self.0.signature.verify(&self.0.terms.to_bytes())?;
        Ok(Verified(self.0))
    }
}
