//! Every way to claim what is not owed, made from an honest answer, with the name of what gives
//! it away.

use bytes::Bytes;
use proptest::prelude::*;
use weft_protocol::assignment::AssignmentDraft;
use weft_protocol::header::Header;
use weft_protocol::market::{
    Answer, Claim, ClaimTree, Court, Fraud, OfferSet, Paid, Part, PushTerms, SetError, TURN_MS, Unpaid,
    draft, judge,
};
use weft_protocol::origin::ProofError;
use weft_protocol::record::RecordError;
use weft_protocol::{DataItem, Hash, Id, Network, Position, Verified};

use super::fixture::*;
use crate::fixture::*;

fn told() -> (Told, Case) {
    let told = Told::new();
    let case = told.honest(MESSAGE, 0);
    assert!(case.verdict().is_ok());
    (told, case)
}

#[test]
fn a_rank_before_its_turn_earns_nothing() {
    let told = Told::new();
    for rank in 1..=4 {
        let turn_ms = rank as u64 * TURN_MS;
        let early = told.carried(MESSAGE, told.at_rank(MESSAGE, rank), turn_ms - 1);
        let unpaid = Unpaid::Early { rank, after_ms: turn_ms - 1, turn_ms };
        assert_eq!(early.verdict(), Err(Fraud::Unpaid(unpaid)));
    }
}

#[test]
fn who_is_not_in_the_set_earns_nothing() {
    let told = Told::new();
    assert_eq!(told.carried(MESSAGE, STRANGER, 60_000).verdict(), Err(Fraud::NoOffer));
}

#[test]
fn what_another_carried_is_his() {
    let (told, case) = told();
    // The carrier's own claim is of the same push, and the thief's names himself.
    let thief = told.at_rank(MESSAGE, 1);
    let claim = Claim { messenger: address(thief), ..*case.claim() };
    let verdict = judge(&COURT, &claim, case.number, &case.answer);
    assert_eq!(verdict, Err(Fraud::OtherCarrier(case.push.item.owner())));
    // A copy of the item under the thief's own key is another item than the assigned one.
    let copy = told.push(MESSAGE, thief);
    assert_eq!(
        case.forged(|answer| answer.push.item = header_bytes(&copy.item)),
        Fraud::Origin(ProofError::NotNamed)
    );
    let own = copy.forged(|_| ());
    let copy = case.forged(|answer| {
        answer.push.item = header_bytes(&own.item);
        answer.push.proof = own.proof.raw().clone();
    });
    assert_eq!(copy, Fraud::OtherItem(Part::Accepted));
}

#[test]
fn a_push_of_another_content_is_no_push() {
    let (told, case) = told();
    let altered = case.push.forged(|draft| draft.data = Bytes::from_static(b"two"));
    let assignment = told.accept(&altered, 0);
    let fraud = case.forged(|answer| {
        answer.push.item = header_bytes(&altered.item);
        answer.push.assignment = assignment.raw().clone();
    });
    assert!(matches!(fraud, Fraud::Origin(ProofError::Signature(_))), "{fraud}");
    let altered = case.push.forged(|draft| draft.tags[0].value.push('!'));
    let fraud = case.forged(|answer| answer.push.item = header_bytes(&altered.item));
    assert_eq!(fraud, Fraud::Origin(ProofError::Differs("tags")));
}

#[test]
fn another_entry_does_not_answer_for_the_leaf() {
    let (told, case) = told();
    let carrier = told.at_rank(MESSAGE, 0);
    let other = told.carried(OTHER_MESSAGE, carrier, 10_000);
    let fraud = case.forged(|answer| answer.push = other.answer.push.clone());
    assert_eq!(fraud, Fraud::OtherEntry(SENT, OTHER_MESSAGE));
    let elsewhere = |paid: &mut weft_protocol::market::Paid| paid.position.slot += 1;
    assert_eq!(case.claiming(elsewhere), Err(Fraud::OtherEntry(SENT, MESSAGE)));
    assert_eq!(case.claiming(|paid| paid.index = 9), Err(Fraud::OtherEntry(SENT, MESSAGE)));
    // Somebody else's process, with the same entries.
    let claim = Claim { source: Id([4; 32]), ..*case.claim() };
    let verdict = judge(&COURT, &claim, case.number, &case.answer);
    assert_eq!(verdict, Err(Fraud::OtherSource(told.source.process.id())));
}

