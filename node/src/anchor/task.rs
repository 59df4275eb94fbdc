//! The anchor's loop: slots in, bundles to the weave, receipts to disk.

mod seeking;
mod telling;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tokio::sync::broadcast::error::RecvError;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use weft_protocol::bundle::Bundle;
use weft_protocol::{Effects, Hash, Id, Machine};
use weft_storage::anchor::{Anchor as _, AnchorError, AnchorStatus, Batch};
use weft_storage::{AnchoredRow, BatchRow, BatchState, StoreError, Write};

use super::bundle::{BatchError, bundle, has_beside, settled};
use super::machine::telling::Telling;
use super::machine::{Anchor, Effect, Input, Policy};
use super::marks;
use super::post::{self, Progress};
use crate::backlog::Backlog;
use crate::config::Backend;
use crate::control::api::{BatchInfo, WeaveInfo};
use crate::error::NodeError;
use crate::news::News;
use crate::shared::{Shared, SharedRef};
use crate::supervisor::joined;
use seeking::Seeking;

/// How often time passes for the driver.
const TICK: Duration = Duration::from_millis(250);
/// Open batches read after a restart: one for each log.
pub(super) const OPEN_MAX: usize = 100_000;
/// Empty blocks after one that is not, where others post: for confirmations, and too few for what is signed meanwhile to
/// grow too old. Whoever asks after a transaction that is not here, which must lapse before another is signed, or that is
/// as deep already, gets as many more. Nobody asks when all is final.
pub(crate) const EMPTY_BLOCKS_MAX: u32 = 40;
/// Processes with evidence that no batch has, read after a restart.
pub(super) const EVIDENCE_MAX: usize = 10_000;
/// Batches shown to a person.
const SHOWN_MAX: usize = 1_000;

/// The anchor's loop.
pub struct AnchorTask {
    shared: SharedRef,
    backlog: Backlog,
    machine: Anchor,
    effects: Effects<Effect>,
    anchored: BTreeSet<Id>,
    /// Batches that were open at the start, of logs that were not taken up yet.
    open: BTreeMap<Id, (u64, u64, Hash)>,
    /// The batch of each log that is on disk and not confirmed: what is tried again is that one, byte for byte.
    built: BTreeMap<Id, Hash>,
    /// Blocks without anything in them since the last that had something.
    empty_blocks: u32,
    /// What the weave is asked for before it is paid for.
    seeking: Seeking,
    /// When it is said again where batches lie.
    telling: Telling,
}

impl AnchorTask {
    /// The loop, with what the disk says of the first logs.
    ///
    /// # Errors
    /// A damaged store.
    pub fn new(shared: SharedRef) -> Result<Self, NodeError> {
        let config = &shared.config;
        let policy = Policy { slots: config.anchor_batch_slots.into(), age_ms: config.anchor_batch_age_ms };
        let machine = Anchor::new(policy);
        let backlog = Backlog::new(shared.directory.ids(|roles| roles.schedules));
        let (effects, anchored) = (Effects::new(), BTreeSet::new());
        let open = shared.store.read()?.batches_open(OPEN_MAX)?;
        let place = |(root, row): (Hash, BatchRow)| (row.process, (row.from_slot, row.to_slot, root));
        let open = open.into_iter().map(place).collect();
        let built = BTreeMap::new();
        let seeking = Seeking::new(shared.clock.now());
        let mut task = Self {
            shared,
            backlog,
            machine,
            effects,
            anchored,
            open,
            built,
            empty_blocks: 0,
            seeking,
            telling: Telling::default(),
        };
        let first = task.backlog.page();
        task.try_take_up(&first)?;
        let convicted = task.shared.store.read()?.evidence_unanchored(None, EVIDENCE_MAX)?;
        convicted.into_iter().for_each(|(process, _)| task.beside(process));
        Ok(task)
    }

    /// Begins to mark anew what is to be anchored, where the marks are about another weave.
    fn mark(&self, stop: &CancellationToken, marking: &mut JoinSet<Result<(), StoreError>>) {
        match marks::are_of_another(&self.shared) {
            Ok(false) => {}
            Ok(true) => {
                let (shared, stop) = (SharedRef::clone(&self.shared), stop.clone());
                marking.spawn_blocking(move || marks::mark_all(&shared, &stop));
            }
            Err(error) => tracing::error!(%error, "cannot read what is marked to be anchored"),
        }
    }

