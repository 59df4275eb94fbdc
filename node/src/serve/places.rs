//! How much is served at once, of each kind and for each peer.

use std::sync::Arc;

use tokio::sync::Semaphore;
use weft_net::Peer;
use weft_protocol::Id;

use crate::inbound::REQUESTS_MAX;
use crate::metrics::Level;
use crate::shared::Shared;
use crate::shares::Shares;

/// Items of which a piece is read at once: each is read whole, for its checksum.
const BLOBS_MAX: usize = 8;
/// Stretches of logs that are read at once: as much memory as for the items.
const RANGES_MAX: usize = 16;
/// Submits and assigns to one process that are under way at once: half of all requests, so that
/// everybody who writes to one process leaves room for those who write to another.
const SUBMITS_PER_PROCESS_MAX: usize = REQUESTS_MAX / 2;

/// Subscriptions that may wait at once, and of one peer: each takes little, and waits for its peer's
/// sake.
const FOLLOWS_MAX: usize = 512;
const FOLLOWS_PER_PEER_MAX: usize = 4;

/// Checkpoints, and parts of them, that are read at once, and those of one peer: a list of pages has megabytes, and
/// so have 64 pages.
const STATES_MAX: usize = 8;
const STATES_PER_PEER_MAX: usize = 2;

/// Statements of payers that are taken at once, and those of one peer: each may look for a process for a while.
const SUBSCRIBES_MAX: usize = 16;
const SUBSCRIBES_PER_PEER_MAX: usize = 2;

/// Questions of clients that peers pass on and that are under way at once, and those of one peer, so that no
/// three keep out a fourth. They are made in few turns: a dry run is the dearest, and has limits of its own.
const READS_MAX: usize = 128;
const READS_PER_PEER_MAX: usize = READS_MAX / 4;
/// Those of them that wait for what is not there yet, and those of one peer: beyond that one is answered at once.
const WAITS_MAX: usize = READS_MAX / 2;
const WAITS_PER_PEER_MAX: usize = WAITS_MAX / 4;
/// Dry runs among them, and those of one peer: fewer than wait here for clients of this node.
const DRY_RUNS_MAX: usize = 8;
const DRY_RUNS_PER_PEER_MAX: usize = 2;

/// The places of a server.
#[derive(Debug, Clone)]
pub(super) struct Places {
    pub(super) blobs: Arc<Semaphore>,
    pub(super) ranges: Arc<Semaphore>,
    /// Submits and assigns under way, by process.
    pub(super) submits: Shares<Id>,
    /// Subscriptions that wait, by peer.
    pub(super) follows: Shares<Peer>,
    /// Questions of clients, by the peer that passes them on.
    pub(super) reads: Shares<Peer>,
    /// Those of them that wait.
    pub(super) waits: Shares<Peer>,
    /// Those of them that are dry runs.
    pub(super) dry_runs: Shares<Peer>,
    /// Statements of payers, by the peer that hands them in.
    pub(super) subscribes: Shares<Peer>,
    /// Checkpoints and parts of them that are read, by the peer that asks.
    pub(super) states: Shares<Peer>,
}

impl Places {
    /// All of them free.
    pub(super) fn new(shared: &Shared) -> Self {
        let blobs = Arc::new(Semaphore::new(BLOBS_MAX));
        let submits = Shares::new(REQUESTS_MAX, SUBMITS_PER_PROCESS_MAX);
        shared.metrics.watch(Level::permits("inbound", "items", &blobs, BLOBS_MAX));
        let ranges = Arc::new(Semaphore::new(RANGES_MAX));
        shared.metrics.watch(Level::permits("inbound", "ranges", &ranges, RANGES_MAX));
        let follows = Shares::new(FOLLOWS_MAX, FOLLOWS_PER_PEER_MAX);
        shared.metrics.watch(submits.level("inbound", "submits"));
        shared.metrics.watch(follows.level("inbound", "follows"));
        let reads = Shares::new(READS_MAX, READS_PER_PEER_MAX);
        shared.metrics.watch(reads.level("inbound", "reads"));
        let waits = Shares::new(WAITS_MAX, WAITS_PER_PEER_MAX);
        shared.metrics.watch(waits.level("inbound", "waits"));
        let dry_runs = Shares::new(DRY_RUNS_MAX, DRY_RUNS_PER_PEER_MAX);
        shared.metrics.watch(dry_runs.level("inbound", "dry_runs"));
        let states = Shares::new(STATES_MAX, STATES_PER_PEER_MAX);
        shared.metrics.watch(states.level("inbound", "states"));
        let subscribes = Shares::new(SUBSCRIBES_MAX, SUBSCRIBES_PER_PEER_MAX);
        shared.metrics.watch(subscribes.level("inbound", "subscribes"));
        Self { blobs, ranges, submits, follows, reads, waits, dry_runs, subscribes, states }
    }
}
