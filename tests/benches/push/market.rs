//! What so many messengers cost one node: hearing their offers, and choosing, reading and ranking them.

use std::cell::Cell;
use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use prost::Message as _;
use weft_node::market::machine::own::Prices;
use weft_node::market::machine::{Heard, Market as Heards, Place, Said};
use weft_protocol::assignment::{Assignment, AssignmentDraft};
use weft_protocol::crypto::Signer;
use weft_protocol::market::{
    BOND_UNIT, Entry, Market, OfferSet, PushTerms, Quality, Window, draft, rank_score, set_slot,
};
use weft_protocol::offer::{Offer, OfferTerms};
use weft_protocol::push::Source;
use weft_protocol::time::TimePoint;
use weft_protocol::{Hash, Id, Now, Position, Verified, wire};

use super::{NETWORK, each_us, row};

const PROCESS: Id = Id([1; 32]);
const TIME: u64 = 1_700_000_000_000;
/// Neighbours who hand the offers on.
const NEIGHBOURS: usize = 8;
/// Bytes of data of a push.
const PUSH_BYTES: u64 = 31;

/// The key of a messenger.
pub fn key(number: usize) -> Signer {
    let mut seed = [3; 32];
    seed[..8].copy_from_slice(&(number as u64).to_be_bytes());
    Signer::from_seed(&seed)
}

/// What each asks for.
pub const fn prices() -> Prices {
    Prices { network: NETWORK, per_push: 1_000, per_kib: 100, at_once: 64 }
}

fn offer(number: usize) -> Verified<Offer> {
    let terms = OfferTerms {
        network: NETWORK,
        sequence: TIME,
        shards: vec![3],
        classes: 0,
        price_per_push: 1_000 + number as u64 % 7,
        price_per_kib: 100,
        max_kib: 10_240,
        capacity_per_s: 100,
        latency_p50_ms: 20,
        stake: Hash::ZERO,
        valid_from: TIME,
        valid_to: TIME + 120_000,
    };
    terms.sign(&key(number)).unwrap()
}

pub fn measure(count: usize, least: Duration) {
    let offers: Vec<Verified<Offer>> = (0..count).map(offer).collect();
    let of = |what: &str| format!("{count} messengers: {what}");
    let (heard, kept) = hearing(&offers, least);
    row(
        &of("an offer heard, checked and kept"),
        &format!("{heard:.1} us"),
        &format!("{kept} of {count} are kept at the process"),
    );
    let terms = PushTerms { ledger: Id([9; 32]), price_max: 10_000, kib_max: 1_000 };
    let market = Market { network: NETWORK, process: PROCESS, terms };
    // Nine of ten have a bond, of one unit to thirty-two, and all qualities there are.
    let entry = |(number, offer): (usize, &Verified<Offer>)| {
        let bond = if number % 10 == 9 { 0 } else { BOND_UNIT * (1 + number as u64 % 32) };
        Entry::new(offer.clone(), bond, Quality::new(1 + number as u32 % 4).unwrap())
    };
    let entries: Vec<Entry> = offers.iter().enumerate().map(entry).collect();
    let chosen = each_us(least, |_| {
        black_box(OfferSet::build(&market, 1, TIME, entries.clone()));
    });
    let set = OfferSet::build(&market, 1, TIME, entries);
    let bytes = Bytes::from(set.encode());
    let beside = format!("once a window: {} offers, {} bytes in the log", set.entries().len(), bytes.len());
    row(&of("a window's set chosen of all"), &format!("{chosen:.0} us"), &beside);
    let read = each_us(least, |_| {
        black_box(OfferSet::read(&market, TIME, &bytes).unwrap());
    });
    row(&of("a window's set read"), &format!("{read:.0} us"), "once a window, signatures checked");
    let window = window(&market, &set);
    let ranked = each_us(least, |number| {
        black_box(window.order(&push(number), PUSH_BYTES));
    });
    row(&of("a push ranked in hard mode"), &format!("{ranked:.1} us"), "by the set in the log");
    let soft = each_us(least, |number| {
        let push = push(number);
        let mut order: Vec<_> =
            offers[..kept].iter().map(|offer| (rank_score(&push, &offer.messenger()), offer)).collect();
        order.sort_unstable_by(|(one, _), (other, _)| other.cmp(one));
        black_box(order);
    });
    row(&of("a push ranked in soft mode"), &format!("{soft:.1} us"), "by the offers that are kept");
}

/// Reads, checks and keeps each offer as it comes from the network; how long that takes, and how many are kept.
fn hearing(offers: &[Verified<Offer>], least: Duration) -> (f64, usize) {
    let bytes: Vec<Vec<u8>> = offers.iter().map(|offer| offer.to_wire().encode_to_vec()).collect();
    let kept = Cell::new(0);
    let took = each_us(least, |_| {
        let mut market: Heards<usize, Arc<Verified<Offer>>> = Heards::new(prices());
        kept.set(0);
        for (number, bytes) in bytes.iter().enumerate() {
            let message = wire::Offer::decode(bytes.as_slice()).unwrap();
            let unverified = Offer::from_wire(&message, NETWORK).unwrap();
            let (by, terms) = (unverified.claims().messenger(), unverified.claims().terms().clone());
            market.is_news(by, &terms, Place::Process(PROCESS), Now(TIME)).unwrap();
            let said = Said { by, terms, body: Arc::new(unverified.verify().unwrap()) };
            let heard = market.hear(said, Place::Process(PROCESS), number % NEIGHBOURS, Now(TIME));
            kept.set(kept.get() + usize::from(matches!(heard, Heard::Kept)));
        }
        kept.set(market.at(PROCESS, Now(TIME)).len());
    });
    (took / offers.len() as f64, kept.get())
}

/// The window that a set begins.
fn window(market: &Market, set: &OfferSet) -> Window {
    let scheduler = key(usize::MAX);
    let item = draft(NETWORK, PROCESS, 1, set).sign(&scheduler).unwrap();
    let assignment = AssignmentDraft {
        network: NETWORK,
        process: PROCESS,
        epoch: 0,
        slot: set_slot(1).unwrap(),
        hash_chain: Hash([3; 32]),
        time: TimePoint { timestamp: TIME, height: TIME / 120_000 },
        message: Some(item.id()),
        excludes: Vec::new(),
    };
    let assignment = Assignment::from_item(&assignment.draft().sign(&scheduler).unwrap()).unwrap();
    Window::read(market, &assignment, &item).unwrap()
}

fn push(number: usize) -> Hash {
    let position = Position::slot(256 + number as u64 / 8);
    Source { process: PROCESS, position, index: number as u32 % 8 }.push_id(NETWORK)
}
