//! Slot records: from bytes to a fully verified slot.
//!
//! A record is an assignment, the item it names and the origin proof that the item names. Its
//! validity is a function of the record, the process and the slot before: never of a fetch, and
//! never of a clock. What is too far ahead of a clock is valid and waits
//! ([`VerifiedRecord::ahead`]).

use bytes::Bytes;

use crate::assignment::{Assignment, AssignmentError};
use crate::base_layer;
use crate::crypto::SignatureError;
use crate::data_item::{DataItem, ItemError};
use crate::epoch::{EpochTerms, TermsError};
use crate::hash_chain;
use crate::id::{Address, Hash, Id, Network};
use crate::l1::L1Error;
use crate::limits::ITEM_BYTES_MAX;
use crate::machine::Now;
use crate::origin::{self, ProofError, ProvenKind, ProvenOrigin};
use crate::process::{Process, Refusal, Terms};
use crate::push::ORIGIN_PROOF;
use crate::seen::SeenKeys;
use crate::sender::{Origin, ProvenSource};
use crate::time::{self, Ahead, TimeError, TimePoint, View};
use crate::verify::{Unverified, Verified};
use crate::wire::{
    self, ASSIGNMENT_BYTES_MAX, PROOF_BYTES_MAX, RECORD_BYTES_MAX, WireError, decode_canonical,
};

/// Whose fault it is that a record cannot be taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Blame {
    /// No correct peer forwards this: reject it, and count it against whoever sent it.
    Sender,
    /// We lack something, or this build does: ignore it.
    Nobody,
}

