//! Turns are fair whatever the processes do, and no process runs twice at a time.
#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;

mod failures;

fn id(number: u8) -> Id {
    Id([number; 32])
}

/// A driver with a clock, whose runs take as long as each process's messages do.
struct Rig {
    machine: Compute,
    effects: Effects<Effect>,
    now: u64,
    threads: usize,
    /// Milliseconds of one slot, by process.
    cost: BTreeMap<Id, u64>,
    /// Runs on threads: when each ends, what it evaluates and its slowest slot.
    threads_in_use: BTreeMap<Id, (u64, u64)>,
    /// Runs whose commits end then.
    committing: BTreeMap<Id, (u64, u64)>,
    next: BTreeMap<Id, u64>,
    /// Processes that came unasked.
    unasked: BTreeSet<Id>,
    /// When each slot of a process was evaluated.
    evaluated: BTreeMap<Id, Vec<u64>>,
}

const COMMIT_MS: u64 = 4;
const TICK_MS: u64 = 50;
/// Gas of one slot.
const GAS: u64 = 1_000;

impl Rig {
    fn new(threads: usize) -> Self {
        Self {
            machine: Compute::new(threads, None),
            effects: Effects::new(),
            now: 0,
            threads,
            cost: BTreeMap::new(),
            threads_in_use: BTreeMap::new(),
            committing: BTreeMap::new(),
            next: BTreeMap::new(),
            unasked: BTreeSet::new(),
            evaluated: BTreeMap::new(),
        }
    }

    fn handle(&mut self, input: Input) {
        self.machine.handle(input, Now(self.now), &mut self.effects);
        for effect in self.effects.drain().collect::<Vec<_>>() {
            if let Effect::Run { process, from, to, due } = effect {
                assert!(
                    to <= due && (to == due || to + 1 - from == RUN_SLOTS_MAX),
                    "{from} to {to} of {due}"
                );
                assert!(!self.threads_in_use.contains_key(&process), "a process runs twice at a time");
                assert!(!self.committing.contains_key(&process), "a process runs before its commit");
                assert_eq!(from, self.next.get(&process).copied().unwrap_or(0), "a slot is passed over");
                let cost = self.cost[&process];
                let slots = (SLICE_MS / cost.max(1)).max(1).min(to + 1 - from);
                self.threads_in_use.insert(process, (self.now + slots * cost, from + slots));
            }
        }
        let over = self.threads_in_use.len();
        assert!(over <= Compute::places(self.threads), "{over} runs on {} threads", self.threads);
        let slow = self.threads_in_use.keys().filter(|process| self.is_known_slow(process)).count();
        assert!(slow <= self.threads, "slow processes have {slow} of {} places", self.threads);
        assert!(self.committing.len() <= COMMITTING_MAX + Compute::places(self.threads));
    }

    fn is_known_slow(&self, process: &Id) -> bool {
        self.cost[process] >= SLOW_MS && self.next.get(process).is_some_and(|next| *next > 0)
    }

    fn add(&mut self, process: Id, cost_ms: u64, slots: u64) {
        self.cost.insert(process, cost_ms);
        self.host(process, Evaluate::Eager, slots);
    }

    fn host(&mut self, process: Id, evaluate: Evaluate, slots: u64) {
        let head = slots.checked_sub(1);
        self.handle(Input::Host {
            process,
            evaluate,
            unasked: self.unasked.contains(&process),
            next: 0,
            head,
        });
    }

    /// Lets time pass.
    fn pass(&mut self, until: u64) {
        while self.now < until {
            self.now += 1;
            let ended = |runs: &BTreeMap<Id, (u64, u64)>, now| {
                runs.iter().find(|(_, (end, _))| *end <= now).map(|(process, (_, next))| (*process, *next))
            };
            while let Some((process, next)) = ended(&self.threads_in_use, self.now) {
                self.threads_in_use.remove(&process);
                let first = self.next.get(&process).copied().unwrap_or(0);
                let times = self.evaluated.entry(process).or_default();
                times.extend((first..next).map(|_| self.now));
                self.committing.insert(process, (self.now + COMMIT_MS, next));
                let (slowest_ms, gas) = (self.cost[&process], (next - first) * GAS);
                self.handle(Input::Evaluated { process, slowest_ms, gas });
            }
            while let Some((process, next)) = ended(&self.committing, self.now) {
                self.committing.remove(&process);
                self.next.insert(process, next);
                self.handle(Input::Ran { process, next });
            }
            if self.now.is_multiple_of(TICK_MS) {
                self.handle(Input::Tick);
            }
        }
    }

