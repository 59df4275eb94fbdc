//! Damage of every kind to a real store: an error that says what to do, a repair that keeps what
//! verifies and invents nothing, and no panic.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::Path;

use weft_protocol::{Id, Position};
use weft_storage::{
    Caution, CautionRow, CheckpointRow, PackedPage, PageRef, RepairMode, RepairReport, Store, StoreError,
    Write, repair,
};

use crate::fault_disk::next;
use crate::full::is_full;
use crate::injected::{Image, image};
use crate::real::{self, config, terms};

/// Damages of each kind in an ordinary run, and with `WEFT_FULL=1`.
const ROUNDS: u64 = 12;
const ROUNDS_FULL: u64 = 400;

fn rounds() -> u64 {
    if is_full() { ROUNDS_FULL } else { ROUNDS }
}

pub fn run(path: &Path, mode: RepairMode) -> Result<RepairReport, StoreError> {
    repair(path, &config(), &terms(), None, mode, &mut |_, _| {})
}

/// What a file says of its own, without the indexes, which follow from it.
fn primary(image: Image) -> Image {
    let index = |table: &str| {
        let names = [
            "item-slots/1",
            "seen/1",
            "seen-list/1",
            "seen-counts/1",
            "item-outcomes/1",
            "outbox-pending/1",
            "page-refs/1",
            "cautions/1",
        ];
        names.contains(&table)
    };
    image.into_iter().filter(|((table, key), _)| !index(table) && key != b"caution").collect()
}

struct Ground {
    folder: tempfile::TempDir,
    whole: Vec<u8>,
    said: Image,
    processes: Vec<Id>,
    /// The pages in which each item and each slot stands, by its key.
    pages: BTreeMap<Vec<u8>, Vec<usize>>,
    /// The item of each slot.
    items: BTreeMap<(Id, u64), Id>,
}

const PAGE: usize = 4096;

/// Rows of redb's pages of rows by their keys, each with its value and the offset of its page.
fn rows_of_pages(bytes: &[u8]) -> Vec<(Vec<u8>, Vec<u8>, usize)> {
    let mut rows = Vec::new();
    for (number, page) in bytes.chunks_exact(PAGE).enumerate() {
        let count = usize::from(u16::from_le_bytes([page[2], page[3]]));
        let head = 4 + 8 * count;
        if page[0] != 1 || head > PAGE {
            continue;
        }
        let end = |at: usize| u32::from_le_bytes(page[4 + 4 * at..8 + 4 * at].try_into().unwrap()) as usize;
        for at in 0..count {
            let key = page.get(if at == 0 { head } else { end(at - 1) }..end(at));
            let value = page.get(end(count + at - 1)..end(count + at));
            if let (Some(key), Some(value)) = (key, value) {
                rows.push((key.to_vec(), value.to_vec(), number * PAGE));
            }
        }
    }
    rows
}

