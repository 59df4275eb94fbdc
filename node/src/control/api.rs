//! What the CLI and a node say to each other over the node's socket.
//!
//! One JSON object per line, at most [`LINE_BYTES_MAX`] bytes. The client writes one
//! [`Request`]; the node answers with any number of `{"event": ...}` lines and ends with one
//! `{"done": ...}` or `{"error": ...}` line. A connection may then carry the next request; one that
//! carries none for a minute is closed.

mod anchor;
mod carry;
mod disk;
mod market;
mod net;
mod top;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use weft_protocol::{Address, Hash, Id, Position, Tag};

mod failure;
mod state;
mod submitted;
mod verify;
mod watch;

pub use crate::config::Evaluate;
pub use crate::dry_run::DryRunBody;
pub use crate::legacy::messages::Span;
pub use crate::results::Sort;
pub use crate::room::RoomInfo;
pub use anchor::{
    AnchorInfo, AnchorRequest, BatchInfo, Estimate, GatewayInfo, PlaceInfo, PostingInfo, WeaveInfo,
};
pub use carry::{CarryEnded, CarryRequest, OutboxEntryInfo, OutboxInfo, SubscriptionInfo};
pub use disk::{DiskRequest, ForgetReport};
pub use failure::{Failure, FailureCode};
pub use market::{
    AuditInfo, CarrierRow, ClaimInfo, EarningsInfo, LedgerEarnings, MarketRequest, OfferInfo, PushName,
    RankInfo, RankRow, WindowAudit,
};
pub use net::{Check, CheckState, Doctor, PeerInfo, ProviderInfo};
pub use state::{StateEvent, StateInfo};
pub use submitted::{HeldInfo, LetterInfo, LetterState, PendingInfo, PendingRequest, Submitted};
pub use top::{Level, Top, TopProcess};
pub use verify::VerifyReport;
pub use watch::{WatchEvent, Watched};

/// Bytes of one line: a module item in base64 is the largest thing that travels here.
pub const LINE_BYTES_MAX: usize = 96 * 1024 * 1024;

/// The socket's file name in the data folder.
pub const SOCKET_NAME: &str = "weft.sock";

