//! Commands for a testnet that another terminal has up: `status`, `logs`, `exec` and `down`.

use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use futures::future::join_all;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde::Serialize;
use weft_node::control::api::{Request, Status};

use crate::args::{Down, Exec, Logs, Which};
use crate::error::TestnetError;
use crate::netns;
use crate::node::{Door, STOP_WAIT};
use crate::run::Exit;
use crate::screen::Screen;
use crate::state::{self, State};
use crate::tail::tail_of;
use crate::wait::{Look, until};

/// How long a node may take to say how it is: one that is paused says nothing.
const STATUS_WAIT: Duration = Duration::from_secs(30);
/// How long a testnet may take to end: each node writes down what it has computed, and one that hangs is killed.
const DOWN_WAIT: Duration = Duration::from_secs(STOP_WAIT.as_secs() + 30);

/// What a testnet is at this moment.
#[derive(Debug, Serialize)]
struct Seen {
    dir: String,
    launcher: u32,
    peers: Vec<PeerSeen>,
}

/// What a node is at this moment.
#[derive(Debug, Serialize)]
struct PeerSeen {
    node: usize,
    /// Why it does not answer, if it does not.
    silent: Option<String>,
    status: Option<Status>,
    /// What it takes of the machine's memory.
    resident_kib: Option<u64>,
}

/// Shows every node of a testnet. Red when one of them does not answer.
///
/// # Errors
/// That there is no such testnet.
pub(crate) async fn status(which: &Which, screen: Screen) -> Result<Exit, TestnetError> {
    let state = state::find(&state::folder(), which.dir.as_deref())?;
    let peers = join_all((0..state.peers.len()).map(|node| look_at(&state, node))).await;
    let rows = peers.iter().map(|peer| {
        let of = |text: fn(&Status) -> String| peer.status.as_ref().map_or_else(|| "-".into(), text);
        [
            peer.node.to_string(),
            peer.silent.clone().map_or_else(|| "up".into(), |why| format!("silent: {why}")),
            of(|status| status.pid.to_string()),
            of(|status| status.peers.to_string()),
            of(|status| status.processes.to_string()),
            peer.resident_kib.map_or_else(|| "-".into(), |kib| format!("{} MiB", kib / 1024)),
            of(|status| status.address.to_string()),
            of(|status| status.listen.first().cloned().unwrap_or_default()),
        ]
    });
    screen.line(&format!("testnet of launcher {} in {}", state.launcher, state.dir.display()));
    screen.table(["NODE", "STATE", "PID", "PEERS", "PROCESSES", "MEMORY", "ADDRESS", "LISTENS ON"], rows);
    let up = peers.iter().filter(|peer| peer.status.is_some()).count();
    screen.line(&format!("{up} of {} nodes answer", peers.len()));
    let exit = if up == peers.len() { Exit::Green } else { Exit::Red };
    screen.report(&Seen { dir: state.dir.display().to_string(), launcher: state.launcher, peers });
    Ok(exit)
}

async fn look_at(state: &State, node: usize) -> PeerSeen {
    let door = Door::new(node, &state.peers[node]);
    let asked = door.ask::<Status>("its status", &Request::Status, STATUS_WAIT).await;
    match asked {
        Ok(status) => {
            let resident_kib = resident_kib(status.pid);
            PeerSeen { node, silent: None, status: Some(status), resident_kib }
        }
        Err(error) => {
            PeerSeen { node, silent: Some(error.source.to_string()), status: None, resident_kib: None }
        }
    }
}

/// What a process takes of the machine's memory, where the system says so.
pub(crate) fn resident_kib(pid: u32) -> Option<u64> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.split_whitespace().next()?.parse().ok()
}

