//! Joining: a process whose log is far ahead of what is evaluated here goes on from a checkpoint that a quorum of its
//! attestors signed (RULES.md 6.4), instead of evaluating all of it again.
//!
//! The log itself is always had whole, verified and kept; what is saved is the evaluation. `manifest`
//! says which checkpoints are to be believed, [`machine`] whom to ask for which part of one, `serve`
//! gives them to others, and `task` is the loop. Where no peer has one, the configured gateways are asked (`weave`):
//! schedulers may anchor theirs (`anchor_checkpoints`). Where anything fails the process is evaluated from where
//! it is, as it would have been.
//!
//! Pages count by their hashes, and the seen list that the log gives must be the one that was signed. The position of the
//! checkpoint then has an outcome without a result here, and those before it have none.

mod ask;
pub mod machine;
mod manifest;
mod serve;
mod task;
mod weave;

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use weft_protocol::Id;

pub use manifest::{Manifest, Refused};
pub(crate) use serve::{checkpoint, pages};
pub use task::JoinTask;

/// Leaves of memory in one answer: 4 MiB.
pub const CHUNK_PAGES: usize = weft_protocol::wire::PAGES_MAX;

/// The processes that are joining: they are not computed meanwhile.
#[derive(Debug, Clone, Default)]
pub struct Joins(Arc<Mutex<BTreeSet<Id>>>);

impl Joins {
    /// Whether a process is joining.
    pub fn has(&self, process: &Id) -> bool {
        self.held().contains(process)
    }

    /// Notes that a process is joining, until this is dropped.
    fn begin(&self, process: Id) -> Joining {
        self.held().insert(process);
        Joining { joins: self.clone(), process }
    }

    fn held(&self) -> MutexGuard<'_, BTreeSet<Id>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A process that is joining.
#[derive(Debug)]
struct Joining {
    joins: Joins,
    process: Id,
}

impl Drop for Joining {
    fn drop(&mut self) {
        self.joins.held().remove(&self.process);
    }
}
