//! Processes that clients spawned through this node where other nodes schedule them: clients look for theirs by
//! owner and name, and who finds none spawns another. Their headers are on disk, the newest of them.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use weft_protocol::Id;
use weft_storage::{Reader, StoreError, Write};

use super::find::Header;
use crate::shared::Shared;

/// Headers that are kept, of some kilobytes each; of more the oldest are forgotten.
const KEPT_MAX: usize = 2_048;
/// What starts the name of the setting with one of them; the id of its process follows.
const SETTING: &str = "gateway-spawned/";

/// The headers of such processes.
#[derive(Debug, Default)]
pub(super) struct Spawned(Mutex<BTreeMap<Id, Header>>);

impl Spawned {
    /// Reads what is on disk; what cannot be read is told, and not there.
    pub(super) fn read(shared: &Shared) -> Self {
        let read = shared.store.read().and_then(|reader| read(&reader));
        let headers = read.unwrap_or_else(|error| {
            tracing::warn!(%error, "processes that were spawned through the gateway are not remembered");
            BTreeMap::new()
        });
        Self(Mutex::new(headers))
    }

    pub(super) fn get(&self, id: &Id) -> Option<Header> {
        self.lock().get(id).cloned()
    }

    /// Those of which this is true.
    pub(super) fn matching(&self, takes: impl Fn(&Header) -> bool) -> Vec<Header> {
        self.lock().values().filter(|header| takes(header)).cloned().collect()
    }

    /// Adds one, and gives the writes that put it on disk.
    fn add(&self, header: Header) -> Vec<Write> {
        let mut headers = self.lock();
        let Ok(value) = serde_json::to_vec(&header) else { return Vec::new() };
        let mut writes = vec![Write::Setting { name: setting(&header.id), value: Bytes::from(value) }];
        headers.insert(header.id, header);
        while headers.len() > KEPT_MAX {
            let oldest = headers.values().min_by_key(|header| header.place).map(|header| header.id);
            let Some(oldest) = oldest else { break };
            headers.remove(&oldest);
            writes.push(Write::DropSetting { name: setting(&oldest) });
        }
        writes
    }

    /// Remembers one. That the disk does not take it is told to the operator alone: the process is there.
    pub(super) async fn remember(&self, shared: &Shared, header: Header) {
        let (process, writes) = (header.id, self.add(header));
        if let Err(error) = shared.store.write(writes).await {
            tracing::warn!(%process, %error, "a process will not be found by its name after a restart");
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Id, Header>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn setting(process: &Id) -> String {
    format!("{SETTING}{process}")
}

fn read(reader: &Reader) -> Result<BTreeMap<Id, Header>, StoreError> {
    let mut headers = BTreeMap::new();
    for name in reader.setting_names(SETTING)? {
        let header = reader.setting(&name)?.and_then(|value| serde_json::from_slice::<Header>(&value).ok());
        headers.extend(header.map(|header| (header.id, header)));
    }
    Ok(headers)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use weft_protocol::crypto::Signer;
    use weft_protocol::{Draft, Network, Tag};
    use weft_storage::{Store, StoreConfig};

    use super::super::find::Place;
    use super::*;

    fn header(number: u64) -> Header {
        let tags = vec![Tag::new("Type", "Process"), Tag::new("Name", number.to_string())];
        let item = Draft { tags, ..Draft::default() }.sign(&Signer::from_seed(&[1; 32])).unwrap();
        Header::of(&item, Some(Place { height: 0, timestamp: number }))
    }

    #[test]
    fn the_newest_are_there_after_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        let signer = Signer::from_seed(&[2; 32]);
        let config = StoreConfig::new(Network(7), signer.address());
        let store = Store::open(&folder.path().join("store.redb"), &config).unwrap();
        let spawned = Spawned::default();
        let (first, last) = (header(0), header(KEPT_MAX as u64));
        let mut writes = spawned.add(first.clone());
        // The signatures of those between would take the test's time.
        for number in 1..KEPT_MAX as u64 {
            let mut other = first.clone();
            other.id.0[..8].copy_from_slice(&number.to_be_bytes());
            other.place = Some(Place { height: 0, timestamp: number });
            writes.extend(spawned.add(other));
        }
        assert_eq!(spawned.get(&first.id), Some(first.clone()));
        writes.extend(spawned.add(last.clone()));
        store.write_blocking(writes).unwrap();
        let again = read(&store.read().unwrap()).unwrap();
        assert_eq!(again.len(), KEPT_MAX);
        assert_eq!(again.get(&last.id), Some(&last));
        assert!(!again.contains_key(&first.id) && spawned.get(&first.id).is_none());
        assert_eq!(again.into_values().collect::<Vec<_>>(), spawned.matching(|_| true));
    }
}
