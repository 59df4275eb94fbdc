//! Replays beside the live processes: going back to the state at any slot, and checking a log.
//!
//! A few at once; what is too much is told to come back. Going back has a ceiling of gas and of
//! time that the operator sets; it begins at the nearest checkpoint and leaves nothing behind.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::Instant;
use weft_protocol::process::Process;
use weft_protocol::state::StateSummary;
use weft_protocol::{Hash, Id, Position};
use weft_storage::StoreError;
use weft_vm::MemoryImage;

use crate::compute::hosted::{HostError, Hosted};
use crate::compute::modules::load_module;
use crate::compute::residency::Held;
use crate::compute::{ComputeHandle, WaitError, evaluated};
use crate::control::api::Progress;
use crate::log;
use crate::metrics::Level;
use crate::shared::{Shared, SharedRef};

/// Replays that wait or run; one more is told to come back. Each holds one of the control socket's
/// connections, of which dry runs hold half at most.
pub const REPLAYS_MAX: usize = 16;
/// The longest that the configuration lets going back take.
pub const WAIT_MAX: Duration = Duration::from_secs(3600);
/// How long one too many is asked to wait, in milliseconds: what a short replay takes.
pub const BUSY_RETRY_MS: u64 = 1_000;
/// Signs of a replay's progress that may wait for who asked.
pub const PROGRESS_MAX: usize = 16;

