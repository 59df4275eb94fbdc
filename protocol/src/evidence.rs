//! Evidence: what one key signed that no honest key signs (RULES.md 6.18).
//!
//! Signature evidence convicts by itself: two valid signatures of one key in one place. Whether
//! the key was the process's scheduler or attestor there is for the epoch's terms to say, and
//! two keys that contradict each other convict nobody. Replay evidence convicts once somebody
//! has run it.

mod judgement;
mod replay;

pub use judgement::{Judgement, describe};
pub use replay::{ReplayCase, ReplayError, ReplayEvidence};

use std::fmt;

use bytes::Bytes;
use prost::Message as _;

use crate::assignment::{Assignment, AssignmentError};
use crate::attestation::Attestation;
use crate::crypto::SignatureError;
use crate::data_item::{DataItem, ItemError};
use crate::epoch::{EpochTerms, SignedVote, Vote};
use crate::hashing;
use crate::id::{Address, Hash, Id, Network};
use crate::key_signature::KeySignature;
use crate::offer::{Offer, OfferError};
use crate::verify::{Unverified, Verified};
use crate::wire::{self, ASSIGNMENT_BYTES_MAX, EVIDENCE_BYTES_MAX, WireError, decode_canonical};

/// Why something is no evidence. It costs its sender.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EvidenceError {
    /// The bytes.
    #[error(transparent)]
    Wire(#[from] WireError),
    /// An item in it.
    #[error(transparent)]
    Item(#[from] ItemError),
    /// An assignment in it.
    #[error(transparent)]
    Assignment(#[from] AssignmentError),
    /// An offer in it.
    #[error(transparent)]
    Offer(#[from] OfferError),
    /// A signature that fails.
    #[error("signature: {0}")]
    Signature(#[from] SignatureError),
    /// Two statements that an honest key may make.
    #[error("the two do not contradict each other")]
    NoContradiction,
    /// The pair stands in the wrong order.
    #[error("the lesser of the two comes first")]
    Order,
}

/// Two statements of one key, the lesser first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Evidence {
    /// A scheduler assigned one slot twice.
    DoubleAssignment {
        /// The network to which both item anchors open.
        network: Network,
        /// The assignment with the lesser id.
        first: DataItem,
        /// The other.
        second: DataItem,
    },
    /// A scheduler voted twice in one ballot.
    DoubleVote {
        /// The vote for the lesser succession.
        first: SignedVote,
        /// The other.
        second: SignedVote,
    },
    /// An attestor said two things about one assignment.
    Attestations {
        /// The one whose signed bytes are less.
        first: Attestation,
        /// The other.
        second: Attestation,
    },
    /// A messenger gave one number to two offers.
    Offers {
        /// The one whose signed bytes are less.
        first: Offer,
        /// The other.
        second: Offer,
    },
}

impl Evidence {
    /// Evidence of two assignments of one slot, if they are that.
    pub fn of_assignments(
        a: &Verified<DataItem>,
        b: &Verified<DataItem>,
        network: Network,
    ) -> Option<Verified<Self>> {
        let (first, second) = if a.id() < b.id() { (a, b) } else { (b, a) };
        let evidence = Self::DoubleAssignment {
            network,
            first: DataItem::clone(first),
            second: DataItem::clone(second),
        };
        evidence.contradiction().is_ok().then_some(Verified(evidence))
    }

    /// Evidence of two votes in one ballot, if they are that.
    pub fn of_votes(a: &Verified<SignedVote>, b: &Verified<SignedVote>) -> Option<Verified<Self>> {
        let (first, second) = if a.vote.succession < b.vote.succession { (a, b) } else { (b, a) };
        let evidence =
            Self::DoubleVote { first: SignedVote::clone(first), second: SignedVote::clone(second) };
        evidence.contradiction().is_ok().then_some(Verified(evidence))
    }

    /// Evidence of two attestations of one assignment, if they are that.
    pub fn of_attestations(a: &Verified<Attestation>, b: &Verified<Attestation>) -> Option<Verified<Self>> {
        let less = a.statement().to_bytes() < b.statement().to_bytes();
        let (first, second) = if less { (a, b) } else { (b, a) };
        let evidence =
            Self::Attestations { first: Attestation::clone(first), second: Attestation::clone(second) };
        evidence.contradiction().is_ok().then_some(Verified(evidence))
    }

    /// Evidence of two offers with one number, if they are that.
    pub fn of_offers(a: &Verified<Offer>, b: &Verified<Offer>) -> Option<Verified<Self>> {
        let less = a.terms().to_bytes() < b.terms().to_bytes();
        let (first, second) = if less { (a, b) } else { (b, a) };
        let evidence = Self::Offers { first: Offer::clone(first), second: Offer::clone(second) };
        evidence.contradiction().is_ok().then_some(Verified(evidence))
    }

    /// The key that it convicts.
    pub fn culprit(&self) -> Address {
        match self {
            Self::DoubleAssignment { first, .. } => first.owner(),
            Self::DoubleVote { first, .. } => first.signature.address(),
            Self::Attestations { first, .. } => first.attestor(),
            Self::Offers { first, .. } => first.messenger(),
        }
    }

    /// The process it is about, if it is about one.
    pub fn process(&self) -> Option<Id> {
        match self {
            Self::DoubleAssignment { first, .. } => Assignment::from_item(first).ok().map(|of| of.process),
            Self::DoubleVote { first, .. } => Some(first.vote.process),
            Self::Attestations { first, .. } => Some(first.statement().process),
            Self::Offers { .. } => None,
        }
    }

    /// The name under which it is gossiped, stored and anchored.
    pub fn name(&self) -> Hash {
        hashing::blake3("weft/evidence/1", &[&self.encode()])
    }

    /// Whether the culprit had, by these terms, the office that it abused: the scheduler for slots
    /// and votes, an attestor for attestations. Offers are no matter of a process.
    pub fn concerns(&self, terms: &EpochTerms) -> bool {
        let culprit = self.culprit();
        let held_office = match self {
            Self::DoubleAssignment { .. } => terms.scheduler() == culprit,
            Self::DoubleVote { .. } => terms.schedulers().members().contains(&culprit),
            Self::Attestations { .. } => terms.attestors().members.contains(&culprit),
            Self::Offers { .. } => false,
        };
        held_office && self.process() == Some(terms.process()) && self.epoch() == Some(terms.epoch())
    }

    fn epoch(&self) -> Option<u64> {
        match self {
            Self::DoubleAssignment { first, .. } => Assignment::from_item(first).ok().map(|of| of.epoch),
            Self::DoubleVote { first, .. } => Some(first.vote.epoch),
            Self::Attestations { first, .. } => Some(first.statement().position.epoch),
            Self::Offers { .. } => None,
        }
    }

    /// Reads the canonical bytes; the network is that of the topic they came on.
    ///
    /// # Errors
    /// More than 4 KiB, bytes that are not canonical, parts that are malformed.
    pub fn decode(bytes: &Bytes, network: Network) -> Result<Unverified<Self>, EvidenceError> {
        Self::from_wire(decode_canonical(bytes, EVIDENCE_BYTES_MAX)?, network)
    }

    /// Reads the message; the network is that of the topic it came on.
    ///
    /// # Errors
    /// More than 4 KiB, parts that are malformed.
    pub fn from_wire(message: wire::Evidence, network: Network) -> Result<Unverified<Self>, EvidenceError> {
        let length = message.encoded_len();
        if length > EVIDENCE_BYTES_MAX {
            return Err(WireError::TooLong { length, max: EVIDENCE_BYTES_MAX }.into());
        }
        let evidence = match message.body.ok_or(WireError::Field("body"))? {
            wire::evidence::Body::DoubleAssignment(pair) => Self::DoubleAssignment {
                network,
                first: assignment_item(&pair.first)?,
                second: assignment_item(&pair.second)?,
            },
            wire::evidence::Body::DoubleVote(pair) => {
                let process = wire::id("process", &pair.process)?;
                let vote = |succession: &Bytes, signature: Option<&wire::KeySignature>| {
                    let succession = wire::hash("succession", succession)?;
                    let signature = signature.filter(|by| by.index == 0).ok_or(WireError::Field("vote"))?;
                    let vote = Vote { network, process, epoch: pair.epoch, ballot: pair.ballot, succession };
                    Ok(SignedVote { vote, signature: KeySignature::from_wire(signature)? })
                };
                let first: Result<_, WireError> = vote(&pair.first_succession, pair.first.as_ref());
                Self::DoubleVote {
                    first: first?,
                    second: vote(&pair.second_succession, pair.second.as_ref())?,
                }
            }
            wire::evidence::Body::Attestations(pair) => {
                let read = |part: Option<&wire::Attestation>| {
                    let part = part.ok_or(WireError::Field("attestation"))?;
                    Attestation::from_wire(part, network).map(|read| read.0)
                };
                Self::Attestations { first: read(pair.first.as_ref())?, second: read(pair.second.as_ref())? }
            }
            wire::evidence::Body::Offers(pair) => {
                let read = |part: Option<&wire::Offer>| {
                    let part = part.ok_or(WireError::Field("offer"))?;
                    Offer::from_wire(part, network).map(|read| read.0)
                };
                Self::Offers { first: read(pair.first.as_ref())?, second: read(pair.second.as_ref())? }
            }
        };
        Ok(Unverified(evidence))
    }

    /// The canonical bytes.
    pub fn encode(&self) -> Vec<u8> {
        self.to_wire().encode_to_vec()
    }

    /// The message.
    pub fn to_wire(&self) -> wire::Evidence {
        let body = match self {
            Self::DoubleAssignment { first, second, .. } => {
                wire::evidence::Body::DoubleAssignment(wire::DoubleAssignment {
                    first: first.raw().clone(),
                    second: second.raw().clone(),
                })
            }
            Self::DoubleVote { first, second } => wire::evidence::Body::DoubleVote(wire::DoubleVote {
                process: wire::bytes(first.vote.process),
                epoch: first.vote.epoch,
                ballot: first.vote.ballot,
                first_succession: wire::bytes(first.vote.succession),
                first: Some(first.signature.to_wire(0)),
                second_succession: wire::bytes(second.vote.succession),
                second: Some(second.signature.to_wire(0)),
            }),
            Self::Attestations { first, second } => {
                wire::evidence::Body::Attestations(wire::ContradictingAttestations {
                    first: Some(first.to_wire()),
                    second: Some(second.to_wire()),
                })
            }
            Self::Offers { first, second } => wire::evidence::Body::Offers(wire::ContradictingOffers {
                first: Some(first.to_wire()),
                second: Some(second.to_wire()),
            }),
        };
        wire::Evidence { body: Some(body) }
    }

    /// Everything but the signatures.
    fn contradiction(&self) -> Result<(), EvidenceError> {
        let (contradicts, ordered) = match self {
            Self::DoubleAssignment { network, first, second } => {
                (double_assignment(first, second, *network)?, first.id() < second.id())
            }
            Self::DoubleVote { first, second } => {
                (first.contradicts(second), first.vote.succession < second.vote.succession)
            }
            Self::Attestations { first, second } => {
                (first.contradicts(second), first.statement().to_bytes() < second.statement().to_bytes())
            }
            Self::Offers { first, second } => {
                (first.contradicts(second), first.terms().to_bytes() < second.terms().to_bytes())
            }
        };
        match (contradicts, ordered) {
            (false, _) => Err(EvidenceError::NoContradiction),
            (true, false) => Err(EvidenceError::Order),
            (true, true) => Ok(()),
        }
    }
}

impl Unverified<Evidence> {
    /// Checks that the two contradict each other, and both signatures.
    ///
    /// # Errors
    /// Why it convicts nobody.
    pub fn verify(self) -> Result<Verified<Evidence>, EvidenceError> {
        self.0.contradiction()?;
        match &self.0 {
            Evidence::DoubleAssignment { first, second, .. } => {
                Unverified(first.clone()).verify()?;
                Unverified(second.clone()).verify()?;
            }
            Evidence::DoubleVote { first, second } => {
                Unverified(first.clone()).verify()?;
                Unverified(second.clone()).verify()?;
            }
            Evidence::Attestations { first, second } => {
                Unverified(first.clone()).verify()?;
                Unverified(second.clone()).verify()?;
            }
            Evidence::Offers { first, second } => {
                Unverified(first.clone()).verify()?;
                Unverified(second.clone()).verify()?;
            }
        }
        Ok(Verified(self.0))
    }
}

/// What happened, for a person.
impl fmt::Display for Evidence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let culprit = self.culprit();
        match self {
            Self::DoubleAssignment { first, second, .. } => {
                let slot = Assignment::from_item(first).map(|of| of.slot).unwrap_or_default();
                let (first, second) = (first.id(), second.id());
                write!(f, "scheduler {culprit} signed slot {slot} as {first} and as {second}")
            }
            Self::DoubleVote { first, .. } => {
                let Vote { epoch, ballot, .. } = first.vote;
                write!(f, "scheduler {culprit} voted twice in ballot {ballot} of epoch {epoch}")
            }
            Self::Attestations { first, second } => {
                let position = first.statement().position;
                let (first, second) = (first.statement().running, second.statement().running);
                write!(f, "attestor {culprit} signed two outcomes at {position}: {first} and {second}")
            }
            Self::Offers { .. } => write!(f, "messenger {culprit} made two offers with one number"),
        }
    }
}

/// Two ids for one slot of one log on one network: a key that serves two networks is no liar, so
/// both item anchors must open to this one.
fn double_assignment(first: &DataItem, second: &DataItem, network: Network) -> Result<bool, AssignmentError> {
    let (a, b) = (Assignment::from_item(first)?, Assignment::from_item(second)?);
    Ok(first.owner_key() == second.owner_key()
        && a.id != b.id
        && (a.process, a.epoch, a.slot) == (b.process, b.epoch, b.slot)
        && a.opens_to(network)
        && b.opens_to(network))
}

fn assignment_item(bytes: &Bytes) -> Result<DataItem, EvidenceError> {
    if bytes.len() > ASSIGNMENT_BYTES_MAX {
        return Err(WireError::TooLong { length: bytes.len(), max: ASSIGNMENT_BYTES_MAX }.into());
    }
    Ok(DataItem::parse(bytes.clone())?.0)
}
