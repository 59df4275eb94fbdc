//! Weaves: where batches of a log go to stay, and where anyone can find them again.
//!
//! Everything is named by what it is, the data root of a bundle or the id of an item, never by a
//! transaction: the same batch may reach a weave in several. What comes back from a weave is
//! bytes; whoever uses them verifies them as any others.

mod arweave;
mod batch;
mod local_weave;

use std::future::Future;
use std::pin::Pin;

use bytes::Bytes;
use weft_protocol::bundle::BundleError;
use weft_protocol::{Address, Hash, Id, Tag};

use crate::error::StoreError;

pub use arweave::data_root;
pub use batch::Batch;
pub use local_weave::{Block, BlockTransaction, LocalWeave, LocalWeaveConfig};
pub(crate) use local_weave::{WEAVE_KINDS, WEAVE_SCHEMA};

/// Why an anchor did not do what it was asked.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum AnchorError {
    /// The bytes are not a bundle of valid items. The caller's fault.
    #[error("the batch is not a valid bundle: {0}")]
    Bundle(#[from] BundleError),
    /// A batch without items says nothing.
    #[error("the batch has no items")]
    Empty,
    /// Something is over a limit of [`limits`](crate::limits).
    #[error("{what}: {size}, at most {max} allowed")]
    TooLarge {
        /// What is too large.
        what: &'static str,
        /// How large it is.
        size: usize,
        /// The limit.
        max: usize,
    },
    /// The embedded weave's file failed or is damaged.
    #[error("the local weave: {0}")]
    Store(#[from] StoreError),
    /// A block of the embedded weave does not follow from the one before it.
    #[error("the local weave is damaged at block {height}: {reason}")]
    Chain {
        /// The height of the block.
        height: u64,
        /// What does not fit.
        reason: &'static str,
    },
    /// The work was cut off by a shutdown.
    #[error("the weave was shut down before it answered")]
    Closed,
}

/// How far a batch got on a weave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum AnchorStatus {
    /// The weave has never seen it, or forgot it.
    Unknown,
    /// Taken, in no block yet.
    Pending,
    /// In a block.
    Mined {
        /// The height of the block.
        height: u64,
        /// The hash of the block.
        block: Hash,
        /// Blocks from that one to the newest, both included.
        confirmations: u64,
    },
}

impl AnchorStatus {
    /// Whether the batch is deep enough to stay.
    pub const fn is_final(self, finality: u64) -> bool {
        matches!(self, Self::Mined { confirmations, .. } if confirmations >= finality)
    }
}

/// Which items to find. All parts must match; an empty query matches every item.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TagQuery {
    /// Signed by one of these; by anyone when empty. Pin the signer, or strangers can inject.
    pub owners: Vec<Address>,
    /// For this target.
    pub target: Option<Id>,
    /// With all of these tags.
    pub tags: Vec<TagFilter>,
    /// In a block of at least this height.
    pub min_height: u64,
}

/// A tag that an item must have: this name, compared exactly, with one of these values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TagFilter {
    /// The name.
    pub name: String,
    /// The values, any of which will do.
    pub values: Vec<String>,
}

impl TagFilter {
    /// A tag with one value.
    pub fn new(name: impl Into<String>, value: impl Into<String>) -> Self {
        Self { name: name.into(), values: vec![value.into()] }
    }
}

/// Where a page of found items goes on. Weaves order items by block and by place in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cursor {
    pub(crate) height: u64,
    pub(crate) index: u32,
}

/// A found item: its header, and where it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ItemRef {
    /// The item.
    pub id: Id,
    /// Its signer.
    pub owner: Address,
    /// Whom it is for.
    pub target: Option<Id>,
    /// Its tags.
    pub tags: Vec<Tag>,
    /// Bytes of its data.
    pub data_bytes: u64,
    /// The data root of the batch that brought it first.
    pub batch: Hash,
    /// The height of the block that holds the batch.
    pub height: u64,
    /// The hash of that block.
    pub block: Hash,
}

/// Found items in weave order.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Page {
    /// The items.
    pub items: Vec<ItemRef>,
    /// Where to go on; none at the end. A page may be short of its limit and yet have a next.
    pub next: Option<Cursor>,
}

/// What an [`Anchor`] answers with, later.
pub type AnchorFuture<'a, T> = Pin<Box<dyn Future<Output = Result<T, AnchorError>> + Send + 'a>>;

/// A weave that batches can be anchored to.
pub trait Anchor: Send + Sync {
    /// The weave's name, as [`Write::Anchored`](crate::Write::Anchored) takes it.
    fn name(&self) -> &str;

    /// Confirmations after which a batch stays.
    fn finality(&self) -> u64;

    /// The height of the newest block.
    fn height(&self) -> AnchorFuture<'_, u64>;

    /// Hands a batch to the weave and answers how far it is. Handing it in again changes nothing.
    fn submit(&self, batch: Batch) -> AnchorFuture<'_, AnchorStatus>;

    /// How far a batch is.
    fn status(&self, data_root: Hash) -> AnchorFuture<'_, AnchorStatus>;

    /// The bundle of a batch.
    fn fetch(&self, data_root: Hash) -> AnchorFuture<'_, Option<Bytes>>;

    /// A raw item that is in a block.
    fn item(&self, id: Id) -> AnchorFuture<'_, Option<Bytes>>;

    /// Items in weave order from the cursor on, at most `limit`.
    fn find(&self, query: TagQuery, from: Option<Cursor>, limit: usize) -> AnchorFuture<'_, Page>;
}
