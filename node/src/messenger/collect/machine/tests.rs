//! When somebody is asked, and when nobody is.

use super::*;

const P: Id = Id([1; 32]);

struct Bench {
    machine: Collector,
    now: Now,
}

impl Bench {
    /// A process of which everything up to slot 9 is here, in time and place.
    fn new() -> Self {
        let mut bench = Self { machine: Collector::default(), now: Now(1_000_000) };
        assert!(!bench.tell(carry(9, 9)));
        bench
    }

    /// Whether somebody is then asked.
    fn tell(&mut self, input: Input) -> bool {
        let mut effects = Effects::new();
        self.machine.handle(input, self.now, &mut effects);
        let asked: Vec<Effect> = effects.drain().collect();
        assert!(asked.iter().all(|effect| *effect == Effect::Ask { process: P }) && asked.len() < 2);
        !asked.is_empty()
    }

    fn after(&mut self, ms: u64) -> bool {
        self.now = self.now.plus_ms(ms);
        self.tell(Input::Tick)
    }

    /// How long until somebody is asked.
    fn wait(&mut self) -> u64 {
        let since = self.now;
        while !self.after(100) {
            assert!(self.now.0 - since.0 < 10 * WAIT_MS_MAX, "nobody is asked");
        }
        self.now.0 - since.0
    }
}

const fn carry(to: u64, head: u64) -> Input {
    Input::Carry { process: P, to: Some(Position::slot(to)), head: Some(head) }
}

const fn grew(head: u64) -> Input {
    Input::Grew { process: P, head }
}

const fn signed(slot: u64) -> Input {
    Input::Signed { process: P, position: Position::slot(slot) }
}

const fn asked(came: Came) -> Input {
    Input::Asked { process: P, came }
}

const fn took(slot: u64, more: bool) -> Input {
    asked(Came::Took { to: Position::slot(slot), more })
}

#[test]
fn what_a_quorum_signed_is_asked_for_at_once_and_once_its_slot_is_here() {
    let mut bench = Bench::new();
    assert!(!bench.tell(grew(10)));
    assert!(bench.tell(signed(10)));
    // While somebody is asked nobody else is.
    assert!(!bench.tell(grew(11)) && !bench.tell(signed(11)) && !bench.after(60_000));
    assert!(bench.tell(took(10, false)), "the next is signed already");
    assert!(!bench.tell(took(11, false)) && !bench.tell(signed(11)) && !bench.after(600_000));
    // Signed before its slot came.
    assert!(!bench.tell(signed(12)) && !bench.after(600_000));
    assert!(bench.tell(grew(12)));
    assert!(!bench.tell(took(12, false)));
    // A tick is known with the slot after it.
    let tick = Input::Signed { process: P, position: Position { tick: 1, ..Position::slot(12) } };
    assert!(!bench.tell(tick));
    assert!(bench.tell(grew(13)));
    let to = Position { tick: 1, ..Position::slot(12) };
    assert!(!bench.tell(asked(Came::Took { to, more: false })));
    assert!(!bench.machine.wants(&P, Position::slot(12)) && bench.machine.wants(&P, Position::slot(13)));
}

#[test]
fn what_nobody_heard_of_is_asked_for_anyway_and_ever_more_rarely() {
    let mut bench = Bench::new();
    bench.tell(grew(10));
    assert_eq!(bench.wait(), POLL_MS);
    let (mut last, mut head) = (0, 10);
    for _ in 0..12 {
        assert!(!bench.tell(asked(Came::Nothing)));
        // A log that grows on asks no sooner.
        head += 1;
        bench.tell(grew(head));
        let wait = bench.wait();
        assert!(wait >= last.max(POLL_MS), "{wait} after {last}");
        last = wait;
    }
    assert_eq!(last, WAIT_MS_MAX);
    // What is heard of is asked for at once again.
    bench.tell(asked(Came::Nothing));
    assert!(bench.tell(signed(11)));
    bench.tell(asked(Came::Nothing));
    assert!(bench.wait() <= WAIT_MS_MIN);
}

#[test]
fn whoever_was_away_asks_until_nothing_is_left() {
    let mut bench = Bench { machine: Collector::default(), now: Now(5) };
    // With nothing of the log nothing can be checked against it.
    assert!(!bench.tell(Input::Carry { process: P, to: None, head: None }));
    assert!(bench.tell(grew(5_000)));
    assert!(bench.tell(took(1_000, true)) && bench.tell(took(2_000, true)));
    assert!(!bench.tell(took(5_000, true)), "all is here");
    // After a restart.
    let mut bench = Bench { machine: Collector::default(), now: Now(5) };
    assert!(bench.tell(carry(9, 5_000)));
    // Too much waits to be pushed: later.
    assert!(!bench.tell(asked(Came::Full)));
    assert_eq!(bench.wait(), FULL_MS);
}

#[test]
fn what_is_dropped_is_asked_for_no_more_and_begun_anew_from_where_it_was_told() {
    let mut bench = Bench::new();
    assert!(bench.tell(grew(10)) || bench.tell(signed(10)));
    bench.tell(Input::Drop { process: P });
    assert!(!bench.tell(took(10, true)) && !bench.after(600_000));
    assert_eq!(bench.machine.asking, 0);
    assert!(bench.tell(carry(3, 10)));
    // It is told of another place meanwhile: what was asked for is of no use.
    assert!(!bench.tell(carry(7, 10)));
    assert!(bench.tell(took(5, false)));
    assert_eq!(bench.machine.kept[&P].to, Some(Position::slot(7)));
}

#[test]
fn few_are_asked_for_at_once_and_all_have_their_turn() {
    let (mut machine, mut effects) = (Collector::default(), Effects::new());
    let id = |number: usize| Id([number as u8; 32]);
    let all = 3 * ASKS_MAX;
    for number in 0..all {
        let input = Input::Carry { process: id(number), to: None, head: Some(1) };
        machine.handle(input, Now(1), &mut effects);
    }
    let mut asked = BTreeSet::new();
    for round in 1..=3 {
        let some: Vec<Effect> = effects.drain().collect();
        assert_eq!(some.len(), ASKS_MAX, "round {round}");
        for Effect::Ask { process } in some {
            assert!(asked.insert(process));
            machine.handle(Input::Asked { process, came: Came::Nothing }, Now(2), &mut effects);
        }
    }
    assert_eq!((asked.len(), machine.asking), (all, 0));
}
