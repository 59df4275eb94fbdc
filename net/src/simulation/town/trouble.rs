//! What happens to the honest: days like any other, trouble, and its end.

use super::gossip::Announcement;
use super::world::{Letter, World};
use super::{LIARS, NODES, SLOW_READER, STEP_MS};
use crate::conduct::Fault;
use crate::key::Key;

/// How long one spell of trouble lasts.
pub(super) const SPELL_MS: u64 = 40_000;
/// Requests that come in pieces over a damaged connection: more than shut a peer out.
const DAMAGED: usize = 45;

impl World {
    /// What honest nodes have to say and to ask.
    pub(super) fn bustle(&mut self) {
        for node in self.live() {
            // Who reads slowly asks again before the last answer has come.
            if node == SLOW_READER && self.bustle > 0 && self.dice.percent(30) {
                self.ask(node);
            }
            if !self.nodes[node].is_honest() || !self.dice.percent(self.bustle) {
                continue;
            }
            match self.dice.roll(5) {
                0 => {
                    let news = self.announce(node, Announcement::True);
                    self.publish(node, news);
                }
                1 => {
                    let old = self.announce(node, Announcement::Old);
                    self.publish(node, old);
                }
                _ => self.ask(node),
            }
        }
    }

    /// Every honest node asks all its peers for something that they cannot read, as newer ones may now and then.
    pub(super) fn ask_oddly(&mut self) {
        for node in self.live() {
            let peers = self.peers(node).into_iter();
            for peer in peers.filter(|_| !LIARS.contains(&node)) {
                self.fault(peer, node, Fault::Malformed);
            }
        }
    }

    /// A spell in which much is lost, late and doubled, and something else happens.
    pub(super) fn trouble(&mut self) {
        self.loss = self.dice.roll(40);
        self.doubling = self.dice.roll(30);
        self.delay_ms = 100 + self.dice.roll(5_000);
        let node = self.dice.roll(NODES as u64) as usize;
        match self.dice.roll(8) {
            0 | 1 => self.kill(node, false),
            2 => self.kill(node, true),
            3 => self.cut = Some((0..NODES).map(|_| self.dice.percent(50)).collect()),
            4 => {
                let broken: Vec<_> = self.links.keys().copied().filter(|_| self.dice.percent(30)).collect();
                for (a, b) in broken {
                    self.disconnect(a, b);
                }
            }
            5 => {
                let stalled: Vec<_> = self.links.keys().copied().filter(|_| self.dice.percent(30)).collect();
                for ends in stalled {
                    self.stall(ends, SPELL_MS / 2);
                }
            }
            _ => self.cut = None,
        }
        if self.dice.percent(40) {
            let node = self.dice.roll(NODES as u64) as usize;
            self.kill(node, false);
        }
        for node in 0..NODES {
            let lets_in = self.dice.percent(50);
            if self.dice.percent(60) {
                self.turn(node, lets_in);
            }
        }
        for node in self.live() {
            if self.nodes[node].is_honest() && self.dice.percent(20) {
                self.change_provided(node);
            }
        }
        self.run(SPELL_MS / 2, STEP_MS);
        self.damage();
        self.run(SPELL_MS / 2, STEP_MS);
        self.damaged = None;
        // Who was away is back before long, or much later.
        for node in 0..NODES {
            if !self.nodes[node].up && self.dice.percent(50) {
                self.restart(node);
            }
        }
    }

    /// One connection between honest nodes damages what is sent over it.
    fn damage(&mut self) {
        let honest = |node: usize| !LIARS.contains(&node);
        let ends: Vec<_> = self.links.keys().copied().filter(|(a, b)| honest(*a) && honest(*b)).collect();
        let is_enough = self.checker.excused.len() > 1;
        let Some((own, from)) = self.dice.pick(&ends).filter(|_| !is_enough) else { return };
        self.damaged = Some((own, from));
        self.checker.excused.insert((own, from));
        for _ in 0..DAMAGED {
            self.send(from, own, Letter::Ask(self.keys[0]));
        }
    }

    /// All trouble is over, and everybody is back. Liars go on.
    pub(super) fn heal(&mut self) {
        (self.loss, self.doubling, self.delay_ms, self.cut) = (0, 0, 200, None);
        for node in 0..NODES {
            if !self.nodes[node].up {
                self.restart(node);
            }
            let lets_in = self.dice.percent(50);
            self.turn(node, lets_in);
        }
    }

    /// Half of what honest nodes provide they provide no longer: that.
    pub(super) fn stop_half(&mut self) -> Vec<(usize, Key)> {
        let mut stopped = Vec::new();
        for node in (0..NODES).filter(|node| !LIARS.contains(node)) {
            let half: Vec<Key> =
                self.nodes[node].provides.iter().copied().filter(|_| self.dice.percent(50)).collect();
            for key in half {
                self.stop_providing(node, key);
                stopped.push((node, key));
            }
        }
        stopped
    }
}
