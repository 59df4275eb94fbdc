//! Building a proof from what a computer or messenger holds of the source process.

use bytes::Bytes;

use super::verify::terms_at;
use super::{OriginProof, ProofError};
use crate::attestation::{Attestation, Statement};
use crate::data_digest::DataDigest;
use crate::header::Header;
use crate::id::{Hash, Id, Network};
use crate::outcome::{EntryPath, OutboxEntry, OutcomeCore, Running};
use crate::push::{Dispatch, Source};
use crate::verify::Verified;

/// Everything that a proof is made of.
#[derive(Debug, Clone)]
pub struct ProofParts<'a> {
    /// The network.
    pub network: Network,
    /// The header of the source's Process item.
    pub header: &'a Verified<Header>,
    /// Canonical certificates from epoch 0 to the position's epoch.
    pub certificates: &'a [Bytes],
    /// The entry.
    pub entry: &'a OutboxEntry,
    /// Its path to the outbox root.
    pub path: EntryPath,
    /// The rest of outcome_n.
    pub outcome: OutcomeCore,
    /// O_{n-1}.
    pub before: Running,
    /// The assignment of the position's slot.
    pub assignment: Id,
    /// The state root that was attested with it: zeros off boundaries.
    pub state_root: Hash,
    /// Attestations of the position, in any order; others are passed over.
    pub attestations: &'a [Verified<Attestation>],
}

impl OriginProof {
    /// Builds the proof of an entry, and what to push with it.
    ///
    /// # Errors
    /// [`ProofError::Attestors`] until attestations of a quorum are there; else what a target
    /// would refuse.
    pub fn build(parts: &ProofParts<'_>) -> Result<(Self, Dispatch), ProofError> {
        let (terms, module) =
            terms_at(parts.header, parts.certificates, parts.outcome.position, parts.network)?;
        let head = parts.entry.head_bytes();
        let root = parts.path.root(&head, &DataDigest::of(&parts.entry.data)).ok_or(ProofError::Path)?;
        let statement = Statement {
            network: parts.network,
            process: parts.header.id(),
            position: parts.outcome.position,
            assignment: parts.assignment,
            running: parts.before.then(&parts.outcome.hash(&root)).0,
            state_root: parts.state_root,
            rules: terms.rules(),
        };
        let attestors = terms.attestors();
        let said = |member| {
            let by = |found: &&Verified<Attestation>| {
                found.attestor() == member && *found.statement() == statement
            };
            parts.attestations.iter().find(by).map(|found| found.signature().clone())
        };
        let signatures: Vec<_> = (0u32..)
            .zip(&attestors.members)
            .filter_map(|(index, &member)| Some((index, said(member)?)))
            .take(attestors.quorum)
            .collect();
        if signatures.len() < attestors.quorum {
            return Err(ProofError::Attestors);
        }
        let source =
            Source { process: parts.header.id(), position: parts.outcome.position, index: parts.path.index };
        let proof = Self {
            header: parts.header.to_bytes(),
            certificates: parts.certificates.to_vec(),
            entry: head.into(),
            path: parts.path.clone(),
            outcome: parts.outcome,
            before: parts.before,
            assignment: parts.assignment,
            state_root: parts.state_root,
            signatures,
            child: None,
        };
        let dispatch = Dispatch { source, entry: parts.entry.clone(), module, scheduler: terms.scheduler() };
        Ok((proof, dispatch))
    }
}
