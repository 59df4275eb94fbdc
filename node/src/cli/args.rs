//! What can be typed. One id in 64 begins with `-`: wherever an id may stand, that is no flag.

mod commands;
mod duties;
mod settings;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use clap_complete::Shell;
use weft_protocol::assignment::Excluded;
use weft_protocol::{Address, Id, Tag};

use super::anchor::AnchorCommand;
use super::bundle::BundleCommand;
use super::carry::CarryCommand;
use super::checkpoint::Checkpoint;
use super::console::Console;
use super::disk::{Export, Prune, Recover};
use super::dry_run::DryRun;
use super::eval::Eval;
use super::market::MarketCommand;
use super::messages::Messages;
use super::net::NetCommand;
use super::network::NetworkCommand;
use super::repair::Repair;
use super::results::Results;
use super::state::State;
use super::top::TopArgs;
use super::tx::TxCommand;
use super::up::Up;
use super::watch::Verify;
use crate::builtin;
pub(crate) use commands::command;
pub(crate) use duties::{Cron, Host, Pin, Unhost};
pub(crate) use settings::ConfigFlags;

/// A peer-to-peer node for the ao computer.
#[derive(Debug, Parser)]
#[command(name = "weft", bin_name = "weft", version, after_help = super::exit::help())]
#[command(propagate_version = true, arg_required_else_help = true)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// The heading of the flags of every command.
const GLOBAL: &str = "Global options";

