//! Where schedulers say that batches of their logs lie. A word proves nothing, so it is kept in memory alone: whoever
//! looks for slots looks there first.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use weft_protocol::placed::{Place, Placed};
use weft_protocol::{Id, Now, Verified};

/// Logs of which something is kept; the one that was heard of first goes where there are more.
const LOGS_MAX: usize = 4_096;
/// Places that are kept of a log, those of its newest slots.
pub(crate) const PLACES_MAX: usize = 16;
/// How long a place is passed on once, in milliseconds. After that a scheduler says it again for those who came later, and they
/// may be behind peers that know it: less than the hour after which it does.
const AGAIN_MS: u64 = 30 * 60_000;
/// Logs to whose topics somebody came and that are not looked at yet; of one more it is only noted that there are more.
const CAME_MAX: usize = 4_096;

/// The places that were heard of.
#[derive(Debug, Default)]
pub(crate) struct Placements {
    heard: Mutex<Heard>,
    /// Logs that this node schedules and to whose topics somebody came, and whether there are more.
    came: Mutex<(BTreeSet<Id>, bool)>,
}

#[derive(Debug, Default)]
struct Heard {
    /// Of each log, by rising last slot, and when each was passed on.
    logs: BTreeMap<Id, Vec<(Place, Now)>>,
    /// In the order in which they were heard of.
    order: VecDeque<Id>,
}

impl Placements {
    /// Whether a place would be kept or passed on: it is looked at before its signature is.
    pub(crate) fn is_wanted(&self, place: &Place, now: Now) -> bool {
        self.heard().logs.get(&place.process).is_none_or(|held| is_wanted(held, place, now))
    }

    /// Keeps a place; whether it is to be passed on. Whose word counts the caller has looked at.
    pub(crate) fn keep(&self, placed: &Verified<Placed>, now: Now) -> bool {
        let place = placed.place();
        let heard = &mut *self.heard();
        if !heard.logs.contains_key(&place.process) {
            while heard.order.len() >= LOGS_MAX {
                heard.order.pop_front().and_then(|oldest| heard.logs.remove(&oldest));
            }
            heard.order.push_back(place.process);
        }
        let held = heard.logs.entry(place.process).or_default();
        if !is_wanted(held, place, now) {
            return false;
        }
        held.retain(|(other, _)| other != place);
        let at = held.partition_point(|(other, _)| other.to <= place.to);
        held.insert(at, (place.clone(), now));
        if held.len() > PLACES_MAX {
            held.remove(0);
        }
        true
    }

    /// What is kept of a log, the newest slots last.
    pub(crate) fn of(&self, process: &Id) -> Vec<Place> {
        let heard = self.heard();
        heard.logs.get(process).into_iter().flatten().map(|(place, _)| place.clone()).collect()
    }

    /// Somebody came to the topic of a log that this node schedules.
    pub(crate) fn came(&self, process: Id) {
        let (came, more) = &mut *self.came.lock().unwrap_or_else(PoisonError::into_inner);
        if came.len() < CAME_MAX {
            came.insert(process);
        } else {
            *more = true;
        }
    }

    /// The logs to whose topics somebody came since the last time, and whether there are more.
    pub(crate) fn take_came(&self) -> (BTreeSet<Id>, bool) {
        std::mem::take(&mut *self.came.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn heard(&self) -> MutexGuard<'_, Heard> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn is_wanted(held: &[(Place, Now)], place: &Place, now: Now) -> bool {
    if let Some((_, passed)) = held.iter().find(|(other, _)| other == place) {
        return passed.plus_ms(AGAIN_MS) <= now;
    }
    held.len() < PLACES_MAX || held.first().is_some_and(|(first, _)| place.to > first.to)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use weft_protocol::Network;
    use weft_protocol::crypto::Signer;

    use super::*;

    const NOW: Now = Now(1_000);

    fn placed(process: Id, to: u64) -> Verified<Placed> {
        let place = Place {
            network: Network(7),
            process,
            weave: "w".to_owned(),
            bundle: Id([3; 32]),
            from: to,
            to,
            height: 1,
        };
        place.sign(&Signer::from_seed(&[1; 32])).unwrap()
    }

    fn numbered(number: usize) -> Id {
        let mut id = [0; 32];
        id[..8].copy_from_slice(&(number as u64).to_be_bytes());
        Id(id)
    }

    fn slots(placements: &Placements, process: Id) -> Vec<u64> {
        placements.of(&process).iter().map(|place| place.to).collect()
    }

    #[test]
    fn the_newest_places_of_a_log_are_kept_each_once() {
        let (placements, process) = (Placements::default(), Id([1; 32]));
        let last = PLACES_MAX as u64 + 2;
        // In an order of their own, as gossip comes.
        for to in (0..=last).rev().chain(0..=last) {
            let placed = placed(process, to);
            let is_wanted = placements.is_wanted(placed.place(), NOW);
            assert_eq!(placements.keep(&placed, NOW), is_wanted, "{to}");
        }
        assert!(slots(&placements, process).into_iter().eq(3..=last));
        assert!(!placements.keep(&placed(process, 2), NOW) && !placements.keep(&placed(process, last), NOW));
        assert!(placements.keep(&placed(process, last + 1), NOW));
        assert_eq!(slots(&placements, process)[0], 4);
    }

    #[test]
    fn what_is_said_again_is_passed_on_after_a_while_and_kept_once() {
        let (placements, process) = (Placements::default(), Id([1; 32]));
        let last = PLACES_MAX as u64;
        for to in 0..=last {
            placements.keep(&placed(process, to), NOW);
        }
        let (soon, later) = (NOW.plus_ms(AGAIN_MS - 1), NOW.plus_ms(AGAIN_MS));
        assert!(
            !placements.keep(&placed(process, last), soon) && placements.keep(&placed(process, last), later)
        );
        assert!(!placements.keep(&placed(process, last), later), "that was a moment ago");
        assert!(!placements.keep(&placed(process, 0), later), "there is no room for it");
        assert!(slots(&placements, process).into_iter().eq(1..=last));
    }

    #[test]
    fn as_many_logs_are_noted_as_somebody_comes_to_as_there_is_room_for() {
        let placements = Placements::default();
        (0..CAME_MAX).for_each(|number| placements.came(numbered(number)));
        assert!(matches!(placements.take_came(), (came, false) if came.len() == CAME_MAX));
        (0..CAME_MAX + 2).for_each(|number| placements.came(numbered(number)));
        assert!(matches!(placements.take_came(), (came, true) if came.len() == CAME_MAX));
        assert!(matches!(placements.take_came(), (came, false) if came.is_empty()));
    }

    #[test]
    fn no_more_logs_are_kept_than_there_is_room_for() {
        let placements = Placements::default();
        let process = numbered;
        let template = placed(process(0), 1).place().clone();
        for number in 0..LOGS_MAX + 2 {
            let place = Place { process: process(number), ..template.clone() };
            // Signing each would take the most of the test.
            assert!(placements.is_wanted(&place, NOW));
            if [0, 1, 2, LOGS_MAX, LOGS_MAX + 1].contains(&number) {
                assert!(placements.keep(&placed(process(number), 1), NOW));
            } else {
                placements.heard().order.push_back(process(number));
                placements.heard().logs.insert(process(number), vec![(place, NOW)]);
            }
        }
        let counts = |heard: &Heard| (heard.logs.len(), heard.order.len());
        assert_eq!(counts(&placements.heard()), (LOGS_MAX, LOGS_MAX));
        assert!(placements.of(&process(1)).is_empty() && placements.of(&process(2)).len() == 1);
    }
}
