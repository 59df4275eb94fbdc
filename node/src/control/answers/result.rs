//! Results: from the disk, or a peer's word, waited for if need be.

mod elsewhere;

use std::time::Duration;

use serde_json::Value;
use tokio::time::Instant;
use weft_protocol::{DataItem, Id, Position, Unverified, mark};
use weft_storage::{OutcomeRow, Reader};

use super::super::api::{Failure, FailureCode, ResultInfo, ResultOf};
use super::turns::{Asker, Turn, blocking};
use super::{Answers, disk, fail, no_slot};
use crate::compute;
use crate::news::heard_of;
use crate::prune::told;
use crate::results::readable;
use elsewhere::Tried;

/// The longest that a request waits for a result, in milliseconds.
pub(super) const WAIT_MS_MAX: u64 = 600_000;
/// How often a waiting request looks again, beside every time it hears news.
const LOOK_AGAIN: Duration = Duration::from_millis(500);

/// How long peers have for each step of one look, however little the caller waits.
const LOOK_MIN: Duration = Duration::from_secs(3);

/// A position and what it came to.
type Found = (Position, OutcomeRow);

/// Which result is looked for.
#[derive(Debug, Clone, Copy)]
enum Wanted {
    Item(Id),
    Slot(u64),
    /// The newest up to this slot that is no mark.
    Newest(u64),
}

/// A result on disk.
enum Stored {
    /// All of it.
    Whole(Box<ResultInfo>),
    /// It was pruned; of which item, unless it was a tick.
    Pruned(Position, Option<Id>),
}

/// A result, and the turn in which it was read, to hold until it is told.
pub(super) struct Held {
    pub(super) info: ResultInfo,
    pub(super) turn: Option<Turn>,
}

impl Answers {
    pub(super) async fn result(
        &self,
        process: Id,
        of: ResultOf,
        wait_ms: u64,
    ) -> Result<ResultInfo, Failure> {
        Ok(self.result_for(process, of, wait_ms, None).await?.info)
    }

    /// As [`result`](Self::result), read in the turns of whoever asks; those of the operator are not counted.
    pub(super) async fn result_for(
        &self,
        process: Id,
        of: ResultOf,
        wait_ms: u64,
        asker: Option<Asker>,
    ) -> Result<Held, Failure> {
        let began = Instant::now();
        let deadline = began + Duration::from_millis(wait_ms.min(WAIT_MS_MAX));
        let until = deadline.max(began + LOOK_MIN);
        let mut news = self.shared.news.listen();
        let (mut ask_at, mut tried) = (Instant::now(), Tried::default());
        let of = match of {
            ResultOf::Now => self.newest(process, until).await?,
            ResultOf::Item(item) => Wanted::Item(item),
            ResultOf::Slot(slot) => Wanted::Slot(slot),
        };
        loop {
            // Before the disk: what came to disk before it was stopped is there.
            let here = self.shared.directory.get(&process).filter(|known| known.roles.computes);
            let (found, turn) = self.look(process, of, asker).await?;
            match found {
                Some(Stored::Whole(info)) => return Ok(Held { info: *info, turn }),
                Some(Stored::Pruned(position, item)) => {
                    drop(turn);
                    let elsewhere = match item {
                        Some(item) => {
                            let of = (item, Some(position.slot));
                            self.ask_result(process, of, until, &mut tried).await
                        }
                        None => None,
                    };
                    let info = elsewhere.ok_or_else(|| fail(FailureCode::Gone, told(&process, position)))?;
                    return Ok(Held { info, turn: None });
                }
                None => drop(turn),
            }
            let is_due = Instant::now() >= ask_at;
            if is_due {
                self.want(process, of)?;
            }
            let stopped = here.as_ref().and_then(|known| known.fault.as_ref());
            // A peer asks the others itself.
            let asks =
                (is_due && here.is_none()) || (stopped.is_some() && !matches!(asker, Some(Asker::Peer)));
            if asks && let Some(found) = self.elsewhere(process, of, deadline, &mut tried).await? {
                return Ok(Held { info: found, turn: None });
            }
            if is_due {
                // News may be lost, so it is told again, and peers are asked again.
                ask_at = Instant::now() + LOOK_AGAIN;
            }
            if let Some(why) = stopped {
                let text = format!("{}: it is stopped here: {why}", self.none_yet(&process, of, &tried)?);
                return Err(fail(FailureCode::Fault, text));
            }
            if Instant::now() >= deadline {
                if let Some(busy) = tried.busy(&process, of) {
                    return Err(busy);
                }
                let code = if wait_ms == 0 { FailureCode::Unknown } else { FailureCode::TimedOut };
                let waits = here.and_then(|known| known.waits);
                let waits = waits.map_or_else(String::new, |why| format!(": it waits: {why}"));
                return Err(fail(code, format!("{}{waits}", self.none_yet(&process, of, &tried)?)));
            }
            // Hearing nothing in time is a reason to look again too.
            let next = (Instant::now() + LOOK_AGAIN).min(deadline);
            let _ = tokio::time::timeout_at(next, heard_of(&mut news, process)).await;
        }
    }

    async fn newest(&self, process: Id, until: Instant) -> Result<Wanted, Failure> {
        let late = |_| {
            fail(
                FailureCode::TimedOut,
                format!("nobody said in time what the newest slot of process {process} is"),
            )
        };
        let now = tokio::time::timeout_at(until, self.now(process)).await;
        Ok(Wanted::Newest(now.map_err(late)??))
    }

