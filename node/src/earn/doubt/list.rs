//! Claims of others that are open and not decided here: those that are looked at again, and those that were challenged.
//!
//! Pure. One that cannot be judged yet waits, and holds up none after it. After a start it is filled again from the ledger's
//! log, from the oldest of them on.

use std::collections::{BTreeMap, BTreeSet};

use weft_protocol::{Address, Id, Position};

use crate::earn::notices::{Challenged, OfOthers, Opened};
use crate::earn::pace::within;

/// Claims of one ledger that are remembered. Where there are as many, those are forgotten that only wait for children which
/// nobody shows; where there is none of these, no more of its log is read until one is over.
pub const DOUBTS_EACH: usize = 4_096;
/// Claims of one ledger that are judged or challenged at once.
pub const JUDGED_EACH: usize = 4;
/// Those of all ledgers.
pub const JUDGED_MAX: usize = 64;
/// Challenges of this run of which it is known which claim they were made for.
const LETTERS_MAX: usize = 4_096;
/// How long a claim is remembered, in milliseconds: two of the longest periods of a ledger, within which it is over.
const AGE_MS_MAX: u64 = 62 * 86_400_000;
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
    /// Since when it is remembered, in milliseconds since the Unix epoch.
    since_ms: u64,
    /// What orders its leaves here. Nobody else knows it.
    pub order: u64,
    /// How many of them, in that order, were looked for in the logs of their targets.
    pub looked: usize,
    /// Those of them that name children which nobody shows yet.
    pub unread: BTreeSet<u32>,
    /// Whether it waits for those alone.
    is_unread: bool,
    /// Whether it is being judged or challenged.
    is_busy: bool,
    /// Looks that did not decide it.
    pub looks: u32,
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
    /// Whether the ledger took it.
    pub is_heard: bool,
    /// Leaves that were answered for, or cannot be challenged.
    pub settled: BTreeSet<u32>,
}

impl Doubt {
    /// Its name.
    pub const fn name(&self) -> Name {
        let Opened { messenger, source, window, .. } = self.opened;
        Name { ledger: self.ledger, messenger, source, window }
    }

    /// This wait, or less where the time for challenges runs out.
    const fn wait_ms(&self, wait_ms: u64, now_ms: u64) -> u64 {
        within(wait_ms, self.opened.until_ms, now_ms, AGAIN_MS)
    }

    /// This leaf is not challenged any more; another may be.
    fn settle(&mut self, leaf: u32, now_ms: u64) {
        self.settled.insert(leaf);
        if self.refuted.as_ref().is_some_and(|(refuted, _)| *refuted == leaf) {
            (self.refuted, self.is_heard, self.is_counted, self.next_ms) = (None, false, false, now_ms);
        }
    }
}

/// All that are not decided.
#[derive(Debug, Default)]
pub struct Doubts {
    open: BTreeMap<Name, Doubt>,
    /// For which claim each challenge of this run was made: its message, and that of the claim.
    letters: BTreeMap<Id, Id>,
}

impl Doubts {
    /// Whether another one of this ledger has room. Where none has, those are forgotten that only wait for children which
    /// nobody shows: whoever makes up many would keep all others from being looked at.
    pub fn has_room(&mut self, ledger: &Id) -> bool {
        if self.of(ledger).count() < DOUBTS_EACH {
            return true;
        }
        let only_waits = |doubt: &&Doubt| doubt.is_unread && !doubt.is_busy && doubt.refuted.is_none();
        let forgotten: Vec<Name> = self.of(ledger).filter(only_waits).map(Doubt::name).collect();
        for name in &forgotten {
            self.open.remove(name);
        }
        !forgotten.is_empty()
    }

    fn of(&self, ledger: &Id) -> impl Iterator<Item = &Doubt> {
        let ledger = *ledger;
        let first = Name { ledger, messenger: Address([0; 32]), source: Id([0; 32]), window: 0 };
        self.open.range(first..).map(|(_, doubt)| doubt).take_while(move |doubt| doubt.ledger == ledger)
    }

