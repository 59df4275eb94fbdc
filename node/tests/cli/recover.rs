//! Logs that come back from a weave, with real nodes that know no peer; and gateways that lie.

mod blocks;
pub mod liar;

use std::path::Path;

use serde_json::{Value, json};

use super::node::{Node, until, until_is};
use liar::{Liar, Lie};

/// A node whose weave is read at an address.
fn keeper(extra: &[&str]) -> (Node, String) {
    let node = Node::start_with(&[&["--weave-listen", "0"], extra].concat());
    let address = node.ready["weave_api"].as_str().unwrap().to_owned();
    (node, address)
}

fn increment(node: &Node, process: &str, times: usize) {
    for _ in 0..times {
        node.json(&["send", process, "--action", "Increment", "--wait"]);
    }
}

fn anchored(node: &Node, process: &str, slot: u64) {
    until_is("all slots to be anchored", &json!(slot), || {
        let all = node.json(&["processes"]);
        let one = all.as_array().unwrap().iter().find(|one| one["process"] == process).cloned();
        one.unwrap_or_default()["anchored"].clone()
    });
}

/// What a replay of all that is here comes to.
fn replayed(node: &Node, process: &str) -> Value {
    let report = node.json(&["verify", process]);
    assert_eq!(report["difference"], Value::Null, "{report}");
    json!([report["slots"], report["running"], report["state_root"]])
}

fn recover(node: &Node, process: &str, from: &[&str]) -> Value {
    let from: Vec<&str> = from.iter().flat_map(|url| ["--from", url]).collect();
    node.json(&[&["recover", process], &from[..]].concat())
}

#[test]
fn every_process_comes_back_from_the_weave_alone() {
    let (node, address) = keeper(&["--anchor-batch-slots", "5"]);
    let counter = node.counter();
    increment(&node, &counter, 23);
    // One of Lua, whose module comes with the program, that another one spawned and writes to.
    let module = node.add_counter();
    node.json(&["send", &counter, "--action", "Spawn", "--tag", &format!("Module={module}")]);
    until_is("the child to be spawned", &json!(2), || {
        json!(node.json(&["processes"]).as_array().unwrap().len())
    });
    let all = node.json(&["processes"]);
    let lua = node.json(&["spawn"])["id"].as_str().unwrap().to_owned();
    node.json(&["send", &lua, "--action", "Eval", "--data", "n = 1", "--wait"]);
    let child = all.as_array().unwrap().iter().find(|one| one["process"] != json!(counter)).unwrap();
    let child = child["process"].as_str().unwrap().to_owned();
    let new = Node::start();
    for process in [&counter, &lua, &child] {
        let head = node.json(&["processes"]);
        let head =
            head.as_array().unwrap().iter().find(|one| one["process"] == json!(process)).unwrap()["head"]
                .clone();
        anchored(&node, process, head.as_u64().unwrap());
        let report = recover(&new, process, &[&address]);
        let slots = json!(head.as_u64().unwrap() + 1);
        assert_eq!((&report["slots"], &report["new_slots"]), (&slots, &slots), "{report}");
        assert_eq!((&report["missing"], &report["unproven"]), (&Value::Null, &json!([])), "{report}");
        assert_eq!(report["gateways"][0]["faults"], json!([]), "{report}");
        assert_eq!(report["bundles"], report["bundles_proven"], "{report}");
        assert_eq!(report["bundles"], report["bundles_in_blocks"], "{report}");
        assert_eq!(report["not_in_blocks"], Value::Null, "{report}");
        assert!(report["least_confirmations"].as_u64().unwrap() >= 1, "{report}");
        assert_ne!(report["module"], "missing", "{report}");
        assert_eq!(replayed(&new, process), replayed(&node, process));
        // Again, nothing is new.
        assert_eq!(recover(&new, process, &[&address])["new_slots"], 0);
    }
    let verified = new.json(&["verify", &counter]);
    assert!(
        verified["attestations_checked"].as_u64().unwrap() > 0,
        "attestations come from the weave too: {verified}"
    );
    // What comes later is asked for from there on.
    increment(&node, &counter, 2);
    let head = node.json(&["inspect", &counter])["head"].as_u64().unwrap();
    anchored(&node, &counter, head);
    assert_eq!(recover(&new, &counter, &[&address])["slots"], json!(head + 1));
    assert_eq!(replayed(&new, &counter), replayed(&node, &counter));
    // The scheduler itself takes nothing back that it has.
    let (_, why) = node.weft(&["recover", &counter, "--from", &address, "--json"]).expect(1).error();
    assert!(why.contains("schedules"), "{why}");
    new.stop();
    node.stop();
}

