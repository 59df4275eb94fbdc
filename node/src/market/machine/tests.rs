#![allow(clippy::unwrap_used)]

use weft_protocol::lobby::SHARDS;
use weft_protocol::{Hash, Network};

use super::own::*;
use super::*;
use crate::lobby::machine::share::{KEPT_BURST, NEW_BURST, Paces};

/// An offer's proof is its price.
type Market8 = Market<u16, u64>;

const START: u64 = 1_000_000_000;
const OWN: Prices = Prices { network: Network(7), per_push: 5, per_kib: 2, at_once: 64 };

fn process(number: u8) -> Id {
    Id([number; 32])
}

fn topic(number: u8) -> Place {
    Place::Process(process(number))
}

fn shard(number: u16) -> Place {
    Place::Shard(Shard::numbered(number).unwrap())
}

fn messenger(number: u32) -> Address {
    let mut address = [0; 32];
    address[..4].copy_from_slice(&number.to_be_bytes());
    Address(address)
}

fn at(now: u64) -> Now {
    Now(START + now)
}

/// An offer of this messenger, numbered by its time, for ten minutes.
fn offer(by: u32, time: u64, price: u64) -> Said<u64> {
    let terms = OfferTerms {
        network: Network(7),
        sequence: START + time,
        shards: Vec::new(),
        classes: 0,
        price_per_push: price,
        price_per_kib: 0,
        max_kib: 1,
        capacity_per_s: 1,
        latency_p50_ms: 0,
        stake: Hash::ZERO,
        valid_from: START + time,
        valid_to: START + time + OFFER_TTL_MS_MAX,
    };
    Said { by: messenger(by), terms, body: price }
}

fn hear(market: &mut Market8, said: Said<u64>, place: Place, from: u16, now: u64) -> Heard<u64> {
    market.hear(said, place, from, at(now))
}

fn run(market: &mut Market8, input: Input, now: u64) -> Vec<Effect> {
    let mut effects = Effects::new();
    market.handle(input, at(now), &mut effects);
    effects.drain().collect()
}

fn said(effects: Vec<Effect>) -> Option<(OfferTerms, Vec<Place>)> {
    let mut effects = effects.into_iter();
    let first = effects.next().map(|Effect::Say { terms, places }| (terms, places));
    assert_eq!(effects.next(), None);
    first
}

#[test]
fn only_what_is_new_goes_on_and_the_newest_holds_everywhere() {
    let mut market = Market8::new(OWN);
    assert_eq!(hear(&mut market, offer(1, 0, 7), topic(1), 9, 0), Heard::Kept);
    assert_eq!(
        hear(&mut market, offer(1, 0, 7), topic(1), 8, 600),
        Heard::Dropped(Why::Old),
        "the same again"
    );
    assert_eq!(hear(&mut market, offer(1, 0, 7), topic(2), 9, 0), Heard::Kept, "at another place");
    let soon = offer(1, 100, 8);
    assert_eq!(hear(&mut market, soon, topic(1), 9, 100), Heard::Dropped(Why::Old), "too soon");
    assert_eq!(hear(&mut market, offer(1, GAP_MS, 8), topic(1), 9, GAP_MS), Heard::Kept);
    let late = offer(1, GAP_MS - 1, 6);
    assert_eq!(hear(&mut market, late, topic(3), 9, GAP_MS), Heard::Dropped(Why::Old), "a newer is known");
    let known = market.offers(at(GAP_MS));
    assert_eq!(known.len(), 1);
    assert_eq!((known[0].body, &known[0].places[..]), (8, &[topic(1), topic(2)][..]));
}

#[test]
fn an_offer_holds_when_it_says_by_clocks_that_differ_a_little() {
    let mut market = Market8::new(OWN);
    let early = offer(1, TIMESTAMP_AHEAD_MS_MAX, 7);
    assert_eq!(hear(&mut market, early, topic(1), 9, 0), Heard::Kept);
    let too_early = offer(2, TIMESTAMP_AHEAD_MS_MAX + 1, 7);
    assert_eq!(hear(&mut market, too_early, topic(1), 9, 0), Heard::Dropped(Why::Untimely));
    let end = TIMESTAMP_AHEAD_MS_MAX + OFFER_TTL_MS_MAX;
    assert_eq!(market.at(process(1), at(end - 1)).len(), 1);
    assert_eq!(market.at(process(1), at(end)).len(), 0);
    assert_eq!(market.offers(at(end)).len(), 0);
    assert_eq!(hear(&mut market, offer(3, 0, 7), topic(1), 9, end), Heard::Dropped(Why::Untimely));
    run(&mut market, Input::Tick, end);
    assert_eq!((market.standing(), market.offers.len()), (0, 0), "what ended is thrown out");
}

