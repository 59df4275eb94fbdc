//! Processes that are in memory all at once, in a node.

use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use weft_protocol::Id;
use weft_tests::lone::Kind;

use super::node::{Node, block_on, message, process_item};
use super::{child, resident_bytes};

/// Messages to processes by chance, one at a time.
const MESSAGES: usize = 1_000;
const KIB: f64 = 1024.0;

/// A node of so many processes, each of which has just had a message.
pub fn compare(count: usize) {
    let folder = tempfile::tempdir().unwrap();
    let (path, count) = (folder.path().to_str().unwrap(), count.to_string());
    child(&["fill", path, &count]);
    let [held, cold, all, p50, p99, most] = child(&["resident", path, &count])[..] else { panic!() };
    println!(
        "node of {count} processes that all had a message: {held} instances in memory, {:.0} KiB each, {:.0} MiB \
         in all beside {:.0} MiB when none was; a message to one by chance p50 {p50:.1} ms, p99 {p99:.1} ms, \
         at most {most:.1} ms",
        (all - cold) / held / KIB,
        all / KIB / KIB,
        cold / KIB / KIB,
    );
}

/// Prints how many instances there are, memory without any and with them, and milliseconds of a message.
pub fn measure(folder: &Path, count: usize) {
    block_on(async {
        let module = Kind::COUNTER.module().id().to_string();
        let mut node = Node::start(folder).await;
        let processes: Vec<Id> = (0..count).map(|number| process_item(&module, number).0).collect();
        // An answer says that the roles have taken up their work.
        node.result(processes[count - 1], 0).await;
        let cold = resident_bytes();
        let items: Vec<Bytes> = processes.iter().map(|process| message(*process, 1)).collect();
        node.submit_all(&items).await;
        drop(items);
        for process in &processes {
            node.result(*process, 1).await;
        }
        let (held, all) = (node.instances().await, resident_bytes());
        let mut chance = StdRng::seed_from_u64(4904);
        let mut heads = vec![1; count];
        let mut took = Vec::with_capacity(MESSAGES);
        for _ in 0..MESSAGES {
            let at = chance.random_range(0..count);
            heads[at] += 1;
            took.push(node.ask(processes[at], heads[at]).await);
        }
        node.stop().await;
        took.sort_unstable();
        let ms = |took: Duration| took.as_secs_f64() * 1e3;
        println!(
            "{held} {cold} {all} {} {} {}",
            ms(took[MESSAGES / 2]),
            ms(took[MESSAGES * 99 / 100]),
            ms(took[MESSAGES - 1])
        );
    });
}
