//! GraphQL queries as the weave's gateways answer them, of what this node knows.
//!
//! An unknown id is no error: there are no edges then. A query is measured before it is read, and may
//! search a few times; the schema cannot be asked for itself, as that has no end.

mod measure;
pub(super) mod types;

use std::collections::BTreeSet;
use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use axum::body::Body;
use axum::http::request::Parts;
use axum::http::{Method, StatusCode};
use axum::response::Response;
use juniper::http::GraphQLRequest;
use juniper::{
    EmptyMutation, EmptySubscription, FieldError, FieldResult, ID, RootNode, Value, graphql_object,
};
use serde_json::json;
use tokio::runtime::Handle;
use tokio::sync::OwnedSemaphorePermit;
use tokio_util::sync::CancellationToken;
use weft_protocol::Id;

use super::arweave::{height_now, height_of};
use super::body::{Bodies, QUERY_BYTES_MAX};
use super::desk::Desk;
use super::find::{self, Filter, Findings, Header, Key, Order, TagRule};
use super::params::Params;
use super::problem::{self, Problem};
use types::{
    Block, BlockConnection, BlockEdge, BlockFilter, Connection, Edge, PageInfo, SortOrder, TagFilter,
    TagOperator, Transaction,
};

/// Edges of a page unless a client says otherwise, and of any.
const FIRST: usize = 10;
const FIRST_MAX: usize = 1_000;
/// Fields of a query that search.
pub(super) const SEARCHES_MAX: usize = 5;
/// Fields of one answer, about: edges of a page times the words of the query.
const FIELDS_MAX: usize = 100_000;
/// Bytes of one page, about: those of its headers, for each word that may show them.
pub(super) const PAGE_BYTES_MAX: usize = 32 * 1024 * 1024;
/// Queries that are answered at once; one more waits. Each takes a thread and some megabytes.
pub(super) const QUERIES_MAX: usize = 4;

/// Queries that ask peers at once; one more is told to come back. Each has a thread that waits.
pub(super) const ASKING_MAX: usize = 16;

/// What a query holds until it is answered.
enum Turn {
    Ours(#[allow(dead_code)] OwnedSemaphorePermit),
    Asking(#[allow(dead_code)] OwnedSemaphorePermit),
}

/// What can be asked.
type Root = RootNode<Queries, EmptyMutation<Asked>, EmptySubscription<Asked>>;

/// What can be asked, and how.
pub(super) struct Schema(Root);

impl fmt::Debug for Schema {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Schema").finish_non_exhaustive()
    }
}

/// The one schema.
pub(super) fn schema() -> Schema {
    Schema(Root::new(Queries, EmptyMutation::new(), EmptySubscription::new()).disable_introspection())
}

/// Who answers a query, and under which address it was asked.
pub(super) struct Asked {
    desk: Desk,
    base: String,
    /// The turn to be answered, or the place among those that ask peers.
    turn: Mutex<Turn>,
    /// Words of the query: no field is shown more often than that.
    words: usize,
    searches: AtomicUsize,
}

impl juniper::Context for Asked {}

impl Asked {
    /// Counts one more search.
    fn search(&self) -> FieldResult<&Desk> {
        if self.searches.fetch_add(1, Ordering::Relaxed) >= SEARCHES_MAX {
            return Err(error(format!("a query may search {SEARCHES_MAX} times")));
        }
        Ok(&self.desk)
    }

    /// Headers by ids.
    async fn headers_of(&self, ids: BTreeSet<Id>) -> FieldResult<Vec<Header>> {
        let (mut found, missing) = self.desk.headers_here(ids).await.map_err(told)?;
        if !missing.is_empty() {
            self.asks_peers()?;
            found.extend(self.desk.headers_elsewhere(missing).await.map_err(told)?);
        }
        Ok(found)
    }

    /// Leaves its turn to others, for good, as peers take their time. Fields are answered beside each other:
    /// one that waited for a second turn could wait for its own query.
    fn asks_peers(&self) -> FieldResult<()> {
        let mut turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        if let Turn::Ours(_) = &*turn {
            let busy = |_| error(format!("{ASKING_MAX} queries ask peers already; try again"));
            *turn = Turn::Asking(Arc::clone(&self.desk.asking).try_acquire_owned().map_err(busy)?);
        }
        Ok(())
    }

