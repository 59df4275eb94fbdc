//! From the bytes that a module returned to an outcome.

use bytes::Bytes;

use super::entry::{EntryKind, OutboxEntry};
use super::outbox::Outbox;
use super::{Code, Outcome};
use crate::id::Id;
use crate::js::{self, Value};
use crate::limits::{
    ENTRY_TAG_BYTES_MAX, ENTRY_TAGS_MAX, OUTBOX_BYTES_MAX, OUTBOX_ENTRIES_MAX, RESULT_BYTES_MAX,
};
use crate::position::Position;
use crate::push::is_reserved_tag;
use crate::tag::{self, Tag};

/// The end of an Output with which the reference's modules say that they ran out of memory.
const OUT_OF_MEMORY: &str = "not enough memory for buffer allocation";

impl Outcome {
    /// The outcome of a module that returned `bytes`: the reference's normalisation
    /// (`{"ok":..,"response":{..}}`), with `root` as the root of the outbox entries.
    ///
    /// Bytes that are no result are an outcome too: [`Code::Malformed`].
    pub fn of_result(position: Position, bytes: &[u8], root: Option<Id>) -> Self {
        let malformed = || Self::failed(position, Code::Malformed);
        if bytes.len() > RESULT_BYTES_MAX {
            return malformed();
        }
        let Ok(result) = js::parse(bytes) else { return malformed() };
        let is_ok = result.get("ok").is_some_and(Value::is_truthy);
        match result.get("response") {
            Some(response @ Value::Object(_)) if is_ok => of_response(position, response, root),
            Some(thrown) if !is_ok && thrown.is_truthy() => {
                Self { code: Code::Error, error: thrown.to_json(), ..Self::empty(position) }
            }
            _ => malformed(),
        }
    }
}

/// The outcome of a module that answered this.
pub(super) fn of_response(position: Position, response: &Value, root: Option<Id>) -> Outcome {
    let output = match response.get("Output") {
        None | Some(Value::Null) => String::from("\"\""),
        Some(Value::Number(number)) => format!("\"{}\"", js::number_text(*number)),
        Some(other) => other.to_json(),
    };
    let mut outcome = Outcome { output, ..Outcome::empty(position) };
    if let Some(error) = response.get("Error").filter(|error| error.is_truthy()) {
        outcome.code = Code::Error;
        outcome.error = error.to_json();
    } else if ran_out_of_memory(response.get("Output")) {
        outcome.code = Code::OutOfMemory;
    } else {
        let list = |name: &str| response.get(name).and_then(Value::as_array).unwrap_or_default();
        let (messages, spawns, assignments) = (list("Messages"), list("Spawns"), list("Assignments"));
        outcome.messages = js::array_json(messages);
        outcome.spawns = js::array_json(spawns);
        outcome.assignments = js::array_json(assignments);
        outcome.outbox = outbox(messages, spawns, assignments, root);
    }
    outcome
}

/// Check 50: the Output, or its `data.output`, ends as a module's does that could not allocate.
fn ran_out_of_memory(output: Option<&Value>) -> bool {
    let inner = output.and_then(|output| output.get("data")).and_then(|data| data.get("output"));
    [output, inner]
        .into_iter()
        .flatten()
        .filter_map(Value::as_text)
        .any(|text| text.to_utf8().ends_with(OUT_OF_MEMORY))
}

fn outbox(messages: &[Value], spawns: &[Value], assignments: &[Value], root: Option<Id>) -> Outbox {
    let all = messages
        .iter()
        .map(message)
        .chain(spawns.iter().map(spawn))
        .chain(assignments.iter().map(assignment));
    let count = messages.len() + spawns.len() + assignments.len();
    let mut bytes_left = OUTBOX_BYTES_MAX;
    let mut entries = Vec::with_capacity(count.min(OUTBOX_ENTRIES_MAX));
    for entry in all.take(OUTBOX_ENTRIES_MAX) {
        let fitting = entry.map(|entry| OutboxEntry { root, ..entry }).and_then(|entry| {
            bytes_left = bytes_left.checked_sub(entry.encoded_bytes())?;
            Some(entry)
        });
        entries.push(fitting.unwrap_or_else(OutboxEntry::dropped));
    }
    // Lists are bounded by JSON_VALUES_MAX, far below u32::MAX.
    Outbox::new(entries, count.saturating_sub(OUTBOX_ENTRIES_MAX) as u32)
}

