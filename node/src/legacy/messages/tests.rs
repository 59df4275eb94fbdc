#![allow(clippy::unwrap_used)]

use bytes::Bytes;
use weft_protocol::assignment::AssignmentDraft;
use weft_protocol::crypto::Signer;
use weft_protocol::time::TimePoint;
use weft_protocol::{Draft, Hash, Verified};
use weft_storage::{Store, StoreConfig};

use super::*;
use crate::log;
use crate::shared::testing::{NETWORK, assigned, slot_row};

fn item(target: Option<Id>, data: &'static [u8]) -> Verified<DataItem> {
    let tags = vec![Tag::new("Data-Protocol", "ao"), Tag::new("Type", "Message")];
    let draft = Draft { target, anchor: Some([0xff; 32]), tags, data: Bytes::from_static(data) };
    draft.sign(&Signer::from_seed(&[1; 32])).unwrap()
}

/// A log on disk.
struct Disk {
    store: Store,
    process: Id,
    slots: u64,
    _folder: tempfile::TempDir,
}

impl Disk {
    /// A process whose data is no text, at this time.
    fn new(timestamp: u64) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let address = Signer::from_seed(&[2; 32]).address();
        let config = StoreConfig::new(NETWORK, address);
        let store = Store::open(&folder.path().join("store.redb"), &config).unwrap();
        let opening = item(None, &[0xff, b'a']);
        let mut disk = Self { store, process: opening.id(), slots: 0, _folder: folder };
        disk.push(timestamp, &opening);
        disk
    }

    fn push(&mut self, timestamp: u64, item: &Verified<DataItem>) {
        let slot = self.slots;
        let draft = AssignmentDraft {
            hash_chain: Hash([slot as u8; 32]),
            time: TimePoint { timestamp, height: timestamp / 120_000 },
            ..assigned(self.process, slot, item.id())
        };
        let row = slot_row(&draft, item.id(), &Signer::from_seed(&[2; 32]));
        self.store.write_blocking(log::slot_writes(self.process, slot, row, &[item])).unwrap();
        self.slots += 1;
    }

    /// Messages at these times after the process at 1,000.
    fn with(times: &[u64]) -> Self {
        let mut disk = Self::new(1_000);
        for &time in times {
            let data = Box::leak(disk.slots.to_string().into_bytes().into_boxed_slice());
            let message = item(Some(disk.process), data);
            disk.push(time, &message);
        }
        disk
    }

    fn page(&self, span: Span, limit: usize) -> (Vec<u64>, bool) {
        let page = page(&self.store.read().unwrap(), &self.process, span, limit).unwrap();
        let nonce = |edge: &Edge| {
            let nonce = edge.node.assignment.tags.iter().find(|tag| tag.name == "Nonce");
            nonce.unwrap().value.parse().unwrap()
        };
        (page.edges.iter().map(nonce).collect(), page.page_info.has_next_page)
    }
}

fn times(from: Option<u64>, to: Option<u64>) -> Span {
    Span::Times { from, to }
}

#[test]
fn check_030_the_process_is_the_first_edge_only_without_a_beginning() {
    let disk = Disk::with(&[1_000, 2_000]);
    assert_eq!(disk.page(times(None, None), LIMIT), (vec![0, 1, 2], false));
    assert_eq!(disk.page(times(Some(1_000), None), LIMIT), (vec![2], false));
    assert_eq!(disk.page(times(Some(0), None), LIMIT), (vec![1, 2], false));
}

#[test]
fn check_031_a_page_lies_after_its_beginning_and_up_to_its_end() {
    let disk = Disk::with(&[1_001, 1_002, 1_003]);
    assert_eq!(disk.page(times(Some(1_001), Some(1_003)), LIMIT), (vec![2, 3], false));
    assert_eq!(disk.page(times(Some(1_001), Some(1_002)), LIMIT), (vec![2], false));
    assert_eq!(disk.page(times(Some(1_003), None), LIMIT), (vec![], false));
}

