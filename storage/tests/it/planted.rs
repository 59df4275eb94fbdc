//! Rows that a stranger plants: pages like the store's own inside an item that he gets stored. A
//! repair that searches a damaged file's pages meets them, and believes none of them.

use std::path::{Path, PathBuf};

use bytes::Bytes;
use weft_protocol::assignment::AssignmentDraft;
use weft_protocol::crypto::Signer;
use weft_protocol::time::TimePoint;
use weft_protocol::{DataItem, Draft, Hash, Id, Position, Tag, Verified, hash_chain};
use weft_storage::{
    AnchoredRow, AttestationRow, BatchRow, BatchState, Caution, CautionRow, EvidenceRow, OutboxKey,
    ProcessRow, RepairMode, RepairReport, Roles, SlotRow, Store, Write, repair,
};

use crate::injected::{Image, image};
use crate::real::{self, config, terms};
use crate::rows::{outbox_row, outcome_row};

const PAGE: usize = 4096;

fn stranger() -> Signer {
    Signer::from_seed(&[66; 32])
}

fn sign(target: Option<Id>, tags: &[(&str, &str)], data: Bytes) -> Verified<DataItem> {
    let tags = tags.iter().map(|(name, value)| Tag::new(*name, *value)).collect();
    Draft { target, anchor: None, tags, data }.sign(&stranger()).unwrap()
}

/// An assignment that the stranger signed.
fn assignment(process: Id, slot: u64, item: &DataItem) -> SlotRow {
    let time = TimePoint { timestamp: 1_700_000_000_000, height: 1_700_000_000_000 / 120_000 };
    let draft = AssignmentDraft {
        network: real::NETWORK,
        process,
        epoch: 0,
        slot,
        hash_chain: hash_chain::first(process),
        time,
        message: (slot > 0).then_some(item.id()),
        excludes: Vec::new(),
    };
    let assignment = draft.draft().sign(&stranger()).unwrap();
    SlotRow {
        epoch: 0,
        assignment_id: assignment.id(),
        assignment: assignment.raw().clone(),
        item: item.id(),
        proof: None,
        chain: hash_chain::first(process),
        timestamp: time.timestamp,
        block_height: time.height,
    }
}

/// A process of the stranger's own, which would have this node compute it.
fn bait() -> Verified<DataItem> {
    let (scheduler, victim) = (stranger().address().to_string(), config().node.to_string());
    let tags = [
        ("Data-Protocol", "ao"),
        ("Type", "Process"),
        ("Scheduler", &*scheduler),
        ("Module", &*scheduler),
        ("Compute", &*victim),
    ];
    sign(None, &tags, "".into())
}

/// What the stranger would like to stand in the store of a node that schedules `victim`.
fn wishes(victim: &Path, process: Id) -> Vec<Write> {
    let store = Store::open(victim, &config()).unwrap();
    let reader = store.read().unwrap();
    let held = reader.slot(&process, 5).unwrap().unwrap();
    let raw = reader.item(&held.item).unwrap().unwrap();
    // The same signature, and so the same id, over something else.
    let mut false_raw = raw.to_vec();
    *false_raw.last_mut().unwrap() ^= 0xff;
    let all = Roles { schedules: true, computes: true, messenges: true, ..Roles::default() };
    let (position, name) = (Position::slot(40), Hash([0xaa; 32]));
    let (message, opening) = (sign(Some(process), &[("Type", "Message")], "mine".into()), bait());
    let module = Id(config().node.0);
    let batch = BatchRow {
        process,
        from_slot: 0,
        to_slot: 29,
        bundle: name,
        items: 60,
        bytes: 1,
        state: BatchState::Confirmed { height: 1, block: name },
        attempts: 1,
        next_try_ms: 0,
    };
    vec![
        Write::Setting { name: "forged".into(), value: "yes".into() },
        Write::Process { process: Id([0xee; 32]), row: ProcessRow { module, roles: all } },
        Write::Process { process: opening.id(), row: ProcessRow { module, roles: all } },
        Write::Caution { process, row: CautionRow { why: Caution::Repaired, slots: Some(0) } },
        Write::Outcome { process, position, row: outcome_row(1) },
        Write::Outbox { key: OutboxKey { process, position, index: 0 }, row: outbox_row(1) },
        Write::Attestation {
            process,
            position,
            attestor: config().node,
            row: AttestationRow { statement: name, bytes: "signed".into() },
        },
        Write::Evidence { process, name, row: EvidenceRow { culprit: config().node, bytes: "proof".into() } },
        Write::Batch { data_root: name, row: batch },
        Write::Anchored {
            process,
            weave: "local:x".into(),
            row: AnchoredRow { slot: 29, batch: name, height: 1 },
        },
        Write::Item { id: held.item, raw: false_raw.into() },
        // The scheduler's own signature under a place and a chain that it did not sign.
        Write::Slot { process, slot: 30, row: held.clone() },
        Write::Slot { process, slot: 6, row: SlotRow { chain: Hash([0; 32]), ..held } },
        Write::Slot { process, slot: 31, row: assignment(process, 31, &message) },
        Write::Slot { process: Id([0xee; 32]), slot: 0, row: assignment(opening.id(), 0, &opening) },
        Write::Item { id: message.id(), raw: message.raw().clone() },
        Write::Slot { process: opening.id(), slot: 0, row: assignment(opening.id(), 0, &opening) },
        Write::Item { id: opening.id(), raw: opening.raw().clone() },
    ]
}

