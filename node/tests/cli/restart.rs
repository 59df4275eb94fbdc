//! A node that comes up with more processes on disk than it takes up at once.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use weft_protocol::lobby::Shard;

use super::full::is_full;
use super::node::{Node, until};

#[path = "../../benches/restart/folder.rs"]
mod folder;

/// More than a role takes up in one turn, or with `WEFT_FULL=1` as many as a node is made for.
fn processes() -> usize {
    if is_full() { 10_000 } else { 150 }
}

#[test]
fn what_lies_on_disk_is_served_at_once_and_left_as_it_was() {
    let data = tempfile::tempdir().unwrap();
    let processes = processes();
    let made = folder::make(data.path(), processes);
    let last = folder::SLOTS - 1;
    let mut node = Node::start_in(data);
    for turn in 1..=2 {
        assert_eq!(node.json(&["status"])["processes"], processes);
        // The newest of them is served as soon as the oldest, and goes on where it stood.
        let (own, foreign) = (made.own[made.own.len() - 1], made.foreign[made.foreign.len() - 1]);
        let sent = node.json(&["send", &own.to_string(), "--action", "Increment", "--wait"]);
        assert_eq!(sent["slot"], last + turn);
        assert_eq!(sent["result"]["result"]["Output"], (last + turn).to_string());
        let slot = last.to_string();
        let result = node.json(&["result", &foreign.to_string(), "--slot", &slot]);
        assert_eq!((&result["computed_here"], &result["result"]["Output"]), (&json!(true), &json!(slot)));
        // What the folder holds is what a node writes: a replay comes to the same outcomes.
        for process in [made.own[0], foreign] {
            let verified = node.json(&["verify", &process.to_string()]);
            assert_eq!((&verified["difference"], &verified["slots"]), (&Value::Null, &json!(folder::SLOTS)));
        }
        node = Node::start_in(node.stop());
    }
    let listed = node.json(&["processes"]);
    let states =
        listed.as_array().unwrap().iter().map(|info| (info["head"].as_u64(), info["fault"].is_null()));
    let (grown, still): (Vec<_>, Vec<_>) = states.partition(|(head, _)| *head != Some(last));
    assert_eq!((grown, still.len()), (vec![(Some(last + 2), true)], processes - 1));
    assert!(still.iter().all(|(_, is_sound)| *is_sound));
    node.stop();
}

/// Killed with as many topics as the issue asks for with `WEFT_FULL=1`, and started again.
#[test]
fn a_killed_node_comes_back_with_all_of_its_topics() {
    let processes = if is_full() { 1_000 } else { 200 };
    let data = tempfile::tempdir().unwrap();
    let made = folder::make(data.path(), processes);
    let node = Node::start_in(data);
    let other = node.start_beside(&[]);
    let own = made.own[made.own.len() - 1].to_string();
    other.json(&["host", &own, "--compute"]);
    // Those of the lobby come beside those of the processes.
    let shards = made.own.iter().chain(&made.foreign).map(Shard::of).collect::<BTreeSet<_>>().len();
    let on_topics = |node: &Node| {
        let peer = node.ready["peer_id"].clone();
        until("its topics", || {
            let peers = other.json(&["peers"]);
            let known = peers.as_array().unwrap().iter().find(|info| info["peer_id"] == peer);
            match known.map(|info| info["topics"].clone()) {
                Some(topics) if topics == processes + shards => Ok(()),
                topics => Err(format!("{topics:?}")),
            }
        });
    };
    on_topics(&node);
    let address = other.ready["listen"][0].as_str().unwrap().to_owned();
    let last = folder::SLOTS - 1;
    let sent = node.json(&["send", &own, "--action", "Increment", "--wait"]);
    assert_eq!(sent["slot"], last + 1);
    let again = Node::start_as(node.killed(), &["--bootstrap", &address]);
    on_topics(&again);
    // What it had said it has, what it says now is heard on the topic, and nothing else was touched.
    let sent = again.json(&["send", &own, "--action", "Increment", "--wait"]);
    assert_eq!(
        (&sent["slot"], &sent["result"]["result"]["Output"]),
        (&json!(last + 2), &json!((last + 2).to_string()))
    );
    until("the new slot elsewhere", || match &other.json(&["inspect", &own])["computed"]["slot"] {
        slot if *slot == last + 2 => Ok(()),
        slot => Err(slot.to_string()),
    });
    let listed = again.json(&["processes"]);
    let listed = listed.as_array().unwrap();
    let is_sound = |info: &Value| {
        let wanted = if info["process"] == own { last + 2 } else { last };
        info["head"] == wanted && info["fault"].is_null()
    };
    assert_eq!((listed.len(), listed.iter().filter(|info| is_sound(info)).count()), (processes, processes));
    again.stop();
    other.stop();
}
