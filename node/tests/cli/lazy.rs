//! Evaluation on demand: nothing runs until somebody asks, and what the node owes to others runs
//! as it comes.

use serde_json::{Value, json};

use super::node::{Node, until_is};

/// Waits until a node has a slot of a process on disk.
fn wait_for_slot(node: &Node, process: &str, slot: u64) {
    let head = || node.json(&["inspect", process])["head"].clone();
    until_is("the slot to be on disk", &json!(slot), head);
}

fn computed(node: &Node, process: &str) -> Value {
    node.json(&["inspect", process])["computed"]["slot"].clone()
}

/// Waits until a node has evaluated whatever it would have by itself: `eager`, which got a slot after
/// all others had theirs, is evaluated.
fn evaluates_by_itself(scheduler: &Node, node: &Node, eager: &str) {
    let sent = scheduler.json(&["send", eager, "--action", "Increment"]);
    let result = node.json(&["result", eager, sent["id"].as_str().unwrap(), "--wait"]);
    assert_eq!(result["computed_here"], true, "{result}");
}

#[test]
fn a_lazy_process_is_evaluated_for_its_readers_and_no_further() {
    let scheduler = Node::start();
    let (process, eager) = (scheduler.counter(), scheduler.counter());
    for _ in 0..6 {
        scheduler.json(&["send", &process, "--action", "Increment"]);
    }
    let address = scheduler.ready["listen"][0].as_str().unwrap();
    let reader = Node::start_with(&["--bootstrap", address, "--evaluate", "lazy"]);
    let hosted = reader.json(&["host", &process, "--compute"]);
    assert_eq!(hosted["duties"], json!(["compute on demand", "watch"]));
    reader.json(&["host", &eager, "--compute", "--evaluate", "eager"]);
    wait_for_slot(&reader, &process, 6);
    evaluates_by_itself(&scheduler, &reader, &eager);
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
    let reader = scheduler.join_as(reader.stop(), &[]);
    evaluates_by_itself(&scheduler, &reader, &eager);
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
    node.json(&["send", &process, "--action", "Increment"]);
    // Looking at how far it is computed asks for nothing to be computed.
    until_is("the slot to be evaluated", &json!(1), || computed(&node, &process));
    assert_eq!(node.json(&["result", &process, "--slot", "1"])["result"]["Output"], "1");
}
