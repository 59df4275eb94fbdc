//! A testnet seen from another terminal, and what is left of one whose launcher was killed.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

mod launched;
#[path = "../../tests/src/skip.rs"]
mod skip;
use launched::Launched;
use skip::skip;

/// How long a command may take on a machine with other work.
const RUN_WAIT: Duration = Duration::from_secs(180);

/// How long what a launcher left may take to be gone.
const GONE_WAIT: Duration = Duration::from_secs(180);
/// Held by whoever says `down` or counts on namespaces that nobody has: it removes those of every dead launcher of
/// the machine.
static DOWN: Mutex<()> = Mutex::new(());

fn alone() -> MutexGuard<'static, ()> {
    // A test that failed left nothing that the next one minds.
    DOWN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// How often it is looked at.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// A terminal whose testnets are listed in a folder of its own.
struct Terminal(TempDir);

impl Terminal {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn set(&self) -> [(&'static str, &OsStr); 1] {
        [("XDG_RUNTIME_DIR", self.0.path().as_os_str())]
    }

    fn run(&self, args: &[&str]) -> (Option<i32>, String, String) {
        let Output { status, stdout, stderr } = Launched::run_with(args, &self.set(), RUN_WAIT);
        let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
        (status.code(), text(&stdout), text(&stderr))
    }

    /// Two nodes that stay up, and their report.
    fn up(&self, args: &[&str]) -> (Launched, Value) {
        let all = [&["--no-tour", "--json", "--peers", "2"], args].concat();
        let (launched, line) = Launched::up_with(&all, &self.set());
        (launched, serde_json::from_str(&line).unwrap())
    }
}

fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + GONE_WAIT;
    while !holds() {
        assert!(Instant::now() < deadline, "{what}");
        // tidy-allow(sleep): polls processes that are not our children, with a deadline
        std::thread::sleep(LOOK_AGAIN);
    }
}

fn runs(pid: u64) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(')').is_some_and(|(_, rest)| !rest.trim_start().starts_with('Z'))
}

fn pids(report: &Value) -> Vec<u64> {
    report["peers"].as_array().unwrap().iter().map(|peer| peer["pid"].as_u64().unwrap()).collect()
}

#[test]
fn a_testnet_is_seen_and_ended_from_another_terminal() {
    let _alone = alone();
    let terminal = Terminal::new();
    let (code, _, error) = terminal.run(&["status"]);
    assert!(code == Some(2) && error.contains("no testnet runs: start one"), "{error}");
    let (mut launcher, report) = terminal.up(&[]);
    let (code, seen, error) = terminal.run(&["status", "--json"]);
    assert_eq!(code, Some(0), "{error}");
    let seen: Value = serde_json::from_str(&seen).unwrap();
    let peers = seen["peers"].as_array().unwrap();
    assert!(peers.len() == 2 && peers.iter().all(|peer| peer["status"]["peers"] == 1), "{seen}");
    assert_eq!(peers[1]["status"]["address"], report["peers"][1]["address"]);
    assert!(peers[0]["resident_kib"].as_u64().unwrap() > 1024, "{seen}");

    let (code, said, error) = terminal.run(&["exec", "1", "status", "--json"]);
    assert_eq!(code, Some(0), "{error}");
    let said: Value = serde_json::from_str(&said).unwrap();
    assert_eq!(said["address"], report["peers"][1]["address"]);
    let (code, _, error) = terminal.run(&["exec", "2", "status"]);
    assert!(
        code == Some(2) && error.contains("there is no peer 2: this testnet has peers 0 to 1"),
        "{error}"
    );
    let (code, said, _) = terminal.run(&["logs", "1", "--lines", "3"]);
    assert!(code == Some(0) && said.contains("node 1: ") && !said.contains("node 0: "), "{said}");
    let lines = said.lines().count();
    assert!((2..=4).contains(&lines), "{said}");

    let (code, said, error) = terminal.run(&["logs", "1", "--lines", "3", "--json"]);
    assert_eq!(code, Some(0), "{error}");
    let said: Value = serde_json::from_str(&said).unwrap();
    assert_eq!((said.as_array().unwrap().len(), &said[0]["node"]), (1, &1.into()), "{said}");
    assert!((1..=3).contains(&said[0]["lines"].as_array().unwrap().len()), "{said}");

    // A node that is killed is told, and turns the answer red.
    let pid = pids(&report)[1];
    assert!(Command::new("kill").args(["-9", &pid.to_string()]).status().unwrap().success());
    wait_until("node 1 still answers", || terminal.run(&["status"]).0 == Some(1));
    let (code, said, error) = terminal.run(&["down"]);
    assert!(code == Some(0) && said.contains("2 nodes in "), "{said}{error}");
    assert_eq!(launcher.ended().code(), Some(3), "a node had died");
    wait_until("nodes still run", || !pids(&report).into_iter().any(runs));
    // Where a node died, the logs are kept.
    std::fs::remove_dir_all(report["dir"].as_str().unwrap()).unwrap();
    let (code, said, _) = terminal.run(&["down"]);
    assert!(code == Some(0) && said.contains("no testnet runs"), "{said}");
}

