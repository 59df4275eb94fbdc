//! The witness: keeps what convicts a key, tells people, and passes it on (RULES.md 6.18).
//!
//! Every node is one. [`machine`] decides what is worth keeping; `task` is the loop between it, the
//! disk and the topics. [`judge`] finds out by a replay which of two attestors was wrong.

pub mod judge;
pub mod machine;
mod task;

pub use judge::JudgeTask;
pub use task::{WitnessHandle, WitnessTask, queue};
