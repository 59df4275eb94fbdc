//! Transactions of the base layer as messages, and attestations that open data: for processes that name the
//! extension, and for no others.

use bytes::Bytes;
use prost::Message as _;
use serde_json::{Value, json};
use weft_protocol::assignment::{Assignment, AssignmentDraft, Excluded};
use weft_protocol::base_layer::{attested, attested_key, carried, carried_id, carrier};
use weft_protocol::crypto::Signer;
use weft_protocol::epoch::EpochTerms;
use weft_protocol::fold::{Did, Fold, Work};
use weft_protocol::l1::{L1Draft, L1Error, L1Tag, L1Tx};
use weft_protocol::process::{Process, Refusal};
use weft_protocol::record::{Blame, RecordError, SlotRecord, to_wire};
use weft_protocol::seen::{SeenKeys, item_key};
use weft_protocol::sender::{Origin, ProvenSource};
use weft_protocol::{Address, DataItem, Draft, Hash, Id, Tag, Verified, hash_chain};

use crate::fixture::*;

const OK: &[u8] = br#"{"ok":true,"response":{"Output":"ran"}}"#;
const TAKES: (&str, &str) = ("Extension", "Base-Layer");

fn tx() -> Verified<L1Tx> {
    let draft = L1Draft {
        target: Some(Address([3; 32])),
        quantity: 12,
        reward: 34,
        last_tx: Bytes::from_static(&[7; 32]),
        tags: vec![
            L1Tag::new("Action", "Deposit"),
            L1Tag::new("From-Process", "a lie"),
            L1Tag::new("Raw", Bytes::from_static(&[b'x', 0xff])),
        ],
        data: Bytes::from_static(b"mined \xff"),
    };
    draft.sign(&Signer::from_jwk(include_str!("../../../tests/vectors/wallet.json")).unwrap()).unwrap()
}

fn slot(process: &Process, slot: u64, item: &DataItem, excludes: &[Excluded]) -> Assignment {
    assigned(process.id(), slot, (slot > 0).then(|| item.id()), excludes)
}

/// A fold after slot 0.
fn opened(process: &Process) -> Fold {
    let mut fold = Fold::new(process);
    fold.plan(process, &slot(process, 0, process.item(), &[]), process.item(), None).unwrap();
    fold.close(Did::Returned(OK)).unwrap();
    fold
}

/// What the guest is asked at the next slot; none if it is not asked.
fn asked(fold: &mut Fold, process: &Process, item: &DataItem, excludes: &[Excluded]) -> Option<Value> {
    let at = slot(process, fold.next_slot(), item, excludes);
    fold.plan(process, &at, item, None).unwrap();
    let work = fold.step().unwrap().work.clone();
    fold.close(Did::Returned(OK)).unwrap();
    match work {
        Work::Call(message) => Some(serde_json::from_str(&message).unwrap()),
        Work::Duplicate(_) | Work::Mark => None,
    }
}

