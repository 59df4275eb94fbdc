//! `weft console`: as a script, and at a terminal.

use std::fs::File;
use std::io::Write;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::Receiver;
use std::time::Duration;

use serde_json::{Value, json};

use super::node::{Node, until, until_is};
use super::top::{is_cooked, read_until, shown, terminal};
use super::{Ran, weft_with};

/// How long anything may take.
const WAIT: Duration = Duration::from_secs(60);

fn spawn(node: &Node) -> String {
    node.json(&["spawn", "--name", "hello"])["id"].as_str().unwrap().to_owned()
}

/// Gives the console a script.
fn script(node: &Node, process: &str, more: &[&str], text: &str) -> Ran {
    weft_with(node.folder.path(), &[&["console", process], more].concat(), &[], text.as_bytes())
}

#[test]
fn a_script_runs_piece_by_piece_until_one_fails() {
    let node = Node::start();
    let process = spawn(&node);
    let text = "Count = 40\n\n-- a handler\nHandlers.add('Add', function(msg)\n  Count = Count + msg.Data\nend)\nCount + 2";
    let ran = script(&node, &process, &[], text).expect(0);
    assert!(ran.text().contains("\n42\nslot 3: code 0"), "{}", ran.text());
    assert_eq!(node.json(&["state", &process, "Count"])["value"], 40);
    // What comes after an error does not run, and nothing of the failed piece stays.
    let ran = script(
        &node,
        &process,
        &[],
        "Count = 1\nfunction f()\n  Count = 2\n  error('oh')\nend f()\nCount = 3\n",
    )
    .expect(1);
    assert!(ran.text().contains("eval:3: oh"), "{}", ran.text());
    assert_eq!(node.json(&["state", &process, "Count"])["value"], 1);
    // A string goes on in the next line where Lua says so.
    let ran = script(&node, &process, &[], "s = 'a\\\nb' .. \"\\z\n  c\"\n#s\n").expect(0);
    assert!(ran.text().contains("\n4\n"), "{}", ran.text());
    // A piece without an end is Lua's to judge, and a dry run keeps nothing.
    let ran = script(&node, &process, &[], "for i = 1, 2 do").expect(1);
    assert!(ran.text().contains("'end' expected near <eof>"), "{}", ran.text());
    script(&node, &process, &[], "-- a command after a remark\n\n.dryrun\nCount = 9\n.exit\nCount = 10")
        .expect(0);
    assert_eq!(node.json(&["state", &process, "Count"])["value"], 1);
    let ran = script(&node, &process, &["--json"], "Count\nCount + 1").expect(0);
    let shown: Vec<Value> = ran.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let printed = |at: usize| shown[at]["result"]["result"]["Output"]["data"].clone();
    assert_eq!([printed(0), printed(1)], ["1", "2"]);
    let (code, text) = script(&node, &process, &["--json"], ".laod x").expect(2).error();
    assert!(code == "input" && text.contains("`.help`"), "{text}");
}

#[test]
fn a_program_of_several_files_is_loaded_and_its_errors_name_them() {
    let node = Node::start();
    let process = spawn(&node);
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    file(
        "sums.lua",
        "local json = require('json')\nlocal sums = {}\nfunction sums.of(a, b)\n  return a + b\nend\nreturn sums",
    );
    let main = file("main.lua", "local sums = require('sums')\nSum = sums.of(20, 22)\nreturn sums.of(1, {})");
    let ran = script(&node, &process, &[], &format!(".load {main}")).expect(1);
    assert!(ran.text().contains("sums.lua:4: attempt to perform arithmetic on a table"), "{}", ran.text());
    let main = file("main.lua", "local sums = require('sums')\nSum = sums.of(20, 22)\nreturn Sum");
    let ran = script(&node, &process, &[], &format!(".load {main}\nrequire('sums').of(1, 2)")).expect(0);
    assert!(ran.text().starts_with("42\n") && ran.text().contains("\n3\n"), "{}", ran.text());
    let ran = script(&node, &process, &[], ".load-blueprint token\n.load-blueprint\nTicker").expect(0);
    assert!(ran.text().contains("stablecoin, token, voting\nEXA\n"), "{}", ran.text());
    script(&node, &process, &[], ".load none.lua").expect(2);
    let refused = script(&node, &process, &[], ".monitor\n1 + 1").expect(1);
    assert!(refused.err.contains("no Cron-Interval") && refused.text().is_empty(), "{}", refused.err);
    let spawned = node.json(&["spawn", "--tag", "Cron-Interval=1-minute"]);
    let ran = script(&node, spawned["id"].as_str().unwrap(), &[], ".monitor\n.unmonitor").expect(0);
    let duties: Vec<&str> = ran.text().lines().collect();
    assert!(duties.len() == 2 && duties[0].contains("cron") && !duties[1].contains("cron"), "{duties:?}");
}

