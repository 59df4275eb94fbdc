//! A process alone: its log, the store that holds it and the engine that runs it, without a node
//! or a network. What checkpoints, replays and their cost are measured and compared with.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::path::PathBuf;
use std::sync::Arc;

use weft_node::compute::hosted::{Evaluated, Hosted};
use weft_node::compute::modules::{Host, Modules, Uncompiled, load_module};
use weft_node::compute::residency::Elsewhere;
use weft_node::compute::{outcome_writes, read_records};
use weft_protocol::assignment::AssignmentDraft;
use weft_protocol::crypto::Signer;
use weft_protocol::epoch::EpochTerms;
use weft_protocol::process::{Process, Terms};
use weft_protocol::record::{Link, SlotRecord, VerifiedRecord, to_wire};
use weft_protocol::time::{TimePoint, Weave};
use weft_protocol::{DataItem, Draft, Id, Network, Tag, Verified, hash_chain};
use weft_storage::{MemoryDisk, SlotRow, Store, StoreConfig, Write};
use weft_vm::EngineConfig;

/// The network that is in every hash here.
pub const NETWORK: Network = Network(7);
/// When slot 0 is given, in milliseconds since the Unix epoch.
pub const START_MS: u64 = 1_800_000_000_000;
/// The time from one slot to the next, in milliseconds.
const STEP_MS: u64 = 900;

/// Whoever signs everything.
pub fn key() -> Signer {
    Signer::from_seed(&[1; 32])
}

/// What the store of such a process is opened with.
pub fn store_config() -> StoreConfig {
    StoreConfig::new(NETWORK, key().address())
}

/// The modules of a node, of which compiled code is kept in this folder if there is one.
pub fn modules(cache_dir: Option<PathBuf>) -> Arc<Modules> {
    let config = EngineConfig { cache_dir, ..EngineConfig::default() };
    Arc::new(Modules::new(config, Elsewhere::default()).unwrap())
}

/// Signs an item.
pub fn sign(target: Option<Id>, tags: &[(&str, &str)], data: &[u8]) -> Verified<DataItem> {
    let tags = tags.iter().map(|(name, value)| Tag::new(*name, *value)).collect();
    Draft { target, anchor: None, tags, data: data.to_vec().into() }.sign(&key()).unwrap()
}

/// The slot after this end of a log, so many milliseconds later, for an item.
pub fn next_slot(
    network: Network,
    process: Id,
    end: Option<Link>,
    step_ms: u64,
    item: &Verified<DataItem>,
) -> AssignmentDraft {
    let slot = end.map_or(0, |end| end.slot + 1);
    let timestamp = START_MS + slot * step_ms;
    AssignmentDraft {
        network,
        process,
        epoch: 0,
        slot,
        hash_chain: end.map_or_else(|| hash_chain::first(process), |end| end.next()),
        time: TimePoint { timestamp, height: timestamp / 120_000 },
        message: (item.id() != process).then(|| item.id()),
        excludes: Vec::new(),
    }
}

/// What a process runs.
pub struct Kind<'a> {
    /// The module.
    pub wasm: &'a [u8],
    /// Its format.
    pub format: &'a str,
    /// Tags of the Process item beside those that each has.
    pub tags: &'a [(&'a str, &'a str)],
}

impl Kind<'_> {
    /// The built-in counter, without crons.
    pub const COUNTER: Kind<'static> =
        Kind { wasm: weft_vm::guests::COUNTER, format: "wasm32-weft-plain", tags: &[] };

    /// The module as an item.
    pub fn module(&self) -> Verified<DataItem> {
        let tags = [
            ("Data-Protocol", "ao"),
            ("Type", "Module"),
            ("Module-Format", self.format),
            ("Input-Encoding", "JSON-1"),
            ("Output-Encoding", "JSON-1"),
        ];
        sign(None, &tags, self.wasm)
    }
}

/// A process, its log and the store that holds it.
pub struct Lone {
    /// The disk.
    pub store: Store,
    /// The modules.
    pub modules: Arc<Modules>,
    /// The process.
    pub process: Arc<Process>,
    end: Option<Link>,
}

