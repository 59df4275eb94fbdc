//! Calls of host functions: in storms, with arguments that make no sense, under other types.

use weft_vm::Trap::{OutOfGas, Trap};

use crate::suite::{Case, Must, emscripten32, emscripten64, plain, run};

/// A 32-bit import.
fn import(module: &str, name: &str, types: &str) -> String {
    format!("(import \"{module}\" \"{name}\" (func $f {types}))")
}

fn env(name: &'static str, types: &str, body: &str, must: Must) -> Case {
    emscripten32(name, &format!("{} ---", import("env", name, types)), body, must)
}

fn wasi(name: &'static str, types: &str, body: &str, must: Must) -> Case {
    emscripten32(name, &format!("{} ---", import("wasi_snapshot_preview1", name, types)), body, must)
}

/// Every function that a guest may call, called for ever: each call has its price.
#[test]
fn a_storm_of_calls_ends_with_the_gas() {
    const NONE: &str = "";
    const ONE: &str = "(i32.const 64)";
    const TWO: &str = "(i32.const 64) (i32.const 128)";
    const THREE: &str = "(i32.const 0) (i32.const 64) (i32.const 128)";
    const FOUR: &str = "(i32.const 1) (i32.const 64) (i32.const 1) (i32.const 128)";
    let storm = |arguments: &str, drop: bool| match drop {
        true => format!("(loop $l (drop (call $f {arguments})) (br $l)) (i32.const 0)"),
        false => format!("(loop $l (call $f {arguments}) (br $l)) (i32.const 0)"),
    };
    let i32s = |count: usize| format!("(param {}) (result i32)", "i32 ".repeat(count));
    let mut cases = Vec::new();
    for (name, arguments, count) in [
        ("emscripten_resize_heap", "(i32.const -1)", 1),
        ("_emscripten_get_now_is_monotonic", NONE, 0),
        ("emscripten_get_heap_max", NONE, 0),
        ("strftime", FOUR, 4),
        ("__syscall_fcntl64", THREE, 3),
        ("__syscall_ioctl", THREE, 3),
        ("__syscall_dup3", THREE, 3),
        ("__syscall_getcwd", TWO, 2),
        ("__syscall_fstat64", TWO, 2),
        ("__syscall_openat", FOUR, 4),
        ("__syscall_unlinkat", THREE, 3),
        ("_munmap_js", ONE, 1),
        ("_emscripten_system", ONE, 1),
        ("__asyncjs__weavedrive_open", TWO, 2),
        ("__asyncjs__weavedrive_read", THREE, 3),
        ("__asyncjs__weavedrive_close", ONE, 1),
    ] {
        cases.push(env(name, &i32s(count), &storm(arguments, true), Must::End(OutOfGas)));
    }
    for (name, arguments, count) in [
        ("fd_write", FOUR, 4),
        ("fd_read", FOUR, 4),
        ("fd_close", ONE, 1),
        ("fd_sync", ONE, 1),
        ("fd_fdstat_get", TWO, 2),
        ("environ_sizes_get", TWO, 2),
        ("environ_get", TWO, 2),
    ] {
        cases.push(wasi(name, &i32s(count), &storm(arguments, true), Must::End(OutOfGas)));
    }
    let seek = "(param i32 i32 i32 i32 i32) (result i32)";
    cases.push(wasi(
        "fd_seek",
        seek,
        &storm("(i32.const 1) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 64)", true),
        Must::End(OutOfGas),
    ));
    cases.push(env("emscripten_date_now", "(result f64)", &storm(NONE, true), Must::End(OutOfGas)));
    cases.push(env(
        "_emscripten_memcpy_js",
        "(param i32 i32 i32)",
        &storm(THREE, false),
        Must::End(OutOfGas),
    ));
    cases.push(env("_tzset_js", "(param i32 i32 i32 i32)", &storm(FOUR, false), Must::End(OutOfGas)));
    cases.push(env("_gmtime_js", "(param i32 i32 i32)", &storm(THREE, false), Must::End(OutOfGas)));
    cases.push(env("_localtime_js", "(param i32 i32 i32)", &storm(THREE, false), Must::End(OutOfGas)));
    cases.push(env("_mktime_js", "(param i32) (result i32)", &storm(ONE, true), Must::End(OutOfGas)));
    for (name, types, arguments, gives) in [
        ("sha256", "(param i32 i32 i32)", "(i32.const 0) (i32.const 65536) (i32.const 0)", false),
        ("sha384", "(param i32 i32 i32)", "(i32.const 0) (i32.const 0) (i32.const 0)", false),
        ("keccak256", "(param i32 i32 i32)", "(i32.const 0) (i32.const 136) (i32.const 0)", false),
        ("blake3", "(param i32 i32 i32)", "(i32.const 0) (i32.const 1) (i32.const 0)", false),
        (
            "ed25519_verify",
            "(param i32 i32 i32 i32) (result i32)",
            "(i32.const 0) (i32.const 0) (i32.const 0) (i32.const 9)",
            true,
        ),
        (
            "rsa_pss_verify",
            "(param i32 i32 i32 i32) (result i32)",
            "(i32.const 0) (i32.const 0) (i32.const 0) (i32.const 9)",
            true,
        ),
        (
            "secp256k1_recover",
            "(param i32 i32 i32) (result i32)",
            "(i32.const 0) (i32.const 0) (i32.const 0)",
            true,
        ),
    ] {
        let body = storm(arguments, gives)
            .replace("(i32.const 0)\n", "")
            .replace("(br $l)) (i32.const 0)", "(br $l)) (i64.const 0)");
        cases.push(plain(name, &format!("{} ---", import("weft", name, types)), &body, Must::End(OutOfGas)));
    }
    run(cases);
}

