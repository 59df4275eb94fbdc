//! What every role holds: the node's key, store, network, engine and weave.

use std::sync::Arc;
use std::time::Instant;

use weft_net::{Fault, Net, Peer};
use weft_protocol::crypto::Signer;
use weft_protocol::process::Terms;
use weft_protocol::{Address, Id, Network};
use weft_storage::Store;
use weft_storage::anchor::{Anchor as _, LocalWeave};

use crate::anchor::{Board, Placements};
use crate::clock::{Clock, ClockOffset};
use crate::compute::modules::{Host, Modules, Uncompiled};
use crate::compute::residency::Elsewhere;
use crate::config::{Backend, Config};
use crate::directory::{Directory, Known};
use crate::earn::Standings;
use crate::freshness::Freshness;
use crate::gossip::Publisher;
use crate::hosting::{Leaving, SearchHandle, Unasked};
use crate::join::Joins;
use crate::lobby::Lobby;
use crate::log::Spare;
use crate::market::Market;
use crate::messenger::collect::Heard;
use crate::metrics::Metrics;
use crate::news::Newsroom;
use crate::pending::Pending;
use crate::recover::Wishes;
use crate::remote::{Lookups, Turns};
use crate::room::Gauge;
use crate::subscriptions::Subscriptions;
use crate::supervisor::joined;
use crate::topics::TopicsHandle;
use crate::witness::WitnessHandle;

/// What every role holds. Nothing in it decides anything.
#[derive(Debug)]
pub struct Shared {
    /// What the node was told.
    pub config: Config,
    /// The time.
    pub clock: Clock,
    /// The node's key.
    pub signer: Signer,
    /// Its address.
    pub address: Address,
    /// The network that is in every hash.
    pub network: Network,
    /// What the network says about every process.
    pub terms: Terms,
    /// The disk.
    pub store: Store,
    /// The peers.
    pub net: Net,
    /// The module compiler, and the modules in memory.
    pub modules: Modules,
    /// The embedded weave.
    pub weave: LocalWeave,
    /// What the anchor and the poster say to each other.
    pub board: Board,
    /// Where others say that batches of their logs lie.
    pub(crate) placements: Placements,
    /// What goes out on process topics.
    pub publisher: Publisher,
    /// The topics that this node is on.
    pub topics: TopicsHandle,
    /// Who keeps what convicts a key.
    pub witness: WitnessHandle,
    /// Asks for processes that nobody on the mesh serves.
    pub wishes: Wishes,
    /// Guest memory that is held beside the live processes.
    pub elsewhere: Elsewhere,
    /// What of this machine is to spare for reading logs ahead.
    pub spare: Spare,
    /// Pokes between the roles.
    pub news: Newsroom,
    /// What is counted.
    pub metrics: Metrics,
    /// What the node takes of the disk.
    pub room: Gauge,
    /// The known processes.
    pub directory: Directory,
    /// Who confirmed which log, and when.
    pub fresh: Freshness,
    /// Which logs were looked up though somebody on their topic is connected.
    pub lookups: Lookups,
    /// Turns for what takes much memory for a while.
    pub turns: Turns,
    /// What is said on the lobby shards.
    pub lobby: Arc<Lobby>,
    /// Who offers to carry what processes send.
    pub market: Market,
    /// What attestors signed of what is not collected yet.
    pub heard: Heard,
    /// How it stands with ledgers that are not computed here and hold claims of this node.
    pub ledgers: Standings,
    /// Messages that wait for a slot on the topics of their processes.
    pub pending: Pending,
    /// Who looks for processes of others.
    pub searches: SearchHandle,
    /// How this node's clock stands to others.
    pub offset: ClockOffset,
    /// The processes that go on from a checkpoint of others, and are not computed meanwhile.
    pub joins: Joins,
    /// Places of processes that come unasked.
    pub unasked: Arc<Unasked>,
    /// The processes that are being forgotten.
    pub leaving: Leaving,
    /// Whose word to carry was taken.
    pub subscriptions: Subscriptions,
    /// When this node started.
    pub started: Instant,
}

impl Shared {
    /// The name of the weave that batches go to: what is final there is final.
    pub fn anchored_on(&self) -> &str {
        match self.config.anchor.backend {
            Backend::Local => self.weave.name(),
            Backend::Arweave | Backend::Bundler => &self.config.anchor.weave,
        }
    }

    /// What processes run on.
    pub const fn host(&self) -> Host<'_> {
        Host {
            modules: &self.modules,
            store: &self.store,
            spare: Some(&self.spare),
            uncompiled: Uncompiled::Compile,
        }
    }

    /// Has a peer pay for what is provably false.
    pub async fn lied(&self, peer: Peer) {
        // Only a network that has stopped does not hear it.
        let _ = self.net.fault(peer, Fault::Lie).await;
    }

    /// A known process; its item is read and verified off this thread, the first time.
    pub async fn known(self: &Arc<Self>, process: Id) -> Option<Known> {
        // Each announcement asks, and nearly all are of few processes.
        if let Some(known) = self.directory.at_hand(&process) {
            return Some(known);
        }
        let shared = Arc::clone(self);
        joined(tokio::task::spawn_blocking(move || shared.directory.get(&process)).await).flatten()
    }
}

/// How roles hold it.
pub type SharedRef = Arc<Shared>;

#[cfg(test)]
pub mod testing {
    //! What roles hold, for tests of one task: a store of the test's own, and a network without peers.
    #![allow(clippy::unwrap_used)]

    use std::path::Path;

