//! The compute role: folds logs through their modules, keeps the outcomes, attests them.
//!
//! [`machine`] decides which process runs next; [`hosted`] is one live process on a compute
//! thread; `task` is the loop between them and the disk.

pub mod checkpoint;
mod demand;
mod drive;
mod frozen;
mod gas;
mod handle;
pub mod hosted;
pub mod machine;
pub mod modules;
mod pool;
pub mod residency;
mod task;
mod wait;

pub(crate) use demand::want;
pub use frozen::{DryOutcome, Frozen};
pub use handle::{ComputeHandle, State};
pub(crate) use hosted::code_of;
pub use task::{ComputeTask, outcome_writes};
pub use wait::{WaitError, evaluated};

pub use crate::log::read_records;
