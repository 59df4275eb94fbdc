//! Deterministic simulation: the real machines of several nodes in one thread, with virtual time
//! and everything that can go wrong drawn from one seed.
//!
//! Items, assignments, records, attestations, origin proofs and offers are the real ones, signed
//! and verified; the guests are the real counter and the real Lua runtime. Virtual are the clock, the network, the disks and
//! the weave. [`run`] plays one seed and says what the checker, which stands outside the nodes,
//! found broken.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

pub mod audit;
pub mod checker;
pub mod disk;
pub mod guest;
pub mod hard;
pub mod lane;
pub mod liar;
pub mod network;
pub mod node;
pub mod roles;
pub mod settings;
pub mod town;
pub mod vice;
pub mod workload;
pub mod world;

pub use guest::Guest;
pub use liar::Lie;
pub use settings::{Mutation, Report, Settings};
pub use vice::Vice;
pub use world::run;
