//! The scheduler's rules: one message per slot, no gap, nothing said before it is durable.
//!
//! The disk holds the logs and what they have seen; memory holds the end of each log in use and
//! what is on its way to disk. So a submit is looked up on disk first, and what was found counts
//! only if nothing moved from memory to disk meanwhile.

mod exchange;
mod sets;

use std::collections::{BTreeMap, VecDeque};

use weft_protocol::assignment::AssignmentDraft;
use weft_protocol::cron::{self, Schedule};
use weft_protocol::crypto::Signer;
use weft_protocol::time::{self, Weave};
use weft_protocol::{Effects, Hash, Id, Machine, Network, Now, hash_chain, mark};

pub use exchange::{
    Answer, Effect, Found, Head, Input, Look, NewSlot, Recovered, Stored, Submission, Ticket,
};
use sets::Windows;

/// Slots of one process that may wait for the disk, and asks that may wait for its log to be read;
/// one beyond them is told to come back.
pub const UNSAVED_SLOTS_MAX: usize = 1024;
/// How long a busy scheduler asks a submitter to wait, in milliseconds.
pub const BUSY_RETRY_MS: u64 = 50;

/// The scheduler of any number of processes, with one key.
#[derive(Debug)]
pub struct Scheduler {
    signer: Signer,
    network: Network,
    /// The logs that were asked for, about 500 bytes each.
    logs: BTreeMap<Id, Log>,
    /// The one child of each spawn push id whose slot 0 is not known to be on disk.
    children: BTreeMap<Hash, Id>,
    /// How many commits ended.
    commits: u64,
}

#[derive(Debug, Default)]
struct Log {
    /// The newest slot on disk.
    durable: Option<Head>,
    /// Slots after it, oldest first.
    unsaved: VecDeque<Unsaved>,
    /// The keys that those add, each with its slot.
    keys: BTreeMap<Hash, u64>,
    schedule: Option<Schedule>,
    /// In hard mode.
    windows: Option<Windows>,
    spawn: Option<Hash>,
    reading: Reading,
    /// More may have been signed than is on disk: nothing may be signed.
    cautious: bool,
}

/// Whether the end of a log is known. Until it is, nothing may be signed.
#[derive(Debug, Default)]
enum Reading {
    /// It is.
    #[default]
    Done,
    /// It is read for the first time; these wait for it.
    First(Vec<Waiter>),
    /// A write failed, and the log was not read again yet.
    Again,
}

/// Who waits for a log.
#[derive(Debug)]
enum Waiter {
    Submit(Ticket, Box<Submission>),
    Now(Ticket),
}

impl Waiter {
    const fn ticket(&self) -> Ticket {
        match self {
            Self::Submit(ticket, _) | Self::Now(ticket) => *ticket,
        }
    }
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

    /// Whether no more may be asked of it now.
    fn is_busy(&self) -> bool {
        matches!(self.reading, Reading::Again) || self.unsaved.len() >= UNSAVED_SLOTS_MAX
    }

    /// Answers with a slot that is on its way to disk, once it is there.
    fn wait_for(&mut self, slot: u64, ticket: Ticket) -> bool {
        let unsaved = self.unsaved.iter_mut().find(|unsaved| unsaved.slot.head.slot == slot);
        unsaved.map(|unsaved| unsaved.waiting.push((ticket, true))).is_some()
    }
}

fn busy(ticket: Ticket) -> Effect {
    Effect::Reply { ticket, answer: Answer::Busy { retry_ms: BUSY_RETRY_MS } }
}

/// The answer to a submit of what has a slot on disk.
fn duplicate(ticket: Ticket, process: Id, Stored { slot, assignment }: Stored) -> Effect {
    let answer = Answer::Assigned { process, slot, assignment, signed: None, duplicate: true };
    Effect::Reply { ticket, answer }
}

impl Scheduler {
    /// A scheduler of no process yet.
    pub const fn new(signer: Signer, network: Network) -> Self {
        Self { signer, network, logs: BTreeMap::new(), children: BTreeMap::new(), commits: 0 }
    }

