#![allow(clippy::unwrap_used)]

use weft_protocol::crypto::Signer;
use weft_protocol::{Draft, Hash, Network, Tag, Verified};
use weft_storage::{Store, StoreConfig};

use super::super::find::Key;
use super::*;
use crate::log;

/// Slots of the log that is looked through, the process itself among them; two share each moment.
const SLOTS: u64 = 40;

/// A log of messages that carry their number, a height each two of them.
fn disk(folder: &std::path::Path) -> (Store, Id) {
    let signer = Signer::from_seed(&[2; 32]);
    let store =
        Store::open(&folder.join("store.redb"), &StoreConfig::new(Network(7), signer.address())).unwrap();
    let item = |target, number: u64| {
        let tags = vec![Tag::new("Type", "Message"), Tag::new("Number", number.to_string())];
        Draft { target, tags, ..Draft::default() }.sign(&signer).unwrap()
    };
    let opening = item(None, 0);
    let process = opening.id();
    for slot in 0..SLOTS {
        let message: Verified<DataItem> = if slot == 0 { opening.clone() } else { item(Some(process), slot) };
        let row = SlotRow {
            epoch: 0,
            assignment_id: message.id(),
            assignment: message.raw().clone(),
            item: message.id(),
            proof: None,
            chain: Hash([slot as u8; 32]),
            timestamp: 1_000 + slot / 2,
            block_height: slot / 2,
        };
        store.write_blocking(log::slot_writes(process, slot, row, &[&message])).unwrap();
    }
    (store, process)
}

/// One query that may look at so many slots.
fn query(store: &Store, process: Id, filter: &Filter, order: Order, slots: u64) -> Findings {
    let (reader, mut found) = (store.read().unwrap(), Findings::new(order, 7));
    let until = Instant::now() + Duration::from_secs(60);
    let mut scan = Scan { reader: &reader, filter, order, left: slots, bytes: 0, until };
    scan.log(&process, slots, &mut found).unwrap();
    found
}

/// The numbers on all pages of a search.
fn pages(store: &Store, process: Id, filter: &Filter, ascending: bool, slots: u64) -> Vec<u64> {
    let (mut order, mut numbers) = (Order { ascending, after: None }, Vec::new());
    loop {
        let (page, more) = query(store, process, filter, order, slots).page();
        numbers.extend(page.iter().map(|header| header.tag("Number").unwrap().parse::<u64>().unwrap()));
        let Some(last) = page.last().filter(|_| more) else { return numbers };
        order.after = Key::parse(&last.cursor());
    }
}

fn sorted(mut numbers: Vec<u64>) -> Vec<u64> {
    numbers.sort_unstable();
    numbers
}

#[test]
fn a_log_is_gone_through_however_few_slots_one_query_looks_at() {
    let folder = tempfile::tempdir().unwrap();
    let (store, process) = disk(folder.path());
    let all: Vec<u64> = (1..SLOTS).collect();
    for slots in [SHARE_MIN, 10, 1_000] {
        for ascending in [true, false] {
            let numbers = pages(&store, process, &Filter::default(), ascending, slots);
            assert_eq!(sorted(numbers.clone()), all, "{slots} {ascending}");
            // Those of one moment stand in the order of their names.
            let moments: Vec<u64> = numbers.iter().map(|number| number / 2).collect();
            assert!(moments.is_sorted_by(|a, b| if ascending { a <= b } else { a >= b }), "{numbers:?}");
        }
    }
}

#[test]
fn a_range_of_heights_is_found_however_old_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let (store, process) = disk(folder.path());
    let filter = |min, max| Filter { min, max, ..Filter::default() };
    for ascending in [true, false] {
        let numbers = |min, max| sorted(pages(&store, process, &filter(min, max), ascending, SHARE_MIN));
        assert_eq!(numbers(Some(2), Some(3)), [4, 5, 6, 7]);
        assert_eq!(numbers(None, Some(1)), [1, 2, 3]);
        assert_eq!(numbers(Some(19), None), [38, 39]);
        assert_eq!(numbers(Some(20), None), [0; 0]);
        assert_eq!(numbers(Some(3), Some(2)), [0; 0]);
    }
}
