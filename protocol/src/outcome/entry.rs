//! One entry of an outbox and its canonical bytes.

use bytes::Bytes;

use crate::id::Id;
use crate::limits::{ENTRY_TAGS_MAX, OUTBOX_BYTES_MAX};
use crate::tag::Tag;

/// What an entry asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum EntryKind {
    /// Nothing: the entry was malformed or over a limit and only keeps its index.
    Dropped = 0,
    /// A message to push.
    Message = 1,
    /// A process to spawn.
    Spawn = 2,
    /// An existing item to assign to processes.
    Assignment = 3,
}

/// Why bytes are no entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EntryError {
    /// The bytes end inside a field.
    #[error("the entry ends inside a field")]
    Truncated,
    /// Bytes follow the last field.
    #[error("bytes follow the entry")]
    Trailing,
    /// A kind that is not 0 to 3.
    #[error("{0} is no kind of entry")]
    Kind(u8),
    /// A field with a length or content that no entry has.
    #[error("the {0} of the entry is malformed")]
    Field(&'static str),
}

/// One entry of an outbox.
///
/// A message has target, anchor, tags and data; a spawn has tags and data, and an anchor if the
/// module gave one of 32 bytes; an assignment has the tags `Message`, `Process` (one for each
/// target), `Base-Layer` and `Exclude`. The names that a push sets itself (RULES.md 6.2) are not
/// among the tags.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutboxEntry {
    /// What the entry asks for.
    pub kind: EntryKind,
    /// The first message of the chain of pushes this one belongs to; none for ticks.
    pub root: Option<Id>,
    /// Whom a message is for.
    pub target: Option<Id>,
    /// The item anchor to push with.
    pub anchor: Option<[u8; 32]>,
    /// The tags, in the module's order.
    pub tags: Vec<Tag>,
    /// The data; a single space where the module gave none.
    pub data: Bytes,
}

impl OutboxEntry {
    /// The entry that only keeps its index.
    pub const fn dropped() -> Self {
        Self {
            kind: EntryKind::Dropped,
            root: None,
            target: None,
            anchor: None,
            tags: Vec::new(),
            data: Bytes::new(),
        }
    }

    /// The length of [`to_bytes`](Self::to_bytes).
    pub fn encoded_bytes(&self) -> usize {
        self.head_bytes().len() + 4 + self.data.len()
    }

    /// All but the data, as it is hashed and as origin proofs carry it: kind u8, then root, target,
    /// anchor, the number of tags, their names and values, each after its length u32.
    pub fn head_bytes(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(128);
        out.push(self.kind as u8);
        put(&mut out, self.root.as_ref().map_or(&[], |id| &id.0));
        put(&mut out, self.target.as_ref().map_or(&[], |id| &id.0));
        put(&mut out, self.anchor.as_ref().map_or(&[], |anchor| anchor));
        out.extend_from_slice(&(self.tags.len() as u32).to_be_bytes());
        for tag in &self.tags {
            put(&mut out, tag.name.as_bytes());
            put(&mut out, tag.value.as_bytes());
        }
        out
    }

    /// The stored bytes: [`head_bytes`](Self::head_bytes), then the data after its length u32.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = self.head_bytes();
        out.reserve_exact(4 + self.data.len());
        put(&mut out, &self.data);
        out
    }

    /// Reads [`to_bytes`](Self::to_bytes).
    ///
    /// # Errors
    /// Anything that [`to_bytes`](Self::to_bytes) does not write.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, EntryError> {
        if bytes.len() > OUTBOX_BYTES_MAX {
            return Err(EntryError::Field("length"));
        }
        let mut rest = bytes;
        let mut entry = Self::take_head(&mut rest)?;
        entry.data = Bytes::copy_from_slice(field(&mut rest)?);
        if !rest.is_empty() {
            return Err(EntryError::Trailing);
        }
        entry.check_dropped()
    }

    /// Reads [`head_bytes`](Self::head_bytes) into an entry without its data.
    ///
    /// # Errors
    /// Anything that [`head_bytes`](Self::head_bytes) does not write.
    pub fn from_head_bytes(bytes: &[u8]) -> Result<Self, EntryError> {
        let mut rest = bytes;
        let entry = Self::take_head(&mut rest)?;
        if !rest.is_empty() {
            return Err(EntryError::Trailing);
        }
        entry.check_dropped()
    }

    fn take_head(rest: &mut &[u8]) -> Result<Self, EntryError> {
        let kind = match take(rest, 1)? {
            [0] => EntryKind::Dropped,
            [1] => EntryKind::Message,
            [2] => EntryKind::Spawn,
            [3] => EntryKind::Assignment,
            other => return Err(EntryError::Kind(other[0])),
        };
        let root = optional(rest, "root")?.map(Id);
        let target = optional(rest, "target")?.map(Id);
        let anchor = optional(rest, "anchor")?;
        let count = length(rest)?;
        if count > ENTRY_TAGS_MAX {
            return Err(EntryError::Field("number of tags"));
        }
        let mut tags = Vec::new();
        for _ in 0..count {
            let name = text(rest, "tag name")?;
            tags.push(Tag { name, value: text(rest, "tag value")? });
        }
        Ok(Self { kind, root, target, anchor, tags, data: Bytes::new() })
    }

    fn check_dropped(self) -> Result<Self, EntryError> {
        if self.kind == EntryKind::Dropped && self != Self::dropped() {
            return Err(EntryError::Field("kind"));
        }
        Ok(self)
    }
}

/// Appends a field after its length. Entries are bounded by [`OUTBOX_BYTES_MAX`], far below 4 GiB.
fn put(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend_from_slice(&(bytes.len() as u32).to_be_bytes());
    out.extend_from_slice(bytes);
}

fn take<'a>(rest: &mut &'a [u8], length: usize) -> Result<&'a [u8], EntryError> {
    let (head, tail) = rest.split_at_checked(length).ok_or(EntryError::Truncated)?;
    *rest = tail;
    Ok(head)
}

fn length(rest: &mut &[u8]) -> Result<usize, EntryError> {
    let mut word = [0; 4];
    word.copy_from_slice(take(rest, 4)?);
    Ok(u32::from_be_bytes(word) as usize)
}

fn field<'a>(rest: &mut &'a [u8]) -> Result<&'a [u8], EntryError> {
    let length = length(rest)?;
    take(rest, length)
}

fn optional(rest: &mut &[u8], name: &'static str) -> Result<Option<[u8; 32]>, EntryError> {
    match field(rest)? {
        [] => Ok(None),
        bytes => bytes.try_into().map(Some).map_err(|_| EntryError::Field(name)),
    }
}

fn text(rest: &mut &[u8], name: &'static str) -> Result<String, EntryError> {
    String::from_utf8(field(rest)?.to_vec()).map_err(|_| EntryError::Field(name))
}
