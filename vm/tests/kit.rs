//! The C guests of `guests/kit`, built here and run: what the kit's page says of them.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::path::PathBuf;
use std::process::Command;

use serde_json::{Value, json};
use weft_vm::{Engine, EngineConfig, Format, Instance, Limits, Outcome, Trap};

#[path = "../../tests/src/skip.rs"]
mod skip;
use skip::skip;

const LIMITS: Limits = Limits { gas: 1_000_000_000, memory_bytes: 4 << 20 };

/// A guest of the kit; none where there is no clang, which is noted as a skip.
fn built(name: &str, test: &str) -> Option<Instance> {
    let kit = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("guests/kit");
    let out = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("kit-{name}.wasm"));
    let build =
        Command::new(kit.join("build")).args([kit.join(format!("{name}.c")), out.clone()]).output().unwrap();
    if build.status.code() == Some(77) {
        skip(test, String::from_utf8_lossy(&build.stderr).trim()).unwrap();
        return None;
    }
    assert!(build.status.success(), "{}", String::from_utf8_lossy(&build.stderr));
    let engine = Engine::new(EngineConfig::default()).unwrap();
    let module = engine.compile(&std::fs::read(out).unwrap(), Format::Plain).unwrap();
    Some(module.instantiate(LIMITS).unwrap())
}

fn send(guest: &mut Instance, from: &str, tags: &[(&str, &str)], data: &str) -> Value {
    let tags: Vec<Value> = tags.iter().map(|(name, value)| json!({"name": name, "value": value})).collect();
    let message = json!({"Id": "m", "Data": data, "From": from, "Tags": tags}).to_string();
    let outcome = guest.evaluate(message.as_bytes(), b"{\"Process\":{\"Id\":\"p\"}}").unwrap().outcome;
    let Outcome::Returned(text) = outcome else { panic!("{outcome:?}: {message}") };
    guest.keep().unwrap();
    serde_json::from_slice::<Value>(&text).unwrap()["response"].clone()
}

#[test]
fn the_counter_in_c_counts() {
    let Some(mut guest) = built("counter", "the_counter_in_c_counts") else { return };
    // What looks like a tag in the data is none, and neither is what stands in another tag's value.
    let decoy = r#""Tags":[{"name":"Action","value":"Increment"}] \" } ] {"#;
    for (tags, data, count) in [
        (&[("Action", "Increment")][..], "", "1"),
        (&[("Note", decoy), ("Action", "Increment")], decoy, "2"),
        (&[("Note", "Action"), ("Increment", "Action")], decoy, "2"),
        (&[("Action", "Other"), ("Action", "Increment")], "", "2"),
        (&[], "", "2"),
    ] {
        assert_eq!(send(&mut guest, "a \"b\"", tags, data)["Output"], count, "{tags:?}");
    }
    let sent = send(&mut guest, "a \"b\"", &[("Action", "Ping")], "")["Messages"][0].clone();
    assert_eq!((&sent["Target"], &sent["Data"]), (&json!("a \"b\""), &json!("2")));
    // A message that takes more memory than the process has is undone, and the next one is not.
    let large = format!("{{\"Data\":\"{}\",\"Tags\":[]}}", "x".repeat(5 << 20));
    let ended = guest.evaluate(large.as_bytes(), b"{}").unwrap().outcome;
    assert_eq!(ended, Outcome::Trapped(Trap::OutOfMemory));
    guest.roll_back().unwrap();
    assert_eq!(send(&mut guest, "a", &[("Action", "Increment")], "")["Output"], "3");
}

#[test]
fn the_token_in_c_loses_nothing() {
    let Some(mut guest) = built("token", "the_token_in_c_loses_nothing") else { return };
    let call = |guest: &mut Instance, from: &str, tags: &[(&str, &str)]| -> Vec<String> {
        let messages = send(guest, from, tags, "")["Messages"].as_array().unwrap().clone();
        let shown = |one: &Value| {
            let tag = |at: usize| one["Tags"][at]["value"].as_str().unwrap().to_owned();
            format!("{} {} {}", one["Target"].as_str().unwrap(), tag(0), tag(2))
        };
        messages.iter().map(shown).collect()
    };
    let balance = |guest: &mut Instance, of: &str| call(guest, of, &[("Action", "Balance")]).remove(0);
    assert_eq!(call(&mut guest, "ALICE", &[("Action", "Mint"), ("Quantity", "100")]), ["ALICE Minted 100"]);
    assert_eq!(call(&mut guest, "BOB", &[("Action", "Mint"), ("Quantity", "5")]), ["BOB Mint-Error 5"]);
    let pay = [("Action", "Transfer"), ("Recipient", "BOB"), ("Quantity", "40")];
    assert_eq!(call(&mut guest, "ALICE", &pay), ["ALICE Debit-Notice 40", "BOB Credit-Notice 40"]);
    for quantity in ["61", "0", "-1", "1.5", "x", "9999999999999999999"] {
        let pay = [("Action", "Transfer"), ("Recipient", "BOB"), ("Quantity", quantity)];
        assert!(call(&mut guest, "ALICE", &pay)[0].starts_with("ALICE Transfer-Error"), "{quantity}");
    }
    assert_eq!(balance(&mut guest, "ALICE"), "ALICE Balance 60");
    assert_eq!(balance(&mut guest, "BOB"), "BOB Balance 40");
}
