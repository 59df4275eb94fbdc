//! What shows that this node carried a push in its turn: kept when it was carried, shown when it is challenged.

use std::sync::Arc;

use bytes::Bytes;
use prost::Message as _;
use weft_protocol::assignment::Assignment;
use weft_protocol::header::Header;
use weft_protocol::market::{Answer, Carried, ClaimTree, Leaf, due, price, set_slot, window_of};
use weft_protocol::process::Process;
use weft_protocol::push::Source;
use weft_protocol::{DataItem, Id, Verified, wire};
use weft_storage::{EarnedRow, OutboxKey, Reader, StoreError, Write, blob_name};

use crate::error::NodeError;
use crate::hosting;
use crate::shared::{Shared, SharedRef};
use crate::supervisor::joined;

/// A push that got a slot.
#[derive(Debug, Clone)]
pub struct Delivered {
    /// Where it is from.
    pub place: Source,
    /// The item that was submitted.
    pub item: Verified<DataItem>,
    /// Its proof.
    pub proof: Bytes,
    /// The raw assignment that the target's scheduler gave for it; of a spawn, that of the child's slot 0.
    pub assignment: Bytes,
}

/// Writes down what a push is due and what shows it, if it is due anything: the source is in hard mode, it was this
/// node's turn, and the slot is that of this node's item and of no other. What fails here only is not paid.
pub async fn keep(shared: &SharedRef, source: &Arc<Process>, delivered: Delivered) {
    if source.market().is_none() {
        return;
    }
    let place = delivered.place;
    let kept = async {
        // A spawn has none: its item becomes the child.
        let target = match delivered.item.target() {
            Some(id) => Some(hosting::find_process(shared, id).await.map_err(|error| error.to_string())?),
            None => None,
        };
        let (sharing, source) = (SharedRef::clone(shared), Arc::clone(source));
        let read = move || writes(&sharing, &source, target.as_deref(), &delivered);
        let writes = joined(tokio::task::spawn_blocking(read).await).unwrap_or(Ok(Vec::new()));
        let writes = writes.map_err(|error| error.to_string())?;
        if writes.is_empty() {
            return Ok(());
        }
        shared.store.write(writes).await.map_err(|error| error.to_string())
    };
    if let Err(error) = kept.await {
        let Source { process, position, index } = place;
        tracing::warn!(%process, %position, index, error, "a push that was carried for pay will not be claimed");
    }
}

fn writes(
    shared: &Shared,
    source: &Process,
    target: Option<&Process>,
    delivered: &Delivered,
) -> Result<Vec<Write>, NodeError> {
    let Delivered { place, item, proof, assignment } = delivered;
    let Source { process, position, index } = *place;
    let reader = shared.store.read()?;
    let Some(market) = source.market() else { return Ok(Vec::new()) };
    // Pushes are many, and each window has up to 64 signatures.
    let window = shared.market.windows().at(&reader, source, position.slot)?;
    let Some(window) = window else { return Ok(Vec::new()) };
    // A tick is known with the slot after it.
    let told = reader.slot(&process, position.slot + u64::from(position.tick > 0))?;
    let accepted = DataItem::parse(assignment.clone()).ok();
    let accepted = accepted.and_then(|signed| Assignment::from_item(signed.claims()).ok());
    let (Some(told), Some(accepted)) = (told, accepted) else { return Ok(Vec::new()) };
    // Where another's item became the child of a spawn, that one is paid.
    let target_id = target.map_or(item.id(), Process::id);
    if accepted.item() != item.id() || accepted.process != target_id {
        return Ok(Vec::new());
    }
    let bytes = item.data().len() as u64;
    let rank = window.rank(&place.push_id(shared.network), bytes, &shared.address);
    let Some((rank, entry)) = rank else { return Ok(Vec::new()) };
    let amount = price(entry.offer().terms(), bytes);
    if amount == 0 || due(rank, told.timestamp, accepted.time.timestamp).is_err() {
        return Ok(Vec::new());
    }
    let shown = wire::CarriedPush {
        proof: proof.clone(),
        item: Verified::<Header>::of(item).to_bytes(),
        target: target.map(|target| Verified::<Header>::of(target.item()).to_bytes()).unwrap_or_default(),
        certificates: Vec::new(),
        assignment: assignment.clone(),
    };
    let shown = Bytes::from(shown.encode_to_vec());
    let row = EarnedRow {
        ledger: market.terms.ledger,
        target: target_id,
        slot: accepted.slot,
        accepted: accepted.id,
        amount,
        shown: blob_name(&shown),
        claim: None,
        next_try_ms: 0,
    };
    let key = OutboxKey { process, position, index };
    // A push that was made again, for its first receipt was not written down, is claimed once.
    if reader.earned(&key)?.is_some() {
        return Ok(Vec::new());
    }
    Ok(vec![Write::Blob(shown), Write::Earned { key, row }])
}

/// The bytes that show a leaf, from what was kept of it and from the source's log here. Whether that goes on here
/// does not matter: who is paid may leave, and is answered for all the same.
///
/// # Errors
/// The disk, or what is not on it any more.
pub fn answer(reader: &Reader, source: Id, tree: &ClaimTree, number: u32) -> Result<Answer, AnswerError> {
    let missing = |what| move || AnswerError::Missing(what);
    let leaf = tree.path(number).ok_or_else(missing("the leaf"))?;
    let previous =
        number.checked_sub(1).map(|before| tree.path(before).ok_or_else(missing("the leaf before")));
    let Leaf { paid, .. } = leaf.leaf;
    let (process, position) = (source, paid.position);
    let row = reader.earned(&OutboxKey { process, position, index: paid.index })?;
    let shown = row.map(|row| reader.blob(&row.shown)).transpose()?.flatten();
    let shown = shown.ok_or_else(missing("what shows the push"))?;
    let shown = wire::CarriedPush::decode(shown).map_err(|_| AnswerError::Missing("what shows the push"))?;
    let wire::CarriedPush { proof, item, target, certificates, assignment } = shown;
    let slot = |slot| reader.slot(&process, slot)?.ok_or(AnswerError::Missing("a slot of the source"));
    let set_at = set_slot(window_of(position.slot)).ok_or_else(missing("an offer set"))?;
    let set = slot(set_at)?;
    let between: Result<Vec<Id>, AnswerError> =
        (set_at + 1..position.slot).map(|at| Ok(slot(at)?.assignment_id)).collect();
    let revealed = if position.tick > 0 { slot(position.slot + 1)?.assignment } else { Bytes::new() };
    Ok(Answer {
        leaf,
        previous: previous.transpose()?,
        push: Carried { proof, item, target, certificates, assignment },
        sent: slot(position.slot)?.assignment,
        revealed,
        set: reader.item(&set.item)?.ok_or_else(missing("the offer set"))?,
        set_assignment: set.assignment,
        between: between?,
    })
}

/// Why a leaf cannot be shown.
#[derive(Debug, thiserror::Error)]
pub enum AnswerError {
    /// The disk.
    #[error(transparent)]
    Disk(#[from] StoreError),
    /// What it takes is not on disk.
    #[error("{0} is not on disk")]
    Missing(&'static str),
}
