//! What is announced: who hears it, the one verdict on it, how much a peer may say, and what its score is.

use std::collections::BTreeMap;

use libp2p::gossipsub::TopicScoreParams;
use weft_protocol::{Effects, Machine as _};

use super::Mutation;
use super::world::{Letter, Task, World};
use crate::conduct::Fault;
use crate::gossip::flood;
use crate::gossip::machine::{self as tickets, Verdict};
use crate::gossip::params;
use crate::limits::{DUPLICATE_CACHE, TICKET_MS_MAX};

/// Announcements that may wait for a node's verifiers.
const EVENTS_MAX: usize = 100;

/// How often a node forgets what it heard long ago.
const FORGET_MS: u64 = 60_000;

/// What an announcement is, which its verifier finds out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Announcement {
    True,
    Forged,
    /// Of an old slot, in other bytes than before: no lie, and of no use to anybody.
    Old,
}

/// An announcement that was handed up.
#[derive(Debug, Clone, Copy)]
pub(super) struct Heard {
    /// Which time this is that anything was.
    pub(super) number: u64,
    pub(super) announcement: u64,
    pub(super) from: usize,
}

/// Of the score that gossipsub keeps of a peer, what the town can change: it is computed as the library does, with
/// this crate's parameters. What a peer gains by being useful is left out.
#[derive(Debug, Default)]
pub(super) struct Scores {
    /// What the conduct machine said.
    pub(super) points: BTreeMap<usize, u32>,
    /// Invalid announcements, which fade.
    invalid: BTreeMap<usize, f64>,
}

/// This crate's parameters of those.
pub(super) struct Weights {
    points: f64,
    invalid: f64,
    /// What is left of an invalid announcement after a second.
    left_per_s: f64,
}

impl Weights {
    pub(super) fn new() -> Self {
        let (peer, topic) = (params::peer_score(), params::topic_score());
        let TopicScoreParams { topic_weight, invalid_message_deliveries_weight: weight, .. } = topic;
        let seconds = peer.decay_interval.as_secs_f64();
        Self {
            points: peer.app_specific_weight,
            invalid: topic_weight * weight,
            left_per_s: topic.invalid_message_deliveries_decay.powf(1.0 / seconds),
        }
    }
}

impl World {
    /// Whether a node hears nothing that a peer says.
    pub(super) fn graylists(&self, node: usize, peer: usize) -> bool {
        let scores = &self.nodes[node].run.scores;
        let points = scores.points.get(&peer).copied().unwrap_or(0);
        let invalid = scores.invalid.get(&peer).copied().unwrap_or(0.0);
        let weights = &self.weights;
        invalid.mul_add(invalid * weights.invalid, -f64::from(points) * weights.points)
            < params::GRAYLIST_THRESHOLD
    }

    /// Lets invalid announcements fade, and forgets what was heard long ago.
    pub(super) fn fade(&mut self, node: usize, step_ms: u64) {
        let left = self.weights.left_per_s.powf(step_ms as f64 / 1000.0);
        let (now, run) = (self.now, &mut self.nodes[node].run);
        run.scores.invalid.retain(|_, count| {
            *count *= left;
            *count > 0.01
        });
        if now.is_multiple_of(FORGET_MS) {
            let kept_ms = DUPLICATE_CACHE.as_millis() as u64;
            run.heard.retain(|_, at| *at + kept_ms > now);
        }
    }

    /// A node says something to all its peers: something new, or what is known already.
    pub(super) fn publish(&mut self, node: usize, announcement: u64) {
        let now = self.now;
        if self.nodes[node].run.heard.insert(announcement, now).is_none() {
            self.hand_on(node, announcement, None);
        }
    }

    /// A new announcement.
    pub(super) fn announce(&mut self, node: usize, what: Announcement) -> u64 {
        let number = self.announcements.len() as u64;
        self.announcements.push(what);
        if what == Announcement::True {
            self.nodes[node].known.insert(number);
        }
        number
    }

    fn hand_on(&mut self, node: usize, announcement: u64, but: Option<usize>) {
        for peer in self.peers(node) {
            if Some(peer) != but && !self.graylists(node, peer) {
                self.send(node, peer, Letter::Announcement(announcement));
            }
        }
    }