/// A process of each node comes back on the other from the one weave, as it would were all nodes gone.
#[test]
fn all_nodes_share_a_weave_that_gives_back_what_any_of_them_scheduled() {
    let terminal = Terminal::new();
    let (_launcher, report) = terminal.up(&["--shared-weave"]);
    let [keeper, other] = &report["peers"].as_array().unwrap()[..] else { panic!("{report}") };
    let weave = keeper["weave_api"].as_str().unwrap();
    assert!(keeper["weave"].as_str().unwrap().starts_with("local:"), "{report}");
    assert_eq!(
        (&other["weave"], &other["weave_api"]),
        (&"weft.weft-testnet".into(), &Value::Null),
        "{report}"
    );
    let exec = |args: &[&str]| -> Value {
        let (code, said, error) = terminal.run(&[&["exec"], args, &["--json"]].concat());
        assert_eq!(code, Some(0), "{args:?}: {said}{error}");
        serde_json::from_str(&said).unwrap()
    };
    let logs = ["0", "1"].map(|node| {
        let process = exec(&[node, "spawn"])["id"].as_str().unwrap().to_owned();
        exec(&[node, "send", &process, "--action", "Eval", "--data", "n = 1", "--wait"]);
        (node, process)
    });
    for (node, process) in &logs {
        let is_anchored = || {
            let all = exec(&[node, "processes"]);
            let of = all.as_array().unwrap().iter().find(|one| one["process"] == **process);
            of.is_some_and(|of| of["head"] == 1 && of["anchored"] == 1)
        };
        wait_until("the log is not anchored", is_anchored);
    }
    // Who posts for a fee says so.
    let status = exec(&["1", "anchor", "status"]);
    assert_eq!(status["backend"], "arweave", "{status}");
    assert!(status["spent"].as_u64() > Some(0), "{status}");
    for ((_, process), elsewhere) in logs.iter().zip(["1", "0"]) {
        let came = exec(&[elsewhere, "recover", process, "--from", weave]);
        assert_eq!((&came["slots"], &came["missing"]), (&2.into(), &Value::Null), "{came}");
        // All of it from there, though the other node is up and would give it.
        assert_eq!(came["gateways"][0]["slots"], 2, "{came}");
        assert_eq!(came["bundles_in_blocks"], came["bundles"], "{came}");
        assert_eq!(exec(&[elsewhere, "verify", process])["difference"], Value::Null);
    }
}