/// What a client asks.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Request {
    /// Who this node is and how it fares: [`Status`].
    Status,
    /// The peers it is connected to: `[PeerInfo]`.
    Peers,
    /// The peers that serve a process, each with its head: `[ProviderInfo]`.
    Providers {
        /// Which process.
        process: Id,
    },
    /// Its place in the network, and what may be wrong with it: [`Doctor`].
    Doctor,
    /// The processes it works for: `[ProcessInfo]`.
    Processes,
    /// One process in depth: [`ProcessDetail`].
    Process {
        /// Which.
        process: Id,
        /// Also hash the memory now and give the state root: costs time with the memory's size.
        #[serde(default)]
        state_root: bool,
    },
    /// Slots of one process: `[SlotInfo]`, at most 1,000.
    Slots {
        /// Of which process.
        process: Id,
        /// The first slot.
        from: u64,
        /// How many.
        limit: u32,
    },
    /// Any item that this node holds: [`ItemInfo`].
    Item {
        /// Its id.
        id: Id,
    },
    /// Follow a process, and compute it or carry its messages: [`ProcessInfo`] once slot 0 is held.
    Host {
        /// Which.
        process: Id,
        /// Evaluate it.
        compute: bool,
        /// Carry what it sends.
        messenger: bool,
        /// When to evaluate it; as before, or as the configuration says, if absent.
        #[serde(default)]
        evaluate: Option<Evaluate>,
    },
    /// Follow, compute and carry for a process of another node no longer: [`ProcessInfo`] of what
    /// was. What lies on disk of it stays: [`DiskRequest::Forget`] drops that too.
    Unhost {
        /// Which.
        process: Id,
    },
    /// Let time pass in a hosted process, so that its crons run though nothing else happens, or
    /// leave it alone: [`ProcessInfo`].
    Cron {
        /// Which.
        process: Id,
        /// Whether time passes.
        on: bool,
    },
    /// Keep a hosted process whole, in memory and on disk, when others have to go, or treat it as
    /// any other: [`ProcessInfo`].
    Pin {
        /// Which.
        process: Id,
        /// Whether it is kept.
        on: bool,
    },
    /// Carrying what processes send: see [`CarryRequest`].
    Carry(CarryRequest),
    /// Keep a signed Module item and serve it: [`ModuleInfo`].
    PutModule {
        /// The raw item, base64.
        item: String,
    },
    /// The modules it holds: `[ModuleInfo]`.
    Modules,
    /// Hand a signed item to the scheduler of its process, wherever that is: [`Submitted`]; a message of at most 4 KiB
    /// whose scheduler cannot be reached is sent by its topic, and the failure is [`FailureCode::Pending`].
    Submit {
        /// The raw item, base64.
        item: String,
    },
    /// Messages that wait for a slot on the topics of their processes.
    Pending(PendingRequest),
    /// Give an existing item a slot in the log of a process, whomever it is for: [`Submitted`].
    Assign {
        /// Which process.
        process: Id,
        /// The item.
        item: Id,
        /// Whether it is a transaction of the weave's base layer.
        #[serde(default)]
        base_layer: bool,
        /// Fields that the process does not see: `Data`, `Tags`, `Signature`, `Anchor`.
        #[serde(default)]
        exclude: Vec<String>,
    },
    /// A page of a log as the reference's scheduler unit gives it:
    /// [`Page`](crate::legacy::messages::Page).
    Messages {
        /// Of which process.
        process: Id,
        /// Between which times or nonces.
        span: Span,
        /// At most so many slots.
        #[serde(default)]
        limit: Option<usize>,
    },
    /// One slot in the same form: [`Message`](crate::legacy::messages::Message).
    Message {
        /// Of which process.
        process: Id,
        /// By the id of its message or of its assignment; the newest if absent.
        #[serde(default)]
        id: Option<Id>,
    },
    /// The result of an item or slot: [`ResultInfo`].
    Result {
        /// Of which process.
        process: Id,
        /// The item's id, or its slot.
        of: ResultOf,
        /// Wait for it at most so many milliseconds.
        wait_ms: u64,
    },
    /// A page of results: [`Page`](crate::results::Page).
    Results {
        /// Of which process.
        process: Id,
        /// Begin after this cursor or timestamp.
        #[serde(default)]
        from: Option<String>,
        /// End with this one.
        #[serde(default)]
        to: Option<String>,
        /// At most so many entries.
        #[serde(default)]
        limit: Option<usize>,
        /// In which order; that of the cursor in `from` wins.
        #[serde(default)]
        sort: Sort,
        /// Cron ticks alone.
        #[serde(default)]
        crons: bool,
        /// Let time pass and evaluate the newest slot first, for at most so many milliseconds.
        #[serde(default)]
        now_ms: Option<u64>,
    },
    /// What a message would come to on the state as of now: [`DryRunInfo`]. Nothing is kept.
    DryRun {
        /// On which process.
        process: Id,
        /// The message, as the reference's compute unit takes it.
        message: DryRunBody,
        /// On the state after this slot instead.
        #[serde(default)]
        slot: Option<u64>,
    },
    /// The state after a slot: events are [`StateEvent`], the end is a [`StateInfo`].
    State {
        /// Of which process.
        process: Id,
        /// After which slot; after the newest one if absent.
        #[serde(default)]
        slot: Option<u64>,
        /// Whether the memory itself is given.
        #[serde(default)]
        memory: bool,
    },
    /// Stream verified slots and outcomes as they come: events are [`WatchEvent`]; ends when the
    /// client hangs up.
    Watch {
        /// Which process.
        process: Id,
        /// The first slot to show; absent means only new ones.
        from: Option<u64>,
    },
    /// As `Watch`, of up to 1000 processes at once: events are [`Watched`].
    WatchMany {
        /// Which processes.
        processes: Vec<Id>,
        /// The first slot to show of each; absent means only new ones.
        from: Option<u64>,
    },
    /// Replay a process from slot 0 and compare every stored and attested outcome: events are
    /// [`Progress`], the end is a [`VerifyReport`].
    Verify {
        /// Which process.
        process: Id,
    },
    /// Replay a process from what lies on a weave alone, and compare every outcome that is attested there: as
    /// [`Verify`](Self::Verify).
    VerifyWeave {
        /// Which process.
        process: Id,
        /// The addresses of gateways of that weave; this node's own weave if there are none.
        from: Vec<String>,
    },
    /// The embedded weave and the batches on it: [`WeaveInfo`].
    Weave,
    /// Everything that is counted and measured, as OpenMetrics text.
    Metrics,
    /// The market of messengers.
    Market(MarketRequest),
    /// What goes to a weave, and what that costs.
    Anchor(AnchorRequest),
    /// What goes through much of the disk.
    Disk(DiskRequest),
    /// The node at this moment: [`Top`].
    Top,
    /// Stop the node cleanly.
    Stop,
}

/// One line from the node.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reply {
    /// Something on the way.
    Event(Value),
    /// The answer; the last line.
    Done(Value),
    /// Why there is no answer; the last line.
    Error(Failure),
}

/// Which result is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ResultOf {
    /// Of the item with this id.
    Item(Id),
    /// Of this slot.
    Slot(u64),
    /// Of the newest position that is no mark, once all ticks due by now have run.
    Now,
}

/// Who a node is and how it fares.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct Status {
    pub version: String,
    pub address: Address,
    pub peer_id: String,
    pub network: String,
    pub listen: Vec<String>,
    pub roles: Vec<String>,
    pub peers: usize,
    pub processes: usize,
    /// The weave batches go to, and what that means: `local:<id>`, "stored here".
    pub weave: String,
    pub uptime_ms: u64,
    pub pid: u32,
    pub room: RoomInfo,
    /// Processes that no peer serves and that are being read from the configured gateways.
    #[serde(default)]
    pub recovering: Vec<Id>,
}

