//! Collecting what processes sent that this node carries for and does not compute.
//!
//! Their computers are asked for the outcomes after those that it has, with the outboxes. What they give must follow
//! from there to what a quorum of attestors signed (`protocol/src/outcome/sent.rs`), so none of them is trusted,
//! and what one holds back another gives. Rows of the outbox and the place where it goes on are one commit.
//!
//! [`machine`] says when somebody is asked, `task` asks, and forgets what has its receipts. What attestors signed of it waits in
//! memory meanwhile (`heard`).

mod ask;
mod heard;
pub mod machine;
mod rows;
mod task;

pub(crate) use ask::{computers, shown};
pub use heard::{Heard, Hold};
pub use rows::{begin, end, last, setting};
pub use task::CollectorTask;

use weft_storage::Roles;

/// Whether this node carries for such a process and has to ask for what it sent.
pub const fn collects(roles: Roles) -> bool {
    roles.messenges && !roles.computes
}
