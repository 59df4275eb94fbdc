//! ANS-104 data items: parse, build, sign, verify.
//!
//! The raw bytes are kept and verified as they came: tags are never re-encoded before a check.

use std::ops::Range;
use std::sync::{Arc, LazyLock};

use bytes::Bytes;

use crate::crypto::{SignatureError, SignatureType, Signer, verify_signature};
use crate::deep_hash::{Chunk, DeepHash, Prefix};
use crate::id::{Address, Id};
use crate::tag::{self, Tag, TagError};
use crate::verify::{Unverified, Verified};

#[cfg(not(target_arch = "wasm32"))]
mod begun;

/// Why bytes are not a data item.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ItemError {
    /// The bytes end before the named field does.
    #[error("the item ends inside its {0}")]
    Truncated(&'static str),
    /// A signature type that is not 1 to 7.
    #[error("signature type {0} is not supported (1 to 7 are)")]
    SignatureType(u16),
    /// A presence byte other than 0 or 1.
    #[error("the presence byte of the {0} is {1}, not 0 or 1")]
    Presence(&'static str, u8),
    /// Tags that break a rule.
    #[error("tags: {0}")]
    Tags(#[from] TagError),
    /// The signature does not verify.
    #[error("signature: {0}")]
    Signature(#[from] SignatureError),
}

/// A parsed data item. Cloning is cheap: the bytes are shared.
#[derive(Clone, PartialEq, Eq)]
pub struct DataItem {
    raw: Bytes,
    id: Id,
    signature_type: SignatureType,
    target: Option<Id>,
    anchor: Option<[u8; 32]>,
    tags: Arc<[Tag]>,
    raw_tags: Range<usize>,
    data: Range<usize>,
}

impl DataItem {
    /// Parses one item that fills `raw` to its end.
    ///
    /// # Errors
    /// The first field that is missing, malformed or over a limit. Nothing is allocated beyond
    /// the size of the input.
    pub fn parse(raw: impl Into<Bytes>) -> Result<Unverified<Self>, ItemError> {
        let raw = raw.into();
        let mut at = Cursor { raw: &raw, at: 0 };
        let number = u16::from_le_bytes(at.array("signature type")?);
        let signature_type = SignatureType::from_number(number).ok_or(ItemError::SignatureType(number))?;
        let signature = at.take(signature_type.signature_bytes(), "signature")?;
        let id = Id::of_signature(&raw[signature]);
        at.take(signature_type.owner_bytes(), "owner")?;
        let target = at.optional("target")?.map(Id);
        let anchor = at.optional("anchor")?;
        let tag_count = u64::from_le_bytes(at.array("tag count")?);
        let tag_bytes = u64::from_le_bytes(at.array("tag length")?);
        if tag_bytes > crate::limits::TAG_BYTES_MAX as u64 {
            return Err(TagError::TooLong(tag_bytes).into());
        }
        let raw_tags = at.take(tag_bytes as usize, "tags")?;
        let tags = tag::decode(&raw[raw_tags.clone()], tag_count)?.into();
        let data = at.at..raw.len();
        Ok(Unverified(Self { id, signature_type, target, anchor, tags, raw_tags, data, raw }))
    }

    /// Parses and verifies in one step.
    ///
    /// # Errors
    /// As [`parse`](Self::parse) and [`Unverified::verify`].
    pub fn verify_bytes(raw: impl Into<Bytes>) -> Result<Verified<Self>, ItemError> {
        Ok(Self::parse(raw)?.verify()?)
    }

    /// SHA-256 of the signature.
    pub const fn id(&self) -> Id {
        self.id
    }

    /// The whole item as it travels.
    pub const fn raw(&self) -> &Bytes {
        &self.raw
    }

    /// The scheme of the signature.
    pub const fn signature_type(&self) -> SignatureType {
        self.signature_type
    }

    /// The signature bytes.
    pub fn signature(&self) -> &[u8] {
        &self.raw[2..2 + self.signature_type.signature_bytes()]
    }

    /// The public key bytes of the signer.
    pub fn owner_key(&self) -> &[u8] {
        let start = 2 + self.signature_type.signature_bytes();
        &self.raw[start..start + self.signature_type.owner_bytes()]
    }

    /// The signer's address: SHA-256 of the key.
    pub fn owner(&self) -> Address {
        Address::of_key(self.owner_key())
    }

    /// The signer as messages write it: the EIP-55 address of a 65-byte Ethereum key, else the
    /// 43-character address.
    pub fn owner_text(&self) -> String {
        crate::owner::owner_text(self)
    }

    /// Whom the item is for.
    pub const fn target(&self) -> Option<Id> {
        self.target
    }

    /// The item anchor, 32 raw bytes.
    pub const fn anchor(&self) -> Option<&[u8; 32]> {
        self.anchor.as_ref()
    }

    /// The tags in order.
    pub fn tags(&self) -> &[Tag] {
        &self.tags
    }

    /// The first value of a tag, its name compared exactly.
    pub fn tag(&self, name: &str) -> Option<&str> {
        tag::first(&self.tags, name)
    }

    /// The tag bytes as they were signed.
    pub fn raw_tags(&self) -> &[u8] {
        &self.raw[self.raw_tags.clone()]
    }

    /// The data, sharing the item's bytes.
    pub fn data(&self) -> Bytes {
        self.raw.slice(self.data.clone())
    }

    /// What the signature signs: the deep hash of the item's fields.
    pub fn signing_hash(&self) -> DeepHash {
        self.signing_hash_with(Chunk::Blob(&self.raw[self.data.clone()]))
    }

    /// The hash that a signature of these fields with other data signs.
    pub(crate) fn signing_hash_with(&self, data: Chunk<'_>) -> DeepHash {
        signing_hash(
            self.signature_type,
            self.owner_key(),
            self.target.as_ref().map_or(&[], |id| &id.0),
            self.anchor.as_ref().map_or(&[], |anchor| anchor),
            self.raw_tags(),
            data,
        )
    }

    /// The same fields without the data: what stands before it in the item.
    pub(crate) fn without_data(&self) -> Self {
        let end = self.data.start;
        Self { raw: self.raw.slice(..end), data: end..end, ..self.clone() }
    }
}

impl std::fmt::Debug for DataItem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "DataItem({}, {} bytes)", self.id, self.raw.len())
    }
}

