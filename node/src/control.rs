//! The node's control socket: a Unix socket in the data folder that only its user can open.

pub mod api;
pub mod client;
