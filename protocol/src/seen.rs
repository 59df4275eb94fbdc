//! Each item and each push counts once: RULES.md 6.3.
//!
//! The seen list of a process holds, in position order, a key for every assigned item and one
//! for every accepted push. A slot whose key is already there is consumed with an empty outcome.

use std::collections::BTreeMap;

use crate::assignment::Assignment;
use crate::base_layer;
use crate::data_item::DataItem;
use crate::deep_hash::{Chunk, DeepHash, deep_hash};
use crate::hashing;
use crate::id::{Hash, Id};
use crate::mark;
use crate::process::Process;
use crate::push::is_own_tag;
use crate::sender::Origin;
use crate::state::{LEAF_BYTES, leaf_hash, tree_root};
use crate::tag::{self, Tag};

/// Keys of one leaf of the tree.
const LEAF_KEYS: usize = LEAF_BYTES / 32;

/// The key of an assigned item.
pub fn item_key(item: Id) -> Hash {
    hashing::sha256("weft/seen/i", &[&item.0])
}

/// The key of a proven push.
pub fn push_key(push: &Hash) -> Hash {
    hashing::sha256("weft/seen/p", &[&push.0])
}

/// The key of a legacy push, whichever authority signed it.
pub fn digest_key(digest: &DeepHash) -> Hash {
    hashing::sha256("weft/seen/d", &[digest])
}

/// The reference's digest of a pushed item: the deep hash of an item without owner, with its tags
/// sorted by name and value and without `Pushed-For`, so that every carrier's copy has the same.
/// Our own tags are left out, so that a proven push and a legacy one of the same entry agree.
pub fn reference_digest(item: &DataItem) -> DeepHash {
    let mut tags: Vec<Tag> = item
        .tags()
        .iter()
        .filter(|tag| tag.name != "Pushed-For" && !is_own_tag(&tag.name))
        .cloned()
        .collect();
    tags.sort();
    let data = item.data();
    deep_hash(&Chunk::List(vec![
        Chunk::Blob(b"dataitem"),
        Chunk::Blob(b"1"),
        Chunk::Blob(b"1"),
        Chunk::Blob(b""),
        Chunk::Blob(item.target().as_ref().map_or(&[], |id| &id.0)),
        Chunk::Blob(item.anchor().map_or(&[], |anchor| anchor)),
        Chunk::Blob(&tag::encode_unchecked(&tags)),
        Chunk::Blob(&data),
    ]))
}

/// The keys under which one assigned item counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SeenKeys {
    item: Hash,
    /// Of the transaction that the item carries.
    carried: Option<Hash>,
    push: Option<Hash>,
    digest: Option<Hash>,
    /// Of what the item opens under `/data/`.
    attested: Option<Hash>,
}

impl SeenKeys {
    /// The keys of an item that its target takes as `origin` says. Only accepted pushes have
    /// keys beside the item's, so that a stranger cannot squat on a predictable push id.
    pub fn of(item: &DataItem, origin: &Origin) -> Self {
        let digest = || digest_key(&reference_digest(item));
        let (push, digest) = match origin {
            Origin::Proven(source) => (Some(push_key(&source.push)), Some(digest())),
            Origin::Legacy { .. } => (None, Some(digest())),
            Origin::Direct => (None, None),
        };
        Self { push, digest, ..Self::of_item(item.id()) }
    }

    /// The keys of an item that `process` takes as `origin` says, at whatever slot it comes to stand.
    pub fn of_submission(process: &Process, item: &DataItem, origin: &Origin) -> Self {
        Self {
            carried: base_layer::carried_id(process, item).map(item_key),
            // Whoever carries a push signs what somebody else says.
            attested: (*origin == Origin::Direct)
                .then(|| base_layer::attested(process, item).map(base_layer::attested_key))
                .flatten(),
            ..Self::of(item, origin)
        }
    }