    fn count(&self, process: Id) -> usize {
        self.evaluated.get(&process).map_or(0, Vec::len)
    }
}

#[test]
fn an_endless_backlog_costs_the_next_process_one_slice() {
    let mut rig = Rig::new(1);
    rig.add(id(1), 1, 1_000_000);
    rig.pass(500);
    rig.add(id(2), 1, 1);
    rig.pass(500 + SLICE_MS + COMMIT_MS + 2);
    assert_eq!(rig.count(id(2)), 1);
    assert!(rig.count(id(1)) > 400);
}

#[test]
fn processes_with_endless_backlogs_share_the_time_alike() {
    let mut rig = Rig::new(2);
    for (number, cost) in [(1, 1), (2, 2), (3, 10), (4, 50)] {
        rig.add(id(number), cost, 1_000_000);
    }
    rig.pass(20_000);
    for (number, cost) in [(1, 1), (2, 2), (3, 10), (4, 50)] {
        let time = rig.count(id(number)) as u64 * cost;
        assert!((8_000..=12_000).contains(&time), "process {number} had {time} of 40000 ms");
    }
}

#[test]
fn new_and_slow_processes_on_every_thread_hold_up_no_quick_one() {
    for threads in [1, 2, 4] {
        let mut rig = Rig::new(threads);
        let quick: Vec<Id> = (1..=20).map(id).collect();
        for process in &quick {
            rig.add(*process, 1, 1);
        }
        rig.pass(1_000);
        for number in 0..30 {
            rig.add(id(100 + number), 9_000, 1_000);
        }
        for (round, process) in quick.iter().enumerate() {
            rig.handle(Input::Grew { process: *process, head: 1 });
            let before = rig.now;
            rig.pass(before + SLOW_MS + 2 * TICK_MS);
            assert_eq!(rig.count(*process), 2, "{threads} threads, quick process {round} waits");
        }
        rig.pass(61_000);
        let slow: usize = (0..30).map(|number| rig.count(id(100 + number))).sum();
        assert!(slow >= threads * 6, "{threads} threads: {slow} slow messages in a minute");
    }
}

#[test]
fn a_new_process_has_its_turn_among_slow_ones() {
    for threads in [1, 2] {
        let mut rig = Rig::new(threads);
        for number in 0..8 {
            rig.add(id(100 + number), 2_000, 1_000);
        }
        // All are known to be slow after their first messages.
        rig.pass(20_000);
        rig.add(id(1), 1, 1);
        let before = rig.now;
        rig.pass(before + SLOW_MS + 2 * TICK_MS);
        assert_eq!(rig.count(id(1)), 1, "{threads} threads");
    }
}

#[test]
fn endless_quick_backlogs_leave_a_place_to_slow_processes() {
    let mut rig = Rig::new(2);
    for number in 1..=6 {
        rig.add(id(number), 1, 1_000_000);
    }
    rig.add(id(50), 1_000, 1_000);
    rig.pass(30_000);
    assert!(rig.count(id(50)) >= 25, "{} slow messages in 30 s", rig.count(id(50)));
}

#[test]
fn a_process_that_was_slow_once_is_quick_again() {
    let mut rig = Rig::new(1);
    rig.add(id(1), 2_000, 1_000_000);
    rig.pass(2_100);
    rig.cost.insert(id(1), 1);
    rig.pass(5_000);
    assert_eq!(rig.machine.processes[&id(1)].pace, Pace::Quick);
    assert!(rig.count(id(1)) > 500);
}

#[test]
fn a_lazy_process_is_evaluated_as_far_as_somebody_waits_for_it() {
    let mut rig = Rig::new(1);
    let process = id(1);
    rig.cost.insert(process, 1);
    rig.host(process, Evaluate::Lazy, 10);
    rig.pass(1_000);
    assert_eq!(rig.count(process), 0);
    rig.handle(Input::Wanted { process, slot: 3 });
    rig.handle(Input::Wanted { process, slot: 2 });
    rig.pass(2_000);
    assert_eq!(rig.count(process), 4);
    // What is wanted before it is there is evaluated when it comes, and nothing after it.
    rig.handle(Input::Wanted { process, slot: 11 });
    rig.pass(3_000);
    assert_eq!(rig.count(process), 10);
    rig.handle(Input::Grew { process, head: 20 });
    rig.pass(4_000);
    assert_eq!(rig.count(process), 12);
    // From now on as slots come, and back.
    rig.host(process, Evaluate::Eager, 21);
    rig.pass(5_000);
    assert_eq!(rig.count(process), 21);
    rig.host(process, Evaluate::Lazy, 21);
    rig.handle(Input::Grew { process, head: 30 });
    rig.pass(6_000);
    assert_eq!(rig.count(process), 21);
    assert!(rig.machine.is_idle(&process));
}

