//! What is shown to a ledger: the bytes of two logs that a leaf of a claim stands on.

use bytes::Bytes;
use prost::Message as _;

use super::claim::LeafPath;
use crate::id::Id;
use crate::wire::{self, ANSWER_BYTES_MAX, WireError, decode_canonical};

/// That a target accepted a push.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Carried {
    /// The raw origin proof item.
    pub proof: Bytes,
    /// The header of the pushed item.
    pub item: Bytes,
    /// The header of the target's Process item; empty for a spawn, where it is the pushed item's.
    pub target: Bytes,
    /// Canonical certificates of the target from epoch 0 to that of the assignment.
    pub certificates: Vec<Bytes>,
    /// The target's raw assignment of the push.
    pub assignment: Bytes,
}

impl Carried {
    fn from_wire(message: Option<wire::CarriedPush>) -> Result<Self, WireError> {
        let wire::CarriedPush { proof, item, target, certificates, assignment } =
            message.ok_or(WireError::Field("push"))?;
        Ok(Self { proof, item, target, certificates, assignment })
    }

    fn to_wire(&self) -> wire::CarriedPush {
        let Self { proof, item, target, certificates, assignment } = self.clone();
        wire::CarriedPush { proof, item, target, certificates, assignment }
    }
}

/// The answer to a challenge of a leaf; [`judge`](super::judge) says what it is worth.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The leaf.
    pub leaf: LeafPath,
    /// The leaf before it; none for leaf 0.
    pub previous: Option<LeafPath>,
    /// The push.
    pub push: Carried,
    /// The source's raw assignment of the position's slot.
    pub sent: Bytes,
    /// The source's raw assignment of the slot after it, for a tick: ticks are known with the slot
    /// that ends their time. Empty for any other position.
    pub revealed: Bytes,
    /// The raw item of the window's offer set.
    pub set: Bytes,
    /// Its raw assignment.
    pub set_assignment: Bytes,
    /// The ids of the source's assignments after the set's slot and before the position's, in order.
    pub between: Vec<Id>,
}

impl Answer {
    /// Reads the canonical bytes.
    ///
    /// # Errors
    /// Bytes that are not canonical or too many, and fields of a wrong length.
    pub fn decode(bytes: &Bytes) -> Result<Self, WireError> {
        let message: wire::ClaimAnswer = decode_canonical(bytes, ANSWER_BYTES_MAX)?;
        let (between, []) = message.between.as_chunks::<32>() else {
            return Err(WireError::Field("between"));
        };
        Ok(Self {
            leaf: path(message.leaf.as_ref())?,
            previous: message.previous.as_ref().map(LeafPath::from_wire).transpose()?,
            push: Carried::from_wire(message.push)?,
            sent: message.sent,
            revealed: message.revealed,
            set: message.set,
            set_assignment: message.set_assignment,
            between: between.iter().map(|id| Id(*id)).collect(),
        })
    }

    /// The canonical bytes.
    pub fn encode(&self) -> Vec<u8> {
        wire::ClaimAnswer {
            leaf: Some(self.leaf.to_wire()),
            previous: self.previous.as_ref().map(LeafPath::to_wire),
            push: Some(self.push.to_wire()),
            sent: self.sent.clone(),
            revealed: self.revealed.clone(),
            set: self.set.clone(),
            set_assignment: self.set_assignment.clone(),
            between: self.between.iter().flat_map(|id| id.0).collect::<Vec<u8>>().into(),
        }
        .encode_to_vec()
    }
}

/// That the push of a leaf stands at an earlier slot of its target; [`refute`](super::refute) says
/// whether it shows that.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Earlier {
    /// The leaf.
    pub leaf: LeafPath,
    /// The push at the earlier slot.
    pub push: Carried,
}

impl Earlier {
    /// Reads the canonical bytes.
    ///
    /// # Errors
    /// As [`Answer::decode`].
    pub fn decode(bytes: &Bytes) -> Result<Self, WireError> {
        let message: wire::EarlierPush = decode_canonical(bytes, ANSWER_BYTES_MAX)?;
        Ok(Self { leaf: path(message.leaf.as_ref())?, push: Carried::from_wire(message.push)? })
    }

    /// The canonical bytes.
    pub fn encode(&self) -> Vec<u8> {
        let (leaf, push) = (Some(self.leaf.to_wire()), Some(self.push.to_wire()));
        wire::EarlierPush { leaf, push }.encode_to_vec()
    }
}

fn path(message: Option<&wire::ClaimPath>) -> Result<LeafPath, WireError> {
    LeafPath::from_wire(message.ok_or(WireError::Field("leaf"))?)
}
