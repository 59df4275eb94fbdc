//! The launcher as its users run it: real nodes, the real tour.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::io::{ErrorKind, Read as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use serde_json::Value;

mod launched;
#[path = "../../tests/src/skip.rs"]
mod skip;
use launched::{Launched, Underway};
use skip::skip;

/// How long a tour may take, with two of aos, on a machine with other work.
const RUN_WAIT: Duration = Duration::from_secs(600);

/// How long nodes may take to be gone after their launcher.
const GONE_WAIT: Duration = Duration::from_secs(30);
/// How often a process that is not ours is looked at.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

fn run(args: &[&str]) -> Output {
    Launched::run(args, RUN_WAIT)
}

/// The one line of JSON that a run ends with.
fn report(output: &Output) -> Value {
    let text = String::from_utf8_lossy(&output.stdout);
    let last = text
        .lines()
        .last()
        .unwrap_or_else(|| panic!("no report; the errors are: {}", String::from_utf8_lossy(&output.stderr)));
    serde_json::from_str(last).unwrap()
}

/// A testnet without a tour that stays up, and its report.
fn staying(args: &[&str]) -> (Launched, Value) {
    let (launched, line) = Launched::up(&[&["--no-tour", "--json", "--peers", "2"], args].concat());
    (launched, serde_json::from_str(&line).unwrap())
}

fn pids(report: &Value) -> Vec<u64> {
    report["peers"].as_array().unwrap().iter().map(|peer| peer["pid"].as_u64().unwrap()).collect()
}

/// Connections with every node of a report. Each breaks when its node does.
fn connected(report: &Value) -> Vec<UnixStream> {
    let socket = |peer: &Value| PathBuf::from(peer["data_dir"].as_str().unwrap()).join("weft.sock");
    let peers = report["peers"].as_array().unwrap();
    peers.iter().map(|peer| UnixStream::connect(socket(peer)).unwrap()).collect()
}

/// Whether a process runs. One that has ended and is not yet reaped does not.
fn runs(pid: u64) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(')').is_some_and(|(_, rest)| !rest.trim_start().starts_with('Z'))
}

fn expect_gone(pids: &[u64]) {
    let deadline = Instant::now() + GONE_WAIT;
    while pids.iter().any(|pid| runs(*pid)) {
        assert!(Instant::now() < deadline, "some of {pids:?} still run");
        // tidy-allow(sleep): polls processes that are not our children, with a deadline
        std::thread::sleep(LOOK_AGAIN);
    }
}

