//! Who was first, where a target took one push twice: only the log that the receipt is of says it.

use weft_protocol::assignment::AssignmentDraft;
use weft_protocol::market::{Carried, Earlier, Fraud, Paid, Part, TURN_MS, refute};
use weft_protocol::record::RecordError;
use weft_protocol::wire::{EARLIER_BYTES_MAX, WireError};
use weft_protocol::{DataItem, Id, Verified};

use super::fixture::*;
use crate::fixture::*;

/// Where the first carrier's push stands, if it stands anywhere.
const FIRST_SLOT: u64 = 30;

/// A log of the target, as its scheduler signs it: these items at these slots, and others between.
fn log(told: &Told, placed: &[(u64, Id)]) -> Vec<Verified<DataItem>> {
    let mut log = Log::new(told.target.clone());
    let until = read(&told.sent).time.timestamp;
    let slot = |slot: u64| {
        let item = placed.iter().find(|(at, _)| *at == slot).map_or(Id([slot as u8; 32]), |(_, item)| *item);
        let mut draft = log.draft((slot > 0).then_some(item));
        // In time for every rank.
        draft.time.timestamp = until + 4 * TURN_MS + slot;
        let signed = draft.draft().sign(&key(SCHEDULER)).unwrap();
        log.link = weft_protocol::hash_chain::next(signed.id(), log.link);
        log.slot += 1;
        signed
    };
    (0..=TARGET_SLOT).map(slot).collect()
}

/// A push that two carried: the second's claim, and what is shown against it.
struct Story {
    told: Told,
    first: Push,
    case: Case,
    log: Vec<Verified<DataItem>>,
}

impl Story {
    /// The target's scheduler took both into one log, or the second alone.
    fn new(takes_both: bool) -> Self {
        let told = Told::new();
        let [first, second] = [0, 1].map(|rank| told.push(MESSAGE, told.at_rank(MESSAGE, rank)));
        let mut placed = vec![(TARGET_SLOT, second.item.id())];
        if takes_both {
            placed.push((FIRST_SLOT, first.item.id()));
        }
        let log = log(&told, &placed);
        let case = Case::new(&told, second, &log[TARGET_SLOT as usize], told.at_rank(MESSAGE, 1));
        assert!(case.verdict().is_ok());
        Self { told, first, case, log }
    }

    /// What a log with the first push at this slot shows.
    fn earlier(&self, log: &[Verified<DataItem>], slot: u64) -> Earlier {
        let push = Carried {
            item: header_bytes(&self.first.item),
            proof: self.first.proof.raw().clone(),
            assignment: log[slot as usize].raw().clone(),
            ..self.case.answer.push.clone()
        };
        let between = log[slot as usize + 1..TARGET_SLOT as usize].iter().map(|slot| slot.id()).collect();
        let receipt = self.case.answer.push.assignment.clone();
        Earlier { leaf: self.case.answer.leaf.clone(), push, receipt, between }
    }

    fn verdict(&self, earlier: &Earlier) -> Result<Paid, Fraud> {
        refute(&COURT, self.case.claim(), self.case.number, earlier)
    }

    fn edited(&self, edit: impl FnOnce(&mut Earlier)) -> Fraud {
        let mut earlier = self.earlier(&self.log, FIRST_SLOT);
        edit(&mut earlier);
        self.verdict(&earlier).unwrap_err()
    }
}

#[test]
fn an_earlier_slot_of_the_receipt_s_own_log_refutes_a_leaf() {
    let story = Story::new(true);
    let earlier = story.earlier(&story.log, FIRST_SLOT);
    assert_eq!(story.verdict(&earlier), Ok(story.case.answer.leaf.leaf.paid));
    assert_eq!(Earlier::decode(&earlier.encode().into()), Ok(earlier.clone()));
    let long = vec![0; EARLIER_BYTES_MAX + 1];
    assert!(matches!(Earlier::decode(&long.into()), Err(WireError::TooLong { .. })));
    // The slot right before, too.
    let told = Told::new();
    let next = [(TARGET_SLOT - 1, story.first.item.id()), (TARGET_SLOT, story.case.push.item.id())];
    let next = log(&told, &next);
    let case =
        Case::new(&told, story.case.push.clone(), &next[TARGET_SLOT as usize], told.at_rank(MESSAGE, 1));
    let story = Story { told, case, ..story };
    let earlier = story.earlier(&next, TARGET_SLOT - 1);
    assert!(earlier.between.is_empty() && story.verdict(&earlier).is_ok());
}

