//! Ledgers that are not computed here: which of them are asked for what they said, and when.
//!
//! Pure. Those that the operator names have a place while they owe something, and any where a claim is under way: a challenge
//! that nobody answers costs the bond.

use std::collections::{BTreeMap, BTreeSet};

use weft_protocol::{Id, Now};

/// Ledgers that are asked at once: each answer may have megabytes.
pub const ASKS_MAX: usize = 8;
/// How long after something new, or after a message to it, a ledger is asked again, in milliseconds; doubled each time that
/// nothing new came.
pub const WAIT_MS_MIN: u64 = 1_000;
/// The longest wait where a claim is under way, in milliseconds.
pub const CLAIMED_MS_MAX: u64 = 10_000;
/// How many times at least a ledger is asked, where a claim is under way, while a challenge there can be answered.
const CHALLENGE_PARTS: u64 = 8;
/// The longest wait for another.
pub const OWING_MS_MAX: u64 = 60_000;
/// Answers with more to come that follow each other at once; after so many there is a wait.
const AT_ONCE_MAX: u32 = 64;
/// Every so many times that nothing new came more computers are asked than the next ones.
const WIDE_EVERY: u32 = 2;
/// How long after it was asked a ledger is asked again of which nobody heard what came of that, in milliseconds: asking takes a
/// minute at most, so it failed here.
const LOST_MS: u64 = 120_000;
/// How often what nobody shows is asked for: over more than a minute, by the waits between.
const MISSED_MAX: u32 = 8;

/// A ledger that is to be asked now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Due {
    /// Which.
    pub ledger: Id,
    /// Whether whoever may have computed it is asked, beyond those that are asked first.
    pub is_wide: bool,
}

/// What came of asking.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Came {
    /// Something new was shown.
    Took {
        /// Whether there may be more at once.
        is_more: bool,
    },
    /// It was shown that there is nothing new.
    Same,
    /// Nothing was shown.
    Nothing,
}

#[derive(Debug)]
struct Place {
    next: Now,
    /// How often nothing new came since something did.
    tries: u32,
    /// Answers that followed each other at once.
    at_once: u32,
    /// Since when it is asked.
    asked: Option<Now>,
    is_claimed: bool,
    /// How long it gives for an answer to a challenge, in milliseconds, where that is known.
    challenge_ms: u64,
    /// Whether it was shown in this run what it said last, and nothing was sent since that may have been lost.
    is_shown: bool,
}

impl Place {
    const fn new(now: Now) -> Self {
        let (tries, at_once, challenge_ms) = (0, 0, u64::MAX);
        let (asked, is_claimed, is_shown) = (None, false, false);
        Self { next: now, tries, at_once, asked, is_claimed, challenge_ms, is_shown }
    }

    fn is_asked(&self, now: Now) -> bool {
        self.asked.is_some_and(|asked| now < asked.plus_ms(LOST_MS))
    }

    fn wait_ms(&self) -> u64 {
        let claimed = CLAIMED_MS_MAX.min(self.challenge_ms / CHALLENGE_PARTS).max(WAIT_MS_MIN);
        let most = if self.is_claimed { claimed } else { OWING_MS_MAX };
        WAIT_MS_MIN.checked_shl(self.tries.min(16)).unwrap_or(most).min(most)
    }
}

/// The ledgers that are asked.
#[derive(Debug, Default)]
pub struct Ledgers {
    places: BTreeMap<Id, Place>,
    /// How often nobody showed what is not here of a ledger that is computed here.
    missed: BTreeMap<Id, u32>,
}

impl Ledgers {
    /// Nobody showed what is not here of a ledger that is computed here.
    pub fn missed(&mut self, ledger: Id) {
        let missed = self.missed.entry(ledger).or_default();
        *missed = missed.saturating_add(1);
    }

    /// Forgets that of all others than these.
    pub fn keep_missed(&mut self, claimed: &[Id]) {
        self.missed.retain(|ledger, _| claimed.contains(ledger));
    }

    /// Whether what is not here of a ledger is passed over from now on: it was asked for again and again, and what comes after
    /// it may be a challenge that has to be answered.
    pub fn is_given_up(&self, ledger: &Id) -> bool {
        self.missed.get(ledger).is_some_and(|missed| *missed >= MISSED_MAX)
    }

    /// Those that have a place.
    pub fn all(&self) -> impl Iterator<Item = &Id> {
        self.places.keys()
    }

    /// Whether a ledger has a place.
    pub fn has(&self, ledger: &Id) -> bool {
        self.places.contains_key(ledger)
    }

    /// Whether it was shown in this run what a ledger said last, as far as is known.
    pub fn is_shown(&self, ledger: &Id) -> bool {
        self.places.get(ledger).is_some_and(|place| place.is_shown)
    }

