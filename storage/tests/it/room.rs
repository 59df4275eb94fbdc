//! The limit of a store: it is never passed, nothing acknowledged is lost at it, reading goes on, and
//! what is freed is used again.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use proptest::prelude::*;
use weft_protocol::{Id, Position};
use weft_storage::{
    AnchoredRow, AttestationRow, CheckpointRow, Compacted, Disk, MemoryDisk, OutboxKey, OutboxRow,
    OutcomeRow, PackedPage, PageRef, SlotRow, Store, StoreError, Write, blob_name,
};

use crate::fault_disk::next;
use crate::rows::{address, config, hash, id, outbox_row, outcome_row, slot_row};

const WEAVE: &str = "local:x";
const MB: u64 = 1 << 20;

fn numbered(number: u64) -> Id {
    Id(blob_name(&number.to_be_bytes()).0)
}

/// Bytes that no two numbers share and no compression shortens.
fn noise(number: u64, length: usize) -> Vec<u8> {
    let mut state = number;
    let bytes = std::iter::from_fn(|| {
        state = next(state);
        Some((state >> 40) as u8)
    });
    bytes.take(length).collect()
}

/// A slot with an item of so many bytes, as a scheduler writes it.
fn slot(number: u64, bytes: usize) -> Vec<Write> {
    let item = numbered(number);
    let row = SlotRow { assignment_id: numbered(!number), item, ..slot_row(7) };
    vec![
        Write::Item { id: item, raw: noise(number, bytes).into() },
        Write::Slot { process: id(1), slot: number, row },
    ]
}

/// Its outcome with a result of so many bytes, as a computer writes it.
fn outcome(number: u64, bytes: usize) -> Vec<Write> {
    let row = OutcomeRow { result: noise(number, bytes).into(), outbox_count: 0, ..outcome_row(7) };
    vec![Write::Outcome { process: id(1), position: Position::slot(number), row }]
}

/// Makes everything up to a slot final and prunes it.
fn prune(store: &Store, from: u64, to: u64) {
    let row = AnchoredRow { slot: to, batch: hash(9), height: 1 };
    let anchored = Write::Anchored { process: id(1), weave: WEAVE.into(), row };
    store.write_blocking(vec![anchored]).unwrap();
    let position = Position::slot;
    let prune = |slot| Write::Prune {
        process: id(1),
        position: position(slot),
        weave: WEAVE.into(),
        attestors: Vec::new(),
    };
    let writes: Vec<Write> = (from..=to).map(prune).collect();
    for some in writes.chunks(8) {
        store.write_blocking(some.to_vec()).unwrap();
    }
}

/// A checkpoint of so many small pages, of which the first quarter is in every other one too.
fn checkpoint(number: u64, pages: u32) -> Vec<Write> {
    let page = |page: u32| {
        noise(if page < pages / 4 { u64::from(page) } else { number << 32 | u64::from(page) }, 24)
    };
    let packed: Vec<PackedPage> = (0..pages).map(|number| PackedPage::pack(&page(number)).unwrap()).collect();
    let names = (0..).zip(&packed).map(|(number, page)| PageRef { number, hash: page.hash() }).collect();
    let row = CheckpointRow { memory_bytes: MB, pages: names, state: "state".into() };
    let position = Position::slot(number);
    let mut writes: Vec<Write> = packed.into_iter().map(Write::Page).collect();
    writes.push(Write::Checkpoint { process: id(2), position, row });
    writes
}

/// One entry of an outbox, and what a stranger attests, both of a position.
fn sent(number: u64, bytes: usize) -> Vec<Write> {
    let (process, position) = (id(3), Position::slot(number));
    let row = OutboxRow { entry: noise(number, bytes).into(), ..outbox_row(7) };
    let signed = AttestationRow { statement: hash(1), bytes: noise(number, 300).into() };
    vec![
        Write::Outbox { key: OutboxKey { process, position, index: 0 }, row },
        Write::Attestation { process, position, attestor: address(6), row: signed },
    ]
}

fn is_full(error: &StoreError) -> bool {
    matches!(error, StoreError::Full { .. })
}

/// Writes slots until there is no room for another; answers how many there are.
fn fill(store: &Store, bytes: usize) -> u64 {
    for number in 0..10_000 {
        match store.write_blocking([slot(number, 100), outcome(number, bytes)].concat()) {
            Ok(()) => assert!(store.room().bytes <= store.room().limit),
            Err(error) => {
                assert!(is_full(&error), "{error:?}");
                return number;
            }
        }
    }
    panic!("the limit holds no one back");
}

