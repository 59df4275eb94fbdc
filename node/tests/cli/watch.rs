//! `weft watch` beside a test.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::node::Node;

/// How long an event may take to come.
const WAIT: Duration = Duration::from_secs(90);
/// Events that wait for the test; more wait in the program.
const EVENTS_MAX: usize = 1_024;

/// What `weft watch` shows of a process. Killed with the test, however that ends.
pub(super) struct Watch {
    child: Child,
    events: Receiver<Value>,
}

impl Drop for Watch {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Watch {
    /// Everything from this slot on.
    pub(super) fn start(node: &Node, process: &str, from: u64) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_weft"))
            .args(["watch", process, "--from", &from.to_string(), "--json"])
            .env_clear()
            .env("WEFT_DATA_DIR", node.folder.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let (sender, events) = sync_channel(EVENTS_MAX);
        // It ends when the program does, or when nobody reads what it sends.
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                let event = serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"));
                if sender.send(event).is_err() {
                    return;
                }
            }
        });
        Self { child, events }
    }

    /// The next event for which this holds; the others before it are passed over.
    pub(super) fn until(&self, what: &str, holds: impl Fn(&Value) -> bool) -> Value {
        let deadline = Instant::now() + WAIT;
        let mut last = Value::Null;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.events.recv_timeout(left) {
                Ok(event) if holds(&event) => return event,
                Ok(event) => last = event,
                Err(error) => panic!("{what}: {error}; the last event was {last}"),
            }
        }
    }
}
