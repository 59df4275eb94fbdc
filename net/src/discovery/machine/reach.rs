//! Whether peers can reach this node, and by which relays when they cannot.
//!
//! A node that can be reached serves others: it takes part in the routing table and relays for
//! those at home. One that cannot asks up to two relays for a place. Which of both a node is shows
//! when a peer has dialled one of its addresses back, or a router says that it lets peers in
//! (`upnp`); until then it serves nobody, and after a while it counts as unreachable.

use std::collections::{BTreeMap, BTreeSet};

use weft_protocol::{Effects, Machine, Now};

use crate::limits::{PROBE_PATIENCE_MS, RELAY_REST_MS_MAX, RELAY_REST_MS_MIN, RELAYS_KNOWN_MAX, RELAYS_USED};

/// What is known of a node's reach when it starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reachability {
    /// Every address that it listens on can be reached: its operator says so, or all peers are on
    /// the same machine.
    Assumed,
    /// What peers have dialled back can be reached, or what a router let in, and nothing else.
    Probed,
    /// Nothing can be reached: the node only dials, and is reached by relays.
    Relayed,
}

/// What the machine hears of. `P` names a peer, `A` an address.
#[derive(Debug)]
pub(crate) enum Input<P, A> {
    /// A peer can dial this address: one has done it, or it is assumed.
    Confirmed(A),
    /// The address is gone.
    Expired(A),
    /// This node dialled a peer that relays.
    RelayUp(P),
    /// A relay is gone.
    RelayDown(P),
    /// A relay gave a place.
    Reserved(P),
    /// A relay gave none, or took it back.
    Refused(P),
    Tick,
}

/// What the machine asks for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Effect<P> {
    /// Serve others, or no longer.
    Serve(bool),
    /// Ask a relay for a place.
    Reserve(P),
    /// Give a relay's place back.
    Release(P),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Idle { rest_until: Now },
    Asked,
    Used,
}

#[derive(Debug)]
pub(crate) struct Reach<P, A> {
    mode: Reachability,
    confirmed: BTreeSet<A>,
    serves: bool,
    /// Known relays, with the refusals in a row.
    relays: BTreeMap<P, (State, u32)>,
    first_tick: Option<Now>,
}

impl<P: Ord + Copy, A: Ord> Reach<P, A> {
    pub(crate) const fn new(mode: Reachability) -> Self {
        Self { mode, confirmed: BTreeSet::new(), serves: false, relays: BTreeMap::new(), first_tick: None }
    }

    /// The addresses that can be reached.
    pub(crate) fn confirmed(&self) -> impl Iterator<Item = &A> {
        self.confirmed.iter()
    }

    /// The relays that gave this node a place.
    pub(crate) fn relays(&self) -> impl Iterator<Item = P> {
        self.relays.iter().filter(|(_, (state, _))| *state == State::Used).map(|(peer, _)| *peer)
    }

    /// How many relays are remembered.
    #[cfg(test)]
    pub(crate) fn size(&self) -> usize {
        self.relays.len()
    }

    fn serve(&mut self, effects: &mut Effects<Effect<P>>) {
        let serves = !self.confirmed.is_empty();
        if serves == self.serves {
            return;
        }
        self.serves = serves;
        effects.push(Effect::Serve(serves));
        if serves {
            for (peer, (state, _)) in &mut self.relays {
                if matches!(*state, State::Asked | State::Used) {
                    *state = State::Idle { rest_until: Now(0) };
                    effects.push(Effect::Release(*peer));
                }
            }
        }
    }

    fn wants_relays(&self, now: Now) -> bool {
        match self.mode {
            Reachability::Assumed => false,
            Reachability::Relayed => !self.serves,
            Reachability::Probed => {
                let patience = self.first_tick.map(|then| then.plus_ms(PROBE_PATIENCE_MS));
                !self.serves && patience.is_some_and(|over| over <= now)
            }
        }
    }

    fn tick(&mut self, now: Now, effects: &mut Effects<Effect<P>>) {
        self.first_tick.get_or_insert(now);
        if !self.wants_relays(now) {
            return;
        }
        let taken = self.relays.values().filter(|(state, _)| !matches!(state, State::Idle { .. })).count();
        let rested = self
            .relays
            .iter_mut()
            .filter(|(_, (state, _))| matches!(state, State::Idle { rest_until } if *rest_until <= now));
        let mut rested: Vec<_> = rested.collect();
        rested.sort_by_key(|(_, (_, refusals))| *refusals);
        for (peer, (state, _)) in rested.into_iter().take(RELAYS_USED.saturating_sub(taken)) {
            *state = State::Asked;
            effects.push(Effect::Reserve(*peer));
        }
    }
}

impl<P: Ord + Copy, A: Ord> Machine for Reach<P, A> {
    type Input = Input<P, A>;
    type Effect = Effect<P>;

