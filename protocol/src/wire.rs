//! The wire messages, generated from `proto/weft.proto`, and the one way to read them.
//!
//! Every message is canonical: what decodes but would be encoded otherwise is refused, so equal
//! messages are equal bytes and a content id names one message. Lengths and counts are limited
//! before anything is allocated for them.

use bytes::Bytes;
use prost::Message;

use crate::id::{Hash, Id};
use crate::l1::L1_TAGS_MAX;
use crate::limits::{ATTESTORS_MAX, EXCLUDES_MAX, ITEM_BYTES_MAX};
use crate::lobby::ADVERT_ADDRESSES_MAX;
use crate::market::{LEAF_PATH_MAX, LEAVES_MAX, Paid, SET_OFFERS_MAX};

#[allow(missing_docs, clippy::all, clippy::pedantic, unreachable_pub)]
mod generated {
    include!(concat!(env!("OUT_DIR"), "/weft.v1.rs"));
}

mod fuzz;

#[doc(hidden)]
pub use fuzz::fuzz_body;
pub use generated::*;

/// Bytes of one assignment item: two RSA fields and at most 4 KiB of tags, no data.
pub const ASSIGNMENT_BYTES_MAX: usize = 8 * 1024;
/// Bytes of one origin proof item (RULES.md 6.2).
pub const PROOF_BYTES_MAX: usize = 64 * 1024;
/// Bytes of one slot record: assignment, item, proof and their framing.
pub const RECORD_BYTES_MAX: usize = ASSIGNMENT_BYTES_MAX + ITEM_BYTES_MAX + PROOF_BYTES_MAX + 32;
/// Bytes of what travels on a process topic; larger slots are announced by head and fetched.
pub const ANNOUNCEMENT_BYTES_MAX: usize = 64 * 1024;
/// Bytes of a pending item with its origin proof (RULES.md 6.15).
pub const PENDING_BYTES_MAX: usize = 4 * 1024;
/// Bytes of a fact on a lobby shard.
pub const LOBBY_BYTES_MAX: usize = 512;
/// Bytes of what travels on a lobby shard: a fact, and which kind it is.
pub const LOBBY_FACT_BYTES_MAX: usize = LOBBY_BYTES_MAX + 4;
/// Bytes of an offer, which travels on a lobby shard.
pub const OFFER_BYTES_MAX: usize = LOBBY_BYTES_MAX;
/// Bytes of a request: the largest hands over one item with its proof and says where it goes.
pub const REQUEST_BYTES_MAX: usize = ITEM_BYTES_MAX + PROOF_BYTES_MAX + 256;
/// Bytes of a response: at least one slot record always fits.
pub const RESPONSE_BYTES_MAX: usize = RECORD_BYTES_MAX + 64;
/// Bytes of signature evidence (RULES.md 6.18).
pub const EVIDENCE_BYTES_MAX: usize = 4 * 1024;
/// Bytes of replay evidence (RULES.md 6.18).
pub const REPLAY_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Bytes of one epoch certificate: with the largest item of a recovery key and seven RSA votes.
pub const CERTIFICATE_BYTES_MAX: usize = 48 * 1024;

/// Bytes of the data of an `Offer-Set` item: 64 offers, each with bond, quality and framing.
pub const OFFER_SET_BYTES_MAX: usize = SET_OFFERS_MAX * (OFFER_BYTES_MAX + 24);
/// Bytes of an `Offer-Set` item: its data, two RSA fields and at most 4 KiB of tags.
pub const OFFER_SET_ITEM_BYTES_MAX: usize = OFFER_SET_BYTES_MAX + ASSIGNMENT_BYTES_MAX;
/// Bytes of an answer to a challenge: every part at its largest but the certificates, of which a few fit.
pub const ANSWER_BYTES_MAX: usize = 256 * 1024;
/// Bytes of what opens a claim: its pushes, the answer for the first, and their framing.
pub const OPENING_BYTES_MAX: usize = LEAVES_MAX * Paid::BYTES + ANSWER_BYTES_MAX + 64;
/// Bytes of what shows an earlier push: the slots between it and the receipt are bounded by it, to some 120,000.
pub const EARLIER_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Processes that one head request names.
pub const HEADS_MAX: usize = 64;
/// Processes that one follow request names.
pub const WATCHED_MAX: usize = 256;
/// Adverts of others in one answer to who serves a process.
pub const ADVERTS_MAX: usize = 8;
/// Messages that wait for a slot, in one answer: one MiB.
pub const WAITING_MAX: usize = 256;
/// Slots of one range response.
pub const RANGE_SLOTS_MAX: usize = 1024;
/// Attestations of one position: the most attestors that a process can name.
pub const ATTESTATIONS_MAX: usize = ATTESTORS_MAX;
/// Attestations in one item of an exported process: some hundred kilobytes.
pub const FILED_ATTESTATIONS_MAX: usize = 1_024;
/// Positions in one answer to what a process sent: from one boundary to the next, and many ticks.
pub const SENT_OUTCOMES_MAX: usize = 8_192;
/// Outbox entries in it.
pub const SENT_ENTRIES_MAX: usize = 32_768;
/// Attestations in it: some megabytes.
pub const SENT_ATTESTATIONS_MAX: usize = 8_192;
/// Leaves of memory in one answer: 4 MiB.
pub const PAGES_MAX: usize = 64;
/// Epoch certificates of one origin proof: a process that changed hands more often can no longer
/// prove what it sends (RULES.md 6.2).
pub const CERTIFICATES_MAX: usize = 32;

