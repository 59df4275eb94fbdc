//! How much of the disk the logs of strangers may take that are read from a weave: `others_logs`, all together and
//! for good. No log is dropped for a budget, and one that the operator has forgotten gives nothing back.
//!
//! A share is written down before anything of a log comes, and what is left of it is given back afterwards. One that
//! nobody gave back, as the node was stopped or killed meanwhile, is settled at the next start by how far the log grew.
//! Its module and what was attested come after the slots, and are not counted then.

use std::sync::Arc;

use bytes::Bytes;
use weft_protocol::Id;
use weft_storage::{Reader, StoreError, Write};

use super::task::NotRead;
use crate::hosting::Declined;
use crate::portable::Allowance;
use crate::shared::SharedRef;

/// The setting that says how many bytes came.
const SETTING: &str = "others-logs";
/// What starts the name of the setting that says what a log may take that is being read; its id follows.
const TAKEN: &str = "others-logs/";
/// One log takes at most one part in so many of all.
const PART: u64 = 16;

/// What one log may take.
#[derive(Debug)]
pub(super) struct Share {
    process: Id,
    allowance: Arc<Allowance>,
}

impl Share {
    /// Its bytes.
    pub(super) fn allowance(&self) -> Arc<Allowance> {
        Arc::clone(&self.allowance)
    }
}

/// What was written down of a share: its bytes, and how many slots of the log were here then.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Taken {
    bytes: u64,
    slots: u64,
}

impl Taken {
    fn to_bytes(self) -> Bytes {
        Bytes::from([self.bytes.to_be_bytes(), self.slots.to_be_bytes()].concat())
    }

    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (bytes, slots) = bytes.split_first_chunk()?;
        let slots = slots.try_into().ok()?;
        Some(Self { bytes: u64::from_be_bytes(*bytes), slots: u64::from_be_bytes(slots) })
    }
}

/// Takes a share for one log. It is read once at a time.
///
/// # Errors
/// All of it is used, or the disk.
pub(super) async fn take(shared: &SharedRef, process: Id) -> Result<Share, NotRead> {
    let _turn = shared.wishes.turn.lock().await;
    if shared.store.read()?.setting(&name(process))?.is_some() {
        // It could not be given back.
        settle_one(shared, name(process)).await?;
    }
    let reader = shared.store.read()?;
    let (all, used) = (shared.config.others_logs_bytes, used(&reader)?);
    let most = all.saturating_sub(used).min(all / PART);
    if most == 0 {
        return Err(Declined::Logs(all).into());
    }
    let taken = Taken { bytes: most, slots: slots(&reader, process)? };
    let name = name(process);
    shared.store.write(vec![counted(used + most), Write::Setting { name, value: taken.to_bytes() }]).await?;
    Ok(Share { process, allowance: Arc::new(Allowance::new(most)) })
}

/// Gives back what did not come.
///
/// # Errors
/// The disk.
pub(super) async fn give_back(shared: &SharedRef, share: &Share) -> Result<(), StoreError> {
    let _turn = shared.wishes.turn.lock().await;
    let used = used(&shared.store.read()?)?.saturating_sub(share.allowance.left());
    shared.store.write(vec![counted(used), Write::DropSetting { name: name(share.process) }]).await
}

/// Gives back what did not come of the shares of an earlier life.
///
/// # Errors
/// The disk.
pub(super) async fn settle(shared: &SharedRef) -> Result<(), StoreError> {
    let _turn = shared.wishes.turn.lock().await;
    for name in shared.store.read()?.setting_names(TAKEN)? {
        settle_one(shared, name).await?;
    }
    Ok(())
}

async fn settle_one(shared: &SharedRef, name: String) -> Result<(), StoreError> {
    let reader = shared.store.read()?;
    let (used, of) = (used(&reader)?, name.clone());
    let unused = tokio::task::spawn_blocking(move || unused(&reader, &of)).await;
    let unused = unused.map_err(|_| StoreError::Closed)??;
    shared.store.write(vec![counted(used.saturating_sub(unused)), Write::DropSetting { name }]).await
}

/// What was taken for a log and did not come.
fn unused(reader: &Reader, name: &str) -> Result<u64, StoreError> {
    let taken = reader.setting(name)?.and_then(|bytes| Taken::from_bytes(&bytes));
    let process = name.strip_prefix(TAKEN).and_then(|id| id.parse().ok());
    let Some((taken, process)) = taken.zip(process) else { return Ok(0) };
    Ok(taken.bytes.saturating_sub(came(reader, process, taken)?))
}

