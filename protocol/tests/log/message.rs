use serde_json::Value as Json;
use weft_protocol::assignment::Excluded;
use weft_protocol::cron::Tick;
use weft_protocol::message::{DryRun, dry_run_json, env_json, message_json, process_json, tick_json};
use weft_protocol::process::Process;
use weft_protocol::push::OWN_TAGS;
use weft_protocol::sender::{Origin, ProvenSource};
use weft_protocol::time::TimePoint;
use weft_protocol::{Draft, Hash, Id};

use crate::fixture::*;

fn source(root: Option<Id>) -> Origin {
    Origin::Proven(ProvenSource { process: Id([9; 32]), push: Hash([8; 32]), root })
}

fn read(json: &str) -> Json {
    let value: Json = serde_json::from_str(json).unwrap();
    assert_eq!(value.to_string(), json, "compact, in order, escaped as JSON.stringify does");
    value
}

fn keys(json: &Json) -> Vec<&str> {
    json.as_object().unwrap().keys().map(String::as_str).collect()
}

fn tag_names(json: &Json) -> Vec<&str> {
    json["Tags"].as_array().unwrap().iter().map(|tag| tag["name"].as_str().unwrap()).collect()
}

/// Checks 43, 45 and 46 of the reference.
#[test]
fn a_message_has_the_reference_s_keys_in_order() {
    let process = process(&[]);
    let tags = tags(&[("From", "X"), ("Action", "a\"\u{1}\u{2028}b"), ("Owner", "Y"), ("From-Process", "P")]);
    let message = item(3, Some(process.id()), tags, b"caf\xc3\xa9 \xff");
    let assignment = assigned(process.id(), 1, Some(message.id()), &[]);
    let json = read(&message_json(&assignment, &message, &source(None)));
    assert_eq!(
        keys(&json),
        [
            "Id",
            "Signature",
            "Data",
            "Owner",
            "Target",
            "Anchor",
            "From",
            "Forwarded-By",
            "Tags",
            "Epoch",
            "Nonce",
            "Timestamp",
            "Block-Height",
            "Hash-Chain",
            "Cron",
            "Read-Only"
        ]
    );
    assert_eq!(json["Id"], message.id().to_string());
    assert_eq!(json["Data"], "caf\u{e9} \u{fffd}");
    assert_eq!(json["Target"], process.id().to_string());
    assert_eq!(json["Anchor"], "00000000000000000000000000000001");
    assert_eq!((json["Epoch"].as_u64(), json["Nonce"].as_u64()), (Some(0), Some(1)));
    assert_eq!(json["Block-Height"].as_u64(), Some(14_166_666));
    assert_eq!((json["Cron"].as_bool(), json["Read-Only"].as_bool()), (Some(false), Some(false)));
    assert_eq!(tag_names(&json), ["Action", "From-Process"]);
}

#[test]
fn each_origin_has_its_owner_and_from() {
    let process = process(&[("Authority", &key(4).address().to_string())]);
    let pushed = tags(&[("From-Process", "SOURCE"), ("From-Module", "M"), ("X", "y")]);
    let signed_by = |seed: u8| item(seed, Some(process.id()), pushed.clone(), b"");
    let shown = |seed: u8, origin: &Origin| {
        let message = signed_by(seed);
        read(&message_json(&assigned(process.id(), 1, Some(message.id()), &[]), &message, origin))
    };
    let (stranger, authority) = (key(3).address().to_string(), key(4).address().to_string());

    let direct = Origin::of(&process, &signed_by(3), None);
    assert_eq!(direct, Origin::Direct);
    let json = shown(3, &direct);
    assert_eq!(
        (&json["Owner"], &json["From"]),
        (&Json::from(stranger.clone()), &Json::from(stranger.clone()))
    );
    assert!(json.get("Forwarded-By").is_none());
    assert_eq!(tag_names(&json), ["X"]);

    let legacy = Origin::of(&process, &signed_by(4), None);
    assert_eq!(legacy, Origin::Legacy { from: "SOURCE".into(), root: None });
    let json = shown(4, &legacy);
    assert_eq!(
        [&json["Owner"], &json["From"], &json["Forwarded-By"]],
        [&Json::from(authority.clone()), &Json::from("SOURCE"), &Json::from(authority)]
    );
    assert_eq!(tag_names(&json), ["From-Process", "From-Module", "X"]);

    // A proof comes before the authority's word, and before no authority at all.
    let Origin::Proven(proven) = source(None) else { unreachable!() };
    for seed in [3, 4] {
        let origin = Origin::of(&process, &signed_by(seed), Some(proven));
        let json = shown(seed, &origin);
        let source = Json::from(Id([9; 32]).to_string());
        assert_eq!([&json["Owner"], &json["From"]], [&source, &source]);
        assert_eq!(json["Forwarded-By"], key(seed).address().to_string());
        assert_eq!(tag_names(&json), ["From-Process", "From-Module", "X"]);
    }
}

