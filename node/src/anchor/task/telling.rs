//! Where final batches lie, said on the topics of their logs: at once, and again when [`Telling`] says so.
//!
//! [`Telling`]: super::super::machine::telling::Telling

use std::collections::BTreeMap;

use tokio_util::sync::CancellationToken;
use weft_protocol::crypto::SignatureError;
use weft_protocol::placed::{Place, Placed};
use weft_protocol::wire::announcement::Body;
use weft_protocol::{Hash, Id, Verified};
use weft_storage::anchor::{Anchor as _, AnchorError};
use weft_storage::{BatchState, PostingState, StoreError};

use super::super::machine::telling::{Lasting, Newest};
use super::AnchorTask;
use crate::config::Backend;
use crate::shared::{Shared, SharedRef};
use crate::supervisor::joined;

/// Batches that are read at once after a start.
const PAGE: usize = 1_000;

/// The batches that the disk has of the logs that this node schedules.
pub(super) type Found = BTreeMap<Id, Newest>;

/// Why it is not known where a batch lies.
#[derive(Debug, thiserror::Error)]
enum PlaceError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Weave(#[from] AnchorError),
    #[error("it was not signed: {0}")]
    Signature(#[from] SignatureError),
}

/// Reads which batches were final before this start. Blocks on the disk; ends early when the node stops.
///
/// # Errors
/// A damaged store.
pub(super) fn on_disk(shared: &Shared, stop: &CancellationToken) -> Result<Found, StoreError> {
    let (mut found, mut after) = (Found::new(), None);
    while !stop.is_cancelled() {
        let page = shared.store.read()?.batches_after(after.as_ref(), PAGE)?;
        let Some((last, _)) = page.last() else { break };
        after = Some(*last);
        for (root, row) in page {
            let is_ours = shared.directory.roles(&row.process).is_some_and(|roles| roles.schedules);
            if is_ours && row.from_slot <= row.to_slot && matches!(row.state, BatchState::Confirmed { .. }) {
                found.entry(row.process).or_default().note(Lasting { to: row.to_slot, root }, None);
            }
        }
    }
    Ok(found)
}

impl AnchorTask {
    /// Takes up what was read after the start.
    pub(super) fn found(&mut self, found: Result<Found, StoreError>) {
        let now = self.shared.clock.now();
        match found {
            Ok(found) => {
                found.into_iter().for_each(|(process, newest)| self.telling.found(process, newest, now));
            }
            Err(error) => {
                tracing::error!(%error, "where earlier batches lie is not said again until the next start");
            }
        }
    }

    /// Says on the topic of a process where a batch of it lies that has become final.
    pub(super) async fn announce(&mut self, process: Id, root: Hash) {
        if self.shared.directory.roles(&process).is_some_and(|roles| roles.schedules) {
            self.say(process, vec![root]).await;
        }
    }

    /// Says again what is due of one log.
    pub(super) async fn tell_again(&mut self) {
        let now = self.shared.clock.now();
        let (came, more) = self.shared.placements.take_came();
        came.into_iter().for_each(|process| self.telling.came(process, now));
        if more {
            self.telling.more_came(now);
        }
        if let Some((process, roots)) = self.telling.next(now) {
            self.say(process, roots).await;
        }
    }

    /// Says where these batches of a log lie. What is not on the weave that others look at is not said again.
    async fn say(&mut self, process: Id, roots: Vec<Hash>) {
        let shared = SharedRef::clone(&self.shared);
        // Some keys take milliseconds for a signature.
        let signed = tokio::task::spawn_blocking(move || {
            roots.into_iter().map(|root| (root, placed(&shared, process, root))).collect::<Vec<_>>()
        });
        let now = self.shared.clock.now();
        for (root, placed) in joined(signed.await).unwrap_or_default() {
            match placed {
                Ok(Some(placed)) => {
                    let batch = Lasting { to: placed.place().to, root };
                    self.telling.told(process, batch, now);
                    self.shared.publisher.publish(process, Body::Placed(placed.to_wire()));
                }
                Ok(None) => self.telling.forget(process, root),
                Err(error) => {
                    tracing::warn!(%process, %error, "where a batch lies is not known; it is looked at again");
                    self.telling.put_off(process, root, now);
                }
            }
        }
    }
}

/// This node's word about where a batch lies; none where [`place_of`] has none.
fn placed(shared: &Shared, process: Id, root: Hash) -> Result<Option<Verified<Placed>>, PlaceError> {
    let place = place_of(shared, process, root)?;
    Ok(place.map(|place| place.sign(&shared.signer)).transpose()?)
}

/// Where a batch lies that is there to stay; none of one without slots, or that is on another weave than batches go to now.
fn place_of(shared: &Shared, process: Id, root: Hash) -> Result<Option<Place>, PlaceError> {
    let (reader, weave) = (shared.store.read()?, shared.anchored_on());
    let Some(row) = reader.batch(&root)?.filter(|row| row.from_slot <= row.to_slot) else { return Ok(None) };
    let posting = match reader.posting_of(&root, weave)? {
        Some(posting) => reader.posting(&posting, weave)?.map(|row| row.state),
        None => None,
    };
    let is_embedded = shared.config.anchor.backend == Backend::Local;
    let (bundle, height) = match (posting, row.state) {
        (Some(PostingState::Final { id, height, .. }), _) => (id, height),
        // On the embedded weave it has no other name.
        (None, BatchState::Confirmed { height, .. })
            if is_embedded && shared.weave.status_now(&root)?.is_final(shared.weave.finality()) =>
        {
            (Id(root.0), height)
        }
        // No gateway knows it by that.
        _ => return Ok(None),
    };
    Ok(Some(Place {
        network: shared.network,
        process,
        weave: weave.to_owned(),
        bundle,
        from: row.from_slot,
        to: row.to_slot,
        height,
    }))
}
