//! What a push costs: bytes of its origin proof by the size of the attestors' quorum and of the outbox, and the time that a
//! scheduler or a peer takes to verify it from raw bytes (two item signatures, those of the attestors, the path), on one core.
//!
//! Printed is the middle of the turns. `cargo bench -p weft-protocol --bench push [-- --quick]`
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::print_stdout)]

use std::time::{Duration, Instant};

use bytes::Bytes;
use weft_protocol::attestation::Statement;
use weft_protocol::crypto::Signer;
use weft_protocol::header::Header;
use weft_protocol::origin::{self, OriginProof, ProofParts};
use weft_protocol::outcome::{Outcome, Running};
use weft_protocol::process::{Process, RULES, Terms};
use weft_protocol::time::Weave;
use weft_protocol::{DataItem, Draft, Hash, Id, Network, Position, Tag, Verified};

const NETWORK: Network = Network(7);
const TURNS: usize = 5;

fn main() {
    let given: Vec<String> = std::env::args().skip(1).collect();
    let is = |flag: &str| given.iter().any(|argument| argument == flag);
    // `tests/run` only asks whether it runs.
    let count = if is("--test") || !is("--bench") {
        5
    } else if is("--quick") {
        500
    } else {
        5_000
    };
    println!("quorum  of  entries  proof bytes  item bytes  verified in");
    for (quorum, attestors) in [(1, 1), (2, 3), (4, 7), (9, 16)] {
        for entries in [1, 64, 1_000] {
            measure(quorum, attestors, entries, count);
        }
    }
}

fn key(seed: u8) -> Signer {
    Signer::from_seed(&[seed; 32])
}

/// A process as aoconnect spawns one, with this compute set.
fn process(quorum: usize, attestors: u8) -> Process {
    let compute: Vec<String> = (1..=attestors).map(|seed| key(seed).address().to_string()).collect();
    let (compute, quorum) = (compute.join(","), quorum.to_string());
    let (module, scheduler) = (Id([77; 32]).to_string(), key(1).address().to_string());
    let pairs = [
        ("Data-Protocol", "ao"),
        ("Variant", "ao.TN.1"),
        ("Type", "Process"),
        ("Module", &module),
        ("Scheduler", &scheduler),
        ("SDK", "aoconnect"),
        ("Name", "token"),
        ("Compute", &compute),
        ("Compute-Quorum", &quorum),
    ];
    let tags = pairs.iter().map(|(name, value)| Tag::new(*name, *value)).collect();
    let item = Draft { tags, data: "return 'boot'".into(), ..Draft::default() }.sign(&key(200)).unwrap();
    Process::accept(item, None, &Terms { network: NETWORK, weave: Weave::Clock }).unwrap()
}

/// What a token answers: so many credit notices, as aos sends them.
fn result(entries: usize) -> String {
    let target = Id([9; 32]);
    let message = |reference: usize| {
        format!(
            r#"{{"Target":"{target}","Anchor":"{reference:032}","Data":"You received 1000 from somebody","Tags":[
            {{"name":"Data-Protocol","value":"ao"}},{{"name":"Variant","value":"ao.TN.1"}},{{"name":"Type","value":"Message"}},
            {{"name":"Reference","value":"{reference}"}},{{"name":"Action","value":"Credit-Notice"}},
            {{"name":"Sender","value":"{target}"}},{{"name":"Quantity","value":"1000"}}]}}"#
        )
    };
    let messages: Vec<String> = (0..entries).map(message).collect();
    format!(r#"{{"ok":true,"response":{{"Messages":[{}],"Output":"done"}}}}"#, messages.join(","))
}

/// A push of the first entry: item and proof.
fn push(quorum: usize, attestors: u8, entries: usize) -> (Bytes, Bytes) {
    let source = process(quorum, attestors);
    let position = Position::slot(9);
    let outcome = Outcome::of_result(position, result(entries).as_bytes(), Some(Id([55; 32])));
    assert_eq!(outcome.outbox.entries().len(), entries);
    let before = Running::before(source.id());
    let (assignment, state_root) = (Id([99; 32]), Hash::ZERO);
    let running = before.then(&outcome.hash()).0;
    let process = source.id();
    let said =
        Statement { network: NETWORK, process, position, assignment, running, state_root, rules: RULES };
    let attestations: Vec<_> = (1..=attestors).map(|seed| said.sign(&key(seed)).unwrap()).collect();
    let header = Verified::<Header>::of(source.item());
    let parts = ProofParts {
        network: NETWORK,
        header: &header,
        certificates: &[],
        entry: &outcome.outbox.entries()[0],
        path: outcome.outbox.path(0).unwrap(),
        outcome: outcome.core(),
        before,
        assignment,
        state_root,
        attestations: &attestations,
    };
    let (proof, dispatch) = OriginProof::build(&parts).unwrap();
    let carrier = key(250);
    let proof = proof.sign(&carrier).unwrap();
    let item = dispatch.message(proof.id()).unwrap().sign(&carrier).unwrap();
    (item.raw().clone(), proof.raw().clone())
}

fn measure(quorum: usize, attestors: u8, entries: usize, count: usize) {
    let (item, proof) = push(quorum, attestors, entries);
    let mut times: Vec<Duration> = (0..TURNS)
        .map(|_| {
            let started = Instant::now();
            for _ in 0..count {
                let item = DataItem::verify_bytes(item.clone()).unwrap();
                let proof = DataItem::verify_bytes(proof.clone()).unwrap();
                origin::verify(&item, &proof, NETWORK).unwrap();
            }
            started.elapsed()
        })
        .collect();
    times.sort_unstable();
    let each = times[TURNS / 2].as_secs_f64() * 1e6 / count as f64;
    let (proof, item) = (proof.len(), item.len());
    println!("{quorum:>6} {attestors:>3} {entries:>8} {proof:>12} {item:>11} {each:>9.0} us");
}
