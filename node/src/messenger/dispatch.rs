//! From an outbox row to a pushed item with its origin proof.

use std::collections::BTreeSet;

use bytes::Bytes;
use weft_protocol::assignment::Excluded;
use weft_protocol::attestation::{Attestation, Statement};
use weft_protocol::header::Header;
use weft_protocol::origin::{OriginProof, ProofError, ProofParts};
use weft_protocol::outcome::{EntryKind, Outbox, OutboxEntry, OutcomeCore, Running};
use weft_protocol::process::Process;
use weft_protocol::push::Dispatch;
use weft_protocol::{Address, DataItem, Hash, Id, Position, Verified, tag, wire};
use weft_storage::{CarriedRow, OutboxKey, OutboxRow, OutboxState, OutcomeRow, Reader, StoreError, Write};

use super::machine::{Born, Entry, Place, To};
use crate::shared::Shared;
use crate::submit::{Assign, StoredItem};

/// What is submitted to the target's scheduler.
#[derive(Debug)]
pub struct Push {
    /// The signed item.
    pub item: Verified<DataItem>,
    /// Its origin proof.
    pub proof: Verified<DataItem>,
}

/// Why no push can be made of an entry.
#[derive(Debug, thiserror::Error)]
pub enum DispatchError {
    /// The disk.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// What the entry needs is not on disk.
    #[error("{0} is not on disk")]
    Missing(&'static str),
    /// What is on disk cannot be read.
    #[error("{0} on disk cannot be read")]
    Damaged(&'static str),
    /// The proof cannot be made.
    #[error(transparent)]
    Proof(#[from] ProofError),
    /// This build does not carry entries of this kind.
    #[error("{0} are not carried by this build")]
    Kind(&'static str),
}

/// Why a message to the address of a key is not carried: no scheduler takes it. In the result
/// everybody reads it.
pub const WALLET: &str = "wallet";

/// Notes whose address a process may answer to at a position: that of its owner, and of whoever
/// signed the item that was evaluated there.
pub fn note_signers(shared: &Shared, process: &Process, signer: Option<Address>) {
    shared.directory.saw_signer(process.item().owner());
    if let Some(signer) = signer {
        shared.directory.saw_signer(signer);
    }
}

/// As [`note_signers`], with the item on disk.
///
/// # Errors
/// The disk.
pub fn note_wallets(
    shared: &Shared,
    reader: &Reader,
    process: &Process,
    item: Option<Id>,
) -> Result<(), StoreError> {
    let raw = item.map(|id| reader.item(&id)).transpose()?.flatten();
    // It was verified before it came to disk.
    let signer = raw.and_then(|raw| DataItem::parse(raw).ok()).map(|item| item.claims().owner());
    note_signers(shared, process, signer);
    Ok(())
}

/// How a new outbox entry starts. `is_wallet` says of an id that it is the address of a key.
fn first_state(entry: &OutboxEntry, is_wallet: impl Fn(&Id) -> bool) -> OutboxState {
    let dropped = |why: &str| OutboxState::Dropped { why: why.to_owned() };
    match entry.kind {
        EntryKind::Message if entry.target.as_ref().is_some_and(is_wallet) => dropped(WALLET),
        EntryKind::Message if entry.target.is_some() => OutboxState::Pending,
        EntryKind::Message => dropped("it has no target"),
        EntryKind::Dropped => dropped("it is malformed or over a limit"),
        EntryKind::Spawn if scheduler_of(entry).is_some_and(|named| named.is_none()) => {
            dropped("its Scheduler is no address")
        }
        EntryKind::Spawn => OutboxState::Pending,
        EntryKind::Assignment => OutboxState::Pending,
    }
}

/// The writes that put an outbox on disk; `is_wallet` says of an id that it is the address of a key.
pub fn outbox_writes(
    process: Id,
    position: Position,
    outbox: &Outbox,
    is_wallet: impl Fn(&Id) -> bool,
) -> Vec<Write> {
    let write = |(index, entry): (u32, &OutboxEntry)| {
        let row = OutboxRow {
            kind: entry.kind as u8,
            entry: entry.to_bytes().into(),
            root: entry.root,
            state: first_state(entry, &is_wallet),
            attempts: 0,
            next_try_ms: 0,
        };
        Write::Outbox { key: OutboxKey { process, position, index }, row }
    };
    (0u32..).zip(outbox.entries()).map(write).collect()
}

/// The `Scheduler` that a spawn names, if it names one, and if that is an address.
fn scheduler_of(entry: &OutboxEntry) -> Option<Option<Address>> {
    tag::first(&entry.tags, "Scheduler").map(|text| text.parse().ok())
}

/// Where an entry of this process, at this place, goes first; none if it goes nowhere.
pub fn destination(source: &Process, entry: &OutboxEntry, place: Place) -> Option<To> {
    match entry.kind {
        EntryKind::Message => entry.target.map(To::Process),
        EntryKind::Spawn => scheduler_of(entry).unwrap_or(Some(source.scheduler())).map(To::Scheduler),
        EntryKind::Assignment => match assigned_to(entry)[..] {
            [] => None,
            [process] => Some(To::Process(process)),
            _ => Some(To::Several(place)),
        },
        EntryKind::Dropped => None,
    }
}

/// The processes that an assignment is for.
fn assigned_to(entry: &OutboxEntry) -> Vec<Id> {
    tag::all(&entry.tags, "Process").filter_map(|process| process.parse().ok()).collect()
}

/// What an entry comes to at other schedulers.
#[derive(Debug)]
pub enum Parcel {
    /// An item that carries what the source sent.
    Push(Box<Push>),
    /// An existing item that gets a slot in these logs. It speaks for itself (RULES.md 6.2): who
    /// asked for the slot is nobody's concern, so what proves the asking stays here.
    Assigns(Vec<Assign>),
}

/// Builds and signs a push, or the `Spawned` message of a spawn that became `born`; or collects
/// what an assignment asks for.
///
/// # Errors
/// [`DispatchError::Missing`] until a quorum has attested the position; else what is wrong.
pub fn parcel(
    shared: &Shared,
    source: &Process,
    entry: &Entry,
    born: Option<&Born>,
) -> Result<Parcel, DispatchError> {
    if let Some(assigns) = assigns(shared, entry)? {
        return Ok(Parcel::Assigns(assigns));
    }
    let (proof, dispatch) = prove(shared, source, entry)?;
    let proof = match born {
        None => proof,
        Some(Born { header, assignment }) => proof.with_child(header, assignment),
    };
    let proof = proof.sign(&shared.signer)?;
    let draft = match (born, entry.to) {
        (Some(born), _) => dispatch.spawned(born.child(), proof.id()),
        (None, To::Process(_)) => dispatch.message(proof.id()),
        (None, To::Scheduler(_)) => dispatch.process(proof.id()),
        (None, To::Several(_)) => None,
    };
    let draft = draft.ok_or(DispatchError::Kind("such entries"))?;
    let item = draft.sign(&shared.signer).map_err(ProofError::from)?;
    Ok(Parcel::Push(Box::new(Push { item, proof })))
}

/// The span of the message that sent an entry; none where nobody reads it, or a tick sent it.
pub fn span(shared: &Shared, entry: &Entry) -> tracing::Span {
    if !tracing::enabled!(tracing::Level::INFO) {
        return tracing::Span::none();
    }
    let outcome = shared.store.read().and_then(|reader| reader.outcome(&entry.source, entry.position));
    let item = outcome.ok().flatten().and_then(|outcome| outcome.item);
    item.map_or_else(tracing::Span::none, |item| crate::trace::message(&item))
}

/// What an assignment of an item asks of each process; none if the entry is something else.
fn assigns(shared: &Shared, entry: &Entry) -> Result<Option<Vec<Assign>>, DispatchError> {
    let reader = shared.store.read()?;
    let key = OutboxKey { process: entry.source, position: entry.position, index: entry.index };
    let row = reader.outbox_entry(&key)?.ok_or(DispatchError::Missing("the entry"))?;
    let sent = OutboxEntry::from_bytes(&row.entry);
    let sent = sent.map_err(|_| DispatchError::Damaged("an outbox entry"))?;
    if sent.kind != EntryKind::Assignment {
        return Ok(None);
    }
    let item = tag::first(&sent.tags, "Message").and_then(|item| item.parse().ok());
    let item = item.ok_or(DispatchError::Damaged("an outbox entry"))?;
    // A name that is no field of an item hides nothing, here as in the reference.
    let mut excludes: Vec<_> = tag::all(&sent.tags, "Exclude").filter_map(Excluded::parse).collect();
    let mut seen = BTreeSet::new();
    excludes.retain(|field| seen.insert(*field));
    let base_layer = tag::first(&sent.tags, "Base-Layer").is_some();
    let stored = StoredItem::of(&reader, item, base_layer)?;
    let assign =
        |process| Assign { process, item, base_layer, excludes: excludes.clone(), stored: stored.clone() };
    Ok(Some(assigned_to(&sent).into_iter().map(assign).collect()))
}

/// The proof of an entry from what the disk holds, and what to push with it.
fn prove(shared: &Shared, source: &Process, entry: &Entry) -> Result<(OriginProof, Dispatch), DispatchError> {
    let reader = shared.store.read()?;
    let (process, position) = (entry.source, entry.position);
    let origin = Origin::read(&reader, process, position)?.ok_or(DispatchError::Missing("the outcome"))?;
    let core = origin.core.as_ref().try_into().ok().and_then(OutcomeCore::from_bytes);
    let outbox = read_outbox(&reader, process, position, origin.outbox_count)?;
    let at = usize::try_from(entry.index).ok();
    let sent = at.and_then(|at| outbox.entries().get(at)).ok_or(DispatchError::Missing("the entry"))?;
    let attestations = read_attestations(shared, &reader, process, position)?;
    let said = agreed(source, &attestations, origin.running);
    let said = said.ok_or(DispatchError::Missing("a quorum of attestations"))?;
    let header = Verified::<Header>::of(source.item());
    let parts = ProofParts {
        network: shared.network,
        header: &header,
        certificates: &[],
        entry: sent,
        path: outbox.path(entry.index).ok_or(DispatchError::Missing("the entry"))?,
        outcome: core.ok_or(DispatchError::Damaged("the outcome"))?,
        before: Running(origin.before),
        assignment: said.assignment,
        state_root: said.state_root,
        attestations: &attestations,
    };
    Ok(OriginProof::build(&parts)?)
}

/// Whether a quorum of the process's attestors has signed this position alike.
///
/// # Errors
/// The disk.
pub fn is_attested(shared: &Shared, source: &Process, position: Position) -> Result<bool, StoreError> {
    let reader = shared.store.read()?;
    let Some(origin) = Origin::read(&reader, source.id(), position)? else { return Ok(false) };
    let attestations = read_attestations(shared, &reader, source.id(), position)?;
    Ok(agreed(source, &attestations, origin.running).is_some())
}

/// What a proof repeats of a position: evaluated here, or collected.
struct Origin {
    core: Bytes,
    before: Hash,
    running: Hash,
    outbox_count: u32,
}

impl Origin {
    fn read(reader: &Reader, process: Id, position: Position) -> Result<Option<Self>, StoreError> {
        if let Some(CarriedRow { core, before, running, outbox_count, .. }) =
            reader.carried(&process, position)?
        {
            return Ok(Some(Self { core, before, running, outbox_count }));
        }
        let Some(row) = reader.outcome(&process, position)? else { return Ok(None) };
        let OutcomeRow { core, running, outbox_count, .. } = row;
        let before = running_before(reader, process, position)?.0;
        Ok(Some(Self { core, before, running, outbox_count }))
    }
}

/// What a quorum of the process's attestors said of a position at which O was this.
fn agreed(source: &Process, attestations: &[Verified<Attestation>], running: Hash) -> Option<Statement> {
    let attestors = source.attestors();
    let of_it = attestations.iter().filter(|attestation| {
        attestors.members.contains(&attestation.attestor()) && attestation.statement().running == running
    });
    let said: Vec<&Statement> = of_it.map(|attestation| attestation.statement()).collect();
    let agree = |one: &Statement| said.iter().filter(|other| **other == one).count();
    said.iter().copied().find(|one| agree(one) >= attestors.quorum).copied()
}

fn read_outbox(
    reader: &Reader,
    process: Id,
    position: Position,
    count: u32,
) -> Result<Outbox, DispatchError> {
    let mut entries = Vec::new();
    for (_, row) in reader.outbox(&process, position)? {
        let entry = OutboxEntry::from_bytes(&row.entry);
        entries.push(entry.map_err(|_| DispatchError::Damaged("an outbox entry"))?);
    }
    let excess = count.saturating_sub(u32::try_from(entries.len()).unwrap_or(u32::MAX));
    Ok(Outbox::new(entries, excess))
}

fn read_attestations(
    shared: &Shared,
    reader: &Reader,
    process: Id,
    position: Position,
) -> Result<Vec<Verified<Attestation>>, StoreError> {
    let rows = reader.attestations(&process, position)?;
    let read = |bytes: &[u8]| {
        let message: wire::Attestation = prost::Message::decode(bytes).ok()?;
        Attestation::from_wire(&message, shared.network).ok()?.verify().ok()
    };
    Ok(rows.iter().filter_map(|(_, row)| read(&row.bytes)).collect())
}

/// O before a position.
fn running_before(reader: &Reader, process: Id, position: Position) -> Result<Running, StoreError> {
    let previous = reader.outcome_before(&process, position)?;
    Ok(previous.map_or_else(|| Running::before(process), |(_, row)| Running(row.running)))
}
