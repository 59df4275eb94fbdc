//! What waits, in lanes: one for each source and place, in position order (RULES.md 6.16).
//!
//! The disk holds every entry; memory holds the first of each lane, and of each lane at most
//! [`LANE_MAX`], so that no target that is away or does not exist takes the room of the others.
//! What did not fit is left on disk and asked for again when there is room. A lane is looked at
//! when its time comes, never because another one moved.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use weft_protocol::{Id, Now};

use super::{Effect, Entry, Place, PushId, RETRY_MS_MAX, RETRY_MS_MIN, To};

/// Entries of one lane in memory: more than a target takes in a second.
pub const LANE_MAX: usize = 1_024;
/// Entries of one source in memory: about 20 MB.
pub const SOURCE_MAX: usize = 65_536;
/// When a lane without room is looked at again, in milliseconds.
const AGAIN_MS: u64 = 5_000;

/// A source and where it sends.
pub(super) type Key = (Id, To);

/// The lanes of all sources.
#[derive(Debug)]
pub(super) struct Lanes {
    lanes: BTreeMap<Key, Lane>,
    sources: BTreeMap<Id, Source>,
    /// When each lane is to be looked at.
    due: BTreeSet<(Now, Key)>,
    /// Lanes whose last try failed.
    failing: BTreeSet<Key>,
    /// Sources with entries on disk that no lane knows of.
    starved: BTreeSet<Id>,
}

#[derive(Debug)]
struct Lane {
    entries: VecDeque<(Place, PushId)>,
    /// The first entry that is on disk only.
    left: Option<Place>,
    /// Whether it is being read.
    is_reading: bool,
    due: Option<Now>,
    not_before: Now,
    /// Failed tries since somebody answered.
    failures: u32,
    /// How often the scheduler said that it is busy since it took something.
    busy: u32,
}

#[derive(Debug, Default)]
struct Source {
    entries: usize,
    left: Option<Place>,
    is_reading: bool,
}

fn least(left: Option<Place>, place: Place) -> Option<Place> {
    Some(left.map_or(place, |left| left.min(place)))
}

impl Lanes {
    pub(super) const fn new() -> Self {
        Self {
            lanes: BTreeMap::new(),
            sources: BTreeMap::new(),
            due: BTreeSet::new(),
            failing: BTreeSet::new(),
            starved: BTreeSet::new(),
        }
    }

    /// Takes an entry into its lane, or leaves it on disk: nothing goes before what was left there.
    pub(super) fn admit(&mut self, entry: &Entry, tries: u32, now: Now) -> bool {
        let (place, key) = (entry.place(), (entry.source, entry.to));
        let source = self.sources.entry(entry.source).or_default();
        let is_full = source.entries >= SOURCE_MAX;
        let Some(lane) = self.lanes.get_mut(&key) else {
            if is_full || source.left.is_some_and(|left| left <= place) {
                source.left = least(source.left, place);
                self.starved.insert(entry.source);
                return false;
            }
            source.entries += 1;
            let entries = VecDeque::from([(place, entry.push_id)]);
            let lane = Lane {
                entries,
                left: None,
                is_reading: false,
                due: None,
                not_before: Now(0),
                failures: tries,
                busy: 0,
            };
            self.lanes.insert(key, lane);
            self.wake(&key, now);
            return true;
        };
        // What this source's other lanes left may be for here too.
        if let Some(left) = source.left.filter(|left| *left <= place && !lane.is_reading) {
            lane.left = least(lane.left, left);
        }
        if is_full || lane.entries.len() >= LANE_MAX || lane.left.is_some_and(|left| left <= place) {
            lane.left = least(lane.left, place);
            return false;
        }
        source.entries += 1;
        let at = lane.entries.partition_point(|(other, _)| *other < place);
        lane.entries.insert(at, (place, entry.push_id));
        if at == 0 {
            self.wake(&key, now);
        }
        true
    }

    /// Takes an entry out; whatever is behind it is looked at now.
    pub(super) fn remove(&mut self, entry: &Entry, now: Now) -> Option<Effect> {
        let key = (entry.source, entry.to);
        let lane = self.lanes.get_mut(&key)?;
        let at = lane.entries.binary_search_by_key(&entry.place(), |(place, _)| *place).ok()?;
        lane.entries.remove(at);
        let is_low = lane.entries.len() <= LANE_MAX / 2;
        self.released(entry.source, 1);
        self.wake(&key, now);
        self.drop_if_empty(&key);
        if is_low { self.take_up(&key) } else { None }
    }

    /// Leaves all but the first entry of a lane to the disk.
    pub(super) fn shorten(&mut self, key: &Key) -> Vec<PushId> {
        let Some(lane) = self.lanes.get_mut(key) else { return Vec::new() };
        let behind: Vec<_> = lane.entries.drain(1.min(lane.entries.len())..).collect();
        if let Some((place, _)) = behind.first() {
            lane.left = least(lane.left, *place);
        }
        self.released(key.0, behind.len());
        behind.into_iter().map(|(_, push_id)| push_id).collect()
    }

    /// Forgets the lanes of a source.
    pub(super) fn drop_source(&mut self, source: Id) {
        self.lanes.retain(|(of, _), _| *of != source);
        self.due.retain(|(_, (of, _))| *of != source);
        self.failing.retain(|(of, _)| *of != source);
        self.sources.remove(&source);
        self.starved.remove(&source);
    }

    fn released(&mut self, source: Id, entries: usize) {
        if let Some(held) = self.sources.get_mut(&source) {
            held.entries = held.entries.saturating_sub(entries);
            if held.entries == 0 && held.left.is_none() && !held.is_reading {
                self.sources.remove(&source);
            }
        }
    }

