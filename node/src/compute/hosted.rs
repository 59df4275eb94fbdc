//! One live process: its fold, its guest instance, and what running them writes to disk.
//!
//! Runs on a guest thread. A host failure loses the instance and nothing else: the next run loads
//! it again from the newest checkpoint and the log.

use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Instant;

use weft_protocol::fold::{Closed, Did, Fold, FoldError, FoldState, Work};
use weft_protocol::outcome::Code;
use weft_protocol::process::Process;
use weft_protocol::record::VerifiedRecord;
use weft_protocol::state::{self, StateSummary};
use weft_protocol::{Address, Hash, Id, Position};
use weft_storage::{Reader, StoreError};
use weft_vm::{HostFault, Instance, MemoryImage, Outcome, Trap, VmError};

use super::checkpoint::{self, Since};
use super::frozen::Frozen;
use super::modules::{Host, Loaded, load_module};
use crate::control::api::Progress;
use crate::error::{Divergence, NodeError};
use crate::log::{self, Ahead, Spare, Way, walk};

/// Bytes of memory that one key of the seen list takes: twice the key, its slots, and their tree.
const SEEN_KEY_BYTES: u64 = 160;
/// Damaged checkpoints that are passed over on the way to slot 0.
const CHECKPOINT_TRIES: usize = 1_024;

mod write_down;

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
    /// The module is not compiled yet.
    #[error("module {0} is being compiled")]
    NotCompiled(Id),
    /// An item that a message reads is not here yet.
    #[error("item {id}, which a message reads, is not here: {why}")]
    NoItem {
        /// Which.
        id: Id,
        /// Why not.
        why: String,
    },
    /// The module item breaks a rule: everybody refuses it.
    #[error("module {0} is refused: {1}")]
    Module(Id, String),
    /// The engine failed.
    #[error("the engine failed: {0}")]
    Engine(HostFault),
    /// The fold was driven wrongly.
    #[error("the fold failed: {0}")]
    Fold(#[from] FoldError),
}

impl From<HostFault> for HostError {
    fn from(fault: HostFault) -> Self {
        match fault {
            HostFault::ItemNotHere { id, why } => match id.parse() {
                Ok(id) => Self::NoItem { id, why },
                Err(_) => Self::Engine(HostFault::ItemNotHere { id, why }),
            },
            fault => Self::Engine(fault),
        }
    }
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
            Self::NoModule(_) | Self::NotCompiled(_) | Self::NoItem { .. } => true,
            // Both would come to the same again.
            Self::Engine(fault) => !matches!(fault, HostFault::Uncompilable(_) | HostFault::NativeStack),
            Self::Node(error) => !matches!(error, NodeError::DamagedLog { .. } | NodeError::Diverged(_)),
            Self::Module(..) | Self::Fold(_) => false,
        }
    }

    /// Whether something on disk is not what was written there.
    const fn is_damage(&self) -> bool {
        matches!(
            self,
            Self::Node(
                NodeError::DamagedLog { .. }
                    | NodeError::DamagedCheckpoint { .. }
                    | NodeError::Diverged(_)
                    | NodeError::Store(StoreError::Damaged { .. })
            )
        )
    }
}

/// Hears how far a replay is and what it went through, and says whether to go on.
pub type Tell<'a> = dyn FnMut(Progress, Since) -> ControlFlow<()> + 'a;

/// A live process.
pub struct Hosted {
    process: Arc<Process>,
    loaded: Arc<Loaded>,
    fold: Fold,
    instance: Instance,
    since: Since,
    spent_gas: u64,
    /// The pages of the newest checkpoint on disk that was read or written here.
    stored: BTreeSet<Hash>,
    damaged: Vec<Position>,
    /// What of its log is read and not evaluated.
    ahead: Ahead,
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
    /// Who signed the item, if this sends something.
    pub signer: Option<Address>,
}

impl Hosted {
    /// The process before slot 0.
    ///
    /// # Errors
    /// As [`load_module`].
    pub fn fresh(process: Arc<Process>, loaded: Loaded) -> Result<Self, HostError> {
        Self::begin(process, Arc::new(loaded))
    }

    fn begin(process: Arc<Process>, loaded: Arc<Loaded>) -> Result<Self, HostError> {
        let instance = loaded.module.compiled.instantiate(loaded.limits);
        let instance = instance.map_err(|error| vm_error(process.module(), error))?;
        let fold = Fold::new(&process);
        Ok(Self::new(process, loaded, fold, instance))
    }

