//! Origin proofs: that a process sent an item, shown by bytes alone (RULES.md 6.2).
//!
//! A proof is a data item beside the pushed item, which names it in its tag `Origin-Proof`. It
//! holds the header of the source's Process item, from which the attestors follow, and what ties
//! one outbox entry to a running outcome that a quorum of them signed. Judging it takes the
//! slot record and the number of the network, never a fetch, a clock or another log.

mod build;
mod verify;

pub use build::ProofParts;
pub(crate) use verify::{Examined, examine};
pub use verify::{ProvenKind, ProvenOrigin, verify};

use bytes::Bytes;
use prost::Message as _;

use crate::crypto::{SignatureError, Signer};
use crate::data_item::{DataItem, Draft, ItemError};
use crate::epoch::{CertificateError, TermsError};
use crate::header::{Header, HeaderError};
use crate::id::{Hash, Id};
use crate::key_signature::KeySignature;
use crate::outcome::{EntryError, EntryPath, OutcomeCore, Running};
use crate::spawn::ChildError;
use crate::tag::Tag;
use crate::verify::Verified;
use crate::wire::{self, CERTIFICATES_MAX, PROOF_BYTES_MAX, WireError, decode_canonical};

/// The `Type` tag of a proof item.
pub const PROOF_TYPE: &str = "Origin-Proof";

