//! `weft item`: check and make data items without a node.

use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use serde::Serialize;
use weft_protocol::crypto::SignatureType;
use weft_protocol::data_item::{DataItem, Draft};
use weft_protocol::{Address, Id, Tag};

use super::Context;
use super::args::{Data, Tags};
use super::exit::{CliError, Exit};
use super::files::{self, FILE_BYTES_MAX};
use super::screen::{Colour, Screen, pairs};
use crate::keyring;

/// What is said of an item: its claims as far as they can be read, and whether they are proven.
#[derive(Debug, Serialize)]
pub(super) struct ItemReport {
    /// SHA-256 of the signature.
    pub(super) id: Option<Id>,
    /// The address of the public key.
    owner: Option<Address>,
    signature_type: Option<u16>,
    target: Option<Id>,
    /// 32 bytes as base64url.
    anchor: Option<String>,
    tags: Vec<Tag>,
    data_bytes: Option<usize>,
    /// Whether the item is well-formed and signed by its owner.
    pub(super) valid: bool,
    /// Why it is not.
    pub(super) reason: Option<String>,
}

impl ItemReport {
    /// Reads and checks an item.
    pub(super) fn of(raw: Bytes) -> Self {
        let first = raw.get(..2).map(|two| u16::from_le_bytes([two[0], two[1]]));
        let item = match DataItem::parse(raw) {
            Ok(item) => item,
            Err(error) => {
                return Self {
                    id: None,
                    owner: None,
                    signature_type: first,
                    target: None,
                    anchor: None,
                    tags: Vec::new(),
                    data_bytes: None,
                    valid: false,
                    reason: Some(error.to_string()),
                };
            }
        };
        let claims = item.claims();
        let claimed = Self {
            id: Some(claims.id()),
            owner: Some(claims.owner()),
            signature_type: Some(claims.signature_type().number()),
            target: claims.target(),
            anchor: claims.anchor().map(|anchor| URL_SAFE_NO_PAD.encode(anchor)),
            tags: claims.tags().to_vec(),
            data_bytes: Some(claims.data().len()),
            valid: true,
            reason: None,
        };
        match item.verify() {
            Ok(_) => claimed,
            Err(error) => claimed.refused(format!("signature: {error}")),
        }
    }

    /// The same claims, which do not count for this reason.
    pub(super) fn refused(self, reason: String) -> Self {
        Self { valid: false, reason: Some(reason), ..self }
    }

    /// The report for people.
    pub(super) fn human(&self, screen: Screen) -> String {
        let or_none = |text: Option<String>| text.unwrap_or_else(|| "-".into());
        let kind = |number: u16| match SignatureType::from_number(number) {
            Some(kind) => format!("{number} ({kind:?})"),
            None => number.to_string(),
        };
        let tags: Vec<String> =
            self.tags.iter().map(|tag| screen.foreign(&format!("{}={}", tag.name, tag.value))).collect();
        pairs(&[
            ("id", or_none(self.id.map(|id| id.to_string()))),
            ("owner", or_none(self.owner.map(|owner| owner.to_string()))),
            ("signature", or_none(self.signature_type.map(kind))),
            ("target", or_none(self.target.map(|id| id.to_string()))),
            ("anchor", or_none(self.anchor.clone())),
            ("tags", tags.join("\n")),
            ("data", or_none(self.data_bytes.map(|bytes| format!("{bytes} bytes")))),
            ("valid", verdict(self.valid, self.reason.as_deref(), screen)),
        ])
    }
}

/// `yes`, or `no` with the reason.
pub(super) fn verdict(valid: bool, reason: Option<&str>, screen: Screen) -> String {
    match (valid, reason) {
        (true, _) => screen.paint(Colour::Green, "yes"),
        (false, reason) => {
            screen.paint(Colour::Red, &format!("no: {}", screen.foreign(reason.unwrap_or("unknown"))))
        }
    }
}

pub(super) fn verify(file: &Path, screen: Screen) -> Result<Exit, CliError> {
    let raw = files::raw_or_base64(files::read(file, FILE_BYTES_MAX)?);
    if !is_like_an_item(&raw) {
        let name = files::shown(file);
        return Err(CliError::input(format!(
            "{name} cannot be read as a data item, neither as raw bytes nor as base64"
        )));
    }
    let report = ItemReport::of(raw.into());
    screen.answer(&report, || report.human(screen))?;
    Ok(if report.valid { Exit::Ok } else { Exit::No })
}

/// Whether bytes begin with a signature type that anybody uses: up to 255, little-endian. Text
/// and other formats do not.
pub(super) fn is_like_an_item(raw: &[u8]) -> bool {
    matches!(raw, [1..=255, 0, ..])
}

/// What `weft item sign` is told.
pub(super) struct Signing {
    pub(super) key: Option<PathBuf>,
    pub(super) target: Option<Id>,
    pub(super) anchor: Option<[u8; 32]>,
    pub(super) output: Option<PathBuf>,
    pub(super) data: Data,
    pub(super) tags: Tags,
}

pub(super) fn sign(signing: Signing, context: &Context) -> Result<Exit, CliError> {
    let signer = match &signing.key {
        Some(file) => keyring::load_file(file)?.signer,
        None => context.signer()?,
    };
    let draft = Draft {
        target: signing.target,
        anchor: signing.anchor,
        tags: signing.tags.tags,
        data: files::data(signing.data.data.as_deref(), FILE_BYTES_MAX)?.into(),
    };
    let item = draft.sign(&signer).map_err(|error| CliError::input(error.to_string()))?;
    let Some(output) = signing.output else {
        return context.screen.raw(item.raw()).map(|()| Exit::Ok);
    };
    std::fs::write(&output, item.raw())
        .map_err(|error| CliError::input(format!("cannot write {}: {error}", output.display())))?;
    let report = ItemReport::of(item.raw().clone());
    context.screen.answer(&report, || report.human(context.screen))?;
    Ok(Exit::Ok)
}
