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
use crate::limits::{GROUP_BYTES_MAX, GROUP_REQUESTS_MAX, GROUP_TIME_MAX};
use crate::mark::Mark;
use crate::plan::{Base, Changes, plan};
use crate::tables::Table;
use crate::times::Times;
use crate::write::Write;

/// One caller's writes and where to answer.
pub(crate) struct Request {
    pub(crate) writes: Vec<Write>,
    pub(crate) weight: usize,
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

/// Runs until stopped or every sender is gone. After a failed commit nobody knows what is on disk:
/// `failure` says so, and from then on every request is refused.
pub(crate) fn run(
    database: &Database,
    mark: Option<&Mark>,
    mut queue: mpsc::Receiver<Command>,
    counters: &Counters,
    failure: &watch::Sender<Option<StoreError>>,
) {
    while let Some(command) = queue.blocking_recv() {
        let first = match command {
            Command::Write(request) => request,
            Command::Stop => {
                queue.close();
                continue;
            }
        };
        let failed = failure.borrow().clone();
        if let Some(error) = failed {
            answer(first.reply, Err(error));
            continue;
        }
        let mut group = Group { queue: &mut queue, counters, answers: Vec::new() };
        let result = contain("committing", || group.commit(database, first));
        let answers = std::mem::take(&mut group.answers);
        if let Err(error) = &result {
            tracing::error!(%error, "the store takes no more writes");
            failure.send_replace(Some(error.clone()));
        } else if let Some(Err(error)) = mark.map(Mark::set) {
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
    answers: Vec<Answer>,
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
        let changed = self.fill(&transaction, first)?;
        if changed {
            transaction.commit().map_err(|error| StoreError::disk("committing", error))?;
            self.counters.commits.fetch_add(1, Ordering::Relaxed);
            self.counters.commit_times.add(began.elapsed());
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
        while let Some(request) = next.take() {
            bytes += request.weight;
            drop(request.share);
            self.counters.requests.fetch_add(1, Ordering::Relaxed);
            match plan(&mut tables, request.writes) {
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
        for ((table, key), change) in changes {
            let open = self.table(table)?;
            match change {
                Some(bytes) => {
                    counters.bytes.fetch_add((key.len() + bytes.len()) as u64, Ordering::Relaxed);
                    open.insert(key.as_slice(), bytes.as_slice())
                }
                None => open.remove(key.as_slice()),
            }
            .map_err(|error| StoreError::disk("writing", error))?;
        }
        Ok(())
    }
}

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
        mark: Option<Mark>,
        queue: mpsc::Receiver<Command>,
        counters: Arc<Counters>,
        failure: watch::Sender<Option<StoreError>>,
    ) -> Result<Self, StoreError> {
        let thread = std::thread::Builder::new()
            .name("weft-store".into())
            .spawn(move || run(&database, mark.as_ref(), queue, &counters, &failure))
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
