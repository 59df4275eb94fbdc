//! Where redb may panic, and that a panic there stays there.
//!
//! redb finds some contradictions in a damaged file by an assertion: while it opens or walks it,
//! and, because closing writes down which pages are free, when it is dropped. Nothing of ours is
//! left half-changed by that: its transactions are given up as a whole.

use std::ops::{Deref, DerefMut};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use redb::Database;

use crate::disk::meter::Meter;
use crate::error::StoreError;

/// What a panic of redb means.
const CONTRADICTION: &str = "its pages contradict each other; stop the node and run `weft repair`";

/// Runs what touches the file; a panic of redb becomes an error.
pub(crate) fn contain<T>(
    during: &'static str,
    work: impl FnOnce() -> Result<T, StoreError>,
) -> Result<T, StoreError> {
    catch_unwind(AssertUnwindSafe(work))
        .unwrap_or_else(|_| Err(StoreError::disk(during, std::io::Error::other(CONTRADICTION))))
}

/// A database whose end may not take the process with it.
pub(crate) struct Contained {
    /// Gone once it is being dropped.
    database: Option<Database>,
    /// What its file takes, where that is measured.
    meter: Option<Arc<Meter>>,
}

impl Contained {
    pub(crate) const fn new(database: Database) -> Self {
        Self { database: Some(database), meter: None }
    }

    pub(crate) fn with_meter(mut self, meter: Arc<Meter>) -> Self {
        self.meter = Some(meter);
        self
    }

    /// What measures its file.
    pub(crate) const fn meter(&self) -> Option<&Arc<Meter>> {
        self.meter.as_ref()
    }
}

impl Drop for Contained {
    fn drop(&mut self) {
        let database = self.database.take();
        if catch_unwind(AssertUnwindSafe(|| drop(database))).is_err() {
            tracing::error!("the file was not closed cleanly: {CONTRADICTION}");
        }
    }
}

#[allow(clippy::expect_used)] // It is taken by drop alone.
impl Deref for Contained {
    type Target = Database;

    fn deref(&self) -> &Database {
        self.database.as_ref().expect("an open database")
    }
}

#[allow(clippy::expect_used)] // It is taken by drop alone.
impl DerefMut for Contained {
    fn deref_mut(&mut self) -> &mut Database {
        self.database.as_mut().expect("an open database")
    }
}
