//! The reference's checks that need a whole node: concurrency, old results, what is kept apart.

use std::collections::BTreeSet;
use std::thread;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use weft_protocol::crypto::Signer;
use weft_protocol::{Draft, Id, Tag};

use super::node::{Node, until};
use super::socket::ask;

fn message(process: &str, number: usize) -> Value {
    let tags = [("Data-Protocol", "ao"), ("Type", "Message"), ("Action", "Increment")];
    let mut tags: Vec<Tag> = tags.iter().map(|(name, value)| Tag::new(*name, *value)).collect();
    tags.push(Tag::new("Number", number.to_string()));
    let target: Id = process.parse().unwrap();
    let draft = Draft { target: Some(target), tags, ..Draft::default() };
    let item = draft.sign(&Signer::from_seed(&[number as u8; 32])).unwrap();
    json!({ "do": "submit", "item": STANDARD.encode(item.raw()) })
}

#[test]
fn check_013_a_hundred_clients_at_once_get_numbers_without_gap_or_repeat() {
    const CLIENTS: usize = 20;
    const EACH: usize = 5;
    let node = Node::start();
    let process = node.counter();
    let slots: Vec<u64> = thread::scope(|scope| {
        let (folder, process) = (node.folder.path(), &process);
        let send = move |number: usize| {
            let answer = ask(folder, &message(process, number));
            answer["done"]["slot"].as_u64().unwrap_or_else(|| panic!("{answer}"))
        };
        let client = move |client: usize| {
            scope.spawn(move || (0..EACH).map(|n| send(client * EACH + n)).collect::<Vec<_>>())
        };
        let clients: Vec<_> = (0..CLIENTS).map(client).collect();
        clients.into_iter().flat_map(|client| client.join().unwrap()).collect()
    });
    let numbers: BTreeSet<u64> = slots.iter().copied().collect();
    assert_eq!(slots.len(), CLIENTS * EACH);
    assert!(numbers.into_iter().eq(1..=100));
    let last = node.json(&["result", &process, "--slot", "100", "--wait"]);
    assert_eq!(last["result"]["Output"], "100");
    // Every link of the chain is checked, and every outcome replayed.
    let verified = node.json(&["verify", &process]);
    assert_eq!((&verified["slots"], &verified["difference"]), (&json!(101), &Value::Null));
}

/// The reference answers only what it has in a cache, or what lies ahead of its memory.
#[test]
fn check_066_a_result_of_long_ago_is_still_there() {
    let node = Node::start();
    let process = node.counter();
    for _ in 0..5 {
        node.json(&["send", &process, "--action", "Increment", "--wait"]);
    }
    let folder = node.stop();
    let node = Node::start_in(folder);
    for slot in [5, 1, 3] {
        let slot = slot.to_string();
        assert_eq!(node.json(&["result", &process, "--slot", &slot])["result"]["Output"], *slot);
        assert_eq!(
            node.json(&["dry-run", &process, "--slot", &slot, "--action", "Count"])["result"]["Output"],
            *slot
        );
    }
}

#[test]
fn check_073_equal_dry_runs_of_two_processes_are_two() {
    let node = Node::start();
    let (one, two) = (node.counter(), node.counter());
    node.json(&["send", &one, "--action", "Increment", "--wait"]);
    let run = |process: &str| {
        let body = json!({ "Owner": "anybody", "Tags": [{ "name": "Action", "value": "Count" }] });
        let answer =
            ask(node.folder.path(), &json!({ "do": "dry-run", "process": process, "message": body }));
        answer["done"]["result"]["Output"].clone()
    };
    assert_eq!([run(&one), run(&two), run(&one)], ["1", "0", "1"]);
}

#[test]
fn check_092_a_message_to_a_wallet_is_told_and_carried_nowhere() {
    let node = Node::start();
    let process = node.counter();
    let me = node.ready["address"].as_str().unwrap();
    let to = format!("To={me}");
    let sent = node.json(&["send", &process, "--action", "Relay", "--tag", &to, "--wait"]);
    assert_eq!(sent["result"]["result"]["Messages"][0]["Target"], me);
    let detail = node.json(&["inspect", &process]);
    assert_eq!((&detail["outbox_pending"], &detail["outbox_settled"]), (&json!(0), &json!(0)), "{detail}");
}

#[test]
fn check_098_what_a_tick_sends_has_no_root() {
    let node = Node::start();
    let target = node.counter();
    let module = node.json(&["module", "list"])[0]["module"].as_str().unwrap().to_owned();
    let to = format!("Cron-Tag-To={target}");
    let spawned = node.json(
        &[
            &[
                "spawn",
                "--module",
                &module,
                "--tag",
                "Cron-Interval=1-second",
                "--tag",
                "Cron-Tag-Action=Relay",
            ][..],
            &["--tag", &to],
        ]
        .concat(),
    );
    let clock = spawned["id"].as_str().unwrap();
    node.json(&["cron", clock]);
    let pushed = until("a push to arrive", || {
        let slots = node.json(&["inspect", &target, "--slots", "0..100"]);
        let pushed = slots["slots"].as_array().unwrap().iter().find(|slot| slot["pushed"] == true).cloned();
        pushed.ok_or_else(|| slots.to_string())
    });
    assert_eq!(pushed["from"], clock);
    let item = node.json(&["inspect", pushed["item"].as_str().unwrap()]);
    let names: Vec<&str> =
        item["tags"].as_array().unwrap().iter().map(|tag| tag["name"].as_str().unwrap()).collect();
    assert!(names.contains(&"From-Tick") && !names.contains(&"Pushed-For"), "{names:?}");
}
