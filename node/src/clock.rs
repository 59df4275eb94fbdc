//! The node's one clock. Machines get the time as an argument; only tasks ask here.

use std::sync::atomic::{AtomicI64, AtomicU32, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use weft_protocol::Now;

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

/// How this clock stands to those of schedulers, judged by the slots that they gossip: the age of the
/// youngest when it came.
#[derive(Debug)]
pub struct ClockOffset {
    youngest_ms: AtomicI64,
    seen: AtomicU32,
}

/// What was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Offset {
    /// This clock is behind by so many milliseconds, or that of a scheduler is ahead.
    Behind(u64),
    /// This clock is ahead by so many milliseconds, or those of all schedulers are behind.
    Ahead(u64),
    /// Nothing is wrong; the youngest slot was so old.
    None(u64),
}

impl Default for ClockOffset {
    fn default() -> Self {
        Self { youngest_ms: AtomicI64::new(i64::MAX), seen: AtomicU32::new(0) }
    }
}

impl ClockOffset {
    /// Notes a slot that was gossiped with this time and came at that one.
    pub fn note(&self, timestamp: u64, now: Now) {
        let age = i64::try_from(now.0).unwrap_or(i64::MAX).saturating_sub_unsigned(timestamp);
        self.youngest_ms.fetch_min(age, Ordering::Relaxed);
        // Counting further than needed would wrap around after years.
        if self.seen.load(Ordering::Relaxed) < MANY {
            self.seen.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// What is known by now.
    pub fn seen(&self) -> Option<Offset> {
        let (youngest, seen) = (self.youngest_ms.load(Ordering::Relaxed), self.seen.load(Ordering::Relaxed));
        let ms = youngest.unsigned_abs();
        match seen {
            0 => None,
            _ if youngest < -BEHIND_MS => Some(Offset::Behind(ms)),
            MANY.. if youngest > AHEAD_MS => Some(Offset::Ahead(ms)),
            _ => Some(Offset::None(youngest.max(0).unsigned_abs())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_youngest_slot_judges_the_clock() {
        let offset = ClockOffset::default();
        assert_eq!(offset.seen(), None);
        for _ in 0..MANY - 1 {
            offset.note(0, Now(50_000));
        }
        assert_eq!(offset.seen(), Some(Offset::None(50_000)), "few slots may all be late");
        offset.note(0, Now(60_000));
        assert_eq!(offset.seen(), Some(Offset::Ahead(50_000)));
        offset.note(100, Now(140));
        assert_eq!(offset.seen(), Some(Offset::None(40)));
        offset.note(3_000, Now(1_000));
        assert_eq!(offset.seen(), Some(Offset::Behind(2_000)));
        offset.note(u64::MAX, Now(0));
        assert!(matches!(offset.seen(), Some(Offset::Behind(_))));
    }
}
