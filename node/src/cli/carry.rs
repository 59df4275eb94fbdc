//! `weft carry`, `weft subscribe`, `weft outbox` and `weft push`: carrying for processes of others, who asked for it, and what is
//! not delivered.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use clap::Subcommand;
use serde_json::json;
use weft_protocol::subscription::{Said, Statement};
use weft_protocol::{Address, Id, Network};

use super::Context;
use super::exit::{CliError, Exit};
use super::market::parse_push;
use super::process::{duties, show_duties};
use super::screen::{pairs, table};
use super::talk::ask;
use crate::clock::Clock;
use crate::control::api::{
    CarryEnded, CarryRequest, OutboxInfo, ProcessInfo, PushName, Request, Status, SubscriptionInfo,
};

/// Milliseconds of a day.
const DAY_MS: u64 = 24 * 60 * 60 * 1_000;

#[derive(Debug, Subcommand)]
pub(crate) enum CarryCommand {
    /// Carry what a process sends, without computing it: computers are asked, and their answers are verified
    Carry {
        /// The process
        #[arg(allow_hyphen_values = true)]
        process: Id,
        /// Carry everything it ever sent, not only what it sends from now on
        #[arg(long, conflicts_with = "stop")]
        all: bool,
        /// Stop carrying for it
        #[arg(long)]
        stop: bool,
    },
    /// Have a messenger carry what a process sends and run its crons, until a date or until it is cancelled
    Subscribe {
        /// The process
        #[arg(allow_hyphen_values = true)]
        process: Id,
        /// The messenger [default: this node]
        #[arg(long, value_name = "ADDRESS", allow_hyphen_values = true)]
        messenger: Option<Address>,
        /// For how many days
        #[arg(long, value_name = "NUMBER", default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..=400))]
        days: u64,
    },
    /// Cancel a subscription, as its payer or as the owner of the process
    Unsubscribe {
        /// The process
        #[arg(allow_hyphen_values = true)]
        process: Id,
        /// The messenger [default: this node]
        #[arg(long, value_name = "ADDRESS", allow_hyphen_values = true)]
        messenger: Option<Address>,
        /// Whose subscription [default: this node's own]
        #[arg(long, value_name = "ADDRESS", allow_hyphen_values = true)]
        payer: Option<Address>,
    },
    /// List the subscriptions that this node holds as a messenger
    Subscriptions,
    /// List what a process sent that this node has not delivered: waiting, given up or going nowhere
    Outbox {
        /// The process
        #[arg(allow_hyphen_values = true)]
        process: Id,
        /// How many entries at most
        #[arg(long, value_name = "NUMBER", default_value_t = 100)]
        limit: u32,
    },
    /// Push again what was given up or refused
    Push {
        /// The process that sent it
        #[arg(allow_hyphen_values = true)]
        process: Id,
        /// Only this one, as `weft outbox` names it
        #[arg(value_name = "SLOT[.TICK]/INDEX", value_parser = parse_push)]
        push: Option<PushName>,
    },
}

pub(super) async fn run(command: CarryCommand, context: &Context) -> Result<Exit, CliError> {
    match command {
        CarryCommand::Carry { process, stop: true, .. } => {
            let request = Request::Carry(CarryRequest::End { process });
            let ended: CarryEnded = ask(context, "leaving it to others", &request).await?;
            show_ended(&ended, context)
        }
        CarryCommand::Carry { process, all, stop: false } => {
            let request = Request::Carry(CarryRequest::Begin { process, all });
            let info: ProcessInfo = ask(context, "finding the process and its log", &request).await?;
            show_duties(&info, context)
        }
        CarryCommand::Subscribe { process, messenger, days } => {
            let until = now_ms().saturating_add(days.saturating_mul(DAY_MS));
            state(process, messenger, |_| Said::Until(until), context).await
        }
        CarryCommand::Unsubscribe { process, messenger, payer } => {
            state(process, messenger, |own| Said::Cancelled(payer.unwrap_or(own)), context).await
        }
        CarryCommand::Subscriptions => subscriptions(context).await,
        CarryCommand::Outbox { process, limit } => outbox(process, limit, context).await,
        CarryCommand::Push { process, push } => {
            let request = Request::Carry(CarryRequest::Push { process, push });
            let count: usize = ask(context, "writing it down", &request).await?;
            let answer = json!({ "pushed": count });
            context.screen.answer(&answer, || format!("{count} entries will be pushed again"))?;
            Ok(Exit::Ok)
        }
    }
}

