//! What HTTP clients and other nodes ask of a process that is here.

use std::time::Duration;

use serde::Serialize;
use serde_json::Value;
use tokio::time::Instant;
use weft_net::Peer;
use weft_protocol::Id;

use super::super::api::{Failure, FailureCode, ResultOf};
use super::pages::Asked;
use super::result::{Held, WAIT_MS_MAX};
use super::turns::{Asker, ForPeer, Told, Turn, blocking};
use super::{Answers, disk, dry, fail, pages};
use crate::dry_run::For;
use crate::legacy::messages;
use crate::reads::{Read, ResultsQuery};

/// How often a log is looked at again for what is not in it yet, in milliseconds.
const LOOK_AGAIN_MS: u64 = 250;

impl Answers {
    /// Answers a client of this node from what is here, in one of the turns of clients: it is taken once there is something
    /// to tell, and held until that is written.
    ///
    /// # Errors
    /// Why there is no answer: also that the process is not followed, or not computed, here.
    pub(crate) async fn read_here(&self, process: Id, read: Read) -> Result<Value, Failure> {
        self.read_for(process, read, For::Client).await
    }

    /// As [`read_here`](Self::read_here) for a peer, in the turns of those.
    ///
    /// # Errors
    /// As there, and that a dry run would be more than the peer is given.
    pub(crate) async fn read_for_peer(
        &self,
        peer: Peer,
        process: Id,
        read: Read,
    ) -> Result<ForPeer, Failure> {
        self.read_for(process, read, For::Peer(peer)).await
    }

    async fn read_for<T: Told>(&self, process: Id, read: Read, of: For) -> Result<T, Failure> {
        let page_bytes = T::ASKER.page_bytes();
        match read {
            Read::Result { of, wait_ms } => {
                self.computed_here(&process)?;
                let Held { info, turn } = self.result_of(process, of, wait_ms, T::ASKER).await?;
                blocking(move || {
                    let _turn = turn;
                    T::of(&info)
                })
                .await
            }
            Read::Results(ResultsQuery { from, to, limit, sort, crons, now_ms }) => {
                let asked = Asked { from, to, limit, sort, crons, now_ms };
                let (known, query) = self.results_asked(process, asked).await?;
                let answers = self.clone();
                self.told(move || answers.page_of_results(&known, &query, page_bytes.wanted)).await
            }
            Read::DryRun { message, to } => {
                let slot = match to {
                    Some(id) => {
                        Some(self.slot_of(process, id).await?.ok_or_else(|| no_message(&process, id))?)
                    }
                    None => None,
                };
                let tried = self.try_out(process, *message, slot, of).await?;
                self.told(move || dry::info(process, &tried)).await
            }
            Read::Messages { span, limit } => {
                self.known(&process)?;
                let answers = self.clone();
                let limit = limit.unwrap_or(messages::LIMIT);
                self.told(move || answers.page_of_messages(process, span, limit, page_bytes)).await
            }
            Read::Message { id } => self.tell_message(process, id).await,
            Read::Process => {
                self.known(&process)?;
                let answers = self.clone();
                let info = move || {
                    let info = messages::process_info(&answers.read()?, &process);
                    info.map_err(|error| pages::no_page(&error))
                };
                self.told(info).await
            }
        }
    }

    /// Makes an answer in a turn.
    async fn told<T: Told, A: Serialize>(
        &self,
        read: impl FnOnce() -> Result<A, Failure> + Send + 'static,
    ) -> Result<T, Failure> {
        let turn: Turn = self.turns.read(T::ASKER).await?;
        blocking(move || {
            let _turn = turn;
            T::of(&read()?)
        })
        .await
    }

    async fn tell_message<T: Told>(&self, process: Id, id: Option<Id>) -> Result<T, Failure> {
        self.known(&process)?;
        let answers = self.clone();
        let Some(id) = id else { return self.told(move || answers.latest(process)).await };
        let turn = self.turns.read(T::ASKER).await?;
        let found = blocking(move || {
            let _turn = turn;
            answers.message_of_item(process, id)?.map(|message| T::of(&message)).transpose()
        });
        if let Some(found) = found.await? {
            return Ok(found);
        }
        let slot = self.slot_of_assignment(process, id, 0, T::ASKER).await?;
        let (slot, answers) = (slot.ok_or_else(pages::unknown_message)?, self.clone());
        self.told(move || answers.message_at(process, slot)).await
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
        self.slot_of_assignment(process, id, 0, Asker::Client).await
    }

    /// The slot that an assignment gives, from a slot on: it is looked for slot by slot.
    pub(super) async fn slot_of_assignment(
        &self,
        process: Id,
        id: Id,
        since: u64,
        asker: Asker,
    ) -> Result<Option<u64>, Failure> {
        let turn: Turn = self.turns.scan(asker).await?;
        let reader = self.read()?;
        blocking(move || {
            let _turn = turn;
            messages::slot_of_assignment(&reader, &process, &id, since).map_err(disk)
        })
        .await
    }

    /// The result of what a client names: a message, or an assignment, which may not be in the log yet.
    async fn result_of(
        &self,
        process: Id,
        of: ResultOf,
        wait_ms: u64,
        asker: Asker,
    ) -> Result<Held, Failure> {
        let ResultOf::Item(id) = of else { return self.result_for(process, of, wait_ms, Some(asker)).await };
        let until = Instant::now() + Duration::from_millis(wait_ms.min(WAIT_MS_MAX));
        let mut since = 0;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let left_ms = u64::try_from(left.as_millis()).unwrap_or(u64::MAX);
            let reader = self.read()?;
            let head = reader.head(&process).map_err(disk)?.map_or(0, |(slot, _)| slot + 1);
            if reader.slot_of_item(&process, &id).map_err(disk)?.is_some() {
                return self.result_for(process, of, left_ms, Some(asker)).await;
            }
            drop(reader);
            // What was looked through once does not change.
            if head > since
                && let Some(slot) = self.slot_of_assignment(process, id, since, asker).await?
            {
                return self.result_for(process, ResultOf::Slot(slot), left_ms, Some(asker)).await;
            }
            since = head;
            match self.result_for(process, of, left_ms.min(LOOK_AGAIN_MS), Some(asker)).await {
                Err(failure) if failure.code == FailureCode::TimedOut => {}
                done => return done,
            }
        }
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
