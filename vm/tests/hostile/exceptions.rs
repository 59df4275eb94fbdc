//! Exceptions: thrown for ever, from very deep, past what catches them, and more of them than the
//! engine's heap holds.

use std::time::{Duration, Instant};

use weft_vm::{Engine, EngineConfig, Format, Instance, Limits, Outcome, Trap};

use crate::suite::{Case, Must, alone, emscripten32, plain, run};

/// Tags, and a recursion that throws at the bottom.
const PARTS: &str = "(tag $t (param i32)) (tag $wide (param i64 i64))
    (func $down (param i32)
      (if (i32.eqz (local.get 0)) (then (throw $t (i32.const 7))))
      (call $down (i32.sub (local.get 0) (i32.const 1))))
    (func $caught (param i32) (result i32)
      (block $h (result i32)
        (try_table (catch $t $h) (call $down (local.get 0))) (i32.const 0)))";
/// Reads a text of 10 bytes at 64, if the value on the stack is the one that was thrown.
const ANSWER: &str = "(data (i32.const 64) \"{\\\"ok\\\":true}\")";

fn case(name: &'static str, handle: &str, must: Must) -> Case {
    let parts: &'static str = Box::leak(format!("{PARTS} {ANSWER}").into_boxed_str());
    plain(name, parts, handle, must)
}

const GIVES: &str = "(i64.or (i64.shl (i64.const 64) (i64.const 32)) (i64.const 11))";

#[test]
fn what_is_thrown_is_caught_or_ends_the_message() {
    let fine = || Must::Answer(b"{\"ok\":true}");
    let counted = |body: &str, count: u32| {
        format!(
            "(local i32) (loop $l {body}
               (local.set 4 (i32.add (local.get 4) (i32.const 1)))
               (br_if $l (i32.lt_u (local.get 4) (i32.const {count})))) {GIVES}"
        )
    };
    run(vec![
        case("a throw that nobody catches", "(throw $t (i32.const 1))", Must::End(Trap::Trap)),
        case(
            "a throw past a catch of another tag",
            "(block $h (result i32) (try_table (catch $t $h)
               (throw $wide (i64.const 1) (i64.const 2))) (i32.const 0)) (drop) (i64.const 0)",
            Must::End(Trap::Trap),
        ),
        case("a throw from far below", &format!("(drop (call $caught (i32.const 10000))) {GIVES}"), fine()),
        // The frames that a throw left do not count any more, or the depth would run out.
        case(
            "deep throws one after the other",
            &counted("(drop (call $caught (i32.const 4000)))", 4),
            fine(),
        ),
        // 64 KiB of heap are some thousand exceptions.
        case(
            "throws for ever",
            &counted("(drop (call $caught (i32.const 0)))", u32::MAX),
            Must::End(Trap::OutOfGas),
        ),
        case(
            "as many throws as its gas allows",
            &counted("(drop (call $caught (i32.const 0)))", 900),
            fine(),
        ),
        case(
            "a catch of everything does not catch the end of its gas",
            "(loop $l (block $h (try_table (catch_all $h) (loop $m (br $m)))) (br $l)) (i64.const 0)",
            Must::End(Trap::OutOfGas),
        ),
        case(
            "a catch of everything does not catch a trap",
            &format!("(block $h (try_table (catch_all $h) (unreachable))) {GIVES}"),
            Must::End(Trap::Trap),
        ),
        case(
            "a catch of everything does not catch the depth",
            &format!("(block $h (try_table (catch_all $h) (call $down (i32.const 20000)))) {GIVES}"),
            Must::End(Trap::Depth),
        ),
        case(
            "a throw in a loop of catches that branch to its head",
            "(loop $l (try_table (catch_all $l) (throw $t (i32.const 1)))) (i64.const 0)",
            Must::End(Trap::OutOfGas),
        ),
        plain("a tag with a reference", "(tag (param externref))", GIVES, Must::Refuse("takes a reference")),
        plain(
            "a tag with many numbers",
            "(tag (param i64 i64 i64 i64 i64 i64 i64 i64 i64 i64 i64 i64 i64 i64 i64 i64 i64))",
            GIVES,
            Must::Refuse("more than 16 numbers"),
        ),
        plain(
            "an exception that is kept",
            "(tag $t)",
            "(drop (block $h (result exnref) (try_table (catch_all_ref $h)) (unreachable))) (i64.const 0)",
            Must::Refuse("catch_ref"),
        ),
        emscripten32(
            "a tag beside invoke",
            "(tag (param i32))",
            "(i32.const 0)",
            Must::Refuse("exception tags"),
        ),
    ]);
}

