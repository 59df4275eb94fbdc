//! What a node does for which processes, and that it still does it after a restart.

use serde_json::{Value, json};

use super::node::{Node, until_is};

fn duties(info: &Value) -> Vec<&str> {
    info["duties"].as_array().unwrap().iter().map(|duty| duty.as_str().unwrap()).collect()
}

#[test]
fn a_pin_holds_until_it_is_taken_out() {
    let node = Node::start();
    let process = node.counter();
    assert!(!duties(&node.json(&["processes"])[0]).contains(&"pinned"));
    let pinned = node.json(&["pin", &process]);
    assert_eq!(duties(&pinned), ["schedule", "compute", "messenger", "pinned"]);
    let node = Node::start_in(node.stop());
    assert_eq!(node.json(&["processes"])[0]["duties"], pinned["duties"]);
    assert!(!duties(&node.json(&["pin", &process, "--off"])).contains(&"pinned"));
    // A process of nobody's is not pinned in passing.
    let stranger = weft_protocol::Id([7; 32]).to_string();
    let (code, text) = node.weft(&["pin", &stranger, "--json"]).expect(1).error();
    assert!(code == "unknown" && text.contains("weft host"), "{code} {text}");
    assert_eq!(node.json(&["processes"]).as_array().map(Vec::len), Some(1));
    assert_eq!(node.json(&["status"])["processes"], json!(1));
}

#[test]
fn a_process_that_is_let_go_is_gone_and_can_be_taken_up_again() {
    let scheduler = Node::start();
    let process = scheduler.counter();
    let host = scheduler.start_beside(&[]);
    assert_eq!(duties(&host.json(&["host", &process, "--compute"])), ["compute", "watch"]);
    let sent = scheduler.json(&["send", &process, "--action", "Increment", "--wait"]);
    let item = sent["id"].as_str().unwrap();
    assert_eq!(host.json(&["result", &process, item, "--wait"])["computed_here"], true);
    let in_memory = |node: &Node| {
        node.json(&["metrics"])["weft_budget_used{role=\"compute\",budget=\"instances\"}"].as_f64()
    };
    assert_eq!(in_memory(&host), Some(1.0));
    // What schedules must stay, what is pinned stays until that is taken back.
    let (code, text) = scheduler.weft(&["unhost", &process, "--json"]).expect(1).error();
    assert!(code == "refused" && text.contains("schedules"), "{code} {text}");
    host.json(&["pin", &process]);
    let (code, text) = host.weft(&["unhost", &process, "--json"]).expect(1).error();
    assert!(code == "refused" && text.contains("--off"), "{code} {text}");
    host.json(&["pin", &process, "--off"]);
    assert_eq!(duties(&host.json(&["unhost", &process])), [""; 0]);
    assert_eq!(host.json(&["processes"]), json!([]));
    // The compute role hears of it a moment later.
    until_is("it leaves memory", &json!(0.0), || json!(in_memory(&host)));
    let (code, _) = host.weft(&["cron", &process, "--json"]).expect(1).error();
    assert_eq!(code, "unknown");
    // Nor is it there after a restart; its log is, so that nobody need be asked for its beginning.
    let folder = host.stop();
    let missed = scheduler.json(&["send", &process, "--action", "Increment", "--wait"]);
    let host = scheduler.join_as(folder, &[]);
    assert_eq!(host.json(&["processes"]), json!([]));
    host.json(&["host", &process, "--compute"]);
    let missed = host.json(&["result", &process, missed["id"].as_str().unwrap(), "--wait"]);
    assert_eq!((&missed["computed_here"], &missed["result"]["Output"]), (&json!(true), &json!("2")));
    assert_eq!(host.json(&["verify", &process])["difference"], Value::Null);
}

