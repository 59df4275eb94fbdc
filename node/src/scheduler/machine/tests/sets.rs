//! Offer sets: the last slot before a window is theirs, whatever was submitted for it.

use weft_protocol::assignment::Assignment;
use weft_protocol::market::{PushTerms, Quality, Window, set_slot};
use weft_protocol::offer::OfferTerms;

use super::*;

const SET_SLOT: u64 = 255;

/// A Process item in hard mode that pays up to 10 a push.
fn hard_process(more: &[(&str, &str)]) -> Verified<DataItem> {
    let terms = PushTerms { ledger: Id([9; 32]), price_max: 10, kib_max: 0 };
    let tags = terms.tags();
    let tags: Vec<(&str, &str)> =
        tags.iter().map(|tag| (tag.name.as_str(), tag.value.as_str())).chain(more.iter().copied()).collect();
    item(None, &tags, "")
}

fn market_of(process: &Verified<DataItem>) -> Market {
    let terms = PushTerms::of_tags(process.tags()).unwrap().unwrap();
    Market { network: NETWORK, process: process.id(), terms }
}

/// An offer that holds for ten seconds from this time on.
fn offer(seed: u8, price: u64, ms: u64) -> Entry {
    let terms = OfferTerms {
        network: NETWORK,
        sequence: START + ms,
        shards: Vec::new(),
        classes: 0,
        price_per_push: price,
        price_per_kib: 0,
        max_kib: 1,
        capacity_per_s: 1,
        latency_p50_ms: 0,
        stake: Hash::ZERO,
        valid_from: START + ms,
        valid_to: START + ms + 10_000,
    };
    Entry::new(terms.sign(&key(seed)).unwrap(), 0, Quality::NEW)
}

fn message(process: Id, number: u64) -> Verified<DataItem> {
    let tags = vec![Tag::new("Number", number.to_string())];
    Draft { target: Some(process), tags, ..Draft::default() }.sign(&key(1)).unwrap()
}

fn persisted(effects: &[Effect]) -> Vec<&NewSlot> {
    let slots = effects.iter().filter_map(|effect| match effect {
        Effect::Persist(slot) => Some(&**slot),
        _ => None,
    });
    slots.collect()
}

fn given(effects: &[Effect]) -> Vec<(u64, bool)> {
    let answers = effects.iter().filter_map(|effect| match effect {
        Effect::Reply { answer: Answer::Assigned { slot, duplicate, .. }, .. } => Some((*slot, *duplicate)),
        _ => None,
    });
    answers.collect()
}

/// A log whose next slot is the last before window 1.
fn up_to_the_set(process: &Verified<DataItem>) -> Run {
    let mut run = Run::new();
    run.submit(process.clone(), 0);
    run.handle(Input::Persisted { process: process.id(), slot: 0 }, 0);
    for slot in 1..SET_SLOT {
        let effects = run.submit(message(process.id(), slot), slot);
        assert_eq!(persisted(&effects)[0].head.slot, slot);
        run.handle(Input::Persisted { process: process.id(), slot }, slot);
    }
    run
}

/// The messengers of the window that a slot holds.
fn window(process: &Verified<DataItem>, slot: &NewSlot) -> Vec<weft_protocol::Address> {
    let assignment = Assignment::from_item(&slot.assignment).unwrap();
    let read = Window::read(&market_of(process), &assignment, &slot.item);
    read.unwrap().set().entries().iter().map(Entry::messenger).collect()
}

