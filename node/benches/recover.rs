//! How fast a log comes back from a weave: every id, signature and link checked, and then evaluated. Both nodes are in
//! this process, the weave is read over HTTP on loopback, and what it takes to serve it is part of what it takes to read
//! it, as are the commits to disk. An item is a signed data item that was verified, each counted once: a slot has two,
//! its assignment and its message; attestations are not counted. Of the stages, which run beside each other, each is
//! told by itself: waiting for the weave to list and give bundles, checking their items on all cores (the rate of it is
//! that of items verified from bundles, beside serving and writing), and waiting for the disk. Evaluating is from being
//! asked to until the state root is the first node's. Signatures are checked once more for it, ahead on cores that nobody
//! evaluates on: so it is told, too, how much of the processors' time each part took, by all threads of both nodes, and how
//! many cores were at work. Then all is replayed once more and compared, as `weft verify` does. With one core (`taskset -c 0`)
//! nothing is done ahead. `cargo bench -p weft-node --bench recover [-- --quick]`; `--messages N` for another length.
#![allow(
    missing_docs,
    dead_code,
    unused_imports,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic
)]
#![allow(clippy::print_stdout)]

#[path = "../../tests/src/full.rs"]
mod full;
#[path = "../tests/wire/recovered.rs"]
mod recovered;
#[path = "../tests/wire/support.rs"]
mod support;

fn main() {
    let given: Vec<String> = std::env::args().skip(1).collect();
    let is = |flag: &str| given.iter().any(|argument| argument == flag);
    let asked = given.iter().position(|argument| argument == "--messages");
    let asked = asked.map(|at| given[at + 1].parse().unwrap());
    // `tests/run` only asks whether it runs.
    let messages = if is("--test") || !is("--bench") {
        50
    } else {
        asked.unwrap_or(if is("--quick") { 5_000 } else { 100_000 })
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let figures = runtime.block_on(recovered::read_back(140, messages));
    let report = figures.report;
    let seconds = report.stages.here_ms as f64 / 1000.0;
    // Each slot is an assignment and its item.
    let items = 2.0 * report.slots as f64;
    let bytes = report.gateways.iter().map(|one| one.bytes).sum::<u64>();
    let evaluating = figures.evaluating.time.as_secs_f64();
    println!(
        "{messages} messages in {} bundles, {bytes} bytes: read, checked and on disk in {seconds:.1} s, {:.0} messages/s, \
         that is {:.0} items/s; evaluated in {evaluating:.1} s, {:.0} messages/s; reading is {:.0} % of both",
        report.bundles,
        report.slots as f64 / seconds,
        items / seconds,
        f64::from(messages) / evaluating,
        100.0 * seconds / (seconds + evaluating),
    );
    let stages = report.stages;
    let [asking, checking, storing] =
        [stages.asking_ms, stages.checking_ms, stages.storing_ms].map(|time| time.max(1) as f64 / 1000.0);
    println!(
        "beside each other: waited for the weave {asking:.1} s ({:.1} MB/s), checked {checking:.1} s on {} threads ({:.0} \
         items/s verified from bundles), waited for the disk {storing:.1} s; with attestations and blocks {:.1} s",
        bytes as f64 / 1e6 / asking,
        stages.threads,
        items / checking,
        report.elapsed_ms as f64 / 1000.0,
    );
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    for (what, took) in [
        ("reading", figures.reading),
        ("evaluating", figures.evaluating),
        ("replaying as `weft verify`", figures.replaying),
    ] {
        let (time, processors) = (took.time.as_secs_f64(), took.processors.as_secs_f64());
        println!(
            "{what}: {time:.1} s, {:.0} messages/s; {processors:.1} s of the processors, {:.0} us a message, {:.2} of {cores} \
             cores at work",
            f64::from(messages) / time,
            processors * 1e6 / f64::from(messages),
            processors / time,
        );
    }
}
