//! Certificates: what ends an epoch and begins the next.
//!
//! A certificate is one succession with what authorises it: votes of the schedulers that step
//! down, the recovery key's item, consents of the attestors that are replaced. Which of them are
//! needed depends on what changes.

use bytes::Bytes;

use super::{EpochTerms, SchedulerSet, TermsError};
use crate::crypto::{SignatureError, Signer};
use crate::data_item::{DataItem, Draft, ItemError};
use crate::hashing::{Digest as _, Sha256};
use crate::id::{Address, Hash, Id, Network};
use crate::key_signature::KeySignature;
use crate::limits::ATTESTORS_MAX;
use crate::process::Attestors;
use crate::tag::Tag;
use crate::verify::{Unverified, Verified};
use crate::wire::{self, CERTIFICATE_BYTES_MAX, WireError, decode_canonical};

/// The `Type` tag of a recovery key's item.
pub const RECOVERY_TYPE: &str = "Epoch-Recovery";

/// What is decided: where an epoch ends, and on what terms the next begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Succession {
    /// The network.
    pub network: Network,
    /// The process.
    pub process: Id,
    /// The epoch that ends.
    pub epoch: u64,
    /// L: the first slot of the next epoch. Slots from here on are void in the one that ends.
    pub length: u64,
    /// The hash chain at L.
    pub chain: Hash,
    /// The schedulers of the next epoch.
    pub schedulers: SchedulerSet,
    /// A new compute set; none keeps what there is.
    pub attestors: Option<Attestors>,
    /// The version of the rules from L on.
    pub rules: u32,
}

impl Succession {
    /// The hash that votes, consents and recovery items name.
    pub fn hash(&self) -> Hash {
        let mut hasher = Sha256::new();
        hasher.update(b"weft/epoch/1");
        hasher.update(self.network.to_bytes());
        hasher.update(self.process);
        hasher.update(self.epoch.to_be_bytes());
        hasher.update(self.length.to_be_bytes());
        hasher.update(self.chain);
        let mut set = |members: &[Address], quorum: usize| {
            // Sets have at most 16 keys, so that a byte holds both numbers.
            hasher.update([members.len() as u8]);
            members.iter().for_each(|key| hasher.update(key));
            hasher.update([quorum as u8]);
        };
        set(&self.schedulers.members, self.schedulers.quorum);
        match &self.attestors {
            Some(Attestors { members, quorum }) => set(members, *quorum),
            None => set(&[], 0),
        }
        hasher.update(self.schedulers.lease_ms.to_be_bytes());
        hasher.update(self.rules.to_be_bytes());
        Hash(hasher.finalize().into())
    }

    /// The item by which the recovery key decides this succession. A wallet can sign items and
    /// nothing else.
    pub fn recovery_draft(&self) -> Draft {
        Draft {
            target: Some(self.process),
            anchor: None,
            tags: vec![Tag::new("Data-Protocol", "ao"), Tag::new("Type", RECOVERY_TYPE)],
            data: Bytes::copy_from_slice(&self.hash().0),
        }
    }

    /// What an attestor signs who consents to being replaced.
    pub fn consent_bytes(&self) -> Vec<u8> {
        [&b"weft/consent/1"[..], &self.hash().0].concat()
    }
}

/// A scheduler's vote for one succession in one ballot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Vote {
    /// The network.
    pub network: Network,
    /// The process.
    pub process: Id,
    /// The epoch that ends.
    pub epoch: u64,
    /// The ballot; a key that votes for two successions in one ballot is convicted.
    pub ballot: u64,
    /// [`Succession::hash`].
    pub succession: Hash,
}

impl Vote {
    /// The bytes that are signed.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(11 + 4 + 32 + 16 + 32);
        out.extend_from_slice(b"weft/vote/1");
        out.extend_from_slice(&self.network.to_bytes());
        out.extend_from_slice(&self.process.0);
        out.extend_from_slice(&self.epoch.to_be_bytes());
        out.extend_from_slice(&self.ballot.to_be_bytes());
        out.extend_from_slice(&self.succession.0);
        out
    }
}

impl Vote {
    /// Signs the vote.
    ///
    /// # Errors
    /// A key that cannot sign.
    pub fn sign(self, signer: &Signer) -> Result<Verified<SignedVote>, SignatureError> {
        let signature = KeySignature::sign(signer, &self.to_bytes())?;
        Ok(Verified(SignedVote { vote: self, signature }))
    }
}

/// A vote with its voter's signature.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedVote {
    /// What is voted for.
    pub vote: Vote,
    /// Who votes.
    pub signature: KeySignature,
}

impl SignedVote {
    /// Whether one key voted for two successions in one ballot.
    pub fn contradicts(&self, other: &Self) -> bool {
        let elsewhere = Vote { succession: other.vote.succession, ..self.vote };
        self.signature.owner_key() == other.signature.owner_key()
            && self.vote.succession != other.vote.succession
            && elsewhere == other.vote
    }
}

impl Unverified<SignedVote> {
    /// A vote of which nothing is checked yet.
    pub const fn new(vote: SignedVote) -> Self {
        Self(vote)
    }

