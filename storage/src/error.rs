//! What can go wrong, and who has to act.

use std::error::Error;
use std::io::ErrorKind;
use std::path::PathBuf;
use std::sync::Arc;

use weft_protocol::{Address, Hash, Id, Network, Position};

/// A write that contradicts what is already durable. The whole request is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Conflict {
    /// The slot holds another assignment.
    #[error("slot {slot} of process {process} holds assignment {held}, not {offered}")]
    Slot {
        /// The process.
        process: Id,
        /// The slot.
        slot: u64,
        /// The assignment on disk.
        held: Id,
        /// The assignment in the request.
        offered: Id,
    },
    /// The position has another running hash: two evaluations of one log differ.
    #[error("position {position} of process {process} has the running hash {held}, not {offered}")]
    Outcome {
        /// The process.
        process: Id,
        /// The position.
        position: Position,
        /// The hash on disk.
        held: Hash,
        /// The hash in the request.
        offered: Hash,
    },
    /// The attestor already signed something else for this position.
    #[error("attestor {attestor} already signed another statement at {position} of process {process}")]
    Attestation {
        /// The process.
        process: Id,
        /// The position.
        position: Position,
        /// The key that signed both.
        attestor: Address,
    },
    /// The spawn has another child.
    #[error("spawn {spawn} has the child {held}, not {offered}")]
    Child {
        /// Its push id.
        spawn: Hash,
        /// The child on disk.
        held: Id,
        /// The child in the request.
        offered: Id,
    },
    /// The seen key stands at another position.
    #[error("seen key {key} of process {process} stands at {held}, not {offered}")]
    Seen {
        /// The process.
        process: Id,
        /// The key.
        key: Hash,
        /// The position on disk.
        held: Position,
        /// The position in the request.
        offered: Position,
    },
    /// The seen list is in position order and would not stay so.
    #[error("the seen list of process {process} ends at {last}; {offered} comes before it")]
    SeenOrder {
        /// The process.
        process: Id,
        /// The last position in the list.
        last: Position,
        /// The position in the request.
        offered: Position,
    },
    /// What would be pruned is not on the weave yet.
    #[error("position {position} of process {process} is not final and is never pruned")]
    NotFinal {
        /// The process.
        process: Id,
        /// The position.
        position: Position,
    },
    /// What would be pruned is still to be sent.
    #[error("outbox entry {index} at {position} of process {process} is not delivered and is never pruned")]
    Unsent {
        /// The process.
        process: Id,
        /// The position.
        position: Position,
        /// Its place in the outbox.
        index: u32,
    },
    /// What would be forgotten is worked for.
    #[error("this node works for process {process}, so its log cannot be forgotten")]
    Served {
        /// The process.
        process: Id,
    },
    /// A row that never changes would change.
    #[error("table {table} holds other bytes under key {key}")]
    Content {
        /// The table.
        table: &'static str,
        /// The key, in hex.
        key: String,
    },
}

