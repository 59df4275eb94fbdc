//! Offer sets: built from what is known, read by anybody, and one way to be wrong.

use proptest::prelude::*;
use prost::Message as _;
use weft_protocol::assignment::{Assignment, AssignmentDraft};
use weft_protocol::epoch::{Certificate, EpochTerms};
use weft_protocol::market::{
    BOND_UNIT, Entry, EntryError, NEWCOMERS_MIN, OfferSet, PushTerms, SET_OFFERS_MAX, SetError, Window,
    draft, is_offer_set, set_slot, window_of, window_set_at,
};
use weft_protocol::offer::{OFFER_SHARDS_MAX, OfferTerms};
use weft_protocol::record::{SlotRecord, to_wire};
use weft_protocol::seen::SeenKeys;
use weft_protocol::wire::{self, OFFER_SET_BYTES_MAX, OFFER_SET_ITEM_BYTES_MAX, WireError};
use weft_protocol::{DataItem, Hash, Id, Network, mark};

use super::fixture::*;
use crate::epoch::handed_over;
use crate::fixture::*;

fn build(known: Vec<Entry>) -> OfferSet {
    OfferSet::build(&market(&hard(&PUSH_TERMS)), WINDOW, set_time(), known)
}

fn read(data: Vec<u8>) -> Result<OfferSet, SetError> {
    OfferSet::read(&market(&hard(&PUSH_TERMS)), set_time(), &data.into())
}

/// The wire form of a set, changed.
fn changed(edit: impl FnOnce(&mut Vec<wire::OfferSetEntry>)) -> Result<OfferSet, SetError> {
    let mut message = wire::OfferSet::decode(&build(entries()).encode()[..]).unwrap();
    edit(&mut message.entries);
    read(message.encode_to_vec())
}

#[test]
fn windows_of_256_slots_have_their_offers_in_the_slot_before() {
    assert_eq!([0, 255, 256, 511, 512].map(window_of), [0, 0, 1, 1, 2]);
    assert_eq!([0, 1, 2].map(set_slot), [None, Some(255), Some(511)]);
    assert_eq!([0, 254, 255, 256, 511].map(window_set_at), [None, None, Some(1), None, Some(2)]);
    assert_eq!(set_slot(u64::MAX), None);
    assert_eq!(window_set_at(u64::MAX), None);
}

#[test]
fn a_set_is_read_as_it_was_built_and_its_bytes_are_golden() {
    let set = build(entries());
    assert_eq!(set.entries().len(), 6);
    assert!(set.entries().is_sorted_by(|a, b| a.messenger() < b.messenger()));
    assert_eq!(read(set.encode()), Ok(set.clone()));
    assert_eq!(set.entry(&address(23)).unwrap().offer().terms(), &offer(23));
    assert_eq!(set.entry(&address(STRANGER)), None);
    assert_eq!(read(Vec::new()), Ok(OfferSet::default()));
    let process = hard(&PUSH_TERMS);
    let item = draft(NETWORK, process.id(), WINDOW, &set).sign(&key(SCHEDULER)).unwrap();
    let golden = |bytes: &[u8]| blake3::hash(bytes).to_hex()[..32].to_owned();
    assert_eq!(golden(&set.encode()), "416f4a4ba76bf04a016fe59222b47bc4");
    assert_eq!(golden(item.raw()), "3da08056c0ae7ca60093151301a926ad");
}

