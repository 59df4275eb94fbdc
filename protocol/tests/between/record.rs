//! Slot records: what is taken, what is not, and whose fault it is.

use bytes::Bytes;
use prost::Message as _;
use weft_protocol::assignment::AssignmentDraft;
use weft_protocol::epoch::EpochTerms;
use weft_protocol::head::Head;
use weft_protocol::machine::Now;
use weft_protocol::process::Process;
use weft_protocol::record::{
    Blame, Link, RecordError, SlotRecord, Submission, SubmissionError, VerifiedRecord, to_wire,
};
use weft_protocol::sender::Origin;
use weft_protocol::time::{Ahead, TimePoint};
use weft_protocol::{DataItem, Hash, Id, Unverified, Verified};

use crate::fixture::*;

type Parts = (Verified<DataItem>, Verified<DataItem>, Option<Verified<DataItem>>);

fn bytes((assignment, item, proof): &Parts) -> Bytes {
    to_wire(assignment, item, proof.as_deref()).encode_to_vec().into()
}

fn read(parts: &Parts) -> Unverified<SlotRecord> {
    SlotRecord::decode(&bytes(parts)).unwrap()
}

fn epoch(process: &Process) -> EpochTerms {
    EpochTerms::of_process(process).unwrap()
}

/// The target's log with slot 0 taken, the link of that slot, and a pushed slot 1.
fn pushed() -> (Log, Link, Parts) {
    let mut log = Log::new(target());
    let first = log.assign(None);
    let first = read(&(first, log.process.item().clone(), None));
    let link = first.verify(&log.process, &epoch(&log.process), None).unwrap().link();
    let (proof, dispatch) = Sender::new(true).prove(MESSAGE);
    let push = Push::of(&proof, &dispatch, CARRIER);
    let assignment = log.assign(Some(push.item.id()));
    (log, link, (assignment, push.item, Some(push.proof)))
}

fn verdict(log: &Log, link: Option<&Link>, parts: &Parts) -> Result<VerifiedRecord, RecordError> {
    read(parts).verify(&log.process, &epoch(&log.process), link)
}

#[test]
fn slot_0_opens_its_process() {
    let mut log = Log::new(target());
    let assignment = log.assign(None);
    let (process, record) =
        read(&(assignment.clone(), log.process.item().clone(), None)).open(&terms()).unwrap();
    assert_eq!(process, log.process);
    assert!(record.is_linked());
    assert_eq!(record.link().next(), log.link);
    assert_eq!(Verified::<Head>::of(&record).assignment().id, assignment.id());
}

#[test]
fn slot_0_of_a_spawn_knows_its_parent() {
    let sender = Sender::new(true);
    let (proof, dispatch) = sender.prove(SPAWN);
    let push = Push::of(&proof, &dispatch, CARRIER);
    let unproven = Process::accept(push.item.clone(), None, &terms()).unwrap();
    let assignment = Log::new(unproven).assign(None);
    let parts = (assignment, push.item, Some(push.proof));
    let (process, record) = read(&parts).open(&terms()).unwrap();
    assert_eq!(process.parent(), Some(sender.process.id()));
    assert!(record.proven().is_some());
    let without = (parts.0, parts.1, None);
    assert!(matches!(read(&without).open(&terms()), Err(RecordError::NoProof(_))));
}

#[test]
fn a_pushed_slot_is_taken_as_its_source_s() {
    let (log, link, parts) = pushed();
    let record = verdict(&log, Some(&link), &parts).unwrap();
    assert!(record.is_linked());
    assert!(
        matches!(record.origin(), Origin::Proven(source) if source.process == Sender::new(true).process.id())
    );
    assert_eq!(record.to_wire().encode_to_vec(), bytes(&parts));
    let unlinked = verdict(&log, None, &parts).unwrap();
    assert!(!unlinked.is_linked());
}

