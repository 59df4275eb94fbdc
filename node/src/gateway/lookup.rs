//! Where headers come from: this node's disk, processes that it remembers, and peers.
//!
//! There is no index by tag or owner: processes and modules are few, and of messages the newest are
//! looked at. Whoever needs every message of the past asks the log, by its pages.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::StreamExt as _;
use sha2::{Digest as _, Sha256};
use tokio::sync::Semaphore;
use weft_protocol::process::Process;
use weft_protocol::{Address, DataItem, Id, Tag};
use weft_storage::{Reader, SlotRow, StoreError};

use super::desk::Desk;
use super::find::{Filter, Header, Place};
use super::problem::Problem;
use crate::config::Role;
use crate::directory::Directory;
use crate::hosting;
use crate::metrics::{Level, Metrics};
use crate::remote;

/// Headers that are remembered: of modules above all, which are megabytes to read.
const HEADERS_KEPT_MAX: usize = 1_024;
/// Searches through logs at once; one more waits. Each reads some megabytes.
const SCANS_MAX: usize = 2;
/// Items that are fetched from peers at once, each of some megabytes at most.
const FETCHES_MAX: usize = 4;
/// How long peers have to give an item.
const FETCH_WAIT: Duration = Duration::from_secs(15);
/// How long they have to say where a scheduler is.
const SCHEDULER_WAIT: Duration = Duration::from_secs(5);
/// Items of which one query has peers asked.
const IDS_LOOKED_UP_MAX: usize = 16;
/// Owners that are looked up among peers for one query.
const OWNERS_LOOKED_UP_MAX: usize = 4;
/// Slots of logs that one query looks at, from the newest on.
const SLOTS_LOOKED_AT_MAX: u64 = 5_000;
/// Bytes of their items, and how long it may take to look at them: older ones are not found then.
const BYTES_LOOKED_AT_MAX: usize = 64 * 1024 * 1024;
const SCAN_WAIT: Duration = Duration::from_secs(2);
/// Bytes of them read at once.
const READ_BYTES: usize = 4 * 1024 * 1024;
/// Milliseconds for which clients may remember where a scheduler is: an hour.
const LOCATION_MS: &str = "3600000";

/// Headers that are remembered, and turns to look for others.
#[derive(Debug)]
pub(super) struct Headers {
    kept: Mutex<BTreeMap<Id, Header>>,
    scans: Arc<Semaphore>,
    fetches: Arc<Semaphore>,
}

impl Headers {
    pub(super) fn new(metrics: &Metrics) -> Self {
        let (scans, fetches) = (Arc::new(Semaphore::new(SCANS_MAX)), Arc::new(Semaphore::new(FETCHES_MAX)));
        metrics.watch(Level::permits("gateway", "scans", &scans, SCANS_MAX));
        metrics.watch(Level::permits("gateway", "fetches", &fetches, FETCHES_MAX));
        Self { kept: Mutex::default(), scans, fetches }
    }

    fn get(&self, id: &Id) -> Option<Header> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner).get(id).cloned()
    }

    /// When there are too many all are forgotten, and read again.
    fn keep(&self, header: &Header) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() >= HEADERS_KEPT_MAX {
            kept.clear();
        }
        kept.insert(header.id, header.clone());
    }
}

/// An item and where it stands.
#[derive(Debug, Clone)]
pub(super) struct Found {
    pub(super) item: DataItem,
    pub(super) place: Place,
}

impl Desk {
    /// An item by its id, wherever it is.
    pub(super) async fn item(&self, id: Id) -> Result<Option<Found>, Problem> {
        match self.item_here(id).await? {
            Some(found) => Ok(Some(found)),
            None => Ok(self.item_elsewhere(id).await),
        }
    }

    /// An item that this node has, or remembers.
    async fn item_here(&self, id: Id) -> Result<Option<Found>, Problem> {
        let shared = Arc::clone(&self.shared);
        let read = tokio::task::spawn_blocking(move || found_here(&shared.store.read()?, id)).await;
        if let Some(found) = read.map_err(Problem::fault)?.map_err(Problem::fault)? {
            return Ok(Some(found));
        }
        Ok(self.shared.directory.remembered(&id).map(|process| of_process(&process)))
    }

