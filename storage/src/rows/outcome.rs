//! Outcomes, what they send, and who attests them.

use bytes::Bytes;
use weft_protocol::{Address, Hash, Id, Position};

use crate::record::{Decoder, Encoder, Record};

/// What evaluating one position gave (RULES.md 6.4).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutcomeRow {
    /// The evaluated item; none at a cron tick.
    pub item: Option<Id>,
    /// 0 for success, else why not.
    pub code: u8,
    /// What the outcome hashes beside the outbox root: an origin proof repeats it.
    pub core: Bytes,
    /// The hash of the outcome.
    pub outcome: Hash,
    /// The running hash O up to and including this position.
    pub running: Hash,
    /// The root of the outbox tree.
    pub outbox_root: Hash,
    /// Entries in the outbox, those over the limit of kept ones included.
    pub outbox_count: u32,
    /// The first position of the same item or push, when this one is a duplicate.
    pub duplicate_of: Option<Position>,
    /// Cron ticks that never run.
    pub skipped: u64,
    /// What the evaluation cost.
    pub gas: u64,
    /// The normalised result as compact JSON.
    pub result: Bytes,
    /// The state root, at boundaries.
    pub state_root: Option<Hash>,
    /// How long this node took, in microseconds. Local: a second evaluation keeps the first's.
    pub elapsed_us: u64,
}

impl OutcomeRow {
    /// Whether the result was pruned here. No evaluation has an empty one: it is a JSON object.
    pub const fn is_pruned(&self) -> bool {
        self.result.is_empty()
    }
}

impl Record for OutcomeRow {
    fn put(&self, out: &mut Encoder) {
        out.option(self.item.as_ref(), |out, id| out.name(&id.0));
        out.u8(self.code);
        out.bytes(&self.core);
        out.name(&self.outcome.0);
        out.name(&self.running.0);
        out.name(&self.outbox_root.0);
        out.u32(self.outbox_count);
        out.option(self.duplicate_of.as_ref(), |out, position| out.position(*position));
        out.u64(self.skipped);
        out.u64(self.gas);
        out.bytes(&self.result);
        out.option(self.state_root.as_ref(), |out, root| out.name(&root.0));
        out.u64(self.elapsed_us);
    }

    fn take(input: &mut Decoder) -> Option<Self> {
        Some(Self {
            item: input.option(Decoder::id)?,
            code: input.u8()?,
            core: input.bytes()?,
            outcome: input.hash()?,
            running: input.hash()?,
            outbox_root: input.hash()?,
            outbox_count: input.u32()?,
            duplicate_of: input.option(Decoder::position)?,
            skipped: input.u64()?,
            gas: input.u64()?,
            result: input.bytes()?,
            state_root: input.option(Decoder::hash)?,
            elapsed_us: input.u64()?,
        })
    }
}

/// A position that sent something, of a process that this node carries for and does not compute: what an origin
/// proof repeats of its outcome.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CarriedRow {
    /// What the outcome hashes beside the outbox root.
    pub core: Bytes,
    /// The running hash O before this position.
    pub before: Hash,
    /// The running hash O up to and including it.
    pub running: Hash,
    /// The state root that its attestors signed, at a boundary.
    pub state_root: Option<Hash>,
    /// Entries in the outbox, those over the limit of kept ones included.
    pub outbox_count: u32,
}

impl Record for CarriedRow {
    fn put(&self, out: &mut Encoder) {
        out.bytes(&self.core);
        out.name(&self.before.0);
        out.name(&self.running.0);
        out.option(self.state_root.as_ref(), |out, root| out.name(&root.0));
        out.u32(self.outbox_count);
    }

    fn take(input: &mut Decoder) -> Option<Self> {
        Some(Self {
            core: input.bytes()?,
            before: input.hash()?,
            running: input.hash()?,
            state_root: input.option(Decoder::hash)?,
            outbox_count: input.u32()?,
        })
    }
}

/// Names one outbox entry of one process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OutboxKey {
    /// The source.
    pub process: Id,
    /// Where it was sent.
    pub position: Position,
    /// Its place in the outbox.
    pub index: u32,
}

/// How far an outbox entry got.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OutboxState {
    /// Waits to be pushed.
    Pending,
    /// The target's scheduler assigned it. Final: no later write changes it.
    Settled {
        /// What proves it: the id of the assignment.
        receipt: Bytes,
    },
    /// Never sent: the entry breaks a rule and only keeps its index.
    Dropped {
        /// Which rule.
        why: String,
    },
    /// Pushing stopped by policy; it may be taken up again.
    GivenUp,
}

/// One outbox entry and its delivery.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutboxRow {
    /// Message, spawn or assignment: the kind byte of the entry.
    pub kind: u8,
    /// The entry as it is hashed.
    pub entry: Bytes,
    /// The root of its push chain; none for a tick's.
    pub root: Option<Id>,
    /// How far it got.
    pub state: OutboxState,
    /// Pushes tried.
    pub attempts: u32,
    /// When to try next, in milliseconds since the Unix epoch.
    pub next_try_ms: u64,
}

impl Record for OutboxRow {
    fn put(&self, out: &mut Encoder) {
        out.u8(self.kind);
        out.bytes(&self.entry);
        out.option(self.root.as_ref(), |out, id| out.name(&id.0));
        match &self.state {
            OutboxState::Pending => out.u8(0),
            OutboxState::Settled { receipt } => {
                out.u8(1);
                out.bytes(receipt);
            }
            OutboxState::Dropped { why } => {
                out.u8(2);
                out.bytes(why.as_bytes());
            }
            OutboxState::GivenUp => out.u8(3),
        }
        out.u32(self.attempts);
        out.u64(self.next_try_ms);
    }

    fn take(input: &mut Decoder) -> Option<Self> {
        Some(Self {
            kind: input.u8()?,
            entry: input.bytes()?,
            root: input.option(Decoder::id)?,
            state: match input.u8()? {
                0 => OutboxState::Pending,
                1 => OutboxState::Settled { receipt: input.bytes()? },
                2 => OutboxState::Dropped { why: input.text()? },
                3 => OutboxState::GivenUp,
                _ => return None,
            },
            attempts: input.u32()?,
            next_try_ms: input.u64()?,
        })
    }
}

/// One attestor's signature over one position.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AttestationRow {
    /// The hash of the signed bytes. A second attestation of the same statement is the same fact,
    /// whatever its signature; one of another statement is a [`Conflict`](crate::Conflict).
    pub statement: Hash,
    /// The attestation as it travels.
    pub bytes: Bytes,
}

impl Record for AttestationRow {
    fn put(&self, out: &mut Encoder) {
        out.name(&self.statement.0);
        out.bytes(&self.bytes);
    }

    fn take(input: &mut Decoder) -> Option<Self> {
        Some(Self { statement: input.hash()?, bytes: input.bytes()? })
    }
}

/// What convicts a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EvidenceRow {
    /// The key.
    pub culprit: Address,
    /// The evidence as it is named.
    pub bytes: Bytes,
}

impl Record for EvidenceRow {
    fn put(&self, out: &mut Encoder) {
        out.name(&self.culprit.0);
        out.bytes(&self.bytes);
    }

    fn take(input: &mut Decoder) -> Option<Self> {
        Some(Self { culprit: input.address()?, bytes: input.bytes()? })
    }
}
