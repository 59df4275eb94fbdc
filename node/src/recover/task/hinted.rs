//! Bundles of which the scheduler itself said that they have a slot. They are tried before a gateway is asked to list where
//! it has the slot: some gateways cannot list, and none has to.
//!
//! The word proves nothing, and the scheduler may be whom recovery is needed against. So what is not there is nobody's
//! fault, and soon no gateway is asked for more of it: lists are asked for then, as if nobody had said anything.

use std::collections::{BTreeMap, BTreeSet};

use weft_protocol::Id;
use weft_protocol::placed::Place;

use super::super::RecoverError;
use super::super::given::Proof;
use super::super::machine::{Input, Want};
use super::super::sink::Sink;
use super::Run;
use super::fetch::Word;

/// Bundles that a gateway may give without what they were said to have, or fail to give, until it is asked for no more.
const VAIN_MAX: u32 = 2;
/// Bundles that are what was signed, and have not what they were said to have, until no further word is believed.
const FALSE_MAX: u32 = 2;

/// Where slots are said to lie, and what came of it.
#[derive(Debug, Default)]
pub(super) struct Hints {
    places: Vec<Place>,
    /// Which bundles each gateway was asked for.
    tried: BTreeSet<(usize, Id)>,
    /// How often that came to nothing.
    vain: BTreeMap<usize, u32>,
    false_ones: u32,
}

impl Hints {
    pub(super) fn new(places: Vec<Place>) -> Self {
        Self { places, ..Self::default() }
    }

    /// A bundle that may have a slot and that a gateway is still to be asked for.
    pub(super) fn untried(&self, gateway: usize, slot: u64) -> Option<Id> {
        if self.vain.get(&gateway).is_some_and(|times| *times >= VAIN_MAX) {
            return None;
        }
        let has = self.places.iter().filter(|place| (place.from..=place.to).contains(&slot));
        has.map(|place| place.bundle).find(|bundle| !self.tried.contains(&(gateway, *bundle)))
    }

    /// A gateway is asked for a bundle.
    fn try_at(&mut self, gateway: usize, bundle: Id) {
        self.tried.insert((gateway, bundle));
    }

    /// Asking a gateway cost time or bytes, and came to nothing.
    fn was_vain(&mut self, gateway: usize) {
        *self.vain.entry(gateway).or_default() += 1;
    }

    /// A bundle has something else, and would at any other gateway.
    fn was_false(&mut self, bundle: Id) {
        self.places.retain(|place| place.bundle != bundle);
        self.false_ones += 1;
        if self.false_ones >= FALSE_MAX {
            self.places.clear();
        }
    }
}

impl<S: Sink> Run<'_, S> {
    /// Tries the bundles that may have a thing, each once of each gateway; whether the pool has the thing then.
    pub(super) async fn try_hints(&mut self, gateway: usize, want: Want) -> Result<bool, RecoverError> {
        let slot = match want {
            Want::Slot(slot) => slot,
            // The Process item stands at slot 0.
            Want::Item(id) if id == self.process => 0,
            Want::Item(_) => return Ok(false),
        };
        while let Some(id) = self.hints.untried(gateway, slot) {
            self.hints.try_at(gateway, id);
            let Some(asked) = self.gateways.get_mut(gateway) else { return Ok(false) };
            let given = match asked.bundle(id).await {
                Ok(given) => given,
                Err(error) if error.is_unknown() => continue,
                // It is asked for a list next; what comes of that is counted.
                Err(_) => {
                    self.hints.was_vain(gateway);
                    return Ok(false);
                }
            };
            let is_shown = matches!(given.proof, Proof::Shown);
            if let Input::Had { .. } = self.take_bundle(gateway, (id, given), want, Word::Scheduler).await? {
                return Ok(true);
            }
            self.hints.was_vain(gateway);
            if is_shown {
                self.hints.was_false(id);
            }
        }
        Ok(false)
    }
}

#[cfg(test)]
mod tests {
    use weft_protocol::Network;

    use super::*;

    fn hints(of: &[(u8, u64, u64)]) -> Hints {
        let place = |&(bundle, from, to): &(u8, u64, u64)| Place {
            network: Network(7),
            process: Id([1; 32]),
            weave: "w".to_owned(),
            bundle: Id([bundle; 32]),
            from,
            to,
            height: 1,
        };
        Hints::new(of.iter().map(place).collect())
    }

    #[test]
    fn each_gateway_is_asked_once_for_what_may_have_a_slot() {
        let mut hints = hints(&[(1, 0, 9), (2, 10, 19), (3, 0, u64::MAX)]);
        for (slot, bundle) in [(12, Some(2)), (12, Some(3)), (12, None), (3, Some(1)), (20, None)] {
            let untried = hints.untried(0, slot);
            assert_eq!(untried, bundle.map(|bundle| Id([bundle; 32])), "{slot}");
            untried.into_iter().for_each(|bundle| hints.try_at(0, bundle));
        }
        assert_eq!(hints.untried(1, 12), Some(Id([2; 32])));
    }

    #[test]
    fn who_gave_nothing_of_it_twice_is_asked_for_no_more_and_others_are() {
        let mut hints = hints(&[(1, 0, 9)]);
        for _ in 0..VAIN_MAX {
            assert!(hints.untried(0, 5).is_some());
            hints.was_vain(0);
        }
        assert_eq!((hints.untried(0, 5), hints.untried(1, 5)), (None, Some(Id([1; 32]))));
    }

    #[test]
    fn after_two_false_ones_no_word_is_believed() {
        let mut hints = hints(&[(1, 0, 9), (2, 0, 9), (3, 0, 9)]);
        hints.was_false(Id([1; 32]));
        assert_eq!(hints.untried(4, 5), Some(Id([2; 32])));
        hints.was_false(Id([2; 32]));
        assert_eq!(hints.untried(4, 5), None);
    }
}
