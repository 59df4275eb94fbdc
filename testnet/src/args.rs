//! What can be typed.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};

use crate::netns::Link;
use crate::plan::RolesOf;
use crate::scenario::{NotSpan, Span};
use crate::topology::Topology;

/// Exit codes as `--help` shows them.
const EXITS: &str = "Exit codes:
    0  the testnet came up, and everything was as expected
    1  something was not as expected
    2  bad arguments, a taken port, or a folder or module file that cannot be used
    3  a node did not come up, or died
   77  skipped: this machine cannot do what the scenario needs; the reason is printed
  130  stopped by a signal before the end";

/// Starts real Weft nodes on this machine and shows what they do.
///
/// Without a command, it does `up`.
#[derive(Debug, Parser)]
#[command(name = "weft-testnet", bin_name = "weft-testnet", version, after_help = EXITS)]
#[command(args_conflicts_with_subcommands = true, max_term_width = 100)]
pub(crate) struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    up: Up,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Start nodes, wait until they are connected, run the tour, and stay until ctrl-c
    Up(Up),
    /// Kill nodes at random under load, and check that no promise is broken
    Crash(Crash),
    /// Measure how long messages take: one at a time through four nodes, or at a rate (--rate)
    Bench(Bench),
    /// Play a scenario, built in or from a file; without a name, list the built-in ones
    Run(Run),
    /// Compare the reports of two runs of a scenario
    Compare(Compare),
    /// Show every node of the testnet that runs in another terminal
    Status(Which),
    /// Show the end of the log of one node, or of all
    Logs(Logs),
    /// Run a command of weft on one node, such as: exec 3 processes
    Exec(Exec),
    /// End the testnet that runs in another terminal, and remove what killed launchers left
    Down(Down),
}

impl Command {
    /// Whether a script reads what is said.
    pub(crate) const fn json(&self) -> bool {
        match self {
            Self::Up(up) => up.json,
            Self::Crash(crash) => crash.json,
            Self::Bench(bench) => bench.json,
            Self::Run(run) => run.json,
            Self::Compare(compare) => compare.json,
            Self::Status(which) => which.json,
            Self::Logs(logs) => logs.which.json,
            Self::Exec(exec) => exec.which.json,
            Self::Down(down) => down.which.json,
        }
    }
}

/// Flags of `run`.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub(crate) struct Run {
    /// Its name, or its file
    #[arg(value_name = "SCENARIO")]
    pub(crate) scenario: Option<String>,
    /// The seed of chance [default: the scenario's]
    #[arg(long, value_name = "NUMBER")]
    pub(crate) seed: Option<u64>,
    /// How long its churn takes, or else its longest wait, such as 30s or 10m
    #[arg(long = "for", value_name = "TIME", value_parser = span)]
    pub(crate) span: Option<Duration>,
    /// Where to write the report [default: NAME.report.json, or nowhere with --json]
    #[arg(long, value_name = "FILE")]
    pub(crate) out: Option<PathBuf>,
    /// The folder of the nodes, which is kept [default: a fresh one, removed at the end]
    #[arg(long, value_name = "FOLDER")]
    pub(crate) dir: Option<PathBuf>,
    /// Keep the folder with the nodes' logs and data even if everything went well
    #[arg(long)]
    pub(crate) keep_logs: bool,
    /// Start more nodes than this machine's cores are expected to carry
    #[arg(long)]
    pub(crate) crowded: bool,
    /// Print one JSON report
    #[arg(long)]
    pub(crate) json: bool,
}

fn span(text: &str) -> Result<Duration, NotSpan> {
    Span::try_from(text.to_owned()).map(|span| span.0)
}

/// Flags of `compare`.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub(crate) struct Compare {
    /// The report of the first run
    pub(crate) a: PathBuf,
    /// The report of the second
    pub(crate) b: PathBuf,
    /// Print one JSON report
    #[arg(long)]
    pub(crate) json: bool,
}

/// Which testnet.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub(crate) struct Which {
    /// The folder of the nodes, if more than one testnet is up
    #[arg(long, value_name = "FOLDER")]
    pub(crate) dir: Option<PathBuf>,
    /// Print one JSON report
    #[arg(long)]
    pub(crate) json: bool,
}

/// Flags of `logs`.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub(crate) struct Logs {
    #[command(flatten)]
    pub(crate) which: Which,
    /// Which node [default: all]
    #[arg(value_name = "PEER")]
    pub(crate) peer: Option<usize>,
    /// How many lines of each log, 1 to 10000
    #[arg(long, value_name = "NUMBER", default_value_t = 20, value_parser = count)]
    pub(crate) lines: usize,
}

