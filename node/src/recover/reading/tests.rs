//! Slots that are verified at once come out as if they had been read one by one, whatever is false among them.
#![allow(clippy::unwrap_used, clippy::panic)]

use weft_protocol::assignment::AssignmentDraft;
use weft_protocol::bundle::Bundle;
use weft_protocol::crypto::Signer;
use weft_protocol::push::ORIGIN_PROOF;
use weft_protocol::time::{TimePoint, Weave};
use weft_protocol::{Draft, Hash, Tag, hash_chain};

use super::*;
use crate::shared::testing::{NETWORK, assigned};

fn signer() -> Signer {
    Signer::from_seed(&[1; 32])
}

fn item(tags: &[(&str, &str)], data: impl Into<Bytes>) -> Verified<DataItem> {
    let tags = tags.iter().map(|(name, value)| Tag::new(*name, *value)).collect();
    Draft { tags, data: data.into(), ..Draft::default() }.sign(&signer()).unwrap()
}

/// The parts of each slot: its assignment, its item, and a proof that shows nothing for each tenth.
pub(in super::super) fn log(slots: u64, time_of: impl Fn(u64) -> u64) -> (Id, Vec<Vec<Verified<DataItem>>>) {
    let scheduler = signer().address().to_string();
    let process = item(
        &[("Data-Protocol", "ao"), ("Type", "Process"), ("Scheduler", &scheduler), ("Module", &scheduler)],
        "code",
    );
    let (id, mut chain) = (process.id(), hash_chain::first(process.id()));
    let slot = |slot: u64| {
        let proof = (slot % 10 == 9).then(|| item(&[], slot.to_string()));
        let named = proof.as_ref().map(|proof| proof.id().to_string());
        let tags: Vec<(&str, &str)> = named.iter().map(|named| (ORIGIN_PROOF, named.as_str())).collect();
        let message = if slot == 0 { process.clone() } else { item(&tags, format!("message {slot}")) };
        let draft = AssignmentDraft {
            hash_chain: chain,
            time: TimePoint { timestamp: time_of(slot), height: time_of(slot) / 120_000 },
            ..assigned(id, slot, message.id())
        };
        let assignment = draft.draft().sign(&signer()).unwrap();
        chain = hash_chain::next(assignment.id(), chain);
        [assignment, message].into_iter().chain(proof).collect()
    };
    (id, (0..slots).map(slot).collect())
}

/// Where the item anchor begins in an item of ed25519 without a target.
const ANCHOR: usize = 2 + 64 + 32 + 1 + 1;

/// A bundle of these, of which what `is_false` names is not as it was signed: the anchor of an assignment, the data of
/// another item.
pub(in super::super) fn bundle(items: &[Verified<DataItem>], is_false: impl Fn(usize) -> bool) -> Bytes {
    let bundle = Bundle::build(items);
    let mut raw = bundle.raw().to_vec();
    for (at, (_, range)) in bundle.entries().enumerate().filter(|(at, _)| is_false(*at)) {
        let changed = if items[at].anchor().is_some() { range.start + ANCHOR } else { range.end - 1 };
        raw[changed] ^= 1;
    }
    raw.into()
}

fn reading(process: Id, threads: usize) -> Reading {
    let mut reading = Reading::new(process, Terms { network: NETWORK, weave: Weave::Clock }, threads);
    reading.scheduler = Some(signer().address());
    reading
}

/// What came of a reading: slots and their givers, lies, and where it stopped.
type Told = (Vec<Id>, Vec<Gateway>, Vec<(Gateway, bool, String)>, Option<Want>, Option<String>);

fn told(group: &Group) -> Told {
    let ids = group.parts.iter().map(|part| match part {
        Part::Opening(_, record) | Part::Slot(record) => record.assignment().id,
        Part::Attestations(_) | Part::Module(_) => panic!("nothing is there but slots"),
    });
    let lies = group.lies.iter().map(|(place, why)| (place.gateway, place.is_proven, why.clone()));
    (ids.collect(), group.givers.clone(), lies.collect(), group.wants, group.refused.clone())
}

fn one_by_one(reading: &mut Reading) -> Group {
    let mut group = Group::default();
    while group.has_room() {
        match reading.next(&mut group) {
            Next::Taken(gateway, opened, record) => reading.take(gateway, opened, record, &mut group),
            Next::Again => {}
            Next::Wants(want) => {
                group.wants = Some(want);
                break;
            }
            Next::Refused(why) => {
                group.refused = Some(why);
                break;
            }
        }
    }
    group
}

