//! Which peers are away, and when they were, by the clock of this machine, which they share.

use std::collections::BTreeSet;
use std::time::{SystemTime, UNIX_EPOCH};

/// Who is away, and from when to when each peer was, in milliseconds since the Unix epoch.
#[derive(Debug, Clone, Default)]
pub(super) struct Absences {
    times: Vec<(usize, u64, u64)>,
    /// Peers that were killed and not started again.
    down: BTreeSet<usize>,
    /// Peers that are stopped where they stand: they say no more than the dead.
    paused: BTreeSet<usize>,
}

impl Absences {
    /// A peer leaves now, to come back at once.
    pub(super) fn leaves(&mut self, node: usize) {
        self.times.push((node, now_ms(), u64::MAX));
    }

    /// A peer is paused now.
    pub(super) fn pauses(&mut self, node: usize) {
        self.paused.insert(node);
        self.leaves(node);
    }

    /// A peer is dead now, whether it was paused or not. Says whether it was alive before.
    pub(super) fn dies(&mut self, node: usize) -> bool {
        let lived = !self.is_down(node);
        if lived {
            self.is_back(node);
            self.down.insert(node);
            self.leaves(node);
        }
        lived
    }

    /// A peer is up again, or goes on, now.
    pub(super) fn is_back(&mut self, node: usize) {
        self.down.remove(&node);
        self.paused.remove(&node);
        let away = self.times.iter_mut().filter(|(away, _, to)| *away == node && *to == u64::MAX);
        away.for_each(|(.., to)| *to = now_ms());
    }

    /// Those that were killed and not started again.
    pub(super) fn down(&self) -> Vec<usize> {
        self.down.iter().copied().collect()
    }

    /// Those that are paused.
    pub(super) fn paused(&self) -> Vec<usize> {
        self.paused.iter().copied().collect()
    }

    /// Whether a peer was killed and not started again.
    pub(super) fn is_down(&self, node: usize) -> bool {
        self.down.contains(&node)
    }

    /// Whether a peer is paused.
    pub(super) fn is_paused(&self, node: usize) -> bool {
        self.paused.contains(&node)
    }

    /// Whether a peer was away at any time between these, them included.
    pub(super) fn was_away(&self, node: usize, from_ms: u64, to_ms: u64) -> bool {
        self.times.iter().any(|(away, from, to)| *away == node && *from <= to_ms && from_ms <= *to)
    }
}

fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_left_is_away_until_it_is_back() {
        let mut absences = Absences::default();
        let before = now_ms();
        absences.leaves(3);
        assert!(absences.was_away(3, before, u64::MAX) && absences.was_away(3, u64::MAX, u64::MAX));
        absences.is_back(3);
        let back = now_ms();
        assert!(absences.was_away(3, before, back) && !absences.was_away(3, back + 1, u64::MAX));
        assert!(!absences.was_away(4, 0, u64::MAX));
        assert!(before == 0 || !absences.was_away(3, 0, before - 1));
    }

    #[test]
    fn who_is_paused_is_away_until_it_goes_on() {
        let mut absences = Absences::default();
        let before = now_ms();
        absences.pauses(3);
        assert!(absences.was_away(3, before, before) || absences.was_away(3, now_ms(), now_ms()));
        assert!(absences.is_paused(3) && !absences.is_down(3));
        absences.is_back(3);
        assert!(absences.paused().is_empty() && !absences.was_away(3, now_ms() + 1, u64::MAX));
    }

    #[test]
    fn who_is_killed_while_it_is_paused_stays_away() {
        let mut absences = Absences::default();
        absences.pauses(3);
        assert!(absences.dies(3), "it was alive");
        assert!(absences.is_down(3) && !absences.is_paused(3));
        assert!(!absences.dies(3), "it was dead");
        assert_eq!((absences.down(), absences.paused()), (vec![3], vec![]));
        assert!(absences.was_away(3, u64::MAX, u64::MAX), "nobody has started it");
        absences.is_back(3);
        assert!(absences.down().is_empty() && !absences.was_away(3, now_ms() + 1, u64::MAX));
    }
}
