//! The Weft node: roles, their wiring, the command line and the control socket.
//!
//! Each role is a pure `machine.rs` (rules, no waiting) and a thin `task.rs` (waiting, no rules);
//! this crate holds no protocol rules of its own.

pub mod cli;
pub mod config;
pub mod control;
pub mod keyring;
