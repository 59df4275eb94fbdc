//! The scheduler's rules: one message per slot, no gap, nothing said before it is durable.

use std::collections::{BTreeMap, VecDeque};

use weft_protocol::assignment::{AssignmentDraft, Excluded};
use weft_protocol::cron::{self, Schedule};
use weft_protocol::crypto::Signer;
use weft_protocol::seen::{SeenKeys, SeenList};
use weft_protocol::time::{TimePoint, Weave};
use weft_protocol::{DataItem, Effects, Hash, Id, Machine, Network, Now, Verified, hash_chain, mark, time};

/// Slots of one process that may wait for the disk; a submit beyond them is told to come back.
pub const UNSAVED_SLOTS_MAX: usize = 1024;
/// How long a busy scheduler asks a submitter to wait, in milliseconds.
pub const BUSY_RETRY_MS: u64 = 50;

/// Names one submit until its reply.
pub type Ticket = u64;

/// What the scheduler hears.
#[derive(Debug)]
pub enum Input {
    /// A process that this node schedules, as the store has it after a restart.
    Recover(Box<Recovered>),
    /// An item, verified and allowed by policy, that wants a slot.
    Submit {
        /// Names the reply.
        ticket: Ticket,
        /// The item and what was found out about it.
        submission: Box<Submission>,
    },
    /// A reader wants this log as of now: where a tick is due, time passes first (rules.md 6.6).
    Now {
        /// Names the reply.
        ticket: Ticket,
        /// Which log.
        process: Id,
    },
    /// Every slot up to and including this one is on disk.
    Persisted {
        /// Of which process.
        process: Id,
        /// The newest one.
        slot: u64,
    },
    /// The disk refused. What it holds now is known only after reading it again.
    PersistFailed {
        /// Of which process.
        process: Id,
        /// What the disk said.
        why: String,
    },
}

/// A log as it stands on disk.
#[derive(Debug)]
pub struct Recovered {
    /// Which process.
    pub process: Id,
    /// Its newest slot; none when the write of slot 0 failed.
    pub head: Option<Head>,
    /// Its seen list.
    pub seen: SeenList,
    /// The assignment of each slot, to answer duplicates with.
    pub assignments: Vec<Id>,
    /// What falls due in it as time passes.
    pub schedule: Option<Schedule>,
    /// The push id of the spawn that it came of.
    pub spawn: Option<Hash>,
}

/// The end of a log, enough to build the next slot on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    /// The scheduler's term.
    pub epoch: u64,
    /// The newest slot.
    pub slot: u64,
    /// The id of its assignment.
    pub assignment: Id,
    /// Its hash chain.
    pub chain: Hash,
    /// Its timestamp and height.
    pub time: TimePoint,
}

/// An item that wants a slot.
#[derive(Debug, Clone)]
pub struct Submission {
    /// The log it is for: the item's own id for a Process item, else its target.
    pub process: Id,
    /// The item.
    pub item: Verified<DataItem>,
    /// Its origin proof, if it names one and that one is valid.
    pub proof: Option<Verified<DataItem>>,
    /// The keys under which it counts: rules.md 6.3.
    pub keys: SeenKeys,
    /// Of a Process item that a process spawned, the push id of that spawn: rules.md 6.9.
    pub spawn: Option<Hash>,
    /// Of an existing item that is assigned, what the module must not see; none for an item that is
    /// for this log by itself.
    pub assigned: Option<Vec<Excluded>>,
}

/// A slot, signed, on its way to disk.
#[derive(Debug, Clone)]
pub struct NewSlot {
    /// In which log.
    pub process: Id,
    /// The end of the log with this slot in it.
    pub head: Head,
    /// The signed assignment.
    pub assignment: Verified<DataItem>,
    /// The item it names.
    pub item: Verified<DataItem>,
    /// The item's origin proof.
    pub proof: Option<Verified<DataItem>>,
    /// The seen keys that this slot adds, in order.
    pub keys: Vec<Hash>,
}

/// What the scheduler asks for.
#[derive(Debug)]
pub enum Effect {
    /// Commit this slot; answer with `Persisted` or `PersistFailed`. In order, per process.
    Persist(Box<NewSlot>),
    /// Answer a submit.
    Reply {
        /// Which.
        ticket: Ticket,
        /// With what.
        answer: Answer,
    },
    /// Announce a durable slot on the process topic.
    Publish(Box<NewSlot>),
    /// Read this log from disk again and answer with `Recover`.
    Reload {
        /// Which.
        process: Id,
    },
}

/// The answer to a submit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// The item has this slot, durably; to `Now`, this is the newest slot.
    Assigned {
        /// The log: of a second item of one spawn, that of the first child.
        process: Id,
        /// The slot.
        slot: u64,
        /// Its assignment.
        assignment: Id,
        /// The slot was there before.
        duplicate: bool,
    },
    /// Too many slots wait for the disk.
    Busy {
        /// Come back after so many milliseconds.
        retry_ms: u64,
    },
    /// No slot was ever assigned in this log, and the item is not its Process item.
    UnknownProcess,
    /// The disk refused; the item has no slot.
    Fault(String),
}