    pub(super) fn on_announcement(&mut self, own: usize, from: usize, announcement: u64) {
        let now = self.now;
        if self.graylists(own, from) || self.nodes[own].run.heard.contains_key(&announcement) {
            return;
        }
        self.nodes[own].run.heard.insert(announcement, now);
        let heard = Heard { number: self.number(), announcement, from };
        self.nodes[own].run.open.insert(heard.number, now);
        if !self.floods(own, flood::Input::Announced(from)) {
            self.report(own, heard, Verdict::Ignore);
            return;
        }
        self.tickets(own, tickets::Input::Received(heard), Some(heard));
    }

    /// Hands an announcement to the verifiers of a node: most answer soon, some late or never, some twice.
    fn deliver(&mut self, own: usize, ticket: u64, heard: Heard) {
        if self.nodes[own].run.events >= EVENTS_MAX {
            self.tickets(own, tickets::Input::Undelivered(ticket), None);
            return;
        }
        let chance = self.dice.roll(200);
        if chance == 0 && self.loss > 0 {
            return;
        }
        let after_ms = match chance {
            1..5 if self.loss > 0 => TICKET_MS_MAX - 1_000 + self.dice.roll(6_000),
            _ => self.dice.roll(400),
        };
        let is_known = self.nodes[own].known.contains(&heard.announcement);
        let verdict = match self.announcements[heard.announcement as usize] {
            Announcement::Forged => Verdict::Reject,
            Announcement::True if !is_known => Verdict::Accept,
            _ if self.mutation == Mutation::OldIsFalse => Verdict::Reject,
            _ => Verdict::Ignore,
        };
        self.nodes[own].run.events += 1;
        self.later(own, after_ms, Task::Verdict { ticket, heard, verdict });
        if self.dice.percent(5) {
            self.nodes[own].run.events += 1;
            self.later(own, after_ms + 1, Task::Verdict { ticket, heard, verdict });
        }
    }

    pub(super) fn on_verdict(&mut self, own: usize, ticket: u64, heard: Heard, verdict: Verdict) {
        self.nodes[own].run.events -= 1;
        if verdict == Verdict::Accept {
            // It is on disk, whether it is handed on or not.
            self.nodes[own].known.insert(heard.announcement);
        }
        self.tickets(own, tickets::Input::Decided(ticket, verdict), Some(heard));
    }

    pub(super) fn tickets(&mut self, own: usize, input: tickets::Input<Heard>, of: Option<Heard>) {
        let mut effects = Effects::new();
        let now = self.time();
        self.nodes[own].run.tickets.handle(input, now, &mut effects);
        for effect in effects.drain() {
            match (effect, of) {
                (tickets::Effect::Deliver(ticket), Some(heard)) => self.deliver(own, ticket, heard),
                (tickets::Effect::Report(heard, verdict, _), _) => self.report(own, heard, verdict),
                (tickets::Effect::Late, Some(heard)) if self.mutation == Mutation::ReportsLate => {
                    self.report(own, heard, Verdict::Ignore);
                }
                (tickets::Effect::Late | tickets::Effect::Deliver(_), _) => self.checker.late += 1,
            }
        }
    }

    /// What gossipsub is told.
    fn report(&mut self, own: usize, heard: Heard, verdict: Verdict) {
        self.checker.verdicts += 1;
        if self.nodes[own].run.open.remove(&heard.number).is_none() {
            self.violated(format!("node {own}: an announcement has two verdicts"));
        }
        match verdict {
            Verdict::Accept => self.hand_on(own, heard.announcement, Some(heard.from)),
            Verdict::Ignore => {}
            Verdict::Reject => {
                *self.nodes[own].run.scores.invalid.entry(heard.from).or_insert(0.0) += 1.0;
                self.after_forgery(own, heard.from);
            }
        }
    }

    /// Says whether the announcement that this may be is heard.
    pub(super) fn floods(&mut self, own: usize, input: flood::Input<usize>) -> bool {
        let (mut effects, mut heard) = (Effects::new(), true);
        let now = self.time();
        self.nodes[own].run.floods.handle(input, now, &mut effects);
        if let flood::Input::Announced(peer) = input {
            self.checker.said(own, peer, self.now);
        }
        for effect in effects.drain() {
            match effect {
                flood::Effect::Unheard => heard = false,
                flood::Effect::Flood(peer) => self.fault(own, peer, Fault::Flood),
                flood::Effect::HangUp(peer) => self.hang_up(own, peer),
            }
        }
        if let flood::Input::Announced(peer) = input {
            self.after_saying(own, peer);
        }
        heard
    }
}
