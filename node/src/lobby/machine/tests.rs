#![allow(clippy::unwrap_used, clippy::panic)]

use weft_protocol::Network;
use weft_protocol::lobby::SHARDS;

use super::share::{KEPT_BURST, KEPT_PER_S, NEIGHBOURS_MAX};
use super::*;

type Lobby8 = Lobby<u16, ()>;

const START: u64 = 1_000_000_000;

fn run(lobby: &mut Lobby8, input: Input<u16>, now: u64) -> Vec<Effect> {
    let mut effects = Effects::new();
    lobby.handle(input, Now(START + now), &mut effects);
    effects.drain().collect()
}

/// A process of the first shard.
fn process(number: u32) -> Id {
    let ids = (0..u32::MAX).map(|number| {
        let mut id = [0; 32];
        id[..4].copy_from_slice(&number.to_be_bytes());
        Id(id)
    });
    ids.filter(|id| Shard::of(id) == shard()).nth(number as usize).unwrap()
}

fn shard() -> Shard {
    Shard::numbered(0).unwrap()
}

fn said(by: u16, sequence: u64, serves: &[Id]) -> Said<u16, ()> {
    let terms = AdvertTerms {
        network: Network(7),
        sequence: START + sequence,
        valid_to: START + sequence + ADVERT_TTL_MS_MAX,
        shard: shard(),
        part: 0,
        parts: 1,
        more: false,
        addresses: Vec::new(),
        served: serves.iter().map(|process| (Short::of(process), Duty::Watches)).collect(),
    };
    Said { by, terms, body: () }
}

/// A node that is on the first shard.
fn on_shard() -> Lobby8 {
    let mut lobby = Lobby::new(1);
    run(&mut lobby, Input::Serves(process(0), Some(Duty::Watches)), 0);
    assert_eq!(run(&mut lobby, Input::Tick, 0), [Effect::Join(shard())]);
    lobby
}

fn hear(lobby: &mut Lobby8, said: Said<u16, ()>, from: u16, now: u64) -> Heard {
    lobby.hear(said, from, Now(START + now))
}

fn named(lobby: &Lobby8, number: u32, now: u64) -> Vec<u16> {
    lobby.named(&process(number), Now(START + now)).into_iter().map(|named| named.peer).collect()
}

#[test]
fn a_node_says_what_it_serves_when_that_changes_and_again_before_it_ends_and_leaves_after_it() {
    let mut lobby = on_shard();
    let say = |served: &[(u32, Duty)]| {
        let served = served.iter().map(|(number, duty)| (Short::of(&process(*number)), *duty)).collect();
        Effect::Say { shard: shard(), part: (0, 1), more: false, served }
    };
    assert_eq!(run(&mut lobby, Input::Tick, SETTLE_MS - 1), []);
    assert_eq!(run(&mut lobby, Input::Tick, SETTLE_MS), [say(&[(0, Duty::Watches)])]);
    // Two changes at once are one, and none comes at the heels of the last.
    run(&mut lobby, Input::Serves(process(1), Some(Duty::Watches)), SETTLE_MS);
    run(&mut lobby, Input::Serves(process(1), Some(Duty::Computes)), SETTLE_MS);
    let next = SETTLE_MS + CHANGE_GAP_MS;
    assert_eq!(run(&mut lobby, Input::Tick, next - 1), []);
    let both = [say(&[(0, Duty::Watches), (1, Duty::Computes)])];
    assert_eq!(run(&mut lobby, Input::Tick, next), both);
    run(&mut lobby, Input::Serves(process(1), Some(Duty::Computes)), next);
    assert_eq!(run(&mut lobby, Input::Tick, next + REFRESH_MS * 3 / 4 - 1), []);
    assert_eq!(run(&mut lobby, Input::Tick, next + REFRESH_MS), both);
    const { assert!(REFRESH_MS * 2 < ADVERT_TTL_MS_MAX) }
    let gone = next + REFRESH_MS;
    run(&mut lobby, Input::Serves(process(0), None), gone);
    run(&mut lobby, Input::Serves(process(1), None), gone);
    // Who believed it hears that it is over.
    assert_eq!(run(&mut lobby, Input::Tick, gone + CHANGE_GAP_MS), [say(&[])]);
    assert_eq!(run(&mut lobby, Input::Tick, gone + LINGER_MS - 1), []);
    assert_eq!(run(&mut lobby, Input::Tick, gone + LINGER_MS), [Effect::Leave(shard())]);
    assert_eq!((lobby.joined(), lobby.own.len()), (0, 0));
}