/// Why an item's origin is not proven. For everyone alike, and for ever.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ProofError {
    /// The proof item is longer than 64 KiB.
    #[error("a proof item of {0} bytes; at most {PROOF_BYTES_MAX} are allowed")]
    TooLong(usize),
    /// The proof item has another `Type`.
    #[error("the proof item is not of Type {PROOF_TYPE}")]
    NotAProof,
    /// The item does not name this proof.
    #[error("the item names another proof, or none")]
    NotNamed,
    /// The data of the proof item.
    #[error("proof: {0}")]
    Wire(#[from] WireError),
    /// The header of the source or the child.
    #[error("header: {0}")]
    Header(#[from] HeaderError),
    /// A signature of an attestor that does not verify.
    #[error("the signature of an attestor: {0}")]
    Signature(#[from] SignatureError),
    /// The source's Process item names no scheduler or attestors.
    #[error("source: {0}")]
    Terms(#[from] TermsError),
    /// Not the certificates that lead from epoch 0 to the position.
    #[error("{given} certificates for a position of epoch {epoch}; at most {CERTIFICATES_MAX} fit")]
    Certificates {
        /// Certificates in the proof.
        given: usize,
        /// The position's epoch.
        epoch: u64,
    },
    /// A certificate that decides nothing.
    #[error("certificate: {0}")]
    Certificate(#[from] CertificateError),
    /// A slot before the epoch that the position names.
    #[error("slot {0} is not of the position's epoch")]
    Slot(u64),
    /// The source computes by rules that this build does not know.
    #[error("the source computes by rules {0}")]
    Rules(u32),
    /// The outbox entry.
    #[error("entry: {0}")]
    Entry(#[from] EntryError),
    /// The entry is not what the item would be a push of.
    #[error("the entry is no {0}")]
    Kind(&'static str),
    /// An outcome that has no outbox, or is none.
    #[error("the outcome sends nothing")]
    Outcome,
    /// A path that leads to no outbox root.
    #[error("the path does not fit the entry's index")]
    Path,
    /// Signatures by others than a quorum of attestors.
    #[error("the signatures are not those of a quorum of attestors, each once, in order")]
    Attestors,
    /// A field of the pushed item is not what the entry says.
    #[error("the item's {0} is not what the source sent")]
    Differs(&'static str),
    /// The child of a `Spawned` message.
    #[error(transparent)]
    Child(#[from] ChildError),
    /// An item inside the proof, or one that cannot be built.
    #[error(transparent)]
    Item(#[from] ItemError),
}

/// What a spawn came to, in the proof of a `Spawned` message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Child {
    /// The header of the child's Process item.
    pub header: Bytes,
    /// The raw assignment of its slot 0.
    pub assignment: Bytes,
}

/// The content of a proof item, well-formed; [`verify()`] says whether it proves anything.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OriginProof {
    header: Bytes,
    certificates: Vec<Bytes>,
    entry: Bytes,
    path: EntryPath,
    outcome: OutcomeCore,
    before: Running,
    assignment: Id,
    state_root: Hash,
    signatures: Vec<(u32, KeySignature)>,
    child: Option<Child>,
}

impl OriginProof {
    /// Reads the data of a proof item.
    ///
    /// # Errors
    /// Bytes that are not canonical, and fields of a wrong length.
    pub fn decode(bytes: &Bytes) -> Result<Self, WireError> {
        let message: wire::OriginProof = decode_canonical(bytes, PROOF_BYTES_MAX)?;
        let outcome = <&[u8; OutcomeCore::BYTES]>::try_from(&message.outcome[..])
            .ok()
            .and_then(OutcomeCore::from_bytes)
            .ok_or(WireError::Field("outcome"))?;
        let siblings: Result<Vec<Hash>, _> =
            message.path.iter().map(|sibling| wire::hash("path", sibling)).collect();
        let signatures: Result<Vec<_>, WireError> = message
            .signatures
            .iter()
            .map(|signature| Ok((signature.index, KeySignature::from_wire(signature)?)))
            .collect();
        Ok(Self {
            header: message.header,
            certificates: message.certificates,
            entry: message.entry,
            path: EntryPath { index: message.index, count: message.count, siblings: siblings? },
            outcome,
            before: Running(wire::hash("before", &message.before)?),
            assignment: wire::id("assignment_id", &message.assignment_id)?,
            state_root: wire::hash("state_root", &message.state_root)?,
            signatures: signatures?,
            child: message.child.map(|child| Child { header: child.header, assignment: child.assignment }),
        })
    }

    /// The canonical bytes.
    pub fn encode(&self) -> Vec<u8> {
        let signature = |(index, signature): &(u32, KeySignature)| signature.to_wire(*index);
        let child = |Child { header, assignment }: Child| wire::Child { header, assignment };
        wire::OriginProof {
            header: self.header.clone(),
            certificates: self.certificates.clone(),
            entry: self.entry.clone(),
            index: self.path.index,
            count: self.path.count,
            path: self.path.siblings.iter().map(wire::bytes).collect(),
            outcome: Bytes::copy_from_slice(&self.outcome.to_bytes()),
            before: wire::bytes(self.before.0),
            assignment_id: wire::bytes(self.assignment),
            state_root: wire::bytes(self.state_root),
            signatures: self.signatures.iter().map(signature).collect(),
            child: self.child.clone().map(child),
        }
        .encode_to_vec()
    }

    /// The proof of the `Spawned` message: this proof of the spawn entry, with what it came to.
    #[must_use]
    pub fn with_child(self, header: &Verified<Header>, assignment: &Verified<DataItem>) -> Self {
        let child = Child { header: header.to_bytes(), assignment: assignment.raw().clone() };
        Self { child: Some(child), ..self }
    }

    /// The proof item, signed by whoever carries it: the key says nothing.
    ///
    /// # Errors
    /// A proof over 64 KiB, a key that cannot sign.
    pub fn sign(&self, carrier: &Signer) -> Result<Verified<DataItem>, ProofError> {
        let draft = Draft {
            target: None,
            anchor: None,
            tags: vec![Tag::new("Data-Protocol", "ao"), Tag::new("Type", PROOF_TYPE)],
            data: self.encode().into(),
        };
        let item = draft.sign(carrier)?;
        let length = item.raw().len();
        if length > PROOF_BYTES_MAX { Err(ProofError::TooLong(length)) } else { Ok(item) }
    }
}
