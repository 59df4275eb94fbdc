//! `weft item`, `bundle` and `tx verify` against what other implementations made.

use std::path::{Path, PathBuf};

use serde_json::Value;

use super::{Ran, weft, weft_with};

fn vectors(name: &str) -> Vec<Value> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/vectors").join(name);
    let text = std::fs::read_to_string(path).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Verifies `text` twice, from a file and from standard input.
fn verify(kind: &str, text: &str, code: i32) -> Value {
    let folder = tempfile::tempdir().unwrap();
    let path: PathBuf = folder.path().join("x");
    std::fs::write(&path, text).unwrap();
    let file = weft(folder.path(), &[kind, "verify", path.to_str().unwrap(), "--json"]).expect(code);
    let piped = weft_with(folder.path(), &[kind, "verify", "-", "--json"], &[], text.as_bytes()).expect(code);
    assert_eq!(file.json(), piped.json());
    file.json()
}

#[test]
fn items() {
    let mut seen = 0;
    // Those whose data is generated beside `raw` are the conformance suite's.
    for vector in vectors("ans104.jsonl").iter().filter(|vector| vector.get("data_gen").is_none()) {
        let valid = vector["strict_valid"].as_bool().unwrap();
        let report = verify("item", vector["raw"].as_str().unwrap(), i32::from(!valid));
        assert_eq!(report["valid"], valid, "{}", vector["name"]);
        assert_eq!(report["reason"].is_null(), valid, "{}", vector["name"]);
        if valid {
            assert_eq!(report["id"], vector["id"], "{}", vector["name"]);
            assert_eq!(report["owner"], vector["owner_address"], "{}", vector["name"]);
            assert_eq!(report["signature_type"], vector["sig_type"], "{}", vector["name"]);
            assert_eq!(report["tags"], vector["tags"], "{}", vector["name"]);
        }
        seen += 1;
    }
    assert!(seen > 20, "{seen}");
}

#[test]
fn bundles() {
    for vector in vectors("bundles.jsonl") {
        let name = vector["name"].as_str().unwrap();
        let valid = vector["strict_valid"].as_bool().unwrap();
        let report = verify("bundle", vector["raw"].as_str().unwrap(), i32::from(!valid));
        assert_eq!(report["valid"], valid, "{name}");
        if valid {
            assert_eq!(report["count"], vector["count"], "{name}");
            let ids: Vec<&Value> =
                report["items"].as_array().unwrap().iter().map(|item| &item["id"]).collect();
            assert_eq!(ids, vector["ids"].as_array().unwrap().iter().collect::<Vec<_>>(), "{name}");
        }
        if name == "bad_item_inside" {
            let verdicts: Vec<bool> = report["items"]
                .as_array()
                .unwrap()
                .iter()
                .map(|item| item["valid"].as_bool().unwrap())
                .collect();
            assert_eq!(verdicts.iter().filter(|valid| !**valid).count(), 1, "{report}");
            assert!(verdicts.len() > 1);
        }
    }
}

#[test]
fn transactions() {
    for vector in vectors("l1tx.jsonl") {
        let name = vector["name"].as_str().unwrap();
        let valid = vector["verify"].as_bool().unwrap();
        let report = verify("tx", &vector["tx"].to_string(), i32::from(!valid));
        assert_eq!(report["valid"], valid, "{name}: {report}");
        if valid {
            assert_eq!(report["id"], vector["id"], "{name}");
            assert_eq!(report["owner"], vector["owner_address"], "{name}");
            assert_eq!(report["data_root"], vector["data_root"], "{name}");
        } else {
            assert!(report["reason"].is_string(), "{name}");
        }
    }
}

#[test]
fn a_wallet_signs_items_and_becomes_a_nodes_key() {
    let folder = tempfile::tempdir().unwrap();
    let wallet = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/vectors/wallet.json");
    let ran = weft(folder.path(), &["key", "import-jwk", wallet.to_str().unwrap(), "--json"]).expect(0);
    let key = ran.json();
    assert_eq!(key["kind"], "rsa4096");
    assert_eq!(weft(folder.path(), &["key", "--json"]).expect(0).json(), key);
    let item = folder.path().join("item");
    let report =
        weft(folder.path(), &["item", "sign", "--data", "x", "--output", item.to_str().unwrap(), "--json"]);
    let report = report.expect(0).json();
    assert_eq!((&report["owner"], &report["signature_type"]), (&key["address"], &1.into()));
}

#[test]
fn what_is_neither_is_unreadable() {
    let folder = tempfile::tempdir().unwrap();
    let verify = |kind: &str, content: &str| -> Ran {
        weft_with(folder.path(), &[kind, "verify", "-", "--json"], &[], content.as_bytes()).expect(2)
    };
    for content in ["", "hello", "{\"a\":1}", &"no bundle is text like this ".repeat(9)] {
        assert!(verify("bundle", content).error().1.contains("cannot be read as a bundle"));
    }
    for content in ["", "hello", "[]", "{\"format\":2"] {
        assert!(verify("tx", content).error().1.contains("cannot be read as a transaction"), "{content}");
    }
    weft(folder.path(), &["key", "new"]).expect(0);
    let plain = weft(folder.path(), &["item", "sign", "--data", "x"]).expect(0).out;
    let ran = weft_with(folder.path(), &["bundle", "verify", "-", "--json"], &[], &plain).expect(2);
    assert!(ran.error().1.contains("carries no bundle"), "{}", ran.err);
}