#[test]
fn the_largest_set_fits_its_item() {
    let shards = (0..OFFER_SHARDS_MAX as u16).map(|shard| u16::MAX - 100 + shard).collect();
    let largest = OfferTerms {
        sequence: u64::MAX,
        shards,
        classes: u32::MAX,
        price_per_push: u64::MAX,
        price_per_kib: u64::MAX,
        max_kib: u32::MAX,
        capacity_per_s: u32::MAX,
        latency_p50_ms: u32::MAX,
        stake: Hash([1; 32]),
        valid_from: u64::MAX - 2,
        valid_to: u64::MAX,
        ..offer(0)
    };
    let known = (0..70_u8).map(|seed| entry(seed, u64::MAX, 4, largest.clone())).collect();
    let process = hard(&PushTerms { price_max: u64::MAX, kib_max: u64::MAX, ..PUSH_TERMS });
    let set = OfferSet::build(&market(&process), WINDOW, u64::MAX - 1, known);
    assert_eq!(set.entries().len(), SET_OFFERS_MAX);
    let bytes = set.encode();
    assert!(bytes.len() <= OFFER_SET_BYTES_MAX, "{} bytes", bytes.len());
    assert_eq!(OfferSet::read(&market(&process), u64::MAX - 1, &bytes.into()), Ok(set.clone()));
    let item = draft(NETWORK, process.id(), u64::MAX / 256, &set).sign(&key(SCHEDULER)).unwrap();
    assert!(item.raw().len() <= OFFER_SET_ITEM_BYTES_MAX);
}

#[test]
fn only_what_a_reader_takes_is_built_in() {
    let known = vec![
        entry(1, 0, 1, OfferTerms { valid_from: set_time() + 1, ..offer(1) }),
        entry(2, 0, 1, OfferTerms { valid_to: set_time(), ..offer(2) }),
        entry(3, 0, 1, OfferTerms { price_per_push: PUSH_TERMS.price_max + 1, ..offer(3) }),
        entry(4, 0, 1, OfferTerms { price_per_kib: PUSH_TERMS.kib_max + 1, ..offer(4) }),
        entry(5, 0, 1, OfferTerms { network: Network(8), ..offer(5) }),
        entry(6, 0, 1, offer(6)),
        entry(6, 0, 1, OfferTerms { sequence: 3, price_per_push: 7, ..offer(6) }),
        entry(6, 0, 1, OfferTerms { sequence: 2, ..offer(6) }),
    ];
    let set = build(known);
    let prices: Vec<_> = set.entries().iter().map(|entry| entry.offer().terms().price_per_push).collect();
    assert_eq!(prices, [7]);
    assert_eq!(read(set.encode()), Ok(set));
}

#[test]
fn of_more_than_64_those_with_weight_come_first_then_the_cheap() {
    let bonded = |seed: u8| entry(seed, BOND_UNIT * u64::from(1 + seed / 10), 2, offer(seed % 7));
    let free =
        |seed: u8| entry(seed, BOND_UNIT - 1, 4, OfferTerms { price_per_push: seed.into(), ..offer(0) });
    let count = |set: &OfferSet| set.entries().iter().filter(|entry| entry.bond() >= BOND_UNIT).count();

    // Bonds leave places to the cheapest without one.
    let set = build((0..100).map(bonded).chain((100..140).map(free)).collect());
    assert_eq!((set.entries().len(), count(&set)), (SET_OFFERS_MAX, SET_OFFERS_MAX - NEWCOMERS_MIN));
    let least = set.entries().iter().filter(|entry| entry.bond() >= BOND_UNIT).map(Entry::bond).min();
    assert_eq!(least, Some(5 * BOND_UNIT));
    let free_prices = set.entries().iter().filter(|entry| entry.bond() < BOND_UNIT);
    let dearest = free_prices.map(|entry| entry.offer().terms().price_per_push).max();
    assert_eq!(dearest, Some(107));
    // Where there are fewer of either, the others have all the room.
    let set = build((0..100).map(bonded).chain((100..103).map(free)).collect());
    assert_eq!((set.entries().len(), count(&set)), (SET_OFFERS_MAX, SET_OFFERS_MAX - 3));
    let set = build((0..3).map(bonded).chain((100..250).map(free)).collect());
    assert_eq!((set.entries().len(), count(&set)), (SET_OFFERS_MAX, 3));
    // Of equals a hash decides, which is another in each window.
    let equals = || (0..80_u8).map(|seed| entry(seed, BOND_UNIT, 2, offer(0))).collect();
    let in_window = |window| OfferSet::build(&market(&hard(&PUSH_TERMS)), window, set_time(), equals());
    assert_eq!(in_window(1), in_window(1));
    assert_ne!(in_window(1), in_window(2));
}

