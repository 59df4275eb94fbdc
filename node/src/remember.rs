//! The file in which a node writes down whom it met in the network (`peers.json`).
//!
//! It is a help and no truth: a node without it, or with a damaged one, starts as a new one does.

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;
use weft_net::{Net, Remembered};

/// The file's name in the data folder.
pub const FILE_NAME: &str = "peers.json";

/// How often it is written: what a node that is killed has forgotten.
const PERIOD: Duration = Duration::from_secs(60);
/// Bytes of the file: all peers and provider records that a node may hold, with their addresses.
const FILE_BYTES_MAX: u64 = 64 * 1024 * 1024;

#[derive(Serialize, Deserialize)]
struct Written {
    /// Unix milliseconds.
    at_ms: u64,
    #[serde(flatten)]
    remembered: Remembered,
}

/// Reads what was written down; nothing if there is none, or it cannot be used.
pub fn read(folder: &Path, now_ms: u64) -> Remembered {
    let path = folder.join(FILE_NAME);
    match read_file(&path) {
        // A clock that went back makes nothing older.
        Ok(written) => written.remembered.aged(now_ms.saturating_sub(written.at_ms) / 1000),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Remembered::default(),
        Err(error) => {
            tracing::warn!(path = %path.display(), %error, "the peers of the last run are forgotten");
            Remembered::default()
        }
    }
}

fn read_file(path: &Path) -> io::Result<Written> {
    let metadata = std::fs::metadata(path)?;
    if !metadata.is_file() || metadata.len() > FILE_BYTES_MAX {
        return Err(io::Error::other(format!("it is no file of at most {FILE_BYTES_MAX} bytes")));
    }
    serde_json::from_slice(&std::fs::read(path)?).map_err(io::Error::other)
}

/// Replaces the file whole: whoever is killed meanwhile has the old one.
fn write(path: &Path, now_ms: u64, remembered: Remembered) -> io::Result<()> {
    let bytes = serde_json::to_vec(&Written { at_ms: now_ms, remembered }).map_err(io::Error::other)?;
    let unfinished = path.with_extension("json.part");
    let mut file = std::fs::File::create(&unfinished)?;
    file.write_all(&bytes)?;
    file.sync_all()?;
    std::fs::rename(&unfinished, path)
}

/// Writes the file now and then.
pub async fn run(net: Net, folder: PathBuf, stop: CancellationToken) {
    let mut tick = tokio::time::interval(PERIOD);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    // The first is due at once, when there is nothing to write yet.
    tick.tick().await;
    loop {
        tokio::select! {
            _ = tick.tick() => save(&net, &folder).await,
            () = stop.cancelled() => return,
        }
    }
}

/// Writes the file now, if there is anything to write.
pub async fn save(net: &Net, folder: &Path) {
    let Ok(remembered) = net.remembered().await else { return };
    if remembered == Remembered::default() {
        return;
    }
    let (path, now_ms) = (folder.join(FILE_NAME), crate::clock::Clock::default().now().0);
    let written = tokio::task::spawn_blocking(move || write(&path, now_ms, remembered)).await;
    if let Err(error) = written.map_err(io::Error::other).and_then(|written| written) {
        tracing::warn!(%error, "the peers of this run are not written down");
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use weft_net::{Peer, RememberedPeer};

    use super::*;

    fn remembered() -> Remembered {
        let peer = Peer::from_ed25519(&[
            0x3b, 0x6a, 0x27, 0xbc, 0xce, 0xb6, 0xa4, 0x2d, 0x62, 0xa3, 0xa8, 0xd0, 0x2a, 0x6f, 0x0d, 0x73,
            0x65, 0x32, 0x15, 0x77, 0x1d, 0xe2, 0x43, 0xa6, 0x3a, 0xc0, 0x48, 0xa1, 0x8b, 0x59, 0xda, 0x29,
        ]);
        let addresses = vec!["/ip4/192.0.2.1/tcp/1".to_owned()];
        let peer = RememberedPeer { peer: peer.unwrap(), addresses, age_s: 5, failures: 0, anchor: true };
        Remembered { peers: vec![peer], providers: Vec::new() }
    }

    #[test]
    fn what_was_written_is_read_again_and_older() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(read(folder.path(), 0), Remembered::default());
        write(&folder.path().join(FILE_NAME), 10_000, remembered()).unwrap();
        assert_eq!(read(folder.path(), 70_000).peers[0].age_s, 65);
        assert_eq!(read(folder.path(), 1).peers[0].age_s, 5);
    }

    #[test]
    fn a_damaged_file_is_no_obstacle() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(FILE_NAME);
        for text in ["", "{", "[]", "{\"at_ms\":-1}", "{\"at_ms\":1,\"peers\":[{\"peer\":\"x\"}]}"] {
            std::fs::write(&path, text).unwrap();
            assert_eq!(read(folder.path(), 0), Remembered::default(), "{text}");
        }
        std::fs::remove_file(&path).unwrap();
        std::fs::create_dir(&path).unwrap();
        assert_eq!(read(folder.path(), 0), Remembered::default());
    }
}