/// What is attested comes after its slot. Where no more slots came it was in no batch, and lost with the node.
#[test]
fn what_is_attested_late_is_anchored_too() {
    let (node, address) = keeper(&["--anchor-batch-slots", "1"]);
    let process = node.counter();
    increment(&node, &process, 3);
    anchored(&node, &process, 3);
    let checked = |node: &Node| node.json(&["verify", &process])["attestations_checked"].as_u64().unwrap();
    // Slot 0 is a boundary, and the newest is attested once the process is quiet.
    until_is("both to be attested", &json!(true), || json!(checked(&node) >= 2));
    let new = Node::start();
    until_is("all of them to be on the weave", &json!(true), || {
        let report = recover(&new, &process, &[&address]);
        assert_eq!(report["gateways"][0]["faults"], json!([]), "{report}");
        json!(checked(&new) == checked(&node))
    });
    new.stop();
    node.stop();
}

/// A node that lost everything but its key. Its weave is elsewhere: another folder of the same key serves it, at this
/// address.
fn wiped(node: Node) -> (Node, String, Node) {
    let old = node.stop();
    let kept = tempfile::tempdir().unwrap();
    for name in ["key.json", "weave.redb"] {
        std::fs::copy(old.path().join(name), kept.path().join(name)).unwrap();
    }
    let weave = Node::start_as(kept, &["--weave-listen", "0", "--roles", "compute"]);
    let address = weave.ready["weave_api"].as_str().unwrap().to_owned();
    let empty = tempfile::tempdir().unwrap();
    std::fs::copy(old.path().join("key.json"), empty.path().join("key.json")).unwrap();
    (weave, address, Node::start_in(empty))
}

#[test]
fn a_scheduler_that_has_nothing_but_its_key_comes_back() {
    let (node, _) = keeper(&["--anchor-batch-slots", "3"]);
    let process = node.counter();
    increment(&node, &process, 7);
    anchored(&node, &process, 7);
    let before = replayed(&node, &process);
    let (weave, address, node) = wiped(node);
    let report = recover(&node, &process, &[&address]);
    assert_eq!((&report["slots"], &report["module"]), (&json!(8), &json!("recovered")), "{report}");
    assert_eq!(replayed(&node, &process), before);
    // It signs nothing before its operator says that nothing came after what was anchored.
    let refused = node.weft(&["send", &process, "--action", "Increment", "--json"]);
    assert!(refused.code != 0 && refused.err.contains("--accept-loss"), "{}", refused.err);
    let folder = node.stop();
    super::weft(folder.path(), &["repair", "--accept-loss", &process]).expect(0);
    let node = Node::start_in(folder);
    let sent = node.json(&["send", &process, "--action", "Increment", "--wait"]);
    assert_eq!((&sent["slot"], &sent["result"]["result"]["Output"]), (&json!(8), &json!("8")));
    node.stop();
    weave.stop();
}