#[test]
fn what_nobody_heard_is_said_again() {
    let mut lobby = on_shard();
    assert_eq!(run(&mut lobby, Input::Tick, SETTLE_MS).len(), 1);
    let mut now = SETTLE_MS;
    for wait in [1, 2, 4, 8, 16, 16].map(|times| times * UNHEARD_MS) {
        run(&mut lobby, Input::Reached(shard(), false), now);
        now += wait;
        assert_eq!(run(&mut lobby, Input::Tick, now - 1), []);
        assert_eq!(run(&mut lobby, Input::Tick, now).len(), 1);
    }
    run(&mut lobby, Input::Reached(shard(), true), now);
    assert_eq!(run(&mut lobby, Input::Tick, now + UNHEARD_MS_MAX), []);
    run(&mut lobby, Input::Reached(shard(), false), now);
    assert_eq!(run(&mut lobby, Input::Tick, now + UNHEARD_MS).len(), 1);
}

#[test]
fn many_processes_take_several_adverts_and_beyond_that_a_word_that_there_are_more() {
    let mut lobby = Lobby8::new(1);
    for number in 0..20_000_u32 {
        let mut id = [0; 32];
        id[..4].copy_from_slice(&number.to_be_bytes());
        let duty = if number == 777 { Duty::Schedules } else { Duty::Watches };
        run(&mut lobby, Input::Serves(Id(id), Some(duty)), 0);
    }
    assert_eq!(run(&mut lobby, Input::Tick, 0).len(), usize::from(SHARDS));
    let mut all = Vec::new();
    for tick in 0..100 {
        let some = run(&mut lobby, Input::Tick, SETTLE_MS + tick * 500);
        assert!(some.len() <= SAID_PER_TICK);
        all.extend(some);
    }
    assert_eq!(all.len(), usize::from(SHARDS) * usize::from(ADVERT_PARTS_MAX));
    let mut places = std::collections::BTreeSet::new();
    let mut schedules = 0;
    for effect in all {
        let Effect::Say { shard, part, more, served } = effect else { panic!("{effect:?}") };
        assert!(more && part.1 == ADVERT_PARTS_MAX && places.insert((shard, part.0)));
        assert_eq!(served.len(), ADVERT_PROCESSES_MAX);
        schedules += served.values().filter(|duty| **duty == Duty::Schedules).count();
    }
    assert_eq!(schedules, 1, "what it does most for is among those that are named");
}

#[test]
fn newer_words_replace_older_ones_and_none_outlives_its_time() {
    let mut lobby = on_shard();
    assert_eq!(hear(&mut lobby, said(5, 0, &[process(1)]), 9, 0), Heard::Kept);
    assert_eq!(hear(&mut lobby, said(5, 0, &[process(2)]), 9, HEARD_GAP_MS), Heard::Old);
    assert_eq!(hear(&mut lobby, said(5, 1, &[process(2)]), 9, HEARD_GAP_MS - 1), Heard::Old);
    assert_eq!(named(&lobby, 1, 0), [5]);
    assert_eq!(hear(&mut lobby, said(5, 1, &[process(2)]), 9, HEARD_GAP_MS), Heard::Kept);
    assert_eq!((named(&lobby, 1, 0), named(&lobby, 2, 0)), (vec![], vec![5]));
    assert_eq!(named(&lobby, 2, ADVERT_TTL_MS_MAX + 1), Vec::<u16>::new());
    run(&mut lobby, Input::Tick, ADVERT_TTL_MS_MAX + 1);
    assert_eq!(lobby.kept(), 0);
    assert_eq!(hear(&mut lobby, said(6, SKEW_MS + 1, &[]), 9, 0), Heard::Untimely);
    assert_eq!(hear(&mut lobby, said(6, 0, &[]), 9, ADVERT_TTL_MS_MAX), Heard::Untimely);
    let mut elsewhere = said(6, 0, &[]);
    elsewhere.terms.shard = Shard::numbered(1).unwrap();
    assert_eq!(hear(&mut lobby, elsewhere, 9, 0), Heard::Elsewhere);
}

