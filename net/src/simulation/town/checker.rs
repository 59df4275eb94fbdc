//! What must hold, at every moment and at the end.

use std::collections::{BTreeMap, BTreeSet};

use super::NODES;
use super::gossip::Announcement;
use super::node::{PATIENCE_MS, PER_S, Vice};
use super::world::World;
use crate::discovery::machine::reach::Reachability;
use crate::key::Key;
use crate::limits::{
    ANNOUNCEMENTS_BEYOND_SHARE, ANNOUNCEMENTS_BURST_S, BANNED_MAX, BOOK_PEERS_MAX, FAULTS_MAX,
    FLOODS_GONE_MAX, LOST_MAX, PROVIDED_MAX, PROVIDER_RECORDS_MAX, PROVIDER_RECORDS_PER_PEER_MAX,
    READERS_RESTING_MAX, RELAYS_KNOWN_MAX, RELAYS_USED, TICKET_MS_MAX, TICKETS_MAX,
};

/// Violations that are kept: the first say most.
const VIOLATIONS_MAX: usize = 20;
/// Lies within so long shut a peer out: three, as few of their points fade meanwhile.
const LIES: (usize, u64) = (3, 60_000);
/// The same of forged announcements, which count by their square.
const FORGERIES: (usize, u64) = (4, 30_000);
/// How long what a peer says is counted.
const SAID_MS: u64 = 30_000;
/// How late a tick may be.
const LATE_MS: u64 = 3_000;

/// What was seen so far.
#[derive(Debug, Default)]
pub(super) struct Checker {
    pub(super) violations: Vec<String>,
    /// Whether what was looked for is among them.
    pub(super) is_noticed: bool,
    pub(super) verdicts: u64,
    pub(super) late: u64,
    pub(super) answered: u64,
    /// Places at relays that those had in the end whom nobody can dial.
    pub(super) relayed: u64,
    /// Provider records that were not taken.
    pub(super) refused: u64,
    /// How often liars were shut out, by what they did.
    pub(super) shut_out: BTreeMap<Vice, u64>,
    /// Honest peers that were shut out for what a connection damaged.
    pub(super) mistaken: u64,
    /// Between whom connections damage what is sent.
    pub(super) excused: BTreeSet<(usize, usize)>,
    /// When who lied to whom, by the one who heard it.
    lies: BTreeMap<(usize, usize), Vec<u64>>,
    forgeries: BTreeMap<(usize, usize), Vec<u64>>,
    /// Since when how much was said.
    said: BTreeMap<(usize, usize), (u64, u64)>,
}

impl Checker {
    /// A node was killed, and knows nothing of what was done to it.
    pub(super) fn forget(&mut self, node: usize) {
        self.lies.retain(|(own, _), _| *own != node);
        self.forgeries.retain(|(own, _), _| *own != node);
        self.said.retain(|(own, _), _| *own != node);
    }

    /// A peer said something.
    pub(super) fn said(&mut self, own: usize, peer: usize, now: u64) {
        let (since, count) = self.said.entry((own, peer)).or_insert((now, 0));
        if *since + SAID_MS < now {
            (*since, *count) = (now, 0);
        }
        *count += 1;
    }
}

/// One more at this time: whether there were as many as may be within so long.
fn is_one_too_many(times: &mut Vec<u64>, (count, within): (usize, u64), now: u64) -> bool {
    times.retain(|at| *at + within > now);
    times.push(now);
    times.len() >= count
}

impl World {
    pub(super) fn violated(&mut self, what: String) {
        self.checker.is_noticed |= self.sign.is_some_and(|sign| what.contains(sign));
        if self.checker.violations.len() < VIOLATIONS_MAX {
            self.checker.violations.push(format!("at {} s: {what}", self.now / 1000));
        }
    }

    fn are_honest(&self, a: usize, b: usize) -> bool {
        a < NODES && b < NODES && self.nodes[a].is_honest() && self.nodes[b].is_honest()
    }

    fn vice(&self, peer: usize) -> Option<Vice> {
        self.nodes.get(peer).and_then(|node| node.vice)
    }

    pub(super) fn after_lie(&mut self, own: usize, peer: usize) {
        let times = self.checker.lies.entry((own, peer)).or_default();
        if is_one_too_many(times, LIES, self.now) && !self.nodes[own].run.banned.contains(&peer) {
            self.violated(format!("node {own} does not shut out {peer}, who lies"));
        }
    }

