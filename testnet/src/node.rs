//! One node as a child process.

use std::ffi::OsString;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::sync::{oneshot, watch};
use tokio::task::{AbortHandle, JoinHandle};
use tokio::time::timeout;
use weft_node::Ready;
use weft_node::control::api::Request;
use weft_node::control::client::{ANSWER_WAIT, Client, ClientError};
use weft_node::keyring;

use crate::error::{AskError, TestnetError};
use crate::tail::tail;

/// How long a node may take to come up: it opens three databases and a port.
const READY_WAIT: Duration = Duration::from_secs(60);
/// How long a node may take to stop by itself before it is killed.
const STOP_WAIT: Duration = Duration::from_secs(20);
/// Bytes of the line that says a node is up.
const READY_BYTES_MAX: u64 = 64 * 1024;

/// What starts a node.
#[derive(Debug, Clone)]
pub(crate) struct Start {
    /// Which node.
    pub(crate) node: usize,
    /// The program.
    pub(crate) program: PathBuf,
    /// Its arguments, up to the data folder.
    pub(crate) args: Vec<OsString>,
    /// Its data folder.
    pub(crate) data_dir: PathBuf,
    /// Where it logs.
    pub(crate) log: PathBuf,
}

impl Start {
    /// What happened to the node, with the end of its log.
    fn failed(&self, what: String) -> TestnetError {
        TestnetError::Node { node: self.node, what, log: self.log.clone(), tail: tail(&self.log) }
    }
}

/// Where a node is asked, whether it runs or not: the control socket in its data folder.
#[derive(Debug, Clone)]
pub struct Door {
    node: usize,
    data_dir: PathBuf,
}

impl Door {
    /// Where the node of this data folder is asked.
    pub(crate) fn new(node: usize, data_dir: &Path) -> Self {
        Self { node, data_dir: data_dir.into() }
    }

    /// The number of its node.
    pub const fn node(&self) -> usize {
        self.node
    }

    /// A connection of its own, for requests that stream or that are many.
    ///
    /// # Errors
    /// That nobody is there.
    pub async fn open(&self) -> Result<Client, ClientError> {
        Client::connect(&self.data_dir).await
    }

    /// Asks over a fresh connection and waits at most `wait`; `what` says for what, in errors.
    ///
    /// # Errors
    /// Why there is no answer.
    pub async fn ask<T: DeserializeOwned>(
        &self,
        what: &'static str,
        request: &Request,
        wait: Duration,
    ) -> Result<T, AskError> {
        let answer = async { self.open().await?.call(request, wait).await };
        answer.await.map_err(|source| AskError { node: self.node, what, source })
    }
}

/// A node that came up.
///
/// Dropping it closes its lifeline, upon which it stops by itself; [`stop`](Self::stop) waits for
/// that.
#[derive(Debug)]
pub struct Node {
    start: Start,
    ready: Ready,
    running: Running,
}

impl Node {
    /// Starts a node and waits until it says that it is up.
    ///
    /// # Errors
    /// That the program cannot be started, or how the node ended instead, with the end of its log.
    ///
    /// Safe to cancel: the child is killed.
    pub(crate) async fn start(start: Start) -> Result<Self, TestnetError> {
        let mut running = Running::spawn(&start)?;
        let mut guard = KillOnDrop(Some(running.keeper.abort_handle()));
        let ready = running.ready(&start).await?;
        guard.0 = None;
        Ok(Self { start, ready, running })
    }

    /// Its number, from 0.
    pub const fn index(&self) -> usize {
        self.start.node
    }

    /// What it said of itself when it came up, the last time that `up` was asked.
    pub const fn ready(&self) -> &Ready {
        &self.ready
    }

    /// Its data folder, with the control socket.
    pub fn data_dir(&self) -> &Path {
        &self.start.data_dir
    }

    /// Its log.
    pub fn log(&self) -> &Path {
        &self.start.log
    }

    /// Where it is asked, also after it was killed and started again.
    pub fn door(&self) -> Door {
        Door { node: self.start.node, data_dir: self.start.data_dir.clone() }
    }

