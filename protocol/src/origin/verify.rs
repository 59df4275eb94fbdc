//! Judging a proof. Cheap comparisons come before signatures, so that a forged item costs its
//! reader little.

use bytes::Bytes;

use super::{OriginProof, PROOF_TYPE, ProofError};
use crate::attestation::Statement;
use crate::crypto::SignatureError;
use crate::data_digest::DataDigest;
use crate::data_item::{DataItem, Draft};
use crate::epoch::{Certificate, EpochTerms};
use crate::header::{Header, HeaderError};
use crate::id::{Id, Network};
use crate::outcome::{Code, EntryKind, OutboxEntry};
use crate::position::Position;
use crate::process::RULES;
use crate::push::{Dispatch, ORIGIN_PROOF, Source};
use crate::sender::ProvenSource;
use crate::spawn::{check_child, check_first_assignment, spawned_push_id};
use crate::tag::{self, Tag};
use crate::verify::Verified;
use crate::wire::{CERTIFICATES_MAX, PROOF_BYTES_MAX};

/// What a proven item is a push of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProvenKind {
    /// A message of the source.
    Message,
    /// A Process item that the source asked for: the source is its parent.
    Spawn,
    /// The news that a spawn of the source became this process.
    Spawned {
        /// The child.
        child: Id,
    },
}

/// A proven origin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProvenOrigin {
    /// The source process, the push id and the root of the chain of messages.
    pub sender: ProvenSource,
    /// The outbox entry.
    pub source: Source,
    /// What the item is.
    pub kind: ProvenKind,
}

/// Decides whether `proof` shows that a process sent `item`.
///
/// Both items' own signatures are checked already; who signed them does not matter.
///
/// # Errors
/// The first thing that does not fit. The same for everyone: such an item counts as unproven.
pub fn verify(
    item: &Verified<DataItem>,
    proof: &Verified<DataItem>,
    network: Network,
) -> Result<ProvenOrigin, ProofError> {
    examine(&**item, proof, network).map(|examined| examined.origin)
}

/// What a verified item or header shows of itself to a proof.
pub(crate) trait Pushed {
    fn target(&self) -> Option<Id>;
    fn anchor(&self) -> Option<&[u8; 32]>;
    fn tags(&self) -> &[Tag];
    /// Of an item it is computed, so it is asked for after cheaper things.
    fn digest(&self) -> DataDigest;
}

impl Pushed for DataItem {
    fn target(&self) -> Option<Id> {
        self.target()
    }
    fn anchor(&self) -> Option<&[u8; 32]> {
        self.anchor()
    }
    fn tags(&self) -> &[Tag] {
        self.tags()
    }
    fn digest(&self) -> DataDigest {
        DataDigest::of(&self.data())
    }
}

impl Pushed for Header {
    fn target(&self) -> Option<Id> {
        self.target()
    }
    fn anchor(&self) -> Option<&[u8; 32]> {
        self.anchor()
    }
    fn tags(&self) -> &[Tag] {
        self.tags()
    }
    fn digest(&self) -> DataDigest {
        *self.data()
    }
}

/// A proven origin with what the proof says beside it.
pub(crate) struct Examined {
    pub(crate) origin: ProvenOrigin,
    /// The source's Process item.
    pub(crate) header: Verified<Header>,
    pub(crate) certificates: Vec<Bytes>,
    /// The terms at the position.
    pub(crate) terms: EpochTerms,
    /// The assignment that the attestors name.
    pub(crate) assignment: Id,
}

/// As [`verify()`], of a pushed item or its header, which the caller has verified.
pub(crate) fn examine(
    item: &impl Pushed,
    proof: &Verified<DataItem>,
    network: Network,
) -> Result<Examined, ProofError> {
    if proof.raw().len() > PROOF_BYTES_MAX {
        return Err(ProofError::TooLong(proof.raw().len()));
    }
    if proof.tag("Type") != Some(PROOF_TYPE) {
        return Err(ProofError::NotAProof);
    }
    if tag::first(item.tags(), ORIGIN_PROOF) != Some(proof.id().to_string().as_str()) {
        return Err(ProofError::NotNamed);
    }
    let proof = OriginProof::decode(&proof.data())?;
    let header = Header::parse(&proof.header)?.verify().map_err(unsigned)?;
    let position = proof.outcome.position;
    let (terms, module) = terms_at(&header, &proof.certificates, position, network)?;
    let entry = OutboxEntry::from_head_bytes(&proof.entry)?;
    let source = Source { process: header.id(), position, index: proof.path.index };
    let dispatch = Dispatch { source, entry, module, scheduler: terms.scheduler() };

    let (kind, data) = proof.compare(item, &dispatch)?;
    proof.check_attested(&data, header.id(), &terms, network)?;

    let push = source.push_id(network);
    let push = if matches!(kind, ProvenKind::Spawned { .. }) { spawned_push_id(&push) } else { push };
    let sender = ProvenSource { process: header.id(), push, root: dispatch.entry.root };
    let origin = ProvenOrigin { sender, source, kind };
    let OriginProof { certificates, assignment, .. } = proof;
    Ok(Examined { origin, header, certificates, terms, assignment })
}

