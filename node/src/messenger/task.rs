//! The messenger's loop: outbox rows in, pushes out, receipts to disk and to the topic.

mod receipts;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use weft_net::Peer;
use weft_protocol::market::RANKS_PAID;
use weft_protocol::outcome::OutboxEntry;
use weft_protocol::process::Process;
use weft_protocol::push::Source;
use weft_protocol::{Effects, Id, Machine, Position};
use weft_storage::{OutboxKey, OutboxRow, OutboxState, Reader};

use super::carry::{carry, collect_attestations};
use super::dispatch;
use super::handle::{MessengerHandle, Told};
use super::machine::{Born, Early, Effect, Entry, Input, LANE_MAX, Messenger, Place, PushId, To, Turn};
use super::receipts::Receipt;
use super::settling::{SETTLE, Settling, save, settled};
use super::steps::{self, Step, Stopwatch};
use crate::backlog::Backlog;
use crate::error::NodeError;
use crate::hosting;
use crate::metrics::Level;
use crate::news::News;
use crate::shared::SharedRef;
use crate::submit::Submitter;
use crate::supervisor::joined;

/// How often time passes for the messenger.
const TICK: Duration = Duration::from_millis(100);
/// Inputs that may wait.
const INBOX_MAX: usize = 1_024;
/// Pushes under way at once.
pub const PUSHES_MAX: usize = 64;
/// Of those to where the last one failed: looking for what is not there takes long, and must not
/// hold up the others.
const RETRIES_MAX: usize = 16;
/// Receipts checked at once. Those beyond it wait, as many as are kept of those that come early.
const RECEIPTS_MAX: usize = 64;
/// Children that wait to be taken up. One more is tried again with the row that tells of it.
const ADOPTIONS_MAX: usize = 1_024;
/// Of those, how many are tried at once: each may have a module fetched.
const ADOPTIONS_AT_ONCE: usize = 16;
/// Rows of the outbox read in one go.
const ROWS_MAX: usize = 4_096;
/// Targets that nobody knew, tried once more when any peer comes: it may be theirs.
const UNKNOWN_WOKEN_MAX: usize = 64;

/// Entries that were left on disk, each with its tries, and the first that was not looked at.
type Left = (Vec<(Entry, u32)>, Option<Place>);

/// The messenger's loop.
pub struct MessengerTask {
    shared: SharedRef,
    backlog: Backlog,
    submitter: Submitter,
    machine: Messenger,
    effects: Effects<Effect>,
    inbox: mpsc::Receiver<Told>,
    work: JoinSet<Option<Input>>,
    pushes: Arc<Semaphore>,
    retries: Arc<Semaphore>,
    receipts: Arc<Semaphore>,
    adoptions: Arc<Semaphore>,
    adopting: Arc<Semaphore>,
    /// Receipts that are still to be written down.
    settling: Settling,
    /// Receipts of what is not known here yet.
    early: Early<Receipt>,
    /// Receipts of what waits here that wait to be checked.
    unchecked: Early<Receipt>,
}

impl MessengerTask {
    /// The loop and its handle.
    ///
    /// # Errors
    /// A damaged store.
    pub fn new(shared: SharedRef, submitter: Submitter) -> Result<(Self, MessengerHandle), NodeError> {
        let (sender, inbox) = mpsc::channel(INBOX_MAX);
        shared.metrics.watch(Level::channel("messenger", "inbox", &sender));
        let dropped = shared.metrics.full("messenger", "inbox");
        let machine = Messenger::new(shared.address, shared.config.messenger_window_ms);
        let backlog = Backlog::new(shared.directory.ids(|roles| roles.messenges));
        let mut task = Self {
            shared,
            backlog,
            submitter,
            machine,
            effects: Effects::new(),
            inbox,
            work: JoinSet::new(),
            pushes: Arc::new(Semaphore::new(PUSHES_MAX)),
            retries: Arc::new(Semaphore::new(RETRIES_MAX)),
            receipts: Arc::new(Semaphore::new(RECEIPTS_MAX)),
            adoptions: Arc::new(Semaphore::new(ADOPTIONS_MAX)),
            adopting: Arc::new(Semaphore::new(ADOPTIONS_AT_ONCE)),
            settling: Settling::default(),
            early: Early::default(),
            unchecked: Early::default(),
        };
        task.watch_work();
        for process in task.backlog.page() {
            task.take_up_pending(process)?;
        }
        Ok((task, MessengerHandle::new(sender, dropped)))
    }

