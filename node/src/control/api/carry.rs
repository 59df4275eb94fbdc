//! Carrying what processes send.

use serde::{Deserialize, Serialize};
use weft_protocol::{Address, Id};

use super::{ProcessInfo, PushName};

/// What a client asks of a messenger.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "carry", rename_all = "kebab-case", deny_unknown_fields)]
pub enum CarryRequest {
    /// Carry what a process sends without computing it: [`ProcessInfo`](super::ProcessInfo).
    Begin {
        /// Which.
        process: Id,
        /// All that it ever sent, in place of what it sends from now on.
        #[serde(default)]
        all: bool,
    },
    /// Carry for it no longer: [`CarryEnded`].
    End {
        /// Which.
        process: Id,
    },
    /// Hand a signed statement about a subscription to the messenger that it names: [`SubscriptionInfo`].
    Subscribe {
        /// The raw item, base64.
        item: String,
    },
    /// The subscriptions that this node holds as a messenger: `[SubscriptionInfo]`.
    Subscriptions,
    /// What this node has not delivered of what a process sent: [`OutboxInfo`].
    Outbox {
        /// Which.
        process: Id,
        /// Entries at most; the oldest are shown.
        limit: u32,
    },
    /// Push again what was given up or refused: how many entries there were.
    Push {
        /// The process that sent it.
        process: Id,
        /// Only this one.
        #[serde(default)]
        push: Option<PushName>,
    },
}

/// A process that is carried for no longer, and what that leaves open.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct CarryEnded {
    #[serde(flatten)]
    pub info: ProcessInfo,
    /// Subscriptions that hold: their payers were promised that it is carried.
    pub owed: Vec<SubscriptionInfo>,
    /// Entries of its outbox that wait here to be delivered, at most 10,000.
    pub undelivered: usize,
    /// Pushes that were carried for pay and are not claimed yet. They are claimed all the same.
    pub unclaimed: u64,
    /// What they come to, in the ledger's smallest unit.
    pub unclaimed_sum: String,
    /// Claims that wait for their ledger, which has to be computed here until they are over.
    pub claims: u64,
}

/// What stands between a payer and a messenger about a process.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct SubscriptionInfo {
    pub process: Id,
    pub messenger: Address,
    pub payer: Address,
    /// The number of the last statement.
    pub number: u64,
    /// When it ends, or would have, Unix milliseconds.
    pub until_ms: u64,
    pub holds: bool,
    /// What the messenger gets for it, in words.
    pub pay: String,
}

/// What is not delivered of what a process sent.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct OutboxInfo {
    pub process: Id,
    /// Up to which slot what it sent is here, where this node does not compute it; none before anything is.
    pub collected: Option<u64>,
    pub entries: Vec<OutboxEntryInfo>,
    /// Whether there are more.
    pub more: bool,
}

/// One outbox entry without a receipt.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct OutboxEntryInfo {
    pub push: PushName,
    /// Where it goes, in words.
    pub to: String,
    /// `waits`, `given-up` or `dropped`.
    pub state: String,
    /// Why it is dropped.
    pub why: Option<String>,
    /// Tries that failed.
    pub tries: u32,
    /// In how many milliseconds it is tried again, where that was put off.
    pub again_ms: Option<u64>,
}