/// Which processes it scheduled a wiped node finds out by its address.
#[test]
fn all_processes_of_a_key_come_back() {
    let (node, _) = keeper(&["--anchor-batch-slots", "2"]);
    let processes: Vec<String> = (0..3).map(|_| node.counter()).collect();
    for (process, times) in processes.iter().zip([1_usize, 3, 5]) {
        increment(&node, process, times);
        anchored(&node, process, times as u64);
    }
    let states: Vec<Value> = processes.iter().map(|process| replayed(&node, process)).collect();
    let owner = node.ready["address"].as_str().unwrap().to_owned();
    let (weave, address, node) = wiped(node);
    let report = node.json(&["recover", "--all", "--from", &address]);
    let told = json!([report["found"], report["whole"], report["slots"], report["failed"]]);
    assert_eq!(told, json!([3, 3, 12, []]), "{report}");
    for (process, state) in processes.iter().zip(&states) {
        assert_eq!(&replayed(&node, process), state);
    }
    // Again, nothing is new.
    let report = node.json(&["recover", "--all", "--from", &address]);
    assert_eq!((&report["whole"], &report["new_slots"]), (&json!(3), &json!(0)), "{report}");
    // Another node has them all by the scheduler's address, and none of its own.
    let other = Node::start();
    let report = other.json(&["recover", "--all", "--from", &address]);
    assert_eq!(report["found"], 0, "{report}");
    let report = other.json(&["recover", "--all", "--scheduler", &owner, "--from", &address]);
    assert_eq!((&report["whole"], &report["new_slots"]), (&json!(3), &json!(12)), "{report}");
    for (process, state) in processes.iter().zip(&states) {
        assert_eq!(&replayed(&other, process), state);
    }
    let gone = other.weft(&["recover", "--all", "--from", "http://127.0.0.1:1", "--json"]);
    let (_, why) = gone.expect(1).error();
    assert!(why.contains("no gateway says"), "{why}");
    // A gateway says that another key's process is this one's: it is not taken, and the true ones are.
    let (foreign, its_weave) = keeper(&["--anchor-batch-slots", "2"]);
    let not_its = foreign.counter();
    anchored(&foreign, &not_its, 0);
    let liar = Liar::naming(&its_weave, &not_its);
    let third = Node::start();
    let ask = ["recover", "--all", "--scheduler", &owner, "--from", &liar.address, "--from", &address];
    let report = third.json(&ask);
    let told = json!([report["found"], report["whole"], report["slots"], report["failed"]]);
    assert_eq!(told, json!([3, 3, 12, []]), "{report}");
    let here = third.json(&["processes"]);
    assert!(here.as_array().unwrap().iter().all(|one| one["process"] != json!(not_its)), "{here}");
    third.stop();
    foreign.stop();
    other.stop();
    node.stop();
    weave.stop();
}

/// Nobody on the mesh serves it: a node with gateways reads it by itself, when its operator hosts it, when somebody
/// asks for it, and on, when it grows there.
#[test]
fn what_nobody_serves_is_read_from_the_configured_gateways() {
    let (node, address) = keeper(&["--anchor-batch-slots", "2"]);
    let (hosted, asked) = (node.counter(), node.counter());
    for process in [&hosted, &asked] {
        increment(&node, process, 3);
        anchored(&node, process, 3);
    }
    let new = Node::start_with(&["--gateways", &address]);
    new.json(&["host", &hosted, "--compute"]);
    until_is("the hosted process to be computed", &json!(3), || {
        let all = new.json(&["processes"]);
        all.as_array()
            .unwrap()
            .iter()
            .find(|one| one["process"] == hosted)
            .map_or(Value::Null, |one| one["computed"]["slot"].clone())
    });
    assert_eq!(replayed(&new, &hosted), replayed(&node, &hosted));
    // Somebody asks: nobody has it now, and later it is there.
    new.weft(&["result", &asked, &asked, "--json"]);
    until_is("the other to be read too", &json!(3), || {
        let all = new.json(&["processes"]);
        let found = all.as_array().unwrap().iter().find(|one| one["process"] == asked).cloned();
        if found.is_none() {
            new.weft(&["result", &asked, &asked, "--json"]);
        }
        found.unwrap_or_default()["head"].clone()
    });
    assert_eq!(replayed(&new, &asked), replayed(&node, &asked));
    // What nobody serves is read again after a while: there may be more than these two by now.
    until("both to be counted", || {
        let count = new.json(&["metrics"])["weft_recoveries_total{outcome=\"whole\"}"].clone();
        if count.as_f64().is_some_and(|count| count >= 2.0) { Ok(()) } else { Err(count.to_string()) }
    });
    until_is("nothing to be read", &json!([]), || new.json(&["status"])["recovering"].clone());
    // Without gateways it is as before.
    let alone = Node::start();
    let (_, why) = alone.weft(&["host", &hosted, "--json"]).expect(1).error();
    assert!(why.contains("no reachable peer"), "{why}");
    alone.stop();
    new.stop();
    node.stop();
}