    /// Checks the voter's signature. Whether it is a scheduler of the epoch is for the terms to
    /// say.
    ///
    /// # Errors
    /// Why it is not that key's signature over the vote.
    pub fn verify(self) -> Result<Verified<SignedVote>, SignatureError> {
        self.0.signature.verify(&self.0.vote.to_bytes())?;
        Ok(Verified(self.0))
    }
}

/// Why a certificate decides nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CertificateError {
    /// The wire form.
    #[error(transparent)]
    Wire(#[from] WireError),
    /// The next terms.
    #[error(transparent)]
    Terms(#[from] TermsError),
    /// Another process, or not the epoch that the terms describe.
    #[error("the certificate does not end epoch {0} of this process")]
    Epoch(u64),
    /// It ends before the epoch began.
    #[error("length {length} is before slot {first}, the epoch's first")]
    Length {
        /// L.
        length: u64,
        /// The first slot of the epoch that ends.
        first: u64,
    },
    /// Signatures by other keys, too few, too many or out of order.
    #[error("the {0} are not those of a quorum, each once, in the order of the set")]
    Quorum(&'static str),
    /// A signature that does not verify.
    #[error("signature: {0}")]
    Signature(#[from] SignatureError),
    /// An item that is not the recovery key's decision for this succession.
    #[error("the recovery item does not decide this succession")]
    Recovery,
    /// The recovery item is no item.
    #[error("recovery item: {0}")]
    Item(#[from] ItemError),
    /// Valid signatures, but not those that this change needs.
    #[error("the change needs {0}")]
    Unauthorised(&'static str),
}

/// A succession with what authorises it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Certificate {
    /// What is decided.
    pub succession: Succession,
    /// The ballot of the votes.
    pub ballot: u64,
    /// Votes of the schedulers that step down: exactly a quorum or none, by rising index.
    pub votes: Vec<(u32, KeySignature)>,
    /// The recovery key's item.
    pub recovery: Option<Bytes>,
    /// Consents of the attestors that are replaced: exactly a quorum or none, by rising index.
    pub consents: Vec<(u32, KeySignature)>,
}

impl Certificate {
    /// Reads the canonical bytes.
    ///
    /// # Errors
    /// Bytes that are not canonical or too many, sets that are no sets.
    pub fn decode(bytes: &Bytes, network: Network) -> Result<Unverified<Self>, CertificateError> {
        let message: wire::EpochCertificate = decode_canonical(bytes, CERTIFICATE_BYTES_MAX)?;
        Self::from_wire(&message, network)
    }

    /// Reads the wire form.
    ///
    /// # Errors
    /// A field that is missing or of a wrong length, sets that are no sets.
    pub fn from_wire(
        message: &wire::EpochCertificate,
        network: Network,
    ) -> Result<Unverified<Self>, CertificateError> {
        let schedulers = SchedulerSet::new(
            addresses("schedulers", &message.schedulers)?,
            message.scheduler_quorum as usize,
            message.lease_ms,
        )?;
        let succession = Succession {
            network,
            process: wire::id("process", &message.process)?,
            epoch: message.epoch,
            length: message.length,
            chain: wire::hash("chain", &message.chain)?,
            schedulers,
            attestors: attestors(&message.attestors, message.attestor_quorum)?,
            rules: message.rules,
        };
        Ok(Unverified(Self {
            succession,
            ballot: message.ballot,
            votes: signatures(&message.votes)?,
            recovery: (!message.recovery.is_empty()).then(|| message.recovery.clone()),
            consents: signatures(&message.consents)?,
        }))
    }

    /// The wire form.
    pub fn to_wire(&self) -> wire::EpochCertificate {
        let Succession { network: _, process, epoch, length, chain, schedulers, attestors, rules } =
            &self.succession;
        let members = |set: &[Address]| set.iter().map(wire::bytes).collect();
        let signed = |list: &[(u32, KeySignature)]| {
            list.iter().map(|(index, signature)| signature.to_wire(*index)).collect()
        };
        wire::EpochCertificate {
            process: wire::bytes(process),
            epoch: *epoch,
            ballot: self.ballot,
            length: *length,
            chain: wire::bytes(chain),
            schedulers: members(&schedulers.members),
            scheduler_quorum: schedulers.quorum as u32,
            lease_ms: schedulers.lease_ms,
            attestors: attestors.as_ref().map(|set| members(&set.members)).unwrap_or_default(),
            attestor_quorum: attestors.as_ref().map_or(0, |set| set.quorum as u32),
            rules: *rules,
            votes: signed(&self.votes),
            recovery: self.recovery.clone().unwrap_or_default(),
            consents: signed(&self.consents),
        }
    }

    /// The vote that its voters signed.
    pub fn vote(&self) -> Vote {
        let Succession { network, process, epoch, .. } = self.succession;
        Vote { network, process, epoch, ballot: self.ballot, succession: self.succession.hash() }
    }
}

impl Unverified<Certificate> {
    /// Checks that the certificate ends the epoch of `terms`, and gives the terms of the next.
    ///
    /// # Errors
    /// What it does not fit, or which authority it lacks.
    pub fn verify(self, terms: &EpochTerms) -> Result<(Verified<Certificate>, EpochTerms), CertificateError> {
        let certificate = self.0;
        let succession = &certificate.succession;
        let next_epoch = terms.epoch.checked_add(1).ok_or(CertificateError::Epoch(terms.epoch))?;
        if (succession.process, succession.epoch) != (terms.process, terms.epoch) {
            return Err(CertificateError::Epoch(terms.epoch));
        }
        if succession.length < terms.first_slot {
            return Err(CertificateError::Length { length: succession.length, first: terms.first_slot });
        }
        authorise(&certificate, terms)?;
        let next = EpochTerms {
            process: terms.process,
            epoch: next_epoch,
            first_slot: succession.length,
            chain: succession.chain,
            schedulers: succession.schedulers.clone(),
            compute: succession.attestors.clone().or_else(|| terms.compute.clone()),
            rules: succession.rules,
            recovery: terms.recovery,
        };
        Ok((Verified(certificate), next))
    }
}

/// Checks every signature that the certificate carries, then that they suffice for the change.
fn authorise(certificate: &Certificate, terms: &EpochTerms) -> Result<(), CertificateError> {
    let Certificate { succession, votes, recovery, consents, .. } = certificate;
    let (set, attestors) = (&terms.schedulers, terms.attestors());
    let voted = quorum("votes", votes, &set.members, set.quorum, &certificate.vote().to_bytes())?;
    let recovered = match recovery {
        Some(raw) => {
            recovery_item(raw.clone(), succession, terms)?;
            true
        }
        None => false,
    };
    let consent = succession.consent_bytes();
    let consented = quorum("consents", consents, &attestors.members, attestors.quorum, &consent)?;

    let single = set.members.len() == 1 && succession.schedulers.members.len() == 1;
    let same_set = set.same_members(&succession.schedulers) && succession.attestors.is_none();
    if same_set {
        // With one scheduler the recovery key decides alone, once the scheduler is gone.
        let enough = voted || (single && recovered);
        return if enough { Ok(()) } else { Err(CertificateError::Unauthorised("the schedulers' quorum")) };
    }
    if single && recovered && succession.attestors.is_none() {
        return Ok(());
    }
    match (voted, terms.recovery) {
        (true, Some(_)) if recovered => Ok(()),
        (true, None) if consented => Ok(()),
        (_, Some(_)) => Err(CertificateError::Unauthorised("the schedulers' quorum and the recovery key")),
        (_, None) => {
            Err(CertificateError::Unauthorised("quorums of the schedulers and of the old attestors"))
        }
    }
}

/// Whether the signatures are those of a quorum: exactly `quorum` of the keys, by rising index.
/// No signatures are no quorum and no fault.
fn quorum(
    what: &'static str,
    signatures: &[(u32, KeySignature)],
    members: &[Address],
    quorum: usize,
    statement: &[u8],
) -> Result<bool, CertificateError> {
    if signatures.is_empty() {
        return Ok(false);
    }
    let rising = signatures.is_sorted_by(|(a, _), (b, _)| a < b);
    if signatures.len() != quorum || !rising {
        return Err(CertificateError::Quorum(what));
    }
    for (index, signature) in signatures {
        if members.get(*index as usize) != Some(&signature.address()) {
            return Err(CertificateError::Quorum(what));
        }
        signature.verify(statement)?;
    }
    Ok(true)
}

fn recovery_item(raw: Bytes, succession: &Succession, terms: &EpochTerms) -> Result<(), CertificateError> {
    let item = DataItem::verify_bytes(raw)?;
    let decides = Some(item.owner()) == terms.recovery
        && item.target() == Some(succession.process)
        && item.tag("Type") == Some(RECOVERY_TYPE)
        && item.data() == succession.hash().0[..];
    if decides { Ok(()) } else { Err(CertificateError::Recovery) }
}

fn addresses(field: &'static str, keys: &[Bytes]) -> Result<Vec<Address>, WireError> {
    keys.iter().map(|key| Address::try_from(&key[..]).map_err(|_| WireError::Field(field))).collect()
}

fn attestors(keys: &[Bytes], quorum: u32) -> Result<Option<Attestors>, CertificateError> {
    if keys.is_empty() && quorum == 0 {
        return Ok(None);
    }
    let (members, quorum) = (addresses("attestors", keys)?, quorum as usize);
    let distinct = members.iter().enumerate().all(|(at, key)| !members[..at].contains(key));
    let size = members.len();
    if !distinct || size > ATTESTORS_MAX || quorum > size || 2 * quorum <= size {
        return Err(WireError::Field("attestors").into());
    }
    Ok(Some(Attestors { members, quorum }))
}

fn signatures(list: &[wire::KeySignature]) -> Result<Vec<(u32, KeySignature)>, WireError> {
    list.iter().map(|entry| Ok((entry.index, KeySignature::from_wire(entry)?))).collect()
}