/// Flags of `exec`.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub(crate) struct Exec {
    #[command(flatten)]
    pub(crate) which: Which,
    /// Which node
    #[arg(value_name = "PEER")]
    pub(crate) peer: usize,
    /// The command of weft, with its arguments
    #[arg(value_name = "COMMAND", required = true, trailing_var_arg = true, allow_hyphen_values = true)]
    pub(crate) args: Vec<OsString>,
}

/// Flags of `down`.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub(crate) struct Down {
    #[command(flatten)]
    pub(crate) which: Which,
}

/// Flags of `bench`.
#[derive(Debug, Clone, PartialEq, Args)]
pub(crate) struct Bench {
    /// Messages of each kind, and of each client, 1 to 10000
    #[arg(long, value_name = "NUMBER", default_value_t = 200, value_parser = count)]
    pub(crate) messages: usize,
    /// Clients at once when the rate is measured, 1 to 56
    #[arg(long, value_name = "NUMBER", default_value_t = 48, value_parser = clients)]
    pub(crate) clients: usize,
    /// Messages per second, sent when due whether or not earlier ones are done, instead of measuring latency and the highest rate
    #[arg(long, value_name = "NUMBER", value_parser = rate)]
    pub(crate) rate: Option<f64>,
    /// For how long they arrive, such as 10s
    #[arg(long = "for", value_name = "TIME", default_value = "10s", value_parser = span, requires = "rate")]
    pub(crate) span: Duration,
    /// How many processes they are for, 1 to 1000
    #[arg(long, value_name = "NUMBER", default_value_t = 2, value_parser = processes, requires = "rate")]
    pub(crate) processes: usize,
    /// Percentage of messages that make a process send to another
    #[arg(long, value_name = "PERCENT", default_value_t = 20, value_parser = clap::value_parser!(u8).range(0..=100), requires = "rate")]
    pub(crate) pushes: u8,
    /// Bytes of data in each message, up to 1000000
    #[arg(long, value_name = "NUMBER", default_value_t = 0, value_parser = bytes, requires = "rate")]
    pub(crate) bytes: usize,
    /// The seed from which arrivals are drawn
    #[arg(long, value_name = "NUMBER", default_value_t = 1, requires = "rate")]
    pub(crate) seed: u64,
    /// Nodes of a fresh testnet, 2 to 64
    #[arg(long, value_name = "NUMBER", default_value_t = 4, requires = "rate", conflicts_with_all = ["attach", "data_dir"])]
    pub(crate) peers: usize,
    /// Start more nodes than this machine's cores are expected to carry
    #[arg(long, requires = "rate")]
    pub(crate) crowded: bool,
    /// Load the testnet that runs in another terminal, instead of a fresh one
    #[arg(long, requires = "rate")]
    pub(crate) attach: bool,
    /// Load the node of this data folder, instead of a fresh testnet; may repeat
    #[arg(long, value_name = "FOLDER", requires = "rate", conflicts_with = "attach")]
    pub(crate) data_dir: Vec<PathBuf>,
    /// Plot the latencies into this SVG file
    #[arg(long, value_name = "FILE", requires = "rate")]
    pub(crate) svg: Option<PathBuf>,
    /// The folder of the nodes, which is kept [default: a fresh one, removed at the end]; with --attach, that of the
    /// testnet to load
    #[arg(long, value_name = "FOLDER")]
    pub(crate) dir: Option<PathBuf>,
    /// Print one JSON report
    #[arg(long)]
    pub(crate) json: bool,
}

/// The most messages of a bench: their items are signed before the clock runs.
const COUNT_MAX: usize = 10_000;

/// The most clients of a bench: a node serves 64, and the bench looks on over some of them.
const CLIENTS_MAX: usize = 56;

/// Messages a second at most: a node takes some thousands.
const RATE_MAX: f64 = 100_000.0;

/// Processes of a bench at most.
const PROCESSES_MAX: usize = 1_000;

/// Bytes of a message's data at most.
const BYTES_MAX: usize = 1_000_000;

fn rate(text: &str) -> Result<f64, String> {
    let number = text.parse().ok().filter(|rate| (0.1..=RATE_MAX).contains(rate));
    number.ok_or_else(|| format!("expected 0.1 to {RATE_MAX}"))
}

fn processes(text: &str) -> Result<usize, String> {
    up_to(PROCESSES_MAX, text)
}

fn bytes(text: &str) -> Result<usize, String> {
    let number = text.parse().ok().filter(|bytes| *bytes <= BYTES_MAX);
    number.ok_or_else(|| format!("expected 0 to {BYTES_MAX}"))
}

