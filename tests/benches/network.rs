//! What a network costs as it grows, and how soon a process is found in it.
//!
//! `join`: a node takes up a process that one other node serves: cold, right after it started in an empty
//! folder knowing one third node, and when it is connected with who serves it. `topics`: a swarm on so many topics, and another
//! that meets it. `peers`: a swarm with so many peers on one topic. `processes`: a node that schedules so many
//! processes, and another that takes up some of them.
//! `cargo bench -p weft-tests --bench network [-- [--quick] [PART]]`; all is in this program, over loopback; files are in `TMPDIR`.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)]

#[path = "network/growth.rs"]
mod growth;
#[path = "network/join.rs"]
mod join;
#[path = "network/node.rs"]
mod node;

use std::time::Duration;

use weft_tests::embedded::block_on;

fn main() {
    let given: Vec<String> = std::env::args().skip(1).collect();
    let is = |flag: &str| given.iter().any(|argument| argument == flag);
    // `tests/run` only asks whether it runs.
    let (joins, topics, peers, processes): (_, &[usize], &[usize], &[usize]) =
        if is("--test") || !is("--bench") {
            (2, &[10], &[3], &[10])
        } else if is("--quick") {
            (20, &[10, 1_000], &[10, 50], &[10, 1_000])
        } else {
            (100, &[10, 1_000, 2_048], &[10, 50, 100], &[10, 1_000, 10_000])
        };
    // Each in a runtime of its own, so that none pays for what another leaves behind.
    let parts = ["join", "topics", "peers", "processes"];
    let wanted = |part: &str| is(part) || !parts.iter().any(|part| is(part));
    if wanted("join") {
        block_on(join::join(joins));
    }
    for count in topics.iter().filter(|_| wanted("topics")) {
        block_on(growth::topics(*count));
    }
    for count in peers.iter().filter(|_| wanted("peers")) {
        block_on(growth::peers(*count));
    }
    for count in processes.iter().filter(|_| wanted("processes")) {
        block_on(join::processes(*count, joins.min(*count)));
    }
}

/// Milliseconds: the middle, the 99th of a hundred, and the longest.
fn spread(mut times: Vec<Duration>) -> String {
    times.sort_unstable();
    let at = |percent: usize| times[(times.len() * percent / 100).min(times.len() - 1)].as_secs_f64() * 1e3;
    format!("p50 {:.0} ms, p99 {:.0} ms, at most {:.0} ms", at(50), at(99), at(100))
}

/// A number of `/proc/self/stat` or `statm`; nothing where there is none.
fn proc_number(file: &str, skip: usize) -> f64 {
    let text = std::fs::read_to_string(format!("/proc/self/{file}")).unwrap_or_default();
    // The program's name in brackets may hold spaces.
    let rest = text.rsplit_once(')').map_or(text.as_str(), |(_, rest)| rest);
    rest.split_whitespace().nth(skip).and_then(|word| word.parse().ok()).unwrap_or(0.0)
}

/// Processor time of this program, in milliseconds: the kernel counts in hundredths of a second.
fn cpu_ms() -> f64 {
    (proc_number("stat", 11) + proc_number("stat", 12)) * 10.0
}

/// Resident memory of this program.
fn resident_kib() -> f64 {
    proc_number("statm", 1) * 4.0
}
