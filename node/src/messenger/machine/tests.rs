#![allow(clippy::unwrap_used, clippy::panic)]

use bytes::Bytes;
use weft_protocol::crypto::Signer;
use weft_protocol::header::Header;
use weft_protocol::{Draft, Hash, Tag, Verified};

use super::*;

const SOURCE: Id = Id([1; 32]);
const POSITION: Position = Position { epoch: 0, slot: 3, tick: 0 };
const SCHEDULER: To = To::Scheduler(Address([2; 32]));

fn entry(index: u32, to: To) -> Entry {
    let push_id = Hash([index as u8; 32]);
    Entry { push_id, source: SOURCE, position: POSITION, index, to, turn: Turn::Soft }
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
fn in_hard_mode_the_log_says_whose_turn_it_is_and_not_who_is_known() {
    for rank in [0, 1, 4, 5_u8] {
        let entry = Entry { turn: Turn::Hard(rank), ..entry(0, To::Process(Id([7; 32]))) };
        let (mut messenger, effects) = with(&[entry]);
        if rank == 0 {
            assert_eq!(effects, [Effect::Push(entry)]);
            continue;
        }
        assert_eq!(effects, []);
        let offers = (0..64).map(|other| (Address([other; 32]), u64::MAX)).collect();
        handle(&mut messenger, Input::Offers { source: SOURCE, offers }, 0);
        // Not the node's own setting, which is half of it.
        let turn = u64::from(rank) * TURN_MS;
        assert_eq!(handle(&mut messenger, Input::Tick, turn - 1), []);
        assert_eq!(handle(&mut messenger, Input::Tick, turn), [Effect::Push(entry)]);
    }
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
    let outcome = PushOutcome::Assigned { assignment, how: How::Carried };
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
    let outcome = PushOutcome::Assigned { assignment, how: How::Carried };
    let settle = handle(&mut messenger, Input::Pushed { push_id, outcome }, 10);
    assert_eq!(settle.len(), 1);
    assert_eq!(handle(&mut messenger, Input::NotSaved(settle[0].clone()), 20), []);
    assert_eq!(handle(&mut messenger, Input::Tick, 19 + SAVE_MS), []);
    assert_eq!(handle(&mut messenger, Input::Tick, 20 + SAVE_MS), settle);
    assert_eq!(handle(&mut messenger, Input::Tick, 9_000), []);
}

/// An entry of its own position for one of many targets.
fn numbered(number: u64, target: u64) -> Entry {
    let id = |kind: u8, number: u64| {
        let mut id = [kind; 32];
        id[..8].copy_from_slice(&number.to_be_bytes());
        id
    };
    let position = Position { epoch: 0, slot: number, tick: 0 };
    let (push_id, to) = (Hash(id(1, number)), To::Process(Id(id(2, target))));
    Entry { push_id, source: SOURCE, position, index: 0, to, turn: Turn::Soft }
}

/// A disk with these entries: answers what the machine asks for until it asks for nothing more, and
/// says what was pushed, at first, and is still on disk, in the end.
struct Disk {
    rows: BTreeMap<Place, Entry>,
    pushed: Vec<Entry>,
}

impl Disk {
    fn perform(
        &mut self,
        messenger: &mut Messenger,
        mut todo: Vec<Effect>,
        ms: u64,
        answer: impl Fn(&Entry) -> PushOutcome,
    ) {
        while let Some(effect) = todo.pop() {
            let input = match effect {
                Effect::Push(entry) => {
                    self.pushed.push(entry);
                    Input::Pushed { push_id: entry.push_id, outcome: answer(&entry) }
                }
                Effect::TakeUp { source, to, from } => {
                    let left = self.rows.range(from..).filter(|(_, row)| to.is_none_or(|to| row.to == to));
                    let mut entries: Vec<_> = left.map(|(_, row)| (*row, 0)).take(LANE_MAX + 1).collect();
                    let next = (entries.len() > LANE_MAX).then(|| entries.pop()).flatten();
                    Input::TakenUp { source, to, entries, next: next.map(|(entry, _)| entry.place()) }
                }
                Effect::AskAttestations { source, position } => Input::Attested { source, position },
                Effect::Settle { entry, .. } | Effect::GiveUp { entry, .. } => {
                    assert_eq!(self.rows.remove(&entry.place()), Some(entry));
                    continue;
                }
                Effect::Retry { .. } => continue,
                other => panic!("{other:?}"),
            };
            todo.extend(handle(messenger, input, ms));
        }
    }
}

fn assigned(_: &Entry) -> PushOutcome {
    PushOutcome::Assigned { assignment: Id([8; 32]), how: How::Carried }
}

/// With a scan of all entries for each one, this would take hours.
#[test]
fn a_hundred_thousand_entries_are_carried_in_order_though_few_fit_in_memory() {
    const ENTRIES: u64 = 100_000;
    const TARGETS: u64 = 50;
    let mut messenger = Messenger::new(Address([9; 32]), 1_000);
    let mut disk = Disk { rows: BTreeMap::new(), pushed: Vec::new() };
    let mut todo = Vec::new();
    for number in 0..ENTRIES {
        let entry = numbered(number, number % TARGETS);
        disk.rows.insert(entry.place(), entry);
        todo.extend(handle(&mut messenger, Input::Pending { entry, tries: 0 }, 0));
    }
    assert_eq!(messenger.pending(), TARGETS as usize * LANE_MAX);
    disk.perform(&mut messenger, todo, 0, assigned);
    assert_eq!((disk.rows.len(), messenger.pending()), (0, 0));
    assert_eq!(disk.pushed.len(), ENTRIES as usize);
    let mut last = BTreeMap::new();
    for entry in disk.pushed {
        assert!(last.insert(entry.to, entry.place()) < Some(entry.place()), "out of order");
    }
}

#[test]
fn targets_that_are_not_there_do_not_take_the_room_of_others() {
    const DEAD: u64 = 100;
    let mut messenger = Messenger::new(Address([9; 32]), 1_000);
    let mut disk = Disk { rows: BTreeMap::new(), pushed: Vec::new() };
    // More entries for the dead than fit, and behind them all one for somebody who is there.
    let entries = SOURCE_MAX as u64 + DEAD;
    let mut todo = Vec::new();
    for number in 0..=entries {
        let target = if number == entries { DEAD } else { number % DEAD };
        let entry = numbered(number, target);
        disk.rows.insert(entry.place(), entry);
        todo.extend(handle(&mut messenger, Input::Pending { entry, tries: 0 }, 0));
    }
    let alive = numbered(entries, DEAD).to;
    let answer = |entry: &Entry| match entry.to == alive {
        true => assigned(entry),
        false => PushOutcome::Unreachable("nobody knows it".to_owned()),
    };
    let mut ms = 0;
    while !disk.pushed.iter().any(|entry| entry.to == alive) {
        disk.perform(&mut messenger, std::mem::take(&mut todo), ms, answer);
        ms += RETRY_MS_MIN;
        assert!(ms < RETRY_MS_MAX, "the one that is there waits for those that are not");
        todo = handle(&mut messenger, Input::Tick, ms);
    }
    // Of each dead target one is remembered; when one comes to life, all of its entries follow.
    disk.perform(&mut messenger, Vec::new(), ms, answer);
    assert_eq!(messenger.failing().count() as u64, DEAD);
    let woken = numbered(0, 7).to;
    let before = disk.rows.values().filter(|row| row.to == woken).count();
    assert!(before > 600);
    let todo = handle(&mut messenger, Input::Reachable { source: SOURCE, to: woken }, ms);
    disk.perform(&mut messenger, todo, ms, |entry| match entry.to == woken {
        true => assigned(entry),
        false => answer(entry),
    });
    assert_eq!(disk.rows.values().filter(|row| row.to == woken).count(), 0);
}

#[test]
fn a_dead_lane_is_given_up_entry_by_entry_and_a_refusal_is_final() {
    let mut messenger = Messenger::new(Address([9; 32]), 1_000);
    let [first, second] = [0, 1].map(|number| numbered(number, 0));
    for entry in [first, second] {
        handle(&mut messenger, Input::Pending { entry, tries: TRIES_MAX - 1 }, 0);
    }
    let away = || PushOutcome::Unreachable("away".to_owned());
    let effects = handle(&mut messenger, Input::Attested { source: SOURCE, position: first.position }, 0);
    assert_eq!(effects, [Effect::Push(first)]);
    let given_up = Input::Pushed { push_id: first.push_id, outcome: away() };
    let effects = handle(&mut messenger, given_up, 0);
    assert!(matches!(&effects[..], [Effect::GiveUp { refused: false, .. }]), "{effects:?}");
    handle(&mut messenger, Input::Attested { source: SOURCE, position: second.position }, 0);
    assert_eq!(handle(&mut messenger, Input::Tick, RETRY_MS_MAX - 1), []);
    assert_eq!(handle(&mut messenger, Input::Tick, RETRY_MS_MAX), [Effect::Push(second)]);
    let outcome = PushOutcome::Refused("no".to_owned());
    let effects = handle(&mut messenger, Input::Pushed { push_id: second.push_id, outcome }, RETRY_MS_MAX);
    assert!(matches!(&effects[..], [Effect::GiveUp { refused: true, .. }]), "{effects:?}");
}

#[test]
fn busy_is_no_failed_try_and_its_retry_time_is_kept() {
    let entry = entry(0, To::Process(Id([3; 32])));
    let (mut messenger, _) = with(&[entry]);
    let mut ms = 0;
    for round in 0..2 * u64::from(TRIES_MAX) {
        let busy = Input::Pushed { push_id: entry.push_id, outcome: PushOutcome::Busy { retry_ms: 70 } };
        let effects = handle(&mut messenger, busy, ms);
        assert!(matches!(effects[..], [Effect::Retry { tries: 0, .. }]), "{effects:?}");
        let wait = (70 << round.min(10)).min(RETRY_MS_MAX);
        assert_eq!(handle(&mut messenger, Input::Tick, ms + wait - 1), []);
        ms += wait;
        assert_eq!(handle(&mut messenger, Input::Tick, ms), [Effect::Push(entry)]);
    }
}
