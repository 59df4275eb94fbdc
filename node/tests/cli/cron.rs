//! Time that passes in a process while nobody sends it anything.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::node::Node;

/// How long ticks of a second may take to show.
const WAIT: Duration = Duration::from_secs(60);

/// A counter with a tick a second on this node.
fn clock(node: &Node) -> String {
    let module = node.add_counter();
    let tags = ["--tag", "Cron-Interval=1-second", "--tag", "Cron-Tag-Action=Increment"];
    let spawned = node.json(&[&["spawn", "--module", &module][..], &tags].concat());
    spawned["id"].as_str().unwrap().to_owned()
}

/// What ran last as of now, once that is a tick.
fn tick(node: &Node, process: &str) -> Value {
    let deadline = Instant::now() + WAIT;
    loop {
        let now = node.json(&["result", process, "--now"]);
        if now["position"]["tick"].as_u64().unwrap() > 0 {
            return now;
        }
        assert!(Instant::now() < deadline, "no tick: {now}");
    }
}

#[test]
fn a_reader_of_now_makes_due_ticks_run() {
    let node = Node::start();
    let process = clock(&node);
    let first = tick(&node, &process);
    let count: u64 = first["result"]["Output"].as_str().unwrap().parse().unwrap();
    assert!(count > 0, "{first}");
    let head = node.json(&["processes"])[0]["head"].as_u64().unwrap();
    let slots = node.json(&["inspect", &process, "--slots", &head.to_string()]);
    assert_eq!(slots["slots"][0]["action"], "Mark", "{slots}");
    // A message is answered after the ticks before it, and verify replays them.
    let sent = node.json(&["send", &process, "--action", "Increment", "--wait"]);
    let after: u64 = sent["result"]["result"]["Output"].as_str().unwrap().parse().unwrap();
    assert!(after > count, "{sent}");
    let verified = node.json(&["verify", &process]);
    assert_eq!(verified["difference"], Value::Null);
    assert!(verified["positions"].as_u64() > verified["slots"].as_u64(), "{verified}");
    // A process without crons has no use for it.
    let plain = node.counter();
    assert_eq!(node.json(&["result", &plain, "--now"])["position"]["slot"], 0);
    let (code, text) = node.weft(&["cron", &plain, "--json"]).expect(1).error();
    assert_eq!(code, "refused", "{text}");
}

/// Check 58 and those around it: a page of crons runs what is due, and shows ticks alone.
#[test]
fn a_page_of_crons_evaluates_and_a_page_of_results_goes_on_from_its_cursor() {
    let node = Node::start();
    let process = clock(&node);
    tick(&node, &process);
    let crons = node.json(&["results", &process, "--crons", "--now"]);
    let edges = crons["edges"].as_array().unwrap();
    assert!(!edges.is_empty() && crons["pageInfo"]["hasNextPage"] == false, "{crons}");
    let outputs = |edges: &[Value]| -> Vec<String> {
        edges.iter().map(|edge| edge["node"]["Output"].as_str().unwrap().to_owned()).collect()
    };
    let counted: Vec<String> = (1..=edges.len()).map(|count| count.to_string()).collect();
    assert_eq!(outputs(edges), counted);
    let cursor = edges[0]["cursor"].as_str().unwrap();
    let rest = node.json(&[
        "results",
        &process,
        "--from",
        cursor,
        "--to",
        edges.last().unwrap()["cursor"].as_str().unwrap(),
    ]);
    assert_eq!(outputs(rest["edges"].as_array().unwrap()), counted[1..]);
    let newest = node.json(&["results", &process, "--sort", "DESC", "--limit", "1"]);
    assert_eq!(newest["edges"].as_array().unwrap().len(), 1);
    let (code, text) = node.weft(&["results", &process, "--from", "x", "--json"]).expect(2).error();
    assert!(code == "invalid" && text.contains("`from`"), "{code} {text}");
}

/// Another node than the scheduler's subscribes, and asks it.
#[test]
fn a_subscription_lets_time_pass_from_afar() {
    let scheduler = Node::start();
    let process = clock(&scheduler);
    let keeper = scheduler.start_beside(&[]);
    keeper.json(&["host", &process, "--compute"]);
    let mut watch = Command::new(env!("CARGO_BIN_EXE_weft"))
        .args(["watch", &process, "--from", "0", "--json"])
        .env_clear()
        .env("WEFT_DATA_DIR", keeper.folder.path())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let info = keeper.json(&["cron", &process]);
    assert!(info["duties"].as_array().unwrap().contains(&json!("cron")), "{info}");
    let lines = BufReader::new(watch.stdout.take().unwrap()).lines();
    let events = lines.map(|line| serde_json::from_str::<Value>(&line.unwrap()).unwrap());
    let ticks = events.filter(|event| event["kind"] == "outcome" && event["position"]["tick"] != 0);
    let counts: Vec<String> = ticks.take(3).map(|tick| tick["output"].as_str().unwrap().into()).collect();
    assert_eq!(counts, ["1", "2", "3"]);
    watch.kill().unwrap();
    watch.wait().unwrap();
    let info = keeper.json(&["cron", &process, "--off"]);
    assert!(!info["duties"].as_array().unwrap().contains(&json!("cron")), "{info}");
}
