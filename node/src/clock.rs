//! The node's one clock. Machines get the time as an argument; only tasks ask here.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use weft_protocol::{Address, Now};

/// The clock of one node: the machine's, and how much it is set off from that.
#[derive(Debug, Clone, Copy, Default)]
pub struct Clock {
    offset_ms: i64,
}

impl Clock {
    /// A clock that is so many milliseconds ahead of the machine's.
    pub const fn new(offset_ms: i64) -> Self {
        Self { offset_ms }
    }

    /// The current time. A clock set before 1970 reads as 1970.
    pub fn now(self) -> Now {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let machine = u64::try_from(since.as_millis()).unwrap_or(u64::MAX);
        Now(machine.saturating_add_signed(self.offset_ms))
    }
}

/// Slots that come so long before their time say that a clock is wrong: no network is faster than none.
const BEHIND_MS: i64 = 1_000;
/// When even the youngest of many slots came this late, that says so too.
const AHEAD_MS: i64 = 10_000;
/// How many are many.
const MANY: u32 = 16;
/// Slots count for as long as this at least and twice as long at most, so that a clock that was set right
/// is seen to be.
const WINDOW_MS: u64 = 600_000;
/// Schedulers that are listened to; one more only once another is silent.
const SCHEDULERS_MAX: usize = 256;

/// How this clock stands to those of schedulers, judged by the slots that they gossip: of each the age
/// of the youngest when it came, and of these the median. So one that is wrong, or lies, says nothing
/// among others that are right.
#[derive(Debug, Default)]
pub struct ClockOffset {
    heard: Mutex<BTreeMap<Address, Heard>>,
}

/// The slots of one scheduler: those of a window that began then, and of the window before.
#[derive(Debug, Clone, Copy)]
struct Heard {
    since: Now,
    current: Window,
    previous: Window,
}

#[derive(Debug, Clone, Copy, Default)]
struct Window {
    youngest_ms: Option<i64>,
    seen: u32,
}

impl Heard {
    const fn new(since: Now) -> Self {
        let none = Window { youngest_ms: None, seen: 0 };
        Self { since, current: none, previous: none }
    }

    /// The same at a later time.
    fn at(self, now: Now) -> Self {
        // The clock was set back: what was judged by the one that was ahead says nothing.
        if now < self.since {
            return Self::new(now);
        }
        match now.0.saturating_sub(self.since.0) / WINDOW_MS {
            0 => self,
            1 => Self { previous: self.current, ..Self::new(self.since.plus_ms(WINDOW_MS)) },
            _ => Self::new(now),
        }
    }

    fn note(&mut self, age: i64) {
        let Window { youngest_ms, seen } = &mut self.current;
        *youngest_ms = Some(youngest_ms.map_or(age, |youngest| youngest.min(age)));
        *seen = seen.saturating_add(1);
    }

    fn youngest_ms(&self) -> Option<i64> {
        [self.current, self.previous].iter().filter_map(|window| window.youngest_ms).min()
    }
}

/// What was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Offset {
    /// This clock is behind by so many milliseconds, or those of most schedulers are ahead.
    Behind(u64),
    /// This clock is ahead by so many milliseconds, or those of most schedulers are behind.
    Ahead(u64),
    /// Nothing is wrong; the youngest slot was so old.
    None(u64),
}

impl ClockOffset {
    /// Notes a slot that a scheduler signed at this time by its clock and that came at that one.
    pub fn note(&self, scheduler: Address, timestamp: u64, now: Now) {
        let age = i64::try_from(now.0).unwrap_or(i64::MAX).saturating_sub_unsigned(timestamp);
        let mut all = self.heard();
        if all.len() >= SCHEDULERS_MAX && !all.contains_key(&scheduler) {
            all.retain(|_, heard| heard.at(now).youngest_ms().is_some());
            if all.len() >= SCHEDULERS_MAX {
                return;
            }
        }
        let heard = all.entry(scheduler).or_insert(Heard::new(now));
        *heard = heard.at(now);
        heard.note(age);
    }

