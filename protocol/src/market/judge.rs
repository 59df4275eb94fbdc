//! What an answer is worth: one function for the ledger, and for everybody who audits it.
//!
//! It takes nothing on anybody's word but what was signed: the attestors' on what the source
//! sent, its scheduler's on its log, the target's scheduler's on the receipt. The offer set is the
//! log's own because hash links lead from it to the assignment that the attestors name; and an earlier
//! slot of the same push is the log's own because hash links lead from it to the receipt. A target's
//! scheduler signs what it likes, but not into the past of a receipt that it has given away.

use bytes::Bytes;

use super::answer::{Answer, Carried, Earlier};
use super::claim::{Claim, Leaf, Paid};
use super::pay::{self, Unpaid};
use super::set::SetError;
use super::terms::Market;
use super::window::{WINDOW_SLOTS, Window, set_slot, window_of};
use crate::assignment::{Assignment, AssignmentError};
use crate::data_item::{DataItem, ItemError};
use crate::epoch::{Certificate, CertificateError, EpochTerms, TermsError};
use crate::hash_chain;
use crate::header::{Header, HeaderError};
use crate::id::{Address, Id, Network};
use crate::origin::{Examined, ProofError, ProvenKind, examine};
use crate::position::Position;
use crate::process::Refusal;
use crate::record::{RecordError, signed_assignment};
use crate::verify::Verified;
use crate::wire::{ASSIGNMENT_BYTES_MAX, OFFER_SET_ITEM_BYTES_MAX, PROOF_BYTES_MAX, WireError};

/// Where a claim is judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Court {
    /// The network.
    pub network: Network,
    /// The ledger process that holds the claim.
    pub ledger: Id,
}

/// A part of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// The origin proof.
    Proof,
    /// The pushed item.
    Item,
    /// The target's Process item.
    Target,
    /// The target's assignment of the push.
    Accepted,
    /// The source's assignment of the position's slot.
    Sent,
    /// The source's assignment of the slot after it.
    Revealed,
    /// The offer set.
    Set,
    /// Its assignment.
    SetAssignment,
    /// The assignment that a leaf names.
    Receipt,
}

impl std::fmt::Display for Part {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Proof => "origin proof",
            Self::Item => "pushed item",
            Self::Target => "target's Process item",
            Self::Accepted => "target's assignment",
            Self::Sent => "source's assignment",
            Self::Revealed => "source's next assignment",
            Self::Set => "offer set",
            Self::SetAssignment => "assignment of the offer set",
            Self::Receipt => "receipt",
        })
    }
}

