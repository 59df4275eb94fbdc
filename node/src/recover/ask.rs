//! What gateways are asked in GraphQL, and what is read of their answers. Pure. The words of a gateway name
//! places to look at; what stands there is judged by its own bytes.

use std::ops::Range;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use serde::Deserialize;
use serde_json::{Value, json};
use weft_protocol::bundle::BUNDLE_TAGS;
use weft_protocol::crypto::SignatureType;
use weft_protocol::{Address, DataItem, Draft, Id, Tag, Verified, tag};
use weft_storage::anchor::{AnchorError, Cursor, ItemRef, LocalWeave, TagFilter, TagQuery};

use crate::portable::checkpoint::CHECKPOINT_TYPE;

/// Slots that one question is about: a gateway that lists items one by one lists so many at once.
const SLOTS_ASKED: u64 = 50;
/// Edges of a page, the most that gateways give.
const EDGES_MAX: usize = 100;

/// What is asked of every item.
const NODE: &str = "pageInfo{hasNextPage} edges{cursor node{id anchor signature recipient owner{key} \
                    tags{name value} data{size} block{height} bundledIn{id}}}";

/// What a gateway is asked to list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Question {
    /// The assignments of these slots, signed by the scheduler: whoever could inject others would be listed beside
    /// them.
    Assignments { process: Id, scheduler: Address, slots: Range<u64> },
    /// The newest assignment.
    Newest { process: Id, scheduler: Address },
    /// What such items carry beside the slots of a process, signed by one of these if any are named; from the oldest
    /// on, or from the newest.
    Beside {
        process: Id,
        kind: &'static str,
        signers: Vec<Address>,
        newest_first: bool,
        after: Option<String>,
    },
    /// The newest checkpoints of a process, signed by one of these.
    Checkpoints { process: Id, signers: Vec<Address> },
    /// The slots 0 that a key signed.
    Openings { scheduler: Address, after: Option<String> },
    /// An item.
    Item(Id),
    /// The bundles in a block: some gateways do not say which of them an item is in.
    Bundles { height: u64 },
}

impl Question {
    /// The assignments from a slot on.
    pub(super) fn of_slots(process: Id, scheduler: Address, slot: u64) -> Self {
        Self::Assignments { process, scheduler, slots: slot..slot.saturating_add(SLOTS_ASKED) }
    }

    /// In GraphQL.
    pub(super) fn to_json(&self) -> Value {
        let of_process = "{name:\"Data-Protocol\",values:[\"ao\"]},{name:\"Type\",values:[\"Assignment\"]},\
                          {name:\"Process\",values:$p}";
        let (query, variables) = match self {
            Self::Assignments { process, scheduler, slots } => {
                let slots: Vec<String> = slots.clone().map(|slot| slot.to_string()).collect();
                let query = format!(
                    "query($p:[String!]!,$o:[String!]!,$n:[String!]!){{transactions(first:{EDGES_MAX},sort:HEIGHT_ASC,\
                     owners:$o,tags:[{of_process},{{name:\"Nonce\",values:$n}}]){{{NODE}}}}}"
                );
                (query, json!({ "p": [process], "o": [scheduler], "n": slots }))
            }
            Self::Newest { process, scheduler } => {
                let query = format!(
                    "query($p:[String!]!,$o:[String!]!){{transactions(first:1,sort:HEIGHT_DESC,owners:$o,\
                     tags:[{of_process}]){{{NODE}}}}}"
                );
                (query, json!({ "p": [process], "o": [scheduler] }))
            }
            Self::Beside { process, kind, signers, newest_first, after } => {
                let tags = [("Type", (*kind).to_owned()), ("Process", process.to_string())];
                paged(signers, &tags, *newest_first, after.as_deref())
            }
            Self::Checkpoints { process, signers } => {
                let query = format!(
                    "query($p:[String!]!,$o:[String!]!){{transactions(first:10,sort:HEIGHT_DESC,owners:$o,\
                     tags:[{{name:\"Type\",values:[\"{CHECKPOINT_TYPE}\"]}},{{name:\"Process\",values:$p}}]){{{NODE}}}}}"
                );
                (query, json!({ "p": [process], "o": signers }))
            }
            Self::Openings { scheduler, after } => paged(&[*scheduler], &openings(), false, after.as_deref()),
            Self::Bundles { height } => {
                let tags =
                    BUNDLE_TAGS.map(|(name, value)| format!("{{name:\"{name}\",values:[\"{value}\"]}}"));
                let query = format!(
                    "query($h:Int!){{transactions(first:{EDGES_MAX},block:{{min:$h,max:$h}},tags:[{}]){{{NODE}}}}}",
                    tags.join(",")
                );
                (query, json!({ "h": height }))
            }
            Self::Item(id) => {
                (format!("query($i:[ID!]!){{transactions(ids:$i,first:1){{{NODE}}}}}"), json!({ "i": [id] }))
            }
        };
        json!({ "query": query, "variables": variables })
    }

