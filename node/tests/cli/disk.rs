//! A node on a disk that others fill to the last block.
//!
//! Takes a file system of its own, which root may mount; elsewhere the test is skipped, which is said.

use std::fs::File;
use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::Duration;

use serde_json::json;

use super::node::Node;
use super::skip::skip;

/// Bytes of the file system: what a node leaves free, and some more.
const DISK: &str = "size=160m";
/// How the ballast grows.
const BLOCK: usize = 1 << 16;
/// How long that may take.
const FILLED: Duration = Duration::from_secs(60);

/// How long others take what the node gives back.
const FULL: Duration = Duration::from_secs(3);

/// A file system in memory. It goes with this.
struct Disk(tempfile::TempDir);

impl Disk {
    /// A fresh one, or why there can be none.
    fn mount() -> Result<Self, String> {
        let folder = tempfile::tempdir().unwrap();
        let at = folder.path().to_str().unwrap();
        match Command::new("mount").args(["-t", "tmpfs", "-o", DISK, "weft-test", at]).output() {
            Ok(ran) if ran.status.success() => Ok(Self(folder)),
            Ok(ran) => Err(String::from_utf8_lossy(&ran.stderr).trim().to_owned()),
            Err(error) => Err(error.to_string()),
        }
    }

    fn path(&self) -> &Path {
        self.0.path()
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Lazily, as a node that failed its test may still be ending.
        let _ = Command::new("umount").arg("-l").arg(self.path()).status();
    }
}

/// What others keep on the disk: it takes every block, also those that are given back, until told otherwise.
struct Ballast {
    path: PathBuf,
    is_over: Arc<AtomicBool>,
    is_full: Receiver<()>,
    grows: Option<std::thread::JoinHandle<()>>,
}

impl Ballast {
    fn drop_on(disk: &Disk) -> Self {
        let path = disk.path().join("ballast");
        let is_over = Arc::new(AtomicBool::new(false));
        let (told, is_full) = sync_channel(1);
        let (mut file, over) = (File::create(&path).unwrap(), Arc::clone(&is_over));
        let grows = std::thread::spawn(move || {
            while !over.load(Ordering::Relaxed) {
                match file.write(&[0; BLOCK]) {
                    Ok(_) => {}
                    Err(error) if error.kind() == ErrorKind::StorageFull => {
                        // It may have been told.
                        let _ = told.try_send(());
                        std::thread::yield_now();
                    }
                    Err(error) => panic!("{error}"),
                }
            }
        });
        Self { path, is_over, is_full, grows: Some(grows) }
    }

    fn wait(&self) {
        self.is_full.recv_timeout(FILLED).expect("the disk does not fill");
    }

    fn lift(mut self) {
        self.is_over.store(true, Ordering::Relaxed);
        self.grows.take().unwrap().join().unwrap();
        std::fs::remove_file(&self.path).unwrap();
    }
}

impl Drop for Ballast {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
    }
}

/// Bytes of one message: more than the store has free inside.
const DATA_BYTES: usize = 1 << 20;

/// Clients that send at once.
const CLIENTS: u64 = 6;

/// Sends until that is refused, and how many were taken.
fn send(node: &Node, process: &str, data: &str) -> (u64, (i32, String)) {
    let mut slots = 0;
    loop {
        let sent = node.weft(&["send", process, "--action", "Increment", "--data", data, "--json"]);
        match sent.code {
            0 => slots += 1,
            code => return (slots, (code, sent.error().1)),
        }
    }
}

#[test]
fn a_disk_that_others_fill_loses_nothing_that_was_acknowledged() {
    let disk = match Disk::mount() {
        Ok(disk) => disk,
        Err(why) => {
            return skip("a_disk_that_others_fill_loses_nothing_that_was_acknowledged", &why).unwrap();
        }
    };
    let elsewhere = tempfile::tempdir().unwrap();
    let data = elsewhere.path().join("data");
    std::fs::write(&data, vec![b'x'; DATA_BYTES]).unwrap();
    let data = format!("@{}", data.display());
    let node = Node::start_as(tempfile::tempdir_in(disk.path()).unwrap(), &[]);
    let process = node.counter();
    let before = 3;
    for _ in 0..before {
        node.json(&["send", &process, "--action", "Increment"]);
    }
    // From one moment to the next, for the node: it finds the messages, and no block to write them to.
    let pid = node.ready["pid"].to_string();
    let signal = |name: &str| assert!(Command::new("kill").args([name, &pid]).status().unwrap().success());
    signal("-STOP");
    let (ballast, taken, refused) = std::thread::scope(|scope| {
        let clients = (0..CLIENTS).map(|_| scope.spawn(|| send(&node, &process, &data))).collect::<Vec<_>>();
        let ballast = Ballast::drop_on(&disk);
        ballast.wait();
        signal("-CONT");
        let ended = clients.into_iter().map(|client| client.join().unwrap());
        let (taken, refused): (Vec<u64>, Vec<(i32, String)>) = ended.unzip();
        (ballast, taken.iter().sum::<u64>(), refused)
    });
    let slots = before + taken;
    // tidy-allow(sleep): one that goes on says nothing, and may still end.
    std::thread::sleep(FULL);
    // It goes on, or it ends and says what to do.
    let folder = match node.ended() {
        Ok((folder, code, log)) => {
            assert!(code == Some(70) && log.contains("make room"), "{code:?} {log}");
            folder
        }
        Err(node) => {
            assert!(refused.iter().all(|(code, why)| *code == 5 && why.contains("disk")), "{refused:?}");
            node.stop()
        }
    };
    // One that is started on it reads, and takes nothing new.
    let node = Node::start_as(folder, &[]);
    node.json(&["result", &process, "--slot", &before.to_string(), "--wait"]);
    let (taken, (code, why)) = send(&node, &process, &data);
    assert!((taken, code) == (0, 5) && why.contains("disk budget is used up"), "{taken} {code} {why}");
    let folder = node.stop();
    ballast.lift();
    let node = Node::start_as(folder, &[]);
    let head = node.json(&["processes"])[0]["head"].as_u64().unwrap();
    // The last of each may be there without its sender having heard of it.
    assert!((slots..=slots + CLIENTS).contains(&head), "{slots} acknowledged, and {head} there");
    let newest = node.json(&["result", &process, "--slot", &head.to_string(), "--wait"]);
    assert_eq!(newest["result"]["Output"], json!(head.to_string()));
    assert_eq!(node.json(&["verify", &process])["difference"], json!(null));
    let sent = node.json(&["send", &process, "--action", "Increment", "--wait"]);
    assert_eq!(sent["slot"], json!(head + 1));
    node.stop();
}
