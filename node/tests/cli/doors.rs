//! What a clumsy user types: every wrong input ends with its exit code and one clear error that
//! names it, and nothing is written over.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::os::unix::ffi::OsStringExt as _;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::{Ran, weft, weft_with};

const ID: &str = "6oYAxVAnH8yKsZKpMgHSbRv7uVWey68PAqYuSXeZBbg";

/// A data folder with a key, and inputs of every bad kind.
struct Mess {
    folder: tempfile::TempDir,
}

impl Mess {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        weft(folder.path(), &["key", "new"]).expect(0);
        let mess = Self { folder };
        std::fs::write(mess.path("empty"), b"").unwrap();
        std::fs::write(mess.path("text"), b"hello there").unwrap();
        std::fs::write(mess.path("binary"), [0xff; 300]).unwrap();
        std::fs::create_dir(mess.path("dir")).unwrap();
        // Twenty gigabytes that take no disk: reading them would take all memory.
        File::create(mess.path("huge")).unwrap().set_len(20 << 30).unwrap();
        mess
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Runs a line of words; `%name` stands for a file of the folder.
    fn run(&self, line: &str, extra: &[&str]) -> Ran {
        let file = |name: &str| self.path(name).to_str().unwrap().to_owned();
        let words: Vec<String> = line
            .split_whitespace()
            .map(|word| match word.split_once('%') {
                Some((before, name)) => format!("{before}{}", file(name)),
                None => word.replace("ID", ID),
            })
            .collect();
        let words: Vec<&str> = words.iter().map(String::as_str).chain(extra.iter().copied()).collect();
        weft(self.folder.path(), &words)
    }

    /// Checks that a line fails so, in JSON and for people.
    fn fails(&self, line: &str, exit: i32, code: &str, parts: &[&str]) {
        let ran = self.run(line, &["--json"]);
        assert_eq!(ran.code, exit, "{line}: {}", ran.err);
        assert!(ran.out.is_empty(), "{line} answered {:?}", String::from_utf8_lossy(&ran.out));
        assert_eq!(ran.err.lines().count(), 1, "{line}: not one line: {}", ran.err);
        let (found, text) = ran.error();
        assert_eq!(found, code, "{line}: {text}");
        let human = self.run(line, &[]);
        assert_eq!(human.code, exit, "{line}: {}", human.err);
        for part in parts {
            assert!(text.contains(part), "{line}: {text}");
            assert!(human.err.contains(part), "{line}: {}", human.err);
        }
        assert!(!human.err.contains("panicked"), "{line}: {}", human.err);
    }
}