    /// What is known by now.
    pub fn seen(&self, now: Now) -> Option<Offset> {
        let all: Vec<Heard> = self.heard().values().map(|heard| heard.at(now)).collect();
        let slots = |heard: &Heard| heard.current.seen.saturating_add(heard.previous.seen);
        let seen = all.iter().map(slots).fold(0, u32::saturating_add);
        let mut ages: Vec<i64> = all.iter().filter_map(Heard::youngest_ms).collect();
        ages.sort_unstable();
        // Of two in the middle that which blames less.
        let middle = [ages.len().checked_sub(1)? / 2, ages.len() / 2];
        let median = middle.map(|index| ages[index]).into_iter().min_by_key(|age| age.unsigned_abs())?;
        let ms = median.unsigned_abs();
        Some(match seen {
            _ if median < -BEHIND_MS => Offset::Behind(ms),
            MANY.. if median > AHEAD_MS => Offset::Ahead(ms),
            _ => Offset::None(median.max(0).unsigned_abs()),
        })
    }

    fn heard(&self) -> MutexGuard<'_, BTreeMap<Address, Heard>> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scheduler(number: u8) -> Address {
        Address([number; 32])
    }

    #[test]
    fn the_youngest_slot_judges_the_clock() {
        let offset = ClockOffset::default();
        let seen = || offset.seen(Now(60_000));
        assert_eq!(seen(), None);
        for _ in 0..MANY - 1 {
            offset.note(scheduler(1), 0, Now(50_000));
        }
        assert_eq!(seen(), Some(Offset::None(50_000)), "few slots may all be late");
        offset.note(scheduler(1), 0, Now(60_000));
        assert_eq!(seen(), Some(Offset::Ahead(50_000)));
        offset.note(scheduler(1), 60_000, Now(60_040));
        assert_eq!(seen(), Some(Offset::None(40)));
        offset.note(scheduler(1), 63_000, Now(61_000));
        assert_eq!(seen(), Some(Offset::Behind(2_000)));
        offset.note(scheduler(1), u64::MAX, Now(0));
        assert!(matches!(seen(), Some(Offset::Behind(_))));
    }

    #[test]
    fn a_clock_that_was_set_right_is_right_after_a_while() {
        let offset = ClockOffset::default();
        offset.note(scheduler(1), 500_000, Now(1_000));
        assert_eq!(offset.seen(Now(1_000)), Some(Offset::Behind(499_000)));
        for now in (WINDOW_MS..4 * WINDOW_MS).step_by(60_000) {
            offset.note(scheduler(1), now - 30, Now(now));
            let seen = offset.seen(Now(now));
            // The old slot counts until the window after its own has passed.
            if now >= 2 * WINDOW_MS + 1_000 {
                assert_eq!(seen, Some(Offset::None(30)), "at {now}");
            } else {
                assert_eq!(seen, Some(Offset::Behind(499_000)), "at {now}");
            }
        }
        assert_eq!(offset.seen(Now(9 * WINDOW_MS)), None, "nobody was heard for long");
    }

    #[test]
    fn a_clock_that_was_set_back_is_judged_anew() {
        let offset = ClockOffset::default();
        // Three hours ahead, and then right.
        offset.note(scheduler(1), 20_000_000, Now(20_000_030));
        offset.note(scheduler(1), 12_000_000, Now(12_000_030));
        offset.note(scheduler(1), 12_500_000, Now(12_000_040));
        assert_eq!(offset.seen(Now(12_000_040)), Some(Offset::Behind(499_960)));
        for now in (12_060_000..14_000_000).step_by(60_000) {
            offset.note(scheduler(1), now - 30, Now(now));
        }
        assert_eq!(offset.seen(Now(14_000_000)), Some(Offset::None(30)));
    }

    #[test]
    fn one_scheduler_that_is_wrong_says_nothing_among_others() {
        let offset = ClockOffset::default();
        let year = 365 * 24 * 3_600_000;
        offset.note(scheduler(9), year, Now(1_000));
        offset.note(scheduler(1), 950, Now(1_000));
        assert_eq!(offset.seen(Now(1_000)), Some(Offset::None(50)));
        // Most of them are believed.
        offset.note(scheduler(2), 31_000, Now(1_000));
        assert_eq!(offset.seen(Now(1_000)), Some(Offset::Behind(30_000)));
    }

    #[test]
    fn only_so_many_schedulers_are_listened_to() {
        let offset = ClockOffset::default();
        let address = |number: usize| {
            let mut bytes = [0; 32];
            bytes[..8].copy_from_slice(&number.to_be_bytes());
            Address(bytes)
        };
        for number in 0..2 * SCHEDULERS_MAX {
            offset.note(address(number), 0, Now(0));
        }
        assert_eq!(offset.heard().len(), SCHEDULERS_MAX);
        offset.note(address(2 * SCHEDULERS_MAX), 0, Now(3 * WINDOW_MS));
        assert_eq!(offset.heard().len(), 1);
    }
}
