//! One node as a child process.

mod running;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde::de::DeserializeOwned;
use weft_node::Ready;
use weft_node::control::api::Request;
use weft_node::control::client::{ANSWER_WAIT, Client, ClientError};
use weft_node::keyring;

use crate::error::{AskError, TestnetError};
use crate::tail::tail;
pub(crate) use running::STOP_WAIT;
use running::{Running, ended_text};

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

/// A node that was started and has not said yet that it is up.
///
/// Dropping it closes its lifeline, as that of a [`Node`].
#[derive(Debug)]
pub(crate) struct Starting {
    start: Start,
    running: Running,
}

impl Starting {
    /// Starts a node.
    ///
    /// # Errors
    /// That the program cannot be started.
    pub(crate) fn spawn(start: Start) -> Result<Self, TestnetError> {
        let running = Running::spawn(&start)?;
        Ok(Self { start, running })
    }

    /// Waits until it says that it is up.
    ///
    /// # Errors
    /// How it ended instead, with the end of its log.
    ///
    /// Safe to cancel: it goes on starting.
    pub(crate) async fn ready(&mut self) -> Result<Ready, TestnetError> {
        self.running.ready(&self.start).await
    }

    /// The node that has said this of itself.
    pub(crate) fn up(self, ready: Ready) -> Node {
        let Self { start, running } = self;
        Node { start, ready, running }
    }

    /// Ends it as [`Node::stop`] does.
    pub(crate) async fn stop(self) -> Option<ExitStatus> {
        self.running.stop().await
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
        self.running.gone().await;
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
    pub async fn stop(self) -> Option<ExitStatus> {
        self.running.stop().await
    }

    /// As [`stop`](Self::stop), for a node that is started again later.
    pub(crate) async fn end(&mut self) -> Option<ExitStatus> {
        self.running.end().await
    }
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

    async fn started(start: Start) -> Result<Node, TestnetError> {
        let mut starting = Starting::spawn(start)?;
        let ready = starting.ready().await?;
        Ok(starting.up(ready))
    }

    #[tokio::test]
    async fn a_child_that_ends_is_told_with_its_log() {
        let dir = tempfile::tempdir().unwrap();
        let error = started(start(dir.path(), "echo port taken >&2; exit 7")).await.unwrap_err();
        let text = error.to_string();
        assert!(text.contains("node 5 did not come up: it ended (exit status: 7)"), "{text}");
        assert!(text.ends_with("  port taken"), "{text}");
    }

    #[tokio::test]
    async fn a_child_that_says_nonsense_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let error = started(start(dir.path(), "echo hello; cat")).await.unwrap_err();
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
        let node = started(start(dir.path(), &script)).await.unwrap();
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
        let mut node = started(start(dir.path(), &script)).await.unwrap();
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
