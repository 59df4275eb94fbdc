//! A data folder as a node leaves it: with any number of processes, half of them scheduled by the node
//! itself, half followed and computed; every slot evaluated, attested and anchored.
//!
//! Slots are signed, evaluated by the real guest and written by the node's own functions: only the
//! network and the waiting are left out.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use prost::Message as _;
use weft_node::compute::hosted::Hosted;
use weft_node::compute::modules::{Host, Modules, Uncompiled, load_module};
use weft_node::compute::outcome_writes;
use weft_node::compute::residency::Elsewhere;
use weft_node::config::Config;
use weft_node::{guests, keyring, log};
use weft_protocol::assignment::AssignmentDraft;
use weft_protocol::attestation::Statement;
use weft_protocol::crypto::Signer;
use weft_protocol::epoch::EpochTerms;
use weft_protocol::process::{Process, Terms};
use weft_protocol::record::{self, Link, SlotRecord, VerifiedRecord};
use weft_protocol::time::{self, TimePoint, Weave};
use weft_protocol::{DataItem, Draft, Hash, Id, Now, Tag, Verified, hash_chain};
use weft_storage::anchor::{Anchor as _, LocalWeave, LocalWeaveConfig};
use weft_storage::{AnchoredRow, AttestationRow, ProcessRow, Roles, SlotRow, Store, StoreConfig, Write};
use weft_vm::EngineConfig;

/// Slots of each process: its own item and a few messages.
pub const SLOTS: u64 = 4;
/// Processes in one commit.
const GROUP: usize = 200;
/// When all of it happened, in milliseconds: long ago.
const BEGAN_MS: u64 = 1_760_000_000_000;

/// What a folder holds.
pub struct Folder {
    /// The processes that its node schedules.
    pub own: Vec<Id>,
    /// Those that it follows and computes.
    pub foreign: Vec<Id>,
}

/// Makes a folder with so many processes.
pub fn make(folder: &Path, processes: usize) -> Folder {
    let key = keyring::create(folder).unwrap();
    let config = Config::new(folder);
    let network = config.network();
    let store = StoreConfig::new(network, key.signer.address());
    let weave = LocalWeaveConfig { network, node: key.signer.address(), now_ms: BEGAN_MS };
    let engine = EngineConfig { cache_dir: Some(folder.join("compiled")), ..EngineConfig::default() };
    let maker = Maker {
        store: Store::open(&folder.join("store.redb"), &store).unwrap(),
        weave: LocalWeave::open(&folder.join("weave.redb"), &weave).unwrap().name().to_owned(),
        modules: Modules::new(engine, Elsewhere::default()).unwrap(),
        terms: Terms { network, weave: Weave::Clock },
        node: key.signer,
        other: Signer::from_seed(&[9; 32]),
    };
    let module = maker.module();
    let mut made = Folder { own: Vec::new(), foreign: Vec::new() };
    let numbers: Vec<usize> = (0..processes).collect();
    for group in numbers.chunks(GROUP) {
        let mut writes = Vec::new();
        for number in group {
            let is_own = number % 2 == 0;
            let process = maker.process(module, *number, is_own, &mut writes);
            if is_own { made.own.push(process) } else { made.foreign.push(process) }
        }
        maker.store.write_blocking(writes).unwrap();
    }
    maker.store.shutdown();
    made
}

/// An item of ao with these tags.
pub fn item(
    signer: &Signer,
    target: Option<Id>,
    anchor: [u8; 32],
    tags: &[(&str, &str)],
    data: Bytes,
) -> Verified<DataItem> {
    let all = [("Data-Protocol", "ao"), ("Variant", "ao.TN.1")];
    let tags = all.iter().chain(tags).map(|(name, value)| Tag::new(*name, *value)).collect();
    Draft { target, anchor: Some(anchor), tags, data }.sign(signer).unwrap()
}

struct Maker {
    store: Store,
    weave: String,
    modules: Modules,
    terms: Terms,
    node: Signer,
    other: Signer,
}

impl Maker {
    fn module(&self) -> Id {
        let tags = [
            ("Type", "Module"),
            ("Module-Format", "wasm32-weft-plain"),
            ("Input-Encoding", "JSON-1"),
            ("Output-Encoding", "JSON-1"),
        ];
        let module = item(&self.node, None, [b'm'; 32], &tags, guests::COUNTER.into());
        let write = Write::Item { id: module.id(), raw: module.raw().clone() };
        self.store.write_blocking(vec![write]).unwrap();
        module.id()
    }

