//! The follower role: keeps the logs of processes that other keys schedule.
//!
//! [`machine`] holds the rules (order, links, holes, whom to ask), `ask` what peers are
//! asked and how their answers are verified, `task` the loop that commits them.

mod ask;
mod lane;
pub mod machine;
mod regain;
mod task;

pub use ask::{VerifiedHead, verify_head};
pub use regain::Regain;
pub use task::{FollowerHandle, FollowerTask};
