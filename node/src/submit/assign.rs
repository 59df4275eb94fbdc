//! Slots for items that exist: of another process, of nobody, or sent to this one long ago
//! (the reference calls it "assign existing data").
//!
//! Anybody may ask, as anybody may hand in a message: the item says itself whom it is from, and
//! the one seen list of the log keeps it from counting twice.

use bytes::Bytes;
use weft_protocol::assignment::{Assignment, Excluded};
use weft_protocol::limits::{EXCLUDES_MAX, ITEM_BYTES_MAX};
use weft_protocol::push::ORIGIN_PROOF;
use weft_protocol::seen::SeenKeys;
use weft_protocol::{Address, DataItem, Id, wire};
use weft_storage::{Reader, StoreError};

use super::base_layer::check_takes;
use super::{Slot, SubmitError, Submitter, check_answer, refused};
use crate::hosting;
use crate::remote;
use crate::scheduler::machine::Submission;

/// Items that are looked for among peers at once; one more is told to come back.
pub(super) const SEARCHES_MAX: usize = 8;
/// When, in milliseconds.
pub(super) const SEARCH_RETRY_MS: u64 = 1_000;
/// Characters of a name that an error repeats.
const SHOWN_CHARS_MAX: usize = 64;

/// An item with the origin proof that it names, empty if it names none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredItem {
    /// The raw item.
    pub raw: Bytes,
    /// The raw proof.
    pub proof: Bytes,
}

impl StoredItem {
    /// What this node sends along that asks for a slot of an item: nothing of a transaction, which its
    /// scheduler finds.
    ///
    /// # Errors
    /// The disk.
    pub fn of(reader: &Reader, id: Id, base_layer: bool) -> Result<Option<Self>, StoreError> {
        if base_layer { Ok(None) } else { Self::read(reader, id) }
    }

    /// The item of this id if it is on disk, whole.
    ///
    /// # Errors
    /// The disk.
    pub fn read(reader: &Reader, id: Id) -> Result<Option<Self>, StoreError> {
        let Some(raw) = reader.item(&id)? else { return Ok(None) };
        let Some(proof) = named_proof(&raw) else { return Ok(Some(Self { raw, proof: Bytes::new() })) };
        Ok(reader.item(&proof)?.map(|proof| Self { raw, proof }))
    }
}

fn named_proof(raw: &Bytes) -> Option<Id> {
    let item = DataItem::parse(raw.clone()).ok()?;
    item.claims().tag(ORIGIN_PROOF)?.parse().ok()
}

/// What a slot is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Assign {
    /// In whose log.
    pub process: Id,
    /// Of which item.
    pub item: Id,
    /// Whether it is a transaction of the base layer.
    pub base_layer: bool,
    /// What of it the module must not see.
    pub excludes: Vec<Excluded>,
    /// The item, if whoever asks has it.
    pub stored: Option<StoredItem>,
}

/// The fields of these names.
///
/// # Errors
/// A name that is no field, or stands twice.
pub fn excludes(names: &[String]) -> Result<Vec<Excluded>, SubmitError> {
    let mut fields = Vec::with_capacity(names.len().min(EXCLUDES_MAX));
    for name in names {
        let shown: String = name.chars().take(SHOWN_CHARS_MAX).collect();
        let field = Excluded::parse(name).ok_or_else(|| {
            let text = format!("`{shown}` cannot be excluded; expected Data, Tags, Signature or Anchor");
            SubmitError::Invalid(text)
        })?;
        if fields.contains(&field) {
            return Err(SubmitError::Invalid(format!("`{shown}` is excluded twice")));
        }
        fields.push(field);
    }
    Ok(fields)
}

impl Assign {
    /// Reads what a peer asks for.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn from_wire(ask: wire::AssignRequest) -> Result<Self, SubmitError> {
        let invalid = |error: wire::WireError| SubmitError::Invalid(error.to_string());
        let stored = (!ask.item.is_empty()).then_some(StoredItem { raw: ask.item, proof: ask.proof });
        Ok(Self {
            process: wire::id("process", &ask.process).map_err(invalid)?,
            item: wire::id("id", &ask.id).map_err(invalid)?,
            base_layer: ask.base_layer,
            excludes: excludes(&ask.excludes)?,
            stored,
        })
    }

    fn to_wire(&self) -> wire::AssignRequest {
        let (item, proof) = self.stored.clone().map(|stored| (stored.raw, stored.proof)).unwrap_or_default();
        wire::AssignRequest {
            process: wire::bytes(self.process),
            id: wire::bytes(self.item),
            item,
            proof,
            excludes: self.excludes.iter().map(|field| field.name().to_owned()).collect(),
            base_layer: self.base_layer,
        }
    }
}

impl Submitter {
    /// Asks the scheduler of a process for a slot of an existing item.
    ///
    /// # Errors
    /// Why it got none.
    pub async fn assign(&self, assign: Assign) -> Result<Slot, SubmitError> {
        let process = assign.process;
        let known = hosting::find_process(&self.shared, process).await;
        let known = known.map_err(|error| SubmitError::Unknown(format!("process {process}: {error}")))?;
        if known.scheduler() == self.shared.address {
            return self.assign_local(assign).await;
        }
        if assign.base_layer {
            check_takes(&known)?;
        }
        if assign.stored.as_ref().is_some_and(|stored| stored.raw.len() > ITEM_BYTES_MAX) {
            return Err(too_long(assign.item));
        }
        self.assign_there(&assign, known.scheduler()).await
    }

