//! Pages of results, and of logs.

use std::time::Duration;

use weft_protocol::Id;

use super::super::api::{Failure, FailureCode};
use super::result::WAIT_MS_MAX;
use super::{Answers, disk, fail, no_slot};
use crate::compute;
use crate::legacy::messages::{self, LegacyError, Message, Span};
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
        self.results_within(process, asked, messages::PAGE_BYTES_MAX).await
    }

    /// A page of at most so many bytes of results.
    pub(super) async fn results_within(
        &self,
        process: Id,
        asked: Asked,
        bytes: usize,
    ) -> Result<Page, Failure> {
        let known = self.known(&process)?;
        if !known.roles.computes {
            let text = format!("process {process} is not computed here; `weft host {process} --compute`");
            return Err(fail(FailureCode::Refused, text));
        }
        let Asked { from, to, limit, sort, crons, now_ms } = asked;
        let (from, to) = (cursor("from", from)?, cursor("to", to)?);
        if let Some(ms) = now_ms {
            self.evaluate_now(process, ms).await?;
        }
        // What nobody asked for yet is in a later page.
        if let Some((head, _)) = self.read()?.head(&process).map_err(disk)? {
            compute::want(&self.shared, process, head);
        }
        let show = if crons { Show::Crons } else { Show::All };
        let query = PageQuery { from, to, limit, sort, show };
        let reader = self.read()?;
        let page = move || results::page(&reader, &known.process, &query, bytes);
        let page = tokio::task::spawn_blocking(page).await;
        page.map_err(|error| fail(FailureCode::Fault, error.to_string()))?.map_err(disk)
    }

    pub(super) async fn messages(
        &self,
        process: Id,
        span: Span,
        limit: Option<usize>,
    ) -> Result<messages::Page, Failure> {
        self.messages_within(process, span, limit, messages::PAGE_BYTES_MAX).await
    }

    /// A page of at most so many bytes of items.
    pub(super) async fn messages_within(
        &self,
        process: Id,
        span: Span,
        limit: Option<usize>,
        bytes: usize,
    ) -> Result<messages::Page, Failure> {
        self.known(&process)?;
        let (reader, limit) = (self.read()?, limit.unwrap_or(messages::LIMIT));
        let page = move || messages::page_within(&reader, &process, span, limit, bytes);
        let page = tokio::task::spawn_blocking(page).await;
        page.map_err(|error| fail(FailureCode::Fault, error.to_string()))?.map_err(|error| no_page(&error))
    }

    pub(super) async fn message(&self, process: Id, id: Option<Id>) -> Result<Message, Failure> {
        self.known(&process)?;
        let reader = self.read()?;
        let found = tokio::task::spawn_blocking(move || match id {
            Some(id) => messages::message(&reader, &process, &id),
            None => messages::latest(&reader, &process),
        });
        let found = found.await.map_err(|error| fail(FailureCode::Fault, error.to_string()))?;
        found.map_err(|error| no_page(&error))
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
        LegacyError::TooLarge => FailureCode::Invalid,
        LegacyError::Store(_) | LegacyError::Damaged(_) => FailureCode::Fault,
    };
    fail(code, error.to_string())
}

fn cursor(name: &str, text: Option<String>) -> Result<Option<Cursor>, Failure> {
    let parsed = text.map(|text| Cursor::parse(&text)).transpose();
    parsed.map_err(|error| fail(FailureCode::Invalid, format!("`{name}`: {error}")))
}