    fn new(process: Arc<Process>, loaded: Arc<Loaded>, fold: Fold, mut instance: Instance) -> Self {
        loaded.prepare(&mut instance);
        loaded.drive.hear(fold.state().seen.iter());
        let since = Since { slots: 0, gas: 0 };
        let (stored, damaged, ahead) = (BTreeSet::new(), Vec::new(), Ahead::default());
        Self { process, loaded, fold, instance, since, spent_gas: 0, stored, damaged, ahead }
    }

    /// The process at the newest outcome on disk. Every replayed step must come to the outcome
    /// that is on disk.
    ///
    /// # Errors
    /// As [`load_module`]; [`NodeError::Diverged`] when a replay from slot 0 differs.
    pub fn load(process: Arc<Process>, reader: &Reader, host: Host<'_>) -> Result<Self, HostError> {
        let id = process.id();
        let Some(last) = reader.last_computed(&id)? else {
            let loaded = load_module(host, &process)?;
            return Self::fresh(process, loaded);
        };
        Self::load_to(process, reader, host, last)
    }

    /// The process after a position's slot: from the nearest checkpoint that is sound, or from
    /// slot 0, and replayed from there.
    ///
    /// # Errors
    /// As [`load`](Self::load).
    pub fn load_to(
        process: Arc<Process>,
        reader: &Reader,
        host: Host<'_>,
        to: Position,
    ) -> Result<Self, HostError> {
        let loaded = Self::at(process, reader, host, to, &mut |_, _| ControlFlow::Continue(()))?;
        // It is only not there if it was told to stop.
        loaded.ok_or(HostError::Fold(FoldError::NothingOpen))
    }

    /// [`load_to`](Self::load_to), telling how far it is and what it has replayed; `tell` says
    /// whether to go on, and there is none if not.
    ///
    /// # Errors
    /// As [`load`](Self::load).
    pub fn at(
        process: Arc<Process>,
        reader: &Reader,
        host: Host<'_>,
        at: Position,
        tell: &mut Tell<'_>,
    ) -> Result<Option<Self>, HostError> {
        let loaded = Arc::new(load_module(host, &process)?);
        let mut damaged = Vec::new();
        let at = Position { tick: 0, ..at };
        for position in reader.checkpoints_before(&process.id(), at, CHECKPOINT_TRIES)? {
            let restored = Self::restore(Arc::clone(&process), Arc::clone(&loaded), reader, position);
            let replayed = restored.and_then(|mut hosted| {
                Ok(hosted.replay(reader, host.spare, at.slot, tell)?.is_continue().then_some(hosted))
            });
            match replayed {
                Ok(None) => return Ok(None),
                Ok(Some(hosted)) => return Ok(Some(Self { damaged, ..hosted })),
                Err(error) if error.is_damage() => {
                    let id = process.id();
                    tracing::error!(process = %id, %position, %error, "a checkpoint is of no use");
                    damaged.push(position);
                }
                Err(error) => return Err(error),
            }
        }
        let mut hosted = Self { damaged, ..Self::begin(process, loaded)? };
        Ok(hosted.replay(reader, host.spare, at.slot, tell)?.is_continue().then_some(hosted))
    }