    /// Looks on the weave of this node. Blocks on the disk.
    ///
    /// # Errors
    /// The disk.
    pub(super) fn look(&self, weave: &LocalWeave) -> Result<Vec<Listed>, AnchorError> {
        let tag = |name: &str, value: &dyn ToString| TagFilter::new(name, value.to_string());
        let of = |process: &Id| {
            vec![tag("Data-Protocol", &"ao"), tag("Type", &"Assignment"), tag("Process", process)]
        };
        let mut from = None;
        let (query, limit) = match self {
            Self::Item(id) => return Ok(weave.found(id)?.map(Listed::here).into_iter().collect()),
            // Here every item says which one it is in.
            Self::Bundles { .. } => return Ok(Vec::new()),
            Self::Assignments { process, scheduler, slots } => {
                let values = slots.clone().map(|slot| slot.to_string()).collect();
                let mut tags = of(process);
                tags.push(TagFilter { name: "Nonce".into(), values });
                (TagQuery { owners: vec![*scheduler], tags, ..TagQuery::default() }, EDGES_MAX)
            }
            Self::Beside { process, kind, signers, newest_first, after } => {
                let tags = vec![tag("Type", kind), tag("Process", process)];
                let newest_first = *newest_first;
                from = beyond(after.as_deref(), newest_first);
                let owners = signers.clone();
                (TagQuery { owners, tags, newest_first, ..TagQuery::default() }, EDGES_MAX)
            }
            Self::Checkpoints { process, signers } => {
                let tags = vec![tag("Type", &CHECKPOINT_TYPE), tag("Process", process)];
                (TagQuery { owners: signers.clone(), tags, newest_first: true, ..TagQuery::default() }, 10)
            }
            Self::Openings { scheduler, after } => {
                let tags = openings().map(|(name, value)| tag(name, &value)).into();
                from = beyond(after.as_deref(), false);
                (TagQuery { owners: vec![*scheduler], tags, ..TagQuery::default() }, EDGES_MAX)
            }
            Self::Newest { process, scheduler } => {
                let (owners, tags) = (vec![*scheduler], of(process));
                (TagQuery { owners, tags, newest_first: true, ..TagQuery::default() }, 1)
            }
        };
        let mut found = Vec::new();
        // A page may be short of its limit and yet have a next.
        while found.len() < limit {
            let page = weave.find_now(&query, from, limit - found.len())?;
            found.extend(page.items.into_iter().map(Listed::here));
            let Some(next) = page.next else { break };
            from = Some(next);
        }
        Ok(found)
    }
}

