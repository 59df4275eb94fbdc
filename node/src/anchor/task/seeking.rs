//! Slots that were signed in an earlier life and are in no batch that this disk knows of may be on the weave already:
//! it is asked before they are paid for.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use weft_protocol::{Id, Now};
use weft_storage::StoreError;

use super::super::found::{FoundError, found};
use super::super::machine::Input;
use super::AnchorTask;
use crate::config::Backend;
use crate::shared::SharedRef;
use crate::supervisor::joined;

/// Logs that are sought at once: each may read bundles.
const SEEKS_MAX: usize = 2;

/// What is being sought, and what was.
#[derive(Debug)]
pub(super) struct Seeking {
    began: Now,
    turns: Arc<Semaphore>,
    /// At most one for each log.
    pub(super) work: JoinSet<Sought>,
    /// From which slot on the weave has nothing of a log: asked once in a life.
    ends: BTreeMap<Id, u64>,
    /// Logs of which it had something, and what is beside their slots may have come back since.
    again: BTreeSet<Id>,
}

/// What came of it: the last slot that the weave has.
#[derive(Debug)]
pub(super) struct Sought {
    process: Id,
    /// The first and the last slot that were to be in a batch.
    slots: (u64, u64),
    found: Result<Option<u64>, FoundError>,
}

impl Seeking {
    pub(super) fn new(began: Now) -> Self {
        Self {
            began,
            turns: Arc::new(Semaphore::new(SEEKS_MAX)),
            work: JoinSet::new(),
            ends: BTreeMap::new(),
            again: BTreeSet::new(),
        }
    }
}

impl AnchorTask {
    /// Whether the weave is asked first. A batch that was made before is on its way by its own bytes.
    fn is_sought(&mut self, process: Id, (from, to): (u64, u64)) -> Result<bool, StoreError> {
        if self.shared.config.anchor.backend == Backend::Local {
            return Ok(false);
        }
        if from > to {
            return Ok(self.seeking.again.remove(&process));
        }
        if self.built.contains_key(&process) || self.seeking.ends.get(&process) == Some(&from) {
            return Ok(false);
        }
        let row = self.shared.store.read()?.slot(&process, from)?;
        Ok(row.is_some_and(|row| row.timestamp < self.seeking.began.0))
    }

    /// Submits a batch, or begins to look whether that is needed.
    pub(super) async fn seek_or_submit(&mut self, process: Id, slots: (u64, u64)) -> Option<Input> {
        match self.is_sought(process, slots) {
            Ok(false) => return Some(self.submit(process, slots.0, slots.1).await),
            Ok(true) => {}
            Err(error) => {
                tracing::warn!(%process, %error, "the store did not say what to submit");
                return Some(Input::Failed { process });
            }
        }
        let (shared, turns) = (SharedRef::clone(&self.shared), Arc::clone(&self.seeking.turns));
        // What is beside the slots is noted with all of them.
        let from = if slots.0 > slots.1 { 0 } else { slots.0 };
        self.seeking.work.spawn(async move {
            let found = match turns.acquire().await {
                Ok(_turn) => found(&shared, process, from).await,
                Err(_) => Err(FoundError::Cut),
            };
            Sought { process, slots, found }
        });
        None
    }

    /// Goes on by what the weave has.
    pub(super) async fn sought(&mut self, sought: Result<Sought, tokio::task::JoinError>) {
        let Some(Sought { process, slots, found }) = joined(sought) else { return };
        let input = match found {
            Ok(Some(to)) if slots.0 <= slots.1 => {
                tracing::info!(%process, to, "the weave has these slots already");
                self.seeking.again.insert(process);
                Input::Confirmed { process, to }
            }
            Ok(found) => {
                if found.is_none() {
                    self.seeking.ends.insert(process, slots.0);
                }
                self.submit(process, slots.0, slots.1).await
            }
            Err(error) => {
                tracing::warn!(%process, %error, "whether the weave has slots already is not known; it is asked again");
                Input::Failed { process }
            }
        };
        self.handle(input);
    }
}
