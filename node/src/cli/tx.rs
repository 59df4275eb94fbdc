//! `weft tx verify`: an Arweave transaction, without a node.

use std::path::PathBuf;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use clap::Subcommand;
use serde::Serialize;
use serde::de::IgnoredAny;
use weft_protocol::crypto::SignatureType;
use weft_protocol::l1::{L1Tag, L1Tx};
use weft_protocol::{Address, Hash, Id};

use super::exit::{CliError, Exit};
use super::files::{self, FILE_BYTES_MAX};
use super::item::verdict;
use super::screen::{Screen, pairs};

#[derive(Debug, Subcommand)]
pub(crate) enum TxCommand {
    /// Check a format-2 Arweave transaction: exit 0 valid, 1 invalid, 2 unreadable
    Verify {
        /// The transaction's JSON, plain or base64; `-` reads standard input
        file: PathBuf,
    },
}

/// What is said of a transaction.
#[derive(Debug, Default, Serialize)]
struct TxReport {
    id: Option<Id>,
    /// The address of the wallet that signed.
    owner: Option<Address>,
    signature_type: Option<u16>,
    /// Who receives the quantity.
    target: Option<Address>,
    /// The `last_tx` field, base64url.
    anchor: Option<String>,
    tags: Vec<ShownTag>,
    /// In winston.
    quantity: Option<String>,
    /// In winston.
    reward: Option<String>,
    data_size: Option<u64>,
    data_root: Option<Hash>,
    /// Whether the data is in the transaction, and so was checked against the root.
    data_inline: bool,
    valid: bool,
    reason: Option<String>,
}

/// A tag, whose bytes need not be text.
#[derive(Debug, Serialize)]
struct ShownTag {
    name: String,
    value: String,
    /// `base64url` if name or value is not UTF-8; then both are encoded.
    #[serde(skip_serializing_if = "Option::is_none")]
    encoding: Option<&'static str>,
}

impl From<&L1Tag> for ShownTag {
    fn from(tag: &L1Tag) -> Self {
        match (std::str::from_utf8(&tag.name), std::str::from_utf8(&tag.value)) {
            (Ok(name), Ok(value)) => Self { name: name.into(), value: value.into(), encoding: None },
            _ => Self {
                name: URL_SAFE_NO_PAD.encode(&tag.name),
                value: URL_SAFE_NO_PAD.encode(&tag.value),
                encoding: Some("base64url"),
            },
        }
    }
}

impl TxReport {
    fn of(text: &[u8]) -> Self {
        let tx = match L1Tx::parse_json(text) {
            Ok(tx) => tx,
            Err(error) => return Self { reason: Some(error.to_string()), ..Self::default() },
        };
        let claims = tx.claims();
        let claimed = Self {
            id: Some(claims.id()),
            owner: Some(claims.owner()),
            signature_type: Some(SignatureType::Rsa.number()),
            target: claims.target(),
            anchor: Some(URL_SAFE_NO_PAD.encode(claims.last_tx())),
            tags: claims.tags().iter().map(ShownTag::from).collect(),
            quantity: Some(claims.quantity().to_string()),
            reward: Some(claims.reward().to_string()),
            data_size: Some(claims.data_size()),
            data_root: claims.data_root(),
            data_inline: !claims.data().is_empty(),
            valid: true,
            reason: None,
        };
        match tx.verify() {
            Ok(_) => claimed,
            Err(error) => Self { valid: false, reason: Some(error.to_string()), ..claimed },
        }
    }

    fn human(&self, screen: Screen) -> String {
        let or_none =
            |text: Option<String>| text.filter(|text| !text.is_empty()).unwrap_or_else(|| "-".into());
        let tags: Vec<String> =
            self.tags.iter().map(|tag| screen.foreign(&format!("{}={}", tag.name, tag.value))).collect();
        let place = if self.data_inline { "in the transaction" } else { "not in the transaction" };
        pairs(&[
            ("id", or_none(self.id.map(|id| id.to_string()))),
            ("owner", or_none(self.owner.map(|owner| owner.to_string()))),
            ("target", or_none(self.target.map(|target| target.to_string()))),
            ("anchor", or_none(self.anchor.clone())),
            ("tags", tags.join("\n")),
            ("quantity", or_none(self.quantity.clone())),
            ("reward", or_none(self.reward.clone())),
            ("data", or_none(self.data_size.map(|bytes| format!("{bytes} bytes, {place}")))),
            ("data root", or_none(self.data_root.map(|root| root.to_string()))),
            ("valid", verdict(self.valid, self.reason.as_deref(), screen)),
        ])
    }
}

pub(super) fn run(command: TxCommand, screen: Screen) -> Result<Exit, CliError> {
    let TxCommand::Verify { file } = command;
    let text = files::raw_or_base64(files::read(&file, FILE_BYTES_MAX)?);
    let starts = text.iter().find(|byte| !byte.is_ascii_whitespace());
    let json = serde_json::from_slice::<IgnoredAny>(&text);
    if starts != Some(&b'{') || json.is_err() {
        let name = files::shown(&file);
        let why = json.err().map_or_else(|| "it is not a JSON object".to_owned(), |error| error.to_string());
        return Err(CliError::input(format!("{name} cannot be read as a transaction's JSON: {why}")));
    }
    let report = screen.busy("verifying", || TxReport::of(&text));
    screen.answer(&report, || report.human(screen))?;
    Ok(if report.valid { Exit::Ok } else { Exit::No })
}
