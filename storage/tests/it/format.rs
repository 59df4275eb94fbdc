//! The bytes on disk: every record keeps its golden form, the golden form reads back, and a
//! changed byte anywhere is an error that names its place.
//!
//! `tests/format/1.txt` holds table, key and value of one row of each kind, in hex. When it no
//! longer matches, old stores no longer open: give the table a new version suffix, or its keys a
//! schema, and a migration, and keep what was.

use std::fmt::Write as _;
use std::path::Path;

use bytes::Bytes;
use redb::{ReadableDatabase as _, ReadableTable as _, TableDefinition, TableHandle as _};
use weft_protocol::process::Terms;
use weft_protocol::time::Weave;
use weft_protocol::{Id, Position};
use weft_storage::{
    AnchoredRow, AttestationRow, BatchRow, BatchState, CarriedRow, Caution, CautionRow, ChallengeRow,
    CheckpointRow, ClaimKey, ClaimRow, ClaimState, EarnedRow, EvidenceRow, OutboxState, PackedPage, PageRef,
    PostingRow, PostingState, ProcessRow, RepairMode, Roles, Store, StoreError, Write, repair,
};

use crate::rows::{address, config, hash, id, outbox_key, outbox_row, outcome_row, slot_row};

const GOLDEN: &str = include_str!("../format/1.txt");
/// The same rows as builds of the second and third schema wrote them. Nothing in them may ever change.
const SCHEMA_2: &str = include_str!("../format/schema-2.txt");
const SCHEMA_3: &str = include_str!("../format/schema-3.txt");
const PAGE: [u8; 1000] = [7; 1000];
const WEAVE: &str = "arweave.N.1";

type Definition<'a> = TableDefinition<'a, &'static [u8], &'static [u8]>;

fn batch_row() -> BatchRow {
    BatchRow {
        process: id(1),
        from_slot: 0,
        to_slot: 5,
        bundle: hash(2),
        items: 3,
        bytes: 400,
        state: BatchState::Submitted,
        attempts: 1,
        next_try_ms: 77,
    }
}

fn anchored_row() -> AnchoredRow {
    AnchoredRow { slot: 5, batch: hash(3), height: 8 }
}

const fn built_state() -> PostingState {
    PostingState::Built
}

fn signed_state() -> PostingState {
    PostingState::Signed { id: id(4), header: "header".into(), reward: 5, expires: Some(6) }
}

fn final_state() -> PostingState {
    PostingState::Final { id: id(4), reward: 5, height: 7, block: "block".into() }
}

fn posting_row(state: PostingState, part: u8) -> PostingRow {
    PostingRow {
        weave: WEAVE.into(),
        parts: vec![hash(part)],
        bundle: hash(2),
        items: 3,
        bytes: 400,
        winston: 5,
        signed: 1,
        receipt: "receipt".into(),
        state,
    }
}

fn attestation_row() -> AttestationRow {
    AttestationRow { statement: hash(1), bytes: "signed".into() }
}

fn evidence_row() -> EvidenceRow {
    EvidenceRow { culprit: address(6), bytes: "evidence".into() }
}

fn carried_row() -> CarriedRow {
    let (core, state_root) = ("core".into(), Some(hash(9)));
    CarriedRow { core, before: hash(2), running: hash(3), state_root, outbox_count: 4 }
}

fn process_row() -> ProcessRow {
    ProcessRow {
        module: id(2),
        roles: Roles { schedules: true, computes: false, messenges: true, ..Roles::default() },
    }
}

fn checkpoint_row() -> CheckpointRow {
    let page = PageRef { number: 3, hash: PackedPage::hash_of(&PAGE) };
    CheckpointRow { memory_bytes: 1 << 20, pages: vec![page], state: "state".into() }
}

fn earned_row() -> EarnedRow {
    EarnedRow {
        ledger: id(4),
        target: id(5),
        slot: 6,
        accepted: id(7),
        amount: 8,
        shown: hash(9),
        claim: Some(1),
        next_try_ms: 2,
    }
}

