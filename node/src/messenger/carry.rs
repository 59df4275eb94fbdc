//! One push, from the outbox to its slot and the news of it, and the asking for attestations.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use tracing::Instrument as _;
use weft_protocol::attestation::Attestation;
use weft_protocol::header::Header;
use weft_protocol::process::Process;
use weft_protocol::push::Source;
use weft_protocol::wire::announcement::Body;
use weft_protocol::{DataItem, Position, Verified, wire};

use super::dispatch::{self, DispatchError, Parcel};
use super::machine::{Born, Entry, How, Input, PushOutcome, To};
use super::steps::{self, Step, Stopwatch};
use crate::attestations::keep_attestation;
use crate::earn::{self, Delivered};
use crate::hosting;
use crate::pushed;
use crate::remote;
use crate::shared::{Shared, SharedRef};
use crate::submit::{Assign, Slot, SubmitError, Submitter};

/// Bytes of a pushed item up to which a receipt carries it.
const RECEIPT_ITEM_BYTES_MAX: usize = 64 * 1024;

/// Takes an entry to its scheduler, and says what came of it. One that others were to carry before `asks_first` whether
/// they did; the stages of one that is timed are noted if all went as it should.
pub(super) async fn carry(
    (shared, submitter): (SharedRef, Submitter),
    (process, entry, born): (Arc<Process>, Entry, Option<Box<Born>>),
    asks_first: bool,
    mut watch: Option<Stopwatch>,
) -> Input {
    let (metrics, began) = (SharedRef::clone(&shared), Instant::now());
    let span = dispatch::span(&shared, &entry);
    let found = if asks_first { found_elsewhere(&shared, &entry).await } else { None };
    let outcome = match found {
        Some(found) => found,
        None => {
            let pushed = push_once((shared, submitter), process, entry, born, watch.as_mut());
            pushed.instrument(span.clone()).await
        }
    };
    let took = began.elapsed();
    metrics.metrics.push_times.add(took);
    if matches!(outcome, PushOutcome::Assigned { how: How::Carried, .. }) {
        metrics.market.carried_in(took, metrics.clock.now());
        if let Some(watch) = watch {
            watch.note(&metrics, &entry);
        }
    }
    metrics.metrics.pushes.add(outcome.name());
    span.in_scope(|| tracing::debug!(to = %entry.to, outcome = outcome.name(), "pushed"));
    Input::Pushed { push_id: entry.push_id, outcome }
}

/// The slot that another messenger brought a message to meanwhile: what the scheduler of its target answers, which is
/// asked before a backup hands the whole message over. None where it has none, or is not asked: then what is handed over
/// is answered with the slot that there is.
async fn found_elsewhere(shared: &Shared, entry: &Entry) -> Option<PushOutcome> {
    let To::Process(target) = entry.to else { return None };
    let target = hosting::find_process(shared, target).await.ok()?;
    if target.scheduler() == shared.address {
        return None;
    }
    let peer = remote::with_address(shared, target.scheduler()).await.ok()?;
    let place = Source { process: entry.source, position: entry.position, index: entry.index };
    let pushed = pushed::ask(shared, peer, &target, place).await.ok()??;
    Some(PushOutcome::Assigned { assignment: pushed.assignment, how: How::Found })
}

/// Builds what an entry comes to and takes it to its scheduler.
async fn push_once(
    (shared, submitter): (SharedRef, Submitter),
    process: Arc<Process>,
    entry: Entry,
    born: Option<Box<Born>>,
    mut watch: Option<&mut Stopwatch>,
) -> PushOutcome {
    let is_last = born.is_some() || !matches!(entry.to, To::Scheduler(_));
    let source = Arc::clone(&process);
    let build = {
        let shared = SharedRef::clone(&shared);
        move || dispatch::parcel(&shared, &process, &entry, born.as_deref())
    };
    if let To::Process(target) = &entry.to
        && shared.directory.is_wallet(target)
    {
        return PushOutcome::Refused(dispatch::WALLET.to_owned());
    }
    let parcel = match tokio::task::spawn_blocking(build).await {
        Ok(Ok(parcel)) => parcel,
        Ok(Err(error @ (DispatchError::Kind(_) | DispatchError::Damaged(_)))) => {
            return PushOutcome::Refused(error.to_string());
        }
        Ok(Err(error)) => return PushOutcome::Unreachable(error.to_string()),
        Err(error) => return PushOutcome::Unreachable(error.to_string()),
    };
    let push = match parcel {
        Parcel::Push(push) => push,
        Parcel::Assigns(assigns) => return assign_each(&submitter, assigns).await,
    };
    let (item, proof) = (push.item.raw().clone(), push.proof.raw().clone());
    steps::reached(Step::Proved);
    if let Some(watch) = &mut watch {
        watch.proved();
    }
    let submitted = submitter.submit(item.clone(), proof.clone()).await;
    if let Some(watch) = &mut watch {
        watch.answered();
    }
    if submitted.is_ok() {
        steps::reached(Step::Answered);
    }
    match submitted {
        Ok(slot) => {
            // The news of a child is not paid: the spawn was.
            if matches!(entry.to, To::Process(_)) || !is_last {
                let place = Source { process: entry.source, position: entry.position, index: entry.index };
                let (carried, assignment) = (push.item.clone(), slot.signed.clone());
                let delivered = Delivered { place, item: carried, proof, assignment };
                earn::keep(&shared, &source, delivered).await;
            }
            if !is_last {
                return born_at(&shared, &push.item, slot).await;
            }
            announce_receipt(&shared, &entry, &slot, item);
            let how = if slot.duplicate { How::Duplicate } else { How::Carried };
            PushOutcome::Assigned { assignment: slot.assignment, how }
        }
        // Whom a scheduler takes is its policy; the process asked this one and no other.
        Err(SubmitError::Refused(why)) if !is_last => PushOutcome::Refused(why),
        Err(error) => outcome_of(error),
    }
}

