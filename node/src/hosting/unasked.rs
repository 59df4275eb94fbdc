//! Processes that come to this node unasked: new ones of others that it schedules, and children that
//! name it among their attestors. Whether they are taken, and what they may use.
//!
//! What an operator hosts himself is his own matter and in no budget. What is declined is declined
//! before it is begun, with a reason; a process that is here is never dropped for a budget: its log
//! would end. Gas is counted where it is used (`compute/machine/allowance.rs`).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use weft_protocol::module::{Limits, Module};
use weft_protocol::process::{Process, Refusal};
use weft_protocol::{Address, DataItem, Hash, Id};
use weft_storage::{Roles, Store, StoreError};
use weft_vm::Format;

use crate::config::Role;
use crate::directory::Directory;
use crate::remote::{self, RemoteError};
use crate::shared::Shared;

/// Why a process is not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Declined {
    /// Its owner's are not scheduled here.
    #[error(
        "this scheduler does not take processes of {0}; ask its operator to set `schedule_for`, or name another \
         scheduler"
    )]
    Owner(Address),
    /// This node would have to answer for its outcomes, and computes nothing.
    #[error(
        "its scheduler would have to attest it, and this node does not compute; name other nodes in `Compute`"
    )]
    NoCompute,
    /// Its owner's are not computed here.
    #[error(
        "this node would have to compute it, and computes no processes of {0}; name other nodes in `Compute`, or ask \
         its operator to set `compute_for`"
    )]
    Computing(Address),
    /// It may grow larger than strangers may here.
    #[error(
        "it may use {asked} bytes of memory, and this node allows processes of others at most {allowed}; set a lower \
         `Memory-Limit`, name other nodes in `Compute`, or ask its operator to raise `others_memory`"
    )]
    Memory {
        /// What it may use.
        asked: u64,
        /// What is allowed.
        allowed: u64,
    },
    /// All places are taken.
    #[error(
        "this node's budget of {0} processes of others is used up; name another node, or ask its operator to raise \
         `spawn_budget`"
    )]
    Places(u32),
    /// The logs of strangers have all the room that they may.
    #[error(
        "the {0} bytes that this node has for logs read from a weave at strangers' request are used up; ask its operator to \
         raise `others_logs`, or to host the process"
    )]
    Logs(u64),
}

impl Declined {
    /// One word for it, for metrics.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Owner(_) => "owner",
            Self::NoCompute => "no-compute",
            Self::Computing(_) => "computing",
            Self::Memory { .. } => "memory",
            Self::Places(_) => "places",
            Self::Logs(_) => "logs",
        }
    }

    /// Every word.
    pub const NAMES: [&'static str; 8] =
        ["owner", "no-compute", "computing", "memory", "places", "logs", Self::MODULE, Self::CHILDREN];

    /// The word for one whose module everybody refuses.
    pub const MODULE: &'static str = "module";
    /// The word for one whose parent, served for pay, has as many as it may.
    pub const CHILDREN: &'static str = "children";
}

/// Why the limits of a process cannot be told.
#[derive(Debug, thiserror::Error)]
pub enum LimitsError {
    /// Its module is not to be had.
    #[error("module {0}: {1}")]
    NotHere(Id, Box<RemoteError>),
    /// Everybody refuses its module, or it with this module.
    #[error("module {0} is refused: {1}")]
    Refused(Id, String),
    /// The disk.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Whose a process is, as far as policy goes.
#[derive(Debug, Clone, Copy)]
pub struct Claim {
    owner: Address,
    own: bool,
    /// What this node does for its parent, if it has one.
    parent: Option<Roles>,
}

impl Claim {
    /// A child is its parent's, whoever carried it.
    pub fn of(shared: &Shared, process: &Process) -> Self {
        match process.parent() {
            None => {
                let owner = process.item().owner();
                Self { owner, own: owner == shared.address, parent: None }
            }
            Some(parent) => {
                Self { owner: Address(parent.0), own: false, parent: shared.directory.roles(&parent) }
            }
        }
    }

    /// Whether this node's own key made it: then it is in no budget. A child never is, as any message
    /// may make another.
    pub const fn is_own(&self) -> bool {
        self.own
    }

