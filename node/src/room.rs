//! The disk budget: what the data folder may take, and who of those who write there gets how much.
//!
//! Owns the measure of the folder and the limits of store and weave; decides nothing about a single
//! write, which the store does itself before it is made (`Store::set_room`). Everything in the folder
//! counts by the blocks that it takes, the cache of compiled modules by what it may take; what `weft
//! backup` and `weft export` write lies elsewhere. What is left of the budget, or of the disk where that is
//! less, is given to store and weave by halves: every item comes to lie in both.
//!
//! When little is left, what the policy lets go is pruned, older checkpoints go, and free pages inside
//! the store are counted. When nothing is left, new work is told to come back and logs of others are not
//! followed on; what was promised is computed, sent and anchored, and everything can be read.
//!
//! What is written for a while beside them, such as a log that is read from a weave to be checked, has a `Grant`
//! out of what is left: it counts from the beginning with all it may come to.
//!
//! Invariant: the limits of store and weave, with the rest, never come to more than the budget.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use weft_protocol::Id;
use weft_storage::{Compacted, Store, StoreConfig, StoreError, Write};

use crate::backup::{STORE_NAME, WEAVE_NAME};
use crate::config::{Config, Role};
use crate::error::NodeError;
use crate::recover;
use crate::shared::{Shared, SharedRef};
use crate::supervisor::joined;

/// How often the folder is measured: others write to the same disk.
const PERIOD: Duration = Duration::from_millis(500);
/// How long somebody with new work is asked to wait, in milliseconds: pruning takes seconds.
pub const ROOM_RETRY_MS: u64 = 10_000;
/// Left free on the disk: a system whose disk is full to the last block is no use to its operator.
const DISK_MARGIN: u64 = 64 << 20;
/// Free pages are counted again when counting took at most this part of the time since.
const COUNT_PART: u32 = 50;
/// And not more often than this where room is scarce.
const COUNT_PAUSE: Duration = Duration::from_secs(2);
/// Nor than this where it is not: only people look at the number.
const COUNT_PAUSE_IDLE: Duration = Duration::from_secs(6 * 3600);
/// The first time: a start has other things to read.
const COUNT_FIRST: Duration = Duration::from_secs(60);
/// Checkpoints kept of a process where room is scarce: a damaged one still has one before it.
pub const CHECKPOINTS_SCARCE: usize = 2;
/// A store that takes less of the budget is not compacted when a node starts: free pages are used again.
const COMPACT_FROM_PART: u64 = 3;
/// Nor one with less of itself free.
const COMPACT_FREE_PART: u64 = 3;
/// Nor one with less free than this.
const COMPACT_BYTES_MIN: u64 = 4 << 20;
/// The setting that says that compacting was worth it when free pages were counted last.
const COMPACT_SETTING: &str = "room/compact";
/// A small item: a node without room for one takes no new work.
pub const LITTLE_BYTES: usize = 4096;
/// Less is no use to anybody who needs room for a while: an empty store takes about this.
const GRANT_BYTES_MIN: u64 = 8 << 20;
/// Part of the budget that compiled modules may take.
const COMPILED_PART: u64 = 8;
/// Checkpoints of one process that one look at the disk brings up.
const CHECKPOINTS_SEEN_MAX: usize = 10_000;
/// Folders in folders that are looked into: there are none deeper.
const DEPTH_MAX: usize = 4;

/// What a node takes of the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct RoomInfo {
    /// What the data folder takes.
    pub used_bytes: u64,
    /// What it may take; none for all of the disk.
    pub budget_bytes: Option<u64>,
    pub store_bytes: u64,
    pub weave_bytes: u64,
    /// Free for new rows inside the store, when that was counted last.
    pub reusable_bytes: Option<u64>,
    /// Free on the file system.
    pub free_bytes: u64,
    /// No new work is taken.
    pub is_full: bool,
}

/// The newest measurement, for all roles.
#[derive(Debug, Default)]
pub struct Gauge {
    others: AtomicU64,
    free: AtomicU64,
    is_scarce: AtomicBool,
    granted: Arc<AtomicU64>,
    /// Wakes the one task that lets results go.
    pub(crate) scarce: Notify,
}

impl Gauge {
    /// Whether so little is left that what may go should.
    pub fn is_scarce(&self) -> bool {
        self.is_scarce.load(Ordering::Relaxed)
    }
}

/// Bytes that compiled modules may take within a budget.
pub fn compiled_budget(budget: u64) -> u64 {
    (budget / COMPILED_PART).min(weft_vm::limits::CACHE_BYTES_MAX)
}