#[test]
fn two_offers_of_one_number_convict_their_messenger_and_void_what_it_offers() {
    let mut market = Market8::new(OWN);
    hear(&mut market, offer(1, 0, 7), topic(1), 9, 0);
    hear(&mut market, offer(2, 0, 7), topic(1), 9, 0);
    assert_eq!(hear(&mut market, offer(1, 0, 1), shard(3), 8, 1), Heard::Contradicts(7));
    assert_eq!(market.at(process(1), at(1)).into_keys().collect::<Vec<_>>(), [messenger(2)]);
    assert!(!market.knows(&messenger(1), topic(1)) && market.knows(&messenger(2), topic(1)));
    for now in [600, VOID_MS - 1] {
        assert_eq!(hear(&mut market, offer(1, now, 7), topic(1), 9, now), Heard::Dropped(Why::Void));
    }
    assert_eq!(hear(&mut market, offer(1, VOID_MS + 1, 7), topic(1), 9, VOID_MS + 1), Heard::Kept);
    // Keys that contradict themselves are forgotten beyond a number, and take no memory.
    for by in 10..3_000 {
        let now = VOID_MS + u64::from(by) * 200;
        assert_eq!(hear(&mut market, offer(by, now, 1), topic(1), 9, now), Heard::Kept);
        assert_eq!(hear(&mut market, offer(by, now, 2), topic(1), 9, now), Heard::Contradicts(1));
    }
    assert!(market.void.len() <= VOID_MAX);
}

#[test]
fn a_flood_of_messengers_has_one_neighbours_share_of_a_place() {
    let mut market = Market8::new(OWN);
    let (flood, honest) = (1, 2);
    let mut now = 0;
    for by in 0..2_000 {
        now += 200;
        hear(&mut market, offer(1_000 + by, now, 0), topic(1), flood, now);
    }
    assert_eq!(market.at(process(1), at(now)).len(), AT_PROCESS_MAX);
    // Others still come in, up to half of the places; who was there first among them stays.
    for by in 0..AT_PROCESS_MAX as u32 {
        hear(&mut market, offer(by, now, 9), topic(1), honest, now);
    }
    let held = market.at(process(1), at(now));
    let of_honest = held.keys().filter(|by| **by < messenger(1_000)).count();
    assert_eq!((held.len(), of_honest), (AT_PROCESS_MAX, AT_PROCESS_MAX / 2));
    // And who is there is heard again, though the place is full.
    let again = offer(0, now + GAP_MS, 8);
    assert_eq!(hear(&mut market, again, topic(1), honest, now + GAP_MS), Heard::Kept);
}

#[test]
fn a_messenger_of_many_processes_is_heard_at_all_of_them_at_once() {
    let mut market = Market8::new(OWN);
    let count = KEPT_BURST as u32;
    for number in 0..count {
        let mut id = [0; 32];
        id[..4].copy_from_slice(&number.to_be_bytes());
        assert_eq!(hear(&mut market, offer(1, 0, 7), Place::Process(Id(id)), 9, 0), Heard::Kept, "{number}");
    }
    const { assert!(KEPT_BURST > NEW_BURST) }
    assert_eq!((market.standing(), market.offers.len()), (count as usize, 1));
}

