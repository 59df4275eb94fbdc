//! The JSON form of a transaction, as nodes and gateways exchange it.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::{AMOUNT_DIGITS_MAX, L1_JSON_BYTES_MAX, L1_TAGS_MAX, L1Error, L1Tag, L1Tx};
use crate::crypto::SignatureType;

/// Fields that we do not know are skipped: nodes add some that nothing signs.
#[derive(Serialize, Deserialize)]
struct Json<'a> {
    format: u64,
    #[serde(borrow)]
    id: Cow<'a, str>,
    #[serde(borrow)]
    last_tx: Cow<'a, str>,
    #[serde(borrow)]
    owner: Cow<'a, str>,
    #[serde(borrow)]
    tags: Vec<JsonTag<'a>>,
    #[serde(borrow)]
    target: Cow<'a, str>,
    #[serde(borrow)]
    quantity: Cow<'a, str>,
    #[serde(borrow, default)]
    data: Cow<'a, str>,
    #[serde(borrow)]
    data_size: Cow<'a, str>,
    #[serde(borrow)]
    data_root: Cow<'a, str>,
    #[serde(borrow)]
    reward: Cow<'a, str>,
    #[serde(borrow)]
    signature: Cow<'a, str>,
    // Signed where it is not zero, which nothing on the weave has used yet.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    denomination: Option<Cow<'a, str>>,
}

#[derive(Serialize, Deserialize)]
struct JsonTag<'a> {
    #[serde(borrow)]
    name: Cow<'a, str>,
    #[serde(borrow)]
    value: Cow<'a, str>,
}

pub(super) fn parse(text: &[u8]) -> Result<L1Tx, L1Error> {
    if text.len() > L1_JSON_BYTES_MAX {
        return Err(L1Error::TooLong(text.len()));
    }
    let json: Json<'_> = serde_json::from_slice(text)
        .map_err(|error| L1Error::Malformed { line: error.line(), column: error.column() })?;
    if json.format != 2 {
        return Err(L1Error::Format(json.format));
    }
    if json.denomination.is_some_and(|denomination| denomination != "0") {
        return Err(L1Error::Field("denomination"));
    }
    let signature = bytes("signature", &json.signature)?;
    if signature.len() != SignatureType::Rsa.signature_bytes() {
        return Err(L1Error::Field("signature"));
    }
    if json.tags.len() > L1_TAGS_MAX {
        return Err(L1Error::Field("tags"));
    }
    let tags = json.tags.iter();
    let tags = tags.map(|tag| Ok(L1Tag::new(bytes("tags", &tag.name)?, bytes("tags", &tag.value)?)));
    let tx = L1Tx {
        id: json.id.parse().map_err(|_| L1Error::Field("id"))?,
        owner: bytes("owner", &json.owner)?,
        target: optional("target", &json.target)?,
        quantity: decimal("quantity", &json.quantity)?,
        reward: decimal("reward", &json.reward)?,
        last_tx: bytes("last_tx", &json.last_tx)?,
        tags: tags.collect::<Result<_, L1Error>>()?,
        data_size: decimal("data_size", &json.data_size)?
            .try_into()
            .map_err(|_| L1Error::Field("data_size"))?,
        data_root: optional("data_root", &json.data_root)?,
        data: bytes("data", &json.data)?,
        signature,
    };
    tx.check_limits()?;
    Ok(tx)
}

pub(super) fn print(tx: &L1Tx, data: &[u8]) -> String {
    let text = |bytes: &[u8]| Cow::from(URL_SAFE_NO_PAD.encode(bytes));
    let tag = |tag: &L1Tag| JsonTag { name: text(&tag.name), value: text(&tag.value) };
    let json = Json {
        format: 2,
        id: tx.id.to_string().into(),
        last_tx: text(&tx.last_tx),
        owner: text(&tx.owner),
        tags: tx.tags.iter().map(tag).collect(),
        target: tx.target.map_or_else(String::new, |target| target.to_string()).into(),
        quantity: tx.quantity.to_string().into(),
        data: text(data),
        data_size: tx.data_size.to_string().into(),
        data_root: tx.data_root.map_or_else(String::new, |root| root.to_string()).into(),
        reward: tx.reward.to_string().into(),
        signature: text(&tx.signature),
        denomination: None,
    };
    // Strings and a number: printing them cannot fail.
    serde_json::to_string(&json).unwrap_or_default()
}

fn bytes(field: &'static str, text: &str) -> Result<Bytes, L1Error> {
    URL_SAFE_NO_PAD.decode(text).map(Bytes::from).map_err(|_| L1Error::Field(field))
}

fn optional<T: std::str::FromStr>(field: &'static str, text: &str) -> Result<Option<T>, L1Error> {
    match text {
        "" => Ok(None),
        text => text.parse().map(Some).map_err(|_| L1Error::Field(field)),
    }
}

/// A number as it is signed: digits alone, no leading zero.
pub(super) fn decimal(field: &'static str, text: &str) -> Result<u128, L1Error> {
    let is_canonical = text.len() <= AMOUNT_DIGITS_MAX
        && text.bytes().all(|byte| byte.is_ascii_digit())
        && (text == "0" || !text.starts_with('0'));
    text.parse().ok().filter(|_| is_canonical).ok_or(L1Error::Field(field))
}
