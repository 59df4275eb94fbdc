//! The judge: of two attestors that contradict each other it finds out who was wrong.
//!
//! [`machine`] decides what is replayed and who is judged by it; `task` is the loop between it, the
//! disk and the replays. Only processes that this node computes are looked at, and of their attestations
//! only those that are kept: of attestors that the process names.

pub mod machine;
mod task;

pub use task::JudgeTask;