/// How a run ends that cannot begin. It leaves no folder of its own.
fn error_of(args: &[&str]) -> (Option<i32>, String) {
    let dir = tempfile::tempdir().unwrap();
    let output = Launched::run_with(args, &[("TMPDIR", dir.path().as_os_str())], RUN_WAIT);
    let left: Vec<_> = std::fs::read_dir(dir.path()).unwrap().flatten().map(|entry| entry.path()).collect();
    assert!(left.is_empty(), "{args:?} leaves {left:?}");
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

#[test]
fn four_peers_end_the_tour_green_and_are_gone() {
    let output = run(&["--once", "--peers", "4", "--json"]);
    let report = report(&output);
    assert_eq!(output.status.code(), Some(0), "{report:#}");
    assert_eq!(report["ok"], true);
    assert_eq!(report["peers"].as_array().unwrap().len(), 4);
    let steps = report["steps"].as_array().unwrap();
    let names: Vec<&str> = steps.iter().map(|step| step["name"].as_str().unwrap()).collect();
    for name in
        ["peers", "module", "spawn", "host", "send", "fail", "push", "compare", "anchor", "verify", "stop"]
    {
        assert!(names.contains(&name), "no step {name} in {names:?}");
    }
    assert!(
        steps.iter().all(|step| !step["checks"].as_array().unwrap().is_empty()),
        "a step expects nothing"
    );
    let processes = report["processes"].as_array().unwrap();
    assert!(processes.len() >= 2 && processes.iter().all(|process| process["equal"] == true));
    assert!(processes[0]["computed"].as_array().unwrap().len() >= 3);
    assert_eq!(processes[0]["quorum"], 2);
    let pushed = |process: &Value| {
        process["slots"].as_array().unwrap().iter().filter(|slot| slot["pushed"] == true).count()
    };
    assert_eq!(pushed(&processes[1]), 1, "one push is one slot");
    assert!(!report["batches"].as_array().unwrap().is_empty());
    // Where the interop suite is installed, aos is toured too.
    assert_eq!(report["aos_skipped"].is_null(), processes.len() == 6);
    if let Some(why) = report["aos_skipped"].as_str() {
        skip("four_peers_end_the_tour_green_and_are_gone (aos)", why).unwrap();
    }
    expect_gone(&pids(&report));
    assert!(!Path::new(report["dir"].as_str().unwrap()).exists(), "the folder is still there");
}

#[test]
fn two_peers_are_enough() {
    let output = run(&["up", "--once", "--peers", "2", "--json"]);
    let report = report(&output);
    assert_eq!(output.status.code(), Some(0), "{report:#}");
}

#[test]
fn nodes_end_with_a_launcher_that_is_killed() {
    let dir = tempfile::tempdir().unwrap();
    let (mut launcher, report) = staying(&["--dir", dir.path().to_str().unwrap()]);
    let mut connections = connected(&report);
    let pids = pids(&report);
    assert!(pids.len() == 2 && pids.iter().all(|pid| runs(*pid)));
    launcher.kill();
    for connection in &mut connections {
        connection.set_read_timeout(Some(GONE_WAIT)).unwrap();
        // A node that had something to say when it ended resets the connection instead.
        match connection.read(&mut [0; 1]) {
            Err(error) if error.kind() == ErrorKind::ConnectionReset => {}
            read => assert_eq!(read.unwrap(), 0, "the node still serves"),
        }
    }
    expect_gone(&pids);
}

#[test]
fn a_signal_ends_everything_in_order() {
    let (mut launcher, report) = staying(&[]);
    let dir = PathBuf::from(report["dir"].as_str().unwrap());
    assert!(dir.exists());
    let pid = launcher.id().to_string();
    assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
    assert_eq!(launcher.ended().code(), Some(0));
    expect_gone(&pids(&report));
    assert!(!dir.exists(), "the folder is still there");
}

/// Processes that say this folder when they are asked for their arguments.
fn of_folder(dir: &Path) -> Vec<PathBuf> {
    let dir = dir.to_str().unwrap();
    let of = |entry: std::io::Result<std::fs::DirEntry>| Some(entry.ok()?.path().join("cmdline"));
    let all = std::fs::read_dir("/proc").unwrap().filter_map(of);
    // Those that have ended are no more, or have no arguments.
    all.filter(|path| std::fs::read(path).is_ok_and(|line| String::from_utf8_lossy(&line).contains(dir)))
        .collect()
}

#[test]
fn a_signal_during_the_start_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let set = [("TMPDIR", dir.path().as_os_str())];
    let mut launcher = Underway::begin(&["--no-tour", "--peers", "16"], &set);
    let is_starting = || {
        of_folder(dir.path()).iter().any(|path| {
            std::fs::read(path).is_ok_and(|line| String::from_utf8_lossy(&line).contains("--exit-with-stdin"))
        })
    };
    let deadline = Instant::now() + GONE_WAIT;
    while !is_starting() {
        assert!(!launcher.has_ended() && Instant::now() < deadline, "no node is started");
        // tidy-allow(sleep): polls processes that are not our children, with a deadline
        std::thread::sleep(LOOK_AGAIN);
    }
    let pid = launcher.id().to_string();
    assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
    let output = launcher.output(RUN_WAIT);
    // At once: it has waited for them itself.
    let running = of_folder(dir.path());
    assert!(running.is_empty(), "{running:?}");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(130), "{errors}");
    let left: Vec<_> = std::fs::read_dir(dir.path()).unwrap().flatten().collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn a_node_that_dies_as_the_end_comes_is_told() {
    let (mut launcher, report) = staying(&[]);
    let [_, node] = pids(&report)[..] else { panic!("{report}") };
    let launcher_pid = launcher.id().to_string();
    // Stopped, it finds both when it goes on: the death and the signal.
    for (signal, pid) in [
        ("-STOP", &launcher_pid),
        ("-9", &node.to_string()),
        ("-TERM", &launcher_pid),
        ("-CONT", &launcher_pid),
    ] {
        assert!(Command::new("kill").args([signal, pid]).status().unwrap().success());
    }
    assert_eq!(launcher.ended().code(), Some(3), "a node had died");
    expect_gone(&pids(&report));
    // Where a node died, the logs are kept.
    std::fs::remove_dir_all(report["dir"].as_str().unwrap()).unwrap();
}

