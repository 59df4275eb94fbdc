//! How long a node with many processes takes to start and to stop, and the memory it takes.
//!
//! The folder is made by [`folder`], half of its processes scheduled by the node and half followed; the
//! node is the real `weft up`, asked over its socket. Given are the medians of some turns: until the
//! socket answers, until the node says that it is ready, until a message to any process has its slot,
//! until that is evaluated, and from `stop` to the end of the process; memory once that is so. Beside
//! them, in turns with the node: redb alone opens the same store and reads what is done for each process.
//! `cargo bench -p weft-node --bench restart [-- --quick]`; files are in `TMPDIR`, and in its page
//! cache. `-- --make FOLDER PROCESSES` makes a folder for other uses and ends.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)]

mod bare;
mod folder;
mod node;

use std::path::Path;
use std::time::{Duration, Instant};

use bare::Opened;
use bytes::Bytes;
use folder::Folder;
use node::{Times, Up};
use weft_protocol::Id;
use weft_protocol::crypto::Signer;

/// Turns of each size; the middle one counts.
const TURNS: usize = 5;

fn main() {
    let given: Vec<String> = std::env::args().skip(1).collect();
    if let Some(at) = given.iter().position(|word| word == "--make") {
        let [folder, processes] = &given[at + 1..at + 3] else { panic!("--make FOLDER PROCESSES") };
        let made = folder::make(Path::new(folder), processes.parse().expect("a number of processes"));
        println!("{folder}: {} own and {} foreign processes", made.own.len(), made.foreign.len());
        return;
    }
    let is = |flag: &str| given.iter().any(|word| word == flag);
    // `tests/run` only asks whether it runs.
    let (sizes, turns): (&[usize], usize) = if is("--test") || !is("--bench") {
        (&[10], 1)
    } else if is("--quick") {
        (&[10, 1_000, 10_000], 3)
    } else {
        (&[10, 1_000, 10_000, 100_000], TURNS)
    };
    for processes in sizes {
        measure(*processes, turns);
    }
}

/// One of the times of a turn.
type Of = fn(&Times) -> Duration;

fn measure(processes: usize, turns: usize) {
    let folder = tempfile::tempdir().unwrap();
    let store = folder.path().join("store.redb");
    let began = Instant::now();
    let Folder { own, foreign } = folder::make(folder.path(), processes);
    let bytes = std::fs::metadata(&store).unwrap().len();
    println!(
        "{processes} processes ({} own, {} followed), {} slots each: {:.1} MB on disk, made in {:.1?}",
        own.len(),
        foreign.len(),
        folder::SLOTS,
        bytes as f64 / 1e6,
        began.elapsed()
    );
    let start = |turn: usize| {
        // Another one each time: one that was asked before is in no better a place than others.
        let asked = own[turn * (own.len() - 1) / (turns + 2)];
        Up::start(folder.path(), &message(asked, turn), asked)
    };
    let (mut all, mut alone) = (Vec::new(), Vec::new());
    for turn in 0..turns {
        let (up, mut times) = start(turn);
        times.stopped = up.stop();
        all.push(times);
        alone.push(bare::open(&store, processes));
    }
    report(&all, &alone);
    // Dropped, it is killed where it stands: twice, for whoever opens the file first mends it.
    drop(start(turns));
    let mended = bare::open(&store, processes).read;
    drop(start(turns + 1));
    let (up, after) = start(turns + 2);
    up.stop();
    println!(
        "    after kill -9 the socket answers: {:.1?}, a message has its slot: {:.1?}; bound: bare redb {mended:.1?}, ratio {:.1}",
        after.answers,
        after.assigned,
        after.answers.as_secs_f64() / mended.as_secs_f64()
    );
}

fn report(all: &[Times], alone: &[Opened]) {
    let lines: [(&str, Of); 5] = [
        ("the socket answers", |times| times.answers),
        ("the node is ready", |times| times.ready),
        ("a message has its slot", |times| times.assigned),
        ("it is evaluated", |times| times.evaluated),
        ("stop", |times| times.stopped),
    ];
    for (what, of) in lines {
        let (median, worst) = middle(all.iter().map(of));
        println!("    {what}: {median:.1?} (worst {worst:.1?})");
    }
    let (answers, _) = middle(all.iter().map(|times| times.answers));
    let (open, _) = middle(alone.iter().map(|opened| opened.open));
    let (read, worst) = middle(alone.iter().map(|opened| opened.read));
    println!(
        "    bound: bare redb has the store open: {open:.1?}, its processes read: {read:.1?} (worst {worst:.1?}); ratio of the \
         socket's answer to that {:.1}",
        answers.as_secs_f64() / read.as_secs_f64()
    );
    let memory = all.iter().map(|times| times.memory_bytes).max().unwrap_or_default();
    println!("    memory: {:.1} MB", memory as f64 / 1e6);
}

/// The middle one and the worst.
fn middle(times: impl Iterator<Item = Duration>) -> (Duration, Duration) {
    let mut times: Vec<Duration> = times.collect();
    times.sort_unstable();
    (times[times.len() / 2], times[times.len() - 1])
}

/// A message of a stranger.
fn message(process: Id, number: usize) -> Bytes {
    let mut anchor = [b'0'; 32];
    anchor[..8].copy_from_slice(&(number as u64).to_be_bytes());
    let tags = [("Type", "Message"), ("Action", "Increment")];
    let signer = Signer::from_seed(&[7; 32]);
    folder::item(&signer, Some(process), anchor, &tags, Bytes::new()).raw().clone()
}