#[test]
fn no_flood_takes_more_memory_than_there_is_or_all_of_it() {
    let mut market = Market8::new(OWN);
    let mut number = 0;
    // From more neighbours than a node has, at more places than it works for.
    for from in 0..65_u16 {
        for place in 0..300_u32 {
            number += 1;
            let mut id = [0; 32];
            id[..4].copy_from_slice(&(place + u32::from(from) % 4 * 300).to_be_bytes());
            hear(&mut market, offer(number, 0, 0), Place::Process(Id(id)), from, 0);
        }
    }
    assert!(market.standing() <= STANDING_MAX && market.standing() > STANDING_MAX / 2);
    assert_eq!(hear(&mut market, offer(1_000_000, 0, 9), topic(255), 1_000, 0), Heard::Kept);
    for number in 0..u32::from(SHARDS) * 2_000 {
        let place = shard((number % u32::from(SHARDS)) as u16);
        hear(&mut market, offer(2_000_000 + number, 0, 0), place, 2_000 + (number / 50) as u16, 0);
    }
    assert!(market.standing() <= STANDING_MAX);
    assert!(market.places.iter().all(|(place, all)| match place {
        Place::Process(_) => all.len() <= AT_PROCESS_MAX,
        Place::Shard(_) => all.len() <= AT_SHARD_MAX,
    }));
    let stands: usize = market.offers.values().map(|newest| newest.stands).sum();
    assert_eq!(stands, market.standing(), "an offer is forgotten with its last place");
}

#[test]
fn a_node_offers_where_it_carries_and_says_so_again_before_it_ends() {
    let mut market = Market8::new(OWN);
    assert_eq!(said(run(&mut market, Input::Tick, 0)), None, "it carries for nobody");
    run(&mut market, Input::Carries(process(1), true), 0);
    let (terms, places) = said(run(&mut market, Input::Tick, 0)).unwrap();
    let at_shard = Shard::of(&process(1));
    assert_eq!(places, [topic(1), Place::Shard(at_shard)], "what waits is said first");
    assert_eq!((terms.price_per_push, terms.price_per_kib, terms.latency_p50_ms), (5, 2, 0));
    assert_eq!((terms.shards.clone(), terms.capacity_per_s), (vec![at_shard.number()], CAPACITY_DEFAULT));
    assert_eq!((terms.valid_from, terms.valid_to), (START, START + OFFER_MS));
    assert_eq!(said(run(&mut market, Input::Tick, REPEAT_MS - 1)), None);
    let (again, places) = said(run(&mut market, Input::Tick, REPEAT_MS)).unwrap();
    assert!(again.sequence > terms.sequence && places.len() == 2);
    const { assert!(REPEAT_MS * 2 < OFFER_MS) }
    run(&mut market, Input::Carries(process(1), false), REPEAT_MS);
    assert_eq!(said(run(&mut market, Input::Tick, 3 * REPEAT_MS)), None);
    assert_eq!(market.own(), None);
}

#[test]
fn a_new_process_hears_the_offer_at_once_and_its_shard_a_second_later() {
    let mut market = Market8::new(OWN);
    run(&mut market, Input::Carries(process(1), true), 0);
    let (first, _) = said(run(&mut market, Input::Tick, 0)).unwrap();
    let other = (2..=255).find(|other| Shard::of(&process(*other)) != Shard::of(&process(1))).unwrap();
    run(&mut market, Input::Carries(process(other), true), 100);
    // The same terms: another number for each would be heard as too many.
    assert_eq!(said(run(&mut market, Input::Tick, 100)), Some((first.clone(), vec![topic(other)])));
    assert_eq!(said(run(&mut market, Input::Tick, AGAIN_MS - 1)), None);
    let (terms, places) = said(run(&mut market, Input::Tick, AGAIN_MS)).unwrap();
    assert_eq!((terms.shards.len(), places.len()), (2, 4));
    assert!(terms.sequence > first.sequence);
}

#[test]
fn a_newcomer_at_a_process_is_told_what_is_offered_and_one_on_a_shard_waits() {
    let mut market = Market8::new(OWN);
    run(&mut market, Input::Carries(process(1), true), 0);
    run(&mut market, Input::Tick, 0);
    hear(&mut market, offer(1, 10, 0), shard(Shard::of(&process(1)).number()), 9, 10);
    hear(&mut market, offer(1, 10, 0), topic(2), 9, 10);
    assert_eq!(said(run(&mut market, Input::Tick, AGAIN_MS)), None);
    hear(&mut market, offer(1, 10, 0), topic(1), 9, AGAIN_MS);
    assert!(said(run(&mut market, Input::Tick, AGAIN_MS)).is_some());
    hear(&mut market, offer(1, 2 * AGAIN_MS, 0), topic(1), 9, 2 * AGAIN_MS);
    assert_eq!(said(run(&mut market, Input::Tick, 3 * AGAIN_MS)), None, "it is no newcomer any more");
}