    /// Looks again at every log, and at evidence about others.
    fn marked(&mut self, marked: Result<(), StoreError>) {
        let convicted =
            marked.and_then(|()| self.shared.store.read()?.evidence_unanchored(None, EVIDENCE_MAX));
        match convicted {
            Ok(convicted) => convicted.into_iter().for_each(|(process, _)| self.beside(process)),
            Err(error) => {
                tracing::error!(%error, "not all that is to be anchored is marked; the next start tries again");
            }
        }
        self.backlog.refill(self.shared.directory.ids(|roles| roles.schedules));
    }

    /// Runs until the node stops.
    pub async fn run(mut self, stop: CancellationToken) {
        let shared = SharedRef::clone(&self.shared);
        let mut news = shared.news.listen();
        let mut tick = tokio::time::interval(TICK);
        let mut block =
            tokio::time::interval(Duration::from_millis(self.shared.config.weave_block_ms.max(1)));
        for interval in [&mut tick, &mut block] {
            interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        }
        let mut marking = JoinSet::new();
        self.mark(&stop, &mut marking);
        let mut reading = JoinSet::new();
        let (from, until) = (SharedRef::clone(&shared), stop.clone());
        reading.spawn_blocking(move || telling::on_disk(&from, &until));
        loop {
            self.perform().await;
            tokio::select! {
                () = stop.cancelled() => return,
                heard = news.recv() => match heard {
                    Ok(News::Grew { process, head }) if self.anchored.contains(&process) => {
                        self.handle(Input::Grew { process, head });
                    }
                    Ok(News::Hosted { process }) => self.take_up(&[process]),
                    Ok(News::Attested { process, .. }) if self.anchored.contains(&process) => self.beside(process),
                    Ok(News::Alarm { process, .. }) => self.beside(process),
                    Err(RecvError::Lagged(_)) => {
                        self.backlog.refill(self.shared.directory.ids(|roles| roles.schedules));
                    }
                    Ok(_) => {}
                    Err(RecvError::Closed) => return,
                },
                page = self.backlog.turn() => self.take_up(&page),
                Some(marked) = marking.join_next(), if !marking.is_empty() => {
                    self.marked(joined(marked).unwrap_or(Err(StoreError::Closed)));
                }
                Some(found) = reading.join_next(), if !reading.is_empty() => {
                    self.found(joined(found).unwrap_or(Err(StoreError::Closed)));
                }
                Some(sought) = self.seeking.work.join_next(), if !self.seeking.work.is_empty() => {
                    self.sought(sought).await;
                }
                () = shared.board.flushed() => self.handle(Input::Flush),
                _ = tick.tick() => {
                    self.handle(Input::Tick);
                    self.tell_again().await;
                }
                _ = block.tick() => self.mine().await,
            }
        }
    }

    fn handle(&mut self, input: Input) {
        self.machine.handle(input, self.shared.clock.now(), &mut self.effects);
    }

    /// Something may wait for a batch that is no slot. Of what others schedule, evidence alone is anchored here.
    fn beside(&mut self, process: Id) {
        if !self.machine.knows(&process) {
            if self.shared.directory.roles(&process).is_none_or(|roles| roles.schedules) {
                // It is taken up with its slots, or is not known here.
                return;
            }
            let open = self.open.remove(&process);
            self.built.extend(open.map(|(_, _, data_root)| (process, data_root)));
            self.handle(Input::Log { process, head: None, anchored: None, open });
        }
        self.handle(Input::Beside { process });
    }

    /// Takes up those of these logs that this node schedules and does not anchor yet.
    fn take_up(&mut self, processes: &[Id]) {
        if let Err(error) = self.try_take_up(processes) {
            tracing::error!(%error, "cannot read what to anchor");
        }
    }

    fn try_take_up(&mut self, processes: &[Id]) -> Result<(), NodeError> {
        let reader = self.shared.store.read()?;
        for process in processes.iter().copied() {
            if !self.shared.directory.roles(&process).is_some_and(|roles| roles.schedules) {
                continue;
            }
            let head = reader.head(&process)?.map(|(slot, _)| slot);
            if self.anchored.insert(process) {
                let anchored = reader.anchored(&process, self.shared.anchored_on())?.map(|row| row.slot);
                // One that was made for another weave leaves a gap here, and another one is made.
                let next = anchored.map_or(0, |slot| slot + 1);
                let follows = |(from, to, _): &(u64, u64, Hash)| from > to || *from == next;
                let open = self.open.remove(&process).filter(follows);
                self.built.extend(open.map(|(_, _, data_root)| (process, data_root)));
                self.handle(Input::Log { process, head, anchored, open });
            } else if let Some(head) = head {
                self.handle(Input::Grew { process, head });
            }
            if has_beside(&reader, &process, head)? {
                self.handle(Input::Beside { process });
            }
        }
        Ok(())
    }