impl Unverified<DataItem> {
    /// Checks the signature over the item's bytes.
    ///
    /// # Errors
    /// Why the signature is not that of the owner over these bytes.
    pub fn verify(self) -> Result<Verified<DataItem>, SignatureError> {
        let item = &self.0;
        verify_signature(item.signature_type, item.owner_key(), &item.signing_hash(), item.signature())?;
        Ok(Verified(self.0))
    }
}

/// An item before it is signed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Draft {
    /// Whom the item is for.
    pub target: Option<Id>,
    /// 32 raw bytes of the author's choice.
    pub anchor: Option<[u8; 32]>,
    /// The tags, in the order to sign.
    pub tags: Vec<Tag>,
    /// The data.
    pub data: Bytes,
}

impl Draft {
    /// Signs the draft. Ed25519 and RSA (salt length 0) repeat the same bytes for the same draft.
    ///
    /// # Errors
    /// Tags over a limit, or a key that cannot sign.
    pub fn sign(&self, signer: &Signer) -> Result<Verified<DataItem>, ItemError> {
        let raw_tags = tag::encode(&self.tags)?;
        let target = self.target.as_ref().map_or(&[][..], |id| &id.0);
        let anchor = self.anchor.as_ref().map_or(&[][..], |anchor| anchor);
        let kind = signer.signature_type();
        let owner = signer.owner_key();
        let hash = signing_hash(kind, &owner, target, anchor, &raw_tags, Chunk::Blob(&self.data));
        let signature = signer.sign(&hash)?;
        Ok(Verified(self.with_signature(kind, &owner, &signature, &raw_tags)?.0))
    }