/// Flags of every command.
#[derive(Debug, Clone, Args)]
pub(crate) struct Global {
    /// The node's folder: key, store, socket [env: WEFT_DATA_DIR] [default: ~/.local/share/weft]
    #[arg(long, global = true, value_name = "FOLDER", help_heading = GLOBAL)]
    pub(crate) data_dir: Option<PathBuf>,
    /// Print JSON: one document, or one per line where answers arrive one by one
    #[arg(long, global = true, help_heading = GLOBAL)]
    pub(crate) json: bool,
    /// Print no progress and no remarks, only answers and errors
    #[arg(long, short, global = true, help_heading = GLOBAL)]
    pub(crate) quiet: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run a node until it is told to stop
    Up(Box<Up>),
    /// Show or make the node's key
    Key {
        #[command(subcommand)]
        command: Option<KeyCommand>,
    },
    /// Publish a WebAssembly module, or list those the node holds
    #[command(subcommand)]
    Module(ModuleCommand),
    /// Start a process
    Spawn(Spawn),
    /// Send a message to a process
    Send(Send),
    /// Interactive Lua console for a process; runs standard input as a script when it is not a terminal
    Console(Console),
    /// Give an existing item a slot in a process, whomever it was addressed to
    Assign(Assign),
    /// Show the result of a message or slot
    Result(ResultOf),
    /// Page through a log as clients of today's ao scheduler units see it
    Messages(Messages),
    /// Page through the results of messages and crons
    Results(Box<Results>),
    /// See what a message would do, without sending it
    DryRun(Box<DryRun>),
    /// Show the state after any slot: its root, the memory itself, or what a Lua program keeps
    State(State),
    /// Show the node's status
    Status,
    /// List the processes the node works for
    Processes,
    /// List the messages that wait for a slot: this node's own, and those that it holds for others
    Pending {
        /// Only messages to this process
        #[arg(allow_hyphen_values = true)]
        process: Option<Id>,
    },
    /// List connected peers
    Peers,
    /// List the peers that serve a process, and how far each is
    Providers {
        /// The process
        #[arg(allow_hyphen_values = true)]
        process: Id,
    },
    /// See who offers to carry messages, at what price, and who carries which push
    Market {
        #[command(subcommand)]
        command: Option<MarketCommand>,
    },
    /// Diagnose the node's connections
    #[command(subcommand)]
    Net(NetCommand),
    /// Create a network, or join one from its file
    #[command(subcommand)]
    Network(NetworkCommand),
    /// Follow a process of another node, and compute it or carry its messages
    Host(Host),
    /// Stop hosting a process of another node; its log and state stay on disk unless --forget drops them
    Unhost(Unhost),
    #[command(flatten)]
    Carry(CarryCommand),
    /// Run the crons of a process while this node is up, even if nobody sends it anything
    Cron(Cron),
    /// Keep a process in memory and on disk when others have to go
    Pin(Pin),
    /// Show slots and outcomes as they arrive, each verified
    Watch(Watch),
    /// Replay a process from slot 0 and compare every outcome that is stored or attested
    Verify(Verify),
    /// Look into a process or any item the node holds
    Inspect(Inspect),
    /// Read a checkpoint of an ao compute unit, and compare it with a replay
    ///
    /// Today's ao compute units post whole memories, gzipped. Such a checkpoint proves nothing by itself: whoever signs
    /// it can put any memory into it, so no node ever starts from one. A replay on this node shows whether it is
    /// the memory that the log leads to. Some modules of the older formats keep things that differ from unit to unit,
    /// such as the name of the program that runs them: their memories differ although their results are equal.
    Checkpoint(Checkpoint),
    /// Watch the node, its queues and its processes live
    Top(TopArgs),
    /// Print all metrics in the format of Prometheus
    Metrics,
    /// Show the embedded weave and the batches on it
    Weave,
    /// Show what is being anchored, what it costs and what is holding it up, or anchor it now
    Anchor {
        #[command(subcommand)]
        command: Option<AnchorCommand>,
    },
    /// Copy everything the node holds into a new folder, while it runs
    Backup {
        /// The folder to make
        folder: PathBuf,
        /// Copy the node's key too: whoever has it is the node
        #[arg(long)]
        with_key: bool,
    },
    /// Restore a backup into a data folder that has no store yet
    Restore {
        /// The folder that `weft backup` made
        folder: PathBuf,
    },
    /// Write a process to a file that proves itself
    Export(Export),
    /// Import a process from a file that `weft export` wrote; every signature and link is checked
    Import {
        /// The file that `weft export` wrote
        file: PathBuf,
    },
    /// Restore a process, or every process of a key, from gateways; every signature and link is checked
    Recover(Recover),
    /// Drop old results that are final and covered by a checkpoint
    Prune(Prune),
    /// Stop the node
    Stop,
    /// Repair the damaged store of a stopped node; peers give back what is lost
    Repair(Repair),
    /// Show or check the configuration
    Config {
        #[command(subcommand)]
        command: Option<ConfigCommand>,
    },
    /// Print the completion script for a shell
    Completions {
        /// The shell
        shell: Shell,
    },
    /// Print the manual page, for `man -l -`
    Man,
    /// Check or make a data item, without a node
    #[command(subcommand)]
    Item(ItemCommand),
    /// Check a bundle of data items, without a node
    #[command(subcommand)]
    Bundle(BundleCommand),
    /// Check an Arweave transaction, without a node
    #[command(subcommand)]
    Tx(TxCommand),
    /// Run a module alone, without a node
    Eval(Eval),
}

