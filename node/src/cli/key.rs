//! `weft key`.

use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ed25519_dalek::SigningKey;
use serde_json::{Value, json};
use weft_net::Peer;
use weft_protocol::crypto::SignatureType;

use super::args::KeyCommand;
use super::exit::{CliError, Exit};
use super::screen::{Screen, pairs};
use super::{Context, files};
use crate::keyring::{self, KeyError, NodeKey};

/// Bytes of a file that may hold a key.
const FILE_BYTES_MAX: u64 = 64 * 1024;

pub(super) fn run(command: Option<KeyCommand>, context: &Context) -> Result<Exit, CliError> {
    let data_dir = context.data_dir()?;
    match command.unwrap_or(KeyCommand::Show { secret: false }) {
        KeyCommand::Show { secret: true } => {
            // Loaded first: a secret that others can read is not printed either.
            keyring::load(&data_dir)?;
            let path = keyring::key_path(&data_dir);
            let text = files::read(&path, FILE_BYTES_MAX)?;
            return context.screen.raw(&text).map(|()| Exit::Ok);
        }
        KeyCommand::Show { secret: false } => show(&keyring::load(&data_dir)?, &data_dir, context.screen)?,
        KeyCommand::New => show(&keyring::create(&data_dir)?, &data_dir, context.screen)?,
        KeyCommand::ImportSeed { file } => {
            let seed = keyring::parse_seed(&files::read(&file, FILE_BYTES_MAX)?)?;
            show(&keyring::import_seed(&data_dir, &seed)?, &data_dir, context.screen)?;
        }
        KeyCommand::ImportJwk { file } => {
            let name = files::shown(&file);
            let text = String::from_utf8(files::read(&file, FILE_BYTES_MAX)?).map_err(|_| {
                KeyError::Malformed { path: name.clone().into(), reason: "it is not text".into() }
            })?;
            show(&keyring::import_jwk(&data_dir, Path::new(&name), &text)?, &data_dir, context.screen)?;
        }
    }
    Ok(Exit::Ok)
}

fn show(key: &NodeKey, data_dir: &Path, screen: Screen) -> Result<(), CliError> {
    let signer = &key.signer;
    let peer = SigningKey::from_bytes(&key.peer_secret).verifying_key();
    let peer = Peer::from_ed25519(peer.as_bytes()).map_err(|error| CliError::fault(error.to_string()))?;
    let kind = match signer.signature_type() {
        SignatureType::Ed25519 => "ed25519",
        _ => "rsa4096",
    };
    let public_key = URL_SAFE_NO_PAD.encode(signer.owner_key());
    let path = keyring::key_path(data_dir);
    let answer: Value = json!({
        "address": signer.address(),
        "peer_id": peer,
        "kind": kind,
        "public_key": public_key,
        "file": path,
    });
    screen.answer(&answer, || {
        pairs(&[
            ("address", signer.address().to_string()),
            ("peer id", peer.to_string()),
            ("kind", kind.into()),
            ("public key", public_key),
            ("file", path.display().to_string()),
        ])
    })
}
