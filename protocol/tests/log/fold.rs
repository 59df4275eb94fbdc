//! What the fold plans and closes: an item counts once, a failure costs its slot alone, and ticks
//! run once wherever a computer goes on from.

use weft_protocol::assignment::{Assignment, AssignmentDraft};
use weft_protocol::fold::{Did, Fold, Work};
use weft_protocol::outcome::Code;
use weft_protocol::process::Process;
use weft_protocol::sender::ProvenSource;
use weft_protocol::time::TimePoint;
use weft_protocol::{DataItem, Hash, Id, Position};

use weft_protocol::market::{OfferSet, draft as set_draft};
use weft_protocol::seen::{SeenKeys, SeenList};
use weft_protocol::sender::Origin;

use crate::fixture::*;

const OK: &[u8] = br#"{"ok":true,"response":{"Output":"ran"}}"#;

/// Slot `slot` at this many milliseconds.
fn slot(process: &Process, slot: u64, item: &DataItem, timestamp: u64) -> Assignment {
    let message = (slot > 0).then(|| item.id());
    let time = TimePoint { timestamp, height: 0 };
    let draft = AssignmentDraft { time, ..draft(process.id(), slot, message) };
    Assignment::from_item(&draft.draft().sign(&key(2)).unwrap()).unwrap()
}

/// A fold after slot 0, at this many milliseconds.
fn opened(process: &Process, timestamp: u64) -> Fold {
    let mut fold = Fold::new(process);
    let first = slot(process, 0, process.item(), timestamp);
    fold.plan(process, &first, process.item(), None).unwrap();
    fold.close(Did::Returned(OK)).unwrap();
    fold
}

/// Plans a slot and closes its one step: whether the guest is called, and what it comes to.
fn run(
    fold: &mut Fold,
    process: &Process,
    item: &DataItem,
    proven: Option<ProvenSource>,
) -> (bool, weft_protocol::outcome::Outcome) {
    let at = slot(process, fold.next_slot(), item, 1_000);
    fold.plan(process, &at, item, proven).unwrap();
    let calls = matches!(fold.step().unwrap().work, Work::Call(_));
    let closed = fold.close(Did::Returned(OK)).unwrap();
    assert!(fold.step().is_none(), "one step a slot");
    (calls, closed.outcome)
}

#[test]
fn check_055_a_forwarded_message_is_evaluated_at_its_first_slot_alone() {
    let authority = key(4).address().to_string();
    let process = process(&[("Authority", &authority)]);
    let mut fold = opened(&process, 1_000);
    // Carried twice: another signer's tags may differ in Pushed-For alone.
    let carried = |root: &str| {
        let tags = tags(&[("Action", "Ping"), ("From-Process", "S"), ("Pushed-For", root)]);
        item(4, Some(process.id()), tags, b"data")
    };
    let (first, again) = (carried("one"), carried("two"));
    assert_ne!(first.id(), again.id());
    assert!(run(&mut fold, &process, &first, None).0);
    let (calls, outcome) = run(&mut fold, &process, &again, None);
    assert!(!calls);
    assert_eq!((outcome.code, outcome.duplicate_of), (Code::Duplicate, Some(1)));

    // The same with a proof, whoever signed.
    let proven = Some(ProvenSource { process: Id([9; 32]), push: Hash([7; 32]), root: None });
    let by = |seed: u8| item(seed, Some(process.id()), tags(&[("Action", "Pong")]), b"");
    assert!(run(&mut fold, &process, &by(5), proven).0);
    assert!(!run(&mut fold, &process, &by(6), proven).0);
}

#[test]
fn check_056_an_assigned_item_is_evaluated_at_its_first_slot_alone() {
    let process = process(&[]);
    let mut fold = opened(&process, 1_000);
    let foreign = item(3, Some(Id([5; 32])), tags(&[("Action", "Note")]), b"");
    assert!(run(&mut fold, &process, &foreign, None).0);
    let other = item(3, Some(process.id()), tags(&[("Action", "Note")]), b"");
    assert!(run(&mut fold, &process, &other, None).0);
    assert!(!run(&mut fold, &process, &foreign, None).0);
}

#[test]
fn check_057_a_duplicate_has_an_empty_result_of_its_own() {
    let process = process(&[]);
    let mut fold = opened(&process, 1_000);
    let message = item(3, Some(process.id()), tags(&[("Action", "Note")]), b"");
    let (_, first) = run(&mut fold, &process, &message, None);
    assert!(first.result_json(None).contains("ran"));
    let (_, again) = run(&mut fold, &process, &message, None);
    assert!(again.outbox.is_empty() && !again.result_json(None).contains("ran"), "{again:?}");
}

