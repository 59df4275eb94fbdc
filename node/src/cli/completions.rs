//! `weft completions` and `weft man`.

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

/// Prints the manual page.
pub(super) fn man() -> Result<Exit, CliError> {
    let mut page = Vec::new();
    let rendered = clap_mangen::Man::new(Cli::command()).render(&mut page);
    rendered.map_err(|error| CliError::fault(format!("the manual page: {error}")))?;
    std::io::stdout().lock().write_all(&page).map_err(|_| CliError::unread())?;
    Ok(Exit::Ok)
}
