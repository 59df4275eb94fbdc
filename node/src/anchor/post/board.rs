//! What the anchor, the poster and people who ask say to each other. Batches themselves lie on disk.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use tokio::sync::Notify;
use weft_protocol::{Address, Hash};

use super::machine::View;
use super::spending::Spent;

/// Bytes and items of a batch.
pub(in crate::anchor) type Size = (u64, u64);

#[derive(Debug, Default)]
struct Inner {
    /// Batches that were handed over and not taken yet.
    handed: BTreeMap<Hash, Size>,
    /// All that were handed over in this life and are not final: one for each log at most.
    held: BTreeSet<Hash>,
    flush: bool,
    views: Vec<(Hash, View)>,
    spent: Spent,
}

/// A board on which they write.
#[derive(Debug, Default)]
pub struct Board {
    inner: Mutex<Inner>,
    to_poster: Notify,
    to_anchor: Notify,
    wallet: OnceLock<Address>,
    waits: Waits,
}

/// Whether somebody waits for blocks of the embedded weave.
#[derive(Debug, Clone, Default)]
pub(crate) struct Waits(Arc<AtomicBool>);

impl Waits {
    /// Somebody does.
    pub(crate) fn say(&self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl Board {
    /// Where those who wait for blocks of the embedded weave say so.
    pub(crate) fn waits(&self) -> Waits {
        self.waits.clone()
    }

    /// Whether somebody has waited since this was last asked.
    pub(in crate::anchor) fn take_waits(&self) -> bool {
        self.waits.0.swap(false, Ordering::Relaxed)
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Says which wallet pays.
    pub(super) fn pays(&self, wallet: Address) {
        // It is said once, by the one poster.
        let _ = self.wallet.set(wallet);
    }

    /// The wallet that pays, if one does.
    pub(crate) fn wallet(&self) -> Option<Address> {
        self.wallet.get().copied()
    }

    /// Hands over a batch that lies on disk.
    pub(in crate::anchor) fn hand(&self, batch: Hash, size: Size) {
        let mut inner = self.lock();
        if inner.held.insert(batch) {
            inner.handed.insert(batch, size);
        }
        drop(inner);
        self.to_poster.notify_one();
    }

    /// Whether a batch was handed over in this life and is not final.
    pub(in crate::anchor) fn holds(&self, batch: &Hash) -> bool {
        self.lock().held.contains(batch)
    }

    /// Forgets batches that are final.
    pub(super) fn forget(&self, batches: &[Hash]) {
        let mut inner = self.lock();
        for batch in batches {
            inner.held.remove(batch);
        }
    }

    /// Takes what was handed over, and whether somebody wants all of it posted now.
    pub(super) fn take(&self) -> (BTreeMap<Hash, Size>, bool) {
        let mut inner = self.lock();
        (std::mem::take(&mut inner.handed), std::mem::take(&mut inner.flush))
    }

    /// Waits until there is something to take.
    pub(super) async fn handed(&self) {
        self.to_poster.notified().await;
    }

    /// Says how far the postings are.
    pub(super) fn show(&self, views: Vec<(Hash, View)>, spent: Spent) {
        let mut inner = self.lock();
        (inner.views, inner.spent) = (views, spent);
    }

    /// How far the postings are that have a bundle, each by its data root, and what was spent in which day.
    pub(crate) fn shown(&self) -> (Vec<(Hash, View)>, Spent) {
        let inner = self.lock();
        (inner.views.clone(), inner.spent)
    }

    /// Wants whatever waits in batches, and what is in batches posted, now.
    pub(crate) fn flush(&self) {
        self.lock().flush = true;
        self.to_anchor.notify_one();
        self.to_poster.notify_one();
    }

    /// Waits until somebody wants that.
    pub(in crate::anchor) async fn flushed(&self) {
        self.to_anchor.notified().await;
    }
}
