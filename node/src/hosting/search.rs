//! Searches for processes of others. They go on when whoever asked has gone: who waits for seconds gets nothing
//! where peers are silent for longer, and what is found a moment later is found for the next who asks.
//!
//! One search for each process at a time. It waits on the network alone, and ends after a minute.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures::{StreamExt as _, stream};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use weft_net::{Key, Peer, RequestError};
use weft_protocol::Id;
use weft_protocol::process::Process;
use weft_protocol::record::{SlotRecord, VerifiedRecord};

use super::HostingError;
use crate::metrics::Level;
use crate::remote::{self, RemoteError};
use crate::shared::{Shared, SharedRef};
use crate::supervisor::joined;

/// Searches under way, as many as there may be lookups: beyond that each ends with whoever asked for it.
const SEARCHES_MAX: usize = 64;
/// Who may wait for one of them; more search by themselves.
const ASKERS_MAX: usize = 64;
/// How long one may take: two lookups, and peers that are silent four at a time.
const SEARCH_WAIT: Duration = Duration::from_secs(60);
/// How long a peer has for the first slot of a process: a large item on a slow line, and no more, as those
/// after it may have it at hand.
const OPENING_WAIT: Duration = Duration::from_secs(10);
/// Peers that are asked for it beside each other.
const OPENINGS_AT_ONCE: usize = 4;

/// A process, and its first slot.
type Opening = (Arc<Process>, VerifiedRecord);

/// What a search came to, for all who asked.
type Found = Result<Arc<Process>, Arc<HostingError>>;

/// A process that somebody looks for.
#[derive(Debug)]
pub struct Sought {
    process: Id,
    done: oneshot::Sender<Found>,
}

/// How others hold the searches.
#[derive(Debug, Clone)]
pub struct SearchHandle(mpsc::Sender<Sought>);

impl SearchHandle {
    /// A handle, and where its task hears.
    pub fn new() -> (Self, mpsc::Receiver<Sought>) {
        let (sender, inbox) = mpsc::channel(SEARCHES_MAX);
        (Self(sender), inbox)
    }

    /// Waits for a search; nothing if there is no place for one.
    pub(super) async fn find(&self, process: Id) -> Option<Found> {
        let (done, found) = oneshot::channel();
        self.0.try_send(Sought { process, done }).ok()?;
        found.await.ok()
    }
}

/// The loop.
pub struct SearchTask {
    shared: SharedRef,
    inbox: mpsc::Receiver<Sought>,
    running: JoinSet<(Id, Found)>,
    askers: BTreeMap<Id, Vec<oneshot::Sender<Found>>>,
    used: Arc<AtomicU64>,
}

impl SearchTask {
    /// The loop that hears what is asked of the handle.
    pub fn new(shared: SharedRef, inbox: mpsc::Receiver<Sought>) -> Self {
        let (level, used) = Level::cell("hosting", "searches", SEARCHES_MAX as u64);
        shared.metrics.watch(level);
        Self { shared, inbox, running: JoinSet::new(), askers: BTreeMap::new(), used }
    }

