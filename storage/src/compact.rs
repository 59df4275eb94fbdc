//! Giving back to the system what a file has free inside: redb moves pages to the front and cuts the
//! end off, for which it needs the file to itself.

use std::path::Path;

use crate::contained::{Contained, contain};
use crate::error::StoreError;
use crate::store::{Store, StoreConfig, table_names};
use crate::{disk, meta};

/// What compacting a store came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Compacted {
    /// Bytes that the file took before.
    pub before: u64,
    /// Bytes that it takes now.
    pub after: u64,
}

impl Store {
    /// Compacts the store in a file that no node has open. Every step is a commit: a crash leaves the
    /// store as it was before one or after it. Takes time by the size of the store.
    ///
    /// # Errors
    /// As [`open`](Self::open); [`StoreError::CannotOpen`] where there is no store.
    pub fn compact(path: &Path, config: &StoreConfig) -> Result<Compacted, StoreError> {
        // Opening makes a file that is missing.
        path.metadata()
            .map_err(|source| StoreError::CannotOpen { path: path.into(), source: source.into() })?;
        // One that lacks commits of which somebody was told is put under caution first: the commits of a
        // compaction would hide it.
        drop(Self::open(path, config)?);
        let (database, _) = meta::open_file(path, config.cache_bytes, config.owner(), &table_names())?;
        compact(database)
    }

    /// [`compact`](Self::compact) on a disk of the caller's.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn compact_with_backend(
        disk: impl disk::Disk,
        config: &StoreConfig,
    ) -> Result<Compacted, StoreError> {
        compact(meta::open_disk(disk, config.cache_bytes, config.owner(), &table_names())?)
    }
}

fn compact(mut database: Contained) -> Result<Compacted, StoreError> {
    let taken = |database: &Contained| database.meter().map_or(0, |meter| meter.bytes());
    let before = taken(&database);
    contain("compacting", || database.compact().map_err(|error| StoreError::disk("compacting", error)))?;
    Ok(Compacted { before, after: taken(&database) })
}
