//! What a message costs, and what of it is ours.
//!
//! Three engines evaluate the same messages: `bare` runs the module as it is and remembers
//! nothing, `guarded` counts gas and depth, `full` also remembers what a roll-back needs. They
//! take turns of 10 messages, so that a busy machine slows all of them alike; printed are the
//! first quartiles of the turns, which a busy machine moves least. The criterion groups after that
//! give the usual statistics.
//!
//! Metered stands beside unmetered: the same module in both formats.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)]

mod guest;

use std::time::{Duration, Instant};

use criterion::{BatchSize, Criterion};
use guest::{ENVIRONMENT, Guest, LIMITS, boot, booted, evaluate, guests, message};
use weft_vm::{Engine, EngineConfig, Guard, Instance, Module};

const TURN: usize = 10;
const TURNS: usize = 201;
const VARIANTS: [(&str, Guard, bool); 3] =
    [("bare", Guard::Off, false), ("guarded", Guard::On, false), ("full", Guard::On, true)];

fn modules(guest: &Guest) -> Vec<(&'static str, Module)> {
    VARIANTS
        .into_iter()
        .map(|(name, guard, roll_back)| {
            let engine = Engine::new(EngineConfig { guard, roll_back, ..EngineConfig::default() }).unwrap();
            (name, engine.compile(&guest.wasm, guest.format).unwrap())
        })
        .collect()
}

fn median(times: &mut [Duration]) -> Duration {
    times.sort();
    times[times.len() / 2]
}

fn quartile(times: &mut [Duration]) -> Duration {
    times.sort();
    times[times.len() / 4]
}

/// The three engines in turns.
fn compare(guest: &Guest, action: &str, data: &str) {
    let modules = modules(guest);
    let mut instances: Vec<Instance> = modules.iter().map(|(_, module)| booted(guest, module)).collect();
    let mut times = vec![Vec::new(); instances.len()];
    let mut number = 2;
    for turn in 0..TURNS {
        for (instance, times) in instances.iter_mut().zip(&mut times) {
            let start = Instant::now();
            for index in 0..TURN {
                let text = message(number + index, "Message", action, &data.replace('K', &index.to_string()));
                evaluate(instance, &text);
            }
            if turn > 0 {
                times.push(start.elapsed() / TURN as u32);
            }
        }
        number += TURN;
    }
    let quartiles: Vec<f64> = times.iter_mut().map(|times| quartile(times).as_secs_f64() * 1e6).collect();
    let more = |index: usize| (quartiles[index] / quartiles[0] - 1.0) * 100.0;
    println!(
        "{:19} {action:10} bare {:8.1} us  guarded {:8.1} us ({:+.1} %)  full {:8.1} us ({:+.1} %, {:.0} messages/s)",
        guest.name,
        quartiles[0],
        quartiles[1],
        more(1),
        quartiles[2],
        more(2),
        1e6 / quartiles[2],
    );
}

fn first_message(guest: &Guest) {
    for (name, module) in modules(guest) {
        let mut times: Vec<Duration> = (0..15)
            .map(|_| {
                let start = Instant::now();
                let mut instance = module.instantiate(LIMITS).unwrap();
                evaluate(&mut instance, &boot());
                start.elapsed()
            })
            .collect();
        println!("{:19} first message, {name}: {:.2?}", guest.name, median(&mut times));
    }
}

/// Compiling with the pass, without it, and from the cache; then what rolling back costs.
fn once(guest: &Guest) {
    let folder = tempfile::tempdir().unwrap();
    let config = EngineConfig { cache_dir: Some(folder.path().to_owned()), ..EngineConfig::default() };
    let engine = Engine::new(config).unwrap();
    for name in ["compiled", "from the cache"] {
        let start = Instant::now();
        engine.compile(&guest.wasm, guest.format).unwrap();
        println!("{:19} {name}: {:.2?}", guest.name, start.elapsed());
    }
    let module = engine.compile(&guest.wasm, guest.format).unwrap();
    let mut instance = booted(guest, &module);
    let start = Instant::now();
    let image = instance.memory_image().unwrap();
    println!(
        "{:19} memory image of {} leaves: {:.2?}",
        guest.name,
        image.leaf_hashes().len(),
        start.elapsed()
    );
    for kept in [0, 1, 20, 200] {
        instance.memory_image().unwrap();
        for number in 0..kept {
            evaluate(&mut instance, &message(number, "Message", guest.action, &guest.data.replace('K', "1")));
        }
        let text = message(0, "Message", guest.action, &guest.data.replace('K', "2"));
        instance.evaluate(text.as_bytes(), ENVIRONMENT.as_bytes()).unwrap();
        let start = Instant::now();
        instance.roll_back().unwrap();
        println!("{:19} rolled back over {kept} kept messages: {:.2?}", guest.name, start.elapsed());
    }
}

fn groups(criterion: &mut Criterion, guest: &Guest) {
    let mut group = criterion.benchmark_group(format!("warm/{}", guest.name));
    for (name, module) in modules(guest) {
        let mut instance = booted(guest, &module);
        let mut number = 2;
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                number += 1;
                evaluate(
                    &mut instance,
                    &message(number, "Message", guest.action, &guest.data.replace('K', "1")),
                );
            });
        });
    }
    group.finish();
    let (_, module) = modules(guest).pop().unwrap();
    criterion.bench_function(&format!("restore/{}", guest.name), |bencher| {
        let image = booted(guest, &module).memory_image().unwrap();
        bencher.iter_batched(
            || image.clone(),
            |image| module.restore(&image, LIMITS).unwrap(),
            BatchSize::SmallInput,
        );
    });
}

fn main() {
    // Guests run on their own threads; so does all of this, to measure no change of thread.
    let work = || {
        for guest in guests() {
            compare(&guest, guest.action, guest.data);
            if guest.is_aos() {
                compare(&guest, "Inc", "");
            }
            first_message(&guest);
            once(&guest);
        }
        if std::env::args().any(|argument| argument == "--quick") {
            return;
        }
        let mut criterion = Criterion::default().configure_from_args().sample_size(30);
        for guest in guests() {
            groups(&mut criterion, &guest);
        }
        criterion.final_summary();
    };
    weft_vm::spawn_guest_thread("bench", work).unwrap().join().unwrap();
}
