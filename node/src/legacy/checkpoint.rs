//! What the reference's Compute Unit posts of a process: an item whose data is the whole memory, gzipped.
//!
//! It is a claim. Its hash is of bytes that its signer chose, and shows that they came whole, nothing else; so no
//! node starts from one. It can be held against a replay. Here its tags are read and its data is unpacked, page by
//! page: pure, and of what comes out never more than a page is in memory.

use std::fmt::Write as _;
use std::io::{ErrorKind, Read as _};

use flate2::bufread::GzDecoder;
use serde::Serialize;
use sha2::{Digest as _, Sha256};
use weft_protocol::state::LEAF_BYTES;
use weft_protocol::{Hash, Id, Tag, tag};

/// Bytes of a memory that are unpacked at most: all that a 32-bit module can address. The reference's units
/// themselves take 1 GiB unless they are told otherwise.
pub const MEMORY_BYTES_MAX: u64 = 4 << 30;

/// Characters of a foreign value that an error repeats.
const SHOWN_CHARS_MAX: usize = 80;

/// Why an item is no checkpoint.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ClaimError {
    /// A tag that every checkpoint has.
    #[error("it has no tag {0}, which every checkpoint of a Compute Unit has")]
    Missing(&'static str),
    /// A tag with another value.
    #[error("its tag {name} is `{value}`, not {expected}")]
    Wrong {
        /// The tag.
        name: &'static str,
        /// Its value, shortened.
        value: String,
        /// What can be read.
        expected: &'static str,
    },
}

/// Why the data of a checkpoint is no memory.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MemoryError {
    /// It does not begin like gzip.
    #[error("the data is not gzip")]
    NotGzip,
    /// It ends early.
    #[error("the gzip data ends early, after {0} bytes of memory")]
    Truncated(u64),
    /// It was changed on the way.
    #[error("the gzip data is damaged after {after} bytes of memory: {why}")]
    Damaged {
        /// Bytes that came out before.
        after: u64,
        /// What the library says, of a wrong checksum among others.
        why: String,
    },
    /// Something follows the gzip data.
    #[error("{0} bytes follow the gzip data")]
    Trailing(usize),
    /// More comes out than any memory that is read.
    #[error("it unpacks to more than {0} bytes of memory, the most that are read")]
    TooLarge(u64),
    /// No memory of a module has this length.
    #[error("it unpacks to {0} bytes, but every memory is whole pages of {LEAF_BYTES} bytes")]
    NotPages(u64),
}

/// What a checkpoint says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Claims {
    /// Whose memory it is.
    pub process: Id,
    /// Which module made it.
    pub module: Id,
    /// After which slot: the tag `Nonce`, which in one of a cron is that of the slot before.
    pub slot: u64,
    /// The tag `Epoch`, which is left out when it is 0.
    pub epoch: u64,
    /// Of the message, in milliseconds since 1970.
    pub timestamp: u64,
    /// Of the message.
    pub block_height: u64,
    /// Which tick of which cron the memory is after, if not after the slot itself.
    pub cron: Option<String>,
    /// The assignment of the slot.
    pub assignment: Option<Id>,
    /// The hash chain of the slot.
    pub hash_chain: Option<Hash>,
    /// SHA-256 of the memory as it is unpacked, in lower-case hexadecimal.
    pub sha256: String,
}

impl Claims {
    /// Reads the tags of an item. The first of each name counts, as it does for the reference.
    ///
    /// # Errors
    /// The first tag that is missing or cannot be read.
    pub fn read(tags: &[Tag]) -> Result<Self, ClaimError> {
        let id = |text: &str| text.parse().ok();
        expect_kind(tags)?;
        Ok(Self {
            process: required(tags, "Process", "an id", id)?,
            module: required(tags, "Module", "an id", id)?,
            slot: required(tags, "Nonce", NUMBER, number)?,
            epoch: optional(tags, "Epoch", NUMBER, number)?.unwrap_or_default(),
            timestamp: required(tags, "Timestamp", NUMBER, number)?,
            block_height: required(tags, "Block-Height", NUMBER, number)?,
            cron: tag::first(tags, "Cron-Interval").map(str::to_owned),
            assignment: optional(tags, "Assignment", "an id", id)?,
            hash_chain: optional(tags, "Hash-Chain", "32 bytes in base64url", |text| text.parse().ok())?,
            sha256: required(tags, "SHA-256", "64 hexadecimal digits", |text| {
                let is_hash = text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
                is_hash.then(|| text.to_ascii_lowercase())
            })?,
        })
    }
}

