//! What peers did wrong: a ledger over all topics and requests, and who is shut out.
//!
//! Gossip that no correct peer could have sent costs score in gossipsub. What a peer does elsewhere
//! is counted here: answers that are lies, requests that are no requests. Points fade; they count in
//! the peer's gossip score, and who has too many is disconnected and kept out for a while. Being
//! busy, slow, behind or of another mind costs nothing: honest peers must not shut each other out.

use std::collections::BTreeMap;

use weft_protocol::{Effects, Machine, Now};

use crate::limits::{BAN_MS, BANNED_MAX, FADE_MS, FAULTS_MAX, POINTS_MAX};

/// Something that a correct peer never does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// It sent bytes that are no message, or a record that its holder alone gives. What is not known here is
    /// no fault: its sender may be newer.
    Malformed,
    /// It gave an answer that is provably false: a signature, an id or a link that does not hold.
    Lie,
    /// It said far more, or joined far more topics, than any honest peer does.
    Flood,
}

impl Fault {
    /// What it costs. A peer is shut out at 800 points: by a flood, the third lie, or forty malformed
    /// requests, which damaged connections bring now and then.
    const fn points(self) -> u32 {
        match self {
            Self::Malformed => 20,
            Self::Lie => 300,
            Self::Flood => POINTS_MAX,
        }
    }
}

/// What the ledger hears of.
#[derive(Debug)]
pub(crate) enum Input<P> {
    Fault(P, Fault),
    Tick,
}

/// What the ledger asks for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Effect<P> {
    /// This many points count against the peer from now on.
    Score(P, u32),
    /// Disconnect the peer and refuse it.
    Ban(P),
    /// No longer.
    Unban(P),
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    points: u32,
    /// Since when the points fade.
    since: Now,
}

/// The ledger.
#[derive(Debug)]
pub(crate) struct Conduct<P> {
    entries: BTreeMap<P, Entry>,
    banned: BTreeMap<P, Now>,
}

impl<P: Ord + Copy> Conduct<P> {
    pub(crate) const fn new() -> Self {
        Self { entries: BTreeMap::new(), banned: BTreeMap::new() }
    }

    /// How many are shut out.
    pub(crate) fn banned(&self) -> usize {
        self.banned.len()
    }

    /// How many peers it knows.
    #[cfg(test)]
    pub(crate) fn size(&self) -> usize {
        self.entries.len()
    }

    fn fault(&mut self, peer: P, fault: Fault, now: Now, effects: &mut Effects<Effect<P>>) {
        if self.banned.contains_key(&peer) {
            return;
        }
        if self.entries.len() >= FAULTS_MAX && !self.entries.contains_key(&peer) {
            // The best of those that did wrong is forgotten: names are free, and so is their memory.
            let best = self.entries.iter().min_by_key(|(_, entry)| entry.points).map(|(peer, _)| *peer);
            if let Some(best) = best {
                self.entries.remove(&best);
                effects.push(Effect::Score(best, 0));
            }
        }
        let entry = self.entries.entry(peer).or_insert(Entry { points: 0, since: now });
        entry.points = entry.points.saturating_add(fault.points());
        effects.push(Effect::Score(peer, entry.points));
        if entry.points >= POINTS_MAX && self.banned.len() < BANNED_MAX {
            self.entries.remove(&peer);
            self.banned.insert(peer, now.plus_ms(BAN_MS));
            effects.push(Effect::Ban(peer));
        }
    }

    fn tick(&mut self, now: Now, effects: &mut Effects<Effect<P>>) {
        for (peer, entry) in &mut self.entries {
            let faded = now.0.saturating_sub(entry.since.0) / FADE_MS;
            if faded > 0 {
                let faded = u32::try_from(faded).unwrap_or(u32::MAX);
                entry.points = entry.points.saturating_sub(faded);
                entry.since = now;
                effects.push(Effect::Score(*peer, entry.points));
            }
        }
        self.entries.retain(|_, entry| entry.points > 0);
        let over: Vec<P> =
            self.banned.iter().filter(|(_, until)| **until <= now).map(|(peer, _)| *peer).collect();
        for peer in over {
            self.banned.remove(&peer);
            effects.extend([Effect::Score(peer, 0), Effect::Unban(peer)]);
        }
    }
}

impl<P: Ord + Copy> Machine for Conduct<P> {
    type Input = Input<P>;
    type Effect = Effect<P>;

    fn handle(&mut self, input: Input<P>, now: Now, effects: &mut Effects<Effect<P>>) {
        match input {
            Input::Fault(peer, fault) => self.fault(peer, fault, now, effects),
            Input::Tick => self.tick(now, effects),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(conduct: &mut Conduct<u32>, input: Input<u32>, now: u64) -> Vec<Effect<u32>> {
        let mut effects = Effects::new();
        conduct.handle(input, Now(now), &mut effects);
        effects.drain().collect()
    }

    #[test]
    fn the_third_lie_shuts_a_peer_out_for_a_while() {
        let mut conduct = Conduct::new();
        let lie = || Input::Fault(1, Fault::Lie);
        assert_eq!(run(&mut conduct, lie(), 0), [Effect::Score(1, 300)]);
        assert_eq!(run(&mut conduct, lie(), 0), [Effect::Score(1, 600)]);
        assert_eq!(run(&mut conduct, lie(), 0), [Effect::Score(1, 900), Effect::Ban(1)]);
        assert_eq!(run(&mut conduct, lie(), 1), [], "nothing more to lose");
        assert_eq!(run(&mut conduct, Input::Tick, BAN_MS - 1), []);
        let back = run(&mut conduct, Input::Tick, BAN_MS);
        assert_eq!(back, [Effect::Score(1, 0), Effect::Unban(1)]);
        assert_eq!(run(&mut conduct, lie(), BAN_MS), [Effect::Score(1, 300)]);
    }

    #[test]
    fn points_fade_so_that_an_odd_version_stays() {
        let mut conduct = Conduct::new();
        // One in two minutes and a half, for a day.
        for count in 0..600 {
            let now = count * 150_000;
            let effects = run(&mut conduct, Input::Fault(1, Fault::Malformed), now);
            assert!(!effects.contains(&Effect::Ban(1)), "after {count}");
            run(&mut conduct, Input::Tick, now + FADE_MS * 10);
        }
        run(&mut conduct, Input::Tick, u64::MAX);
        assert!(conduct.entries.is_empty());
    }

    #[test]
    fn the_ledger_is_bounded_and_keeps_the_worst() {
        let mut conduct = Conduct::new();
        run(&mut conduct, Input::Fault(u32::MAX, Fault::Lie), 0);
        for peer in 0..FAULTS_MAX as u32 * 2 {
            run(&mut conduct, Input::Fault(peer, Fault::Malformed), 0);
        }
        assert_eq!(conduct.entries.len(), FAULTS_MAX);
        assert!(conduct.entries.contains_key(&u32::MAX));
        for peer in 0..BANNED_MAX as u32 * 2 {
            for _ in 0..3 {
                run(&mut conduct, Input::Fault(peer, Fault::Lie), 0);
            }
        }
        assert_eq!(conduct.banned(), BANNED_MAX);
    }
}
