//! `weft spawn`, `send`, `assign`, `result`, `host`, `cron` and `pin`.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;
use serde_json::Value;
use weft_protocol::data_item::Draft;
use weft_protocol::limits::{ATTESTORS_MAX, ITEM_BYTES_MAX};
use weft_protocol::outcome::Code;
use weft_protocol::{DataItem, Network, Tag, Verified, tag};

use super::args::{Assign, Cron, Host, Pin, ResultOf as ResultArgs, Send, Spawn, Unhost, Wait};
use super::exit::{CliError, Exit};
use super::screen::{Colour, Screen, pairs};
use super::talk::{ask, ask_within};
use super::{Context, compose, configure, disk, files, pending};
use crate::builtin;
use crate::control::api::{ProcessInfo, Request, ResultInfo, ResultOf, Submitted};
use crate::control::client::ANSWER_WAIT;

/// Bytes of data that leave room for the rest of the item.
pub(super) const DATA_BYTES_MAX: u64 = ITEM_BYTES_MAX as u64 - 64 * 1024;

/// A message and what it came to.
#[derive(Serialize)]
pub(super) struct Sent {
    #[serde(flatten)]
    pub(super) submitted: Submitted,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) result: Option<ResultInfo>,
}

pub(super) async fn spawn(spawn: Spawn, context: &Context) -> Result<Exit, CliError> {
    let signer = context.signer()?;
    let Spawn { module, scheduler, compute, quorum, name, data, tags } = spawn;
    check_compute_set(&compute, quorum)?;
    let is_lua = builtin::id_of(builtin::LUA) == Some(module);
    let scheduler = scheduler.unwrap_or_else(|| signer.address());
    let terms = compose::ProcessTerms { module, scheduler, compute, quorum };
    let data = files::data(data.data.as_deref(), DATA_BYTES_MAX)?;
    let mut tags = tags.tags;
    // A ledger judges claims of one network, and a module is not told which one it runs on.
    if builtin::id_of(builtin::LEDGER) == Some(module) && tag::first(&tags, "Network").is_none() {
        let network = configure::resolve(&Default::default(), context)?.config.network;
        tags.push(Tag::new("Network", Network::of_name(&network).to_string()));
    }
    let draft = compose::process(terms, name, tags, data)?;
    let submitted = submit(&draft, context).await?;
    context.screen.answer(&submitted, || submitted.id.to_string())?;
    context.screen.remark(&if is_lua {
        format!("type Lua into it with `weft send {} --action Eval --data '1 + 1' --wait`", submitted.id)
    } else {
        format!("send it a message with `weft send {} --data ...`", submitted.id)
    });
    Ok(Exit::Ok)
}

/// The rule of slot 0 (RULES.md 6.4), said before anything is signed.
fn check_compute_set(compute: &[weft_protocol::Address], quorum: Option<usize>) -> Result<(), CliError> {
    let count = compute.len();
    if count > ATTESTORS_MAX {
        return Err(CliError::input(format!(
            "--compute: {count} addresses; at most {ATTESTORS_MAX} are allowed"
        )));
    }
    let twice = compute.iter().enumerate().find(|(at, address)| compute[..*at].contains(address));
    if let Some((_, address)) = twice {
        return Err(CliError::input(format!("--compute: {address} is given twice")));
    }
    match quorum {
        Some(quorum) if quorum > count || quorum * 2 <= count => Err(CliError::input(format!(
            "--quorum {quorum}: expected more than half of the {count} --compute addresses and no more than all"
        ))),
        _ => Ok(()),
    }
}

pub(super) async fn send(send: Send, context: &Context) -> Result<Exit, CliError> {
    let Send { process, action, anchor, topic, data, tags, wait } = send;
    let data = files::data(data.data.as_deref(), DATA_BYTES_MAX)?;
    let draft = compose::message(process, action, tags.tags, anchor, data)?;
    let item = sign(&draft, context)?;
    let sent = match topic {
        true => pending::send(&item, context).await,
        false => hand_in(&item, context).await,
    };
    // Whoever waits is told when it has its slot, or that it has none in time.
    let submitted = match sent {
        Err(error) if error.code == pending::CODE && wait.wait => {
            context.screen.remark(&error.text);
            pending::slot_of(&item, process, &wait, context).await?
        }
        sent => sent?,
    };
    show_sent(submitted, &wait, context).await
}

