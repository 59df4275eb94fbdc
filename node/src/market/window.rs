//! Windows of processes in hard mode, as the log here has them.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

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

/// The windows that were read last, for all who carry by them.
#[derive(Debug, Default)]
pub struct Windows(Lately<Option<Arc<Window>>>);

impl Windows {
    /// As [`window_at`], without reading it again.
    ///
    /// # Errors
    /// As there.
    pub fn at(
        &self,
        reader: &Reader,
        process: &Process,
        slot: u64,
    ) -> Result<Option<Arc<Window>>, NodeError> {
        if process.market().is_none() {
            return Ok(None);
        }
        let window = self.0.at((process.id(), window_of(slot)), || {
            if let Some(set) = set_slot(window_of(slot))
                && reader.slot(&process.id(), set)?.is_none()
            {
                // Whoever does not compute may hear what was sent before it has the log that far.
                return Ok::<_, NodeError>(None);
            }
            Ok(Some(window_at(reader, process, slot)?.map(Arc::new)))
        });
        Ok(window?.flatten())
    }
}

/// What was made last of each process and window. Nobody waits for what another makes.
#[derive(Debug, Default)]
struct Lately<V>(Mutex<Held<V>>);

#[derive(Debug, Default)]
struct Held<V> {
    made: BTreeMap<(Id, u64), V>,
    /// The oldest first.
    order: VecDeque<(Id, u64)>,
}

impl<V: Clone> Lately<V> {
    fn held(&self) -> MutexGuard<'_, Held<V>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What was made of it, or is made now and kept; none is not kept.
    fn at<E>(&self, key: (Id, u64), make: impl FnOnce() -> Result<Option<V>, E>) -> Result<Option<V>, E> {
        if let Some(made) = self.held().made.get(&key) {
            return Ok(Some(made.clone()));
        }
        let Some(made) = make()? else { return Ok(None) };
        let mut held = self.held();
        if held.made.insert(key, made.clone()).is_none() {
            held.order.push_back(key);
        }
        if held.order.len() > KEPT_MAX
            && let Some(oldest) = held.order.pop_front()
        {
            held.made.remove(&oldest);
        }
        Ok(Some(made))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_is_read_once_and_few_are_kept() {
        let lately = Lately::default();
        let of = |window: u64, has: bool| {
            let mut is_read = false;
            let make = || {
                is_read = true;
                if has { Ok(Some(window)) } else { Err("the disk") }
            };
            let made = lately.at((Id([1; 32]), window), make);
            (made, is_read)
        };
        assert_eq!(of(0, false), (Err("the disk"), true), "what failed is tried again");
        assert_eq!(of(0, true), (Ok(Some(0)), true));
        assert_eq!(of(0, false), (Ok(Some(0)), false));
        let none = lately.at((Id([2; 32]), 0), || Ok::<_, ()>(None));
        assert_eq!((none, lately.held().order.len()), (Ok(None), 1), "what is not here yet may come");
        for window in 1..=KEPT_MAX as u64 {
            assert!(of(window, true).1);
        }
        let (made, order) = {
            let held = lately.held();
            (held.made.len(), held.order.len())
        };
        assert_eq!((made, order), (KEPT_MAX, KEPT_MAX));
        assert_eq!((of(KEPT_MAX as u64, true).1, of(0, true).1), (false, true), "the oldest went");
    }
}