/// Addresses and lengths that lead nowhere, counts without end, descriptors that nobody opened.
#[test]
fn arguments_that_make_no_sense_harm_nobody() {
    let zero = || Must::Answer(b"");
    let i32s = |count: usize| format!("(param {}) (result i32)", "i32 ".repeat(count));
    let buffers = "(i32.store (i32.const 64) (i32.const 0)) (i32.store (i32.const 68) (i32.const -1))";
    let overlapping = "(local i32) (loop $l
            (i32.store (i32.add (i32.const 1024) (i32.shl (local.get 2) (i32.const 3))) (i32.const 0))
            (i32.store (i32.add (i32.const 1028) (i32.shl (local.get 2) (i32.const 3))) (i32.const 65536))
            (br_if $l (i32.lt_u (local.tee 2 (i32.add (local.get 2) (i32.const 1))) (i32.const 1024))))
        (loop $m (drop (call $f (i32.const 1) (i32.const 1024) (i32.const 1024) (i32.const 32))) (br $m)) (i32.const 0)";
    run(vec![
        wasi(
            "fd_write",
            &i32s(4),
            &format!(
                "{buffers} (drop (call $f (i32.const 1) (i32.const 64) (i32.const 1) (i32.const 8))) (i32.const 0)"
            ),
            Must::End(Trap),
        ),
        wasi(
            "fd_write",
            &i32s(4),
            "(drop (call $f (i32.const 1) (i32.const 65535) (i32.const 1) (i32.const 8))) (i32.const 0)",
            Must::End(Trap),
        ),
        wasi(
            "fd_write",
            &i32s(4),
            "(drop (call $f (i32.const 1) (i32.const 64) (i32.const -1) (i32.const 8))) (i32.const 0)",
            zero(),
        ),
        wasi(
            "fd_write",
            &i32s(4),
            "(drop (call $f (i32.const -1) (i32.const 64) (i32.const -1) (i32.const 8))) (i32.const 0)",
            zero(),
        ),
        wasi("fd_write", &i32s(4), overlapping, Must::End(OutOfGas)),
        wasi(
            "fd_read",
            &i32s(4),
            "(drop (call $f (i32.const 0) (i32.const -8) (i32.const 1) (i32.const 8))) (i32.const 0)",
            Must::End(Trap),
        ),
        wasi(
            "fd_close",
            &i32s(1),
            "(drop (call $f (i32.const 0))) (drop (call $f (i32.const 0))) (drop (call $f (i32.const -2147483648))) (i32.const 0)",
            zero(),
        ),
        env(
            "__syscall_fcntl64",
            &i32s(3),
            "(i32.store (i32.const 64) (i32.const 2147483647)) (drop (call $f (i32.const 0) (i32.const 0) (i32.const 64))) (i32.const 0)",
            zero(),
        ),
        env(
            "__syscall_fcntl64",
            &i32s(3),
            "(i32.store (i32.const 64) (i32.const -1)) (drop (call $f (i32.const 0) (i32.const 0) (i32.const 64))) (i32.const 0)",
            zero(),
        ),
        env(
            "__syscall_dup3",
            &i32s(3),
            "(drop (call $f (i32.const 0) (i32.const 2147483647) (i32.const 0))) (i32.const 0)",
            zero(),
        ),
        env(
            "__syscall_getcwd",
            &i32s(2),
            "(drop (call $f (i32.const -1) (i32.const -1))) (i32.const 0)",
            Must::End(Trap),
        ),
        env(
            "__syscall_ioctl",
            &i32s(3),
            "(drop (call $f (i32.const 1) (i32.const 21505) (i32.const -4))) (i32.const 0)",
            Must::End(Trap),
        ),
        env(
            "_emscripten_memcpy_js",
            "(param i32 i32 i32)",
            "(call $f (i32.const 65530) (i32.const 0) (i32.const 100)) (i32.const 0)",
            zero(),
        ),
        env(
            "_mktime_js",
            &i32s(1),
            "(memory.fill (i32.const 64) (i32.const 127) (i32.const 44)) (drop (call $f (i32.const 64))) (i32.const 0)",
            zero(),
        ),
        env(
            "_mktime_js",
            &i32s(1),
            "(memory.fill (i32.const 64) (i32.const 128) (i32.const 44)) (drop (call $f (i32.const 64))) (i32.const 0)",
            zero(),
        ),
        env(
            "_gmtime_js",
            "(param i32 i32 i32)",
            "(call $f (i32.const -1) (i32.const 2147483647) (i32.const 64)) (i32.const 0)",
            zero(),
        ),
        env(
            "_gmtime_js",
            "(param i32 i32 i32)",
            "(call $f (i32.const 0) (i32.const -2147483648) (i32.const 64)) (i32.const 0)",
            zero(),
        ),
        env(
            "_gmtime_js",
            "(param i32 i32 i32)",
            "(call $f (i32.const 0) (i32.const 0) (i32.const 65530)) (i32.const 0)",
            Must::End(Trap),
        ),
        env(
            "strftime",
            &i32s(4),
            "(memory.fill (i32.const 64) (i32.const 37) (i32.const 8000)) (drop (call $f (i32.const 0) (i32.const 9) (i32.const 64) (i32.const 20000))) (i32.const 0)",
            Must::End(Trap),
        ),
        env(
            "strftime",
            &i32s(4),
            "(memory.fill (i32.const 20000) (i32.const 255) (i32.const 36)) (i32.store (i32.const 64) (i32.const 0x5a7a6325)) (drop (call $f (i32.const 0) (i32.const 0) (i32.const 64) (i32.const 20000))) (i32.const 0)",
            Must::End(Trap),
        ),
        env(
            "__asyncjs__weavedrive_open",
            &i32s(2),
            "(memory.fill (i32.const 64) (i32.const 47) (i32.const 60000)) (drop (call $f (i32.const 64) (i32.const 0))) (i32.const 0)",
            Must::End(Trap),
        ),
        env(
            "__asyncjs__weavedrive_read",
            &i32s(3),
            "(drop (call $f (i32.const -1) (i32.const -1) (i32.const -1))) (i32.const 0)",
            zero(),
        ),
        env("exit", "(param i32)", "(call $f (i32.const 0)) (i32.const 0)", Must::End(Trap)),
        wasi("proc_exit", "(param i32)", "(call $f (i32.const 0)) (i32.const 0)", Must::End(Trap)),
        env("_abort_js", "", "(call $f) (i32.const 0)", Must::End(Trap)),
        env(
            "__cxa_throw",
            "(param i32 i32 i32)",
            "(call $f (i32.const 1) (i32.const 2) (i32.const 3)) (i32.const 0)",
            Must::End(Trap),
        ),
        env(
            "__assert_fail",
            "(param i32 i32 i32 i32)",
            "(call $f (i32.const -1) (i32.const -1) (i32.const -1) (i32.const -1)) (i32.const 0)",
            Must::End(Trap),
        ),
        env("_emscripten_throw_longjmp", "", "(call $f) (i32.const 0)", Must::End(Trap)),
        emscripten64(
            "addresses of 64 bits",
            "(import \"wasi_snapshot_preview1\" \"fd_write\" (func $f (param i32 i64 i64 i64) (result i32))) ---",
            "(drop (call $f (i32.const 1) (i64.const -8) (i64.const 1024) (i64.const -1))) (i64.const 0)",
            Must::End(Trap),
        ),
        plain(
            "a hash of all addresses",
            &format!("{} ---", import("weft", "sha256", "(param i32 i32 i32)")),
            "(call $f (i32.const 0) (i32.const -1) (i32.const 0)) (i64.const 0)",
            Must::End(OutOfGas),
        ),
        plain(
            "a hash to the end of memory",
            &format!("{} ---", import("weft", "blake3", "(param i32 i32 i32)")),
            "(call $f (i32.const 0) (i32.const 1) (i32.const 65505)) (i64.const 0)",
            Must::End(Trap),
        ),
    ]);
}

