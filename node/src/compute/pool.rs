//! The threads that guests run on.

use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::sync::mpsc;
use weft_protocol::process::Process;
use weft_protocol::record::VerifiedRecord;
use weft_protocol::state::{StateSummary, is_boundary};
use weft_protocol::{Id, Position};
use weft_storage::{Reader, StoreError};

use super::checkpoint::Checkpoint;
use super::frozen::Frozen;
use super::hosted::{Evaluated, HostError, Hosted};
use super::machine::SLICE_MS;
use super::modules::{Host, Uncompiled};
use crate::log::{Way, walk};
use crate::shared::SharedRef;
use crate::trace;

/// Bytes of results after which a run takes no further slot: they wait in memory for the commit.
const RUN_RESULT_BYTES: usize = 16 * 1024 * 1024;

/// What is to be done with a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Errand {
    /// Evaluate slots up to this one, as many as fit in a slice and at least one.
    Run {
        /// The last slot.
        to: u64,
        /// The last slot that is to be evaluated in later runs.
        due: u64,
    },
    /// Only look at its state.
    Look,
    /// Take it out of memory, with a checkpoint where that saves time.
    Leave,
}

/// Work for one process; the live process travels with it.
pub struct Job {
    /// Which process.
    pub process: Arc<Process>,
    /// It, if it is live; otherwise it is loaded first.
    pub hosted: Option<Box<Hosted>>,
    /// What is to be done.
    pub errand: Errand,
    /// Whether the state is to be hashed at the end.
    pub summarise: bool,
    /// Whether the state is to be frozen at the end.
    pub freeze: bool,
}

/// What became of a job.
pub struct Done {
    /// Of which process.
    pub process: Id,
    /// What was to be done.
    pub errand: Errand,
    /// What was done, or why nothing was; then the live process is lost.
    pub result: Result<Work, HostError>,
}

/// A job that the pool is through with.
pub struct Finished {
    /// What became of it.
    pub done: Done,
    /// Of a run, what the guest used, also where this host failed in the midst of it.
    pub used: Option<Used>,
}

/// What a guest used in a run.
#[derive(Debug, Clone, Copy)]
pub struct Used {
    /// How long the slowest slot took, in milliseconds.
    pub slowest_ms: u64,
    /// The gas of all slots, the one that failed included.
    pub gas: u64,
}

/// What was done, not yet on disk.
pub struct Work {
    /// The live process, unless it left memory or is lost.
    pub hosted: Option<Box<Hosted>>,
    /// The evaluated steps, in order.
    pub evaluated: Vec<Evaluated>,
    /// A checkpoint, if one was due.
    pub checkpoint: Option<Checkpoint>,
    /// Checkpoints that turned out to be of no use.
    pub damaged: Vec<Position>,
    /// What this host failed at after these steps, if it did; then the live process is lost.
    pub failed: Option<HostError>,
    /// What was asked of the state.
    pub looked: Looked,
    /// Bytes of memory that the process takes up.
    pub resident_bytes: u64,
}

/// What a job found for those who asked: the outer `None` was not asked for, the inner one is a
/// process before slot 0.
pub struct Looked {
    /// The state's summary.
    pub summary: Option<Option<StateSummary>>,
    /// The state itself.
    pub frozen: Option<Option<Frozen>>,
}

/// A fixed number of guest threads. They end when the pool is dropped.
pub struct Pool {
    jobs: Option<SyncSender<Job>>,
    /// Set when it is dropped: what takes long is broken off.
    stops: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
    shared: SharedRef,
}

