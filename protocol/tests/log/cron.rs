use proptest::prelude::*;
use weft_protocol::Tag;
use weft_protocol::cron::{Cron, CronError, Every, NextDue, Tick, is_due, next_due, parse, ticks};
use weft_protocol::limits::TICKS_MAX;
use weft_protocol::time::TimePoint;

use crate::fixture::tags;

fn crons(intervals: &[&str]) -> Vec<Cron> {
    parse(&intervals.iter().map(|text| Tag::new("Cron-Interval", *text)).collect::<Vec<_>>()).unwrap()
}

fn at(timestamp: u64, height: u64) -> TimePoint {
    TimePoint { timestamp, height }
}

fn shown(ticks: &[Tick]) -> Vec<(u64, u64, usize)> {
    ticks.iter().map(|tick| (tick.time.timestamp, tick.time.height, tick.cron)).collect()
}

/// The rule of RULES.md 6.6 word for word, second by second and block by block.
fn by_the_word(crons: &[Cron], origin: TimePoint, from: TimePoint, to: TimePoint) -> Vec<(u64, u64, usize)> {
    let blocks = u128::from(to.height - from.height);
    let block_ms =
        |k: u128| from.timestamp + (k * u128::from(to.timestamp - from.timestamp) / (blocks + 1)) as u64;
    // (second, class, height or interval, tag order) -> tick
    let mut all = Vec::new();
    for (index, cron) in crons.iter().enumerate() {
        match cron.every {
            Every::Blocks(n) => {
                for k in 1..=blocks {
                    let (height, b) = (from.height + k as u64, block_ms(k));
                    if height > origin.height && (height - origin.height).is_multiple_of(n) {
                        let timestamp = from.timestamp.max(1_000 * (b / 1_000));
                        all.push(((b / 1_000, 0, height, index), (timestamp, height, index)));
                    }
                }
            }
            Every::Seconds(n) => {
                let start = origin.timestamp / 1_000;
                for s in from.timestamp / 1_000..=to.timestamp / 1_000 {
                    let within = from.timestamp <= 1_000 * s && 1_000 * s < to.timestamp;
                    if within && s > start && (s - start).is_multiple_of(n) {
                        let passed = (1..=blocks).filter(|&k| block_ms(k) / 1_000 <= s).count() as u64;
                        all.push(((s, 1, n, index), (1_000 * s, from.height + passed, index)));
                    }
                }
            }
        }
    }
    all.sort();
    all.into_iter().map(|(_, tick)| tick).collect()
}

#[test]
fn intervals_have_units() {
    for (text, every) in [
        ("10-blocks", Every::Blocks(10)),
        ("1-block", Every::Blocks(1)),
        ("10-seconds", Every::Seconds(10)),
        ("1500-milliseconds", Every::Seconds(1)),
        ("2-Minutes", Every::Seconds(120)),
        ("1-hour", Every::Seconds(3_600)),
        ("1-day", Every::Seconds(86_400)),
        ("1-week", Every::Seconds(604_800)),
        ("1-month", Every::Seconds(30 * 86_400)),
        ("1-year", Every::Seconds(31_557_600)),
    ] {
        assert_eq!(crons(&[text])[0].every, every, "{text}");
    }
}

#[test]
fn bad_intervals_are_refused_by_name() {
    let refused = |text: &str| parse(&[Tag::new("Cron-Interval", text)]).unwrap_err();
    for text in ["500-milliseconds", "0-seconds", "0-blocks"] {
        assert_eq!(refused(text), CronError::TooShort(text.into()));
    }
    for text in [
        "10",
        "ten-seconds",
        "10-fortnights",
        "-1-seconds",
        "1.5-hours",
        "99999999999999999999-s",
        "9999999999999999-years",
    ] {
        assert_eq!(refused(text), CronError::Interval(text.into()));
    }
    let many = vec![Tag::new("Cron-Interval", "1-second"); 17];
    assert_eq!(parse(&many), Err(CronError::TooMany));
    assert_eq!(
        parse(&tags(&[("Cron-Tag-Action", "Tick"), ("Cron-Interval", "1-second")])),
        Err(CronError::Unmatched("Cron-Tag-Action".into()))
    );
}

#[test]
fn cron_tags_belong_to_the_interval_before_them() {
    let crons = parse(&tags(&[
        ("Cron-Interval", "1-second"),
        ("Cron-Tag-Action", "Fast"),
        ("Cron-Interval", "5-blocks"),
        ("Other", "x"),
        ("Cron-Tag-Action", "Slow"),
        ("Cron-Tag-X", "y"),
    ]))
    .unwrap();
    assert_eq!(crons[0].tags, tags(&[("Action", "Fast")]));
    assert_eq!(crons[1].tags, tags(&[("Action", "Slow"), ("X", "y")]));
}

/// Checks 58, 59 and 60 of the reference.
#[test]
fn the_checks_of_the_reference_hold() {
    let blocks = crons(&["10-blocks"]);
    let fired = ticks(&blocks, at(0, 100), at(0, 100), at(60_000, 111));
    assert_eq!(shown(&fired.run), [(50_000, 110, 0)]);
    assert!(!is_due(&blocks, at(0, 100), at(0, 100), at(60_000, 105)));

    let seconds = crons(&["10-seconds"]);
    let fired = ticks(&seconds, at(1_000_000, 0), at(1_005_000, 0), at(1_031_000, 0));
    assert_eq!(shown(&fired.run), [(1_010_000, 0, 0), (1_020_000, 0, 0), (1_030_000, 0, 0)]);

    // A block and a second due at once: the block first, and the second shows its height.
    let both = crons(&["10-seconds", "1-block"]);
    let fired = ticks(&both, at(0, 0), at(0, 0), at(20_000, 1));
    assert_eq!(shown(&fired.run), [(10_000, 1, 1), (10_000, 1, 0)]);
}