    /// Makes the next block of the embedded weave, if anything waits for one; and some empty ones where others
    /// post, for they wait for confirmations.
    async fn mine(&mut self) {
        let shared = SharedRef::clone(&self.shared);
        if shared.board.take_waits() {
            self.empty_blocks = 0;
        }
        let may_be_empty = shared.config.weave_accepts && self.empty_blocks < EMPTY_BLOCKS_MAX;
        let mined = tokio::task::spawn_blocking(move || {
            let is_empty = shared.weave.pending()? == 0;
            if !is_empty || may_be_empty {
                shared.weave.mine(shared.clock.now().0)?;
            }
            Ok::<_, AnchorError>(is_empty)
        });
        match mined.await {
            Ok(Ok(true)) => self.empty_blocks = self.empty_blocks.saturating_add(1),
            Ok(Ok(false)) => self.empty_blocks = 0,
            Ok(Err(error)) => tracing::error!(%error, "the local weave made no block"),
            Err(_) => {}
        }
    }

    async fn perform(&mut self) {
        while !self.effects.is_empty() {
            let effects: Vec<Effect> = self.effects.drain().collect();
            for effect in effects {
                let input = match effect {
                    Effect::Submit { process, from, to } => self.seek_or_submit(process, (from, to)).await,
                    Effect::Query { process, data_root } => self.query(process, data_root).await,
                    Effect::Confirm { process, to, data_root, block } => {
                        Some(self.confirm(process, to, data_root, block).await)
                    }
                };
                if let Some(input) = input {
                    self.handle(input);
                }
            }
        }
    }

    async fn submit(&mut self, process: Id, from: u64, to: u64) -> Input {
        match self.try_submit(process, from, to).await {
            Ok(Some((to, data_root))) => Input::Submitted { process, to, data_root },
            Ok(None) => Input::Nothing { process },
            Err(error) => {
                tracing::warn!(%process, from, to, %error, "a batch was not submitted; it is tried again");
                Input::Failed { process }
            }
        }
    }

    async fn try_submit(
        &mut self,
        process: Id,
        from: u64,
        to: u64,
    ) -> Result<Option<(u64, Hash)>, BatchError> {
        let (shared, built) = (SharedRef::clone(&self.shared), self.built.get(&process).copied());
        let batch = tokio::task::spawn_blocking(move || match kept(&shared, built, from)? {
            Some(kept) => Ok(Some(kept)),
            None => bundle(&shared, process, from, to),
        });
        let Some((to, batch)) = batch.await.map_err(|_| AnchorError::Closed)?? else { return Ok(None) };
        let data_root = batch.data_root();
        // The bundle is on disk before the weave hears of it, so a crash repeats the same bytes.
        self.shared.store.write(batch_writes(process, from, to, &batch, BatchState::Building)).await?;
        self.built.insert(process, data_root);
        match self.shared.config.anchor.backend {
            Backend::Local => drop(self.shared.weave.submit(batch.clone()).await?),
            // It lies on disk: that is where it is taken up.
            Backend::Arweave | Backend::Bundler => {
                let size = (batch.bytes().len() as u64, batch.items().len() as u64);
                self.shared.board.hand(data_root, size);
            }
        }
        self.shared.metrics.batches.inc();
        self.shared.store.write(batch_writes(process, from, to, &batch, BatchState::Submitted)).await?;
        Ok(Some((to, data_root)))
    }

    async fn query(&self, process: Id, data_root: Hash) -> Option<Input> {
        if self.shared.config.anchor.backend != Backend::Local {
            return self.posted(process, data_root);
        }
        match self.shared.weave.status(data_root).await {
            Ok(AnchorStatus::Unknown) => Some(Input::Status { process, block: None, known: false }),
            Ok(status @ AnchorStatus::Mined { height, block, .. }) => {
                let is_final = status.is_final(self.shared.weave.finality());
                Some(Input::Status { process, block: is_final.then_some((height, block)), known: true })
            }
            Ok(_) => Some(Input::Status { process, block: None, known: true }),
            Err(error) => {
                tracing::warn!(%process, %error, "the weave did not say how far a batch is");
                None
            }
        }
    }

    /// How far a batch is that was handed to the poster.
    fn posted(&self, process: Id, data_root: Hash) -> Option<Input> {
        let of = (&data_root, self.shared.anchored_on());
        let progress = |reader| post::progress(&reader, &self.shared.board, of);
        match self.shared.store.read().and_then(progress) {
            Ok(Progress::Unknown) => Some(Input::Status { process, block: None, known: false }),
            Ok(Progress::OnItsWay) => Some(Input::Status { process, block: None, known: true }),
            Ok(Progress::Final { height, block }) => {
                Some(Input::Status { process, block: Some((height, block)), known: true })
            }
            Err(error) => {
                tracing::warn!(%process, %error, "the store did not say how far a batch is");
                None
            }
        }
    }

