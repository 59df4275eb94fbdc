//! A process that never left memory, one that was restored at random slots, and one that another
//! engine replayed from slot 0 have the same state after the same messages: counts, errors,
//! messages out of gas, duplicates. A damaged checkpoint is passed over.
//!
//! `WEFT_FULL=1` evaluates 10,000 messages.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)]

use std::sync::Arc;

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use weft_node::compute::hosted::{Host, Hosted, load_module};
use weft_node::compute::outcome_writes;
use weft_protocol::assignment::AssignmentDraft;
use weft_protocol::crypto::Signer;
use weft_protocol::epoch::EpochTerms;
use weft_protocol::process::{Process, Terms};
use weft_protocol::record::{Link, SlotRecord, VerifiedRecord, to_wire};
use weft_protocol::time::{TimePoint, Weave};
use weft_protocol::{DataItem, Draft, Hash, Id, Network, Position, Tag, Verified, hash_chain};
use weft_storage::{MemoryDisk, SlotRow, Store, StoreConfig, Write};
use weft_vm::{Engine, EngineConfig};

const NETWORK: Network = Network(7);
const START_MS: u64 = 1_800_000_000_000;

fn sign(key: &Signer, target: Option<Id>, tags: &[(&str, &str)], data: &[u8]) -> Verified<DataItem> {
    let tags = tags.iter().map(|(name, value)| Tag::new(*name, *value)).collect();
    Draft { target, anchor: None, tags, data: data.to_vec().into() }.sign(key).unwrap()
}

/// A process of the built-in counter, its log and the store that holds it.
struct World {
    key: Signer,
    store: Store,
    engine: Engine,
    process: Arc<Process>,
    end: Option<Link>,
}

impl World {
    fn new() -> Self {
        let key = Signer::from_seed(&[1; 32]);
        let address = key.address().to_string();
        let module = [
            ("Data-Protocol", "ao"),
            ("Type", "Module"),
            ("Module-Format", "wasm32-weft-plain"),
            ("Input-Encoding", "JSON-1"),
            ("Output-Encoding", "JSON-1"),
        ];
        let module = sign(&key, None, &module, weft_vm::guests::COUNTER);
        let id = module.id().to_string();
        let process = [
            ("Data-Protocol", "ao"),
            ("Type", "Process"),
            ("Module", &*id),
            ("Scheduler", &*address),
            ("Compute-Limit", "10000000"),
            ("Cron-Interval", "7-seconds"),
            ("Cron-Tag-Action", "Increment"),
        ];
        let process = sign(&key, None, &process, b"");
        let terms = Terms { network: NETWORK, weave: Weave::Clock };
        let process = Arc::new(Process::accept(process, None, &terms).unwrap());
        let config = StoreConfig::new(NETWORK, key.address());
        let store = Store::open_with_backend(MemoryDisk::new(), &config).unwrap();
        store.write_blocking(vec![Write::Item { id: module.id(), raw: module.raw().clone() }]).unwrap();
        Self { key, store, engine: engine(), process, end: None }
    }

    /// Gives an item the next slot, on disk too.
    fn assign(&mut self, item: &Verified<DataItem>) -> VerifiedRecord {
        let (process, slot) = (self.process.id(), self.end.map_or(0, |end| end.slot + 1));
        let timestamp = START_MS + slot * 900;
        let draft = AssignmentDraft {
            network: NETWORK,
            process,
            epoch: 0,
            slot,
            hash_chain: self.end.map_or_else(|| hash_chain::first(process), |end| end.next()),
            time: TimePoint { timestamp, height: timestamp / 120_000 },
            message: (slot > 0).then(|| item.id()),
            excludes: Vec::new(),
        };
        let assignment = draft.draft().sign(&self.key).unwrap();
        let record = SlotRecord::from_wire(&to_wire(&assignment, item, None)).unwrap();
        let terms = EpochTerms::of_process(&self.process).unwrap();
        let record = record.verify(&self.process, &terms, None).unwrap();
        self.end = Some(record.link());
        let row = SlotRow {
            epoch: 0,
            assignment_id: assignment.id(),
            assignment: assignment.raw().clone(),
            item: item.id(),
            proof: None,
            chain: draft.hash_chain,
            timestamp,
            block_height: draft.time.height,
        };
        let item = Write::Item { id: item.id(), raw: item.raw().clone() };
        self.store.write_blocking(vec![item, Write::Slot { process, slot, row }]).unwrap();
        record
    }

    fn fresh(&self, engine: &Engine) -> Hosted {
        let (reader, host) = (self.store.read().unwrap(), Host { engine, ..self.host() });
        Hosted::fresh(Arc::clone(&self.process), load_module(&reader, host, &self.process).unwrap()).unwrap()
    }

