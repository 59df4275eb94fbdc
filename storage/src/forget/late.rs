//! What is written of a log that is being forgotten, by roles that have not heard of it yet: the writer passes over it.

use std::collections::{BTreeSet, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError, TryLockError};
use std::time::Duration;

use weft_protocol::Id;

use super::Tell;
use crate::error::StoreError;
use crate::rows::Roles;
use crate::write::{PRUNED_SETTING, Write};

/// Logs whose late writes are passed over. Roles stop writing to one within moments: nothing is on its way to the oldest of so many.
const LOGS_MAX: usize = 1_024;
/// Between two looks whether it is this log's turn.
const TURN_LOOK: Duration = Duration::from_millis(50);

/// What is being forgotten, as the writer and whoever forgets share it.
#[derive(Debug, Default)]
pub(crate) struct Forgetting {
    /// Whether anything was forgotten in this run: until then requests are passed on as they are.
    is_any: AtomicBool,
    state: Mutex<State>,
    /// One log at a time: what goes with one is known of one alone.
    turn: Mutex<()>,
}

#[derive(Debug, Default)]
struct State {
    /// Logs of which nothing is written any more.
    logs: VecDeque<Id>,
    /// Items that go, unless something comes to name them.
    doomed: BTreeSet<Id>,
}

impl State {
    fn begin(&mut self, process: Id) {
        self.keep(&process);
        self.logs.push_back(process);
        if self.logs.len() > LOGS_MAX {
            self.logs.pop_front();
        }
    }

    /// What is written of it counts.
    fn keep(&mut self, process: &Id) {
        self.logs.retain(|log| log != process);
    }
}

/// What a request changes of what is being forgotten, once it is sure to be written: one that is refused changes nothing.
#[derive(Debug, Default)]
pub(crate) struct Noted {
    /// Of these nothing is written from here on.
    begun: Vec<Id>,
    /// These are worked for again.
    taken_up: Vec<Id>,
    /// Items that have a use from here on.
    named: Vec<Id>,
}

