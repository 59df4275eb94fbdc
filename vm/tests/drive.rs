//! Items that a message may read.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::sync::Arc;

use weft_vm::{Engine, EngineConfig, Format, HostFault, Instance, Limits, Opened, Outcome, Weave};

mod emscripten;

const LIMITS: Limits = Limits { gas: 2_000_000_000, memory_bytes: 1 << 24 };

/// The path of the message is opened, its end sought, and 5 bytes and then 16 more read; what they
/// are is kept in memory and returned.
const READER: &str = "
    (import \"env\" \"__asyncjs__weavedrive_open\" (func $open (param i32 i32) (result i32)))
    (import \"env\" \"__asyncjs__weavedrive_read\" (func $read (param i32 i32 i32) (result i32)))
    (import \"env\" \"__asyncjs__weavedrive_close\" (func $close (param i32) (result i32)))
    (import \"wasi_snapshot_preview1\" \"fd_seek\" (func $seek (param i32 i32 i32 i32 i32) (result i32)))
    ---";
const READ: &str = "(local $fd i32)
    (memory.fill (i32.const 1024) (i32.const 0) (i32.const 64))
    (local.set $fd (call $open (local.get 0) (i32.const 0)))
    (if (i32.eqz (local.get $fd)) (then (return (i32.const 1020))))
    (drop (call $seek (local.get $fd) (i32.const 0) (i32.const 0) (i32.const 2) (i32.const 1200)))
    (drop (call $read (local.get $fd) (i32.const 1024) (i32.const 5)))
    (drop (call $read (local.get $fd) (i32.const 1029) (i32.const 16)))
    (drop (call $close (local.get $fd)))
    (i32.const 1024)";

fn reader() -> Instance {
    let wasm = wat::parse_str(emscripten::wat(false, READER, READ)).unwrap();
    let engine = Engine::new(EngineConfig::default()).unwrap();
    engine.compile(&wasm, Format::Emscripten32).unwrap().instantiate(LIMITS).unwrap()
}

/// One item under the id `here`; `away` may be read and is on another machine.
#[derive(Debug)]
struct Offer(&'static str);

impl Weave for Offer {
    fn open(&self, id: &str) -> Opened {
        match id {
            "here" => Opened::Item(self.0.as_bytes().into()),
            "away" => Opened::NotHere("nobody has it".to_owned()),
            _ => Opened::NotFound,
        }
    }
}

fn read(instance: &mut Instance, path: &str) -> String {
    match instance.evaluate(path.as_bytes(), b"{}").unwrap().outcome {
        Outcome::Returned(text) => String::from_utf8(text).unwrap(),
        Outcome::Trapped(trap) => panic!("{trap}"),
    }
}

#[test]
fn an_item_is_read_from_its_start() {
    let mut instance = reader();
    assert_eq!(read(&mut instance, "/data/here"), "", "nothing is offered yet");
    instance.keep().unwrap();
    instance.offer(Arc::new(Offer("twenty bytes of text and more")));
    for (path, text) in [
        ("/data/here", "twenty bytes of text "),
        ("/data/here/", ""),
        ("/data/", ""),
        ("data/here", ""),
        ("/tx/here", ""),
        ("/block/1", ""),
        ("/data/here", "twenty bytes of text "),
    ] {
        assert_eq!(read(&mut instance, path), text, "{path}");
        instance.keep().unwrap();
    }
}

/// A plain guest that reads the item of the message's text: its length, and then 5 bytes of it.
fn plain_reader() -> Instance {
    let wasm = wat::parse_str(
        "(module (import \"weft\" \"read_item\" (func $read (param i32 i32 i32 i32) (result i64)))
           (memory (export \"memory\") 1)
           (func (export \"alloc\") (param i32) (result i32) (i32.const 1024))
           (func (export \"handle\") (param i32 i32 i32 i32) (result i64)
             (memory.fill (i32.const 64) (i32.const 0) (i32.const 16))
             (i64.store (i32.const 64) (call $read (local.get 0) (local.get 1) (i32.const 72) (i32.const 5)))
             (i64.or (i64.shl (i64.const 64) (i64.const 32)) (i64.const 16))))",
    );
    let engine = Engine::new(EngineConfig::default()).unwrap();
    engine.compile(&wasm.unwrap(), Format::Plain).unwrap().instantiate(LIMITS).unwrap()
}

#[test]
fn a_plain_guest_reads_items() {
    let mut instance = plain_reader();
    let read = |instance: &mut Instance, id: &str| {
        // Both texts lie at the same place: the second one is the id.
        let ended = instance.evaluate(id.as_bytes(), id.as_bytes()).unwrap();
        let Outcome::Returned(bytes) = ended.outcome else { panic!("{:?}", ended.outcome) };
        instance.keep().unwrap();
        let (length, text) = bytes.split_at(8);
        (i64::from_le_bytes(length.try_into().unwrap()), String::from_utf8(text.to_vec()).unwrap(), ended.gas)
    };
    assert_eq!(read(&mut instance, "here").0, -1, "nothing is offered yet");
    instance.offer(Arc::new(Offer("twenty bytes of text")));
    let (length, text, gas) = read(&mut instance, "here");
    assert_eq!((length, &*text), (20, "twent\0\0\0"));
    assert!(gas > 10_000_000 + 20 * 50 * 30, "{gas}: less than what the host does for it");
    for id in ["nowhere", "", "/data/here", &"x".repeat(5_000)] {
        assert_eq!(read(&mut instance, id).0, -1, "{id}");
    }
    // What is read is paid for, and a short item leaves the rest of the room alone.
    instance.offer(Arc::new(Offer("abc")));
    let (length, text, less) = read(&mut instance, "here");
    assert_eq!((length, &*text), (3, "abc\0\0\0\0\0"));
    assert!(less < gas, "{less} and {gas}");
    match instance.evaluate(b"away", b"away") {
        Err(HostFault::ItemNotHere { id, why }) => assert_eq!((&*id, &*why), ("away", "nobody has it")),
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_is_not_here_is_the_hosts_fault_and_passes() {
    let mut instance = reader();
    instance.offer(Arc::new(Offer("text")));
    assert_eq!(read(&mut instance, "/data/here"), "text");
    instance.keep().unwrap();
    let before = instance.memory_image().unwrap();
    match instance.evaluate(b"/data/away", b"{}") {
        Err(HostFault::ItemNotHere { id, why }) => assert_eq!((&*id, &*why), ("away", "nobody has it")),
        other => panic!("{other:?}"),
    }
    // It has no outcome, and cost something.
    assert!(instance.gas_spent() > 0);
    instance.roll_back().unwrap();
    assert!(instance.memory_image().unwrap() == before);
    assert_eq!(read(&mut instance, "/data/here"), "text");
}

/// A message that is replayed reads what it read the first time.
#[test]
fn a_roll_back_replays_with_the_old_offer() {
    let mut plain = reader();
    let mut rolled_back = reader();
    for instance in [&mut plain, &mut rolled_back] {
        instance.offer(Arc::new(Offer("first")));
        assert_eq!(read(instance, "/data/here"), "first");
        instance.keep().unwrap();
    }
    for offer in ["second", "third"] {
        rolled_back.offer(Arc::new(Offer(offer)));
        assert_eq!(read(&mut rolled_back, "/data/here"), offer);
        rolled_back.roll_back().unwrap();
    }
    assert!(rolled_back.memory_image().unwrap() == plain.memory_image().unwrap());
}
