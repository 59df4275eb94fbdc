//! What so many messengers say to each other: offers on the topic of a process for which all of them carry, and on its lobby
//! shard. The machines are the real ones; between them is a network that gives each neighbour a message once, from whoever kept
//! it. Bytes are those of the messages, without what gossip adds to them.

use std::collections::{BTreeSet, VecDeque};

use prost::Message as _;
use weft_node::market::machine::{Effect, Heard, Input, Market, Place, Said};
use weft_protocol::offer::OfferTerms;
use weft_protocol::wire::{announcement, lobby_fact};
use weft_protocol::{Address, Effects, Id, Machine as _, Now, wire};

use super::market::{key, prices};
use super::row;

const PROCESS: Id = Id([1; 32]);
const START: u64 = 1_700_000_000_000;
const MINUTE_MS: usize = 60_000;
/// How often time passes for a node's market, in milliseconds, as in `node/src/market/task.rs`.
const TICK_MS: usize = 100;
/// Messengers begin one after the other, so many milliseconds apart.
const APART_MS: usize = 20;
/// How far apart neighbours are in the ring of all: each has as many on the topic of a process, and on a lobby shard, as
/// gossip's meshes have (`net/src/gossip/params.rs`).
const STEPS: [&[usize]; 2] = [&[1, 7], &[1, 7, 31]];

/// What was said in one minute at one kind of place.
#[derive(Debug, Clone, Copy, Default)]
struct Traffic {
    /// Offers that were made.
    said: usize,
    /// Messages that came to a node for the first time.
    first: usize,
    /// All that came, copies included.
    all: usize,
    bytes: usize,
}

struct World {
    nodes: Vec<Market<usize, ()>>,
    names: Vec<Address>,
    traffic: [Traffic; 2],
}

pub fn measure(count: usize, minutes: usize) {
    let node = |_| Market::new(prices());
    let names = (0..count).map(|number| key(number).address()).collect();
    let mut world = World { nodes: (0..count).map(node).collect(), names, traffic: Default::default() };
    for minute in 0..minutes {
        world.traffic = Default::default();
        for tick in minute * MINUTE_MS / TICK_MS..(minute + 1) * MINUTE_MS / TICK_MS {
            world.tick(tick * TICK_MS);
        }
        // The first is that in which all come; the last one is as all are.
        if minute == 0 || minute + 1 == minutes {
            world.show(minute + 1);
        }
    }
}

impl World {
    fn tick(&mut self, at: usize) {
        let now = Now(START + at as u64);
        for number in 0..self.nodes.len().min(at / APART_MS + 1) {
            let mut effects = Effects::new();
            if (at - TICK_MS.min(at)..=at).contains(&(number * APART_MS)) {
                self.nodes[number].handle(Input::Carries(PROCESS, true), now, &mut effects);
            }
            self.nodes[number].handle(Input::Tick, now, &mut effects);
            let said: Vec<Effect> = effects.drain().collect();
            for Effect::Say { terms, places } in said {
                places.iter().for_each(|place| self.spread(number, &terms, *place, now));
            }
        }
    }

    /// Gives an offer from neighbour to neighbour, as far as it is kept.
    fn spread(&mut self, by: usize, terms: &OfferTerms, place: Place, now: Now) {
        let kind = usize::from(matches!(place, Place::Shard(_)));
        let bytes = self.bytes(by, terms, kind);
        let mut known = BTreeSet::from([by]);
        let mut hands_on = VecDeque::from([by]);
        self.traffic[kind].said += 1;
        while let Some(from) = hands_on.pop_front() {
            for to in self.neighbours(from, kind) {
                self.traffic[kind].all += 1;
                self.traffic[kind].bytes += bytes;
                if !known.insert(to) {
                    continue;
                }
                self.traffic[kind].first += 1;
                let said = Said { by: self.names[by], terms: terms.clone(), body: () };
                if matches!(self.nodes[to].hear(said, place, from, now), Heard::Kept) {
                    hands_on.push_back(to);
                }
            }
        }
    }

    fn neighbours(&self, of: usize, kind: usize) -> Vec<usize> {
        let count = self.nodes.len();
        let both = |step: &usize| [(of + step) % count, (of + count - step % count) % count];
        let mut all: Vec<usize> = STEPS[kind].iter().flat_map(both).filter(|other| *other != of).collect();
        all.sort_unstable();
        all.dedup();
        all
    }

    /// The bytes of an offer where it is said.
    fn bytes(&self, by: usize, terms: &OfferTerms, kind: usize) -> usize {
        let offer = terms.clone().sign(&key(by)).unwrap().to_wire();
        if kind == 0 {
            let body = Some(announcement::Body::Offer(offer));
            return wire::Announcement { process: wire::bytes(PROCESS), body }.encoded_len();
        }
        wire::LobbyFact { body: Some(lobby_fact::Body::Offer(offer)) }.encoded_len()
    }

    fn show(&self, minute: usize) {
        let count = self.nodes.len();
        let now = Now(START + (minute * MINUTE_MS) as u64);
        let kept: usize = self.nodes.iter().map(|node| node.at(PROCESS, now).len()).sum();
        for (kind, place) in ["the topic of their process", "their lobby shard"].into_iter().enumerate() {
            let Traffic { said, first, all, bytes } = self.traffic[kind];
            let each = |number: usize| number / count;
            let kept = match kind {
                0 => format!(", {} offers known to each at its end", kept / count),
                _ => String::new(),
            };
            row(
                &format!("{count} messengers: minute {minute} on {place}"),
                &format!("{} bytes each", each(bytes)),
                &format!(
                    "{said} offers made, each node was handed {} ({} of them new to it){kept}",
                    each(all),
                    each(first)
                ),
            );
        }
        assert!(kept > 0, "nobody heard anything");
    }
}