/// Why bytes are not a wire message.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WireError {
    /// More bytes than the message may have.
    #[error("{length} bytes; at most {max} are allowed")]
    TooLong {
        /// How many there are.
        length: usize,
        /// How many there may be.
        max: usize,
    },
    /// More elements of a repeated field than it may have.
    #[error("too many elements in field {0:?}")]
    TooMany(&'static [u32]),
    /// Not a message of this type.
    #[error("not a well-formed message")]
    Malformed,
    /// Another encoding of the same message exists, and it is the right one.
    #[error("not the canonical encoding")]
    NotCanonical,
    /// A field that is missing, of a wrong length or out of range.
    #[error("bad field `{0}`")]
    Field(&'static str),
}

/// A limit of a repeated field, named by the field numbers that lead to it.
#[derive(Debug, Clone, Copy)]
pub struct Repeated {
    /// Field numbers from the message down to the repeated field.
    pub path: &'static [u32],
    /// How many elements it may have in all.
    pub max: usize,
}

/// A message that is read from outside: how many elements its repeated fields may have.
pub trait WireMessage: Message + Default {
    /// Every repeated field of messages or bytes that the message can contain. Packed numbers
    /// need no limit here: an element takes at least a byte.
    const REPEATED: &'static [Repeated] = &[];
}

impl WireMessage for SlotRecord {}
impl WireMessage for Head {}
impl WireMessage for Attestation {}
impl WireMessage for Announcement {}
impl WireMessage for Evidence {}
impl WireMessage for Judgement {}
impl WireMessage for Offer {}
impl WireMessage for LobbyFact {
    const REPEATED: &'static [Repeated] = &[Repeated { path: &[1, 7], max: ADVERT_ADDRESSES_MAX }];
}
impl WireMessage for ReplayEvidence {
    const REPEATED: &'static [Repeated] = &[
        // 64 MiB of leaves, and paths in a memory of at most 16 GiB.
        Repeated { path: &[4], max: 1_024 },
        Repeated { path: &[4, 3], max: 1_024 * 18 },
        // From one boundary to the next, and the slot that ends the last ticks.
        Repeated { path: &[6], max: RANGE_SLOTS_MAX + 1 },
    ];
}
impl WireMessage for EpochCertificate {
    const REPEATED: &'static [Repeated] = &[
        Repeated { path: &[6], max: 7 },
        Repeated { path: &[9], max: 16 },
        Repeated { path: &[12], max: 7 },
        Repeated { path: &[14], max: 16 },
    ];
}
impl WireMessage for OfferSet {
    const REPEATED: &'static [Repeated] = &[Repeated { path: &[1], max: SET_OFFERS_MAX }];
}
impl WireMessage for ClaimAnswer {
    const REPEATED: &'static [Repeated] = &[
        Repeated { path: &[1, 2], max: LEAF_PATH_MAX },
        Repeated { path: &[2, 2], max: LEAF_PATH_MAX },
        Repeated { path: &[3, 4], max: CERTIFICATES_MAX },
    ];
}
impl WireMessage for ClaimOpening {
    const REPEATED: &'static [Repeated] = &[
        Repeated { path: &[2, 1, 2], max: LEAF_PATH_MAX },
        Repeated { path: &[2, 2, 2], max: LEAF_PATH_MAX },
        Repeated { path: &[2, 3, 4], max: CERTIFICATES_MAX },
    ];
}
impl WireMessage for EarlierPush {
    const REPEATED: &'static [Repeated] =
        &[Repeated { path: &[1, 2], max: LEAF_PATH_MAX }, Repeated { path: &[2, 4], max: CERTIFICATES_MAX }];
}
impl WireMessage for OriginProof {
    const REPEATED: &'static [Repeated] = &[
        Repeated { path: &[2], max: CERTIFICATES_MAX },
        // An outbox has at most 1,000 entries, so a path at most 10 siblings.
        Repeated { path: &[6], max: 10 },
        Repeated { path: &[11], max: ATTESTORS_MAX },
    ];
}
impl WireMessage for BaseTransaction {
    const REPEATED: &'static [Repeated] = &[Repeated { path: &[6], max: L1_TAGS_MAX }];
}
impl WireMessage for AttestationsResponse {
    // Of many positions, in a file.
    const REPEATED: &'static [Repeated] = &[Repeated { path: &[1], max: FILED_ATTESTATIONS_MAX }];
}
impl WireMessage for Request {
    const REPEATED: &'static [Repeated] = &[
        Repeated { path: &[2, 1], max: HEADS_MAX },
        Repeated { path: &[8, 5], max: EXCLUDES_MAX },
        Repeated { path: &[9, 1], max: WATCHED_MAX },
        Repeated { path: &[20, 1], max: HEADS_MAX },
    ];
}
impl WireMessage for Response {
    const REPEATED: &'static [Repeated] = &[
        Repeated { path: &[2, 1], max: HEADS_MAX },
        Repeated { path: &[3, 1], max: RANGE_SLOTS_MAX },
        Repeated { path: &[5, 1], max: ATTESTATIONS_MAX },
        Repeated { path: &[6, 5, 6], max: ATTESTATIONS_MAX },
        Repeated { path: &[10, 1], max: ATTESTATIONS_MAX },
        Repeated { path: &[11, 1], max: PAGES_MAX },
        Repeated { path: &[16, 2], max: ADVERTS_MAX },
        Repeated { path: &[16, 2, 7], max: ADVERTS_MAX * ADVERT_ADDRESSES_MAX },
        Repeated { path: &[18, 3], max: SENT_OUTCOMES_MAX },
        Repeated { path: &[18, 3, 2], max: SENT_ENTRIES_MAX },
        Repeated { path: &[18, 4], max: SENT_ATTESTATIONS_MAX },
        Repeated { path: &[20, 1], max: WAITING_MAX },
    ];
}