#[test]
fn one_wrong_entry_makes_the_set_invalid() {
    assert!(changed(|_| ()).is_ok());
    let at = |at, error| Err(SetError::Entry { at, error });
    assert_eq!(changed(|entries| entries.swap(1, 2)), Err(SetError::Order(2)));
    assert_eq!(changed(|entries| entries[1] = entries[0].clone()), Err(SetError::Order(1)));
    assert_eq!(changed(|entries| entries[1].quality = 0), at(1, EntryError::Quality(0)));
    assert_eq!(changed(|entries| entries[5].quality = 5), at(5, EntryError::Quality(5)));
    assert_eq!(changed(|entries| entries[0].offer = None), Err(SetError::Wire(WireError::Field("offer"))));
    let offer = |edit: &dyn Fn(&mut wire::Offer)| changed(|entries| edit(entries[3].offer.as_mut().unwrap()));
    assert!(matches!(
        offer(&|offer| offer.sequence += 1),
        Err(SetError::Entry { at: 3, error: EntryError::Signature(_) })
    ));
    assert!(matches!(
        offer(&|offer| offer.valid_to = 1),
        Err(SetError::Entry { at: 3, error: EntryError::Offer(_) })
    ));
    let unknown = [&build(entries()).encode()[..], &[0x78, 1]].concat();
    assert_eq!(read(unknown), Err(SetError::Wire(WireError::NotCanonical)));
    let many = wire::OfferSet { entries: vec![wire::OfferSetEntry::default(); SET_OFFERS_MAX + 1] };
    assert_eq!(read(many.encode_to_vec()), Err(SetError::Wire(WireError::TooMany(&[1]))));

    let set = build(entries());
    let market = market(&hard(&PUSH_TERMS));
    let read = |market: &weft_protocol::market::Market, timestamp| {
        OfferSet::read(market, timestamp, &set.encode().into()).unwrap_err()
    };
    let late = set_time() + 60_000;
    assert_eq!(read(&market, late), SetError::Entry { at: 0, error: EntryError::NotLive(late) });
    let poor = weft_protocol::market::Market { terms: PushTerms { kib_max: 9, ..PUSH_TERMS }, ..market };
    assert_eq!(read(&poor, set_time()), SetError::Entry { at: 0, error: EntryError::Price });
    let network = weft_protocol::market::Market { network: Network(8), ..market };
    assert!(matches!(read(&network, set_time()), SetError::Entry { error: EntryError::Signature(_), .. }));
}

#[test]
fn only_the_scheduler_of_a_hard_process_makes_sets_where_they_belong() {
    let process = hard(&PUSH_TERMS);
    let set = build(entries());
    let item = |id: Id, window, seed| draft(NETWORK, id, window, &set).sign(&key(seed)).unwrap();
    let own = item(process.id(), 1, SCHEDULER);
    let is_set = |item: &DataItem, slot| is_offer_set(&process, address(SCHEDULER), item, slot);
    assert!(is_set(&own, 255));
    for slot in [0, 1, 254, 256, 511] {
        assert!(!is_set(&own, slot), "slot {slot}");
    }
    assert!(!is_set(&item(process.id(), 2, SCHEDULER), 255));
    assert!(!is_set(&item(process.id(), 1, STRANGER), 255));
    assert!(!is_set(&item(ROOT, 1, SCHEDULER), 255));
    let soft = target();
    assert!(!is_offer_set(&soft, address(SCHEDULER), &item(soft.id(), 1, SCHEDULER), 255));
    // Each window has its own item.
    assert_ne!(own.id(), item(process.id(), 2, SCHEDULER).id());
    assert_eq!(own.id(), item(process.id(), 1, SCHEDULER).id());
}