#[test]
fn the_offers_of_a_window_take_the_slot_before_it() {
    let process = hard_process(&[]);
    let mut run = up_to_the_set(&process);
    // Of those that are known one asks for too much, and one has ended.
    run.offers = vec![offer(3, 10, 400), offer(4, 11, 400), offer(5, 1, 400), offer(6, 1, 0)];
    let first = message(process.id(), 1_000);
    let effects = run.submit(first.clone(), 10_000);
    let slots = persisted(&effects);
    assert_eq!(slots.iter().map(|slot| slot.head.slot).collect::<Vec<_>>(), [SET_SLOT, SET_SLOT + 1]);
    assert_eq!(set_slot(1), Some(SET_SLOT));
    let mut wanted = [key(3).address(), key(5).address()];
    wanted.sort_unstable();
    assert_eq!(window(&process, slots[0]), wanted);
    assert_eq!(slots[1].item.id(), first.id());
    assert_eq!(given(&effects), [], "nothing is said before it is durable");
    // Who comes meanwhile comes after it, and the same item has its slot.
    let again = run.submit(first, 10_000);
    let next = run.submit(message(process.id(), 1_001), 10_000);
    assert_eq!(persisted(&next)[0].head.slot, SET_SLOT + 2);
    assert!(persisted(&again).is_empty());
    let effects = run.handle(Input::Persisted { process: process.id(), slot: SET_SLOT + 2 }, 10_001);
    assert_eq!(given(&effects), [(SET_SLOT + 1, false), (SET_SLOT + 1, true), (SET_SLOT + 2, false)]);
}

#[test]
fn in_soft_mode_every_slot_is_for_what_is_submitted() {
    let process = item(None, &[("Push-Market", "soft")], "");
    let mut run = up_to_the_set(&process);
    run.offers = vec![offer(3, 1, 400)];
    assert!(!run.scheduler.wants_offers(&process.id()));
    let effects = run.submit(message(process.id(), 1_000), 500);
    assert_eq!(persisted(&effects).len(), 1);
}

#[test]
fn a_set_that_did_not_reach_the_disk_is_made_anew_and_one_that_did_stays() {
    let process = hard_process(&[]);
    let mut run = up_to_the_set(&process);
    run.offers = vec![offer(3, 1, 400)];
    let id = process.id();
    let effects = run.submit(message(id, 1_000), 500);
    let (lost, before) = (persisted(&effects)[0].clone(), run.scheduler.durable_head(&id).unwrap());
    let answer = Answer::Fault("no".into());
    let effects = run.handle(Input::PersistFailed { process: id, answer }, 600);
    assert!(effects.iter().any(|effect| matches!(effect, Effect::Reload { .. })));
    // The disk says that the set has no slot: nobody saw it.
    run.offers = vec![offer(4, 1, 400)];
    let (market, offers) = (Some(market_of(&process)), run.offers.clone());
    let recovered =
        Recovered { process: id, head: Some(before), schedule: None, market, offers, cautious: false };
    run.handle(Input::Recover(Box::new(recovered)), 700);
    let effects = run.submit(message(id, 1_000), 800);
    let made = persisted(&effects)[0].clone();
    assert_eq!(window(&process, &lost), [key(3).address()]);
    assert_eq!(window(&process, &made), [key(4).address()]);
    // A node that starts again with the set on disk goes on behind it; one without it makes it first.
    for (head, first) in [(made.head, SET_SLOT + 1), (before, SET_SLOT)] {
        let mut again = Run::new();
        again.ends.insert(id, (head, None));
        again.market = Some(market_of(&process));
        again.offers = vec![offer(5, 1, 400)];
        let effects = again.submit(message(id, 1_000), 900);
        let slots = persisted(&effects);
        assert_eq!((slots[0].head.slot, slots.last().unwrap().head.slot), (first, SET_SLOT + 1));
        if first == SET_SLOT {
            assert_eq!(window(&process, slots[0]), [key(5).address()]);
        }
    }
}

#[test]
fn where_a_tick_is_due_the_set_lets_time_pass() {
    let process = hard_process(&[("Cron-Interval", "10-seconds")]);
    let mut run = up_to_the_set(&process);
    run.offers = vec![offer(3, 1, 9_000)];
    let effects = run.now(process.id(), 5_000);
    assert!(persisted(&effects).is_empty(), "nothing is due");
    let effects = run.now(process.id(), 12_000);
    let slots = persisted(&effects);
    assert_eq!(slots.len(), 1);
    assert_eq!(window(&process, slots[0]), [key(3).address()]);
    let effects = run.handle(Input::Persisted { process: process.id(), slot: SET_SLOT }, 12_001);
    assert_eq!(given(&effects), [(SET_SLOT, false)]);
    let effects = run.now(process.id(), 25_000);
    assert!(mark::is_mark(&persisted(&effects)[0].item, process.id(), key(2).address()));
}