/// Line, code in JSON, what the text must hold; all are bad input.
const WRONG_WORDS: &[(&str, &[&str])] = &[
    ("send", &["<PROCESS>"]),
    ("result", &["<PROCESS>"]),
    ("module add x", &["--format <FORMAT>"]),
    ("eval x", &["--module <FILE>", "--format", "--env <FILE>"]),
    ("item verify", &["<FILE>"]),
    ("bundle verify", &["<FILE>"]),
    ("tx verify", &["<FILE>"]),
    ("key import-seed", &["<FILE>"]),
    ("send abc", &["`abc` is not an id", "43"]),
    ("verify 6oYAxVAnH8yKsZKpMgHSbRv7uVWey68PAqYuSXeZBb", &["is not an id"]),
    ("watch 6oYAxVAnH8yKsZKpMgHSbRv7uVWey68PAqYuSXeZBbgg", &["is not an id"]),
    ("inspect 6oYAxVAnH8yKsZKpMgHSbRv7uVWey68PAqYuSXeZBb!", &["is not an id"]),
    ("host 6oYAxVAnH8yKsZKpMgHSbRv7uVWey68PAqYuSXeZBb=", &["is not an id"]),
    // The last character carries two bits that must be zero: one id has one name.
    ("result 6oYAxVAnH8yKsZKpMgHSbRv7uVWey68PAqYuSXeZBbh ID", &["is not an id"]),
    ("result ID", &["give the id of a message, or --slot NUMBER"]),
    ("result ID ID --slot 1", &["cannot be used with"]),
    ("result ID --slot -1", &["--slot"]),
    ("result ID --slot 18446744073709551616", &["--slot <NUMBER>", "18446744073709551616"]),
    ("send ID --wait --timeout 0", &["--timeout <SECONDS>", "1..=86400"]),
    ("send ID --tag A", &["--tag <NAME=VALUE>", "expected NAME=VALUE"]),
    ("send ID --tag A=", &["a tag needs a name and a value"]),
    ("send ID --tag Type=Process", &["--tag Type: this command sets that tag itself"]),
    ("send ID --anchor short", &["it has 5 bytes; expected exactly 32"]),
    ("spawn --module ID --quorum 1", &["--compute"]),
    ("spawn --module ID --scheduler me", &["--scheduler", "`me` is not an id"]),
    ("inspect ID --slots 5..2", &["expected A..B with B after A"]),
    ("inspect ID --slots 0..100000", &["at most 1000 slots"]),
    ("watch ID --from x", &["--from <SLOT>", "x"]),
    ("module add %text --format nonsense", &["--format: module format \"nonsense\"", "wasm32-weft-plain"]),
    ("module add %text --format wasm32-weft-plain --memory-limit 17-gb", &["Memory-Limit `17-gb`", "16-gb"]),
    ("module add %text --format wasm32-weft-plain --compute-limit 1e9", &["Compute-Limit `1e9`"]),
    ("config get", &["unrecognized subcommand"]),
    ("statsu", &["unrecognized subcommand 'statsu'", "status"]),
    ("status --jsn", &["--jsn", "--json"]),
];

#[test]
fn wrong_words_are_named() {
    let mess = Mess::new();
    for (line, parts) in WRONG_WORDS {
        mess.fails(line, 2, "input", parts);
    }
}

#[test]
fn files_of_the_wrong_kind_are_named() {
    let mess = Mess::new();
    let commands = [
        "item verify",
        "bundle verify",
        "tx verify",
        "key import-seed",
        "key import-jwk",
        "item sign --data @",
        "send ID --data @",
        "spawn --module ID --data @",
        "module add --format wasm32-weft-plain",
        "eval --format wasm32-weft-plain --env %text %text --module",
        "item sign --key",
    ];
    for command in commands {
        let with = |name: &str| {
            let space = if command.ends_with('@') { "" } else { " " };
            format!("{command}{space}%{name}")
        };
        let key = command.ends_with("--key");
        mess.fails(&with("dir"), 2, if key { "key" } else { "input" }, &["/dir"]);
        mess.fails(&with("huge"), 2, if key { "key" } else { "input" }, &["/huge", "at most"]);
        let (code, part) = if key { ("key", "there is no key at") } else { ("input", "cannot read") };
        mess.fails(&with("absent"), 2, code, &[part, "/absent"]);
    }
    for command in ["item verify", "bundle verify", "tx verify"] {
        for name in ["empty", "text", "binary"] {
            mess.fails(&format!("{command} %{name}"), 2, "input", &[name, "cannot be read as"]);
        }
    }
    for name in ["empty", "text", "binary"] {
        let line = format!("module add %{name} --format wasm32-weft-plain");
        mess.fails(&line, 2, "input", &[name, "is not a WebAssembly module"]);
        let line = format!("eval --module %{name} --format wasm32-weft-plain --env %text %text");
        mess.fails(&line, 2, "input", &[name, "is not a WebAssembly module"]);
    }
    mess.fails("key import-jwk %binary", 2, "key", &["binary", "it is not text"]);
    mess.fails("key import-seed %text", 2, "key", &["11 characters; expected 32 bytes"]);
    mess.fails("item sign --output %dir --data x", 2, "input", &["cannot write", "/dir"]);
    mess.fails("item sign --output %no/such --data x", 2, "input", &["cannot write", "/no/such"]);
}

