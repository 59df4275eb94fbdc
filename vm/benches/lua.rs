//! The Lua runtime that comes with the program beside aos, on one machine in one run: the same program
//! and the same messages, gas counted and roll-backs remembered in all of them.
//!
//! They take turns of some messages, so that a busy machine slows all alike; printed are first quartiles
//! of the turns, and how many times faster ours is. Then the first message of a process, the memory that
//! a live one takes, what a message changes of it (the median of some, and the most), and its checkpoint: all of it,
//! compressed by leaf as stores have it.
//! `cargo bench -p weft-vm --bench lua [-- --quick]`
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)]

mod guest;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use guest::{Guest, LIMITS, boot, evaluate, message};
use weft_vm::{Engine, EngineConfig, Format, Instance, Module, guests};

/// What writes to memory are counted in.
const PAGE: usize = 4096;
/// Messages of which each is looked at for what it changes.
const CHANGES: usize = 50;
/// How hard stores compress a leaf.
const ZSTD_LEVEL: i32 = 1;

const TOKEN: &str = "local bint = require('.bint')(256) Balances = {} \
    for i = 1, 1000 do Balances['holder' .. i] = '1000000' end Balances.OWNER = '1000000000000' \
    Handlers.add('transfer', 'Transfer', function(m) \
      local q = bint(m.Data) assert(bint(Balances[m.From]) >= q, 'too little') \
      local to = 'holder' .. (m.Nonce % 1000 + 1) \
      Balances[m.From] = tostring(bint(Balances[m.From]) - q) \
      Balances[to] = tostring(bint(Balances[to] or '0') + q) \
      m.reply({ Action = 'Debit-Notice', Recipient = to, Quantity = m.Data }) \
      Send({ Target = to, Action = 'Credit-Notice', Sender = m.From, Quantity = m.Data }) end)";
const JSON: &str = "local json = require('json') Handlers.add('json', 'Json', function(m) \
    local list, sum = json.decode(m.Data), 0 for _, one in ipairs(list) do sum = sum + one.amount end \
    m.reply({ Sum = tostring(sum), Data = json.encode(list) }) end)";
const COUNTER: &str = "Count = 0 Handlers.add('inc', 'Inc', function(m) Count = Count + 1 m.reply({Data = tostring(Count)}) end)";

struct Case {
    name: &'static str,
    setup: &'static str,
    action: &'static str,
    data: String,
    per_turn: usize,
}

fn cases() -> Vec<Case> {
    let list: Vec<serde_json::Value> = (0..180)
        .map(|n| serde_json::json!({"name": format!("person number {n}"), "amount": n * 17, "tag": "x"}))
        .collect();
    let json = serde_json::to_string(&list).unwrap();
    vec![
        Case {
            name: "Eval `return 1 + k`",
            setup: "return 1",
            action: "Eval",
            data: "return 1 + K".into(),
            per_turn: 10,
        },
        Case { name: "counter, 1 reply", setup: COUNTER, action: "Inc", data: String::new(), per_turn: 10 },
        Case {
            name: "token, 1,000 balances, 2 notices",
            setup: TOKEN,
            action: "Transfer",
            data: "25".into(),
            per_turn: 10,
        },
        Case { name: "10 KB of JSON in and out", setup: JSON, action: "Json", data: json, per_turn: 2 },
    ]
}

/// A text as it stands inside of a JSON text.
fn quoted(text: &str) -> String {
    let whole = serde_json::to_string(text).unwrap();
    whole[1..whole.len() - 1].to_owned()
}

fn contestants() -> Vec<(Guest, Module)> {
    let ours = Guest {
        name: "lua",
        format: Format::Plain,
        wasm: guests::LUA.to_vec(),
        action: "Eval",
        data: "return 1 + K",
    };
    let unmetered = |guest: &Guest| !matches!(guest.format, Format::Metered64 | Format::Metered32);
    let theirs = guest::guests().into_iter().filter(|guest| guest.is_aos() && unmetered(guest));
    let engine = Engine::new(EngineConfig::default()).unwrap();
    std::iter::once(ours)
        .chain(theirs)
        .map(|guest| {
            let module = engine.compile(&guest.wasm, guest.format).unwrap();
            (guest, module)
        })
        .collect()
}

fn ready(module: &Module, setup: &str) -> Instance {
    let mut instance = module.instantiate(LIMITS).unwrap();
    evaluate(&mut instance, &boot());
    evaluate(&mut instance, &message(1, "Message", "Eval", &quoted(setup)));
    instance
}

