//! A node that comes up with more processes on disk than it takes up at once.

use serde_json::{Value, json};

use super::node::Node;

#[path = "../../benches/restart/folder.rs"]
mod folder;

/// More than a role takes up in one turn.
const PROCESSES: usize = 150;

#[test]
fn what_lies_on_disk_is_served_at_once_and_left_as_it_was() {
    let data = tempfile::tempdir().unwrap();
    let made = folder::make(data.path(), PROCESSES);
    let last = folder::SLOTS - 1;
    let mut node = Node::start_in(data);
    for turn in 1..=2 {
        assert_eq!(node.json(&["status"])["processes"], PROCESSES);
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
    assert_eq!((grown, still.len()), (vec![(Some(last + 2), true)], PROCESSES - 1));
    assert!(still.iter().all(|(_, is_sound)| *is_sound));
    node.stop();
}
