//! Slots are asked for, verified and written beside each other, and end where they did when that was one after another.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::path::Path;
use std::time::Duration;

use tokio::sync::watch;
use weft_protocol::crypto::Signer;
use weft_protocol::l1::chunk;
use weft_protocol::placed::Place;
use weft_protocol::record::Link;
use weft_protocol::{DataItem, Now};
use weft_storage::{MemoryDisk, Store, StoreConfig};

use super::super::reading::tests::{bundle, log};
use super::super::sink::Tally;
use super::super::tests::stub;
use super::*;
use crate::anchor::placements::PLACES_MAX;
use crate::portable::Part;
use crate::shared::testing::{NETWORK, shared};

const SLOTS: u64 = 90;
const BUNDLES: usize = 3;
/// How long what hangs may do so.
const WAIT: Duration = Duration::from_secs(60);

/// The bundles that a gateway was asked for.
type AskedFor = watch::Receiver<Vec<Id>>;

/// What came, and how far it was waited for.
#[derive(Default)]
struct Taken {
    slots: Vec<u64>,
    settled: Option<u64>,
    /// Of a disk that is slow: what is on its way gets there once two more bundles were asked for, if there are so many.
    waits_for: Option<AskedFor>,
}

impl Sink for Taken {
    async fn parts(&mut self, parts: Vec<Part>) -> Result<(), PortableError> {
        assert_eq!(self.settled, self.slots.last().copied(), "one group at a time is on its way to the disk");
        for part in parts {
            if let Part::Opening(_, record) | Part::Slot(record) = part {
                self.slots.push(record.assignment().slot);
            }
        }
        Ok(())
    }

    async fn settle(&mut self, link: Option<Link>) -> Result<(), PortableError> {
        if let Some((asked, link)) = self.waits_for.as_mut().zip(link) {
            let of_bundle = link.slot as usize / (SLOTS as usize / BUNDLES);
            asked.wait_for(|asked| asked.len() >= BUNDLES.min(of_bundle + 3)).await.unwrap();
        }
        self.settled = link.map(|link| link.slot);
        Ok(())
    }

    fn has(&self, _: &Id) -> Result<bool, PortableError> {
        Ok(true)
    }

    fn tally(&self) -> Tally {
        Tally { had: 0, attestations: 0, module: false }
    }
}

/// A log in bundles, of which one item is not as it was signed, if any is named.
fn bundles(log: &[Vec<Verified<DataItem>>], false_one: Option<Id>) -> Vec<stub::Bundled> {
    let bundles = log.chunks(log.len() / BUNDLES).enumerate().map(|(number, slots)| {
        let items = slots.concat();
        let bytes = bundle(&items, |at| Some(items[at].id()) == false_one);
        (Id([u8::try_from(number).unwrap(); 32]), items, bytes.to_vec())
    });
    bundles.collect()
}

/// A gateway that has such bundles, and those that it was asked for.
async fn gateway(log: &[Vec<Verified<DataItem>>], false_one: Option<Id>) -> (String, AskedFor) {
    let (note, asked) = watch::channel(Vec::new());
    let note = move |id| note.send_modify(|asked| asked.push(id));
    (stub::bundled(bundles(log, false_one), note).await, asked)
}

fn node() -> SharedRef {
    let config = StoreConfig::new(NETWORK, Signer::from_seed(&[9; 32]).address());
    let store = Store::open_with_backend(MemoryDisk::new(), &config).unwrap();
    shared(Path::new("/nowhere"), Signer::from_seed(&[9; 32]), store)
}

/// Reads a log from these; what was taken, and the report.
async fn read(process: Id, from: &[String], asking: Option<u64>) -> (Taken, RecoverReport) {
    read_into(Taken::default(), process, from, asking).await
}

async fn read_into(
    mut taken: Taken,
    process: Id,
    from: &[String],
    asking: Option<u64>,
) -> (Taken, RecoverReport) {
    let shared = node();
    let reading = Reading::new(process, shared.terms.clone(), 2);
    let mut run = Run::new(&shared, process, gateways(from).unwrap(), &mut taken, reading);
    run.allowance = asking.map(|bytes| Arc::new(Allowance::new(bytes)));
    let mut told = Vec::new();
    let mut hear = |here, total| {
        told.push((here, total));
        ControlFlow::Continue(())
    };
    let report = run.whole(&mut hear).await.unwrap();
    drop(run);
    assert_eq!(taken.settled, taken.slots.last().copied(), "all of it is waited for");
    assert!(
        told.is_sorted_by_key(|(here, _)| *here) && told.iter().all(|(here, total)| here <= total),
        "{told:?}"
    );
    assert_eq!(told.last().map(|(here, _)| *here), Some(report.slots));
    assert!(taken.slots.iter().copied().eq(0..report.slots), "{:?}", taken.slots);
    (taken, report)
}

#[tokio::test]
async fn each_bundle_is_asked_for_once_though_it_is_asked_for_early() {
    let (process, log) = log(SLOTS, |slot| 120_000 + slot);
    // Read ahead, and for somebody else, as it is wanted.
    for asking in [None, Some(1 << 20)] {
        let (address, asked) = gateway(&log, None).await;
        let (_, report) = read(process, &[address], asking).await;
        assert!(report.is_whole(), "{report:?}");
        assert_eq!((report.slots, report.bundles), (SLOTS, BUNDLES as u64));
        assert_eq!(asked.borrow().len(), BUNDLES, "{asked:?}");
        // A list and a bundle each, and what else is asked of all.
        assert!(report.gateways[0].requests >= 2 * BUNDLES as u64, "{report:?}");
    }
}

