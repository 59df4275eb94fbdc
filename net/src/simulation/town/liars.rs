//! What liars do.

use libp2p::kad::ProviderRecord;
use weft_protocol::Id;

use super::gossip::Announcement;
use super::node::Vice;
use super::world::{Letter, World};
use super::{NODES, STEP_MS};
use crate::conduct::Fault;
use crate::discovery::machine::book;
use crate::gossip::flood;
use crate::key::Key;
use crate::limits::{FAULTS_MAX, PROVIDER_RECORDS_PER_PEER_MAX, PROVIDER_TTL};

/// Announcements and topics with which a peer is flooded in a second.
const FLOOD: (usize, u64) = (150, 500);
/// When tables are filled.
const HOARDED_AT_MS: u64 = 160_000;
/// Strangers that say where they are: the book is the machine of another simulation.
const MET: usize = 100;

impl World {
    pub(super) fn lie(&mut self, step_ms: u64) {
        if self.liars_rest {
            return;
        }
        for node in self.live() {
            match self.nodes[node].vice {
                Some(Vice::Forges) => self.forge(node),
                Some(Vice::Floods) if step_ms == STEP_MS => self.flood(node),
                Some(Vice::Vanishes) => self.vanish(node),
                Some(Vice::Hoards) if self.now == HOARDED_AT_MS => self.hoard(node),
                Some(Vice::ReadsNothing) => self.ask_much(node),
                Some(Vice::Floods | Vice::Hoards | Vice::Advertises) | None => {}
            }
        }
    }

    /// Its honest peers that hear it.
    fn victims(&self, liar: usize) -> Vec<usize> {
        let peers = self.peers(liar).into_iter();
        peers.filter(|peer| self.nodes[*peer].is_honest() && self.link(liar, *peer).is_some()).collect()
    }

    fn forge(&mut self, liar: usize) {
        let forged = self.announce(liar, Announcement::Forged);
        for victim in self.victims(liar) {
            self.send(liar, victim, Letter::Announcement(forged));
        }
    }

    fn flood(&mut self, liar: usize) {
        let (announcements, topics) = FLOOD;
        for victim in self.victims(liar) {
            let first = self.now / STEP_MS * topics;
            for topic in first..first + topics {
                self.floods(victim, flood::Input::Joined(liar, topic));
            }
            for _ in 0..announcements {
                if self.link(liar, victim).is_some() {
                    let said = self.announce(liar, Announcement::Old);
                    self.on_announcement(victim, liar, said);
                }
            }
            // It comes again, as if it were another.
            self.disconnect(liar, victim);
            if let Some(relay) = self.way(liar, victim) {
                self.connect(liar, victim, relay);
            }
        }
    }

    fn vanish(&mut self, liar: usize) {
        let holders: Vec<(usize, u64)> =
            self.nodes[liar].run.places.iter().map(|(holder, number)| (*holder, *number)).collect();
        for (holder, number) in holders {
            match self.dice.roll(20) {
                0 => {
                    self.nodes[liar].run.places.remove(&holder);
                    self.send(liar, holder, Letter::Refused(number));
                }
                1 => self.disconnect(liar, holder),
                _ => {}
            }
        }
    }

    /// Gives somebody more records than anybody may have there, and has a crowd of names come and go that each do
    /// something wrong.
    fn hoard(&mut self, liar: usize) {
        let victims = self.victims(liar);
        let Some(victim) = self.dice.pick(&victims) else { return };
        let (provider, now) = (self.nodes[liar].name, self.instant());
        for number in 0..PROVIDER_RECORDS_PER_PEER_MAX + 100 {
            let mut id = [0xff; 32];
            id[..8].copy_from_slice(&(number as u64).to_be_bytes());
            let (key, expires) = (Key::Process(Id(id)).record_key(), Some(now + PROVIDER_TTL));
            let record = ProviderRecord { key, provider, expires, addresses: Vec::new() };
            if self.nodes[victim].run.store.add(record, now).is_err() {
                self.checker.refused += 1;
            }
        }
        for stranger in NODES..NODES + FAULTS_MAX + 100 {
            self.floods(victim, flood::Input::Came(stranger));
            if stranger < NODES + MET {
                let addresses = vec![stranger];
                self.book(victim, book::Input::Met { peer: stranger, addresses, dialled: false });
            }
            self.floods(victim, flood::Input::Announced(stranger));
            self.fault(victim, stranger, Fault::Malformed);
            self.floods(victim, flood::Input::Gone(stranger));
            self.book(victim, book::Input::Gone(stranger));
        }
    }

    /// Asks everybody, takes nothing of the answers, and nothing of what is announced either.
    fn ask_much(&mut self, liar: usize) {
        for victim in self.victims(liar) {
            self.floods(victim, flood::Input::Slow(liar));
            if let Some(key) = self.dice.pick(&self.keys)
                && self.dice.percent(30)
            {
                self.send(liar, victim, Letter::Ask(key));
            }
        }
    }
}
