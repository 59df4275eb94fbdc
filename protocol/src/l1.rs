//! L1 transactions of format 2: what anchors a bundle on the weave.
//!
//! A transaction's JSON comes from gateways and is bytes from outside: [`L1Tx::parse_json`] limits
//! every field, and [`Unverified::verify`] recomputes the id, the signature and, where data is
//! inline, its root. What it proves is that the wallet signed this data; that the transaction was
//! mined is another matter. Chunks and their proofs are in [`chunk`], and what a block says of its
//! transactions' data in [`block`].

mod binary;
pub mod block;
pub mod chunk;
mod json;
mod word;

pub use word::Word;

use bytes::Bytes;

use crate::crypto::{SignatureError, SignatureType, Signer, verify_signature};
use crate::deep_hash::{Chunk, DeepHash, deep_hash};
use crate::id::{Address, Hash, Id};
use crate::verify::{Unverified, Verified};
use crate::wire::WireError;

/// Bytes of a transaction's JSON: a node takes bodies up to this size.
pub const L1_JSON_BYTES_MAX: usize = 15 * 1024 * 1024;
/// Bytes of all tag names and values together.
pub const L1_TAG_BYTES_MAX: usize = 2048;
/// Tags of one transaction: empty ones take no bytes of the limit above.
pub const L1_TAGS_MAX: usize = 2048;
/// Bytes of the anchor: a block hash or the wallet's last transaction.
pub const LAST_TX_BYTES_MAX: usize = 48;
/// Digits of an amount in winston.
pub const AMOUNT_DIGITS_MAX: usize = 21;

/// Why bytes are not an L1 transaction that counts.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum L1Error {
    /// More bytes than a node would take.
    #[error("a transaction of {0} bytes of JSON; at most {L1_JSON_BYTES_MAX} are allowed")]
    TooLong(usize),
    /// Not the JSON of a transaction.
    #[error("not a transaction: malformed JSON at line {line}, column {column}")]
    Malformed {
        /// The line where reading stopped.
        line: usize,
        /// The column in that line.
        column: usize,
    },
    /// Another format: only format 2 commits to its data by a root.
    #[error("a transaction of format {0}; only format 2 is supported")]
    Format(u64),
    /// A field that is not of its form, or over its limit.
    #[error("the field `{0}` of the transaction is malformed or over its limit")]
    Field(&'static str),
    /// The id is not SHA-256 of the signature.
    #[error("the transaction names itself {named}; its signature hashes to {actual}")]
    Id {
        /// The id in the JSON.
        named: Id,
        /// SHA-256 of the signature.
        actual: Id,
    },
    /// The signature does not verify, or a key cannot sign.
    #[error("signature: {0}")]
    Signature(#[from] SignatureError),
    /// Bytes that are no transaction in the form that peers exchange.
    #[error("not a transaction: {0}")]
    Wire(#[from] WireError),
    /// Inline data that is not what the transaction commits to.
    #[error("the data of the transaction does not match its size and root")]
    Data,
}

/// A tag of a transaction: bytes, which need not be text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct L1Tag {
    /// The name.
    pub name: Bytes,
    /// The value.
    pub value: Bytes,
}

impl L1Tag {
    /// A tag.
    pub fn new(name: impl Into<Bytes>, value: impl Into<Bytes>) -> Self {
        Self { name: name.into(), value: value.into() }
    }
}

/// A transaction before it is signed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct L1Draft {
    /// Who receives the quantity.
    pub target: Option<Address>,
    /// What the target receives, in winston.
    pub quantity: u128,
    /// The fee, in winston.
    pub reward: u128,
    /// A recent block's hash, or the wallet's last transaction, or nothing.
    pub last_tx: Bytes,
    /// The tags.
    pub tags: Vec<L1Tag>,
    /// The data.
    pub data: Bytes,
}

impl L1Draft {
    /// Signs the draft with an RSA wallet. Its data becomes inline data.
    ///
    /// # Errors
    /// A key of another scheme, or a field over its limit.
    pub fn sign(self, signer: &Signer) -> Result<Verified<L1Tx>, L1Error> {
        if signer.signature_type() != SignatureType::Rsa {
            return Err(SignatureError::Signing("an L1 transaction needs an RSA wallet".into()).into());
        }
        self.sign_with(signer.owner_key().into(), |hash| Ok(signer.sign(hash)?.into()))
    }

