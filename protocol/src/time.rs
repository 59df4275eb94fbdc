//! Time and height of a log: RULES.md 6.5. The log's clock is the scheduler's, held to rules
//! that everyone can check.

use crate::limits::{CLOCK_BLOCK_MS, HEIGHT_AHEAD_MAX, TIMESTAMP_AHEAD_MS_MAX, VIEW_AGE_MS_MAX};
use crate::machine::Now;

/// Timestamp and height of a slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TimePoint {
    /// Milliseconds since the Unix epoch.
    pub timestamp: u64,
    /// A block height of the process's weave.
    pub height: u64,
}

/// The weave whose heights stand in a process's assignments.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Weave {
    /// No weave: the height is a function of the timestamp.
    Clock,
    /// A weave with a name, such as `arweave` or `local:<id>`.
    Named(String),
}

impl Weave {
    /// Reads a `Weave` tag or a name in the network file: 1 to 64 printable ASCII characters
    /// without spaces.
    pub fn parse(name: &str) -> Option<Self> {
        if name == "clock" {
            return Some(Self::Clock);
        }
        let plain = (1..=64).contains(&name.len()) && name.bytes().all(|byte| byte.is_ascii_graphic());
        plain.then(|| Self::Named(name.to_owned()))
    }
}

impl std::fmt::Display for Weave {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Clock => f.write_str("clock"),
            Self::Named(name) => f.write_str(name),
        }
    }
}

/// What a node knows of a named weave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct View {
    /// The height of its newest block.
    pub height: u64,
    /// When the node last heard of it.
    pub seen: Now,
}

/// Why the time of a slot is invalid: for everyone and for ever.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TimeError {
    /// The timestamp is before that of the slot before.
    #[error("the timestamp {0} is before {1}, that of the slot before")]
    Timestamp(u64, u64),
    /// The height is below that of the slot before.
    #[error("the height {0} is below {1}, that of the slot before")]
    Height(u64, u64),
    /// The height is not that of the timestamp on a process whose weave is the clock.
    #[error("the height {0} is not {1}, which the timestamp gives on the clock weave")]
    Clock(u64, u64),
}

/// Whether an assignment is too far ahead of what a node can know. Not a fault: the same
/// assignment passes later.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ahead {
    /// It may be forwarded, acknowledged and attested now.
    No,
    /// Ignore it and look again: not before this time where only the clock is behind.
    Until(Now),
    /// Ignore it and look again when the view of the weave has grown to this height.
    Height(u64),
}

/// The time of the next slot: the scheduler's clock and view, never behind the slot before.
pub fn next(weave: &Weave, now: Now, view: Option<View>, last: Option<TimePoint>) -> TimePoint {
    let floor = last.unwrap_or(TimePoint { timestamp: 0, height: 0 });
    let timestamp = now.0.max(floor.timestamp);
    let height = match weave {
        Weave::Clock => timestamp / CLOCK_BLOCK_MS,
        Weave::Named(_) => view.map_or(0, |view| view.height),
    };
    TimePoint { timestamp, height: height.max(floor.height) }
}

/// Checks the time of a slot against that of the slot before.
///
/// # Errors
/// The rule that it breaks.
pub fn check(weave: &Weave, last: Option<TimePoint>, point: TimePoint) -> Result<(), TimeError> {
    if let Some(last) = last {
        if point.timestamp < last.timestamp {
            return Err(TimeError::Timestamp(point.timestamp, last.timestamp));
        }
        if point.height < last.height {
            return Err(TimeError::Height(point.height, last.height));
        }
    }
    let clock = point.timestamp / CLOCK_BLOCK_MS;
    if *weave == Weave::Clock && point.height != clock {
        return Err(TimeError::Clock(point.height, clock));
    }
    Ok(())
}

/// Whether a valid assignment is too far in the future to be passed on now.
pub fn ahead(weave: &Weave, point: TimePoint, now: Now, view: Option<View>) -> Ahead {
    if point.timestamp > now.plus_ms(TIMESTAMP_AHEAD_MS_MAX).0 {
        return Ahead::Until(Now(point.timestamp - TIMESTAMP_AHEAD_MS_MAX));
    }
    match (weave, view) {
        (Weave::Named(_), Some(view))
            if now.0.saturating_sub(view.seen.0) < VIEW_AGE_MS_MAX
                && point.height > view.height.saturating_add(HEIGHT_AHEAD_MAX) =>
        {
            Ahead::Height(point.height - HEIGHT_AHEAD_MAX)
        }
        (Weave::Named(_) | Weave::Clock, _) => Ahead::No,
    }
}