/// The tags of an assignment of slot 0.
fn openings() -> [(&'static str, String); 3] {
    [("Data-Protocol", "ao"), ("Type", "Assignment"), ("Nonce", "0")]
        .map(|(name, value)| (name, value.to_owned()))
}

/// A page of items with these tags, of these owners if any are named.
fn paged(
    owners: &[Address],
    tags: &[(&str, String)],
    newest_first: bool,
    after: Option<&str>,
) -> (String, Value) {
    let tags = tags.iter().map(|(name, value)| format!("{{name:\"{name}\",values:[\"{value}\"]}}"));
    let tags = tags.collect::<Vec<_>>().join(",");
    let (mut declared, mut filters, mut variables) = (Vec::new(), String::new(), json!({}));
    if !owners.is_empty() {
        declared.push("$o:[String!]!");
        filters.push_str("owners:$o,");
        variables["o"] = json!(owners);
    }
    if let Some(after) = after {
        declared.push("$a:String!");
        filters.push_str("after:$a,");
        variables["a"] = json!(after);
    }
    let declared = if declared.is_empty() { String::new() } else { format!("({})", declared.join(",")) };
    let sort = if newest_first { "HEIGHT_DESC" } else { "HEIGHT_ASC" };
    let query = format!(
        "query{declared}{{transactions(first:{EDGES_MAX},sort:{sort},{filters}tags:[{tags}]){{{NODE}}}}}"
    );
    (query, variables)
}

/// The place after a cursor of this node's own weave.
fn beyond(after: Option<&str>, newest_first: bool) -> Option<Cursor> {
    after?.parse().ok().and_then(|at: Cursor| at.beyond(newest_first))
}

/// What is read of an answer.
#[derive(Debug, Deserialize)]
struct Answer {
    transactions: Page,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Page {
    edges: Vec<Edge>,
}

#[derive(Debug, Deserialize)]
struct Edge {
    #[serde(default)]
    cursor: Option<String>,
    node: Node,
}

/// Whatever a gateway leaves out is empty.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Node {
    id: Id,
    #[serde(default)]
    anchor: Option<String>,
    #[serde(default)]
    signature: Option<String>,
    #[serde(default)]
    recipient: Option<String>,
    #[serde(default)]
    owner: Option<Owner>,
    #[serde(default)]
    tags: Vec<ListedTag>,
    #[serde(default)]
    data: Option<Size>,
    #[serde(default)]
    block: Option<BlockAt>,
    #[serde(default)]
    bundled_in: Option<Parent>,
}

#[derive(Debug, Deserialize)]
struct Owner {
    #[serde(default)]
    key: Option<String>,
}

#[derive(Debug, Deserialize)]
struct ListedTag {
    name: String,
    value: String,
}

#[derive(Debug, Deserialize)]
struct Size {
    size: Value,
}

#[derive(Debug, Deserialize)]
struct BlockAt {
    height: u64,
}

#[derive(Debug, Deserialize)]
struct Parent {
    id: Id,
}

/// An item as a gateway lists it.
#[derive(Debug, Clone)]
pub(super) struct Listed {
    /// Its id.
    pub(super) id: Id,
    /// The bundle that it is said to be in.
    pub(super) bundle: Option<Id>,
    /// The height of the block that it is said to be in.
    pub(super) height: Option<u64>,
    /// Where the list goes on after it.
    pub(super) cursor: Option<String>,
    tags: Vec<Tag>,
    /// Bytes of its data.
    pub(super) data_bytes: u64,
    owner: Vec<u8>,
    signature: Vec<u8>,
    target: Option<Id>,
    anchor: Option<[u8; 32]>,
}

/// Reads an answer to any of these questions; none where it is no answer.
pub(super) fn read(answer: Value) -> Option<Vec<Listed>> {
    let answer: Answer = serde_json::from_value(answer).ok()?;
    let edges = answer.transactions.edges.into_iter().take(EDGES_MAX);
    let listed = |edge: Edge| Listed { cursor: edge.cursor, ..Listed::of(edge.node) };
    Some(edges.map(listed).collect())
}

impl Listed {
    fn of(node: Node) -> Self {
        let bytes =
            |text: Option<String>| URL_SAFE_NO_PAD.decode(text.unwrap_or_default()).unwrap_or_default();
        // Some gateways give an anchor as it is, some in base64url.
        let anchor = node.anchor.unwrap_or_default();
        let decoded: Option<[u8; 32]> =
            URL_SAFE_NO_PAD.decode(&anchor).ok().and_then(|all| all.try_into().ok());
        let size = node.data.map(|data| data.size);
        let data_bytes = size.and_then(|size| size.as_u64().or_else(|| size.as_str()?.parse().ok()));
        Self {
            id: node.id,
            bundle: node.bundled_in.map(|parent| parent.id),
            height: node.block.map(|block| block.height),
            cursor: None,
            tags: node.tags.into_iter().map(|tag| Tag::new(tag.name, tag.value)).collect(),
            data_bytes: data_bytes.unwrap_or_default(),
            owner: bytes(node.owner.and_then(|owner| owner.key)),
            signature: bytes(node.signature),
            target: node.recipient.and_then(|target| target.parse().ok()),
            anchor: decoded.or_else(|| anchor.as_bytes().try_into().ok()),
        }
    }

    /// One on the weave of this node, where all are in bundles.
    fn here(found: ItemRef) -> Self {
        Self {
            id: found.id,
            bundle: Some(Id(found.batch.0)),
            height: Some(found.height),
            cursor: Some(found.place.to_string()),
            tags: found.tags,
            data_bytes: found.data_bytes,
            owner: Vec::new(),
            signature: Vec::new(),
            target: found.target,
            anchor: None,
        }
    }

    /// The slot that its tags name.
    pub(super) fn slot(&self) -> Option<u64> {
        tag::first(&self.tags, "Nonce")?.parse().ok()
    }

    /// The process that its tags name.
    pub(super) fn process(&self) -> Option<Id> {
        tag::first(&self.tags, "Process")?.parse().ok()
    }

    /// The item that these fields and this data are, if they are one: its signature says so. What a gateway
    /// leaves out of the fields cannot be had this way.
    pub(super) fn with_data(&self, data: Bytes) -> Option<Verified<DataItem>> {
        let draft = Draft { target: self.target, anchor: self.anchor, tags: self.tags.clone(), data };
        // Several types have keys of one length.
        let items = SignatureType::ALL.into_iter().filter_map(|kind| {
            let item = draft.signed_elsewhere(kind, &self.owner, &self.signature).ok()?;
            item.verify().ok().filter(|item| item.id() == self.id)
        });
        items.take(1).next()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use weft_protocol::crypto::Signer;

    use super::*;

    fn item() -> Verified<DataItem> {
        let tags = vec![Tag::new("Type", "Assignment"), Tag::new("Nonce", "7")];
        let draft = Draft { target: Some(Id([3; 32])), anchor: Some([4; 32]), tags, data: "data".into() };
        draft.sign(&Signer::from_seed(&[1; 32])).unwrap()
    }

    fn node(item: &DataItem) -> Value {
        let encode = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        let tags: Vec<Value> =
            item.tags().iter().map(|tag| json!({ "name": tag.name, "value": tag.value })).collect();
        json!({
            "id": item.id(),
            "anchor": encode(item.anchor().unwrap()),
            "signature": encode(item.signature()),
            "recipient": item.target().unwrap(),
            "owner": { "key": encode(item.owner_key()) },
            "tags": tags,
            "data": { "size": item.data().len().to_string() },
            "bundledIn": { "id": Id([9; 32]) },
        })
    }

    fn answer(nodes: &[Value]) -> Value {
        let edges: Vec<Value> = nodes.iter().map(|node| json!({ "node": node })).collect();
        json!({ "transactions": { "pageInfo": { "hasNextPage": true }, "edges": edges } })
    }

    #[test]
    fn an_item_is_put_together_from_what_is_listed_or_not_at_all() {
        let item = item();
        let read_one = |node: Value| read(answer(&[node])).unwrap().remove(0);
        let listed = read_one(node(&item));
        assert_eq!((listed.slot(), listed.bundle, listed.data_bytes), (Some(7), Some(Id([9; 32])), 4));
        assert_eq!(listed.with_data(item.data()).unwrap(), item);
        assert!(listed.with_data("dato".into()).is_none());
        // Anything changed, or left out, is another item.
        for (field, value) in [
            ("anchor", json!("")),
            ("signature", json!(null)),
            ("recipient", json!("")),
            ("owner", json!(null)),
            ("owner", json!({})),
            ("tags", json!([])),
            ("id", json!(Id([1; 32]))),
        ] {
            let mut node = node(&item);
            node[field] = value;
            assert!(read_one(node).with_data(item.data()).is_none(), "{field}");
        }
        // An anchor as it is.
        let text = Draft { anchor: Some(*b"abcdefghijklmnopqrstuvwxyz-_.!~'"), ..Draft::default() };
        let text = text.sign(&Signer::from_seed(&[1; 32])).unwrap();
        let mut plain = node(&item);
        plain["id"] = json!(text.id());
        plain["anchor"] = json!("abcdefghijklmnopqrstuvwxyz-_.!~'");
        plain["signature"] = json!(URL_SAFE_NO_PAD.encode(text.signature()));
        (plain["recipient"], plain["tags"]) = (json!(null), json!([]));
        assert_eq!(read_one(plain).with_data(Bytes::new()).unwrap(), text);
    }

    #[test]
    fn an_answer_is_read_as_far_as_it_may_be_long() {
        let many = vec![node(&item()); EDGES_MAX + 1];
        assert_eq!(read(answer(&many)).unwrap().len(), EDGES_MAX);
        assert!(read(answer(&[])).unwrap().is_empty());
        for none in [json!(null), json!({}), json!({ "transactions": null }), answer(&[json!({ "id": "x" })])]
        {
            assert!(read(none).is_none());
        }
    }
}
