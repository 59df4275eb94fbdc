//! What pushes cost, and what they cost as messengers grow, in one table.
//!
//! `proof`: bytes of an origin proof by the quorum that signed it and the outbox, and the processor's time that making a push
//! and checking it from raw bytes take, the check beside as many bare ed25519 checks as it has signatures. `market`: what 5, 50
//! and 500 messengers cost: hearing their offers, choosing a window's set, reading it, ranking a push, and what their offers
//! come to on the topic of a process and on a lobby shard. `carry`: pushes that one messenger carries in a second of one core,
//! a whole node in an OS process of its own.
//! `cargo bench --workspace --bench push [-- [--quick] [PART]]`; files are in `TMPDIR`. Linux only: the system says what a thread took.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)]

#[path = "push/carry.rs"]
mod carry;
#[path = "push/lobby.rs"]
mod lobby;
#[path = "push/market.rs"]
mod market;
#[allow(dead_code, reason = "the other bench uses more of it")]
#[path = "network/node.rs"]
mod node;
#[path = "push/proof.rs"]
mod proof;

use std::time::{Duration, Instant};

use weft_protocol::Network;

const NETWORK: Network = Network(7);
/// Turns of each measurement; the middle one counts.
const TURNS: usize = 5;
/// Runs between two looks at the clock.
const AT_ONCE: usize = 4;
/// Names the messenger that this program starts as an OS process of its own.
const CHILD: &str = "--messenger";

fn main() {
    let given: Vec<String> = std::env::args().skip(1).collect();
    if let [child, folder, peer] = given.as_slice()
        && child == CHILD
    {
        return carry::messenger(folder, peer);
    }
    if !cfg!(target_os = "linux") {
        println!("SKIPPED push: this system does not say what a thread took as Linux does");
        return;
    }
    let is = |flag: &str| given.iter().any(|argument| argument == flag);
    // `tests/run` only asks whether it runs.
    let (least_ms, messengers, minutes, pushes): (_, &[usize], _, _) = if is("--test") || !is("--bench") {
        (10, &[5, 50], 1, 20)
    } else if is("--quick") {
        (100, &[5, 50, 500], 2, 500)
    } else {
        (1_000, &[5, 50, 500], 3, 5_000)
    };
    let least = Duration::from_millis(least_ms);
    let parts = ["proof", "market", "carry"];
    let wanted = |part: &str| is(part) || !parts.iter().any(|part| is(part));
    row("figure", "value", "beside it");
    if wanted("proof") {
        proof::measure(least);
    }
    for count in messengers.iter().filter(|_| wanted("market")) {
        market::measure(*count, least);
        lobby::measure(*count, minutes);
    }
    if wanted("carry") {
        carry::measure(pushes);
    }
}

/// One line of the table.
fn row(figure: &str, value: &str, beside: &str) {
    println!("{figure:<58} {value:>26}   {beside}");
}

/// The time of the processor that this thread took so far; the system counts it at each tick of its own, of 1 to 10 ms.
fn thread_time() -> Duration {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    Duration::from_nanos(text.split_whitespace().next().unwrap().parse().unwrap())
}

/// The time of the processor that one run takes, in microseconds, of as many as fit into `least`: of the middle turn.
fn each_us(least: Duration, mut run: impl FnMut(usize)) -> f64 {
    let mut turns: Vec<f64> = (0..TURNS)
        .map(|_| {
            let (before, began, mut count) = (thread_time(), Instant::now(), 0);
            while began.elapsed() < least {
                for _ in 0..AT_ONCE {
                    run(count);
                    count += 1;
                }
            }
            (thread_time() - before).as_secs_f64() * 1e6 / count as f64
        })
        .collect();
    turns.sort_unstable_by(f64::total_cmp);
    turns[TURNS / 2]
}
