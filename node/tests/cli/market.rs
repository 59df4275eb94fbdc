//! What messengers ask and who carries, as a person sees it.

use serde_json::json;

use super::node::{Node, until};

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