#[test]
fn a_folder_in_use_is_no_place_for_a_second_testnet() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path().to_str().unwrap();
    let (mut launcher, report) = staying(&["--dir", dir]);
    let (code, error) = error_of(&["--once", "--no-tour", "--peers", "2", "--dir", dir]);
    launcher.kill();
    assert_eq!(code, Some(3), "{error}");
    assert!(error.contains("node 0 did not come up") && error.contains("node-0/node.log"), "{error}");
    expect_gone(&pids(&report));
}

#[test]
fn bad_input_is_one_clear_line_and_starts_nothing() {
    for (args, named) in [
        (&["--peers", "1"][..], "--peers 1: expected 2 to 64"),
        (&["--peers", "65", "--json"], "--peers 65: expected 2 to 64"),
        (&["--peers", "many"], "invalid value 'many'"),
        (&["--base-port", "65534"], "65535 is the last one"),
        (&["--dir", "/dev/null/x"], "cannot write to the folder /dev/null/x"),
        (&["--aos", "/no/such.wasm"], "cannot read the module file /no/such.wasm"),
        (&["--roles", "2=compute", "--peers", "4"], "node 2 lacks the role messenger"),
        (&["--roles", "9=compute", "--peers", "4"], "there are the peers 0 to 3"),
        (&["run", "smoek-4"], "did you mean smoke-4?"),
        (&["run", "smoke-4", "--out", "/no/such/x"], "cannot write /no/such/x: "),
        (&["bench", "--rate", "1", "--svg", "/no/such/x.svg"], "cannot write /no/such/x.svg: "),
    ] {
        let (code, error) = error_of(args);
        assert_eq!(code, Some(2), "{args:?}: {error}");
        assert!(error.contains(named), "{args:?}: {error}");
    }
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().min(65_532).to_string();
    let (code, error) = error_of(&["--once", "--peers", "4", "--base-port", &port]);
    assert_eq!(code, Some(2), "{error}");
    assert!(error.contains(&format!("port {port} of 127.0.0.1 cannot be used")), "{error}");
}

/// The first core that this process may run on.
fn a_core() -> String {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let list = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:")).unwrap().trim();
    list.split(|c: char| !c.is_ascii_digit()).next().unwrap().to_owned()
}

#[test]
fn too_few_cores_are_told_before_anything_starts() {
    // One core, whatever the machine has.
    let program = env!("CARGO_BIN_EXE_weft-testnet");
    for args in [
        &["--no-tour", "--once", "--peers", "33"][..],
        &["bench", "--rate", "1", "--for", "1s", "--peers", "33"],
    ] {
        let mut command = Command::new("taskset");
        command.args(["-c", &a_core(), program]).args(args);
        let output = Underway::of(command).output(RUN_WAIT);
        let error = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{args:?}: {error}");
        assert!(
            error.contains("33 peers are too many: on 1 core at most 32 are expected to keep up;"),
            "{args:?}: {error}"
        );
    }
}
