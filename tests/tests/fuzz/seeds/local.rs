//! What guests and people hand to a node: result texts, modules, configurations, requests.

use weft_node::config::Config;
use weft_node::guests::COUNTER;

fn texts<const N: usize>(texts: [&str; N]) -> Vec<Vec<u8>> {
    texts.map(|text| text.as_bytes().to_vec()).into()
}

const MESSAGE: &str = r#"{"Target":"AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE","Anchor":"00000000000000000000000000000001","Tags":[{"name":"Action","value":"Credit"},{"name":"Quantity","value":1e3}],"Data":"1984"}"#;
const SPAWN: &str =
    r#"{"Anchor":"00000000000000000000000000000002","Tags":[{"name":"Module","value":"m"}],"Data":""}"#;
const ASSIGNMENT: &str = r#"{"Message":"AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE","Processes":["AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE"],"BaseLayer":true,"Exclude":["Data","Tags"]}"#;

pub(crate) fn results() -> Vec<Vec<u8>> {
    let mut seeds = texts([
        r#"{"ok":true,"response":{"Output":"x","Messages":[],"Spawns":[],"Assignments":[],"Error":""}}"#,
        r#"{"ok":false,"response":"[string \"aos\"]:1: attempt to call a nil value"}"#,
        r#"{"ok":true,"response":{"Error":{"message":"no"},"Output":-0.1e-7}}"#,
        r#"{"ok":true,"response":{"Output":{"data":{"output":"not enough memory for buffer allocation"}}}}"#,
        r#"{"ok":1,"response":{"Output":{"data":{"output":"\ud83d\ude00","prompt":"\u001b[32mx","json":"null"}}}}"#,
        r#"{"a":1,"a":2,"__proto__":{"ok":true},"10":0,"9":1,"ok":true,"response":{"Messages":{}}}"#,
        "[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[0]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]",
    ]);
    for (messages, spawns, assignments) in [(MESSAGE, SPAWN, ASSIGNMENT), (SPAWN, ASSIGNMENT, MESSAGE)] {
        let text = format!(
            r#"{{"ok":true,"response":{{"Output":"","Messages":[{messages},{messages}],"Spawns":[{spawns}],"Assignments":[{assignments},7]}}}}"#
        );
        seeds.push(text.into_bytes());
    }
    seeds
}

