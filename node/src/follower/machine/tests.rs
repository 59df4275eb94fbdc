//! The follower by hand: peers are numbers, and a record has no body.
#![allow(clippy::panic)]

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
        self.hear(Input::Record { process: PROCESS, record: Record { link, body: () } })
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
    let record = Record { link: theirs[2], body: () };
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
