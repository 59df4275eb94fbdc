//! The threads that guests run on.

use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use tokio::sync::mpsc;
use weft_protocol::Id;
use weft_protocol::process::Process;
use weft_protocol::state::StateSummary;
use weft_storage::Write;

use super::frozen::Frozen;
use super::hosted::{Evaluated, HostError, Hosted};
use crate::log;
use crate::shared::SharedRef;

/// Slots after which a run also writes a checkpoint, so that a restart replays at most so many.
pub const CHECKPOINT_SLOTS: u64 = 256;

/// Work for one process; the live process travels with it.
pub struct Job {
    /// Which process.
    pub process: Arc<Process>,
    /// It, if it is live; otherwise it is loaded first.
    pub hosted: Option<Box<Hosted>>,
    /// The slots to run, first and last; none to only look at the state.
    pub slots: Option<(u64, u64)>,
    /// Slots since the last checkpoint.
    pub since_checkpoint: u64,
    /// Whether the state is to be hashed at the end.
    pub summarise: bool,
    /// Whether the state is to be frozen at the end.
    pub freeze: bool,
}

/// What became of a job.
pub struct Done {
    /// Of which process.
    pub process: Id,
    /// Whether it was a run, and not only a look at the state.
    pub ran: bool,
    /// The run, or why there is none; then the live process is lost.
    pub result: Result<Run, HostError>,
}

/// A finished run, not yet on disk.
pub struct Run {
    /// The live process.
    pub hosted: Box<Hosted>,
    /// The evaluated steps, in order.
    pub evaluated: Vec<Evaluated>,
    /// The writes of a checkpoint, if one is due.
    pub checkpoint: Vec<Write>,
    /// Slots since the last checkpoint.
    pub since_checkpoint: u64,
    /// What was asked of the state.
    pub looked: Looked,
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
    threads: Vec<JoinHandle<()>>,
}

impl Pool {
    /// Starts the threads; what they finish arrives at `done`.
    ///
    /// # Errors
    /// When the system gives no threads.
    pub fn start(shared: &SharedRef, threads: usize, done: &mpsc::Sender<Done>) -> std::io::Result<Self> {
        let (jobs, queue) = sync_channel(2 * threads);
        let queue = Arc::new(Mutex::new(queue));
        let threads = (0..threads)
            .map(|number| {
                let (shared, queue, done) = (Arc::clone(shared), Arc::clone(&queue), done.clone());
                weft_vm::spawn_guest_thread(&format!("weft-compute-{number}"), move || {
                    work(&shared, &queue, &done);
                })
            })
            .collect::<Result<_, _>>()?;
        Ok(Self { jobs: Some(jobs), threads })
    }

    /// Hands a job over. The driver starts no more runs than there are threads, so there is
    /// always room; the job comes back if there is none.
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
        for thread in self.threads.drain(..) {
            // A thread that panicked has said so; there is nothing to add.
            let _ = thread.join();
        }
    }
}

fn work(shared: &SharedRef, queue: &Mutex<Receiver<Job>>, done: &mpsc::Sender<Done>) {
    loop {
        let job = queue.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(job) = job else { return };
        let (process, ran) = (job.process.id(), job.slots.is_some());
        let result = run(shared, job);
        if done.blocking_send(Done { process, ran, result }).is_err() {
            return;
        }
    }
}

fn run(shared: &SharedRef, job: Job) -> Result<Run, HostError> {
    let reader = shared.store.read()?;
    let mut hosted = match job.hosted {
        Some(hosted) => hosted,
        None => Box::new(Hosted::load(Arc::clone(&job.process), &reader, &shared.engine)?),
    };
    let mut evaluated = Vec::new();
    let mut since_checkpoint = job.since_checkpoint;
    if let Some((_, to)) = job.slots {
        while hosted.next_slot() <= to {
            let from = hosted.next_slot();
            for record in log::read_records(&reader, &job.process, from, to)? {
                evaluated.extend(hosted.run_slot(&record)?);
                since_checkpoint += 1;
            }
        }
    }
    let mut checkpoint = Vec::new();
    if since_checkpoint >= CHECKPOINT_SLOTS {
        checkpoint = hosted.checkpoint()?;
        since_checkpoint = 0;
    }
    let summary = job.summarise.then(|| hosted.summary()).transpose()?;
    let frozen = job.freeze.then(|| hosted.freeze()).transpose()?;
    let looked = Looked { summary, frozen };
    Ok(Run { hosted, evaluated, checkpoint, since_checkpoint, looked })
}