/// A header that its owner has not signed: another header of the same process is valid.
fn unsigned(error: SignatureError) -> HeaderError {
    HeaderError::Item(error.into())
}

/// The source's terms at a position, and its module.
pub(super) fn terms_at(
    header: &Verified<Header>,
    certificates: &[Bytes],
    position: Position,
    network: Network,
) -> Result<(EpochTerms, Id), ProofError> {
    let given = certificates.len();
    if given > CERTIFICATES_MAX || given as u64 != position.epoch {
        return Err(ProofError::Certificates { given, epoch: position.epoch });
    }
    let mut terms = EpochTerms::of_header(header)?;
    for bytes in certificates {
        (_, terms) = Certificate::decode(bytes, network)?.verify(&terms)?;
    }
    if position.slot < terms.first_slot() {
        return Err(ProofError::Slot(position.slot));
    }
    if terms.rules() != RULES {
        return Err(ProofError::Rules(terms.rules()));
    }
    let module = header.tag("Module").and_then(|text| text.parse().ok());
    Ok((terms, module.ok_or(crate::epoch::TermsError::NotAProcess)?))
}

impl OriginProof {
    /// Compares the item with the only one that the entry allows; gives the digest of the data
    /// that the entry must have.
    fn compare(
        &self,
        item: &impl Pushed,
        dispatch: &Dispatch,
    ) -> Result<(ProvenKind, DataDigest), ProofError> {
        // The proof that the item names is this one: that was compared first.
        let named = tag::first(item.tags(), ORIGIN_PROOF).and_then(|text| text.parse().ok());
        let proof: Id = named.ok_or(ProofError::NotNamed)?;
        if let Some(child) = &self.child {
            let header = Header::parse(&child.header)?;
            let expected = dispatch.spawned(header.claims().id(), proof).ok_or(ProofError::Kind("spawn"))?;
            same(item, &expected)?;
            if item.digest() != DataDigest::of(&expected.data) {
                return Err(ProofError::Differs("data"));
            }
            let header = header.verify().map_err(unsigned)?;
            check_child(&header, dispatch)?;
            check_first_assignment(&header, &child.assignment)?;
            return Ok((ProvenKind::Spawned { child: header.id() }, *header.data()));
        }
        let (kind, expected) = match dispatch.entry.kind {
            EntryKind::Message => (ProvenKind::Message, dispatch.message(proof)),
            EntryKind::Spawn => (ProvenKind::Spawn, dispatch.process(proof)),
            EntryKind::Assignment | EntryKind::Dropped => (ProvenKind::Message, None),
        };
        let expected = expected.ok_or(ProofError::Kind("message or spawn"))?;
        same(item, &expected)?;
        Ok((kind, item.digest()))
    }

    /// Checks that a quorum of attestors signed a running outcome that holds the entry.
    fn check_attested(
        &self,
        data: &DataDigest,
        process: Id,
        terms: &EpochTerms,
        network: Network,
    ) -> Result<(), ProofError> {
        // Any other code has an empty outbox: whoever signed this broke the rules.
        if self.outcome.code != Code::Ok || self.outcome.duplicate_of.is_some() {
            return Err(ProofError::Outcome);
        }
        let root = self.path.root(&self.entry, data).ok_or(ProofError::Path)?;
        let statement = Statement {
            network,
            process,
            position: self.outcome.position,
            assignment: self.assignment,
            running: self.before.then(&self.outcome.hash(&root)).0,
            state_root: self.state_root,
            rules: terms.rules(),
        }
        .to_bytes();
        let attestors = terms.attestors();
        let rising = self.signatures.is_sorted_by(|(a, _), (b, _)| a < b);
        let members = self
            .signatures
            .iter()
            .all(|(index, by)| attestors.members.get(*index as usize) == Some(&by.address()));
        if self.signatures.len() != attestors.quorum || !rising || !members {
            return Err(ProofError::Attestors);
        }
        for (_, signature) in &self.signatures {
            signature.verify(&statement)?;
        }
        Ok(())
    }
}

/// Compares everything but the data, which the entry's leaf compares.
fn same(item: &impl Pushed, expected: &Draft) -> Result<(), ProofError> {
    if item.target() != expected.target {
        return Err(ProofError::Differs("target"));
    }
    if item.anchor() != expected.anchor.as_ref() {
        return Err(ProofError::Differs("anchor"));
    }
    if item.tags() != expected.tags {
        return Err(ProofError::Differs("tags"));
    }
    Ok(())
}
