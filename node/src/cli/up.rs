//! `weft up`: runs a node in the foreground until it is told to stop.

use std::io::IsTerminal as _;
use std::path::Path;
use std::time::Duration;

use clap::Args;
use serde_json::json;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use weft_protocol::Network;
use weft_storage::StoreError;
use weft_vm::Compiler;

use super::args::ConfigFlags;
use super::exit::{CliError, Exit};
use super::network::called;
use super::quiet::Quiet;
use super::screen::{Screen, pairs};
use super::{Context, configure};
use crate::config::{Config, LogFormat, RULES, Resolved, Source};
use crate::{NodeError, Ready, backup, keyring};

/// How to run a node: the configuration's flags and how it ends.
#[derive(Debug, Args)]
pub(crate) struct Up {
    #[command(flatten)]
    config: ConfigFlags,
    /// Stop when standard input ends, so that a launcher that dies takes its nodes with it
    #[arg(long)]
    exit_with_stdin: bool,
}

/// Signals that come so soon after each other are one wish: `timeout` and shells signal a process, and then its group.
const TOGETHER: Duration = Duration::from_secs(1);

/// What to do about a damaged store.
const REPAIR: &str = "`weft repair`";

/// Variables with which the standard library captures a native backtrace for every error value.
const BACKTRACE_VARIABLES: [&str; 2] = ["RUST_BACKTRACE", "RUST_LIB_BACKTRACE"];

/// Runs the node.
pub(crate) fn run(up: &Up, context: &Context) -> Result<Exit, CliError> {
    let forgotten = forget_backtraces();
    let resolved = configure::resolve(&up.config, context)?;
    let network = (resolved.config.network.clone(), resolved.source("network"));
    let Resolved { mut config, warnings, .. } = resolved;
    let compiler = Compiler::this_program(vec![super::COMPILE.into()]);
    config.compiler = Some(compiler.map_err(|error| CliError::fault(format!("cannot start: {error}")))?);
    keyring::make_data_dir(&config.data_dir)?;
    backup::check_restored(&config.data_dir)?;
    let key = keyring::load_or_create(&config.data_dir)?;
    let store = config.data_dir.join("store.redb");
    start_log(&config)?;
    for warning in warnings {
        tracing::warn!("{warning}");
    }
    for name in forgotten {
        tracing::info!("ignoring {name}: it makes guest errors ten times slower");
    }
    let fault = |error: std::io::Error| CliError::fault(format!("cannot start: {error}"));
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(fault)?;
    let screen = context.screen;
    let result = runtime.block_on(async {
        let stop = CancellationToken::new();
        let watch = tokio::spawn(Signals::listen()?.stop_on_first(stop.clone(), up.exit_with_stdin));
        let result = crate::run(config, key, stop.clone(), |ready| say_ready(ready, screen)).await;
        // A node that could not start has told nobody.
        stop.cancel();
        watch.abort();
        Ok::<_, std::io::Error>(result)
    });
    // A blocking read of standard input may still be under way; it holds nothing.
    runtime.shutdown_background();
    result.map_err(fault)?.map(|()| Exit::Ok).map_err(|error| match error {
        NodeError::Store(StoreError::OtherNetwork { found, .. }) => {
            other_network(found, &store, &network.0, &network.1)
        }
        error => start_error(&error, &store),
    })
}

/// The store knows its network by the id alone; what the operator can change is a name, wherever it stands.
fn other_network(found: Network, store: &Path, name: &str, source: &Source) -> CliError {
    let (store, found) = (store.display(), called(found));
    let folder = "choose another data folder with --data-dir";
    CliError::input(match source {
        Source::Default => format!(
            "{store} belongs to network {found}, but nothing names it any more, and this node would be on {name}: join it \
             again with `weft network join FILE`, name it with --network, or {folder}"
        ),
        source => format!(
            "{store} belongs to network {found}, but this node is set to {name} ({source}): change that, or {folder}"
        ),
    })
}

