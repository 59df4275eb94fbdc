//! `weft market`: who offers to carry pushes, who carries which, and what that earns.

mod money;

use std::time::Duration;

use clap::Subcommand;
use weft_protocol::{Address, Id, Tag};

use self::money::Money;
use super::Context;
use super::args::Wrong;
use super::exit::{CliError, Exit};
use super::screen::{Colour, Screen, pairs, table};
use super::talk::{ask, ask_within};
use crate::control::api::{AuditInfo, MarketRequest, OfferInfo, PushName, RankInfo, Request, WindowAudit};

/// How long an audit may take: schedulers of many targets may be asked.
const AUDIT_WAIT: Duration = Duration::from_secs(300);

#[derive(Debug, Subcommand)]
pub(crate) enum MarketCommand {
    /// List the offers that this node has heard: price, limits, speed, duration and processes
    Offers,
    /// Show in which order messengers carry a push, and why
    Rank {
        /// The process that sends it; this node must follow it
        #[arg(allow_hyphen_values = true)]
        process: Id,
        /// Which push: its slot (and cron tick) and its index in the outbox [default: the first of the next slot]
        #[arg(long, value_name = "SLOT[.TICK]/INDEX", value_parser = parse_push)]
        push: Option<PushName>,
    },
    /// Compute from the logs who carried what a process in hard mode sent, and what is due to whom
    Audit {
        /// The process that sends; this node must evaluate it
        #[arg(allow_hyphen_values = true)]
        process: Id,
        /// Only this window of 256 slots [default: the newest four]
        #[arg(long, value_name = "NUMBER")]
        window: Option<u64>,
    },
    /// Show what this node earned: claimable, claimed, paid and lost, with its balance and bond
    Earnings {
        /// Only at this ledger
        #[arg(allow_hyphen_values = true)]
        ledger: Option<Id>,
    },
    /// Have a ledger pay out from this key's balance, in the token that funds it
    Withdraw {
        #[command(flatten)]
        money: Money,
        /// To whom [default: this key]
        #[arg(long, value_name = "ADDRESS", allow_hyphen_values = true, value_parser = account)]
        to: Option<String>,
    },
    /// Move money from this key's balance at a ledger into its bond: claims need one, and a larger one is first in rank more often
    Bond(Money),
    /// Ask for part of the bond back; the ledger returns it after two challenge periods
    Unbond(Money),
    /// Pay for what a process in hard mode will send, from this key's balance at its ledger
    Escrow {
        /// The ledger
        #[arg(allow_hyphen_values = true)]
        ledger: Id,
        /// The process that sends
        #[arg(allow_hyphen_values = true)]
        source: Id,
        /// How much, in the ledger's smallest unit
        #[arg(value_parser = money::amount)]
        amount: u128,
    },
}

/// Somebody's account at a ledger, as it stands in a tag; the ledger knows which there are.
fn account(text: &str) -> Result<String, Wrong> {
    let is_like_one = (40..=43).contains(&text.len()) && text.is_ascii();
    if is_like_one {
        Ok(text.to_owned())
    } else {
        Err(Wrong::new("expected the address of a key or a process"))
    }
}

/// `SLOT/INDEX` or `SLOT.TICK/INDEX`.
pub(super) fn parse_push(text: &str) -> Result<PushName, Wrong> {
    let expected = || Wrong::new("expected SLOT/INDEX or SLOT.TICK/INDEX, such as 17/0");
    let (place, index) = text.split_once('/').ok_or_else(expected)?;
    let (slot, tick) = place.split_once('.').unwrap_or((place, "0"));
    let index = index.parse().map_err(|_| expected())?;
    let slot = slot.parse().map_err(|_| expected())?;
    Ok(PushName { slot, tick: tick.parse().map_err(|_| expected())?, index })
}

pub(super) async fn run(command: Option<MarketCommand>, context: &Context) -> Result<Exit, CliError> {
    match command.unwrap_or(MarketCommand::Offers) {
        MarketCommand::Offers => offers(context).await,
        MarketCommand::Rank { process, push } => rank(process, push, context).await,
        MarketCommand::Audit { process, window } => audit(process, window, context).await,
        MarketCommand::Earnings { ledger } => money::earnings(ledger, context).await,
        MarketCommand::Withdraw { money, to } => {
            let to = to.map(|to| Tag::new("Recipient", to)).into_iter().collect();
            money::move_money(money, "Withdraw", to, context).await
        }
        MarketCommand::Bond(money) => money::move_money(money, "Bond", Vec::new(), context).await,
        MarketCommand::Unbond(money) => money::move_money(money, "Unbond", Vec::new(), context).await,
        MarketCommand::Escrow { ledger, source, amount } => {
            let source = vec![Tag::new("Source", source.to_string())];
            money::move_money(Money { ledger, amount }, "Escrow", source, context).await
        }
    }
}

