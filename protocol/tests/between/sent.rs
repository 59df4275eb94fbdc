//! What a process sent, shown to a messenger that computed nothing: all of it, or nothing is shown.

use weft_protocol::attestation::Statement;
use weft_protocol::outcome::sent::{self, NotShown, OUTCOME_BYTES, Since, Stretch};
use weft_protocol::outcome::{Outbox, Outcome, Running};
use weft_protocol::process::RULES;
use weft_protocol::wire::WireError;
use weft_protocol::{Hash, Id, Position, wire};

use crate::fixture::*;

/// A log of slots 0 to 5 that sends at 1 and at 4.
struct Case {
    sender: Sender,
    outcomes: Vec<Outcome>,
}

const SENDS: [usize; 2] = [1, 4];

impl Case {
    fn new() -> Self {
        let outcome = |slot: usize| {
            let position = Position::slot(slot as u64);
            match SENDS.contains(&slot) {
                true => Outcome::of_result(position, result().as_bytes(), Some(ROOT)),
                false => Outcome::empty(position),
            }
        };
        Self { sender: Sender::new(true), outcomes: (0..6).map(outcome).collect() }
    }

    /// O at a position; before slot 0 for none.
    fn running(&self, slot: Option<usize>) -> Running {
        let before = Running::before(self.sender.process.id());
        let all = self.outcomes.iter().take(slot.map_or(0, |slot| slot + 1));
        all.fold(before, |running, outcome| running.then(&outcome.hash()))
    }

    fn statement(&self, slot: usize) -> Statement {
        Statement {
            network: NETWORK,
            process: self.sender.process.id(),
            position: Position::slot(slot as u64),
            assignment: Id([slot as u8; 32]),
            running: self.running(Some(slot)).0,
            state_root: Hash::ZERO,
            rules: RULES,
        }
    }

    fn signed(&self, slot: usize, seeds: &[u8]) -> Vec<wire::Attestation> {
        let statement = self.statement(slot);
        seeds.iter().map(|&seed| statement.sign(&key(seed)).unwrap().to_wire()).collect()
    }

    /// What a computer answers about the slots from one to another.
    fn answer(&self, from: usize, to: usize, attestations: Vec<wire::Attestation>) -> wire::SentResponse {
        let some = &self.outcomes[from..=to];
        let bytes = |outcome: &Outcome| {
            [outcome.core().to_bytes().as_slice(), outcome.outbox.root().as_ref()].concat()
        };
        let outboxes = (0u32..).zip(some).filter(|(_, outcome)| !outcome.outbox.is_empty());
        let outboxes = outboxes.map(|(at, outcome)| {
            let entries = outcome.outbox.entries().iter().map(|entry| entry.to_bytes().into()).collect();
            wire::SentOutbox { at, entries, excess: 0 }
        });
        wire::SentResponse {
            before: wire::bytes(self.running(from.checked_sub(1)).0),
            outcomes: some.iter().flat_map(bytes).collect::<Vec<u8>>().into(),
            outboxes: outboxes.collect(),
            attestations,
        }
    }

    fn verify(&self, since: Since, answer: wire::SentResponse) -> Result<Stretch, NotShown> {
        sent::verify(&self.sender.process, since, answer, Vec::new())
    }

    /// The verdict on all of it, of which something was changed.
    fn spoilt(&self, spoil: impl FnOnce(&mut wire::SentResponse)) -> Option<NotShown> {
        let mut answer = self.answer(0, 5, self.signed(5, &COMPUTE));
        spoil(&mut answer);
        self.verify(Since::Start, answer).err()
    }

    fn sent(&self, stretch: &Stretch) -> Vec<u64> {
        for sent in &stretch.sent {
            let slot = sent.core.position.slot as usize;
            assert_eq!(sent.outbox, self.outcomes[slot].outbox);
            assert_eq!(sent.before, self.running(Some(slot - 1)));
            assert_eq!(sent.running, self.running(Some(slot)));
        }
        stretch.sent.iter().map(|sent| sent.core.position.slot).collect()
    }
}

#[test]
fn all_that_was_sent_is_shown_from_wherever_the_asker_is() {
    let case = Case::new();
    let after = |slot: usize| Since::After(Position::slot(slot as u64), case.running(Some(slot)));
    for (since, from, wanted) in [
        (Since::Start, 0, vec![1, 4]),
        (after(0), 1, vec![1, 4]),
        (after(1), 2, vec![4]),
        (after(4), 5, vec![]),
        (Since::Newest, 5, vec![]),
        (Since::Newest, 4, vec![4]),
    ] {
        let stretch = case.verify(since, case.answer(from, 5, case.signed(5, &COMPUTE[..2]))).unwrap();
        assert_eq!(case.sent(&stretch), wanted, "{since:?}");
        assert_eq!(stretch.end, (Position::slot(5), case.running(Some(5))));
        assert_eq!((stretch.attestations.len(), stretch.is_cut), (2, false));
        assert!(!stretch.may_have_more(since));
    }
}

/// An answer ends where it has as much as it may have, and nothing in it says so.
#[test]
fn there_may_be_more_behind_many_slots_and_behind_many_bytes() {
    let case = Case::new();
    let after = Since::After(Position::slot(4), case.running(Some(4)));
    let stretch = case.verify(after, case.answer(5, 5, case.signed(5, &COMPUTE[..2]))).unwrap();
    assert!(!stretch.may_have_more(after));
    let (_, running) = stretch.end;
    let long = sent::Stretch { end: (Position::slot(4 + 256), running), ..stretch.clone() };
    let large = sent::Stretch { bytes: 64 * 1024, ..stretch };
    for more in [long, large] {
        assert!(more.may_have_more(after), "{more:?}");
        assert!(!more.may_have_more(Since::Newest), "nothing follows the newest");
    }
}

