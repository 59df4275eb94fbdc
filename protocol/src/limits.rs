//! Limits of the protocol, each with its reason. A peer with other limits is on another network.

/// Tags of one item (ANS-104).
pub const TAGS_MAX: usize = 128;
/// Bytes of a tag name (ANS-104).
pub const TAG_NAME_BYTES_MAX: usize = 1024;
/// Bytes of a tag value (ANS-104).
pub const TAG_VALUE_BYTES_MAX: usize = 3072;
/// Bytes of all encoded tags of one item, when writing and when reading.
pub const TAG_BYTES_MAX: usize = 4096;
/// Bytes of one module item on its way between nodes.
pub const MODULE_ITEM_BYTES_MAX: usize = 33 * 1024 * 1024;
/// Bytes of one message item: what the reference's units take, and room for a push's own fields
/// around the largest outbox entry.
pub const ITEM_BYTES_MAX: usize = 10 * 1024 * 1024 + 8 * 1024;
/// `Exclude` tags of an assignment: one for each field that can be excluded.
pub const EXCLUDES_MAX: usize = 4;
/// Keys in a compute set: what an origin proof can carry and a reader check.
pub const ATTESTORS_MAX: usize = 16;
/// `Cron-Interval` tags of a process.
pub const CRON_INTERVALS_MAX: usize = 16;
/// Ticks of one interval between two slots that run; the rest are counted and never do.
pub const TICKS_MAX: u64 = 3_600;
/// Gas of one position: the largest `Compute-Limit` and the default.
pub const COMPUTE_LIMIT_MAX: u64 = 9_000_000_000_000;
/// What a smaller `Compute-Limit` counts as, on formats where the reference ignores it.
pub const COMPUTE_LIMIT_IGNORED_MIN: u64 = 100_000_000_000;
/// The largest `Memory-Limit`, in bytes.
pub const MEMORY_LIMIT_MAX: u64 = 16 << 30;
/// The `Memory-Limit` where neither Process nor Module has one, in bytes.
pub const MEMORY_LIMIT_DEFAULT: u64 = 1 << 30;
/// Bytes of a module's result: more is a malformed result.
pub const RESULT_BYTES_MAX: usize = 32 * 1024 * 1024;
/// Nested arrays and objects in a module's result.
pub const JSON_DEPTH_MAX: usize = 512;
/// Values in a module's result, so that parsing allocates no more than a small multiple of it.
pub const JSON_VALUES_MAX: usize = 1 << 20;
/// Entries of one outbox; later ones are dropped.
pub const OUTBOX_ENTRIES_MAX: usize = 1_000;
/// Encoded bytes of all entries of one outbox; an entry that does not fit is dropped.
pub const OUTBOX_BYTES_MAX: usize = 10 * 1024 * 1024;
/// Tags of an outbox entry: a push, a spawn or its answer adds up to 13 and must still be a valid
/// item.
pub const ENTRY_TAGS_MAX: usize = TAGS_MAX - 16;
/// Encoded tag bytes of an outbox entry: what is added comes to some 450 at the most.
pub const ENTRY_TAG_BYTES_MAX: usize = TAG_BYTES_MAX - 512;
/// How far ahead of the own clock an assignment may be, in milliseconds.
pub const TIMESTAMP_AHEAD_MS_MAX: u64 = 10_000;
/// How far above the own view of the named weave an assignment's height may be.
pub const HEIGHT_AHEAD_MAX: u64 = 3;
/// A view of a weave older than this, in milliseconds, does not bound heights.
pub const VIEW_AGE_MS_MAX: u64 = 600_000;
/// Milliseconds of one height of the `clock` weave.
pub const CLOCK_BLOCK_MS: u64 = 120_000;
