//! What can stop the node or one of its roles: always the host's fault, never an outcome.

use std::net::SocketAddr;
use std::path::PathBuf;

use weft_protocol::{Hash, Id, Position};
use weft_storage::StoreError;

use crate::control::client::SOCKET_PATH_BYTES_MAX;

/// A failure of this node.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NodeError {
    /// The disk or what lies on it.
    #[error("storage: {0}")]
    Store(#[from] StoreError),
    /// A restore was broken off in the data folder.
    #[error(transparent)]
    Restore(#[from] crate::backup::BackupError),
    /// The network did not start.
    #[error("network: {0}")]
    Net(#[from] weft_net::NetError),
    /// The compiler did not start.
    #[error("engine: {0}")]
    Engine(#[from] weft_vm::VmError),
    /// A batch cannot be made.
    #[error("slots of process {process} cannot be bundled: {why}")]
    Batch {
        /// Of which process.
        process: Id,
        /// Why.
        why: String,
    },
    /// Gateways cannot be asked.
    #[error("there is no HTTP client for `anchor_gateways`: {why}")]
    Gateways {
        /// What the library says.
        why: String,
    },
    /// The embedded weave did not open, or the wallet is none.
    #[error("anchor: {0}")]
    Weave(#[from] weft_storage::anchor::AnchorError),
    /// A slot on disk that was verified before it was written does not verify now.
    #[error("slot {slot} of process {process} is damaged on disk: {why}")]
    DamagedLog {
        /// Of which process.
        process: Id,
        /// Which slot.
        slot: u64,
        /// How.
        why: String,
    },
    /// A checkpoint that is not what was written.
    #[error("the checkpoint of process {process} at {position} is damaged: {why}")]
    DamagedCheckpoint {
        /// Of which process.
        process: Id,
        /// Where.
        position: Position,
        /// How.
        why: String,
    },
    /// A slot that the log was said to have is not on disk.
    #[error("slot {slot} of process {process} is not on disk")]
    MissingSlot {
        /// Of which process.
        process: Id,
        /// Which slot.
        slot: u64,
    },
    /// A replay came to another outcome than the one on disk.
    #[error("{0}")]
    Diverged(Box<Divergence>),
    /// The system gave no threads.
    #[error("cannot start the compute threads: {why}")]
    Threads {
        /// What the system says.
        why: String,
    },
    /// The control socket.
    #[error("control socket {path}: {why}")]
    Socket {
        /// Where.
        path: String,
        /// What the system says.
        why: String,
    },
    /// The page of metrics.
    #[error("metrics at {address}: {why}; set `metrics` to a free address, or to `off`")]
    Metrics {
        /// Where.
        address: SocketAddr,
        /// What the system says.
        why: String,
    },
    /// The gateway for HTTP clients, or the weave's.
    #[error("{role} at {address}: {why}; set `{key}` to a free address, or to `off`")]
    Gateway {
        /// Which of them.
        role: &'static str,
        /// Where.
        address: SocketAddr,
        /// What the system says.
        why: String,
        /// The setting that says where.
        key: &'static str,
    },
    /// A task that runs as long as the node ended before it.
    #[error("the {task} ended {how}; the log says why. What was promised is on disk: start the node again")]
    Task {
        /// Which.
        task: &'static str,
        /// "by itself" or "in a panic".
        how: &'static str,
    },
    /// The data folder's name leaves no room for that of the control socket.
    #[error(
        "the socket path {} has {} bytes, the system allows {}: use a shorter --data-dir",
        path.display(), path.as_os_str().len(), SOCKET_PATH_BYTES_MAX - 1
    )]
    SocketPathTooLong {
        /// The socket.
        path: PathBuf,
    },
    /// A key that cannot be a node's.
    #[error("{0}")]
    Key(String),
    /// A folder that cannot be used.
    #[error("data folder {path}: {why}")]
    Folder {
        /// Where.
        path: String,
        /// What the system says.
        why: String,
    },
}

/// Where a replay and the disk differ.
#[derive(Debug, Clone, thiserror::Error)]
#[error("process {process} at {position}: a replay gives {replayed}, the disk has {stored}")]
pub struct Divergence {
    /// Which process.
    pub process: Id,
    /// Where.
    pub position: Position,
    /// The running hash of the replay.
    pub replayed: Hash,
    /// The running hash on disk.
    pub stored: Hash,
}
