use proptest::prelude::*;
use weft_protocol::deep_hash::{Chunk, deep_hash};
use weft_protocol::seen::{SeenKeys, SeenList, reference_digest};
use weft_protocol::sender::{Origin, ProvenSource};
use weft_protocol::state::{leaf_hash, tree_root};
use weft_protocol::{DataItem, Hash, Id, Tag, Verified};

use crate::fixture::*;

const TARGET: Id = Id([1; 32]);

fn proven(push: u8) -> Origin {
    Origin::Proven(ProvenSource { process: Id([9; 32]), push: Hash([push; 32]), root: None })
}

fn legacy() -> Origin {
    Origin::Legacy { from: "S".into(), root: None }
}

/// A push of one entry by some carrier, with or without our own tags.
fn push(carrier: u8, with_proof: bool) -> Verified<DataItem> {
    let mut all =
        tags(&[("Action", "Ping"), ("From-Process", "S"), ("Pushed-For", &format!("root {carrier}"))]);
    if with_proof {
        all.extend(tags(&[("From-Slot", "1"), ("Origin-Proof", &format!("proof {carrier}"))]));
    }
    item(carrier, Some(TARGET), all, b"data")
}

/// The digest of the reference (RULES.md 6.3), spelled out for one item.
#[test]
fn the_digest_is_the_reference_s() {
    let one =
        item(3, Some(TARGET), tags(&[("b", "2"), ("Pushed-For", "x"), ("a", "9"), ("b", "1")]), b"data");
    // The avro block of [a=9, b=1, b=2].
    let avro = b"\x06\x02a\x029\x02b\x021\x02b\x022\x00";
    let expected = deep_hash(&Chunk::List(vec![
        Chunk::Blob(b"dataitem"),
        Chunk::Blob(b"1"),
        Chunk::Blob(b"1"),
        Chunk::Blob(b""),
        Chunk::Blob(&TARGET.0),
        Chunk::Blob(b"00000000000000000000000000000001"),
        Chunk::Blob(avro),
        Chunk::Blob(b"data"),
    ]));
    assert_eq!(reference_digest(&one), expected);
}

#[test]
fn the_digest_does_not_know_the_carrier_nor_our_tags() {
    assert_eq!(reference_digest(&push(3, false)), reference_digest(&push(4, false)));
    assert_eq!(reference_digest(&push(3, true)), reference_digest(&push(4, false)));
    let other = item(3, Some(TARGET), tags(&[("Action", "Pong"), ("From-Process", "S")]), b"data");
    assert_ne!(reference_digest(&push(3, false)), reference_digest(&other));
}

#[test]
fn an_item_counts_once() {
    let mut seen = SeenList::default();
    let message = push(3, false);
    let keys = SeenKeys::of(&message, &Origin::Direct);
    assert_eq!(seen.admit(5, &keys), None);
    assert_eq!(seen.admit(9, &keys), Some(5));
    assert_eq!((seen.len(), seen.find(&keys)), (1, Some(5)));
    // Two users who send the same content are two messages.
    assert_eq!(seen.admit(10, &SeenKeys::of(&push(4, false), &Origin::Direct)), None);
}

#[test]
fn a_push_counts_once_whoever_carries_it() {
    let mut seen = SeenList::default();
    assert_eq!(seen.admit(1, &SeenKeys::of(&push(3, true), &proven(7))), None);
    assert_eq!(seen.admit(2, &SeenKeys::of(&push(4, true), &proven(7))), Some(1));
    // The duplicate's own item key is taken too.
    assert_eq!(seen.admit(3, &SeenKeys::of(&push(4, true), &Origin::Direct)), Some(2));
    // A legacy push of the same entry is a duplicate of the proven one.
    assert_eq!(seen.admit(4, &SeenKeys::of(&push(5, false), &legacy())), Some(1));
    // Another push with the same content is its own.
    assert_eq!(seen.admit(5, &SeenKeys::of(&push(6, true), &proven(8))), None);
}

#[test]
fn nobody_blocks_a_proven_push() {
    let mut seen = SeenList::default();
    // A stranger who guesses everything, and an authority that carried the entry before.
    assert_eq!(seen.admit(1, &SeenKeys::of(&push(3, true), &Origin::Direct)), None);
    assert_eq!(seen.admit(2, &SeenKeys::of(&push(4, false), &legacy())), None);
    assert_eq!(seen.admit(3, &SeenKeys::of(&push(5, false), &legacy())), Some(2));
    assert_eq!(seen.admit(4, &SeenKeys::of(&push(6, true), &proven(7))), None);
}

#[test]
fn slots_that_become_void_are_forgotten() {
    let mut seen = SeenList::default();
    let keys: Vec<SeenKeys> = (0..5000u32)
        .map(|n| {
            let mut id = [0; 32];
            id[..4].copy_from_slice(&n.to_be_bytes());
            SeenKeys::of_item(Id(id))
        })
        .collect();
    let mut roots = vec![];
    for (slot, keys) in (0u64..).zip(&keys) {
        if slot.is_multiple_of(1_000) {
            roots.push(seen.root());
        }
        assert_eq!(seen.admit(slot, keys), None);
    }
    for (index, root) in roots.iter().enumerate().rev() {
        seen.rewind(index as u64 * 1_000);
        assert_eq!((seen.root(), seen.len()), (*root, index * 1_000));
    }
    assert!(seen.is_empty());
    assert_eq!(seen.find(&keys[0]), None);
}

proptest! {
    /// The root kept as keys arrive is that of the tree over all keys at once.
    #[test]
    fn the_root_is_over_all_keys_in_order(count in 0usize..6_500) {
        let mut seen = SeenList::default();
        let mut all = Vec::new();
        for n in 0..count {
            let mut key = [0; 32];
            key[..8].copy_from_slice(&(n as u64).to_be_bytes());
            all.extend_from_slice(&key);
            seen.push(Hash(key), n as u64);
        }
        prop_assert_eq!(seen.root(), tree_root(all.chunks(65_536).map(leaf_hash).collect()));
    }

    #[test]
    fn the_order_of_tags_does_not_matter(mut pairs in prop::collection::vec(("[a-c]{1,2}", "[x-z]{1,2}"), 0..6)) {
        let digest = |pairs: &[(String, String)]| {
            let tags = pairs.iter().map(|(name, value)| Tag::new(name, value)).collect();
            reference_digest(&item(3, Some(TARGET), tags, b""))
        };
        let one = digest(&pairs);
        pairs.reverse();
        prop_assert_eq!(one, digest(&pairs));
    }
}
