//! How much a peer may say, and for how long it may not listen.
//!
//! Announcements, topics and a connection cost a peer next to nothing and this node a little each. So every
//! peer has an allowance, far above what an honest one ever needs. What comes beyond it is not heard; who
//! goes on beyond it floods, and is shut out. A peer that takes what it is sent too slowly does
//! nothing wrong, but what waits for it is held in memory: after a while its connections end.

use std::collections::{BTreeMap, BTreeSet};

use weft_protocol::{Effects, Machine, Now};

use crate::limits::{
    ANNOUNCEMENTS_BEYOND_SHARE, ANNOUNCEMENTS_BURST_S, FLOODS_GONE_MAX, HEARTBEAT, TOPIC_CHANGES_BURST,
    TOPIC_CHANGES_PER_S, TOPICS_PER_PEER_MAX,
};

/// Heartbeats without a word of it after which a slow peer is one no more.
const SLOW_GAP_HEARTBEATS: u64 = 3;

/// What is heard of peers.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Input<P> {
    /// A peer is connected.
    Came(P),
    /// It is not any more.
    Gone(P),
    /// It handed an announcement on.
    Announced(P),
    /// It says that it is on a topic, perhaps again. Topics go by a number.
    Joined(P, u64),
    /// It says that it is on a topic no longer.
    Left(P, u64),
    /// Of what was to be sent to it since the last heartbeat, some found its queue full, or waited there for seconds.
    Slow(P),
}

/// What is done about it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Effect<P> {
    /// The announcement that just came is beyond the allowance: nobody hears it.
    Unheard,
    /// The peer floods: shut it out.
    Flood(P),
    /// The peer was slow for too long: end its connections. It may come again.
    HangUp(P),
}

/// So many at once, and so many a second after that.
#[derive(Debug, Clone, Copy)]
struct Rate {
    per_s: u64,
    burst: u64,
}

/// What is left of a rate, in thousandths.
#[derive(Debug, Clone, Copy)]
struct Allowance {
    left: u64,
    since: Now,
}

impl Allowance {
    const fn full(rate: Rate, now: Now) -> Self {
        Self { left: rate.burst.saturating_mul(1000), since: now }
    }

    /// What is left now.
    fn at(self, rate: Rate, now: Now) -> Self {
        // So many a second are as many thousandths a millisecond.
        let earned = now.0.saturating_sub(self.since.0).saturating_mul(rate.per_s);
        Self { left: self.left.saturating_add(earned).min(rate.burst.saturating_mul(1000)), since: now }
    }

    fn is_full(self, rate: Rate, now: Now) -> bool {
        self.at(rate, now).left == rate.burst.saturating_mul(1000)
    }

    /// Takes one, if there is one.
    fn take(&mut self, rate: Rate, now: Now) -> bool {
        *self = self.at(rate, now);
        let is_there = self.left >= 1000;
        self.left -= if is_there { 1000 } else { 0 };
        is_there
    }
}

/// What a peer may still hand on.
#[derive(Debug, Clone, Copy)]
struct Allowances {
    said: Allowance,
    /// Of what is beyond `said`: a peer that was held up may say much at once, but not on and on.
    beyond: Allowance,
}

#[derive(Debug)]
struct Peer {
    announcements: Allowances,
    changes: Allowance,
    /// The topics that it is on, as gossipsub has them: what is said again counts once.
    topics: BTreeSet<u64>,
    /// Since when it is slow, and when that was last heard.
    slow: Option<(Now, Now)>,
}

/// What connected peers say.
#[derive(Debug)]
pub(crate) struct Floods<P> {
    announcements: Rate,
    beyond: Rate,
    patience_ms: u64,
    peers: BTreeMap<P, Peer>,
    /// What those who went may say should they come again: to connect afresh fills no allowance.
    gone: BTreeMap<P, Allowances>,
}

const CHANGES: Rate = Rate { per_s: TOPIC_CHANGES_PER_S, burst: TOPIC_CHANGES_BURST };

impl<P: Ord + Copy> Floods<P> {
    /// Peers may hand on so many announcements a second, and be slow for so long.
    pub(crate) const fn new(per_s: u32, patience_ms: u64) -> Self {
        let per_s = per_s as u64;
        let announcements = Rate { per_s, burst: per_s.saturating_mul(ANNOUNCEMENTS_BURST_S) };
        let beyond = Rate { per_s: per_s / ANNOUNCEMENTS_BEYOND_SHARE, ..announcements };
        Self { announcements, beyond, patience_ms, peers: BTreeMap::new(), gone: BTreeMap::new() }
    }

    /// How many peers are connected, and of how many of those who went the allowances are kept.
    #[cfg(test)]
    pub(crate) fn sizes(&self) -> (usize, usize) {
        (self.peers.len(), self.gone.len())
    }

    fn came(&mut self, peer: P, now: Now) {
        let full = || Allowances {
            said: Allowance::full(self.announcements, now),
            beyond: Allowance::full(self.beyond, now),
        };
        let announcements = self.gone.remove(&peer).unwrap_or_else(full);
        let changes = Allowance::full(CHANGES, now);
        let state = Peer { announcements, changes, topics: BTreeSet::new(), slow: None };
        self.peers.insert(peer, state);
    }