/// Asks for a slot of an item that exists.
pub(super) async fn assign(assign: Assign, context: &Context) -> Result<Exit, CliError> {
    let Assign { process, item, base_layer, exclude, wait } = assign;
    let exclude = exclude.iter().map(|field| field.name().to_owned()).collect();
    let request = Request::Assign { process, item, base_layer, exclude };
    let submitted: Submitted = ask(context, "waiting for the scheduler", &request).await?;
    show_sent(submitted, &wait, context).await
}

async fn show_sent(submitted: Submitted, wait: &Wait, context: &Context) -> Result<Exit, CliError> {
    if !wait.wait {
        let sent = Sent { submitted, result: None };
        context.screen.answer(&sent, || human_submitted(&sent.submitted))?;
        return Ok(Exit::Ok);
    }
    // The item is in the log whatever happens now, so its id is said before the wait.
    context.screen.remark(&human_submitted(&submitted));
    let result = result_of(&submitted, wait, context).await?;
    let exit = exit_of(&result);
    let sent = Sent { submitted, result: Some(result) };
    context.screen.answer(&sent, || {
        sent.result.as_ref().map(|result| human_result(result, context.screen)).unwrap_or_default()
    })?;
    Ok(exit)
}

/// Waits for what a message came to.
pub(super) async fn result_of(
    submitted: &Submitted,
    wait: &Wait,
    context: &Context,
) -> Result<ResultInfo, CliError> {
    let request = Request::Result {
        process: submitted.process,
        of: ResultOf::Item(submitted.id),
        wait_ms: wait.timeout * 1000,
    };
    await_result(&request, wait, context).await
}

pub(super) async fn result(of: ResultArgs, context: &Context) -> Result<Exit, CliError> {
    let ResultArgs { process, item, slot, now, mut wait } = of;
    let of = match (item, slot, now) {
        (Some(item), None, false) => ResultOf::Item(item),
        (None, Some(slot), false) => ResultOf::Slot(slot),
        (None, None, true) => ResultOf::Now,
        _ => return Err(CliError::input("give the id of a message, or --slot NUMBER, or --now")),
    };
    // What is due now has not run yet.
    wait.wait |= now;
    let wait_ms = if wait.wait { wait.timeout * 1000 } else { 0 };
    let result = await_result(&Request::Result { process, of, wait_ms }, &wait, context).await?;
    context.screen.answer(&result, || human_result(&result, context.screen))?;
    Ok(exit_of(&result))
}

pub(super) async fn host(host: Host, context: &Context) -> Result<Exit, CliError> {
    let Host { process, compute, messenger, evaluate } = host;
    let compute = compute || evaluate.is_some();
    let request = Request::Host { process, compute, messenger, evaluate };
    let info: ProcessInfo = ask(context, "finding the process and its log", &request).await?;
    show_duties(&info, context)
}

pub(super) async fn unhost(unhost: Unhost, context: &Context) -> Result<Exit, CliError> {
    let Unhost { process, forget, yes } = unhost;
    if forget {
        return disk::forget(process, yes, context).await;
    }
    let info: ProcessInfo = ask(context, "leaving it alone", &Request::Unhost { process }).await?;
    show_duties(&info, context)
}

pub(super) async fn cron(cron: Cron, context: &Context) -> Result<Exit, CliError> {
    let Cron { process, off } = cron;
    let info: ProcessInfo = ask(context, "writing it down", &Request::Cron { process, on: !off }).await?;
    show_duties(&info, context)
}

pub(super) async fn pin(pin: Pin, context: &Context) -> Result<Exit, CliError> {
    let Pin { process, off } = pin;
    let info: ProcessInfo = ask(context, "writing it down", &Request::Pin { process, on: !off }).await?;
    show_duties(&info, context)
}

pub(super) fn show_duties(info: &ProcessInfo, context: &Context) -> Result<Exit, CliError> {
    context.screen.answer(info, || duties(info))?;
    Ok(Exit::Ok)
}

/// What a node does for a process, for a person.
pub(super) fn duties(info: &ProcessInfo) -> String {
    let head = info.head.map_or_else(|| "-".to_owned(), |head| head.to_string());
    pairs(&[("process", info.process.to_string()), ("duties", info.duties.join(", ")), ("head", head)])
}

