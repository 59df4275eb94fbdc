#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;

fn id(number: u16) -> Id {
    let mut bytes = [0; 32];
    bytes[..2].copy_from_slice(&number.to_be_bytes());
    Id(bytes)
}

fn run(topics: &mut Topics, input: Input, now: u64) -> Vec<Effect> {
    let mut effects = Effects::new();
    topics.handle(input, Now(now), &mut effects);
    effects.drain().collect()
}

fn want(topics: &mut Topics, number: u16, interest: Interest, now: u64) -> Vec<Effect> {
    run(topics, Input::Want { process: id(number), interest }, now)
}

fn drop_want(topics: &mut Topics, number: u16, now: u64) -> Vec<Effect> {
    run(topics, Input::Drop { process: id(number) }, now)
}

#[test]
fn topics_are_joined_up_to_the_limit_and_the_rest_is_followed_directly() {
    let mut topics = Topics::new(2);
    assert_eq!(want(&mut topics, 1, Interest::Watches, 0), [Effect::Join(id(1))]);
    assert_eq!(want(&mut topics, 2, Interest::Watches, 0), [Effect::Join(id(2))]);
    assert_eq!(want(&mut topics, 3, Interest::Watches, 0), [Effect::Subscribe(id(3))]);
    assert_eq!(want(&mut topics, 3, Interest::Watches, 0), [], "wanting twice changes nothing");
    assert_eq!((topics.joined(), topics.direct()), (2, 1));
    assert_eq!(drop_want(&mut topics, 3, 1), [Effect::Unsubscribe(id(3))]);
    assert_eq!(drop_want(&mut topics, 3, 1), []);
}

#[test]
fn a_topic_that_nobody_wants_lingers_and_is_taken_up_again_for_nothing() {
    let mut topics = Topics::new(9);
    want(&mut topics, 1, Interest::Watches, 0);
    assert_eq!(drop_want(&mut topics, 1, 10), []);
    assert_eq!(run(&mut topics, Input::Tick, 9 + LINGER_MS), []);
    assert_eq!(want(&mut topics, 1, Interest::Watches, 9 + LINGER_MS), []);
    drop_want(&mut topics, 1, 100_000);
    assert_eq!(run(&mut topics, Input::Tick, 100_000 + LINGER_MS), [Effect::Leave(id(1))]);
    // Peers would keep it out now: until they forget, it asks.
    let left = 100_000 + LINGER_MS;
    assert_eq!(want(&mut topics, 1, Interest::Watches, left + 1), [Effect::Subscribe(id(1))]);
    assert_eq!(run(&mut topics, Input::Tick, left + AWAY_MS - 1), []);
    let back = run(&mut topics, Input::Tick, left + AWAY_MS);
    assert_eq!(back, [Effect::Unsubscribe(id(1)), Effect::Join(id(1))]);
}

#[test]
fn one_that_lingers_makes_way_at_once() {
    let mut topics = Topics::new(1);
    want(&mut topics, 1, Interest::Computes, 0);
    drop_want(&mut topics, 1, 1);
    let effects = want(&mut topics, 2, Interest::Watches, 2);
    assert_eq!(effects, [Effect::Leave(id(1)), Effect::Join(id(2))]);
}

#[test]
fn more_interest_takes_a_place_from_less_after_a_while() {
    let mut topics = Topics::new(1);
    want(&mut topics, 1, Interest::Watches, 0);
    assert_eq!(want(&mut topics, 2, Interest::Computes, 1), [Effect::Subscribe(id(2))]);
    assert_eq!(run(&mut topics, Input::Tick, STAY_MS - 1), []);
    let swapped =
        [Effect::Leave(id(1)), Effect::Subscribe(id(1)), Effect::Unsubscribe(id(2)), Effect::Join(id(2))];
    assert_eq!(run(&mut topics, Input::Tick, STAY_MS), swapped);
    // And the other never takes it back.
    assert_eq!(run(&mut topics, Input::Tick, STAY_MS * 9), []);
}

#[test]
fn a_quiet_process_makes_way_for_one_in_which_something_happens() {
    let mut topics = Topics::new(1);
    want(&mut topics, 1, Interest::Computes, 0);
    want(&mut topics, 2, Interest::Computes, 0);
    for now in (0..QUIET_MS).step_by(60_000) {
        run(&mut topics, Input::Heard { process: id(1) }, now);
        run(&mut topics, Input::Heard { process: id(2) }, now + 1);
        assert_eq!(run(&mut topics, Input::Tick, now + 2), [], "both are busy: nobody moves");
    }
    run(&mut topics, Input::Heard { process: id(2) }, QUIET_MS * 2);
    assert!(run(&mut topics, Input::Tick, QUIET_MS * 2).contains(&Effect::Join(id(2))));
}

