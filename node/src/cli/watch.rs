//! `weft watch` and `weft verify`: answers that come piece by piece.

use std::time::Duration;

use clap::{Args, ValueEnum};
use serde_json::Value;
use weft_protocol::Id;

use super::Context;
use super::args::Watch;
use super::disk::recovered;
use super::exit::{CliError, Exit};
use super::inspect::believed;
use super::screen::{Colour, Screen, pairs};
use crate::control::api::{Progress, Reply, Request, SlotInfo, VerifyReport, WatchEvent};
use crate::control::client::{ClientError, typed};
use crate::recover::RecoverReport;

/// How long a replay may go without a sign: one message with the largest gas limit takes minutes.
const REPLAY_SILENCE: Duration = Duration::from_secs(3600);

/// What a replay may be compared with beside what is here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Against {
    /// What is on a weave, and nothing else
    Weave,
}

#[derive(Debug, Args)]
pub(crate) struct Verify {
    /// The process
    #[arg(allow_hyphen_values = true)]
    process: Id,
    /// Take the log, the module and the attestations from a weave alone, and compare every outcome attested there
    #[arg(long, value_enum, value_name = "WHAT")]
    against: Option<Against>,
    /// A gateway of that weave; may repeat [default: this node's own weave]
    #[arg(long, value_name = "URL", requires = "against")]
    from: Vec<String>,
}

pub(super) async fn watch(watch: Watch, context: &Context) -> Result<Exit, CliError> {
    let screen = context.screen;
    let mut client = context.client().await?;
    client.send(&Request::Watch { process: watch.process, from: watch.from }).await?;
    screen.remark(&format!("watching {}; stop with Ctrl-C", watch.process));
    loop {
        match client.reply().await? {
            Reply::Event(value) => {
                let event: WatchEvent = typed(value)?;
                screen.event(&event, || human(&event, screen))?;
            }
            Reply::Done(_) => return Ok(Exit::Ok),
            Reply::Error(failure) => return Err(failure.into()),
        }
    }
}

fn human(event: &WatchEvent, screen: Screen) -> String {
    match event {
        WatchEvent::Slot(slot) => human_slot(slot, screen),
        WatchEvent::Outcome { position, code, output, running } => {
            let colour = if *code == 0 { Colour::Green } else { Colour::Red };
            let text = match output {
                Value::String(text) => text.clone(),
                other => other.to_string(),
            };
            let outcome = screen.paint(colour, &format!("outcome {position}: code {code}"));
            format!("{outcome} {} {}", screen.paint(Colour::Dim, &running.to_string()), screen.foreign(&text))
        }
        WatchEvent::Attestation { position, attestor, running } => {
            let head = screen.paint(Colour::Yellow, &format!("attested {position}:"));
            format!("{head} {running} by {attestor}")
        }
        WatchEvent::Freshness { as_of, stale } => {
            let as_of = as_of.map_or_else(|| "never".to_owned(), |at| at.to_string());
            if *stale {
                screen.paint(
                    Colour::Red,
                    &format!("STALE as of {as_of}: nobody says any more where the log ends"),
                )
            } else {
                screen.paint(Colour::Green, &format!("fresh as of {as_of}"))
            }
        }
        WatchEvent::Waits { item, signer, postage_bits } => {
            let head = screen.paint(Colour::Yellow, &format!("waits for a slot: {item}"));
            format!("{head} of {signer}, {postage_bits} bits of postage")
        }
        WatchEvent::Alarm { text } => screen.paint(Colour::Red, &format!("ALARM {}", screen.foreign(text))),
    }
}

fn human_slot(slot: &SlotInfo, screen: Screen) -> String {
    let from = screen.foreign(slot.from.as_deref().unwrap_or("-"));
    let action = screen.foreign(slot.action.as_deref().unwrap_or("-"));
    let head = screen.paint(Colour::Cyan, &format!("slot {}:", slot.slot));
    let carried = match (slot.trust, &slot.carrier) {
        (Some(trust), Some(carrier)) => format!(" (trusted by {}, carried by {carrier})", believed(trust)),
        _ => String::new(),
    };
    let chain: String = slot.hash_chain.to_string().chars().take(8).collect();
    format!("{head} {} from {from} action {action}{carried} chain {chain} at {}", slot.item, slot.timestamp)
}

pub(super) async fn verify(of: Verify, context: &Context) -> Result<Exit, CliError> {
    let Verify { process, against, from } = of;
    let screen = context.screen;
    let mut client = context.client().await?;
    let (request, what) = match against {
        None => (Request::Verify { process }, "replaying"),
        Some(Against::Weave) => (Request::VerifyWeave { process, from }, "reading and replaying"),
    };
    client.send(&request).await?;
    let mut bar = screen.bar(what, 0);
    let report: VerifyReport = loop {
        let reply = tokio::time::timeout(REPLAY_SILENCE, client.reply()).await;
        match reply.map_err(|_| ClientError::TimedOut { after: REPLAY_SILENCE })?? {
            Reply::Event(value) => {
                let progress: Progress = typed(value)?;
                bar.set(progress.done, progress.total);
            }
            Reply::Done(value) => break typed(value)?,
            Reply::Error(failure) => return Err(failure.into()),
        }
    };
    drop(bar);
    screen.answer(&report, || human_report(&report, screen))?;
    let is_whole = report.weave.as_ref().is_none_or(RecoverReport::is_whole);
    Ok(if report.difference.is_none() && is_whole { Exit::Ok } else { Exit::No })
}

fn human_report(report: &VerifyReport, screen: Screen) -> String {
    let verdict = match &report.difference {
        None => screen.paint(Colour::Green, "every outcome is equal"),
        Some(difference) => screen.paint(Colour::Red, &format!("DIFFERENT: {}", screen.foreign(difference))),
    };
    let table = pairs(&[
        ("process", report.process.to_string()),
        ("slots", report.slots.to_string()),
        ("positions", report.positions.to_string()),
        (
            "attested",
            format!("{} attestations of {} attestors", report.attestations_checked, report.attestors.len()),
        ),
        ("running", report.running.to_string()),
        ("state root", report.state_root.to_string()),
        ("took", format!("{} ms", report.elapsed_ms)),
        ("verdict", verdict),
    ]);
    match &report.weave {
        None => table,
        Some(weave) => format!("{table}\n\nread from the weave:\n{}", recovered(weave, screen)),
    }
}
