//! The pass on small modules, run in bare wasmtime.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use wasmtime::{Engine, Global, Instance, Store, Val};

use super::*;
use crate::limits::{DEPTH_BYTES_MAX, DEPTH_FRAMES_MAX, FRAME_BYTES, SLOT_BYTES};

mod count;
mod exceptions;
mod fold;
mod lower;
mod module;
mod random;

const POLICY: Policy = Policy {
    memory64: false,
    copy_import: None,
    guard: true,
    merge: true,
    count: false,
    exceptions: true,
    lower: true,
    uncalled: &crate::host::asyncify::EXPORTS,
    memory_export: "memory",
};
const PLENTY: i64 = 1 << 40;

fn guarded(wat: &str, policy: &Policy) -> Vec<u8> {
    let wasm = wat::parse_str(wat).expect("the test's own text");
    let metered = instrument(&wasm, policy).expect("accepted");
    wasmparser::Validator::new_with_features(sections::features())
        .validate_all(&metered.wasm)
        .expect("the pass gives a valid module");
    metered.wasm
}

struct Run {
    store: Store<()>,
    instance: Instance,
    gas: Global,
    depth: Global,
}

impl Run {
    fn new(wasm: &[u8]) -> Self {
        let mut config = wasmtime::Config::new();
        config.max_wasm_stack(400 * 1024).wasm_backtrace_max_frames(None);
        let engine = Engine::new(&config).unwrap();
        let module = wasmtime::Module::new(&engine, wasm).unwrap();
        let mut store = Store::new(&engine, ());
        let instance = Instance::new(&mut store, &module, &[]).unwrap();
        let gas = instance.get_global(&mut store, GAS_EXPORT).unwrap();
        let depth = instance.get_global(&mut store, DEPTH_EXPORT).unwrap();
        Self { store, instance, gas, depth }
    }

    /// Calls `f` and gives its result and the gas it used.
    fn call(&mut self, argument: i32, gas: i64) -> (Result<i32, wasmtime::Error>, i64) {
        self.gas.set(&mut self.store, Val::I64(gas)).unwrap();
        self.depth.set(&mut self.store, Val::I64(DEPTH_START)).unwrap();
        let f = self.instance.get_typed_func::<i32, i32>(&mut self.store, "f").unwrap();
        let result = f.call(&mut self.store, argument);
        (result, gas - self.left())
    }

    fn left(&mut self) -> i64 {
        self.gas.get(&mut self.store).unwrap_i64()
    }

    fn depth(&mut self) -> i64 {
        self.depth.get(&mut self.store).unwrap_i64()
    }
}

/// Result and gas, the same whether segments are merged and questions left out or not, the depth back where it was.
fn used(wat: &str, argument: i32) -> (i32, i64) {
    let mut merged = Run::new(&guarded(wat, &POLICY));
    let mut single = Run::new(&guarded(wat, &Policy { merge: false, ..POLICY }));
    let mut asked = Run::new(&guarded(wat, &Policy { uncalled: &[], ..POLICY }));
    let (result, gas) = merged.call(argument, PLENTY);
    let (same, apart) = single.call(argument, PLENTY);
    let result = result.unwrap();
    assert_eq!((result, gas), (same.unwrap(), apart), "merging changed something for {argument}");
    let (same, unfolded) = asked.call(argument, PLENTY);
    assert_eq!((result, gas), (same.unwrap(), unfolded), "folding changed something for {argument}");
    assert_eq!(merged.depth(), DEPTH_START);
    (result, gas)
}

#[test]
fn straight_code_costs_what_the_table_says() {
    let wat = "(module (memory 1) (func (export \"f\") (param i32) (result i32)
        (i32.add (local.get 0) (i32.const 2))))";
    // local.get 120, const 1, add 45, end 0, and 91 for the segment.
    assert_eq!(used(wat, 40), (42, 120 + 1 + 45 + 91));
}

#[test]
fn vectors_cost_what_their_table_says() {
    let cost = |code: &str| {
        let body = |code: &str| {
            format!("(module (memory 1) (func (export \"f\") (param i32) (result i32) {code} (local.get 0)))")
        };
        used(&body(code), 1).1 - used(&body(""), 1).1
    };
    let (zeros, drop) = ("(v128.const i64x2 0 0)", 120);
    assert_eq!(cost(&format!("(drop {zeros})")), 1 + drop);
    assert_eq!(cost("(drop (v128.load (i32.const 0)))"), 1 + 120 + drop);
    for (op, gas) in [
        ("i32x4.add", 90),
        ("f32x4.mul", 90),
        ("i8x16.swizzle", 90),
        ("i64x2.mul", 270),
        ("f64x2.min", 270),
        ("f32x4.div", 900),
    ] {
        assert_eq!(cost(&format!("(drop ({op} {zeros} {zeros}))")), 2 + gas + drop, "{op}");
    }
}