async fn offers(context: &Context) -> Result<Exit, CliError> {
    let screen = context.screen;
    let request = Request::Market(MarketRequest::Offers);
    let offers: Vec<OfferInfo> = ask(context, "asking the node", &request).await?;
    screen.answer(&offers, || {
        let rows = offers.iter().map(|offer| {
            [
                named(&offer.messenger, offer.own, screen),
                offer.price_per_push.to_string(),
                offer.price_per_kib.to_string(),
                format!("{} KiB", offer.max_kib),
                offer.latency_p50_ms.map_or_else(|| "-".to_owned(), |ms| format!("{ms} ms")),
                format!("{}/s", offer.capacity_per_s),
                format!("{} s", offer.lasts_ms / 1_000),
                offer.bond.map_or_else(|| "not read".to_owned(), |bond| bond.to_string()),
                offer.processes.iter().map(Id::to_string).collect::<Vec<_>>().join(" "),
            ]
        });
        table(
            [
                "MESSENGER",
                "PUSH",
                "KIB",
                "MAX SIZE",
                "MEDIAN TIME",
                "CAPACITY",
                "EXPIRES IN",
                "BOND",
                "CARRIES FOR",
            ],
            rows,
        )
    })?;
    if offers.is_empty() {
        screen.remark(
            "no offers yet: messengers announce them on the topics and lobby shards of processes that this node works for",
        );
    }
    Ok(Exit::Ok)
}

async fn rank(process: Id, push: Option<PushName>, context: &Context) -> Result<Exit, CliError> {
    let screen = context.screen;
    let request = Request::Market(MarketRequest::Rank { process, push });
    let rank: RankInfo = ask(context, "asking the node", &request).await?;
    screen.answer(&rank, || {
        let rows = rank.ranks.iter().map(|row| {
            [
                row.rank.to_string(),
                named(&row.messenger, row.own, screen),
                format!("{} ms", row.turn_ms),
                row.due.map_or_else(|| "-".to_owned(), |due| due.to_string()),
                row.why.clone(),
            ]
        });
        let PushName { slot, tick, index } = rank.push;
        let head = pairs(&[
            ("push", format!("slot {slot}, tick {tick}, index {index}: {}", rank.push_id)),
            ("mode", rank.mode.clone()),
            ("turn", format!("{} ms", rank.turn_ms)),
            ("why", rank.why.clone()),
        ]);
        format!("{head}\n{}", table(["RANK", "MESSENGER", "TURN AFTER", "DUE", "WHY"], rows))
    })?;
    if rank.ranks.is_empty() {
        screen.remark(
            "this node knows nobody who carries for it; `weft host PROCESS --messenger` has this node do it",
        );
    }
    Ok(Exit::Ok)
}

/// Ends with "no" when something cannot be known here.
async fn audit(process: Id, window: Option<u64>, context: &Context) -> Result<Exit, CliError> {
    let screen = context.screen;
    let request = Request::Market(MarketRequest::Audit { process, window });
    let audit: AuditInfo = ask_within(context, "asking how far pushes are", &request, AUDIT_WAIT).await?;
    screen.answer(&audit, || {
        let windows: Vec<String> = audit.windows.iter().map(|window| human_window(window, screen)).collect();
        let settled = audit.ledger.map_or_else(|| "-".to_owned(), |ledger| ledger.to_string());
        format!("{}\n{}", pairs(&[("settled by", settled)]), windows.join("\n"))
    })?;
    let is_whole = audit.windows.iter().all(|window| window.unknown == 0 && window.notes.is_empty());
    Ok(if is_whole { Exit::Ok } else { Exit::No })
}

fn human_window(window: &WindowAudit, screen: Screen) -> String {
    let WindowAudit { window: number, set_slot, offers, pushes, unknown, outside, .. } = window;
    let head = format!(
        "window {number}: {offers} offers in slot {set_slot}, {pushes} pushes, {unknown} of unknown slot, {outside} carried \
         without an offer"
    );
    let rows = window.messengers.iter().map(|row| {
        let numbers =
            [row.first, row.paid, row.taken_over, row.early, row.late].map(|count| count.to_string());
        let [first, paid, taken_over, early, late] = numbers;
        [row.messenger.to_string(), first, paid, taken_over, early, late, row.due.clone()]
    });
    let rows = table(["MESSENGER", "FIRST", "PAID", "TAKEN OVER", "EARLY", "LATE", "DUE"], rows);
    let notes = window.notes.iter().map(|note| format!("  {}", screen.foreign(note)));
    [head, rows].into_iter().chain(notes).collect::<Vec<_>>().join("\n")
}

fn named(messenger: &Address, own: bool, screen: Screen) -> String {
    let name = messenger.to_string();
    if own { screen.paint(Colour::Green, &format!("{name} (this node)")) } else { name }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_push_is_named_by_where_it_stands() {
        assert_eq!(parse_push("17/0").unwrap(), PushName { slot: 17, tick: 0, index: 0 });
        assert_eq!(parse_push("17.2/3").unwrap(), PushName { slot: 17, tick: 2, index: 3 });
        for wrong in ["", "17", "/1", "17/", "17/x", "17.x/1", "1/2/3", "-1/0"] {
            assert!(parse_push(wrong).is_err(), "{wrong}");
        }
    }
}