/// The scheduler of any number of processes, with one key.
#[derive(Debug)]
pub struct Scheduler {
    signer: Signer,
    network: Network,
    logs: BTreeMap<Id, Log>,
    /// The one child of each spawn push id.
    children: BTreeMap<Hash, Id>,
}

#[derive(Debug, Default)]
struct Log {
    /// The newest slot on disk.
    durable: Option<Head>,
    /// Slots after it, oldest first.
    unsaved: VecDeque<Unsaved>,
    seen: SeenList,
    /// The assignment of every slot on disk, by slot.
    assignments: Vec<Id>,
    schedule: Option<Schedule>,
    spawn: Option<Hash>,
    /// A write failed and the log was not read again yet: nothing may be signed.
    reloading: bool,
}

#[derive(Debug)]
struct Unsaved {
    slot: NewSlot,
    /// Who waits for it: who asked for it first, then those for whom it was there before.
    waiting: Vec<(Ticket, bool)>,
}

impl Log {
    fn head(&self) -> Option<Head> {
        self.unsaved.back().map(|unsaved| unsaved.slot.head).or(self.durable)
    }
}

impl Scheduler {
    /// A scheduler of no process yet.
    pub const fn new(signer: Signer, network: Network) -> Self {
        Self { signer, network, logs: BTreeMap::new(), children: BTreeMap::new() }
    }

    /// The newest durable slot of a log.
    pub fn durable_head(&self, process: &Id) -> Option<Head> {
        self.logs.get(process)?.durable
    }

    fn submit(&mut self, ticket: Ticket, submission: Submission, now: Now, effects: &mut Effects<Effect>) {
        let opens = submission.item.id() == submission.process && submission.assigned.is_none();
        let process = self.first_child(&submission).unwrap_or(submission.process);
        let head = self.logs.get(&process).and_then(Log::head);
        if !opens && head.is_none() {
            effects.push(Effect::Reply { ticket, answer: Answer::UnknownProcess });
            return;
        }
        let log = self.logs.entry(process).or_default();
        if log.reloading || log.unsaved.len() >= UNSAVED_SLOTS_MAX {
            effects.push(Effect::Reply { ticket, answer: Answer::Busy { retry_ms: BUSY_RETRY_MS } });
            return;
        }
        let is_twin = process != submission.process;
        if let Some(first) = log.seen.find(&submission.keys).or(is_twin.then_some(0)) {
            answer_duplicate(process, log, ticket, first, effects);
            return;
        }
        self.assign(submission, ticket, now, effects);
    }

    /// The child that a spawn has already, when this is another item for it.
    fn first_child(&self, submission: &Submission) -> Option<Id> {
        self.children.get(&submission.spawn?).copied()
    }

    fn assign(&mut self, submission: Submission, ticket: Ticket, now: Now, effects: &mut Effects<Effect>) {
        let Submission { process, item, proof, keys, spawn, assigned } = submission;
        let log = self.logs.entry(process).or_default();
        let previous = log.head();
        // Named weaves are refused at slot 0 by policy, so no view is needed yet.
        let time = time::next(&Weave::Clock, now, None, previous.map(|head| head.time));
        let (slot, chain) = match previous {
            None => (0, hash_chain::first(process)),
            Some(head) => (head.slot + 1, hash_chain::next(head.assignment, head.chain)),
        };
        let epoch = previous.map_or(0, |head| head.epoch);
        let unsigned = AssignmentDraft {
            network: self.network,
            process,
            epoch,
            slot,
            hash_chain: chain,
            time,
            message: (slot > 0).then_some(item.id()),
            excludes: assigned.unwrap_or_default(),
        };
        let assignment = match unsigned.draft().sign(&self.signer) {
            Ok(assignment) => assignment,
            Err(error) => {
                let answer = Answer::Fault(format!("signing slot {slot} of {process}: {error}"));
                effects.push(Effect::Reply { ticket, answer });
                return;
            }
        };
        if slot == 0 {
            // A Process item with crons that cannot be read was refused before.
            log.schedule = Schedule::new(&cron::parse(item.tags()).unwrap_or_default(), time);
            log.spawn = spawn;
            self.children.extend(spawn.map(|spawn| (spawn, process)));
        }
        let before = log.seen.len();
        log.seen.admit(slot, &keys);
        let keys = log.seen.iter().skip(before).map(|(key, _)| key).collect();
        let head = Head { epoch, slot, assignment: assignment.id(), chain, time };
        let slot = NewSlot { process, head, assignment, item, proof, keys };
        effects.push(Effect::Persist(Box::new(slot.clone())));
        log.unsaved.push_back(Unsaved { slot, waiting: vec![(ticket, false)] });
    }