impl Ground {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("whole.redb");
        let processes = real::fill(&path, &["one", "two"], 30, 900);
        let whole = std::fs::read(&path).unwrap();
        let said = primary(image(whole.clone()));
        let mut pages: BTreeMap<Vec<u8>, Vec<usize>> = BTreeMap::new();
        for (key, value, offset) in rows_of_pages(&whole) {
            let names = ["items/1", "slots/1"].map(|table| (table.to_owned(), key.clone()));
            if names.iter().any(|place| said.get(place) == Some(&value)) {
                pages.entry(key).or_default().push(offset);
            }
        }
        assert_eq!(pages.len(), 120, "every item and slot is found");
        let store = Store::open(&path, &config()).unwrap();
        let reader = store.read().unwrap();
        let slots = processes.iter().flat_map(|process| (0..30).map(|slot| (*process, slot)));
        let items = slots.map(|(id, slot)| ((id, slot), reader.slot(&id, slot).unwrap().unwrap().item));
        Self { folder, whole, said, processes: processes.clone(), pages, items: items.collect() }
    }

    /// Whether a page with this item or slot is as it was.
    fn is_whole(&self, key: &[u8], damaged: &[u8]) -> bool {
        let is_same = |at: &usize| damaged.get(*at..at + PAGE) == self.whole.get(*at..at + PAGE);
        self.pages[key].iter().any(is_same)
    }

    /// Judges that whatever can be had is left: items that stand in a whole page, and the slots of
    /// each log before the first that does not, or whose item does not.
    fn keeps_all_that_stands(&self, case: &str, damaged: &[u8], left: &Image) {
        for (table, key) in self.said.keys().filter(|(table, _)| table == "items/1") {
            let is_left = left.contains_key(&(table.clone(), key.clone()));
            assert!(is_left || !self.is_whole(key, damaged), "{case}: an item was there to be had");
        }
        for process in &self.processes {
            let slots =
                self.said.keys().filter(|(table, key)| table == "slots/1" && key.starts_with(&process.0));
            for (slot, (table, key)) in slots.enumerate() {
                let item = &self.items[&(*process, slot as u64)];
                if !self.is_whole(key, damaged) || !self.is_whole(&item.0, damaged) {
                    break;
                }
                let is_left = left.contains_key(&(table.clone(), key.clone()));
                assert!(is_left, "{case}: slot {slot} of {process} was there to be had");
            }
        }
    }

    /// Damages the store, repairs it, and judges what came of it. Answers the rows that are left.
    fn survives(&self, case: &str, damage: impl FnOnce(&mut Vec<u8>)) -> Image {
        let path = self.folder.path().join("store.redb");
        let mut bytes = self.whole.clone();
        damage(&mut bytes);
        std::fs::write(&path, &bytes).unwrap();
        self.meets_no_panic(case, &path);
        std::fs::write(&path, &bytes).unwrap();
        let dry = run(&path, RepairMode::DryRun).unwrap_or_else(|error| panic!("{case}: {error}"));
        assert_eq!(std::fs::read(&path).unwrap(), bytes, "{case}: a dry run wrote to the file");
        let report = run(&path, RepairMode::Replace).unwrap_or_else(|error| panic!("{case}: {error}"));
        assert_eq!(report.tables, dry.tables, "{case}: the dry run foresaw something else");
        if let Some(kept) = &report.kept_as {
            assert_eq!(std::fs::read(kept).unwrap(), bytes, "{case}: the damaged file was not kept");
            std::fs::remove_file(kept).unwrap();
        }
        let store = Store::open(&path, &config()).unwrap_or_else(|error| panic!("{case}: {error}"));
        let check = store.read().unwrap().check(&mut |_, _| {}).unwrap();
        assert!(check.is_sound(), "{case}: {check:?}");
        let lost = report.tables.iter().any(|table| table.lost > 0 || table.broken);
        let reader = store.read().unwrap();
        let (openings, cautions) = (reader.caution().unwrap(), reader.cautions().unwrap());
        assert_eq!(openings.is_some(), report.caution_openings, "{case}");
        assert!((openings.is_none() && cautions.is_empty()) || lost, "{case}: caution for nothing");
        drop(reader);
        drop(store);
        let left = primary(image(std::fs::read(&path).unwrap()));
        for (place, value) in &left {
            // An outbox entry may be as it was earlier: then it is pushed once more. What this node
            // does for a process may be made anew from its Process item.
            let may_differ = place.0 == "processes/1";
            let known = may_differ || self.said.get(place) == Some(value);
            assert!(known, "{case}: a row of {} that nobody wrote", place.0);
        }
        if report.kept_as.is_none() {
            assert_eq!(left, self.said, "{case}: rows are missing and nothing was said");
        }
        for process in &self.processes {
            let slots = |image: &Image| {
                let of =
                    |(table, key): &&(String, Vec<u8>)| table == "slots/1" && key.starts_with(&process.0);
                image.keys().filter(of).count() as u64
            };
            let caution = cautions.get(process);
            let is_short = slots(&left) < slots(&self.said);
            if slots(&left) == 0 && caution.is_none() {
                // Not even that there was such a log.
                assert!(openings.is_some(), "{case}: a lost process could be opened again");
                continue;
            }
            assert!(!is_short || caution.is_some(), "{case}: slots of an own log are gone, without caution");
            assert!(
                !is_short || caution.is_none_or(|row| !row.is_met(slots(&left))),
                "{case}: caution would end before all that was signed is here"
            );
        }
        self.keeps_all_that_stands(case, &bytes, &left);
        left
    }

    /// Whatever a node does with the damaged file ends in an answer or an error.
    fn meets_no_panic(&self, case: &str, path: &Path) {
        let met = std::panic::catch_unwind(|| {
            let store = match Store::open(path, &config()) {
                Ok(store) => store,
                Err(error) => {
                    let text = error.to_string();
                    assert!(text.contains(path.to_str().unwrap()), "{case}: {text}");
                    return;
                }
            };
            if let Ok(reader) = store.read() {
                // Unsound or unreadable: both are answers.
                let _ = reader.check(&mut |_, _| {});
            }
            let log = real::log("three", 2, 100);
            for request in log.requests {
                let _ = store.write_blocking(request);
            }
        });
        assert!(met.is_ok(), "{case}: a panic");
    }
}

