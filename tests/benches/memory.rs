//! Memory that a process takes, and how soon a cold one answers.
//!
//! Every figure is of an OS process of its own, which this program starts: what the system says is
//! resident and not of a file (`RssAnon`), from 1 process to many.
//!
//! `hot`: processes of aos, of the built-in Lua and of the counter, booted, each after 10 messages, beside as many
//! instances of bare wasmtime that share one compiled module and had the same messages. `cold`: a whole node on a
//! folder with so many processes, none of them in memory: a row of its directory each. Its bytes on disk stand
//! beside those that nobody could make again. Then some of them are sent a message each, which is answered from the
//! disk, and another one, which is answered from memory.
//! `resident`: a whole node with 100,000 Lua processes on disk, of which 10,000 have all just had a message
//! and are in memory, within 4 GiB, beside as many instances of bare wasmtime that had the same messages; how
//! soon one of them answers another, and one on disk its first.
//! `cargo bench -p weft-tests --bench memory [-- [--quick] [PART]]`; files are in `TMPDIR`. Linux only.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)]

#[path = "memory/bare.rs"]
mod bare;
#[path = "memory/cold.rs"]
mod cold;
#[path = "memory/hot.rs"]
mod hot;
#[path = "memory/node.rs"]
mod node;
#[path = "memory/resident.rs"]
mod resident;

use std::path::Path;
use std::process::{Command, Stdio};

/// Names what an OS process started by this program does.
const CHILD: &str = "--child";
/// Lua processes that one node has in memory at once, and on disk.
const RESIDENT: (usize, usize) = (10_000, 100_000);

fn main() {
    let given: Vec<String> = std::env::args().skip(1).collect();
    if let [child, what, rest @ ..] = given.as_slice()
        && child == CHILD
    {
        return work(what, rest);
    }
    let is = |flag: &str| given.iter().any(|argument| argument == flag);
    if !cfg!(target_os = "linux") {
        println!("SKIPPED memory: this system does not say what is resident as Linux does");
        return;
    }
    // `tests/run` only asks whether it runs.
    let (aos, lua, counters, cold, all) = if is("--test") || !is("--bench") {
        (2, 10, 10, 20, (10, 20))
    } else if is("--quick") {
        (20, 100, 500, 1_000, (1_000, 2_000))
    } else {
        (100, 10_000, 3_000, 10_000, RESIDENT)
    };
    let parts = ["hot", "cold", "resident"];
    let wanted = |part: &str| is(part) || !parts.iter().any(|part| is(part));
    if wanted("hot") {
        hot::compare("aos", aos);
        hot::compare("lua", lua);
        hot::compare("counter", counters);
    }
    if wanted("cold") {
        cold::compare(cold);
    }
    if wanted("resident") {
        resident::compare(all.0, all.1);
    }
}

/// What a child does; its answer is its last line.
fn work(what: &str, rest: &[String]) {
    let number = |at: usize| rest[at].parse().unwrap();
    match what {
        "hot" => hot::measure(&rest[0], number(1)),
        "bare" => hot::measure_bare(&rest[0], number(1)),
        "fill" => node::fill(Path::new(&rest[0]), node::Guest::named(&rest[1]), number(2)),
        "resident" => resident::measure(Path::new(&rest[0]), number(1), number(2)),
        "resident-bare" => resident::measure_bare(number(0)),
        "cold" => cold::measure(Path::new(&rest[0]), number(1)),
        other => panic!("no such work: {other}"),
    }
}

/// Runs a child to its end; the numbers that it printed.
fn child(arguments: &[&str]) -> Vec<f64> {
    let program = std::env::current_exe().unwrap();
    let mut command = Command::new(program);
    command.arg(CHILD).args(arguments).stderr(Stdio::inherit());
    let output = command.output().unwrap();
    assert!(output.status.success(), "{arguments:?} failed");
    let text = String::from_utf8(output.stdout).unwrap();
    text.split_whitespace().map(|number| number.parse().unwrap()).collect()
}

/// Bytes of this OS process that are in memory and not of a file.
fn resident_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).unwrap();
    line.trim().strip_suffix("kB").unwrap().trim().parse::<u64>().unwrap() * 1024
}

fn on_guest_thread(work: impl FnOnce() + Send + 'static) {
    weft_vm::spawn_guest_thread("bench", work).unwrap().join().unwrap();
}
