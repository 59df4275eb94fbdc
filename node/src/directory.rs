//! The processes this node knows: what it does for each, and their Process items.
//!
//! What is done for them is in memory from the start. A Process item is read and verified when
//! somebody first needs it, so that a node with many processes starts at once, and again when the
//! room for them in memory was needed for others.

mod cache;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use tokio::sync::{Mutex, MutexGuard};
use weft_protocol::process::{Process, Terms};
use weft_protocol::{Address, Id};
use weft_storage::{ProcessRow, Roles, Store};

use self::cache::Cache;
use crate::log;

/// A process as this node knows it.
#[derive(Debug, Clone)]
pub struct Known {
    /// Its accepted Process item.
    pub process: Arc<Process>,
    /// What this node does for it.
    pub roles: Roles,
    /// What stopped it here, if something did.
    pub fault: Option<String>,
    /// What it waits for here: something failed or is missing, and is tried again.
    pub waits: Option<String>,
}

/// What is known of a process without its Process item.
#[derive(Debug, Clone)]
struct Entry {
    module: Id,
    roles: Roles,
    fault: Option<String>,
    waits: Option<String>,
}

/// Bytes of the Process items of known processes that are kept once they were read: those of 100,000
/// processes without data.
const READ_BYTES_MAX: usize = 256 * 1024 * 1024;

/// Processes of others that are remembered so that a message to them need not look them up again.
const REMEMBERED_MAX: usize = 4_096;
/// Bytes of their items: whoever has this node look up large ones costs it no more memory.
const REMEMBERED_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Addresses that are remembered as wallets.
const WALLETS_MAX: usize = 65_536;

/// Processes of which what this node does may be changed at once, about: by the last bits of their ids.
const TURNS: usize = 64;

/// All known processes. Written when a process is hosted or stops, read by everyone.
#[derive(Debug)]
pub struct Directory {
    store: Store,
    terms: Terms,
    entries: RwLock<BTreeMap<Id, Entry>>,
    /// Of known processes, those that were needed.
    read: RwLock<Cache>,
    remembered: RwLock<Cache>,
    wallets: RwLock<BTreeSet<Address>>,
    turns: [Mutex<()>; TURNS],
    /// How many of the entries came unasked: every new one is judged by it.
    for_others: AtomicUsize,
}

impl Directory {
    /// A directory that knows nothing yet, and reads Process items from this store.
    pub fn new(store: Store, terms: Terms) -> Self {
        let (entries, wallets) = Default::default();
        let read = RwLock::new(Cache::new(usize::MAX, READ_BYTES_MAX));
        let remembered = RwLock::new(Cache::new(REMEMBERED_MAX, REMEMBERED_BYTES_MAX));
        let turns = std::array::from_fn(|_| Mutex::new(()));
        let for_others = AtomicUsize::new(0);
        Self { store, terms, entries, read, remembered, wallets, turns, for_others }
    }

