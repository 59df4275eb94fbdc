//! Flags for the keys of the configuration.

use std::collections::BTreeMap;

use clap::{Arg, ArgAction, ArgMatches, Args, Command, FromArgMatches};

use crate::config::{Config, Flag, Takes, flags};

/// Flags that override the configuration of one run: one for each key of its table. What they are given is read by
/// the same code as the file, so that both know the same values and say the same of a wrong one.
#[derive(Debug, Clone, Default)]
pub(crate) struct ConfigFlags(BTreeMap<&'static str, String>);

impl ConfigFlags {
    /// These keys alone, where they are given.
    pub(crate) fn of<const N: usize>(given: [(&'static str, Option<String>); N]) -> Self {
        Self(given.into_iter().filter_map(|(key, text)| Some((key, text?))).collect())
    }

    /// The given flags by configuration key.
    pub(crate) fn by_key(&self) -> BTreeMap<&'static str, String> {
        self.0.clone()
    }
}

impl Args for ConfigFlags {
    fn augment_args(command: Command) -> Command {
        let unset = Config::new("");
        command.args(flags().map(|flag| arg(flag, &unset)))
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for ConfigFlags {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let given = flags().filter_map(|flag| {
            let texts: Vec<&str> = matches.get_many::<String>(flag.key)?.map(String::as_str).collect();
            Some((flag.key, texts.join(",")))
        });
        Ok(Self(given.collect()))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        self.0.extend(Self::from_arg_matches(matches)?.0);
        Ok(())
    }
}

fn arg(flag: Flag, unset: &Config) -> Arg {
    let (name, action, more) = match flag.takes {
        Takes::One(name) => (name, ArgAction::Set, ""),
        Takes::Many(name) => (name, ArgAction::Append, "; may repeat"),
    };
    let arg = Arg::new(flag.key).long(flag.key.replace('_', "-")).value_name(name).action(action);
    let default = flag.value(unset).map_or_else(String::new, |value| format!(" [default: {value}]"));
    let arg = arg.help(format!("{}{more}{default}", flag.help)).help_heading(flag.heading);
    match flag.key {
        "bootstrap" => arg.visible_alias("peer"),
        "price_per_push" => arg.visible_alias("price"),
        // For tests; and nodes may be behind.
        "clock_offset_ms" => arg.hide(true).allow_hyphen_values(true),
        _ => arg,
    }
}