/// What is left for store and weave: by the budget, and by the disk too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Left {
    budget: u64,
    both: u64,
}

impl Left {
    /// `used` is what store and weave take now.
    const fn of(budget: u64, used: u64, others: u64, free: u64) -> Self {
        let by_budget = match budget {
            u64::MAX => u64::MAX,
            budget => budget.saturating_sub(used).saturating_sub(others),
        };
        let by_disk = free.saturating_sub(DISK_MARGIN);
        Self { budget: by_budget, both: if by_budget < by_disk { by_budget } else { by_disk } }
    }

    /// The limit and the wall of a file that takes so many bytes and gets a half, or all, of the rest.
    fn limits(self, bytes: u64, halves: u64) -> (u64, u64) {
        let share = |left: u64| if left == u64::MAX { u64::MAX } else { left / 2 * halves };
        (bytes.saturating_add(share(self.both)), bytes.saturating_add(share(self.budget)))
    }
}

/// Room for what is written for a while beside store and weave. It is free again when this is dropped.
#[derive(Debug)]
pub(crate) struct Grant {
    granted: Arc<AtomicU64>,
    bytes: u64,
}

impl Grant {
    /// What may be written.
    pub(crate) const fn bytes(&self) -> u64 {
        self.bytes
    }
}

impl Drop for Grant {
    fn drop(&mut self) {
        self.granted.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// Grants half of what is left, and takes it from store and weave. Blocks on the disk.
///
/// # Errors
/// Why there is no room, as a text for people.
pub(crate) fn grant(shared: &Shared) -> Result<Grant, String> {
    let (left, _) = look(shared).map_err(|error| error.to_string())?;
    let bytes = left.both / 2;
    if bytes < GRANT_BYTES_MIN {
        return Err(format!("{bytes} bytes could be had, and {GRANT_BYTES_MIN} are the least"));
    }
    let granted = Arc::clone(&shared.room.granted);
    granted.fetch_add(bytes, Ordering::Relaxed);
    let grant = Grant { granted, bytes };
    measure(shared).map_err(|error| error.to_string())?;
    Ok(grant)
}

/// What store and weave take: at one moment, and with what their commits under way were admitted to.
#[derive(Debug, Clone, Copy)]
struct Taken {
    store: u64,
    weave: u64,
}

/// Measures what is left for store and weave, beside what they take.
fn look(shared: &Shared) -> Result<(Left, Taken), NodeError> {
    let (config, gauge) = (&shared.config, &shared.room);
    let failed = |error: std::io::Error| NodeError::Folder {
        path: config.data_dir.display().to_string(),
        why: format!("what it takes of the disk cannot be measured: {error}"),
    };
    let free = free_bytes(&config.data_dir).map_err(failed)?;
    let others = others_in(&config.data_dir, 0).map_err(failed)?;
    gauge.others.store(others, Ordering::Relaxed);
    gauge.free.store(free, Ordering::Relaxed);
    // The cache of compiled modules may grow at any time to what it may take.
    let compiled = bytes_in(&config.data_dir.join(COMPILED), 0).map_err(failed)?;
    // And what was granted to what it was granted.
    let temporary = bytes_in(&config.data_dir.join(recover::FOLDER), 0).map_err(failed)?;
    let promised = gauge.granted.load(Ordering::Relaxed).saturating_sub(temporary);
    let counted = others - compiled.min(others) + compiled.max(compiled_budget(config.disk_budget_bytes));
    let taken = Taken { store: shared.store.room().bound, weave: shared.weave.room().bound };
    let free = free.saturating_sub(promised);
    let used = taken.store.saturating_add(taken.weave);
    Ok((Left::of(config.disk_budget_bytes, used, counted.saturating_add(promised), free), taken))
}

/// Measures the folder and sets the limits: before anything is written, and ever after.
///
/// # Errors
/// What the system says of the data folder.
pub fn measure(shared: &Shared) -> Result<(), NodeError> {
    let (config, gauge) = (&shared.config, &shared.room);
    // Both grow meanwhile: measured twice, they would be given more than there is, and have it taken back in the midst of a
    // commit.
    let (left, Taken { store, weave }) = look(shared)?;
    let anchors = config.roles.contains(&Role::Anchor);
    let (limit, wall) = left.limits(store, if anchors { 1 } else { 2 });
    shared.store.set_room(limit, wall);
    let (limit, wall) = left.limits(weave, u64::from(anchors));
    shared.weave.set_room(limit, wall);
    let room = shared.store.room();
    let is_scarce =
        room.is_full || !shared.store.has_room(usize::try_from(room.reserve()).unwrap_or(usize::MAX));
    if is_scarce && !gauge.is_scarce.swap(is_scarce, Ordering::Relaxed) {
        tracing::warn!(
            used = store + weave + gauge.others.load(Ordering::Relaxed),
            budget = config.disk_budget_bytes,
            free = gauge.free.load(Ordering::Relaxed),
            "room on the disk runs out: what may be pruned goes; raise `disk_budget` or make room"
        );
        // Also for who is busy and not waiting yet.
        gauge.scarce.notify_one();
    }
    gauge.is_scarce.store(is_scarce, Ordering::Relaxed);
    Ok(())
}

/// Opens the store, and compacts it first where it takes much of the budget and has much free inside:
/// only while nobody reads can redb give that back. Elsewhere a start waits for nothing, nor where that was not worth it when
/// free pages were counted last, while the node ran: counting reads every tree.
///
/// # Errors
/// As [`Store::open`].
pub fn open_store(config: &Config, of: &StoreConfig) -> Result<Store, StoreError> {
    let path = config.data_dir.join(STORE_NAME);
    let store = Store::open(&path, of)?;
    let taken = store.room().bytes;
    let is_noted = || Ok::<_, StoreError>(store.read()?.setting(COMPACT_SETTING)?.is_some());
    if taken < config.disk_budget_bytes / COMPACT_FROM_PART || !is_noted()? {
        return Ok(store);
    }
    let free = store.measure()?;
    if !is_worth(taken, free) {
        note(&store, free)?;
        return Ok(store);
    }
    // Again when it is counted again, whatever comes of it.
    store.write_blocking(vec![Write::DropSetting { name: COMPACT_SETTING.to_owned() }])?;
    drop(store);
    tracing::info!(taken, "compacting the store: it takes much of `disk_budget` and has much free inside");
    let Compacted { before, after } = Store::compact(&path, of)?;
    tracing::info!(before, after, "the store is compacted");
    Store::open(&path, of)
}

/// Notes for the next start whether compacting is worth it, if that is another than was noted.
fn note(store: &Store, free: u64) -> Result<(), StoreError> {
    let is_noted = store.read()?.setting(COMPACT_SETTING)?.is_some();
    let name = COMPACT_SETTING.to_owned();
    let write = match (is_noted, is_worth(store.room().bytes, free)) {
        (false, true) => Write::Setting { name, value: bytes::Bytes::new() },
        (true, false) => Write::DropSetting { name },
        (true, true) | (false, false) => return Ok(()),
    };
    store.write_blocking(vec![write])
}

/// Whether compacting gives back enough for what it costs: every page that moves is written anew.
const fn is_worth(taken: u64, free: u64) -> bool {
    free >= COMPACT_BYTES_MIN && free >= taken / COMPACT_FREE_PART
}

/// What the node takes of the disk, as it was measured last.
pub fn info(shared: &Shared) -> RoomInfo {
    let (store, weave) = (shared.store.room(), shared.weave.room());
    let budget = shared.config.disk_budget_bytes;
    RoomInfo {
        used_bytes: store.bytes + weave.bytes + shared.room.others.load(Ordering::Relaxed),
        budget_bytes: (budget != u64::MAX).then_some(budget),
        store_bytes: store.bytes,
        weave_bytes: weave.bytes,
        reusable_bytes: store.reusable,
        free_bytes: shared.room.free.load(Ordering::Relaxed),
        is_full: !shared.store.has_room(LITTLE_BYTES),
    }
}

/// The folder of compiled modules.
pub const COMPILED: &str = "compiled";

fn free_bytes(folder: &Path) -> std::io::Result<u64> {
    let system = rustix::fs::statvfs(folder)?;
    Ok(system.f_bavail.saturating_mul(system.f_frsize))
}

/// What lies beside store and weave, which measure themselves.
fn others_in(folder: &Path, depth: usize) -> std::io::Result<u64> {
    let measured = [STORE_NAME, WEAVE_NAME].map(|name| folder.join(name));
    let all = bytes_in(folder, depth)?;
    let own = measured.iter().filter_map(|path| path.metadata().ok()).map(|found| blocks(&found));
    Ok(all.saturating_sub(own.sum()))
}

fn bytes_in(folder: &Path, depth: usize) -> std::io::Result<u64> {
    let entries = match std::fs::read_dir(folder) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(0),
        entries => entries?,
    };
    let mut bytes = 0;
    for entry in entries {
        let entry = entry?;
        bytes += match entry.metadata() {
            Ok(found) if found.is_dir() && depth < DEPTH_MAX => bytes_in(&entry.path(), depth + 1)?,
            Ok(found) => blocks(&found),
            // A file that went away meanwhile takes nothing.
            Err(_) => 0,
        };
    }
    Ok(bytes)
}

fn blocks(found: &std::fs::Metadata) -> u64 {
    use std::os::unix::fs::MetadataExt as _;
    /// As the system counts them, whatever the file system has.
    const BLOCK_BYTES: u64 = 512;
    found.blocks() * BLOCK_BYTES
}

/// Measures until the node stops, and lets go of what can be made again when room becomes scarce.
#[derive(Debug)]
pub struct RoomTask {
    shared: SharedRef,
    counted: Instant,
    counting_took: Duration,
    was_scarce: bool,
    is_first: bool,
    /// Lets go of checkpoints, for as long as that takes: measuring goes on.
    dropping: Option<JoinHandle<()>>,
}

impl RoomTask {
    /// The loop; measures once before anything is written.
    ///
    /// # Errors
    /// What the system says of the data folder.
    pub fn new(shared: SharedRef) -> Result<Self, NodeError> {
        measure(&shared)?;
        Ok(Self {
            shared,
            counted: Instant::now(),
            counting_took: Duration::ZERO,
            was_scarce: false,
            is_first: true,
            dropping: None,
        })
    }