#[test]
fn parts_that_there_are_no_more_go() {
    let mut lobby = on_shard();
    for part in 0..2 {
        let mut some = said(5, 0, &[process(1 + u32::from(part))]);
        (some.terms.part, some.terms.parts) = (part, 2);
        assert_eq!(hear(&mut lobby, some, 9, 0), Heard::Kept);
    }
    assert_eq!(named(&lobby, 2, 0), [5]);
    assert_eq!(hear(&mut lobby, said(5, 1, &[process(1)]), 9, HEARD_GAP_MS), Heard::Kept);
    assert_eq!((named(&lobby, 1, 0), named(&lobby, 2, 0)), (vec![5], vec![]));
}

#[test]
fn who_knows_most_of_a_process_comes_first_and_who_names_not_all_last() {
    let mut lobby = on_shard();
    for (by, duty) in
        [(1, Some(Duty::Watches)), (2, Some(Duty::Schedules)), (3, None), (4, Some(Duty::Computes))]
    {
        let mut some = said(by, 0, &[]);
        some.terms.more = true;
        some.terms.served = duty.map(|duty| (Short::of(&process(1)), duty)).into_iter().collect();
        assert_eq!(hear(&mut lobby, some, 9, 0), Heard::Kept);
    }
    assert_eq!(named(&lobby, 1, 0), [2, 4, 1, 3]);
    // Whoever comes later waits for those that are known, whatever it says; who proved himself does not.
    let mut late = said(5, 1, &[]);
    late.terms.served = BTreeMap::from([(Short::of(&process(1)), Duty::Schedules)]);
    assert_eq!(hear(&mut lobby, late, 9, 1), Heard::Kept);
    assert_eq!(named(&lobby, 1, 1), [2, 4, 1, 5, 3]);
    run(&mut lobby, Input::Served(5), 1);
    assert_eq!(named(&lobby, 1, 1), [5, 2, 4, 1, 3]);
}

#[test]
fn a_lie_costs_one_question_and_the_third_all_belief_for_a_while() {
    let mut lobby = on_shard();
    let all: Vec<Id> = (1..=5).map(process).collect();
    hear(&mut lobby, said(5, 0, &all), 9, 0);
    hear(&mut lobby, said(6, 0, &all), 9, 0);
    run(&mut lobby, Input::Broke(5, process(1)), 1);
    run(&mut lobby, Input::Broke(5, process(1)), 1);
    assert_eq!((named(&lobby, 1, 1), named(&lobby, 2, 1).len()), (vec![6], 2));
    run(&mut lobby, Input::Broke(5, process(2)), 1);
    assert_eq!(named(&lobby, 3, 1).len(), 2, "the same lie counts once");
    run(&mut lobby, Input::Broke(5, process(3)), 2);
    assert_eq!(named(&lobby, 4, 2), [6]);
    assert_eq!(hear(&mut lobby, said(5, 9_000, &all), 9, 9_000), Heard::Doubted);
    let later = 2 + DOUBT_MS;
    assert_eq!(hear(&mut lobby, said(5, later, &all), 9, later), Heard::Kept);
    assert_eq!(named(&lobby, 4, later), [5]);
    // One that gives what it has is forgiven what may have been a race.
    run(&mut lobby, Input::Broke(5, process(4)), later);
    run(&mut lobby, Input::Broke(5, process(5)), later);
    run(&mut lobby, Input::Served(5), later);
    assert!(lobby.doubts.is_empty());
}

