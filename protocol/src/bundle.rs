//! ANS-104 bundles: items behind a header that names the size and id of each.
//!
//! Reading has two steps. [`Bundle::parse`] takes the frame: count, sizes and ids must describe
//! the bytes to their end, or there is no telling where an item starts. Then either
//! [`Bundle::verify`] takes all items or none, for bundles of our own, or [`Bundle::items`] gives
//! each its own verdict, for bundles of strangers, where one bad item says nothing about the next.
//! In both an item counts only under the id that its bytes hash to.

use std::ops::Range;

use bytes::Bytes;

use crate::data_item::{DataItem, ItemError};
use crate::id::Id;
use crate::tag::{self, Tag};
use crate::verify::{Unverified, Verified};

/// Bytes of the count, and of each size: 256-bit little-endian numbers.
const NUMBER_BYTES: usize = 32;
/// Bytes of a header entry: size and id.
const ENTRY_BYTES: usize = NUMBER_BYTES + 32;

/// Tags that say that an item's or transaction's data is a bundle.
pub const BUNDLE_TAGS: [(&str, &str); 2] = [("Bundle-Format", "binary"), ("Bundle-Version", "2.0.0")];

/// Whether an item with these tags carries a bundle as its data. Names and values count exactly.
pub fn is_bundle(tags: &[Tag]) -> bool {
    BUNDLE_TAGS.iter().all(|(name, value)| tag::first(tags, name) == Some(value))
}

/// Why bytes are not a bundle, or not one of ours.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BundleError {
    /// Fewer bytes than the count takes.
    #[error("the bundle ends inside its count")]
    Truncated,
    /// More entries than the bytes have room for.
    #[error("the bundle declares more items than its header has room for")]
    Count,
    /// An entry whose size reaches past the end.
    #[error("item {0} of the bundle reaches past its end")]
    Size(usize),
    /// Bytes that belong to no item.
    #[error("{0} bytes after the last item of the bundle")]
    Trailing(usize),
    /// An item that is not valid.
    #[error("item {index} of the bundle: {error}")]
    Item {
        /// Its place in the bundle, from 0.
        index: usize,
        /// What is wrong with it.
        error: EntryError,
    },
}

/// Why one item of a bundle does not count.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EntryError {
    /// The bytes are not a valid item.
    #[error(transparent)]
    Item(#[from] ItemError),
    /// The header names another id than the item has.
    #[error("the header names {named}, the item is {actual}")]
    Id {
        /// The id in the header.
        named: Id,
        /// SHA-256 of the item's signature.
        actual: Id,
    },
}

/// Where the items of a bundle are: what its header says, once that describes all of its bytes.
/// Enough to read a bundle that does not fit into memory item by item.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    entries: Vec<Entry>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Entry {
    id: Id,
    range: Range<usize>,
}

impl Frame {
    /// Bytes of the header for each item.
    pub const ENTRY_BYTES: usize = ENTRY_BYTES;
    /// Bytes at the start of a bundle that say how long its header is.
    pub const COUNT_BYTES: usize = NUMBER_BYTES;

    /// How long the header of a bundle is that starts like this and has `total` bytes.
    ///
    /// # Errors
    /// [`BundleError::Count`] when it would not fit.
    pub fn header_bytes(start: &[u8; NUMBER_BYTES], total: usize) -> Result<usize, BundleError> {
        let room = total.saturating_sub(NUMBER_BYTES) / ENTRY_BYTES;
        let count = number(start).filter(|&count| count <= room).ok_or(BundleError::Count)?;
        Ok(NUMBER_BYTES + count * ENTRY_BYTES)
    }

    /// Reads the header at the start of `bytes`, of a bundle of `total` bytes.
    ///
    /// # Errors
    /// Anything but a header whose sizes add up. Nothing is allocated before the count is known to
    /// fit into the bytes.
    pub fn parse(bytes: &[u8], total: usize) -> Result<Self, BundleError> {
        let count = bytes.first_chunk().ok_or(BundleError::Truncated)?;
        let header_bytes = Self::header_bytes(count, total)?;
        let header = bytes.get(NUMBER_BYTES..header_bytes).ok_or(BundleError::Count)?;
        let (header, _) = header.as_chunks::<ENTRY_BYTES>();
        let mut entries = Vec::with_capacity(header.len());
        let mut start = header_bytes;
        for (index, entry) in header.iter().enumerate() {
            let (size, id) = split_entry(entry);
            let end = number(&size).and_then(|size| start.checked_add(size));
            let end = end.filter(|&end| end <= total).ok_or(BundleError::Size(index))?;
            entries.push(Entry { id, range: start..end });
            start = end;
        }
        if start != total {
            return Err(BundleError::Trailing(total - start));
        }
        Ok(Self { entries })
    }

