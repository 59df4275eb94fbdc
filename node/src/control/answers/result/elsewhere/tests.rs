//! What is taken of a peer that is asked for one slot, and what is said where nobody gave it.
#![allow(clippy::unwrap_used, clippy::panic)]

use weft_protocol::assignment::AssignmentDraft;
use weft_protocol::crypto::Signer;
use weft_protocol::process::Terms;
use weft_protocol::time::Weave;
use weft_protocol::{DataItem, Draft, Hash, Tag, Unverified, Verified, hash_chain, record};

use super::*;
use crate::shared::testing::{NETWORK, assigned, peer};

const TERMS: Terms = Terms { network: NETWORK, weave: Weave::Clock };

fn key(seed: u8) -> Signer {
    Signer::from_seed(&[seed; 32])
}

fn item(target: Option<Id>, tags: &[(&str, &str)]) -> Verified<DataItem> {
    let tags = tags.iter().map(|(name, value)| Tag::new(*name, *value)).collect();
    Draft { target, tags, ..Draft::default() }.sign(&key(1)).unwrap()
}

/// A slot of a log that its scheduler, or another key, signed.
fn signed(
    process: Id,
    slot: u64,
    chain: Hash,
    item: &Verified<DataItem>,
    signer: &Signer,
) -> wire::SlotRecord {
    let draft = AssignmentDraft { hash_chain: chain, ..assigned(process, slot, item.id()) };
    record::to_wire(&draft.draft().sign(signer).unwrap(), item, None)
}

/// A process of a name, whose scheduler has key 2, with its slot 0.
fn opened(name: &str) -> (Process, wire::SlotRecord) {
    let (address, module) = (key(2).address().to_string(), Id([3; 32]).to_string());
    let tags = [
        ("Data-Protocol", "ao"),
        ("Type", "Process"),
        ("Variant", "ao.TN.1"),
        ("Name", name),
        ("Module", &*module),
        ("Scheduler", &*address),
    ];
    let own = item(None, &tags);
    let opening = signed(own.id(), 0, hash_chain::first(own.id()), &own, &key(2));
    let record: Unverified<SlotRecord> = SlotRecord::from_wire(&opening).unwrap();
    (record.open(&TERMS).unwrap().0, opening)
}

/// Any link will do: whoever has one slot alone cannot tell.
const CHAIN: Hash = Hash([9; 32]);

#[test]
fn the_message_of_a_slot_is_what_its_scheduler_signed_and_nothing_else() {
    let (process, opening) = opened("one");
    let (other, _) = opened("other");
    let id = process.id();
    let message = item(Some(id), &[("Action", "A")]);
    let instead = item(Some(id), &[("Action", "B")]);
    let third = signed(id, 3, CHAIN, &message, &key(2));
    assert_eq!(message_in(&process, 3, std::slice::from_ref(&third)), Ok(message.id()));
    assert_eq!(message_in(&process, 0, std::slice::from_ref(&opening)), Ok(id));
    assert_eq!(message_in(&process, 3, &[]), Err(NoSlot::Absent));
    // However many follow, nobody has more than one looked at.
    let crowd = vec![third.clone(); 1_000];
    assert_eq!(message_in(&process, 3, &crowd), Ok(message.id()));
    let mut bent = third.item.to_vec();
    *bent.last_mut().unwrap() ^= 1;
    let lies = [
        ("another slot", "it is slot 4", signed(id, 4, CHAIN, &message, &key(2))),
        ("a stranger's word", "not by the scheduler", signed(id, 3, CHAIN, &message, &key(1))),
        ("another log", "of process", signed(other.id(), 3, CHAIN, &message, &key(2))),
        (
            "another message",
            "the record holds item",
            wire::SlotRecord { item: instead.raw().clone(), ..third.clone() },
        ),
        ("a changed message", "item", wire::SlotRecord { item: bent.into(), ..third.clone() }),
        ("no message", "item", wire::SlotRecord { item: wire::bytes(""), ..third }),
        ("nothing", "assignment", wire::SlotRecord::default()),
    ];
    for (name, part, lie) in lies {
        // The truth behind it is too late.
        match message_in(&process, 3, &[lie, opening.clone()]) {
            Err(NoSlot::False(why)) => assert!(why.contains(part), "{name}: {why}"),
            other => panic!("{name}: {other:?}"),
        }
    }
    let unlinked = signed(id, 0, CHAIN, process.item(), &key(2));
    assert!(
        matches!(message_in(&process, 0, &[unlinked]), Err(NoSlot::False(_))),
        "the first slot has one link"
    );
}

#[tokio::test(start_paused = true)]
async fn who_lied_is_not_asked_again_and_who_was_silent_after_a_while() {
    let mut tried = Tried::default();
    tried.gave_no_slot(peer(1), Some(NoSlot::False("x".into())));
    tried.gave_no_slot(peer(2), None);
    tried.gave_no_slot(peer(3), Some(NoSlot::Absent));
    let may = |tried: &mut Tried| [1, 2, 3, 4].map(|number| tried.may_give_slot(&peer(number)));
    assert_eq!(may(&mut tried), [false, false, true, true]);
    tokio::time::advance(SILENT_REST).await;
    assert_eq!(may(&mut tried), [false, true, true, true]);
}

#[test]
fn an_error_says_what_was_tried_and_what_to_do() {
    let process = Id([1; 32]);
    let mut tried = Tried::default();
    let told = |tried: &Tried| tried.told(&process, 7);
    assert!(!tried.is_any());
    let advice = format!("`weft host {process}`");
    assert!(told(&tried).contains("slot 7") && told(&tried).contains(&advice), "{}", told(&tried));
    tried.nobody = Some("no reachable peer serves it".into());
    assert!(told(&tried).contains("no reachable peer serves it"), "{}", told(&tried));
    for number in 0..100 {
        tried.gave_no_slot(peer(number), Some(NoSlot::False(format!("lie {number}"))));
    }
    assert_eq!(tried.said.len(), SAID_MAX);
    let text = told(&tried);
    assert_eq!(text.matches("gave a false one").count(), NAMED_MAX, "{text}");
    tried.said.clear();
    for (number, why) in [(1, NoSlot::Absent), (2, NoSlot::Absent), (3, NoSlot::False("lie".into()))] {
        tried.gave_no_slot(peer(number), Some(why));
    }
    tried.gave_no_slot(peer(4), None);
    tried.gave_no_slot(peer(5), Some(NoSlot::Unread));
    let text = told(&tried);
    let liar = format!("{} gave a false one (lie)", peer(3));
    for part in [
        "2 said that there is none",
        "1 did not answer",
        "1 did not give it",
        &liar,
        &format!("`weft host {process}`"),
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    tried.message = Some(Id([2; 32]));
    assert!(tried.is_any() && told(&tried).contains(&Id([2; 32]).to_string()), "{}", told(&tried));
}