/// The attack: a scheduler that is against a messenger signs, whenever it likes, an earlier slot for a push that was
/// carried honestly. The receipt that it gave away was signed over a log without it.
#[test]
fn a_scheduler_that_signs_an_earlier_slot_afterwards_refutes_nothing() {
    let story = Story::new(false);
    // A slot that goes with the receipt's own chain up to it, but is not the one that stands there.
    let mut log = story.log.clone();
    let there = read(&log[FIRST_SLOT as usize]);
    let draft = AssignmentDraft {
        slot: there.slot,
        hash_chain: there.hash_chain,
        time: there.time,
        ..Log::new(story.told.target.clone()).draft(Some(story.first.item.id()))
    };
    log[FIRST_SLOT as usize] = draft.draft().sign(&key(SCHEDULER)).unwrap();
    assert_eq!(story.verdict(&story.earlier(&log, FIRST_SLOT)), Err(Fraud::NotBefore));
    // A whole other log, in which both stand: it is not the receipt's, and its receipt is not the leaf's.
    let placed = [(FIRST_SLOT, story.first.item.id()), (TARGET_SLOT, story.case.push.item.id())];
    let other = self::log(&story.told, &placed);
    let mut earlier = story.earlier(&other, FIRST_SLOT);
    assert_eq!(story.verdict(&earlier), Err(Fraud::NotBefore));
    earlier.receipt = other[TARGET_SLOT as usize].raw().clone();
    assert_eq!(story.verdict(&earlier), Err(Fraud::OtherReceipt(Part::Receipt)));
}

#[test]
fn nothing_else_refutes_a_leaf() {
    let story = Story::new(true);
    assert_eq!(story.edited(|shown| shown.between.truncate(3)), Fraud::NotBefore);
    assert_eq!(story.edited(|shown| shown.between.push(ROOT)), Fraud::NotBefore);
    assert_eq!(story.edited(|shown| shown.between.swap(0, 1)), Fraud::NotBefore);
    let earlier = story.earlier(&story.log, FIRST_SLOT);
    assert_eq!(refute(&COURT, story.case.claim(), 0, &earlier), Err(Fraud::Path(0)));
    // The claimed push itself, another one, and one that its carrier made up.
    let own = story.edited(|shown| shown.push = story.case.answer.push.clone());
    assert_eq!(own, Fraud::NotEarlier);
    let other = story.told.carried(OTHER_MESSAGE, story.told.at_rank(MESSAGE, 0), 0);
    assert_eq!(story.edited(|shown| shown.push = other.answer.push.clone()), Fraud::NotEarlier);
    let squatter = story.first.forged(|draft| draft.data = b"mine".to_vec().into());
    let squatted = log(&story.told, &[(FIRST_SLOT, squatter.item.id())]);
    let squatted = story.edited(|shown| {
        shown.push.item = header_bytes(&squatter.item);
        shown.push.proof = squatter.proof.raw().clone();
        shown.push.assignment = squatted[FIRST_SLOT as usize].raw().clone();
    });
    assert!(matches!(squatted, Fraud::Origin(_)), "{squatted}");
    // A receipt of another slot, by another key, and with a changed chain under the same signature.
    let slot = Fraud::Slot { part: Part::Receipt, slot: 39 };
    assert_eq!(story.edited(|shown| shown.receipt = story.log[39].raw().clone()), slot);
    let receipt = read(&story.log[TARGET_SLOT as usize]);
    let stranger = AssignmentDraft {
        slot: receipt.slot,
        hash_chain: receipt.hash_chain,
        time: receipt.time,
        ..Log::new(story.told.target.clone()).draft(receipt.message)
    };
    let stranger = stranger.draft().sign(&key(STRANGER)).unwrap();
    let why = RecordError::NotTheScheduler(address(STRANGER));
    assert_eq!(
        story.edited(|shown| shown.receipt = stranger.raw().clone()),
        Fraud::Record(Part::Receipt, why)
    );
    let changed = story.edited(|shown| {
        let link = receipt.hash_chain.to_string();
        let mut raw = shown.receipt.to_vec();
        let at = raw.windows(link.len()).position(|part| part == link.as_bytes()).unwrap();
        raw[at] = if raw[at] == b'A' { b'B' } else { b'A' };
        shown.receipt = raw.into();
    });
    assert!(matches!(changed, Fraud::Record(Part::Receipt, RecordError::Item { .. })), "{changed}");
}
