//! The guests of `guests/kit`, built here and run: what the kit's page says of them.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::path::PathBuf;
use std::process::Command;
use std::sync::{Mutex, PoisonError};

use serde_json::{Value, json};
use weft_vm::{Engine, EngineConfig, Format, Instance, Limits, Outcome, Trap};

#[path = "../../tests/src/skip.rs"]
mod skip;
use skip::skip;

const LIMITS: Limits = Limits { gas: 1_000_000_000, memory_bytes: 4 << 20 };

/// The languages that the kit has each guest in.
const LANGUAGES: [&str; 3] = ["c", "ts", "rs"];

/// A guest of the kit in every language that there is a compiler of; the others are noted as skips.
fn built(name: &str, test: &str) -> Vec<Instance> {
    let engine = Engine::new(EngineConfig::default()).unwrap();
    let built = |language| build(name, language, test);
    let module = |wasm: PathBuf| engine.compile(&std::fs::read(wasm).unwrap(), Format::Plain).unwrap();
    let files: Vec<PathBuf> = LANGUAGES.into_iter().filter_map(built).collect();
    files.into_iter().map(|wasm| module(wasm).instantiate(LIMITS).unwrap()).collect()
}

fn build(name: &str, language: &str, test: &str) -> Option<PathBuf> {
    // What a compiler has to fetch is fetched by one test.
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let _one = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let kit = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("guests/kit");
    let out = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("kit-{test}-{language}.wasm"));
    let source = kit.join(format!("{name}.{language}"));
    let build = Command::new(kit.join("build")).arg(source).arg(&out).output().unwrap();
    let said = String::from_utf8_lossy(&build.stderr);
    if build.status.code() == Some(77) {
        skip(test, said.trim().lines().last().unwrap_or_default()).unwrap();
        return None;
    }
    assert!(build.status.success(), "{said}");
    Some(out)
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
fn the_counter_counts() {
    for mut guest in built("counter", "the_counter_counts") {
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
}

/// Sends to a token: whom it tells what, and how much.
fn call(guest: &mut Instance, from: &str, tags: &[(&str, &str)]) -> Vec<String> {
    let messages = send(guest, from, tags, "")["Messages"].as_array().unwrap().clone();
    let shown = |one: &Value| {
        let tag = |at: usize| one["Tags"][at]["value"].as_str().unwrap().to_owned();
        format!("{} {} {}", one["Target"].as_str().unwrap(), tag(0), tag(2))
    };
    messages.iter().map(shown).collect()
}

fn balance(guest: &mut Instance, of: &str) -> String {
    call(guest, of, &[("Action", "Balance")]).remove(0)
}

fn mint(guest: &mut Instance, from: &str, quantity: &str) -> String {
    call(guest, from, &[("Action", "Mint"), ("Quantity", quantity)]).remove(0)
}

/// What the payer is told.
fn pay(guest: &mut Instance, from: &str, to: &str, quantity: &str) -> String {
    call(guest, from, &[("Action", "Transfer"), ("Recipient", to), ("Quantity", quantity)]).remove(0)
}

#[test]
fn the_token_loses_nothing() {
    for mut guest in built("token", "the_token_loses_nothing") {
        // Who mints nothing owns nothing.
        assert_eq!(mint(&mut guest, "BOB", "0"), "BOB Mint-Error 0");
        assert_eq!(
            call(&mut guest, "ALICE", &[("Action", "Mint"), ("Quantity", "100")]),
            ["ALICE Minted 100"]
        );
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
}

/// Only who is paid gets an account, and an empty one makes way for the next.
#[test]
fn strangers_take_up_no_room_in_the_token() {
    for mut guest in built("token", "strangers_take_up_no_room_in_the_token") {
        mint(&mut guest, "ALICE", "2000");
        for stranger in 0..1_100 {
            let (from, to) = (format!("STRANGER{stranger}"), format!("NOBODY{stranger}"));
            assert_eq!(pay(&mut guest, &from, &to, "1"), format!("{from} Transfer-Error 1"));
            assert_eq!(balance(&mut guest, &from), format!("{from} Balance 0"));
            assert_eq!(mint(&mut guest, &from, "1"), format!("{from} Mint-Error 1"));
        }
        for holder in 1..1_024 {
            assert_eq!(pay(&mut guest, "ALICE", &format!("HOLDER{holder}"), "1"), "ALICE Debit-Notice 1");
        }
        assert_eq!(pay(&mut guest, "ALICE", "ONEMORE", "1"), "ALICE Transfer-Error 1");
        assert_eq!(balance(&mut guest, "ALICE"), "ALICE Balance 977");
        // The last of it leaves its place to the receiver.
        assert_eq!(pay(&mut guest, "HOLDER7", "ONEMORE", "1"), "HOLDER7 Debit-Notice 1");
        assert_eq!(balance(&mut guest, "ONEMORE"), "ONEMORE Balance 1");
        assert_eq!(balance(&mut guest, "HOLDER7"), "HOLDER7 Balance 0");
        assert_eq!(pay(&mut guest, "ALICE", &"X".repeat(65), "1"), "ALICE Transfer-Error 1");
        assert_eq!(pay(&mut guest, "ALICE", "", "1"), "ALICE Transfer-Error 1");
    }
}

#[test]
fn no_balance_of_the_token_overflows() {
    const MOST: &str = "999999999999999999";
    for mut guest in built("token", "no_balance_of_the_token_overflows") {
        for _ in 0..18 {
            assert_eq!(mint(&mut guest, "ALICE", MOST), format!("ALICE Minted {MOST}"));
            assert_eq!(pay(&mut guest, "ALICE", "BOB", MOST), format!("ALICE Debit-Notice {MOST}"));
        }
        assert_eq!(mint(&mut guest, "ALICE", MOST), format!("ALICE Mint-Error {MOST}"));
        assert_eq!(balance(&mut guest, "BOB"), "BOB Balance 17999999999999999982");
        assert_eq!(pay(&mut guest, "BOB", "BOB", "5"), "BOB Debit-Notice 5");
        assert_eq!(balance(&mut guest, "BOB"), "BOB Balance 17999999999999999982");
    }
}
