//! What each rogue does, until it is stopped.

use std::collections::BTreeSet;
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use prost::Message as _;
use tokio::time::{interval, timeout};
use weft_net::{NetEvent, Published, Verdict};
use weft_protocol::assignment::{Assignment, AssignmentDraft};
use weft_protocol::attestation::Attestation;
use weft_protocol::crypto::Signer;
use weft_protocol::offer::{OFFER_TTL_MS_MAX, OfferTerms};
use weft_protocol::origin::PROOF_TYPE;
use weft_protocol::push::Source;
use weft_protocol::time::TimePoint;
use weft_protocol::wire::announcement::Body as Said;
use weft_protocol::wire::request::Body as Ask;
use weft_protocol::wire::response::Body as Answer;
use weft_protocol::{DataItem, Draft, Hash, Id, Network, Position, Tag, Verified, wire};

use super::{Place, secret};

/// How much later the other version of a slot claims to be, in milliseconds.
const LATER_MS: u64 = 1;
/// Messengers who offer and carry nothing: more than are honest.
const WITHHOLDERS: u8 = 4;
/// How often they offer again: topics that nobody is on yet are missed.
pub(super) const OFFER_EVERY: Duration = Duration::from_secs(5);
/// How often one more messenger offers who is made up: on all topics of a scenario not so often that peers keep its
/// neighbour out.
const NAME_EVERY: Duration = Duration::from_millis(80);
/// How often a message is forged.
const FORGE_EVERY: Duration = Duration::from_millis(250);
/// Requests that a flooder has under way.
const UNDER_WAY: usize = 32;
/// How long it waits for the answer to one.
const FLOOD_WAIT: Duration = Duration::from_secs(2);
/// Bytes of nonsense in each announcement of a flooder.
const NONSENSE_BYTES: usize = 1_024;

/// Signs, for every attestation that it hears, another one of its own with another outcome.
pub(super) async fn lie(mut place: Place, key: Signer) {
    let mut told = BTreeSet::new();
    while let Some(event) = place.events.recv().await {
        let Some((process, said)) = heard(&place, event) else { continue };
        let Said::Attestation(said) = said else { continue };
        let Some(lie) = other_outcome(&said, place.network, &key) else { continue };
        if told.insert((process, lie.statement().position)) {
            let said = Said::Attestation(lie.to_wire());
            if publish(&place, process, said).await {
                place.tally.one_more("lies");
            }
        }
    }
}

/// Signs every slot of a process a second time, with its scheduler's key.
pub(super) async fn sign_twice(mut place: Place, key: Signer, victim: Id) {
    // Already joined, or too many topics: then nothing is heard, and nothing counted.
    let _ = place.net.join(victim).await;
    while let Some(event) = place.events.recv().await {
        let Some((process, Said::Slot(record))) = heard(&place, event) else { continue };
        let Some(assignment) = other_slot(&record.assignment, place.network, &key) else { continue };
        let said = Said::Slot(wire::SlotRecord { assignment, ..record });
        if process == victim && publish(&place, process, said).await {
            place.tally.one_more("second-slots");
        }
    }
}

/// Offers to carry what all processes send, in more names than there are messengers, and never does.
pub(super) async fn withhold(place: Place) {
    let mut again = interval(OFFER_EVERY);
    loop {
        again.tick().await;
        for name in 0..WITHHOLDERS {
            let signer = Signer::from_seed(&secret(place.seed, 10 + name));
            for (process, _) in &place.processes {
                let Some(offer) = offer(place.network, &signer, 0) else { continue };
                if publish(&place, *process, offer).await {
                    place.tally.one_more("offers-not-kept");
                }
            }
        }
    }
}

/// Offers to carry what all processes send in one new name after the other, for nothing.
pub(super) async fn crowd(place: Place) {
    let mut again = interval(NAME_EVERY);
    for number in 0_u64.. {
        again.tick().await;
        let mut name = secret(place.seed, 30);
        name[8..16].copy_from_slice(&number.to_be_bytes());
        let Some(offer) = offer(place.network, &Signer::from_seed(&name), 0) else { continue };
        let mut is_heard = false;
        for (process, _) in &place.processes {
            is_heard |= publish(&place, *process, offer.clone()).await;
        }
        if is_heard {
            place.tally.one_more("names-made-up");
        }
    }
}

/// Hands schedulers messages of other processes that were never sent, with proofs of nothing.
pub(super) async fn forge(place: Place) {
    let signer = Signer::from_seed(&secret(place.seed, 20));
    let mut again = interval(FORGE_EVERY);
    for number in 0_u64.. {
        again.tick().await;
        let at = number as usize % place.processes.len();
        let (target, scheduler) = place.processes[at];
        let (source, _) = place.processes[(at + 1) % place.processes.len()];
        let Some((item, proof)) = forged(target, source, number, &signer) else { continue };
        let ask = Ask::Submit(wire::SubmitRequest { item: item.raw().clone(), proof: proof.raw().clone() });
        let asked = place.net.request(scheduler, wire::Request { body: Some(ask) });
        // Only what a scheduler has looked at says something of it.
        let Ok(Ok(answer)) = timeout(FLOOD_WAIT, asked).await else { continue };
        place.tally.one_more("forgeries");
        if matches!(answer.body, Some(Answer::Submit(_))) {
            place.tally.one_more("forgeries-taken");
        }
    }
}

