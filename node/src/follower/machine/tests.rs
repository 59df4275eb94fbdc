//! The follower by hand: peers are numbers, and a record has no body.
#![allow(clippy::panic)]

use std::collections::BTreeSet;

use weft_protocol::time::TimePoint;

use super::*;

const PROCESS: Id = Id([1; 32]);

/// A log whose slots have ids of this letter.
fn log(letter: u8, slots: u64) -> Vec<Link> {
    let mut chain = hash_chain::first(PROCESS);
    let mut links = Vec::new();
    for slot in 0..slots {
        // Both logs start alike.
        let letter = if slot < 2 { 0 } else { letter };
        let mut assignment = [letter; 32];
        assignment[0] = slot as u8;
        let time = TimePoint { timestamp: slot, height: 0 };
        let link = Link { slot, assignment: Id(assignment), hash_chain: chain, time };
        chain = link.next();
        links.push(link);
    }
    links
}

/// Of a slot that is nothing special.
const BYTES: usize = 1_000;

struct Bench {
    follower: Follower<u8, ()>,
    now: Now,
}

impl Bench {
    fn new(head: Option<Link>) -> Self {
        let mut bench = Self { follower: Follower::default(), now: Now(1_000_000) };
        bench.hear(Input::Follow { process: PROCESS, head });
        bench
    }

    fn hear(&mut self, input: Input<u8, ()>) -> Vec<Effect<u8, ()>> {
        let mut effects = Effects::new();
        self.follower.handle(input, self.now, &mut effects);
        effects.drain().collect()
    }

    fn record(&mut self, link: Link) -> Vec<Effect<u8, ()>> {
        self.large(link, BYTES)
    }

    fn large(&mut self, link: Link, bytes: usize) -> Vec<Effect<u8, ()>> {
        self.hear(Input::Record { process: PROCESS, record: Record { link, bytes, body: () } })
    }

    /// Lets time pass until something is asked for.
    fn wait(&mut self) -> Vec<Effect<u8, ()>> {
        for _ in 0..1_000 {
            self.now = self.now.plus_ms(100);
            let effects = self.hear(Input::Tick);
            if effects.iter().any(|effect| matches!(effect, Effect::AskRange { .. })) {
                return effects;
            }
        }
        Vec::new()
    }
}

/// Peer 9 is the scheduler.
fn head(slot: u64, peer: u8) -> Input<u8, ()> {
    Input::Head { process: PROCESS, slot, peer, by_scheduler: peer == 9 }
}

fn all_asked(effects: &[Effect<u8, ()>]) -> Vec<(u8, u64, u64)> {
    let asked = effects.iter().filter_map(|effect| match effect {
        Effect::AskRange { peer, from, to, .. } => Some((*peer, *from, *to)),
        _ => None,
    });
    asked.collect()
}

fn asked(effects: &[Effect<u8, ()>]) -> Option<(u8, u64, u64)> {
    effects.iter().find_map(|effect| match effect {
        Effect::AskRange { peer, from, to, .. } => Some((*peer, *from, *to)),
        _ => None,
    })
}

#[test]
fn slots_are_appended_in_order_whatever_the_order_they_come_in() {
    let links = log(1, 4);
    let mut bench = Bench::new(None);
    let mut appended = Vec::new();
    for at in [2, 1, 3, 0] {
        for effect in bench.record(links[at]) {
            if let Effect::Append { record, .. } = effect {
                appended.push(record.link.slot);
            }
        }
    }
    assert_eq!(appended, [0, 1, 2, 3]);
    assert!(bench.follower.is_caught_up(&PROCESS));
}

#[test]
fn who_has_the_slot_is_asked_before_who_failed_least() {
    let mut bench = Bench::new(Some(log(1, 3)[2]));
    bench.hear(head(2, 1));
    bench.hear(head(3, 2));
    bench.hear(Input::RangeEnded { process: PROCESS, peer: 2, useful: false });
    // It rests a little after a failure.
    bench.now = bench.now.plus_ms(600);
    assert_eq!(asked(&bench.wait()), Some((2, 3, 3)));
}

