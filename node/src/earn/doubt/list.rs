//! Claims of others that are open and not decided here: those that are looked at again, and those that were challenged.
//!
//! Pure. One that cannot be judged yet waits, and holds up none after it. After a start it is filled again from the ledger's
//! log, from the oldest of them on.

use std::collections::BTreeMap;

use weft_protocol::{Address, Id, Position};

use crate::earn::notices::{Challenged, OfOthers, Opened};

/// Claims that are remembered, of all ledgers: as many as a ledger of this build holds open. Where there are as many
/// no more is read until one is over.
pub const DOUBTS_MAX: usize = 1 << 16;
/// How soon a claim is looked at again, in milliseconds; that doubles with every look.
const AGAIN_MS: u64 = 5_000;
/// The longest that it gets, in milliseconds.
const AGAIN_MS_MAX: u64 = 300_000;
/// How long a challenge waits for the ledger's word before it is sent again, in milliseconds.
const ANSWER_MS: u64 = 15_000;
/// How long one waits that the ledger refused, in milliseconds: a balance may be filled meanwhile. That doubles with every
/// refusal, to an hour.
const REFUSED_MS: u64 = 60_000;

/// Which claim: at a ledger each has one such name while it is open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Name {
    ledger: Id,
    messenger: Address,
    source: Id,
    window: u64,
}

/// A claim that is not decided.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Doubt {
    /// The ledger.
    pub ledger: Id,
    /// The claim.
    pub opened: Opened,
    /// Where the ledger opened it.
    at: Position,
    /// Looks that did not decide it.
    looks: u32,
    /// When it is looked at next, in milliseconds since the Unix epoch.
    next_ms: u64,
    /// Looks at which the source's log ended before it.
    pub beyond: u32,
    /// The leaf that is not owed, and why, once that is known: it is challenged from then on, and no other.
    pub refuted: Option<(u32, String)>,
    /// Whether it counts among the challenges of its day.
    pub is_counted: bool,
    /// How often the ledger refused to hear the challenge.
    pub tries: u64,
}

impl Doubt {
    /// Its name.
    pub const fn name(&self) -> Name {
        let Opened { messenger, source, window, .. } = self.opened;
        Name { ledger: self.ledger, messenger, source, window }
    }
}

/// All that are not decided.
#[derive(Debug, Default)]
pub struct Doubts {
    open: BTreeMap<Name, Doubt>,
}

impl Doubts {
    /// Whether another one has no room.
    pub fn is_full(&self) -> bool {
        self.open.len() >= DOUBTS_MAX
    }

    /// Takes up what a ledger said; returns of which claim it refused a challenge of this node, and why.
    pub fn hear(
        &mut self,
        ledger: Id,
        at: Position,
        told: OfOthers,
        now_ms: u64,
    ) -> Option<(Opened, String)> {
        match told {
            OfOthers::Opened(opened) => {
                let (next_ms, refuted) = (now_ms, None);
                let doubt = Doubt {
                    ledger,
                    opened,
                    at,
                    looks: 0,
                    next_ms,
                    beyond: 0,
                    refuted,
                    is_counted: false,
                    tries: 0,
                };
                // One of the same name is over.
                self.open.insert(doubt.name(), doubt);
                None
            }
            OfOthers::Challenged(Challenged { messenger, source, window, refused }) => {
                let name = Name { ledger, messenger, source, window };
                let Some((why, false)) = refused else {
                    // It waits for its answer, or can never be challenged so.
                    let doubt = self.open.remove(&name)?;
                    return refused.map(|(why, _)| (doubt.opened, why));
                };
                let doubt = self.open.get_mut(&name)?;
                doubt.next_ms = now_ms.saturating_add(REFUSED_MS << doubt.tries.min(6));
                doubt.tries += 1;
                Some((doubt.opened, why))
            }
        }
    }

    /// Those of a ledger whose time has come, the longest waiting first.
    pub fn due(&self, ledger: &Id, now_ms: u64, most: usize) -> Vec<Doubt> {
        let mut due: Vec<&Doubt> =
            self.open.values().filter(|doubt| doubt.ledger == *ledger && doubt.next_ms <= now_ms).collect();
        due.sort_by_key(|doubt| (doubt.next_ms, doubt.at));
        due.into_iter().take(most).cloned().collect()
    }

    /// Forgets a claim: it is over, or right as far as is known.
    pub fn decided(&mut self, doubt: &Doubt) {
        if self.open.get(&doubt.name()).is_some_and(|held| held.opened == doubt.opened) {
            self.open.remove(&doubt.name());
        }
    }

    /// Looks at a claim again, ever later.
    pub fn later(&mut self, doubt: &Doubt, now_ms: u64) {
        self.with(doubt, |held| {
            let wait = AGAIN_MS.checked_shl(held.looks).unwrap_or(AGAIN_MS_MAX).min(AGAIN_MS_MAX);
            held.looks = held.looks.saturating_add(1).min(32);
            held.next_ms = now_ms.saturating_add(wait);
        });
    }

    /// Looks again at one whose source's log ends before it here.
    pub fn beyond(&mut self, doubt: &Doubt, now_ms: u64) {
        self.with(doubt, |held| {
            held.beyond += 1;
            held.next_ms = now_ms.saturating_add(AGAIN_MS);
        });
    }

