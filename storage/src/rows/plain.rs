//! Rows of the store's own: meta, indexes, raw bytes.

use bytes::Bytes;
use weft_protocol::{Address, Hash, Id, Network, Position};

use crate::record::{Decoder, Encoder, Record};

/// Whose store this is and how it is laid out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct MetaRow {
    pub(crate) schema: u32,
    pub(crate) network: Network,
    pub(crate) node: Address,
}

impl Record for MetaRow {
    fn put(&self, out: &mut Encoder) {
        out.u32(self.schema);
        out.u32(self.network.0);
        out.name(&self.node.0);
    }

    fn take(input: &mut Decoder) -> Option<Self> {
        Some(Self { schema: input.u32()?, network: Network(input.u32()?), node: input.address()? })
    }
}

/// Bytes as they are: items, blobs, settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Raw(pub(crate) Bytes);

impl Record for Raw {
    fn put(&self, out: &mut Encoder) {
        out.bytes(&self.0);
    }

    fn take(input: &mut Decoder) -> Option<Self> {
        input.bytes().map(Self)
    }
}

/// An index entry whose key says it all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Nothing;

impl Record for Nothing {
    fn put(&self, _: &mut Encoder) {}

    fn take(_: &mut Decoder) -> Option<Self> {
        Some(Self)
    }
}

impl Record for u64 {
    fn put(&self, out: &mut Encoder) {
        out.u64(*self);
    }

    fn take(input: &mut Decoder) -> Option<Self> {
        input.u64()
    }
}

impl Record for Hash {
    fn put(&self, out: &mut Encoder) {
        out.name(&self.0);
    }

    fn take(input: &mut Decoder) -> Option<Self> {
        input.hash()
    }
}

impl Record for Id {
    fn put(&self, out: &mut Encoder) {
        out.name(&self.0);
    }

    fn take(input: &mut Decoder) -> Option<Self> {
        input.id()
    }
}

impl Record for Position {
    fn put(&self, out: &mut Encoder) {
        out.position(*self);
    }

    fn take(input: &mut Decoder) -> Option<Self> {
        input.position()
    }
}

/// A position and a number: where a seen key stands and its place in the list, or how long a
/// seen list is and its last position.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SeenMark {
    pub(crate) position: Position,
    pub(crate) number: u64,
}

impl Record for SeenMark {
    fn put(&self, out: &mut Encoder) {
        out.position(self.position);
        out.u64(self.number);
    }

    fn take(input: &mut Decoder) -> Option<Self> {
        Some(Self { position: input.position()?, number: input.u64()? })
    }
}
