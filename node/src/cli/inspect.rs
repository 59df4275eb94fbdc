//! `weft inspect`: a process in depth, or any item.

use serde_json::{Value, json};
use weft_protocol::{Address, Hash, Tag};

use super::Context;
use super::args::Inspect;
use super::exit::{CliError, Exit};
use super::screen::{Colour, Screen, pairs, table};
use crate::control::api::{FailureCode, ItemInfo, ProcessDetail, Request, SlotInfo, Trust};
use crate::control::client::{ANSWER_WAIT, Client, ClientError};
use crate::legacy::checkpoint;

pub(super) async fn inspect(of: Inspect, context: &Context) -> Result<Exit, CliError> {
    let mut client = context.client().await?;
    let screen = context.screen;
    screen.waiting("asking the node", look(&of, &mut client, screen)).await
}

async fn look(of: &Inspect, client: &mut Client, screen: Screen) -> Result<Exit, CliError> {
    let request = Request::Process { process: of.id, state_root: of.state_root };
    match client.call::<ProcessDetail>(&request, ANSWER_WAIT).await {
        Ok(detail) => show_process(of, &detail, client, screen).await,
        Err(ClientError::Failed(failure)) if failure.code == FailureCode::Unknown => {
            if of.slots.is_some() || of.state_root {
                return Err(failure.into());
            }
            show_item(of, client, screen).await
        }
        Err(error) => Err(error.into()),
    }
}

async fn show_process(
    of: &Inspect,
    detail: &ProcessDetail,
    client: &mut Client,
    screen: Screen,
) -> Result<Exit, CliError> {
    let slots: Option<Vec<SlotInfo>> = match of.slots {
        None => None,
        Some((from, limit)) => {
            let request = Request::Slots { process: of.id, from, limit };
            Some(client.call(&request, ANSWER_WAIT).await?)
        }
    };
    let mut answer = serde_json::to_value(detail).map_err(|error| CliError::fault(error.to_string()))?;
    if let (Value::Object(answer), Some(slots)) = (&mut answer, &slots) {
        answer.insert("slots".into(), json!(slots));
    }
    screen.answer(&answer, || {
        let mut text = human_process(detail, screen);
        if let Some(slots) = &slots {
            text.push_str("\n\n");
            text.push_str(&human_slots(slots, screen));
        }
        text
    })?;
    Ok(Exit::Ok)
}

async fn show_item(of: &Inspect, client: &mut Client, screen: Screen) -> Result<Exit, CliError> {
    let found = client.call::<ItemInfo>(&Request::Item { id: of.id }, ANSWER_WAIT).await;
    let item = found.map_err(|error| match error {
        ClientError::Failed(failure) if failure.code == FailureCode::Unknown => CliError {
            code: "unknown",
            ..CliError::no(format!(
                "this node holds no process and no item {id}: `weft host {id}` looks for a process; if it is a checkpoint of an ao \
                 compute unit: `weft checkpoint {id} --from GATEWAY`",
                id = of.id
            ))
        },
        other => other.into(),
    })?;
    screen.answer(&item, || pairs(&item_rows(&item, screen)))?;
    Ok(Exit::Ok)
}

fn item_rows(item: &ItemInfo, screen: Screen) -> Vec<(&'static str, String)> {
    let slots: Vec<String> =
        item.slots.iter().map(|(process, slot)| format!("slot {slot} of {process}")).collect();
    let data = match &item.data {
        Some(text) => screen.foreign(text),
        None => format!("{} bytes", item.data_bytes),
    };
    let mut rows = vec![
        ("item", item.id.to_string()),
        ("owner", screen.foreign(&item.owner)),
        ("signature", item.signature_type.to_string()),
        ("target", or_none(item.target.map(|id| id.to_string()))),
        ("anchor", or_none(item.anchor.as_deref().map(|anchor| screen.foreign(anchor)))),
        ("tags", human_tags(&item.tags, screen)),
        ("in", slots.join("\n")),
        ("data", data),
    ];
    if checkpoint::is_like_one(&item.tags) {
        let what = format!(
            "a memory as an ao compute unit posts it; `weft checkpoint {} --from GATEWAY` reads it, and compares it with a \
             replay",
            item.id
        );
        rows.push(("checkpoint", what));
    }
    rows
}

