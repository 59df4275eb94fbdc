//! What goes to a weave, and what that costs.

use serde::{Deserialize, Serialize};
use weft_protocol::{Address, Hash, Id};

/// What a client asks.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "anchor", rename_all = "kebab-case", deny_unknown_fields)]
pub enum AnchorRequest {
    /// Where batches go, what is on its way, what was spent: [`AnchorInfo`].
    Status,
    /// Where the scheduler of a process says that slots of it lie: a list of [`PlaceInfo`].
    Heard {
        /// Which process.
        process: Id,
    },
    /// What it would cost to anchor what waits, now: [`Estimate`].
    Estimate,
    /// Make batches of whatever waits and post them, now: [`AnchorInfo`] once no slot waits for a batch.
    Flush,
}

/// Where batches go.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct AnchorInfo {
    /// `local`, `arweave` or `bundler`.
    pub backend: String,
    pub weave: String,
    /// Slots of logs that this node schedules which are in no batch.
    pub waiting_slots: u64,
    /// Batches that are in no final block.
    pub open_batches: u64,
    /// The wallet that pays, if one does.
    pub wallet: Option<Address>,
    /// What it has in winston, as a quorum of gateways says.
    pub balance: Option<u64>,
    /// Signed for today (UTC), in winston.
    pub spent_today: u64,
    pub day_limit: Option<u64>,
    /// Signed for in all postings that are on disk, in winston.
    pub spent: u64,
    pub gateways: Vec<GatewayInfo>,
    /// The newest last: those on their way, and up to 100 that are final.
    pub postings: Vec<PostingInfo>,
}

/// A gateway.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct GatewayInfo {
    pub address: String,
    /// The weave that it says to be of; none where it does not answer.
    pub network: Option<String>,
    pub height: Option<u64>,
}

/// A posting: one transaction for several batches.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct PostingInfo {
    pub data_root: Hash,
    /// `built`, `signed`, `mined` or `final`.
    pub state: String,
    /// The transaction, or the item that a bundler was given.
    pub id: Option<Id>,
    pub batches: u32,
    pub items: u32,
    pub bytes: u64,
    /// The fees of all transactions that were signed for it.
    pub winston: u64,
    /// How many those are.
    pub signed: u32,
    /// The height of its block.
    pub block: Option<u64>,
    pub confirmations: Option<u64>,
    /// Why it does not go on.
    pub trouble: Option<String>,
    /// What a bundler promised.
    pub receipt: Option<String>,
}

/// What anchoring what waits would cost.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct Estimate {
    pub slots: u64,
    pub items: u64,
    /// Of the bundle.
    pub bytes: u64,
    /// Of the bundle beside its items.
    pub overhead_bytes: u64,
    pub transactions: u64,
    /// What gateways ask, in winston; none where none is paid.
    pub price: Option<u64>,
    /// The fee with the margin.
    pub fee: Option<u64>,
    /// The same for each slot, rounded up.
    pub fee_per_slot: Option<u64>,
    /// Logs that were left out: the rest is as large or smaller than these.
    pub left_out: u64,
}

/// Where slots of a log lie, by the word of its scheduler.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct PlaceInfo {
    pub weave: String,
    /// What gateways know the bundle by.
    pub bundle: Id,
    pub from: u64,
    pub to: u64,
    /// The height of its block.
    pub block: u64,
}

/// The embedded weave.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct WeaveInfo {
    pub weave: String,
    pub height: u64,
    pub batches: Vec<BatchInfo>,
}

/// One anchored batch.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct BatchInfo {
    pub process: Id,
    pub from: u64,
    /// The last slot; one before the first where the batch has only what was attested late, or evidence.
    pub to: u64,
    pub data_root: Hash,
    /// The block it stands in, once mined.
    pub block: Option<u64>,
    pub items: u32,
    pub bytes: u64,
}
