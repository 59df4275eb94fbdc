//! Items of every kind and fault, at every door that bytes from outside come in by: the socket, the
//! requests of peers, and a topic. What each is said to be is the same at both doors that answer,
//! and the node goes on.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde_json::Value;
use weft_node::control::api::{FailureCode, Request};
use weft_node::control::client::ClientError;
use weft_protocol::data_item::Draft;
use weft_protocol::limits::{ITEM_BYTES_MAX, TAGS_MAX};
use weft_protocol::wire::announcement::Body as Said;
use weft_protocol::wire::request::Body as Ask;
use weft_protocol::wire::response::Body as Answer;
use weft_protocol::{DataItem, Id, Tag, wire};

use crate::support::{Node, Stranger, announcement};

/// Items that the reference's packages and we made, good and bad, of all seven signature types.
const VECTORS: &str = include_str!("../../../tests/vectors/ans104.jsonl");
/// Larger ones would only take longer.
const VECTOR_BYTES_MAX: usize = 16 * 1024;

/// What a node must say of an item.
#[derive(Debug)]
enum Must {
    /// It is no item: everybody says so.
    Fault,
    /// It is an item, and not one for a log here: it has no target that is.
    Stray,
    /// It gets a slot.
    Slot,
}

struct Case {
    name: String,
    raw: Bytes,
    must: Must,
}

/// The vectors as they are, and the good ones with each part of their signature changed.
fn vectors() -> Vec<Case> {
    let mut cases = Vec::new();
    let mut kinds = [false; 8];
    for line in VECTORS.lines() {
        let line: Value = serde_json::from_str(line).unwrap();
        let raw = STANDARD.decode(line["raw"].as_str().unwrap()).unwrap();
        if raw.len() > VECTOR_BYTES_MAX || line["size"] != raw.len() {
            continue;
        }
        let name = line["name"].as_str().unwrap().to_owned();
        // The conformance suite holds this to what the vector says.
        let is_good = DataItem::verify_bytes(raw.clone()).is_ok();
        if let Ok(item) = DataItem::verify_bytes(raw.clone()) {
            kinds[usize::from(raw[0])] = true;
            let bytes = item.signature().len();
            for (part, at) in [("first", 2), ("middle", 2 + bytes / 2), ("last", 1 + bytes)] {
                let mut changed = raw.clone();
                changed[at] ^= 0x41;
                // The last byte of a signature may carry bits that say nothing of it: the node and
                // the code must agree all the same.
                let must =
                    if DataItem::verify_bytes(changed.clone()).is_ok() { Must::Stray } else { Must::Fault };
                cases.push(Case { name: format!("{name}, {part} byte changed"), raw: changed.into(), must });
            }
            let mut zeros = raw.clone();
            zeros[2..2 + bytes].fill(0);
            cases.push(Case { name: format!("{name}, no signature"), raw: zeros.into(), must: Must::Fault });
            let mut ones = raw.clone();
            ones[2..2 + bytes].fill(0xff);
            cases.push(Case { name: format!("{name}, all ones"), raw: ones.into(), must: Must::Fault });
        }
        let must = if is_good { Must::Stray } else { Must::Fault };
        cases.push(Case { name, raw: raw.into(), must });
    }
    assert_eq!(kinds, [false, true, true, true, true, true, true, true], "every signature type");
    cases
}

/// Odd items that are good, for a process of this node.
fn odd(process: Id, me: &Stranger) -> Vec<Case> {
    const MESSAGE: [(&str, &str); 2] = [("Data-Protocol", "ao"), ("Type", "Message")];
    let signed = |name: &str, tags: &[(&str, &str)], data: Vec<u8>, must| {
        let tags = MESSAGE.iter().chain(tags).map(|(name, value)| Tag::new(*name, *value)).collect();
        let draft = Draft { target: Some(process), anchor: None, tags, data: data.into() };
        Case { name: name.to_owned(), raw: draft.sign(&me.signer).unwrap().raw().clone(), must }
    };
    let slot = |name: &str, tags: &[(&str, &str)], data: &[u8]| signed(name, tags, data.to_vec(), Must::Slot);
    let most = vec![("X", "y"); TAGS_MAX - MESSAGE.len()];
    let inner = Node::message(process, 1, &me.signer);
    let bundle = weft_protocol::bundle::Bundle::build(&[inner]).raw().to_vec();
    let nested = [("Bundle-Format", "binary"), ("Bundle-Version", "2.0.0")];
    vec![
        slot("no data", &[], b""),
        slot("as many tags as there may be", &most, b"x"),
        slot("the same tag again", &[("Action", "A"), ("Action", "B"), ("action", "C")], b"x"),
        slot("a value of nothing but spaces", &[("Action", "   ")], b"x"),
        slot(
            "names that are ours",
            &[("From-Process", &process.to_string()), ("Nonce", "9"), ("Hash-Chain", "x")],
            b"x",
        ),
        slot("names of prototypes", &[("__proto__", "x"), ("constructor", "y")], b"x"),
        slot("characters that end lines", &[("A\u{2028}B", "\u{0}\u{1b}[2J\r\n")], b"x"),
        slot("data that is no text", &[], &[0xff; 300]),
        slot("a bundle in its data", &nested, &bundle),
        slot("a bundle that is none", &nested, b"not a bundle"),
        slot(
            "an Assignment by a stranger",
            &[("Type", "Assignment"), ("Process", &process.to_string())],
            b"x",
        ),
        slot("a mark by a stranger", &[("Type", "Mark")], b"x"),
        signed(
            "no proof under its name",
            &[("Origin-Proof", &process.to_string())],
            b"x".to_vec(),
            Must::Fault,
        ),
        signed("more than a slot holds", &[], vec![b'x'; ITEM_BYTES_MAX], Must::Fault),
    ]
}

