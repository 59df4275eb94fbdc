//! The compute loop: pokes in, runs out to the pool, outcomes to disk, attestations to the topic.
//!
//! Commits run beside each other, so that those of many processes share a group; a process runs
//! again when its own commit is done.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tokio::sync::broadcast::error::RecvError;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use weft_protocol::{Effects, Id, Machine};

use super::demand;
use super::handle::{ComputeHandle, Question};
use super::hosted::{HostError, Hosted};
use super::machine::{Allowance, Compute, Effect, Input};
use super::pool::{Done, Errand, Finished, Job, Pool, Used, Work};
use super::residency::Residency;
use crate::backlog::Backlog;
use crate::config::Evaluate;
use crate::error::NodeError;
use crate::metrics::Level;
use crate::news::News;
use crate::shared::SharedRef;
use crate::supervisor;

mod cells;
mod commit;
mod fetches;
mod lane;
mod looks;

use cells::Cells;
pub use commit::outcome_writes;
use fetches::Fetches;
use looks::Looks;

/// How often time passes for the driver.
const TICK: Duration = Duration::from_millis(250);
/// Time that writing down processes may take when the node stops, so that it stops within a second.
const STOP_WAIT: Duration = Duration::from_millis(500);
/// What a process waits for that came unasked and has no gas left.
const NO_GAS: &str = "gas: processes of others have used what this node gives them in an hour (`others_gas`); \
                      `weft host PROCESS --compute` makes one the operator's own";
/// Questions that may wait.
const INBOX_MAX: usize = 64;

/// The compute loop.
pub struct ComputeTask {
    shared: SharedRef,
    backlog: Backlog,
    machine: Compute,
    effects: Effects<Effect>,
    pool: Pool,
    done: mpsc::Receiver<Finished>,
    commits: JoinSet<Done>,
    asks: mpsc::Receiver<Question>,
    live: BTreeMap<Id, Live>,
    residency: Residency,
    cells: Cells,
    /// Runs that wait until a look at the state, or leaving memory, has ended.
    deferred: BTreeMap<Id, Errand>,
    looks: Looks,
    /// Attestations of quiet processes on their way to disk.
    attests: JoinSet<()>,
    fetches: Fetches,
    /// Processes whose last run failed on this host, which the directory tells of.
    waiting: BTreeSet<Id>,
}

/// What became of handing a process to the pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sent {
    /// It is there.
    Out,
    /// The pool is full.
    Full,
    /// It is not known here any more, or cannot be read, and has left memory.
    Lost,
}

/// A process in memory, or at work.
#[derive(Default)]
struct Live {
    hosted: Option<Box<Hosted>>,
    /// It is with the pool, or its outcomes are on their way to disk.
    out: bool,
}

impl ComputeTask {
    /// Starts the threads and takes up every process that this node computes.
    ///
    /// # Errors
    /// A damaged store, or no threads.
    pub fn new(shared: SharedRef) -> Result<(Self, ComputeHandle), NodeError> {
        let threads = shared.config.compute_threads;
        // More than the cores, for quick processes beside runs that are over their time.
        let pool_threads = Compute::places(threads);
        let (finished, done) = mpsc::channel(2 * pool_threads + 1);
        let pool = Pool::start(&shared, pool_threads, &finished)
            .map_err(|error| NodeError::Threads { why: error.to_string() })?;
        let (sender, asks) = mpsc::channel(INBOX_MAX);
        shared.metrics.watch(Level::channel("compute", "questions", &sender));
        let instances = weft_vm::instances_max();
        let residency =
            Residency::new(shared.config.memory_budget_bytes, instances, shared.elsewhere.clone());
        let cells = Cells::watch(&shared, instances);
        let backlog = Backlog::new(shared.directory.ids(|roles| roles.computes));
        let allowance = shared.config.others_gas.map(Allowance::new);
        let mut task = Self {
            shared,
            backlog,
            machine: Compute::new(threads, allowance),
            effects: Effects::new(),
            pool,
            done,
            commits: JoinSet::new(),
            asks,
            live: BTreeMap::new(),
            residency,
            cells,
            deferred: BTreeMap::new(),
            looks: Looks::default(),
            attests: JoinSet::new(),
            fetches: Fetches::new(),
            waiting: BTreeSet::new(),
        };
        // What is damaged here keeps the node from starting, as it does anywhere in its folder.
        for process in task.backlog.page() {
            task.try_take_up(process)?;
        }
        Ok((task, ComputeHandle::new(sender)))
    }

