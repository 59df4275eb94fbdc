//! The topics that this node is on, and what it follows by asking: the rules and the task.

pub mod machine;
mod task;

pub use task::{Asked, TopicsHandle, TopicsTask};
