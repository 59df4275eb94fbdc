//! Tags: ordered name-value pairs, encoded in an item as one Avro array.

use serde::{Deserialize, Serialize};

use crate::limits::{TAG_BYTES_MAX, TAG_NAME_BYTES_MAX, TAG_VALUE_BYTES_MAX, TAGS_MAX};

/// One name-value pair. Names may repeat and their order counts.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Tag {
    /// 1 to 1,024 bytes of UTF-8.
    pub name: String,
    /// 1 to 3,072 bytes of UTF-8.
    pub value: String,
}

impl Tag {
    /// A tag.
    pub fn new(name: impl Into<String>, value: impl Into<String>) -> Self {
        Self { name: name.into(), value: value.into() }
    }
}

/// Why tags are refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TagError {
    /// More than 128 tags.
    #[error("{0} tags; at most {TAGS_MAX} are allowed")]
    TooMany(u64),
    /// More than 4,096 bytes in all.
    #[error("{0} bytes of tags; at most {TAG_BYTES_MAX} are allowed")]
    TooLong(u64),
    /// A name that is empty or too long.
    #[error("a tag name of {0} bytes; 1 to {TAG_NAME_BYTES_MAX} are allowed")]
    NameLength(usize),
    /// A value that is empty or too long.
    #[error("a tag value of {0} bytes; 1 to {TAG_VALUE_BYTES_MAX} are allowed")]
    ValueLength(usize),
    /// The bytes end early, have bytes left over, or hold a bad length.
    #[error("the tag bytes are not a well-formed Avro array")]
    Malformed,
    /// The item declares another number of tags than its Avro array holds.
    #[error("the item declares {declared} tags but encodes {encoded}")]
    CountMismatch {
        /// The count in the item's header.
        declared: u64,
        /// The count in the array.
        encoded: usize,
    },
    /// A name or value that is not UTF-8.
    #[error("a tag name or value is not UTF-8")]
    NotUtf8,
}

/// The first value of this name, compared exactly.
pub fn first<'a>(tags: &'a [Tag], name: &str) -> Option<&'a str> {
    tags.iter().find(|tag| tag.name == name).map(|tag| tag.value.as_str())
}

/// All values of this name, in order.
pub fn all<'a>(tags: &'a [Tag], name: &'a str) -> impl Iterator<Item = &'a str> {
    tags.iter().filter(move |tag| tag.name == name).map(|tag| tag.value.as_str())
}

/// Encodes tags as one Avro block; no tags are no bytes.
///
/// # Errors
/// Any limit that the tags break.
pub fn encode(tags: &[Tag]) -> Result<Vec<u8>, TagError> {
    if tags.is_empty() {
        return Ok(Vec::new());
    }
    if tags.len() > TAGS_MAX {
        return Err(TagError::TooMany(tags.len() as u64));
    }
    for tag in tags {
        check_lengths(tag.name.len(), tag.value.len())?;
    }
    let out = encode_unchecked(tags);
    if out.len() > TAG_BYTES_MAX {
        return Err(TagError::TooLong(out.len() as u64));
    }
    Ok(out)
}

/// Encodes tags as [`encode`] does, whatever their number and lengths: for digests over tags that
/// already stood in an item.
pub(crate) fn encode_unchecked(tags: &[Tag]) -> Vec<u8> {
    let mut out = Vec::new();
    if tags.is_empty() {
        return out;
    }
    put_long(&mut out, tags.len() as i64);
    for tag in tags {
        for text in [&tag.name, &tag.value] {
            put_long(&mut out, text.len() as i64);
            out.extend_from_slice(text.as_bytes());
        }
    }
    out.push(0);
    out
}

/// Decodes the Avro array of an item that declares `declared` tags.
///
/// # Errors
/// Anything but a well-formed array within the limits that holds exactly that many tags.
pub fn decode(bytes: &[u8], declared: u64) -> Result<Vec<Tag>, TagError> {
    if declared > TAGS_MAX as u64 {
        return Err(TagError::TooMany(declared));
    }
    if bytes.len() > TAG_BYTES_MAX {
        return Err(TagError::TooLong(bytes.len() as u64));
    }
    if bytes.is_empty() && declared == 0 {
        return Ok(Vec::new());
    }
    let mut rest = bytes;
    let mut tags = Vec::new();
    loop {
        let count = take_long(&mut rest)?;
        if count == 0 {
            break;
        }
        if count < 0 {
            // A negative count is followed by the block's size in bytes, which we do not need.
            take_long(&mut rest)?;
        }
        for _ in 0..count.unsigned_abs() {
            if tags.len() == TAGS_MAX {
                return Err(TagError::TooMany(tags.len() as u64 + 1));
            }
            let name = take_text(&mut rest)?;
            let value = take_text(&mut rest)?;
            check_lengths(name.len(), value.len())?;
            tags.push(Tag { name, value });
        }
    }
    if !rest.is_empty() {
        return Err(TagError::Malformed);
    }
    if tags.len() as u64 != declared {
        return Err(TagError::CountMismatch { declared, encoded: tags.len() });
    }
    Ok(tags)
}

fn check_lengths(name: usize, value: usize) -> Result<(), TagError> {
    if name == 0 || name > TAG_NAME_BYTES_MAX {
        return Err(TagError::NameLength(name));
    }
    if value == 0 || value > TAG_VALUE_BYTES_MAX {
        return Err(TagError::ValueLength(value));
    }
    Ok(())
}

/// Avro's zigzag varint.
fn put_long(out: &mut Vec<u8>, value: i64) {
    let mut rest = ((value << 1) ^ (value >> 63)) as u64;
    while rest >= 0x80 {
        out.push((rest as u8) | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
}

fn take_long(rest: &mut &[u8]) -> Result<i64, TagError> {
    let mut value: u64 = 0;
    for shift in (0..64).step_by(7) {
        let (&byte, tail) = rest.split_first().ok_or(TagError::Malformed)?;
        *rest = tail;
        if shift == 63 && byte > 1 {
            return Err(TagError::Malformed);
        }
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Ok((value >> 1) as i64 ^ -((value & 1) as i64));
        }
    }
    Err(TagError::Malformed)
}

fn take_text(rest: &mut &[u8]) -> Result<String, TagError> {
    let length = usize::try_from(take_long(rest)?).map_err(|_| TagError::Malformed)?;
    if length > rest.len() {
        return Err(TagError::Malformed);
    }
    let (text, tail) = rest.split_at(length);
    *rest = tail;
    String::from_utf8(text.to_vec()).map_err(|_| TagError::NotUtf8)
}
