//! The writer thread: takes requests off the queue, plans each, commits many at once, answers
//! after the commit.
//!
//! While one group is being synced the next one queues up, so the size of groups follows the
//! load and an idle store answers in the time of one sync. Also a refusal is answered only after
//! the commit: what it points to may be a write of the same group.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use bytes::Bytes;
use redb::{Database, ReadableTable as _, WriteTransaction};
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot, watch};

use crate::contained::{Contained, contain};
use crate::error::StoreError;
use crate::forget::{Forgetting, Noted};
use crate::limits::{GROUP_BYTES_MAX, GROUP_REQUESTS_MAX, GROUP_TIME_MAX};
use crate::mark::Mark;
use crate::plan::{Base, Changes, plan};
use crate::room::{Cost, Need, Room, UnderWay};
use crate::tables::Table;
use crate::times::Times;
use crate::write::Write;

/// One caller's writes and where to answer.
pub(crate) struct Request {
    pub(crate) writes: Vec<Write>,
    /// What they come to, once that is known: nothing else is planned before it is written or refused.
    pub(crate) planned: Option<(Changes, Noted)>,
    pub(crate) weight: usize,
    pub(crate) need: Need,
    pub(crate) cost: Cost,
    pub(crate) reply: oneshot::Sender<Result<(), StoreError>>,
    /// The request's share of the queue's bytes; given back when it is planned.
    pub(crate) share: OwnedSemaphorePermit,
}

/// What travels to the writer.
pub(crate) enum Command {
    /// Write this.
    Write(Request),
    /// Commit what is queued and end.
    Stop,
}

/// What the writer has done, read by [`Store::stats`](crate::Store::stats).
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) requests: AtomicU64,
    pub(crate) refused: AtomicU64,
    pub(crate) commits: AtomicU64,
    pub(crate) bytes: AtomicU64,
    pub(crate) commit_times: Times,
}

/// Where the writer says what it does, and reads what it may.
pub(crate) struct Told {
    pub(crate) counters: Arc<Counters>,
    pub(crate) room: Arc<Room>,
    pub(crate) forgetting: Arc<Forgetting>,
    pub(crate) failure: watch::Sender<Option<StoreError>>,
    /// Noted before it is answered; a disk of the caller's has none.
    pub(crate) mark: Option<Mark>,
}

/// Runs until stopped or every sender is gone. After a failed commit nobody knows what is on disk:
/// `failure` says so, and from then on every request is refused.
pub(crate) fn run(database: &Database, mut queue: mpsc::Receiver<Command>, told: &Told) {
    let Told { counters, room, forgetting, failure, mark } = told;
    let mut carried = None;
    loop {
        let command = carried.take().map(Command::Write).or_else(|| queue.blocking_recv());
        let first = match command {
            Some(Command::Write(request)) => request,
            Some(Command::Stop) => {
                queue.close();
                continue;
            }
            None => return,
        };
        let failed = failure.borrow().clone();
        if let Some(error) = failed {
            answer(first.reply, Err(error));
            continue;
        }
        let mut group = Group {
            queue: &mut queue,
            counters,
            room,
            forgetting,
            answers: Vec::new(),
            cost: Cost::default(),
            under_way: None,
            carried: None,
        };
        let result = contain("committing", || group.commit(database, first));
        group.under_way = None;
        carried = group.carried.take();
        let answers = std::mem::take(&mut group.answers);
        if let Err(error) = &result {
            tracing::error!(%error, "the store takes no more writes");
            failure.send_replace(Some(error.clone()));
        } else if let Some(Err(error)) = mark.as_ref().map(Mark::set) {
            // What was committed is there all the same; only its loss would not be noticed.
            tracing::warn!(%error, "a commit was not noted beside the store");
        }
        for (reply, planned) in answers {
            answer(reply, planned.and(result.clone()));
        }
    }
}

fn answer(reply: oneshot::Sender<Result<(), StoreError>>, result: Result<(), StoreError>) {
    // A caller that stopped waiting still has its write; there is nobody to tell.
    let _ = reply.send(result);
}

/// Where to answer, and what unless the commit fails.
type Answer = (oneshot::Sender<Result<(), StoreError>>, Result<(), StoreError>);

