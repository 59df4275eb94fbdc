//! The outbox of an outcome: its entries, their root, and paths that prove one entry.

use super::entry::{EntryKind, OutboxEntry};
use crate::data_digest::DataDigest;
use crate::hashing;
use crate::id::Hash;
use crate::limits::OUTBOX_ENTRIES_MAX;
use crate::merkle;

/// What leaves a process at one position: messages, then spawns, then assignments, one index
/// over all three.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Outbox {
    entries: Vec<OutboxEntry>,
    /// Entries beyond the limit, which are dropped and have no leaf.
    excess: u32,
}

/// What proves that an entry stands in an outbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EntryPath {
    /// The entry's index.
    pub index: u32,
    /// Entries of the outbox, dropped ones included.
    pub count: u32,
    /// Siblings from the entry's leaf up to the root.
    pub siblings: Vec<Hash>,
}

impl EntryPath {
    /// The outbox root that this path gives an entry; none if the path cannot belong to any
    /// outbox. The entry is given as its head and the digest of its data, so that a proof need
    /// not repeat the data of the item that it goes with.
    pub fn root(&self, head: &[u8], data: &DataDigest) -> Option<Hash> {
        let leaves = (self.count as usize).min(OUTBOX_ENTRIES_MAX);
        let leaf = leaf(self.index, head, data);
        let tree = merkle::root_of_path(leaf, self.index as usize, leaves, &self.siblings)?;
        Some(commit(self.count, &tree))
    }
}

impl Outbox {
    /// An outbox of these entries and of `excess` more that are over the limit.
    pub fn new(mut entries: Vec<OutboxEntry>, excess: u32) -> Self {
        let over = entries.len().saturating_sub(OUTBOX_ENTRIES_MAX) as u32;
        entries.truncate(OUTBOX_ENTRIES_MAX);
        Self { entries, excess: excess.saturating_add(over) }
    }

    /// The entries by index, dropped ones included; those over the limit left out.
    pub fn entries(&self) -> &[OutboxEntry] {
        &self.entries
    }

    /// The entries that ask for something, each with its index.
    pub fn live(&self) -> impl Iterator<Item = (u32, &OutboxEntry)> {
        (0u32..).zip(&self.entries).filter(|(_, entry)| entry.kind != EntryKind::Dropped)
    }

    /// Entries of all kinds, those over the limit included.
    pub fn count(&self) -> u32 {
        (self.entries.len() as u32).saturating_add(self.excess)
    }

    /// Whether nothing was asked for at all.
    pub fn is_empty(&self) -> bool {
        self.count() == 0
    }

    /// The root: the number of entries and the tree over those within the limit.
    pub fn root(&self) -> Hash {
        commit(self.count(), &merkle::root(self.leaves()))
    }

    /// The path of the entry at `index`; none if there is no such leaf.
    pub fn path(&self, index: u32) -> Option<EntryPath> {
        let siblings = merkle::path(&self.leaves(), index as usize)?;
        Some(EntryPath { index, count: self.count(), siblings })
    }

    fn leaves(&self) -> Vec<Hash> {
        (0u32..)
            .zip(&self.entries)
            .map(|(index, entry)| leaf(index, &entry.head_bytes(), &DataDigest::of(&entry.data)))
            .collect()
    }
}

/// The data enters as length and SHA-384, which is how item signatures reach it too: the header
/// of a spawned process is then enough to show that it is what its parent asked for.
fn leaf(index: u32, head: &[u8], data: &DataDigest) -> Hash {
    merkle::leaf(&[b"weft/entry/1", &index.to_be_bytes(), head, &data.to_bytes()])
}

fn commit(count: u32, tree: &Hash) -> Hash {
    hashing::blake3("weft/outbox/1", &[&count.to_be_bytes(), &tree.0])
}
