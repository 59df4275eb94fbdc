//! Who may speak for a process: its attestors, and nobody else by any of these ways.

use bytes::Bytes;
use weft_protocol::assignment::Assignment;
use weft_protocol::message::message_json;
use weft_protocol::origin::{OriginProof, ProofError};
use weft_protocol::process::Process;
use weft_protocol::push::Dispatch;
use weft_protocol::sender::Origin;
use weft_protocol::wire::{self, decode_canonical};
use weft_protocol::{Id, Position, Verified};

use crate::fixture::*;

fn edited(proof: &OriginProof, edit: impl FnOnce(&mut wire::OriginProof)) -> Vec<u8> {
    use prost::Message as _;
    let mut message: wire::OriginProof = decode_canonical(&proof.encode().into(), 65_536).unwrap();
    edit(&mut message);
    message.encode_to_vec()
}

/// What `process` makes of a push, and what its module would see.
fn taken(process: &Process, push: &Push) -> (Origin, String) {
    let origin = Origin::of(process, &push.item, push.verify().ok().map(|proven| proven.sender));
    let assignment = Log::new(process.clone()).assign(None);
    let assignment = Assignment::from_item(&assignment).unwrap();
    let json = message_json(&assignment, &push.item, &origin);
    (origin, json)
}

#[test]
fn a_stranger_s_process_cannot_name_another_as_its_source() {
    // The stranger runs a process of its own, with its own computers, and claims to be the victim.
    let victim = Sender::new(true);
    let compute = [("Compute", &*address(STRANGER).to_string()), ("Compute-Quorum", "1")];
    let own = Sender::of(process(&compute));
    let (proof, dispatch) = own.build(MESSAGE, &own.attest(&[STRANGER])).unwrap();
    assert!(Push::of(&proof, &dispatch, STRANGER).verify().is_ok(), "for itself it may speak");
    let mut source = dispatch.source;
    source.process = victim.process.id();
    let forged = Push::of(&proof, &Dispatch { source, ..dispatch }, STRANGER);
    assert_eq!(forged.verify(), Err(ProofError::Differs("tags")));
    let (origin, json) = taken(&target(), &forged);
    assert_eq!(origin, Origin::Direct);
    assert!(!json.contains(&victim.process.id().to_string()));
}

#[test]
fn a_stranger_s_attestation_does_not_count() {
    let victim = Sender::new(true);
    let (proof, dispatch) = victim.prove(MESSAGE);
    let push = Push::of(&proof, &dispatch, STRANGER);
    let by = |seed: u8, index: u32| victim.attest(&[seed])[0].signature().to_wire(index);
    let verdict = |signatures: Vec<wire::KeySignature>| {
        push.with_proof_data(edited(&proof, |message| message.signatures = signatures), STRANGER).verify()
    };
    let [a, b, c] = COMPUTE;
    assert!(verdict(vec![by(a, 0), by(c, 2)]).is_ok());
    let refused = [
        vec![],
        vec![by(a, 0)],
        vec![by(a, 0), by(a, 0)],
        vec![by(b, 1), by(a, 0)],
        vec![by(a, 0), by(b, 1), by(c, 2)],
        vec![by(a, 0), by(STRANGER, 1)],
        vec![by(a, 0), by(STRANGER, 3)],
        vec![by(a, 0), by(b, 2)],
        vec![by(SCHEDULER, 0), by(b, 1)],
    ];
    for signatures in refused {
        assert_eq!(verdict(signatures.clone()), Err(ProofError::Attestors), "{signatures:?}");
    }
    // The right key's signature of something else.
    let mut other = by(b, 1);
    other.signature = by(a, 0).signature;
    assert!(matches!(verdict(vec![by(a, 0), other]), Err(ProofError::Signature(_))));
}

#[test]
fn a_header_with_another_compute_set_is_another_process() {
    let victim = Sender::new(true);
    let (proof, dispatch) = victim.prove(MESSAGE);
    let push = Push::of(&proof, &dispatch, STRANGER);
    let own = Sender::of(process(&[("Compute", &*address(STRANGER).to_string()), ("Compute-Quorum", "1")]));
    let forged = edited(&proof, |message| message.header = own.header.to_bytes());
    assert_eq!(push.with_proof_data(forged, STRANGER).verify(), Err(ProofError::Differs("tags")));
    // The tags of one item under the signature of another.
    let mut bytes = victim.header.to_bytes().to_vec();
    let tail = own.header.to_bytes();
    let start = 2 + 64 + 32;
    bytes.splice(start.., tail[start..].iter().copied());
    let forged = edited(&proof, |message| message.header = bytes.into());
    assert!(matches!(push.with_proof_data(forged, STRANGER).verify(), Err(ProofError::Header(_))));
}

#[test]
fn one_entry_s_proof_carries_no_other_entry() {
    let sender = Sender::new(true);
    let (proof, _) = sender.prove(MESSAGE);
    let (_, other) = sender.prove(OTHER_MESSAGE);
    let swapped = Push::of(&proof, &other, STRANGER);
    assert_eq!(swapped.verify(), Err(ProofError::Differs("anchor")));
    // Even with the other entry's head and place, the path leads elsewhere.
    let forged = edited(&proof, |message| {
        message.entry = other.entry.head_bytes().into();
        message.index = OTHER_MESSAGE;
    });
    assert!(matches!(swapped.with_proof_data(forged, STRANGER).verify(), Err(ProofError::Signature(_))));
}

