//! A module's first message on a machine: `first ever`, compiling included, and `cold`, with the
//! compiled module in the cache folder as after a restart.
//!
//! `bare` is the same engine without the guard and without what a roll-back needs: wasmtime, the
//! host's functions, and the module's own initialisation. `full` is what nodes run. Both take turns,
//! each with a cache folder of its own; printed are medians, the slowest, and the ratio.
//! `cargo bench -p weft-vm --bench first [-- --quick]`
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)]

mod guest;

use std::path::Path;
use std::time::{Duration, Instant};

use guest::{Guest, LIMITS, boot, evaluate, guests};
use weft_vm::{Engine, EngineConfig, Guard};

const VARIANTS: [(&str, Guard, bool); 2] = [("bare", Guard::Off, false), ("full", Guard::On, true)];

/// A new engine on this cache, the module, an instance, its first message.
fn first_message(guest: &Guest, (_, guard, roll_back): (&str, Guard, bool), cache: &Path) -> Duration {
    let started = Instant::now();
    let config =
        EngineConfig { cache_dir: Some(cache.to_owned()), guard, roll_back, ..EngineConfig::default() };
    let module = Engine::new(config).unwrap().compile(&guest.wasm, guest.format).unwrap();
    let mut instance = module.instantiate(LIMITS).unwrap();
    evaluate(&mut instance, &boot());
    started.elapsed()
}

fn shown(times: &mut [Duration]) -> (Duration, String) {
    times.sort_unstable();
    let (median, most) = (times[times.len() / 2], times[times.len() - 1]);
    (median, format!("{median:.2?} (at most {most:.2?})"))
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
    // `tests/run` only asks whether it runs.
    let (ever, cold) = if is("--test") || !is("--bench") {
        (1, 1)
    } else if is("--quick") {
        (3, 11)
    } else {
        (15, 101)
    };
    let work = move || {
        for guest in guests() {
            measure(&guest, "first ever", ever, true);
            measure(&guest, "cold", cold, false);
        }
    };
    weft_vm::spawn_guest_thread("bench", work).unwrap().join().unwrap();
}