    /// Runs until the node stops. Runs under way are dropped: nothing of them was promised.
    pub async fn run(mut self, stop: CancellationToken) {
        let mut news = self.shared.news.listen();
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            self.perform();
            tokio::select! {
                () = stop.cancelled() => break,
                Some(done) = self.done.recv() => self.evaluated(done),
                Some(done) = self.commits.join_next(), if !self.commits.is_empty() => self.committed(done),
                heard = news.recv() => match heard {
                    Ok(news) => self.hear(&news),
                    Err(RecvError::Lagged(_)) => self.backlog.refill(self.shared.directory.ids(|_| true)),
                    Err(RecvError::Closed) => break,
                },
                page = self.backlog.turn() => self.take_up(&page),
                Some(question) = self.asks.recv() => self.answer(question),
                Some(attested) = self.attests.join_next(), if !self.attests.is_empty() => {
                    supervisor::joined(attested);
                    self.handle(Input::Attested);
                }
                Some((processes, fetched)) = self.fetches.next(), if !self.fetches.is_empty() => {
                    self.fetched(processes, &fetched);
                }
                _ = tick.tick() => self.handle(Input::Tick),
            }
        }
        self.fetches.close();
        self.shared.modules.end_compiling();
        if tokio::time::timeout(STOP_WAIT, self.write_down()).await.is_err() {
            tracing::info!("some processes stop without a checkpoint and replay when they run again");
        }
        self.fetches.end().await;
    }

    fn handle(&mut self, input: Input) {
        self.machine.handle(input, self.shared.clock.now(), &mut self.effects);
    }

    fn hear(&mut self, news: &News) {
        match news {
            News::Grew { process, head } => self.handle(Input::Grew { process: *process, head: *head }),
            News::Hosted { process } => self.take_up(&[*process]),
            News::Wanted { process, slot } => self.handle(Input::Wanted { process: *process, slot: *slot }),
            News::Computed { .. }
            | News::Unsent { .. }
            | News::Attested { .. }
            | News::Waits { .. }
            | News::Alarm { .. } => {}
        }
    }

    /// Tells the driver of those of these processes that are computed, with where their disk stands,
    /// and lets go of the others.
    fn take_up(&mut self, processes: &[Id]) {
        for process in processes {
            if let Err(error) = self.try_take_up(*process) {
                tracing::error!(%process, %error, "cannot read what to compute");
                self.shared.directory.set_fault(process, error.to_string());
            }
        }
    }

    fn try_take_up(&mut self, process: Id) -> Result<(), NodeError> {
        if self.computes(&process) {
            return self.host(process);
        }
        self.let_go(process);
        Ok(())
    }

    fn computes(&self, process: &Id) -> bool {
        let computes = self.shared.directory.roles(process).is_some_and(|roles| roles.computes);
        computes && !self.shared.joins.has(process)
    }

    /// One that is not on demand is evaluated as it comes; its Process item need not be read for that.
    fn policy(&self, process: &Id) -> Evaluate {
        let on_demand = self.shared.directory.roles(process).is_some_and(|roles| roles.on_demand);
        let known = if on_demand { self.shared.directory.get(process) } else { None };
        known
            .map_or(Evaluate::Eager, |known| demand::policy(&known.process, known.roles, self.shared.address))
    }

    fn host(&mut self, process: Id) -> Result<(), NodeError> {
        let reader = self.shared.store.read()?;
        let head = reader.head(&process)?.map(|(slot, _)| slot);
        let next = reader.last_computed(&process)?.map_or(0, |position| position.slot + 1);
        let evaluate = self.policy(&process);
        let unasked = self.shared.directory.roles(&process).is_some_and(|roles| roles.for_others);
        self.handle(Input::Host { process, evaluate, unasked, next, head });
        if let Some(head) = head {
            self.handle(Input::Grew { process, head });
        }
        Ok(())
    }

    /// Computes a process no longer. It leaves memory, when it comes back from work if it is out.
    fn let_go(&mut self, process: Id) {
        self.handle(Input::Drop { process });
        self.deferred.remove(&process);
        self.looks.refuse(&process);
        if !self.is_out(&process) {
            self.rest(process, None, None);
        }
    }

    fn perform(&mut self) {
        self.cells.write(&self.residency, self.commits.len(), self.fetches.len(), &self.machine);
        while !self.effects.is_empty() {
            let effects: Vec<Effect> = self.effects.drain().collect();
            for effect in effects {
                match effect {
                    Effect::Run { process, to, due, .. } => self.start(process, Errand::Run { to, due }),
                    Effect::AttestNewest { process } => {
                        self.attests.spawn(commit::attest_quiet(SharedRef::clone(&self.shared), process));
                    }
                    Effect::Waits { process } => {
                        self.forget_ahead(&process);
                        self.waiting.insert(process);
                        self.shared.directory.set_waits(&process, Some(NO_GAS.to_owned()));
                    }
                    Effect::Stopped { process, why } => {
                        tracing::error!(%process, why, "stopped computing");
                        self.waits_no_more(process);
                        self.shared.directory.set_fault(&process, why.clone());
                        self.shared.news.tell(News::Alarm { process, text: why });
                    }
                }
            }
        }
    }

    fn start(&mut self, process: Id, run: Errand) {
        if self.is_out(&process) {
            self.deferred.insert(process, run);
        } else {
            self.send_job(process, run);
        }
    }

    /// Lets go of what was read of a log before its turn, where that may be long in coming: others can use the room.
    fn forget_ahead(&mut self, process: &Id) {
        if let Some(hosted) = self.live.get_mut(process).and_then(|live| live.hosted.as_mut()) {
            drop(std::mem::take(hosted.ahead()));
        }
    }

    fn is_out(&self, process: &Id) -> bool {
        self.live.get(process).is_some_and(|live| live.out)
    }

    /// Hands a process to the pool.
    fn send_job(&mut self, process: Id, errand: Errand) -> Sent {
        let Some(known) = self.shared.directory.get(&process) else {
            self.not_sent(process, None, errand, "its Process item cannot be read");
            return Sent::Lost;
        };
        let (module, is_run) = (known.process.module(), matches!(errand, Errand::Run { .. }));
        let is_cold = self.live.get(&process).is_none_or(|live| live.hosted.is_none());
        if is_cold && self.is_compiling(&process, module) {
            self.not_done(process, is_run, None, &HostError::NotCompiled(module));
            return Sent::Lost;
        }
        if is_run && known.fault.is_some() {
            // What failed has passed: the driver runs it.
            self.shared.directory.clear_fault(&process);
        }
        let (summarise, freeze) = self.looks.wanted(&process);
        let live = self.live.entry(process).or_default();
        live.out = true;
        let job = Job { process: known.process, hosted: live.hosted.take(), errand, summarise, freeze };
        self.residency.works(process);
        let Err(job) = self.pool.start_job(job) else { return Sent::Out };
        self.not_sent(process, job.hosted, errand, "all compute threads are taken");
        Sent::Full
    }

    /// Nothing comes of an errand, and whoever waits for it is told.
    fn not_sent(&mut self, process: Id, hosted: Option<Box<Hosted>>, errand: Errand, why: &str) {
        self.rest(process, hosted, None);
        match errand {
            Errand::Run { .. } => {
                self.handle(Input::Failed { process, next: None, why: why.to_owned(), retry: true });
            }
            Errand::Look => {
                self.looks.refuse(&process);
            }
            Errand::Leave => {}
        }
    }

    /// The guest is done: its thread is free, and what it gave goes to disk.
    fn evaluated(&mut self, Finished { done, used }: Finished) {
        if let Some(Used { slowest_ms, gas }) = used {
            self.handle(Input::Evaluated { process: done.process, slowest_ms, gas });
        }
        self.commits.spawn(commit::commit(SharedRef::clone(&self.shared), done));
    }

    fn committed(&mut self, joined: Result<Done, tokio::task::JoinError>) {
        let Some(Done { process, errand, result }) = supervisor::joined(joined) else { return };
        let is_run = matches!(errand, Errand::Run { .. });
        let mut is_compiling = false;
        match result {
            Ok(Work { evaluated, failed: Some(error), .. }) => {
                self.rest(process, None, None);
                let next = evaluated.last().map(|step| step.closed.outcome.position.slot + 1);
                is_compiling = self.not_done(process, is_run, next, &error);
            }
            Ok(Work { hosted, looked, resident_bytes, .. }) => {
                let hosted = hosted.filter(|_| self.computes(&process));
                let next = hosted.as_ref().map(|hosted| hosted.next_slot());
                self.rest(process, hosted, Some(resident_bytes));
                self.looks.answer(process, looked);
                if is_run {
                    self.waits_no_more(process);
                }
                if let (true, Some(next)) = (is_run, next) {
                    self.handle(Input::Ran { process, next });
                }
            }
            Err(error) => {
                self.rest(process, None, None);
                is_compiling = self.not_done(process, is_run, None, &error);
            }
        }
        if let Some(run) = self.deferred.remove(&process) {
            self.start(process, run);
        } else if !is_compiling && self.looks.is_asked(&process) {
            self.send_job(process, Errand::Look);
        }
        self.evict();
    }

    /// Takes a process back from work, or its loss.
    fn rest(&mut self, process: Id, hosted: Option<Box<Hosted>>, resident_bytes: Option<u64>) {
        let pinned = self.shared.directory.roles(&process).is_some_and(|roles| roles.pinned);
        let Some(mut hosted) = hosted else {
            self.residency.leaves(process);
            self.live.remove(&process);
            return;
        };
        if self.waiting.contains(&process) {
            drop(std::mem::take(hosted.ahead()));
        }
        let bytes = resident_bytes.unwrap_or_else(|| hosted.resident_bytes());
        self.residency.rests(process, bytes, pinned);
        self.live.insert(process, Live { hosted: Some(hosted), out: false });
    }

    /// A job failed; whether it is only that the module is compiled first. Whoever asked for the state waits for that.
    fn not_done(&mut self, process: Id, is_run: bool, next: Option<u64>, error: &HostError) -> bool {
        if !self.computes(&process) {
            self.looks.refuse(&process);
            return false;
        }
        let is_compiling = self.fetch(process, error) && matches!(error, HostError::NotCompiled(_));
        if !is_compiling {
            // A run that got somewhere lost the state, and not what it can be had from.
            if next.is_none() {
                self.looks.refuse(&process);
            }
            tracing::warn!(%process, %error, "a run, or a look at the state, failed on this host");
        }
        if is_run {
            self.fail(process, next, error);
        }
        is_compiling
    }

    /// Nobody is told any more that a process waits.
    fn waits_no_more(&mut self, process: Id) {
        if self.waiting.remove(&process) {
            self.shared.directory.set_waits(&process, None);
        }
    }

    fn fail(&mut self, process: Id, next: Option<u64>, error: &HostError) {
        let (why, retry) = (error.to_string(), error.may_pass());
        if retry {
            self.waiting.insert(process);
            self.shared.directory.set_waits(&process, Some(why.clone()));
        }
        self.handle(Input::Failed { process, next, why, retry });
    }

    /// Sends the coldest processes out of memory until the budget holds.
    fn evict(&mut self) {
        while let Some(process) = self.residency.coldest() {
            match self.send_job(process, Errand::Leave) {
                Sent::Out => self.residency.leaves(process),
                Sent::Lost => {}
                // The next process that comes back asks again.
                Sent::Full => return,
            }
            self.shared.metrics.evictions.inc();
        }
    }

    /// Writes down the processes in memory whose replay would take longest, until all are.
    async fn write_down(&mut self) {
        let is_worth =
            |live: &&Live| live.hosted.as_ref().is_some_and(|hosted| hosted.since().is_worth_writing());
        let worth = self.live.iter().filter(|(_, live)| is_worth(live));
        let mut left: Vec<(u64, Id)> =
            worth.filter_map(|(id, live)| Some((live.hosted.as_ref()?.since().gas, *id))).collect();
        left.sort_unstable();
        let mut out = 0;
        loop {
            while let Some((gas, process)) = left.pop() {
                match self.send_job(process, Errand::Leave) {
                    Sent::Out => out += 1,
                    Sent::Lost => {}
                    Sent::Full => {
                        left.push((gas, process));
                        break;
                    }
                }
            }
            if out == 0 && left.is_empty() {
                return;
            }
            tokio::select! {
                Some(Finished { done, .. }) = self.done.recv() => {
                    self.commits.spawn(commit::commit(SharedRef::clone(&self.shared), done));
                }
                Some(done) = self.commits.join_next(), if !self.commits.is_empty() => {
                    let left = done.is_ok_and(|done| done.errand == Errand::Leave);
                    out -= usize::from(left && out > 0);
                }
            }
        }
    }
}
