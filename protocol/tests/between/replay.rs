//! Replay evidence: everything but the run is checked before anybody runs it.

use bytes::Bytes;
use prost::Message as _;
use weft_protocol::attestation::Statement;
use weft_protocol::evidence::{ReplayError, ReplayEvidence};
use weft_protocol::outcome::Running;
use weft_protocol::record::to_wire;
use weft_protocol::state::{LEAF_BYTES, StateSummary, leaf_hash, tree_root};
use weft_protocol::wire;
use weft_protocol::{Hash, Position, Verified};

use crate::fixture::*;

const LIAR: u8 = SCHEDULER;

/// A claim about slot 2 by a key that attested the state at slot 0.
fn evidence() -> wire::ReplayEvidence {
    let mut log = Log::new(target());
    let process = log.process.id();
    let slot_0 = log.assign(None);
    let memory = vec![7_u8; 2 * LEAF_BYTES];
    let leaves: Vec<Hash> = memory.chunks(LEAF_BYTES).map(leaf_hash).collect();
    let seen = [1_u8; 64];
    let state = StateSummary {
        process,
        rules: 0,
        module: MODULE,
        position: Position::slot(0),
        time: time_of(0),
        memory_bytes: memory.len() as u64,
        memory_root: tree_root(leaves.clone()),
        seen_count: 2,
        seen_root: tree_root(vec![leaf_hash(&seen)]),
        running: Running::before(process),
    };
    let base = Statement {
        network: NETWORK,
        process,
        position: state.position,
        assignment: slot_0.id(),
        running: state.running.0,
        state_root: state.root(),
        rules: 0,
    };
    let slots: Vec<_> = (1..=2_u8)
        .map(|slot| {
            let item = item(STRANGER, Some(process), tags(&[("Type", "Message")]), &[slot]);
            (log.assign(Some(item.id())), item)
        })
        .collect();
    let claim = Statement {
        position: Position::slot(2),
        assignment: slots[1].0.id(),
        running: Hash([9; 32]),
        state_root: Hash::ZERO,
        ..base
    };
    let leaf = |index: usize| wire::MemoryLeaf {
        index: index as u64,
        data: Bytes::copy_from_slice(&memory[..LEAF_BYTES]),
        path: vec![wire::bytes(leaves[1 - index])],
    };
    wire::ReplayEvidence {
        claim: Some(claim.sign(&key(LIAR)).unwrap().to_wire()),
        base: Some(base.sign(&key(LIAR)).unwrap().to_wire()),
        state: Some((&state).into()),
        leaves: vec![leaf(0), leaf(1)],
        seen: Bytes::copy_from_slice(&seen),
        slots: slots.iter().map(|(assignment, item)| to_wire(assignment, item, None)).collect(),
    }
}

fn verdict(edit: impl FnOnce(&mut wire::ReplayEvidence)) -> Result<(), ReplayError> {
    let mut message = evidence();
    edit(&mut message);
    let (read, bytes) = ReplayEvidence::new(message).unwrap();
    assert_eq!(read.name(), ReplayEvidence::name_of(&bytes));
    read.open(NETWORK).map(drop)
}

#[test]
fn a_case_opens_with_everything_to_run_it() {
    let (read, bytes) = ReplayEvidence::new(evidence()).unwrap();
    let case = read.open(NETWORK).unwrap();
    assert_eq!(case.leaves.len(), 2);
    assert_eq!(case.slots.iter().map(|slot| slot.claims().assignment().slot).collect::<Vec<_>>(), [1, 2]);
    assert_eq!(case.state.position, Position::slot(0));
    assert_eq!(case.claim.attestor(), address(LIAR));
    assert_eq!(ReplayEvidence::decode(&bytes).unwrap().name(), read.name());
}

