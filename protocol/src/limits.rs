//! Limits of the protocol, each with its reason. A peer with other limits is on another network.

/// Tags of one item (ANS-104).
pub const TAGS_MAX: usize = 128;
/// Bytes of a tag name (ANS-104).
pub const TAG_NAME_BYTES_MAX: usize = 1024;
/// Bytes of a tag value (ANS-104).
pub const TAG_VALUE_BYTES_MAX: usize = 3072;
/// Bytes of all encoded tags of one item, when writing and when reading.
pub const TAG_BYTES_MAX: usize = 4096;
/// Bytes of one message item: what the reference's units take.
pub const ITEM_BYTES_MAX: usize = 10 * 1024 * 1024;