#[cfg(test)]
impl Bench {
    /// As nobody has asked for anything.
    pub(crate) fn for_tests() -> Self {
        let parsed = Cli::try_parse_from(["weft-testnet", "bench"]).map(Cli::command);
        match parsed {
            Ok(Command::Bench(bench)) => bench,
            other => unreachable!("{other:?}"),
        }
    }
}

fn clients(text: &str) -> Result<usize, String> {
    up_to(CLIENTS_MAX, text)
}

fn count(text: &str) -> Result<usize, String> {
    up_to(COUNT_MAX, text)
}

/// Flags of `crash`.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub(crate) struct Crash {
    /// How many kills, 1 to 1000
    #[arg(long, value_name = "NUMBER", default_value_t = 50, value_parser = kills)]
    pub(crate) kills: usize,
    /// The seed from which the kills are drawn [default: a new one each time]
    #[arg(long, value_name = "NUMBER")]
    pub(crate) seed: Option<u64>,
    /// The folder of the nodes, which is kept [default: a fresh one, removed at the end]
    #[arg(long, value_name = "FOLDER")]
    pub(crate) dir: Option<PathBuf>,
    /// The port of the first node; the others follow [default: free ports]
    #[arg(long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) base_port: Option<u16>,
    /// Print one JSON report
    #[arg(long)]
    pub(crate) json: bool,
    /// Keep the folder with the nodes' logs and data even if everything went well
    #[arg(long)]
    pub(crate) keep_logs: bool,
}

/// The most kills of one run: its logs are looked at whole.
const KILLS_MAX: usize = 1_000;

fn kills(text: &str) -> Result<usize, String> {
    up_to(KILLS_MAX, text)
}

/// A number from 1 to `max`.
fn up_to(max: usize, text: &str) -> Result<usize, String> {
    let number = text.parse().ok().filter(|number| (1..=max).contains(number));
    number.ok_or_else(|| format!("expected 1 to {max}"))
}

/// Flags of `up`.
#[derive(Debug, Clone, PartialEq, Args)]
pub(crate) struct Up {
    /// How many nodes, 2 to 64
    #[arg(long, value_name = "NUMBER", default_value_t = PEERS)]
    pub(crate) peers: usize,
    /// Who is told of whom at the start
    #[arg(long, value_enum, value_name = "SHAPE", default_value_t)]
    pub(crate) topology: Topology,
    /// The seed from which a random topology is drawn
    #[arg(long, value_name = "NUMBER", default_value_t = 0)]
    pub(crate) seed: u64,
    /// Roles of some nodes, such as 4-7=compute,messenger; may repeat
    #[arg(long, value_name = "PEERS=ROLES")]
    pub(crate) roles: Vec<RolesOf>,
    /// Start more nodes than this machine's cores are expected to carry
    #[arg(long)]
    pub(crate) crowded: bool,
    #[command(flatten)]
    pub(crate) wires: Wires,
    /// Have all nodes post their batches to one weave, that of node 0, as they would to Arweave
    #[arg(long, conflicts_with = "netns")]
    pub(crate) shared_weave: bool,
    /// End after the tour
    #[arg(long)]
    pub(crate) once: bool,
    /// The folder of the nodes, which is kept [default: a fresh one, removed at the end]
    #[arg(long, value_name = "FOLDER")]
    pub(crate) dir: Option<PathBuf>,
    /// The port of the first node; the others follow [default: free ports]
    #[arg(long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) base_port: Option<u16>,
    /// Print one JSON report instead of the tour
    #[arg(long)]
    pub(crate) json: bool,
    /// Keep the folder with the nodes' logs and data even if everything went well
    #[arg(long)]
    pub(crate) keep_logs: bool,
    /// An aos module to include in the tour [default: that of tests/interop, if installed]
    #[arg(long, value_name = "FILE")]
    pub(crate) aos: Option<PathBuf>,
    /// Only start the nodes, without a tour
    #[arg(long, conflicts_with = "aos")]
    pub(crate) no_tour: bool,
}

/// Nodes without a command or a number: enough for a mesh that is not full.
const PEERS: usize = 16;

/// Namespaces, and how good their wires are.
#[derive(Debug, Clone, Copy, PartialEq, Args)]
pub(crate) struct Wires {
    /// Give each node a network namespace and an address of its own (Linux, as root)
    #[arg(long, conflicts_with = "base_port")]
    pub(crate) netns: bool,
    /// Delay of a packet from a node to the hub in the middle, in milliseconds
    #[arg(long, value_name = "MS", default_value_t = 0, requires = "netns")]
    delay: u32,
    /// Random variation of that delay, in milliseconds
    #[arg(long, value_name = "MS", default_value_t = 0, requires = "netns")]
    jitter: u32,
    /// Percentage of packets that are lost
    #[arg(long, value_name = "PERCENT", default_value_t = 0.0, requires = "netns", value_parser = percent)]
    loss: f64,
    /// Megabits per second that a node can send; 0 for no limit
    #[arg(long, value_name = "MBIT", default_value_t = 0, requires = "netns")]
    rate: u32,
}

