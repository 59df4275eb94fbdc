//! Spawned processes and the answer to their parent.

use bytes::Bytes;
use weft_protocol::header::Header;
use weft_protocol::limits::{ENTRY_TAG_BYTES_MAX, ENTRY_TAGS_MAX};
use weft_protocol::origin::{OriginProof, ProofError, ProvenKind};
use weft_protocol::outcome::{EntryKind, OutboxEntry};
use weft_protocol::process::Process;
use weft_protocol::push::{Dispatch, Source};
use weft_protocol::spawn::spawned_push_id;
use weft_protocol::{DataItem, Draft, Id, Position, Tag, Verified, tag};

use crate::fixture::*;

/// A child that its scheduler has given slot 0.
struct Born {
    sender: Sender,
    proof: OriginProof,
    dispatch: Dispatch,
    child: Process,
    assignment: Verified<DataItem>,
}

fn born() -> Born {
    let sender = Sender::new(true);
    let (proof, dispatch) = sender.prove(SPAWN);
    let push = Push::of(&proof, &dispatch, CARRIER);
    let parent = push.verify().unwrap().sender.process;
    let child = Process::accept(push.item, Some(parent), &terms()).unwrap();
    let assignment = Log::new(child.clone()).assign(None);
    Born { sender, proof, dispatch, child, assignment }
}

impl Born {
    fn spawned(&self, proof: &OriginProof, child: Id) -> Push {
        let proof = proof.sign(&key(CARRIER)).unwrap();
        let item = self.dispatch.spawned(child, proof.id()).unwrap().sign(&key(CARRIER)).unwrap();
        Push { item, proof }
    }

    fn with(&self, child: &Verified<DataItem>, assignment: &Verified<DataItem>) -> Push {
        let header = Verified::<Header>::of(child);
        self.spawned(&self.proof.clone().with_child(&header, assignment), child.id())
    }
}

#[test]
fn a_spawn_makes_its_source_the_owner() {
    let born = born();
    let expected = tags(&[
        ("Module", &MODULE.to_string()),
        ("Reference", "3"),
        ("Scheduler", &address(SCHEDULER).to_string()),
        ("Variant", "ao.TN.1"),
        ("Data-Protocol", "ao"),
        ("Type", "Process"),
        ("From-Process", &born.sender.process.id().to_string()),
        ("From-Module", &MODULE.to_string()),
        ("Pushed-For", &ROOT.to_string()),
    ]);
    assert_eq!(born.child.item().tags()[..9], expected);
    assert_eq!(born.child.owner(), born.sender.process.id().to_string());
    assert_eq!(born.child.parent(), Some(born.sender.process.id()));
}

#[test]
fn a_spawn_keeps_its_own_scheduler_and_variant() {
    let mut born = born();
    born.dispatch.entry.tags = tags(&[("Variant", "ao.X"), ("Scheduler", "S"), ("Module", "M")]);
    let process = born.dispatch.process(Id([1; 32])).unwrap();
    assert_eq!(tag::all(&process.tags, "Scheduler").collect::<Vec<_>>(), ["S"]);
    assert_eq!(tag::all(&process.tags, "Variant").collect::<Vec<_>>(), ["ao.X"]);
    let spawned = born.dispatch.spawned(Id([2; 32]), Id([1; 32])).unwrap();
    assert_eq!(tag::all(&spawned.tags, "Variant").collect::<Vec<_>>(), ["ao.X"]);
}

#[test]
fn spawned_is_proven_and_counts_apart_from_the_spawn() {
    let born = born();
    let push = born.with(born.child.item(), &born.assignment);
    let origin = push.verify().unwrap();
    assert_eq!(origin.kind, ProvenKind::Spawned { child: born.child.id() });
    assert_eq!(origin.sender.process, born.sender.process.id());
    assert_eq!(origin.sender.push, spawned_push_id(&origin.source.push_id(NETWORK)));
    assert_eq!(push.item.target(), Some(born.sender.process.id()));
    assert_eq!(push.item.tag("Action"), Some("Spawned"));
    assert_eq!(push.item.tag("Reference"), Some("3"));
    assert_eq!(push.item.tag("Process"), Some(born.child.id().to_string().as_str()));
}

#[test]
fn a_child_of_another_carrier_serves_as_well() {
    let born = born();
    let twin = Push::of(&born.proof, &born.dispatch, STRANGER).item;
    assert_ne!(twin.id(), born.child.id());
    let process = Process::accept(twin.clone(), None, &terms()).unwrap();
    let assignment = Log::new(process).assign(None);
    assert!(born.with(&twin, &assignment).verify().is_ok());
}