    async fn assign_there(&self, assign: &Assign, scheduler: Address) -> Result<Slot, SubmitError> {
        let peer = remote::with_address(&self.shared, scheduler).await;
        let peer = peer.map_err(|error| SubmitError::Unknown(error.to_string()))?;
        let answer = remote::assign(&self.shared, peer, assign.to_wire()).await;
        let answer = answer.map_err(|error| refused(&error))?;
        let falsely = |why: String| {
            SubmitError::Unknown(format!("the answer of scheduler {scheduler} is false: {why}"))
        };
        let (process, id) = check_answer(Some(assign.process), scheduler, &answer).map_err(falsely)?;
        let signed = DataItem::parse(answer.assignment.clone()).ok();
        let named = signed.and_then(|signed| Assignment::from_item(signed.claims()).ok());
        // Before it may have come another way: a push that another messenger carried.
        // The item of a transaction's slot is the scheduler's own, which carries it.
        if !answer.duplicate && !assign.base_layer && named.is_none_or(|named| named.item() != assign.item) {
            return Err(falsely("the slot is another item's".to_owned()));
        }
        let wire::SubmitResponse { slot, assignment: signed, duplicate } = answer;
        Ok(Slot { process, slot, assignment: id, signed, duplicate })
    }

    /// Gives an existing item a slot in a log of this node's own scheduler.
    ///
    /// # Errors
    /// Why it got none.
    pub async fn assign_local(&self, assign: Assign) -> Result<Slot, SubmitError> {
        let Assign { process, item: id, base_layer, excludes, stored } = assign;
        let known = self.shared.directory.get(&process).filter(|known| known.roles.schedules);
        let unknown = || SubmitError::Unknown(format!("process {process} is not scheduled by this node"));
        let known = known.ok_or_else(unknown)?;
        if base_layer {
            return self.assign_transaction(&known.process, id, excludes).await;
        }
        let StoredItem { raw, proof } = match stored {
            Some(stored) => stored,
            None => self.find_item(process, id).await?,
        };
        if raw.len() > ITEM_BYTES_MAX {
            return Err(too_long(id));
        }
        let verified = self.verify(raw, proof).await?;
        if verified.item.id() != id {
            return Err(SubmitError::Invalid(format!("the item is {}, not {id}", verified.item.id())));
        }
        let origin = verified.origin(&known.process);
        self.check_brings(&known.process, &verified.item, &origin).await?;
        let keys = SeenKeys::of_submission(&known.process, &verified.item, &origin);
        let (item, proof) = (verified.item, verified.proof.map(|(proof, _)| proof));
        let assigned = Some(excludes);
        self.schedule(Submission { process, item, proof, keys, spawn: None, assigned, roles: None }, None)
            .await
    }

    /// The item and its proof: from this node's disk, else from peers or gateways.
    async fn find_item(&self, process: Id, id: Id) -> Result<StoredItem, SubmitError> {
        let read = self.shared.store.read().and_then(|reader| StoredItem::read(&reader, id));
        if let Some(stored) = read.map_err(|error| SubmitError::Fault(error.to_string()))? {
            return Ok(stored);
        }
        let Ok(_turn) = self.searches.try_acquire() else { return Err(SubmitError::Busy(SEARCH_RETRY_MS)) };
        let item = async |wanted| {
            let found = remote::everywhere(&self.shared, process, wanted, ITEM_BYTES_MAX).await;
            let found = found.map_err(|error| SubmitError::Unknown(format!("item {id}: {error}")))?;
            let item = found.into_item().ok_or_else(|| {
                let text =
                    format!("{wanted} is a transaction of the base layer: ask for it with `base-layer`");
                SubmitError::Invalid(text)
            })?;
            Ok::<_, SubmitError>(item.raw().clone())
        };
        let raw = item(id).await?;
        let proof = match named_proof(&raw) {
            Some(proof) => item(proof).await?,
            None => Bytes::new(),
        };
        Ok(StoredItem { raw, proof })
    }
}

pub(super) fn too_long(id: Id) -> SubmitError {
    SubmitError::Invalid(format!("item {id} has more than {ITEM_BYTES_MAX} bytes: no slot holds it"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn named(names: &[&str]) -> Result<Vec<Excluded>, SubmitError> {
        excludes(&names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn excluded_fields_keep_their_order_and_are_named_once() {
        assert_eq!(named(&["Data", "Tags"]).unwrap(), [Excluded::Data, Excluded::Tags]);
        assert!(named(&["Data", "Data"]).unwrap_err().to_string().contains("twice"));
        assert!(named(&["Owner"]).unwrap_err().to_string().contains("`Owner` cannot be excluded"));
    }

    #[test]
    fn a_request_survives_the_wire() {
        let stored = Some(StoredItem { raw: Bytes::from_static(b"item"), proof: Bytes::new() });
        let (process, item) = (Id([1; 32]), Id([2; 32]));
        for stored in [stored, None] {
            let excludes = vec![Excluded::Anchor];
            let assign = Assign { process, item, base_layer: stored.is_none(), excludes, stored };
            assert_eq!(Assign::from_wire(assign.to_wire()).unwrap(), assign);
        }
        let short = wire::AssignRequest { process: Bytes::from_static(b"short"), ..Default::default() };
        assert!(matches!(Assign::from_wire(short), Err(SubmitError::Invalid(_))));
    }
}
