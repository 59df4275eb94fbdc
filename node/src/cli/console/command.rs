//! What can be typed that is no Lua: a word that begins with a dot.

use std::path::PathBuf;

use super::super::exit::CliError;

/// Each with what stands behind it and what it does.
const COMMANDS: [(&str, &str, &str); 8] = [
    (".load", "FILE", "run a file, after the files that it requires"),
    (".load-blueprint", "[NAME]", "run a program that comes with weft; without a name, list them"),
    (".monitor", "", "run the crons of the process while the node is up"),
    (".unmonitor", "", "stop running them"),
    (".dryrun", "", "only try what is typed from now on, and keep nothing; once more to end this"),
    (".help", "", "show this"),
    (".exit", "", "leave, as Ctrl-D does"),
    (".quit", "", "the same"),
];

/// The programs of `testnet/examples`, which its page explains.
const BLUEPRINTS: [(&str, &str); 11] = [
    ("agent", include_str!("../../../../testnet/examples/agent.lua")),
    ("asset", include_str!("../../../../testnet/examples/asset.lua")),
    ("chatroom", include_str!("../../../../testnet/examples/chatroom.lua")),
    ("exchange", include_str!("../../../../testnet/examples/exchange.lua")),
    ("names", include_str!("../../../../testnet/examples/names.lua")),
    ("oracle", include_str!("../../../../testnet/examples/oracle.lua")),
    ("orderbook", include_str!("../../../../testnet/examples/orderbook.lua")),
    ("predictions", include_str!("../../../../testnet/examples/predictions.lua")),
    ("stablecoin", include_str!("../../../../testnet/examples/stablecoin.lua")),
    ("token", include_str!("../../../../testnet/examples/token.lua")),
    ("voting", include_str!("../../../../testnet/examples/voting.lua")),
];

/// Words of Lua and of the runtime that are offered to whoever begins one.
const WORDS: [&str; 58] = [
    "Assign",
    "Errors",
    "Handlers",
    "Handlers.add",
    "Handlers.after",
    "Handlers.append",
    "Handlers.before",
    "Handlers.list",
    "Handlers.once",
    "Handlers.prepend",
    "Handlers.receive",
    "Handlers.remove",
    "Handlers.utils",
    "Inbox",
    "Name",
    "Owner",
    "Receive",
    "Send",
    "Spawn",
    "Utils",
    "Views.add",
    "and",
    "ao.authorities",
    "ao.env",
    "ao.id",
    "ao.send",
    "ao.spawn",
    "break",
    "else",
    "elseif",
    "end",
    "error",
    "false",
    "for",
    "function",
    "goto",
    "ipairs",
    "json",
    "local",
    "nil",
    "not",
    "or",
    "pairs",
    "pcall",
    "print",
    "repeat",
    "require",
    "return",
    "string.format",
    "table.concat",
    "table.insert",
    "table.remove",
    "then",
    "tonumber",
    "tostring",
    "true",
    "until",
    "while",
];

/// A command as it was typed.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Command {
    Load(PathBuf),
    Blueprint(&'static str, &'static str),
    Blueprints,
    Monitor(bool),
    DryRun,
    Help,
    Exit,
}

/// Whether a piece is a command: no Lua begins with a dot and a letter.
pub(super) fn is_command(piece: &str) -> bool {
    piece
        .trim_start()
        .strip_prefix('.')
        .is_some_and(|rest| rest.starts_with(|first: char| first.is_ascii_alphabetic()))
}

impl Command {
    /// The command that a piece is, if it is one.
    ///
    /// # Errors
    /// One that is not known, or not complete.
    pub(super) fn parse(piece: &str) -> Result<Option<Self>, CliError> {
        if !is_command(piece) {
            return Ok(None);
        }
        let piece = piece.trim();
        let (name, rest) = piece.split_once(char::is_whitespace).unwrap_or((piece, ""));
        let rest = rest.trim();
        let command = match (name, rest) {
            (".load", "") => return Err(CliError::input(".load: give the name of a file")),
            (".load", file) => Self::Load(PathBuf::from(file)),
            (".load-blueprint", "") => Self::Blueprints,
            (".load-blueprint", name) => {
                let found = BLUEPRINTS.iter().find(|(known, _)| *known == name);
                let (name, text) = found.ok_or_else(|| {
                    CliError::input(format!("there is no blueprint {name}: there are {}", blueprints()))
                })?;
                Self::Blueprint(name, text)
            }
            (".monitor", "") => Self::Monitor(true),
            (".unmonitor", "") => Self::Monitor(false),
            (".dryrun", "") => Self::DryRun,
            (".help", "") => Self::Help,
            (".exit" | ".quit", "") => Self::Exit,
            _ => return Err(CliError::input(format!("{piece}: no such command; `.help` shows all"))),
        };
        Ok(Some(command))
    }
}

/// The names of all programs.
pub(super) fn blueprints() -> String {
    BLUEPRINTS.map(|(name, _)| name).join(", ")
}

/// What `.help` shows.
pub(super) fn help() -> String {
    let rows =
        COMMANDS.map(|(name, operand, meaning)| format!("{:22} {meaning}", format!("{name} {operand}")));
    let rest = "Anything else is Lua, sent to the process as an Eval. A piece that is not complete goes on in the \
                next line; Tab completes, Ctrl-C leaves the line or the wait for a result, and what others send \
                is shown as it comes.";
    format!("{}\n\n{rest}", rows.join("\n"))
}

/// What may stand where the word behind `before` begins.
pub(super) fn words(before: &str) -> Vec<&'static str> {
    if before.starts_with(".load-blueprint ") {
        return BLUEPRINTS.iter().map(|(name, _)| *name).collect();
    }
    if is_command(before) || before == "." {
        return COMMANDS.iter().map(|(name, ..)| *name).collect();
    }
    WORDS.to_vec()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn commands_are_known_by_their_dot() {
        let parse = |piece| Command::parse(piece).unwrap();
        assert_eq!(parse("1 + 1"), None);
        assert_eq!(parse(".5 + 1"), None);
        assert_eq!(parse(".load a b.lua\n"), Some(Command::Load("a b.lua".into())));
        assert_eq!(parse(" .dryrun "), Some(Command::DryRun));
        assert!(
            matches!(parse(".load-blueprint token"), Some(Command::Blueprint("token", text)) if text.contains("Transfer"))
        );
        for wrong in [".load", ".laod x", ".monitor now", ".load-blueprint cobol"] {
            assert!(Command::parse(wrong).is_err(), "{wrong}");
        }
        for (name, ..) in COMMANDS {
            assert!(help().contains(name));
        }
    }

    #[test]
    fn what_is_offered_fits_its_place() {
        assert!(words(".lo").contains(&".load"));
        assert!(words(".load-blueprint t").contains(&"token"));
        assert!(words("x = Hand").contains(&"Handlers.add"));
        assert!(WORDS.is_sorted());
    }
}
