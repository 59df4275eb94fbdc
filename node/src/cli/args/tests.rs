#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use clap::CommandFactory;

use super::*;

const ID: &str = "6oYAxVAnH8yKsZKpMgHSbRv7uVWey68PAqYuSXeZBbg";

fn parse(line: &str) -> Result<Command, String> {
    let words = std::iter::once("weft").chain(line.split(' '));
    Cli::try_parse_from(words).map(|cli| cli.command).map_err(|error| error.to_string())
}

#[test]
fn the_commands_are_well_formed() {
    Cli::command().debug_assert();
}

#[test]
fn every_command_stands_under_one_heading() {
    let mut command = Cli::command();
    command.build();
    let mut all: Vec<&str> = command.get_subcommands().map(clap::Command::get_name).collect();
    let mut listed: Vec<&str> =
        commands::GROUPS.iter().flat_map(|(_, names)| names.iter().copied()).collect();
    all.sort_unstable();
    listed.sort_unstable();
    assert_eq!(listed, all);
}

#[test]
fn every_flag_is_a_configuration_key() {
    let command = Cli::command();
    let check = command.find_subcommand("config").unwrap().find_subcommand("check").unwrap();
    let flags: Vec<String> = check
        .get_arguments()
        .filter_map(|arg| arg.get_long())
        .filter(|name| !["data-dir", "json", "quiet", "help"].contains(name))
        .map(|name| name.replace('-', "_"))
        .collect();
    let inputs = crate::config::Inputs { data_dir: Some("/nowhere".into()), ..Default::default() };
    let resolved = crate::config::Resolved::load(&inputs).unwrap();
    let keys: Vec<&str> =
        resolved.shown().iter().map(|shown| shown.key).filter(|key| *key != "data_dir").collect();
    assert_eq!(flags, keys);
    // And each one is handed on.
    let line: Vec<String> = flags.iter().map(|flag| format!("--{}=x", flag.replace('_', "-"))).collect();
    let line = format!("config check {}", line.join(" "));
    let Command::Config { command: Some(ConfigCommand::Check(given)) } = parse(&line).unwrap() else {
        panic!()
    };
    assert_eq!(given.by_key().len(), keys.len());
}

#[test]
fn the_flags_of_a_node_say_their_defaults_and_fit_a_terminal() {
    let mut command = Cli::command().term_width(80);
    command.build();
    let help = command.find_subcommand_mut("up").unwrap().render_help();
    let text = crate::cli::fold::folded(&help.to_string(), 80);
    let words = text.split_whitespace().collect::<Vec<_>>().join(" ");
    for part in
        ["[default: 1000]", "[default: own]", "[default: 10000]", "[default: local]", "[default: off]"]
    {
        assert!(words.contains(part), "{part}: {text}");
    }
    // Nothing is the default of what names something.
    assert!(!words.contains("[default: ]") && !words.contains("[default: []]"), "{text}");
    let long: Vec<&str> = text.lines().filter(|line| line.len() > 80).collect();
    assert!(long.is_empty(), "{long:#?}");
}

#[test]
fn a_message_is_read_in_order() {
    let Command::Send(send) =
        parse(&format!("send {ID} --tag A=1 --action Eval --tag B=x=y --data -5 --wait --json")).unwrap()
    else {
        panic!()
    };
    assert_eq!(send.process.to_string(), ID);
    assert_eq!(send.action.as_deref(), Some("Eval"));
    assert_eq!(send.tags.tags, [Tag::new("A", "1"), Tag::new("B", "x=y")]);
    assert_eq!(send.data.data.as_deref(), Some("-5"));
    assert!(send.wait.wait);
}

#[test]
fn wrong_words_are_named() {
    for (line, part) in [
        ("frobnicate", "frobnicate"),
        ("send abc", "`abc` is not an id"),
        (&format!("send {ID} --tag A"), "expected NAME=VALUE"),
        (&format!("send {ID} --tag A="), "needs a name and a value"),
        (&format!("send {ID} --anchor short"), "it has 5 bytes; expected exactly 32"),
        (&format!("send {ID} --timeout 0"), "0 is not in 1..=86400"),
        (&format!("result {ID} {ID} --slot 1"), "cannot be used with"),
        (&format!("inspect {ID} --slots 5..5"), "expected A..B"),
        (&format!("inspect {ID} --slots 0..1001"), "at most 1000"),
        (&format!("inspect {ID} --slots x"), "expected A..B"),
        (&format!("spawn --module {ID} --quorum 1"), "--compute"),
    ] {
        let error = parse(line).unwrap_err();
        assert!(error.contains(part), "{line}: {error}");
    }
}

#[test]
fn slots_are_ranges() {
    for (text, slots) in [("7", (7, 1)), ("7..", (7, 1000)), ("0..20", (0, 20))] {
        assert_eq!(parse_slots(text), Ok(slots));
    }
    assert!(parse_slots("5..3").is_err());
    assert!(parse_slots("0..18446744073709551615").is_err());
}

#[test]
fn an_id_that_looks_like_a_flag_is_an_id() {
    for start in ["-K", "-q", "-h", "-V", "--", "-5", "--json"] {
        let id = format!("{start}{}", &ID[start.len()..]);
        let parse = |line: String| parse(&line).unwrap_or_else(|error| panic!("{line}: {error}"));
        let Command::Send(send) = parse(format!("send {id} --wait --action -x")) else { panic!() };
        assert_eq!((send.process.to_string(), send.wait.wait), (id.clone(), true));
        let Command::Send(send) = parse(format!("send --wait --quiet {id}")) else { panic!() };
        assert_eq!(send.process.to_string(), id);
        let Command::Result(of) = parse(format!("result {id} {id} --wait")) else { panic!() };
        assert_eq!(of.item.unwrap().to_string(), id);
        let line = format!("spawn --module {id} --scheduler {id} --compute {id} --quorum 1 --name -n");
        let Command::Spawn(spawn) = parse(line) else { panic!() };
        assert_eq!((spawn.module.to_string(), spawn.compute.len()), (id.clone(), 1));
        for command in ["verify", "watch", "inspect", "host"] {
            parse(format!("{command} {id}"));
            parse(format!("{command} --json {id}"));
        }
        parse(format!("item sign --target {id} --tag -a=b"));
    }
}
