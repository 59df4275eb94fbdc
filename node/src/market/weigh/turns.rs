//! When which ledger is read. Those that are silent wait ever longer, and have places of their own: a process names any
//! ledger that it likes, and one that does not exist must not keep the bonds of another from being known.
//!
//! Pure.

use std::collections::{BTreeMap, BTreeSet};

use weft_protocol::{Id, Now};

use super::super::weights::BELIEVED_MS;

/// How often the bonds of a ledger are read again, in milliseconds.
pub const AGAIN_MS: u64 = 60_000;
/// The same where a process is new, and after a first time that it could not be read; doubled each time.
pub const RETRY_MS: u64 = 10_000;
/// The longest wait after it could not be read.
pub const RETRY_MS_MAX: u64 = 600_000;
/// Ledgers that are read at once of those that are sure to be there, and so many of the others.
pub const AT_ONCE: usize = 4;

/// Whose turn it is.
#[derive(Debug, Default)]
pub struct Turns(BTreeMap<Id, Turn>);

#[derive(Debug, Default)]
struct Turn {
    /// It is this node's own matter, or computed here.
    is_own: bool,
    answered: Option<Now>,
    tried: Option<Now>,
    failures: u32,
    /// It is being read, in a place for those that are sure to be there or not.
    reading: Option<bool>,
}

impl Turn {
    /// Whether it is sure to be there: it answered not long ago, or whoever named it is no stranger.
    fn is_sure(&self, now: Now) -> bool {
        self.is_own || self.answered.is_some_and(|at| now < at.plus_ms(BELIEVED_MS))
    }

    /// Whether it is to be read.
    fn is_due(&self, is_lacking: bool, now: Now) -> bool {
        let wait = match self.failures.checked_sub(1) {
            Some(before) => (RETRY_MS << before.min(6)).min(RETRY_MS_MAX),
            None if is_lacking => RETRY_MS,
            None => AGAIN_MS,
        };
        self.reading.is_none() && self.tried.is_none_or(|tried| tried.plus_ms(wait) <= now)
    }
}

impl Turns {
    /// These ledgers alone are to be read; of each whether it is this node's own matter.
    pub fn keep(&mut self, ledgers: &BTreeMap<Id, bool>) {
        self.0.retain(|ledger, turn| turn.reading.is_some() || ledgers.contains_key(ledger));
        for (ledger, is_own) in ledgers {
            self.0.entry(*ledger).or_default().is_own = *is_own;
        }
    }

    /// The ledgers to be read now. `lacking` are those of which some process has no bonds yet.
    pub fn begin(&mut self, lacking: &BTreeSet<Id>, now: Now) -> Vec<Id> {
        let mut begun = Vec::new();
        for sure in [true, false] {
            let taken = self.0.values().filter(|turn| turn.reading == Some(sure)).count();
            let due = |(ledger, turn): &(&Id, &Turn)| {
                turn.is_sure(now) == sure && turn.is_due(lacking.contains(ledger), now)
            };
            let mut due: Vec<(&Id, &Turn)> = self.0.iter().filter(due).collect();
            due.sort_by_key(|(_, turn)| (turn.failures, turn.tried));
            let next: Vec<Id> =
                due.into_iter().map(|(id, _)| *id).take(AT_ONCE.saturating_sub(taken)).collect();
            for ledger in &next {
                if let Some(turn) = self.0.get_mut(ledger) {
                    (turn.reading, turn.tried) = (Some(sure), Some(now));
                }
            }
            begun.extend(next);
        }
        begun
    }