const CLAIM: ClaimKey = ClaimKey { source: Id([1; 32]), window: 2, number: 3 };

/// A claim in this state: the others are read back by what uses them.
fn claim_row(state: ClaimState) -> ClaimRow {
    let challenge = ChallengeRow { leaf: 1, due: 2, due_ms: 3, answered: true, tries: 4, next_try_ms: 5 };
    let (ledger, pushes) = (id(4), "pushes".into());
    ClaimRow { ledger, pushes, sum: 9, state, tries: 1, next_try_ms: 7, challenges: vec![challenge] }
}

fn claim_states() -> [ClaimState; 5] {
    let open = ClaimState::Open { due: 5, due_ms: 6 };
    [ClaimState::Made, open, ClaimState::Refused { why: "why".into() }, ClaimState::Paid, ClaimState::Lost]
}

/// One row of every kind.
fn everything() -> Vec<Write> {
    let (process, position) = (id(1), Position { epoch: 1, slot: 5, tick: 2 });
    let settled = OutboxState::Settled { receipt: "receipt".into() };
    vec![
        Write::Item { id: id(9), raw: "raw item".into() },
        Write::Process { process, row: process_row() },
        Write::Slot { process, slot: 5, row: slot_row(2) },
        Write::Child { spawn: hash(8), process },
        Write::Seen { process, key: hash(4), position },
        Write::Outcome { process, position, row: outcome_row(12) },
        Write::Outbox { key: outbox_key(1, 5, 0), row: outbox_row(1) },
        Write::Outbox { key: outbox_key(1, 5, 1), row: outbox_row(2) },
        Write::OutboxState { key: outbox_key(1, 5, 1), state: settled, attempts: 3, next_try_ms: 4 },
        Write::Carried { process, position, row: carried_row() },
        Write::Attestation { process, position, attestor: address(6), row: attestation_row() },
        Write::Evidence { process, name: hash(7), row: evidence_row() },
        Write::AnchorEvidence { process, name: hash(7) },
        Write::Page(PackedPage::pack(&PAGE).unwrap()),
        Write::Checkpoint { process, position, row: checkpoint_row() },
        Write::Blob("blob".into()),
        Write::Batch { data_root: hash(3), row: batch_row() },
        Write::Posting { data_root: hash(10), row: posting_row(built_state(), 11) },
        Write::Posting { data_root: hash(12), row: posting_row(signed_state(), 13) },
        Write::Posting { data_root: hash(14), row: posting_row(final_state(), 15) },
        Write::Anchored { process, weave: "local:x".into(), row: anchored_row() },
        Write::Caution { process, row: CautionRow { why: Caution::Repaired, slots: Some(9) } },
        Write::Setting { name: "name".into(), value: "value".into() },
        Write::Earned { key: outbox_key(1, 5, 0), row: earned_row() },
    ]
    .into_iter()
    .chain(
        (3..)
            .zip(claim_states())
            .map(|(number, state)| Write::Claim { key: ClaimKey { number, ..CLAIM }, row: claim_row(state) }),
    )
    .collect()
}

/// Every table, key and value of a store file.
fn dump(path: &Path) -> Vec<(String, Vec<u8>, Vec<u8>)> {
    let database = redb::Database::open(path).unwrap();
    let reading = database.begin_read().unwrap();
    let mut names: Vec<_> = reading.list_tables().unwrap().map(|table| table.name().to_owned()).collect();
    names.sort();
    let mut rows = Vec::new();
    for name in names {
        for row in reading.open_table(Definition::new(&name)).unwrap().iter().unwrap() {
            let (key, value) = row.unwrap();
            rows.push((name.clone(), key.value().to_vec(), value.value().to_vec()));
        }
    }
    rows
}

