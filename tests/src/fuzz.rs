//! What the fuzz targets do with their bytes.
//!
//! `tests/fuzz/run.sh` runs these under libFuzzer; `tests/tests/fuzz` runs the same functions over
//! seeds, the committed corpus and mutations, so that every change exercises them. A target panics
//! when code breaks a promise about any bytes at all.

#![allow(clippy::expect_used, clippy::panic)]

mod guest;
mod settings;

use bytes::Bytes;
use weft_node::legacy::checkpoint::{MemoryError, unpack};
use weft_protocol::bundle::{Bundle, is_bundle};
use weft_protocol::evidence::Evidence;
use weft_protocol::l1::L1Tx;
use weft_protocol::l1::block::BlockData;
use weft_protocol::l1::chunk::verify_chunk;
use weft_protocol::origin::OriginProof;
use weft_protocol::record::SlotRecord;
use weft_protocol::state::LEAF_BYTES;
use weft_protocol::wire::{self, WireMessage, decode_canonical};
use weft_protocol::{DataItem, Hash, Network, Verified, tag};

/// Something that takes bytes from outside.
#[derive(Debug, Clone, Copy)]
pub struct Target {
    /// Its name: of its corpus, its regressions and its line in `tests/fuzz/minutes.txt`.
    pub name: &'static str,
    /// Does everything that may be done with such bytes.
    pub run: fn(&[u8]),
    /// Live bytes that an input may cost for each of its own.
    pub held_per_byte: usize,
    /// Live bytes that any input may cost.
    pub held_fixed: usize,
}

/// Bytes of a memory that a checkpoint may unpack to: some pages, so that an input takes no time.
const UNPACKED_BYTES_MAX: u64 = 1 << 18;

/// An RSA check, error texts.
const HELD_FIXED: usize = 32 * 1024;

const fn target(name: &'static str, run: fn(&[u8])) -> Target {
    Target { name, run, held_per_byte: 8, held_fixed: HELD_FIXED }
}

/// All targets.
pub const TARGETS: [Target; 10] = [
    target("item", item),
    target("bundle", bundle),
    target("l1", l1),
    target("wire", wire),
    // A JSON value of two characters takes 32 bytes, and what is made of it is held beside it.
    Target { held_per_byte: 64, ..target("result", guest::result) },
    // The compiler's and the instance's own.
    Target { held_per_byte: 256, held_fixed: 4 << 20, ..target("module", guest::module) },
    Target { held_per_byte: 64, held_fixed: 256 << 10, ..target("config", settings::config) },
    Target { held_per_byte: 64, ..target("control", settings::control) },
    // A row, what it is written as, and a page with what unpacking it takes.
    Target { held_per_byte: 16, held_fixed: 512 << 10, ..target("record", record) },
    // A page of memory and the window of what is unpacked, however much comes out.
    Target { held_per_byte: 2, held_fixed: 192 << 10, ..target("checkpoint", checkpoint) },
];

/// Parses an item and verifies it.
pub fn item(bytes: &[u8]) {
    let Ok(item) = DataItem::parse(Bytes::copy_from_slice(bytes)) else { return };
    let claims = item.claims();
    let kind = claims.signature_type();
    let optional = |is_present: bool| if is_present { 33 } else { 1 };
    let header = 2 + kind.signature_bytes() + kind.owner_bytes() + 16;
    let optionals = optional(claims.target().is_some()) + optional(claims.anchor().is_some());
    let fields = header + optionals + claims.raw_tags().len() + claims.data().len();
    assert_eq!(fields, bytes.len(), "every byte belongs to one field");
    assert_eq!(claims.raw(), bytes);
    assert_eq!(
        (claims.signature().len(), claims.owner_key().len()),
        (kind.signature_bytes(), kind.owner_bytes())
    );
    // Our encoding is the shortest, so tags that were read can always be written.
    let encoded = tag::encode(claims.tags()).expect("tags that were read can be written");
    let decoded = tag::decode(&encoded, claims.tags().len() as u64);
    assert_eq!(decoded.as_deref(), Ok(claims.tags()));
    assert!(!claims.owner_text().is_empty());
    if let Ok(verified) = item.clone().verify() {
        let again = DataItem::verify_bytes(verified.raw().clone()).expect("a verdict does not change");
        assert_eq!(again, verified);
    }
}

/// Parses a bundle, its items, and the bundles in them.
pub fn bundle(bytes: &[u8]) {
    // Each level takes a header of its own, so this ends.
    let Ok(bundle) = Bundle::parse(Bytes::copy_from_slice(bytes)) else { return };
    assert!(bundle.len() <= bytes.len() / 64);
    assert_eq!(bundle.items().len(), bundle.len());
    let items: Vec<_> = bundle.items().collect();
    for item in items.iter().flatten().filter(|item| is_bundle(item.claims().tags())) {
        self::bundle(&item.claims().data());
    }
    let strict = bundle.verify();
    let good: Vec<Verified<DataItem>> =
        items.into_iter().flatten().filter_map(|item| item.verify().ok()).collect();
    assert_eq!(strict.is_ok(), good.len() == bundle.len());
    if strict.as_ref() == Ok(&good) {
        assert_eq!(Bundle::build(&good).raw(), bytes, "a bundle has one form");
    }
}