    fn went(&mut self, peer: P, now: Now) {
        let Some(Peer { announcements, .. }) = self.peers.remove(&peer) else { return };
        let (said, beyond) = (self.announcements, self.beyond);
        let is_full = |of: &Allowances| of.said.is_full(said, now) && of.beyond.is_full(beyond, now);
        if is_full(&announcements) {
            return;
        }
        if self.gone.len() >= FLOODS_GONE_MAX {
            self.gone.retain(|_, of| !is_full(of));
        }
        if self.gone.len() >= FLOODS_GONE_MAX {
            // Whoever has most left gains least by being forgotten.
            let best = self.gone.iter().max_by_key(|(_, of)| of.beyond.at(beyond, now).left);
            if let Some(best) = best.map(|(peer, _)| *peer) {
                self.gone.remove(&best);
            }
        }
        self.gone.insert(peer, announcements);
    }

    fn announced(&mut self, peer: P, now: Now, effects: &mut Effects<Effect<P>>) {
        let (said, beyond) = (self.announcements, self.beyond);
        let Some(Peer { announcements: state, .. }) = self.peers.get_mut(&peer) else { return };
        if state.said.take(said, now) {
            return;
        }
        effects.push(Effect::Unheard);
        if !state.beyond.take(beyond, now) {
            state.beyond = Allowance::full(beyond, now);
            effects.push(Effect::Flood(peer));
        }
    }

    fn changed(&mut self, peer: P, topic: u64, joined: bool, now: Now, effects: &mut Effects<Effect<P>>) {
        let Some(state) = self.peers.get_mut(&peer) else { return };
        if joined {
            state.topics.insert(topic);
        } else {
            state.topics.remove(&topic);
        }
        // Honest peers stop at half of the first, and earn their changes more slowly than we do.
        if state.topics.len() >= TOPICS_PER_PEER_MAX || !state.changes.take(CHANGES, now) {
            state.changes = Allowance::full(CHANGES, now);
            effects.push(Effect::Flood(peer));
        }
    }

    fn slow(&mut self, peer: P, now: Now, effects: &mut Effects<Effect<P>>) {
        let Some(state) = self.peers.get_mut(&peer) else { return };
        let gap_ms = SLOW_GAP_HEARTBEATS * HEARTBEAT.as_millis() as u64;
        let first = match state.slow {
            Some((first, last)) if last.plus_ms(gap_ms) > now => first,
            _ => now,
        };
        state.slow = Some((first, now));
        if first.plus_ms(self.patience_ms) <= now {
            state.slow = None;
            effects.push(Effect::HangUp(peer));
        }
    }
}

impl<P: Ord + Copy> Machine for Floods<P> {
    type Input = Input<P>;
    type Effect = Effect<P>;