    /// As [`sign`](Self::sign), for a wallet that somebody else holds: `owner` is its modulus, and `sign` is given
    /// what is signed. What comes back is verified.
    ///
    /// # Errors
    /// A field over its limit, what `sign` says, or a signature that is none of this owner.
    pub fn sign_with(
        self,
        owner: Bytes,
        sign: impl FnOnce(&[u8]) -> Result<Bytes, SignatureError>,
    ) -> Result<Verified<L1Tx>, L1Error> {
        let mut tx = L1Tx {
            id: Id([0; 32]),
            owner,
            target: self.target,
            quantity: self.quantity,
            reward: self.reward,
            last_tx: self.last_tx,
            tags: self.tags,
            data_size: self.data.len() as u64,
            data_root: chunk::data_root(&self.data),
            data: self.data,
            signature: Bytes::new(),
        };
        tx.check_limits()?;
        let hash = tx.signing_hash();
        tx.signature = sign(&hash)?;
        verify_signature(SignatureType::Rsa, &tx.owner, &hash, &tx.signature)?;
        tx.id = Id::of_signature(&tx.signature);
        Ok(Verified(tx))
    }
}

/// An L1 transaction of format 2.
#[derive(Clone, PartialEq, Eq)]
pub struct L1Tx {
    id: Id,
    owner: Bytes,
    target: Option<Address>,
    quantity: u128,
    reward: u128,
    last_tx: Bytes,
    tags: Vec<L1Tag>,
    data_size: u64,
    data_root: Option<Hash>,
    data: Bytes,
    signature: Bytes,
}

impl L1Tx {
    /// Reads a transaction as nodes and gateways print it.
    ///
    /// # Errors
    /// The first field that is missing, malformed or over its limit. What is allocated is a small
    /// multiple of the input.
    pub fn parse_json(text: &[u8]) -> Result<Unverified<Self>, L1Error> {
        json::parse(text).map(Unverified)
    }

    /// Reads a transaction with all of its data, as peers exchange it.
    ///
    /// # Errors
    /// As [`parse_json`](Self::parse_json); bytes that are not canonical.
    pub fn from_bytes(bytes: &Bytes) -> Result<Unverified<Self>, L1Error> {
        binary::parse(bytes).map(Unverified)
    }

    /// The canonical bytes, with the inline data: they say nothing of data that is not inline.
    pub fn to_bytes(&self) -> Bytes {
        binary::print(self)
    }

    /// The transaction as nodes take it, inline data included.
    pub fn to_json(&self) -> String {
        json::print(self, &self.data)
    }

    /// The same without the data, which then travels in chunks.
    pub fn to_header_json(&self) -> String {
        json::print(self, &[])
    }

    /// The same with this data inline.
    pub fn to_json_with(&self, data: &[u8]) -> String {
        json::print(self, data)
    }

    /// SHA-256 of the signature, once verified.
    pub const fn id(&self) -> Id {
        self.id
    }

    /// The wallet that signed.
    pub fn owner(&self) -> Address {
        Address::of_key(&self.owner)
    }

    /// The modulus of the wallet that signed.
    pub const fn owner_key(&self) -> &Bytes {
        &self.owner
    }

    /// Who receives the quantity.
    pub const fn target(&self) -> Option<Address> {
        self.target
    }

    /// What the target receives, in winston.
    pub const fn quantity(&self) -> u128 {
        self.quantity
    }

    /// The fee, in winston.
    pub const fn reward(&self) -> u128 {
        self.reward
    }

    /// The anchor: a block's hash, an earlier transaction, or nothing.
    pub const fn last_tx(&self) -> &Bytes {
        &self.last_tx
    }

    /// The tags in order.
    pub fn tags(&self) -> &[L1Tag] {
        &self.tags
    }

    /// The first value of a tag, its name compared exactly.
    pub fn tag(&self, name: &str) -> Option<&[u8]> {
        self.tags.iter().find(|tag| tag.name == name).map(|tag| &tag.value[..])
    }

    /// Whether the data is said to be a bundle.
    pub fn is_bundle(&self) -> bool {
        crate::bundle::BUNDLE_TAGS.iter().all(|(name, value)| self.tag(name) == Some(value.as_bytes()))
    }

