//! On which process topics this node is, and which processes it follows by asking instead.
//!
//! A topic is a name; a mesh is a way to hear things sooner. Whoever schedules, computes or watches a process
//! wants its topic, and publishing needs none. A node may be on so many topics and no more: its
//! peers learn all of them at every connection. So the places go to those that matter most, and the
//! rest is followed by direct subscriptions. Joining and leaving costs a frame to every peer, and who
//! comes back too soon is kept out of the mesh: both are paced, and nobody leaves in a hurry.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use weft_protocol::{Effects, Id, Machine, Now};

/// Joins and leaves that may come at once: after a start nobody is connected who would hear of them.
pub const BURST: u64 = 2_048;
/// Joins and leaves in a second after that.
pub const PER_SECOND: u64 = 20;
/// How long a topic is kept that nobody here wants any more: it may be wanted again.
pub const LINGER_MS: u64 = 60_000;
/// How long a topic is kept at least before it makes way for another.
pub const STAY_MS: u64 = 2 * 60_000;
/// How long a topic that was left is not joined again: peers keep out who comes back sooner.
pub const AWAY_MS: u64 = 60_000;
/// A process in which nothing happened for so long makes way for one in which something does.
pub const QUIET_MS: u64 = 10 * 60_000;

/// What this node does with a process; what comes later matters more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Interest {
    /// It watches.
    Watches,
    /// It carries, and does not compute.
    Carries,
    /// It computes.
    Computes,
    /// It schedules.
    Schedules,
}

/// What the machine hears of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    /// This node now does this with a process.
    Want {
        /// Which.
        process: Id,
        /// What.
        interest: Interest,
    },
    /// This node does nothing with a process any more.
    Drop {
        /// Which.
        process: Id,
    },
    /// Its log grew.
    Heard {
        /// Whose.
        process: Id,
    },
    /// Time passed.
    Tick,
}

/// What the machine asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// Join the topic.
    Join(Id),
    /// Leave it.
    Leave(Id),
    /// Follow the process by a direct subscription.
    Subscribe(Id),
    /// No longer.
    Unsubscribe(Id),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Topic { since: Now },
    Direct,
}

#[derive(Debug, Clone, Copy)]
struct Want {
    interest: Interest,
    way: Way,
    heard: Now,
}

impl Want {
    /// Better comes later: more interest, then heard of more recently.
    fn rank(&self) -> (Interest, Now) {
        (self.interest, self.heard)
    }

    /// Whether peers are asked for it: who schedules a process has its log, on its topic or not. One under
    /// caution is asked for by the follower.
    fn is_asked(&self) -> bool {
        self.way == Way::Direct && self.interest != Interest::Schedules
    }
}

/// The topics of one node.
#[derive(Debug)]
pub struct Topics {
    limit: usize,
    wants: BTreeMap<Id, Want>,
    /// Topics that are kept though nobody wants them any more, and since when.
    lingering: BTreeMap<Id, Now>,
    /// Topics that were left, and when.
    left: BTreeMap<Id, Now>,
    joined: usize,
    tokens: u64,
    refilled: Option<Now>,
}

impl Topics {
    /// A node that may be on so many topics.
    pub const fn new(limit: usize) -> Self {
        Self {
            limit,
            wants: BTreeMap::new(),
            lingering: BTreeMap::new(),
            left: BTreeMap::new(),
            joined: 0,
            tokens: BURST,
            refilled: None,
        }
    }

    /// On how many topics the node is.
    pub fn joined(&self) -> usize {
        self.joined + self.lingering.len()
    }

    /// How many processes it follows by asking.
    pub fn direct(&self) -> usize {
        self.wants.len() - self.joined
    }

    fn refill(&mut self, now: Now) {
        let last = *self.refilled.get_or_insert(now);
        let earned = now.0.saturating_sub(last.0) * PER_SECOND / 1000;
        if earned > 0 {
            self.tokens = (self.tokens + earned).min(BURST);
            self.refilled = Some(now);
        }
    }

    fn take(&mut self, tokens: u64) -> bool {
        let enough = self.tokens >= tokens;
        self.tokens -= if enough { tokens } else { 0 };
        enough
    }

    fn may_return(&self, process: &Id, now: Now) -> bool {
        self.left.get(process).is_none_or(|left| left.plus_ms(AWAY_MS) <= now)
    }

    /// Takes the place of one more topic and what joining it costs, made if need be by leaving one that
    /// nobody wants. Nothing is left that could not be joined instead.
    fn enter(&mut self, now: Now, effects: &mut Effects<Effect>) -> bool {
        if self.joined() < self.limit {
            return self.take(1);
        }
        let longest = self.lingering.iter().min_by_key(|(_, since)| **since).map(|(process, _)| *process);
        let Some(process) = longest.filter(|_| self.take(2)) else { return false };
        self.lingering.remove(&process);
        self.leave(process, now, effects);
        true
    }