    /// Whether the process may be scheduled here: who may have the parent here may have its children.
    ///
    /// # Errors
    /// Why not.
    pub fn check_scheduling(&self, shared: &Shared) -> Result<(), Declined> {
        let has_parent = self.parent.is_some_and(|roles| roles.schedules);
        let is_taken = has_parent || shared.config.schedule_for.includes(&self.owner, self.own);
        if is_taken { Ok(()) } else { Err(Declined::Owner(self.owner)) }
    }

    /// Whether the process may be computed here, as far as can be told without its module.
    ///
    /// # Errors
    /// Why not.
    pub fn check_computing(&self, shared: &Shared) -> Result<(), Declined> {
        if !shared.config.roles.contains(&Role::Compute) {
            return Err(Declined::NoCompute);
        }
        let has_parent = self.parent.is_some_and(|roles| roles.computes);
        let is_taken = has_parent || shared.config.compute_for.includes(&self.owner, self.own);
        if is_taken { Ok(()) } else { Err(Declined::Computing(self.owner)) }
    }

    /// Whether a process of these limits may be computed here.
    ///
    /// # Errors
    /// Why not.
    pub fn check_limits(&self, shared: &Shared, limits: &Limits) -> Result<(), Declined> {
        let allowed = shared.config.others_memory_bytes;
        let is_taken = self.own || limits.memory_bytes <= allowed;
        if is_taken { Ok(()) } else { Err(Declined::Memory { asked: limits.memory_bytes, allowed }) }
    }
}

/// The limits of a process. Fetches its module if need be, and refuses what this build cannot compute,
/// by name.
///
/// # Errors
/// As [`LimitsError`] says.
pub async fn limits_of(shared: &Shared, process: &Process) -> Result<Limits, LimitsError> {
    let id = process.module();
    let refused = |refusal: Refusal| LimitsError::Refused(id, refusal.to_string());
    if let Some(limits) = shared.modules.limits_of(process) {
        return limits.map_err(refused);
    }
    let module = match read_module(&shared.store, id).await? {
        Some(module) => module,
        None => {
            let fetched = remote::fetch_module(shared, process.id(), id).await;
            fetched.map_err(|error| LimitsError::NotHere(id, Box::new(error)))?;
            let nobody = || RemoteError::Nobody { what: format!("module {id}") };
            read_module(&shared.store, id)
                .await?
                .ok_or_else(|| LimitsError::NotHere(id, Box::new(nobody())))?
        }
    };
    module.limits(process).map_err(refused)
}

/// A module that lies on disk, checked as far as can be without compiling it. It may have tens of
/// megabytes, so this is done where waiting holds up nobody.
async fn read_module(store: &Store, id: Id) -> Result<Option<Module>, LimitsError> {
    let store = store.clone();
    let refused = move |why: String| LimitsError::Refused(id, why);
    let read = move || {
        let Some(raw) = store.read().and_then(|reader| reader.item(&id))? else { return Ok(None) };
        let item = DataItem::verify_bytes(raw).map_err(|error| refused(error.to_string()))?;
        let module = Module::accept(item).map_err(|refusal| refused(refusal.to_string()))?;
        Format::parse(module.format()).map_err(|error| refused(error.to_string()))?;
        Ok(Some(module))
    };
    // It fails only where the node stops.
    let read = tokio::task::spawn_blocking(read).await;
    read.unwrap_or_else(|error| {
        let nobody = RemoteError::Nobody { what: format!("module {id}: {error}") };
        Err(LimitsError::NotHere(id, Box::new(nobody)))
    })
}

/// Places that are promised to processes on their way here, so that many that come at once are not
/// all measured against the same free place.
#[derive(Debug, Default)]
pub struct Unasked {
    promised: Mutex<Promised>,
}

type Promised = BTreeMap<Wanted, Promise>;

/// A place that is promised.
#[derive(Debug, Default)]
struct Promise {
    holders: usize,
    /// All for whom it was asked since it was free.
    processes: BTreeSet<Id>,
}

/// What a place is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Wanted {
    /// A process.
    Process(Id),
    /// The one child of a spawn, whichever item of it comes first.
    Child(Hash),
}