    /// Bytes of the data, inline or not.
    pub const fn data_size(&self) -> u64 {
        self.data_size
    }

    /// The root of the data's chunks; none where there is no data.
    pub const fn data_root(&self) -> Option<Hash> {
        self.data_root
    }

    /// The inline data; empty where the data travels in chunks.
    pub const fn data(&self) -> &Bytes {
        &self.data
    }

    /// Whether all of its data is inline.
    pub fn is_whole(&self) -> bool {
        self.data.len() as u64 == self.data_size
    }

    /// The signature bytes.
    pub const fn signature(&self) -> &Bytes {
        &self.signature
    }

    /// What the signature signs. Numbers are hashed as decimal text, all else as raw bytes.
    pub fn signing_hash(&self) -> DeepHash {
        let numbers = [self.quantity.to_string(), self.reward.to_string(), self.data_size.to_string()];
        let [quantity, reward, data_size] = numbers.each_ref().map(|text| Chunk::Blob(text.as_bytes()));
        let tags = self
            .tags
            .iter()
            .map(|tag| Chunk::List(vec![Chunk::Blob(&tag.name), Chunk::Blob(&tag.value)]))
            .collect();
        deep_hash(&Chunk::List(vec![
            Chunk::Blob(b"2"),
            Chunk::Blob(&self.owner),
            Chunk::Blob(self.target.as_ref().map_or(&[], |target| target.as_bytes())),
            quantity,
            reward,
            Chunk::Blob(&self.last_tx),
            Chunk::List(tags),
            data_size,
            Chunk::Blob(self.data_root.as_ref().map_or(&[], |root| root.as_bytes())),
        ]))
    }

    /// Limits that hold for read and for signed transactions alike.
    fn check_limits(&self) -> Result<(), L1Error> {
        let tag_bytes: usize = self.tags.iter().map(|tag| tag.name.len() + tag.value.len()).sum();
        let amount_end = 10_u128.pow(AMOUNT_DIGITS_MAX as u32);
        let checks = [
            (self.owner.len() == SignatureType::Rsa.owner_bytes(), "owner"),
            (self.quantity < amount_end, "quantity"),
            (self.reward < amount_end, "reward"),
            (self.last_tx.len() <= LAST_TX_BYTES_MAX, "last_tx"),
            (self.tags.len() <= L1_TAGS_MAX && tag_bytes <= L1_TAG_BYTES_MAX, "tags"),
            (self.data_root.is_some() == (self.data_size > 0), "data_root"),
        ];
        checks.iter().find(|(holds, _)| !holds).map_or(Ok(()), |(_, field)| Err(L1Error::Field(field)))
    }
}

impl std::fmt::Debug for L1Tx {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "L1Tx({}, {} bytes of data)", self.id, self.data_size)
    }
}

impl Unverified<L1Tx> {
    /// Recomputes the id, the signature and, if the data is inline, its size and root.
    ///
    /// # Errors
    /// The first of them that is not as the transaction says.
    pub fn verify(self) -> Result<Verified<L1Tx>, L1Error> {
        let tx = &self.0;
        let actual = Id::of_signature(&tx.signature);
        if actual != tx.id {
            return Err(L1Error::Id { named: tx.id, actual });
        }
        verify_signature(SignatureType::Rsa, &tx.owner, &tx.signing_hash(), &tx.signature)?;
        let is_inline = !tx.data.is_empty();
        if is_inline && (tx.data.len() as u64 != tx.data_size || chunk::data_root(&tx.data) != tx.data_root) {
            return Err(L1Error::Data);
        }
        Ok(Verified(self.0))
    }
}

impl Verified<L1Tx> {
    /// The same transaction with this data inline, which came another way.
    ///
    /// # Errors
    /// [`L1Error::Data`] where it is not the data that the transaction commits to.
    pub fn with_data(self, data: Bytes) -> Result<Self, L1Error> {
        let tx = self.0;
        if data.len() as u64 != tx.data_size || chunk::data_root(&data) != tx.data_root {
            return Err(L1Error::Data);
        }
        Ok(Self(L1Tx { data, ..tx }))
    }
}

#[cfg(test)]
mod tests;
