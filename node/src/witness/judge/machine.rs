//! Which attestors are judged by a replay: two of them that contradict each other convict nobody until one has
//! run (RULES.md 6.18).
//!
//! A replay costs what messages cost, and whoever attests falsely asks for one. So they come one at a time, a
//! position is replayed once, and a key that was found wrong a few times is argued with no more: as one of two
//! that contradict each other is wrong, that bounds the replays of a process. All share the gas of an hour.

use std::collections::BTreeMap;

use weft_protocol::attestation::Statement;
use weft_protocol::{Address, Effects, Hash, Id, Machine, Now, Position};

use crate::compute::machine::Allowance;

/// Judgements of one key in one process; what it says beyond them is not looked at.
pub const JUDGED_PER_KEY_MAX: usize = 4;
/// Positions that may wait for a replay; one more is left alone.
pub const WAITING_MAX: usize = 64;
/// Of those, of one process: its attestors hold up nobody else's.
pub const WAITING_PER_PROCESS_MAX: usize = 4;
/// Times that a replay which cannot be had yet is tried soon, for some eight minutes.
pub const TRIES_MAX: u32 = 10;
/// The first wait until it is tried again, in milliseconds; doubled each time.
pub const RETRY_MS_MIN: u64 = 500;

/// How long one is left alone that could not be had by then, in milliseconds: this node may have a long log to compute
/// first.
pub const LATE_MS: u64 = 15 * 60_000;
/// Times that it is tried in all: for about a week.
pub const LATE_TRIES_MAX: u32 = TRIES_MAX + 7 * 24 * 4;
/// Such positions; one more is given up at once.
pub const LATE_MAX: usize = 256;

/// A place in a process.
pub type Place = (Id, Position);

/// Who attested what of one position: each key's statement by its hash.
pub type Said = Vec<(Address, Hash)>;

/// What the judge hears.
#[derive(Debug)]
pub enum Input {
    /// A key was found wrong in an earlier life.
    Recover {
        /// In which process.
        process: Id,
        /// Whose.
        attestor: Address,
    },
    /// What is known to be said of a position. All of them are attestors that the process names.
    Said {
        /// Of which.
        place: Place,
        /// What.
        said: Said,
    },
    /// A replay ended.
    Replayed {
        /// Of which position.
        place: Place,
        /// What it came to.
        found: Found,
        /// What is said of the position by now.
        said: Said,
        /// The gas that it used.
        gas: u64,
    },
    /// A judgement is not on disk.
    NotKept {
        /// In which process.
        process: Id,
        /// Of whom.
        attestor: Address,
    },
    /// Time passed.
    Tick,
}

/// What a replay came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Found {
    /// What an honest attestor signs there.
    Truth(Statement),
    /// The log goes further, and there is no such position in it.
    NoPosition,
    /// It cannot be had yet.
    Later,
    /// It cannot be had.
    Never,
}

/// What the judge asks for.
#[derive(Debug, PartialEq, Eq)]
pub enum Effect {
    /// Evaluate this position again, with at most what is left of the gas; answer with `Replayed`.
    Replay(Place),
    /// This key was wrong: keep what it said, and what there is against it, and tell people. Answered with
    /// `NotKept` if that fails.
    Judge {
        /// Of which position.
        place: Place,
        /// Who.
        attestor: Address,
        /// What is true; nothing if there is no such position.
        truth: Option<Statement>,
    },
}

/// A position that waits for its replay.
#[derive(Debug, Clone, Copy)]
struct Waiting {
    turn: u64,
    due: Now,
    tries: u32,
}

/// A position that is not replayed again.
#[derive(Debug)]
enum Settled {
    /// What is true, and who was judged by it.
    Truth(Option<Statement>, Vec<Address>),
    GivenUp,
}

/// Judges attestors of any number of processes.
#[derive(Debug)]
pub struct Judge {
    waiting: BTreeMap<Place, Waiting>,
    /// Those that could not be had soon.
    late: BTreeMap<Place, Waiting>,
    running: Option<(Place, u32)>,
    /// At most [`JUDGED_PER_KEY_MAX`] for each attestor, and those that were given up.
    settled: BTreeMap<Place, Settled>,
    wrong: BTreeMap<(Id, Address), usize>,
    allowance: Option<Allowance>,
    turns: u64,
}

impl Judge {
    /// One whose replays share this gas, if it is limited.
    pub const fn new(allowance: Option<Allowance>) -> Self {
        Self {
            waiting: BTreeMap::new(),
            late: BTreeMap::new(),
            running: None,
            settled: BTreeMap::new(),
            wrong: BTreeMap::new(),
            allowance,
            turns: 0,
        }
    }

