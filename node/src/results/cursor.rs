//! Cursors: standard base64 of JSON, or a bare timestamp.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use weft_protocol::process::Process;

use super::Sort;
use super::scan::Place;

/// Characters of a cursor: several times what any takes.
const CHARS_MAX: usize = 1_024;

/// Where an entry stands. Clients hand it back as it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cursor {
    /// What the module saw as its time.
    #[serde(deserialize_with = "number")]
    pub timestamp: u64,
    /// The slot, or before which slot's successor a tick ran. Absent in a bare timestamp.
    #[serde(default, deserialize_with = "maybe_number", skip_serializing_if = "Option::is_none")]
    pub ordinate: Option<u64>,
    /// Of a tick: its number after the slot, `-`, and its interval.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cron: Option<String>,
    /// In which order the page stood.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sort: Option<Sort>,
}

/// Why a text is no cursor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "the cursor is neither base64 of {{timestamp, ordinate, cron, sort}} nor a timestamp in milliseconds"
)]
pub struct CursorError;

impl Cursor {
    /// Reads a cursor as a client gives it.
    ///
    /// # Errors
    /// [`CursorError`].
    pub fn parse(text: &str) -> Result<Self, CursorError> {
        let text = text.trim();
        if text.len() > CHARS_MAX {
            return Err(CursorError);
        }
        if let Ok(timestamp) = text.parse() {
            return Ok(Self { timestamp, ordinate: None, cron: None, sort: None });
        }
        let json = STANDARD.decode(text).map_err(|_| CursorError)?;
        let cursor: Self = serde_json::from_slice(&json).map_err(|_| CursorError)?;
        match &cursor.cron {
            Some(cron) if tick_of(cron).is_none() => Err(CursorError),
            _ => Ok(cursor),
        }
    }

    /// The cursor as clients get it.
    pub fn to_text(&self) -> String {
        // A number, a text and a word always have JSON.
        STANDARD.encode(serde_json::to_vec(self).unwrap_or_default())
    }

    pub(super) fn of(process: &Process, place: &Place, sort: Sort) -> Self {
        let cron = place.cron.map(|cron| {
            let interval = process.crons().get(cron).map_or("", |cron| cron.interval.as_str());
            format!("{}-{interval}", place.position.tick)
        });
        Self { timestamp: place.timestamp, ordinate: Some(place.position.slot), cron, sort: Some(sort) }
    }

    /// Timestamp, slot and tick, by which entries are compared. A bare timestamp stands behind
    /// everything of its millisecond, whichever way the page goes.
    pub(super) fn key(&self, sort: Sort) -> (u64, u64, u32) {
        match (self.ordinate, sort) {
            (Some(slot), _) => (self.timestamp, slot, self.cron.as_deref().and_then(tick_of).unwrap_or(0)),
            (None, Sort::Asc) => (self.timestamp, u64::MAX, u32::MAX),
            (None, Sort::Desc) => (self.timestamp, 0, 0),
        }
    }
}

fn tick_of(cron: &str) -> Option<u32> {
    cron.split('-').next()?.parse().ok()
}

#[derive(Deserialize)]
#[serde(untagged)]
enum NumberOrText {
    Number(u64),
    Text(String),
}

/// The reference writes both numbers as texts in some versions.
fn number<'de, D: serde::Deserializer<'de>>(from: D) -> Result<u64, D::Error> {
    match NumberOrText::deserialize(from)? {
        NumberOrText::Number(number) => Ok(number),
        NumberOrText::Text(text) => text.parse().map_err(serde::de::Error::custom),
    }
}

fn maybe_number<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Option<u64>, D::Error> {
    number(from).map(Some)
}
