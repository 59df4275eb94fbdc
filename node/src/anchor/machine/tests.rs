use super::*;

const PROCESS: Id = Id([1; 32]);
const ROOT: Hash = Hash([2; 32]);
const BLOCK: (u64, Hash) = (7, Hash([3; 32]));
const POLICY: Policy = Policy { slots: 4, age_ms: 1_000 };

struct Run(Anchor);

impl Run {
    /// A driver that was told of a log.
    fn with(head: Option<u64>, anchored: Option<u64>, open: Option<(u64, u64, Hash)>) -> Self {
        let mut run = Self(Anchor::new(POLICY));
        assert_eq!(
            run.handle(Input::Log { process: PROCESS, head, anchored, open }, 0).len(),
            usize::from(open.is_some())
        );
        run
    }

    fn handle(&mut self, input: Input, ms: u64) -> Vec<Effect> {
        let mut effects = Effects::new();
        self.0.handle(input, Now(1_000_000 + ms), &mut effects);
        effects.drain().collect()
    }

    fn status(&mut self, block: Option<(u64, Hash)>, known: bool, ms: u64) -> Vec<Effect> {
        self.handle(Input::Status { process: PROCESS, block, known }, ms)
    }

    /// Handed over at `ms`: slots 0 to 3.
    fn submitted(ms: u64) -> Self {
        let mut run = Self::with(Some(0), None, None);
        assert_eq!(run.handle(Input::Grew { process: PROCESS, head: 3 }, ms), [submit(0, 3)]);
        assert_eq!(run.handle(Input::Submitted { process: PROCESS, to: 3, data_root: ROOT }, ms), []);
        run
    }
}

const fn submit(from: u64, to: u64) -> Effect {
    Effect::Submit { process: PROCESS, from, to }
}

const fn confirm(to: u64) -> Effect {
    Effect::Confirm { process: PROCESS, to, data_root: ROOT, block: BLOCK }
}

const QUERY: Effect = Effect::Query { process: PROCESS, data_root: ROOT };

#[test]
fn a_batch_is_made_when_many_slots_wait_or_one_waits_long() {
    let mut run = Run::with(Some(0), None, None);
    assert_eq!(run.handle(Input::Grew { process: PROCESS, head: 2 }, 0), []);
    assert_eq!(run.handle(Input::Tick, 999), []);
    assert_eq!(run.handle(Input::Tick, 1_000), [submit(0, 2)]);
    let mut run = Run::with(Some(2), None, None);
    assert_eq!(run.handle(Input::Grew { process: PROCESS, head: 3 }, 1), [submit(0, 3)]);
    // A long backlog goes in batches, one after another.
    let head = 3 * BATCH_SLOTS_MAX;
    let mut run = Run::with(None, Some(9), None);
    assert_eq!(run.handle(Input::Grew { process: PROCESS, head }, 0), [submit(10, 9 + BATCH_SLOTS_MAX)]);
    assert_eq!(run.handle(Input::Tick, 5_000), []);
}

/// Two batches of a log are never open at once, on disk either: a restart could take up the older
/// and make one that overlaps the newer.
#[test]
fn no_batch_is_made_while_a_confirmation_is_on_its_way_to_disk() {
    let mut run = Run::submitted(0);
    run.handle(Input::Grew { process: PROCESS, head: 50 }, 1);
    assert_eq!(run.status(Some(BLOCK), true, 2), [confirm(3)]);
    // Neither time, nor more slots, nor more news of the block make another, or ask again.
    assert_eq!(run.handle(Input::Tick, 60_000), []);
    assert_eq!(run.handle(Input::Grew { process: PROCESS, head: 60 }, 60_001), []);
    assert_eq!(run.status(Some(BLOCK), true, 60_002), []);
    assert_eq!(run.status(None, false, 60_003), []);
    assert_eq!(run.0.anchored(&PROCESS), None, "it is anchored when the disk says so");
    let effects = run.handle(Input::Confirmed { process: PROCESS, to: 3 }, 60_004);
    assert_eq!((run.0.anchored(&PROCESS), effects), (Some(3), vec![submit(4, 60)]));
}