#[test]
fn the_module_sees_the_transaction_and_sees_it_once() {
    let (process, tx) = (process(&[TAKES]), tx());
    let item = carrier(process.id(), &tx).sign(&key(2)).unwrap();
    assert_eq!(carried_id(&process, &item), Some(tx.id()));
    assert_eq!(carried(&process, &item).unwrap().unwrap().verify().unwrap(), tx);
    let mut fold = opened(&process);
    let seen = asked(&mut fold, &process, &item, &[Excluded::Signature]).unwrap();
    let b64 = |bytes: &[u8]| Hash(bytes.try_into().unwrap()).to_string();
    let expected = json!({
        "Id": tx.id(), "Data": "mined \u{fffd}", "Owner": tx.owner(), "Target": Address([3; 32]),
        "Anchor": b64(&[7; 32]), "From": tx.owner(),
        "Tags": [{ "name": "Action", "value": "Deposit" }, { "name": "Raw", "value": "x\u{fffd}" }],
        "Epoch": 0, "Nonce": 1, "Timestamp": 1_700_000_000_123_u64, "Block-Height": 14_166_666,
        "Hash-Chain": Hash([3; 32]), "Cron": false, "Read-Only": false,
    });
    assert_eq!(seen, expected);
    // Its keys stand in the log: that of the carrier, and that of the transaction, whatever carries it.
    let keys: Vec<Hash> = fold.state().seen.iter().map(|(key, _)| key).collect();
    assert_eq!(keys[1..], [item_key(item.id()), item_key(tx.id())]);
    assert_eq!(fold.state().seen.find(&SeenKeys::of_item(tx.id())), Some(1));
    assert_eq!(asked(&mut fold, &process, &item, &[]), None);
    // What comes of it names the transaction as its root.
    let mut fold = opened(&process);
    let at = slot(&process, 1, &item, &[]);
    fold.plan(&process, &at, &item, None).unwrap();
    let sends = br#"{"ok":true,"response":{"Messages":[{"Target":"MDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDA","Tags":[],"Data":"","Anchor":"00000000000000000000000000000001"}]}}"#;
    let closed = fold.close(Did::Returned(sends)).unwrap();
    assert_eq!(closed.outcome.outbox.entries()[0].root, Some(tx.id()));
}

#[test]
fn nothing_but_the_scheduler_s_own_carrier_is_one_and_only_where_it_is_asked_for() {
    let tx = tx();
    let (plain, takes) = (process(&[]), process(&[TAKES]));
    // Logs of before the extension come to what they came to.
    let item = carrier(plain.id(), &tx).sign(&key(2)).unwrap();
    assert_eq!(carried_id(&plain, &item), None);
    let seen = asked(&mut opened(&plain), &plain, &item, &[]).unwrap();
    assert_eq!((&seen["Id"], &seen["Owner"]), (&json!(item.id()), &json!(key(2).address())));
    let draft = carrier(takes.id(), &tx);
    let more = [draft.tags.clone(), vec![Tag::new("X", "y")]].concat();
    for other in [
        draft.sign(&key(3)).unwrap(),
        Draft { target: Some(plain.id()), ..draft.clone() }.sign(&key(2)).unwrap(),
        Draft { tags: more, ..draft.clone() }.sign(&key(2)).unwrap(),
        Draft { anchor: None, ..draft.clone() }.sign(&key(2)).unwrap(),
    ] {
        assert_eq!(carried_id(&takes, &other), None);
        assert!(carried(&takes, &other).unwrap().is_none());
        let seen = asked(&mut opened(&takes), &takes, &other, &[]).unwrap();
        assert_eq!(seen["Id"], json!(other.id()), "an ordinary message");
    }
}

/// The verdict on slot 1 with this item.
fn verdict(process: &Process, item: &Verified<DataItem>) -> Result<(), RecordError> {
    let link = |id| hash_chain::next(id, hash_chain::first(process.id()));
    let first =
        AssignmentDraft { hash_chain: hash_chain::first(process.id()), ..draft(process.id(), 0, None) };
    let first = first.draft().sign(&key(2)).unwrap();
    let time = weft_protocol::time::TimePoint { timestamp: 1_700_000_000_123, height: 14_166_666 };
    let at =
        AssignmentDraft { time, hash_chain: link(first.id()), ..draft(process.id(), 1, Some(item.id())) };
    let assignment = at.draft().sign(&key(2)).unwrap();
    let bytes: Bytes = to_wire(&assignment, item, None).encode_to_vec().into();
    let record = SlotRecord::decode(&bytes).unwrap();
    record.verify(process, &EpochTerms::of_process(process).unwrap(), None).map(|_| ())
}

