//! `weft messages`: a log as clients of the reference's scheduler unit see it.

use serde_json::{Value, json};

use super::node::Node;

fn nonce(message: &Value) -> &str {
    let tags = message["assignment"]["tags"].as_array().unwrap();
    tags.iter().find(|tag| tag["name"] == "Nonce").unwrap()["value"].as_str().unwrap()
}

fn nonces(page: &Value) -> Vec<&str> {
    page["edges"].as_array().unwrap().iter().map(|edge| nonce(&edge["node"])).collect()
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
    let after = whole["edges"][1]["cursor"].as_str().unwrap();
    assert!(nonces(&messages(&["--from", after])).len() < 2);

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
