//! Typed access to the weave's file, within one transaction.

use bytes::Bytes;
use redb::{ReadTransaction, ReadableTable as _, ReadableTableMetadata as _, WriteTransaction};
use weft_protocol::{DataItem, Hash, Id};

use super::super::AnchorError;
use super::block::Block;
use super::find::terms;
use super::rows::{BundleRow, Place, Table};
use crate::error::{StoreError, hex};
use crate::key;
use crate::record::{self, Record};
use crate::rows::{Nothing, Raw};

/// What reading and writing transactions can both look up.
pub(super) trait Access {
    fn raw(&self, table: Table, key: &[u8]) -> Result<Option<Bytes>, StoreError>;

    /// How many rows a table has.
    fn length(&self, table: Table) -> Result<u64, StoreError>;

    fn get<R: Record>(&self, table: Table, key: &[u8]) -> Result<Option<R>, StoreError> {
        self.raw(table, key)?.map(|bytes| record::decode(table.name(), key, bytes)).transpose()
    }

    /// A row that another row says must be there.
    fn named<R: Record>(&self, table: Table, key: &[u8]) -> Result<R, StoreError> {
        let missing = || StoreError::Missing { table: table.name(), key: hex(key) };
        self.get(table, key)?.ok_or_else(missing)
    }

    fn has(&self, table: Table, key: &[u8]) -> Result<bool, StoreError> {
        Ok(self.raw(table, key)?.is_some())
    }

    fn block(&self, height: u64) -> Result<Option<Block>, StoreError> {
        self.get(Table::Blocks, &height.to_be_bytes())
    }

    fn bundle(&self, data_root: &Hash) -> Result<BundleRow, StoreError> {
        self.named(Table::Bundles, &data_root.0)
    }

    fn item(&self, id: &Id) -> Result<Bytes, StoreError> {
        Ok(self.named::<Raw>(Table::Items, &id.0)?.0)
    }
}

/// A snapshot.
pub(super) struct Reading(pub(super) ReadTransaction);

impl Reading {
    pub(super) fn table(
        &self,
        table: Table,
    ) -> Result<redb::ReadOnlyTable<&'static [u8], &'static [u8]>, StoreError> {
        self.0.open_table(table.definition()).map_err(|error| StoreError::disk("opening a table", error))
    }
}

impl Reading {
    /// Hands over every raw item.
    pub(super) fn each_item(
        &self,
        each: &mut dyn FnMut(Bytes) -> Result<(), AnchorError>,
    ) -> Result<(), AnchorError> {
        let disk = |error| StoreError::disk("scanning", error);
        let table = self.table(Table::Items)?;
        for entry in table.iter().map_err(disk)? {
            let (key, value) = entry.map_err(disk)?;
            let value = Bytes::copy_from_slice(value.value());
            each(record::decode::<Raw>(Table::Items.name(), key.value(), value)?.0)?;
        }
        Ok(())
    }
}

impl Access for Reading {
    fn raw(&self, table: Table, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        let table = self.table(table)?;
        let stored = table.get(key).map_err(|error| StoreError::disk("reading", error))?;
        Ok(stored.map(|guard| Bytes::copy_from_slice(guard.value())))
    }

    fn length(&self, table: Table) -> Result<u64, StoreError> {
        self.table(table)?.len().map_err(|error| StoreError::disk("reading", error))
    }
}

/// A commit in the making. Dropped without [`commit`](Self::commit) it leaves nothing.
pub(super) struct Writing(pub(super) WriteTransaction);

impl Writing {
    fn table(&self, table: Table) -> Result<redb::Table<'_, &'static [u8], &'static [u8]>, StoreError> {
        self.0.open_table(table.definition()).map_err(|error| StoreError::disk("opening a table", error))
    }

    pub(super) fn put<R: Record>(&self, table: Table, key: &[u8], row: &R) -> Result<(), StoreError> {
        let bytes = record::encode(table.name(), key, row);
        self.table(table)?
            .insert(key, bytes.as_slice())
            .map_err(|error| StoreError::disk("writing", error))?;
        Ok(())
    }

    pub(super) fn remove(&self, table: Table, key: &[u8]) -> Result<(), StoreError> {
        self.table(table)?.remove(key).map_err(|error| StoreError::disk("writing", error))?;
        Ok(())
    }

    pub(super) fn put_block(&self, block: &Block) -> Result<(), StoreError> {
        self.put(Table::Blocks, &block.height.to_be_bytes(), block)?;
        self.put(Table::Heights, &block.hash().0, &block.height)?;
        for transaction in &block.transactions {
            self.put(Table::Mined, &transaction.data_root.0, &block.height)?;
        }
        Ok(())
    }

    /// The batches that came first and are in no block, with their order of arrival.
    pub(super) fn first_pending(&self, limit: usize) -> Result<Vec<(u64, Hash)>, StoreError> {
        let disk = |error| StoreError::disk("scanning", error);
        let table = self.table(Table::Pending)?;
        let mut found = Vec::new();
        for entry in table.iter().map_err(disk)?.take(limit) {
            let (key, value) = entry.map_err(disk)?;
            let data_root =
                record::decode(Table::Pending.name(), key.value(), Bytes::copy_from_slice(value.value()))?;
            let sequence = key::Parts(key.value()).u64().ok_or_else(|| StoreError::Damaged {
                table: Table::Pending.name(),
                key: hex(key.value()),
                reason: "the key has the wrong length",
            })?;
            found.push((sequence, data_root));
        }
        Ok(found)
    }

    /// Makes an item of a new block findable. An item that is in a block already stays where it is.
    pub(super) fn index_item(&self, id: &Id, place: Place) -> Result<(), StoreError> {
        if self.has(Table::Places, &id.0)? {
            return Ok(());
        }
        let damaged = || StoreError::Damaged {
            table: Table::Items.name(),
            key: hex(&id.0),
            reason: "the item does not parse",
        };
        // Verified when it was submitted; the record's checksum says that it is still the same.
        let item = DataItem::parse(self.item(id)?).map_err(|_| damaged())?;
        let at = key::place(place.height, place.index);
        self.put(Table::Places, &id.0, &place)?;
        self.put(Table::Order, &at, id)?;
        for term in terms(item.claims()) {
            self.put(Table::Terms, &[term.as_slice(), &at].concat(), &Nothing)?;
        }
        Ok(())
    }

    pub(super) fn commit(self) -> Result<(), StoreError> {
        self.0.commit().map_err(|error| StoreError::disk("committing", error))
    }
}

impl Access for Writing {
    fn raw(&self, table: Table, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        let table = self.table(table)?;
        let stored = table.get(key).map_err(|error| StoreError::disk("reading before a write", error))?;
        Ok(stored.map(|guard| Bytes::copy_from_slice(guard.value())))
    }

    fn length(&self, table: Table) -> Result<u64, StoreError> {
        self.table(table)?.len().map_err(|error| StoreError::disk("reading before a write", error))
    }
}
