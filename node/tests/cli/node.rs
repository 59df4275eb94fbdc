//! Commands against a real node.

use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::watch::Watch;
use super::{Ran, weft};

/// How long a node may take to end: it finishes what it began and closes its store.
const STOP_WAIT: Duration = Duration::from_secs(60);

/// How long something may take to come about between nodes, or in the background of one.
pub(super) const WAIT: Duration = Duration::from_secs(180);

/// How often is looked: each time is a program that starts, on a machine that others use.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// Looks until it is there; says at the deadline what was seen last.
pub(super) fn until<T>(what: &str, mut look: impl FnMut() -> Result<T, String>) -> T {
    let deadline = Instant::now() + WAIT;
    loop {
        match look() {
            Ok(found) => return found,
            Err(last) => assert!(Instant::now() < deadline, "{what}: {last}"),
        }
        // tidy-allow(sleep): another program is asked again, with a deadline; it does not say when it is ready.
        std::thread::sleep(LOOK_AGAIN);
    }
}

/// Looks until it is this.
pub(super) fn until_is(what: &str, wanted: &Value, mut look: impl FnMut() -> Value) {
    until(what, || match look() {
        found if found == *wanted => Ok(()),
        found => Err(found.to_string()),
    });
}

/// A running `weft up`, killed when the test ends before it was stopped.
pub(super) struct Node {
    pub(super) folder: tempfile::TempDir,
    child: Child,
    out: Option<BufReader<ChildStdout>>,
    pub(super) ready: Value,
}

impl Drop for Node {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub(super) fn up(folder: &Path, extra: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_weft"));
    let listen = ["--listen", "/ip4/127.0.0.1/tcp/0"];
    command
        .args(["up", "--json"])
        .args(if extra.contains(&"--listen") { &[][..] } else { &listen })
        .args(if extra.contains(&"--log") { &[][..] } else { &["--log", "warn"] })
        .args(["--weave-block-ms", "100"])
        .args(if extra.contains(&"--anchor-batch-age-ms") {
            &[][..]
        } else {
            &["--anchor-batch-age-ms", "100"]
        })
        .args(extra)
        .env_clear()
        .env("WEFT_DATA_DIR", folder)
        .env("RUST_BACKTRACE", "1")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

impl Node {
    pub(super) fn start() -> Self {
        Self::start_with(&[])
    }

    /// A node in a new folder, with more flags.
    pub(super) fn start_with(extra: &[&str]) -> Self {
        Self::start_as(tempfile::tempdir().unwrap(), extra)
    }

    pub(super) fn start_in(folder: tempfile::TempDir) -> Self {
        Self::start_as(folder, &[])
    }

    pub(super) fn start_as(folder: tempfile::TempDir, extra: &[&str]) -> Self {
        let command = up(folder.path(), extra);
        Self::start_by(folder, command)
    }

    /// The node that a command runs, of this folder.
    pub(super) fn start_by(folder: tempfile::TempDir, mut command: Command) -> Self {
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let child = command.spawn().unwrap();
        let mut node = Self { folder, child, out: None, ready: Value::Null };
        let mut out = BufReader::new(node.child.stdout.take().unwrap());
        let (sender, first) = std::sync::mpsc::sync_channel(1);
        std::thread::spawn(move || {
            let mut line = String::new();
            out.read_line(&mut line).unwrap();
            // Nobody waits any more where it took too long.
            let _ = sender.send((line, out));
        });
        let (line, out) = first.recv_timeout(WAIT).expect("the node does not come up");
        node.ready = serde_json::from_str(&line).unwrap_or_default();
        if node.ready.is_null() {
            let mut error = String::new();
            node.child.stderr.take().unwrap().read_to_string(&mut error).unwrap();
            panic!("not ready: {line} {error}");
        }
        node.out = Some(out);
        node
    }

    /// A node that has found this one.
    pub(super) fn start_beside(&self, extra: &[&str]) -> Self {
        self.join_as(tempfile::tempdir().unwrap(), extra)
    }

    /// As [`start_beside`](Self::start_beside), in a folder that there is.
    pub(super) fn join_as(&self, folder: tempfile::TempDir, extra: &[&str]) -> Self {
        let peer = self.ready["listen"][0].as_str().unwrap();
        let node = Self::start_as(folder, &[&["--bootstrap", peer], extra].concat());
        until("the nodes find each other", || match &node.json(&["status"])["peers"] {
            peers if peers == 0 => Err("no peers".to_owned()),
            _ => Ok(()),
        });
        node
    }

    /// What it logs from now on, once. Somebody must read it, or the node stands still one day.
    pub(super) fn log(&mut self) -> impl BufRead + Send + 'static {
        BufReader::new(self.child.stderr.take().unwrap())
    }

    pub(super) fn weft(&self, args: &[&str]) -> Ran {
        weft(self.folder.path(), args)
    }

    pub(super) fn json(&self, args: &[&str]) -> Value {
        self.weft(&[args, &["--json"]].concat()).expect(0).json()
    }

    /// Kills it where it stands, and returns its folder.
    pub(super) fn killed(mut self) -> tempfile::TempDir {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        std::mem::replace(&mut self.folder, tempfile::tempdir().unwrap())
    }

    /// Stops it by command, and returns its folder once it has ended well.
    pub(super) fn stop(mut self) -> tempfile::TempDir {
        assert_eq!(self.json(&["stop"]), json!({ "stopped": true }));
        self.ends();
        std::mem::replace(&mut self.folder, tempfile::tempdir().unwrap())
    }

    /// The folder of one that has ended by itself, with its exit code and its log; one that still runs.
    pub(super) fn ended(mut self) -> Result<(tempfile::TempDir, Option<i32>, String), Box<Self>> {
        let Some(status) = self.child.try_wait().unwrap() else { return Err(Box::new(self)) };
        let mut log = String::new();
        self.child.stderr.take().unwrap().read_to_string(&mut log).unwrap();
        let folder = std::mem::replace(&mut self.folder, tempfile::tempdir().unwrap());
        Ok((folder, status.code(), log))
    }

    /// Stops it as Ctrl-C does, or whoever signals a process and then its group: it ends well all the same.
    pub(super) fn interrupt(mut self) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args(["-INT", &pid]).status().unwrap().success());
        // It may have ended by now.
        let _ = Command::new("kill").args(["-TERM", &pid]).stderr(Stdio::null()).status().unwrap();
        self.ends();
    }

    /// Waits until it has ended well.
    fn ends(&mut self) {
        // Its standard output ends when it does. One that does not end is killed with the test.
        let (ended, end) = std::sync::mpsc::sync_channel(1);
        let mut out = self.out.take().unwrap();
        let reading = std::thread::spawn(move || {
            let mut rest = String::new();
            out.read_to_string(&mut rest).unwrap();
            ended.send(rest).unwrap();
        });
        let rest = end.recv_timeout(STOP_WAIT).expect("the node does not end");
        assert_eq!(rest, "", "only the ready line goes to standard output");
        reading.join().unwrap();
        assert_eq!(self.child.wait().unwrap().code(), Some(0));
    }

    /// Adds the counter's module.
    pub(super) fn add_counter(&self) -> String {
        let module = self.folder.path().join("counter.wasm");
        std::fs::write(&module, weft_vm::guests::COUNTER).unwrap();
        let added = self.json(&["module", "add", module.to_str().unwrap(), "--format", "wasm32-weft-plain"]);
        let module = added["module"].as_str().unwrap();
        let listed = self.json(&["module", "list"]);
        assert!(listed.as_array().unwrap().iter().any(|listed| listed["module"] == module), "{listed}");
        module.to_owned()
    }

    pub(super) fn counter(&self) -> String {
        let module = self.add_counter();
        let spawned = self.json(&["spawn", "--module", &module, "--name", "counter"]);
        assert_eq!((&spawned["id"], &spawned["slot"]), (&spawned["process"], &json!(0)));
        spawned["id"].as_str().unwrap().to_owned()
    }
}

