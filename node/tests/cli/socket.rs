//! The control socket of a real node, used badly: it says what is wrong, lives, and answers others
//! meanwhile.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use weft_protocol::crypto::Signer;
use weft_protocol::data_item::Draft;
use weft_protocol::{Id, Tag};

use super::node::Node;

/// Longer than any answer takes: only what hangs is waited for so long.
const ANSWER_WAIT: Duration = Duration::from_secs(60);
/// Clients that a node serves at once.
const CLIENTS_MAX: usize = 64;

pub(super) fn connect(folder: &Path) -> UnixStream {
    let stream = UnixStream::connect(folder.join("weft.sock")).unwrap();
    stream.set_read_timeout(Some(ANSWER_WAIT)).unwrap();
    stream.set_write_timeout(Some(ANSWER_WAIT)).unwrap();
    stream
}

pub(super) fn reply(stream: &UnixStream) -> Value {
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line).unwrap();
    serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line:?}"))
}

/// Sends these bytes and a line's end, and reads one line.
fn ask_bytes(folder: &Path, bytes: &[u8]) -> Value {
    let mut stream = connect(folder);
    // Who is turned away may be told so before all is written: the answer is there to be read.
    let _ = stream.write_all(bytes).and_then(|()| stream.write_all(b"\n"));
    reply(&stream)
}

pub(super) fn ask(folder: &Path, request: &Value) -> Value {
    ask_bytes(folder, request.to_string().as_bytes())
}

#[track_caller]
fn assert_failed(name: &str, reply: &Value, code: &str, part: &str) {
    let error = &reply["error"];
    let text = error["text"].as_str().unwrap_or_else(|| panic!("{name} was answered with {reply}"));
    assert!(error["code"] == code && text.contains(part), "{name}: {reply}");
}

#[test]
fn what_is_no_request_is_named_and_the_connection_goes_on() {
    let node = Node::start();
    let folder = node.folder.path();
    let deep = "[".repeat(100_000);
    let deep_field = format!("{{\"do\":\"status\",\"x\":{deep}");
    let long = format!("{{\"do\":\"inspect\",\"id\":\"{}\"}}", "A".repeat(2_000_000));
    let cases: &[(&str, &[u8], &str)] = &[
        ("nothing", b"", "EOF while parsing"),
        ("text", b"hello", "expected value"),
        ("bytes", b"\xff\xfe\0\x01", "expected value"),
        ("half an object", b"{\"do\":\"stat", "EOF while parsing"),
        ("a number", b"7", "expected"),
        ("no request", b"{}", "missing field `do`"),
        ("an unknown request", b"{\"do\":\"dance\"}", "unknown variant `dance`, expected one of `status`"),
        (
            "an unknown field",
            b"{\"do\":\"item\",\"id\":\"6oYAxVAnH8yKsZKpMgHSbRv7uVWey68PAqYuSXeZBbg\",\"now\":1}",
            "unknown field `now`",
        ),
        ("a missing field", b"{\"do\":\"verify\"}", "missing field `process`"),
        ("no id", b"{\"do\":\"verify\",\"process\":\"abc\"}", "`abc` is not an id"),
        (
            "a negative slot",
            b"{\"do\":\"watch\",\"process\":\"6oYAxVAnH8yKsZKpMgHSbRv7uVWey68PAqYuSXeZBbg\",\"from\":-1}",
            "-1",
        ),
        ("two requests in a line", b"{\"do\":\"peers\"} {\"do\":\"peers\"}", "trailing characters"),
        ("deep nesting", deep.as_bytes(), "invalid type: sequence"),
        ("deep nesting in a field", deep_field.as_bytes(), "recursion limit exceeded"),
        ("a long unknown request", long.as_bytes(), "unknown variant"),
    ];
    let mut one = connect(folder);
    for (name, bytes, part) in cases {
        one.write_all(bytes).unwrap();
        one.write_all(b"\n").unwrap();
        let reply = reply(&one);
        assert_failed(name, &reply, "invalid", part);
        assert!(reply["error"]["text"].as_str().unwrap().contains("one JSON object per line"), "{reply}");
    }
    one.write_all(b"{\"do\":\"status\"}\n").unwrap();
    assert!(reply(&one)["done"]["uptime_ms"].is_u64());
    // Half a request, and then its end.
    let mut half = connect(folder);
    half.write_all(b"{\"do\":").unwrap();
    half.shutdown(Shutdown::Write).unwrap();
    assert_failed("half", &reply(&half), "invalid", "EOF while parsing");
    assert_eq!(half.read(&mut [0; 1]).unwrap(), 0);
    node.stop();
}

