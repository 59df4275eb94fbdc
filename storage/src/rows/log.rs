//! Processes, slots and the seen list.

use bytes::Bytes;
use weft_protocol::assignment::Assignment;
use weft_protocol::record::VerifiedRecord;
use weft_protocol::{Hash, Id, Position};

use crate::record::{Decoder, Encoder, Record};

/// What this node does for a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Roles {
    /// Assigns its slots.
    pub schedules: bool,
    /// Evaluates its log.
    pub computes: bool,
    /// Pushes its outbox.
    pub messenges: bool,
    /// Follows and serves its log.
    pub watches: bool,
    /// Asks for marks when its ticks are due.
    pub keeps_time: bool,
    /// Keeps it whole: in memory when others have to leave, on disk when others are pruned.
    pub pinned: bool,
    /// Evaluates only what somebody asks for.
    pub on_demand: bool,
    /// It is somebody else's and came here unasked: it counts in the budgets for others.
    pub for_others: bool,
}

impl Roles {
    const fn bits(self) -> u8 {
        self.schedules as u8
            | (self.computes as u8) << 1
            | (self.messenges as u8) << 2
            | (self.watches as u8) << 3
            | (self.keeps_time as u8) << 4
            | (self.pinned as u8) << 5
            | (self.on_demand as u8) << 6
            | (self.for_others as u8) << 7
    }

    const fn from_bits(bits: u8) -> Self {
        Self {
            schedules: bits & 1 != 0,
            computes: bits & 2 != 0,
            messenges: bits & 4 != 0,
            watches: bits & 8 != 0,
            keeps_time: bits & 16 != 0,
            pinned: bits & 32 != 0,
            on_demand: bits & 64 != 0,
            for_others: bits & 128 != 0,
        }
    }
}

/// A process this node knows. Its Process item lies with the items, under the process id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProcessRow {
    /// The Module item.
    pub module: Id,
    /// What this node does for it.
    pub roles: Roles,
}

impl Record for ProcessRow {
    fn put(&self, out: &mut Encoder) {
        out.name(&self.module.0);
        out.u8(self.roles.bits());
    }

    fn take(input: &mut Decoder) -> Option<Self> {
        Some(Self { module: input.id()?, roles: Roles::from_bits(input.u8()?) })
    }
}

/// One slot of a log: the signed assignment and what it commits to. The item and the proof lie
/// with the items.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SlotRow {
    /// The scheduler's term.
    pub epoch: u64,
    /// The id of the assignment.
    pub assignment_id: Id,
    /// The raw assignment item.
    pub assignment: Bytes,
    /// The assigned item.
    pub item: Id,
    /// The origin proof that the item names.
    pub proof: Option<Id>,
    /// The chain hash of the slot.
    pub chain: Hash,
    /// Milliseconds since the Unix epoch.
    pub timestamp: u64,
    /// The height of the process's weave.
    pub block_height: u64,
}

impl SlotRow {
    /// The row of a verified record.
    pub fn of(record: &VerifiedRecord) -> Self {
        let Assignment { id, epoch, hash_chain, time, .. } = record.assignment();
        Self {
            epoch: *epoch,
            assignment_id: *id,
            assignment: record.assignment_item().raw().clone(),
            item: record.assignment().item(),
            proof: record.proof().map(|proof| proof.id()),
            chain: *hash_chain,
            timestamp: time.timestamp,
            block_height: time.height,
        }
    }
}

impl Record for SlotRow {
    fn put(&self, out: &mut Encoder) {
        out.u64(self.epoch);
        out.name(&self.assignment_id.0);
        out.bytes(&self.assignment);
        out.name(&self.item.0);
        out.option(self.proof.as_ref(), |out, id| out.name(&id.0));
        out.name(&self.chain.0);
        out.u64(self.timestamp);
        out.u64(self.block_height);
    }

    fn take(input: &mut Decoder) -> Option<Self> {
        Some(Self {
            epoch: input.u64()?,
            assignment_id: input.id()?,
            assignment: input.bytes()?,
            item: input.id()?,
            proof: input.option(Decoder::id)?,
            chain: input.hash()?,
            timestamp: input.u64()?,
            block_height: input.u64()?,
        })
    }
}

/// One entry of a process's seen list (RULES.md 6.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SeenKey {
    /// The key.
    pub key: Hash,
    /// The position that holds it.
    pub position: Position,
}

impl Record for SeenKey {
    fn put(&self, out: &mut Encoder) {
        out.name(&self.key.0);
        out.position(self.position);
    }

    fn take(input: &mut Decoder) -> Option<Self> {
        Some(Self { key: input.hash()?, position: input.position()? })
    }
}
