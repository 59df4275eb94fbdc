//! Evaluation on demand: nothing runs until somebody asks, and what the node owes to others runs
//! as it comes.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use super::node::Node;

/// Waits until a node has a slot of a process on disk.
fn wait_for_slot(node: &Node, process: &str, slot: u64) {
    let mut watch = Command::new(env!("CARGO_BIN_EXE_weft"))
        .args(["watch", process, "--from", &slot.to_string(), "--json"])
        .env_clear()
        .env("WEFT_DATA_DIR", node.folder.path())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(watch.stdout.take().unwrap()).lines();
    let first: Value = serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap();
    assert_eq!(first["slot"], slot);
    watch.kill().unwrap();
    watch.wait().unwrap();
}

fn computed(node: &Node, process: &str) -> Value {
    node.json(&["inspect", process])["computed"]["slot"].clone()
}

#[test]
fn a_lazy_process_is_evaluated_for_its_readers_and_no_further() {
    let scheduler = Node::start();
    let process = scheduler.counter();
    for _ in 0..6 {
        scheduler.json(&["send", &process, "--action", "Increment"]);
    }
    let address = scheduler.ready["listen"][0].as_str().unwrap();
    let reader = Node::start_with(&["--bootstrap", address, "--evaluate", "lazy"]);
    let hosted = reader.json(&["host", &process, "--compute"]);
    assert_eq!(hosted["duties"], json!(["compute on demand", "watch"]));
    wait_for_slot(&reader, &process, 6);
    assert_eq!(computed(&reader, &process), Value::Null);
    let result = |slot: &str| reader.json(&["result", &process, "--slot", slot, "--wait"])["result"].clone();
    assert_eq!(result("2")["Output"], "2");
    assert_eq!(computed(&reader, &process), 2);
    assert_eq!(reader.json(&["dry-run", &process, "--action", "Increment"])["result"]["Output"], "7");
    assert_eq!(computed(&reader, &process), 6);
    // A node that comes back leaves it alone as before.
    scheduler.json(&["send", &process, "--action", "Increment"]);
    let sent = scheduler.json(&["send", &process, "--action", "Increment", "--wait"]);
    wait_for_slot(&reader, &process, 8);
    let reader = Node::start_in(reader.stop());
    assert_eq!(computed(&reader, &process), 6);
    let item = sent["id"].as_str().unwrap();
    assert_eq!(reader.json(&["result", &process, item, "--wait"])["result"]["Output"], "8");
    let state = |node: &Node| node.json(&["state", &process])["state_root"].clone();
    assert_eq!(state(&reader), state(&scheduler));
    // Told to, it evaluates as slots come.
    let hosted = reader.json(&["host", &process, "--evaluate", "eager"]);
    assert_eq!(hosted["duties"], json!(["compute", "watch"]));
}

/// Its scheduler is its attestor, so others wait for its word.
#[test]
fn an_attestor_evaluates_as_slots_come_whatever_its_policy() {
    let node = Node::start();
    let process = node.counter();
    let hosted = node.json(&["host", &process, "--evaluate", "lazy"]);
    assert!(hosted["duties"].as_array().unwrap().contains(&json!("compute on demand")), "{hosted}");
    let mut watch = Command::new(env!("CARGO_BIN_EXE_weft"))
        .args(["watch", &process, "--from", "0", "--json"])
        .env_clear()
        .env("WEFT_DATA_DIR", node.folder.path())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(watch.stdout.take().unwrap()).lines();
    let mut events = lines.map(|line| serde_json::from_str::<Value>(&line.unwrap()).unwrap());
    node.json(&["send", &process, "--action", "Increment"]);
    let outcome = events.find(|event| event["kind"] == "outcome" && event["position"]["slot"] == 1);
    assert_eq!(outcome.unwrap()["output"], "1");
    watch.kill().unwrap();
    watch.wait().unwrap();
}
