//! The roles of one node between two starts: the machines, and what their tasks keep beside them.

mod anchoring;
mod carry;
mod children;
mod evaluate;
mod follow;
mod judge;
mod schedule;
mod timekeeping;
mod witness;

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use weft_node::anchor::machine::{Anchor, Policy};
use weft_node::compute::machine::Compute;
use weft_node::cron::machine::Timekeeper;
use weft_node::follower::Regain;
use weft_node::follower::machine::Follower;
use weft_node::market::machine::Market;
use weft_node::market::machine::own::Prices;
use weft_node::messenger::machine::{Born, Effect as Carried, Entry, Messenger};
use weft_node::scheduler::machine::{NewSlot, Scheduler, Ticket};
use weft_node::witness::judge::machine::Judge;
use weft_node::witness::machine::Witness;
use weft_protocol::attestation::Attestation;
use weft_protocol::crypto::Signer;
use weft_protocol::offer::Offer;
use weft_protocol::record::VerifiedRecord;
use weft_protocol::{Address, Hash, Id, Now, Position, Verified, wire};

pub(super) use carry::offer;
pub(super) use children::is_named;
pub(super) use schedule::{head_of, outcome_of};
pub(super) use timekeeping::schedule;

use super::disk::OutboxKey;
use super::guest::Live;
use super::hard::PRICE;
use super::lane::Lane;
use super::town::NETWORK;

/// What the follower carries for the disk.
pub type Body = Box<VerifiedRecord>;
/// One rank's turn, in milliseconds.
const WINDOW_MS: u64 = 1_000;
/// When batches are made.
const POLICY: Policy = Policy { slots: 4, age_ms: 3_000 };

/// What every node asks for; the simulator makes the offers itself.
const PRICES: Prices = Prices { network: NETWORK, per_push: PRICE, per_kib: 0, at_once: 1 };

/// Who waits for a submit.
pub enum Waits {
    /// Another node or a client, with its request.
    Peer(usize, u64),
    /// Another node or a client that reads, with its request.
    Reader(usize, u64),
    /// This node's own messenger.
    Push(Box<Pushing>),
    /// This node's own timekeeper.
    Timekeeper(Id),
}

/// A push under way: of an entry, or of the news of what a spawn became.
#[derive(Debug, Clone)]
pub struct Pushing {
    pub(super) entry: Entry,
    pub(super) born: Option<Box<Born>>,
}

/// A submit, or an ask for `now` without an item, until its reply.
pub struct Submitted {
    waits: Waits,
    item: Option<Id>,
}

/// A request of this node's until its answer.
pub enum Rpc {
    /// For the newest slot.
    Head(Id, usize),
    /// For slots.
    Range(Id, usize, u64, u64),
    /// For attestations.
    Attestations,
    /// For time to pass.
    Now(Id),
    /// For a slot for what a messenger tries beside its pushes.
    Tried {
        /// Whether it is no push.
        is_false: bool,
    },
    /// For a slot for this push, which is this item.
    Push(Box<Pushing>, Bytes),
    /// For slot 0 of a child.
    Adopt(Id),
}

/// What follows the end of a commit.
pub enum Done {
    /// Nothing.
    Nothing,
    /// Slots of the scheduler: the newest of each log.
    Scheduled(BTreeMap<Id, u64>),
    /// Slots of the follower.
    Followed(BTreeMap<Id, u64>),
    /// The messenger's row, that this effect asked for.
    Saved(Box<Carried>),
    /// Slot 0 of a child, and the messenger's row of its spawn.
    Adopted(Id),
    /// A run of the computer.
    Ran(Box<Ran>),
    /// The attestation of the newest position.
    Attested(Box<Verified<Attestation>>),
    /// Somebody else's attestation.
    Kept(Box<Verified<Attestation>>),
    /// Evidence.
    Witnessed(Hash),
    /// A batch, before the weave hears of it.
    Built(Id, Hash),
    /// A batch that the weave has heard of, up to this slot.
    Handed(Id, u64, Hash),
    /// A batch that stays on the weave.
    Confirmed(Id, u64),
}

/// A run whose outcomes are on their way to disk.
pub struct Ran {
    process: Id,
    live: Live,
    /// Whether the host failed after these outcomes.
    failed: bool,
    /// The first slot without an outcome, if the run made any.
    next: Option<u64>,
    sends: Vec<(Position, bool)>,
    said: Vec<Verified<Attestation>>,
}

/// The roles of one node.
pub struct Roles {
    pub(super) scheduler: Lane<Scheduler>,
    pub(super) follower: Lane<Follower<usize, Body>>,
    pub(super) messenger: Lane<Messenger>,
    pub(super) anchor: Lane<Anchor>,
    pub(super) compute: Lane<Compute>,
    pub(super) timekeeper: Lane<Timekeeper>,
    pub(super) witness: Lane<Witness>,
    pub(super) judge: Lane<Judge>,
    /// Whom the judge found wrong.
    pub(super) judged: BTreeSet<Address>,
    /// What others said of logs of this node's own under caution.
    regains: BTreeMap<Id, Regain>,
    /// Evidence that peers brought, until its verdict.
    brought: BTreeMap<Ticket, (Id, wire::Evidence)>,
    tickets: Ticket,
    submits: BTreeMap<Ticket, Submitted>,
    unsaved: Vec<NewSlot>,
    unfollowed: Vec<Body>,
    live: BTreeMap<Id, Live>,
    offered: Option<Now>,
    /// What this node offered last.
    pub(super) own: Option<Verified<Offer>>,
    /// What the others offer.
    pub(super) market: Market<usize, Verified<Offer>>,
    /// Names in which this node offered, beside its own.
    pub(super) names: u8,
    /// Children to take up: the spawn's row that waits for it, and whether somebody is asked.
    adoptions: BTreeMap<Id, (OutboxKey, bool)>,
    pub(super) rpcs: BTreeMap<u64, Rpc>,
}

impl Roles {
    /// Roles that know nothing yet.
    pub fn new(key: &Signer) -> Self {
        Self {
            scheduler: Lane::new(Scheduler::new(key.clone(), NETWORK)),
            follower: Lane::new(Follower::default()),
            messenger: Lane::new(Messenger::new(key.address(), WINDOW_MS)),
            anchor: Lane::new(Anchor::new(POLICY)),
            compute: Lane::new(Compute::new(1, None)),
            timekeeper: Lane::new(Timekeeper::default()),
            witness: Lane::new(Witness::default()),
            judge: Lane::new(Judge::new(None)),
            judged: BTreeSet::new(),
            regains: BTreeMap::new(),
            brought: BTreeMap::new(),
            tickets: 0,
            submits: BTreeMap::new(),
            unsaved: Vec::new(),
            unfollowed: Vec::new(),
            live: BTreeMap::new(),
            offered: None,
            own: None,
            market: Market::new(PRICES),
            names: 0,
            adoptions: BTreeMap::new(),
            rpcs: BTreeMap::new(),
        }
    }
}
