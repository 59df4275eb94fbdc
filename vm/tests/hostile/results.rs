//! Results that are none, and that lie about where they are. The engine hands on bytes; whether
//! they are a result is the protocol's to judge, so both are asked.

use weft_protocol::Position;
use weft_protocol::limits::{JSON_DEPTH_MAX, JSON_VALUES_MAX};
use weft_protocol::outcome::{Code, Outcome as Judged};
use weft_vm::limits::RESULT_BYTES_MAX;
use weft_vm::{Engine, EngineConfig, Format, Limits, Outcome, Trap};

use crate::suite::{Case, LIMITS, Must, Neighbour, alone, emscripten32, emscripten64, plain, run};

#[test]
fn a_pointer_that_leads_to_no_text_is_a_malformed_result() {
    use Trap::MalformedResult;
    let pointer =
        |name, value: &str| plain(name, "", &format!("(i64.const {value})"), Must::End(MalformedResult));
    let c_text = |name, handle| emscripten32(name, "", handle, Must::End(MalformedResult));
    run(vec![
        pointer("an address outside of memory", "0x7fffffff00000001"),
        pointer("the last address", "0xffffffff00000001"),
        pointer("a length that leads outside", "0x0000000100010000"),
        pointer("a length over the limit", "0x0000000000a00001"),
        pointer("the largest length", "0x00000000ffffffff"),
        pointer("every bit", "-1"),
        c_text("a text outside of memory", "(i32.const 65536)"),
        c_text("a text at the last address of all", "(i32.const -1)"),
        c_text(
            "a text without an end",
            "(memory.fill (i32.const 0) (i32.const 65) (i32.const 65536)) (i32.const 1024)",
        ),
        c_text(
            "a text whose end is beyond the limit",
            "(drop (memory.grow (i32.const 63))) (memory.fill (i32.const 0) (i32.const 65) (i32.const 0x2f0000)) (i32.const 65535)",
        )
        .ending_at_the_end(),
        emscripten64("a text at an address of 64 bits", "", "(i64.const 0x7fffffffffffffff)", Must::End(MalformedResult)),
        emscripten64("a text at the last address of 64 bits", "", "(i64.const -1)", Must::End(MalformedResult)),
    ]);
}

#[test]
fn bytes_at_the_edges_are_handed_on() {
    run(vec![
        plain("nothing, at the end of memory", "", "(i64.const 0x0001000000000000)", Must::Answer(b"")),
        plain("one byte, the last", "", "(i64.const 0x0000ffff00000001)", Must::Answer(b"\0")),
        plain(
            "no UTF-8",
            "(data (i32.const 64) \"\\ff\\fe\\c0\\80\\ed\\a0\\80\")",
            "(i64.const 0x0000004000000007)",
            Must::Answer(b"\xff\xfe\xc0\x80\xed\xa0\x80"),
        ),
        emscripten32("nothing, as a text", "", "(i32.const 0)", Must::Answer(b"")),
        emscripten32("nothing, at the last address", "", "(i32.const 65535)", Must::Answer(b"")),
        emscripten32("the message itself", "", "(local.get 0)", Must::Answer(b"{\"Id\":\"1\"}")),
    ]);
}

