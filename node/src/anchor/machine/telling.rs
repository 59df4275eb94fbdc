//! When a scheduler says again where the batches of its logs lie: to whoever came to a topic since, and to all now and then.
//! Who heard it keeps it in memory alone, and who was not there has not heard it. Nothing is said to topics that nobody
//! came to. Pure.

use std::collections::{BTreeMap, BTreeSet};

use weft_protocol::{Hash, Id, Now};

use crate::anchor::placements::PLACES_MAX;

/// How long a batch is not told again, whoever comes: gossip drops what it remembers, which it does for ten minutes.
const REST_MS: u64 = 15 * 60_000;
/// How long after somebody came, as others often come at the same time.
const GATHER_MS: u64 = 1_000;
/// How often all is told again. Who came after others and knows only them hears it then, as those pass it on once more.
const AGAIN_MS: u64 = 60 * 60_000;
/// What is added to that, a part of it for each log, so that the logs of a node are not told together.
const SPREAD_MS: u64 = 15 * 60_000;
/// Batches of a log that are told at once: some keys take ten milliseconds to sign each.
const AT_ONCE: usize = 4;

/// A batch that is there to stay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Lasting {
    /// Its last slot.
    pub(crate) to: u64,
    /// The root of its bytes.
    pub(crate) root: Hash,
}

/// The batches of the newest slots of a log, by rising last slot, and when each was told.
#[derive(Debug, Default)]
pub(crate) struct Newest(Vec<(Lasting, Option<Now>)>);

impl Newest {
    /// Notes a batch, and when it was told.
    pub(crate) fn note(&mut self, batch: Lasting, told: Option<Now>) {
        if let Some((_, last)) = self.0.iter_mut().find(|(held, _)| held.root == batch.root) {
            *last = (*last).max(told);
            return;
        }
        let at = self.0.partition_point(|(held, _)| held.to <= batch.to);
        self.0.insert(at, (batch, told));
        if self.0.len() > PLACES_MAX {
            self.0.remove(0);
        }
    }
}

#[derive(Debug, Default)]
struct Log {
    newest: Newest,
    /// Whether anybody ever came.
    is_met: bool,
    /// When somebody came who has not heard all of it.
    came: Option<Now>,
    due: Option<Now>,
}

/// What is told again, and when. It holds logs that this node schedules: those in batches, and those that somebody came to.
#[derive(Debug, Default)]
pub(crate) struct Telling {
    logs: BTreeMap<Id, Log>,
    /// Those that somebody waits for, before those that are only due.
    awaited: BTreeSet<(Now, Id)>,
    due: BTreeSet<(Now, Id)>,
}

impl Telling {
    /// Takes up what the disk has of a log.
    pub(crate) fn found(&mut self, process: Id, newest: Newest, now: Now) {
        let log = self.logs.entry(process).or_default();
        newest.0.into_iter().for_each(|(batch, told)| log.newest.note(batch, told));
        if log.is_met {
            self.hasten(process, now.plus_ms(GATHER_MS));
        }
    }

    /// A batch was told on its topic.
    pub(crate) fn told(&mut self, process: Id, batch: Lasting, now: Now) {
        let log = self.logs.entry(process).or_default();
        // Nobody heard it where nobody is.
        log.newest.note(batch, log.is_met.then_some(now));
        if log.is_met && log.due.is_none() {
            self.set_due(process, Some(later(process, now)));
        }
    }

    /// Somebody came to the topic of a log.
    pub(crate) fn came(&mut self, process: Id, now: Now) {
        let held = self.logs.entry(process).or_default().due;
        self.set_due(process, None);
        if let Some(log) = self.logs.get_mut(&process) {
            (log.is_met, log.came) = (true, Some(now));
        }
        let soon = now.plus_ms(GATHER_MS);
        self.set_due(process, Some(held.map_or(soon, |held| held.min(soon))));
    }

    /// More came than were noted: nobody is known not to be there.
    pub(crate) fn more_came(&mut self, now: Now) {
        let processes: Vec<Id> = self.logs.keys().copied().collect();
        for process in processes {
            self.logs.entry(process).or_default().is_met = true;
            self.hasten(process, later(process, now));
        }
    }