    /// The frame around items of these ids and sizes, in their order.
    pub fn of(items: &[(Id, usize)]) -> Self {
        let mut start = NUMBER_BYTES + items.len() * ENTRY_BYTES;
        let entry = |&(id, size): &(Id, usize)| {
            let range = start..start.saturating_add(size);
            start = range.end;
            Entry { id, range }
        };
        Self { entries: items.iter().map(entry).collect() }
    }

    /// The bytes before the first item.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut raw = Vec::with_capacity(NUMBER_BYTES + self.entries.len() * ENTRY_BYTES);
        put_number(&mut raw, self.entries.len());
        for entry in &self.entries {
            put_number(&mut raw, entry.range.len());
            raw.extend_from_slice(entry.id.as_bytes());
        }
        raw
    }

    /// How many items there are, good or bad.
    pub const fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are none.
    pub const fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The ids that the header names, and where in the bytes their items are.
    pub fn entries(&self) -> impl ExactSizeIterator<Item = (Id, Range<usize>)> {
        self.entries.iter().map(|entry| (entry.id, entry.range.clone()))
    }
}

/// A bundle whose frame is sound. Its items are as their bytes: nobody has checked them.
#[derive(Debug, Clone)]
pub struct Bundle {
    raw: Bytes,
    frame: Frame,
}

impl Bundle {
    /// Reads the header and checks that it describes the bytes to their end.
    ///
    /// # Errors
    /// As [`Frame::parse`].
    pub fn parse(raw: impl Into<Bytes>) -> Result<Self, BundleError> {
        let raw = raw.into();
        let frame = Frame::parse(&raw, raw.len())?;
        Ok(Self { raw, frame })
    }

    /// Puts items into a bundle, in their order. The same item may stand in it twice.
    pub fn build(items: &[Verified<DataItem>]) -> Self {
        let sizes: Vec<_> = items.iter().map(|item| (item.id(), item.raw().len())).collect();
        let frame = Frame::of(&sizes);
        let mut raw = frame.to_bytes();
        raw.reserve_exact(sizes.iter().map(|(_, size)| size).sum());
        for item in items {
            raw.extend_from_slice(item.raw());
        }
        Self { raw: raw.into(), frame }
    }

    /// The bytes.
    pub const fn raw(&self) -> &Bytes {
        &self.raw
    }

    /// How many items the bundle has, good or bad.
    pub const fn len(&self) -> usize {
        self.frame.len()
    }

    /// Whether the bundle has no items.
    pub const fn is_empty(&self) -> bool {
        self.frame.is_empty()
    }

    /// The ids that the header names, and where in the bytes their items are.
    pub fn entries(&self) -> impl ExactSizeIterator<Item = (Id, Range<usize>)> {
        self.frame.entries()
    }

    /// Parses the items one by one, each with its own verdict. They share the bundle's bytes.
    pub fn items(&self) -> impl ExactSizeIterator<Item = Result<Unverified<DataItem>, EntryError>> {
        self.frame.entries.iter().map(|entry| {
            let item = DataItem::parse(self.raw.slice(entry.range.clone()))?;
            let actual = item.claims().id();
            if actual != entry.id {
                return Err(EntryError::Id { named: entry.id, actual });
            }
            Ok(item)
        })
    }

    /// Verifies every item.
    ///
    /// # Errors
    /// The first item that is not valid: a bundle of ours has none.
    pub fn verify(&self) -> Result<Vec<Verified<DataItem>>, BundleError> {
        let verify = |item: Result<Unverified<DataItem>, EntryError>| {
            Ok::<_, EntryError>(item?.verify().map_err(ItemError::from)?)
        };
        let items = self.items().map(verify).enumerate();
        items.map(|(index, item)| item.map_err(|error| BundleError::Item { index, error })).collect()
    }
}

/// The size and the id of a header entry.
fn split_entry(entry: &[u8; ENTRY_BYTES]) -> ([u8; NUMBER_BYTES], Id) {
    let (mut size, mut id) = ([0; NUMBER_BYTES], [0; 32]);
    size.copy_from_slice(&entry[..NUMBER_BYTES]);
    id.copy_from_slice(&entry[NUMBER_BYTES..]);
    (size, Id(id))
}

/// A 256-bit little-endian number, if it is a length that this machine can hold.
fn number(bytes: &[u8; NUMBER_BYTES]) -> Option<usize> {
    let (low, high) = bytes.split_first_chunk()?;
    if high.iter().any(|&byte| byte != 0) {
        return None;
    }
    usize::try_from(u64::from_le_bytes(*low)).ok()
}