#[test]
fn guesses_past_their_limit_are_charged_as_other_branches() {
    // Each branch is one that the pass would guess, and may leave all that is open around it.
    let (deep, branches) = (1_400, 800);
    assert!(deep * branches > crate::limits::GUESSES_MAX);
    let wat = format!(
        "(module (memory 1) (global $state (mut i32) (i32.const 0)) (func (export \"f\") (param i32) (result i32)
            (global.set $state (local.get 0)) {}{}{}(global.get $state)))",
        "block ".repeat(deep),
        format!("global.get $state i32.const 1 i32.eq br_if {} ", deep - 1).repeat(branches),
        "end ".repeat(deep),
    );
    let (stayed, left) = (used(&wat, 7), used(&wat, 1));
    assert_eq!((stayed.0, left.0), (7, 1));
    assert!(left.1 < stayed.1, "{left:?} {stayed:?}");
}

#[test]
fn a_branch_not_taken_is_not_paid() {
    let wat = "(module (memory 1) (func (export \"f\") (param i32) (result i32)
        (if (result i32) (local.get 0) (then (i32.const 1)) (else (i32.div_s (i32.const 9) (i32.const 3))))))";
    let head = 120 + 1 + 91;
    // The `then` arm ends with `else` (90).
    assert_eq!(used(wat, 1), (1, head + 1 + 90 + 91));
    assert_eq!(used(wat, 0), (3, head + 1 + 1 + 36_000 + 91));
}

#[test]
fn loops_are_paid_by_the_turn() {
    let wat = "(module (memory 1) (func (export \"f\") (param i32) (result i32) (local i32)
        (loop $again
          (local.set 1 (i32.add (local.get 1) (local.get 0)))
          (br_if $again (local.tee 0 (i32.sub (local.get 0) (i32.const 1)))))
        (local.get 1)))";
    let (ten, at_ten) = used(wat, 10);
    let (eleven, at_eleven) = used(wat, 11);
    let (hundred, at_hundred) = used(wat, 100);
    assert_eq!((ten, eleven, hundred), (55, 66, 5050));
    assert_eq!((at_hundred - at_ten), 90 * (at_eleven - at_ten));
    let turn = 120 * 5 + 45 + 45 + 1 + 90 + 91;
    assert_eq!(at_eleven - at_ten, turn);
}

#[test]
fn nested_blocks_and_tables_agree_with_single_segments() {
    let wat = "(module (memory 1)
      (func $g (param i32) (result i32)
        (block $out (result i32)
          (block $two (block $one (block $zero
            (br_table $zero $one $two (local.get 0)))
            (br $out (i32.const 10)))
            (drop (i32.clz (i32.const 5)))
            (block $inner
              (br_if $inner (i32.eq (local.get 0) (i32.const 1)))
              (return (i32.const -1)))
            (br $out (i32.const 11)))
          (if (i32.gt_s (local.get 0) (i32.const 5)) (then (return (i32.const 13))))
          (i32.const 12)))
      (func (export \"f\") (param i32) (result i32)
        (block $skip
          (br_if $skip (i32.eqz (local.get 0)))
          (block (drop (call $g (local.get 0))))
          (block $unused (nop)))
        (i32.add (i32.const 1000) (call $g (local.get 0)))))";
    for argument in 0..9 {
        let expected = 1000
            + match argument {
                0 => 10,
                1 => 11,
                2..=5 => 12,
                _ => 13,
            };
        assert_eq!(used(wat, argument).0, expected);
    }
}