/// A place for one process; given back when this is dropped, by when the directory has it or it was
/// not taken.
#[derive(Debug)]
#[must_use = "a place that is dropped is free again"]
pub struct Place {
    unasked: Arc<Unasked>,
    wanted: Wanted,
}

impl Unasked {
    /// Takes a place for a process. One that is here already has its own, and all items of one spawn
    /// have one together.
    ///
    /// # Errors
    /// [`Declined::Places`].
    pub fn reserve(
        self: &Arc<Self>,
        directory: &Directory,
        process: Id,
        spawn: Option<Hash>,
        budget: u32,
    ) -> Result<Place, Declined> {
        let wanted = spawn.map_or(Wanted::Process(process), Wanted::Child);
        let mut promised = self.promised();
        // Those on their way are looked at first: one that arrives meanwhile counts twice, never not at
        // all.
        let is_coming = |to: &&Promise| to.processes.iter().all(|id| directory.roles(id).is_none());
        let coming = promised.values().filter(is_coming).count();
        let is_new = directory.roles(&process).is_none() && !promised.contains_key(&wanted);
        if is_new && coming + used(directory) >= budget as usize {
            return Err(Declined::Places(budget));
        }
        let promise = promised.entry(wanted).or_default();
        promise.holders += 1;
        promise.processes.insert(process);
        Ok(Place { unasked: Arc::clone(self), wanted })
    }

    fn promised(&self) -> MutexGuard<'_, Promised> {
        self.promised.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut promised = self.unasked.promised();
        if let Some(promise) = promised.get_mut(&self.wanted) {
            promise.holders -= 1;
            if promise.holders == 0 {
                promised.remove(&self.wanted);
            }
        }
    }
}

/// Places that are taken.
pub fn used(directory: &Directory) -> usize {
    directory.for_others()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use weft_protocol::Network;
    use weft_protocol::process::Terms;
    use weft_protocol::time::Weave;
    use weft_storage::{ProcessRow, Store, StoreConfig};

    use super::*;

    fn id(number: u8) -> Id {
        Id([number; 32])
    }

    #[test]
    fn a_place_is_taken_from_the_promise_to_the_end() {
        let folder = tempfile::tempdir().unwrap();
        let config = StoreConfig::new(Network(7), Address([1; 32]));
        let store = Store::open(&folder.path().join("store.redb"), &config).unwrap();
        let directory = Directory::new(store, Terms { network: Network(7), weave: Weave::Clock });
        let put = |number, for_others| {
            let roles = Roles { schedules: true, for_others, ..Roles::default() };
            directory.put_row(id(number), ProcessRow { module: id(0), roles });
        };
        let unasked = Arc::<Unasked>::default();
        put(1, false);
        // The node's own takes none; two on their way take both.
        let reserve = |number, budget| unasked.reserve(&directory, id(number), None, budget);
        let first = reserve(2, 2).unwrap();
        let second = reserve(3, 2).unwrap();
        let third = reserve(4, 2).unwrap_err();
        assert_eq!(third, Declined::Places(2));
        // The same one again is the same place, until both are done with it.
        let again = reserve(2, 2).unwrap();
        drop(first);
        assert!(reserve(4, 2).is_err());
        // One arrived and one did not.
        put(2, true);
        drop((again, second));
        assert_eq!(used(&directory), 1);
        let fourth = reserve(4, 2).unwrap();
        assert!(reserve(5, 2).is_err());
        // Who is here is not asked for room again.
        drop(reserve(2, 0).unwrap());
        drop(fourth);
        // All items of one spawn have one place together, and it is taken once the child is here.
        let child = |number, spawn| unasked.reserve(&directory, id(number), Some(Hash([spawn; 32])), 2);
        let (one, twin) = (child(6, 9).unwrap(), child(7, 9).unwrap());
        assert!(child(8, 8).is_err() && reserve(8, 2).is_err());
        put(6, true);
        drop(one);
        // The twin takes none beside it.
        drop(reserve(8, 3).unwrap());
        assert!(reserve(8, 2).is_err());
        drop(twin);
        assert!(unasked.promised().is_empty());
    }
}