#[test]
fn check_032_nonces_count_from_minus_one() {
    let disk = Disk::with(&[1_001, 1_002]);
    let nonces = |from, to| Span::Nonces { from, to };
    assert_eq!(disk.page(nonces(None, None), 1), (vec![0], true));
    assert_eq!(disk.page(nonces(Some(0), None), 9), (vec![1, 2], false));
    assert_eq!(disk.page(nonces(Some(0), Some(1)), 9), (vec![1], false));
    assert_eq!(disk.page(nonces(Some(u64::MAX), None), 9), (vec![], false));
    let reader = disk.store.read().unwrap();
    let first = page(&reader, &disk.process, nonces(None, None), 1).unwrap();
    assert_eq!(first.edges[0].cursor, "0");
    assert_eq!(first.edges[0].node.message.as_ref().unwrap().id, disk.process);
}

#[test]
fn check_033_the_last_page_knows_that_it_is() {
    let disk = Disk::with(&(1_001..=1_000 + LIMIT as u64).collect::<Vec<_>>());
    let (slots, more) = disk.page(times(None, None), LIMIT);
    assert_eq!((slots.len(), more), (LIMIT, true));
    assert_eq!(disk.page(times(Some(1_000), None), LIMIT).0.len(), LIMIT);
    assert!(!disk.page(times(Some(1_000), None), LIMIT).1);
}

#[test]
fn a_page_never_ends_inside_a_run_of_equal_timestamps() {
    let disk = Disk::with(&[1_001, 1_002, 1_002, 1_002, 1_003]);
    assert_eq!(disk.page(times(Some(1_000), None), 2), (vec![1, 2, 3, 4], true));
    assert_eq!(disk.page(times(Some(1_002), None), 2), (vec![5], false));
    // Whatever the limit, walking by cursors sees each slot once.
    for limit in 1..=6 {
        let (mut seen, mut from) = (Vec::new(), None);
        loop {
            let reader = disk.store.read().unwrap();
            let page = page(&reader, &disk.process, times(from, None), limit).unwrap();
            seen.extend(page.edges.iter().map(|edge| edge.node.assignment.id));
            from = page.edges.last().map(|edge| edge.cursor.parse().unwrap());
            if !page.page_info.has_next_page {
                break;
            }
        }
        seen.dedup();
        assert_eq!(seen.len(), 6, "limit {limit}");
    }
}

/// As a scheduler's group has it: several slots of one millisecond.
#[test]
fn a_log_can_be_paged_by_time_past_large_messages() {
    let mut disk = Disk::with(&[1_001]);
    let large = Box::leak(vec![0xff; 100_000].into_boxed_slice());
    for number in 0..5 {
        large[0] = number;
        let message = item(Some(disk.process), Box::leak(large.to_vec().into_boxed_slice()));
        disk.push(2_000, &message);
    }
    let last = item(Some(disk.process), b"last");
    disk.push(2_001, &last);
    let reader = disk.store.read().unwrap();
    // Each is shown with some 300,000 bytes, as it is no text.
    let bytes = PageBytes { wanted: 700_000, max: 2_000_000 };
    let page = |span, bytes| page_within(&reader, &disk.process, span, LIMIT, bytes);
    let count = |span| page(span, bytes).map(|page| (page.edges.len(), page.page_info.has_next_page));
    assert_eq!(count(times(None, None)).unwrap(), (2, true), "it ends before what it has no room for");
    assert_eq!(count(times(Some(1_001), None)).unwrap(), (5, true), "and begins with all of it");
    assert_eq!(count(times(Some(2_000), None)).unwrap(), (1, false));
    assert_eq!(count(Span::Nonces { from: Some(1), to: None }).unwrap(), (2, true));
    assert_eq!(count(Span::Nonces { from: Some(5), to: None }).unwrap(), (2, false));
    // One alone may have more than is wanted, and than any page has.
    let tight = PageBytes { wanted: 1_000, max: 1_000_000 };
    assert_eq!(page(Span::Nonces { from: Some(1), to: None }, tight).unwrap().edges.len(), 1);
    let error = page(times(Some(1_001), None), tight).unwrap_err().to_string();
    assert_eq!(error, "the page has more than 1000000 bytes at one timestamp; ask for nonces instead");
}