    /// A claim was found false, and is challenged from now on.
    pub fn refuted(&mut self, doubt: &Doubt, leaf: u32, why: &str) {
        self.with(doubt, |held| held.refuted = Some((leaf, why.to_owned())));
    }

    /// A challenge went out; it goes out again where the ledger says nothing of it.
    pub fn sent(&mut self, doubt: &Doubt, now_ms: u64) {
        self.with(doubt, |held| {
            held.is_counted = true;
            held.next_ms = now_ms.saturating_add(ANSWER_MS);
        });
    }

    /// From where a ledger's log is read after a start, if it is read up to `read`.
    pub fn from(&self, ledger: &Id, read: Position) -> Position {
        let of_ledger = self.open.values().filter(|doubt| doubt.ledger == *ledger).map(|doubt| doubt.at);
        of_ledger.min().map_or(read, |first| first.min(read))
    }

    /// Changes a claim, if it is the same one still.
    fn with(&mut self, doubt: &Doubt, change: impl FnOnce(&mut Doubt)) {
        if let Some(held) = self.open.get_mut(&doubt.name()).filter(|held| held.opened == doubt.opened) {
            change(held);
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    const LEDGER: Id = Id([1; 32]);
    const SOURCE: Id = Id([2; 32]);

    fn opened(window: u64, item: u8) -> Opened {
        Opened { messenger: Address([3; 32]), source: SOURCE, window, item: Id([item; 32]) }
    }

    fn open(doubts: &mut Doubts, slot: u64, opened: Opened) {
        assert_eq!(doubts.hear(LEDGER, Position::slot(slot), OfOthers::Opened(opened), 0), None);
    }

    fn told(doubts: &mut Doubts, refused: Option<(&str, bool)>) -> Option<(Opened, String)> {
        let refused = refused.map(|(why, is_final)| (why.to_owned(), is_final));
        let told = Challenged { messenger: Address([3; 32]), source: SOURCE, window: 1, refused };
        doubts.hear(LEDGER, Position::slot(99), OfOthers::Challenged(told), 1_000)
    }

    #[test]
    fn a_claim_that_cannot_be_judged_yet_holds_up_none_after_it() {
        let mut doubts = Doubts::default();
        open(&mut doubts, 5, opened(1, 1));
        open(&mut doubts, 6, opened(2, 2));
        let due = doubts.due(&LEDGER, 0, 9);
        assert_eq!(due.iter().map(|doubt| doubt.opened.window).collect::<Vec<_>>(), [1, 2]);
        doubts.later(&due[0], 0);
        assert_eq!(doubts.due(&LEDGER, 0, 1)[0].opened.window, 2);
        doubts.decided(&due[1]);
        // What is undecided is read again after a start, and ever later without one.
        assert_eq!(doubts.from(&LEDGER, Position::slot(50)), Position::slot(5));
        assert_eq!(doubts.due(&LEDGER, AGAIN_MS - 1, 9), []);
        for look in 0..50 {
            let now = look * AGAIN_MS_MAX;
            let due = doubts.due(&LEDGER, now + AGAIN_MS_MAX, 9);
            doubts.later(&due[0], now + AGAIN_MS_MAX);
        }
        doubts.decided(&due[0]);
        assert_eq!(doubts.from(&LEDGER, Position::slot(50)), Position::slot(50));
        assert_eq!(doubts.due(&Id([9; 32]), u64::MAX, 9), []);
    }

    #[test]
    fn a_challenge_is_made_until_the_ledger_hears_it() {
        let mut doubts = Doubts::default();
        open(&mut doubts, 5, opened(1, 1));
        let doubt = doubts.due(&LEDGER, 0, 1).pop().unwrap();
        doubts.refuted(&doubt, 7, "why");
        doubts.sent(&doubt, 0);
        let again = doubts.due(&LEDGER, ANSWER_MS, 1).pop().unwrap();
        assert_eq!((again.refuted, again.tries), (Some((7, "why".to_owned())), 0), "the same message");
        // The balance was low: another message, of the same leaf and counted once.
        assert_eq!(told(&mut doubts, Some(("low", false))), Some((opened(1, 1), "low".to_owned())));
        assert_eq!(doubts.due(&LEDGER, 999 + REFUSED_MS, 1), []);
        let again = doubts.due(&LEDGER, 1_000 + REFUSED_MS, 1).pop().unwrap();
        assert_eq!((again.tries, again.is_counted), (1, true));
        assert_eq!(told(&mut doubts, None), None);
        assert_eq!(doubts.due(&LEDGER, u64::MAX, 1), [], "it waits for its answer");
        // The same claim is made again: it is doubted again, and what was known of the first says nothing of it.
        open(&mut doubts, 8, opened(1, 2));
        doubts.decided(&doubt);
        doubts.refuted(&doubt, 7, "why");
        let anew = doubts.due(&LEDGER, u64::MAX, 1).pop().unwrap();
        assert_eq!((anew.opened.item, anew.refuted), (Id([2; 32]), None));
        assert!(told(&mut doubts, Some(("answered for already", true))).is_some());
        assert_eq!(doubts.due(&LEDGER, u64::MAX, 1), []);
    }
}
