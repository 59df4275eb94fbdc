use proptest::prelude::*;
use serde_json::{Value as Json, json};
use weft_protocol::data_digest::DataDigest;
use weft_protocol::limits::{
    ENTRY_TAG_BYTES_MAX, ENTRY_TAGS_MAX, OUTBOX_BYTES_MAX, OUTBOX_ENTRIES_MAX, RESULT_BYTES_MAX,
};
use weft_protocol::outcome::{Code, EntryKind, OutboxEntry, Outcome, OutcomeCore, Running};
use weft_protocol::push::Source;
use weft_protocol::{Id, Position};

use crate::fixture::tags;

const ANCHOR: &str = "00000000000000000000000000000001";
const ROOT: Id = Id([6; 32]);

fn of(result: &Json) -> Outcome {
    Outcome::of_result(Position::slot(3), result.to_string().as_bytes(), Some(ROOT))
}

fn ok(response: Json) -> Outcome {
    of(&json!({"ok": true, "response": response}))
}

fn message(target: &str) -> Json {
    json!({"Target": target, "Anchor": ANCHOR, "Tags": [], "Data": "hi"})
}

fn to(byte: u8) -> String {
    Id([byte; 32]).to_string()
}

#[test]
fn a_plain_result_is_shown_as_the_reference_shows_it() {
    let outcome = ok(
        json!({"Output": 5, "Messages": [message(&to(1))], "Spawns": [], "Assignments": [], "Patches": [1]}),
    );
    assert_eq!(outcome.code, Code::Ok);
    let shown = format!(
        r#"{{"Messages":[{{"Target":"{}","Anchor":"{ANCHOR}","Tags":[],"Data":"hi"}}],"Assignments":[],"Spawns":[],"Output":"5","GasUsed":0}}"#,
        to(1)
    );
    assert_eq!(outcome.result_json(Some(0)), shown);
    assert!(!outcome.result_json(None).contains("GasUsed"));
}

