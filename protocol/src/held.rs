//! What stands under an id on the weave, with all of its bytes: a data item, or a transaction of the base layer.
//!
//! Both have the id that is the hash of their signature, so one id names one of them. The bytes of a transaction
//! begin as those of no data item do: with the number of a field, where an item has the type of its signature.

use bytes::Bytes;

use crate::data_item::{DataItem, ItemError};
use crate::id::Id;
use crate::l1::{L1Error, L1Tx};
use crate::verify::{Unverified, Verified};

/// Why bytes are neither.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HeldError {
    /// A data item that is none.
    #[error(transparent)]
    Item(#[from] ItemError),
    /// A transaction that is none.
    #[error(transparent)]
    Transaction(#[from] L1Error),
}

/// A data item or a transaction. Cloning is cheap: the bytes are shared.
#[derive(Debug, Clone)]
pub enum Held {
    /// A data item.
    Item(DataItem),
    /// A transaction with its data.
    Transaction(L1Tx),
}

/// How the bytes of a transaction begin: with the field of its owner, in which no length is zero.
fn is_transaction(raw: &[u8]) -> bool {
    matches!(raw, [0x0a, length, ..] if *length != 0)
}

impl Held {
    /// Reads either.
    ///
    /// # Errors
    /// What is wrong with the bytes.
    pub fn parse(raw: Bytes) -> Result<Unverified<Self>, HeldError> {
        Ok(Unverified(match is_transaction(&raw) {
            true => Self::Transaction(L1Tx::from_bytes(&raw)?.0),
            false => Self::Item(DataItem::parse(raw)?.0),
        }))
    }

    /// Its id.
    pub const fn id(&self) -> Id {
        match self {
            Self::Item(item) => item.id(),
            Self::Transaction(tx) => tx.id(),
        }
    }

    /// What stands under `/data/` and its id.
    pub fn data(&self) -> Bytes {
        match self {
            Self::Item(item) => item.data(),
            Self::Transaction(tx) => tx.data().clone(),
        }
    }

    /// The bytes that [`parse`](Self::parse) reads.
    pub fn raw(&self) -> Bytes {
        match self {
            Self::Item(item) => item.raw().clone(),
            Self::Transaction(tx) => tx.to_bytes(),
        }
    }
}

impl Unverified<Held> {
    /// Checks the signature over all of its bytes.
    ///
    /// # Errors
    /// Why it is not that of the owner.
    pub fn verify(self) -> Result<Verified<Held>, HeldError> {
        Ok(Verified(match self.0 {
            Held::Item(item) => Held::Item(Unverified(item).verify().map_err(ItemError::from)?.0),
            Held::Transaction(tx) => Held::Transaction(Unverified(tx).verify()?.0),
        }))
    }
}

impl From<Verified<DataItem>> for Verified<Held> {
    fn from(item: Verified<DataItem>) -> Self {
        Self(Held::Item(item.0))
    }
}

impl Verified<Held> {
    /// A transaction with all of its data.
    ///
    /// # Errors
    /// [`L1Error::Data`] where data is missing.
    pub fn of_transaction(tx: Verified<L1Tx>) -> Result<Self, L1Error> {
        if tx.is_whole() { Ok(Self(Held::Transaction(tx.0))) } else { Err(L1Error::Data) }
    }

    /// The data item, if it is one.
    pub fn into_item(self) -> Option<Verified<DataItem>> {
        match self.0 {
            Held::Item(item) => Some(Verified(item)),
            Held::Transaction(_) => None,
        }
    }

    /// The transaction, if it is one.
    pub fn into_transaction(self) -> Option<Verified<L1Tx>> {
        match self.0 {
            Held::Transaction(tx) => Some(Verified(tx)),
            Held::Item(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::crypto::{SignatureType, Signer};
    use crate::data_item::Draft;
    use crate::l1::L1Draft;

    const WALLET: &str = include_str!("../../tests/vectors/wallet.json");

    #[test]
    fn one_id_names_an_item_or_a_transaction() {
        let item =
            Draft { data: "kept".into(), ..Draft::default() }.sign(&Signer::from_seed(&[1; 32])).unwrap();
        let draft = L1Draft { data: "mined".into(), ..L1Draft::default() };
        let tx = draft.sign(&Signer::from_jwk(WALLET).unwrap()).unwrap();
        for (raw, id, data) in [(item.raw().clone(), item.id(), "kept"), (tx.to_bytes(), tx.id(), "mined")] {
            let held = Held::parse(raw.clone()).unwrap().verify().unwrap();
            assert_eq!((held.id(), held.data(), held.raw()), (id, data.into(), raw.clone()));
            let mut other = raw.to_vec();
            *other.last_mut().unwrap() ^= 1;
            let other = Held::parse(other.into()).and_then(Unverified::<Held>::verify);
            assert!(other.is_err() || other.unwrap().id() != id, "the last byte counts");
        }
        assert!(DataItem::parse(tx.to_bytes()).is_err(), "a transaction is no item");
        for kind in SignatureType::ALL {
            assert!(!is_transaction(&kind.number().to_le_bytes()), "no item is taken for a transaction");
        }
        assert!(Held::parse(Bytes::new()).is_err() && Held::parse(Bytes::from_static(&[0x0a, 1])).is_err());
        // The header alone, as gateways give it, is not what stands under the id.
        let json = tx.to_json().replace(&format!("\"data\":\"{}\"", "bWluZWQ"), "\"data\":\"\"");
        let header = L1Tx::parse_json(json.as_bytes()).unwrap().verify().unwrap();
        assert!(!header.is_whole());
        assert_eq!(Verified::<Held>::of_transaction(header.clone()).unwrap_err(), L1Error::Data);
        assert_eq!(header.clone().with_data("mines".into()).unwrap_err(), L1Error::Data);
        assert_eq!(header.with_data("mined".into()).unwrap(), tx);
    }
}
