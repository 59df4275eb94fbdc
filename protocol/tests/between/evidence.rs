//! Evidence: what convicts a key, and what does not.

use bytes::Bytes;
use prost::Message as _;
use weft_protocol::assignment::{AssignmentDraft, Excluded};
use weft_protocol::attestation::{Attestation, Statement};
use weft_protocol::epoch::{SignedVote, Vote};
use weft_protocol::evidence::{Evidence, EvidenceError};
use weft_protocol::offer::OfferTerms;
use weft_protocol::wire::{self, EVIDENCE_BYTES_MAX};
use weft_protocol::{DataItem, Draft, Hash, Id, Network, Verified};

use crate::fixture::*;

fn assignment(message: u8, network: Network, by: u8) -> Verified<DataItem> {
    let log = Log::new(target());
    let draft = AssignmentDraft { slot: 4, network, ..log.draft(Some(Id([message; 32]))) };
    draft.draft().sign(&key(by)).unwrap()
}

fn attestation(running: u8, by: u8) -> Verified<Attestation> {
    let said = Sender::new(false).statement();
    Statement { running: Hash([running; 32]), ..said }.sign(&key(by)).unwrap()
}

fn vote(succession: u8, ballot: u64, by: u8) -> Verified<SignedVote> {
    let process = target().id();
    let vote = Vote { network: NETWORK, process, epoch: 1, ballot, succession: Hash([succession; 32]) };
    vote.sign(&key(by)).unwrap()
}

fn all() -> [Verified<Evidence>; 4] {
    let offer =
        |price| OfferTerms { price_per_push: price, ..crate::offer::terms() }.sign(&key(CARRIER)).unwrap();
    [
        Evidence::of_assignments(
            &assignment(1, NETWORK, SCHEDULER),
            &assignment(2, NETWORK, SCHEDULER),
            NETWORK,
        )
        .unwrap(),
        Evidence::of_votes(&vote(1, 3, SCHEDULER), &vote(2, 3, SCHEDULER)).unwrap(),
        Evidence::of_attestations(&attestation(1, COMPUTE[0]), &attestation(2, COMPUTE[0])).unwrap(),
        Evidence::of_offers(&offer(1), &offer(2)).unwrap(),
    ]
}

fn verdict(bytes: Vec<u8>, network: Network) -> Result<Verified<Evidence>, EvidenceError> {
    Evidence::decode(&bytes.into(), network)?.verify()
}

#[test]
fn evidence_convicts_whoever_reads_it() {
    let culprits = all().map(|evidence| {
        let bytes = evidence.encode();
        assert!(bytes.len() <= EVIDENCE_BYTES_MAX);
        assert_eq!(verdict(bytes, NETWORK).unwrap(), evidence);
        evidence.culprit()
    });
    assert_eq!(culprits, [SCHEDULER, SCHEDULER, COMPUTE[0], CARRIER].map(address));
    let processes = all().map(|evidence| evidence.process());
    assert_eq!(
        processes,
        [Some(target().id()), Some(target().id()), Some(Sender::new(false).process.id()), None]
    );
}

#[test]
fn names_are_golden() {
    let names = all().map(|evidence| hex::encode(&evidence.name().0[..8]));
    assert_eq!(names, ["c01fe1f3380186be", "d373dc5dee20cf5f", "1c371da1c0e6c1d5", "9045dc9eaccd587e"]);
}

#[test]
fn no_changed_byte_of_evidence_convicts() {
    for evidence in all() {
        let bytes = evidence.encode();
        for at in 0..bytes.len() {
            let mut forged = bytes.clone();
            forged[at] ^= 1 << (at % 8);
            assert!(verdict(forged, NETWORK).is_err(), "byte {at} of {evidence:?} may change");
        }
    }
}

