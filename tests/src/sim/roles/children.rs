//! Taking up processes: those of the town at the start, and children when they are born.

use std::sync::Arc;

use weft_node::anchor::machine::Input as Anchored;
use weft_node::compute::machine::Input as Computed;
use weft_node::config::Evaluate;
use weft_protocol::process::Process;
use weft_protocol::record::Submission;
use weft_protocol::{Id, wire};

use super::{Done, Rpc};
use crate::sim::disk::{OutboxKey, OutboxState, Write, WriteError};
use crate::sim::network::Ask;
use crate::sim::node::{Ctx, Node};
use crate::sim::town::{Town, terms};

/// Whether a node has to take up a child: those that its Process item names.
pub(in crate::sim) fn is_named(town: &Town<'_>, process: &Process, node: usize) -> bool {
    let address = town.keys[node].address();
    process.scheduler() == address || process.attestors().members.contains(&address)
}

impl Node {
    /// Whether this node works for a process.
    pub(in crate::sim) fn hosts(&self, town: &Town<'_>, process: &Id) -> bool {
        town.processes.contains_key(process) || self.disk.rows.slot(process, 0).is_some()
    }

    /// Every process that this node works for.
    pub(in crate::sim) fn hosted(&self, town: &Town<'_>) -> Vec<Id> {
        let children = self.disk.rows.slots.keys().filter(|id| !town.processes.contains_key(id));
        town.processes.keys().chain(children).copied().collect()
    }

    /// Starts what this node does for a process, from where the disk has it.
    pub(in crate::sim) fn take_up_process(&mut self, ctx: &Ctx<'_, '_>, process: Id) {
        let head = self.disk.rows.head(&process).map(|record| record.assignment().slot);
        let is_own = ctx.town.scheduler(&process) == Some(self.at);
        if is_own {
            self.anchor_log(ctx, process);
            if let Some(head) = head {
                self.roles.anchor.hear(Anchored::Grew { process, head });
            }
        }
        if !is_own || self.disk.rows.cautions.contains_key(&process) {
            self.follow_log(ctx, process);
        }
        let last = self.disk.rows.last_outcome(&process);
        let next = last.map_or(0, |closed| closed.outcome.position.slot + 1);
        let evaluate = Evaluate::Eager;
        self.roles.compute.hear(Computed::Host { process, evaluate, unasked: false, next, head });
        self.keep_time_of(ctx, process);
    }

    /// The process that a spawned Process item is, known to everyone from now on.
    pub(in crate::sim) fn child_of(&self, ctx: &Ctx<'_, '_>, verified: &Submission) -> Option<Arc<Process>> {
        let accepted = Process::accept(verified.item.clone(), verified.parent(), &terms()).ok()?;
        let child = accepted.id();
        ctx.town.add_child(accepted);
        ctx.town.process(&child)
    }

    /// Takes up a child that names this node, before the row of its spawn is written; false if there
    /// is no need.
    pub(in crate::sim) fn adopt(&mut self, ctx: &Ctx<'_, '_>, child: Id, row: OutboxKey) -> bool {
        let Some(process) = ctx.town.process(&child) else { return false };
        let is_mine = is_named(ctx.town, &process, self.at) && !self.hosts(ctx.town, &child);
        if is_mine {
            self.roles.adoptions.insert(child, (row, false));
        }
        is_mine
    }

    /// Asks for slot 0 of every child that nobody is asked for.
    pub(in crate::sim) fn ask_for_children(&mut self, ctx: &mut Ctx<'_, '_>) {
        let idle = self.roles.adoptions.iter_mut().filter(|(_, (_, asking))| !asking);
        let children: Vec<Id> = idle
            .map(|(child, (_, asking))| {
                *asking = true;
                *child
            })
            .collect();
        for child in children {
            match ctx.town.scheduler(&child) {
                Some(node) if node != self.at => {
                    self.ask(ctx, node, Ask::Range(child, 0, 0), Rpc::Adopt(child));
                }
                Some(_) | None => self.adoption_failed(child),
            }
        }
    }

    /// Nobody gave slot 0, or it was not written: it is asked for again.
    pub(in crate::sim) fn adoption_failed(&mut self, child: Id) {
        if let Some((_, asking)) = self.roles.adoptions.get_mut(&child) {
            *asking = false;
        }
    }

    /// Takes slot 0 of a child from its scheduler.
    pub(in crate::sim) fn hear_child(
        &mut self,
        ctx: &mut Ctx<'_, '_>,
        child: Id,
        slots: &[wire::SlotRecord],
    ) {
        let record = slots.first().and_then(|slot| ctx.town.verify(slot).ok());
        let record = record.filter(|record| record.assignment().process == child);
        let row = self.roles.adoptions.get(&child).map(|(row, _)| *row);
        let (Some(record), Some(row)) = (record, row) else { return self.adoption_failed(child) };
        let settled = Write::Outbox(row, OutboxState::Settled);
        self.write(ctx, vec![Write::Slot(Box::new(record), Vec::new()), settled], Done::Adopted(child));
    }

    /// Hears that slot 0 of a child is durable, or is not.
    pub(in crate::sim) fn adopted(&mut self, ctx: &Ctx<'_, '_>, child: Id, result: Result<(), WriteError>) {
        if result.is_err() {
            return self.adoption_failed(child);
        }
        self.roles.adoptions.remove(&child);
        self.take_up_process(ctx, child);
    }
}
