//! What processes wait for before they can run: modules and items that other machines have, and modules that are
//! compiled. Neither holds up those that can run.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tokio::task::JoinSet;
use weft_protocol::Id;

use super::ComputeTask;
use super::lane::Lane;
use crate::compute::hosted::HostError;
use crate::compute::machine::Input;
use crate::compute::pool::Errand;
use crate::remote::{self, RemoteError};
use crate::shared::SharedRef;
use crate::supervisor;

/// Things of one kind that are looked for. Whoever wants more asks again later.
const SEARCHES_MAX: usize = 64;
/// Modules that are compiled for one kind of process, or wait for that.
const COMPILES_MAX: usize = 1_024;
/// All of these.
pub(super) const FETCHES_MAX: usize = 2 * (SEARCHES_MAX + COMPILES_MAX);

/// What a process cannot run without.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Wanted {
    /// Its module.
    Module,
    /// An item that it reads.
    Item,
    /// Its module, compiled. What strangers brought may take a compiler minutes: what came unasked waits in a line of its
    /// own.
    Compiled { unasked: bool },
}

/// What became of it.
pub(super) enum Fetched {
    /// It is here now.
    Here,
    /// It was not found.
    Missing,
    /// It cannot be had.
    Refused(HostError),
}

type Ended = (Id, Wanted, Fetched);

/// What is looked for and compiled.
pub(super) struct Fetches {
    searches: JoinSet<Ended>,
    compiles: JoinSet<Ended>,
    /// Who waits for each.
    waiting: BTreeMap<(Id, Wanted), BTreeSet<Id>>,
    asked: Arc<Lane>,
    unasked: Arc<Lane>,
}

impl Fetches {
    pub(super) fn new() -> Self {
        let lane = || Arc::new(Lane::new());
        let (searches, compiles) = (JoinSet::new(), JoinSet::new());
        Self { searches, compiles, waiting: BTreeMap::new(), asked: lane(), unasked: lane() }
    }

    /// Whether nothing is under way.
    pub(super) fn is_empty(&self) -> bool {
        self.searches.is_empty() && self.compiles.is_empty()
    }

    /// How many things are under way, or wait for that.
    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Has a process wait for an item; whether there was room for that.
    fn start(&mut self, shared: &SharedRef, process: Id, id: Id, wanted: Wanted) -> bool {
        if let Some(waiting) = self.waiting.get_mut(&(id, wanted)) {
            waiting.insert(process);
            return true;
        }
        let most = match wanted {
            Wanted::Module | Wanted::Item => SEARCHES_MAX,
            Wanted::Compiled { .. } => COMPILES_MAX,
        };
        if self.waiting.keys().filter(|(_, other)| *other == wanted).count() >= most {
            return false;
        }
        self.waiting.insert((id, wanted), BTreeSet::from([process]));
        let shared = SharedRef::clone(shared);
        match wanted {
            Wanted::Module => self.searches.spawn(async move {
                let found = remote::fetch_module(&shared, process, id).await;
                (id, wanted, searched(process, id, wanted, found))
            }),
            Wanted::Item => self.searches.spawn(async move {
                let found = remote::fetch_item(&shared, process, id).await;
                (id, wanted, searched(process, id, wanted, found))
            }),
            Wanted::Compiled { unasked } => {
                let lane = Arc::clone(if unasked { &self.unasked } else { &self.asked });
                self.compiles.spawn(async move { (id, wanted, compile(shared, id, &lane).await) })
            }
        };
        true
    }

    /// Who waited for the next thing that is done with, and what became of it. Safe to cancel.
    pub(super) async fn next(&mut self) -> Option<(BTreeSet<Id>, Fetched)> {
        let joined = tokio::select! {
            Some(joined) = self.searches.join_next(), if !self.searches.is_empty() => joined,
            Some(joined) = self.compiles.join_next(), if !self.compiles.is_empty() => joined,
            else => return None,
        };
        let (id, wanted, fetched) = supervisor::joined(joined)?;
        Some((self.waiting.remove(&(id, wanted)).unwrap_or_default(), fetched))
    }

    /// Has nothing more compiled.
    pub(super) fn close(&self) {
        for lane in [&self.asked, &self.unasked] {
            lane.close();
        }
    }

    /// Waits for compilers that are at work, which hold the disk.
    pub(super) async fn end(&mut self) {
        self.close();
        while self.compiles.join_next().await.is_some() {}
    }
}

fn searched(process: Id, item: Id, wanted: Wanted, found: Result<(), RemoteError>) -> Fetched {
    match found {
        Ok(()) => Fetched::Here,
        Err(error) => {
            tracing::warn!(%process, %item, ?wanted, %error, "what a process needs was not found");
            Fetched::Missing
        }
    }
}

async fn compile(shared: SharedRef, module: Id, lane: &Lane) -> Fetched {
    let looked = SharedRef::clone(&shared);
    let is_compiled = move || looked.modules.is_compiled(&looked.store, module);
    let compiled = lane.compile(is_compiled, move || shared.modules.compile(&shared.store, module)).await;
    match compiled {
        Some(Ok(())) => Fetched::Here,
        Some(Err(error)) => Fetched::Refused(error),
        None => Fetched::Missing,
    }
}

impl ComputeTask {
    /// Whether a module is in the line of those that are compiled for such processes.
    pub(super) fn is_compiling(&self, process: &Id, module: Id) -> bool {
        self.fetches.waiting.contains_key(&(module, self.compiled(process)))
    }

    fn compiled(&self, process: &Id) -> Wanted {
        let unasked = self.shared.directory.roles(process).is_some_and(|roles| roles.for_others);
        Wanted::Compiled { unasked }
    }

    /// Looks for what a process lacks; whether something will be heard of that.
    pub(super) fn fetch(&mut self, process: Id, error: &HostError) -> bool {
        let (id, wanted) = match error {
            HostError::NoModule(module) => (*module, Wanted::Module),
            HostError::NoItem { id, .. } => (*id, Wanted::Item),
            HostError::NotCompiled(module) => (*module, self.compiled(&process)),
            HostError::Node(_) | HostError::Module(..) | HostError::Engine(_) | HostError::Fold(_) => {
                return false;
            }
        };
        self.fetches.start(&self.shared, process, id, wanted)
    }

    /// What processes waited for is here, or is not.
    pub(super) fn fetched(&mut self, processes: BTreeSet<Id>, fetched: &Fetched) {
        for process in processes {
            if !self.computes(&process) {
                self.looks.refuse(&process);
                continue;
            }
            match fetched {
                Fetched::Here => self.handle(Input::Ready { process }),
                // It is looked for again when the process is tried again.
                Fetched::Missing => {}
                Fetched::Refused(error) => {
                    tracing::warn!(%process, %error, "a module was not compiled");
                    self.looks.refuse(&process);
                    if !error.may_pass() {
                        self.fail(process, None, error);
                    } else if self.waiting.contains(&process) {
                        self.shared.directory.set_waits(&process, Some(error.to_string()));
                    }
                }
            }
            if self.looks.is_asked(&process) && !self.is_out(&process) {
                self.send_job(process, Errand::Look);
            }
        }
    }
}