fn start_error(error: &NodeError, store: &Path) -> CliError {
    let is_damaged = matches!(
        error,
        NodeError::Store(StoreError::Damaged { .. })
            | NodeError::DamagedLog { .. }
            | NodeError::MissingSlot { .. }
    );
    if is_damaged {
        let text = format!("{} is damaged: {error}", store.display());
        return CliError::fault(if text.contains(REPAIR) { text } else { format!("{text}; run {REPAIR}") });
    }
    if matches!(error, NodeError::Store(full) if full.is_full()) {
        let folder = store.parent().unwrap_or(store).display();
        return CliError::fault(format!(
            "the disk of {folder}, or `disk_budget`, is full: {error}; make room or raise it and start the node \
             again: all that it acknowledged is there"
        ));
    }
    let exit = match error {
        NodeError::Store(StoreError::InUse { .. }) => Exit::Busy,
        NodeError::Key(_) | NodeError::SocketPathTooLong { .. } => Exit::Input,
        _ => Exit::Fault,
    };
    CliError::new(exit, error.to_string())
}

/// Takes the backtrace variables out of the environment and says which were there: wasmtime
/// captures a backtrace for every error, and guests throw one to three a message.
pub(super) fn forget_backtraces() -> Vec<&'static str> {
    let set: Vec<_> =
        BACKTRACE_VARIABLES.into_iter().filter(|name| std::env::var_os(name).is_some()).collect();
    for name in &set {
        // SAFETY: this runs first in the command, before any thread is started that could read
        // the environment at the same time.
        unsafe { std::env::remove_var(name) };
    }
    set
}

fn start_log(config: &Config) -> Result<(), CliError> {
    let filter = EnvFilter::try_new(&config.log)
        .map_err(|error| CliError::input(format!("the log filter `{}`: {error}", config.log)))?;
    let colour = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let builder =
        tracing_subscriber::fmt().with_env_filter(filter).with_ansi(colour).with_writer(std::io::stderr);
    let started = match config.log_format {
        LogFormat::Text => builder.finish().with(Quiet).try_init(),
        LogFormat::Json => builder.json().finish().with(Quiet).try_init(),
    };
    started.map_err(|error| CliError::fault(format!("the log cannot be started: {error}")))
}

/// The signals that ask a process to end.
pub(super) struct Signals {
    interrupt: Signal,
    terminate: Signal,
    hang_up: Signal,
}

impl Signals {
    /// Hears them from now on, in place of the system's way.
    pub(super) fn listen() -> std::io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hang_up: signal(SignalKind::hangup())?,
        })
    }

    /// Stops the node at the first signal, and when standard input ends if that is asked. The next
    /// signal that does not come with it ends the process where it stands: no promise is lost by that.
    async fn stop_on_first(mut self, stop: CancellationToken, with_stdin: bool) {
        tokio::select! {
            name = self.next() => tracing::info!("{name}: stopping; a later signal ends the node at once"),
            () = stdin_ended(), if with_stdin => tracing::info!("standard input ended; stopping"),
        }
        stop.cancel();
        let meant = Instant::now() + TOGETHER;
        let name = loop {
            let name = self.next().await;
            if Instant::now() >= meant {
                break name;
            }
        };
        tracing::warn!("{name}: ending at once");
        std::process::exit(Exit::Fault.number().into());
    }

    /// Waits for one that asks for the end of everything, where Ctrl-C ends only what is being done.
    pub(super) async fn ended(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.hang_up.recv() => {}
        }
    }

    /// Waits for the next one, and gives its name.
    pub(super) async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.interrupt.recv() => "SIGINT",
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.hang_up.recv() => "SIGHUP",
        }
    }
}

async fn stdin_ended() {
    // Whatever comes is thrown away; an error ends it as its end does.
    let _ = tokio::io::copy(&mut tokio::io::stdin(), &mut tokio::io::sink()).await;
}