    fn host(&self) -> Host<'_> {
        Host { engine: &self.engine, store: &self.store }
    }

    fn load(&self) -> Hosted {
        Hosted::load(Arc::clone(&self.process), &self.store.read().unwrap(), self.host()).unwrap()
    }

    /// Evaluates a slot and commits what it came to.
    fn run(&self, live: &mut Hosted, record: &VerifiedRecord) -> Vec<u8> {
        let steps = live.run_slot(record).unwrap();
        let process = self.process.id();
        let writes = steps.iter().flat_map(|step| outcome_writes(process, step, |_| false)).collect();
        self.store.write_blocking(writes).unwrap();
        steps.iter().map(|step| step.closed.outcome.code.number()).collect()
    }

    fn write_checkpoint(&self, live: &mut Hosted) {
        self.store.write_blocking(live.checkpoint().unwrap().unwrap().writes).unwrap();
    }

    /// A message, or one that is in the log already.
    fn item(&self, rng: &mut StdRng, number: usize, old: &[Verified<DataItem>]) -> Verified<DataItem> {
        let other = self.key.address().to_string();
        let action = match rng.random_range(0..20) {
            0..8 => "Increment",
            8..11 => "Fail",
            11..14 => "Relay",
            14..16 => "Loop",
            16..18 => "Nothing",
            _ if !old.is_empty() => return old[rng.random_range(0..old.len())].clone(),
            _ => "Increment",
        };
        let tags = [("Action", action), ("To", &*other)];
        sign(&self.key, Some(self.process.id()), &tags, format!("{number}").as_bytes())
    }
}

fn engine() -> Engine {
    Engine::new(EngineConfig::default()).unwrap()
}

fn root(hosted: &mut Hosted) -> Hash {
    hosted.summary().unwrap().unwrap().root()
}

#[test]
fn live_restored_and_replayed_processes_have_equal_states() {
    let messages = if std::env::var_os("WEFT_FULL").is_some() { 10_000 } else { 300 };
    let seed = std::env::var("WEFT_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(20_26);
    println!("WEFT_SEED={seed}");
    let mut rng = StdRng::seed_from_u64(seed);
    let mut world = World::new();
    let record = world.assign(&world.process.item().clone());
    let mut records = vec![record];
    let (mut live, mut restored) = (world.fresh(&world.engine), world.fresh(&world.engine));
    world.run(&mut live, &records[0]);
    restored.run_slot(&records[0]).unwrap();
    let (mut items, mut codes, mut restores) = (Vec::new(), [0; 9], 0);
    for number in 0..messages {
        let item = world.item(&mut rng, number, &items);
        let record = world.assign(&item);
        items.push(item);
        for code in world.run(&mut live, &record) {
            codes[usize::from(code)] += 1;
        }
        if rng.random_range(0..15) == 0 {
            world.write_checkpoint(&mut live);
        }
        if rng.random_range(0..10) == 0 {
            restored = world.load();
            restores += 1;
        } else {
            restored.run_slot(&record).unwrap();
        }
        if rng.random_range(0..5) == 0 {
            assert_eq!(root(&mut live), root(&mut restored), "WEFT_SEED={seed}, message {number}");
        }
        records.push(record);
    }
    let mut replayed = world.fresh(&engine());
    for record in &records {
        replayed.run_slot(record).unwrap();
    }
    let states = [&mut live, &mut restored, &mut replayed].map(root);
    assert_eq!(states, [states[0]; 3], "WEFT_SEED={seed}");
    // Ok, an error, out of gas, a duplicate: each was there.
    assert!(
        [0, 1, 3, 7].iter().all(|code| codes[*code] > 0) && restores > 0,
        "{codes:?}, {restores} restores"
    );
}

#[test]
fn a_damaged_checkpoint_is_passed_over_for_the_one_before_it_and_for_slot_0() {
    let mut world = World::new();
    let process = world.process.id();
    let mut live = world.fresh(&world.engine);
    let record = world.assign(&world.process.item().clone());
    world.run(&mut live, &record);
    let mut at = Vec::new();
    for number in 0..40 {
        let item = sign(&world.key, Some(process), &[("Action", "Increment")], &[number]);
        let record = world.assign(&item);
        world.run(&mut live, &record);
        if number % 10 == 5 {
            world.write_checkpoint(&mut live);
            at.push(Position::slot(u64::from(number) + 1));
        }
    }
    let expected = root(&mut live);
    let mut sound = world.load();
    assert_eq!((root(&mut sound), sound.since().slots), (expected, 4));
    assert_eq!(sound.take_damaged(), []);
    let mut broken = Vec::new();
    for (way, position) in at.iter().rev().enumerate() {
        let mut row = world.store.read().unwrap().checkpoint(&process, *position).unwrap().unwrap();
        match way {
            0 => row.state = [&[row.state[0] ^ 1], &row.state[1..]].concat().into(),
            1 => row.memory_bytes += 65_536,
            2 => row.pages.clear(),
            _ => row = world.store.read().unwrap().checkpoint(&process, at[1]).unwrap().unwrap(),
        }
        world.store.write_blocking(vec![Write::Checkpoint { process, position: *position, row }]).unwrap();
        broken.push(*position);
        let mut loaded = world.load();
        assert_eq!(root(&mut loaded), expected, "after {way}");
        assert_eq!(loaded.take_damaged(), broken);
    }
    // All of them are of no use by now: everything was replayed.
    assert_eq!(world.load().since().slots, 41);
}

#[test]
fn a_checkpoint_writes_only_what_changed_since_the_one_before() {
    let mut world = World::new();
    let mut live = world.fresh(&world.engine);
    let record = world.assign(&world.process.item().clone());
    world.run(&mut live, &record);
    let pages = |writes: &[Write]| writes.iter().filter(|write| matches!(write, Write::Page(_))).count();
    let first = live.checkpoint().unwrap().unwrap().writes;
    assert_eq!(pages(&first), 1);
    assert_eq!(pages(&live.checkpoint().unwrap().unwrap().writes), 0);
    live.forget_stored();
    assert_eq!(pages(&live.checkpoint().unwrap().unwrap().writes), 1);
}