    fn handle(&mut self, input: Input<P>, now: Now, effects: &mut Effects<Effect<P>>) {
        match input {
            Input::Came(peer) => self.came(peer, now),
            Input::Gone(peer) => self.went(peer, now),
            Input::Announced(peer) => self.announced(peer, now, effects),
            Input::Joined(peer, topic) => self.changed(peer, topic, true, now, effects),
            Input::Left(peer, topic) => self.changed(peer, topic, false, now, effects),
            Input::Slow(peer) => self.slow(peer, now, effects),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::TOPICS_JOINED_MAX;

    const PER_S: u64 = 100;
    const PATIENCE_MS: u64 = 10_000;

    fn floods() -> Floods<u8> {
        let mut floods = Floods::new(PER_S as u32, PATIENCE_MS);
        run(&mut floods, Input::Came(1), 0);
        floods
    }

    fn run(floods: &mut Floods<u8>, input: Input<u8>, now: u64) -> Vec<Effect<u8>> {
        let mut effects = Effects::new();
        floods.handle(input, Now(now), &mut effects);
        effects.drain().collect()
    }

    /// What becomes of so many announcements a second, for so many seconds: the unheard, and when it is a flood.
    fn say(per_s: u64, seconds: u64) -> (usize, Option<u64>) {
        let (mut floods, mut unheard, mut flood) = (floods(), 0, None);
        for number in 0..per_s * seconds {
            let now = number * 1000 / per_s;
            for effect in run(&mut floods, Input::Announced(1), now) {
                match effect {
                    Effect::Unheard => unheard += 1,
                    Effect::Flood(_) => flood = flood.or(Some(now)),
                    Effect::HangUp(_) => {}
                }
            }
        }
        (unheard, flood)
    }

    #[test]
    fn who_keeps_to_the_rate_is_heard_for_ever_and_after_a_pause_at_once() {
        assert_eq!(say(PER_S, 600), (0, None));
        let mut floods = floods();
        for round in 1..5 {
            let now = round * 60_000;
            for _ in 0..PER_S * ANNOUNCEMENTS_BURST_S {
                assert_eq!(run(&mut floods, Input::Announced(1), now), []);
            }
            assert_eq!(run(&mut floods, Input::Announced(1), now), [Effect::Unheard]);
        }
    }

    #[test]
    fn who_says_somewhat_more_is_not_always_heard_and_who_says_much_more_floods() {
        let (unheard, flood) = say(PER_S * 21 / 20, 600);
        assert!(unheard > 2_000 && flood.is_none(), "{unheard} {flood:?}");
        let (_, flood) = say(PER_S * 3 / 2, 60);
        assert!(flood.is_some(), "what is lost to others for long is a flood too");
        let (_, flood) = say(PER_S * 4, 60);
        assert!(flood.is_some_and(|at| at < 4_000), "{flood:?}");
    }

    #[test]
    fn to_connect_afresh_fills_no_allowance() {
        let mut floods = floods();
        let mut all = Vec::new();
        for _ in 0..3 * PER_S * ANNOUNCEMENTS_BURST_S {
            all.extend(run(&mut floods, Input::Announced(1), 0));
            run(&mut floods, Input::Gone(1), 0);
            run(&mut floods, Input::Came(1), 0);
        }
        assert_eq!(all.iter().filter(|effect| **effect == Effect::Flood(1)).count(), 1);
        // After a while it may as much as all others, and nothing is kept of it.
        run(&mut floods, Input::Gone(1), 60_000);
        assert!(floods.gone.is_empty());
    }

    #[test]
    fn those_who_went_are_few_and_the_worst_stay() {
        let mut floods: Floods<usize> = Floods::new(PER_S as u32, PATIENCE_MS);
        let mut effects = Effects::new();
        for peer in 0..2 * FLOODS_GONE_MAX {
            floods.handle(Input::Came(peer), Now(0), &mut effects);
            let said = if peer == 0 { PER_S * ANNOUNCEMENTS_BURST_S + 1 } else { 1 };
            for _ in 0..said {
                floods.handle(Input::Announced(peer), Now(0), &mut effects);
            }
            floods.handle(Input::Gone(peer), Now(0), &mut effects);
        }
        assert!(floods.gone.len() == FLOODS_GONE_MAX && floods.gone.contains_key(&0));
    }

    #[test]
    fn topics_without_end_are_a_flood_and_those_of_an_honest_peer_are_not() {
        let mut floods = floods();
        for _ in 0..3 {
            // It comes back before its old connections broke, on each that it may have, and says all of them again.
            for _ in 0..4 {
                for topic in 0..TOPICS_JOINED_MAX as u64 {
                    assert_eq!(run(&mut floods, Input::Joined(1, topic), 0), []);
                }
            }
            run(&mut floods, Input::Gone(1), 0);
            run(&mut floods, Input::Came(1), 0);
        }
        // To leave what it is not on makes it no room.
        for topic in 0..TOPICS_PER_PEER_MAX as u64 / 2 {
            assert_eq!(run(&mut floods, Input::Left(1, u64::MAX - topic), 0), []);
        }
        let all =
            (0..TOPICS_PER_PEER_MAX as u64).flat_map(|topic| run(&mut floods, Input::Joined(1, topic), 0));
        assert_eq!(all.collect::<Vec<_>>(), [Effect::Flood(1)]);
    }

    #[test]
    fn joining_and_leaving_without_end_is_a_flood() {
        let mut floods = floods();
        // As often as an honest node may, for a day.
        for number in 0..20 * 86_400_u64 {
            let input = if number % 2 == 0 { Input::Joined(1, 1) } else { Input::Left(1, 1) };
            assert_eq!(run(&mut floods, input, number * 50), []);
        }
        let at = 90_000_000;
        let flood = (0..TOPIC_CHANGES_BURST + 1).find(|number| {
            let input = if number % 2 == 0 { Input::Joined(1, 1) } else { Input::Left(1, 1) };
            run(&mut floods, input, at).contains(&Effect::Flood(1))
        });
        assert_eq!(flood, Some(TOPIC_CHANGES_BURST));
    }

    #[test]
    fn who_is_slow_without_a_pause_is_hung_up_on() {
        let mut floods = floods();
        for second in 0..10 {
            assert_eq!(run(&mut floods, Input::Slow(1), second * 1000), []);
        }
        assert_eq!(run(&mut floods, Input::Slow(1), PATIENCE_MS), [Effect::HangUp(1)]);
        // One that gets on now and then stays.
        for second in (20..200).step_by(4) {
            assert_eq!(run(&mut floods, Input::Slow(1), second * 1000), []);
        }
    }

    #[test]
    fn nothing_is_kept_of_who_is_not_there() {
        let mut floods = floods();
        run(&mut floods, Input::Gone(1), 0);
        for input in [Input::Announced(1), Input::Joined(2, 1), Input::Left(2, 1), Input::Slow(3)] {
            assert_eq!(run(&mut floods, input, 0), []);
        }
        assert!(floods.peers.is_empty() && floods.gone.is_empty());
    }
}