#[test]
fn a_claim_after_ticks_brings_the_slot_that_ends_them() {
    let ticked = |slots: usize| {
        verdict(|case| {
            let base =
                weft_protocol::attestation::Attestation::from_wire(case.base.as_ref().unwrap(), NETWORK);
            let base = base.unwrap().verify().unwrap();
            let position = Position { tick: 1, ..Position::slot(0) };
            let claim = Statement { position, state_root: Hash::ZERO, ..*base.statement() };
            case.claim = Some(claim.sign(&key(LIAR)).unwrap().to_wire());
            case.slots.truncate(slots);
        })
    };
    assert_eq!(ticked(1), Ok(()));
    assert_eq!(ticked(0), Err(ReplayError::Slots));
    assert_eq!(ticked(2), Err(ReplayError::Slots));
}

#[test]
fn parts_that_do_not_fit_are_refused() {
    let resign = |attestation: &Option<wire::Attestation>, seed: u8, edit: &dyn Fn(&mut Statement)| {
        let read = weft_protocol::attestation::Attestation::from_wire(attestation.as_ref().unwrap(), NETWORK);
        let read: Verified<_> = read.unwrap().verify().unwrap();
        let mut said = *read.statement();
        edit(&mut said);
        Some(said.sign(&key(seed)).unwrap().to_wire())
    };
    let base =
        |seed: u8, edit: &dyn Fn(&mut Statement)| verdict(|case| case.base = resign(&case.base, seed, edit));
    assert_eq!(base(LIAR, &|_| ()), Ok(()));
    assert_eq!(base(STRANGER, &|_| ()), Err(ReplayError::Base));
    assert_eq!(base(LIAR, &|said| said.position.slot = 1), Err(ReplayError::Base));
    assert_eq!(base(LIAR, &|said| said.position.slot = 1024), Err(ReplayError::Base));
    assert_eq!(base(LIAR, &|said| said.state_root = Hash::ZERO), Err(ReplayError::State));
    assert_eq!(base(LIAR, &|said| said.running = Hash::ZERO), Err(ReplayError::State));
    assert_eq!(base(LIAR, &|said| said.rules = 1), Err(ReplayError::State));

    assert_eq!(verdict(|case| case.seen = Bytes::from_static(&[1; 32])), Err(ReplayError::State));
    assert_eq!(verdict(|case| case.seen = Bytes::from_static(&[2; 64])), Err(ReplayError::State));
    assert_eq!(verdict(|case| case.leaves[1].data = Bytes::from_static(b"x")), Err(ReplayError::Leaf(1)));
    assert_eq!(verdict(|case| case.leaves[1].index = 2), Err(ReplayError::Leaf(2)));
    assert_eq!(verdict(|case| case.leaves.swap(0, 1)), Err(ReplayError::Leaf(0)));
    assert_eq!(verdict(|case| drop(case.leaves[0].path.pop())), Err(ReplayError::Leaf(0)));
    assert_eq!(verdict(|case| drop(case.slots.remove(0))), Err(ReplayError::Slots));
    assert_eq!(verdict(|case| case.slots.swap(0, 1)), Err(ReplayError::Slots));
    assert_eq!(verdict(|case| drop(case.slots.pop())), Err(ReplayError::Slots));
    assert!(matches!(verdict(|case| case.claim = None), Err(ReplayError::Wire(_))));
    let swapped = verdict(|case| case.slots[1].assignment = case.slots[0].assignment.clone());
    assert_eq!(swapped, Err(ReplayError::Slots));
}

#[test]
fn a_changed_byte_of_the_claims_is_refused() {
    let message = evidence();
    let bytes = message.encode_to_vec();
    // Both attestations and the state stand first, before the leaves.
    let head = wire::ReplayEvidence { leaves: vec![], seen: Bytes::new(), slots: vec![], ..message };
    for at in 0..head.encoded_len() {
        let mut forged = bytes.clone();
        forged[at] ^= 1 << (at % 8);
        let read = ReplayEvidence::decode(&forged.into());
        assert!(read.map_err(ReplayError::from).and_then(|read| read.open(NETWORK)).is_err(), "byte {at}");
    }
}
