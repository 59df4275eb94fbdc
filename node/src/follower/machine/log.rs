//! What the follower knows of one log, who may have it, and what it misses.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use weft_protocol::record::Link;
use weft_protocol::{Id, Now};

use super::{
    ASKS_MAX, HEDGE_MS, HELD_BYTES_MAX, HELD_SLOTS_MAX, RANGE_SLOTS_MAX, Record, SOURCE_FAILURES_MAX,
    SOURCE_REST_MS_MAX,
};

/// Slots that wait for those before them. The nearest matter most.
#[derive(Debug)]
pub(super) struct Held<B> {
    slots: BTreeMap<u64, Record<B>>,
    pub(super) bytes: usize,
}

impl<B> Held<B> {
    const fn new() -> Self {
        Self { slots: BTreeMap::new(), bytes: 0 }
    }

    /// Holds a slot; where that is too much, the furthest go.
    pub(super) fn hold(&mut self, slot: u64, record: Record<B>) {
        let bytes = record.bytes;
        if let Entry::Vacant(place) = self.slots.entry(slot) {
            place.insert(record);
            self.bytes += bytes;
        }
        while self.slots.len() > HELD_SLOTS_MAX || (self.bytes > HELD_BYTES_MAX && self.slots.len() > 1) {
            let Some((_, gone)) = self.slots.pop_last() else { return };
            self.bytes -= gone.bytes;
        }
    }

    pub(super) fn take(&mut self, slot: u64) -> Option<Record<B>> {
        let record = self.slots.remove(&slot)?;
        self.bytes -= record.bytes;
        Some(record)
    }

    pub(super) fn clear(&mut self) {
        *self = Self::new();
    }

    pub(super) fn has(&self, slot: u64) -> bool {
        self.slots.contains_key(&slot)
    }

    /// The first from this slot on.
    fn from(&self, slot: u64) -> Option<u64> {
        self.slots.range(slot..).next().map(|(slot, _)| *slot)
    }
}

#[derive(Debug)]
pub(super) struct Log<P, B> {
    /// The newest appended slot.
    pub(super) head: Option<Link>,
    /// Slots after a hole, by slot.
    pub(super) held: Held<B>,
    /// The newest slot that anyone proved to exist.
    pub(super) known: Option<u64>,
    /// Ids of the newest appended slots.
    pub(super) recent: BTreeMap<u64, Id>,
    pub(super) sources: BTreeMap<P, Source>,
    /// Who was asked for slots, and for which.
    pub(super) asking: BTreeMap<P, Stretch>,
    pub(super) fork: Option<Fork>,
    pub(super) hole_since: Option<Now>,
    pub(super) audited: Option<Now>,
}

/// That the scheduler signed another log than the one here.
#[derive(Debug, Clone, Copy)]
pub(super) struct Fork {
    /// How many more sources are asked for their version of our newest slot.
    pub(super) asks_left: usize,
}

/// Slots that a peer was asked for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Stretch {
    pub(super) from: u64,
    pub(super) to: u64,
    pub(super) since: Now,
    /// Whether the first of them came and found no room.
    pub(super) dropped: bool,
}

impl Stretch {
    pub(super) const fn new(from: u64, to: u64, since: Now) -> Self {
        Self { from, to, since, dropped: false }
    }

    pub(super) const fn has(&self, slot: u64) -> bool {
        self.from <= slot && slot <= self.to
    }
}

#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Source {
    /// The newest slot that it showed.
    pub(super) head: Option<u64>,
    pub(super) failures: u32,
    pub(super) rest_until: u64,
    pub(super) asked: u64,
}

impl Source {
    pub(super) fn ended(&mut self, useful: bool, now: Now) {
        if useful {
            (self.failures, self.rest_until) = (0, 0);
            return;
        }
        self.failures = (self.failures + 1).min(SOURCE_FAILURES_MAX);
        self.rest_until = now.0 + (250_u64 << self.failures).min(SOURCE_REST_MS_MAX);
    }
}

impl<P: Ord + Clone, B> Log<P, B> {
    pub(super) fn new(head: Option<Link>) -> Self {
        Self {
            head,
            held: Held::new(),
            known: head.map(|head| head.slot),
            recent: head.map(|head| (head.slot, head.assignment)).into_iter().collect(),
            sources: BTreeMap::new(),
            asking: BTreeMap::new(),
            fork: None,
            hole_since: None,
            audited: None,
        }
    }

    pub(super) fn next(&self) -> u64 {
        self.head.map_or(0, |head| head.slot + 1)
    }

    pub(super) fn learn(&mut self, slot: u64) {
        self.known = self.known.max(Some(slot));
    }

    /// Notes that a slot came for which there was no room.
    pub(super) fn note_dropped(&mut self, slot: u64) {
        for stretch in self.asking.values_mut().filter(|stretch| stretch.from == slot) {
            stretch.dropped = true;
        }
    }

    pub(super) fn missing(&self) -> bool {
        self.known.is_some_and(|known| known >= self.next())
    }

    /// Whether one more peer may be asked for slots. Those that are late do not count, up to as many again:
    /// who is silent keeps nobody else from being asked.
    pub(super) fn may_ask(&self, now: Now) -> bool {
        let in_time = self.asking.values().filter(|stretch| stretch.since.plus_ms(HEDGE_MS) > now).count();
        in_time < ASKS_MAX && self.asking.len() < 2 * ASKS_MAX
    }

    /// The first missing slots that nobody was asked for, at most so far ahead.
    pub(super) fn gap(&self, ahead: u64) -> Option<(u64, u64)> {
        let last = self.known?;
        let mut from = self.next();
        // Where much is held already, only what comes next is asked for.
        let ahead = if self.held.bytes < HELD_BYTES_MAX / 2 { ahead } else { 0 };
        let start_max = from + ahead;
        while from <= last.min(start_max) {
            if let Some(asked) = self.asking.values().find(|stretch| stretch.has(from)) {
                from = asked.to + 1;
            } else if self.held.has(from) {
                from += 1;
            } else {
                let held = self.held.from(from).map(|slot| slot - 1);
                let asked = self.asking.values().map(|stretch| stretch.from).filter(|slot| *slot > from);
                let ends = [held, asked.min().map(|slot| slot - 1)];
                let end = ends.into_iter().flatten().fold(last, u64::min);
                return Some((from, end.min(from + (RANGE_SLOTS_MAX - 1))));
            }
        }
        None
    }

    /// The first missing slots, if they are on their way for too long.
    pub(super) fn late(&self, now: Now) -> Option<(u64, u64)> {
        let next = self.next();
        let mut asked = self.asking.values().filter(|stretch| stretch.has(next)).peekable();
        let to = asked.peek()?.to;
        asked.all(|stretch| stretch.since.plus_ms(HEDGE_MS) <= now).then_some((next, to))
    }
}

/// The rested source that comes first in this order; those without a place in it are left out.
pub(super) fn pick<P: Ord + Clone, B, K: Ord>(
    log: &mut Log<P, B>,
    now: Now,
    order: impl Fn(&P, &Source) -> Option<K>,
) -> Option<P> {
    let rested = log.sources.iter_mut().filter(|(_, source)| source.rest_until <= now.0);
    let ranked = rested.filter_map(|(peer, source)| Some((order(peer, source)?, peer, source)));
    let (_, peer, source) = ranked.min_by(|(one, ..), (other, ..)| one.cmp(other))?;
    source.asked = now.0;
    Some(peer.clone())
}
