//! `weft anchor`: what goes to a weave, and what that costs.

use std::time::Duration;

use clap::Subcommand;
use weft_protocol::Id;

use super::Context;
use super::exit::{CliError, Exit};
use super::screen::{pairs, table};
use super::talk::ask_within;
use crate::config::Backend;
use crate::control::api::{AnchorInfo, AnchorRequest, Estimate, PlaceInfo, PostingInfo, Request};

/// How long an answer may take: gateways are asked.
const ANCHOR_WAIT: Duration = Duration::from_secs(180);
/// Winston in an AR.
const WINSTON_PER_AR: u64 = 1_000_000_000_000;

#[derive(Debug, Subcommand)]
pub(crate) enum AnchorCommand {
    /// Show where batches go, what is on its way, what it cost and what is holding it up
    Status {
        /// Show where the slots of this process lie instead, according to its scheduler; nobody has checked that
        #[arg(value_name = "PROCESS", allow_hyphen_values = true)]
        process: Option<Id>,
    },
    /// Show what it would cost to anchor now whatever waits, at the price of the gateways
    Estimate,
    /// Make batches of whatever waits, and post them now
    Flush,
}

pub(super) async fn run(command: Option<AnchorCommand>, context: &Context) -> Result<Exit, CliError> {
    match command.unwrap_or(AnchorCommand::Status { process: None }) {
        AnchorCommand::Status { process: None } => status(AnchorRequest::Status, context).await,
        AnchorCommand::Status { process: Some(process) } => heard(process, context).await,
        AnchorCommand::Flush => status(AnchorRequest::Flush, context).await,
        AnchorCommand::Estimate => estimate(context).await,
    }
}

/// Winston, and the same in AR.
fn money(winston: u64) -> String {
    format!("{winston} winston ({}.{:012} AR)", winston / WINSTON_PER_AR, winston % WINSTON_PER_AR)
}

async fn heard(process: Id, context: &Context) -> Result<Exit, CliError> {
    let request = Request::Anchor(AnchorRequest::Heard { process });
    let places: Vec<PlaceInfo> = ask_within(context, "asking the node", &request, ANCHOR_WAIT).await?;
    context.screen.answer(&places, || {
        if places.is_empty() {
            return "nothing was heard of where its slots lie; `weft recover --from GATEWAY` asks the weave"
                .to_owned();
        }
        let rows = places.iter().map(|place| {
            let PlaceInfo { weave, bundle, from, to, block } = place;
            [format!("{from} to {to}"), context.screen.foreign(weave), block.to_string(), bundle.to_string()]
        });
        table(["SLOTS", "WEAVE", "BLOCK", "BUNDLE"], rows)
    })?;
    Ok(Exit::Ok)
}

async fn status(request: AnchorRequest, context: &Context) -> Result<Exit, CliError> {
    let request = Request::Anchor(request);
    let info: AnchorInfo = ask_within(context, "asking the node", &request, ANCHOR_WAIT).await?;
    context.screen.answer(&info, || human(&info))?;
    Ok(Exit::Ok)
}

fn human(info: &AnchorInfo) -> String {
    let wallet = info.wallet.map_or_else(|| "none".to_owned(), |wallet| wallet.to_string());
    let told = |amount: Option<u64>, none: &str| amount.map_or_else(|| none.to_owned(), money);
    let mut head = vec![
        ("batches go to", format!("{} ({})", info.weave, info.backend)),
        (
            "waiting",
            format!(
                "{} slots in no batch, {} batches in no final block",
                info.waiting_slots, info.open_batches
            ),
        ),
    ];
    // Where nobody pays, and nothing was ever paid, there is nothing to say of money.
    if info.backend != Backend::Local.name() || info.spent > 0 {
        head.extend([
            ("wallet", wallet),
            ("balance", told(info.balance, "not known")),
            ("signed today", money(info.spent_today)),
            ("day limit", told(info.day_limit, "none")),
            ("signed in all", money(info.spent)),
        ]);
    }
    let head = pairs(&head);
    let number = |number: Option<u64>| number.map_or_else(|| "-".to_owned(), |number| number.to_string());
    let gateways = info.gateways.iter().map(|gateway| {
        let network = gateway.network.clone().unwrap_or_else(|| "no answer".to_owned());
        [gateway.address.clone(), network, number(gateway.height)]
    });
    let postings = info.postings.iter().map(|posting| {
        let PostingInfo { data_root, state, id, items, bytes, winston, signed, block, confirmations, .. } =
            posting;
        [
            id.map_or_else(|| data_root.to_string(), |id| id.to_string()),
            state.clone(),
            number(*block),
            number(*confirmations),
            items.to_string(),
            bytes.to_string(),
            if *signed > 1 { format!("{winston} ({signed} times)") } else { winston.to_string() },
            posting.trouble.clone().unwrap_or_default(),
        ]
    });
    let mut text = head;
    if !info.gateways.is_empty() {
        text = format!("{text}\n{}", table(["GATEWAY", "WEAVE", "HEIGHT"], gateways));
    }
    if !info.postings.is_empty() {
        let head = ["TRANSACTION", "STATE", "BLOCK", "DEEP", "ITEMS", "BYTES", "WINSTON", "TROUBLE"];
        text = format!("{text}\n{}", table(head, postings));
    }
    text
}

async fn estimate(context: &Context) -> Result<Exit, CliError> {
    let request = Request::Anchor(AnchorRequest::Estimate);
    let estimate: Estimate = ask_within(context, "asking the node", &request, ANCHOR_WAIT).await?;
    context.screen.answer(&estimate, || {
        let told = |amount: Option<u64>| amount.map_or_else(|| "nothing is paid".to_owned(), money);
        pairs(&[
            ("slots that wait", estimate.slots.to_string()),
            ("items", estimate.items.to_string()),
            ("bytes", format!("{}, of which {} besides the items", estimate.bytes, estimate.overhead_bytes)),
            ("transactions", estimate.transactions.to_string()),
            ("gateways ask", told(estimate.price)),
            ("fee with margin", told(estimate.fee)),
            ("per slot", told(estimate.fee_per_slot)),
            ("logs left out", estimate.left_out.to_string()),
        ])
    })?;
    Ok(Exit::Ok)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn money_is_said_in_both_units() {
        assert_eq!(money(1_500_000_000_000), "1500000000000 winston (1.500000000000 AR)");
        assert_eq!(money(7), "7 winston (0.000000000007 AR)");
    }
}
