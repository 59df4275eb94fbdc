//! What checkpoints cost: size and time per 1,000 messages, and a process that comes back from one.
//!
//! A process of aos whose state grows with each message, and the built-in counter, each with a store
//! on the disk of `TMPDIR`. After every 1,000 messages its checkpoint is taken and committed. Beside
//! each: the same leaves uncompressed, through the same store; the compressed bytes in a plain file,
//! synced, which is what the disk takes; and copying the memory alone. Then the process is read back
//! and has its first message, beside bare wasmtime given the same memory, which it need not read, and the same
//! message. Last, a replay: what of it is reading and verifying slots.
//! `cargo bench -p weft-tests --bench checkpoints [-- --quick]`
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)]

use std::collections::BTreeSet;
use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::time::{Duration, Instant};

use bytes::Bytes;
use weft_node::compute::hosted::Hosted;
use weft_protocol::Position;
use weft_protocol::message::{env_json, message_json};
use weft_protocol::module::Module;
use weft_storage::{PackedPage, Store, StoreError, Write};
use weft_testnet::aos::{self, Aos};
use weft_tests::lone::{Kind, Lone, modules, store_config};
use weft_vm::{Engine, EngineConfig, Format, Guard, LEAF_BYTES, Limits};

/// Each message adds a record of about a kilobyte.
const GROW: &str = "Log = Log or {} table.insert(Log, {n = #Log, \
    text = string.rep(tostring(#Log) .. ' ', 200)}) return #Log";
/// Times that a process is read back.
const BACK: usize = 11;

struct Guest<'a> {
    name: &'static str,
    kind: Kind<'a>,
    action: &'static str,
    data: &'static str,
}

fn main() {
    let given: Vec<String> = std::env::args().skip(1).collect();
    let is = |flag: &str| given.iter().any(|argument| argument == flag);
    // `tests/run` only asks whether it runs.
    let (rounds, messages) = if is("--test") || !is("--bench") {
        (1, 20)
    } else if is("--quick") {
        (3, 1_000)
    } else {
        (10, 1_000)
    };
    let work = move || {
        match Aos::find(None).unwrap() {
            Aos::There { wasm, .. } => {
                let kind = Kind { wasm: &wasm, format: aos::FORMAT, tags: &[] };
                measure(&Guest { name: "aos", kind, action: "Eval", data: GROW }, rounds, messages);
            }
            Aos::Skipped(why) => println!("SKIPPED aos: {why}"),
        }
        let guest = Guest { name: "counter", kind: Kind::COUNTER, action: "Increment", data: "" };
        measure(&guest, rounds, messages);
    };
    weft_vm::spawn_guest_thread("bench", work).unwrap().join().unwrap();
}

fn measure(guest: &Guest<'_>, rounds: u64, messages: u64) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.redb");
    let store = Store::open(&path, &store_config()).unwrap();
    let modules = modules(Some(folder.path().join("compiled")));
    let mut lone = Lone::new(&guest.kind, guest.name, store, modules);
    let mut live = lone.fresh();
    let opening = lone.open();
    lone.run(&mut live, &opening);
    for round in 0..rounds {
        let started = Instant::now();
        for number in 0..messages {
            let record = lone.send(guest.action, round * messages + number, guest.data);
            for step in lone.run(&mut live, &record) {
                assert!(step.closed.outcome.code.keeps_memory(), "{}", step.result);
            }
        }
        let took = started.elapsed() / u32::try_from(messages).unwrap();
        println!("{}: {messages} more messages, {took:.1?} each with their commit", guest.name);
        checkpoint(guest, &lone, &mut live, folder.path());
    }
    drop(live);
    come_back(guest, &mut lone);
    replay(guest, &lone);
}

