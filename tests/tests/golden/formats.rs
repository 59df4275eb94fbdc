//! What each format of the reference comes to on the tour of its probe: a change of a price, of a
//! host function or of the engine changes these.

use std::fmt::Write as _;

use weft_node::compute::hosted::code_of;
use weft_protocol::outcome::Outcome;
use weft_protocol::{Hash, Position};
use weft_vm::{Engine, EngineConfig, Format, Limits, Outcome as Guest};

#[path = "../../../vm/tests/probe/mod.rs"]
mod probe;

const GOLDEN: &str = include_str!("formats.txt");
const LIMITS: Limits = Limits { gas: 9_000_000_000_000, memory_bytes: 1 << 27 };
/// Cases from one line to the next.
const STEP: usize = 16;

/// The tour of one format: how far, the memory, the gas of the guard and of the reference, and a
/// hash over the outcomes.
fn tour(format: Format, text: &mut String) {
    let (name, wasm) = probe::of(format).unwrap();
    let engine = Engine::new(EngineConfig::default()).unwrap();
    let mut instance = engine.compile(wasm, format).unwrap().instantiate(LIMITS).unwrap();
    let (mut gas, mut used) = (0, 0);
    let mut outcomes = Hash([0; 32]);
    let tour = probe::tour(name);
    for (at, message) in tour.iter().enumerate() {
        let evaluation = instance.evaluate(message.as_bytes(), b"{}").unwrap();
        let position = Position::slot(at as u64);
        let outcome = match &evaluation.outcome {
            Guest::Returned(bytes) => Outcome::of_result(position, bytes, None),
            Guest::Trapped(trap) => Outcome::failed(position, code_of(*trap)),
        };
        if outcome.code.keeps_memory() { instance.keep() } else { instance.roll_back() }.unwrap();
        (gas, used) = (gas + evaluation.gas, used + evaluation.gas_used);
        let both = [outcomes.0, outcome.hash().0].concat();
        outcomes = Hash(blake3::hash(&both).into());
        if at % STEP == STEP - 1 || at + 1 == tour.len() {
            let image = instance.memory_image().unwrap();
            let (bytes, root) = (image.byte_len(), image.root());
            writeln!(text, "{at} memory {bytes} {root} gas {gas} used {used} outcomes {outcomes}").unwrap();
        }
    }
}

#[test]
fn every_format_has_the_committed_states() {
    let mut found = String::new();
    for name in Format::NAMES {
        let format = Format::parse(name).unwrap();
        // The log of the counter beside this is that of our own.
        if format != Format::Plain {
            writeln!(found, "{name}").unwrap();
            tour(format, &mut found);
        }
    }
    super::check("formats.txt", GOLDEN, &found);
}