/// Why the store did not do what it was asked.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The request contradicts what is durable; nothing of it was written. The caller's fault.
    #[error("{0}")]
    Conflict(Box<Conflict>),
    /// A record on disk is not what was written. The disk's fault; the row is lost, the store lives.
    #[error("the store is damaged: table {table}, key {key}: {reason}; stop the node and run `weft repair`")]
    Damaged {
        /// The table.
        table: &'static str,
        /// The key, in hex.
        key: String,
        /// What does not fit.
        reason: &'static str,
    },
    /// The row that the request changes does not exist.
    #[error("table {table} has no row under key {key}")]
    Missing {
        /// The table.
        table: &'static str,
        /// The key, in hex.
        key: String,
    },
    /// The request might take the file over its limit; nothing of it was written, and the store goes
    /// on. Try again later: pruning makes room, and so does a higher limit.
    #[error("the disk budget is used up: the store takes {bytes} of {limit} bytes")]
    Full {
        /// What the file takes.
        bytes: u64,
        /// What it may take.
        limit: u64,
    },
    /// Something is over a limit of [`limits`](crate::limits).
    #[error("{what}: {size}, at most {max} allowed")]
    TooLarge {
        /// What is too large.
        what: &'static str,
        /// How large it is.
        size: usize,
        /// The limit.
        max: usize,
    },
    /// Whoever asked for long work said to stop.
    #[error("stopped before it was done")]
    Stopped,
    /// The store was shut down.
    #[error("the store is closed")]
    Closed,
    /// Reading, writing or syncing failed. After a failed write the store takes no more writes,
    /// because nobody knows what of it is on disk: open it again.
    #[error("the disk failed while the store was {during}: {source}")]
    Disk {
        /// What was going on.
        during: &'static str,
        /// What the layer below said.
        source: Arc<dyn Error + Send + Sync>,
    },
    /// Another node has the file open.
    #[error(
        "{} is in use by another node; stop that one or choose another data folder",
        path.display()
    )]
    InUse {
        /// The file.
        path: PathBuf,
    },
    /// The system does not let us open the file.
    #[error("cannot open {}: {source}; it must be a file that this user may read and write", path.display())]
    CannotOpen {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: Arc<std::io::Error>,
    },
    /// The file is not a store of ours.
    #[error("{} is not a Weft store: {reason}; move it away or choose another data folder", path.display())]
    NotAStore {
        /// The file.
        path: PathBuf,
        /// Why not.
        reason: String,
    },
    /// The file was a store and is damaged beyond reading.
    #[error(
        "{} is damaged: {reason}; run `weft repair`, which keeps what verifies and this file, or restore a \
         backup with `weft restore`",
        path.display()
    )]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the layer below found.
        reason: String,
    },
    /// The store belongs to another network.
    #[error(
        "the store belongs to network {found}, this node runs on {expected}; set `network` to the store's, or choose \
         another data folder"
    )]
    OtherNetwork {
        /// The network of the store.
        found: Network,
        /// The network of the configuration.
        expected: Network,
    },
    /// The store belongs to another key.
    #[error(
        "the store belongs to node {found}, this node's key is {expected}; use that key or another data folder"
    )]
    OtherNode {
        /// The address in the store.
        found: Address,
        /// The address of the configuration.
        expected: Address,
    },
    /// The store was written by a newer version.
    #[error(
        "{} has schema {found}, and this version knows schemas up to {known}; use a newer weft", path.display()
    )]
    NewerSchema {
        /// The file.
        path: PathBuf,
        /// The schema of the store.
        found: u32,
        /// The newest that this build reads.
        known: u32,
    },
}

impl From<Conflict> for StoreError {
    fn from(conflict: Conflict) -> Self {
        Self::Conflict(Box::new(conflict))
    }
}

impl StoreError {
    /// Whether the disk has no room: the store goes on where it was when it is opened again and
    /// there is room.
    pub fn is_full(&self) -> bool {
        let Self::Disk { source, .. } = self else { return false };
        let mut cause: Option<&(dyn Error + 'static)> = Some(source.as_ref());
        while let Some(error) = cause {
            if let Some(io) = io_of(error) {
                return matches!(io.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded);
            }
            cause = error.source();
        }
        false
    }

    /// A failure of the layer below.
    pub(crate) fn disk(during: &'static str, source: impl Error + Send + Sync + 'static) -> Self {
        Self::Disk { during, source: Arc::new(source) }
    }
}

/// The system's error inside one of redb, which names no sources of its errors.
fn io_of<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a std::io::Error> {
    fn inner(error: &redb::StorageError) -> Option<&std::io::Error> {
        if let redb::StorageError::Io(error) = error { Some(error) } else { None }
    }
    if let Some(error) = error.downcast_ref::<std::io::Error>() {
        return Some(error);
    }
    if let Some(error) = error.downcast_ref::<redb::StorageError>() {
        return inner(error);
    }
    match error.downcast_ref::<redb::Error>() {
        Some(redb::Error::Io(error)) => return Some(error),
        Some(_) => return None,
        None => {}
    }
    if let Some(redb::CommitError::Storage(error)) = error.downcast_ref::<redb::CommitError>() {
        return inner(error);
    }
    if let Some(redb::TransactionError::Storage(error)) = error.downcast_ref::<redb::TransactionError>() {
        return inner(error);
    }
    match error.downcast_ref::<redb::TableError>() {
        Some(redb::TableError::Storage(error)) => inner(error),
        _ => None,
    }
}

/// The hex form of a key, for messages.
pub(crate) fn hex(key: &[u8]) -> String {
    use std::fmt::Write as _;
    key.iter().fold(String::with_capacity(key.len() * 2), |mut text, byte| {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}