#[derive(Debug, Subcommand)]
pub(crate) enum KeyCommand {
    /// Show address, public key and peer id
    Show {
        /// Also print the secret, as a JSON Web Key
        #[arg(long)]
        secret: bool,
    },
    /// Make a new ed25519 key; an existing one is never overwritten
    New,
    /// Import an ed25519 key from its 32-byte seed
    ImportSeed {
        /// The file with the seed in hex, base64url or raw; `-` reads standard input
        file: PathBuf,
    },
    /// Import a key file: an Arweave wallet (RSA 4096) or an ed25519 JSON Web Key
    ImportJwk {
        /// The file; `-` reads standard input
        file: PathBuf,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum ModuleCommand {
    /// Sign a WebAssembly file as a module and give it to the node
    Add {
        /// The .wasm file
        file: PathBuf,
        /// The Module-Format, such as wasm64-unknown-emscripten-draft_2024_02_15
        #[arg(long)]
        format: String,
        /// Memory limit of its processes, such as 500-mb
        #[arg(long, default_value = "1-gb", value_name = "SIZE")]
        memory_limit: String,
        /// Gas limit of one message
        #[arg(long, default_value = "9000000000000", value_name = "GAS")]
        compute_limit: String,
        #[command(flatten)]
        tags: Tags,
    },
    /// List the modules the node holds
    List,
}

/// Tags of the user's choice.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct Tags {
    /// A tag; may repeat, and the order is kept
    #[arg(long = "tag", value_name = "NAME=VALUE", value_parser = parse_tag, allow_hyphen_values = true)]
    pub(crate) tags: Vec<Tag>,
}

/// The data of an item.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct Data {
    /// The data: text, @FILE for a file's content, @- for standard input
    #[arg(long, value_name = "TEXT|@FILE", allow_hyphen_values = true)]
    pub(crate) data: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Spawn {
    /// The module to run: an id, or `lua` or `ledger`, which come with the program
    #[arg(long, value_name = "ID|NAME", default_value = "lua", value_parser = parse_module, allow_hyphen_values = true)]
    pub(crate) module: Id,
    /// The scheduler of the process [default: this node]
    #[arg(long, value_name = "ADDRESS", allow_hyphen_values = true)]
    pub(crate) scheduler: Option<Address>,
    /// A node that attests results; may repeat
    #[arg(long, value_name = "ADDRESS", allow_hyphen_values = true)]
    pub(crate) compute: Vec<Address>,
    /// How many of them must agree [default: more than half]
    #[arg(long, value_name = "NUMBER", requires = "compute")]
    pub(crate) quorum: Option<usize>,
    /// The process's name
    #[arg(long, allow_hyphen_values = true)]
    pub(crate) name: Option<String>,
    #[command(flatten)]
    pub(crate) data: Data,
    #[command(flatten)]
    pub(crate) tags: Tags,
}

#[derive(Debug, Args)]
pub(crate) struct Send {
    /// The process
    #[arg(allow_hyphen_values = true)]
    pub(crate) process: Id,
    /// The action: what the process is asked to do
    #[arg(long, allow_hyphen_values = true)]
    pub(crate) action: Option<String>,
    /// 32 characters that make the item unique; the same item sent twice is one message [default: random]
    #[arg(long, value_name = "TEXT", value_parser = parse_anchor, allow_hyphen_values = true)]
    pub(crate) anchor: Option<[u8; 32]>,
    /// Publish on the process's topic instead of asking its scheduler, for when that refuses
    #[arg(long)]
    pub(crate) topic: bool,
    #[command(flatten)]
    pub(crate) data: Data,
    #[command(flatten)]
    pub(crate) tags: Tags,
    #[command(flatten)]
    pub(crate) wait: Wait,
}

#[derive(Debug, Args)]
pub(crate) struct Assign {
    /// The process
    #[arg(allow_hyphen_values = true)]
    pub(crate) process: Id,
    /// The item; the scheduler asks around if this node does not hold it
    #[arg(allow_hyphen_values = true)]
    pub(crate) item: Id,
    /// ITEM is a base-layer transaction of the weave, which the scheduler reads from its gateways
    #[arg(long)]
    pub(crate) base_layer: bool,
    /// A part of the item to hide from the process: Data, Tags, Signature or Anchor; may repeat
    #[arg(long, value_name = "FIELD", value_parser = parse_excluded)]
    pub(crate) exclude: Vec<Excluded>,
    #[command(flatten)]
    pub(crate) wait: Wait,
}

/// Whether to wait for a result.
#[derive(Debug, Clone, Args)]
pub(crate) struct Wait {
    /// Wait for the result
    #[arg(long)]
    pub(crate) wait: bool,
    /// How long to wait, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    #[arg(value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub(crate) timeout: u64,
}

#[derive(Debug, Args)]
pub(crate) struct ResultOf {
    /// The process
    #[arg(allow_hyphen_values = true)]
    pub(crate) process: Id,
    /// The id of the message
    #[arg(conflicts_with = "slot", allow_hyphen_values = true)]
    pub(crate) item: Option<Id>,
    /// The slot to look up, instead of a message
    #[arg(long, value_name = "NUMBER")]
    pub(crate) slot: Option<u64>,
    /// The latest result, after running any crons that are due
    #[arg(long, conflicts_with_all = ["item", "slot"])]
    pub(crate) now: bool,
    #[command(flatten)]
    pub(crate) wait: Wait,
}

#[derive(Debug, Args)]
pub(crate) struct Watch {
    /// The process
    #[arg(allow_hyphen_values = true)]
    pub(crate) process: Id,
    /// Start at this slot [default: the next one]
    #[arg(long, value_name = "SLOT")]
    pub(crate) from: Option<u64>,
}

#[derive(Debug, Args)]
pub(crate) struct Inspect {
    /// A process or an item
    #[arg(allow_hyphen_values = true)]
    pub(crate) id: Id,
    /// Also list these slots, such as 0..20 (the end is left out), 5.. or 7
    #[arg(long, value_name = "A..B", value_parser = parse_slots)]
    pub(crate) slots: Option<(u64, u32)>,
    /// Also hash the process's memory, which takes longer the larger it is
    #[arg(long)]
    pub(crate) state_root: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ConfigCommand {
    /// Show every value and where it comes from
    Show(Box<ConfigFlags>),
    /// Only say whether the configuration is valid
    Check(Box<ConfigFlags>),
}

#[derive(Debug, Subcommand)]
pub(crate) enum ItemCommand {
    /// Check an ANS-104 data item: exit 0 valid, 1 invalid, 2 unreadable
    Verify {
        /// The item, raw or base64; `-` reads standard input
        file: PathBuf,
    },
    /// Make and sign a data item and write its raw bytes
    Sign {
        /// The key file [default: the node's key]
        #[arg(long, value_name = "FILE")]
        key: Option<PathBuf>,
        /// Whom it is addressed to
        #[arg(long, value_name = "ID", allow_hyphen_values = true)]
        target: Option<Id>,
        /// The anchor, 32 characters
        #[arg(long, value_name = "TEXT", value_parser = parse_anchor, allow_hyphen_values = true)]
        anchor: Option<[u8; 32]>,
        /// Where to write it [default: standard output]
        #[arg(long, short, value_name = "FILE")]
        output: Option<PathBuf>,
        #[command(flatten)]
        data: Data,
        #[command(flatten)]
        tags: Tags,
    },
}

/// What is wrong with a word, beside which clap shows the word and its place.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Wrong(String);

impl Wrong {
    pub(crate) fn new(text: &str) -> Self {
        Self(text.to_owned())
    }
}

fn parse_module(text: &str) -> Result<Id, Wrong> {
    let named = || {
        builtin::id_of(text).ok_or_else(|| Wrong("expected the id of a module, or `lua` or `ledger`".into()))
    };
    text.parse().or_else(|_| named())
}

fn parse_tag(text: &str) -> Result<Tag, Wrong> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() && !value.is_empty() => Ok(Tag::new(name, value)),
        Some(_) => Err(Wrong("a tag needs a name and a value: NAME=VALUE".into())),
        None => Err(Wrong("expected NAME=VALUE".into())),
    }
}

