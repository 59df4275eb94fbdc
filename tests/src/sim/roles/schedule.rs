//! The scheduler's task: verified submits in, one group of slots at a time to disk.

use std::collections::BTreeMap;

use bytes::Bytes;
use weft_node::follower::machine::Input as Followed;
use weft_node::messenger::machine::{Input as Carried, PushOutcome};
use weft_node::scheduler::machine::{
    Answer as Reply, Effect, Found, Head, Input, NewSlot, Recovered, Stored, Submission, Ticket,
};
use weft_protocol::head::Head as SignedHead;
use weft_protocol::process::Process;
use weft_protocol::record::{Submission as Verification, VerifiedRecord};
use weft_protocol::seen::SeenKeys;
use weft_protocol::{DataItem, Id, Verified, wire};

use super::{Done, Submitted, Waits, schedule};
use crate::sim::disk::{Write, WriteError};
use crate::sim::network::{Answer, Assigned, Message, Refused};
use crate::sim::node::{Ctx, Node};
use crate::sim::town::NETWORK;
use crate::sim::world::Mutation;

impl Node {
    /// Reads the end of a log from disk for the scheduler.
    fn recover_log(&mut self, ctx: &Ctx<'_, '_>, process: Id) {
        self.lift(ctx, process);
        let rows = &self.disk.rows;
        let head = rows.head(&process).map(|record| {
            let assignment = record.assignment();
            Head {
                epoch: assignment.epoch,
                slot: assignment.slot,
                assignment: assignment.id,
                chain: assignment.hash_chain,
                time: assignment.time,
            }
        });
        let schedule = match ctx.mutation {
            Mutation::ForgetCrons => None,
            _ => schedule(ctx.town, rows, &process),
        };
        let cautious = rows.cautions.contains_key(&process);
        let market = ctx.town.process(&process).and_then(|known| known.market());
        let offers = self.entries(ctx);
        let recovered = Recovered { process, head, schedule, market, offers, cautious };
        self.roles.scheduler.handle(Input::Recover(Box::new(recovered)), ctx.now(self.at));
    }

    /// Ends the caution of a log that has all again that was signed in it.
    fn lift(&mut self, ctx: &Ctx<'_, '_>, process: Id) {
        let slots = self.disk.rows.head(&process).map_or(0, |record| record.assignment().slot + 1);
        let Some(known) = ctx.town.process(&process) else { return };
        if self.disk.rows.cautions.get(&process).is_some_and(|row| row.is_met(slots)) {
            self.disk.rows.relist(&known);
            self.disk.rows.cautions.remove(&process);
            self.roles.follower.hear(Followed::Unfollow { process });
        }
    }

    /// What the disk says of a submit.
    fn find(&self, ctx: &Ctx<'_, '_>, submission: &Submission) -> Found {
        let rows = &self.disk.rows;
        let mut found = Found::default();
        let stored = |record: &VerifiedRecord| {
            let assignment = record.assignment();
            Stored { slot: assignment.slot, assignment: assignment.id }
        };
        for (&slot, keys) in rows.seen.get(&submission.process).into_iter().flatten() {
            let wanted = keys.iter().filter(|key| submission.keys.all().any(|wanted| wanted == **key));
            let record = rows.slot(&submission.process, slot);
            found.keys.extend(wanted.filter_map(|key| Some((*key, stored(record?)))));
        }
        if ctx.mutation == Mutation::ForgetSeen {
            found.keys.clear();
        }
        let of_spawn = |record: &&VerifiedRecord| {
            submission.spawn.is_some() && record.proven().map(|proven| proven.sender.push) == submission.spawn
        };
        let own = rows.slots.keys().filter(|process| ctx.town.scheduler(process) == Some(self.at));
        let child = own.filter_map(|process| rows.slot(process, 0)).find(of_spawn);
        found.child = child.map(|record| (record.assignment().process, stored(record)));
        found
    }

