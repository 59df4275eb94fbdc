//! The store: one file, one writer, any number of readers.

use std::future::Future;
use std::path::Path;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;

use redb::ReadableDatabase as _;
use tokio::sync::{Semaphore, mpsc, oneshot, watch};
use weft_protocol::{Address, Id, Network, Position};

use crate::caution::{self, Caution};
use crate::contained::{Contained, contain};
use crate::disk::Disk;
use crate::error::StoreError;
use crate::forget::Forgetting;
use crate::limits::{CACHE_BYTES_DEFAULT, QUEUE_BYTES_MAX, QUEUE_REQUESTS_MAX};
use crate::mark::{self, Mark};
use crate::meta::{self, Owner};
use crate::migrate;
use crate::reader::Reader;
use crate::room::{Cost, Need, Room, RoomStats};
use crate::tables::Table;
use crate::times::CommitTimes;
use crate::write::{Write, admit};
use crate::writer::{Command, Counters, Request, Told, Writer};

/// Whose store it is, and how much memory it may use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreConfig {
    /// The network. A store never changes its network.
    pub network: Network,
    /// The address of the node's key. A store never changes its node: its slots are signed.
    pub node: Address,
    /// Memory for cached pages.
    pub cache_bytes: usize,
}

impl StoreConfig {
    /// A store of this node on this network, with the default cache.
    pub const fn new(network: Network, node: Address) -> Self {
        Self { network, node, cache_bytes: CACHE_BYTES_DEFAULT }
    }

    pub(crate) const fn owner(&self) -> Owner {
        let (network, node) = (self.network, self.node);
        Owner { kind: "store", network, node, schema: migrate::STORE_SCHEMA, migrate: migrate::run }
    }
}

/// What the store has done since it was opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Stats {
    /// Requests planned.
    pub requests: u64,
    /// Of these, refused.
    pub refused: u64,
    /// Commits made.
    pub commits: u64,
    /// Bytes written, keys included.
    pub bytes: u64,
    /// Requests waiting now.
    pub queued: u64,
    /// Bytes waiting now.
    pub queued_bytes: u64,
    /// How long commits took.
    pub commit_times: CommitTimes,
}

/// A durable store. Clones share it; dropping the last one commits what is queued and joins the
/// writer. The file stays locked until the last [`Reader`] is gone too.
#[derive(Clone)]
pub struct Store {
    shared: Arc<Shared>,
}

struct Shared {
    database: Arc<Contained>,
    /// Gone once the store is being dropped.
    queue: Option<mpsc::Sender<Command>>,
    bytes: Arc<Semaphore>,
    counters: Arc<Counters>,
    room: Arc<Room>,
    forgetting: Arc<Forgetting>,
    failure: watch::Receiver<Option<StoreError>>,
    writer: Writer,
}

impl Drop for Shared {
    fn drop(&mut self) {
        // Without a sender the writer commits what is queued and ends.
        self.queue = None;
        self.writer.join();
    }
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Store({:?})", self.stats())
    }
}

/// A request that is queued. Resolves when it is durable or refused. Dropping it does not take
/// the request back.
#[must_use = "until the ticket resolves nothing is durable"]
#[derive(Debug)]
pub struct Ticket(oneshot::Receiver<Result<(), StoreError>>);

impl Future for Ticket {
    type Output = Result<(), StoreError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.0).poll(cx).map(|reply| reply.unwrap_or(Err(StoreError::Closed)))
    }
}

impl Store {
    /// Opens the store in a file, creating it when there is none. One that lacks commits of which
    /// somebody was told is under [caution](crate::Caution) from then on.
    ///
    /// # Errors
    /// [`StoreError::InUse`], [`StoreError::OtherNetwork`], [`StoreError::OtherNode`],
    /// [`StoreError::NewerSchema`], [`StoreError::NotAStore`] or what the disk says.
    pub fn open(path: &Path, config: &StoreConfig) -> Result<Self, StoreError> {
        let (database, is_behind) =
            meta::open_file(path, config.cache_bytes, config.owner(), &table_names())?;
        if is_behind {
            tracing::error!(
                "{}; nothing is signed in logs of this node's own: see `weft repair`",
                mark::BEHIND
            );
            contain("putting the store under caution", || caution::raise_all(&database, Caution::Repaired))?;
        }
        let mark = Mark::open(path).map_err(|error| StoreError::disk("making its mark", error))?;
        Self::start(database, Some(mark))
    }