fn parse_excluded(text: &str) -> Result<Excluded, Wrong> {
    Excluded::parse(text).ok_or_else(|| Wrong("expected Data, Tags, Signature or Anchor".into()))
}

fn parse_anchor(text: &str) -> Result<[u8; 32], Wrong> {
    text.as_bytes().try_into().map_err(|_| Wrong(format!("it has {} bytes; expected exactly 32", text.len())))
}

/// At most so many slots are listed at once; the node gives no more.
const SLOTS_MAX: u32 = 1000;

/// `A..B`, `A..` or `A`: the first slot and how many.
fn parse_slots(text: &str) -> Result<(u64, u32), Wrong> {
    let expected = || Wrong(format!("expected A..B with B after A and at most {SLOTS_MAX} slots, A.. or A"));
    let number = |part: &str| part.parse::<u64>().map_err(|_| expected());
    let Some((from, to)) = text.split_once("..") else { return Ok((number(text)?, 1)) };
    let from = number(from)?;
    if to.is_empty() {
        return Ok((from, SLOTS_MAX));
    }
    let count = number(to)?.checked_sub(from).and_then(|count| u32::try_from(count).ok());
    count.filter(|count| (1..=SLOTS_MAX).contains(count)).map(|count| (from, count)).ok_or_else(expected)
}

#[cfg(test)]
mod tests;
