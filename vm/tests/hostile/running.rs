//! Loops, recursion and memory: what would run for ever, as deep or as large as it is let.

use weft_vm::Trap;

use crate::suite::{Case, Must, emscripten32, emscripten64, plain, run};

fn ends(name: &'static str, parts: &str, handle: &str, trap: Trap) -> Case {
    plain(name, parts, handle, Must::End(trap))
}

#[test]
fn what_never_ends_ends_with_its_gas() {
    use Trap::OutOfGas;
    const SELF: &str = "(table 1 funcref) (elem (i32.const 0) $f) (type $t (func (result i64)))
        (func $f (result i64) (loop $l (br $l)) (i64.const 0))";
    const COUNTED: &str = "(local i64) (loop $l (local.set 4 (i64.add (local.get 4) (i64.const 1)))
        (br_if $l (i64.ne (local.get 4) (i64.const -1)))) (i64.const 0)";
    const SWITCH: &str = "(loop $l (block $b (br_table $l $b $l (i32.const 2)))) (i64.const 0)";
    const NESTED: &str = "(loop $a (loop $b (loop $c (br $a)) (br $b)) (br $a)) (i64.const 0)";
    const CALLS: &str = "(loop $l (drop (call $n (i32.const 1))) (br $l)) (i64.const 0)";
    run(vec![
        ends("a loop of nothing", "", "(loop $l (br $l)) (i64.const 0)", OutOfGas),
        ends("a loop that counts to 2^64", "", COUNTED, OutOfGas),
        ends("a loop through a switch", "", SWITCH, OutOfGas),
        ends("loops in loops", "", NESTED, OutOfGas),
        ends("a loop of calls", "(func $n (param i32) (result i32) (local.get 0))", CALLS, OutOfGas),
        ends("a loop behind a table", SELF, "(call_indirect (type $t) (i32.const 0))", OutOfGas),
        ends(
            "a loop of divisions",
            "",
            "(loop $l (drop (i64.div_u (i64.const -1) (i64.const 3))) (br $l)) (i64.const 0)",
            OutOfGas,
        ),
        ends(
            "calls that double",
            "(func $d (param i32) (result i32) (if (result i32) (local.get 0)
                (then (i32.add (call $d (i32.sub (local.get 0) (i32.const 1)))
                               (call $d (i32.sub (local.get 0) (i32.const 1)))))
                (else (i32.const 1))))",
            "(i64.extend_i32_u (call $d (i32.const 64)))",
            OutOfGas,
        ),
        ends(
            "a loop that asks for no memory",
            "",
            "(loop $l (drop (memory.grow (i32.const 0))) (br $l)) (i64.const 0)",
            OutOfGas,
        ),
        ends(
            "filling for ever",
            "",
            "(loop $l (memory.fill (i32.const 0) (i32.const 1) (i32.const 65536)) (br $l)) (i64.const 0)",
            OutOfGas,
        ),
        ends(
            "copying for ever",
            "",
            "(loop $l (memory.copy (i32.const 1) (i32.const 0) (i32.const 65535)) (br $l)) (i64.const 0)",
            OutOfGas,
        ),
        emscripten32(
            "a stack that is given back for ever",
            "(func (export \"stackRestore\") (param i32) (loop $l (br $l)))",
            "(loop $l (br $l)) (i32.const 0)",
            Must::End(OutOfGas),
        ),
        emscripten32(
            "constructors that never return",
            "(func (export \"__wasm_call_ctors\") (loop $l (br $l)))",
            "(i32.const 0)",
            Must::Refuse("initialisation failed: out of gas"),
        ),
        emscripten32(
            "a stack that is set up for ever",
            "(func (export \"emscripten_stack_init\") (loop $l (br $l)))",
            "(i32.const 0)",
            Must::Refuse("initialisation failed: out of gas"),
        ),
    ]);
}

