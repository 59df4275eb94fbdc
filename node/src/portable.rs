//! One process in one file, which proves itself: `weft export` and `weft import`.
//!
//! The file is an ANS-104 bundle, so any tool of Arweave reads it. First comes an item that says what
//! is inside, signed by the node that wrote the file; nothing is believed because of it. Then the log
//! from slot 0 on, each slot as the assignment, its item and the item's origin proof, as batches on
//! a weave have them; the module, if it is wanted; and attestations. Whoever reads it checks every
//! signature and every link, as if each had come from a stranger.

mod apply;
pub(crate) mod checkpoint;
mod export;
mod file;
mod import;

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use weft_protocol::bundle::BundleError;
use weft_protocol::{Hash, Id, Network};
use weft_storage::StoreError;

pub(crate) use apply::{Allowance, Apply, Part, attestations_of};
pub use export::export;
pub use import::import;

use crate::hosting::HostingError;

/// `Type` of the item that says what a file holds.
const MANIFEST_TYPE: &str = "Weft-Export";
/// `Type` of the items whose data are attestations.
pub(crate) const ATTESTATIONS_TYPE: &str = "Weft-Attestations";
/// `Type` of the items whose data is evidence.
pub(crate) const EVIDENCE_TYPE: &str = "Weft-Evidence";
/// The largest item that is read: a module.
const ITEM_BYTES_MAX: usize = weft_protocol::limits::MODULE_ITEM_BYTES_MAX;
/// Items of one file: more than two for each of a million slots, and a header of 256 MiB.
const ITEMS_MAX: usize = 4 * 1024 * 1024;

/// Why a process was not written to a file, or not read from one.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PortableError {
    /// Something is there already.
    #[error("{} exists and is never overwritten: choose another name", .0.display())]
    Exists(PathBuf),
    /// Left by an export that was broken off, or of another one under way.
    #[error("{} belongs to another export: if none is under way, remove it and try again", .0.display())]
    Unfinished(PathBuf),
    /// Nothing of the process is here.
    #[error("process {0} has no slots here; `weft host {0}` follows it")]
    NoSlots(Id),
    /// An item that a slot names is gone from this disk.
    #[error("{what} {id} is not on this disk: export from a node that has it")]
    NotHere {
        /// What it is.
        what: &'static str,
        /// Its id.
        id: Id,
    },
    /// More than a file may hold.
    #[error("the process has more than {ITEMS_MAX} items, the most that one file holds")]
    TooMany,
    /// The bytes are not a bundle.
    #[error("the file is not a bundle: {0}; nothing was imported")]
    Frame(#[from] BundleError),
    /// A bundle of something else.
    #[error("the file is not one that `weft export` writes: {0}; nothing was imported")]
    NotAnExport(String),
    /// Another network's process.
    #[error("the file is of network {found}, but this node runs on {expected}; nothing was imported")]
    OtherNetwork {
        /// In the file.
        found: String,
        /// Here.
        expected: Network,
    },
    /// The process is scheduled here, so its log is made here and nowhere else.
    #[error(
        "this node schedules process {process} and knows of no slot that is missing; nothing was imported"
    )]
    Own {
        /// Which.
        process: Id,
    },
    /// The log there is not the one here.
    #[error(
        "slot {slot} here is assignment {held}, there it is {offered}: the scheduler signed both. \
         Nothing from this slot on was taken; `weft inspect` shows the evidence"
    )]
    OtherLog {
        /// The first slot that differs.
        slot: u64,
        /// On disk.
        held: Id,
        /// There.
        offered: Id,
    },
    /// A part that does not verify.
    #[error("slot {slot} of the file is refused: {why}; {}", imported(*.next))]
    Slot {
        /// Which slot is refused.
        slot: u64,
        /// What is wrong with it.
        why: String,
        /// The slot after the last one that was imported.
        next: u64,
    },
    /// It would take more of this disk than it may.
    #[error(
        "it has more than the {most} bytes that this node takes of it; its operator can raise `others_logs`, or take \
         it with `weft recover`"
    )]
    Longer {
        /// The limit, in bytes.
        most: u64,
    },
    /// The log here does not reach the slots of the file in time.
    #[error(
        "the log here stays at slot {head:?} although slots up to {wanted} were handed over; see the node's log"
    )]
    Stuck {
        /// The newest slot here.
        head: Option<u64>,
        /// The newest handed over.
        wanted: u64,
    },
    /// Taking up the process failed.
    #[error(transparent)]
    Hosting(#[from] HostingError),
    /// The client went away.
    #[error("stopped before it was done")]
    Stopped,
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// An item was not signed.
    #[error("cannot sign: {0}")]
    Sign(#[from] weft_protocol::data_item::ItemError),
    /// The system.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// Why it failed.
        source: std::io::Error,
    },
}

fn imported(next: u64) -> String {
    match next.checked_sub(1) {
        None => "nothing was imported".to_owned(),
        Some(last) => format!("slots 0 to {last} of it verify and are imported or were here"),
    }
}

/// What a file holds, or what came of it.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct PortableReport {
    pub process: Id,
    pub file: PathBuf,
    pub slots: u64,
    pub items: u64,
    pub attestations: u64,
    pub module: bool,
    pub bytes: u64,
    /// Slots that were not here before; of an import only.
    pub new_slots: Option<u64>,
    /// The chain hash of the newest slot.
    pub hash_chain: Hash,
}

fn io(action: &'static str, path: &std::path::Path) -> impl FnOnce(std::io::Error) -> PortableError {
    let path = path.to_owned();
    move |source| PortableError::Io { action, path, source }
}