/// Check 49.
#[test]
fn output_is_text_or_an_object() {
    for (output, shown) in [
        (json!(5), "\"5\""),
        (json!(1e21), "\"1e+21\""),
        (json!(null), "\"\""),
        (json!(""), "\"\""),
        (json!("x"), "\"x\""),
        (json!(false), "false"),
        (json!({"data": {"output": "y"}, "prompt": 1.50}), r#"{"data":{"output":"y"},"prompt":1.5}"#),
    ] {
        assert_eq!(ok(json!({"Output": output})).output, shown);
    }
    assert_eq!(ok(json!({})).output, "\"\"");
}

/// Checks 47 and 48: an error empties the outbox and takes the memory back.
#[test]
fn an_error_is_the_guest_s_and_empties_the_outbox() {
    let outcome = ok(json!({"Error": {"b": 1, "2": 0}, "Output": "seen", "Messages": [message(&to(1))]}));
    assert_eq!((outcome.code, outcome.error.as_str()), (Code::Error, r#"{"2":0,"b":1}"#));
    assert_eq!(
        outcome.result_json(None),
        r#"{"Error":{"2":0,"b":1},"Messages":[],"Assignments":[],"Spawns":[],"Output":"seen"}"#
    );
    assert!(outcome.outbox.is_empty() && !outcome.code.keeps_memory());
    let thrown = of(&json!({"ok": false, "response": "boom"}));
    assert_eq!((thrown.code, thrown.error.as_str()), (Code::Error, "\"boom\""));
    for falsy in [json!(null), json!(false), json!(0), json!("")] {
        assert_eq!(ok(json!({"Error": falsy})).code, Code::Ok);
    }
    for truthy in [json!([]), json!({}), json!("0"), json!(true), json!(0.1)] {
        assert_eq!(ok(json!({"Error": truthy})).code, Code::Error);
    }
}

/// Check 50.
#[test]
fn running_out_of_memory_keeps_the_output() {
    let text = "x: not enough memory for buffer allocation";
    for output in [json!(text), json!({"data": {"output": text}})] {
        let outcome = ok(json!({"Output": output, "Messages": [message(&to(1))]}));
        assert_eq!((outcome.code, outcome.error.as_str()), (Code::OutOfMemory, ""));
        assert_eq!(outcome.output, output.to_string());
        assert!(outcome.outbox.is_empty() && !outcome.code.keeps_memory());
    }
    assert_eq!(ok(json!({"Output": format!("{text}.")})).code, Code::Ok);
    assert_eq!(ok(json!({"Output": {"data": text}})).code, Code::Ok);
}

#[test]
fn what_is_no_result_is_malformed_with_a_constant_text() {
    let bad: [&[u8]; 10] = [
        b"",
        b"not json",
        b"null",
        b"[]",
        b"{}",
        br#"{"ok":true}"#,
        br#"{"ok":true,"response":null}"#,
        br#"{"ok":true,"response":"text"}"#,
        br#"{"ok":false,"response":""}"#,
        b"{\"ok\":true,\"response\":{}} trailing",
    ];
    for bytes in bad {
        let outcome = Outcome::of_result(Position::slot(3), bytes, None);
        assert_eq!(outcome, Outcome::failed(Position::slot(3), Code::Malformed));
        assert_eq!(outcome.error, "\"malformed result\"");
    }
    let huge = vec![b' '; RESULT_BYTES_MAX + 1];
    assert_eq!(Outcome::of_result(Position::slot(3), &huge, None).code, Code::Malformed);
}

#[test]
fn the_outbox_is_messages_then_spawns_then_assignments() {
    let outcome = ok(json!({
        "Assignments": [{"Processes": [to(4), to(5)], "Message": to(6), "BaseLayer": true, "Exclude": ["Data"]}],
        "Spawns": [{"Tags": [{"name": "Module", "value": "m"}], "Anchor": ANCHOR, "Data": "boot"}],
        "Messages": [message(&to(1)), message(&to(2))],
    }));
    let kinds: Vec<EntryKind> = outcome.outbox.entries().iter().map(|entry| entry.kind).collect();
    assert_eq!(kinds, [EntryKind::Message, EntryKind::Message, EntryKind::Spawn, EntryKind::Assignment]);
    let [first, _, spawn, assignment] = outcome.outbox.entries() else { panic!("four entries") };
    assert_eq!((first.root, first.target, first.data.as_ref()), (Some(ROOT), Some(Id([1; 32])), &b"hi"[..]));
    assert_eq!(first.anchor.as_ref().map(|anchor| &anchor[..]), Some(ANCHOR.as_bytes()));
    assert_eq!((spawn.target, &spawn.tags), (None, &tags(&[("Module", "m")])));
    let (four, five, six) = (to(4), to(5), to(6));
    let expected = [
        ("Message", &*six),
        ("Process", &four),
        ("Process", &five),
        ("Base-Layer", "true"),
        ("Exclude", "Data"),
    ];
    assert_eq!(assignment.tags, tags(&expected));
}

/// Checks 87 and 91.
#[test]
fn names_that_a_push_sets_are_taken_out_and_no_data_is_a_space() {
    let pair = |name: &str| json!({"name": name, "value": "v"});
    let names = [
        "A",
        "Data-Protocol",
        "Type",
        "From-Process",
        "From-Module",
        "Assignments",
        "Pushed-For",
        "From-Epoch",
        "From-Slot",
        "From-Tick",
        "From-Index",
        "Origin-Proof",
        "B",
    ];
    let mut all: Vec<Json> = names.map(pair).to_vec();
    // Arrays of processes to assign to stand under this name and do not spoil the message.
    all.push(json!({"name": "Assignments", "value": [to(1)]}));
    let outcome = ok(json!({"Messages": [{"Target": to(1), "Anchor": ANCHOR, "Tags": all}]}));
    let entry = &outcome.outbox.entries()[0];
    assert_eq!((&entry.tags, entry.data.as_ref()), (&tags(&[("A", "v"), ("B", "v")]), &b" "[..]));
}

/// Checks 89 and 90.
#[test]
fn entries_that_cannot_be_pushed_keep_their_index() {
    let good = message(&to(1));
    let with = |key: &str, value: Json| {
        let mut changed = good.clone();
        changed[key] = value;
        changed
    };
    let bad = [
        json!(null),
        json!("text"),
        json!({}),
        with("Anchor", json!(null)),
        with("Anchor", json!("short")),
        with("Anchor", json!(1)),
        with("Target", json!("wallet")),
        with("Target", json!(null)),
        with("Tags", json!(null)),
        with("Tags", json!({})),
        with("Tags", json!([{"name": "a", "value": 1}])),
        with("Tags", json!([{"name": "a"}])),
        with("Tags", json!([{"name": "", "value": "x"}])),
        with("Tags", json!([{"name": "a", "value": "x".repeat(3_073)}])),
        with("Tags", json!(vec![json!({"name": "a", "value": "b"}); ENTRY_TAGS_MAX + 1])),
        with("Data", json!(5)),
        with("Data", json!({"a": 1})),
    ];
    let mut messages = bad.to_vec();
    messages.push(good.clone());
    let outcome = ok(json!({"Messages": messages}));
    assert_eq!(outcome.outbox.count() as usize, bad.len() + 1);
    let live: Vec<u32> = outcome.outbox.live().map(|(index, _)| index).collect();
    assert_eq!(live, [bad.len() as u32]);
    // The result still shows what the module returned.
    assert!(outcome.messages.contains("wallet"));
    let spaces = ok(json!({"Messages": [with("Data", json!(0)), with("Data", json!(""))]}));
    assert!(spaces.outbox.entries().iter().all(|entry| entry.data.as_ref() == b" "));
}

/// The largest tags that an entry may have leave room for those of the push.
#[test]
fn every_live_entry_can_be_pushed() {
    let pair = |value: usize| json!({"name": "a", "value": "x".repeat(value)});
    let source = Source {
        process: ROOT,
        position: Position { epoch: u64::MAX, slot: u64::MAX, tick: u32::MAX },
        index: u32::MAX,
    };
    // One tag of 3,000 bytes takes 3,004 with its lengths, and the block two more for its ends.
    let fill = ENTRY_TAG_BYTES_MAX - 3_004 - 2 - 4;
    for full in [vec![pair(1); ENTRY_TAGS_MAX], vec![pair(3_000), pair(fill)]] {
        let outcome = ok(json!({"Messages": [{"Target": to(1), "Anchor": ANCHOR, "Tags": full}]}));
        let [(_, entry)] = outcome.outbox.live().collect::<Vec<_>>()[..] else { panic!("one live entry") };
        let mut all = entry.tags.clone();
        all.extend(source.tags("Message", &to(2), Some(ROOT), ROOT));
        assert!(weft_protocol::tag::encode(&all).is_ok());
    }
    let over =
        ok(json!({"Messages": [{"Target": to(1), "Anchor": ANCHOR, "Tags": [pair(3_000), pair(fill + 1)]}]}));
    assert_eq!(over.outbox.live().count(), 0);
}

#[test]
fn assignments_name_items_and_processes() {
    let assignment = |processes: Json, message: &str| json!({"Processes": processes, "Message": message});
    let outcome = ok(json!({"Assignments": [
        assignment(json!([]), &to(1)),
        assignment(json!(["x"]), &to(1)),
        assignment(json!([to(2)]), "x"),
        assignment(json!([to(2)]), &to(1)),
    ]}));
    let live: Vec<u32> = outcome.outbox.live().map(|(index, _)| index).collect();
    assert_eq!(live, [3]);
}

#[test]
fn an_outbox_is_bounded_in_entries_and_bytes() {
    let many = ok(json!({"Messages": vec![message(&to(1)); OUTBOX_ENTRIES_MAX + 7]}));
    assert_eq!(many.outbox.entries().len(), OUTBOX_ENTRIES_MAX);
    assert_eq!(many.outbox.count() as usize, OUTBOX_ENTRIES_MAX + 7);
    assert_ne!(
        many.outbox.root(),
        ok(json!({"Messages": vec![message(&to(1)); OUTBOX_ENTRIES_MAX]})).outbox.root()
    );

    let large =
        |bytes: usize| json!({"Target": to(1), "Anchor": ANCHOR, "Tags": [], "Data": "x".repeat(bytes)});
    let outcome = ok(json!({"Messages": [large(6 << 20), large(6 << 20), large(1 << 20)]}));
    let live: Vec<u32> = outcome.outbox.live().map(|(index, _)| index).collect();
    assert_eq!(live, [0, 2]);
    let whole = large(OUTBOX_BYTES_MAX - OutboxEntry { data: "".into(), ..entry(&large(1)) }.encoded_bytes());
    assert_eq!(ok(json!({"Messages": [whole]})).outbox.live().count(), 1);
    let over = large(OUTBOX_BYTES_MAX - entry(&large(1)).encoded_bytes() + 2);
    assert_eq!(ok(json!({"Messages": [over]})).outbox.live().count(), 0);
}

fn entry(message: &Json) -> OutboxEntry {
    ok(json!({"Messages": [message]})).outbox.entries()[0].clone()
}

#[test]
fn entries_come_back_from_their_bytes() {
    let outcome = ok(json!({"Messages": [message(&to(1)), null], "Spawns": [{"Tags": []}]}));
    for entry in outcome.outbox.entries() {
        let bytes = entry.to_bytes();
        assert_eq!(bytes.len(), entry.encoded_bytes());
        assert_eq!(OutboxEntry::from_bytes(&bytes).as_ref(), Ok(entry));
        for cut in 0..bytes.len() {
            assert!(OutboxEntry::from_bytes(&bytes[..cut]).is_err());
        }
        assert!(OutboxEntry::from_bytes(&[&bytes[..], b"x"].concat()).is_err());
    }
    assert!(OutboxEntry::from_bytes(&[4]).is_err());
}

#[test]
fn cores_come_back_from_their_bytes() {
    for code in 0..=8 {
        let core = OutcomeCore {
            position: Position { epoch: 1, slot: 2, tick: 3 },
            code: Code::from_number(code).unwrap(),
            result: weft_protocol::Hash([4; 32]),
            duplicate_of: (code == 7).then_some(5),
            skipped: 6,
        };
        assert_eq!(core.code.number(), code);
        assert_eq!(OutcomeCore::from_bytes(&core.to_bytes()), Some(core));
    }
    assert_eq!(Code::from_number(9), None);
    assert_eq!(OutcomeCore::from_bytes(&[9; OutcomeCore::BYTES]), None);
}

#[test]
fn a_duplicate_names_its_first_slot() {
    let outcome = Outcome::duplicate(Position::slot(9), 5);
    assert_eq!((outcome.code, outcome.duplicate_of), (Code::Duplicate, Some(5)));
    assert!(outcome.outbox.is_empty());
    let shown = r#"{"Messages":[],"Assignments":[],"Spawns":[],"Output":"","Duplicate-Of":5}"#;
    assert_eq!(outcome.result_json(None), shown);
    assert_ne!(outcome.hash(), Outcome::duplicate(Position::slot(9), 4).hash());
}

#[test]
fn every_part_of_an_outcome_is_hashed() {
    let base = ok(json!({"Output": "o", "Messages": [message(&to(1))]}));
    let same = ok(json!({"Output": "o", "Messages": [message(&to(1))], "Other": 1}));
    assert_eq!(base.hash(), same.hash());
    let mut changed = vec![
        ok(json!({"Output": "p", "Messages": [message(&to(1))]})),
        ok(json!({"Output": "o", "Messages": [message(&to(2))]})),
        ok(json!({"Output": "o", "Messages": [message(&to(1)), null]})),
        ok(json!({"Output": "o", "Messages": [message(&to(1))], "Assignments": [1]})),
        ok(json!({"Output": "o", "Error": "e"})),
    ];
    changed.push(Outcome { skipped: 1, ..base.clone() });
    changed.push(Outcome { position: Position::slot(4), ..base.clone() });
    let mut hashes: Vec<_> = changed.iter().map(Outcome::hash).collect();
    hashes.push(base.hash());
    hashes.sort();
    hashes.dedup();
    assert_eq!(hashes.len(), changed.len() + 1);
    let start = Running::before(ROOT);
    assert_ne!(
        start.then(&base.hash()).then(&changed[0].hash()),
        start.then(&changed[0].hash()).then(&base.hash())
    );
}

proptest! {
    #[test]
    fn a_path_proves_its_entry_and_no_other(count in 1usize..40, index in 0usize..40, other in 0usize..40) {
        let (index, other) = (index % count, other % count);
        let outcome = ok(json!({"Messages": (0..count).map(|n| message(&to(n as u8))).collect::<Vec<_>>()}));
        let path = outcome.outbox.path(index as u32).unwrap();
        let root_with = |path: &weft_protocol::outcome::EntryPath, at: usize| {
            let entry = &outcome.outbox.entries()[at];
            path.root(&entry.head_bytes(), &DataDigest::of(&entry.data))
        };
        prop_assert_eq!(root_with(&path, index), Some(outcome.outbox.root()));
        if other != index {
            prop_assert_ne!(root_with(&path, other), Some(outcome.outbox.root()));
        }
        let mut longer = path.clone();
        longer.siblings.push(weft_protocol::Hash::ZERO);
        prop_assert_eq!(root_with(&longer, index), None);
        let mut shorter = path.clone();
        if shorter.siblings.pop().is_some() {
            prop_assert_eq!(root_with(&shorter, index), None);
        }
        let mut moved = path.clone();
        moved.index = count as u32;
        prop_assert_eq!(root_with(&moved, index), None);
        prop_assert!(outcome.outbox.path(count as u32).is_none());
    }

    #[test]
    fn any_bytes_give_an_outcome(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = Outcome::of_result(Position::slot(1), &bytes, None).hash();
        let _ = OutboxEntry::from_bytes(&bytes);
    }

    #[test]
    fn whatever_entries_read_back_is_written_alike(bytes in prop::collection::vec(0u8..4, 17..80)) {
        if let Ok(entry) = OutboxEntry::from_bytes(&bytes) {
            prop_assert_eq!(entry.to_bytes(), bytes);
        }
    }
}
