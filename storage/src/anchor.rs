//! Weaves: where batches of a log go to stay, and where anyone can find them again.
//!
//! Everything is named by what it is, the data root of a bundle or the id of an item, never by a
//! transaction: the same batch may reach a weave in several. What comes back from a weave is
//! bytes; whoever uses them verifies them as any others.

mod arweave;
mod batch;
mod local_weave;

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::str::FromStr;

use bytes::Bytes;
use weft_protocol::bundle::BundleError;
use weft_protocol::{Address, Hash, Id, Tag};

use crate::error::StoreError;

pub use arweave::{Wallet, chunks, data_root};
pub use batch::Batch;
pub use local_weave::{Block, BlockTransaction, LocalWeave, LocalWeaveConfig, Placed, PostedRow};
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
    /// As many transactions brought this batch to the embedded weave as it keeps of one.
    #[error("{max} transactions brought these bytes already, and no more are kept")]
    EnoughTransactions {
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
    /// A file that is no wallet.
    #[error(
        "the wallet {path}: {why}; `anchor_wallet` names the JSON Web Key of an Arweave wallet (RSA 4096)"
    )]
    Wallet {
        /// The file.
        path: String,
        /// What is wrong with it.
        why: String,
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
    /// For one of these targets; for any or none when empty.
    pub targets: Vec<Id>,
    /// With all of these tags.
    pub tags: Vec<TagFilter>,
    /// First brought by one of these batches; by any when empty.
    pub batches: Vec<Hash>,
    /// In a block of at least this height.
    pub min_height: u64,
    /// In a block of at most this height; of any when absent.
    pub max_height: Option<u64>,
    /// From the newest to the oldest.
    pub newest_first: bool,
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

impl Cursor {
    /// The place after this one, or before it from newest to oldest; none at the end.
    pub const fn beyond(self, newest_first: bool) -> Option<Self> {
        let Self { height, index } = self;
        match (newest_first, index) {
            (false, u32::MAX) => match height.checked_add(1) {
                Some(height) => Some(Self { height, index: 0 }),
                None => None,
            },
            (false, _) => Some(Self { height, index: index + 1 }),
            (true, 0) => match height.checked_sub(1) {
                Some(height) => Some(Self { height, index: u32::MAX }),
                None => None,
            },
            (true, _) => Some(Self { height, index: index - 1 }),
        }
    }
}

/// Height and place in the block, as pages show it.
impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.height, self.index)
    }
}

/// A text that is no [`Cursor`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a cursor is a height and a place, such as 12.0")]
pub struct CursorError;

impl FromStr for Cursor {
    type Err = CursorError;

    fn from_str(text: &str) -> Result<Self, CursorError> {
        let (height, index) = text.split_once('.').ok_or(CursorError)?;
        let cursor = Self {
            height: height.parse().map_err(|_| CursorError)?,
            index: index.parse().map_err(|_| CursorError)?,
        };
        // One place has one text.
        if cursor.to_string() == text { Ok(cursor) } else { Err(CursorError) }
    }
}

/// A found item: its header, and where it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ItemRef {
    /// Its place in the weave.
    pub place: Cursor,
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
