//! The scheduler role: gives slots to the messages of processes that name this node's key.
//!
//! [`machine`] holds the rules; `task` the one loop that commits and answers. What may be
//! submitted at all is decided before, in `submit`.

pub mod machine;
mod task;

pub use task::{ANSWER_WAIT_MAX, LATE_RETRY_MS, SchedulerHandle, SchedulerTask};
