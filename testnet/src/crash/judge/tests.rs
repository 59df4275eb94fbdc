#![allow(clippy::unwrap_used)]

use weft_protocol::Position;

use super::*;
use crate::report::ComputedReport;

const NODES: usize = 3;

fn id(number: u8) -> Id {
    Id([number; 32])
}

fn slot(slot: u8, item: u8, pushed: bool) -> SlotInfo {
    SlotInfo {
        slot: slot.into(),
        epoch: 0,
        assignment: id(100 + item),
        item: id(item),
        timestamp: 1,
        hash_chain: Hash([item; 32]),
        from: None,
        action: None,
        pushed,
        trust: None,
        carrier: None,
        code: Some(0),
        running: None,
    }
}

fn computed(node: usize, head: u64) -> ComputedReport {
    ComputedReport {
        node,
        duties: Vec::new(),
        head: Some(head),
        hash_chain: Some(Hash([1; 32])),
        position: Some(Position::slot(head)),
        running: Some(Hash([2; 32])),
        state_root: Some(Hash([3; 32])),
        outbox_pending: 0,
    }
}

fn source(slot: u64) -> Source {
    Source { process: id(1), position: Position::slot(slot), index: 0 }
}

/// Two processes on three nodes; the first has sent one message to the second.
fn sound() -> Vec<Final> {
    let one = Final {
        name: "one".into(),
        process: id(1),
        scheduler: 0,
        logs: (0..NODES)
            .map(|node| (node, vec![slot(0, 1, false), slot(1, 11, false), slot(2, 12, false)]))
            .collect(),
        computed: vec![computed(0, 2), computed(2, 2)],
        sent: vec![(source(2), id(2))],
        came: Vec::new(),
    };
    let two = Final {
        name: "two".into(),
        process: id(2),
        scheduler: 1,
        logs: (0..NODES).map(|node| (node, vec![slot(0, 2, false), slot(1, 21, true)])).collect(),
        computed: vec![computed(1, 1), computed(2, 1)],
        sent: Vec::new(),
        came: vec![(source(2), 1)],
    };
    vec![one, two]
}

fn given(slot: u64, item: u8) -> Given {
    Given { node: 2, process: id(1), item: id(item), slot, assignment: id(100 + item), duplicate: false }
}

#[track_caller]
fn one(found: &[String], part: &str) {
    assert!(found.len() == 1 && found[0].contains(part), "{part}: {found:?}");
}

#[test]
fn sound_evidence_is_not_found_fault_with() {
    let finals = sound();
    let mut seen = Sightings::default();
    for (at, known) in finals.iter().enumerate() {
        known.log().iter().for_each(|slot| seen.slot(known.process, at, slot.slot, slot.assignment));
    }
    assert!(lost_replies(&[given(1, 11), given(2, 12), given(1, 11)], &finals).is_empty());
    assert!(lost_slots(&seen, &finals).is_empty());
    assert!(unsound_logs(&finals).is_empty());
    assert!(misled_pushes(&finals).is_empty());
    assert!(differences(&finals).is_empty());
}

#[test]
fn a_reply_that_no_log_bears_out_is_found() {
    let all = |reply: Given| lost_replies(&[reply], &sound()).len();
    assert_eq!(all(given(3, 13)), NODES, "a slot that is not there");
    assert_eq!(all(given(1, 12)), NODES, "the slot of another item");
    assert_eq!(all(Given { assignment: id(9), ..given(1, 11) }), NODES, "another assignment");
    assert_eq!(all(Given { process: id(9), ..given(1, 11) }), 1, "another process");
    // One follower alone lacks it.
    let mut finals = sound();
    finals[0].logs.get_mut(&1).unwrap().pop();
    one(&lost_replies(&[given(2, 12)], &finals), "node 1 has no such slot");
}

#[test]
fn a_slot_that_was_shown_and_is_gone_is_found() {
    let mut seen = Sightings::default();
    seen.slot(id(1), 2, 1, id(111));
    seen.slot(id(1), 2, 2, id(99));
    one(&lost_slots(&seen, &sound()), "slot 2 of one");
    seen.slot(id(2), 0, 2, id(98));
    assert_eq!(lost_slots(&seen, &sound()).len(), 2);
}

#[test]
fn a_hole_and_what_stands_twice_is_found() {
    let mut finals = sound();
    finals[0].logs.get_mut(&2).unwrap().remove(1);
    one(&unsound_logs(&finals), "one on node 2 has slot 2 for 1");
    let mut finals = sound();
    finals[0].logs.get_mut(&1).unwrap().push(slot(3, 11, false));
    one(&unsound_logs(&finals), "is twice in one, also in slot 3");
    let mut finals = sound();
    finals[1].came.push((source(2), 4));
    one(&unsound_logs(&finals), "is twice in two, in slots 1 and 4");
}

#[test]
fn a_push_that_is_lost_or_that_nobody_sent_is_found() {
    let mut finals = sound();
    finals[0].sent.push((source(1), id(2)));
    one(&misled_pushes(&finals), "never came to");
    let mut finals = sound();
    finals[1].came.push((source(9), 2));
    one(&misled_pushes(&finals), "nobody sent what stands in slot 2 of two");
    // It came, but to another process than it was sent to.
    let mut finals = sound();
    finals[0].sent[0].1 = id(1);
    assert_eq!(misled_pushes(&finals).len(), 2);
}

#[test]
fn another_log_or_state_is_found() {
    let mut finals = sound();
    finals[0].logs.get_mut(&2).unwrap()[1] = slot(1, 13, false);
    one(&differences(&finals), "node 2 has another log of one");
    let mut finals = sound();
    finals[0].logs.get_mut(&1).unwrap().pop();
    one(&differences(&finals), "node 1 has another log of one");
    let mut finals = sound();
    finals[1].computed[1].state_root = Some(Hash([9; 32]));
    one(&differences(&finals), "node 2 has not the state of two on node 1");
    let mut finals = sound();
    finals[1].computed[1].running = Some(Hash([9; 32]));
    one(&differences(&finals), "node 2 has not the state");
    // Equal everywhere, and not at the end of the log.
    let mut finals = sound();
    finals[0].computed.iter_mut().for_each(|report| report.position = Some(Position::slot(1)));
    assert_eq!(differences(&finals).len(), 2);
    let mut finals = sound();
    finals[0].computed.pop();
    one(&differences(&finals), "nobody has computed one a second time");
}

#[test]
fn a_slot_in_no_batch_or_in_two_is_found() {
    let batch = |from, to| BatchInfo {
        process: id(1),
        from,
        to,
        data_root: Hash([0; 32]),
        block: Some(1),
        items: 1,
        bytes: 1,
    };
    assert!(misplaced_batches("one", &[batch(2, 4), batch(0, 1)], 5).is_empty());
    one(&misplaced_batches("one", &[batch(0, 1), batch(1, 4)], 5), "begins at slot 1, and 2 was to come");
    one(&misplaced_batches("one", &[batch(0, 1), batch(3, 4)], 5), "begins at slot 3, and 2 was to come");
    one(&misplaced_batches("one", &[batch(0, 4)], 6), "its log has 6");
}
