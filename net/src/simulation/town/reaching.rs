//! Who can be reached: addresses that are tried out, routers that change their mind, and places at relays.

use weft_protocol::{Effects, Machine as _};

use super::node::{Place, Probe, Vice};
use super::world::{Letter, Task, World};
use super::{Mutation, NODES};
use crate::discovery::machine::provide;
use crate::discovery::machine::reach::{self, Reachability};
use crate::limits::RELAY_PLACES_MAX;

/// How often the library has an address tried out that was not yet.
const PROBE_MS: u64 = 5_000;
/// How long the library waits for a relay's answer.
const RESERVE_MS: u64 = 60_000;

impl World {
    pub(super) fn reach(&mut self, own: usize, input: reach::Input<usize, usize>) {
        let mut effects = Effects::new();
        let now = self.time();
        self.nodes[own].run.reach.handle(input, now, &mut effects);
        for effect in effects.drain() {
            match effect {
                reach::Effect::Serve(serves) => self.serve(own, serves),
                reach::Effect::Reserve(relay) => self.reserve(own, relay),
                reach::Effect::Release(relay) => {
                    if let Some((number, _)) = self.nodes[own].run.circuits.remove(&relay) {
                        self.send(own, relay, Letter::Release(number));
                        self.reach(own, reach::Input::Refused(relay));
                    }
                }
            }
        }
    }

    fn serve(&mut self, own: usize, serves: bool) {
        self.nodes[own].run.serves = serves;
        if !serves {
            // Those who have a place here are told so when they renew it.
            let places = std::mem::take(&mut self.nodes[own].run.places);
            for (holder, number) in places {
                self.send(own, holder, Letter::Refused(number));
            }
        }
        for peer in self.peers(own) {
            self.send(own, peer, Letter::Identify);
        }
    }

    /// An address at which anybody can dial the node.
    pub(super) fn on_external(&mut self, own: usize) {
        self.reach(own, reach::Input::Confirmed(own));
        self.provided(own, provide::Input::NewPeer);
    }

    /// The router of a node changes its mind.
    pub(super) fn turn(&mut self, own: usize, lets_in: bool) {
        if self.nodes[own].place == (Place::Router { lets_in: !lets_in }) {
            self.nodes[own].place = Place::Router { lets_in };
            if self.nodes[own].up {
                self.later(own, 500, Task::Probed(lets_in));
            }
        }
    }

    pub(super) fn on_probed(&mut self, own: usize, is_reached: bool) {
        if let Place::Router { lets_in } = self.nodes[own].place {
            // It may have changed its mind again.
            if lets_in != is_reached {
                return;
            }
        }
        if is_reached {
            self.nodes[own].run.probe = Probe::Confirmed;
            self.on_external(own);
        } else {
            self.nodes[own].run.probe = Probe::Failed;
            if self.mutation != Mutation::ServesForEver {
                self.reach(own, reach::Input::Expired(own));
            }
            self.provided(own, provide::Input::NewPeer);
        }
    }

    /// Has peers try out whether nodes can be dialled, as the library does: each address once.
    pub(super) fn try_out(&mut self) {
        if !self.now.is_multiple_of(PROBE_MS) {
            return;
        }
        for own in self.live() {
            let it = &self.nodes[own];
            let is_new = it.run.probe == Probe::Untried && it.mode == Reachability::Probed;
            if !is_new || !matches!(it.place, Place::Open | Place::Home) {
                continue;
            }
            let asks = |world: &Self, peer: usize| {
                let link = world.link(own, peer);
                link.is_some_and(|link| link.dialler == own && link.relay.is_none())
            };
            let servers: Vec<usize> = self.peers(own).into_iter().filter(|peer| asks(self, *peer)).collect();
            if self.dice.pick(&servers).is_some() {
                let is_reached = self.nodes[own].place.is_open() && !self.dice.percent(self.loss);
                self.later(own, 300, Task::Probed(is_reached));
            }
        }
    }

    fn reserve(&mut self, own: usize, relay: usize) {
        let link = self.links.get(&(own.min(relay), own.max(relay)));
        if !link.is_some_and(|link| link.dialler == own && link.relay.is_none()) {
            return self.reach(own, reach::Input::Refused(relay));
        }
        let number = self.number();
        self.nodes[own].run.circuits.insert(relay, (number, false));
        self.send(own, relay, Letter::Reserve(number));
        self.later(own, RESERVE_MS, Task::NoPlace { relay, number });
    }

    pub(super) fn on_reserve(&mut self, own: usize, from: usize, number: u64) {
        let it = &self.nodes[own];
        if it.vice == Some(Vice::Vanishes) && self.dice.percent(30) {
            return;
        }
        let gives = it.run.serves && it.run.places.len() < RELAY_PLACES_MAX;
        if gives {
            self.nodes[own].run.places.insert(from, number);
        }
        self.send(own, from, if gives { Letter::Reserved(number) } else { Letter::Refused(number) });
    }

    pub(super) fn on_release(&mut self, own: usize, from: usize, number: u64) {
        let places = &mut self.nodes[own].run.places;
        if places.get(&from) == Some(&number) {
            places.remove(&from);
        }
    }

    pub(super) fn on_reserved(&mut self, own: usize, relay: usize, number: u64) {
        let circuits = &mut self.nodes[own].run.circuits;
        if let Some((_, is_given)) = circuits.get_mut(&relay).filter(|circuit| circuit.0 == number) {
            *is_given = true;
            self.reach(own, reach::Input::Reserved(relay));
            // Its records name that place too.
            self.provided(own, provide::Input::NewPeer);
        } else {
            self.send(own, relay, Letter::Release(number));
        }
    }

    pub(super) fn on_refused(&mut self, own: usize, relay: usize, number: u64) {
        let circuits = &mut self.nodes[own].run.circuits;
        if circuits.get(&relay).is_some_and(|circuit| circuit.0 == number) {
            circuits.remove(&relay);
            if self.mutation != Mutation::KeepsRelays {
                self.reach(own, reach::Input::Refused(relay));
            }
        }
    }

    /// Whether a place that a node believes to have is there.
    pub(super) fn has_place(&self, own: usize, relay: usize) -> bool {
        let number = self.nodes[own].run.circuits.get(&relay).map(|circuit| circuit.0);
        relay < NODES
            && number.is_some()
            && self.link(own, relay).is_some()
            && self.nodes[relay].run.places.get(&own).copied() == number
    }

    /// Whether a node was told that it can be dialled.
    pub(super) fn is_told_open(&self, own: usize) -> bool {
        let it = &self.nodes[own];
        it.place.is_open() && (it.mode == Reachability::Assumed || it.run.probe == Probe::Confirmed)
    }
}
