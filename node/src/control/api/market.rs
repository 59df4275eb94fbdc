//! The market of messengers.

use serde::{Deserialize, Serialize};
use weft_protocol::{Address, Hash, Id};

/// What a client asks of it.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "market", rename_all = "kebab-case", deny_unknown_fields)]
pub enum MarketRequest {
    /// Who offers to carry pushes, as far as this node heard: `[OfferInfo]`, this node's own first.
    Offers,
    /// In which order messengers carry a push of a process that this node follows: [`RankInfo`].
    Rank {
        /// The process that sends it.
        process: Id,
        /// Which push; the first of the next slot if absent.
        #[serde(default)]
        push: Option<PushName>,
    },
    /// What messengers of a process in hard mode carried, and what they are due: [`AuditInfo`].
    Audit {
        /// The process that sends; this node must evaluate it.
        process: Id,
        /// Which window; the newest few if absent.
        #[serde(default)]
        window: Option<u64>,
    },
    /// What this node earned as a messenger: [`EarningsInfo`].
    Earnings {
        /// At this ledger; at all if absent.
        #[serde(default)]
        ledger: Option<Id>,
    },
}

/// A push by where it is sent from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct PushName {
    /// The slot that sends it.
    pub slot: u64,
    /// The cron tick after it that does; 0 is the slot's own item.
    #[serde(default)]
    pub tick: u32,
    /// Its index in the outbox.
    pub index: u32,
}

/// An offer to carry.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct OfferInfo {
    pub messenger: Address,
    /// Whether it is this node's.
    pub own: bool,
    /// In the smallest unit of the process that settles it.
    pub price_per_push: u64,
    /// For each started KiB of data.
    pub price_per_kib: u64,
    pub max_kib: u32,
    pub capacity_per_s: u32,
    /// The median of its own last pushes, as it says; none before it timed one.
    pub latency_p50_ms: Option<u32>,
    /// For how long it still holds.
    pub lasts_ms: u64,
    /// Its bond in the first ledger that was read of the processes it offers for; none where none was.
    pub bond: Option<u64>,
    /// The lobby shards of the processes that it carries for.
    pub shards: Vec<u16>,
    /// The processes on whose topics this node heard it.
    pub processes: Vec<Id>,
}

/// The order in which a push is carried.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct RankInfo {
    pub process: Id,
    pub push: PushName,
    pub push_id: Hash,
    /// `soft`: by the offers that this node knows, and nobody is paid. `hard`: by those in the log, where every node
    /// comes to the same.
    pub mode: String,
    /// In hard mode the window that the slot is in, and the seed of its draws.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub window: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seed: Option<Hash>,
    /// How long each rank waits for the one before it.
    pub turn_ms: u64,
    pub ranks: Vec<RankRow>,
    /// Why the order is this one.
    pub why: String,
}

/// One messenger's place.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct RankRow {
    pub rank: usize,
    pub messenger: Address,
    pub own: bool,
    /// When its turn begins, after the slot was computed and attested.
    pub turn_ms: u64,
    /// In hard mode what it is due if it carries the push in its turn; none for ranks that are not paid.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub due: Option<u64>,
    pub why: String,
}

/// What was carried for a process in hard mode, from its log and those of its targets.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct AuditInfo {
    pub process: Id,
    /// The process that settles it.
    pub ledger: Option<Id>,
    /// The newest slot here, and the newest that is evaluated here.
    pub head: u64,
    pub computed: u64,
    pub windows: Vec<WindowAudit>,
}

/// One window of 256 slots.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct WindowAudit {
    pub window: u64,
    /// The slot that holds its offers.
    pub set_slot: u64,
    /// The seed of its draws; none where nobody is ranked and paid.
    pub seed: Option<Hash>,
    pub offers: usize,
    /// Messages that were sent to processes.
    pub pushes: u64,
    /// Those of them of which no slot is known here.
    pub unknown: u64,
    /// Those that somebody without an offer for them carried, for nothing.
    pub outside: u64,
    pub messengers: Vec<CarrierRow>,
    /// What cannot be known here, and why.
    pub notes: Vec<String>,
}

/// One messenger in a window.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct CarrierRow {
    pub messenger: Address,
    /// Pushes that were its to carry first.
    pub first: u64,
    /// Pushes that it carried and is paid for.
    pub paid: u64,
    /// Those of them that were another's first.
    pub taken_over: u64,
    /// Pushes that it carried before its turn, for nothing.
    pub early: u64,
    /// Pushes that it carried at a rank that is not paid.
    pub late: u64,
    /// What it is due, in the ledger's smallest unit: digits, as it may be larger than a number of JSON.
    pub due: String,
}

/// What this node earned by carrying pushes.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct EarningsInfo {
    pub messenger: Address,
    pub ledgers: Vec<LedgerEarnings>,
}

/// What this node earned at one ledger. Amounts are texts, in the ledger's smallest unit.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct LedgerEarnings {
    pub ledger: Id,
    /// Whether the ledger is computed here; else what it says is taken as a quorum of its attestors signed it.
    pub computed_here: bool,
    /// Of one that is not computed here, the slot up to which it was heard; claims wait until it is.
    pub heard_to: Option<u64>,
    /// Carried in windows that are not over.
    pub running: String,
    /// Carried in windows that are over, and not claimed yet.
    pub claimable: String,
    /// In claims that wait for their time.
    pub claimed: String,
    /// Of that, in claims with a challenge that is not answered.
    pub challenged: String,
    pub paid: String,
    /// In claims that a challenge took.
    pub lost: String,
    /// What this node has there: as the ledger is computed here, else as much as a quorum of its attestors says.
    pub balance: Option<String>,
    pub bond: Option<String>,
    /// Of the bond, what claims lock.
    pub locked: Option<String>,
    /// What is being unbonded.
    pub leaving: Option<String>,
    /// A hundred claims at most: those that the ledger has not answered or holds open first, then those that are over.
    pub claims: Vec<ClaimInfo>,
    /// What keeps money away.
    pub notes: Vec<String>,
}

/// A claim of this node.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct ClaimInfo {
    pub source: Id,
    pub window: u64,
    pub number: u32,
    pub sum: String,
    /// `made`, `open`, `refused`, `paid` or `lost`.
    pub state: String,
    /// Of an open one the slot and the time of the ledger at which it is paid if nobody challenges it.
    pub due: Option<u64>,
    pub due_ms: Option<u64>,
    /// Challenges that are not answered.
    pub challenges: usize,
    /// Why it was refused.
    pub why: Option<String>,
}