#[test]
fn what_goes_too_deep_ends_with_its_depth() {
    use Trap::Depth;
    const INVOKE: &str = "(import \"env\" \"invoke_v\" (func $invoke (param i32)))
        (import \"env\" \"_emscripten_throw_longjmp\" (func $jump))
        --- (table (export \"__indirect_function_table\") 2 funcref) (elem (i32.const 0) $f $g)
        (func (export \"setThrew\") (param i32 i32))
        (func $f (call $invoke (i32.const 0)))
        (func $g (call $invoke (i32.const 1)) (call $jump))";
    let wide = format!("(func $r (result i32) (local {}) (call $r))", "i64 ".repeat(49_000));
    // Each address is computed once, and held while it calls itself.
    let stores: String = (0..350)
        .map(|number| {
            format!("(i64.store8 (i64.mul (local.get 0) (i64.const {})) (i64.const 1))", 2 * number + 3)
        })
        .collect();
    let addresses = format!(
        "(func $r (param i64) {stores} (call $r (local.get 0)) (if (i64.ne (local.get 0) (i64.const 0)) (then {stores})))"
    );
    let vectors = format!("(func $r (result i32) (local {}) (call $r))", "v128 ".repeat(20_000));
    run(vec![
        ends(
            "a call of itself",
            "(func $r (result i32) (i32.add (i32.const 1) (call $r)))",
            "(i64.extend_i32_u (call $r))",
            Depth,
        ),
        ends(
            "two that call each other",
            "(func $a (result i32) (i32.add (i32.const 1) (call $b))) (func $b (result i32) (i32.add (i32.const 1) (call $a)))",
            "(i64.extend_i32_u (call $a))",
            Depth,
        ),
        ends(
            "a call of itself through a table",
            "(table 1 funcref) (elem (i32.const 0) $r) (type $t (func (result i32)))
             (func $r (result i32) (i32.add (i32.const 1) (call_indirect (type $t) (i32.const 0))))",
            "(i64.extend_i32_u (call $r))",
            Depth,
        ),
        ends("frames of many locals", &wide, "(i64.extend_i32_u (call $r))", Depth),
        ends("frames of many vectors", &vectors, "(i64.extend_i32_u (call $r))", Depth),
        emscripten64(
            "frames of many addresses",
            &addresses,
            "(call $r (i64.const 0)) (i64.const 0)",
            Must::End(Depth),
        ),
        emscripten32(
            "a call of itself through the host",
            INVOKE,
            "(call $invoke (i32.const 0)) (i32.const 0)",
            Must::End(Depth),
        ),
        emscripten32(
            "jumps that are caught on every level",
            INVOKE,
            "(call $invoke (i32.const 1)) (i32.const 0)",
            Must::End(Depth),
        ),
        ends(
            "the message handled in itself",
            "",
            "(call 1 (local.get 0) (local.get 1) (local.get 2) (local.get 3))",
            Depth,
        ),
    ]);
}

#[test]
fn memory_is_had_up_to_its_limit_and_no_further() {
    use Trap::{OutOfGas, OutOfMemory};
    const EAT: &str =
        "(loop $l (br_if $l (i32.ne (i32.const -1) (memory.grow (i32.const 1))))) (unreachable)";
    const FILL: &str = "(drop (memory.grow (i32.const 255)))
        (memory.fill (i32.const 0) (i32.const 165) (i32.shl (memory.size) (i32.const 16)))
        (if (i32.eq (i32.const -1) (memory.grow (i32.const 1))) (then (unreachable))) (i64.const 0)";
    const RESIZE: &str =
        "(import \"env\" \"emscripten_resize_heap\" (func $resize (param i32) (result i32))) ---";
    const RESIZE_64: &str =
        "(import \"env\" \"emscripten_resize_heap\" (func $resize (param i64) (result i32))) ---";
    run(vec![
        ends("all memory, page by page", "", EAT, OutOfMemory),
        ends("all memory, and written to", "", FILL, OutOfMemory),
        ends(
            "all memory at once",
            "",
            "(if (i32.eq (i32.const -1) (memory.grow (i32.const 300))) (then (unreachable))) (i64.const 0)",
            OutOfMemory,
        ),
        ends(
            "more memory than its gas pays for",
            "",
            "(drop (memory.grow (i32.const 65535))) (i64.const 0)",
            OutOfGas,
        ),
        ends(
            "memory without end, for ever",
            "",
            "(loop $l (drop (memory.grow (i32.const -1))) (br $l)) (i64.const 0)",
            OutOfGas,
        ),
        emscripten64(
            "more pages than there are addresses",
            "",
            "(if (i64.eq (i64.const -1) (memory.grow (i64.const 0x7fffffffffffffff))) (then (unreachable))) (i64.const 0)",
            Must::End(OutOfGas),
        ),
        emscripten32(
            "a heap without end",
            RESIZE,
            "(loop $l (br_if $l (call $resize (i32.add (i32.const 1) (i32.shl (memory.size) (i32.const 16)))))) (unreachable)",
            Must::End(OutOfMemory),
        ),
        emscripten32(
            "a heap of all addresses",
            RESIZE,
            "(drop (call $resize (i32.const -1))) (unreachable)",
            Must::End(Trap::Trap),
        ),
        emscripten64(
            "a heap of 2^63 bytes",
            RESIZE_64,
            "(drop (call $resize (i64.const 0x7fffffffffffffff))) (unreachable)",
            Must::End(Trap::Trap),
        ),
        Case {
            name: "more memory at the start than the process may have",
            ..plain(
                "",
                "",
                "(i64.const 0)",
                Must::Refuse("does not cover the module's initial 4294967296 bytes"),
            )
        }
        .with("(memory (export \"memory\") 1)", "(memory (export \"memory\") 65536)"),
        Case {
            name: "more memory at the start than any process may have",
            ..emscripten64(
                "",
                "",
                "(i64.const 0)",
                Must::Refuse("bytes of initial memory (at most 17179869184)"),
            )
        }
        .with("i64 1 64", "i64 0x1000000000000"),
        Case {
            name: "constructors that write to all memory",
            ..emscripten32(
                "",
                "(func (export \"__wasm_call_ctors\") (memory.fill (i32.const 0) (i32.const 1) (i32.const 1300000000)))",
                "(i32.const 0)",
                Must::Refuse("does not cover the module's initial 1310720000 bytes"),
            )
        }
        .with("1 64", "20000 65536"),
    ]);
}

impl Case {
    /// With other words in its text.
    fn with(mut self, from: &str, to: &str) -> Self {
        assert!(self.text.contains(from), "{from} is not in {}", self.text);
        self.text = self.text.replace(from, to);
        self
    }
}
