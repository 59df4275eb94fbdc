//! The node's key: `key.json` in the data folder, a JSON Web Key that only its user can read.
//!
//! An ed25519 key (`"kty": "OKP"`) is the peer id and the ao wallet at once; an Arweave RSA key
//! (`"kty": "RSA"`) may be imported to act as an existing scheduler. A key file is written once,
//! whole, and never overwritten.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rand::TryRng as _;
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};
use weft_protocol::crypto::Signer;

/// The key file's name in the data folder.
pub const KEY_NAME: &str = "key.json";

/// Bytes of a key file: an RSA key of 4,096 bits takes a twentieth.
const KEY_BYTES_MAX: u64 = 64 * 1024;

/// Permission bits that let others than the owner at a file.
const OTHERS: u32 = 0o077;

/// Why there is no key.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// The file does not exist.
    #[error("there is no key at {}: make one with `weft key new`, or start a node, which makes its own", .0.display())]
    Missing(PathBuf),
    /// A key is there and would be lost.
    #[error("{} exists and is never overwritten: move it away first if you mean to use another key", .0.display())]
    Exists(PathBuf),
    /// Others can read the secret.
    #[error(
        "{} can be opened by other users (mode {mode:04o}): run `chmod 600 {}`; if others may have read it, \
         make a new key", path.display(), path.display()
    )]
    Open {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The content is not a key we can use.
    #[error("{} is not a usable key: {reason}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A given seed is not one.
    #[error("not a seed: {0}; expected 32 bytes as 64 hex digits, 43 characters of base64url, or raw")]
    Seed(String),
    /// The system failed.
    #[error("{action} {}: {source}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On which file.
        path: PathBuf,
        /// Why it failed.
        source: std::io::Error,
    },
}

/// What a node signs with, and who it is to its peers.
#[derive(Clone)]
pub struct NodeKey {
    /// Signs items; its address is the node's.
    pub signer: Signer,
    /// The ed25519 secret of the peer id: the signer's own if that is ed25519, else derived from
    /// the wallet, and then the peer id does not prove the address.
    pub peer_secret: [u8; 32],
}

// The secret stays out of logs.
impl fmt::Debug for NodeKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NodeKey").field("signer", &self.signer).finish_non_exhaustive()
    }
}

/// Where the key of this data folder is.
pub fn key_path(data_dir: &Path) -> PathBuf {
    data_dir.join(KEY_NAME)
}

/// Reads the key of this data folder.
///
/// # Errors
/// [`KeyError::Missing`], [`KeyError::Open`] or [`KeyError::Malformed`], each with what to do.
pub fn load(data_dir: &Path) -> Result<NodeKey, KeyError> {
    load_file(&key_path(data_dir))
}

/// Reads a key file, refusing one that other users can open.
///
/// # Errors
/// As [`load`].
pub fn load_file(path: &Path) -> Result<NodeKey, KeyError> {
    let text = read_private(path)?;
    parse(&text).map_err(|NotAKey(reason)| KeyError::Malformed { path: path.into(), reason })
}

/// Reads the key of this data folder, making folder and key if there is none.
///
/// # Errors
/// As [`load`] and [`create`].
pub fn load_or_create(data_dir: &Path) -> Result<NodeKey, KeyError> {
    match load(data_dir) {
        Err(KeyError::Missing(_)) => match create(data_dir) {
            // Another command was faster; its key is as good.
            Err(KeyError::Exists(_)) => load(data_dir),
            other => other,
        },
        other => other,
    }
}

/// Makes a new ed25519 key.
///
/// # Errors
/// [`KeyError::Exists`], or a failing disk.
pub fn create(data_dir: &Path) -> Result<NodeKey, KeyError> {
    let mut seed = [0; 32];
    rand::rngs::SysRng.try_fill_bytes(&mut seed).map_err(|error| KeyError::Io {
        action: "cannot draw randomness for",
        path: key_path(data_dir),
        source: std::io::Error::other(error),
    })?;
    import_seed(data_dir, &seed)
}

/// Stores the ed25519 key of this seed.
///
/// # Errors
/// [`KeyError::Exists`], or a failing disk.
pub fn import_seed(data_dir: &Path, seed: &[u8; 32]) -> Result<NodeKey, KeyError> {
    let signer = Signer::from_seed(seed);
    let jwk = json!({
        "kty": "OKP",
        "crv": "Ed25519",
        "x": URL_SAFE_NO_PAD.encode(signer.owner_key()),
        "d": URL_SAFE_NO_PAD.encode(seed),
        "address": signer.address(),
    });
    store(data_dir, &format!("{jwk:#}\n"))?;
    Ok(NodeKey { signer, peer_secret: *seed })
}

/// Stores a JSON Web Key: an Arweave wallet (RSA 4096) or an ed25519 one.
///
/// # Errors
/// [`KeyError::Malformed`] naming `source`, [`KeyError::Exists`], or a failing disk.
pub fn import_jwk(data_dir: &Path, source: &Path, text: &str) -> Result<NodeKey, KeyError> {
    let signer =
        parse(text).map_err(|NotAKey(reason)| KeyError::Malformed { path: source.into(), reason })?;
    store(data_dir, text)?;
    Ok(signer)
}