#[test]
fn a_receipt_is_of_the_target_and_its_scheduler() {
    let (told, case) = told();
    assert_eq!(case.claiming(|paid| paid.target = Id([4; 32])), Err(Fraud::OtherTarget));
    let slot = Fraud::Slot { part: Part::Accepted, slot: TARGET_SLOT };
    assert_eq!(case.claiming(|paid| paid.target_slot += 1), Err(slot));
    let receipt = Fraud::OtherReceipt(Part::Accepted);
    assert_eq!(case.claiming(|paid| paid.accepted = ROOT), Err(receipt.clone()));
    let by = |seed, edit: &dyn Fn(&mut AssignmentDraft)| {
        let mut draft = told.acceptance(&case.push, 0);
        edit(&mut draft);
        let assignment = draft.draft().sign(&key(seed)).unwrap();
        case.forged(|answer| answer.push.assignment = assignment.raw().clone())
    };
    let stranger = RecordError::NotTheScheduler(address(STRANGER));
    assert_eq!(by(STRANGER, &|_| ()), Fraud::Record(Part::Accepted, stranger));
    // In another log of the same scheduler.
    let other = RecordError::OtherProcess(Id([4; 32]));
    assert_eq!(by(SCHEDULER, &|draft| draft.process = Id([4; 32])), Fraud::Record(Part::Accepted, other));
    let epoch = Fraud::Record(Part::Accepted, RecordError::OtherEpoch(1));
    assert_eq!(by(SCHEDULER, &|draft| draft.epoch = 1), epoch);
    assert_eq!(by(SCHEDULER, &|draft| draft.message = Some(ROOT)), Fraud::OtherItem(Part::Accepted));
    // A second receipt for the same slot, which the leaf does not name.
    assert_eq!(by(SCHEDULER, &|draft| draft.time.timestamp += 1), receipt);
    // A process that the claimant made, where it is its own scheduler.
    let own = process(&[("Name", "mine")]);
    assert_eq!(case.forged(|answer| answer.push.target = header_bytes(own.item())), Fraud::OtherTarget);
    let unsigned = case.forged(|answer| {
        let mut bytes = answer.push.assignment.to_vec();
        bytes[10] ^= 1;
        answer.push.assignment = bytes.into();
    });
    assert!(matches!(unsigned, Fraud::Record(Part::Accepted, RecordError::Item { .. })), "{unsigned}");
}

#[test]
fn a_claim_holds_its_leaves_in_order_once_and_no_more() {
    let (_, case) = told();
    let other = case.tree.path(2).unwrap();
    assert_eq!(case.forged(|answer| answer.leaf = other.clone()), Fraud::Path(1));
    assert_eq!(case.forged(|answer| answer.previous = None), Fraud::Path(0));
    assert_eq!(case.forged(|answer| answer.previous = Some(other.clone())), Fraud::Path(0));
    assert_eq!(case.forged(|answer| answer.leaf.leaf.paid.amount += 1), Fraud::Path(1));
    assert_eq!(case.forged(|answer| answer.leaf.leaf.before -= 1), Fraud::Path(1));
    assert_eq!(case.forged(|answer| answer.leaf.siblings.truncate(1)), Fraud::Path(1));
    let root = Claim { root: Hash([1; 32]), ..*case.claim() };
    assert_eq!(judge(&COURT, &root, 1, &case.answer), Err(Fraud::Path(1)));
    let count = Claim { count: 5, ..*case.claim() };
    assert_eq!(judge(&COURT, &count, 1, &case.answer), Err(Fraud::Path(1)));
    assert_eq!(judge(&COURT, case.claim(), 7, &case.answer), Err(Fraud::Path(7)));
    // The sum shows at the last leaf, whose push the fixture does not have.
    let last =
        Answer { leaf: case.tree.path(2).unwrap(), previous: case.tree.path(1), ..case.answer.clone() };
    let sum = case.claim().sum;
    for claimed in [sum - 1, sum + 1, u64::MAX] {
        let claim = Claim { sum: claimed, ..*case.claim() };
        assert_eq!(judge(&COURT, &claim, 2, &last), Err(Fraud::Told(2)));
    }
    let right = judge(&COURT, case.claim(), 2, &last);
    assert_eq!(right, Err(Fraud::OtherEntry(SENT, MESSAGE)));
    let first = Answer { leaf: case.tree.path(0).unwrap(), ..case.answer.clone() };
    assert_eq!(judge(&COURT, case.claim(), 0, &first), Err(Fraud::Path(0)));
}