/// Why an answer is worth nothing, or why nothing is refuted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Fraud {
    /// The bytes.
    #[error("answer: {0}")]
    Wire(#[from] WireError),
    /// A leaf that is not the challenged one of the claim.
    #[error("the path does not show leaf {0} of the claim")]
    Path(u32),
    /// A leaf that does not follow from the one before it, or a last one that comes to another sum.
    #[error(
        "leaf {0} is out of order, claimed twice or of another sum than the leaf before it or the claim says"
    )]
    Told(u32),
    /// A push of another window.
    #[error("slot {0} is not of the claimed window")]
    OtherWindow(u64),
    /// A window that has no offers.
    #[error("window {0} has no offer set")]
    NoSet(u64),
    /// A part that is longer than it may be.
    #[error("the {0} is too long")]
    TooLong(Part),
    /// A part that is no data item or header, or whose signature fails.
    #[error("the {0}: {1}")]
    Item(Part, ItemError),
    /// A header that is none.
    #[error("the {0}: {1}")]
    Header(Part, HeaderError),
    /// An assignment that says too little.
    #[error("the {0}: {1}")]
    Assignment(Part, AssignmentError),
    /// An assignment of another process, epoch or key.
    #[error("the {0}: {1}")]
    Record(Part, RecordError),
    /// An assignment of another slot.
    #[error("the {part} is of slot {slot}")]
    Slot {
        /// Which.
        part: Part,
        /// Its slot.
        slot: u64,
    },
    /// A slot that holds another item.
    #[error("the {0} names another item")]
    OtherItem(Part),
    /// The source did not send the item.
    #[error("origin: {0}")]
    Origin(#[from] ProofError),
    /// The proof is of another process than the claim.
    #[error("the push is of process {0}, not of the claimed source")]
    OtherSource(Id),
    /// The proof is of another entry than the leaf.
    #[error("the push is entry {1} of {0}, not that of the leaf")]
    OtherEntry(Position, u32),
    /// The second step of a spawn, which the first pays for.
    #[error("a `Spawned` message is not paid")]
    Spawned,
    /// The pushed item is for another process than the leaf says.
    #[error("the push is not for the target of the leaf")]
    OtherTarget,
    /// The leaf names another assignment.
    #[error("the {0} is not the receipt of the leaf")]
    OtherReceipt(Part),
    /// Somebody else carried it.
    #[error("the push was carried by {0}, not by the claimant")]
    OtherCarrier(Address),
    /// A process that names no terms.
    #[error("the {0}: {1}")]
    Terms(Part, TermsError),
    /// Certificates that do not lead to the epoch.
    #[error("the {0}: {1}")]
    Certificate(Part, CertificateError),
    /// The source's market tags.
    #[error("source: {0}")]
    Market(#[from] Refusal),
    /// The source pays nobody.
    #[error("the source is not in hard mode")]
    Soft,
    /// The source pays at another ledger.
    #[error("the source pays at ledger {0}")]
    OtherLedger(Id),
    /// The slot before the window holds no valid offer set.
    #[error(transparent)]
    Set(#[from] SetError),
    /// The hash links do not lead from the set to the position.
    #[error("the offer set does not stand in the log of the push")]
    Chain,
    /// The assignment that the attestors named is another.
    #[error("the source's assignment is not the attested one")]
    NotAttested,
    /// The claimant has no offer in the set that takes such a push.
    #[error("the claimant has no offer for this push in the set")]
    NoOffer,
    /// Its turn had not come, or its rank is not paid.
    #[error(transparent)]
    Unpaid(#[from] Unpaid),
    /// More than the offer asks.
    #[error("{claimed} are claimed for a push that pays {due}")]
    Amount {
        /// What the leaf says.
        claimed: u64,
        /// What is due.
        due: u64,
    },
    /// The other push is not the leaf's, or does not come before it.
    #[error("the push is not the leaf's at an earlier slot")]
    NotEarlier,
    /// The hash links do not lead from the earlier slot to the receipt: it may be of another log, which the target's
    /// scheduler could write at any time.
    #[error("the earlier slot does not stand in the log of the receipt")]
    NotBefore,
}

/// What a judged leaf is worth.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Judged {
    /// What the push pays, in the ledger's smallest unit.
    pub due: u64,
    /// When the window's offer set was assigned, in the source's timestamps.
    pub opened: u64,
}

/// Decides what the answer to a challenge of leaf `number` is worth: a push that pays at least what the
/// leaf claims. The cost is bounded by [`ANSWER_BYTES_MAX`](crate::wire::ANSWER_BYTES_MAX),
/// 64 offers and at most 16 attestors.
///
/// # Errors
/// The first thing that does not hold: the same for everybody.
pub fn judge(court: &Court, claim: &Claim, number: u32, answer: &Answer) -> Result<Judged, Fraud> {
    let leaf = shown(claim, number, answer)?;
    let accepted = accepted(court, claim, &answer.push)?;
    let Examined { origin, header, terms, certificates, assignment } = &accepted.examined;
    let source = origin.source;
    if (source.position, source.index) != (leaf.paid.position, leaf.paid.index) {
        return Err(Fraud::OtherEntry(source.position, source.index));
    }
    if accepted.target().id() != leaf.paid.target {
        return Err(Fraud::OtherTarget);
    }
    if accepted.assignment.slot != leaf.paid.target_slot {
        return Err(Fraud::Slot { part: Part::Accepted, slot: accepted.assignment.slot });
    }
    if accepted.assignment.id != leaf.paid.accepted {
        return Err(Fraud::OtherReceipt(Part::Accepted));
    }
    if accepted.item.owner() != claim.messenger {
        return Err(Fraud::OtherCarrier(accepted.item.owner()));
    }

    let market = Market::of_header(header, court.network)?.ok_or(Fraud::Soft)?;
    if market.terms.ledger != court.ledger {
        return Err(Fraud::OtherLedger(market.terms.ledger));
    }
    let sent = assigned(Part::Sent, &answer.sent, terms, source.position.slot)?;
    if sent.id != *assignment {
        return Err(Fraud::NotAttested);
    }
    let log = Terms { header, certificates, part: Part::SetAssignment };
    let (window, opened) = window(&market, &log, claim.window, answer, court.network)?;
    // As many as there are slots, or attestors who left slots out would be believed.
    let between = sent.slot % WINDOW_SLOTS;
    let link = answer.between.iter().fold(window.seed(), |link, id| hash_chain::next(*id, link));
    if answer.between.len() as u64 != between || link != sent.hash_chain {
        return Err(Fraud::Chain);
    }
    let sent_at = revealed(&sent, source.position, terms, &answer.revealed)?;

    let bytes = accepted.item.data().length;
    let ranked = window.rank(&origin.sender.push, bytes, &claim.messenger);
    let (rank, entry) = ranked.ok_or(Fraud::NoOffer)?;
    pay::due(rank, sent_at, accepted.assignment.time.timestamp)?;
    let due = pay::price(entry.offer().terms(), bytes);
    let claimed = leaf.paid.amount;
    if claimed > due { Err(Fraud::Amount { claimed, due }) } else { Ok(Judged { due, opened }) }
}

/// Decides whether these bytes show that the push of leaf `number`, which is returned, stands at an
/// earlier slot of the log that its receipt is of, so that whoever carried it again is owed nothing.
///
/// The target's scheduler is whom this has to withstand. It can sign an earlier slot of another log at any
/// time, which shows nothing here. It can also have taken the push twice in one log: then the second
/// carrier, who may not have known the first slot, is not paid for it, as if it had been refused. So
/// nobody should lose more by this than the one push.
///
/// # Errors
/// Why they do not.
pub fn refute(court: &Court, claim: &Claim, number: u32, earlier: &Earlier) -> Result<Paid, Fraud> {
    if !claim.holds(number, &earlier.leaf) {
        return Err(Fraud::Path(number));
    }
    let paid = earlier.leaf.leaf.paid;
    let accepted = accepted(court, claim, &earlier.push)?;
    let (source, first) = (accepted.examined.origin.source, &accepted.assignment);
    let is_same =
        (source.position, source.index, accepted.target().id()) == (paid.position, paid.index, paid.target);
    if !is_same || first.slot >= paid.target_slot {
        return Err(Fraud::NotEarlier);
    }
    let certificates = &earlier.push.certificates;
    let log = Terms { header: accepted.target(), certificates, part: Part::Target };
    let terms = log.at(paid.target_slot, court.network)?;
    let receipt = assigned(Part::Receipt, &earlier.receipt, &terms, paid.target_slot)?;
    if receipt.id != paid.accepted {
        return Err(Fraud::OtherReceipt(Part::Receipt));
    }
    let after = hash_chain::next(first.id, first.hash_chain);
    let link = earlier.between.iter().fold(after, |link, id| hash_chain::next(*id, link));
    let between = receipt.slot - first.slot - 1;
    if earlier.between.len() as u64 != between || link != receipt.hash_chain {
        return Err(Fraud::NotBefore);
    }
    Ok(paid)
}

/// The challenged leaf, at its place in the claim.
fn shown(claim: &Claim, number: u32, answer: &Answer) -> Result<Leaf, Fraud> {
    if !claim.holds(number, &answer.leaf) {
        return Err(Fraud::Path(number));
    }
    let previous = match (number.checked_sub(1), &answer.previous) {
        (None, None) => None,
        (Some(before), Some(path)) if claim.holds(before, path) => Some(&path.leaf),
        (Some(before), _) => return Err(Fraud::Path(before)),
        (None, Some(_)) => return Err(Fraud::Path(number)),
    };
    let leaf = answer.leaf.leaf;
    if !claim.is_told(number, &leaf, previous) {
        return Err(Fraud::Told(number));
    }
    if window_of(leaf.paid.position.slot) != claim.window {
        return Err(Fraud::OtherWindow(leaf.paid.position.slot));
    }
    Ok(leaf)
}

/// A push that its target accepted.
struct Accepted {
    examined: Examined,
    item: Verified<Header>,
    /// None of a spawn, where it is the pushed item.
    of_target: Option<Verified<Header>>,
    assignment: Assignment,
}

impl Accepted {
    /// The header of the target.
    fn target(&self) -> &Verified<Header> {
        self.of_target.as_ref().unwrap_or(&self.item)
    }
}

/// Checks that a push of the claim's source stands in the log of its target.
fn accepted(court: &Court, claim: &Claim, push: &Carried) -> Result<Accepted, Fraud> {
    let item = header(Part::Item, &push.item)?;
    let proof = verified(Part::Proof, &push.proof, PROOF_BYTES_MAX)?;
    let examined = examine(&*item, &proof, court.network)?;
    let origin = &examined.origin;
    if origin.source.process != claim.source {
        return Err(Fraud::OtherSource(origin.source.process));
    }
    let of_target = match origin.kind {
        ProvenKind::Message => {
            let target = header(Part::Target, &push.target)?;
            if item.target() != Some(target.id()) {
                return Err(Fraud::OtherTarget);
            }
            Some(target)
        }
        // A spawn's target is the child, whose Process item is what was pushed.
        ProvenKind::Spawn if push.target.is_empty() => None,
        ProvenKind::Spawn => return Err(Fraud::OtherTarget),
        ProvenKind::Spawned { .. } => return Err(Fraud::Spawned),
    };
    let claims = parsed(Part::Accepted, &push.assignment)?;
    let target = of_target.as_ref().unwrap_or(&item);
    let log = Terms { header: target, certificates: &push.certificates, part: Part::Target };
    let terms = log.at(claims.1.slot, court.network)?;
    let (_, assignment) = signed_assignment(claims.0, claims.1, &terms)
        .map_err(|error| Fraud::Record(Part::Accepted, error))?;
    if assignment.item() != item.id() {
        return Err(Fraud::OtherItem(Part::Accepted));
    }
    Ok(Accepted { examined, item, of_target, assignment })
}

/// The window of the claim, by the set that stands before it, and the timestamp of that.
fn window(
    market: &Market,
    log: &Terms<'_>,
    window: u64,
    answer: &Answer,
    network: Network,
) -> Result<(Window, u64), Fraud> {
    let slot = set_slot(window).ok_or(Fraud::NoSet(window))?;
    let terms = log.at(slot, network)?;
    let assignment = assigned(Part::SetAssignment, &answer.set_assignment, &terms, slot)?;
    let item = verified(Part::Set, &answer.set, OFFER_SET_ITEM_BYTES_MAX)?;
    if assignment.item() != item.id() {
        return Err(Fraud::OtherItem(Part::SetAssignment));
    }
    Ok((Window::read(market, &assignment, &item)?, assignment.time.timestamp))
}

/// The timestamp from which turns count. A tick is computed when the slot after it is known, which
/// may be long after the tick's own slot.
fn revealed(sent: &Assignment, position: Position, terms: &EpochTerms, raw: &Bytes) -> Result<u64, Fraud> {
    if position.tick == 0 {
        return match raw.is_empty() {
            true => Ok(sent.time.timestamp),
            false => Err(Fraud::Slot { part: Part::Revealed, slot: sent.slot }),
        };
    }
    let next = assigned(Part::Revealed, raw, terms, sent.slot + 1)?;
    if next.hash_chain != hash_chain::next(sent.id, sent.hash_chain) {
        return Err(Fraud::Chain);
    }
    Ok(next.time.timestamp)
}

/// A process's header with its certificates.
struct Terms<'a> {
    header: &'a Verified<Header>,
    certificates: &'a [Bytes],
    part: Part,
}

impl Terms<'_> {
    /// The terms of the epoch that a slot is of, by these certificates.
    fn at(&self, slot: u64, network: Network) -> Result<EpochTerms, Fraud> {
        let mut terms = EpochTerms::of_header(self.header).map_err(|error| Fraud::Terms(self.part, error))?;
        for bytes in self.certificates {
            let next = Certificate::decode(bytes, network).and_then(|next| next.verify(&terms));
            let (_, next) = next.map_err(|error| Fraud::Certificate(self.part, error))?;
            if slot < next.first_slot() {
                break;
            }
            terms = next;
        }
        Ok(terms)
    }
}