    pub(super) fn after_forgery(&mut self, own: usize, peer: usize) {
        let times = self.checker.forgeries.entry((own, peer)).or_default();
        let is_enough = is_one_too_many(times, FORGERIES, self.now);
        let graylists = self.graylists(own, peer);
        if graylists && self.are_honest(own, peer) {
            self.violated(format!("node {own} hears nothing of honest {peer}"));
        }
        if is_enough && !graylists {
            self.violated(format!("node {own} hears {peer}, who forges"));
        }
        if graylists && let Some(vice) = self.vice(peer) {
            *self.checker.shut_out.entry(vice).or_default() += 1;
        }
    }

    /// Who says more than its allowance, and as much again, is shut out.
    pub(super) fn after_saying(&mut self, own: usize, peer: usize) {
        let Some((since, count)) = self.checker.said.get(&(own, peer)).copied() else { return };
        let per_s = u64::from(PER_S);
        let earned = (per_s + per_s / ANNOUNCEMENTS_BEYOND_SHARE) * (self.now - since) / 1000;
        let most = 2 * per_s * ANNOUNCEMENTS_BURST_S + earned + 2;
        if count > most && !self.nodes[own].run.banned.contains(&peer) {
            self.violated(format!("node {own} lets {peer} flood"));
        }
    }

    pub(super) fn after_ban(&mut self, own: usize, peer: usize) {
        for times in [&mut self.checker.lies, &mut self.checker.forgeries] {
            times.remove(&(own, peer));
        }
        self.checker.said.remove(&(own, peer));
        if let Some(vice) = self.vice(peer) {
            *self.checker.shut_out.entry(vice).or_default() += 1;
        } else if self.are_honest(own, peer) {
            self.checker.mistaken += 1;
            if !self.checker.excused.contains(&(own, peer)) {
                self.violated(format!("node {own} shuts out honest {peer}"));
            }
        }
    }

    pub(super) fn after_hang_up(&mut self, own: usize, peer: usize) {
        let idle = self.nodes[own].run.idle.get(&peer).copied().unwrap_or(0);
        if idle + LATE_MS < PATIENCE_MS {
            self.violated(format!("node {own} hangs up on {peer}, who reads"));
        }
        if let Some(vice) = self.vice(peer) {
            *self.checker.shut_out.entry(vice).or_default() += 1;
        }
    }

    pub(super) fn check_readers(&mut self, own: usize) {
        let idle = self.nodes[own].run.idle.iter();
        let late = idle.filter(|(_, idle)| **idle > PATIENCE_MS + LATE_MS).map(|(peer, _)| *peer);
        let late: Vec<usize> = late.collect();
        for peer in late {
            self.violated(format!("node {own} waits for {peer}, who reads nothing"));
        }
    }

    /// Nothing has grown beyond its limit, and no announcement waits longer than it may.
    pub(super) fn check_limits(&mut self) {
        for own in self.live() {
            let run = &self.nodes[own].run;
            let (connected, gone) = run.floods.sizes();
            let (readers, resting) = run.readers.sizes();
            let (records, most) = run.store.sizes();
            let sizes = [
                ("tickets", run.tickets.open(), TICKETS_MAX),
                ("faults", run.conduct.size(), FAULTS_MAX),
                ("banned peers", run.conduct.banned(), BANNED_MAX),
                ("allowances", connected, self.peers(own).len()),
                ("allowances of those who went", gone, FLOODS_GONE_MAX),
                ("readers", readers, self.peers(own).len()),
                ("resting readers", resting, READERS_RESTING_MAX),
                ("peers in the book", run.book.len(), BOOK_PEERS_MAX),
                ("lost peers", run.book.lost(), LOST_MAX),
                ("provided keys", run.provided.len(), PROVIDED_MAX),
                ("provider records", records, PROVIDER_RECORDS_MAX),
                ("provider records of one", most, PROVIDER_RECORDS_PER_PEER_MAX),
                ("relays", run.reach.size(), RELAYS_KNOWN_MAX),
                ("places at relays", run.reach.relays().count(), RELAYS_USED),
            ];
            let oldest = run.open.values().next().copied().unwrap_or(self.now);
            let beyond: Vec<_> = sizes.into_iter().filter(|(_, size, limit)| size > limit).collect();
            for (what, size, limit) in beyond {
                self.violated(format!("node {own} has {size} {what}, of {limit}"));
            }
            if oldest + TICKET_MS_MAX + LATE_MS < self.now {
                self.violated(format!("node {own}: an announcement has no verdict"));
            }
        }
    }