#[test]
fn an_authority_s_word_does_not_count_for_process_items() {
    let process = process(&[("Authority", &key(4).address().to_string())]);
    let pushed = [("From-Process", "SOURCE"), ("Type", "Process")];
    assert_eq!(Origin::of(&process, &item(4, None, tags(&pushed), b""), None), Origin::Direct);
}

#[test]
fn the_root_of_a_chain_is_handed_on() {
    let process = process(&[("Authority", &key(4).address().to_string())]);
    let root = Id([7; 32]);
    let pushed = |root: &str| tags(&[("From-Process", "S"), ("Pushed-For", root)]);
    let of = |tags| {
        let message = item(4, Some(process.id()), tags, b"");
        (Origin::of(&process, &message, None).root_of_entries(message.id()), message.id())
    };
    assert_eq!(of(pushed(&root.to_string())).0, root);
    let (own, id) = of(pushed("no id"));
    assert_eq!(own, id);
    assert_eq!(source(Some(root)).root_of_entries(id), root);
    assert_eq!(source(None).root_of_entries(id), id);
    // A stranger's tag names no root.
    let message = item(3, Some(process.id()), pushed(&root.to_string()), b"");
    assert_eq!(Origin::of(&process, &message, None).root_of_entries(message.id()), message.id());
}

/// The carrier of a proven push chooses its key and nothing else that the module sees.
#[test]
fn another_carrier_changes_only_id_signature_and_forwarded_by() {
    let process = process(&[]);
    let shown = |seed: u8, proof: &str| {
        let own = [("From-Epoch", "0"), ("From-Slot", "4"), ("From-Tick", "0"), ("From-Index", "1")];
        let mut tags = tags(&[("Action", "Ping"), ("From-Process", "S"), ("Pushed-For", "R")]);
        tags.extend(crate::fixture::tags(&own));
        tags.extend(crate::fixture::tags(&[("Origin-Proof", proof)]));
        let message = item(seed, Some(process.id()), tags, b"data");
        let mut json =
            read(&message_json(&assigned(process.id(), 1, Some(message.id()), &[]), &message, &source(None)));
        for key in ["Id", "Signature", "Forwarded-By"] {
            assert!(json.as_object_mut().unwrap().shift_remove(key).is_some());
        }
        json
    };
    assert_eq!(shown(3, "proof").to_string(), shown(5, "other proof").to_string());
    let json = shown(3, "proof");
    assert!(tag_names(&json).iter().all(|name| !OWN_TAGS.contains(name)));
    assert_eq!(tag_names(&json), ["Action", "From-Process", "Pushed-For"]);
}

#[test]
fn no_spelling_of_an_unproven_origin_reaches_the_module() {
    let spellings = [
        "From-Process",
        "from-process",
        "FROM_PROCESS",
        "From_Module",
        " from-module",
        "Forwarded-By\t",
        "forwarded_BY ",
    ];
    let pairs: Vec<(&str, &str)> = spellings.iter().map(|name| (*name, "victim")).collect();
    let process = process(&pairs);
    let mut all = tags(&pairs);
    all.extend(tags(&[("From-Processor", "kept"), ("X-From-Process", "kept")]));
    let message = item(3, Some(process.id()), all, b"");
    let origin = Origin::of(&process, &message, None);
    let json = read(&message_json(&assigned(process.id(), 1, Some(message.id()), &[]), &message, &origin));
    assert_eq!(tag_names(&json), ["From-Processor", "X-From-Process"]);
    assert_eq!(json["From"], key(3).address().to_string());
    // Nor in the Process item, at slot 0 or beside every message.
    let boot = read(&process_json(&process, &assigned(process.id(), 0, None, &[])));
    let env = read(&env_json(&process, &module()));
    for json in [&boot, &env["Process"]] {
        assert!(!json.to_string().contains("victim"));
    }
}

#[test]
fn an_assigned_item_shows_whom_it_was_written_to() {
    let process = process(&[]);
    let shown = |target: Option<Id>| {
        let message = item(3, target, vec![], b"");
        read(&message_json(&assigned(process.id(), 1, Some(message.id()), &[]), &message, &Origin::Direct))
    };
    assert_eq!(shown(Some(Id([5; 32])))["Target"], Id([5; 32]).to_string());
    assert_eq!(shown(None)["Target"], "");
}

