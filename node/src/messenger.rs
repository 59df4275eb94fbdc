//! The messenger role: carries what processes send, with proof, to where it is scheduled.
//!
//! [`machine`] holds the rules (ranks, order, retries), `task` the loop, `dispatch` the making
//! of a push from what the disk holds. A messenger computes the processes it carries for, so it
//! trusts nobody for what they sent; their attestors' signatures are for the receivers.

mod carry;
mod dispatch;
mod handle;
pub mod machine;
mod receipts;
mod task;

pub use dispatch::{destination, first_state, note_wallets};
pub use handle::MessengerHandle;
pub use receipts::{NoReceipt, Receipt};
pub use task::{MessengerTask, PUSHES_MAX};
