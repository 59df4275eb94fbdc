//! What a node does for which processes, and that it still does it after a restart.

use serde_json::{Value, json};

use super::node::Node;

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
