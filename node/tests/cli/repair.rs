//! Stores that lost something: what `weft repair` keeps, and that no slot is signed twice.

use std::path::Path;

use serde_json::{Value, json};
use weft_protocol::{Id, Network};
use weft_storage::{SlotRow, Store, StoreConfig};

use super::node::{Node, until, up};
use super::{Ran, weft};

/// A node that stores no batches: what its store loses only peers have.
pub(super) const WITHOUT_WEAVE: [&str; 2] = ["--roles", "scheduler,compute,messenger"];

/// A stopped node's store.
pub(super) fn store(folder: &Path) -> Store {
    let key = weft(folder, &["key", "--json"]).expect(0).json();
    let address = key["address"].as_str().unwrap().parse().unwrap();
    let config = StoreConfig::new(Network::of_name("local"), address);
    Store::open(&folder.join("store.redb"), &config).unwrap()
}

/// What a stopped node's store has at a slot: the row and the raw item.
pub(super) fn stored(folder: &Path, process: &str, slot: u64) -> (SlotRow, Vec<u8>) {
    let store = store(folder);
    let reader = store.read().unwrap();
    let process: Id = process.parse().unwrap();
    let row = reader.slot(&process, slot).unwrap().unwrap();
    let item = reader.item(&row.item).unwrap().unwrap();
    (row, item.to_vec())
}

/// Changes every copy of these bytes in the store's file.
pub(super) fn spoil(folder: &Path, part: &[u8]) {
    let path = folder.join("store.redb");
    let mut bytes = std::fs::read(&path).unwrap();
    let windows = bytes.windows(part.len()).enumerate();
    let places: Vec<usize> = windows.filter(|(_, window)| *window == part).map(|(at, _)| at).collect();
    assert!(!places.is_empty());
    for at in places {
        bytes[at] ^= 0xff;
    }
    std::fs::write(path, bytes).unwrap();
}

/// Bytes of a signature: they stand nowhere else.
pub(super) fn signature(raw: &[u8]) -> &[u8] {
    &raw[2..66]
}

fn send(node: &Node, process: &str) -> Ran {
    node.weft(&["send", process, "--action", "Increment", "--wait", "--json"])
}

fn head(node: &Node) -> Value {
    node.json(&["processes"])[0]["head"].clone()
}

fn slots(node: &Node, process: &str, count: usize) -> Vec<Value> {
    let detail = node.json(&["inspect", process, "--slots", &format!("0..{count}")]);
    detail["slots"].as_array().unwrap().iter().map(|slot| slot["assignment"].clone()).collect()
}

/// Two nodes that compute a process of the first, at slot 5; the first stopped, and the assignments
/// of all slots.
fn two_nodes() -> (tempfile::TempDir, Node, String, Vec<Value>) {
    let first = Node::start_with(&WITHOUT_WEAVE);
    let second = Node::start_with(&["--bootstrap", &dial(&first), WITHOUT_WEAVE[0], WITHOUT_WEAVE[1]]);
    let module = first.add_counter();
    let [one, two] = [&first, &second].map(|node| node.ready["address"].as_str().unwrap().to_owned());
    let named = ["--compute", &one, "--compute", &two, "--quorum", "2"];
    let spawned = first.json(&[&["spawn", "--module", &module][..], &named].concat());
    let process = spawned["id"].as_str().unwrap().to_owned();
    until("the second node to take it up", || {
        let hosted = second.weft(&["host", &process, "--compute", "--json"]);
        if hosted.code == 0 { Ok(()) } else { Err(hosted.err) }
    });
    for _ in 0..5 {
        send(&first, &process).expect(0);
    }
    until("the second node to have all slots", || match head(&second) {
        head if head == json!(5) => Ok(()),
        head => Err(head.to_string()),
    });
    let signed = slots(&second, &process, 6);
    assert_eq!(signed.len(), 6);
    (first.stop(), second, process, signed)
}

fn dial(node: &Node) -> String {
    let listen = node.ready["listen"][0].as_str().unwrap();
    let peer = node.ready["peer_id"].as_str().unwrap();
    if listen.contains("/p2p/") { listen.to_owned() } else { format!("{listen}/p2p/{peer}") }
}

/// The scheduler comes back without the other node and signs nothing; with it, it takes back what it
/// signed and goes on after that.
fn refills(folder: tempfile::TempDir, second: &Node, process: &str, signed: &[Value]) {
    let alone = Node::start_as(folder, &WITHOUT_WEAVE);
    let (_, text) = send(&alone, process).expect(70).error();
    assert!(text.contains("--accept-loss") && text.contains("asks peers"), "{text}");
    let extra = ["--bootstrap", &dial(second), WITHOUT_WEAVE[0], WITHOUT_WEAVE[1]];
    let first = Node::start_as(alone.stop(), &extra);
    let sent = until("the log to be whole", || {
        let sent = send(&first, process);
        if sent.code == 0 { Ok(sent.json()) } else { Err(sent.err) }
    });
    assert_eq!((&sent["slot"], &sent["result"]["result"]["Output"]), (&json!(6), &json!("6")));
    assert_eq!(slots(&first, process, 6), signed);
    until("the new slot to reach the second node", || match head(second) {
        head if head == json!(6) => Ok(()),
        head => Err(head.to_string()),
    });
    assert_eq!(slots(&first, process, 7), slots(second, process, 7));
    assert_eq!(first.json(&["verify", process])["difference"], Value::Null);
    let again = Node::start_as(first.stop(), &extra);
    assert_eq!(send(&again, process).expect(0).json()["slot"], 7);
}

