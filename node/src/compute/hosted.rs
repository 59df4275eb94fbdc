//! One live process: its fold, its guest instance, and what running them writes to disk.
//!
//! Runs on a guest thread. A host failure loses the instance and nothing else: the next run loads
//! it again from the newest checkpoint and the log.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use weft_protocol::fold::{Closed, Did, Fold, FoldError, FoldState, Work};
use weft_protocol::message::env_json;
use weft_protocol::module::Module;
use weft_protocol::outcome::{Code, Running};
use weft_protocol::process::{Process, Refusal};
use weft_protocol::record::VerifiedRecord;
use weft_protocol::state::{self, StateSummary};
use weft_protocol::time::TimePoint;
use weft_protocol::{DataItem, Hash, Id, Position};
use weft_storage::{CheckpointRow, PackedPage, PageRef, Reader, StoreError, Write};
use weft_vm::{
    Engine, Format, HostFault, Instance, LEAF_BYTES, Limits, MemoryImage, ModuleError, Outcome, PAGE_BYTES,
    Trap, VmError,
};

use super::frozen::Frozen;
use crate::error::{Divergence, NodeError};
use crate::log;

/// Why a process cannot run here now.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HostError {
    /// The disk, or what lies on it.
    #[error(transparent)]
    Node(#[from] NodeError),
    /// The module is not here yet.
    #[error("module {0} is not here")]
    NoModule(Id),
    /// The module item breaks a rule: everybody refuses it.
    #[error("module {0} is refused: {1}")]
    Module(Id, String),
    /// The engine failed.
    #[error("the engine failed: {0}")]
    Engine(#[from] HostFault),
    /// The fold was driven wrongly.
    #[error("the fold failed: {0}")]
    Fold(#[from] FoldError),
}

impl From<StoreError> for HostError {
    fn from(error: StoreError) -> Self {
        Self::Node(error.into())
    }
}

impl HostError {
    /// Whether trying again later can help.
    pub const fn may_pass(&self) -> bool {
        match self {
            Self::NoModule(_) | Self::Engine(_) => true,
            Self::Node(error) => !matches!(error, NodeError::DamagedLog { .. } | NodeError::Diverged(_)),
            Self::Module(..) | Self::Fold(_) => false,
        }
    }
}

/// The module of a process, compiled, with the limits of the process.
pub struct Loaded {
    pub(super) compiled: weft_vm::Module,
    pub(super) limits: Limits,
    pub(super) env: String,
    pub(super) reports_gas: bool,
}

/// Reads, checks and compiles the module of a process. Refusals are alike on every node.
///
/// # Errors
/// [`HostError::NoModule`] and [`HostError::Module`], or a failure of this host.
pub fn load_module(reader: &Reader, engine: &Engine, process: &Process) -> Result<Loaded, HostError> {
    let id = process.module();
    let raw = reader.item(&id)?.ok_or(HostError::NoModule(id))?;
    let refused = |why: String| HostError::Module(id, why);
    let item = DataItem::verify_bytes(raw).map_err(|error| refused(error.to_string()))?;
    let module = Module::accept(item).map_err(|refusal: Refusal| refused(refusal.to_string()))?;
    let format = Format::parse(module.format()).map_err(|error| refused(error.to_string()))?;
    let compiled = match engine.compile(&module.wasm(), format) {
        Ok(compiled) => compiled,
        Err(ModuleError::Host(fault)) => return Err(fault.into()),
        Err(error) => return Err(refused(error.to_string())),
    };
    let limits = module.limits(process).map_err(|refusal| refused(refusal.to_string()))?;
    Ok(Loaded {
        compiled,
        limits: Limits { gas: limits.gas, memory_bytes: limits.memory_bytes },
        env: env_json(process, &module),
        reports_gas: module.format().ends_with("-metering"),
    })
}

/// A live process.
pub struct Hosted {
    process: Arc<Process>,
    loaded: Arc<Loaded>,
    fold: Fold,
    instance: Instance,
}

/// One evaluated step, with what it cost here.
#[derive(Debug)]
pub struct Evaluated {
    /// The closed step.
    pub closed: Closed,
    /// The result as clients see it.
    pub result: String,
    /// Gas used.
    pub gas: u64,
    /// How long the guest took, in microseconds.
    pub elapsed_us: u64,
    /// The state root, at boundaries.
    pub state_root: Option<Hash>,
}

impl Hosted {
    /// The process before slot 0.
    ///
    /// # Errors
    /// As [`load_module`].
    pub fn fresh(process: Arc<Process>, loaded: Loaded) -> Result<Self, HostError> {
        let instance = loaded.compiled.instantiate(loaded.limits);
        let instance = instance.map_err(|error| vm_error(process.module(), error))?;
        let fold = Fold::new(&process);
        Ok(Self { process, loaded: Arc::new(loaded), fold, instance })
    }

    /// The process at its newest checkpoint, or before slot 0, and replayed from there to the
    /// newest outcome on disk. Every replayed step must come to the outcome that is on disk.
    ///
    /// # Errors
    /// As [`load_module`]; [`NodeError::Diverged`] when a replay differs.
    pub fn load(process: Arc<Process>, reader: &Reader, engine: &Engine) -> Result<Self, HostError> {
        match reader.last_outcome(&process.id())? {
            Some((last, _)) => Self::load_to(process, reader, engine, last),
            None => {
                let loaded = load_module(reader, engine, &process)?;
                Self::fresh(process, loaded)
            }
        }
    }

    /// The process after a position's slot, replayed from the checkpoint before it.
    ///
    /// # Errors
    /// As [`load`](Self::load).
    pub fn load_to(
        process: Arc<Process>,
        reader: &Reader,
        engine: &Engine,
        last: Position,
    ) -> Result<Self, HostError> {
        let id = process.id();
        let loaded = load_module(reader, engine, &process)?;
        let mut hosted = match reader.checkpoint_before(&id, last)? {
            Some((position, row)) => Self::restore(process, loaded, reader, position, &row)?,
            None => Self::fresh(process, loaded)?,
        };
        while hosted.fold.next_slot() <= last.slot {
            let from = hosted.fold.next_slot();
            for record in log::read_records(reader, &hosted.process, from, last.slot)? {
                for evaluated in hosted.run_slot(&record)? {
                    hosted.compare(reader, &evaluated)?;
                }
            }
        }
        Ok(hosted)
    }

    fn compare(&self, reader: &Reader, evaluated: &Evaluated) -> Result<(), HostError> {
        let (process, position) = (self.process.id(), evaluated.closed.outcome.position);
        match reader.outcome(&process, position)? {
            Some(row) if row.running != evaluated.closed.running.0 => {
                let (replayed, stored) = (evaluated.closed.running.0, row.running);
                Err(NodeError::Diverged(Box::new(Divergence { process, position, replayed, stored })).into())
            }
            _ => Ok(()),
        }
    }

    fn restore(
        process: Arc<Process>,
        loaded: Loaded,
        reader: &Reader,
        position: Position,
        row: &CheckpointRow,
    ) -> Result<Self, HostError> {
        let id = process.id();
        let damaged = |why: &str| NodeError::DamagedLog { process: id, slot: position.slot, why: why.into() };
        let mut leaves = Vec::with_capacity(row.pages.len());
        for page in &row.pages {
            let leaf = reader.page(&page.hash)?;
            leaves.push((page.number, leaf.ok_or_else(|| damaged("a page of its checkpoint is missing"))?));
        }
        let pages = leaves.iter().flat_map(|(number, leaf)| {
            let first = number * (LEAF_BYTES / PAGE_BYTES) as u32;
            leaf.chunks(PAGE_BYTES).zip(first..).map(|(page, number)| (number, page))
        });
        let image = MemoryImage::from_pages(row.memory_bytes, pages);
        let image = image.ok_or_else(|| damaged("the pages of its checkpoint are no memory"))?;
        let instance = loaded.compiled.restore(&image, loaded.limits);
        let instance = instance.map_err(|error| vm_error(process.module(), error))?;
        let (origin, time, running) =
            decode_state(&row.state).ok_or_else(|| damaged("its checkpoint cannot be read"))?;
        let seen = log::read_seen(reader, id, position.slot)?;
        let state = FoldState { position: Some(position), origin, time, running, seen };
        let fold = Fold::resume(&process, state);
        Ok(Self { process, loaded: Arc::new(loaded), fold, instance })
    }

    /// The slot to run next.
    pub fn next_slot(&self) -> u64 {
        self.fold.next_slot()
    }

    /// The process.
    pub fn process(&self) -> &Arc<Process> {
        &self.process
    }

    /// Runs the ticks before a slot and its item.
    ///
    /// # Errors
    /// A host failure; the instance must then be dropped.
    pub fn run_slot(&mut self, record: &VerifiedRecord) -> Result<Vec<Evaluated>, HostError> {
        let proven = record.proven().map(|proven| proven.sender);
        self.fold.plan(&self.process, record.assignment(), record.item(), proven)?;
        let mut done = Vec::with_capacity(1);
        while let Some(step) = self.fold.step() {
            let started = Instant::now();
            let (closed, gas) = match &step.work {
                Work::Call(message) => {
                    let evaluation =
                        self.instance.evaluate(message.as_bytes(), self.loaded.env.as_bytes())?;
                    let did = match &evaluation.outcome {
                        Outcome::Returned(bytes) => Did::Returned(bytes),
                        Outcome::Trapped(trap) => Did::Failed(code_of(*trap)),
                    };
                    let closed = self.fold.close(did)?;
                    if closed.outcome.code.keeps_memory() {
                        self.instance.keep()?;
                    } else {
                        self.instance.roll_back()?;
                    }
                    (closed, evaluation.gas)
                }
                Work::Duplicate(_) | Work::Mark => (self.fold.close(Did::Returned(&[]))?, 0),
            };
            let elapsed_us = u64::try_from(started.elapsed().as_micros()).unwrap_or(u64::MAX);
            let is_boundary = state::is_boundary(closed.outcome.position);
            let summary = if is_boundary { self.summary()? } else { None };
            let state_root = summary.map(|summary| summary.root());
            let result = closed.outcome.result_json(self.loaded.reports_gas.then_some(gas));
            done.push(Evaluated { closed, result, gas, elapsed_us, state_root });
        }
        Ok(done)
    }

    /// The state after the last step; none before slot 0. Hashes the whole memory.
    ///
    /// # Errors
    /// A failure of this host.
    pub fn summary(&mut self) -> Result<Option<StateSummary>, HostError> {
        let image = self.instance.memory_image()?;
        Ok(self.fold.summary(image.byte_len(), memory_root(&image)))
    }

    /// The state after the last step, for others to go on from; none before slot 0.
    ///
    /// # Errors
    /// A failure of this host.
    pub fn freeze(&mut self) -> Result<Option<Frozen>, HostError> {
        let state = self.fold.state();
        let (position, time) = (state.position, state.time);
        let Some(position) = position else { return Ok(None) };
        let image = self.instance.memory_image()?;
        let (process, loaded) = (Arc::clone(&self.process), Arc::clone(&self.loaded));
        Ok(Some(Frozen { process, loaded, image, position, time }))
    }

    /// The writes of a checkpoint here; empty before slot 0.
    ///
    /// # Errors
    /// A page that storage cannot take.
    pub fn checkpoint(&mut self) -> Result<Vec<Write>, HostError> {
        let state = self.fold.state();
        let Some(position) = state.position.filter(|_| self.fold.step().is_none()) else {
            return Ok(Vec::new());
        };
        let image = self.instance.memory_image()?;
        let mut leaves = Vec::new();
        image.for_each_leaf(|number, leaf| {
            if leaf.iter().any(|byte| *byte != 0) {
                leaves.push(PackedPage::pack(leaf).map(|packed| (number, packed)));
            }
        });
        let (mut writes, mut pages) = (Vec::new(), Vec::new());
        for leaf in leaves {
            let (number, packed) = leaf?;
            let number = u32::try_from(number).unwrap_or(u32::MAX);
            pages.push(PageRef { number, hash: packed.hash() });
            writes.push(Write::Page(packed));
        }
        let row = CheckpointRow { memory_bytes: image.byte_len(), pages, state: encode_state(state) };
        writes.push(Write::Checkpoint { process: self.process.id(), position, row });
        Ok(writes)
    }
}

/// The root of a memory's tree.
pub fn memory_root(image: &MemoryImage) -> Hash {
    let count = usize::try_from(image.leaf_count()).unwrap_or(usize::MAX);
    let mut leaves = vec![state::zero_leaf(); count];
    // Leaves of zeros are not visited.
    image.for_each_leaf(|number, leaf| {
        if let Some(place) = usize::try_from(number).ok().and_then(|number| leaves.get_mut(number)) {
            *place = state::leaf_hash(leaf);
        }
    });
    state::tree_root(leaves)
}

/// The code of an outcome that a guest did not return from.
pub const fn code_of(trap: Trap) -> Code {
    match trap {
        Trap::Trap => Code::Trap,
        Trap::OutOfGas => Code::OutOfGas,
        Trap::OutOfMemory => Code::OutOfMemory,
        Trap::Depth => Code::Depth,
        Trap::MalformedResult => Code::Malformed,
    }
}

pub(super) fn vm_error(module: Id, error: VmError) -> HostError {
    match error {
        VmError::Host(fault) => HostError::Engine(fault),
        other => HostError::Module(module, other.to_string()),
    }
}

/// Origin, time point and running hash: 64 bytes, big-endian. The seen list has its own table.
fn encode_state(state: &FoldState) -> Bytes {
    let mut out = Vec::with_capacity(64);
    for point in [state.origin, state.time] {
        out.extend_from_slice(&point.timestamp.to_be_bytes());
        out.extend_from_slice(&point.height.to_be_bytes());
    }
    out.extend_from_slice(&state.running.0.0);
    out.into()
}

fn decode_state(bytes: &[u8]) -> Option<(TimePoint, TimePoint, Running)> {
    let (points, running) = bytes.split_at_checked(32)?;
    let word = |at: usize| Some(u64::from_be_bytes(points.get(at..at + 8)?.try_into().ok()?));
    let point = |at: usize| Some(TimePoint { timestamp: word(at)?, height: word(at + 8)? });
    Some((point(0)?, point(16)?, Running(Hash(running.try_into().ok()?))))
}
