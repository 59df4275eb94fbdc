//! `weft eval` with the built-in counter.

use std::path::PathBuf;

use serde_json::{Value, json};

use super::{Ran, weft_with};

const FORMAT: &str = "wasm32-weft-plain";

struct Bench {
    folder: tempfile::TempDir,
    module: PathBuf,
    env: PathBuf,
}

impl Bench {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (module, env) = (folder.path().join("counter.wasm"), folder.path().join("env.json"));
        std::fs::write(&module, weft_vm::guests::COUNTER).unwrap();
        std::fs::write(&env, "{\"Process\":{\"Id\":\"p\",\"Owner\":\"o\",\"Tags\":[]}}\n").unwrap();
        Self { folder, module, env }
    }

    fn eval(&self, format: &str, extra: &[&str], messages: &[u8]) -> Ran {
        let (module, env) = (self.module.to_str().unwrap(), self.env.to_str().unwrap());
        let args = ["eval", "--module", module, "--format", format, "--env", env];
        weft_with(self.folder.path(), &[&args, extra, &["-"]].concat(), &[], messages)
    }
}

fn message(action: &str) -> String {
    json!({ "Id": "m", "Tags": [{ "name": "Action", "value": action }] }).to_string()
}

fn outputs(ran: &Ran) -> Vec<Value> {
    ran.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn memory_is_kept_and_rolled_back_as_in_a_node() {
    let bench = Bench::new();
    let messages: Vec<String> =
        ["Increment", "Increment", "Fail", "Loop", "Get"].iter().map(|action| message(action)).collect();
    // The last line has no end.
    let ran = bench.eval(FORMAT, &["--compute-limit", "1000000"], messages.join("\n").as_bytes()).expect(0);
    let outputs = outputs(&ran);
    let output = |at: usize| outputs[at]["response"]["Output"].as_str().unwrap();
    assert_eq!((outputs.len(), output(0), output(1), output(4)), (5, "1", "2", "2"));
    assert_eq!(outputs[2], json!({ "ok": false, "response": "counter: failed as asked" }));
    assert_eq!(outputs[3], json!({ "trap": "out of gas!" }));
    assert!(ran.err.is_empty(), "{}", ran.err);
}

#[test]
fn lines_go_in_verbatim_and_blank_ones_do_not() {
    let bench = Bench::new();
    let ran = bench
        .eval(FORMAT, &[], format!("\n  \n {}\r\nnot json\n", message("Increment")).as_bytes())
        .expect(0);
    let counts: Vec<String> =
        outputs(&ran).iter().map(|out| out["response"]["Output"].as_str().unwrap().to_owned()).collect();
    assert_eq!(counts, ["1", "1"]);
}

#[test]
fn statistics_go_to_standard_error() {
    let bench = Bench::new();
    let two = format!("{}\n{}\n", message("Increment"), message("Fail"));
    let ran = bench.eval(FORMAT, &["--stats", "--json"], two.as_bytes()).expect(0);
    assert_eq!(outputs(&ran).len(), 2);
    let stats: Vec<Value> = ran.err.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(stats[0]["start_us"].as_u64().unwrap() > 0);
    assert_eq!((&stats[1]["line"], &stats[1]["code"]), (&json!(1), &json!(0)));
    assert!(stats[1]["gas"].as_u64().unwrap() > 0);
    assert_eq!(stats[2]["code"], 1);
    let ran = bench.eval(FORMAT, &["--stats"], two.as_bytes()).expect(0);
    assert!(ran.err.contains("line 2: ") && ran.err.contains("code 1"), "{}", ran.err);
}

#[test]
fn bad_input_is_named() {
    let bench = Bench::new();
    let ran = bench.eval("wasm32-nonsense", &[], b"").expect(2);
    assert!(ran.err.contains("--format: module format \"wasm32-nonsense\" is not supported"), "{}", ran.err);
    let ran = bench.eval("wasm64-unknown-emscripten-draft_2024_02_15", &[], b"").expect(2);
    assert!(ran.err.contains("counter.wasm: the module has a 32-bit memory"), "{}", ran.err);
    let ran = bench.eval(FORMAT, &["--memory-limit", "1-kb"], b"").expect(2);
    assert!(ran.err.contains("--memory-limit: the memory limit of 1024 bytes"), "{}", ran.err);
    let ran = bench.eval(FORMAT, &["--compute-limit", "x"], b"").expect(2);
    assert!(ran.err.contains("Compute-Limit `x`"), "{}", ran.err);
    std::fs::write(&bench.env, "{").unwrap();
    let ran = bench.eval(FORMAT, &[], b"").expect(2);
    assert!(ran.err.contains("env.json is not JSON"), "{}", ran.err);
    std::fs::write(&bench.module, "\0asm\u{1}\0\0\0\u{7f}").unwrap();
    std::fs::write(&bench.env, "{}").unwrap();
    let ran = bench.eval(FORMAT, &[], b"").expect(2);
    assert!(ran.err.contains("counter.wasm: the module is not valid here"), "{}", ran.err);
}