    /// Gives places to those where claims are under way, and to those that are named and owe something. Others have none any
    /// more.
    pub fn keep(&mut self, claimed: &BTreeSet<Id>, owing: &BTreeSet<Id>, now: Now) {
        self.places.retain(|ledger, place| {
            place.is_asked(now) || claimed.contains(ledger) || owing.contains(ledger)
        });
        for ledger in claimed.union(owing) {
            self.places.entry(*ledger).or_insert_with(|| Place::new(now));
        }
        for (ledger, place) in &mut self.places {
            place.is_claimed = claimed.contains(ledger);
        }
    }

    /// How long a ledger gives for an answer to a challenge, in milliseconds.
    pub fn gives(&mut self, ledger: &Id, challenge_ms: u64) {
        if let Some(place) = self.places.get_mut(ledger) {
            place.challenge_ms = challenge_ms;
        }
    }

    /// Those whose time has come, as many as may be asked: first where a challenge may have to be answered.
    pub fn due(&mut self, now: Now) -> Vec<Due> {
        let asked = self.places.values().filter(|place| place.is_asked(now)).count();
        let due = self.places.iter().filter(|(_, place)| !place.is_asked(now) && place.next <= now);
        let mut due: Vec<_> = due.map(|(ledger, place)| (!place.is_claimed, place.next, *ledger)).collect();
        due.sort_unstable();
        due.truncate(ASKS_MAX.saturating_sub(asked));
        let mut all = Vec::new();
        for (_, _, ledger) in due {
            let Some(place) = self.places.get_mut(&ledger) else { continue };
            place.asked = Some(now);
            all.push(Due { ledger, is_wide: place.tries % WIDE_EVERY == WIDE_EVERY - 1 });
        }
        all
    }

    /// What asking a ledger came to.
    pub fn ended(&mut self, ledger: &Id, came: Came, now: Now) {
        if matches!(came, Came::Took { .. }) {
            self.missed.remove(ledger);
        }
        let Some(place) = self.places.get_mut(ledger) else { return };
        place.asked = None;
        // What may follow at once was said, and is not heard.
        place.is_shown = matches!(came, Came::Same | Came::Took { is_more: false });
        match came {
            Came::Took { is_more } => {
                let is_more = is_more && place.at_once < AT_ONCE_MAX;
                place.tries = 0;
                place.at_once = if is_more { place.at_once + 1 } else { 0 };
                place.next = if is_more { now } else { now.plus_ms(WAIT_MS_MIN) };
            }
            Came::Same | Came::Nothing => {
                place.next = now.plus_ms(place.wait_ms());
                place.tries = place.tries.saturating_add(1);
            }
        }
    }

