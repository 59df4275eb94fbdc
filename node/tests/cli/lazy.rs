//! Evaluation on demand: nothing runs until somebody asks, and what the node owes to others runs
//! as it comes.

use serde_json::{Value, json};

use super::node::{Node, until_is};
use super::repair::{signature, spoil, stored};

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
    // Who asks for a slot that is not there yet has no later one evaluated.
    assert_ne!(reader.weft(&["result", &process, "--slot", "9000"]).code, 0);
    // A node that comes back leaves it alone as before.
    scheduler.json(&["send", &process, "--action", "Increment"]);
    let sent = scheduler.json(&["send", &process, "--action", "Increment", "--wait"]);
    wait_for_slot(&reader, &process, 8);
    evaluates_by_itself(&scheduler, &reader, &eager);
    assert_eq!(computed(&reader, &process), 6);
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

/// A run that cannot begin gives its place back: here there are three of them.
#[test]
fn processes_whose_item_is_damaged_hold_up_nobody() {
    const NOBODY: &str = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAE";
    let flags = ["--compute-threads", "1"];
    let node = Node::start_with(&flags);
    let sound = node.counter();
    let module = node.add_counter();
    let lazy = |_| {
        // This node answers to nobody for it, so it may leave it alone.
        let named = ["spawn", "--module", &module, "--compute", NOBODY, "--quorum", "1"];
        let process = node.json(&named)["id"].as_str().unwrap().to_owned();
        node.json(&["host", &process, "--compute", "--evaluate", "lazy"]);
        node.json(&["send", &process, "--action", "Increment"]);
        process
    };
    let damaged: Vec<String> = (0..4).map(lazy).collect();
    let folder = node.stop();
    for process in &damaged {
        let (_, item) = stored(folder.path(), process, 0);
        spoil(folder.path(), signature(&item));
    }
    // Whose item cannot be read, nobody can tell whether it waits to be asked for.
    let node = Node::start_as(folder, &flags);
    let sent = node.json(&["send", &sound, "--action", "Increment", "--wait"]);
    assert_eq!(sent["result"]["result"]["Output"], "1");
}
