//! The types of the schema: those of the weave's gateways, as far as clients ask for them.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use juniper::{GraphQLEnum, GraphQLInputObject, GraphQLObject, ID};

use weft_protocol::Hash;
use weft_protocol::bundle::BUNDLE_TAGS;

use super::super::arweave::block_id;
use super::super::find::{Header, seconds_of};

/// A condition on tags.
#[derive(Debug, GraphQLInputObject)]
pub(in crate::gateway) struct TagFilter {
    pub(in crate::gateway) name: String,
    /// One of these; any if there are none.
    pub(in crate::gateway) values: Option<Vec<String>>,
    pub(in crate::gateway) op: Option<TagOperator>,
}

/// Whether a tag must be there, or must not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, GraphQLEnum)]
pub(in crate::gateway) enum TagOperator {
    Eq,
    Neq,
}

/// Heights, both included.
#[derive(Debug, Default, GraphQLInputObject)]
pub(in crate::gateway) struct BlockFilter {
    pub(in crate::gateway) min: Option<i32>,
    pub(in crate::gateway) max: Option<i32>,
}

/// In which order edges stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq, GraphQLEnum)]
pub(in crate::gateway) enum SortOrder {
    HeightAsc,
    HeightDesc,
    IngestedAtAsc,
    IngestedAtDesc,
}

impl SortOrder {
    pub(in crate::gateway) const fn is_ascending(self) -> bool {
        matches!(self, Self::HeightAsc | Self::IngestedAtAsc)
    }
}

/// What is said of a page.
#[derive(Debug, GraphQLObject)]
pub(in crate::gateway) struct PageInfo {
    pub(in crate::gateway) has_next_page: bool,
}

/// A page of items.
#[derive(Debug, GraphQLObject)]
#[graphql(name = "TransactionConnection")]
pub(in crate::gateway) struct Connection {
    pub(in crate::gateway) page_info: PageInfo,
    pub(in crate::gateway) edges: Vec<Edge>,
}

/// An item and its place.
#[derive(Debug, GraphQLObject)]
#[graphql(name = "TransactionEdge")]
pub(in crate::gateway) struct Edge {
    pub(in crate::gateway) cursor: String,
    pub(in crate::gateway) node: Transaction,
}

/// An item.
#[derive(Debug, GraphQLObject)]
pub(in crate::gateway) struct Transaction {
    id: ID,
    anchor: String,
    signature: String,
    recipient: String,
    owner: Owner,
    fee: Amount,
    quantity: Amount,
    data: MetaData,
    tags: Vec<Tag>,
    block: Option<Block>,
    parent: Option<Parent>,
    bundled_in: Option<Parent>,
}

/// Who signed.
#[derive(Debug, GraphQLObject)]
struct Owner {
    address: String,
    key: String,
}

/// Items cost and carry nothing.
#[derive(Debug, GraphQLObject)]
struct Amount {
    winston: String,
    ar: String,
}

/// Of the data.
#[derive(Debug, GraphQLObject)]
struct MetaData {
    size: String,
    #[graphql(name = "type")]
    kind: Option<String>,
}

/// A name and its value.
#[derive(Debug, GraphQLObject)]
struct Tag {
    name: String,
    value: String,
}

/// A block of the weave `clock`.
#[derive(Debug, GraphQLObject)]
pub(in crate::gateway) struct Block {
    id: ID,
    timestamp: i32,
    height: i32,
    previous: ID,
}

/// A bundle.
#[derive(Debug, GraphQLObject)]
struct Parent {
    id: ID,
}

/// A page of blocks.
#[derive(Debug, GraphQLObject)]
pub(in crate::gateway) struct BlockConnection {
    pub(in crate::gateway) page_info: PageInfo,
    pub(in crate::gateway) edges: Vec<BlockEdge>,
}

/// A block and its place.
#[derive(Debug, GraphQLObject)]
pub(in crate::gateway) struct BlockEdge {
    pub(in crate::gateway) cursor: String,
    pub(in crate::gateway) node: Block,
}

/// Numbers of this language have 32 bits.
fn number(number: u64) -> i32 {
    i32::try_from(number).unwrap_or(i32::MAX)
}

impl Block {
    pub(in crate::gateway) fn at(height: u64) -> Self {
        Self {
            id: ID::from(block_id(height)),
            timestamp: number(seconds_of(height)),
            height: number(height),
            previous: ID::from(height.checked_sub(1).map(block_id).unwrap_or_default()),
        }
    }

    /// A block of the embedded weave.
    pub(in crate::gateway) fn of_weave(block: &weft_storage::anchor::Block) -> Self {
        let previous = block.height.checked_sub(1).map(|_| block.previous.to_string());
        Self {
            id: ID::from(block.hash().to_string()),
            timestamp: number(block.timestamp_ms / 1_000),
            height: number(block.height),
            previous: ID::from(previous.unwrap_or_default()),
        }
    }
}

impl Transaction {
    /// `now` is the height at which it is shown.
    pub(in crate::gateway) fn of(header: &Header, now: u64) -> Self {
        let nothing = || Amount { winston: "0".into(), ar: "0.000000000000".into() };
        let tags = header.tags.iter().map(|tag| Tag { name: tag.name.clone(), value: tag.value.clone() });
        // Whoever chooses among modules of one name reads their times; they have none here.
        let of_module = || (header.tag("Type") == Some("Module")).then_some(now);
        let block = header.place.map(|place| place.height).or_else(of_module);
        Self {
            id: ID::from(header.id.to_string()),
            anchor: header.anchor.map(|anchor| URL_SAFE_NO_PAD.encode(anchor)).unwrap_or_default(),
            signature: URL_SAFE_NO_PAD.encode(&header.signature),
            recipient: header.target.map(|target| target.to_string()).unwrap_or_default(),
            owner: Owner { address: header.signer.clone(), key: URL_SAFE_NO_PAD.encode(&header.key) },
            fee: nothing(),
            quantity: nothing(),
            data: MetaData {
                size: header.data_bytes.to_string(),
                kind: header.tag("Content-Type").map(str::to_owned),
            },
            tags: tags.collect(),
            block: block.map(Block::at),
            parent: None,
            bundled_in: None,
        }
    }

    /// An item that a batch on the embedded weave brought.
    pub(in crate::gateway) fn in_batch(header: &Header, batch: Hash, block: Block) -> Self {
        let parent = || Some(Parent { id: ID::from(batch.to_string()) });
        Self { block: Some(block), parent: parent(), bundled_in: parent(), ..Self::of(header, 0) }
    }

    /// A batch on the embedded weave, which nobody signed.
    pub(in crate::gateway) fn of_batch(data_root: Hash, bytes: u64, block: Block) -> Self {
        let nothing = || Amount { winston: "0".into(), ar: "0.000000000000".into() };
        let tags =
            BUNDLE_TAGS.iter().map(|(name, value)| Tag { name: (*name).into(), value: (*value).into() });
        Self {
            id: ID::from(data_root.to_string()),
            anchor: String::new(),
            signature: String::new(),
            recipient: String::new(),
            owner: Owner { address: String::new(), key: String::new() },
            fee: nothing(),
            quantity: nothing(),
            data: MetaData { size: bytes.to_string(), kind: None },
            tags: tags.collect(),
            block: Some(block),
            parent: None,
            bundled_in: None,
        }
    }
}
