//! The follower's loop: verified records in, asks out, appends to disk in order.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tokio::sync::broadcast::error::RecvError;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use weft_net::Peer;
use weft_protocol::evidence::Evidence;
use weft_protocol::record::{Link, VerifiedRecord};
use weft_protocol::{DataItem, Effects, Id, Machine, Now};

use weft_storage::{CautionRow, SlotRow, Write};

use super::ask::{Ask, What};
use super::lane::Lane;
use super::machine::{Effect, Follower, Input, Record};
use super::regain::Regain;
use crate::backlog::Backlog;
use crate::error::NodeError;
use crate::group::{Group, InLog};
use crate::log;
use crate::metrics::Level;
use crate::news::News;
use crate::shared::SharedRef;
use crate::trace;

/// How often time passes for the follower.
const TICK: Duration = Duration::from_millis(100);
/// Inputs that may wait.
const INBOX_MAX: usize = 1_024;
/// Inputs handled before a commit.
const GROUP_MAX: usize = 512;
/// Ranges asked for at once; logs with holes beyond that take turns.
const RANGES_MAX: usize = 48;
/// Heads and sources asked for at once; logs that are audited beyond that take turns, so that all have
/// one however many there are.
const AUDITS_MAX: usize = 16;

type Body = Box<VerifiedRecord>;

/// A slot by which a log grows.
#[derive(Debug)]
struct Grown {
    process: Id,
    record: Body,
}

impl InLog for Grown {
    fn process(&self) -> Id {
        self.process
    }

    fn bytes(&self) -> usize {
        self.record.item().raw().len() + self.record.proof().map_or(0, |proof| proof.raw().len())
    }
}
pub(super) type In = Input<Peer, Body>;

/// How others hold the follower.
#[derive(Debug, Clone)]
pub struct FollowerHandle(mpsc::Sender<In>);

impl FollowerHandle {
    /// Hands over a verified slot. Waits while the follower is behind.
    pub async fn record(&self, process: Id, record: VerifiedRecord) {
        let record = Record::of(record);
        self.send(Input::Record { process, record }).await;
    }

    /// Follows a log that was just begun on disk, from its newest slot there.
    pub async fn follow(&self, process: Id, head: Link) {
        self.send(Input::Follow { process, head: Some(head) }).await;
    }

    /// Names a peer that may hold a log.
    pub async fn source(&self, process: Id, peer: Peer) {
        self.send(Input::Source { process, peer }).await;
    }

    /// Says that a verified head of a peer was seen, and whether that is the log's scheduler.
    pub async fn head(&self, process: Id, slot: u64, peer: Peer, by_scheduler: bool) {
        self.send(Input::Head { process, slot, peer, by_scheduler }).await;
    }

    /// Says that a peer went away.
    pub async fn lost(&self, peer: Peer) {
        self.send(Input::SourceLost { peer }).await;
    }

    async fn send(&self, input: In) {
        // Only a stopping node has no follower.
        let _ = self.0.send(input).await;
    }
}

/// The follower's loop.
pub struct FollowerTask {
    shared: SharedRef,
    backlog: Backlog,
    machine: Follower<Peer, Body>,
    effects: Effects<Effect<Peer, Body>>,
    inbox: mpsc::Receiver<In>,
    followed: BTreeSet<Id>,
    unsaved: Group<Grown>,
    ranges: Lane<(Id, Peer), Ask, Vec<In>>,
    audits: Lane<(Id, What), Ask, Vec<In>>,
    /// Logs of this node's own under caution.
    cautious: BTreeMap<Id, Regain>,
}

impl FollowerTask {
    /// The loop and its handle.
    ///
    /// # Errors
    /// A damaged store.
    pub fn new(shared: SharedRef) -> Result<(Self, FollowerHandle), NodeError> {
        let (sender, inbox) = mpsc::channel(INBOX_MAX);
        shared.metrics.watch(Level::channel("follower", "inbox", &sender));
        let backlog = Backlog::new(shared.directory.ids(|_| true));
        let mut task = Self {
            shared,
            backlog,
            machine: Follower::default(),
            effects: Effects::new(),
            inbox,
            followed: BTreeSet::new(),
            unsaved: Group::default(),
            ranges: Lane::new(RANGES_MAX),
            audits: Lane::new(AUDITS_MAX),
            cautious: BTreeMap::new(),
        };
        for process in task.backlog.page() {
            task.try_take_up(process)?;
        }
        Ok((task, FollowerHandle(sender)))
    }

