use proptest::prelude::*;
use weft_protocol::outcome::Running;
use weft_protocol::state::{LEAF_BYTES, StateSummary, is_boundary, leaf_hash, tree_root, zero_leaf};
use weft_protocol::time::TimePoint;
use weft_protocol::{Hash, Id, Position};

pub(crate) fn summary() -> StateSummary {
    StateSummary {
        process: Id([1; 32]),
        rules: 0,
        module: Id([2; 32]),
        position: Position::slot(1_024),
        time: TimePoint { timestamp: 5, height: 6 },
        memory_bytes: LEAF_BYTES as u64,
        memory_root: tree_root(vec![zero_leaf()]),
        seen_count: 0,
        seen_root: tree_root(vec![]),
        running: Running(Hash([3; 32])),
    }
}

#[test]
fn boundaries_are_slot_0_and_every_1024() {
    let at = |slot, tick| is_boundary(Position { epoch: 3, slot, tick });
    assert!(at(0, 0) && at(1_024, 0) && at(2_048, 0));
    assert!(!at(1, 0) && !at(1_023, 0) && !at(1_024, 1));
}

#[test]
fn every_part_of_the_state_is_hashed() {
    let base = summary();
    let changed = [
        StateSummary { process: Id([9; 32]), ..base },
        StateSummary { rules: 1, ..base },
        StateSummary { module: Id([9; 32]), ..base },
        StateSummary { position: Position::slot(2_048), ..base },
        StateSummary { time: TimePoint { timestamp: 9, height: 6 }, ..base },
        StateSummary { time: TimePoint { timestamp: 5, height: 9 }, ..base },
        StateSummary { memory_bytes: 0, ..base },
        StateSummary { memory_root: Hash::ZERO, ..base },
        StateSummary { seen_count: 1, ..base },
        StateSummary { seen_root: Hash::ZERO, ..base },
        StateSummary { running: Running(Hash::ZERO), ..base },
    ];
    for other in changed {
        assert_ne!(other.root(), base.root());
    }
}

#[test]
fn an_odd_leaf_is_promoted() {
    let leaf = |byte: u8| leaf_hash(&[byte]);
    let node =
        |left: Hash, right: Hash| Hash(*blake3::hash(&[&[1], &left.0[..], &right.0].concat()).as_bytes());
    assert_eq!(tree_root(vec![leaf(1)]), leaf(1));
    assert_eq!(tree_root(vec![leaf(1), leaf(2), leaf(3)]), node(node(leaf(1), leaf(2)), leaf(3)));
    assert_eq!(leaf(1).0, *blake3::hash(&[0, 1]).as_bytes());
    assert_eq!(zero_leaf(), leaf_hash(&[0; LEAF_BYTES]));
}

proptest! {
    #[test]
    fn one_changed_byte_changes_the_root(leaves in 1usize..9, at in any::<prop::sample::Index>()) {
        let bytes: Vec<u8> = (0..leaves * 40).map(|n| n as u8).collect();
        let root = |bytes: &[u8]| tree_root(bytes.chunks(40).map(leaf_hash).collect());
        let mut other = bytes.clone();
        let at = at.index(other.len());
        other[at] ^= 1;
        prop_assert_ne!(root(&bytes), root(&other));
    }
}