#[test]
fn a_lie_in_the_middle_stops_the_log_there_until_somebody_has_the_truth() {
    const SLOTS: u64 = 100;
    let (process, log) = log(SLOTS, |slot| 120_000 + slot);
    let items: Vec<_> = log.concat();
    for threads in [1, 3] {
        for (part, name) in [(0, "assignment"), (1, "item"), (2, "proof")] {
            let slot = 49;
            let id = log[slot][part].id();
            let mut reading = reading(process, threads);
            let lying = bundle(&items, |at| items[at].id() == id);
            reading.add_bundle((0, true), lying).unwrap();
            let group = reading.group();
            let (came, _, lies, wants, refused) = told(&group);
            assert_eq!((came.len(), reading.next_slot(), refused), (slot, 49, None), "{name}");
            assert!(
                matches!(&lies[..], [(0, true, why)] if why.starts_with(&format!("the {name} of slot 49")))
            );
            assert_eq!(wants, Some(if part == 0 { Want::Slot(49) } else { Want::Item(id) }));
            // Nothing after it was taken, and nothing is before that is true.
            assert!(reading.group().parts.is_empty());
            reading.pool.add_item(1, &log[slot][part]);
            let group = reading.group();
            assert_eq!((group.parts.len(), reading.next_slot()), (51, SLOTS), "{name}");
            assert_eq!((group.lies.len(), group.wants), (0, Some(Want::Slot(SLOTS))));
        }
    }
}

#[test]
fn a_log_that_its_own_scheduler_broke_ends_there() {
    let (process, log) = log(40, |slot| if slot == 30 { 100_000 } else { 120_000 + slot });
    let mut reading = reading(process, 2);
    reading.add_bundle((0, true), bundle(&log.concat(), |_| false)).unwrap();
    let group = reading.group();
    assert_eq!((group.parts.len(), group.lies.len(), group.wants), (30, 0, None));
    assert!(group.refused.unwrap().starts_with("slot 30: "));
}

#[test]
fn groups_have_a_size_and_follow_each_other() {
    let (process, log) = log(GROUP_SLOTS as u64 + 10, |slot| 120_000 + slot);
    let mut reading = reading(process, 2);
    reading.add_bundle((0, true), bundle(&log.concat(), |_| false)).unwrap();
    let (first, second) = (reading.group(), reading.group());
    assert_eq!((first.parts.len(), first.wants), (GROUP_SLOTS, None));
    assert_eq!((second.parts.len(), second.wants), (10, Some(Want::Slot(GROUP_SLOTS as u64 + 10))));
    let ids: Vec<Id> = [told(&first).0, told(&second).0].concat();
    assert!(ids.into_iter().eq(log.iter().map(|slot| slot[0].id())));
}

/// The other way of reading is the measure: the same slots of the same givers, the same lies, the same end.
#[test]
fn what_is_verified_at_once_is_what_is_read_one_by_one() {
    const SLOTS: u64 = 60;
    let (process, log) = log(SLOTS, |slot| 120_000 + slot);
    let items: Vec<_> = log.concat();
    let (mut stopped, mut whole) = (0, 0);
    for seed in 0..60_u64 {
        // Which are false, of which gateway; the last ones have few that are.
        let is_false = |gateway: u64, at: usize| {
            let mixed = Id::of_signature(format!("{seed} {gateway} {at}").as_bytes());
            u64::from(mixed.0[0]) * (seed + 1) < 256
        };
        let fill = |threads| {
            let mut reading = reading(process, threads);
            for gateway in 0..3 {
                let bytes = bundle(&items, |at| is_false(gateway, at));
                let gateway = usize::try_from(gateway).unwrap();
                reading.add_bundle((gateway, gateway == 1), bytes).unwrap();
            }
            reading
        };
        let (mut measure, mut one, mut many) = (fill(1), fill(1), fill(4));
        let expected = told(&one_by_one(&mut measure));
        assert_eq!(told(&one.group()), expected, "seed {seed}");
        assert_eq!(told(&many.group()), expected, "seed {seed}");
        assert_eq!((one.link, many.link), (measure.link, measure.link));
        if measure.next_slot() == SLOTS { whole += 1 } else { stopped += 1 }
    }
    assert!(stopped > 0 && whole > 0, "{stopped} stopped, {whole} whole");
}

/// One gateway lies at almost every slot, another has the truth.
#[test]
fn many_lies_in_one_group_hide_nothing() {
    let (process, log) = log(50, |slot| 120_000 + slot);
    let items: Vec<_> = log.concat();
    let mut reading = reading(process, 1);
    reading.add_bundle((0, false), bundle(&items, |_| false)).unwrap();
    reading.add_bundle((1, false), bundle(&items, |at| items[at].tags().is_empty())).unwrap();
    let mut group = Group::default();
    assert!(!reading.take_together(&mut group), "slot 0 is not known");
    let group = reading.group();
    assert_eq!(group.parts.len(), 50);
    assert!(group.lies.len() > 40, "{}", group.lies.len());
    assert_eq!(group.link.map(|link| link.hash_chain), Some(reading.link.unwrap().hash_chain));
    assert_ne!(reading.link.unwrap().hash_chain, Hash::ZERO);
}
