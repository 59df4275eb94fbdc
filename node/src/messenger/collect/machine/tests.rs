//! When somebody is asked, and when nobody is.

use super::*;

const P: Id = Id([1; 32]);

struct Bench {
    machine: Collector,
    now: Now,
    /// Who was asked last, if he alone was.
    ahead: Option<Address>,
}

impl Bench {
    /// A process of which everything up to slot 9 is here, in time and place.
    fn new() -> Self {
        let mut bench = Self { machine: Collector::default(), now: Now(1_000_000), ahead: None };
        assert!(!bench.tell(carry(9, 9)));
        bench
    }

    /// Whether somebody is then asked.
    fn tell(&mut self, input: Input) -> bool {
        let mut effects = Effects::new();
        self.machine.handle(input, self.now, &mut effects);
        let asked: Vec<Effect> = effects.drain().collect();
        assert!(asked.len() < 2);
        let Some(Effect::Ask { process, ahead }) = asked.first() else { return false };
        assert_eq!(*process, P);
        self.ahead = *ahead;
        true
    }

    /// Whom alone, when it is told of an attestation.
    fn hear(&mut self, slot: u64, attestor: u8) -> Option<Address> {
        self.tell(heard(slot, attestor)).then_some(self.ahead).flatten()
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
    Input::Signed { process: P, position: Position::slot(slot), is_first: true }
}

const fn heard(slot: u64, attestor: u8) -> Input {
    let attestor = Address([attestor; 32]);
    Input::Heard { process: P, position: Position::slot(slot), attestor, is_first: true }
}

/// The same of a position that others are to carry first.
const fn of_others(input: Input) -> Input {
    match input {
        Input::Heard { process, position, attestor, .. } => {
            Input::Heard { process, position, attestor, is_first: false }
        }
        Input::Signed { process, position, .. } => Input::Signed { process, position, is_first: false },
        input => input,
    }
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
    let position = Position { tick: 1, ..Position::slot(12) };
    let tick = Input::Signed { process: P, position, is_first: true };
    assert!(!bench.tell(tick));
    assert!(bench.tell(grew(13)));
    assert!(!bench.tell(asked(Came::Took { to: position, more: false })));
    assert!(!bench.machine.wants(&P, Position::slot(12)) && bench.machine.wants(&P, Position::slot(13)));
}

#[test]
fn whoever_signed_first_is_asked_while_the_others_compute() {
    let mut bench = Bench::new();
    let [one, two] = [1, 2].map(|number| Some(Address([number; 32])));
    // Its slot is not here yet.
    assert_eq!(bench.hear(10, 1), None);
    assert!(bench.tell(grew(10)));
    assert_eq!(bench.ahead, one);
    // Neither the next of them nor the quorum asks once more.
    assert!(!bench.tell(heard(10, 2)) && !bench.tell(signed(10)));
    assert!(!bench.tell(took(10, false)) && !bench.after(600_000));
    // While it is asked another signs the next position.
    assert!(!bench.tell(grew(12)));
    assert_eq!(bench.hear(11, 1), one);
    assert_eq!(bench.hear(12, 2), None);
    assert!(bench.tell(took(11, false)));
    assert_eq!(bench.ahead, two);
    assert!(!bench.tell(took(12, false)));
    // Of a process that has to sign alone it is sure to have it too.
    bench.tell(grew(13));
    assert_eq!(bench.hear(13, 1), one);
    assert!(!bench.tell(signed(13)) && !bench.tell(took(13, false)));
}

#[test]
fn whoever_is_not_first_to_carry_it_asks_a_moment_later() {
    let mut bench = Bench::new();
    bench.tell(grew(12));
    assert!(!bench.tell(of_others(heard(10, 1))));
    // Neither a quorum nor what comes after it makes that longer or shorter.
    assert!(!bench.after(LATER_MS - 1) && !bench.tell(of_others(signed(10))));
    assert!(!bench.tell(of_others(heard(11, 2))));
    assert!(bench.after(1));
    assert!(!bench.tell(of_others(heard(12, 1))));
    assert!(!bench.tell(took(11, false)));
    assert!(!bench.after(LATER_MS - 1) && bench.after(1));
    assert!(!bench.tell(took(12, false)) && !bench.after(600_000));
    bench.tell(grew(14));
    // What is its own to carry first is asked for at once, and all before it with that.
    assert!(!bench.tell(of_others(heard(13, 1))));
    assert!(bench.tell(heard(14, 1)));
    assert!(!bench.tell(took(14, false)) && !bench.after(600_000));
    bench.tell(grew(15));
    // One that was asked in vain is not waited for: the others are asked at once.
    assert!(!bench.tell(of_others(heard(15, 1))) && !bench.tell(of_others(signed(15))));
    assert!(bench.after(LATER_MS));
    assert!(bench.tell(asked(Came::Nothing)));
    assert_eq!(bench.ahead, None);
}

#[test]
fn whoever_signs_and_gives_nothing_holds_up_little() {
    let mut bench = Bench::new();
    bench.tell(grew(10));
    assert!(bench.hear(10, 1).is_some());
    // The others have signed: they are asked at once.
    assert!(!bench.tell(signed(10)));
    assert!(bench.tell(asked(Came::Nothing)));
    assert_eq!(bench.ahead, None);
    assert!(!bench.tell(took(10, false)));
    // It goes on so: ever more rarely somebody is asked ahead of the others, whoever that is.
    let (mut rests, mut slot) = (Vec::new(), 10);
    for _ in 0..9 {
        let since = bench.now;
        loop {
            slot += 1;
            bench.tell(grew(slot));
            if bench.hear(slot, 2).is_some() {
                break;
            }
            assert!(bench.tell(signed(slot)));
            assert!(!bench.tell(took(slot, false)));
            bench.now = bench.now.plus_ms(100);
        }
        rests.push(bench.now.0 - since.0);
        assert!(!bench.tell(asked(Came::Nothing)), "its word alone is no reason to ask it again");
        assert!(bench.tell(signed(slot)));
        assert!(!bench.tell(took(slot, false)));
    }
    assert_eq!(rests[..3], [500, 1_000, 2_000]);
    assert_eq!(rests[8], WAIT_MS_MAX);
}

#[test]
fn what_is_signed_while_somebody_is_asked_in_vain_is_asked_for_at_once() {
    let mut bench = Bench::new();
    bench.tell(grew(11));
    assert!(bench.tell(signed(10)));
    assert!(!bench.tell(signed(11)));
    assert!(bench.tell(asked(Came::Nothing)), "another position has a quorum by now");
    assert!(!bench.tell(asked(Came::Nothing)));
    assert_eq!(bench.wait(), WAIT_MS_MIN);
    // Too much waits to be pushed: nobody is asked ahead of a quorum either.
    assert!(!bench.tell(took(11, false)));
    bench.tell(grew(12));
    assert!(bench.hear(12, 1).is_some());
    assert!(!bench.tell(asked(Came::Full)) && bench.hear(12, 2).is_none());
    assert_eq!(bench.wait(), FULL_MS);
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
    let mut bench = Bench { machine: Collector::default(), now: Now(5), ahead: None };
    // With nothing of the log nothing can be checked against it.
    assert!(!bench.tell(Input::Carry { process: P, to: None, head: None }));
    assert!(bench.tell(grew(5_000)));
    assert!(bench.tell(took(1_000, true)) && bench.tell(took(2_000, true)));
    assert!(!bench.tell(took(5_000, true)), "all is here");
    // After a restart.
    let mut bench = Bench { machine: Collector::default(), now: Now(5), ahead: None };
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
        for Effect::Ask { process, .. } in some {
            assert!(asked.insert(process));
            machine.handle(Input::Asked { process, came: Came::Nothing }, Now(2), &mut effects);
        }
    }
    assert_eq!((asked.len(), machine.asking), (all, 0));
}