#[test]
fn a_flood_of_names_takes_no_more_than_its_share_and_keeps_nobody_out() {
    let mut lobby = on_shard();
    assert_eq!(hear(&mut lobby, said(1, 0, &[process(1)]), 1, 0), Heard::Kept);
    let (mut name, mut now, mut full) = (1_000, 0, 0);
    while now < 300_000 {
        now += 10;
        name += 1;
        full += usize::from(hear(&mut lobby, said(name, now, &[process(1)]), 2, now) == Heard::Full);
        assert!(lobby.kept() <= KEPT_PER_SHARD_MAX);
    }
    assert!(full > 25_000, "{full}");
    assert!(name < u16::MAX);
    // Another neighbour's come in still, in place of the newest of the flood, and those of before are there.
    for by in 3..203 {
        assert_eq!(hear(&mut lobby, said(by, now, &[process(2)]), 3, now), Heard::Kept, "{by}");
    }
    assert_eq!(lobby.kept(), KEPT_PER_SHARD_MAX);
    assert!(lobby.kept[&shard()].contains_key(&(1, 0)));
    assert_eq!(named(&lobby, 2, now).len(), NAMED_MAX);
}

#[test]
fn two_neighbours_cannot_fill_a_shard_and_who_was_there_first_stays_however_often_it_speaks() {
    let mut lobby = on_shard();
    assert_eq!(hear(&mut lobby, said(1, 0, &[process(1)]), 10, 0), Heard::Kept);
    for by in 0..511 {
        let from = 11 - by % 2;
        assert_eq!(hear(&mut lobby, said(1_000 + by, 0, &[]), from, 1), Heard::Kept, "{by}");
    }
    assert_eq!(lobby.kept(), KEPT_PER_SHARD_MAX);
    // It speaks last, and is the oldest.
    assert_eq!(hear(&mut lobby, said(1, REPEAT_GAP_MS, &[process(1)]), 10, REPEAT_GAP_MS), Heard::Kept);
    for by in 0..100 {
        assert_eq!(hear(&mut lobby, said(5_000 + by, REPEAT_GAP_MS, &[]), 12, REPEAT_GAP_MS), Heard::Kept);
    }
    assert!(lobby.kept[&shard()].contains_key(&(1, 0)));
    assert_eq!(lobby.kept(), KEPT_PER_SHARD_MAX);
}

#[test]
fn what_is_known_is_not_repeated_on_and_on() {
    let mut lobby = on_shard();
    for by in 0..200 {
        assert_eq!(hear(&mut lobby, said(by, 0, &[]), 9, 0), Heard::Kept);
    }
    let mut kept = 0;
    for second in 1..=50 {
        for by in 0..200 {
            kept += usize::from(
                hear(&mut lobby, said(by, second * 1_000, &[]), 9, second * 1_000) == Heard::Kept,
            );
        }
    }
    assert_eq!(kept, 0, "it says nothing new");
    for second in 51..=250 {
        let what = process(second as u32);
        for by in 0..200 {
            let said = said(by, second * 1_000, &[what]);
            kept += usize::from(hear(&mut lobby, said, 9, second * 1_000) == Heard::Kept);
        }
    }
    assert!(kept as u64 <= KEPT_BURST + 200 * KEPT_PER_S && kept > 5_000, "{kept}");
    let mut short = said(900, 250_000, &[]);
    short.terms.valid_to = short.terms.sequence + LASTS_MS_MIN - 1;
    assert_eq!(hear(&mut lobby, short, 8, 250_000), Heard::Untimely);
}

#[test]
fn what_is_known_of_neighbours_and_liars_is_bounded() {
    let mut lobby = on_shard();
    for from in 0..2_000 {
        hear(&mut lobby, said(from, 0, &[process(1)]), from, 0);
        run(&mut lobby, Input::Broke(from, process(1)), 0);
    }
    assert!(lobby.paces.neighbours() <= NEIGHBOURS_MAX && lobby.doubts.len() <= DOUBTED_MAX);
    assert!(lobby.kept() <= KEPT_PER_SHARD_MAX);
}