/// Reads a message that is at most `max` bytes and the only encoding of itself.
///
/// Byte fields share `bytes`. Repeated fields are counted before they are built, so that a
/// message of empty elements cannot ask for more memory than it pays for in bytes.
///
/// # Errors
/// The first limit or rule that the bytes break.
pub fn decode_canonical<T: WireMessage>(bytes: &Bytes, max: usize) -> Result<T, WireError> {
    if bytes.len() > max {
        return Err(WireError::TooLong { length: bytes.len(), max });
    }
    for repeated in T::REPEATED {
        if count(bytes, repeated.path)? > repeated.max {
            return Err(WireError::TooMany(repeated.path));
        }
    }
    let message = T::decode(bytes.clone()).map_err(|_| WireError::Malformed)?;
    if message.encoded_len() != bytes.len() || message.encode_to_vec() != *bytes {
        return Err(WireError::NotCanonical);
    }
    Ok(message)
}

/// Counts the elements of the field at `path`, looking through the messages on the way.
fn count(mut bytes: &[u8], path: &[u32]) -> Result<usize, WireError> {
    let Some((&wanted, deeper)) = path.split_first() else { return Ok(1) };
    let mut total = 0;
    while !bytes.is_empty() {
        let key = varint(&mut bytes)?;
        let field = u32::try_from(key >> 3).map_err(|_| WireError::Malformed)?;
        let value = match key & 7 {
            0 => {
                varint(&mut bytes)?;
                &[][..]
            }
            1 => take(&mut bytes, 8)?,
            5 => take(&mut bytes, 4)?,
            2 => {
                let length = usize::try_from(varint(&mut bytes)?).map_err(|_| WireError::Malformed)?;
                take(&mut bytes, length)?
            }
            _ => return Err(WireError::Malformed),
        };
        if field == wanted {
            total += if deeper.is_empty() { 1 } else { count(value, deeper)? };
        }
    }
    Ok(total)
}

fn varint(bytes: &mut &[u8]) -> Result<u64, WireError> {
    prost::encoding::decode_varint(bytes).map_err(|_| WireError::Malformed)
}

fn take<'a>(bytes: &mut &'a [u8], length: usize) -> Result<&'a [u8], WireError> {
    let (head, tail) = bytes.split_at_checked(length).ok_or(WireError::Malformed)?;
    *bytes = tail;
    Ok(head)
}

/// Reads a 32-byte id.
///
/// # Errors
/// Another length.
pub fn id(field: &'static str, bytes: &[u8]) -> Result<Id, WireError> {
    Id::try_from(bytes).map_err(|_| WireError::Field(field))
}

/// Reads a 32-byte hash.
///
/// # Errors
/// Another length.
pub fn hash(field: &'static str, bytes: &[u8]) -> Result<Hash, WireError> {
    Hash::try_from(bytes).map_err(|_| WireError::Field(field))
}

/// Reads a position that must be there.
///
/// # Errors
/// It is not.
pub fn position(message: Option<&Position>) -> Result<crate::Position, WireError> {
    message
        .map(|&Position { epoch, slot, tick }| crate::Position { epoch, slot, tick })
        .ok_or(WireError::Field("position"))
}

/// The wire form of an id, an address or a hash.
pub fn bytes(name: impl AsRef<[u8]>) -> Bytes {
    Bytes::copy_from_slice(name.as_ref())
}

impl From<crate::Position> for Position {
    fn from(crate::Position { epoch, slot, tick }: crate::Position) -> Self {
        Self { epoch, slot, tick }
    }
}
