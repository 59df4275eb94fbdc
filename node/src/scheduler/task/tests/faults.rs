//! The scheduler over disks that fail, by every fault and at every call: what was acknowledged stays as it was signed,
//! and no slot is acknowledged twice. Ordinarily a sample of the calls fails; all of them with `WEFT_FULL=1`.

use std::panic::{AssertUnwindSafe, catch_unwind};

use weft_protocol::hash_chain;
use weft_storage::limits::CACHE_BYTES_DEFAULT;

use self::fault_disk::{FAULTS, Fault, FaultDisk, chosen};
use super::*;

#[path = "../../../../../storage/tests/it/fault_disk.rs"]
#[allow(dead_code)] // The store's own tests need all of it.
mod fault_disk;

/// Calls that fail in an ordinary run, of each kind of fault.
const SAMPLES: u64 = 8;
/// Messages that are submitted, and how many of them at once.
const MESSAGES: usize = 6;
const AT_ONCE: usize = 3;

/// What was acknowledged: of each slot the id of its assignment, and the item.
#[derive(Debug, Clone, Default)]
struct Said(BTreeMap<u64, (Id, Id)>);

impl Said {
    /// Says whether the item has a slot.
    fn hear(&mut self, case: &str, item: &Verified<DataItem>, answer: &Answer) -> bool {
        let (slot, said) = match answer {
            Answer::Assigned { slot, assignment, .. } => (*slot, (*assignment, item.id())),
            Answer::Fault(_) | Answer::Busy { .. } => return false,
            // Its process has no slot yet either.
            Answer::UnknownProcess if self.0.is_empty() => return false,
            other => panic!("{case}: {other:?}"),
        };
        let first = *self.0.entry(slot).or_insert(said);
        assert_eq!(first, said, "{case}: slot {slot} was acknowledged with two assignments");
        true
    }
}

/// What is submitted to one scheduler after another, each over a store that begins alike.
struct Trial {
    config: StoreConfig,
    /// A store without a row of anybody's.
    empty: Vec<u8>,
    own: Verified<DataItem>,
    messages: Vec<Verified<DataItem>>,
}

