#![allow(clippy::unwrap_used)]

use weft_protocol::Tag;
use weft_protocol::cron::parse;

use super::*;

const PROCESS: Id = Id([1; 32]);
/// Block boundaries lie at whole multiples of this.
const START: u64 = 120_000_000;

fn at(ms: u64) -> TimePoint {
    TimePoint { timestamp: START + ms, height: (START + ms) / 120_000 }
}

/// A timekeeper of one process whose ticks stand at 2 s, 4 s, ...
fn subscribed() -> Timekeeper {
    let crons = parse(&[Tag::new("Cron-Interval", "2-seconds")]).unwrap();
    let schedule = Schedule::new(&crons, at(0)).unwrap();
    let mut keeper = Timekeeper::default();
    let subscribe = Input::Subscribe { process: PROCESS, schedule, newest: at(0) };
    assert_eq!(handle(&mut keeper, subscribe, 0), []);
    keeper
}

fn handle(keeper: &mut Timekeeper, input: Input, ms: u64) -> Vec<Effect> {
    let mut effects = Effects::new();
    keeper.handle(input, Now(START + ms), &mut effects);
    effects.drain().collect()
}

fn asks(keeper: &mut Timekeeper, ms: u64) -> bool {
    let effects = handle(keeper, Input::Tick, ms);
    assert!(effects.is_empty() || effects == [Effect::AskNow { process: PROCESS }]);
    !effects.is_empty()
}

fn asked(keeper: &mut Timekeeper, answered: bool, ms: u64) {
    assert_eq!(handle(keeper, Input::Asked { process: PROCESS, answered }, ms), []);
}

#[test]
fn it_asks_when_a_tick_is_due_and_not_before() {
    let mut keeper = subscribed();
    assert!(!asks(&mut keeper, 1_999) && !asks(&mut keeper, 2_000));
    assert!(asks(&mut keeper, 2_001));
    // One ask at a time.
    assert!(!asks(&mut keeper, 2_500));
    asked(&mut keeper, true, 2_600);
    // The mark came: nothing is due until the next tick.
    let newest = at(2_100);
    assert_eq!(handle(&mut keeper, Input::Grew { process: PROCESS, newest }, 2_600), []);
    assert!(!asks(&mut keeper, 3_900) && asks(&mut keeper, 4_001));
}

#[test]
fn a_message_makes_an_ask_needless() {
    let mut keeper = subscribed();
    handle(&mut keeper, Input::Grew { process: PROCESS, newest: at(3_000) }, 3_000);
    assert!(!asks(&mut keeper, 3_900));
    assert!(asks(&mut keeper, 4_100));
}

#[test]
fn it_asks_again_at_most_once_a_second_and_less_where_nobody_answers() {
    let mut keeper = subscribed();
    assert!(asks(&mut keeper, 5_000));
    asked(&mut keeper, true, 5_000);
    assert!(!asks(&mut keeper, 5_999) && asks(&mut keeper, 6_000));
    let mut now = 6_000;
    for wait in [2_000, 4_000, 8_000, 16_000, 32_000, 60_000, 60_000] {
        asked(&mut keeper, false, now);
        assert!(!asks(&mut keeper, now + wait - 1), "{wait}");
        assert!(asks(&mut keeper, now + wait), "{wait}");
        now += wait;
    }
    asked(&mut keeper, true, now);
    assert!(asks(&mut keeper, now + ASK_MS));
}

#[test]
fn nobody_is_asked_without_a_subscription() {
    let mut keeper = subscribed();
    assert!(keeper.keeps(&PROCESS));
    handle(&mut keeper, Input::Unsubscribe { process: PROCESS }, 100);
    assert!(!keeper.keeps(&PROCESS) && !asks(&mut keeper, 9_000));
    // What comes late is of no use.
    asked(&mut keeper, true, 9_000);
    handle(&mut keeper, Input::Grew { process: PROCESS, newest: at(9_000) }, 9_000);
    assert!(!asks(&mut keeper, 99_000));
}