/// Reads 32 bytes as they are commonly written: hex, base64url, or raw.
///
/// # Errors
/// [`KeyError::Seed`], which never repeats the input.
pub fn parse_seed(input: &[u8]) -> Result<[u8; 32], KeyError> {
    if let Ok(raw) = input.try_into() {
        return Ok(raw);
    }
    let text =
        std::str::from_utf8(input).map_err(|_| KeyError::Seed(format!("{} bytes", input.len())))?.trim();
    let bytes = match text.len() {
        // A sign before a digit is a number too, but no hex.
        64 if text.bytes().all(|byte| byte.is_ascii_hexdigit()) => {
            (0..64).step_by(2).map(|at| u8::from_str_radix(text.get(at..at + 2)?, 16).ok()).collect()
        }
        43 => URL_SAFE_NO_PAD.decode(text).ok(),
        _ => None,
    };
    let seed = bytes.and_then(|bytes: Vec<u8>| bytes.try_into().ok());
    seed.ok_or_else(|| KeyError::Seed(format!("{} characters", text.chars().count())))
}

/// What is wrong with a key's text; never the text itself.
struct NotAKey(String);

impl From<String> for NotAKey {
    fn from(reason: String) -> Self {
        Self(reason)
    }
}

fn parse(text: &str) -> Result<NodeKey, NotAKey> {
    let jwk: Map<String, Value> =
        serde_json::from_str(text).map_err(|error| format!("expected a JSON Web Key ({error})"))?;
    match jwk.get("kty").and_then(Value::as_str) {
        Some("OKP") => parse_ed25519(&jwk),
        Some("RSA") => parse_rsa(&jwk, text),
        Some(other) => Err(format!("its `kty` is `{other}`; expected `OKP` (ed25519) or `RSA`").into()),
        None => {
            let reason = "it has no `kty`; expected a JSON Web Key of kind `OKP` (ed25519) or `RSA`";
            Err(NotAKey(reason.into()))
        }
    }
}

fn parse_ed25519(jwk: &Map<String, Value>) -> Result<NodeKey, NotAKey> {
    let field = |name: &str| {
        let text = jwk.get(name).and_then(Value::as_str).ok_or(format!("it has no `{name}`"))?;
        let bytes = URL_SAFE_NO_PAD.decode(text.trim_end_matches('=')).ok();
        let bytes = bytes.and_then(|bytes| <[u8; 32]>::try_from(bytes).ok());
        bytes.ok_or(format!("its `{name}` is not 32 bytes of base64url"))
    };
    if jwk.get("crv").and_then(Value::as_str) != Some("Ed25519") {
        return Err(NotAKey("its `crv` is not `Ed25519`".into()));
    }
    let peer_secret = field("d")?;
    let signer = Signer::from_seed(&peer_secret);
    if jwk.contains_key("x") && field("x")?[..] != signer.owner_key()[..] {
        return Err(NotAKey("its public half `x` does not belong to its secret `d`".into()));
    }
    Ok(NodeKey { signer, peer_secret })
}

fn parse_rsa(jwk: &Map<String, Value>, text: &str) -> Result<NodeKey, NotAKey> {
    let signer = Signer::from_jwk(text).map_err(|error| NotAKey(error.to_string()))?;
    // The net speaks ed25519 only: its key follows from the wallet's, so that one file is enough.
    let secret = jwk.get("d").and_then(Value::as_str).unwrap_or_default();
    let peer_secret = Sha256::new().chain_update(b"weft/peer-key/1").chain_update(secret).finalize();
    Ok(NodeKey { signer, peer_secret: peer_secret.into() })
}

fn read_private(path: &Path) -> Result<String, KeyError> {
    let io = |action| move |source| KeyError::Io { action, path: path.into(), source };
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Err(KeyError::Missing(path.into())),
        Err(error) => return Err(io("cannot open")(error)),
    };
    // Asked of the open file, so that nobody can swap it in between.
    let metadata = file.metadata().map_err(io("cannot look at"))?;
    // Before its mode: whoever names a folder or a device must not be told to change that.
    if !metadata.is_file() || metadata.size() > KEY_BYTES_MAX {
        let reason = format!("expected a file of at most {KEY_BYTES_MAX} bytes");
        return Err(KeyError::Malformed { path: path.into(), reason });
    }
    let mode = metadata.permissions().mode() & 0o7777;
    if mode & OTHERS != 0 {
        return Err(KeyError::Open { path: path.into(), mode });
    }
    let mut bytes = Vec::new();
    file.take(KEY_BYTES_MAX).read_to_end(&mut bytes).map_err(io("cannot read"))?;
    String::from_utf8(bytes)
        .map_err(|_| KeyError::Malformed { path: path.into(), reason: "it is not text".into() })
}

/// Writes the key whole under another name and links it into place: a crash leaves no half key,
/// and the link fails if a key is there.
fn store(data_dir: &Path, text: &str) -> Result<(), KeyError> {
    make_data_dir(data_dir)?;
    let path = key_path(data_dir);
    let draft = data_dir.join(format!("{KEY_NAME}.{}.new", std::process::id()));
    let io = |action| {
        let path = path.clone();
        move |source| KeyError::Io { action, path, source }
    };
    let written = (|| {
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&draft)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()
    })();
    let linked = written.and_then(|()| std::fs::hard_link(&draft, &path));
    let removed = std::fs::remove_file(&draft);
    match linked {
        Err(error) if error.kind() == ErrorKind::AlreadyExists && path.exists() => {
            return Err(KeyError::Exists(path));
        }
        other => other.map_err(io("cannot write"))?,
    }
    removed.map_err(io("cannot tidy up beside"))?;
    File::open(data_dir).and_then(|folder| folder.sync_all()).map_err(io("cannot make durable"))
}

/// Makes the data folder, for its user only, if it is not there.
///
/// # Errors
/// [`KeyError::Io`] naming the folder.
pub fn make_data_dir(data_dir: &Path) -> Result<(), KeyError> {
    let make = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(data_dir);
    make.map_err(|source| KeyError::Io {
        action: "cannot make the data folder",
        path: data_dir.into(),
        source,
    })
}

#[cfg(test)]
mod tests;
