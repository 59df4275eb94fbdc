use weft_protocol::cron::{Schedule, parse};
use weft_protocol::mark::is_due;
use weft_protocol::time::TimePoint;
use weft_protocol::{Id, mark};

use crate::fixture::*;

const PROCESS: Id = Id([1; 32]);

#[test]
fn only_the_scheduler_makes_marks() {
    let draft = mark::draft(NETWORK, PROCESS, 0, 5);
    let scheduler = key(2).address();
    assert!(mark::is_mark(&draft.sign(&key(2)).unwrap(), PROCESS, scheduler));
    assert!(!mark::is_mark(&draft.sign(&key(3)).unwrap(), PROCESS, scheduler));
    assert!(!mark::is_mark(&draft.sign(&key(2)).unwrap(), Id([2; 32]), scheduler));
    let message = item(2, Some(PROCESS), tags(&[("Type", "Message")]), b"");
    assert!(!mark::is_mark(&message, PROCESS, scheduler));
}

#[test]
fn every_slot_has_its_own_mark() {
    let id = |epoch, slot| mark::draft(NETWORK, PROCESS, epoch, slot).sign(&key(2)).unwrap().id();
    assert_eq!(id(0, 5), id(0, 5));
    assert_ne!(id(0, 5), id(0, 6));
    assert_ne!(id(0, 5), id(1, 5));
}

/// A mark is due with the first tick, and only in a second that no slot began.
#[test]
fn marks_wait_for_a_tick_and_a_second_of_their_own() {
    let crons = parse(&tags(&[("Cron-Interval", "2-seconds"), ("Cron-Interval", "1-block")])).unwrap();
    let at = |timestamp| TimePoint { timestamp, height: timestamp / 120_000 };
    let schedule = Schedule::new(&crons, at(10_500)).unwrap();
    let due = |last, next| is_due(&schedule, at(last), at(next));
    // The ticks stand at 12 s, 14 s, ... and lie before a slot that comes after their second.
    assert!(!due(10_500, 10_501) && !due(10_500, 11_999) && !due(10_500, 12_000));
    assert!(due(10_500, 12_001));
    assert!(!due(12_001, 14_000) && due(12_001, 14_001));
    // A slot at the very second of a tick has the tick after it, but that second is taken.
    assert!(!due(12_000, 12_999) && due(12_000, 13_000));
    // The height changes at 120 s.
    assert!(!due(118_900, 119_999) && due(118_900, 120_000));
    assert_eq!(Schedule::new(&[], at(0)), None);
}