#[test]
fn at_the_limit_new_work_is_refused_and_what_was_promised_goes_on() {
    let disk = MemoryDisk::new();
    let store = Store::open_with_backend(disk.clone(), &config()).unwrap();
    store.set_room(8 * MB, 8 * MB);
    let slots = fill(&store, 30_000);
    let at_limit = store.room();
    assert!(at_limit.is_full && at_limit.refused == 1 && !store.has_room(100), "{at_limit:?}");
    // Not half of it: what is free for new work was used.
    assert!(at_limit.bytes > 5 * MB, "{at_limit:?}");
    let more = [slot(slots, 100), outcome(slots, 30_000)].concat();
    let refused = store.write_blocking(more.clone()).unwrap_err();
    assert!(refused.to_string().starts_with("the disk budget is used up: the store takes"), "{refused}");
    // Outcomes of what was taken, and what makes room, are written.
    store.write_blocking(outcome(slots, 30_000)).unwrap();
    store.write_blocking(vec![Write::DropSetting { name: "none".into() }]).unwrap();
    // Reading goes on, also after a start.
    let head = |store: &Store| store.read().unwrap().head(&id(1)).unwrap().unwrap().0;
    assert_eq!(head(&store), slots - 1);
    drop(store);
    let store = Store::open_with_backend(disk, &config()).unwrap();
    assert_eq!(head(&store), slots - 1);
    assert!(store.read().unwrap().check(&mut |_, _| {}).unwrap().is_sound());
    // A higher limit is the other way out.
    store.set_room(16 * MB, 16 * MB);
    store.write_blocking(more).unwrap();
    assert!(!store.room().is_full);
}

#[test]
fn pruning_makes_room_for_new_work() {
    let store = Store::open_with_backend(MemoryDisk::new(), &config()).unwrap();
    store.set_room(8 * MB, 8 * MB);
    let slots = fill(&store, 30_000);
    prune(&store, 0, slots - 2);
    let free = store.measure().unwrap();
    assert!(free > 3 * MB && store.room().reusable == Some(free), "{free}");
    // As many again fit, in the pages of what went.
    let before = store.room().bytes;
    for number in slots..slots + slots / 3 {
        let writes = [slot(number, 100), outcome(number, 30_000)].concat();
        store.write_blocking(writes).unwrap_or_else(|error| panic!("{number}: {error} {:?}", store.room()));
    }
    let room = store.room();
    assert!(room.bytes <= before + MB / 4 && room.bytes <= room.limit, "{before} {room:?}");
}

#[test]
fn compacting_gives_back_what_was_pruned() {
    let disk = MemoryDisk::new();
    let store = Store::open_with_backend(disk.clone(), &config()).unwrap();
    store.set_room(8 * MB, 8 * MB);
    let slots = fill(&store, 30_000);
    prune(&store, 0, slots - 2);
    let free = store.measure().unwrap();
    drop(store);
    let length = || weft_storage::Disk::len(&disk).unwrap();
    let long = length();
    let Compacted { before, after } = Store::compact_with_backend(disk.clone(), &config()).unwrap();
    assert!(before - after > free / 2 && after < 2 * MB, "{before} {after} {free}");
    assert!(length() < long / 2 && length() >= after, "{long} {}", length());
    let store = Store::open_with_backend(disk.clone(), &config()).unwrap();
    assert_eq!(store.read().unwrap().head(&id(1)).unwrap().unwrap().0, slots - 1);
    assert!(store.read().unwrap().check(&mut |_, _| {}).unwrap().is_sound());
    store.write_blocking(slot(slots, 10)).unwrap();
}

/// A node that computes, takes checkpoints and prunes grows by its log alone.
#[test]
fn freed_pages_are_used_again() {
    let store = Store::open_with_backend(MemoryDisk::new(), &config()).unwrap();
    let process = id(1);
    let round = |round: u64| {
        let slots = round * 10..(round + 1) * 10;
        for number in slots.clone() {
            store.write_blocking([slot(number, 100), outcome(number, 20_000)].concat()).unwrap();
        }
        let page = noise(round, 60_000);
        let pages = vec![PageRef { number: 0, hash: PackedPage::hash_of(&page) }];
        let row = CheckpointRow { memory_bytes: MB, pages, state: "state".into() };
        let position = |round: u64| Position::slot(round * 10);
        let mut writes = vec![
            Write::Page(PackedPage::pack(&page).unwrap()),
            Write::Checkpoint { process, position: position(round), row },
        ];
        if let Some(old) = round.checked_sub(2) {
            writes.push(Write::DropCheckpoint { process, position: position(old) });
        }
        store.write_blocking(writes).unwrap();
        prune(&store, slots.start, slots.end - 1);
        store.room().bytes
    };
    let warm = (0..5).map(&round).fold(0, |_, bytes| bytes);
    let end = (5..40).map(&round).fold(0, |_, bytes| bytes);
    // 350 slots brought 7 MB of results and 2 MB of pages; their log takes about a thousand bytes each.
    assert!(end - warm < 350 * 1_800, "{warm} {end}");
    assert!(store.read().unwrap().check(&mut |_, _| {}).unwrap().is_sound());
}

