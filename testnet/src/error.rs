//! What keeps a testnet from coming up, and what a node did not answer.

use std::path::PathBuf;

use weft_node::control::client::ClientError;
use weft_node::keyring::KeyError;

use crate::bench::TooMuch;
use crate::plan::PlanError;

/// A node gave no answer.
#[derive(Debug, thiserror::Error)]
#[error("node {node}: {what}: {source}")]
pub struct AskError {
    /// Which.
    pub node: usize,
    /// What it was asked for.
    pub what: &'static str,
    /// Why there is none.
    pub source: ClientError,
}

/// Why there is no testnet.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TestnetError {
    /// What was asked for cannot be.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// A port that another program uses.
    #[error(
        "port {port} of 127.0.0.1 cannot be used for node {node}: {source}; try again, or with `up` or `crash` give another --base-port"
    )]
    Port {
        /// Which.
        port: u16,
        /// For whom.
        node: usize,
        /// What the system says.
        source: std::io::Error,
    },
    /// No ports are free.
    #[error(
        "there are no {peers} consecutive free ports from 20000 to 32767 on 127.0.0.1: end something that uses them"
    )]
    NoPorts {
        /// So many were looked for.
        peers: usize,
    },
    /// A folder that cannot be made or written.
    #[error("cannot write to the folder {}: {source}", path.display())]
    Folder {
        /// Which.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// The node whose weave is that of all does not say where that is read.
    #[error("node 0 did not say at which address its weave is served")]
    NoWeave,
    /// A file that was named and cannot be written.
    #[error("cannot write {}: {source}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// A module file that was named and cannot be read.
    #[error("cannot read the module file {}: {source}", path.display())]
    Module {
        /// Which.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// The key of the tour's user.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// This program cannot be started again as a node.
    #[error("cannot start {} as a node: {source}", program.display())]
    Program {
        /// The program.
        program: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// A node did not come up, or died.
    #[error("node {node} {what}; the end of its log {}:\n{tail}", log.display())]
    Node {
        /// Which.
        node: usize,
        /// What happened.
        what: String,
        /// Its log.
        log: PathBuf,
        /// The last lines of it.
        tail: String,
    },
    /// The nodes run but do not find each other.
    #[error("{what}; the logs are in {}", dir.display())]
    Unhealthy {
        /// What was waited for and what was seen.
        what: String,
        /// The folder of the nodes.
        dir: PathBuf,
    },
    /// Namespaces that cannot be made.
    #[error("no network namespaces: {what}")]
    Namespaces {
        /// What was tried, and what the system says.
        what: String,
    },
    /// Fewer cores than so many nodes need to answer in time.
    #[error(
        "{peers} peers are too many: on {cores} core{} at most {most} are expected to keep up; ask for fewer, or try with --crowded",
        if *cores == 1 { "" } else { "s" }
    )]
    Cores {
        /// How many were asked for.
        peers: usize,
        /// How many cores there are.
        cores: usize,
        /// How many they carry.
        most: usize,
    },
    /// No testnet is up.
    #[error("no testnet runs{}: start one with weft-testnet up", dir.as_ref().map(|dir| format!(" in {}", dir.display())).unwrap_or_default())]
    NoTestnet {
        /// Where it was looked for, if anywhere.
        dir: Option<PathBuf>,
    },
    /// More than one is up.
    #[error("more than one testnet runs: give --dir with one of {dirs}")]
    ManyTestnets {
        /// Their folders.
        dirs: String,
    },
    /// A peer that a testnet has not.
    #[error("there is no peer {peer}: this testnet has peers 0 to {}", peers.saturating_sub(1))]
    NoPeer {
        /// Which.
        peer: usize,
        /// How many it has.
        peers: usize,
    },
    /// A scenario that cannot be run.
    #[error("{0}")]
    Scenario(String),
    /// A bench that would measure something else.
    #[error(transparent)]
    Bench(#[from] TooMuch),
    /// Nodes that could not be loaded.
    #[error("the load stopped: {what}")]
    Load {
        /// What they did not answer.
        what: String,
    },
    /// The runtime.
    #[error("cannot start the runtime: {0}")]
    Runtime(std::io::Error),
}

impl TestnetError {
    /// Whether the user can mend it by asking for something else.
    pub const fn is_input(&self) -> bool {
        match self {
            Self::Plan(_)
            | Self::Port { .. }
            | Self::NoPorts { .. }
            | Self::Folder { .. }
            | Self::File { .. }
            | Self::Module { .. }
            | Self::Namespaces { .. }
            | Self::Cores { .. }
            | Self::NoTestnet { .. }
            | Self::ManyTestnets { .. }
            | Self::NoPeer { .. }
            | Self::Scenario(_)
            | Self::Bench(_)
            | Self::Key(_) => true,
            Self::Program { .. }
            | Self::Node { .. }
            | Self::NoWeave
            | Self::Unhealthy { .. }
            | Self::Load { .. }
            | Self::Runtime(_) => false,
        }
    }
}
