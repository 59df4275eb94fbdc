//! What is to spare on this machine for what is only soon needed: cores that nobody evaluates on, and some memory.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::compute::residency::{Elsewhere, Held};
use crate::threads;

/// Bytes of pages that are read ahead, of all logs together: eight logs. What finds no room is read and verified when it is its
/// turn.
pub(super) const KEPT_BYTES_MAX: usize = 32 * 1024 * 1024;

/// The cores of this machine and some of its memory, as far as they are taken.
#[derive(Debug, Clone)]
pub struct Spare {
    /// Threads that may be at work at once.
    cores: usize,
    /// Where what is kept is counted, which is in the memory budget.
    elsewhere: Elsewhere,
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

impl Spare {
    /// That of a machine with so many cores.
    pub fn of(cores: usize, elsewhere: Elsewhere) -> Self {
        Self { cores, elsewhere, taken: Arc::default() }
    }

    /// That of this machine, where so many threads evaluate: whoever wants few of them wants the other cores for something
    /// else, so there is one more at most.
    pub fn beside(threads: usize, elsewhere: Elsewhere) -> Self {
        Self::of(threads.saturating_add(1).min(threads::of_this_machine()), elsewhere)
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
        let is_free = has < taken.share(self.cores) && taken.helping < left;
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
        Some(Kept { _held: self.elsewhere.hold(bytes as u64), bytes, of: self.clone() })
    }
}

impl Taken {
    /// Helpers of each one who evaluates.
    fn share(&self, cores: usize) -> usize {
        let left = cores.saturating_sub(self.evaluating);
        left.div_ceil(self.evaluating.max(1)).min(threads::THREADS_MAX)
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
    /// Whether others evaluate on its core now, or its crew of so many has more than its share: it should end.
    pub(super) fn is_in_the_way(&self, has: usize) -> bool {
        let taken = self.0.taken();
        taken.evaluating + taken.helping > self.0.cores || has > taken.share(self.0.cores)
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
    /// Counts them.
    _held: Held,
}

impl Kept {
    /// How many.
    pub(super) const fn bytes(&self) -> usize {
        self.bytes
    }
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

    fn of(cores: usize) -> Spare {
        Spare::of(cores, Elsewhere::default())
    }

    #[test]
    fn help_takes_only_cores_that_nobody_evaluates_on() {
        let spare = of(2);
        let one = spare.evaluate();
        let help = spare.help(0);
        assert!(help.as_ref().is_some_and(|help| !help.is_in_the_way(1)) && !spare.has_some());
        assert!(spare.help(0).is_none(), "the core is taken");
        let other = spare.evaluate();
        assert!(help.is_some_and(|help| help.is_in_the_way(1)));
        assert!(spare.help(0).is_none() && !spare.has_some(), "both evaluate");
        drop(other);
        assert!(spare.has_some() && spare.help(0).is_some());
        drop(one);
        assert_eq!(spare.in_use(), (0, 0, 0));
        let (crowd, none) = (of(1), of(0));
        let _all = [crowd.evaluate(), crowd.evaluate(), none.evaluate()];
        assert!(crowd.help(0).is_none() && none.help(0).is_none());
    }

    #[test]
    fn those_that_evaluate_share_what_is_left() {
        let count = |spare: &Spare| -> Vec<Help> { (0..).map_while(|has| spare.help(has)).collect() };
        let spare = of(9);
        let _three = [spare.evaluate(), spare.evaluate(), spare.evaluate()];
        let helps = [count(&spare), count(&spare), count(&spare), count(&spare)];
        assert_eq!(helps.each_ref().map(Vec::len), [2, 2, 2, 0]);
        let spare = of(8);
        let _one = spare.evaluate();
        let mut first = count(&spare);
        assert_eq!(first.len(), 7);
        let _other = spare.evaluate();
        while first.last().is_some_and(|help| help.is_in_the_way(first.len())) {
            first.pop();
        }
        assert_eq!((first.len(), count(&spare).len()), (3, 3), "who came first gives up what is the other's");
        let large = of(1_000);
        let _one = large.evaluate();
        assert_eq!(count(&large).len(), threads::THREADS_MAX, "one log takes no more of a large machine");
    }

    #[test]
    fn what_is_kept_has_a_limit() {
        let elsewhere = Elsewhere::default();
        let spare = Spare::of(2, elsewhere.clone());
        let some = spare.keep(KEPT_BYTES_MAX - 1);
        assert_eq!(elsewhere.bytes(), KEPT_BYTES_MAX as u64 - 1, "it counts in the memory budget");
        assert!(some.is_some() && spare.keep(2).is_none() && spare.keep(usize::MAX).is_none());
        let rest = spare.keep(1);
        assert!(rest.is_some() && spare.keep(1).is_none());
        drop((some, rest));
        assert_eq!((spare.in_use(), elsewhere.bytes()), ((0, 0, 0), 0));
        assert!(spare.keep(KEPT_BYTES_MAX).is_some());
    }
    /// An operator who gives evaluation one thread of many cores keeps the others, but for one.
    #[test]
    fn few_threads_have_few_helpers() {
        let spare = Spare::beside(1, Elsewhere::default());
        assert!((1..=2).contains(&spare.cores), "{spare:?}");
        assert_eq!(Spare::beside(usize::MAX, Elsewhere::default()).cores, threads::of_this_machine());
    }
}