    fn is_heard(&self, process: Id, attestor: Address) -> bool {
        self.wrong.get(&(process, attestor)).is_none_or(|wrong| *wrong < JUDGED_PER_KEY_MAX)
    }

    fn said(&mut self, place: Place, mut said: Said, now: Now, effects: &mut Effects<Effect>) {
        said.retain(|(attestor, _)| self.is_heard(place.0, *attestor));
        if self.settled.contains_key(&place) {
            return self.judge(place, &said, effects);
        }
        let agree = said.windows(2).all(|pair| pair[0].1 == pair[1].1);
        let is_running = self.running.is_some_and(|(running, _)| running == place);
        let is_under_way = is_running || self.late.contains_key(&place);
        let of_process = self.waiting.keys().filter(|(process, _)| *process == place.0).count();
        let has_room = self.waiting.len() < WAITING_MAX && of_process < WAITING_PER_PROCESS_MAX;
        if !agree && !is_under_way && has_room {
            self.turns += 1;
            self.waiting.entry(place).or_insert(Waiting { turn: self.turns, due: now, tries: 0 });
        }
    }

    /// Judges all that said something else than is true.
    fn judge(&mut self, place: Place, said: &Said, effects: &mut Effects<Effect>) {
        let Some(Settled::Truth(truth, judged)) = self.settled.get_mut(&place) else { return };
        let name = truth.map(|truth| truth.hash());
        for (attestor, statement) in said {
            if Some(*statement) == name || judged.contains(attestor) {
                continue;
            }
            judged.push(*attestor);
            *self.wrong.entry((place.0, *attestor)).or_default() += 1;
            effects.push(Effect::Judge { place, attestor: *attestor, truth: *truth });
        }
    }

    fn replayed(
        &mut self,
        place: Place,
        (found, said): (Found, Said),
        now: Now,
        effects: &mut Effects<Effect>,
    ) {
        let Some((_, tries)) = self.running.take_if(|(running, _)| *running == place) else { return };
        let settled = match found {
            Found::Later if tries < TRIES_MAX => {
                let due = now.plus_ms(RETRY_MS_MIN << tries.min(16));
                self.turns += 1;
                self.waiting.insert(place, Waiting { turn: self.turns, due, tries });
                return;
            }
            Found::Later if tries < LATE_TRIES_MAX && self.late.len() < LATE_MAX => {
                self.turns += 1;
                self.late.insert(place, Waiting { turn: self.turns, due: now.plus_ms(LATE_MS), tries });
                return;
            }
            Found::Later | Found::Never => Settled::GivenUp,
            Found::Truth(truth) => Settled::Truth(Some(truth), Vec::new()),
            Found::NoPosition => Settled::Truth(None, Vec::new()),
        };
        self.settled.insert(place, settled);
        let said = said.into_iter().filter(|(attestor, _)| self.is_heard(place.0, *attestor)).collect();
        self.judge(place, &said, effects);
    }

    fn start(&mut self, now: Now, effects: &mut Effects<Effect>) {
        let first = |of: &BTreeMap<Place, Waiting>| {
            let due = of.iter().filter(|(_, waiting)| waiting.due <= now);
            due.min_by_key(|(_, waiting)| waiting.turn).map(|(place, _)| *place)
        };
        // Those that are late come when no other is due.
        let Some(place) = first(&self.waiting).or_else(|| first(&self.late)) else { return };
        let may = self.allowance.as_mut().is_none_or(|allowance| allowance.has_some(now));
        if self.running.is_none()
            && may
            && let Some(waiting) = self.waiting.remove(&place).or_else(|| self.late.remove(&place))
        {
            self.running = Some((place, waiting.tries + 1));
            effects.push(Effect::Replay(place));
        }
    }
}

impl Machine for Judge {
    type Input = Input;
    type Effect = Effect;