#[test]
fn the_ready_line_says_who_and_where_and_what_leaves() {
    let node = Node::start();
    let key = node.json(&["key"]);
    assert_eq!((&node.ready["address"], &node.ready["peer_id"]), (&key["address"], &key["peer_id"]));
    assert!(node.ready["listen"][0].as_str().unwrap().starts_with("/ip4/127.0.0.1/tcp/"));
    assert!(node.ready["leaves"].as_str().unwrap().contains("nothing is written to Arweave"));
    assert_eq!(node.ready["pid"], node.child.id());
    let status = node.json(&["status"]);
    assert_eq!(status["address"], key["address"]);
    assert_eq!(status["network"], "local");
    assert_eq!(node.json(&["peers"]), json!([]));
    assert_eq!(node.json(&["processes"]), json!([]));
    node.stop();
}

#[test]
fn a_process_is_started_used_shown_and_verified() {
    let node = Node::start();
    let process = node.counter();
    let sent = node.json(&["send", &process, "--action", "Increment", "--wait"]);
    assert_eq!((&sent["slot"], &sent["result"]["result"]["Output"]), (&json!(1), &json!("1")));
    let failed = node.weft(&["send", &process, "--action", "Fail", "--wait", "--json"]).expect(1).json();
    assert_eq!(failed["result"]["result"]["Error"], "counter: failed as asked");
    let item = sent["id"].as_str().unwrap();
    assert_eq!(node.json(&["result", &process, item])["result"]["Output"], "1");
    assert_eq!(node.json(&["result", &process, "--slot", "1", "--wait"])["result"]["Output"], "1");
    let human = node.weft(&["send", &process, "--action", "Increment", "--wait", "--quiet"]).expect(0);
    assert!(human.text().starts_with("2\nslot 3: code 0"), "{}", human.text());

    let listed = node.json(&["processes"]);
    assert_eq!(
        (&listed[0]["process"], &listed[0]["name"], &listed[0]["head"]),
        (&json!(process), &json!("counter"), &json!(3))
    );
    let detail = node.json(&["inspect", &process, "--slots", "0..3", "--state-root"]);
    assert_eq!(detail["slots"].as_array().unwrap().len(), 3);
    assert_eq!(detail["slots"][1]["action"], "Increment");
    assert!(detail["state_root"].is_string());
    assert_eq!(node.json(&["inspect", item])["tags"][1], json!({ "name": "Action", "value": "Increment" }));
    let verified = node.json(&["verify", &process]);
    assert_eq!((&verified["slots"], &verified["difference"]), (&json!(4), &Value::Null));
    assert!(node.json(&["weave"])["weave"].as_str().unwrap().starts_with("local:"));
    node.stop();
}