#[test]
fn check_047_a_failure_takes_its_slot_and_the_next_goes_on() {
    let process = process(&[]);
    let mut fold = opened(&process, 1_000);
    let message = |data: &[u8]| item(3, Some(process.id()), tags(&[("Action", "Note")]), data);
    let failing = message(b"fail");
    fold.plan(&process, &slot(&process, 1, &failing, 1_000), &failing, None).unwrap();
    let closed = fold.close(Did::Failed(Code::Trap)).unwrap();
    assert!(!closed.outcome.code.keeps_memory() && closed.outcome.outbox.is_empty());
    assert_eq!(fold.next_slot(), 2);
    assert!(run(&mut fold, &process, &message(b"next"), None).0);
    // The failed item has been seen all the same.
    assert!(!run(&mut fold, &process, &failing, None).0);
}

#[test]
fn check_065_ticks_run_once_wherever_a_computer_goes_on_from() {
    let process = process(&[("Cron-Interval", "10-seconds"), ("Cron-Tag-Action", "Tick")]);
    let message = |data: &[u8]| item(3, Some(process.id()), tags(&[("Action", "Note")]), data);
    // Positions of what runs, when the state is taken up anew before the slots of `resumed`.
    let positions = |resumed: &[u64]| {
        let mut fold = opened(&process, 1_000_000);
        let mut ran = Vec::new();
        for (number, timestamp) in [(1, 1_005_000), (2, 1_030_000), (3, 1_030_000), (4, 1_045_000)] {
            if resumed.contains(&number) {
                fold = Fold::resume(&process, fold.state().clone());
            }
            let message = message(&[number as u8]);
            fold.plan(&process, &slot(&process, number, &message, timestamp), &message, None).unwrap();
            while let Some(step) = fold.step() {
                ran.push(step.position);
                fold.close(Did::Returned(OK)).unwrap();
            }
        }
        ran
    };
    let whole = positions(&[]);
    let tick = |slot, tick| Position { epoch: 0, slot, tick };
    // A tick on the very time of slot 2 and 3 comes after both.
    let expected = [
        Position::slot(1),
        tick(1, 1),
        tick(1, 2),
        Position::slot(2),
        Position::slot(3),
        tick(3, 1),
        tick(3, 2),
        Position::slot(4),
    ];
    assert_eq!(whole, expected);
    assert_eq!(positions(&[1, 2, 3, 4]), whole);
    assert_eq!(positions(&[3]), whole);
}

/// Like a mark: it takes its slot, and the module never hears of it.
#[test]
fn an_offer_set_is_not_shown_to_the_module_and_counts_as_an_item_alone() {
    let ledger = Id([9; 32]).to_string();
    let scheduler = key(2).address().to_string();
    let hard = process(&[
        ("Push-Market", "hard"),
        ("Extension", "Push-Market"),
        ("Push-Ledger", &ledger),
        // Its scheduler's word on `From-Process` counts too, for what is no set.
        ("Authority", &scheduler),
    ]);
    let filled = |process: &Process, slots: u64| {
        let mut fold = opened(process, 1_000);
        for number in 1..slots {
            let message = item(3, Some(process.id()), tags(&[("Number", &number.to_string())]), b"");
            assert!(run(&mut fold, process, &message, None).0);
        }
        fold
    };
    let set = |process: &Process, window| {
        let mut draft = set_draft(NETWORK, process.id(), window, &OfferSet::default());
        draft.tags.push(weft_protocol::Tag::new("From-Process", "S"));
        draft.sign(&key(2)).unwrap()
    };
    let own = set(&hard, 1);
    let mut fold = filled(&hard, 255);
    let before = fold.state().running;
    let (calls, outcome) = run(&mut fold, &hard, &own, None);
    assert!(!calls && outcome.outbox.is_empty() && outcome.code == Code::Ok);
    assert_ne!(fold.state().running, before);
    let mut seen = SeenList::default();
    let keys = SeenKeys::in_log(&hard, &slot(&hard, 255, &own, 1_000), &own, &Origin::of(&hard, &own, None));
    assert_eq!(seen.admit(255, &keys), None);
    assert_eq!(seen.len(), 1);
    // The same item again is a duplicate.
    assert_eq!(run(&mut fold, &hard, &own, None).1.duplicate_of, Some(255));

    // At another slot, of another window, and in soft mode it is an ordinary message.
    assert!(run(&mut filled(&hard, 254), &hard, &own, None).0);
    assert!(run(&mut filled(&hard, 255), &hard, &set(&hard, 2), None).0);
    let soft = process(&[]);
    assert!(run(&mut filled(&soft, 255), &soft, &set(&soft, 1), None).0);
}