pub fn put(path: &Path, table: &str, key: &[u8], value: &[u8]) {
    let database = redb::Database::create(path).unwrap();
    let writing = database.begin_write().unwrap();
    writing.open_table(Definition::new(table)).unwrap().insert(key, value).unwrap();
    writing.commit().unwrap();
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").unwrap();
        text
    })
}

fn unhex(text: &str) -> Vec<u8> {
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
}

/// Reads every kind of row; the first error of any.
fn read_everything(store: &Store) -> Result<(), StoreError> {
    let reader = store.read()?;
    let (process, position) = (id(1), Position { epoch: 1, slot: 5, tick: 2 });
    assert_eq!(reader.item(&id(9))?, Some(Bytes::from("raw item")));
    assert_eq!(reader.process(&process)?, Some(process_row()));
    assert_eq!(reader.slot(&process, 5)?, Some(slot_row(2)));
    assert_eq!(reader.slot_of_item(&process, &slot_row(2).item)?, Some(5));
    assert_eq!(reader.child(&hash(8))?, Some(process));
    assert_eq!(reader.seen(&process, &hash(4))?, Some(position));
    assert_eq!(reader.seen_keys(&process, 0, 9)?.len(), 1);
    assert_eq!(reader.seen_count(&process)?, 1);
    assert_eq!(reader.evidence(&process, 9)?, [(hash(7), evidence_row())]);
    assert_eq!(reader.outcome_of_item(&process, &id(12))?, Some((position, outcome_row(12))));
    assert_eq!(reader.carried(&process, position)?, Some(carried_row()));
    assert_eq!(reader.outbox(&process, Position::slot(5))?.len(), 2);
    assert_eq!(reader.outbox_pending(&process, 9)?, [(outbox_key(1, 5, 0), 1)]);
    assert_eq!(reader.earned(&outbox_key(1, 5, 0))?, Some(earned_row()));
    assert_eq!(reader.earned_in(&outbox_key(1, 4, 0), 5, 9)?, [(outbox_key(1, 5, 0), earned_row())]);
    assert_eq!(reader.earned_in(&outbox_key(1, 4, 0), 4, 9)?, []);
    assert_eq!(reader.earned_from(&outbox_key(1, 5, 1), 9)?, []);
    let claims = reader.claims_after(None, 9)?.into_iter().map(|(_, row)| row);
    assert!(claims.eq(claim_states().map(claim_row)));
    let last = ClaimKey { number: 7, ..CLAIM };
    assert_eq!(reader.claim(&last)?, Some(claim_row(ClaimState::Lost)));
    assert_eq!(reader.claims_after(Some(&last), 9)?, []);
    assert_eq!(reader.attestations(&process, position)?, [(address(6), attestation_row())]);
    assert_eq!(reader.checkpoint(&process, position)?, Some(checkpoint_row()));
    assert_eq!(reader.page(&PackedPage::hash_of(&PAGE))?.as_deref(), Some(PAGE.as_slice()));
    assert_eq!(reader.page_refs(&PackedPage::hash_of(&PAGE))?, 1);
    assert_eq!(reader.blob(&weft_protocol::Hash(blake3::hash(b"blob").into()))?, Some("blob".into()));
    assert_eq!(reader.batches_open(9)?, [(hash(3), batch_row())]);
    let open = [(hash(10), posting_row(built_state(), 11)), (hash(12), posting_row(signed_state(), 13))];
    assert_eq!(reader.postings_open(WEAVE, 9)?, open);
    assert_eq!(reader.posting(&hash(14), WEAVE)?, Some(posting_row(final_state(), 15)));
    for (part, posting) in [(11, 10), (13, 12), (15, 14)] {
        assert_eq!(reader.posting_of(&hash(part), WEAVE)?, Some(hash(posting)));
    }
    assert_eq!(reader.anchored(&process, "local:x")?, Some(anchored_row()));
    assert_eq!(reader.attestations_unanchored(&process, None, 9)?, [(position, address(6))]);
    assert_eq!(reader.evidence_unanchored(None, 9)?, [(process, hash(7))]);
    let caution = CautionRow { why: Caution::Repaired, slots: Some(9) };
    assert_eq!(reader.cautions()?, [(process, caution)].into());
    assert_eq!(reader.setting("name")?, Some("value".into()));
    Ok(())
}

