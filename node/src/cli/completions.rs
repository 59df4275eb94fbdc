//! `weft completions`.

use std::io::Write as _;

use clap::CommandFactory as _;
use clap_complete::Shell;

use super::args::Cli;
use super::exit::{CliError, Exit};

/// Prints the script that the shell is to read.
pub(super) fn run(shell: Shell) -> Result<Exit, CliError> {
    // Written in one piece: the generator itself panics where nobody reads any more.
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "weft", &mut script);
    std::io::stdout().lock().write_all(&script).map_err(|_| CliError::unread())?;
    Ok(Exit::Ok)
}
