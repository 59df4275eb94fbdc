//! The process of a node: started, heard, and ended.

use std::fs::File;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use weft_node::Ready;

use super::Start;
use crate::error::TestnetError;

/// How long a node may take to come up: it opens three databases and a port.
const READY_WAIT: Duration = Duration::from_secs(60);
/// How long a node may take to stop by itself before it is killed: sixty-four that stop at once, of a build
/// without optimisation, have two cores for what they write down.
pub(crate) const STOP_WAIT: Duration = Duration::from_secs(60);
/// Bytes of the line that says a node is up.
const READY_BYTES_MAX: u64 = 64 * 1024;

/// The process of a node, up or not.
#[derive(Debug)]
pub(super) struct Running {
    /// Its number; none once it was known to be gone when it began.
    pid: Option<Pid>,
    /// Closed to end it.
    lifeline: Option<ChildStdin>,
    /// Taken when it is used.
    pub(super) kill: Option<oneshot::Sender<()>>,
    /// The line that says it is up, once that was said.
    pub(super) said: watch::Receiver<Option<String>>,
    pub(super) ended: watch::Receiver<Option<ExitStatus>>,
    keeper: JoinHandle<()>,
}

impl Running {
    pub(super) fn spawn(start: &Start) -> Result<Self, TestnetError> {
        let mut child = spawn(start)?;
        let (Some(lifeline), Some(output)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(start.failed("has no pipes".to_owned()));
        };
        let pid = child.id().and_then(|pid| i32::try_from(pid).ok()).map(Pid::from_raw);
        let (kill, killed) = oneshot::channel();
        let (say, said) = watch::channel(None);
        let (tell, ended) = watch::channel(None);
        let keeper = tokio::spawn(keep(child, BufReader::new(output), killed, say, tell));
        Ok(Self { pid, lifeline: Some(lifeline), kill: Some(kill), said, ended, keeper })
    }

    /// Waits until it is gone.
    pub(super) async fn gone(&self) {
        // The keeper tells before it ends, so a closed channel says the same.
        let _ = self.ended.clone().wait_for(Option::is_some).await;
    }

    /// Ends it, and answers how it ended.
    pub(super) async fn stop(mut self) -> Option<ExitStatus> {
        let ended = self.end().await;
        // The keeper never panics, and it is not cancelled.
        let _ = self.keeper.await;
        ended
    }

    /// As [`stop`](Self::stop), for a node that is started again later.
    pub(super) async fn end(&mut self) -> Option<ExitStatus> {
        drop(self.lifeline.take());
        // One that is paused notices nothing. The number is its own until the keeper has heard of its end.
        if let Some(pid) = self.pid.filter(|_| self.ended.borrow().is_none()) {
            let _ = kill(pid, Signal::SIGCONT);
        }
        let killer = self.kill.take();
        let mut ended = self.ended.clone();
        let stopped = timeout(STOP_WAIT, ended.wait_for(Option::is_some)).await.is_ok();
        if let Some(killer) = killer.filter(|_| !stopped) {
            // It may end at this very moment.
            let _ = killer.send(());
        }
        self.gone().await;
        *ended.borrow()
    }

    /// Waits until it says that it is up.
    pub(super) async fn ready(&mut self, start: &Start) -> Result<Ready, TestnetError> {
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

pub(super) fn ended_text(status: ExitStatus) -> String {
    format!("ended ({status})")
}