    fn handle(&mut self, input: Input<P, A>, now: Now, effects: &mut Effects<Effect<P>>) {
        match input {
            Input::Confirmed(address) => {
                self.confirmed.insert(address);
                self.serve(effects);
            }
            Input::Expired(address) => {
                self.confirmed.remove(&address);
                self.serve(effects);
            }
            Input::RelayUp(peer) => {
                if self.relays.len() < RELAYS_KNOWN_MAX {
                    self.relays.entry(peer).or_insert((State::Idle { rest_until: now }, 0));
                }
            }
            Input::RelayDown(peer) => {
                self.relays.remove(&peer);
            }
            Input::Reserved(peer) => {
                if let Some(entry @ (State::Asked, _)) = self.relays.get_mut(&peer) {
                    *entry = (State::Used, 0);
                }
            }
            Input::Refused(peer) => {
                if let Some((state @ (State::Asked | State::Used), refusals)) = self.relays.get_mut(&peer) {
                    let rest = (RELAY_REST_MS_MIN << (*refusals).min(16)).min(RELAY_REST_MS_MAX);
                    *refusals = refusals.saturating_add(1);
                    *state = State::Idle { rest_until: now.plus_ms(rest) };
                }
            }
            Input::Tick => self.tick(now, effects),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Machine8 = Reach<u8, u8>;

    fn run(machine: &mut Machine8, input: Input<u8, u8>, now: u64) -> Vec<Effect<u8>> {
        let mut effects = Effects::new();
        machine.handle(input, Now(now), &mut effects);
        effects.drain().collect()
    }

    #[test]
    fn a_node_serves_once_somebody_has_reached_it_and_no_longer_when_that_is_gone() {
        let mut machine = Reach::new(Reachability::Probed);
        assert_eq!(run(&mut machine, Input::Confirmed(1), 0), [Effect::Serve(true)]);
        assert_eq!(run(&mut machine, Input::Confirmed(2), 1), []);
        assert_eq!(run(&mut machine, Input::Expired(1), 2), []);
        assert_eq!(run(&mut machine, Input::Expired(2), 3), [Effect::Serve(false)]);
        assert_eq!(run(&mut machine, Input::Expired(2), 4), []);
    }

    #[test]
    fn a_node_that_nobody_reaches_asks_two_relays_after_a_while() {
        let mut machine = Reach::new(Reachability::Probed);
        for relay in 1..=3 {
            run(&mut machine, Input::RelayUp(relay), 0);
        }
        assert_eq!(run(&mut machine, Input::Tick, 0), []);
        assert_eq!(run(&mut machine, Input::Tick, PROBE_PATIENCE_MS - 1), []);
        let asked = run(&mut machine, Input::Tick, PROBE_PATIENCE_MS);
        assert_eq!(asked, [Effect::Reserve(1), Effect::Reserve(2)]);
        run(&mut machine, Input::Reserved(1), PROBE_PATIENCE_MS);
        assert_eq!(machine.relays().collect::<Vec<_>>(), [1]);
        // One that refuses makes way for the next, and rests.
        run(&mut machine, Input::Refused(2), PROBE_PATIENCE_MS);
        assert_eq!(run(&mut machine, Input::Tick, PROBE_PATIENCE_MS), [Effect::Reserve(3)]);
        run(&mut machine, Input::RelayDown(3), PROBE_PATIENCE_MS);
        let rested = PROBE_PATIENCE_MS + RELAY_REST_MS_MIN;
        assert_eq!(run(&mut machine, Input::Tick, rested - 1), []);
        assert_eq!(run(&mut machine, Input::Tick, rested), [Effect::Reserve(2)]);
        // Reached at last: the relays are not needed.
        let effects = run(&mut machine, Input::Confirmed(9), rested);
        assert_eq!(effects, [Effect::Serve(true), Effect::Release(1), Effect::Release(2)]);
        assert_eq!(run(&mut machine, Input::Tick, rested * 2), []);
        assert_eq!(machine.relays().count(), 0);
    }

    #[test]
    fn a_node_that_only_dials_asks_at_once_and_one_that_is_open_never() {
        let mut home = Reach::new(Reachability::Relayed);
        run(&mut home, Input::RelayUp(1), 0);
        assert_eq!(run(&mut home, Input::Tick, 0), [Effect::Reserve(1)]);
        assert_eq!(run(&mut home, Input::Tick, u64::MAX), []);
        let mut open = Reach::new(Reachability::Assumed);
        run(&mut open, Input::RelayUp(1), 0);
        assert_eq!(run(&mut open, Input::Tick, u64::MAX), []);
    }

    #[test]
    fn a_relay_that_keeps_refusing_is_asked_ever_less_often_and_not_forgotten() {
        let mut machine = Reach::new(Reachability::Relayed);
        run(&mut machine, Input::RelayUp(1), 0);
        let mut now = 0;
        for refusals in 0..20_u32 {
            assert_eq!(run(&mut machine, Input::Tick, now), [Effect::Reserve(1)], "{refusals}");
            run(&mut machine, Input::Refused(1), now);
            let rest = (RELAY_REST_MS_MIN << refusals.min(16)).min(RELAY_REST_MS_MAX);
            assert_eq!(run(&mut machine, Input::Tick, now + rest - 1), []);
            now += rest;
        }
    }

    #[test]
    fn relays_known_are_bounded() {
        let mut machine: Machine8 = Reach::new(Reachability::Relayed);
        for relay in 0..=u8::MAX {
            run(&mut machine, Input::RelayUp(relay), 0);
        }
        assert_eq!(machine.relays.len(), RELAYS_KNOWN_MAX);
    }
}
