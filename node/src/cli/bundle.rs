//! `weft bundle verify`: a bundle and every item in it, without a node.

use std::path::{Path, PathBuf};

use bytes::Bytes;
use clap::Subcommand;
use serde::Serialize;
use weft_protocol::DataItem;
use weft_protocol::bundle::{Bundle, is_bundle};

use super::exit::{CliError, Exit};
use super::files::{self, FILE_BYTES_MAX};
use super::item::{ItemReport, is_like_an_item, verdict};
use super::screen::{Screen, table};

#[derive(Debug, Subcommand)]
pub(crate) enum BundleCommand {
    /// Check a bundle and every item in it: exit 0 valid, 1 invalid, 2 unreadable
    Verify {
        /// The bundle, or a data item that carries one, raw or base64; `-` reads standard input
        file: PathBuf,
    },
}

/// What is said of a bundle.
#[derive(Debug, Serialize)]
struct BundleReport {
    /// The item that carries the bundle, if the file is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    item: Option<ItemReport>,
    /// How many items it declares, if its frame is sound.
    count: Option<usize>,
    /// Whether the frame, every item, and what carries them are valid.
    valid: bool,
    /// The first thing that is wrong.
    reason: Option<String>,
    /// Each item in its place: a bad one says nothing about its siblings.
    items: Vec<ItemReport>,
}

pub(super) fn run(command: BundleCommand, screen: Screen) -> Result<Exit, CliError> {
    let BundleCommand::Verify { file } = command;
    let raw = Bytes::from(files::raw_or_base64(files::read(&file, FILE_BYTES_MAX)?));
    let report = screen.busy("verifying", || read(raw, &file))?;
    screen.answer(&report, || human(&report, screen))?;
    Ok(if report.valid { Exit::Ok } else { Exit::No })
}

fn read(raw: Bytes, file: &Path) -> Result<BundleReport, CliError> {
    if is_like_a_bundle(&raw) {
        return Ok(report(raw));
    }
    let name = files::shown(file);
    if !is_like_an_item(&raw) {
        return Err(CliError::input(format!(
            "{name} cannot be read as a bundle, neither as raw bytes nor as base64"
        )));
    }
    let item = ItemReport::of(raw.clone());
    let Ok(carrier) = DataItem::parse(raw) else {
        let reason = item.reason.clone();
        return Ok(BundleReport { item: Some(item), count: None, valid: false, reason, items: Vec::new() });
    };
    if !is_bundle(carrier.claims().tags()) {
        let reason = "is a data item that carries no bundle: its tags do not say Bundle-Format binary, 2.0.0";
        return Err(CliError::input(format!("{name} {reason}")));
    }
    let inner = report(carrier.claims().data());
    let reason = item.reason.clone().or(inner.reason);
    Ok(BundleReport { valid: item.valid && inner.valid, reason, item: Some(item), ..inner })
}

/// Whether bytes begin with a count: 256 bits, of which nobody needs more than the first 128. An
/// item begins with a random signature there.
fn is_like_a_bundle(raw: &[u8]) -> bool {
    raw.get(16..32).is_some_and(|high| high.iter().all(|&byte| byte == 0))
}

fn report(raw: Bytes) -> BundleReport {
    let bundle = match Bundle::parse(raw) {
        Ok(bundle) => bundle,
        Err(error) => {
            let reason = Some(error.to_string());
            return BundleReport { item: None, count: None, valid: false, reason, items: Vec::new() };
        }
    };
    let items: Vec<ItemReport> = bundle
        .entries()
        .map(|(named, range)| {
            let report = ItemReport::of(bundle.raw().slice(range));
            match report.id {
                Some(id) if id != named => {
                    report.refused(format!("the header names {named}, the item is {id}"))
                }
                _ => report,
            }
        })
        .collect();
    let bad = items.iter().enumerate().find(|(_, item)| !item.valid);
    let reason = bad.map(|(index, item)| {
        format!("item {index} of the bundle: {}", item.reason.as_deref().unwrap_or("invalid"))
    });
    BundleReport { item: None, count: Some(items.len()), valid: reason.is_none(), reason, items }
}

fn human(report: &BundleReport, screen: Screen) -> String {
    let rows = report.items.iter().enumerate().map(|(index, item)| {
        let id = item.id.map_or_else(|| "-".to_owned(), |id| id.to_string());
        [index.to_string(), id, verdict(item.valid, item.reason.as_deref(), screen)]
    });
    let items = table(["ITEM", "ID", "VALID"], rows);
    let verdict = verdict(report.valid, report.reason.as_deref(), screen);
    format!("{items}\nvalid  {verdict}")
}
