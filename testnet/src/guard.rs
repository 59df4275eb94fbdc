//! The guard: a process that outlives its launcher by a moment, and clears up after one that was
//! killed.
//!
//! Nodes end by themselves when their launcher does, but not what they lived in: the folder, the
//! network namespaces, and a stopped process, which notices nothing. The guard holds the read end of
//! a pipe, as the nodes do. Until it closes it hears which nodes are paused; then it lets them go on,
//! waits until nobody holds the folder's nodes, and removes what is left. A launcher that ends in
//! order has left nothing, and tells it to go.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use weft_node::control::api::SOCKET_NAME;

use crate::error::TestnetError;
use crate::netns;
use crate::node::STOP_WAIT;
use crate::wait::{Look, until};

/// The hidden first argument that makes this executable a guard.
pub(crate) const GUARD_ARG: &str = "__guard";
/// How long nodes may take to end before their folder is removed under them.
const NODES_WAIT: Duration = STOP_WAIT.saturating_add(Duration::from_secs(30));
/// How many looks in a row must find nothing: a node that was forked as the launcher died makes its folder
/// again before it sees that nobody is there.
const GONE_LOOKS: u32 = 40;

/// How long a guard may take to go when it is told to: it has nothing more to do.
const GO_WAIT: Duration = Duration::from_secs(10);
/// How often it is looked at meanwhile.
const GO_LOOK: Duration = Duration::from_millis(5);

/// The launcher's end.
#[derive(Debug)]
pub(crate) struct Guard {
    child: Child,
    pipe: Option<ChildStdin>,
}

impl Guard {
    /// Sets a guard. It removes `fresh`, if that is given.
    ///
    /// # Errors
    /// That it cannot be started.
    pub(crate) fn set(fresh: Option<&Path>) -> Result<Self, TestnetError> {
        use std::os::unix::process::CommandExt as _;
        let failed = |source| TestnetError::Program { program: "this program".into(), source };
        let program = std::env::current_exe().map_err(failed)?;
        let mut command = Command::new(program);
        command.args([GUARD_ARG, &std::process::id().to_string()]);
        command.args(fresh);
        // A ctrl-c at the terminal, and its end, are the launcher's to handle.
        command.process_group(0).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        let mut child = command.spawn().map_err(failed)?;
        let pipe = child.stdin.take();
        Ok(Self { child, pipe })
    }

    /// Tells it that a node does not run for the moment, or does again.
    pub(crate) fn paused(&mut self, pid: u32, paused: bool) {
        self.tell(&format!("{} {pid}", if paused { "paused" } else { "runs" }));
    }

    fn tell(&mut self, line: &str) {
        if let Some(pipe) = &mut self.pipe {
            // A guard that is gone guards nothing, and nothing depends on it as long as we live.
            let _ = writeln!(pipe, "{line}").and_then(|()| pipe.flush());
        }
    }
}

impl Drop for Guard {
    /// The launcher has cleared up, unless it comes here by a panic: then the guard does.
    fn drop(&mut self) {
        if std::thread::panicking() {
            drop(self.pipe.take());
            return;
        }
        self.tell("done");
        drop(self.pipe.take());
        let deadline = Instant::now() + GO_WAIT;
        while matches!(self.child.try_wait(), Ok(None)) {
            if Instant::now() >= deadline {
                // One that stands still hears nothing, and has nothing left to guard.
                let _ = self.child.kill();
                return;
            }
            std::thread::sleep(GO_LOOK);
        }
    }
}

/// Runs as a guard: `args` are the launcher's process number and the folder to remove, if any.
pub(crate) fn main(args: &[std::ffi::OsString]) -> ExitCode {
    let launcher = args.first().and_then(|arg| arg.to_str()?.parse().ok());
    let Some(launcher) = launcher else { return ExitCode::from(2) };
    let folder = args.get(1).map(PathBuf::from);
    let mut paused = BTreeSet::new();
    for line in BufReader::new(std::io::stdin()).lines().map_while(Result::ok) {
        match line.split_once(' ').map(|(word, pid)| (word, pid.parse::<i32>())) {
            Some(("paused", Ok(pid))) => drop(paused.insert(pid)),
            Some(("runs", Ok(pid))) => drop(paused.remove(&pid)),
            _ if line == "done" => return ExitCode::SUCCESS,
            _ => return ExitCode::from(2),
        }
    }
    for pid in paused.into_iter().filter(|pid| *pid > 0) {
        // It may be gone.
        let _ = kill(Pid::from_raw(pid), Signal::SIGCONT);
    }
    let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else {
        return ExitCode::from(3);
    };
    runtime.block_on(clear(launcher, folder.as_deref()));
    ExitCode::SUCCESS
}

