//! The ledger of the messenger market, a guest of the plain format: who paid in, what stands
//! behind whom, what is claimed, and what that came to. The rules are in [`ledger`]; here is what
//! a node hands in and takes out.

pub mod court;
pub mod ledger;
#[cfg(target_arch = "wasm32")]
mod shell;

use serde::Deserialize;
use weft_protocol::{Id, Tag, js};

use court::Logs;
use ledger::{Ledger, Message, Send, Terms};

/// A message as the node shows it. What it says beside these is not looked at.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Given {
    #[serde(default)]
    id: String,
    #[serde(default)]
    from: String,
    #[serde(default)]
    tags: Vec<Tag>,
    data: Option<String>,
    /// The slot; absent in ticks and dry runs.
    nonce: Option<u64>,
    /// Of the slot, in milliseconds.
    #[serde(default)]
    timestamp: u64,
    #[serde(default)]
    cron: bool,
}

/// The environment: the process itself is all that matters.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Environment {
    process: Party,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Party {
    id: Id,
    owner: String,
    tags: Vec<Tag>,
}

/// Evaluates one message: the result as JSON.
pub fn evaluate(ledger: &mut Ledger, message: &[u8], environment: &[u8]) -> String {
    let (message, process) = match (
        serde_json::from_slice::<Given>(message),
        serde_json::from_slice::<Environment>(environment),
    ) {
        (Ok(message), Ok(environment)) => (message, environment.process),
        (Err(error), _) | (_, Err(error)) => return failed(&error.to_string()),
    };
    let terms = match Terms::read(process.id, &process.owner, &process.tags) {
        Ok(terms) => terms,
        Err(refusal) => return failed(&refusal.to_string()),
    };
    // A tick and the Process item itself ask for nothing.
    if message.cron || message.nonce == Some(0) {
        return returned(&[]);
    }
    let logs = Logs::of(&terms);
    let data = message.data.as_deref().unwrap_or_default();
    let Given { id, from, tags, nonce: slot, timestamp: time, .. } = &message;
    returned(&ledger.handle(&terms, &logs, &Message { id, from, tags, data, slot: *slot, time: *time }))
}

fn failed(error: &str) -> String {
    let mut out = String::from("{\"ok\":false,\"response\":");
    js::write_str(error, &mut out);
    out.push('}');
    out
}

/// The result that sends these; its output is what the last one says, which is the answer.
fn returned(sends: &[Send]) -> String {
    let said = sends.last().map_or("", |send| match send.tags.first() {
        Some(action) if send.data.is_empty() => &action.value,
        Some(_) | None => &send.data,
    });
    let mut out = String::from("{\"ok\":true,\"response\":{\"Output\":");
    js::write_str(said, &mut out);
    out.push_str(",\"Messages\":[");
    for (at, send) in sends.iter().enumerate() {
        if at > 0 {
            out.push(',');
        }
        write_send(send, &mut out);
    }
    out.push_str("],\"Spawns\":[],\"Assignments\":[]}}");
    out
}

fn write_send(send: &Send, out: &mut String) {
    out.push_str("{\"Target\":");
    js::write_str(&send.target, out);
    out.push_str(",\"Anchor\":\"00000000000000000000000000000000\",\"Data\":");
    js::write_str(&send.data, out);
    out.push_str(",\"Tags\":[");
    for (at, tag) in send.tags.iter().enumerate() {
        out.push_str(if at > 0 { ",{\"name\":" } else { "{\"name\":" });
        js::write_str(&tag.name, out);
        out.push_str(",\"value\":");
        js::write_str(&tag.value, out);
        out.push('}');
    }
    out.push_str("]}");
}