/// Code as asyncify writes it, with the global that it asks set every way.
#[test]
fn guesses_that_go_wrong_cost_the_same() {
    let wat = "(module (memory 1) (global $state (mut i32) (i32.const 0)) (global $n (mut i32) (i32.const 0))
      (func $step (param i32) (result i32)
        (global.set $n (i32.add (global.get $n) (i32.const 1)))
        ;; The state changes in the middle of things.
        (if (i32.eq (global.get $n) (local.get 0)) (then (global.set $state (i32.const 1))))
        (global.get $n))
      (func $f (param i32) (result i32) (local i32 i32)
        (block $unwind (result i32)
          (if (i32.eqz (global.get $state)) (then (local.set 1 (i32.clz (i32.const 3)))))
          (block $inner
            (if (i32.or (i32.eqz (global.get $state)) (i32.eqz (local.get 2)))
              (then
                (local.set 1 (call $step (local.get 0)))
                (drop (br_if $unwind (i32.const 77) (i32.eq (global.get $state) (i32.const 1))))
                (br_if $inner (i32.gt_s (local.get 1) (i32.const 6))))
              (else (local.set 2 (i32.const 5)) (local.set 2 (i32.const 6))))
            (loop $again
              (local.set 1 (call $step (local.get 0)))
              (br_if $again (i32.eq (global.get $state) (i32.const 2)))
              (if (i32.or (i32.eqz (global.get $state)) (i32.eq (local.get 2) (i32.const 1)))
                (then
                  (block $done
                    (br_if $done (i32.eq (global.get $state) (i32.const 1)))
                    (local.set 2 (i32.add (local.get 2) (i32.const 3)))
                    (br_if $again (i32.lt_s (local.get 1) (i32.const 5))))
                  (local.set 2 (i32.sub (local.get 2) (i32.const 1)))
                  (block (drop (i32.const 1)))))
              (drop (br_if $unwind (i32.const 78) (i32.eq (global.get $state) (i32.const 1))))
              (local.set 2 (i32.add (local.get 2) (i32.const 1))))
            (drop (i32.popcnt (local.get 2))))
          (drop (br_if $unwind (i32.const 79) (i32.eq (global.get $state) (i32.const 3))))
          (i32.add (local.get 1) (local.get 2))))
      (func (export \"f\") (param i32) (result i32)
        (global.set $state (i32.shr_u (local.get 0) (i32.const 8)))
        (global.set $n (i32.const 0))
        (if (result i32) (i32.eqz (global.get $state))
          (then (call $f (i32.and (local.get 0) (i32.const 255))))
          (else (i32.add (i32.const 1000) (call $f (i32.and (local.get 0) (i32.const 255))))))))";
    let mut seen = std::collections::BTreeSet::new();
    for state in [0, 1, 3, 4] {
        for when in 0..12 {
            seen.insert(used(wat, state << 8 | when).0);
        }
    }
    assert!(seen.len() > 6, "the paths differ: {seen:?}");
}

#[test]
fn dead_code_is_left_alone() {
    let wat = "(module (memory 1) (func (export \"f\") (param i32) (result i32)
        (block $a
          (br $a)
          (loop $l (br_if $l (i32.const 1)) (return (i32.const 4)))
          (if (i32.const 1) (then (br 0)) (else (unreachable)))
          (block (br 1) (drop (memory.grow (i32.const 1)))))
        (return (i32.const 7))
        (drop (i32.const 1))))";
    assert_eq!(used(wat, 0).0, 7);
}

#[test]
fn several_results_pass_the_epilogue() {
    let wat = "(module (memory 1)
      (func $two (param i32) (result i32 i64)
        (if (local.get 0) (then (call $nothing) (return (i32.const 3) (i64.const 4))))
        (i32.const 1) (i64.const 2))
      (func $nothing)
      (func (export \"f\") (param i32) (result i32)
        (call $two (local.get 0)) (i32.wrap_i64) (i32.add)))";
    assert_eq!(used(wat, 0).0, 3);
    assert_eq!(used(wat, 1).0, 7);
}

#[test]
fn an_endless_loop_runs_out_of_gas() {
    let wat =
        "(module (memory 1) (func (export \"f\") (param i32) (result i32) (loop $l (br $l)) (i32.const 0)))";
    let mut run = Run::new(&guarded(wat, &POLICY));
    let (result, _) = run.call(0, 1_000_000);
    assert!(result.is_err());
    assert!(run.left() < 0);
    assert_eq!(run.depth() & DEPTH_OVER, DEPTH_OVER);
}