    /// The keys of an item that `assignment` puts into the log of `process`, which takes it as `origin` says.
    pub fn in_log(process: &Process, assignment: &Assignment, item: &DataItem, origin: &Origin) -> Self {
        let is_of_log = mark::is_of_log(process, assignment.scheduler, item, assignment.slot);
        if is_of_log || item.id() == process.id() {
            Self::of_item(item.id())
        } else {
            Self::of_submission(process, item, origin)
        }
    }

    /// The keys of an item that is no push: the Process item at slot 0, marks and offer sets.
    pub fn of_item(item: Id) -> Self {
        Self { item: item_key(item), carried: None, push: None, digest: None, attested: None }
    }

    /// The first slot that held the item or push, where `slot_of` says which slot added a key.
    pub fn find(&self, slot_of: impl FnMut(Hash) -> Option<u64>) -> Option<u64> {
        self.blocking().find_map(slot_of)
    }

    /// The keys that make a later position a duplicate. A legacy push never blocks a proven one,
    /// so of a proven push the digest does not count.
    fn blocking(&self) -> impl Iterator<Item = Hash> {
        let digest = if self.push.is_some() { None } else { self.digest };
        [Some(self.item), self.carried, self.push, digest].into_iter().flatten()
    }

    /// The keys that the item adds, as far as they are not there already.
    pub fn all(&self) -> impl Iterator<Item = Hash> {
        [Some(self.item), self.carried, self.push, self.digest, self.attested].into_iter().flatten()
    }
}

/// The seen list of one process.
#[derive(Debug, Clone, Default)]
pub struct SeenList {
    /// Each key with the slot that added it, in position order.
    keys: Vec<(Hash, u64)>,
    slots: BTreeMap<Hash, u64>,
    /// Hashes of the full leaves of the tree over the keys.
    leaves: Vec<Hash>,
}

impl SeenList {
    /// The first slot that held the item or push, if any.
    pub fn find(&self, keys: &SeenKeys) -> Option<u64> {
        keys.find(|key| self.slots.get(&key).copied())
    }

    /// Takes the keys of the item at `slot`, before it is evaluated; those already there stay
    /// with the slot that has them. Returns the first slot if the item or push is a duplicate.
    pub fn admit(&mut self, slot: u64, keys: &SeenKeys) -> Option<u64> {
        let first = self.find(keys);
        for key in keys.all() {
            self.push(key, slot);
        }
        first
    }

    /// Adds one key as it stands in a stored list or a checkpoint; one that is there already is
    /// left as it is.
    pub fn push(&mut self, key: Hash, slot: u64) {
        if self.slots.contains_key(&key) {
            return;
        }
        self.slots.insert(key, slot);
        self.keys.push((key, slot));
        if self.keys.len().is_multiple_of(LEAF_KEYS) {
            self.leaves.push(self.leaf(self.leaves.len()));
        }
    }

    /// Forgets everything from `slot` on: those slots are void (RULES.md 6.11).
    pub fn rewind(&mut self, slot: u64) {
        let kept = self.keys.partition_point(|&(_, of)| of < slot);
        for (key, _) in self.keys.drain(kept..) {
            self.slots.remove(&key);
        }
        self.leaves.truncate(kept / LEAF_KEYS);
    }

    /// How many keys there are.
    pub const fn len(&self) -> usize {
        self.keys.len()
    }

    /// Whether there are no keys.
    pub const fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// The keys in position order, each with the slot that added it.
    pub fn iter(&self) -> impl Iterator<Item = (Hash, u64)> {
        self.keys.iter().copied()
    }

    /// The root of the tree over the keys.
    pub fn root(&self) -> Hash {
        let mut leaves = self.leaves.clone();
        if !self.keys.len().is_multiple_of(LEAF_KEYS) {
            leaves.push(self.leaf(leaves.len()));
        }
        tree_root(leaves)
    }

    fn leaf(&self, index: usize) -> Hash {
        let keys = self.keys.iter().skip(index * LEAF_KEYS).take(LEAF_KEYS);
        leaf_hash(&keys.flat_map(|(key, _)| key.0).collect::<Vec<u8>>())
    }
}
