//! The Weft node: roles, their wiring, the command line and the control socket.
//!
//! Each role is a pure `machine.rs` (rules, no waiting) and a thin `task.rs` (waiting, no rules);
//! this crate holds no protocol rules of its own. `ARCHITECTURE.md` says what each role decides.
//!
//! A program runs a node with [`run`], or with [`embed`] if it hands in items itself, by a [`config::Config`] and a
//! [`keyring::NodeKey`]. Others talk to a running node through [`control::client::Client`], with the requests of
//! [`control::api`]; the `weft` program is [`cli::run`].
//!
//! ```no_run
//! use tokio_util::sync::CancellationToken;
//! use weft_node::config::Config;
//! use weft_node::keyring::NodeKey;
//! use weft_protocol::crypto::Signer;
//!
//! # async fn start() -> Result<(), weft_node::NodeError> {
//! let secret = [7; 32];
//! let key = NodeKey { signer: Signer::from_seed(&secret), peer_secret: secret };
//! let config = Config { network: "example".into(), ..Config::new("/tmp/weft-example") };
//! let stop = CancellationToken::new(); // Cancelled, it ends the node in order.
//! weft_node::run(config, key, stop, |ready| println!("{} listens on {:?}", ready.address, ready.listen)).await
//! # }
//! ```

// The roles; ARCHITECTURE.md says what each decides. `direct` follows by asking what `follower` has by gossip.
pub mod anchor;
pub mod compute;
pub mod cron;
mod direct;
pub mod earn;
pub mod follower;
pub mod join;
pub mod lobby;
pub mod market;
pub mod messenger;
pub mod pending;
pub mod recover;
pub mod scheduler;
mod subscriptions;
pub mod topics;
pub mod witness;

// What a process is to this node: which there are, who has them taken up, and how an item gets to the scheduler of one.
mod backlog;
pub mod builtin;
mod carrying;
mod directory;
mod hosting;
pub mod submit;

// Peers: `remote` asks one thing of one, `asking` of several, `serve` answers; `inbound` judges what comes by gossip, `gossip`
// says things there.
mod asking;
mod attestations;
mod freshness;
mod gossip;
mod inbound;
mod pushed;
mod remember;
mod remote;
mod serve;

// Reading for clients: `reads` is a question of the gateway, `results` are pages, `replays` goes back to old states, `replay`
// checks a log.
pub mod dry_run;
pub mod legacy;
pub mod reads;
mod replay;
pub mod replays;
pub mod results;

// The disk: `log` is the slots of processes and not what a node says of itself, `portable` one process in a file.
pub mod backup;
mod group;
pub mod log;
pub mod portable;
pub mod prune;
pub mod room;

// Doors, and what their users set.
pub mod cli;
pub mod config;
pub mod control;
mod gateway;
pub mod keyring;

// What holds all that together: `shared` is what every role has in hand, `shares` are places that many share.
mod assemble;
mod clock;
#[cfg(test)]
mod dice;
mod error;
pub mod metrics;
mod news;
mod shared;
mod shares;
mod supervisor;
mod threads;
mod trace;

pub use assemble::{Ready, embed, run};
pub use error::{Divergence, NodeError};
pub use weft_vm::guests;
