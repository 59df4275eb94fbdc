//! A checkpoint as items of a weave: some with the pages of its memory, and one that names those and has what a peer
//! answers when it is asked for a checkpoint ([`wire::Response`]), the signatures of a quorum first of all. It proves
//! itself, whoever signed the items.
//!
//! The first item's data is the number of the others as u32, their ids, and the message. Pages come once each, by
//! rising hash, whatever their places; an item's data is pages, each its compressed length as u32 and its bytes.

use std::collections::BTreeSet;

use bytes::{Buf as _, Bytes};
use prost::Message as _;
use weft_protocol::wire::response::Body;
use weft_protocol::{Hash, Id, wire};
use weft_storage::{PackedPage, Reader, StoreError};

/// `Type` of the item that names the others.
pub(crate) const CHECKPOINT_TYPE: &str = "Weft-Checkpoint";
/// `Type` of the items with pages.
pub(crate) const PAGES_TYPE: &str = "Weft-Checkpoint-Pages";
/// Bytes of compressed pages of one item, and one page more.
const PART_BYTES: usize = 2 * 1024 * 1024;
/// Bytes of such an item that are read.
pub(crate) const PART_BYTES_MAX: usize = PART_BYTES + 128 * 1024;
/// Items with pages of one checkpoint: a batch has no room for more.
const PARTS_MAX: usize = 64;
/// Bytes of the item that names them: the pages of 1 GiB, and a quorum.
pub(crate) const MANIFEST_BYTES_MAX: usize = 1024 * 1024;

/// The data of the items with the pages of a checkpoint; none where a page is not here, or they are too many.
///
/// # Errors
/// The disk.
pub(crate) fn parts(
    reader: &Reader,
    checkpoint: &wire::CheckpointResponse,
    most: usize,
) -> Result<Option<Vec<Bytes>>, StoreError> {
    const REF_BYTES: usize = 4 + 32;
    let (refs, _) = checkpoint.pages.as_chunks::<REF_BYTES>();
    let hashes: BTreeSet<Hash> = refs.iter().filter_map(|one| Hash::try_from(one.get(4..)?).ok()).collect();
    let (mut parts, mut part, mut bytes) = (Vec::new(), Vec::new(), 0);
    for hash in hashes {
        let Some(page) = reader.packed_page(&hash)? else { return Ok(None) };
        bytes += page.packed().len() + 4;
        if bytes > most {
            return Ok(None);
        }
        // A page has at most 64 KiB, and little more when it does not compress.
        part.extend_from_slice(&u32::try_from(page.packed().len()).unwrap_or(u32::MAX).to_be_bytes());
        part.extend_from_slice(page.packed());
        if part.len() >= PART_BYTES {
            parts.push(std::mem::take(&mut part).into());
        }
    }
    if !part.is_empty() {
        parts.push(part.into());
    }
    Ok((parts.len() <= PARTS_MAX).then_some(parts))
}

/// The data of the item that names the others.
pub(crate) fn manifest(parts: &[Id], checkpoint: &wire::CheckpointResponse) -> Vec<u8> {
    let mut data = u32::try_from(parts.len()).unwrap_or(u32::MAX).to_be_bytes().to_vec();
    parts.iter().for_each(|id| data.extend_from_slice(&id.0));
    let answer = wire::Response { body: Some(Body::Checkpoint(checkpoint.clone())) };
    data.extend_from_slice(&answer.encode_to_vec());
    data
}

/// Reads the item that names the others; none where it is none.
pub(crate) fn read_manifest(mut data: Bytes) -> Option<(Vec<Id>, wire::CheckpointResponse)> {
    let count = usize::try_from(data.try_get_u32().ok()?).ok().filter(|count| *count <= PARTS_MAX)?;
    if data.len() < 32 * count {
        return None;
    }
    let ids = data.split_to(32 * count);
    let (ids, _) = ids.as_chunks::<32>();
    let answer: wire::Response = wire::decode_canonical(&data, MANIFEST_BYTES_MAX).ok()?;
    let Some(Body::Checkpoint(message)) = answer.body else { return None };
    Some((ids.iter().map(|id| Id(*id)).collect(), message))
}

/// Reads the pages of an item, each with the name that its bytes have; none where they are none.
pub(crate) fn read_pages(mut data: Bytes) -> Option<Vec<PackedPage>> {
    let mut pages = Vec::new();
    while !data.is_empty() {
        let length = usize::try_from(data.try_get_u32().ok()?).ok().filter(|length| *length <= data.len())?;
        pages.push(PackedPage::unpacked(data.split_to(length))?);
    }
    Some(pages)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn pages_read_back_by_what_they_are() {
        let pages: Vec<PackedPage> = [vec![1; 65_536], (0..=255).cycle().take(65_536).collect(), vec![7; 9]]
            .iter()
            .map(|page| PackedPage::pack(page).unwrap())
            .collect();
        let mut data = Vec::new();
        for page in &pages {
            data.extend_from_slice(&(page.packed().len() as u32).to_be_bytes());
            data.extend_from_slice(page.packed());
        }
        assert_eq!(read_pages(data.clone().into()).unwrap(), pages);
        assert_eq!(read_pages(Bytes::new()).unwrap(), []);
        // What is cut off is none, and what is changed has another name or none.
        assert_eq!(read_pages(data[..data.len() - 1].to_vec().into()), None);
        for at in (0..data.len()).step_by(7) {
            let mut changed = data.clone();
            changed[at] ^= 1;
            let read = read_pages(changed.into());
            assert_ne!(read.as_ref(), Some(&pages), "byte {at}");
        }
        // Nothing unpacks to more than a page.
        let large = zstd_of(65_537);
        let mut data = (large.len() as u32).to_be_bytes().to_vec();
        data.extend_from_slice(&large);
        assert_eq!(read_pages(data.into()), None);
    }

    /// A frame of so many zeros, made by hand: a header without a size, and one block of one byte repeated.
    fn zstd_of(bytes: u32) -> Vec<u8> {
        let block = ((bytes << 3) | 0b011).to_le_bytes();
        [&[0x28, 0xb5, 0x2f, 0xfd, 0x00, 0x58][..], &block[..3], &[0]].concat()
    }

    #[test]
    fn a_manifest_reads_back() {
        let message = wire::CheckpointResponse { pages: vec![3; 36].into(), ..Default::default() };
        let ids = [Id([1; 32]), Id([2; 32])];
        let data = Bytes::from(manifest(&ids, &message));
        assert_eq!(read_manifest(data.clone()), Some((ids.to_vec(), message)));
        assert_eq!(read_manifest(data.slice(..40)), None);
        assert_eq!(read_manifest(vec![0xff; 100].into()), None);
        assert_eq!(read_manifest(Bytes::new()), None);
    }
}
