//! The page of the examples, followed word for word as a newcomer would: every command in it is typed into
//! a shell, in order, beside a node that `weft up` started.
//!
//! A command must end well, and one with JSON behind its `#` must print it, soon: what processes send each
//! other takes its time, and so do crons. Before each command everything that was sent has arrived, as it has
//! when a person types.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{self, Receiver};

use serde_json::{Value, json};

use super::node::{Node, WAIT, until};
use super::socket::ask;

/// Where the pages lie.
const EXAMPLES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../testnet/examples");
/// Begins the line that ends what a command prints; its exit code follows.
const END: &str = "@@ended ";

/// A shell that is typed into.
struct Shell {
    child: Child,
    typed: ChildStdin,
    /// Its lines, as they come.
    shown: Receiver<String>,
}

impl Drop for Shell {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Shell {
    /// In the folder of the page, where `weft` is this build's and talks to this node.
    fn start(node: &Node, folder: &Path) -> Self {
        let weft = Path::new(env!("CARGO_BIN_EXE_weft")).parent().unwrap();
        let path = format!("{}:{}", weft.display(), std::env::var("PATH").unwrap());
        let mut child = Command::new("bash")
            .args(["--norc", "-o", "pipefail"])
            .current_dir(folder)
            .env_clear()
            .env("PATH", path)
            .env("WEFT_DATA_DIR", node.folder.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (typed, lines) =
            (child.stdin.take().unwrap(), BufReader::new(child.stdout.take().unwrap()).lines());
        let (show, shown) = mpsc::channel();
        // It ends with the shell.
        std::thread::spawn(move || lines.map_while(Result::ok).try_for_each(|line| show.send(line)));
        Self { child, typed, shown }
    }

    /// What a command prints, and its exit code. One that never ends fails the test.
    fn run(&mut self, command: &str) -> (String, i32) {
        writeln!(self.typed, "{{\n{command}\n}} </dev/null\necho \"\n{END}$?\"").unwrap();
        let mut out = String::new();
        loop {
            let line = self.shown.recv_timeout(WAIT);
            let line = line.unwrap_or_else(|why| panic!("{why}: {command}\n{out}"));
            if let Some(code) = line.strip_prefix(END) {
                return (out, code.trim().parse().unwrap());
            }
            out.push_str(&line);
            out.push('\n');
        }
    }
}

/// The commands of a page: its indented lines, those that belong together as one.
fn commands(page: &str) -> Vec<String> {
    let mut commands = Vec::new();
    let mut command = String::new();
    for line in page.lines().filter_map(|line| line.strip_prefix("    ")) {
        command.push_str(line);
        let complete = Command::new("bash").args(["-n", "-c", &command]).stderr(Stdio::null()).status();
        if line.ends_with('\\') || !complete.unwrap().success() {
            command.push('\n');
        } else {
            commands.push(std::mem::take(&mut command));
        }
    }
    assert_eq!(command, "", "a command of the page has no end");
    commands
}

/// The JSON with which the remark behind a command begins; none of one that is words.
fn promised(command: &str) -> Option<Value> {
    let (_, remark) = command.rsplit_once(" # ")?;
    let is_json = remark.starts_with(|first: char| first.is_ascii_digit() || r#"{["-"#.contains(first));
    let json = serde_json::Deserializer::from_str(remark).into_iter().next()?;
    assert!(!is_json || json.is_ok(), "what is promised cannot be read: {command}");
    json.ok()
}

/// Waits until every message is evaluated, and whatever was sent has its slot.
fn settle(node: &Node) {
    // One process is looked at after the other: what came to an earlier one since shows in the next round.
    let mut before = Vec::new();
    until("all messages to arrive", || {
        let mut heads = Vec::new();
        let all = ask(node.folder.path(), &json!({ "do": "processes" }));
        for info in all["done"].as_array().unwrap() {
            let request = json!({ "do": "process", "process": info["process"] });
            let detail = &ask(node.folder.path(), &request)["done"];
            if detail["computed"]["slot"] != detail["head"] || detail["outbox_pending"] != 0 {
                return Err(detail.to_string());
            }
            heads.push(detail["head"].clone());
        }
        let is_quiet = before == heads;
        before = heads;
        if is_quiet { Ok(()) } else { Err("more came".to_owned()) }
    });
}

/// Follows a page of the examples beside a node, and gives how many of its commands show something.
fn follow(page: &str, node: &Node) -> usize {
    let folder = Path::new(EXAMPLES);
    let page = std::fs::read_to_string(folder.join(page)).unwrap();
    let mut shell = Shell::start(node, folder);
    let (commands, mut seen) = (commands(&page), 0);
    for command in &commands {
        settle(node);
        let Some(promised) = promised(command) else {
            let (out, code) = shell.run(command);
            assert_eq!(code, 0, "{command}\n{out}");
            continue;
        };
        seen += 1;
        until(command, || {
            let (out, code) = shell.run(command);
            // Nothing is there until what was sent has arrived.
            if code != 0 {
                return Err(out);
            }
            let found: Value = serde_json::from_str(&out).map_err(|error| format!("{error}: {out}"))?;
            if found == promised { Ok(()) } else { Err(found.to_string()) }
        });
    }
    seen
}

#[test]
fn the_page_of_the_examples_is_true() {
    let seen = follow("README.md", &Node::start());
    // Each program has a section, in which something is shown.
    let programs = std::fs::read_dir(EXAMPLES).unwrap().filter(|entry| {
        entry.as_ref().unwrap().path().extension().is_some_and(|extension| extension == "lua")
    });
    assert!(seen >= programs.count(), "{seen} commands show something");
}

#[test]
fn the_page_of_earning_is_true() {
    let node = Node::start_with(&["--price", "1000000000"]);
    assert_eq!(follow("earn.md", &node), 2, "what was paid, and where it is");
}

#[test]
#[should_panic(expected = "cannot be read")]
fn a_promise_with_a_typing_error_is_none() {
    assert_eq!(promised("weft x # words"), None);
    assert_eq!(promised("weft x # 7, and words"), Some(json!(7)));
    promised(r#"weft x # {"a": 1"#);
}
