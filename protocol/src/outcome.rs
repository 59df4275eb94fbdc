//! Outcomes: what a position came to, and the hash that attestors sign: RULES.md 6.4.
//!
//! Guest failure is data and becomes an outcome; host failure never reaches this module.

mod entry;
mod normalise;
mod outbox;
pub mod proof;
pub mod sent;

pub use entry::{EntryError, EntryKind, OutboxEntry};
pub use outbox::{EntryPath, Outbox};

use crate::hashing;
use crate::id::{Hash, Id};
use crate::position::Position;

/// How an evaluation ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Code {
    /// The module answered.
    Ok = 0,
    /// The module returned an error.
    Error = 1,
    /// The module trapped.
    Trap = 2,
    /// The gas of the position was used up.
    OutOfGas = 3,
    /// The module ran out of memory.
    OutOfMemory = 4,
    /// The call depth was used up.
    Depth = 5,
    /// The bytes the module returned are no result.
    Malformed = 6,
    /// The item or push was in the log before.
    Duplicate = 7,
    /// The rules refuse the module.
    Refused = 8,
}

impl Code {
    /// The code of this number.
    pub const fn from_number(number: u8) -> Option<Self> {
        Some(match number {
            0 => Self::Ok,
            1 => Self::Error,
            2 => Self::Trap,
            3 => Self::OutOfGas,
            4 => Self::OutOfMemory,
            5 => Self::Depth,
            6 => Self::Malformed,
            7 => Self::Duplicate,
            8 => Self::Refused,
            _ => return None,
        })
    }

    /// The number in hashes and records.
    pub const fn number(self) -> u8 {
        self as u8
    }

    /// One word for it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Error => "error",
            Self::Trap => "trap",
            Self::OutOfGas => "out-of-gas",
            Self::OutOfMemory => "out-of-memory",
            Self::Depth => "depth",
            Self::Malformed => "malformed",
            Self::Duplicate => "duplicate",
            Self::Refused => "refused",
        }
    }

    /// Whether memory keeps what the position wrote.
    pub const fn keeps_memory(self) -> bool {
        matches!(self, Self::Ok)
    }

    /// The constant error text; none for the codes whose text is the guest's.
    pub const fn text(self) -> Option<&'static str> {
        match self {
            Self::Ok | Self::Error => None,
            Self::Trap => Some("trap"),
            Self::OutOfGas => Some("out of gas!"),
            Self::OutOfMemory => Some("out of memory"),
            Self::Depth => Some("call depth exhausted"),
            Self::Malformed => Some("malformed result"),
            Self::Duplicate => Some("duplicate"),
            Self::Refused => Some("module refused"),
        }
    }
}

/// Everything outcome_n hashes except the outbox root: what an origin proof carries beside the
/// path of an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OutcomeCore {
    /// The position.
    pub position: Position,
    /// How the evaluation ended.
    pub code: Code,
    /// The hash of Output, Error and Assignments.
    pub result: Hash,
    /// The slot that held the item or push first, for code 7.
    pub duplicate_of: Option<u64>,
    /// Ticks of this position's interval that never run; on its last tick only.
    pub skipped: u64,
}

impl OutcomeCore {
    /// Bytes of [`to_bytes`](Self::to_bytes).
    pub const BYTES: usize = 20 + 1 + 32 + 8 + 8;

    /// outcome_n.
    pub fn hash(&self, outbox_root: &Hash) -> Hash {
        hashing::blake3(
            "weft/outcome/1",
            &[
                &self.position.to_bytes(),
                &[self.code.number()],
                &self.result.0,
                &outbox_root.0,
                &self.duplicate_of.unwrap_or(u64::MAX).to_be_bytes(),
                &self.skipped.to_be_bytes(),
            ],
        )
    }

    /// The fields in the order in which they are hashed, the outbox root left out.
    pub fn to_bytes(&self) -> [u8; Self::BYTES] {
        let mut out = [0; Self::BYTES];
        out[..20].copy_from_slice(&self.position.to_bytes());
        out[20] = self.code.number();
        out[21..53].copy_from_slice(&self.result.0);
        out[53..61].copy_from_slice(&self.duplicate_of.unwrap_or(u64::MAX).to_be_bytes());
        out[61..].copy_from_slice(&self.skipped.to_be_bytes());
        out
    }

