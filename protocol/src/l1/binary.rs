//! The form in which peers exchange a transaction: canonical, with all of its data.

use bytes::Bytes;
use prost::Message as _;

use super::json::decimal;
use super::{L1Error, L1Tag, L1Tx, chunk};
use crate::crypto::SignatureType;
use crate::id::{Address, Id};
use crate::limits::MODULE_ITEM_BYTES_MAX;
use crate::wire::{BaseTag, BaseTransaction, decode_canonical};

pub(super) fn parse(bytes: &Bytes) -> Result<L1Tx, L1Error> {
    let message: BaseTransaction = decode_canonical(bytes, MODULE_ITEM_BYTES_MAX)?;
    if message.signature.len() != SignatureType::Rsa.signature_bytes() {
        return Err(L1Error::Field("signature"));
    }
    let target = match message.target.len() {
        0 => None,
        _ => Some(Address(message.target.as_ref().try_into().map_err(|_| L1Error::Field("target"))?)),
    };
    let tx = L1Tx {
        id: Id::of_signature(&message.signature),
        owner: message.owner,
        target,
        quantity: decimal("quantity", &message.quantity)?,
        reward: decimal("reward", &message.reward)?,
        last_tx: message.last_tx,
        tags: message.tags.into_iter().map(|BaseTag { name, value }| L1Tag { name, value }).collect(),
        data_size: message.data.len() as u64,
        data_root: chunk::data_root(&message.data),
        data: message.data,
        signature: message.signature,
    };
    tx.check_limits()?;
    Ok(tx)
}

pub(super) fn print(tx: &L1Tx) -> Bytes {
    let tag = |tag: &L1Tag| BaseTag { name: tag.name.clone(), value: tag.value.clone() };
    let message = BaseTransaction {
        owner: tx.owner.clone(),
        target: tx.target.map(|target| Bytes::copy_from_slice(target.as_bytes())).unwrap_or_default(),
        quantity: tx.quantity.to_string(),
        reward: tx.reward.to_string(),
        last_tx: tx.last_tx.clone(),
        tags: tx.tags.iter().map(tag).collect(),
        data: tx.data.clone(),
        signature: tx.signature.clone(),
    };
    message.encode_to_vec().into()
}
