//! The messenger's loop: outbox rows in, pushes out, receipts to disk and to the topic.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use weft_protocol::attestation::Attestation;
use weft_protocol::header::Header;
use weft_protocol::offer::Offer;
use weft_protocol::outcome::OutboxEntry;
use weft_protocol::process::Process;
use weft_protocol::push::Source;
use weft_protocol::wire::announcement::Body;
use weft_protocol::{Address, DataItem, Effects, Id, Machine, Now, Position, Verified, wire};
use weft_storage::{OutboxKey, OutboxRow, OutboxState, StoreError, Write};

use super::dispatch::{self, DispatchError};
use super::machine::{Born, Effect, Entry, Input, Messenger, PushOutcome, To};
use super::offers;
use super::receipts::Receipt;
use crate::attestations::keep_attestation;
use crate::clock::now;
use crate::config::Role;
use crate::error::NodeError;
use crate::hosting;
use crate::news::News;
use crate::remote;
use crate::shared::SharedRef;
use crate::submit::{Slot, SubmitError, Submitter};

/// How often time passes for the messenger.
const TICK: Duration = Duration::from_millis(100);
/// Inputs that may wait.
const INBOX_MAX: usize = 1_024;
/// Pushes under way at once.
const PUSHES_MAX: usize = 64;
/// Receipts checked at once. One more is dropped: the push is then made again, and answered with
/// the first assignment.
const RECEIPTS_MAX: usize = 64;
/// Pending entries of one process taken up at once; the others follow as these are settled.
const PENDING_MAX: usize = 4_096;
/// Bytes of a pushed item up to which a receipt carries it.
const RECEIPT_ITEM_BYTES_MAX: usize = 64 * 1024;

/// What peers tell the messenger.
#[derive(Debug)]
enum Told {
    Offer(Id, Box<Verified<Offer>>),
    Receipt(Id, Box<Receipt>),
    Carriers(Id, oneshot::Sender<Vec<Address>>),
}

/// How others hold the messenger.
#[derive(Debug, Clone)]
pub struct MessengerHandle(mpsc::Sender<Told>);

impl MessengerHandle {
    /// An offer to carry for a process, seen on its topic. Dropped when the messenger is behind:
    /// offers are repeated.
    pub fn offer(&self, source: Id, offer: Verified<Offer>) {
        let _ = self.0.try_send(Told::Offer(source, Box::new(offer)));
    }

    /// A receipt, seen on the topic of a process. Dropped when the messenger is behind: a push
    /// that is made again is answered with the first assignment.
    pub fn receipt(&self, source: Id, receipt: Receipt) {
        let _ = self.0.try_send(Told::Receipt(source, Box::new(receipt)));
    }

    /// Who offers to carry for a process now, this node included; nobody if it does not itself.
    pub async fn carriers(&self, source: Id) -> Vec<Address> {
        let (reply, answer) = oneshot::channel();
        // Only a stopping node has no messenger.
        let _ = self.0.send(Told::Carriers(source, reply)).await;
        answer.await.unwrap_or_default()
    }
}

/// The messenger's loop.
pub struct MessengerTask {
    shared: SharedRef,
    submitter: Submitter,
    machine: Messenger,
    effects: Effects<Effect>,
    inbox: mpsc::Receiver<Told>,
    work: JoinSet<Option<Input>>,
    pushes: Arc<Semaphore>,
    receipts: Arc<Semaphore>,
    offered: Option<Now>,
    /// Somebody new offers on a topic, and cannot have heard our last offer.
    newcomer: bool,
}

impl MessengerTask {
    /// The loop and its handle.
    ///
    /// # Errors
    /// A damaged store.
    pub fn new(shared: SharedRef, submitter: Submitter) -> Result<(Self, MessengerHandle), NodeError> {
        let (sender, inbox) = mpsc::channel(INBOX_MAX);
        let machine = Messenger::new(shared.address, shared.config.messenger_window_ms);
        let mut task = Self {
            shared,
            submitter,
            machine,
            effects: Effects::new(),
            inbox,
            work: JoinSet::new(),
            pushes: Arc::new(Semaphore::new(PUSHES_MAX)),
            receipts: Arc::new(Semaphore::new(RECEIPTS_MAX)),
            offered: None,
            newcomer: false,
        };
        task.take_up_all()?;
        Ok((task, MessengerHandle(sender)))
    }

