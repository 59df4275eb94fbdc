//! The embedded weave: blocks, bundles and an index of every item in them, in one redb file.
//!
//! It has Arweave's shape (blocks that name the one before, a transactions root, items in
//! bundles, found by tags) and none of its reach: what lies here is durable on one machine and
//! counts for nobody else (RULES.md 6.14). Blocks are made when [`LocalWeave::mine`] is called,
//! with the time it is given. A block once made stays, so one confirmation is final.

mod access;
mod block;
mod find;
mod placed;
mod posted;
mod rows;

use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use redb::ReadableDatabase as _;
use weft_protocol::{Address, Hash, Id, Network};

use super::{Anchor, AnchorError, AnchorFuture, AnchorStatus, Batch, Cursor, Page, TagQuery};
use crate::backup::{self, Copied, Copy, Progress};
use crate::contained::{Contained, contain};
use crate::disk::Disk;
use crate::error::StoreError;
use crate::fuzz;
use crate::limits::{BLOCK_TRANSACTIONS_MAX, CACHE_BYTES_DEFAULT, WEAVE_PENDING_MAX};
use crate::meta::{self, Owner};
use crate::room::{Cost, Need, Room, RoomStats, UnderWay};
use crate::rows::Raw;
use access::{Access as _, Reading, Writing};
use rows::{BundleRow, Place, Table};

pub use block::{Block, BlockTransaction};
pub use placed::Placed;
pub use rows::PostedRow;

/// The rows of the weave, for the fuzz targets.
pub(crate) const WEAVE_KINDS: [fuzz::Kind; 4] =
    [fuzz::again::<Block>, fuzz::again::<BundleRow>, fuzz::again::<Place>, fuzz::again::<PostedRow>];

/// The schema of weaves that this build writes.
pub(crate) const WEAVE_SCHEMA: u32 = 1;

/// Whose weave it is, and when it began.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LocalWeaveConfig {
    /// The network.
    pub network: Network,
    /// The address of the node's key.
    pub node: Address,
    /// The time now, in milliseconds since the Unix epoch: the genesis block of a new weave.
    pub now_ms: u64,
}

impl LocalWeaveConfig {
    const fn owner(&self) -> Owner {
        // Its first schema is its only one: there is nothing to migrate.
        let migrate = |_: &_, _, _| Ok(());
        Owner { kind: "weave", network: self.network, node: self.node, schema: WEAVE_SCHEMA, migrate }
    }
}

fn table_names() -> Vec<&'static str> {
    Table::ALL.iter().map(|table| table.name()).collect()
}

/// The embedded weave. Clones share it; all methods but those of [`Anchor`] block on the disk.
#[derive(Clone)]
pub struct LocalWeave {
    database: Arc<Contained>,
    name: Arc<str>,
    room: Arc<Room>,
    /// Bytes of all batches up to each block: eight bytes a block, so that a byte is found by its place.
    ends: Arc<Mutex<Vec<u64>>>,
}

fn lock(ends: &Mutex<Vec<u64>>) -> MutexGuard<'_, Vec<u64>> {
    ends.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Where the weave's bytes end after a block.
fn end_of(before: Option<&u64>, block: &Block) -> u64 {
    let bytes = block.transactions.iter().map(|one| one.bytes);
    bytes.fold(before.copied().unwrap_or_default(), u64::saturating_add)
}

impl std::fmt::Debug for LocalWeave {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "LocalWeave({})", self.name)
    }
}

impl LocalWeave {
    /// Opens the weave in a file, creating it when there is none, and checks its chain of blocks.
    ///
    /// # Errors
    /// [`AnchorError::Store`] as [`Store::open`](crate::Store::open), or [`AnchorError::Chain`].
    pub fn open(path: &Path, config: &LocalWeaveConfig) -> Result<Self, AnchorError> {
        let (database, _) = meta::open_file(path, CACHE_BYTES_DEFAULT, config.owner(), &table_names())?;
        Self::start(database, config)
    }