    /// Takes up what a ledger said; returns of which claim it refused a challenge of this node, and why. `order` is drawn.
    pub fn hear(
        &mut self,
        (ledger, at): (Id, Position),
        told: OfOthers,
        now_ms: u64,
        order: u64,
    ) -> Option<(Opened, String)> {
        let Challenged { messenger, source, window, leaf, item, refused } = match told {
            OfOthers::Challenged(challenged) => challenged,
            OfOthers::Opened(opened) => {
                let doubt = Doubt {
                    ledger,
                    opened,
                    at,
                    since_ms: now_ms,
                    order,
                    looked: 0,
                    unread: BTreeSet::new(),
                    is_unread: false,
                    is_busy: false,
                    looks: 0,
                    next_ms: now_ms,
                    beyond: 0,
                    refuted: None,
                    is_counted: false,
                    tries: 0,
                    is_heard: false,
                    settled: BTreeSet::new(),
                };
                // One of the same name is over.
                self.open.insert(doubt.name(), doubt);
                return None;
            }
        };
        let meant = self.letters.remove(&item);
        let doubt = self.open.get_mut(&Name { ledger, messenger, source, window })?;
        // It may come when its claim is lost and made again.
        if meant.is_some_and(|meant| meant != doubt.opened.item) {
            return None;
        }
        match refused {
            None => {
                let why = || (leaf, "it was challenged before".to_owned());
                doubt.refuted.get_or_insert_with(why);
                (doubt.is_heard, doubt.is_counted) = (true, true);
                None
            }
            Some((why, true)) => {
                doubt.settle(leaf, now_ms);
                Some((doubt.opened, why))
            }
            Some((why, false)) => {
                let wait = doubt.wait_ms(REFUSED_MS << doubt.tries.min(6), now_ms);
                doubt.next_ms = now_ms.saturating_add(wait);
                doubt.tries += 1;
                Some((doubt.opened, why))
            }
        }
    }

    /// Takes those of a ledger whose time has come, the longest waiting first, as many as there are places for. Each holds its
    /// place until [`end`](Self::end).
    pub fn take(&mut self, ledger: &Id, now_ms: u64) -> Vec<Doubt> {
        let busy = |doubt: &&Doubt| doubt.is_busy;
        let each = JUDGED_EACH.saturating_sub(self.of(ledger).filter(busy).count());
        let all = JUDGED_MAX.saturating_sub(self.open.values().filter(busy).count());
        let due = self.of(ledger).filter(|doubt| !doubt.is_busy && doubt.next_ms <= now_ms);
        // A look that finds nothing new of children that nobody shows takes a minute: it keeps none of the others waiting.
        let mut due: Vec<(bool, u64, Position, Name)> =
            due.map(|doubt| (doubt.is_unread, doubt.next_ms, doubt.at, doubt.name())).collect();
        due.sort_unstable();
        let mut taken = Vec::new();
        for (.., name) in due.into_iter().take(each.min(all)) {
            if let Some(doubt) = self.open.get_mut(&name) {
                doubt.is_busy = true;
                taken.push(doubt.clone());
            }
        }
        taken
    }

    /// It is being challenged, in the place in which it was judged.
    pub fn begin(&mut self, doubt: &Doubt) {
        self.with(doubt, |held| held.is_busy = true);
    }

    /// It is not judged or challenged any more.
    pub fn end(&mut self, doubt: &Doubt) {
        self.with(doubt, |held| held.is_busy = false);
    }

    /// Whether it is the same claim still.
    pub fn holds(&self, doubt: &Doubt) -> bool {
        self.open.get(&doubt.name()).is_some_and(|held| held.opened == doubt.opened)
    }

    /// Forgets those of all ledgers but these, and what is old.
    pub fn keep(&mut self, ledgers: &[Id], now_ms: u64) {
        self.open.retain(|name, doubt| {
            ledgers.contains(&name.ledger) && doubt.since_ms.saturating_add(AGE_MS_MAX) > now_ms
        });
    }

    /// Forgets a claim: it is over, or right as far as is known.
    pub fn decided(&mut self, doubt: &Doubt) {
        if self.holds(doubt) {
            self.open.remove(&doubt.name());
        }
    }