/// A message that can be pushed: a target and an anchor of 32 bytes and tags of strings.
fn message(value: &Value) -> Option<OutboxEntry> {
    Some(OutboxEntry {
        kind: EntryKind::Message,
        target: Some(text(value, "Target")?.parse().ok()?),
        anchor: Some(text(value, "Anchor")?.as_bytes().try_into().ok()?),
        tags: tags(value.get("Tags")?)?,
        data: data(value)?,
        ..OutboxEntry::dropped()
    })
}

/// A spawn: as a message without a target, and the anchor is free to be missing.
fn spawn(value: &Value) -> Option<OutboxEntry> {
    Some(OutboxEntry {
        kind: EntryKind::Spawn,
        anchor: text(value, "Anchor").and_then(|anchor| anchor.as_bytes().try_into().ok()),
        tags: tags(value.get("Tags")?)?,
        data: data(value)?,
        ..OutboxEntry::dropped()
    })
}

/// An assignment of an existing item: the item, the processes, and what they must not see.
fn assignment(value: &Value) -> Option<OutboxEntry> {
    let id_tag = |name: &str, id: &Value| {
        let id: Id = id.as_text()?.to_utf8().parse().ok()?;
        Some(Tag::new(name, id.to_string()))
    };
    let mut tags = vec![id_tag("Message", value.get("Message")?)?];
    for process in value.get("Processes")?.as_array()? {
        tags.push(id_tag("Process", process)?);
    }
    if value.get("BaseLayer").is_some_and(Value::is_truthy) {
        tags.push(Tag::new("Base-Layer", "true"));
    }
    for field in value.get("Exclude").and_then(Value::as_array).unwrap_or_default() {
        tags.push(Tag::new("Exclude", field.as_text()?.to_utf8()));
    }
    let has_process = tags.iter().any(|tag| tag.name == "Process");
    let entry = OutboxEntry { kind: EntryKind::Assignment, tags, ..OutboxEntry::dropped() };
    (has_process && fits(&entry.tags)).then_some(entry)
}

fn text<'a>(value: &'a Value, key: &str) -> Option<std::borrow::Cow<'a, str>> {
    value.get(key)?.as_text().map(js::Text::to_utf8)
}

/// Checks 87 and 90: names that a push sets itself are taken out; of the others each must be a
/// pair of strings.
fn tags(value: &Value) -> Option<Vec<Tag>> {
    let mut tags = Vec::new();
    for pair in value.as_array()? {
        let name = text(pair, "name")?;
        if !is_reserved_tag(&name) {
            tags.push(Tag::new(name, text(pair, "value")?));
        }
    }
    fits(&tags).then_some(tags)
}

/// Whether a push with these tags and its own is still a valid item.
fn fits(tags: &[Tag]) -> bool {
    tags.len() <= ENTRY_TAGS_MAX && tag::encode(tags).is_ok_and(|raw| raw.len() <= ENTRY_TAG_BYTES_MAX)
}

/// Check 91: no data is a single space. Data that is neither text nor nothing cannot be pushed.
fn data(value: &Value) -> Option<Bytes> {
    match value.get("Data") {
        Some(Value::Text(text)) if !text.is_empty() => Some(Bytes::from(text.to_utf8().into_owned())),
        Some(other) if other.is_truthy() => None,
        _ => Some(Bytes::from_static(b" ")),
    }
}
