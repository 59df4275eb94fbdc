//! Arguments, configuration and keys, and commands without a node.

use std::os::unix::fs::PermissionsExt;

use super::{weft, weft_with};

const ID: &str = "6oYAxVAnH8yKsZKpMgHSbRv7uVWey68PAqYuSXeZBbg";

#[test]
fn help_lists_the_exit_codes() {
    let folder = tempfile::tempdir().unwrap();
    let help = weft(folder.path(), &["--help"]).expect(0);
    for part in
        ["Usage: weft", "Run a node:\n  up ", "Exit codes:", " 3  no node runs", "70  something failed"]
    {
        assert!(help.text().contains(part), "{}", help.text());
    }
    // Folded at 100 columns, where no terminal says how wide it is.
    for command in [&["--help"][..], &["up", "--help"], &["recover", "--help"], &["state", "--help"]] {
        let help = weft(folder.path(), command).expect(0);
        assert!(help.text().lines().all(|line| line.len() <= 100), "{}", help.text());
    }
    weft(folder.path(), &["--version"]).expect(0);
    weft(folder.path(), &[]).expect(2);
}

#[test]
fn wrong_arguments_are_bad_input() {
    let folder = tempfile::tempdir().unwrap();
    let ran = weft(folder.path(), &["frobnicate"]).expect(2);
    assert!(ran.err.contains("unrecognized subcommand 'frobnicate'"), "{}", ran.err);
    let (code, text) = weft(folder.path(), &["send", "abc", "--json"]).expect(2).error();
    assert_eq!(code, "input");
    let ran = weft(folder.path(), &["result", ID]).expect(2);
    assert!(ran.err.contains("give the id of a message, or --slot NUMBER, or --now"), "{}", ran.err);
    assert!(text.contains("`abc` is not an id"), "{text}");
}

#[test]
fn without_a_node_every_command_says_so() {
    let folder = tempfile::tempdir().unwrap();
    weft(folder.path(), &["key", "new"]).expect(0);
    let commands: &[&[&str]] = &[
        &["status"],
        &["processes"],
        &["peers"],
        &["weave"],
        &["stop"],
        &["module", "list"],
        &["host", ID],
        &["watch", ID],
        &["verify", ID],
        &["inspect", ID],
        &["result", ID, ID],
        &["send", ID, "--data", "x"],
        &["spawn", "--module", ID],
    ];
    for command in commands {
        let ran = weft(folder.path(), &[command, &["--json"][..]].concat()).expect(3);
        let (code, text) = ran.error();
        assert_eq!(code, "unreachable");
        let expected = format!("no node is running for data folder {}: start one", folder.path().display());
        assert!(text.starts_with(&expected), "{text}");
        assert!(ran.out.is_empty());
    }
}

#[test]
fn the_data_folder_is_named_by_flag_before_environment() {
    let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let flag = two.path().to_str().unwrap();
    let ran = weft(one.path(), &["--data-dir", flag, "status"]).expect(3);
    assert!(ran.err.contains(flag), "{}", ran.err);
    let ran = weft_with(one.path(), &["status"], &[("WEFT_DATA_DIR", "")], b"").expect(2);
    assert!(ran.err.contains("there is no data folder"), "{}", ran.err);
}

#[test]
fn a_key_is_made_once_and_shown_without_its_secret() {
    let folder = tempfile::tempdir().unwrap();
    let missing = weft(folder.path(), &["key"]).expect(2);
    assert!(missing.err.contains("weft key new"), "{}", missing.err);
    let made = weft(folder.path(), &["key", "new", "--json"]).expect(0).json();
    let shown = weft(folder.path(), &["key", "--json"]).expect(0);
    assert_eq!(shown.json(), made);
    assert_eq!(made["kind"], "ed25519");
    assert!(made["peer_id"].as_str().unwrap().starts_with("12D3KooW"));
    let file = std::fs::read_to_string(folder.path().join("key.json")).unwrap();
    let secret = serde_json::from_str::<serde_json::Value>(&file).unwrap()["d"].as_str().unwrap().to_owned();
    assert!(!shown.text().contains(&secret));
    assert_eq!(weft(folder.path(), &["key", "show", "--secret"]).expect(0).text(), file);
    let (code, text) = weft(folder.path(), &["key", "new", "--json"]).expect(1).error();
    assert_eq!(code, "key");
    assert!(text.contains("never overwritten"), "{text}");
}

#[test]
fn a_key_that_others_can_read_is_used_by_no_command() {
    let folder = tempfile::tempdir().unwrap();
    weft(folder.path(), &["key", "new"]).expect(0);
    let path = folder.path().join("key.json");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
    let commands: &[&[&str]] = &[&["key"], &["key", "show", "--secret"], &["item", "sign"], &["send", ID]];
    for command in commands {
        let ran = weft(folder.path(), command).expect(2);
        assert!(ran.err.contains("run `chmod 600 "), "{}", ran.err);
        assert!(ran.out.is_empty());
    }
}

