//! What a node does when its disk budget is used up.

use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::time::Duration;

use serde_json::json;

use super::node::{Node, until};
use super::weft;

/// Bytes of one message.
const DATA_BYTES: usize = 3 << 20;
const BUDGET: u64 = 64 << 20;
/// Bytes of a smaller one.
const PART_BYTES: usize = 1 << 18;
/// After so long a node that is full has counted its free pages again.
const COUNTED: Duration = Duration::from_secs(6);

/// What a folder takes of the disk, as `du` counts.
fn taken(folder: &Path) -> u64 {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap());
    let sizes = entries.filter_map(|entry| {
        let found = entry.metadata().ok()?;
        Some(if found.is_dir() { taken(&entry.path()) } else { found.blocks() * 512 })
    });
    sizes.sum()
}

/// Sends messages until a node refuses them, and how many those were. There may be room for smaller ones,
/// and again when the pages that are free were counted.
fn fill(node: &Node, process: &str, sizes: &[&str]) -> u64 {
    let mut slots = 0;
    until("the node to be full, also when it counted", || {
        let before = slots;
        for data in sizes {
            while node.weft(&["send", process, "--action", "Increment", "--data", data, "--json"]).code == 0 {
                slots += 1;
                assert!(slots < 200, "the budget holds no one back");
            }
        }
        // tidy-allow(sleep): free pages are counted by the clock, and nothing says that they were.
        std::thread::sleep(COUNTED);
        if slots == before { Ok(()) } else { Err(format!("{} more", slots - before)) }
    });
    slots
}

#[test]
fn a_used_up_budget_refuses_new_work_and_loses_nothing() {
    let elsewhere = Node::start();
    let (foreign, exported) = (elsewhere.counter(), elsewhere.folder.path().with_extension("export"));
    let large = elsewhere.folder.path().join("large");
    std::fs::write(&large, vec![b'x'; DATA_BYTES]).unwrap();
    let large = format!("@{}", large.display());
    elsewhere.json(&["send", &foreign, "--action", "Increment", "--data", &large, "--wait"]);
    elsewhere.json(&["export", &foreign, exported.to_str().unwrap()]);
    elsewhere.stop();
    let node = Node::start_with(&["--disk-budget", "64mb"]);
    let process = node.counter();
    let other = node.counter();
    let data = node.folder.path().with_extension("data");
    std::fs::write(&data, vec![b'x'; DATA_BYTES]).unwrap();
    let data = format!("@{}", data.display());
    let part = node.folder.path().with_extension("part");
    std::fs::write(&part, [b'x'; PART_BYTES]).unwrap();
    let small = format!("@{}", part.display());
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
    slots += fill(&node, &process, &[&data, &small]);
    // What a node is given in other ways is refused for the same reason, at once.
    let wasm = node.folder.path().with_extension("wasm");
    std::fs::write(&wasm, [b"\0asm\x01\0\0\0".as_slice(), &vec![0; DATA_BYTES]].concat()).unwrap();
    let module = ["module", "add", wasm.to_str().unwrap(), "--format", "wasm32-weft-plain"];
    for args in [&["import", exported.to_str().unwrap()][..], &module] {
        let (code, text) = node.weft(&[args, &["--json"]].concat()).expect(5).error();
        assert_eq!(code, "full", "{args:?}: {text}");
    }
    assert!(slots >= 3, "{slots} messages were taken");
    for file in [&small, &data] {
        std::fs::remove_file(file.trim_start_matches('@')).unwrap();
    }
    std::fs::remove_file(&wasm).unwrap();
    std::fs::remove_file(&exported).unwrap();
    // All that was taken is there and is computed, reading goes on, and the node says how it is.
    let slot = slots.to_string();
    let newest = node.json(&["result", &process, "--slot", &slot, "--wait"]);
    assert_eq!(newest["result"]["Output"], json!(slot));
    assert_eq!(node.json(&["verify", &process])["difference"], json!(null));
    let room = &node.json(&["status"])["room"];
    assert_eq!(room["budget_bytes"], json!(BUDGET), "{room}");
    assert!(room["used_bytes"].as_u64().unwrap() > BUDGET / 4, "{room}");
    // What brings no room and needs some is refused too, what gives duties back is not.
    node.json(&["pin", &other, "--off"]);
    assert!(taken(node.folder.path()) <= BUDGET);
    let (_, why) = node.weft(&["prune", "--compact", "--json"]).expect(5).error();
    assert!(why.contains("weft stop"), "{why}");
    let folder = node.stop();
    assert!(taken(folder.path()) <= BUDGET);
    let compacted = weft(folder.path(), &["prune", "--compact", "--json"]).expect(0).json();
    let (before, after) = (&compacted["before_bytes"], &compacted["after_bytes"]);
    // A full store holds next to nothing to give back, and redb may write one page more.
    let page = 4096;
    assert!(
        after.as_u64().unwrap() > 0 && after.as_u64().unwrap() <= before.as_u64().unwrap() + page,
        "{compacted}"
    );
    let node = Node::start_as(folder, &["--disk-budget", "10gb"]);
    let sent = node.json(&["send", &process, "--action", "Increment", "--wait"]);
    assert_eq!(sent["slot"], json!(slots + 1));
    node.stop();
}