/// What is on no weave yet is told so, with what brings it there.
#[test]
fn a_check_against_the_weave_before_the_first_batch_says_how_to_have_one() {
    let node = Node::start_with(&["--anchor-batch-age-ms", "3600000"]);
    let process = node.counter();
    increment(&node, &process, 1);
    let line = ["verify", &process, "--against", "weave"];
    let refused = node.weft(&line).expect(1);
    assert!(refused.err.contains("2 of its slots wait for a batch: `weft anchor flush`"), "{}", refused.err);
    node.json(&["anchor", "flush"]);
    anchored(&node, &process, 1);
    node.weft(&line).expect(0);
    node.stop();
}

/// What is replayed comes from the weave and from nowhere else, here or on a node that knows nothing of the process.
#[test]
fn a_process_is_checked_against_the_weave_alone() {
    let home = tempfile::tempdir().unwrap();
    let seed = home.path().join("seed");
    std::fs::write(&seed, [7; 32]).unwrap();
    super::weft(home.path(), &["key", "import-seed", seed.to_str().unwrap()]).expect(0);
    let node = Node::start_as(home, &["--weave-listen", "0", "--anchor-batch-slots", "3"]);
    let address = node.ready["weave_api"].as_str().unwrap().to_owned();
    let process = node.counter();
    for round in 1..=4_u64 {
        increment(&node, &process, 2);
        anchored(&node, &process, 2 * round);
    }
    let expected = replayed(&node, &process);
    let check = |node: &Node, from: &[&str]| {
        let from: Vec<&str> = from.iter().flat_map(|url| ["--from", url]).collect();
        node.weft(&[&["verify", &process, "--against", "weave"], &from[..], &["--json"]].concat())
    };
    let other = Node::start();
    for ran in [check(&node, &[]), check(&node, &[&address]), check(&other, &[&address])] {
        let report = ran.expect(0).json();
        assert_eq!(report["difference"], Value::Null, "{report}");
        assert_eq!(json!([report["slots"], report["running"], report["state_root"]]), expected, "{report}");
        // Slot 0 is a boundary: it is attested, and so checked.
        assert!(report["attestations_checked"].as_u64().unwrap() > 0, "{report}");
        assert_eq!(report["weave"]["slots"], 9, "{report}");
        let bundles = &report["weave"]["bundles"];
        assert!(bundles.as_u64() > Some(0) && *bundles == report["weave"]["bundles_in_blocks"], "{report}");
    }
    assert_eq!(other.json(&["processes"]), json!([]), "nothing of it stays");
    for folder in [&node.folder, &other.folder] {
        let left = std::fs::read_dir(folder.path().join("from-weave")).unwrap().count();
        assert_eq!(left, 0);
    }
    // An attestor who signed something else, on the weave alone.
    let false_word = Liar::attesting(&address, &process, [7; 32], 4);
    let ran = check(&other, &[&false_word.address]).expect(1);
    let report = ran.json();
    let told = report["difference"].as_str().unwrap();
    assert!(told.starts_with("position 4: the replay gives"), "{told}");
    assert!(told.contains(node.ready["address"].as_str().unwrap()), "{told}");
    // The word of somebody who is no attestor decides nothing.
    let strange_word = Liar::attesting(&address, &process, [8; 32], 4);
    check(&other, &[&strange_word.address]).expect(0);
    // A weave that ends too early is not all there is.
    let bundles = node.json(&["weave"])["batches"].clone();
    // One without slots has what was attested late.
    let has_slots = |batch: &&Value| batch["from"].as_u64() <= batch["to"].as_u64();
    let last = bundles.as_array().unwrap().iter().rfind(has_slots).unwrap();
    let last = last["data_root"].as_str().unwrap().to_owned();
    let second = bundles.as_array().unwrap().iter().filter(has_slots).nth(1).unwrap();
    let second = second["data_root"].as_str().unwrap().to_owned();
    let hole = Liar::without(&address, vec![second]);
    let report = check(&other, &[&hole.address]).expect(1).json();
    assert_eq!(report["difference"], Value::Null, "{report}");
    assert_eq!(report["weave"]["missing"]["to"], 8, "{report}");
    let short = Liar::without(&address, vec![last]);
    assert!(check(&other, &[&short.address]).json()["slots"].as_u64().unwrap() < 9);
    let (_, why) = other.weft(&["verify", &process, "--from", &address, "--json"]).expect(2).error();
    assert!(why.contains("--against"), "{why}");
    other.stop();
    node.stop();
}