impl Lone {
    /// A process in a store of its own that is in memory.
    pub fn in_memory(kind: &Kind<'_>) -> Self {
        let store = Store::open_with_backend(MemoryDisk::new(), &store_config()).unwrap();
        Self::new(kind, "lone", store, modules(None))
    }

    /// A process of this name, which makes it another one, in this store.
    pub fn new(kind: &Kind<'_>, name: &str, store: Store, modules: Arc<Modules>) -> Self {
        let module = kind.module();
        let (id, address) = (module.id().to_string(), key().address().to_string());
        let own = [
            ("Data-Protocol", "ao"),
            ("Variant", "ao.TN.1"),
            ("Type", "Process"),
            ("Module", &*id),
            ("Scheduler", &*address),
            ("Name", name),
        ];
        let process = sign(None, &[&own, kind.tags].concat(), b"");
        let terms = Terms { network: NETWORK, weave: Weave::Clock };
        let process = Arc::new(Process::accept(process, None, &terms).unwrap());
        store.write_blocking(vec![Write::Item { id: module.id(), raw: module.raw().clone() }]).unwrap();
        Self { store, modules, process, end: None }
    }

    /// The same again, on the same disk.
    #[must_use]
    pub fn alike(&self) -> Self {
        let (store, modules) = (self.store.clone(), Arc::clone(&self.modules));
        Self { store, modules, process: Arc::clone(&self.process), end: self.end }
    }

    /// Gives an item the next slot, on disk too.
    pub fn assign(&mut self, item: &Verified<DataItem>) -> VerifiedRecord {
        let process = self.process.id();
        let draft = next_slot(NETWORK, process, self.end, STEP_MS, item);
        let assignment = draft.draft().sign(&key()).unwrap();
        let record = SlotRecord::from_wire(&to_wire(&assignment, item, None)).unwrap();
        let terms = EpochTerms::of_process(&self.process).unwrap();
        let record = record.verify(&self.process, &terms, None).unwrap();
        self.end = Some(record.link());
        let (slot, row) = (record.assignment().slot, SlotRow::of(&record));
        let item = Write::Item { id: item.id(), raw: item.raw().clone() };
        self.store.write_blocking(vec![item, Write::Slot { process, slot, row }]).unwrap();
        record
    }

    /// A message with the next slot.
    pub fn send(&mut self, action: &str, number: u64, data: &str) -> VerifiedRecord {
        let (number, tags) = (number.to_string(), [("Data-Protocol", "ao"), ("Type", "Message")]);
        let tags = [&tags[..], &[("Action", action), ("Number", &*number)]].concat();
        let item = sign(Some(self.process.id()), &tags, data.as_bytes());
        self.assign(&item)
    }

    /// Slot 0: the Process item itself.
    pub fn open(&mut self) -> VerifiedRecord {
        let item = self.process.item().clone();
        self.assign(&item)
    }

    /// The process before slot 0.
    pub fn fresh(&self) -> Hosted {
        let loaded = load_module(self.host(), &self.process).unwrap();
        Hosted::fresh(Arc::clone(&self.process), loaded).unwrap()
    }

    /// What it runs on.
    pub fn host(&self) -> Host<'_> {
        Host { modules: &self.modules, store: &self.store, spare: None, uncompiled: Uncompiled::Compile }
    }

    /// The process as it is on disk.
    pub fn load(&self) -> Hosted {
        Hosted::load(Arc::clone(&self.process), &self.store.read().unwrap(), self.host()).unwrap()
    }

    /// Slots `0..=to` read from the disk and verified.
    pub fn read_back(&self, to: u64) -> Vec<VerifiedRecord> {
        let reader = self.store.read().unwrap();
        let mut records = Vec::new();
        while (records.len() as u64) <= to {
            records.extend(read_records(&reader, &self.process, records.len() as u64, to).unwrap());
        }
        records
    }

    /// Evaluates a slot and commits what it came to.
    pub fn run(&self, live: &mut Hosted, record: &VerifiedRecord) -> Vec<Evaluated> {
        let steps = live.run_slot(record).unwrap();
        let process = self.process.id();
        let writes = steps.iter().flat_map(|step| outcome_writes(process, step, |_| false)).collect();
        self.store.write_blocking(writes).unwrap();
        steps
    }
}
