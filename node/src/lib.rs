//! The Weft node: roles, their wiring, the command line and the control socket.
//!
//! Each role is a pure `machine.rs` (rules, no waiting) and a thin `task.rs` (waiting, no rules);
//! this crate holds no protocol rules of its own.

pub mod cli;
pub mod config;
pub mod control;
pub mod keyring;

pub use weft_vm::guests;

/// TEMP
#[derive(Debug, Clone, serde::Serialize, serde::Deserialize)]
#[allow(missing_docs)]
pub struct Ready {
    pub address: weft_protocol::Address,
    pub peer_id: String,
    pub listen: Vec<String>,
    pub network: String,
    pub roles: Vec<String>,
    pub weave: String,
    pub socket: String,
    pub pid: u32,
}
