//! Processes of others that come to a node unasked: whose are taken, and what they may use.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use weft_protocol::crypto::Signer;
use weft_protocol::data_item::Draft;
use weft_protocol::{Id, Tag};

use super::node::{self, Node};
use super::socket::{ask, connect, reply};

#[path = "../../../vm/tests/emscripten/mod.rs"]
mod emscripten;

/// Somebody with a key that this node does not know.
struct Stranger<'a> {
    node: &'a Node,
    signer: Signer,
    module: String,
}

impl<'a> Stranger<'a> {
    fn of(node: &'a Node) -> Self {
        Self { node, signer: Signer::from_seed(&[9; 32]), module: node.add_counter() }
    }

    /// A request to begin a process, with these tags beside those that all have.
    fn process(&self, number: u8, tags: &[(&str, &str)]) -> Value {
        let scheduler = self.node.ready["address"].as_str().unwrap();
        let all = [("Type", "Process"), ("Module", &self.module), ("Scheduler", scheduler)];
        self.item(None, number, &[&all, tags].concat())
    }

    fn item(&self, target: Option<Id>, number: u8, tags: &[(&str, &str)]) -> Value {
        let tags = [&[("Data-Protocol", "ao")], tags].concat();
        let tags = tags.into_iter().map(|(name, value)| Tag::new(name, value)).collect();
        let draft = Draft { target, anchor: Some([number; 32]), tags, ..Draft::default() };
        let item = draft.sign(&self.signer).unwrap();
        json!({ "do": "submit", "item": STANDARD.encode(item.raw()) })
    }

    fn submit(&self, request: &Value) -> Value {
        ask(self.node.folder.path(), request)
    }

    /// Begins a process, which must be taken.
    fn begin(&self, number: u8, tags: &[(&str, &str)]) -> Id {
        let reply = self.submit(&self.process(number, tags));
        reply["done"]["process"].as_str().unwrap_or_else(|| panic!("{reply}")).parse().unwrap()
    }

    fn increment(&self, process: Id, number: u8) {
        let tags = [("Type", "Message"), ("Action", "Increment")];
        let reply = self.submit(&self.item(Some(process), number, &tags));
        assert!(reply["done"]["slot"].is_u64(), "{reply}");
    }
}

#[track_caller]
fn assert_refused(reply: &Value, parts: &[&str]) {
    let text = reply["error"]["text"].as_str().unwrap_or_else(|| panic!("{reply}"));
    assert_eq!(reply["error"]["code"], "refused", "{reply}");
    assert!(parts.iter().all(|part| text.contains(part)), "{text}");
}

fn metric(node: &Node, name: &str) -> f64 {
    node.json(&["metrics"])[name].as_f64().unwrap_or_else(|| panic!("no metric {name}"))
}

/// Waits until a node says this of a process, and gives what it says.
fn until(node: &Node, process: Id, what: &str, is: impl Fn(&Value) -> bool) -> Value {
    node::until(what, || match node.json(&["inspect", &process.to_string()]) {
        info if is(&info) => Ok(info),
        info => Err(info.to_string()),
    })
}

#[test]
fn processes_that_come_at_once_do_not_pass_the_budget() {
    const BUDGET: usize = 3;
    const AT_ONCE: u8 = 24;
    let node = Node::start_with(&["--schedule-for", "anyone", "--spawn-budget", &BUDGET.to_string()]);
    let stranger = Stranger::of(&node);
    let own = node.counter();
    let streams: Vec<_> = (0..AT_ONCE)
        .map(|number| {
            let mut stream = connect(node.folder.path());
            let request = stranger.process(number, &[]);
            std::io::Write::write_all(&mut stream, format!("{request}\n").as_bytes()).unwrap();
            stream
        })
        .collect();
    let replies: Vec<Value> = streams.iter().map(reply).collect();
    let (taken, refused): (Vec<_>, Vec<_>) = replies.iter().partition(|reply| reply["done"].is_object());
    assert_eq!(taken.len(), BUDGET, "{replies:?}");
    for reply in refused {
        assert_refused(reply, &["budget of 3 processes of others", "`spawn_budget`"]);
    }
    // Whoever was taken is answered again, and the operator's own are in no budget.
    let again = replies.iter().position(|reply| reply["done"].is_object()).unwrap();
    let again = stranger.submit(&stranger.process(u8::try_from(again).unwrap(), &[]));
    assert_eq!(again["done"]["duplicate"], true, "{again}");
    assert_ne!(node.counter(), own);
    assert_eq!(metric(&node, "weft_budget_used{role=\"hosting\",budget=\"places\"}"), BUDGET as f64);
    assert_eq!(metric(&node, "weft_budget_limit{role=\"hosting\",budget=\"places\"}"), BUDGET as f64);
    let declined = f64::from(AT_ONCE) - BUDGET as f64;
    assert_eq!(metric(&node, "weft_declined_total{reason=\"places\"}"), declined);
    // What an operator hosts himself gives its place back.
    let mine = taken[0]["done"]["process"].as_str().unwrap();
    node.json(&["host", mine, "--compute"]);
    stranger.begin(200, &[]);
    assert_refused(&stranger.submit(&stranger.process(201, &[])), &["`spawn_budget`"]);
}