#[test]
fn several_peers_are_asked_beside_each_other_for_what_they_showed_to_have() {
    let links = log(1, 2_000);
    let mut bench = Bench::new(Some(links[2]));
    let mut all = all_asked(&bench.hear(head(1_999, 1)));
    for peer in 2..=6 {
        all.extend(all_asked(&bench.hear(head(1_999, peer))));
    }
    assert_eq!(all, [(1, 3, 130), (2, 131, 258), (3, 259, 386), (4, 387, 514)], "no more than four");
    // What comes early is held, and its peer has nothing more to give yet.
    for link in &links[131..=258] {
        assert_eq!(all_asked(&bench.record(*link)), []);
    }
    assert_eq!(bench.follower.next_slot(&PROCESS), Some(3));
    assert_eq!(all_asked(&bench.hear(Input::RangeEnded { process: PROCESS, peer: 2, useful: true })), []);
    let mut more = Vec::new();
    for link in &links[3..=130] {
        more.extend(all_asked(&bench.record(*link)));
    }
    assert_eq!(bench.follower.next_slot(&PROCESS), Some(259));
    assert_eq!(more.first().map(|(_, from, _)| *from), Some(515), "the window has moved: {more:?}");
}

#[test]
fn a_slow_peer_holds_up_nobody() {
    let links = log(1, 400);
    let mut bench = Bench::new(Some(links[2]));
    assert_eq!(asked(&bench.hear(head(399, 1))), Some((1, 3, 130)));
    bench.hear(head(399, 2));
    bench.hear(head(399, 3));
    bench.now = bench.now.plus_ms(HEDGE_MS - 1);
    assert_eq!(all_asked(&bench.hear(Input::Tick)), []);
    // Two and three have the rest; whoever is free first is asked for what is late.
    for link in &links[131..=386] {
        bench.record(*link);
    }
    bench.now = bench.now.plus_ms(1);
    let late = all_asked(&bench.hear(Input::RangeEnded { process: PROCESS, peer: 3, useful: true }));
    assert_eq!(late, [(3, 3, 130)]);
    let rest = all_asked(&bench.hear(Input::RangeEnded { process: PROCESS, peer: 2, useful: true }));
    assert_eq!(rest, [(2, 387, 399)], "once is enough for a while");
}

#[test]
fn the_nearest_slots_are_held_when_there_are_too_many() {
    let count = HELD_SLOTS_MAX as u64 * 2;
    let links = log(1, count);
    let mut bench = Bench::new(Some(links[0]));
    for slot in (2..count).rev() {
        bench.record(links[slot as usize]);
    }
    bench.record(links[1]);
    assert_eq!(bench.follower.next_slot(&PROCESS), Some(HELD_SLOTS_MAX as u64 + 1));
}

#[test]
fn large_slots_are_held_up_to_so_many_bytes_and_then_only_the_next_is_asked_for() {
    let large = HELD_BYTES_MAX / 8;
    let links = log(1, 400);
    let mut bench = Bench::new(Some(links[0]));
    // A peer shows what comes later and keeps the next one back.
    for (number, slot) in (100..400).step_by(3).enumerate() {
        bench.large(links[slot], large);
        let log = &bench.follower.logs[&PROCESS];
        assert!(log.held.bytes <= HELD_BYTES_MAX, "{number}: {}", log.held.bytes);
    }
    let nearest: Vec<u64> = (100..).step_by(3).take(8).collect();
    assert!(nearest.iter().all(|slot| bench.follower.logs[&PROCESS].held.has(*slot)), "the nearest are kept");
    let mut asked: Vec<_> = (1..=4).flat_map(|peer| all_asked(&bench.hear(head(400, peer)))).collect();
    asked.extend(all_asked(&bench.wait()));
    // The second because the first is late.
    assert_eq!(asked, [(1, 1, 99), (2, 1, 99)]);
    // One that is larger than all of it may still come next.
    bench.large(links[1], 2 * HELD_BYTES_MAX);
    assert_eq!(bench.follower.next_slot(&PROCESS), Some(links[1].slot + 1));
}