/// One line when the node listens: JSON for a launcher, text for a person; and what leaves this
/// machine (RULES.md 6.14).
fn say_ready(ready: &Ready, screen: Screen) {
    let leaves = leaving(&ready.weave);
    let mut answer = json!(ready);
    if let Some(answer) = answer.as_object_mut() {
        answer.insert("leaves".into(), leaves.into());
    }
    // A launcher that closed its end does not want to know.
    let _ = screen.answer(&answer, || human(ready, leaves));
}

fn human(ready: &Ready, leaves: &str) -> String {
    let own = format!("/p2p/{}", ready.peer_id);
    let dial = |address: &String| {
        if address.ends_with(&own) { address.clone() } else { format!("{address}{own}") }
    };
    let listen: Vec<String> = ready.listen.iter().map(dial).collect();
    let text = pairs(&[
        ("  address", ready.address.to_string()),
        ("  network", format!("{} (rules {RULES})", ready.network)),
        ("  listens", if listen.is_empty() { "nowhere; it only dials".into() } else { listen.join("\n") }),
        ("  roles", ready.roles.join(", ")),
        ("  weave", ready.weave.clone()),
        (
            "  metrics",
            ready.metrics.clone().unwrap_or_else(|| "not served; `weft metrics` prints them".into()),
        ),
        ("  gateway", ready.gateway.clone().unwrap_or_else(|| "not served".into())),
        ("  weave at", ready.weave_api.clone().unwrap_or_else(|| "not served".into())),
        ("  leaves", leaves.into()),
    ]);
    format!("weft {} is up\n{text}", env!("CARGO_PKG_VERSION"))
}

/// What leaves this machine, by the weave that batches go to.
fn leaving(weave: &str) -> &'static str {
    if weave.starts_with("local:") {
        "messages, slots and attestations go to peers; batches are stored here and nowhere else; nothing is \
         written to Arweave"
    } else {
        "messages, slots and attestations go to peers; batches are written to the weave named above"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ready_text_can_be_dialled_and_says_what_leaves() {
        let ready = Ready {
            address: weft_protocol::Address([1; 32]),
            peer_id: "12D3KooWx".into(),
            listen: vec!["/ip4/127.0.0.1/tcp/1".into(), "/ip4/127.0.0.1/tcp/2/p2p/12D3KooWx".into()],
            network: "local".into(),
            roles: vec!["anchor".into()],
            weave: "local:abc".into(),
            socket: "s".into(),
            pid: 1,
            metrics: None,
            gateway: None,
            weave_api: None,
        };
        let text = human(&ready, leaving(&ready.weave));
        assert!(text.contains("/tcp/1/p2p/12D3KooWx\n"), "{text}");
        assert!(text.contains("/tcp/2/p2p/12D3KooWx\n"), "{text}");
        assert!(text.contains("nothing is written to Arweave"), "{text}");
        assert!(!leaving("arweave:https://arweave.net").contains("nowhere else"));
    }

    #[test]
    fn a_store_of_another_network_is_told_by_names_and_where_they_stand() {
        let found = Network::of_name("local");
        let store = Path::new("/data/store.redb");
        let file = Source::File("/data/network.toml".into());
        let error = other_network(found, store, "team-abcd2345", &file);
        assert_eq!(error.exit, Exit::Input);
        assert!(error.text.contains("belongs to network local, "), "{}", error.text);
        assert!(error.text.contains("set to team-abcd2345 (/data/network.toml)"), "{}", error.text);
        let own = Network::of_name("team-abcd2345");
        let error = other_network(own, store, "local", &Source::Default).text;
        assert!(error.contains(&own.to_string()) && error.contains("weft network join FILE"), "{error}");
    }

    #[test]
    fn a_full_disk_says_what_to_do() {
        let full = std::io::Error::from(std::io::ErrorKind::StorageFull);
        let error = StoreError::Disk { during: "committing", source: std::sync::Arc::new(full) };
        let text = start_error(&error.into(), Path::new("/data/store.redb")).text;
        assert!(
            text.starts_with("the disk of /data, or `disk_budget`, is full: storage: the disk failed"),
            "{text}"
        );
        assert!(text.contains("start the node again"), "{text}");
    }
}
