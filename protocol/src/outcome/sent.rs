//! What a process sent, shown to a messenger that did not compute it.
//!
//! Attestors sign the running outcome hash of a position, and that follows from the hash before it and the outcome.
//! So a stretch of outcomes, from a position that the asker has to one that a quorum signed, is all there is between
//! them: whoever leaves out a position, an entry or the order of two comes to another hash. Whose word it came
//! by does not matter.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use prost::Message as _;

use super::{Outbox, OutboxEntry, OutcomeCore, Running};
use crate::attestation::{Attestation, Statement};
use crate::id::{Address, Hash};
use crate::position::Position;
use crate::process::Process;
use crate::verify::Verified;
use crate::wire::{self, SENT_OUTCOMES_MAX, WireError};

/// Bytes of one position in a stretch: its outcome, and the root of its outbox.
pub const OUTCOME_BYTES: usize = OutcomeCore::BYTES + 32;
/// Slots, or bytes, of an answer from which on there may be more at once: it is cut where it has as much as the one who gives it
/// has room for, and that is less on a slow line.
const MANY_SLOTS: u64 = 256;
const MANY_BYTES: usize = 64 * 1024;

/// What the asker has already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Since {
    /// Nothing: all from slot 0 on is asked for.
    Start,
    /// Everything up to this position, at which O was this.
    After(Position, Running),
    /// Nothing, and only what comes from now on is asked for.
    Newest,
}

/// Why an answer shows nothing. What a quorum signed is another matter: a peer may not have heard of it yet.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NotShown {
    /// A field is malformed.
    #[error(transparent)]
    Wire(#[from] WireError),
    /// It does not begin where it was asked to, or its positions do not ascend.
    #[error("its positions do not follow what was asked for")]
    Order,
    /// An outbox is not the one that its outcome commits to.
    #[error("the outbox at {0} is not what its outcome says")]
    Outbox(Position),
    /// No quorum signed any position of it.
    #[error("no quorum of attestors signed for it")]
    Unsigned,
}

impl NotShown {
    /// Whether an honest peer never gives such an answer.
    pub fn is_lie(&self) -> bool {
        !matches!(self, Self::Unsigned)
    }
}

/// A position that sent something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sent {
    /// What its outcome hashes beside the outbox root.
    pub core: OutcomeCore,
    /// O before it.
    pub before: Running,
    /// O at it.
    pub running: Running,
    /// The state root that its attestors signed, at a boundary.
    pub state_root: Option<Hash>,
    /// What it sent.
    pub outbox: Outbox,
}

/// What a process sent in a stretch of positions, all of it.
#[derive(Debug, Clone)]
pub struct Stretch {
    /// The positions that sent something, in order.
    pub sent: Vec<Sent>,
    /// Where it ends: a quorum signed that.
    pub end: (Position, Running),
    /// Attestations of its positions that agree with it, each key's once.
    pub attestations: Vec<Verified<Attestation>>,
    /// Whether positions came that no quorum has signed yet.
    pub is_cut: bool,
    /// Bytes of the answer that showed it.
    pub bytes: usize,
}

impl Stretch {
    /// Whether there may be more behind it at once, where it was asked for so: whoever asks again hears at once whether there is.
    pub fn may_have_more(&self, since: Since) -> bool {
        let from = match since {
            // The newest is the last.
            Since::Newest => return false,
            Since::Start => 0,
            Since::After(position, _) => position.slot,
        };
        self.end.0.slot.saturating_sub(from) >= MANY_SLOTS || self.bytes >= MANY_BYTES
    }
}

/// Decides what an answer shows. `held` are attestations that the asker has beside those that came with it. Only
/// signatures of the process's attestors are looked at.
///
/// # Errors
/// Why it shows nothing.
pub fn verify(
    process: &Process,
    since: Since,
    answer: wire::SentResponse,
    held: Vec<wire::Attestation>,
) -> Result<Stretch, NotShown> {
    let bytes = answer.encoded_len();
    let wire::SentResponse { before, outcomes, outboxes, attestations } = answer;
    let before = Running(wire::hash("before", &before)?);
    let is_next = match since {
        Since::Start => before == Running::before(process.id()),
        Since::After(_, running) => before == running,
        Since::Newest => true,
    };
    let after = if let Since::After(position, _) = since { Some(position) } else { None };
    let mut steps = read_steps(&outcomes, before)?;
    let positions: Vec<Position> = steps.iter().map(|step| step.core.position).collect();
    let ascends = after.into_iter().chain(positions.iter().copied()).is_sorted_by(|a, b| a < b);
    if !is_next || !ascends {
        return Err(NotShown::Order);
    }
    let mut outboxes = outboxes.into_iter().peekable();
    for (at, step) in (0u32..).zip(&mut steps) {
        let outbox = match outboxes.next_if(|outbox| outbox.at == at) {
            Some(outbox) => read_outbox(&outbox)?,
            None => Outbox::default(),
        };
        if outbox.root() != step.root {
            return Err(NotShown::Outbox(step.core.position));
        }
        step.outbox = outbox;
    }
    if outboxes.next().is_some() {
        return Err(WireError::Field("outboxes").into());
    }
    let agreed = Agreed::of(process, &steps, held.into_iter().chain(attestations));
    cut(process, steps, agreed, bytes)
}

