//! Functions of few locals and operands that compute many values. What nothing can change is computed once,
//! and kept across a call in a frame that is much larger than the source of its function shows.

use weft_vm::Trap::Depth;
use weft_vm::{Engine, EngineConfig, HostFault, Limits};

use crate::suite::{Case, LIMITS, Must, Neighbour, alone, emscripten64, plain, run_within};

/// 16,384 frames of a few thousand instructions each.
const WITHIN: Limits = Limits { gas: 10 * LIMITS.gas, ..LIMITS };

/// So many terms, each added to the sum below it.
fn sum(count: usize, term: impl Fn(usize) -> String) -> String {
    (0..count).map(|k| term(2 * k + 3)).collect()
}

fn words(count: usize) -> String {
    sum(count, |k| format!("(i64.mul (local.get $x) (i64.const {k})) i64.xor "))
}

fn vectors(count: usize) -> String {
    let terms = sum(count, |k| {
        format!("(i64x2.mul (i64x2.splat (local.get $x)) (v128.const i64x2 {k} -{k})) v128.xor ")
    });
    format!("i64x2.splat {terms} i64x2.extract_lane 1 ")
}

/// What lies at addresses, which a lowered memory also compares and shortens.
fn loads(count: usize, load: impl Fn(String) -> String) -> String {
    sum(count, |k| {
        let address = format!("(i64.and (i64.mul (local.get $x) (i64.const {k})) (i64.const 65528))");
        format!("{} i64.xor ", load(address))
    })
}

/// What the sums after it begin with.
const CALL: &str = "(call $deep (i64.add (local.get $x) (i64.const 1)))";

/// Before the call and after it.
fn twice(terms: &str) -> String {
    format!("(i64.const 0) {terms} {CALL} {terms} i64.add")
}

/// After the call, in a loop in which they never change.
fn in_a_loop(terms: &str) -> String {
    format!("(loop $l (result i64) {CALL} {terms} (br_if $l (i64.eqz (local.get $x))))")
}

fn recursive(name: &'static str, body: &str) -> Case {
    let deep = format!("(func $deep (param $x i64) (result i64) {body})");
    plain(name, &deep, "(call $deep (i64.extend_i32_u (local.get 0)))", Must::End(Depth))
}

/// Beyond some 900 words in one frame the native stack ends first, 16,384 frames deep (limits.rs). An address of a
/// lowered memory is up to four: it is compared and shortened.
#[test]
fn what_a_function_computes_fits_into_its_native_frame() {
    for count in [20, 60, 200] {
        let short = loads(count, |address| format!("(i64.load (i32.wrap_i64 {address}))"));
        // Those of a lowered memory are checked, and a compiler is slow where many are held at many branches.
        let long = twice(&loads(count, |address| format!("(i64.load {address})")));
        let wide = format!("(func $deep (param $x i64) (result i64) {long})");
        run_within(
            WITHIN,
            vec![
                recursive("words", &twice(&words(count))),
                recursive("vectors", &twice(&vectors(count))),
                recursive("addresses", &twice(&short)),
                recursive("words in a loop", &in_a_loop(&words(count))),
                recursive("vectors in a loop", &in_a_loop(&vectors(count))),
                recursive("addresses in a loop", &in_a_loop(&short)),
                emscripten64("addresses of 64 bits", &wide, "(call $deep (local.get 0))", Must::End(Depth)),
            ],
        );
    }
    run_within(
        WITHIN,
        vec![
            recursive("many words", &twice(&words(850))),
            recursive("many vectors", &twice(&vectors(400))),
            recursive(
                "many addresses",
                &twice(&loads(300, |address| format!("(i64.load (i32.wrap_i64 {address}))"))),
            ),
        ],
    );
}

/// It is no outcome, for another machine may have more.
#[test]
fn what_outgrows_the_native_stack_is_this_machines_fault_alone() {
    let _alone = alone();
    let engine = Engine::new(EngineConfig::default()).unwrap();
    let mut neighbour = Neighbour::new(&engine);
    let case = recursive("too many words", &twice(&words(1_200)));
    let module = engine.compile(&wat::parse_str(&case.text).unwrap(), case.format).unwrap();
    let mut instance = module.instantiate(WITHIN).unwrap();
    for _ in 0..2 {
        let ended = instance.evaluate(b"{\"Id\":\"1\"}", b"{}");
        assert!(matches!(ended, Err(HostFault::NativeStack)), "{ended:?}");
        neighbour.goes_on().unwrap();
        instance = module.instantiate(WITHIN).unwrap();
    }
}
