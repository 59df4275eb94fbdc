//! What is no module, or not one that is evaluated: each is refused by name, alike everywhere,
//! and nothing of it can hurt the host.

use weft_vm::guests::COUNTER;
use weft_vm::{Engine, EngineConfig, Format, Limits, Module, ModuleError, Outcome, Trap};

use crate::suite::alone;

const LIMITS: Limits = Limits { gas: 2_000_000_000, memory_bytes: 1 << 24 };

fn engine() -> Engine {
    Engine::new(EngineConfig::default()).unwrap()
}

fn compile(wasm: &[u8]) -> Result<Module, ModuleError> {
    engine().compile(wasm, Format::Plain)
}

/// A module with a memory and both exports, and with this beside them.
fn with(more: &str) -> String {
    whole("(memory (export \"memory\") 1)", more, "(i32.const 1024)", "(i64.const 0)")
}

fn whole(memory: &str, more: &str, alloc: &str, handle: &str) -> String {
    format!(
        "(module {memory} {more}
           (func (export \"alloc\") (param i32) (result i32) {alloc})
           (func (export \"handle\") (param i32 i32 i32 i32) (result i64) {handle}))"
    )
}

fn refusal(text: &str) -> String {
    let wasm = wat::parse_str(text).unwrap_or_else(|error| panic!("{text}: {error}"));
    let shown = text.get(..200).unwrap_or(text);
    match compile(&wasm) {
        Ok(_) => panic!("{shown} was taken"),
        Err(ModuleError::Host(fault)) => panic!("{shown} is not the host's fault: {fault}"),
        Err(refused) => refused.to_string(),
    }
}

const ALLOC: &str = "(func (export \"alloc\") (param i32) (result i32) (i32.const 0))";
const HANDLE: &str = "(func (export \"handle\") (param i32 i32 i32 i32) (result i64) (i64.const 0))";

const MEMORY: &str = "(memory (export \"memory\") 1)";

/// Modules with parts, imports and exports that are not taken.
fn parts() -> Vec<(String, &'static str)> {
    vec![
        (with("(func $s) (start $s)"), "a start section, which is not supported"),
        (with("(memory 1)"), "a second memory, which is not supported"),
        (
            whole("(import \"e\" \"m\" (memory 1))", "", "(i32.const 0)", "(i64.const 0)"),
            "an imported memory (e.m)",
        ),
        (
            format!("(module (import \"e\" \"t\" (table 1 funcref)) {MEMORY} {ALLOC} {HANDLE})"),
            "an imported table (e.t)",
        ),
        (
            format!("(module (import \"e\" \"g\" (global i32)) {MEMORY} {ALLOC} {HANDLE})"),
            "an imported global (e.g)",
        ),
        (
            format!("(module (import \"weft\" \"clock\" (func)) {MEMORY} {ALLOC} {HANDLE})"),
            "imports weft.clock, which the format wasm32-weft-plain does not offer",
        ),
        (
            format!("(module (import \"env\" \"sha256\" (func)) {MEMORY} {ALLOC} {HANDLE})"),
            "imports env.sha256",
        ),
        (format!("(module {ALLOC} {HANDLE})"), "no memory, which is not supported"),
        (format!("(module {MEMORY} {HANDLE})"), "lacks the export alloc (alloc(bytes) -> address)"),
        (format!("(module {MEMORY} {ALLOC})"), "lacks the export handle"),
        (format!("(module (memory 1) {ALLOC} {HANDLE})"), "memory"),
        (format!("(module (memory (export \"mem\") 1) {ALLOC} {HANDLE})"), "exported under another name"),
        (format!("(module {MEMORY} (func (export \"alloc\")) {HANDLE})"), "lacks the export alloc"),
        (
            format!(
                "(module {MEMORY} {ALLOC} (func (export \"handle\") (param i32) (result i64) (i64.const 0)))"
            ),
            "lacks the export handle",
        ),
        (
            format!("(module {MEMORY} (global (export \"alloc\") i32 (i32.const 0)) {HANDLE})"),
            "lacks the export alloc",
        ),
        (
            whole("(memory (export \"memory\") i64 1)", "", "(i32.const 0)", "(i64.const 0)"),
            "a 64-bit memory, and its format has 32-bit memory",
        ),
        (whole("(memory (export \"memory\") 1 2 shared)", "", "(i32.const 0)", "(i64.const 0)"), "threads"),
    ]
}

/// Modules with code and contents that are not taken.
fn contents() -> Vec<(String, &'static str)> {
    vec![
        (with("(tag (param funcref))"), "an exception tag that takes a reference"),
        (with("(func try catch_all end)"), "legacy_exceptions feature required"),
        (with("(func $f (return_call $f))"), "tail calls"),
        (with("(table 1 funcref) (func (table.set (i32.const 0) (ref.null func)))"), "table.set"),
        (with("(table 1 funcref) (func (drop (table.grow (ref.null func) (i32.const 1))))"), "table.grow"),
        (
            with("(table 1 funcref) (func (table.fill (i32.const 0) (ref.null func) (i32.const 1)))"),
            "table.fill",
        ),
        (with("(table 2000000 funcref)"), "2000000 table elements (at most 1048576)"),
        (with("(global (mut funcref) (ref.null func))"), "a mutable global that holds a reference"),
        (with(&"(global (mut i32) (i32.const 0))".repeat(300)), "more than 256 mutable globals"),
        (with("(func (export \"weft.gas\"))"), "the export \"weft.gas\", a reserved name"),
        (
            with("(global i32 (i32.const 0)) (data (global.get 0) \"x\")"),
            "a data segment whose offset is not a constant",
        ),
        (with("(data (i32.const 65536) \"x\")"), "initialisation failed"),
        (
            with(
                "(func (drop (f32x4.relaxed_madd (v128.const i64x2 0 0) (v128.const i64x2 0 0) (v128.const i64x2 0 0))))",
            ),
            "relaxed",
        ),
        (with("(func (drop (i32.atomic.load (i32.const 0))))"), "threads"),
        (with("(type $s (struct)) (func (drop (struct.new $s)))"), "gc"),
        (with("(func (result i32) (i64.const 0))"), "type mismatch"),
    ]
}

#[test]
fn what_is_not_evaluated_is_refused_by_name() {
    let _alone = alone();
    let mut wrong = Vec::new();
    for (text, part) in parts().iter().chain(&contents()) {
        let said = refusal(text);
        if !said.to_lowercase().contains(&part.to_lowercase()) || !said.starts_with("the module") {
            wrong.push(format!("{text}\n  says: {said}\n  without: {part}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Where the last section of a module ends that says anything: its data.
fn data_end(wasm: &[u8]) -> usize {
    let payloads = wasmparser::Parser::new(0).parse_all(wasm);
    let mut ends = payloads.filter_map(|payload| match payload.unwrap() {
        wasmparser::Payload::DataSection(data) => Some(data.range().end),
        _ => None,
    });
    ends.next().unwrap()
}

#[test]
fn every_cut_and_every_changed_byte_is_borne() {
    let _alone = alone();
    let engine = engine();
    let said = |wasm: &[u8]| match engine.compile(wasm, Format::Plain) {
        Ok(_) => None,
        Err(ModuleError::Host(fault)) => panic!("not the host's fault: {fault}"),
        Err(refused) => Some(refused.to_string()),
    };
    assert!(said(b"").unwrap().contains("not valid"));
    assert!(said(b"\0asm").unwrap().contains("not valid"));
    // A component, not a module.
    assert!(said(b"\0asm\x0d\0\x01\0").unwrap().starts_with("the module"));
    let large = vec![0; 33 << 20];
    assert_eq!(said(&large).unwrap(), "the module has 34603008 bytes; at most 33554432 are allowed");
    // Only the custom sections at the end say nothing.
    let last = data_end(COUNTER);
    for at in (0..COUNTER.len()).step_by((COUNTER.len() / 100).max(1)) {
        let refused = said(&COUNTER[..at]).is_some();
        assert!(refused || at >= last, "cut at {at} of {}, {last} of which matter", COUNTER.len());
        let mut changed = COUNTER.to_vec();
        changed[at] ^= 0x55;
        if let Ok(module) = engine.compile(&changed, Format::Plain) {
            // What is still a module may do what it likes, within its limits.
            let limits = Limits { gas: 5_000_000, memory_bytes: 1 << 24 };
            if let Ok(mut instance) = module.instantiate(limits) {
                instance.evaluate(b"{}", b"{}").unwrap();
                instance.roll_back().unwrap();
            }
        }
    }
}

#[test]
fn large_and_deep_modules_are_compiled_or_refused_in_time() {
    let _alone = alone();
    let nested = |open: &str, count: usize| {
        with(&format!("(func {}{})", format!("{open} ").repeat(count), "end ".repeat(count)))
    };
    let branches = |count: usize| with(&format!("(func block {}end)", "i32.const 0 br_if 0 ".repeat(count)));
    // Each call may throw, and each handler around it may catch that.
    let caught = |deep: usize, calls: usize| {
        let (open, close) = ("try_table (catch_all 0) ".repeat(deep), "end ".repeat(deep));
        with(&format!("(func $f block {open}{}{close}end)", "call $f ".repeat(calls)))
    };
    let fifty_thousand = format!("(func (local {}))", "i64 ".repeat(50_000));
    let locals = |functions: usize| with(&fifty_thousand.repeat(functions));
    let taken = [
        caught(8, 500),
        branches(8_192),
        locals(20),
        with(&"(func)".repeat(20_000)),
        nested("block", 4_096),
        nested("loop", 256),
        nested("i32.const 0 if", 4_096),
        with(&format!("(func {} {})", "i32.const 1 ".repeat(50_000), "drop ".repeat(50_000))),
        with(&format!("(func $f {})", "call $f ".repeat(50_000))),
    ];
    for text in taken {
        let module = compile(&wat::parse_str(&text).unwrap()).unwrap_or_else(|e| panic!("{e}"));
        let mut instance = module.instantiate(LIMITS).unwrap();
        assert_eq!(instance.evaluate(b"", b"").unwrap().outcome, Outcome::Returned(Vec::new()));
        instance.roll_back().unwrap();
    }
    // The compiler would take a minute for the loops, and hours for a module full of them.
    let refused = [
        (nested("loop", 257), "more than 256 nested loops in one function"),
        (nested("loop", 100_000), "more than 256 nested loops in one function"),
        (nested("block", 4_097), "more than 4096 nested blocks in one function"),
        (nested("i32.const 0 if", 100_000), "more than 4096 nested blocks in one function"),
        (branches(32_769), "so many branches"),
        (caught(50, 1_000), "so many branches"),
        (
            with(&format!("(func {})", "block try_table (catch_all 0) end end ".repeat(12_000))),
            "so many branches",
        ),
        (locals(22), "more than 1048576 locals in all functions"),
        (with(&format!("(func (local {}))", "i64 ".repeat(50_001))), "too many locals"),
        (with(&format!("(func block i32.const 0 br_table {} end)", "0 ".repeat(100_000))), "br_table"),
    ];
    // A million functions, or a thousand results in every call, take it minutes and gigabytes.
    let refused = refused.into_iter().chain([
        (with(&"(func)".repeat(65_535)), "65537 functions (at most 65536)"),
        (with(&format!("(type (func (result {})))", "i64 ".repeat(17))), "17 results (at most 16)"),
        (
            with(&format!("(func {})", "nop ".repeat(1 << 20))),
            "a function of 1048578 bytes (at most 1048576)",
        ),
    ]);
    for (text, part) in refused {
        let said = refusal(&text);
        assert!(said.starts_with("the module") && said.contains(part), "{said}");
    }
}

#[test]
fn memory_that_is_asked_for_and_not_used_costs_nothing() {
    let _alone = alone();
    let text = whole("(memory (export \"memory\") 65536)", "", "(i32.const 0)", "(i64.const 0)");
    let module = compile(&wat::parse_str(text).unwrap()).unwrap();
    let refused = module.instantiate(LIMITS).unwrap_err().to_string();
    assert_eq!(
        refused,
        "the memory limit of 16777216 bytes does not cover the module's initial 4294967296 bytes"
    );
}

#[test]
fn an_allocator_that_lies_ends_its_message_alone() {
    let _alone = alone();
    let handle = "(i32.store8 (i32.const 0) (i32.const 55)) (i64.const 1)";
    let cases = [
        ("(i32.const -1)", Trap::Trap),
        ("(i32.const 65535)", Trap::Trap),
        ("(unreachable)", Trap::Trap),
        ("(loop $l (br $l)) (i32.const 0)", Trap::OutOfGas),
        (
            "(if (i32.eq (i32.const -1) (memory.grow (i32.const 256))) (then (unreachable))) (i32.const 0)",
            Trap::OutOfMemory,
        ),
    ];
    for (alloc, expected) in cases {
        let text = whole("(memory (export \"memory\") 1)", "", alloc, handle);
        let mut instance = compile(&wat::parse_str(text).unwrap()).unwrap().instantiate(LIMITS).unwrap();
        let before = instance.memory_image().unwrap();
        for _ in 0..2 {
            let outcome = instance.evaluate(b"message", b"environment").unwrap().outcome;
            assert_eq!(outcome, Outcome::Trapped(expected), "{alloc}");
            instance.roll_back().unwrap();
            assert!(instance.memory_image().unwrap() == before, "{alloc} left a trace");
        }
    }
}
