//! Every slot comes once, in order and verified, whoever verified it; and looking ahead has its limits.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::panic::{AssertUnwindSafe, catch_unwind};

use weft_protocol::assignment::AssignmentDraft;
use weft_protocol::crypto::Signer;
use weft_protocol::process::Terms;
use weft_protocol::time::{TimePoint, Weave};
use weft_protocol::{DataItem, Draft, Network, Tag, Verified, hash_chain};
use weft_storage::{MemoryDisk, SlotRow, Store, StoreConfig, Write};

use super::super::spare::KEPT_BYTES_MAX;
use super::super::{read_records, slot_writes};
use super::*;

/// Two pages and a part of a third.
const SLOTS: u64 = 2 * PAGE_SLOTS_MAX + 60;
const LAST: u64 = SLOTS - 1;

/// A log on a disk in memory.
struct Log {
    reader: Reader,
    process: Process,
    _store: Store,
}

/// A log of so many slots, each with an item of so many bytes; of one of them the signature is broken.
fn log(slots: u64, bytes: usize, broken: Option<u64>) -> Log {
    let signer = Signer::from_seed(&[1; 32]);
    let network = Network(7);
    let scheduler = signer.address().to_string();
    let sign = |tags: &[(&str, &str)], data: Vec<u8>| -> Verified<DataItem> {
        let tags = tags.iter().map(|(name, value)| Tag::new(*name, *value)).collect();
        Draft { tags, data: data.into(), ..Draft::default() }.sign(&signer).unwrap()
    };
    let tags =
        [("Data-Protocol", "ao"), ("Type", "Process"), ("Scheduler", &*scheduler), ("Module", &*scheduler)];
    let opening = sign(&tags, Vec::new());
    let message = sign(&[("Data-Protocol", "ao"), ("Type", "Message")], vec![b'm'; bytes]);
    let process = Process::accept(opening.clone(), None, &Terms { network, weave: Weave::Clock }).unwrap();
    let config = StoreConfig::new(network, signer.address());
    let store = Store::open_with_backend(MemoryDisk::new(), &config).unwrap();
    let items = [&opening, &message];
    let mut writes: Vec<Write> =
        items.map(|item| Write::Item { id: item.id(), raw: item.raw().clone() }).into();
    for slot in 0..slots {
        let draft = AssignmentDraft {
            network,
            process: process.id(),
            epoch: 0,
            slot,
            hash_chain: hash_chain::first(process.id()),
            time: TimePoint { timestamp: 120_000, height: 1 },
            message: (slot > 0).then_some(message.id()),
            excludes: Vec::new(),
        };
        let signed = draft.draft().sign(&signer).unwrap();
        let mut raw = signed.raw().to_vec();
        raw[10] ^= u8::from(broken == Some(slot));
        let row = SlotRow {
            epoch: 0,
            assignment_id: signed.id(),
            assignment: raw.into(),
            item: if slot > 0 { message.id() } else { opening.id() },
            proof: None,
            chain: draft.hash_chain,
            timestamp: draft.time.timestamp,
            block_height: draft.time.height,
        };
        writes.extend(slot_writes(process.id(), slot, row, &[]));
    }
    store.write_blocking(writes).unwrap();
    Log { reader: store.read().unwrap(), process, _store: store }
}

impl Log {
    /// Through slots `from..=to`, with the rest of the log due.
    fn way<'a>(&'a self, spare: Option<&'a Spare>, from: u64, to: u64) -> Way<'a> {
        Way { reader: &self.reader, process: &self.process, spare, from, to, due: LAST }
    }
}

/// The slots that come, and how it ends.
fn slots(way: &Way<'_>, ahead: &mut Ahead) -> (Vec<u64>, Result<ControlFlow<()>, NodeError>) {
    let mut slots = Vec::new();
    let ended = walk(way, ahead, |record| {
        slots.push(record.assignment().slot);
        Ok(ControlFlow::Continue(()))
    });
    (slots, ended)
}

/// Takes one slot, once whoever helps is through with what follows.
fn take_one(way: &Way<'_>, ahead: &mut Ahead) {
    let ended: Result<_, NodeError> = walk(way, ahead, |record| {
        assert_eq!(record.assignment().slot, way.from);
        while way.spare.is_some_and(|spare| spare.in_use().1 > 0) {
            std::thread::yield_now();
        }
        Ok(ControlFlow::Break(()))
    });
    assert!(ended.unwrap().is_break());
}