    /// How many edges a page has, at most as many as the answer may have fields for.
    fn limit(&self, first: Option<i32>) -> usize {
        let first = first.map_or(FIRST, |first| usize::try_from(first).unwrap_or_default());
        first.min(FIRST_MAX).min((FIELDS_MAX / self.words.max(1)).max(1))
    }
}

/// A query that is not too large.
pub(super) struct Query {
    pub(super) request: GraphQLRequest,
    /// Words of it: no field is shown more often than that.
    pub(super) words: usize,
}

/// Reads a query, in the body of a POST or the parameters of a GET.
///
/// # Errors
/// It is no query, or too large a one.
pub(super) async fn asked(
    bodies: &Bodies,
    parts: &Parts,
    params: &Params,
    body: Body,
) -> Result<Query, Problem> {
    let request: GraphQLRequest = if parts.method == Method::POST {
        let body = bodies.read(body, QUERY_BYTES_MAX).await?;
        serde_json::from_slice(&body.bytes)
            .map_err(|error| Problem::invalid(format!("the query: {error}")))?
    } else {
        let query = params.get("query").ok_or_else(|| Problem::invalid("`query` is missing"))?;
        let variables: serde_json::Value = serde_json::from_str(params.get("variables").unwrap_or("{}"))
            .map_err(|error| Problem::invalid(format!("`variables`: {error}")))?;
        serde_json::from_value(json!({ "query": query, "variables": variables }))
            .map_err(|error| Problem::invalid(format!("the query: {error}")))?
    };
    let words = measure::words(&request.query).map_err(Problem::invalid)?;
    Ok(Query { request, words })
}

impl Desk {
    /// Answers a query, in the body of a POST or the parameters of a GET.
    pub(super) async fn graphql(
        &self,
        parts: &Parts,
        params: &Params,
        body: Body,
    ) -> Result<Response, Problem> {
        let Query { request, words } = asked(&self.bodies, parts, params, body).await?;
        let base = self.guard.base(&parts.headers);
        let turn = Arc::clone(&self.queries).acquire_owned().await.map_err(Problem::fault)?;
        let (desk, turn, searches) = (self.clone(), Mutex::new(Turn::Ours(turn)), AtomicUsize::new(0));
        let asked = Asked { desk, base, turn, words, searches };
        let runtime = Handle::current();
        // Who hangs up is not answered any more.
        let gone = CancellationToken::new();
        let _here = gone.clone().drop_guard();
        // Reading a query and writing its answer is work, and not waiting.
        let answer = tokio::task::spawn_blocking(move || {
            let execute = request.execute(&asked.desk.schema.0, &asked);
            let answer = runtime.block_on(gone.run_until_cancelled(execute))?;
            Some(problem::json(StatusCode::OK, &answer))
        });
        let nobody = || Problem::fault("nobody waits for it any more");
        answer.await.map_err(Problem::fault)?.ok_or_else(nobody)
    }
}

/// The queries.
pub(super) struct Queries;

#[graphql_object(context = Asked, name = "Query")]
impl Queries {
    /// One item.
    async fn transaction(context: &Asked, id: ID) -> FieldResult<Option<Transaction>> {
        let desk = context.search()?;
        let Ok(id) = id.parse::<Id>() else { return Ok(None) };
        let found = context.headers_of(BTreeSet::from([id])).await?;
        Ok(found.first().map(|header| Transaction::of(header, height_now(desk))))
    }

    /// Items by their ids, or by what stands in them.
    #[allow(clippy::too_many_arguments)]
    async fn transactions(
        context: &Asked,
        ids: Option<Vec<ID>>,
        owners: Option<Vec<String>>,
        recipients: Option<Vec<String>>,
        tags: Option<Vec<TagFilter>>,
        bundled_in: Option<Vec<ID>>,
        block: Option<BlockFilter>,
        first: Option<i32>,
        after: Option<String>,
        sort: Option<SortOrder>,
    ) -> FieldResult<Connection> {
        let desk = context.search()?;
        let (first, after) = (context.limit(first), after_of(after)?);
        let order = Order { ascending: sort.is_some_and(SortOrder::is_ascending), after };
        let (min, max) = heights(block);
        let filter = Filter {
            owners: owners.unwrap_or_default(),
            recipients: recipients.unwrap_or_default(),
            tags: tags.unwrap_or_default().into_iter().map(rule).collect(),
            min,
            max,
        };
        let mut found = Findings::new(order, first);
        match ids.filter(|ids| !ids.is_empty()) {
            // Nothing here stands in a bundle that has a name.
            _ if bundled_in.is_some_and(|bundles| !bundles.is_empty()) => {}
            Some(ids) => {
                let ids = ids.iter().take(FIRST_MAX).filter_map(|id| id.parse().ok()).collect();
                let named = context.headers_of(ids).await?;
                found.add(named.into_iter().filter(|header| filter.takes(header)));
            }
            None => {
                if desk.asks_for_schedulers(&filter) {
                    context.asks_peers()?;
                }
                found = desk.search(filter, found, &context.base).await.map_err(told)?;
            }
        }
        let is_cut = found.is_cut();
        let (mut page, more) = found.page();
        if page.is_empty() && is_cut {
            return Err(error("there is too much to look through; name a recipient or a range of heights"));
        }
        let has_next_page = find::cut(&mut page, PAGE_BYTES_MAX / context.words.max(1)) || more;
        let now = height_now(desk);
        Ok(Connection {
            page_info: PageInfo { has_next_page },
            edges: page.iter().map(|header| edge(header, now)).collect(),
        })
    }