    fn leave(&mut self, process: Id, now: Now, effects: &mut Effects<Effect>) {
        self.left.insert(process, now);
        effects.push(Effect::Leave(process));
    }

    fn want(&mut self, process: Id, interest: Interest, now: Now, effects: &mut Effects<Effect>) {
        if let Some(want) = self.wants.get_mut(&process) {
            let was_asked = want.is_asked();
            want.interest = interest;
            match (was_asked, want.is_asked()) {
                (false, true) => effects.push(Effect::Subscribe(process)),
                (true, false) => effects.push(Effect::Unsubscribe(process)),
                _ => {}
            }
            return;
        }
        let way = if self.lingering.remove(&process).is_some() {
            self.joined += 1;
            Way::Topic { since: now }
        } else if self.may_return(&process, now) && self.enter(now, effects) {
            self.joined += 1;
            effects.push(Effect::Join(process));
            Way::Topic { since: now }
        } else {
            Way::Direct
        };
        let want = Want { interest, way, heard: now };
        if want.is_asked() {
            effects.push(Effect::Subscribe(process));
        }
        self.wants.insert(process, want);
    }

    fn drop_want(&mut self, process: Id, now: Now, effects: &mut Effects<Effect>) {
        let Some(want) = self.wants.remove(&process) else { return };
        if let Way::Topic { .. } = want.way {
            self.joined -= 1;
            self.lingering.insert(process, now);
        }
        if want.is_asked() {
            effects.push(Effect::Unsubscribe(process));
        }
    }

    fn tick(&mut self, now: Now, effects: &mut Effects<Effect>) {
        self.refill(now);
        self.left.retain(|_, left| left.plus_ms(AWAY_MS) > now);
        let over = |since: &Now| since.plus_ms(LINGER_MS) <= now;
        let over: Vec<Id> =
            self.lingering.iter().filter(|(_, since)| over(since)).map(|(process, _)| *process).collect();
        for process in over {
            if !self.take(1) {
                return;
            }
            self.lingering.remove(&process);
            self.leave(process, now, effects);
        }
        while self.direct() > 0 && self.tokens > 0 && self.promote(now, effects) {}
    }

    /// Gives the best process without a topic one, if there is a place or somebody makes way.
    fn promote(&mut self, now: Now, effects: &mut Effects<Effect>) -> bool {
        let direct = self
            .wants
            .iter()
            .filter(|(process, want)| want.way == Way::Direct && self.may_return(process, now));
        let best = direct.max_by_key(|(process, want)| (want.rank(), Reverse(**process)));
        let Some((process, best)) = best.map(|(process, want)| (*process, *want)) else { return false };
        if !self.enter(now, effects) {
            let is_full = self.joined() >= self.limit;
            let Some(worst) = self.gives_way(&best, now).filter(|_| is_full && self.take(2)) else {
                return false;
            };
            self.joined -= 1;
            self.leave(worst, now, effects);
            if let Some(want) = self.wants.get_mut(&worst) {
                want.way = Way::Direct;
                effects.extend(want.is_asked().then_some(Effect::Subscribe(worst)));
            }
        }
        if best.is_asked() {
            effects.push(Effect::Unsubscribe(process));
        }
        if let Some(want) = self.wants.get_mut(&process) {
            want.way = Way::Topic { since: now };
        }
        self.joined += 1;
        effects.push(Effect::Join(process));
        true
    }

    /// The process whose topic this one may have: one of less interest, or of the same and quiet for
    /// long while this one is not.
    fn gives_way(&self, to: &Want, now: Now) -> Option<Id> {
        let stayed = |way: Way| matches!(way, Way::Topic { since } if since.plus_ms(STAY_MS) <= now);
        let settled = self.wants.iter().filter(|(_, want)| stayed(want.way));
        let (process, worst) = settled.min_by_key(|(process, want)| (want.rank(), **process))?;
        let is_quiet = |want: &Want| want.heard.plus_ms(QUIET_MS) <= now;
        let less = worst.interest < to.interest;
        let quieter = worst.interest == to.interest && is_quiet(worst) && !is_quiet(to);
        (less || quieter).then_some(*process)
    }
}

impl Machine for Topics {
    type Input = Input;
    type Effect = Effect;

    fn handle(&mut self, input: Input, now: Now, effects: &mut Effects<Effect>) {
        match input {
            Input::Want { process, interest } => self.want(process, interest, now, effects),
            Input::Drop { process } => self.drop_want(process, now, effects),
            Input::Heard { process } => {
                if let Some(want) = self.wants.get_mut(&process) {
                    want.heard = now;
                }
            }
            Input::Tick => self.tick(now, effects),
        }
    }
}

#[cfg(test)]
mod tests;
