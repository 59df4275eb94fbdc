//! What a node does when its disk budget is used up.

use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use serde_json::json;

use super::node::Node;
use super::weft;

/// Bytes of one message.
const DATA_BYTES: usize = 3 << 20;
const BUDGET: u64 = 64 << 20;

/// What a folder takes of the disk, as `du` counts.
fn taken(folder: &Path) -> u64 {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap());
    let sizes = entries.filter_map(|entry| {
        let found = entry.metadata().ok()?;
        Some(if found.is_dir() { taken(&entry.path()) } else { found.blocks() * 512 })
    });
    sizes.sum()
}

#[test]
fn a_used_up_budget_refuses_new_work_and_loses_nothing() {
    let node = Node::start_with(&["--disk-budget", "64mb"]);
    let process = node.counter();
    let other = node.counter();
    let data = node.folder.path().with_extension("data");
    std::fs::write(&data, vec![b'x'; DATA_BYTES]).unwrap();
    let data = format!("@{}", data.display());
    let mut slots = 0;
    let refused = loop {
        let sent = node.weft(&["send", &process, "--action", "Increment", "--data", &data, "--json"]);
        assert!(taken(node.folder.path()) <= BUDGET);
        match sent.code {
            0 => slots += 1,
            _ => break sent,
        }
        assert!(slots < 20, "the budget holds no one back");
    };
    let (code, text) = refused.expect(5).error();
    assert!(code == "full" && text.contains("disk budget is used up"), "{code} {text}");
    assert!(slots >= 3, "{slots} messages were taken");
    std::fs::remove_file(data.trim_start_matches('@')).unwrap();
    // All that was taken is there and is computed, reading goes on, and the node says how it is.
    let slot = slots.to_string();
    let newest = node.json(&["result", &process, "--slot", &slot, "--wait"]);
    assert_eq!(newest["result"]["Output"], json!(slot));
    assert_eq!(node.json(&["verify", &process])["difference"], json!(null));
    let room = &node.json(&["status"])["room"];
    assert_eq!((&room["budget_bytes"], room["is_full"].is_boolean()), (&json!(BUDGET), true), "{room}");
    assert!(room["used_bytes"].as_u64().unwrap() > BUDGET / 4, "{room}");
    // What brings no room and needs some is refused too, what gives duties back is not.
    node.json(&["pin", &other, "--off"]);
    assert!(taken(node.folder.path()) <= BUDGET);
    let (_, why) = node.weft(&["prune", "--compact", "--json"]).expect(1).error();
    assert!(why.contains("in use by another node"), "{why}");
    let folder = node.stop();
    assert!(taken(folder.path()) <= BUDGET);
    let compacted = weft(folder.path(), &["prune", "--compact", "--json"]).expect(0).json();
    let (before, after) = (&compacted["before_bytes"], &compacted["after_bytes"]);
    assert!(after.as_u64().unwrap() > 0 && after.as_u64() <= before.as_u64(), "{compacted}");
    let node = Node::start_as(folder, &["--disk-budget", "10gb"]);
    let sent = node.json(&["send", &process, "--action", "Increment", "--wait"]);
    assert_eq!(sent["slot"], json!(slots + 1));
    node.stop();
}
