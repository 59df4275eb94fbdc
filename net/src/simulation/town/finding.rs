//! Provider records: who writes them where, and who is found. In place of Kademlia's table each node knows those of
//! its peers that serve, and asks its way to the few nearest to a key.

use std::collections::BTreeSet;

use libp2p::kad::ProviderRecord;
use libp2p::kad::store::RecordStore as _;
use weft_protocol::{Effects, Machine as _};

use super::node::Vice;
use super::world::{Event, World};
use super::{FIRST_MS, Mutation, NODES};
use crate::discovery::machine::provide;
use crate::key::Key;
use crate::limits::PROVIDER_TTL;
use crate::peer::Peer;
use crate::simulation::dice::mixed;

/// To how many peers a record is written: as small a part of the town as the library's 20 are of a network.
const NEAR: usize = 4;

impl World {
    /// Where a key is among the nodes.
    fn place_of(&self, key: &Key) -> u64 {
        let number = self.keys.iter().position(|own| own == key).unwrap_or_default();
        mixed(1_000 + number as u64)
    }

    /// What a node provides, as drawn: honest ones what their operators say, who advertises everything.
    pub(super) fn choose_provided(&mut self, node: usize) {
        let keys = self.keys.clone();
        let name = Peer(self.nodes[node].name);
        let all = self.nodes[node].vice == Some(Vice::Advertises);
        let chosen = keys.into_iter().filter(|key| match key {
            Key::Process(_) => all || self.dice.percent(30),
            Key::Lobby(_) => all || self.dice.percent(60),
            Key::Address(_) => all || key.admits(&name),
        });
        self.nodes[node].provides = chosen.collect();
    }

    /// The operator of a node changes what it provides.
    pub(super) fn change_provided(&mut self, node: usize) {
        let Some(key) = self.dice.pick(&self.keys) else { return };
        if !key.admits(&Peer(self.nodes[node].name)) {
            return;
        }
        if self.nodes[node].provides.insert(key) {
            self.provided(node, provide::Input::Provide(key));
        } else {
            self.stop_providing(node, key);
        }
    }

    pub(super) fn stop_providing(&mut self, node: usize, key: Key) {
        let it = &mut self.nodes[node];
        it.provides.remove(&key);
        let name = it.name;
        it.run.store.remove_provider(&key.record_key(), &name);
        if self.mutation != Mutation::NeverStops {
            self.provided(node, provide::Input::Stop(key));
        }
    }

    /// Somebody may be new in a node's table.
    pub(super) fn route(&mut self, node: usize, peer: usize) {
        if node != peer && self.nodes[node].run.routes.insert(peer) {
            self.provided(node, provide::Input::NewPeer);
        }
    }

    pub(super) fn provided(&mut self, node: usize, input: provide::Input<Key>) {
        let is_again = matches!(input, provide::Input::Tick | provide::Input::NewPeer) && self.now > FIRST_MS;
        if self.mutation == Mutation::NeverRefreshes && is_again {
            return;
        }
        let mut writes = Effects::new();
        let now = self.time();
        self.nodes[node].run.provided.handle(input, now, &mut writes);
        for key in writes.drain() {
            self.write(node, key);
        }
    }

    /// Writes a record to those nearest to its key.
    fn write(&mut self, node: usize, key: Key) {
        let (place, provider, instant) = (self.place_of(&key), self.nodes[node].name, self.instant());
        if self.nodes[node].provides.contains(&key) {
            let own =
                ProviderRecord { key: key.record_key(), provider, expires: None, addresses: Vec::new() };
            // One of its own is always taken.
            let _ = self.nodes[node].run.store.add(own, instant);
        }
        for near in self.walk(node, place) {
            let copies = 1 + usize::from(self.dice.percent(self.doubling));
            for _ in 0..copies {
                let after_ms = 5 + self.dice.roll(self.delay_ms);
                if !self.dice.percent(self.loss) {
                    self.post(after_ms, Event::Record { from: node, to: near, key });
                }
            }
        }
    }

    pub(super) fn on_record(&mut self, from: usize, own: usize, key: Key) {
        let hears = self.can_talk(from, own) && !self.bars(from, own) && self.nodes[own].run.serves;
        // A liar keeps nothing for anybody.
        if !hears || !self.nodes[own].is_honest() {
            return;
        }
        let (provider, now) = (self.nodes[from].name, self.instant());
        // As the library makes it: a record ends so long after it came.
        let expires = Some(now + PROVIDER_TTL);
        let record = ProviderRecord { key: key.record_key(), provider, expires, addresses: Vec::new() };
        if self.nodes[own].run.store.add(record, now).is_err() {
            self.checker.refused += 1;
        }
    }

    /// Whether a node answers what another asks on its way.
    fn answers(&mut self, from: usize, peer: usize) -> bool {
        if peer >= NODES || !self.nodes[peer].run.serves || self.bars(from, peer) {
            return false;
        }
        self.link(from, peer).is_some() || self.way(from, peer).is_some()
    }

    fn distance(place: u64, node: usize) -> u64 {
        place ^ mixed(node as u64)
    }

    /// Asks for those nearest to a place, and comes to know all who answer.
    pub(super) fn walk(&mut self, node: usize, place: u64) -> Vec<usize> {
        let near = |peer: &usize| (Self::distance(place, *peer), *peer);
        let mut known: BTreeSet<(u64, usize)> = self.nodes[node].run.routes.iter().map(near).collect();
        let mut asked = BTreeSet::new();
        while let Some(next) = known.iter().take(NEAR).find(|next| !asked.contains(*next)).copied() {
            asked.insert(next);
            let (_, peer) = next;
            if !self.answers(node, peer) {
                known.remove(&next);
                continue;
            }
            let others: BTreeSet<(u64, usize)> = self.nodes[peer].run.routes.iter().map(near).collect();
            // Who was asked and did not answer is not asked again.
            known.extend(
                others
                    .into_iter()
                    .take(NEAR)
                    .filter(|(_, other)| *other != node)
                    .filter(|other| !asked.contains(other)),
            );
            self.route(node, peer);
        }
        known.into_iter().take(NEAR).map(|(_, peer)| peer).collect()
    }

    /// Those who are said to provide something.
    pub(super) fn lookup(&mut self, node: usize, key: Key) -> BTreeSet<usize> {
        let now = self.instant();
        let mut asked = self.walk(node, self.place_of(&key));
        asked.push(node);
        let mut found = BTreeSet::new();
        for peer in asked {
            let records = self.nodes[peer].run.store.providers(&key.record_key());
            // As the library does before it tells anybody.
            let valid = records.into_iter().filter(|record| !record.is_expired(now));
            let admitted = valid.filter(|record| key.admits(&Peer(record.provider)));
            found.extend(admitted.filter_map(|record| self.numbered(&record.provider)));
        }
        found
    }

    fn numbered(&self, name: &libp2p::PeerId) -> Option<usize> {
        self.nodes.iter().position(|node| node.name == *name)
    }
}
