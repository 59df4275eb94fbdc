//! The scheduler's loop: one write at a time, so that a slot is never on disk before the slot
//! before it. What arrives during a write is signed meanwhile and makes the next group: the disk and
//! the processor work beside each other, and nobody waits for both in turn.

use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use weft_protocol::market::window_set_at;
use weft_protocol::time::TimePoint;
use weft_protocol::{Effects, Id, Machine, Position, wire};
use weft_storage::{ProcessRow, Reader, SlotRow, StoreError, Write};

use super::machine::{
    Answer, Effect, Found, Head, Input, Look, NewSlot, Recovered, Scheduler, Stored, Submission, Ticket,
};
use crate::directory::Known;
use crate::error::NodeError;
use crate::group::{self, Group, InLog};
use crate::log;
use crate::metrics::Level;
use crate::news::News;
use crate::shared::SharedRef;
use crate::trace;

/// Submits that may wait for the scheduler.
const INBOX_MAX: usize = 1_024;
/// Submits that are signed for before it is looked whether the disk is done: a fraction of a millisecond.
const ASKS_AT_ONCE: usize = 16;
/// How long somebody waits for his answer: as long as a peer waits for this node. What he asked goes
/// on, and whoever asks for the same again is told what became of it.
pub const ANSWER_WAIT_MAX: Duration = Duration::from_secs(30);
/// How long he is then asked to wait, in milliseconds.
pub const LATE_RETRY_MS: u64 = 1_000;

/// What others ask of the scheduler.
#[derive(Debug)]
enum Ask {
    Submit(Box<Submission>, oneshot::Sender<Answer>),
    Now(Id, oneshot::Sender<Answer>),
}

impl Ask {
    /// What its slot would weigh.
    fn bytes(&self) -> usize {
        match self {
            Self::Submit(submission, _) => {
                let proof = submission.proof.as_ref().map_or(0, |proof| proof.raw().len());
                submission.item.raw().len() + proof
            }
            Self::Now(..) => 0,
        }
    }
}

impl InLog for NewSlot {
    fn process(&self) -> Id {
        self.process
    }

    fn bytes(&self) -> usize {
        self.item.raw().len() + self.proof.as_ref().map_or(0, |proof| proof.raw().len())
    }
}

/// How others hold the scheduler.
#[derive(Debug, Clone)]
pub struct SchedulerHandle(mpsc::Sender<Ask>);

impl SchedulerHandle {
    /// Asks for a slot and waits until it is durable. Dropping the future does not take the submit
    /// back.
    pub async fn submit(&self, submission: Submission) -> Answer {
        self.ask_in_time(|reply| Ask::Submit(Box::new(submission), reply)).await
    }

    /// As [`Self::submit`], however long it takes.
    pub async fn open(&self, submission: Submission) -> Answer {
        self.ask(|reply| Ask::Submit(Box::new(submission), reply)).await
    }

    /// Asks for the newest slot of a log, durably, and for a mark first where a tick is due.
    pub async fn now(&self, process: Id) -> Answer {
        self.ask_in_time(|reply| Ask::Now(process, reply)).await
    }

    async fn ask(&self, ask: impl FnOnce(oneshot::Sender<Answer>) -> Ask) -> Answer {
        let stopped = || Answer::Fault("the node is stopping".to_owned());
        let (reply, answer) = oneshot::channel();
        if self.0.send(ask(reply)).await.is_err() {
            return stopped();
        }
        answer.await.unwrap_or_else(|_| stopped())
    }

    async fn ask_in_time(&self, ask: impl FnOnce(oneshot::Sender<Answer>) -> Ask) -> Answer {
        let answered = tokio::time::timeout(ANSWER_WAIT_MAX, self.ask(ask)).await;
        answered.unwrap_or_else(|_| {
            tracing::warn!("the scheduler did not answer in time");
            Answer::Busy { retry_ms: LATE_RETRY_MS }
        })
    }
}

/// The scheduler's loop.
pub struct SchedulerTask {
    shared: SharedRef,
    machine: Scheduler,
    inbox: mpsc::Receiver<Ask>,
    effects: Effects<Effect>,
    waiting: BTreeMap<Ticket, oneshot::Sender<Answer>>,
    unsaved: Group<NewSlot>,
    /// Logs under caution that are whole again, before they are read.
    whole: Vec<Id>,
    tickets: Ticket,
}