    /// Runs until the node stops.
    pub async fn run(mut self, stop: CancellationToken) {
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                Some(sought) = self.inbox.recv() => self.begin(sought),
                Some(ended) = self.running.join_next() => {
                    if let Some((process, found)) = joined(ended) {
                        self.end(process, &found);
                    }
                }
            }
            self.used.store(self.running.len() as u64, Ordering::Relaxed);
        }
    }

    /// Begins a search, or waits for the one under way. Who is not noted hears that there is no place.
    fn begin(&mut self, Sought { process, done }: Sought) {
        let is_full = self.running.len() >= SEARCHES_MAX;
        match self.askers.entry(process) {
            Entry::Occupied(mut askers) => {
                let askers = askers.get_mut();
                askers.retain(|asker| !asker.is_closed());
                if askers.len() < ASKERS_MAX {
                    askers.push(done);
                }
            }
            Entry::Vacant(place) if !is_full => {
                place.insert(vec![done]);
                let shared = SharedRef::clone(&self.shared);
                self.running.spawn(async move {
                    let search = tokio::time::timeout(SEARCH_WAIT, fetch_opening(&shared, process));
                    let found = search.await.unwrap_or_else(|_| Err(nobody(process)));
                    (process, found.map(|(found, _)| found).map_err(Arc::new))
                });
            }
            Entry::Vacant(_) => {}
        }
    }

    fn end(&mut self, process: Id, found: &Found) {
        if let Ok(found) = found {
            self.shared.directory.remember(Arc::clone(found));
        }
        for asker in self.askers.remove(&process).unwrap_or_default() {
            // It may have gone.
            let _ = asker.send(found.clone());
        }
    }
}

/// The first slot of a process from whoever has it: those on its topic, else whom the mesh names, else anyone.
///
/// # Errors
/// When nobody serves it.
pub(super) async fn fetch_opening(shared: &Shared, process: Id) -> Result<Opening, HostingError> {
    remote::first_peer(shared).await;
    let mut asking = Asking { shared, process, asked: BTreeSet::from([shared.net.peer()]), last: None };
    let on_topic = shared.net.subscribers(process).await.unwrap_or_default();
    if let Some(found) = asking.ask(on_topic).await {
        return Ok(found);
    }
    let named = shared.net.providers(Key::Process(process)).await.unwrap_or_default();
    if let Some(found) = asking.ask(named).await {
        return Ok(found);
    }
    // Small networks find things by asking around.
    if let Some(found) = asking.ask(remote::everyone(shared).await).await {
        return Ok(found);
    }
    Err(asking.last.unwrap_or_else(|| nobody(process)))
}

fn nobody(process: Id) -> HostingError {
    RemoteError::Nobody { what: format!("process {process}") }.into()
}

/// Who was asked for the first slot of a process, each once, and what came of it.
struct Asking<'a> {
    shared: &'a Shared,
    process: Id,
    asked: BTreeSet<Peer>,
    last: Option<HostingError>,
}

impl Asking<'_> {
    /// The first valid answer of those that were not asked yet. Who is silent keeps nobody from being asked.
    async fn ask(&mut self, mut peers: Vec<Peer>) -> Option<Opening> {
        let (shared, process) = (self.shared, self.process);
        peers.retain(|peer| self.asked.insert(*peer));
        let answers = stream::iter(peers).map(|peer| async move {
            let answer = tokio::time::timeout(OPENING_WAIT, opening_of(shared, peer, process)).await;
            answer.unwrap_or_else(|_| Err(RemoteError::Request { peer, error: RequestError::Timeout }.into()))
        });
        let mut answers = pin!(answers.buffer_unordered(OPENINGS_AT_ONCE));
        while let Some(answer) = answers.next().await {
            match answer {
                Ok(found) => return Some(found),
                Err(error) => self.last = Some(error),
            }
        }
        None
    }
}

/// The first slot of a process from this peer.
async fn opening_of(shared: &Shared, peer: Peer, process: Id) -> Result<Opening, HostingError> {
    let mut slots = remote::range(shared, peer, process, 0, 0).await?;
    let falsely = |why: String| HostingError::False { peer, why };
    let record = slots.pop().ok_or_else(|| falsely("it is empty".to_owned()))?;
    let terms = shared.terms.clone();
    let open = move || SlotRecord::from_wire(&record).and_then(|record| record.open(&terms));
    let opened = tokio::task::spawn_blocking(open).await;
    let opened = opened.map_err(|error| falsely(error.to_string()))?;
    let (found, record) = opened.map_err(|error| falsely(error.to_string()))?;
    if found.id() != process {
        return Err(falsely("it is another process".to_owned()));
    }
    Ok((Arc::new(found), record))
}
