//! Valid proofs, and every way to spoil one.

use proptest::prelude::*;
use weft_protocol::attestation::Statement;
use weft_protocol::message::message_json;
use weft_protocol::origin::{OriginProof, ProofError, ProvenKind};
use weft_protocol::outcome::{Code, Running};
use weft_protocol::push::Source;
use weft_protocol::sender::Origin;
use weft_protocol::{Hash, Id, Network, Tag};

use crate::fixture::*;

fn valid(index: u32) -> (Sender, Push) {
    let sender = Sender::new(true);
    let (proof, dispatch) = sender.prove(index);
    (sender, Push::of(&proof, &dispatch, CARRIER))
}

#[test]
fn a_quorum_proves_a_message_whoever_carries_it() {
    for is_set in [false, true] {
        let sender = Sender::new(is_set);
        let (proof, dispatch) = sender.prove(MESSAGE);
        let source =
            Source { process: sender.process.id(), position: sender.outcome.position, index: MESSAGE };
        for carrier in [CARRIER, STRANGER] {
            let origin = Push::of(&proof, &dispatch, carrier).verify().unwrap();
            assert_eq!(origin.source, source);
            assert_eq!(origin.kind, ProvenKind::Message);
            assert_eq!(origin.sender.process, sender.process.id());
            assert_eq!(origin.sender.push, source.push_id(NETWORK));
            assert_eq!(origin.sender.root, Some(ROOT));
        }
    }
}

#[test]
fn an_rsa_scheduler_attests_as_well() {
    let wallet = include_str!("../../../tests/vectors/wallet.json");
    let wallet = weft_protocol::crypto::Signer::from_jwk(wallet).unwrap();
    let mut tags = process_item(&[]).tags().to_vec();
    tags[3].value = wallet.address().to_string();
    let item = item(OWNER, None, tags, b"x");
    let sender = Sender::of(weft_protocol::process::Process::accept(item, None, &terms()).unwrap());
    let attestation = sender.statement().sign(&wallet).unwrap();
    let (proof, dispatch) = sender.build(MESSAGE, &[attestation]).unwrap();
    assert!(Push::of(&proof, &dispatch, CARRIER).verify().is_ok());
}

#[test]
fn proof_bytes_and_pushed_items_are_golden() {
    let (sender, push) = valid(MESSAGE);
    let (proof, _) = sender.prove(MESSAGE);
    let golden = |bytes: &[u8]| blake3::hash(bytes).to_hex()[..32].to_owned();
    assert_eq!(golden(&proof.encode()), "42fe619d6a23f9ad67e4057ff70a4f5a");
    assert_eq!(golden(push.proof.raw()), "6f846677c1b979bf80e71411d3877e48");
    assert_eq!(golden(push.item.raw()), "7dd9f14deebe85b974a55b190251c0d7");
    assert_eq!(OriginProof::decode(&proof.encode().into()).unwrap(), proof);
}

#[test]
fn pushed_tags_are_the_entry_s_and_then_ours_in_order() {
    let (sender, push) = valid(MESSAGE);
    let expected = tags(&[
        ("Action", "Credit"),
        ("Reference", "1"),
        ("Data-Protocol", "ao"),
        ("Type", "Message"),
        ("From-Process", &sender.process.id().to_string()),
        ("From-Module", &MODULE.to_string()),
        ("Pushed-For", &ROOT.to_string()),
        ("From-Epoch", "0"),
        ("From-Slot", "9"),
        ("From-Tick", "0"),
        ("From-Index", "0"),
        ("Origin-Proof", &push.proof.id().to_string()),
    ]);
    assert_eq!(push.item.tags(), expected);
    assert_eq!(push.item.anchor(), Some(b"00000000000000000000000000000001"));
    assert_eq!(&push.item.data()[..], b"one");
}

