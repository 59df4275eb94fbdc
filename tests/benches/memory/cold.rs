//! Processes that are rows of a node's directory.

use std::path::Path;
use std::time::{Duration, Instant};

use weft_protocol::Id;
use weft_tests::embedded::block_on;

use super::bare::log_of;
use super::node::{Guest, Node};
use super::{child, resident_bytes};

/// Cold processes that are sent a message, or all if there are fewer.
const WOKEN: usize = 100;
/// Nothing leaves memory for its bytes.
const BUDGET_BYTES: u64 = 1 << 40;

/// A node with 1 process, and one with so many.
pub fn compare(count: usize) {
    let [one, many] = [1, count].map(|count| {
        let folder = tempfile::tempdir().unwrap();
        let (path, count) = (folder.path().to_str().unwrap(), count.to_string());
        child(&["fill", path, "counter", &count]);
        child(&["cold", path, &count])
    });
    let each = |at: usize| (many[at] - one[at]) / (count as f64 - 1.0).max(1.0);
    // What is signed cannot be made again: the Process item and its assignment. All else follows from them.
    let (_, opening) = log_of(Guest::Counter, count - 1);
    let signed = opening.item().raw().len() + opening.assignment_item().raw().len();
    println!(
        "node of {count} cold processes: {:.0} bytes of memory each beside {:.0} MiB of the node with one, {:.0} \
         bytes on disk each (bound: {signed} bytes of signed items, ratio {:.1}); up in {:.0} ms (with one \
         {:.0} ms); first answer from a cold one p50 {:.1} ms, at most {:.1} ms; then from memory p50 {:.1} ms; \
         {:.0} KiB of memory for each that answered",
        each(0),
        one[0] / 1024.0 / 1024.0,
        each(1),
        each(1) / signed as f64,
        many[2],
        one[2],
        many[3],
        many[4],
        many[5],
        many[6] / 1024.0,
    );
}

/// Prints memory, bytes on disk, milliseconds until it is up, to a first answer (half, all), to
/// another one, and memory of each that answered.
pub fn measure(folder: &Path, count: usize) {
    block_on(async {
        let guest = Guest::Counter;
        let started = Instant::now();
        let mut node = Node::start(folder, guest, BUDGET_BYTES).await;
        let up = started.elapsed();
        // Its newest outcome is on disk: an answer says that the roles have taken up their work.
        let last = guest.process(count - 1).0;
        node.result(last, 0).await;
        let cold = resident_bytes();
        let disk = std::fs::metadata(folder.join("store.redb")).unwrap().len();
        let woken: Vec<Id> =
            (0..count.min(WOKEN)).map(|number| guest.process(number * count / count.min(WOKEN)).0).collect();
        let (mut first, mut again) = (Vec::new(), Vec::new());
        for process in &woken {
            first.push(node.ask(*process, 1).await);
        }
        let warm = resident_bytes();
        for process in &woken {
            again.push(node.ask(*process, 2).await);
        }
        node.stop().await;
        first.sort_unstable();
        again.sort_unstable();
        let ms = |took: Duration| took.as_secs_f64() * 1e3;
        println!(
            "{cold} {disk} {} {} {} {} {}",
            ms(up),
            ms(first[first.len() / 2]),
            ms(first[first.len() - 1]),
            ms(again[again.len() / 2]),
            warm.saturating_sub(cold) / woken.len() as u64,
        );
    });
}