#[test]
fn the_last_unit_of_gas_may_be_used() {
    let wat = "(module (memory 1)
      (func $g) (func (export \"f\") (param i32) (result i32)
        (loop $l (call $g) (br_if $l (local.tee 0 (i32.sub (local.get 0) (i32.const 1))))) (i32.const 0)))";
    let (_, gas) = used(wat, 50);
    let mut run = Run::new(&guarded(wat, &POLICY));
    assert!(run.call(50, gas).0.is_ok());
    assert_eq!(run.left(), 0);
    // One unit less: it traps, or it returns with the counter below zero for the host to see.
    let _ = run.call(50, gas - 1);
    assert!(run.left() < 0);
}

const RECURSE: &str = "(module (memory 1) (func $r (export \"f\") (param i32) (result i32)
    (if (i32.eqz (local.get 0)) (then (return (i32.const 5))))
    (call $r (i32.sub (local.get 0) (i32.const 1)))))";

#[test]
fn frames_are_limited_exactly() {
    // One local and two operands: 88 bytes, so the frames run out before the bytes.
    let frames = DEPTH_FRAMES_MAX as i32;
    assert!(frames as u64 * (FRAME_BYTES + 3 * SLOT_BYTES) < DEPTH_BYTES_MAX);
    let wasm = guarded(RECURSE, &POLICY);
    crate::spawn_guest_thread("frames", move || {
        let mut run = Run::large(&wasm);
        assert_eq!(run.call(frames - 1, PLENTY).0.unwrap(), 5);
        assert_eq!(run.depth(), DEPTH_START);
        assert!(run.call(frames, PLENTY).0.is_err());
        assert_eq!(run.depth() & DEPTH_OVER, DEPTH_OVER);
        assert!(run.left() > 0);
    })
    .unwrap()
    .join()
    .unwrap();
}

#[test]
fn bytes_are_limited_exactly() {
    let locals = 1000;
    let wat = RECURSE.replace("(result i32)\n", &format!("(result i32) (local {})\n", "i64 ".repeat(locals)));
    let frame = FRAME_BYTES + (locals as u64 + 3) * SLOT_BYTES;
    let frames = (DEPTH_BYTES_MAX / frame) as i32;
    let wasm = guarded(&wat, &POLICY);
    crate::spawn_guest_thread("bytes", move || {
        let mut run = Run::large(&wasm);
        assert_eq!(run.call(frames - 1, PLENTY).0.unwrap(), 5);
        assert!(run.call(frames, PLENTY).0.is_err());
        assert_eq!(run.depth() & DEPTH_OVER, DEPTH_OVER);
    })
    .unwrap()
    .join()
    .unwrap();
}

#[test]
fn a_leaf_is_counted_while_it_runs() {
    // The leaf's 2,000 operands do not fit beside the callers' frames.
    let operands = 2000;
    let leaf = format!("{} {}", "(i32.const 1)".repeat(operands), "(i32.add)".repeat(operands - 1));
    let wat = format!(
        "(module (memory 1) (func $leaf (result i32) {leaf})
          (func $r (export \"f\") (param i32) (result i32)
            (if (i32.eqz (local.get 0)) (then (return (call $leaf))))
            (call $r (i32.sub (local.get 0) (i32.const 1)))))"
    );
    let wasm = guarded(&wat, &POLICY);
    crate::spawn_guest_thread("leaf", move || {
        let mut run = Run::large(&wasm);
        assert_eq!(run.call(10, PLENTY).0.unwrap(), operands as i32);
        let frame = FRAME_BYTES + 3 * SLOT_BYTES;
        let leaf = FRAME_BYTES + operands as u64 * SLOT_BYTES;
        let start = DEPTH_START + depth_of(DEPTH_BYTES_MAX - leaf - 3 * frame, 0);
        assert!(run.call_from(2, start).is_ok());
        assert!(run.call_from(3, start).is_err());
        assert_eq!(run.depth() & DEPTH_OVER, DEPTH_OVER);
    })
    .unwrap()
    .join()
    .unwrap();
}

#[test]
fn vectors_count_twice() {
    let wat = "(module (memory 1) (func $r (export \"f\") (param i32) (result i32) (local v128)
        (local.set 1 (v128.const i64x2 1 2))
        (if (i32.eqz (local.get 0)) (then (return (i32x4.extract_lane 0 (i8x16.add (local.get 1) (local.get 1))))))
        (call $r (i32.sub (local.get 0) (i32.const 1)))))";
    let mut run = Run::new(&guarded(wat, &POLICY));
    let frame = FRAME_BYTES + (1 + 2 + 4) * SLOT_BYTES;
    let exact = DEPTH_START + depth_of(DEPTH_BYTES_MAX - 2 * frame, 0);
    assert!(run.call_from(1, exact).is_ok());
    assert!(run.call_from(1, exact + depth_of(SLOT_BYTES, 0)).is_err());
}