    /// A block of the weave `clock` by its id, or the newest.
    fn block(context: &Asked, id: Option<ID>) -> FieldResult<Option<Block>> {
        let now = height_now(context.search()?);
        let named = |id: ID| height_of(&id).filter(|height| *height <= now);
        Ok(id.map_or(Some(now), named).map(Block::at))
    }

    /// Blocks of the weave `clock`, by their ids or between heights: a height is a function of the time.
    fn blocks(
        context: &Asked,
        ids: Option<Vec<ID>>,
        height: Option<BlockFilter>,
        first: Option<i32>,
        after: Option<String>,
        sort: Option<SortOrder>,
    ) -> FieldResult<BlockConnection> {
        let now = height_now(context.search()?);
        let (min, max) = heights(height);
        let (mut low, mut high) = (min.unwrap_or_default(), max.unwrap_or(now).min(now));
        let ascending = sort.is_some_and(SortOrder::is_ascending);
        if let Some(after) = after.filter(|after| !after.is_empty()) {
            let after: u64 =
                after.parse().map_err(|_| error("`after` is not a cursor of a page of blocks"))?;
            if ascending {
                low = low.max(after.saturating_add(1));
            } else {
                // Nothing stands before block 0.
                (low, high) = if after == 0 { (1, 0) } else { (low, high.min(after - 1)) };
            }
        }
        let first = context.limit(first);
        // One more than is shown says whether more follow.
        let mut found: Vec<u64> = match (ids.filter(|ids| !ids.is_empty()), ascending) {
            (Some(ids), _) => {
                let named = ids.iter().take(FIRST_MAX).filter_map(|id| height_of(id));
                let named: BTreeSet<u64> = named.filter(|height| (low..=high).contains(height)).collect();
                if ascending { named.into_iter().collect() } else { named.into_iter().rev().collect() }
            }
            (None, true) => (low..=high).take(first + 1).collect(),
            (None, false) => (low..=high).rev().take(first + 1).collect(),
        };
        let has_next_page = found.len() > first;
        found.truncate(first);
        let edge = |height: u64| BlockEdge { cursor: height.to_string(), node: Block::at(height) };
        let edges = found.into_iter().map(edge).collect();
        Ok(BlockConnection { page_info: PageInfo { has_next_page }, edges })
    }
}

fn error(text: impl fmt::Display) -> FieldError {
    FieldError::new(text, Value::null())
}

fn told(problem: Problem) -> FieldError {
    error(problem.text)
}

/// The range of heights. A lower limit below none is as good as no limit; nothing stands below such an upper one.
pub(super) fn heights(range: Option<BlockFilter>) -> (Option<u64>, Option<u64>) {
    let BlockFilter { min, max } = range.unwrap_or_default();
    if max.is_some_and(|max| max < 0) {
        return (Some(u64::MAX), Some(0));
    }
    let height = |height: Option<i32>| height.and_then(|height| u64::try_from(height).ok());
    (height(min), height(max))
}

fn after_of(after: Option<String>) -> FieldResult<Option<Key>> {
    let after = after.filter(|after| !after.is_empty());
    after
        .map(|after| Key::parse(&after).ok_or_else(|| error("`after` is not a cursor of a page")))
        .transpose()
}

fn rule(TagFilter { name, values, op }: TagFilter) -> TagRule {
    TagRule { name, values: values.unwrap_or_default(), not: op == Some(TagOperator::Neq) }
}

fn edge(header: &Header, now: u64) -> Edge {
    Edge { cursor: header.cursor(), node: Transaction::of(header, now) }
}
