//! What goes through much of the disk, and tells how far it is.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use weft_protocol::{Address, Id};

/// What a client asks; events are [`Progress`](super::Progress). Paths are absolute.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "disk", rename_all = "kebab-case", deny_unknown_fields)]
pub enum DiskRequest {
    /// Copy store and weave into a new folder: [`BackupReport`](crate::backup::BackupReport).
    Backup {
        /// The folder to make.
        folder: PathBuf,
        /// Also copy the node's key.
        #[serde(default)]
        with_key: bool,
    },
    /// Write what is here of a process to a new file:
    /// [`PortableReport`](crate::portable::PortableReport).
    Export {
        /// Which process.
        process: Id,
        /// The file to make.
        file: PathBuf,
        /// Also write the module.
        #[serde(default)]
        with_module: bool,
    },
    /// Take in what such a file holds: [`PortableReport`](crate::portable::PortableReport).
    Import {
        /// The file.
        file: PathBuf,
    },
    /// Take in what gateways of a weave have of a process:
    /// [`RecoverReport`](crate::recover::RecoverReport).
    Recover {
        /// Which process.
        process: Id,
        /// The addresses of the gateways.
        from: Vec<String>,
    },
    /// Take in all processes of which gateways list a slot 0 that this key signed:
    /// [`RecoverAllReport`](crate::recover::RecoverAllReport).
    RecoverAll {
        /// The scheduler; this node if absent.
        #[serde(default)]
        scheduler: Option<Address>,
        /// The addresses of the gateways.
        from: Vec<String>,
    },
    /// Do nothing for a process of another node any more, and drop its log, states and results:
    /// [`ForgetReport`].
    Forget {
        /// Which process.
        process: Id,
        /// Also what nobody else is known to have.
        #[serde(default)]
        accepts_loss: bool,
    },
    /// Drop old results: `[PruneReport]`, see [`PruneReport`](crate::prune::PruneReport).
    Prune {
        /// Of which process; of all if absent.
        #[serde(default)]
        process: Option<Id>,
        /// How many of the newest slots keep theirs; as configured if absent.
        #[serde(default)]
        keep: Option<u64>,
        /// Only count.
        #[serde(default)]
        dry_run: bool,
    },
}

/// What forgetting a process came to.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct ForgetReport {
    pub process: Id,
    pub slots: u64,
    /// Items that went with them; those that other logs name stay.
    pub items: u64,
    /// Bytes of all rows that went, checkpoints not counted. Their pages are free for other rows.
    pub bytes: u64,
    /// What may be lost by it, where its operator said that it may.
    pub lost: Vec<String>,
}
