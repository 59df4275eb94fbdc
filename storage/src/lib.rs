//! Durable state of a node: logs, outcomes, outboxes, attestations, checkpoints, and the
//! weave that batches are anchored to.
//!
//! [`Store`] owns one redb file and the one thread that writes it. A write is a list of
//! [`Write`]s that becomes durable as a whole or not at all; its reply is sent only after the
//! commit that holds it is on disk, and many callers share one commit. [`Reader`] is a
//! consistent snapshot of what is committed.
//!
//! Invariants: a slot never changes its assignment and a position never changes its running
//! hash ([`Conflict`]); every value carries a checksum over its table, key and bytes, so damage
//! is an error that names its place and never a wrong answer or a panic.
//!
//! This crate never decides what is valid: whoever writes has verified. It reads no clock that
//! decides anything, and its third-party types stay inside.
//!
//! [`anchor`] holds the embedded weave and what goes to a real one, [`backup`] copies a store while it is used, and [`repair()`]
//! makes a damaged one whole again.
//!
//! ```
//! use weft_protocol::{Address, Network};
//! use weft_storage::{MemoryDisk, Store, StoreConfig, Write};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let config = StoreConfig::new(Network::of_name("example"), Address([1; 32]));
//! // A node uses `Store::open` and a file.
//! let store = Store::open_with_backend(MemoryDisk::new(), &config)?;
//! let write = Write::Setting { name: "greeting".into(), value: "hello".into() };
//! store.write_blocking(vec![write])?; // On disk once this returns.
//! assert_eq!(store.read()?.setting("greeting")?.as_deref(), Some(&b"hello"[..]));
//! # Ok(())
//! # }
//! ```

pub mod anchor;
pub mod backup;
mod caution;
mod check;
mod compact;
mod contained;
mod disk;
mod error;
mod forget;
#[doc(hidden)]
pub mod fuzz;
mod key;
pub mod limits;
mod mark;
mod meta;
mod migrate;
mod plan;
mod reader;
mod record;
mod repair;
mod room;
pub mod rows;
mod store;
mod tables;
mod times;
mod write;
mod writer;

pub use anchor::{Anchor, AnchorError, AnchorStatus, Batch, LocalWeave, LocalWeaveConfig};
pub use caution::{Caution, CautionRow};
pub use check::{Check, TableCheck};
pub use compact::Compacted;
pub use disk::{Disk, HeldSyncs, MemoryDisk};
pub use error::{Conflict, StoreError};
pub use forget::{FORGETTING_SETTING, Forgot, LogPart};
pub use mark::remove_mark;
pub use meta::network_of;
pub use reader::{AttestationKey, Checkpoints, Reader, StoredSlot, StoredSlots};
pub use repair::{CutLog, RepairMode, RepairReport, RepairedTable, repair, set_aside};
pub use room::RoomStats;
pub use rows::{
    AnchoredRow, AttestationRow, BatchRow, BatchState, CarriedRow, ChallengeRow, CheckpointRow, ClaimKey,
    ClaimRow, ClaimState, EarnedRow, EvidenceRow, OutboxKey, OutboxRow, OutboxState, OutcomeRow, PackedPage,
    PageRef, PostingRow, PostingState, ProcessRow, Roles, SeenKey, SlotRow,
};
pub use store::{Stats, Store, StoreConfig, Ticket};
pub use times::{COMMIT_BOUNDS_US, CommitTimes};
pub use write::{PRUNED_SETTING, Write, blob_name};