    /// Asks it over its control socket; `what` says for what, in errors.
    ///
    /// # Errors
    /// Why there is no answer.
    pub async fn ask<T: DeserializeOwned>(
        &self,
        what: &'static str,
        request: &Request,
    ) -> Result<T, AskError> {
        self.ask_within(what, request, ANSWER_WAIT).await
    }

    /// As [`ask`](Self::ask), for answers that may take longer.
    ///
    /// # Errors
    /// Why there is no answer.
    pub async fn ask_within<T: DeserializeOwned>(
        &self,
        what: &'static str,
        request: &Request,
        wait: Duration,
    ) -> Result<T, AskError> {
        self.door().ask(what, request, wait).await
    }

    /// Whether it was started and neither killed nor stopped since.
    pub(crate) fn is_meant_to_run(&self) -> bool {
        self.running.kill.is_some()
    }

    /// Sends its process a signal that neither ends nor starts it.
    ///
    /// # Errors
    /// What the system says.
    pub(crate) fn signal(&self, signal: Signal) -> Result<(), TestnetError> {
        let pid = i32::try_from(self.ready.pid).unwrap_or_default();
        // 0 and negative numbers are groups of processes, ours among them.
        let sent = if pid > 0 { kill(Pid::from_raw(pid), signal) } else { Err(nix::errno::Errno::ESRCH) };
        sent.map_err(|error| self.start.failed(format!("cannot be sent {signal}: {error}")))
    }

    /// Has it started with another value of a flag from the next start on.
    pub(crate) fn set_flag(&mut self, flag: &str, value: &str) {
        let args = &mut self.start.args;
        match args.iter().position(|arg| arg == flag) {
            Some(at) if at + 1 < args.len() => args[at + 1] = value.into(),
            _ => args.extend([flag.into(), value.into()]),
        }
    }

    /// Removes everything in its data folder but its key and its log, as a new disk would. Only while
    /// it does not run.
    ///
    /// # Errors
    /// What cannot be removed.
    pub(crate) fn wipe(&self) -> Result<(), TestnetError> {
        let failed = |source| TestnetError::Folder { path: self.start.data_dir.clone(), source };
        for entry in std::fs::read_dir(&self.start.data_dir).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let path = entry.path();
            if path.ends_with(keyring::KEY_NAME) || path == self.start.log {
                continue;
            }
            // A link to a folder is removed, and not what it leads to.
            let is_folder = entry.file_type().map_err(failed)?.is_dir();
            let removed =
                if is_folder { std::fs::remove_dir_all(&path) } else { std::fs::remove_file(&path) };
            removed.map_err(failed)?;
        }
        Ok(())
    }

    /// How it ended, if it did so by itself.
    pub fn obituary(&self) -> Option<TestnetError> {
        let status = (*self.running.ended.borrow())?;
        let by_itself = self.running.kill.is_some();
        by_itself.then(|| self.start.failed(ended_text(status)))
    }

    /// Waits until its process is gone.
    pub async fn gone(&self) {
        // The keeper tells before it ends, so a closed channel says the same.
        let _ = self.running.ended.clone().wait_for(Option::is_some).await;
    }

    /// Kills it as `kill -9` does, wherever it stands, and waits until its process is gone. Answers
    /// how it ended: by that signal, unless it had ended before.
    pub(crate) async fn kill(&mut self) -> Option<ExitStatus> {
        if let Some(kill) = self.running.kill.take() {
            // It may end by itself at this very moment.
            let _ = kill.send(());
        }
        self.gone().await;
        *self.running.ended.borrow()
    }

    /// Starts it again with the same arguments on the same data folder, without waiting for it: see
    /// [`up`](Self::up).
    ///
    /// # Errors
    /// That the program cannot be started.
    pub(crate) fn start_again(&mut self) -> Result<(), TestnetError> {
        self.running = Running::spawn(&self.start)?;
        Ok(())
    }

    /// Whether it has said that it is up since it was last started.
    pub(crate) fn is_up(&self) -> bool {
        self.running.said.borrow().is_some() && self.running.ended.borrow().is_none()
    }

    /// Waits until a node that was started again says that it is up.
    ///
    /// # Errors
    /// How it ended instead, with the end of its log.
    pub(crate) async fn up(&mut self) -> Result<(), TestnetError> {
        self.ready = self.running.ready(&self.start).await?;
        Ok(())
    }

    /// Ends it: asks by closing its lifeline, and kills it when it takes too long. Answers how it
    /// ended; a node that stops by itself exits with 0.
    pub async fn stop(mut self) -> Option<ExitStatus> {
        let ended = self.end().await;
        // The keeper never panics, and it is not cancelled.
        let _ = self.running.keeper.await;
        ended
    }

    /// As [`stop`](Self::stop), for a node that is started again later.
    pub(crate) async fn end(&mut self) -> Option<ExitStatus> {
        drop(self.running.lifeline.take());
        let kill = self.running.kill.take();
        let mut ended = self.running.ended.clone();
        let stopped = timeout(STOP_WAIT, ended.wait_for(Option::is_some)).await.is_ok();
        if let Some(kill) = kill.filter(|_| !stopped) {
            // It may end at this very moment.
            let _ = kill.send(());
        }
        self.gone().await;
        *ended.borrow()
    }
}

