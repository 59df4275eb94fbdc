//! Properties of items, bundles, transactions and chunk proofs over generated values.

#![allow(clippy::unwrap_used)]

use bytes::Bytes;
use proptest::collection::vec;
use proptest::prelude::*;
use weft_protocol::bundle::Bundle;
use weft_protocol::crypto::{Signer, guest};
use weft_protocol::l1::chunk::{data_root, prove_chunks, verify_chunk};
use weft_protocol::l1::{L1Draft, L1Tag, L1Tx};
use weft_protocol::limits::TAG_BYTES_MAX;
use weft_protocol::{Address, DataItem, Draft, Id, Tag, tag};

const WALLET: &str = include_str!("../vectors/wallet.json");

/// Tags within every limit: names and values of any text, many short ones or few long ones.
fn tags() -> impl Strategy<Value = Vec<Tag>> {
    let text = prop_oneof![4 => "[A-Za-z-]{1,20}", 2 => "\\PC{1,30}", 1 => "[a-z]{500,1024}"];
    vec((text.clone(), text).prop_map(|(name, value)| Tag { name, value }), 0..100).prop_map(|mut tags| {
        tags.retain(|tag| tag.name.len() <= 1024);
        while tag::encode(&tags).is_err() {
            tags.pop();
        }
        tags
    })
}

fn drafts() -> impl Strategy<Value = Draft> {
    let target = proptest::option::of(any::<[u8; 32]>().prop_map(Id));
    let anchor = proptest::option::of(any::<[u8; 32]>());
    let data = vec(any::<u8>(), 0..2000).prop_map(Bytes::from);
    (target, anchor, tags(), data).prop_map(|(target, anchor, tags, data)| Draft {
        target,
        anchor,
        tags,
        data,
    })
}

fn signers() -> impl Strategy<Value = Signer> {
    prop_oneof![
        9 => any::<[u8; 32]>().prop_map(|seed| Signer::from_seed(&seed)),
        1 => Just(()).prop_map(|()| Signer::from_jwk(WALLET).unwrap()),
    ]
}

proptest! {
    #[test]
    fn a_signed_draft_reads_back(draft in drafts(), signer in signers()) {
        let item = draft.sign(&signer).unwrap();
        let read = DataItem::verify_bytes(item.raw().clone()).unwrap();
        prop_assert_eq!(&read, &item);
        prop_assert_eq!(read.owner(), signer.address());
        prop_assert_eq!(read.owner_key(), signer.owner_key());
        let again = Draft {
            target: read.target(),
            anchor: read.anchor().copied(),
            tags: read.tags().to_vec(),
            data: read.data(),
        };
        prop_assert_eq!(&again, &draft);
        prop_assert_eq!(again.sign(&signer).unwrap(), item, "signing repeats the same bytes");
    }

    #[test]
    fn no_bit_of_an_item_can_be_changed(
        draft in drafts(), seed in any::<[u8; 32]>(), at in any::<prop::sample::Index>(), bit in 0..8,
    ) {
        let mut raw = draft.sign(&Signer::from_seed(&seed)).unwrap().raw().to_vec();
        let at = at.index(raw.len());
        raw[at] ^= 1_u8 << bit;
        prop_assert!(DataItem::verify_bytes(raw).is_err());
    }

    #[test]
    fn an_item_has_no_other_length(draft in drafts(), seed in any::<[u8; 32]>(), cut in 1_usize..200) {
        let raw = draft.sign(&Signer::from_seed(&seed)).unwrap().raw().clone();
        prop_assert!(DataItem::verify_bytes(raw.slice(..raw.len() - cut.min(raw.len()))).is_err());
        prop_assert!(DataItem::verify_bytes([&raw[..], &vec![0; cut]].concat()).is_err());
    }

    #[test]
    fn tags_read_back_from_any_blocks(tags in tags(), sizes in vec((1_usize..5, any::<bool>()), 1..60)) {
        let mut raw = Vec::new();
        let mut rest = &tags[..];
        for (size, with_bytes) in sizes.into_iter().cycle() {
            if rest.is_empty() {
                break;
            }
            let (block, tail) = rest.split_at(size.min(rest.len()));
            rest = tail;
            put_block(&mut raw, block, with_bytes);
        }
        raw.push(0);
        prop_assume!(raw.len() <= TAG_BYTES_MAX);
        let decoded = tag::decode(&raw, tags.len() as u64);
        prop_assert_eq!(decoded.as_ref(), Ok(&tags));
        prop_assert!(tag::decode(&raw, tags.len() as u64 + 1).is_err());
        raw.push(0);
        prop_assert!(tag::decode(&raw, tags.len() as u64).is_err(), "nothing may follow the end");
    }

    #[test]
    fn any_bytes_are_tags_or_an_error(raw in vec(any::<u8>(), 0..300), declared in any::<u64>()) {
        for declared in [declared, declared % 8] {
            if let Ok(tags) = tag::decode(&raw, declared) {
                let encoded = tag::encode(&tags).unwrap();
                prop_assert!(encoded.len() <= raw.len());
            }
        }
    }

    #[test]
    fn a_bundle_reads_back(drafts in vec(drafts(), 0..5), seed in any::<[u8; 32]>()) {
        let signer = Signer::from_seed(&seed);
        let items: Vec<_> = drafts.iter().map(|draft| draft.sign(&signer).unwrap()).collect();
        let bundle = Bundle::parse(Bundle::build(&items).raw().clone()).unwrap();
        prop_assert_eq!(bundle.verify().unwrap(), items);
    }

    #[test]
    fn no_byte_of_a_bundle_can_be_changed(
        drafts in vec(drafts(), 1..4), at in any::<prop::sample::Index>(), mask in 1_u8..,
    ) {
        let signer = Signer::from_seed(&[1; 32]);
        let items: Vec<_> = drafts.iter().map(|draft| draft.sign(&signer).unwrap()).collect();
        let mut raw = Bundle::build(&items).raw().to_vec();
        let at = at.index(raw.len());
        raw[at] ^= mask;
        prop_assert!(Bundle::parse(raw).and_then(|bundle| bundle.verify()).is_err());
    }
}