    /// The next log of which something is due, and batches that are to be told now, each of which is then told, forgotten or put
    /// off: those of the newest slots first, a few at a time.
    pub(crate) fn next(&mut self, now: Now) -> Option<(Id, Vec<Hash>)> {
        let is_due = |queue: &BTreeSet<(Now, Id)>| queue.first().copied().filter(|(due, _)| *due <= now);
        while let Some((_, process)) = is_due(&self.awaited).or_else(|| is_due(&self.due)) {
            self.set_due(process, None);
            let Some(log) = self.logs.get_mut(&process) else { continue };
            let (mut ripe, mut missed) = (Vec::new(), None);
            for (batch, told) in &log.newest.0 {
                match told.filter(|told| told.plus_ms(REST_MS) > now) {
                    None => ripe.push(batch.root),
                    // What was told shortly before somebody came is told once it has rested.
                    Some(told) if Some(told) < log.came => missed = missed.or(Some(told)).min(Some(told)),
                    Some(_) => {}
                }
            }
            let now_due = ripe.split_off(ripe.len().saturating_sub(AT_ONCE));
            let due = match (ripe.is_empty(), missed) {
                (false, _) => now,
                (true, Some(told)) => told.plus_ms(REST_MS),
                (true, None) => {
                    log.came = None;
                    later(process, now)
                }
            };
            self.set_due(process, Some(due));
            if !now_due.is_empty() {
                return Some((process, now_due));
            }
        }
        None
    }

    /// It is not known where a batch of a log lies: that is looked at again when it would be if it had been told, and keeps
    /// none of the others waiting.
    pub(crate) fn put_off(&mut self, process: Id, root: Hash, now: Now) {
        let Some(log) = self.logs.get_mut(&process) else { return };
        let held = log.newest.0.iter_mut().find(|(batch, _)| batch.root == root);
        if let Some((_, told)) = held {
            *told = Some(now);
        }
    }

    /// A batch is not on the weave that others look at.
    pub(crate) fn forget(&mut self, process: Id, root: Hash) {
        if let Some(log) = self.logs.get_mut(&process) {
            log.newest.0.retain(|(batch, _)| batch.root != root);
        }
    }

    /// Has a log told at this time, unless it is told earlier anyway.
    fn hasten(&mut self, process: Id, due: Now) {
        if self.logs.get(&process).is_some_and(|log| log.due.is_none_or(|held| due < held)) {
            self.set_due(process, Some(due));
        }
    }

    fn set_due(&mut self, process: Id, due: Option<Now>) {
        let Some(log) = self.logs.get_mut(&process) else { return };
        if let Some(held) = std::mem::replace(&mut log.due, due) {
            self.awaited.remove(&(held, process));
            self.due.remove(&(held, process));
        }
        let queue = if log.came.is_some() { &mut self.awaited } else { &mut self.due };
        queue.extend(due.map(|due| (due, process)));
    }
}

