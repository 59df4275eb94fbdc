//! The compute loop: pokes in, runs out to the pool, outcomes to disk, attestations to the topic.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use prost::Message as _;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use weft_protocol::attestation::Statement;
use weft_protocol::state::StateSummary;
use weft_protocol::wire::announcement::Body;
use weft_protocol::{Effects, Hash, Id, Machine, Position};
use weft_storage::{AttestationRow, OutboxKey, OutboxRow, OutcomeRow, Reader, Write};

use super::frozen::Frozen;
use super::hosted::{Evaluated, HostError, Hosted};
use super::machine::{Compute, Effect, Input};
use super::pool::{Done, Job, Looked, Pool, Run};
use crate::clock::now;
use crate::directory::Known;
use crate::error::NodeError;
use crate::news::News;
use crate::remote;
use crate::shared::SharedRef;

/// How often time passes for the driver.
const TICK: Duration = Duration::from_millis(250);
/// Live processes kept when idle; the one idle for longest is dropped first.
const LIVE_MAX: usize = 256;
/// Questions that may wait.
const INBOX_MAX: usize = 64;

/// A question about the state of a process now.
#[derive(Debug)]
struct Ask {
    process: Id,
    reply: Reply,
}

/// What is asked, and where the answer goes.
enum Reply {
    /// Its hash.
    Summary(oneshot::Sender<Option<StateSummary>>),
    /// The state itself.
    Frozen(oneshot::Sender<Option<Frozen>>),
}

impl std::fmt::Debug for Reply {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(if matches!(self, Self::Summary(_)) { "Summary" } else { "Frozen" })
    }
}

/// How others hold the compute role.
#[derive(Debug, Clone)]
pub struct ComputeHandle(mpsc::Sender<Ask>);

impl ComputeHandle {
    /// Hashes the state of a process now; none if it is not computed here or cannot be loaded.
    pub async fn summary(&self, process: Id) -> Option<StateSummary> {
        let (reply, answer) = oneshot::channel();
        self.0.send(Ask { process, reply: Reply::Summary(reply) }).await.ok()?;
        answer.await.ok().flatten()
    }

    /// The state of a process now; none if it is not computed here or cannot be loaded.
    pub async fn freeze(&self, process: Id) -> Option<Frozen> {
        let (reply, answer) = oneshot::channel();
        self.0.send(Ask { process, reply: Reply::Frozen(reply) }).await.ok()?;
        answer.await.ok().flatten()
    }
}

/// The compute loop.
pub struct ComputeTask {
    shared: SharedRef,
    machine: Compute,
    effects: Effects<Effect>,
    pool: Pool,
    done: mpsc::Receiver<Done>,
    asks: mpsc::Receiver<Ask>,
    live: BTreeMap<Id, Live>,
    /// Runs that wait until a look at the state has ended.
    deferred: BTreeMap<Id, (u64, u64)>,
    looks: BTreeMap<Id, Vec<Reply>>,
    fetches: JoinSet<Id>,
    fetching: VecDeque<Id>,
}

/// What is kept of a process between runs.
#[derive(Default)]
struct Live {
    hosted: Option<Box<Hosted>>,
    since_checkpoint: u64,
    last_used: u64,
    out: bool,
}

/// A run that is on disk.
struct Stored {
    hosted: Box<Hosted>,
    since_checkpoint: u64,
    looked: Looked,
}

impl ComputeTask {
    /// Starts the threads and takes up every process that this node computes.
    ///
    /// # Errors
    /// A damaged store, or no threads.
    pub fn new(shared: SharedRef) -> Result<(Self, ComputeHandle), NodeError> {
        let threads = shared.config.compute_threads;
        let (finished, done) = mpsc::channel(2 * threads + 1);
        let pool = Pool::start(&shared, threads, &finished)
            .map_err(|error| NodeError::Threads { why: error.to_string() })?;
        let (sender, asks) = mpsc::channel(INBOX_MAX);
        let mut task = Self {
            shared,
            machine: Compute::new(threads),
            effects: Effects::new(),
            pool,
            done,
            asks,
            live: BTreeMap::new(),
            deferred: BTreeMap::new(),
            looks: BTreeMap::new(),
            fetches: JoinSet::new(),
            fetching: VecDeque::new(),
        };
        task.take_up_all()?;
        Ok((task, ComputeHandle(sender)))
    }

