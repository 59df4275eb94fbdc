//! What the scheduler hears and what it asks for.

use bytes::Bytes;
use weft_protocol::assignment::Excluded;
use weft_protocol::cron::Schedule;
use weft_protocol::market::{Entry, Market};
use weft_protocol::seen::SeenKeys;
use weft_protocol::time::TimePoint;
use weft_protocol::{DataItem, Hash, Id, Verified};
use weft_storage::Roles;

/// Names one submit until its reply.
pub type Ticket = u64;

/// What the scheduler hears.
#[derive(Debug)]
pub enum Input {
    /// The end of a log, read from disk.
    Recover(Box<Recovered>),
    /// A log could not be read.
    Unreadable {
        /// Which.
        process: Id,
        /// What the disk said.
        why: String,
    },
    /// An item, verified and allowed by policy, that wants a slot.
    Submit {
        /// Names the reply.
        ticket: Ticket,
        /// The item and what was found out about it.
        submission: Box<Submission>,
    },
    /// What [`Effect::Look`] asked for.
    Looked {
        /// The submit, as it was given.
        look: Look,
        /// What the disk says of it.
        found: Found,
    },
    /// A reader wants this log as of now: where a tick is due, time passes first (RULES.md 6.6).
    Now {
        /// Names the reply.
        ticket: Ticket,
        /// Which log.
        process: Id,
    },
    /// The offers to carry for a process in hard mode that are known now: given where
    /// [`wants_offers`](super::Scheduler::wants_offers) says so, before what may be given a slot.
    Offers {
        /// Which process.
        process: Id,
        /// Each with what is known of its messenger.
        offers: Vec<Entry>,
    },
    /// Every slot up to and including this one is on disk.
    Persisted {
        /// Of which process.
        process: Id,
        /// The newest one.
        slot: u64,
    },
    /// The disk refused. What it holds now is known only after reading it again.
    PersistFailed {
        /// Of which process.
        process: Id,
        /// What those are told who wait for it.
        answer: Answer,
    },
}

/// The end of a log as it stands on disk.
#[derive(Debug)]
pub struct Recovered {
    /// Which process.
    pub process: Id,
    /// Its newest slot; none when it has none.
    pub head: Option<Head>,
    /// What falls due in it as time passes.
    pub schedule: Option<Schedule>,
    /// Of a process in hard mode its market.
    pub market: Option<Market>,
    /// As in [`Input::Offers`], where the next slot holds them.
    pub offers: Vec<Entry>,
    /// More may have been signed than the disk has: nothing is signed before it is read again.
    pub cautious: bool,
}

/// A submit that is looked up.
#[derive(Debug, Clone)]
pub struct Look {
    /// Names the reply.
    pub ticket: Ticket,
    /// The item.
    pub submission: Box<Submission>,
    /// How many commits had ended when it was asked for.
    pub(super) commits: u64,
}

/// What the disk says of a submit.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Found {
    /// Of the submission's keys those that stand in its log, each with its slot.
    pub keys: Vec<(Hash, Stored)>,
    /// The child that the submission's spawn has, with its slot 0.
    pub child: Option<(Id, Stored)>,
}

/// A slot on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stored {
    /// Its number.
    pub slot: u64,
    /// Its assignment.
    pub assignment: Id,
}

/// The end of a log, enough to build the next slot on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    /// The scheduler's term.
    pub epoch: u64,
    /// The newest slot.
    pub slot: u64,
    /// The id of its assignment.
    pub assignment: Id,
    /// Its hash chain.
    pub chain: Hash,
    /// Its timestamp and height.
    pub time: TimePoint,
}

/// An item that wants a slot.
#[derive(Debug, Clone)]
pub struct Submission {
    /// The log it is for: the item's own id for a Process item, else its target.
    pub process: Id,
    /// The item.
    pub item: Verified<DataItem>,
    /// Its origin proof, if it names one and that one is valid.
    pub proof: Option<Verified<DataItem>>,
    /// The keys under which it counts: RULES.md 6.3.
    pub keys: SeenKeys,
    /// Of a Process item that a process spawned, the push id of that spawn: RULES.md 6.9.
    pub spawn: Option<Hash>,
    /// Of an existing item that is assigned, what the module must not see; none for an item that is
    /// for this log by itself.
    pub assigned: Option<Vec<Excluded>>,
    /// Of a Process item, what this node does for it once it has slot 0.
    pub roles: Option<Roles>,
}

impl Submission {
    /// An item that speaks for itself: for this log, without proof, known again by its own id.
    pub fn plain(process: Id, item: Verified<DataItem>) -> Self {
        let keys = SeenKeys::of_item(item.id());
        Self { process, item, proof: None, keys, spawn: None, assigned: None, roles: None }
    }
}

/// A slot, signed, on its way to disk.
#[derive(Debug, Clone)]
pub struct NewSlot {
    /// In which log.
    pub process: Id,
    /// The end of the log with this slot in it.
    pub head: Head,
    /// The signed assignment.
    pub assignment: Verified<DataItem>,
    /// The item it names.
    pub item: Verified<DataItem>,
    /// The item's origin proof.
    pub proof: Option<Verified<DataItem>>,
    /// The seen keys that this slot adds, in order.
    pub keys: Vec<Hash>,
    /// Of a child's slot 0, the push id of its spawn.
    pub spawn: Option<Hash>,
    /// Of slot 0, what this node does for the process.
    pub roles: Option<Roles>,
}

/// What the scheduler asks for.
#[derive(Debug)]
pub enum Effect {
    /// Commit this slot; answer with `Persisted` or `PersistFailed`. In order, per process, and only
    /// after the slots before it are on disk: once one failed, those of its process that wait are
    /// answered, and must not be committed any more.
    Persist(Box<NewSlot>),
    /// Answer a submit.
    Reply {
        /// Which.
        ticket: Ticket,
        /// With what.
        answer: Answer,
    },
    /// Announce a durable slot on the process topic.
    Publish(Box<NewSlot>),
    /// Read the end of this log from disk; answer with `Recover` or `Unreadable`.
    Reload {
        /// Which.
        process: Id,
    },
    /// Read what the disk says of this submit; answer with `Looked`, or answer the submit if that
    /// fails. Best done before the next commit: what is read before one and given after it is read
    /// again.
    Look(Look),
}

/// The answer to a submit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// The item has this slot, durably; to `Now`, this is the newest slot.
    Assigned {
        /// The log: of a second item of one spawn, that of the first child.
        process: Id,
        /// The slot.
        slot: u64,
        /// Its assignment.
        assignment: Id,
        /// The raw assignment, unless it was on disk before this submit.
        signed: Option<Bytes>,
        /// The slot was there before.
        duplicate: bool,
    },
    /// Too many slots wait for the disk.
    Busy {
        /// Come back after so many milliseconds.
        retry_ms: u64,
    },
    /// No slot was ever assigned in this log, and the item is not its Process item.
    UnknownProcess,
    /// This node may have signed more than its disk still has, and signs nothing until that is back.
    Cautious,
    /// There is no room on the disk; the item has no slot.
    Full,
    /// The disk refused; the item has no slot.
    Fault(String),
}

impl Answer {
    /// One word for it.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Assigned { duplicate: false, .. } => "assigned",
            Self::Assigned { duplicate: true, .. } => "duplicate",
            Self::Busy { .. } => "busy",
            Self::UnknownProcess => "unknown",
            Self::Cautious => "cautious",
            Self::Full => "full",
            Self::Fault(_) => "fault",
        }
    }
}