    /// The turn to read what this node does for a process, and to change it on disk and here: of two
    /// who do so at once, the later would undo what the earlier was told is done.
    pub async fn turn(&self, process: &Id) -> MutexGuard<'_, ()> {
        let last = process.0.last().copied().unwrap_or_default();
        self.turns[usize::from(last) % TURNS].lock().await
    }

    /// The process, if this node knows it and can read it. Reads the disk where it is not in memory.
    pub fn get(&self, process: &Id) -> Option<Known> {
        let Entry { roles, fault, waits, .. } = self.entries().get(process).cloned()?;
        let process = match self.read_before(process) {
            Some(process) => process,
            None => self.load(process)?,
        };
        Some(Known { process, roles, fault, waits })
    }

    /// The same if it is in memory: the disk is not read.
    pub fn at_hand(&self, process: &Id) -> Option<Known> {
        let Entry { roles, fault, waits, .. } = self.entries().get(process).cloned()?;
        Some(Known { process: self.read_before(process)?, roles, fault, waits })
    }

    fn read_before(&self, process: &Id) -> Option<Arc<Process>> {
        self.read.read().unwrap_or_else(PoisonError::into_inner).get(process).cloned()
    }

    /// What this node does for a process, if it knows it.
    pub fn roles(&self, process: &Id) -> Option<Roles> {
        self.entries().get(process).map(|entry| entry.roles)
    }

    /// The module of a process, if this node knows it.
    pub fn module(&self, process: &Id) -> Option<Id> {
        self.entries().get(process).map(|entry| entry.module)
    }

    /// The processes for which this node does what `does` says, in order.
    pub fn ids(&self, does: impl Fn(&Roles) -> bool) -> Vec<Id> {
        let entries = self.entries();
        entries.iter().filter(|(_, entry)| does(&entry.roles)).map(|(id, _)| *id).collect()
    }

    /// For how many processes this node does what `does` says.
    pub fn count(&self, does: impl Fn(&Roles) -> bool) -> usize {
        self.entries().values().filter(|entry| does(&entry.roles)).count()
    }

    /// How many processes something stopped here.
    pub fn stopped(&self) -> usize {
        self.entries().values().filter(|entry| entry.fault.is_some()).count()
    }

    /// How many processes wait for something here.
    pub fn waiting(&self) -> usize {
        self.entries().values().filter(|entry| entry.waits.is_some()).count()
    }

    /// The modules of all known processes, each once.
    pub fn modules(&self) -> BTreeSet<Id> {
        self.entries().values().map(|entry| entry.module).collect()
    }

    /// The number of known processes.
    pub fn len(&self) -> usize {
        self.entries().len()
    }

    /// Whether no process is known.
    pub fn is_empty(&self) -> bool {
        self.entries().is_empty()
    }

    /// Adds a process that is on disk.
    pub fn put_row(&self, process: Id, ProcessRow { module, roles }: ProcessRow) {
        let entry = Entry { module, roles, fault: None, waits: None };
        self.change(process, Some(entry));
    }

    /// Adds a process, or replaces what this node does for it.
    pub fn put(&self, process: Arc<Process>, roles: Roles) {
        let (id, module) = (process.id(), process.module());
        // What stopped it, or what it waits for, is as it was while it is computed.
        let before =
            self.entries().get(&id).filter(|before| before.roles.computes && roles.computes).cloned();
        let (fault, waits) = before.map_or((None, None), |before| (before.fault, before.waits));
        let entry = Entry { module, roles, fault, waits };
        // First: whoever finds the entry needs it.
        self.keep_read(process);
        self.change(id, Some(entry));
    }

    /// Forgets a process that nothing is done for any more.
    pub fn remove(&self, process: &Id) {
        self.change(*process, None);
        self.read.write().unwrap_or_else(PoisonError::into_inner).remove(process);
    }

    fn keep_read(&self, process: Arc<Process>) {
        self.read.write().unwrap_or_else(PoisonError::into_inner).put(process);
    }

    fn change(&self, process: Id, entry: Option<Entry>) {
        let mut entries = self.entries_mut();
        let counts = |entry: &Entry| usize::from(entry.roles.for_others);
        let now = entry.as_ref().map_or(0, counts);
        let before = match entry {
            Some(entry) => entries.insert(process, entry),
            None => entries.remove(&process),
        };
        // Changed under the lock alone, so that the count is never less than nothing.
        self.for_others.fetch_add(now, Relaxed);
        self.for_others.fetch_sub(before.as_ref().map_or(0, counts), Relaxed);
    }

    /// How many of the processes came unasked.
    pub fn for_others(&self) -> usize {
        self.for_others.load(Relaxed)
    }

    /// A process of others that was looked up before.
    pub fn remembered(&self, process: &Id) -> Option<Arc<Process>> {
        self.remembered.read().unwrap_or_else(PoisonError::into_inner).get(process).cloned()
    }

    /// All processes of others that are remembered.
    pub fn all_remembered(&self) -> Vec<Arc<Process>> {
        self.remembered.read().unwrap_or_else(PoisonError::into_inner).all().cloned().collect()
    }

    /// Remembers a process of others, and forgets the oldest that there is no room for any more. A
    /// Process item never changes, so this is never stale; what is forgotten is looked up again.
    pub fn remember(&self, process: Arc<Process>) {
        self.remembered.write().unwrap_or_else(PoisonError::into_inner).put(process);
    }

    /// Notes that a key has this address, so that nobody looks for a process of that name. When
    /// there are too many all are forgotten, and seen again. It is in memory alone: what a message
    /// says of its signer stands in the log, and is noted anew when its outbox is taken up.
    pub fn saw_signer(&self, address: Address) {
        if self.is_wallet(&Id(address.0)) {
            return;
        }
        let mut wallets = self.wallets.write().unwrap_or_else(PoisonError::into_inner);
        if wallets.len() >= WALLETS_MAX {
            wallets.clear();
        }
        wallets.insert(address);
    }

    /// Whether this is the address of a key that was seen: it is no process then.
    pub fn is_wallet(&self, target: &Id) -> bool {
        self.wallets.read().unwrap_or_else(PoisonError::into_inner).contains(&Address(target.0))
    }

    /// Notes what a process waits for here, or that it waits no more.
    pub fn set_waits(&self, process: &Id, waits: Option<String>) {
        if let Some(entry) = self.entries_mut().get_mut(process) {
            entry.waits = waits;
        }
    }

    /// Notes what stopped a process here.
    pub fn set_fault(&self, process: &Id, fault: String) {
        if let Some(entry) = self.entries_mut().get_mut(process) {
            entry.fault = Some(fault);
        }
    }

    /// Forgets what stopped a process: it goes on.
    pub fn clear_fault(&self, process: &Id) {
        if let Some(entry) = self.entries_mut().get_mut(process) {
            entry.fault = None;
        }
    }

    fn load(&self, process: &Id) -> Option<Arc<Process>> {
        let read = self.store.read().map_err(crate::NodeError::from);
        let read = read.and_then(|reader| log::read_process(&reader, process, &self.terms));
        let found = match read {
            Ok(Some(found)) => found,
            Ok(None) => return None,
            Err(error) => {
                tracing::error!(%process, %error, "a process on disk cannot be read");
                self.set_fault(process, error.to_string());
                return None;
            }
        };
        self.keep_read(Arc::clone(&found));
        Some(found)
    }

    fn entries(&self) -> RwLockReadGuard<'_, BTreeMap<Id, Entry>> {
        self.entries.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn entries_mut(&self) -> RwLockWriteGuard<'_, BTreeMap<Id, Entry>> {
        self.entries.write().unwrap_or_else(PoisonError::into_inner)
    }
}
