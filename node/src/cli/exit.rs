//! Exit codes, and the one error type of the command line.

use std::fmt::Write as _;
use std::process::ExitCode;

use weft_storage::StoreError;

use crate::config::ConfigError;
use crate::control::api::{Failure, FailureCode};
use crate::control::client::ClientError;
use crate::keyring::KeyError;

/// How a command ended, for scripts. The numbers are a promise.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    /// It did what was asked.
    Ok,
    /// It worked, and the answer is no.
    No,
    /// What was given is wrong or cannot be read.
    Input,
    /// There is no node to talk to.
    Unreachable,
    /// Nothing came in the given time.
    TimedOut,
    /// The node has too much to do, or has what another wants to write.
    Busy,
    /// Something of ours failed: disk, network, a bug.
    Fault,
}

impl Exit {
    /// Every way to end: number, word in JSON errors, meaning.
    pub(crate) const TABLE: [(Self, u8, &'static str, &'static str); 7] = [
        (Self::Ok, 0, "ok", "done; for `verify` commands: valid and equal"),
        (
            Self::No,
            1,
            "no",
            "the answer is no: invalid, different, unknown or refused, or the result is an error (an empty list is 0)",
        ),
        (Self::Input, 2, "input", "bad arguments, or an input that cannot be read"),
        (Self::Unreachable, 3, "unreachable", "no node runs for the data folder, or it went away"),
        (Self::TimedOut, 4, "timed-out", "no answer in the given time; ask again"),
        (
            Self::Busy,
            5,
            "busy",
            "busy, in use by a running node, or its disk budget is used up; try again later",
        ),
        (Self::Fault, 70, "fault", "something failed on this machine: disk, network, a bug"),
    ];

    /// The number the process ends with.
    pub(crate) fn number(self) -> u8 {
        self.row().1
    }

    /// The word in JSON errors that say no more.
    pub(crate) fn word(self) -> &'static str {
        self.row().2
    }

    fn row(self) -> (Self, u8, &'static str, &'static str) {
        let [first, ..] = Self::TABLE;
        Self::TABLE.into_iter().find(|row| row.0 == self).unwrap_or(first)
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        exit.number().into()
    }
}

/// The table of exit codes as `--help` shows it.
pub(crate) fn help() -> String {
    let mut text = String::from("Exit codes:\n");
    for (_, number, _, meaning) in Exit::TABLE {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "  {number:>2}  {meaning}");
    }
    text
}

/// Why a command did not do what was asked.
#[derive(Debug)]
pub(crate) struct CliError {
    /// How the process ends.
    pub(crate) exit: Exit,
    /// A stable word for scripts.
    pub(crate) code: &'static str,
    /// What happened, to what, and what to do; empty when there is nobody to tell.
    pub(crate) text: String,
}

impl CliError {
    pub(crate) fn new(exit: Exit, text: impl Into<String>) -> Self {
        Self { exit, code: exit.word(), text: text.into() }
    }

    /// What was given is wrong.
    pub(crate) fn input(text: impl Into<String>) -> Self {
        Self::new(Exit::Input, text)
    }

    /// The answer is no.
    pub(crate) fn no(text: impl Into<String>) -> Self {
        Self::new(Exit::No, text)
    }

    /// Something of ours failed.
    pub(crate) fn fault(text: impl Into<String>) -> Self {
        Self::new(Exit::Fault, text)
    }

    /// Whoever read our output has closed it: there is nothing left to do, and nobody to tell.
    pub(crate) fn unread() -> Self {
        Self::new(Exit::Ok, "")
    }

    /// Whether this is [`unread`](Self::unread).
    pub(crate) fn is_unread(&self) -> bool {
        self.exit == Exit::Ok
    }
}

impl From<ConfigError> for CliError {
    fn from(error: ConfigError) -> Self {
        Self { code: "config", ..Self::input(error.to_string()) }
    }
}

impl From<KeyError> for CliError {
    fn from(error: KeyError) -> Self {
        let exit = match error {
            KeyError::Io { .. } => Exit::Fault,
            KeyError::Exists(_) => Exit::No,
            _ => Exit::Input,
        };
        Self { code: "key", ..Self::new(exit, error.to_string()) }
    }
}

/// What is wrong with the file of a store, for a command that opens it itself.
impl From<&StoreError> for CliError {
    fn from(error: &StoreError) -> Self {
        match error {
            StoreError::InUse { path } => {
                let path = path.display();
                Self::new(Exit::Busy, format!("a node has {path} open: stop it first, with `weft stop`"))
            }
            StoreError::NotAStore { .. }
            | StoreError::OtherNetwork { .. }
            | StoreError::OtherNode { .. }
            | StoreError::NewerSchema { .. } => Self::input(error.to_string()),
            _ => Self::fault(error.to_string()),
        }
    }
}

impl From<Failure> for CliError {
    fn from(failure: Failure) -> Self {
        let (exit, code) = match failure.code {
            FailureCode::Invalid => (Exit::Input, "invalid"),
            FailureCode::Unknown => (Exit::No, "unknown"),
            FailureCode::Gone => (Exit::No, "gone"),
            FailureCode::Refused => (Exit::No, "refused"),
            FailureCode::Pending => (Exit::TimedOut, "pending"),
            FailureCode::Busy => (Exit::Busy, "busy"),
            FailureCode::Full => (Exit::Busy, "full"),
            FailureCode::TimedOut => (Exit::TimedOut, "timed-out"),
            FailureCode::Fault => (Exit::Fault, "fault"),
        };
        Self { exit, code, text: failure.text }
    }
}

impl From<ClientError> for CliError {
    fn from(error: ClientError) -> Self {
        let exit = match error {
            ClientError::Failed(failure) => return failure.into(),
            ClientError::TimedOut { .. } => Exit::TimedOut,
            ClientError::RequestTooLarge { .. } => Exit::Input,
            ClientError::Malformed { .. } | ClientError::AnswerTooLarge => Exit::Fault,
            _ => Exit::Unreachable,
        };
        Self::new(exit, error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_is_one_meaning() {
        let mut numbers: Vec<u8> = Exit::TABLE.iter().map(|row| row.1).collect();
        numbers.dedup();
        assert_eq!(numbers, [0, 1, 2, 3, 4, 5, 70]);
        for row in Exit::TABLE {
            assert_eq!(row.0.number(), row.1);
        }
        assert!(help().contains("  70  something failed"));
    }
}
