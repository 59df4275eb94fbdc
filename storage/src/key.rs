//! Composite keys: fixed-width parts, integers big-endian, so that byte order is row order.

use weft_protocol::{Hash, Id, Position};

use crate::rows::ClaimKey;

/// Process and one more 32-byte name.
pub(crate) fn pair(process: &Id, other: &[u8; 32]) -> Vec<u8> {
    [process.as_bytes().as_slice(), other].concat()
}

/// Process and a counter: slots, and places in the seen list.
pub(crate) fn counted(process: &Id, counter: u64) -> Vec<u8> {
    [process.as_bytes().as_slice(), &counter.to_be_bytes()].concat()
}

/// Process and position.
pub(crate) fn position(process: &Id, position: Position) -> Vec<u8> {
    [process.as_bytes().as_slice(), &position.to_bytes()].concat()
}

/// Process, position and index in the outbox.
pub(crate) fn outbox(process: &Id, position: Position, index: u32) -> Vec<u8> {
    [process.as_bytes().as_slice(), &position.to_bytes(), &index.to_be_bytes()].concat()
}

/// Process, position and attestor.
pub(crate) fn attestation(process: &Id, position: Position, attestor: &[u8; 32]) -> Vec<u8> {
    [process.as_bytes().as_slice(), &position.to_bytes(), attestor].concat()
}

/// Process and the name of a weave.
pub(crate) fn weave(process: &Id, weave: &str) -> Vec<u8> {
    [process.as_bytes().as_slice(), weave.as_bytes()].concat()
}

/// A data root and a weave: the same bytes may be posted to several.
pub(crate) fn on_weave(data_root: &Hash, weave: &str) -> Vec<u8> {
    [data_root.0, blake3::hash(weave.as_bytes()).into()].concat()
}

/// Source, window and number of a claim.
pub(crate) fn claim(claim: &ClaimKey) -> Vec<u8> {
    [claim.source.as_bytes().as_slice(), &claim.window.to_be_bytes(), &claim.number.to_be_bytes()].concat()
}

/// Height of a block and place in it.
pub(crate) fn place(height: u64, index: u32) -> [u8; 12] {
    let mut key = [0; 12];
    key[..8].copy_from_slice(&height.to_be_bytes());
    key[8..].copy_from_slice(&index.to_be_bytes());
    key
}

/// Reads parts back off the front of a key.
pub(crate) struct Parts<'a>(pub(crate) &'a [u8]);

impl Parts<'_> {
    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (head, tail) = self.0.split_first_chunk::<N>()?;
        self.0 = tail;
        Some(*head)
    }

    pub(crate) fn id(&mut self) -> Option<Id> {
        self.array().map(Id)
    }

    pub(crate) fn hash(&mut self) -> Option<Hash> {
        self.array().map(Hash)
    }

    pub(crate) fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_be_bytes)
    }

    pub(crate) fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_be_bytes)
    }

    pub(crate) fn position(&mut self) -> Option<Position> {
        self.array().map(|bytes| Position::from_bytes(&bytes))
    }
}
