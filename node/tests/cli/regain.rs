//! What a scheduler regains of its own from a file: no message twice in a log, no second child of a
//! spawn, and what it did for a process.

use std::path::Path;

use serde_json::{Value, json};
use weft_protocol::origin::{self, ProvenKind};
use weft_protocol::{DataItem, Hash, Id, Network};

use super::node::{Node, until};
use super::repair::{WITHOUT_WEAVE, signature, spoil, store, stored};
use super::weft;

/// Sends a message that is the same item whenever it is sent again.
fn send(node: &Node, process: &str, number: usize) -> Value {
    node.json(&["send", process, "--action", "Increment", "--anchor", &format!("{number:032}")])
}

/// A process of three messages with its file beside the data folder of its node, which is stopped.
fn counted(outside: &Path) -> (tempfile::TempDir, String, String) {
    let node = Node::start_with(&WITHOUT_WEAVE);
    let process = node.counter();
    for number in 1..=3 {
        assert_eq!(send(&node, &process, number)["slot"], number);
    }
    node.json(&["pin", &process]);
    let file = outside.join("process.weft").to_str().unwrap().to_owned();
    node.json(&["export", &process, &file, "--with-module"]);
    (node.stop(), process, file)
}

/// Loses a slot and all after it, and gets them back from the file.
fn loses(folder: tempfile::TempDir, process: &str, slot: u64, file: &str) -> tempfile::TempDir {
    let (row, _) = stored(folder.path(), process, slot);
    spoil(folder.path(), signature(&row.assignment));
    weft(folder.path(), &["repair"]).expect(1);
    let node = Node::start_as(folder, &WITHOUT_WEAVE);
    assert_eq!(node.json(&["import", file])["new_slots"], 4 - slot);
    node.stop()
}

/// Accepts the loss; then a message that the log has is known again, and the log goes on.
fn goes_on(folder: tempfile::TempDir, process: &str) {
    weft(folder.path(), &["repair", "--accept-loss", process]).expect(0);
    weft(folder.path(), &["repair", "--accept-loss", process]).expect(1);
    let node = Node::start_as(folder, &WITHOUT_WEAVE);
    let again = send(&node, process, 3);
    assert_eq!((&again["slot"], &again["duplicate"]), (&json!(3), &json!(true)));
    let next = send(&node, process, 4);
    assert_eq!((&next["slot"], &next["duplicate"]), (&json!(4), &json!(false)));
    let duties = node.json(&["processes"])[0]["duties"].clone();
    assert!(duties.as_array().unwrap().contains(&json!("schedule")), "{duties}");
    let folder = node.stop();
    // The keys of every slot: by them a push is known again that another messenger carries.
    let keys = store(folder.path()).read().unwrap().seen_count(&process.parse().unwrap()).unwrap();
    assert_eq!(keys, 5);
}

#[test]
fn messages_of_slots_that_came_back_are_known_again() {
    let outside = tempfile::tempdir().unwrap();
    let (folder, process, file) = counted(outside.path());
    let folder = loses(folder, &process, 1, &file);
    goes_on(folder, &process);
}

#[test]
fn a_process_that_lost_its_beginning_keeps_what_is_done_for_it() {
    let outside = tempfile::tempdir().unwrap();
    let (folder, process, file) = counted(outside.path());
    let folder = loses(folder, &process, 0, &file);
    let node = Node::start_as(folder, &WITHOUT_WEAVE);
    let duties = node.json(&["processes"])[0]["duties"].clone();
    assert_eq!(duties, json!(["schedule", "compute", "messenger", "pinned"]));
    goes_on(node.stop(), &process);
}

#[test]
fn a_process_of_which_nothing_is_left_comes_back_from_its_file() {
    let outside = tempfile::tempdir().unwrap();
    let (folder, process, file) = counted(outside.path());
    let empty = tempfile::tempdir().unwrap();
    std::fs::copy(folder.path().join("key.json"), empty.path().join("key.json")).unwrap();
    let node = Node::start_as(empty, &WITHOUT_WEAVE);
    assert_eq!(node.json(&["import", &file])["new_slots"], 4);
    // Nobody knows how many slots there were.
    let refused = node.weft(&["send", &process, "--action", "Increment", "--json"]).expect(70);
    assert!(refused.err.contains("--accept-loss"), "{}", refused.err);
    goes_on(node.stop(), &process);
    // Where the log is whole there is nothing to take back.
    let node = Node::start_as(folder, &WITHOUT_WEAVE);
    let (_, why) = node.weft(&["import", &file, "--json"]).expect(1).error();
    assert!(why.contains("nothing was imported"), "{why}");
    node.stop();
}

/// The push id of the spawn that a child came of.
fn spawn_of(folder: &Path, child: &str) -> Hash {
    let (row, item) = stored(folder, child, 0);
    let proof = store(folder).read().unwrap().item(&row.proof.unwrap()).unwrap().unwrap();
    let [item, proof] = [item, proof.to_vec()].map(|raw| DataItem::verify_bytes(raw).unwrap());
    let proven = origin::verify(&item, &proof, Network::of_name("local")).unwrap();
    assert_eq!(proven.kind, ProvenKind::Spawn);
    proven.sender.push
}

#[test]
fn a_child_that_comes_back_is_the_one_child_of_its_spawn() {
    let outside = tempfile::tempdir().unwrap();
    let node = Node::start_with(&WITHOUT_WEAVE);
    let module = node.add_counter();
    let parent = node.json(&["spawn", "--module", &module])["id"].as_str().unwrap().to_owned();
    node.json(&["send", &parent, "--action", "Spawn", "--tag", &format!("Module={module}")]);
    let child = until("the child to be spawned", || {
        let all = node.json(&["processes"]);
        let child = all.as_array().unwrap().iter().find(|known| known["process"] != json!(parent));
        child.map(|child| child["process"].as_str().unwrap().to_owned()).ok_or_else(|| all.to_string())
    });
    let file = outside.path().join("child.weft").to_str().unwrap().to_owned();
    node.json(&["export", &child, &file]);
    let folder = node.stop();
    let spawn = spawn_of(folder.path(), &child);
    let known = |folder: &Path| store(folder).read().unwrap().child(&spawn).unwrap();
    let id: Id = child.parse().unwrap();
    assert_eq!(known(folder.path()), Some(id));
    let (row, _) = stored(folder.path(), &child, 0);
    spoil(folder.path(), signature(&row.assignment));
    weft(folder.path(), &["repair"]).expect(1);
    assert_eq!(known(folder.path()), None);
    let node = Node::start_as(folder, &WITHOUT_WEAVE);
    node.json(&["import", &file]);
    assert_eq!(known(node.stop().path()), Some(id));
}
