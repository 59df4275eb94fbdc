//! What a replay said of an attestor whom another one contradicts.

use std::fmt;

use bytes::Bytes;
use prost::Message as _;

use super::Evidence;
use crate::attestation::{Attestation, Statement};
use crate::hashing;
use crate::id::{Address, Hash, Network};
use crate::wire::{self, EVIDENCE_BYTES_MAX, WireError, decode_canonical};

/// That an attestor was wrong, by a replay of whoever keeps this. It convicts nobody elsewhere: others replay
/// themselves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Judgement {
    /// What the attestor signed.
    pub claim: Attestation,
    /// What another one signed of the same position, if it is held.
    pub other: Option<Attestation>,
    /// What an honest one signs there; nothing if there is no such position.
    pub truth: Option<Statement>,
}

impl Judgement {
    /// Who was wrong.
    pub fn culprit(&self) -> Address {
        self.claim.attestor()
    }

    /// The name under which it is stored.
    pub fn name(&self) -> Hash {
        hashing::blake3("weft/judgement/1", &[&self.encode()])
    }

    /// The canonical bytes.
    pub fn encode(&self) -> Vec<u8> {
        let truth = self.truth.as_ref();
        let message = wire::Judgement {
            claim: Some(self.claim.to_wire()),
            other: self.other.as_ref().map(Attestation::to_wire),
            assignment_id: truth.map(|truth| wire::bytes(truth.assignment)).unwrap_or_default(),
            running: truth.map(|truth| wire::bytes(truth.running)).unwrap_or_default(),
            state_root: truth.map(|truth| wire::bytes(truth.state_root)).unwrap_or_default(),
            rules: truth.map(|truth| truth.rules).unwrap_or_default(),
        };
        message.encode_to_vec()
    }

    /// Reads the canonical bytes. Signatures were checked before they were written.
    ///
    /// # Errors
    /// More than 4 KiB, bytes that are not canonical, parts that are malformed.
    pub fn decode(bytes: &Bytes, network: Network) -> Result<Self, WireError> {
        let message: wire::Judgement = decode_canonical(bytes, EVIDENCE_BYTES_MAX)?;
        let read = |part: &wire::Attestation| Attestation::from_wire(part, network).map(|read| read.0);
        let claim = read(message.claim.as_ref().ok_or(WireError::Field("claim"))?)?;
        let other = message.other.as_ref().map(read).transpose()?;
        let truth = match message.running.is_empty() {
            true => None,
            false => Some(Statement {
                assignment: wire::id("assignment_id", &message.assignment_id)?,
                running: wire::hash("running", &message.running)?,
                state_root: wire::hash("state_root", &message.state_root)?,
                rules: message.rules,
                ..*claim.statement()
            }),
        };
        Ok(Self { claim, other, truth })
    }
}

/// What happened, for a person.
impl fmt::Display for Judgement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (culprit, said) = (self.culprit(), self.claim.statement());
        write!(
            f,
            "attestor {culprit} was wrong about position {}: it attested {}",
            said.position,
            Shown(said)
        )?;
        match &self.truth {
            Some(truth) => write!(f, ", and a replay here came to {}", Shown(truth))?,
            None => write!(f, ", and a replay here found no such position")?,
        }
        match &self.other {
            Some(other) if Some(other.statement()) == self.truth.as_ref() => {
                write!(f, ", as {} attested", other.attestor())
            }
            Some(other) => {
                write!(f, "; {} attested {}, which is wrong too", other.attestor(), Shown(other.statement()))
            }
            None => Ok(()),
        }
    }
}

/// What of a statement may be wrong.
struct Shown<'a>(&'a Statement);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Statement { running, state_root, .. } = self.0;
        write!(f, "outcome {running}")?;
        if *state_root != Hash::ZERO { write!(f, " with state root {state_root}") } else { Ok(()) }
    }
}

/// What kept evidence or a judgement says, for a person; else why it cannot be read.
pub fn describe(bytes: &Bytes, network: Network) -> String {
    let read = Evidence::decode(bytes, network).map(|read| read.claims().to_string());
    let read =
        read.or_else(|error| Judgement::decode(bytes, network).map_err(|_| error).map(|it| it.to_string()));
    read.unwrap_or_else(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::crypto::Signer;
    use crate::id::Id;
    use crate::position::Position;

    const NETWORK: Network = Network(7);

    fn said(seed: u8, running: u8) -> Attestation {
        let statement = Statement {
            network: NETWORK,
            process: Id([1; 32]),
            position: Position::slot(3),
            assignment: Id([2; 32]),
            running: Hash([running; 32]),
            state_root: Hash::ZERO,
            rules: 0,
        };
        statement.sign(&Signer::from_seed(&[seed; 32])).unwrap().0
    }

    #[test]
    fn it_reads_back_says_who_was_wrong_and_is_no_evidence_for_others() {
        let (liar, honest) = (said(1, 8), said(2, 7));
        let truth = Some(*honest.statement());
        let right = Judgement { claim: liar.clone(), other: Some(honest.clone()), truth };
        let alone = Judgement { claim: liar.clone(), other: None, truth: None };
        for judgement in [&right, &alone] {
            let bytes = Bytes::from(judgement.encode());
            assert_eq!(Judgement::decode(&bytes, NETWORK).as_ref(), Ok(judgement));
            assert!(Evidence::decode(&bytes, NETWORK).is_err());
            assert_eq!(judgement.culprit(), liar.attestor());
        }
        assert_ne!(right.name(), alone.name());
        let text = right.to_string();
        assert!(text.contains(&format!("attestor {} was wrong", liar.attestor())), "{text}");
        assert!(text.ends_with(&format!("as {} attested", honest.attestor())), "{text}");
        assert_eq!(describe(&right.encode().into(), NETWORK), text);
        assert!(alone.to_string().ends_with("no such position"));
    }
}
