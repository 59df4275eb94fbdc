//! The timekeeper's task, and asks for `now` from anyone.

use weft_node::cron::machine::{Effect, Input};
use weft_node::scheduler::machine::Input as Scheduled;
use weft_protocol::Id;
use weft_protocol::cron::Schedule;

use super::{Rpc, Submitted, Waits};
use crate::sim::disk::Rows;
use crate::sim::network::{Ask, Refused};
use crate::sim::node::{Ctx, Node};
use crate::sim::town::Town;
use crate::sim::world::FAULTS_MS;

/// What falls due in a log, as it lies on a disk.
pub(in crate::sim) fn schedule(town: &Town<'_>, rows: &Rows, process: &Id) -> Option<Schedule> {
    let opening = rows.slot(process, 0)?;
    Schedule::new(town.process(process)?.crons(), opening.assignment().time)
}

impl Node {
    /// Subscribes to a log once its slot 0 is here. When the faults are over nobody subscribes, so
    /// that the logs come to rest.
    pub(in crate::sim) fn keep_time_of(&mut self, ctx: &Ctx<'_, '_>, process: Id) {
        let rows = &self.disk.rows;
        let newest = rows.head(&process).map(|record| record.assignment().time);
        let wanted = ctx.town.keeper(&process) == Some(self.at) && ctx.time < FAULTS_MS;
        if let (true, Some(schedule), Some(newest)) = (wanted, schedule(ctx.town, rows, &process), newest) {
            self.roles.timekeeper.hear(Input::Subscribe { process, schedule, newest });
            self.roles.timekeeper.hear(Input::Grew { process, newest });
        }
    }

    /// Ends every subscription.
    pub fn unsubscribe(&mut self, town: &Town<'_>) {
        for &process in town.processes.keys() {
            self.roles.timekeeper.hear(Input::Unsubscribe { process });
        }
    }

    /// Performs one effect of the timekeeper; false when there is nothing to do.
    pub(in crate::sim) fn keep_time(&mut self, ctx: &mut Ctx<'_, '_>) -> bool {
        let Some(Effect::AskNow { process }) = self.roles.timekeeper.next(ctx.now(self.at)) else {
            return false;
        };
        match ctx.town.scheduler(&process) {
            Some(node) if node != self.at => self.ask(ctx, node, Ask::Now(process), Rpc::Now(process)),
            Some(_) | None => self.look(ctx, Waits::Timekeeper(process), process),
        }
        true
    }

    /// Hears whether a scheduler let time pass.
    pub(in crate::sim) fn kept_time(&mut self, process: Id, answered: bool) {
        self.roles.timekeeper.hear(Input::Asked { process, answered });
    }

    /// Takes an ask for `now`, from anyone.
    pub(in crate::sim) fn look(&mut self, ctx: &mut Ctx<'_, '_>, waits: Waits, process: Id) {
        if ctx.town.scheduler(&process) != Some(self.at) {
            return self.refuse(ctx, waits, Refused::Unknown("not scheduled here".to_owned()));
        }
        self.roles.tickets += 1;
        let ticket = self.roles.tickets;
        self.roles.submits.insert(ticket, Submitted { waits, item: None });
        if let Some(known) = ctx.town.process(&process) {
            self.tell_offers(ctx, &known);
        }
        self.roles.scheduler.hear(Scheduled::Now { ticket, process });
    }
}
