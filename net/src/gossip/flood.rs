//! How much a peer may say, and for how long it may not listen.
//!
//! Announcements, topics and a connection cost a peer next to nothing and this node a little each. So every
//! peer has an allowance, far above what an honest one ever needs. What comes beyond it is not heard; who
//! stays as far beyond it again floods, and is shut out. A peer that takes what it is sent too slowly does
//! nothing wrong, but what waits for it is held in memory: after a while its connections end.

use std::collections::BTreeMap;

use weft_protocol::{Effects, Machine, Now};

use crate::limits::{
    ANNOUNCEMENTS_BURST_S, HEARTBEAT, TOPIC_CHANGES_BURST, TOPIC_CHANGES_PER_S, TOPICS_PER_PEER_MAX,
    UNREAD_MAX,
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
    /// It is on one more topic.
    Joined(P),
    /// It left one.
    Left(P),
    /// What was to be sent to it since the last heartbeat found its queue full.
    Slow(P),
    /// It left an answer unread until its time was over.
    Unread(P),
    /// It read one.
    Read(P),
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

    /// Takes one, if there is one.
    fn take(&mut self, rate: Rate, now: Now) -> bool {
        // So many a second are as many thousandths a millisecond.
        let earned = now.0.saturating_sub(self.since.0).saturating_mul(rate.per_s);
        self.left = self.left.saturating_add(earned).min(rate.burst.saturating_mul(1000));
        self.since = now;
        let is_there = self.left >= 1000;
        self.left -= if is_there { 1000 } else { 0 };
        is_there
    }
}

#[derive(Debug)]
struct Peer {
    said: Allowance,
    /// Of what is beyond `said`: a peer that was held up may say much at once, but not on and on.
    beyond: Allowance,
    changes: Allowance,
    topics: usize,
    /// Since when it is slow, and when that was last heard.
    slow: Option<(Now, Now)>,
    /// Answers that it left unread in a row.
    unread: u32,
}

/// What connected peers say.
#[derive(Debug)]
pub(crate) struct Floods<P> {
    announcements: Rate,
    patience_ms: u64,
    peers: BTreeMap<P, Peer>,
}

const CHANGES: Rate = Rate { per_s: TOPIC_CHANGES_PER_S, burst: TOPIC_CHANGES_BURST };

impl<P: Ord + Copy> Floods<P> {
    /// Peers may hand on so many announcements a second, and be slow for so long.
    pub(crate) const fn new(per_s: u32, patience_ms: u64) -> Self {
        let per_s = per_s as u64;
        let announcements = Rate { per_s, burst: per_s.saturating_mul(ANNOUNCEMENTS_BURST_S) };
        Self { announcements, patience_ms, peers: BTreeMap::new() }
    }

    fn announced(&mut self, peer: P, now: Now, effects: &mut Effects<Effect<P>>) {
        let rate = self.announcements;
        let Some(state) = self.peers.get_mut(&peer) else { return };
        if state.said.take(rate, now) {
            return;
        }
        effects.push(Effect::Unheard);
        if !state.beyond.take(rate, now) {
            state.beyond = Allowance::full(rate, now);
            effects.push(Effect::Flood(peer));
        }
    }

    fn changed(&mut self, peer: P, joined: bool, now: Now, effects: &mut Effects<Effect<P>>) {
        let Some(state) = self.peers.get_mut(&peer) else { return };
        state.topics = if joined { state.topics + 1 } else { state.topics.saturating_sub(1) };
        // Honest peers stop at half of the first, and earn their changes more slowly than we do.
        if state.topics >= TOPICS_PER_PEER_MAX || !state.changes.take(CHANGES, now) {
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
            Input::Came(peer) => {
                let full = Allowance::full(self.announcements, now);
                let changes = Allowance::full(CHANGES, now);
                let state = Peer { said: full, beyond: full, changes, topics: 0, slow: None, unread: 0 };
                self.peers.insert(peer, state);
            }
            Input::Gone(peer) => {
                self.peers.remove(&peer);
            }
            Input::Announced(peer) => self.announced(peer, now, effects),
            Input::Joined(peer) => self.changed(peer, true, now, effects),
            Input::Left(peer) => self.changed(peer, false, now, effects),
            Input::Slow(peer) => self.slow(peer, now, effects),
            Input::Read(peer) => {
                if let Some(state) = self.peers.get_mut(&peer) {
                    state.unread = 0;
                }
            }
            Input::Unread(peer) => {
                let Some(state) = self.peers.get_mut(&peer) else { return };
                state.unread += 1;
                if state.unread >= UNREAD_MAX {
                    state.unread = 0;
                    effects.push(Effect::HangUp(peer));
                }
            }
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
        let (unheard, flood) = say(PER_S * 3 / 2, 60);
        assert!(unheard > 2_000 && flood.is_none(), "{unheard} {flood:?}");
        let (_, flood) = say(PER_S * 4, 60);
        assert!(flood.is_some_and(|at| at < 4_000), "{flood:?}");
    }

    #[test]
    fn topics_without_end_are_a_flood_and_those_of_an_honest_peer_are_not() {
        let mut floods = floods();
        for _ in 0..3 {
            for _ in 0..TOPICS_JOINED_MAX {
                assert_eq!(run(&mut floods, Input::Joined(1), 0), []);
            }
            // It connects afresh and says all of them again.
            run(&mut floods, Input::Gone(1), 0);
            run(&mut floods, Input::Came(1), 0);
        }
        let all: Vec<_> =
            (0..TOPICS_PER_PEER_MAX).flat_map(|_| run(&mut floods, Input::Joined(1), 0)).collect();
        assert_eq!(all, [Effect::Flood(1)]);
    }

    #[test]
    fn joining_and_leaving_without_end_is_a_flood() {
        let mut floods = floods();
        // As often as an honest node may, for a day.
        for number in 0..20 * 86_400_u64 {
            let input = if number % 2 == 0 { Input::Joined(1) } else { Input::Left(1) };
            assert_eq!(run(&mut floods, input, number * 50), []);
        }
        let at = 90_000_000;
        let flood = (0..TOPIC_CHANGES_BURST + 1).find(|number| {
            let input = if number % 2 == 0 { Input::Joined(1) } else { Input::Left(1) };
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
    fn who_reads_no_answer_is_hung_up_on() {
        let mut floods = floods();
        for _ in 1..UNREAD_MAX {
            assert_eq!(run(&mut floods, Input::Unread(1), 0), []);
        }
        run(&mut floods, Input::Read(1), 0);
        for _ in 1..UNREAD_MAX {
            assert_eq!(run(&mut floods, Input::Unread(1), 0), []);
        }
        assert_eq!(run(&mut floods, Input::Unread(1), 0), [Effect::HangUp(1)]);
    }

    #[test]
    fn nothing_is_kept_of_who_is_not_there() {
        let mut floods = floods();
        run(&mut floods, Input::Gone(1), 0);
        for input in [Input::Announced(1), Input::Joined(2), Input::Left(2), Input::Slow(3)] {
            assert_eq!(run(&mut floods, input, 0), []);
        }
        assert!(floods.peers.is_empty());
    }
}
