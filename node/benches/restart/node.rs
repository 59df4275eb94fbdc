//! The real node on a folder, timed from outside.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::sync_channel;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde_json::{Value, json};
use weft_protocol::Id;

/// How long anything may take before the node counts as stuck.
const PATIENCE: Duration = Duration::from_secs(120);
/// How long a socket that is not there yet is left alone.
const LOOK_AGAIN: Duration = Duration::from_micros(500);

/// When what was so, from the moment that the program was started; and how long stopping took.
#[derive(Debug, Clone, Copy, Default)]
pub struct Times {
    /// The control socket answered.
    pub answers: Duration,
    /// The line for launchers was out.
    pub ready: Duration,
    /// A message had its slot.
    pub assigned: Duration,
    /// It was evaluated.
    pub evaluated: Duration,
    /// From `stop` to the end of the process.
    pub stopped: Duration,
    /// Resident memory once the first message was evaluated.
    pub memory_bytes: u64,
}

/// A node that is up; killed when dropped before it was stopped.
pub struct Up {
    folder: PathBuf,
    child: Child,
}

impl Drop for Up {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Up {
    /// Starts the node of a folder and hands in one message as soon as somebody listens.
    pub fn start(folder: &Path, message: &Bytes, process: Id) -> (Self, Times) {
        let began = Instant::now();
        let mut child = Command::new(env!("CARGO_BIN_EXE_weft"))
            .args(["up", "--json", "--listen", "/ip4/127.0.0.1/tcp/0", "--log", "error"])
            .env_clear()
            .env("WEFT_DATA_DIR", folder)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut out = BufReader::new(child.stdout.take().unwrap());
        let (said, ready) = sync_channel(1);
        std::thread::spawn(move || {
            let mut line = String::new();
            out.read_line(&mut line).unwrap();
            said.send((began.elapsed(), line)).unwrap();
        });
        let mut up = Self { folder: folder.to_owned(), child };
        let mut times = Times::default();
        let mut socket = up.connect(began);
        ask(&mut socket, &json!({ "do": "status" }));
        times.answers = began.elapsed();
        let sent = ask(&mut socket, &json!({ "do": "submit", "item": STANDARD.encode(message) }));
        times.assigned = began.elapsed();
        let of = json!({ "slot": sent["slot"] });
        let wait_ms = PATIENCE.as_millis() as u64;
        ask(&mut socket, &json!({ "do": "result", "process": process, "of": of, "wait_ms": wait_ms }));
        times.evaluated = began.elapsed();
        times.memory_bytes = up.memory_bytes();
        let (took, line) = ready.recv_timeout(PATIENCE).expect("the node says that it is ready");
        assert_eq!(serde_json::from_str::<Value>(&line).unwrap()["pid"], up.child.id());
        times.ready = took;
        (up, times)
    }

    fn connect(&mut self, began: Instant) -> BufReader<UnixStream> {
        loop {
            if let Ok(socket) = UnixStream::connect(self.folder.join("weft.sock")) {
                return BufReader::new(socket);
            }
            assert_eq!(self.child.try_wait().unwrap(), None, "the node ended instead");
            assert!(began.elapsed() < PATIENCE, "the node opens no socket");
            // tidy-allow(sleep): a socket that is not there yet tells nobody when it comes
            std::thread::sleep(LOOK_AGAIN);
        }
    }

    fn memory_bytes(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or_default();
        line.trim().trim_end_matches(" kB").parse::<u64>().unwrap_or_default() * 1024
    }

    /// Stops it, and says how long that took.
    pub fn stop(mut self) -> Duration {
        let mut socket = self.connect(Instant::now());
        let began = Instant::now();
        ask(&mut socket, &json!({ "do": "stop" }));
        assert_eq!(self.child.wait().unwrap().code(), Some(0));
        began.elapsed()
    }
}

/// Asks, and gives what is answered in the end.
fn ask(socket: &mut BufReader<UnixStream>, request: &Value) -> Value {
    writeln!(socket.get_mut(), "{request}").unwrap();
    loop {
        let mut line = String::new();
        socket.read_line(&mut line).unwrap();
        let mut answer: Value =
            serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line:?}"));
        assert_eq!(answer.get("error"), None, "{request}");
        if let Some(done) = answer.get_mut("done") {
            return done.take();
        }
    }
}