/// Signs an item and hands it to the scheduler of its process.
pub(super) async fn submit(draft: &Draft, context: &Context) -> Result<Submitted, CliError> {
    let item = sign(draft, context)?;
    hand_in(&item, context).await
}

fn sign(draft: &Draft, context: &Context) -> Result<Verified<DataItem>, CliError> {
    let signer = context.signer()?;
    let item = draft.sign(&signer).map_err(|error| CliError::input(error.to_string()))?;
    if item.raw().len() > ITEM_BYTES_MAX {
        let bytes = item.raw().len();
        return Err(CliError::input(format!(
            "the item has {bytes} bytes; at most {ITEM_BYTES_MAX} are allowed"
        )));
    }
    Ok(item)
}

async fn hand_in(item: &DataItem, context: &Context) -> Result<Submitted, CliError> {
    let request = Request::Submit { item: STANDARD.encode(item.raw()) };
    ask(context, "waiting for the scheduler", &request).await
}

async fn await_result(request: &Request, wait: &Wait, context: &Context) -> Result<ResultInfo, CliError> {
    // The node keeps the time; ours only guards against one that is stuck.
    let limit = if wait.wait { Duration::from_secs(wait.timeout) + ANSWER_WAIT } else { ANSWER_WAIT };
    ask_within(context, "waiting for the result", request, limit).await
}

/// A result that is an error is a "no".
pub(super) fn exit_of(result: &ResultInfo) -> Exit {
    if result.code == 0 { Exit::Ok } else { Exit::No }
}

fn human_submitted(submitted: &Submitted) -> String {
    let Submitted { id, process, slot, duplicate, .. } = submitted;
    let again = if *duplicate { " (it had it already)" } else { "" };
    format!("message {id} has slot {slot} of {process}{again}")
}

/// The result as a person wants it: what the process printed, then what it sent.
fn human_result(info: &ResultInfo, screen: Screen) -> String {
    let head = format!("slot {}: {}", info.position, code_text(info.code));
    human_outcome(&info.result, &head, Some(info.gas), &who_says(info), screen)
}

/// How an evaluation ended, as a number and in a word.
pub(super) fn code_text(code: u8) -> String {
    Code::from_number(code)
        .map_or_else(|| format!("code {code}"), |word| format!("code {code} ({})", word.name()))
}

/// Why a result is to be believed.
pub(super) fn who_says(info: &ResultInfo) -> String {
    match (info.computed_here, info.attested_by.len()) {
        (true, 0) => "computed here".to_owned(),
        (true, count) => format!("computed here, attested by {count}"),
        (false, 0) => "a peer's word: none of its attestors has signed it yet".to_owned(),
        (false, count) => format!("proven: {count} of its attestors signed it"),
    }
}

/// What any evaluation came to, with a line about it.
pub(super) fn human_outcome(
    result: &Value,
    head: &str,
    gas: Option<u64>,
    remark: &str,
    screen: Screen,
) -> String {
    let count = |name: &str| result.get(name).and_then(Value::as_array).map_or(0, Vec::len);
    let mut lines = Vec::new();
    match result.get("Error") {
        None | Some(Value::Null) => {}
        Some(error) => {
            let text = text_of(error, screen);
            // Some programs say so themselves.
            let said = if text.starts_with("error: ") { "" } else { "error: " };
            lines.push(screen.paint(Colour::Red, &format!("{said}{text}")));
        }
    }
    let output = result.get("Output").map(|output| text_of(printed(output), screen)).unwrap_or_default();
    if !output.is_empty() {
        lines.push(output);
    }
    let gas = gas.map(|gas| format!(", gas {gas}")).unwrap_or_default();
    let line = format!(
        "{head}, {} messages, {} spawns, {} assignments{gas} ({remark})",
        count("Messages"),
        count("Spawns"),
        count("Assignments"),
    );
    lines.push(screen.paint(Colour::Dim, &line));
    lines.join("\n")
}

/// aos puts what it printed in `Output.data`, older versions in `Output.data.output`.
pub(super) fn printed(output: &Value) -> &Value {
    let data = output.get("data").unwrap_or(output);
    data.get("output").unwrap_or(data)
}

/// A string as it is, anything else as JSON.
fn text_of(value: &Value, screen: Screen) -> String {
    match value {
        Value::String(text) => screen.foreign(text),
        other => screen.foreign(&other.to_string()),
    }
}