#[test]
fn the_carrier_chooses_only_id_signature_and_forwarded_by() {
    let sender = Sender::new(true);
    let (proof, dispatch) = sender.prove(MESSAGE);
    let mut log = Log::new(target());
    let draft = log.draft(None);
    let slot_0 = weft_protocol::assignment::Assignment::from_item(&log.assign(None)).unwrap();
    let json = |carrier| {
        let push = Push::of(&proof, &dispatch, carrier);
        let origin = Origin::of(&log.process, &push.item, Some(push.verify().unwrap().sender));
        let assignment = weft_protocol::assignment::Assignment {
            slot: 1,
            message: Some(push.item.id()),
            hash_chain: draft.hash_chain,
            ..slot_0.clone()
        };
        let text = message_json(&assignment, &push.item, &origin);
        let mut json: serde_json::Map<String, serde_json::Value> = serde_json::from_str(&text).unwrap();
        let own =
            ["Id", "Signature", "Forwarded-By"].map(|name| json.insert(name.into(), "".into()).unwrap());
        assert!(own.iter().all(|value| value.is_string()));
        assert_eq!(json["From"], sender.process.id().to_string());
        assert_eq!(json["Owner"], sender.process.id().to_string());
        (serde_json::to_string(&json).unwrap(), own)
    };
    let ((one, own_one), (other, own_other)) = (json(CARRIER), json(STRANGER));
    assert_eq!(one, other);
    assert!(own_one.iter().zip(&own_other).all(|(a, b)| a != b));
    for own_tag in weft_protocol::push::OWN_TAGS {
        assert!(!one.contains(own_tag), "{own_tag} reaches the guest");
    }
}

#[test]
fn no_changed_byte_of_a_proof_proves() {
    let sender = Sender::new(true);
    for index in [MESSAGE, SPAWN] {
        let (proof, dispatch) = sender.prove(index);
        let push = Push::of(&proof, &dispatch, CARRIER);
        let bytes = proof.encode();
        for at in 0..bytes.len() {
            let mut forged = bytes.clone();
            forged[at] ^= 1 << (at % 8);
            let forged = push.with_proof_data(forged, CARRIER);
            assert!(forged.verify().is_err(), "byte {at} of the proof may change");
        }
    }
}

#[test]
fn no_changed_field_of_the_item_is_proven() {
    let (_, push) = valid(MESSAGE);
    let differs = |name| Err(ProofError::Differs(name));
    let verdict = |edit: &dyn Fn(&mut weft_protocol::Draft)| push.forged(edit).verify();
    assert!(verdict(&|_| ()).is_ok());
    assert_eq!(verdict(&|draft| draft.target = Some(Id([1; 32]))), differs("target"));
    assert_eq!(verdict(&|draft| draft.target = None), differs("target"));
    assert_eq!(verdict(&|draft| draft.anchor = Some([0; 32])), differs("anchor"));
    assert_eq!(verdict(&|draft| draft.anchor = None), differs("anchor"));
    assert!(verdict(&|draft| draft.data = b"two".to_vec().into()).is_err());
    assert!(verdict(&|draft| draft.data = bytes::Bytes::new()).is_err());
    for at in 0..push.item.tags().len() {
        assert!(verdict(&|draft| drop(draft.tags.remove(at))).is_err(), "tag {at} may go");
        assert!(verdict(&|draft| draft.tags[at].value.push('0')).is_err(), "value {at} may change");
        assert!(verdict(&|draft| draft.tags[at].name.push('0')).is_err(), "name {at} may change");
        assert!(
            verdict(&|draft| draft.tags.insert(at, Tag::new("Extra", "1"))).is_err(),
            "tag may come at {at}"
        );
        assert!(verdict(&|draft| draft.tags.push(draft.tags[at].clone())).is_err(), "tag {at} may repeat");
        assert!(verdict(&|draft| draft.tags.rotate_left(1 + at % 5)).is_err(), "tags may move");
    }
}

#[test]
fn a_proof_holds_on_its_own_network_only() {
    let (_, push) = valid(MESSAGE);
    let other = weft_protocol::origin::verify(&push.item, &push.proof, Network(8));
    assert!(matches!(other, Err(ProofError::Signature(_))));
}

#[test]
fn less_than_a_quorum_builds_nothing_and_more_is_cut() {
    let sender = Sender::new(true);
    let one = sender.attest(&COMPUTE[..1]);
    assert_eq!(sender.build(MESSAGE, &one).unwrap_err(), ProofError::Attestors);
    let twice = sender.attest(&[COMPUTE[0], COMPUTE[0]]);
    assert_eq!(sender.build(MESSAGE, &twice).unwrap_err(), ProofError::Attestors);
    let strangers = sender.attest(&[STRANGER, SCHEDULER, COMPUTE[1]]);
    assert_eq!(sender.build(MESSAGE, &strangers).unwrap_err(), ProofError::Attestors);
    let (all, _) = sender.build(MESSAGE, &sender.attest(&COMPUTE)).unwrap();
    let (first, _) = sender.build(MESSAGE, &sender.attest(&COMPUTE[..2])).unwrap();
    assert_eq!(all, first);
    let (last, dispatch) = sender.build(MESSAGE, &sender.attest(&[COMPUTE[2], COMPUTE[1]])).unwrap();
    assert!(Push::of(&last, &dispatch, CARRIER).verify().is_ok());
}