#[test]
fn strangers_are_computed_as_far_as_the_operator_says() {
    let flags = ["--schedule-for", "anyone", "--compute-for", "own", "--others-memory", "64mb"];
    let node = Node::start_with(&flags);
    let stranger = Stranger::of(&node);
    let reply = stranger.submit(&stranger.process(1, &[]));
    assert_refused(&reply, &[&stranger.signer.address().to_string(), "`Compute`", "`compute_for`"]);
    // Slots alone are another matter.
    let other = Signer::from_seed(&[8; 32]).address().to_string();
    let elsewhere = stranger.begin(2, &[("Compute", &other), ("Compute-Quorum", "1")]);
    let duties = node.json(&["inspect", &elsewhere.to_string()])["duties"].clone();
    assert_eq!(duties, json!(["schedule"]));
    let listed = stranger.signer.address().to_string();
    let node = Node::start_with(&[&flags[..3], &[&listed], &flags[4..]].concat());
    let stranger = Stranger::of(&node);
    let reply = stranger.submit(&stranger.process(3, &[("Memory-Limit", "65-mb")]));
    assert_refused(&reply, &["68157440 bytes", "67108864", "`Memory-Limit`", "`others_memory`"]);
    let taken = stranger.begin(4, &[("Memory-Limit", "64-mb")]);
    until(&node, taken, "slot 0 is evaluated", |info| info["computed"]["slot"] == 0);
    assert_eq!(metric(&node, "weft_declined_total{reason=\"memory\"}"), 1.0);
    // The operator's own may be as large as any.
    let module = &stranger.module;
    node.json(&["spawn", "--module", module, "--tag", "Memory-Limit=1-gb"]);
}

#[test]
fn strangers_wait_when_their_gas_is_used_up_and_nobody_else_does() {
    let node = Node::start_with(&["--schedule-for", "anyone", "--others-gas", "1"]);
    let stranger = Stranger::of(&node);
    let process = stranger.begin(1, &[]);
    until(&node, process, "the first run is not refused", |info| info["computed"]["slot"] == 0);
    for number in 2..4 {
        stranger.increment(process, number);
    }
    let info = until(&node, process, "it waits", |info| !info["waits"].is_null());
    assert!(info["waits"].as_str().unwrap().contains("`others_gas`"), "{info}");
    assert_eq!(
        (&info["head"], &info["computed"]["slot"], &info["fault"]),
        (&json!(2), &json!(0), &Value::Null)
    );
    assert!(metric(&node, "weft_budget_used{role=\"compute\",budget=\"others_gas\"}") > 1.0);
    // The operator's own goes on.
    let own = node.counter();
    let sent = node.json(&["send", &own, "--action", "Increment", "--wait"]);
    assert_eq!(sent["result"]["result"]["Output"], "1");
    // Whoever hosts it himself makes it his own.
    node.json(&["host", &process.to_string(), "--compute"]);
    let info = until(&node, process, "it goes on", |info| info["computed"]["slot"] == 2);
    assert_eq!(info["waits"], Value::Null);
}

/// What nobody has.
const NOBODYS: &str = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAE";
/// Counts to a million before it opens that.
const BURNS: &str = "
    (import \"env\" \"__asyncjs__weavedrive_open\" (func $open (param i32 i32) (result i32)))
    ---
    (data (i32.const 2048) \"/data/AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAE\\00\")";
const THEN_OPENS: &str = "(local $turns i32)
    (loop $again
      (local.set $turns (i32.add (local.get $turns) (i32.const 1)))
      (br_if $again (i32.lt_u (local.get $turns) (i32.const 1000000))))
    (call $open (i32.const 2048) (i32.const 0))";

#[test]
fn a_run_that_fails_on_the_host_costs_strangers_their_gas() {
    let node = Node::start_with(&["--schedule-for", "anyone", "--others-gas", "1"]);
    let file = node.folder.path().join("burns.wasm");
    std::fs::write(&file, wat::parse_str(emscripten::wat(false, BURNS, THEN_OPENS)).unwrap()).unwrap();
    let added = ["module", "add", file.to_str().unwrap(), "--format", "wasm32-unknown-emscripten4"];
    let module = node.json(&added)["module"].as_str().unwrap().to_owned();
    let stranger = Stranger { module, ..Stranger::of(&node) };
    // However often it is tried, it has no outcome.
    let process = stranger.begin(1, &[("On-Boot", NOBODYS)]);
    let info = until(&node, process, "it waits for gas", |info| {
        info["waits"].as_str().is_some_and(|waits| waits.contains("`others_gas`"))
    });
    assert_eq!((&info["computed"], &info["fault"]), (&Value::Null, &Value::Null), "{info}");
    assert!(metric(&node, "weft_budget_used{role=\"compute\",budget=\"others_gas\"}") > 1_000_000.0);
}
