//! What is to spare on this machine for what is only soon needed: cores that nobody evaluates on, and some memory.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::threads;

/// Bytes of pages that processes keep from one run to the next, all together. A page without room is let go, and read and
/// verified again when its turn comes.
pub(super) const KEPT_BYTES_MAX: usize = 32 * 1024 * 1024;

/// The cores of this machine and some of its memory, as far as they are taken.
#[derive(Debug, Clone)]
pub struct Spare {
    cores: usize,
    taken: Arc<Mutex<Taken>>,
}

#[derive(Debug, Default)]
struct Taken {
    /// Threads that evaluate.
    evaluating: usize,
    /// Threads that verify for them.
    helping: usize,
    kept_bytes: usize,
}

impl Default for Spare {
    fn default() -> Self {
        Self::of(threads::of_this_machine())
    }
}

impl Spare {
    /// That of a machine with so many cores.
    pub fn of(cores: usize) -> Self {
        Self { cores, taken: Arc::default() }
    }

    fn taken(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts a thread as one that evaluates.
    pub(super) fn evaluate(&self) -> Evaluating<'_> {
        self.taken().evaluating += 1;
        Evaluating(self)
    }

    /// Whether a core is left for another helper.
    pub(super) fn has_some(&self) -> bool {
        let taken = self.taken();
        taken.evaluating + taken.helping < self.cores
    }

    /// Another helper for one who evaluates and has so many: as long as these are fewer than its share of the cores that
    /// nobody evaluates on, and one of those is left. So help never makes the threads at work more than the cores.
    pub(super) fn help(&self, has: usize) -> Option<Help> {
        let mut taken = self.taken();
        let left = self.cores.saturating_sub(taken.evaluating);
        let share = left.div_ceil(taken.evaluating.max(1)).min(threads::THREADS_MAX);
        let is_free = has < share && taken.helping < left;
        taken.helping += usize::from(is_free);
        drop(taken);
        is_free.then(|| Help(self.clone()))
    }

    /// Room for so many bytes, as long as it is held; none if there is none.
    pub(super) fn keep(&self, bytes: usize) -> Option<Kept> {
        let mut taken = self.taken();
        let total = taken.kept_bytes.saturating_add(bytes);
        if total > KEPT_BYTES_MAX {
            return None;
        }
        taken.kept_bytes = total;
        drop(taken);
        Some(Kept { bytes, of: self.clone() })
    }
}

/// A thread that evaluates, until this is dropped.
pub(super) struct Evaluating<'a>(&'a Spare);

impl Drop for Evaluating<'_> {
    fn drop(&mut self) {
        self.0.taken().evaluating -= 1;
    }
}

/// A thread that helps, until this is dropped.
pub(super) struct Help(Spare);

impl Help {
    /// Whether others evaluate on its core now: it should end.
    pub(super) fn is_in_the_way(&self) -> bool {
        let taken = self.0.taken();
        taken.evaluating + taken.helping > self.0.cores
    }
}

impl Drop for Help {
    fn drop(&mut self) {
        self.0.taken().helping -= 1;
    }
}

/// Bytes that are kept, until this is dropped.
pub(super) struct Kept {
    bytes: usize,
    of: Spare,
}

impl Drop for Kept {
    fn drop(&mut self) {
        self.of.taken().kept_bytes -= self.bytes;
    }
}

#[cfg(test)]
impl Spare {
    /// Threads that evaluate, threads that help, and bytes that are kept.
    pub(super) fn in_use(&self) -> (usize, usize, usize) {
        let taken = self.taken();
        (taken.evaluating, taken.helping, taken.kept_bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn help_takes_only_cores_that_nobody_evaluates_on() {
        let spare = Spare::of(2);
        let one = spare.evaluate();
        let help = spare.help(0);
        assert!(help.as_ref().is_some_and(|help| !help.is_in_the_way()) && !spare.has_some());
        assert!(spare.help(0).is_none(), "the core is taken");
        let other = spare.evaluate();
        assert!(help.is_some_and(|help| help.is_in_the_way()));
        assert!(spare.help(0).is_none() && !spare.has_some(), "both evaluate");
        drop(other);
        assert!(spare.has_some() && spare.help(0).is_some());
        drop(one);
        assert_eq!(spare.in_use(), (0, 0, 0));
        let (crowd, none) = (Spare::of(1), Spare::of(0));
        let _all = [crowd.evaluate(), crowd.evaluate(), none.evaluate()];
        assert!(crowd.help(0).is_none() && none.help(0).is_none());
    }

    #[test]
    fn those_that_evaluate_share_what_is_left() {
        let count = |spare: &Spare| -> Vec<Help> { (0..).map_while(|has| spare.help(has)).collect() };
        let spare = Spare::of(9);
        let _three = [spare.evaluate(), spare.evaluate(), spare.evaluate()];
        let helps = [count(&spare), count(&spare), count(&spare), count(&spare)];
        assert_eq!(helps.each_ref().map(Vec::len), [2, 2, 2, 0]);
        let large = Spare::of(1_000);
        let _one = large.evaluate();
        assert_eq!(count(&large).len(), threads::THREADS_MAX, "one log takes no more of a large machine");
    }

    #[test]
    fn what_is_kept_has_a_limit() {
        let spare = Spare::of(2);
        let some = spare.keep(KEPT_BYTES_MAX - 1);
        assert!(some.is_some() && spare.keep(2).is_none() && spare.keep(usize::MAX).is_none());
        let rest = spare.keep(1);
        assert!(rest.is_some() && spare.keep(1).is_none());
        drop((some, rest));
        assert_eq!(spare.in_use(), (0, 0, 0));
        assert!(spare.keep(KEPT_BYTES_MAX).is_some());
    }
}
