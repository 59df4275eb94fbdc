//! The peer book.

use crate::limits::PEER_ADDRESSES_MAX;
use crate::record::{Decoder, Encoder, Record};

/// A peer that this node talked to, by its network name.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PeerRow {
    /// Where it was reached, best first.
    pub addresses: Vec<String>,
    /// When it was last connected, in milliseconds since the Unix epoch.
    pub last_seen_ms: u64,
    /// Failed dials since then.
    pub failures: u32,
    /// Not to be dialled or accepted before this time; 0 for never banned.
    pub banned_until_ms: u64,
}

impl Record for PeerRow {
    fn put(&self, out: &mut Encoder) {
        out.u32(u32::try_from(self.addresses.len()).unwrap_or(u32::MAX));
        for address in &self.addresses {
            out.bytes(address.as_bytes());
        }
        out.u64(self.last_seen_ms);
        out.u32(self.failures);
        out.u64(self.banned_until_ms);
    }

    fn take(input: &mut Decoder) -> Option<Self> {
        let count = usize::try_from(input.u32()?).ok().filter(|&count| count <= PEER_ADDRESSES_MAX)?;
        Some(Self {
            addresses: input.list(count, 4, Decoder::text)?,
            last_seen_ms: input.u64()?,
            failures: input.u32()?,
            banned_until_ms: input.u64()?,
        })
    }
}
