//! Values of which there are few.

use weft_protocol::attestation::BOUNDARY_SLOTS;

use super::Config;
use super::given::{Expected, Given};

/// When the slots of a process that is hosted to compute are evaluated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Evaluate {
    /// As its slots arrive.
    Eager,
    /// When somebody asks for an outcome, or a duty of this node needs one.
    Lazy,
}

/// How the log is written to stderr.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// Lines for people.
    Text,
    /// One JSON object a line.
    Json,
}

/// How a process comes up whose log is far ahead of what is evaluated here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Join {
    /// All of it is evaluated.
    Replay,
    /// It goes on from a checkpoint that a quorum of its attestors signed, where there is one ahead.
    Checkpoint,
    /// The same, where evaluating all would take long.
    Auto,
}

/// Which checkpoints go into batches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AnchorCheckpoints {
    /// None: the log gives every state again.
    Off,
    /// The newest one at a boundary that a quorum signed, with each batch that has none.
    Boundaries,
}

impl AnchorCheckpoints {
    /// Its name in the file.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Boundaries => "boundaries",
        }
    }
}

pub(super) fn set_anchor_checkpoints(config: &mut Config, given: &Given<'_>) -> Result<(), Expected> {
    config.anchor_checkpoints = match given.text() {
        Some("off") => AnchorCheckpoints::Off,
        Some("boundaries") => AnchorCheckpoints::Boundaries,
        _ => return Err("`off` or `boundaries`".into()),
    };
    Ok(())
}

impl Join {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Replay, Self::Checkpoint, Self::Auto];

    /// Its name in the file.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Replay => "replay",
            Self::Checkpoint => "checkpoint",
            Self::Auto => "auto",
        }
    }

    pub(super) fn parse(given: &Given<'_>) -> Result<Self, Expected> {
        let named = |text| Self::ALL.into_iter().find(|join| join.name() == text);
        given.text().and_then(named).ok_or_else(|| "`replay`, `checkpoint` or `auto`".into())
    }

    /// How many slots a log must be ahead of what is evaluated here; none where no process joins. Fewer are evaluated sooner than asked about.
    pub const fn slots(self) -> Option<u64> {
        match self {
            Self::Replay => None,
            Self::Checkpoint => Some(64),
            Self::Auto => Some(16 * BOUNDARY_SLOTS),
        }
    }
}

pub(super) fn set_evaluate(config: &mut Config, given: &Given<'_>) -> Result<(), Expected> {
    config.evaluate = match given.text() {
        Some("eager") => Evaluate::Eager,
        Some("lazy") => Evaluate::Lazy,
        _ => return Err("`eager` or `lazy`".into()),
    };
    Ok(())
}