#[test]
fn a_push_counts_in_its_own_window() {
    let (_, case) = told();
    let claim = Claim { window: 2, ..*case.claim() };
    assert_eq!(judge(&COURT, &claim, case.number, &case.answer), Err(Fraud::OtherWindow(SENT.slot)));
    // Window 0 has no offers.
    let early = Told::at(Position { slot: 3, ..SENT });
    let push = early.push(MESSAGE, MESSENGERS[0]);
    let case = Case::among(&early, push.clone(), &early.accept(&push, 0), MESSENGERS[0], &[]);
    assert_eq!(case.verdict(), Err(Fraud::NoSet(0)));
}

#[test]
fn the_set_is_the_one_in_the_log() {
    let (told, case) = told();
    let source = &told.source.process;
    let own = |edit: &dyn Fn(&mut AssignmentDraft), set: &Verified<DataItem>, seed| {
        let mut log = Log { slot: 255, ..Log::new(source.clone()) };
        let mut draft = log.draft(Some(set.id()));
        edit(&mut draft);
        log.slot += 1;
        let assignment = draft.draft().sign(&key(seed)).unwrap();
        case.forged(|answer| {
            answer.set = set.raw().clone();
            answer.set_assignment = assignment.raw().clone();
        })
    };
    // A set with the claimant alone, by a scheduler that gives the slot a second assignment: the chain does not
    // lead from it to what the attestors signed.
    let alone = OfferSet::build(&market(source), WINDOW, set_time(), entries()[..1].to_vec());
    let alone = draft(NETWORK, source.id(), WINDOW, &alone).sign(&key(SCHEDULER)).unwrap();
    assert_eq!(own(&|_| (), &alone, SCHEDULER), Fraud::Chain);
    assert_eq!(own(&|draft| draft.time.timestamp += 1, &told.set, SCHEDULER), Fraud::Chain);
    let stranger = RecordError::NotTheScheduler(address(STRANGER));
    assert_eq!(own(&|_| (), &told.set, STRANGER), Fraud::Record(Part::SetAssignment, stranger));
    let slot = Fraud::Slot { part: Part::SetAssignment, slot: 511 };
    assert_eq!(own(&|draft| draft.slot = 511, &told.set, SCHEDULER), slot);
    let other = RecordError::OtherProcess(Id([4; 32]));
    assert_eq!(
        own(&|draft| draft.process = Id([4; 32]), &told.set, SCHEDULER),
        Fraud::Record(Part::SetAssignment, other)
    );
    assert_eq!(case.forged(|answer| answer.set = alone.raw().clone()), Fraud::OtherItem(Part::SetAssignment));
    // The set of the next window, a stranger's, one for another process, and no set at all.
    let set = OfferSet::build(&market(source), WINDOW, set_time(), entries());
    let next = draft(NETWORK, source.id(), 2, &set).sign(&key(SCHEDULER)).unwrap();
    let foreign = draft(NETWORK, source.id(), WINDOW, &set).sign(&key(STRANGER)).unwrap();
    let elsewhere = draft(NETWORK, Id([4; 32]), WINDOW, &set).sign(&key(SCHEDULER)).unwrap();
    let message = item(SCHEDULER, Some(source.id()), told.set.tags()[2..].to_vec(), &set.encode());
    for item in [next, foreign, elsewhere, message] {
        assert_eq!(own(&|_| (), &item, SCHEDULER), Fraud::Set(SetError::NotASet(255)));
    }
    assert_eq!(case.forged(|answer| answer.between.truncate(3)), Fraud::Chain);
    assert_eq!(case.forged(|answer| answer.between.push(ROOT)), Fraud::Chain);
    assert_eq!(case.forged(|answer| answer.between.swap(0, 1)), Fraud::Chain);
}

