//! Adverts: short, short-lived, signed by the peer.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use prost::Message as _;
use weft_protocol::lobby::{
    ADVERT_ADDRESS_BYTES_MAX, ADVERT_PARTS_MAX, ADVERT_PROCESSES_MAX, ADVERT_TTL_MS_MAX, Advert, AdvertError,
    AdvertTerms, Duty, SHARDS, Shard, Short,
};
use weft_protocol::machine::Now;
use weft_protocol::wire::{self, LOBBY_BYTES_MAX, decode_canonical, lobby_fact};
use weft_protocol::{Id, Network, Verified};

use crate::fixture::*;

fn shard(number: u16) -> Shard {
    Shard::numbered(number).unwrap()
}

fn terms() -> AdvertTerms {
    AdvertTerms {
        network: NETWORK,
        sequence: 1_000_000,
        valid_to: 1_600_000,
        shard: shard(5),
        part: 0,
        parts: 1,
        more: false,
        addresses: vec![Bytes::from_static(&[4, 127, 0, 0, 1, 6, 17, 92])],
        served: BTreeMap::from([
            (Short(7), Duty::Schedules),
            (Short(9), Duty::Watches),
            (Short(3), Duty::Computes),
            (Short(u32::MAX), Duty::Watches),
        ]),
    }
}

fn fact(advert: &Advert) -> Vec<u8> {
    let body = Some(lobby_fact::Body::Advert(advert.to_wire()));
    wire::LobbyFact { body }.encode_to_vec()
}

fn read(bytes: Vec<u8>) -> Option<Verified<Advert>> {
    let fact: wire::LobbyFact = decode_canonical(&bytes.into(), LOBBY_BYTES_MAX).ok()?;
    let Some(lobby_fact::Body::Advert(message)) = fact.body else { return None };
    Advert::from_wire(&message, NETWORK).ok()?.verify().ok()
}

#[test]
fn the_largest_advert_fits_a_lobby_message() {
    let largest = AdvertTerms {
        sequence: u64::MAX - 1,
        valid_to: u64::MAX,
        shard: shard(SHARDS - 1),
        part: ADVERT_PARTS_MAX - 1,
        parts: ADVERT_PARTS_MAX,
        more: true,
        addresses: vec![Bytes::from(vec![1; ADVERT_ADDRESS_BYTES_MAX - 2]), "2".into(), "3".into()],
        served: (0..ADVERT_PROCESSES_MAX as u32)
            .map(|number| (Short(number), Duty::ALL[number as usize % 3]))
            .collect(),
        ..terms()
    };
    let advert = largest.sign(&key(1)).unwrap();
    let bytes = fact(&advert);
    assert!(bytes.len() <= LOBBY_BYTES_MAX, "{} bytes", bytes.len());
    assert_eq!(read(bytes), Some(advert));
}

#[test]
fn signed_bytes_are_golden_and_no_byte_may_change() {
    let golden = |bytes: &[u8]| blake3::hash(bytes).to_hex()[..32].to_owned();
    assert_eq!(golden(&terms().to_bytes()), "57b7629f4d08a736883f91c3e462b5cd");
    let advert = terms().sign(&key(1)).unwrap();
    let bytes = fact(&advert);
    assert_eq!(read(bytes.clone()), Some(advert));
    for at in 0..bytes.len() {
        let mut forged = bytes.clone();
        forged[at] ^= 1 << (at % 8);
        assert_eq!(read(forged), None, "byte {at} may change");
    }
}

#[test]
fn terms_over_a_limit_are_refused() {
    let error = |terms: AdvertTerms| terms.sign(&key(1)).unwrap_err();
    assert_eq!(error(AdvertTerms { part: 1, ..terms() }), AdvertError::Parts);
    assert_eq!(error(AdvertTerms { parts: ADVERT_PARTS_MAX + 1, ..terms() }), AdvertError::Parts);
    assert_eq!(error(AdvertTerms { parts: 0, ..terms() }), AdvertError::Parts);
    let too_long = AdvertTerms { valid_to: terms().sequence + ADVERT_TTL_MS_MAX + 1, ..terms() };
    assert_eq!(error(too_long), AdvertError::Lifetime);
    assert_eq!(error(AdvertTerms { valid_to: 0, ..terms() }), AdvertError::Lifetime);
    for addresses in [vec![Bytes::new()], vec!["1".into(); 4], vec![vec![1; 129].into()]] {
        assert_eq!(error(AdvertTerms { addresses, ..terms() }), AdvertError::Addresses);
    }
    let served = (0..=ADVERT_PROCESSES_MAX as u32).map(|number| (Short(number), Duty::Watches)).collect();
    assert_eq!(error(AdvertTerms { served, ..terms() }), AdvertError::Processes);
}

#[test]
fn processes_out_of_order_or_named_twice_and_shards_that_there_are_not_are_refused() {
    let sound = terms().sign(&key(1)).unwrap().to_wire();
    let error = |message: wire::Advert| Advert::from_wire(&message, NETWORK).unwrap_err();
    for watches in [&[0, 0, 0, 9, 0, 0, 0, 9][..], &[0, 0, 0, 9, 0, 0, 0, 1], &[0, 0, 0, 7], &[1, 2, 3]] {
        let message = wire::Advert { watches: Bytes::from_static(watches), ..sound.clone() };
        assert_eq!(error(message), AdvertError::Processes, "{watches:?}");
    }
    assert_eq!(error(wire::Advert { shard: SHARDS.into(), ..sound.clone() }), AdvertError::Shard);
    assert_eq!(error(wire::Advert { part: 256, ..sound.clone() }), AdvertError::Parts);
    let of_another_network = Advert::from_wire(&sound, Network(NETWORK.0 + 1)).unwrap();
    assert!(of_another_network.verify().is_err());
}

#[test]
fn an_advert_holds_for_its_time_whoever_s_clock_is_a_little_behind() {
    let advert = terms().sign(&key(1)).unwrap();
    let live = [899_999, 900_000, 1_599_999, 1_600_000].map(|ms| advert.is_live(Now(ms), 100_000));
    assert_eq!(live, [false, true, true, false]);
}

#[test]
fn processes_spread_over_all_shards_and_hardly_share_a_short_hash() {
    let ids: Vec<Id> = (0..10_000_u32)
        .map(|number| {
            let mut id = [0; 32];
            id[..4].copy_from_slice(&number.to_be_bytes());
            Id(id)
        })
        .collect();
    let mut shards: BTreeMap<Shard, usize> = BTreeMap::new();
    for id in &ids {
        *shards.entry(Shard::of(id)).or_default() += 1;
    }
    assert_eq!(shards.keys().copied().collect::<Vec<_>>(), Shard::all().collect::<Vec<_>>());
    assert!(shards.values().all(|count| (500..750).contains(count)), "{shards:?}");
    let shorts: BTreeSet<(Shard, Short)> = ids.iter().map(|id| (Shard::of(id), Short::of(id))).collect();
    assert_eq!(shorts.len(), ids.len());
}
