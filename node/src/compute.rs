//! The compute role: folds logs through their modules, keeps the outcomes, attests them.
//!
//! [`machine`] decides which process runs next; [`hosted`] is one live process on a compute
//! thread; `task` is the loop between them and the disk.

pub mod hosted;
pub mod machine;
mod pool;
mod task;

pub(crate) use hosted::{code_of, memory_root};
pub use task::{ComputeHandle, ComputeTask};