/// Numbers from a seed.
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = next(self.0);
        ((self.0 >> 24) % bound as u64) as usize
    }
}

#[test]
fn an_intact_store_is_left_alone() {
    let ground = Ground::new();
    let path = ground.folder.path().join("store.redb");
    std::fs::write(&path, &ground.whole).unwrap();
    let report = run(&path, RepairMode::Replace).unwrap();
    assert!(report.is_intact(), "{report:?}");
    assert_eq!(report.kept_as, None);
    assert!(!report.caution_openings && report.cautions.is_empty());
    assert_eq!(std::fs::read(&path).unwrap(), ground.whole);
    let of = |name| report.tables.iter().find(|table| table.table == name).unwrap().kept;
    assert_eq!((of("slots/1"), of("outcomes/1"), of("processes/1")), (60, 60, 2));
}

#[test]
fn flipped_bits_cost_the_rows_they_hit() {
    let ground = Ground::new();
    for seed in 0..rounds() {
        let mut dice = Dice(seed);
        ground.survives(&format!("flips, seed {seed}"), |bytes| {
            for _ in 0..1 + seed % 8 {
                let at = dice.below(bytes.len());
                bytes[at] ^= 1 << dice.below(8);
            }
        });
    }
}

#[test]
fn a_torn_off_end_costs_what_lay_there() {
    let ground = Ground::new();
    for seed in 0..rounds() {
        let mut dice = Dice(seed);
        ground.survives(&format!("truncated, seed {seed}"), |bytes| {
            bytes.truncate(1 + dice.below(bytes.len() - 1));
        });
    }
}

#[test]
fn zeroed_blocks_cost_what_lay_there() {
    let ground = Ground::new();
    for seed in 0..rounds() {
        let mut dice = Dice(seed);
        ground.survives(&format!("zeroed, seed {seed}"), |bytes| {
            let length = 512 << dice.below(6);
            let at = dice.below(bytes.len() / 512) * 512;
            let end = bytes.len().min(at + length);
            bytes[at..end].fill(0);
        });
    }
}

#[test]
fn a_file_without_its_header_gives_up_every_log() {
    let ground = Ground::new();
    let left = ground.survives("no header", |bytes| bytes[..PAGE].fill(0));
    // What was computed of the logs proves nothing of itself, and is computed again.
    let computed = ["outcomes/1", "outbox/1"];
    let proven = |(table, _): &&(String, Vec<u8>)| !computed.contains(&table.as_str());
    assert!(ground.said.keys().filter(proven).eq(left.keys()), "{:?}", left.keys());
}

