//! The tour with the built-in counter: count, fail and roll back, push from process to process.

use serde_json::Value;
use weft_node::control::api::ResultInfo;
use weft_protocol::Tag;

use super::{Tour, anchor, counted};
use crate::check::Open;
use crate::town::{Actor, Town, Trouble};

/// Where the module comes from, for a person.
const NAME: &str = "counter (built in)";
/// Its format.
const FORMAT: &str = "wasm32-weft-plain";
/// Messages that each process counts.
const COUNTED: u64 = 5;

/// Runs it; none when it stopped on the way.
pub(super) async fn tour(tour: &mut Tour<'_>) -> Option<()> {
    let module = tour.module(NAME, weft_node::guests::COUNTER, FORMAT, &[]).await?;
    let [a, b] = tour.actors(module, ["counter-a", "counter-b"], &[]).await?;
    tour.step("send", "sending messages", async |town, open| send(town, [&a, &b], open).await).await?;
    tour.step("fail", "sending one that fails", async |town, open| fail(town, &a, open).await).await?;
    tour.step("push", "waiting for the push", async |town, open| relay(town, &a, &b, open).await).await?;
    tour.compare(&a).await?;
    tour.compare(&b).await?;
    let batches = tour
        .step("anchor", "waiting for the batch", async |town, open| anchor::anchored(town, &a, open).await)
        .await?;
    tour.found.batches = batches;
    tour.verify(&a).await?;
    tour.verify(&b).await
}

/// Messages from a third node are counted one by one, on a node that computes and does not
/// schedule.
async fn send(town: &Town<'_>, actors: [&Actor; 2], open: &mut Open) -> Result<((), String), Trouble> {
    for count in 1..=COUNTED {
        for actor in actors {
            let submitted = town.send(actor, "Increment", Vec::new(), "").await?;
            open.equal(format!("the slot of message {count} to {}", actor.name), &count, &submitted.slot);
        }
    }
    for actor in actors {
        for count in 1..=COUNTED {
            let result = town.result(actor, actor.witness(), count).await?;
            expect_output(open, &format!("slot {count} of {}", actor.name), &result, &count.to_string());
        }
    }
    let said = format!(
        "{COUNTED} messages to each from node {}; both have counted to {COUNTED}",
        town.fleet.plan().sender()
    );
    Ok(((), said))
}

/// A message that fails leaves no trace: the guest counts before it fails, and the next message
/// finds the count of before.
async fn fail(town: &Town<'_>, a: &Actor, open: &mut Open) -> Result<((), String), Trouble> {
    let failed = town.send(a, "Fail", Vec::new(), "").await?;
    let next = town.send(a, "Increment", Vec::new(), "").await?;
    let result = town.result(a, a.witness(), failed.slot).await?;
    open.equal("the code of the failed message", &1, &result.code);
    let error = result.result.get("Error").and_then(Value::as_str).unwrap_or("no Error");
    open.equal("its error", "counter: failed as asked", error);
    let result = town.result(a, a.witness(), next.slot).await?;
    expect_output(open, "the message after it", &result, &(COUNTED + 1).to_string());
    let said = format!("slot {} failed and was rolled back; the next counted {}", failed.slot, COUNTED + 1);
    Ok(((), said))
}

/// A message from process to process: computed on several nodes, attested, carried by a messenger,
/// proven to the other scheduler, counted there.
async fn relay(town: &Town<'_>, a: &Actor, b: &Actor, open: &mut Open) -> Result<((), String), Trouble> {
    let relay = town.send(a, "Relay", vec![Tag::new("To", b.id.to_string())], "").await?;
    let sent = town.result(a, a.witness(), relay.slot).await?;
    let messages = sent.result.get("Messages").and_then(Value::as_array).map_or(0, Vec::len);
    open.equal("messages that the relay sends", &1, &messages);
    let (slot, carrier) = town.pushed(a, b, "Increment", COUNTED + 1, open).await?;
    let result = town.result(b, b.scheduler, slot.slot).await?;
    expect_output(open, "the pushed message", &result, &(COUNTED + 1).to_string());
    let mut attested = 0_usize;
    if let Some(carrier) = carrier {
        let seen = town.result(a, carrier, relay.slot).await?;
        attested = seen.attested_by.iter().filter(|address| a.attestors.contains(address)).count();
        let expected = format!("at least {}", a.quorum);
        open.that("attestations with which it was carried", expected, attested, attested >= a.quorum);
    }
    let by = carrier.map_or_else(|| "a stranger".to_owned(), |node| format!("node {node}"));
    let said = format!(
        "slot {} of {} -> slot {} of {}, carried by {by}, proven by {}",
        relay.slot,
        a.name,
        slot.slot,
        b.name,
        counted(attested, "attestation", "attestations")
    );
    Ok(((), said))
}

fn expect_output(open: &mut Open, what: &str, result: &ResultInfo, expected: &str) {
    open.equal(format!("the code of {what}"), &0, &result.code);
    let seen = result.result.get("Output").map_or_else(|| "no Output".to_owned(), text_of);
    open.equal(format!("the output of {what}"), expected, seen.as_str());
}

fn text_of(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}