    /// The newest slot as of now, of a process that is computed here: only then do the ticks
    /// before it run here.
    async fn now(&self, process: Id) -> Result<u64, Failure> {
        if !self.known(&process)?.roles.computes {
            let text = format!(
                "process {process} is not computed here; `weft host {process} --compute` has this node compute it"
            );
            return Err(fail(FailureCode::Refused, text));
        }
        self.submitter.now(process).await.map_err(|error| no_slot(&error))
    }

    /// Asks for what is looked for, where the process is evaluated on demand.
    fn want(&self, process: Id, of: Wanted) -> Result<(), Failure> {
        let slot = match of {
            Wanted::Slot(slot) | Wanted::Newest(slot) => Some(slot),
            Wanted::Item(item) => self.read()?.slot_of_item(&process, &item).map_err(disk)?,
        };
        match slot {
            Some(slot) => compute::want(&self.shared, process, slot).map_err(disk),
            None => Ok(()),
        }
    }

    /// Looks on disk, in a turn of whoever asks.
    async fn look(
        &self,
        process: Id,
        of: Wanted,
        asker: Option<Asker>,
    ) -> Result<(Option<Stored>, Option<Turn>), Failure> {
        let turn = match asker {
            Some(asker) => Some(self.turns.read(asker).await?),
            None => None,
        };
        let answers = self.clone();
        blocking(move || Ok((answers.find_result(process, of)?, turn))).await
    }

    fn find_result(&self, process: Id, of: Wanted) -> Result<Option<Stored>, Failure> {
        let reader = self.read()?;
        let found = match of {
            Wanted::Item(item) => match reader.outcome_of_item(&process, &item).map_err(disk)? {
                Some(found) => Some(found),
                // A transaction stands in the log by another item, which carries it.
                None => match reader.slot_of_item(&process, &item).map_err(disk)? {
                    Some(slot) => outcome_of_slot(&reader, &process, slot)?,
                    None => None,
                },
            },
            Wanted::Slot(slot) => outcome_of_slot(&reader, &process, slot)?,
            Wanted::Newest(slot) => match outcome_of_slot(&reader, &process, slot)? {
                Some(found) => Some(self.before_marks(&reader, &process, found)?),
                None => None,
            },
        };
        let Some((position, row)) = found else { return self.passed(&reader, process, of) };
        if row.is_pruned() {
            return Ok(Some(Stored::Pruned(position, row.item)));
        }
        let attested = reader.attestations(&process, position).map_err(disk)?;
        Ok(Some(Stored::Whole(Box::new(ResultInfo {
            process,
            position,
            code: row.code,
            result: result_value(&row),
            running: row.running,
            gas: row.gas,
            computed_here: true,
            attested_by: attested.into_iter().map(|(attestor, _)| attestor).collect(),
        }))))
    }

    /// A slot that is evaluated here no more: the process goes on from a checkpoint behind it.
    fn passed(&self, reader: &Reader, process: Id, of: Wanted) -> Result<Option<Stored>, Failure> {
        let slot = match of {
            Wanted::Item(item) => reader.slot_of_item(&process, &item).map_err(disk)?,
            Wanted::Slot(slot) | Wanted::Newest(slot) => Some(slot),
        };
        let Some(slot) = slot else { return Ok(None) };
        let is_behind = |last: Position| last.slot > slot;
        if !reader.last_computed(&process).map_err(disk)?.is_some_and(is_behind) {
            return Ok(None);
        }
        let row = reader.slot(&process, slot).map_err(disk)?;
        Ok(row.map(|row| Stored::Pruned(Position { epoch: row.epoch, slot, tick: 0 }, Some(row.item))))
    }

    /// What is said where there is no result.
    fn none_yet(&self, process: &Id, of: Wanted, tried: &Tried) -> Result<String, Failure> {
        let slot = match of {
            Wanted::Item(item) => {
                return Ok(format!("message {item} of process {process} has no result yet"));
            }
            Wanted::Slot(slot) | Wanted::Newest(slot) => slot,
        };
        let head = self.read()?.head(process).map_err(disk)?.map(|(head, _)| head);
        Ok(match head {
            Some(head) if head >= slot => format!("slot {slot} of process {process} has no result yet"),
            Some(head) if !tried.is_any() => {
                format!("slot {slot} of process {process} is not here yet: its newest is {head}")
            }
            Some(_) | None => tried.told(process, slot),
        })
    }

    /// The newest position from `found` backwards that is no mark or offer set: what ran last.
    fn before_marks(&self, reader: &Reader, process: &Id, mut found: Found) -> Result<Found, Failure> {
        let known = self.known(process)?.process;
        loop {
            let item = match found.1.item {
                Some(id) => reader.item(&id).map_err(disk)?.and_then(|raw| DataItem::parse(raw).ok()),
                None => None,
            };
            // Logs here are of epoch 0.
            let is_of_log = |item: Unverified<DataItem>| {
                mark::is_of_log(&known, known.scheduler(), item.claims(), found.0.slot)
            };
            let is_of_log = item.is_some_and(is_of_log);
            match reader.outcome_before(process, found.0).map_err(disk)? {
                Some(before) if is_of_log => found = before,
                Some(_) | None => return Ok(found),
            }
        }
    }
}

fn outcome_of_slot(reader: &Reader, process: &Id, slot: u64) -> Result<Option<Found>, Failure> {
    let Some(row) = reader.slot(process, slot).map_err(disk)? else { return Ok(None) };
    let position = Position { epoch: row.epoch, slot, tick: 0 };
    Ok(reader.outcome(process, position).map_err(disk)?.map(|row| (position, row)))
}

/// The result of an outcome as JSON.
pub(super) fn result_value(row: &OutcomeRow) -> Value {
    readable(&row.result).unwrap_or_else(|_| Value::String(String::from_utf8_lossy(&row.result).into_owned()))
}
