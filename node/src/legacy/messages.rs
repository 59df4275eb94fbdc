//! Logs as the reference's scheduler unit gives them: pages, single messages, the process.
//!
//! A page by time never ends inside a run of equal timestamps: its cursor is a timestamp, and the
//! next page begins after it. Marks stand in pages as every other slot does.

use std::cmp::Ordering;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use weft_protocol::time::{self, Weave};
use weft_protocol::{DataItem, Id, Now, Tag};
use weft_storage::{Reader, SlotRow, StoreError, StoredSlot};

use crate::reads::json_bytes;

/// Slots of a page for which no limit is given.
pub const LIMIT: usize = 100;
/// Slots of a page at most, but for the rest of a run of equal timestamps.
pub const LIMIT_MAX: usize = 1_000;
/// What a page may have for the operator.
pub const PAGE_BYTES: PageBytes = PageBytes { wanted: 64 * 1024 * 1024, max: 64 * 1024 * 1024 };
/// Bytes of slots read at once.
const READ_BYTES: usize = 4 * 1024 * 1024;
/// Slots read at once at least, however few are left of a page.
const READ_SLOTS_MIN: usize = 16;
/// Slots that are looked through for an assignment's id, from the newest on: whoever was answered
/// with one asks for it soon, and a read stays under a second. An index would be one more row at a
/// random place for every slot, beside the eight that it has, for a question that a nonce or the id of
/// the message answers for slots of any age.
const ASSIGNMENTS_LOOKED_AT_MAX: u64 = 20_000;
/// Slots of them read at once.
const ASSIGNMENTS_PAGE: u64 = 1_000;

/// Why there is no answer; the texts are the reference's where it has one.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LegacyError {
    /// No such process is here.
    #[error("Process not found")]
    NoProcess,
    /// No such message is in the log.
    #[error("Message or Process not found")]
    NoMessage,
    /// The log has no message yet.
    #[error("Latest message not available")]
    NoLatest,
    /// More slots of one millisecond than a page holds.
    #[error("the page has more than {bytes_max} bytes at one timestamp; ask for nonces instead")]
    TooLarge {
        /// Bytes that it may have.
        bytes_max: usize,
    },
    /// The disk.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// An item on disk that cannot be read, or is not there.
    #[error("slot {0} is damaged on disk")]
    Damaged(u64),
}

/// How much a page may have, in bytes of its JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PageBytes {
    /// It ends where it would have more, unless its first slot alone has more.
    pub wanted: usize,
    /// Slots of equal timestamps may have so many together where the page begins with them: a cursor cannot
    /// name a place among them.
    pub max: usize,
}

/// Which slots are asked for: those after `from`, up to and including `to`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "by", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Span {
    /// Between timestamps, in milliseconds.
    Times {
        /// After this; from the process itself on if absent.
        #[serde(default)]
        from: Option<u64>,
        /// Up to this.
        #[serde(default)]
        to: Option<u64>,
    },
    /// Between nonces.
    Nonces {
        /// After this; from the process itself on if absent or -1.
        #[serde(default)]
        from: Option<u64>,
        /// Up to this.
        #[serde(default)]
        to: Option<u64>,
    },
}

impl Span {
    /// Whether the slot with this time is beyond the end.
    fn is_over(&self, slot: u64, timestamp: u64) -> bool {
        match *self {
            Self::Times { to, .. } => to.is_some_and(|to| timestamp > to),
            Self::Nonces { to, .. } => to.is_some_and(|to| slot > to),
        }
    }

    /// The name of a slot's place, to ask for what follows.
    fn cursor(&self, slot: u64, timestamp: u64) -> u64 {
        match self {
            Self::Times { .. } => timestamp,
            Self::Nonces { .. } => slot,
        }
    }
}

/// A page of a log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Page {
    /// Whether more follow.
    pub page_info: PageInfo,
    /// The slots, in order.
    pub edges: Vec<Edge>,
}

/// Whether a page is the last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct PageInfo {
    /// Whether more follow.
    pub has_next_page: bool,
}

/// A slot and its place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Edge {
    /// The slot.
    pub node: Message,
    /// Where the next page begins.
    pub cursor: String,
}

/// A slot: the assignment, and the message unless it is an assignment of what was not written to
/// this process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// The item.
    pub message: Option<Item>,
    /// The assignment.
    pub assignment: Item,
}