/// More than one batch holds: it was tried again for ever, and nothing of the process was anchored any more.
#[test]
fn large_messages_are_anchored_in_several_batches() {
    const BYTES: usize = 9 * 1024 * 1024;
    let node = Node::start_with(&super::repair::WITHOUT_WEAVE);
    let process = node.counter();
    let data = node.folder.path().join("data");
    for letter in ["a", "b", "c", "d"] {
        std::fs::write(&data, letter.repeat(BYTES)).unwrap();
        node.json(&["send", &process, "--data", &format!("@{}", data.display())]);
    }
    let node = Node::start_as(node.stop(), &["--weave-listen", "0"]);
    anchored(&node, &process, 4);
    let batches = node.json(&["weave"])["batches"].clone();
    let slots: Vec<Value> =
        batches.as_array().unwrap().iter().map(|batch| json!([batch["from"], batch["to"]])).collect();
    assert_eq!(slots[..2], [json!([0, 2]), json!([3, 4])], "{batches}");
    let new = Node::start();
    let report = recover(&new, &process, &[node.ready["weave_api"].as_str().unwrap()]);
    assert_eq!((&report["slots"], &report["module"]), (&json!(5), &json!("recovered")), "{report}");
    new.stop();
    node.stop();
}

/// Every kind of lie alone, where nobody else is asked: nothing false is taken. And beside an honest gateway, which
/// is asked after the liar: everything comes, and the liar is named.
#[test]
fn gateways_that_lie_lose_nothing_and_are_named() {
    let (node, honest) = keeper(&["--anchor-batch-slots", "4"]);
    let process = node.counter();
    increment(&node, &process, 10);
    anchored(&node, &process, 10);
    let expected = replayed(&node, &process);
    for lie in Lie::ALL {
        let liar = Liar::before(&honest, lie);
        let alone = Node::start();
        let ran = alone.weft(&["recover", &process, "--from", &liar.address, "--json"]);
        let here = alone.json(&["processes"]);
        let slots = here[0]["head"].as_u64().map_or(0, |head| head + 1);
        if lie.is_harmless() {
            assert_eq!((ran.code, slots), (0, 11), "{lie:?}: {}", ran.err);
        } else {
            assert_ne!(ran.code, 0, "{lie:?}: {}", ran.text());
            assert!(slots < 11, "{lie:?}: {slots}");
        }
        // What is here is true: the honest one only adds to it.
        let report = recover(&alone, &process, &[&liar.address, &honest]);
        assert_eq!((&report["slots"], &report["missing"]), (&json!(11), &Value::Null), "{lie:?}: {report}");
        assert_eq!(replayed(&alone, &process), expected, "{lie:?}");
        let fresh = Node::start();
        let report = recover(&fresh, &process, &[&liar.address, &honest]);
        assert_eq!((&report["slots"], &report["missing"]), (&json!(11), &Value::Null), "{lie:?}: {report}");
        assert_eq!(replayed(&fresh, &process), expected, "{lie:?}");
        let told = |at: usize| report["gateways"][at]["faults"].to_string();
        assert_eq!(told(1), "[]", "{lie:?}: the honest one is blamed: {report}");
        if let Some(named) = lie.named() {
            assert!(told(0).contains(named), "{lie:?}: {}", told(0));
        }
        fresh.stop();
        alone.stop();
    }
    node.stop();
}

