//! What a guest may read beside its message: items of the weave under `/data/` (rules 6.13).

use std::fmt;
use std::sync::Arc;

/// Offers items to one message. Which ids it offers must be a fact of the log at the message's
/// position: a message that is replayed asks the same offer again.
pub trait Weave: fmt::Debug + Send + Sync {
    /// Answers a guest that opens `/data/<id>`. `id` is what the guest wrote, of any length.
    fn open(&self, id: &str) -> Opened;
}

/// What became of opening an item.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Opened {
    /// Its data.
    Item(Arc<[u8]>),
    /// The message may not read it: the same on every node.
    NotFound,
    /// The message may read it, but its bytes are not here; the text says why. The evaluation ends
    /// with [`crate::HostFault::ItemNotHere`], which is never an outcome.
    NotHere(String),
}

/// Offers nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoWeave;

impl Weave for NoWeave {
    fn open(&self, _id: &str) -> Opened {
        Opened::NotFound
    }
}