    async fn confirm(
        &mut self,
        process: Id,
        to: u64,
        data_root: Hash,
        (height, block): (u64, Hash),
    ) -> Input {
        let shared = SharedRef::clone(&self.shared);
        let block = BatchState::Confirmed { height, block };
        // Its bundle is read once more.
        let writes =
            tokio::task::spawn_blocking(move || confirmed(&shared, process, (to, height), data_root, block));
        let written = match writes.await.map_err(|_| StoreError::Closed).flatten() {
            Ok(writes) => self.shared.store.write(writes).await,
            Err(error) => Err(error),
        };
        if let Err(error) = written {
            tracing::error!(%process, %error, "a confirmed batch was not recorded; it is tried again");
            return Input::Failed { process };
        }
        self.built.remove(&process);
        self.announce(process, data_root).await;
        let left = self.shared.store.read().and_then(|reader| has_beside(&reader, &process, Some(to)));
        if left.unwrap_or_default() {
            self.handle(Input::Beside { process });
        }
        Input::Confirmed { process, to }
    }
}

/// What is to be noted of a batch that is there to stay.
fn confirmed(
    shared: &Shared,
    process: Id,
    (to, height): (u64, u64),
    data_root: Hash,
    state: BatchState,
) -> Result<Vec<Write>, StoreError> {
    let reader = shared.store.read()?;
    let mut writes = Vec::new();
    let row = reader.batch(&data_root)?;
    if row.as_ref().is_none_or(|row| row.from_slot <= row.to_slot) {
        let weave = shared.anchored_on().to_owned();
        let row = AnchoredRow { slot: to, batch: data_root, height };
        writes.push(Write::Anchored { process, weave, row });
    }
    if let Some(row) = row {
        let bundle = reader.blob(&row.bundle)?;
        let bundle = bundle.and_then(|bytes| Bundle::parse(bytes).ok());
        let items = bundle.iter().flat_map(|bundle| bundle.items().flatten());
        writes.extend(settled(shared, process, items.map(|item| item.claims().clone())));
        // The weave has the bundle now; the copy made for the way there can go.
        writes.push(Write::DropBlob(row.bundle));
        writes.push(Write::Batch { data_root, row: BatchRow { state, ..row } });
    }
    Ok(writes)
}

/// The batch that was built before from this slot on, with its last slot.
fn kept(shared: &Shared, built: Option<Hash>, from: u64) -> Result<Option<(u64, Batch)>, BatchError> {
    let Some(data_root) = built else { return Ok(None) };
    let reader = shared.store.read()?;
    let Some(row) = reader.batch(&data_root)?.filter(|row| row.from_slot == from) else { return Ok(None) };
    // One that is damaged is made anew, which heals it where it comes to the same.
    let bytes = match reader.blob(&row.bundle) {
        Err(StoreError::Damaged { .. }) | Ok(None) => return Ok(None),
        Ok(Some(bytes)) => bytes,
        Err(error) => return Err(error.into()),
    };
    Ok(Some((row.to_slot, Batch::parse(bytes)?)))
}

fn batch_writes(process: Id, from: u64, to: u64, batch: &Batch, state: BatchState) -> Vec<Write> {
    let bytes = batch.bytes().clone();
    let bundle = weft_storage::blob_name(&bytes);
    let row = BatchRow {
        process,
        from_slot: from,
        to_slot: to,
        bundle,
        state,
        items: u32::try_from(batch.items().len()).unwrap_or(u32::MAX),
        bytes: bytes.len() as u64,
        attempts: 1,
        next_try_ms: 0,
    };
    vec![Write::Blob(bytes), Write::Batch { data_root: batch.data_root(), row }]
}

/// The weave and this node's batches, for a person.
///
/// # Errors
/// A damaged store or weave.
pub fn info(shared: &Shared) -> Result<WeaveInfo, NodeError> {
    let batches = shared.store.read()?.batches(SHOWN_MAX)?;
    let mut batches: Vec<BatchInfo> = batches
        .into_iter()
        .map(|(data_root, row)| BatchInfo {
            process: row.process,
            from: row.from_slot,
            to: row.to_slot,
            data_root,
            block: match row.state {
                BatchState::Confirmed { height, .. } => Some(height),
                BatchState::Building | BatchState::Submitted => None,
            },
            items: row.items,
            bytes: row.bytes,
        })
        .collect();
    batches.sort_by_key(|batch| (batch.process, batch.from));
    let height = shared.weave.newest_block()?.height;
    Ok(WeaveInfo { weave: shared.weave.name().to_owned(), height, batches })
}
