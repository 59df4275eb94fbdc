//! The ledger that comes with the program, funded by an ao token beside it.

use serde_json::{Value, json};

use super::node::{Node, until_is};

/// The example that `testnet/examples` shows.
pub(super) const TOKEN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../testnet/examples/token.lua");

pub(super) fn spawn(node: &Node, more: &[&str]) -> String {
    node.json(&[&["spawn"], more].concat())["id"].as_str().unwrap().to_owned()
}

/// Sends a message and gives what it put into its outbox.
pub(super) fn send(node: &Node, process: &str, action: &str, tags: &[&str]) -> Value {
    let mut words = vec!["send", process, "--action", action, "--wait"];
    tags.iter().for_each(|tag| words.extend(["--tag", *tag]));
    let sent = node.json(&words);
    assert_eq!(sent["result"]["code"], 0, "{sent}");
    sent["result"]["result"]["Messages"].clone()
}

/// What a ledger answers about somebody's balance.
pub(super) fn balance(node: &Node, ledger: &str, of: &str) -> Value {
    let of = format!("Recipient={of}");
    node.json(&["dry-run", ledger, "--action", "Balance", "--tag", &of])["result"]["Output"].clone()
}

/// What a token has for somebody, or the error where there is nothing of his yet.
pub(super) fn held(node: &Node, token: &str, of: &str) -> Value {
    let shown = node.weft(&["state", token, &format!("Balances.{of}"), "--json"]);
    if shown.code == 0 { shown.json()["value"].clone() } else { json!(shown.err) }
}

/// Money goes from a token into the ledger, into an escrow, a bond, and back, by messages that processes
/// prove to each other.
#[test]
fn a_token_funds_the_ledger_and_has_it_back() {
    let node = Node::start();
    let me = node.ready["address"].as_str().unwrap().to_owned();
    let token = spawn(&node, &["--tag", "On-Boot=Data", "--data", &format!("@{TOKEN}")]);
    let funded = format!("Token={token}");
    let ledger = spawn(&node, &["--module", "ledger", "--tag", &funded]);
    send(&node, &token, "Mint", &["Quantity=5000000000000"]);
    let to = format!("Recipient={ledger}");
    send(&node, &token, "Transfer", &[&to, "Quantity=4000000000000"]);
    until_is("the deposit is booked", &json!("4000000000000"), || balance(&node, &ledger, &me));
    // Straight into an escrow, by a tag that the token passes on.
    let escrow = format!("X-Escrow={token}");
    send(&node, &token, "Transfer", &[&to, "Quantity=900000000000", &escrow]);
    let of = format!("Source={token}");
    let claimable = || {
        let shown = node.json(&["dry-run", &ledger, "--action", "Escrow-Of", "--tag", &of]);
        let json = shown["result"]["Output"].as_str().unwrap_or_default().to_owned();
        serde_json::from_str::<Value>(&json).map_or(json!(json), |escrow| escrow["claimable"].clone())
    };
    until_is("the escrow is there", &json!("890000000000"), claimable);
    // A notice that somebody signs himself is not the token's.
    let sender = format!("Sender={me}");
    assert_eq!(send(&node, &ledger, "Credit-Notice", &[&sender, "Quantity=7"]), json!([]));
    let messages = send(&node, &ledger, "Bond", &["Quantity=1000000000000"]);
    assert_eq!(messages[0]["Tags"][0]["value"], "Bond-Response");
    let messages = send(&node, &ledger, "Withdraw", &["Quantity=2500000000000"]);
    assert_eq!(messages[0]["Target"], token);
    assert_eq!(balance(&node, &ledger, &me), "500000000000");
    until_is("the token has it back", &json!("2600000000000"), || held(&node, &token, &me));
    // The network of claims is on the Process item, though nobody wrote it there.
    let refused = send(&node, &ledger, "Claim", &[&of, "Window=1"]);
    let error = refused[0]["Data"].as_str().unwrap();
    assert!(error.starts_with("the claim: ") && !error.contains("Network"), "{error}");
    let audit = node.json(&["dry-run", &ledger, "--action", "Audit"]);
    let audit: Value = serde_json::from_str(audit["result"]["Output"].as_str().unwrap()).unwrap();
    let sums =
        ["deposited", "withdrawn", "balances", "escrows", "bonds"].map(|name| audit[name].as_str().unwrap());
    let expected = ["4900000000000", "2500000000000", "500000000000", "900000000000", "1000000000000"];
    assert_eq!((sums, &audit["conserves"]), (expected, &json!(true)));
}