    /// Reading a ledger ended, and it answered or did not.
    pub fn ended(&mut self, ledger: &Id, has_answered: bool, now: Now) {
        let Some(turn) = self.0.get_mut(ledger) else { return };
        turn.reading = None;
        if has_answered {
            (turn.answered, turn.failures) = (Some(now), 0);
        } else {
            (turn.tried, turn.failures) = (Some(now), turn.failures.saturating_add(1));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIVE: Id = Id([200; 32]);
    const STEP_MS: u64 = 1_000;
    const DEAD_MS: u64 = 30_000;

    fn id(number: u16) -> Id {
        let mut bytes = [0; 32];
        bytes[..2].copy_from_slice(&number.to_be_bytes());
        Id(bytes)
    }

    /// Reads for so long, where all but one of the ledgers are silent. When that one answered, and how often others were asked.
    fn play(dead: u16, is_own: bool, until_ms: u64) -> (Vec<u64>, usize) {
        let mut ledgers: BTreeMap<Id, bool> = (0..dead).map(|number| (id(number), false)).collect();
        let (mut turns, mut reading, mut answers, mut asked) = (Turns::default(), Vec::new(), Vec::new(), 0);
        for now in (0..until_ms).step_by(STEP_MS as usize).map(Now) {
            // It is named when all the others have their first turns.
            if now.0 >= 20_000 {
                ledgers.insert(LIVE, is_own);
            }
            turns.keep(&ledgers);
            for ledger in turns.begin(&BTreeSet::new(), now) {
                asked += usize::from(ledger != LIVE);
                reading.push((now.plus_ms(if ledger == LIVE { STEP_MS } else { DEAD_MS }), ledger));
            }
            assert!(reading.len() <= 2 * AT_ONCE);
            reading.retain(|(at, ledger)| {
                if *at <= now {
                    turns.ended(ledger, *ledger == LIVE, now);
                    answers.extend((*ledger == LIVE).then_some(now.0));
                }
                now < *at
            });
        }
        (answers, asked)
    }

    #[test]
    fn ledgers_that_do_not_exist_keep_no_other_from_being_read() {
        // The first turn of a stranger's comes with those of the others, and then it has places of its own.
        let (answers, asked) = play(50, false, 4 * 3_600_000);
        assert!(answers[0] < 500_000, "{}", answers[0]);
        assert!(answers.windows(2).all(|two| two[1] - two[0] <= AGAIN_MS + 2 * STEP_MS), "{answers:?}");
        // Who is silent is asked ever more rarely: at the first pace all places were always taken, some 1,850 times.
        assert!((600..1_600).contains(&asked), "{asked}");
        // One that this node named itself waits for nobody.
        let (answers, _) = play(1_000, true, 600_000);
        assert_eq!(answers[0], 20_000 + STEP_MS);
    }

    #[test]
    fn who_answered_and_is_silent_now_is_asked_more_often_than_strangers_for_as_long_as_it_is_believed() {
        let mut turns = Turns::default();
        turns.keep(&BTreeMap::from([(LIVE, false)]));
        let none = BTreeSet::new();
        assert_eq!(turns.begin(&none, Now(0)), [LIVE]);
        turns.ended(&LIVE, true, Now(1));
        // A process that is new has no bonds of it yet.
        assert!(turns.begin(&none, Now(RETRY_MS)).is_empty());
        assert_eq!(turns.begin(&BTreeSet::from([LIVE]), Now(RETRY_MS)), [LIVE]);
        // What is being read is not asked for twice, and kept until that ends.
        turns.keep(&BTreeMap::new());
        assert!(turns.begin(&none, Now(900_000)).is_empty());
        let mut tried = Vec::new();
        turns.ended(&LIVE, false, Now(RETRY_MS));
        turns.keep(&BTreeMap::from([(LIVE, false)]));
        for now in (RETRY_MS..BELIEVED_MS).step_by(1_000) {
            if !turns.begin(&none, Now(now)).is_empty() {
                assert_eq!(turns.0[&LIVE].reading, Some(true));
                turns.ended(&LIVE, false, Now(now));
                tried.push(now / 1_000);
            }
        }
        assert_eq!(tried, [20, 40, 80, 160, 320]);
        turns.keep(&BTreeMap::new());
        assert!(turns.0.is_empty());
    }
}
