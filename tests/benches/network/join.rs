//! How soon a node has a process that another serves.

use std::time::{Duration, Instant};

use super::node::Node;
use super::{resident_kib, spread};

/// Numbers of nodes that join, beside those of the others.
const JOINERS: u64 = 1_000;

/// So many joins of processes that one node serves: each by a node that has just started and knows a third one,
/// then as many by one that is connected with who serves them.
pub async fn join(count: usize) {
    let known = Node::start(1, &[]).await;
    let serving = Node::start(2, &[&known]).await;
    let processes = serving.processes(count * 2).await;
    let mut cold = Vec::new();
    for (number, process) in processes[..count].iter().enumerate() {
        let joiner = Node::start(JOINERS + number as u64, &[&known]).await;
        let began = Instant::now();
        joiner.take_up(*process).await;
        cold.push(began.elapsed());
        joiner.stop().await;
    }
    let joiner = Node::start(JOINERS - 1, &[&serving, &known]).await;
    // The first finds the way.
    joiner.take_up(processes[0]).await;
    let connected = each(&joiner, &processes[count..]).await;
    println!("join of a process of one other node, cold, {count} times: {}", spread(cold));
    println!("the same by a node that is connected with it: {}", spread(connected));
    for node in [joiner, serving, known] {
        node.stop().await;
    }
}

/// A node that schedules so many processes, and how another takes up some of them.
pub async fn processes(count: usize, joins: usize) {
    let known = Node::start(1, &[]).await;
    let serving = Node::start(2, &[&known]).await;
    let (before, began) = (resident_kib(), Instant::now());
    let processes = serving.processes(count).await;
    let (made, after) = (began.elapsed(), resident_kib());
    let joiner = Node::start(JOINERS, &[&known]).await;
    let some: Vec<_> = (0..joins).map(|at| processes[at * count / joins]).collect();
    let took = each(&joiner, &some).await;
    println!(
        "{count} processes on one node: made in {:.1} s, {:.1} KiB of memory each; {joins} of them taken up by a node \
         that knows a third one: {}",
        made.as_secs_f64(),
        (after - before) / count as f64,
        spread(took),
    );
    for node in [joiner, serving, known] {
        node.stop().await;
    }
}

async fn each(joiner: &Node, processes: &[weft_protocol::Id]) -> Vec<Duration> {
    let mut took = Vec::new();
    for process in processes {
        let began = Instant::now();
        joiner.take_up(*process).await;
        took.push(began.elapsed());
    }
    took
}