/// An item as the scheduler unit shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct Item {
    pub id: Id,
    pub owner: Owner,
    /// Absent in an assignment; null where a process's data is no text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data: Option<Option<String>>,
    pub tags: Vec<Tag>,
    pub signature: String,
    /// Null where its bytes are no text.
    pub anchor: Option<String>,
    /// Empty for none.
    pub target: String,
}

/// Who signed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct Owner {
    pub address: String,
    pub key: String,
}

/// A process as `/processes/{id}` shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct ProcessInfo {
    pub process_id: Id,
    pub block: String,
    pub owner: Owner,
    pub tags: Vec<Tag>,
    pub timestamp: u64,
    pub data: Option<String>,
    pub anchor: Option<String>,
    pub signature: String,
    pub target: String,
}

/// The answer of `/timestamp`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct Timestamp {
    pub timestamp: String,
    pub block_height: String,
}

/// The time of a scheduler, and the height that the weave `clock` has then.
pub fn timestamp(now: Now) -> Timestamp {
    let height = time::next(&Weave::Clock, now, None, None).height;
    Timestamp { timestamp: now.0.to_string(), block_height: format!("{height:012}") }
}

/// A page of a log.
///
/// # Errors
/// [`LegacyError::NoProcess`], a run of equal timestamps that is too long, the disk.
pub fn page(reader: &Reader, process: &Id, span: Span, limit: usize) -> Result<Page, LegacyError> {
    page_within(reader, process, span, limit, PAGE_BYTES)
}

/// A page of a log with at most so many bytes.
///
/// # Errors
/// As [`page`].
pub fn page_within(
    reader: &Reader,
    process: &Id,
    span: Span,
    limit: usize,
    bytes_max: PageBytes,
) -> Result<Page, LegacyError> {
    let (head, _) = reader.head(process)?.ok_or(LegacyError::NoProcess)?;
    let limit = limit.clamp(1, LIMIT_MAX);
    let mut next = match span {
        Span::Times { from: None, .. } | Span::Nonces { from: None, .. } => 0,
        // As in the reference, the process itself is there only when no beginning is named.
        Span::Times { from: Some(from), .. } => first_after(reader, process, head, from)?.max(1),
        Span::Nonces { from: Some(from), .. } => from.saturating_add(1),
    };
    let mut page = Page { page_info: PageInfo { has_next_page: false }, edges: Vec::new() };
    let (mut bytes, mut last) = (0, None);
    // Where the newest run of equal cursors begins on the page.
    let mut run = 0;
    while next <= head {
        let slots = limit.saturating_sub(page.edges.len()).max(READ_SLOTS_MIN);
        let read = reader.slot_records(process, next, head.min(next + slots as u64), READ_BYTES)?;
        if read.slots.is_empty() {
            break;
        }
        for stored in read.slots {
            let (slot, timestamp) = (stored.slot, stored.row.timestamp);
            if span.is_over(slot, timestamp) {
                return Ok(page);
            }
            let cursor = span.cursor(slot, timestamp);
            if last != Some(cursor) {
                run = page.edges.len();
            }
            let edge = Edge { node: node(process, &stored)?, cursor: cursor.to_string() };
            bytes += json_bytes(&edge);
            // It ends before a run that it has no room for: the slot after that may belong to it.
            let is_full = run >= limit || bytes > bytes_max.wanted;
            if is_full && run > 0 {
                page.edges.truncate(run);
                page.page_info.has_next_page = true;
                return Ok(page);
            }
            if bytes > bytes_max.max && !page.edges.is_empty() {
                return Err(LegacyError::TooLarge { bytes_max: bytes_max.max });
            }
            page.edges.push(edge);
            last = Some(cursor);
            next = slot + 1;
        }
    }
    Ok(page)
}

/// The first slot later than a time, or the one after the head. Timestamps never decrease.
fn first_after(reader: &Reader, process: &Id, head: u64, time: u64) -> Result<u64, StoreError> {
    let (mut low, mut high) = (0, head + 1);
    while low < high {
        let middle = low + (high - low) / 2;
        let timestamp = reader.slot(process, middle)?.map_or(0, |row| row.timestamp);
        match timestamp.cmp(&time) {
            Ordering::Less | Ordering::Equal => low = middle + 1,
            Ordering::Greater => high = middle,
        }
    }
    Ok(low)
}

/// One message by its id. What was not written to this process is known by its assignment alone, which
/// [`slot_of_assignment`] looks for.
///
/// # Errors
/// The disk.
pub(crate) fn message(reader: &Reader, process: &Id, id: &Id) -> Result<Option<Message>, LegacyError> {
    let Some(slot) = reader.slot_of_item(process, id)? else { return Ok(None) };
    Ok(Some(at(reader, process, slot)?).filter(|found| found.message.is_some()))
}

