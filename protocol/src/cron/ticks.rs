//! Which ticks fall between two slots, in which order.

use super::{Cron, Every};
use crate::limits::TICKS_MAX;
use crate::time::TimePoint;

/// One implicit message of a cron.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tick {
    /// The index of its cron in the process's tag order.
    pub cron: usize,
    /// Timestamp and height that the module sees.
    pub time: TimePoint,
}

/// The ticks between two consecutive slots.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ticks {
    /// Those that run, in order: tick k of the earlier slot is `run[k - 1]`.
    pub run: Vec<Tick>,
    /// How many more fell due and never run.
    pub skipped: u64,
}

/// The ticks after the slot at `from` and before the slot at `to`, of a process whose slot 0 was
/// at `origin`. Cost grows with the ticks that run, not with the time that passed.
pub fn ticks(crons: &[Cron], origin: TimePoint, from: TimePoint, to: TimePoint) -> Ticks {
    let interval = Interval { origin, from, to };
    let mut streams: Vec<Stream> =
        crons.iter().enumerate().map(|(index, cron)| Stream::new(&interval, index, cron.every)).collect();
    let total = streams.iter().fold(0u64, |sum, stream| sum.saturating_add(stream.left));
    let mut run = Vec::new();
    while (run.len() as u64) < total.min(TICKS_MAX) {
        let Some(stream) =
            streams.iter_mut().filter(|stream| stream.left > 0).min_by_key(|s| s.key(&interval))
        else {
            break;
        };
        run.push(Tick { cron: stream.cron, time: stream.time(&interval) });
        stream.advance();
    }
    let skipped = total - run.len() as u64;
    Ticks { run, skipped }
}

/// Whether any tick falls between the slot at `from` and one at `to`: what makes a mark due.
pub fn is_due(crons: &[Cron], origin: TimePoint, from: TimePoint, to: TimePoint) -> bool {
    let interval = Interval { origin, from, to };
    crons.iter().enumerate().any(|(index, cron)| Stream::new(&interval, index, cron.every).left > 0)
}

/// When the next tick after a slot falls due: with it, a scheduler knows when a mark is needed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct NextDue {
    /// A slot with at least this timestamp has a tick of a time cron before it.
    pub timestamp: Option<u64>,
    /// A slot with at least this height has a tick of a block cron before it.
    pub height: Option<u64>,
}

/// When the next tick after the slot at `from` falls due.
pub fn next_due(crons: &[Cron], origin: TimePoint, from: TimePoint) -> NextDue {
    let to = TimePoint { timestamp: u64::MAX, height: u64::MAX };
    let interval = Interval { origin, from, to };
    let mut due = NextDue::default();
    let earlier = |old: Option<u64>, new: u64| Some(old.map_or(new, |old| old.min(new)));
    for (index, cron) in crons.iter().enumerate() {
        let next = Stream::new(&interval, index, cron.every).next;
        match cron.every {
            // A tick lies before the later slot: one millisecond after its second at the least.
            Every::Seconds(_) => {
                due.timestamp = earlier(due.timestamp, next.saturating_mul(1_000).saturating_add(1));
            }
            Every::Blocks(_) => due.height = earlier(due.height, next),
        }
    }
    due
}

struct Interval {
    origin: TimePoint,
    from: TimePoint,
    to: TimePoint,
}

impl Interval {
    /// The time, in milliseconds, that the rules give to a block of the interval.
    fn block_ms(&self, height: u64) -> u64 {
        let blocks = u128::from(self.to.height.saturating_sub(self.from.height)) + 1;
        let span = u128::from(self.to.timestamp.saturating_sub(self.from.timestamp));
        let offset = u128::from(height.saturating_sub(self.from.height)) * span / blocks;
        // The offset is below the span, which is a u64.
        self.from.timestamp.saturating_add(u64::try_from(offset).unwrap_or(u64::MAX))
    }

    /// The height of the last block whose second is at or before `second`.
    fn height_at(&self, second: u64) -> u64 {
        let (mut low, mut high) = (self.from.height, self.to.height.max(self.from.height));
        while low < high {
            // The height of the earlier slot itself is at or before every second of the interval.
            let middle = high - (high - low) / 2;
            if self.block_ms(middle) / 1_000 <= second {
                low = middle;
            } else {
                high = middle - 1;
            }
        }
        low
    }
}

/// The ticks of one cron that are still to come.
struct Stream {
    cron: usize,
    every: Every,
    /// The second or height of the next tick.
    next: u64,
    /// Ticks left in the interval.
    left: u64,
}

impl Stream {
    fn new(interval: &Interval, cron: usize, every: Every) -> Self {
        // The ticks stand at origin + m * step, m >= 1, within first..=last.
        let (origin, step, first, last) = match every {
            Every::Seconds(step) => (
                interval.origin.timestamp / 1_000,
                step,
                interval.from.timestamp.div_ceil(1_000),
                // The last whole second before the later slot, plus one.
                interval.to.timestamp.div_ceil(1_000),
            ),
            Every::Blocks(step) => (
                interval.origin.height,
                step,
                interval.from.height.saturating_add(1),
                interval.to.height.saturating_add(1),
            ),
        };
        let before = |limit: u64| limit.saturating_sub(1).saturating_sub(origin) / step;
        let done = before(first);
        let left = before(last).saturating_sub(done);
        let next = origin.saturating_add(step.saturating_mul(done + 1));
        Self { cron, every, next, left }
    }

    /// Ticks order by second; in a second blocks by height and tag order, then time crons by
    /// interval and tag order.
    fn key(&self, interval: &Interval) -> (u64, u8, u64, usize) {
        match self.every {
            Every::Blocks(_) => (interval.block_ms(self.next) / 1_000, 0, self.next, self.cron),
            Every::Seconds(step) => (self.next, 1, step, self.cron),
        }
    }

    fn time(&self, interval: &Interval) -> TimePoint {
        match self.every {
            Every::Seconds(_) => {
                TimePoint { timestamp: self.next * 1_000, height: interval.height_at(self.next) }
            }
            Every::Blocks(_) => {
                let second_ms = interval.block_ms(self.next) / 1_000 * 1_000;
                TimePoint { timestamp: second_ms.max(interval.from.timestamp), height: self.next }
            }
        }
    }

    fn advance(&mut self) {
        let (Every::Seconds(step) | Every::Blocks(step)) = self.every;
        self.next = self.next.saturating_add(step);
        self.left -= 1;
    }
}
