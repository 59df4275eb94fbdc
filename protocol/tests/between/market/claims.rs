//! Claims: one order, one sum, one path for each leaf.

use proptest::prelude::*;
use weft_protocol::market::{Claim, ClaimError, ClaimTree, LEAVES_MAX, Paid};
use weft_protocol::{Hash, Id, Position};

use super::fixture::*;
use crate::fixture::*;

fn paid(slot: u64, tick: u32, index: u32, amount: u64) -> Paid {
    let position = Position { epoch: 0, slot, tick };
    Paid { position, index, target: Id([5; 32]), target_slot: 7, accepted: Id([6; 32]), amount }
}

fn tree(pushes: Vec<Paid>) -> Result<ClaimTree, ClaimError> {
    ClaimTree::new(address(21), ROOT, WINDOW, pushes)
}

#[test]
fn a_claim_is_golden() {
    let tree = tree(vec![paid(300, 0, 1, 20), paid(300, 0, 0, 10), paid(256, 2, 0, 5)]).unwrap();
    let Claim { count, sum, root, .. } = *tree.claim();
    assert_eq!((count, sum), (3, 35));
    assert_eq!(hex::encode(root), "04e08c2302dc8c6472e3c3f1f97e23dd416b39d4069379bdd7379a69a40d7288");
    let sums: Vec<u64> = tree.leaves().iter().map(|leaf| leaf.before).collect();
    assert_eq!(sums, [0, 5, 15]);
    assert_eq!(tree.path(3), None);
}

#[test]
fn what_no_ledger_takes_is_refused_before_it_costs_a_bond() {
    assert_eq!(tree(Vec::new()), Err(ClaimError::Count(0)));
    let many = (0..=LEAVES_MAX as u32).map(|at| paid(256, at / 512, at % 512, 1)).collect();
    assert_eq!(tree(many), Err(ClaimError::Count(LEAVES_MAX + 1)));
    let twice = vec![paid(256, 0, 0, 1), paid(257, 0, 0, 1), paid(256, 0, 0, 2)];
    assert_eq!(tree(twice), Err(ClaimError::Twice(Position::slot(256), 0)));
    for slot in [255, 512] {
        assert_eq!(tree(vec![paid(slot, 0, 0, 1)]), Err(ClaimError::Window(Position::slot(slot))));
    }
    let beyond = Position { tick: 4_096, ..Position::slot(256) };
    assert_eq!(tree(vec![paid(256, 4_096, 2, 1)]), Err(ClaimError::Place(beyond, 2)));
    assert_eq!(tree(vec![paid(256, 0, 1_000, 1)]), Err(ClaimError::Place(Position::slot(256), 1_000)));
    assert_eq!(tree(vec![paid(256, 0, 0, u64::MAX), paid(256, 0, 1, 1)]), Err(ClaimError::Sum));
    assert!(tree(vec![paid(256, 0, 0, u64::MAX), paid(256, 0, 1, 0)]).is_ok());
}

#[test]
fn a_claim_is_read_from_its_pushes() {
    let tree = tree(vec![paid(300, 0, 1, 20), paid(300, 0, 0, 10), paid(256, 2, 0, 5)]).unwrap();
    let read = |bytes: &[u8]| ClaimTree::decode(address(21), ROOT, WINDOW, bytes);
    let bytes = tree.encode();
    assert_eq!(bytes.len(), 3 * Paid::BYTES);
    assert_eq!(read(&bytes), Ok(tree));
    assert_eq!(read(&bytes[1..]), Err(ClaimError::Bytes));
    assert_eq!(read(&[]), Err(ClaimError::Count(0)));
    let swapped = [&bytes[Paid::BYTES..], &bytes[..Paid::BYTES]].concat();
    assert_eq!(read(&swapped), Err(ClaimError::Bytes));
    let twice = [&bytes[..], &bytes[2 * Paid::BYTES..]].concat();
    assert_eq!(read(&twice), Err(ClaimError::Twice(Position::slot(300), 1)));
    let many = vec![0; (LEAVES_MAX + 1) * Paid::BYTES];
    assert_eq!(read(&many), Err(ClaimError::Count(LEAVES_MAX + 1)));
}

#[test]
fn the_largest_claim_can_be_shown() {
    let tree = tree((0..LEAVES_MAX as u32).map(|at| paid(256, at / 512, at % 512, 1)).collect()).unwrap();
    for number in [0, 1, LEAVES_MAX as u32 / 2, LEAVES_MAX as u32 - 1] {
        let path = tree.path(number).unwrap();
        assert_eq!(path.siblings.len(), weft_protocol::market::LEAF_PATH_MAX);
        assert!(tree.claim().holds(number, &path));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn each_leaf_is_shown_at_its_own_place_alone(
        places in proptest::collection::btree_set((256..512_u64, 0..3_u32, 0..5_u32), 1..60),
        amount in 0..1_000_u64,
        at in any::<prop::sample::Index>(),
        flip in 0..7_usize,
    ) {
        let pushes: Vec<Paid> =
            places.iter().rev().map(|&(slot, tick, index)| paid(slot, tick, index, amount + slot)).collect();
        let tree = tree(pushes).unwrap();
        let claim = *tree.claim();
        prop_assert_eq!(claim.count as usize, places.len());
        let number = at.index(places.len()) as u32;
        let path = tree.path(number).unwrap();
        for other in 0..claim.count + 2 {
            prop_assert_eq!(claim.holds(other, &path), other == number);
        }
        let other_root = Claim { root: Hash([1; 32]), ..claim };
        prop_assert!(!other_root.holds(number, &path));
        let mut forged = path.clone();
        match flip {
            0 => forged.leaf.paid.amount += 1,
            1 => forged.leaf.paid.index += 1,
            2 => forged.leaf.paid.target = ROOT,
            3 => forged.leaf.paid.target_slot += 1,
            4 => forged.leaf.paid.position.slot += 1,
            5 => forged.leaf.paid.accepted = ROOT,
            _ => forged.leaf.before += 1,
        }
        prop_assert!(!claim.holds(number, &forged));
        let total: u64 = tree.leaves().iter().map(|leaf| leaf.paid.amount).sum();
        prop_assert_eq!(claim.sum, total);
    }
}