#[test]
fn a_confirmation_that_the_disk_refused_is_asked_for_again() {
    let mut run = Run::submitted(0);
    assert_eq!(run.status(Some(BLOCK), true, 10), [confirm(3)]);
    assert_eq!(run.handle(Input::Failed { process: PROCESS }, 20), []);
    // It is in a block all the same: nothing is handed over again.
    assert_eq!(run.handle(Input::Tick, 20 + QUERY_MS - 1), []);
    assert_eq!(run.handle(Input::Tick, 20 + QUERY_MS), [QUERY]);
    assert_eq!(run.status(Some(BLOCK), true, 2_000), [confirm(3)]);
    run.handle(Input::Confirmed { process: PROCESS, to: 3 }, 2_001);
    assert_eq!(run.0.anchored(&PROCESS), Some(3));
}

#[test]
fn what_the_weave_dropped_or_did_not_take_is_handed_over_again_with_the_same_slots() {
    let mut run = Run::submitted(0);
    run.handle(Input::Grew { process: PROCESS, head: 9 }, 1);
    assert_eq!(run.status(None, true, 2), [], "it waits for a block");
    assert_eq!(run.status(None, false, 3), [submit(0, 3)]);
    assert_eq!(run.handle(Input::Failed { process: PROCESS }, 4), []);
    assert_eq!(run.handle(Input::Tick, 3 + RESUBMIT_MS), []);
    assert_eq!(run.handle(Input::Tick, 4 + RESUBMIT_MS), [submit(0, 3)]);
    // News of a batch that is being handed over says nothing of this one.
    assert_eq!(run.status(Some(BLOCK), true, 5 + RESUBMIT_MS), []);
}

/// Large items fill a batch before its slots are all in it.
#[test]
fn the_slots_that_a_batch_had_no_room_for_are_in_the_next() {
    let mut run = Run::with(Some(0), None, None);
    assert_eq!(run.handle(Input::Grew { process: PROCESS, head: 3 }, 0), [submit(0, 3)]);
    assert_eq!(run.handle(Input::Submitted { process: PROCESS, to: 1, data_root: ROOT }, 1), []);
    // Dropped by the weave, it is asked for as it is.
    assert_eq!(run.status(None, false, 2), [submit(0, 1)]);
    run.handle(Input::Submitted { process: PROCESS, to: 1, data_root: ROOT }, 3);
    assert_eq!(run.status(Some(BLOCK), true, 4), [confirm(1)]);
    assert_eq!(run.handle(Input::Confirmed { process: PROCESS, to: 1 }, 5), []);
    assert_eq!(run.handle(Input::Tick, 1_005), [submit(2, 3)]);
}

#[test]
fn what_waits_becomes_a_batch_when_somebody_wants_it() {
    let mut run = Run::with(Some(1), None, None);
    assert_eq!(run.handle(Input::Tick, 1), []);
    assert_eq!(run.handle(Input::Flush, 2), [submit(0, 1)]);
    assert_eq!(run.handle(Input::Flush, 3), [], "it is on its way");
    run.handle(Input::Submitted { process: PROCESS, to: 1, data_root: ROOT }, 4);
    run.status(Some(BLOCK), true, 5);
    run.handle(Input::Confirmed { process: PROCESS, to: 1 }, 6);
    run.handle(Input::Grew { process: PROCESS, head: 2 }, 7);
    assert_eq!(run.handle(Input::Tick, 8), [], "what comes later waits again");
}

#[test]
fn an_open_batch_of_an_earlier_life_is_asked_for_first() {
    let mut run = Run(Anchor::new(POLICY));
    let log = Input::Log { process: PROCESS, head: Some(20), anchored: Some(1), open: Some((2, 9, ROOT)) };
    assert_eq!(run.handle(log, 0), [QUERY]);
    assert_eq!(run.status(Some(BLOCK), true, 1), [confirm(9)]);
    assert_eq!(run.handle(Input::Confirmed { process: PROCESS, to: 9 }, 2), [submit(10, 20)]);
    // Of a log that nobody told of nothing is known.
    assert_eq!(run.handle(Input::Confirmed { process: Id([9; 32]), to: 1 }, 3), []);
}

