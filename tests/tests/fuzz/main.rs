//! The fuzz targets over seeds, the committed corpus, regressions and mutations of them, with their
//! memory counted: no bytes may cost more than a small multiple of themselves.
//!
//! `WEFT_FULL=1` runs many more mutations. `WEFT_FUZZ_CORPUS=FOLDER` writes the seeds for
//! `tests/fuzz/run.sh`. A failure prints the input, which becomes a file in
//! `tests/fuzz/regressions/TARGET`.

#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout)]

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rand::rngs::StdRng;
use rand::{Rng as _, RngExt as _, SeedableRng as _};
use weft_tests::counting::Counting;
use weft_tests::full::is_full;
use weft_tests::fuzz::{TARGETS, Target};

mod seeds;

/// Mutations of each target.
const MUTATIONS: usize = 4_000;
/// Mutations of a target that compiles modules or writes files.
const MUTATIONS_SLOW: usize = 400;
/// How many times more run with `WEFT_FULL`.
const FULL: usize = 100;
/// Bytes of the committed corpus: everybody who clones takes them.
const CORPUS_BYTES_MAX: u64 = 1 << 20;

// ------------------------------------------------------------------------------------- memory

thread_local! {
    // What each thread holds.
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

#[global_allocator]
static ALLOCATOR: Counting = Counting(count);

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
fn run(target: Target, bytes: &[u8]) -> usize {
    let name = target.name;
    let outcome = catch_unwind(AssertUnwindSafe(|| peak_of(|| (target.run)(bytes))));
    let allowed = target.held_fixed + target.held_per_byte * bytes.len();
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

fn named(name: &str) -> Target {
    TARGETS.into_iter().find(|target| target.name == name).unwrap()
}

/// The files of `tests/fuzz/KIND/TARGET`.
fn committed(kind: &str, target: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz").join(kind).join(target);
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    let mut paths: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths
}

/// Runs what is known, and `mutations` changes of it.
fn check(name: &str, mutations: usize) {
    let target = named(name);
    let mut corpus = seeds::seeds(name);
    assert!(corpus.len() >= 4, "{name}: too few seeds");
    // What is made once for the whole program is no input's cost.
    corpus.iter().for_each(|seed| (target.run)(seed));
    for kind in ["corpus", "regressions"] {
        let files = committed(kind, name);
        assert!(
            kind != "corpus" || !files.is_empty(),
            "{name} has no corpus: tests/fuzz/run.sh --keep {name}"
        );
        corpus.extend(files.into_iter().map(|path| std::fs::read(path).unwrap()));
    }
    let mut peak = corpus.iter().map(|seed| run(target, seed)).max().unwrap();
    let mutations = if is_full() { mutations * FULL } else { mutations };
    let mut rng = StdRng::seed_from_u64(0x77_65_66_74);
    for _ in 0..mutations {
        let mut bytes = corpus[rng.random_range(0..corpus.len())].clone();
        let other = rng.random_range(0..corpus.len());
        mutate(&mut rng, &mut bytes, &corpus[other]);
        peak = peak.max(run(target, &bytes));
        let mut noise = vec![0; rng.random_range(0..256)];
        rng.fill_bytes(&mut noise);
        peak = peak.max(run(target, &noise));
    }
    println!("{name}: {} inputs, {mutations} mutations, at most {peak} bytes held", corpus.len());
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
    let mut dense = vec![("bundle", entries), ("l1", many_tags), ("wire", heads), ("wire", slots)];
    // Values, keys and entries that each take two characters or little more.
    let response = |fields: &str| format!(r#"{{"ok":1,"response":{{{fields}}}}}"#).into_bytes();
    dense.push(("result", response(&format!(r#""Output":[{}0]"#, "0,".repeat(count)))));
    dense.push(("result", response(&format!(r#""Messages":[{}[]]"#, "[],".repeat(count)))));
    dense.push(("result", response(&format!(r#""Output":[{}{{}}]"#, r#"{"":0},"#.repeat(count / 2)))));
    dense.push(("control", format!(r#"{{"do":"status","x":[{}0]}}"#, "0,".repeat(count)).into_bytes()));
    dense.push(("control", format!("[{}0]", "0,".repeat(count)).into_bytes()));
    for (name, bytes) in dense {
        let peak = run(named(name), &bytes);
        println!("{name}: {} dense bytes, {peak} held", bytes.len());
    }
}

#[test]
fn items_survive_any_bytes() {
    check("item", MUTATIONS);
}

#[test]
fn bundles_survive_any_bytes() {
    check("bundle", MUTATIONS);
}

#[test]
fn transactions_survive_any_bytes() {
    check("l1", MUTATIONS);
}

#[test]
fn wire_messages_survive_any_bytes() {
    check("wire", MUTATIONS);
}

#[test]
fn results_survive_any_bytes() {
    check("result", MUTATIONS);
}

#[test]
fn modules_survive_any_bytes() {
    check("module", MUTATIONS_SLOW);
}

#[test]
fn configurations_survive_any_bytes() {
    check("config", MUTATIONS_SLOW);
}

#[test]
fn requests_to_the_socket_survive_any_bytes() {
    check("control", MUTATIONS);
}

#[test]
fn rows_survive_any_bytes() {
    check("record", MUTATIONS);
}

#[test]
fn checkpoints_survive_any_bytes() {
    check("checkpoint", MUTATIONS);
}

/// Writes the seeds where it is asked to, and holds the folders to the table of targets.
#[test]
fn seeds_and_corpus_belong_to_targets() {
    let names = TARGETS.map(|target| target.name);
    if let Some(folder) = std::env::var_os("WEFT_FUZZ_CORPUS") {
        for name in names {
            write(&Path::new(&folder).join(name), &seeds::seeds(name));
        }
    }
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz");
    let minutes = std::fs::read_to_string(folder.join("minutes.txt")).unwrap();
    let timed: Vec<_> = minutes.lines().filter(|line| !line.starts_with('#')).collect();
    let timed: Vec<_> = timed.iter().map(|line| line.split_once(' ').unwrap().0).collect();
    assert_eq!(timed, names, "minutes.txt has a line for each target, in their order");
    for kind in ["corpus", "regressions"] {
        let Ok(entries) = std::fs::read_dir(folder.join(kind)) else { continue };
        for entry in entries {
            let name = entry.unwrap().file_name().into_string().unwrap();
            assert!(names.contains(&name.as_str()), "tests/fuzz/{kind}/{name} belongs to no target");
        }
    }
    let files = names.iter().flat_map(|name| committed("corpus", name));
    let bytes: u64 = files.map(|path| path.metadata().unwrap().len()).sum();
    assert!(bytes <= CORPUS_BYTES_MAX, "the corpus has {bytes} bytes: minimise it with run.sh --keep");
}
