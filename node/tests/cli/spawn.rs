//! Processes that processes spawn, over real nodes.

use serde_json::{Value, json};

use super::node::{Node, until, until_is};
use super::watch::Watch;

/// Waits until a counter that is computed here has counted to 1.
fn count_is_one(node: &Node, process: &str) {
    until("it counts", || match node.json(&["result", process, "--now"]) {
        newest if newest["result"]["Output"] == "1" => Ok(()),
        newest => Err(newest.to_string()),
    });
}

fn address(node: &Node) -> &str {
    node.ready["address"].as_str().unwrap()
}

/// A node that takes anyone's processes and knows this one.
fn neighbour(of: &Node) -> Node {
    of.start_beside(&["--schedule-for", "anyone"])
}

/// Asks a counter to spawn one; gives the child that it was told of.
fn spawn(node: &Node, parent: &str, module: &str, tags: &[String]) -> String {
    let head = node.json(&["inspect", parent])["head"].as_u64().unwrap();
    let watch = Watch::start(node, parent, head + 1);
    let module = format!("Module={module}");
    let mut args = vec!["send", parent, "--action", "Spawn", "--tag", &module];
    args.extend(tags.iter().flat_map(|tag| ["--tag", tag]));
    node.json(&args);
    let told = watch.until("the child", |event| event["action"] == "Spawned");
    assert_eq!((&told["from"], &told["pushed"]), (&json!(parent), &json!(true)), "{told}");
    let item = node.json(&["inspect", told["item"].as_str().unwrap()]);
    let tags = item["tags"].as_array().unwrap();
    let child = tags.iter().find(|tag| tag["name"] == "Process").unwrap();
    child["value"].as_str().unwrap().to_owned()
}

#[test]
fn a_child_lives_on_the_node_that_its_parent_named() {
    let home = Node::start();
    let module = home.add_counter();
    let parent = home.json(&["spawn", "--module", &module])["id"].as_str().unwrap().to_owned();
    let away = neighbour(&home);
    let child = spawn(&home, &parent, &module, &[format!("Scheduler={}", address(&away))]);
    let detail = away.json(&["inspect", &child]);
    assert_eq!((&detail["owner"], &detail["scheduler"]), (&json!(parent), &away.ready["address"]));
    // The child sent its parent an Increment at birth, and the parent answered `Spawned` with one.
    count_is_one(&home, &parent);
    count_is_one(&away, &child);

    // A restart does not change whose child it is.
    let again = Node::start_in(away.stop());
    assert_eq!(again.json(&["inspect", &child])["owner"], json!(parent));
    let sent = again.json(&["send", &child, "--action", "Increment", "--wait"]);
    assert_eq!(sent["result"]["result"]["Output"], "2");
    assert_eq!(again.json(&["verify", &child])["difference"], Value::Null);
    again.stop();
}

#[test]
fn who_carries_for_a_parent_takes_up_the_children_that_name_it() {
    let home = Node::start();
    let module = home.add_counter();
    let parent = home.json(&["spawn", "--module", &module])["id"].as_str().unwrap().to_owned();
    let away = neighbour(&home);
    away.json(&["host", &parent, "--messenger"]);
    let attestors = format!("Compute={},{}", address(&home), address(&away));
    let child = spawn(&home, &parent, &module, &[attestors, "Compute-Quorum=2".to_owned()]);
    let hosted = until("the child is taken up", || {
        let all = away.json(&["processes"]);
        let known = all.as_array().unwrap().iter().find(|known| known["process"] == json!(child));
        known.cloned().ok_or(all.to_string())
    });
    assert_eq!(hosted["duties"], json!(["compute", "messenger", "watch"]));
    // Both attest, so what the child sends has its quorum.
    count_is_one(&home, &parent);
    count_is_one(&away, &child);
    // A child that names others is left to them.
    let other = spawn(&home, &parent, &module, &[]);
    assert_ne!(other, child);
    until_is("the spawn is settled", &json!(0), || {
        away.json(&["inspect", &parent])["outbox_pending"].clone()
    });
    let all = away.json(&["processes"]);
    assert!(!all.as_array().unwrap().iter().any(|known| known["process"] == json!(other)), "{all}");
}
