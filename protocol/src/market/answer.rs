//! What is shown to a ledger: the bytes of two logs that a leaf of a claim stands on.

use bytes::Bytes;
use prost::Message as _;

use super::claim::{ClaimError, ClaimTree, LeafPath};
use crate::id::{Address, Id};
use crate::wire::{
    self, ANSWER_BYTES_MAX, EARLIER_BYTES_MAX, OPENING_BYTES_MAX, WireError, decode_canonical,
};

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
        Self::from_wire(decode_canonical(bytes, ANSWER_BYTES_MAX)?)
    }

    /// The canonical bytes.
    pub fn encode(&self) -> Vec<u8> {
        self.to_wire().encode_to_vec()
    }

    fn from_wire(message: wire::ClaimAnswer) -> Result<Self, WireError> {
        Ok(Self {
            leaf: path(message.leaf.as_ref())?,
            previous: message.previous.as_ref().map(LeafPath::from_wire).transpose()?,
            push: Carried::from_wire(message.push)?,
            sent: message.sent,
            revealed: message.revealed,
            set: message.set,
            set_assignment: message.set_assignment,
            between: ids(&message.between)?,
        })
    }

    fn to_wire(&self) -> wire::ClaimAnswer {
        wire::ClaimAnswer {
            leaf: Some(self.leaf.to_wire()),
            previous: self.previous.as_ref().map(LeafPath::to_wire),
            push: Some(self.push.to_wire()),
            sent: self.sent.clone(),
            revealed: self.revealed.clone(),
            set: self.set.clone(),
            set_assignment: self.set_assignment.clone(),
            between: id_bytes(&self.between),
        }
    }
}

/// What opens a claim at a ledger: its pushes, and at once the answer for the first of them, so that nobody claims a
/// window that there is not, or in which it carried nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Opening {
    /// The claim with its pushes.
    pub tree: ClaimTree,
    /// The answer to a challenge of leaf 0.
    pub shown: Answer,
}

/// Why bytes open no claim.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OpeningError {
    /// The bytes.
    #[error(transparent)]
    Wire(#[from] WireError),
    /// The pushes.
    #[error(transparent)]
    Claim(#[from] ClaimError),
}

impl Opening {
    /// Reads the canonical bytes of a claim of this messenger for a window of this source.
    ///
    /// # Errors
    /// Bytes that are not canonical or too many, fields of a wrong length, and what
    /// [`ClaimTree::decode`] does not take.
    pub fn decode(messenger: Address, source: Id, window: u64, bytes: &Bytes) -> Result<Self, OpeningError> {
        let message: wire::ClaimOpening = decode_canonical(bytes, OPENING_BYTES_MAX)?;
        let tree = ClaimTree::decode(messenger, source, window, &message.pushes)?;
        let shown = Answer::from_wire(message.shown.ok_or(WireError::Field("shown"))?)?;
        Ok(Self { tree, shown })
    }

    /// The canonical bytes.
    pub fn encode(&self) -> Vec<u8> {
        let (pushes, shown) = (self.tree.encode().into(), Some(self.shown.to_wire()));
        wire::ClaimOpening { pushes, shown }.encode_to_vec()
    }
}

/// That the push of a leaf stands at an earlier slot of the log that its receipt is of;
/// [`refute`](super::refute) says whether it shows that.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Earlier {
    /// The leaf.
    pub leaf: LeafPath,
    /// The push at the earlier slot. Its certificates lead to the receipt's epoch.
    pub push: Carried,
    /// The raw assignment that the leaf names.
    pub receipt: Bytes,
    /// The ids of the target's assignments after the earlier slot and before the receipt's, in order.
    pub between: Vec<Id>,
}

impl Earlier {
    /// Reads the canonical bytes.
    ///
    /// # Errors
    /// As [`Answer::decode`].
    pub fn decode(bytes: &Bytes) -> Result<Self, WireError> {
        let message: wire::EarlierPush = decode_canonical(bytes, EARLIER_BYTES_MAX)?;
        Ok(Self {
            leaf: path(message.leaf.as_ref())?,
            push: Carried::from_wire(message.push)?,
            receipt: message.receipt,
            between: ids(&message.between)?,
        })
    }

    /// The canonical bytes.
    pub fn encode(&self) -> Vec<u8> {
        let (leaf, push) = (Some(self.leaf.to_wire()), Some(self.push.to_wire()));
        let (receipt, between) = (self.receipt.clone(), id_bytes(&self.between));
        wire::EarlierPush { leaf, push, receipt, between }.encode_to_vec()
    }
}

fn path(message: Option<&wire::ClaimPath>) -> Result<LeafPath, WireError> {
    LeafPath::from_wire(message.ok_or(WireError::Field("leaf"))?)
}

fn ids(bytes: &[u8]) -> Result<Vec<Id>, WireError> {
    let (ids, []) = bytes.as_chunks::<32>() else { return Err(WireError::Field("between")) };
    Ok(ids.iter().map(|id| Id(*id)).collect())
}

fn id_bytes(ids: &[Id]) -> Bytes {
    ids.iter().flat_map(|id| id.0).collect::<Vec<u8>>().into()
}
