//! The same work on many things, on the cores of this machine. Blocks: to be called away from the tasks.

use std::num::NonZeroUsize;
use std::panic::resume_unwind;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::{self, Builder};

/// Threads of one piece of work: signatures are checked no faster by more than this machine has cores, and one log takes
/// no more of a large machine.
pub(crate) const THREADS_MAX: usize = 8;
/// Things that a thread takes at a time: enough that taking them costs nothing, few enough that all end together.
const TURN: usize = 16;

/// The cores of this machine that are ours.
pub(crate) fn of_this_machine() -> usize {
    thread::available_parallelism().map_or(1, NonZeroUsize::get)
}

/// As many as this machine has cores.
pub(crate) fn cores() -> usize {
    of_this_machine().min(THREADS_MAX)
}

/// What `work` makes of each, in their order, on so many threads, of which this is one.
pub(crate) fn each<T: Sync, R: Send>(threads: usize, all: &[T], work: impl Fn(&T) -> R + Sync) -> Vec<R> {
    let next = AtomicUsize::new(0);
    let take_turns = || {
        let mut done: Vec<(usize, Vec<R>)> = Vec::new();
        loop {
            let from = next.fetch_add(TURN, Ordering::Relaxed);
            let to = all.len().min(from.saturating_add(TURN));
            match all.get(from..to) {
                None | Some([]) => return done,
                Some(turn) => done.push((from, turn.iter().map(&work).collect())),
            }
        }
    };
    let others = threads.min(THREADS_MAX).min(all.len().div_ceil(TURN)).saturating_sub(1);
    let mut done = thread::scope(|scope| {
        let begin = |_| Builder::new().name("weft-checks".into()).spawn_scoped(scope, take_turns).ok();
        // Where the system has no thread left, those that there are do the work.
        let begun: Vec<_> = (0..others).filter_map(begin).collect();
        let mut done = take_turns();
        for other in begun {
            done.extend(other.join().unwrap_or_else(|panic| resume_unwind(panic)));
        }
        done
    });
    done.sort_unstable_by_key(|(from, _)| *from);
    done.into_iter().flat_map(|(_, some)| some).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_answers_are_in_order_on_any_number_of_threads() {
        for count in [0, 1, TURN, TURN + 1, 10 * TURN + 3] {
            let all: Vec<usize> = (0..count).collect();
            let expected: Vec<usize> = all.iter().map(|one| one * 3).collect();
            for threads in [0, 1, 2, 7, usize::MAX] {
                assert_eq!(each(threads, &all, |one| one * 3), expected, "{count} on {threads}");
            }
        }
    }

    /// Two that wait for each other end only where both are at work at once.
    #[test]
    fn the_threads_work_beside_each_other() {
        let met = std::sync::Barrier::new(2);
        let all: Vec<usize> = (0..2 * TURN).collect();
        let waits = |one: &usize| one.is_multiple_of(TURN).then(|| met.wait()).is_some();
        assert_eq!(each(2, &all, waits).into_iter().filter(|waited| *waited).count(), 2);
    }
}
