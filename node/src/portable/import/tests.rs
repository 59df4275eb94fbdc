//! What a file may cost whoever reads it.
#![allow(clippy::unwrap_used)]

use prost::Message as _;
use weft_protocol::assignment::AssignmentDraft;
use weft_protocol::bundle::Frame;
use weft_protocol::crypto::Signer;
use weft_protocol::time::Weave;
use weft_protocol::wire::FILED_ATTESTATIONS_MAX;
use weft_protocol::{Draft, Tag, Verified, hash_chain};

use super::*;
use crate::shared::testing::{NETWORK, assigned};

fn sign(target: Option<Id>, tags: &[(&str, &str)], data: Vec<u8>) -> Verified<DataItem> {
    let tags = tags.iter().map(|(name, value)| Tag::new(*name, *value)).collect();
    Draft { target, anchor: None, tags, data: data.into() }.sign(&Signer::from_seed(&[5; 32])).unwrap()
}

fn module() -> Verified<DataItem> {
    let tags = [
        ("Data-Protocol", "ao"),
        ("Type", "Module"),
        ("Module-Format", "wasm32-weft-plain"),
        ("Input-Encoding", "JSON-1"),
        ("Output-Encoding", "JSON-1"),
    ];
    sign(None, &tags, Vec::new())
}

/// The items of a file of a process with messages of so many bytes, and its id.
fn items(messages: &[usize]) -> (Id, Vec<Verified<DataItem>>) {
    let (scheduler, module) = (Signer::from_seed(&[5; 32]).address().to_string(), module().id().to_string());
    let tags =
        [("Data-Protocol", "ao"), ("Type", "Process"), ("Scheduler", &*scheduler), ("Module", &*module)];
    let opening = sign(None, &tags, Vec::new());
    let process = opening.id();
    let (id, network) = (process.to_string(), NETWORK.to_string());
    let manifest = [("Type", MANIFEST_TYPE), ("Process", &*id), ("Network", &*network)];
    let mut items = vec![sign(None, &manifest, Vec::new())];
    let sent = messages.iter().enumerate().map(|(at, bytes)| {
        let tags = [("Data-Protocol", "ao"), ("Type", "Message")];
        sign(Some(process), &tags, vec![at as u8; *bytes])
    });
    let mut chain = hash_chain::first(process);
    for (slot, item) in (0..).zip(std::iter::once(opening).chain(sent)) {
        let draft = AssignmentDraft { hash_chain: chain, ..assigned(process, slot, item.id()) };
        let assignment = draft.draft().sign(&Signer::from_seed(&[5; 32])).unwrap();
        chain = hash_chain::next(assignment.id(), chain);
        items.extend([assignment, item]);
    }
    (process, items)
}

fn attestations(process: Id, count: usize) -> Verified<DataItem> {
    let (id, network) = (process.to_string(), NETWORK.to_string());
    let attestations = vec![wire::Attestation::default(); count];
    let data = wire::AttestationsResponse { attestations }.encode_to_vec();
    sign(None, &[("Type", ATTESTATIONS_TYPE), ("Process", &id), ("Network", &network)], data)
}

/// Reads a file of these items.
fn read(items: &[Verified<DataItem>]) -> (tempfile::TempDir, Reading) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file");
    let sizes: Vec<(Id, usize)> = items.iter().map(|item| (item.id(), item.raw().len())).collect();
    let mut bytes = Frame::of(&sizes).to_bytes();
    items.iter().for_each(|item| bytes.extend_from_slice(item.raw()));
    std::fs::write(&path, bytes).unwrap();
    let reading = Reading::open(&path, Terms { network: NETWORK, weave: Weave::Clock }).unwrap();
    (folder, reading)
}

#[test]
fn large_items_are_read_a_few_at_a_time() {
    const LARGE: usize = 6 * 1024 * 1024;
    let (_, items) = items(&[LARGE; 4]);
    let (_folder, mut reading) = read(&items);
    let mut groups = Vec::new();
    while reading.index < reading.file.len() {
        let group = reading.group();
        assert_eq!(group.refused, None);
        groups.push(group.parts.iter().map(Part::bytes).sum::<usize>());
    }
    // All of it came, and never more at once than the limit and one item.
    assert!(groups.iter().sum::<usize>() > 4 * LARGE, "{groups:?}");
    assert!(groups.iter().all(|bytes| *bytes < GROUP_BYTES + LARGE + 1024 * 1024), "{groups:?}");
    assert_eq!(reading.next_slot(), 5);
}

#[test]
fn a_module_is_accepted_once_however_often_it_stands_there() {
    let (_, mut items) = items(&[10]);
    items.extend([module(), module(), module()]);
    let (_folder, mut reading) = read(&items);
    let group = reading.group();
    assert_eq!(group.refused, None);
    assert_eq!(group.parts.iter().filter(|part| matches!(part, Part::Module(_))).count(), 1);
    assert_eq!(reading.index, reading.file.len());
}

#[test]
fn attestations_are_counted_before_they_are_built() {
    for (count, refused) in [(FILED_ATTESTATIONS_MAX, false), (FILED_ATTESTATIONS_MAX + 1, true)] {
        let (process, mut items) = items(&[]);
        items.push(attestations(process, count));
        let (_folder, mut reading) = read(&items);
        let why = reading.group().refused;
        assert_eq!(why.is_some(), refused, "{count}: {why:?}");
        assert!(why.is_none_or(|why| why.contains("too many")), "{count}");
    }
}