    /// Looks at a claim again, ever later.
    pub fn later(&mut self, doubt: &Doubt, now_ms: u64) {
        self.with(doubt, |held| {
            let wait = AGAIN_MS.checked_shl(held.looks.min(31)).unwrap_or(AGAIN_MS_MAX).min(AGAIN_MS_MAX);
            held.looks = held.looks.saturating_add(1);
            held.next_ms = now_ms.saturating_add(held.wait_ms(wait, now_ms));
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

    /// Goes on with the leaves after so many, and with the unread ones of those; or with these alone.
    pub fn looked(&mut self, doubt: &Doubt, looked: usize, unread: BTreeSet<u32>, is_all: bool) {
        self.with(doubt, |held| (held.looked, held.unread, held.is_unread) = (looked, unread, is_all));
    }

    /// The leaf that was challenged is answered for. The others are looked at.
    pub fn answered(&mut self, doubt: &Doubt, leaf: u32, now_ms: u64) {
        self.with(doubt, |held| held.settle(leaf, now_ms));
    }

    /// A challenge goes out, by this message; it goes out again where the ledger says nothing of it.
    pub fn sent(&mut self, doubt: &Doubt, letter: Id, now_ms: u64) {
        if self.letters.len() >= LETTERS_MAX {
            self.letters.pop_first();
        }
        self.letters.insert(letter, doubt.opened.item);
        self.with(doubt, |held| {
            held.is_counted = true;
            held.next_ms = now_ms.saturating_add(ANSWER_MS);
        });
    }

    /// From where a ledger's log is read after a start, if it is read up to `read`.
    pub fn from(&self, ledger: &Id, read: Position) -> Position {
        self.of(ledger).map(|doubt| doubt.at).min().map_or(read, |first| first.min(read))
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
    const LETTER: Id = Id([8; 32]);

    fn opened(window: u64, item: u8) -> Opened {
        let (messenger, item) = (Address([3; 32]), Id([item; 32]));
        Opened { messenger, source: SOURCE, window, item, until_ms: u64::MAX }
    }

    fn open(doubts: &mut Doubts, slot: u64, opened: Opened) {
        let at = (LEDGER, Position::slot(slot));
        assert_eq!(doubts.hear(at, OfOthers::Opened(opened), 0, 5), None);
    }

    fn told(doubts: &mut Doubts, item: Id, refused: Option<(&str, bool)>) -> Option<(Opened, String)> {
        let refused = refused.map(|(why, is_final)| (why.to_owned(), is_final));
        let told =
            Challenged { messenger: Address([3; 32]), source: SOURCE, window: 1, leaf: 7, item, refused };
        doubts.hear((LEDGER, Position::slot(99)), OfOthers::Challenged(told), 1_000, 5)
    }

    /// Takes what is due, and gives the places back.
    fn due(doubts: &mut Doubts, now_ms: u64) -> Vec<Doubt> {
        let taken = doubts.take(&LEDGER, now_ms);
        taken.iter().for_each(|doubt| doubts.end(doubt));
        taken
    }

    #[test]
    fn a_claim_that_cannot_be_judged_yet_holds_up_none_after_it() {
        let mut doubts = Doubts::default();
        open(&mut doubts, 5, opened(1, 1));
        open(&mut doubts, 6, opened(2, 2));
        let found = due(&mut doubts, 0);
        assert_eq!(found.iter().map(|doubt| doubt.opened.window).collect::<Vec<_>>(), [1, 2]);
        doubts.later(&found[0], 0);
        assert_eq!(due(&mut doubts, 0)[0].opened.window, 2);
        doubts.decided(&found[1]);
        // What is undecided is read again after a start, and looked at ever later.
        assert_eq!(doubts.from(&LEDGER, Position::slot(50)), Position::slot(5));
        assert!(due(&mut doubts, AGAIN_MS - 1).is_empty());
        for look in 1..50 {
            let found = due(&mut doubts, look * AGAIN_MS_MAX);
            doubts.later(&found[0], look * AGAIN_MS_MAX);
        }
        doubts.decided(&found[0]);
        assert_eq!(doubts.from(&LEDGER, Position::slot(50)), Position::slot(50));
    }

    #[test]
    fn no_claim_is_left_alone_for_most_of_the_time_in_which_it_can_be_challenged() {
        let mut doubts = Doubts::default();
        open(&mut doubts, 5, Opened { until_ms: 100_000, ..opened(1, 1) });
        let mut looks = Vec::new();
        while looks.last().is_none_or(|at| *at < 400_000) {
            let next = doubts.of(&LEDGER).next().unwrap().next_ms;
            looks.push(next);
            let found = due(&mut doubts, next);
            doubts.later(&found[0], next);
        }
        // Then it is over, or lasts in slots: that may take long.
        let first =
            [0, 5_000, 15_000, 35_000, 51_250, 63_437, 72_577, 79_432, 84_574, 89_574, 94_574, 99_574];
        assert_eq!(looks[..12], first);
        assert_eq!(looks[12..], [104_574, 404_574]);
        // One that the ledger refused to hear is challenged again in time too.
        open(&mut doubts, 6, Opened { until_ms: 21_000, ..opened(2, 2) });
        doubts.hear(
            (LEDGER, Position::slot(9)),
            OfOthers::Opened(Opened { until_ms: 21_000, ..opened(1, 1) }),
            0,
            5,
        );
        told(&mut doubts, LETTER, Some(("low", false)));
        assert!(due(&mut doubts, 5_999).iter().all(|doubt| doubt.opened.window == 2));
        assert!(due(&mut doubts, 6_000).iter().any(|doubt| doubt.opened.window == 1));
    }

    #[test]
    fn a_claim_waits_for_children_that_nobody_shows_until_its_place_is_needed() {
        let mut doubts = Doubts::default();
        for window in 0..DOUBTS_EACH as u64 {
            open(&mut doubts, window, opened(window, 1));
        }
        let found = doubts.take(&LEDGER, 0);
        let unread = BTreeSet::from([3]);
        for (doubt, is_all) in found.iter().zip([true, true, true, false]) {
            doubts.looked(doubt, 9, unread.clone(), is_all);
            doubts.later(doubt, 0);
        }
        // One of them is being looked at, and one is challenged.
        doubts.refuted(&found[1], 3, "why");
        found[1..].iter().for_each(|doubt| doubts.end(doubt));
        assert!(doubts.has_room(&LEDGER));
        let is_held = |doubt: &Doubt| doubts.holds(doubt);
        assert_eq!(found.iter().map(is_held).collect::<Vec<_>>(), [true, true, false, true]);
        assert!(doubts.has_room(&LEDGER), "a place is free");
        // However long it waits already, others that are due come before it.
        let after = doubts.take(&LEDGER, u64::MAX);
        assert!(after.len() == JUDGED_EACH - 1 && after.iter().all(|doubt| doubt.opened != found[0].opened));
        let last = doubts.of(&LEDGER).find(|doubt| doubt.opened == found[3].opened).unwrap();
        assert_eq!((last.looked, &last.unread), (9, &unread));
    }

    #[test]
    fn claims_of_one_ledger_that_never_end_take_the_places_and_the_room_of_no_other() {
        let mut doubts = Doubts::default();
        for window in 0..DOUBTS_EACH as u64 {
            assert!(doubts.has_room(&LEDGER));
            open(&mut doubts, window, opened(window, 1));
        }
        assert!(!doubts.has_room(&LEDGER));
        assert_eq!(doubts.take(&LEDGER, 0).len(), JUDGED_EACH);
        assert!(doubts.take(&LEDGER, u64::MAX).is_empty(), "they are being judged");
        let other = Id([9; 32]);
        assert!(doubts.has_room(&other));
        doubts.hear((other, Position::slot(1)), OfOthers::Opened(opened(1, 1)), 0, 5);
        assert_eq!(doubts.take(&other, 0).len(), 1);
        // Of a ledger that is not looked at any more nothing is kept, and of any other nothing for ever.
        doubts.keep(&[other], 0);
        assert!(doubts.has_room(&LEDGER) && doubts.of(&LEDGER).count() == 0);
        doubts.keep(&[other], AGE_MS_MAX);
        assert_eq!(doubts.of(&other).count(), 0);
    }

    #[test]
    fn a_challenge_is_made_until_the_ledger_hears_it_and_another_where_it_was_answered() {
        let mut doubts = Doubts::default();
        open(&mut doubts, 5, opened(1, 1));
        let doubt = due(&mut doubts, 0).remove(0);
        doubts.refuted(&doubt, 7, "why");
        doubts.sent(&doubt, LETTER, 0);
        let again = due(&mut doubts, ANSWER_MS).remove(0);
        assert_eq!((again.refuted, again.tries), (Some((7, "why".to_owned())), 0), "the same message");
        // The balance was low: another message, of the same leaf and counted once.
        assert_eq!(told(&mut doubts, LETTER, Some(("low", false))), Some((opened(1, 1), "low".to_owned())));
        assert!(due(&mut doubts, 999 + REFUSED_MS).is_empty());
        let again = due(&mut doubts, 1_000 + REFUSED_MS).remove(0);
        assert_eq!((again.tries, again.is_counted), (1, true));
        assert_eq!(told(&mut doubts, LETTER, None), None);
        let heard = due(&mut doubts, u64::MAX).remove(0);
        assert!(heard.is_heard && heard.refuted.is_some(), "it waits for its answer");
        // It only looked false. The others may be.
        doubts.answered(&doubt, 7, 0);
        let on = due(&mut doubts, 0).remove(0);
        assert_eq!((on.refuted, on.is_heard, on.is_counted), (None, false, false));
        assert!(on.settled.contains(&7));
    }

    #[test]
    fn what_the_ledger_says_of_a_claim_is_not_taken_for_the_next_of_its_name() {
        let mut doubts = Doubts::default();
        open(&mut doubts, 5, opened(1, 1));
        let first = due(&mut doubts, 0).remove(0);
        doubts.refuted(&first, 7, "why");
        doubts.sent(&first, LETTER, 0);
        open(&mut doubts, 8, opened(1, 2));
        assert!(!doubts.holds(&first));
        doubts.decided(&first);
        doubts.refuted(&first, 7, "why");
        assert_eq!(told(&mut doubts, LETTER, None), None);
        let second = due(&mut doubts, u64::MAX).remove(0);
        assert_eq!((second.opened.item, second.refuted, second.is_heard), (Id([2; 32]), None, false));
        // After a start it is known by its name alone.
        told(&mut doubts, Id([7; 32]), None);
        assert!(due(&mut doubts, u64::MAX).remove(0).is_heard);
        assert!(told(&mut doubts, Id([7; 32]), Some(("answered for already", true))).is_some());
        assert_eq!(due(&mut doubts, u64::MAX).remove(0).refuted, None);
    }
}
