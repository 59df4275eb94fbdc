//! redb alone on the store of a node.

use std::path::Path;
use std::time::{Duration, Instant};

// tidy-allow(third-party): what bounds opening a node's store is redb without the store
use redb::{Builder, ReadableDatabase as _, ReadableTable as _, TableDefinition};
use weft_storage::limits::CACHE_BYTES_DEFAULT;

/// What is done for each process: a node reads all of it before it answers, and the other tables as they are needed.
const PROCESSES: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("processes/1");

/// When what was so, from the moment that the file was asked for.
#[derive(Debug, Clone, Copy)]
pub struct Opened {
    /// redb had opened it.
    pub open: Duration,
    /// Every row of its processes was read.
    pub read: Duration,
}

/// Opens a store that no node has open, and closes it again, which is not timed.
pub fn open(store: &Path, processes: usize) -> Opened {
    let began = Instant::now();
    let database = Builder::new().set_cache_size(CACHE_BYTES_DEFAULT).open(store).unwrap();
    let open = began.elapsed();
    let reading = database.begin_read().unwrap();
    let table = reading.open_table(PROCESSES).unwrap();
    let rows = table.iter().unwrap().map(|row| row.unwrap().1.value().len());
    let rows = rows.filter(|bytes| *bytes > 0).count();
    let read = began.elapsed();
    assert_eq!(rows, processes);
    Opened { open, read }
}
