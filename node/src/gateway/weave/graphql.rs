//! GraphQL of the weave: items by owner, target, tags, batch and height, each named with the batch that
//! brought it. The types are those of the gateway's schema, and the limits too.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::http::StatusCode;
use axum::response::Response;
use juniper::{
    EmptyMutation, EmptySubscription, FieldError, FieldResult, ID, RootNode, Value, graphql_object,
};
use weft_protocol::{DataItem, Hash, Id};
use weft_storage::anchor::{self, Cursor, ItemRef, TagQuery};

use super::super::find::{self, Header};
use super::super::graphql::types::{
    Block, BlockFilter, Connection, Edge, PageInfo, SortOrder, TagFilter, TagOperator, Transaction,
};
use super::super::graphql::{PAGE_BYTES_MAX, Query as Text, SEARCHES_MAX, heights};
use super::super::problem;
use super::{Waits, WeaveDesk};

/// Edges of a page unless a client says otherwise, and of any: as gateways of Arweave have them.
const FIRST: usize = 10;
const FIRST_MAX: usize = 100;
/// Times that the weave is searched on for a page that has nothing yet: each looks at ten thousand places.
const ROUNDS_MAX: usize = 20;

type Root = RootNode<Query, EmptyMutation<Asked>, EmptySubscription<Asked>>;

/// What can be asked.
#[derive(Clone)]
pub(super) struct Schema(Arc<Root>);

/// The one schema.
pub(super) fn schema() -> Schema {
    Schema(Arc::new(Root::new(Query, EmptyMutation::new(), EmptySubscription::new()).disable_introspection()))
}

/// Who answers a query.
pub(super) struct Asked {
    desk: WeaveDesk,
    words: usize,
    searches: AtomicUsize,
    waits: Waits,
}

impl juniper::Context for Asked {}

impl WeaveDesk {
    /// Answers a query, for as long as somebody waits for it. Blocks on the disk.
    pub(super) fn graphql(&self, Text { request, words }: Text, waits: Waits) -> Response {
        let asked = Asked { desk: self.clone(), words, searches: AtomicUsize::new(0), waits };
        problem::json(StatusCode::OK, &request.execute_sync(&self.0.schema.0, &asked))
    }
}

impl Asked {
    /// Ends a query that nobody waits for: one may look through much of the weave, and has the turn of another.
    fn goes_on(&self) -> FieldResult<()> {
        if self.waits.go_on() { Ok(()) } else { Err(error("nobody waits for the answer any more")) }
    }

    /// Counts one more search.
    fn search(&self) -> FieldResult<&anchor::LocalWeave> {
        self.goes_on()?;
        if self.searches.fetch_add(1, Ordering::Relaxed) >= SEARCHES_MAX {
            return Err(error(format!("a query may search {SEARCHES_MAX} times")));
        }
        Ok(&self.desk.0.weave)
    }
}

/// The queries.
pub(super) struct Query;

#[graphql_object(context = Asked)]
impl Query {
    /// An item or a batch.
    fn transaction(context: &Asked, id: ID) -> FieldResult<Option<Transaction>> {
        let weave = context.search()?;
        let Ok(id) = id.parse::<Id>() else { return Ok(None) };
        Ok(one(weave, id)?.map(|edge| edge.node))
    }

    /// Items and batches by their ids, or items by what stands in them.
    #[allow(clippy::too_many_arguments)]
    fn transactions(
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
        let weave = context.search()?;
        let first = first.map_or(FIRST, |first| usize::try_from(first).unwrap_or_default()).min(FIRST_MAX);
        let lists = [owners.unwrap_or_default(), recipients.unwrap_or_default()];
        let ids = ids.unwrap_or_default();
        let bundles = bundled_in.unwrap_or_default();
        if !ids.is_empty() {
            if lists.iter().any(|list| !list.is_empty()) || tags.is_some() || !bundles.is_empty() {
                return Err(error("`ids` cannot be combined with other filters"));
            }
            let named = ids.iter().take(first).filter_map(|id| id.parse().ok());
            let found = named.map(|id| one(weave, id)).collect::<FieldResult<Vec<_>>>()?;
            let edges = found.into_iter().flatten().collect();
            return Ok(Connection { page_info: PageInfo { has_next_page: false }, edges });
        }
        let [owners, recipients] = lists;
        let bundles: Vec<String> = bundles.into_iter().map(|id| id.to_string()).collect();
        let (min, max) = heights(block);
        // Of a list of which nothing is an id, nothing can be found.
        let is_void = [&owners, &recipients, &bundles]
            .into_iter()
            .any(|list| !list.is_empty() && !list.iter().any(|text| text.parse::<Id>().is_ok()));
        let query = TagQuery {
            owners: parsed(&owners),
            targets: parsed(&recipients),
            tags: tags.unwrap_or_default().into_iter().map(filter).collect::<FieldResult<_>>()?,
            batches: parsed(&bundles),
            min_height: min.unwrap_or_default(),
            max_height: max,
            newest_first: !sort.is_some_and(SortOrder::is_ascending),
        };
        if is_void {
            return Ok(Connection { page_info: PageInfo { has_next_page: false }, edges: Vec::new() });
        }
        page(context, weave, query, first, after)
    }

    /// A block by its hash, or the newest.
    fn block(context: &Asked, id: Option<ID>) -> FieldResult<Option<Block>> {
        let weave = context.search()?;
        let found = match id.map(|id| id.parse::<Hash>()) {
            None => Some(weave.newest_block().map_err(told)?),
            Some(Ok(hash)) => weave.block_by_hash(&hash).map_err(told)?,
            Some(Err(_)) => None,
        };
        Ok(found.as_ref().map(Block::of_weave))
    }
}