#[test]
fn evidence_holds_on_its_network_only() {
    for evidence in all() {
        assert!(verdict(evidence.encode(), Network(8)).is_err());
    }
    // A scheduler that serves two networks with one key is no liar.
    let (here, there) = (assignment(1, NETWORK, SCHEDULER), assignment(2, Network(8), SCHEDULER));
    assert!(Evidence::of_assignments(&here, &there, NETWORK).is_none());
    assert!(Evidence::of_assignments(&here, &there, Network(8)).is_none());
}

#[test]
fn honest_pairs_are_no_evidence() {
    let one = assignment(1, NETWORK, SCHEDULER);
    assert!(Evidence::of_assignments(&one, &one, NETWORK).is_none());
    assert!(Evidence::of_assignments(&one, &assignment(2, NETWORK, STRANGER), NETWORK).is_none());
    let log = Log::new(target());
    let next = AssignmentDraft { slot: 5, ..log.draft(Some(Id([2; 32]))) }.draft();
    let next = next.sign(&key(SCHEDULER)).unwrap();
    assert!(Evidence::of_assignments(&one, &next, NETWORK).is_none());
    // A random anchor opens to no network: foreign schedulers leave no evidence.
    let foreign = Draft { anchor: Some([0; 32]), tags: one.tags().to_vec(), ..Draft::default() };
    let foreign = foreign.sign(&key(SCHEDULER)).unwrap();
    assert!(Evidence::of_assignments(&one, &foreign, NETWORK).is_none());

    assert!(Evidence::of_attestations(&attestation(1, 1), &attestation(2, 2)).is_none());
    assert!(Evidence::of_votes(&vote(1, 3, 1), &vote(2, 4, 1)).is_none());
    assert!(Evidence::of_votes(&vote(1, 3, 1), &vote(2, 3, 2)).is_none());
    assert!(Evidence::of_votes(&vote(1, 3, 1), &vote(1, 3, 1)).is_none());
}

#[test]
fn the_order_of_finding_does_not_matter() {
    let (a, b) = (attestation(1, 1), attestation(2, 1));
    assert_eq!(Evidence::of_attestations(&a, &b), Evidence::of_attestations(&b, &a));
    let Some(evidence) = Evidence::of_attestations(&a, &b) else { panic!("no evidence") };
    let Evidence::Attestations { first, second } = evidence.into_inner() else { panic!("other evidence") };
    let swapped = Evidence::Attestations { first: second, second: first };
    assert_eq!(verdict(swapped.encode(), NETWORK), Err(EvidenceError::Order));
}

#[test]
fn evidence_against_an_rsa_key_fits_its_limit() {
    let wide = |count| Bytes::from(vec![1; count]);
    let attestation =
        wire::Attestation { owner: wide(512), signature: wide(512), ..attestation(1, 1).to_wire() };
    let attestations = wire::evidence::Body::Attestations(wire::ContradictingAttestations {
        first: Some(attestation.clone()),
        second: Some(attestation),
    });
    // An assignment with the longest numbers and as many excludes as there are fields.
    let log = Log::new(target());
    let longest = AssignmentDraft {
        epoch: (1 << 53) - 1,
        slot: (1 << 53) - 1,
        time: weft_protocol::time::TimePoint { timestamp: (1 << 53) - 1, height: (1 << 53) - 1 },
        excludes: ["Data", "Tags", "Signature", "Anchor"].map(|name| Excluded::parse(name).unwrap()).to_vec(),
        ..log.draft(Some(Id([1; 32])))
    };
    let raw = longest.draft().sign(&key(1)).unwrap().raw().len() - 96 + 1024;
    let assignments = wire::evidence::Body::DoubleAssignment(wire::DoubleAssignment {
        first: wide(raw),
        second: wide(raw),
    });
    for body in [attestations, assignments] {
        let length = wire::Evidence { body: Some(body) }.encode_to_vec().len();
        assert!(length <= EVIDENCE_BYTES_MAX, "{length} bytes");
    }
}

#[test]
fn evidence_over_its_limit_is_not_read() {
    let long: Bytes = vec![0; EVIDENCE_BYTES_MAX + 1].into();
    assert!(matches!(Evidence::decode(&long, NETWORK), Err(EvidenceError::Wire(_))));
}
