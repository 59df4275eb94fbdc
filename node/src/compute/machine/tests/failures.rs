//! Runs that failed on this host.

use super::*;

#[test]
fn a_failure_frees_its_thread_and_is_tried_again_later() {
    let mut rig = Rig::new(1);
    rig.add(id(1), 1, 5);
    rig.threads_in_use.clear();
    rig.handle(Input::Failed { process: id(1), next: None, why: "no disk".into(), retry: true });
    rig.add(id(2), 1, 1);
    rig.pass(20);
    assert_eq!((rig.count(id(1)), rig.count(id(2))), (0, 1));
    rig.pass(RETRY_MS_MIN + 200);
    assert_eq!(rig.count(id(1)), 5);
    assert!(rig.machine.is_idle(&id(1)) && rig.machine.is_idle(&id(2)));
}

#[test]
fn a_run_that_failed_goes_on_after_what_it_put_on_disk() {
    let mut rig = Rig::new(1);
    rig.add(id(1), 1, 5);
    rig.threads_in_use.clear();
    rig.next.insert(id(1), 3);
    rig.handle(Input::Failed { process: id(1), next: Some(3), why: "no item".into(), retry: true });
    rig.pass(RETRY_MS_MIN + 200);
    assert_eq!((rig.count(id(1)), rig.machine.processes[&id(1)].next), (2, 5));
    rig.handle(Input::Grew { process: id(1), head: 6 });
    rig.threads_in_use.clear();
    rig.handle(Input::Failed { process: id(1), next: Some(6), why: "no stack".into(), retry: false });
    let quiet = |rig: &Rig| rig.machine.quiet.len();
    assert_eq!(quiet(&rig), 1, "what there is of a stopped process is attested too");
    rig.add(id(2), 1, 5);
    rig.pass(rig.now + 20);
    for retry in [true, false] {
        rig.handle(Input::Grew { process: id(2), head: 6 });
        rig.threads_in_use.clear();
        assert_eq!(quiet(&rig), 1, "it runs");
        rig.handle(Input::Failed { process: id(2), next: None, why: "no item".into(), retry });
        assert_eq!(quiet(&rig), 2, "or got no further");
        rig.handle(Input::Ready { process: id(2) });
    }
}

#[test]
fn what_lacked_something_runs_when_that_is_there() {
    let mut rig = Rig::new(1);
    rig.add(id(1), 1, 5);
    rig.handle(Input::Ready { process: id(1) });
    rig.threads_in_use.clear();
    rig.handle(Input::Failed { process: id(1), next: None, why: "no module".into(), retry: true });
    rig.handle(Input::Ready { process: id(1) });
    rig.handle(Input::Ready { process: id(2) });
    rig.pass(20);
    assert_eq!(rig.count(id(1)), 5);
    assert!(rig.machine.resting.is_empty() && rig.machine.is_idle(&id(1)));
}

/// A failure waits for its time. Nothing of that is left when a run that began before ends after it.
#[test]
fn a_process_that_no_longer_rests_is_not_woken() {
    for fails in [false, true] {
        let mut rig = Rig::new(1);
        rig.add(id(1), 1_000, 5);
        // It is let go and taken up again while it runs, so a second run waits for the first.
        rig.handle(Input::Drop { process: id(1) });
        rig.threads_in_use.clear();
        rig.add(id(1), 1_000, 5);
        let failed = || Input::Failed { process: id(1), next: None, why: "no disk".into(), retry: true };
        rig.handle(failed());
        assert_eq!(rig.machine.resting.len(), 1);
        // The first has failed; this is what comes of the second.
        rig.handle(if fails { failed() } else { Input::Ran { process: id(1), next: 5 } });
        assert_eq!(rig.machine.resting.len(), usize::from(fails));
        rig.threads_in_use.clear();
        rig.next.insert(id(1), if fails { 0 } else { 5 });
        rig.pass(60_000);
        assert_eq!(rig.count(id(1)), if fails { 5 } else { 0 });
        assert!(rig.machine.is_idle(&id(1)) && rig.machine.committing == 0);
        assert!(rig.machine.resting.is_empty());
    }
}
