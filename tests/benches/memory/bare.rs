//! Processes without a node: instances of bare wasmtime that are given what a node gives its guests.

use std::sync::Arc;

use weft_protocol::message::{env_json, message_json, process_json};
use weft_protocol::module::Module;
use weft_protocol::process::{Process, Terms};
use weft_protocol::record::VerifiedRecord;
use weft_protocol::time::Weave;
use weft_protocol::{DataItem, Position, Verified, outcome};
use weft_tests::lone::{Kind, Lone, NETWORK};
use weft_vm::{Engine, EngineConfig, Format, Guard, Limits, Outcome};

use super::node::Guest;
use super::{on_guest_thread, resident_bytes};

/// What the guest of a process is given: its environment, and a text for each slot from 0 on.
pub struct Given {
    environment: String,
    texts: Vec<String>,
}

impl Given {
    pub fn of(process: &Process, module: Verified<DataItem>, log: &[VerifiedRecord]) -> Self {
        let text = |record: &VerifiedRecord| match record.assignment() {
            assignment if assignment.slot == 0 => process_json(process, assignment),
            assignment => message_json(assignment, record.item(), record.origin()),
        };
        let environment = env_json(process, &Module::accept(module).unwrap());
        Self { environment, texts: log.iter().map(text).collect() }
    }
}

/// The log of a process as [`super::node::fill`] makes it, with slot 0. Nothing runs, so whose module the store
/// has does not matter.
pub fn log_of(guest: Guest, number: usize) -> (Lone, VerifiedRecord) {
    let item = DataItem::verify_bytes(guest.process(number).1).unwrap();
    let terms = Terms { network: NETWORK, weave: Weave::Clock };
    let mut lone = Lone::in_memory(&Kind::COUNTER);
    lone.process = Arc::new(Process::accept(item, None, &terms).unwrap());
    let opening = lone.open();
    (lone, opening)
}

/// Prints what the first instance took and what each further one takes, each after all that is given: nothing
/// is counted, remembered or written.
pub fn measure(wasm: Vec<u8>, format: &'static str, given: Given, count: usize) {
    on_guest_thread(move || {
        let config = EngineConfig { guard: Guard::Off, roll_back: false, ..EngineConfig::default() };
        let format = Format::parse(format).unwrap();
        let module = Engine::new(config).unwrap().compile(&wasm, format).unwrap();
        let limits = Limits { gas: 9_000_000_000_000, memory_bytes: 1 << 30 };
        let booted = || {
            let mut instance = module.instantiate(limits).unwrap();
            for (slot, text) in (0..).zip(&given.texts) {
                let evaluation = instance.evaluate(text.as_bytes(), given.environment.as_bytes()).unwrap();
                let result = match &evaluation.outcome {
                    Outcome::Returned(result) => result,
                    other => panic!("{other:?}"),
                };
                let came_to = outcome::Outcome::of_result(Position::slot(slot), result, None);
                assert!(came_to.code.keeps_memory(), "{}", came_to.result_json(None));
                instance.keep().unwrap();
            }
            instance
        };
        drop(booted());
        let before = resident_bytes();
        let mut held = Vec::with_capacity(count);
        held.push(booted());
        let first = resident_bytes().saturating_sub(before);
        held.extend((1..count).map(|_| booted()));
        let each = resident_bytes().saturating_sub(before + first) / (count as u64 - 1).max(1);
        println!("{first} {each}");
    });
}
