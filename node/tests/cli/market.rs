//! What messengers ask and who carries, as a person sees it.

use serde_json::{Value, json};

use super::ledger::{TOKEN, balance, held, send, spawn};
use super::node::{Node, until, until_is};

/// What the shop pays: 320 pushes in its window 1, at the price that the messenger asks.
const PAID: &str = "320000000000";

#[test]
fn a_messenger_says_its_price_and_who_carries_a_push() {
    let node = Node::start_with(&["--price", "7", "--price-per-kib", "2"]);
    // A list without entries is an answer.
    assert_eq!(node.json(&["market"]), json!([]));
    assert_eq!(node.json(&["subscriptions"]), json!([]));
    assert_eq!(node.json(&["market", "earnings"])["ledgers"], json!([]));
    let process = node.counter();
    let outbox = node.weft(&["outbox", &process, "--json"]).expect(0).json();
    assert_eq!(outbox["entries"], json!([]), "{outbox}");
    assert_eq!(node.json(&["push", &process]), json!({ "pushed": 0 }));
    node.weft(&["push", &process, "1/0"]).expect(1);
    let offers = until("the node's own offer", || {
        let offers = node.json(&["market", "offers"]);
        if offers[0].is_object() { Ok(offers) } else { Err(offers.to_string()) }
    });
    let own = &offers[0];
    assert_eq!(
        (&own["own"], &own["price_per_push"], &own["price_per_kib"]),
        (&json!(true), &json!(7), &json!(2))
    );
    assert_eq!((&own["messenger"], &own["processes"]), (&node.ready["address"], &json!([process])));
    let human = node.weft(&["market"]).expect(0);
    assert!(human.text().contains("(this node)") && human.text().contains("not read"), "{}", human.text());

    let rank = node.json(&["market", "rank", &process]);
    assert_eq!((&rank["mode"], &rank["push"]["slot"]), (&json!("soft"), &json!(1)));
    assert_eq!((&rank["ranks"][0]["own"], &rank["ranks"][0]["turn_ms"]), (&json!(true), &json!(0)));
    let human = node.weft(&["market", "rank", &process, "--push", "3.2/1"]).expect(0);
    assert!(human.text().contains("slot 3, tick 2, index 1"), "{}", human.text());
    let stranger = "A".repeat(43);
    let unknown = node.weft(&["market", "rank", &stranger]).expect(1);
    assert!(unknown.err.contains(&format!("weft host {stranger}")), "{}", unknown.err);
}

#[test]
fn a_price_that_is_none_is_named() {
    let node = Node::start_with(&["--roles", "scheduler,compute"]);
    let wrong = node.weft(&["config", "check", "--price", "cheap"]).expect(2);
    assert!(
        wrong.err.contains("--price-per-push: `price_per_push` is \"cheap\"; expected a whole"),
        "{}",
        wrong.err
    );
    let wrong = node.weft(&["market", "rank", &"A".repeat(43), "--push", "3"]).expect(2);
    assert!(wrong.err.contains("expected SLOT/INDEX"), "{}", wrong.err);
    // Who has no messenger role offers nothing, and says how to.
    node.counter();
    let none = node.weft(&["market"]).expect(0);
    assert!(none.err.contains("no offers yet"), "{}", none.err);
}

/// Has a process run Lua, and waits until its log is so long.
fn evaluate(node: &Node, process: &str, code: &str, slots: u64) {
    let sent = node.json(&["send", process, "--action", "Eval", "--wait", "--data", code]);
    assert_eq!(sent["result"]["code"], 0, "{sent}");
    until("what it sends to have its slots", || {
        let all = node.json(&["processes"]);
        let head =
            all.as_array().unwrap().iter().find(|info| info["process"] == process).map(|info| &info["head"]);
        match head.and_then(Value::as_u64) {
            Some(head) if head + 1 >= slots => Ok(()),
            head => Err(format!("{head:?}")),
        }
    });
}

