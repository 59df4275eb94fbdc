//! Replay evidence: a claim, the same key's own claim of an earlier state, and what it takes to
//! run the log from the one to the other.
//!
//! Opening checks everything but the run: signatures, roots and links. The run is the caller's;
//! if it gives another O than the claim's, the key has contradicted itself.

use std::collections::BTreeMap;

use bytes::Bytes;
use prost::Message as _;

use crate::attestation::Attestation;
use crate::crypto::SignatureError;
use crate::hashing;
use crate::id::{Hash, Id, Network};
use crate::merkle;
use crate::outcome::Running;
use crate::record::{RecordError, SlotRecord};
use crate::state::{LEAF_BYTES, StateSummary, is_boundary, leaf_hash, tree_root};
use crate::time::TimePoint;
use crate::verify::{Unverified, Verified};
use crate::wire::{self, REPLAY_BYTES_MAX, WireError, decode_canonical};

/// Why replay evidence cannot be run.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ReplayError {
    /// The bytes.
    #[error(transparent)]
    Wire(#[from] WireError),
    /// A signature that fails.
    #[error("signature: {0}")]
    Signature(#[from] SignatureError),
    /// A slot record in it.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// The two claims are not of one key about one log, the base first.
    #[error("the base is not an earlier claim of the same key")]
    Base,
    /// The state is not the one that the base names.
    #[error("the state is not the base's")]
    State,
    /// A leaf that is not of the state's memory.
    #[error("leaf {0} is not of the state's memory")]
    Leaf(u64),
    /// Slots that do not lead from the base to the claim.
    #[error("the slots do not lead from the base to the claim")]
    Slots,
}

/// The bytes of replay evidence, well-formed.
#[derive(Debug, Clone)]
pub struct ReplayEvidence {
    message: wire::ReplayEvidence,
    name: Hash,
}

/// Everything that a run needs; the module is fetched by its id.
#[derive(Debug, Clone)]
pub struct ReplayCase {
    /// The claim to run again.
    pub claim: Verified<Attestation>,
    /// The state to start from.
    pub state: StateSummary,
    /// Memory leaves by index. A run that touches another one cannot decide.
    pub leaves: BTreeMap<u64, Bytes>,
    /// The keys of the seen list, 32 bytes each. The slots that hold them are not signed, so a
    /// run that meets a duplicate of a slot before the base cannot decide.
    pub seen: Bytes,
    /// The slots, in order and without gaps; each is yet to be verified with the process at hand.
    pub slots: Vec<Unverified<SlotRecord>>,
}

impl ReplayEvidence {
    /// Reads the canonical bytes.
    ///
    /// # Errors
    /// More than 64 MiB, or bytes that are not canonical.
    pub fn decode(bytes: &Bytes) -> Result<Self, WireError> {
        let message = decode_canonical(bytes, REPLAY_BYTES_MAX)?;
        Ok(Self { message, name: Self::name_of(bytes) })
    }

    /// Wraps a message that this node built.
    ///
    /// # Errors
    /// More than 64 MiB.
    pub fn new(message: wire::ReplayEvidence) -> Result<(Self, Bytes), WireError> {
        let bytes = Bytes::from(message.encode_to_vec());
        Ok((Self::decode(&bytes)?, bytes))
    }

    /// The name by which it is announced and pulled.
    pub const fn name(&self) -> Hash {
        self.name
    }

    /// The name of these bytes.
    pub fn name_of(bytes: &[u8]) -> Hash {
        hashing::blake3("weft/replay/1", &[bytes])
    }

    /// Checks everything but the run.
    ///
    /// # Errors
    /// The first part that does not fit.
    pub fn open(&self, network: Network) -> Result<ReplayCase, ReplayError> {
        let attestation = |field, message: Option<&wire::Attestation>| {
            let message = message.ok_or(WireError::Field(field))?;
            Ok::<_, ReplayError>(Attestation::from_wire(message, network)?.verify()?)
        };
        let claim = attestation("claim", self.message.claim.as_ref())?;
        let base = attestation("base", self.message.base.as_ref())?;
        let (said, from) = (claim.statement(), base.statement());
        let same = claim.attestor() == base.attestor() && said.process == from.process;
        if !same || from.position >= said.position || !is_boundary(from.position) {
            return Err(ReplayError::Base);
        }
        let state = self.state(&base)?;
        let seen = self.message.seen.clone();
        let seen_root = tree_root(seen.chunks(LEAF_BYTES).map(leaf_hash).collect());
        if seen.len() as u64 != state.seen_count.saturating_mul(32) || seen_root != state.seen_root {
            return Err(ReplayError::State);
        }
        let leaves = self.leaves(&state)?;
        let slots = self.slots(&claim, &base)?;
        Ok(ReplayCase { claim, state, leaves, seen, slots })
    }

    fn state(&self, base: &Attestation) -> Result<StateSummary, ReplayError> {
        let message = self.message.state.as_ref().ok_or(WireError::Field("state"))?;
        let base = base.statement();
        let state = StateSummary {
            process: base.process,
            rules: base.rules,
            module: wire::id("module", &message.module)?,
            position: base.position,
            time: TimePoint { timestamp: message.timestamp, height: message.height },
            memory_bytes: message.memory_bytes,
            memory_root: wire::hash("memory_root", &message.memory_root)?,
            seen_count: message.seen_count,
            seen_root: wire::hash("seen_root", &message.seen_root)?,
            running: Running(base.running),
        };
        if state.root() == base.state_root { Ok(state) } else { Err(ReplayError::State) }
    }

    fn leaves(&self, state: &StateSummary) -> Result<BTreeMap<u64, Bytes>, ReplayError> {
        let count = state.memory_bytes.div_ceil(LEAF_BYTES as u64);
        let mut leaves = BTreeMap::new();
        let mut last = None;
        for leaf in &self.message.leaves {
            let siblings: Result<Vec<Hash>, _> =
                leaf.path.iter().map(|sibling| wire::hash("path", sibling)).collect();
            let place = |number: u64| usize::try_from(number).map_err(|_| ReplayError::Leaf(leaf.index));
            let (index, count) = (place(leaf.index)?, place(count)?);
            let root = merkle::root_of_path(leaf_hash(&leaf.data), index, count, &siblings?);
            if last >= Some(leaf.index) || leaf.data.len() > LEAF_BYTES || root != Some(state.memory_root) {
                return Err(ReplayError::Leaf(leaf.index));
            }
            last = Some(leaf.index);
            leaves.insert(leaf.index, leaf.data.clone());
        }
        Ok(leaves)
    }

    fn slots(
        &self,
        claim: &Attestation,
        base: &Attestation,
    ) -> Result<Vec<Unverified<SlotRecord>>, ReplayError> {
        let (claim, base) = (claim.statement(), base.statement());
        let slots: Result<Vec<_>, _> = self.message.slots.iter().map(SlotRecord::from_wire).collect();
        let slots = slots?;
        // Ticks after a slot are evaluated when the next one is known.
        let last = if claim.position.tick == 0 {
            Some(claim.position.slot)
        } else {
            claim.position.slot.checked_add(1)
        };
        let expected = last.map(|last| base.position.slot + 1..=last).ok_or(ReplayError::Slots)?;
        let mut numbers = expected.clone();
        let continues = slots.iter().all(|slot| numbers.next() == Some(slot.claims().assignment().slot));
        let named = |slot: u64| {
            let at = slots.iter().find(|found| found.claims().assignment().slot == slot);
            at.map(|found| found.claims().assignment().id)
        };
        let of_claim = if claim.position.slot == base.position.slot {
            Some(base.assignment)
        } else {
            named(claim.position.slot)
        };
        let of_process = slots.iter().all(|slot| slot.claims().assignment().process == claim.process);
        if !continues || numbers.next().is_some() || !of_process || of_claim != Some(claim.assignment) {
            return Err(ReplayError::Slots);
        }
        Ok(slots)
    }
}

/// The wire form of a state summary whose process, position and O the base attestation names.
impl From<&StateSummary> for wire::StateSummary {
    fn from(state: &StateSummary) -> Self {
        let Id(module) = state.module;
        Self {
            module: Bytes::copy_from_slice(&module),
            timestamp: state.time.timestamp,
            height: state.time.height,
            memory_bytes: state.memory_bytes,
            memory_root: wire::bytes(state.memory_root),
            seen_count: state.seen_count,
            seen_root: wire::bytes(state.seen_root),
        }
    }
}