    /// Runs until the node stops.
    pub async fn run(mut self, stop: CancellationToken) {
        let mut news = self.shared.news.listen();
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            while self.perform() {
                self.commit().await;
            }
            let shared = &self.shared;
            self.ranges.start(|ask| ask.put(SharedRef::clone(shared)));
            self.audits.start(|ask| ask.put(SharedRef::clone(shared)));
            tokio::select! {
                () = stop.cancelled() => return,
                Some(input) = self.inbox.recv() => self.handle_group(input),
                Some(ended) = self.ranges.next() => self.answered(ended).await,
                Some(ended) = self.audits.next() => self.answered(ended).await,
                heard = news.recv() => match heard {
                    Ok(News::Hosted { process }) => self.take_up(&[process]),
                    Err(RecvError::Lagged(_)) => self.backlog.refill(self.shared.directory.ids(|_| true)),
                    Ok(_) => {}
                    Err(RecvError::Closed) => return,
                },
                page = self.backlog.turn() => self.take_up(&page),
                _ = tick.tick() => self.handle(Input::Tick),
            }
        }
    }

    async fn answered(&mut self, inputs: Vec<In>) {
        for input in inputs {
            let answered = match &input {
                Input::Head { process, slot, peer, .. } => Some((*process, *slot, *peer)),
                _ => None,
            };
            self.handle(input);
            if let Some((process, slot, peer)) = answered {
                self.confirm(process, slot, peer).await;
            }
        }
    }

    fn handle(&mut self, input: In) {
        // Where there is no room slots are left with whoever has them, and asked for later.
        if let Input::Record { record, .. } = &input
            && !self.shared.store.has_room(record.body.item().raw().len())
        {
            return;
        }
        if let Input::Unfollow { process } = &input {
            self.shared.fresh.forget(process);
        }
        self.machine.handle(input, self.shared.clock.now(), &mut self.effects);
    }

    fn handle_group(&mut self, first: In) {
        self.handle(first);
        for _ in 1..GROUP_MAX {
            match self.inbox.try_recv() {
                Ok(input) => self.handle(input),
                Err(_) => return,
            }
        }
    }

    /// Follows those of these logs that others write, and of its own those alone of which others may
    /// know more; leaves those that are hosted no more.
    fn take_up(&mut self, processes: &[Id]) {
        for process in processes {
            if let Err(error) = self.try_take_up(*process) {
                tracing::error!(%process, %error, "cannot read what to follow");
                self.shared.directory.set_fault(process, error.to_string());
            }
        }
    }

    fn try_take_up(&mut self, process: Id) -> Result<(), NodeError> {
        let roles = self.shared.directory.roles(&process);
        let is_own = roles.is_some_and(|roles| roles.schedules);
        let is_cautious = is_own && self.shared.store.read()?.caution_of(&process)?.is_some();
        if roles.is_none() || (is_own && !is_cautious) {
            self.cautious.remove(&process);
            if self.followed.remove(&process) {
                self.handle(Input::Unfollow { process });
            }
            return Ok(());
        }
        if is_own {
            self.cautious.entry(process).or_default();
        }
        if self.followed.insert(process) {
            self.follow(process)?;
        }
        Ok(())
    }

    fn follow(&mut self, process: Id) -> Result<(), NodeError> {
        let reader = self.shared.store.read()?;
        let head = log::read_link(&reader, &process)?;
        self.handle(Input::Follow { process, head });
        Ok(())
    }

    /// Performs the effects that need no waiting; says whether a commit is due.
    fn perform(&mut self) -> bool {
        while !self.effects.is_empty() {
            let effects: Vec<_> = self.effects.drain().collect();
            for effect in effects {
                self.perform_one(effect);
            }
        }
        !self.unsaved.is_empty()
    }

    fn perform_one(&mut self, effect: Effect<Peer, Body>) {
        match effect {
            Effect::Append { process, record } => {
                let signed = Now(record.link.time.timestamp);
                self.shared.fresh.slot(process, signed, self.shared.clock.now());
                self.unsaved.push(Grown { process, record: record.body });
            }
            Effect::Confirmed { process, peer, by_scheduler } => {
                self.shared.fresh.confirm(process, peer, by_scheduler, self.shared.clock.now());
            }
            Effect::AskRange { process, peer, from, to } => {
                self.ranges.add((process, peer), Ask::Range { process, peer, from, to });
            }
            Effect::AskHead { process, peer } => {
                self.audits.add((process, What::Head(peer)), Ask::Heads { peer, processes: vec![process] });
            }
            Effect::FindSources { process } => {
                self.audits.add((process, What::Sources), Ask::Sources { process });
                // Apart from those at hand, who are not kept waiting by a lookup.
                self.audits.add((process, What::Elsewhere), Ask::Elsewhere { process });
            }
            Effect::Compare { process, record } => self.compare(process, &record.body),
            Effect::Unlinked { process, slot } => {
                let text = format!("the scheduler signed slot {slot}, which does not follow the log here");
                tracing::error!(%process, text);
                self.shared.news.tell(News::Alarm { process, text });
            }
            Effect::Reload { process } => {
                if let Err(error) = self.follow(process) {
                    tracing::error!(%process, %error, "cannot read the log after a failed write");
                }
            }
        }
    }

    async fn commit(&mut self) {
        let mut left = std::mem::take(&mut self.unsaved);
        // More than one group only where the disk is nearly full, or the slots are large.
        while !left.is_empty() {
            let store = &self.shared.store;
            let grown = left.first(|slots, bytes| store.has_room_for(slots, bytes));
            let mut heads: BTreeMap<Id, u64> = BTreeMap::new();
            let mut writes = Vec::new();
            for Grown { process, record } in &grown {
                let slot = record.assignment().slot;
                heads.insert(*process, slot);
                let items: Vec<_> = [Some(record.item()), record.proof()].into_iter().flatten().collect();
                writes.extend(log::slot_writes(*process, slot, SlotRow::of(record), &items));
            }
            let result = store.write(writes).await;
            if result.is_ok() {
                self.shared.metrics.followed.inc_by(grown.len() as u64);
                for Grown { process, record } in &grown {
                    let _message = trace::message(&record.assignment().item()).entered();
                    tracing::debug!(%process, slot = record.assignment().slot, "followed");
                }
            }
            for (process, head) in heads {
                match &result {
                    Ok(()) => self.shared.news.tell(News::Grew { process, head }),
                    Err(error) => {
                        tracing::error!(%process, %error, "slots were not stored");
                        // Those after them in the log come again with them.
                        left.drop_log(process);
                        self.handle(Input::PersistFailed { process });
                    }
                }
            }
        }
    }

    /// Hears what a peer has of a log of this node's own under caution, and writes down when that log
    /// is whole.
    async fn confirm(&mut self, process: Id, slot: u64, peer: Peer) {
        let Some(regain) = self.cautious.get_mut(&process) else { return };
        let Some(known) = self.shared.directory.get(&process) else { return };
        let Some(address) = peer.address() else { return };
        let slots = self.machine.next_slot(&process).unwrap_or(0);
        let caught_up = self.machine.is_caught_up(&process);
        if !regain.hear(&known.process, self.shared.address, (address, slot), slots, caught_up) {
            return;
        }
        let read = self.shared.store.read().and_then(|reader| reader.caution_of(&process));
        let Ok(Some(row @ CautionRow { slots: None, .. })) = read else { return };
        let row = CautionRow { slots: Some(slots), ..row };
        if let Err(error) = self.shared.store.write(vec![Write::Caution { process, row }]).await {
            tracing::error!(%process, %error, "that peers have no more was not written down");
        }
    }

    /// Another assignment at a slot on disk, signed by the same scheduler, is double assignment.
    fn compare(&self, process: Id, record: &VerifiedRecord) {
        let slot = record.assignment().slot;
        let stored = self.shared.store.read().and_then(|reader| reader.slot(&process, slot));
        let Ok(Some(stored)) = stored else { return };
        if stored.assignment_id == record.assignment().id {
            return;
        }
        let Ok(ours) = DataItem::verify_bytes(stored.assignment) else { return };
        let evidence = Evidence::of_assignments(&ours, record.assignment_item(), self.shared.network);
        if let Some(evidence) = evidence {
            self.shared.witness.found(process, evidence);
        }
    }
}

#[cfg(test)]
mod tests;
