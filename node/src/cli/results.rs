//! `weft results`.

use std::time::Duration;

use clap::{Args, ValueEnum};
use weft_protocol::Id;

use super::Context;
use super::exit::{CliError, Exit};
use super::process::human_outcome;
use super::screen::{Colour, Screen};
use super::talk::ask_within;
use crate::control::api::{Request, Sort};
use crate::control::client::ANSWER_WAIT;
use crate::results::{Cursor, Page, PageInfo};

#[derive(Debug, Args)]
pub(crate) struct Results {
    /// The process
    #[arg(allow_hyphen_values = true)]
    process: Id,
    /// Start after this cursor or timestamp (in milliseconds)
    #[arg(long, value_name = "CURSOR")]
    from: Option<String>,
    /// End with this cursor or timestamp (in milliseconds)
    #[arg(long, value_name = "CURSOR")]
    to: Option<String>,
    /// How many at most [default: 25, or 500 of crons]
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u16).range(1..=1000))]
    limit: Option<u16>,
    /// Oldest first (asc) or newest first (desc)
    #[arg(long, value_enum, default_value = "asc", ignore_case = true)]
    sort: SortArg,
    /// Only the results of crons
    #[arg(long)]
    crons: bool,
    /// Run the crons that are due first
    #[arg(long)]
    now: bool,
    /// How long to wait for that, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    #[arg(value_parser = clap::value_parser!(u64).range(1..=600))]
    timeout: u64,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum SortArg {
    Asc,
    Desc,
}

pub(super) async fn run(of: Results, context: &Context) -> Result<Exit, CliError> {
    let Results { process, from, to, limit, sort, crons, now, timeout } = of;
    let sort = match sort {
        SortArg::Asc => Sort::Asc,
        SortArg::Desc => Sort::Desc,
    };
    let limit = limit.map(usize::from);
    let now_ms = now.then_some(timeout * 1000);
    let request = Request::Results { process, from, to, limit, sort, crons, now_ms };
    let wait = Duration::from_secs(if now { timeout } else { 0 }) + ANSWER_WAIT;
    let page: Page = ask_within(context, "reading results", &request, wait).await?;
    context.screen.answer(&page, || human(&page, context.screen))?;
    if let Some(next) = next(&page) {
        context.screen.remark(&format!("there is more: --from {next}"));
    }
    Ok(Exit::Ok)
}

/// Where to go on.
fn next(page: &Page) -> Option<&str> {
    let PageInfo { has_next_page, cursor, .. } = &page.page_info;
    let last = || page.edges.last().map(|edge| edge.cursor.as_str());
    has_next_page.then(|| cursor.as_deref().or_else(last)).flatten()
}

/// Where an entry stands, for people; cursors are for `--from`, `--to` and `--json`.
fn place(cursor: &str) -> String {
    match Cursor::parse(cursor) {
        Ok(Cursor { ordinate: Some(slot), cron: None, .. }) => format!("slot {slot}"),
        Ok(Cursor { ordinate: Some(slot), cron: Some(cron), .. }) => {
            format!("after slot {slot}, cron {cron}")
        }
        _ => cursor.to_owned(),
    }
}

fn human(page: &Page, screen: Screen) -> String {
    let entry = |edge: &crate::results::Edge| {
        let head = screen.paint(Colour::Cyan, &place(&edge.cursor));
        human_outcome(&edge.node, &head, None, "evaluated here", screen)
    };
    let pruned = page.page_info.pruned_to.map(|slot| {
        let text =
            format!("results up to slot {slot} were pruned here; other nodes that compute it may have them");
        screen.paint(Colour::Yellow, &text)
    });
    let lines: Vec<String> = pruned.into_iter().chain(page.edges.iter().map(entry)).collect();
    if lines.is_empty() { "no results".to_owned() } else { lines.join("\n") }
}
