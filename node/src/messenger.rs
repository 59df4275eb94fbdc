//! The messenger role: carries what processes send, with proof, to where it is scheduled.
//!
//! [`machine`] holds the rules (ranks, order, retries), `task` the loop, `dispatch` the making
//! of a push from what the disk holds. What a process sent a messenger has computed itself, or collected
//! from computers whose word a quorum of attestors covers ([`collect`]): it trusts nobody either way.

mod carry;
pub mod collect;
mod dispatch;
mod handle;
pub mod machine;
mod receipts;
mod settling;
#[cfg(test)]
mod simulation;
pub mod steps;
mod task;

pub use dispatch::{destination, note_signers, outbox_writes};
pub use handle::MessengerHandle;
pub use receipts::{NoReceipt, Receipt};
pub use task::{MessengerTask, PUSHES_MAX};
