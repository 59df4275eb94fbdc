//! Process items in memory: so many, of so many bytes.

use std::collections::BTreeMap;
use std::sync::Arc;

use weft_protocol::Id;
use weft_protocol::process::Process;

/// About what a Process item takes beside its bytes, once it is parsed.
const PARSED_BYTES: usize = 1_024;

/// Some Process items, which are read or looked up again where they are missing. Those that came first
/// go first.
#[derive(Debug)]
pub(super) struct Cache {
    count_max: usize,
    bytes_max: usize,
    bytes: usize,
    /// With the number of its coming.
    kept: BTreeMap<Id, (u64, Arc<Process>)>,
    by_age: BTreeMap<u64, Id>,
    came: u64,
}

impl Cache {
    /// An empty one with room for so many items, and bytes of them.
    pub(super) fn new(count_max: usize, bytes_max: usize) -> Self {
        let (kept, by_age) = Default::default();
        Self { count_max, bytes_max, bytes: 0, kept, by_age, came: 0 }
    }

    pub(super) fn get(&self, process: &Id) -> Option<&Arc<Process>> {
        self.kept.get(process).map(|(_, process)| process)
    }

    /// All of them, in the order of their ids.
    pub(super) fn all(&self) -> impl Iterator<Item = &Arc<Process>> {
        self.kept.values().map(|(_, process)| process)
    }

    /// Keeps a process, the newest of all, and lets go of the oldest that there is no room for any more.
    pub(super) fn put(&mut self, process: Arc<Process>) {
        let id = process.id();
        self.remove(&id);
        self.came += 1;
        self.bytes += size(&process);
        self.by_age.insert(self.came, id);
        self.kept.insert(id, (self.came, process));
        while self.bytes > self.bytes_max || self.kept.len() > self.count_max {
            let Some(oldest) = self.by_age.first_key_value().map(|(_, id)| *id) else { return };
            self.remove(&oldest);
        }
    }

    pub(super) fn remove(&mut self, process: &Id) {
        let Some((came, process)) = self.kept.remove(process) else { return };
        self.by_age.remove(&came);
        self.bytes -= size(&process);
    }
}

fn size(process: &Process) -> usize {
    process.item().raw().len() + PARSED_BYTES
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use weft_protocol::crypto::Signer;
    use weft_protocol::limits::ITEM_BYTES_MAX;
    use weft_protocol::process::Terms;
    use weft_protocol::time::Weave;
    use weft_protocol::{Draft, Network, Tag};

    use super::*;

    /// Another process for each number, with so much data.
    fn process(number: u8, data: usize) -> Arc<Process> {
        let signer = Signer::from_seed(&[1; 32]);
        let name = signer.address().to_string();
        let tags = [("Data-Protocol", "ao"), ("Type", "Process"), ("Scheduler", &*name), ("Module", &*name)];
        let tags = tags.map(|(name, value)| Tag::new(name, value)).into();
        let draft = Draft { target: None, anchor: Some([number; 32]), tags, data: vec![0; data].into() };
        let terms = Terms { network: Network(7), weave: Weave::Clock };
        Process::accept(draft.sign(&signer).unwrap(), None, &terms).unwrap().into()
    }

    #[test]
    fn items_as_large_as_there_are_take_no_more_bytes_than_there_is_room_for() {
        let data = ITEM_BYTES_MAX - 2_048;
        let mut cache = Cache::new(100, 3 * ITEM_BYTES_MAX);
        let all: Vec<_> = (0..8).map(|number| process(number, data)).collect();
        for process in &all {
            cache.put(Arc::clone(process));
            let held: usize = cache.all().map(|process| process.item().raw().len()).sum();
            assert!(held <= 3 * ITEM_BYTES_MAX, "{held} bytes");
        }
        // The newest are there, and a small one costs none but the oldest its place.
        let is_kept =
            |cache: &Cache| all.iter().map(|each| cache.get(&each.id()).is_some()).collect::<Vec<_>>();
        assert_eq!(is_kept(&cache), [false, false, false, false, false, true, true, true]);
        let small = process(9, 8_192);
        cache.put(Arc::clone(&small));
        assert_eq!(is_kept(&cache), [false, false, false, false, false, false, true, true]);
        assert!(cache.get(&small.id()).is_some());
    }

    #[test]
    fn what_is_kept_is_counted_once_and_no_more_when_it_is_gone() {
        let mut cache = Cache::new(2, usize::MAX);
        let [first, second, third] = [1, 2, 3].map(|number| process(number, 100));
        cache.put(Arc::clone(&first));
        cache.put(Arc::clone(&second));
        // One that comes again is the newest.
        cache.put(Arc::clone(&first));
        cache.put(Arc::clone(&third));
        assert!(cache.get(&second.id()).is_none());
        assert_eq!(cache.bytes, size(&first) + size(&third));
        for process in [&first, &second, &third] {
            cache.remove(&process.id());
        }
        assert_eq!((cache.bytes, cache.all().count(), cache.by_age.len()), (0, 0, 0));
    }
}
