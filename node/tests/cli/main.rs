//! The `weft` program as scripts see it: exit codes, standard output, standard error.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod anchor;
mod checkpoint;
mod checks;
mod compile;
mod console;
mod cron;
mod crowd;
mod disk;
mod doors;
mod dry_run;
mod eval;
#[path = "../../../tests/src/full.rs"]
mod full;
mod gateway;
mod hostile;
mod hosting;
mod item;
mod keep;
mod lazy;
mod ledger;
mod lua;
mod market;
mod messages;
mod metrics;
mod namespaces;
mod net;
mod node;
mod offline;
mod pages;
mod recover;
mod regain;
mod repair;
mod restart;
mod room;
#[path = "../../../tests/src/skip.rs"]
mod skip;
mod socket;
mod spawn;
mod state;
mod top;
mod trace;
mod unasked;
mod vectors;
mod watch;

use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::Value;

/// What a run gave.
struct Ran {
    code: i32,
    out: Vec<u8>,
    err: String,
}

impl Ran {
    #[track_caller]
    fn expect(self, code: i32) -> Self {
        assert_eq!(self.code, code, "stdout: {}\nstderr: {}", String::from_utf8_lossy(&self.out), self.err);
        self
    }

    fn text(&self) -> &str {
        std::str::from_utf8(&self.out).unwrap()
    }

    /// Standard output as one JSON document.
    fn json(&self) -> Value {
        serde_json::from_slice(&self.out).unwrap()
    }

    /// The error that `--json` puts on standard error.
    fn error(&self) -> (String, String) {
        let value: Value = serde_json::from_str(&self.err).unwrap_or_else(|e| panic!("{e}: {}", self.err));
        let field = |name: &str| value["error"][name].as_str().unwrap().to_owned();
        (field("code"), field("text"))
    }
}

/// Runs `weft` in a clean environment with this data folder.
fn weft(data_dir: &Path, args: &[&str]) -> Ran {
    weft_with(data_dir, args, &[], &[])
}

fn weft_with(data_dir: &Path, args: &[&str], env: &[(&str, &str)], stdin: &[u8]) -> Ran {
    let mut child = Command::new(env!("CARGO_BIN_EXE_weft"))
        .args(args)
        .env_clear()
        .env("WEFT_DATA_DIR", data_dir)
        .envs(env.iter().copied())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // A program that reads nothing may be gone already.
    let _ = child.stdin.take().unwrap().write_all(stdin);
    let Output { status, stdout, stderr } = child.wait_with_output().unwrap();
    Ran { code: status.code().unwrap(), out: stdout, err: String::from_utf8(stderr).unwrap() }
}
