//! Announcements on the topic of a process that the node schedules.

use bytes::Bytes;
use prost::Message as _;
use weft_node::control::api::{AnchorRequest, PlaceInfo, Request};
use weft_protocol::assignment::{Assignment, AssignmentDraft};
use weft_protocol::attestation::Statement;
use weft_protocol::crypto::Signer;
use weft_protocol::data_item::Draft;
use weft_protocol::placed::Place;
use weft_protocol::wire::announcement::Body;
use weft_protocol::{DataItem, Hash, Id, Position, wire};

use crate::support::{Node, Stranger, announcement, key, network, now, tags};

/// Flips a bit of the last byte.
fn broken(bytes: &Bytes) -> Bytes {
    let mut bytes = bytes.to_vec();
    *bytes.last_mut().unwrap() ^= 1;
    bytes.into()
}

/// A slot after `last` of its log, with a message of `author`, signed by `signer`.
fn next_slot(last: &wire::SlotRecord, signer: &Signer, author: &Signer) -> wire::SlotRecord {
    let item = DataItem::verify_bytes(last.assignment.clone()).unwrap();
    let Assignment { process, epoch, slot, hash_chain, mut time, .. } = Assignment::from_item(&item).unwrap();
    let message = Node::message(process, 200, author);
    time.timestamp = now();
    let draft = AssignmentDraft {
        network: network(),
        process,
        epoch,
        slot: slot + 1,
        hash_chain: weft_protocol::hash_chain::next(item.id(), hash_chain),
        time,
        message: Some(message.id()),
        excludes: Vec::new(),
    };
    let assignment = draft.draft().sign(signer).unwrap();
    weft_protocol::record::to_wire(&assignment, &message, None)
}

fn attestation(process: Id, position: Position, signer: &Signer) -> wire::Attestation {
    let statement = Statement {
        network: network(),
        process,
        position,
        assignment: process,
        running: Hash([1; 32]),
        state_root: Hash::ZERO,
        rules: 0,
    };
    statement.sign(signer).unwrap().to_wire()
}

/// Everything that a stranger may say on the topic and that nobody may believe, by name.
fn lies(process: Id, last: &wire::SlotRecord, me: &Stranger) -> Vec<(&'static str, Bytes)> {
    let other = Id([7; 32]);
    let slot = |record: wire::SlotRecord| announcement(process, Body::Slot(record));
    let position = Position::slot(1);
    let proper = next_slot(last, &me.signer, &me.signer);
    let head = |assignment: Bytes| wire::Head {
        process: Bytes::copy_from_slice(process.as_ref()),
        epoch: 0,
        slot: 2,
        assignment,
    };
    let receipt = |item: Bytes, assignment: Bytes| wire::Receipt {
        position: Some(wire::Position { epoch: 0, slot: 1, tick: 0 }),
        index: 0,
        assignment,
        item,
    };
    let signed = Draft { tags: tags(&[("A", "1")]), ..Draft::default() }.sign(&me.signer).unwrap();
    let mut late = announcement(process, Body::Offer(me.offer(1))).to_vec();
    late.push(0);
    let offer = me.offer(2);
    let attested = attestation(process, position, &me.signer);
    vec![
        ("bytes", Bytes::from_static(b"\xff\xfe\xfd hello")),
        ("a group that never ends", Bytes::from(vec![0x0b; 5_000])),
        ("a length beyond the end", Bytes::from_static(&[0x0a, 0xff, 0xff, 0xff, 0xff, 0x0f])),
        ("an unknown field", Bytes::from(late)),
        ("nothing", announcement(process, Body::Slot(wire::SlotRecord::default()))),
        (
            "no body",
            wire::Announcement { process: Bytes::copy_from_slice(process.as_ref()), body: None }
                .encode_to_vec()
                .into(),
        ),
        ("another process", announcement(other, Body::Offer(me.offer(3)))),
        ("another scheduler's slot", slot(proper.clone())),
        (
            "a broken assignment",
            slot(wire::SlotRecord { assignment: broken(&last.assignment), ..last.clone() }),
        ),
        ("a broken item", slot(wire::SlotRecord { item: broken(&last.item), ..last.clone() })),
        ("another item", slot(wire::SlotRecord { item: proper.item.clone(), ..last.clone() })),
        ("a stray proof", slot(wire::SlotRecord { proof: signed.raw().clone(), ..last.clone() })),
        ("another scheduler's head", announcement(process, Body::Head(head(proper.assignment.clone())))),
        ("no head", announcement(process, Body::Head(head(Bytes::from_static(b"x"))))),
        ("a stranger's attestation", announcement(process, Body::Attestation(attested.clone()))),
        (
            "a broken attestation",
            announcement(
                process,
                Body::Attestation(wire::Attestation { signature: broken(&attested.signature), ..attested }),
            ),
        ),
        (
            "a broken offer",
            announcement(process, Body::Offer(wire::Offer { signature: broken(&offer.signature), ..offer })),
        ),
        ("no receipt", announcement(process, Body::Receipt(receipt("x".into(), "y".into())))),
        (
            "a receipt of no push",
            announcement(process, Body::Receipt(receipt(signed.raw().clone(), last.assignment.clone()))),
        ),
        ("a message that waits", announcement(process, Body::Pending(wire::Pending::default()))),
        (
            "a message that waits and paid nothing",
            announcement(
                process,
                Body::Pending(wire::Pending { item: proper.item.clone(), ..Default::default() }),
            ),
        ),
    ]
}

