//! The commands under headings: how `weft --help` lists them.

use std::fmt::Write as _;

use clap::{Command, CommandFactory};

use super::Cli;
use crate::cli::fold::columns;

/// Every command, under what somebody wants to do, the first things first.
pub(super) const GROUPS: [(&str, &[&str]); 8] = [
    ("Run a node", &["up", "status", "top", "stop", "config", "key"]),
    (
        "Use processes",
        &[
            "spawn", "send", "console", "result", "results", "messages", "state", "dry-run", "assign",
            "pending", "module",
        ],
    ),
    ("Look and check", &["watch", "verify", "inspect", "checkpoint", "processes"]),
    ("Work for processes of others", &["host", "unhost", "pin", "cron"]),
    ("Carry messages", &["market", "carry", "outbox", "push", "subscribe", "unsubscribe", "subscriptions"]),
    ("The network", &["peers", "providers", "net", "network", "metrics"]),
    (
        "Keep and bring back",
        &["anchor", "weave", "backup", "restore", "export", "import", "recover", "prune", "repair"],
    ),
    ("Without a node", &["item", "bundle", "tx", "eval", "completions", "man", "help"]),
];

/// The command line, its commands listed under their headings.
pub(crate) fn command() -> Command {
    // What has no room beside its flags stands below them.
    let mut command = Cli::command().term_width(columns());
    // What is built in (`help`) is there only then.
    command.build();
    let listed = list(&command);
    let template =
        format!("{{about-with-newline}}\n{{usage-heading}} {{usage}}\n\n{listed}{{options}}{{after-help}}");
    command.help_template(template)
}

fn list(command: &Command) -> String {
    let styles = command.get_styles();
    let (header, literal) = (styles.get_header(), styles.get_literal());
    let names = GROUPS.iter().flat_map(|(_, names)| names.iter());
    let width = names.map(|name| name.len()).max().unwrap_or_default();
    let mut text = String::new();
    for (heading, names) in GROUPS {
        // A string takes whatever is written to it.
        let _ = writeln!(text, "{header}{heading}:{header:#}");
        for found in names.iter().filter_map(|name| command.find_subcommand(name)) {
            let about = found.get_about().map(ToString::to_string).unwrap_or_default();
            let _ = writeln!(text, "  {literal}{:<width$}{literal:#}  {about}", found.get_name());
        }
        text.push('\n');
    }
    text
}
