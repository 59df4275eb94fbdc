//! Pages of results with cursors, as the reference's compute unit gives them (RULES.md 6.19).
//!
//! A page shows what ran: messages and cron ticks of the surviving chain, in position order.
//! Marks, duplicates and failed evaluations do not appear. Entries are compared by (timestamp,
//! slot, tick), as numbers. Nothing here evaluates anything.

mod cursor;
pub(crate) mod proof;
mod readable;
mod scan;
pub(crate) mod sent;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use weft_protocol::process::Process;
use weft_protocol::{DataItem, Position, mark};
use weft_storage::{OutcomeRow, Reader, StoreError};

pub use cursor::{Cursor, CursorError};
pub(crate) use readable::readable;
use scan::Scan;

use crate::reads::json_bytes;

/// Entries on a page of results unless a client says otherwise.
pub const RESULTS_DEFAULT: usize = 25;
/// Entries on a page of crons unless a client says otherwise.
pub const CRONS_DEFAULT: usize = 500;
/// Entries on any page.
pub const PAGE_MAX: usize = 1_000;
/// Positions looked at for one page. A log that fails for longer than that gives an empty page
/// with a cursor to go on from.
pub const LOOKED_AT_MAX: usize = 20_000;
/// Bytes of results looked at for one page: as if they were too many positions.
const LOOKED_AT_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Bytes that a value of a result counts for on a page beside those that show it: what it takes in memory.
const VALUE_BYTES: usize = 64;

/// In which order entries stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Sort {
    /// Oldest first.
    #[default]
    Asc,
    /// Newest first.
    Desc,
}

/// Which entries a page shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Show {
    /// Messages and cron ticks.
    #[default]
    All,
    /// Cron ticks alone: the reference's `/cron`.
    Crons,
}

/// What a client asks for.
#[derive(Debug, Clone, Default)]
pub struct PageQuery {
    /// Begin after this entry.
    pub from: Option<Cursor>,
    /// End with this entry.
    pub to: Option<Cursor>,
    /// At most so many entries.
    pub limit: Option<usize>,
    /// The order; that in `from` wins.
    pub sort: Sort,
    /// Which entries.
    pub show: Show,
}

/// One page.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Page {
    /// Whether there is more.
    pub page_info: PageInfo,
    /// The entries.
    pub edges: Vec<Edge>,
}

/// What is said of a page.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PageInfo {
    /// Whether more follows.
    pub has_next_page: bool,
    /// Where to go on when more follows and the last entry does not say: the search for entries
    /// ended at its limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
    /// Results up to and including this slot were passed over because they were pruned here: other
    /// nodes that compute the process may have them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pruned_to: Option<u64>,
}

/// One entry.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Edge {
    /// The result: `Messages`, `Spawns`, `Assignments`, `Output`.
    pub node: Value,
    /// Where it stands.
    pub cursor: String,
}

/// Reads a page of what this node evaluated, with results that take at most so many bytes but for the first.
///
/// # Errors
/// A damaged store.
pub fn page(
    reader: &Reader,
    process: &Process,
    query: &PageQuery,
    bytes_max: usize,
) -> Result<Page, StoreError> {
    page_within(reader, process, query, LOOKED_AT_MAX, bytes_max)
}

fn page_within(
    reader: &Reader,
    process: &Process,
    query: &PageQuery,
    looked_at_max: usize,
    bytes_max: usize,
) -> Result<Page, StoreError> {
    let default = if query.show == Show::Crons { CRONS_DEFAULT } else { RESULTS_DEFAULT };
    let limit = query.limit.unwrap_or(default).clamp(1, PAGE_MAX);
    // The reference's `/cron` knows one order only.
    let sort = match (query.show, &query.from) {
        (Show::Crons, _) => Sort::Asc,
        (Show::All, Some(from)) => from.sort.unwrap_or(query.sort),
        (Show::All, None) => query.sort,
    };
    let mut scan = Scan::new(reader, process, sort, query.from.as_ref(), query.to.as_ref())?;
    let (mut edges, mut bytes, mut last, mut pruned_to) = (Vec::new(), 0, None, None);
    let mut looked_at_bytes = 0;
    for _ in 0..looked_at_max {
        let Some((place, row)) = scan.next()? else {
            let page_info = PageInfo { has_next_page: false, cursor: None, pruned_to };
            return Ok(Page { page_info, edges });
        };
        if row.is_pruned() {
            pruned_to = pruned_to.max(Some(place.position.slot));
        }
        let is_shown = query.show == Show::All || place.position.tick > 0;
        if is_shown && let Some(node) = shown(reader, process, place.position, &row)? {
            bytes += json_bytes(&node) + VALUE_BYTES * values_in(&node);
            if edges.len() == limit || (bytes > bytes_max && !edges.is_empty()) {
                return Ok(Page {
                    page_info: PageInfo { has_next_page: true, cursor: None, pruned_to },
                    edges,
                });
            }
            edges.push(Edge { node, cursor: Cursor::of(process, &place, sort).to_text() });
        }
        last = Some(place);
        looked_at_bytes += row.result.len();
        if looked_at_bytes > LOOKED_AT_BYTES_MAX {
            break;
        }
    }
    let cursor = last.map(|place| Cursor::of(process, &place, sort).to_text());
    Ok(Page { page_info: PageInfo { has_next_page: true, cursor, pruned_to }, edges })
}

/// How many values there are in one, with itself.
fn values_in(value: &Value) -> usize {
    1 + match value {
        Value::Array(values) => values.iter().map(values_in).sum::<usize>(),
        // The key is a value of its own.
        Value::Object(entries) => entries.values().map(|value| 1 + values_in(value)).sum(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => 0,
    }
}

/// The result of a position as a page shows it; none if it does not show it.
fn shown(
    reader: &Reader,
    process: &Process,
    position: Position,
    row: &OutcomeRow,
) -> Result<Option<Value>, StoreError> {
    if row.duplicate_of.is_some()
        || is_void(reader, process, position)?
        || is_of_log(reader, process, position, row)?
    {
        return Ok(None);
    }
    // What is on disk was written by this node as JSON.
    let Ok(Value::Object(mut result)) = readable(&row.result) else { return Ok(None) };
    if result.contains_key("Error") {
        return Ok(None);
    }
    result.shift_remove("GasUsed");
    Ok(Some(Value::Object(result)))
}

/// Whether a later epoch took the slot back: the log then holds another one in its place, or none.
fn is_void(reader: &Reader, process: &Process, position: Position) -> Result<bool, StoreError> {
    let row = reader.slot(&process.id(), position.slot)?;
    Ok(row.is_none_or(|row| row.epoch != position.epoch))
}

/// Whether a position is one that its scheduler put there for the log itself.
fn is_of_log(
    reader: &Reader,
    process: &Process,
    position: Position,
    row: &OutcomeRow,
) -> Result<bool, StoreError> {
    // A guest that ran used gas, so only what did not run is worth reading its item.
    let Some(id) = row.item.filter(|_| row.gas == 0) else { return Ok(false) };
    let item = reader.item(&id)?.and_then(|raw| DataItem::parse(raw).ok());
    // Logs here are of epoch 0.
    Ok(item.is_some_and(|item| mark::is_of_log(process, process.scheduler(), item.claims(), position.slot)))
}

#[cfg(test)]
mod tests;