/// Where there is little room, a checkpoint of many pages goes in parts.
#[test]
fn a_checkpoint_is_dropped_where_there_is_no_room_for_its_rows() {
    const PAGES: u32 = 3_000;
    let store = Store::open_with_backend(MemoryDisk::new(), &config()).unwrap();
    for number in 1..=3 {
        store.write_blocking(checkpoint(number, PAGES)).unwrap();
    }
    let limit = store.room().bytes + 4 * MB;
    store.set_room(limit, limit);
    fill(&store, 30_000);
    let position = Position::slot(2);
    let at_once = store.write_blocking(vec![Write::DropCheckpoint { process: id(2), position }]).unwrap_err();
    assert!(is_full(&at_once), "{at_once:?}");
    store.drop_checkpoint_blocking(id(2), position).unwrap();
    assert!(store.room().bytes <= limit, "{:?}", store.room());
    let reader = store.read().unwrap();
    assert_eq!(reader.checkpoint(&id(2), position).unwrap(), None);
    let left = reader.checkpoint(&id(2), Position::slot(3)).unwrap().unwrap();
    assert_eq!(left.pages.len(), PAGES as usize);
    for page in left.pages {
        assert!(reader.page(&page.hash).unwrap().is_some());
    }
    assert!(reader.check(&mut |_, _| {}).unwrap().is_sound());
}

/// A disk at whose next write the room of its store is set to what that takes, as by a node that measures its folder while a
/// commit is made.
#[derive(Debug, Clone, Default)]
struct Measured {
    disk: MemoryDisk,
    store: Arc<Mutex<Option<Store>>>,
    is_due: Arc<AtomicBool>,
}

impl Disk for Measured {
    fn len(&self) -> io::Result<u64> {
        self.disk.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.disk.read(offset, out)
    }

    fn write(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        if self.is_due.swap(false, Ordering::SeqCst)
            && let Some(store) = self.store.lock().unwrap().as_ref()
        {
            let taken = store.room().bytes;
            store.set_room(taken, taken);
        }
        self.disk.write(offset, bytes)
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        self.disk.set_len(length)
    }

    fn sync(&self) -> io::Result<()> {
        self.disk.sync()
    }
}

/// A commit that had room when it was begun is made, whatever the limits become meanwhile: a wall in its way would end the store.
#[test]
fn limits_that_are_lowered_amid_a_commit_are_of_the_next_one() {
    let disk = Measured::default();
    let store = Store::open_with_backend(disk.clone(), &config()).unwrap();
    store.set_room(16 * MB, 16 * MB);
    store.write_blocking(slot(0, 100)).unwrap();
    *disk.store.lock().unwrap() = Some(store.clone());
    let before = store.room();
    assert_eq!(before.bound, before.bytes, "nothing is under way");
    disk.is_due.store(true, Ordering::SeqCst);
    store.write_blocking(slot(1, 1 << 20)).unwrap();
    assert!(!disk.is_due.load(Ordering::SeqCst), "no write was seen");
    let room = store.room();
    assert!(room.limit < room.bytes && room.bytes > before.bytes + MB, "{before:?} {room:?}");
    assert_eq!(room.bound, room.bytes);
    // The next one is refused, and the store lives.
    assert!(is_full(&store.write_blocking(slot(2, 100)).unwrap_err()));
    store.set_room(16 * MB, 16 * MB);
    store.write_blocking(slot(2, 100)).unwrap();
    *disk.store.lock().unwrap() = None;
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, ..ProptestConfig::default() })]

    /// Whatever is written in which order: no commit was weighed too low, so that the wall, where
    /// the store would have to stop, is never met.
    #[test]
    fn the_wall_is_never_met(
        limit in 3_u64..10,
        steps in prop::collection::vec((0_u8..12, 1_usize..400_000), 20..80),
    ) {
        let store = Store::open_with_backend(MemoryDisk::new(), &config()).unwrap();
        store.set_room(limit * MB, limit * MB);
        let (mut slots, mut pruned, mut taken) = (0, 0, 0);
        let (mut oldest, mut newest, mut entries) = (0, 0, 0);
        for (kind, bytes) in steps {
            let written = match kind {
                0..4 => store.write_blocking(slot(slots, bytes)).map(|()| slots += 1),
                4 | 5 => store.write_blocking(outcome(taken, bytes / 4)).map(|()| taken += 1),
                6 if taken > pruned => {
                    prune(&store, pruned, taken - 1);
                    pruned = taken;
                    Ok(())
                }
                7 => {
                    entries += 1;
                    store.write_blocking(sent(entries, bytes / 8))
                }
                8 | 9 => {
                    newest += 1;
                    store.write_blocking(checkpoint(newest, bytes as u32 / 100))
                }
                10 if oldest < newest => {
                    oldest += 1;
                    store.drop_checkpoint_blocking(id(2), Position::slot(oldest))
                }
                _ => store.measure().map(drop),
            };
            prop_assert!(written.as_ref().err().is_none_or(is_full), "{:?}", written);
            let room = store.room();
            prop_assert!(room.bytes <= room.limit, "{:?}", room);
        }
        let reader = store.read().unwrap();
        prop_assert_eq!(reader.head(&id(1)).unwrap().map_or(0, |(slot, _)| slot + 1), slots);
        let check = reader.check(&mut |_, _| {}).unwrap();
        prop_assert!(check.is_sound(), "{:?}", check);
    }
}