/// What the socket says: the slot, or why there is none.
async fn at_the_socket(node: &Node, raw: &Bytes) -> Result<u64, (FailureCode, String)> {
    let request = Request::Submit { item: STANDARD.encode(raw) };
    match node.ask::<Value>(request).await {
        Ok(answer) => Ok(answer["slot"].as_u64().unwrap()),
        Err(ClientError::Failed(failure)) => Err((failure.code, failure.text)),
        Err(other) => panic!("{other}"),
    }
}

/// What a peer is told.
async fn on_the_wire(me: &Stranger, raw: &Bytes) -> Result<u64, (wire::refusal::Code, String)> {
    let submit = wire::SubmitRequest { item: raw.clone(), proof: Bytes::new() };
    loop {
        match me.ask(Ask::Submit(submit.clone())).await {
            Answer::Submit(answer) => return Ok(answer.slot),
            // A peer that asks so much is told when to come back.
            Answer::Refusal(refusal) if refusal.code() == wire::refusal::Code::Busy => {
                // tidy-allow(sleep): the node says for how long, and that is kept.
                tokio::time::sleep(Duration::from_millis(refusal.retry_ms)).await;
            }
            Answer::Refusal(refusal) => return Err((refusal.code(), refusal.text)),
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn items_of_every_kind_and_fault_come_to_the_same_at_every_door() {
    use wire::refusal::Code;
    let node = Node::start(40).await;
    let process = node.counter().await;
    let me = Stranger::of(&node, 41).await;
    let liar = Stranger::on(&node, process, 42).await;
    let mut wrong = Vec::new();
    let mut counted = 0;
    let cases: Vec<Case> = vectors().into_iter().chain(odd(process, &me)).collect();
    for (number, Case { name, raw, must }) in cases.iter().enumerate() {
        // Nobody answers on a topic: whatever it is, it gets no slot by being there.
        let record = wire::SlotRecord { assignment: raw.clone(), item: raw.clone(), proof: raw.clone() };
        if raw.len() < VECTOR_BYTES_MAX {
            // Sooner or later it is not listened to any more, which is as well.
            let _ = liar.net.publish(process, announcement(process, Said::Slot(record))).await;
        }
        let (socket, wire) = (at_the_socket(&node, raw).await, on_the_wire(&me, raw).await);
        let as_it_must = match (must, &socket, &wire) {
            (Must::Fault, Err((FailureCode::Invalid, said)), Err((Code::Invalid, told))) => {
                said.contains(told.as_str()) || told.contains(said.as_str())
            }
            (Must::Stray, Err((code, _)), Err((told, _))) => {
                *code != FailureCode::Fault && *told != Code::Fault
            }
            (Must::Slot, Ok(slot), Ok(again)) => slot == again,
            _ => false,
        };
        if !as_it_must {
            wrong.push(format!("{name}: must {must:?}, socket {socket:?}, wire {wire:?}"));
        }
        if number % 16 == 0 {
            counted += 1;
            let slot = node.increments(process, number as u8).await;
            assert!(slot > 0, "{name}: the process goes on");
        }
    }
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), cases.len(), wrong.join("\n"));
    let slots = cases.iter().filter(|case| matches!(case.must, Must::Slot)).count() as u64;
    let head = node.detail(process).await.info.head;
    assert_eq!(head, Some(slots + counted), "one slot for each item that gets one");
    node.stop().await;
}