#[test]
fn broken_keys_are_named_and_stay_as_they_are() {
    let mess = Mess::new();
    let key = mess.path("key.json");
    let good = std::fs::read(&key).unwrap();
    let cases: &[(&[u8], &[&str])] = &[
        (b"", &["expected a JSON Web Key"]),
        (&good[..good.len() / 2], &["expected a JSON Web Key"]),
        (b"{\"kty\":\"EC\"}", &["`kty` is `EC`; expected `OKP` (ed25519) or `RSA`"]),
        (b"{\"kty\":\"RSA\"}", &["is not a usable key"]),
        (b"{\"kty\":7}", &["it has no `kty`"]),
        (&[0xff; 64], &["it is not text"]),
        (b"[[[[", &["expected a JSON Web Key"]),
    ];
    for (content, parts) in cases {
        std::fs::write(&key, content).unwrap();
        std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o600)).unwrap();
        let parts = [&[key.to_str().unwrap()], *parts].concat();
        for line in ["key", "key show --secret", "item sign --data x", "send ID", "up"] {
            if line == "key show --secret" {
                // The secret is never repeated, whatever it is.
                assert!(!mess.run(line, &[]).err.contains("[[[["));
            }
            mess.fails(line, 2, "key", &parts);
        }
        for line in ["key new", "key import-seed %seed"] {
            std::fs::write(mess.path("seed"), [7; 32]).unwrap();
            mess.fails(line, 1, "key", &["exists and is never overwritten"]);
        }
        assert_eq!(std::fs::read(&key).unwrap(), *content);
    }
    std::fs::write(&key, &good).unwrap();
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o644)).unwrap();
    mess.fails("up", 2, "key", &["can be opened by other users (mode 0644): run `chmod 600 "]);
}

/// Content of the file, what the text must hold.
const BAD_CONFIG: &[(&str, &[&str])] = &[
    ("netwrok = \"abcd\"", &["unknown key `netwrok`", "did you mean `network`?"]),
    ("network = 7", &["`network` is 7; expected 4 to 16 characters of a-z, 0-9 and -"]),
    ("weave_block_ms = 1", &["`weave_block_ms` is 1; expected a whole number from 50 to"]),
    ("compute_threads = \"many\"", &["`compute_threads` is \"many\"; expected a whole number from 1 to 256"]),
    ("not toml at all", &["is not valid TOML", "line 1"]),
    ("network = \"abcd\"\nnetwork = \"efgh\"", &["is not valid TOML", "duplicate key"]),
    ("data_dir = \"/x\"", &["`data_dir` cannot be set in this file", "--data-dir"]),
];

#[test]
fn a_bad_configuration_names_file_key_and_what_is_allowed() {
    let mess = Mess::new();
    let file = mess.path("weft.toml");
    for (text, parts) in BAD_CONFIG {
        std::fs::write(&file, text).unwrap();
        let parts = [&[file.to_str().unwrap()], *parts].concat();
        for line in ["up", "config check", "config show"] {
            mess.fails(line, 2, "config", &parts);
        }
    }
    std::fs::remove_file(&file).unwrap();
    File::create(&file).unwrap().set_len(20 << 30).unwrap();
    mess.fails("up", 2, "config", &["weft.toml has 21474836480 bytes", "at most 1048576"]);
    std::fs::remove_file(&file).unwrap();
    for (name, value, part) in [
        ("WEFT_RULES", "one", "environment variable WEFT_RULES: `rules` is \"one\""),
        ("WEFT_MEMORY_BUDGET", "4 apples", "expected bytes from 16mb to 64tb"),
        ("WEFT_LISTEN", "127.0.0.1:80", "`127.0.0.1:80` is not"),
    ] {
        let ran = weft_with(mess.folder.path(), &["up", "--json"], &[(name, value)], b"").expect(2);
        let (code, text) = ran.error();
        assert!(code == "config" && text.contains(part), "{name}: {text}");
    }
}

