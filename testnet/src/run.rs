//! One run: nodes up, tour, stay, nodes down.

use std::ffi::OsString;
use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use clap::Parser as _;
use clap::error::ErrorKind;
use tempfile::TempDir;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::aos::Aos;
use crate::args::{Cli, Command, Up};
use crate::bench;
use crate::check::{Open, millis};
use crate::crash;
use crate::error::TestnetError;
use crate::fleet::{Fleet, Launch, make_folder};
use crate::guard::Guard;
use crate::netns::{self, Lanes};
use crate::plan::{PEERS_MAX, Plan};
use crate::report::{self, Report};
use crate::scenario;
use crate::screen::Screen;
use crate::state::{Listed, State};
use crate::tour::{self, Found};
use crate::user::User;
use crate::visit;
use crate::weave::KEEPER;

/// How a run ends. The numbers are a promise.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    Green,
    Red,
    Input,
    NotUp,
    Interrupted,
    Skipped,
}

impl Exit {
    const fn number(self) -> u8 {
        match self {
            Self::Green => 0,
            Self::Red => 1,
            Self::Input => 2,
            Self::NotUp => 3,
            Self::Skipped => 77,
            Self::Interrupted => 130,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        exit.number().into()
    }
}

/// Runs one command line.
pub(crate) fn command(args: &[OsString]) -> ExitCode {
    let command = match Cli::try_parse_from(args) {
        Ok(cli) => cli.command(),
        Err(error) => return misread(&error, args).into(),
    };
    let screen = Screen::new(command.json());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let ended = match (runtime, &command) {
        (Ok(runtime), Command::Up(up)) => runtime.block_on(run(up, screen)),
        (Ok(runtime), Command::Crash(crash)) => runtime.block_on(crash::run(crash, screen)),
        (Ok(runtime), Command::Bench(bench)) => runtime.block_on(bench::run(bench, screen)),
        (Ok(runtime), Command::Run(run)) => runtime.block_on(scenario::run(run, screen)),
        (Ok(_), Command::Compare(compare)) => scenario::compare(compare, screen),
        (Ok(runtime), Command::Status(which)) => runtime.block_on(visit::status(which, screen)),
        (Ok(_), Command::Logs(logs)) => visit::logs(logs, screen),
        (Ok(_), Command::Exec(exec)) => visit::exec(exec),
        (Ok(runtime), Command::Down(down)) => runtime.block_on(visit::down(down, screen)),
        (Err(error), _) => Err(TestnetError::Runtime(error)),
    };
    let exit = ended.unwrap_or_else(|error| {
        screen.failure(&error);
        if error.is_input() { Exit::Input } else { Exit::NotUp }
    });
    exit.into()
}

/// Help and version are answers; anything else that clap says is an error in the arguments.
fn misread(error: &clap::Error, args: &[OsString]) -> Exit {
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
            // Nobody can be told that standard output is closed.
            let _ = error.print();
            Exit::Green
        }
        _ => {
            if args.iter().any(|arg| arg == "--json") {
                let text = error.to_string();
                Screen::new(true).error("input", text.trim().trim_start_matches("error: "));
            } else {
                let _ = error.print();
            }
            Exit::Input
        }
    }
}

async fn run(up: &Up, screen: Screen) -> Result<Exit, TestnetError> {
    let mut signals = Signals::listen().map_err(TestnetError::Runtime)?;
    // Whatever can be wrong with the arguments is said before anything is started.
    check_cores(up.peers, up.crowded)?;
    let aos = if up.no_tour { None } else { Some(Aos::find(up.aos.as_deref())?) };
    let mut folder = Folder::make(up.dir.as_deref(), up.keep_logs)?;
    let plan = Plan::new(up.peers, up.base_port, folder.path())?;
    let mut plan = plan.with_topology(up.topology, up.seed).with_some_roles(&up.roles)?;
    if !up.no_tour {
        plan.check_tour()?;
    }
    if up.shared_weave {
        plan = plan.with_shared_weave()?;
    }
    let guard = Guard::set(folder.fresh())?;
    if up.wires.netns {
        plan = plan.with_lanes(Lanes::of_this_launcher());
    }
    let lanes = plan.lanes().cloned();
    let made = match &lanes {
        Some(lanes) => lanes.make(up.peers, &up.wires.link()).await,
        None => Ok(()),
    };
    let ended = match made {
        Ok(()) => up_and_down(up, plan, aos.as_ref(), &mut folder, &mut signals, screen).await,
        Err(error) => Err(error),
    };
    if lanes.is_some() {
        netns::remove(&netns::prefix_of(std::process::id())).await;
    }
    drop(guard);
    ended
}

/// Nodes that a core carries beside the tour: each keeps some connections alive.
const PEERS_A_CORE: usize = 32;