/// Offers that are signed well and hold at no time, or not now.
fn untimely(process: Id, me: &Stranger) -> Vec<(&'static str, Bytes)> {
    vec![
        ("a lapsed offer", announcement(process, Body::Offer(me.offer_of(4, now() - 9_000, now() - 1_000)))),
        (
            "an early offer",
            announcement(process, Body::Offer(me.offer_of(5, now() + 3_600_000, now() + 3_609_000))),
        ),
        (
            "an endless offer",
            announcement(process, Body::Offer(wire::Offer { valid_to: u64::MAX, ..me.offer(6) })),
        ),
    ]
}

/// What is said of positions that no log has, by the one key that is an attestor.
fn far_off(process: Id, attestor: &Signer) -> Vec<(&'static str, Bytes)> {
    let at = |epoch, slot, tick| {
        announcement(
            process,
            Body::Attestation(attestation(process, Position { epoch, slot, tick }, attestor)),
        )
    };
    vec![
        ("another epoch", at(9, 1, 0)),
        ("no such tick", at(0, 1, u32::MAX)),
        ("far ahead", at(0, 1 << 40, 0)),
        ("the last slot", at(u64::MAX, u64::MAX, u32::MAX)),
    ]
}

/// Where slots lie, by who does not schedule them, and by words that the scheduler did not sign so.
fn places(process: Id, scheduler: &Signer, liar: &Signer) -> Vec<(&'static str, Bytes)> {
    let of = |placed| announcement(process, Body::Placed(placed));
    let by_scheduler = place(process, scheduler, 1);
    vec![
        ("a place by a stranger", of(place(process, liar, 1))),
        ("a place with a slot more than was signed", of(wire::Placed { to: 2, ..by_scheduler.clone() })),
        ("a place of another log", of(place(Id([7; 32]), scheduler, 1))),
        ("a place that ends before it begins", of(wire::Placed { from: 3, ..by_scheduler.clone() })),
        ("a place on a weave without a name", of(wire::Placed { weave: Bytes::new(), ..by_scheduler })),
    ]
}

