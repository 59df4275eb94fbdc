//! Backups, files of one process, and pruning, with real nodes.

use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use serde_json::{Value, json};

use super::node::{Node, until_is, up};
use super::weft;

fn increment(node: &Node, process: &str) -> String {
    let sent = node.json(&["send", process, "--action", "Increment", "--wait"]);
    sent["result"]["result"]["Output"].as_str().unwrap().to_owned()
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[test]
fn a_restored_scheduler_signs_nothing_until_its_operator_says_so() {
    let outside = tempfile::tempdir().unwrap();
    let backup = outside.path().join("backup");
    let node = Node::start();
    let process = node.counter();
    assert_eq!(increment(&node, &process), "1");
    let made = node.json(&["backup", text(&backup), "--with-key"]);
    assert!(made["rows"].as_u64().unwrap() > 10 && made["with_key"] == true, "{made}");
    let key = backup.join("key.json").metadata().unwrap();
    assert_eq!((key.permissions().mode() & 0o777, key.len() > 0), (0o600, true));
    let (_, why) = node.weft(&["backup", text(&backup), "--json"]).expect(1).error();
    assert!(why.contains("never overwritten"), "{why}");
    // Slot 2 is signed after the backup; nobody else ever sees it.
    assert_eq!(increment(&node, &process), "2");
    let old = node.stop();

    // A node that does not run is copied too; without its key.
    let second = outside.path().join("second");
    let made = weft(old.path(), &["backup", text(&second), "--json"]).expect(0).json();
    assert_eq!((&made["with_key"], second.join("key.json").exists()), (&json!(false), false));
    let (_, why) = weft(old.path(), &["restore", text(&second), "--json"]).expect(1).error();
    assert!(why.contains("store.redb exists"), "{why}");
    let new = tempfile::tempdir().unwrap();
    let (_, why) = weft(new.path(), &["restore", text(&second), "--json"]).expect(2).error();
    assert!(why.contains("there is no key"), "{why}");
    let (_, why) = weft(new.path(), &["restore", text(outside.path()), "--json"]).expect(2).error();
    assert!(why.contains("there is no store"), "{why}");

    let restored = weft(new.path(), &["restore", text(&backup), "--json"]).expect(0).json();
    assert_eq!(restored["with_key"], true);
    weft(new.path(), &["restore", text(&backup)]).expect(1);
    let node = Node::start_in(new);
    assert_eq!(node.json(&["processes"])[0]["head"], 1);
    let refused = node.weft(&["send", &process, "--action", "Increment", "--json"]);
    assert!(refused.code != 0 && refused.err.contains("was restored"), "{} {}", refused.code, refused.err);
    assert_eq!(node.json(&["verify", &process])["difference"], Value::Null);
    let folder = node.stop();
    weft(folder.path(), &["repair", "--accept-loss", "all"]).expect(0);
    let node = Node::start_in(folder);
    assert_eq!(increment(&node, &process), "2");
    node.stop();
}

/// A crash may come at any moment of a restore: before the first file has its name, or between two.
#[test]
fn a_restore_that_was_broken_off_is_finished_before_a_node_starts() {
    let outside = tempfile::tempdir().unwrap();
    let backup = outside.path().join("backup");
    let node = Node::start();
    let process = node.counter();
    assert_eq!(increment(&node, &process), "1");
    node.json(&["backup", text(&backup), "--with-key"]);
    node.stop();
    let whole = tempfile::tempdir().unwrap();
    weft(whole.path(), &["restore", text(&backup)]).expect(0);
    let names = ["store.redb", "weave.redb", "key.json"];
    for named in 0..names.len() {
        let new = tempfile::tempdir().unwrap();
        for (at, name) in names.iter().enumerate() {
            let to = if at < named { (*name).to_owned() } else { format!("{name}.unfinished") };
            std::fs::copy(whole.path().join(name), new.path().join(to)).unwrap();
        }
        let refused = up(new.path(), &[]).output().unwrap();
        let why = String::from_utf8(refused.stderr).unwrap();
        assert_eq!(refused.status.code(), Some(1), "{why}");
        assert!(why.contains("broken off") && why.contains("`weft restore`"), "{why}");
        assert!(!new.path().join("key.json").exists(), "a new key was made");
        if named == 0 {
            // Of a store that was here before: it says nothing about this one.
            std::fs::write(new.path().join("store.redb.mark"), [0xff; 16]).unwrap();
        }
        weft(new.path(), &["restore", text(&backup)]).expect(0);
        let left: BTreeSet<_> =
            std::fs::read_dir(new.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(left, names.map(Into::into).into(), "after {named} names");
        let node = Node::start_in(new);
        let refused = node.weft(&["send", &process, "--action", "Increment", "--json"]);
        assert!(refused.code != 0 && refused.err.contains("was restored"), "{}", refused.err);
        assert_eq!(node.json(&["processes"])[0]["head"], 1);
        node.stop();
    }
}

#[test]
fn a_backup_says_of_which_network_it_is() {
    let (outside, home, new) =
        (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (file, backup) = (outside.path().join("own.toml"), outside.path().join("backup"));
    weft(home.path(), &["network", "init", "own", "--output", text(&file)]).expect(0);
    weft(home.path(), &["network", "join", text(&file)]).expect(0);
    let node = Node::start_in(home);
    let process = node.counter();
    node.json(&["backup", text(&backup), "--with-key"]);
    let network = node.json(&["status"])["network"].clone();
    node.stop();
    weft(new.path(), &["restore", text(&backup)]).expect(0);
    let node = Node::start_in(new);
    assert_eq!(node.json(&["status"])["network"], network);
    assert_eq!(node.json(&["processes"])[0]["process"], process);
    node.stop();
}

#[test]
fn a_damaged_backup_is_not_restored() {
    let outside = tempfile::tempdir().unwrap();
    let backup = outside.path().join("backup");
    let node = Node::start();
    let process = node.counter();
    node.json(&["backup", text(&backup), "--with-key"]);
    node.stop();
    let store = backup.join("store.redb");
    let mut bytes = std::fs::read(&store).unwrap();
    let name = b"Scheduler";
    let places: Vec<usize> =
        bytes.windows(name.len()).enumerate().filter(|(_, at)| at == name).map(|(at, _)| at).collect();
    for at in &places {
        bytes[*at] ^= 1;
    }
    assert!(!places.is_empty(), "the Process item {process} is not in the backup");
    std::fs::write(&store, bytes).unwrap();
    let new = tempfile::tempdir().unwrap();
    let ran = weft(new.path(), &["restore", text(&backup), "--json"]);
    assert_ne!(ran.code, 0);
    let left: Vec<_> =
        std::fs::read_dir(new.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(left.is_empty(), "{left:?} is left of a restore that failed: {}", ran.err);
}

#[test]
fn a_process_travels_in_a_file() {
    let outside = tempfile::tempdir().unwrap();
    let file = outside.path().join("counter.weft");
    let node = Node::start();
    let process = node.counter();
    for count in ["1", "2", "3"] {
        assert_eq!(increment(&node, &process), count);
    }
    let written = node.json(&["export", &process, text(&file), "--with-module"]);
    assert_eq!((&written["slots"], &written["module"]), (&json!(4), &json!(true)));
    node.weft(&["bundle", "verify", text(&file)]).expect(0);
    let (_, why) = node.weft(&["export", &process, text(&file), "--json"]).expect(1).error();
    assert!(why.contains("never overwritten"), "{why}");
    let (_, why) = node.weft(&["import", text(&file), "--json"]).expect(1).error();
    assert!(why.contains("nothing was imported"), "{why}");

    // A node that never met the other one has all it takes to check and compute the process.
    let other = Node::start();
    let read = other.json(&["import", text(&file)]);
    assert_eq!((&read["slots"], &read["new_slots"], &read["module"]), (&json!(4), &json!(4), &json!(true)));
    assert_eq!(read["hash_chain"], written["hash_chain"]);
    assert_eq!(other.json(&["import", text(&file)])["new_slots"], 0);
    let verified = other.json(&["verify", &process]);
    assert_eq!((&verified["slots"], &verified["difference"]), (&json!(4), &Value::Null));
    assert_eq!(verified["state_root"], node.json(&["verify", &process])["state_root"]);

    // Only what verifies is taken from a file that was changed.
    let bytes = std::fs::read(&file).unwrap();
    let name = b"Hash-Chain";
    let third = bytes.windows(name.len()).enumerate().filter(|(_, at)| at == name).nth(2).unwrap().0;
    let mut changed = bytes.clone();
    changed[third] ^= 1;
    let bad = outside.path().join("changed.weft");
    std::fs::write(&bad, changed).unwrap();
    let third_node = Node::start();
    let (_, why) = third_node.weft(&["import", text(&bad), "--json"]).expect(1).error();
    assert!(why.contains("slot 2 of the file is refused") && why.contains("slots 0 to 1"), "{why}");
    assert_eq!(third_node.json(&["processes"])[0]["head"], 1);
    std::fs::write(&bad, &bytes[..bytes.len() - 1]).unwrap();
    let (_, why) = third_node.weft(&["import", text(&bad), "--json"]).expect(2).error();
    assert!(why.contains("nothing was imported"), "{why}");
    // The whole file brings the rest.
    assert_eq!(third_node.json(&["import", text(&file)])["new_slots"], 2);
    third_node.stop();
    other.stop();
    node.stop();
}

#[test]
fn old_results_go_and_everything_else_stays() {
    const SLOTS: u64 = 10;
    let flags = ["--checkpoint-slots", "4"];
    let node = Node::start_with(&flags);
    let process = node.counter();
    for count in 1..=SLOTS {
        assert_eq!(increment(&node, &process), count.to_string());
    }
    // A checkpoint is written when the node stops, at the latest.
    let node = Node::start_as(node.stop(), &flags);
    until_is("all slots to be anchored", &json!(SLOTS), || node.json(&["processes"])[0]["anchored"].clone());
    let root = |node: &Node| node.json(&["verify", &process])["state_root"].clone();
    let before = root(&node);
    let (_, why) = node.weft(&["prune", "--json"]).expect(2).error();
    assert!(why.contains("results_kept"), "{why}");
    let would = node.json(&["prune", "--keep", "3", "--dry-run"]);
    assert!(
        would[0]["positions"].as_u64().unwrap() >= 4 && would[0]["bytes"].as_u64().unwrap() > 0,
        "{would}"
    );
    assert_eq!(node.json(&["result", &process, "--slot", "1"])["result"]["Output"], "1");
    assert_eq!(node.json(&["prune", "--keep", "3"]), would);
    assert_eq!(node.json(&["prune", "--keep", "3"]), json!([]));

    let (code, why) = node.weft(&["result", &process, "--slot", "1", "--json"]).expect(1).error();
    assert!(code == "gone" && why.contains("was pruned here"), "{why}");
    let newest = SLOTS.to_string();
    assert_eq!(node.json(&["result", &process, "--slot", &newest])["result"]["Output"], *newest);
    let page = node.json(&["results", &process, "--limit", "100"]);
    let to = would[0]["to"].as_u64().unwrap();
    assert_eq!(page["pageInfo"]["prunedTo"], to - 1, "{page}");
    assert_eq!(page["edges"].as_array().unwrap().len() as u64, SLOTS + 1 - to);
    assert_eq!(root(&node), before);
    let node = Node::start_as(node.stop(), &flags);
    assert_eq!(increment(&node, &process), (SLOTS + 1).to_string());
    assert_eq!(node.json(&["verify", &process])["difference"], Value::Null);
    node.stop();
}