impl SchedulerTask {
    /// The loop and its handle. A log is read when it is first asked for.
    ///
    /// # Errors
    /// A damaged store.
    pub fn new(shared: SharedRef) -> Result<(Self, SchedulerHandle), NodeError> {
        let reader = shared.store.read()?;
        let (logs, begins_none) = (reader.held_back()?.len(), reader.caution()?.is_some());
        drop(reader);
        if logs > 0 || begins_none {
            tracing::warn!(
                logs,
                begins_none,
                "this node may have signed more than its store still has: it signs nothing in these logs until \
                 peers gave back what is missing, or `weft repair --accept-loss` accepts the loss"
            );
        }
        let machine = Scheduler::new(shared.signer.clone(), shared.network);
        let (sender, inbox) = mpsc::channel(INBOX_MAX);
        shared.metrics.watch(Level::channel("scheduler", "inbox", &sender));
        let task = Self {
            shared,
            machine,
            inbox,
            effects: Effects::new(),
            waiting: BTreeMap::new(),
            unsaved: Group::default(),
            whole: Vec::new(),
            tickets: 0,
        };
        Ok((task, SchedulerHandle(sender)))
    }

    /// Runs until the node stops; what was accepted is committed and answered first.
    pub async fn run(mut self, stop: CancellationToken) {
        loop {
            let first = tokio::select! {
                ask = self.inbox.recv() => ask,
                () = stop.cancelled() => None,
            };
            let Some(first) = first else { return };
            self.ask_some(first, usize::MAX);
            while self.perform() {
                self.commit(&stop).await;
            }
        }
    }

    /// Takes what waits in the inbox: so many at most, and no more than makes one group with what is signed already.
    fn ask_some(&mut self, first: Ask, most: usize) {
        let (slots, bytes) = self.unsaved.waiting();
        let (mut slots, mut bytes) = (slots + 1, bytes + first.bytes());
        self.ask(first);
        for _ in 1..most {
            if !group::has_room(slots, bytes) {
                return;
            }
            let Ok(ask) = self.inbox.try_recv() else { return };
            slots += 1;
            bytes += ask.bytes();
            self.ask(ask);
        }
    }

    fn ask(&mut self, ask: Ask) {
        self.tickets += 1;
        let ticket = self.tickets;
        match ask {
            Ask::Submit(submission, reply) => {
                self.waiting.insert(ticket, reply);
                self.handle(Input::Submit { ticket, submission });
            }
            Ask::Now(process, reply) => {
                self.waiting.insert(ticket, reply);
                self.handle(Input::Now { ticket, process });
            }
        }
    }

    fn handle(&mut self, input: Input) {
        let now = self.shared.clock.now();
        let process = match &input {
            Input::Looked { look, .. } => Some(look.submission.process),
            Input::Now { process, .. } => Some(*process),
            _ => None,
        };
        if let Some(process) = process.filter(|process| self.machine.wants_offers(process)) {
            let offers = self.shared.market.entries(process, now);
            self.machine.handle(Input::Offers { process, offers }, now, &mut self.effects);
        }
        self.machine.handle(input, now, &mut self.effects);
    }

    /// Performs the effects that need no waiting; says whether a commit is due.
    fn perform(&mut self) -> bool {
        // One snapshot for all who look: none of them is older than the last commit.
        let mut snapshot = None;
        while !self.effects.is_empty() {
            let effects: Vec<Effect> = self.effects.drain().collect();
            for effect in effects {
                match effect {
                    Effect::Persist(slot) => self.unsaved.push(*slot),
                    Effect::Reply { ticket, answer } => {
                        // A submitter that hung up needs no answer.
                        let _ = self.waiting.remove(&ticket).map(|reply| reply.send(answer));
                    }
                    Effect::Publish(slot) => self.publish(*slot),
                    Effect::Reload { process } => self.reload(process),
                    Effect::Look(look) => self.look(look, &mut snapshot),
                }
            }
        }
        !self.unsaved.is_empty() || !self.whole.is_empty()
    }

