//! Slots for transactions of the weave's base layer, and for attestations that open data (RULES.md 6.13): what
//! this node's scheduler makes sure of before it signs. It holds all bytes, verified, and serves them.

use weft_protocol::assignment::Excluded;
use weft_protocol::base_layer;
use weft_protocol::held::Held;
use weft_protocol::l1::L1Tx;
use weft_protocol::limits::ITEM_BYTES_MAX;
use weft_protocol::process::Process;
use weft_protocol::seen::SeenKeys;
use weft_protocol::sender::Origin;
use weft_protocol::{DataItem, Id, Verified};

use super::assign::{SEARCH_RETRY_MS, too_long};
use super::{Slot, SubmitError, Submitter};
use crate::recover::{Settled, settled};
use crate::remote;
use crate::scheduler::machine::Submission;

/// Says why a process gets no transactions, if it does not take any.
pub(super) fn check_takes(process: &Process) -> Result<(), SubmitError> {
    if process.takes_base_layer() {
        return Ok(());
    }
    Err(SubmitError::Invalid(format!(
        "process {} takes nothing from the base layer: it was spawned without the tag `Extension: {}`",
        process.id(),
        base_layer::EXTENSION
    )))
}

/// How many blocks must confirm a transaction: what the process says, else what this node does.
fn depth(process: &Process, otherwise: u64) -> u64 {
    process.item().tag("Settlement-Depth").and_then(|depth| depth.parse().ok()).unwrap_or(otherwise)
}

impl Submitter {
    /// Gives a transaction a slot in a log of this node's own scheduler.
    ///
    /// # Errors
    /// Why it gets none: not deep enough yet, nowhere to be had, too large.
    pub(super) async fn assign_transaction(
        &self,
        known: &Process,
        id: Id,
        excludes: Vec<Excluded>,
    ) -> Result<Slot, SubmitError> {
        let process = known.id();
        check_takes(known)?;
        if let Some(slot) = self.slot_held(process, id)? {
            return Ok(slot);
        }
        let Ok(_turn) = self.searches.try_acquire() else { return Err(SubmitError::Busy(SEARCH_RETRY_MS)) };
        self.check_settled(known, id).await?;
        let tx = self.transaction(process, id).await?;
        let (draft, signer) = (base_layer::carrier(process, &tx), self.shared.signer.clone());
        if draft.data.len() > ITEM_BYTES_MAX {
            return Err(too_long(id));
        }
        let signed = tokio::task::spawn_blocking(move || draft.sign(&signer)).await;
        let signed = signed.map_err(|error| SubmitError::Fault(error.to_string()))?;
        let item = signed.map_err(|error| SubmitError::Fault(error.to_string()))?;
        if item.raw().len() > ITEM_BYTES_MAX {
            return Err(too_long(id));
        }
        let keys = SeenKeys::of_submission(known, &item, &Origin::Direct);
        let assigned = Some(excludes);
        let submission = Submission { process, item, proof: None, keys, spawn: None, assigned, roles: None };
        self.schedule(submission, None).await
    }

    /// The slot that a transaction has already.
    fn slot_held(&self, process: Id, id: Id) -> Result<Option<Slot>, SubmitError> {
        let read = || {
            let reader = self.shared.store.read()?;
            let Some(slot) = reader.slot_of_item(&process, &id)? else { return Ok(None) };
            Ok::<_, weft_storage::StoreError>(reader.slot(&process, slot)?.map(|row| (slot, row)))
        };
        let Some((slot, row)) = read().map_err(|error| SubmitError::Fault(error.to_string()))? else {
            return Ok(None);
        };
        let assignment = DataItem::parse(row.assignment.clone());
        let assignment = assignment.map_err(|error| SubmitError::Fault(error.to_string()))?.claims().id();
        Ok(Some(Slot { process, slot, assignment, signed: row.assignment, duplicate: true }))
    }

    /// Whether the gateways that this node reads have the transaction deep enough.
    async fn check_settled(&self, known: &Process, id: Id) -> Result<(), SubmitError> {
        let config = &self.shared.config;
        if config.gateways.is_empty() {
            return Err(SubmitError::Refused(
                "this scheduler reads no gateway of the weave and cannot tell what is settled there; its operator \
                 can name some (`gateways`)"
                    .to_owned(),
            ));
        }
        let depth = depth(known, config.settlement_depth);
        let _turn = self.shared.turns.gateways.acquire().await;
        match settled(&config.gateways, id, depth).await {
            Settled::Yes => Ok(()),
            Settled::NotYet(said) => Err(SubmitError::Unknown(format!(
                "Not enough confirmations to assign transaction {id}: {depth} are needed; {said}"
            ))),
            Settled::Nowhere(said) => {
                Err(SubmitError::Unknown(format!("transaction {id} is not on the weave: {said}")))
            }
        }
    }

    /// The transaction with its data: from this disk, else from wherever it is found.
    async fn transaction(&self, process: Id, id: Id) -> Result<Verified<L1Tx>, SubmitError> {
        let raw = self.shared.store.read().and_then(|reader| reader.item(&id));
        let held = match raw.map_err(|error| SubmitError::Fault(error.to_string()))? {
            Some(raw) => {
                let verified = tokio::task::spawn_blocking(move || Held::parse(raw)?.verify()).await;
                let verified = verified.map_err(|error| SubmitError::Fault(error.to_string()))?;
                verified.map_err(|error| SubmitError::Fault(format!("{id} on this disk: {error}")))?
            }
            None => {
                let found = remote::everywhere(&self.shared, process, id, ITEM_BYTES_MAX).await;
                found.map_err(|error| SubmitError::Unknown(format!("transaction {id}: {error}")))?
            }
        };
        held.into_transaction().ok_or_else(|| {
            SubmitError::Invalid(format!(
                "{id} is a data item, not a transaction of the base layer: ask for its slot without `base-layer`"
            ))
        })
    }

    /// Makes sure of what an existing item brings with it that is to be assigned: that a carrier holds a valid
    /// transaction, and that what an attestation opens is on this disk.
    pub(super) async fn check_brings(
        &self,
        known: &Process,
        item: &Verified<DataItem>,
        origin: &Origin,
    ) -> Result<(), SubmitError> {
        let invalid = |error: weft_protocol::l1::L1Error| SubmitError::Invalid(error.to_string());
        if let Some(tx) = base_layer::carried(known, item).map_err(invalid)? {
            tx.verify().map_err(invalid)?;
        }
        let attested = base_layer::attested(known, item).filter(|_| *origin == Origin::Direct);
        let Some(opens) = attested else { return Ok(()) };
        let here = self.shared.store.read().and_then(|reader| reader.item(&opens));
        if here.map_err(|error| SubmitError::Fault(error.to_string()))?.is_some() {
            return Ok(());
        }
        if self.slot_held(known.id(), opens)?.is_some() {
            return Ok(());
        }
        let Ok(_turn) = self.searches.try_acquire() else { return Err(SubmitError::Busy(SEARCH_RETRY_MS)) };
        remote::fetch_item(&self.shared, known.id(), opens).await.map_err(|error| {
            SubmitError::Unknown(format!(
                "{opens}, which the attestation opens, is not here, and is assigned only once it is: {error}"
            ))
        })
    }
}