/// Why there is no old state.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReplayError {
    /// Too many at once.
    #[error("{REPLAYS_MAX} replays wait here already; try again in {BUSY_RETRY_MS} ms")]
    Busy,
    /// The operator's ceiling of time.
    #[error("going back to slot {slot} takes more than {ms} ms, this node's ceiling (`replay_ms`)")]
    TooLong {
        /// To which slot.
        slot: u64,
        /// The ceiling.
        ms: u64,
    },
    /// The operator's ceiling of gas.
    #[error("going back to slot {slot} takes more than {gas} gas, this node's ceiling (`replay_gas`)")]
    TooMuchGas {
        /// To which slot.
        slot: u64,
        /// The ceiling.
        gas: u64,
    },
    /// Who asked is gone.
    #[error("nobody waits for it any more")]
    Abandoned,
    /// There is no such slot.
    #[error("slot {slot} of process {process} is not here")]
    NoSlot {
        /// Of which process.
        process: Id,
        /// Which slot.
        slot: u64,
    },
    /// There is no state at all.
    #[error("process {0} has no state here: it cannot be loaded")]
    NoState(Id),
    /// The newest slot is not evaluated here.
    #[error(transparent)]
    Wait(#[from] WaitError),
    /// This host failed.
    #[error(transparent)]
    Host(#[from] HostError),
    /// No thread, or it ended in a panic.
    #[error("the replay failed: {0}")]
    Thread(String),
}

impl From<StoreError> for ReplayError {
    fn from(error: StoreError) -> Self {
        Self::Host(error.into())
    }
}

/// How far going back may go.
#[derive(Debug, Clone, Copy)]
pub struct Ceiling {
    /// Gas of what is evaluated again.
    pub gas: u64,
    /// When it must be done.
    pub until: Instant,
    /// How long that was from the start, in milliseconds, to tell who asked.
    pub ms: u64,
}

impl Ceiling {
    /// What the operator allows, from now on.
    pub fn of(shared: &Shared) -> Self {
        let ms = shared.config.replay_ms;
        Self { gas: shared.config.replay_gas, until: Instant::now() + Duration::from_millis(ms), ms }
    }
}

/// The state of a process at a position.
pub struct OldState {
    /// All of it but the memory, of which it has the root.
    pub summary: StateSummary,
    /// The memory.
    pub memory: MemoryImage,
    /// Slots that were evaluated again for it.
    pub replayed: u64,
    /// The place among the replays, as long as the memory is held.
    _place: OwnedSemaphorePermit,
    /// Counts the memory.
    _held: Held,
}

/// A turn to replay, and the place that was waited in.
#[derive(Debug)]
pub struct Turn {
    place: OwnedSemaphorePermit,
    _running: OwnedSemaphorePermit,
}

/// Where replays take their turns.
#[derive(Debug, Clone)]
pub struct Replays {
    shared: SharedRef,
    compute: Option<ComputeHandle>,
    /// Places to wait in, those of replays under way included.
    places: Arc<Semaphore>,
    /// Replays under way.
    running: Arc<Semaphore>,
}

impl Replays {
    /// As many at once as the configuration says.
    pub fn new(shared: SharedRef, compute: Option<ComputeHandle>) -> Self {
        let running = Arc::new(Semaphore::new(shared.config.replays));
        let places = Arc::new(Semaphore::new(REPLAYS_MAX));
        shared.metrics.watch(Level::permits("replay", "places", &places, REPLAYS_MAX));
        shared.metrics.watch(Level::permits("replay", "runs", &running, shared.config.replays));
        Self { shared, compute, places, running }
    }

    /// Waits for a turn.
    ///
    /// # Errors
    /// [`ReplayError::Busy`] when too many wait.
    pub async fn turn(&self) -> Result<Turn, ReplayError> {
        let place = Arc::clone(&self.places).try_acquire_owned().map_err(|_| ReplayError::Busy)?;
        let running = Arc::clone(&self.running).acquire_owned().await;
        let running = running.map_err(|error| ReplayError::Thread(error.to_string()))?;
        Ok(Turn { place, _running: running })
    }

    /// The state after a slot, or after the newest one. Tells how far it is; once nobody hears it,
    /// it ends.
    ///
    /// # Errors
    /// Why there is no such state.
    pub async fn state(
        &self,
        process: Arc<Process>,
        slot: Option<u64>,
        tell: mpsc::Sender<Progress>,
    ) -> Result<OldState, ReplayError> {
        let ceiling = Ceiling::of(&self.shared);
        let id = process.id();
        let head = self.shared.store.read()?.head(&id)?.ok_or(ReplayError::NoState(id))?.0;
        let to = slot.unwrap_or(head);
        if to > head {
            return Err(ReplayError::NoSlot { process: id, slot: to });
        }
        let too_long = || ReplayError::TooLong { slot: to, ms: ceiling.ms };
        let turn = tokio::time::timeout_at(ceiling.until, self.turn()).await.map_err(|_| too_long())??;
        let computes = self.shared.directory.get(&id).is_some_and(|known| known.roles.computes);
        if let (None, Some(compute)) = (slot, self.compute.as_ref().filter(|_| computes)) {
            let newest = self.newest(compute, id, head, turn.place);
            return tokio::time::timeout_at(ceiling.until, newest).await.map_err(|_| too_long())?;
        }
        let shared = SharedRef::clone(&self.shared);
        let work = move || replayed_state(&shared, process, to, ceiling, &tell, turn);
        // The thread has the turn until it ends, whether somebody still waits for it or not: a
        // message cannot be interrupted.
        let (done, answer) = tokio::sync::oneshot::channel();
        let thread = weft_vm::spawn_guest_thread("weft-replay", move || drop(done.send(work())));
        thread.map_err(|error| ReplayError::Thread(error.to_string()))?;
        let answer = tokio::time::timeout_at(ceiling.until, answer).await.map_err(|_| too_long())?;
        answer.map_err(|_| ReplayError::Thread("its thread ended".to_owned()))?
    }

    /// The state of a live process.
    async fn newest(
        &self,
        compute: &ComputeHandle,
        process: Id,
        head: u64,
        place: OwnedSemaphorePermit,
    ) -> Result<OldState, ReplayError> {
        evaluated(&self.shared, process, head).await?;
        let state = compute.state(process).await.ok_or(ReplayError::NoState(process))?;
        let (summary, frozen) = state;
        let (memory, held) = (frozen.memory().clone(), self.shared.elsewhere.hold(frozen.stored_bytes()));
        Ok(OldState { summary, memory, replayed: 0, _place: place, _held: held })
    }
}

fn replayed_state(
    shared: &Shared,
    process: Arc<Process>,
    to: u64,
    ceiling: Ceiling,
    tell: &mpsc::Sender<Progress>,
    turn: Turn,
) -> Result<OldState, ReplayError> {
    let id = process.id();
    let mut hosted = go_back(shared, process, to, ceiling, &mut |progress| hears(tell, progress))?;
    let summary = hosted.summary()?.ok_or(ReplayError::NoState(id))?;
    let (memory, replayed) = (hosted.memory()?, hosted.since().slots);
    let held = shared.elsewhere.hold(memory.stored_bytes() as u64);
    Ok(OldState { summary, memory, replayed, _place: turn.place, _held: held })
}

/// Tells how far a replay is, and whether anybody still listens.
pub fn hears(tell: &mpsc::Sender<Progress>, progress: Progress) -> ControlFlow<()> {
    match tell.try_send(progress) {
        Err(TrySendError::Closed(_)) => ControlFlow::Break(()),
        // Progress that nobody reads in time is not worth waiting for.
        Ok(()) | Err(TrySendError::Full(_)) => ControlFlow::Continue(()),
    }
}

/// What evaluating a position once more came to.
#[derive(Debug, Clone, Copy)]
pub struct Again {
    /// Its running outcome hash and, at a boundary, its state root; nothing if the log has no such position.
    pub step: Option<(Hash, Option<Hash>)>,
    /// The gas that it took.
    pub gas: u64,
}

/// Evaluates a position again, from a checkpoint before its slot. For one of a tick the next slot must be
/// here. Runs on a guest thread.
///
/// # Errors
/// Why it cannot be had, or a ceiling that was reached.
pub fn evaluate_again(
    shared: &Shared,
    process: &Arc<Process>,
    position: Position,
    ceiling: Ceiling,
) -> Result<Again, ReplayError> {
    let mut hosted = match position.slot.checked_sub(1) {
        None => Hosted::fresh(Arc::clone(process), load_module(shared.host(), process)?)?,
        Some(before) => {
            let go_on = &mut |_| ControlFlow::Continue(());
            go_back(shared, Arc::clone(process), before, ceiling, go_on)?
        }
    };
    let reader = shared.store.read()?;
    let to = position.slot + u64::from(position.tick > 0);
    let mut step = None;
    // One at a time: large ones are not read together, and a position that was not come to is no missing one.
    for slot in position.slot..=to {
        let records = log::read_records(&reader, process, slot, slot).map_err(HostError::from)?;
        for evaluated in
            hosted.run_slot(records.first().ok_or(ReplayError::NoSlot { process: process.id(), slot })?)?
        {
            if evaluated.closed.outcome.position == position {
                step = Some((evaluated.closed.running.0, evaluated.state_root));
            }
        }
    }
    Ok(Again { step, gas: hosted.spent_gas() })
}

/// A process as it was after a slot: from the nearest sound checkpoint, replayed from there. `tell`
/// is called after each slot, and says whether to go on.
///
/// # Errors
/// Why there is no such state, or a ceiling that was reached.
pub fn go_back(
    shared: &Shared,
    process: Arc<Process>,
    to: u64,
    ceiling: Ceiling,
    tell: &mut dyn FnMut(Progress) -> ControlFlow<()>,
) -> Result<Hosted, ReplayError> {
    let id = process.id();
    let row = shared.store.read()?.slot(&id, to)?.ok_or(ReplayError::NoSlot { process: id, slot: to })?;
    // What is read while a compiler is at work stays on disk as long.
    shared.modules.compile(&shared.store, process.module())?;
    let reader = shared.store.read()?;
    let position = Position { epoch: row.epoch, slot: to, tick: 0 };
    let mut stopped = ReplayError::Abandoned;
    let found = Hosted::at(process, &reader, shared.host(), position, &mut |progress, since| {
        let is_done = progress.done >= progress.total;
        if since.gas > ceiling.gas {
            stopped = ReplayError::TooMuchGas { slot: to, gas: ceiling.gas };
            return ControlFlow::Break(());
        }
        if !is_done && Instant::now() >= ceiling.until {
            stopped = ReplayError::TooLong { slot: to, ms: ceiling.ms };
            return ControlFlow::Break(());
        }
        tell(progress)
    })?;
    found.ok_or(stopped)
}
