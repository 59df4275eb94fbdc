//! What the pass does to a whole module: the copy import, and everything that it refuses.

use super::*;

fn refusal(wat: &str) -> String {
    let wasm = wat::parse_str(wat).expect("the test's own text");
    instrument(&wasm, &POLICY).expect_err("refused").to_string()
}

/// JavaScript's `copyWithin`, which is what the import is in the reference.
fn copy_within(memory: &mut [u8], to: u64, from: u64, count: u64) {
    let length = memory.len() as u64;
    let (to, from) = (to.min(length), from.min(length));
    let count = count.min(length - from).min(length - to);
    memory.copy_within(from as usize..(from + count) as usize, to as usize);
}

#[test]
fn a_call_of_the_copy_import_is_cut_short_at_the_end_of_memory() {
    for (memory64, ty, limits) in [(false, "i32", "1"), (true, "i64", "i64 1"), (true, "i64", "i64 1 1")] {
        let wat = format!(
            "(module (import \"env\" \"_emscripten_memcpy_js\" (func $copy (param {ty} {ty} {ty})))
              (memory (export \"memory\") {limits})
              (func (export \"g\") (param {ty} {ty} {ty})
                (call $copy (local.get 0) (local.get 1) (local.get 2))))"
        );
        let policy = Policy { memory64, copy_import: Some(("env", "_emscripten_memcpy_js")), ..POLICY };
        let engine = Engine::default();
        let module = wasmtime::Module::new(&engine, guarded(&wat, &policy)).unwrap();
        let mut store = Store::new(&engine, ());
        let import = wasmtime::Func::new(
            &mut store,
            module.imports().next().unwrap().ty().unwrap_func().clone(),
            |_, _, _| panic!("the import is not called"),
        );
        let instance = Instance::new(&mut store, &module, &[import.into()]).unwrap();
        let memory = instance.get_memory(&mut store, "memory").unwrap();
        let gas = instance.get_global(&mut store, GAS_EXPORT).unwrap();
        let g = instance.get_func(&mut store, "g").unwrap();
        let bytes: Vec<u8> = (0..65_536u32).map(|index| (index * 7 % 251) as u8).collect();
        let mut huge = vec![65_536, 65_537, 1 << 31, u64::from(u32::MAX)];
        if memory64 {
            huge.extend([1 << 32, 1 << 63, u64::MAX]);
        }
        let mut cases = vec![
            (0, 100, 50),
            (100, 120, 50),
            (120, 100, 50),
            (9, 65_000, 1472),
            (65_000, 9, 1472),
            (8, 8, 0),
        ];
        for at in huge {
            cases.extend([(at, 9, 100), (9, at, 100), (9, 40, at), (at, at, at)]);
        }
        for (to, from, count) in cases {
            memory.data_mut(&mut store).copy_from_slice(&bytes);
            gas.set(&mut store, Val::I64(PLENTY)).unwrap();
            let value =
                |number: u64| if memory64 { Val::I64(number as i64) } else { Val::I32(number as i32) };
            g.call(&mut store, &[value(to), value(from), value(count)], &mut []).unwrap();
            let mut expected = bytes.clone();
            copy_within(&mut expected, to, from, count);
            assert!(memory.data(&store) == expected, "{limits}: {to} {from} {count}");
        }
    }
}

#[test]
fn what_cannot_be_restored_is_refused_by_name() {
    let body = |table: &str, op: &str| format!("(module (memory 1) {table} (func (export \"f\") {op}))");
    let table = "(table 2 funcref) (elem $e func) ";
    let cases = [
        (body(table, "(table.set (i32.const 0) (ref.null func))"), "table.set"),
        (body(table, "(drop (table.grow (ref.null func) (i32.const 1)))"), "table.grow"),
        (body(table, "(table.fill (i32.const 0) (ref.null func) (i32.const 1))"), "table.fill"),
        (body(table, "(table.copy (i32.const 0) (i32.const 0) (i32.const 1))"), "table.copy"),
        (body(table, "(table.init $e (i32.const 0) (i32.const 0) (i32.const 0))"), "table.init"),
        (body(table, "(elem.drop $e)"), "elem.drop"),
        (body("(data $d \"x\")", "(data.drop $d)"), "data.drop"),
        ("(module (import \"a\" \"b\" (memory 1)))".into(), "an imported memory (a.b)"),
        ("(module (import \"a\" \"g\" (global i32)) (memory 1))".into(), "an imported global (a.g)"),
        ("(module (import \"a\" \"t\" (table 1 funcref)) (memory 1))".into(), "an imported table (a.t)"),
        ("(module (memory 1) (memory 1))".into(), "a second memory"),
        ("(module (memory 1 1 shared))".into(), "threads"),
        ("(module (memory 1) (func) (start 0))".into(), "a start section"),
        ("(module (memory i64 1))".into(), "a 64-bit memory"),
        ("(module)".into(), "no memory"),
        ("(module (memory 1) (tag (param externref)))".into(), "an exception tag that takes a reference"),
        (
            body("(tag $t)", "(drop (block (result exnref) (try_table (catch_all_ref 0)) (unreachable)))"),
            "catch_ref",
        ),
        (body("(tag $t)", "(param exnref) (throw_ref (local.get 0))"), "throw_ref"),
        ("(module (memory 1) (global (mut funcref) (ref.null func)))".into(), "holds a reference"),
        ("(module (memory 1) (func (export \"weft.gas\")))".into(), "\"weft.gas\""),
        ("(module (memory 1) (table 9000000 funcref))".into(), "9000000 table elements"),
        (
            body("", "(drop (i8x16.relaxed_swizzle (v128.const i64x2 0 0) (v128.const i64x2 0 0)))"),
            "relaxed SIMD",
        ),
        (body("", "(drop (i32.atomic.load (i32.const 0)))"), "threads"),
        (body("", "(return_call 0)"), "tail calls"),
    ];
    for (wat, name) in cases {
        let text = refusal(&wat);
        assert!(text.contains(name), "{wat} is refused with {text:?}, which does not name {name:?}");
    }
    // `try catch_all end`, which the text format no longer has.
    let mut legacy = wat::parse_str(body("", "(block (nop) (nop))")).unwrap();
    let code = legacy.len() - 6;
    assert_eq!(legacy[code..], [0x02, 0x40, 0x01, 0x01, 0x0b, 0x0b]);
    legacy[code] = 0x06;
    legacy[code + 2] = 0x19;
    let text = instrument(&legacy, &POLICY).expect_err("refused").to_string();
    assert!(text.contains("legacy"), "{text}");
    let globals =
        |count| format!("(module (memory 1) {})", "(global (mut i32) (i32.const 0)) ".repeat(count));
    instrument(&wat::parse_str(globals(256)).unwrap(), &POLICY).unwrap();
    assert!(refusal(&globals(257)).contains("more than 256 mutable globals"));
}

#[test]
fn cut_and_changed_modules_never_panic() {
    let whole = wat::parse_str(include_str!("../../../guests/counter.wat")).unwrap();
    for length in 0..whole.len() {
        let _ = instrument(&whole[..length], &POLICY);
    }
    for index in 0..whole.len() {
        for bit in 0..8 {
            let mut changed = whole.clone();
            changed[index] ^= 1 << bit;
            if let Ok(metered) = instrument(&changed, &POLICY) {
                wasmparser::Validator::new_with_features(sections::features())
                    .validate_all(&metered.wasm)
                    .expect("what the pass accepts stays valid");
            }
        }
    }
}