/// Slots that two gateways have between them, and slots that nobody has.
#[test]
fn holes_are_filled_from_others_or_named() {
    let (node, honest) = keeper(&["--anchor-batch-slots", "3"]);
    let process = node.counter();
    for round in 1..=4_u64 {
        increment(&node, &process, 3);
        anchored(&node, &process, 3 * round);
    }
    let expected = replayed(&node, &process);
    let bundles = node.json(&["weave"])["batches"].clone();
    let bundles: Vec<String> = bundles
        .as_array()
        .unwrap()
        .iter()
        .filter(|batch| batch["from"].as_u64() <= batch["to"].as_u64())
        .map(|batch| batch["data_root"].as_str().unwrap().to_owned())
        .collect();
    assert!(bundles.len() >= 4, "{bundles:?}");
    let (even, odd): (Vec<_>, Vec<_>) = bundles.iter().cloned().enumerate().partition(|(at, _)| at % 2 == 0);
    let names = |list: Vec<(usize, String)>| list.into_iter().map(|(_, name)| name).collect::<Vec<_>>();
    let without_even = Liar::without(&honest, names(even));
    let without_odd = Liar::without(&honest, names(odd.clone()));
    let new = Node::start();
    let report = recover(&new, &process, &[&without_even.address, &without_odd.address]);
    assert_eq!((&report["slots"], &report["missing"]), (&json!(13), &Value::Null), "{report}");
    assert!(
        report["gateways"].as_array().unwrap().iter().all(|one| one["slots"].as_u64().unwrap() > 0),
        "{report}"
    );
    assert_eq!(replayed(&new, &process), expected);
    new.stop();
    // One bundle in the middle is nowhere: the log ends before it, and what the scheduler signed after it is named.
    let gone = Liar::without(&honest, vec![odd[0].1.clone()]);
    let new = Node::start();
    let ran = new.weft(&["recover", &process, "--from", &gone.address, "--json"]).expect(1);
    let report = ran.json();
    let slots = report["slots"].as_u64().unwrap();
    assert!(slots > 0 && slots < 13, "{report}");
    assert_eq!(report["missing"], json!({ "from": slots, "to": 12 }), "{report}");
    let text = new.weft(&["recover", &process, "--from", &gone.address]).expect(1);
    assert!(text.text().contains(&format!("slots {slots} to 12")), "{}", text.text());
    // It comes later, from somebody else.
    let report = recover(&new, &process, &[&honest]);
    assert_eq!((&report["slots"], &report["missing"]), (&json!(13), &Value::Null));
    assert_eq!(replayed(&new, &process), expected);
    new.stop();
    node.stop();
}

#[test]
fn what_is_asked_for_wrongly_is_refused() {
    let (node, address) = keeper(&[]);
    let process = node.counter();
    let ask = |args: &[&str], code: i32| {
        node.weft(&[&["recover"], args, &["--json"]].concat()).expect(code).error()
    };
    let nobody = "A".repeat(43);
    let (_, why) = ask(&[&nobody, "--from", &address], 1);
    assert!(why.contains("was not found") && why.contains(&address), "{why}");
    let (_, why) = ask(&[&process, "--from", "arweave.net"], 2);
    assert!(why.contains("https://"), "{why}");
    let many: Vec<String> = (0..17).map(|at| format!("http://127.0.0.1:{at}/")).collect();
    let many: Vec<&str> = many.iter().flat_map(|url| ["--from", url]).collect();
    let (_, why) = ask(&[&[&*nobody], &many[..]].concat(), 2);
    assert!(why.contains("17 gateways"), "{why}");
    // Something that is no process.
    let module = node.json(&["module", "list"])[0]["module"].as_str().unwrap().to_owned();
    let new = Node::start();
    anchored(&node, &process, 0);
    let ran = new.weft(&["recover", &module, "--from", &address, "--json"]);
    assert!(ran.code != 0 && ran.err.contains(&module), "{}", ran.err);
    assert_eq!(new.json(&["processes"]), json!([]));
    // A node goes on without it; so does one whose gateway is not there.
    let ran = new.weft(&["recover", &process, "--from", "http://127.0.0.1:1", "--json"]).expect(1);
    assert!(ran.err.contains("cannot be reached"), "{}", ran.err);
    new.stop();
    let folder: &Path = node.folder.path();
    assert!(folder.join("weave.redb").exists());
    node.stop();
}