#[test]
fn what_is_offered_is_what_was_measured() {
    let mut market = Market8::new(OWN);
    run(&mut market, Input::Carries(process(1), true), 0);
    for ms in [1, 900, 40, 50, 60] {
        run(&mut market, Input::Carried(ms), 0);
    }
    let (terms, _) = said(run(&mut market, Input::Tick, 0)).unwrap();
    assert_eq!((terms.latency_p50_ms, terms.capacity_per_s), (50, 64 * 1_000 / 50));
    // The last ones count.
    for _ in 0..TIMED_MAX {
        run(&mut market, Input::Carried(0), 0);
    }
    let (terms, _) = said(run(&mut market, Input::Tick, REPEAT_MS)).unwrap();
    assert_eq!((terms.latency_p50_ms, u64::from(terms.capacity_per_s)), (1, CAPACITY_MAX));
}

#[test]
fn many_topics_are_told_a_few_at_a_time() {
    let mut market = Market8::new(OWN);
    let count = SAID_PER_TICK * 2;
    for number in 0..count as u32 {
        let mut id = [0; 32];
        id[..4].copy_from_slice(&number.to_be_bytes());
        run(&mut market, Input::Carries(Id(id), true), 0);
    }
    let mut told = Vec::new();
    for tick in 0..40 {
        if let Some((_, places)) = said(run(&mut market, Input::Tick, tick * 100)) {
            assert!(places.len() <= SAID_PER_TICK);
            told.extend(places);
        }
    }
    told.sort_unstable();
    told.dedup();
    let topics = told.iter().filter(|place| matches!(place, Place::Process(_)));
    assert_eq!(topics.count(), count, "every topic once");
}

/// Carries for so many processes, and gives when each was told, as a neighbour hears it that keeps its own pace.
fn told_by_one_neighbour(count: u32, until: u64) -> BTreeMap<Place, Vec<u64>> {
    let (mut market, mut paces) = (Market8::new(OWN), Paces::new());
    for number in 0..count {
        let mut id = [0; 32];
        id[..4].copy_from_slice(&number.to_be_bytes());
        run(&mut market, Input::Carries(Id(id), true), 0);
    }
    let mut told: BTreeMap<Place, Vec<u64>> = BTreeMap::new();
    for now in (0..until).step_by(100) {
        let Some((_, places)) = said(run(&mut market, Input::Tick, now)) else { continue };
        for place in places.into_iter().filter(|place| matches!(place, Place::Process(_))) {
            assert!(paces.takes(1, false, Now(START + now)), "{place:?} goes unheard at {now} ms");
            told.entry(place).or_default().push(now);
        }
    }
    told
}

#[test]
fn the_last_of_many_processes_is_heard_through_one_neighbour_too() {
    let told = told_by_one_neighbour(2_000, 2 * OFFER_MS);
    assert_eq!(told.len(), 2_000);
    for (place, times) in told {
        let gaps = times.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap_or(u64::MAX);
        assert!(times[0] < OFFER_MS && gaps < OFFER_MS, "{place:?} at {times:?}");
    }
}

#[test]
fn keys_made_for_nothing_have_little_said_anew() {
    let mut market = Market8::new(OWN);
    for number in 1..=30 {
        run(&mut market, Input::Carries(process(number), true), 0);
    }
    for now in (0..20_000).step_by(100) {
        run(&mut market, Input::Tick, now);
    }
    let mut count = 0;
    for second in 20..80 {
        let now = second * 1_000;
        hear(&mut market, offer(second as u32, now, 0), topic(7), 9, now);
        if let Some((terms, places)) = said(run(&mut market, Input::Tick, now)) {
            if !places.contains(&Place::Shard(Shard::of(&process(7)))) {
                assert_eq!(places, [topic(7)], "the others know it");
            }
            assert_eq!(terms.valid_from, START + now);
            count += places.iter().filter(|place| **place == topic(7)).count();
        }
    }
    assert!((5..=9).contains(&count), "{count}");
}