proptest! {
    // RSA signatures and megabytes of chunks take milliseconds each.
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn a_chunk_proof_holds_for_its_own_chunk_alone(
        size in 1_usize..1_500_000, offset in any::<prop::sample::Index>(),
        at in any::<prop::sample::Index>(), mask in 1_u8..,
    ) {
        let data: Vec<u8> = (0..size).map(|at| (at * at / 257) as u8).collect();
        let root = data_root(&data).unwrap();
        let offset = offset.index(size);
        let proof = prove_chunks(&data).into_iter().find(|proof| proof.range.contains(&offset)).unwrap();
        let (start, end) = (proof.range.start as u64, proof.range.end as u64);
        let mut chunk = data[proof.range.clone()].to_vec();
        let (size, offset) = (size as u64, offset as u64);
        prop_assert_eq!(verify_chunk(&root, size, offset, &proof.data_path, &chunk), Ok(start..end));
        let mut path = proof.data_path.to_vec();
        let bent = at.index(path.len());
        path[bent] ^= mask;
        prop_assert!(verify_chunk(&root, size, offset, &path, &chunk).is_err());
        let bent = at.index(chunk.len());
        chunk[bent] ^= mask;
        prop_assert!(verify_chunk(&root, size, offset, &proof.data_path, &chunk).is_err());
    }

    #[test]
    fn a_transaction_reads_back(
        target in proptest::option::of(any::<[u8; 32]>().prop_map(Address)),
        quantity in 0..10_u128.pow(21), reward in 0..10_u128.pow(21),
        last_tx in vec(any::<u8>(), 0..=48), data in vec(any::<u8>(), 0..2000),
        tags in vec((vec(any::<u8>(), 0..20), vec(any::<u8>(), 0..50)), 0..10),
    ) {
        let tags = tags.into_iter().map(|(name, value)| L1Tag::new(name, value)).collect();
        let draft = L1Draft { target, quantity, reward, last_tx: last_tx.into(), tags, data: data.into() };
        let tx = draft.sign(&Signer::from_jwk(WALLET).unwrap()).unwrap();
        let read = L1Tx::parse_json(tx.to_json().as_bytes()).unwrap().verify().unwrap();
        prop_assert_eq!(read, tx);
    }
}

/// One Avro block, with a negative count and its size in bytes where `with_bytes`.
fn put_block(out: &mut Vec<u8>, tags: &[Tag], with_bytes: bool) {
    let mut body = Vec::new();
    for text in tags.iter().flat_map(|tag| [&tag.name, &tag.value]) {
        put_long(&mut body, text.len() as i64);
        body.extend_from_slice(text.as_bytes());
    }
    let count = tags.len() as i64;
    put_long(out, if with_bytes { -count } else { count });
    if with_bytes {
        put_long(out, body.len() as i64);
    }
    out.extend(body);
}

/// Avro's zigzag varint, of numbers far from the limits.
fn put_long(out: &mut Vec<u8>, value: i64) {
    let mut rest = if value < 0 { value.unsigned_abs() * 2 - 1 } else { value as u64 * 2 };
    while rest >= 0x80 {
        out.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
}

#[test]
fn check_001_an_id_is_the_hash_of_the_signature() {
    // Type 1, a signature and an owner of zeros, no target, no anchor, no tags.
    let raw = [&1u16.to_le_bytes()[..], &[0; 512], &[0; 512], &[0, 0], &[0; 16]].concat();
    let item = DataItem::parse(raw.clone()).unwrap();
    assert_eq!(item.claims().id(), Id(guest::sha256(&[0; 512])));
    assert!(DataItem::verify_bytes(raw).is_err());
}

#[test]
fn check_006_no_tags_are_no_bytes() {
    assert_eq!(tag::encode(&[]).unwrap(), b"");
    let draft = Draft { data: Bytes::from_static(b"x"), ..Draft::default() };
    let item = draft.sign(&Signer::from_seed(&[1; 32])).unwrap();
    // Two absent fields, no tags, no bytes of tags, then the data.
    assert!(item.raw().ends_with(&[&[0; 18][..], b"x"].concat()));
}