#[test]
fn a_data_folder_that_is_none_is_named() {
    let mess = Mess::new();
    let file = mess.path("text");
    let file = file.to_str().unwrap();
    let long = mess.path(&"x".repeat(120));
    let long = long.to_str().unwrap();
    let cases: &[(&[&str], i32, &str, &str)] = &[
        (&["status"], 3, "unreachable", file),
        (&["key"], 70, "key", file),
        (&["key", "new"], 70, "key", file),
        (&["up"], 2, "config", file),
        (&["config"], 2, "config", file),
    ];
    for (words, exit, code, part) in cases {
        let ran = weft(mess.folder.path(), &[words, &["--data-dir", file, "--json"][..]].concat());
        assert_eq!(ran.code, *exit, "{words:?}: {}", ran.err);
        let (found, text) = ran.error();
        assert!(found == *code && text.contains(part), "{words:?}: {found}: {text}");
    }
    let ran = weft(mess.folder.path(), &["status", "--data-dir", "/no/such/folder", "--json"]).expect(3);
    assert!(ran.error().1.contains("no node is running for data folder /no/such/folder: start one with"));
    for command in ["status", "up"] {
        let ran = weft(mess.folder.path(), &[command, "--data-dir", long, "--json"]);
        assert!(ran.error().1.contains("use a shorter --data-dir"), "{command}: {}", ran.err);
        assert_ne!(ran.code, 0);
    }
}

fn raw(folder: &Path, args: &[&OsStr]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_weft"));
    command.args(args).env_clear().env("WEFT_DATA_DIR", folder);
    command
}

#[test]
fn bytes_that_are_no_text_are_refused_where_text_is_meant() {
    let mess = Mess::new();
    let odd = OsString::from_vec(b"od\xffd".to_vec());
    let run = |words: &[&OsStr]| {
        let output = raw(mess.folder.path(), words).stdin(Stdio::null()).output().unwrap();
        let err = String::from_utf8(output.stderr).unwrap();
        Ran { code: output.status.code().unwrap(), out: output.stdout, err }
    };
    for words in [["send", "--json"], ["inspect", "--json"]] {
        let (code, text) = run(&[words[0].as_ref(), &odd, words[1].as_ref()]).expect(2).error();
        assert!(code == "input" && text.contains("UTF-8"), "{words:?}: {text}");
    }
    // A file may have any name.
    let (_, text) = run(&["item".as_ref(), "verify".as_ref(), &odd, "--json".as_ref()]).expect(2).error();
    assert!(text.starts_with("cannot read od"), "{text}");
    std::fs::write(mess.path("weft.toml"), b"network = \"\xff\"").unwrap();
    mess.fails("config", 2, "config", &["cannot read", "weft.toml"]);
}

#[test]
fn whoever_closes_our_output_still_gets_the_exit_code() {
    let mess = Mess::new();
    let item = mess.path("item");
    mess.run("item sign --data x --output %item", &[]).expect(0);
    let mut bytes = std::fs::read(&item).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    std::fs::write(mess.path("bad"), bytes).unwrap();
    for (line, exit) in [
        ("item verify %item", 0),
        ("item verify %bad", 1),
        ("item verify %text", 2),
        ("status", 3),
        ("key", 0),
    ] {
        let words: Vec<String> = line
            .replace('%', &format!("{}/", mess.folder.path().display()))
            .split_whitespace()
            .map(str::to_owned)
            .collect();
        let words: Vec<&OsStr> = words.iter().map(OsStr::new).collect();
        let (reader, writer) = std::io::pipe().unwrap();
        // Nobody reads: what `| head -0` comes to.
        drop(reader);
        let mut child = raw(mess.folder.path(), &words);
        let status = child.stdin(Stdio::null()).stdout(writer).stderr(Stdio::null()).status().unwrap();
        assert_eq!(status.code(), Some(exit), "{line}");
        // And a full disk is told.
        if exit < 2 {
            let full = File::options().write(true).open("/dev/full").unwrap();
            let output =
                raw(mess.folder.path(), &words).stdout(full).stderr(Stdio::piped()).output().unwrap();
            assert_eq!(output.status.code(), Some(70), "{line}");
            let text = String::from_utf8(output.stderr).unwrap();
            assert!(text.contains("cannot write to standard output: No space left"), "{text}");
        }
    }
}