/// Where the first slots of a log lie, up to `to`.
fn place(process: Id, signer: &Signer, to: u64) -> wire::Placed {
    let (network, weave, bundle) = (network(), "w".to_owned(), Id([5; 32]));
    Place { network, process, weave, bundle, from: 0, to, height: 1 }.sign(signer).unwrap().to_wire()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lies_on_a_topic_go_no_further() {
    let node = Node::start(1).await;
    let process = node.counter().await;
    node.increments(process, 1).await;
    let mut observer = Stranger::on(&node, process, 2).await;
    let last = observer.slots(process, 1, 1).await.pop().unwrap();
    let all = {
        let me = Stranger::of(&node, 3).await;
        let said = [lies(process, &last, &me), untimely(process, &me), far_off(process, &node.signer)];
        [said.concat(), places(process, &node.signer, &me.signer)].concat()
    };
    for (number, (name, lie)) in all.into_iter().enumerate() {
        // One that is rejected a few times is heard no more: each lie has its own liar.
        let liar = Stranger::on(&node, process, 10 + u8::try_from(number).unwrap()).await;
        liar.publish(process, lie.clone()).await;
        // One connection keeps its order and one process its verifier, so the lie is judged first.
        let mark = announcement(process, Body::Offer(liar.offer(number as u64)));
        liar.publish(process, mark.clone()).await;
        let heard = observer.hear_until(&mark).await;
        assert!(!heard.contains(&lie), "{name} was passed on");
        liar.net.shutdown().await;
    }
    assert_eq!(node.increments(process, 2).await, 2);
    let detail = node.detail(process).await;
    assert_eq!((detail.info.head, detail.info.fault), (Some(2), None));
    let heard: Vec<PlaceInfo> = node.ask(Request::Anchor(AnchorRequest::Heard { process })).await.unwrap();
    assert!(heard.is_empty(), "{heard:?}");
    node.stop().await;
}

/// What the scheduler signed about its own log is kept and passed on, whoever brings it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_true_word_about_where_slots_lie_is_kept() {
    let node = Node::start(7).await;
    let process = node.counter().await;
    let mut observer = Stranger::on(&node, process, 8).await;
    let bringer = Stranger::on(&node, process, 9).await;
    for to in 1..=2 {
        let word = announcement(process, Body::Placed(place(process, &node.signer, to)));
        bringer.publish(process, word.clone()).await;
        observer.hear_until(&word).await;
    }
    let heard: Vec<PlaceInfo> = node.ask(Request::Anchor(AnchorRequest::Heard { process })).await.unwrap();
    let slots: Vec<_> = heard.iter().map(|place| (place.from, place.to, place.bundle)).collect();
    assert_eq!(slots, [(0, 1, Id([5; 32])), (0, 2, Id([5; 32]))]);
    node.stop().await;
}

/// What has a field that has no meaning yet may be an honest word of a later release: it goes no further, and who forwards
/// it is still heard, however often.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_later_release_says_costs_nobody_its_place() {
    /// Field 10, with two bytes.
    const LATER: [u8; 4] = [0x52, 2, b'h', b'i'];
    let node = Node::start(12).await;
    let process = node.counter().await;
    let mut observer = Stranger::on(&node, process, 13).await;
    let later = Stranger::on(&node, process, 14).await;
    let no_body = wire::Announcement { process: wire::bytes(process), body: None }.encode_to_vec();
    let words: Vec<Bytes> = (0..12)
        .map(|number| match number % 2 {
            0 => [&no_body[..], &LATER, &[0x58, number]].concat().into(),
            _ => {
                [&announcement(process, Body::Offer(later.offer(number.into())))[..], &LATER].concat().into()
            }
        })
        .collect();
    for word in &words {
        later.publish(process, word.clone()).await;
    }
    let mark = announcement(process, Body::Offer(later.offer(100)));
    later.publish(process, mark.clone()).await;
    let heard = observer.hear_until(&mark).await;
    assert!(words.iter().all(|word| !heard.contains(word)));
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_of_offers_and_receipts_keeps_nobody_waiting() {
    let node = Node::start(4).await;
    let process = node.counter().await;
    let mut observer = Stranger::on(&node, process, 5).await;
    let last = observer.slots(process, 0, 0).await.pop().unwrap();
    let flood = Stranger::on(&node, process, 6).await;
    let item = Node::message(process, 9, &key(6)).raw().clone();
    for number in 0..3_000_u32 {
        let offer = announcement(process, Body::Offer(flood.offer(number.into())));
        let receipt = announcement(
            process,
            Body::Receipt(wire::Receipt {
                position: Some(wire::Position { epoch: 0, slot: number.into(), tick: 0 }),
                index: number,
                assignment: last.assignment.clone(),
                item: item.clone(),
            }),
        );
        for bytes in [offer, receipt] {
            // Its own queue may be full: then the flood is as fast as it can be.
            let _ = flood.net.publish(process, bytes).await;
        }
    }
    for number in 1..=3 {
        assert_eq!(node.increments(process, number).await, u64::from(number));
    }
    let mark = announcement(process, Body::Offer(observer.offer(1)));
    observer.publish(process, mark).await;
    assert_eq!(observer.slots(process, 0, 9).await.len(), 4);
    let _ = observer.events.try_recv();
    node.stop().await;
}
