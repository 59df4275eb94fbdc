//! Real Weft nodes as child processes on this machine, and a tour of what they do.
//!
//! One executable is launcher and node: started with the hidden first argument [`NODE_ARG`] it is
//! the `weft` program and nothing else, so a clone needs no other build. The launcher talks to its
//! nodes as any client does, over their control sockets, with items it signs itself; it holds no
//! key of a node and reads no node's disk but its log.
//!
//! Invariant: no node outlives its launcher. Each holds the read end of a pipe whose write end is
//! the launcher's alone; when that closes, also because the launcher was killed, the node ends. A
//! guard, at the end of another such pipe, removes what a killed launcher could not.
//!
//! As a library it is for tests with real nodes: a [`Plan`] says which nodes there are, a [`Fleet`] starts, kills and stops
//! them, a [`Town`] has a [`User`] spawn [`Actor`]s and send to them, [`until`] waits for what is to come, and a step that is
//! [`Open`] collects [`Check`]s.

pub mod aos;
mod args;
mod bench;
mod check;
mod crash;
mod error;
mod fleet;
mod guard;
mod netns;
mod node;
mod out;
mod plan;
mod report;
mod run;
mod scenario;
mod screen;
mod state;
mod tail;
mod topology;
mod tour;
mod town;
mod user;
mod visit;
mod wait;
mod weave;

use std::ffi::OsString;
use std::process::ExitCode;

pub use check::{Check, Open, Step};
pub use error::{AskError, TestnetError};
pub use fleet::{Fleet, Launch, free_ports};
pub use netns::{Lanes, Link};
pub use node::{Door, Node};
pub use plan::{PEERS_MAX, PEERS_MIN, Plan, RolesOf};
pub use report::{ActorReport, ComputedReport, ModuleReport, PeerReport, Report};
pub use topology::Topology;
pub use town::{Actor, Cast, PATIENCE, Town, Trouble};
pub use user::{NewProcess, User, encoded};
pub use wait::{Look, WaitError, until};

/// The hidden first argument that makes this executable the `weft` program.
pub const NODE_ARG: &str = "__weft";

/// Runs one command line, `args` with the program's name first, and says how the process ends.
pub fn main(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let mut args: Vec<OsString> = args.into_iter().collect();
    if args.get(1).is_some_and(|arg| arg == NODE_ARG) {
        args.remove(1);
        return weft_node::cli::run(args);
    }
    if args.get(1).is_some_and(|arg| arg == weft_node::cli::COMPILE) {
        return weft_node::cli::run(args);
    }
    if args.get(1).is_some_and(|arg| arg == guard::GUARD_ARG) {
        return guard::main(&args[2..]);
    }
    run::command(&args)
}