struct Group<'a> {
    queue: &'a mut mpsc::Receiver<Command>,
    counters: &'a Counters,
    room: &'a Room,
    forgetting: &'a Forgetting,
    answers: Vec<Answer>,
    /// What the commit may take of the disk.
    cost: Cost,
    /// Keeps that room.
    under_way: Option<UnderWay<'a>>,
    /// Came off the queue and goes with the next commit.
    carried: Option<Request>,
}

impl Group<'_> {
    fn commit(&mut self, database: &Database, first: Request) -> Result<(), StoreError> {
        let began = Instant::now();
        let transaction = match database.begin_write() {
            Ok(transaction) => transaction,
            Err(error) => {
                self.answers.push((first.reply, Ok(())));
                return Err(StoreError::disk("beginning a commit", error));
            }
        };
        let before = self.room.bytes();
        let changed = self.fill(&transaction, first)?;
        if changed {
            transaction.commit().map_err(|error| StoreError::disk("committing", error))?;
            self.counters.commits.fetch_add(1, Ordering::Relaxed);
            self.counters.commit_times.add(began.elapsed());
            self.room.committed(self.cost, before);
        }
        Ok(())
    }

    /// Plans and applies requests until the queue is empty or the group is full. Answers whether
    /// there is anything to commit.
    fn fill(&mut self, transaction: &WriteTransaction, first: Request) -> Result<bool, StoreError> {
        let mut tables = OpenTables { transaction, open: BTreeMap::new() };
        let opened = Instant::now();
        // Who waits already goes with this commit, however long planning takes: leaving them for
        // the next one would make them wait for both. Only for newcomers is there a closing time.
        let waiting = self.queue.len() + 1;
        let (mut changed, mut bytes) = (false, 0);
        let mut next = Some(first);
        while let Some(mut request) = next.take() {
            let Some(planned) = self.admit(&mut tables, &mut request) else {
                self.carried = Some(request);
                break;
            };
            bytes += request.weight;
            drop(request.share);
            self.counters.requests.fetch_add(1, Ordering::Relaxed);
            match planned {
                Ok(changes) => {
                    self.answers.push((request.reply, Ok(())));
                    changed |= !changes.is_empty();
                    tables.apply(changes, self.counters)?;
                }
                Err(error) => {
                    self.counters.refused.fetch_add(1, Ordering::Relaxed);
                    self.answers.push((request.reply, Err(error)));
                }
            }
            let full = self.answers.len() >= GROUP_REQUESTS_MAX
                || bytes >= GROUP_BYTES_MAX
                || (self.answers.len() >= waiting && opened.elapsed() >= GROUP_TIME_MAX);
            if !full {
                next = self.take_queued();
            }
        }
        Ok(changed)
    }

    /// Plans a request if there is room for it; none when it has to wait for the next commit.
    fn admit(
        &mut self,
        tables: &mut OpenTables<'_>,
        request: &mut Request,
    ) -> Option<Result<Changes, StoreError>> {
        let mut fits = self.room.has(request.need, self.cost.and(request.cost));
        if fits && request.planned.is_none() {
            let (writes, noted) = self.forgetting.pass(std::mem::take(&mut request.writes));
            let changes = match plan(tables, writes) {
                Ok(changes) => changes,
                Err(error) => return Some(Err(error)),
            };
            request.cost = Cost::of_changes(&changes, request.weight);
            request.planned = Some((changes, noted));
            fits = request.cost.is_none() || self.room.has(request.need, self.cost.and(request.cost));
        }
        if !fits && !self.cost.is_none() {
            // Alone it may find room: together these were weighed at their worst.
            return None;
        }
        self.room.note(request.need, fits);
        if !fits {
            return Some(Err(self.room.refusal()));
        }
        self.cost = self.cost.and(request.cost);
        self.under_way = Some(self.room.begin(self.cost));
        let (changes, noted) = request.planned.take().unwrap_or_default();
        self.forgetting.note(noted);
        Some(Ok(changes))
    }

    fn take_queued(&mut self) -> Option<Request> {
        loop {
            match self.queue.try_recv() {
                Ok(Command::Write(request)) => return Some(request),
                Ok(Command::Stop) => self.queue.close(),
                Err(_) => return None,
            }
        }
    }
}

