//! Modules as items: the format, the encodings and the limits that their tags name.
//!
//! Whether this build can run a format, and whether the bytes are a module, is the engine's to
//! say.

use crate::data_item::DataItem;
use crate::id::Id;
use crate::limits::{COMPUTE_LIMIT_IGNORED_MIN, COMPUTE_LIMIT_MAX, MEMORY_LIMIT_DEFAULT, MEMORY_LIMIT_MAX};
use crate::owner::owner_text;
use crate::process::{Process, Refusal, check_availability, refuse_extensions};
use crate::tag::Tag;
use crate::verify::Verified;

/// The prefix of the formats of the reference, which ignore `Compute-Limit` unless they are
/// metered ones.
const REFERENCE_FORMAT: &str = "-unknown-emscripten";
const METERED_SUFFIX: &str = "-metering";

/// A module item, read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Module {
    item: Verified<DataItem>,
    owner: String,
    format: String,
}

/// What one position of a process may use: RULES.md 6.8.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Gas that the guard allows.
    pub gas: u64,
    /// Bytes of linear memory, initial pages included.
    pub memory_bytes: u64,
    /// The `Compute-Limit` as the tags have it, for modules that count their own gas.
    pub declared_gas: u64,
}

impl Module {
    /// Reads a module item.
    ///
    /// # Errors
    /// The tag that is missing or cannot be obeyed.
    pub fn accept(item: Verified<DataItem>) -> Result<Self, Refusal> {
        let format = item.tag("Module-Format").ok_or(Refusal::Missing("Module-Format"))?.to_owned();
        for name in ["Input-Encoding", "Output-Encoding"] {
            item.tag(name).ok_or(Refusal::Missing(name))?;
        }
        refuse_extensions(item.tags(), &[])?;
        let owner = owner_text(&item);
        Ok(Self { item, owner, format })
    }

    /// The module's id.
    pub fn id(&self) -> Id {
        self.item.id()
    }

    /// The signer as the module sees it.
    pub fn owner(&self) -> &str {
        &self.owner
    }

    /// The `Module-Format` tag.
    pub fn format(&self) -> &str {
        &self.format
    }

    /// The tags of the item.
    pub fn tags(&self) -> &[Tag] {
        self.item.tags()
    }

    /// The WebAssembly bytes.
    pub fn wasm(&self) -> bytes::Bytes {
        self.item.data()
    }

    /// Whether results show `GasUsed`: those of all formats of the reference do, and it is 0 where
    /// nothing counts it.
    pub fn reports_gas(&self) -> bool {
        self.format.contains(REFERENCE_FORMAT)
    }

    /// The limits of a process of this module: its own tag, else the module's, else the default.
    ///
    /// # Errors
    /// A tag of the module that counts and cannot be obeyed.
    pub fn limits(&self, process: &Process) -> Result<Limits, Refusal> {
        // A process's own tag was looked at when it was accepted, and wins.
        if let (None, Some(mode)) =
            (process.item().tag("Availability-Type"), self.item.tag("Availability-Type"))
        {
            check_availability(mode)?;
        }
        let declared_gas = match (process.compute_limit(), self.item.tag("Compute-Limit")) {
            (Some(gas), _) => gas,
            (None, Some(text)) => parse_compute_limit(text)?,
            (None, None) => COMPUTE_LIMIT_MAX,
        };
        let memory_bytes = match (process.memory_limit(), self.item.tag("Memory-Limit")) {
            (Some(bytes), _) => bytes,
            (None, Some(text)) => parse_memory_limit(text)?,
            (None, None) => MEMORY_LIMIT_DEFAULT,
        };
        let gas = if ignores_compute_limit(&self.format) {
            declared_gas.max(COMPUTE_LIMIT_IGNORED_MIN)
        } else {
            declared_gas
        };
        Ok(Limits { gas, memory_bytes, declared_gas })
    }
}

/// Whether the reference runs this format without a guard.
fn ignores_compute_limit(format: &str) -> bool {
    format.contains(REFERENCE_FORMAT) && !format.ends_with(METERED_SUFFIX)
}

/// Reads a `Compute-Limit`: decimal digits, at most [`COMPUTE_LIMIT_MAX`].
///
/// # Errors
/// [`Refusal::ComputeLimit`].
pub fn parse_compute_limit(text: &str) -> Result<u64, Refusal> {
    digits(text).filter(|&gas| gas <= COMPUTE_LIMIT_MAX).ok_or_else(|| Refusal::ComputeLimit(cut(text)))
}

/// Reads a `Memory-Limit`: digits, an optional `-`, and b, kb, mb or gb in any letter case; at
/// most [`MEMORY_LIMIT_MAX`] bytes.
///
/// # Errors
/// [`Refusal::MemoryLimit`].
pub fn parse_memory_limit(text: &str) -> Result<u64, Refusal> {
    let parse = || {
        let split = text.bytes().position(|byte| !byte.is_ascii_digit())?;
        let (number, unit) = text.split_at(split);
        let unit = unit.strip_prefix('-').unwrap_or(unit).to_ascii_lowercase();
        let shift = match unit.as_str() {
            "b" => 0,
            "kb" => 10,
            "mb" => 20,
            "gb" => 30,
            _ => return None,
        };
        digits(number)?.checked_mul(1 << shift).filter(|&bytes| bytes <= MEMORY_LIMIT_MAX)
    };
    parse().ok_or_else(|| Refusal::MemoryLimit(cut(text)))
}

pub(crate) fn digits(text: &str) -> Option<u64> {
    let plain = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    plain.then(|| text.parse().ok()).flatten()
}

/// What an error shows of a tag's value.
pub(crate) fn cut(text: &str) -> String {
    text.chars().take(64).collect()
}