/// What came of one scheduler.
struct Worked {
    said: Said,
    /// Whether everything had a slot whenever it was submitted.
    is_all: bool,
    /// Calls of the disk meanwhile.
    calls: u64,
    found: [(&'static str, FaultDisk); 3],
}

/// Submits each while those before it wait for the disk: they are signed while another is written.
async fn submit_meanwhile(handle: &SchedulerHandle, items: &[Verified<DataItem>]) -> Vec<Answer> {
    let submit = |(before, item): (usize, &Verified<DataItem>)| {
        let submission = Submission::plain(item.target().unwrap(), item.clone());
        async move {
            for _ in 0..before {
                tokio::task::yield_now().await;
            }
            handle.submit(submission).await
        }
    };
    join_all(items.iter().enumerate().map(submit)).await
}

impl Trial {
    fn new(cache_bytes: usize) -> Self {
        let config = StoreConfig { cache_bytes, ..StoreConfig::new(NETWORK, signer().address()) };
        let disk = FaultDisk::new();
        drop(Store::open_with_backend(disk.clone(), &config).unwrap());
        let own = process(&[]);
        let messages = (1..=MESSAGES).map(|number| item(Some(own.id()), number)).collect();
        Self { config, empty: disk.bytes(), own, messages }
    }

    /// Submits everything; says whether all of it has slots.
    async fn submit(&self, case: &str, handle: &SchedulerHandle, said: &mut Said) -> bool {
        let opened = handle.submit(opening(&self.own)).await;
        let mut is_all = said.hear(case, &self.own, &opened);
        for items in self.messages.chunks(AT_ONCE) {
            let answers = submit_meanwhile(handle, items).await;
            for (item, answer) in items.iter().zip(&answers) {
                is_all &= said.hear(case, item, answer);
            }
        }
        is_all
    }

    /// Works over a disk of which this call fails, counted from when the scheduler started.
    async fn work(&self, case: &str, plan: Option<(u64, Fault)>) -> Worked {
        let disk = FaultDisk::of(self.empty.clone());
        let store = Store::open_with_backend(disk.clone(), &self.config).unwrap();
        let (handle, stop, running) = start(&store);
        let before = disk.calls();
        if let Some((number, fault)) = plan {
            disk.fail(before + number, fault);
        }
        let (mut said, mut is_all) = (Said::default(), true);
        // Whoever asks again is told the same, or nothing.
        for _ in 0..2 {
            is_all &= self.submit(case, &handle, &mut said).await;
        }
        let calls = disk.calls() - before;
        // Before the node stops in order.
        let found = disk.found(plan.map_or(0, |(number, _)| number));
        stop.cancel();
        running.await.unwrap();
        Worked { said, is_all, calls, found }
    }

    /// The log on disk, in which all stands that was acknowledged.
    fn log(&self, case: &str, store: &Store, said: &Said) -> Vec<(u64, SlotRow)> {
        let log = store.read().unwrap().slots(&self.own.id(), 0, u64::MAX, 100).unwrap();
        let mut chain = hash_chain::first(self.own.id());
        for (expected, (slot, row)) in (0..).zip(&log) {
            assert_eq!((*slot, row.chain), (expected, chain), "{case}: the log is broken");
            chain = hash_chain::next(row.assignment_id, chain);
        }
        for (slot, said) in &said.0 {
            let row = log.iter().find(|(found, _)| found == slot).map(|(_, row)| row);
            let found = row.map(|row| (row.assignment_id, row.item));
            assert_eq!(found, Some(*said), "{case}: slot {slot} is not what was acknowledged");
        }
        log
    }

    /// The scheduler that is started over what is found keeps what was acknowledged, and goes on after the newest.
    async fn judge(&self, case: &str, disk: FaultDisk, mut said: Said) {
        let store = Store::open_with_backend(disk, &self.config);
        let store = store.unwrap_or_else(|error| panic!("{case}: {error}"));
        let found = self.log(case, &store, &said);
        let (handle, stop, running) = start(&store);
        assert!(self.submit(case, &handle, &mut said).await, "{case}: it does not go on");
        let last = item(Some(self.own.id()), MESSAGES + 1);
        let answer = handle.submit(Submission::plain(self.own.id(), last.clone())).await;
        assert!(said.hear(case, &last, &answer), "{case}: {answer:?}");
        // Every item has one slot, acknowledged before or not.
        assert_eq!(slot(&answer), (MESSAGES as u64 + 1, false), "{case}");
        stop.cancel();
        running.await.unwrap();
        let log = self.log(case, &store, &said);
        assert!(log.starts_with(&found), "{case}: what was found has changed");
    }
}

async fn every_call(cache_bytes: usize) {
    let trial = Trial::new(cache_bytes);
    let Worked { is_all, calls, .. } = trial.work("a disk that works", None).await;
    assert!(is_all && calls > SAMPLES, "{calls} calls");
    let (mut cases, mut failed) = (0, 0);
    for (offset, fault) in (0..).zip(FAULTS) {
        for number in chosen(calls, SAMPLES, offset) {
            let case = format!("{fault:?} at call {number} of {calls}");
            let Worked { said, is_all, found, .. } = trial.work(&case, Some((number, fault))).await;
            cases += 1;
            failed += u64::from(!is_all);
            for (how, disk) in found {
                trial.judge(&format!("{case}, {how}"), disk, said.clone()).await;
            }
        }
    }
    assert!(failed > cases / 2, "{failed} of {cases} schedulers met a fault");
}

/// A log that was read before is in memory, and is read again from there after a commit that failed.
#[tokio::test]
async fn whatever_call_of_the_disk_fails_what_was_acknowledged_stays_as_it_was_signed() {
    every_call(CACHE_BYTES_DEFAULT).await;
}

#[tokio::test]
async fn what_was_acknowledged_stays_where_every_look_is_a_call_that_may_fail() {
    every_call(0).await;
}

/// The judge itself: on a disk that lies about syncs something acknowledged is lost, and is missed.
#[tokio::test]
async fn a_disk_that_lies_to_the_scheduler_is_caught() {
    let trial = Trial::new(CACHE_BYTES_DEFAULT);
    let calls = trial.work("a disk that works", None).await.calls;
    let Worked { said, is_all, found, .. } = trial.work("a lie", Some((calls / 2, Fault::Lying))).await;
    assert!(is_all);
    let [_, (_, lost), _] = found;
    let store = Store::open_with_backend(lost, &trial.config).unwrap();
    let missed = catch_unwind(AssertUnwindSafe(|| trial.log("a lie", &store, &said))).is_err();
    assert!(missed, "nobody missed anything");
}