impl Pool {
    /// Starts the threads; what they finish arrives at `done`.
    ///
    /// # Errors
    /// When the system gives no threads.
    pub fn start(shared: &SharedRef, threads: usize, done: &mpsc::Sender<Finished>) -> std::io::Result<Self> {
        let (jobs, queue) = sync_channel(2 * threads);
        let queue = Arc::new(Mutex::new(queue));
        let stops = Arc::new(AtomicBool::new(false));
        let threads = (0..threads)
            .map(|number| {
                let (shared, queue, done) = (Arc::clone(shared), Arc::clone(&queue), done.clone());
                let stops = Arc::clone(&stops);
                weft_vm::spawn_guest_thread(&format!("weft-compute-{number}"), move || {
                    work(&shared, &queue, &done, &stops);
                })
            })
            .collect::<Result<_, _>>()?;
        Ok(Self { jobs: Some(jobs), stops, threads, shared: Arc::clone(shared) })
    }

    /// Hands a job over. The driver starts no more runs than there are threads, so for them
    /// there is always room; the job comes back if there is none.
    pub fn start_job(&self, job: Job) -> Result<(), Box<Job>> {
        let Some(jobs) = &self.jobs else { return Err(Box::new(job)) };
        jobs.try_send(job).map_err(|error| match error {
            TrySendError::Full(job) | TrySendError::Disconnected(job) => Box::new(job),
        })
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.jobs = None;
        self.stops.store(true, Ordering::Relaxed);
        // Also where the loop ended by a panic.
        self.shared.modules.end_compiling();
        for thread in self.threads.drain(..) {
            // A thread that panicked has said so; there is nothing to add.
            let _ = thread.join();
        }
    }
}

fn work(shared: &SharedRef, queue: &Mutex<Receiver<Job>>, done: &mpsc::Sender<Finished>, stops: &AtomicBool) {
    loop {
        let job = queue.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(job) = job else { return };
        let (process, errand) = (job.process.id(), job.errand);
        let mut used = None;
        let result = perform(shared, job, stops, &mut used);
        let done_with = Finished { done: Done { process, errand, result }, used };
        if done.blocking_send(done_with).is_err() {
            return;
        }
    }
}

fn perform(
    shared: &SharedRef,
    job: Job,
    stops: &AtomicBool,
    used: &mut Option<Used>,
) -> Result<Work, HostError> {
    let Job { process, hosted, errand, summarise, freeze } = job;
    let reader = shared.store.read()?;
    let host = Host { uncompiled: Uncompiled::Refuse, ..shared.host() };
    let mut hosted = match hosted {
        Some(hosted) => hosted,
        None => Box::new(Hosted::load(Arc::clone(&process), &reader, host)?),
    };
    let (evaluated, slowest) = (Vec::new(), Duration::ZERO);
    let mut run = Run { shared, stops, hosted: &mut hosted, evaluated, slowest, checkpoint: None };
    let worked = match errand {
        Errand::Run { to, due } => {
            let before = run.hosted.spent_gas();
            let ran = run.slots(&process, &reader, to, due);
            let slowest_ms = u64::try_from(run.slowest.as_millis()).unwrap_or(u64::MAX);
            *used = Some(Used { slowest_ms, gas: run.hosted.spent_gas().saturating_sub(before) });
            ran
        }
        Errand::Leave if run.hosted.since().is_worth_writing() => run.write_down(),
        Errand::Leave | Errand::Look => Ok(()),
    };
    let looked = match worked.and_then(|()| run.look(summarise, freeze)) {
        Ok(looked) => looked,
        Err(error) if run.evaluated.is_empty() => return Err(error),
        // What came before is done all the same, and goes to disk: nobody need come to it again.
        Err(error) => return Ok(run.broken_off(error)),
    };
    let Run { evaluated, checkpoint, .. } = run;
    Ok(Work {
        evaluated,
        checkpoint,
        damaged: hosted.take_damaged(),
        failed: None,
        looked,
        resident_bytes: hosted.resident_bytes(),
        hosted: (errand != Errand::Leave).then_some(hosted),
    })
}

/// A run under way.
struct Run<'a> {
    shared: &'a SharedRef,
    stops: &'a AtomicBool,
    hosted: &'a mut Hosted,
    evaluated: Vec<Evaluated>,
    slowest: Duration,
    checkpoint: Option<Checkpoint>,
}