/// Exceptions lie on a heap of the engine that is collected now and then. However many were thrown
/// before, by this instance or by another one, and however little memory the process has, a message
/// gives the same for the same gas.
#[test]
fn no_result_depends_on_what_was_thrown_before() {
    let _alone = alone();
    const THROWS: &str = "(local i32) (loop $l (drop (call $caught (i32.const 100)))
        (local.set 4 (i32.add (local.get 4) (i32.const 1)))
        (br_if $l (i32.lt_u (local.get 4) (i32.const 3000))))
        (i32.store (i32.const 128) (i32.add (i32.load (i32.const 128)) (memory.grow (i32.const 1))))";
    let case = case("", &format!("{THROWS} {GIVES}"), Must::Answer(b""));
    let wasm = wat::parse_str(&case.text).unwrap();
    let module = Engine::new(EngineConfig::default()).unwrap().compile(&wasm, Format::Plain).unwrap();
    let limits = Limits { gas: 1 << 40, memory_bytes: 2 << 16 };
    let mut live = module.instantiate(limits).unwrap();
    for message in 0..30 {
        let image = live.memory_image().unwrap();
        let mut restored = module.restore(&image, limits).unwrap();
        let expected = restored.evaluate(b"{}", b"{}").unwrap();
        assert_eq!(expected.outcome, Outcome::Returned(b"{\"ok\":true}".to_vec()));
        assert_eq!(live.evaluate(b"{}", b"{}").unwrap(), expected, "message {message}");
        live.keep().unwrap();
        restored.keep().unwrap();
        assert!(live.memory_image().unwrap() == restored.memory_image().unwrap(), "message {message}");
    }
}

/// Throws 1,000 frames deep, over and over; each frame has so many handlers that are for another tag.
fn unwound(handlers: usize) -> Instance {
    let others = "(catch $wide $no) ".repeat(handlers);
    let parts = format!(
        "(tag $t (param i32)) (tag $wide (param i64 i64)) {ANSWER}
         (func $down (param i32)
           (if (i32.eqz (local.get 0)) (then (throw $t (i32.const 7))))
           (block $no (result i64 i64)
             (try_table {others} (call $down (i32.sub (local.get 0) (i32.const 1))))
             (return))
           (unreachable))
         (func $caught (result i32)
           (block $h (result i32) (try_table (catch $t $h) (call $down (i32.const 1000))) (i32.const 0)))"
    );
    let handle = format!(
        "(local i32) (loop $l (drop (call $caught))
           (local.set 4 (i32.add (local.get 4) (i32.const 1)))
           (br_if $l (i32.lt_u (local.get 4) (i32.const 20)))) {GIVES}"
    );
    let wasm = wat::parse_str(&plain("", &parts, &handle, Must::Answer(b"")).text).unwrap();
    let module = Engine::new(EngineConfig::default()).unwrap().compile(&wasm, Format::Plain).unwrap();
    module.instantiate(Limits { gas: 1 << 44, memory_bytes: 2 << 16 }).unwrap()
}

/// The shortest time of some runs, in picoseconds for each 1,000 gas.
fn time_of_gas(mut guest: Instance) -> u64 {
    let (mut shortest, mut gas) = (Duration::MAX, 0);
    for _ in 0..3 {
        let start = Instant::now();
        let ended = guest.evaluate(b"{}", b"{}").unwrap();
        shortest = shortest.min(start.elapsed());
        assert_eq!(ended.outcome, Outcome::Returned(b"{\"ok\":true}".to_vec()));
        gas = ended.gas;
        guest.roll_back().unwrap();
    }
    (shortest.as_nanos() * 1_000_000 / u128::from(gas)).try_into().unwrap()
}

/// A throw looks at every handler of every frame that it leaves.
#[test]
fn a_deep_throw_past_many_handlers_takes_no_longer_than_its_gas_says() {
    let _alone = alone();
    let (few, many) = (time_of_gas(unwound(1)), time_of_gas(unwound(2_000)));
    assert!(many < 10 * few, "{many} ps for 1,000 gas with many handlers, {few} with one");
}