    fn process(&self, module: Id, number: usize, is_own: bool, writes: &mut Vec<Write>) -> Id {
        let scheduler = if is_own { &self.node } else { &self.other };
        let (module_text, address) = (module.to_string(), scheduler.address().to_string());
        let name = format!("process {number}");
        let tags = [
            ("Type", "Process"),
            ("Module", module_text.as_str()),
            ("Scheduler", address.as_str()),
            ("Name", name.as_str()),
        ];
        let mut anchor = [b'0'; 32];
        anchor[..8].copy_from_slice(&(number as u64).to_be_bytes());
        let own = item(scheduler, None, anchor, &tags, Bytes::new());
        let id = own.id();
        let (process, records) = self.log(scheduler, own);
        for record in &records {
            let items = [Some(record.item()), record.proof()];
            let items: Vec<_> = items.into_iter().flatten().collect();
            writes.extend(log::slot_writes(id, record.assignment().slot, SlotRow::of(record), &items));
        }
        self.evaluate(&process, &records, writes);
        let roles = match is_own {
            true => Roles { schedules: true, computes: true, messenges: true, ..Roles::default() },
            false => Roles { computes: true, watches: true, ..Roles::default() },
        };
        writes.push(Write::Process { process: id, row: ProcessRow { module, roles } });
        if is_own {
            let row = AnchoredRow { slot: SLOTS - 1, batch: Hash([1; 32]), height: 1 };
            writes.push(Write::Anchored { process: id, weave: self.weave.clone(), row });
        }
        id
    }

    /// The log of a process, every slot signed and verified.
    fn log(&self, scheduler: &Signer, own: Verified<DataItem>) -> (Arc<Process>, Vec<VerifiedRecord>) {
        let id = own.id();
        let first = self.slot(scheduler, id, None, &own);
        let (process, first) = first.open(&self.terms).unwrap();
        let terms = EpochTerms::of_process(&process).unwrap();
        let mut records = vec![first];
        for slot in 1..SLOTS {
            let link = records.last().unwrap().link();
            let mut anchor = [b'0'; 32];
            anchor[..8].copy_from_slice(&slot.to_be_bytes());
            let tags = [("Type", "Message"), ("Action", "Increment")];
            let sent = item(&self.other, Some(id), anchor, &tags, Bytes::new());
            let record = self.slot(scheduler, id, Some(&link), &sent);
            records.push(record.verify(&process, &terms, Some(&link)).unwrap());
        }
        (Arc::new(process), records)
    }

    fn slot(
        &self,
        scheduler: &Signer,
        process: Id,
        before: Option<&Link>,
        item: &DataItem,
    ) -> weft_protocol::Unverified<SlotRecord> {
        let slot = before.map_or(0, |link| link.slot + 1);
        let at = Now(BEGAN_MS + slot);
        let draft = AssignmentDraft {
            network: self.terms.network,
            process,
            epoch: 0,
            slot,
            hash_chain: before.map_or_else(|| hash_chain::first(process), Link::next),
            time: time::next(&Weave::Clock, at, None, before.map(|link: &Link| -> TimePoint { link.time })),
            message: (slot > 0).then_some(item.id()),
            excludes: Vec::new(),
        };
        let assignment = draft.draft().sign(scheduler).unwrap();
        SlotRecord::from_wire(&record::to_wire(&assignment, item, None)).unwrap()
    }

    /// Evaluates a log as a node does, and attests what a node attests.
    fn evaluate(&self, process: &Arc<Process>, records: &[VerifiedRecord], writes: &mut Vec<Write>) {
        let host =
            Host { modules: &self.modules, store: &self.store, spare: None, uncompiled: Uncompiled::Compile };
        let loaded = load_module(host, process).unwrap();
        let mut hosted = Hosted::fresh(Arc::clone(process), loaded).unwrap();
        let is_attestor = process.attestors().members.contains(&self.node.address());
        for record in records {
            for step in hosted.run_slot(record).unwrap() {
                writes.extend(outcome_writes(process.id(), &step, |_| true));
                let is_newest = record.assignment().slot + 1 == SLOTS;
                if is_attestor && (is_newest || step.state_root.is_some()) {
                    let statement = Statement {
                        network: self.terms.network,
                        process: process.id(),
                        position: step.closed.outcome.position,
                        assignment: record.assignment().id,
                        running: step.closed.running.0,
                        state_root: step.state_root.unwrap_or(Hash::ZERO),
                        rules: process.rules(),
                    };
                    let signed = statement.sign(&self.node).unwrap();
                    let bytes = signed.to_wire().encode_to_vec().into();
                    let row = AttestationRow { statement: statement.hash(), bytes };
                    let (process, position) = (process.id(), statement.position);
                    let attestor = self.node.address();
                    writes.push(Write::Attestation { process, position, attestor, row });
                }
            }
        }
    }
}
