//! `weft up`: runs a node in the foreground until it is told to stop.

use std::io::{IsTerminal as _, Write as _};

use clap::Args;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing_subscriber::EnvFilter;

use super::Context;
use super::args::ConfigFlags;
use super::exit::{CliError, Exit};
use crate::config::{Config, LogFormat, Resolved};
use crate::{NodeError, Ready, keyring};

/// How to run a node: the configuration's flags and how it ends.
#[derive(Debug, Args)]
pub(crate) struct Up {
    #[command(flatten)]
    config: ConfigFlags,
    /// Stop when standard input ends: a launcher that dies takes its nodes with it
    #[arg(long)]
    exit_with_stdin: bool,
}

/// Runs the node.
pub(crate) fn run(up: &Up, context: &Context) -> Result<Exit, CliError> {
    let had_backtrace = forget_backtrace();
    let mut inputs = context.inputs();
    inputs.flags = up.config.by_key();
    let Resolved { config, warnings, .. } = Resolved::load(&inputs)?;
    keyring::make_data_dir(&config.data_dir)?;
    let key = keyring::load_or_create(&config.data_dir)?;
    start_log(&config)?;
    for warning in warnings {
        tracing::warn!("{warning}");
    }
    if had_backtrace {
        tracing::info!(
            "RUST_BACKTRACE is not used: with it every error inside a guest costs ten times as much"
        );
    }
    let fault = |error: std::io::Error| CliError::fault(format!("cannot start: {error}"));
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(fault)?;
    let json = context.global.json;
    let result = runtime.block_on(async {
        let stop = CancellationToken::new();
        let watch = stop_on_signals(&stop, up.exit_with_stdin)?;
        let result = crate::run(config, key, stop.clone(), |ready| say_ready(ready, json)).await;
        stop.cancel();
        watch.abort();
        Ok::<_, std::io::Error>(result)
    });
    // A blocking read of standard input may still be under way; it holds nothing.
    runtime.shutdown_background();
    match result.map_err(fault)? {
        Ok(()) => Ok(Exit::Ok),
        Err(error) => Err(start_error(&error)),
    }
}

fn start_error(error: &NodeError) -> CliError {
    match error {
        NodeError::Store(_) | NodeError::Weave(_) | NodeError::Engine(_) | NodeError::DamagedLog { .. } => {
            CliError::fault(error.to_string())
        }
        _ => CliError::input(error.to_string()),
    }
}

/// Takes RUST_BACKTRACE out of the environment: wasmtime captures a native backtrace for every
/// error, and guests throw one to three a message.
fn forget_backtrace() -> bool {
    let names = ["RUST_BACKTRACE", "RUST_LIB_BACKTRACE"];
    let had = names.iter().any(|name| std::env::var_os(name).is_some());
    // SAFETY: this runs first in the command, before any thread is started that could read the
    // environment at the same time.
    #[allow(unsafe_code)]
    unsafe {
        std::env::remove_var("RUST_BACKTRACE");
        std::env::set_var("RUST_LIB_BACKTRACE", "0");
    }
    had
}

fn start_log(config: &Config) -> Result<(), CliError> {
    let filter = EnvFilter::try_new(&config.log)
        .map_err(|error| CliError::input(format!("the log filter `{}`: {error}", config.log)))?;
    let colour = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let builder =
        tracing_subscriber::fmt().with_env_filter(filter).with_ansi(colour).with_writer(std::io::stderr);
    let started = match config.log_format {
        LogFormat::Text => builder.try_init(),
        LogFormat::Json => builder.json().try_init(),
    };
    started.map_err(|error| CliError::fault(format!("the log cannot be started: {error}")))
}

/// Stops the node at the first SIGINT or SIGTERM, and when standard input ends if that is asked.
fn stop_on_signals(
    stop: &CancellationToken,
    with_stdin: bool,
) -> std::io::Result<tokio::task::JoinHandle<()>> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let stop = stop.clone();
    Ok(tokio::spawn(async move {
        let stdin = async {
            if with_stdin {
                // Whatever comes is thrown away; an error ends it as its end does.
                let _ = tokio::io::copy(&mut tokio::io::stdin(), &mut tokio::io::sink()).await;
            } else {
                std::future::pending::<()>().await;
            }
        };
        tokio::select! {
            _ = interrupt.recv() => tracing::info!("interrupted; stopping"),
            _ = terminate.recv() => tracing::info!("told to stop"),
            () = stdin => tracing::info!("standard input ended; stopping"),
        }
        stop.cancel();
    }))
}

/// One line when the node listens: JSON for a launcher, text for a person.
fn say_ready(ready: &Ready, json: bool) {
    let mut out = std::io::stdout().lock();
    let line = if json {
        serde_json::to_string(ready).unwrap_or_default()
    } else {
        format!(
            "node {} is up\n  peer      {}\n  listening {}\n  network   {} (rules 0: networks and stores are throw-away)\n  \
             roles     {}\n  weave     {}: batches are stored here and leave this machine in nobody's hands",
            ready.address,
            ready.peer_id,
            ready.listen.join("\n            "),
            ready.network,
            ready.roles.join(", "),
            ready.weave,
        )
    };
    // A launcher that closed its end does not want to know.
    let _ = writeln!(out, "{line}").and_then(|()| out.flush());
}