/// What the stranger really signed, and nobody else could have.
fn is_his(table: &str, key: &[u8], process: Id) -> bool {
    let message = sign(Some(process), &[("Type", "Message")], "mine".into()).id();
    match table {
        "items/1" => [message, bait().id()].iter().any(|id| id.0 == key),
        "slots/1" => key.starts_with(&bait().id().0),
        _ => false,
    }
}

/// A page of rows as redb writes one.
fn leaf(key: &[u8], value: &[u8]) -> Vec<u8> {
    let key_end = 12 + key.len() as u32;
    let ends = [key_end, key_end + value.len() as u32].map(u32::to_le_bytes).concat();
    let mut page = [&[1, 0, 1, 0], &*ends, key, value].concat();
    page.resize(page.len().next_multiple_of(PAGE), 0);
    page
}

/// The primary rows of a file.
fn rows(path: &Path) -> Image {
    image(std::fs::read(path).unwrap())
}

#[test]
fn nothing_is_believed_that_a_stranger_planted_in_an_item() {
    let folder = tempfile::tempdir().unwrap();
    let (whole, his) = (folder.path().join("whole.redb"), folder.path().join("his.redb"));
    let process = real::fill(&whole, &["one"], 30, 900)[0];
    let before = rows(&whole);
    let store = Store::open(&his, &config()).unwrap();
    for write in wishes(&whole, process) {
        store.write_blocking(vec![write]).unwrap();
    }
    drop(store);
    let mut forged = rows(&his);
    forged.retain(|(table, _), _| table != "meta/1");
    assert!(forged.len() > 20, "{}", forged.len());
    let pages: Vec<u8> = forged.iter().flat_map(|((_, key), value)| leaf(key, value)).collect();
    let (file, start) = plant(&whole, &pages);
    // With its carrier whole, and with a carrier that nobody can read any more.
    for spoilt in [false, true] {
        let path = folder.path().join(format!("spoilt-{spoilt}.redb"));
        let mut bytes = file.clone();
        bytes[..PAGE].fill(0);
        if spoilt {
            bytes[start - PAGE..start].fill(0);
        }
        std::fs::write(&path, &bytes).unwrap();
        let report = repair(&path, &config(), &terms(), None, RepairMode::Replace, &mut |_, _| {}).unwrap();
        let left = rows(&path);
        for (place, value) in &forged {
            let believed = left.get(place) == Some(value) && before.get(place) != Some(value);
            assert!(
                !believed || is_his(&place.0, &place.1, process),
                "{spoilt}: a forged row of {}",
                place.0
            );
        }
        let count = |image: &Image, table: &str| image.keys().filter(|(name, _)| name == table).count();
        // What he really signed is found where its page alone is left: the search does look there.
        let mine = bait().id().0.to_vec();
        assert_eq!(left.contains_key(&("items/1".to_owned(), mine)), spoilt, "{report:?}");
        // The log is whole: planted rows did not even cast doubt on true ones.
        let slots = |image: &Image| {
            image.keys().filter(|(name, key)| name == "slots/1" && key.starts_with(&process.0)).count()
        };
        assert_eq!((slots(&left), slots(&before)), (30, 30), "{spoilt}: {report:?}");
        assert_eq!(count(&left, "processes/1"), 1, "{spoilt}: {report:?}");
        assert_eq!(report.cautions, [(process, None)].into(), "{spoilt}");
        assert!(report.caution_openings, "{spoilt}");
    }
}

