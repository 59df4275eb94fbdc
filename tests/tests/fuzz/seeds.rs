//! Inputs to start from: the conformance vectors, one wire message of every kind, and texts and
//! modules of each shape that a node takes.

use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use bytes::Bytes;
use serde_json::Value;
use weft_protocol::attestation::Statement;
use weft_protocol::crypto::Signer;
use weft_protocol::evidence::Evidence;
use weft_protocol::market::{ClaimTree, Paid};
use weft_protocol::offer::{Offer, OfferTerms};
use weft_protocol::wire::{self, WireMessage};
use weft_protocol::{Address, DataItem, Draft, Hash, Id, Network, Position, Tag, Verified};

mod local;

/// Larger vectors would only slow the mutations down.
const SEED_BYTES_MAX: usize = 8 * 1024;

/// The seeds of a target.
pub(crate) fn seeds(target: &str) -> Vec<Vec<u8>> {
    let mut seeds = match target {
        "item" => raw("ans104.jsonl"),
        "bundle" => raw("bundles.jsonl"),
        "l1" => transactions(),
        "wire" => messages(),
        "result" => local::results(),
        "module" => local::modules(),
        "config" => local::configurations(),
        "control" => local::requests(),
        "record" => local::rows(),
        "checkpoint" => checkpoints(),
        _ => panic!("no seeds for {target}"),
    };
    seeds.retain(|seed| seed.len() <= SEED_BYTES_MAX);
    seeds
}

fn lines(name: &str) -> Vec<Value> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("vectors").join(name);
    let text = std::fs::read_to_string(path).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn raw(name: &str) -> Vec<Vec<u8>> {
    lines(name).iter().map(|line| STANDARD.decode(line["raw"].as_str().unwrap()).unwrap()).collect()
}

/// The data of checkpoints; of the last also with more behind it.
fn checkpoints() -> Vec<Vec<u8>> {
    let data = raw("checkpoints.jsonl").into_iter().map(|raw| DataItem::parse(raw).unwrap().claims().data());
    let mut seeds: Vec<Vec<u8>> = data.map(Vec::from).collect();
    seeds.extend(seeds.last().map(|last| [&last[..], last].concat()));
    seeds
}

fn transactions() -> Vec<Vec<u8>> {
    let base64url = |value: &Value| URL_SAFE_NO_PAD.decode(value.as_str().unwrap()).unwrap();
    let mut seeds: Vec<Vec<u8>> =
        lines("blocks.jsonl").iter().map(|line| line["block"].to_string().into_bytes()).collect();
    for line in lines("l1tx.jsonl") {
        seeds.push(line["tx"].to_string().into_bytes());
        for chunk in line["chunks"].as_array().into_iter().flatten() {
            let place = [&line["data_size"], &chunk["min"]].map(|n| n.as_u64().unwrap().to_le_bytes());
            seeds.push(
                [base64url(&line["data_root"]), place.concat(), base64url(&chunk["data_path"])].concat(),
            );
        }
    }
    seeds
}

fn item(kind: &str) -> Verified<DataItem> {
    let draft = Draft {
        target: Some(Id([1; 32])),
        anchor: Some([2; 32]),
        tags: vec![Tag::new("Data-Protocol", "ao"), Tag::new("Type", kind)],
        data: Bytes::from_static(b"1984"),
    };
    draft.sign(&Signer::from_seed(&[1; 32])).unwrap()
}

fn statement(running: u8) -> Statement {
    Statement {
        network: Network(1),
        process: Id([1; 32]),
        position: Position::slot(7),
        assignment: Id([2; 32]),
        running: Hash([running; 32]),
        state_root: Hash::ZERO,
        rules: 1,
    }
}

fn offer(price_per_push: u64) -> OfferTerms {
    OfferTerms {
        network: Network(1),
        sequence: 1,
        shards: vec![1, 2],
        classes: 3,
        price_per_push,
        price_per_kib: 1,
        max_kib: 10,
        capacity_per_s: 100,
        latency_p50_ms: 20,
        stake: Hash::ZERO,
        valid_from: 1_000,
        valid_to: 2_000,
    }
}

fn encode(message: &impl WireMessage) -> Vec<u8> {
    message.encode_to_vec()
}

