//! Games with the stack on which emscripten modules are handed their arguments, and with exports that
//! are not what their names say.

use weft_vm::Format;
use weft_vm::Trap::Trap;

use crate::suite::{Case, Must, emscripten32, run};

/// A 32-bit module with these functions for its stack, which returns its message.
fn stack(name: &'static str, save: &str, restore: &str, alloc: &str, more: &str, must: Must) -> Case {
    let text = format!(
        "(module (memory (export \"memory\") 1 64) (global $sp (mut i32) (i32.const 65536))
           (func (export \"stackSave\") (result i32) {save})
           (func (export \"stackRestore\") (param i32) {restore})
           (func (export \"stackAlloc\") (param i32) (result i32) {alloc})
           {more}
           (func (export \"handle\") (param i32 i32) (result i32) (local.get 0)))"
    );
    Case { name, format: Format::Emscripten32, text, must }
}

const SAVE: &str = "(global.get $sp)";
const RESTORE: &str = "(global.set $sp (local.get 0))";
const ALLOC: &str = "(global.set $sp (i32.sub (global.get $sp) (local.get 0))) (global.get $sp)";
const MESSAGE: Must = Must::Answer(b"{\"Id\":\"1\"}");

#[test]
fn a_stack_that_lies_ends_its_message_alone() {
    let alloc = |name, alloc: &str| stack(name, SAVE, RESTORE, alloc, "", Must::End(Trap));
    let end = |name, end: &str| {
        let more = format!("(func (export \"emscripten_stack_get_end\") (result i32) {end})");
        stack(name, SAVE, RESTORE, ALLOC, &more, Must::Refuse("initialisation failed: trap"))
    };
    run(vec![
        stack("an honest one", SAVE, RESTORE, ALLOC, "", MESSAGE),
        alloc("room outside of memory", "(i32.const 65536)"),
        alloc("room at the last address", "(i32.const -1)"),
        alloc("room that leads outside", "(i32.const 65530)"),
        alloc("room above the stack", "(i32.add (global.get $sp) (i32.const 16))"),
        alloc("no room at all", "(unreachable)"),
        alloc("room where the clock stands still", "(loop $l (br $l)) (i32.const 0)").ending(weft_vm::Trap::OutOfGas),
        stack("a stack at the end of all addresses", "(i32.const -1)", RESTORE, "(i32.const -16)", "", Must::End(Trap)),
        stack("a stack that says where it is not", "(i32.const 0)", RESTORE, ALLOC, "", Must::End(Trap)),
        stack("a stack that cannot be asked", "(unreachable)", RESTORE, ALLOC, "", Must::End(Trap)),
        stack("a stack that is never given back", SAVE, "(nop)", ALLOC, "", MESSAGE),
        stack("a stack that is given back to nowhere", SAVE, "(global.set $sp (i32.const 7))", ALLOC, "", MESSAGE),
        stack("a stack that fails to be given back", SAVE, "(unreachable)", ALLOC, "", Must::End(Trap)),
        // Both texts in one place, at the bottom of memory and over each other.
        stack("one room for both", SAVE, RESTORE, "(i32.const 0)", "", Must::Answer(b"{}")),
        end("an end outside of memory", "(i32.const 65535)"),
        end("an end at the last address", "(i32.const -4)"),
        end("an end that fails", "(unreachable)"),
        stack(
            "an end above the stack",
            SAVE,
            RESTORE,
            ALLOC,
            "(func (export \"emscripten_stack_get_end\") (result i32) (i32.const 65520))",
            Must::End(Trap),
        ),
        stack(
            "an end that moves",
            SAVE,
            RESTORE,
            ALLOC,
            "(func (export \"emscripten_stack_get_end\") (result i32)
               (i32.store (i32.const 0) (i32.add (i32.const 999) (i32.load (i32.const 0)))) (i32.load (i32.const 0)))",
            Must::End(Trap),
        ),
    ]);
}

#[test]
fn exports_of_another_kind_are_refused_by_name() {
    let without = |name, part: &str, instead: &str, says| {
        let case = emscripten32(name, "", "(i32.const 0)", Must::Refuse(says));
        assert!(case.text.contains(part), "{part}");
        Case { text: case.text.replace(part, instead), ..case }
    };
    let initialiser = |name, types: &str| {
        let more = format!("(func (export \"{name}\") {types} (unreachable))");
        emscripten32(name, &more, "(i32.const 0)", Must::Refuse(name))
    };
    run(vec![
        without("no handle", "\"handle\"", "\"handler\"", "lacks the export handle"),
        without(
            "no stack",
            "\"emscripten_stack_get_current\"",
            "\"x\"",
            "lacks the export emscripten_stack_get_current",
        ),
        without(
            "a handle of one parameter",
            "(param i32 i32) (result i32) (i32.const 0)",
            "(param i32) (result i32) (i32.const 0)",
            "lacks the export handle",
        ),
        without(
            "a handle of wide addresses",
            "(param i32 i32) (result i32) (i32.const 0)",
            "(param i64 i64) (result i64) (i64.const 0)",
            "lacks the export handle",
        ),
        without(
            "a handle that gives nothing",
            "(param i32 i32) (result i32) (i32.const 0)",
            "(param i32 i32)",
            "lacks the export handle",
        ),
        without(
            "a handle that is a number",
            "(func (export \"handle\") (param i32 i32) (result i32) (i32.const 0))",
            "(global (export \"handle\") i32 (i32.const 0))",
            "lacks the export handle",
        ),
        without(
            "a memory under another name",
            "(memory (export \"memory\")",
            "(memory (export \"m\")",
            "exported under another name",
        ),
        without(
            "a memory that is a table",
            "(memory (export \"memory\") 1 64)",
            "(memory 1) (table (export \"memory\") 1 funcref)",
            "memory",
        ),
        initialiser("__wasm_call_ctors", "(param i32)"),
        initialiser("__wasm_call_ctors", "(result i32)"),
        initialiser("emscripten_stack_init", "(param f64)"),
        emscripten32(
            "constructors that fail",
            "(func (export \"__wasm_call_ctors\") (unreachable))",
            "(i32.const 0)",
            Must::Refuse("initialisation failed: trap"),
        ),
        emscripten32(
            "constructors that jump away",
            "(import \"env\" \"_emscripten_throw_longjmp\" (func $f)) --- (func (export \"__wasm_call_ctors\") (call $f))",
            "(i32.const 0)",
            Must::Refuse("initialisation failed: trap"),
        ),
        emscripten32(
            "constructors that end the program",
            "(import \"wasi_snapshot_preview1\" \"proc_exit\" (func $f (param i32))) --- (func (export \"__wasm_call_ctors\") (call $f (i32.const 0)))",
            "(i32.const 0)",
            Must::Refuse("initialisation failed: trap"),
        ),
        emscripten32(
            "a name of ours",
            "(global (export \"weft.gas\") (mut i64) (i64.const 1))",
            "(i32.const 0)",
            Must::Refuse("a reserved name"),
        ),
    ]);
}

/// What an export is beside a function: the host asks for none of these.
#[test]
fn exports_that_nobody_asks_for_are_not_called() {
    run(vec![emscripten32(
        "main and the rest",
        "(func (export \"main\") (unreachable)) (func (export \"_start\") (unreachable))
         (func (export \"_initialize\") (unreachable)) (func (export \"malloc\") (param i32) (result i32) (unreachable))",
        "(local.get 0)",
        MESSAGE,
    )]);
}

impl Case {
    fn ending(self, trap: weft_vm::Trap) -> Self {
        Self { must: Must::End(trap), ..self }
    }
}
