//! Which testnets run on this machine, for commands from other terminals.
//!
//! Each launcher keeps one file in a folder of its user, and holds a lock on it as long as it lives:
//! so a file that can be locked is of a launcher that is dead, whatever became of its process
//! number. It has its name only once it is locked and written.

use std::fs::{File, TryLockError};
use std::io::Write as _;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::error::TestnetError;
use crate::fleet::{Fleet, make_folder};

/// What a testnet is, for whoever finds it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct State {
    /// The process number of its launcher.
    pub(crate) launcher: u32,
    /// The folder of the nodes.
    pub(crate) dir: PathBuf,
    /// The data folders of the nodes, by number.
    pub(crate) peers: Vec<PathBuf>,
}

impl State {
    pub(crate) fn of(fleet: &Fleet) -> Self {
        let plan = fleet.plan();
        Self {
            launcher: std::process::id(),
            dir: plan.dir().into(),
            peers: (0..plan.peers()).map(|node| plan.data_dir(node)).collect(),
        }
    }
}

/// A testnet that is listed as long as this lives.
#[derive(Debug)]
pub(crate) struct Listed {
    path: PathBuf,
    /// Holds the lock.
    _file: File,
}

impl Listed {
    /// Lists a testnet.
    ///
    /// # Errors
    /// A folder that cannot be written.
    pub(crate) fn new(state: &State) -> Result<Self, TestnetError> {
        let folder = folder();
        make_folder(&folder)?;
        let path = folder.join(format!("{}.json", state.launcher));
        let failed = |source| TestnetError::Folder { path: path.clone(), source };
        let mut file = tempfile::Builder::new().tempfile_in(&folder).map_err(failed)?;
        file.as_file().lock().map_err(failed)?;
        let text = serde_json::to_vec(state).map_err(|error| failed(error.into()))?;
        file.write_all(&text).map_err(failed)?;
        let file = file.persist(&path).map_err(|error| failed(error.error))?;
        Ok(Self { path, _file: file })
    }
}

impl Drop for Listed {
    fn drop(&mut self) {
        // Whoever finds it can lock it from now on, and removes it.
        let _ = std::fs::remove_file(&self.path);
    }
}

/// Where testnets of this user are listed.
pub(crate) fn folder() -> PathBuf {
    let base = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let base = base("XDG_RUNTIME_DIR").or_else(|| Some(base("HOME")?.join(".cache")));
    base.unwrap_or_else(std::env::temp_dir).join("weft-testnet")
}

/// The testnets whose launchers live. Files of dead ones are removed.
pub(crate) fn running(folder: &Path) -> Vec<State> {
    let mut found: Vec<State> = files(folder).iter().filter_map(|path| read(path)).collect();
    found.sort_by_key(|state| state.launcher);
    found
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten();
    let paths = entries.filter_map(|entry| Some(entry.ok()?.path()));
    paths.filter(|path| path.extension().is_some_and(|ending| ending == "json")).collect()
}

/// What a file says, if its launcher lives.
fn read(path: &Path) -> Option<State> {
    let file = File::open(path).ok()?;
    // Shared: another command that looks at this moment is no launcher.
    match file.try_lock_shared() {
        Err(TryLockError::WouldBlock) => serde_json::from_reader(&file).ok(),
        Err(TryLockError::Error(_)) => None,
        Ok(()) => {
            // Another command may have been faster.
            let _ = std::fs::remove_file(path);
            None
        }
    }
}

/// The testnet that is meant: the one in `dir`, or the only one.
///
/// # Errors
/// That there is none, or more than one.
pub(crate) fn find(folder: &Path, dir: Option<&Path>) -> Result<State, TestnetError> {
    let mut running = running(folder);
    if let Some(dir) = dir {
        let wanted = std::path::absolute(dir).unwrap_or_else(|_| dir.into());
        running.retain(|state| state.dir == wanted);
    }
    match running.len() {
        0 => Err(TestnetError::NoTestnet { dir: dir.map(Path::to_owned) }),
        1 => Ok(running.remove(0)),
        _ => Err(TestnetError::ManyTestnets {
            dirs: running.iter().map(|state| state.dir.display().to_string()).collect::<Vec<_>>().join(", "),
        }),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn state(launcher: u32) -> State {
        State { launcher, dir: format!("/tmp/t{launcher}").into(), peers: vec!["/tmp/t/node-0".into()] }
    }

    fn list(folder: &Path, launcher: u32) -> File {
        let path = folder.join(format!("{launcher}.json"));
        std::fs::write(&path, serde_json::to_vec(&state(launcher)).unwrap()).unwrap();
        let file = File::open(path).unwrap();
        file.lock().unwrap();
        file
    }

    #[test]
    fn a_testnet_is_found_as_long_as_its_launcher_holds_its_file() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path();
        let none = find(folder, None).unwrap_err();
        assert!(none.is_input() && none.to_string().contains("no testnet runs"), "{none}");
        let one = list(folder, 1);
        assert_eq!(find(folder, None).unwrap(), state(1));
        let dead = list(folder, 3);
        dead.unlock().unwrap();
        dead.lock_shared().unwrap();
        assert!(
            find(folder, Some(Path::new("/tmp/t3"))).is_err(),
            "another command looks, and nobody runs it"
        );
        drop(dead);
        let two = list(folder, 2);
        let many = find(folder, None).unwrap_err().to_string();
        assert!(many.contains("/tmp/t1, /tmp/t2") && many.contains("--dir"), "{many}");
        assert_eq!(find(folder, Some(Path::new("/tmp/t2"))).unwrap(), state(2));
        assert!(find(folder, Some(Path::new("/tmp/t3"))).is_err());
        drop(one);
        assert_eq!(find(folder, None).unwrap(), state(2));
        assert!(!folder.join("1.json").exists(), "what a dead launcher left is removed");
        drop(two);
        assert!(find(folder, None).is_err());
    }
}
