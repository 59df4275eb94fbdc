//! What a message costs in a network of many nodes, beside a bare gossipsub swarm of the same shape:
//! copies, propagation, processor time, memory; what was asked for as no mesh brought it, and how many nodes heard a tenth
//! late (a few: they were outside of all meshes; all: the machine stood still). Prints one table;
//! `cargo bench --bench mesh -- NODES MESSAGES ROUNDS` takes other numbers than 64, 400 and 3, and `-- shapes` also shows
//! what other parameters of the mesh come to.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)]
#![allow(missing_docs, unreachable_pub)]

#[path = "../tests/it/large.rs"]
mod large;

use std::time::Duration;

use large::{Figures, OURS, Shape};

/// The library's own parameters, but for the four peers in a mesh.
const LIBRARY: Shape = Shape {
    most: 12,
    flood: true,
    idontwant: 1000,
    delay: Duration::from_secs(5),
    backoff: Duration::from_secs(60),
    verified: false,
};

const PAUSE: Duration = Duration::from_millis(50);

fn main() {
    let numbers: Vec<usize> = std::env::args().filter_map(|word| word.parse().ok()).collect();
    let nodes = numbers.first().copied().unwrap_or(64);
    let messages = numbers.get(1).copied().unwrap_or(400);
    let runtime = || tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    println!("{nodes} nodes, {messages} messages of 1 KiB, one each {} ms", PAUSE.as_millis());
    println!(
        "| | delivered | copies | p50 ms | p99 ms | last ms | CPU ms/delivery | KiB/node | asked for | nodes late |"
    );
    println!("|---|---|---|---|---|---|---|---|---|---|");
    // Each in a runtime of its own, so that neither pays for what the other leaves behind.
    let bare = |shape| runtime().block_on(large::bare(nodes, messages, PAUSE, shape));
    let rounds = numbers.get(2).copied().unwrap_or(3);
    for _ in 0..rounds {
        row("bare gossipsub, the same parameters", &bare(OURS));
        row("bare gossipsub, the library's own at D=4", &bare(LIBRARY));
        row("bare gossipsub, the same parameters, verified", &bare(Shape { verified: true, ..OURS }));
        row("weft-net, verified", &runtime().block_on(large::ours(nodes, messages, PAUSE)));
    }
    if std::env::args().any(|word| word == "shapes") {
        // What other parameters of the mesh would come to.
        row("bare, flood", &bare(Shape { flood: true, ..OURS }));
        row("bare, at most 6", &bare(Shape { most: 6, ..OURS }));
        row("bare, at most 6, flood", &bare(Shape { most: 6, flood: true, ..OURS }));
        row("bare, at most 8", &bare(Shape { most: 8, ..OURS }));
        row("bare, first heartbeat after six seconds", &bare(Shape { delay: LIBRARY.delay, ..OURS }));
        row("bare, idontwant", &bare(Shape { idontwant: 512, ..OURS }));
        row("bare, out of a mesh for a minute", &bare(Shape { backoff: LIBRARY.backoff, ..OURS }));
    }
}

fn row(name: &str, figures: &Figures) {
    println!(
        "| {name} | {} of {} | {:.2} | {:.1} | {:.1} | {:.1} | {:.2} | {:.0} | {:.2} % | {} |",
        figures.delivered,
        figures.expected,
        figures.copies,
        figures.latency(50),
        figures.latency(99),
        figures.latency(100),
        figures.cpu_ms,
        figures.node_kib,
        figures.asked_percent,
        figures.late_nodes,
    );
}
