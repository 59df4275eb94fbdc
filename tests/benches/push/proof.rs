//! The proof of one push: its bytes, making it, and checking it.

use std::hint::black_box;
use std::time::Duration;

use bytes::Bytes;
use ed25519_dalek::VerifyingKey;
use weft_protocol::attestation::{Attestation, Statement};
use weft_protocol::crypto::Signer;
use weft_protocol::header::Header;
use weft_protocol::origin::{self, OriginProof, ProofParts};
use weft_protocol::outcome::{Outcome, Running};
use weft_protocol::process::{Process, RULES, Terms};
use weft_protocol::time::Weave;
use weft_protocol::{DataItem, Draft, Hash, Id, Position, Tag, Verified};

use super::{NETWORK, each_us, row};

/// Signatures of a push beside those of the attestors: of the item, of the proof, and of the source's Process item.
const SIGNATURES: usize = 3;
/// What a signature of an item is over: a SHA-384.
const MESSAGE: [u8; 48] = [7; 48];

pub fn measure(least: Duration) {
    let bare = bare(least);
    row("a bare ed25519 check", &format!("{bare:.1} us"), "");
    for (quorum, attestors) in [(1, 1), (2, 3), (3, 5), (4, 7), (9, 16)] {
        for entries in [1, 64, 1_000] {
            compare(&Sent::new(quorum, attestors, entries), bare, least);
        }
    }
}

fn compare(sent: &Sent, bare: f64, least: Duration) {
    let Sent { quorum, attestors, outcome, .. } = sent;
    let entries = outcome.outbox.entries().len();
    let (item, proof) = sent.push();
    let made = each_us(least, |_| {
        black_box(sent.push());
    });
    let checked = each_us(least, |_| {
        let item = DataItem::verify_bytes(item.clone()).unwrap();
        let proof = DataItem::verify_bytes(proof.clone()).unwrap();
        origin::verify(&item, &proof, NETWORK).unwrap();
    });
    let name = format!("push, quorum {quorum} of {attestors}, {entries} entries");
    let aim = if *quorum == 2 { ", aim: under 2,048" } else { "" };
    row(
        &format!("{name}: proof"),
        &format!("{} bytes", proof.len()),
        &format!("item {} bytes{aim}", item.len()),
    );
    row(&format!("{name}: made and signed"), &format!("{made:.0} us"), "of the processor");
    let signatures = SIGNATURES + quorum;
    let bound = bare * signatures as f64;
    let aim = if *quorum == 2 { ", aim: under 500 us" } else { "" };
    let beside = format!("{signatures} bare ed25519 checks {bound:.0} us, ratio {:.2}{aim}", checked / bound);
    row(&format!("{name}: checked"), &format!("{checked:.0} us"), &beside);
}

/// The library's own check of a signature, in microseconds.
fn bare(least: Duration) -> f64 {
    let signer = key(1);
    let key: [u8; 32] = signer.owner_key().try_into().unwrap();
    let signed: [u8; 64] = signer.sign(&MESSAGE).unwrap().try_into().unwrap();
    each_us(least, |_| {
        let key = VerifyingKey::from_bytes(&key).unwrap();
        key.verify_strict(&MESSAGE, &signed.into()).unwrap();
    })
}

fn key(seed: u8) -> Signer {
    Signer::from_seed(&[seed; 32])
}

/// What a process sent at one position, and who signed that.
struct Sent {
    quorum: usize,
    attestors: u8,
    header: Verified<Header>,
    before: Running,
    outcome: Outcome,
    attestations: Vec<Verified<Attestation>>,
    carrier: Signer,
}

impl Sent {
    fn new(quorum: usize, attestors: u8, entries: usize) -> Self {
        let source = process(quorum, attestors);
        let position = Position::slot(9);
        let outcome = Outcome::of_result(position, result(entries).as_bytes(), Some(Id([55; 32])));
        assert_eq!(outcome.outbox.entries().len(), entries);
        let before = Running::before(source.id());
        let said = Statement {
            network: NETWORK,
            process: source.id(),
            position,
            assignment: Id([99; 32]),
            running: before.then(&outcome.hash()).0,
            state_root: Hash::ZERO,
            rules: RULES,
        };
        let attestations = (1..=attestors).map(|seed| said.sign(&key(seed)).unwrap()).collect();
        let header = Verified::<Header>::of(source.item());
        Self { quorum, attestors, header, before, outcome, attestations, carrier: key(250) }
    }

    /// A push of the first entry: item and proof.
    fn push(&self) -> (Bytes, Bytes) {
        let parts = ProofParts {
            network: NETWORK,
            header: &self.header,
            certificates: &[],
            entry: &self.outcome.outbox.entries()[0],
            path: self.outcome.outbox.path(0).unwrap(),
            outcome: self.outcome.core(),
            before: self.before,
            assignment: Id([99; 32]),
            state_root: Hash::ZERO,
            attestations: &self.attestations,
        };
        let (proof, dispatch) = OriginProof::build(&parts).unwrap();
        let proof = proof.sign(&self.carrier).unwrap();
        let item = dispatch.message(proof.id()).unwrap().sign(&self.carrier).unwrap();
        (item.raw().clone(), proof.raw().clone())
    }
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
