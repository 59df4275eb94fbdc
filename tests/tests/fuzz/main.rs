//! The fuzz targets over seeds, regressions and mutations, on the stable toolchain, with their
//! memory counted: no bytes may cost more than a small multiple of themselves.
//!
//! `WEFT_FULL=1` runs many more mutations. `WEFT_FUZZ_CORPUS=FOLDER` writes the seeds for
//! cargo-fuzz. A failure prints the input, which becomes a file in
//! `tests/fuzz/regressions/TARGET`.

#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rand::rngs::StdRng;
use rand::{Rng as _, RngExt as _, SeedableRng as _};
use weft_tests::fuzz::TARGETS;

mod seeds;

/// Mutations of each target.
const MUTATIONS: usize = 4_000;
/// Mutations of each target with `WEFT_FULL`.
const MUTATIONS_FULL: usize = 400_000;
/// Live bytes that an input may cost for each of its own.
const BYTES_PER_BYTE: usize = 8;
/// Live bytes that any input may cost: an RSA check, error texts.
const BYTES_FIXED: usize = 32 * 1024;

// ------------------------------------------------------------------------------------- memory

/// Counts what each thread holds.
struct Counting;

thread_local! {
    static LIVE: Cell<isize> = const { Cell::new(0) };
    static PEAK: Cell<isize> = const { Cell::new(0) };
}

fn count(change: isize) {
    // Without a destructor, so there is always a value; a thread that ends is not measured.
    let _ = LIVE.try_with(|live| {
        live.set(live.get() + change);
        let _ = PEAK.try_with(|peak| peak.set(peak.get().max(live.get())));
    });
}

// SAFETY: every call is passed on to the system's allocator unchanged; counting allocates nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as isize);
        // SAFETY: the caller keeps the contract of this same method.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        count(-(layout.size() as isize));
        // SAFETY: the caller keeps the contract of this same method.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// The most bytes that `run` held at once.
fn peak_of(run: impl FnOnce()) -> usize {
    let before = LIVE.get();
    PEAK.set(before);
    run();
    (PEAK.get() - before) as usize
}

// ---------------------------------------------------------------------------------- mutations

/// Changes bytes the way that breaks parsers: bits, lengths at their extremes, cuts and splices.
fn mutate(rng: &mut StdRng, bytes: &mut Vec<u8>, other: &[u8]) {
    for _ in 0..rng.random_range(1..4) {
        let at = rng.random_range(0..=bytes.len());
        let end = bytes.len().min(at + rng.random_range(0..64));
        match rng.random_range(0..8) {
            0 if at < bytes.len() => bytes[at] ^= 1 << rng.random_range(0..8),
            1 if at < bytes.len() => bytes[at] = rng.random(),
            2 => bytes.truncate(at),
            3 => drop(bytes.drain(at..end)),
            4 => {
                let copy = bytes[at..end].to_vec();
                bytes.splice(at..at, copy);
            }
            5 => {
                let number = [0, 1, u64::MAX, i64::MAX as u64, 1 << 31, 4097][rng.random_range(0..6)];
                let end = bytes.len().min(at + 8);
                bytes[at..end].copy_from_slice(&number.to_le_bytes()[..end - at]);
            }
            6 => {
                let from = rng.random_range(0..=other.len());
                bytes.splice(at.., other[from..].iter().copied());
            }
            _ => bytes[at..end].fill(rng.random()),
        }
    }
}

/// Runs a target and fails with the input, should it panic or hold too much.
fn run(name: &str, target: fn(&[u8]), bytes: &[u8]) -> usize {
    let outcome = catch_unwind(AssertUnwindSafe(|| peak_of(|| target(bytes))));
    let allowed = BYTES_FIXED + BYTES_PER_BYTE * bytes.len();
    match outcome {
        Ok(peak) if peak <= allowed => peak,
        Ok(peak) => panic!(
            "{name}: {} bytes cost {peak}, more than {allowed}: {}",
            bytes.len(),
            STANDARD.encode(bytes)
        ),
        Err(_) => panic!("{name}: panicked on {}", STANDARD.encode(bytes)),
    }
}

fn check(name: &str) {
    let (_, target) = TARGETS.into_iter().find(|(target, _)| *target == name).unwrap();
    let mut corpus = seeds::seeds(name);
    assert!(corpus.len() >= 4, "{name}: too few seeds");
    if let Some(folder) = std::env::var_os("WEFT_FUZZ_CORPUS") {
        write(&Path::new(&folder).join(name), &corpus);
    }
    let regressions = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/regressions").join(name);
    if let Ok(entries) = std::fs::read_dir(regressions) {
        corpus.extend(entries.map(|entry| std::fs::read(entry.unwrap().path()).unwrap()));
    }
    let mut peak = corpus.iter().map(|seed| run(name, target, seed)).max().unwrap();
    let mutations = if std::env::var_os("WEFT_FULL").is_some_and(|full| !full.is_empty()) {
        MUTATIONS_FULL
    } else {
        MUTATIONS
    };
    let mut rng = StdRng::seed_from_u64(0x77_65_66_74);
    for _ in 0..mutations {
        let mut bytes = corpus[rng.random_range(0..corpus.len())].clone();
        let other = rng.random_range(0..corpus.len());
        mutate(&mut rng, &mut bytes, &corpus[other]);
        peak = peak.max(run(name, target, &bytes));
        let mut noise = vec![0; rng.random_range(0..256)];
        rng.fill_bytes(&mut noise);
        peak = peak.max(run(name, target, &noise));
    }
    println!("{name}: {} seeds, {mutations} mutations, at most {peak} bytes held", corpus.len());
}

fn write(folder: &Path, corpus: &[Vec<u8>]) {
    std::fs::create_dir_all(folder).unwrap();
    for (at, seed) in corpus.iter().enumerate() {
        std::fs::write(folder.join(format!("seed-{at}")), seed).unwrap();
    }
}

/// The inputs that ask for the most structure with the fewest bytes.
#[test]
fn dense_inputs_cost_no_more_than_others() {
    let count = 50_000_usize;
    let mut entries = vec![0; 32 + 64 * count];
    entries[..8].copy_from_slice(&(count as u64).to_le_bytes());
    let tx = seeds::seeds("l1").into_iter().find(|seed| seed.starts_with(b"{")).unwrap();
    let mut tx: serde_json::Value = serde_json::from_slice(&tx).unwrap();
    tx["tags"] = vec![serde_json::json!({ "name": "", "value": "" }); count].into();
    let many_tags = tx.to_string().into_bytes();
    // Empty elements of repeated fields: of a head response and of a range response.
    let heads = [0x12, 0xa0, 0x8d, 0x06].into_iter().chain([0x0a, 0x00].repeat(count)).collect();
    let slots = [0x1a, 0xa0, 0x8d, 0x06].into_iter().chain([0x0a, 0x00].repeat(count)).collect();
    for (name, bytes) in [("bundle", entries), ("l1", many_tags), ("wire", heads), ("wire", slots)] {
        let (_, target) = TARGETS.into_iter().find(|(target, _)| *target == name).unwrap();
        let peak = run(name, target, &bytes);
        println!("{name}: {} dense bytes, {peak} held", bytes.len());
    }
}

#[test]
fn items_survive_any_bytes() {
    check("item");
}

#[test]
fn bundles_survive_any_bytes() {
    check("bundle");
}

#[test]
fn transactions_survive_any_bytes() {
    check("l1");
}

#[test]
fn wire_messages_survive_any_bytes() {
    check("wire");
}