    /// Takes a submit, from anyone.
    pub(in crate::sim) fn submit(
        &mut self,
        ctx: &mut Ctx<'_, '_>,
        waits: Waits,
        item: &Bytes,
        proof: &Bytes,
    ) {
        let verified = match Verification::verify(item, proof, NETWORK) {
            Ok(verified) => verified,
            Err(error) => match unproven(ctx, item) {
                Some(verified) => verified,
                None => return self.refuse(ctx, waits, Refused::Invalid(error.to_string())),
            },
        };
        let is_process = verified.item.tag("Type") == Some("Process");
        let spawn = verified.spawn().map(|(_, push)| push);
        let known = match (is_process, spawn) {
            (true, Some(_)) => self.child_of(ctx, &verified),
            (true, None) => ctx.town.process(&verified.item.id()),
            (false, _) => verified.item.target().and_then(|target| ctx.town.process(&target)),
        };
        let known = known.filter(|known| known.scheduler() == self.address);
        let Some(known) = known else {
            return self.refuse(ctx, waits, Refused::Unknown("not scheduled here".to_owned()));
        };
        let keys = match is_process {
            true => SeenKeys::of_item(verified.item.id()),
            false => SeenKeys::of_submission(&known, &verified.item, &verified.origin(&known)),
        };
        let process = known.id();
        let Verification { item, proof } = verified;
        self.roles.tickets += 1;
        let ticket = self.roles.tickets;
        self.roles.submits.insert(ticket, Submitted { waits, item: Some(item.id()) });
        let proof = proof.map(|(proof, _)| proof);
        let spawn = spawn.filter(|_| ctx.mutation != Mutation::ForgetSpawns);
        self.tell_offers(ctx, &known);
        let submission =
            Box::new(Submission { process, item, proof, keys, spawn, assigned: None, roles: None });
        self.roles.scheduler.hear(Input::Submit { ticket, submission });
    }

    /// Tells the scheduler which offers there are, before it may give a slot of a process in hard mode.
    pub(in crate::sim) fn tell_offers(&mut self, ctx: &Ctx<'_, '_>, known: &Process) {
        if known.market().is_some() {
            let (process, offers) = (known.id(), self.entries(ctx));
            self.roles.scheduler.hear(Input::Offers { process, offers });
        }
    }

    pub(in crate::sim) fn refuse(&mut self, ctx: &mut Ctx<'_, '_>, waits: Waits, why: Refused) {
        match waits {
            Waits::Peer(to, rpc) => ctx.send(to, Message::Answer(rpc, Answer::Submit(Err(why)))),
            Waits::Push(pushing) => {
                let outcome = outcome_of(why);
                self.roles.messenger.hear(Carried::Pushed { push_id: pushing.entry.push_id, outcome });
            }
            Waits::Reader(to, rpc) => ctx.send(to, Message::Answer(rpc, Answer::Head(None))),
            Waits::Timekeeper(process) => self.kept_time(process, false),
        }
    }

    /// Performs one effect of the scheduler, or commits; false when there is nothing to do.
    pub(in crate::sim) fn schedule(&mut self, ctx: &mut Ctx<'_, '_>) -> bool {
        let now = ctx.now(self.at);
        match self.roles.scheduler.next(now) {
            Some(Effect::Persist(slot)) => self.roles.unsaved.push(*slot),
            Some(Effect::Reply { ticket, answer }) => self.reply(ctx, ticket, answer),
            Some(Effect::Publish(slot)) => {
                self.grew(ctx, slot.process, slot.head.slot);
                self.gossip(ctx, &Message::Slot(record_of(&slot)));
            }
            Some(Effect::Reload { process }) => self.recover_log(ctx, process),
            Some(Effect::Look(look)) => {
                let found = self.find(ctx, &look.submission);
                self.roles.scheduler.handle(Input::Looked { look, found }, now);
            }
            None if self.roles.unsaved.is_empty() || self.roles.scheduler.waits => return false,
            None => self.commit_slots(ctx),
        }
        true
    }

    fn commit_slots(&mut self, ctx: &mut Ctx<'_, '_>) {
        let mut heads = BTreeMap::new();
        let mut writes = Vec::new();
        for slot in std::mem::take(&mut self.roles.unsaved) {
            heads.insert(slot.process, slot.head.slot);
            match ctx.town.verify(&record_of(&slot)) {
                Ok(record) => writes.push(Write::Slot(Box::new(record), slot.keys)),
                Err(error) => ctx.checker.violation(format!("a scheduler made a bad slot: {error}")),
            }
        }
        if ctx.mutation == Mutation::AnswerEarly {
            self.write(ctx, writes, Done::Nothing);
            for (process, slot) in heads {
                self.roles.scheduler.handle(Input::Persisted { process, slot }, ctx.now(self.at));
            }
            return;
        }
        self.roles.scheduler.waits = true;
        self.write(ctx, writes, Done::Scheduled(heads));
    }