#[test]
fn a_block_in_the_second_of_the_slot_keeps_the_slot_s_time() {
    let fired = ticks(&crons(&["1-block"]), at(0, 0), at(5_400, 3), at(5_900, 4));
    assert_eq!(shown(&fired.run), [(5_400, 4, 0)]);
}

#[test]
fn ticks_beyond_the_limit_are_counted_and_never_run() {
    let every_second = crons(&["1-second", "1-block"]);
    let year_ms = 365 * 86_400_000;
    let fired = ticks(&every_second, at(0, 0), at(0, 0), at(year_ms, 1_000_000_000));
    assert_eq!(fired.run.len() as u64, TICKS_MAX);
    assert_eq!(fired.skipped, year_ms / 1_000 - 1 + 1_000_000_000 - TICKS_MAX);
    // The largest interval there is takes no longer and overflows nothing.
    let fired = ticks(&every_second, at(0, 0), at(0, 0), at(u64::MAX, u64::MAX));
    assert_eq!(fired.run.len() as u64, TICKS_MAX);
}

#[test]
fn the_next_tick_is_known_ahead() {
    let crons = crons(&["10-seconds", "3-blocks", "4-blocks"]);
    let due = next_due(&crons, at(1_500, 10), at(11_000, 13));
    assert_eq!(due, NextDue { timestamp: Some(11_001), height: Some(14) });
    assert_eq!(next_due(&[], at(0, 0), at(0, 0)), NextDue::default());
}

fn interval_text() -> impl Strategy<Value = String> {
    prop_oneof![(1u64..9).prop_map(|n| format!("{n}-seconds")), (1u64..9).prop_map(|n| format!("{n}-blocks")),]
}

/// Slots of one log: times and heights that never decrease, the first of them slot 0.
fn slots() -> impl Strategy<Value = Vec<TimePoint>> {
    let step = (0u64..20_000, 0u64..12);
    (0u64..5_000, 0u64..50, prop::collection::vec(step, 1..6)).prop_map(|(t, h, steps)| {
        let mut slots = vec![at(t, h)];
        for (ms, blocks) in steps {
            let last = slots[slots.len() - 1];
            slots.push(at(last.timestamp + ms, last.height + blocks));
        }
        slots
    })
}

proptest! {
    #[test]
    fn ticks_are_those_of_the_rules(texts in prop::collection::vec(interval_text(), 0..6), slots in slots()) {
        let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        let crons = crons(&texts);
        for pair in slots.windows(2) {
            let fired = ticks(&crons, slots[0], pair[0], pair[1]);
            let expected = by_the_word(&crons, slots[0], pair[0], pair[1]);
            prop_assert_eq!(is_due(&crons, slots[0], pair[0], pair[1]), !expected.is_empty());
            let next = next_due(&crons, slots[0], pair[0]);
            let passed = next.timestamp.is_some_and(|timestamp| pair[1].timestamp >= timestamp)
                || next.height.is_some_and(|height| pair[1].height >= height);
            prop_assert_eq!(passed, !expected.is_empty());
            prop_assert_eq!(shown(&fired.run), expected);
            prop_assert_eq!(fired.skipped, 0);
        }
    }

    /// Wherever slots fall, each second and each height that is due fires exactly once.
    #[test]
    fn no_tick_is_lost_or_doubled(texts in prop::collection::vec(interval_text(), 1..6), slots in slots()) {
        let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        let crons = crons(&texts);
        // What identifies a tick whatever the slots: its cron with its second or its height.
        let identity = |tick: &Tick| match crons[tick.cron].every {
            Every::Seconds(_) => (tick.cron, tick.time.timestamp),
            Every::Blocks(_) => (tick.cron, tick.time.height),
        };
        let whole = ticks(&crons, slots[0], slots[0], slots[slots.len() - 1]);
        let parts: Vec<Tick> =
            slots.windows(2).flat_map(|pair| ticks(&crons, slots[0], pair[0], pair[1]).run).collect();
        let sorted = |ticks: &[Tick]| {
            let mut all: Vec<_> = ticks.iter().map(identity).collect();
            all.sort_unstable();
            all
        };
        prop_assert_eq!(sorted(&whole.run), sorted(&parts));
        // And time never goes back within the log.
        prop_assert!(parts.windows(2).all(|two| two[0].time.timestamp <= two[1].time.timestamp));
        prop_assert!(parts.windows(2).all(|two| two[0].time.height <= two[1].time.height));
    }

    /// However far apart slots are, the count of what was due is split, never lost.
    #[test]
    fn skipped_ticks_are_counted_whatever_the_split(
        texts in prop::collection::vec(interval_text(), 1..6),
        cut in 0u64..100_000_000, rest in 0u64..100_000_000, blocks in 0u64..100_000, more in 0u64..100_000,
    ) {
        let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        let crons = crons(&texts);
        let (origin, middle, end) = (at(1_234, 5), at(1_234 + cut, 5 + blocks), at(1_234 + cut + rest, 5 + blocks + more));
        let count = |from, to| {
            let fired = ticks(&crons, origin, from, to);
            fired.run.len() as u64 + fired.skipped
        };
        prop_assert_eq!(count(origin, end), count(origin, middle) + count(middle, end));
    }
}
