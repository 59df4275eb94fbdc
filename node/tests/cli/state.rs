//! Going back to old states on a real node: from checkpoints and from slot 0, beside the process.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::time::Instant;

use serde_json::{Value, json};

use super::node::Node;
use super::socket::{ask, connect};

fn request(process: &str, slot: u64) -> Value {
    json!({ "do": "state", "process": process, "slot": slot })
}

/// Asks, and gives where the answer comes from.
fn asked(node: &Node, request: &Value) -> BufReader<UnixStream> {
    let mut stream = connect(node.folder.path());
    writeln!(stream, "{request}").unwrap();
    BufReader::new(stream)
}

fn next(lines: &mut BufReader<UnixStream>) -> Value {
    let mut line = String::new();
    lines.read_line(&mut line).unwrap();
    serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line:?}"))
}

/// The last line of an answer.
fn end(lines: &mut BufReader<UnixStream>) -> Value {
    loop {
        let line = next(lines);
        if line.get("event").is_none() {
            return line;
        }
    }
}

/// Endless messages of one process: not quite as much gas in all as a checkpoint is due for, so that
/// going back takes some seconds, and each a small part of them.
const LOOPS: u64 = 10;

/// A process that ran them.
fn looped(node: &Node) -> String {
    let module = node.add_counter();
    let spawned = node.json(&["spawn", "--module", &module, "--tag", "Compute-Limit=190000000000"]);
    let process = spawned["id"].as_str().unwrap().to_owned();
    for _ in 0..LOOPS {
        node.json(&["send", &process, "--action", "Loop"]);
    }
    node.weft(&["result", &process, "--slot", &LOOPS.to_string(), "--wait", "--json"]).expect(1);
    process
}

/// Replays that have their turn now.
fn running(node: &Node) -> u64 {
    let asked = ask(node.folder.path(), &json!({ "do": "top" }));
    let levels = asked["done"]["levels"].as_array().unwrap_or_else(|| panic!("{asked}"));
    let runs = levels.iter().find(|level| level["role"] == "replay" && level["name"] == "runs");
    runs.unwrap()["used"].as_u64().unwrap()
}

/// The bytes of the memory after a slot, and what is said of it.
fn memory(node: &Node, process: &str, slot: &[&str]) -> (Vec<u8>, Value) {
    let file = node.folder.path().join("memory");
    let out = ["state", process, "--out", file.to_str().unwrap()];
    let told = node.json(&[&out, slot].concat());
    let bytes = std::fs::read(&file).unwrap();
    assert_eq!(told["memory_bytes"], bytes.len());
    (bytes, told)
}

#[test]
fn every_slot_gives_the_state_that_was_there() {
    const SLOTS: u64 = 13;
    let node = Node::start_with(&["--checkpoint-slots", "5"]);
    let process = node.counter();
    let mut were = Vec::new();
    for slot in 0..=SLOTS {
        if slot > 0 {
            node.json(&["send", &process, "--action", "Increment", "--wait"]);
        }
        let (bytes, told) = memory(&node, &process, &[]);
        assert_eq!((&told["position"]["slot"], &told["replayed"]), (&json!(slot), &json!(0)));
        assert_eq!(told["state_root"], node.json(&["inspect", &process, "--state-root"])["state_root"]);
        were.push((bytes, told));
    }
    assert!(were.windows(2).all(|pair| pair[0].1["state_root"] != pair[1].1["state_root"]));
    let mut replayed = Vec::new();
    for (slot, (bytes, told)) in were.iter().enumerate() {
        let (old_bytes, old) = memory(&node, &process, &["--slot", &slot.to_string()]);
        assert!(old_bytes == *bytes, "slot {slot} has another memory");
        for name in ["state_root", "memory_root", "seen_root", "running", "position"] {
            assert_eq!(old[name], told[name], "slot {slot}");
        }
        replayed.push(old["replayed"].as_u64().unwrap());
    }
    // Slot 0 to 4 are replayed from the start, then from the checkpoints after slots 4 and 9.
    assert_eq!(replayed, [1, 2, 3, 4, 0, 1, 2, 3, 4, 0, 1, 2, 3, 4]);
    let piped = node.weft(&["state", &process, "--slot", "3", "--out", "-"]).expect(0);
    assert!(piped.out == were[3].0);
    let human = node.weft(&["state", &process, "--slot", "3"]).expect(0);
    assert!(human.text().contains(were[3].1["state_root"].as_str().unwrap()), "{}", human.text());
    assert_eq!(std::fs::read_dir(node.folder.path()).unwrap().filter(is_unfinished).count(), 0);
    node.stop();
}

