//! A module's first message on a machine: `first ever`, compiling included, and `cold`, with the
//! compiled module in the cache folder as after a restart.
//!
//! `bare` is the same engine without the guard and without what a roll-back needs: wasmtime, the
//! host's functions, and the module's own initialisation. `full` is what nodes run. Both take turns,
//! each with a cache folder of its own; printed are first quartiles, medians, the slowest, what of the median passed
//! before the module was there, and the ratio of the quartiles, which what else the machine does moves least.
//! `cargo bench -p weft-vm --bench first [-- --quick] [-- NAME...]`
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)]

mod guest;

use std::path::Path;
use std::time::{Duration, Instant};

use guest::{Guest, LIMITS, boot, evaluate, guests};
use weft_vm::{Engine, EngineConfig, Guard};

const VARIANTS: [(&str, Guard, bool); 2] = [("bare", Guard::Off, false), ("full", Guard::On, true)];

/// Until the module is there, until the message is answered.
type Parts = [Duration; 2];

/// A new engine on this cache, the module, an instance, its first message.
fn first_message(guest: &Guest, (_, guard, roll_back): (&str, Guard, bool), cache: &Path) -> Parts {
    let started = Instant::now();
    let config =
        EngineConfig { cache_dir: Some(cache.to_owned()), guard, roll_back, ..EngineConfig::default() };
    let module = Engine::new(config).unwrap().compile(&guest.wasm, guest.format).unwrap();
    let there = started.elapsed();
    let mut instance = module.instantiate(LIMITS).unwrap();
    evaluate(&mut instance, &boot());
    [there, started.elapsed()]
}

fn shown(times: &mut [Parts]) -> (Duration, String) {
    let [there, answered] = [0, 1].map(|part| {
        let mut sorted: Vec<_> = times.iter().map(|parts| parts[part]).collect();
        sorted.sort_unstable();
        sorted
    });
    let at = |sorted: &[Duration], quarter: usize| sorted[(sorted.len() - 1) * quarter / 4];
    let [first, median, most] = [1, 2, 4].map(|quarter| at(&answered, quarter));
    let loaded = at(&there, 2);
    (first, format!("{first:.2?} (median {median:.2?}, at most {most:.2?}, loaded after {loaded:.2?})"))
}

/// Prints one line: both variants in turns, `ever` with an empty cache each time.
fn measure(guest: &Guest, name: &str, turns: usize, ever: bool) {
    let mut times = [Vec::new(), Vec::new()];
    let folder = tempfile::tempdir().unwrap();
    for turn in 0..turns {
        for (variant, times) in VARIANTS.into_iter().zip(&mut times) {
            let number = if ever { turn } else { 0 };
            let cache = folder.path().join(format!("{}-{number}", variant.0));
            std::fs::create_dir_all(&cache).unwrap();
            if !ever && turn == 0 {
                first_message(guest, variant, &cache);
            }
            times.push(first_message(guest, variant, &cache));
        }
    }
    let [bare, full] = times.each_mut().map(|times| shown(times));
    let ratio = full.0.as_secs_f64() / bare.0.as_secs_f64();
    println!("{:19} {name:10} bare {}  full {}  ratio {ratio:.2}", guest.name, bare.1, full.1);
}

fn main() {
    let given: Vec<String> = std::env::args().skip(1).collect();
    let is = |flag: &str| given.iter().any(|argument| argument == flag);
    let named: Vec<String> = given.iter().filter(|argument| !argument.starts_with("--")).cloned().collect();
    // `tests/run` only asks whether it runs.
    let (ever, cold) = if is("--test") || !is("--bench") {
        (1, 1)
    } else if is("--quick") {
        (3, 11)
    } else {
        (15, 101)
    };
    let work = move || {
        let chosen = |guest: &Guest| named.is_empty() || named.iter().any(|name| name == guest.name);
        for guest in guests().into_iter().filter(chosen) {
            measure(&guest, "first ever", ever, true);
            measure(&guest, "cold", cold, false);
        }
    };
    weft_vm::spawn_guest_thread("bench", work).unwrap().join().unwrap();
}
