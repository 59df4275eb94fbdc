//! `weft checkpoint`: what a Compute Unit posts of a memory, against a replay on a real node.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use weft_protocol::{DataItem, Id};

use super::node::Node;
use super::weft;

fn zip(memory: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(memory).unwrap();
    encoder.finish().unwrap()
}

fn sha256(memory: &[u8]) -> String {
    Sha256::digest(memory).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A checkpoint as a Compute Unit would make it, and what a test makes of it.
#[derive(Clone)]
struct Made {
    tags: Vec<(&'static str, String)>,
    data: Vec<u8>,
}

impl Made {
    fn of(memory: &[u8], tags: &[(&'static str, String)]) -> Self {
        let own = [("Data-Protocol", "ao"), ("Variant", "ao.TN.1"), ("Type", "Checkpoint")];
        let own = own.into_iter().chain([("Content-Encoding", "gzip")]);
        let mut all: Vec<(&str, String)> = own.map(|(name, value)| (name, value.to_owned())).collect();
        all.extend_from_slice(tags);
        all.push(("SHA-256", sha256(memory)));
        Self { tags: all, data: zip(memory) }
    }

    /// With this value of a tag.
    fn with(&self, name: &'static str, value: &str) -> Self {
        let mut made = self.clone();
        made.tags.retain(|(other, _)| *other != name);
        made.tags.push((name, value.to_owned()));
        made
    }

    /// Signs it into a file.
    fn signed(&self, folder: &Path) -> PathBuf {
        let (data, path) = (folder.join("data.gz"), folder.join("checkpoint.bin"));
        std::fs::write(&data, &self.data).unwrap();
        let tags: Vec<String> = self.tags.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let data = format!("@{}", data.display());
        let mut args = vec!["item", "sign", "--data", &data, "--output", path.to_str().unwrap()];
        tags.iter().for_each(|tag| args.extend(["--tag", tag]));
        weft(folder, &args).expect(0);
        path
    }

    fn read(&self, folder: &Path, args: &[&str], code: i32) -> Value {
        let path = self.signed(folder);
        let args = [&["checkpoint", path.to_str().unwrap(), "--json"], args].concat();
        let ran = weft(folder, &args).expect(code);
        if ran.out.is_empty() { json!({ "error": ran.error().1 }) } else { ran.json() }
    }

    #[track_caller]
    fn fails(&self, folder: &Path, args: &[&str], code: i32, part: &str) {
        let text = self.read(folder, args, code)["error"].as_str().unwrap_or_default().to_owned();
        assert!(text.contains(part), "{text}");
    }
}

/// The checkpoint that an honest unit would post of a process after a slot.
fn honest(node: &Node, process: &str, slot: u64) -> (Made, Vec<u8>) {
    let (number, file) = (slot.to_string(), node.folder.path().join("memory"));
    let told = node.json(&["state", process, "--slot", &number, "--out", file.to_str().unwrap()]);
    let memory = std::fs::read(&file).unwrap();
    let slots = &node.json(&["inspect", process, "--slots", &number])["slots"][0];
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let tags = [
        ("Process", process.to_owned()),
        ("Module", text(&told["module"])),
        ("Nonce", number),
        ("Timestamp", text(&told["timestamp"])),
        ("Block-Height", text(&told["block_height"])),
        ("Assignment", text(&slots["assignment"])),
        ("Hash-Chain", text(&slots["hash_chain"])),
    ];
    (Made::of(&memory, &tags), memory)
}

#[test]
fn a_checkpoint_is_held_against_a_replay() {
    let node = Node::start();
    let folder = node.folder.path();
    let process = node.counter();
    for _ in 0..3 {
        node.json(&["send", &process, "--action", "Increment", "--wait"]);
    }
    let (made, memory) = honest(&node, &process, 2);
    let out = folder.join("unpacked");
    let report = made.read(folder, &["--compare", "--out", out.to_str().unwrap()], 0);
    let told = node.json(&["state", &process, "--slot", "2"]);
    let compared = &report["compared"];
    assert_eq!(
        (&compared["equal"], &compared["differs"], &compared["pages"]),
        (&json!(true), &json!([]), &json!(0))
    );
    assert_eq!(compared["state_root"], told["state_root"]);
    assert_eq!(
        (&report["memory_root"], &report["memory_used"]),
        (&told["memory_root"], &told["memory_used"])
    );
    assert_eq!(report["signer"], node.ready["address"]);
    assert!(std::fs::read(&out).unwrap() == memory);
    let path = made.signed(folder);
    let human = node.weft(&["checkpoint", path.to_str().unwrap(), "--compare"]).expect(0);
    assert!(human.text().contains("equal: this node's replay"), "{}", human.text());
    let piped = node.weft(&["checkpoint", path.to_str().unwrap(), "--out", "-"]).expect(0);
    // Nodes do not hold them: whoever looks into one is told what reads it.
    let unknown = node.weft(&["inspect", &Id([9; 32]).to_string(), "--json"]).expect(1);
    assert!(unknown.error().1.contains("`weft checkpoint "), "{}", unknown.error().1);
    assert!(piped.out == memory);

    let differs = |made: &Made, names: &[&str], pages: (usize, Option<usize>)| {
        let report = made.read(folder, &["--compare"], 1);
        let compared = &report["compared"];
        assert_eq!((&compared["equal"], &compared["differs"]), (&json!(false), &json!(names)), "{report}");
        assert_eq!(
            (&compared["pages"], compared.get("first_page")),
            (&json!(pages.0), pages.1.map(|first| json!(first)).as_ref()),
            "{report}"
        );
    };
    // A byte, a page more, and the memory of another slot.
    let tags: Vec<_> = made.tags[4..].iter().filter(|(name, _)| *name != "SHA-256").cloned().collect();
    let mut other = memory.clone();
    *other.last_mut().unwrap() ^= 1;
    let last = memory.len() / 65_536 - 1;
    differs(&Made::of(&other, &tags), &["memory"], (1, Some(last)));
    let longer = [&memory[..], &[0; 65_536]].concat();
    differs(&Made::of(&longer, &tags), &["memory"], (1, Some(last + 1)));
    let (third, newer) = honest(&node, &process, 3);
    let older = Made { data: made.data.clone(), ..third.with("SHA-256", &sha256(&memory)) };
    let pages = memory.chunks(65_536).zip(newer.chunks(65_536)).enumerate();
    let pages: Vec<usize> = pages.filter(|(_, (old, new))| old != new).map(|(page, _)| page).collect();
    differs(&older, &["memory"], (pages.len(), Some(pages[0])));
    // The right memory of another log or by another module.
    let other = Id([7; 32]).to_string();
    differs(&made.with("Hash-Chain", &other), &["hash-chain"], (0, None));
    differs(&made.with("Module", &other).with("Timestamp", "1"), &["module", "timestamp"], (0, None));
    let human = weft(folder, &["checkpoint", older.signed(folder).to_str().unwrap(), "--compare"]).expect(1);
    assert!(human.text().contains(&format!("the first is page {}", pages[0])), "{}", human.text());

    made.with("Nonce", "99").fails(folder, &["--compare"], 1, "slot 99");
    made.with("Process", &other).fails(folder, &["--compare"], 1, &other);
    made.with("Cron-Interval", "0-10-seconds").fails(folder, &["--compare"], 1, "0-10-seconds");
    let folder = node.stop();
    made.fails(folder.path(), &["--compare"], 3, "no node");
    // Reading alone needs none.
    assert!(made.read(folder.path(), &[], 0).get("compared").is_none());
}

/// A memory of three pages, in a folder with a key and no node.
fn without_a_node() -> (tempfile::TempDir, Made, Vec<u8>) {
    let folder = tempfile::tempdir().unwrap();
    weft(folder.path(), &["key", "new"]).expect(0);
    let mut memory = vec![0; 3 * 65_536];
    memory[65_536 + 5] = 9;
    let id = |byte| Id([byte; 32]).to_string();
    let tags = [("Process", id(1)), ("Module", id(2)), ("Nonce", "0".into()), ("Timestamp", "1".into())];
    let made = Made::of(&memory, &[&tags[..], &[("Block-Height", "2".into())]].concat());
    (folder, made, memory)
}

#[test]
fn what_is_wrong_with_a_checkpoint_is_named() {
    let (folder, made, memory) = without_a_node();
    let folder = folder.path();
    let report = made.read(folder, &[], 0);
    assert_eq!((&report["memory_bytes"], &report["memory_used"]), (&json!(3 * 65_536), &json!(65_536)));
    assert_eq!((&report["slot"], &report["hash_matches"]), (&json!(0), &json!(true)));
    let out = folder.join("out");
    let out = out.to_str().unwrap();
    let false_hash = made.with("SHA-256", &sha256(b"another"));
    let report = false_hash.read(folder, &["--out", out, "--compare"], 1);
    assert_eq!((&report["hash_matches"], report.get("compared")), (&json!(false), None));
    assert_eq!(report["memory_sha256"], sha256(&memory));
    let human = weft(folder, &["checkpoint", false_hash.signed(folder).to_str().unwrap()]).expect(1);
    assert!(human.text().contains("NOT match the memory"), "{}", human.text());
    let with_data = |data: &[u8]| Made { data: data.to_vec(), ..made.clone() };
    let args = ["--out", out];
    with_data(&made.data[..made.data.len() - 9]).fails(folder, &args, 1, "ends early");
    with_data(&[&made.data[..], b"more"].concat()).fails(folder, &args, 1, "4 bytes follow");
    with_data(&memory).fails(folder, &args, 1, "not gzip");
    made.with("Type", "Message").fails(folder, &args, 2, "its tag Type is `Message`");
    made.with("Content-Encoding", "br").fails(folder, &args, 2, "its tag Content-Encoding is `br`");
    made.fails(folder, &["--out", "-"], 2, "--json cannot go with it");
    // Nothing that is not what it says is written, or left behind.
    assert!(!std::fs::read_dir(folder).unwrap().any(|entry| {
        let name = entry.unwrap().file_name().into_string().unwrap();
        name.starts_with("out")
    }));
    let path = made.signed(folder);
    let mut raw = std::fs::read(&path).unwrap();
    *raw.last_mut().unwrap() ^= 1;
    std::fs::write(&path, raw).unwrap();
    let ran = weft(folder, &["checkpoint", path.to_str().unwrap()]).expect(1);
    assert!(ran.err.contains("is no valid data item: signature"), "{}", ran.err);
    std::fs::write(&path, "hello").unwrap();
    let ran = weft(folder, &["checkpoint", path.to_str().unwrap()]).expect(2);
    assert!(ran.err.contains("cannot be read as a data item"), "{}", ran.err);
}

/// A gateway that lists one item and gives this for its data; ends with the test's process.
fn gateway(item: &DataItem, data: Vec<u8>) -> String {
    let encode = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
    let listed = json!({ "data": { "transactions": { "pageInfo": { "hasNextPage": false }, "edges": [{ "node": {
        "id": item.id(), "anchor": "", "signature": encode(item.signature()), "recipient": "",
        "owner": { "key": encode(item.owner_key()) }, "tags": item.tags(),
        "data": { "size": data.len().to_string() },
    } }] } } });
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            let (mut asked, mut piece) = (Vec::new(), [0; 4096]);
            // A query is told from a path by its end, which is that of its JSON.
            while !(asked.ends_with(b"}") || asked.starts_with(b"GET") && asked.ends_with(b"\r\n\r\n")) {
                match stream.read(&mut piece) {
                    Ok(0) | Err(_) => break,
                    Ok(some) => asked.extend_from_slice(&piece[..some]),
                }
            }
            let body = if asked.starts_with(b"POST /graphql") {
                listed.to_string().into_bytes()
            } else {
                data.clone()
            };
            let head =
                format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len());
            // Whoever asked may be gone.
            let _ = stream.write_all(&[head.as_bytes(), &body].concat());
        }
    });
    address
}

