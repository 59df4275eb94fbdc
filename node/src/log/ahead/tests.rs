//! Every slot comes once, in order and verified, whoever verified it; and looking ahead has its limits.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::panic::{AssertUnwindSafe, catch_unwind};

use super::super::read_records;
use super::super::spare::KEPT_BYTES_MAX;
use super::super::tests::Log;
use super::*;
use crate::compute::residency::Elsewhere;

/// Two pages and a part of a third.
const SLOTS: u64 = 2 * PAGE_SLOTS_MAX + 60;
const LAST: u64 = SLOTS - 1;

fn spare_of(cores: usize) -> Spare {
    Spare::of(cores, Elsewhere::default())
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

/// Takes one slot, once those who help are through with what follows.
fn take_one(way: &Way<'_>, ahead: &mut Ahead) {
    let ended: Result<_, NodeError> = walk(way, ahead, |record| {
        assert_eq!(record.assignment().slot, way.from);
        way.spare.inspect(|spare| without_help(spare));
        Ok(ControlFlow::Break(()))
    });
    assert!(ended.unwrap().is_break());
}

/// Waits until nobody helps any more.
fn without_help(spare: &Spare) {
    while spare.in_use().1 > 0 {
        std::thread::yield_now();
    }
}

/// Waits until nobody helps any more, and sees that nothing else is taken.
fn is_left(spare: &Spare) -> bool {
    without_help(spare);
    spare.in_use() == (0, 0, 0)
}

impl Page {
    fn is_verified(&self) -> bool {
        self.slots.iter().all(|slot| slot.record.get().is_some_and(Result::is_ok))
    }
}

#[test]
fn every_slot_comes_once_and_in_order_on_any_number_of_cores() {
    let log = Log::new(SLOTS, 0, None);
    for spare in [None, Some(0), Some(1), Some(2), Some(4)].map(|cores| cores.map(spare_of)) {
        let mut ahead = Ahead::default();
        let (came, ended) = slots(&log.way(spare.as_ref(), 0, LAST), &mut ahead);
        assert!(ended.unwrap().is_continue());
        assert!(came.into_iter().eq(0..SLOTS), "{spare:?}");
        assert_eq!(ahead.bytes(), 0);
        drop(ahead);
        assert!(spare.is_none_or(|spare| is_left(&spare)));
    }
}

#[test]
fn the_next_page_is_verified_while_this_one_is_taken() {
    let (log, spare, mut ahead) = (Log::new(SLOTS, 0, None), spare_of(2), Ahead::default());
    take_one(&log.way(Some(&spare), 0, PAGE_SLOTS_MAX - 1), &mut ahead);
    assert!(ahead.pages[0].has(1) && ahead.pages[1].has(PAGE_SLOTS_MAX));
    assert!(ahead.pages.iter().all(|page| page.is_verified() && page.slots.len() == 256));
    take_one(&log.way(Some(&spare), 1, PAGE_SLOTS_MAX - 1), &mut ahead);
    assert_eq!(ahead.pages.len(), PAGES_MAX, "there is a third");
    ahead.pause(Some(&spare));
    assert_eq!(spare.in_use(), (0, 0, ROOM_BYTES));
    assert!((1..=ROOM_BYTES).contains(&ahead.bytes()));
    // What is in hand is read no second time: this disk has nothing.
    let elsewhere = Log::new(1, 0, None);
    let way = Way { reader: &elsewhere.reader, ..log.way(Some(&spare), 2, 2 * PAGE_SLOTS_MAX - 1) };
    let (came, ended) = slots(&way, &mut ahead);
    assert!(ended.unwrap().is_continue());
    assert!(came.into_iter().eq(2..2 * PAGE_SLOTS_MAX));
    assert_eq!(ahead.bytes(), 0);
    ahead.pause(Some(&spare));
    assert!(is_left(&spare));
}

/// Nor does the one message that a log is behind.
#[test]
fn a_log_of_one_page_takes_no_other_thread_and_nothing_is_verified_before_its_turn() {
    let (log, spare, mut ahead) = (Log::new(PAGE_SLOTS_MAX, 0, None), spare_of(8), Ahead::default());
    let last = PAGE_SLOTS_MAX - 1;
    for from in [last, 0] {
        let way = Way { due: last, ..log.way(Some(&spare), from, last) };
        let ended: Result<_, NodeError> = walk(&way, &mut ahead, |record| {
            assert_eq!(spare.in_use(), (1, 0, 0));
            Ok(if record.assignment().slot == 3 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
        });
        assert_eq!(ended.unwrap().is_break(), from == 0);
    }
    assert_eq!(ahead.pages.len(), 1);
    let (before, after) = ahead.pages[0].slots.split_at(4);
    assert!(before.iter().all(|slot| slot.record.get().is_some()));
    assert!(after.iter().all(|slot| slot.record.get().is_none()));
}

#[test]
fn whoever_evaluates_on_all_cores_is_not_disturbed() {
    let (log, spare, mut ahead) = (Log::new(SLOTS, 0, None), spare_of(2), Ahead::default());
    let other = spare.evaluate();
    let ended: Result<_, NodeError> = walk(&log.way(Some(&spare), 0, LAST), &mut ahead, |record| {
        assert_eq!(spare.in_use(), (2, 0, 0));
        Ok(if record.assignment().slot == 9 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
    });
    assert!(ended.unwrap().is_break());
    assert_eq!(ahead.pages.len(), 1, "nothing is read ahead either");
    assert_eq!(ahead.pages[0].claimed.load(Ordering::Relaxed), 10);
    // Once a core is free it is used, though a page is at hand.
    let mut other = Some(other);
    let ended: Result<_, NodeError> = walk(&log.way(Some(&spare), 10, LAST), &mut ahead, |record| {
        drop(other.take());
        let until = 10 + TURN_SLOTS as u64;
        Ok(if record.assignment().slot == until { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
    });
    assert!(ended.unwrap().is_break());
    without_help(&spare);
    assert!(ahead.pages.len() == 2 && ahead.pages.iter().all(|page| page.is_verified()));
    ahead = Ahead::default();
    ahead.page_of(&log.way(None, 0, LAST), 0).unwrap();
    // A helper that is there already leaves after its turn.
    let crew = Arc::new(Crew::default());
    crew.hand_over(&ahead.pages);
    let helper = || Helper { crew: Arc::clone(&crew), help: spare.help(0).unwrap(), has_left: false };
    crew.work().helpers = 1;
    let (_one, mut late) = (spare.evaluate(), helper());
    let page = late.page().unwrap();
    let other = spare.evaluate();
    assert!(late.page().is_none() && !crew.has_helpers());
    drop((late, other));
    crew.work().helpers = 1;
    helper().work();
    assert!(!page.has_work() && page.is_verified());
}

#[test]
fn nobody_helps_where_nobody_goes_on() {
    let (log, spare, mut ahead) = (Log::new(SLOTS, 0, None), spare_of(1), Ahead::default());
    let (page, crew) = (ahead.page_of(&log.way(None, 0, LAST), 0).unwrap(), Arc::clone(&ahead.crew));
    crew.hand_over(&ahead.pages);
    crew.work().helpers = 1;
    let mut helper = Helper { crew: Arc::clone(&crew), help: spare.help(0).unwrap(), has_left: false };
    drop(ahead);
    helper.work();
    assert!(!crew.has_helpers() && page.claimed.load(Ordering::Relaxed) == 0);
    drop(helper);
    assert!(!crew.has_helpers() && is_left(&spare));
}

#[test]
fn a_slot_that_does_not_verify_fails_at_its_turn_and_no_slot_after_it_comes() {
    const BROKEN: u64 = PAGE_SLOTS_MAX + 100;
    let log = Log::new(SLOTS, 0, Some(BROKEN));
    let alone = read_records(&log.reader, &log.process, BROKEN, BROKEN).unwrap_err();
    for spare in [None, Some(1), Some(2), Some(4)].map(|cores| cores.map(spare_of)) {
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
            drop(ahead);
            assert!(is_left(&spare));
        }
    }
}

#[test]
fn a_slot_that_is_not_there_fails_at_its_turn() {
    let (log, spare) = (Log::new(PAGE_SLOTS_MAX + 10, 0, None), spare_of(2));
    let (came, ended) = slots(&log.way(Some(&spare), 0, LAST), &mut Ahead::default());
    assert!(came.into_iter().eq(0..PAGE_SLOTS_MAX + 10));
    assert!(matches!(ended, Err(NodeError::MissingSlot { slot, .. }) if slot == PAGE_SLOTS_MAX + 10));
}

#[test]
fn pages_of_large_slots_have_few() {
    for (bytes, pages) in [(300 * 1024, vec![4, 3]), (PAGE_BYTES_MAX + 1, vec![1])] {
        let (log, spare, mut ahead) = (Log::new(9, bytes, None), spare_of(2), Ahead::default());
        let way = |from, to| Way { due: 8, ..log.way(Some(&spare), from, to) };
        // Slot 0 is small. Where the first large one is a page of its own, slot 0 is one, too, and used up.
        take_one(&way(0, 8), &mut ahead);
        assert_eq!(ahead.pages.iter().map(|page| page.slots.len()).collect::<Vec<_>>(), pages);
        assert!(ahead.bytes() <= ROOM_BYTES, "{} bytes", ahead.bytes());
        let (came, ended) = slots(&way(1, 8), &mut ahead);
        assert!(ended.unwrap().is_continue() && came.into_iter().eq(1..9));
    }
}

/// Else it would be verified in vain in each run of a slow guest.
#[test]
fn nothing_is_done_ahead_that_finds_no_room() {
    let (log, spare, mut ahead) = (Log::new(SLOTS, 0, None), spare_of(4), Ahead::default());
    let full = spare.keep(KEPT_BYTES_MAX - ROOM_BYTES + 1);
    assert!(full.is_some());
    take_one(&log.way(Some(&spare), 0, LAST), &mut ahead);
    assert_eq!((ahead.pages.len(), ahead.pages[0].claimed.load(Ordering::Relaxed)), (1, 1));
    let more = spare.keep(ROOM_BYTES - 1);
    ahead.pause(Some(&spare));
    assert!(more.is_some() && ahead.bytes() == 0 && spare.in_use() == (0, 0, KEPT_BYTES_MAX));
    let (came, ended) = slots(&log.way(Some(&spare), 1, LAST), &mut ahead);
    assert!(ended.unwrap().is_continue() && came.into_iter().eq(1..SLOTS));
    drop((full, more));
    take_one(&log.way(Some(&spare), 0, LAST), &mut ahead);
    ahead.pause(Some(&spare));
    assert!(ahead.pages.len() == 2 && spare.in_use().2 == ROOM_BYTES);
    drop(ahead);
    assert!(is_left(&spare));
}

/// One that is damaged, or too large, is not read again and again while the page before it is at hand.
#[test]
fn a_page_that_cannot_be_had_is_tried_once() {
    let (log, spare, mut ahead) = (Log::new(PAGE_SLOTS_MAX, 0, None), spare_of(2), Ahead::default());
    let way = log.way(Some(&spare), 0, PAGE_SLOTS_MAX - 1);
    take_one(&way, &mut ahead);
    assert_eq!((ahead.pages.len(), ahead.alone), (1, Some(PAGE_SLOTS_MAX - 1)));
    // What is written now would be found.
    let longer = Log::new(SLOTS, 0, None);
    let way = Way { reader: &longer.reader, from: 1, ..way };
    take_one(&way, &mut ahead);
    assert_eq!(ahead.pages.len(), 1);
}

#[test]
fn however_it_ends_nothing_is_left_behind() {
    let (log, spare) = (Log::new(SLOTS, 0, None), spare_of(4));
    let way = log.way(Some(&spare), 0, LAST);
    let failed = walk(&way, &mut Ahead::default(), |_| {
        Err(NodeError::MissingSlot { process: log.process.id(), slot: 77 })
    });
    assert!(matches!(failed, Err(NodeError::MissingSlot { slot: 77, .. })));
    assert!(is_left(&spare));
    let panicked = catch_unwind(AssertUnwindSafe(|| {
        let ended: Result<_, NodeError> =
            walk(&way, &mut Ahead::default(), |_| panic!("a thread with a guest"));
        ended
    }));
    assert!(panicked.is_err() && is_left(&spare));
    // Another slot than the next one is asked for: what was ahead of the other is let go.
    let mut ahead = Ahead::default();
    take_one(&way, &mut ahead);
    let (came, ended) = slots(&log.way(Some(&spare), LAST, LAST), &mut ahead);
    assert!(ended.unwrap().is_continue() && came == [LAST] && ahead.bytes() == 0);
}
