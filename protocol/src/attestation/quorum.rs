//! Quorums: one statement, signed by as many of a process's attestors as it asks for.

use std::collections::BTreeSet;

use super::{Attestation, Statement};
use crate::crypto::SignatureError;
use crate::id::Address;
use crate::process::Process;
use crate::verify::Verified;
use crate::wire::{self, WireError};

/// Why attestations are no quorum. Whoever gave them could see all of it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NoQuorum {
    /// One is malformed.
    #[error("an attestation is malformed: {0}")]
    Wire(#[from] WireError),
    /// One was not signed by its key.
    #[error("an attestation: {0}")]
    Signature(#[from] SignatureError),
    /// They say different things, or speak of another process, epoch or version of the rules.
    #[error("the attestations do not say one thing of this process")]
    Statement,
    /// Not enough of those whom the process names.
    #[error("{signed} of its attestors signed it, and {quorum} must")]
    Few {
        /// How many did.
        signed: usize,
        /// How many must.
        quorum: usize,
    },
}

/// A statement that counts: a quorum of the process's attestors signed it.
#[derive(Debug, Clone)]
pub struct Quorum {
    statement: Statement,
    attestations: Vec<Verified<Attestation>>,
}

impl Quorum {
    /// Verifies what a peer gives. Attestations of keys that the process does not name count for nothing, and
    /// their signatures are not looked at: at most 16 signatures are.
    ///
    /// # Errors
    /// Why it is no quorum.
    pub fn verify(process: &Process, messages: &[wire::Attestation]) -> Result<Self, NoQuorum> {
        let attestors = process.attestors();
        let mut signed = BTreeSet::new();
        let mut attestations: Vec<Verified<Attestation>> = Vec::new();
        let mut statement: Option<Statement> = None;
        for message in messages {
            let attestation = Attestation::from_wire(message, process.network())?;
            let said = *attestation.claims().statement();
            // Without scheduler sets there is one epoch.
            let is_of_it =
                said.process == process.id() && said.rules == process.rules() && said.position.epoch == 0;
            if !is_of_it || *statement.get_or_insert(said) != said {
                return Err(NoQuorum::Statement);
            }
            let attestor = attestation.claims().attestor();
            if attestors.members.contains(&attestor) && signed.insert(attestor) {
                attestations.push(attestation.verify()?);
            }
        }
        match statement {
            Some(statement) if attestations.len() >= attestors.quorum => Ok(Self { statement, attestations }),
            _ => Err(NoQuorum::Few { signed: attestations.len(), quorum: attestors.quorum }),
        }
    }

    /// What they say.
    pub const fn statement(&self) -> &Statement {
        &self.statement
    }

    /// Who says it.
    pub fn attestors(&self) -> impl Iterator<Item = Address> {
        self.attestations.iter().map(|attestation| attestation.attestor())
    }

    /// The attestations of the attestors, each key's once.
    pub fn into_attestations(self) -> Vec<Verified<Attestation>> {
        self.attestations
    }
}