#[test]
fn a_gateway_gives_one_by_its_id() {
    let (folder, made, memory) = without_a_node();
    let folder = folder.path();
    let raw = std::fs::read(made.signed(folder)).unwrap();
    let item = DataItem::verify_bytes(raw).unwrap();
    let id = item.id().to_string();
    let from = |address: &str, id: &str| weft(folder, &["checkpoint", id, "--from", address, "--json"]);
    let honest = gateway(&item, item.data().to_vec());
    let report = from(&honest, &id).expect(0).json();
    assert_eq!((&report["item"], &report["memory_sha256"]), (&json!(id), &json!(sha256(&memory))));
    // What it says counts for nothing: another memory under the same id is none of it.
    let liar = gateway(&item, zip(&[1; 65_536]));
    let (code, text) = from(&liar, &id).expect(1).error();
    assert!(code == "no" && text.contains("not what was signed"), "{code} {text}");
    let (_, text) = from(&honest, &Id([7; 32]).to_string()).expect(1).error();
    assert!(text.contains("lists no item"), "{text}");
    from("ftp://x", &id).expect(2);
    from("http://127.0.0.1:1", &id).expect(70);
    let (_, text) = from(&honest, "me").expect(2).error();
    assert!(text.contains("`me` is not an id"), "{text}");
}