    fn drop_if_empty(&mut self, key: &Key) {
        let is_empty = |lane: &Lane| lane.entries.is_empty() && lane.left.is_none() && !lane.is_reading;
        if self.lanes.get(key).is_some_and(is_empty)
            && let Some(lane) = self.lanes.remove(key)
        {
            lane.due.map(|due| self.due.remove(&(due, *key)));
            self.failing.remove(key);
        }
    }

    /// Asks for what a lane left on disk, once at a time.
    pub(super) fn take_up(&mut self, key: &Key) -> Option<Effect> {
        let lane = self.lanes.get_mut(key).filter(|lane| !lane.is_reading)?;
        let from = lane.left?;
        lane.is_reading = true;
        Some(Effect::TakeUp { source: key.0, to: Some(key.1), from })
    }

    /// Asks for what no lane knows of, where there is room again.
    pub(super) fn take_up_sources(&mut self) -> Vec<Effect> {
        let mut asked = Vec::new();
        for id in &self.starved {
            let Some(source) = self.sources.get_mut(id) else { continue };
            let has_room = source.entries <= SOURCE_MAX / 2 && !source.is_reading;
            if let Some(from) = source.left.filter(|_| has_room) {
                source.is_reading = true;
                asked.push(Effect::TakeUp { source: *id, to: None, from });
            }
        }
        asked
    }

    /// What was left has been read up to `next`.
    pub(super) fn taken_up(&mut self, source: Id, to: Option<To>, next: Option<Place>) {
        match to {
            Some(to) => {
                if let Some(lane) = self.lanes.get_mut(&(source, to)) {
                    lane.left = next;
                }
            }
            None => {
                if let Some(held) = self.sources.get_mut(&source) {
                    (held.left, held.is_reading) = (next, false);
                }
                if next.is_none() {
                    self.starved.remove(&source);
                }
            }
        }
    }

    /// What was read is in its lanes.
    pub(super) fn settle_down(&mut self, source: Id, to: Option<To>, now: Now) {
        self.released(source, 0);
        let Some(to) = to else { return };
        let key = (source, to);
        let is_full = self.sources.get(&source).is_some_and(|held| held.entries >= SOURCE_MAX);
        if let Some(lane) = self.lanes.get_mut(&key) {
            lane.is_reading = false;
            let waits = is_full && lane.entries.is_empty();
            self.wake(&key, if waits { now.plus_ms(AGAIN_MS) } else { now });
        }
        self.drop_if_empty(&key);
    }

    /// The oldest entry of a lane.
    pub(super) fn front(&self, key: &Key) -> Option<PushId> {
        self.lanes.get(key)?.entries.front().map(|(_, push_id)| *push_id)
    }

    /// The next lane to look at; each is given once.
    pub(super) fn next_due(&mut self, now: Now) -> Option<Key> {
        let (at, key) = *self.due.first()?;
        if at > now {
            return None;
        }
        self.due.pop_first();
        if let Some(lane) = self.lanes.get_mut(&key) {
            lane.due = None;
        }
        Some(key)
    }

    /// Has a lane looked at then.
    pub(super) fn wake(&mut self, key: &Key, at: Now) {
        let Some(lane) = self.lanes.get_mut(key) else { return };
        if let Some(before) = lane.due.replace(at) {
            self.due.remove(&(before, *key));
        }
        self.due.insert((at, *key));
    }

    /// Before when nothing is pushed in a lane.
    pub(super) fn not_before(&self, key: &Key) -> Now {
        self.lanes.get(key).map_or(Now(0), |lane| lane.not_before)
    }

    /// Failed tries of a lane since somebody answered there.
    pub(super) fn failures(&self, key: &Key) -> u32 {
        self.lanes.get(key).map_or(0, |lane| lane.failures)
    }

    /// The lanes whose last try failed.
    pub(super) fn failing(&self) -> impl Iterator<Item = Key> {
        self.failing.iter().copied()
    }

    /// A try failed; the entry had so many. Gives the lane's failures and when to try again.
    pub(super) fn failed(&mut self, key: &Key, tries: u32, now: Now) -> (u32, Now) {
        let Some(lane) = self.lanes.get_mut(key) else { return (tries, now) };
        lane.failures = lane.failures.saturating_add(1).max(tries);
        let doubled = RETRY_MS_MIN << (lane.failures - 1).min(7);
        let at = now.plus_ms(doubled.min(RETRY_MS_MAX));
        lane.not_before = at;
        let failures = lane.failures;
        self.failing.insert(*key);
        self.wake(key, at);
        (failures, at)
    }

    /// The scheduler said to come back. Each time in a row it is given twice as long, so that many
    /// messengers do not keep it busy with asking.
    pub(super) fn busy(&mut self, key: &Key, retry_ms: u64, now: Now) -> Now {
        let Some(lane) = self.lanes.get_mut(key) else { return now };
        let longer = retry_ms.max(1).saturating_mul(1 << lane.busy.min(10));
        lane.busy = lane.busy.saturating_add(1);
        let at = now.plus_ms(longer.min(RETRY_MS_MAX));
        lane.not_before = at;
        self.wake(key, at);
        at
    }

    /// Somebody answered for the lane's place, or may from now on.
    pub(super) fn answered(&mut self, key: &Key, now: Now) {
        if let Some(lane) = self.lanes.get_mut(key) {
            (lane.failures, lane.busy, lane.not_before) = (0, 0, Now(0));
            self.failing.remove(key);
            self.wake(key, now);
        }
    }
}
