//! A node that lies: its machines are honest, and what leaves it is not always what they said.
//!
//! Every fourth seed has one, beginning with 3. Its lies are told to the peers with odd numbers only, so that the
//! others learn of them from each other.

use weft_protocol::assignment::{Assignment, AssignmentDraft};
use weft_protocol::attestation::Attestation;
use weft_protocol::crypto::Signer;
use weft_protocol::time::TimePoint;
use weft_protocol::{DataItem, Hash, Verified};

use super::network::Message;
use super::town::NETWORK;

/// One of so many seeds, the last of them, has a liar.
const EVERY: u64 = 4;
/// How much later the other version of a slot claims to be, in milliseconds.
const LATER_MS: u64 = 1;

/// About what it lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lie {
    /// As an attestor, about outcomes.
    Outcomes,
    /// As a scheduler, about slots.
    Slots,
}

/// A liar.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Liar {
    /// Which node.
    pub node: usize,
    /// About what.
    pub lie: Lie,
}

impl Liar {
    /// The liar of a seed, if it has one. Not drawn from the run's chance, which stays as it is.
    pub const fn of(seed: u64, nodes: usize) -> Option<Self> {
        if seed % EVERY != EVERY - 1 {
            return None;
        }
        let number = seed / EVERY;
        let lie = if number.is_multiple_of(2) { Lie::Outcomes } else { Lie::Slots };
        Some(Self { node: (number / 2) as usize % nodes, lie })
    }

    /// What a peer is told instead of the truth, if it is lied to.
    pub fn twist(self, to: usize, key: &Signer, message: &Message) -> Option<Message> {
        if to.is_multiple_of(2) {
            return None;
        }
        match (self.lie, message) {
            (Lie::Outcomes, Message::Attestation(said)) => {
                let said = Attestation::from_wire(said, NETWORK).ok()?.verify().ok()?;
                // What others signed it cannot change.
                (said.attestor() == key.address()).then_some(())?;
                Some(Message::Attestation(other_outcome(&said, key)?.to_wire()))
            }
            (Lie::Slots, Message::Slot(record)) => {
                let signed = DataItem::verify_bytes(record.assignment.clone()).ok()?;
                let assignment = other_slot(&signed, key)?;
                Some(Message::Slot(weft_protocol::wire::SlotRecord { assignment, ..record.clone() }))
            }
            _ => None,
        }
    }
}

fn other_outcome(said: &Verified<Attestation>, key: &Signer) -> Option<Verified<Attestation>> {
    let mut statement = *said.statement();
    statement.running = Hash(statement.running.0.map(|byte| !byte));
    statement.sign(key).ok()
}

/// The slot once more, a moment later. Slot 0 is left alone: without it there is no process.
fn other_slot(signed: &DataItem, key: &Signer) -> Option<bytes::Bytes> {
    let Assignment { process, epoch, slot, hash_chain, time, message, excludes, .. } =
        Assignment::from_item(signed).ok()?;
    if slot == 0 || signed.owner() != key.address() {
        return None;
    }
    let time = TimePoint { timestamp: time.timestamp + LATER_MS, ..time };
    let network = NETWORK;
    let draft = AssignmentDraft { network, process, epoch, slot, hash_chain, time, message, excludes };
    Some(draft.draft().sign(key).ok()?.raw().clone())
}
