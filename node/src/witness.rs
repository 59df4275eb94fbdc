//! The witness: keeps what convicts a key, tells people, and passes it on (rules.md 6.18).
//!
//! Every node is one. [`machine`] decides what is worth keeping; `task` is the loop between it, the
//! disk and the topics.

pub mod machine;
mod task;

pub use task::{WitnessHandle, WitnessTask, queue};
