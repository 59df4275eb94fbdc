//! The computer's task: runs of slots in, outcomes and attestations to disk, then said.

use std::ops::RangeInclusive;

use weft_node::compute::machine::{Effect, Input};
use weft_protocol::attestation::{Attestation, Statement};
use weft_protocol::outcome::Running;
use weft_protocol::{Id, Position, Verified};

use super::{Done, Ran};
use crate::sim::disk::{Write, WriteError};
use crate::sim::guest::Live;
use crate::sim::network::Message;
use crate::sim::node::{Ctx, Node};
use crate::sim::town::NETWORK;
use crate::sim::world::Mutation;

impl Node {
    /// Performs one effect of the computer; false when there is nothing to do.
    pub(in crate::sim) fn compute(&mut self, ctx: &mut Ctx<'_, '_>) -> bool {
        let Some(effect) = self.roles.compute.next(ctx.now(self.at)) else { return false };
        match effect {
            Effect::Run { process, from, to, .. } => self.run(ctx, process, from..=to),
            Effect::AttestNewest { process } => {
                self.attest_newest(ctx, process);
                // What it writes waits for the disk by itself.
                self.roles.compute.handle(Input::Attested, ctx.now(self.at));
            }
            Effect::Waits { process } => {
                ctx.checker.violation(format!("{process} waits for gas that is not limited here"));
            }
            Effect::Stopped { process, why } => {
                ctx.checker.violation(format!("{process} was stopped: {why}"));
            }
        }
        true
    }

    fn run(&mut self, ctx: &mut Ctx<'_, '_>, process: Id, slots: RangeInclusive<u64>) {
        let Some(known) = ctx.town.process(&process) else { return };
        let live = match self.roles.live.remove(&process) {
            Some(live) => Ok(live),
            None => Live::load(known, ctx.town, &self.disk.rows),
        };
        let mut live = match live {
            Ok(live) => live,
            Err(error) => return ctx.checker.violation(error.to_string()),
        };
        let (mut writes, mut sends, mut said) = (Vec::new(), Vec::new(), Vec::new());
        let (from, to) = (live.next_slot(), *slots.end());
        // A disk that broke may have what it said it has not.
        let is_behind = *slots.start() < from && !self.disk.is_broken();
        if ctx.mutation == Mutation::None && (is_behind || *slots.start() > from) {
            ctx.checker.violation(format!("{process} is run from {}, and is at {from}", slots.start()));
        }
        let fails_at = if ctx.faults.host { self.fails_at(from, to) } else { None };
        while live.next_slot() <= to && fails_at != Some(live.next_slot()) {
            let slot = live.next_slot();
            let Some(record) = self.disk.rows.slot(&process, slot) else {
                if ctx.mutation == Mutation::None {
                    ctx.checker.violation(format!("slot {slot} of {process} is not on disk"));
                }
                break;
            };
            for closed in live.run_slot(record) {
                let position = closed.outcome.position;
                let is_sending = !closed.outcome.outbox.is_empty();
                if is_sending && let Some(attestation) = self.sign(ctx, process, position, closed.running) {
                    writes.push(Write::Attestation(Box::new(attestation.clone())));
                    said.push(attestation);
                }
                sends.push((position, is_sending));
                writes.push(Write::Outcome(process, Box::new(closed)));
            }
        }
        self.roles.compute.waits = true;
        let next = (live.next_slot() > from).then(|| live.next_slot());
        let failed = fails_at == Some(live.next_slot()) && live.next_slot() <= to;
        self.write(ctx, writes, Done::Ran(Box::new(Ran { process, live, failed, next, sends, said })));
    }

    /// Where the host fails in the next run. It does in every second one: after the first slot, or before it if no more
    /// are due.
    fn fails_at(&mut self, from: u64, to: u64) -> Option<u64> {
        self.runs += 1;
        self.runs.is_multiple_of(2).then_some(to.min(from + 1))
    }

    /// Signs a position, if this node is one of the attestors.
    fn sign(
        &self,
        ctx: &Ctx<'_, '_>,
        process: Id,
        position: Position,
        running: Running,
    ) -> Option<Verified<Attestation>> {
        let known = ctx.town.process(&process)?;
        known.attestors().members.contains(&self.address).then_some(())?;
        let place = (position, self.disk.rows.slot(&process, position.slot)?.assignment().id);
        let statement = Statement::of(&known, NETWORK, place, (running.0, None));
        statement.sign(&self.key).ok()
    }

    fn attest_newest(&mut self, ctx: &mut Ctx<'_, '_>, process: Id) {
        let Some(closed) = self.disk.rows.last_outcome(&process) else { return };
        let (position, running) = (closed.outcome.position, closed.running);
        let said = self.disk.rows.attestations.get(&(process, position));
        if said.is_some_and(|said| said.contains_key(&self.address)) {
            return;
        }
        if let Some(attestation) = self.sign(ctx, process, position, running) {
            self.roles.compute.waits = true;
            let write = Write::Attestation(Box::new(attestation.clone()));
            self.write(ctx, vec![write], Done::Attested(Box::new(attestation)));
        }
    }

    /// Hears that a run is durable, or is not.
    pub(in crate::sim) fn ran(&mut self, ctx: &mut Ctx<'_, '_>, ran: Ran, result: Result<(), WriteError>) {
        self.roles.compute.waits = false;
        let Ran { process, live, failed, next, sends, said } = ran;
        if let Err(error) = result {
            if error == WriteError::Conflict {
                ctx.checker.violation(format!("this node contradicts what it attested of {process}"));
            }
            let input = Input::Failed { process, next: None, why: "the disk".to_owned(), retry: true };
            return self.roles.compute.handle(input, ctx.now(self.at));
        }
        for (position, is_sending) in sends {
            if is_sending {
                self.weigh(process, position);
                self.take_up(ctx, Some((process, position)));
            }
        }
        for attestation in said {
            self.say_attested(ctx, &attestation);
        }
        self.roles.compute.handle(Input::Evaluated { process, slowest_ms: 0, gas: 0 }, ctx.now(self.at));
        let input = if failed {
            // The live process is lost.
            self.broken_off += usize::from(next.is_some());
            Input::Failed { process, next, why: "the host".to_owned(), retry: true }
        } else {
            let next = live.next_slot();
            self.roles.live.insert(process, live);
            Input::Ran { process, next }
        };
        self.roles.compute.handle(input, ctx.now(self.at));
    }

    /// Tells the messengers, here and elsewhere, what this node signed.
    pub(in crate::sim) fn say_attested(&mut self, ctx: &mut Ctx<'_, '_>, said: &Attestation) {
        let (process, position) = (said.statement().process, said.statement().position);
        self.check_attested(ctx, process, position);
        self.weigh(process, position);
        self.gossip(ctx, &Message::Attestation(said.to_wire()));
    }
}