#[test]
fn records_keep_their_golden_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.redb");
    let store = Store::open(&path, &config()).unwrap();
    store.write_blocking(everything()).unwrap();
    drop(store);
    let rows = dump(&path);
    let found = golden(&rows);
    // The bytes of a compressed page are the compressor's affair; that they read back is ours.
    let without_pages =
        |text: &str| text.lines().filter(|line| !line.starts_with("pages/")).collect::<Vec<_>>().join("\n");
    assert!(without_pages(&found) == without_pages(GOLDEN), "the format changed; this build writes\n{found}");
}

#[test]
fn a_store_of_golden_bytes_opens_and_reads() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.redb");
    put_rows(&path, GOLDEN);
    read_everything(&Store::open(&path, &config()).unwrap()).unwrap();
}

fn golden(rows: &[(String, Vec<u8>, Vec<u8>)]) -> String {
    rows.iter().map(|(table, key, value)| format!("{table} {} {}\n", hex(key), hex(value))).collect()
}

fn put_rows(path: &Path, rows: &str) {
    for line in rows.lines() {
        let fields: Vec<_> = line.split(' ').collect();
        put(path, fields[0], &unhex(fields[1]), &unhex(fields[2]));
    }
}

/// Postings were kept by their bytes alone.
#[test]
fn a_store_of_the_second_schema_keeps_its_postings_by_weave() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.redb");
    put_rows(&path, SCHEMA_2);
    let store = Store::open(&path, &config()).unwrap();
    read_everything(&store).unwrap();
    let reader = store.read().unwrap();
    assert_eq!(reader.posting(&hash(14), "another").unwrap(), None);
    assert_eq!(reader.posting_of(&hash(11), "another").unwrap(), None);
    assert_eq!(reader.postings_open("another", 9).unwrap(), []);
    drop((reader, store));
    // What comes of it is what this build writes.
    assert!(golden(&dump(&path)) == GOLDEN, "{}", golden(&dump(&path)));
}

/// What was paid is known after a repair too. What was not, and has no bundle any more, keeps no batch from another.
#[test]
fn a_repair_of_a_store_of_the_second_schema_keeps_its_postings() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.redb");
    put_rows(&path, SCHEMA_2);
    let terms = Terms { network: config().network, weave: Weave::Clock };
    let report = repair(&path, &config(), &terms, None, RepairMode::Replace, &mut |_, _| {}).unwrap();
    assert!(report.tables.iter().all(|table| table.lost == 0), "{report:?}");
    let store = Store::open(&path, &config()).unwrap();
    let reader = store.read().unwrap();
    assert_eq!(reader.postings_open(WEAVE, 9).unwrap(), [(hash(12), posting_row(signed_state(), 13))]);
    assert_eq!(reader.posting(&hash(10), WEAVE).unwrap(), None);
    assert_eq!(reader.posting_of(&hash(11), WEAVE).unwrap(), None);
    assert_eq!(reader.posting(&hash(14), WEAVE).unwrap(), Some(posting_row(final_state(), 15)));
    assert_eq!(reader.posting_of(&hash(15), WEAVE).unwrap(), Some(hash(14)));
}

/// It had an index of pending entries by the time of their next try, which nobody read.
#[test]
fn a_store_of_the_third_schema_loses_an_index_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.redb");
    put_rows(&path, SCHEMA_3);
    let indexed = |path: &Path| dump(path).iter().filter(|(table, ..)| table == "outbox-due/1").count();
    assert_eq!(indexed(&path), 1);
    let store = Store::open(&path, &config()).unwrap();
    read_everything(&store).unwrap();
    let check = store.read().unwrap().check(&mut |_, _| {}).unwrap();
    assert!(check.tables.iter().all(|table| table.damaged == 0), "{check:?}");
    drop(store);
    assert!(golden(&dump(&path)) == GOLDEN, "{}", golden(&dump(&path)));
    let database = redb::Database::open(&path).unwrap();
    let reading = database.begin_read().unwrap();
    assert!(reading.list_tables().unwrap().all(|table| table.name() != "outbox-due/1"));
}

