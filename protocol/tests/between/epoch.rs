//! Terms of epochs, and what may change them.

use bytes::Bytes;
use prost::Message as _;
use sha2::Digest as _;
use weft_protocol::epoch::{Certificate, CertificateError, EpochTerms, SchedulerSet, Succession, TermsError};
use weft_protocol::header::Header;
use weft_protocol::key_signature::KeySignature;
use weft_protocol::origin::ProofError;
use weft_protocol::process::{Attestors, RULES};
use weft_protocol::{Address, DataItem, Hash, Id, Position, Unverified, Verified};

use crate::fixture::*;

const SET: [u8; 3] = [SCHEDULER, 21, 22];

fn addresses(seeds: &[u8]) -> Vec<Address> {
    seeds.iter().map(|&seed| address(seed)).collect()
}

fn terms_of(extra: &[(&str, &str)]) -> Result<EpochTerms, TermsError> {
    EpochTerms::of_header(&Verified::<Header>::of(&process_item(extra)))
}

fn set_tags() -> [(&'static str, String); 3] {
    let set = SET.map(|seed| address(seed).to_string()).join(",");
    [("Scheduler-Set", set), ("Scheduler-Quorum", "2".into()), ("Scheduler-Lease-Ms", "15000".into())]
}

fn set_terms(extra: &[(&str, &str)]) -> EpochTerms {
    let tags = set_tags();
    let mut all: Vec<(&str, &str)> = tags.iter().map(|(name, value)| (*name, value.as_str())).collect();
    all.extend(extra);
    terms_of(&all).unwrap()
}

fn succession(terms: &EpochTerms, schedulers: SchedulerSet) -> Succession {
    Succession {
        network: NETWORK,
        process: terms.process(),
        epoch: terms.epoch(),
        length: 5,
        chain: Hash([6; 32]),
        schedulers,
        attestors: None,
        rules: RULES,
    }
}

/// The set with another of its members first.
fn rotated() -> SchedulerSet {
    SchedulerSet::new(addresses(&[21, 22, SCHEDULER]), 2, 15_000).unwrap()
}

fn votes(certificate: &Certificate, by: &[(u32, u8)]) -> Vec<(u32, KeySignature)> {
    let vote = certificate.vote();
    by.iter().map(|&(index, seed)| (index, vote.sign(&key(seed)).unwrap().signature.clone())).collect()
}

fn certificate(succession: Succession, by: &[(u32, u8)]) -> Certificate {
    let empty = Certificate { succession, ballot: 3, votes: vec![], recovery: None, consents: vec![] };
    Certificate { votes: votes(&empty, by), ..empty }
}

fn recovered(mut certificate: Certificate, by: u8) -> Certificate {
    let item = certificate.succession.recovery_draft().sign(&key(by)).unwrap();
    certificate.recovery = Some(item.raw().clone());
    certificate
}

/// The certificate by which the recovery key gives a process to another scheduler from a slot on.
pub(crate) fn handed_over(terms: &EpochTerms, length: u64, to: u8) -> Bytes {
    let succession = Succession { length, ..succession(terms, SchedulerSet::single(address(to))) };
    recovered(certificate(succession, &[]), OWNER).to_wire().encode_to_vec().into()
}

fn consented(mut certificate: Certificate, by: &[(u32, u8)]) -> Certificate {
    let bytes = certificate.succession.consent_bytes();
    certificate.consents =
        by.iter().map(|&(index, seed)| (index, KeySignature::sign(&key(seed), &bytes).unwrap())).collect();
    certificate
}

/// Through the wire, as everyone but its author sees it.
fn decide(certificate: &Certificate, terms: &EpochTerms) -> Result<EpochTerms, CertificateError> {
    let bytes = certificate.to_wire().encode_to_vec().into();
    let read: Unverified<Certificate> = Certificate::decode(&bytes, NETWORK)?;
    assert_eq!(read.claims(), certificate);
    read.verify(terms).map(|(_, next)| next)
}

#[test]
fn the_first_terms_follow_from_the_process_item() {
    let plain = terms_of(&[]).unwrap();
    assert_eq!(plain.scheduler(), address(SCHEDULER));
    assert_eq!(plain.attestors(), Attestors { members: addresses(&[SCHEDULER]), quorum: 1 });
    assert_eq!((plain.epoch(), plain.first_slot(), plain.recovery()), (0, 0, Some(address(OWNER))));
    assert_eq!(plain, EpochTerms::of_process(&process(&[])).unwrap());

    let set = set_terms(&[]);
    assert_eq!(set.attestors(), Attestors { members: addresses(&SET), quorum: 2 });
    assert_eq!(set.schedulers().lease_ms(), 15_000);

    let recovery = |value: &str| terms_of(&[("Scheduler-Recovery", value)]).map(|terms| terms.recovery());
    assert_eq!(recovery("none"), Ok(None));
    assert_eq!(recovery(&address(RECOVERY).to_string()), Ok(Some(address(RECOVERY))));
    assert_eq!(recovery("someone"), Err(TermsError::Recovery));
    assert_eq!(terms_of(&[("Origin-Proof", "x")]).unwrap().recovery(), None);
}

#[test]
fn sets_that_are_no_sets_are_refused() {
    let new = |seeds: &[u8], quorum, lease| SchedulerSet::new(addresses(seeds), quorum, lease);
    assert!(new(&SET, 2, 1_000).is_ok());
    assert!(new(&[1, 2, 3, 4, 5, 6, 7], 4, 600_000).is_ok());
    for refused in [
        new(&[], 0, 0),
        new(&[2], 1, 1_000),
        new(&[2, 2], 2, 1_000),
        new(&[1, 2, 3, 4, 5, 6, 7, 8], 5, 1_000),
        new(&SET, 1, 1_000),
        new(&SET, 4, 1_000),
        new(&SET, 2, 999),
        new(&SET, 2, 600_001),
    ] {
        assert!(matches!(refused, Err(TermsError::SchedulerSet(_))));
    }
    let first = SET.map(|seed| address(seed).to_string());
    let wrong_first = [first[1].clone(), first[0].clone()].join(",");
    let tags =
        [("Scheduler-Set", wrong_first.as_str()), ("Scheduler-Quorum", "2"), ("Scheduler-Lease-Ms", "1000")];
    assert!(matches!(terms_of(&tags), Err(TermsError::SchedulerSet(_))));
    assert!(matches!(terms_of(&tags[..1]), Err(TermsError::SchedulerSet(_))));
}

#[test]
fn signed_bytes_are_golden() {
    let succession = Succession {
        process: Id([9; 32]),
        attestors: Some(Attestors { members: addresses(&COMPUTE), quorum: 2 }),
        ..succession(&set_terms(&[]), rotated())
    };
    let certificate = certificate(succession.clone(), &[]);
    let keys = |seeds: &[u8]| addresses(seeds).iter().flat_map(|address| address.0).collect::<Vec<u8>>();
    let expected = [
        b"weft/epoch/1".as_slice(),
        &7_u32.to_be_bytes(),
        &[9; 32],
        &0_u64.to_be_bytes(),
        &5_u64.to_be_bytes(),
        &[6; 32],
        &[3],
        &keys(&[21, 22, SCHEDULER]),
        &[2],
        &[3],
        &keys(&COMPUTE),
        &[2],
        &15_000_u64.to_be_bytes(),
        &1_u32.to_be_bytes(),
    ]
    .concat();
    assert_eq!(succession.hash().0, *sha2::Sha256::digest(&expected));
    let expected = [
        b"weft/vote/1".as_slice(),
        &7_u32.to_be_bytes(),
        &[9; 32],
        &0_u64.to_be_bytes(),
        &3_u64.to_be_bytes(),
        &succession.hash().0,
    ]
    .concat();
    assert_eq!(certificate.vote().to_bytes(), expected);
    assert_eq!(
        hex::encode(succession.hash()),
        "c3c2670e5d960124581928f67e3f952e93f9406a67e1c18ba0115f619d62f022"
    );
    let golden = |bytes: &[u8]| blake3::hash(bytes).to_hex()[..32].to_owned();
    assert_eq!(golden(&certificate.vote().to_bytes()), "5352a8c0ed3a038f77ae3f8edee228a2");
    assert_eq!(golden(&succession.consent_bytes()), "9e9660d85b670cf8ba05bf66dc6a08af");
    assert_eq!(golden(&certificate.to_wire().encode_to_vec()), "b2224c6c0a6c14b1c03a4c1e188da86d");
}

#[test]
fn a_quorum_of_the_set_passes_the_turn() {
    let terms = set_terms(&[]);
    let next =
        decide(&certificate(succession(&terms, rotated()), &[(0, SCHEDULER), (2, 22)]), &terms).unwrap();
    assert_eq!(next.scheduler(), address(21));
    assert_eq!((next.epoch(), next.first_slot(), next.chain()), (1, 5, Hash([6; 32])));
    // The next epoch is ended by its own set, in its own order.
    let again = certificate(Succession { length: 9, ..succession(&next, rotated()) }, &[(0, 21), (1, 22)]);
    assert_eq!(decide(&again, &next).unwrap().epoch(), 2);
    assert!(decide(&again, &terms).is_err());
}

#[test]
fn less_than_a_quorum_or_others_decide_nothing() {
    let terms = set_terms(&[]);
    let refused: [&[(u32, u8)]; 7] = [
        &[],
        &[(0, SCHEDULER)],
        &[(0, SCHEDULER), (0, SCHEDULER)],
        &[(1, 21), (0, SCHEDULER)],
        &[(0, SCHEDULER), (1, STRANGER)],
        &[(0, SCHEDULER), (3, STRANGER)],
        &[(0, SCHEDULER), (1, 21), (2, 22)],
    ];
    for by in refused {
        assert!(decide(&certificate(succession(&terms, rotated()), by), &terms).is_err(), "{by:?}");
    }
    // Votes of another ballot, or for another succession.
    let valid = certificate(succession(&terms, rotated()), &[(0, SCHEDULER), (1, 21)]);
    let moved = Certificate { ballot: 4, ..valid.clone() };
    assert!(matches!(decide(&moved, &terms), Err(CertificateError::Signature(_))));
    let longer = Succession { length: 6, ..valid.succession.clone() };
    let longer = Certificate { succession: longer, ..valid };
    assert!(matches!(decide(&longer, &terms), Err(CertificateError::Signature(_))));
}

#[test]
fn the_recovery_key_alone_hands_over_a_single_scheduler() {
    let terms = terms_of(&[]).unwrap();
    let to_stranger = || certificate(succession(&terms, SchedulerSet::single(address(STRANGER))), &[]);
    let next = decide(&recovered(to_stranger(), OWNER), &terms).unwrap();
    assert_eq!(next.scheduler(), address(STRANGER));
    assert_eq!(next.attestors().members, addresses(&[STRANGER]));
    assert!(decide(&recovered(to_stranger(), STRANGER), &terms).is_err());
    assert!(decide(&to_stranger(), &terms).is_err());
    // The scheduler alone may begin a new epoch for itself, but not give the process away.
    let by_scheduler =
        |to| certificate(succession(&terms, SchedulerSet::single(address(to))), &[(0, SCHEDULER)]);
    assert!(decide(&by_scheduler(SCHEDULER), &terms).is_ok());
    assert!(decide(&by_scheduler(STRANGER), &terms).is_err());
}

#[test]
fn the_recovery_key_cannot_replace_a_set() {
    let terms = set_terms(&[]);
    let alone = recovered(certificate(succession(&terms, rotated()), &[]), OWNER);
    assert!(matches!(decide(&alone, &terms), Err(CertificateError::Unauthorised(_))));
}

#[test]
fn new_attestors_need_the_schedulers_and_the_recovery_key() {
    let terms = set_terms(&[]);
    let change = Succession {
        attestors: Some(Attestors { members: addresses(&COMPUTE), quorum: 2 }),
        ..succession(&terms, rotated())
    };
    let voted = certificate(change.clone(), &[(0, SCHEDULER), (1, 21)]);
    assert!(matches!(decide(&voted, &terms), Err(CertificateError::Unauthorised(_))));
    assert!(decide(&recovered(certificate(change, &[]), OWNER), &terms).is_err());
    let next = decide(&recovered(voted.clone(), OWNER), &terms).unwrap();
    assert_eq!(next.attestors().members, addresses(&COMPUTE));
    assert!(decide(&consented(voted, &[(0, SCHEDULER), (1, 21)]), &terms).is_err());
}

#[test]
fn without_a_recovery_key_the_old_attestors_consent() {
    let compute = COMPUTE.map(|seed| address(seed).to_string()).join(",");
    let terms = set_terms(&[("Scheduler-Recovery", "none"), ("Compute", &compute), ("Compute-Quorum", "2")]);
    let change = Succession {
        attestors: Some(Attestors { members: addresses(&[31]), quorum: 1 }),
        ..succession(&terms, rotated())
    };
    let voted = certificate(change, &[(0, SCHEDULER), (1, 21)]);
    assert!(decide(&voted, &terms).is_err());
    assert!(decide(&consented(voted.clone(), &[(0, COMPUTE[0])]), &terms).is_err());
    assert!(decide(&consented(voted.clone(), &[(0, COMPUTE[0]), (1, STRANGER)]), &terms).is_err());
    assert!(decide(&recovered(voted.clone(), OWNER), &terms).is_err());
    let next = decide(&consented(voted, &[(0, COMPUTE[0]), (2, COMPUTE[2])]), &terms).unwrap();
    assert_eq!(next.attestors(), Attestors { members: addresses(&[31]), quorum: 1 });
}

#[test]
fn a_recovery_item_decides_one_succession_only() {
    let terms = terms_of(&[]).unwrap();
    let other = succession(&terms, SchedulerSet::single(address(CARRIER))).recovery_draft();
    let item: Verified<DataItem> = other.sign(&key(OWNER)).unwrap();
    let mut forged = certificate(succession(&terms, SchedulerSet::single(address(STRANGER))), &[]);
    forged.recovery = Some(item.raw().clone());
    assert_eq!(decide(&forged, &terms), Err(CertificateError::Recovery));
}

#[test]
fn a_certificate_of_another_process_epoch_or_network_decides_nothing() {
    let terms = terms_of(&[]).unwrap();
    let own = |change: &dyn Fn(&mut Succession)| {
        let mut next = succession(&terms, SchedulerSet::single(address(SCHEDULER)));
        change(&mut next);
        decide(&certificate(next, &[(0, SCHEDULER)]), &terms)
    };
    assert!(own(&|_| ()).is_ok());
    assert_eq!(own(&|next| next.process = Id([1; 32])), Err(CertificateError::Epoch(0)));
    assert_eq!(own(&|next| next.epoch = 1), Err(CertificateError::Epoch(0)));
    let valid = certificate(succession(&terms, SchedulerSet::single(address(SCHEDULER))), &[(0, SCHEDULER)]);
    let bytes: Bytes = valid.to_wire().encode_to_vec().into();
    let elsewhere = Certificate::decode(&bytes, weft_protocol::Network(8)).unwrap().verify(&terms);
    assert!(matches!(elsewhere, Err(CertificateError::Signature(_))));
}

#[test]
fn no_changed_byte_of_a_certificate_decides() {
    let terms = set_terms(&[]);
    let valid = recovered(certificate(succession(&terms, rotated()), &[(0, SCHEDULER), (1, 21)]), OWNER);
    let bytes = valid.to_wire().encode_to_vec();
    for at in 0..bytes.len() {
        let mut forged = bytes.clone();
        forged[at] ^= 1 << (at % 8);
        let read = Certificate::decode(&forged.into(), NETWORK);
        assert!(read.and_then(|read| read.verify(&terms)).is_err(), "byte {at} may change");
    }
}

#[test]
fn a_proof_of_a_later_epoch_carries_its_certificates() {
    let mut sender = Sender::new(false);
    let first = EpochTerms::of_header(&sender.header).unwrap();
    let next = recovered(certificate(succession(&first, SchedulerSet::single(address(21))), &[]), OWNER);
    let bytes: Bytes = next.to_wire().encode_to_vec().into();
    sender.outcome.position = Position { epoch: 1, slot: 5, tick: 0 };
    sender.certificates = vec![bytes.clone()];
    let (proof, dispatch) = sender.build(MESSAGE, &sender.attest(&[21])).unwrap();
    assert!(Push::of(&proof, &dispatch, CARRIER).verify().is_ok());
    // The scheduler of epoch 0 no longer speaks for the process.
    assert_eq!(sender.build(MESSAGE, &sender.attest(&[SCHEDULER])).unwrap_err(), ProofError::Attestors);
    sender.outcome.position.slot = 4;
    assert_eq!(sender.build(MESSAGE, &[]).unwrap_err(), ProofError::Slot(4));
    sender.outcome.position = Position { epoch: 0, slot: 4, tick: 0 };
    assert_eq!(sender.build(MESSAGE, &[]).unwrap_err(), ProofError::Certificates { given: 1, epoch: 0 });
    sender.outcome.position.epoch = 33;
    sender.certificates = vec![bytes; 33];
    assert_eq!(sender.build(MESSAGE, &[]).unwrap_err(), ProofError::Certificates { given: 33, epoch: 33 });
}
