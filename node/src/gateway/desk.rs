//! One request of an HTTP client: who may ask, what is asked, and who answers it.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::body::Body;
use axum::http::header::X_CONTENT_TYPE_OPTIONS;
use axum::http::request::Parts;
use axum::http::{HeaderValue, Request, StatusCode};
use axum::response::{IntoResponse as _, Response};
use serde_json::Value;
use tokio::sync::Semaphore;
use weft_protocol::Id;
use weft_protocol::process::Process;

use super::body::Bodies;
use super::compute::STRUCTURED_MAX;
use super::events::LISTENERS_MAX;
use super::graphql::{self, QUERIES_MAX, Schema};
use super::guard::{self, Guard};
use super::lookup::Headers;
use super::params::Params;
use super::problem::{Problem, with_type};
use super::route::Route;
use crate::control::Answers;
use crate::control::api::FailureCode;
use crate::hosting;
use crate::metrics::Level;
use crate::reads::{Elsewhere, Place, Read};
use crate::shared::SharedRef;
use crate::submit::Submitter;

/// How long any request may take: fetch of Node gives up after 300 s.
const REQUEST_WAIT: Duration = Duration::from_secs(280);

/// How long a process is looked for: the search goes on where somebody is silent, and who asks again finds
/// what it found.
const FIND_WAIT: Duration = Duration::from_secs(15);

/// Answers HTTP clients from these parts of the node.
#[derive(Clone)]
pub(crate) struct Desk(Arc<DeskParts>);

impl fmt::Debug for Desk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Desk").field("guard", &self.guard).finish_non_exhaustive()
    }
}

/// What a desk answers from.
pub(crate) struct DeskParts {
    pub(super) shared: SharedRef,
    pub(super) submitter: Submitter,
    pub(super) answers: Answers,
    pub(super) bodies: Bodies,
    pub(super) headers: Headers,
    /// Places of pages that listen.
    pub(super) listeners: Arc<Semaphore>,
    elsewhere: Elsewhere,
    guard: Guard,
    pub(super) schema: Schema,
    /// Turns to answer queries.
    pub(super) queries: Arc<Semaphore>,
    /// Turns to read messages of dry runs whose data is no text.
    pub(super) structured: Semaphore,
    /// Processes in which time passes for clients of the gateway, and whether each was followed before.
    pub(super) monitored: Mutex<BTreeMap<Id, bool>>,
}

impl std::ops::Deref for Desk {
    type Target = DeskParts;

    fn deref(&self) -> &DeskParts {
        &self.0
    }
}

impl Desk {
    /// A desk of this node.
    pub(crate) fn new(shared: SharedRef, submitter: Submitter, answers: Answers) -> Self {
        let (bodies, headers) = (Bodies::new(&shared.metrics), Headers::new(&shared.metrics));
        let guard = Guard::new(shared.config.gateway_cors.clone(), shared.config.gateway_hosts.clone());
        let (elsewhere, schema) = (Elsewhere::default(), graphql::schema());
        let listeners = Arc::new(Semaphore::new(LISTENERS_MAX));
        shared.metrics.watch(Level::permits("gateway", "listeners", &listeners, LISTENERS_MAX));
        let queries = Arc::new(Semaphore::new(QUERIES_MAX));
        shared.metrics.watch(Level::permits("gateway", "queries", &queries, QUERIES_MAX));
        Self(Arc::new(DeskParts {
            shared,
            submitter,
            answers,
            bodies,
            headers,
            listeners,
            elsewhere,
            guard,
            schema,
            queries,
            structured: Semaphore::new(STRUCTURED_MAX),
            monitored: Mutex::default(),
        }))
    }

    /// Answers one request.
    pub(super) async fn answer(&self, request: Request<Body>) -> Response {
        let (parts, body) = request.into_parts();
        let asker = match self.guard.judge(&parts.uri, &parts.headers) {
            Ok(asker) => asker,
            Err(problem) => return problem.into_response(),
        };
        let mut response = if guard::is_preflight(&parts.method) {
            let mut allowed = with_type(StatusCode::NO_CONTENT, "text/plain", Body::empty());
            guard::answer_preflight(allowed.headers_mut());
            allowed
        } else {
            let late = || {
                let text = format!("this was not done in {} s", REQUEST_WAIT.as_secs());
                Problem::new(StatusCode::GATEWAY_TIMEOUT, text)
            };
            let answered = tokio::time::timeout(REQUEST_WAIT, Box::pin(self.dispatch(&parts, body))).await;
            answered.unwrap_or_else(|_| Err(late())).unwrap_or_else(Problem::into_response)
        };
        guard::allow(response.headers_mut(), &asker);
        response.headers_mut().insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        response
    }

    async fn dispatch(&self, parts: &Parts, body: Body) -> Result<Response, Problem> {
        let params = Params::of(&parts.uri)?;
        match Route::of(&parts.method, parts.uri.path(), &params)? {
            Route::Root => Ok(self.root()),
            Route::Health => Ok(with_type(StatusCode::OK, "text/plain", Body::empty())),
            Route::Submit => self.submit(body).await,
            Route::Assign { process, item, exclude } => self.assign(process, item, &exclude).await,
            Route::Monitor { process, on } => self.monitor(process, on, body).await,
            Route::Result { process, of } => self.result(process, of).await,
            Route::Results { process, query } => self.results(process, query).await,
            Route::DryRun { process, to } => self.dry_run(process, to, body).await,
            Route::Events { process, from } => self.events(process, from).await,
            Route::State { process, to } => self.state(process, to).await,
            Route::Page { process, span, limit } => self.page(process, span, limit).await,
            Route::Message { process, id } => self.message(process, id).await,
            Route::Process { process } => self.process(process).await,
            Route::Timestamp => Ok(self.timestamp()),
            Route::HyperBeam(ask) => self.hyperbeam(ask, body).await,
            Route::GraphQl => self.graphql(parts, &params, body).await,
            Route::Data { id } => self.data(id).await,
            Route::Tx { id } => self.tx(id).await,
            Route::TxStatus { id } => self.tx_status(id).await,
            Route::TxData { id } => self.tx_data(id).await,
            Route::Info => Ok(self.info().await),
            Route::Height => Ok(self.height()),
            Route::Block { height } => self.block(height),
        }
    }

    /// The answer to a question about a process, from here or from a peer.
    pub(super) async fn read(&self, process: Id, read: Read) -> Result<Value, Problem> {
        let here = |read| self.answers.read_here::<Value>(process, read);
        match read.place(self.shared.directory.roles(&process)) {
            Place::Here => Ok(here(read).await?),
            Place::There => Ok(self.elsewhere.ask(&self.shared, process, &read).await?),
            Place::HereFirst => match here(read.clone()).await {
                Err(failure) if failure.code == FailureCode::Unknown => {
                    // Who knows no more than this node says no more.
                    let there = self.elsewhere.ask(&self.shared, process, &read).await;
                    there.map_err(|_| failure.into())
                }
                here => Ok(here?),
            },
        }
    }

    /// A process, wherever it is.
    pub(super) async fn find(&self, process: Id) -> Result<Arc<Process>, Problem> {
        let found = tokio::time::timeout(FIND_WAIT, hosting::find_process(&self.shared, process)).await;
        let late = |_| Problem::unknown(format!("Process {process} was not found yet: peers are silent"));
        let unknown = |error: hosting::HostingError| {
            Problem::unknown(format!("Process {process} was not found: {error}"))
        };
        found.map_err(late)?.map_err(unknown)
    }
}
