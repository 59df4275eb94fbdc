//! What is done with a run once the guest is through: one commit, then it is said.

use std::time::Duration;

use prost::Message as _;
use weft_protocol::attestation::Statement;
use weft_protocol::wire::announcement::Body;
use weft_protocol::{Hash, Id, Position};
use weft_storage::{AttestationRow, Checkpoints, OutcomeRow, Reader, Write};

use crate::compute::checkpoint::{Checkpoint, surplus};
use crate::compute::hosted::{Evaluated, HostError};
use crate::compute::pool::{Done, Work};
use crate::error::NodeError;
use crate::metrics::Metrics;
use crate::news::News;
use crate::room::CHECKPOINTS_SCARCE;
use crate::shared::{Shared, SharedRef};
use crate::supervisor::joined;

/// Checkpoints of one process that one look at the disk may bring up.
const CHECKPOINTS_SEEN_MAX: usize = 10_000;

/// Commits what a job gave, and says what is durable.
pub(super) async fn commit(shared: SharedRef, done: Done) -> Done {
    let Done { process, errand, result } = done;
    let result = match result {
        Ok(work) => store(&shared, process, work).await,
        Err(error) => Err(error),
    };
    Done { process, errand, result }
}

async fn store(shared: &Shared, process: Id, mut work: Work) -> Result<Work, HostError> {
    let (writes, attested) = outcomes(shared, process, &work.evaluated)?;
    if !writes.is_empty() {
        shared.store.write(writes).await?;
    }
    for step in &work.evaluated {
        count(&shared.metrics, step);
        let position = step.closed.outcome.position;
        let sends = !step.closed.outcome.outbox.is_empty();
        shared.news.tell(News::Computed { process, position, sends });
    }
    for (position, body) in attested {
        say_attested(shared, process, position, body);
    }
    if let Err(error) = store_checkpoints(shared, process, &mut work).await {
        // Nothing but time depends on it: the next one brings all its pages along.
        tracing::warn!(%process, %error, "a checkpoint was not written");
        if let Some(hosted) = &mut work.hosted {
            hosted.forget_stored();
        }
    }
    Ok(work)
}

fn count(metrics: &Metrics, step: &Evaluated) {
    metrics.outcomes.add(step.closed.outcome.code.name());
    metrics.gas.inc_by(step.gas);
    metrics.compute_times.add(Duration::from_micros(step.elapsed_us));
}

/// What was attested: where, and what the topic is told of it.
type Attested = Vec<(Position, Body)>;

/// The writes of a run's outcomes and attestations.
fn outcomes(
    shared: &Shared,
    process: Id,
    evaluated: &[Evaluated],
) -> Result<(Vec<Write>, Attested), HostError> {
    let (mut writes, mut attested) = (Vec::new(), Vec::new());
    if evaluated.is_empty() {
        return Ok((writes, attested));
    }
    let reader = shared.store.read()?;
    let known = shared.directory.get(&process);
    for step in evaluated {
        if let Some(known) = known.as_ref().filter(|_| !step.closed.outcome.outbox.is_empty()) {
            crate::messenger::note_signers(shared, &known.process, step.signer);
        }
        writes.extend(outcome_writes(process, step, |id| shared.directory.is_wallet(id)));
        let position = step.closed.outcome.position;
        if !step.closed.outcome.outbox.is_empty() || step.state_root.is_some() {
            let signed = sign(shared, &reader, process, position, step.closed.running.0, step.state_root)?;
            if let Some((write, body)) = signed {
                writes.push(write);
                attested.push((position, body));
            }
        }
    }
    Ok((writes, attested))
}

/// Writes the checkpoint of a run and forgets those that are too many or of no use. What makes room is
/// asked for apart from what takes it.
async fn store_checkpoints(shared: &Shared, process: Id, work: &mut Work) -> Result<(), HostError> {
    let new = work.checkpoint.take();
    let position = new.as_ref().map(|checkpoint| checkpoint.position);
    let mut gone = std::mem::take(&mut work.damaged);
    let Some(checkpoint) = new else {
        forget(shared, process, gone).await;
        return Ok(());
    };
    let there = held(shared, process).await?;
    gone.extend(there.of_no_use);
    // It takes the place of what is there, and its first pages may be there already.
    gone.retain(|held| Some(*held) != position);
    let mut kept = there.finished;
    kept.retain(|held| *held < checkpoint.position && !gone.contains(held));
    if shared.room.is_scarce() {
        // The newest stay, which have the pages that this one does not bring again.
        gone.extend(kept.split_off(kept.len().min(CHECKPOINTS_SCARCE)));
    }
    forget(shared, process, gone).await;
    let Checkpoint { position, writes } = checkpoint;
    let written = match shared.store.has_room(0) {
        true => shared.store.write(writes).await.map_err(HostError::from),
        // Said as the store would: it has room for this, but for little else.
        false => Err(shared.store.no_room().into()),
    };
    if written.is_err() {
        let there = held(shared, process).await?;
        forget(shared, process, there.of_no_use).await;
        return written;
    }
    shared.metrics.checkpoints.inc();
    kept.insert(0, position);
    let keep = if shared.room.is_scarce() { CHECKPOINTS_SCARCE } else { shared.config.checkpoints_kept };
    forget(shared, process, surplus(&kept, keep)).await;
    Ok(())
}