#[test]
fn no_changed_byte_of_a_record_is_taken() {
    let (log, link, parts) = pushed();
    let whole = bytes(&parts);
    for at in 0..whole.len() {
        let mut forged = whole.to_vec();
        forged[at] ^= 1 << (at % 8);
        let read = SlotRecord::decode(&forged.into());
        let taken = read.and_then(|record| record.verify(&log.process, &epoch(&log.process), Some(&link)));
        let error = taken.err().unwrap_or_else(|| panic!("byte {at} may change"));
        // A changed epoch or slot in the claims looks like a record we cannot place yet.
        let placed = matches!(error, RecordError::OtherEpoch(_) | RecordError::NotNext { .. });
        assert_eq!(error.blame() == Blame::Nobody, placed, "byte {at}: {error}");
    }
}

#[test]
fn a_proof_that_is_lost_or_exchanged_is_the_sender_s_fault() {
    let (log, link, (assignment, item, proof)) = pushed();
    let lost = (assignment.clone(), item.clone(), None);
    assert!(matches!(verdict(&log, Some(&link), &lost), Err(RecordError::NoProof(_))));
    let other = Sender::new(true).prove(MESSAGE).0.sign(&key(STRANGER)).unwrap();
    let exchanged = (assignment, item, Some(other));
    let error = verdict(&log, Some(&link), &exchanged).unwrap_err();
    assert!(matches!(error, RecordError::NoProof(_)));
    assert_eq!(error.blame(), Blame::Sender);
    let mut log = Log::new(target());
    log.assign(None);
    let plain = item_to(&log, &[]);
    let stray = (log.assign(Some(plain.id())), plain, proof);
    assert!(matches!(verdict(&log, None, &stray), Err(RecordError::StrayProof)));
}

fn item_to(log: &Log, extra: &[(&str, &str)]) -> Verified<DataItem> {
    let mut all = tags(&[("Data-Protocol", "ao"), ("Type", "Message")]);
    all.extend(tags(extra));
    item(STRANGER, Some(log.process.id()), all, b"x")
}

#[test]
fn a_whole_proof_that_shows_nothing_leaves_the_item_unproven_for_all() {
    let (mut log, _, (_, _, proof)) = pushed();
    let proof = proof.unwrap();
    let source = Sender::new(true).process.id().to_string();
    let liar = item_to(&log, &[("From-Process", &source), ("Origin-Proof", &proof.id().to_string())]);
    let parts = (log.assign(Some(liar.id())), liar.clone(), Some(proof.clone()));
    let record = verdict(&log, None, &parts).unwrap();
    assert_eq!(*record.origin(), Origin::Direct);
    assert!(record.proven().is_none());
    assert!(record.unproven().is_some());
    // An honest scheduler does not assign it.
    let submitted = Submission::verify(liar.raw(), proof.raw(), NETWORK);
    assert!(matches!(submitted, Err(SubmissionError::Proof(_))));
}

#[test]
fn a_proof_tag_that_is_no_id_names_nothing() {
    let mut log = Log::new(target());
    log.assign(None);
    let odd = item_to(&log, &[("Origin-Proof", "none")]);
    let parts = (log.assign(Some(odd.id())), odd, None);
    assert_eq!(*verdict(&log, None, &parts).unwrap().origin(), Origin::Direct);
}

#[test]
fn an_assignment_must_be_the_scheduler_s_and_continue_the_log() {
    let mut log = Log::new(target());
    let first = log.assign(None);
    let first = read(&(first, log.process.item().clone(), None));
    let link = first.verify(&log.process, &epoch(&log.process), None).unwrap().link();
    let item = item_to(&log, &[]);
    let draft = log.draft(Some(item.id()));
    let signed = |draft: &AssignmentDraft, by| (draft.draft().sign(&key(by)).unwrap(), item.clone(), None);
    let error = |draft: AssignmentDraft, by| verdict(&log, Some(&link), &signed(&draft, by)).unwrap_err();
    assert!(verdict(&log, Some(&link), &signed(&draft, SCHEDULER)).is_ok());

    let cases = [
        (error(draft.clone(), STRANGER), Blame::Sender),
        (error(AssignmentDraft { hash_chain: Hash([1; 32]), ..draft.clone() }, SCHEDULER), Blame::Sender),
        (error(AssignmentDraft { process: Id([1; 32]), ..draft.clone() }, SCHEDULER), Blame::Sender),
        (error(AssignmentDraft { message: Some(Id([1; 32])), ..draft.clone() }, SCHEDULER), Blame::Sender),
        (
            error(
                AssignmentDraft { time: TimePoint { timestamp: 5, height: 0 }, ..draft.clone() },
                SCHEDULER,
            ),
            Blame::Sender,
        ),
        (
            error(
                AssignmentDraft { time: TimePoint { height: 7, ..draft.time }, ..draft.clone() },
                SCHEDULER,
            ),
            Blame::Sender,
        ),
        (error(AssignmentDraft { epoch: 1, ..draft.clone() }, SCHEDULER), Blame::Nobody),
        (error(AssignmentDraft { slot: 2, ..draft.clone() }, SCHEDULER), Blame::Nobody),
    ];
    for (error, blame) in cases {
        assert_eq!(error.blame(), blame, "{error}");
    }
}

