//! The node's place in the network as a person sees it: peers, providers, the doctor, and networks of
//! one's own.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::node::Node;
use super::weft;

/// Asks until the answer is right. The machine may be busy with other builds.
fn until(what: &str, mut ask: impl FnMut() -> Option<Value>) -> Value {
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        if let Some(value) = ask() {
            return value;
        }
        assert!(Instant::now() < deadline, "waited for {what}");
        // tidy-allow(sleep): another program is asked again; nothing here is told when it is ready.
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn state<'a>(doctor: &'a Value, name: &str) -> &'a str {
    let checks = doctor["checks"].as_array().unwrap();
    checks.iter().find(|check| check["name"] == name).unwrap()["state"].as_str().unwrap()
}

#[test]
fn a_node_shows_its_peers_and_who_serves_a_process_and_how_it_fares() {
    let alone = Node::start();
    let doctor = alone.weft(&["net", "doctor", "--json"]).expect(1).json();
    assert_eq!((state(&doctor, "peers"), state(&doctor, "ports")), ("bad", "good"));
    let process = alone.counter();
    alone.json(&["send", &process, "--action", "Increment"]);
    // Nobody else serves it, which is no failure of the command.
    assert_eq!(alone.weft(&["providers", &process, "--json"]).expect(1).json(), json!([]));

    let other = alone.start_beside(&[]);
    let address = &alone.ready["address"];
    let peers = until("a round trip", || {
        let peers = other.json(&["peers"]);
        peers[0]["round_trip_ms"].is_number().then_some(peers)
    });
    assert_eq!(&peers[0]["address"], address);
    assert_eq!((&peers[0]["relayed"], &peers[0]["outbound"]), (&json!(false), &json!(true)));
    assert!(peers[0]["agent"].as_str().unwrap().starts_with("weft/"));
    let providers = other.json(&["providers", &process]);
    assert_eq!((&providers[0]["address"], &providers[0]["head"]), (address, &json!(1)));
    assert!(providers[0]["found"].as_array().unwrap().contains(&json!("scheduler")), "{providers}");
    let doctor = other.json(&["net", "doctor"]);
    for check in ["ports", "peers", "reach", "relays", "direct", "topics", "book", "clock"] {
        assert_eq!(state(&doctor, check), "good", "{doctor}");
    }
    let human = String::from_utf8(other.weft(&["net", "doctor"]).expect(0).out).unwrap();
    assert!(human.contains("CHECK") && human.contains("reach"), "{human}");
}

/// What a node wrote down of its peers is enough to find them again.
#[test]
fn a_node_that_starts_again_finds_its_peers_by_its_book() {
    let stays = Node::start();
    let goes = stays.start_beside(&[]);
    let back = Node::start_in(goes.stop());
    assert!(back.folder.path().join("peers.json").exists());
    until("the way back", || (back.json(&["status"])["peers"] == 1).then_some(Value::Null));
}

#[test]
fn a_network_of_ones_own_is_joined_by_its_file() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("own.toml");
    let file = file.to_str().unwrap();
    let made = weft(folder.path(), &["network", "init", "team", "-o", file, "--json"]).expect(0).json();
    let name = made["network"].as_str().unwrap();
    assert!(name.starts_with("team-") && name.len() == 13, "{name}");
    // Another of the same name is another network, and no file is overwritten.
    let again = weft(folder.path(), &["network", "init", "team", "-o", file]).expect(2);
    assert!(again.err.contains("cannot write"), "{}", again.err);
    for bad in ["", "Team", "team-2", "muchtoolong"] {
        weft(folder.path(), &["network", "init", bad]).expect(2);
    }
    let data = tempfile::tempdir().unwrap();
    weft(data.path(), &["network", "join", file]).expect(0);
    let shown = weft(data.path(), &["network", "show", "--json"]).expect(0).json();
    assert_eq!((&shown["network"], &shown["id"]), (&made["network"], &made["id"]));
    let node = Node::start_in(data);
    assert_eq!(node.ready["network"], made["network"]);
    // A node of another network does not stay: one of both sees it first, and leaves.
    let address = node.ready["listen"][0].as_str().unwrap();
    let foreign = Node::start_with(&["--bootstrap", address]);
    let partings = |node: &Node| {
        let text = node.weft(&["metrics", "--json"]).expect(0).json();
        text["weft_network_events_total{event=\"foreign_peers\"}"].as_f64().unwrap()
    };
    until("the parting", || (partings(&node) + partings(&foreign) > 0.0).then_some(Value::Null));
    assert_eq!(node.json(&["status"])["peers"], 0);
    // A file that was changed by hand is refused.
    let changed = std::fs::read_to_string(file).unwrap().replace("team-", "teem-");
    std::fs::write(file, changed).unwrap();
    let refused = weft(folder.path(), &["network", "join", file]).expect(2);
    assert!(refused.err.contains("`id`"), "{}", refused.err);
}

/// A node that may be on no topic at all hears of slots by asking, at once and not at the next audit.
#[test]
fn a_node_without_topics_follows_by_asking() {
    let scheduler = Node::start();
    let process = scheduler.counter();
    let reader = scheduler.start_beside(&["--topics", "0"]);
    let hosted = reader.json(&["host", &process, "--compute"]);
    assert_eq!(hosted["duties"], json!(["compute", "watch"]));
    for count in 1..=20 {
        let sent = scheduler.json(&["send", &process, "--action", "Increment"]);
        let result = reader.json(&["result", &process, sent["id"].as_str().unwrap(), "--wait"]);
        assert_eq!(result["result"]["Output"], count.to_string());
        assert_eq!(result["computed_here"], true);
    }
    let topics = |node: &Node| node.weft(&["metrics", "--json"]).expect(0).json();
    let joined = "weft_queue_length{role=\"network\",queue=\"topics\"}";
    assert_eq!(topics(&reader)[joined].as_f64(), Some(0.0));
    assert_eq!(topics(&scheduler)[joined].as_f64(), Some(1.0));
    let events = topics(&scheduler);
    let gossiped = events["weft_network_events_total{event=\"published\"}"].as_f64().unwrap();
    assert!(gossiped == 0.0, "nobody was there to hear it: {gossiped}");
}

/// A log that nobody adds to looks like one that is kept from us; that nobody answers is told.
#[test]
fn a_watcher_is_told_when_nobody_says_any_more_where_the_log_ends() {
    let scheduler = Node::start();
    let process = scheduler.counter();
    let reader = scheduler.start_beside(&[]);
    let mut watch = std::process::Command::new(env!("CARGO_BIN_EXE_weft"))
        .args(["watch", &process, "--from", "0", "--json"])
        .env_clear()
        .env("WEFT_DATA_DIR", reader.folder.path())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let lines = std::io::BufRead::lines(std::io::BufReader::new(watch.stdout.take().unwrap()));
    let mut events = lines.map(|line| serde_json::from_str::<Value>(&line.unwrap()).unwrap());
    let first = events.next().unwrap();
    assert_eq!((&first["kind"], &first["slot"]), (&json!("slot"), &json!(0)));
    scheduler.stop();
    let told = events.find(|event| event["kind"] == "freshness").unwrap();
    assert_eq!((&told["stale"], &told["as_of"]), (&json!(true), &first["timestamp"]));
    watch.kill().unwrap();
    watch.wait().unwrap();
}