/// One position of a stretch.
struct Step {
    core: OutcomeCore,
    root: Hash,
    before: Running,
    running: Running,
    outbox: Outbox,
}

fn read_steps(outcomes: &[u8], mut running: Running) -> Result<Vec<Step>, WireError> {
    let (outcomes, rest) = outcomes.as_chunks::<OUTCOME_BYTES>();
    if !rest.is_empty() || outcomes.is_empty() || outcomes.len() > SENT_OUTCOMES_MAX {
        return Err(WireError::Field("outcomes"));
    }
    let mut steps = Vec::with_capacity(outcomes.len());
    for outcome in outcomes {
        let malformed = WireError::Field("outcomes");
        let (core, root) = outcome.split_first_chunk().ok_or_else(|| malformed.clone())?;
        let core = OutcomeCore::from_bytes(core).ok_or(malformed)?;
        let (root, before) = (wire::hash("outcomes", root)?, running);
        running = before.then(&core.hash(&root));
        steps.push(Step { core, root, before, running, outbox: Outbox::default() });
    }
    Ok(steps)
}

fn read_outbox(outbox: &wire::SentOutbox) -> Result<Outbox, WireError> {
    let entry = |bytes: &Bytes| OutboxEntry::from_bytes(bytes).map_err(|_| WireError::Field("entries"));
    let entries = outbox.entries.iter().map(entry).collect::<Result<_, _>>()?;
    Ok(Outbox::new(entries, outbox.excess))
}

/// What attestors signed of the positions of a stretch, where it agrees with it.
struct Agreed {
    by_position: BTreeMap<Position, Vec<Verified<Attestation>>>,
}

impl Agreed {
    /// Whatever is malformed, of others, or wrongly signed counts for nothing: the asker's own are among them.
    fn of(process: &Process, steps: &[Step], given: impl Iterator<Item = wire::Attestation>) -> Self {
        let attestors: BTreeSet<Address> = process.attestors().members.into_iter().collect();
        let mut seen = BTreeSet::new();
        let mut by_position: BTreeMap<Position, Vec<_>> = BTreeMap::new();
        for message in given {
            let Ok(attestation) = Attestation::from_wire(&message, process.network()) else { continue };
            let (said, by) = (*attestation.claims().statement(), attestation.claims().attestor());
            let at = steps.binary_search_by_key(&said.position, |step| step.core.position);
            let agrees =
                at.ok().and_then(|at| steps.get(at)).is_some_and(|step| step.running.0 == said.running);
            // Without scheduler sets there is one epoch.
            let is_of_it =
                said.process == process.id() && said.rules == process.rules() && said.position.epoch == 0;
            if agrees
                && is_of_it
                && attestors.contains(&by)
                && !seen.contains(&(said.position, by))
                && let Ok(attestation) = attestation.verify()
            {
                seen.insert((said.position, by));
                by_position.entry(said.position).or_default().push(attestation);
            }
        }
        Self { by_position }
    }

    /// What a quorum of this size says of a position.
    fn statement(&self, position: Position, quorum: usize) -> Option<&Statement> {
        let all = self.by_position.get(&position)?;
        let count = |said: &Statement| all.iter().filter(|other| other.statement() == said).count();
        all.iter().map(|attestation| attestation.statement()).find(|said| count(said) >= quorum)
    }
}

/// The stretch up to the last position that a quorum signed.
fn cut(
    process: &Process,
    mut steps: Vec<Step>,
    mut agreed: Agreed,
    bytes: usize,
) -> Result<Stretch, NotShown> {
    let quorum = process.attestors().quorum;
    let is_signed = |step: &Step| agreed.statement(step.core.position, quorum).is_some();
    let last = steps.iter().rposition(is_signed).ok_or(NotShown::Unsigned)?;
    let is_cut = last + 1 < steps.len();
    steps.truncate(last + 1);
    let end = steps.last().map(|step| (step.core.position, step.running)).ok_or(NotShown::Unsigned)?;
    let state_root = |position| {
        let first = || agreed.by_position.get(&position)?.first().map(|attestation| attestation.statement());
        let said = agreed.statement(position, quorum).or_else(first)?;
        (said.state_root != Hash::ZERO).then_some(said.state_root)
    };
    let sent = steps.into_iter().filter(|step| !step.outbox.is_empty());
    let sent = sent.map(|Step { core, before, running, outbox, .. }| Sent {
        state_root: state_root(core.position),
        core,
        before,
        running,
        outbox,
    });
    let sent = sent.collect();
    agreed.by_position.retain(|position, _| *position <= end.0);
    let attestations = agreed.by_position.into_values().flatten().collect();
    Ok(Stretch { sent, end, attestations, is_cut, bytes })
}