    /// Opens the store on a disk of the caller's: in memory, or one that injects faults.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn open_with_backend(disk: impl Disk, config: &StoreConfig) -> Result<Self, StoreError> {
        let database = meta::open_disk(disk, config.cache_bytes, config.owner(), &table_names())?;
        Self::start(database, None)
    }

    fn start(database: Contained, mark: Option<Mark>) -> Result<Self, StoreError> {
        let database = Arc::new(database);
        let (queue, requests) = mpsc::channel(QUEUE_REQUESTS_MAX);
        let counters = Arc::new(Counters::default());
        let (failing, failure) = watch::channel(None);
        let room = Arc::new(Room::new(database.meter().cloned()));
        let forgetting = Arc::new(Forgetting::default());
        let told = Told {
            counters: counters.clone(),
            room: room.clone(),
            forgetting: forgetting.clone(),
            failure: failing,
            mark,
        };
        let writer = Writer::start(database.clone(), requests, told)?;
        let bytes = Arc::new(Semaphore::new(QUEUE_BYTES_MAX));
        let shared =
            Shared { database, queue: Some(queue), bytes, counters, room, forgetting, failure, writer };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// Writes all of it or nothing, and answers when it is durable.
    ///
    /// Dropping the future before it is queued drops the request; after that it is written.
    ///
    /// # Errors
    /// [`StoreError::Conflict`], [`StoreError::Full`] and the other refusals, with nothing written; or a disk failure,
    /// after which the store must be opened again.
    pub async fn write(&self, writes: Vec<Write>) -> Result<(), StoreError> {
        self.enqueue(writes).await?.await
    }

    /// Queues a request, waiting while the queue is full. Requests are committed in the order
    /// in which they are queued, so a caller may have many on their way.
    ///
    /// # Errors
    /// [`StoreError::TooLarge`] or [`StoreError::Closed`].
    pub async fn enqueue(&self, writes: Vec<Write>) -> Result<Ticket, StoreError> {
        let weight = admit(&writes)?;
        let shared = &self.shared;
        // One request may outweigh the queue; it then waits until it has the queue to itself.
        let share = u32::try_from(weight.min(QUEUE_BYTES_MAX)).unwrap_or(u32::MAX);
        let share = shared.bytes.clone().acquire_many_owned(share).await.map_err(|_| StoreError::Closed)?;
        let (reply, ticket) = oneshot::channel();
        let (need, cost) = (Need::of(&writes), Cost::of(&writes, weight));
        let request = Request { writes, planned: None, weight, need, cost, reply, share };
        let queue = shared.queue.as_ref().ok_or(StoreError::Closed)?;
        queue.send(Command::Write(request)).await.map_err(|_| StoreError::Closed)?;
        Ok(Ticket(ticket))
    }

    /// [`write`](Self::write) for a thread that may block.
    ///
    /// # Errors
    /// As [`write`](Self::write).
    pub fn write_blocking(&self, writes: Vec<Write>) -> Result<(), StoreError> {
        block_on(self.write(writes))
    }

    /// Forgets a checkpoint, and the pages that no other one names: at once, or where there is no room for
    /// the rows that this changes, in as many commits as it takes. One that is broken off leaves what has
    /// no state and may be dropped again.
    ///
    /// # Errors
    /// As [`write`](Self::write); [`StoreError::Full`] where not even a page can be let go.
    pub async fn drop_checkpoint(&self, process: Id, position: Position) -> Result<(), StoreError> {
        self.drop_checkpoint_after(None, process, position).await
    }

    /// [`drop_checkpoint`](Self::drop_checkpoint) in commits that each begin with this write: where it is refused, so are they.
    pub(crate) async fn drop_checkpoint_after(
        &self,
        first: Option<&Write>,
        process: Id,
        position: Position,
    ) -> Result<(), StoreError> {
        let after = |write: Write| first.cloned().into_iter().chain([write]).collect::<Vec<_>>();
        let drop_it = || after(Write::DropCheckpoint { process, position });
        let full = match self.write(drop_it()).await {
            Err(full @ StoreError::Full { .. }) => full,
            done => return done,
        };
        let Some(row) = self.read()?.checkpoint(&process, position)? else { return Err(full) };
        let (mut left, mut part) = (row.pages.len(), row.pages.len() / 2);
        while left > 0 {
            let pages = left.saturating_sub(part.max(1));
            match self.write(after(Write::CutCheckpoint { process, position, pages })).await {
                Ok(()) => (left, part) = (pages, part * 2),
                Err(StoreError::Full { .. }) if part > 1 => part /= 2,
                Err(error) => return Err(error),
            }
        }
        self.write(drop_it()).await
    }

    /// [`drop_checkpoint`](Self::drop_checkpoint) for a thread that may block.
    ///
    /// # Errors
    /// As [`drop_checkpoint`](Self::drop_checkpoint).
    pub fn drop_checkpoint_blocking(&self, process: Id, position: Position) -> Result<(), StoreError> {
        block_on(self.drop_checkpoint(process, position))
    }

    /// Waits until a commit fails, and says why; for ever while the disk is well. After it the
    /// store refuses every write, so its owner should close it and open it again.
    pub async fn failure(&self) -> StoreError {
        let mut failure = self.shared.failure.clone();
        loop {
            if let Some(error) = failure.borrow_and_update().clone() {
                return error;
            }
            if failure.changed().await.is_err() {
                // The writer ended because it was told to.
                std::future::pending::<()>().await;
            }
        }
    }

    /// A snapshot of what is durable now. Reading blocks on the disk where the cache misses.
    ///
    /// # Errors
    /// What the disk says.
    pub fn read(&self) -> Result<Reader, StoreError> {
        let transaction = self
            .shared
            .database
            .begin_read()
            .map_err(|error| StoreError::disk("beginning to read", error))?;
        Ok(Reader::new(transaction))
    }

    /// Commits what is queued and ends the writer. Later writes, also of clones, are refused as
    /// [`StoreError::Closed`]; reading still works.
    pub fn shutdown(&self) {
        if let Some(queue) = &self.shared.queue {
            // It fails only when the writer has ended already.
            let _ = block_on(queue.send(Command::Stop));
        }
        self.shared.writer.join();
    }

    /// Sets what the file may take. Requests that might take it over `limit` are refused as
    /// [`StoreError::Full`] before they are made, those with new work first. Should one have been
    /// weighed too low, its commit fails before the file passes `wall`.
    pub fn set_room(&self, limit: u64, wall: u64) {
        self.shared.room.set(limit, wall);
    }

    /// Whether there is room for an item of so many bytes, and for what follows from it.
    pub fn has_room(&self, bytes: usize) -> bool {
        self.has_room_for(1, bytes)
    }

    /// Whether there is room for so many items in one request, with so many bytes together.
    pub fn has_room_for(&self, items: usize, bytes: usize) -> bool {
        self.shared.room.has(Need::New, Cost::of_items(items, bytes))
    }

    /// Why a request is refused for which there is no room.
    pub fn no_room(&self) -> StoreError {
        self.shared.room.refusal()
    }

    /// What the file takes of the disk.
    pub fn room(&self) -> RoomStats {
        self.shared.room.stats()
    }

    /// Counts how much of the file is free for new rows, by walking every tree: what that costs
    /// grows with the store. Near its limit the store takes new work by this count.
    ///
    /// # Errors
    /// What the disk says.
    pub fn measure(&self) -> Result<u64, StoreError> {
        let room = &self.shared.room;
        let (lasting, reader) = (room.lasting(), self.read()?);
        let bytes = room.bytes();
        let free = bytes.saturating_sub(reader.allocated_bytes()?);
        room.counted(free, lasting);
        Ok(free)
    }

    /// What is being forgotten.
    pub(crate) fn forgetting(&self) -> &Forgetting {
        &self.shared.forgetting
    }

    /// What the store has done.
    pub fn stats(&self) -> Stats {
        let Shared { counters, queue, bytes, .. } = &*self.shared;
        let queued = queue.as_ref().map_or(0, |queue| queue.max_capacity() - queue.capacity());
        Stats {
            requests: counters.requests.load(Ordering::Relaxed),
            refused: counters.refused.load(Ordering::Relaxed),
            commits: counters.commits.load(Ordering::Relaxed),
            bytes: counters.bytes.load(Ordering::Relaxed),
            queued: queued as u64,
            queued_bytes: QUEUE_BYTES_MAX.saturating_sub(bytes.available_permits()) as u64,
            commit_times: counters.commit_times.read(),
        }
    }
}

pub(crate) fn table_names() -> Vec<&'static str> {
    Table::ALL.iter().map(|table| table.name()).collect()
}

/// Runs a future on this thread. The store's futures need no runtime: a channel wakes them.
pub(crate) fn block_on<F: Future>(future: F) -> F::Output {
    struct Unpark(Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let mut context = Context::from_waker(&waker);
    let mut future = pin!(future);
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut context) {
            return output;
        }
        std::thread::park();
    }
}