#[test]
fn check_034_one_message_is_found_by_its_id() {
    let mut disk = Disk::with(&[1_001]);
    let foreign = item(Some(Id([9; 32])), b"for somebody else");
    disk.push(1_002, &foreign);
    let reader = disk.store.read().unwrap();
    let newest = latest(&reader, &disk.process).unwrap();
    // Check 28: what was only assigned has no body here.
    assert_eq!(newest.message, None);
    let named = newest.assignment.tags.iter().find(|tag| tag.name == "Message").unwrap();
    assert_eq!(named.value, foreign.id().to_string());
    let by_id = |id: &Id| message(&reader, &disk.process, id).unwrap();
    for unknown in [foreign.id(), Id([8; 32])] {
        assert_eq!(by_id(&unknown), None);
        assert_eq!(slot_of_assignment(&reader, &disk.process, &unknown, 0).unwrap(), None);
    }
    let row = reader.slot(&disk.process, 1).unwrap().unwrap();
    let found = by_id(&row.item).unwrap();
    assert_eq!((found.message.unwrap().id, found.assignment.id), (row.item, row.assignment_id));
    // By the assignment both are found, and the process too.
    for slot in 0..=2 {
        let row = reader.slot(&disk.process, slot).unwrap().unwrap();
        let found = slot_of_assignment(&reader, &disk.process, &row.assignment_id, 0).unwrap();
        assert_eq!(found, Some(slot));
        assert_eq!(at(&reader, &disk.process, slot).unwrap().assignment.id, row.assignment_id);
    }
}

#[test]
fn an_assignment_is_looked_for_over_pages_of_slots() {
    let disk = Disk::with(&(0..2 * ASSIGNMENTS_PAGE + 5).map(|n| 1_001 + n).collect::<Vec<_>>());
    let reader = disk.store.read().unwrap();
    let head = reader.head(&disk.process).unwrap().unwrap().0;
    for slot in [0, 4, ASSIGNMENTS_PAGE, head - ASSIGNMENTS_PAGE, head] {
        let row = reader.slot(&disk.process, slot).unwrap().unwrap();
        assert_eq!(slot_of_assignment(&reader, &disk.process, &row.assignment_id, 0).unwrap(), Some(slot));
        let later = slot_of_assignment(&reader, &disk.process, &row.assignment_id, slot + 1).unwrap();
        assert_eq!(later, None, "only what was not looked through yet");
    }
    assert_eq!(slot_of_assignment(&reader, &disk.process, &Id([8; 32]), 0).unwrap(), None);
}

#[test]
fn check_035_times_are_texts() {
    let said = serde_json::to_value(timestamp(Now(1_800_000_000_000))).unwrap();
    assert_eq!(said["timestamp"], "1800000000000");
    assert_eq!(said["block_height"], "000015000000");
}

#[test]
fn check_036_an_empty_process_has_no_latest_message() {
    let disk = Disk::new(1_000);
    let reader = disk.store.read().unwrap();
    let error = latest(&reader, &disk.process).unwrap_err();
    assert_eq!(error.to_string(), "Latest message not available");
    assert!(matches!(latest(&reader, &Id([3; 32])), Err(LegacyError::NoProcess)));
}

#[test]
fn check_042_bytes_that_are_no_text_are_replaced_or_null() {
    let mut disk = Disk::new(1_000);
    let odd = item(Some(disk.process), &[b'a', 0xff]);
    disk.push(1_001, &odd);
    let reader = disk.store.read().unwrap();
    let page = page(&reader, &disk.process, times(None, None), LIMIT).unwrap();
    let json = serde_json::to_value(&page).unwrap();
    assert!(json["edges"][0]["node"]["message"]["data"].is_null());
    let message = &json["edges"][1]["node"]["message"];
    assert_eq!((&message["data"], &message["anchor"]), (&"a\u{fffd}".into(), &serde_json::Value::Null));
    assert!(json["edges"][1]["node"]["assignment"].get("data").is_none());
    let info = process_info(&reader, &disk.process).unwrap();
    assert_eq!((info.data, &info.block[..], info.timestamp), (None, "000000000000", 1_000));
    assert_eq!(serde_json::from_value::<Page>(json).unwrap().edges.len(), 2);
}