    /// The item of this draft with a signature that was made elsewhere, as an index of a weave lists it. It
    /// is unverified as any other: tags that were encoded otherwise, for one, are not those that were signed.
    ///
    /// # Errors
    /// Tags over a limit, or a key or a signature of another length than its type has.
    pub fn signed_elsewhere(
        &self,
        kind: SignatureType,
        owner: &[u8],
        signature: &[u8],
    ) -> Result<Unverified<DataItem>, ItemError> {
        if signature.len() != kind.signature_bytes() {
            return Err(ItemError::Truncated("signature"));
        }
        if owner.len() != kind.owner_bytes() {
            return Err(ItemError::Truncated("owner"));
        }
        self.with_signature(kind, owner, signature, &tag::encode(&self.tags)?)
    }

    fn with_signature(
        &self,
        kind: SignatureType,
        owner: &[u8],
        signature: &[u8],
        raw_tags: &[u8],
    ) -> Result<Unverified<DataItem>, ItemError> {
        let target = self.target.as_ref().map_or(&[][..], |id| &id.0);
        let anchor = self.anchor.as_ref().map_or(&[][..], |anchor| anchor);
        let mut raw =
            Vec::with_capacity(2 + signature.len() + owner.len() + 82 + raw_tags.len() + self.data.len());
        raw.extend_from_slice(&kind.number().to_le_bytes());
        raw.extend_from_slice(signature);
        raw.extend_from_slice(owner);
        for field in [target, anchor] {
            raw.push(u8::from(!field.is_empty()));
            raw.extend_from_slice(field);
        }
        raw.extend_from_slice(&(self.tags.len() as u64).to_le_bytes());
        raw.extend_from_slice(&(raw_tags.len() as u64).to_le_bytes());
        raw.extend_from_slice(raw_tags);
        raw.extend_from_slice(&self.data);
        DataItem::parse(raw)
    }
}

/// What every item of a signature type hashes first, by the number of the type.
static PREFIXES: LazyLock<[Prefix; SignatureType::ALL.len()]> = LazyLock::new(|| {
    SignatureType::ALL.map(|kind| Prefix::new(8, &[b"dataitem", b"1", kind.number().to_string().as_bytes()]))
});

#[cfg(not(target_arch = "wasm32"))]
use begun::signing_hash;

#[cfg(target_arch = "wasm32")]
fn signing_hash(
    kind: SignatureType,
    owner: &[u8],
    target: &[u8],
    anchor: &[u8],
    raw_tags: &[u8],
    data: Chunk<'_>,
) -> DeepHash {
    let rest = [Chunk::Blob(owner), Chunk::Blob(target), Chunk::Blob(anchor), Chunk::Blob(raw_tags), data];
    PREFIXES[usize::from(kind.number()) - 1].end(&rest)
}

struct Cursor<'a> {
    raw: &'a [u8],
    at: usize,
}

impl Cursor<'_> {
    fn take(&mut self, length: usize, field: &'static str) -> Result<Range<usize>, ItemError> {
        let end = self.at.checked_add(length).filter(|&end| end <= self.raw.len());
        let range = self.at..end.ok_or(ItemError::Truncated(field))?;
        self.at = range.end;
        Ok(range)
    }

    fn array<const N: usize>(&mut self, field: &'static str) -> Result<[u8; N], ItemError> {
        let range = self.take(N, field)?;
        let mut out = [0; N];
        out.copy_from_slice(&self.raw[range]);
        Ok(out)
    }

    fn optional(&mut self, field: &'static str) -> Result<Option<[u8; 32]>, ItemError> {
        match self.array::<1>(field)?[0] {
            0 => Ok(None),
            1 => self.array(field).map(Some),
            other => Err(ItemError::Presence(field, other)),
        }
    }
}
