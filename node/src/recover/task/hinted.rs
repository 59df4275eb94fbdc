//! Bundles of which the scheduler itself said that they have a slot. They are tried before a gateway is asked to list where
//! it has the slot: some gateways cannot list, and none has to.

use weft_protocol::Id;

use super::super::RecoverError;
use super::super::machine::{Input, Want};
use super::super::sink::Sink;
use super::Run;

impl<S: Sink> Run<'_, S> {
    /// Whether the scheduler said where a slot lies.
    pub(super) fn is_hinted(&self, slot: u64) -> bool {
        self.hints.iter().any(|place| (place.from..=place.to).contains(&slot))
    }

    /// Tries the bundles that may have a thing, each once of each gateway; whether the pool has the thing then. What is
    /// not there is nobody's fault: the word was another's.
    pub(super) async fn try_hints(&mut self, gateway: usize, want: Want) -> Result<bool, RecoverError> {
        let slot = match want {
            Want::Slot(slot) => slot,
            // The Process item stands at slot 0.
            Want::Item(id) if id == self.process => 0,
            Want::Item(_) => return Ok(false),
        };
        let has = self.hints.iter().filter(|place| (place.from..=place.to).contains(&slot));
        let bundles: Vec<Id> = has.map(|place| place.bundle).collect();
        for id in bundles {
            if !self.hinted.insert((gateway, id)) {
                continue;
            }
            let Some(asked) = self.gateways.get_mut(gateway) else { return Ok(false) };
            let Ok(given) = asked.bundle(id).await else { continue };
            if let Input::Had { .. } = self.take_bundle(gateway, (id, given), want, false).await? {
                return Ok(true);
            }
        }
        Ok(false)
    }
}
