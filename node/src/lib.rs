//! The Weft node: roles, their wiring, the command line and the control socket.
//!
//! Each role is a pure `machine.rs` (rules, no waiting) and a thin `task.rs` (waiting, no rules);
//! this crate holds no protocol rules of its own.

pub mod anchor;
mod asking;
mod assemble;
mod attestations;
mod backlog;
pub mod backup;
pub mod builtin;
mod carrying;
pub mod cli;
mod clock;
pub mod compute;
pub mod config;
pub mod control;
pub mod cron;
#[cfg(test)]
mod dice;
mod direct;
mod directory;
pub mod dry_run;
pub mod earn;
mod error;
pub mod follower;
mod freshness;
mod gateway;
mod gossip;
mod group;
mod hosting;
mod inbound;
pub mod join;
pub mod keyring;
pub mod legacy;
pub mod lobby;
pub mod log;
pub mod market;
pub mod messenger;
pub mod metrics;
mod news;
pub mod pending;
pub mod portable;
pub mod prune;
mod pushed;
pub mod reads;
pub mod recover;
mod remember;
mod remote;
mod replay;
pub mod replays;
pub mod results;
pub mod room;
pub mod scheduler;
mod serve;
mod shared;
mod shares;
pub mod submit;
mod subscriptions;
mod supervisor;
pub mod topics;
mod trace;
pub mod witness;

pub use assemble::{Ready, embed, run};
pub use error::{Divergence, NodeError};
pub use weft_vm::guests;