#[test]
fn after_the_first_thousands_joins_are_paced() {
    let mut topics = Topics::new(10_000);
    for number in 0..BURST as u16 {
        assert_eq!(want(&mut topics, number, Interest::Watches, 0), [Effect::Join(id(number))]);
    }
    let late = BURST as u16;
    for number in late..late + 100 {
        assert_eq!(want(&mut topics, number, Interest::Watches, 0), [Effect::Subscribe(id(number))]);
    }
    run(&mut topics, Input::Tick, 0);
    let joins = |effects: Vec<Effect>| effects.iter().filter(|e| matches!(e, Effect::Join(_))).count() as u64;
    assert_eq!(joins(run(&mut topics, Input::Tick, 1_000)), PER_SECOND);
    assert_eq!(joins(run(&mut topics, Input::Tick, 3_000)), PER_SECOND * 2);
}

#[test]
fn nobody_is_asked_for_what_this_node_schedules() {
    let mut topics = Topics::new(1);
    want(&mut topics, 1, Interest::Schedules, 0);
    assert_eq!(want(&mut topics, 2, Interest::Schedules, 0), []);
    assert_eq!(want(&mut topics, 2, Interest::Watches, 0), [Effect::Subscribe(id(2))]);
    assert_eq!(want(&mut topics, 2, Interest::Schedules, 0), [Effect::Unsubscribe(id(2))]);
    drop_want(&mut topics, 1, 1);
    assert_eq!(run(&mut topics, Input::Tick, 2), [Effect::Leave(id(1)), Effect::Join(id(2))]);
    assert_eq!(drop_want(&mut topics, 2, 3), []);
}

#[test]
fn no_topic_is_left_for_one_that_cannot_be_joined_yet() {
    let mut topics = Topics::new(BURST as usize - 1);
    for number in 0..BURST as u16 - 1 {
        want(&mut topics, number, Interest::Watches, 0);
    }
    drop_want(&mut topics, 0, 0);
    // One token is left, and moving takes two.
    assert_eq!(want(&mut topics, 9_000, Interest::Watches, 0), [Effect::Subscribe(id(9_000))]);
    run(&mut topics, Input::Tick, 0);
    let moved = [Effect::Leave(id(0)), Effect::Unsubscribe(id(9_000)), Effect::Join(id(9_000))];
    assert_eq!(run(&mut topics, Input::Tick, 1_000), moved);
}

proptest! {
    /// Whatever is wanted in whatever order: the effects never pass the limit, never join twice, and
    /// every wanted process is followed in exactly one way; what this node schedules needs none.
    #[test]
    fn every_wanted_process_is_followed_in_exactly_one_way(
        steps in prop::collection::vec((0u8..5, 0u16..12, 0u64..90_000), 0..300),
        limit in 0usize..6,
    ) {
        let mut topics = Topics::new(limit);
        let (mut joined, mut direct, mut wanted) = (BTreeSet::new(), BTreeSet::new(), BTreeMap::new());
        let mut now = 0;
        for (kind, number, pass) in steps {
            now += pass;
            let process = id(number);
            let input = match kind {
                0 => Input::Want { process, interest: Interest::Watches },
                1 => Input::Want { process, interest: Interest::Schedules },
                2 => Input::Drop { process },
                3 => Input::Heard { process },
                _ => Input::Tick,
            };
            match kind {
                0 | 1 => { wanted.insert(process, kind == 1); }
                2 => { wanted.remove(&process); }
                _ => {}
            }
            for effect in run(&mut topics, input, now) {
                match effect {
                    Effect::Join(process) => prop_assert!(joined.insert(process)),
                    Effect::Leave(process) => prop_assert!(joined.remove(&process)),
                    Effect::Subscribe(process) => prop_assert!(direct.insert(process)),
                    Effect::Unsubscribe(process) => prop_assert!(direct.remove(&process)),
                }
                prop_assert!(joined.len() <= limit);
            }
            prop_assert_eq!(topics.joined(), joined.len());
            for (process, schedules) in &wanted {
                prop_assert_eq!(direct.contains(process), !joined.contains(process) && !schedules);
            }
            prop_assert!(direct.iter().all(|process| wanted.contains_key(process)));
        }
    }
}
