//! Who has a slot in a log, as far as that is quickly read.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use weft_protocol::{Address, DataItem, Id};
use weft_storage::{Reader, StoreError};

/// The newest slots of a log of which the signers count: who wrote nothing since pays as a stranger does.
const SLOTS_MAX: u64 = 256;
/// Bytes of items that are read for one look.
const READ_BYTES_MAX: usize = 1024 * 1024;
/// Logs of which the signers are in memory; of more the one that was asked for longest ago is forgotten.
const LOGS_MAX: usize = 64;

#[derive(Debug, Default)]
struct Log {
    /// How many slots were looked at, from slot 0 on.
    slots: u64,
    signers: BTreeSet<Address>,
    asked: u64,
    /// It grew since.
    grew: bool,
}

/// The signers of the logs that were asked for lately.
#[derive(Debug, Default)]
pub(super) struct Signers(Mutex<(BTreeMap<Id, Log>, u64)>);

impl Signers {
    fn lock(&self) -> MutexGuard<'_, (BTreeMap<Id, Log>, u64)> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The same without the disk, where that was read since the log grew.
    pub(super) fn is_known_here(&self, process: &Id, signer: &Address) -> Option<bool> {
        let held = self.lock();
        held.0.get(process).filter(|log| !log.grew).map(|log| log.signers.contains(signer))
    }

    /// A log grew.
    pub(super) fn grew(&self, process: &Id) {
        if let Some(log) = self.lock().0.get_mut(process) {
            log.grew = true;
        }
    }

    /// Whether this address signed one of the newest items of a log. Reads the disk.
    ///
    /// # Errors
    /// The disk.
    pub(super) fn is_known(
        &self,
        reader: &Reader,
        process: &Id,
        signer: &Address,
    ) -> Result<bool, StoreError> {
        let slots = reader.head(process)?.map_or(0, |(slot, _)| slot + 1);
        let before = self.lock().0.remove(process).unwrap_or_default();
        let log = read(reader, process, slots, before)?;
        let is_known = log.signers.contains(signer);
        let mut held = self.lock();
        held.1 += 1;
        let asked = held.1;
        held.0.insert(*process, Log { asked, grew: false, ..log });
        if held.0.len() > LOGS_MAX
            && let Some(oldest) = held.0.iter().min_by_key(|(_, log)| log.asked).map(|(process, _)| *process)
        {
            held.0.remove(&oldest);
        }
        Ok(is_known)
    }
}

/// The log with the slots that are new in it; all are read anew where too many are.
fn read(reader: &Reader, process: &Id, slots: u64, before: Log) -> Result<Log, StoreError> {
    let oldest = slots.saturating_sub(SLOTS_MAX);
    let is_stale =
        before.slots > slots || before.slots < oldest || before.signers.len() as u64 > 2 * SLOTS_MAX;
    let mut log = if is_stale { Log::default() } else { before };
    let mut bytes = 0;
    for slot in (log.slots.max(oldest)..slots).rev() {
        let Some(row) = reader.slot(process, slot)? else { continue };
        let Some(raw) = reader.item(&row.item)? else { continue };
        bytes += raw.len();
        if bytes > READ_BYTES_MAX {
            break;
        }
        // It was verified when it came.
        log.signers.extend(DataItem::parse(raw).ok().map(|item| item.claims().owner()));
    }
    log.slots = slots;
    Ok(log)
}
