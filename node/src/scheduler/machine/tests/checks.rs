//! The reference's checks of its scheduler: numbers, links, and what a failure leaves.

use std::collections::BTreeSet;

use weft_protocol::assignment::Assignment;
use weft_protocol::process::{Process, Terms};
use weft_protocol::sender::Origin;

use super::*;

/// What a slot says, and its tag of this name.
fn said(slot: &NewSlot) -> Assignment {
    Assignment::from_item(&slot.assignment).unwrap()
}

/// The log of a run that stores every slot at once.
fn log(items: Vec<Verified<DataItem>>) -> Vec<NewSlot> {
    let mut run = Run::new();
    let mut log = Vec::new();
    for (at, item) in items.into_iter().enumerate() {
        let slot = stored(&run.submit(item, at as u64)).clone();
        run.handle(Input::Persisted { process: slot.process, slot: slot.head.slot }, at as u64);
        log.push(slot);
    }
    log
}

fn message(process: Id, data: &'static str) -> Verified<DataItem> {
    item(Some(process), &[("Type", "Message")], data)
}

#[test]
fn check_010_a_first_message_links_to_slot_0() {
    let own = item(None, &[], "process");
    let process = own.id();
    let log = log(vec![own, message(process, "one")]);
    let (zero, one) = (said(&log[0]), said(&log[1]));
    assert_eq!((one.slot, log[1].assignment.tag("Nonce")), (1, Some("1")));
    assert_eq!(one.hash_chain, hash_chain::next(zero.id, zero.hash_chain));
    assert_eq!(one.message, Some(log[1].item.id()));
}

/// Checks 11 and 12: slot 0 is always the process itself.
#[test]
fn check_011_a_process_is_slot_0_of_its_log() {
    let own = item(None, &[], "process");
    let process = own.id();
    let zero = &log(vec![own])[0];
    let tags = ["Nonce", "Epoch", "Message"].map(|name| zero.assignment.tag(name));
    assert_eq!(tags, [Some("0"), Some("0"), None]);
    assert_eq!(said(zero).hash_chain, hash_chain::first(process));
    assert_eq!(zero.assignment.tag("Block-Height").map(str::len), Some(12));
}

#[test]
fn check_013_a_hundred_at_once_get_numbers_without_gap_or_repeat() {
    let mut run = Run::new();
    let own = item(None, &[], "process");
    let process = own.id();
    run.submit(own, 0);
    let data: Vec<String> = (0..100).map(|n| n.to_string()).collect();
    let mut log = Vec::new();
    for data in &data {
        // None of them is on disk when the next one comes.
        let message = item(Some(process), &[("N", data)], "");
        log.push(stored(&run.submit(message, 0)).clone());
    }
    assert!(log.iter().map(|slot| slot.head.slot).eq(1..=100));
    for pair in log.windows(2) {
        let (before, after) = (said(&pair[0]), said(&pair[1]));
        assert_eq!(after.hash_chain, hash_chain::next(before.id, before.hash_chain));
    }
    let effects = run.handle(Input::Persisted { process, slot: 100 }, 5);
    let answered: BTreeSet<u64> = slots(&effects).into_iter().map(|(_, slot, _)| slot).collect();
    assert!(answered.into_iter().eq(0..=100));
}

#[test]
fn check_014_a_slot_whose_write_failed_is_given_again() {
    let mut run = Run::new();
    let process = run.ticking();
    let head = run.scheduler.durable_head(&process);
    let lost = stored(&run.submit(message(process, "lost"), 10)).clone();
    let effects = run.handle(Input::PersistFailed { process, answer: Answer::Fault("full".to_owned()) }, 11);
    assert!(matches!(&answers(&effects)[..], [(2, Answer::Fault(why))] if why == "full"));
    run.handle(recovered(process, head), 12);
    let next = stored(&run.submit(message(process, "kept"), 13)).clone();
    assert_eq!((next.head.slot, next.head.chain), (lost.head.slot, lost.head.chain));
}

#[test]
fn check_017_an_item_has_one_slot() {
    let mut run = Run::new();
    let process = run.ticking();
    let once = message(process, "once");
    let slot = stored(&run.submit(once.clone(), 10)).clone();
    // While it is on its way to disk, and when it is there.
    assert!(run.submit(once.clone(), 11).is_empty());
    let effects = run.handle(Input::Persisted { process, slot: 1 }, 12);
    assert_eq!(slots(&effects), [(2, 1, false), (3, 1, true)]);
    let answer = Answer::Assigned {
        process,
        slot: 1,
        assignment: slot.head.assignment,
        signed: None,
        duplicate: true,
    };
    assert_eq!(answers(&run.submit(once, 13)), [(4, answer)]);
}

/// A process with an authority, and what its scheduler is asked by these signers.
fn forwarded(run: &mut Run, process: &Process, seed: u8, tags: &[(&str, &str)]) -> Vec<Effect> {
    run.tickets += 1;
    let tags = tags.iter().map(|(name, value)| Tag::new(*name, *value)).collect();
    let draft = Draft { target: Some(process.id()), anchor: None, tags, data: Bytes::from_static(b"x") };
    let item = draft.sign(&key(seed)).unwrap();
    let keys = SeenKeys::of(&item, &Origin::of(process, &item, None));
    let process = process.id();
    let submission = Box::new(Submission { keys, ..Submission::plain(process, item) });
    run.handle(Input::Submit { ticket: run.tickets, submission }, 5)
}

fn with_authorities(run: &mut Run) -> Process {
    let [module, scheduler] = [Id([4; 32]).to_string(), key(2).address().to_string()];
    let authorities = format!("{}, {}", key(5).address(), key(6).address());
    let tags = [
        ("Data-Protocol", "ao"),
        ("Variant", "ao.TN.1"),
        ("Type", "Process"),
        ("Module", &module),
        ("Scheduler", &scheduler),
        ("Authority", &authorities),
    ];
    let own = item(None, &tags, "process");
    run.submit(own.clone(), 0);
    run.handle(Input::Persisted { process: own.id(), slot: 0 }, 1);
    Process::accept(own, None, &Terms { network: NETWORK, weave: Weave::Clock }).unwrap()
}

/// Here the messengers must be authorities of the process; anybody else's copy is his own message.
#[test]
fn check_018_two_messengers_of_one_message_get_one_slot() {
    let mut run = Run::new();
    let process = with_authorities(&mut run);
    let first = [("Action", "Ping"), ("From-Process", "S"), ("Pushed-For", "one")];
    let again = [("From-Process", "S"), ("Pushed-For", "two"), ("Action", "Ping")];
    assert_eq!(stored(&forwarded(&mut run, &process, 5, &first)).head.slot, 1);
    assert!(forwarded(&mut run, &process, 6, &again).is_empty());
    let effects = run.handle(Input::Persisted { process: process.id(), slot: 1 }, 6);
    assert_eq!(slots(&effects), [(2, 1, false), (3, 1, true)]);
    // A stranger's copy neither takes the place nor is one.
    assert_eq!(stored(&forwarded(&mut run, &process, 9, &again)).head.slot, 2);
}

#[test]
fn check_019_equal_messages_of_two_users_are_two() {
    let mut run = Run::new();
    let process = with_authorities(&mut run);
    let same = [("Action", "Ping")];
    for (seed, slot) in [(7, 1), (8, 2)] {
        assert_eq!(stored(&forwarded(&mut run, &process, seed, &same)).head.slot, slot);
    }
}