    /// Evaluates again up to a slot. Every step must come to the outcome on disk.
    fn replay(
        &mut self,
        reader: &Reader,
        spare: Option<&Spare>,
        to: u64,
        tell: &mut Tell<'_>,
    ) -> Result<ControlFlow<()>, HostError> {
        let (from, process) = (self.next_slot(), Arc::clone(&self.process));
        let way = Way { reader, process: &process, spare, from, to, due: to };
        walk(&way, &mut Ahead::default(), |record| {
            for evaluated in self.run_slot(record)? {
                self.compare(reader, &evaluated)?;
            }
            let (done, total) = (self.next_slot() - from, to + 1 - from);
            Ok(tell(Progress { done, total }, self.since))
        })
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

    /// The process as a checkpoint has it; damage is found by its hashes.
    fn restore(
        process: Arc<Process>,
        loaded: Arc<Loaded>,
        reader: &Reader,
        position: Position,
    ) -> Result<Self, HostError> {
        let id = process.id();
        let damaged = |why: &str| NodeError::DamagedCheckpoint { process: id, position, why: why.into() };
        let row = reader.checkpoint(&id, position)?.ok_or_else(|| damaged("it is gone"))?;
        if row.state.is_empty() {
            return Err(damaged("writing it was not finished").into());
        }
        let summary = checkpoint::decode(&row.state, id, position, row.memory_bytes);
        let summary = summary.ok_or_else(|| damaged("its state root is another"))?;
        if (summary.rules, summary.module) != (process.rules(), process.module()) {
            return Err(damaged("it is of another module").into());
        }
        if reader.outcome(&id, position)?.is_some_and(|outcome| outcome.running != summary.running.0) {
            return Err(damaged("the outcome on disk is another").into());
        }
        let mut leaves = Vec::with_capacity(row.pages.len());
        for page in &row.pages {
            // Reading a page checks it against its name.
            let leaf = reader.page(&page.hash)?.ok_or_else(|| damaged("a page is missing"))?;
            leaves.push((page.number, page.hash, leaf));
        }
        let image = MemoryImage::from_leaves(row.memory_bytes, leaves);
        let image = image.filter(|image| image.root() == summary.memory_root);
        let image = image.ok_or_else(|| damaged("its pages are another memory"))?;
        let seen = log::read_seen(reader, id, position.slot)?;
        if (seen.len() as u64, seen.root()) != (summary.seen_count, summary.seen_root) {
            return Err(damaged("the seen list on disk is another").into());
        }
        let opening = reader.slot(&id, 0)?.ok_or(NodeError::MissingSlot { process: id, slot: 0 })?;
        let (origin, time, running) = (log::link_of(0, &opening).time, summary.time, summary.running);
        let state = FoldState { position: Some(position), origin, time, running, seen };
        let instance = loaded.module.compiled.restore(&image, loaded.limits);
        let instance = instance.map_err(|error| vm_error(process.module(), error))?;
        let fold = Fold::resume(&process, state);
        let stored = row.pages.iter().map(|page| page.hash).collect();
        Ok(Self { stored, ..Self::new(process, loaded, fold, instance) })
    }

    /// The slot to run next.
    pub fn next_slot(&self) -> u64 {
        self.fold.next_slot()
    }

    /// The process.
    pub fn process(&self) -> &Arc<Process> {
        &self.process
    }

    /// What it went through since its newest checkpoint.
    pub const fn since(&self) -> Since {
        self.since
    }

    /// Gas of all that it ran here, replays and what a host failure ended included.
    pub const fn spent_gas(&self) -> u64 {
        self.spent_gas
    }

    /// Checkpoints that could not be restored when it was loaded, or not be written to the end; asked for once.
    pub fn take_damaged(&mut self) -> Vec<Position> {
        std::mem::take(&mut self.damaged)
    }

    /// Bytes of the machine's memory that it takes up. What is read ahead of its log is counted with what is held elsewhere.
    pub fn resident_bytes(&self) -> u64 {
        let keys = self.fold.state().seen.len() + self.loaded.drive.heard();
        self.instance.resident_bytes() + keys as u64 * SEEN_KEY_BYTES
    }

    /// What of its log is read and not evaluated.
    pub(crate) const fn ahead(&mut self) -> &mut Ahead {
        &mut self.ahead
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
            self.loaded.drive.hear(step.keys.iter().map(|key| (*key, step.position.slot)));
            let (closed, gas, shown) = match &step.work {
                Work::Call(message) => {
                    self.instance.offer(self.loaded.drive.at(step.position.slot));
                    let ended = self.instance.evaluate(message.as_bytes(), self.loaded.env.as_bytes());
                    self.spent_gas = self.spent_gas.saturating_add(self.instance.gas_spent());
                    let evaluation = ended?;
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
                    (closed, evaluation.gas, self.loaded.gas_shown(&evaluation))
                }
                Work::Duplicate(_) | Work::Mark => (self.fold.close(Did::Returned(&[]))?, 0, None),
            };
            let elapsed_us = u64::try_from(started.elapsed().as_micros()).unwrap_or(u64::MAX);
            self.since.gas = self.since.gas.saturating_add(gas);
            let is_boundary = state::is_boundary(closed.outcome.position);
            let summary = if is_boundary { self.summary()? } else { None };
            let state_root = summary.map(|summary| summary.root());
            let result = closed.outcome.result_json(shown);
            let sender = closed.item.filter(|_| !closed.outcome.outbox.is_empty());
            let signer = sender.map(|_| record.item().owner());
            done.push(Evaluated { closed, result, gas, elapsed_us, state_root, signer });
        }
        self.since.slots += 1;
        Ok(done)
    }

    /// The state after the last step; none before slot 0. Hashes what of the memory changed since the
    /// instance's snapshot: of a process that has done little that is all of it, each time.
    ///
    /// # Errors
    /// A failure of this host.
    pub fn summary(&mut self) -> Result<Option<StateSummary>, HostError> {
        let image = self.instance.memory_image()?;
        Ok(self.fold.summary(image.byte_len(), image.root()))
    }

    /// The memory after the last step.
    ///
    /// # Errors
    /// A failure of this host.
    pub fn memory(&mut self) -> Result<MemoryImage, HostError> {
        Ok(self.instance.memory_image()?)
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
        Ok(Some(Frozen { process, loaded, image, position, time, _held: None }))
    }
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