/// Shows what is done for it still, and what is left open.
fn show_ended(ended: &CarryEnded, context: &Context) -> Result<Exit, CliError> {
    let CarryEnded { info, owed, undelivered, unclaimed, unclaimed_sum, claims } = ended;
    context.screen.answer(ended, || duties(info))?;
    let process = info.process;
    for held in owed {
        context.screen.remark(&format!(
            "the subscription of {} {}: the payer counts on it; `weft carry {process}` resumes it",
            held.payer,
            state_of(held)
        ));
    }
    if *undelivered > 0 {
        context.screen.remark(&format!(
            "{undelivered} entries were not delivered by this node: see `weft outbox {process}`; \
             `weft carry {process}` resumes them"
        ));
    }
    if *unclaimed > 0 || *claims > 0 {
        context.screen.remark(&format!(
            "{unclaimed} pushes ({unclaimed_sum} of pay) are still to be claimed, and {claims} claims wait: keep computing \
             the ledger until `weft market earnings` shows them paid"
        ));
    }
    Ok(Exit::Ok)
}

/// Signs a statement about a subscription and has the node hand it to its messenger. Numbers are the time, so that a later one
/// is higher.
async fn state(
    process: Id,
    messenger: Option<Address>,
    said: impl FnOnce(Address) -> Said,
    context: &Context,
) -> Result<Exit, CliError> {
    let status: Status = ask(context, "asking the node", &Request::Status).await?;
    let signer = context.signer()?;
    let (messenger, said) = (messenger.unwrap_or(status.address), said(signer.address()));
    let statement = Statement { process, messenger, number: now_ms(), said };
    let draft = statement.draft(Network::of_name(&status.network));
    let item = draft.sign(&signer).map_err(|error| CliError::input(error.to_string()))?;
    let request = Request::Carry(CarryRequest::Subscribe { item: STANDARD.encode(item.raw()) });
    let info: SubscriptionInfo = ask(context, "asking the messenger", &request).await?;
    context.screen.answer(&info, || {
        pairs(&[
            ("process", info.process.to_string()),
            ("messenger", info.messenger.to_string()),
            ("payer", info.payer.to_string()),
            ("state", state_of(&info)),
            ("pays", info.pay.clone()),
        ])
    })?;
    Ok(Exit::Ok)
}

async fn subscriptions(context: &Context) -> Result<Exit, CliError> {
    let request = Request::Carry(CarryRequest::Subscriptions);
    let all: Vec<SubscriptionInfo> = ask(context, "asking the node", &request).await?;
    context.screen.answer(&all, || {
        let rows = all
            .iter()
            .map(|info| [info.process.to_string(), info.payer.to_string(), state_of(info), info.pay.clone()]);
        table(["PROCESS", "PAYER", "STATE", "PAYS"], rows)
    })?;
    Ok(Exit::Ok)
}

fn state_of(info: &SubscriptionInfo) -> String {
    if !info.holds {
        return "cancelled".to_owned();
    }
    let left = info.until_ms.saturating_sub(now_ms());
    format!("holds for {} more hours", left / (60 * 60 * 1_000))
}

fn now_ms() -> u64 {
    Clock::default().now().0
}

async fn outbox(process: Id, limit: u32, context: &Context) -> Result<Exit, CliError> {
    let request = Request::Carry(CarryRequest::Outbox { process, limit });
    let info: OutboxInfo = ask(context, "asking the node", &request).await?;
    context.screen.answer(&info, || {
        let rows = info.entries.iter().map(|entry| {
            let PushName { slot, tick, index } = entry.push;
            let tick = if tick == 0 { String::new() } else { format!(".{tick}") };
            [
                format!("{slot}{tick}/{index}"),
                entry.state.clone(),
                entry.tries.to_string(),
                entry.again_ms.map_or_else(|| "-".to_owned(), |ms| format!("{} s", ms.div_ceil(1_000))),
                entry.to.clone(),
                entry.why.clone().unwrap_or_default(),
            ]
        });
        table(["PUSH", "STATE", "TRIES", "AGAIN IN", "TO", "WHY"], rows)
    })?;
    if let Some(slot) = info.collected {
        context.screen.remark(&format!("what it sent up to slot {slot} is here"));
    }
    if info.more {
        context.screen.remark("there is more; raise --limit");
    }
    if info.entries.is_empty() {
        context.screen.remark("everything to be pushed from here has been delivered");
    }
    Ok(Exit::Ok)
}
