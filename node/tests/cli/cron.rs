//! Time that passes in a process while nobody sends it anything.

use serde_json::{Value, json};

use super::node::{Node, until};
use super::watch::Watch;

/// A counter with a tick a second on this node.
fn clock(node: &Node) -> String {
    let module = node.add_counter();
    let tags = ["--tag", "Cron-Interval=1-second", "--tag", "Cron-Tag-Action=Increment"];
    let spawned = node.json(&[&["spawn", "--module", &module][..], &tags].concat());
    spawned["id"].as_str().unwrap().to_owned()
}

/// What ran last as of now, once that is a tick.
fn tick(node: &Node, process: &str) -> Value {
    until("a tick", || match node.json(&["result", process, "--now"]) {
        now if now["position"]["tick"].as_u64().unwrap() > 0 => Ok(now),
        now => Err(now.to_string()),
    })
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
    let watch = Watch::start(&keeper, &process, 0);
    let info = keeper.json(&["cron", &process]);
    assert!(info["duties"].as_array().unwrap().contains(&json!("cron")), "{info}");
    for count in ["1", "2", "3"] {
        let is_tick = |event: &Value| event["kind"] == "outcome" && event["position"]["tick"] != 0;
        assert_eq!(watch.until("a tick", is_tick)["output"], count);
    }
    let info = keeper.json(&["cron", &process, "--off"]);
    assert!(!info["duties"].as_array().unwrap().contains(&json!("cron")), "{info}");
}

/// The ticks that are due between two slots by RULES.md 6.6, each as the action of its message: blocks
/// as they come, in a second before all else, then what is due more often.
fn due(first: (u64, u64), second: (u64, u64)) -> Vec<&'static str> {
    let ((t1, h1), (t2, h2)) = (first, second);
    let mut due = Vec::new();
    for k in 1..=h2 - h1 {
        due.push(((t1 + k * (t2 - t1) / (h2 - h1 + 1)) / 1000, 0, "Relay"));
    }
    for s in t1 / 1000 + 1..t2.div_ceil(1000) {
        let passed = s - t1 / 1000;
        due.extend(
            [(5, "Count"), (7, "Increment")]
                .into_iter()
                .filter_map(|(every, action)| passed.is_multiple_of(every).then_some((s, every, action))),
        );
    }
    due.sort_unstable();
    due.into_iter().map(|(_, _, action)| action).collect()
}

/// The actions of a page of ticks, told by what they did.
fn ran(page: &Value) -> Vec<&'static str> {
    let mut count = 0;
    let told = |tick: &Value| {
        let before = std::mem::replace(&mut count, tick["Output"].as_str().unwrap().parse().unwrap());
        match (tick["Messages"].as_array().unwrap().len(), count - before) {
            (1, 0) => "Relay",
            (0, 1) => "Increment",
            (0, 0) => "Count",
            _ => panic!("{tick}"),
        }
    };
    page["edges"].as_array().unwrap().iter().map(|edge| &edge["node"]).map(told).collect()
}

/// Clocks say when a slot is made and nothing else: what falls due follows from the log.
#[test]
fn nodes_with_different_clocks_run_the_same_crons_in_the_same_order() {
    /// Two blocks of the clock at least.
    const JUMP_MS: i64 = 250_000;
    let scheduler = Node::start();
    let module = scheduler.add_counter();
    let crons = ["7-seconds", "Increment", "1-block", "Relay", "5-seconds", "Count"];
    let tags = crons.chunks(2).flat_map(|cron| {
        let (every, action) = (format!("Cron-Interval={}", cron[0]), format!("Cron-Tag-Action={}", cron[1]));
        ["--tag".to_owned(), every, "--tag".to_owned(), action]
    });
    // What a relay sends goes to nobody.
    let me = format!("Cron-Tag-To={}", scheduler.ready["address"].as_str().unwrap());
    let mut tags: Vec<String> = tags.collect();
    tags.splice(8..8, ["--tag".to_owned(), me]);
    let tags: Vec<&str> = tags.iter().map(String::as_str).collect();
    let spawned = scheduler.json(&[&["spawn", "--module", &module][..], &tags].concat());
    let process = spawned["id"].as_str().unwrap();
    // The same scheduler, some minutes later.
    let clock = |ms: i64| format!("--clock-offset-ms={ms}");
    let scheduler = Node::start_as(scheduler.stop(), &[&clock(JUMP_MS)]);
    // One is behind by less than slots may be ahead, one is far ahead.
    let peers = [JUMP_MS - 7_000, JUMP_MS + 3_600_000].map(|ms| {
        let peer = scheduler.start_beside(&[&clock(ms)]);
        peer.json(&["host", process, "--compute"]);
        peer
    });
    let sent = scheduler.json(&["send", process, "--action", "Count", "--wait"]);
    assert_eq!(sent["slot"], 1);
    let slots = scheduler.json(&["inspect", process, "--slots", "0..2"])["slots"].clone();
    let time = |slot: usize| {
        let timestamp = slots[slot]["timestamp"].as_u64().unwrap_or_else(|| panic!("{slots}"));
        // The weave `clock`: RULES.md 6.5.
        (timestamp, timestamp / 120_000)
    };
    let due = due(time(0), time(1));
    assert!(due.iter().filter(|action| **action == "Relay").count() >= 2, "{due:?}");
    let mut all = vec![scheduler];
    all.extend(peers);
    let mut states = Vec::new();
    for node in &all {
        node.json(&["result", process, "--slot", "1", "--wait"]);
        let page = node.json(&["results", process, "--crons", "--limit", "1000"]);
        assert_eq!(ran(&page), due);
        states.push(node.json(&["state", process, "--slot", "1"])["state_root"].clone());
        assert_eq!(node.json(&["verify", process])["difference"], Value::Null);
    }
    assert!(states[0].is_string() && states.iter().all(|state| *state == states[0]), "{states:?}");
}