#[test]
fn a_scheduler_takes_back_what_it_signed_and_goes_on_from_there() {
    let (folder, second, process, signed) = two_nodes();
    let (_, item) = stored(folder.path(), &process, 4);
    spoil(folder.path(), signature(&item));
    let report = weft(folder.path(), &["repair", "--json"]).expect(1).json();
    assert_eq!(report["cautions"], json!([{ "process": process, "slots": 6 }]), "{report}");
    assert_eq!((&report["cuts"][0]["slots"], &report["caution_new"]), (&json!(4), &json!(false)));
    refills(folder, &second, &process, &signed);
}

#[test]
fn where_nobody_knows_what_was_signed_all_who_compute_it_are_asked() {
    let (folder, second, process, signed) = two_nodes();
    let (row, _) = stored(folder.path(), &process, 5);
    spoil(folder.path(), signature(&row.assignment));
    let failed = up(folder.path(), &WITHOUT_WEAVE).output().unwrap();
    let text = String::from_utf8(failed.stderr).unwrap();
    assert_eq!(failed.status.code(), Some(70), "{text}");
    assert!(text.contains("store.redb is damaged") && text.contains("`weft repair`"), "{text}");
    let dry = weft(folder.path(), &["repair", "--dry-run"]).expect(1);
    assert!(dry.text().contains("nothing was changed"), "{}", dry.text());
    let report = weft(folder.path(), &["repair", "--json"]).expect(1).json();
    assert_eq!(report["cautions"], json!([{ "process": process, "slots": null }]), "{report}");
    assert!(Path::new(report["kept_as"].as_str().unwrap()).exists());
    refills(folder, &second, &process, &signed);
}

#[test]
fn an_operator_may_accept_a_loss() {
    let node = Node::start_with(&WITHOUT_WEAVE);
    let process = node.counter();
    for _ in 0..3 {
        send(&node, &process).expect(0);
    }
    assert!(node.weft(&["repair", "--json"]).expect(5).error().1.contains("weft stop"));
    let folder = node.stop();
    assert_eq!(weft(folder.path(), &["repair", "--json"]).expect(0).json()["intact"], true);
    let (row, _) = stored(folder.path(), &process, 3);
    spoil(folder.path(), signature(&row.assignment));
    let text = weft(folder.path(), &["repair"]).expect(1);
    assert!(text.text().contains("LEFT OUT") && text.text().contains("--accept-loss"), "{}", text.text());
    let node = Node::start_as(folder, &WITHOUT_WEAVE);
    send(&node, &process).expect(70);
    let module = node.json(&["module", "list"])[0]["module"].as_str().unwrap().to_owned();
    let refused = node.weft(&["spawn", "--module", &module, "--json"]).expect(70);
    assert!(refused.error().1.contains("--accept-loss new"), "{}", refused.err);
    // What has a slot is answered as before.
    assert_eq!(node.json(&["result", &process, "--slot", "2"])["result"]["Output"], "2");
    let folder = node.stop();
    let wrong = weft(folder.path(), &["repair", "--accept-loss", "everything"]).expect(2);
    assert!(wrong.err.contains("`new` or `all`"), "{}", wrong.err);
    let other = Id([7; 32]).to_string();
    weft(folder.path(), &["repair", "--accept-loss", &other]).expect(1);
    let accepted = weft(folder.path(), &["repair", "--accept-loss", &process, "--json"]).expect(0).json();
    assert_eq!(accepted, json!({ "processes": [process], "new": false }));
    weft(folder.path(), &["repair", "--accept-loss", "new"]).expect(0);
    let node = Node::start_as(folder, &WITHOUT_WEAVE);
    let sent = send(&node, &process).expect(0).json();
    assert_eq!((&sent["slot"], &sent["result"]["result"]["Output"]), (&json!(3), &json!("3")));
    node.json(&["spawn", "--module", &module]);
}

#[test]
fn the_embedded_weave_gives_back_what_it_has() {
    let node = Node::start();
    let process = node.counter();
    for _ in 0..3 {
        send(&node, &process).expect(0);
    }
    until("all slots to be stored in the weave", || match node.json(&["processes"])[0]["anchored"].clone() {
        anchored if anchored == json!(3) => Ok(()),
        anchored => Err(anchored.to_string()),
    });
    let folder = node.stop();
    let (_, item) = stored(folder.path(), &process, 2);
    spoil(folder.path(), signature(&item));
    let report = weft(folder.path(), &["repair", "--json"]).expect(1).json();
    assert_eq!((&report["from_weave"], &report["cuts"]), (&json!(1), &json!([])), "{report}");
    // A weave that does not open is no loss: the store has what it holds.
    std::fs::write(folder.path().join("weave.redb"), b"no weave at all").unwrap();
    let report = weft(folder.path(), &["repair", "--json"]).expect(0).json();
    assert!(Path::new(report["weave_kept_as"].as_str().unwrap()).exists(), "{report}");
    let node = Node::start_in(folder);
    let sent = send(&node, &process).expect(0).json();
    assert_eq!((&sent["slot"], &sent["result"]["result"]["Output"]), (&json!(4), &json!("4")));
    assert_eq!(node.json(&["verify", &process])["difference"], Value::Null);
}