impl Run {
    /// For deep recursion: needs a guest thread.
    fn large(wasm: &[u8]) -> Self {
        let mut config = wasmtime::Config::new();
        let stack = crate::limits::WASM_STACK_BYTES;
        config.max_wasm_stack(stack).async_stack_size(stack).wasm_backtrace_max_frames(None);
        let engine = Engine::new(&config).unwrap();
        let module = wasmtime::Module::new(&engine, wasm).unwrap();
        let mut store = Store::new(&engine, ());
        let instance = Instance::new(&mut store, &module, &[]).unwrap();
        let gas = instance.get_global(&mut store, GAS_EXPORT).unwrap();
        let depth = instance.get_global(&mut store, DEPTH_EXPORT).unwrap();
        Self { store, instance, gas, depth }
    }

    /// Calls `f` with some depth used already.
    fn call_from(&mut self, argument: i32, depth: i64) -> Result<i32, wasmtime::Error> {
        self.gas.set(&mut self.store, Val::I64(PLENTY)).unwrap();
        self.depth.set(&mut self.store, Val::I64(depth)).unwrap();
        let f = self.instance.get_typed_func::<i32, i32>(&mut self.store, "f").unwrap();
        f.call(&mut self.store, argument)
    }
}

#[test]
fn memory_is_paid_by_byte_and_page() {
    let wat = |op: &str| {
        format!("(module (memory 4 40) (func (export \"f\") (param i32) (result i32) {op} (i32.const 0)))")
    };
    let copy = wat("(memory.copy (i32.const 0) (i32.const 9) (local.get 0))");
    let fill = wat("(memory.fill (i32.const 0) (i32.const 9) (local.get 0))");
    let grow = wat("(drop (memory.grow (local.get 0)))");
    for text in [&copy, &fill] {
        assert_eq!(used(text, 1000).1 - used(text, 0).1, 1000 * cost::BYTE_GAS as i64);
    }
    assert_eq!(used(&grow, 3).1 - used(&grow, 0).1, 3 * cost::PAGE_GAS as i64);
    // A length that no memory has: it is charged before it traps.
    let mut run = Run::new(&guarded(&copy, &POLICY));
    assert!(run.call(-1, 1_000_000).0.is_err());
    assert!(run.left() < 0);
}

#[test]
fn huge_amounts_do_not_wrap_around() {
    let wat = "(module (memory i64 1 2) (func (export \"f\") (param i32) (result i32)
        (i32.wrap_i64 (memory.grow (i64.shl (i64.const 1) (i64.extend_i32_u (local.get 0)))))))";
    let wasm = guarded(wat, &Policy { memory64: true, ..POLICY });
    for bits in [20, 40, 48, 62, 63] {
        let mut run = Run::new(&wasm);
        let (_, gas) = run.call(bits, 1000);
        assert!(gas > 65_536 << 20, "2^{bits} pages cost {gas}");
        assert!(run.left() < 0);
    }
}

#[test]
fn both_widths_in_one_function() {
    let wat = "(module (memory i64 1) (data $d \"abcdef\") (func (export \"f\") (param i32) (result i32)
        (memory.copy (i64.const 0) (i64.const 100) (i64.const 50))
        (memory.init $d (i64.const 8) (i32.const 0) (i32.const 4))
        (i32.load (i64.const 8))))";
    let mut run = Run::new(&guarded(wat, &Policy { memory64: true, ..POLICY }));
    let (result, gas) = run.call(0, PLENTY);
    assert_eq!(result.unwrap(), i32::from_le_bytes(*b"abcd"));
    assert!(gas > 54 * cost::BYTE_GAS as i64);
}

#[test]
fn mutable_globals_are_exported_and_others_are_not() {
    let wat = "(module (memory 1) (global i32 (i32.const 1)) (global (mut i64) (i64.const 5))
        (global (mut f64) (f64.const 2)) (func (export \"f\") (param i32) (result i32) (local.get 0)))";
    let mut run = Run::new(&guarded(wat, &POLICY));
    let names: Vec<String> =
        run.instance.exports(&mut run.store).map(|export| export.name().to_owned()).collect();
    assert_eq!(names, ["f", "weft.gas", "weft.depth", "weft.global.1", "weft.global.2"]);
}