#[test]
fn a_process_that_turns_lazy_while_it_waits_for_its_turn_is_left_alone() {
    let mut rig = Rig::new(1);
    rig.add(id(1), 200, 1);
    rig.add(id(2), 1, 5);
    rig.host(id(2), Evaluate::Lazy, 5);
    rig.pass(1_000);
    assert_eq!((rig.count(id(1)), rig.count(id(2))), (1, 0));
    rig.handle(Input::Wanted { process: id(2), slot: 4 });
    rig.pass(2_000);
    assert_eq!(rig.count(id(2)), 5);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, ..ProptestConfig::default() })]

    /// Whatever arrives when: every slot is evaluated once, in order, and the rig's laws hold.
    #[test]
    fn all_work_is_done(
        threads in 1usize..4,
        work in proptest::collection::vec((0u8..12, 0u64..400, 1u64..40, 0u64..200), 1..30),
    ) {
        let mut rig = Rig::new(threads);
        let mut heads: BTreeMap<Id, u64> = BTreeMap::new();
        for (number, cost, slots, wait) in work {
            let process = id(number);
            let head = heads.get(&process).map_or(slots - 1, |head| head + slots);
            if heads.insert(process, head).is_none() {
                rig.add(process, cost, slots);
            } else {
                rig.handle(Input::Grew { process, head });
            }
            let until = rig.now + wait;
            rig.pass(until);
        }
        let total: u64 = heads.iter().map(|(process, head)| (head + 1) * rig.cost[process].max(1)).sum();
        let until = rig.now + total + 10_000;
        rig.pass(until);
        for (process, head) in heads {
            prop_assert_eq!(rig.count(process) as u64, head + 1);
            prop_assert!(rig.machine.is_idle(&process));
        }
        prop_assert!(rig.machine.running.is_empty());
        prop_assert_eq!(rig.machine.committing, 0);
    }
}

#[test]
fn what_came_unasked_waits_for_its_gas_and_holds_up_nobody() {
    const HOUR_MS: u64 = 3_600_000;
    // A hundred slots an hour, all strangers together.
    let mut rig = Rig::new(2);
    rig.machine = Compute::new(2, Some(Allowance::new(100 * GAS)));
    rig.unasked = [id(1), id(2)].into();
    for number in 1..=3 {
        rig.add(id(number), 1, 1_000);
    }
    rig.pass(10_000);
    assert_eq!(rig.count(id(3)), 1_000);
    let strangers = |rig: &Rig| rig.count(id(1)) + rig.count(id(2));
    // A run cannot be interrupted, so what it took too much is waited for.
    let first = strangers(&rig);
    assert!((100..=100 + 2 * SLICE_MS as usize).contains(&first), "{first}");
    assert!(rig.machine.gas_used().unwrap() >= 99 * GAS);
    rig.pass(10_000 + 2 * HOUR_MS);
    let later = strangers(&rig);
    assert!((first.max(250)..=300 + 2 * SLICE_MS as usize).contains(&later), "{later}");
    // Whoever hosts one himself pays for it himself.
    rig.unasked.remove(&id(1));
    rig.host(id(1), Evaluate::Eager, 1_000);
    rig.pass(20_000 + 2 * HOUR_MS);
    assert_eq!(rig.count(id(1)), 1_000);
    assert!(rig.count(id(2)) < 500);
}

#[test]
fn a_run_that_fails_costs_its_gas() {
    let mut rig = Rig::new(1);
    rig.machine = Compute::new(1, Some(Allowance::new(GAS)));
    rig.unasked = [id(1)].into();
    rig.add(id(1), 1, 5);
    rig.threads_in_use.clear();
    rig.handle(Input::Evaluated { process: id(1), slowest_ms: 2, gas: 10 * GAS });
    rig.handle(Input::Failed { process: id(1), next: None, why: "no item".into(), retry: true });
    assert_eq!(rig.machine.gas_used(), Some(10 * GAS));
    rig.pass(10 * RETRY_MS_MAX);
    assert_eq!(rig.count(id(1)), 0, "it is tried again before the debt is paid");
}

