//! What is beside the slots, from gateways that give something else, much that is none, or no end of it.
#![allow(clippy::unwrap_used)]

use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use prost::Message as _;
use weft_protocol::attestation::{Attestation, Statement};
use weft_protocol::crypto::Signer;
use weft_protocol::process::{Process, RULES};
use weft_protocol::record::Link;
use weft_protocol::time::TimePoint;
use weft_protocol::{DataItem, Draft, Position, Tag, wire};

use super::super::sink::Tally;
use super::super::tests::stub;
use super::*;
use crate::portable::{ATTESTATIONS_TYPE, EVIDENCE_TYPE, Part};
use crate::shared::testing::{NETWORK, in_memory, process_item};

/// What came.
#[derive(Default)]
struct Kept(Vec<Verified<Attestation>>);

impl Sink for Kept {
    async fn parts(&mut self, parts: Vec<Part>) -> Result<(), PortableError> {
        for part in parts {
            if let Part::Attestations(all) = part {
                self.0.extend(all);
            }
        }
        Ok(())
    }

    async fn settle(&mut self, _: Option<Link>) -> Result<(), PortableError> {
        Ok(())
    }

    fn has(&self, _: &Id) -> Result<bool, PortableError> {
        Ok(true)
    }

    fn tally(&self) -> Tally {
        Tally { had: 1, attestations: self.0.len() as u64, module: false }
    }
}

fn scheduler() -> Signer {
    Signer::from_seed(&[7; 32])
}

fn process(shared: &Shared) -> Arc<Process> {
    let item = process_item(&scheduler(), scheduler().address());
    Arc::new(Process::accept(item, None, &shared.terms).unwrap())
}

fn attested(process: &Process, slot: u64, running: u8) -> Verified<Attestation> {
    let statement = Statement {
        network: NETWORK,
        process: process.id(),
        position: Position::slot(slot),
        assignment: Id([1; 32]),
        running: Hash([running; 32]),
        state_root: Hash::ZERO,
        rules: RULES,
    };
    statement.sign(&scheduler()).unwrap()
}

fn item(by: &Signer, kind: &str, process: &Process, data: impl Into<Bytes>) -> Verified<DataItem> {
    let tags = [("Type", kind), ("Process", &process.id().to_string())];
    let tags = tags.into_iter().map(|(name, value)| Tag::new(name, value)).collect();
    Draft { tags, data: data.into(), ..Draft::default() }.sign(by).unwrap()
}

fn attestations(process: &Process, slot: u64) -> Verified<DataItem> {
    let message = wire::AttestationsResponse { attestations: vec![attested(process, slot, 1).to_wire()] };
    item(&scheduler(), ATTESTATIONS_TYPE, process, message.encode_to_vec())
}

fn as_it_is(item: &Verified<DataItem>) -> Vec<u8> {
    item.data().to_vec()
}

/// The slots of what was attested, and what else was told.
async fn beside(shared: &SharedRef, of: &Arc<Process>, from: &[String]) -> (Vec<u64>, Vec<String>) {
    let mut reading = Reading::new(of.id(), shared.terms.clone(), 2);
    let time = TimePoint { timestamp: 1, height: 1 };
    let link = Link { slot: 0, assignment: Id([1; 32]), hash_chain: Hash([2; 32]), time };
    reading.go_on_from(Arc::clone(of), link).unwrap();
    let mut kept = Kept::default();
    let mut run = Run::new(shared, of.id(), gateways(from).unwrap(), &mut kept, reading);
    run.read_beside(&mut |_, _| ControlFlow::Continue(())).await.unwrap();
    let told = std::mem::take(&mut run.unproven);
    drop(run);
    let mut slots: Vec<u64> = kept.0.iter().map(|one| one.statement().position.slot).collect();
    slots.sort_unstable();
    (slots, told)
}

fn node() -> SharedRef {
    in_memory(scheduler())
}

/// The first gateway that is named decides nothing for the others.
#[tokio::test]
async fn who_gives_something_else_under_a_name_hides_nothing() {
    let shared = node();
    let process = process(&shared);
    let all: Vec<_> = (1..=3).map(|slot| attestations(&process, slot)).collect();
    let honest = stub::gateway(all.clone(), as_it_is).await;
    for false_data in [Vec::new(), vec![0xff; 9], attestations(&process, 9).data().to_vec()] {
        let liar = stub::gateway(all.clone(), move |_| false_data.clone()).await;
        let (slots, _) = beside(&shared, &process, &[liar, honest.clone()]).await;
        assert!([1, 2, 3].iter().all(|slot| slots.contains(slot)), "{slots:?}");
    }
    // What came as it was signed is not asked for again.
    let (slots, told) =
        beside(&shared, &process, &[honest.clone(), honest.replace("127.0.0.1", "localhost")]).await;
    assert_eq!((slots, told), (vec![1, 2, 3], Vec::new()));
}

/// Anybody may post what is none, before the evidence and after it.
#[tokio::test]
async fn evidence_is_found_among_what_is_none() {
    let shared = node();
    let process = process(&shared);
    let evidence = Evidence::of_attestations(&attested(&process, 1, 1), &attested(&process, 1, 2)).unwrap();
    let stranger = Signer::from_seed(&[9; 32]);
    let evidence = item(&stranger, EVIDENCE_TYPE, &process, evidence.encode());
    let junk = |number: usize| item(&stranger, EVIDENCE_TYPE, &process, number.to_string());
    let mut items: Vec<_> = (0..150).map(junk).collect();
    items.push(evidence.clone());
    let (_, told) = beside(&shared, &process, &[stub::gateway(items.clone(), as_it_is).await]).await;
    assert!(told.iter().any(|text| text.contains(&scheduler().address().to_string())), "{told:?}");
    // More than is read from the oldest on: it is found from the newest on, and that there is more is said.
    let mut items: Vec<_> = (0..3_300).map(junk).collect();
    items.insert(3_200, evidence);
    let (_, told) = beside(&shared, &process, &[stub::gateway(items, as_it_is).await]).await;
    assert!(told.iter().any(|text| text.contains(&scheduler().address().to_string())), "{told:?}");
    assert!(told.iter().any(|text| text.contains("lists more")), "{told:?}");
}

/// What nobody signed as it is given costs a gateway its turn.
#[tokio::test]
async fn who_lists_no_end_of_what_is_nothing_is_asked_no_more() {
    let shared = node();
    let process = process(&shared);
    let stranger = Signer::from_seed(&[9; 32]);
    // Signed, but by nobody whose word about the log counts.
    let junk = |number: u64| item(&stranger, ATTESTATIONS_TYPE, &process, number.to_string());
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    let liar = stub::gateway((0..250).map(junk).collect(), move |item| {
        count.fetch_add(1, Ordering::Relaxed);
        as_it_is(item)
    });
    let (slots, told) = beside(&shared, &process, &[liar.await]).await;
    assert!(slots.is_empty(), "{slots:?}");
    assert!(told.iter().any(|text| text.contains("lists more")), "{told:?}");
    assert!(asked.load(Ordering::Relaxed) <= 8, "{asked:?}");
}