#[test]
fn every_slot_comes_once_and_in_order_on_any_number_of_cores() {
    let log = log(SLOTS, 0, None);
    for spare in [None, Some(0), Some(1), Some(2), Some(4)].map(|cores| cores.map(Spare::of)) {
        let mut ahead = Ahead::default();
        let (came, ended) = slots(&log.way(spare.as_ref(), 0, LAST), &mut ahead);
        assert!(ended.unwrap().is_continue());
        assert!(came.into_iter().eq(0..SLOTS), "{spare:?}");
        assert_eq!(ahead.bytes(), 0);
        assert!(spare.is_none_or(|spare| spare.in_use() == (0, 0, 0)));
    }
}

#[test]
fn the_next_page_is_verified_while_this_one_is_taken() {
    let (log, spare, mut ahead) = (log(SLOTS, 0, None), Spare::of(2), Ahead::default());
    take_one(&log.way(Some(&spare), 0, PAGE_SLOTS_MAX - 1), &mut ahead);
    let (page, coming) = (ahead.at_hand.as_ref().unwrap(), ahead.coming.as_ref().unwrap());
    assert!(page.has(1) && page.is_verified(0) && coming.has(PAGE_SLOTS_MAX) && coming.is_verified(0));
    assert_eq!((page.slots.len(), coming.slots.len()), (256, 256), "a page has a limit");
    ahead.rest(Some(&spare));
    assert_eq!(spare.in_use(), (0, 0, ahead.bytes()));
    // What is in hand is read no second time: this disk has nothing.
    let elsewhere = self::log(1, 0, None);
    let way = Way { reader: &elsewhere.reader, ..log.way(Some(&spare), 1, 2 * PAGE_SLOTS_MAX - 1) };
    let (came, ended) = slots(&way, &mut ahead);
    assert!(ended.unwrap().is_continue());
    assert!(came.into_iter().eq(1..2 * PAGE_SLOTS_MAX));
    assert_eq!(ahead.bytes(), 0);
    ahead.rest(Some(&spare));
    assert_eq!(spare.in_use(), (0, 0, 0));
}