#[test]
fn a_log_is_cut_where_a_slot_is_gone_and_its_scheduler_signs_no_more() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.redb");
    let process = real::fill(&path, &["one"], 20, 100)[0];
    // Both copies of a row that may lie in pages: wherever its bytes are, they change.
    let row = Store::open(&path, &config()).unwrap().read().unwrap().slot(&process, 12).unwrap().unwrap();
    let mut bytes = std::fs::read(&path).unwrap();
    let part = row.assignment.slice(0..64);
    let places: Vec<usize> =
        bytes.windows(64).enumerate().filter(|(_, window)| *window == part).map(|(at, _)| at).collect();
    for at in places {
        bytes[at] ^= 0xff;
    }
    std::fs::write(&path, &bytes).unwrap();
    let report = run(&path, RepairMode::Replace).unwrap();
    let cut = &report.cuts[0];
    assert_eq!((cut.process, cut.own, cut.slots, cut.slots_dropped), (process, true, 12, 7));
    assert!(cut.why.contains("slot 12"), "{report:?}");
    let store = Store::open(&path, &config()).unwrap();
    let reader = store.read().unwrap();
    assert_eq!(reader.head(&process).unwrap().unwrap().0, 11);
    assert_eq!(reader.last_outcome(&process).unwrap().unwrap().0.slot, 11);
    assert_eq!(reader.seen_count(&process).unwrap(), 12);
    assert_eq!(reader.caution().unwrap(), Some(Caution::Repaired));
    assert_eq!(reader.cautions().unwrap()[&process], CautionRow { why: Caution::Repaired, slots: None });
    // The log goes on with the very slots that were lost.
    for request in real::log("one", 20, 100).requests {
        store.write_blocking(request).unwrap();
    }
    assert_eq!(store.read().unwrap().head(&process).unwrap().unwrap().0, 19);
    assert!(store.read().unwrap().check(&mut |_, _| {}).unwrap().is_sound());
}

/// Changes every copy of these bytes.
pub fn spoil(path: &Path, part: &[u8]) {
    let mut bytes = std::fs::read(path).unwrap();
    let windows = bytes.windows(part.len()).enumerate();
    let places: Vec<usize> = windows.filter(|(_, window)| *window == part).map(|(at, _)| at).collect();
    assert!(!places.is_empty());
    for at in places {
        bytes[at] ^= 0xff;
    }
    std::fs::write(path, bytes).unwrap();
}

#[test]
fn a_lost_item_cuts_its_log_alone_and_what_was_signed_stays_known() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.redb");
    let processes = real::fill(&path, &["one", "two"], 20, 100);
    let store = Store::open(&path, &config()).unwrap();
    let item = store.read().unwrap().slot(&processes[0], 15).unwrap().unwrap().item;
    let raw = store.read().unwrap().item(&item).unwrap().unwrap();
    drop(store);
    spoil(&path, &raw[..64]);
    let report = run(&path, RepairMode::Replace).unwrap();
    assert_eq!(report.cautions, [(processes[0], Some(20))].into());
    assert!(!report.caution_openings);
    let store = Store::open(&path, &config()).unwrap();
    let row = store.read().unwrap().cautions().unwrap()[&processes[0]];
    assert!(!row.is_met(15) && row.is_met(20), "{row:?}");
    // A second repair, of another loss, is no reason to forget it.
    let item = store.read().unwrap().slot(&processes[1], 12).unwrap().unwrap().item;
    let raw = store.read().unwrap().item(&item).unwrap().unwrap();
    drop(store);
    spoil(&path, &raw[..64]);
    let again = run(&path, RepairMode::Replace).unwrap();
    assert!(!again.is_intact(), "{again:?}");
    let store = Store::open(&path, &config()).unwrap();
    assert_eq!(store.read().unwrap().cautions().unwrap()[&processes[0]], row);
    assert!(store.read().unwrap().cautions().unwrap().contains_key(&processes[1]));
    let lifted = processes.iter().map(|process| Write::LiftCaution { process: *process });
    for write in lifted.chain([Write::lift_openings()]) {
        store.write_blocking(vec![write]).unwrap();
    }
    assert!(store.read().unwrap().cautions().unwrap().is_empty());
}

