//! What each neighbour may hand on, so that a flood from one leaves room for what the others hand on.

use std::collections::BTreeMap;

use weft_protocol::Now;

/// Names that a neighbour may hand on at once that were not heard of before: those of a shard that was just joined ...
pub const NEW_BURST: u64 = 256;
/// ... and in a second after that.
pub const NEW_PER_S: u64 = 8;
/// Facts of all kinds that a neighbour may hand on at once ...
pub const KEPT_BURST: u64 = 512;
/// ... and in a second after that: with every place of all shards taken honest adverts are 39.
pub const KEPT_PER_S: u64 = 64;
/// Neighbours whose pace is known; more than a node has connections.
pub const NEIGHBOURS_MAX: usize = 1_024;

#[derive(Debug, Clone, Copy)]
struct Pace {
    /// Of new names, and of all facts, in thousandths.
    new: u64,
    all: u64,
    since: Now,
}

/// How much each neighbour may still hand on.
#[derive(Debug)]
pub struct Paces<P>(BTreeMap<P, Pace>);

impl<P: Ord + Copy> Default for Paces<P> {
    fn default() -> Self {
        Self::new()
    }
}

impl<P: Ord + Copy> Paces<P> {
    /// Nobody handed on anything yet.
    pub const fn new() -> Self {
        Self(BTreeMap::new())
    }

    /// Whether a neighbour may hand on one more, of a name that is new or known; it takes from its allowance.
    pub fn takes(&mut self, from: P, is_new: bool, now: Now) -> bool {
        if self.0.len() >= NEIGHBOURS_MAX && !self.0.contains_key(&from) {
            let is_full = |pace: &Pace| pace.since.plus_ms(NEW_BURST * 1_000 / NEW_PER_S) <= now;
            self.0.retain(|_, pace| !is_full(pace));
            if self.0.len() >= NEIGHBOURS_MAX {
                return false;
            }
        }
        let (new, all) = (NEW_BURST * 1_000, KEPT_BURST * 1_000);
        let pace = self.0.entry(from).or_insert(Pace { new, all, since: now });
        let passed = now.0.saturating_sub(pace.since.0);
        pace.new = pace.new.saturating_add(passed.saturating_mul(NEW_PER_S)).min(new);
        pace.all = pace.all.saturating_add(passed.saturating_mul(KEPT_PER_S)).min(all);
        pace.since = now;
        if pace.all < 1_000 || (is_new && pace.new < 1_000) {
            return false;
        }
        pace.all -= 1_000;
        pace.new -= if is_new { 1_000 } else { 0 };
        true
    }

    /// Of how many neighbours the pace is known.
    #[cfg(test)]
    pub fn neighbours(&self) -> usize {
        self.0.len()
    }
}

/// Which of those that are kept gives way to one more from a neighbour: the one that came last of the neighbour with
/// most, so that in the end all have as many; none where this one has as many itself. Each is given with who handed it
/// on, and since when it is known.
pub fn gives_way<K, P: Ord + Copy>(held: impl Iterator<Item = (K, P, Now)> + Clone, from: P) -> Option<K> {
    let mut counts: BTreeMap<P, usize> = BTreeMap::new();
    for (_, by, _) in held.clone() {
        *counts.entry(by).or_default() += 1;
    }
    let own = counts.get(&from).copied().unwrap_or_default();
    let (most, _) =
        counts.into_iter().max_by_key(|(_, count)| *count).filter(|(_, count)| *count > own + 1)?;
    let newest = held.filter(|(_, by, _)| *by == most).max_by_key(|(.., since)| *since);
    newest.map(|(key, ..)| key)
}
