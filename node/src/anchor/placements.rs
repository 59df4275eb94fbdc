//! Where schedulers say that batches of their logs lie. A word proves nothing, so it is kept in memory alone: whoever
//! looks for slots looks there first.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use weft_protocol::placed::{Place, Placed};
use weft_protocol::{Id, Verified};

/// Logs of which something is kept; the one that was heard of first goes where there are more.
const LOGS_MAX: usize = 4_096;
/// Places that are kept of a log, those of its newest slots.
pub(crate) const PLACES_MAX: usize = 16;

/// The places that were heard of.
#[derive(Debug, Default)]
pub(crate) struct Placements(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    /// Of each log, by rising last slot.
    logs: BTreeMap<Id, Vec<Place>>,
    /// In the order in which they were heard of.
    order: VecDeque<Id>,
}

impl Placements {
    /// Whether a place would be kept: it is looked at before its signature is.
    pub(crate) fn is_new(&self, place: &Place) -> bool {
        self.inner().logs.get(&place.process).is_none_or(|held| is_new(held, place))
    }

    /// Keeps a place; whether it is new. Whose word counts the caller has looked at.
    pub(crate) fn keep(&self, placed: &Verified<Placed>) -> bool {
        let place = placed.place();
        let inner = &mut *self.inner();
        if !inner.logs.contains_key(&place.process) {
            while inner.order.len() >= LOGS_MAX {
                inner.order.pop_front().and_then(|oldest| inner.logs.remove(&oldest));
            }
            inner.order.push_back(place.process);
        }
        let held = inner.logs.entry(place.process).or_default();
        if !is_new(held, place) {
            return false;
        }
        let at = held.partition_point(|other| other.to <= place.to);
        held.insert(at, place.clone());
        if held.len() > PLACES_MAX {
            held.remove(0);
        }
        true
    }

    /// What is kept of a log, the newest slots last.
    pub(crate) fn of(&self, process: &Id) -> Vec<Place> {
        self.inner().logs.get(process).cloned().unwrap_or_default()
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn is_new(held: &[Place], place: &Place) -> bool {
    let is_late = held.len() >= PLACES_MAX && held.first().is_some_and(|first| place.to <= first.to);
    !is_late && !held.contains(place)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use weft_protocol::Network;
    use weft_protocol::crypto::Signer;

    use super::*;

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
            let is_new = placements.is_new(placed.place());
            assert_eq!(placements.keep(&placed), is_new, "{to}");
        }
        assert!(slots(&placements, process).into_iter().eq(3..=last));
        assert!(!placements.keep(&placed(process, 2)) && !placements.keep(&placed(process, last)));
        assert!(placements.keep(&placed(process, last + 1)));
        assert_eq!(slots(&placements, process)[0], 4);
    }

    #[test]
    fn no_more_logs_are_kept_than_there_is_room_for() {
        let placements = Placements::default();
        let process = |number: usize| {
            let mut id = [0; 32];
            id[..8].copy_from_slice(&(number as u64).to_be_bytes());
            Id(id)
        };
        let template = placed(process(0), 1).place().clone();
        for number in 0..LOGS_MAX + 2 {
            let place = Place { process: process(number), ..template.clone() };
            // Signing each would take the most of the test.
            assert!(placements.is_new(&place));
            if [0, 1, 2, LOGS_MAX, LOGS_MAX + 1].contains(&number) {
                assert!(placements.keep(&placed(process(number), 1)));
            } else {
                placements.inner().order.push_back(process(number));
                placements.inner().logs.insert(process(number), vec![place]);
            }
        }
        let counts = |inner: &Inner| (inner.logs.len(), inner.order.len());
        assert_eq!(counts(&placements.inner()), (LOGS_MAX, LOGS_MAX));
        assert!(placements.of(&process(1)).is_empty() && placements.of(&process(2)).len() == 1);
    }
}
