//! Caution: logs whose scheduler may have signed more than its store still knows.
//!
//! A store that was restored from a backup, or repaired, may lack the newest slots of the logs that
//! its node schedules. Signing there again would give a slot two signatures, the worst that can
//! happen to a process. Such a log is under caution: its scheduler signs nothing in it until the
//! log is known to be whole again, or its operator accepts the loss. Where not even the list of
//! logs is whole, the store is under caution as well: no new process is opened, for it might be
//! one whose slot 0 was signed before and is lost.

use std::collections::BTreeMap;

use redb::{Database, ReadableDatabase as _, ReadableTable as _};
use weft_protocol::Id;

use crate::check::each_row;
use crate::contained::contain;
use crate::error::StoreError;
use crate::key::Parts;
use crate::reader::Reader;
use crate::record::{self, Decoder, Encoder, Record};
use crate::rows::{ProcessRow, Raw};
use crate::tables::Table;

/// The setting that says why no new process is opened.
pub(crate) const OPENINGS: &str = "caution";

/// Why there is caution.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Caution {
    /// The store came out of a backup.
    Restored,
    /// A repair lost something of it, or found what may never have been said.
    Repaired,
}

impl Caution {
    const ALL: [Self; 2] = [Self::Restored, Self::Repaired];

    /// A word for it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Restored => "restored",
            Self::Repaired => "repaired",
        }
    }

    fn parse(word: &[u8]) -> Option<Self> {
        Self::ALL.into_iter().find(|caution| caution.name().as_bytes() == word)
    }
}

/// A log of this node's own under caution.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CautionRow {
    /// Why.
    pub why: Caution,
    /// How many slots were signed, if that is known for certain: with so many the log is whole.
    pub slots: Option<u64>,
}

impl CautionRow {
    /// The more careful of two.
    #[must_use]
    pub fn with(self, other: Self) -> Self {
        let slots = self.slots.zip(other.slots).map(|(one, other)| one.max(other));
        Self { slots, ..self }
    }

    /// Whether a log of so many slots has everything that was signed.
    pub fn is_met(&self, slots: u64) -> bool {
        self.slots.is_some_and(|signed| slots >= signed)
    }
}

impl Record for CautionRow {
    fn put(&self, out: &mut Encoder) {
        out.bytes(self.why.name().as_bytes());
        out.option(self.slots.as_ref(), |out, slots| out.u64(*slots));
    }

    fn take(input: &mut Decoder) -> Option<Self> {
        Some(Self { why: Caution::parse(&input.bytes()?)?, slots: input.option(Decoder::u64)? })
    }
}

impl Reader {
    /// Why no new process is opened; none when they may be.
    ///
    /// # Errors
    /// As [`process`](Self::process).
    pub fn caution(&self) -> Result<Option<Caution>, StoreError> {
        let word = self.setting(OPENINGS)?;
        // A word of a later version is no less a reason.
        Ok(word.map(|word| Caution::parse(&word).unwrap_or(Caution::Restored)))
    }

    /// The caution of a log.
    ///
    /// # Errors
    /// As [`process`](Self::process).
    pub fn caution_of(&self, process: &Id) -> Result<Option<CautionRow>, StoreError> {
        self.get(Table::Cautions, &process.0)
    }

    /// The logs under caution.
    ///
    /// # Errors
    /// As [`process`](Self::process).
    pub fn cautions(&self) -> Result<BTreeMap<Id, CautionRow>, StoreError> {
        contain("reading", || {
            let mut rows = BTreeMap::new();
            each_row(self.transaction(), Table::Cautions, |key, value| {
                let row = record::decode(Table::Cautions.name(), key, value)?;
                rows.extend(Parts(key).id().map(|process| (process, row)));
                Ok(())
            })?;
            Ok(rows)
        })
    }

    /// The logs under caution that do not have everything that was signed, each with its slots. The
    /// others are free again as soon as they are used.
    ///
    /// # Errors
    /// As [`process`](Self::process).
    pub fn held_back(&self) -> Result<BTreeMap<Id, u64>, StoreError> {
        let mut held = BTreeMap::new();
        for (process, row) in self.cautions()? {
            let slots = self.head(&process)?.map_or(0, |(slot, _)| slot + 1);
            if !row.is_met(slots) {
                held.insert(process, slots);
            }
        }
        Ok(held)
    }
}

/// Puts logs of a closed store under caution, and new processes too where `openings` says so.
pub(crate) fn raise(
    database: &Database,
    why: Caution,
    logs: &BTreeMap<Id, Option<u64>>,
    openings: bool,
) -> Result<(), StoreError> {
    let disk = |error: redb::Error| StoreError::disk("putting the store under caution", error);
    let writing = database.begin_write().map_err(|error| disk(error.into()))?;
    {
        let mut table =
            writing.open_table(Table::Cautions.definition()).map_err(|error| disk(error.into()))?;
        for (process, slots) in logs {
            let held = table.get(process.0.as_slice()).map_err(|error| disk(error.into()))?;
            let held = held.map(|guard| bytes::Bytes::copy_from_slice(guard.value()));
            let row = CautionRow { why, slots: *slots };
            let row = match held {
                Some(held) => {
                    record::decode(Table::Cautions.name(), &process.0, held).map(|held| row.with(held))?
                }
                None => row,
            };
            let bytes = record::encode(Table::Cautions.name(), &process.0, &row);
            table.insert(process.0.as_slice(), bytes.as_slice()).map_err(|error| disk(error.into()))?;
        }
        if openings {
            let mut settings =
                writing.open_table(Table::Settings.definition()).map_err(|error| disk(error.into()))?;
            let row = Raw(bytes::Bytes::from_static(why.name().as_bytes()));
            let bytes = record::encode(Table::Settings.name(), OPENINGS.as_bytes(), &row);
            settings.insert(OPENINGS.as_bytes(), bytes.as_slice()).map_err(|error| disk(error.into()))?;
        }
    }
    writing.commit().map_err(|error| disk(error.into()))
}

/// Puts everything that a closed store's node schedules under caution: nobody knows how much more
/// it signed.
pub(crate) fn raise_all(database: &Database, why: Caution) -> Result<(), StoreError> {
    let reading = database.begin_read().map_err(|error| StoreError::disk("beginning to read", error))?;
    let mut own = BTreeMap::new();
    each_row(&reading, Table::Processes, |key, value| {
        let row: ProcessRow = record::decode(Table::Processes.name(), key, value)?;
        if row.roles.schedules {
            own.extend(Parts(key).id().map(|process| (process, None)));
        }
        Ok(())
    })?;
    raise(database, why, &own, true)
}
