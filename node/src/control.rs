//! The node's control socket: a Unix socket in the data folder that only its user can open.

mod answers;
pub mod api;
pub mod client;
mod server;

pub use answers::Answers;
pub(crate) use answers::{ForPeer, no_slot, not_hosted};
pub use server::ControlSocket;
pub(crate) use server::Out;
