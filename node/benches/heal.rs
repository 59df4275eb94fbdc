//! How soon a slot is had that gossip lost: a follower on a topic with two peers, of which one has lost the slot
//! too. Prints one line; `cargo bench -p weft-node --bench heal [-- --quick]`.
#![allow(missing_docs, dead_code, unreachable_pub, clippy::unwrap_used, clippy::expect_used, clippy::panic)]
#![allow(clippy::print_stdout)]

#[path = "../tests/wire/heal.rs"]
mod heal;
#[path = "../tests/wire/support.rs"]
mod support;

fn main() {
    let given: Vec<String> = std::env::args().skip(1).collect();
    let is = |flag: &str| given.iter().any(|argument| argument == flag);
    // `tests/run` only asks whether it runs.
    let count = if is("--test") || !is("--bench") {
        4
    } else if is("--quick") {
        40
    } else {
        400
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let waits = runtime.block_on(heal::holes(140, count));
    let at = |hundredth: usize| waits[(waits.len() * hundredth).div_ceil(100).max(1) - 1].as_millis();
    println!("{} holes: p50 {} ms, p99 {} ms, most {} ms", waits.len(), at(50), at(99), at(100));
}
