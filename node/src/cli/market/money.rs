//! `weft market earnings`, and the messages that move a messenger's money at a ledger.

use std::collections::BTreeMap;

use clap::Args;
use serde::Serialize;
use serde_json::Value;
use weft_protocol::{Id, Tag};

use super::super::Context;
use super::super::args::{Wait, Wrong};
use super::super::compose;
use super::super::exit::{CliError, Exit};
use super::super::process::{result_of, submit};
use super::super::screen::{pairs, table};
use super::super::talk::ask;
use crate::control::api::{EarningsInfo, LedgerEarnings, MarketRequest, Request};

/// How long the ledger has to answer, in seconds.
const ANSWER_SECONDS: u64 = 60;

/// An amount at a ledger.
#[derive(Debug, Args)]
pub(crate) struct Money {
    /// The ledger
    #[arg(allow_hyphen_values = true)]
    pub(super) ledger: Id,
    /// How much, in the ledger's smallest unit
    #[arg(value_parser = amount)]
    pub(super) amount: u128,
}

/// A whole number above zero.
pub(super) fn amount(text: &str) -> Result<u128, Wrong> {
    let is_digits = text.bytes().all(|digit| digit.is_ascii_digit());
    let amount = text.parse().ok().filter(|amount| is_digits && *amount > 0);
    amount.ok_or_else(|| Wrong::new("expected a whole number above zero, in the ledger's smallest unit"))
}

/// What a ledger did.
#[derive(Debug, Serialize)]
struct Done {
    ledger: Id,
    /// The message that asked for it.
    message: Id,
    slot: u64,
    /// The tags of the ledger's answer.
    answer: BTreeMap<String, String>,
}

pub(super) async fn earnings(ledger: Option<Id>, context: &Context) -> Result<Exit, CliError> {
    let screen = context.screen;
    let request = Request::Market(MarketRequest::Earnings { ledger });
    let earned: EarningsInfo = ask(context, "asking the node", &request).await?;
    screen.answer(&earned, || {
        let ledgers = earned.ledgers.iter().map(human_ledger);
        let head = pairs(&[("messenger", earned.messenger.to_string())]);
        std::iter::once(head).chain(ledgers).collect::<Vec<_>>().join("\n\n")
    })?;
    for note in earned.ledgers.iter().flat_map(|ledger| &ledger.notes) {
        screen.remark(&screen.foreign(note));
    }
    if earned.ledgers.is_empty() {
        screen.remark(
            "nothing has been carried for pay yet: `weft host PROCESS --messenger` carries for a process in hard mode",
        );
    }
    Ok(Exit::Ok)
}

fn human_ledger(of: &LedgerEarnings) -> String {
    let or_none = |amount: &Option<String>| amount.clone().unwrap_or_else(|| "not known".to_owned());
    let read = match (of.computed_here, of.heard_to) {
        (true, _) => "computed here".to_owned(),
        (false, Some(slot)) => format!("as a quorum of its attestors signed it, up to slot {slot}"),
        (false, None) => "not heard: nothing is claimed".to_owned(),
    };
    let head = pairs(&[
        ("ledger", of.ledger.to_string()),
        ("read", read),
        ("running", format!("{} in windows that are not over", of.running)),
        ("claimable", of.claimable.clone()),
        ("claimed", of.claimed.clone()),
        ("challenged", of.challenged.clone()),
        ("paid", of.paid.clone()),
        ("lost", of.lost.clone()),
        ("balance", or_none(&of.balance)),
        ("bond", or_none(&of.bond)),
        ("locked", or_none(&of.locked)),
        ("leaving", or_none(&of.leaving)),
    ]);
    if of.claims.is_empty() {
        return head;
    }
    let rows = of.claims.iter().map(|claim| {
        [
            claim.source.to_string(),
            claim.window.to_string(),
            claim.sum.clone(),
            claim.state.clone(),
            claim.challenges.to_string(),
            claim.due.map_or_else(|| "-".to_owned(), |due| due.to_string()),
        ]
    });
    format!("{head}\n{}", table(["SOURCE", "WINDOW", "SUM", "STATE", "CHALLENGES", "DUE AT SLOT"], rows))
}

/// Sends a ledger one request with an amount, and shows its answer.
pub(super) async fn move_money(
    Money { ledger, amount }: Money,
    action: &'static str,
    more: Vec<Tag>,
    context: &Context,
) -> Result<Exit, CliError> {
    let tags = std::iter::once(Tag::new("Quantity", amount.to_string())).chain(more).collect();
    let draft = compose::message(ledger, Some(action.to_owned()), tags, None, Vec::new())?;
    let submitted = submit(&draft, context).await?;
    let wait = Wait { wait: true, timeout: ANSWER_SECONDS };
    let result = result_of(&submitted, &wait, context).await?;
    let answer = answer_of(&result.result, action).map_err(|why| CliError {
        exit: Exit::No,
        code: "refused",
        text: format!("the ledger {ledger} refused: {why}"),
    })?;
    let done = Done { ledger, message: submitted.id, slot: submitted.slot, answer };
    context.screen.answer(&done, || {
        let shown = done.answer.iter().map(|(name, value)| (name.as_str(), context.screen.foreign(value)));
        pairs(&shown.collect::<Vec<_>>())
    })?;
    Ok(Exit::Ok)
}

/// The tags of a ledger's answer to a request, or why it refused it.
fn answer_of(result: &Value, action: &str) -> Result<BTreeMap<String, String>, String> {
    let messages = result.get("Messages").and_then(Value::as_array).cloned().unwrap_or_default();
    let tags = |message: &Value| {
        let tags = message.get("Tags").and_then(Value::as_array).cloned().unwrap_or_default();
        let pair = |tag: &Value| {
            let text = |field: &str| tag.get(field).and_then(Value::as_str).map(str::to_owned);
            text("name").zip(text("value"))
        };
        tags.iter().filter_map(pair).collect::<BTreeMap<String, String>>()
    };
    // A ledger that answers at all does so with its last message.
    let answer = messages.last().map(tags).unwrap_or_default();
    match answer.get("Action") {
        Some(said) if *said == format!("{action}-Response") => Ok(answer),
        Some(said) if *said == format!("{action}-Error") => {
            Err(answer.get("Error").cloned().unwrap_or_else(|| "it does not say why".to_owned()))
        }
        _ => Err(format!("it does not answer `{action}`: is it a ledger?")),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use serde_json::json;

    use super::*;

    fn said(action: &str, more: &Value) -> Value {
        let tags = json!([{ "name": "Action", "value": action }, more]);
        json!({ "Messages": [{ "Tags": [] }, { "Tags": tags }] })
    }

    #[test]
    fn the_last_message_answers() {
        let bond = said("Bond-Response", &json!({ "name": "Bond", "value": "7" }));
        assert_eq!(answer_of(&bond, "Bond").unwrap()["Bond"], "7");
        assert!(answer_of(&bond, "Withdraw").unwrap_err().contains("is it a ledger?"));
        let refused = said("Bond-Error", &json!({ "name": "Error", "value": "too small" }));
        assert_eq!(answer_of(&refused, "Bond").unwrap_err(), "too small");
        assert!(answer_of(&json!({ "Messages": [] }), "Bond").unwrap_err().contains("is it a ledger?"));
        assert!(answer_of(&Value::Null, "Bond").is_err());
    }
}