    /// Some time after the end of all trouble.
    pub(super) fn check_healed(&mut self) {
        let honest: Vec<usize> = (0..NODES).filter(|node| self.nodes[*node].is_honest()).collect();
        let mut met: BTreeSet<usize> = honest.first().copied().into_iter().collect();
        let mut queue: Vec<usize> = met.iter().copied().collect();
        while let Some(node) = queue.pop() {
            for peer in honest.iter().copied().filter(|peer| self.link(node, *peer).is_some()) {
                if met.insert(peer) {
                    queue.push(peer);
                }
            }
        }
        if met.len() < honest.len() {
            self.violated(format!("nodes {honest:?} are parted: {met:?}"));
        }
        for own in honest.iter().copied() {
            for peer in honest.iter().copied() {
                if self.nodes[own].run.banned.contains(&peer) {
                    self.violated(format!("node {own} still shuts out honest {peer}"));
                }
                if self.graylists(own, peer) {
                    self.violated(format!("node {own} hears nothing of honest {peer}"));
                }
            }
            self.check_reach(own);
        }
    }

    fn check_reach(&mut self, own: usize) {
        let it = &self.nodes[own];
        let relays: Vec<usize> = it.run.reach.relays().collect();
        let (serves, mode) = (it.run.serves, it.mode);
        if self.is_told_open(own) {
            let circuits: Vec<usize> = it.run.circuits.keys().copied().collect();
            if !serves || !relays.is_empty() || !circuits.is_empty() {
                self.violated(format!(
                    "node {own} can be dialled: serves {serves}, relays {relays:?}, asks for places at {circuits:?}"
                ));
            }
            return;
        }
        if serves {
            self.violated(format!("node {own} serves ({mode:?}), and nobody reaches it"));
        }
        let honest = |node: &usize| self.nodes[*node].is_honest();
        let (true_ones, others): (Vec<_>, Vec<_>) =
            relays.iter().copied().partition(|relay| self.has_place(own, *relay));
        let others: Vec<_> = others.into_iter().filter(honest).collect();
        let mut others_of_town = (0..NODES).filter(|node| *node != own && !relays.contains(node));
        let seeker = others_of_town.find(honest);
        // A node that its peers have dialled, all of them, knows no relay: nobody at home is.
        let dials = |peer: &usize| {
            self.link(own, *peer).is_some_and(|link| link.dialler == own && link.relay.is_none())
        };
        let known = (0..NODES).filter(honest).filter(|peer| self.nodes[*peer].run.serves).find(dials);
        if (true_ones.is_empty() && known.is_some()) || !others.is_empty() {
            self.violated(format!("node {own} has places at {true_ones:?}, and believes in {others:?}"));
        }
        self.checker.relayed += true_ones.len() as u64;
        if mode == Reachability::Relayed && seeker.is_some_and(|seeker| self.way(seeker, own).is_none()) {
            self.violated(format!("node {own} is not reached by its relays"));
        }
    }

    /// What each says now, everybody hears.
    pub(super) fn check_gossip(&mut self) {
        let honest: Vec<usize> = (0..NODES).filter(|node| self.nodes[*node].is_honest()).collect();
        let mut said = Vec::new();
        for node in honest.iter().copied() {
            let news = self.announce(node, Announcement::True);
            self.publish(node, news);
            said.push((node, news));
        }
        self.run(20_000, super::STEP_MS);
        for (from, news) in said {
            for own in honest.iter().copied() {
                if !self.nodes[own].known.contains(&news) {
                    self.violated(format!("node {own} has not heard what {from} said"));
                }
            }
        }
    }

    /// Everybody who provides something is found by everybody, and who stopped long ago is not.
    pub(super) fn check_found(&mut self, stopped: &[(usize, Key)]) -> u64 {
        let mut count = 0;
        for seeker in (0..NODES).filter(|node| self.nodes[*node].is_honest()).collect::<Vec<_>>() {
            for key in self.keys.clone() {
                let found = self.lookup(seeker, key);
                let nodes = self.nodes.iter().enumerate();
                let providers = nodes.filter(|(_, node)| node.is_honest() && node.provides.contains(&key));
                let missing: Vec<usize> =
                    providers.map(|(node, _)| node).filter(|node| !found.contains(node)).collect();
                let gone = stopped.iter().filter(|(node, of)| *of == key && found.contains(node));
                let gone: Vec<usize> = gone.map(|(node, _)| *node).collect();
                if !missing.is_empty() {
                    self.violated(format!("{missing:?} provide {key:?} and are not found by {seeker}"));
                }
                if !gone.is_empty() {
                    self.violated(format!("{gone:?} provide {key:?} no longer and are found by {seeker}"));
                }
                count += found.len() as u64;
            }
        }
        count
    }
}
