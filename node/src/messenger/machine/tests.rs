#![allow(clippy::unwrap_used)]

use bytes::Bytes;
use weft_protocol::crypto::Signer;
use weft_protocol::{Draft, Tag};

use super::*;

const SOURCE: Id = Id([1; 32]);
const POSITION: Position = Position { epoch: 0, slot: 3, tick: 0 };
const SCHEDULER: To = To::Scheduler(Address([2; 32]));

fn entry(index: u32, to: To) -> Entry {
    Entry { push_id: Hash([index as u8; 32]), source: SOURCE, position: POSITION, index, to }
}

/// A messenger with these entries, their position attested; the first effects with it.
fn with(entries: &[Entry]) -> (Messenger, Vec<Effect>) {
    let mut messenger = Messenger::new(Address([9; 32]), 1_000);
    for &entry in entries {
        handle(&mut messenger, Input::Pending { entry, tries: 0 }, 0);
    }
    let effects = handle(&mut messenger, Input::Attested { source: SOURCE, position: POSITION }, 0);
    (messenger, effects)
}

fn handle(messenger: &mut Messenger, input: Input, ms: u64) -> Vec<Effect> {
    let mut effects = Effects::new();
    messenger.handle(input, Now(ms), &mut effects);
    effects.drain().collect()
}

fn born() -> Box<Born> {
    let draft =
        Draft { target: None, anchor: None, tags: vec![Tag::new("Type", "Process")], data: Bytes::new() };
    let item = draft.sign(&Signer::from_seed(&[4; 32])).unwrap();
    Box::new(Born { header: Verified::<Header>::of(&item), assignment: item })
}

#[test]
fn a_spawn_is_carried_in_two_steps() {
    let spawn = entry(0, SCHEDULER);
    let (mut messenger, effects) = with(&[spawn]);
    assert_eq!(effects, [Effect::Push(spawn)]);
    let (push_id, born) = (spawn.push_id, born());
    let outcome = PushOutcome::Born(born.clone());
    let tell = Effect::Tell { entry: spawn, born: born.clone() };
    assert_eq!(handle(&mut messenger, Input::Pushed { push_id, outcome }, 10), std::slice::from_ref(&tell));
    // The parent's scheduler is away: only the second step is tried again.
    let outcome = PushOutcome::Unreachable("away".to_owned());
    let effects = handle(&mut messenger, Input::Pushed { push_id, outcome }, 20);
    assert!(matches!(effects[..], [Effect::Retry { tries: 1, .. }]), "{effects:?}");
    assert_eq!(handle(&mut messenger, Input::Tick, 20 + RETRY_MS_MIN), [tell]);
    let assignment = Id([8; 32]);
    let outcome = PushOutcome::Assigned { assignment };
    let child = Some(born.child());
    let settle = Effect::Settle { entry: spawn, assignment, ours: true, child };
    assert_eq!(handle(&mut messenger, Input::Pushed { push_id, outcome }, 900), [settle]);
    assert_eq!(messenger.pending(), 0);
}

#[test]
fn a_receipt_of_a_spawn_names_its_child_and_that_of_a_message_none() {
    let (assignment, child) = (Id([8; 32]), Some(Id([5; 32])));
    for (to, expected) in [(SCHEDULER, child), (To::Process(Id([3; 32])), None)] {
        let entry = entry(0, to);
        let (mut messenger, _) = with(&[entry]);
        let receipt = Input::Receipt { push_id: entry.push_id, assignment, child };
        let settle = Effect::Settle { entry, assignment, ours: false, child: expected };
        assert_eq!(handle(&mut messenger, receipt, 5), [settle]);
    }
}

#[test]
fn a_scheduler_that_is_away_holds_up_its_own_lane_alone() {
    let [first, second] = [entry(0, SCHEDULER), entry(1, SCHEDULER)];
    let message = entry(2, To::Process(SOURCE));
    let (mut messenger, effects) = with(&[first, second, message]);
    assert_eq!(effects, [Effect::Push(message), Effect::Push(first)]);
    let outcome = PushOutcome::Unreachable("away".to_owned());
    let effects = handle(&mut messenger, Input::Pushed { push_id: first.push_id, outcome }, 1);
    assert!(matches!(effects[..], [Effect::Retry { .. }]), "{effects:?}");
    let outcome = PushOutcome::Refused("it has no Module".to_owned());
    let effects = handle(&mut messenger, Input::Pushed { push_id: first.push_id, outcome }, 2);
    assert!(matches!(effects[..], [Effect::GiveUp { .. }, Effect::Push(next)] if next == second));
}

#[test]
fn a_row_that_was_not_written_is_written_again() {
    let entry = entry(0, To::Process(Id([3; 32])));
    let (mut messenger, _) = with(&[entry]);
    let (assignment, push_id) = (Id([8; 32]), entry.push_id);
    let outcome = PushOutcome::Assigned { assignment };
    let settle = handle(&mut messenger, Input::Pushed { push_id, outcome }, 10);
    assert_eq!(settle.len(), 1);
    assert_eq!(handle(&mut messenger, Input::NotSaved(settle[0].clone()), 20), []);
    assert_eq!(handle(&mut messenger, Input::Tick, 19 + SAVE_MS), []);
    assert_eq!(handle(&mut messenger, Input::Tick, 20 + SAVE_MS), settle);
    assert_eq!(handle(&mut messenger, Input::Tick, 9_000), []);
}