#[test]
fn a_window_is_read_from_the_item_of_its_slot_alone() {
    let process = hard(&PUSH_TERMS);
    let set = build(entries());
    let item = draft(NETWORK, process.id(), WINDOW, &set).sign(&key(SCHEDULER)).unwrap();
    let window = |slot, message, of: Id| {
        let log = Log { slot, ..Log::new(process.clone()) };
        let draft = AssignmentDraft { process: of, ..log.draft(Some(message)) };
        let assignment = draft.draft().sign(&key(SCHEDULER)).unwrap();
        let assignment = Assignment::from_item(&assignment).unwrap();
        Window::read(&market(&process), &assignment, &item)
    };
    let read = window(255, item.id(), process.id()).unwrap();
    assert_eq!((read.number(), read.set()), (WINDOW, &set));
    assert_eq!(window(255, ROOT, process.id()), Err(SetError::NotASet(255)));
    assert_eq!(window(255, item.id(), ROOT), Err(SetError::NotASet(255)));
    for slot in [254, 256, 511] {
        assert_eq!(window(slot, item.id(), process.id()), Err(SetError::NotASet(slot)));
    }
}

/// Whoever schedules a process after the first key does: the fold, the window and the judge take its set, and none of
/// the key that was handed over.
#[test]
fn the_set_of_a_slot_is_that_of_the_slot_s_scheduler() {
    let process = hard(&PUSH_TERMS);
    let set = build(entries());
    let terms = EpochTerms::of_process(&process).unwrap();
    let handed = handed_over(&terms, 200, STRANGER);
    let (_, later) = Certificate::decode(&handed, NETWORK).unwrap().verify(&terms).unwrap();
    let taken = |by: u8| {
        let item = draft(NETWORK, process.id(), WINDOW, &set).sign(&key(by)).unwrap();
        let log = Log { slot: 255, ..Log::new(process.clone()) };
        let assignment = AssignmentDraft { epoch: 1, ..log.draft(Some(item.id())) };
        let assignment = assignment.draft().sign(&key(STRANGER)).unwrap();
        let wire = to_wire(&assignment, &item, None);
        let record = SlotRecord::from_wire(&wire).unwrap().verify(&process, &later, None).unwrap();
        let scheduler = record.assignment().scheduler;
        assert_eq!(scheduler, address(STRANGER));
        let is_read =
            matches!(Window::of_record(&process, &record), Some(Ok(window)) if *window.set() == set);
        let is_of_log = mark::is_of_log(&process, scheduler, record.item(), 255);
        assert_eq!(is_of_log, is_read);
        // What counts as an item alone has one key; another message of the scheduler has no more here.
        assert_eq!(record.seen_keys(&process), SeenKeys::of_item(item.id()));
        is_read
    };
    assert!(taken(STRANGER));
    assert!(!taken(SCHEDULER));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn sets_are_the_same_for_any_order_of_what_is_known(
        keys in proptest::collection::vec((any::<u8>(), 0..40_u64, 1..=4_u32, 0..300_u64), 0..90),
        turn in 0..90_usize,
    ) {
        let known: Vec<Entry> = keys
            .iter()
            .enumerate()
            .map(|(number, &(seed, units, quality, price))| {
                let terms = OfferTerms { sequence: number as u64, price_per_push: price, ..offer(0) };
                entry(seed, units * BOND_UNIT / 2, quality, terms)
            })
            .collect();
        let mut turned = known.clone();
        turned.rotate_left(turn % known.len().max(1));
        turned.reverse();
        let set = build(known);
        prop_assert_eq!(&set, &build(turned));
        prop_assert!(set.entries().len() <= SET_OFFERS_MAX);
        prop_assert_eq!(read(set.encode()), Ok(set));
    }

    #[test]
    fn no_changed_byte_of_a_set_reads_as_another(at in 0_usize..2_000, flip in 1_u8..) {
        let set = build(entries());
        let mut bytes = set.encode();
        let at = at % bytes.len();
        bytes[at] ^= flip;
        if let Ok(other) = read(bytes) {
            // Bond and quality are the scheduler's own word, which its item signs.
            let offers = |set: &OfferSet| set.entries().iter().map(|entry| entry.offer().clone()).collect::<Vec<_>>();
            prop_assert_eq!(offers(&other), offers(&set));
        }
    }
}