/// What came of a log since its share was taken, as far as the share goes.
fn came(reader: &Reader, process: Id, taken: Taken) -> Result<u64, StoreError> {
    let (head, mut next, mut bytes) = (slots(reader, process)?, taken.slots, 0);
    while next < head && bytes < taken.bytes {
        if let Some(row) = reader.slot(&process, next)? {
            bytes += row.assignment.len() as u64;
            for item in [Some(row.item), row.proof].into_iter().flatten() {
                bytes += reader.item(&item)?.map_or(0, |raw| raw.len() as u64);
            }
        }
        next += 1;
    }
    Ok(bytes)
}

fn slots(reader: &Reader, process: Id) -> Result<u64, StoreError> {
    Ok(reader.head(&process)?.map_or(0, |(slot, _)| slot + 1))
}

fn used(reader: &Reader) -> Result<u64, StoreError> {
    let setting = reader.setting(SETTING)?;
    let number = setting.and_then(|bytes| Some(u64::from_be_bytes(bytes.as_ref().try_into().ok()?)));
    Ok(number.unwrap_or_default())
}

fn counted(used: u64) -> Write {
    Write::Setting { name: SETTING.to_owned(), value: Bytes::copy_from_slice(&used.to_be_bytes()) }
}

fn name(process: Id) -> String {
    format!("{TAKEN}{process}")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use weft_protocol::crypto::Signer;
    use weft_protocol::{Draft, Hash};
    use weft_storage::SlotRow;

    use super::*;
    use crate::shared::testing::in_memory;

    const PROCESS: Id = Id([7; 32]);
    const ALL: u64 = 16_000;

    fn node() -> SharedRef {
        let mut shared = in_memory(Signer::from_seed(&[3; 32]));
        Arc::get_mut(&mut shared).unwrap().config.others_logs_bytes = ALL;
        shared
    }

    /// A slot of the log; answers its bytes.
    async fn slot(shared: &SharedRef, slot: u64) -> u64 {
        let draft = Draft { data: format!("slot {slot}").into(), ..Draft::default() };
        let item = draft.sign(&shared.signer).unwrap();
        let row = SlotRow {
            epoch: 0,
            assignment_id: Id([slot as u8 + 1; 32]),
            assignment: Bytes::from(vec![1; 20]),
            item: item.id(),
            proof: None,
            chain: Hash([slot as u8 + 1; 32]),
            timestamp: slot,
            block_height: 0,
        };
        let bytes = item.raw().len() as u64 + 20;
        let item = Write::Item { id: item.id(), raw: item.raw().clone() };
        shared.store.write(vec![item, Write::Slot { process: PROCESS, slot, row }]).await.unwrap();
        bytes
    }

    fn used_now(shared: &SharedRef) -> u64 {
        used(&shared.store.read().unwrap()).unwrap()
    }

    #[tokio::test]
    async fn what_did_not_come_is_given_back_also_after_a_stop() {
        let shared = node();
        slot(&shared, 0).await;
        let share = take(&shared, PROCESS).await.unwrap();
        assert_eq!((share.allowance.granted(), used_now(&shared)), (ALL / PART, ALL / PART));
        let mut came = slot(&shared, 1).await;
        // The node is stopped amid the read. What was here before it is nobody's share.
        drop(share);
        settle(&shared).await.unwrap();
        assert_eq!(used_now(&shared), came);
        // Again, and nothing more is given back than was taken once.
        settle(&shared).await.unwrap();
        assert_eq!(used_now(&shared), came);
        // One that is taken while the last one was not given back.
        drop(take(&shared, PROCESS).await.unwrap());
        came += slot(&shared, 2).await;
        let share = take(&shared, PROCESS).await.unwrap();
        assert_eq!(used_now(&shared), came + ALL / PART);
        give_back(&shared, &share).await.unwrap();
        assert_eq!(used_now(&shared), came);
        // A log that grew beyond its share uses all of it.
        let share = take(&shared, PROCESS).await.unwrap();
        for number in 3..12 {
            slot(&shared, number).await;
        }
        drop(share);
        settle(&shared).await.unwrap();
        assert_eq!(used_now(&shared), came + ALL / PART);
        assert_eq!(shared.store.read().unwrap().setting_names(TAKEN).unwrap(), Vec::<String>::new());
    }
}
