//! `weft config`.

use serde_json::{Value, json};

use super::Context;
use super::args::{ConfigCommand, ConfigFlags};
use super::exit::{CliError, Exit};
use super::fold::{columns, folded};
use super::screen::Colour;
use crate::config::{Inputs, Resolved, Source};

pub(super) fn run(command: Option<ConfigCommand>, context: &Context) -> Result<Exit, CliError> {
    match command.unwrap_or_else(|| ConfigCommand::Show(Box::default())) {
        ConfigCommand::Show(flags) => show(&resolve(&flags, context)?, context),
        ConfigCommand::Check(flags) => check(&resolve(&flags, context)?, context),
    }
}

/// The configuration that `weft up` would use with these flags.
pub(super) fn resolve(flags: &ConfigFlags, context: &Context) -> Result<Resolved, CliError> {
    let inputs = Inputs { flags: flags.by_key(), ..context.inputs() };
    Ok(Resolved::load(&inputs)?)
}

fn show(resolved: &Resolved, context: &Context) -> Result<Exit, CliError> {
    let screen = context.screen;
    let shown = resolved.shown();
    let answer: Vec<Value> = shown
        .iter()
        .map(|row| {
            json!({ "key": row.key, "value": row.value, "source": row.source.to_string(), "help": row.help })
        })
        .collect();
    screen.answer(&answer, || {
        let columns = columns();
        let rows = shown.iter().map(|row| {
            let colour = if row.source == Source::Default { Colour::Dim } else { Colour::Cyan };
            let source = screen.paint(colour, &format!("({})", row.source));
            // A value stays whole, for it is copied.
            format!("{} = {} {source}\n{}", row.key, row.value, folded(&format!("    {}", row.help), columns))
        });
        rows.collect::<Vec<_>>().join("\n")
    })?;
    for warning in &resolved.warnings {
        screen.remark(&format!("warning: {warning}"));
    }
    Ok(Exit::Ok)
}

fn check(resolved: &Resolved, context: &Context) -> Result<Exit, CliError> {
    let screen = context.screen;
    let answer = json!({ "ok": resolved.warnings.is_empty(), "warnings": resolved.warnings });
    screen.answer(&answer, || match resolved.warnings.as_slice() {
        [] => screen.paint(Colour::Green, "the configuration is valid"),
        warnings => warnings.join("\n"),
    })?;
    Ok(if resolved.warnings.is_empty() { Exit::Ok } else { Exit::No })
}
