//! The anchor role: writes the logs that this node schedules to its weave, in batches.
//!
//! [`machine`] decides when a batch is due and when it is there to stay, and `machine::telling` when it is said again where
//! batches lie; `bundle` puts one together; `task` submits, asks and records. What goes to a weave that costs money goes
//! through [`post`].

mod bundle;
mod found;
pub mod machine;
mod marks;
pub(crate) mod placements;
pub mod post;
mod task;
mod waiting;

pub(crate) use placements::Placements;
pub(crate) use post::BlockWaits;
pub use post::{Board, PostTask};
pub(crate) use task::EMPTY_BLOCKS_MAX;
pub use task::{AnchorTask, info};
pub(crate) use waiting::{Rest, Waiting, Weight, waiting, weigh};
