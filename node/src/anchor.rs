//! The anchor role: writes the logs that this node schedules to its weave, in batches.
//!
//! [`machine`] decides when a batch is due and when it is there to stay; `bundle` puts it together;
//! `task` submits, asks and records.

mod bundle;
pub mod machine;
mod task;

pub use task::{AnchorTask, info};
