//! What the messenger hears and what it asks for.

use std::collections::BTreeMap;

use weft_protocol::header::Header;
use weft_protocol::{Address, DataItem, Hash, Id, Now, Position, Verified};

/// Names one outbox entry everywhere.
pub type PushId = Hash;

/// Where an entry stands among those of its source: they are carried in this order.
pub type Place = (Position, u32);

/// Where an outbox entry stands and where it goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    /// Its push id.
    pub push_id: PushId,
    /// The process that sends it.
    pub source: Id,
    /// The evaluated position it comes from.
    pub position: Position,
    /// Its index in that position's outbox.
    pub index: u32,
    /// Where it goes first.
    pub to: To,
    /// When this messenger's turn is.
    pub turn: Turn,
}

impl Entry {
    /// Where it stands.
    pub const fn place(&self) -> Place {
        (self.position, self.index)
    }

    /// In whose log it is to end: the target's, or the source's own, which is told of its child.
    pub const fn log(&self) -> Id {
        match self.to {
            To::Process(target) => target,
            To::Scheduler(_) | To::Several(_) => self.source,
        }
    }
}

/// When a messenger's turn is to carry an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    /// By its rank among the offers that it knows then.
    Soft,
    /// At this rank, which the source's log gives it; of who has none, the first one after all that are paid.
    Hard(u8),
}

/// Where an outbox entry goes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum To {
    /// A message, or the assignment of an item, to this process.
    Process(Id),
    /// A spawn, to the scheduler of what it becomes; then the news of it to the source itself.
    Scheduler(Address),
    /// The assignment of an item to several processes: that of the entry at this place. One of
    /// them that is away must not hold up what else goes to the others, so it has no order.
    Several(Place),
}

impl std::fmt::Display for To {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Process(process) => write!(f, "process {process}"),
            Self::Scheduler(scheduler) => write!(f, "scheduler {scheduler}"),
            Self::Several(_) => f.write_str("several processes"),
        }
    }
}

/// What a spawn became, in its scheduler's words: it goes into the proof of `Spawned`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Born {
    /// The header of the child's Process item.
    pub header: Verified<Header>,
    /// The assignment of its slot 0.
    pub assignment: Verified<DataItem>,
}

impl Born {
    /// The child.
    pub fn child(&self) -> Id {
        self.header.id()
    }
}

/// What the messenger hears.
#[derive(Debug)]
pub enum Input {
    /// An outbox entry on disk that has no receipt yet.
    Pending {
        /// Which.
        entry: Entry,
        /// Failed tries so far.
        tries: u32,
    },
    /// Who offers to carry for a source process, in place of what was known.
    Offers {
        /// For which process.
        source: Id,
        /// Each messenger, and when its offer lapses, Unix milliseconds.
        offers: BTreeMap<Address, u64>,
    },
    /// The position is signed by a quorum of its attestors.
    Attested {
        /// Of which process.
        source: Id,
        /// Which position.
        position: Position,
    },
    /// A push of ours was answered.
    Pushed {
        /// Which.
        push_id: PushId,
        /// With what.
        outcome: PushOutcome,
    },
    /// Another messenger's receipt was seen and verified.
    Receipt {
        /// Of which push.
        push_id: PushId,
        /// The assignment in the target's log; of a spawn, that of `Spawned` in the source's.
        assignment: Id,
        /// Of a spawn, what it became.
        child: Option<Id>,
    },
    /// What [`Effect::TakeUp`] asked for.
    TakenUp {
        /// Of which process.
        source: Id,
        /// For which place; none for any.
        to: Option<To>,
        /// The entries found, in order, each with its failed tries.
        entries: Vec<(Entry, u32)>,
        /// The first that was not looked at.
        next: Option<Place>,
    },
    /// Whoever takes what this source sends there may be reachable again: no need to wait.
    Reachable {
        /// The source.
        source: Id,
        /// Where it goes.
        to: To,
    },
    /// A row could not be written.
    NotSaved(Effect),
    /// Carry for this process no longer.
    Drop {
        /// Which.
        source: Id,
    },
    /// Time passed.
    Tick,
}

/// How a push ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PushOutcome {
    /// The target's scheduler assigned it, now or before.
    Assigned {
        /// The target's assignment: the receipt.
        assignment: Id,
        /// How it came by it.
        how: How,
    },
    /// The scheduler gave the child slot 0, now or before; its parent is to be told.
    Born(Box<Born>),
    /// Come back later.
    Busy {
        /// After so many milliseconds.
        retry_ms: u64,
    },
    /// The target is unknown or unreachable now.
    Unreachable(String),
    /// The target's scheduler will never take it.
    Refused(String),
}

/// How a push came by its slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum How {
    /// This messenger's item was given it.
    Carried,
    /// It had it when this messenger handed its item in: the work was in vain.
    Duplicate,
    /// It had it when this messenger asked.
    Found,
}

impl PushOutcome {
    /// One word for it.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Assigned { how: How::Carried, .. } => "assigned",
            Self::Assigned { how: How::Duplicate, .. } => "duplicate",
            Self::Assigned { how: How::Found, .. } => "found",
            Self::Born(_) => "born",
            Self::Busy { .. } => "busy",
            Self::Unreachable(_) => "unreachable",
            Self::Refused(_) => "refused",
        }
    }
}

/// What the messenger asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// Build the proven item and submit it to the scheduler that it is for; answer with `Pushed`.
    Push(Entry),
    /// Build the proven `Spawned` message and submit it to the source's own scheduler; answer with
    /// `Pushed`.
    Tell {
        /// The spawn.
        entry: Entry,
        /// What it became.
        born: Box<Born>,
    },
    /// Ask the source's attestors for what they signed of this position.
    AskAttestations {
        /// Of which process.
        source: Id,
        /// Which position.
        position: Position,
    },
    /// Store the receipt; the row leaves the outbox with it. This and `GiveUp` are answered with
    /// `NotSaved` if they could not be stored.
    Settle {
        /// Which entry.
        entry: Entry,
        /// The receipt.
        assignment: Id,
        /// Whether this messenger carried it.
        ours: bool,
        /// Of a spawn, what it became.
        child: Option<Id>,
    },
    /// Store that a try failed.
    Retry {
        /// Which entry.
        entry: Entry,
        /// Failed tries so far.
        tries: u32,
        /// When to try again.
        at: Now,
        /// Why it failed.
        why: String,
    },
    /// Store that no more tries are made.
    GiveUp {
        /// Which entry.
        entry: Entry,
        /// Why.
        why: String,
        /// Whether the scheduler said that it never takes it.
        refused: bool,
    },
    /// Read entries without a receipt that were left on disk, from this one on, at most
    /// [`LANE_MAX`](super::LANE_MAX); answer with `TakenUp`.
    TakeUp {
        /// Of which process.
        source: Id,
        /// For which place; none for any.
        to: Option<To>,
        /// The first.
        from: Place,
    },
}
