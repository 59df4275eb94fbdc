//! How every hostile module is run, and what is held against it.

use std::sync::atomic::{AtomicIsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use weft_vm::guests::COUNTER;
use weft_vm::{Engine, EngineConfig, Format, Instance, Limits, ModuleError, Outcome, Trap, VmError};

use crate::counting::Counting;

/// What a hostile process may use: a fraction of a second, and 16 MiB.
pub(crate) const LIMITS: Limits = Limits { gas: 2_000_000_000, memory_bytes: 1 << 24 };
/// Bytes of the host's heap that one message may hold beside the guest's memory: a result of the
/// largest size with its copy, and what a call's arguments take.
const HELD_MAX: isize = 24 << 20;
/// Bytes that an instance takes up beside its memory limit: the snapshot of what it began with.
const RESIDENT_MORE: u64 = 1 << 20;

/// What must become of a module.
#[derive(Debug)]
pub(crate) enum Must {
    /// It is refused, with these words.
    Refuse(&'static str),
    /// Its message ends so.
    End(Trap),
    /// It answers, and harms nobody by it.
    Answer(&'static [u8]),
}

/// A hostile module.
#[derive(Debug)]
pub(crate) struct Case {
    pub(crate) name: &'static str,
    pub(crate) format: Format,
    pub(crate) text: String,
    pub(crate) must: Must,
}

/// A plain module whose `handle` is this, with these parts before it.
pub(crate) fn plain(name: &'static str, parts: &str, handle: &str, must: Must) -> Case {
    let (imports, parts) = parts.split_once("---").unwrap_or(("", parts));
    let text = format!(
        "(module {imports} (memory (export \"memory\") 1) {parts}
           (func (export \"alloc\") (param i32) (result i32) (i32.const 1024))
           (func (export \"handle\") (param i32 i32 i32 i32) (result i64) {handle}))"
    );
    Case { name, format: Format::Plain, text, must }
}

/// A module of today's 32-bit emscripten whose `handle` is this, with these parts before it.
pub(crate) fn emscripten32(name: &'static str, parts: &str, handle: &str, must: Must) -> Case {
    Case { name, format: Format::Emscripten32, text: crate::emscripten::wat(false, parts, handle), must }
}

/// As [`emscripten32`], with 64-bit memory.
pub(crate) fn emscripten64(name: &'static str, parts: &str, handle: &str, must: Must) -> Case {
    Case { name, format: Format::Emscripten64, text: crate::emscripten::wat(true, parts, handle), must }
}

// ------------------------------------------------------------------------------------- memory

// What all threads hold: guests run on threads of their own.
static LIVE: AtomicIsize = AtomicIsize::new(0);
static PEAK: AtomicIsize = AtomicIsize::new(0);
/// One test measures at a time.
static MEASURED: Mutex<()> = Mutex::new(());

fn count(change: isize) {
    let live = LIVE.fetch_add(change, Ordering::Relaxed) + change;
    PEAK.fetch_max(live, Ordering::Relaxed);
}

#[global_allocator]
static ALLOCATOR: Counting = Counting(count);

/// Keeps other tests of this program from allocating beside a measurement.
pub(crate) fn alone() -> MutexGuard<'static, ()> {
    MEASURED.lock().unwrap_or_else(PoisonError::into_inner)
}

// -------------------------------------------------------------------------------------- suite

/// Runs a table beside an honest process, and reports everything that is wrong with it.
pub(crate) fn run(cases: Vec<Case>) {
    run_within(LIMITS, cases);
}

/// As [`run`], for modules that need more gas to come to where they do harm.
pub(crate) fn run_within(limits: Limits, cases: Vec<Case>) {
    let _alone = alone();
    let engine = Engine::new(EngineConfig::default()).unwrap();
    let mut neighbour = Neighbour::new(&engine);
    let mut wrong = Vec::new();
    for case in cases {
        if let Err(what) = judge(&engine, limits, &case) {
            wrong.push(format!("{}: {what}", case.name));
        }
        if let Err(what) = neighbour.goes_on() {
            wrong.push(format!("{}: the neighbour {what}", case.name));
        }
    }
    assert!(wrong.is_empty(), "{} cases:\n{}", wrong.len(), wrong.join("\n"));
}

fn judge(engine: &Engine, limits: Limits, case: &Case) -> Result<(), String> {
    let wasm = wat::parse_str(&case.text).map_err(|error| format!("the test's own text: {error}"))?;
    let made = match engine.compile(&wasm, case.format) {
        Ok(module) => module.instantiate(limits).map_err(|error| match error {
            VmError::Host(fault) => Err(fault),
            refused => Ok(refused.to_string()),
        }),
        Err(ModuleError::Host(fault)) => Err(Err(fault)),
        Err(refused) => Err(Ok(refused.to_string())),
    };
    match (made, &case.must) {
        (Err(Err(fault)), _) => Err(format!("blamed on the host when it was made: {fault}")),
        (Err(Ok(said)), Must::Refuse(words)) if said.contains(words) => Ok(()),
        (Err(Ok(said)), must) => Err(format!("refused with `{said}`, and must {must:?}")),
        (Ok(_), Must::Refuse(_)) => Err("taken".to_owned()),
        (Ok(instance), must) => evaluate(instance, limits, must),
    }
}

fn evaluate(mut instance: Instance, limits: Limits, must: &Must) -> Result<(), String> {
    let before = instance.memory_image().map_err(|fault| fault.to_string())?;
    let mut first = None;
    for _ in 0..2 {
        PEAK.store(LIVE.load(Ordering::Relaxed), Ordering::Relaxed);
        let start = LIVE.load(Ordering::Relaxed);
        let ended = instance.evaluate(b"{\"Id\":\"1\"}", b"{}");
        let held = PEAK.load(Ordering::Relaxed) - start;
        let evaluation = ended.map_err(|fault| format!("blamed on the host: {fault}"))?;
        let as_it_must = match (&evaluation.outcome, must) {
            (Outcome::Trapped(trap), Must::End(expected)) => trap == expected,
            (Outcome::Returned(text), Must::Answer(expected)) => text == expected,
            _ => false,
        };
        if !as_it_must {
            return Err(format!("{:?}, and must {must:?}", evaluation.outcome));
        }
        if evaluation.gas > limits.gas {
            return Err(format!("{} gas", evaluation.gas));
        }
        if held > HELD_MAX {
            return Err(format!("{held} bytes held by the host"));
        }
        let resident = instance.resident_bytes();
        if resident > limits.memory_bytes + RESIDENT_MORE {
            return Err(format!("{resident} bytes resident"));
        }
        instance.roll_back().map_err(|fault| format!("not rolled back: {fault}"))?;
        if instance.memory_image().map_err(|fault| fault.to_string())? != before {
            return Err("it left a trace".to_owned());
        }
        if first.as_ref().is_some_and(|first| *first != evaluation) {
            return Err(format!("{first:?} and then {evaluation:?}"));
        }
        first = Some(evaluation);
    }
    Ok(())
}

/// An honest process that counts.
pub(crate) struct Neighbour {
    instance: Instance,
    count: u64,
}

impl Neighbour {
    pub(crate) fn new(engine: &Engine) -> Self {
        let module = engine.compile(COUNTER, Format::Plain).unwrap();
        Self { instance: module.instantiate(LIMITS).unwrap(), count: 0 }
    }

    /// Counts one further.
    pub(crate) fn goes_on(&mut self) -> Result<(), String> {
        const MESSAGE: &[u8] = br#"{"Tags":[{"name":"Action","value":"Increment"}]}"#;
        let evaluation = self.instance.evaluate(MESSAGE, b"{}").map_err(|fault| fault.to_string())?;
        self.instance.keep().map_err(|fault| fault.to_string())?;
        self.count += 1;
        let expected = format!("\"Output\":\"{}\"", self.count);
        match evaluation.outcome {
            Outcome::Returned(text) if String::from_utf8_lossy(&text).contains(&expected) => Ok(()),
            other => Err(format!("answered {other:?} without {expected}")),
        }
    }
}
