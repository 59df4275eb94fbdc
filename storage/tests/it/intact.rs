//! Stores in which every row can be read, and which are not whole all the same: commits that are gone,
//! indexes that say otherwise, marks of what is there again.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use redb::TableDefinition;
use weft_protocol::{Id, Position};
use weft_storage::backup::{Copy, back_up_closed};
use weft_storage::{Caution, CheckpointRow, PRUNED_SETTING, PackedPage, PageRef, RepairMode, Store, Write};

use crate::real::{self, config};
use crate::repair::{run, spoil};

const PAGE: usize = 4096;

/// What `kill -9` leaves: the files of an open store as they are now.
fn killed(path: &Path, name: &str) -> PathBuf {
    let copy = path.with_file_name(name);
    for ending in ["", ".mark"] {
        let file = |path: &Path| PathBuf::from(format!("{}{ending}", path.display()));
        std::fs::copy(file(path), file(&copy)).unwrap();
    }
    copy
}

/// Damages whatever the newest commit wrote, but for the header.
fn damage_newest(path: &Path, before: &Path) {
    let (mut bytes, before) = (std::fs::read(path).unwrap(), std::fs::read(before).unwrap());
    let changed: Vec<usize> = (PAGE..bytes.len())
        .step_by(PAGE)
        .filter(|at| before.get(*at..*at + PAGE) != Some(&bytes[*at..*at + PAGE]))
        .collect();
    assert!(!changed.is_empty());
    for at in changed {
        bytes[at + 100] ^= 0xff;
    }
    std::fs::write(path, bytes).unwrap();
}

/// A store killed before and after the commit of a log's last slot.
fn two_moments(folder: &Path) -> (Id, PathBuf, PathBuf) {
    let path = folder.join("store.redb");
    let log = real::log("one", 10, 100);
    let store = Store::open(&path, &config()).unwrap();
    // The slots before the last two requests: the last slot and what was computed of it.
    let (first, last) = log.requests.split_at(log.requests.len() - 2);
    for request in first {
        store.write_blocking(request.clone()).unwrap();
    }
    let before = killed(&path, "before.redb");
    store.write_blocking(last[0].clone()).unwrap();
    let after = killed(&path, "after.redb");
    (log.process, before, after)
}

fn head(store: &Store, process: &Id) -> u64 {
    store.read().unwrap().head(process).unwrap().unwrap().0
}

#[test]
fn a_store_that_lost_a_commit_that_was_said_signs_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let (process, before, after) = two_moments(folder.path());
    damage_newest(&after, &before);
    let dry = run(&after, RepairMode::DryRun).unwrap();
    assert!(!dry.is_intact() && dry.caution_openings && dry.cautions.contains_key(&process), "{dry:?}");
    for opening in 0..2 {
        let store = Store::open(&after, &config()).unwrap();
        assert_eq!(head(&store, &process), 8, "redb falls back to the commit before");
        let reader = store.read().unwrap();
        assert!(reader.cautions().unwrap().contains_key(&process), "opening {opening}");
        assert_eq!(reader.caution().unwrap(), Some(Caution::Repaired));
    }
}

#[test]
fn a_repair_of_a_store_that_lost_a_commit_brings_back_what_it_can() {
    let folder = tempfile::tempdir().unwrap();
    let (process, before, after) = two_moments(folder.path());
    damage_newest(&after, &before);
    let report = run(&after, RepairMode::Replace).unwrap();
    assert!(!report.is_intact() && report.cautions.contains_key(&process), "{report:?}");
    // The new file is not behind the mark of the old one.
    for _ in 0..2 {
        let store = Store::open(&after, &config()).unwrap();
        store.write_blocking(vec![Write::LiftCaution { process }, Write::lift_openings()]).unwrap();
    }
    let store = Store::open(&after, &config()).unwrap();
    assert!(store.read().unwrap().cautions().unwrap().is_empty());
}

#[test]
fn a_crash_alone_is_no_reason_for_caution() {
    let folder = tempfile::tempdir().unwrap();
    let (process, before, after) = two_moments(folder.path());
    let sound = after.with_file_name("sound.redb");
    for ending in ["", ".mark"] {
        let file = |path: &Path| format!("{}{ending}", path.display());
        std::fs::copy(file(&after), file(&sound)).unwrap();
    }
    assert!(run(&sound, RepairMode::DryRun).unwrap().is_intact());
    let store = Store::open(&sound, &config()).unwrap();
    assert_eq!(head(&store, &process), 9);
    assert!(store.read().unwrap().cautions().unwrap().is_empty());
    // A commit that was torn before anybody was told of it.
    damage_newest(&after, &before);
    let mark = |path: &Path| format!("{}.mark", path.display());
    std::fs::copy(mark(&before), mark(&after)).unwrap();
    let store = Store::open(&after, &config()).unwrap();
    assert_eq!(head(&store, &process), 8);
    assert!(store.read().unwrap().cautions().unwrap().is_empty());
    drop(store);
    // The mark of another store says nothing about a new one.
    std::fs::remove_file(&before).unwrap();
    let store = Store::open(&before, &config()).unwrap();
    assert!(store.read().unwrap().caution().unwrap().is_none());
}

