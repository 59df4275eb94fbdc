//! Where headers come from: this node's disk, processes that it remembers, and peers.
//!
//! There is no index by tag or owner: processes and modules are few, and logs are looked through (`scan.rs`).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::{StreamExt as _, TryStreamExt as _};
use sha2::{Digest as _, Sha256};
use tokio::sync::Semaphore;
use weft_protocol::process::Process;
use weft_protocol::{Address, DataItem, Id, Tag};
use weft_storage::{Reader, StoreError};

use super::desk::Desk;
use super::find::{Filter, Findings, Header, Place};
use super::problem::Problem;
use super::scan::{self, place_of};
use crate::config::Role;
use crate::hosting;
use crate::metrics::{Level, Metrics};
use crate::remote;

/// Headers that are remembered, of some kilobytes each: those of modules and of processes, which may be
/// megabytes to read.
const HEADERS_KEPT_MAX: usize = 16_384;
/// When a search that had too much to look through is tried again, in milliseconds: what it read is remembered.
const SCAN_RETRY_MS: u64 = 1_000;
/// Searches through logs at once; one more waits. Each reads some megabytes.
const SCANS_MAX: usize = 2;
/// Items that are looked for at peers at once: each may be megabytes when it comes.
const FETCHES_MAX: usize = 16;
/// Those of one query.
const FETCHES_OF_ONE_MAX: usize = 4;
/// How long one more waits for its turn.
const TURN_WAIT: Duration = Duration::from_secs(5);
/// When who had none is told to come back, in milliseconds.
const FETCH_RETRY_MS: u64 = 5_000;
/// How long peers have to give an item.
const FETCH_WAIT: Duration = Duration::from_secs(15);
/// How long they have to say where a scheduler is.
const SCHEDULER_WAIT: Duration = Duration::from_secs(5);
/// Items of which one query has peers asked.
const IDS_LOOKED_UP_MAX: usize = 16;
/// Owners that are looked up among peers for one query.
const OWNERS_LOOKED_UP_MAX: usize = 4;
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

    /// Whether a process that is remembered names this scheduler.
    fn schedules(&self, scheduler: &str) -> bool {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.values().any(|header| header.tag("Scheduler") == Some(scheduler))
    }

    pub(super) fn get(&self, id: &Id) -> Option<Header> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner).get(id).cloned()
    }

    /// When there are too many only modules find a place: searches go through processes in one order, and
    /// would push out what they come to next.
    pub(super) fn keep(&self, header: &Header) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() >= HEADERS_KEPT_MAX {
            if header.tag("Type") != Some("Module") {
                return;
            }
            kept.pop_first();
        }
        kept.insert(header.id, header.clone());
    }
}

/// An item, and where it stands if it has a slot here.
#[derive(Debug, Clone)]
pub(super) struct Found {
    pub(super) item: DataItem,
    pub(super) place: Option<Place>,
}

impl Desk {
    /// An item that this node has, or remembers.
    pub(super) async fn item_here(&self, id: Id) -> Result<Option<Found>, Problem> {
        let shared = Arc::clone(&self.shared);
        let read = tokio::task::spawn_blocking(move || found_here(&shared.store.read()?, id)).await;
        if let Some(found) = read.map_err(Problem::fault)?.map_err(Problem::fault)? {
            return Ok(Some(found));
        }
        Ok(self.shared.directory.remembered(&id).map(|process| of_process(&process)))
    }

    /// An item that a peer has, or none if nobody gives it in time.
    ///
    /// # Errors
    /// Too many are looked for.
    pub(super) async fn item_elsewhere(&self, id: Id) -> Result<Option<Found>, Problem> {
        let full = |_| Problem::busy("too many items are looked for at peers", FETCH_RETRY_MS);
        let turn = tokio::time::timeout(TURN_WAIT, self.headers.fetches.acquire()).await;
        let _turn = turn.map_err(full)?.map_err(Problem::fault)?;
        // It may be a process or anything else: both are looked for beside each other, as a silent peer may
        // hold up either.
        let (shared, other) = (&self.shared, id);
        let fetch = async {
            tokio::select! {
                Ok(process) = hosting::find_process(shared, id) => Some(of_process(&process)),
                Ok(item) = remote::anywhere(shared, other, id) => {
                    Some(Found { item: item.into_inner(), place: None })
                }
                else => None,
            }
        };
        Ok(tokio::time::timeout(FETCH_WAIT, fetch).await.ok().flatten())
    }

    /// The headers of those of these items that are known here, and the others' names.
    pub(super) async fn headers_here(&self, ids: BTreeSet<Id>) -> Result<(Vec<Header>, Vec<Id>), Problem> {
        let (mut headers, mut missing) = (Vec::new(), Vec::new());
        for id in ids {
            match self.header_here(id).await? {
                Some(header) => headers.push(header),
                None => missing.push(id),
            }
        }
        Ok((headers, missing))
    }