#[test]
fn the_same_item_sent_twice_is_one_message() {
    let node = Node::start();
    let process = node.counter();
    let send = || {
        node.json(&[
            "send",
            &process,
            "--action",
            "Increment",
            "--anchor",
            "0123456789abcdef0123456789abcdef",
        ])
    };
    let (first, second) = (send(), send());
    assert_eq!((&first["duplicate"], &second["duplicate"]), (&json!(false), &json!(true)));
    assert_eq!((&first["id"], &first["slot"]), (&second["id"], &second["slot"]));
}

#[test]
fn watching_shows_slots_and_outcomes_as_they_come() {
    let node = Node::start();
    let process = node.counter();
    let watch = Watch::start(&node, &process, 0);
    let event = |kind: &str, slot: u64| {
        watch.until(kind, |event| {
            let at = event.get("slot").or_else(|| event["position"].get("slot"));
            event["kind"] == kind && at == Some(&json!(slot))
        })
    };
    event("slot", 0);
    node.json(&["send", &process, "--action", "Increment"]);
    assert_eq!(event("slot", 1)["action"], "Increment");
    assert_eq!(event("outcome", 1)["output"], "1");
}

#[test]
fn what_the_node_does_not_know_is_a_no() {
    let node = Node::start();
    let nobody = "6oYAxVAnH8yKsZKpMgHSbRv7uVWey68PAqYuSXeZBbg";
    let commands: &[&[&str]] =
        &[&["inspect", nobody], &["result", nobody, nobody], &["verify", nobody], &["watch", nobody]];
    for command in commands {
        let (code, text) = node.weft(&[command, &["--json"][..]].concat()).expect(1).error();
        assert_eq!(code, "unknown", "{text}");
        assert!(text.contains(nobody), "{text}");
    }
    // Whether it has that slot is for its scheduler to say.
    let (_, text) = node.weft(&["result", nobody, "--slot", "1", "--json"]).expect(1).error();
    assert!(text.contains(&format!("`weft host {nobody}`")), "{text}");
    let spawn = node.weft(&["spawn", "--module", nobody, "--json"]);
    assert!([0, 1].contains(&spawn.code), "{}", spawn.err);
}

#[test]
fn one_folder_has_one_node_and_it_comes_back() {
    let node = Node::start();
    let process = node.counter();
    node.json(&["send", &process, "--action", "Increment", "--wait"]);
    let second = up(node.folder.path(), &[]).output().unwrap();
    assert_eq!(second.status.code(), Some(5), "{}", String::from_utf8_lossy(&second.stderr));
    let text = String::from_utf8(second.stderr).unwrap();
    assert!(text.contains("\"error\"") && text.contains("another"), "{text}");
    let again = Node::start_in(node.stop());
    let sent = again.json(&["send", &process, "--action", "Increment", "--wait"]);
    assert_eq!(sent["result"]["result"]["Output"], "2");
    again.stop();
}

#[test]
fn a_node_that_cannot_start_says_why() {
    let folder = tempfile::tempdir().unwrap();
    let ran = up(folder.path(), &["--roles", "boss"]).output().unwrap();
    assert_eq!(ran.status.code(), Some(2));
    let text = String::from_utf8(ran.stderr).unwrap();
    assert!(text.contains("flag --roles: `roles` is \\\"boss\\\""), "{text}");
    std::fs::write(folder.path().join("weft.toml"), "netwrok = \"x\"").unwrap();
    let ran = up(folder.path(), &[]).output().unwrap();
    assert_eq!(ran.status.code(), Some(2));
    assert!(String::from_utf8(ran.stderr).unwrap().contains("did you mean `network`?"));
}
