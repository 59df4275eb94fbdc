//! The file in which a node writes down whom it met in the network (`peers.json`).
//!
//! It is a help and no truth: a node without it, or with a damaged one, starts as a new one does.

use std::hash::{DefaultHasher, Hasher as _};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;
use weft_net::{Net, Remembered};

/// The file's name in the data folder.
pub const FILE_NAME: &str = "peers.json";

/// How often it is looked whether it has to be written: what a node that is killed has forgotten.
const PERIOD: Duration = Duration::from_secs(60);
/// How often it is written though nothing but times changed: a record of who is on a lobby shard lasts for
/// half an hour, and would be over for a node that is killed if that were longer.
const TIMES_PERIOD: Duration = Duration::from_secs(10 * 60);
/// Bytes of the file that are written and read: all peers and provider records that a node writes down,
/// with their addresses.
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

/// Replaces the file whole: whoever is killed meanwhile has the old one. What would not be read again
/// is not written: provider records, of which strangers decide, go before the peers.
fn write(path: &Path, now_ms: u64, mut remembered: Remembered, bytes_max: u64) -> io::Result<()> {
    let encode = |remembered: Remembered| {
        serde_json::to_vec(&Written { at_ms: now_ms, remembered }).map_err(io::Error::other)
    };
    let mut bytes = encode(remembered.clone())?;
    if bytes.len() as u64 > bytes_max {
        remembered.providers = Vec::new();
        bytes = encode(remembered)?;
    }
    if bytes.len() as u64 > bytes_max {
        return Err(io::Error::other(format!("they have more than {bytes_max} bytes")));
    }
    let unfinished = path.with_extension("json.part");
    let mut file = std::fs::File::create(&unfinished)?;
    file.write_all(&bytes)?;
    file.sync_all()?;
    std::fs::rename(&unfinished, path)
}

/// What stands in the file, and since when.
#[derive(Debug, Clone, Copy)]
struct Last {
    /// Of all but the times.
    digest: u64,
    at: Instant,
}

/// A number that is another when anything but the times is.
fn digest(remembered: &Remembered) -> io::Result<u64> {
    let mut timeless = remembered.clone();
    for peer in &mut timeless.peers {
        peer.age_s = 0;
    }
    for provider in &mut timeless.providers {
        provider.expires_s = 0;
    }
    let mut hasher = DefaultHasher::new();
    hasher.write(&serde_json::to_vec(&timeless).map_err(io::Error::other)?);
    Ok(hasher.finish())
}

/// Writes the file if it has to be, and says what stands in it then.
fn renew(path: &Path, now_ms: u64, remembered: Remembered, last: Option<Last>) -> io::Result<Last> {
    let digest = digest(&remembered)?;
    let is_same = |last: &Last| last.digest == digest && last.at.elapsed() < TIMES_PERIOD;
    if let Some(last) = last.filter(is_same) {
        return Ok(last);
    }
    write(path, now_ms, remembered, FILE_BYTES_MAX)?;
    Ok(Last { digest, at: Instant::now() })
}

/// Writes the file now and then.
pub async fn run(net: Net, folder: PathBuf, stop: CancellationToken) {
    let mut last = None;
    let mut tick = tokio::time::interval(PERIOD);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    // The first is due at once, when there is nothing to write yet.
    tick.tick().await;
    loop {
        tokio::select! {
            _ = tick.tick() => last = save_changed(&net, &folder, last).await,
            () = stop.cancelled() => return,
        }
    }
}

/// Writes the file now, if there is anything to write.
pub async fn save(net: &Net, folder: &Path) {
    save_changed(net, folder, None).await;
}

async fn save_changed(net: &Net, folder: &Path, last: Option<Last>) -> Option<Last> {
    let Ok(remembered) = net.remembered().await else { return last };
    if remembered == Remembered::default() {
        return last;
    }
    let (path, now_ms) = (folder.join(FILE_NAME), crate::clock::Clock::default().now().0);
    let written = tokio::task::spawn_blocking(move || renew(&path, now_ms, remembered, last)).await;
    match written.map_err(io::Error::other).and_then(|written| written) {
        Ok(now) => Some(now),
        Err(error) => {
            tracing::warn!(%error, "the peers of this run are not written down");
            None
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use weft_net::{Peer, RememberedPeer, RememberedProvider};

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
        write(&folder.path().join(FILE_NAME), 10_000, remembered(), FILE_BYTES_MAX).unwrap();
        assert_eq!(read(folder.path(), 70_000).peers[0].age_s, 65);
        assert_eq!(read(folder.path(), 1).peers[0].age_s, 5);
    }

    #[test]
    fn what_would_not_be_read_again_is_not_written() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(FILE_NAME);
        let mut much = remembered();
        much.providers = vec![
            RememberedProvider {
                key: "00".repeat(43),
                peer: much.peers[0].peer,
                addresses: vec!["/dns4/a.long.name/tcp/1".repeat(8); 8],
                expires_s: 1_000,
            };
            100
        ];
        let whole = serde_json::to_vec(&much).unwrap().len() as u64;
        write(&path, 1, much.clone(), whole - 1).unwrap();
        assert_eq!(read(folder.path(), 1), remembered());
        write(&path, 1, much.clone(), 2 * whole).unwrap();
        assert_eq!(read(folder.path(), 1), much);
        // The old file stays.
        write(&path, 1, much.clone(), 10).unwrap_err();
        assert_eq!(read(folder.path(), 1), much);
    }

    #[test]
    fn it_is_written_when_more_than_times_changed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(FILE_NAME);
        let first = renew(&path, 1, remembered(), None).unwrap();
        std::fs::remove_file(&path).unwrap();
        let mut later = remembered();
        later.peers[0].age_s += 60;
        let second = renew(&path, 2, later.clone(), Some(first)).unwrap();
        assert!(!path.exists());
        later.peers[0].failures += 1;
        renew(&path, 3, later, Some(second)).unwrap();
        assert!(path.exists());
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
