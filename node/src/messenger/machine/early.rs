//! Receipts of pushes that are not known here yet.
//!
//! Whoever computes nothing learns what is sent when others have carried it already: their receipt was here before. Thrown away,
//! the entry would stand at the head of its lane until this messenger's own turn, and all behind it would wait. So it is with
//! receipts of what is known when more come than are checked at once: they are kept the same way until their turn comes.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Bound;

use weft_protocol::Id;

use super::PushId;

/// Receipts that are kept of one source, the newest: strangers sign as many as they like.
const EARLY_OF_SOURCE_MAX: usize = 512;
/// Sources of which receipts are kept, those that had the newest.
const EARLY_SOURCES_MAX: usize = 128;
/// Receipts of one push, the newest: a false one must not keep out the true one.
const EARLY_OF_PUSH_MAX: usize = 4;

/// What came early, unverified.
#[derive(Debug)]
pub struct Early<R> {
    of: BTreeMap<Id, VecDeque<(PushId, R)>>,
    /// The source that had one last comes last.
    order: VecDeque<Id>,
    /// Whose receipt [`take_next`](Self::take_next) gave last.
    turn: Option<Id>,
}

impl<R> Default for Early<R> {
    fn default() -> Self {
        Self { of: BTreeMap::new(), order: VecDeque::new(), turn: None }
    }
}

impl<R> Early<R> {
    /// Keeps a receipt; the oldest make room.
    pub fn keep(&mut self, source: Id, push: PushId, receipt: R) {
        self.order.retain(|other| *other != source);
        self.order.push_back(source);
        let kept = self.of.entry(source).or_default();
        let of_push = kept.iter().filter(|(of, _)| *of == push).count();
        let is_full = kept.len() >= EARLY_OF_SOURCE_MAX;
        let oldest = kept.iter().position(|(of, _)| of_push < EARLY_OF_PUSH_MAX || *of == push);
        if (is_full || of_push >= EARLY_OF_PUSH_MAX)
            && let Some(oldest) = oldest
        {
            kept.remove(oldest);
        }
        kept.push_back((push, receipt));
        if self.order.len() > EARLY_SOURCES_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.of.remove(&oldest);
        }
    }

    /// Takes out what came early of a push.
    pub fn take(&mut self, source: &Id, push: &PushId) -> Vec<R> {
        let Some(kept) = self.of.get_mut(source).filter(|kept| kept.iter().any(|(of, _)| of == push)) else {
            return Vec::new();
        };
        let (taken, left): (VecDeque<_>, _) =
            std::mem::take(kept).into_iter().partition(|(of, _)| of == push);
        *kept = left;
        self.drop_if_empty(source);
        taken.into_iter().map(|(_, receipt)| receipt).collect()
    }

    /// Takes out the oldest receipt of the next source: they take turns, so that a flood of one's holds up none of another's.
    pub fn take_next(&mut self) -> Option<(Id, R)> {
        let behind = self.turn.map_or(Bound::Unbounded, Bound::Excluded);
        let later = self.of.range((behind, Bound::Unbounded));
        let source = later.chain(&self.of).find(|(_, kept)| !kept.is_empty()).map(|(source, _)| *source)?;
        self.turn = Some(source);
        let (_, receipt) = self.of.get_mut(&source)?.pop_front()?;
        self.drop_if_empty(&source);
        Some((source, receipt))
    }

    /// A source without receipts must not push out one that has some.
    fn drop_if_empty(&mut self, source: &Id) {
        if self.of.get(source).is_some_and(VecDeque::is_empty) {
            self.drop_source(source);
        }
    }

    /// Forgets what came early of a source.
    pub fn drop_source(&mut self, source: &Id) {
        self.of.remove(source);
        self.order.retain(|other| other != source);
    }
}

#[cfg(test)]
mod tests {
    use weft_protocol::Hash;

    use super::*;

    fn push(number: usize) -> PushId {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&number.to_be_bytes());
        Hash(bytes)
    }

    fn source(number: usize) -> Id {
        Id(push(number).0)
    }

    #[test]
    fn what_came_early_is_given_once_and_the_newest_stay() {
        let mut early = Early::default();
        early.keep(source(1), push(1), "false");
        early.keep(source(1), push(1), "true");
        early.keep(source(2), push(1), "of another source");
        assert_eq!(early.take(&source(1), &push(1)), ["false", "true"]);
        assert!(early.take(&source(1), &push(1)).is_empty() && early.take(&source(3), &push(1)).is_empty());
        early.drop_source(&source(2));
        assert!(early.take(&source(2), &push(1)).is_empty());
    }

    #[test]
    fn sources_that_have_nothing_left_push_out_nobody() {
        let mut early = Early::default();
        early.keep(source(0), push(0), 0);
        for number in 1..=EARLY_SOURCES_MAX {
            early.keep(source(number), push(number), number);
            assert_eq!(early.take(&source(number), &push(number)), [number]);
        }
        early.keep(source(1), push(1), 1);
        assert_eq!(early.take_next(), Some((source(0), 0)));
        assert_eq!((early.take_next(), early.take_next()), (Some((source(1), 1)), None));
        assert!(early.of.is_empty() && early.order.is_empty());
    }

    #[test]
    fn sources_take_turns_and_the_oldest_of_each_comes_first() {
        let mut early = Early::default();
        for number in 0..3 {
            early.keep(source(1), push(number), number);
        }
        early.keep(source(2), push(0), 10);
        let given = std::iter::from_fn(|| early.take_next()).map(|(_, receipt)| receipt).collect::<Vec<_>>();
        assert_eq!(given, [0, 10, 1, 2]);
        assert!(early.take(&source(1), &push(0)).is_empty());
        early.keep(source(1), push(7), 7);
        assert_eq!(early.take_next(), Some((source(1), 7)));
    }

    #[test]
    fn a_flood_pushes_out_the_oldest_of_its_own() {
        let mut early = Early::default();
        early.keep(source(1), push(0), 0);
        // Many of one push take no other's place.
        for number in 1..100 {
            early.keep(source(1), push(1), number);
        }
        assert_eq!(early.take(&source(1), &push(1)), [96, 97, 98, 99]);
        assert_eq!(early.take(&source(1), &push(0)), [0]);
        for number in 0..=EARLY_OF_SOURCE_MAX {
            early.keep(source(1), push(number), number);
        }
        early.keep(source(2), push(7), 7);
        assert!(early.take(&source(1), &push(0)).is_empty());
        assert_eq!(early.take(&source(1), &push(EARLY_OF_SOURCE_MAX)), [EARLY_OF_SOURCE_MAX]);
        assert_eq!(early.take(&source(2), &push(7)), [7], "another's are not touched");
        for number in 0..EARLY_SOURCES_MAX {
            early.keep(source(100 + number), push(0), 0);
        }
        assert!(early.take(&source(1), &push(5)).is_empty());
        assert_eq!((early.of.len(), early.order.len()), (EARLY_SOURCES_MAX, EARLY_SOURCES_MAX));
    }
}