#[test]
fn a_child_that_differs_from_its_entry_is_refused() {
    let born = born();
    let original = born.child.item();
    let edits: [&dyn Fn(&mut Draft); 5] = [
        &|draft| draft.data = Bytes::from_static(b"return 'other'"),
        &|draft| draft.anchor = None,
        &|draft| draft.target = Some(Id([1; 32])),
        &|draft| draft.tags.push(Tag::new("Authority", "me")),
        &|draft| draft.tags[2].value = address(STRANGER).to_string(),
    ];
    for edit in edits {
        let push = Push { item: original.clone(), proof: original.clone() };
        let child = push.edited(edit).sign(&key(CARRIER)).unwrap();
        let assignment = Log::new(born.child.clone()).draft(None);
        let assignment = weft_protocol::assignment::AssignmentDraft {
            process: child.id(),
            hash_chain: weft_protocol::hash_chain::first(child.id()),
            ..assignment
        };
        let assignment = assignment.draft().sign(&key(SCHEDULER)).unwrap();
        assert!(born.with(&child, &assignment).verify().is_err());
    }
}

#[test]
fn a_child_without_its_scheduler_s_slot_0_is_refused() {
    let born = born();
    let draft = Log::new(born.child.clone()).draft(None).draft();
    let stranger = draft.sign(&key(STRANGER)).unwrap();
    assert!(matches!(born.with(born.child.item(), &stranger).verify(), Err(ProofError::Child(_))));
    let mut log = Log::new(born.child.clone());
    log.assign(None);
    let later = log.assign(Some(Id([1; 32])));
    assert!(matches!(born.with(born.child.item(), &later).verify(), Err(ProofError::Child(_))));
    let other = Log::new(target()).assign(None);
    assert!(matches!(born.with(born.child.item(), &other).verify(), Err(ProofError::Child(_))));
}

#[test]
fn spawned_without_a_child_or_for_another_is_no_push() {
    let born = born();
    assert!(born.spawned(&born.proof, born.child.id()).verify().is_err());
    let header = Verified::<Header>::of(born.child.item());
    let proof = born.proof.clone().with_child(&header, &born.assignment);
    assert_eq!(born.spawned(&proof, Id([1; 32])).verify(), Err(ProofError::Differs("tags")));
    // The proof of a message entry cannot announce a child.
    let (message, _) = born.sender.prove(MESSAGE);
    let message = message.with_child(&header, &born.assignment);
    assert_eq!(born.spawned(&message, born.child.id()).verify(), Err(ProofError::Kind("spawn")));
}

#[test]
fn boot_code_of_any_size_leaves_the_proof_small() {
    let born = born();
    let mut sender = Sender::new(true);
    let mut entries = born.sender.outcome.outbox.entries().to_vec();
    entries[SPAWN as usize].data = vec![7; 3 << 20].into();
    sender.outcome.outbox = weft_protocol::outcome::Outbox::new(entries, 0);
    let (proof, dispatch) = sender.prove(SPAWN);
    let push = Push::of(&proof, &dispatch, CARRIER);
    assert!(push.verify().is_ok());
    let child = Process::accept(push.item.clone(), None, &terms()).unwrap();
    let assignment = Log::new(child).assign(None);
    let header = Verified::<Header>::of(&push.item);
    let proof = proof.with_child(&header, &assignment).sign(&key(CARRIER)).unwrap();
    assert!(proof.raw().len() < 4096, "{} bytes", proof.raw().len());
    let item = dispatch.spawned(push.item.id(), proof.id()).unwrap().sign(&key(CARRIER)).unwrap();
    assert!(Push { item, proof }.verify().is_ok());
}

#[test]
fn the_largest_entry_can_still_be_pushed() {
    let many = vec![Tag::new("k", "v"); ENTRY_TAGS_MAX];
    // Two bytes of lengths, two of the count, one at the end.
    let long = vec![
        Tag::new("k".repeat(1000), "v".repeat(1000)),
        Tag::new("k".repeat(1000), "v".repeat(ENTRY_TAG_BYTES_MAX - 3010)),
    ];
    assert_eq!(tag::encode(&long).unwrap().len(), ENTRY_TAG_BYTES_MAX);
    for tags in [many, long] {
        for kind in [EntryKind::Message, EntryKind::Spawn] {
            let entry = OutboxEntry {
                kind,
                root: Some(ROOT),
                target: (kind == EntryKind::Message).then_some(ROOT),
                anchor: Some([b'1'; 32]),
                tags: tags.clone(),
                data: Bytes::new(),
            };
            let position = Position { epoch: u64::MAX, slot: (1 << 53) - 1, tick: u32::MAX };
            let source = Source { process: ROOT, position, index: 999 };
            let dispatch = Dispatch { source, entry, module: MODULE, scheduler: address(SCHEDULER) };
            let drafts = [dispatch.message(ROOT), dispatch.process(ROOT), dispatch.spawned(ROOT, ROOT)];
            for draft in drafts.into_iter().flatten() {
                draft.sign(&key(CARRIER)).unwrap();
            }
        }
    }
}
