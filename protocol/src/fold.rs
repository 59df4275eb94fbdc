//! The fold: from the slots of a log to the steps that a computer evaluates, and from what the
//! guest returned to the outcomes that everyone hashes alike.
//!
//! [`Fold`] holds everything of a process's state but its linear memory. It plans the steps of
//! one slot (the cron ticks before it, then its item) and closes each with what the guest did.
//! Whoever evaluates (a node, `verify`, the simulator) drives the same fold.

use std::collections::VecDeque;

use crate::assignment::Assignment;
use crate::base_layer;
use crate::cron::{self, Tick};
use crate::data_item::DataItem;
use crate::id::{Hash, Id};
use crate::l1::L1Tx;
use crate::mark;
use crate::message::{message_json, process_json, tick_json, transaction_json};
use crate::outcome::{Code, Outcome, Running};
use crate::position::Position;
use crate::process::Process;
use crate::seen::{SeenKeys, SeenList};
use crate::sender::{Origin, ProvenSource};
use crate::state::StateSummary;
use crate::time::TimePoint;
use crate::verify::Unverified;

/// Everything of a process's state but its memory and its Process item: what a checkpoint carries
/// beside the memory.
#[derive(Debug, Clone)]
pub struct FoldState {
    /// The last closed position; none before slot 0.
    pub position: Option<Position>,
    /// The time point of slot 0, from which crons count.
    pub origin: TimePoint,
    /// The time point of the last slot.
    pub time: TimePoint,
    /// O at `position`.
    pub running: Running,
    /// The seen list.
    pub seen: SeenList,
}

/// A process's state but for its memory, and the steps of the slot at hand.
#[derive(Debug)]
pub struct Fold {
    process: Id,
    module: Id,
    rules: u32,
    state: FoldState,
    steps: VecDeque<Step>,
}

/// One step to evaluate, or to close without the guest.
#[derive(Debug, Clone)]
pub struct Step {
    /// Where it stands.
    pub position: Position,
    /// The item it evaluates; none for a tick.
    pub item: Option<Id>,
    /// What to do.
    pub work: Work,
    /// Seen keys that this step adds, in order.
    pub keys: Vec<Hash>,
    root: Option<Id>,
    time: TimePoint,
    skipped: u64,
}

/// What a step asks of the guest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Work {
    /// Call the guest with this message JSON.
    Call(String),
    /// Nothing: the item or push stood in the log before, first at this slot.
    Duplicate(u64),
    /// Nothing: a mark lets time pass, and an offer set is for messengers.
    Mark,
}

/// What the guest did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Did<'a> {
    /// It returned these bytes.
    Returned(&'a [u8]),
    /// It failed; one of the codes with a constant text.
    Failed(Code),
}

/// A closed step.
#[derive(Debug, Clone)]
pub struct Closed {
    /// What everyone sees.
    pub outcome: Outcome,
    /// Its hash.
    pub hash: Hash,
    /// O at its position.
    pub running: Running,
    /// The item it evaluated.
    pub item: Option<Id>,
    /// Seen keys that it added.
    pub keys: Vec<Hash>,
}

/// Why a slot cannot be folded. The log is verified before, so this is a host fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FoldError {
    /// Another slot comes next.
    #[error("slot {given} was given where slot {next} comes next")]
    Order {
        /// What was given.
        given: u64,
        /// What comes next.
        next: u64,
    },
    /// Steps of the slot before are still open.
    #[error("the step at {0} is still open")]
    Open(Position),
    /// A step was closed that is not the next one.
    #[error("no step is open")]
    NothingOpen,
}

impl Fold {
    /// The fold of a process before slot 0.
    pub fn new(process: &Process) -> Self {
        let zero = TimePoint { timestamp: 0, height: 0 };
        let running = Running::before(process.id());
        let state =
            FoldState { position: None, origin: zero, time: zero, running, seen: SeenList::default() };
        Self::resume(process, state)
    }

    /// The fold of a process at a checkpoint.
    pub fn resume(process: &Process, state: FoldState) -> Self {
        let (module, rules) = (process.module(), process.rules());
        Self { process: process.id(), module, rules, state, steps: VecDeque::new() }
    }

    /// The state after the last closed step.
    pub const fn state(&self) -> &FoldState {
        &self.state
    }

    /// The slot to plan next.
    pub fn next_slot(&self) -> u64 {
        self.state.position.map_or(0, |position| position.slot + 1)
    }

