//! How a value lies on disk: version byte, 8-byte checksum, payload.
//!
//! The checksum is the start of BLAKE3 over table name, key, version and payload, so a record
//! that was moved, cut or changed does not decode. The payload is a fixed sequence of fields:
//! integers big-endian, byte strings with a u32 length, options with a presence byte. A layout
//! never changes under its version: golden bytes in tests/format.rs hold every one.

use bytes::Bytes;
use weft_protocol::{Address, Hash, Id, Position};

use crate::error::{StoreError, hex};

const CHECKSUM_BYTES: usize = 8;
pub(crate) const HEADER_BYTES: usize = 1 + CHECKSUM_BYTES;
/// Room for a row at first: enough for those of indexes.
const SMALL_BYTES: usize = 64;

/// A typed value of one table.
pub(crate) trait Record: Sized {
    /// The version of the layout that `put` writes.
    const VERSION: u8 = 1;
    /// Appends the fields.
    fn put(&self, out: &mut Encoder);
    /// Reads the fields that `put` wrote; `None` when they do not fit.
    fn take(input: &mut Decoder) -> Option<Self>;
}

/// The bytes to store for `row` under `key`.
pub(crate) fn encode<R: Record>(table: &'static str, key: &[u8], row: &R) -> Vec<u8> {
    let mut out = Encoder(Vec::with_capacity(SMALL_BYTES));
    out.0.resize(HEADER_BYTES, 0);
    row.put(&mut out);
    sealed::<R>(table, key, out.0)
}

/// A payload as it would lie on disk, whatever it is.
pub(crate) fn checked<R: Record>(table: &'static str, key: &[u8], payload: &[u8]) -> Vec<u8> {
    sealed::<R>(table, key, [&[0; HEADER_BYTES], payload].concat())
}

/// Writes version and checksum into the room before a payload.
fn sealed<R: Record>(table: &'static str, key: &[u8], mut bytes: Vec<u8>) -> Vec<u8> {
    bytes[0] = R::VERSION;
    let checksum = checksum(table, key, R::VERSION, &bytes[HEADER_BYTES..]);
    bytes[1..HEADER_BYTES].copy_from_slice(&checksum);
    bytes
}

/// The row in stored bytes.
pub(crate) fn decode<R: Record>(table: &'static str, key: &[u8], bytes: Bytes) -> Result<R, StoreError> {
    let damaged = |reason| StoreError::Damaged { table, key: hex(key), reason };
    if bytes.len() < HEADER_BYTES {
        return Err(damaged("the record is cut short"));
    }
    let version = bytes[0];
    let payload = bytes.slice(HEADER_BYTES..);
    if bytes[1..HEADER_BYTES] != checksum(table, key, version, &payload) {
        return Err(damaged("the checksum does not match"));
    }
    if version != R::VERSION {
        return Err(damaged("the record has an unknown version"));
    }
    let mut input = Decoder(payload);
    let row = R::take(&mut input).ok_or_else(|| damaged("a field does not decode"))?;
    if input.0.is_empty() { Ok(row) } else { Err(damaged("bytes are left over after the last field")) }
}

fn checksum(table: &'static str, key: &[u8], version: u8, payload: &[u8]) -> [u8; CHECKSUM_BYTES] {
    let (table_bytes, key_bytes) = ((table.len() as u64).to_be_bytes(), (key.len() as u64).to_be_bytes());
    let parts = [&table_bytes, table.as_bytes(), &key_bytes, key, &[version], payload];
    let hash = match joined(parts, &mut [0; blake3::CHUNK_LEN]) {
        // One chunk is hashed at once, without the stack of a tree: most rows are.
        Some(small) => blake3::hash(small),
        None => parts
            .iter()
            .fold(blake3::Hasher::new(), |mut hasher, part| {
                hasher.update(part);
                hasher
            })
            .finalize(),
    };
    let mut out = [0; CHECKSUM_BYTES];
    out.copy_from_slice(&hash.as_bytes()[..CHECKSUM_BYTES]);
    out
}

/// The parts after each other, if there is room for them.
fn joined<'a, const N: usize>(parts: [&[u8]; N], room: &'a mut [u8]) -> Option<&'a [u8]> {
    let mut end = 0;
    for part in parts {
        room.get_mut(end..end + part.len())?.copy_from_slice(part);
        end += part.len();
    }
    Some(&room[..end])
}

/// Appends fields to a payload.
pub(crate) struct Encoder(Vec<u8>);

impl Encoder {
    pub(crate) fn u8(&mut self, value: u8) {
        self.0.push(value);
    }

    pub(crate) fn u32(&mut self, value: u32) {
        self.0.extend_from_slice(&value.to_be_bytes());
    }

    pub(crate) fn u64(&mut self, value: u64) {
        self.0.extend_from_slice(&value.to_be_bytes());
    }

    pub(crate) fn name(&mut self, value: &[u8; 32]) {
        self.0.extend_from_slice(value);
    }

    pub(crate) fn position(&mut self, value: Position) {
        self.0.extend_from_slice(&value.to_bytes());
    }

    /// A byte string. Requests are bounded far below 4 GiB, so the length always fits.
    pub(crate) fn bytes(&mut self, value: &[u8]) {
        self.u32(u32::try_from(value.len()).unwrap_or(u32::MAX));
        self.0.extend_from_slice(value);
    }

    pub(crate) fn option<T>(&mut self, value: Option<&T>, put: impl FnOnce(&mut Self, &T)) {
        self.u8(u8::from(value.is_some()));
        if let Some(value) = value {
            put(self, value);
        }
    }
}

/// Reads fields from a payload; every method answers `None` at the end or on a bad field.
pub(crate) struct Decoder(Bytes);

impl Decoder {
    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let out = self.0.get(..N)?.try_into().ok()?;
        let _ = self.0.split_to(N);
        Some(out)
    }

    pub(crate) fn u8(&mut self) -> Option<u8> {
        self.array::<1>().map(|[byte]| byte)
    }

    pub(crate) fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_be_bytes)
    }

    pub(crate) fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_be_bytes)
    }

    pub(crate) fn id(&mut self) -> Option<Id> {
        self.array().map(Id)
    }

    pub(crate) fn hash(&mut self) -> Option<Hash> {
        self.array().map(Hash)
    }

    pub(crate) fn address(&mut self) -> Option<Address> {
        self.array().map(Address)
    }

    pub(crate) fn position(&mut self) -> Option<Position> {
        self.array().map(|bytes| Position::from_bytes(&bytes))
    }

    pub(crate) fn bytes(&mut self) -> Option<Bytes> {
        let length = usize::try_from(self.u32()?).ok()?;
        (length <= self.0.len()).then(|| self.0.split_to(length))
    }

    pub(crate) fn text(&mut self) -> Option<String> {
        String::from_utf8(self.bytes()?.to_vec()).ok()
    }

    pub(crate) fn option<T>(&mut self, take: impl FnOnce(&mut Self) -> Option<T>) -> Option<Option<T>> {
        match self.u8()? {
            0 => Some(None),
            1 => take(self).map(Some),
            _ => None,
        }
    }

    /// A list of `count` elements of at least `least` bytes each: refused before allocating when
    /// the payload cannot hold it.
    pub(crate) fn list<T>(
        &mut self,
        count: usize,
        least: usize,
        mut take: impl FnMut(&mut Self) -> Option<T>,
    ) -> Option<Vec<T>> {
        if count.checked_mul(least)? > self.0.len() {
            return None;
        }
        (0..count).map(|_| take(self)).collect()
    }
}