/// The checkpoints of a process. Each lists all its pages, so reading them takes a while.
async fn held(shared: &Shared, process: Id) -> Result<Checkpoints, HostError> {
    let reader = shared.store.read()?;
    let reading = tokio::task::spawn_blocking(move || reader.checkpoints(&process, CHECKPOINTS_SEEN_MAX));
    Ok(joined(reading.await).transpose()?.unwrap_or_default())
}

/// Drops checkpoints; one that stays is dropped another time.
async fn forget(shared: &Shared, process: Id, gone: Vec<Position>) {
    for position in gone {
        if let Err(error) = shared.store.drop_checkpoint(process, position).await {
            tracing::warn!(%process, %position, %error, "a checkpoint was not dropped");
        }
    }
}

fn say_attested(shared: &Shared, process: Id, position: Position, body: Body) {
    let attestor = shared.address;
    shared.news.tell(News::Attested { process, position, attestor });
    shared.publisher.publish(process, body);
}

/// Attests the newest position of a process that is quiet.
pub(super) async fn attest_quiet(shared: SharedRef, process: Id) {
    if let Err(error) = attest_newest(&shared, process).await {
        tracing::warn!(%process, %error, "the newest position was not attested");
    }
}

/// Attests the newest position, if it is not attested yet.
async fn attest_newest(shared: &SharedRef, process: Id) -> Result<(), HostError> {
    let signing = SharedRef::clone(shared);
    // It may read and verify the Process item, and an RSA key takes milliseconds.
    let made = tokio::task::spawn_blocking(move || sign_newest(&signing, process)).await;
    if let Some((position, write, body)) = joined(made).transpose()?.flatten() {
        shared.store.write(vec![write]).await?;
        say_attested(shared, process, position, body);
    }
    Ok(())
}

fn sign_newest(shared: &Shared, process: Id) -> Result<Option<(Position, Write, Body)>, HostError> {
    let reader = shared.store.read()?;
    let Some(position) = reader.last_computed(&process)? else { return Ok(None) };
    if reader.attestation(&process, position, &shared.address)?.is_some() {
        return Ok(None);
    }
    let row = reader.outcome(&process, position)?;
    // Of a checkpoint from which the process goes on here only others know what it came of.
    let Some(row) = row.filter(|row| !row.is_pruned()) else { return Ok(None) };
    let made = sign(shared, &reader, process, position, row.running, row.state_root)?;
    Ok(made.map(|(write, body)| (position, write, body)))
}

/// Signs a position if this node is one of the process's attestors. The slot's assignment
/// must be on disk, which it is for every position that was evaluated.
fn sign(
    shared: &Shared,
    reader: &Reader,
    process: Id,
    position: Position,
    running: Hash,
    state_root: Option<Hash>,
) -> Result<Option<(Write, Body)>, HostError> {
    let Some(known) = shared.directory.get(&process) else { return Ok(None) };
    if !known.process.attestors().members.contains(&shared.address) {
        return Ok(None);
    }
    let Some(slot) = reader.slot(&process, position.slot)? else { return Ok(None) };
    let place = (position, slot.assignment_id);
    let statement = Statement::of(&known.process, shared.network, place, (running, state_root));
    let attestation = statement
        .sign(&shared.signer)
        .map_err(|error| NodeError::Key(format!("the node's key cannot attest: {error}")))?;
    let wire = attestation.to_wire();
    let bytes = wire.encode_to_vec().into();
    let row = AttestationRow { statement: attestation.statement().hash(), bytes };
    let write = Write::Attestation { process, position, attestor: shared.address, row };
    Ok(Some((write, Body::Attestation(wire))))
}

/// What one evaluated step puts on disk.
pub fn outcome_writes(process: Id, step: &Evaluated, is_wallet: impl Fn(&Id) -> bool) -> Vec<Write> {
    let closed = &step.closed;
    let outcome = &closed.outcome;
    let position = outcome.position;
    let row = OutcomeRow {
        item: closed.item,
        core: outcome.core().to_bytes().to_vec().into(),
        code: outcome.code.number(),
        outcome: closed.hash,
        running: closed.running.0,
        outbox_root: outcome.outbox.root(),
        outbox_count: outcome.outbox.count(),
        duplicate_of: outcome.duplicate_of.map(|slot| Position { slot, tick: 0, ..position }),
        skipped: outcome.skipped,
        gas: step.gas,
        result: step.result.clone().into(),
        state_root: step.state_root,
        elapsed_us: step.elapsed_us,
    };
    let mut writes: Vec<Write> = crate::log::seen_writes(process, position, &closed.keys).collect();
    writes.push(Write::Outcome { process, position, row });
    writes.extend(crate::messenger::outbox_writes(process, position, &outcome.outbox, is_wallet));
    writes
}