    /// Plans a slot: the ticks before it, then its item. `item` is the item that the assignment
    /// names, `proven` what a valid origin proof says of it.
    ///
    /// # Errors
    /// When the slot is not the next one or steps are open.
    pub fn plan(
        &mut self,
        process: &Process,
        assignment: &Assignment,
        item: &DataItem,
        proven: Option<ProvenSource>,
    ) -> Result<(), FoldError> {
        if let Some(step) = self.steps.front() {
            return Err(FoldError::Open(step.position));
        }
        let next = self.next_slot();
        if assignment.slot != next {
            return Err(FoldError::Order { given: assignment.slot, next });
        }
        if let Some(last) = self.state.position {
            self.plan_ticks(process, last, assignment.time);
        } else {
            self.state.origin = assignment.time;
        }
        let position = Position { epoch: assignment.epoch, slot: assignment.slot, tick: 0 };
        let step = self.plan_item(process, position, assignment, item, proven);
        self.steps.push_back(step);
        Ok(())
    }

    fn plan_ticks(&mut self, process: &Process, last: Position, until: TimePoint) {
        let ticks = cron::ticks(process.crons(), self.state.origin, self.state.time, until);
        let count = ticks.run.len();
        for (index, tick) in ticks.run.iter().enumerate() {
            let position = Position { tick: index as u32 + 1, ..last };
            let skipped = if index + 1 == count { ticks.skipped } else { 0 };
            self.steps.push_back(self.tick_step(process, position, tick, skipped));
        }
    }

    fn tick_step(&self, process: &Process, position: Position, tick: &Tick, skipped: u64) -> Step {
        Step {
            position,
            item: None,
            work: Work::Call(tick_json(process, tick)),
            keys: Vec::new(),
            root: None,
            // The time point of the state is that of its slot, not that of a tick.
            time: self.state.time,
            skipped,
        }
    }

    fn plan_item(
        &mut self,
        process: &Process,
        position: Position,
        assignment: &Assignment,
        item: &DataItem,
        proven: Option<ProvenSource>,
    ) -> Step {
        let is_process = item.id() == process.id();
        let is_of_log = mark::is_of_log(process, assignment.scheduler, item, assignment.slot);
        let origin = if is_process { Origin::Direct } else { Origin::of(process, item, proven) };
        let keys = SeenKeys::in_log(process, assignment, item, &origin);
        // What a carrier holds was verified with its record.
        let carried = base_layer::carried(process, item).ok().flatten();
        let carried = carried.as_ref().map(Unverified::claims);
        let before = self.state.seen.len();
        // Keys are added before evaluation and stay when it fails: RULES.md 6.3.
        let work = match (self.state.seen.admit(assignment.slot, &keys), carried) {
            (Some(first), _) => Work::Duplicate(first),
            (None, _) if is_of_log => Work::Mark,
            (None, _) if is_process => Work::Call(process_json(process, assignment)),
            (None, Some(tx)) => Work::Call(transaction_json(assignment, tx)),
            (None, None) => Work::Call(message_json(assignment, item, &origin)),
        };
        Step {
            position,
            item: Some(item.id()),
            work,
            keys: self.state.seen.iter().skip(before).map(|(key, _)| key).collect(),
            root: Some(origin.root_of_entries(carried.map_or(item.id(), L1Tx::id))),
            time: assignment.time,
            skipped: 0,
        }
    }

    /// The step to do next.
    pub fn step(&self) -> Option<&Step> {
        self.steps.front()
    }

    /// Closes the step at hand with what the guest did; `did` is not looked at where the guest is
    /// not called. The caller keeps the guest's memory if the outcome's code
    /// [keeps it](Code::keeps_memory) and rolls it back otherwise.
    ///
    /// # Errors
    /// When no step is open.
    pub fn close(&mut self, did: Did<'_>) -> Result<Closed, FoldError> {
        let step = self.steps.pop_front().ok_or(FoldError::NothingOpen)?;
        let mut outcome = match (&step.work, did) {
            (Work::Duplicate(first), _) => Outcome::duplicate(step.position, *first),
            (Work::Mark, _) => Outcome::empty(step.position),
            (Work::Call(_), Did::Returned(bytes)) => Outcome::of_result(step.position, bytes, step.root),
            (Work::Call(_), Did::Failed(code)) => Outcome::failed(step.position, code),
        };
        outcome.skipped = step.skipped;
        let hash = outcome.hash();
        let running = self.state.running.then(&hash);
        self.state.running = running;
        self.state.position = Some(step.position);
        self.state.time = step.time;
        Ok(Closed { outcome, hash, running, item: step.item, keys: step.keys })
    }

    /// The state after the last closed step, with these facts of the memory; none before slot 0.
    pub fn summary(&self, memory_bytes: u64, memory_root: Hash) -> Option<StateSummary> {
        let state = &self.state;
        Some(StateSummary {
            process: self.process,
            rules: self.rules,
            module: self.module,
            position: state.position?,
            time: state.time,
            memory_bytes,
            memory_root,
            seen_count: state.seen.len() as u64,
            seen_root: state.seen.root(),
            running: state.running,
        })
    }
}
