//! The timekeeper role: lets time pass in logs where nothing else happens.
//!
//! Ticks come from the log alone, so somebody has to ask a scheduler for a mark (RULES.md 6.6).
//! This role asks for the processes that somebody subscribed to on this node. [`machine`] says
//! when; `task` asks, this node's own scheduler or another's. Whether a mark is assigned is the
//! scheduler's rule.

pub mod machine;
mod task;

pub use task::TimekeeperTask;