    /// A message to a ledger is not under way any more: it will say something soon. Whether one without an answer `has_slot`
    /// there nobody knows.
    pub fn sent(&mut self, ledger: &Id, has_slot: bool, now: Now) {
        let Some(place) = self.places.get_mut(ledger) else { return };
        place.tries = 0;
        place.is_shown &= has_slot;
        place.next = place.next.min(now.plus_ms(WAIT_MS_MIN));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(numbers: impl IntoIterator<Item = u8>) -> BTreeSet<Id> {
        numbers.into_iter().map(|number| Id([number; 32])).collect()
    }

    const NONE: [u8; 0] = [];
    const ONE: Id = Id([1; 32]);

    fn due(ledgers: &mut Ledgers, now: u64) -> Vec<u8> {
        ledgers.due(Now(now)).iter().map(|due| due.ledger.0[0]).collect()
    }

    fn all(ledgers: &Ledgers) -> Vec<u8> {
        ledgers.all().map(|ledger| ledger.0[0]).collect()
    }

    #[test]
    fn a_ledger_is_asked_ever_later_until_it_says_something_or_is_told_something() {
        let (mut ledgers, none, one) = (Ledgers::default(), BTreeSet::new(), ids([1]));
        ledgers.keep(&one, &none, Now(0));
        assert_eq!(due(&mut ledgers, 0), [1]);
        assert_eq!(due(&mut ledgers, LOST_MS - 1), NONE, "it is asked already");
        let (mut now, mut waits, mut wide) = (0, Vec::new(), Vec::new());
        for _ in 0..6 {
            ledgers.ended(&ONE, Came::Same, Now(now));
            let wait = ledgers.places[&ONE].next.0 - now;
            waits.push(wait);
            assert_eq!(due(&mut ledgers, now + wait - 1), NONE);
            now += wait;
            wide.extend(ledgers.due(Now(now)).iter().map(|due| due.is_wide));
        }
        assert_eq!(waits, [1_000, 2_000, 4_000, 8_000, CLAIMED_MS_MAX, CLAIMED_MS_MAX]);
        assert_eq!(wide, [true, false, true, false, true, false]);
        // Whatever is said to it is answered.
        ledgers.ended(&ONE, Came::Nothing, Now(now));
        ledgers.sent(&ONE, true, Now(now));
        assert_eq!(due(&mut ledgers, now + WAIT_MS_MIN - 1), NONE);
        assert_eq!(due(&mut ledgers, now + WAIT_MS_MIN), [1]);
        // One that always has more is not asked without an end.
        for _ in 0..AT_ONCE_MAX {
            ledgers.ended(&ONE, Came::Took { is_more: true }, Now(now));
            assert_eq!(due(&mut ledgers, now), [1]);
        }
        ledgers.ended(&ONE, Came::Took { is_more: true }, Now(now));
        assert_eq!(due(&mut ledgers, now), NONE);
        assert_eq!(due(&mut ledgers, now + WAIT_MS_MIN), [1]);
        // Where nothing is claimed any more it has no place, once nobody is asked.
        ledgers.keep(&none, &none, Now(now));
        assert_eq!(all(&ledgers), [1]);
        ledgers.ended(&ONE, Came::Nothing, Now(now));
        ledgers.keep(&none, &none, Now(now));
        assert_eq!(all(&ledgers), NONE);
    }

    /// Whatever asks it may fail without a word.
    #[test]
    fn a_ledger_is_asked_again_of_which_nothing_was_heard() {
        let (mut ledgers, none) = (Ledgers::default(), BTreeSet::new());
        ledgers.keep(&ids(0..20), &none, Now(0));
        let first = due(&mut ledgers, 0);
        assert_eq!(due(&mut ledgers, LOST_MS - 1), NONE);
        assert_eq!(due(&mut ledgers, LOST_MS), first);
        ledgers.keep(&none, &none, Now(2 * LOST_MS));
        assert_eq!(all(&ledgers), NONE, "they keep no places");
    }

    #[test]
    fn what_nobody_shows_is_asked_for_so_often() {
        let mut ledgers = Ledgers::default();
        (1..MISSED_MAX).for_each(|_| ledgers.missed(ONE));
        assert!(!ledgers.is_given_up(&ONE));
        ledgers.ended(&ONE, Came::Took { is_more: false }, Now(0));
        (1..MISSED_MAX).for_each(|_| ledgers.missed(ONE));
        assert!(!ledgers.is_given_up(&ONE), "something was shown between");
        ledgers.missed(ONE);
        assert!(ledgers.is_given_up(&ONE));
        ledgers.keep_missed(&[ONE]);
        assert!(ledgers.is_given_up(&ONE));
        ledgers.keep_missed(&[]);
        assert!(!ledgers.is_given_up(&ONE), "nothing is claimed there any more");
    }

    #[test]
    fn a_ledger_that_gives_little_time_for_answers_is_asked_more_often() {
        let (none, one) = (BTreeSet::new(), ids([1]));
        let longest = |challenge_ms, is_claimed: bool| {
            let mut ledgers = Ledgers::default();
            let (claimed, owing) = if is_claimed { (&one, &none) } else { (&none, &one) };
            ledgers.keep(claimed, owing, Now(0));
            ledgers.gives(&ONE, challenge_ms);
            (0..10).for_each(|_| ledgers.ended(&ONE, Came::Same, Now(0)));
            ledgers.places[&ONE].next.0
        };
        assert_eq!(longest(86_400_000, true), CLAIMED_MS_MAX);
        assert_eq!(longest(20_000, true), 2_500);
        assert_eq!(longest(1_000, true), WAIT_MS_MIN);
        assert_eq!(longest(20_000, false), OWING_MS_MAX, "nothing can be lost there");
    }

    #[test]
    fn only_what_was_shown_is_known_and_not_after_what_may_be_lost() {
        let (mut ledgers, none, one) = (Ledgers::default(), BTreeSet::new(), ids([1]));
        ledgers.keep(&none, &one, Now(0));
        let mut after = |came| {
            ledgers.due(Now(u64::MAX));
            ledgers.ended(&ONE, came, Now(0));
            let was = ledgers.is_shown(&ONE);
            ledgers.sent(&ONE, true, Now(0));
            let with_slot = ledgers.is_shown(&ONE);
            ledgers.sent(&ONE, false, Now(0));
            [was, with_slot, ledgers.is_shown(&ONE)]
        };
        assert_eq!(after(Came::Nothing), [false; 3]);
        assert_eq!(after(Came::Took { is_more: true }), [false; 3]);
        assert_eq!(after(Came::Same), [true, true, false]);
        assert_eq!(after(Came::Took { is_more: true }), [false; 3]);
        assert_eq!(after(Came::Took { is_more: false }), [true, true, false]);
        assert_eq!(after(Came::Nothing), [false; 3]);
        assert!(!ledgers.is_shown(&Id([2; 32])));
    }

    #[test]
    fn as_many_are_asked_as_may_be_and_first_where_something_can_be_lost() {
        let mut ledgers = Ledgers::default();
        ledgers.keep(&ids([20]), &ids(0..=20), Now(5));
        let first = due(&mut ledgers, 5);
        assert_eq!((first.len(), first.first()), (ASKS_MAX, Some(&20)));
        assert_eq!(due(&mut ledgers, 5), NONE);
        ledgers.ended(&Id([20; 32]), Came::Nothing, Now(5));
        assert_eq!(due(&mut ledgers, 5).len(), 1);
    }
}