#[test]
fn all_logs_together_hold_so_many_bytes_and_go_on_when_those_are_taken() {
    const LARGE: usize = HELD_BYTES_MAX / 8;
    let (links, mut bench) = (log(1, 1_000), Bench::new(Some(log(1, 1)[0])));
    let in_log = |number: u8, link: Link, bytes| Input::Record {
        process: Id([number; 32]),
        record: Record { link, bytes, body: () },
    };
    let sum = |bench: &Bench| bench.follower.logs.values().map(|log| log.held.bytes).sum::<usize>();
    // The log of the bench asks for what is ahead of it too, while there is room.
    let known = |peer| Input::Head { process: PROCESS, slot: 999, peer, by_scheduler: false };
    let ahead: Vec<_> = (1..=2).flat_map(|peer| all_asked(&bench.hear(known(peer)))).collect();
    assert_eq!(ahead, [(1, 1, 128), (2, 129, 256)]);
    // The schedulers of others keep a slot back, and show all that comes later.
    for number in 100..200 {
        bench.hear(Input::Follow { process: Id([number; 32]), head: None });
        for link in &links[1..10] {
            bench.hear(in_log(number, *link, LARGE));
        }
        assert_eq!(bench.follower.held, sum(&bench));
        assert!(bench.follower.held <= HELD_ALL_BYTES_MAX, "{number}: {}", bench.follower.held);
    }
    assert_eq!(bench.follower.held, HELD_ALL_BYTES_MAX);
    // What was asked for before finds no room now, and nobody is the worse for it; nor is it asked for again.
    for link in &links[129..=256] {
        bench.record(*link);
    }
    assert_eq!(all_asked(&bench.hear(Input::RangeEnded { process: PROCESS, peer: 2, useful: true })), []);
    assert_eq!(bench.follower.logs[&PROCESS].sources[&2].failures, 0);
    // What comes next goes on as ever, in order.
    let mut appended = 0;
    for link in &links[1..=128] {
        let effects = bench.record(*link);
        appended += effects.iter().filter(|effect| matches!(effect, Effect::Append { .. })).count();
    }
    assert_eq!(appended, 128);
    let next = all_asked(&bench.hear(Input::RangeEnded { process: PROCESS, peer: 1, useful: true }));
    assert_eq!(next, [], "what comes next is on its way already");
    // Room that is given back is there for others.
    for number in 100..200 {
        bench.hear(Input::Unfollow { process: Id([number; 32]) });
    }
    assert_eq!((bench.follower.held, sum(&bench)), (0, 0));
    bench.record(links[300]);
    assert_eq!(bench.follower.held, BYTES);
    bench.hear(Input::PersistFailed { process: PROCESS });
    assert_eq!(bench.follower.held, 0);
}

#[test]
fn peers_that_are_silent_keep_nobody_else_from_being_asked() {
    let links = log(1, 1_000);
    let mut bench = Bench::new(Some(links[0]));
    for peer in 1..=5 {
        bench.hear(head(1_000, peer));
    }
    let silent: BTreeSet<u8> = bench.follower.logs[&PROCESS].asking.keys().copied().collect();
    assert_eq!(silent.len(), ASKS_MAX);
    bench.now = bench.now.plus_ms(HEDGE_MS);
    let late = all_asked(&bench.hear(Input::Tick));
    assert!(late.iter().any(|(peer, from, _)| !silent.contains(peer) && *from == 1), "{late:?}");
    // And not without end.
    for round in 0..20 {
        for peer in 10..30 {
            bench.hear(head(1_000, peer));
        }
        bench.now = bench.now.plus_ms(HEDGE_MS);
        bench.hear(Input::Tick);
        assert!(bench.follower.logs[&PROCESS].asking.len() <= 2 * ASKS_MAX, "round {round}");
    }
}

/// Ten thousand slots from four peers, of which one is slow, one answers nothing and one loses half, while
/// the log grows: virtual time.
#[test]
fn ten_thousand_slots_are_caught_up_from_several_peers_while_the_log_grows() {
    let total = 10_000;
    let links = log(1, total + 500);
    let mut bench = Bench::new(Some(links[0]));
    let mut ends: BTreeMap<u64, Vec<(u8, u64, u64)>> = BTreeMap::new();
    let (mut grown, mut dice) = (total, 7_u64);
    let began = bench.now.0;
    while bench.follower.next_slot(&PROCESS) < Some(total + 500) {
        assert!(bench.now.0 - began < 120_000, "at {:?}", bench.follower.next_slot(&PROCESS));
        let mut effects = Vec::new();
        if grown < total + 500 {
            effects.extend(bench.record(links[grown as usize]));
            grown += 1;
            effects.extend((1..=4).flat_map(|peer| bench.hear(head(grown - 1, peer))));
        }
        for (peer, from, to) in ends.remove(&bench.now.0).unwrap_or_default() {
            dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let useful = peer != 3 && (peer != 4 || dice >> 63 == 0);
            for slot in (from..=to).filter(|_| useful) {
                effects.extend(bench.record(links[slot as usize]));
            }
            effects.extend(bench.hear(Input::RangeEnded { process: PROCESS, peer, useful }));
        }
        effects.extend(bench.hear(Input::Tick));
        let mut open = BTreeMap::new();
        for (peer, from, to) in all_asked(&effects) {
            assert!(open.insert(peer, from).is_none(), "{peer} has one question at a time");
            let takes = if peer == 2 { 3_000 } else { 100 };
            ends.entry(bench.now.0 + takes).or_default().push((peer, from, to));
        }
        assert!(ends.values().flatten().count() <= ASKS_MAX);
        bench.now = bench.now.plus_ms(100);
    }
}

