//! Attestations: what an attestor signs about a position (RULES.md 6.4).
//!
//! Honest attestors of one position sign the same bytes, so the signed bytes hold nothing of the
//! attestor, and two signatures of one key that agree up to the assignment and differ after it
//! are evidence.

mod quorum;

pub use quorum::{NoQuorum, Quorum};

use crate::crypto::{SignatureError, Signer};
use crate::hashing::{Digest as _, Sha256};
use crate::id::{Address, Hash, Id, Network};
use crate::key_signature::KeySignature;
use crate::position::Position;
use crate::process::Process;
use crate::verify::{Unverified, Verified};
use crate::wire::{self, WireError};

/// Slots between two boundaries, at which the state root is attested too.
pub const BOUNDARY_SLOTS: u64 = 1024;

/// What is said about one position.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Statement {
    /// The network.
    pub network: Network,
    /// The process.
    pub process: Id,
    /// The position.
    pub position: Position,
    /// The assignment of the position's slot.
    pub assignment: Id,
    /// The running outcome hash O_n.
    pub running: Hash,
    /// The state root at a boundary, else zeros.
    pub state_root: Hash,
    /// The rules number that computed it.
    pub rules: u32,
}

impl Statement {
    /// What an honest attestor of this process says of a position whose slot has this assignment: its running
    /// outcome hash and, at a boundary, its state root.
    pub fn of(
        process: &Process,
        network: Network,
        (position, assignment): (Position, Id),
        (running, state_root): (Hash, Option<Hash>),
    ) -> Self {
        let state_root = state_root.unwrap_or(Hash::ZERO);
        Self {
            network,
            process: process.id(),
            position,
            assignment,
            running,
            state_root,
            rules: process.rules(),
        }
    }

    /// The bytes that are signed.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(13 + 4 + 32 + 20 + 96 + 4);
        out.extend_from_slice(b"weft/attest/1");
        out.extend_from_slice(&self.network.to_bytes());
        out.extend_from_slice(&self.process.0);
        out.extend_from_slice(&self.position.to_bytes());
        out.extend_from_slice(&self.assignment.0);
        out.extend_from_slice(&self.running.0);
        out.extend_from_slice(&self.state_root.0);
        out.extend_from_slice(&self.rules.to_be_bytes());
        out
    }

    /// A name for the statement: SHA-256 of its bytes.
    pub fn hash(&self) -> Hash {
        Hash(Sha256::digest(self.to_bytes()).into())
    }

    /// Signs the statement.
    ///
    /// # Errors
    /// A key that cannot sign.
    pub fn sign(&self, signer: &Signer) -> Result<Verified<Attestation>, SignatureError> {
        let signature = KeySignature::sign(signer, &self.to_bytes())?;
        Ok(Verified(Attestation { statement: *self, signature }))
    }

    /// Whether both speak of the same assignment at the same position.
    fn same_subject(&self, other: &Self) -> bool {
        self.network == other.network
            && self.process == other.process
            && self.position == other.position
            && self.assignment == other.assignment
    }
}

/// A statement with its attestor's signature.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attestation {
    statement: Statement,
    signature: KeySignature,
}

impl Attestation {
    /// What is said.
    pub const fn statement(&self) -> &Statement {
        &self.statement
    }

    /// Who says it.
    pub fn attestor(&self) -> Address {
        self.signature.address()
    }

    /// The signature, for an origin proof.
    pub const fn signature(&self) -> &KeySignature {
        &self.signature
    }

    /// Whether one key said two things about one subject.
    pub fn contradicts(&self, other: &Self) -> bool {
        self.signature.owner_key() == other.signature.owner_key()
            && self.statement.same_subject(&other.statement)
            && self.statement != other.statement
    }

    /// Reads the wire form; the network is that of the topic or stream it came on.
    ///
    /// # Errors
    /// A field that is missing or of a wrong length.
    pub fn from_wire(message: &wire::Attestation, network: Network) -> Result<Unverified<Self>, WireError> {
        let statement = Statement {
            network,
            process: wire::id("process", &message.process)?,
            position: wire::position(message.position.as_ref())?,
            assignment: wire::id("assignment_id", &message.assignment_id)?,
            running: wire::hash("running", &message.running)?,
            state_root: wire::hash("state_root", &message.state_root)?,
            rules: message.rules,
        };
        let signature = KeySignature::from_parts(message.signature_type, &message.owner, &message.signature)?;
        Ok(Unverified(Self { statement, signature }))
    }

    /// The wire form.
    pub fn to_wire(&self) -> wire::Attestation {
        let Statement { process, position, assignment, running, state_root, rules, network: _ } =
            self.statement;
        wire::Attestation {
            process: wire::bytes(process),
            position: Some(position.into()),
            assignment_id: wire::bytes(assignment),
            running: wire::bytes(running),
            state_root: wire::bytes(state_root),
            rules,
            signature_type: self.signature.signature_type().number().into(),
            owner: self.signature.owner_key().clone(),
            signature: self.signature.signature().clone(),
        }
    }
}

impl Unverified<Attestation> {
    /// Checks the attestor's signature. Whether it is one of the process's attestors is for
    /// [`EpochTerms`](crate::epoch::EpochTerms) to say.
    ///
    /// # Errors
    /// Why it is not that key's signature over the statement.
    pub fn verify(self) -> Result<Verified<Attestation>, SignatureError> {
        self.0.signature.verify(&self.0.statement.to_bytes())?;
        Ok(Verified(self.0))
    }
}