impl Wires {
    pub(crate) const fn link(&self) -> Link {
        let Self { delay: delay_ms, jitter: jitter_ms, loss: loss_percent, rate: rate_mbit, .. } = *self;
        Link { delay_ms, jitter_ms, loss_percent, rate_mbit }
    }
}

fn percent(text: &str) -> Result<f64, String> {
    let number = text.parse().ok().filter(|number| (0.0..=100.0).contains(number));
    number.ok_or_else(|| "expected 0 to 100".to_owned())
}

impl Cli {
    /// What is to be done, with its flags wherever they stood.
    pub(crate) fn command(self) -> Command {
        self.command.unwrap_or(Command::Up(self.up))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]

    use super::*;

    fn command(line: &str) -> Result<Command, String> {
        let words = line.split_whitespace();
        Cli::try_parse_from(words).map(Cli::command).map_err(|error| error.to_string())
    }

    fn parse(line: &str) -> Result<Up, String> {
        match command(line)? {
            Command::Up(up) => Ok(up),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_crash_run_has_fifty_kills_unless_told() {
        let crash = |line: &str| match command(line).unwrap() {
            Command::Crash(crash) => crash,
            other => panic!("{other:?}"),
        };
        let plain = crash("weft-testnet crash");
        assert!(plain.kills == 50 && plain.seed.is_none() && !plain.json);
        let told = crash("weft-testnet crash --kills 8 --seed 3 --json");
        assert!(told.kills == 8 && told.seed == Some(3) && told.json);
    }

    #[test]
    fn the_command_may_be_left_out() {
        let plain = parse("weft-testnet").unwrap();
        assert!(plain.peers == 16 && !plain.once && !plain.json && plain.base_port.is_none());
        assert_eq!(parse("weft-testnet up").unwrap(), plain);
        let flags = "--once --peers 9 --json --base-port 4000 --keep-logs --dir /tmp/x";
        let up = parse(&format!("weft-testnet {flags}")).unwrap();
        assert_eq!(parse(&format!("weft-testnet up {flags}")).unwrap(), up);
        assert_eq!((up.peers, up.base_port), (9, Some(4000)));
    }

    #[test]
    fn what_is_for_weft_is_handed_on_as_it_is() {
        let Command::Exec(exec) = command("weft-testnet exec 3 result --now P --json").unwrap() else {
            panic!("no exec")
        };
        assert!(exec.peer == 3 && !exec.which.json);
        assert_eq!(exec.args, ["result", "--now", "P", "--json"]);
    }

    #[test]
    fn what_makes_no_sense_is_named() {
        for (line, named) in [
            ("weft-testnet --peers four", "--peers"),
            ("weft-testnet --base-port 0", "--base-port"),
            ("weft-testnet --base-port 70000", "--base-port"),
            ("weft-testnet dwon", "dwon"),
            ("weft-testnet --topology circle", "--topology"),
            ("weft-testnet --roles 0=cook", "expected PEER=ROLES"),
            ("weft-testnet --delay 5", "--netns"),
            ("weft-testnet --netns --base-port 4000", "--base-port"),
            ("weft-testnet --netns --shared-weave", "--shared-weave"),
            ("weft-testnet --netns --loss 101", "expected 0 to 100"),
            ("weft-testnet exec 3", "COMMAND"),
            ("weft-testnet logs --lines 0", "expected 1 to 10000"),
            ("weft-testnet --once up", "up"),
            ("weft-testnet --no-tour --aos x", "--aos"),
            ("weft-testnet crash --kills 0", "expected 1 to 1000"),
            ("weft-testnet crash --kills 1001", "expected 1 to 1000"),
            ("weft-testnet crash --seed x", "--seed"),
            ("weft-testnet crash --peers 3", "--peers"),
            ("weft-testnet bench --messages 0", "expected 1 to 10000"),
            ("weft-testnet bench --clients many", "expected 1 to 56"),
            ("weft-testnet bench --rate 0", "expected 0.1 to 100000"),
            ("weft-testnet bench --rate 5 --attach --peers 3", "--attach"),
            ("weft-testnet bench --svg x.svg", "--rate"),
            ("weft-testnet bench --rate 5 --pushes 101", "--pushes"),
        ] {
            let error = command(line).unwrap_err();
            assert!(error.contains(named), "{line}: {error}");
        }
    }
}