#[test]
fn a_seed_is_imported_from_standard_input() {
    let folder = tempfile::tempdir().unwrap();
    let seed = "07".repeat(32);
    let ran =
        weft_with(folder.path(), &["key", "import-seed", "-", "--json"], &[], seed.as_bytes()).expect(0);
    assert_eq!(weft(folder.path(), &["key", "--json"]).expect(0).json(), ran.json());
    let other = tempfile::tempdir().unwrap();
    let ran = weft_with(other.path(), &["key", "import-seed", "-"], &[], b"short").expect(2);
    assert!(ran.err.contains("5 characters; expected 32 bytes"), "{}", ran.err);
    let ran = weft_with(other.path(), &["key", "import-jwk", "-"], &[], b"{}").expect(2);
    assert!(ran.err.contains("standard input is not a usable key: it has no `kty`"), "{}", ran.err);
}

#[test]
fn configuration_is_shown_with_its_sources_and_checked() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("weft.toml");
    std::fs::write(&file, "weave_block_ms = 500\n").unwrap();
    let env = [("WEFT_LOG", "debug")];
    let args = ["config", "show", "--network", "my-net", "--json"];
    let shown = weft_with(folder.path(), &args, &env, b"").expect(0).json();
    let row = |key: &str| shown.as_array().unwrap().iter().find(|row| row["key"] == key).unwrap().clone();
    assert_eq!(
        (&row("network")["value"], &row("network")["source"]),
        (&"my-net".into(), &"flag --network".into())
    );
    assert_eq!(row("log")["source"], "environment variable WEFT_LOG");
    assert_eq!(row("weave_block_ms")["source"], file.to_str().unwrap());
    assert_eq!(row("data_dir")["source"], "environment variable WEFT_DATA_DIR");
    assert_eq!(row("rules")["source"], "default");
    weft(folder.path(), &["config", "check"]).expect(0);
    // For people each meaning stands folded below its key.
    let human = weft_with(folder.path(), &args[..4], &env, b"").expect(0);
    assert!(
        human.text().contains("network = \"my-net\" (flag --network)\n    the network's name"),
        "{}",
        human.text()
    );
    assert!(human.text().lines().all(|line| !line.starts_with(' ') || line.len() <= 100), "{}", human.text());
    let ran = weft_with(folder.path(), &["config", "check"], &[("WEFT_SERVICE_HOST", "x")], b"").expect(1);
    assert!(ran.text().contains("WEFT_SERVICE_HOST sets no known key"), "{}", ran.text());
    let ran = weft_with(folder.path(), &["config", "check"], &[("WEFT_LOGG", "x")], b"").expect(2);
    assert!(ran.err.contains("WEFT_LOGG: unknown key `logg`; did you mean `log`?"), "{}", ran.err);
    std::fs::write(&file, "weave_block = 500\n").unwrap();
    let (code, text) = weft(folder.path(), &["config", "check", "--json"]).expect(2).error();
    assert_eq!(code, "config");
    assert!(text.contains("unknown key `weave_block`; did you mean `weave_block_ms`?"), "{text}");
}

#[test]
fn what_is_no_module_is_refused_before_a_node_is_asked() {
    let folder = tempfile::tempdir().unwrap();
    weft(folder.path(), &["key", "new"]).expect(0);
    let file = folder.path().join("x.wat");
    std::fs::write(&file, "(module)").unwrap();
    let add = |extra: &[&str]| {
        let args = ["module", "add", file.to_str().unwrap(), "--format", "wasm32-weft-plain"];
        weft(folder.path(), &[&args, extra].concat())
    };
    assert!(add(&[]).expect(2).err.contains("x.wat is not a WebAssembly module"));
    assert!(add(&["--memory-limit", "huge"]).expect(2).err.contains("Memory-Limit `huge`"));
    std::fs::write(&file, b"\0asm").unwrap();
    assert!(add(&["--tag", "Type=x"]).expect(2).err.contains("--tag Type"));
    assert!(add(&[]).expect(3).err.contains("no node is running"));
}

#[test]
fn a_wrong_compute_set_is_refused_before_anything_is_signed() {
    let folder = tempfile::tempdir().unwrap();
    weft(folder.path(), &["key", "new"]).expect(0);
    let spawn = |extra: &[&str]| weft(folder.path(), &[&["spawn", "--module", ID], extra].concat());
    let ran = spawn(&["--compute", ID, "--compute", ID]).expect(2);
    assert!(ran.err.contains("is given twice"), "{}", ran.err);
    let ran = spawn(&["--compute", ID, "--quorum", "2"]).expect(2);
    assert!(ran.err.contains("more than half of the 1 --compute addresses"), "{}", ran.err);
}

#[test]
fn completions_name_every_command_and_wait_for_a_known_shell() {
    let folder = tempfile::tempdir().unwrap();
    for shell in ["bash", "zsh", "fish"] {
        let ran = weft(folder.path(), &["completions", shell]).expect(0);
        for command in ["dry-run", "results", "spawn", "config", "--data-dir"] {
            assert!(ran.text().contains(command.trim_start_matches('-')), "{shell} lacks {command}");
        }
    }
    weft(folder.path(), &["completions", "basic"]).expect(2);
}

#[test]
fn the_manual_names_every_command() {
    let folder = tempfile::tempdir().unwrap();
    let page = weft(folder.path(), &["man"]).expect(0);
    assert!(page.text().contains(".TH weft 1"), "{}", page.text());
    for command in ["up", "send", "unhost", "metrics", "top"] {
        assert!(page.text().contains(&format!("weft\\-{command}(1)")), "{command}: {}", page.text());
    }
}