/// Asks every peer for as much as it can, as often as it can, and says nonsense on every topic.
pub(super) async fn flood(place: Place) {
    let mut under_way = FuturesUnordered::new();
    for number in 0_u64.. {
        let peer = place.peers[number as usize % place.peers.len()];
        let (process, _) = place.processes[number as usize % place.processes.len()];
        let ask = match number % 3 {
            0 => Ask::Range(wire::RangeRequest {
                process: wire::bytes(process),
                from: 0,
                to: u64::MAX,
                max_bytes: u64::MAX,
            }),
            1 => Ask::Submit(wire::SubmitRequest { item: nonsense(number), proof: Bytes::new() }),
            _ => Ask::Head(wire::HeadRequest { processes: vec![wire::bytes(process)] }),
        };
        let request = place.net.request(peer, wire::Request { body: Some(ask) });
        under_way.push(timeout(FLOOD_WAIT, request));
        if number.is_multiple_of(4) {
            let published = place.net.publish(process, nonsense(number)).await;
            if published.is_ok_and(|published| published == Published::Sent) {
                place.tally.one_more("thrown");
            }
        }
        // What nobody took was thrown at nobody.
        if under_way.len() >= UNDER_WAY && matches!(under_way.next().await, Some(Ok(Ok(_)))) {
            place.tally.one_more("thrown");
        }
    }
}

/// What an announcement says, given the verdict that an honest peer would give on an honest one.
pub(super) fn heard(place: &Place, event: NetEvent) -> Option<(Id, Said)> {
    let NetEvent::Gossip { process, data, ticket, .. } = event else { return None };
    place.net.verdict(ticket, Verdict::Accept);
    Some((process, wire::Announcement::decode(data).ok()?.body?))
}

/// Whether at least one peer was told.
pub(super) async fn publish(place: &Place, process: Id, said: Said) -> bool {
    let said = wire::Announcement { process: wire::bytes(process), body: Some(said) };
    let published = place.net.publish(process, said.encode_to_vec().into()).await;
    published.is_ok_and(|published| published == Published::Sent)
}

fn other_outcome(said: &wire::Attestation, network: Network, key: &Signer) -> Option<Verified<Attestation>> {
    let said = Attestation::from_wire(said, network).ok()?.verify().ok()?;
    let mut statement = *said.statement();
    statement.running = Hash(statement.running.0.map(|byte| !byte));
    (said.attestor() != key.address()).then(|| statement.sign(key).ok())?
}

/// The slot once more, a moment later. Slot 0 is left alone: without it there is no process.
fn other_slot(assignment: &Bytes, network: Network, key: &Signer) -> Option<Bytes> {
    let signed = DataItem::verify_bytes(assignment.clone()).ok()?;
    let Assignment { process, epoch, slot, hash_chain, time, message, excludes, .. } =
        Assignment::from_item(&signed).ok()?;
    if slot == 0 || signed.owner() != key.address() {
        return None;
    }
    let time = TimePoint { timestamp: time.timestamp + LATER_MS, ..time };
    let draft = AssignmentDraft { network, process, epoch, slot, hash_chain, time, message, excludes };
    let other = draft.draft().sign(key).ok()?.raw().clone();
    // Its own second version comes back to it.
    (other != *assignment).then_some(other)
}

/// An offer to carry everything, for so much a push.
pub(super) fn offer(network: Network, signer: &Signer, price_per_push: u64) -> Option<Said> {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).ok()?;
    let now = u64::try_from(now.as_millis()).ok()?;
    let terms = OfferTerms {
        network,
        sequence: now,
        shards: Vec::new(),
        classes: 0,
        price_per_push,
        price_per_kib: 0,
        max_kib: 1024,
        capacity_per_s: 1,
        latency_p50_ms: 0,
        stake: Hash::ZERO,
        valid_from: now,
        valid_to: now + OFFER_TTL_MS_MAX,
    };
    Some(Said::Offer(terms.sign(signer).ok()?.to_wire()))
}

/// A message that looks as if a process had sent it, and something that is called a proof.
fn forged(
    target: Id,
    source: Id,
    number: u64,
    signer: &Signer,
) -> Option<(Verified<DataItem>, Verified<DataItem>)> {
    let tags = vec![Tag::new("Data-Protocol", "ao"), Tag::new("Type", PROOF_TYPE)];
    let proof =
        Draft { target: Some(source), anchor: None, tags, data: nonsense(number) }.sign(signer).ok()?;
    let source = Source { process: source, position: Position::slot(1 + number), index: 0 };
    let tags = source.tags("Message", "Increment", None, proof.id());
    let item = Draft { target: Some(target), anchor: None, tags, data: Bytes::new() }.sign(signer).ok()?;
    Some((item, proof))
}

pub(super) fn nonsense(number: u64) -> Bytes {
    number.to_be_bytes().repeat(NONSENSE_BYTES / 8).into()
}
