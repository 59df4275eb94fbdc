//! Dry runs on a real node: they see the newest state, change nothing, and run beside each other
//! and beside the process.

use std::io::Write;
use std::thread;

use serde_json::{Value, json};

use super::node::{Node, until};
use super::socket::{ask, connect, reply};

fn message(action: &str) -> Value {
    json!({ "Owner": "anybody", "Tags": [{ "name": "Action", "value": action }] })
}

fn request(process: &str, action: &str) -> Value {
    json!({ "do": "dry-run", "process": process, "message": message(action) })
}

fn state(node: &Node, process: &str) -> Value {
    let detail = node.json(&["inspect", process, "--state-root"]);
    json!([detail["state_root"], detail["computed"], detail["running"], detail["head"]])
}

/// Check 70 of the reference: nothing of a dry run stays.
#[test]
fn a_dry_run_sees_the_newest_state_and_leaves_it_alone() {
    let node = Node::start();
    let process = node.counter();
    let dry = |extra: &[&str]| node.json(&[&["dry-run", &process, "--action", "Increment"], extra].concat());
    assert_eq!(dry(&[])["result"]["Output"], "1");
    for count in ["1", "2"] {
        let sent = node.json(&["send", &process, "--action", "Increment", "--wait"]);
        assert_eq!(sent["result"]["result"]["Output"], count);
    }
    let before = state(&node, &process);
    for _ in 0..3 {
        let run = dry(&[]);
        assert_eq!((&run["result"]["Output"], &run["position"]["slot"]), (&json!("3"), &json!(2)));
        assert!(run["gas"].as_u64() > Some(0), "{run}");
    }
    assert_eq!(dry(&["--slot", "1"])["result"]["Output"], "2");
    let failed = node.weft(&["dry-run", &process, "--action", "Fail", "--json"]).expect(1).json();
    assert_eq!(failed["result"]["Error"], "counter: failed as asked");
    assert_eq!(state(&node, &process), before);
    assert_eq!(node.json(&["verify", &process])["difference"], Value::Null);
}

#[test]
fn a_message_is_taken_from_a_file_as_json_or_as_an_item() {
    let node = Node::start();
    let process = node.counter();
    let file = node.folder.path().join("message");
    let path = file.to_str().unwrap();
    std::fs::write(&file, message("Increment").to_string()).unwrap();
    assert_eq!(node.json(&["dry-run", &process, "--item", path])["result"]["Output"], "1");
    node.weft(&["item", "sign", "--target", &process, "--tag", "Action=Increment", "-o", path]).expect(0);
    assert_eq!(node.json(&["dry-run", &process, "--item", path])["result"]["Output"], "1");
    std::fs::write(&file, "{}").unwrap();
    let (code, text) = node.weft(&["dry-run", &process, "--item", path, "--json"]).expect(2).error();
    assert!(code == "invalid" && text.contains("`Owner`"), "{code} {text}");
    let (code, text) = node.weft(&["dry-run", &process, "--slot", "9", "--json"]).expect(1).error();
    assert!(code == "unknown" && text.contains("slot 9"), "{code} {text}");
}

#[test]
fn eight_run_beside_each_other_while_messages_go_on() {
    const SENT: u64 = 24;
    let node = Node::start_with(&["--dry-runs", "8"]);
    let process = node.counter();
    let seen = thread::scope(|scope| {
        let runs: Vec<_> = (0..8)
            .map(|_| {
                scope.spawn(|| {
                    let mut seen = Vec::new();
                    until("the newest state to be seen", || {
                        let answer = ask(node.folder.path(), &request(&process, "Increment"));
                        let output = answer["done"]["result"]["Output"].as_str();
                        let count = output.unwrap_or_else(|| panic!("{answer}")).parse::<u64>().unwrap();
                        seen.push(count);
                        if count == SENT + 1 { Ok(()) } else { Err(count.to_string()) }
                    });
                    seen
                })
            })
            .collect();
        for _ in 0..SENT {
            node.json(&["send", &process, "--action", "Increment"]);
        }
        runs.into_iter().map(|run| run.join().unwrap()).collect::<Vec<_>>()
    });
    for counts in seen {
        // Each saw the state as of then: never an older one again, never one of another dry run.
        assert!(
            counts.is_sorted() && counts.iter().all(|count| (1..=SENT + 1).contains(count)),
            "{counts:?}"
        );
    }
    let last = node.json(&["result", &process, "--slot", &SENT.to_string(), "--wait"]);
    assert_eq!(last["result"]["Output"], SENT.to_string());
    assert_eq!(node.json(&["verify", &process])["difference"], Value::Null);
}

#[test]
fn the_operators_ceiling_of_gas_is_named() {
    let node = Node::start_with(&["--dry-run-gas", "1000000000"]);
    let process = node.counter();
    let answer = ask(node.folder.path(), &request(&process, "Loop"));
    let text = answer["error"]["text"].as_str().unwrap_or_default();
    assert!(answer["error"]["code"] == "refused" && text.contains("`dry_run_gas`"), "{answer}");
    assert_eq!(node.json(&["dry-run", &process, "--action", "Increment"])["result"]["Output"], "1");
}

#[test]
fn one_too_many_comes_back_and_those_that_waited_for_too_long_are_told() {
    const PLACES: usize = 32;
    // More gas than any guest uses in the time.
    let flags = ["--dry-runs", "1", "--dry-run-gas", "9000000000000", "--dry-run-ms", "10000"];
    let node = Node::start_with(&flags);
    let process = node.counter();
    node.json(&["result", &process, "--slot", "0", "--wait"]);
    let mut waiting: Vec<_> = (0..=PLACES).map(|_| connect(node.folder.path())).collect();
    for stream in &mut waiting {
        writeln!(stream, "{}", request(&process, "Loop")).unwrap();
    }
    // One of them has the only turn for as long as its gas lasts.
    let sent = node.json(&["send", &process, "--action", "Increment", "--wait"]);
    assert_eq!(sent["result"]["result"]["Output"], "1");
    let codes: Vec<Value> = waiting.iter().map(|stream| reply(stream)["error"]["code"].clone()).collect();
    let count = |code: &str| codes.iter().filter(|&is| is == code).count();
    assert_eq!((count("busy"), count("timed-out")), (1, PLACES), "{codes:?}");
}

#[test]
fn a_run_that_is_over_its_time_gives_its_turn_to_the_next() {
    // More gas than any guest uses in the time; without an end to it the second would time out too.
    let flags = ["--dry-runs", "1", "--dry-run-gas", "9000000000000", "--dry-run-ms", "5000"];
    let node = Node::start_with(&flags);
    let process = node.counter();
    node.json(&["result", &process, "--slot", "0", "--wait"]);
    for slot in [None, Some(0)] {
        let mut endless = request(&process, "Loop");
        if let Some(slot) = slot {
            endless["slot"] = json!(slot);
        }
        let answer = ask(node.folder.path(), &endless);
        assert_eq!(answer["error"]["code"], "timed-out", "{answer}");
        let answer = ask(node.folder.path(), &request(&process, "Increment"));
        assert_eq!(answer["done"]["result"]["Output"], "1", "{answer}");
    }
}
