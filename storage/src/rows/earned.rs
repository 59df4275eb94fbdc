//! What this node carried for pay, and what it claims for it.

use bytes::Bytes;
use weft_protocol::{Hash, Id};

use crate::record::{Decoder, Encoder, Record};

/// A push of a process in hard mode that this node carried in its turn.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EarnedRow {
    /// The ledger that pays it.
    pub ledger: Id,
    /// The process that took it.
    pub target: Id,
    /// Its slot there.
    pub slot: u64,
    /// The assignment of that slot.
    pub accepted: Id,
    /// What it is due, in the ledger's smallest unit.
    pub amount: u64,
    /// BLAKE3 of the bytes that show it: their name among the blobs.
    pub shown: Hash,
    /// The number of the claim that it is part of; none while it waits for one.
    pub claim: Option<u32>,
    /// When to claim it, in milliseconds since the Unix epoch.
    pub next_try_ms: u64,
}

impl Record for EarnedRow {
    fn put(&self, out: &mut Encoder) {
        out.name(&self.ledger.0);
        out.name(&self.target.0);
        out.u64(self.slot);
        out.name(&self.accepted.0);
        out.u64(self.amount);
        out.name(&self.shown.0);
        out.option(self.claim.as_ref(), |out, claim| out.u32(*claim));
        out.u64(self.next_try_ms);
    }

    fn take(input: &mut Decoder) -> Option<Self> {
        Some(Self {
            ledger: input.id()?,
            target: input.id()?,
            slot: input.u64()?,
            accepted: input.id()?,
            amount: input.u64()?,
            shown: input.hash()?,
            claim: input.option(Decoder::u32)?,
            next_try_ms: input.u64()?,
        })
    }
}

/// Names one claim of this node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClaimKey {
    /// Whose pushes were carried.
    pub source: Id,
    /// In which window of its slots.
    pub window: u64,
    /// A window may be claimed again for what came late.
    pub number: u32,
}

/// How far a claim got.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ClaimState {
    /// The ledger has not answered it yet.
    Made,
    /// The ledger holds it open to challenges.
    Open {
        /// The ledger's slot at which it is paid at the soonest.
        due: u64,
        /// The time of the ledger from which it is paid, in milliseconds since the Unix epoch.
        due_ms: u64,
    },
    /// The ledger did not take it. What it claimed is claimed anew.
    Refused {
        /// Why not.
        why: String,
    },
    /// It was paid.
    Paid,
    /// A challenge took it, and the bond with it.
    Lost,
}

/// A leaf of a claim that somebody challenged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChallengeRow {
    /// Its number.
    pub leaf: u32,
    /// The ledger's slot up to which it can be answered, and is whatever its time.
    pub due: u64,
    /// The time up to which it can be answered whatever its slot, in milliseconds since the Unix epoch.
    pub due_ms: u64,
    /// Whether the ledger took an answer.
    pub answered: bool,
    /// Answers sent.
    pub tries: u32,
    /// When to send the next, in milliseconds since the Unix epoch.
    pub next_try_ms: u64,
}

/// A claim of this node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClaimRow {
    /// The ledger.
    pub ledger: Id,
    /// What it claims, as the ledger was shown it; empty once it is over.
    pub pushes: Bytes,
    /// What they come to; less what was struck.
    pub sum: u64,
    /// How far it got.
    pub state: ClaimState,
    /// Messages sent for it.
    pub tries: u32,
    /// When to send it again, in milliseconds since the Unix epoch.
    pub next_try_ms: u64,
    /// Its challenges, by leaf.
    pub challenges: Vec<ChallengeRow>,
}

impl Record for ClaimRow {
    fn put(&self, out: &mut Encoder) {
        out.name(&self.ledger.0);
        out.bytes(&self.pushes);
        out.u64(self.sum);
        match &self.state {
            ClaimState::Made => out.u8(0),
            ClaimState::Open { due, due_ms } => {
                out.u8(1);
                out.u64(*due);
                out.u64(*due_ms);
            }
            ClaimState::Refused { why } => {
                out.u8(2);
                out.bytes(why.as_bytes());
            }
            ClaimState::Paid => out.u8(3),
            ClaimState::Lost => out.u8(4),
        }
        out.u32(self.tries);
        out.u64(self.next_try_ms);
        out.u32(u32::try_from(self.challenges.len()).unwrap_or(u32::MAX));
        for challenge in &self.challenges {
            out.u32(challenge.leaf);
            out.u64(challenge.due);
            out.u64(challenge.due_ms);
            out.u8(u8::from(challenge.answered));
            out.u32(challenge.tries);
            out.u64(challenge.next_try_ms);
        }
    }

    fn take(input: &mut Decoder) -> Option<Self> {
        Some(Self {
            ledger: input.id()?,
            pushes: input.bytes()?,
            sum: input.u64()?,
            state: match input.u8()? {
                0 => ClaimState::Made,
                1 => ClaimState::Open { due: input.u64()?, due_ms: input.u64()? },
                2 => ClaimState::Refused { why: input.text()? },
                3 => ClaimState::Paid,
                4 => ClaimState::Lost,
                _ => return None,
            },
            tries: input.u32()?,
            next_try_ms: input.u64()?,
            challenges: {
                const BYTES: usize = 4 + 8 + 8 + 1 + 4 + 8;
                let count = usize::try_from(input.u32()?).ok()?;
                input.list(count, BYTES, ChallengeRow::take)?
            },
        })
    }
}

impl ChallengeRow {
    fn take(input: &mut Decoder) -> Option<Self> {
        Some(Self {
            leaf: input.u32()?,
            due: input.u64()?,
            due_ms: input.u64()?,
            answered: match input.u8()? {
                0 => false,
                1 => true,
                _ => return None,
            },
            tries: input.u32()?,
            next_try_ms: input.u64()?,
        })
    }
}
