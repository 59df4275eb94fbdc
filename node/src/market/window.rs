//! Windows of processes in hard mode, as the log here has them.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use weft_protocol::Id;
use weft_protocol::market::{Window, set_slot, window_of};
use weft_protocol::process::Process;
use weft_storage::Reader;

use crate::error::NodeError;
use crate::log;

/// Windows that are kept in memory: reading one verifies up to 64 offers.
const KEPT_MAX: usize = 64;

/// The window that a slot is in; none in soft mode, in window 0, and where the log has no valid set for it or an empty
/// one: then pushes are carried as in soft mode.
///
/// # Errors
/// A damaged store, or that the log here has no such slot.
pub fn window_at(reader: &Reader, process: &Process, slot: u64) -> Result<Option<Window>, NodeError> {
    let Some(at) = process.market().and_then(|_| set_slot(window_of(slot))) else { return Ok(None) };
    let record = log::read_records(reader, process, at, at)?.into_iter().next();
    let window = record.and_then(|record| Window::of_record(process, &record));
    Ok(window.and_then(Result::ok).filter(|window| !window.set().entries().is_empty()))
}

/// The windows that were read last.
#[derive(Debug, Default)]
pub struct Windows {
    held: BTreeMap<(Id, u64), Option<Arc<Window>>>,
    /// The oldest first.
    order: VecDeque<(Id, u64)>,
}

impl Windows {
    /// As [`window_at`], without reading it again.
    ///
    /// # Errors
    /// As there.
    pub fn at(
        &mut self,
        reader: &Reader,
        process: &Process,
        slot: u64,
    ) -> Result<Option<Arc<Window>>, NodeError> {
        if process.market().is_none() {
            return Ok(None);
        }
        let key = (process.id(), window_of(slot));
        if let Some(window) = self.held.get(&key) {
            return Ok(window.clone());
        }
        let set = set_slot(window_of(slot));
        if let Some(set) = set
            && reader.slot(&process.id(), set)?.is_none()
        {
            // Whoever does not compute may hear what was sent before it has the log that far.
            return Ok(None);
        }
        let window = window_at(reader, process, slot)?.map(Arc::new);
        if self.order.len() >= KEPT_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.held.remove(&oldest);
        }
        self.order.push_back(key);
        self.held.insert(key, window.clone());
        Ok(window)
    }
}