#[test]
fn a_node_that_ends_by_itself_turns_the_end_red() {
    let _alone = alone();
    let terminal = Terminal::new();
    let (mut launcher, report) = terminal.up(&[]);
    let (code, _, error) = terminal.run(&["exec", "1", "stop"]);
    assert_eq!(code, Some(0), "{error}");
    // Its socket is closed before it has ended; the launcher, which waits for it, takes it out of the table.
    let pid = pids(&report)[1];
    wait_until("node 1 is still there", || !std::path::Path::new(&format!("/proc/{pid}")).exists());
    let (code, said, error) = terminal.run(&["down"]);
    assert_eq!(code, Some(0), "{said}{error}");
    assert_eq!(launcher.ended().code(), Some(3), "a node had ended");
    std::fs::remove_dir_all(report["dir"].as_str().unwrap()).unwrap();
}

#[test]
fn nothing_is_left_of_a_launcher_that_is_killed() {
    let terminal = Terminal::new();
    let (mut launcher, report) = terminal.up(&[]);
    let dir = PathBuf::from(report["dir"].as_str().unwrap());
    assert!(dir.exists());
    launcher.kill();
    wait_until("nodes still run", || !pids(&report).into_iter().any(runs));
    wait_until("the folder is still there", || !dir.exists());
    assert!(terminal.run(&["status"]).2.contains("no testnet runs"));
    let listed = std::fs::read_dir(terminal.0.path().join("weft-testnet")).unwrap().count();
    assert_eq!(listed, 0, "it is still listed");
}

fn namespaces(launcher: u32) -> usize {
    let listed = std::fs::read_dir(Path::new("/run/netns")).into_iter().flatten();
    let prefix = format!("weft-{launcher}-");
    listed
        .filter(|entry| {
            entry.as_ref().is_ok_and(|entry| entry.file_name().to_string_lossy().starts_with(&prefix))
        })
        .count()
}

#[test]
fn each_node_has_a_namespace_and_none_is_left() {
    let _alone = alone();
    let terminal = Terminal::new();
    let probe = format!("weft-{}-try", std::process::id());
    let ip = |args: &[&str]| Command::new("ip").args(args).output().is_ok_and(|done| done.status.success());
    if !ip(&["netns", "add", &probe]) {
        // What a user without the right sees is one line, and nothing is left.
        let (code, _, error) = terminal.run(&["--netns", "--no-tour", "--peers", "2"]);
        assert!(code == Some(2) && error.contains("no network namespaces: "), "{error}");
        let why = "network namespaces take root and iproute2";
        return skip("each_node_has_a_namespace_and_none_is_left", why).unwrap();
    }
    assert!(ip(&["netns", "del", &probe]));
    let (mut launcher, report) = terminal.up(&["--netns", "--rate", "50"]);
    let pid = launcher.id();
    assert_eq!(namespaces(pid), 3, "two nodes and a hub");
    let listen: Vec<&str> =
        report["peers"].as_array().unwrap().iter().map(|peer| peer["listen"][0].as_str().unwrap()).collect();
    assert!(listen[0].contains("/10.77.0.1/") && listen[1].contains("/10.77.0.2/"), "{listen:?}");
    let (code, said, error) = terminal.run(&["down"]);
    assert_eq!(code, Some(0), "{said}{error}");
    assert_eq!(launcher.ended().code(), Some(0));
    assert_eq!(namespaces(pid), 0);

    let (mut launcher, _) = terminal.up(&["--netns"]);
    let pid = launcher.id();
    launcher.kill();
    wait_until("namespaces are left of a killed launcher", || namespaces(pid) == 0);

    // What even a guard that is killed could not remove, `down` does.
    let orphan = format!("weft-{}-0", launcher.id());
    assert!(ip(&["netns", "add", &orphan]));
    let (code, said, error) = terminal.run(&["down", "--json"]);
    assert_eq!(code, Some(0), "{error}");
    let said: Value = serde_json::from_str(&said).unwrap();
    // Others may have died on this machine.
    assert!(said["orphans"].as_array().unwrap().contains(&pid.into()), "{said}");
    assert_eq!(namespaces(pid), 0);
}
