//! What was spent today, and how much more may be.

use weft_protocol::Now;

/// Milliseconds of a day.
const DAY_MS: u64 = 24 * 3_600_000;
/// Days by which the clock may have been ahead before it is taken for wrong.
const AHEAD_DAYS_MAX: u64 = 1;
/// Bytes of it on disk.
const BYTES: usize = 16;

/// What was signed for in one day (UTC): each signed transaction counts whether or not it is ever mined, so that
/// what is on its way can never come to more than the limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Spent {
    /// Days since the Unix epoch.
    pub day: u64,
    /// In that day.
    pub winston: u64,
}

impl Spent {
    /// What it comes to with this much more, now. A clock that goes back begins no day anew.
    #[must_use]
    pub fn and(self, winston: u64, now: Now) -> Self {
        let today = self.as_of(now);
        Self { winston: today.winston.saturating_add(winston), ..today }
    }

    /// What counts now: nothing of a day that is over. A day that is years away was the error of a clock: what was
    /// spent in it counts today.
    #[must_use]
    pub fn as_of(self, now: Now) -> Self {
        let day = now.0 / DAY_MS;
        match self.day {
            over if over < day => Self { day, winston: 0 },
            ahead if ahead > day.saturating_add(AHEAD_DAYS_MAX) => Self { day, ..self },
            _ => self,
        }
    }

    /// How long the day still lasts, in milliseconds.
    pub const fn rest_of_day_ms(self, now: Now) -> u64 {
        (self.day + 1).saturating_mul(DAY_MS).saturating_sub(now.0)
    }

    /// As it lies on disk.
    pub fn to_bytes(self) -> [u8; BYTES] {
        let mut bytes = [0; BYTES];
        bytes[..8].copy_from_slice(&self.day.to_be_bytes());
        bytes[8..].copy_from_slice(&self.winston.to_be_bytes());
        bytes
    }

    /// Reads it; none of other bytes.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (day, winston) = bytes.split_first_chunk()?;
        Some(Self { day: u64::from_be_bytes(*day), winston: u64::from_be_bytes(winston.try_into().ok()?) })
    }
}

/// A price with a margin in percent on it, rounded up.
pub fn with_margin(price: u64, percent: u64) -> u64 {
    let whole = u128::from(price) * (100 + u128::from(percent));
    u64::try_from(whole.div_ceil(100)).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_begins_anew_and_never_twice() {
        let first = Spent::default().and(5, Now(3 * DAY_MS)).and(6, Now(4 * DAY_MS - 1));
        assert_eq!(first, Spent { day: 3, winston: 11 });
        assert_eq!(first.rest_of_day_ms(Now(4 * DAY_MS - 1)), 1);
        let next = first.and(1, Now(4 * DAY_MS));
        assert_eq!(next, Spent { day: 4, winston: 1 });
        assert_eq!(next.and(1, Now(3 * DAY_MS)), Spent { day: 4, winston: 2 }, "the clock went back");
        assert_eq!(Spent::from_bytes(&next.to_bytes()), Some(next));
        assert_eq!(Spent::from_bytes(&[0; 15]), None);
        assert_eq!(Spent::from_bytes(&[0; 17]), None);
        assert_eq!(next.and(u64::MAX, Now(0)).winston, u64::MAX);
    }

    #[test]
    fn a_clock_that_was_years_ahead_holds_nothing_up_for_years() {
        let today = 20_000;
        let ahead = Spent::default().and(900, Now(47_000 * DAY_MS));
        let now = ahead.as_of(Now(today * DAY_MS));
        assert_eq!(now, Spent { day: today, winston: 900 }, "what was spent counts once more, for a day");
        assert_eq!(now.as_of(Now((today + 1) * DAY_MS)), Spent { day: today + 1, winston: 0 });
        let tomorrow = Spent { day: today + 1, winston: 5 };
        assert_eq!(tomorrow.as_of(Now(today * DAY_MS)), tomorrow);
    }

    #[test]
    fn a_margin_is_rounded_up() {
        assert_eq!([with_margin(100, 10), with_margin(101, 10), with_margin(0, 10)], [110, 112, 0]);
        assert_eq!(with_margin(u64::MAX, 1), u64::MAX);
    }
}