/// The assignment of a slot, by the scheduler of these terms.
fn assigned(part: Part, raw: &Bytes, terms: &EpochTerms, slot: u64) -> Result<Assignment, Fraud> {
    let (item, claims) = parsed(part, raw)?;
    if claims.slot != slot {
        return Err(Fraud::Slot { part, slot: claims.slot });
    }
    let signed = signed_assignment(item, claims, terms);
    signed.map(|(_, claims)| claims).map_err(|error| Fraud::Record(part, error))
}

fn parsed(part: Part, raw: &Bytes) -> Result<(DataItem, Assignment), Fraud> {
    if raw.len() > ASSIGNMENT_BYTES_MAX {
        return Err(Fraud::TooLong(part));
    }
    let item = DataItem::parse(raw.clone()).map_err(|error| Fraud::Item(part, error))?.0;
    let claims = Assignment::from_item(&item).map_err(|error| Fraud::Assignment(part, error))?;
    Ok((item, claims))
}

fn verified(part: Part, raw: &Bytes, max: usize) -> Result<Verified<DataItem>, Fraud> {
    if raw.len() > max {
        return Err(Fraud::TooLong(part));
    }
    DataItem::verify_bytes(raw.clone()).map_err(|error| Fraud::Item(part, error))
}

fn header(part: Part, raw: &Bytes) -> Result<Verified<Header>, Fraud> {
    let header = Header::parse(raw).map_err(|error| Fraud::Header(part, error))?;
    header.verify().map_err(|error| Fraud::Item(part, error.into()))
}
