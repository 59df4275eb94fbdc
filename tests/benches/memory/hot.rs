//! Processes in memory.

use std::sync::Arc;

use weft_node::compute::hosted::Hosted;
use weft_node::compute::modules::Modules;
use weft_storage::Store;
use weft_testnet::aos::{self, Aos};
use weft_tests::lone::{Kind, Lone, modules, store_config};
use weft_vm::{guests, instances_max};

use super::bare::{self, Given};
use super::{child, on_guest_thread, resident_bytes};

/// Messages that each process has had.
const MESSAGES: u64 = 10;
const KIB: f64 = 1024.0;

/// What a guest is called, said in its language.
struct Guest {
    wasm: Vec<u8>,
    format: &'static str,
    action: &'static str,
    data: &'static str,
}

/// The guest of this name; none if it is not on this machine.
fn guest(name: &str) -> Option<Guest> {
    if name == "counter" {
        let wasm = guests::COUNTER.to_vec();
        return Some(Guest { wasm, format: Kind::COUNTER.format, action: "Increment", data: "" });
    }
    if name == "lua" {
        let wasm = guests::LUA.to_vec();
        return Some(Guest { wasm, format: Kind::COUNTER.format, action: "Eval", data: "return 1 + 1" });
    }
    match Aos::find(None).unwrap() {
        Aos::There { wasm, .. } => {
            Some(Guest { wasm, format: aos::FORMAT, action: "Eval", data: "return 1 + 1" })
        }
        Aos::Skipped(_) => None,
    }
}

/// From 1 process to `count`, beside bare wasmtime.
pub fn compare(name: &str, count: usize) {
    if guest(name).is_none() {
        println!("SKIPPED {name}: tests/interop is not installed");
        return;
    }
    let count = count.min(instances_max()).to_string();
    let full = child(&["hot", name, &count]);
    let bare = child(&["bare", name, &count]);
    println!(
        "{name}: {count} hot processes: {:.0} KiB each, of which the node counts {:.0} KiB; the first \
         {:.0} KiB; bound: bare wasmtime {:.0} KiB each, ratio {:.2}",
        full[1] / KIB,
        full[2] / KIB,
        full[0] / KIB,
        bare[1] / KIB,
        full[1] / bare[1],
    );
}

/// Prints what the first took, what each further one takes, and what a node counts for it.
pub fn measure(name: &str, count: usize) {
    let guest = guest(name).unwrap();
    let name = name.to_owned();
    on_guest_thread(move || {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&folder.path().join("store.redb"), &store_config()).unwrap();
        let cache_dir = Some(folder.path().join("compiled"));
        let modules = modules(cache_dir);
        let kind = Kind { wasm: &guest.wasm, format: guest.format, tags: &[] };
        // Compiling leaves memory behind that is no process's.
        drop(booted(&kind, &guest, "before", &store, &modules));
        let (before, mut first) = (resident_bytes(), 0);
        let mut held = Vec::with_capacity(count);
        for number in 0..count {
            held.push(booted(&kind, &guest, &format!("{name} {number}"), &store, &modules));
            if number == 0 {
                first = resident_bytes().saturating_sub(before);
            }
        }
        let each = resident_bytes().saturating_sub(before + first) / (count as u64 - 1).max(1);
        let counted: u64 = held.iter().map(|(_, hosted)| hosted.resident_bytes()).sum();
        println!("{first} {each} {}", counted / count as u64);
    });
}

fn booted(
    kind: &Kind<'_>,
    guest: &Guest,
    name: &str,
    store: &Store,
    modules: &Arc<Modules>,
) -> (Lone, Hosted) {
    let mut lone = Lone::new(kind, name, store.clone(), Arc::clone(modules));
    let mut hosted = lone.fresh();
    let opening = lone.open();
    lone.run(&mut hosted, &opening);
    for number in 0..MESSAGES {
        let record = lone.send(guest.action, number, guest.data);
        lone.run(&mut hosted, &record);
    }
    (lone, hosted)
}

/// The same with wasmtime alone.
pub fn measure_bare(name: &str, count: usize) {
    let guest = guest(name).unwrap();
    let kind = Kind { wasm: &guest.wasm, format: guest.format, tags: &[] };
    let mut lone = Lone::in_memory(&kind);
    let mut log = vec![lone.open()];
    log.extend((0..MESSAGES).map(|number| lone.send(guest.action, number, guest.data)));
    let given = Given::of(&lone.process, kind.module(), &log);
    bare::measure(guest.wasm, guest.format, given, count);
}
