//! What a node is asked to do for a process.

use clap::Args;
use weft_protocol::Id;

use crate::config::Evaluate;

#[derive(Debug, Args)]
pub(crate) struct Host {
    /// The process
    #[arg(allow_hyphen_values = true)]
    pub(crate) process: Id,
    /// Compute it: evaluate its messages
    #[arg(long)]
    pub(crate) compute: bool,
    /// When to evaluate it [default: the setting `evaluate`]
    #[arg(long, value_enum, value_name = "WHEN")]
    pub(crate) evaluate: Option<Evaluate>,
    /// Carry what it sends
    #[arg(long)]
    pub(crate) messenger: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Cron {
    /// The process
    #[arg(allow_hyphen_values = true)]
    pub(crate) process: Id,
    /// Stop running them
    #[arg(long)]
    pub(crate) off: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Pin {
    /// The process
    #[arg(allow_hyphen_values = true)]
    pub(crate) process: Id,
    /// Unpin it
    #[arg(long)]
    pub(crate) off: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Unhost {
    /// The process
    #[arg(allow_hyphen_values = true)]
    pub(crate) process: Id,
    /// Also drop its log, states and results, which frees their room in the store; refused for a process that this node
    /// schedules, or for which something is still owed
    #[arg(long)]
    pub(crate) forget: bool,
    /// Forget it even if nobody else is known to have the log
    #[arg(long, requires = "forget")]
    pub(crate) yes: bool,
}