/// What is to be sent is found again without it.
#[test]
fn a_repair_of_a_store_of_the_third_schema_keeps_what_is_to_be_sent() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.redb");
    put_rows(&path, SCHEMA_3);
    let terms = Terms { network: config().network, weave: Weave::Clock };
    let report = repair(&path, &config(), &terms, None, RepairMode::Replace, &mut |_, _| {}).unwrap();
    assert!(report.tables.iter().all(|table| table.lost == 0), "{report:?}");
    let store = Store::open(&path, &config()).unwrap();
    let reader = store.read().unwrap();
    assert_eq!(reader.outbox_pending(&id(1), 9).unwrap(), [(outbox_key(1, 5, 0), 1)]);
}

#[test]
fn a_changed_byte_anywhere_is_damage_that_names_its_place() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.redb");
    let store = Store::open(&path, &config()).unwrap();
    store.write_blocking(everything()).unwrap();
    read_everything(&store).unwrap();
    drop(store);
    for (table, key, value) in dump(&path) {
        let middle = value.len() / 2;
        let changes = [0, 3, middle, value.len() - 1].map(|at| {
            let mut bytes = value.clone();
            bytes[at] ^= 0x10;
            bytes
        });
        let cut = value[..value.len() - 1].to_vec();
        for changed in changes.into_iter().chain([cut, Vec::new()]) {
            put(&path, &table, &key, &changed);
            let error = Store::open(&path, &config())
                .and_then(|store| read_everything(&store))
                .expect_err("a changed byte went unnoticed");
            let StoreError::Damaged { table: named, key: at, .. } = &error else {
                panic!("{table}: {error:?}");
            };
            assert_eq!((*named, at), (table.as_str(), &hex(&key)));
        }
        put(&path, &table, &key, &value);
    }
}

#[test]
fn a_record_under_another_key_is_damage() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.redb");
    let store = Store::open(&path, &config()).unwrap();
    store.write_blocking(everything()).unwrap();
    drop(store);
    let (_, _, value) = dump(&path).into_iter().find(|(table, ..)| table == "items/1").unwrap();
    put(&path, "items/1", &id(8).0, &value);
    let store = Store::open(&path, &config()).unwrap();
    assert!(matches!(store.read().unwrap().item(&id(8)), Err(StoreError::Damaged { .. })));
    // An intact copy heals what is named by its content.
    store.write_blocking(vec![Write::Item { id: id(8), raw: "intact".into() }]).unwrap();
    assert_eq!(store.read().unwrap().item(&id(8)).unwrap(), Some("intact".into()));
}

#[test]
fn a_newer_schema_is_refused_with_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.redb");
    // The meta row of schema 5, as `record.rs` lays it out: the layout of this row never changes.
    let payload = [5_u32.to_be_bytes().as_slice(), &1_u32.to_be_bytes(), &[1; 32]].concat();
    let mut hasher = blake3::Hasher::new();
    for part in [b"meta/1".as_slice(), b"store"] {
        hasher.update(&(part.len() as u64).to_be_bytes()).update(part);
    }
    hasher.update(&[1]).update(&payload);
    let checksum: [u8; 32] = hasher.finalize().into();
    put(&path, "meta/1", b"store", &[&[1], &checksum[..8], payload.as_slice()].concat());
    let error = Store::open(&path, &config()).unwrap_err();
    let expected =
        format!("{} has schema 5, and this version knows schemas up to 4; use a newer weft", path.display());
    assert_eq!(error.to_string(), expected);
}