/// Imports under types that their functions do not have: refused, or the guest's own fault.
#[test]
fn imports_of_other_types_are_the_guests_fault() {
    let zero = "(i32.const 0)";
    let refused = |name, types| env(name, types, zero, Must::Refuse("does not offer"));
    run(vec![
        refused("no_such_function", ""),
        refused("invoke", ""),
        refused("exit", "(param v128)"),
        refused("exit", "(param funcref)"),
        refused("exit", "(param i32) (result i32 i32)"),
        refused("exit", "(result externref)"),
        refused("emscripten_date_now", "(result v128)"),
        refused("invoke_v", "(param i32) (result v128)"),
        env("fd_write", "", zero, Must::Refuse("env.fd_write")),
        env("exit", "", "(call $f) (i32.const 0)", Must::End(Trap)),
        env(
            "__syscall_dup3",
            "(param f64 f64 f64) (result f32)",
            "(drop (call $f (f64.const 1) (f64.const nan) (f64.const inf))) (i32.const 0)",
            Must::End(Trap),
        ),
        env("emscripten_resize_heap", "(result i64)", "(drop (call $f)) (i32.const 0)", Must::End(Trap)),
        env("_emscripten_memcpy_js", "(param i32)", "(call $f (i32.const 0)) (i32.const 0)", Must::End(Trap)),
        env("_abort_js", &format!("(param {})", "i64 ".repeat(1_000)), zero, Must::Answer(b"")),
    ]);
}

