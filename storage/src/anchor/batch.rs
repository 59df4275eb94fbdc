//! A batch: a bundle whose items are verified, with its data root.

use bytes::Bytes;
use weft_protocol::bundle::Bundle;
use weft_protocol::{DataItem, Hash, Verified};

use super::AnchorError;
use super::arweave::data_root;
use crate::limits::{BATCH_BYTES_MAX, BATCH_ITEMS_MAX};

/// A bundle that may be anchored: every item's id and signature was checked.
#[derive(Debug, Clone)]
pub struct Batch {
    data_root: Hash,
    bundle: Bundle,
    items: Vec<Verified<DataItem>>,
}

impl Batch {
    /// Takes the bytes of a bundle and verifies all of it.
    ///
    /// # Errors
    /// [`AnchorError::Bundle`] at the first item that is not valid, [`AnchorError::Empty`] or
    /// [`AnchorError::TooLarge`].
    pub fn parse(bytes: Bytes) -> Result<Self, AnchorError> {
        check_sizes(0, bytes.len())?;
        let bundle = Bundle::parse(bytes)?;
        check_sizes(bundle.len(), bundle.raw().len())?;
        let items = bundle.verify()?;
        Self::assemble(bundle, items)
    }

    /// Bundles verified items, in their order.
    ///
    /// # Errors
    /// [`AnchorError::Empty`] or [`AnchorError::TooLarge`].
    pub fn of_items(items: Vec<Verified<DataItem>>) -> Result<Self, AnchorError> {
        let bundle = Bundle::build(&items);
        check_sizes(bundle.len(), bundle.raw().len())?;
        Self::assemble(bundle, items)
    }

    fn assemble(bundle: Bundle, items: Vec<Verified<DataItem>>) -> Result<Self, AnchorError> {
        if items.is_empty() {
            return Err(AnchorError::Empty);
        }
        let data_root = data_root(bundle.raw()).ok_or(AnchorError::Empty)?;
        Ok(Self { data_root, bundle, items })
    }

    /// The root of the bundle's chunks: the batch's name on every weave.
    pub const fn data_root(&self) -> Hash {
        self.data_root
    }

    /// The bytes of the bundle.
    pub const fn bytes(&self) -> &Bytes {
        self.bundle.raw()
    }

    /// The items, in bundle order.
    pub fn items(&self) -> &[Verified<DataItem>] {
        &self.items
    }
}

fn check_sizes(items: usize, bytes: usize) -> Result<(), AnchorError> {
    if items > BATCH_ITEMS_MAX {
        return Err(AnchorError::TooLarge { what: "items in a batch", size: items, max: BATCH_ITEMS_MAX });
    }
    if bytes > BATCH_BYTES_MAX {
        return Err(AnchorError::TooLarge { what: "bytes of a batch", size: bytes, max: BATCH_BYTES_MAX });
    }
    Ok(())
}