    /// The newest durable slot of a log that is in use.
    #[cfg(test)]
    pub fn durable_head(&self, process: &Id) -> Option<Head> {
        self.logs.get(process)?.durable
    }

    /// A log whose end is known; if it is not, who asks waits for it, or is answered.
    fn open(&mut self, process: Id, waiter: Waiter, effects: &mut Effects<Effect>) -> Option<Waiter> {
        let log = self.logs.entry(process).or_insert_with(|| {
            effects.push(Effect::Reload { process });
            Log { reading: Reading::First(Vec::new()), ..Log::default() }
        });
        if log.is_busy() {
            effects.push(busy(waiter.ticket()));
            return None;
        }
        match &mut log.reading {
            Reading::First(waiting) if waiting.len() >= UNSAVED_SLOTS_MAX => {
                effects.push(busy(waiter.ticket()));
                None
            }
            Reading::First(waiting) => {
                waiting.push(waiter);
                None
            }
            Reading::Done | Reading::Again => Some(waiter),
        }
    }

    /// The log that a submission is for: of a second item of one spawn, the first child's.
    fn log_of(&self, submission: &Submission) -> Id {
        let child = submission.spawn.and_then(|spawn| self.children.get(&spawn));
        child.copied().unwrap_or(submission.process)
    }

    fn ask(&mut self, waiter: Waiter, process: Id, now: Now, effects: &mut Effects<Effect>) {
        match self.open(process, waiter, effects) {
            Some(Waiter::Submit(ticket, submission)) => {
                effects.push(Effect::Look(Look { ticket, submission, commits: self.commits }));
            }
            Some(Waiter::Now(ticket)) => self.look(ticket, process, now, effects),
            None => {}
        }
    }

    /// What was read counts if no commit ended since: then what is not on disk is in memory.
    fn looked(&mut self, look: Look, found: &Found, now: Now, effects: &mut Effects<Effect>) {
        let Look { ticket, submission, commits } = look;
        let process = self.log_of(&submission);
        if commits != self.commits {
            return self.ask(Waiter::Submit(ticket, submission), process, now, effects);
        }
        if let Some((child, opening)) = found.child {
            // The twin's own log, which it will never have.
            let is_empty = |log: &Log| matches!(log.reading, Reading::Done) && log.head().is_none();
            if process != child && self.logs.get(&process).is_some_and(is_empty) {
                self.logs.remove(&process);
            }
            return effects.push(duplicate(ticket, child, opening));
        }
        // Of a log that was forgotten meanwhile, or is read again, nothing is known yet.
        let is_read = |log: &&mut Log| !matches!(log.reading, Reading::First(_));
        let Some(log) = self.logs.get_mut(&process).filter(is_read) else {
            return self.ask(Waiter::Submit(ticket, submission), process, now, effects);
        };
        if log.is_busy() {
            return effects.push(busy(ticket));
        }
        let opens = submission.item.id() == submission.process && submission.assigned.is_none();
        if !opens && log.head().is_none() {
            self.logs.remove(&process);
            return effects.push(Effect::Reply { ticket, answer: Answer::UnknownProcess });
        }
        let stored = |key| found.keys.iter().find(|(stored, _)| *stored == key).map(|(_, stored)| *stored);
        let is_twin = process != submission.process;
        let slot_of = |key| log.keys.get(&key).copied().or_else(|| stored(key).map(|stored| stored.slot));
        let first = submission.keys.find(slot_of).or(is_twin.then_some(0));
        let Some(first) = first else {
            if log.cautious {
                return self.hold_back(process, ticket, effects);
            }
            let keys = submission.keys.all();
            let new = keys.filter(|key| !log.keys.contains_key(key) && stored(*key).is_none()).collect();
            return self.assign(*submission, new, ticket, now, effects);
        };
        if log.wait_for(first, ticket) {
            return;
        }
        let on_disk = found.keys.iter().map(|(_, stored)| *stored).find(|stored| stored.slot == first);
        effects.push(match on_disk {
            Some(stored) => duplicate(ticket, process, stored),
            // A twin whose first child reached the disk after the twin was looked up: never, as
            // that is looked up again.
            None => busy(ticket),
        });
    }

