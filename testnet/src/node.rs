//! One node as a child process.

use std::ffi::OsString;
use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use serde::de::DeserializeOwned;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use weft_node::Ready;
use weft_node::control::api::Request;
use weft_node::control::client::{ANSWER_WAIT, Client};

use crate::error::{AskError, TestnetError};

/// How long a node may take to come up: it opens three databases and a port.
const READY_WAIT: Duration = Duration::from_secs(60);
/// How long a node may take to stop by itself before it is killed.
const STOP_WAIT: Duration = Duration::from_secs(20);
/// Bytes of the line that says a node is up.
const READY_BYTES_MAX: u64 = 64 * 1024;
/// Bytes at the end of a log of which lines are shown.
const TAIL_BYTES: u64 = 8 * 1024;
/// Lines shown of them.
const TAIL_LINES: usize = 20;

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

/// A node that came up.
///
/// Dropping it closes its lifeline, upon which it stops by itself; [`stop`](Self::stop) waits for
/// that.
#[derive(Debug)]
pub struct Node {
    index: usize,
    data_dir: PathBuf,
    log: PathBuf,
    ready: Ready,
    lifeline: ChildStdin,
    kill: oneshot::Sender<()>,
    ended: watch::Receiver<Option<ExitStatus>>,
    keeper: JoinHandle<()>,
}

impl Node {
    /// Starts a node and waits until it says that it is up.
    ///
    /// # Errors
    /// That the program cannot be started, or how the node ended instead, with the end of its log.
    ///
    /// Safe to cancel: the child is killed.
    pub(crate) async fn start(start: Start) -> Result<Self, TestnetError> {
        let mut child = spawn(&start)?;
        let failed = |what: String| TestnetError::Node {
            node: start.node,
            what,
            log: start.log.clone(),
            tail: tail(&start.log),
        };
        let (Some(lifeline), Some(output)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(failed("has no pipes".to_owned()));
        };
        let mut output = BufReader::new(output);
        let line = match timeout(READY_WAIT, ready_line(&mut output)).await {
            Ok(Ok(line)) if !line.is_empty() => line,
            Ok(_) => {
                let how = timeout(STOP_WAIT, child.wait()).await;
                let how = how.map_or_else(|_| "closed its output".to_owned(), ended_text);
                return Err(failed(format!("did not come up: it {how}")));
            }
            Err(_) => return Err(failed(format!("was not up after {} s", READY_WAIT.as_secs()))),
        };
        let ready: Ready = serde_json::from_str(&line)
            .map_err(|error| failed(format!("came up with a line that makes no sense ({error}): {line}")))?;
        let (kill, killed) = oneshot::channel();
        let (tell, ended) = watch::channel(None);
        let keeper = tokio::spawn(keep(child, output, killed, tell));
        let Start { node: index, data_dir, log, .. } = start;
        Ok(Self { index, data_dir, log, ready, lifeline, kill, ended, keeper })
    }

    /// Its number, from 0.
    pub const fn index(&self) -> usize {
        self.index
    }

    /// What it said of itself when it came up.
    pub const fn ready(&self) -> &Ready {
        &self.ready
    }

    /// Its data folder, with the control socket.
    pub fn data_dir(&self) -> &Path {
        &self.data_dir
    }

    /// Its log.
    pub fn log(&self) -> &Path {
        &self.log
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
        let answer = async { Client::connect(&self.data_dir).await?.call(request, wait).await };
        answer.await.map_err(|source| AskError { node: self.index, what, source })
    }

    /// How it ended, if it did.
    pub fn obituary(&self) -> Option<TestnetError> {
        let status = (*self.ended.borrow())?;
        Some(TestnetError::Node {
            node: self.index,
            what: ended_text(Ok(status)),
            log: self.log.clone(),
            tail: tail(&self.log),
        })
    }

    /// Waits until its process is gone.
    pub async fn gone(&self) {
        // The keeper tells before it ends, so a closed channel says the same.
        let _ = self.ended.clone().wait_for(Option::is_some).await;
    }

    /// Ends it: asks by closing its lifeline, and kills it when it takes too long. Answers how it
    /// ended; a node that stops by itself exits with 0.
    pub async fn stop(self) -> Option<ExitStatus> {
        let Self { lifeline, kill, mut ended, keeper, .. } = self;
        drop(lifeline);
        let stopped = timeout(STOP_WAIT, ended.wait_for(Option::is_some)).await.is_ok();
        if !stopped {
            // It may end at this very moment.
            let _ = kill.send(());
        }
        // The keeper never panics, and it is not cancelled.
        let _ = keeper.await;
        *ended.borrow()
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

fn ended_text(ended: std::io::Result<ExitStatus>) -> String {
    ended.map_or_else(|error| format!("cannot be watched ({error})"), |status| format!("ended ({status})"))
}

/// The last lines of a log.
fn tail(log: &Path) -> String {
    let read = || {
        let mut file = File::open(log)?;
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(TAIL_BYTES)))?;
        let mut bytes = Vec::new();
        file.take(TAIL_BYTES).read_to_end(&mut bytes)?;
        Ok::<_, std::io::Error>(bytes)
    };
    match read() {
        Ok(bytes) => last_lines(&String::from_utf8_lossy(&bytes)),
        Err(error) => format!("  (it cannot be read: {error})"),
    }
}

fn last_lines(text: &str) -> String {
    let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    if lines.is_empty() {
        return "  (it is empty)".to_owned();
    }
    let last = &lines[lines.len().saturating_sub(TAIL_LINES)..];
    let harmless = |line: &str| line.chars().filter(|c| !c.is_control()).collect::<String>();
    last.iter().map(|line| format!("  {}", harmless(line))).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

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

    #[test]
    fn the_end_of_a_log_is_its_last_lines() {
        let long: String = (0..100).map(|n| format!("line {n}\n\n")).collect();
        let tail = last_lines(&long);
        assert_eq!(tail.lines().count(), TAIL_LINES);
        assert!(tail.starts_with("  line 80\n") && tail.ends_with("  line 99"), "{tail}");
        assert_eq!(last_lines("a\x1b[2Jb"), "  a[2Jb");
        assert_eq!(last_lines("\n"), "  (it is empty)");
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
}