impl Forgetting {
    /// Waits until no other log is being forgotten, which may take minutes.
    ///
    /// # Errors
    /// [`StoreError::Stopped`] where `tell` says so.
    pub(super) fn take_turn(&self, tell: Tell<'_>) -> Result<MutexGuard<'_, ()>, StoreError> {
        loop {
            match self.turn.try_lock() {
                Ok(turn) => return Ok(turn),
                Err(TryLockError::Poisoned(turn)) => return Ok(turn.into_inner()),
                Err(TryLockError::WouldBlock) if tell(0, 0).is_break() => return Err(StoreError::Stopped),
                Err(TryLockError::WouldBlock) => std::thread::sleep(TURN_LOOK),
            }
        }
    }

    /// Something is forgotten in this run.
    pub(super) fn begin(&self) {
        self.is_any.store(true, Ordering::Release);
    }

    /// What is written of a log counts.
    pub(super) fn keep(&self, process: &Id) {
        self.state().keep(process);
    }

    pub(super) fn doom(&self, items: impl Iterator<Item = Id>) {
        self.state().doomed = items.collect();
    }

    pub(super) fn spare(&self, items: &BTreeSet<Id>) {
        self.state().doomed.retain(|item| !items.contains(item));
    }

    /// What of a request is to be written: nothing of a log that was forgotten, and no item's end that is named again. Called by the
    /// writer, in the order in which requests are planned; with what [`Self::note`] is to be told before the next one is.
    pub(crate) fn pass(&self, mut writes: Vec<Write>) -> (Vec<Write>, Noted) {
        let mut noted = Noted::default();
        if !self.is_any.load(Ordering::Acquire) {
            return (writes, noted);
        }
        for write in &writes {
            match write {
                Write::DropLog(part) if part.begins => noted.begun.push(part.process),
                Write::Process { process, row } if row.roles != Roles::default() => {
                    noted.taken_up.push(*process);
                }
                _ => {}
            }
        }
        let state = self.state();
        let State { logs, doomed } = &*state;
        let is_gone = |process: Id| logs.contains(&process) && !noted.taken_up.contains(&process);
        let is_late = |write: &Write| log_of(write).is_some_and(is_gone);
        if writes.iter().any(is_late) {
            writes = without(writes, is_late);
        }
        for write in &mut writes {
            match write {
                Write::DropLog(part) => part.items.retain(|item| doomed.contains(item)),
                Write::Item { id, .. } => noted.named.extend(doomed.get(&*id)),
                Write::Process { row, .. } => noted.named.extend(doomed.get(&row.module)),
                Write::Slot { row, .. } => {
                    let both = [Some(row.item), row.proof].into_iter().flatten();
                    noted.named.extend(both.filter(|item| doomed.contains(item)));
                }
                _ => {}
            }
        }
        drop(state);
        (writes, noted)
    }

    /// A request will be written. What was doomed since it was planned is looked for on the disk after it.
    pub(crate) fn note(&self, noted: Noted) {
        let Noted { begun, taken_up, named } = noted;
        if begun.is_empty() && taken_up.is_empty() && named.is_empty() {
            return;
        }
        let mut state = self.state();
        begun.into_iter().for_each(|process| state.begin(process));
        taken_up.iter().for_each(|process| state.keep(process));
        named.iter().for_each(|item| {
            state.doomed.remove(item);
        });
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The log that a write adds to; none where it adds to no log.
fn log_of(write: &Write) -> Option<Id> {
    match write {
        Write::Process { process, .. }
        | Write::Slot { process, .. }
        | Write::Seen { process, .. }
        | Write::Outcome { process, .. }
        | Write::Carried { process, .. }
        | Write::Attestation { process, .. }
        | Write::AnchorAttestation { process, .. }
        | Write::Checkpoint { process, .. }
        | Write::Prune { process, .. }
        | Write::Anchored { process, .. } => Some(*process),
        Write::Outbox { key, .. } | Write::OutboxState { key, .. } => Some(key.process),
        // Other settings may be the first word of somebody who is about to take it up.
        Write::Setting { name, .. } => name.strip_prefix(PRUNED_SETTING)?.parse().ok(),
        Write::Item { .. }
        | Write::Child { .. }
        | Write::DropCarried { .. }
        | Write::Evidence { .. }
        | Write::AttestationAnchored { .. }
        | Write::AnchorEvidence { .. }
        | Write::EvidenceAnchored { .. }
        | Write::DropCheckpoint { .. }
        | Write::CutCheckpoint { .. }
        | Write::DropLog(_)
        | Write::Page(_)
        | Write::Blob(_)
        | Write::DropBlob(_)
        | Write::Batch { .. }
        | Write::Posting { .. }
        | Write::DropPosting { .. }
        | Write::Earned { .. }
        | Write::DropEarned { .. }
        | Write::Claim { .. }
        | Write::Caution { .. }
        | Write::LiftCaution { .. }
        | Write::DropSetting { .. } => None,
    }
}

/// The writes that are not late, without the items, pages and settings that came for those alone.
fn without(writes: Vec<Write>, is_late: impl Fn(&Write) -> bool) -> Vec<Write> {
    let (late, mut kept): (Vec<Write>, Vec<Write>) = writes.into_iter().partition(is_late);
    let named = |writes: &[Write]| -> BTreeSet<Id> {
        let of_slot = |write: &Write| match write {
            Write::Slot { row, .. } => [Some(row.item), row.proof],
            _ => [None, None],
        };
        writes.iter().flat_map(of_slot).flatten().collect()
    };
    let (of_late, of_kept) = (named(&late), named(&kept));
    let has_checkpoint =
        |writes: &[Write]| writes.iter().any(|write| matches!(write, Write::Checkpoint { .. }));
    let pages_go = has_checkpoint(&late) && !has_checkpoint(&kept);
    let logs: BTreeSet<Id> = late.iter().filter_map(log_of).collect();
    // How far what is late goes is late too, as its place in an outbox that is collected.
    let is_about =
        |name: &str| name.split('/').any(|part| part.parse::<Id>().is_ok_and(|id| logs.contains(&id)));
    kept.retain(|write| match write {
        Write::Item { id, .. } => !of_late.contains(id) || of_kept.contains(id),
        Write::Page(_) => !pages_go,
        Write::Setting { name, .. } => !is_about(name),
        _ => true,
    });
    kept
}