    fn handle(&mut self, input: Input, now: Now, effects: &mut Effects<Effect>) {
        match input {
            Input::Recover { process, attestor } => {
                *self.wrong.entry((process, attestor)).or_default() += 1;
            }
            Input::Said { place, said } => self.said(place, said, now, effects),
            Input::Replayed { place, found, said, gas } => {
                if let Some(allowance) = &mut self.allowance {
                    allowance.spend(gas);
                }
                self.replayed(place, (found, said), now, effects);
            }
            Input::NotKept { process, attestor } => {
                if let Some(wrong) = self.wrong.get_mut(&(process, attestor)) {
                    *wrong = wrong.saturating_sub(1);
                }
            }
            Input::Tick => {}
        }
        self.start(now, effects);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use weft_protocol::Network;

    use super::*;

    const PROCESS: Id = Id([1; 32]);
    const NONE: [Effect; 0] = [];

    fn place(slot: u64) -> Place {
        (PROCESS, Position::slot(slot))
    }

    fn statement((process, position): Place, running: u8) -> Statement {
        Statement {
            network: Network(7),
            process,
            position,
            assignment: Id([2; 32]),
            running: Hash([running; 32]),
            state_root: Hash::ZERO,
            rules: 0,
        }
    }

    /// Attestors by number, each with the outcome that it signed.
    fn of(place: Place, said: &[(u8, u8)]) -> Said {
        said.iter().map(|(who, what)| (Address([*who; 32]), statement(place, *what).hash())).collect()
    }

    fn hear(judge: &mut Judge, input: Input, now: u64) -> Vec<Effect> {
        let mut effects = Effects::new();
        judge.handle(input, Now(now), &mut effects);
        effects.drain().collect()
    }

    fn said(judge: &mut Judge, place: Place, said: &[(u8, u8)]) -> Vec<Effect> {
        hear(judge, Input::Said { place, said: of(place, said) }, 0)
    }

    fn replayed(judge: &mut Judge, place: Place, found: Found, said: &[(u8, u8)]) -> Vec<Effect> {
        hear(judge, Input::Replayed { place, found, said: of(place, said), gas: 10 }, 0)
    }

    fn wrong(place: Place, who: u8, truth: u8) -> Effect {
        Effect::Judge { place, attestor: Address([who; 32]), truth: Some(statement(place, truth)) }
    }

    #[test]
    fn whoever_a_replay_contradicts_is_wrong_and_a_position_is_replayed_once() {
        let mut judge = Judge::new(None);
        let at = place(5);
        assert_eq!(said(&mut judge, at, &[(1, 7), (2, 7)]), NONE, "they agree");
        assert_eq!(said(&mut judge, at, &[(1, 7), (2, 7), (3, 8)]), [Effect::Replay(at)]);
        assert_eq!(said(&mut judge, at, &[(1, 7), (3, 8)]), NONE, "it is under way");
        let truth = Found::Truth(statement(at, 7));
        assert_eq!(replayed(&mut judge, at, truth, &[(1, 7), (2, 7), (3, 8)]), [wrong(at, 3, 7)]);
        // Whoever says it later is judged by the same replay, and each once.
        assert_eq!(said(&mut judge, at, &[(1, 7), (3, 8), (4, 9)]), [wrong(at, 4, 7)]);
        assert_eq!(said(&mut judge, at, &[(1, 7), (3, 8), (4, 9)]), NONE);
        // It may contradict all, and a position may not be there at all.
        let other = place(6);
        assert_eq!(said(&mut judge, other, &[(1, 7), (2, 8)]), [Effect::Replay(other)]);
        let judged = replayed(&mut judge, other, Found::NoPosition, &[(1, 7), (2, 8)]);
        let none = |who: u8| Effect::Judge { place: other, attestor: Address([who; 32]), truth: None };
        assert_eq!(judged, [none(1), none(2)]);
    }

    #[test]
    fn a_key_that_is_wrong_again_and_again_is_argued_with_no_more_also_not_in_another_life() {
        let mut judge = Judge::new(None);
        hear(&mut judge, Input::Recover { process: PROCESS, attestor: Address([3; 32]) }, 0);
        let replays = (0..40).filter(|slot| {
            let at = place(*slot);
            let effects = said(&mut judge, at, &[(1, 7), (3, 8)]);
            replayed(&mut judge, at, Found::Truth(statement(at, 7)), &[(1, 7), (3, 8)]);
            effects == [Effect::Replay(at)]
        });
        assert_eq!(replays.count(), JUDGED_PER_KEY_MAX - 1);
        // Others are.
        assert_eq!(said(&mut judge, place(50), &[(1, 7), (2, 8)]), [Effect::Replay(place(50))]);
        // What was not kept does not count.
        hear(&mut judge, Input::NotKept { process: PROCESS, attestor: Address([3; 32]) }, 0);
        replayed(&mut judge, place(50), Found::Never, &[]);
        assert_eq!(said(&mut judge, place(51), &[(1, 7), (3, 8)]), [Effect::Replay(place(51))]);
    }

    #[test]
    fn replays_come_one_at_a_time_few_wait_and_no_process_keeps_out_the_others() {
        let mut judge = Judge::new(None);
        let lies = [(1, 7), (2, 8)];
        assert_eq!(said(&mut judge, place(0), &lies), [Effect::Replay(place(0))]);
        (1..40).for_each(|slot| assert_eq!(said(&mut judge, place(slot), &lies), NONE));
        assert_eq!(judge.waiting.len(), WAITING_PER_PROCESS_MAX);
        for process in 2..200 {
            (0..9).for_each(|slot| {
                said(&mut judge, (Id([process; 32]), Position::slot(slot)), &lies);
            });
        }
        assert_eq!(judge.waiting.len(), WAITING_MAX);
        // Who came first comes first.
        let next = replayed(&mut judge, place(0), Found::Never, &lies);
        assert_eq!(next, [Effect::Replay(place(1))]);
        assert_eq!(replayed(&mut judge, place(9), Found::Never, &lies), NONE, "nobody asked for it");
    }

    #[test]
    fn one_that_cannot_be_had_yet_is_tried_again_and_given_up_in_the_end() {
        let mut judge = Judge::new(None);
        let (at, lies) = (place(3), [(1, 7), (2, 8)]);
        said(&mut judge, at, &lies);
        let mut now = 0;
        for tries in 1..TRIES_MAX {
            let later = Input::Replayed { place: at, found: Found::Later, said: of(at, &lies), gas: 0 };
            assert_eq!(hear(&mut judge, later, now), NONE);
            now += RETRY_MS_MIN << tries;
            assert_eq!(hear(&mut judge, Input::Tick, now - 1), NONE, "{tries}");
            assert_eq!(hear(&mut judge, Input::Tick, now), [Effect::Replay(at)], "{tries}");
        }
        // What could not be had soon is tried now and then, for days, and takes nobody's place.
        for tries in TRIES_MAX..LATE_TRIES_MAX {
            let later = Input::Replayed { place: at, found: Found::Later, said: of(at, &lies), gas: 0 };
            assert_eq!(hear(&mut judge, later, now), NONE);
            assert_eq!(said(&mut judge, at, &lies), NONE, "it waits already");
            assert_eq!((judge.waiting.len(), judge.late.len()), (0, 1));
            now += LATE_MS;
            assert_eq!(hear(&mut judge, Input::Tick, now - 1), NONE, "{tries}");
            assert_eq!(hear(&mut judge, Input::Tick, now), [Effect::Replay(at)], "{tries}");
        }
        assert!(now > 7 * 24 * 3_600_000);
        replayed(&mut judge, at, Found::Later, &lies);
        assert_eq!(hear(&mut judge, Input::Tick, u64::MAX / 2), NONE);
        assert_eq!(said(&mut judge, at, &lies), NONE);
    }

    #[test]
    fn those_that_are_late_are_bounded_and_come_after_the_others() {
        let mut judge = Judge::new(None);
        let lies = [(1, 7), (2, 8)];
        let mut now = 0;
        for slot in 0..=LATE_MAX as u64 {
            let at = place(slot);
            said(&mut judge, at, &lies);
            for _ in 0..TRIES_MAX {
                let later = Input::Replayed { place: at, found: Found::Later, said: of(at, &lies), gas: 0 };
                hear(&mut judge, later, now);
                // The others that are late are not due as long as time does not pass for them.
                judge.late.values_mut().for_each(|waiting| waiting.due = Now(u64::MAX));
                now += RETRY_MS_MIN << TRIES_MAX;
                hear(&mut judge, Input::Tick, now);
            }
        }
        assert_eq!((judge.late.len(), judge.waiting.len()), (LATE_MAX, 0));
        assert!(judge.running.is_none());
        judge.late.values_mut().for_each(|waiting| waiting.due = Now(0));
        let next = place(9_999);
        assert_eq!(said(&mut judge, next, &lies), [Effect::Replay(next)]);
    }

    #[test]
    fn without_gas_none_begins() {
        let mut judge = Judge::new(Some(Allowance::new(10)));
        let lies = [(1, 7), (2, 8)];
        assert_eq!(said(&mut judge, place(1), &lies), [Effect::Replay(place(1))]);
        said(&mut judge, place(2), &lies);
        assert_eq!(replayed(&mut judge, place(1), Found::Never, &lies), NONE);
        assert_eq!(hear(&mut judge, Input::Tick, 3_600_000 / 10), [Effect::Replay(place(2))]);
    }
}