#[test]
fn a_process_that_is_forgotten_gives_its_room_back_and_can_be_taken_up_anew() {
    let scheduler = Node::start();
    let process = scheduler.counter();
    let host = scheduler.start_beside(&[]);
    host.json(&["host", &process, "--compute"]);
    let mut items = Vec::new();
    for _ in 0..3 {
        let sent = scheduler.json(&["send", &process, "--action", "Increment", "--wait"]);
        items.push(sent["id"].as_str().unwrap().to_owned());
    }
    let newest = |host: &Node| host.json(&["result", &process, &items[2], "--wait"])["computed_here"].clone();
    assert_eq!(newest(&host), true);
    // Not its scheduler, nor what is pinned; nothing of it changed then.
    let (code, text) = scheduler.weft(&["unhost", &process, "--forget", "--yes", "--json"]).expect(1).error();
    assert!(code == "refused" && text.contains("schedules process"), "{code} {text}");
    host.json(&["pin", &process]);
    let (code, text) = host.weft(&["unhost", &process, "--forget", "--json"]).expect(1).error();
    assert!(code == "refused" && text.contains("--off"), "{code} {text}");
    host.json(&["pin", &process, "--off"]);
    host.weft(&["unhost", &process, "--yes"]).expect(2);
    // Its scheduler has all of it, so nobody need be asked.
    let forgot = host.json(&["unhost", &process, "--forget"]);
    assert_eq!(
        (&forgot["process"], &forgot["slots"], &forgot["items"]),
        (&json!(process), &json!(4), &json!(4))
    );
    assert_eq!(forgot["lost"], json!([]));
    assert!(forgot["bytes"].as_u64() > Some(4_000), "{forgot}");
    assert_eq!(host.json(&["processes"]), json!([]));
    for item in &items {
        let (code, text) = host.weft(&["inspect", item, "--json"]).expect(1).error();
        assert_eq!(code, "unknown", "{text}");
    }
    let (code, text) = host.weft(&["unhost", &process, "--forget", "--json"]).expect(1).error();
    assert!(code == "unknown" && text.contains("on this disk"), "{code} {text}");
    // Anew, from others, at once and over a restart.
    host.json(&["host", &process, "--compute"]);
    assert_eq!(newest(&host), true);
    assert_eq!(host.json(&["unhost", &process, "--forget"])["slots"], 4);
    let host = scheduler.join_as(host.stop(), &[]);
    assert_eq!(host.json(&["processes"]), json!([]));
    host.json(&["host", &process, "--compute"]);
    assert_eq!(newest(&host), true);
    assert_eq!(host.json(&["verify", &process])["difference"], Value::Null);
    // Where nobody is known to have it, its operator says so, also of what was left before.
    host.json(&["unhost", &process]);
    scheduler.stop();
    let (code, text) = host.weft(&["unhost", &process, "--forget", "--json"]).expect(1).error();
    assert!(code == "refused" && text.contains("slots 0 to 3") && text.contains("--yes"), "{code} {text}");
    let forgot = host.json(&["unhost", &process, "--forget", "--yes"]);
    assert!(forgot["slots"] == 4 && forgot["lost"][0].as_str().unwrap().contains("slots 0 to 3"), "{forgot}");
    let (code, _) = host.weft(&["host", &process, "--json"]).expect(1).error();
    assert_eq!(code, "unknown");
    let folder = host.stop();
    super::weft(folder.path(), &["repair", "--dry-run", "--json"]).expect(0);
}

#[test]
fn a_transaction_gets_no_slot_where_nobody_can_say_that_it_is_settled() {
    let node = Node::start();
    let transaction = weft_protocol::Id([7; 32]).to_string();
    let plain = node.counter();
    let (code, text) =
        node.weft(&["assign", &plain, &transaction, "--base-layer", "--json"]).expect(2).error();
    assert!(code == "invalid" && text.contains("Extension: Base-Layer"), "{code} {text}");
    let takes = node.json(&["spawn", "--tag", "Extension=Base-Layer"])["id"].as_str().unwrap().to_owned();
    let (code, text) =
        node.weft(&["assign", &takes, &transaction, "--base-layer", "--json"]).expect(1).error();
    assert!(code == "refused" && text.contains("`gateways`"), "{code} {text}");
    // Nothing listens there, which is said by name.
    let node = Node::start_as(node.stop(), &["--gateways", "http://127.0.0.1:1"]);
    let (code, text) =
        node.weft(&["assign", &takes, &transaction, "--base-layer", "--json"]).expect(1).error();
    assert!(code == "unknown" && text.contains("http://127.0.0.1:1: it cannot be reached"), "{code} {text}");
    node.stop();
}

#[test]
fn a_message_that_is_said_on_the_topic_says_what_becomes_of_it() {
    let node = Node::start();
    let process = node.counter();
    assert_eq!(node.json(&["pending"]), json!({ "letters": [], "held": [] }));
    let send = ["send", &process, "--action", "Increment", "--topic", "--json"];
    let (code, text) = node.weft(&send).expect(4).error();
    assert!(code == "pending" && text.contains("18 bits") && text.contains("weft pending"), "{code} {text}");
    // Its scheduler hears it like anybody's.
    let state = || node.json(&["pending", &process])["letters"][0]["state"].clone();
    until_is("its slot", &json!("assigned"), state);
    let letter = node.json(&["pending"])["letters"][0].clone();
    assert_eq!((&letter["slot"], &letter["process"]), (&json!(1), &json!(process)));
    until_is("nothing to be held", &json!([]), || node.json(&["pending"])["held"].clone());
    // Whoever waits is given the result.
    let sent = node.json(&["send", &process, "--action", "Increment", "--topic", "--wait"]);
    assert_eq!((&sent["slot"], &sent["result"]["result"]["Output"]), (&json!(2), &json!("2")));
    let large = "x".repeat(5_000);
    let send = ["send", &process, "--data", &large, "--topic", "--json"];
    let (code, text) = node.weft(&send).expect(2).error();
    assert!(code == "invalid" && text.contains("at most 4096"), "{code} {text}");
}