#[test]
fn what_no_quorum_signed_yet_is_left_for_later() {
    let case = Case::new();
    let (one, two) = (case.signed(4, &COMPUTE[..1]), case.signed(1, &COMPUTE[..2]));
    let stretch = case.verify(Since::Start, case.answer(0, 5, [one.clone(), two].concat())).unwrap();
    assert_eq!((case.sent(&stretch), stretch.end.0, stretch.is_cut), (vec![1], Position::slot(1), true));
    // The asker has the other signature.
    let answer = case.answer(0, 5, one.clone());
    let held = case.signed(4, &COMPUTE[1..2]);
    let stretch = sent::verify(&case.sender.process, Since::Start, answer.clone(), held).unwrap();
    assert_eq!((case.sent(&stretch), stretch.end.0), (vec![1, 4], Position::slot(4)));
    // One key twice, a stranger's, one of another hash, and none of them make a quorum.
    let mut false_one = case.signed(4, &COMPUTE[1..2]);
    false_one[0].running = wire::bytes([1; 32]);
    let mut broken = case.signed(4, &COMPUTE[1..2]);
    broken[0].signature = vec![1; 64].into();
    for more in [one, case.signed(4, &[STRANGER]), false_one, broken, Vec::new()] {
        let found = sent::verify(&case.sender.process, Since::Start, answer.clone(), more);
        assert_eq!(found.err(), Some(NotShown::Unsigned));
    }
}

#[test]
fn nothing_can_be_left_out_put_in_or_changed() {
    let case = Case::new();
    let refused = |outboxes: &[wire::SentOutbox]| {
        let outboxes = outboxes.to_vec();
        case.spoilt(|answer| answer.outboxes = outboxes).unwrap()
    };
    let all = case.answer(0, 5, Vec::new()).outboxes;
    assert_eq!(case.spoilt(|_| ()), None);
    // An outbox, an entry, the order of two, an entry more, one entry's data.
    assert_eq!(refused(&all[1..]), NotShown::Outbox(Position::slot(1)));
    assert_eq!(refused(&[]), NotShown::Outbox(Position::slot(1)));
    let changed = |change: &dyn Fn(&mut wire::SentOutbox)| {
        let mut all = all.clone();
        change(&mut all[1]);
        refused(&all)
    };
    let wrong = NotShown::Outbox(Position::slot(4));
    assert_eq!(changed(&|outbox| drop(outbox.entries.pop())), wrong);
    assert_eq!(changed(&|outbox| outbox.entries.swap(0, 1)), wrong);
    assert_eq!(changed(&|outbox| outbox.entries.push(outbox.entries[0].clone())), wrong);
    assert_eq!(changed(&|outbox| outbox.excess = 1), wrong);
    assert_eq!(changed(&|outbox| outbox.entries[0] = outbox.entries[1].clone()), wrong);
    assert_eq!(changed(&|outbox| outbox.at = 3), NotShown::Outbox(Position::slot(3)));
    assert_eq!(changed(&|outbox| outbox.entries[0] = "none".into()), WireError::Field("entries").into());
    let twice: Vec<_> = all.iter().chain(&all[1..]).cloned().collect();
    assert_eq!(refused(&twice), WireError::Field("outboxes").into());
    // A position, in the middle and in front.
    let without = |at: usize, answer: &mut wire::SentResponse| {
        let mut bytes = answer.outcomes.to_vec();
        bytes.drain(at * OUTCOME_BYTES..(at + 1) * OUTCOME_BYTES);
        answer.outcomes = bytes.into();
    };
    let found = case.spoilt(|answer| {
        without(2, answer);
        answer.outboxes[1].at = 3;
    });
    assert_eq!(found, Some(NotShown::Unsigned));
    let tail = case.answer(2, 5, case.signed(5, &COMPUTE));
    assert_eq!(case.verify(Since::Start, tail).err(), Some(NotShown::Order));
    // A position that was not asked for, and one twice.
    let all = case.answer(0, 5, case.signed(5, &COMPUTE));
    let since = Since::After(Position::slot(2), case.running(None));
    assert_eq!(case.verify(since, all.clone()).err(), Some(NotShown::Order));
    let twice = wire::SentResponse { outcomes: all.outcomes.repeat(2).into(), ..all.clone() };
    assert_eq!(case.verify(Since::Start, twice).err(), Some(NotShown::Order));
    // No whole number of positions.
    let found = case.spoilt(|answer| answer.outcomes = answer.outcomes.slice(1..));
    assert_eq!(found, Some(WireError::Field("outcomes").into()));
    let found = case.spoilt(|answer| answer.outcomes = Default::default());
    assert_eq!(found, Some(WireError::Field("outcomes").into()));
    // An outcome without its outbox, which nobody signed.
    let empty = Outbox::default().root();
    let found = case.spoilt(|answer| {
        let mut bytes = answer.outcomes.to_vec();
        bytes[2 * OUTCOME_BYTES - 32..2 * OUTCOME_BYTES].copy_from_slice(empty.as_ref());
        answer.outcomes = bytes.into();
        answer.outboxes.remove(0);
    });
    assert_eq!(found, Some(NotShown::Unsigned));
}