    /// Answers with the newest slot, and makes it a mark if a tick is due before now.
    fn look(&mut self, ticket: Ticket, process: Id, now: Now, effects: &mut Effects<Effect>) {
        let Some((head, log)) = self.logs.get_mut(&process).and_then(|log| Some((log.head()?, log))) else {
            effects.push(Effect::Reply { ticket, answer: Answer::UnknownProcess });
            return;
        };
        if log.reloading || log.unsaved.len() >= UNSAVED_SLOTS_MAX {
            effects.push(Effect::Reply { ticket, answer: Answer::Busy { retry_ms: BUSY_RETRY_MS } });
            return;
        }
        let time = time::next(&Weave::Clock, now, None, Some(head.time));
        if log.schedule.as_ref().is_some_and(|schedule| mark::is_due(schedule, head.time, time)) {
            match mark::draft(self.network, process, head.epoch, head.slot + 1).sign(&self.signer) {
                Ok(item) => {
                    let keys = SeenKeys::of_item(item.id());
                    let mark = Submission { process, item, proof: None, keys, spawn: None, assigned: None };
                    self.assign(mark, ticket, now, effects);
                }
                Err(error) => {
                    let answer = Answer::Fault(format!("signing a mark of {process}: {error}"));
                    effects.push(Effect::Reply { ticket, answer });
                }
            }
        } else {
            answer_duplicate(process, log, ticket, head.slot, effects);
        }
    }

    fn persisted(&mut self, process: Id, slot: u64, effects: &mut Effects<Effect>) {
        let Some(log) = self.logs.get_mut(&process) else { return };
        while log.unsaved.front().is_some_and(|unsaved| unsaved.slot.head.slot <= slot) {
            let Some(Unsaved { slot, waiting }) = log.unsaved.pop_front() else { return };
            log.durable = Some(slot.head);
            log.assignments.push(slot.head.assignment);
            for (ticket, duplicate) in waiting {
                let Head { slot, assignment, .. } = slot.head;
                let answer = Answer::Assigned { process, slot, assignment, duplicate };
                effects.push(Effect::Reply { ticket, answer });
            }
            effects.push(Effect::Publish(Box::new(slot)));
        }
    }

    fn recover(&mut self, recovered: Recovered) {
        let Recovered { process, head, seen, assignments, schedule, spawn } = recovered;
        // A slot 0 that never reached the disk leaves its spawn free.
        if let Some(lost) = self.logs.get(&process).and_then(|log| log.spawn) {
            self.children.remove(&lost);
        }
        self.children.extend(spawn.map(|spawn| (spawn, process)));
        let unsaved = VecDeque::new();
        let log = Log { durable: head, unsaved, seen, assignments, schedule, spawn, reloading: false };
        self.logs.insert(process, log);
    }

    fn persist_failed(&mut self, process: Id, why: &str, effects: &mut Effects<Effect>) {
        let Some(log) = self.logs.get_mut(&process) else { return };
        for (ticket, _) in log.unsaved.drain(..).flat_map(|unsaved| unsaved.waiting) {
            effects.push(Effect::Reply { ticket, answer: Answer::Fault(why.to_owned()) });
        }
        // A failed commit may still have reached the disk: signing the slot again without looking
        // could give it two signatures.
        log.reloading = true;
        effects.push(Effect::Reload { process });
    }
}

/// Answers with a slot that was there before, and only once that one is durable.
fn answer_duplicate(process: Id, log: &mut Log, ticket: Ticket, first: u64, effects: &mut Effects<Effect>) {
    if let Some(unsaved) = log.unsaved.iter_mut().find(|unsaved| unsaved.slot.head.slot == first) {
        unsaved.waiting.push((ticket, true));
    } else if let Some(assignment) = usize::try_from(first).ok().and_then(|at| log.assignments.get(at)) {
        let answer = Answer::Assigned { process, slot: first, assignment: *assignment, duplicate: true };
        effects.push(Effect::Reply { ticket, answer });
    } else {
        let answer = Answer::Fault(format!("slot {first} stands in the seen list but not in the log"));
        effects.push(Effect::Reply { ticket, answer });
    }
}

impl Machine for Scheduler {
    type Input = Input;
    type Effect = Effect;

    fn handle(&mut self, input: Input, now: Now, effects: &mut Effects<Effect>) {
        match input {
            Input::Recover(recovered) => self.recover(*recovered),
            Input::Submit { ticket, submission } => self.submit(ticket, *submission, now, effects),
            Input::Now { ticket, process } => self.look(ticket, process, now, effects),
            Input::Persisted { process, slot } => self.persisted(process, slot, effects),
            Input::PersistFailed { process, why } => self.persist_failed(process, &why, effects),
        }
    }
}

#[cfg(test)]
mod tests;
