//! Nodes that are killed exactly at a step of a push.
//!
//! A file in the data folder of a node names the step and whom to kill there, by the number of its process: itself, or the
//! messenger whose push it has just given a slot. The node stands still at that step until the signal was sent, so nothing
//! that comes after it is ever done.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use weft_node::messenger::steps::{self, Step};

/// The file that says where to end.
const FILE_NAME: &str = "stop-at";

static FILE: OnceLock<PathBuf> = OnceLock::new();

/// Has the node that this program is about to be look out for such a file. One without a data folder needs none.
pub fn obey() {
    let args: Vec<OsString> = std::env::args_os().collect();
    let after = args.iter().position(|arg| arg == "--data-dir").and_then(|at| args.get(at + 1));
    if let Some(data_dir) = after {
        let is_first = FILE.set(Path::new(data_dir).join(FILE_NAME)).is_ok() && steps::look_on(at);
        assert!(is_first, "somebody else looks on");
    }
}

/// Has `pid` killed when the node of this data folder comes to a step.
///
/// # Errors
/// The disk.
pub fn set(data_dir: &Path, step: Step, pid: u32) -> std::io::Result<()> {
    // In one move, as the node may look at any moment.
    let new = data_dir.join("stop-at.new");
    std::fs::write(&new, format!("{} {pid}", step.name()))?;
    std::fs::rename(new, data_dir.join(FILE_NAME))
}

fn at(step: Step) {
    let Some(file) = FILE.get() else { return };
    let Ok(text) = std::fs::read_to_string(file) else { return };
    let Some((wanted, pid)) = text.split_once(' ') else { return };
    // Once: whoever removes it is the one that kills.
    if wanted == step.name() && std::fs::remove_file(file).is_ok() {
        let killed = Command::new("kill").args(["-9", pid]).status();
        assert!(killed.is_ok_and(|status| status.success()), "process {pid} was not killed");
    }
}
