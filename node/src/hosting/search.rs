//! Searches for processes of others. They go on when whoever asked has gone: who waits for seconds gets nothing
//! where peers are silent for longer, and what is found a moment later is found for the next who asks.
//!
//! One search for each process at a time. It waits on the network alone, and ends after a minute.

pub(crate) mod machine;
mod opening;

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use weft_protocol::Id;
use weft_protocol::process::Process;

pub(super) use opening::fetch_opening;

use super::HostingError;
use crate::metrics::{Level, Metrics};
use crate::remote::RemoteError;
use crate::shared::SharedRef;
use crate::supervisor::joined;

/// Searches under way, as many as there may be lookups: beyond that each ends with whoever asked for it.
const SEARCHES_MAX: usize = 64;
/// Who may wait for one of them; more search by themselves.
const ASKERS_MAX: usize = 64;
/// How long one may take: lookups beside each other, and peers that are silent a few at a time.
const SEARCH_WAIT: Duration = Duration::from_secs(60);
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
    pub fn new(metrics: &Metrics) -> (Self, mpsc::Receiver<Sought>) {
        let (sender, inbox) = mpsc::channel(SEARCHES_MAX);
        metrics.watch(Level::channel("hosting", "inbox", &sender));
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
        match found {
            Ok(found) => self.shared.directory.remember(Arc::clone(found)),
            // A weave may have it.
            Err(_) => self.shared.wishes.asked(process),
        }
        for asker in self.askers.remove(&process).unwrap_or_default() {
            // It may have gone.
            let _ = asker.send(found.clone());
        }
    }
}

fn nobody(process: Id) -> HostingError {
    RemoteError::Nobody { what: format!("process {process}") }.into()
}