/// The process of a node, up or not.
#[derive(Debug)]
struct Running {
    /// Closed to end it.
    lifeline: Option<ChildStdin>,
    /// Taken when it is used.
    kill: Option<oneshot::Sender<()>>,
    /// The line that says it is up, once that was said.
    said: watch::Receiver<Option<String>>,
    ended: watch::Receiver<Option<ExitStatus>>,
    keeper: JoinHandle<()>,
}

impl Running {
    fn spawn(start: &Start) -> Result<Self, TestnetError> {
        let mut child = spawn(start)?;
        let (Some(lifeline), Some(output)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(start.failed("has no pipes".to_owned()));
        };
        let (kill, killed) = oneshot::channel();
        let (say, said) = watch::channel(None);
        let (tell, ended) = watch::channel(None);
        let keeper = tokio::spawn(keep(child, BufReader::new(output), killed, say, tell));
        Ok(Self { lifeline: Some(lifeline), kill: Some(kill), said, ended, keeper })
    }

    async fn ready(&mut self, start: &Start) -> Result<Ready, TestnetError> {
        let line = match timeout(READY_WAIT, self.said.wait_for(Option::is_some)).await {
            Ok(Ok(line)) => line.clone().unwrap_or_default(),
            Ok(Err(_)) => {
                let how = timeout(STOP_WAIT, self.ended.wait_for(Option::is_some)).await;
                let status = how.ok().and_then(|ended| ended.ok().and_then(|status| *status));
                let how = status.map_or_else(|| "closed its output".to_owned(), ended_text);
                return Err(start.failed(format!("did not come up: it {how}")));
            }
            Err(_) => return Err(start.failed(format!("was not up after {} s", READY_WAIT.as_secs()))),
        };
        serde_json::from_str(&line).map_err(|error| {
            start.failed(format!("came up with a line that makes no sense ({error}): {line}"))
        })
    }
}

/// Kills a process that nobody waits for any more: the child goes with its keeper.
struct KillOnDrop(Option<AbortHandle>);

impl Drop for KillOnDrop {
    fn drop(&mut self) {
        if let Some(keeper) = &self.0 {
            keeper.abort();
        }
    }
}

fn spawn(start: &Start) -> Result<Child, TestnetError> {
    let folder = |source| TestnetError::Folder { path: start.log.clone(), source };
    let log = File::options().create(true).append(true).open(&start.log).map_err(folder)?;
    let mut command = Command::new(&start.program);
    command
        .args(&start.args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(log)
        // A ctrl-c at the terminal is the launcher's to handle.
        .process_group(0)
        .kill_on_drop(true);
    // What the user set for a node of his own is not meant for these.
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.as_encoded_bytes().starts_with(b"WEFT_")) {
        command.env_remove(name);
    }
    command.spawn().map_err(|source| TestnetError::Program { program: start.program.clone(), source })
}