    fn assign(
        &mut self,
        submission: Submission,
        keys: Vec<Hash>,
        ticket: Ticket,
        now: Now,
        effects: &mut Effects<Effect>,
    ) {
        let set = self.assign_set(submission.process, Vec::new(), now, effects);
        let given = set.and_then(|_| self.give(submission, keys, vec![(ticket, false)], now, effects));
        if let Err(answer) = given {
            effects.push(Effect::Reply { ticket, answer });
        }
    }

    /// Gives an item the next slot, which those that wait are told of once it is durable.
    fn give(
        &mut self,
        submission: Submission,
        keys: Vec<Hash>,
        waiting: Vec<(Ticket, bool)>,
        now: Now,
        effects: &mut Effects<Effect>,
    ) -> Result<(), Answer> {
        let Submission { process, item, proof, spawn, assigned, roles, .. } = submission;
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
        let signed = unsigned.draft().sign(&self.signer);
        let assignment =
            signed.map_err(|error| Answer::Fault(format!("signing slot {slot} of {process}: {error}")))?;
        if slot == 0 {
            // A Process item with crons that cannot be read was refused before.
            log.schedule = Schedule::new(&cron::parse(item.tags()).unwrap_or_default(), time);
            log.windows = Windows::opening(self.network, &item);
            log.spawn = spawn;
            self.children.extend(spawn.map(|spawn| (spawn, process)));
        }
        log.keys.extend(keys.iter().map(|key| (*key, slot)));
        let head = Head { epoch, slot, assignment: assignment.id(), chain, time };
        let spawn = spawn.filter(|_| slot == 0);
        let slot = NewSlot { process, head, assignment, item, proof, keys, spawn, roles };
        effects.push(Effect::Persist(Box::new(slot.clone())));
        log.unsaved.push_back(Unsaved { slot, waiting });
        Ok(())
    }

    /// Answers with the newest slot, and makes it a mark if a tick is due before now.
    fn look(&mut self, ticket: Ticket, process: Id, now: Now, effects: &mut Effects<Effect>) {
        let Some((head, log)) = self.logs.get_mut(&process).and_then(|log| Some((log.head()?, log))) else {
            self.logs.remove(&process);
            effects.push(Effect::Reply { ticket, answer: Answer::UnknownProcess });
            return;
        };
        let time = time::next(&Weave::Clock, now, None, Some(head.time));
        if !log.schedule.as_ref().is_some_and(|schedule| mark::is_due(schedule, head.time, time)) {
            if !log.wait_for(head.slot, ticket) {
                let Head { slot, assignment, .. } = head;
                effects.push(duplicate(ticket, process, Stored { slot, assignment }));
            }
            return;
        }
        if log.cautious {
            return self.hold_back(process, ticket, effects);
        }
        // A set lets time pass as well as a mark does.
        match self.assign_set(process, vec![(ticket, false)], now, effects) {
            Ok(true) => return,
            Ok(false) => {}
            Err(answer) => return effects.push(Effect::Reply { ticket, answer }),
        }
        match mark::draft(self.network, process, head.epoch, head.slot + 1).sign(&self.signer) {
            Ok(item) => {
                // It names its slot, so nobody had it before.
                let mark = Submission::plain(process, item);
                let new = mark.keys.all().collect();
                self.assign(mark, new, ticket, now, effects);
            }
            Err(error) => {
                let answer = Answer::Fault(format!("signing a mark of {process}: {error}"));
                effects.push(Effect::Reply { ticket, answer });
            }
        }
    }

    /// Signs nothing in a log that may have lost its end. One that has no end at all is forgotten: it
    /// may never be begun.
    fn hold_back(&mut self, process: Id, ticket: Ticket, effects: &mut Effects<Effect>) {
        if self.logs.get(&process).is_some_and(|log| log.head().is_none()) {
            self.logs.remove(&process);
        }
        effects.push(Effect::Reply { ticket, answer: Answer::Cautious });
    }

    /// Has a log under caution read again for whoever comes next: it may be whole by now. All who came
    /// before are answered by what was read for them.
    fn forget_cautious(&mut self, process: &Id) {
        if self.logs.get(process).is_some_and(|log| log.cautious) {
            self.logs.remove(process);
        }
    }