/// Fails when the machine is too small for so many nodes to answer in time.
pub(crate) fn check_cores(peers: usize, crowded: bool) -> Result<(), TestnetError> {
    let cores = std::thread::available_parallelism().map_or(1, NonZero::get);
    let most = cores * PEERS_A_CORE;
    if peers > most && peers <= PEERS_MAX && !crowded {
        return Err(TestnetError::Cores { peers, cores, most });
    }
    Ok(())
}

async fn up_and_down(
    up: &Up,
    plan: Plan,
    aos: Option<&Aos>,
    folder: &mut Folder,
    signals: &mut Signals,
    screen: Screen,
) -> Result<Exit, TestnetError> {
    let user = User::open(&plan.user_dir())?;
    let since = Instant::now();
    let mut fleet = Fleet::new(plan);
    let _listed = Listed::new(&State::of(&fleet))?;
    let ended = tokio::select! {
        ended = nodes_and_tour(&mut fleet, aos, &user, screen) => ended.map(Some),
        () = signals.caught() => Ok(None),
    };
    let mut found = match ended {
        Ok(Some(found)) => found,
        Ok(None) => {
            screen.error("interrupted", "stopped by a signal before the tour was over");
            fleet.stop().await;
            return Ok(Exit::Interrupted);
        }
        Err(error) => {
            // Where nothing ran there is nothing to look at.
            folder.keep |= !fleet.nodes().is_empty() || !error.is_input();
            fleet.stop().await;
            return Err(error);
        }
    };
    let peers = report::peers(&fleet);
    let mut exit = Exit::Green;
    let judge = |found: &Found, exit: &mut Exit, folder: &mut Folder| {
        if !found.steps.iter().all(|step| step.ok) {
            *exit = Exit::Red;
            folder.keep = true;
        }
    };
    judge(&found, &mut exit, folder);
    if up.once {
        found.steps.push(stop(fleet, screen).await);
        judge(&found, &mut exit, folder);
        screen.report(&finish(found, peers, folder, since));
        conclude(exit, folder, since, screen);
        return Ok(exit);
    }
    screen.report(&finish(found, peers, folder, since));
    conclude(exit, folder, since, screen);
    let stayed = stay(fleet, signals, screen).await;
    if stayed != Exit::Green {
        folder.keep = true;
    }
    Ok(if exit == Exit::Green { stayed } else { exit })
}

async fn nodes_and_tour(
    fleet: &mut Fleet,
    aos: Option<&Aos>,
    user: &User,
    screen: Screen,
) -> Result<Found, TestnetError> {
    let peers = fleet.plan().peers();
    let links = fleet.plan().links(peers);
    let place = if fleet.plan().lanes().is_some() { "namespaces of their own" } else { "127.0.0.1" };
    screen.line(&format!("{peers} nodes on {place}, in {}", fleet.plan().dir().display()));
    let mut open = Open::new("peers");
    let bar = screen.bar("starting nodes", peers);
    fleet.start(&Launch::this_executable()?, |up| bar.set(up)).await?;
    drop(bar);
    let bar = screen.bar("connecting nodes", peers);
    let least = fleet.healthy(|healthy| bar.set(healthy)).await?;
    drop(bar);
    open.that("connections of each node", format!("at least {links}"), least, least >= links);
    let memory = fleet.nodes().iter().filter_map(|node| visit::resident_kib(node.ready().pid)).max();
    let memory = memory.map(|kib| format!(", {} MiB resident at most", kib / 1024)).unwrap_or_default();
    let step = open.close(format!("{peers} nodes are up, each connected to {least} or more{memory}"));
    screen.step(&step);
    let mut found = match aos {
        Some(aos) => tour::run(fleet, user, aos, screen).await,
        None => Found::default(),
    };
    found.steps.insert(0, step);
    Ok(found)
}

fn finish(found: Found, peers: Vec<report::PeerReport>, folder: &Folder, since: Instant) -> Report {
    Report {
        ok: found.steps.iter().all(|step| step.ok),
        dir: folder.path().display().to_string(),
        kept: folder.keep,
        peers,
        modules: found.modules,
        aos_skipped: found.aos_skipped,
        steps: found.steps,
        processes: found.processes,
        batches: found.batches,
        elapsed_ms: millis(since.elapsed()),
    }
}

/// Ends every node; each should end by itself, without an error.
pub(crate) async fn stop(fleet: Fleet, screen: Screen) -> crate::check::Step {
    let mut open = Open::new("stop");
    let busy = screen.spinner("stopping the nodes");
    let ended = fleet.stop().await;
    drop(busy);
    for (node, status) in ended.iter().enumerate() {
        let seen = status.map_or_else(|| "unknown".to_owned(), |status| status.to_string());
        open.equal(format!("how node {node} ended"), "exit status: 0", seen.as_str());
    }
    let step = open.close(format!("{} nodes ended by themselves", ended.len()));
    screen.step(&step);
    step
}