/// Why a record is not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RecordError {
    /// The record's bytes.
    #[error("record: {0}")]
    Wire(#[from] WireError),
    /// A part that is longer than it may be.
    #[error("the {0} is too long")]
    TooLong(&'static str),
    /// A part that is no data item, or whose signature fails.
    #[error("{part}: {error}")]
    Item {
        /// Which part.
        part: &'static str,
        /// What is wrong with it.
        error: ItemError,
    },
    /// An assignment that says too little.
    #[error(transparent)]
    Assignment(#[from] AssignmentError),
    /// An assignment of another process.
    #[error("the assignment is of process {0}")]
    OtherProcess(Id),
    /// An epoch whose terms the caller did not give: fetch its certificate, or its own terms.
    #[error("the assignment is of epoch {0}")]
    OtherEpoch(u64),
    /// A slot before the epoch's first.
    #[error("slot {0} is not of the assignment's epoch")]
    Slot(u64),
    /// An assignment that somebody else signed.
    #[error("the assignment is signed by {0}, not by the scheduler")]
    NotTheScheduler(Address),
    /// The caller gave another slot as the one before.
    #[error("slot {slot} does not follow slot {previous}")]
    NotNext {
        /// The record's slot.
        slot: u64,
        /// The slot given as the one before.
        previous: u64,
    },
    /// A link that does not follow from the slot before.
    #[error("the hash chain at slot {0} does not continue that of the slot before")]
    Chain(u64),
    /// A time that no valid slot has.
    #[error(transparent)]
    Time(#[from] TimeError),
    /// The item is not the one that the assignment names.
    #[error("the record holds item {found}, not {named}")]
    OtherItem {
        /// What the assignment names.
        named: Id,
        /// What the record holds.
        found: Id,
    },
    /// The item names a proof that the record does not hold: the record is incomplete.
    #[error("the record does not hold the origin proof {0}")]
    NoProof(Id),
    /// The record holds a proof that the item does not name.
    #[error("the record holds an origin proof that its item does not name")]
    StrayProof,
    /// A carrier that holds no valid transaction.
    #[error("the transaction of the base layer: {0}")]
    Carried(#[from] L1Error),
    /// The Process item names no scheduler or attestors.
    #[error(transparent)]
    Terms(#[from] TermsError),
    /// The process is not one that this build computes.
    #[error(transparent)]
    Refused(#[from] Refusal),
}

impl RecordError {
    /// Whose fault it is.
    pub const fn blame(&self) -> Blame {
        match self {
            // Other builds may know what this one refuses, and other callers other epochs.
            Self::OtherEpoch(_) | Self::NotNext { .. } | Self::Refused(_) | Self::Terms(_) => Blame::Nobody,
            Self::Wire(_)
            | Self::TooLong(_)
            | Self::Item { .. }
            | Self::Assignment(_)
            | Self::OtherProcess(_)
            | Self::Slot(_)
            | Self::NotTheScheduler(_)
            | Self::Chain(_)
            | Self::Time(_)
            | Self::OtherItem { .. }
            | Self::NoProof(_)
            | Self::StrayProof
            | Self::Carried(_) => Blame::Sender,
        }
    }
}

/// What the next slot must continue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Link {
    /// The slot.
    pub slot: u64,
    /// The id of its assignment.
    pub assignment: Id,
    /// Its hash chain.
    pub hash_chain: Hash,
    /// Its time.
    pub time: TimePoint,
}

impl Link {
    /// The hash chain of the slot after this one.
    pub fn next(&self) -> Hash {
        hash_chain::next(self.assignment, self.hash_chain)
    }
}

/// A well-formed record of which nothing is checked yet.
#[derive(Debug, Clone)]
pub struct SlotRecord {
    assignment: DataItem,
    /// Read from the assignment before its signature is checked, to route the record.
    claims: Assignment,
    item: DataItem,
    proof: Option<DataItem>,
}

impl SlotRecord {
    /// Reads the canonical bytes.
    ///
    /// # Errors
    /// Bytes that are no record, parts that are no items or over a limit.
    pub fn decode(bytes: &Bytes) -> Result<Unverified<Self>, RecordError> {
        Self::from_wire(&decode_canonical(bytes, RECORD_BYTES_MAX)?)
    }

    /// Reads the wire form.
    ///
    /// # Errors
    /// Parts that are no items or over a limit.
    pub fn from_wire(message: &wire::SlotRecord) -> Result<Unverified<Self>, RecordError> {
        let assignment = part("assignment", &message.assignment, ASSIGNMENT_BYTES_MAX)?;
        let item = part("item", &message.item, ITEM_BYTES_MAX)?;
        let proof = match message.proof.is_empty() {
            true => None,
            false => Some(part("proof", &message.proof, PROOF_BYTES_MAX)?),
        };
        let claims = Assignment::from_item(&assignment)?;
        Ok(Unverified(Self { assignment, claims, item, proof }))
    }

    /// What the assignment says.
    pub const fn assignment(&self) -> &Assignment {
        &self.claims
    }

    /// The item.
    pub const fn item(&self) -> &DataItem {
        &self.item
    }
}

impl Unverified<SlotRecord> {
    /// Verifies slot 0 of a process that nobody told us of: accepts the process too.
    ///
    /// # Errors
    /// What is wrong with the record, or why this build refuses the process.
    pub fn open(self, terms: &Terms) -> Result<(Process, VerifiedRecord), RecordError> {
        let claims = &self.0.claims;
        if claims.slot != 0 {
            return Err(RecordError::NotNext { slot: claims.slot, previous: 0 });
        }
        let item = verified("item", self.0.item.clone())?;
        if item.id() != claims.process {
            return Err(RecordError::OtherItem { named: claims.process, found: item.id() });
        }
        let proof = named_proof(&item, self.0.proof.clone())?;
        let judged = judge(&item, proof.as_ref(), terms.network);
        let process = Process::accept(item, parent(&judged), terms)?;
        let epoch = EpochTerms::of_process(&process)?;
        let record = self.verify(&process, &epoch, None)?;
        Ok((process, record))
    }

    /// Verifies a slot of a known process, whose epoch has these terms.
    ///
    /// `previous` is the slot before, if the caller holds it: without it the record is checked
    /// but for its link, and says so.
    ///
    /// # Errors
    /// The first thing that does not fit; [`RecordError::blame`] says whose fault it is.
    pub fn verify(
        self,
        process: &Process,
        terms: &EpochTerms,
        previous: Option<&Link>,
    ) -> Result<VerifiedRecord, RecordError> {
        let SlotRecord { assignment, claims, item, proof } = self.0;
        let item_named = claims.item();
        if item.id() != item_named {
            return Err(RecordError::OtherItem { named: item_named, found: item.id() });
        }
        let (signed, claims) = signed_assignment(assignment, claims, terms)?;
        let linked = check_link(&claims, terms, previous)?;
        time::check(process.weave(), previous.map(|link| link.time), claims.time)?;
        let item = verified("item", item)?;
        if let Some(tx) = base_layer::carried(process, &item)? {
            tx.verify()?;
        }
        let proof = named_proof(&item, proof)?;
        let judged = judge(&item, proof.as_ref(), process.network());
        let origin = match (&judged, claims.slot) {
            // The process's own item: who asked for it is decided once, when it is accepted.
            (_, 0) => Origin::Direct,
            (Some(Ok(proven)), _) => Origin::of(process, &item, Some(proven.sender)),
            (Some(Err(_)) | None, _) => Origin::of(process, &item, None),
        };
        let (proven, unproven) = match judged {
            Some(Ok(proven)) => (Some(proven), None),
            Some(Err(error)) => (None, Some(error)),
            None => (None, None),
        };
        Ok(VerifiedRecord { assignment: claims, signed, item, proof, origin, proven, unproven, linked })
    }
}

/// A slot of which everything is checked.
#[derive(Debug, Clone)]
pub struct VerifiedRecord {
    assignment: Assignment,
    signed: Verified<DataItem>,
    item: Verified<DataItem>,
    proof: Option<Verified<DataItem>>,
    origin: Origin,
    proven: Option<ProvenOrigin>,
    unproven: Option<ProofError>,
    linked: bool,
}

impl VerifiedRecord {
    /// What the assignment says.
    pub const fn assignment(&self) -> &Assignment {
        &self.assignment
    }

    /// The assignment item.
    pub const fn assignment_item(&self) -> &Verified<DataItem> {
        &self.signed
    }

    /// The item at the slot.
    pub const fn item(&self) -> &Verified<DataItem> {
        &self.item
    }

    /// The proof item that the item names.
    pub const fn proof(&self) -> Option<&Verified<DataItem>> {
        self.proof.as_ref()
    }

    /// How the process takes the item. At slot 0 the process itself knows its parent.
    pub const fn origin(&self) -> &Origin {
        &self.origin
    }

    /// What the proof shows, if it is valid.
    pub const fn proven(&self) -> Option<&ProvenOrigin> {
        self.proven.as_ref()
    }

    /// Why the proof that the item names shows nothing. Its scheduler should have refused it.
    pub const fn unproven(&self) -> Option<&ProofError> {
        self.unproven.as_ref()
    }

    /// Whether the link to the slot before was checked.
    pub const fn is_linked(&self) -> bool {
        self.linked
    }

    /// The keys under which the item counts in the log of `process`.
    pub fn seen_keys(&self, process: &Process) -> SeenKeys {
        SeenKeys::in_log(process, &self.assignment, &self.item, &self.origin)
    }

    /// What the next slot must continue.
    pub const fn link(&self) -> Link {
        let Assignment { id, slot, hash_chain, time, .. } = &self.assignment;
        Link { slot: *slot, assignment: *id, hash_chain: *hash_chain, time: *time }
    }

    /// Whether the slot is too far in the future to be passed on, acknowledged or attested now.
    pub fn ahead(&self, process: &Process, now: Now, view: Option<View>) -> Ahead {
        time::ahead(process.weave(), self.assignment.time, now, view)
    }

    /// The wire form.
    pub fn to_wire(&self) -> wire::SlotRecord {
        to_wire(&self.signed, &self.item, self.proof.as_deref())
    }
}

/// The wire form of a record.
pub fn to_wire(assignment: &DataItem, item: &DataItem, proof: Option<&DataItem>) -> wire::SlotRecord {
    wire::SlotRecord {
        assignment: assignment.raw().clone(),
        item: item.raw().clone(),
        proof: proof.map(|proof| proof.raw().clone()).unwrap_or_default(),
    }
}

/// Why a scheduler does not take what is handed to it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SubmissionError {
    /// The item or its proof is missing, malformed or over a limit.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// The proof shows nothing: everyone would treat the item as unproven.
    #[error("the origin proof fails: {0}")]
    Proof(#[from] ProofError),
}

/// An item that a scheduler may assign, as far as the item itself goes.
#[derive(Debug, Clone)]
pub struct Submission {
    /// The item.
    pub item: Verified<DataItem>,
    /// The proof item that it names, with what that shows.
    pub proof: Option<(Verified<DataItem>, ProvenOrigin)>,
}

impl Submission {
    /// Verifies an item and its proof, which is empty if the item names none.
    ///
    /// # Errors
    /// What to tell the sender.
    pub fn verify(item: &Bytes, proof: &Bytes, network: Network) -> Result<Self, SubmissionError> {
        let item = verified("item", part("item", item, ITEM_BYTES_MAX)?)?;
        let proof = match proof.is_empty() {
            true => None,
            false => Some(part("proof", proof, PROOF_BYTES_MAX)?),
        };
        let proof = named_proof(&item, proof)?;
        let proof = match proof {
            None => None,
            Some(proof) => {
                let shown = origin::verify(&item, &proof, network)?;
                Some((proof, shown))
            }
        };
        Ok(Self { item, proof })
    }

    /// How `process` takes the item.
    pub fn origin(&self, process: &Process) -> Origin {
        Origin::of(process, &self.item, self.proof.as_ref().map(|(_, proven)| proven.sender))
    }

    /// The process that asked for this Process item.
    pub fn parent(&self) -> Option<Id> {
        self.spawn().map(|(parent, _)| parent)
    }

    /// The process that asked for this Process item, and the push id of its spawn: a scheduler
    /// creates one child for it.
    pub fn spawn(&self) -> Option<(Id, Hash)> {
        let (_, proven) = self.proof.as_ref()?;
        let ProvenSource { process, push, .. } = proven.sender;
        (proven.kind == ProvenKind::Spawn).then_some((process, push))
    }
}

/// Checks that an assignment is the scheduler's, in the epoch of `terms`.
pub(crate) fn signed_assignment(
    assignment: DataItem,
    claims: Assignment,
    terms: &EpochTerms,
) -> Result<(Verified<DataItem>, Assignment), RecordError> {
    if claims.process != terms.process() {
        return Err(RecordError::OtherProcess(claims.process));
    }
    if claims.epoch != terms.epoch() {
        return Err(RecordError::OtherEpoch(claims.epoch));
    }
    if claims.slot < terms.first_slot() {
        return Err(RecordError::Slot(claims.slot));
    }
    if assignment.owner() != terms.scheduler() {
        return Err(RecordError::NotTheScheduler(assignment.owner()));
    }
    Ok((verified("assignment", assignment)?, claims))
}

/// Whether the link was checked.
fn check_link(claims: &Assignment, terms: &EpochTerms, previous: Option<&Link>) -> Result<bool, RecordError> {
    if let Some(previous) = previous
        && previous.slot.checked_add(1) != Some(claims.slot)
    {
        return Err(RecordError::NotNext { slot: claims.slot, previous: previous.slot });
    }
    let starts = (claims.slot == terms.first_slot()).then(|| terms.chain());
    let mut expected = previous.map(Link::next).into_iter().chain(starts).peekable();
    let linked = expected.peek().is_some();
    if expected.all(|link| link == claims.hash_chain) {
        Ok(linked)
    } else {
        Err(RecordError::Chain(claims.slot))
    }
}

fn part(name: &'static str, bytes: &Bytes, max: usize) -> Result<DataItem, RecordError> {
    if bytes.len() > max {
        return Err(RecordError::TooLong(name));
    }
    let item = DataItem::parse(bytes.clone());
    item.map(|item| item.0).map_err(|error| RecordError::Item { part: name, error })
}

fn verified(part: &'static str, item: DataItem) -> Result<Verified<DataItem>, RecordError> {
    let failed = |error: SignatureError| RecordError::Item { part, error: error.into() };
    Unverified(item).verify().map_err(failed)
}

/// The proof item that the item names, with its own signature checked: else somebody on the way
/// lost or changed it, which must not pass for a proof that shows nothing.
fn named_proof(
    item: &Verified<DataItem>,
    proof: Option<DataItem>,
) -> Result<Option<Verified<DataItem>>, RecordError> {
    // A value that is no id names nothing that anybody could attach.
    let named: Option<Id> = item.tag(ORIGIN_PROOF).and_then(|text| text.parse().ok());
    match (named, proof) {
        (None, None) => Ok(None),
        (None, Some(_)) => Err(RecordError::StrayProof),
        (Some(named), Some(proof)) if proof.id() == named => verified("proof", proof).map(Some),
        (Some(named), _) => Err(RecordError::NoProof(named)),
    }
}

fn judge(
    item: &Verified<DataItem>,
    proof: Option<&Verified<DataItem>>,
    network: Network,
) -> Option<Result<ProvenOrigin, ProofError>> {
    proof.map(|proof| origin::verify(item, proof, network))
}

/// The parent that a valid proof of a spawn gives a Process item.
fn parent(judged: &Option<Result<ProvenOrigin, ProofError>>) -> Option<Id> {
    match judged {
        Some(Ok(proven)) if proven.kind == ProvenKind::Spawn => Some(proven.sender.process),
        _ => None,
    }
}
