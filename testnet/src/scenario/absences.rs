//! When peers were away, by the clock of this machine, which they share.

use std::time::{SystemTime, UNIX_EPOCH};

/// From when to when each peer was away, in milliseconds since the Unix epoch.
#[derive(Debug, Clone, Default)]
pub(super) struct Absences(Vec<(usize, u64, u64)>);

impl Absences {
    /// A peer leaves now.
    pub(super) fn leaves(&mut self, node: usize) {
        self.0.push((node, now_ms(), u64::MAX));
    }

    /// A peer is up again now.
    pub(super) fn is_back(&mut self, node: usize) {
        let away = self.0.iter_mut().filter(|(away, _, to)| *away == node && *to == u64::MAX);
        away.for_each(|(.., to)| *to = now_ms());
    }

    /// Whether a peer was away at any time between these, them included.
    pub(super) fn was_away(&self, node: usize, from_ms: u64, to_ms: u64) -> bool {
        self.0.iter().any(|(away, from, to)| *away == node && *from <= to_ms && from_ms <= *to)
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
}