/// A guest that returns a whole text of any kind, and the code that its position gets.
#[test]
fn texts_that_are_no_results_have_a_code() {
    let _alone = alone();
    let deep = |count| {
        format!(r#"{{"ok":true,"response":{{"Output":{}{}}}}}"#, "[".repeat(count), "]".repeat(count))
    };
    let values = |count: usize| format!(r#"{{"ok":true,"response":{{"Output":[{}0]}}}}"#, "0,".repeat(count));
    let long =
        |count: usize| format!(r#"{{"ok":true,"response":{{"Output":"{}"}}}}"#, "x".repeat(count - 37));
    let response = |fields: &str| format!(r#"{{"ok":true,"response":{{{fields}}}}}"#);
    let entries = |count: usize| response(&format!(r#""Messages":[{}0]"#, "{},".repeat(count)));
    let texts: Vec<(&str, Vec<u8>, Code)> = vec![
        ("nothing", Vec::new(), Code::Malformed),
        ("no JSON", b"ok".to_vec(), Code::Malformed),
        ("null", b"null".to_vec(), Code::Malformed),
        ("an array", b"[]".to_vec(), Code::Malformed),
        ("JSON with more behind it", b"{\"ok\":true,\"response\":{}} x".to_vec(), Code::Malformed),
        ("no response", b"{\"ok\":true}".to_vec(), Code::Malformed),
        ("a response that is a text", b"{\"ok\":true,\"response\":\"x\"}".to_vec(), Code::Malformed),
        ("an error that is nothing", b"{\"ok\":false,\"response\":\"\"}".to_vec(), Code::Malformed),
        ("an error", b"{\"ok\":false,\"response\":[1]}".to_vec(), Code::Error),
        ("half a character", b"{\"ok\":true,\"response\":{\"Output\":\"\xe2\x82\"}}".to_vec(), Code::Ok),
        ("half a pair of surrogates", response(r#""Output":"\ud83d""#).into(), Code::Ok),
        (
            "a zero byte in a text",
            b"{\"ok\":true,\"response\":{\"Output\":\"\0\"}}".to_vec(),
            Code::Malformed,
        ),
        ("the same key twice", br#"{"ok":false,"response":"x","ok":true,"response":{}}"#.to_vec(), Code::Ok),
        ("a key of prototypes", br#"{"ok":true,"response":{"__proto__":{"Error":"x"}}}"#.to_vec(), Code::Ok),
        ("a number too large for any", response("\"Output\":1e999999").into(), Code::Ok),
        (
            "a number of a million digits",
            response(&format!("\"Output\":{}", "9".repeat(1_000_000))).into(),
            Code::Ok,
        ),
        ("lists that are texts", response(r#""Messages":"x","Spawns":7,"Assignments":{}"#).into(), Code::Ok),
        ("as deep as allowed", deep(JSON_DEPTH_MAX - 2).into(), Code::Ok),
        ("one deeper", deep(JSON_DEPTH_MAX - 1).into(), Code::Malformed),
        ("a million deep", vec![b'['; 1_000_000], Code::Malformed),
        ("many values", values(500_000).into(), Code::Ok),
        ("too many values", values(JSON_VALUES_MAX).into(), Code::Malformed),
        ("more entries than an outbox has", entries(100_000).into(), Code::Ok),
        ("as long as allowed", long(RESULT_BYTES_MAX).into(), Code::Ok),
        (
            "out of memory, in the words of the reference's modules",
            response(r#""Output":{"data":{"output":"not enough memory for buffer allocation"}}"#).into(),
            Code::OutOfMemory,
        ),
    ];
    let engine = Engine::new(EngineConfig::default()).unwrap();
    let mut neighbour = Neighbour::new(&engine);
    // Returns its message: the text is what it was sent.
    let echo = "(module (memory (export \"memory\") 300) (func (export \"alloc\") (param i32) (result i32) (i32.const 0))
        (func (export \"handle\") (param i32 i32 i32 i32) (result i64) (i64.extend_i32_u (local.get 1))))";
    let module = engine.compile(&wat::parse_str(echo).unwrap(), Format::Plain).unwrap();
    let limits = Limits { memory_bytes: 1 << 26, ..LIMITS };
    let mut instance = module.instantiate(limits).unwrap();
    for (name, text, code) in texts {
        let outcome = instance.evaluate(&text, b"").unwrap().outcome;
        let Outcome::Returned(bytes) = outcome else { panic!("{name}: {outcome:?}") };
        assert!(bytes == text, "{name}");
        instance.roll_back().unwrap();
        let judged = Judged::of_result(Position::slot(1), &bytes, None);
        assert_eq!(judged.code, code, "{name}");
        assert_eq!(judged, Judged::of_result(Position::slot(1), &bytes, None), "{name}");
        assert!(judged.outbox.live().next().is_none(), "{name}: it sends nothing");
        neighbour.goes_on().unwrap_or_else(|what| panic!("{name}: the neighbour {what}"));
    }
    let long = vec![b'x'; RESULT_BYTES_MAX + 1];
    let outcome = instance.evaluate(&long, b"").unwrap().outcome;
    assert_eq!(outcome, Outcome::Trapped(Trap::MalformedResult));
}

impl Case {
    /// With memory of 12 MiB, all of it text: the zero byte comes after the limit.
    fn ending_at_the_end(mut self) -> Self {
        self.text = self.text.replace("1 64", "1 256").replace("grow (i32.const 63)", "grow (i32.const 191)");
        self.text = self.text.replace("0x2f0000", "0xbf0000");
        self
    }
}