fn outcome_of(error: SubmitError) -> PushOutcome {
    match error {
        SubmitError::Busy(retry_ms) | SubmitError::Full(retry_ms) | SubmitError::Grown(retry_ms) => {
            PushOutcome::Busy { retry_ms }
        }
        SubmitError::Invalid(why) => PushOutcome::Refused(why),
        error => PushOutcome::Unreachable(error.to_string()),
    }
}

/// Asks for the slots of an item in one log after the other. Done when each has given one or never
/// will; until then all are asked again, and answer with the first slot.
async fn assign_each(submitter: &Submitter, assigns: Vec<Assign>) -> PushOutcome {
    let (mut given, mut refused, mut later) = (None, None, None);
    for assign in assigns {
        match submitter.assign(assign).await {
            Ok(slot) => given = Some(slot),
            Err(SubmitError::Refused(why)) => refused = Some(PushOutcome::Refused(why)),
            Err(error) => match outcome_of(error) {
                outcome @ PushOutcome::Refused(_) => refused = Some(outcome),
                outcome => later = Some(outcome),
            },
        }
    }
    let given = given.map(|slot: Slot| {
        let how = if slot.duplicate { How::Duplicate } else { How::Carried };
        PushOutcome::Assigned { assignment: slot.assignment, how }
    });
    let none = || PushOutcome::Refused("it names no process".to_owned());
    later.or(given).or(refused).unwrap_or_else(none)
}

/// What a spawn became: the item that was submitted, or one that another messenger submitted
/// before.
async fn born_at(shared: &SharedRef, item: &Verified<DataItem>, slot: Slot) -> PushOutcome {
    let header = match slot.process == item.id() {
        true => Ok(Verified::<Header>::of(item)),
        false => hosting::find_process(shared, slot.process)
            .await
            .map(|process| Verified::<Header>::of(process.item())),
    };
    match (header, DataItem::verify_bytes(slot.signed)) {
        (Ok(header), Ok(assignment)) => PushOutcome::Born(Box::new(Born { header, assignment })),
        (Err(error), _) => PushOutcome::Unreachable(error.to_string()),
        (_, Err(error)) => PushOutcome::Unreachable(error.to_string()),
    }
}

/// Tells the other messengers of the source that this push is done. The slot is durable at the
/// target's scheduler, which signed it.
fn announce_receipt(shared: &SharedRef, entry: &Entry, slot: &Slot, item: Bytes) {
    if item.len() > RECEIPT_ITEM_BYTES_MAX {
        return;
    }
    let receipt = wire::Receipt {
        position: Some(entry.position.into()),
        index: entry.index,
        assignment: slot.signed.clone(),
        item,
    };
    shared.publisher.publish(entry.source, Body::Receipt(receipt));
}

/// Asks the attestors of a process for what they signed of a position, and keeps what verifies.
pub(super) async fn collect_attestations(shared: &SharedRef, process: &Process, position: Position) {
    for member in process.attestors().members {
        if member == shared.address {
            continue;
        }
        let Ok(peer) = remote::with_address(shared, member).await else { continue };
        let Ok(found) = remote::attestations(shared, peer, process.id(), position).await else { continue };
        for message in found {
            let attestation = Attestation::from_wire(&message, shared.network).ok();
            if let Some(attestation) = attestation.and_then(|attestation| attestation.verify().ok()) {
                keep_attestation(shared, process, &attestation).await;
            }
        }
    }
}