fn is_unfinished(entry: &std::io::Result<std::fs::DirEntry>) -> bool {
    entry.as_ref().unwrap().file_name().to_string_lossy().ends_with(".tmp")
}

#[test]
fn what_cannot_be_shown_is_said_and_nothing_is_left_behind() {
    let node = Node::start_with(&["--replay-gas", "1"]);
    let process = node.counter();
    node.json(&["send", &process, "--action", "Increment", "--wait"]);
    let file = node.folder.path().join("out");
    let out = file.to_str().unwrap();
    let fails = |args: &[&str], exit: i32| {
        node.weft(&[&["state", &process, "--json", "--out", out], args].concat()).expect(exit).error()
    };
    let (code, text) = fails(&["--slot", "2"], 1);
    assert!(code == "unknown" && text.contains("slot 2"), "{code} {text}");
    let (code, text) = fails(&["--slot", "1"], 1);
    assert!(code == "refused" && text.contains("`replay_gas`"), "{code} {text}");
    let (code, text) = node.weft(&["state", &process, "--json", "--out", "-"]).expect(2).error();
    assert!(code == "input" && text.contains("standard output"), "{code} {text}");
    let (code, text) = node.weft(&["state", &process, "--json", "--out", "/no/such/file"]).expect(2).error();
    assert!(code == "input" && text.contains("/no/such/file"), "{code} {text}");
    assert!(!file.exists());
    assert_eq!(std::fs::read_dir(node.folder.path()).unwrap().filter(is_unfinished).count(), 0);
    // The newest state is there without a replay.
    node.weft(&["state", &process, "--out", out]).expect(0);
    assert!(file.exists());
}

#[test]
fn a_replay_runs_beside_the_process_and_ends_with_its_client() {
    let node = Node::start_with(&["--replays", "1"]);
    let process = looped(&node);
    let began = Instant::now();
    let whole = end(&mut asked(&node, &request(&process, LOOPS)));
    let takes = began.elapsed();
    assert_eq!(whole["done"]["replayed"], LOOPS + 1, "{whole}");
    let mut first = asked(&node, &request(&process, LOOPS));
    let event = next(&mut first);
    assert!(event["event"]["replayed"]["done"].as_u64() < Some(LOOPS), "{event}");
    // The process goes on meanwhile.
    let sent = node.json(&["send", &process, "--action", "Increment", "--wait"]);
    assert_eq!(sent["result"]["result"]["Output"], "1");
    assert_eq!(running(&node), 1, "the replay was over before the message was evaluated");
    // Its turn is free soon after its client is gone: after the message that runs, not after all.
    drop(first);
    let left = Instant::now();
    while running(&node) > 0 {
        assert!(left.elapsed() < takes / 2, "it goes on for nobody; a whole one takes {takes:?}");
    }
    let state = end(&mut asked(&node, &request(&process, 0)));
    assert_eq!(state["done"]["position"]["slot"], 0, "{state}");
}

#[test]
fn one_too_many_comes_back_and_those_that_waited_for_too_long_are_told() {
    const PLACES: usize = 16;
    let node = Node::start_with(&["--replays", "1"]);
    let process = looped(&node);
    let began = Instant::now();
    end(&mut asked(&node, &request(&process, LOOPS)));
    // A third of what one replay takes; in a new folder, as a node that stops takes a checkpoint.
    let wait = (began.elapsed() / 3).as_millis().to_string();
    drop(node);
    let node = Node::start_with(&["--replays", "1", "--replay-ms", &wait]);
    let process = looped(&node);
    let mut waiting: Vec<_> = (0..=PLACES).map(|_| asked(&node, &request(&process, LOOPS))).collect();
    let codes: Vec<Value> = waiting.iter_mut().map(|lines| end(lines)["error"]["code"].clone()).collect();
    let count = |code: &str| codes.iter().filter(|&is| is == code).count();
    assert_eq!((count("busy"), count("timed-out")), (1, PLACES), "{codes:?}");
}