#[test]
fn a_line_without_an_end_is_cut_off_and_others_are_served_meanwhile() {
    let node = Node::start();
    let folder = node.folder.path();
    let mut giant = connect(folder);
    let piece = vec![b' '; 1 << 20];
    for sent in 0..96 {
        giant.write_all(&piece).unwrap();
        if sent % 32 == 0 {
            assert!(ask(folder, &json!({ "do": "status" }))["done"].is_object());
        }
    }
    // The node hangs up after its answer, so a write may fail; the answer is there all the same.
    let _ = giant.write_all(b"x");
    assert_failed("giant", &reply(&giant), "invalid", "more than 100663296 bytes, the limit");
    assert!(ask(folder, &json!({ "do": "status" }))["done"].is_object());
    node.stop();
}

#[test]
fn one_client_too_many_is_told_so_and_the_node_still_stops() {
    let node = Node::start();
    let folder = node.folder.path();
    let mut clients: Vec<UnixStream> = (0..CLIENTS_MAX).map(|_| connect(folder)).collect();
    // Each has its place once it is answered; then it is silent, in the middle of a request.
    for client in &mut clients {
        client.write_all(b"{\"do\":\"status\"}\n{\"do\":").unwrap();
        assert!(reply(client)["done"].is_object());
    }
    for _ in 0..1_000 {
        let turned_away = connect(folder);
        assert_failed("one too many", &reply(&turned_away), "busy", "serves 64 clients, the limit");
    }
    let (code, text) = node.weft(&["status", "--json"]).expect(5).error();
    assert!(code == "busy" && text.contains("serves 64 clients"), "{text}");
    // A place that is given up is taken by the next.
    drop(clients.pop());
    let served = (0..).map(|_| ask(folder, &json!({ "do": "status" })));
    assert!(served.take(100_000).any(|reply| reply["done"].is_object()));
    node.interrupt();
    for client in clients {
        // The end, not a hang.
        let mut rest = String::new();
        let _ = (&client).read_to_string(&mut rest);
    }
}

#[test]
fn a_client_that_never_reads_keeps_nobody_waiting() {
    let node = Node::start();
    let folder = node.folder.path();
    let process = node.counter();
    let mut deaf = connect(folder);
    deaf.set_nonblocking(true).unwrap();
    let request = json!({ "do": "process", "process": process }).to_string() + "\n";
    // Until neither takes a byte more: its answers fill the pipe, and then its requests do.
    let mut sent = 0;
    while sent < 1 << 24 {
        match deaf.write(request.as_bytes()) {
            Ok(bytes) => sent += bytes,
            Err(_) => break,
        }
    }
    assert_eq!(node.json(&["send", &process, "--action", "Increment", "--wait"])["slot"], 1);
    drop(deaf);
    node.stop();
}

const NOBODY: &str = "6oYAxVAnH8yKsZKpMgHSbRv7uVWey68PAqYuSXeZBbg";