    /// An item that a peer has, or none if nobody gives it in time.
    async fn item_elsewhere(&self, id: Id) -> Option<Found> {
        let fetch = async {
            let _turn = self.headers.fetches.acquire().await.ok()?;
            if let Ok(process) = hosting::find_process(&self.shared, id).await {
                return Some(of_process(&process));
            }
            let item = remote::anywhere(&self.shared, id, id).await.ok()?;
            Some(Found { item: item.into_inner(), place: Place::default() })
        };
        tokio::time::timeout(FETCH_WAIT, fetch).await.ok().flatten()
    }

    /// The headers of these items, of those that are found.
    pub(super) async fn headers_of(&self, ids: BTreeSet<Id>) -> Result<Vec<Header>, Problem> {
        let (mut headers, mut missing) = (Vec::new(), Vec::new());
        for id in ids {
            match self.header_here(id).await? {
                Some(header) => headers.push(header),
                None => missing.push(id),
            }
        }
        missing.truncate(IDS_LOOKED_UP_MAX);
        let fetched = futures::stream::iter(missing).map(|id| self.item_elsewhere(id));
        let fetched: Vec<_> = fetched.buffered(FETCHES_MAX).filter_map(std::future::ready).collect().await;
        headers.extend(fetched.iter().map(|found| self.header_of(found)));
        Ok(headers)
    }

    async fn header_here(&self, id: Id) -> Result<Option<Header>, Problem> {
        if let Some(header) = self.headers.get(&id) {
            return Ok(Some(header));
        }
        Ok(self.item_here(id).await?.map(|found| self.header_of(&found)))
    }

    fn header_of(&self, Found { item, place }: &Found) -> Header {
        let header = Header::of(item, *place);
        // A message or a process may get its slot here yet; a module never does.
        if *place != Place::default() || header.tag("Type") == Some("Module") {
            self.headers.keep(&header);
        }
        header
    }

    /// The headers that a filter takes, of what this node knows. `base` is where clients find it.
    pub(super) async fn search(&self, filter: Filter, base: &str) -> Result<Vec<Header>, Problem> {
        let mut found = Vec::new();
        if filter.kinds().locations {
            found.extend(self.locations(&filter, base).await);
        }
        if filter.kinds().modules {
            for id in self.answers.module_ids()? {
                found.extend(self.header_here(id).await?.filter(|header| filter.takes(header)));
            }
        }
        let turn = Arc::clone(&self.headers.scans).acquire_owned().await.map_err(Problem::fault)?;
        let shared = Arc::clone(&self.shared);
        let scan = tokio::task::spawn_blocking(move || {
            let _turn = turn;
            let reader = shared.store.read()?;
            let mut found = Vec::new();
            if filter.kinds().processes {
                processes(&shared.directory, &reader, &filter, &mut found)?;
            }
            if filter.kinds().messages {
                messages(&shared.directory, &reader, &filter, &mut found)?;
            }
            Ok::<_, StoreError>(found)
        });
        found.extend(scan.await.map_err(Problem::fault)?.map_err(Problem::fault)?);
        Ok(found)
    }

    /// Items that say that schedulers are found at this gateway: it takes what is for them there.
    async fn locations(&self, filter: &Filter, base: &str) -> Vec<Header> {
        let shared = Arc::clone(&self.shared);
        let known = tokio::task::spawn_blocking(move || {
            let all = shared.directory.all();
            all.iter().map(|known| known.process.scheduler()).collect::<BTreeSet<Address>>()
        });
        let mut schedulers = known.await.unwrap_or_default();
        if self.shared.config.roles.contains(&Role::Scheduler) {
            schedulers.insert(self.shared.address);
        }
        let named = filter.owners.iter().filter_map(|owner| owner.parse::<Address>().ok());
        let named = named.filter(|owner| !schedulers.contains(owner)).take(OWNERS_LOOKED_UP_MAX);
        for owner in named.collect::<Vec<_>>() {
            let found = remote::with_address(&self.shared, owner);
            if tokio::time::timeout(SCHEDULER_WAIT, found).await.is_ok_and(|found| found.is_ok()) {
                schedulers.insert(owner);
            }
        }
        let all = schedulers.into_iter().map(|scheduler| location(scheduler, base));
        all.filter(|header| filter.takes(header)).collect()
    }
}