/// `invoke_*` with functions that are not there, or are of another type than it says.
#[test]
fn an_invoke_of_what_is_no_such_function_is_the_guests_fault() {
    const SET_THREW: &str = "(func (export \"setThrew\") (param i32 i32))";
    const TABLE: &str = "(table (export \"__indirect_function_table\") 4 funcref) (elem (i32.const 1) $void $wide $jump)
        (func $void) (func $wide (param i64 f64) (result i64) (local.get 0)) (func $jump (result i64) (call $throw) (i64.const 7))";
    const IMPORTS: &str = "(import \"env\" \"_emscripten_throw_longjmp\" (func $throw))";
    let invoke = |name, signature: &str, types: &str, more: &str, body: &str, must| {
        let parts =
            format!("{IMPORTS} (import \"env\" \"invoke_{signature}\" (func $f {types})) --- {TABLE} {more}");
        emscripten32(name, &parts, body, must)
    };
    let call = |index: i64| format!("(call $f (i32.const {index})) (i32.const 0)");
    let dyn_call = |types: &str| format!("{SET_THREW} (func (export \"dynCall_v\") {types} (unreachable))");
    run(vec![
        invoke("a null function", "v", "(param i32)", SET_THREW, &call(0), Must::End(Trap)),
        invoke("a function beyond the table", "v", "(param i32)", SET_THREW, &call(-1), Must::End(Trap)),
        invoke("a function with parameters", "v", "(param i32)", SET_THREW, &call(2), Must::End(Trap)),
        invoke("a function with a result", "v", "(param i32)", SET_THREW, &call(3), Must::End(Trap)),
        invoke(
            "a function without the result",
            "i",
            "(param i32) (result i32)",
            SET_THREW,
            "(drop (call $f (i32.const 1))) (i32.const 0)",
            Must::End(Trap),
        ),
        invoke(
            "a result of another width",
            "i",
            "(param i32) (result i32)",
            SET_THREW,
            "(drop (call $f (i32.const 3))) (i32.const 0)",
            Must::End(Trap),
        ),
        invoke(
            "arguments of other types",
            "jjd",
            "(param i32 f64 i64) (result i64)",
            SET_THREW,
            "(drop (call $f (i32.const 2) (f64.const 0) (i64.const 0))) (i32.const 0)",
            Must::End(Trap),
        ),
        invoke(
            "no arguments, not even a function",
            "v",
            "",
            SET_THREW,
            "(call $f) (i32.const 0)",
            Must::End(Trap),
        ),
        invoke(
            "a jump out of a function with a wide result",
            "j",
            "(param i32) (result i64)",
            SET_THREW,
            "(i32.wrap_i64 (call $f (i32.const 3)))",
            Must::Answer(b""),
        ),
        invoke(
            "a jump, and nobody to be told",
            "j",
            "(param i32) (result i64)",
            "",
            "(i32.wrap_i64 (call $f (i32.const 3)))",
            Must::End(Trap),
        ),
        invoke(
            "a jump, and an odd one to be told",
            "j",
            "(param i32) (result i64)",
            "(func (export \"setThrew\") (param f32))",
            "(i32.wrap_i64 (call $f (i32.const 3)))",
            Must::End(Trap),
        ),
        invoke(
            "a jump out of being told",
            "j",
            "(param i32) (result i64)",
            "(func (export \"setThrew\") (param i32 i32) (call $throw))",
            "(i32.wrap_i64 (call $f (i32.const 3)))",
            Must::End(Trap),
        ),
        invoke(
            "a dynCall of another type",
            "v",
            "(param i32)",
            &dyn_call("(param f32)"),
            &call(1),
            Must::End(Trap),
        ),
        invoke(
            "a dynCall with too many parameters",
            "v",
            "(param i32)",
            &dyn_call("(param i32 i32)"),
            &call(1),
            Must::End(Trap),
        ),
        invoke(
            "a dynCall with a result",
            "v",
            "(param i32)",
            &dyn_call("(param i32) (result i32)"),
            &call(1),
            Must::End(Trap),
        ),
        emscripten32(
            "no table",
            "(import \"env\" \"invoke_v\" (func $f (param i32))) ---",
            "(call $f (i32.const 0)) (i32.const 0)",
            Must::End(Trap),
        ),
        emscripten32(
            "a table of another kind",
            "(import \"env\" \"invoke_v\" (func $f (param i32))) --- (table (export \"__indirect_function_table\") 1 externref)",
            "(call $f (i32.const 0)) (i32.const 0)",
            Must::End(Trap),
        ),
    ]);
}
