//! Pages of results, and of logs.

use std::time::Duration;

use weft_protocol::Id;

use super::super::api::{Failure, FailureCode};
use super::result::WAIT_MS_MAX;
use super::turns::{Asker, blocking};
use super::{Answers, disk, fail, no_slot};
use crate::compute;
use crate::directory::Known;
use crate::legacy::messages::{self, LegacyError, Message, PageBytes, Span};
use crate::results::{self, Cursor, Page, PageQuery, Show, Sort};

/// What a client asks for, as it wrote it.
pub(super) struct Asked {
    pub(super) from: Option<String>,
    pub(super) to: Option<String>,
    pub(super) limit: Option<usize>,
    pub(super) sort: Sort,
    pub(super) crons: bool,
    pub(super) now_ms: Option<u64>,
}

impl Answers {
    pub(super) async fn results(&self, process: Id, asked: Asked) -> Result<Page, Failure> {
        let (known, query) = self.results_asked(process, asked).await?;
        let answers = self.clone();
        blocking(move || answers.page_of_results(&known, &query, messages::PAGE_BYTES.wanted)).await
    }

    /// What is asked for, once time has passed if it was to.
    pub(super) async fn results_asked(
        &self,
        process: Id,
        asked: Asked,
    ) -> Result<(Known, PageQuery), Failure> {
        let known = self.known(&process)?;
        if !known.roles.computes {
            let text = format!(
                "process {process} is not computed here; `weft host {process} --compute` has this node compute it"
            );
            return Err(fail(FailureCode::Refused, text));
        }
        let Asked { from, to, limit, sort, crons, now_ms } = asked;
        let (from, to) = (cursor("from", from)?, cursor("to", to)?);
        if let Some(ms) = now_ms {
            self.evaluate_now(process, ms).await?;
        }
        // What nobody asked for yet is in a later page.
        if let Some((head, _)) = self.read()?.head(&process).map_err(disk)? {
            compute::want(&self.shared, process, head).map_err(disk)?;
        }
        let show = if crons { Show::Crons } else { Show::All };
        let query = PageQuery { from, to, limit, sort, show };
        Ok((known, query))
    }

    /// A page of results that take at most so many bytes.
    pub(super) fn page_of_results(
        &self,
        known: &Known,
        query: &PageQuery,
        bytes: usize,
    ) -> Result<Page, Failure> {
        results::page(&self.read()?, &known.process, query, bytes).map_err(disk)
    }

    pub(super) async fn messages(
        &self,
        process: Id,
        span: Span,
        limit: Option<usize>,
    ) -> Result<messages::Page, Failure> {
        self.known(&process)?;
        let (answers, limit) = (self.clone(), limit.unwrap_or(messages::LIMIT));
        blocking(move || answers.page_of_messages(process, span, limit, messages::PAGE_BYTES)).await
    }

    pub(super) fn page_of_messages(
        &self,
        process: Id,
        span: Span,
        limit: usize,
        bytes: PageBytes,
    ) -> Result<messages::Page, Failure> {
        let page = messages::page_within(&self.read()?, &process, span, limit, bytes);
        page.map_err(|error| no_page(&error))
    }

    pub(super) async fn message(&self, process: Id, id: Option<Id>) -> Result<Message, Failure> {
        self.known(&process)?;
        let answers = self.clone();
        let Some(id) = id else { return blocking(move || answers.latest(process)).await };
        if let Some(found) = blocking(move || answers.message_of_item(process, id)).await? {
            return Ok(found);
        }
        let slot = self.slot_of_assignment(process, id, 0, Asker::Client).await?;
        let (slot, answers) = (slot.ok_or_else(unknown_message)?, self.clone());
        blocking(move || answers.message_at(process, slot)).await
    }

    pub(super) fn latest(&self, process: Id) -> Result<Message, Failure> {
        messages::latest(&self.read()?, &process).map_err(|error| no_page(&error))
    }

    pub(super) fn message_of_item(&self, process: Id, id: Id) -> Result<Option<Message>, Failure> {
        messages::message(&self.read()?, &process, &id).map_err(|error| no_page(&error))
    }

    pub(super) fn message_at(&self, process: Id, slot: u64) -> Result<Message, Failure> {
        messages::at(&self.read()?, &process, slot).map_err(|error| no_page(&error))
    }

    /// Lets time pass, and waits until what that made due has run.
    async fn evaluate_now(&self, process: Id, ms: u64) -> Result<(), Failure> {
        let newest = self.submitter.now(process).await.map_err(|error| no_slot(&error))?;
        let wait = Duration::from_millis(ms.min(WAIT_MS_MAX));
        let evaluated = compute::evaluated(&self.shared, process, newest);
        match tokio::time::timeout(wait, evaluated).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(fail(FailureCode::Fault, error.to_string())),
            Err(_) => {
                let text = format!("slot {newest} of process {process} was not evaluated in {ms} ms");
                Err(fail(FailureCode::TimedOut, text))
            }
        }
    }
}

pub(super) fn no_page(error: &LegacyError) -> Failure {
    let code = match error {
        LegacyError::NoProcess | LegacyError::NoMessage | LegacyError::NoLatest => FailureCode::Unknown,
        LegacyError::TooLarge { .. } => FailureCode::Invalid,
        LegacyError::Store(_) | LegacyError::Damaged(_) => FailureCode::Fault,
    };
    fail(code, error.to_string())
}

/// No message, and no assignment, of an id is in the log.
pub(super) fn unknown_message() -> Failure {
    no_page(&LegacyError::NoMessage)
}

fn cursor(name: &str, text: Option<String>) -> Result<Option<Cursor>, Failure> {
    let parsed = text.map(|text| Cursor::parse(&text)).transpose();
    parsed.map_err(|error| fail(FailureCode::Invalid, format!("`{name}`: {error}")))
}