/// What a node does for one process, and how far it is.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct ProcessInfo {
    pub process: Id,
    pub name: Option<String>,
    pub module: Id,
    pub scheduler: Address,
    /// `schedule`, `compute`, `messenger`, `watch`, `cron`, `pinned`.
    pub duties: Vec<String>,
    /// The newest slot in the log here.
    pub head: Option<u64>,
    /// The newest evaluated position here.
    pub computed: Option<Position>,
    /// The running outcome hash at `computed`.
    pub running: Option<Hash>,
    /// The newest slot in a confirmed batch.
    pub anchored: Option<u64>,
    /// What stopped this process here, if something did.
    pub fault: Option<String>,
    /// What it waits for here: something failed or is missing, and is tried again.
    #[serde(default)]
    pub waits: Option<String>,
    /// Messages that wait for a slot on its topic, as far as they are held here.
    #[serde(default)]
    pub pending: usize,
}

/// One process in depth.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct ProcessDetail {
    #[serde(flatten)]
    pub info: ProcessInfo,
    pub owner: String,
    pub tags: Vec<Tag>,
    pub attestors: Vec<Address>,
    pub quorum: usize,
    /// `single scheduler`: who can stop or fork this log.
    pub trust: String,
    /// At `computed`, if it was asked for.
    pub state_root: Option<Hash>,
    pub memory_bytes: Option<u64>,
    pub outbox_pending: usize,
    pub outbox_settled: usize,
    /// There is more than was counted: both numbers are of what was.
    #[serde(default)]
    pub outbox_more: bool,
    /// Who offers to carry what it sends, this node included; known only where it is carried for.
    pub messengers: Vec<Address>,
    /// What convicts its scheduler or an attestor, each in a sentence.
    #[serde(default)]
    pub evidence: Vec<EvidenceInfo>,
}

/// Two signatures of one key that no honest key gives; or what an attestor signed that a replay here contradicts.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct EvidenceInfo {
    pub name: Hash,
    pub culprit: Address,
    /// What it did, for a person.
    pub text: String,
    /// The evidence itself, base64: anybody can check it.
    pub bytes: String,
}

/// Why an item counts as coming from where it says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Trust {
    /// It carries a valid origin proof: a quorum of the source's attestors signed that it was sent.
    Proof,
    /// Its signer is an authority that the process itself names, and was taken at its word.
    Authority,
    /// Its signer speaks for nobody but itself.
    Signature,
}

/// One slot.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct SlotInfo {
    pub slot: u64,
    pub epoch: u64,
    pub assignment: Id,
    pub item: Id,
    pub timestamp: u64,
    pub hash_chain: Hash,
    /// Who it is from, as the module sees it.
    pub from: Option<String>,
    pub action: Option<String>,
    /// Whether it was sent by another process and proves that.
    pub pushed: bool,
    /// Why `from` is believed.
    pub trust: Option<Trust>,
    /// Who signed and brought it, if that is not `from`.
    pub carrier: Option<String>,
    pub code: Option<u8>,
    pub running: Option<Hash>,
}

/// Any item.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct ItemInfo {
    pub id: Id,
    pub owner: String,
    pub signature_type: u16,
    pub target: Option<Id>,
    pub anchor: Option<String>,
    pub tags: Vec<Tag>,
    pub data_bytes: usize,
    /// The data as text, if it is UTF-8 of at most 64 KiB.
    pub data: Option<String>,
    /// Logs here in which it stands.
    pub slots: Vec<(Id, u64)>,
}

/// A module.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct ModuleInfo {
    pub module: Id,
    /// What it is called if it comes with the binary.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    pub format: String,
    pub bytes: usize,
    pub owner: String,
}

/// A result.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct ResultInfo {
    pub process: Id,
    pub position: Position,
    pub code: u8,
    /// `Messages`, `Spawns`, `Assignments`, `Output`, `Error`, `GasUsed`.
    pub result: Value,
    pub running: Hash,
    pub gas: u64,
    /// Whether this node evaluated it, or a peer's word is shown.
    pub computed_here: bool,
    /// Whose attestations of this position are held; of a peer's word, who signed for it, at this position or
    /// later: a quorum of the process's attestors, or nobody.
    pub attested_by: Vec<Address>,
}

/// What a dry run came to.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct DryRunInfo {
    pub process: Id,
    /// The position after which it was evaluated.
    pub position: Position,
    pub code: u8,
    /// As in [`ResultInfo`].
    pub result: Value,
    pub gas: u64,
}

/// How far a long command is.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct Progress {
    pub done: u64,
    pub total: u64,
}