/// Check 74: one excluded field is one field, and excluded tags are an empty list.
#[test]
fn excluded_fields_are_left_out() {
    let process = process(&[]);
    let message = item(3, Some(process.id()), tags(&[("a", "b")]), b"data");
    let shown = |fields: &[Excluded]| {
        read(&message_json(&assigned(process.id(), 1, Some(message.id()), fields), &message, &Origin::Direct))
    };
    assert!(shown(&[Excluded::Data]).get("Data").is_none());
    assert!(shown(&[Excluded::Signature]).get("Signature").is_none());
    assert!(shown(&[Excluded::Anchor]).get("Anchor").is_none());
    assert_eq!(shown(&[Excluded::Tags])["Tags"], Json::Array(vec![]));
    assert_eq!(keys(&shown(&[Excluded::Data, Excluded::Anchor])).len(), 13);
}

#[test]
fn an_anchor_that_is_no_text_is_null() {
    let process = process(&[]);
    for anchor in [None, Some([0xff; 32])] {
        let draft = Draft { target: Some(process.id()), anchor, ..Draft::default() };
        let message = draft.sign(&key(3)).unwrap();
        let json = read(&message_json(
            &assigned(process.id(), 1, Some(message.id()), &[]),
            &message,
            &Origin::Direct,
        ));
        assert_eq!(json["Anchor"], Json::Null);
    }
}

#[test]
fn the_process_itself_is_the_message_of_slot_0() {
    let process = process(&[("Name", "n")]);
    let json = read(&process_json(&process, &assigned(process.id(), 0, None, &[])));
    let id = process.id().to_string();
    assert_eq!([&json["Id"], &json["Target"]], [&Json::from(id.clone()), &Json::from(id)]);
    assert_eq!(json["Owner"], json["From"]);
    assert_eq!(json["Owner"], key(1).address().to_string());
    assert_eq!((json["Data"].as_str(), json["Nonce"].as_u64()), (Some(" "), Some(0)));

    // A proven child is its parent's, and data that is no text is null.
    let child = Process::accept(process_item(&[("From-Process", "p")], b"\xff"), Some(Id([9; 32])), &terms())
        .unwrap();
    let json = read(&process_json(&child, &assigned(child.id(), 0, None, &[])));
    assert_eq!((json["From"].as_str(), &json["Data"]), (Some(&*Id([9; 32]).to_string()), &Json::Null));
    assert_eq!(json["Forwarded-By"], key(1).address().to_string());
    assert!(tag_names(&json).contains(&"From-Process"));
}

/// Check 64.
#[test]
fn a_tick_has_no_id_and_is_from_the_owner() {
    let process =
        process(&[("Cron-Interval", "1-second"), ("Cron-Tag-Action", "Tick"), ("Cron-Tag-From", "x")]);
    let tick = Tick { cron: 0, time: TimePoint { timestamp: 5_000, height: 7 } };
    let (owner, id) = (key(1).address(), process.id());
    assert_eq!(
        tick_json(&process, &tick),
        format!(
            "{{\"Owner\":\"{owner}\",\"Target\":\"{id}\",\"From\":\"{owner}\",\"Tags\":[{{\"name\":\"Action\",\"value\":\"Tick\"}}],\
             \"Timestamp\":5000,\"Block-Height\":7,\"Cron\":true,\"Read-Only\":false}}"
        )
    );
}

/// Check 71: dry runs keep the reference's rule.
#[test]
fn a_dry_run_is_who_it_says() {
    let process = process(&[]);
    let run = DryRun {
        owner: "anybody".into(),
        tags: tags(&[("From-Process", "P"), ("From", "z")]),
        ..DryRun::default()
    };
    let json = read(&dry_run_json(&process, &run, TimePoint { timestamp: 9, height: 1 }));
    assert_eq!(
        keys(&json),
        ["Owner", "Target", "From", "Forwarded-By", "Tags", "Timestamp", "Block-Height", "Cron", "Read-Only"]
    );
    assert_eq!((json["From"].as_str(), json["Forwarded-By"].as_str()), (Some("P"), Some("anybody")));
    assert_eq!((json["Timestamp"].as_u64(), json["Read-Only"].as_bool()), (Some(9), Some(true)));
    assert_eq!(tag_names(&json), ["From-Process"]);
}

#[test]
fn the_env_names_process_and_module() {
    let process = process(&[]);
    let json = read(&env_json(&process, &module()));
    assert_eq!(keys(&json), ["Process", "Module"]);
    assert_eq!(keys(&json["Process"]), ["Id", "Owner", "Tags"]);
    assert_eq!(json["Module"]["Id"], module().id().to_string());
    assert_eq!(tag_names(&json["Process"]), ["Data-Protocol", "Type", "Variant", "Module", "Scheduler"]);
}