type OpenTable<'a> = redb::Table<'a, &'static [u8], &'static [u8]>;

/// The tables that the transaction has touched: opening one costs a lookup.
struct OpenTables<'a> {
    transaction: &'a WriteTransaction,
    open: BTreeMap<Table, OpenTable<'a>>,
}

impl<'a> OpenTables<'a> {
    fn table(&mut self, table: Table) -> Result<&mut OpenTable<'a>, StoreError> {
        Ok(match self.open.entry(table) {
            std::collections::btree_map::Entry::Occupied(entry) => entry.into_mut(),
            std::collections::btree_map::Entry::Vacant(entry) => {
                let opened = self
                    .transaction
                    .open_table(table.definition())
                    .map_err(|error| StoreError::disk("opening a table", error))?;
                entry.insert(opened)
            }
        })
    }

    fn apply(&mut self, changes: Changes, counters: &Counters) -> Result<(), StoreError> {
        let (mut shrunk, mut written) = (Vec::new(), 0);
        for (table, changes) in changes.into_tables() {
            let open = self.table(table)?;
            for (key, change) in changes {
                match change {
                    Some(bytes) => {
                        written += key.len() + bytes.len();
                        let held = open.insert(key.as_slice(), bytes.as_slice());
                        let held = held.map(|held| held.map_or(0, |held| held.value().len()));
                        if held.as_ref().is_ok_and(|held| *held >= LARGE_ROW_BYTES)
                            && bytes.len() < SMALL_ROW_BYTES
                        {
                            shrunk.push((table, key, bytes));
                        }
                        held.map(drop)
                    }
                    None => open.remove(key.as_slice()).map(drop),
                }
                .map_err(|error| StoreError::disk("writing", error))?;
            }
        }
        counters.bytes.fetch_add(written as u64, Ordering::Relaxed);
        self.gather(&shrunk).map_err(|error| StoreError::disk("writing", error))
    }

    /// Puts rows that became small together. Each had a page to itself and would keep it: redb joins
    /// leaves where a row is removed, not where one shrinks.
    fn gather(&mut self, shrunk: &[(Table, Vec<u8>, Vec<u8>)]) -> Result<(), redb::StorageError> {
        for (table, key, _) in shrunk {
            if let Some(open) = self.open.get_mut(table) {
                open.remove(key.as_slice())?;
            }
        }
        for (table, key, bytes) in shrunk {
            if let Some(open) = self.open.get_mut(table) {
                open.insert(key.as_slice(), bytes.as_slice())?;
            }
        }
        Ok(())
    }
}

/// What a row takes at least that shares its page with no other.
const LARGE_ROW_BYTES: usize = 2 * 1024;
/// Several rows of less share a page.
const SMALL_ROW_BYTES: usize = 1024;

impl Base for OpenTables<'_> {
    fn get(&mut self, table: Table, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        let stored =
            self.table(table)?.get(key).map_err(|error| StoreError::disk("reading before a write", error))?;
        Ok(stored.map(|guard| Bytes::copy_from_slice(guard.value())))
    }
}

/// Keeps the thread and joins it at the end.
pub(crate) struct Writer {
    /// Gone once the store is shut down.
    thread: std::sync::Mutex<Option<std::thread::JoinHandle<()>>>,
}

impl Writer {
    pub(crate) fn start(
        database: Arc<Contained>,
        queue: mpsc::Receiver<Command>,
        told: Told,
    ) -> Result<Self, StoreError> {
        let thread = std::thread::Builder::new()
            .name("weft-store".into())
            .spawn(move || run(&database, queue, &told))
            .map_err(|error| StoreError::disk("starting its writer", error))?;
        Ok(Self { thread: std::sync::Mutex::new(Some(thread)) })
    }

    /// Waits for the thread to end; the caller has told it to.
    pub(crate) fn join(&self) {
        let thread = self.thread.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take();
        if let Some(thread) = thread
            && thread.join().is_err()
        {
            tracing::error!("the store's writer panicked");
        }
    }
}