/// The slot of an assignment, if it is one of the newest `ASSIGNMENTS_LOOKED_AT_MAX` and not before `since`.
pub(crate) fn slot_of_assignment(
    reader: &Reader,
    process: &Id,
    id: &Id,
    since: u64,
) -> Result<Option<u64>, StoreError> {
    let Some((head, _)) = reader.head(process)?.filter(|(head, _)| *head >= since) else { return Ok(None) };
    let first = (head + 1).saturating_sub(ASSIGNMENTS_LOOKED_AT_MAX).max(since);
    let mut to = head;
    loop {
        let from = (to + 1).saturating_sub(ASSIGNMENTS_PAGE).max(first);
        let page = reader.slots(process, from, to, ASSIGNMENTS_PAGE as usize)?;
        if let Some((slot, _)) = page.iter().find(|(_, row)| row.assignment_id == *id) {
            return Ok(Some(*slot));
        }
        if from <= first {
            return Ok(None);
        }
        to = from - 1;
    }
}

/// The newest message.
///
/// # Errors
/// [`LegacyError::NoLatest`] where there is only the process, the disk.
pub fn latest(reader: &Reader, process: &Id) -> Result<Message, LegacyError> {
    match reader.head(process)? {
        None => Err(LegacyError::NoProcess),
        Some((0, _)) => Err(LegacyError::NoLatest),
        Some((slot, _)) => at(reader, process, slot),
    }
}

/// The process.
///
/// # Errors
/// [`LegacyError::NoProcess`], the disk.
pub fn process_info(reader: &Reader, process: &Id) -> Result<ProcessInfo, LegacyError> {
    let row: SlotRow = reader.slot(process, 0)?.ok_or(LegacyError::NoProcess)?;
    let item = parsed(0, reader.item(process)?)?;
    let Item { id, owner, data, tags, signature, anchor, target } = Item::of(&item, Data::Process);
    let block = format!("{:012}", row.block_height);
    let (timestamp, data) = (row.timestamp, data.flatten());
    Ok(ProcessInfo { process_id: id, block, owner, tags, timestamp, data, anchor, signature, target })
}

/// The message in a slot that is in the log.
///
/// # Errors
/// The disk.
pub(crate) fn at(reader: &Reader, process: &Id, slot: u64) -> Result<Message, LegacyError> {
    let read = reader.slot_records(process, slot, slot, READ_BYTES)?;
    node(process, read.slots.first().ok_or(LegacyError::Damaged(slot))?)
}

fn node(process: &Id, stored: &StoredSlot) -> Result<Message, LegacyError> {
    let slot = stored.slot;
    let item = parsed(slot, stored.item.clone())?;
    let assignment = parsed(slot, Some(stored.row.assignment.clone()))?;
    let message = match slot {
        0 => Some(Item::of(&item, Data::Process)),
        _ => (item.target() == Some(*process)).then(|| Item::of(&item, Data::Message)),
    };
    Ok(Message { message, assignment: Item::of(&assignment, Data::None) })
}

/// An item of a slot on disk, which was verified before it came there.
fn parsed(slot: u64, raw: Option<bytes::Bytes>) -> Result<DataItem, LegacyError> {
    let item = raw.and_then(|raw| DataItem::parse(raw).ok()).map(|item| item.claims().clone());
    item.ok_or(LegacyError::Damaged(slot))
}

/// How an item's data is shown.
enum Data {
    /// As text, whatever it is.
    Message,
    /// As text, or null.
    Process,
    /// Not at all.
    None,
}

impl Item {
    fn of(item: &DataItem, data: Data) -> Self {
        let bytes = item.data();
        let data = match data {
            Data::Message => Some(Some(String::from_utf8_lossy(&bytes).into_owned())),
            Data::Process => Some(std::str::from_utf8(&bytes).ok().map(str::to_owned)),
            Data::None => None,
        };
        let anchor = item.anchor().and_then(|anchor| std::str::from_utf8(anchor).ok());
        Self {
            id: item.id(),
            owner: Owner { address: item.owner().to_string(), key: URL_SAFE_NO_PAD.encode(item.owner_key()) },
            data,
            tags: item.tags().to_vec(),
            signature: URL_SAFE_NO_PAD.encode(item.signature()),
            anchor: anchor.map(str::to_owned),
            target: item.target().map(|target| target.to_string()).unwrap_or_default(),
        }
    }
}

#[cfg(test)]
mod tests;
