//! The follower role: keeps the logs of processes that other keys schedule.
//!
//! [`machine`] holds the rules (order, links, holes, whom to ask), `task` the loop that asks
//! peers, verifies what they give and commits it.

mod lane;
pub mod machine;
mod regain;
mod task;

pub use regain::Regain;
pub use task::{FollowerHandle, FollowerTask, VerifiedHead, verify_head};