/// Parses an L1 transaction, and what a block says of its data, from JSON; then reads the same bytes as a chunk's proof.
pub fn l1(bytes: &[u8]) {
    if let Ok(tx) = L1Tx::parse_json(bytes) {
        let again = L1Tx::parse_json(tx.claims().to_json().as_bytes()).expect("what is printed can be read");
        assert_eq!(again.claims(), tx.claims());
        let _ = tx.verify();
    }
    if let Ok(block) = BlockData::parse_json(bytes) {
        assert!(block.start <= block.end);
        assert!(block.verify(&Hash::ZERO, 1, block.end, bytes).is_err(), "nothing has that root");
    }
    let Some((root, path)) = bytes.split_first_chunk() else { return };
    let Some((place, path)) = path.split_first_chunk::<16>() else { return };
    let size = u64::from_le_bytes(place[..8].try_into().expect("eight bytes"));
    let offset = u64::from_le_bytes(place[8..].try_into().expect("eight bytes"));
    for chunk in [path, &[]] {
        if let Ok(range) = verify_chunk(&Hash(*root), size, offset, path, chunk) {
            assert!(range.contains(&offset) && range.end <= size);
            assert_eq!(range.end - range.start, chunk.len() as u64);
        }
    }
}

/// Decodes every wire message, and what is built on them.
pub fn wire(bytes: &[u8]) {
    let bytes = Bytes::copy_from_slice(bytes);
    canonical::<wire::Request>(&bytes, wire::REQUEST_BYTES_MAX);
    canonical::<wire::Response>(&bytes, wire::RESPONSE_BYTES_MAX);
    canonical::<wire::Announcement>(&bytes, wire::ANNOUNCEMENT_BYTES_MAX);
    canonical::<wire::Attestation>(&bytes, wire::ANNOUNCEMENT_BYTES_MAX);
    canonical::<wire::Offer>(&bytes, wire::OFFER_BYTES_MAX);
    canonical::<wire::EpochCertificate>(&bytes, wire::CERTIFICATE_BYTES_MAX);
    canonical::<wire::ReplayEvidence>(&bytes, wire::REPLAY_BYTES_MAX);
    let _ = SlotRecord::decode(&bytes);
    if let Ok(proof) = OriginProof::decode(&bytes) {
        assert_eq!(proof.encode(), bytes, "a proof has one form");
    }
    if let Ok(evidence) = Evidence::decode(&bytes, Network(1)) {
        assert_eq!(evidence.claims().encode(), bytes, "evidence has one form");
        let _ = evidence.verify();
    }
}

/// Reads a row of a store: the first byte says of which kind.
pub fn record(bytes: &[u8]) {
    let Some((kind, payload)) = bytes.split_first() else { return };
    let mut kinds = weft_storage::fuzz::kinds();
    let kind = kinds.nth(usize::from(*kind) % kinds.len()).expect("a kind below their number");
    if let Some(again) = kind(payload) {
        assert_eq!(again, payload, "a row has one form");
    }
    // A fuzzer that sees what is compared finds any checksum: this is about damage, not about intent.
    let bit = bytes.iter().fold(0, |sum: usize, byte| sum.wrapping_mul(31).wrapping_add(usize::from(*byte)));
    assert!(!weft_storage::fuzz::passes_damaged(payload, bit), "damage passes for a row");
}

/// Unpacks the data of a Compute Unit's checkpoint.
pub fn checkpoint(bytes: &[u8]) {
    let mut pages = 0;
    let unpacked = unpack(bytes, UNPACKED_BYTES_MAX, |number, page| {
        assert_eq!((number, page.len()), (pages, LEAF_BYTES), "pages come whole and in order");
        pages += 1;
        Ok::<(), MemoryError>(())
    });
    let taken = u64::from(pages) * LEAF_BYTES as u64;
    assert!(taken <= UNPACKED_BYTES_MAX, "no more comes out than is allowed");
    if let Ok(unpacked) = unpacked {
        assert_eq!(unpacked.bytes, taken, "every page was handed over");
    }
}

fn canonical<T: WireMessage + PartialEq + std::fmt::Debug>(bytes: &Bytes, max: usize) {
    if let Ok(message) = decode_canonical::<T>(bytes, max) {
        let again = decode_canonical::<T>(&message.encode_to_vec().into(), max);
        assert_eq!(again.as_ref(), Ok(&message), "a message has one form");
    }
}