#[test]
fn another_slot_tick_or_index_is_another_push() {
    let sender = Sender::new(true);
    let (proof, dispatch) = sender.prove(MESSAGE);
    let at = dispatch.source;
    let places = [
        weft_protocol::push::Source { position: Position { slot: 10, ..at.position }, ..at },
        weft_protocol::push::Source { position: Position { tick: 1, ..at.position }, ..at },
        weft_protocol::push::Source { position: Position { epoch: 1, ..at.position }, ..at },
        weft_protocol::push::Source { index: 1, ..at },
    ];
    for source in places {
        let elsewhere = Dispatch { source, ..dispatch.clone() };
        let push = Push::of(&proof, &elsewhere, STRANGER);
        assert_eq!(push.verify(), Err(ProofError::Differs("tags")));
        // With the proof changed to match, the attestors have signed something else.
        let mut core = sender.outcome.core();
        core.position = source.position;
        let forged = edited(&proof, |message| {
            message.outcome = Bytes::copy_from_slice(&core.to_bytes());
            message.index = source.index;
        });
        assert!(push.with_proof_data(forged, STRANGER).verify().is_err());
    }
}

#[test]
fn a_push_to_one_process_is_no_push_to_another() {
    let sender = Sender::new(true);
    let (proof, mut dispatch) = sender.prove(MESSAGE);
    dispatch.entry.target = Some(Id([3; 32]));
    let push = Push::of(&proof, &dispatch, STRANGER);
    // The entry's head in the proof still names the old target.
    assert_eq!(push.verify(), Err(ProofError::Differs("target")));
    let forged = edited(&proof, |message| message.entry = dispatch.entry.head_bytes().into());
    assert!(matches!(push.with_proof_data(forged, STRANGER).verify(), Err(ProofError::Signature(_))));
}

#[test]
fn a_foreign_authority_never_beats_a_proof() {
    // aos puts a fixed foreign Authority on every process that it spawns.
    let carrier = address(CARRIER).to_string();
    let target = process(&[("Authority", &carrier)]);
    let sender = Sender::new(true);
    let (proof, dispatch) = sender.prove(MESSAGE);
    let push = Push::of(&proof, &dispatch, CARRIER);
    let (origin, json) = taken(&target, &push);
    assert!(matches!(origin, Origin::Proven(source) if source.process == sender.process.id()));
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["Owner"], sender.process.id().to_string());
    assert_eq!(json["From"], sender.process.id().to_string());
}

#[test]
fn the_authority_is_taken_at_its_word_only_without_a_proof_and_never_for_a_process() {
    let carrier = address(CARRIER).to_string();
    let target = process(&[("Authority", &carrier)]);
    let tags = |kind| tags(&[("Data-Protocol", "ao"), ("Type", kind), ("From-Process", "P2")]);
    let message = item(CARRIER, Some(target.id()), tags("Message"), b"x");
    assert!(matches!(Origin::of(&target, &message, None), Origin::Legacy { from, .. } if from == "P2"));
    let process = item(CARRIER, Some(target.id()), tags("Process"), b"x");
    assert_eq!(Origin::of(&target, &process, None), Origin::Direct);
    let stranger = item(STRANGER, Some(target.id()), tags("Message"), b"x");
    assert_eq!(Origin::of(&target, &stranger, None), Origin::Direct);
}

#[test]
fn naming_the_authority_or_the_parent_as_the_source_gains_nothing() {
    // Both exploits of the reference: From-Process = an authority, and = a parent that is one.
    let (authority, parent) = (address(CARRIER).to_string(), Sender::new(true).process.id().to_string());
    let target = process(&[("Authority", &format!("{authority},{parent}"))]);
    for claimed in [&authority, &parent] {
        for name in ["From-Process", "from-process", "From_Process", "FROM-PROCESS ", "fRoM_pRoCeSs"] {
            let tags =
                tags(&[("Data-Protocol", "ao"), ("Type", "Message"), ("Action", "Eval"), (name, claimed)]);
            let item = item(STRANGER, Some(target.id()), tags, b"pwn()");
            let push = Push { proof: item.clone(), item };
            let (origin, json) = taken(&target, &push);
            assert_eq!(origin, Origin::Direct);
            let seen: serde_json::Value = serde_json::from_str(&json).unwrap();
            assert_eq!(seen["From"], address(STRANGER).to_string());
            assert_eq!(seen["Owner"], address(STRANGER).to_string());
            assert!(!json.contains(claimed.as_str()), "{name} reaches the guest");
        }
    }
}

#[test]
fn the_owner_s_key_and_the_scheduler_s_do_not_speak_for_a_process_with_computers() {
    let sender = Sender::new(true);
    for seeds in [[OWNER, SCHEDULER], [SCHEDULER, CARRIER]] {
        assert_eq!(sender.build(MESSAGE, &sender.attest(&seeds)).unwrap_err(), ProofError::Attestors);
    }
}

#[test]
fn a_proof_says_nothing_of_an_item_that_does_not_name_it() {
    let sender = Sender::new(true);
    let (proof, dispatch) = sender.prove(MESSAGE);
    let (one, other) = (Push::of(&proof, &dispatch, CARRIER), Push::of(&proof, &dispatch, STRANGER));
    let mixed = Push { item: one.item.clone(), proof: other.proof.clone() };
    assert_eq!(mixed.verify(), Err(ProofError::NotNamed));
    let bare = Verified::clone(&item(CARRIER, Some(target().id()), tags(&[("Type", "Message")]), b"one"));
    assert_eq!(Push { item: bare, proof: one.proof }.verify(), Err(ProofError::NotNamed));
}
