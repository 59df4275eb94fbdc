//! When a scheduler says again where the batches of its logs lie: to whoever came to a topic since, and to all now and then.
//! Who heard it keeps it in memory alone, and who was not there has not heard it. Pure.

use std::collections::{BTreeMap, BTreeSet};

use weft_protocol::{Hash, Id, Now};

use crate::anchor::placements::PLACES_MAX;

/// How long a batch is not told again, whoever comes: gossip drops what it remembers, which it does for ten minutes.
const REST_MS: u64 = 15 * 60_000;
/// How long after somebody came, as others often come at the same time.
const GATHER_MS: u64 = 1_000;
/// How long after a start all is told that nobody was told of before, as peers come in the meantime.
const FIRST_MS: u64 = 30_000;
/// How often all is told again. Who came after others and knows only them hears it then, as those pass it on once more.
const AGAIN_MS: u64 = 60 * 60_000;
/// What is added to that, a part of it for each log, so that the logs of a node are not told together.
const SPREAD_MS: u64 = 15 * 60_000;

/// A batch that is there to stay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Lasting {
    /// Its last slot.
    pub(crate) to: u64,
    /// The root of its bytes.
    pub(crate) root: Hash,
}

/// The batches of the newest slots of a log.
#[derive(Debug, Default)]
pub(crate) struct Newest(Vec<(Lasting, Option<Now>)>);

impl Newest {
    /// Notes a batch, and when it was told.
    pub(crate) fn note(&mut self, batch: Lasting, told: Option<Now>) {
        if let Some(at) = self.0.iter().position(|(held, _)| held.root == batch.root) {
            self.0[at].1 = self.0[at].1.max(told);
            return;
        }
        let at = self.0.partition_point(|(held, _)| held.to <= batch.to);
        self.0.insert(at, (batch, told));
        if self.0.len() > PLACES_MAX {
            self.0.remove(0);
        }
    }
}

#[derive(Debug)]
struct Log {
    newest: Newest,
    /// When somebody came who has not heard all of it.
    came: Option<Now>,
    due: Now,
}

/// What is told again, and when. It holds the logs that this node schedules and has in batches.
#[derive(Debug, Default)]
pub(crate) struct Telling {
    logs: BTreeMap<Id, Log>,
    due: BTreeSet<(Now, Id)>,
}

impl Telling {
    /// Takes up what the disk has of a log.
    pub(crate) fn found(&mut self, process: Id, newest: Newest, now: Now) {
        let log = self.log(process, now.plus_ms(FIRST_MS));
        newest.0.into_iter().for_each(|(batch, told)| log.newest.note(batch, told));
        self.set_due(process, now.plus_ms(FIRST_MS));
    }

    /// A batch was told, at this time if anybody heard it.
    pub(crate) fn told(&mut self, process: Id, batch: Lasting, told: Option<Now>, now: Now) {
        self.log(process, later(process, now)).newest.note(batch, told);
    }

    /// Somebody came to the topic of a log.
    pub(crate) fn came(&mut self, process: Id, now: Now) {
        if let Some(log) = self.logs.get_mut(&process) {
            log.came = Some(now);
            self.set_due(process, now.plus_ms(GATHER_MS));
        }
    }

    /// The next log of which something is due, and its batches that are to be told now: at most [`PLACES_MAX`].
    pub(crate) fn next(&mut self, now: Now) -> Option<(Id, Vec<Hash>)> {
        while let Some((_, process)) = self.due.first().copied().filter(|(due, _)| *due <= now) {
            self.due.pop_first();
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
            log.due = match missed {
                Some(told) => told.plus_ms(REST_MS),
                None => {
                    log.came = None;
                    later(process, now)
                }
            };
            self.due.insert((log.due, process));
            if !ripe.is_empty() {
                return Some((process, ripe));
            }
        }
        None
    }

    /// A batch is not on the weave that others look at, or its log is not this node's.
    pub(crate) fn forget(&mut self, process: Id, root: Hash) {
        let Some(log) = self.logs.get_mut(&process) else { return };
        log.newest.0.retain(|(batch, _)| batch.root != root);
        if log.newest.0.is_empty() {
            self.due.remove(&(log.due, process));
            self.logs.remove(&process);
        }
    }

    fn log(&mut self, process: Id, due: Now) -> &mut Log {
        self.logs.entry(process).or_insert_with(|| {
            self.due.insert((due, process));
            Log { newest: Newest::default(), came: None, due }
        })
    }