    /// Reads [`to_bytes`](Self::to_bytes); none for an unknown code.
    pub fn from_bytes(bytes: &[u8; Self::BYTES]) -> Option<Self> {
        fn part<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
            let mut out = [0; N];
            out.copy_from_slice(&bytes[at..at + N]);
            out
        }
        let duplicate_of = u64::from_be_bytes(part(bytes, 53));
        Some(Self {
            position: Position::from_bytes(&part(bytes, 0)),
            code: Code::from_number(bytes[20])?,
            result: Hash(part(bytes, 21)),
            duplicate_of: (duplicate_of != u64::MAX).then_some(duplicate_of),
            skipped: u64::from_be_bytes(part(bytes, 61)),
        })
    }
}

/// O_n: the running hash over all outcomes of a process up to a position.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Running(pub Hash);

impl Running {
    /// O_{-1}, before slot 0.
    pub fn before(process: Id) -> Self {
        Self(hashing::blake3("weft/O/0", &[&process.0]))
    }

    /// O_n from O_{n-1} and outcome_n.
    #[must_use]
    pub fn then(self, outcome: &Hash) -> Self {
        Self(hashing::blake3("weft/O/1", &[&self.0.0, &outcome.0]))
    }
}

/// What a position came to, as everyone sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// The position.
    pub position: Position,
    /// How the evaluation ended.
    pub code: Code,
    /// Output, compact JSON.
    pub output: String,
    /// Error, compact JSON; empty if there is none.
    pub error: String,
    /// Messages as the module returned them, a compact JSON array.
    pub messages: String,
    /// Spawns, likewise.
    pub spawns: String,
    /// Assignments, likewise.
    pub assignments: String,
    /// What leaves the process.
    pub outbox: Outbox,
    /// The slot that held the item or push first, for code 7.
    pub duplicate_of: Option<u64>,
    /// Ticks of this position's interval that never run; on its last tick only.
    pub skipped: u64,
}

impl Outcome {
    /// The empty outcome: of a mark, and the start of all others.
    pub fn empty(position: Position) -> Self {
        let empty_list = || "[]".to_owned();
        Self {
            position,
            code: Code::Ok,
            output: "\"\"".to_owned(),
            error: String::new(),
            messages: empty_list(),
            spawns: empty_list(),
            assignments: empty_list(),
            outbox: Outbox::default(),
            duplicate_of: None,
            skipped: 0,
        }
    }

    /// The outcome of an evaluation that gave no result, with the constant text of its code.
    pub fn failed(position: Position, code: Code) -> Self {
        // The texts are plain ASCII without quotes, so this is their JSON.
        let error = code.text().map(|text| format!("\"{text}\"")).unwrap_or_default();
        Self { code, error, ..Self::empty(position) }
    }

    /// The outcome of an item or push that slot `first` already held.
    pub fn duplicate(position: Position, first: u64) -> Self {
        Self { duplicate_of: Some(first), ..Self::failed(position, Code::Duplicate) }
    }

    /// What is hashed beside the outbox root.
    pub fn core(&self) -> OutcomeCore {
        OutcomeCore {
            position: self.position,
            code: self.code,
            result: result_hash(&self.output, &self.error, &self.assignments),
            duplicate_of: self.duplicate_of,
            skipped: self.skipped,
        }
    }

    /// outcome_n.
    pub fn hash(&self) -> Hash {
        self.core().hash(&self.outbox.root())
    }

    /// The result as the reference's compute unit answers it, with `GasUsed` where the format
    /// reports it. A duplicate is empty and names the slot that counts.
    pub fn result_json(&self, gas_used: Option<u64>) -> String {
        let mut out = String::from("{");
        if !self.error.is_empty() && self.duplicate_of.is_none() {
            out.push_str("\"Error\":");
            out.push_str(&self.error);
            out.push(',');
        }
        for (name, value) in [
            ("Messages", &self.messages),
            ("Assignments", &self.assignments),
            ("Spawns", &self.spawns),
            ("Output", &self.output),
        ] {
            out.push_str(&format!("\"{name}\":{value},"));
        }
        if let Some(gas) = gas_used {
            out.push_str(&format!("\"GasUsed\":{gas},"));
        }
        if let Some(slot) = self.duplicate_of {
            out.push_str(&format!("\"Duplicate-Of\":{slot},"));
        }
        out.pop();
        out.push('}');
        out
    }
}

/// BLAKE3 over the compact JSON of Output, Error and Assignments, each after its length.
fn result_hash(output: &str, error: &str, assignments: &str) -> Hash {
    let length = |text: &str| (text.len() as u64).to_be_bytes();
    hashing::blake3(
        "weft/result/1",
        &[
            &length(output),
            output.as_bytes(),
            &length(error),
            error.as_bytes(),
            &length(assignments),
            assignments.as_bytes(),
        ],
    )
}
