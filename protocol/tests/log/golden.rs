//! Every hashed structure and every text a module sees, for fixed inputs. A difference here is a
//! change of the rules: `WEFT_BLESS=1 cargo test` writes the new values, and a reviewer sees it.

use std::collections::BTreeMap;

use serde_json::json;
use weft_protocol::assignment::{Excluded, item_anchor};
use weft_protocol::cron::{Tick, ticks};
use weft_protocol::message::{env_json, message_json, process_json, tick_json};
use weft_protocol::outcome::{Code, Outcome, Running};
use weft_protocol::seen::{SeenKeys, SeenList, digest_key, item_key, push_key, reference_digest};
use weft_protocol::sender::{Origin, ProvenSource};
use weft_protocol::state::{tree_root, zero_leaf};
use weft_protocol::time::TimePoint;
use weft_protocol::{Hash, Id, Position, hash_chain, mark};

use crate::fixture::*;
use crate::state::summary;

#[derive(Default)]
struct Values(BTreeMap<&'static str, String>);

impl Values {
    fn put(&mut self, name: &'static str, value: impl AsRef<[u8]>) {
        assert!(self.0.insert(name, hex::encode(value)).is_none(), "{name} twice");
    }

    fn text(&mut self, name: &'static str, value: String) {
        assert!(self.0.insert(name, value).is_none(), "{name} twice");
    }
}

const PROCESS: Id = Id([1; 32]);
const ITEM: Id = Id([2; 32]);

fn log(values: &mut Values) {
    values.put("hash chain, slot 0", hash_chain::first(PROCESS));
    values.put("hash chain, next", hash_chain::next(ITEM, Hash([3; 32])));
    values.put("item anchor of an assignment", item_anchor(NETWORK, PROCESS, 4, 5, ITEM));
    let assignment = draft(PROCESS, 5, Some(ITEM)).draft();
    values.put("assignment", assignment.sign(&key(2)).unwrap().raw());
    values.put("mark", mark::draft(NETWORK, PROCESS, 4, 5).sign(&key(2)).unwrap().raw());
}

fn seen(values: &mut Values) {
    let pushed = item(3, Some(PROCESS), tags(&[("b", "2"), ("a", "1"), ("Pushed-For", "x")]), b"data");
    let digest = reference_digest(&pushed);
    values.put("reference digest", digest);
    values.put("seen key, item", item_key(ITEM));
    values.put("seen key, push", push_key(&Hash([4; 32])));
    values.put("seen key, digest", digest_key(&digest));
    let mut list = SeenList::default();
    let source = ProvenSource { process: ITEM, push: Hash([4; 32]), root: None };
    list.admit(0, &SeenKeys::of_item(PROCESS));
    list.admit(1, &SeenKeys::of(&pushed, &Origin::Proven(source)));
    let keys: Vec<u8> = list.iter().flat_map(|(key, _)| key.0).collect();
    values.put("seen list", keys);
    values.put("seen root", list.root());
    values.put("seen root, empty", SeenList::default().root());
}

fn outcomes(values: &mut Values) {
    let anchor = "00000000000000000000000000000001";
    let target = PROCESS.to_string();
    let result = json!({"ok": true, "response": {
        "Output": {"data": 1.5e300, "10": "a", "9": "\u{1F600}"},
        "Messages": [
            {"Target": target, "Anchor": anchor, "Tags": [{"name": "Action", "value": "Ping"}], "Data": "d"},
            {"Target": target, "Tags": []},
        ],
        "Spawns": [{"Tags": [{"name": "Module", "value": "m"}]}],
        "Assignments": [{"Processes": [target], "Message": target}],
    }});
    let position = Position { epoch: 1, slot: 2, tick: 3 };
    let outcome = Outcome::of_result(position, result.to_string().as_bytes(), Some(ITEM));
    values.text("result", outcome.result_json(Some(7)));
    values.put("entry, message", outcome.outbox.entries()[0].to_bytes());
    values.put("entry, dropped", outcome.outbox.entries()[1].to_bytes());
    values.put("entry, spawn", outcome.outbox.entries()[2].to_bytes());
    values.put("entry, assignment", outcome.outbox.entries()[3].to_bytes());
    values.put("outbox root", outcome.outbox.root());
    let path = outcome.outbox.path(2).unwrap();
    values.put("outbox path", path.siblings.iter().flat_map(|hash| hash.0).collect::<Vec<u8>>());
    values.put("outcome core", outcome.core().to_bytes());
    values.put("outcome", outcome.hash());
    values.put("outcome, empty", Outcome::empty(position).hash());
    values.put("outcome, duplicate", Outcome::duplicate(position, 1).hash());
    let failed = |code| Outcome::failed(position, code);
    values.put("outcome, trap", failed(Code::Trap).hash());
    values.put("outcome, out of gas", failed(Code::OutOfGas).hash());
    values.put("outcome, out of memory", failed(Code::OutOfMemory).hash());
    values.put("outcome, depth", failed(Code::Depth).hash());
    values.put("outcome, malformed", failed(Code::Malformed).hash());
    values.put("outcome, refused", failed(Code::Refused).hash());
    let start = Running::before(PROCESS);
    values.put("running hash before slot 0", start.0);
    values.put("running hash", start.then(&outcome.hash()).0);
}

fn states(values: &mut Values) {
    values.put("zero leaf", zero_leaf());
    values.put("tree root, 3 leaves", tree_root(vec![zero_leaf(); 3]));
    values.put("tree root, no leaves", tree_root(vec![]));
    values.put("state root", summary().root());
}

fn texts(values: &mut Values) {
    let process = process(&[
        ("Authority", &key(4).address().to_string()),
        ("from_process", "forged"),
        ("Cron-Interval", "10-seconds"),
        ("Cron-Tag-Action", "Tick"),
        ("Cron-Interval", "3-blocks"),
    ]);
    let message = item(
        3,
        Some(process.id()),
        tags(&[("From-Process", "s"), ("A", "\"\\\n\u{7f}\u{2028}")]),
        b"h\xc3\xa9\xff\0",
    );
    let slot = assigned(process.id(), 1, Some(message.id()), &[]);
    values.text("message, direct", message_json(&slot, &message, &Origin::Direct));
    let legacy = Origin::Legacy { from: "s".into(), root: None };
    values.text("message, legacy", message_json(&slot, &message, &legacy));
    let proven = Origin::Proven(ProvenSource { process: ITEM, push: Hash([4; 32]), root: None });
    values.text("message, proven", message_json(&slot, &message, &proven));
    let excluding = assigned(
        process.id(),
        1,
        Some(message.id()),
        &[Excluded::Data, Excluded::Tags, Excluded::Signature, Excluded::Anchor],
    );
    values.text("message, all excluded", message_json(&excluding, &message, &Origin::Direct));
    values.text("message of slot 0", process_json(&process, &assigned(process.id(), 0, None, &[])));
    values.text("env", env_json(&process, &module()));
    let tick = Tick { cron: 0, time: TimePoint { timestamp: 20_000, height: 7 } };
    values.text("tick", tick_json(&process, &tick));
    let at = |timestamp, height| TimePoint { timestamp, height };
    let due = ticks(process.crons(), at(1_500, 10), at(9_000, 12), at(42_001, 20));
    let shown: Vec<_> =
        due.run.iter().map(|tick| json!([tick.cron, tick.time.timestamp, tick.time.height])).collect();
    values.text("ticks", json!(shown).to_string());
}

#[test]
fn fixed_inputs_give_the_recorded_values() {
    let mut values = Values::default();
    for part in [log, seen, outcomes, states, texts] {
        part(&mut values);
    }
    let ours = serde_json::to_string_pretty(&values.0).unwrap() + "\n";
    if std::env::var_os("WEFT_BLESS").is_some() {
        std::fs::write(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/log.json"), &ours).unwrap();
    }
    let recorded =
        std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/log.json")).unwrap();
    let recorded: BTreeMap<String, String> = serde_json::from_str(&recorded).unwrap();
    for (name, value) in &values.0 {
        assert_eq!(recorded.get(*name), Some(value), "{name}");
    }
    assert_eq!(recorded.len(), values.0.len(), "a recorded value that is not computed any more");
}