#[test]
fn a_record_is_taken_with_a_transaction_that_its_wallet_signed_and_with_no_other() {
    let (process, tx) = (process(&[TAKES]), tx());
    let good = carrier(process.id(), &tx);
    assert_eq!(verdict(&process, &good.sign(&key(2)).unwrap()), Ok(()));
    let mut forged = tx.to_bytes().to_vec();
    let at = forged.windows(5).position(|part| part == b"mined").unwrap();
    forged[at] = b'M';
    let other_tx = L1Draft::default()
        .sign(&Signer::from_jwk(include_str!("../../../tests/vectors/wallet.json")).unwrap())
        .unwrap();
    for (data, is_it) in [
        (Bytes::from(forged), "a signature that fails"),
        (other_tx.to_bytes(), "another transaction"),
        (Bytes::from_static(b"nothing"), "no transaction"),
    ] {
        let item = Draft { data, ..good.clone() }.sign(&key(2)).unwrap();
        let error = verdict(&process, &item).unwrap_err();
        assert!(matches!(error, RecordError::Carried(_)), "{is_it}: {error}");
        assert_eq!(error.blame(), Blame::Sender, "{is_it}");
    }
    let wrong = Draft { data: other_tx.to_bytes(), ..good }.sign(&key(2)).unwrap();
    assert!(matches!(carried(&process, &wrong), Err(L1Error::Id { .. })));
}

#[test]
fn an_attestation_of_an_admitted_signer_opens_what_it_names_from_its_slot_on() {
    let (file, stranger) = (Id([8; 32]), key(5).address().to_string());
    let process = process(&[TAKES, ("Attestor", &format!("x, {stranger}"))]);
    let names = |kind: &str, id: &str| tags(&[("Data-Protocol", "ao"), ("Type", kind), ("Message", id)]);
    let named = file.to_string();
    for (signer, kind, id, opens) in [
        (2, "Attestation", &*named, true),
        (5, "Attestation", &*named, true),
        (1, "Attestation", &*named, false),
        (2, "Message", &*named, false),
        (2, "Attestation", "nothing", false),
    ] {
        let item = item(signer, Some(process.id()), names(kind, id), b"");
        assert_eq!(attested(&process, &item), opens.then_some(file), "{signer} {kind} {id}");
        let mut fold = opened(&process);
        assert!(asked(&mut fold, &process, &item, &[]).is_some(), "the module sees it as any other");
        let slots: Vec<u64> = fold
            .state()
            .seen
            .iter()
            .filter(|(key, _)| *key == attested_key(file))
            .map(|(_, slot)| slot)
            .collect();
        assert_eq!(slots, if opens { vec![1] } else { Vec::new() });
        // Another one of the same id is no duplicate, and changes nothing.
        let again = super::fixture::item(signer, None, names(kind, id), b"again");
        assert!(asked(&mut fold, &process, &again, &[]).is_some());
        assert_eq!(fold.state().seen.iter().filter(|(_, slot)| *slot == 2).count(), 1);
    }
    // Whoever carries a push attests nothing.
    let item = item(2, Some(process.id()), names("Attestation", &named), b"");
    let source = ProvenSource { process: Id([4; 32]), push: Hash([5; 32]), root: None };
    let carried = SeenKeys::of_submission(&process, &item, &Origin::Proven(source));
    assert!(carried.all().all(|key| key != attested_key(file)));
    let plain = super::fixture::process(&[("Attestor", &stranger)]);
    assert_eq!(attested(&plain, &item), None);
}

#[test]
fn the_extension_is_a_process_s_own_and_others_are_refused_beside_it() {
    assert!(
        process(&[TAKES]).takes_base_layer() && !process(&[("Extension", "WeaveDrive")]).takes_base_layer()
    );
    let two = [TAKES, ("Extension", "Other")];
    assert_eq!(try_process(&two).unwrap_err(), Refusal::Extension("Other".into()));
    for mode in ["Individual", "Library"] {
        let refused = try_process(&[TAKES, ("Availability-Type", mode)]).unwrap_err();
        assert_eq!(refused, Refusal::Availability(mode.into()));
    }
}