struct Case {
    name: &'static str,
    tags: Vec<(&'static str, String)>,
    target: Option<Id>,
    code: &'static str,
    part: &'static str,
}

fn case(
    name: &'static str,
    tags: &[(&'static str, &str)],
    target: Option<Id>,
    code: &'static str,
    part: &'static str,
) -> Case {
    let tags = tags.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
    Case { name, tags, target, code, part }
}

fn process_cases(module: &str, scheduler: &str) -> Vec<Case> {
    let with = |name, extra: &[(&'static str, &str)], code, part| {
        let base =
            [("Data-Protocol", "ao"), ("Type", "Process"), ("Module", module), ("Scheduler", scheduler)];
        let kept = base.iter().filter(|(name, _)| extra.iter().all(|(other, _)| other != name));
        let tags: Vec<_> = kept.chain(extra.iter().filter(|(_, value)| !value.is_empty())).copied().collect();
        case(name, &tags, None, code, part)
    };
    let crowd = [NOBODY; 2].join(",");
    vec![
        with("no module", &[("Module", "")], "invalid", "the `Module` tag is missing"),
        with("odd module", &[("Module", "x")], "invalid", "the `Module` tag is `x`, not 43 characters"),
        with("unknown module", &[("Module", NOBODY)], "unknown", NOBODY),
        with("no scheduler", &[("Scheduler", "")], "invalid", "`Scheduler`"),
        with("odd scheduler", &[("Scheduler", "me")], "invalid", "`Scheduler`"),
        with("absent scheduler", &[("Scheduler", NOBODY)], "unknown", NOBODY),
        with("no protocol", &[("Data-Protocol", "")], "invalid", "the `Data-Protocol` tag is missing"),
        with("other protocol", &[("Data-Protocol", "bo")], "invalid", "Data-Protocol must be ao"),
        with("no type", &[("Type", "")], "invalid", "the `Type` tag is missing; expected `Process` or"),
        with("other type", &[("Type", "Cron")], "invalid", "the `Type` tag is `Cron`; expected `Process` or"),
        with("extension", &[("Extension", "Other")], "invalid", "the extension `Other`"),
        with("mode", &[("Availability-Type", "Library")], "invalid", "the Availability-Type `Library`"),
        with("boot", &[("On-Boot", "data")], "invalid", "On-Boot `data`"),
        with("set", &[("Scheduler-Set", "a,b")], "invalid", "scheduler sets are not supported"),
        with("rules", &[("Rules", "7")], "invalid", "rules `7` are not known; this build computes rules 1"),
        with("memory", &[("Memory-Limit", "1-tb")], "invalid", "the Memory-Limit `1-tb` is not a size"),
        with("gas", &[("Compute-Limit", "-1")], "invalid", "the Compute-Limit `-1` is not a number"),
        with("cron", &[("Cron-Interval", "soon")], "invalid", "soon"),
        with("compute", &[("Compute", "me")], "invalid", "the `Compute` tag is `me`"),
        with("no quorum", &[("Compute", NOBODY)], "invalid", "the `Compute-Quorum` tag is missing"),
        with("quorum", &[("Compute", NOBODY), ("Compute-Quorum", "2")], "invalid", "more than half"),
        with("twice", &[("Compute", &crowd), ("Compute-Quorum", "2")], "invalid", "twice"),
        with("weave", &[("Weave", "a b")], "invalid", "the Weave `a b` is not a name"),
        with("other weave", &[("Weave", "arweave")], "refused", "no view of the weave `arweave`"),
        with("link", &[("X+link", "y")], "invalid", "+link"),
    ]
}

#[test]
fn items_that_can_have_no_slot_are_refused_by_name() {
    let node = Node::start();
    let folder = node.folder.path();
    let process = node.counter();
    let module = node.json(&["module", "list"])[0]["module"].as_str().unwrap().to_owned();
    let me = node.ready["address"].as_str().unwrap().to_owned();
    let key = std::fs::read_to_string(folder.join("key.json")).unwrap();
    let seed = serde_json::from_str::<Value>(&key).unwrap()["d"].as_str().unwrap().to_owned();
    let seed = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(seed).unwrap();
    let signer = Signer::from_seed(&seed.try_into().unwrap());
    let submit = |draft: &Draft, signer: &Signer| {
        let item = draft.sign(signer).unwrap();
        ask(folder, &json!({ "do": "submit", "item": STANDARD.encode(item.raw()) }))
    };
    let message = [("Data-Protocol", "ao"), ("Type", "Message")];
    let nobody: Id = NOBODY.parse().unwrap();
    let mut cases = process_cases(&module, &me);
    cases.push(case("no target", &message, None, "invalid", "the message has no target"));
    cases.push(case("unknown process", &message, Some(nobody), "unknown", NOBODY));
    for Case { name, tags, target, code, part } in cases {
        let tags = tags.iter().map(|(name, value)| Tag::new(*name, value)).collect();
        let draft = Draft { target, tags, ..Draft::default() };
        assert_failed(name, &submit(&draft, &signer), code, part);
    }
    // A stranger's process is not taken, whatever is right about it.
    let stranger = Signer::from_seed(&[9; 32]);
    let tags = [("Data-Protocol", "ao"), ("Type", "Process"), ("Module", &module), ("Scheduler", &me)];
    let tags = tags.map(|(name, value)| Tag::new(name, value)).to_vec();
    let theirs = submit(&Draft { tags, ..Draft::default() }, &stranger);
    assert_failed("a stranger's process", &theirs, "refused", "ask its operator to set `schedule_for`");

    let good = Draft {
        target: Some(process.parse().unwrap()),
        tags: message.map(|(name, value)| Tag::new(name, value)).to_vec(),
        ..Draft::default()
    };
    broken_bytes(folder, good.sign(&signer).unwrap().raw());
    odd_messages(&node, &process, &signer);
    assert_eq!(node.json(&["verify", &process])["difference"], Value::Null);
    node.stop();
}

/// Bytes that are no item, each refused by the name of what is broken.
fn broken_bytes(folder: &Path, raw: &[u8]) {
    let with = |at: usize, value: u8| {
        let mut bytes = raw.to_vec();
        bytes[at] = value;
        bytes
    };
    // Type, signature, owner, target, anchor: then the two counts of the tags.
    let counts = 2 + 64 + 32 + 1 + 32 + 1;
    let cases: &[(&str, Vec<u8>, &str)] = &[
        ("nothing", Vec::new(), "the item ends inside its signature type"),
        ("half", raw[..40].to_vec(), "the item ends inside its signature"),
        ("type", with(1, 9), "signature type 2306 is not supported (1 to 7 are)"),
        ("signature", with(2, raw[2] ^ 1), "signature"),
        ("target", with(98, 3), "the presence byte of the target is 3, not 0 or 1"),
        ("anchor", with(131, 3), "the presence byte of the anchor is 3"),
        ("many tags", with(counts, 200), "200 tags; at most 128 are allowed"),
        ("other count", with(counts, 3), "the item declares 3 tags but encodes 2"),
        ("long tags", with(counts + 10, 1), "bytes of tags; at most 4096 are allowed"),
        ("tag length", with(counts + 8, 1), "not a well-formed Avro array"),
        ("tag block", with(counts + 16, 0xff), "tags: "),
        ("tag text", with(counts + 18, 0xff), "not UTF-8"),
        ("too large", [raw, &vec![0; 11 << 20]].concat(), "is too long"),
    ];
    for (name, bytes, part) in cases {
        let reply = ask(folder, &json!({ "do": "submit", "item": STANDARD.encode(bytes) }));
        assert_failed(name, &reply, "invalid", part);
        let reply = ask(folder, &json!({ "do": "put-module", "item": STANDARD.encode(bytes) }));
        assert_eq!(reply["error"]["code"], "invalid", "{name}: {reply}");
    }
    let reply = ask(folder, &json!({ "do": "submit", "item": "a+b*" }));
    assert_failed("no base64", &reply, "invalid", "the item is not base64");
}

/// Messages that are odd and right: each gets a slot and an outcome.
fn odd_messages(node: &Node, process: &str, signer: &Signer) {
    let numbered = (0..126).map(|n| (format!("N{n}"), "x".to_owned()));
    let odd: Vec<(&str, Vec<(String, String)>)> = vec![
        ("no tags of its own", Vec::new()),
        ("two actions", vec![("Action".into(), "Get".into()), ("Action".into(), "Increment".into())]),
        ("control characters", vec![("Act\u{0}ion\u{1b}[2J".into(), "\u{7}\r\n\u{202e}".into())]),
        ("128 tags", numbered.collect()),
        ("a name like ours", vec![("From-Process".into(), "me".into()), ("Pushed-For".into(), "x".into())]),
        ("numbers", vec![("Nonce".into(), "-1".into()), ("Timestamp".into(), "99999999999999999999".into())]),
    ];
    for (name, more) in odd {
        let base = [("Data-Protocol", "ao"), ("Type", "Message")].map(|(name, value)| Tag::new(name, value));
        let more = more.into_iter().map(|(name, value)| Tag::new(name, value));
        let tags = base.into_iter().chain(more).collect();
        let draft = Draft { target: Some(process.parse().unwrap()), tags, ..Draft::default() };
        let item = draft.sign(signer).unwrap();
        let reply = ask(node.folder.path(), &json!({ "do": "submit", "item": STANDARD.encode(item.raw()) }));
        let slot = reply["done"]["slot"].as_u64().unwrap_or_else(|| panic!("{name}: {reply}"));
        let result = node.weft(&["result", process, "--slot", &slot.to_string(), "--wait", "--json"]);
        assert!(result.code < 2, "{name}: {}", result.err);
        // What people see of it moves no cursor.
        let shown = node.weft(&["inspect", process, "--slots", &slot.to_string()]).expect(0);
        assert!(!shown.text().contains('\u{1b}') && !shown.text().contains('\u{202e}'), "{name}");
    }
}

/// What is handed over as a module, and what its refusal must hold.
fn modules() -> Vec<(&'static str, Vec<u8>, &'static str)> {
    let wat = |text: &str| wat::parse_str(text).unwrap();
    let whole = "(func (export \"alloc\") (param i32) (result i32) (i32.const 0)) \
                 (func (export \"handle\") (param i32 i32 i32 i32) (result i64) (i64.const 0))";
    vec![
        ("cut", weft_vm::guests::COUNTER[..60].to_vec(), "the module is not valid here"),
        ("no memory", wat(&format!("(module {whole})")), "no memory"),
        ("no exports", wat("(module (memory (export \"memory\") 1))"), "the module lacks the export alloc"),
        (
            "unknown import",
            wat(&format!(
                "(module (import \"env\" \"system\" (func)) (memory (export \"memory\") 1) {whole})"
            )),
            "the module imports env.system, which the format wasm32-weft-plain does not offer",
        ),
        (
            "start",
            wat(&format!("(module (memory (export \"memory\") 1) (func $s) (start $s) {whole})")),
            "a start section, which is not supported",
        ),
    ]
}

#[test]
fn modules_that_cannot_be_run_are_refused_by_name_and_bad_ones_end_in_their_outcome() {
    let node = Node::start();
    let file = node.folder.path().join("m.wasm");
    for (name, wasm, part) in modules() {
        std::fs::write(&file, wasm).unwrap();
        let add = ["module", "add", file.to_str().unwrap(), "--format", "wasm32-weft-plain", "--json"];
        let (code, text) = node.weft(&add).expect(2).error();
        assert!(code == "invalid" && text.starts_with("the module is refused: "), "{name}: {text}");
        assert!(text.contains(part), "{name}: {text}");
    }
    // A message of a process whose module never answers, or answers nonsense.
    let handles = [
        ("(loop $l (br $l)) (i64.const 0)", "gas"),
        ("(unreachable)", "trap"),
        ("(i64.const 0x0000100000000004)", "result"),
        ("(drop (memory.grow (i32.const 16384))) (i64.load (i32.const -8))", ""),
    ];
    for (handle, _) in handles {
        let text = format!(
            "(module (memory (export \"memory\") 1)
               (func (export \"alloc\") (param i32) (result i32) (i32.const 8192))
               (func (export \"handle\") (param i32 i32 i32 i32) (result i64) {handle}))"
        );
        std::fs::write(&file, wat::parse_str(text).unwrap()).unwrap();
        let add = ["module", "add", file.to_str().unwrap(), "--format", "wasm32-weft-plain"];
        let limits = ["--compute-limit", "50000000", "--memory-limit", "2-mb"];
        let module = node.json(&[&add[..], &limits].concat())["module"].as_str().unwrap().to_owned();
        let process = node.json(&["spawn", "--module", &module])["id"].as_str().unwrap().to_owned();
        let sent = node.weft(&["send", &process, "--wait", "--json"]).expect(1).json();
        assert_ne!(sent["result"]["code"], 0, "{handle}: {sent}");
        assert!(sent["result"]["result"]["Error"].is_string(), "{handle}: {sent}");
    }
    assert_eq!(node.json(&["processes"]).as_array().unwrap().len(), handles.len());
    node.stop();
}