/// A log of which its scheduler and its attestors left slots out.
#[test]
fn a_log_with_a_gap_pays_nobody() {
    let mut told = Told::new();
    let old = read(&told.sent);
    let slot = SENT.slot + 2;
    let draft = AssignmentDraft {
        slot,
        hash_chain: old.hash_chain,
        time: old.time,
        ..Log::new(told.source.process.clone()).draft(old.message)
    };
    told.sent = draft.draft().sign(&key(SCHEDULER)).unwrap();
    told.source.assignment = told.sent.id();
    told.source.outcome.position.slot = slot;
    let case = told.honest(MESSAGE, 0);
    assert_eq!(case.verdict(), Err(Fraud::Chain));
}

/// An invalid set is no set, whoever made it.
#[test]
fn an_invalid_set_in_the_log_pays_nobody() {
    let process = hard(&PUSH_TERMS);
    let set = OfferSet::build(&market(&process), WINDOW, set_time(), entries());
    let mut late = draft(NETWORK, process.id(), WINDOW, &set);
    late.data = [&late.data[..], &[8, 1]].concat().into();
    let told = Told::with_set(process, late.sign(&key(SCHEDULER)).unwrap(), SENT);
    let case = told.carried(MESSAGE, MESSENGERS[4], 0);
    assert!(matches!(case.verdict(), Err(Fraud::Set(SetError::Wire(_)))));
}

#[test]
fn the_source_pays_by_its_own_tags() {
    let (told, case) = told();
    let elsewhere = Court { ledger: Id([4; 32]), ..COURT };
    let verdict = judge(&elsewhere, case.claim(), case.number, &case.answer);
    assert_eq!(verdict, Err(Fraud::OtherLedger(LEDGER)));
    let network = Court { network: Network(8), ..COURT };
    let verdict = judge(&network, case.claim(), case.number, &case.answer);
    assert!(matches!(verdict, Err(Fraud::Origin(ProofError::Signature(_)))));

    // A source in soft mode has the same log, but for the set, and owes nothing.
    let soft = Sender { assignment: told.sent.id(), ..Sender::new(true) };
    let soft = Sender { outcome: told.source.outcome.clone(), ..soft };
    let (proof, dispatch) = soft.prove(MESSAGE);
    let push = Push::of(&proof, &dispatch, told.at_rank(MESSAGE, 0));
    let assignment = told.accept(&push, 0);
    let claim = Claim { source: soft.process.id(), ..*case.claim() };
    let paid = Paid { accepted: assignment.id(), ..case.answer.leaf.leaf.paid };
    let tree = ClaimTree::new(claim.messenger, claim.source, claim.window, vec![paid]).unwrap();
    let mut answer = Answer { leaf: tree.path(0).unwrap(), previous: None, ..case.answer.clone() };
    answer.push.item = header_bytes(&push.item);
    answer.push.proof = push.proof.raw().clone();
    answer.push.assignment = assignment.raw().clone();
    assert_eq!(judge(&COURT, tree.claim(), 0, &answer), Err(Fraud::Soft));
}

#[test]
fn offers_that_ask_too_much_are_in_no_set() {
    let cheap = PushTerms { price_max: 123, ..PUSH_TERMS };
    let told = Told::of(hard(&cheap), entries(), SENT);
    assert_eq!(told.window.set().entries().len(), 3);
    assert_eq!(told.carried(MESSAGE, 24, 60_000).verdict(), Err(Fraud::NoOffer));
}

