//! Queues and budgets: how much of each is taken now, and how much there is.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use tokio::sync::{Semaphore, mpsc};

/// What a level is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    /// What waits; one more than its limit waits outside, is dropped or told to come back.
    Queue,
    /// What is used up by what goes on now.
    Budget,
}

/// Says how much is taken and how much there is; nothing once it is gone.
type Look = Box<dyn Fn() -> Option<(u64, u64)> + Send + Sync>;

/// A queue or a budget, with how to look at it.
pub struct Level {
    kind: Kind,
    role: &'static str,
    name: &'static str,
    look: Look,
}

impl fmt::Debug for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} {}/{}", self.kind, self.role, self.name)
    }
}

impl Level {
    /// A channel of a role. It is not kept open by this.
    pub fn channel<T: Send + 'static>(
        role: &'static str,
        name: &'static str,
        sender: &mpsc::Sender<T>,
    ) -> Self {
        let sender = sender.downgrade();
        let look = move || {
            let sender = sender.upgrade()?;
            let limit = sender.max_capacity();
            Some(((limit - sender.capacity()) as u64, limit as u64))
        };
        Self { kind: Kind::Queue, role, name, look: Box::new(look) }
    }

    /// The permits of a semaphore that has so many.
    pub fn permits(role: &'static str, name: &'static str, permits: &Arc<Semaphore>, limit: usize) -> Self {
        let permits = Arc::downgrade(permits);
        let look = move || {
            let free = permits.upgrade()?.available_permits();
            Some((limit.saturating_sub(free) as u64, limit as u64))
        };
        Self { kind: Kind::Budget, role, name, look: Box::new(look) }
    }

    /// Anything that waits: `look` says how much, and how much may.
    pub fn queue(
        role: &'static str,
        name: &'static str,
        look: impl Fn() -> Option<(u64, u64)> + Send + Sync + 'static,
    ) -> Self {
        Self { kind: Kind::Queue, role, name, look: Box::new(look) }
    }

    /// What is used of a budget, written to the cell by whoever uses it.
    pub fn cell(role: &'static str, name: &'static str, limit: u64) -> (Self, Arc<AtomicU64>) {
        let cell = Arc::new(AtomicU64::new(0));
        let read = Arc::clone(&cell);
        (Self::budget(role, name, move || Some((read.load(Ordering::Relaxed), limit))), cell)
    }

    /// Anything that is used up: `look` says how much is, and how much may be.
    pub fn budget(
        role: &'static str,
        name: &'static str,
        look: impl Fn() -> Option<(u64, u64)> + Send + Sync + 'static,
    ) -> Self {
        Self { kind: Kind::Budget, role, name, look: Box::new(look) }
    }
}

/// How much of one level is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Reading {
    pub(super) kind: Kind,
    pub(crate) role: &'static str,
    pub(crate) name: &'static str,
    pub(crate) used: u64,
    pub(crate) limit: u64,
}

/// All levels of a node.
#[derive(Debug, Default)]
pub(super) struct Levels(RwLock<BTreeMap<(Kind, &'static str, &'static str), Level>>);

impl Levels {
    pub(super) fn put(&self, level: Level) {
        let key = (level.kind, level.role, level.name);
        self.0.write().unwrap_or_else(PoisonError::into_inner).insert(key, level);
    }

    pub(super) fn read(&self) -> Vec<Reading> {
        let levels = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let readings = levels.values().filter_map(|level| {
            let (used, limit) = (level.look)()?;
            Some(Reading { kind: level.kind, role: level.role, name: level.name, used, limit })
        });
        readings.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_taken_is_seen_until_it_is_gone() {
        let levels = Levels::default();
        let (sender, queue) = mpsc::channel(3);
        let permits = Arc::new(Semaphore::new(2));
        levels.put(Level::channel("scheduler", "inbox", &sender));
        levels.put(Level::permits("messenger", "pushes", &permits, 2));
        let taken = (sender.try_send(()), Arc::clone(&permits).try_acquire_owned());
        assert!(taken.0.is_ok() && taken.1.is_ok());
        let seen = |levels: &Levels| -> Vec<_> {
            levels.read().iter().map(|seen| (seen.name, seen.used, seen.limit)).collect()
        };
        assert_eq!(seen(&levels), [("inbox", 1, 3), ("pushes", 1, 2)]);
        // A level keeps nothing alive: a channel still ends with its last sender.
        drop((sender, queue));
        assert_eq!(seen(&levels), [("pushes", 1, 2)]);
    }
}
