//! Which node is killed when, and when it starts again: drawn from a seed and from nothing else.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

/// Milliseconds from one kill to the next.
const GAP_MS: RangeInclusive<u64> = 100..=1_500;
/// Milliseconds that a node stays down: shorter and longer than the gap, so that at times two are.
const DOWN_MS: RangeInclusive<u64> = 30..=1_500;
/// How often the next to be killed is a node that is just starting.
const STARTING: f64 = 0.25;
/// Milliseconds after its start at which it is. A node is up after some hundred: it opens three
/// databases, of which one has to be mended, and dials.
const STARTED_MS: RangeInclusive<u64> = 1..=120;
/// Nodes that are down at once. With more there is little that could go wrong.
const DOWN_MAX: usize = 2;

/// What is done to a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Deed {
    Kill,
    Start,
}

/// Something that is done at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Event {
    /// Milliseconds after the beginning.
    pub(super) at_ms: u64,
    pub(super) node: usize,
    pub(super) deed: Deed,
}

/// So many kills of so many nodes, and as many starts, in order. Every node has its turn before
/// one is drawn again, so that a short run spares no role; those that are starting come between.
pub(super) fn draw(seed: u64, kills: usize, nodes: usize) -> Vec<Event> {
    let mut rng = StdRng::seed_from_u64(seed);
    let mut events = Vec::with_capacity(2 * kills);
    // When each node that is down starts again.
    let mut down: BTreeMap<usize, u64> = BTreeMap::new();
    let mut spared: BTreeSet<usize> = (0..nodes).collect();
    let mut now = 0;
    for left in (1..=kills).rev() {
        let next_up = down.iter().min_by_key(|(_, until)| **until).map(|(node, until)| (*node, *until));
        let starting = next_up.filter(|_| left > spared.len() && rng.random_bool(STARTING));
        now = match starting {
            Some((_, until)) => until + rng.random_range(STARTED_MS),
            None => now + rng.random_range(GAP_MS),
        };
        while let Some((_, until)) = soonest(&down, now, DOWN_MAX) {
            now = until;
        }
        down.retain(|_, until| *until > now);
        let up = (0..nodes).filter(|node| !down.contains_key(node));
        let (first, again): (Vec<usize>, Vec<usize>) = up.partition(|node| spared.contains(node));
        let turn = if first.is_empty() { again } else { first };
        let node = starting.map_or_else(|| turn[rng.random_range(0..turn.len())], |(node, _)| node);
        spared.remove(&node);
        let until = now + rng.random_range(DOWN_MS);
        events.push(Event { at_ms: now, node, deed: Deed::Kill });
        events.push(Event { at_ms: until, node, deed: Deed::Start });
        down.insert(node, until);
    }
    events.sort_by_key(|event| event.at_ms);
    events
}

/// The node that starts soonest of those that are down at `now`, if `max` or more are.
fn soonest(down: &BTreeMap<usize, u64>, now: u64, max: usize) -> Option<(usize, u64)> {
    let still: Vec<(usize, u64)> =
        down.iter().filter(|(_, until)| **until > now).map(|(node, until)| (*node, *until)).collect();
    if still.len() < max {
        return None;
    }
    still.into_iter().min_by_key(|(_, until)| *until)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NODES: usize = 5;

    #[test]
    fn a_seed_always_gives_the_same_kills() {
        assert_eq!(draw(7, 50, NODES), draw(7, 50, NODES));
        assert_ne!(draw(7, 50, NODES), draw(8, 50, NODES));
    }

    #[test]
    fn every_node_is_killed_and_comes_back_and_few_are_down_at_once() {
        let (mut together, mut starting) = (0, 0);
        for seed in 0..100 {
            let events = draw(seed, 50, NODES);
            let mut down = BTreeSet::new();
            let mut started = BTreeMap::new();
            let mut killed = BTreeSet::new();
            for event in &events {
                match event.deed {
                    Deed::Kill => {
                        assert!(down.insert(event.node), "seed {seed}: {event:?} is down already");
                        let since = started.get(&event.node).map(|at| event.at_ms - at);
                        starting += usize::from(since.is_some_and(|since| STARTED_MS.contains(&since)));
                        together += usize::from(down.len() == 2);
                        killed.insert(event.node);
                    }
                    Deed::Start => {
                        assert!(down.remove(&event.node), "seed {seed}: {event:?} is up already");
                        started.insert(event.node, event.at_ms);
                    }
                }
                assert!(down.len() <= DOWN_MAX, "seed {seed}: {down:?} are down at once");
            }
            assert!(down.is_empty() && killed.len() == NODES && events.len() == 100, "seed {seed}");
            let short = draw(seed, 8, NODES);
            let killed: BTreeSet<usize> = short.iter().map(|event| event.node).collect();
            assert_eq!(killed.len(), NODES, "seed {seed} kills only {killed:?}");
        }
        // Of 5,000 kills.
        assert!(together > 500 && starting > 500, "{together} together, {starting} while starting");
    }
}