fn put_number(out: &mut Vec<u8>, value: usize) {
    out.extend_from_slice(&(value as u64).to_le_bytes());
    out.extend_from_slice(&[0; NUMBER_BYTES - 8]);
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::crypto::Signer;
    use crate::data_item::Draft;

    fn item(data: &'static [u8]) -> Verified<DataItem> {
        let draft = Draft { data: Bytes::from_static(data), ..Draft::default() };
        draft.sign(&Signer::from_seed(&[1; 32])).unwrap()
    }

    #[test]
    fn a_built_bundle_reads_back() {
        let items = [item(b"one"), item(b""), item(b"one")];
        let built = Bundle::build(&items);
        let read = Bundle::parse(built.raw().clone()).unwrap();
        assert_eq!(read.len(), 3);
        assert!(built.entries().eq(read.entries()));
        assert_eq!(read.verify().unwrap(), items);
        assert_eq!(Bundle::build(&[]).raw()[..], [0; 32]);
        assert!(Bundle::parse(vec![0; 32]).unwrap().is_empty());
    }

    #[test]
    fn the_frame_must_describe_all_bytes() {
        let raw = Bundle::build(&[item(b"one"), item(b"two")]).raw().to_vec();
        let parse = |change: &dyn Fn(&mut Vec<u8>)| {
            let mut raw = raw.clone();
            change(&mut raw);
            Bundle::parse(raw).map(|bundle| bundle.len())
        };
        assert_eq!(parse(&|_| ()), Ok(2));
        assert_eq!(parse(&|raw| raw.truncate(31)), Err(BundleError::Truncated));
        assert_eq!(parse(&|raw| raw.truncate(32)), Err(BundleError::Count));
        assert_eq!(parse(&|raw| raw[0] = 200), Err(BundleError::Count));
        assert_eq!(parse(&|raw| raw[31] = 1), Err(BundleError::Count));
        assert_eq!(parse(&|raw| raw[32] += 1), Err(BundleError::Size(1)));
        assert_eq!(parse(&|raw| raw[32 + 31] = 1), Err(BundleError::Size(0)));
        assert_eq!(parse(&|raw| raw[32..40].fill(0xff)), Err(BundleError::Size(0)));
        assert_eq!(parse(&|raw| raw.push(0)), Err(BundleError::Trailing(1)));
        // Of a bundle that is read piece by piece, the header alone says the same.
        let header = Frame::header_bytes(raw.first_chunk().unwrap(), raw.len()).unwrap();
        assert_eq!(header, 32 + 2 * ENTRY_BYTES);
        let frame = Frame::parse(&raw[..header], raw.len()).unwrap();
        assert!(frame.entries().eq(Bundle::parse(raw.clone()).unwrap().entries()));
        assert_eq!(frame.to_bytes(), raw[..header]);
        assert_eq!(Frame::parse(&raw[..header - 1], raw.len()), Err(BundleError::Count));
        assert_eq!(Frame::parse(&raw[..header], raw.len() + 1), Err(BundleError::Trailing(1)));
        assert_eq!(
            parse(&|raw| {
                raw.pop();
            }),
            Err(BundleError::Size(1))
        );
    }

    #[test]
    fn a_bad_item_does_not_void_its_siblings() {
        let items = [item(b"one"), item(b"two"), item(b"three")];
        let mut raw = Bundle::build(&items).raw().to_vec();
        let middle = Bundle::build(&items).entries().nth(1).unwrap().1;
        raw[middle.end - 1] ^= 1;
        raw[32 + 2 * ENTRY_BYTES + NUMBER_BYTES] ^= 1;
        let bundle = Bundle::parse(raw).unwrap();
        let verdicts: Vec<_> = bundle.items().collect();
        assert!(verdicts[0].clone().unwrap().verify().is_ok());
        assert!(verdicts[1].clone().unwrap().verify().is_err());
        assert!(matches!(verdicts[2], Err(EntryError::Id { actual, .. }) if actual == items[2].id()));
        assert!(matches!(bundle.verify(), Err(BundleError::Item { index: 1, .. })));
    }

    #[test]
    fn bundles_are_known_by_two_exact_tags() {
        let tags: Vec<_> = BUNDLE_TAGS.iter().map(|(name, value)| Tag::new(*name, *value)).collect();
        assert!(is_bundle(&tags));
        assert!(!is_bundle(&tags[1..]));
        assert!(!is_bundle(&[tags[0].clone(), Tag::new("bundle-version", "2.0.0")]));
        assert!(!is_bundle(&[tags[0].clone(), Tag::new("Bundle-Version", "2.0.1")]));
    }
}