impl Run<'_> {
    /// Evaluates slots until the slice is over, at least one. What of the next run's is read by then travels on with the
    /// process, as far as there is room for it.
    fn slots(&mut self, process: &Arc<Process>, reader: &Reader, to: u64, due: u64) -> Result<(), HostError> {
        let (started, mut bytes) = (Instant::now(), 0);
        let spare = self.shared.host().spare;
        let way = Way { reader, process, spare, from: self.hosted.next_slot(), to, due };
        let mut ahead = std::mem::take(self.hosted.ahead());
        let ran: Result<_, HostError> = walk(&way, &mut ahead, |record| {
            bytes += self.slot(record)?;
            let is_over = self.take_checkpoint(record.assignment().slot)?
                || bytes >= RUN_RESULT_BYTES
                || started.elapsed() >= Duration::from_millis(SLICE_MS);
            Ok(if is_over { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
        });
        ahead.pause(spare);
        *self.hosted.ahead() = ahead;
        ran.map(|_| ())
    }

    /// What was asked of the state.
    fn look(&mut self, summarise: bool, freeze: bool) -> Result<Looked, HostError> {
        let summary = summarise.then(|| self.hosted.summary()).transpose()?;
        let frozen = freeze.then(|| self.hosted.freeze()).transpose()?;
        Ok(Looked { summary, frozen })
    }

    /// What was done before this host failed, which lost the live process.
    fn broken_off(self, error: HostError) -> Work {
        Work {
            hosted: None,
            evaluated: self.evaluated,
            checkpoint: self.checkpoint,
            damaged: self.hosted.take_damaged(),
            failed: Some(error),
            looked: Looked { summary: None, frozen: None },
            resident_bytes: 0,
        }
    }

    /// Evaluates a slot; how many bytes its results have.
    fn slot(&mut self, record: &VerifiedRecord) -> Result<usize, HostError> {
        let _message = trace::message(&record.assignment().item()).entered();
        let began = Instant::now();
        let ran = self.hosted.run_slot(record);
        self.slowest = self.slowest.max(began.elapsed());
        let steps = ran?;
        if let Some(closed) = steps.last().map(|step| &step.closed) {
            let (id, code) = (self.hosted.process().id(), closed.outcome.code.name());
            tracing::debug!(process = %id, position = %closed.outcome.position, code, "computed");
        }
        let bytes = steps.iter().map(|step| step.result.len()).sum();
        self.evaluated.extend(steps);
        Ok(bytes)
    }

    /// Takes a checkpoint after a slot if one is due, which ends the run: it may hold one.
    fn take_checkpoint(&mut self, slot: u64) -> Result<bool, HostError> {
        // At a boundary the state is hashed anyway. That of slot 0 is as quickly made again.
        let is_due = self.hosted.since().is_due(self.shared.config.checkpoint_slots)
            || (slot > 0 && is_boundary(Position::slot(slot)));
        if is_due {
            self.write_down()?;
        }
        Ok(is_due)
    }

    /// Packs a checkpoint. One that the disk does not take is none: nothing but time depends on it.
    fn write_down(&mut self) -> Result<(), HostError> {
        let (store, stops) = (&self.shared.store, self.stops);
        let put = &mut |part| match stops.load(Ordering::Relaxed) {
            true => Err(StoreError::Stopped),
            false => store.write_blocking(part),
        };
        match self.hosted.checkpoint(put) {
            Ok(checkpoint) => self.checkpoint = checkpoint,
            Err(HostError::Node(error)) => {
                let process = self.hosted.process().id();
                tracing::warn!(%process, %error, "a checkpoint was not written");
                self.hosted.forget_stored();
                // Now, for nobody hears of it when the node stops.
                for position in self.hosted.take_damaged() {
                    if let Err(error) = store.drop_checkpoint_blocking(process, position) {
                        tracing::warn!(%process, %position, %error, "what there is of it was not dropped");
                    }
                }
            }
            Err(error) => return Err(error),
        }
        Ok(())
    }
}
