//! Following processes by asking: for those whose topic this node is not on.

mod machine;
mod task;

pub use task::{DirectHandle, DirectTask};