async fn clear(launcher: u32, folder: Option<&Path>) {
    if let Some(folder) = folder {
        // A node closes its socket before it writes its last, so that the folder may fill again while
        // it is removed.
        let mut gone = 0;
        let look = async || {
            let left = serving(folder);
            let look = if left == 0 { removed(folder) } else { Look::NotYet(format!("{left} nodes")) };
            gone = if look == Look::There(()) { gone + 1 } else { 0 };
            let is_certain = gone == 0 || gone >= GONE_LOOKS;
            Ok::<_, Infallible>(if is_certain { look } else { Look::NotYet("nothing".to_owned()) })
        };
        if until("the nodes to end", NODES_WAIT, look).await.is_err() {
            // A node that hangs is left to its user, without a folder.
            let _ = removed(folder);
        }
    }
    netns::remove(&netns::prefix_of(launcher)).await;
}

/// Removes a folder, whoever else removes it or parts of it at the same time.
fn removed(folder: &Path) -> Look<()> {
    match std::fs::remove_dir_all(folder) {
        Err(error) if folder.exists() => Look::NotYet(error.to_string()),
        _ => Look::There(()),
    }
}

/// How many nodes of a folder still answer at their sockets.
fn serving(folder: &Path) -> usize {
    let entries = std::fs::read_dir(folder).into_iter().flatten();
    let sockets = entries.filter_map(|entry| Some(entry.ok()?.path().join(SOCKET_NAME)));
    sockets.filter(|socket| std::os::unix::net::UnixStream::connect(socket).is_ok()).count()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]

    use super::*;

    /// A guard that writes down what it is told, and what it was told in the end.
    fn told(end: impl FnOnce(Guard)) -> String {
        let dir = tempfile::tempdir().unwrap();
        let (heard, over) = (dir.path().join("heard"), dir.path().join("over"));
        let script = "cat > \"$0\"; : > \"$1\"";
        let mut command = Command::new("sh");
        let mut child =
            command.args(["-c", script]).args([&heard, &over]).stdin(Stdio::piped()).spawn().unwrap();
        let guard = Guard { pipe: child.stdin.take(), child };
        let _ = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| end(guard)));
        let deadline = Instant::now() + Duration::from_secs(60);
        while !over.exists() {
            assert!(Instant::now() < deadline, "the pipe is still open");
            // tidy-allow(sleep): polls a child, with a deadline
            std::thread::sleep(GO_LOOK);
        }
        std::fs::read_to_string(heard).unwrap()
    }

    #[test]
    fn only_a_launcher_that_ends_in_order_sends_its_guard_away() {
        assert_eq!(told(drop), "done\n");
        let panics = |mut guard: Guard| {
            guard.paused(7, true);
            panic!("a bug of the launcher");
        };
        assert_eq!(told(panics), "paused 7\n", "it is left to clear up");
    }

    #[test]
    fn a_folder_that_is_still_written_to_is_removed_in_the_end() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("testnet");
        std::fs::create_dir(&folder).unwrap();
        std::fs::write(folder.join("0"), "").unwrap();
        let last = folder.clone();
        // Fails once the folder is gone.
        let write = move |n: u32| std::fs::write(last.join(n.to_string()), "").is_ok();
        let node = std::thread::spawn(move || (1..20_000).all(write));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(clear(std::process::id(), Some(&folder)));
        assert!(!folder.exists());
        node.join().unwrap();
    }

    #[test]
    fn a_folder_that_a_node_makes_again_is_removed_too() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("testnet");
        std::fs::create_dir(&folder).unwrap();
        let again = folder.join("node-0");
        let node = std::thread::spawn(move || {
            let deadline = Instant::now() + Duration::from_secs(60);
            while again.parent().is_some_and(Path::exists) {
                assert!(Instant::now() < deadline, "nobody removes the folder");
                // tidy-allow(sleep): polls a folder, with a deadline
                std::thread::sleep(GO_LOOK);
            }
            std::fs::create_dir_all(again).unwrap();
        });
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(clear(std::process::id(), Some(&folder)));
        node.join().unwrap();
        assert!(!folder.exists());
    }
}
