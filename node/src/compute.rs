//! The compute role: folds logs through their modules, keeps the outcomes, attests them.
//!
//! [`machine`] decides which process runs next; [`hosted`] is one live process on a compute
//! thread; `task` is the loop between them and the disk.

mod frozen;
pub mod hosted;
pub mod machine;
mod pool;
mod task;
mod wait;

pub use frozen::{DryOutcome, Frozen};
pub(crate) use hosted::{code_of, memory_root};
pub use task::{ComputeHandle, ComputeTask};
pub use wait::{WaitError, evaluated};