    /// Runs until the node stops. Pushes under way are dropped; their rows stay in the outbox.
    pub async fn run(mut self, stop: CancellationToken) {
        let mut news = self.shared.news.listen();
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            self.perform().await;
            let heard = tokio::select! {
                () = stop.cancelled() => return,
                Some(told) = self.inbox.recv() => self.told(told),
                Some(done) = self.work.join_next(), if !self.work.is_empty() => {
                    if let Ok(Some(input)) = done {
                        self.handle(input);
                    }
                    Ok(())
                }
                heard = news.recv() => match heard {
                    Ok(news) => self.hear(&news),
                    Err(RecvError::Lagged(_)) => self.take_up_all(),
                    Err(RecvError::Closed) => return,
                },
                _ = tick.tick() => {
                    self.repeat_offers();
                    self.handle(Input::Tick);
                    Ok(())
                }
            };
            if let Err(error) = heard {
                tracing::error!(%error, "the messenger cannot read the outbox");
            }
        }
    }

    fn handle(&mut self, input: Input) {
        self.machine.handle(input, now(), &mut self.effects);
    }

    fn carries(&self, process: &Id) -> Option<Arc<Process>> {
        self.shared.directory.get(process).filter(|known| known.roles.messenges).map(|known| known.process)
    }

    fn hear(&mut self, news: &News) -> Result<(), NodeError> {
        match news {
            News::Computed { process, position, sends: true } => self.take_up(*process, *position),
            News::Attested { process, position, .. } => self.check_attested(*process, *position),
            News::Hosted { process } => {
                self.offered = None;
                self.take_up_pending(*process)
            }
            News::Computed { .. } | News::Grew { .. } | News::Alarm { .. } => Ok(()),
        }
    }

    fn take_up_all(&mut self) -> Result<(), NodeError> {
        for known in self.shared.directory.all() {
            self.take_up_pending(known.process.id())?;
        }
        Ok(())
    }

    fn take_up_pending(&mut self, process: Id) -> Result<(), NodeError> {
        if self.carries(&process).is_none() {
            return Ok(());
        }
        let reader = self.shared.store.read()?;
        for (key, _) in reader.outbox_pending(&process, PENDING_MAX)? {
            if let Some(row) = reader.outbox_entry(&key)? {
                self.pending(&key, &row)?;
            }
        }
        Ok(())
    }

    fn take_up(&mut self, process: Id, position: Position) -> Result<(), NodeError> {
        if self.carries(&process).is_none() {
            return Ok(());
        }
        let reader = self.shared.store.read()?;
        for (index, row) in reader.outbox(&process, position)? {
            if matches!(row.state, OutboxState::Pending) {
                self.pending(&OutboxKey { process, position, index }, &row)?;
            }
        }
        Ok(())
    }

    fn pending(&mut self, key: &OutboxKey, row: &OutboxRow) -> Result<(), NodeError> {
        let Some(process) = self.carries(&key.process) else { return Ok(()) };
        let entry = OutboxEntry::from_bytes(&row.entry).ok();
        let to = entry.and_then(|entry| dispatch::destination(&process, &entry));
        let Some(to) = to else { return Ok(()) };
        let source = Source { process: key.process, position: key.position, index: key.index };
        let entry = Entry {
            push_id: source.push_id(self.shared.network),
            source: key.process,
            position: key.position,
            index: key.index,
            to,
        };
        self.handle(Input::Pending { entry, tries: row.attempts });
        self.check_attested(key.process, key.position)
    }

    fn check_attested(&mut self, source: Id, position: Position) -> Result<(), NodeError> {
        let Some(process) = self.carries(&source) else { return Ok(()) };
        if dispatch::is_attested(&self.shared, &process, position)? {
            self.handle(Input::Attested { source, position });
        }
        Ok(())
    }

    fn told(&mut self, told: Told) -> Result<(), NodeError> {
        match told {
            Told::Offer(source, offer) => {
                if self.carries(&source).is_some() && offers::is_current(&offer, now()) {
                    let (messenger, until) = (offer.messenger(), offer.terms().valid_to);
                    self.newcomer |= !self.machine.others(&source, now()).contains(&messenger);
                    self.handle(Input::Offered { source, messenger, until });
                }
            }
            Told::Receipt(source, receipt) => {
                // Only of a push that waits, and to where that goes: strangers cannot make this
                // node look for whatever they name.
                let waits = self.machine.entry(&receipt.push_id());
                let wanted = waits.is_some_and(|entry| entry.log() == receipt.target());
                if wanted
                    && self.carries(&source).is_some()
                    && let Ok(permit) = Arc::clone(&self.receipts).try_acquire_owned()
                {
                    let shared = SharedRef::clone(&self.shared);
                    self.work.spawn(async move {
                        let settled = receipt.settles(&shared).await;
                        drop(permit);
                        settled
                    });
                }
            }
            Told::Carriers(source, reply) => {
                let mut carriers = Vec::new();
                if self.carries(&source).is_some() {
                    carriers = self.machine.others(&source, now());
                    carriers.push(self.shared.address);
                    carriers.sort_unstable();
                }
                // Whoever asked may have hung up.
                let _ = reply.send(carriers);
            }
        }
        Ok(())
    }

    /// Offers to carry for every process this messenger carries for, before the last lapses.
    fn repeat_offers(&mut self) {
        let time = now();
        let wait = if self.newcomer { offers::NEWCOMER_MS } else { offers::REPEAT_MS };
        let due = self.offered.is_none_or(|then| then.plus_ms(wait) <= time);
        if !due || !self.shared.config.roles.contains(&Role::Messenger) {
            return;
        }
        self.offered = Some(time);
        self.newcomer = false;
        let offer = match offers::make(&self.shared.signer, self.shared.network, time) {
            Ok(offer) => offer,
            Err(error) => {
                tracing::warn!(%error, "this node's key cannot make offers; it pushes without");
                return;
            }
        };
        for known in self.shared.directory.all() {
            if known.roles.messenges {
                self.shared.publisher.publish(known.process.id(), Body::Offer(offer.to_wire()));
            }
        }
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
                    Effect::GiveUp { entry, why } => {
                        tracing::warn!(source = %entry.source, to = %entry.to, why, "a push is given up");
                        if save(&self.shared, &entry, OutboxState::GivenUp, 0, 0).await.is_err() {
                            self.handle(Input::NotSaved(effect));
                        }
                    }
                }
            }
        }
    }

    /// Writes a receipt down. That of a child comes after this node took the child up if it has to,
    /// so that a restart between the two looks at the spawn again.
    async fn settle(&mut self, entry: Entry, assignment: Id, child: Option<Id>, effect: Effect) {
        let row = OutboxState::Settled { receipt: Bytes::copy_from_slice(assignment.as_ref()) };
        let shared = SharedRef::clone(&self.shared);
        if let Some(child) = child {
            self.work.spawn(async move {
                hosting::adopt(&shared, child).await;
                let saved = save(&shared, &entry, row, 0, 0).await;
                saved.is_err().then_some(Input::NotSaved(effect))
            });
        } else if save(&shared, &entry, row, 0, 0).await.is_err() {
            self.handle(Input::NotSaved(effect));
        }
    }

    fn push(&mut self, entry: Entry, born: Option<Box<Born>>) {
        let Some(process) = self.carries(&entry.source) else { return };
        let (shared, submitter) = (SharedRef::clone(&self.shared), self.submitter.clone());
        let pushes = Arc::clone(&self.pushes);
        self.work.spawn(async move {
            let _permit = pushes.acquire_owned().await;
            let outcome = push_once(shared, submitter, process, entry, born).await;
            Some(Input::Pushed { push_id: entry.push_id, outcome })
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

async fn push_once(
    shared: SharedRef,
    submitter: Submitter,
    process: Arc<Process>,
    entry: Entry,
    born: Option<Box<Born>>,
) -> PushOutcome {
    let is_last = born.is_some() || matches!(entry.to, To::Process(_));
    let build = {
        let shared = SharedRef::clone(&shared);
        move || dispatch::push(&shared, &process, &entry, born.as_deref())
    };
    let push = match tokio::task::spawn_blocking(build).await {
        Ok(Ok(push)) => push,
        Ok(Err(error @ (DispatchError::Kind(_) | DispatchError::Damaged(_)))) => {
            return PushOutcome::Refused(error.to_string());
        }
        Ok(Err(error)) => return PushOutcome::Unreachable(error.to_string()),
        Err(error) => return PushOutcome::Unreachable(error.to_string()),
    };
    let (item, proof) = (push.item.raw().clone(), push.proof.raw().clone());
    match submitter.submit(item.clone(), proof).await {
        Ok(slot) if !is_last => born_at(&shared, &push.item, slot).await,
        Ok(slot) => {
            announce_receipt(&shared, &entry, &slot, item);
            PushOutcome::Assigned { assignment: slot.assignment }
        }
        Err(SubmitError::Busy(retry_ms)) => PushOutcome::Busy { retry_ms },
        Err(SubmitError::Invalid(why)) => PushOutcome::Refused(why),
        Err(error) => PushOutcome::Unreachable(error.to_string()),
    }
}

/// What a spawn became: the item that was submitted, or one that another messenger submitted
/// before.
async fn born_at(shared: &SharedRef, item: &Verified<DataItem>, slot: Slot) -> PushOutcome {
    let header = match slot.process == item.id() {
        true => Ok(Verified::<Header>::of(item)),
        false => hosting::find_process(shared, slot.process)
            .await
            .map(|process| Verified::<Header>::of(process.item())),
    };
    match (header, DataItem::verify_bytes(slot.signed)) {
        (Ok(header), Ok(assignment)) => PushOutcome::Born(Box::new(Born { header, assignment })),
        (Err(error), _) => PushOutcome::Unreachable(error.to_string()),
        (_, Err(error)) => PushOutcome::Unreachable(error.to_string()),
    }
}

/// Writes down where an outbox entry stands. If the row stays as it was, at worst the push is made
/// again after a restart.
async fn save(
    shared: &SharedRef,
    entry: &Entry,
    state: OutboxState,
    attempts: u32,
    next_try_ms: u64,
) -> Result<(), StoreError> {
    let key = OutboxKey { process: entry.source, position: entry.position, index: entry.index };
    let write = Write::OutboxState { key, state, attempts, next_try_ms };
    let saved = shared.store.write(vec![write]).await;
    saved.inspect_err(|error| tracing::error!(%error, "the outbox was not updated"))
}

/// Tells the other messengers of the source that this push is done. The slot is durable at the
/// target's scheduler, which signed it.
fn announce_receipt(shared: &SharedRef, entry: &Entry, slot: &Slot, item: Bytes) {
    if item.len() > RECEIPT_ITEM_BYTES_MAX {
        return;
    }
    let receipt = wire::Receipt {
        position: Some(entry.position.into()),
        index: entry.index,
        assignment: slot.signed.clone(),
        item,
    };
    shared.publisher.publish(entry.source, Body::Receipt(receipt));
}

/// Asks the attestors of a process for what they signed of a position, and keeps what verifies.
async fn collect_attestations(shared: &SharedRef, process: &Process, position: Position) {
    for member in process.attestors().members {
        if member == shared.address {
            continue;
        }
        let Ok(peer) = remote::with_address(shared, member).await else { continue };
        let Ok(found) = remote::attestations(shared, peer, process.id(), position).await else { continue };
        for message in found {
            let attestation = Attestation::from_wire(&message, shared.network).ok();
            if let Some(attestation) = attestation.and_then(|attestation| attestation.verify().ok()) {
                keep_attestation(shared, process, &attestation).await;
            }
        }
    }
}