    /// Opens the weave on a disk of the caller's.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn open_with_backend(disk: impl Disk, config: &LocalWeaveConfig) -> Result<Self, AnchorError> {
        let database = meta::open_disk(disk, CACHE_BYTES_DEFAULT, config.owner(), &table_names())?;
        Self::start(database, config)
    }

    fn start(database: Contained, config: &LocalWeaveConfig) -> Result<Self, AnchorError> {
        let room = Arc::new(Room::new(database.meter().cloned()));
        let (name, ends) = (Arc::from(""), Arc::default());
        let mut weave = Self { database: Arc::new(database), name, room, ends };
        if weave.read()?.block(0)?.is_none() {
            let writing = weave.write()?;
            writing.put_block(&Block::genesis(config))?;
            writing.commit()?;
        }
        let genesis = weave.verify_chain(config)?;
        weave.name = format!("local:{genesis}").into();
        Ok(weave)
    }

    /// Walks the chain from genesis; answers the hash of the genesis block.
    fn verify_chain(&self, config: &LocalWeaveConfig) -> Result<Hash, AnchorError> {
        let reading = self.read()?;
        let chain = |height, reason| AnchorError::Chain { height, reason };
        let genesis = reading.block(0)?.ok_or_else(|| chain(0, "there is no genesis block"))?;
        if genesis != Block::genesis(&LocalWeaveConfig { now_ms: genesis.timestamp_ms, ..*config }) {
            return Err(chain(0, "the genesis block is not this node's"));
        }
        let mut ends = vec![end_of(None, &genesis)];
        let (name, mut previous) = (genesis.hash(), genesis);
        for height in 1..reading.length(Table::Blocks)? {
            let block = reading.block(height)?.ok_or_else(|| chain(height, "the block is missing"))?;
            block.check_follows(&previous).map_err(|reason| chain(height, reason))?;
            ends.push(end_of(ends.last(), &block));
            previous = block;
        }
        *lock(&self.ends) = ends;
        Ok(name)
    }

    /// Copies the weave as it is now into a new file, while it is in use.
    ///
    /// # Errors
    /// As [`Reader::back_up`](crate::Reader::back_up).
    pub fn back_up(&self, to: &Path, progress: Progress<'_>) -> Result<Copied, StoreError> {
        let reading = self.read().map_err(|error| StoreError::disk("beginning to read", error))?;
        backup::copy(&reading.0, Copy::Weave, to, progress)
    }

    /// Makes a block of the batches that wait, in the order in which they came, and indexes
    /// their items: of as many as there is room for. Without any it is an empty block.
    ///
    /// # Errors
    /// [`AnchorError::Store`], [`StoreError::Full`] where there is no room for the index of the first;
    /// then nothing has changed.
    pub fn mine(&self, now_ms: u64) -> Result<Block, AnchorError> {
        let writing = self.write()?;
        let (mut cost, mut pending) = (Cost::of_places(0), Vec::new());
        for (sequence, data_root) in writing.first_pending(BLOCK_TRANSACTIONS_MAX)? {
            let with = cost.and(Cost::of_places(writing.bundle(&data_root)?.ids().count()));
            // Each was taken with room for a block of its own: all together may wait for ever.
            if !pending.is_empty() && !self.room.has(Need::Frees, with) {
                break;
            }
            cost = with;
            pending.push((sequence, data_root));
        }
        let _under_way = self.check_room(Need::Frees, cost)?;
        let height = writing.length(Table::Blocks)?;
        let above = height.checked_sub(1).map(|last| writing.block(last)).transpose()?.flatten();
        let previous = above.ok_or(AnchorError::Chain { height, reason: "the block before is missing" })?;
        let mut transactions = Vec::with_capacity(pending.len());
        let mut index = 0;
        for (sequence, data_root) in pending {
            let bundle = writing.bundle(&data_root)?;
            writing.remove(Table::Pending, &sequence.to_be_bytes())?;
            for id in bundle.ids() {
                writing.index_item(&id, Place { height, index, batch: data_root })?;
                index += 1;
            }
            transactions.push(BlockTransaction { data_root, bytes: bundle.bytes });
        }
        let block = previous.next(now_ms, transactions);
        writing.put_block(&block)?;
        // Held over the commit, so that blocks come in here in their order.
        let mut ends = lock(&self.ends);
        writing.commit()?;
        let end = end_of(ends.last(), &block);
        ends.push(end);
        drop(ends);
        Ok(block)
    }

    /// Sets what the file may take, as [`Store::set_room`](crate::Store::set_room). A batch that does
    /// not fit is refused with [`StoreError::Full`] until there is room.
    pub fn set_room(&self, limit: u64, wall: u64) {
        self.room.set(limit, wall);
    }

    /// What the file takes of the disk.
    pub fn room(&self) -> RoomStats {
        self.room.stats()
    }

    /// `need` is `Frees` for whatever makes something final that this node took long ago, from which nothing is kept, and
    /// `New` for what strangers bring.
    fn check_room(&self, need: Need, cost: Cost) -> Result<UnderWay<'_>, StoreError> {
        let has = self.room.has(need, cost);
        // Only that the node's own is refused is news.
        self.room.note(if need == Need::Frees { Need::New } else { Need::Promised }, has);
        if has { Ok(self.room.begin(cost)) } else { Err(self.room.refusal()) }
    }

    /// How many batches wait for a block.
    ///
    /// # Errors
    /// [`AnchorError::Store`].
    pub fn pending(&self) -> Result<u64, AnchorError> {
        Ok(self.read()?.length(Table::Pending)?)
    }

    /// The newest block.
    ///
    /// # Errors
    /// [`AnchorError::Store`] or [`AnchorError::Chain`].
    pub fn newest_block(&self) -> Result<Block, AnchorError> {
        let reading = self.read()?;
        let height = reading.length(Table::Blocks)?.saturating_sub(1);
        let missing = AnchorError::Chain { height, reason: "the block is missing" };
        reading.block(height)?.ok_or(missing)
    }

    /// The block at a height.
    ///
    /// # Errors
    /// [`AnchorError::Store`].
    pub fn block(&self, height: u64) -> Result<Option<Block>, AnchorError> {
        Ok(self.read()?.block(height)?)
    }

    /// The block of a hash.
    ///
    /// # Errors
    /// [`AnchorError::Store`].
    pub fn block_by_hash(&self, hash: &Hash) -> Result<Option<Block>, AnchorError> {
        let reading = self.read()?;
        let height = reading.get::<u64>(Table::Heights, &hash.0)?;
        Ok(height.map(|height| reading.block(height)).transpose()?.flatten())
    }

    /// Rebuilds every batch from its items, verifies all of it and compares the data roots with
    /// those in the blocks: what [`open`](Self::open) does not do, because it reads everything.
    ///
    /// # Errors
    /// The first thing that does not fit.
    pub fn verify_content(&self) -> Result<(), AnchorError> {
        for height in 0..self.read()?.length(Table::Blocks)? {
            let Some(block) = self.block(height)? else { continue };
            for transaction in &block.transactions {
                let missing = AnchorError::Chain { height, reason: "a batch is missing" };
                let batch = Batch::parse(self.fetch_now(&transaction.data_root)?.ok_or(missing)?)?;
                if batch.data_root() != transaction.data_root
                    || batch.bytes().len() as u64 != transaction.bytes
                {
                    return Err(AnchorError::Chain { height, reason: "a batch is not what the block names" });
                }
            }
        }
        Ok(())
    }

    fn submit_now(&self, batch: &Batch) -> Result<AnchorStatus, AnchorError> {
        let status = self.status_now(&batch.data_root())?;
        if status != AnchorStatus::Unknown {
            return Ok(status);
        }
        let writing = self.write()?;
        // Only one writer at a time: what came in since the look above shows here.
        if !writing.has(Table::Bundles, &batch.data_root().0)? {
            let _under_way = self.put_batch(&writing, batch, Need::Frees, Cost::default())?;
            writing.commit()?;
        }
        Ok(AnchorStatus::Pending)
    }

    /// Has a batch that is not known wait for a block, where there is room for it and for what is written `beside` it.
    /// What is given lasts until that is committed.
    fn put_batch(
        &self,
        writing: &Writing,
        batch: &Batch,
        need: Need,
        beside: Cost,
    ) -> Result<UnderWay<'_>, AnchorError> {
        let waiting = writing.length(Table::Pending)?;
        if waiting >= WEAVE_PENDING_MAX as u64 {
            return Err(AnchorError::TooLarge {
                what: "batches that wait for a block",
                size: WEAVE_PENDING_MAX + 1,
                max: WEAVE_PENDING_MAX,
            });
        }
        let cost = Cost::of_batch(batch.items().len(), batch.bytes().len());
        let under_way = self.check_room(need, cost.and(beside))?;
        for item in batch.items() {
            writing.put(Table::Items, &item.id().0, &Raw(item.raw().clone()))?;
        }
        let sequence = writing.length(Table::Bundles)?;
        writing.put(Table::Bundles, &batch.data_root().0, &BundleRow::of(batch))?;
        writing.put(Table::Pending, &sequence.to_be_bytes(), &batch.data_root())?;
        Ok(under_way)
    }

    /// How far a batch is. Blocks on the disk.
    ///
    /// # Errors
    /// As [`newest_block`](Self::newest_block).
    pub fn status_now(&self, data_root: &Hash) -> Result<AnchorStatus, AnchorError> {
        let reading = self.read()?;
        if let Some(height) = reading.get::<u64>(Table::Mined, &data_root.0)? {
            let missing = AnchorError::Chain { height, reason: "the block is missing" };
            let block = reading.block(height)?.ok_or(missing)?.hash();
            let confirmations = reading.length(Table::Blocks)?.saturating_sub(height);
            return Ok(AnchorStatus::Mined { height, block, confirmations });
        }
        let known = reading.has(Table::Bundles, &data_root.0)?;
        Ok(if known { AnchorStatus::Pending } else { AnchorStatus::Unknown })
    }

    /// The bundle of a batch, also of one in no block. Blocks on the disk.
    ///
    /// # Errors
    /// [`AnchorError::Store`].
    pub fn fetch_now(&self, data_root: &Hash) -> Result<Option<Bytes>, AnchorError> {
        let reading = self.read()?;
        let Some(bundle) = reading.get::<BundleRow>(Table::Bundles, &data_root.0)? else {
            return Ok(None);
        };
        let mut bytes = bundle.header.to_vec();
        for id in bundle.ids() {
            bytes.extend_from_slice(&reading.item(&id)?);
        }
        Ok(Some(bytes.into()))
    }

    /// Hands over every raw item that any batch brought.
    pub(crate) fn each_item(
        &self,
        each: &mut dyn FnMut(Bytes) -> Result<(), AnchorError>,
    ) -> Result<(), AnchorError> {
        contain("reading the weave", || Ok(self.read()?.each_item(each)))?
    }

    /// A raw item that any batch brought.
    pub(crate) fn raw_item(&self, id: &Id) -> Result<Option<Bytes>, AnchorError> {
        Ok(self.read()?.get::<Raw>(Table::Items, &id.0)?.map(|raw| raw.0))
    }

    /// A raw item that is in a block. Blocks on the disk.
    ///
    /// # Errors
    /// [`AnchorError::Store`].
    pub fn item_now(&self, id: &Id) -> Result<Option<Bytes>, AnchorError> {
        let reading = self.read()?;
        if !reading.has(Table::Places, &id.0)? {
            return Ok(None);
        }
        Ok(Some(reading.item(id)?))
    }

    fn read(&self) -> Result<Reading, StoreError> {
        let transaction =
            self.database.begin_read().map_err(|error| StoreError::disk("beginning to read", error))?;
        Ok(Reading(transaction))
    }

    fn write(&self) -> Result<Writing, StoreError> {
        let transaction =
            self.database.begin_write().map_err(|error| StoreError::disk("beginning a commit", error))?;
        Ok(Writing(transaction))
    }

    /// Runs blocking work away from the tasks.
    fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(Self) -> Result<T, AnchorError> + Send + 'static,
    ) -> AnchorFuture<'static, T> {
        let weave = self.clone();
        Box::pin(async move {
            tokio::task::spawn_blocking(move || work(weave)).await.unwrap_or(Err(AnchorError::Closed))
        })
    }
}

impl Anchor for LocalWeave {
    fn name(&self) -> &str {
        &self.name
    }

    fn finality(&self) -> u64 {
        1
    }

    fn height(&self) -> AnchorFuture<'_, u64> {
        self.run(|weave| Ok(weave.newest_block()?.height))
    }

    fn submit(&self, batch: Batch) -> AnchorFuture<'_, AnchorStatus> {
        self.run(move |weave| weave.submit_now(&batch))
    }

    fn status(&self, data_root: Hash) -> AnchorFuture<'_, AnchorStatus> {
        self.run(move |weave| weave.status_now(&data_root))
    }

    fn fetch(&self, data_root: Hash) -> AnchorFuture<'_, Option<Bytes>> {
        self.run(move |weave| weave.fetch_now(&data_root))
    }

    fn item(&self, id: Id) -> AnchorFuture<'_, Option<Bytes>> {
        self.run(move |weave| weave.item_now(&id))
    }

    fn find(&self, query: TagQuery, from: Option<Cursor>, limit: usize) -> AnchorFuture<'_, Page> {
        self.run(move |weave| weave.find_now(&query, from, limit))
    }
}