    async fn commit(&mut self, stop: &CancellationToken) {
        for process in std::mem::take(&mut self.whole) {
            match self.lift(process).await {
                Ok(()) => self.reload(process),
                Err(error) => self.unreadable(process, &error),
            }
        }
        let mut left = std::mem::take(&mut self.unsaved);
        // More than one group only where a log was read for many who waited, or the disk is nearly full.
        while !left.is_empty() {
            let store = &self.shared.store;
            let slots = left.first(|slots, bytes| store.has_room_for(slots, bytes));
            let mut heads: BTreeMap<Id, u64> = BTreeMap::new();
            let mut writes = Vec::new();
            for slot in &slots {
                heads.insert(slot.process, slot.head.slot);
                writes.extend(self.writes(slot));
            }
            let result = self.write(writes, stop).await;
            for (process, slot) in heads {
                match &result {
                    Ok(()) => self.handle(Input::Persisted { process, slot }),
                    Err(error) => {
                        let answer = match error {
                            StoreError::Full { .. } => Answer::Full,
                            error => Answer::Fault(format!("the slot could not be stored: {error}")),
                        };
                        // Those after it in the log, signed before or meanwhile, are answered with it.
                        left.drop_log(process);
                        self.unsaved.drop_log(process);
                        self.handle(Input::PersistFailed { process, answer });
                    }
                }
            }
            // Nobody waits for the groups behind this one.
            self.perform();
        }
    }

    /// Writes, and signs for those who ask meanwhile; for nobody new once the node stops.
    async fn write(&mut self, writes: Vec<Write>, stop: &CancellationToken) -> Result<(), StoreError> {
        let store = self.shared.store.clone();
        let mut writing = pin!(store.write(writes));
        loop {
            let has_room = self.unsaved.has_room() && !stop.is_cancelled();
            tokio::select! {
                biased;
                written = &mut writing => return written,
                Some(ask) = self.inbox.recv(), if has_room => {
                    self.ask_some(ask, ASKS_AT_ONCE);
                    self.perform();
                }
            }
        }
    }

    fn writes(&self, slot: &NewSlot) -> Vec<Write> {
        let NewSlot { process, head, assignment, item, proof, keys, spawn, roles } = slot;
        let row = SlotRow {
            epoch: head.epoch,
            assignment_id: head.assignment,
            assignment: assignment.raw().clone(),
            item: item.id(),
            proof: proof.as_ref().map(|proof| proof.id()),
            chain: head.chain,
            timestamp: head.time.timestamp,
            block_height: head.time.height,
        };
        let mut items = vec![item];
        items.extend(proof.as_ref());
        let mut writes = log::slot_writes(*process, head.slot, row, &items);
        let position = Position { epoch: head.epoch, slot: head.slot, tick: 0 };
        writes.extend(log::seen_writes(*process, position, keys));
        writes.extend(spawn.map(|spawn| Write::Child { spawn, process: *process }));
        if head.slot == 0 {
            let module = item.tag("Module").and_then(|id| id.parse().ok()).unwrap_or(*process);
            let roles = roles.unwrap_or_default();
            writes.push(Write::Process { process: *process, row: ProcessRow { module, roles } });
        }
        writes
    }

    /// Tells this node and the topic of a durable slot.
    fn publish(&mut self, slot: NewSlot) {
        let process = slot.process;
        let _message = trace::message(&slot.item.id()).entered();
        tracing::debug!(%process, slot = slot.head.slot, "assigned");
        self.shared.news.tell(News::Grew { process, head: slot.head.slot });
        let record = wire::SlotRecord {
            assignment: slot.assignment.raw().clone(),
            item: slot.item.raw().clone(),
            proof: slot.proof.map(|proof| proof.raw().clone()).unwrap_or_default(),
        };
        self.shared.publisher.publish(process, wire::announcement::Body::Slot(record));
    }

    fn reload(&mut self, process: Id) {
        match self.read_end(process) {
            Ok(Some(recovered)) => self.handle(Input::Recover(Box::new(recovered))),
            Ok(None) => self.whole.push(process),
            Err(error) => self.unreadable(process, &error),
        }
    }

    fn unreadable(&mut self, process: Id, error: &NodeError) {
        tracing::error!(%process, %error, "the scheduler cannot read a log");
        self.handle(Input::Unreadable { process, why: format!("the log could not be read: {error}") });
    }