    /// The headers of those of these items that peers give.
    pub(super) async fn headers_elsewhere(&self, mut missing: Vec<Id>) -> Result<Vec<Header>, Problem> {
        missing.truncate(IDS_LOOKED_UP_MAX);
        // Of each only the header is kept.
        let fetched = futures::stream::iter(missing).map(|id| async move {
            let found = self.item_elsewhere(id).await?;
            Ok::<_, Problem>(found.map(|found| self.header_of(&found)))
        });
        let fetched: Vec<_> = fetched.buffered(FETCHES_OF_ONE_MAX).try_collect().await?;
        Ok(fetched.into_iter().flatten().collect())
    }

    async fn header_here(&self, id: Id) -> Result<Option<Header>, Problem> {
        if let Some(header) = self.headers.get(&id) {
            return Ok(Some(header));
        }
        let here = self.item_here(id).await?.map(|found| self.header_of(&found));
        Ok(here.or_else(|| self.spawned.get(&id)))
    }

    fn header_of(&self, Found { item, place }: &Found) -> Header {
        let header = Header::of(item, *place);
        // A message or a process may get its slot here yet; a module never does.
        if place.is_some() || header.tag("Type") == Some("Module") {
            self.headers.keep(&header);
        }
        header
    }

    /// Finds what a filter takes, of what this node knows. `base` is where clients find it.
    pub(super) async fn search(
        &self,
        filter: Filter,
        mut found: Findings,
        base: &str,
    ) -> Result<Findings, Problem> {
        let kinds = filter.kinds();
        if kinds.locations {
            found.add(self.locations(&filter, base).await);
        }
        if kinds.modules {
            for id in self.answers.module_ids()? {
                found.add(self.header_here(id).await?.filter(|header| filter.takes(header)));
            }
        }
        if kinds.processes {
            found.add(self.not_here(&filter));
        }
        let turn = Arc::clone(&self.headers.scans).acquire_owned().await.map_err(Problem::fault)?;
        let desk = self.clone();
        let scan = tokio::task::spawn_blocking(move || {
            let _turn = turn;
            let (shared, reader) = (&desk.shared, desk.shared.store.read()?);
            if kinds.processes && !scan::processes(shared, &reader, &desk.headers, &filter, &mut found)? {
                return Ok(None);
            }
            if kinds.messages {
                scan::messages(&shared.directory, &reader, &filter, &mut found)?;
            }
            Ok::<_, StoreError>(Some(found))
        });
        // An answer without the rest would say that there is no such process.
        let too_many =
            || Problem::busy("there are too many processes to look through at once", SCAN_RETRY_MS);
        scan.await.map_err(Problem::fault)?.map_err(Problem::fault)?.ok_or_else(too_many)
    }

    /// Processes of other nodes: those that were spawned through this one, and those that it looked up.
    fn not_here(&self, filter: &Filter) -> impl Iterator<Item = Header> {
        let is_elsewhere = |id: &Id| self.shared.directory.roles(id).is_none();
        let mut all: BTreeMap<Id, Header> = BTreeMap::new();
        for process in self.shared.directory.all_remembered() {
            let header = Header::of(process.item(), None);
            all.extend(Some((header.id, header)).filter(|(_, header)| filter.takes(header)));
        }
        // Of these it is known when.
        let spawned = self.spawned.matching(|header| filter.takes(header));
        all.extend(spawned.into_iter().map(|header| (header.id, header)));
        all.retain(|id, _| is_elsewhere(id));
        all.into_values()
    }

    /// Whether peers are asked for schedulers that a filter names.
    pub(super) fn asks_for_schedulers(&self, filter: &Filter) -> bool {
        let is_unknown = |owner: &Address| !self.headers.schedules(&owner.to_string());
        filter.kinds().locations && self.others_named(filter).iter().any(is_unknown)
    }

    /// The addresses that a filter names, but for that of this node.
    fn others_named(&self, filter: &Filter) -> Vec<Address> {
        let named = filter.owners.iter().filter_map(|owner| owner.parse::<Address>().ok());
        named.filter(|owner| *owner != self.shared.address).collect()
    }

    /// Items that say that schedulers are found at this gateway: it takes what is for them there. Those that a
    /// filter names are looked for; else only this node is told of.
    async fn locations(&self, filter: &Filter, base: &str) -> Vec<Header> {
        let mut schedulers = BTreeSet::new();
        if self.shared.config.roles.contains(&Role::Scheduler) {
            schedulers.insert(self.shared.address);
        }
        let named = self.others_named(filter).into_iter().take(OWNERS_LOOKED_UP_MAX);
        let looked_up = named.map(|owner| async move {
            // One that is away comes back, and whoever writes to its processes is told so then.
            if self.headers.schedules(&owner.to_string()) {
                return Some(owner);
            }
            let found = remote::with_address(&self.shared, owner);
            let found = tokio::time::timeout(SCHEDULER_WAIT, found).await;
            found.is_ok_and(|found| found.is_ok()).then_some(owner)
        });
        schedulers.extend(futures::future::join_all(looked_up).await.into_iter().flatten());
        let all = schedulers.into_iter().map(|scheduler| location(scheduler, base));
        all.filter(|header| filter.takes(header)).collect()
    }
}

fn of_process(process: &Process) -> Found {
    Found { item: DataItem::clone(process.item()), place: None }
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
    Ok(Some(Found { item, place: slot.as_ref().map(place_of) }))
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
        place: None,
    }
}
