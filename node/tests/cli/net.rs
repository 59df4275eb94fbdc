//! The node's place in the network as a person sees it: peers, providers, the doctor, and networks of
//! one's own.

use std::os::unix::fs::PermissionsExt as _;

use serde_json::{Value, json};
use weft_protocol::Network;

use super::node::{Node, until, until_is};
use super::watch::Watch;
use super::{weft, weft_with};

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
    assert_eq!(alone.json(&["providers", &process]), json!([]));

    let other = alone.start_beside(&[]);
    let address = &alone.ready["address"];
    let peers = until("a round trip", || {
        let peers = other.json(&["peers"]);
        if peers[0]["round_trip_ms"].is_number() { Ok(peers) } else { Err(peers.to_string()) }
    });
    assert_eq!(&peers[0]["address"], address);
    assert_eq!((&peers[0]["relayed"], &peers[0]["outbound"]), (&json!(false), &json!(true)));
    assert!(peers[0]["agent"].as_str().unwrap().starts_with("weft/"));
    let providers = other.json(&["providers", &process]);
    assert_eq!((&providers[0]["address"], &providers[0]["head"]), (address, &json!(1)));
    assert!(providers[0]["found"].as_array().unwrap().contains(&json!("scheduler")), "{providers}");
    let doctor = other.json(&["net", "doctor"]);
    for check in ["ports", "peers", "reach", "relays", "direct", "topics", "lobby", "book", "clock"] {
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
    until_is("the way back", &json!(1), || back.json(&["status"])["peers"].clone());
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
    until_is("the parting", &json!(true), || json!(partings(&node) + partings(&foreign) > 0.0));
    until_is("nobody is left", &json!(0), || node.json(&["status"])["peers"].clone());
    // A file that was changed by hand is refused.
    let changed = std::fs::read_to_string(file).unwrap().replace("team-", "teem-");
    std::fs::write(file, changed).unwrap();
    let refused = weft(folder.path(), &["network", "join", file]).expect(2);
    assert!(refused.err.contains("`id`"), "{}", refused.err);
}

/// What a folder's file says of its network may be said nowhere else.
#[test]
fn a_folder_with_a_store_stays_in_its_network() {
    let folder = tempfile::tempdir().unwrap();
    let init = |name: &str, more: &[&str]| {
        let file = folder.path().join(format!("{name}.toml")).to_str().unwrap().to_owned();
        let made = weft(folder.path(), &[&["network", "init", name, "-o", &file, "--json"], more].concat());
        (made.expect(0).json()["network"].as_str().unwrap().to_owned(), file)
    };
    let ((one, file), (two, other)) = (init("one", &[]), init("two", &[]));
    let data = tempfile::tempdir().unwrap();
    let joined = data.path().join("network.toml");
    weft(data.path(), &["network", "join", &file]).expect(0);
    // Before there is a store any network will do.
    weft(data.path(), &["network", "join", &other]).expect(0);
    weft(data.path(), &["network", "join", &file]).expect(0);
    let data = Node::start_in(data).stop();
    let before = std::fs::read_to_string(&joined).unwrap();
    let refused = weft(data.path(), &["network", "join", &other]).expect(1);
    assert!(refused.err.contains(&one) && refused.err.contains(&two), "{}", refused.err);
    assert_eq!(std::fs::read_to_string(&joined).unwrap(), before);
    // The same network by other peers is no other network.
    let peer = "/ip4/192.0.2.1/tcp/1/p2p/12D3KooWDpJ7As7BWAwRMfu1VU2WCqNjvq387JEYKDBj4kx6nXTN";
    let newer = before.replace("bootstrap = []", &format!("bootstrap = [\"{peer}\"]"));
    assert_ne!(newer, before);
    std::fs::write(&file, &newer).unwrap();
    weft(data.path(), &["network", "join", &file]).expect(0);
    assert_eq!(std::fs::read_to_string(&joined).unwrap(), newer);
    let names = std::fs::read_dir(data.path()).unwrap().map(|entry| entry.unwrap().file_name());
    assert!(names.into_iter().all(|name| !name.to_str().unwrap().ends_with(".part")));
    // The store itself says which that is, where nothing else does any more or something else does.
    let refused = |env: &[(&str, &str)]| {
        let before = std::fs::read(&joined).ok();
        let refused = weft_with(data.path(), &["network", "join", &other], env, &[]).expect(1);
        assert_eq!(std::fs::read(&joined).ok(), before);
        refused.err
    };
    std::fs::remove_file(&joined).unwrap();
    let id = Network::of_name(&one).to_string();
    assert!(refused(&[]).contains(&format!("belongs to network {id} ")), "{}", refused(&[]));
    weft(data.path(), &["network", "join", &file]).expect(0);
    std::fs::write(&joined, "network = ").unwrap();
    refused(&[]);
    weft(data.path(), &["network", "join", &file]).expect(0);
    assert_eq!(std::fs::read_to_string(&joined).unwrap(), newer);
    assert!(refused(&[("WEFT_NETWORK", &two)]).contains(&one));
    // While a node has the store, the file says it.
    let node = Node::start_in(data);
    let refused = node.weft(&["network", "join", &other]).expect(1);
    assert!(refused.err.contains(&one), "{}", refused.err);
    node.weft(&["network", "join", &file]).expect(0);
    // Where no file does, nobody knows, and the next start would fail.
    std::fs::remove_file(&joined).unwrap();
    let refused = node.weft(&["network", "join", &other]).expect(5);
    assert!(refused.err.contains("weft stop") && !joined.exists(), "{}", refused.err);
    let data = node.stop();
    // That start names the network as its operator does, and where that stands.
    std::fs::copy(&other, &joined).unwrap();
    let refused = weft(data.path(), &["up", "--listen", "/ip4/127.0.0.1/tcp/0"]).expect(2);
    let place = joined.display().to_string();
    assert!([&id, &two, &place].iter().all(|part| refused.err.contains(*part)), "{}", refused.err);
}

#[test]
fn a_folder_that_joining_makes_is_for_its_user_and_what_its_owner_said_wins() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("own.toml");
    let file = file.to_str().unwrap();
    let made = weft(folder.path(), &["network", "init", "team", "-o", file, "--json"]).expect(0).json();
    let data = folder.path().join("new/data");
    let joined = weft(&data, &["network", "join", file]).expect(0);
    assert!(!joined.err.contains("warning"), "{}", joined.err);
    let mode = std::fs::metadata(&data).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o700);
    std::fs::write(data.join("weft.toml"), "network = \"mine-own\"").unwrap();
    let joined = weft(&data, &["network", "join", file]).expect(0);
    assert!(joined.err.contains("says network mine-own, which wins"), "{}", joined.err);
    let shown = weft(&data, &["network", "show", "--json"]).expect(0).json();
    assert_eq!(shown["network"], "mine-own");
    assert_ne!(shown["network"], made["network"]);
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
    let watch = Watch::start(&reader, &process, 0);
    let first = watch.until("slot 0", |event| event["kind"] == "slot" && event["slot"] == 0);
    let folder = scheduler.stop();
    let told = watch.until("nobody says", |event| event["kind"] == "freshness");
    assert_eq!((&told["stale"], &told["as_of"]), (&json!(true), &first["timestamp"]));
    // The reader knows where it was, and hears that it is there again.
    let scheduler = reader.join_as(folder, &[]);
    let told = watch.until("somebody says", |event| event["kind"] == "freshness");
    assert_eq!(told["stale"], false, "{told}");
    scheduler.stop();
}