/// Whether tags are those of a checkpoint; whether it says all that it must, [`Claims::read`] tells.
pub fn is_like_one(tags: &[Tag]) -> bool {
    expect_kind(tags).is_ok()
}

fn expect_kind(tags: &[Tag]) -> Result<(), ClaimError> {
    expect(tags, "Data-Protocol", "ao", "ao")?;
    expect(tags, "Type", "Checkpoint", "Checkpoint")?;
    expect(tags, "Content-Encoding", "gzip", "gzip")
}

const NUMBER: &str = "a number";

fn number(text: &str) -> Option<u64> {
    // The library takes a sign as well.
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok()).flatten()
}

fn expect(tags: &[Tag], name: &'static str, wanted: &str, expected: &'static str) -> Result<(), ClaimError> {
    required(tags, name, expected, |text| (text == wanted).then_some(()))
}

fn required<T>(
    tags: &[Tag],
    name: &'static str,
    expected: &'static str,
    read: impl Fn(&str) -> Option<T>,
) -> Result<T, ClaimError> {
    optional(tags, name, expected, read)?.ok_or(ClaimError::Missing(name))
}

fn optional<T>(
    tags: &[Tag],
    name: &'static str,
    expected: &'static str,
    read: impl Fn(&str) -> Option<T>,
) -> Result<Option<T>, ClaimError> {
    let Some(text) = tag::first(tags, name) else { return Ok(None) };
    let value = || text.chars().take(SHOWN_CHARS_MAX).collect();
    read(text).map(Some).ok_or_else(|| ClaimError::Wrong { name, value: value(), expected })
}

/// A memory that was unpacked whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unpacked {
    /// Its bytes: whole pages.
    pub bytes: u64,
    /// SHA-256 of them, in lower-case hexadecimal.
    pub sha256: String,
}

/// Unpacks the data of a checkpoint, and hands over page after page of [`LEAF_BYTES`] with its number. What is
/// handed over counts only when all of it was: the data may turn out to be damaged at its end.
///
/// # Errors
/// A [`MemoryError`], more than `bytes_max` bytes of memory among others, or what `take` fails with.
pub fn unpack<E: From<MemoryError>>(
    data: &[u8],
    bytes_max: u64,
    mut take: impl FnMut(u32, &[u8]) -> Result<(), E>,
) -> Result<Unpacked, E> {
    let mut decoder = GzDecoder::new(data);
    let (mut page, mut bytes, mut digest) = (vec![0; LEAF_BYTES], 0, Sha256::new());
    for number in 0.. {
        let filled = fill(&mut decoder, &mut page, bytes)?;
        bytes += filled as u64;
        if bytes > bytes_max {
            return Err(MemoryError::TooLarge(bytes_max).into());
        }
        if filled == 0 {
            break;
        }
        if filled < LEAF_BYTES {
            return Err(MemoryError::NotPages(bytes).into());
        }
        digest.update(&page);
        take(number, &page)?;
    }
    match decoder.into_inner().len() {
        0 => Ok(Unpacked { bytes, sha256: hex(&digest.finalize()) }),
        more => Err(MemoryError::Trailing(more).into()),
    }
}

/// Fills a page as far as there is anything left; `before` counts the bytes of the pages before it.
fn fill(decoder: &mut GzDecoder<&[u8]>, page: &mut [u8], before: u64) -> Result<usize, MemoryError> {
    let mut filled = 0;
    while filled < page.len() {
        let after = before + filled as u64;
        filled += match decoder.read(&mut page[filled..]) {
            Ok(0) => break,
            Ok(some) => some,
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => {
                return Err(MemoryError::Truncated(after));
            }
            Err(_) if decoder.header().is_none() => return Err(MemoryError::NotGzip),
            Err(error) => return Err(MemoryError::Damaged { after, why: error.to_string() }),
        };
    }
    Ok(filled)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        // A string takes whatever is written to it.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests;
