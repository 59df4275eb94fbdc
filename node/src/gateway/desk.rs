//! One request of an HTTP client: who may ask, what is asked, and who answers it.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, HttpBody as _};
use axum::http::request::Parts;
use axum::http::{Request, StatusCode};
use axum::response::Response;
use serde_json::Value;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use weft_protocol::Id;
use weft_protocol::process::Process;

use super::body::{AnswerShare, Bodies};
use super::compute::{RunsElsewhere, STATES_MAX, STRUCTURED_MAX};
use super::events::LISTENERS_MAX;
use super::graphql::{self, ASKING_MAX, QUERIES_MAX, Schema};
use super::guard::Guard;
use super::guarded::answered;
use super::lookup::Headers;
use super::params::Params;
use super::problem::{Problem, with_type};
use super::route::Route;
use super::server::Answering;
use super::spawned::Spawned;
use crate::config::Config;
use crate::control::Answers;
use crate::control::api::FailureCode;
use crate::hosting;
use crate::metrics::Level;
use crate::reads::{Elsewhere, Place, Read};
use crate::shared::SharedRef;
use crate::submit::Submitter;

/// How long any request may take: fetch of Node gives up after 300 s.
const REQUEST_WAIT: Duration = Duration::from_secs(280);

/// Whole items that are read and given at once.
const ITEMS_MAX: usize = 8;

/// How long a process is looked for: the search goes on where somebody is silent, and who asks again finds
/// what it found.
const FIND_WAIT: Duration = Duration::from_secs(15);

/// A turn to give one.
pub(super) type ItemTurn = Arc<OwnedSemaphorePermit>;

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
    pub(super) guard: Guard,
    pub(super) schema: Schema,
    /// Turns to answer queries.
    pub(super) queries: Arc<Semaphore>,
    /// Places of queries that ask peers.
    pub(super) asking: Arc<Semaphore>,
    /// Places of memories that are given.
    pub(super) states: Arc<Semaphore>,
    /// Turns to give whole items.
    pub(super) items: Arc<Semaphore>,
    /// Dry runs at other nodes, by process.
    pub(super) runs_elsewhere: RunsElsewhere,
    /// What clients spawned through this node where it does nothing else for it.
    pub(super) spawned: Spawned,
    /// Turns to read messages of dry runs whose data is no text.
    pub(super) structured: Semaphore,
    /// Held by whoever changes what is monitored.
    pub(super) monitoring: tokio::sync::Mutex<()>,
}

impl std::ops::Deref for Desk {
    type Target = DeskParts;

    fn deref(&self) -> &DeskParts {
        &self.0
    }
}

impl Answering for Desk {
    async fn answer(&self, request: Request<Body>) -> (Response, AnswerShare) {
        self.answer_one(request).await
    }
}

impl Desk {
    /// A desk of this node.
    pub(crate) fn new(shared: SharedRef, submitter: Submitter, answers: Answers) -> Self {
        let (bodies, headers) = (Bodies::new(&shared.metrics, "gateway"), Headers::new(&shared.metrics));
        let Config { gateway_cors, gateway_hosts, gateway_url, .. } = &shared.config;
        let guard = Guard::new(gateway_cors.clone(), gateway_hosts.clone(), gateway_url.clone());
        let (elsewhere, schema) = (Elsewhere::default(), graphql::schema());
        let listeners = Arc::new(Semaphore::new(LISTENERS_MAX));
        shared.metrics.watch(Level::permits("gateway", "listeners", &listeners, LISTENERS_MAX));
        let queries = Arc::new(Semaphore::new(QUERIES_MAX));
        shared.metrics.watch(Level::permits("gateway", "queries", &queries, QUERIES_MAX));
        let states = Arc::new(Semaphore::new(STATES_MAX));
        shared.metrics.watch(Level::permits("gateway", "states", &states, STATES_MAX));
        let spawned = Spawned::read(&shared);
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
            asking: Arc::new(Semaphore::new(ASKING_MAX)),
            states,
            items: Arc::new(Semaphore::new(ITEMS_MAX)),
            runs_elsewhere: RunsElsewhere::default(),
            spawned,
            structured: Semaphore::new(STRUCTURED_MAX),
            monitoring: tokio::sync::Mutex::default(),
        }))
    }

    async fn answer_one(&self, request: Request<Body>) -> (Response, AnswerShare) {
        let (parts, body) = request.into_parts();
        let work = Box::pin(self.shared_out(&parts, body));
        answered(&self.guard, &parts, REQUEST_WAIT, work).await
    }

    /// Answers it within what answers may take of the memory.
    async fn shared_out(&self, parts: &Parts, body: Body) -> Result<(Response, AnswerShare), Problem> {
        let params = Params::of(&parts.uri)?;
        let route = Route::of(&parts.method, parts.uri.path(), &params)?;
        let mut response = self.dispatch(route, parts, &params, body).await?;
        // Who made a whole item into an answer keeps others from it until this one has its share.
        let _turn = response.extensions_mut().remove::<ItemTurn>();
        let bytes = response.body().size_hint().exact().unwrap_or_default();
        let share = self.bodies.share_of_answer(bytes).await?;
        Ok((response, share))
    }

    async fn dispatch(
        &self,
        route: Route,
        parts: &Parts,
        params: &Params,
        body: Body,
    ) -> Result<Response, Problem> {
        match route {
            Route::Root => Ok(self.root()),
            Route::Health => Ok(with_type(StatusCode::OK, "text/plain", Body::empty())),
            Route::Submit => self.submit(body).await,
            Route::Assign { process, item, base_layer, exclude } => {
                self.assign(process, item, base_layer, &exclude).await
            }
            Route::Monitor { process, on } => self.monitor(process, on, body).await,
            Route::Result { process, of } => self.result(process, of).await,
            Route::Results { process, query } => self.results(process, query).await,
            Route::DryRun { process, to } => self.dry_run(process, to, body).await,
            Route::Events { process, from } => self.events(process, from, &parts.headers).await,
            Route::State { process, to } => self.state(process, to).await,
            Route::Page { process, span, limit } => self.page(process, span, limit).await,
            Route::Message { process, id } => self.message(process, id).await,
            Route::Process { process } => self.process(process).await,
            Route::Timestamp => Ok(self.timestamp()),
            Route::HyperBeam(ask) => self.hyperbeam(ask, body).await,
            Route::GraphQl => self.graphql(parts, params, body).await,
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
        let here = |read| self.answers.read_here(process, read);
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
