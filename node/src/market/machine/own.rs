//! What this node offers itself: at which prices, how quick it says that it is, and when it says so again.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use weft_protocol::limits::ITEM_BYTES_MAX;
use weft_protocol::lobby::Shard;
use weft_protocol::offer::OfferTerms;
use weft_protocol::{Effects, Hash, Id, Network, Now};

use super::{Effect, Place};
use crate::lobby::machine::share::{KEPT_BURST, KEPT_PER_S};

/// How long an offer holds, in milliseconds: whoever is gone is ranked no longer than this.
pub const OFFER_MS: u64 = 120_000;
/// How often an offer is made again, in milliseconds.
pub const REPEAT_MS: u64 = 40_000;
/// How soon after its last offer a messenger offers again for one that is new on a topic and cannot
/// have heard it, or for processes of another shard, in milliseconds.
pub const AGAIN_MS: u64 = 1_000;
/// How soon one process is told again for one more that is new there, in milliseconds: keys are made for nothing.
pub const NEWCOMER_MS: u64 = 10_000;
/// Places at which an offer is said in one tick: all together would fill the queue of announcements.
pub const SAID_PER_TICK: usize = 128;
/// Places at which offers are said at once: half of what a neighbour takes from another ...
pub const SAID_BURST: u64 = KEPT_BURST / 2;
/// ... and in a second after that, so that the last of many places is heard through one neighbour too.
pub const SAID_PER_S: u64 = KEPT_PER_S / 2;
/// Pushes of which the median is offered.
pub const TIMED_MAX: usize = 64;
/// Pushes a second that are offered before any was timed.
pub const CAPACITY_DEFAULT: u32 = 100;
/// The most that is offered, however quick the last ones were.
pub const CAPACITY_MAX: u64 = 10_000;

/// What this node asks for, and can do.
#[derive(Debug, Clone, Copy)]
pub struct Prices {
    /// The network.
    pub network: Network,
    /// For each push.
    pub per_push: u64,
    /// For each started KiB of its data.
    pub per_kib: u64,
    /// Pushes that are under way at once.
    pub at_once: u64,
}

/// What this node offers.
#[derive(Debug)]
pub(super) struct Own {
    prices: Prices,
    carries: BTreeSet<Id>,
    terms: Option<OfferTerms>,
    said: Option<Now>,
    /// Where the terms are still to be said.
    waiting: VecDeque<Place>,
    /// How many places may be said now, in thousandths, and as of when.
    allowance: (u64, Now),
    /// Whether it says too little.
    is_stale: bool,
    /// Processes at which somebody is new, and cannot know what is offered.
    missed: BTreeSet<Id>,
    /// When each process was told last for somebody new.
    told: BTreeMap<Id, Now>,
    /// How long the last pushes took, the oldest first, in milliseconds.
    times: VecDeque<u64>,
}

impl Own {
    pub(super) const fn new(prices: Prices) -> Self {
        Self {
            prices,
            carries: BTreeSet::new(),
            terms: None,
            said: None,
            waiting: VecDeque::new(),
            allowance: (SAID_BURST * 1_000, Now(0)),
            is_stale: false,
            missed: BTreeSet::new(),
            told: BTreeMap::new(),
            times: VecDeque::new(),
        }
    }

    pub(super) fn terms(&self) -> Option<&OfferTerms> {
        self.terms.as_ref().filter(|_| !self.carries.is_empty())
    }

    pub(super) fn carried(&self) -> impl Iterator<Item = Id> {
        self.carries.iter().copied()
    }

    pub(super) fn carries(&mut self, process: Id, is_carried: bool) {
        if !is_carried {
            self.carries.remove(&process);
            self.missed.remove(&process);
            self.told.remove(&process);
            return;
        }
        if self.carries.insert(process) {
            self.waiting.push_back(Place::Process(process));
            let shard = Shard::of(&process).number();
            self.is_stale |= self.terms.as_ref().is_some_and(|terms| !terms.shards.contains(&shard));
        }
    }

    /// Somebody new offers at a place.
    pub(super) fn newcomer(&mut self, place: Place) {
        // On shards nobody waits for it: ranks are of processes.
        if let Place::Process(process) = place
            && self.carries.contains(&process)
        {
            self.missed.insert(process);
        }
    }

    pub(super) fn carried_in(&mut self, ms: u64) {
        if self.times.len() == TIMED_MAX {
            self.times.pop_front();
        }
        self.times.push_back(ms);
    }