/// Reads a log at a node that heard of these bundles, each with the slots from one to another.
async fn read_told(
    process: Id,
    from: &str,
    places: impl IntoIterator<Item = (Id, u64, u64)>,
) -> Result<RecoverReport, RecoverError> {
    let shared = node();
    for (bundle, from, to) in places {
        let place = Place { network: NETWORK, process, weave: "w".to_owned(), bundle, from, to, height: 1 };
        assert!(shared.placements.keep(&place.sign(&Signer::from_seed(&[1; 32])).unwrap(), Now(1)));
    }
    let mut taken = Taken::default();
    let reading = Reading::new(process, shared.terms.clone(), 2);
    let mut run = Run::new(&shared, process, gateways(&[from.to_owned()])?, &mut taken, reading);
    run.whole(&mut |_, _| ControlFlow::Continue(())).await
}

/// Who knows where the slots lie needs no list, also if false words are among the true ones.
#[tokio::test]
async fn a_log_comes_from_where_its_scheduler_says_that_it_lies() {
    let (process, log) = log(SLOTS, |slot| 120_000 + slot);
    let address = stub::without_lists(bundles(&log, None)).await;
    let read = async |places: Vec<(u8, u64)>| {
        let place = |(bundle, from): (u8, u64)| (Id([bundle; 32]), from, from + SLOTS / BUNDLES as u64 - 1);
        read_told(process, &address, places.into_iter().map(place)).await
    };
    let true_ones = [(0, 0), (1, 30), (2, 60)];
    let report = read(true_ones.to_vec()).await.unwrap();
    assert_eq!((report.slots, report.bundles), (SLOTS, BUNDLES as u64), "{report:?}");
    // One bundle that is not there, and one that has other slots.
    let report = read([&[(9, 30), (0, 60)], &true_ones[..]].concat()).await.unwrap();
    assert_eq!(report.slots, SLOTS, "{report:?}");
    assert!(!report.gateways[0].given_up);
    // Without them it has nothing to say.
    assert!(matches!(read(Vec::new()).await, Err(RecoverError::Unknown { .. })));
}

/// What a scheduler names that is none of its log costs two bundles, and is no fault of the gateway that gives them.
#[tokio::test]
async fn false_words_of_a_scheduler_hold_nobody_up() {
    let (process, log) = log(SLOTS, |slot| 120_000 + slot);
    for are_shown in [true, false] {
        let picture = |number: u8| {
            let bytes = vec![number; 100];
            let root = chunk::data_root(&bytes).unwrap();
            (if are_shown { Id(root.0) } else { Id([100 + number; 32]) }, Vec::new(), bytes)
        };
        let pictures: Vec<stub::Bundled> = (0..u8::try_from(PLACES_MAX).unwrap()).map(picture).collect();
        let places: Vec<_> = pictures.iter().map(|(id, ..)| (*id, 0, u64::MAX)).collect();
        let (note, asked) = watch::channel(Vec::new());
        let note = move |id| note.send_modify(|asked: &mut Vec<Id>| asked.push(id));
        let address = stub::bundled([bundles(&log, None), pictures].concat(), note).await;
        let report = read_told(process, &address, places).await.unwrap();
        assert!(report.is_whole(), "{report:?}");
        assert_eq!((report.slots, report.bundles), (SLOTS, BUNDLES as u64), "{report:?}");
        assert_eq!(asked.borrow().len(), BUNDLES + 2, "{asked:?}");
        // Its faults are those that it has without such words.
        let untold = read_told(process, &address, Vec::new()).await.unwrap();
        let faults = |of: &RecoverReport| (of.gateways[0].faults_count, of.gateways[0].faults.clone());
        assert_eq!(faults(&report), faults(&untold));
    }
}

/// So it is for what others ask for.
#[tokio::test]
async fn the_next_bundle_is_asked_for_while_the_disk_is_busy() {
    let (process, log) = log(SLOTS, |slot| 120_000 + slot);
    for asking in [None, Some(1 << 20)] {
        let (address, asked) = gateway(&log, None).await;
        let slow = Taken { waits_for: Some(asked), ..Taken::default() };
        let from = [address];
        let read = tokio::time::timeout(WAIT, read_into(slow, process, &from, asking));
        let (_, report) = read.await.expect("the disk waits for the gateway, and the gateway for the disk");
        assert!(report.is_whole() && report.slots == SLOTS, "{report:?}");
    }
}

#[tokio::test]
async fn a_lie_in_the_middle_ends_the_log_there_unless_another_has_the_truth() {
    let (process, log) = log(SLOTS, |slot| 120_000 + slot);
    for (slot, part) in [(45, 0), (45, 1), (49, 2), (0, 0), (60, 1), (89, 1)] {
        let false_one = Some(log[slot][part].id());
        let (liar, _) = gateway(&log, false_one).await;
        let (honest, _) = gateway(&log, None).await;
        if slot > 0 {
            let (taken, report) = read(process, std::slice::from_ref(&liar), None).await;
            assert_eq!((taken.slots.len(), report.slots), (slot, slot as u64));
            assert_eq!(report.missing.map(|missing| missing.from), Some(slot as u64), "{report:?}");
            assert!(report.gateways[0].faults_count > 0, "{report:?}");
        }
        let (_, report) = read(process, &[liar, honest], None).await;
        assert_eq!((report.slots, report.missing), (SLOTS, None), "slot {slot}, part {part}: {report:?}");
    }
}