/// The store with an item of the stranger's in it whose data has these pages where pages of the
/// file begin; and where the first of them is.
fn plant(whole: &Path, pages: &[u8]) -> (Vec<u8>, usize) {
    let path = whole.with_file_name("planted.redb");
    let attempt = |before: usize| {
        std::fs::copy(whole, &path).unwrap();
        let data = [&vec![0x55; before], pages].concat();
        let item = sign(None, &[("Type", "Message")], data.into());
        let store = Store::open(&path, &config()).unwrap();
        store.write_blocking(vec![Write::Item { id: item.id(), raw: item.raw().clone() }]).unwrap();
        drop(store);
        let bytes = std::fs::read(&path).unwrap();
        let found = bytes.windows(PAGE).position(|window| window == &pages[..PAGE]);
        (bytes, found.unwrap())
    };
    // What is put before them may move the item to another place, where it is tried again.
    let mut before = PAGE;
    for _ in 0..8 {
        let (bytes, at) = attempt(before);
        if at % PAGE == 0 {
            return (bytes, at);
        }
        before += PAGE - at % PAGE;
    }
    panic!("the pages come to lie where no page begins");
}

/// A store whose header is gone, with pages at its end of which each says that it has an item of so many
/// bytes, and a hole of as many behind them.
fn with_huge_pages(folder: &Path, pages: usize, size: u32) -> PathBuf {
    let path = folder.join("store.redb");
    real::fill(&path, &["one"], 3, 100);
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[..PAGE].fill(0);
    bytes.resize(bytes.len().next_multiple_of(PAGE), 0);
    for _ in 0..pages {
        // The length of an item's key, and a value of nearly all that follows.
        let mut page = [[1, 0, 1, 0].as_slice(), &44_u32.to_le_bytes(), &(size - 1).to_le_bytes()].concat();
        page.resize(PAGE, 0);
        bytes.extend(page);
    }
    std::fs::write(&path, &bytes).unwrap();
    let end = bytes.len() as u64 + u64::from(size);
    // It takes no room on the disk.
    std::fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(end).unwrap();
    path
}

fn dry_run(path: &Path) -> RepairReport {
    let report = repair(path, &config(), &terms(), None, RepairMode::DryRun, &mut |_, _| {}).unwrap();
    assert!(report.tables.iter().any(|table| table.table == "slots/1" && table.found == 3), "{report:?}");
    report
}

#[test]
fn pages_that_name_most_of_the_file_cost_no_more_than_a_few_readings_of_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = with_huge_pages(folder.path(), 24, 30 << 20);
    let told =
        |report: &RepairReport| report.problems.iter().any(|text| text.contains("were not looked for"));
    // Four times the file and 64 MiB are six of these; each of two searches meets 24.
    assert!(told(&dry_run(&path)));
    let few = tempfile::tempdir().unwrap();
    assert!(!told(&dry_run(&with_huge_pages(few.path(), 2, 30 << 20))));
}

/// Says to the child below that it is one.
#[cfg(target_os = "linux")]
const CHILD: &str = "WEFT_TEST_HUGE_PAGE";

/// Alone in a process of its own: others would be measured too.
#[test]
#[cfg(target_os = "linux")]
fn a_page_that_says_it_is_huge_costs_no_memory() {
    if let Some(folder) = std::env::var_os(CHILD) {
        let before = peak_kib();
        dry_run(&Path::new(&folder).join("store.redb"));
        let grown = peak_kib() - before;
        assert!(grown < 512 * 1024, "{grown} KiB");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    with_huge_pages(folder.path(), 1, 1 << 30);
    let child = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "planted::a_page_that_says_it_is_huge_costs_no_memory"])
        .env(CHILD, folder.path())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&child.stdout);
    assert!(child.status.success() && said.contains("1 passed"), "{said}");
}

/// The most memory that this process ever had at once.
#[cfg(target_os = "linux")]
fn peak_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}