/// When a log is told again to all.
fn later(process: Id, now: Now) -> Now {
    let share = u64::from(u16::from_be_bytes([process.0[0], process.0[1]]));
    now.plus_ms(AGAIN_MS + SPREAD_MS * share / u64::from(u16::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: Id = Id([1; 32]);
    const B: Id = Id([2; 32]);

    fn batch(to: u8) -> Lasting {
        Lasting { to: to.into(), root: Hash([to; 32]) }
    }

    fn found(telling: &mut Telling, process: Id, slots: impl Iterator<Item = u8>) {
        let mut newest = Newest::default();
        slots.for_each(|to| newest.note(batch(to), None));
        telling.found(process, newest, Now(0));
    }

    /// The last slots of what is told.
    fn tell(telling: &mut Telling, now: Now) -> Option<(Id, Vec<u8>)> {
        let (process, roots) = telling.next(now)?;
        let slots: Vec<u8> = roots.iter().map(|root| root.0[0]).collect();
        slots.iter().for_each(|to| telling.told(process, batch(*to), now));
        Some((process, slots))
    }

    /// How many batches are told up to a time, a quarter of a second apart, and when.
    fn until(telling: &mut Telling, from: Now, to: Now) -> Vec<(u64, Id, usize)> {
        (from.0..=to.0)
            .step_by(250)
            .filter_map(|at| tell(telling, Now(at)).map(|(process, slots)| (at, process, slots.len())))
            .collect()
    }

    #[test]
    fn after_a_start_the_newest_batches_are_told_to_who_comes_and_again_an_hour_later() {
        let mut telling = Telling::default();
        let last = PLACES_MAX as u8 + 4;
        // Who comes before the disk was read is not forgotten.
        telling.came(A, Now(0));
        // As a table of roots gives them: in no order.
        found(&mut telling, A, (0..=last).rev());
        found(&mut telling, B, 7..8);
        assert_eq!(tell(&mut telling, Now(GATHER_MS - 1)), None);
        let first: Vec<u8> =
            (0..4).flat_map(|_| tell(&mut telling, Now(GATHER_MS))).flat_map(|told| told.1).collect();
        let newest_first = [17, 18, 19, 20, 13, 14, 15, 16, 9, 10, 11, 12, 5, 6, 7, 8];
        assert_eq!(first, newest_first);
        let again = until(&mut telling, Now(GATHER_MS), Now(GATHER_MS + AGAIN_MS + SPREAD_MS));
        assert!(again.iter().all(|(at, of, _)| *of == A && *at >= GATHER_MS + AGAIN_MS), "{again:?}");
        assert_eq!(again.iter().map(|(.., count)| count).sum::<usize>(), PLACES_MAX);
        // Nobody ever came to the other.
        telling.came(B, Now(2 * AGAIN_MS));
        assert_eq!(tell(&mut telling, Now(2 * AGAIN_MS + GATHER_MS)), Some((B, vec![7])));
    }

    #[test]
    fn who_comes_is_told_before_all_that_is_only_due() {
        let mut telling = Telling::default();
        for number in 0..250 {
            found(&mut telling, Id([number; 32]), 0..1);
        }
        telling.more_came(Now(0));
        let now = AGAIN_MS + SPREAD_MS;
        telling.came(Id([200; 32]), Now(now));
        let (first, _) = tell(&mut telling, Now(now + GATHER_MS)).unwrap_or((B, Vec::new()));
        assert_eq!(first, Id([200; 32]));
        // Nobody can know that nobody is there.
        assert_eq!(until(&mut telling, Now(now + GATHER_MS), Now(now + AGAIN_MS)).len(), 249);
    }

    #[test]
    fn who_comes_is_told_soon_and_a_crowd_once() {
        let mut telling = Telling::default();
        found(&mut telling, A, 0..3);
        for at in 0..100 {
            telling.came(A, Now(at * 10));
        }
        assert_eq!(until(&mut telling, Now(0), Now(REST_MS - 1)), [(GATHER_MS, A, 3)]);
        // Whoever comes and goes has it told once in a while and no more.
        let mut times = Vec::new();
        for at in (REST_MS..5 * REST_MS).step_by(250) {
            telling.came(A, Now(at));
            times.extend(tell(&mut telling, Now(at)).map(|_| at));
        }
        assert_eq!(times, [1, 2, 3, 4].map(|number| number * REST_MS + GATHER_MS));
    }

    #[test]
    fn what_was_told_before_somebody_came_is_told_when_it_has_rested() {
        let mut telling = Telling::default();
        telling.came(A, Now(0));
        for (to, at) in [(1, Now(0)), (2, Now(60_000))] {
            telling.told(A, batch(to), at);
        }
        telling.came(A, Now(100_000));
        // Whoever came has heard what is told from then on.
        telling.told(A, batch(3), Now(200_000));
        let told = until(&mut telling, Now(100_000), Now(AGAIN_MS - 1));
        assert_eq!(told, [(REST_MS, A, 1), (60_000 + REST_MS, A, 1)]);
        let all = until(&mut telling, Now(AGAIN_MS), Now(2 * AGAIN_MS));
        assert!(matches!(all[..], [(_, A, 3)]), "{all:?}");
    }

    #[test]
    fn what_is_not_there_is_told_no_more_and_what_is_not_known_later() {
        let mut telling = Telling::default();
        telling.came(A, Now(0));
        found(&mut telling, A, 0..2);
        telling.forget(A, batch(0).root);
        telling.forget(B, batch(0).root);
        assert_eq!(telling.next(Now(GATHER_MS)), Some((A, vec![batch(1).root])));
        telling.put_off(A, batch(1).root, Now(GATHER_MS));
        telling.came(A, Now(2 * GATHER_MS));
        assert_eq!(telling.next(Now(GATHER_MS + REST_MS - 1)), None);
        assert_eq!(tell(&mut telling, Now(GATHER_MS + REST_MS)), Some((A, vec![1])));
    }

    #[test]
    fn one_that_is_never_known_keeps_no_other_from_being_told() {
        let mut telling = Telling::default();
        telling.came(A, Now(0));
        found(&mut telling, A, 0..16);
        let (bad, mut told) = (batch(15).root, Vec::new());
        for at in (GATHER_MS..AGAIN_MS).step_by(250) {
            let Some((process, roots)) = telling.next(Now(at)) else { continue };
            for root in roots {
                if root == bad {
                    telling.put_off(process, root, Now(at));
                } else {
                    telling.told(process, batch(root.0[0]), Now(at));
                    told.push(root.0[0]);
                }
            }
        }
        told.sort_unstable();
        assert_eq!(told, (0..15).collect::<Vec<u8>>(), "each of the others, once");
    }
}
