//! Headers: an item with its data replaced by length and SHA-384.
//!
//! The deep hash that an item's signature signs reaches the data only through these two, so id,
//! owner, tags and signature can be checked from the header alone. Origin proofs carry the
//! header of the source's Process item.

use crate::crypto::{SignatureError, verify_signature};
use crate::data_digest::DataDigest;
use crate::data_item::{DataItem, ItemError};
use crate::deep_hash::Chunk;
use crate::id::{Address, Id};
use crate::tag::Tag;
use crate::verify::{Unverified, Verified};
use bytes::{BufMut as _, Bytes, BytesMut};

/// Bytes of a header: any owner and signature with all the tags an item may have fit.
pub const HEADER_BYTES_MAX: usize = 16 * 1024;

/// Why bytes are not a header.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HeaderError {
    /// Longer than [`HEADER_BYTES_MAX`], or too short to hold a digest.
    #[error("a header of {0} bytes; at least a digest and at most {HEADER_BYTES_MAX} are allowed")]
    Length(usize),
    /// What stands before the digest is not an item without data.
    #[error(transparent)]
    Item(#[from] ItemError),
    /// Bytes between the tags and the digest.
    #[error("the header holds data beside its digest")]
    Data,
}

/// An item without its data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    shell: DataItem,
    data: DataDigest,
}

impl Header {
    /// Parses a header.
    ///
    /// # Errors
    /// A field that is missing, malformed or over a limit.
    pub fn parse(bytes: &Bytes) -> Result<Unverified<Self>, HeaderError> {
        let length = bytes.len();
        let at = length.checked_sub(DataDigest::BYTES).filter(|_| length <= HEADER_BYTES_MAX);
        let at = at.ok_or(HeaderError::Length(length))?;
        let mut digest = [0; DataDigest::BYTES];
        digest.copy_from_slice(&bytes[at..]);
        let shell = DataItem::parse(bytes.slice(..at))?.0;
        if !shell.data().is_empty() {
            return Err(HeaderError::Data);
        }
        Ok(Unverified(Self { shell, data: DataDigest::from_bytes(&digest) }))
    }

    /// The form that proofs carry: the item up to its data, then the digest.
    pub fn to_bytes(&self) -> Bytes {
        let mut out = BytesMut::with_capacity(self.shell.raw().len() + DataDigest::BYTES);
        out.put_slice(self.shell.raw());
        out.put_slice(&self.data.to_bytes());
        out.freeze()
    }

    /// The item's id.
    pub const fn id(&self) -> Id {
        self.shell.id()
    }

    /// The signer's address.
    pub fn owner(&self) -> Address {
        self.shell.owner()
    }

    /// The signer as messages write it, as [`DataItem::owner_text`].
    pub fn owner_text(&self) -> String {
        self.shell.owner_text()
    }

    /// Whom the item is for.
    pub const fn target(&self) -> Option<Id> {
        self.shell.target()
    }

    /// The item anchor.
    pub const fn anchor(&self) -> Option<&[u8; 32]> {
        self.shell.anchor()
    }

    /// The tags in order.
    pub fn tags(&self) -> &[Tag] {
        self.shell.tags()
    }

    /// The first value of a tag.
    pub fn tag(&self, name: &str) -> Option<&str> {
        self.shell.tag(name)
    }

    /// What stands for the data.
    pub const fn data(&self) -> &DataDigest {
        &self.data
    }
}

impl Verified<Header> {
    /// The header of a verified item.
    pub fn of(item: &Verified<DataItem>) -> Self {
        Self(Header { shell: item.without_data(), data: DataDigest::of(&item.data()) })
    }
}

impl Unverified<Header> {
    /// Checks the item's signature.
    ///
    /// # Errors
    /// Why the signature is not that of the owner over the item of this header.
    pub fn verify(self) -> Result<Verified<Header>, SignatureError> {
        let Header { shell, data } = &self.0;
        let data = Chunk::Digest(data);
        let hash = shell.signing_hash_with(data);
        verify_signature(shell.signature_type(), shell.owner_key(), &hash, shell.signature())?;
        Ok(Verified(self.0))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use proptest::prelude::*;

    use super::*;
    use crate::crypto::Signer;
    use crate::data_item::Draft;

    fn item(data: &[u8]) -> Verified<DataItem> {
        let draft = Draft {
            target: Some(Id([4; 32])),
            anchor: Some([5; 32]),
            tags: vec![Tag::new("Type", "Process"), Tag::new("Module", "M")],
            data: Bytes::copy_from_slice(data),
        };
        draft.sign(&Signer::from_seed(&[1; 32])).unwrap()
    }

    #[test]
    fn a_header_verifies_without_the_data() {
        for data in [&b""[..], b"x", &[7; 100_000]] {
            let item = item(data);
            let header = Verified::<Header>::of(&item);
            let read = Header::parse(&header.to_bytes()).unwrap().verify().unwrap();
            assert_eq!(read, header);
            assert_eq!((read.id(), read.owner(), read.tags()), (item.id(), item.owner(), item.tags()));
            assert_eq!(read.data(), &DataDigest::of(data));
        }
    }

    #[test]
    fn header_bytes_are_golden() {
        let bytes = Verified::<Header>::of(&item(b"code")).to_bytes();
        assert_eq!(
            blake3::hash(&bytes).to_hex().as_str(),
            "7ae3c06b7ab83e120b443acd05be062ddc03cdc8bf6bfe4dc217444c6b5402f9"
        );
    }

    proptest! {
        #[test]
        fn no_changed_byte_of_a_header_verifies(at in 0_usize..400, flip in 1_u8..) {
            let header = Verified::<Header>::of(&item(b"code"));
            let mut bytes = header.to_bytes().to_vec();
            let at = at % bytes.len();
            bytes[at] ^= flip;
            if let Ok(read) = Header::parse(&bytes.into()) {
                prop_assert!(read.verify().is_err());
            }
        }

        #[test]
        fn parsing_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = Header::parse(&bytes.into());
        }
    }
}
