//! Time in the logs: which ticks must have run, and which marks may be there.

use weft_protocol::cron::{self, Schedule};
use weft_protocol::outcome::Code;
use weft_protocol::process::Process;
use weft_protocol::record::VerifiedRecord;
use weft_protocol::time::{self, Weave};
use weft_protocol::{Id, Now, Position, mark};

use super::Checker;
use crate::sim::disk::Rows;
use crate::sim::node::Node;
use crate::sim::roles::schedule;
use crate::sim::town::Town;

/// Marks in all logs, and ticks that ran in them.
pub fn count_marks_and_ticks(town: &Town<'_>, nodes: &[Node]) -> (usize, usize) {
    let (mut marks, mut ticks) = (0, 0);
    for (process, (known, at)) in &town.processes {
        let rows = &nodes[*at].disk.rows;
        marks += records(rows, *process).filter(|record| is_mark(known, record)).count();
        let outcomes = rows.outcomes.get(process).into_iter().flatten();
        ticks += outcomes.filter(|(position, _)| position.tick > 0).count();
    }
    (marks, ticks)
}

/// Programs that were sent in messages and ran to their end.
pub fn count_evals(town: &Town<'_>, nodes: &[Node]) -> usize {
    let logs = town.processes.iter().map(|(process, (_, at))| (process, &nodes[*at].disk.rows));
    let ran = |(process, rows): (&Id, &Rows)| {
        let is_eval =
            |slot| rows.slot(process, slot).is_some_and(|record| record.item().tag("Action") == Some("Eval"));
        let outcomes = rows.outcomes.get(process).into_iter().flatten();
        let whole =
            outcomes.filter(|(position, closed)| position.tick == 0 && closed.outcome.code == Code::Ok);
        whole.filter(|(position, _)| is_eval(position.slot)).count()
    };
    logs.map(ran).sum()
}

fn records(rows: &Rows, process: Id) -> impl Iterator<Item = &VerifiedRecord> + Clone {
    rows.slots.get(&process).into_iter().flat_map(|slots| slots.values())
}

fn is_mark(process: &Process, record: &VerifiedRecord) -> bool {
    mark::is_mark(record.item(), process.id(), process.scheduler())
}

/// Every position that a log has: its slots, and the ticks between them.
pub fn positions(process: &Process, rows: &Rows) -> Vec<Position> {
    let mut all = Vec::new();
    let mut before: Option<&VerifiedRecord> = None;
    let origin = records(rows, process.id()).next().map(|record| record.assignment().time);
    for record in records(rows, process.id()) {
        if let (Some(before), Some(origin)) = (before, origin) {
            let (from, to) = (before.assignment(), record.assignment());
            let ticks = cron::ticks(process.crons(), origin, from.time, to.time).run.len() as u32;
            let tick = |tick| Position { epoch: from.epoch, slot: from.slot, tick };
            all.extend((1..=ticks).map(tick));
        }
        let assignment = record.assignment();
        all.push(Position { epoch: assignment.epoch, slot: assignment.slot, tick: 0 });
        before = Some(record);
    }
    all
}

impl Checker {
    /// Notes that a reader who asked at `asked` was given this slot as the newest one.
    pub fn read(&mut self, process: Id, slot: u64, asked: Now) {
        self.read.push((process, slot, asked));
    }

    /// A mark stands only where a tick was due, and at most one a second.
    pub(super) fn check_marks(&mut self, process: &Process, schedule: Option<&Schedule>, rows: &Rows) {
        let records = records(rows, process.id());
        for (before, record) in records.clone().zip(records.skip(1)) {
            let (last, time) = (before.assignment().time, record.assignment().time);
            let is_due = schedule.is_some_and(|schedule| mark::is_due(schedule, last, time));
            if is_mark(process, record) && !is_due {
                let (slot, id) = (record.assignment().slot, process.id());
                self.violation(format!("slot {slot} of {id} is a mark for nothing"));
            }
        }
    }

    /// Whoever asked for `now` was given a slot after every tick that was due when he asked.
    pub(super) fn check_reads(&mut self, town: &Town<'_>, nodes: &[Node]) {
        for (process, slot, asked) in std::mem::take(&mut self.read) {
            let Some(scheduler) = town.scheduler(&process) else { continue };
            let rows = &nodes[scheduler].disk.rows;
            let Some(given) = rows.slot(&process, slot) else {
                self.violation(format!("a reader was given slot {slot} of {process}, which is gone"));
                continue;
            };
            let last = given.assignment().time;
            let now = time::next(&Weave::Clock, asked, None, Some(last));
            if schedule(town, rows, &process).is_some_and(|schedule| mark::is_due(&schedule, last, now)) {
                self.violation(format!("a reader of {process} was given slot {slot} though ticks were due"));
            }
        }
    }
}
