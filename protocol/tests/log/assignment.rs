use weft_protocol::assignment::{Assignment, AssignmentDraft, AssignmentError, Excluded};
use weft_protocol::{Draft, Hash, Id, Network, Tag, hash_chain};

use crate::fixture::*;

const PROCESS: Id = Id([1; 32]);
const MESSAGE: Id = Id([2; 32]);

#[test]
fn tags_stand_in_the_reference_s_order() {
    let excludes = vec![Excluded::Data, Excluded::Tags];
    let draft = AssignmentDraft { excludes, ..draft(PROCESS, 5, Some(MESSAGE)) }.draft();
    let names: Vec<&str> = draft.tags.iter().map(|tag| tag.name.as_str()).collect();
    assert_eq!(
        names,
        [
            "Process",
            "Epoch",
            "Nonce",
            "Hash-Chain",
            "Block-Height",
            "Timestamp",
            "Data-Protocol",
            "Type",
            "Variant",
            "Message",
            "Exclude",
            "Exclude"
        ]
    );
    assert_eq!(draft.tags[4].value, "000014166666");
    assert_eq!((draft.tags[10].value.as_str(), draft.tags[11].value.as_str()), ("Data", "Tags"));
    assert!(draft.target.is_none() && draft.data.is_empty());
}

#[test]
fn what_is_written_is_read() {
    let written = AssignmentDraft { excludes: vec![Excluded::Anchor], ..draft(PROCESS, 5, Some(MESSAGE)) };
    let item = written.draft().sign(&key(2)).unwrap();
    let read = Assignment::from_item(&item).unwrap();
    assert_eq!((read.id, read.process, read.epoch, read.slot), (item.id(), PROCESS, 0, 5));
    assert_eq!((read.time, read.message, read.hash_chain), (written.time, Some(MESSAGE), Hash([3; 32])));
    assert_eq!((read.excludes.as_slice(), read.item()), (&[Excluded::Anchor][..], MESSAGE));
    assert!(read.opens_to(NETWORK));
    assert!(!read.opens_to(Network(8)));
    let process_slot = assigned(PROCESS, 0, None, &[]);
    assert_eq!(process_slot.item(), PROCESS);
    assert!(process_slot.opens_to(NETWORK));
}

/// Builds the same assignment with one tag replaced, or removed where the value is empty.
fn changed(name: &str, value: &str) -> Result<Assignment, AssignmentError> {
    let mut draft: Draft = draft(PROCESS, 5, Some(MESSAGE)).draft();
    draft.tags.retain(|tag| tag.name != name || !value.is_empty());
    for tag in &mut draft.tags {
        if tag.name == name {
            tag.value = value.to_owned();
        }
    }
    if !value.is_empty() && !draft.tags.iter().any(|tag| tag.name == name) {
        draft.tags.push(Tag::new(name, value));
    }
    Assignment::from_item(&draft.sign(&key(2)).unwrap())
}

#[test]
fn every_tag_must_be_there_and_well_formed() {
    for name in
        ["Process", "Epoch", "Nonce", "Hash-Chain", "Block-Height", "Timestamp", "Data-Protocol", "Type"]
    {
        assert_eq!(changed(name, ""), Err(AssignmentError::Missing(name)));
    }
    for (name, value) in [
        ("Process", "x"),
        ("Hash-Chain", "x"),
        ("Message", "x"),
        ("Epoch", "-1"),
        ("Nonce", "+5"),
        ("Timestamp", "1.5"),
        ("Timestamp", "9007199254740992"),
        ("Block-Height", "1e3"),
    ] {
        assert_eq!(changed(name, value), Err(AssignmentError::Invalid { name, value: value.to_owned() }));
    }
    assert!(matches!(changed("Nonce", "0"), Err(AssignmentError::Message(0, _))));
    assert!(matches!(changed("Message", ""), Err(AssignmentError::Message(5, _))));
    assert!(matches!(changed("Type", "Message"), Err(AssignmentError::Missing("Type"))));
    // A name that is no field of an item excludes nothing.
    assert_eq!(changed("Exclude", "Owner").unwrap().excludes, []);
}

#[test]
fn an_assignment_has_neither_target_nor_data() {
    let plain = draft(PROCESS, 5, Some(MESSAGE)).draft();
    for draft in [
        Draft { target: Some(PROCESS), ..plain.clone() },
        Draft { data: b"x".as_slice().into(), ..plain.clone() },
    ] {
        let item = draft.sign(&key(2)).unwrap();
        assert_eq!(Assignment::from_item(&item), Err(AssignmentError::NotEmpty));
    }
    let mut many = plain;
    many.tags.extend(vec![Tag::new("Exclude", "Data"); 5]);
    assert_eq!(Assignment::from_item(&many.sign(&key(2)).unwrap()), Err(AssignmentError::Excludes));
}

/// The two formulas of checks 10 and 11 (tests/CHECKS.md), spelled out.
#[test]
fn the_chain_hashes_the_assignment_before_the_link() {
    use sha2::{Digest, Sha256};
    let first = hash_chain::first(PROCESS);
    assert_eq!(first.0, <[u8; 32]>::from(Sha256::digest(PROCESS.0)));
    let next = hash_chain::next(Id([4; 32]), first);
    assert_eq!(next.0, <[u8; 32]>::from(Sha256::digest([[4; 32], first.0].concat())));
}