    /// Ends the caution of a log that has all again that was signed in it.
    async fn lift(&self, process: Id) -> Result<(), NodeError> {
        let store = &self.shared.store;
        let slots = store.read()?.head(&process)?.map_or(0, |(slot, _)| slot + 1);
        let mut writes = vec![Write::LiftCaution { process }];
        if let Some(Known { process: known, .. }) = self.shared.directory.get(&process).filter(|_| slots > 0)
        {
            // Slots that peers gave back came without seen keys.
            let mut seen = log::read_seen(&store.read()?, process, u64::MAX)?;
            let mut next = seen.iter().last().map_or(0, |(_, slot)| slot + 1);
            while next < slots {
                // They are verified, some megabytes at a time.
                let (from, log, disk) = (next, Arc::clone(&known), store.clone());
                let read = move || log::read_records(&disk.read()?, &log, from, slots - 1);
                let read = tokio::task::spawn_blocking(read).await;
                let records = read.map_err(|error| NodeError::Threads { why: error.to_string() })??;
                next += records.len() as u64;
                store.write(log::seen_of(&known, &mut seen, &records)).await?;
            }
            let reader = store.read()?;
            for opening in log::read_records(&reader, &known, 0, 0)? {
                writes.extend(log::child_write(&reader, &known, &opening, self.shared.address)?);
            }
        }
        store.write(writes).await?;
        tracing::info!(%process, slots, "the log is whole again; this node schedules it as before");
        self.shared.news.tell(News::Hosted { process });
        Ok(())
    }

    /// The end of a log; none where it is under caution no longer, which is to be written down first.
    fn read_end(&self, process: Id) -> Result<Option<Recovered>, NodeError> {
        let reader = self.shared.store.read()?;
        let caution = reader.caution_of(&process)?;
        let head = reader.head(&process)?.map(|(slot, row)| Head {
            epoch: row.epoch,
            slot,
            assignment: row.assignment_id,
            chain: row.chain,
            time: TimePoint { timestamp: row.timestamp, height: row.block_height },
        });
        // Whoever opened it may not have been answered yet: then only the disk knows it.
        let known = match self.shared.directory.get(&process).map(|known| known.process) {
            Some(known) => Some(known),
            None if head.is_some() => log::read_process(&reader, &process, &self.shared.terms)?,
            None => None,
        };
        let schedule = match &known {
            Some(known) => log::read_schedule(&reader, known)?,
            None => None,
        };
        let market = known.and_then(|known| known.market());
        let slots = head.map_or(0, |head| head.slot + 1);
        if caution.is_some_and(|row| row.is_met(slots)) {
            return Ok(None);
        }
        // Where logs may be lost without a trace, this may be one of them.
        let may_be_lost = head.is_none() && reader.caution()?.is_some();
        let cautious = caution.is_some() || may_be_lost;
        let ends_window = head.is_some_and(|head| window_set_at(head.slot + 1).is_some());
        let offers = match market {
            Some(_) if ends_window => self.shared.market.entries(process, self.shared.clock.now()),
            _ => Vec::new(),
        };
        Ok(Some(Recovered { process, head, schedule, market, offers, cautious }))
    }

    fn look(&mut self, look: Look, snapshot: &mut Option<Reader>) {
        match self.find(&look.submission, snapshot) {
            Ok(found) => self.handle(Input::Looked { look, found }),
            Err(error) => {
                let why = format!("the log could not be read: {error}");
                let reply = self.waiting.remove(&look.ticket);
                let _ = reply.map(|reply| reply.send(Answer::Fault(why)));
            }
        }
    }

    /// What the disk says of a submission.
    fn find(&self, submission: &Submission, snapshot: &mut Option<Reader>) -> Result<Found, StoreError> {
        let reader = match snapshot.take() {
            Some(reader) => reader,
            None => self.shared.store.read()?,
        };
        let reader = &*snapshot.insert(reader);
        let stored = |process: &Id, slot| -> Result<Option<Stored>, StoreError> {
            let row = reader.slot(process, slot)?;
            Ok(row.map(|row| Stored { slot, assignment: row.assignment_id }))
        };
        let mut found = Found::default();
        for key in submission.keys.all() {
            if let Some(position) = reader.seen(&submission.process, &key)?
                && let Some(stored) = stored(&submission.process, position.slot)?
            {
                found.keys.push((key, stored));
            }
        }
        if let Some(spawn) = &submission.spawn
            && let Some(child) = reader.child(spawn)?
        {
            found.child = stored(&child, 0)?.map(|opening| (child, opening));
        }
        Ok(found)
    }
}

#[cfg(test)]
mod tests;