fn human_process(detail: &ProcessDetail, screen: Screen) -> String {
    let ProcessDetail { info, .. } = detail;
    let number = |number: Option<u64>| or_none(number.map(|number| number.to_string()));
    let attestors: Vec<String> = detail.attestors.iter().map(Address::to_string).collect();
    let more = if detail.outbox_more { ", and more that were not counted" } else { "" };
    let mut rows = vec![
        ("process", info.process.to_string()),
        ("name", or_none(info.name.as_deref().map(|name| screen.foreign(name)))),
        ("owner", screen.foreign(&detail.owner)),
        ("module", info.module.to_string()),
        ("scheduler", info.scheduler.to_string()),
        ("trust", detail.trust.clone()),
        ("attestors", format!("{} of {}:\n{}", detail.quorum, attestors.len(), attestors.join("\n"))),
        ("tags", human_tags(&detail.tags, screen)),
        ("duties", info.duties.join(", ")),
        ("head", number(info.head)),
        ("computed", or_none(info.computed.map(|position| position.to_string()))),
        ("running", or_none(info.running.as_ref().map(Hash::to_string))),
        ("anchored", number(info.anchored)),
        ("memory", or_none(detail.memory_bytes.map(|bytes| format!("{bytes} bytes")))),
        ("outbox", format!("{} pending, {} settled{more}", detail.outbox_pending, detail.outbox_settled)),
    ];
    if info.pending > 0 {
        rows.push((
            "pending",
            format!("{} messages wait for a slot; `weft pending` lists them", info.pending),
        ));
    }
    if !detail.messengers.is_empty() {
        let messengers: Vec<String> = detail.messengers.iter().map(Address::to_string).collect();
        rows.push(("messengers", messengers.join("\n")));
    }
    if let Some(root) = &detail.state_root {
        rows.push(("state root", root.to_string()));
    }
    for evidence in &detail.evidence {
        rows.push(("evidence", screen.paint(Colour::Red, &evidence.text)));
    }
    if let Some(why) = &info.waits {
        rows.push(("waits", screen.foreign(why)));
    }
    if let Some(fault) = &info.fault {
        rows.push(("fault", screen.paint(Colour::Red, &screen.foreign(fault))));
    }
    pairs(&rows)
}

fn human_slots(slots: &[SlotInfo], screen: Screen) -> String {
    let rows = slots.iter().map(|slot| {
        [
            slot.slot.to_string(),
            slot.item.to_string(),
            slot.timestamp.to_string(),
            screen.foreign(slot.from.as_deref().unwrap_or("-")),
            screen.foreign(slot.action.as_deref().unwrap_or("-")),
            or_none(slot.code.map(|code| code.to_string())),
            or_none(slot.trust.map(|trust| believed(trust).to_owned())),
            or_none(slot.carrier.clone()),
        ]
    });
    table(["SLOT", "ITEM", "TIMESTAMP", "FROM", "ACTION", "CODE", "TRUSTED BY", "CARRIED BY"], rows)
}

/// Why the sender of an item is believed, in a word.
pub(super) const fn believed(trust: Trust) -> &'static str {
    match trust {
        Trust::Proof => "proof",
        Trust::Authority => "authority",
        Trust::Signature => "signature",
    }
}

fn human_tags(tags: &[Tag], screen: Screen) -> String {
    let lines: Vec<String> =
        tags.iter().map(|tag| screen.foreign(&format!("{}={}", tag.name, tag.value))).collect();
    lines.join("\n")
}

fn or_none(text: Option<String>) -> String {
    text.unwrap_or_else(|| "-".into())
}

#[cfg(test)]
mod tests {
    use weft_protocol::Id;

    use super::*;
    use crate::cli::args::Global;

    #[test]
    fn what_reads_a_checkpoint_is_named() {
        let screen = Screen::new(&Global { data_dir: None, json: false, quiet: false });
        let tags = [("Data-Protocol", "ao"), ("Type", "Checkpoint"), ("Content-Encoding", "gzip")];
        let item = |tags: &[(&str, &str)]| ItemInfo {
            id: Id([7; 32]),
            owner: "x".into(),
            signature_type: 2,
            target: None,
            anchor: None,
            tags: tags.iter().map(|(name, value)| Tag::new(*name, *value)).collect(),
            data_bytes: 3,
            data: None,
            slots: Vec::new(),
        };
        let command = format!("weft checkpoint {} --from", Id([7; 32]));
        assert!(pairs(&item_rows(&item(&tags), screen)).contains(&command));
        for other in [&tags[..2], &tags[1..], &[]] {
            assert!(!pairs(&item_rows(&item(other), screen)).contains(&command));
        }
    }
}