    /// Runs until the node stops. Runs under way are dropped: nothing of them was promised.
    pub async fn run(mut self, stop: CancellationToken) {
        let mut news = self.shared.news.listen();
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            self.perform().await;
            tokio::select! {
                () = stop.cancelled() => return,
                Some(done) = self.done.recv() => self.finish(done).await,
                heard = news.recv() => match heard {
                    Ok(news) => self.hear(&news),
                    Err(RecvError::Lagged(_)) => self.retake(),
                    Err(RecvError::Closed) => return,
                },
                Some(ask) = self.asks.recv() => self.look(ask),
                Some(_) = self.fetches.join_next(), if !self.fetches.is_empty() => {
                    self.fetching.pop_front();
                }
                _ = tick.tick() => self.handle(Input::Tick),
            }
        }
    }

    fn handle(&mut self, input: Input) {
        self.machine.handle(input, now(), &mut self.effects);
    }

    fn hear(&mut self, news: &News) {
        match news {
            News::Grew { process, head } => self.handle(Input::Grew { process: *process, head: *head }),
            News::Hosted { .. } => self.retake(),
            News::Computed { .. } | News::Attested { .. } | News::Alarm { .. } => {}
        }
    }

    fn retake(&mut self) {
        if let Err(error) = self.take_up_all() {
            tracing::error!(%error, "cannot read what to compute");
        }
    }

    /// Tells the driver of every process to compute, with where its disk stands.
    fn take_up_all(&mut self) -> Result<(), NodeError> {
        let reader = self.shared.store.read()?;
        for Known { process, roles, .. } in self.shared.directory.all() {
            let id = process.id();
            let head = reader.head(&id)?.map(|(slot, _)| slot);
            if !roles.computes {
                continue;
            }
            let next = reader.last_outcome(&id)?.map_or(0, |(position, _)| position.slot + 1);
            self.handle(Input::Host { process: id, next, head });
            if let Some(head) = head {
                self.handle(Input::Grew { process: id, head });
            }
        }
        Ok(())
    }

    async fn perform(&mut self) {
        while !self.effects.is_empty() {
            let effects: Vec<Effect> = self.effects.drain().collect();
            for effect in effects {
                match effect {
                    Effect::Run { process, from, to } => self.start(process, from, to),
                    Effect::AttestNewest { process } => {
                        if let Err(error) = self.attest_newest(process).await {
                            tracing::warn!(%process, %error, "the newest position was not attested");
                        }
                    }
                    Effect::Stopped { process, why } => {
                        tracing::error!(%process, why, "stopped computing");
                        self.shared.directory.set_fault(&process, why.clone());
                        self.shared.news.tell(News::Alarm { process, text: why });
                    }
                }
            }
        }
    }

    fn start(&mut self, process: Id, from: u64, to: u64) {
        if self.live.entry(process).or_default().out {
            self.deferred.insert(process, (from, to));
        } else {
            self.send_job(process, Some((from, to)));
        }
    }

    fn look(&mut self, Ask { process, reply }: Ask) {
        let computes = self.shared.directory.get(&process).is_some_and(|known| known.roles.computes);
        if !computes {
            // Dropping the reply answers with none.
            return;
        }
        self.looks.entry(process).or_default().push(reply);
        if !self.live.entry(process).or_default().out {
            self.send_job(process, None);
        }
    }

    fn send_job(&mut self, process: Id, slots: Option<(u64, u64)>) {
        let Some(known) = self.shared.directory.get(&process) else { return };
        let looks = self.looks.get(&process).map(Vec::as_slice).unwrap_or_default();
        let summarise = looks.iter().any(|reply| matches!(reply, Reply::Summary(_)));
        let freeze = looks.iter().any(|reply| matches!(reply, Reply::Frozen(_)));
        let live = self.live.entry(process).or_default();
        live.out = true;
        let hosted = live.hosted.take();
        let since_checkpoint = live.since_checkpoint;
        let job = Job { process: known.process, hosted, slots, since_checkpoint, summarise, freeze };
        if let Err(job) = self.pool.start_job(job) {
            let live = self.live.entry(process).or_default();
            live.out = false;
            live.hosted = job.hosted;
            match slots {
                Some(_) => {
                    let why = "all compute threads are taken".to_owned();
                    self.handle(Input::Failed { process, why, retry: true });
                }
                None => {
                    self.looks.remove(&process);
                }
            }
        }
    }

    async fn finish(&mut self, Done { process, ran, result }: Done) {
        let result = match result {
            Ok(run) => self.store(process, run).await,
            Err(error) => Err(error),
        };
        let live = self.live.entry(process).or_default();
        live.out = false;
        live.last_used = now().0;
        match result {
            Ok(Stored { hosted, since_checkpoint, looked }) => {
                let next = hosted.next_slot();
                live.hosted = Some(hosted);
                live.since_checkpoint = since_checkpoint;
                self.answer_looks(process, looked);
                if ran {
                    self.handle(Input::Ran { process, next });
                }
            }
            Err(error) => {
                self.looks.remove(&process);
                if ran {
                    self.fail(process, &error);
                }
            }
        }
        if let Some((from, to)) = self.deferred.remove(&process) {
            self.start(process, from, to);
        } else if self.looks.contains_key(&process) {
            self.send_job(process, None);
        }
        self.evict();
    }

    /// Answers those who asked before the job began; the others wait for the next.
    fn answer_looks(&mut self, process: Id, Looked { summary, frozen }: Looked) {
        for reply in self.looks.remove(&process).unwrap_or_default() {
            // Whoever asked may have hung up.
            match (reply, &summary, &frozen) {
                (Reply::Summary(reply), Some(summary), _) => drop(reply.send(*summary)),
                (Reply::Frozen(reply), _, Some(frozen)) => drop(reply.send(frozen.clone())),
                (reply, ..) => self.looks.entry(process).or_default().push(reply),
            }
        }
    }

    fn fail(&mut self, process: Id, error: &HostError) {
        tracing::warn!(%process, %error, "a run failed on this host");
        if let HostError::NoModule(module) = error {
            self.fetch(process, *module);
        }
        let (why, retry) = (error.to_string(), error.may_pass());
        self.handle(Input::Failed { process, why, retry });
    }

    /// Looks for a module among the peers of its process.
    fn fetch(&mut self, process: Id, module: Id) {
        if self.fetching.contains(&module) || self.fetching.len() >= INBOX_MAX {
            return;
        }
        self.fetching.push_back(module);
        let shared = SharedRef::clone(&self.shared);
        self.fetches.spawn(async move {
            if let Err(error) = remote::fetch_module(&shared, process, module).await {
                tracing::warn!(%process, %module, %error, "the module was not found");
            }
            module
        });
    }

    fn evict(&mut self) {
        while self.live.values().filter(|live| live.hosted.is_some()).count() > LIVE_MAX {
            let oldest = self.live.iter_mut().filter(|(_, live)| live.hosted.is_some());
            let Some((_, live)) = oldest.min_by_key(|(_, live)| live.last_used) else { return };
            live.hosted = None;
        }
    }

    /// Commits a run, then says what is durable.
    async fn store(&mut self, process: Id, run: Run) -> Result<Stored, HostError> {
        let Run { hosted, evaluated, checkpoint, since_checkpoint, looked } = run;
        let reader = self.shared.store.read()?;
        let mut writes = Vec::new();
        let mut attested = Vec::new();
        for step in &evaluated {
            if let Some(known) = self.shared.directory.get(&process)
                && !step.closed.outcome.outbox.is_empty()
            {
                crate::messenger::note_wallets(&self.shared, &reader, &known.process, step.closed.item)?;
            }
            let is_wallet = |id: &Id| self.shared.directory.is_wallet(id);
            writes.extend(outcome_writes(process, step, is_wallet));
            let position = step.closed.outcome.position;
            if !step.closed.outcome.outbox.is_empty() || step.state_root.is_some() {
                attested.extend(self.attestation(&reader, process, position, step)?);
            }
        }
        writes.extend(attested.iter().map(|(write, _, _)| write.clone()));
        writes.extend(checkpoint);
        drop(reader);
        if !writes.is_empty() {
            self.shared.store.write(writes).await?;
        }
        for step in &evaluated {
            let position = step.closed.outcome.position;
            let sends = !step.closed.outcome.outbox.is_empty();
            self.shared.news.tell(News::Computed { process, position, sends });
        }
        for (_, position, body) in attested {
            self.say_attested(process, position, body);
        }
        Ok(Stored { hosted, since_checkpoint, looked })
    }

    fn say_attested(&self, process: Id, position: Position, body: Body) {
        let attestor = self.shared.address;
        self.shared.news.tell(News::Attested { process, position, attestor });
        self.shared.publisher.publish(process, body);
    }

    async fn attest_newest(&mut self, process: Id) -> Result<(), HostError> {
        let reader = self.shared.store.read()?;
        let Some((position, row)) = reader.last_outcome(&process)? else { return Ok(()) };
        if reader.attestation(&process, position, &self.shared.address)?.is_some() {
            return Ok(());
        }
        let made = self.sign(&reader, process, position, row.running, row.state_root)?;
        drop(reader);
        if let Some((write, position, body)) = made {
            self.shared.store.write(vec![write]).await?;
            self.say_attested(process, position, body);
        }
        Ok(())
    }

    fn attestation(
        &self,
        reader: &Reader,
        process: Id,
        position: Position,
        step: &Evaluated,
    ) -> Result<Option<(Write, Position, Body)>, HostError> {
        self.sign(reader, process, position, step.closed.running.0, step.state_root)
    }

    /// Signs a position if this node is one of the process's attestors. The slot's assignment
    /// must be on disk, which it is for every position that was evaluated.
    fn sign(
        &self,
        reader: &Reader,
        process: Id,
        position: Position,
        running: Hash,
        state_root: Option<Hash>,
    ) -> Result<Option<(Write, Position, Body)>, HostError> {
        let Some(known) = self.shared.directory.get(&process) else { return Ok(None) };
        if !known.process.attestors().members.contains(&self.shared.address) {
            return Ok(None);
        }
        let Some(slot) = reader.slot(&process, position.slot)? else { return Ok(None) };
        let statement = Statement {
            network: self.shared.network,
            process,
            position,
            assignment: slot.assignment_id,
            running,
            state_root: state_root.unwrap_or(Hash::ZERO),
            rules: known.process.rules(),
        };
        let attestation = statement
            .sign(&self.shared.signer)
            .map_err(|error| NodeError::Key(format!("the node's key cannot attest: {error}")))?;
        let wire = attestation.to_wire();
        let bytes = wire.encode_to_vec().into();
        let row = AttestationRow { statement: attestation.statement().hash(), bytes };
        let write = Write::Attestation { process, position, attestor: self.shared.address, row };
        Ok(Some((write, position, Body::Attestation(wire))))
    }
}

/// What one evaluated step puts on disk.
fn outcome_writes(process: Id, step: &Evaluated, is_wallet: impl Fn(&Id) -> bool) -> Vec<Write> {
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
    for (index, entry) in (0u32..).zip(outcome.outbox.entries()) {
        let key = OutboxKey { process, position, index };
        let state = crate::messenger::first_state(entry, &is_wallet);
        let row = OutboxRow {
            kind: entry.kind as u8,
            entry: entry.to_bytes().into(),
            root: entry.root,
            state,
            attempts: 0,
            next_try_ms: 0,
        };
        writes.push(Write::Outbox { key, row });
    }
    writes
}
