//! What is owed: every rank at its turn, every kind of entry, every kind of scheduler.

use bytes::Bytes;
use weft_protocol::assignment::AssignmentDraft;
use weft_protocol::crypto::Signer;
use weft_protocol::epoch::EpochTerms;
use weft_protocol::market::{
    Answer, Claim, ClaimError, ClaimTree, Fraud, LEAVES_MAX, Opening, Paid, Part, PushTerms, RANKS_PAID,
    TURN_MS, Unpaid, due, price,
};
use weft_protocol::process::Process;
use weft_protocol::record::RecordError;
use weft_protocol::wire::{ANSWER_BYTES_MAX, OPENING_BYTES_MAX, WireError};
use weft_protocol::{Position, Verified, hash_chain};

use super::fixture::*;
use crate::epoch::handed_over;
use crate::fixture::*;

/// What the offer of a messenger asks for an entry of a few bytes.
fn asked(seed: u8) -> u64 {
    price(&offer(seed), 3)
}

#[test]
fn every_paid_rank_earns_its_price_at_its_turn() {
    let told = Told::new();
    for rank in 0..RANKS_PAID {
        let case = told.honest(MESSAGE, rank);
        assert_eq!(case.verdict(), Ok(asked(told.at_rank(MESSAGE, rank))), "rank {rank}");
    }
    let last = told.honest(MESSAGE, RANKS_PAID);
    assert_eq!(last.verdict(), Err(Fraud::Unpaid(Unpaid::Rank(RANKS_PAID))));
}

#[test]
fn an_answer_travels_as_its_canonical_bytes() {
    let case = Told::new().honest(MESSAGE, 0);
    let bytes = case.answer.encode();
    assert!(bytes.len() < 16 * 1024, "{} bytes", bytes.len());
    assert_eq!(Answer::decode(&bytes.clone().into()), Ok(case.answer));
    let long = vec![0; ANSWER_BYTES_MAX + 1];
    assert!(matches!(Answer::decode(&long.into()), Err(WireError::TooLong { .. })));
}

#[test]
fn a_claim_opens_with_the_answer_for_its_first_leaf() {
    let told = Told::new();
    let carrier = told.at_rank(MESSAGE, 0);
    let push = told.push(MESSAGE, carrier);
    let case = Case::among(&told, push.clone(), &told.accept(&push, 0), carrier, &[511]);
    assert_eq!((case.number, case.verdict()), (0, Ok(asked(carrier))));
    let Claim { messenger, source, window, .. } = *case.claim();
    let opening = Opening { tree: case.tree.clone(), shown: case.answer.clone() };
    let bytes: Bytes = opening.encode().into();
    assert_eq!(Opening::decode(messenger, source, window, &bytes), Ok(opening.clone()));
    let elsewhere = Opening::decode(messenger, source, window + 1, &bytes);
    assert_eq!(elsewhere, Err(ClaimError::Window(SENT).into()));
    assert_eq!(
        Opening::decode(messenger, source, window, &bytes.slice(..bytes.len() - 1)),
        Err(WireError::Malformed.into())
    );
    let long = vec![0; OPENING_BYTES_MAX + 1];
    assert!(Opening::decode(messenger, source, window, &long.into()).is_err());
    // The largest there is: every leaf, and an answer at its limit.
    let paid = |at: u64| Paid {
        position: Position { slot: 256 + at / 128, ..SENT },
        index: (at % 128) as u32,
        ..case.tree.leaves()[0].paid
    };
    let pushes = (0..LEAVES_MAX as u64).map(paid).collect();
    let tree = ClaimTree::new(messenger, source, window, pushes).unwrap();
    let mut shown = case.answer;
    shown.sent = vec![0; ANSWER_BYTES_MAX - shown.encode().len()].into();
    let opening = Opening { tree, shown };
    assert_eq!(Opening::decode(messenger, source, window, &opening.encode().into()), Ok(opening));
}

#[test]
fn the_first_push_of_a_window_has_nothing_between_it_and_the_set() {
    for slot in [256, 511] {
        let told = Told::at(Position { slot, ..SENT });
        let carrier = told.at_rank(MESSAGE, 0);
        let push = told.push(MESSAGE, carrier);
        let case = Case::among(&told, push.clone(), &told.accept(&push, 0), carrier, &[]);
        assert_eq!(case.verdict(), Ok(asked(carrier)), "slot {slot}");
    }
}