/// A plain module with this body and these parts.
fn plain(parts: &str, handle: &str) -> Vec<u8> {
    module(
        2,
        &format!(
            "(module (memory (export \"memory\") 1 4) {parts}
               (func (export \"alloc\") (param i32) (result i32) (i32.const 1024))
               (func (export \"handle\") (param i32 i32 i32 i32) (result i64) {handle}))"
        ),
    )
}

/// A module of an emscripten format: 0 has 64-bit memory, 1 has 32-bit memory.
fn emscripten(format: u8, parts: &str, handle: &str) -> Vec<u8> {
    let (word, memory) = if format == 0 { ("i64", "i64 1 64") } else { ("i32", "1 64") };
    let (imports, parts) = parts.split_once("---").unwrap_or(("", parts));
    module(
        format,
        &format!(
            "(module {imports} (memory (export \"memory\") {memory})
               (global $sp (mut {word}) ({word}.const 65536))
               {parts}
               (func (export \"emscripten_stack_get_current\") (result {word}) (global.get $sp))
               (func (export \"_emscripten_stack_restore\") (param {word}) (global.set $sp (local.get 0)))
               (func (export \"_emscripten_stack_alloc\") (param {word}) (result {word})
                 (global.set $sp ({word}.and ({word}.sub (global.get $sp) (local.get 0)) ({word}.const -16)))
                 (global.get $sp))
               (func (export \"handle\") (param {word} {word}) (result {word}) {handle}))"
        ),
    )
}

fn module(format: u8, text: &str) -> Vec<u8> {
    [vec![format], wat::parse_str(text).unwrap()].concat()
}

pub(crate) fn modules() -> Vec<Vec<u8>> {
    const LOOPS: &str = "(loop $l (br_if $l (i32.lt_u (local.tee 0 (i32.add (local.get 0) (i32.const 1))) (i32.const 99))))
        (block $b (br_table 0 $b 0 (local.get 1))) (if (local.get 2) (then (unreachable)) (else (nop))) (i64.const 0)";
    const WIDE: &str = "(local v128 f32 f64) (local.set 4 (i32x4.splat (local.get 0)))
        (local.set 6 (f64.div (f64.const 0) (f64.const 0)))
        (i64x2.extract_lane 1 (i64x2.mul (local.get 4) (local.get 4)))";
    const BULK: &str = "(memory.fill (i32.const 0) (i32.const 7) (i32.const 100))
        (memory.copy (i32.const 50) (i32.const 0) (i32.const 100)) (drop (memory.grow (i32.const 1)))
        (i64.extend_i32_u (memory.size))";
    const TABLE: &str = "(table 3 funcref) (elem (i32.const 1) $a $b) (type $t (func (result i64)))
        (func $a (result i64) (i64.const 1)) (func $b (result i64) (call $b))";
    const HASHES: &str = "(import \"weft\" \"sha256\" (func $h (param i32 i32 i32)))
        (import \"weft\" \"ed25519_verify\" (func $v (param i32 i32 i32 i32) (result i32)))";
    const JUMPS: &str = "(import \"env\" \"invoke_vi\" (func $invoke (param i32 i32)))
        (import \"env\" \"_emscripten_throw_longjmp\" (func $jump))
        (import \"env\" \"emscripten_resize_heap\" (func $resize (param i32) (result i32)))
        (import \"env\" \"__syscall_fcntl64\" (func $fcntl (param i32 i32 i32) (result i32)))
        (import \"wasi_snapshot_preview1\" \"fd_write\" (func $write (param i32 i32 i32 i32) (result i32)))
        --- (table (export \"__indirect_function_table\") 2 funcref) (elem (i32.const 1) $f)
        (func $f (param i32) (call $jump))
        (func (export \"setThrew\") (param i32 i32))
        (func (export \"__wasm_call_ctors\") (i32.store (i32.const 64) (i32.const 1)))
        (data (i32.const 1024) \"{\\22ok\\22:true}\\00\")";
    const JUMP: &str = "(call $invoke (i32.const 1) (i32.const 2)) (drop (call $resize (i32.const 100000)))
        (drop (call $fcntl (i32.const 0) (i32.const 0) (i32.const 64)))
        (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8))) (i32.const 1024)";
    vec![
        [vec![2], COUNTER.to_vec()].concat(),
        plain("", LOOPS),
        plain("", WIDE),
        plain("(global (mut i64) (i64.const 5)) (data (i32.const 9) \"text\")", BULK),
        plain(TABLE, "(call_indirect (type $t) (local.get 0))"),
        module(
            2,
            &format!(
                "(module {HASHES} (memory (export \"memory\") 1)
                   (func (export \"alloc\") (param i32) (result i32) (i32.const 16))
                   (func (export \"handle\") (param i32 i32 i32 i32) (result i64)
                     (call $h (i32.const 0) (local.get 1) (i32.const 64))
                     (drop (call $v (i32.const 0) (i32.const 64) (i32.const 0) (i32.const 9))) (i64.const 64)))"
            ),
        ),
        emscripten(1, JUMPS, JUMP),
        emscripten(1, "", "(local.get 0)"),
        emscripten(0, "", "(local.get 0)"),
        emscripten(0, "(data (i64.const 16) \"[]\\00\")", "(i64.store (i64.const 800) (local.get 1)) (i64.const 16)"),
    ]
}

pub(crate) fn configurations() -> Vec<Vec<u8>> {
    let mut seeds = texts([
        "",
        "network = \"weft\"\nroles = [\"compute\", \"anchor\"]\nspawn_budget = 3\n",
        "listen = []\nmemory_budget = \"2GiB\"\nlog = \"info,weft=debug\"\n\0WEFT_NETWORK=x\nWEFT_ROLES=scheduler",
        "\0WEFT_LISTEN=/ip4/127.0.0.1/tcp/0,/ip6/::1/udp/1/quic-v1\nWEFT_DRY_RUN_MS=1\nHOME=/\nWEFT_NETWROK=y",
        "[network]\nx = 1\n",
        "schedule_for = \"listed\"\n",
    ]);
    seeds.push(Config::new("/tmp").to_toml().into_bytes());
    seeds
}

pub(crate) fn requests() -> Vec<Vec<u8>> {
    const ID: &str = "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE";
    let mut seeds = texts([
        r#"{"do":"status"}"#,
        r#"{"do":"modules"}"#,
        r#"{"do":"put-module","item":"AQAB"}"#,
        r#"{"done":{"slot":7}}"#,
        r#"{"error":{"code":"timed-out","text":"nothing came"}}"#,
        r#"{"event":[1,2.5,"\u0000"]}"#,
        "eyJ0aW1lc3RhbXAiOjE3MDAwMDAwMDAwMDAsIm9yZGluYXRlIjoiNyIsImNyb24iOm51bGwsInNvcnQiOiJBU0MifQ==",
        "1700000000000",
    ]);
    for fields in [
        r#""do":"slots","from":0,"limit":4294967295"#,
        r#""do":"process","state_root":true"#,
        r#""do":"host","compute":true,"messenger":false"#,
        r#""do":"assign","item":"AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE","exclude":["Data"]"#,
        r#""do":"result","of":{"slot":1},"wait_ms":5"#,
        r#""do":"result","of":"now","wait_ms":18446744073709551615"#,
        r#""do":"results","from":"eyJ9","limit":3,"sort":"DESC","crons":true,"now_ms":9"#,
        r#""do":"dry-run","message":{"Owner":"me","Tags":[{"name":"a","value":"b"}],"Timestamp":"7"},"slot":1"#,
        r#""do":"watch","from":null"#,
    ] {
        seeds.push(format!(r#"{{"process":"{ID}",{fields}}}"#).into_bytes());
    }
    seeds
}

/// Rows of every kind, each after the number of its kind: those that the store's format is held to,
/// and the shortest of zeros.
pub(crate) fn rows() -> Vec<Vec<u8>> {
    const GOLDEN: &str = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../storage/tests/format/1.txt"));
    /// Bytes before the payload of a stored row: version and checksum.
    const HEADER_BYTES: usize = 9;
    /// Longer than every row of zeros.
    const ZEROS_MAX: usize = 400;
    let stored = GOLDEN.lines().filter_map(|line| line.split(' ').nth(2));
    let payloads: Vec<Vec<u8>> =
        stored.map(|value| hex::decode(value).unwrap().split_off(HEADER_BYTES)).collect();
    let mut seeds = Vec::new();
    for (number, kind) in (0u8..).zip(weft_storage::fuzz::kinds()) {
        let zeros = (0..ZEROS_MAX).map(|length| vec![0; length]).find(|zeros| kind(zeros).is_some());
        let golden = payloads.iter().filter(|payload| kind(payload).is_some()).cloned();
        for payload in golden.chain(zeros) {
            seeds.push([&[number], payload.as_slice()].concat());
        }
        assert!(seeds.last().is_some_and(|seed| seed[0] == number), "no seed of kind {number}");
    }
    seeds
}