    fn watch_work(&self) {
        let metrics = &self.shared.metrics;
        metrics.watch(Level::permits("messenger", "pushes", &self.pushes, PUSHES_MAX));
        metrics.watch(Level::permits("messenger", "retries", &self.retries, RETRIES_MAX));
        metrics.watch(Level::permits("messenger", "receipts", &self.receipts, RECEIPTS_MAX));
        metrics.watch(Level::permits("messenger", "adoptions", &self.adoptions, ADOPTIONS_MAX));
    }

    /// Runs until the node stops. Pushes under way are dropped; their rows stay in the outbox.
    pub async fn run(mut self, stop: CancellationToken) {
        let mut news = self.shared.news.listen();
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut settle = tokio::time::interval(SETTLE);
        settle.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            self.perform().await;
            let heard = tokio::select! {
                () = stop.cancelled() => return self.write_settled().await,
                _ = settle.tick(), if !self.settling.is_empty() => {
                    self.write_settled().await;
                    Ok(())
                }
                Some(told) = self.inbox.recv() => self.told(told),
                Some(done) = self.work.join_next(), if !self.work.is_empty() => {
                    self.done(joined(done).flatten());
                    Ok(())
                }
                heard = news.recv() => match heard {
                    Ok(news) => self.hear(&news),
                    Err(RecvError::Lagged(_)) => {
                        self.backlog.refill(self.shared.directory.ids(|roles| roles.messenges));
                        Ok(())
                    }
                    Err(RecvError::Closed) => return,
                },
                page = self.backlog.turn() => {
                    self.take_up_page(&page);
                    Ok(())
                }
                _ = tick.tick() => {
                    self.handle(Input::Tick);
                    Ok(())
                }
            };
            if let Err(error) = heard {
                tracing::error!(%error, "the messenger cannot read the outbox");
            }
        }
    }

    /// Something under way has ended: there may be a place for a receipt.
    fn done(&mut self, input: Option<Input>) {
        input.into_iter().for_each(|input| self.handle(input));
        self.check_more();
    }

    fn handle(&mut self, input: Input) {
        self.machine.handle(input, self.shared.clock.now(), &mut self.effects);
    }

    fn carries(&self, process: &Id) -> Option<Arc<Process>> {
        self.shared.directory.get(process).filter(|known| known.roles.messenges).map(|known| known.process)
    }

    fn hear(&mut self, news: &News) -> Result<(), NodeError> {
        match news {
            News::Computed { process, position, sends: true } | News::Unsent { process, position } => {
                self.take_up(*process, *position)
            }
            News::Attested { process, position, .. } => self.check_attested(*process, *position),
            News::Hosted { process } => {
                if self.shared.directory.roles(process).is_none_or(|roles| !roles.messenges) {
                    self.early.drop_source(process);
                    self.unchecked.drop_source(process);
                    self.handle(Input::Drop { source: *process });
                }
                self.take_up_pending(*process)
            }
            News::Computed { .. }
            | News::Grew { .. }
            | News::Wanted { .. }
            | News::Waits { .. }
            | News::Alarm { .. } => Ok(()),
        }
    }

    fn take_up_page(&mut self, processes: &[Id]) {
        for process in processes {
            if let Err(error) = self.take_up_pending(*process) {
                tracing::error!(%process, %error, "the messenger cannot read the outbox");
            }
        }
    }

    fn take_up_pending(&mut self, process: Id) -> Result<(), NodeError> {
        if self.carries(&process).is_none() {
            return Ok(());
        }
        self.hear_offers(process);
        let reader = self.shared.store.read()?;
        let mut from = OutboxKey { process, position: Position { epoch: 0, slot: 0, tick: 0 }, index: 0 };
        loop {
            let page = reader.outbox_pending_from(&from, ROWS_MAX)?;
            for key in &page {
                if let Some(row) = reader.outbox_entry(key)? {
                    self.pending(&reader, key, &row)?;
                }
            }
            // Signatures are of positions, and one may have sent a thousand entries.
            let mut positions: Vec<Position> = page.iter().map(|key| key.position).collect();
            positions.dedup();
            for position in positions {
                self.check_attested(process, position)?;
            }
            match page.last().filter(|_| page.len() == ROWS_MAX) {
                Some(last) => from = after(last),
                None => return Ok(()),
            }
        }
    }

    /// Reads what the machine left on disk, until there are as many as it takes.
    fn read_left(&mut self, source: Id, to: Option<To>, (position, index): Place) -> Result<Left, NodeError> {
        let mut found = Vec::new();
        let Some(process) = self.carries(&source) else { return Ok((found, None)) };
        let reader = self.shared.store.read()?;
        let page = reader.outbox_pending_from(&OutboxKey { process: source, position, index }, ROWS_MAX)?;
        for key in &page {
            let Some(row) = reader.outbox_entry(key)? else { continue };
            let Some(entry) = self.entry_of(&reader, &process, key, &row)? else { continue };
            if to.is_none_or(|to| entry.to == to) {
                if found.len() == LANE_MAX {
                    return Ok((found, Some(entry.place())));
                }
                found.push((entry, row.attempts));
            }
        }
        let last = page.last().filter(|_| page.len() == ROWS_MAX);
        Ok((found, last.map(after).map(|key| (key.position, key.index))))
    }

    fn take_up_left(&mut self, source: Id, to: Option<To>, from: Place) -> Result<(), NodeError> {
        let read = self.read_left(source, to, from);
        // Where the disk fails they stay left, and are asked for again.
        let (entries, next, failed) = match read {
            Ok((entries, next)) => (entries, next, Ok(())),
            Err(error) => (Vec::new(), Some(from), Err(error)),
        };
        let mut positions: Vec<Position> = entries.iter().map(|(entry, _)| entry.position).collect();
        positions.dedup();
        let pushes: Vec<PushId> = entries.iter().map(|(entry, _)| entry.push_id).collect();
        self.handle(Input::TakenUp { source, to, entries, next });
        pushes.into_iter().for_each(|push| self.look_at_early(source, push));
        for position in positions {
            self.check_attested(source, position)?;
        }
        failed
    }

    fn take_up(&mut self, process: Id, position: Position) -> Result<(), NodeError> {
        if self.carries(&process).is_none() {
            return Ok(());
        }
        let reader = self.shared.store.read()?;
        for (index, row) in reader.outbox(&process, position)? {
            if matches!(row.state, OutboxState::Pending) {
                self.pending(&reader, &OutboxKey { process, position, index }, &row)?;
            }
        }
        self.check_attested(process, position)
    }

    fn entry_of(
        &self,
        reader: &Reader,
        process: &Process,
        key: &OutboxKey,
        row: &OutboxRow,
    ) -> Result<Option<Entry>, NodeError> {
        // The disk has not heard of its receipt yet.
        if self.settling.has(key) {
            return Ok(None);
        }
        let place = (key.position, key.index);
        let Ok(sent) = OutboxEntry::from_bytes(&row.entry) else { return Ok(None) };
        let Some(to) = dispatch::destination(process, &sent, place) else { return Ok(None) };
        let source = Source { process: key.process, position: key.position, index: key.index };
        let push_id = source.push_id(self.shared.network);
        let turn = match self.shared.market.windows().at(reader, process, key.position.slot)? {
            None => Turn::Soft,
            Some(window) => {
                let rank = window.rank(&push_id, sent.data.len() as u64, &self.shared.address);
                let rank = rank.map_or(RANKS_PAID, |(rank, _)| rank.min(RANKS_PAID));
                Turn::Hard(u8::try_from(rank).unwrap_or(u8::MAX))
            }
        };
        let (source, position, index) = (key.process, key.position, key.index);
        Ok(Some(Entry { push_id, source, position, index, to, turn }))
    }

    fn pending(&mut self, reader: &Reader, key: &OutboxKey, row: &OutboxRow) -> Result<(), NodeError> {
        let Some(process) = self.carries(&key.process) else { return Ok(()) };
        let Some(entry) = self.entry_of(reader, &process, key, row)? else { return Ok(()) };
        self.handle(Input::Pending { entry, tries: row.attempts });
        self.look_at_early(entry.source, entry.push_id);
        Ok(())
    }

    /// Wakes what waits for a scheduler that is there again.
    fn up(&mut self, peer: Peer) {
        let mut unknown = 0;
        let directory = &self.shared.directory;
        let known =
            |id: &Id| directory.get(id).map(|known| known.process).or_else(|| directory.remembered(id));
        let scheduler = |id: &Id| known(id).map(|process| process.scheduler());
        let mut woken = Vec::new();
        for (source, to) in self.machine.failing() {
            let is_there = match to {
                To::Scheduler(address) => {
                    peer.address() == Some(address) || peer.address() == scheduler(&source)
                }
                To::Several(_) => true,
                To::Process(target) => match scheduler(&target) {
                    Some(address) => peer.address() == Some(address),
                    None => {
                        unknown += 1;
                        unknown <= UNKNOWN_WOKEN_MAX
                    }
                },
            };
            if is_there {
                woken.push(Input::Reachable { source, to });
            }
        }
        for input in woken {
            self.handle(input);
        }
    }

    fn check_attested(&mut self, source: Id, position: Position) -> Result<(), NodeError> {
        // Looking takes signatures, and most news is of positions that wait for nothing.
        if !self.machine.waits_for_quorum(source, position) {
            return Ok(());
        }
        let Some(process) = self.carries(&source) else { return Ok(()) };
        if dispatch::is_attested(&self.shared, &process, position)? {
            self.handle(Input::Attested { source, position });
        }
        Ok(())
    }

    fn told(&mut self, told: Told) -> Result<(), NodeError> {
        match told {
            Told::Offers(source) => {
                if self.carries(&source).is_some() {
                    self.hear_offers(source);
                }
            }
            Told::Receipt(source, receipt) => self.told_receipt(source, *receipt),
            Told::Up(peer) => self.up(peer),
            Told::Carriers(source, reply) => {
                let mut carriers = Vec::new();
                if self.carries(&source).is_some() {
                    carriers = self.machine.others(&source, self.shared.clock.now());
                    carriers.push(self.shared.address);
                    carriers.sort_unstable();
                }
                // Whoever asked may have hung up.
                let _ = reply.send(carriers);
            }
        }
        Ok(())
    }

    /// Takes up who offers to carry for a process, as the market has it.
    fn hear_offers(&mut self, source: Id) {
        let offers = self.shared.market.at(source, self.shared.clock.now());
        self.handle(Input::Offers { source, offers });
    }

    async fn perform(&mut self) {
        while !self.effects.is_empty() {
            let effects: Vec<Effect> = self.effects.drain().collect();
            for effect in effects {
                match effect.clone() {
                    Effect::Push(entry) => self.push(entry, None),
                    Effect::Tell { entry, born } => self.push(entry, Some(born)),
                    Effect::AskAttestations { source, position } => self.ask_attestations(source, position),
                    Effect::Settle { entry, assignment, ours, child } => {
                        tracing::debug!(source = %entry.source, to = %entry.to, %assignment, ours, "a push is settled");
                        self.settle(entry, assignment, child, effect).await;
                    }
                    Effect::Retry { entry, tries, at, why } => {
                        tracing::debug!(source = %entry.source, to = %entry.to, why, "a push waits");
                        // Lost with the row is only how often it was tried.
                        let _ = save(&self.shared, &entry, OutboxState::Pending, tries, at.0).await;
                    }
                    Effect::GiveUp { entry, why, refused } => {
                        tracing::warn!(source = %entry.source, to = %entry.to, why, "a push is given up");
                        let state = if refused { OutboxState::Dropped { why } } else { OutboxState::GivenUp };
                        if save(&self.shared, &entry, state, 0, 0).await.is_err() {
                            self.handle(Input::NotSaved(effect));
                        }
                    }
                    Effect::TakeUp { source, to, from } => {
                        if let Err(error) = self.take_up_left(source, to, from) {
                            tracing::error!(%error, "the messenger cannot read the outbox");
                        }
                    }
                }
            }
        }
    }

    /// Writes a receipt down. That of a child comes after this node took the child up if it has to,
    /// so that a restart between the two looks at the spawn again; so it does where it could not be.
    async fn settle(&mut self, entry: Entry, assignment: Id, child: Option<Id>, effect: Effect) {
        if let Some(child) = child {
            let shared = SharedRef::clone(&self.shared);
            let Ok(place) = Arc::clone(&self.adoptions).try_acquire_owned() else {
                return self.handle(Input::NotSaved(effect));
            };
            let at_once = Arc::clone(&self.adopting);
            self.work.spawn(async move {
                let is_settled = hosting::adopt(&shared, (entry.source, child), &at_once).await;
                drop(place);
                if !is_settled {
                    return None;
                }
                let saved = save(&shared, &entry, settled(&assignment), 0, 0).await;
                saved.is_err().then_some(Input::NotSaved(effect))
            });
            return;
        }
        self.settling.add(&entry, assignment, effect);
        if self.settling.is_full() {
            self.write_settled().await;
        }
    }

    /// Writes the receipts down that came since this was done last.
    async fn write_settled(&mut self) {
        for effect in self.settling.write(&self.shared).await {
            self.handle(Input::NotSaved(effect));
        }
    }

    fn push(&mut self, entry: Entry, born: Option<Box<Born>>) {
        let Some(process) = self.carries(&entry.source) else { return };
        let (shared, submitter) = (SharedRef::clone(&self.shared), self.submitter.clone());
        let now = self.shared.clock.now();
        let is_retry = self.machine.is_retry(&entry);
        // Where the last try failed nobody answered: then one question is enough.
        let asks_first = !is_retry && born.is_none() && self.machine.is_backup(&entry, now);
        let is_timed = !is_retry && !asks_first && born.is_none() && matches!(entry.to, To::Process(_));
        let known_since = self.machine.known_since(&entry.push_id).filter(|_| is_timed);
        let watch = known_since.map(|since| Stopwatch::begin(since, now));
        let pushes = Arc::clone(if is_retry { &self.retries } else { &self.pushes });
        steps::reached(Step::Chosen);
        self.work.spawn(async move {
            let _permit = pushes.acquire_owned().await;
            Some(carry((shared, submitter), (process, entry, born), asks_first, watch).await)
        });
    }

    fn ask_attestations(&mut self, source: Id, position: Position) {
        let Some(process) = self.carries(&source) else { return };
        let shared = SharedRef::clone(&self.shared);
        self.work.spawn(async move {
            collect_attestations(&shared, &process, position).await;
            None
        });
    }
}

/// The next key there can be.
fn after(key: &OutboxKey) -> OutboxKey {
    // An index is far below its limit: an outbox has a thousand entries.
    OutboxKey { index: key.index + 1, ..*key }
}