fn conclude(exit: Exit, folder: &Folder, since: Instant, screen: Screen) {
    let seconds = since.elapsed().as_secs_f64();
    let dir = folder.path().display();
    if exit == Exit::Green {
        screen.line(&format!("everything is as expected ({seconds:.1} s)"));
        if folder.keep {
            screen.line(&format!("logs and data are in {dir}"));
        }
    } else {
        screen.line(&format!("NOT everything is as expected ({seconds:.1} s)"));
        screen.error("red", &format!("the tour failed; the nodes' logs are {dir}/node-*/node.log"));
    }
}

/// Stays until a signal. Nodes that die meanwhile, or do not stop in order, are told and turn the end red.
async fn stay(fleet: Fleet, signals: &mut Signals, screen: Screen) -> Exit {
    screen.line("");
    let row = |node: &crate::node::Node| {
        let ready = node.ready();
        let listen = ready.listen.first().cloned().unwrap_or_default();
        [node.index().to_string(), ready.address.to_string(), node.data_dir().display().to_string(), listen]
    };
    screen.table(["NODE", "ADDRESS", "DATA FOLDER", "LISTENS ON"], fleet.nodes().iter().map(row));
    let first = fleet.node(0).data_dir().display();
    screen.line(&format!("talk to a node with `weft --data-dir {first} processes`; ctrl-c ends all"));
    if fleet.plan().shares_weave()
        && let Some(weave) = fleet.node(KEEPER).ready().weave_api.as_ref()
    {
        screen.line(&format!(
            "all batches go to the weave of node {KEEPER}: `weft recover PROCESS --from {weave}`"
        ));
    }
    screen.line("from another terminal: `weft-testnet status`, `logs 3`, `exec 3 processes`, `down`");
    let died = tokio::select! {
        () = signals.caught() => false,
        death = fleet.first_death() => {
            screen.failure(&death);
            screen.error("died", "the other nodes go on; ctrl-c ends them");
            signals.caught().await;
            true
        }
    };
    let busy = screen.spinner("stopping the nodes");
    let ended = fleet.stop().await;
    drop(busy);
    // One that died at the very moment of the signal is not told yet, nor one that did not stop in order.
    let bad = ended.iter().enumerate().find(|(_, status)| !status.is_some_and(|status| status.success()));
    if let Some((node, status)) = bad.filter(|_| !died) {
        let how = status.map_or_else(|| "unknown".to_owned(), |status| status.to_string());
        screen.error("died", &format!("node {node} did not stop in order ({how})"));
    }
    if died || bad.is_some() { Exit::NotUp } else { Exit::Green }
}

/// The signals that end a run in order. A launcher that is killed takes its nodes along too: their
/// lifelines close.
pub(crate) struct Signals([Signal; 3]);

impl Signals {
    pub(crate) fn listen() -> std::io::Result<Self> {
        let [a, b, c] = [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()];
        Ok(Self([signal(a)?, signal(b)?, signal(c)?]))
    }

    pub(crate) async fn caught(&mut self) {
        let [interrupt, terminate, hangup] = &mut self.0;
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            _ = hangup.recv() => {}
        }
    }
}

/// The folder of the nodes: the user's, or a fresh one that goes away unless it is to be kept.
pub(crate) struct Folder {
    path: PathBuf,
    fresh: Option<TempDir>,
    pub(crate) keep: bool,
}

impl Folder {
    pub(crate) fn make(dir: Option<&Path>, keep: bool) -> Result<Self, TestnetError> {
        if let Some(dir) = dir {
            let path = std::path::absolute(dir)
                .map_err(|source| TestnetError::Folder { path: dir.into(), source })?;
            make_folder(&path)?;
            return Ok(Self { path, fresh: None, keep: true });
        }
        let fresh = tempfile::Builder::new().prefix("weft-testnet-").tempdir();
        let fresh = fresh.map_err(|source| TestnetError::Folder { path: std::env::temp_dir(), source })?;
        Ok(Self { path: fresh.path().into(), fresh: Some(fresh), keep })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The folder, if it goes away with the testnet.
    pub(crate) fn fresh(&self) -> Option<&Path> {
        self.fresh.as_ref().map(TempDir::path).filter(|_| !self.keep)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if let Some(mut fresh) = self.fresh.take() {
            fresh.disable_cleanup(self.keep);
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_fresh_folder_goes_away_unless_it_is_kept() {
        let folder = Folder::make(None, false).unwrap();
        let path = folder.path().to_owned();
        assert!(path.exists());
        drop(folder);
        assert!(!path.exists());
        let folder = Folder::make(None, true).unwrap();
        let path = folder.path().to_owned();
        drop(folder);
        assert!(path.exists());
        std::fs::remove_dir_all(path).unwrap();
    }

    #[test]
    fn a_folder_of_the_user_stays() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("net");
        drop(Folder::make(Some(&path), false).unwrap());
        assert!(path.exists());
    }
}
