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