async fn ready_line(output: &mut BufReader<ChildStdout>) -> std::io::Result<String> {
    let mut line = String::new();
    output.take(READY_BYTES_MAX).read_line(&mut line).await?;
    Ok(line)
}

/// Reads what a node prints, so that it never waits for a reader, until it has ended.
async fn keep(
    mut child: Child,
    mut output: BufReader<ChildStdout>,
    killed: oneshot::Receiver<()>,
    say: watch::Sender<Option<String>>,
    tell: watch::Sender<Option<ExitStatus>>,
) {
    let waiting = async {
        tokio::select! {
            ended = child.wait() => ended,
            Ok(()) = killed => {
                child.kill().await?;
                child.wait().await
            }
        }
    };
    let reading = async {
        if let Ok(line) = ready_line(&mut output).await
            && !line.is_empty()
        {
            say.send_replace(Some(line));
        }
        // Whoever waits for a line that cannot come any more is told so.
        drop(say);
        // An error means the same as the end: there is nothing more to read.
        let _ = tokio::io::copy(&mut output, &mut tokio::io::sink()).await;
        std::future::pending::<()>().await;
    };
    tokio::select! {
        ended = waiting => {
            tell.send_replace(ended.ok());
        }
        () = reading => {}
    }
}

fn ended_text(status: ExitStatus) -> String {
    format!("ended ({status})")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::os::unix::process::ExitStatusExt as _;

    use super::*;

    fn start(dir: &Path, script: &str) -> Start {
        Start {
            node: 5,
            program: "/bin/sh".into(),
            args: vec!["-c".into(), script.into()],
            data_dir: dir.into(),
            log: dir.join("log"),
        }
    }

    #[tokio::test]
    async fn a_child_that_ends_is_told_with_its_log() {
        let dir = tempfile::tempdir().unwrap();
        let error = Node::start(start(dir.path(), "echo port taken >&2; exit 7")).await.unwrap_err();
        let text = error.to_string();
        assert!(text.contains("node 5 did not come up: it ended (exit status: 7)"), "{text}");
        assert!(text.ends_with("  port taken"), "{text}");
    }

    #[tokio::test]
    async fn a_child_that_says_nonsense_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let error = Node::start(start(dir.path(), "echo hello; cat")).await.unwrap_err();
        assert!(error.to_string().contains("makes no sense"), "{error}");
    }

    #[tokio::test]
    async fn a_child_ends_when_its_lifeline_closes() {
        let dir = tempfile::tempdir().unwrap();
        let ready = serde_json::json!({
            "address": weft_protocol::Address([1; 32]), "peer_id": "p", "listen": [], "network": "n",
            "roles": [], "weave": "w", "socket": "s", "pid": 1,
        });
        let script = format!("echo '{ready}'; cat");
        let node = Node::start(start(dir.path(), &script)).await.unwrap();
        assert!(node.obituary().is_none());
        assert_eq!(node.ready().peer_id, "p");
        assert!(node.stop().await.unwrap().success());
    }

    #[tokio::test]
    async fn a_killed_child_starts_again_and_that_is_no_death_of_its_own() {
        let dir = tempfile::tempdir().unwrap();
        let ready = serde_json::json!({
            "address": weft_protocol::Address([1; 32]), "peer_id": "p", "listen": [], "network": "n",
            "roles": [], "weave": "w", "socket": "s", "pid": 1,
        });
        let script = format!("echo '{ready}'; if test -e end; then exit 5; fi; cat");
        let script = format!("cd '{}' && {script}", dir.path().display());
        let mut node = Node::start(start(dir.path(), &script)).await.unwrap();
        for _ in 0..2 {
            assert!(node.is_up());
            assert_eq!(node.kill().await.unwrap().signal(), Some(9));
            assert!(node.obituary().is_none() && !node.is_up());
            node.start_again().unwrap();
            node.up().await.unwrap();
        }
        node.kill().await;
        std::fs::write(dir.path().join("end"), "").unwrap();
        node.start_again().unwrap();
        node.gone().await;
        assert!(node.obituary().unwrap().to_string().contains("ended (exit status: 5)"));
        assert_eq!(node.kill().await.unwrap().code(), Some(5));
    }
}