    use bytes::Bytes;
    use weft_net::NetConfig;
    use weft_protocol::assignment::AssignmentDraft;
    use weft_protocol::time::{TimePoint, Weave};
    use weft_protocol::{DataItem, Draft, Hash, Tag, Verified, hash_chain};
    use weft_storage::{LocalWeaveConfig, MemoryDisk, OutcomeRow, SlotRow, StoreConfig};
    use weft_vm::EngineConfig;

    use super::*;
    use crate::market::machine::own::Prices;

    /// The network of such tests.
    pub const NETWORK: Network = Network(7);

    /// A peer, by a number of the test's own.
    pub fn peer(seed: u8) -> Peer {
        let key = Signer::from_seed(&[seed; 32]).owner_key();
        Peer::from_ed25519(&key.try_into().unwrap()).unwrap()
    }

    /// A Process item, scheduled by the key of this address.
    pub fn process_item(owner: &Signer, scheduler: Address) -> Verified<DataItem> {
        let (module, scheduler) = (Id([3; 32]).to_string(), scheduler.to_string());
        let tags = [
            ("Data-Protocol", "ao"),
            ("Type", "Process"),
            ("Variant", "ao.TN.1"),
            ("Module", &*module),
            ("Scheduler", &*scheduler),
        ];
        let tags = tags.map(|(name, value)| Tag::new(name, value)).to_vec();
        Draft { tags, ..Draft::default() }.sign(owner).unwrap()
    }

    /// What a scheduler signs of a slot with this item, a millisecond after the slot before. The link is that of slot 0.
    pub fn assigned(process: Id, slot: u64, item: Id) -> AssignmentDraft {
        let timestamp = 1_000_000 + slot;
        AssignmentDraft {
            network: NETWORK,
            process,
            epoch: 0,
            slot,
            hash_chain: hash_chain::first(process),
            time: TimePoint { timestamp, height: timestamp / 120_000 },
            message: (slot > 0).then_some(item),
            excludes: Vec::new(),
        }
    }

    /// A slot with this item, signed, as it is on disk.
    pub fn slot_row(draft: &AssignmentDraft, item: Id, signer: &Signer) -> SlotRow {
        let assignment = draft.draft().sign(signer).unwrap();
        SlotRow {
            epoch: draft.epoch,
            assignment_id: assignment.id(),
            assignment: assignment.raw().clone(),
            item,
            proof: None,
            chain: draft.hash_chain,
            timestamp: draft.time.timestamp,
            block_height: draft.time.height,
        }
    }

    /// An outcome of which nothing came.
    pub fn outcome_row() -> OutcomeRow {
        OutcomeRow {
            item: None,
            code: 0,
            core: Bytes::new(),
            outcome: Hash::ZERO,
            running: Hash::ZERO,
            outbox_root: Hash::ZERO,
            outbox_count: 0,
            duplicate_of: None,
            skipped: 0,
            gas: 0,
            result: Bytes::from_static(b"{}"),
            state_root: None,
            elapsed_us: 0,
        }
    }

    /// All that a task holds, over a store in memory.
    pub fn in_memory(signer: Signer) -> SharedRef {
        let config = StoreConfig::new(NETWORK, signer.address());
        let store = Store::open_with_backend(MemoryDisk::new(), &config).unwrap();
        shared(Path::new("/nowhere"), signer, store)
    }

    /// All that a task holds, over this store. Its own folder is only named.
    pub fn shared(folder: &Path, signer: Signer, store: Store) -> SharedRef {
        let (metrics, elsewhere) = (Metrics::new(), Elsewhere::default());
        let mut net = NetConfig::new([5; 32], NETWORK);
        net.listen.clear();
        let (net, _) = Net::start(net).unwrap();
        let address = signer.address();
        let weave = LocalWeaveConfig { network: NETWORK, node: address, now_ms: 0 };
        let terms = Terms { network: NETWORK, weave: Weave::Clock };
        Arc::new(Shared {
            config: Config::new(folder),
            clock: Clock::default(),
            signer,
            address,
            network: NETWORK,
            directory: Directory::new(store.clone(), terms.clone()),
            terms,
            store,
            net,
            modules: Modules::new(EngineConfig::default(), elsewhere.clone()).unwrap(),
            weave: LocalWeave::open_with_backend(MemoryDisk::new(), &weave).unwrap(),
            board: Board::default(),
            placements: Placements::default(),
            publisher: Publisher::new(&metrics).0,
            topics: TopicsHandle::new(&metrics).0,
            witness: crate::witness::queue(&metrics).0,
            // Nobody hears: nothing is read.
            wishes: Wishes::new(&metrics).0,
            pending: Pending::new(&metrics).0,
            spare: Spare::beside(1, elsewhere.clone()),
            elsewhere,
            news: Newsroom::new(),
            turns: Turns::new(&metrics),
            // Nobody hears: whoever looks for one does it alone.
            searches: SearchHandle::new(&metrics).0,
            metrics,
            leaving: Leaving::default(),
            room: Gauge::default(),
            fresh: Freshness::default(),
            lookups: Lookups::default(),
            lobby: Arc::new(Lobby::new(&[5; 32])),
            market: Market::new(Prices { network: NETWORK, per_push: 0, per_kib: 0, at_once: 1 }),
            heard: Heard::default(),
            ledgers: Standings::default(),
            offset: ClockOffset::default(),
            joins: Joins::default(),
            unasked: Arc::default(),
            subscriptions: Subscriptions::default(),
            started: Instant::now(),
        })
    }
}