#[test]
fn standard_input_that_gives_nothing_is_no_input() {
    let mess = Mess::new();
    for words in [&["item", "verify", "-"][..], &["tx", "verify", "-"], &["bundle", "verify", "-"]] {
        let ran = weft_with(mess.folder.path(), &[words, &["--json"]].concat(), &[], b"").expect(2);
        let (code, text) = ran.error();
        assert!(code == "input" && text.starts_with("standard input cannot be read as"), "{text}");
    }
    let endless = File::open("/dev/zero").unwrap();
    let words = ["key", "import-seed", "-", "--json"].map(OsStr::new);
    let output = raw(mess.folder.path(), &words).stdin(endless).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(text.contains("standard input is too large: at most 65536 bytes are read"), "{text}");
}

/// What something else than this version of the node answers, the exit code, and what is said.
const STRANGE_NODES: &[(&str, i32, &str)] = &[
    ("", 3, "the node closed the connection before it answered"),
    ("{\"done\":{\"uptime\":1}}\n", 70, "does the node run another version?"),
    ("HTTP/1.1 400 Bad Request\n", 70, "makes no sense to this version of weft"),
    ("{\"error\":{\"code\":\"wibble\",\"text\":\"x\"}}\n", 70, "does the node run another version?"),
    ("{\"error\":{\"code\":\"busy\",\"text\":\"later\"}}\n", 5, "later"),
    ("{\"error\":{\"code\":\"timed-out\",\"text\":\"slow\"}}\n", 4, "slow"),
];

#[test]
fn a_busy_node_is_asked_again() {
    use std::io::{BufRead as _, BufReader, Write as _};
    let folder = tempfile::tempdir().unwrap();
    let listener = UnixListener::bind(folder.path().join("weft.sock")).unwrap();
    let busy = "{\"error\":{\"code\":\"busy\",\"text\":\"full\",\"retry_ms\":7}}\n";
    let ran = std::thread::scope(|scope| {
        scope.spawn(|| {
            for answer in [busy, busy, "{\"done\":[]}\n"] {
                let (mut stream, _) = listener.accept().unwrap();
                BufReader::new(&stream).read_line(&mut String::new()).unwrap();
                stream.write_all(answer.as_bytes()).unwrap();
            }
        });
        weft(folder.path(), &["peers"])
    });
    assert_eq!(ran.code, 0, "{}", ran.err);
    assert_eq!(ran.err.matches("full; asking again in 0.").count(), 2, "{}", ran.err);
}

#[test]
fn a_strange_node_is_named() {
    use std::io::{BufRead as _, BufReader, Write as _};
    let folder = tempfile::tempdir().unwrap();
    let listener = UnixListener::bind(folder.path().join("weft.sock")).unwrap();
    for (answer, exit, part) in STRANGE_NODES {
        let ran = std::thread::scope(|scope| {
            scope.spawn(|| {
                let (mut stream, _) = listener.accept().unwrap();
                let mut line = String::new();
                BufReader::new(&stream).read_line(&mut line).unwrap();
                stream.write_all(answer.as_bytes()).unwrap();
            });
            weft(folder.path(), &["status", "--json"])
        });
        assert_eq!(ran.code, *exit, "{answer}: {}", ran.err);
        assert!(ran.error().1.contains(part), "{answer}: {}", ran.err);
    }
}