/// Nor does the one message that a log is behind.
#[test]
fn a_log_of_one_page_takes_no_other_thread_and_nothing_is_verified_before_its_turn() {
    let (log, spare, mut ahead) = (log(PAGE_SLOTS_MAX, 0, None), Spare::of(8), Ahead::default());
    let last = PAGE_SLOTS_MAX - 1;
    for from in [last, 0] {
        let way = Way { due: last, ..log.way(Some(&spare), from, last) };
        let ended: Result<_, NodeError> = walk(&way, &mut ahead, |record| {
            assert_eq!(spare.in_use(), (1, 0, 0));
            Ok(if record.assignment().slot == 3 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
        });
        assert_eq!(ended.unwrap().is_break(), from == 0);
    }
    let page = ahead.at_hand.as_ref().unwrap();
    assert!(page.rest(0).iter().take(4).all(|slot| slot.record.get().is_some()));
    assert!(page.rest(4).iter().all(|slot| slot.record.get().is_none()) && ahead.coming.is_none());
}

#[test]
fn whoever_evaluates_on_all_cores_is_not_disturbed() {
    let (log, spare, mut ahead) = (log(SLOTS, 0, None), Spare::of(2), Ahead::default());
    let _other = spare.evaluate();
    let ended: Result<_, NodeError> = walk(&log.way(Some(&spare), 0, LAST), &mut ahead, |_| {
        assert_eq!(spare.in_use(), (2, 0, 0));
        Ok(ControlFlow::Continue(()))
    });
    assert!(ended.unwrap().is_continue());
}

#[test]
fn a_slot_that_does_not_verify_fails_at_its_turn_and_no_slot_after_it_comes() {
    const BROKEN: u64 = PAGE_SLOTS_MAX + 100;
    let log = log(SLOTS, 0, Some(BROKEN));
    let alone = read_records(&log.reader, &log.process, BROKEN, BROKEN).unwrap_err();
    for spare in [None, Some(1), Some(2), Some(4)].map(|cores| cores.map(Spare::of)) {
        let mut ahead = Ahead::default();
        let (came, ended) = slots(&log.way(spare.as_ref(), 0, LAST), &mut ahead);
        assert!(came.into_iter().eq(0..BROKEN), "{spare:?}");
        let error = ended.unwrap_err();
        assert!(matches!(error, NodeError::DamagedLog { slot: BROKEN, .. }), "{error}");
        assert_eq!(error.to_string(), alone.to_string());
        // Nor does it come to be true by being verified ahead.
        if let Some(spare) = spare {
            take_one(&log.way(Some(&spare), BROKEN - 1, LAST), &mut ahead);
            let (came, ended) = slots(&log.way(Some(&spare), BROKEN, LAST), &mut ahead);
            assert!(came.is_empty() && ended.unwrap_err().to_string() == alone.to_string());
            assert_eq!(spare.in_use(), (0, 0, 0));
        }
    }
}

#[test]
fn a_slot_that_is_not_there_fails_at_its_turn() {
    let (log, spare) = (log(PAGE_SLOTS_MAX + 10, 0, None), Spare::of(2));
    let (came, ended) = slots(&log.way(Some(&spare), 0, LAST), &mut Ahead::default());
    assert!(came.into_iter().eq(0..PAGE_SLOTS_MAX + 10));
    assert!(matches!(ended, Err(NodeError::MissingSlot { slot, .. }) if slot == PAGE_SLOTS_MAX + 10));
}

#[test]
fn pages_of_large_slots_have_few() {
    const PAGE_MAX: usize = PAGE_BYTES_MAX + PAGE_SLOTS_MAX as usize * READ_SLOT_BYTES;
    for (bytes, first, second) in [(300 * 1024, 4, 3), (PAGE_BYTES_MAX + 1, 1, 1)] {
        let (log, spare, mut ahead) = (log(9, bytes, None), Spare::of(2), Ahead::default());
        let way = |from, to| Way { due: 8, ..log.way(Some(&spare), from, to) };
        take_one(&way(0, 8), &mut ahead);
        let pages =
            [&ahead.at_hand, &ahead.coming].map(|page| page.as_ref().map_or(0, |page| page.slots.len()));
        // Slot 0 is small, and where one large slot is a page of its own the page at hand is used up.
        assert_eq!(pages, if first > 1 { [first, second] } else { [0, 1] });
        assert!(ahead.bytes() <= 2 * PAGE_MAX.max(bytes + 2 * READ_SLOT_BYTES), "{} bytes", ahead.bytes());
        let (came, ended) = slots(&way(1, 8), &mut ahead);
        assert!(ended.unwrap().is_continue() && came.into_iter().eq(1..9));
    }
}

#[test]
fn what_finds_no_room_is_let_go_and_read_again() {
    let (log, spare, mut ahead) = (log(SLOTS, 0, None), Spare::of(2), Ahead::default());
    let full = spare.keep(KEPT_BYTES_MAX - 1);
    assert!(full.is_some());
    take_one(&log.way(Some(&spare), 0, LAST), &mut ahead);
    assert!(ahead.bytes() > 0);
    ahead.rest(Some(&spare));
    assert_eq!((ahead.bytes(), spare.in_use().2), (0, KEPT_BYTES_MAX - 1));
    let (came, ended) = slots(&log.way(Some(&spare), 1, LAST), &mut ahead);
    assert!(ended.unwrap().is_continue() && came.into_iter().eq(1..SLOTS));
    drop(full);
    take_one(&log.way(Some(&spare), 0, LAST), &mut ahead);
    ahead.rest(Some(&spare));
    assert!(spare.in_use().2 > 0);
    drop(ahead);
    assert_eq!(spare.in_use(), (0, 0, 0));
}

#[test]
fn however_it_ends_nobody_goes_on() {
    let (log, spare) = (log(SLOTS, 0, None), Spare::of(4));
    let way = log.way(Some(&spare), 0, LAST);
    let failed = walk(&way, &mut Ahead::default(), |_| {
        Err(NodeError::MissingSlot { process: log.process.id(), slot: 77 })
    });
    assert!(matches!(failed, Err(NodeError::MissingSlot { slot: 77, .. })));
    assert_eq!(spare.in_use(), (0, 0, 0));
    let panicked = catch_unwind(AssertUnwindSafe(|| {
        let ended: Result<_, NodeError> = walk(&way, &mut Ahead::default(), |_| panic!("a guest's thread"));
        ended
    }));
    assert!(panicked.is_err());
    assert_eq!(spare.in_use(), (0, 0, 0));
    // Another slot than the next one is asked for: what was ahead of the other is let go.
    let mut ahead = Ahead::default();
    take_one(&way, &mut ahead);
    let (came, ended) = slots(&log.way(Some(&spare), LAST, LAST), &mut ahead);
    assert!(ended.unwrap().is_continue() && came == [LAST] && ahead.bytes() == 0);
}