/// Shows the ends of the nodes' logs.
///
/// # Errors
/// That there is no such testnet, or no such node.
pub(crate) fn logs(logs: &Logs, screen: Screen) -> Result<Exit, TestnetError> {
    let state = state::find(&state::folder(), logs.which.dir.as_deref())?;
    let nodes = match logs.peer {
        Some(peer) => check_peer(&state, peer)?..peer + 1,
        None => 0..state.peers.len(),
    };
    let mut shown = Vec::new();
    for node in nodes {
        let path = state.peers[node].join("node.log");
        let text = tail_of(&path, logs.lines);
        screen.line(&format!("node {node}: {}", path.display()));
        screen.line(&text);
        let lines: Vec<&str> = text.lines().map(str::trim_start).collect();
        shown.push(serde_json::json!({ "node": node, "path": path, "lines": lines }));
    }
    screen.report(&shown);
    Ok(Exit::Green)
}

/// Becomes the `weft` program, for one node. Answers only when that fails.
pub(crate) fn exec(exec: &Exec) -> Result<Exit, TestnetError> {
    let state = state::find(&state::folder(), exec.which.dir.as_deref())?;
    let peer = check_peer(&state, exec.peer)?;
    let program = std::env::current_exe();
    let failed = |source| TestnetError::Program { program: "this program".into(), source };
    let mut command = Command::new(program.map_err(failed)?);
    command.arg(crate::NODE_ARG).arg("--data-dir").arg(&state.peers[peer]).args(&exec.args);
    Err(failed(command.exec()))
}

fn check_peer(state: &State, peer: usize) -> Result<usize, TestnetError> {
    let peers = state.peers.len();
    if peer < peers { Ok(peer) } else { Err(TestnetError::NoPeer { peer, peers }) }
}

/// Ends a testnet, and removes what launchers that were killed have left.
///
/// # Errors
/// That more than one could be meant, or that it does not end.
pub(crate) async fn down(down: &Down, screen: Screen) -> Result<Exit, TestnetError> {
    let folder = state::folder();
    let ended = match state::find(&folder, down.which.dir.as_deref()) {
        Ok(state) => {
            end(&folder, &state).await?;
            Some(state)
        }
        Err(TestnetError::NoTestnet { dir: None }) => None,
        Err(error) => return Err(error),
    };
    let orphans = orphans(&folder).await;
    for launcher in &orphans {
        netns::remove(&netns::prefix_of(*launcher)).await;
    }
    match &ended {
        Some(state) => {
            screen.line(&format!("{} nodes in {} are down", state.peers.len(), state.dir.display()));
        }
        None => screen.line("no testnet runs"),
    }
    if !orphans.is_empty() {
        screen.line(&format!("namespaces of {} dead launchers are removed", orphans.len()));
    }
    screen.report(&serde_json::json!({
        "dir": ended.map(|state| state.dir), "orphans": orphans,
    }));
    Ok(Exit::Green)
}

async fn end(folder: &Path, state: &State) -> Result<(), TestnetError> {
    let pid = i32::try_from(state.launcher).unwrap_or_default();
    if pid > 0 {
        // It may end at this very moment.
        let _ = kill(Pid::from_raw(pid), Signal::SIGTERM);
    }
    let look = async || {
        let runs = state::running(folder).contains(state);
        Ok::<_, std::convert::Infallible>(if runs {
            Look::NotYet("its launcher still runs".to_owned())
        } else {
            Look::There(())
        })
    };
    let what = format!("launcher {} to end", state.launcher);
    until(what, DOWN_WAIT, look)
        .await
        .map_err(|error| TestnetError::Unhealthy { what: error.to_string(), dir: state.dir.clone() })
}

/// Launchers that are dead and have namespaces.
async fn orphans(folder: &Path) -> Vec<u32> {
    let listed: Vec<u32> = state::running(folder).iter().map(|state| state.launcher).collect();
    let found = netns::launchers().await;
    found.into_iter().filter(|pid| !listed.contains(pid) && !is_launcher(*pid)).collect()
}

/// Whether a process that is not listed here is a launcher all the same: of another user.
fn is_launcher(pid: u32) -> bool {
    std::fs::read(format!("/proc/{pid}/cmdline"))
        .is_ok_and(|line| String::from_utf8_lossy(&line).contains("weft-testnet"))
}
