//! Requests and large answers, who reads them, what was a lie, and who is shut out for it.

use std::collections::BTreeSet;

use weft_protocol::{Effects, Machine as _};

use super::node::{Answer, Vice};
use super::world::{Letter, World};
use super::{Mutation, SLOW_READER, STEP_MS};
use crate::conduct::{self, Fault};
use crate::key::Key;
use crate::readers;

/// Bytes of a large answer, and of all that a node may have on their way.
const ANSWER_BYTES: u64 = 8 << 20;
const ALL_ANSWERS_BYTES: u64 = 3 * ANSWER_BYTES;
/// How long an answer may take.
const ANSWER_MS: u64 = 30_000;
/// Bytes that a peer takes in a second at most.
const READ_BYTES: u64 = 3 << 20;
/// The same of the one who reads slowly, and all the time.
const READ_SLOWLY_BYTES: u64 = 64 << 10;

impl World {
    /// Asks somebody who is said to provide something for it.
    pub(super) fn ask(&mut self, node: usize) {
        let Some(key) = self.dice.pick(&self.keys) else { return };
        let mut found = self.lookup(node, key);
        found.remove(&node);
        let found: Vec<usize> = found.into_iter().collect();
        let Some(peer) = self.dice.pick(&found) else { return };
        if self.link(node, peer).is_some() {
            self.send(node, peer, Letter::Ask(key));
        } else {
            self.dial(node, peer);
        }
    }

    pub(super) fn on_ask(&mut self, own: usize, from: usize, key: Key) {
        if self.damaged == Some((own, from)) {
            return self.fault(own, from, Fault::Malformed);
        }
        let it = &self.nodes[own];
        if it.vice == Some(Vice::Advertises) {
            return self.send(own, from, Letter::Answer { is_true: false });
        }
        let waiting: u64 = it.run.answers.iter().map(|answer| answer.left).sum();
        // Where it is not, or not any more, nobody is to blame.
        if !it.provides.contains(&key) || it.run.readers.rests(&from, self.time()) {
            return;
        }
        if waiting + ANSWER_BYTES > ALL_ANSWERS_BYTES {
            if !it.run.answers.iter().any(|answer| answer.to == from) {
                self.readers(own, readers::Input::Short);
            }
            return;
        }
        let since = self.now;
        self.nodes[own].run.answers.push(Answer { to: from, left: ANSWER_BYTES, since });
        self.readers(own, readers::Input::Sent(from));
    }

    /// Peers take what they are sent, each as fast as it can just now.
    pub(super) fn follow_answers(&mut self, own: usize, step_ms: u64) {
        let now = self.now;
        let answers = std::mem::take(&mut self.nodes[own].run.answers);
        for mut answer in answers {
            let reader = answer.to;
            let reads = self.nodes[reader].vice != Some(Vice::ReadsNothing)
                && self.link(own, reader).is_some()
                && !self.dice.percent(self.loss);
            let most = if reader == SLOW_READER { READ_SLOWLY_BYTES } else { READ_BYTES };
            let taken = if reads { self.dice.roll(most * step_ms / 1000).min(answer.left) } else { 0 };
            if taken > 0 {
                answer.left -= taken;
                self.nodes[own].run.idle.remove(&reader);
                self.readers(own, readers::Input::Took(reader, taken));
            }
            let is_whole = answer.left == 0;
            if is_whole || answer.since + ANSWER_MS <= now {
                if self.mutation != Mutation::NeverEnds {
                    self.readers(own, readers::Input::Ended(reader));
                }
                if is_whole {
                    self.send(own, reader, Letter::Answer { is_true: true });
                }
            } else {
                self.nodes[own].run.answers.push(answer);
            }
        }
        let waiting: BTreeSet<usize> = self.nodes[own].run.answers.iter().map(|answer| answer.to).collect();
        for reader in waiting {
            *self.nodes[own].run.idle.entry(reader).or_insert(0) += step_ms.min(STEP_MS);
        }
        self.readers(own, readers::Input::Tick);
        self.check_readers(own);
    }

    pub(super) fn readers(&mut self, own: usize, input: readers::Input<usize>) {
        let mut effects = Effects::new();
        let now = self.time();
        self.nodes[own].run.readers.handle(input, now, &mut effects);
        for effect in effects.drain() {
            match effect {
                readers::Effect::Cut(peer) => {
                    let before = self.nodes[own].run.answers.len();
                    self.nodes[own].run.answers.retain(|answer| answer.to != peer);
                    for _ in self.nodes[own].run.answers.len()..before {
                        self.readers(own, readers::Input::Ended(peer));
                    }
                }
                readers::Effect::HangUp(peer) => {
                    self.after_hang_up(own, peer);
                    self.hang_up(own, peer);
                }
            }
        }
    }

    /// Ends the connection with a peer that takes nothing. It may come again.
    pub(super) fn hang_up(&mut self, own: usize, peer: usize) {
        if self.peers(own).contains(&peer) {
            self.nodes[own].run.unwanted.insert(peer);
            self.disconnect(own, peer);
        }
    }

    pub(super) fn on_answer(&mut self, own: usize, from: usize, is_true: bool) {
        if is_true {
            self.checker.answered += 1;
            return;
        }
        if self.mutation != Mutation::LiesAreFree {
            self.fault(own, from, Fault::Lie);
        }
        self.after_lie(own, from);
    }

    pub(super) fn fault(&mut self, own: usize, peer: usize, fault: Fault) {
        self.conduct(own, conduct::Input::Fault(peer, fault));
    }

    pub(super) fn conduct(&mut self, own: usize, input: conduct::Input<usize>) {
        let mut effects = Effects::new();
        let now = self.time();
        self.nodes[own].run.conduct.handle(input, now, &mut effects);
        for effect in effects.drain() {
            match effect {
                conduct::Effect::Score(peer, 0) => {
                    self.nodes[own].run.scores.points.remove(&peer);
                }
                conduct::Effect::Score(peer, points) => {
                    self.nodes[own].run.scores.points.insert(peer, points);
                }
                conduct::Effect::Ban(peer) => {
                    self.nodes[own].run.banned.insert(peer);
                    self.after_ban(own, peer);
                    self.disconnect(own, peer);
                }
                conduct::Effect::Unban(peer) => {
                    self.nodes[own].run.banned.remove(&peer);
                }
            }
        }
    }
}
