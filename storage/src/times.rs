//! How long commits take, in buckets.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Upper bounds of the buckets, in microseconds; what took longer is in one more.
pub const COMMIT_BOUNDS_US: [u64; 14] = [
    500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000, 2_500_000,
    5_000_000, 10_000_000,
];

const BUCKETS: usize = COMMIT_BOUNDS_US.len() + 1;

/// How long commits took since the store was opened: planning, writing and syncing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CommitTimes {
    /// All of them together, in microseconds.
    pub sum_us: u64,
    /// How many were in each bucket of [`COMMIT_BOUNDS_US`] and none before it, and how many beyond.
    pub buckets: [u64; BUCKETS],
}

#[derive(Debug, Default)]
pub(crate) struct Times {
    sum_us: AtomicU64,
    buckets: [AtomicU64; BUCKETS],
}

impl Times {
    pub(crate) fn add(&self, time: Duration) {
        let us = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        let bucket = COMMIT_BOUNDS_US.partition_point(|bound| *bound < us);
        self.sum_us.fetch_add(us, Ordering::Relaxed);
        self.buckets[bucket].fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn read(&self) -> CommitTimes {
        let buckets = std::array::from_fn(|bucket| self.buckets[bucket].load(Ordering::Relaxed));
        CommitTimes { sum_us: self.sum_us.load(Ordering::Relaxed), buckets }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_in_the_first_bucket_that_holds_it() {
        let times = Times::default();
        for us in [0, 500, 501, 10_000_001] {
            times.add(Duration::from_micros(us));
        }
        let read = times.read();
        assert_eq!((read.buckets[0], read.buckets[1], read.buckets[14]), (2, 1, 1));
        assert_eq!((read.sum_us, read.buckets.iter().sum::<u64>()), (10_001_002, 4));
    }
}