#[test]
fn checkpoints_stay_with_the_pages_that_they_share() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.redb");
    let process = real::fill(&path, &["one"], 20, 100)[0];
    let store = Store::open(&path, &config()).unwrap();
    let pages: Vec<Vec<u8>> = (0..3_u8).map(|seed| incompressible(seed, 20_000)).collect();
    let checkpoint = |slot: u64, held: &[usize]| {
        let packed = held.iter().map(|at| PackedPage::pack(&pages[*at]).unwrap());
        let mut writes: Vec<Write> = packed.map(Write::Page).collect();
        let page = |(number, at): (u32, &usize)| PageRef { number, hash: PackedPage::hash_of(&pages[*at]) };
        let pages = (0..).zip(held).map(page).collect();
        let row = CheckpointRow { memory_bytes: 1 << 20, pages, state: "state".into() };
        writes.push(Write::Checkpoint { process, position: Position::slot(slot), row });
        writes
    };
    for (slot, held) in [(3, [0, 1]), (9, [0, 2])] {
        store.write_blocking(checkpoint(slot, &held)).unwrap();
    }
    let packed = |at: usize| zstd::bulk::compress(&pages[at], 1).unwrap();
    drop(store);
    spoil(&path, &packed(2)[100..164]);
    let report = run(&path, RepairMode::Replace).unwrap();
    assert!(report.cautions.is_empty() && !report.caution_openings, "{report:?}");
    let store = Store::open(&path, &config()).unwrap();
    let reader = store.read().unwrap();
    assert!(reader.check(&mut |_, _| {}).unwrap().is_sound());
    assert!(reader.checkpoint(&process, Position::slot(9)).unwrap().is_none());
    assert!(reader.checkpoint(&process, Position::slot(3)).unwrap().is_some());
    let count = |at: usize| reader.page_refs(&PackedPage::hash_of(&pages[at])).unwrap();
    assert_eq!([count(0), count(1), count(2)], [1, 1, 0]);
    let dropped: u64 = report.tables.iter().map(|table| table.dropped).sum();
    assert_eq!(dropped, 1, "{report:?}");
    // The counts are right: with the last checkpoint its pages go.
    drop(reader);
    store.write_blocking(vec![Write::DropCheckpoint { process, position: Position::slot(3) }]).unwrap();
    assert!(store.read().unwrap().page(&PackedPage::hash_of(&pages[0])).unwrap().is_none());
}

/// Bytes that a compressor leaves as they are.
fn incompressible(seed: u8, length: usize) -> Vec<u8> {
    let mut out = vec![0; length];
    let mut hasher = blake3::Hasher::new();
    hasher.update(&[seed]).finalize_xof().fill(&mut out);
    out
}

#[test]
fn a_repair_refuses_what_is_not_its_own_and_what_is_in_use() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.redb");
    real::fill(&path, &["one"], 2, 100);
    let other = weft_storage::StoreConfig::new(weft_protocol::Network(8), config().node);
    let refused = repair(&path, &other, &terms(), None, RepairMode::Replace, &mut |_, _| {});
    assert!(matches!(refused, Err(StoreError::OtherNetwork { .. })), "{refused:?}");
    let store = Store::open(&path, &config()).unwrap();
    assert!(matches!(run(&path, RepairMode::DryRun), Err(StoreError::InUse { .. })));
    drop(store);
    // What an earlier attempt left is no obstacle.
    File::create(folder.path().join("store.redb.repair")).unwrap();
    assert!(run(&path, RepairMode::Replace).unwrap().is_intact());
    let names: BTreeMap<_, _> =
        std::fs::read_dir(folder.path()).unwrap().map(|entry| (entry.unwrap().file_name(), ())).collect();
    assert_eq!(names.len(), 2, "the store and its mark: {names:?}");
}
