//! `weft item`.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::{weft, weft_with};

/// A folder with a key and an item in `item.bin`.
fn signed() -> (tempfile::TempDir, PathBuf, Value) {
    let folder = tempfile::tempdir().unwrap();
    weft(folder.path(), &["key", "new"]).expect(0);
    let path = folder.path().join("item.bin");
    let target = "6oYAxVAnH8yKsZKpMgHSbRv7uVWey68PAqYuSXeZBbg";
    let report = weft(
        folder.path(),
        &[
            "item",
            "sign",
            "--target",
            target,
            "--anchor",
            "0123456789abcdef0123456789abcdef",
            "--tag",
            "A=1",
            "--tag",
            "B=x=y",
            "--data",
            "hello",
            "--output",
            path.to_str().unwrap(),
            "--json",
        ],
    );
    let report = report.expect(0).json();
    (folder, path, report)
}

fn verify(folder: &Path, path: &Path, code: i32) -> Value {
    weft(folder, &["item", "verify", path.to_str().unwrap(), "--json"]).expect(code).json()
}

#[test]
fn a_signed_item_verifies_raw_and_in_base64() {
    let (folder, path, report) = signed();
    let shown = verify(folder.path(), &path, 0);
    assert_eq!(shown, report);
    let key = weft(folder.path(), &["key", "--json"]).expect(0).json();
    assert_eq!(shown["owner"], key["address"]);
    assert_eq!(shown["signature_type"], 2);
    assert_eq!(shown["target"], "6oYAxVAnH8yKsZKpMgHSbRv7uVWey68PAqYuSXeZBbg");
    assert_eq!(shown["anchor"], "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY");
    assert_eq!(shown["tags"], json!([{"name": "A", "value": "1"}, {"name": "B", "value": "x=y"}]));
    assert_eq!(
        (&shown["data_bytes"], &shown["valid"], &shown["reason"]),
        (&json!(5), &json!(true), &Value::Null)
    );

    use base64::Engine as _;
    let raw = std::fs::read(&path).unwrap();
    let encoded = base64::engine::general_purpose::STANDARD.encode(&raw);
    let ran = weft_with(folder.path(), &["item", "verify", "-", "--json"], &[], encoded.as_bytes()).expect(0);
    assert_eq!(ran.json(), report);
    assert_eq!(
        weft(folder.path(), &["item", "verify", path.to_str().unwrap()]).expect(0).text().lines().count(),
        9
    );
}

#[test]
fn standard_output_takes_the_raw_item() {
    let (folder, path, _) = signed();
    let key = folder.path().join("key.json");
    let args = [
        "item",
        "sign",
        "--key",
        key.to_str().unwrap(),
        "--target",
        "6oYAxVAnH8yKsZKpMgHSbRv7uVWey68PAqYuSXeZBbg",
        "--anchor",
        "0123456789abcdef0123456789abcdef",
        "--tag",
        "A=1",
        "--tag",
        "B=x=y",
        "--data",
        "@-",
    ];
    let other = tempfile::tempdir().unwrap();
    let ran = weft_with(other.path(), &args, &[], b"hello").expect(0);
    assert_eq!(ran.out, std::fs::read(path).unwrap());
}

#[test]
fn a_tampered_or_truncated_item_is_invalid_with_the_reason() {
    let (folder, path, report) = signed();
    let raw = std::fs::read(&path).unwrap();
    let with = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut bytes = raw.clone();
        change(&mut bytes);
        std::fs::write(&path, bytes).unwrap();
        verify(folder.path(), &path, 1)
    };
    let tampered = with(&|bytes| *bytes.last_mut().unwrap() ^= 1);
    assert_eq!((&tampered["id"], &tampered["valid"]), (&report["id"], &json!(false)));
    assert_eq!(tampered["reason"], "signature: does not match the owner and the bytes");
    let cut = with(&|bytes| bytes.truncate(70));
    assert_eq!((&cut["id"], &cut["reason"]), (&Value::Null, &json!("the item ends inside its owner")));
    let presence = with(&|bytes| bytes[2 + 64 + 32] = 2);
    assert_eq!(presence["reason"], "the presence byte of the target is 2, not 0 or 1");
    let kind = with(&|bytes| bytes[0] = 101);
    assert_eq!(kind["reason"], "signature type 101 is not supported (1 to 7 are)");
    assert_eq!(kind["signature_type"], 101);
}

#[test]
fn what_is_no_item_at_all_is_unreadable() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x");
    for content in [&b""[..], b"hello", b"<html>", &[0, 0, 7]] {
        std::fs::write(&path, content).unwrap();
        let ran = weft(folder.path(), &["item", "verify", path.to_str().unwrap(), "--json"]).expect(2);
        assert!(ran.error().1.contains("cannot be read as a data item"), "{}", ran.err);
    }
    let ran = weft(folder.path(), &["item", "verify", "/no/such/file"]).expect(2);
    assert!(ran.err.contains("cannot read /no/such/file"), "{}", ran.err);
    let ran = weft(folder.path(), &["item", "verify", folder.path().to_str().unwrap()]).expect(2);
    assert!(ran.err.contains("cannot read"), "{}", ran.err);
}

#[test]
fn tags_that_no_item_may_have_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    weft(folder.path(), &["key", "new"]).expect(0);
    let tag = format!("A={}", "x".repeat(3073));
    let ran = weft(folder.path(), &["item", "sign", "--tag", &tag]).expect(2);
    assert!(ran.err.contains("a tag value of 3073 bytes"), "{}", ran.err);
}
