//! Proven results: what a process answered, shown to somebody who did not compute it.
//!
//! Attestors sign the running outcome hash of the positions that send something, of boundaries, and of the
//! newest one when a process is quiet. So one quorum covers every result before it: from the result and O before
//! it follows O at it, and from the hashes of the outcomes behind it O at the position that was signed. The
//! assignment of its scheduler says which item the position evaluates.

use super::normalise::of_response;
use super::{Code, Outcome, Running};
use crate::assignment::Assignment;
use crate::attestation::{NoQuorum, Quorum};
use crate::data_item::DataItem;
use crate::id::{Address, Hash, Id};
use crate::js::{self, Value};
use crate::position::Position;
use crate::process::Process;
use crate::wire::{self, WireError};

/// Outcomes between a result and the position that was signed, in one proof: four stretches between boundaries
/// of a process without crons, 128 KiB.
pub const OUTCOMES_AFTER_MAX: usize = 4_096;

/// Why a result is not proven by what came with it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NoProof {
    /// Nothing came with it: nobody may have signed for it yet.
    #[error("no proof came with it")]
    Absent,
    /// A field is malformed.
    #[error(transparent)]
    Wire(#[from] WireError),
    /// Its scheduler did not give the item this slot.
    #[error("its assignment is not the scheduler's for this item and slot")]
    Assignment,
    /// It is not printed as results are, or does not have its code.
    #[error("it is no result of that code")]
    Result,
    /// What was signed does not follow from it.
    #[error("what its attestors signed does not follow from it")]
    Running,
    /// Not enough attestors signed.
    #[error(transparent)]
    Quorum(#[from] NoQuorum),
}

/// What a proof shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proven {
    /// Where the item was evaluated.
    pub position: Position,
    /// How that ended.
    pub code: Code,
    /// O at that position.
    pub running: Hash,
    /// Who signed for it.
    pub attestors: Vec<Address>,
}

/// Decides whether an answer shows what an item came to in a process: its Output, Error and Assignments, and
/// of its Messages and Spawns what others get of them. Not proven is what no outcome hashes: `GasUsed`, fields and
/// tags that a push leaves out, and what is in entries that go nowhere. That the item has this slot is its
/// scheduler's word.
///
/// # Errors
/// [`NoProof::Absent`] where none is given; else what a peer that is honest never gives.
pub fn verify(process: &Process, item: Id, answer: &wire::OutcomeResponse) -> Result<Proven, NoProof> {
    let proof = answer.proof.as_ref().ok_or(NoProof::Absent)?;
    let position = wire::position(answer.position.as_ref())?;
    let assignment = assigned(process, item, position, &proof.assignment).ok_or(NoProof::Assignment)?;
    let code = u8::try_from(answer.code).ok().and_then(Code::from_number).ok_or(WireError::Field("code"))?;
    let root = if proof.root.is_empty() { None } else { Some(wire::id("root", &proof.root)?) };
    let outcome = shown(position, code, &answer.result, root).ok_or(NoProof::Result)?;
    let outcome = Outcome { skipped: proof.skipped, ..outcome };
    let running = Running(wire::hash("before", &proof.before)?).then(&outcome.hash());
    let (after, rest) = proof.after.as_chunks::<32>();
    if !rest.is_empty() || after.len() > OUTCOMES_AFTER_MAX {
        return Err(WireError::Field("after").into());
    }
    let last = after.iter().fold(running, |running, hash| running.then(&Hash(*hash)));
    let quorum = Quorum::verify(process, &proof.attestations)?;
    let signed = quorum.statement();
    let is_of_it = if after.is_empty() {
        signed.position == position && signed.assignment == assignment
    } else {
        signed.position > position
    };
    if !is_of_it || signed.running != last.0 || running.0.0 != answer.running[..] {
        return Err(NoProof::Running);
    }
    Ok(Proven { position, code, running: running.0, attestors: quorum.attestors().collect() })
}

/// The assignment, if with it the scheduler gave the item this slot.
fn assigned(process: &Process, item: Id, position: Position, raw: &bytes::Bytes) -> Option<Id> {
    let signed = DataItem::verify_bytes(raw.clone()).ok()?;
    let assignment = Assignment::from_item(&signed).ok()?;
    let place = Position { epoch: assignment.epoch, slot: assignment.slot, tick: 0 };
    let is_its = assignment.process == process.id() && assignment.item() == item && place == position;
    (is_its && signed.owner() == process.scheduler()).then_some(assignment.id)
}

/// The outcome of a position that is shown like this, but for the ticks it skipped; none if no outcome of that
/// code is. A result is printed in one way, so reading it as what a module answered gives the same outcome again.
pub fn shown(position: Position, code: Code, result: &[u8], root: Option<Id>) -> Option<Outcome> {
    let read = js::parse(result).ok()?;
    let outcomes = [
        of_response(position, &read, root),
        Outcome::failed(position, code),
        Outcome::duplicate(position, number(&read, "Duplicate-Of").unwrap_or_default()),
    ];
    let gas = number(&read, "GasUsed");
    let is_it = |outcome: &Outcome| outcome.code == code && outcome.result_json(gas).as_bytes() == result;
    outcomes.into_iter().find(is_it)
}

fn number(result: &Value, name: &str) -> Option<u64> {
    match result.get(name)? {
        // What is no whole number is printed otherwise, and so is not what was given.
        Value::Number(number) => Some(*number as u64),
        _ => None,
    }
}