    fn persisted(&mut self, process: Id, slot: u64, effects: &mut Effects<Effect>) {
        self.commits += 1;
        let Some(log) = self.logs.get_mut(&process) else { return };
        while log.unsaved.front().is_some_and(|unsaved| unsaved.slot.head.slot <= slot) {
            let Some(Unsaved { slot, waiting }) = log.unsaved.pop_front() else { return };
            log.durable = Some(slot.head);
            for key in &slot.keys {
                log.keys.remove(key);
            }
            if let Some(spawn) = slot.spawn {
                self.children.remove(&spawn);
            }
            for (ticket, duplicate) in waiting {
                let signed = Some(slot.assignment.raw().clone());
                let Head { slot, assignment, .. } = slot.head;
                let answer = Answer::Assigned { process, slot, assignment, signed, duplicate };
                effects.push(Effect::Reply { ticket, answer });
            }
            effects.push(Effect::Publish(Box::new(slot)));
        }
    }

    fn recover(&mut self, recovered: Recovered, now: Now, effects: &mut Effects<Effect>) {
        let Recovered { process, head, schedule, market, offers, cautious } = recovered;
        let windows = Windows::of(market, offers);
        let log = Log { durable: head, schedule, windows, cautious, ..Log::default() };
        let Some(before) = self.logs.insert(process, log) else { return };
        // On disk or lost: either way the disk says so from now on.
        self.commits += 1;
        if let Some(spawn) = before.spawn {
            self.children.remove(&spawn);
        }
        if let Reading::First(waiting) = before.reading {
            for waiter in waiting {
                self.ask(waiter, process, now, effects);
            }
        }
    }

    /// A log that was never read is forgotten, and read when it is asked for again. One whose write
    /// failed stays closed until the node starts anew: the disk may hold a slot that is not known here.
    fn unreadable(&mut self, process: Id, why: &str, effects: &mut Effects<Effect>) {
        let is_first = |log: &&mut Log| matches!(log.reading, Reading::First(_));
        let Some(log) = self.logs.get_mut(&process).filter(is_first) else { return };
        if let Reading::First(waiting) = std::mem::take(&mut log.reading) {
            for waiter in waiting {
                let answer = Answer::Fault(why.to_owned());
                effects.push(Effect::Reply { ticket: waiter.ticket(), answer });
            }
        }
        self.logs.remove(&process);
    }

    fn persist_failed(&mut self, process: Id, answer: &Answer, effects: &mut Effects<Effect>) {
        let Some(log) = self.logs.get_mut(&process) else { return };
        for (ticket, _) in log.unsaved.drain(..).flat_map(|unsaved| unsaved.waiting) {
            effects.push(Effect::Reply { ticket, answer: answer.clone() });
        }
        // A failed commit may still have reached the disk: signing the slot again without looking
        // could give it two signatures.
        log.keys.clear();
        log.reading = Reading::Again;
        effects.push(Effect::Reload { process });
    }
}

impl Machine for Scheduler {
    type Input = Input;
    type Effect = Effect;

    fn handle(&mut self, input: Input, now: Now, effects: &mut Effects<Effect>) {
        match input {
            Input::Recover(recovered) => self.recover(*recovered, now, effects),
            Input::Unreadable { process, why } => self.unreadable(process, &why, effects),
            Input::Submit { ticket, submission } => {
                let process = self.log_of(&submission);
                self.forget_cautious(&process);
                self.ask(Waiter::Submit(ticket, submission), process, now, effects);
            }
            Input::Looked { look, found } => self.looked(look, &found, now, effects),
            Input::Now { ticket, process } => {
                self.forget_cautious(&process);
                self.ask(Waiter::Now(ticket), process, now, effects);
            }
            Input::Offers { process, offers } => {
                if let Some(windows) = self.logs.get_mut(&process).and_then(|log| log.windows.as_mut()) {
                    windows.hear(offers);
                }
            }
            Input::Persisted { process, slot } => self.persisted(process, slot, effects),
            Input::PersistFailed { process, answer } => self.persist_failed(process, &answer, effects),
        }
    }
}

#[cfg(test)]
mod tests;