#[test]
fn attestations_of_anything_else_build_nothing() {
    let sender = Sender::new(true);
    let said = sender.statement();
    let others = [
        Statement { network: Network(8), ..said },
        Statement { process: Id([1; 32]), ..said },
        Statement { position: weft_protocol::Position { tick: 1, ..said.position }, ..said },
        Statement { assignment: Id([1; 32]), ..said },
        Statement { running: Hash([1; 32]), ..said },
        Statement { state_root: Hash([1; 32]), ..said },
        Statement { rules: said.rules + 1, ..said },
    ];
    for other in others {
        let attestations: Vec<_> = COMPUTE.iter().map(|&seed| other.sign(&key(seed)).unwrap()).collect();
        assert_eq!(sender.build(MESSAGE, &attestations).unwrap_err(), ProofError::Attestors);
    }
}

#[test]
fn entries_that_are_no_push_prove_nothing() {
    let sender = Sender::new(true);
    let (_, push) = valid(MESSAGE);
    let (proof, _) = sender.prove(ASSIGNMENT);
    let forged = push.with_proof_data(proof.encode(), CARRIER);
    assert_eq!(forged.verify(), Err(ProofError::Kind("message or spawn")));
}

#[test]
fn an_outcome_that_failed_sends_nothing() {
    let mut sender = Sender::new(false);
    sender.outcome.code = Code::Error;
    let (proof, dispatch) = sender.prove(MESSAGE);
    assert_eq!(Push::of(&proof, &dispatch, CARRIER).verify(), Err(ProofError::Outcome));
}

#[test]
fn ticks_and_boundaries_prove_too() {
    let mut sender = Sender::new(false);
    sender.outcome = weft_protocol::outcome::Outcome::of_result(
        weft_protocol::Position { epoch: 0, slot: 1024, tick: 3 },
        result().as_bytes(),
        None,
    );
    sender.state_root = Hash([8; 32]);
    sender.before = Running(Hash([9; 32]));
    let (proof, dispatch) = sender.prove(OTHER_MESSAGE);
    let push = Push::of(&proof, &dispatch, CARRIER);
    assert_eq!(push.verify().unwrap().sender.root, None);
    assert_eq!(push.item.tag("Pushed-For"), None);
    assert_eq!(push.item.tag("From-Tick"), Some("3"));
}

#[test]
fn proof_items_of_another_type_or_size_prove_nothing() {
    let (_, push) = valid(MESSAGE);
    let renamed = |tags: Vec<Tag>, data: &[u8]| {
        let proof = item(CARRIER, None, tags, data);
        let name = proof.id().to_string();
        let draft = push.edited(|draft| draft.tags.last_mut().unwrap().value = name);
        Push { item: draft.sign(&key(CARRIER)).unwrap(), proof }
    };
    let data = push.proof.data();
    assert!(renamed(push.proof.tags().to_vec(), &data).verify().is_ok());
    assert_eq!(renamed(tags(&[("Type", "Message")]), &data).verify(), Err(ProofError::NotAProof));
    let long = renamed(push.proof.tags().to_vec(), &[0; 70_000]).verify();
    assert!(matches!(long, Err(ProofError::TooLong(_))));
    let trailing = [&data[..], &[0]].concat();
    assert!(matches!(renamed(push.proof.tags().to_vec(), &trailing).verify(), Err(ProofError::Wire(_))));
}

proptest! {
    #[test]
    fn arbitrary_proof_bytes_never_panic_and_never_prove(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let (_, push) = valid(MESSAGE);
        prop_assert!(push.with_proof_data(bytes, CARRIER).verify().is_err());
    }

    #[test]
    fn spliced_proofs_never_prove(cut in 0_usize..900, from in 0_usize..900) {
        let sender = Sender::new(true);
        let (one, dispatch) = sender.prove(MESSAGE);
        let (other, _) = sender.prove(OTHER_MESSAGE);
        let push = Push::of(&one, &dispatch, CARRIER);
        let (one, other) = (one.encode(), other.encode());
        let spliced = [&one[..cut.min(one.len())], &other[from.min(other.len())..]].concat();
        prop_assume!(spliced != one);
        prop_assert!(push.with_proof_data(spliced, CARRIER).verify().is_err());
    }
}