#[test]
fn what_was_said_before_confirms_nothing_unless_the_scheduler_says_it() {
    let links = log(1, 5);
    let mut bench = Bench::new(Some(links[3]));
    let confirmed = |effects: Vec<Effect<u8, ()>>| {
        effects.into_iter().any(|effect| matches!(effect, Effect::Confirmed { .. }))
    };
    assert!(!confirmed(bench.hear(head(2, 1))), "anybody may repeat an old head");
    assert!(confirmed(bench.hear(head(3, 1))));
    assert!(confirmed(bench.hear(head(7, 2))));
    assert!(confirmed(bench.hear(head(2, 9))));
    // Nor does a slot that is there already: only what is appended counts.
    let repeated = bench.record(links[3]);
    assert!(!repeated.iter().any(|effect| matches!(effect, Effect::Append { .. })), "{repeated:?}");
    assert!(!confirmed(repeated));
}

#[test]
fn a_source_that_always_fails_is_still_asked_now_and_then() {
    let mut bench = Bench::new(Some(log(1, 3)[2]));
    bench.hear(head(9, 2));
    for _ in 0..40 {
        let Some((2, ..)) = asked(&bench.wait()) else { panic!("it is not asked any more") };
        bench.hear(Input::RangeEnded { process: PROCESS, peer: 2, useful: false });
    }
}

#[test]
fn where_two_logs_part_the_other_version_is_fetched_and_compared() {
    let (ours, theirs) = (log(1, 3), log(2, 5));
    let mut bench = Bench::new(Some(ours[2]));
    bench.hear(Input::Source { process: PROCESS, peer: 4 });
    bench.hear(head(3, 5));
    let effects = bench.record(theirs[3]);
    assert!(effects.contains(&Effect::Unlinked { process: PROCESS, slot: 3 }), "{effects:?}");
    assert_eq!(asked(&effects), Some((5, 2, 2)), "5 has more than we do");
    // It may be on our side all the same: then the next one is asked, and not at once.
    let same = bench.record(ours[2]);
    assert!(same.is_empty(), "{same:?}");
    assert_eq!(asked(&bench.hear(Input::RangeEnded { process: PROCESS, peer: 5, useful: true })), None);
    assert_eq!(asked(&bench.wait()).map(|(_, from, to)| (from, to)), Some((2, 2)));
    let record = Record { link: theirs[2], bytes: BYTES, body: () };
    assert_eq!(bench.record(theirs[2]), [Effect::Compare { process: PROCESS, record }]);
    bench.hear(Input::RangeEnded { process: PROCESS, peer: 4, useful: true });
    assert_eq!(asked(&bench.wait()), None, "what had to be proven is proven");
    assert_eq!(bench.record(theirs[4]), [], "nothing of the other log is appended");
    assert_eq!(bench.follower.next_slot(&PROCESS), Some(3));
}

#[test]
fn a_fork_that_nobody_can_prove_is_not_asked_about_for_ever() {
    let (ours, theirs) = (log(1, 3), log(2, 5));
    let mut bench = Bench::new(Some(ours[2]));
    bench.hear(head(3, 5));
    bench.record(theirs[3]);
    let mut asks = 1;
    loop {
        bench.hear(Input::RangeEnded { process: PROCESS, peer: 5, useful: true });
        if asked(&bench.wait()).is_none() {
            break;
        }
        asks += 1;
        assert!(asks <= SOURCES_MAX, "{asks} asks");
    }
}

#[test]
fn after_a_failed_write_the_log_is_read_again_and_its_holes_asked_for() {
    let links = log(1, 4);
    let mut bench = Bench::new(Some(links[0]));
    bench.hear(head(1, 5));
    bench.record(links[1]);
    let failed = bench.hear(Input::PersistFailed { process: PROCESS });
    assert_eq!(failed, [Effect::Reload { process: PROCESS }]);
    bench.hear(Input::Follow { process: PROCESS, head: Some(links[0]) });
    assert_eq!(asked(&bench.wait()), Some((5, 1, 1)));
}