#[test]
fn a_spawn_is_paid_for_the_child_s_slot_0() {
    let told = Told::new();
    for rank in 0..RANKS_PAID {
        let carrier = told.at_rank(SPAWN, rank);
        let push = told.push(SPAWN, carrier);
        let child = Process::accept(push.item.clone(), Some(told.source.process.id()), &terms()).unwrap();
        let draft = Log::new(child.clone()).draft(None);
        let time = told.acceptance(&push, rank as u64 * TURN_MS).time;
        let assignment = AssignmentDraft { time, ..draft }.draft().sign(&key(SCHEDULER)).unwrap();
        let case = Case::new(&told, push, &assignment, carrier);
        assert_eq!(case.answer.leaf.leaf.paid.target, child.id());
        assert_eq!(case.verdict(), Ok(asked(carrier)));
        let header = header_bytes(told.target.item());
        assert_eq!(case.forged(|answer| answer.push.target = header), Fraud::OtherTarget);
    }
}

/// A tick is computed when the slot after it is known: a turn counts from there, or the last rank would
/// be in time at once.
#[test]
fn turns_of_a_tick_count_from_the_slot_that_let_it_run() {
    let told = Told::at(Position { tick: 1, ..SENT });
    let waited = read(&told.next).time.timestamp - read(&told.sent).time.timestamp;
    assert_eq!(waited, 1_000);
    let carried = |rank: usize, after| told.carried(MESSAGE, told.at_rank(MESSAGE, rank), after);
    assert_eq!(carried(0, waited).verdict(), Ok(asked(told.at_rank(MESSAGE, 0))));
    assert_eq!(carried(1, waited + TURN_MS).verdict(), Ok(asked(told.at_rank(MESSAGE, 1))));
    let early = Unpaid::Early { rank: 1, after_ms: TURN_MS - 1, turn_ms: TURN_MS };
    assert_eq!(carried(1, waited + TURN_MS - 1).verdict(), Err(Fraud::Unpaid(early)));
}

/// Its scheduler's key may be an Arweave wallet, and its anchors may be anything.
#[test]
fn a_target_of_a_foreign_scheduler_gives_receipts_as_well() {
    let wallet = include_str!("../../../../tests/vectors/wallet.json");
    let wallet = Signer::from_jwk(wallet).unwrap();
    let mut all = process_item(&[("Name", "target")]).tags().to_vec();
    all[3].value = wallet.address().to_string();
    let target = Process::accept(item(OWNER, None, all, b"x"), None, &terms()).unwrap();

    // The fixture's entries name the fixture's target, so the source sends another result here.
    let mut told = Told::new();
    let result = result().replace(&told.target.id().to_string(), &target.id().to_string());
    let position = told.source.outcome.position;
    told.source.outcome = weft_protocol::outcome::Outcome::of_result(position, result.as_bytes(), Some(ROOT));
    told.target = target;
    let carrier = told.at_rank(MESSAGE, 0);
    let push = told.push(MESSAGE, carrier);
    let draft = weft_protocol::Draft { anchor: Some([9; 32]), ..told.acceptance(&push, 0).draft() };
    let case = Case::new(&told, push.clone(), &draft.sign(&wallet).unwrap(), carrier);
    assert_eq!(case.verdict(), Ok(asked(carrier)));
    let forged = draft.sign(&key(SCHEDULER)).unwrap();
    assert!(matches!(Case::new(&told, push, &forged, carrier).verdict(), Err(Fraud::Record(..))));
}