#[test]
fn news_of_one_log_asks_nothing_of_the_others() {
    const OTHER: Id = Id([9; 32]);
    let mut run = Run::with(Some(2), None, None);
    assert_eq!(run.handle(Input::Log { process: OTHER, head: None, anchored: None, open: None }, 0), []);
    // The first log is due by now, which the passing of time finds out.
    assert_eq!(run.handle(Input::Grew { process: OTHER, head: 1 }, 1_500), []);
    assert_eq!(run.handle(Input::Tick, 1_500), [submit(0, 2)]);
    assert_eq!(run.handle(Input::Tick, 2_500), [Effect::Submit { process: OTHER, from: 0, to: 1 }]);
    assert_eq!(run.0.open.len(), 2);
    for (process, to) in [(PROCESS, 2), (OTHER, 1)] {
        assert_eq!(run.handle(Input::Confirmed { process, to }, 2_600), []);
    }
    // What has nothing left to do is not looked at.
    assert!(run.0.open.is_empty());
    assert_eq!(run.handle(Input::Tick, 60_000), []);
    assert_eq!(run.handle(Input::Grew { process: PROCESS, head: 9 }, 60_001), [submit(3, 9)]);
}

/// Attestations that came after their slots were never anchored where no more slots came.
#[test]
fn what_waits_beside_the_slots_goes_with_the_next_ones_or_alone() {
    let beside = || Input::Beside { process: PROCESS };
    let mut run = Run::with(Some(3), Some(3), None);
    assert_eq!(run.handle(beside(), 0), []);
    assert_eq!(run.handle(beside(), 500), []);
    assert_eq!(run.handle(Input::Tick, 999), []);
    assert_eq!(run.handle(Input::Tick, 1_000), [submit(4, 3)]);
    // It moves nothing, and what came meanwhile is not lost.
    run.handle(Input::Submitted { process: PROCESS, to: 3, data_root: ROOT }, 1_001);
    assert_eq!(run.handle(beside(), 1_002), []);
    assert_eq!(run.handle(Input::Grew { process: PROCESS, head: 5 }, 1_003), []);
    assert_eq!(run.status(Some(BLOCK), true, 1_004), [confirm(3)]);
    assert_eq!(run.handle(Input::Confirmed { process: PROCESS, to: 3 }, 1_005), []);
    assert_eq!(run.0.anchored(&PROCESS), Some(3));
    assert_eq!(run.handle(Input::Tick, 2_005), [submit(4, 5)], "with the slots that came");
    run.handle(Input::Submitted { process: PROCESS, to: 5, data_root: ROOT }, 2_006);
    run.status(Some(BLOCK), true, 2_007);
    run.handle(Input::Confirmed { process: PROCESS, to: 5 }, 2_008);
    assert!(run.0.open.is_empty());
}

#[test]
fn a_log_without_slots_here_has_batches_of_evidence() {
    let mut run = Run::with(None, None, None);
    run.handle(Input::Beside { process: PROCESS }, 0);
    assert_eq!(run.handle(Input::Tick, 1_000), [submit(1, 0)]);
    // There was nothing: it is left alone.
    assert_eq!(run.handle(Input::Nothing { process: PROCESS }, 1_001), []);
    assert_eq!(run.handle(Input::Tick, 60_000), []);
    assert!(run.0.open.is_empty() && run.0.knows(&PROCESS));
    // One that could not be handed over is tried again as it was.
    run.handle(Input::Beside { process: PROCESS }, 60_001);
    assert_eq!(run.handle(Input::Tick, 61_001), [submit(1, 0)]);
    run.handle(Input::Failed { process: PROCESS }, 61_002);
    assert_eq!(run.handle(Input::Tick, 61_002 + RESUBMIT_MS), [submit(1, 0)]);
    run.handle(Input::Submitted { process: PROCESS, to: 0, data_root: ROOT }, 64_000);
    assert_eq!(run.status(Some(BLOCK), true, 64_001), [confirm(0)]);
    run.handle(Input::Confirmed { process: PROCESS, to: 0 }, 64_002);
    assert_eq!(run.0.anchored(&PROCESS), None);
}
