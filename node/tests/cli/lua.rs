//! The Lua runtime that comes with the program, as a newcomer meets it.

use serde_json::{Value, json};

use super::node::Node;

/// What an Eval prints.
fn eval(node: &Node, process: &str, code: &str) -> String {
    let sent = node.json(&["send", process, "--action", "Eval", "--data", code, "--wait"]);
    sent["result"]["result"]["Output"]["data"].as_str().unwrap_or_default().to_owned()
}

fn spawn(node: &Node, more: &[&str]) -> String {
    node.json(&[&["spawn"], more].concat())["id"].as_str().unwrap().to_owned()
}

#[test]
fn a_process_without_a_module_speaks_lua() {
    let node = Node::start();
    let spawned = node.weft(&["spawn", "--name", "hello"]).expect(0);
    assert!(spawned.err.contains("--action Eval --data '1 + 1' --wait"), "{}", spawned.err);
    let process = spawned.text().trim().to_owned();
    let answer = node.weft(&["send", &process, "--action", "Eval", "--data", "1 + 1", "--wait"]).expect(0);
    assert!(answer.text().starts_with("2\n"), "{}", answer.text());
    assert_eq!(eval(&node, &process, "Name"), "hello");
    let failed =
        node.weft(&["send", &process, "--action", "Eval", "--data", "error('oh')", "--wait"]).expect(1);
    assert!(failed.text().contains("eval:1: oh"), "{}", failed.text());
    let modules = node.json(&["module", "list"]);
    let names: Vec<_> = modules.as_array().unwrap().iter().map(|module| &module["name"]).collect();
    assert_eq!(names, ["lua", "ledger"]);
    let module = modules[0]["module"].as_str().unwrap();
    for named in [&["--module", "lua"][..], &["--module", module]] {
        assert_eq!(eval(&node, &spawn(&node, named), "40 + 2"), "42");
    }
    let unknown = node.weft(&["spawn", "--module", "cobol"]).expect(2);
    assert!(unknown.err.contains("or `lua`"), "{}", unknown.err);
    // A program as data, and another node's word on it: it has the same module.
    let code = "Handlers.add('Double', function(msg) msg.reply({ Data = tostring(2 * msg.Data) }) end)";
    let booted = spawn(&node, &["--tag", "On-Boot=Data", "--data", code]);
    let other = node.start_beside(&[]);
    other.json(&["host", &booted, "--compute"]);
    let sent = other.json(&["send", &booted, "--action", "Double", "--data", "21", "--wait"]);
    assert_eq!(sent["result"]["result"]["Messages"][0]["Data"], "42");
    let root = |node: &Node| node.json(&["inspect", &booted, "--state-root"])["state_root"].clone();
    assert_eq!(root(&node), root(&other));
}

#[test]
fn what_a_program_keeps_is_shown_by_its_path() {
    let node = Node::start();
    let process = spawn(&node, &[]);
    eval(&node, &process, "Balances = { alice = 5, bob = { 1, 2 } }");
    eval(
        &node,
        &process,
        "Balances.alice = 6 Views.add('rich', function(msg) return Balances.alice > 5 end)",
    );
    let show = |path: &str| node.json(&["state", &process, path])["value"].clone();
    assert_eq!(show("Balances.alice"), 6);
    assert_eq!(show("Balances.bob.2"), 2);
    assert_eq!(show("rich"), true);
    assert_eq!(show("*")["Balances"], json!({"alice": 6, "bob": [1, 2]}));
    assert_eq!(show(".")["globals"]["Balances"], "table of 2");
    let old = node.json(&["state", &process, "Balances.alice", "--slot", "1"]);
    assert_eq!((&old["value"], &old["position"]["slot"]), (&json!(5), &json!(1)));
    let shown = node.weft(&["state", &process, "Balances"]).expect(0);
    assert_eq!(serde_json::from_str::<Value>(shown.text()).unwrap(), json!({"alice": 6, "bob": [1, 2]}));
    let nothing = node.weft(&["state", &process, "Balances.carol"]).expect(1);
    assert!(nothing.err.contains("there is nothing at 'Balances.carol'"), "{}", nothing.err);
    assert!(nothing.err.contains(&format!("`weft state {process} .`")), "{}", nothing.err);
    node.weft(&["state", &process, "Balances", "--out", "-"]).expect(2);
    // Reading left no trace, and other modules have no such thing.
    assert_eq!(node.json(&["inspect", &process])["head"], 2);
    let counter = node.weft(&["state", &node.counter(), "Balances"]).expect(1);
    assert!(counter.err.contains("does not show its state"), "{}", counter.err);
}
