#![allow(clippy::unwrap_used)]

use weft_protocol::crypto::Signer;
use weft_protocol::{Draft, Hash, Network, Tag, Verified};
use weft_storage::{Store, StoreConfig};

use super::super::find::Key;
use super::*;
use crate::log;

/// Slots of the log that is looked through, the process itself among them; two share each moment.
const SLOTS: u64 = 40;
/// The fewest that one query looks at: as some may stand in the moment at which a page begins, one more must be new.
const LOOK_MIN: u64 = 8;

/// A log of messages that carry their number, a height each two of them.
fn disk(folder: &std::path::Path) -> (Store, Id) {
    let (store, logs) = disk_of(folder, 1, SLOTS);
    (store, logs[0])
}

/// So many logs of so many slots; what has one number in all of them came at one time.
fn disk_of(folder: &std::path::Path, logs: u64, slots: u64) -> (Store, Vec<Id>) {
    let signer = Signer::from_seed(&[2; 32]);
    let store =
        Store::open(&folder.join("store.redb"), &StoreConfig::new(Network(7), signer.address())).unwrap();
    let item = |target, number: u64, name: u64| {
        let mut tags = vec![Tag::new("Type", "Message"), Tag::new("Number", number.to_string())];
        tags.push(Tag::new("Log", name.to_string()));
        Draft { target, tags, ..Draft::default() }.sign(&signer).unwrap()
    };
    let write = |name: u64| {
        let opening = item(None, 0, name);
        let process = opening.id();
        let mut writes = Vec::new();
        for slot in 0..slots {
            let message: Verified<DataItem> =
                if slot == 0 { opening.clone() } else { item(Some(process), slot, name) };
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
            writes.extend(log::slot_writes(process, slot, row, &[&message]));
        }
        store.write_blocking(writes).unwrap();
        process
    };
    let all = (0..logs).map(write).collect();
    (store, all)
}

/// One query that may look at so many slots.
fn query(store: &Store, logs: &[Id], filter: &Filter, order: Order, slots: u64) -> Findings {
    let (reader, mut found) = (store.read().unwrap(), Findings::new(order, 7));
    let until = Instant::now() + Duration::from_secs(60);
    let mut scan = Scan { reader: &reader, filter, order, left: slots, bytes: 0, until };
    scan.logs(logs.to_vec(), &mut found).unwrap();
    found
}

/// The numbers on all pages of a search.
fn pages(store: &Store, logs: &[Id], filter: &Filter, ascending: bool, slots: u64) -> Vec<u64> {
    let (mut order, mut numbers) = (Order { ascending, after: None }, Vec::new());
    loop {
        let (page, more) = query(store, logs, filter, order, slots).page();
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
    for slots in [LOOK_MIN, 10, 1_000] {
        for ascending in [true, false] {
            let numbers = pages(&store, &[process], &Filter::default(), ascending, slots);
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
        let numbers = |min, max| sorted(pages(&store, &[process], &filter(min, max), ascending, LOOK_MIN));
        assert_eq!(numbers(Some(2), Some(3)), [4, 5, 6, 7]);
        assert_eq!(numbers(None, Some(1)), [1, 2, 3]);
        assert_eq!(numbers(Some(19), None), [38, 39]);
        assert_eq!(numbers(Some(20), None), [0; 0]);
        assert_eq!(numbers(Some(3), Some(2)), [0; 0]);
    }
}

/// As a log has few of the slots that one query looks at, its newest must not wait for a turn of its own.
#[test]
fn many_logs_are_gone_through_as_one() {
    const LOGS: u64 = 30;
    let folder = tempfile::tempdir().unwrap();
    let (store, logs) = disk_of(folder.path(), LOGS, 6);
    let moment = |number: u64| number / 2;
    for ascending in [true, false] {
        // Sixty slots share each moment; one query sees past the one in which a page begins and the next.
        for slots in [7 * LOGS, 1_000] {
            let numbers = pages(&store, &logs, &Filter::default(), ascending, slots);
            let moments: Vec<u64> = numbers.iter().copied().map(moment).collect();
            assert!(moments.is_sorted_by(|a, b| if ascending { a <= b } else { a >= b }), "{numbers:?}");
            let all: Vec<u64> =
                (1..6).flat_map(|number| std::iter::repeat_n(number, LOGS as usize)).collect();
            assert_eq!(sorted(numbers), all, "{slots} {ascending}");
        }
    }
    let newest = query(&store, &logs, &Filter::default(), Order::default(), 1_000).page().0;
    assert!(newest.iter().all(|header| matches!(header.tag("Number"), Some("4" | "5"))), "{newest:?}");
}