fn of_process(process: &Process) -> Found {
    Found { item: DataItem::clone(process.item()), place: Place::default() }
}

/// What is on this node's disk.
fn found_here(reader: &Reader, id: Id) -> Result<Option<Found>, StoreError> {
    let Some(raw) = reader.item(&id)? else { return Ok(None) };
    // What is on disk was verified before it came there.
    let Ok(item) = DataItem::parse(raw) else { return Ok(None) };
    let item = item.claims().clone();
    let slot = match item.target() {
        Some(process) => match reader.slot_of_item(&process, &id)? {
            Some(slot) => reader.slot(&process, slot)?,
            None => reader.slot(&id, 0)?,
        },
        None => reader.slot(&id, 0)?,
    };
    Ok(Some(Found { item, place: slot.as_ref().map(place_of).unwrap_or_default() }))
}

const fn place_of(row: &SlotRow) -> Place {
    Place { height: row.block_height, timestamp: row.timestamp }
}

fn processes(
    directory: &Directory,
    reader: &Reader,
    filter: &Filter,
    found: &mut Vec<Header>,
) -> Result<(), StoreError> {
    let known = directory.all().into_iter().map(|known| known.process);
    for process in known.chain(directory.all_remembered()) {
        let place = reader.slot(&process.id(), 0)?.as_ref().map(place_of).unwrap_or_default();
        found.extend(Some(Header::of(process.item(), place)).filter(|header| filter.takes(header)));
    }
    Ok(())
}

/// The newest messages of the logs that can hold what is looked for.
fn messages(
    directory: &Directory,
    reader: &Reader,
    filter: &Filter,
    found: &mut Vec<Header>,
) -> Result<(), StoreError> {
    let named: BTreeSet<Id> = filter.recipients.iter().filter_map(|id| id.parse().ok()).collect();
    let mut logs = directory.ids(|_| true);
    logs.retain(|log| filter.recipients.is_empty() || named.contains(log));
    let (mut left, mut bytes, until) = (SLOTS_LOOKED_AT_MAX, 0, Instant::now() + SCAN_WAIT);
    // Each log has its share, so that a busy one does not hide the others.
    let share = (SLOTS_LOOKED_AT_MAX / logs.len().max(1) as u64).max(1);
    for process in logs {
        let Some((head, _)) = reader.head(&process)? else { continue };
        let mut next = (head + 1).saturating_sub(share.min(left)).max(1);
        while next <= head {
            let read = reader.slot_records(&process, next, head, READ_BYTES)?;
            let Some(last) = read.slots.last().map(|stored| stored.slot) else { break };
            left = left.saturating_sub(read.slots.len() as u64);
            bytes +=
                read.slots.iter().map(|stored| stored.item.as_ref().map_or(0, Bytes::len)).sum::<usize>();
            for stored in read.slots {
                let item = stored.item.and_then(|raw| DataItem::parse(raw).ok());
                let header = item.map(|item| Header::of(item.claims(), place_of(&stored.row)));
                found.extend(header.filter(|header| filter.takes(header)));
            }
            if left == 0 || bytes > BYTES_LOOKED_AT_MAX || Instant::now() >= until {
                return Ok(());
            }
            next = last + 1;
        }
    }
    Ok(())
}

/// An item that nobody signed: where to find a scheduler, for whoever asked this gateway.
fn location(scheduler: Address, base: &str) -> Header {
    let mut name = Sha256::new();
    name.update(b"weft/scheduler-location/1");
    name.update(scheduler.0);
    let tags = [
        ("Data-Protocol", "ao"),
        ("Variant", "ao.TN.1"),
        ("Type", "Scheduler-Location"),
        ("Url", base),
        ("Time-To-Live", LOCATION_MS),
    ];
    Header {
        id: Id(name.finalize().into()),
        signer: scheduler.to_string(),
        owner: scheduler.to_string(),
        key: Vec::new(),
        signature: Vec::new(),
        anchor: None,
        target: None,
        tags: tags.iter().map(|(name, value)| Tag::new(*name, *value)).collect(),
        data_bytes: 0,
        place: Place::default(),
    }
}