#[test]
fn a_backup_does_not_hide_what_a_store_lost() {
    let folder = tempfile::tempdir().unwrap();
    let (process, before, after) = two_moments(folder.path());
    damage_newest(&after, &before);
    let bytes = std::fs::read(&after).unwrap();
    let copy = folder.path().join("copy.redb");
    back_up_closed(&after, Copy::Store, &copy, &mut |_, _| ControlFlow::Continue(())).unwrap();
    assert!(std::fs::read(&after).unwrap() == bytes, "the original is only read");
    for path in [&after, &copy] {
        let store = Store::open(path, &config()).unwrap();
        assert_eq!(head(&store, &process), 8);
        assert!(store.read().unwrap().cautions().unwrap().contains_key(&process), "{}", path.display());
    }
}

#[test]
fn an_older_copy_of_a_store_in_its_place_signs_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let (process, before, after) = two_moments(folder.path());
    std::fs::copy(&before, &after).unwrap();
    let store = Store::open(&after, &config()).unwrap();
    assert!(store.read().unwrap().cautions().unwrap().contains_key(&process));
}

#[test]
fn an_index_that_says_otherwise_is_made_anew() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.redb");
    real::fill(&path, &["one"], 10, 100);
    let database = redb::Database::open(&path).unwrap();
    let writing = database.begin_write().unwrap();
    {
        let table: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("seen/1");
        let mut seen = writing.open_table(table).unwrap();
        assert!(seen.pop_first().unwrap().is_some());
    }
    writing.commit().unwrap();
    drop(database);
    let report = run(&path, RepairMode::Replace).unwrap();
    assert!(!report.is_intact(), "{report:?}");
    assert!(report.problems.iter().any(|problem| problem.contains("seen")), "{report:?}");
    assert!(report.cautions.is_empty() && !report.caution_openings, "nothing is lost: {report:?}");
    let store = Store::open(&path, &config()).unwrap();
    assert!(store.read().unwrap().check(&mut |_, _| {}).unwrap().is_sound());
}

#[test]
fn what_is_computed_again_is_not_taken_for_pruned() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.redb");
    let processes = real::fill(&path, &["one", "two"], 10, 100);
    let store = Store::open(&path, &config()).unwrap();
    let name = |process: &Id| format!("{PRUNED_SETTING}{process}");
    for process in &processes {
        let value = 5_u64.to_be_bytes().to_vec().into();
        store.write_blocking(vec![Write::Setting { name: name(process), value }]).unwrap();
    }
    let item = store.read().unwrap().slot(&processes[0], 3).unwrap().unwrap().item;
    let raw = store.read().unwrap().item(&item).unwrap().unwrap();
    drop(store);
    spoil(&path, &raw[..64]);
    run(&path, RepairMode::Replace).unwrap();
    let store = Store::open(&path, &config()).unwrap();
    let is_marked = |process| store.read().unwrap().setting(&name(process)).unwrap().is_some();
    let marks: Vec<bool> = processes.iter().map(is_marked).collect();
    assert_eq!(marks, [false, true]);
}

#[test]
fn what_a_crash_left_of_a_checkpoint_is_none_and_no_damage() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.redb");
    let process = real::fill(&path, &["one"], 10, 100)[0];
    let store = Store::open(&path, &config()).unwrap();
    // As a long run writes it: the outcome of slot 12 would have followed.
    for (slot, state) in [(3, "state"), (12, "")] {
        let page = vec![slot as u8; 1_000];
        let pages = vec![PageRef { number: 0, hash: PackedPage::hash_of(&page) }];
        let row = CheckpointRow { memory_bytes: 1 << 20, pages, state: state.into() };
        let checkpoint = Write::Checkpoint { process, position: Position::slot(slot), row };
        store.write_blocking(vec![Write::Page(PackedPage::pack(&page).unwrap()), checkpoint]).unwrap();
    }
    let reader = store.read().unwrap();
    assert_eq!(reader.whole_checkpoint(&process).unwrap(), Some(Position::slot(3)));
    let held = reader.checkpoints(&process, 10).unwrap();
    assert_eq!(held.finished, [Position::slot(3)]);
    assert_eq!(held.of_no_use, [Position::slot(12)]);
    drop((reader, store));
    let report = run(&path, RepairMode::DryRun).unwrap();
    assert!(report.is_intact(), "{report:?}");
}

#[test]
fn a_damaged_checkpoint_covers_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.redb");
    let process = real::fill(&path, &["one"], 10, 100)[0];
    let store = Store::open(&path, &config()).unwrap();
    for slot in [3_u64, 6] {
        let page = vec![slot as u8; 1_000];
        let hash = PackedPage::hash_of(&page);
        let state = format!("the state after slot {slot}, which stands nowhere else").into();
        let row = CheckpointRow { memory_bytes: 1 << 20, pages: vec![PageRef { number: 0, hash }], state };
        let checkpoint = Write::Checkpoint { process, position: Position::slot(slot), row };
        store.write_blocking(vec![Write::Page(PackedPage::pack(&page).unwrap()), checkpoint]).unwrap();
    }
    let newest = |store: &Store| store.read().unwrap().whole_checkpoint(&process).unwrap();
    assert_eq!(newest(&store), Some(Position::slot(6)));
    drop(store);
    spoil(&path, b"the state after slot 6, which stands");
    assert_eq!(newest(&Store::open(&path, &config()).unwrap()), Some(Position::slot(3)));
    spoil(&path, b"the state after slot 3, which stands");
    assert_eq!(newest(&Store::open(&path, &config()).unwrap()), None);
}