/// A console at a terminal, killed when the test ends before it.
struct Console(Child);

impl Drop for Console {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A person at the terminal.
struct Desk {
    person: File,
    shown: Receiver<Vec<u8>>,
    /// What was shown and not looked at yet.
    seen: String,
}

impl Desk {
    /// Waits for a text, and for nothing before it any more.
    fn sees(&mut self, text: &str) {
        read_until(&self.shown, &mut self.seen, text);
        let end = self.seen.find(text).unwrap() + text.len();
        self.seen.drain(..end);
    }

    /// Completes what was typed, as soon as the process has shown what it keeps: until then the bell rings.
    fn completes(&mut self, text: &str) {
        const BELL: &str = "\x07";
        loop {
            self.person.write_all(b"\t").unwrap();
            while !self.seen.contains(BELL) && !self.seen.contains(text) {
                let bytes = self.shown.recv_timeout(WAIT).unwrap();
                self.seen.push_str(&String::from_utf8_lossy(&bytes));
            }
            if self.seen.contains(text) {
                return;
            }
            self.sees(BELL);
        }
    }

    /// Types once there is a prompt.
    fn types(&mut self, text: &str) {
        self.sees("> ");
        self.person.write_all(text.as_bytes()).unwrap();
    }
}

/// A person at a terminal with a console, and the console's end of it.
fn sit_down(at: &Node, process: &str) -> (Console, Desk, File) {
    let (person, program) = terminal();
    let end = || Stdio::from(program.try_clone().unwrap());
    let console = Command::new(env!("CARGO_BIN_EXE_weft"))
        .args(["console", process])
        .env_clear()
        .env("WEFT_DATA_DIR", at.folder.path())
        .env("TERM", "xterm")
        .stdin(end())
        .stdout(end())
        .stderr(end())
        .spawn()
        .unwrap();
    (Console(console), Desk { shown: shown(&person), seen: String::new(), person }, program)
}

#[test]
fn a_signal_gives_the_terminal_back() {
    let node = Node::start();
    let process = spawn(&node);
    for signal in [libc::SIGTERM, libc::SIGHUP] {
        let (mut console, mut desk, terminal) = sit_down(&node, &process);
        desk.types("half a line");
        desk.sees("half a line");
        until_is("keys are read", &json!(false), || json!(is_cooked(&terminal)));
        // SAFETY: it is our child, and was not waited for yet.
        assert_eq!(unsafe { libc::kill(console.0.id().cast_signed(), signal) }, 0);
        let code = until("it ends", || console.0.try_wait().unwrap().ok_or("it runs".to_owned())).code();
        assert_eq!(code, Some(0), "signal {signal}");
        assert!(is_cooked(&terminal), "signal {signal} leaves the terminal raw");
    }
}

#[test]
fn a_person_types_and_sees_what_others_send() {
    let node = Node::start();
    let process = spawn(&node);
    // A node that does nothing for the process: it asks its peers.
    let other = node.start_beside(&["--roles", ""]);
    for (at, computes) in [(&node, true), (&other, false)] {
        let (mut console, mut desk, _) = sit_down(at, &process);
        if computes {
            // Two lines are one piece, and what the process has is completed.
            desk.types("function thrice(x)\r return 3 * x end\r");
            desk.sees("code 0");
            desk.types("Seven = 7\r");
            desk.sees("code 0");
            desk.types("thrice(Sev");
            desk.completes("Seven");
            desk.person.write_all(b")\r").unwrap();
            desk.sees("\n21");
            desk.types("error('oh')\r");
            desk.sees("eval:1: oh");
        } else {
            desk.types("1 + 1\r");
            desk.sees("of its attestors");
        }
        // Somebody else sends while nothing is typed.
        desk.types("");
        let sender = if computes { &other } else { &node };
        let sent = sender.weft(&["send", &process, "--action", "Greet", "--data", "hi"]);
        assert_eq!(sent.code, 0, "{}", sent.err);
        desk.sees(": Greet");
        desk.sees("Message from");
        desk.types("\x04");
        let code = until("it ends", || console.0.try_wait().unwrap().ok_or("it runs".to_owned())).code();
        assert_eq!(code, Some(0));
        let history = std::fs::read_to_string(at.folder.path().join("console-history")).unwrap();
        assert!(history.contains(if computes { "error('oh')" } else { "1 + 1" }), "{history}");
    }
}
