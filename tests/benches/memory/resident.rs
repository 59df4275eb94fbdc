//! Lua processes that are in memory all at once, in a node that has many more on disk.
//!
//! A child makes the folder: every process is spawned with its program and booted. Another one starts a
//! node on it whose processes may take [`BUDGET_BYTES`], sends one message to each of those that are to be
//! in memory, spread over all, and looks at every answer. Memory is what the whole OS process has of its own
//! (`RssAnon`), the node with its directory included; compiled code and files that it maps are not in it.
//! A last child has as many instances of bare wasmtime, or as many as one OS process should, that had the same.

use std::path::Path;
use std::time::{Duration, Instant};

use bytes::Bytes;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use weft_node::builtin;
use weft_protocol::{DataItem, Id};
use weft_tests::embedded::block_on;
use weft_tests::lone::Kind;
use weft_vm::{guests, instances_max};

use super::bare::{self, Given};
use super::node::{Guest, Node, message};
use super::{child, resident_bytes};

/// Messages to processes in memory by chance, one at a time.
const MESSAGES: usize = 1_000;
/// First messages to processes on disk.
const WOKEN: usize = 100;
/// What ten thousand of them are to fit into.
const BUDGET_BYTES: u64 = 4 << 30;
const KIB: f64 = 1024.0;

/// A node of `count` processes, of which `hot` have just had a message.
pub fn compare(hot: usize, count: usize) {
    let folder = tempfile::tempdir().unwrap();
    let alone = hot.min(instances_max()).to_string();
    let (path, count, hot) = (folder.path().to_str().unwrap(), count.to_string(), hot.to_string());
    child(&["fill", path, "lua", &count]);
    let numbers = child(&["resident", path, &hot, &count]);
    let [held, cold, all, disk, up, p50, p99, most, woken, latest] = numbers[..] else { panic!() };
    let bare = child(&["resident-bare", &alone])[1];
    let each = (all - cold) / held;
    let within = if all <= BUDGET_BYTES as f64 && held >= hot.parse().unwrap() { "met" } else { "MISSED" };
    println!(
        "node of {count} Lua processes, {:.1} MB on disk, up in {up:.0} ms with {:.0} MiB: {hot} had a message and \
         answered, {held} instances in memory, {:.0} KiB each, {:.0} MiB in all (within {} GiB: {within}); a message \
         to one of them by chance p50 {p50:.1} ms, p99 {p99:.1} ms, at most {most:.1} ms; the first answer of one on \
         disk p50 {woken:.1} ms, at most {latest:.1} ms; bound: {alone} instances of bare wasmtime after the same \
         messages {:.0} KiB each, ratio {:.2}",
        disk / 1e6,
        cold / KIB / KIB,
        each / KIB,
        all / KIB / KIB,
        BUDGET_BYTES >> 30,
        bare / KIB,
        each / bare,
    );
}

/// Prints how many instances there are, memory without any and with them, bytes on disk, and milliseconds:
/// until the node is up, of a message to a process in memory (half, 99 of 100, all) and on disk (half, all).
pub fn measure(folder: &Path, hot: usize, count: usize) {
    block_on(async {
        let guest = Guest::Lua;
        let every = count / hot;
        let began = Instant::now();
        let mut node = Node::start(folder, guest, BUDGET_BYTES).await;
        let up = began.elapsed();
        // An answer says that the roles have taken up their work.
        node.result(guest.process(count - 1).0, 0).await;
        let cold = resident_bytes();
        let disk = std::fs::metadata(folder.join("store.redb")).unwrap().len();
        let processes: Vec<Id> = (0..hot).map(|number| guest.process(number * every).0).collect();
        let items: Vec<Bytes> = processes.iter().map(|process| message(*process, 1)).collect();
        node.submit_all(&items).await;
        drop(items);
        for process in &processes {
            node.result(*process, 1).await;
        }
        let (held, all) = (node.instances().await, resident_bytes());
        let by_chance = asked_by_chance(&mut node, &processes).await;
        let mut woken = Vec::new();
        // Those between the ones that had a message, if there are any.
        for number in (0..if every > 1 { hot.min(WOKEN) } else { 0 }).map(|number| number * every + 1) {
            woken.push(node.ask(guest.process(number).0, 1).await);
        }
        woken.sort_unstable();
        node.stop().await;
        let ms = |took: Option<&Duration>| took.map_or(0.0, |took| took.as_secs_f64() * 1e3);
        println!(
            "{held} {cold} {all} {disk} {} {} {} {} {} {}",
            ms(Some(&up)),
            ms(by_chance.get(MESSAGES / 2)),
            ms(by_chance.get(MESSAGES * 99 / 100)),
            ms(by_chance.last()),
            ms(woken.get(woken.len() / 2)),
            ms(woken.last()),
        );
    });
}

/// Prints what bare wasmtime takes, as [`bare::measure`] does: for the process and the message that it has had
/// when the node's memory is looked at.
pub fn measure_bare(count: usize) {
    let (mut lone, opening) = bare::log_of(Guest::Lua, 0);
    let item = DataItem::verify_bytes(message(lone.process.id(), 1)).unwrap();
    let log = [opening, lone.assign(&item)];
    let mut modules = builtin::items().unwrap().iter();
    let module = modules.find(|module| module.id() == lone.process.module()).unwrap();
    let given = Given::of(&lone.process, module.clone(), &log);
    bare::measure(guests::LUA.to_vec(), Kind::COUNTER.format, given, count);
}

/// How long messages to processes by chance took, in order.
async fn asked_by_chance(node: &mut Node, processes: &[Id]) -> Vec<Duration> {
    let mut chance = StdRng::seed_from_u64(4904);
    let mut heads = vec![1; processes.len()];
    let mut took = Vec::with_capacity(MESSAGES);
    for _ in 0..MESSAGES {
        let at = chance.random_range(0..processes.len());
        heads[at] += 1;
        took.push(node.ask(processes[at], heads[at]).await);
    }
    took.sort_unstable();
    took
}