fn market(offers: &[Verified<Offer>]) -> Vec<Vec<u8>> {
    let raw = |kind| item(kind).raw().clone();
    let hash = Bytes::from_static(&[4; 32]);
    let entry = |offer: &Verified<Offer>| {
        let (offer, bond) = (Some(offer.to_wire()), 3 << 40);
        wire::OfferSetEntry { offer, bond, quality: 2 }
    };
    let leaf = wire::ClaimLeaf {
        position: Some(Position::slot(300).into()),
        index: 1,
        target: hash.clone(),
        target_slot: 9,
        accepted: hash.clone(),
        amount: 50,
        before: 100,
    };
    let leaf = Some(wire::ClaimPath { leaf: Some(leaf), siblings: vec![hash.clone(); 2] });
    let push = wire::CarriedPush {
        proof: raw("Origin-Proof"),
        item: raw("Message"),
        target: raw("Message"),
        certificates: vec![Bytes::from_static(&[8, 1])],
        assignment: raw("Assignment"),
    };
    let answer = wire::ClaimAnswer {
        leaf: leaf.clone(),
        previous: leaf.clone(),
        push: Some(push.clone()),
        sent: raw("Assignment"),
        revealed: raw("Assignment"),
        set: raw("Message"),
        set_assignment: raw("Assignment"),
        between: [hash.clone(), hash.clone()].concat().into(),
    };
    let paid = Paid {
        position: Position::slot(300),
        index: 1,
        target: Id([4; 32]),
        target_slot: 9,
        accepted: Id([4; 32]),
        amount: 50,
    };
    let tree = ClaimTree::new(Address([0; 32]), Id([0; 32]), 1, vec![paid]).unwrap();
    let opening = wire::ClaimOpening { pushes: tree.encode().into(), shown: Some(answer.clone()) };
    let (receipt, between) = (raw("Assignment"), hash);
    vec![
        encode(&wire::OfferSet { entries: offers.iter().map(entry).collect() }),
        encode(&answer),
        encode(&opening),
        encode(&wire::EarlierPush { leaf, push: Some(push), receipt, between }),
    ]
}

fn messages() -> Vec<Vec<u8>> {
    let signer = Signer::from_seed(&[2; 32]);
    let raw = |kind| item(kind).raw().clone();
    let process = Bytes::from_static(&[1; 32]);
    let position = Some(Position::slot(7).into());
    let record =
        wire::SlotRecord { assignment: raw("Assignment"), item: raw("Message"), proof: raw("Origin-Proof") };
    let head = wire::Head { process: process.clone(), epoch: 0, slot: 7, assignment: raw("Assignment") };
    let attestations = [1, 2].map(|running| statement(running).sign(&signer).unwrap());
    let attestation = attestations[0].to_wire();
    let offers = [1, 2].map(|price| offer(price).sign(&signer).unwrap());
    let pending = wire::Pending { item: raw("Message"), proof: Bytes::new(), postage_nonce: 5 };
    let mut seeds = vec![encode(&record), encode(&head), encode(&attestation), encode(&offers[0].to_wire())];
    seeds.push(Evidence::of_attestations(&attestations[0], &attestations[1]).unwrap().encode());
    seeds.push(Evidence::of_offers(&offers[0], &offers[1]).unwrap().encode());
    seeds.extend(market(&offers));

    use wire::announcement::Body as A;
    let bodies = [
        A::Slot(record.clone()),
        A::Attestation(attestation.clone()),
        A::Head(head.clone()),
        A::Pending(pending.clone()),
    ];
    for body in bodies {
        seeds.push(encode(&wire::Announcement { process: process.clone(), body: Some(body) }));
    }
    use wire::request::Body as Q;
    for body in [
        Q::Submit(wire::SubmitRequest { item: raw("Message"), proof: Bytes::new() }),
        Q::Head(wire::HeadRequest { processes: vec![process.clone(); 3] }),
        Q::Range(wire::RangeRequest { process: process.clone(), from: 1, to: 9, max_bytes: 1 << 20 }),
        Q::Blob(wire::BlobRequest { id: process.clone(), offset: 1, max_bytes: 9 }),
        Q::Attestations(wire::AttestationsRequest { process: process.clone(), position }),
        Q::Outcome(wire::OutcomeRequest { process: process.clone(), item: process.clone() }),
        Q::Pending(wire::PendingRequest { processes: vec![process.clone(); 2] }),
    ] {
        seeds.push(encode(&wire::Request { body: Some(body) }));
    }
    use wire::response::Body as R;
    for body in [
        R::Submit(wire::SubmitResponse { slot: 7, assignment: raw("Assignment"), duplicate: true }),
        R::Head(wire::HeadResponse { heads: vec![head] }),
        R::Range(wire::RangeResponse { slots: vec![record; 2], more: true }),
        R::Attestations(wire::AttestationsResponse { attestations: vec![attestation; 2] }),
        R::Pending(wire::PendingResponse {
            waiting: vec![wire::Waiting { process: process.clone(), pending: Some(pending), age_ms: 9 }; 2],
            answered: 1,
        }),
        R::Refusal(wire::Refusal { code: 4, text: "busy".into(), retry_ms: 100 }),
    ] {
        seeds.push(encode(&wire::Response { body: Some(body) }));
    }
    seeds
}