#[test]
fn those_that_waited_for_gas_run_as_it_comes_and_not_as_a_clock_ticks() {
    const SECOND: u64 = 3_600;
    // A thousand slots a second, after a run that used up a second's more than there is.
    let mut rig = Rig::new(2);
    rig.machine = Compute::new(2, Some(Allowance::new(1_000 * SECOND * GAS)));
    rig.unasked = (0..=200).map(id).collect();
    rig.add(id(0), 1, 1);
    rig.threads_in_use.clear();
    rig.handle(Input::Evaluated { process: id(0), slowest_ms: 2, gas: 1_000 * (SECOND + 1) * GAS });
    rig.handle(Input::Ran { process: id(0), next: 1 });
    for number in 1..=200 {
        rig.add(id(number), 1, 1);
    }
    rig.pass(990);
    assert_eq!((1..=200).map(|number| rig.count(id(number))).sum::<usize>(), 0);
    // A tick lets two of them go, and there are twenty a second.
    rig.pass(2_000);
    assert_eq!((1..=200).map(|number| rig.count(id(number))).sum::<usize>(), 200);
}

#[test]
fn whoever_waits_for_gas_is_not_passed_by_who_comes_later() {
    const HOUR_MS: u64 = 3_600_000;
    let mut rig = Rig::new(2);
    rig.machine = Compute::new(2, Some(Allowance::new(100 * GAS)));
    rig.unasked = (1..=4).map(id).collect();
    rig.add(id(1), 1, 1_000);
    rig.pass(1_000);
    // The gas is used up, and these two wait for it, in this order.
    rig.add(id(2), 1, 1);
    rig.add(id(3), 1, 1);
    // Another has something to do in every millisecond in which there may be some again.
    rig.add(id(4), 1, 1);
    for head in 1..3 * HOUR_MS / 100 {
        rig.pass(1_000 + 100 * head);
        rig.handle(Input::Grew { process: id(4), head });
    }
    let order: Vec<usize> = (2..=3).map(|number| rig.count(id(number))).collect();
    assert_eq!(order, [1, 1]);
    let last = rig.evaluated[&id(3)][0];
    assert!(rig.evaluated[&id(2)][0] <= last);
    assert!(rig.evaluated[&id(4)].iter().all(|at| *at >= last), "it came last");
}

#[test]
fn quiet_processes_are_attested_in_the_order_in_which_they_became_so() {
    let many = ATTESTING_MAX + 10;
    let process = |number: usize| {
        let mut bytes = [0; 32];
        // The first to be quiet has the highest id.
        bytes[..2].copy_from_slice(&u16::try_from(many - number).unwrap().to_be_bytes());
        Id(bytes)
    };
    let (mut machine, mut effects) = (Compute::new(1, None), Effects::new());
    let mut handle = |input, now| {
        machine.handle(input, Now(now), &mut effects);
        effects.drain().collect::<Vec<_>>()
    };
    let host =
        |process, head| Input::Host { process, evaluate: Evaluate::Eager, unasked: false, next: 1, head };
    for number in 0..many {
        assert_eq!(handle(host(process(number), Some(0)), number as u64), []);
    }
    // News of it ends the quiet of one, and leaving that of another.
    assert_eq!(handle(Input::Grew { process: process(0), head: 1 }, many as u64).len(), 1);
    handle(Input::Drop { process: process(1) }, many as u64);
    let of = |from: usize, to: usize| {
        (from..to).map(|number| Effect::AttestNewest { process: process(number) }).collect::<Vec<_>>()
    };
    assert_eq!(handle(Input::Tick, QUIET_MS + 3), of(2, 4), "no sooner than they are quiet");
    let late = QUIET_MS + many as u64;
    assert_eq!(handle(Input::Tick, late), of(4, 2 + ATTESTING_MAX), "with those before");
    assert_eq!(handle(Input::Tick, late), [], "as many as may be are under way");
    // As one ends the next begins, and each comes once.
    for number in 2 + ATTESTING_MAX..many {
        assert_eq!(handle(Input::Attested, late), of(number, number + 1));
    }
    for _ in 0..ATTESTING_MAX {
        assert_eq!(handle(Input::Attested, late), []);
    }
    assert_eq!(handle(Input::Tick, late), []);
}

#[test]
fn a_process_that_is_taken_up_again_while_it_runs_has_one_place_in_line() {
    let mut rig = Rig::new(1);
    rig.add(id(9), 10, 1_000);
    rig.pass(5);
    let (first, last) = (id(1), id(2));
    rig.add(first, 10, 3);
    rig.handle(Input::Drop { process: first });
    rig.add(first, 10, 3);
    rig.add(last, 10, 3);
    rig.handle(Input::Drop { process: last });
    rig.pass(2_000);
    assert_eq!(rig.evaluated[&first].len(), 3);
    assert!(!rig.evaluated.contains_key(&last), "it was let go");
    assert!(rig.machine.is_idle(&first));
}
