//! Offers: short, short-lived, one for each number.

use prost::Message as _;
use weft_protocol::machine::Now;
use weft_protocol::offer::{OFFER_SHARDS_MAX, OFFER_TTL_MS_MAX, Offer, OfferError, OfferTerms};
use weft_protocol::wire::{self, OFFER_BYTES_MAX, decode_canonical};
use weft_protocol::{Hash, Network, Verified};

use crate::fixture::*;

pub(crate) fn terms() -> OfferTerms {
    OfferTerms {
        network: NETWORK,
        sequence: 1,
        shards: vec![3, 5],
        classes: 1,
        price_per_push: 100,
        price_per_kib: 10,
        max_kib: 64,
        capacity_per_s: 50,
        latency_p50_ms: 20,
        stake: Hash::ZERO,
        valid_from: 1_000_000,
        valid_to: 1_600_000,
    }
}

fn read(bytes: Vec<u8>) -> Option<Verified<Offer>> {
    let message: wire::Offer = decode_canonical(&bytes.into(), OFFER_BYTES_MAX).ok()?;
    Offer::from_wire(&message, NETWORK).ok()?.verify().ok()
}

#[test]
fn the_largest_offer_fits_a_lobby_message() {
    let shards = (0..OFFER_SHARDS_MAX as u16).map(|shard| u16::MAX - 100 + shard).collect();
    let largest = OfferTerms {
        sequence: u64::MAX,
        shards,
        classes: u32::MAX,
        price_per_push: u64::MAX,
        price_per_kib: u64::MAX,
        max_kib: u32::MAX,
        capacity_per_s: u32::MAX,
        latency_p50_ms: u32::MAX,
        stake: Hash([1; 32]),
        valid_from: u64::MAX - 1,
        valid_to: u64::MAX,
        ..terms()
    };
    let bytes = largest.sign(&key(1)).unwrap().to_wire().encode_to_vec();
    assert!(bytes.len() <= OFFER_BYTES_MAX, "{} bytes", bytes.len());
    assert!(read(bytes).is_some());
}

#[test]
fn signed_bytes_are_golden_and_no_byte_may_change() {
    let golden = |bytes: &[u8]| blake3::hash(bytes).to_hex()[..32].to_owned();
    assert_eq!(golden(&terms().to_bytes()), "7f63d0f53bd42ae0419cc9bdacb577e7");
    let bytes = terms().sign(&key(1)).unwrap().to_wire().encode_to_vec();
    for at in 0..bytes.len() {
        let mut forged = bytes.clone();
        forged[at] ^= 1 << (at % 8);
        assert_eq!(read(forged), None, "byte {at} may change");
    }
}

#[test]
fn an_offer_holds_for_its_time() {
    let offer = terms().sign(&key(1)).unwrap();
    let live = [999_999, 1_000_000, 1_599_999, 1_600_000].map(|ms| offer.is_live(Now(ms)));
    assert_eq!(live, [false, true, true, false]);
}

#[test]
fn terms_over_a_limit_are_refused() {
    let error = |terms: OfferTerms| terms.sign(&key(1)).unwrap_err();
    let too_long = OfferTerms { valid_to: terms().valid_from + OFFER_TTL_MS_MAX + 1, ..terms() };
    assert_eq!(error(too_long), OfferError::Lifetime);
    assert_eq!(error(OfferTerms { valid_to: terms().valid_from, ..terms() }), OfferError::Lifetime);
    assert_eq!(error(OfferTerms { valid_to: 0, ..terms() }), OfferError::Lifetime);
    assert_eq!(error(OfferTerms { shards: vec![5, 3], ..terms() }), OfferError::Shards);
    assert_eq!(error(OfferTerms { shards: vec![3, 3], ..terms() }), OfferError::Shards);
    assert_eq!(error(OfferTerms { shards: (0..33).collect(), ..terms() }), OfferError::Shards);
}

#[test]
fn a_later_number_replaces_and_an_equal_one_contradicts() {
    let signed = |terms: OfferTerms, seed| terms.sign(&key(seed)).unwrap();
    let offer = signed(terms(), 1);
    let later = signed(OfferTerms { sequence: 2, ..terms() }, 1);
    let cheaper = signed(OfferTerms { price_per_push: 1, ..terms() }, 1);
    assert!(later.replaces(&offer) && !offer.replaces(&later));
    assert!(cheaper.contradicts(&offer) && !cheaper.replaces(&offer));
    assert!(!later.contradicts(&offer) && !offer.contradicts(&offer));
    let other_key = signed(OfferTerms { price_per_push: 1, ..terms() }, 2);
    let other_network = signed(OfferTerms { network: Network(8), price_per_push: 1, ..terms() }, 1);
    assert!(!other_key.contradicts(&offer) && !other_network.contradicts(&offer));
}
