//! `weft status`, `processes`, `metrics`, `weave` and `stop`.

use serde_json::{Value, json};

use super::Context;
use super::exit::{CliError, Exit};
use super::screen::{Colour, pairs, table};
use super::talk::ask;
use crate::control::api::{ProcessInfo, Request, Status, WeaveInfo};
use crate::control::client::{ANSWER_WAIT, ClientError};

const ASKING: &str = "asking the node";

pub(super) async fn status(context: &Context) -> Result<Exit, CliError> {
    let status: Status = ask(context, ASKING, &Request::Status).await?;
    context.screen.answer(&status, || {
        let recovering = status.recovering.iter().map(ToString::to_string).collect::<Vec<_>>();
        let recovering = (!recovering.is_empty()).then(|| ("reading from gateways", recovering.join("\n")));
        let rows = [
            ("version", status.version.clone()),
            ("address", status.address.to_string()),
            ("peer id", status.peer_id.clone()),
            ("network", status.network.clone()),
            ("listen", status.listen.join("\n")),
            ("roles", status.roles.join(", ")),
            ("peers", status.peers.to_string()),
            ("processes", status.processes.to_string()),
            ("weave", status.weave.clone()),
            ("up for", span(status.uptime_ms / 1000)),
            ("disk", super::top::disk(&status.room)),
            ("pid", status.pid.to_string()),
        ];
        pairs(&rows.into_iter().chain(recovering).collect::<Vec<_>>())
    })?;
    Ok(Exit::Ok)
}

pub(super) async fn processes(context: &Context) -> Result<Exit, CliError> {
    let screen = context.screen;
    let processes: Vec<ProcessInfo> = ask(context, ASKING, &Request::Processes).await?;
    let number = |number: Option<u64>| number.map_or_else(|| "-".to_owned(), |number| number.to_string());
    screen.answer(&processes, || {
        let rows = processes.iter().map(|process| {
            let fault =
                process.fault.as_deref().map(|fault| screen.paint(Colour::Red, &screen.foreign(fault)));
            let waits = process.waits.as_deref().map(|why| format!("waits: {}", screen.foreign(why)));
            [
                process.process.to_string(),
                screen.foreign(process.name.as_deref().unwrap_or("-")),
                process.duties.join(","),
                number(process.head),
                process.computed.map_or_else(|| "-".to_owned(), |position| position.to_string()),
                number(process.anchored),
                fault.or(waits).unwrap_or_default(),
            ]
        });
        table(["PROCESS", "NAME", "DUTIES", "HEAD", "COMPUTED", "ANCHORED", "FAULT"], rows)
    })?;
    Ok(Exit::Ok)
}

pub(super) async fn weave(context: &Context) -> Result<Exit, CliError> {
    let weave: WeaveInfo = ask(context, ASKING, &Request::Weave).await?;
    context.screen.answer(&weave, || {
        let rows = weave.batches.iter().map(|batch| {
            [
                batch.process.to_string(),
                match batch.from <= batch.to {
                    true => format!("{}..={}", batch.from, batch.to),
                    false => "none".to_owned(),
                },
                batch.block.map_or_else(|| "pending".to_owned(), |block| block.to_string()),
                batch.items.to_string(),
                batch.bytes.to_string(),
                batch.data_root.to_string(),
            ]
        });
        let head = format!("{} at height {}", weave.weave, weave.height);
        let batches = table(["PROCESS", "SLOTS", "BLOCK", "ITEMS", "BYTES", "DATA ROOT"], rows);
        format!("{head}\n{batches}")
    })?;
    Ok(Exit::Ok)
}

pub(super) async fn metrics(context: &Context) -> Result<Exit, CliError> {
    let text: String = ask(context, ASKING, &Request::Metrics).await?;
    let samples: serde_json::Map<String, Value> = text.lines().filter_map(sample).collect();
    context.screen.answer(&samples, || text)?;
    Ok(Exit::Ok)
}

/// A time in seconds, in its two largest units.
fn span(seconds: u64) -> String {
    let (minutes, hours, days) = (seconds / 60, seconds / 3_600, seconds / 86_400);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds} s"),
        (0, 0, _) => format!("{minutes} min {} s", seconds % 60),
        (0, ..) => format!("{hours} h {} min", minutes % 60),
        _ => format!("{days} d {} h", hours % 24),
    }
}

/// A name with its labels, and its value; nothing of a line that describes others.
fn sample(line: &str) -> Option<(String, Value)> {
    let (name, value) = line.rsplit_once(' ').filter(|_| !line.starts_with('#'))?;
    Some((name.to_owned(), serde_json::from_str(value).ok()?))
}

/// Stops the node and waits until it has closed its store: then a new one can start.
pub(super) async fn stop(context: &Context) -> Result<Exit, CliError> {
    let mut client = context.client().await?;
    let stopping = async {
        match client.call::<Value>(&Request::Stop, ANSWER_WAIT).await {
            // A node may be gone before its answer is read.
            Ok(_) | Err(ClientError::Lost) => {}
            Err(error) => return Err(CliError::from(error)),
        }
        let closed = tokio::time::timeout(ANSWER_WAIT, client.closed()).await;
        closed.map_err(|_| ClientError::TimedOut { after: ANSWER_WAIT }.into())
    };
    context.screen.waiting("waiting for the node to stop", stopping).await?;
    context.screen.answer(&json!({ "stopped": true }), || "the node has stopped".into())?;
    Ok(Exit::Ok)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_told_in_two_units() {
        let told = [59, 60, 3_599, 3_600, 86_399, 864_000].map(span);
        assert_eq!(told, ["59 s", "1 min 0 s", "59 min 59 s", "1 h 0 min", "23 h 59 min", "10 d 0 h"]);
    }
}
