#![allow(clippy::unwrap_used)]

use bytes::Bytes;
use weft_protocol::crypto::Signer;
use weft_protocol::process::Terms;
use weft_protocol::time::Weave;
use weft_protocol::{Draft, Hash, Id, Tag, Verified};
use weft_storage::{SlotRow, Store, StoreConfig, Write};

use super::*;
use crate::shared::testing::{NETWORK, outcome_row};

/// A log with everything that pages leave out, on a real store.
struct Log {
    _folder: tempfile::TempDir,
    store: Store,
    process: Process,
    scheduler: Signer,
}

impl Log {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let scheduler = Signer::from_seed(&[7; 32]);
        let config = StoreConfig::new(NETWORK, scheduler.address());
        let store = Store::open(&folder.path().join("store.redb"), &config).unwrap();
        let (module, address) = (Id([4; 32]).to_string(), scheduler.address().to_string());
        let tags = [
            ("Data-Protocol", "ao"),
            ("Variant", "ao.TN.1"),
            ("Type", "Process"),
            ("Module", &module),
            ("Scheduler", &address),
            ("Cron-Interval", "1-second"),
            ("Cron-Tag-Action", "Tick"),
        ];
        let item = sign(&scheduler, None, &tags);
        let terms = Terms { network: NETWORK, weave: Weave::Clock };
        let process = Process::accept(item, None, &terms).unwrap();
        Self { _folder: folder, store, process, scheduler }
    }

    /// A slot and its item.
    fn slot(&self, slot: u64, timestamp: u64, item: &Verified<DataItem>) {
        let number = [slot as u8 + 1; 32];
        let row = SlotRow {
            epoch: 0,
            assignment_id: Id(number),
            assignment: Bytes::from(vec![slot as u8]),
            item: item.id(),
            proof: None,
            chain: Hash(number),
            timestamp,
            block_height: 0,
        };
        let process = self.process.id();
        let item = Write::Item { id: item.id(), raw: item.raw().clone() };
        self.store.write_blocking(vec![item, Write::Slot { process, slot, row }]).unwrap();
    }

    fn outcome(&self, position: Position, item: Option<Id>, gas: u64, change: impl FnOnce(&mut OutcomeRow)) {
        let name = format!("{position}");
        let mut row = OutcomeRow {
            item,
            gas,
            result: format!(r#"{{"Messages":[],"Output":"{name}","GasUsed":9}}"#).into(),
            ..outcome_row()
        };
        change(&mut row);
        let process = self.process.id();
        self.store.write_blocking(vec![Write::Outcome { process, position, row }]).unwrap();
    }

    fn message(&self, slot: u64, timestamp: u64, change: impl FnOnce(&mut OutcomeRow)) {
        let number = slot.to_string();
        let item =
            sign(&self.scheduler, Some(self.process.id()), &[("Type", "Message"), ("Number", &number)]);
        self.slot(slot, timestamp, &item);
        self.outcome(Position::slot(slot), Some(item.id()), 10, change);
    }

    /// Slot 0; ticks at 1 s, 2 s; message 1; a failure; a duplicate; a mark after a tick; messages
    /// 5 and 6 in one millisecond; a slot that a later epoch took back.
    fn full() -> Self {
        let log = Self::new();
        let process = log.process.item().clone();
        log.slot(0, 500, &process);
        log.outcome(Position::slot(0), Some(process.id()), 10, |_| {});
        for tick in [1, 2] {
            log.outcome(Position { tick, ..Position::slot(0) }, None, 10, |_| {});
        }
        log.message(1, 2_500, |_| {});
        log.message(2, 2_600, |row| row.result = r#"{"Error":"no","Output":""}"#.into());
        log.message(3, 2_600, |row| row.duplicate_of = Some(Position::slot(1)));
        log.outcome(Position { tick: 1, ..Position::slot(3) }, None, 10, |_| {});
        let mark = mark::draft(NETWORK, log.process.id(), 0, 4).sign(&log.scheduler).unwrap();
        log.slot(4, 3_100, &mark);
        log.outcome(Position::slot(4), Some(mark.id()), 0, |_| {});
        log.message(5, 3_100, |_| {});
        log.message(6, 3_100, |_| {});
        log.outcome(Position { epoch: 1, slot: 6, tick: 0 }, None, 10, |_| {});
        log
    }

    fn page(&self, query: &PageQuery) -> (Vec<String>, Page) {
        let page = page(&self.store.read().unwrap(), &self.process, query, usize::MAX).unwrap();
        (page.edges.iter().map(|edge| edge.node["Output"].as_str().unwrap().to_owned()).collect(), page)
    }
}

fn sign(signer: &Signer, target: Option<Id>, tags: &[(&str, &str)]) -> Verified<DataItem> {
    let tags = tags.iter().map(|(name, value)| Tag::new(*name, *value)).collect();
    Draft { target, anchor: None, tags, data: vec![1].into() }.sign(signer).unwrap()
}

const ALL: [&str; 7] = ["0", "0+1", "0+2", "1", "3+1", "5", "6"];

/// Check 67 of the reference, and what RULES.md 6.3 and 6.19 leave out.
#[test]
fn a_page_shows_what_ran_and_nothing_else() {
    let log = Log::full();
    let (shown, page) = log.page(&PageQuery::default());
    assert_eq!(shown, ALL);
    assert!(!page.page_info.has_next_page && page.page_info.cursor.is_none());
    assert_eq!(page.edges[0].node, serde_json::json!({ "Messages": [], "Output": "0" }));
    let (crons, _) = log.page(&PageQuery { show: Show::Crons, sort: Sort::Desc, ..PageQuery::default() });
    assert_eq!(crons, ["0+1", "0+2", "3+1"], "crons have one order");
}

/// Check 68.
#[test]
fn cursors_walk_the_whole_log_in_pages_of_any_size_and_either_order() {
    let log = Log::full();
    for sort in [Sort::Asc, Sort::Desc] {
        let mut expected = ALL.to_vec();
        if sort == Sort::Desc {
            expected.reverse();
        }
        for limit in 1..=ALL.len() + 1 {
            let mut query = PageQuery { limit: Some(limit), sort, ..PageQuery::default() };
            let mut walked = Vec::new();
            loop {
                let (shown, page) = log.page(&query);
                assert!(shown.len() <= limit);
                walked.extend(shown);
                // The order is the cursor's from here on.
                query.sort = Sort::Asc;
                query.from = page.edges.last().map(|edge| Cursor::parse(&edge.cursor).unwrap());
                if !page.page_info.has_next_page {
                    break;
                }
            }
            assert_eq!(walked, expected, "{sort:?}, {limit} a page");
        }
    }
}

#[test]
fn bounds_are_cursors_or_timestamps_and_leave_out_as_the_reference_does() {
    let log = Log::full();
    let at = |text: &str| Some(Cursor::parse(text).unwrap());
    let shown = |from: Option<Cursor>, to: Option<Cursor>, sort| {
        log.page(&PageQuery { from, to, sort, ..PageQuery::default() }).0
    };
    assert_eq!(shown(at("1000"), at("2500"), Sort::Asc), ["0+2", "1"]);
    assert_eq!(shown(at("2500"), at("1000"), Sort::Desc), ["0+2", "0+1"]);
    assert_eq!(shown(at("3100"), None, Sort::Asc), [""; 0]);
    assert_eq!(shown(None, at("499"), Sort::Asc), [""; 0]);
    let (_, page) = log.page(&PageQuery::default());
    let cursor = |at: usize| Some(Cursor::parse(&page.edges[at].cursor).unwrap());
    // `from` is left out, `to` is not; entries of one millisecond are told apart.
    assert_eq!(shown(cursor(1), cursor(5), Sort::Asc), ["0+2", "1", "3+1", "5"]);
    assert_eq!(
        cursor(2).unwrap(),
        Cursor {
            timestamp: 2_000,
            ordinate: Some(0),
            cron: Some("2-1-second".into()),
            sort: Some(Sort::Asc),
        }
    );
}

#[test]
fn what_is_no_cursor_is_refused() {
    use base64::Engine as _;
    let encode = |text: &str| base64::engine::general_purpose::STANDARD.encode(text);
    let of_reference = r#"{"timestamp":"7","ordinate":"3","sort":"ASC"}"#;
    assert_eq!(Cursor::parse(&encode(of_reference)).unwrap().key(Sort::Asc), (7, 3, 0));
    for bad in ["", "x", "-1", &encode("{}"), &encode(r#"{"timestamp":1,"cron":"x-1"}"#), &"1".repeat(2_000)]
    {
        assert!(Cursor::parse(bad).is_err(), "{bad}");
    }
}

#[test]
fn a_long_stretch_of_failures_ends_the_page_with_a_cursor() {
    let log = Log::new();
    let process = log.process.item().clone();
    log.slot(0, 500, &process);
    let failed = |row: &mut OutcomeRow| row.result = r#"{"Error":"no"}"#.into();
    log.outcome(Position::slot(0), Some(process.id()), 10, failed);
    log.message(1, 2_500, |_| {});
    log.message(2, 2_600, failed);
    let query = |from: Option<Cursor>| PageQuery { from, ..PageQuery::default() };
    let (mut from, mut walked, mut pages) = (None, Vec::new(), 0);
    loop {
        let page =
            page_within(&log.store.read().unwrap(), &log.process, &query(from), 1, usize::MAX).unwrap();
        walked.extend(page.edges.iter().map(|edge| edge.node["Output"].clone()));
        pages += 1;
        if !page.page_info.has_next_page {
            break;
        }
        from = page.page_info.cursor.map(|cursor| Cursor::parse(&cursor).unwrap());
        assert!(from.is_some());
    }
    assert_eq!((walked, pages), (vec![Value::from("1")], 4));
}

#[test]
fn a_page_ends_where_its_results_have_enough_bytes() {
    let log = Log::full();
    let (mut from, mut walked) = (None, Vec::new());
    loop {
        let query = PageQuery { from, ..PageQuery::default() };
        let page = page(&log.store.read().unwrap(), &log.process, &query, 1).unwrap();
        assert_eq!(page.edges.len(), 1, "the first is always there");
        walked.push(page.edges[0].node["Output"].as_str().unwrap().to_owned());
        if !page.page_info.has_next_page {
            break;
        }
        from = Some(Cursor::parse(&page.edges[0].cursor).unwrap());
    }
    assert_eq!(walked, ALL);
}

/// Many small values take much more memory than they have bytes.
#[test]
fn a_page_counts_values_too_and_what_it_only_looks_at() {
    let log = Log::new();
    let process = log.process.item().clone();
    log.slot(0, 500, &process);
    log.outcome(Position::slot(0), Some(process.id()), 10, |_| {});
    let dense = format!(r#"{{"Output":[{}0]}}"#, "0,".repeat(999));
    for slot in 1..=3 {
        log.message(slot, 2_000 + slot, |row: &mut OutcomeRow| row.result = dense.clone().into());
    }
    let page = |bytes| page(&log.store.read().unwrap(), &log.process, &PageQuery::default(), bytes).unwrap();
    assert_eq!(page(usize::MAX).edges.len(), 4);
    // Two of them have some 4,000 bytes, and 2,000 values.
    let two = page(2 * 1_000 * VALUE_BYTES + 10_000);
    assert_eq!((two.edges.len(), two.page_info.has_next_page), (3, true));
    let fewer = page(6_000);
    assert_eq!((fewer.edges.len(), fewer.page_info.has_next_page), (1, true));
    // What fails is not shown; whoever looks for more goes on from a cursor.
    let log = Log::new();
    log.slot(0, 500, &process);
    let large = format!(r#"{{"Error":"no","Output":"{}"}}"#, "x".repeat(LOOKED_AT_BYTES_MAX / 4));
    for slot in 1..=6 {
        log.message(slot, 2_000 + slot, |row: &mut OutcomeRow| row.result = large.clone().into());
    }
    let page = super::page(&log.store.read().unwrap(), &log.process, &PageQuery::default(), 1_000).unwrap();
    assert!(page.edges.is_empty() && page.page_info.has_next_page);
    let cursor = Cursor::parse(&page.page_info.cursor.unwrap()).unwrap();
    assert_eq!(cursor.key(Sort::Asc).1, 4);
}

#[test]
fn check_069_no_page_is_longer_than_its_limit() {
    let log = Log::new();
    let process = log.process.item().clone();
    log.slot(0, 500, &process);
    log.outcome(Position::slot(0), Some(process.id()), 10, |_| {});
    for tick in 1..=PAGE_MAX as u32 + 2 {
        log.outcome(Position { tick, ..Position::slot(0) }, None, 10, |_| {});
    }
    // The slot that the ticks lie before.
    log.message(1, 2_000_000, |_| {});
    for (show, default) in [(Show::Crons, CRONS_DEFAULT), (Show::All, RESULTS_DEFAULT)] {
        let page = |limit| log.page(&PageQuery { limit, show, ..PageQuery::default() });
        for (limit, expected) in [(Some(5_000), PAGE_MAX), (Some(PAGE_MAX), PAGE_MAX), (None, default)] {
            let (shown, page) = page(limit);
            assert_eq!((shown.len(), page.page_info.has_next_page), (expected, true), "{limit:?}");
        }
    }
}