    /// Runs until the node stops.
    pub async fn run(mut self, stop: CancellationToken) {
        let mut tick = tokio::time::interval(PERIOD);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = stop.cancelled() => {
                    // It has the store open, which is closed before the node ends.
                    if let Some(dropping) = self.dropping.take() {
                        joined(dropping.await);
                    }
                    return;
                }
                _ = tick.tick() => {}
            }
            if let Some(dropping) = self.dropping.take_if(|dropping| dropping.is_finished()) {
                joined(dropping.await);
            }
            let (shared, due) = (SharedRef::clone(&self.shared), self.due());
            let look = move || {
                measure(&shared)?;
                let is_scarce = shared.room.is_scarce();
                let counts = if is_scarce { due.0 } else { due.1 };
                Ok::<_, NodeError>((is_scarce, counts.then(|| count(&shared.store))))
            };
            match tokio::task::spawn_blocking(look).await {
                Ok(Ok((is_scarce, counting))) => {
                    let begins = is_scarce && !self.was_scarce && self.dropping.is_none();
                    if begins {
                        let (shared, stop) = (SharedRef::clone(&self.shared), stop.clone());
                        let work = move || drop_all_checkpoints(&shared, &stop);
                        self.dropping = Some(tokio::task::spawn_blocking(work));
                    }
                    // One that could not begin yet begins at the next look.
                    self.was_scarce = is_scarce && (begins || self.was_scarce);
                    if let Some(took) = counting {
                        (self.counted, self.counting_took, self.is_first) = (Instant::now(), took, false);
                    }
                }
                Ok(Err(error)) => tracing::error!(%error, "the disk could not be measured"),
                Err(error) => tracing::error!(%error, "measuring the disk ended early"),
            }
        }
    }

    /// Whether it is time to count free pages: where room is scarce, and where it is not.
    fn due(&self) -> (bool, bool) {
        let since = self.counted.elapsed();
        let least = self.counting_took * COUNT_PART;
        let idle = if self.is_first { COUNT_FIRST } else { COUNT_PAUSE_IDLE };
        (self.is_first || since >= least.max(COUNT_PAUSE), since >= least.max(idle))
    }
}

/// Counts the free pages of the store; says how long that took.
fn count(store: &Store) -> Duration {
    let began = Instant::now();
    if let Err(error) = store.measure().and_then(|free| note(store, free)) {
        tracing::warn!(%error, "free pages of the store could not be counted");
    }
    began.elapsed()
}

fn drop_all_checkpoints(shared: &Shared, stop: &CancellationToken) {
    for process in shared.directory.ids(|roles| roles.computes) {
        if stop.is_cancelled() {
            return;
        }
        if let Err(error) = drop_checkpoints(&shared.store, process, stop) {
            tracing::warn!(%process, %error, "older checkpoints were not dropped");
        }
    }
}

/// Drops the checkpoints of a process but the newest few: only time is lost. One that has no end may be
/// on its way to the disk.
fn drop_checkpoints(store: &Store, process: Id, stop: &CancellationToken) -> Result<(), StoreError> {
    let held = store.read()?.checkpoints(&process, CHECKPOINTS_SEEN_MAX)?.finished;
    for position in held.into_iter().skip(CHECKPOINTS_SCARCE) {
        if stop.is_cancelled() {
            return Ok(());
        }
        store.drop_checkpoint_blocking(process, position)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