    /// Has a log told at this time, unless it is told earlier anyway.
    fn set_due(&mut self, process: Id, due: Now) {
        if let Some(log) = self.logs.get_mut(&process).filter(|log| due < log.due) {
            self.due.remove(&(log.due, process));
            log.due = due;
            self.due.insert((due, process));
        }
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

    fn found(telling: &mut Telling, process: Id, slots: impl Iterator<Item = u8>, now: Now) {
        let mut newest = Newest::default();
        slots.for_each(|to| newest.note(batch(to), None));
        telling.found(process, newest, now);
    }

    fn roots(slots: impl Iterator<Item = u8>) -> Vec<Hash> {
        slots.map(|to| batch(to).root).collect()
    }

    /// Tells what is due, to somebody.
    fn tell(telling: &mut Telling, now: Now) -> Option<(Id, Vec<Hash>)> {
        let (process, roots) = telling.next(now)?;
        for root in &roots {
            telling.told(process, batch(root.0[0]), Some(now), now);
        }
        Some((process, roots))
    }

    /// All that is told up to a time, a quarter of a second apart, and when.
    fn until(telling: &mut Telling, from: Now, to: Now) -> Vec<(u64, Id, usize)> {
        (from.0..=to.0)
            .step_by(250)
            .filter_map(|at| tell(telling, Now(at)).map(|(process, roots)| (at, process, roots.len())))
            .collect()
    }

    #[test]
    fn after_a_start_the_newest_batches_are_told_and_again_an_hour_later() {
        let mut telling = Telling::default();
        let last = PLACES_MAX as u8 + 4;
        // As a table of roots gives them: in no order.
        found(&mut telling, A, (0..=last).rev(), Now(0));
        found(&mut telling, B, 7..8, Now(0));
        assert_eq!(tell(&mut telling, Now(FIRST_MS - 1)), None);
        assert_eq!(tell(&mut telling, Now(FIRST_MS)), Some((A, roots(5..=last))));
        assert_eq!(tell(&mut telling, Now(FIRST_MS)), Some((B, roots(7..8))));
        let again = until(&mut telling, Now(FIRST_MS), Now(FIRST_MS + AGAIN_MS + SPREAD_MS + 250));
        let [(first, A, 16), (second, B, 1)] = again[..] else { panic!("{again:?}") };
        assert!(FIRST_MS + AGAIN_MS <= first && first < second, "{again:?}");
    }

    #[test]
    fn who_comes_is_told_soon_and_a_crowd_once() {
        let mut telling = Telling::default();
        found(&mut telling, A, 0..3, Now(0));
        telling.came(B, Now(1));
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
    fn what_nobody_heard_is_told_to_the_first_who_comes() {
        let mut telling = Telling::default();
        found(&mut telling, A, 0..2, Now(0));
        assert!(telling.next(Now(FIRST_MS)).is_some());
        telling.told(A, batch(2), None, Now(FIRST_MS));
        telling.came(A, Now(FIRST_MS + 1));
        assert_eq!(telling.next(Now(FIRST_MS + 1 + GATHER_MS)), Some((A, roots(0..3))));
    }

    #[test]
    fn what_was_told_before_somebody_came_is_told_when_it_has_rested() {
        let mut telling = Telling::default();
        for (to, at) in [(1, Now(0)), (2, Now(60_000))] {
            telling.told(A, batch(to), Some(at), at);
        }
        telling.came(A, Now(100_000));
        // Whoever came has heard what is told from then on.
        telling.told(A, batch(3), Some(Now(200_000)), Now(200_000));
        let told = until(&mut telling, Now(100_000), Now(AGAIN_MS - 1));
        assert_eq!(told, [(REST_MS, A, 1), (60_000 + REST_MS, A, 1)]);
        let all = until(&mut telling, Now(AGAIN_MS), Now(2 * AGAIN_MS));
        assert!(matches!(all[..], [(_, A, 3)]), "{all:?}");
    }

    #[test]
    fn what_is_not_there_is_told_no_more() {
        let mut telling = Telling::default();
        found(&mut telling, A, 0..2, Now(0));
        telling.forget(A, batch(0).root);
        telling.forget(B, batch(0).root);
        assert_eq!(telling.next(Now(FIRST_MS)), Some((A, roots(1..2))));
        telling.forget(A, batch(1).root);
        assert!(telling.logs.is_empty() && telling.due.is_empty());
        assert_eq!(telling.next(Now(u64::MAX)), None);
    }
}