#[test]
fn the_source_s_assignment_is_the_attested_one() {
    let (told, case) = told();
    let draft = AssignmentDraft {
        slot: SENT.slot,
        hash_chain: read(&told.sent).hash_chain,
        time: weft_protocol::time::TimePoint { timestamp: 1, height: 0 },
        ..Log::new(told.source.process.clone()).draft(Some(ROOT))
    };
    // A second assignment of the slot, so early that every rank had its turn.
    let second = draft.draft().sign(&key(SCHEDULER)).unwrap();
    assert_eq!(case.forged(|answer| answer.sent = second.raw().clone()), Fraud::NotAttested);
    assert_eq!(
        case.forged(|answer| answer.sent = told.next.raw().clone()),
        Fraud::Slot { part: Part::Sent, slot: SENT.slot + 1 }
    );
    // No tick, and no other slot that lets it run.
    assert_eq!(
        case.forged(|answer| answer.revealed = told.sent.raw().clone()),
        Fraud::Slot { part: Part::Revealed, slot: SENT.slot }
    );
    let ticked = Told::at(Position { tick: 1, ..SENT });
    let tick = ticked.carried(MESSAGE, ticked.at_rank(MESSAGE, 0), 5_000);
    assert!(tick.verdict().is_ok());
    let missing = tick.forged(|answer| answer.revealed = Bytes::new());
    assert!(matches!(missing, Fraud::Item(Part::Revealed, _)), "{missing}");
    let other = AssignmentDraft { slot: SENT.slot + 1, ..draft };
    let other = other.draft().sign(&key(SCHEDULER)).unwrap();
    assert_eq!(tick.forged(|answer| answer.revealed = other.raw().clone()), Fraud::Chain);
}

#[test]
fn spawned_messages_are_not_paid_by_themselves() {
    let told = Told::new();
    let carrier = told.at_rank(SPAWN, 0);
    let (proof, dispatch) = told.source.prove(SPAWN);
    let child = Push::of(&proof, &dispatch, carrier);
    let process = weft_protocol::process::Process::accept(child.item.clone(), None, &terms()).unwrap();
    let first = Log::new(process).assign(None);
    let proof = proof.with_child(&Verified::<Header>::of(&child.item), &first).sign(&key(carrier)).unwrap();
    let item = dispatch.spawned(child.item.id(), proof.id()).unwrap().sign(&key(carrier)).unwrap();
    let case = told.honest(MESSAGE, 0);
    let fraud = case.forged(|answer| {
        answer.push.item = header_bytes(&item);
        answer.push.proof = proof.raw().clone();
    });
    assert_eq!(fraud, Fraud::Spawned);
}

#[test]
fn parts_that_are_too_long_are_not_read() {
    let (_, case) = told();
    let long = || Bytes::from(vec![0; 70_000]);
    for (edit, part) in [
        (&(|answer: &mut Answer| answer.push.proof = long()) as &dyn Fn(&mut Answer), Part::Proof),
        (&|answer| answer.push.assignment = long(), Part::Accepted),
        (&|answer| answer.sent = long(), Part::Sent),
        (&|answer| answer.set = long(), Part::Set),
        (&|answer| answer.set_assignment = long(), Part::SetAssignment),
    ] {
        assert_eq!(case.forged(edit), Fraud::TooLong(part));
    }
    let header = case.forged(|answer| answer.push.item = long());
    assert!(matches!(header, Fraud::Header(Part::Item, _)), "{header}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    /// Nobody makes a second answer out of an honest one but by leaving something out that is not looked at: there is
    /// no such thing.
    #[test]
    fn no_changed_byte_of_an_answer_is_worth_anything(at in 0_usize..20_000, flip in 1_u8..) {
        let told = Told::at(Position { tick: 1, ..SENT });
        let case = told.carried(MESSAGE, told.at_rank(MESSAGE, 0), 5_000);
        let mut bytes = case.answer.encode();
        let at = at % bytes.len();
        bytes[at] ^= flip;
        if let Ok(answer) = Answer::decode(&bytes.into()) {
            prop_assert!(judge(&COURT, case.claim(), case.number, &answer).is_err(), "byte {} may change", at);
        }
    }
}