#[test]
fn processes_that_were_handed_over_are_judged_by_their_certificates() {
    let told = Told::new();
    let case = told.honest(MESSAGE, 0);
    let due = Ok(asked(told.at_rank(MESSAGE, 0)));
    let terms = EpochTerms::of_process(&told.target).unwrap();
    let by = |seed, epoch, certificates: &[Bytes]| {
        let draft = AssignmentDraft { epoch, ..told.acceptance(&case.push, 0) };
        let assignment = draft.draft().sign(&key(seed)).unwrap();
        let case = Case::new(&told, case.push.clone(), &assignment, told.at_rank(MESSAGE, 0));
        case.edited(|answer| answer.push.certificates = certificates.to_vec())
    };
    let record = |error| Err(Fraud::Record(Part::Accepted, error));
    // The slot of the push is 40.
    let (before, after) = (handed_over(&terms, 40, STRANGER), handed_over(&terms, 41, STRANGER));
    assert_eq!(by(STRANGER, 1, std::slice::from_ref(&before)), due);
    assert_eq!(by(SCHEDULER, 0, std::slice::from_ref(&after)), due);
    assert_eq!(by(SCHEDULER, 0, std::slice::from_ref(&before)), record(RecordError::OtherEpoch(0)));
    assert_eq!(by(STRANGER, 1, &[after]), record(RecordError::OtherEpoch(1)));
    assert_eq!(by(STRANGER, 1, &[]), record(RecordError::OtherEpoch(1)));
    assert!(matches!(by(STRANGER, 1, &[before.slice(1..)]), Err(Fraud::Certificate(Part::Target, _))));

    // The source, after its set: the hash chain goes on.
    let mut told = Told::at(Position { epoch: 1, ..SENT });
    let terms = EpochTerms::of_process(&told.source.process).unwrap();
    let old = read(&told.sent);
    let draft = AssignmentDraft {
        epoch: 1,
        slot: old.slot,
        hash_chain: old.hash_chain,
        time: old.time,
        ..Log::new(told.source.process.clone()).draft(old.message)
    };
    told.sent = draft.draft().sign(&key(STRANGER)).unwrap();
    told.source.assignment = told.sent.id();
    told.source.certificates = vec![handed_over(&terms, 258, STRANGER)];
    let case = told.honest(MESSAGE, 0);
    assert_eq!(case.verdict(), Ok(asked(told.at_rank(MESSAGE, 0))));
    // The set would have been another scheduler's.
    told.source.certificates = vec![handed_over(&terms, 255, STRANGER)];
    let error = RecordError::OtherEpoch(0);
    let case = told.honest(MESSAGE, 0);
    assert_eq!(case.verdict(), Err(Fraud::Record(Part::SetAssignment, error)));
}

#[test]
fn less_may_be_claimed_than_is_due() {
    let told = Told::new();
    let case = told.honest(MESSAGE, 0);
    let due = asked(told.at_rank(MESSAGE, 0));
    assert_eq!(case.claiming(|paid| paid.amount = 0), Ok(due));
    assert_eq!(case.claiming(|paid| paid.amount = due), Ok(due));
    let more = Fraud::Amount { claimed: due + 1, due };
    assert_eq!(case.claiming(|paid| paid.amount = due + 1), Err(more));
}

#[test]
fn prices_count_started_kib_and_never_overflow() {
    let terms = offer(21);
    let of = |bytes| price(&terms, bytes);
    assert_eq!([of(0), of(1), of(1_024), of(1_025)], [121, 131, 131, 141]);
    let dearest =
        weft_protocol::offer::OfferTerms { price_per_push: u64::MAX, price_per_kib: u64::MAX, ..offer(21) };
    assert_eq!(price(&dearest, u64::MAX), u64::MAX);
}

#[test]
fn turns_are_two_seconds_and_end() {
    assert_eq!(due(0, 5_000, 5_000), Ok(()));
    // A target whose clock is behind gives no time at all.
    assert_eq!(due(0, 5_000, 1), Ok(()));
    assert_eq!(due(4, 5_000, 13_000), Ok(()));
    let early = Unpaid::Early { rank: 4, after_ms: 7_999, turn_ms: 8_000 };
    assert_eq!(due(4, 5_000, 12_999), Err(early));
    assert_eq!(due(1, 5_000, 1), Err(Unpaid::Early { rank: 1, after_ms: 0, turn_ms: 2_000 }));
    assert_eq!(due(RANKS_PAID, 0, u64::MAX), Err(Unpaid::Rank(RANKS_PAID)));
}

#[test]
fn the_seed_is_the_hash_chain_at_the_first_slot_of_the_window() {
    let told = Told::new();
    let set = read(&told.set_assignment);
    assert_eq!(told.window.seed(), hash_chain::next(set.id, set.hash_chain));
    let first = Told::at(Position { slot: 256, ..SENT });
    assert_eq!(first.window.seed(), read(&first.sent).hash_chain);
}

#[test]
fn the_market_is_read_from_the_header_too() {
    let process = hard(&PUSH_TERMS);
    let header = Verified::<weft_protocol::header::Header>::of(process.item());
    let read = weft_protocol::market::Market::of_header(&header, NETWORK);
    assert_eq!(read, Ok(process.market()));
    assert_eq!(PushTerms::of_tags(&PUSH_TERMS.tags()), Ok(Some(PUSH_TERMS)));
}