    /// Hears that a group of slots is durable, or is not.
    pub(in crate::sim) fn scheduled(
        &mut self,
        ctx: &mut Ctx<'_, '_>,
        heads: BTreeMap<Id, u64>,
        result: Result<(), WriteError>,
    ) {
        self.roles.scheduler.waits = false;
        for (process, slot) in heads {
            let input = match result {
                Ok(()) => Input::Persisted { process, slot },
                Err(WriteError::Disk) => {
                    Input::PersistFailed { process, answer: Reply::Fault("the disk".to_owned()) }
                }
                Err(WriteError::Conflict) => {
                    ctx.checker.violation(format!("slot {slot} of {process} was assigned twice"));
                    Input::PersistFailed { process, answer: Reply::Fault("a conflict".to_owned()) }
                }
            };
            if result.is_err() {
                self.roles.unsaved.retain(|slot| slot.process != process);
            }
            self.roles.scheduler.handle(input, ctx.now(self.at));
        }
    }

    fn reply(&mut self, ctx: &mut Ctx<'_, '_>, ticket: Ticket, answer: Reply) {
        let Some(Submitted { waits, item }) = self.roles.submits.remove(&ticket) else {
            return ctx.checker.violation(format!("ticket {ticket} was answered twice"));
        };
        let (process, slot, assignment, is_new) = match answer {
            Reply::Assigned { process, slot, assignment, duplicate, .. } => {
                (process, slot, assignment, !duplicate)
            }
            Reply::Busy { retry_ms } => return self.refuse(ctx, waits, Refused::Busy(retry_ms)),
            Reply::Full => return self.refuse(ctx, waits, Refused::Unknown("its disk is full".to_owned())),
            Reply::UnknownProcess => {
                return self.refuse(ctx, waits, Refused::Unknown("no slot 0".to_owned()));
            }
            Reply::Cautious => {
                return self.refuse(ctx, waits, Refused::Unknown("the log lost its end".to_owned()));
            }
            Reply::Fault(why) => return self.refuse(ctx, waits, Refused::Unknown(why)),
        };
        ctx.checker.answered(process, slot, assignment, item);
        let stored = self.disk.rows.slot(&process, slot);
        if stored.is_none() && ctx.mutation == Mutation::None {
            ctx.checker.violation(format!("slot {slot} of {process} is answered before it is durable"));
        }
        if is_new && slot == 0 && !ctx.town.processes.contains_key(&process) {
            self.take_up_process(ctx, process);
        }
        let stored = self.disk.rows.slot(&process, slot);
        if !is_new && stored.is_some_and(|record| record.proven().is_some()) {
            ctx.checker.duplicates += 1;
        }
        let signed = stored.map(|record| record.assignment_item().raw().clone()).unwrap_or_default();
        match waits {
            Waits::Peer(to, rpc) => {
                let assigned = Assigned { process, slot, assignment, signed };
                ctx.send(to, Message::Answer(rpc, Answer::Submit(Ok(assigned))));
            }
            Waits::Reader(to, rpc) => {
                ctx.send(to, Message::Answer(rpc, Answer::Head(stored.map(head_of))));
            }
            Waits::Timekeeper(process) => self.kept_time(process, true),
            Waits::Push(pushing) => {
                let item = stored.map(|record| record.item().raw().clone()).unwrap_or_default();
                let assigned = Assigned { process, slot, assignment, signed };
                self.pushed(ctx, &pushing, &assigned, item);
            }
        }
    }
}

/// An item whose proof fails, where the harness takes it all the same.
fn unproven(ctx: &Ctx<'_, '_>, item: &Bytes) -> Option<Verification> {
    let item =
        DataItem::verify_bytes(item.clone()).ok().filter(|_| ctx.mutation == Mutation::TakeUnproven)?;
    Some(Verification { item, proof: None })
}

/// What a refusal means to a messenger.
pub(in crate::sim) fn outcome_of(why: Refused) -> PushOutcome {
    match why {
        Refused::Busy(retry_ms) => PushOutcome::Busy { retry_ms },
        Refused::Invalid(why) => PushOutcome::Refused(why),
        Refused::Unknown(why) => PushOutcome::Unreachable(why),
    }
}

/// A slot as the head of its log.
pub(in crate::sim) fn head_of(record: &VerifiedRecord) -> wire::Head {
    Verified::<SignedHead>::of(record).to_wire()
}

fn record_of(slot: &NewSlot) -> wire::SlotRecord {
    weft_protocol::record::to_wire(&slot.assignment, &slot.item, slot.proof.as_deref())
}