    pub(super) fn tick(&mut self, now: Now, effects: &mut Effects<Effect>) {
        if self.carries.is_empty() {
            (self.terms, self.said) = (None, None);
            self.waiting.clear();
            return;
        }
        self.tell_newcomers(now);
        let wait = if self.is_stale { AGAIN_MS } else { REPEAT_MS };
        if self.said.is_none_or(|said| said.plus_ms(wait) <= now) {
            self.make(now);
        }
        let Some(terms) = self.terms.clone().filter(|_| !self.waiting.is_empty()) else { return };
        let count = self.waiting.len().min(SAID_PER_TICK).min(self.allowed(now));
        self.allowance.0 -= count as u64 * 1_000;
        let places = self.waiting.drain(..count);
        let carries = &self.carries;
        let still = |place: &Place| match place {
            Place::Process(process) => carries.contains(process),
            Place::Shard(_) => true,
        };
        let places: Vec<Place> = places.filter(still).collect();
        if !places.is_empty() {
            effects.push(Effect::Say { terms, places });
        }
    }

    /// At how many places something may be said now.
    fn allowed(&mut self, now: Now) -> usize {
        let (left, since) = self.allowance;
        let passed = now.0.saturating_sub(since.0);
        let left = left.saturating_add(passed.saturating_mul(SAID_PER_S)).min(SAID_BURST * 1_000);
        self.allowance = (left, now);
        usize::try_from(left / 1_000).unwrap_or(usize::MAX)
    }

    /// Makes a new offer for those who are new somewhere, to be said there and nowhere else: whoever has the last one
    /// would not hand it on again, and all others have it.
    fn tell_newcomers(&mut self, now: Now) {
        let wait = |process: &Id| self.told.get(process).is_some_and(|told| now < told.plus_ms(NEWCOMER_MS));
        let Some(terms) = self.terms.as_ref() else { return };
        if self.missed.is_empty() || now.0 < terms.valid_from.saturating_add(AGAIN_MS) {
            return;
        }
        let due: Vec<Id> = self.missed.iter().filter(|process| !wait(process)).copied().collect();
        if due.is_empty() {
            return;
        }
        self.terms = Some(self.new_terms(now));
        for process in due {
            self.missed.remove(&process);
            self.told.insert(process, now);
            let place = Place::Process(process);
            self.waiting.retain(|waiting| *waiting != place);
            self.waiting.push_front(place);
        }
    }

    /// Makes a new offer, to be said everywhere: first where the last one was not said yet.
    fn make(&mut self, now: Now) {
        let terms = self.new_terms(now);
        let shards = terms.shards.iter().filter_map(|shard| Shard::numbered(*shard)).map(Place::Shard);
        let all: BTreeSet<Place> = shards.chain(self.carries.iter().copied().map(Place::Process)).collect();
        self.waiting.retain(|place| all.contains(place));
        let waiting: BTreeSet<Place> = self.waiting.iter().copied().collect();
        // Shards are few, and looked at by whoever knows no messenger yet.
        let (shards, processes): (Vec<Place>, Vec<Place>) =
            all.difference(&waiting).partition(|place| matches!(place, Place::Shard(_)));
        self.waiting.extend(shards.into_iter().chain(processes));
        self.terms = Some(terms);
        (self.said, self.is_stale) = (Some(now), false);
    }

    fn new_terms(&self, now: Now) -> OfferTerms {
        let shards: BTreeSet<Shard> = self.carries.iter().map(Shard::of).collect();
        let last = self.terms.as_ref().map_or(0, |terms| terms.sequence);
        let median = self.median();
        OfferTerms {
            network: self.prices.network,
            // The time in milliseconds only grows, across restarts too; two offers of one number
            // would convict this node.
            sequence: now.0.max(last + 1),
            shards: shards.iter().map(|shard| shard.number()).collect(),
            classes: 0,
            price_per_push: self.prices.per_push,
            price_per_kib: self.prices.per_kib,
            max_kib: u32::try_from(ITEM_BYTES_MAX / 1024).unwrap_or(u32::MAX),
            capacity_per_s: self.capacity(median),
            latency_p50_ms: median.map_or(0, |ms| u32::try_from(ms).unwrap_or(u32::MAX)),
            stake: Hash::ZERO,
            valid_from: now.0,
            valid_to: now.plus_ms(OFFER_MS).0,
        }
    }

    /// The median time of the last pushes, rounded up so that it is never the 0 that stands for none.
    fn median(&self) -> Option<u64> {
        let mut times: Vec<u64> = self.times.iter().copied().collect();
        times.sort_unstable();
        times.get(times.len() / 2).map(|ms| (*ms).max(1))
    }

    /// Pushes a second: as many as fit into a second at once, each as long as the median.
    fn capacity(&self, median: Option<u64>) -> u32 {
        let Some(ms) = median else { return CAPACITY_DEFAULT };
        let fitting = (self.prices.at_once.saturating_mul(1_000) / ms).clamp(1, CAPACITY_MAX);
        u32::try_from(fitting).unwrap_or(CAPACITY_DEFAULT)
    }
}