#[test]
fn a_slot_far_ahead_of_the_clock_is_valid_and_waits() {
    let (log, link, parts) = pushed();
    let record = verdict(&log, Some(&link), &parts).unwrap();
    let at = record.assignment().time.timestamp;
    assert_eq!(record.ahead(&log.process, Now(at), None), Ahead::No);
    assert_eq!(record.ahead(&log.process, Now(at - 20_000), None), Ahead::Until(Now(at - 10_000)));
}

#[test]
fn a_process_that_this_build_lacks_is_nobody_s_fault() {
    let item = process_item(&[("Extension", "Other")]);
    let link = weft_protocol::hash_chain::first(item.id());
    let draft = AssignmentDraft { process: item.id(), hash_chain: link, ..Log::new(target()).draft(None) };
    let parts = (draft.draft().sign(&key(SCHEDULER)).unwrap(), item, None);
    let error = read(&parts).open(&terms()).unwrap_err();
    assert!(matches!(error, RecordError::Refused(_)));
    assert_eq!(error.blame(), Blame::Nobody);
}

#[test]
fn submissions_are_verified_with_their_proof() {
    let (log, _, (_, item, proof)) = pushed();
    let proof = proof.unwrap();
    let taken = Submission::verify(item.raw(), proof.raw(), NETWORK).unwrap();
    assert!(matches!(taken.origin(&log.process), Origin::Proven(_)));
    assert_eq!(taken.parent(), None);
    assert!(Submission::verify(item.raw(), &Bytes::new(), NETWORK).is_err());
    let (spawn_proof, dispatch) = Sender::new(true).prove(SPAWN);
    let spawn = Push::of(&spawn_proof, &dispatch, CARRIER);
    let taken = Submission::verify(spawn.item.raw(), spawn.proof.raw(), NETWORK).unwrap();
    assert_eq!(taken.parent(), Some(Sender::new(true).process.id()));
}

#[test]
fn heads_are_the_scheduler_s_word() {
    let (log, _, parts) = pushed();
    let record = verdict(&log, None, &parts).unwrap();
    let head = Verified::<Head>::of(&record).to_wire();
    let read = Head::from_wire(&head).unwrap().verify(&epoch(&log.process)).unwrap();
    assert_eq!(read.assignment().slot, 1);
    let mut lie = head.clone();
    lie.slot = 2;
    assert!(matches!(Head::from_wire(&lie), Err(RecordError::Wire(_))));
    let stranger = log.draft(Some(Id([1; 32]))).draft().sign(&key(STRANGER)).unwrap();
    let lie = weft_protocol::wire::Head { slot: 2, assignment: stranger.raw().clone(), ..head };
    let error = Head::from_wire(&lie).unwrap().verify(&epoch(&log.process)).unwrap_err();
    assert!(matches!(error, RecordError::NotTheScheduler(_)));
}

#[test]
fn limits_of_the_parts_are_reached() {
    let (_, _, (assignment, item, _)) = pushed();
    let mut wire = to_wire(&assignment, &item, None);
    wire.proof = vec![0; 64 * 1024 + 1].into();
    assert!(matches!(SlotRecord::from_wire(&wire), Err(RecordError::TooLong("proof"))));
    wire.assignment = vec![0; 8 * 1024 + 1].into();
    assert!(matches!(SlotRecord::from_wire(&wire), Err(RecordError::TooLong("assignment"))));
}
