//! What HTTP clients and other nodes ask of a process that is here.

use std::collections::BTreeSet;
use std::time::Duration;

use serde::Serialize;
use serde_json::Value;
use tokio::time::Instant;
use weft_protocol::Id;

use super::super::api::{Failure, FailureCode, ResultInfo, ResultOf};
use super::pages::Asked;
use super::result::WAIT_MS_MAX;
use super::{Answers, MODULE_SETTING, disk, fail, pages};
use crate::builtin;
use crate::legacy::messages;
use crate::reads::{Read, ResultsQuery};

/// How often a log is looked at again for what is not in it yet, in milliseconds.
const LOOK_AGAIN_MS: u64 = 250;

impl Answers {
    /// Answers from what is here; pages have at most so many bytes of items or results.
    ///
    /// # Errors
    /// Why there is no answer: also that the process is not followed, or not computed, here.
    pub(crate) async fn read_here(
        &self,
        process: Id,
        read: Read,
        page_bytes: usize,
    ) -> Result<Value, Failure> {
        match read {
            Read::Result { of, wait_ms } => {
                self.computed_here(&process)?;
                json(self.result_of(process, of, wait_ms).await)
            }
            Read::Results(ResultsQuery { from, to, limit, sort, crons, now_ms }) => {
                let asked = Asked { from, to, limit, sort, crons, now_ms };
                json(self.results_within(process, asked, page_bytes).await)
            }
            Read::DryRun { message, to } => {
                let slot = match to {
                    Some(id) => {
                        Some(self.slot_of(process, id).await?.ok_or_else(|| no_message(&process, id))?)
                    }
                    None => None,
                };
                json(self.dry_run(process, *message, slot).await)
            }
            Read::Messages { span, limit } => {
                json(self.messages_within(process, span, limit, page_bytes).await)
            }
            Read::Message { id } => json(self.message(process, id).await),
            Read::Process => {
                self.known(&process)?;
                let reader = self.read()?;
                json(messages::process_info(&reader, &process).map_err(|error| pages::no_page(&error)))
            }
        }
    }

    /// The slot of a message, or of an assignment, if its log is here and has it.
    ///
    /// # Errors
    /// The disk.
    pub(crate) async fn slot_of(&self, process: Id, id: Id) -> Result<Option<u64>, Failure> {
        let reader = self.read()?;
        if let Some(slot) = reader.slot_of_item(&process, &id).map_err(disk)? {
            return Ok(Some(slot));
        }
        self.slot_of_assignment(process, id, 0).await
    }

    /// The slot that an assignment gives, from a slot on: it is looked for slot by slot.
    async fn slot_of_assignment(&self, process: Id, id: Id, since: u64) -> Result<Option<u64>, Failure> {
        let reader = self.read()?;
        let found = move || messages::slot_of_assignment(&reader, &process, &id, since);
        let found = tokio::task::spawn_blocking(found).await;
        found.map_err(|error| fail(FailureCode::Fault, error.to_string()))?.map_err(disk)
    }

    /// The result of what a client names: a message, or an assignment, which may not be in the log yet.
    async fn result_of(&self, process: Id, of: ResultOf, wait_ms: u64) -> Result<ResultInfo, Failure> {
        let ResultOf::Item(id) = of else { return self.result(process, of, wait_ms).await };
        let until = Instant::now() + Duration::from_millis(wait_ms.min(WAIT_MS_MAX));
        let mut since = 0;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let left_ms = u64::try_from(left.as_millis()).unwrap_or(u64::MAX);
            let reader = self.read()?;
            let head = reader.head(&process).map_err(disk)?.map_or(0, |(slot, _)| slot + 1);
            if reader.slot_of_item(&process, &id).map_err(disk)?.is_some() {
                return self.result(process, of, left_ms).await;
            }
            drop(reader);
            // What was looked through once does not change.
            if head > since
                && let Some(slot) = self.slot_of_assignment(process, id, since).await?
            {
                return self.result(process, ResultOf::Slot(slot), left_ms).await;
            }
            since = head;
            match self.result(process, of, left_ms.min(LOOK_AGAIN_MS)).await {
                Err(failure) if failure.code == FailureCode::TimedOut => {}
                done => return done,
            }
        }
    }

    /// The modules that this node knows: those of its processes, those that were added, and its own.
    ///
    /// # Errors
    /// The disk.
    pub(crate) fn module_ids(&self) -> Result<BTreeSet<Id>, Failure> {
        let mut ids = self.shared.directory.modules();
        ids.extend(builtin::id_of(builtin::LUA));
        for name in self.read()?.setting_names(MODULE_SETTING).map_err(disk)? {
            ids.extend(name.strip_prefix(MODULE_SETTING).and_then(|id| id.parse::<Id>().ok()));
        }
        Ok(ids)
    }

    fn computed_here(&self, process: &Id) -> Result<(), Failure> {
        if self.known(process)?.roles.computes {
            return Ok(());
        }
        Err(fail(FailureCode::Refused, format!("process {process} is not computed here")))
    }
}

fn no_message(process: &Id, id: Id) -> Failure {
    fail(FailureCode::Unknown, format!("message {id} has no slot in process {process}"))
}

fn json(answer: Result<impl Serialize, Failure>) -> Result<Value, Failure> {
    serde_json::to_value(answer?).map_err(|error| fail(FailureCode::Fault, error.to_string()))
}
