//! What asks for a global that never changes: the same results, gas, depth and traps without it, and left alone where the
//! global may change.

use wasmparser::{Operator, Parser, Payload};

use super::lower::Both;
use super::random::{FUNCTIONS, Random};
use super::*;

const ASKED: Policy = Policy { uncalled: &[], ..POLICY };

/// How often a module reads a global.
fn reads(wasm: &[u8], global: u32) -> usize {
    let bodies = Parser::new(0).parse_all(wasm).filter_map(|payload| match payload.unwrap() {
        Payload::CodeSectionEntry(body) => Some(body),
        _ => None,
    });
    let operators = bodies.flat_map(|body| body.get_operators_reader().unwrap().into_iter());
    let is_read =
        |op: Operator<'_>| matches!(op, Operator::GlobalGet { global_index } if global_index == global);
    operators.filter(|op| is_read(op.clone().unwrap())).count()
}

/// Code as asyncify writes it, whose state nobody sets.
const IDLE: &str = "(module (memory 1) (global $state (mut i32) (i32.const 0))
  (table 1 funcref) (elem (i32.const 0) $step)
  (func (export \"asyncify_start_unwind\") (param i32) (global.set $state (i32.const 1)))
  (func (export \"asyncify_stop_rewind\") (global.set $state (i32.const 0)))
  (func $step (param i32) (result i32) (local i32)
    (if (i32.eq (global.get $state) (i32.const 2)) (then (local.set 1 (call $step (i32.const 9)))))
    (block $unwind (result i32)
      (if (i32.or (i32.eqz (global.get $state)) (i32.eqz (local.get 1)))
        (then
          (if (i32.eqz (local.get 0)) (then (return (i32.const 0))))
          (local.set 1 (call_indirect (param i32) (result i32) (i32.sub (local.get 0) (i32.const 1)) (i32.const 0)))
          (drop (br_if $unwind (i32.const 77) (i32.eq (global.get $state) (i32.const 1))))))
      (if (i32.eqz (global.get $state))
        (then (local.set 1 (i32.add (local.get 1) (i32.clz (local.get 0)))))
        (else (loop $again (br_if $again (call $step (i32.const 3)))) (return (i32.const -1))))
      (if (i32.or (i32.and (local.get 0) (i32.const 1)) (i32.eq (global.get $state) (i32.const 2)))
        (then (local.set 1 (i32.mul (local.get 1) (i32.const 3)))))
      (block $inner
        (br_if $inner (i32.eq (global.get $state) (i32.const 1)))
        (loop $turns
          (br_if $turns (i32.eq (global.get $state) (i32.const 1)))
          (local.set 1 (i32.sub (local.get 1) (i32.const 5)))
          (br_if $turns (i32.gt_s (local.get 1) (i32.const 100)))))
      ;; Not only whether it is something: what it is.
      (if (i32.eq (i32.or (i32.eqz (global.get $state)) (local.get 0)) (i32.const 1))
        (then (local.set 1 (i32.add (local.get 1) (i32.const 11)))))
      (if (i32.eq (i32.or (local.get 0) (i32.eqz (global.get $state))) (i32.const 1))
        (then (local.set 1 (i32.add (local.get 1) (i32.const 17)))))
      (if (i32.eq (i32.or (i32.eqz (global.get $state)) (i32.or (local.get 0) (local.get 1))) (i32.const 1))
        (then (local.set 1 (i32.add (local.get 1) (i32.const 19)))))
      (block $always
        (br_if $always (i32.eq (global.get $state) (i32.const 0)))
        (local.set 1 (i32.const 7)))
      (if (i32.const 1) (then (local.set 1 (i32.add (local.get 1) (i32.const 2)))) (else (unreachable)))
      (if $label (global.get $state)
        (then
          (drop (memory.grow (i32.const 1)))
          (memory.fill (i32.const 0) (i32.const 1) (i32.const 9))
          (block (block (br_table 0 1 2 $label (local.get 0))) (unreachable) (br_if $label (i32.const 1)))
          (block $caught (try_table (catch_all $label) (catch_all $caught) (drop (call $step (i32.const 1)))))))
      (if (i32.eqz (global.get $state))
        (then (block $caught (try_table (catch_all $caught) (local.set 1 (i32.xor (local.get 1) (i32.const 6))))))
        (else (return (i32.const 8)) (if (global.get $state) (then (unreachable)))))
      (if (result i32) (i32.eq (global.get $state) (i32.const 2))
        (then (i32.const 5)) (else (i32.add (local.get 1) (global.get $state))))))
  (func (export \"f\") (param i32) (result i32) (call $step (local.get 0))))";

#[test]
fn what_never_runs_is_left_out_and_costs_what_it_did() {
    let (folded, asked) = (guarded(IDLE, &POLICY), guarded(IDLE, &ASKED));
    assert_eq!((reads(&folded, 0), reads(&asked, 0)), (0, 16));
    assert!(folded.len() < asked.len());
    let ended: std::collections::BTreeSet<(i32, i64)> =
        (0..12).map(|argument| used(IDLE, argument)).collect();
    assert_eq!(ended.len(), 12);
    // At every limit they end the same way, and as far.
    let (_, total) = used(IDLE, 4);
    let (mut folded, mut asked) = (Run::new(&folded), Run::new(&asked));
    for gas in (0..=total).step_by(37).chain([total - 1, total]) {
        let ended = [&mut folded, &mut asked].map(|run| {
            let (result, used) = run.call(4, gas);
            (result.ok(), used, run.depth())
        });
        assert_eq!(ended[0], ended[1], "with {gas} of {total}");
    }
}

#[test]
fn a_global_that_may_change_is_asked_for() {
    const GLOBAL: &str = "(global $state (mut i32) (i32.const 0))";
    const STOP: &str = "(export \"asyncify_stop_rewind\")";
    const F: &str = "(func (export \"f\")";
    let named = (STOP, "$stop (export \"asyncify_stop_rewind\")");
    let cases: [(&str, &[(&str, &str)]); 10] = [
        ("it begins otherwise", &[(GLOBAL, "(global $state (mut i32) (i32.const 1))")]),
        ("the host may set it", &[(GLOBAL, "(global $state (export \"state\") (mut i32) (i32.const 0))")]),
        (
            "others set it",
            &[(
                "(if (i32.eqz (local.get 0))",
                "(global.set $state (i32.const 0)) (if (i32.eqz (local.get 0))",
            )],
        ),
        ("who sets it has another name", &[(STOP, "(export \"asyncify_stop_rewind\") (export \"g\")")]),
        ("who sets it is called", &[named, (F, "(func (call $stop)) (func (export \"f\")")]),
        (
            "who sets it calls itself",
            &[
                named,
                ("(global.set $state (i32.const 0)))", "(global.set $state (i32.const 0)) (call $stop))"),
            ],
        ),
        ("who sets it is referred to", &[named, (F, "(func (drop (ref.func $stop))) (func (export \"f\")")]),
        (
            "a global refers to who sets it",
            &[named, ("(table 1", "(global funcref (ref.func $stop)) (table 1")],
        ),
        (
            "a table has who sets it",
            &[named, ("(table 1 funcref)", "(table 2 funcref) (elem (i32.const 1) $stop)")],
        ),
        (
            "a table is given who sets it",
            &[
                named,
                ("(table 1 funcref)", "(table 2 funcref) (elem (i32.const 1) funcref (ref.func $stop))"),
            ],
        ),
    ];
    for (why, changes) in cases {
        let wat = changes.iter().fold(IDLE.to_owned(), |wat, (from, to)| {
            assert!(wat.contains(from), "{why}: {from}");
            wat.replace(from, to)
        });
        assert_eq!(guarded(&wat, &POLICY), guarded(&wat, &ASKED), "{why}");
    }
    // Nor is one that nothing may set, which is the compiler's.
    let set = "(global.set $state (i32.const 1))";
    let never =
        IDLE.replace("(mut i32)", "i32").replace(set, "").replace("(global.set $state (i32.const 0))", "");
    assert_eq!(guarded(&never, &POLICY), guarded(&never, &ASKED));
    // Nothing is taken for granted of modules that were not built so.
    let other = IDLE.replace("asyncify_", "other_");
    assert_eq!(guarded(&other, &POLICY), guarded(&other, &ASKED));
}

#[test]
fn random_functions_that_ask_do_the_same() {
    let mut random = Random::new(0x5eed_0000_8765_4321, true);
    let (mut returned, mut trapped) = (0, 0);
    for module in 0..12 {
        let wat = random.module();
        let folded = Policy { memory64: true, lower: module % 2 == 0, exceptions: false, ..POLICY };
        let both = [folded, Policy { uncalled: &[], ..folded }].map(|policy| guarded(&wat, &policy));
        assert!(reads(&both[0], 1) == 0 && reads(&both[1], 1) > 100);
        assert!(both[0].len() * 10 < both[1].len() * 9, "{} of {}", both[0].len(), both[1].len());
        let mut both = Both::of(&wat, both).unwrap();
        both.fill();
        for index in 0..FUNCTIONS {
            let name = index.to_string();
            for _ in 0..8 {
                let arguments = random.arguments();
                let (ended, gas) = both.call_within(&name, &arguments, i64::MAX);
                for part in [gas / 3, gas / 2, gas - 1] {
                    let _ = both.call_within(&name, &arguments, part);
                }
                match ended {
                    Ok(_) => returned += 1,
                    Err(_) => trapped += 1,
                }
            }
        }
    }
    assert!(returned > 1_000 && trapped > 200, "{returned} returned, {trapped} trapped");
}

#[test]
fn what_the_host_unwinds_keeps_its_questions() {
    let engine = crate::Engine::new(crate::EngineConfig::default()).unwrap();
    let module = wat::parse_str(IDLE.replace("(memory 1)", "(memory (export \"memory\") 1)")).unwrap();
    for format in [crate::Format::Emscripten32, crate::Format::Metered32] {
        let guarded = engine.guarded(&module, format).unwrap();
        assert_eq!(reads(&guarded, 0) > 0, format.unwinds(), "{format:?}");
    }
}

/// Modules that make much of little: where each question looked at all before it, these would take minutes.
#[test]
fn questions_of_any_number_and_depth_are_left_out() {
    let asked = 200_000;
    let chain = format!(
        "(module (memory 1) (global $state (mut i32) (i32.const 0)) (func (export \"asyncify_stop_unwind\"))
           (func (result i32) {} {}))",
        "global.get $state ".repeat(asked),
        "i32.or ".repeat(asked - 1)
    );
    let deep = 2_000;
    let nested = format!(
        "(module (memory 1) (global $state (mut i32) (i32.const 0)) (func (export \"asyncify_stop_unwind\"))
           (func {} {} {}))",
        "global.get $state if ".repeat(deep),
        "global.get $state drop ".repeat(asked),
        "end ".repeat(deep)
    );
    for wat in [chain, nested] {
        let (folded, asked) = (guarded(&wat, &POLICY), guarded(&wat, &ASKED));
        assert!(folded.len() * 10 < asked.len(), "{} of {}", folded.len(), asked.len());
    }
}
