//! `weft messages`.

use clap::Args;
use weft_protocol::Id;

use super::Context;
use super::exit::{CliError, Exit};
use super::screen::{Screen, table};
use super::talk::ask;
use crate::control::api::{Request, Span};
use crate::legacy::messages::{Item, Message, Page};

#[derive(Debug, Args)]
pub(crate) struct Messages {
    /// The process
    #[arg(allow_hyphen_values = true)]
    process: Id,
    /// Only the slot of this message or assignment
    #[arg(long, value_name = "ID", allow_hyphen_values = true, conflicts_with_all = ["from", "to", "from_nonce", "to_nonce", "limit", "latest"])]
    id: Option<Id>,
    /// Only the newest message
    #[arg(long, conflicts_with_all = ["from", "to", "from_nonce", "to_nonce", "limit"])]
    latest: bool,
    /// Start after this timestamp, in milliseconds
    #[arg(long, value_name = "MS", conflicts_with_all = ["from_nonce", "to_nonce"])]
    from: Option<u64>,
    /// End with this timestamp, in milliseconds
    #[arg(long, value_name = "MS", conflicts_with_all = ["from_nonce", "to_nonce"])]
    to: Option<u64>,
    /// Start after this nonce
    #[arg(long, value_name = "NUMBER")]
    from_nonce: Option<u64>,
    /// End with this nonce
    #[arg(long, value_name = "NUMBER")]
    to_nonce: Option<u64>,
    /// How many at most [default: 100]
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u16).range(1..=1000))]
    limit: Option<u16>,
}

pub(super) async fn run(of: Messages, context: &Context) -> Result<Exit, CliError> {
    let Messages { process, id, latest, from, to, from_nonce, to_nonce, limit } = of;
    if latest || id.is_some() {
        let found: Message = ask(context, "reading the log", &Request::Message { process, id }).await?;
        context.screen.answer(&found, || human([&found], context.screen))?;
        return Ok(Exit::Ok);
    }
    let by_nonce = from_nonce.is_some() || to_nonce.is_some();
    let span = match by_nonce {
        true => Span::Nonces { from: from_nonce, to: to_nonce },
        false => Span::Times { from, to },
    };
    let request = Request::Messages { process, span, limit: limit.map(usize::from) };
    let page: Page = ask(context, "reading the log", &request).await?;
    context.screen.answer(&page, || human(page.edges.iter().map(|edge| &edge.node), context.screen))?;
    if let Some(last) = page.edges.last().filter(|_| page.page_info.has_next_page) {
        let flag = if by_nonce { "--from-nonce" } else { "--from" };
        context.screen.remark(&format!("there is more: {flag} {}", last.cursor));
    }
    Ok(Exit::Ok)
}

fn human<'a>(messages: impl IntoIterator<Item = &'a Message>, screen: Screen) -> String {
    let tag = |item: &Item, name: &str| {
        let found = item.tags.iter().find(|tag| tag.name == name);
        found.map(|tag| screen.foreign(&tag.value)).unwrap_or_default()
    };
    let row = |message: &Message| {
        let Message { message, assignment } = message;
        let said = |name: &str| message.as_ref().map(|item| tag(item, name)).unwrap_or_default();
        // What was not written to this process is known by its assignment alone.
        let id = message.as_ref().map_or_else(|| tag(assignment, "Message"), |item| item.id.to_string());
        let owner = message.as_ref().map(|item| item.owner.address.clone()).unwrap_or_default();
        [tag(assignment, "Nonce"), tag(assignment, "Timestamp"), id, owner, said("Type"), said("Action")]
    };
    let mut rows = messages.into_iter().map(row).peekable();
    if rows.peek().is_none() {
        return "no messages".to_owned();
    }
    table(["NONCE", "TIMESTAMP", "MESSAGE", "SIGNER", "TYPE", "ACTION"], rows)
}