/// What a person types who carries for pay on a machine of his own; one who was not there comes to the same sum.
#[test]
fn a_person_earns_by_commands_is_audited_by_who_was_not_there_and_withdraws() {
    let payer = Node::start_with(&["--roles", "scheduler,compute"]);
    let carrier = payer.start_beside(&["--roles", "compute,messenger", "--price", "1000000000"]);
    let address = |node: &Node| node.ready["address"].as_str().unwrap().to_owned();
    let (owner, me) = (address(&payer), address(&carrier));
    let token = spawn(&payer, &["--tag", "On-Boot=Data", "--data", &format!("@{TOKEN}")]);
    let funded = format!("Token={token}");
    let soon = ["--tag", "Challenge-Slots=8", "--tag", "Challenge-Seconds=1"];
    let ledger = spawn(&payer, &[&["--module", "ledger", "--tag", &funded], &soon[..]].concat());
    let target = spawn(&payer, &["--name", "box"]);
    let pays_at = format!("Push-Ledger={ledger}");
    let terms = [
        "Push-Market=hard",
        "Extension=Push-Market",
        &pays_at,
        "Push-Price-Max=1000000000",
        "Push-Price-Kib-Max=0",
    ];
    let terms: Vec<&str> = terms.into_iter().flat_map(|tag| ["--tag", tag]).collect();
    let shop = spawn(&payer, &terms);
    for process in [&token, &ledger, &shop] {
        carrier.json(&["host", process, "--compute", "--messenger"]);
    }

    // Money for both: the ledger hears of it by a push, which nobody else carries.
    send(&payer, &token, "Mint", &["Quantity=9000000000000"]);
    send(&payer, &token, "Transfer", &[&format!("Recipient={ledger}"), "Quantity=5000000000000"]);
    until_is("the deposit", &json!("5000000000000"), || balance(&payer, &ledger, &owner));
    send(&payer, &ledger, "Transfer", &[&format!("Recipient={me}"), "Quantity=1000000000000"]);
    carrier.json(&["market", "bond", &ledger, "1000000000000"]);
    payer.json(&["market", "escrow", &ledger, &shop, "2000000000000"]);
    until("the payer to hear the offer", || {
        let offers = payer.json(&["market", "offers"]);
        let is_meant = |offer: &Value| offer["processes"].as_array().unwrap().contains(&json!(shop));
        if offers.as_array().unwrap().iter().any(is_meant) { Ok(()) } else { Err(offers.to_string()) }
    });

    // Through window 0, and through window 1 with messages to another process.
    let ticks = "for i = 1, 300 do Send({ Target = ao.id, Action = 'Tick' }) end";
    evaluate(&payer, &shop, ticks, 300);
    let pings = format!("for i = 1, 20 do Send({{ Target = '{target}', Action = 'Ping' }}) end");
    evaluate(&payer, &shop, &pings, 300);
    evaluate(&payer, &shop, ticks, 600);
    let earned = || carrier.json(&["market", "earnings", &ledger])["ledgers"][0].clone();
    // The ledger is asked for the last two each time, and may be busy.
    until_is("the pay", &json!([PAID, "0", PAID, "1000000000000"]), || {
        let last = earned();
        json!([last["paid"], last["lost"], last["balance"], last["bond"]])
    });

    let auditor = payer.start_beside(&["--roles", "compute"]);
    auditor.json(&["host", &shop, "--compute"]);
    until("the audit to come to what was paid", || {
        let audit = auditor.weft(&["market", "audit", &shop, "--window", "1", "--json"]);
        if audit.code != 0 {
            return Err(audit.err);
        }
        let window = audit.json()["windows"][0].clone();
        let row = &window["messengers"][0];
        let seen = [&window["pushes"], &window["unknown"], &row["messenger"], &row["due"]];
        if seen == [&json!(320), &json!(0), &json!(me), &json!(PAID)] {
            Ok(())
        } else {
            Err(window.to_string())
        }
    });

    carrier.json(&["market", "withdraw", &ledger, PAID]);
    until_is("the token to pay it out", &json!(PAID), || held(&payer, &token, &me));
}