/// Looks for one page.
fn page(
    context: &Asked,
    weave: &anchor::LocalWeave,
    query: TagQuery,
    first: usize,
    after: Option<String>,
) -> FieldResult<Connection> {
    let bytes_max = PAGE_BYTES_MAX / context.words.max(1);
    let none = || Connection { page_info: PageInfo { has_next_page: false }, edges: Vec::new() };
    let mut from = None;
    if let Some(after) = after.filter(|after| !after.is_empty()) {
        let after: Cursor = after.parse().map_err(|_| error("`after` is not a cursor of a page"))?;
        let Some(next) = after.beyond(query.newest_first) else { return Ok(none()) };
        from = Some(next);
    }
    let mut found = Vec::new();
    // One more than is shown says whether more follow.
    let wanted = first + 1;
    for _ in 0..ROUNDS_MAX {
        context.goes_on()?;
        let part = weave.find_now(&query, from, wanted - found.len()).map_err(told)?;
        found.extend(part.items);
        from = part.next;
        if from.is_none() || found.len() >= wanted {
            break;
        }
    }
    if found.is_empty() && from.is_some() {
        return Err(error("there is too much to look through; name an owner, a recipient or a tag"));
    }
    let mut more = from.is_some() || found.len() > first;
    found.truncate(first);
    // One after the other: each may have ten megabytes, of which its header is what is kept.
    let header = |found| {
        context.goes_on()?;
        item(weave, found).map(|item| Header::of(item.claims(), None))
    };
    let mut headers = found.iter().map(header).collect::<FieldResult<Vec<Header>>>()?;
    if !headers.is_empty() {
        more |= find::cut(&mut headers, bytes_max);
    }
    let shown = found.iter().zip(&headers);
    let edges = shown.map(|(found, header)| edge(weave, found, header)).collect::<FieldResult<_>>()?;
    Ok(Connection { page_info: PageInfo { has_next_page: more }, edges })
}

/// An item or a batch under an id.
fn one(weave: &anchor::LocalWeave, id: Id) -> FieldResult<Option<Edge>> {
    if let Some(found) = weave.found(&id).map_err(told)? {
        let item = item(weave, &found)?;
        return edge(weave, &found, &Header::of(item.claims(), None)).map(Some);
    }
    let Some(placed) = weave.placed(&Hash(id.0)).map_err(told)? else { return Ok(None) };
    let bytes = placed.range.end - placed.range.start;
    let node = Transaction::of_batch(placed.data_root, bytes, Block::of_weave(&placed.block));
    Ok(Some(Edge { cursor: String::new(), node }))
}

fn item(weave: &anchor::LocalWeave, found: &ItemRef) -> FieldResult<weft_protocol::Unverified<DataItem>> {
    let raw = weave.item_now(&found.id).map_err(told)?;
    let raw = raw.ok_or_else(|| error("an item is gone from this weave"))?;
    DataItem::parse(raw).map_err(error)
}

fn edge(weave: &anchor::LocalWeave, found: &ItemRef, header: &Header) -> FieldResult<Edge> {
    let block = weave.block(found.height).map_err(told)?.ok_or_else(|| error("a block is missing"))?;
    let node = Transaction::in_batch(header, found.batch, Block::of_weave(&block));
    Ok(Edge { cursor: found.place.to_string(), node })
}

fn parsed<T: std::str::FromStr>(list: &[String]) -> Vec<T> {
    list.iter().filter_map(|text| text.parse().ok()).collect()
}

fn filter(TagFilter { name, values, op }: TagFilter) -> FieldResult<anchor::TagFilter> {
    let values = values.unwrap_or_default();
    if op == Some(TagOperator::Neq) || values.is_empty() {
        return Err(error("tags can be searched only by the values that they have: give some, and no `NEQ`"));
    }
    Ok(anchor::TagFilter { name, values })
}

fn error(text: impl fmt::Display) -> FieldError {
    FieldError::new(text, Value::null())
}

fn told(error: anchor::AnchorError) -> FieldError {
    FieldError::new(error, Value::null())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use juniper::http::GraphQLRequest;
    use weft_protocol::crypto::Signer;
    use weft_storage::{MemoryDisk, Store, StoreConfig};

    use super::super::Waiter;
    use super::*;
    use crate::shared::testing;

    #[tokio::test]
    async fn a_query_ends_with_whoever_waits_for_it() {
        let folder = tempfile::tempdir().unwrap();
        let signer = Signer::from_seed(&[9; 32]);
        let config = StoreConfig::new(testing::NETWORK, signer.address());
        let store = Store::open_with_backend(MemoryDisk::new(), &config).unwrap();
        let desk = WeaveDesk::new(&testing::shared(folder.path(), signer, store));
        let ask = |waiter: &Waiter| {
            let query = "{transactions(tags:[{name:\"a\",values:[\"b\"]}]){edges{node{id}}}}".to_owned();
            let request = GraphQLRequest::new(query, None, None);
            let asked =
                Asked { desk: desk.clone(), words: 1, searches: AtomicUsize::new(0), waits: waiter.waits() };
            serde_json::to_value(request.execute_sync(&desk.0.schema.0, &asked)).unwrap()
        };
        let waiter = Waiter::default();
        assert_eq!(ask(&waiter)["data"]["transactions"]["edges"], serde_json::json!([]));
        let waits = waiter.waits();
        drop(waiter);
        assert!(!waits.go_on());
        let gone = Waiter(Arc::clone(&waits.0));
        let told = ask(&gone)["errors"][0]["message"].to_string();
        assert!(told.contains("nobody waits"), "{told}");
    }
}
