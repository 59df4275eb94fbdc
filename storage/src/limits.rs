//! Limits of the store, each with its reason and what happens when it is reached.

use std::time::Duration;

/// Requests waiting for the writer. When the queue is full, callers wait: back-pressure.
pub const QUEUE_REQUESTS_MAX: usize = 4096;
/// Bytes waiting for the writer, so that a full queue of large items cannot exhaust memory.
/// Callers wait; one request larger than this waits until it is alone.
pub const QUEUE_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Requests in one commit: bounds the delay that the last of a group causes to the first.
pub const GROUP_REQUESTS_MAX: usize = 1024;
/// Bytes in one commit: about what a disk takes in the time of one sync.
pub const GROUP_BYTES_MAX: usize = 8 * 1024 * 1024;
/// Time a group stays open to newcomers while they keep coming. An idle queue commits at once.
pub const GROUP_TIME_MAX: Duration = Duration::from_millis(5);
/// Writes in one request. More are refused: they belong in several.
pub const REQUEST_WRITES_MAX: usize = 65_536;
/// Bytes of one request (a module of the largest kind known, twice). More are refused.
pub const REQUEST_BYTES_MAX: usize = 1024 * 1024 * 1024;
/// Rows that one scan returns, whatever limit the caller gives.
pub const SCAN_ROWS_MAX: usize = 100_000;
/// Bytes of one memory page: a leaf of the state tree (RULES.md 6.7).
pub const PAGE_BYTES_MAX: usize = 64 * 1024;
/// Pages of one checkpoint: 16 GiB of memory, the largest that a process may have.
pub const CHECKPOINT_PAGES_MAX: usize = 262_144;
/// Checkpoints that are looked at for one that can be read; of older ones nobody hears.
pub const CHECKPOINTS_LOOKED_AT_MAX: usize = 16;
/// Bytes of a setting's or a weave's name: they are keys, and long keys slow every lookup.
pub const NAME_BYTES_MAX: usize = 256;
/// Part of a store's limit that new work leaves free for what was promised.
pub const ROOM_RESERVE_PART: u64 = 8;
/// The least of it: a few commits of small rows.
pub const ROOM_RESERVE_MIN: u64 = 1024 * 1024;
/// The most of it: some groups of the largest kind, and a module of the largest kind known.
pub const ROOM_RESERVE_MAX: u64 = 256 * 1024 * 1024;
/// Memory that redb may use for cached pages unless the configuration says otherwise.
pub const CACHE_BYTES_DEFAULT: usize = 128 * 1024 * 1024;
/// Memory for cached pages of each file of a copy: it is read once, in order.
pub const COPY_CACHE_BYTES: usize = 32 * 1024 * 1024;
/// Bytes of one commit of a copy: enough that syncing costs little beside them.
pub const COPY_CHUNK_BYTES: usize = 8 * 1024 * 1024;
/// Bytes of one batch: what one upload carries and one reader holds in memory.
pub const BATCH_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Items of one batch: bounds the header and the index rows that one block brings.
pub const BATCH_ITEMS_MAX: usize = 65_536;
/// Batches that go to a weave in one transaction: bounds a row.
pub const POSTING_PARTS_MAX: usize = 1024;
/// Bytes of a transaction without its data: an RSA key, a signature and the most tags, in base64.
pub const HEADER_BYTES_MAX: usize = 16 * 1024;
/// Bytes of the name of a block: those of Arweave have 64 characters.
pub const BLOCK_NAME_BYTES_MAX: usize = 64;
/// Transactions that brought one batch to the local weave: another is signed for the same bytes only where the first was
/// lost. More are refused, because each is a row that stays.
pub const BATCH_TRANSACTIONS_MAX: usize = 16;
/// Batches that wait for a block of the local weave. More are refused until one is mined.
pub const WEAVE_PENDING_MAX: usize = 10_000;
/// Transactions of one block, as on Arweave. The rest wait for the next block.
pub const BLOCK_TRANSACTIONS_MAX: usize = 1000;
/// Items that one search of the local weave looks at. A page that stops there has a next cursor.
pub const FIND_LOOKS_MAX: usize = 10_000;
/// Items of one page of found items.
pub const FIND_ITEMS_MAX: usize = 1000;
/// Values, owners and tags that one query may name: each is a scan.
pub const QUERY_TERMS_MAX: usize = 100;
/// Problems that a check names one by one. The rest are counted: a damaged file has many of a kind.
pub const PROBLEMS_SHOWN_MAX: usize = 100;