/// Takes and commits a checkpoint, and compares what it writes.
fn checkpoint(guest: &Guest<'_>, lone: &Lone, live: &mut Hosted, folder: &Path) {
    let started = Instant::now();
    let image = live.memory().unwrap();
    image.root();
    let hashed = started.elapsed();
    let started = Instant::now();
    let mut writes = Vec::new();
    let mut put = |part: Vec<Write>| {
        writes.extend(part);
        Ok::<(), StoreError>(())
    };
    let last = live.checkpoint(&mut put).unwrap().unwrap().writes;
    writes.extend(last);
    let packed = started.elapsed();
    let page = |write: &Write| if let Write::Page(page) = write { Some(page.clone()) } else { None };
    let pages: Vec<PackedPage> = writes.iter().filter_map(page).collect();
    let names: BTreeSet<_> = pages.iter().map(PackedPage::hash).collect();
    let small: Vec<u8> = pages.iter().flat_map(|page| page.packed().to_vec()).collect();
    let started = Instant::now();
    lone.store.write_blocking(writes).unwrap();
    let committed = started.elapsed();
    let blobs: Vec<Write> = image
        .leaves(|hash| names.contains(hash))
        .map(|(_, _, leaf)| Write::Blob(Bytes::from(leaf)))
        .collect();
    let raw_bytes = blobs.len() * LEAF_BYTES;
    let started = Instant::now();
    lone.store.write_blocking(blobs).unwrap();
    let raw = started.elapsed();
    let started = Instant::now();
    let mut file = File::create(folder.join("bound")).unwrap();
    file.write_all(&small).unwrap();
    file.sync_all().unwrap();
    let bound = started.elapsed();
    println!(
        "{}: checkpoint of {} leaves, {} changed: {} KiB compressed, {} KiB as they are; \
         read and hashed in {hashed:.1?}, packed in {packed:.1?}, committed in {committed:.1?}; \
         uncompressed committed in {raw:.1?}; bound: compressed bytes to a file, synced, {bound:.1?}",
        guest.name,
        image.leaf_hashes().len(),
        names.len(),
        small.len() / 1024,
        raw_bytes / 1024,
    );
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}

/// Back from the checkpoint and through the first message after it; in turns, bare wasmtime from a memory that is
/// there already: no store, no fold, no guard.
fn come_back(guest: &Guest<'_>, lone: &mut Lone) {
    let record = lone.send(guest.action, u64::MAX, guest.data);
    let message = message_json(record.assignment(), record.item(), record.origin());
    let environment = env_json(&lone.process, &Module::accept(guest.kind.module()).unwrap());
    let config = EngineConfig { guard: Guard::Off, roll_back: false, ..EngineConfig::default() };
    let engine = Engine::new(config).unwrap();
    let module = engine.compile(guest.kind.wasm, Format::parse(guest.kind.format).unwrap()).unwrap();
    let limits = Limits { gas: 9_000_000_000_000, memory_bytes: 1 << 30 };
    let image = lone.load().memory().unwrap();
    let (mut loaded, mut answered) = (Vec::new(), Vec::new());
    let (mut restored, mut evaluated) = (Vec::new(), Vec::new());
    for _ in 0..BACK {
        let started = Instant::now();
        let mut hosted = lone.load();
        loaded.push(started.elapsed());
        hosted.run_slot(&record).unwrap();
        answered.push(started.elapsed());
        let memory = hosted.memory().unwrap();
        drop(hosted);
        let started = Instant::now();
        let mut instance = module.restore(&image, limits).unwrap();
        restored.push(started.elapsed());
        instance.evaluate(message.as_bytes(), environment.as_bytes()).unwrap();
        instance.keep().unwrap();
        evaluated.push(started.elapsed());
        assert!(instance.memory_image().unwrap() == memory, "{}: they did not do the same", guest.name);
    }
    let [loaded, answered, restored, evaluated] = [loaded, answered, restored, evaluated].map(median);
    println!(
        "{}: back from its checkpoint in {loaded:.2?}, its first message answered after {answered:.2?}; \
         bound: bare wasmtime given {} KiB of memory in {restored:.2?}, ratio {:.1}, the same message answered \
         after {evaluated:.2?}, ratio {:.1}",
        guest.name,
        image.stored_bytes() / 1024,
        loaded.as_secs_f64() / restored.as_secs_f64(),
        answered.as_secs_f64() / evaluated.as_secs_f64(),
    );
}

/// Everything again from slot 0, with reading and verifying slots apart.
fn replay(guest: &Guest<'_>, lone: &Lone) {
    let reader = lone.store.read().unwrap();
    let head = reader.last_outcome(&lone.process.id()).unwrap().unwrap().0.slot;
    let slots = u32::try_from(head + 1).unwrap();
    let started = Instant::now();
    let records = lone.read_back(head);
    let read = started.elapsed() / slots;
    let mut live = lone.fresh();
    let started = Instant::now();
    for record in &records {
        live.run_slot(record).unwrap();
    }
    let run = started.elapsed() / slots;
    assert_eq!(live.summary().unwrap().unwrap().position, Position::slot(head));
    println!(
        "{}: replay of {slots} slots: {run:.1?} a slot, and {read:.1?} to read and verify it",
        guest.name
    );
}