fn turn(instance: &mut Instance, case: &Case, first: usize) -> Duration {
    let started = Instant::now();
    for number in first..first + case.per_turn {
        let data = quoted(&case.data.replace('K', &number.to_string()));
        evaluate(instance, &message(number, "Message", case.action, &data));
    }
    started.elapsed() / case.per_turn as u32
}

fn quartile(times: &mut [Duration]) -> f64 {
    times.sort_unstable();
    times[times.len() / 4].as_secs_f64() * 1e6
}

fn speed(contestants: &[(Guest, Module)], case: &Case, turns: usize) {
    let mut instances: Vec<Instance> =
        contestants.iter().map(|(_, module)| ready(module, case.setup)).collect();
    let mut times = vec![Vec::new(); instances.len()];
    for number in 0..=turns {
        for (instance, times) in instances.iter_mut().zip(&mut times) {
            let took = turn(instance, case, 2 + number * case.per_turn);
            if number > 0 {
                times.push(took);
            }
        }
    }
    let quartiles: Vec<f64> = times.iter_mut().map(|times| quartile(times)).collect();
    for ((guest, _), took) in contestants.iter().zip(&quartiles) {
        println!("{:34} {:14} {took:9.1} us  {:6.1} x", case.name, guest.name, took / quartiles[0]);
    }
}

fn first_message(contestants: &[(Guest, Module)], turns: usize) {
    for (guest, module) in contestants {
        let mut times: Vec<Duration> = (0..turns)
            .map(|_| {
                let started = Instant::now();
                let mut instance = module.instantiate(LIMITS).unwrap();
                evaluate(&mut instance, &boot());
                started.elapsed()
            })
            .collect();
        println!("{:34} {:14} {:9.1} us", "first message of a process", guest.name, quartile(&mut times));
    }
}

/// Every page of a memory that is not all zero.
fn pages(instance: &mut Instance) -> BTreeMap<u64, Vec<u8>> {
    let image = instance.memory_image().unwrap();
    let mut pages = BTreeMap::new();
    for (leaf, _, bytes) in image.leaves(|_| true) {
        for (number, page) in bytes.chunks(PAGE).enumerate() {
            pages.insert(u64::from(leaf) * (bytes.len() / PAGE) as u64 + number as u64, page.to_vec());
        }
    }
    pages
}

/// What a checkpoint of all of a memory takes.
fn checkpoint_bytes(instance: &mut Instance) -> usize {
    let image = instance.memory_image().unwrap();
    let packed = |(_, _, leaf): (u32, _, Vec<u8>)| zstd::bulk::compress(&leaf, ZSTD_LEVEL).unwrap();
    image.leaves(|_| true).map(|leaf| packed(leaf).len()).sum()
}

fn memory(contestants: &[(Guest, Module)], case: &Case) {
    for (guest, module) in contestants {
        let mut instance = ready(module, case.setup);
        for number in 0..20 {
            turn(&mut instance, case, 2 + number * case.per_turn);
        }
        let one = Case { per_turn: 1, data: case.data.clone(), ..*case };
        let mut before = pages(&mut instance);
        let mut changed: Vec<usize> = (0..CHANGES)
            .map(|number| {
                turn(&mut instance, &one, 1000 + number);
                let after = pages(&mut instance);
                let changed = after.iter().filter(|(number, page)| before.get(number) != Some(page)).count();
                before = after;
                (changed * PAGE) >> 10
            })
            .collect();
        changed.sort_unstable();
        println!(
            "{:34} {:14} {:6} KiB in memory, {:6} KiB changed by one message (at most {}), {:6} KiB in a checkpoint",
            case.name,
            guest.name,
            instance.resident_bytes() >> 10,
            changed[CHANGES / 2],
            changed[CHANGES - 1],
            checkpoint_bytes(&mut instance) >> 10
        );
    }
}

fn main() {
    let given: Vec<String> = std::env::args().skip(1).collect();
    let is = |flag: &str| given.iter().any(|argument| argument == flag);
    // `tests/run` only asks whether it runs.
    let turns = if is("--quick") {
        20
    } else if is("--test") || !is("--bench") {
        2
    } else {
        200
    };
    let work = move || {
        let contestants = contestants();
        for case in cases() {
            speed(&contestants, &case, turns);
        }
        first_message(&contestants, turns.clamp(3, 15));
        for case in cases() {
            memory(&contestants, &case);
        }
    };
    weft_vm::spawn_guest_thread("bench", work).unwrap().join().unwrap();
}
