//! Values of which there are two.

/// When the slots of a process that is hosted to compute are evaluated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Evaluate {
    /// As they come.
    Eager,
    /// When somebody asks for an outcome, or a duty of this node does.
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
