//! `weft messages`: a log as clients of the reference's scheduler unit see it.

use std::io::{BufRead, BufReader, Write};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use weft_protocol::crypto::Signer;
use weft_protocol::data_item::Draft;
use weft_protocol::{Id, Tag};

use super::node::Node;
use super::socket::connect;

fn nonce(message: &Value) -> &str {
    let tags = message["assignment"]["tags"].as_array().unwrap();
    tags.iter().find(|tag| tag["name"] == "Nonce").unwrap()["value"].as_str().unwrap()
}

fn nonces(page: &Value) -> Vec<&str> {
    page["edges"].as_array().unwrap().iter().map(|edge| nonce(&edge["node"])).collect()
}

fn cursor(edge: &Value) -> u64 {
    edge["cursor"].as_str().unwrap().parse().unwrap()
}

#[test]
fn a_log_is_paged_by_time_and_by_nonce_and_its_messages_are_found() {
    let node = Node::start();
    let (process, other) = (node.counter(), node.counter());
    let foreign = node.json(&["send", &other, "--action", "Increment"])["id"].as_str().unwrap().to_owned();
    let sent = node.json(&["send", &process, "--action", "Increment"]);
    let assigned = node.json(&["assign", &process, &foreign]);
    let messages = |flags: &[&str]| node.json(&[&["messages", &process], flags].concat());

    let whole = messages(&[]);
    assert_eq!((nonces(&whole), &whole["page_info"]["has_next_page"]), (vec!["0", "1", "2"], &json!(false)));
    assert_eq!(whole["edges"][0]["node"]["message"]["id"], *process);
    assert_eq!(nonces(&messages(&["--from-nonce", "0", "--to-nonce", "1"])), ["1"]);
    let first = node.weft(&["messages", &process, "--limit", "1", "--to-nonce", "9"]).expect(0);
    assert!(first.err.contains("there is more: --from-nonce 0"), "{}", first.err);
    assert!(first.text().contains("Process"), "{}", first.text());
    // By time: after one cursor, up to another. Slots of one millisecond stay together.
    let cursors: Vec<u64> = (0..3).map(|edge| cursor(&whole["edges"][edge])).collect();
    assert!(cursors[0] < cursors[2], "{cursors:?}");
    for from in &cursors {
        for to in &cursors {
            let page = messages(&["--from", &from.to_string(), "--to", &to.to_string()]);
            let between = (0..3).filter(|slot| (from + 1..=*to).contains(&cursors[*slot]));
            assert_eq!(nonces(&page), between.map(|slot| ["0", "1", "2"][slot]).collect::<Vec<_>>());
        }
    }

    // By the id of the message and by that of its assignment; what was written to another process
    // by its assignment alone.
    for id in [&sent["id"], &sent["assignment"]] {
        let found = messages(&["--id", id.as_str().unwrap()]);
        assert_eq!((nonce(&found), &found["message"]["id"]), ("1", &sent["id"]));
    }
    let found = messages(&["--id", assigned["assignment"].as_str().unwrap()]);
    assert_eq!((nonce(&found), &found["message"]), ("2", &Value::Null));
    assert_eq!(found, messages(&["--latest"]));
    let missing = node.weft(&["messages", &process, "--id", &foreign, "--json"]).expect(1).error();
    assert_eq!(missing, ("unknown".to_owned(), "Message or Process not found".to_owned()));

    for flags in [["--latest", "--limit", "1"], ["--from", "1", "--to-nonce=1"]] {
        node.weft(&[&["messages", &process], &flags[..]].concat()).expect(2);
    }
}

/// Reads a line of the control socket.
fn line(lines: &mut impl BufRead) -> Value {
    let mut line = String::new();
    lines.read_line(&mut line).unwrap();
    serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line:?}"))
}

#[test]
fn a_watch_goes_through_more_slots_than_one_answer_holds() {
    const SLOTS: u64 = 1_050;
    let node = Node::start_with(&["--roles", "scheduler"]);
    let module = node.add_counter();
    let nobody = Signer::from_seed(&[8; 32]).address().to_string();
    let spawned = node.json(&["spawn", "--module", &module, "--compute", &nobody]);
    let process: Id = spawned["id"].as_str().unwrap().parse().unwrap();
    let stream = connect(node.folder.path());
    let mut lines = BufReader::new(stream.try_clone().unwrap());
    let say = |request: &Value| (&stream).write_all(format!("{request}\n").as_bytes()).unwrap();
    let signer = Signer::from_seed(&[9; 32]);
    for slot in 1..SLOTS {
        let tags = [("Data-Protocol", "ao"), ("Type", "Message"), ("Number", &slot.to_string())];
        let tags = tags.map(|(name, value)| Tag::new(name, value)).to_vec();
        let item = Draft { target: Some(process), tags, ..Draft::default() }.sign(&signer).unwrap();
        say(&json!({ "do": "submit", "item": STANDARD.encode(item.raw()) }));
        assert_eq!(line(&mut lines)["done"]["slot"], slot);
    }
    // Nothing happens any more, and still all are shown.
    say(&json!({ "do": "watch", "process": process, "from": 0 }));
    for slot in 0..SLOTS {
        let shown = line(&mut lines);
        assert_eq!((&shown["event"]["kind"], &shown["event"]["slot"]), (&json!("slot"), &json!(slot)));
    }
}
